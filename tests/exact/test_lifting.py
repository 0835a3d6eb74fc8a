"""Lifting in residues against Python's own integers, and proofs that must not be accepted."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.exact import elimination, lifting
from rankbound.exact.flint import flint_module
from rankbound.exact.rational import integer_rows
from tests.helpers import Rows, rational_rows, sympy_rank, times

DEPTH = 100
BELOW = lifting.largest_prime(DEPTH)
integers = st.integers(-(2**300), 2**300)


@pytest.fixture(autouse=True)
def always_lift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small matrices too are lifted here."""
    monkeypatch.setattr(lifting, "LEAST_WORK", 0)


def flint_rank(rows: Rows) -> int:
    """The rank by fraction-free elimination over the rationals."""
    flint = flint_module()
    table = [[flint.fmpq(x.numerator, x.denominator) for x in row] for row in rows]
    return int(flint.fmpq_mat(table).rank())


def drawn(m: int, n: int, rank: int, seed: int, largest: int = 99, below: int = 1) -> Rows:
    """A random matrix of at most this rank."""
    draw = random.Random(seed)

    def factor(p: int, q: int) -> Rows:
        return [
            [Fraction(draw.randint(-largest, largest), draw.randint(1, below)) for _ in range(q)]
            for _ in range(p)
        ]

    return times(factor(m, rank), factor(rank, n))


def unseen(build: Callable[[int], Rows], rank: int, count: int = 3) -> int:
    """The product q of the first primes by which build(q) is lifted: they depend on its size."""
    q = 1
    for _ in range(9):
        M = integer_rows(build(q))[0]
        largest = max(abs(x) for row in M for x in row)
        stand_in = [[largest * (i == j < rank) for j in range(len(M[0]))] for i in range(len(M))]
        found = lifting.lifting_of(stand_in, tuple(range(rank)), tuple(range(rank)))
        assert found is not None
        last, q = q, math.prod(found[0].digits.primes[:count])
        if last == q:
            return q
    raise AssertionError("the primes do not settle")


@given(st.lists(integers, min_size=1, max_size=40))
def test_residues_are_those_of_the_integers(numbers: list[int]) -> None:
    basis = lifting.basis_of(7, BELOW)
    table = lifting.residues(numbers, basis)
    for row, p in zip(table, basis.primes, strict=True):
        assert np.abs(row).max() <= p / 2 + 1
        assert [int(x) % p for x in row] == [x % p for x in numbers]


@given(st.lists(st.integers(-(2**52), 2**52), min_size=1, max_size=40))
def test_reduction_is_exact_up_to_the_stated_size(numbers: list[int]) -> None:
    for p in lifting.basis_of(3, BELOW).primes:
        reduced = lifting.reduce(np.array(numbers, dtype=np.float64), p)
        assert [int(x) % p for x in reduced] == [x % p for x in numbers]
        assert np.abs(reduced).max() <= p / 2 + 1


@given(st.lists(integers, min_size=1, max_size=40))
def test_extension_takes_one_integer_to_another_basis(numbers: list[int]) -> None:
    """Small integers are themselves there; others are a representative below half the modulus."""
    both = lifting.basis_of(40, BELOW)
    for size in (5, 20):  # primes that are too few for these integers, and enough
        source, target = both.only(range(size)), both.only(range(size, 40))
        x = lifting.residues(numbers, source)
        parts = lifting.mixed(x, source)
        whole = [
            sum(int(a) * c for a, c in zip(column, source.summands, strict=True))
            for column in parts.T
        ]
        assert lifting.wholes(parts, source) == whole
        assert all((w - v) % source.modulus == 0 for w, v in zip(whole, numbers, strict=True))
        assert all(100 * abs(w) <= 51 * source.modulus for w in whole)
        if size == 20:
            assert whole == numbers
        extended = lifting.Extension(source, target)(x)
        for row, q in zip(extended, target.primes, strict=True):
            assert [int(v) % q for v in row] == [w % q for w in whole]


@given(st.integers(1, 30), st.integers(0, 2**32))
def test_inverses_and_where_there_are_none(size: int, seed: int) -> None:
    basis = lifting.basis_of(3, BELOW)
    draw = random.Random(seed)
    M = [[draw.randint(-9, 9) for _ in range(size)] for _ in range(size)]
    M[0] = [basis.primes[1] * x for x in M[0]]  # singular modulo the second prime
    table = lifting.residues([x for row in M for x in row], basis).reshape(3, size, size)
    inverse, good = lifting.inverses(table, basis)
    assert 1 not in good
    for i in good:
        p = basis.primes[i]
        product = np.array(M, dtype=object) @ inverse[i].astype(np.int64).astype(object)
        assert ((product - np.eye(size, dtype=int)) % p == 0).all()


