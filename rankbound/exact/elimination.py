"""The rank of a rational matrix, and the least rank of a nested partial one, with their proofs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from typing import Any, cast

from rankbound.exact.flint import flint_module, null_space, solve_rows
from rankbound.exact.lifting import Array, Lifting, Prepared, lifting_of
from rankbound.exact.rational import IntegerMatrix, Rationals, integer_rows
from rankbound.exact.saturation import spans

LARGEST_PRIME = 2**61 - 1  # a modulus must fit a machine word
IN_TURN = 6  # digits of a denominator up to which the smaller one is looked for

Pivots = tuple[int, ...]
Factors = Callable[[], tuple[Rationals, Rationals]]


@dataclass(frozen=True, eq=False)
class RankProof:
    """The rank of A over the rationals with what proves it.

    The minor on `rows` and `columns` of A, its rows cleared of denominators, is not zero modulo
    `prime`: rank A >= rank. `factors` returns ``(left, right)`` of shapes (m, rank) and (rank, n)
    with ``left · right = A`` exactly: rank A <= rank. It is None when the rank is min(m, n), or the
    bound that was given.
    """

    rank: int
    rows: Pivots
    columns: Pivots
    prime: int
    factors: Factors | None


def prove_rank(A: Rationals, most: int | None = None) -> RankProof:
    """Return the rank with a proof of both sides; a minor of `most` rows needs no factors.

    `most` is a bound of the rank that is known otherwise: the shape, unless given.

    The row-reduced form modulo a prime names a minor (for every prime its rank is a lower bound
    over Q). Solving with that minor over Q and multiplying out shows that the other columns lie in
    the span of the chosen ones, or the other rows in that of the chosen rows: the side whose
    coefficients are the smaller numbers. Far cheaper than elimination over Q. Large systems are
    lifted digit by digit (:mod:`rankbound.exact.lifting`), and the factors are written out only
    when they are called for.
    """
    flint = flint_module()
    cleared, multipliers = integer_rows(A)
    shape = min(len(A), len(A[0]))
    full = shape if most is None else min(most, shape)
    for prime in islice(_primes(flint, multipliers), _enough(cleared)):
        rows, columns = _minor(flint, cleared, prime)
        rank = len(columns)
        if rank == full:
            return RankProof(rank, rows, columns, prime, None)
        if rank == 0 and not any(map(any, cleared)):
            return RankProof(0, (), (), prime, lambda: ([[] for _ in A], []))
        factors = _factors(A, cleared, multipliers, rows, columns) if rank else None
        if factors is not None:  # else the prime divides a larger minor
            return RankProof(rank, rows, columns, prime, factors)
    raise ArithmeticError("the primes ran out; please report this matrix as a bug.")


def pivots_modulo_prime(
    M: IntegerMatrix, least: int = 0, denominators: Iterable[int] = ()
) -> tuple[Pivots, Pivots, int]:
    """Return rows and columns of a largest minor of M that is not zero modulo a prime, and it.

    The size of the minor is never above the rank over Q. The prime divides none of the
    denominators, and is one for which the minor has at least `least` rows: a rank known otherwise.
    """
    flint = flint_module()
    for prime in islice(_primes(flint, denominators), _enough(M)):
        rows, columns = _minor(flint, M, prime)
        if len(rows) >= least:
            return rows, columns, prime
    raise ArithmeticError("the primes ran out; please report this matrix as a bug.")


def _primes(flint: Any, denominators: Iterable[int] = ()) -> Iterator[int]:
    """Primes downwards from 2^61 - 1 that divide no denominator.

    Rationals have residues modulo no other.
    """
    avoided = [x for x in set(denominators) if x > 1]
    for candidate in range(LARGEST_PRIME, LARGEST_PRIME // 2, -2):
        if flint.fmpz(candidate).is_prime() and all(x % candidate for x in avoided):
            yield candidate


def _enough(M: IntegerMatrix) -> int:
    """One more than the primes above 2^60 that divide a minor, by Hadamard's bound on its bits."""
    size, bits = min(len(M), len(M[0])), max(x.bit_length() for row in M for x in row)
    return size * (bits + size.bit_length()) // 60 + 1


def _minor(flint: Any, M: IntegerMatrix, prime: int) -> tuple[Pivots, Pivots]:
    reduced = flint.nmod_mat(len(M), len(M[0]), [x % prime for row in M for x in row], prime)
    return _pivots(reduced.transpose()), _pivots(reduced)


def _pivots(matrix: Any) -> Pivots:
    echelon, rank = matrix.rref()
    pivots, columns = [], iter(range(matrix.ncols()))
    for row in range(rank):
        pivots.append(next(column for column in columns if int(echelon[row, column])))
    return tuple(pivots)


def _factors(
    A: Rationals, cleared: IntegerMatrix, multipliers: list[int], rows: Pivots, columns: Pivots
) -> Factors | None:
    """Show that the chosen columns span the others, or the chosen rows; None if they do not."""
    prepared = lifting_of(cleared, rows, columns)
    if prepared is not None:
        lifting, ordered = prepared
        if not lifting.complement_vanishes(1):
            return None
        for side, denominator, digits in _denominators(lifting):
            transposed = side is not lifting
            top = partial(_top, cleared, ordered, columns, transposed)
            if spans(side, top, denominator, digits) or side.proves(denominator):
                return lambda: _lifted(A, multipliers, ordered, columns, denominator, transposed)
    span = _span(cleared, rows, columns)
    if span is None:
        return None
    return lambda: ([[row[j] for j in columns] for row in A], span())


