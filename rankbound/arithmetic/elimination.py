"""The rank of a rational matrix with a proof of both sides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rankbound.arithmetic.exact import flint_module
from rankbound.arithmetic.rational import IntegerMatrix, integer_rows

__all__ = ["RankProof", "pivots_modulo_prime", "prove_rank"]

LARGEST_PRIME = 2**61 - 1  # a modulus must fit a machine word
SMALL = 40  # ranks up to which either side is solved at once, without asking which is cheaper
MOST_PRIMES = 64  # numbers beyond 1,900 bits are not small

Rational = list[list[Fraction]]
Pivots = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RankProof:
    """A rank over the rationals with what proves it.

    Attributes
    ----------
    rank : int
        The rank of the matrix A.
    rows, columns : tuple of int
        A rank × rank minor of A, its rows cleared of denominators, that is not zero modulo
        `prime`: rank A >= rank.
    prime : int
        The prime.
    factors : callable or None
        Returns ``(left, right)`` of shapes (m, rank) and (rank, n) with ``left · right = A``
        exactly: rank A <= rank. None when the rank is min(m, n), or the bound that was given.
    """

    rank: int
    rows: Pivots
    columns: Pivots
    prime: int
    factors: Callable[[], tuple[Rational, Rational]] | None


def prove_rank(A: Rational, most: int | None = None) -> RankProof:
    """Return the rank of a rational matrix with a proof of both sides.

    `most` is a bound of the rank that is known otherwise (the shape, unless given): a minor of that
    size needs no factors beside it.

    The row-reduced form modulo a prime names a minor (for every prime its rank is a lower bound
    over Q). Solving with that minor over Q and multiplying out shows that the other columns lie in
    the span of the chosen ones, or the other rows in that of the chosen rows: the side whose
    coefficients are the smaller numbers. Far cheaper than elimination over Q.
    """
    flint = flint_module()
    cleared, _ = integer_rows(A)
    whole = flint.fmpz_mat(cleared)
    full = min(len(A), len(A[0])) if most is None else most
    for prime in _primes(flint):
        rows, columns = _minor(flint, whole, prime)
        rank = len(columns)
        if rank == full:
            return RankProof(rank, rows, columns, prime, None)
        if rank == 0 and not any(map(any, cleared)):
            return RankProof(0, (), (), prime, lambda: ([[] for _ in A], []))
        factors = _factors(flint, A, cleared, rows, columns) if rank else None
        if factors is not None:  # else the prime divides a larger minor
            return RankProof(rank, rows, columns, prime, factors)
    raise ArithmeticError("the primes ran out; please report this matrix as a bug.")


def pivots_modulo_prime(M: IntegerMatrix) -> tuple[Pivots, Pivots, int]:
    """Return rows and columns of a largest minor of M that is not zero modulo a prime, and it.

    The size of the minor is never above the rank over Q.
    """
    flint = flint_module()
    return *_minor(flint, flint.fmpz_mat(M), LARGEST_PRIME), LARGEST_PRIME


def _primes(flint: Any) -> Iterator[int]:
    """Primes downwards from 2^61 - 1: those that divide the pivotal minors are finitely many."""
    for candidate in range(LARGEST_PRIME, 2, -2):
        if flint.fmpz(candidate).is_prime():
            yield candidate


def _minor(flint: Any, whole: Any, prime: int) -> tuple[Pivots, Pivots]:
    reduced = flint.nmod_mat(whole, prime)
    return _pivots(reduced.transpose()), _pivots(reduced)


def _pivots(matrix: Any) -> Pivots:
    echelon, rank = matrix.rref()
    pivots, column = [], 0
    for row in range(rank):
        while int(echelon[row, column]) == 0:
            column += 1
        pivots.append(column)
        column += 1
    return tuple(pivots)


def _factors(
    flint: Any, A: Rational, cleared: IntegerMatrix, rows: Pivots, columns: Pivots
) -> Callable[[], tuple[Rational, Rational]] | None:
    """Show that the chosen columns span the others, or the chosen rows; None if they do not."""
    # for the rows, clear the columns of denominators: the coefficients do not see that scaling
    transposed = integer_rows([list(column) for column in zip(*A, strict=True)])[0]
    sides = [(cleared, rows, columns), (transposed, columns, rows)]
    if len(columns) > SMALL and _smaller_solution(flint, sides):
        sides.reverse()
    M, across, along = sides[0]
    span = _span(flint, M, across, along)
    if span is None:
        return None
    if M is cleared:
        return lambda: ([[row[j] for j in columns] for row in A], span())
    return lambda: (
        [list(column) for column in zip(*span(), strict=True)],
        [A[i] for i in rows],
    )


def _smaller_solution(flint: Any, sides: list[tuple[IntegerMatrix, Pivots, Pivots]]) -> int:
    """Which side has the smaller coefficients: 0 or 1, and 0 where neither are small.

    One combination of them is found modulo more and more primes until a fraction with numerator
    and denominator well below the square root of their product explains it. A wrong guess costs
    time, never truth.
    """
    systems = [_system(flint, *side) for side in sides]
    residues, modulus = [0, 0], 1
    for count, prime in enumerate(_primes(flint), 1):
        try:
            found = [_combination(flint, *system, prime) for system in systems]
        except ZeroDivisionError:  # singular modulo this prime
            continue
        inverse = pow(modulus, -1, prime)
        residues = [
            x + modulus * ((y - x) * inverse % prime) for x, y in zip(residues, found, strict=True)
        ]
        modulus *= prime
        if count & (count - 1) == 0:  # at 1, 2, 4, … primes
            for side in (0, 1):
                if _explained(residues[side], modulus):
                    return side
        if count >= MOST_PRIMES:
            break
    return 0


def _system(flint: Any, M: IntegerMatrix, rows: Pivots, columns: Pivots) -> tuple[Any, Any]:
    """The pivotal minor, and one combination of the columns on its rows."""
    core = flint.fmpz_mat([[M[i][j] for j in columns] for i in rows])
    return core, flint.fmpz_mat([[sum(c * x for c, x in enumerate(M[i], 1))] for i in rows])


def _combination(flint: Any, core: Any, right: Any, prime: int) -> int:
    solution = flint.nmod_mat(core, prime).solve(flint.nmod_mat(right, prime))
    return sum(c * int(x) for c, x in enumerate(solution.entries(), 1)) % prime


def _explained(residue: int, modulus: int) -> bool:
    """Whether some a/b, both below sqrt(modulus) 2^-20, has this residue (Wang's algorithm)."""
    bound = math.isqrt(modulus) >> 20
    (a, x), (b, y) = (modulus, 0), (residue, 1)
    while b > bound:
        q = a // b
        (a, x), (b, y) = (b, y), (a - q * b, x - q * y)
    return 0 < abs(y) <= bound


def _solve(flint: Any, core: Any, right: Any) -> tuple[Any, Any]:
    """Return numerators and common denominator of ``core^{-1} right``, by p-adic lifting."""
    solution = flint.fmpq_mat(core).solve(flint.fmpq_mat(right), algorithm="dixon")
    numerators, denominator = solution.numer_denom()
    return numerators, denominator


def _span(
    flint: Any, M: IntegerMatrix, rows: Pivots, columns: Pivots
) -> Callable[[], Rational] | None:
    """Coefficients Y with ``M[:, columns] · Y = M``, exactly, or None if there are none."""
    others = sorted(set(range(len(M[0]))) - set(columns))
    rest = sorted(set(range(len(M))) - set(rows))
    core = flint.fmpz_mat([[M[i][j] for j in columns] for i in rows])
    numerators, denominator = _solve(
        flint, core, flint.fmpz_mat([[M[i][j] for j in others] for i in rows])
    )
    if rest:  # on the chosen rows it holds by construction
        left = flint.fmpz_mat([[M[i][j] for j in columns] for i in rest])
        target = flint.fmpz_mat([[M[i][j] for j in others] for i in rest])
        if left * numerators != target * denominator:
            return None

    def coefficients() -> Rational:
        scale = int(denominator)
        table = [[Fraction(0)] * len(M[0]) for _ in columns]
        for place, (row, j) in enumerate(zip(table, columns, strict=True)):
            row[j] = Fraction(1)
            for k, other in enumerate(others):
                row[other] = Fraction(int(numerators[place, k]), scale)
        return table

    return coefficients
