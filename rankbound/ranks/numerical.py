"""Ranks that are computed in floating point, and say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_matrix
from rankbound.ranks.spectrum import singular_values, spectrum

__all__ = ["effective_rank", "numerical_rank", "stable_rank"]


def numerical_rank(
    A: npt.ArrayLike, rtol: float | None = None, stored: npt.DTypeLike | None = None
) -> Any:
    """Count the singular values above the threshold of :func:`rankbound.spectrum`.

    Parameters
    ----------
    A : array_like, shape (..., m, n)
        Real and finite.
    rtol : float, optional
        Counts singular values above ``rtol`` times the largest instead.
    stored : dtype, optional
        The dtype in which `A` was computed, where the array no longer shows it.

    Returns
    -------
    int, or integer ndarray over a batch

    Raises
    ------
    InputError, InputTypeError
        If `A` is empty, not finite, not real or not a matrix.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.numerical_rank([[1, 0], [0, 1e-17]])
    1
    """
    return spectrum(A, rtol, stored).rank


def effective_rank(A: npt.ArrayLike) -> Any:
    """Exponential of the entropy of the normalised singular values.

    ``exp(-Σ p_i log p_i)`` with ``p = sigma / sum(sigma)`` (Roy & Vetterli 2007, Definition 1);
    between 1 and the rank. The zero matrix, for which it is not defined there, has 0 here.

    Parameters
    ----------
    A : array_like, shape (..., m, n)
        Real and finite.

    Returns
    -------
    float, or ndarray over a batch

    Raises
    ------
    InputError, InputTypeError
        If `A` is empty, not finite, not real or not a matrix.
    """
    return _scalar(effective_rank_of_values(singular_values(check_matrix("A", A))[0]))


def effective_rank_of_values(values: Array) -> Array:
    """Effective rank from singular values (..., r)."""
    total = values.sum(axis=-1, keepdims=True)
    p = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)
    return np.where(total[..., 0] > 0, np.exp(entropy), 0.0)


def stable_rank(A: npt.ArrayLike) -> Any:
    """Squared Frobenius norm over squared spectral norm.

    ``sum(sigma**2) / max(sigma)**2`` (Rudelson & Vershynin 2007); between 1 and the rank. The zero
    matrix has 0.

    Parameters
    ----------
    A : array_like, shape (..., m, n)
        Real and finite.

    Returns
    -------
    float, or ndarray over a batch

    Raises
    ------
    InputError, InputTypeError
        If `A` is empty, not finite, not real or not a matrix.
    """
    values = singular_values(check_matrix("A", A))[0]
    ratio = np.divide(values, values[..., :1], out=np.zeros_like(values), where=values[..., :1] > 0)
    return _scalar(np.sum(ratio * ratio, axis=-1))


def _scalar(array: Array) -> Any:
    return float(array) if np.ndim(array) == 0 else array