def _top(M: IntegerMatrix, rows: Pivots, columns: Pivots, transposed: bool) -> IntegerMatrix:
    """The chosen rows, or the chosen columns as rows, the pivots first."""
    if transposed:
        M, rows, columns = [list(column) for column in zip(*M, strict=True)], columns, rows
    across = [*columns, *sorted(set(range(len(M[0]))) - set(columns))]
    return [[M[i][j] for j in across] for i in rows]


def _denominators(lifting: Lifting) -> Iterator[tuple[Lifting, int, list[Array]]]:
    """Guesses for the columns and for the rows, those of the fewest digits first.

    In turn up to IN_TURN digits. From there on the side at hand is tried to its end: to look for
    both costs more than what the smaller denominator would save.
    """
    turns = deque((side, side.denominators()) for side in (lifting, lifting.transposed()))
    while turns:
        side, guesses = turns.popleft()
        for denominator, digits in guesses:
            if denominator:
                yield side, denominator, digits
            if len(digits) <= IN_TURN:
                turns.append((side, guesses))
                break


def _lifted(
    A: Rationals,
    multipliers: list[int],
    rows: Pivots,
    columns: Pivots,
    denominator: int,
    transposed: bool,
) -> tuple[Rationals, Rationals]:
    """Lift once more, and write out the factors."""
    lifting, _ = cast(Prepared, lifting_of(integer_rows(A)[0], rows, columns))
    side = lifting.transposed() if transposed else lifting
    numerators = side.numerators(denominator)
    if not transposed:
        table = _coefficients(numerators, denominator, columns, len(A[0]))
        return [[row[j] for j in columns] for row in A], table
    # the coefficients are those of the rows cleared of denominators
    table = _coefficients(numerators, denominator, rows, len(A))
    left = [
        [row[i] * multipliers[k] / multipliers[i] for k, row in zip(rows, table, strict=True)]
        for i in range(len(A))
    ]
    return left, [A[i] for i in rows]


def _coefficients(numerators: Any, denominator: int, chosen: Pivots, count: int) -> Rationals:
    """The coefficients of all columns: those chosen are themselves."""
    others = sorted(set(range(count)) - set(chosen))
    table = [[Fraction(0)] * count for _ in chosen]
    for place, (row, j) in enumerate(zip(table, chosen, strict=True)):
        row[j] = Fraction(1)
        for k, other in enumerate(others):
            row[other] = Fraction(int(numerators[place, k]), denominator)
    return table


def _span(M: IntegerMatrix, rows: Pivots, columns: Pivots) -> Callable[[], Rationals] | None:
    """Coefficients Y with ``M[:, columns] · Y = M``, exactly, or None if there are none."""
    flint = flint_module()
    others = sorted(set(range(len(M[0]))) - set(columns))
    rest = sorted(set(range(len(M))) - set(rows))

    def part(chosen: Sequence[int], places: Sequence[int]) -> Any:
        return flint.fmpz_mat([[M[i][j] for j in places] for i in chosen])

    core, right = flint.fmpq_mat(part(rows, columns)), flint.fmpq_mat(part(rows, others))
    numerators, denominator = core.solve(right, algorithm="dixon").numer_denom()
    # on the chosen rows it holds by construction
    if rest and part(rest, columns) * numerators != part(rest, others) * denominator:
        return None
    return lambda: _coefficients(numerators, int(denominator), columns, len(M[0]))


@dataclass(frozen=True, eq=False)
class ExactCompletion:
    """A completion of least rank of D, the rows of a nested partial matrix less the first.

    Each of the `new` rows is in no span of the rows above it, on what is visible of it: its witness
    is a vector on its visible columns that the rows above annihilate and it does not. The basis
    holds these rows, 0 where hidden; the coefficients combine them to what is visible of each row.
    """

    new: list[int]
    witnesses: Rationals
    basis: Rationals
    coefficients: Rationals


def extend_exactly(table: Rationals, visible: list[list[bool]]) -> ExactCompletion:
    """Complete row by row; the visible sets of the rows decrease, and the first is everything."""
    columns = len(table[0])
    D = [
        [x - first if seen else Fraction(0) for x, first, seen in zip(*triple, strict=True)]
        for triple in ((row, table[0], shown) for row, shown in zip(table, visible, strict=True))
    ]
    found = ExactCompletion([], [], [], [[]])
    for i in range(1, len(D)):
        seen = [j for j in range(columns) if visible[i][j]]
        row = [D[i][j] for j in seen]
        part = [[above[j] for j in seen] for above in found.basis]
        witness = _annihilator(part, row)
        if witness is None:
            found.coefficients.append(solve_rows(part, row) or [])
            continue
        whole = [Fraction(0)] * columns
        for j, x in zip(seen, witness, strict=True):
            whole[j] = x
        found.new.append(i)
        found.witnesses.append(whole)
        found.basis.append(D[i])
        found.coefficients.append([Fraction(0)] * (len(found.basis) - 1) + [Fraction(1)])
    size = len(found.basis)
    padded = [row + [Fraction(0)] * (size - len(row)) for row in found.coefficients]
    return ExactCompletion(found.new, found.witnesses, found.basis, padded)


def _annihilator(part: Rationals, row: list[Fraction]) -> list[Fraction] | None:
    """A vector w with part · w = 0 and row · w != 0, or None if the row is in the span of part."""
    if not any(row):
        return None
    if not part:
        first = next(j for j, x in enumerate(row) if x)
        return [Fraction(int(j == first)) for j in range(len(row))]
    return next(
        (w for w in null_space(part) if sum(x * y for x, y in zip(row, w, strict=True))), None
    )