@given(rational_rows())
def test_lifted_proofs_hold_on_their_own(rows: Rows) -> None:
    proof = elimination.prove_rank(rows)
    assert proof.rank == sympy_rank(rows)
    if proof.factors is not None:
        left, right = proof.factors()
        assert (times(left, right) if right else [[0] * len(rows[0])] * len(rows)) == rows


TINY = Fraction(1, 2**1074)
SHAPES = [
    ("square", drawn(24, 24, 12, 0)),
    ("fractions", drawn(20, 22, 11, 1, below=99)),
    ("wide", drawn(9, 60, 7, 2)),
    ("tall", drawn(60, 9, 7, 3)),
    ("huge entries", drawn(14, 14, 9, 4, largest=10**200)),
    ("denormal", [[TINY * x for x in row] for row in drawn(12, 12, 7, 5)]),
    ("huge beside denormal", [[x * s for x in r] for s in (1, TINY) for r in drawn(6, 12, 4, 6)]),
    ("zero rows", [r if i % 2 else [Fraction(0)] * 16 for i, r in enumerate(drawn(24, 16, 7, 7))]),
    ("leading minors vanish", drawn(12, 12, 7, 8)[::-1] + [[Fraction(0)] * 12] * 3),
    ("antidiagonal", [[Fraction(i + j == 11 and i > 2) for j in range(12)] for i in range(12)]),
    ("rank 0", [[Fraction(0)] * 5] * 4),
    ("rank 1", drawn(10, 12, 1, 9)),
]  # fmt: skip


@pytest.mark.parametrize("rows", [case[1] for case in SHAPES], ids=[case[0] for case in SHAPES])
def test_rank_agrees_with_elimination(rows: Rows) -> None:
    proof = elimination.prove_rank(rows)
    assert proof.rank == flint_rank(rows)
    assert proof.factors is not None
    left, right = proof.factors()
    assert (times(left, right) if right else [[0] * len(rows[0])] * len(rows)) == rows


@pytest.mark.parametrize("pivots", [1, 3])
@pytest.mark.parametrize("digits", [0, 1, 3])
def test_rank_where_the_first_primes_divide_a_pivotal_minor(pivots: int, digits: int) -> None:
    """One more dimension, multiplied by primes that then do not see it."""
    first = math.prod(islice(elimination._primes(flint_module()), pivots))
    rows, extra = drawn(20, 20, 10, 10), drawn(20, 20, 1, 11)

    def more(q: int) -> Rows:
        pairs = zip(rows, extra, strict=True)
        return [[x + first * q * y for x, y in zip(*pair, strict=True)] for pair in pairs]

    hidden = more(unseen(more, 10, digits) if digits else 1)
    M = integer_rows(hidden)[0]
    found = lifting.lifting_of(M, *elimination.pivots_modulo_prime(M)[:2])
    assert found is not None
    assert found[0].rank == 10
    assert found[0].complement_vanishes(1) == (digits > 0)
    assert flint_rank(hidden) == elimination.prove_rank(hidden).rank == 11
    assert elimination.prove_rank(rows).rank == 10


def prepared(rows: Rows) -> lifting.Lifting:
    M = integer_rows(rows)[0]
    found = lifting.lifting_of(M, *elimination.pivots_modulo_prime(M)[:2])
    assert found is not None
    return found[0]


