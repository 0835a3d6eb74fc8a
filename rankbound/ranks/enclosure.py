"""Floating-point tests that prove full column rank, by bounds that hold for every rounding.

Each test says True only if every matrix within the stated error has linearly independent columns
(sound), and False where it could not tell (incomplete). A is (m, n) with m >= n, float64, finite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.exact.rounding import ETA, U, product_error, up


def scale_columns(A: Array, error: Array | None) -> tuple[Array, Array | None]:
    """Divide columns by powers of two that bring them to [1/2, 1); ranks stay as they are.

    A zero column stays zero. Where an entry becomes subnormal and is rounded, by at most η, that
    is an error of the scaled matrix.
    """
    exponents = np.frexp(np.max(np.abs(A), axis=-2, keepdims=True))[1]
    if not np.any(exponents):
        return A, error
    scaled = np.ldexp(A, -exponents)
    if error is not None:
        with np.errstate(over="ignore"):  # an infinite error proves nothing, as it should
            return scaled, np.asarray(np.ldexp(error, -exponents), np.float64) + ETA + ETA
    if np.array_equal(np.ldexp(scaled, exponents), A):
        return scaled, None
    return scaled, np.full_like(scaled, ETA)


def gram_is_definite(A: Array, radius: float) -> bool:
    """Prove full column rank by a Cholesky decomposition of the shifted Gram matrix.

    Let s = ‖A‖_F². The computed Gram matrix is within ``m u s`` of ``A^T A`` in spectral norm, as
    ``‖|A|^T |A|‖_2 <= s``. Cholesky that runs to completion on B has ``R^T R = B + Δ`` with
    ``‖Δ‖_2 <= γ tr(B)/(1 - γ)``, γ = γ_{n+2}, in any order and with reciprocals for quotients
    (Higham 2002, Theorem 10.3). So if it does on the Gram matrix less c I, its smallest eigenvalue
    is at least c less these and less the rounding of the shift; c is chosen so that the rest is
    above ``radius²``, and then ``σ_min(A) > radius``: every matrix within that spectral norm has
    full column rank. The constants are doubled, which leaves room for other blockings.
    """
    from scipy.linalg.blas import dsyrk
    from scipy.linalg.lapack import dpotrf

    transposed = np.ascontiguousarray(A).T  # Fortran order without a copy
    with np.errstate(over="ignore"):  # an infinite shift proves nothing
        gram = dsyrk(1.0, transposed, trans=0, lower=0)
        diagonal = np.einsum("ii->i", gram)
        shift = float(_shift(diagonal.sum(), *A.shape) + up(radius * radius, 1))
    if not np.isfinite(shift) or np.any(diagonal <= shift):
        return False
    diagonal -= float(up(shift, 8))
    return bool(dpotrf(gram, lower=0, clean=0, overwrite_a=1)[1] == 0)


def _shift(trace: Array | float, m: int, n: int) -> Array:
    """What rounding can take from the smallest eigenvalue, given the computed ``‖A‖_F²``."""
    return np.asarray(2.0 * (m + n + 8) * U * up(trace, m + n) + (m + n) ** 2 * ETA)


def grams_are_definite(stack: Array) -> npt.NDArray[np.bool_]:
    """:func:`gram_is_definite` of each matrix of a stack (N, m, n), without an error."""
    from scipy.linalg.lapack import dpotrf

    if stack.shape[-2] < stack.shape[-1]:
        stack = np.swapaxes(stack, -1, -2)
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite shift proves nothing
        grams = np.swapaxes(stack, -1, -2) @ stack
        diagonals = np.einsum("bii->bi", grams)
        shifts = _shift(diagonals.sum(axis=1), *stack.shape[1:])[:, None]
        possible: npt.NDArray[np.bool_] = np.isfinite(shifts[:, 0])
        possible &= np.all(diagonals > shifts, axis=1)
        diagonals -= up(shifts, 8)
    # the transpose is in Fortran order, so nothing is copied; either triangle is within the bound
    for i in np.flatnonzero(possible):
        possible[i] = dpotrf(grams[i].T, lower=1, clean=0, overwrite_a=1)[1] == 0
    return possible


def frobenius(error: Array | None) -> float:
    """An upper bound of the Frobenius norm, and so of the spectral norm, of a computed matrix."""
    if error is None:
        return 0.0
    with np.errstate(over="ignore"):  # an infinite norm proves nothing, as it should
        squares = up(np.sum(error * error), error.size + 2) + error.size * ETA  # each may underflow
        return float(up(np.sqrt(squares), 1))


def left_inverse_of(A: Array) -> Array | None:
    """An approximate left inverse (n, m), or None where a pivot is zero."""
    try:
        if A.shape[0] == A.shape[1]:
            return np.asarray(np.linalg.inv(A), np.float64)
        Q, R = np.linalg.qr(A)
        return np.asarray(np.linalg.inv(R) @ Q.T, np.float64)
    except np.linalg.LinAlgError:  # a zero pivot
        return None


def has_left_inverse(A: Array, error: Array | None) -> bool:
    """Prove full column rank by an approximate left inverse R: ``‖I - R A'‖_∞ < 1``.

    For every A' within the error ``|I - R A'| <= |I - fl(R A)| + |fl(R A) - R A| + |R| E``
    entrywise. Any norm would do (Rump): if R A' is nonsingular, A' has independent columns.
    """
    with np.errstate(all="ignore"):  # what is not finite fails the comparison
        R = left_inverse_of(A)
        if R is None or not np.isfinite(R).all():
            return False
        residual = R @ A
        bound = product_error(R, A)
        np.einsum("ii->i", residual)[:] -= 1.0  # exact or with one more rounding, within `up` below
        rows = np.sum(np.abs(residual) + bound, axis=1) + U
        if error is not None:
            rows = rows + up(np.abs(R) @ np.sum(error, axis=1), sum(A.shape))
        return bool(np.all(up(rows, A.shape[1] + 4) < 1.0))


@dataclass(frozen=True, eq=False)
class Test:
    """Certainly independent columns (rows, of a wide matrix), and the name of what shows it."""

    columns: tuple[int, ...]
    name: str


GRAM = "Cholesky of the shifted Gram matrix"
INVERSE = "an approximate left inverse"


def certain_columns(A: Array, error: Array | None) -> Test:
    """Find as many certainly independent columns (rows, of a wide matrix) as the tests can show."""
    if A.shape[0] < A.shape[1]:
        A, error = A.T, None if error is None else error.T
    if gram_is_definite(A, frobenius(error)):  # mostly there is no need to scale
        return Test(tuple(range(A.shape[1])), GRAM)
    scaled, scaled_error = scale_columns(A, error)
    if name := _full_rank(scaled, scaled_error):
        return Test(tuple(range(A.shape[1])), name)
    # with an error, a column scaled up is not a column better known: order them as they stand
    return _by_pivoting(scaled, scaled_error, A if error is not None else scaled)


def _full_rank(A: Array, error: Array | None) -> str:
    """The name of the first test that passes, or nothing."""
    if gram_is_definite(A, frobenius(error)):
        return GRAM
    return INVERSE if has_left_inverse(A, error) else ""


def _by_pivoting(A: Array, error: Array | None, ordered_by: Array) -> Test:
    """Largest r for which the first r pivotal columns pass a test, by bisection.

    incomplete: that r pass says nothing of r + 1, and that r fail nothing of r - 1; the columns
    are nested, so bisection finds one r that passes where the tests are monotone, and some r else.
    """
    from scipy.linalg import qr

    R, order = qr(ordered_by, mode="r", pivoting=True, check_finite=False)
    lower, name = 0, "no column is certainly other than zero"
    upper = int(np.count_nonzero(np.diag(R))) + 1
    while upper - lower > 1:
        r = (lower + upper) // 2
        columns = order[:r]
        part, part_error = A[:, columns], None if error is None else error[:, columns]
        if passed := _full_rank(part, part_error):
            lower, name = r, f"{passed}, pivotal columns"
        else:
            upper = r
    return Test(tuple(int(j) for j in order[:lower]), name)


def singular_values_above(A: Array, radius: float) -> int:
    """Return an r for which the r-th singular value of A is certainly above the radius.

    With V' the first r right singular vectors over their singular values, A V' is nearly
    orthonormal, and ``s_r(A) >= σ_min(A V') / ‖V'‖_2``; both are bounded rigorously, so r is a
    lower bound of the rank of every matrix within `radius` of A in spectral norm.
    """
    if not np.isfinite(radius):
        return 0
    _, values, Vt = np.linalg.svd(A, full_matrices=False)
    for r in range(int(np.count_nonzero(values > radius)), 0, -1):  # mostly the first passes
        if _compressed_passes(A, Vt[:r].T / values[:r], radius):
            return r
    return 0


def _compressed_passes(A: Array, V: Array, radius: float) -> bool:
    with np.errstate(all="ignore"):  # what is not finite fails the comparison
        product = A @ V
        gram = np.abs(V.T @ V) + product_error(V.T, V)
        norm = float(up(np.sqrt(up(np.max(np.sum(gram, axis=1)), V.shape[1] + 2)), 1))
        margin = float(up(radius * norm, 1)) + frobenius(product_error(A, V))
        return bool(np.isfinite(product).all()) and gram_is_definite(product, margin)
