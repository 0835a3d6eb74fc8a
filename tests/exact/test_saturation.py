"""The lattice of all columns: each step against fractions, and proofs that must not be accepted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import islice
from operator import itemgetter
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.exact import elimination, lifting, saturation
from rankbound.exact.flint import flint_module
from rankbound.exact.lifting import Array, Basis, Lifting
from rankbound.exact.rational import IntegerMatrix, integer_rows
from tests.exact.test_lifting import drawn, flint_rank
from tests.helpers import Rows, transposed

RANK = 30
Found = tuple[Lifting, IntegerMatrix, int, list[Array]]


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small matrices and denominators too are lifted here, and by the lattice."""
    monkeypatch.setattr(lifting, "LEAST_WORK", 0)
    monkeypatch.setattr(saturation, "STEPS", 0)
    monkeypatch.setattr(saturation, "LEAST_WORK", 0)


@cache
def example() -> Rows:
    return drawn(RANK + 6, RANK + 5, RANK, 0, largest=9, below=6)


def guessed(rows: Rows, number: int = 0) -> Found:
    """What :func:`spans` is given: a side, its rows [A B], a denominator and the digits."""
    M = integer_rows(rows)[0]
    pivots, columns, _ = elimination.pivots_modulo_prime(M)
    prepared = lifting.lifting_of(M, pivots, columns)
    assert prepared is not None
    side, ordered = prepared
    e, digits = next(islice(filter(itemgetter(0), side.denominators()), number, None))
    return side, elimination._top(M, ordered, columns, False), e, digits


def spans(found: Found) -> bool:
    side, top, e, digits = found
    return saturation.spans(side, lambda: top, e, digits)


def lattice_of(found: Found) -> Lifting | None:
    side, _, e, digits = found
    return saturation.saturated(side, e, saturation.without_small_factors(e), digits)


def matrix(table: Array, basis: Basis) -> Any:
    """The rational matrix of small integers with these residues."""
    entries = lifting.wholes(lifting.mixed(table.reshape(len(table), -1), basis), basis)
    return flint_module().fmpq_mat(flint_module().fmpz_mat(*table.shape[1:], entries))


def test_without_small_factors() -> None:
    assert saturation.without_small_factors(2**300 * 97**9 * 101**2 * 10007) == 101**2 * 10007
    assert saturation.without_small_factors(2**300) == 1


