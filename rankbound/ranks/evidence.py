"""Certificates for ranks: what the tests decided, in a form that integers can verify.

A builder returns None where it finds no certificate, or raises Undecided with the reason.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

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
from rankbound.ranks.enclosure import left_inverse_of

MOST_ENCLOSED = 256  # rows of a context whose logarithms the checker encloses
MOST_MINOR = 160  # rows of a minor that the checker eliminates in about a second


def certify_proof(
    statement: Statement, rows: Rationals, proof: RankProof
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
            rows, columns, prime = _float_pivots(A)
            if len(rows) >= rank:
                return NonzeroMinor(statement, rows[:rank], columns[:rank], prime)
    else:
        radii = Matrix.of_floats(error.tolist())
        statement = RankUnderError(Matrix.of_floats(A.tolist()), radii, rank)
    return enclosure(statement, A, error, rank)


def rank_modulo_prime(A: Array) -> int:
    """The rank modulo a prime of the exact entries, never above the rank over Q."""
    return len(_float_pivots(A)[0])


def _float_pivots(A: Array) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    cleared, _ = integer_rows(as_rationals(A.tolist()))
    return pivots_modulo_prime(cleared)


def pivoted_minor(A: Array, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows and columns of a well-conditioned minor of this size, by QR with pivoting."""
    columns = _pivots(A)[:rank]
    return _pivots(A[:, columns].T)[:rank], columns


def _pivots(A: Array) -> tuple[int, ...]:
    from scipy.linalg import qr

    return tuple(int(j) for j in qr(A, mode="r", pivoting=True, check_finite=False)[1])


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
    columns = tuple(range(A.shape[1])) if rank == A.shape[1] else _pivots(A)[:rank]
    part = A[:, columns]
    row_exponents, column_exponents = _equilibrated(part)
    scale = np.add.outer(row_exponents, column_exponents)
    scaled = np.ldexp(part, scale)
    with np.errstate(over="ignore"):  # an error that no bound can carry
        radii = None if error is None else np.ldexp(error[:, columns], scale)
    if radii is not None and not np.isfinite(radii).all():
        return None
    inverse = left_inverse_of(scaled)
    if inverse is None or not np.isfinite(inverse).all():
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

    R = U^T and V = V S^{-1} of the singular value decomposition, rounded to 40 bits over what their
    norms need.
    """
    n = len(D)
    if n > MOST_ENCLOSED:
        raise Undecided(f"beyond the checker's limit of {MOST_ENCLOSED} rows")
    U, values, Vt = np.linalg.svd(D)
    bits = 40 + math.ceil(math.log2(n))
    norm = math.ceil(math.log2(1 + float(values[0])))
    inverse = _rounded(U[:, :rank].T, bits)
    compression = _rounded(Vt[:rank].T / values[:rank], bits + norm)
    if inverse is None or compression is None:
        return None
    least = float(values[rank - 1]) if rank else 1.0
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
