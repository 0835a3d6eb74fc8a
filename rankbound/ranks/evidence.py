"""Floating-point tests that prove ranks, and certificates of what they decided.

Each test says True only if every matrix within the stated error has linearly independent columns
(sound), and False where it could not tell (incomplete): its bounds hold for every rounding. A is
(m, n) with m >= n, float64, finite. A builder of certificates returns None where it finds none, or
raises Undecided with the reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.certificates.certificates import (
    Factorisation,
    NonsingularEnclosure,
    NonzeroMinor,
    SpectralGap,
)
from rankbound.certificates.matrices import Dyadic, Matrix, Minor
from rankbound.certificates.statements import LogRankWithin, Rank, RankUnderError, Statement
from rankbound.errors import Undecided
from rankbound.exact.balls import inverse_on_grid
from rankbound.exact.elimination import RankProof, pivots_modulo_prime
from rankbound.exact.flint import product
from rankbound.exact.rational import IntegerMatrix, Rationals, as_rationals, integer_rows
from rankbound.exact.rounding import ETA, U, check_lapack, product_error, product_error_sums, up

MOST_ENCLOSED = 1024  # rows of a matrix that the checker reads
MOST_MINOR = 160  # rows of a minor that the checker eliminates in about a second


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


def gram_is_definite(
    A: Array, radius: float, row: Array | None = None, room: Array | None = None
) -> bool:
    """Prove full column rank by a Cholesky decomposition of the shifted Gram matrix.

    `row` is one more row of A, which is not copied for it; `room` is where the Gram matrix may be.

    Let s = ‖A‖_F². The computed Gram matrix is within ``m u s`` of ``A^T A`` in spectral norm, as
    ``‖|A|^T |A|‖_2 <= s``. Cholesky that runs to completion on B has ``R^T R = B + Δ`` with
    ``‖Δ‖_2 <= γ tr(B)/(1 - γ)``, γ = γ_{n+2}, in any order and with reciprocals for quotients
    (Higham 2002, Theorem 10.3). So if it does on the Gram matrix less c I, its smallest eigenvalue
    is at least c less these and less the rounding of the shift; c is chosen so that the rest is
    above ``radius²``, and then ``σ_min(A) > radius``: every matrix within that spectral norm has
    full column rank. The constants are doubled, which leaves room for other blockings.
    """
    from scipy.linalg.blas import dsyr, dsyrk
    from scipy.linalg.lapack import dpotrf

    check_lapack()
    m, n = A.shape
    given = None if room is None else room.T
    with np.errstate(over="ignore"):  # an infinite shift proves nothing
        if A.flags.f_contiguous:
            gram = dsyrk(1.0, A, trans=1, lower=0, c=given, overwrite_c=1)
        else:
            rows = np.ascontiguousarray(A).T
            gram = dsyrk(1.0, rows, trans=0, lower=0, c=given, overwrite_c=1)
        if row is not None:
            m, gram = m + 1, dsyr(1.0, row, a=gram, lower=0, overwrite_a=1)
        diagonal = np.einsum("ii->i", gram)
        shift = float(_shift(diagonal.sum(), m, n) + up(radius * radius, 1))
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

    check_lapack()
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
        entries = error.ravel(order="K")  # contiguous, so that nothing is copied
        squares = up(entries @ entries, error.size + 2) + error.size * ETA  # each may underflow
        return float(up(np.sqrt(squares), 1))


def preconditioned_gram_is_definite(A: Array, radius: float, *, sliced: bool = False) -> bool:
    """Prove full column rank of A X, X = U^{-1} of ``P A = L U``, by its Gram matrix.

    If A' X has full column rank, so has A'; X may be any matrix. But for rounding A X is P^T L,
    which is rarely ill-conditioned whatever A is (Stewart 1997). For every A' within the radius ρ
    of A ``‖A' X - fl(A X)‖_2 <= (n u ‖A‖_F + ρ) ‖X‖_F``, and what underflows. Where that rounding
    is too much, A X is computed from slices if asked for.
    """
    from scipy.linalg.blas import dtrmm
    from scipy.linalg.lapack import dgetrf, dtrtri

    n = A.shape[1]
    if len(A) == n and A.flags.c_contiguous:
        A = A.T  # as good, and what LAPACK takes without a copy
    with np.errstate(all="ignore"):  # what is not finite fails the test
        factors, _, singular = dgetrf(A)
        if singular:
            return False
        X, _ = dtrtri(factors[:n], overwrite_c=1)  # L is still below, and in its norm
        moved = up(radius * frobenius(X), 2)
        rounding = up(n * U * frobenius(A) * frobenius(X), 3) + n * A.size * ETA
        product = dtrmm(1.0, X, A, side=1)
        if gram_is_definite(product, float(up(moved + rounding, 1))):
            return True
        if not sliced or rounding < max(ROUNDED, moved):  # then it is not what is too much
            return False
        product, rounding = sliced_product(A, np.triu(X))
        return gram_is_definite(product, float(up(moved + rounding, 1)))


def sliced_product(A: Array, X: Array) -> tuple[Array, Array]:
    """The product as if in twice the precision, and how far it may be off in Frobenius norm.

    Rows of A and columns of X are cut into slices of so few bits that sums of products of slices
    are exact (Ozaki, Ogita, Oishi & Rump 2012). The three products that matter are, and are summed
    with their rounding errors; the others are smaller by two slices.
    """
    n = A.shape[1]
    bits = (53 - n.bit_length()) // 2
    A1, A23 = _sliced(A, bits, 1)
    A2, A3 = _sliced(A23, bits, 1)
    X1, X23 = _sliced(X, bits, 0)
    X2, X3 = _sliced(X23, bits, 0)
    small = A1 @ X3 + A2 @ X23 + A3 @ X
    rounding = (
        (n + 3)
        * U
        * sum(frobenius(left) * frobenius(right) for left, right in ((A1, X3), (A2, X23), (A3, X)))
    )
    total = A1 @ X1
    for exact in (A1 @ X2, A2 @ X1):
        sums = total + exact
        part = sums - total
        off = (total - (sums - part)) + (exact - part)  # of the sum, exactly (Knuth)
        rounding += U * (frobenius(small) + frobenius(off))
        total, small = sums, small + off
    product = total + small
    rounding += U * frobenius(product)
    return product, up(rounding, 40) + 4 * n * product.size * ETA


def _sliced(A: Array, bits: int, axis: int) -> tuple[Array, Array]:
    """The leading bits of A below the largest entry of each row (axis 1) or column, and the rest.

    Both are exact, as long as no power leaves the range of the exponents; nan where one does.
    """
    exponents = np.frexp(np.max(np.abs(A), axis=axis, keepdims=True))[1] - bits
    unit = np.where(np.abs(exponents) < 400, np.ldexp(1.0, exponents), np.nan)
    leading = np.rint(A / unit) * unit
    return leading, A - leading


def left_inverse_of(A: Array) -> Array | None:
    """An approximate left inverse (n, m), or None where a pivot is zero or it is not finite."""
    try:
        if A.shape[0] == A.shape[1]:
            inverse = np.asarray(np.linalg.inv(A), np.float64)
        else:
            Q, R = np.linalg.qr(A)
            inverse = np.asarray(np.linalg.inv(R) @ Q.T, np.float64)
    except np.linalg.LinAlgError:  # a zero pivot
        return None
    return inverse if np.isfinite(inverse).all() else None


def has_left_inverse(A: Array, error: Array | None) -> bool:
    """Prove full column rank by an approximate left inverse R: ``‖I - R A'‖_∞ < 1``.

    For every A' within the error ``|I - R A'| <= |I - fl(R A)| + |fl(R A) - R A| + |R| E``
    entrywise. Any norm would do (Rump): if R A' is nonsingular, A' has independent columns. R may
    come from anywhere. Row sums of the bounds are products with vectors.
    """
    with np.errstate(all="ignore"):  # what is not finite fails the comparison
        R = left_inverse_of(A)
        if R is None:
            return False
        residual = R @ A
        np.einsum("ii->i", residual)[:] -= 1.0  # exact or with one more rounding, within `up` below
        rows = np.abs(residual, out=residual).sum(axis=1) + product_error_sums(R, A) + U
        if error is not None:
            rows = rows + up(np.abs(R) @ np.sum(error, axis=1), sum(A.shape))
        return bool(np.all(up(rows, A.shape[1] + 4) < 1.0))


@dataclass(frozen=True, eq=False)
class Test:
    """Certainly independent columns (rows, of a wide matrix), and the name of what shows it."""

    columns: tuple[int, ...]
    name: str


GRAM = "Cholesky of the shifted Gram matrix"
PRECONDITIONED = "Cholesky of the shifted Gram matrix of A U^{-1}, P A = L U"
INVERSE = "an approximate left inverse"
ROUNDED = 2.0**-20  # rounding that cannot be what fails the test of A U^{-1}
SKETCHED = 64  # combinations of columns that are tried before a whole decomposition
FAR_APART = 2.0**8  # columns of such different sizes are scaled before they are tested again
LARGE = 256  # columns from which it pays to look at a quarter of them first


def certain_columns(A: Array, error: Array | None) -> Test:
    """Find as many certainly independent columns (rows, of a wide matrix) as the tests can show."""
    if A.shape[0] < A.shape[1]:
        A, error = A.T, None if error is None else error.T
    radius = frobenius(error)
    # mostly there is no need to scale
    if not _pivots_run_out(A) and gram_is_definite(A, radius):
        return Test(tuple(range(A.shape[1])), GRAM)
    sizes = np.maximum(np.max(A, axis=0), -np.min(A, axis=0))
    if np.max(sizes) / FAR_APART <= np.min(sizes) and preconditioned_gram_is_definite(
        A, radius, sliced=True
    ):
        return Test(tuple(range(A.shape[1])), PRECONDITIONED)
    scaled, scaled_error = scale_columns(A, error)
    if name := _full_rank(scaled, scaled_error):
        return Test(tuple(range(A.shape[1])), name)
    # with an error, a column scaled up is not a column better known: order them as they stand
    return _by_pivoting(scaled, scaled_error, A if error is not None else scaled)


def _pivots_run_out(A: Array) -> bool:
    """Guess from a quarter of the columns that the Gram matrix of all will show nothing.

    The pivots of its Cholesky decomposition, over the diagonal, are the shares of the columns that
    those before them leave. If their logarithms fall on as from one half of the quarter to the
    other, the last is below the shift of :func:`gram_is_definite`. It decides which test is first.
    """
    from scipy.linalg.blas import dsyrk
    from scipy.linalg.lapack import dpotrf

    m, n = A.shape
    if n < LARGE:
        return False
    with np.errstate(all="ignore"):  # what is not finite is no guess
        gram = dsyrk(1.0, np.ascontiguousarray(A[:, : n // 4]).T, trans=0, lower=0)
        diagonal = np.diag(gram).copy()
        factor, stopped = dpotrf(gram, lower=0, clean=0, overwrite_a=1)
        if stopped:
            return False
        logs = 2 * np.log2(np.diag(factor)) - np.log2(diagonal)
        first, second = np.median(logs[: n // 8]), np.median(logs[n // 8 :])
        last = second + 6.5 * (second - first)  # from the middle of the second eighth to the end
        return bool(last < np.log2(_shift(n, m, n)))


def _full_rank(A: Array, error: Array | None) -> str:
    """The name of the first test that passes, or nothing."""
    if gram_is_definite(A, radius := frobenius(error)):
        return GRAM
    if preconditioned_gram_is_definite(A, radius):
        return PRECONDITIONED
    return INVERSE if has_left_inverse(A, error) else ""


def _by_pivoting(A: Array, error: Array | None, ordered_by: Array) -> Test:
    """Largest r for which the first r pivotal columns pass a test, by bisection.

    incomplete: that r pass says nothing of r + 1, and that r fail nothing of r - 1; the columns
    are nested, so bisection finds one r that passes where the tests are monotone, and some r else.
    """
    R, order = _pivoted_qr(ordered_by)
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
    return Test(order[:lower], name)


def singular_values_above(A: Array, radius: float, room: Array | None = None) -> int:
    """Return an r for which the r-th singular value of A is certainly above the radius.

    With V' the first r right singular vectors over their singular values, A V' is nearly
    orthonormal, and ``s_r(A) >= σ_min(A V') / ‖V'‖_2``; both are bounded rigorously, so r is a
    lower bound of the rank of every matrix within `radius` of A in spectral norm. `room` is as in
    :func:`gram_is_definite`.
    """
    if not np.isfinite(radius):
        return 0
    row = _row_beside(A)
    if row is not None and gram_is_definite(A, radius, row, room):
        return len(A) - 1
    found = _sketched_values(A, radius)
    if (
        found is None
        and row is not None
        and preconditioned_gram_is_definite(np.vstack([A, row]), radius)
    ):
        return len(A) - 1
    _, values, Vt = np.linalg.svd(A, full_matrices=False) if found is None else found
    for r in range(int(np.count_nonzero(values > radius)), 0, -1):  # mostly the first passes
        if _compressed_passes(A, Vt[:r].T / values[:r], radius):
            return r
    return 0


def _row_beside(A: Array) -> Array | None:
    """A row v of the size of A, where A is square and centred but for rounding.

    sound: a row more moves singular values by one place at most (Horn & Johnson 1991, Corollary
    3.1.3), so ``s_{n-1}(A) >= s_n([A; v^T])`` for any A and v. incomplete: v, which has no pattern,
    may lie near the row space of A.
    """
    n, size = len(A), frobenius(A)
    if A.shape != (n, n) or n < 2 or not np.max(np.abs(A.sum(axis=0))) <= n * n * U * size:
        return None
    v: Array = np.random.default_rng(0).standard_normal(n)
    v *= size / float(np.linalg.norm(v))
    return v


def leading_values(A: Array, radius: float) -> tuple[Array, Array, Array]:
    """Nearly singular vectors and values of A, with all those above the radius among them."""
    left, values, Vt = _sketched_values(A, radius) or np.linalg.svd(A, full_matrices=False)
    return left, values, Vt


def _sketched_values(A: Array, radius: float) -> tuple[Array, Array, Array] | None:
    """Those of A within the span of a few random combinations of its columns.

    None where that span leaves out more than the radius, and so perhaps a singular value above it
    (Halko, Martinsson & Tropp 2011).
    """
    if min(A.shape) < 4 * SKETCHED:
        return None
    Q = np.linalg.qr(A @ np.random.default_rng(0).standard_normal((A.shape[1], SKETCHED)))[0]
    B = Q.T @ A
    if not np.linalg.norm(A - Q @ B) <= radius:
        return None
    left, values, Vt = np.linalg.svd(B, full_matrices=False)
    return Q @ left, values, Vt


def _compressed_passes(A: Array, V: Array, radius: float) -> bool:
    with np.errstate(all="ignore"):  # what is not finite fails the comparison
        product = A @ V
        gram = np.abs(V.T @ V) + product_error(V.T, V)
        norm = float(up(np.sqrt(up(np.max(np.sum(gram, axis=1)), V.shape[1] + 2)), 1))
        margin = float(up(radius * norm, 1)) + frobenius(product_error(A, V))
        return bool(np.isfinite(product).all()) and gram_is_definite(product, margin)


# ---- certificates


def certify_proof(
    statement: Statement, rows: Rationals | IntegerMatrix, proof: RankProof
) -> NonzeroMinor | Factorisation:
    """Certify the rank of a matrix whose rows these are: a minor, with factors where needed.

    The checker reduces what is stated, not these rows, so the prime must divide no denominator
    there; where it does, another serves as well.
    """
    minor = Minor(proof.rows, proof.columns, proof.prime)
    denominators = statement.denominators()
    if any(x % proof.prime == 0 for x in denominators):
        cleared, _ = integer_rows(rows)
        minor = Minor(*pivots_modulo_prime(cleared, proof.rank, denominators))
    if proof.factors is None:
        return NonzeroMinor(statement, minor.rows, minor.columns, minor.prime)
    left, right = proof.factors()
    return Factorisation(
        statement,
        Matrix.of_rationals(left, columns=proof.rank),
        Matrix.of_rationals(right, columns=len(rows[0])),
        minor if proof.rank else None,
    )


def prove_columns(A: Array, error: Array | None, rank: int) -> Any:
    """Return a certificate that A, or every matrix within the error, has at least this rank."""
    if error is None:
        statement: Statement = Rank(Matrix.of_floats(A.tolist()), rank, min(A.shape))
        if rank <= MOST_MINOR:
            rows, columns, prime = float_pivots(A)
            if len(rows) >= rank:
                return NonzeroMinor(statement, rows[:rank], columns[:rank], prime)
    else:
        radii = Matrix.of_floats(error.tolist())
        statement = RankUnderError(Matrix.of_floats(A.tolist()), radii, rank)
    return enclosure(statement, A, error, rank)


def float_pivots(A: Array) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """As :func:`pivots_modulo_prime`, of the exact entries."""
    cleared, _ = integer_rows(as_rationals(A.tolist()))
    return pivots_modulo_prime(cleared)


def pivoted_minor(A: Array, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows and columns of a well-conditioned minor of this size, by QR with pivoting."""
    columns = _pivoted_qr(A)[1][:rank]
    return _pivoted_qr(A[:, columns].T)[1][:rank], columns


def _pivoted_qr(A: Array) -> tuple[Array, tuple[int, ...]]:
    from scipy.linalg import qr

    R, order = qr(A, mode="r", pivoting=True, check_finite=False)
    return R, tuple(int(j) for j in order)


def enclosure(
    statement: Statement, A: Array, error: Array | None, rank: int
) -> NonsingularEnclosure | None:
    """Return a left inverse on a dyadic grid that proves rank(A) >= rank, if one is found.

    The columns are those of a pivoted QR; rows and columns are scaled by powers of two first.
    The grids are fine enough that rounding to them costs at most 1/8 of the 1 that is allowed.
    """
    if rank == 0:  # nothing to prove
        still = (0,) * A.shape[0], (0,) * A.shape[1]
        return NonsingularEnclosure(statement, (), *still, 0, Dyadic(0, len(A), (), 0))
    columns = tuple(range(A.shape[1])) if rank == A.shape[1] else _pivoted_qr(A)[1][:rank]
    part = A[:, columns]
    row_exponents, column_exponents = _equilibrated(part)
    scale = np.add.outer(row_exponents, column_exponents)
    scaled = np.ldexp(part, scale)
    with np.errstate(over="ignore"):  # an error that no bound can carry
        radii = None if error is None else np.ldexp(error[:, columns], scale)
    if radii is not None and not np.isfinite(radii).all():
        return None
    inverse = left_inverse_of(scaled)
    if inverse is None:
        inverse = np.zeros((rank, len(A)))
    everywhere = np.zeros(A.shape[1], np.int64)
    everywhere[list(columns)] = column_exponents
    fine = math.ceil(math.log2(16 * len(A) * rank))
    for precise in (False, True):
        candidate = _precise(scaled, fine) if precise else _rounded(inverse, fine)
        if candidate is None:
            continue
        row_sum = max(sum(map(abs, row)) for row in candidate)
        grid = max(0, math.ceil(math.log2(16 * rank * max(1, row_sum >> fine))) + 1)
        if abs(grid) <= 4096 and _proves(candidate, fine, part, scale, radii, grid):
            return NonsingularEnclosure(
                statement,
                None if rank == A.shape[1] else columns,
                tuple(int(e) for e in row_exponents),
                tuple(int(e) for e in everywhere),
                grid,
                _dyadic(candidate, -fine, len(A)),
            )
    return None


def spectral_gap(statement: LogRankWithin, D: Array, rank: int) -> SpectralGap | None:
    """Return the certificate of a log-rank within a ratio, D = C log P to rounding.

    R = U^T and V = V S^{-1} of the singular value decomposition, rounded. In units of 2^-bits, and
    of that over ‖D‖ for V, rounding moves R D V by at most ``n^{3/2} 2^-bits`` in the norm that the
    checker takes: 1/16 where the gap leaves half of 1, and far less where it may not.
    """
    n = len(D)
    if n > MOST_ENCLOSED:
        raise Undecided(f"beyond the checker's limit of {MOST_ENCLOSED} rows")
    U, values, Vt = np.linalg.svd(D)
    least = float(values[rank - 1]) if rank else 1.0
    wide = 2 * n * statement.ratio <= least
    bits = math.ceil(4 + 1.5 * math.log2(n)) if wide else 40 + math.ceil(math.log2(n))
    norm = math.ceil(math.log2(1 + float(values[0])))
    inverse = _rounded(U[:, :rank].T, bits)
    compression = _rounded(Vt[:rank].T / values[:rank], bits + norm)
    if inverse is None or compression is None:
        return None
    grid = bits + math.ceil(math.log2(n)) + max(0, math.ceil(-math.log2(least)))
    return SpectralGap(
        statement,
        _dyadic(compression, -bits - norm, rank),
        _dyadic(inverse, -bits, n),
        grid,
    )


def _dyadic(rows: IntegerMatrix, exponent: int, columns: int) -> Dyadic:
    return Dyadic(len(rows), columns, tuple(x for row in rows for x in row), exponent)


def _equilibrated(A: Array) -> tuple[Any, Any]:
    rows = -np.frexp(np.max(np.abs(A), axis=1))[1].astype(np.int64)
    columns = -np.frexp(np.max(np.abs(np.ldexp(A, rows[:, None])), axis=0))[1].astype(np.int64)
    return rows, columns


def _rounded(R: Array, fine: int) -> IntegerMatrix | None:
    with np.errstate(over="ignore"):
        scaled = np.rint(np.ldexp(R, fine))
    if not np.isfinite(scaled).all():
        return None
    return [[int(x) for x in row] for row in scaled.tolist()]


def _precise(A: Array, fine: int) -> IntegerMatrix | None:
    """A left inverse by ball arithmetic, for square A on which double precision is too coarse."""
    return inverse_on_grid(A, fine) if A.shape[0] == A.shape[1] and len(A) <= 256 else None


def _proves(
    R: IntegerMatrix, fine: int, A: Array, scale: Any, radii: Array | None, grid: int
) -> bool:
    """Whether ``‖I - R A'‖_∞ < 1`` for all matrices in question, in exact arithmetic."""
    entries = [
        [_grid_floor(x, int(e) + grid) for x, e in zip(*pair, strict=True)]
        for pair in zip(A.tolist(), scale.tolist(), strict=True)
    ]
    # one unit for rounding down, and the error rounded up to units
    errors = [len(entries[0])] * len(A)
    if radii is not None:
        errors = [sum(1 - _grid_floor(-r, grid) for r in row) for row in radii.tolist()]
    residual = product(R, entries)
    one = 1 << (fine + grid)
    return all(
        sum(abs((one if i == j else 0) - x) for j, x in enumerate(row))
        + sum(abs(r) * e for r, e in zip(R[i], errors, strict=True))
        < one
        for i, row in enumerate(residual)
    )


def _grid_floor(x: float, exponent: int) -> int:
    numerator, denominator = x.as_integer_ratio()
    return (
        (numerator << exponent) // denominator
        if exponent >= 0
        else numerator // (denominator << -exponent)
    )
