"""A certificate is not lost where the first primes divide a denominator: another prime serves."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.certificates.certificates import Counterexample
from rankbound.exact.elimination import pivots_modulo_prime
from rankbound.exact.flint import null_space
from rankbound.exact.rational import transposed
from rankbound.ranks.exact import exact_logit_rank
from tests.helpers import Rows, less_column_means, rational_rows, sympy_rank, times

PRIMES = (2**61 - 1, 2**61 - 31, 2**61 - 45, 2**61 - 229)  # those that are tried first
ENTRIES = st.builds(
    Fraction, st.integers(-3, 3), st.sampled_from([1, 1, 2, *PRIMES, PRIMES[0] * PRIMES[1]])
)


@st.composite
def tables(draw: Any, square: bool = False) -> Rows:
    """Small matrices, often of deficient rank, with such denominators; columns share some."""
    m = draw(st.integers(1, 4))
    n = m if square else draw(st.integers(1, 4))
    k = draw(st.integers(1, 3))
    left = draw(st.lists(st.lists(ENTRIES, min_size=k, max_size=k), min_size=m, max_size=m))
    right = draw(st.lists(st.lists(ENTRIES, min_size=n, max_size=n), min_size=k, max_size=k))
    gauge = draw(st.lists(ENTRIES, min_size=n, max_size=n))
    product = times(left, right)
    return [[x + c for x, c in zip(row, gauge, strict=True)] for row in product]


def test_the_primes_are_those_that_are_tried_first() -> None:
    for count, prime in enumerate(PRIMES):
        for denominators in (PRIMES[:count], [6, 1, math.prod(PRIMES[:count])]):
            assert pivots_modulo_prime([[1]], denominators=denominators) == ((0,), (0,), prime)


def test_the_example() -> None:
    bounds = rb.exact_rank([[Fraction(1, 2**61 - 1), 1], [1, 1]])
    assert int(bounds) == 2
    assert bounds.certify().verdict is rb.Verdict.CERTIFIED


def certified(bounds: rb.RankBounds, rank: int) -> None:
    """The bounds meet at the rank, and their certificates are accepted from their JSON."""
    assert (bounds.lower, bounds.upper) == (rank, rank)
    for certificate in bounds.certify().certificates:
        assert rb.check(certificate.to_json()).accepted


@given(tables())
def test_exact_rank(A: Rows) -> None:
    certified(rb.exact_rank(A), sympy_rank(A))


@given(tables(square=True))
def test_certified_log_rank(L: Rows) -> None:
    """A column whose gauge has such a denominator too: centring removes it, and the checker sees
    it.
    """
    certified(rb.certified_log_rank(logits=L), sympy_rank(less_column_means(L)))


@given(tables(), st.booleans(), st.data())
def test_exact_logit_rank(K: Rows, centre: bool, data: st.DataObject) -> None:
    row = st.lists(ENTRIES, min_size=len(K[0]), max_size=len(K[0]))
    Q = data.draw(st.lists(row, min_size=len(K), max_size=len(K)))
    L = times(transposed(K), Q)
    rank = sympy_rank(less_column_means(L) if centre else L)
    certified(exact_logit_rank(K, Q, centre=centre), rank)


@given(tables(square=True))
def test_masked_log_rank(L: Rows) -> None:
    bounds = rb.certified_log_rank(logits=L, mask=rb.causal_mask(len(L)))
    certified(bounds, int(bounds))


@pytest.mark.parametrize("n", [2, 5])
def test_counterexample(n: int) -> None:
    """Its exponents are whole numbers, so no prime is lost; the kind is here for completeness."""
    from rankbound.registry.approximation import witness

    found = witness([[i * j for j in range(n)] for i in range(n)])
    assert isinstance(found, Counterexample)
    assert rb.check(found).accepted


# ---- the null space and the transpose


@given(rational_rows())
def test_the_null_space_is_all_of_it(rows: Rows) -> None:
    basis = null_space(rows)
    assert len(basis) == len(rows[0]) - sympy_rank(rows)
    if basis:
        assert not np.any(np.array(times(rows, transposed(basis))))
        assert sympy_rank(basis) == len(basis)


@given(rational_rows())
def test_transposed_twice_is_the_same(rows: Rows) -> None:
    assert transposed(transposed(rows)) == rows
    assert transposed(rows)[-1][0] == rows[0][-1]