@pytest.mark.parametrize("shape", [(8, 8, 5), (3, 40, 2), (40, 3, 2), (60, 50, 45)])
@pytest.mark.parametrize("largest", [1, 99, 10**300])
def test_sizes_leave_room(shape: tuple[int, int, int], largest: int) -> None:
    """Residuals stay below a quarter of their modulus, and sums of products below 2^52."""
    m, n, r = shape
    rows = drawn(m, n, r, 18, largest)
    side, entry = prepared(rows), max(abs(x) for row in rows for x in row)
    for table, basis in (
        (side.inverse, side.digits),
        (side.solver, side.digits),
        (side.by_digits, side.digits),
        (side.by_residuals, side.residuals),
        *((x, side.residuals) for x in side.shrunk),
    ):
        assert (np.abs(table) <= basis.column[:, None, None] / 2 + 1).all()
    # |E'| <= |E|/X + |T| + 0.51 r |G|, from at most size^2 |T|
    assert side.residuals.modulus >= 4 * (max(m, n) ** 2 + r + 2) * entry
    longest = max(m, n) + len(side.digits.primes) + len(side.residuals.primes) // 2
    largest_prime = max(side.digits.primes + side.residuals.primes)
    assert (longest + 3) * (largest_prime // 2 + 1) ** 2 <= 2**52
    assert (r + len(side.residuals.primes) + 2) * (largest_prime // 2 + 1) ** 2 <= 2**52
    assert not set(side.digits.primes) & set(side.residuals.primes)


def test_the_residues_fit_in_the_memory_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By fewer primes at a time, down to four; and not at all where the residuals alone do not."""
    rows = drawn(60, 50, 45, 18)
    unlimited = len(prepared(rows).digits.primes)
    for allowed in (unlimited - 1, 6, 5, 4, 3):
        monkeypatch.setattr(lifting, "MOST_ENTRIES", allowed * 60 * 50 + 1)
        assert len(prepared(rows).digits.primes) == max(allowed, 4) < unlimited
        assert elimination.prove_rank(rows).rank == 45
    M = integer_rows(rows)[0]
    pivots = elimination.pivots_modulo_prime(M)[:2]
    need = len(prepared(rows).residuals.primes) * 60 * 50
    monkeypatch.setattr(lifting, "MOST_ENTRIES", need)
    assert lifting.lifting_of(M, *pivots) is not None
    monkeypatch.setattr(lifting, "MOST_ENTRIES", need - 1)
    assert lifting.lifting_of(M, *pivots) is None
    assert elimination.prove_rank(rows).rank == 45


def test_no_multiple_of_the_first_digits_passes_for_zero() -> None:
    """The Schur complement is X^k: each of k digits looks right, and the proof still fails."""
    rows = drawn(6, 6, 5, 12)
    d = _determinant(rows)
    for k in (1, 2, 3):

        def wrong(X: int, k: int = k) -> Rows:
            return [*rows[:-1], [*rows[-1][:-1], rows[-1][-1] + X**k]]

        M = integer_rows(wrong(unseen(wrong, 5)))[0]
        found = lifting.lifting_of(M, tuple(range(5)), tuple(range(5)))
        assert found is not None
        whole = found[0]
        short = replace(
            whole,
            digits=whole.digits.only(range(3)),
            by_digits=whole.by_digits[:3],
            inverse=whole.inverse[:3],
        )
        assert M[5][5] == rows[5][5] + short.digits.modulus**k
        for side in (short, short.transposed(), whole):
            assert not any(side.proves(c) for c in (1, d, lifting.SLACK * d))
        assert short.complement_vanishes(1)
        assert elimination.prove_rank([list(map(Fraction, row)) for row in M]).rank == 6


def _determinant(rows: Rows) -> int:
    flint = flint_module()
    return abs(int(flint.fmpz_mat([[int(x) for x in row[:5]] for row in rows[:5]]).det()))


def test_each_division_is_checked() -> None:
    """Were it not, a Schur complement that the residuals do not see would pass for zero."""
    rows = drawn(6, 6, 5, 12)
    whole, d = prepared(rows), _determinant(rows)
    kept = whole.residuals.only(range(1))
    last = whole.by_digits.copy()
    last[:, 5, 5] += kept.modulus
    for i, p in enumerate(whole.digits.primes):
        lifting.reduce(last[i], p)
    side = replace(whole, residuals=kept, by_residuals=whole.by_residuals[:1], by_digits=last)
    assert whole.proves(d)
    assert not side.proves(d)


def test_vanishing_leading_minors_are_lifted() -> None:
    rows = [[Fraction(i + j == 11 and i > 2) for j in range(12)] for i in range(12)]
    assert prepared(rows).rank == 9


def test_only_a_common_denominator_proves() -> None:
    rows = drawn(8, 8, 5, 13)
    side, d = prepared(rows), _determinant(rows)
    assert d > 1
    assert side.proves(d)
    assert side.proves(6 * d)
    assert not side.proves(1)
    assert not side.proves(d + 1)
    with pytest.raises(ValueError, match="proves nothing"):
        side.proves(0)
    with pytest.raises(ValueError, match="no common denominator"):
        side.numerators(d + 1)


@pytest.mark.parametrize("broken", ["guess", "no guess", "digits"])
def test_a_broken_proof_falls_back_on_solving(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = drawn(12, 12, 7, 14)
    if broken == "guess":
        monkeypatch.setattr(lifting, "_shared_denominator", lambda modulus, sums: 7)
    elif broken == "no guess":
        monkeypatch.setattr(lifting, "_shared_denominator", lambda modulus, sums: 0)
    else:
        monkeypatch.setattr(lifting.Lifting, "proves", lambda *_: False)
    proof = elimination.prove_rank(rows)
    assert proof.rank == 7
    assert proof.factors is not None
    assert times(*proof.factors()) == rows


def test_a_wrong_inverse_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every inverse is multiplied out: without a right one nothing is lifted."""
    monkeypatch.setattr(lifting, "_inverses", lambda a, basis: np.zeros_like(a))
    M = integer_rows(drawn(8, 8, 5, 15))[0]
    assert lifting.lifting_of(M, *elimination.pivots_modulo_prime(M)[:2]) is None
    assert int(rb.exact_rank(M)) == 5


def test_certificate_of_a_lifted_rank_is_accepted() -> None:
    for rows in (drawn(14, 11, 6, 16, below=9), drawn(11, 14, 6, 17, below=9)):
        bounds = rb.exact_rank(rows)
        assert "an exact factorisation" in bounds.method
        assert rb.check(bounds.certify().certificate).accepted
