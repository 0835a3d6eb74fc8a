"""Softmax over keys, column by column."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, as_floats, check_shape, plain
from rankbound.attention.masks import check_mask


def column_softmax(L: npt.ArrayLike, *, mask: npt.ArrayLike | None = None) -> Array:
    """Softmax of each column of the logits: ``P[i, j] = exp(L[i, j]) / Σ_i exp(L[i, j])``.

    The sum is over the keys i that query j sees. The largest visible logit of each column is
    subtracted first, so nothing overflows.

    Parameters
    ----------
    L : array_like, shape (..., n, n)
        Logits, [key, query]; finite where visible, anything where the mask hides.
    mask : as in `Context`

    Returns
    -------
    ndarray of float64, shape (..., n, n)
        Columns sum to 1; exactly 0 where hidden.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.column_softmax([[0.0, 1.0], [0.0, 1.0]])
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    given, _ = plain("L", L)
    check_shape("L", given.shape)
    visible = None if mask is None else check_mask(mask, given.shape)
    return _softmax(as_floats("L", given, visible), visible)


def _softmax(L: Array, mask: npt.NDArray[np.bool_] | None = None) -> Array:
    visible = L if mask is None else np.where(mask, L, -np.inf)
    with np.errstate(under="ignore", over="ignore"):  # a difference below -1.8e308 is e^-inf = 0
        weights = np.exp(visible - visible.max(axis=-2, keepdims=True))
    total: Array = weights / weights.sum(axis=-2, keepdims=True)
    return total


def log_column_softmax(L: Array, mask: npt.NDArray[np.bool_] | None = None) -> Array:
    """Log of :func:`column_softmax`, free of underflow; -inf where hidden. Input unchecked."""
    visible = L if mask is None else np.where(mask, L, -np.inf)
    with np.errstate(under="ignore", over="ignore"):  # as above
        shifted = visible - visible.max(axis=-2, keepdims=True)
        total = np.exp(shifted).sum(axis=-2, keepdims=True)
    log_P: Array = shifted - np.log(total)
    return log_P
