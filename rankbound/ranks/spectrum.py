"""Singular values, with the threshold that separates them from rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, Storage, check_matrix, check_real, frozen_copy, storage_dtype
from rankbound.errors import InputError

__all__ = ["Spectrum", "spectrum"]

FLOAT64_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values and the rank they show.

    Attributes
    ----------
    values : ndarray, shape (..., min(m, n))
        Singular values, largest first.
    tolerance : float (array over a batch)
        The threshold: what rounding can move a singular value by. The rank counts values above it.
    rank : int (array over a batch)
        The numerical rank.
    gap : float (array over a batch)
        Smallest value kept over largest value dropped; ``inf`` where nothing is kept, nothing is
        dropped or what is dropped is 0. A gap near 1 says that the rank is a matter of taste.
    stored : Storage
        The dtype from which the threshold was derived.
    """

    values: Array
    tolerance: Any
    rank: Any
    gap: Any
    stored: Storage


def spectrum(
    A: npt.ArrayLike, rtol: float | None = None, stored: npt.DTypeLike | None = None
) -> Spectrum:
    """Singular values of a matrix and its numerical rank, with threshold and gap.

    By Weyl's inequality a perturbation E moves no singular value by more than ``‖E‖_2``. Two
    perturbations are bounded: the entries of `A` are each within one ``eps`` of the dtype in which
    it was computed, so ``‖E‖_2 <= ‖E‖_F <= eps(stored) ‖A‖_F``; and the decomposition in float64
    is backward stable, ``‖E‖_2 <= max(m, n) eps(float64) ‖A‖_2`` (LAPACK Users' Guide, 4.9).
    The threshold is their sum. Where `A` is a long product computed in low precision its entries
    are further off than one ``eps``: pass `rtol`.

    Parameters
    ----------
    A : array_like, shape (..., m, n)
        Real, finite; computed in float64 whatever its dtype.
    rtol : float, optional
        Replaces the derived threshold by ``rtol * values[..., 0]``.
    stored : dtype, optional
        The dtype in which `A` was computed, where the array no longer shows it.

    Returns
    -------
    Spectrum

    Raises
    ------
    InputError, InputTypeError
        If `A` is empty, not finite, not real or not a matrix.

    Examples
    --------
    >>> import rankbound as rb
    >>> s = rb.spectrum([[1.0, 2.0], [2.0, 4.0]])
    >>> s.rank
    1
    """
    dtype = storage_dtype("A", A, stored)
    matrix = check_matrix("A", A)
    return _spectrum(matrix, dtype, check_rtol(rtol))


def check_rtol(rtol: float | None) -> float | None:
    """Return `rtol` as a float of at least 0, or None."""
    return None if rtol is None else check_real("rtol", rtol, least=0.0)


def _spectrum(A: Array, dtype: Storage, rtol: float | None) -> Spectrum:
    values, scale = singular_values(A)
    scaled = np.ldexp(A, -scale)
    frobenius = np.sqrt(np.sum(scaled * scaled, axis=(-2, -1)))
    tolerance = dtype.eps * frobenius + max(A.shape[-2:]) * FLOAT64_EPS * values[..., 0]
    return count_above(values, tolerance, rtol, dtype, scale[..., 0])


def singular_values(A: Array) -> tuple[Array, npt.NDArray[np.int32]]:
    """Singular values of ``A / 2**scale``, and `scale` (..., 1, 1), so that nothing overflows."""
    largest = np.max(np.abs(A), axis=(-2, -1), keepdims=True)
    scale = np.frexp(largest)[1]
    return np.linalg.svd(np.ldexp(A, -scale), compute_uv=False), scale


def count_above(
    values: Array,
    tolerance: Any,
    rtol: float | None,
    dtype: Storage,
    scale: npt.NDArray[np.int32] | int = 0,
) -> Spectrum:
    """Build the record: count the values above the tolerance, or above ``rtol * values[0]``.

    `values` and `tolerance` are those of the matrix divided by ``2**scale``.
    """
    if rtol is not None:
        tolerance = rtol * values[..., 0]
    tolerance = np.asarray(tolerance)
    rank = np.sum(values > tolerance[..., None], axis=-1)
    gap = _gap(values, rank)
    with np.errstate(over="ignore"):  # reported just below
        values = np.ldexp(values, scale)
        tolerance = np.ldexp(tolerance[..., None], scale)[..., 0]
    if not np.isfinite(values).all():
        raise InputError(
            "A has a singular value above 1.8e308; expected one that float64 holds. "
            "Divide A by a power of two: its rank does not change."
        )
    values = frozen_copy(values)
    if values.ndim == 1:
        return Spectrum(values, float(tolerance), int(rank), float(gap), dtype)
    return Spectrum(values, frozen_copy(tolerance), frozen_copy(rank), frozen_copy(gap), dtype)


def _gap(values: Array, rank: npt.NDArray[np.int64]) -> Array:
    padded = np.concatenate(  # a kept value above and a zero below, where one side is missing
        [np.full_like(values[..., :1], np.inf), values, np.zeros_like(values[..., :1])], axis=-1
    )
    kept = np.take_along_axis(padded, rank[..., None], axis=-1)[..., 0]
    dropped = np.take_along_axis(padded, rank[..., None] + 1, axis=-1)[..., 0]
    with np.errstate(over="ignore"):  # a ratio above 1.8e308 is as good as infinite
        gap: Array = np.divide(kept, dropped, out=np.full_like(kept, np.inf), where=dropped > 0)
    return gap
