"""A layer of attention heads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, as_array, check_int, check_real, frozen_copy
from rankbound.attention.head import AttentionHead
from rankbound.errors import InputError

__all__ = ["MultiHead"]


@dataclass(frozen=True, eq=False)
class MultiHead:
    """Multi-head attention without residual or normalisation: ``Σ_i W_o^i W_v^i X P_i``.

    B20's MultiHead when ``head_size = d / heads`` and its FixedMultiHead when `head_size` is set
    apart from d and h.

    Parameters
    ----------
    W_q, W_k : array_like, shape (h, head_size, d)
        Query and key projections.
    W_v : array_like, shape (h, v, d)
        Value projections.
    W_o : array_like, shape (d, h * v)
        Output projection; its columns belong to the heads in order, v to each.
    scale : float, optional
        What multiplies the logits; ``1/sqrt(head_size)`` unless given.

    Raises
    ------
    InputError, InputTypeError
        If an array is empty, not finite, or the shapes do not agree.

    Examples
    --------
    >>> import rankbound as rb
    >>> layer = rb.random_multihead(d=8, heads=2, seed=0)
    >>> layer.heads, layer.head_size, layer.parameter_count
    (2, 4, 256)
    """

    W_q: Array
    W_k: Array
    W_v: Array
    W_o: Array
    scale: float

    def __init__(
        self,
        W_q: npt.ArrayLike,
        W_k: npt.ArrayLike,
        W_v: npt.ArrayLike,
        W_o: npt.ArrayLike,
        scale: float | None = None,
    ) -> None:
        arrays = {"W_q": W_q, "W_k": W_k, "W_v": W_v, "W_o": W_o}
        checked = {name: _stack(name, array) for name, array in arrays.items()}
        _check_shapes(checked)
        for name, array in checked.items():
            object.__setattr__(self, name, frozen_copy(array))
        factor = 1 / math.sqrt(self.head_size) if scale is None else check_real("scale", scale)
        object.__setattr__(self, "scale", factor)

    @property
    def heads(self) -> int:
        """Number of heads h."""
        return len(self.W_q)

    @property
    def head_size(self) -> int:
        """Query and key coordinates of each head."""
        return int(self.W_q.shape[1])

    @property
    def value_size(self) -> int:
        """Value coordinates of each head."""
        return int(self.W_v.shape[1])

    @property
    def d(self) -> int:
        """Embedding size."""
        return int(self.W_q.shape[2])

    @property
    def parameter_count(self) -> int:
        """Number of weights: ``2 h k d + h v d + d h v``; 4 d² in the standard layer."""
        return self.W_q.size + self.W_k.size + self.W_v.size + self.W_o.size

    def head(self, i: int) -> AttentionHead:
        """Head `i`, its value projection followed by its columns of `W_o`."""
        i = check_int("i", i, least=0, most=self.heads - 1, why="heads are numbered from 0")
        v = self.value_size
        with np.errstate(over="ignore", invalid="ignore"):  # reported just below
            value = self.W_o[:, i * v : (i + 1) * v] @ self.W_v[i]
        _check_overflow("W_o W_v", value)
        return AttentionHead(self.W_q[i], self.W_k[i], value, self.scale)

    def output(self, X: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> Array:
        """``Σ_i W_o^i W_v^i X P_i``, shape (..., d, n).

        Parameters
        ----------
        X : array_like, shape (..., d, n)
            Tokens, one a column.
        mask : array_like of bool, shape (n, n), optional
            [key, query], True = visible.

        Raises
        ------
        InputError, InputTypeError
            If `X` or the mask does not fit.
        """
        outputs = [self.head(i).output(X, mask) for i in range(self.heads)]
        with np.errstate(over="ignore", invalid="ignore"):  # reported just below
            total: Array = np.sum(outputs, axis=0)
        _check_overflow("the output", total)
        return total


def _check_overflow(name: str, array: Array) -> None:
    if not np.isfinite(array).all():
        raise InputError(
            f"{name} overflows float64; expected entries below 1.8e308. "
            "Scale the tokens or the projections down."
        )


def _stack(name: str, value: Any) -> Array:
    with np.errstate(over="ignore"):  # reported just below
        array = as_array(name, value).astype(np.float64)
    axes = 2 if name == "W_o" else 3
    if array.ndim != axes or 0 in array.shape:
        expected = "(d, h * v)" if axes == 2 else "(h, size, d)"
        raise InputError(f"{name} has shape {array.shape}; expected {expected}, no axis empty.")
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds an entry that is not finite; expected finite weights.")
    return array


def _check_shapes(arrays: dict[str, Array]) -> None:
    W_q, W_k, W_v, W_o = arrays["W_q"], arrays["W_k"], arrays["W_v"], arrays["W_o"]
    if W_q.shape != W_k.shape:
        raise InputError(f"W_q is {W_q.shape} but W_k is {W_k.shape}: both must be (h, k, d).")
    heads, _, d = W_q.shape
    if W_v.shape[0] != heads or W_v.shape[2] != d:
        raise InputError(f"W_v is {W_v.shape}; expected ({heads}, v, {d}), to fit W_q.")
    if W_o.shape != (d, heads * W_v.shape[1]):
        raise InputError(
            f"W_o is {W_o.shape}; expected ({d}, {heads * W_v.shape[1]}): one column for each "
            "value coordinate of each head."
        )