def test_a_rank_is_proved_by_the_lattice_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No digit of the whole denominator is lifted, but for the factors."""
    lifted: list[int] = []
    proves = Lifting.proves

    def noted(side: Lifting, denominator: int, kept: list[Array] | None = None) -> bool:
        lifted.append(side.by_digits.shape[1] - side.rank)
        return proves(side, denominator, kept)

    monkeypatch.setattr(Lifting, "proves", noted)
    for rows in (example(), transposed(example())):
        assert spans(guessed(rows))
        proof = elimination.prove_rank(rows)
        assert proof.rank == RANK
        assert lifted
        assert not any(lifted)  # no rows below
        assert proof.factors is not None
        left, right = (flint_module().fmpq_mat(_flint(part)) for part in proof.factors())
        assert left * right == flint_module().fmpq_mat(_flint(rows))
        lifted.clear()


def _flint(rows: Rows) -> list[list[Any]]:
    return [[flint_module().fmpq(x.numerator, x.denominator) for x in row] for row in rows]


def test_a_certificate_is_accepted() -> None:
    assert rb.check(rb.exact_rank(example()).certify().certificate).accepted


def test_the_lattice_holds_that_of_the_chosen_columns() -> None:
    """A = A' H with |det H| = d, and the inverses are those of A'."""
    side, _, e, _ = found = guessed(example())
    lattice = lattice_of(found)
    assert lattice is not None
    r = side.rank
    old, new = (matrix(part.by_residuals[:, :r, :r], part.residuals) for part in (side, lattice))
    H = new.solve(old)
    assert H.numer_denom()[1] == 1
    assert abs(H.det()) == saturation.without_small_factors(e)
    assert new == matrix(lattice.by_digits[:, :, :r], lattice.digits)
    products = lattice.by_digits[:, :, :r] @ lattice.inverse - np.eye(r)
    assert not lifting.reduce(products, lattice.digits.column[:, None, None]).any()


@pytest.mark.parametrize("digits", [0, 3, 9, 17])
def test_high_order_residues(digits: int) -> None:
    """A'^{-1} B - X^{e+1} A'^{-1} F is whole, e the least of 1, 3, 7, … that is enough."""
    lattice = lattice_of(guessed(example()))
    assert lattice is not None
    r, X = lattice.rank, lattice.digits.modulus
    last = saturation.high_order(lattice, digits * (X.bit_length() - 1))
    A, B = (matrix(lattice.by_residuals[:, :, part], lattice.residuals) for part in _parts(r))
    F = matrix(last.by_residuals[:, :, r:], last.residuals)
    assert matrix(last.by_digits[:, :, r:], last.digits) == F
    assert matrix(last.by_residuals[:, :, :r], last.residuals) == A
    order = next(e for e in (1, 3, 7, 15, 31) if e + 1 >= digits)

    def is_whole(power: int) -> bool:
        return bool(A.solve(B - F * X**power).numer_denom()[1] == 1)

    assert is_whole(order + 1)
    assert not is_whole(order)


def _parts(r: int) -> tuple[slice, slice]:
    return slice(r), slice(r, None)


@pytest.mark.parametrize("scale", [0, 40, 1200])
@pytest.mark.parametrize("near", [0, 10, 20, 70])
def test_the_complement_is_within_its_bound(scale: int, near: int) -> None:
    """Also where A is near to a singular matrix, down to where no float shows that it is not."""
    r = 6
    rows = [[int(x) for x in row] for row in drawn(9, 8, 8, near)]
    rows[1] = [2**near * x for x in rows[0]]
    rows[1][0] += 1
    M = [[x << scale for x in row] for row in rows]
    bits = max(abs(x).bit_length() for row in M for x in row)
    bound = saturation.complement_bound([*M[:r]], bits)
    assert (bound is None) == (near == 70)
    if bound is not None:
        flint = flint_module()
        A, B, C, D = (
            flint.fmpq_mat(flint.fmpz_mat([row[across] for row in M[along]]))
            for along in _parts(r)
            for across in _parts(r)
        )
        found = D - C * A.solve(B)
        assert all(abs(x) <= bound for x in found.entries())


def test_a_singular_matrix_has_no_bound() -> None:
    assert saturation.complement_bound([[1, 2, 3], [2, 4, 5]], 4) is None
    assert saturation.complement_bound([[1, 0, 3], [0, 0, 5]], 4) is None


@pytest.mark.parametrize(
    "bound", [lambda X: None, lambda X: X, lambda X: X >> 200], ids=["none", "X", "with s"]
)
def test_what_vanishes_modulo_x_may_be_x(
    bound: Callable[[int], int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = guessed(example())
    limit = bound(found[0].digits.modulus)
    assert spans(found)
    monkeypatch.setattr(saturation, "complement_bound", lambda top, bits: limit)
    assert not spans(found)


def test_other_rows_have_to_agree() -> None:
    """Exactly, and not modulo what the residues are known by."""
    side, _, e, digits = guessed(example())
    r = side.rank
    for basis, name in ((side.digits, "by_digits"), (side.residuals, "by_residuals")):
        table = getattr(side, name).copy()
        table[:, r, 0] += 1
        lifting.reduce(table[:, r, 0], basis.column)
        assert saturation.saturated(side, e, e, digits) is None  # e has small factors
        other = replace(side, **{name: table})
        d = saturation.without_small_factors(e)
        assert saturation.saturated(side, e, d, digits) is not None
        assert saturation.saturated(other, e, d, digits) is None


def agrees(z: list[int], e: int, C: IntegerMatrix, D: IntegerMatrix, bits: int) -> bool:
    """Whether C z = e D w by residues, of a side with C and D and nothing else."""
    both, r, n = lifting.basis_of(6, 2**23), len(C[0]), len(C[0]) + len(D[0])
    rows = [[0] * n] * r + [[*c, *d] for c, d in zip(C, D, strict=True)]
    table = lifting.residues([x for row in rows for x in row], both).reshape(6, -1, n)
    inverse = np.zeros((3, r, r))
    bases = both.only(range(3)), both.only(range(3, 6))
    side = Lifting(*bases, table[:3], table[3:], inverse, bits)
    return saturation._agree(side, e, z, lifting.combinations(n - r)[:, 0])


@pytest.mark.parametrize("power", [0, 1, 40, 400])
def test_agreement_is_exact(power: int) -> None:
    """For numbers of several digits, which their residues do not tell from others."""
    w = int(lifting.combinations(1)[0, 0])
    modulus = math.prod(lifting.basis_of(6, 2**23).primes)
    e = modulus**3 + 12345 * modulus
    z = [-e * w, 2**power]
    assert agrees(z, e, [[-5, 0], [3, 0]], [[5], [-3]], 3)
    assert not agrees(z, e, [[-5, 0], [3, 1]], [[5], [-3]], 3)
    for off in (modulus, -(modulus**2), 2**power):
        assert not agrees([z[0] + off, z[1]], e, [[-5, 0], [3, 0]], [[5], [-3]], 3)
    assert not agrees(z, e, [[-5, 0], [3, 0]], [[5], [-3]], modulus.bit_length())  # no room


def test_a_wrong_denominator_proves_nothing() -> None:
    side, top, e, digits = guessed(example())
    for wrong in (e + 1, 1, 7 * lifting.SLACK, 10007 * e, e // saturation.without_small_factors(e)):
        assert not spans((side, top, wrong, digits))


def test_a_denominator_of_small_factors_has_no_lattice() -> None:
    """d = 1: no entry of x would be 1."""
    rows = [[Fraction(i == j) for j in range(RANK)] for i in range(RANK)]
    rows += [rows[0], [x + y for x, y in zip(rows[1], rows[2], strict=True)]]
    found = guessed([[*row, sum(row, Fraction(0))] for row in rows])
    assert saturation.without_small_factors(found[2]) == 1
    assert lattice_of(found) is None


def test_denominators_that_one_vector_does_not_show() -> None:
    """Two equal blocks: each elementary divisor twice. The digits prove it."""
    block = drawn(RANK // 2 + 3, RANK // 2 + 2, RANK // 2, 1, largest=9, below=6)
    zeros = [Fraction(0)] * len(block[0])
    rows = [row + zeros for row in block] + [zeros + row for row in block]
    found = guessed(rows, number=1)
    assert lattice_of(found) is not None
    assert not spans(found)
    assert elimination.prove_rank(rows).rank == RANK == flint_rank(rows)


def test_one_dimension_more_that_no_digit_prime_sees() -> None:
    """The complement is a multiple of X: it vanishes modulo all of its primes."""
    rows = [[*row, Fraction(0)] for row in example()] + [[Fraction(0)] * (RANK + 6)]
    M = integer_rows(rows)[0]
    pivots, columns, _ = elimination.pivots_modulo_prime(M)
    prepared = lifting.lifting_of(M, pivots, columns)
    assert prepared is not None
    side = prepared[0]
    seen = side.by_residuals.copy()
    seen[:, -1, -1] = side.residuals.of(side.digits.modulus)
    other = replace(side, by_residuals=seen, bits=side.digits.modulus.bit_length())
    e, digits = next(found for found in other.denominators() if found[0])
    top = elimination._top(M, prepared[1], columns, False)
    assert side.complement_vanishes(99)
    assert spans((side, top, e, digits))
    assert not spans((other, top, e, digits))
