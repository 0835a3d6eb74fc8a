"""Exact arithmetic: every proof is re-checked here with Python's own integers."""

from __future__ import annotations

import random
import sys
from fractions import Fraction
from itertools import islice

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.exact import elimination, flint
from rankbound.exact.rational import centred, integer_rows, is_exact, rational_matrix
from tests.helpers import (
    Rows,
    less_column_means,
    rational_rows,
    refused,
    sympy_rank,
    times,
    transposed,
)


def determinant_modulo(matrix: list[list[int]], prime: int) -> int:
    """By elimination over the field of `prime` elements."""
    rows, result = [[x % prime for x in row] for row in matrix], 1
    for step in range(len(rows)):
        pivot = next((i for i in range(step, len(rows)) if rows[i][step]), None)
        if pivot is None:
            return 0
        if pivot != step:
            rows[step], rows[pivot], result = rows[pivot], rows[step], -result
        result = result * rows[step][step] % prime
        inverse = pow(rows[step][step], -1, prime)
        for i in range(step + 1, len(rows)):
            factor = rows[i][step] * inverse
            rows[i] = [(x - factor * y) % prime for x, y in zip(rows[i], rows[step], strict=True)]
    return result % prime


@given(rational_rows())
def test_rank_proof_holds_on_its_own(rows: Rows) -> None:
    """A minor that is not zero modulo the prime, and left · right = A exactly."""
    M = integer_rows(rows)[0]
    proof = elimination.prove_rank(rows)
    assert proof.rank == sympy_rank(rows) == len(proof.rows) == len(proof.columns)
    minor = [[M[i][j] for j in proof.columns] for i in proof.rows]
    assert sympy.isprime(proof.prime)
    assert determinant_modulo(minor, proof.prime) != 0
    if proof.factors is None:
        assert proof.rank == min(len(M), len(M[0]))
        return
    left, right = proof.factors()
    assert [len(row) for row in left] == [proof.rank] * len(rows)
    assert len(right) == proof.rank
    assert (times(left, right) if right else [[0] * len(rows[0])] * len(rows)) == rows


@pytest.mark.parametrize("small", ["rows", "columns"])
def test_rank_proof_from_either_side(small: str) -> None:
    """Where it is worth to look for the cheaper side, both sides are taken and hold."""
    rank, size = 45, 60
    draw = random.Random(0)
    combine = [[Fraction(draw.randint(-2, 2)) for _ in range(rank)] for _ in range(size)]
    table = [
        [Fraction(draw.randint(-99, 99), draw.randint(1, 99)) for _ in range(size)]
        for _ in range(rank)
    ]
    rows = times(combine, table)
    if small == "columns":
        rows = [list(column) for column in zip(*rows, strict=True)]
    proof = elimination.prove_rank(rows)
    assert proof.rank == rank
    assert proof.factors is not None
    left, right = proof.factors()
    assert times(left, right) == rows
    kept = right if small == "rows" else [list(column) for column in zip(*left, strict=True)]
    source = rows if small == "rows" else [list(column) for column in zip(*rows, strict=True)]
    assert all(row in source for row in kept)  # the large numbers are copied, the small ones solved


def first_primes(count: int = 4) -> list[int]:
    return list(islice(elimination._primes(flint.flint_module()), count))


@pytest.mark.parametrize("below", [2**61, 2**62, 2**63])
def test_rank_where_many_primes_fail(below: int) -> None:
    """diag(1, q), q a product of the six largest primes below a bound, looks like rank 1 to each.

    q times a matrix looks like rank 0.
    """
    q = prime = sympy.prevprime(below)
    for _ in range(5):
        prime = sympy.prevprime(prime)
        q *= prime
    assert int(rb.exact_rank([[1, 0], [0, q]])) == 2
    assert int(rb.exact_rank([[1, 0, 1], [0, q, q], [1, q, q + 1]])) == 2
    assert int(rb.exact_rank([[q, 2 * q], [2 * q, 4 * q]])) == 1


@given(rational_rows())
def test_rank_modulo_a_prime_is_a_lower_bound(rows: Rows) -> None:
    minor_rows, minor_columns, prime = elimination.pivots_modulo_prime(integer_rows(rows)[0])
    assert len(minor_rows) == len(minor_columns) <= sympy_rank(rows)
    assert sympy.isprime(prime)


def test_rank_modulo_a_prime_may_fall_short() -> None:
    prime = elimination.LARGEST_PRIME
    assert elimination.pivots_modulo_prime([[1, 0], [0, prime]]) == ((0,), (0,), prime)


@given(rational_rows())
def test_centred_is_the_product_with_the_projector(rows: Rows) -> None:
    assert centred(rows) == less_column_means(rows)


@given(rational_rows())
def test_integer_rows_undo_with_their_multipliers(rows: Rows) -> None:
    cleared, multipliers = integer_rows(rows)
    assert all(isinstance(x, int) for row in cleared for x in row)
    undone = [[Fraction(x, m) for x in row] for row, m in zip(cleared, multipliers, strict=True)]
    assert undone == rows


@given(st.integers(1, 4).flatmap(lambda n: st.tuples(rational_rows(columns=n), rational_rows(n))))
def test_products_are_exact(pair: tuple[Rows, Rows]) -> None:
    A, B = pair
    assert flint.rational_product(A, B) == times(A, B)
    left, right = integer_rows(A)[0], integer_rows(B)[0]
    assert flint.product(left, right) == times(
        [list(map(Fraction, row)) for row in left], [list(map(Fraction, row)) for row in right]
    )


@given(rational_rows())
def test_left_inverse_is_the_pseudoinverse(X: Rows) -> None:
    """For full column rank: X^+ X = I, and X X^+ is symmetric, which single it out."""
    if sympy_rank(X) < len(X[0]):
        with pytest.raises(ZeroDivisionError):
            flint.left_inverse(X)
        return
    inverse = flint.left_inverse(X)
    assert times(inverse, X) == [[int(i == j) for j in range(len(X[0]))] for i in range(len(X[0]))]
    projector = times(X, inverse)
    assert projector == transposed(projector)


def test_without_flint_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    with refused(rb.BackendMissing, "python-flint", "not installed", "pip install python-flint"):
        rb.exact_rank([[1]])


@pytest.mark.parametrize(
    ("entries", "unit"),
    [
        ([[1, 2], [3, 4]], 1),
        ([["1/2", 2], [3, "1/7"]], 1),
        ([["log(2)", "3*log(2)"], [0, "log(2)/5"]], sympy.log(2)),
        ([["log(4)", "log(2)"], ["log(8)", 0]], sympy.log(4)),
        ([["sqrt(2)", "sqrt(8)"], ["1/sqrt(2)", "-sqrt(18)"]], sympy.sqrt(2)),
        ([[0, 0], [0, "pi"]], sympy.pi),
    ],
)
def test_one_common_factor_is_taken_out(entries: list[list[object]], unit: object) -> None:
    matrix = sympy.Matrix([[sympy.sympify(x) for x in row] for row in entries])
    rows, found = rational_matrix("A", matrix)
    assert found == unit
    assert is_exact(matrix)
    again = sympy.Matrix(rows) * unit
    assert sympy.expand_log(again - matrix, force=True) == sympy.zeros(*matrix.shape)
