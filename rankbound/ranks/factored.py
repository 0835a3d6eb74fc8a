"""The spectrum of logits from their factors; the n × n matrix is never formed."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.errors import InputError, InputTypeError

__all__ = ["Factored", "logit_spectrum", "spectrum_of_factors"]


class Factored(Protocol):
    """Anything with queries, keys and a scale: an attention head, or what a model gave."""

    @property
    def scale(self) -> float:
        """What multiplies the logits."""
        ...

    def queries(self, X: npt.ArrayLike | None = None) -> Array:
        """Queries, shape (..., head_size, n)."""
        ...

    def keys(self, X: npt.ArrayLike | None = None) -> Array:
        """Keys, shape (..., head_size, n)."""
        ...


def logit_spectrum(head: Factored, X: npt.ArrayLike | None = None, centred: bool = False) -> Array:
    """Singular values of a head's logits, from the factors.

    ``L = scale * K^T Q`` with K, Q of shape (k, n). QR of the two factors leaves the singular
    values of a k × k matrix: time O(n k²), memory O(n k).

    Parameters
    ----------
    head : AttentionHead
        The head.
    X : array_like, shape (..., d, n), optional
        Tokens, one a column; None means the identity.
    centred : bool
        Whether to take ``C L``, logits less their mean over keys, whose rank is the log-rank of
        the context matrix (Lemma 1: the softmax gauge).

    Returns
    -------
    ndarray, shape (..., min(head_size, n))
        Singular values, largest first. The other ``n - head_size`` are exactly 0.

    Raises
    ------
    InputError, InputTypeError
        If `X` does not fit the head.

    Examples
    --------
    >>> import rankbound as rb
    >>> head = rb.random_head(d=16, head_size=4, seed=0)
    >>> rb.logit_spectrum(head, rb.random_tokens(16, 1000, seed=1)).shape
    (4,)
    """
    if not (hasattr(head, "queries") and hasattr(head, "keys")):
        raise InputTypeError(
            f"head is a {type(head).__name__}; expected an AttentionHead. For an array of logits "
            "use rb.spectrum; for queries and keys, rb.AttentionHead(W_q=queries, W_k=keys)."
        )
    return spectrum_of_factors(head.keys(X), head.queries(X), head.scale, centred=centred)


def spectrum_of_factors(keys: Array, queries: Array, scale: float, *, centred: bool) -> Array:
    """Singular values of ``scale * keys^T queries``, keys and queries (..., k, n)."""
    left, left_scale = _triangle(keys, centred)
    right, right_scale = _triangle(queries, False)
    core = left @ np.swapaxes(right, -1, -2)
    values = np.asarray(abs(scale) * np.linalg.svd(core, compute_uv=False), np.float64)
    with np.errstate(over="ignore"):  # reported just below
        values = np.asarray(np.ldexp(values, (left_scale + right_scale)[..., 0]), np.float64)
    if not np.isfinite(values).all():
        raise InputError(
            "the logits have a singular value above 1.8e308; expected one that float64 holds. "
            "Divide the keys by a power of two: no rank changes."
        )
    return values


def _triangle(factor: Array, centred: bool) -> tuple[Array, npt.NDArray[np.int32]]:
    """R of the QR of ``factor^T / 2**scale``, and `scale`, so that nothing overflows."""
    scale = np.frexp(np.max(np.abs(factor), axis=(-2, -1), keepdims=True))[1]
    scaled = np.ldexp(factor, -scale)
    if centred:
        scaled = scaled - scaled.mean(axis=-1, keepdims=True)
    return np.asarray(np.linalg.qr(np.swapaxes(scaled, -1, -2), mode="r")), scale
