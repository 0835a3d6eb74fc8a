"""Which rows add to the span of the rows above them, where rows are known up to an error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.exact.rounding import FLOAT64_EPS

__all__ = ["combine", "scan"]


def combine(
    basis: Array, rows: Array, basis_error: Array, rows_error: Array
) -> tuple[Array, npt.NDArray[np.bool_], Array]:
    """The combinations of least norm that come nearest to each row, and whether a row is outside.

    Parameters
    ----------
    basis : ndarray, shape (s, r)
        Spanning rows.
    rows : ndarray, shape (m, r)
        Rows to compare with the span.
    basis_error, rows_error : ndarray, shapes (s,) and (m,)
        Bounds on the Euclidean error of each.

    Returns
    -------
    coefficients : ndarray, shape (m, s)
    outside : ndarray of bool, shape (m,)
        Whether a row is farther from the span than errors and rounding explain.
    tolerance : ndarray, shape (m,)
        By how much they may.
    """
    sizes: Array = np.linalg.norm(rows, axis=1)
    if not len(basis):
        tolerance = rows_error + 8 * (rows.shape[1] + 1) * FLOAT64_EPS * sizes
        return np.zeros((len(rows), 0)), sizes > tolerance, tolerance
    coefficients = np.asarray(np.linalg.lstsq(basis.T, rows.T, rcond=None)[0].T, np.float64)
    carried = np.abs(coefficients) @ np.linalg.norm(basis, axis=1)
    tolerance = (
        rows_error
        + np.abs(coefficients) @ basis_error
        # backward stable least squares: LAPACK's customary constant, eight times
        + 8 * (rows.shape[1] + len(basis) + 1) * FLOAT64_EPS * (sizes + carried)
    )
    distance: Array = np.linalg.norm(rows - coefficients @ basis, axis=1)
    return coefficients, distance > tolerance, tolerance


def scan(rows: Array, error: Array, seen: npt.NDArray[np.int64]) -> list[int]:
    """Rows that are outside the span of the rows above them, on what is visible of them.

    Row i shows its first ``seen[i]`` columns, which do not increase; at most r rows are new, so
    the time is O(n r²) for n much above r².

    Parameters
    ----------
    rows, error : ndarray, shape (n, r)
        The rows and a bound on the error of each entry.
    seen : ndarray of int, shape (n,)
        How many columns of each row are visible.
    """
    new: list[int] = []
    n, r = rows.shape
    start = 0
    while start < n and seen[start]:
        width = int(seen[start])
        # rows of one width, at most r of them: a new row makes the rest of its block stale
        stop = min(int(np.searchsorted(-seen, -width, side="right")), start + max(r, 1))
        noise = np.linalg.norm(error[:, :width][new], axis=1)
        basis = rows[:, :width][new]
        if len(new) >= width and _spans_everything(basis, noise):
            break  # and so it does on fewer columns
        block = slice(start, stop)
        known = np.linalg.norm(error[block, :width], axis=1)
        outside = np.flatnonzero(combine(basis, rows[block, :width], noise, known)[1])
        if len(outside):
            start += int(outside[0])
            new.append(start)
            start += 1
        else:
            start = stop
    return new


def _spans_everything(basis: Array, noise: Array) -> bool:
    """Whether no error of this size makes the basis span less (Weyl)."""
    values = np.linalg.svd(basis, compute_uv=False)
    rounding = 8 * sum(basis.shape) * FLOAT64_EPS * values[0]
    return bool(values[basis.shape[1] - 1] > np.linalg.norm(noise) + rounding)
