"""Exact products, inverses and ranks by python-flint, which nothing else here imports.

It is imported inside the functions, so that `import rankbound` stays cheap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rankbound.arithmetic.rational import IntegerMatrix
from rankbound.errors import BackendMissing

__all__ = [
    "RankProof",
    "left_inverse",
    "product",
    "prove_rank",
    "rank_modulo_prime",
    "rational_product",
]

_LARGEST_PRIME = 2**61 - 1  # a modulus must fit a machine word


def _flint() -> Any:
    try:
        import flint
    except ImportError:
        raise BackendMissing(
            "exact arithmetic needs python-flint, which is not installed here: "
            "pip install python-flint (wheels exist for glibc Linux, macOS and Windows)."
        ) from None
    return flint


def product(left: IntegerMatrix, right: IntegerMatrix) -> IntegerMatrix:
    """Return the exact product of two integer matrices."""
    flint = _flint()
    rows = (flint.fmpz_mat(left) * flint.fmpz_mat(right)).tolist()
    return [[int(x) for x in row] for row in rows]


def left_inverse(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return ``(X^T X)^{-1} X^T`` exactly, for X of full column rank.

    Raises
    ------
    ZeroDivisionError
        If X is not of full column rank.
    """
    X = _rational_flint(rows)
    transposed = X.transpose()
    return _fractions((transposed * X).inv() * transposed)


def rational_product(
    left: list[list[Fraction]], right: list[list[Fraction]]
) -> list[list[Fraction]]:
    """Return the exact product of two rational matrices."""
    return _fractions(_rational_flint(left) * _rational_flint(right))


def _rational_flint(rows: list[list[Fraction]]) -> Any:
    flint = _flint()
    return flint.fmpq_mat([[flint.fmpq(x.numerator, x.denominator) for x in row] for row in rows])


def _fractions(matrix: Any) -> list[list[Fraction]]:
    return [[Fraction(int(x.p), int(x.q)) for x in row] for row in matrix.tolist()]


def rank_modulo_prime(M: IntegerMatrix) -> tuple[int, int]:
    """Return the rank modulo a prime, never above the rank over Q, and the prime."""
    flint = _flint()
    return int(flint.nmod_mat(flint.fmpz_mat(M), _LARGEST_PRIME).rank()), _LARGEST_PRIME


@dataclass(frozen=True, eq=False)
class RankProof:
    """A rank over the rationals with what proves it.

    Attributes
    ----------
    rank : int
        The rank of the integer matrix M.
    rows, columns : tuple of int
        A rank × rank minor of M that is not zero modulo `prime`, which proves rank M >= rank.
    prime : int
        The prime.
    coefficients : list of list of Fraction, shape (rank, n)
        Y with ``M[:, columns] @ Y == M`` exactly, which proves rank M <= rank; None when the rank
        is min(m, n), where the shape is the proof.
    """

    rank: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    prime: int
    coefficients: list[list[Fraction]] | None


def prove_rank(M: IntegerMatrix) -> RankProof:
    """Return the rank of an integer matrix with a proof of both sides.

    The row-reduced form modulo a prime names a minor (its rank is a lower bound over Q, for every
    prime); solving with that minor over Q and multiplying out shows that the other columns lie in
    the span of the chosen ones. Far cheaper than elimination over Q, and both sides are kept.
    """
    flint = _flint()
    whole = flint.fmpz_mat(M)
    full = min(len(M), len(M[0]))
    for prime in _primes(flint):
        reduced = flint.nmod_mat(whole, prime)
        columns = _pivots(reduced)
        if not columns:
            if any(map(any, M)):
                continue  # every entry is a multiple of this prime
            return RankProof(0, (), (), prime, [])
        rows = _pivots(reduced.transpose())
        if len(columns) == full:
            return RankProof(full, rows, columns, prime, None)
        coefficients = _span_coefficients(flint, M, whole, rows, columns)
        if coefficients is not None:
            return RankProof(len(columns), rows, columns, prime, coefficients)
    raise ArithmeticError("the primes ran out; please report this matrix as a bug.")


def _primes(flint: Any) -> Iterator[int]:
    """Primes downwards from 2^61 - 1: those that divide the pivotal minors are finitely many."""
    for candidate in range(_LARGEST_PRIME, 2, -2):
        if flint.fmpz(candidate).is_prime():
            yield candidate


def _pivots(matrix: Any) -> tuple[int, ...]:
    echelon, rank = matrix.rref()
    pivots, column = [], 0
    for row in range(rank):
        while int(echelon[row, column]) == 0:
            column += 1
        pivots.append(column)
    return tuple(pivots)


def _span_coefficients(
    flint: Any, M: IntegerMatrix, whole: Any, rows: tuple[int, ...], columns: tuple[int, ...]
) -> list[list[Fraction]] | None:
    core = flint.fmpz_mat([[M[i][j] for j in columns] for i in rows])
    left = flint.fmpz_mat([[row[j] for j in columns] for row in M])
    solution = core.solve(flint.fmpz_mat([M[i] for i in rows]))
    numerator, denominator = solution.numer_denom()
    if left * numerator != whole * denominator:
        return None  # the prime divided a larger minor
    scale = int(denominator)
    return [[Fraction(int(x), scale) for x in row] for row in numerator.tolist()]
