"""Softmax by columns: stochastic, blind to the gauge, and without overflow."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import rankbound as rb
from rankbound.attention.softmax import log_column_softmax
from rankbound.testing import logits
from tests.helpers import EPS, Array, vectors

MASKS = st.integers(1, 6).flatmap(lambda n: arrays(np.bool_, (n, n), fill=st.nothing()))


@given(logits())
def test_columns_sum_to_one(L: Array) -> None:
    """n weights, each divided and then added: n roundings of numbers that sum to 1."""
    P = rb.column_softmax(L)
    assert (P >= 0).all()
    assert np.max(np.abs(P.sum(axis=0) - 1)) <= (len(L) + 1) * EPS


@given(logits(kinds=("constant", "integer", "low_rank", "gaussian", "near_low_rank", "one_hot")))
def test_agrees_with_scipy(L: Array) -> None:
    """Both exponentiate L - max and divide: exp, a sum of n and a quotient, rounded, in each."""
    P, other = rb.column_softmax(L), scipy.special.softmax(np.asarray(L, float), axis=0)
    np.testing.assert_allclose(P, other, rtol=2 * (len(L) + 4) * EPS, atol=0)


@pytest.mark.parametrize("case", vectors("least_head_size"), ids=lambda case: case["name"])
def test_agrees_with_exact_powers_of_two(case: dict[str, Any]) -> None:
    """log(2) M is rounded, off by at most 8 log(2) eps; exp and the sum add (n + 3) eps."""
    M = case["exponents"]
    n = len(M)
    sums = [sum(Fraction(2) ** M[i][j] for i in range(n)) for j in range(n)]
    expected = [[float(Fraction(2) ** M[i][j] / sums[j]) for j in range(n)] for i in range(n)]
    P = rb.column_softmax(np.log(2) * np.array(M))
    np.testing.assert_allclose(P, expected, rtol=(2 * 8 * np.log(2) + n + 4) * EPS, atol=0)


@given(logits(kinds=("constant", "integer", "low_rank", "repeated")), st.integers(-99, 99))
def test_a_constant_added_to_a_column_changes_no_bit(L: Array, c: int) -> None:
    shift = c * np.arange(len(L))
    np.testing.assert_array_equal(rb.column_softmax(L + shift), rb.column_softmax(L))


@given(logits(kinds="gaussian"), st.data())
def test_permuting_keys_and_queries(L: Array, data: st.DataObject) -> None:
    """Only the order of the sum over keys differs: n roundings."""
    n = len(L)
    keys, queries = (data.draw(st.permutations(range(n))) for _ in range(2))
    P = rb.column_softmax(L)[np.ix_(keys, queries)]
    other = rb.column_softmax(L[np.ix_(keys, queries)])
    np.testing.assert_allclose(other, P, rtol=2 * n * EPS, atol=0)


@given(logits(kinds="underflow"))
def test_underflow_is_exactly_one_hot(L: Array) -> None:
    """A lead of 800 > 745 leaves e^-800 = 0 in float64."""
    np.testing.assert_array_equal(rb.column_softmax(L), np.equal(L, L.max(axis=0)))


def test_the_ends_of_float64() -> None:
    top = np.finfo(np.float64).max
    P = rb.column_softmax([[top, -top, 5e-324], [-top, -top, 0.0], [0.0, -top, -5e-324]])
    third = pytest.approx(1 / 3, rel=2 * EPS, abs=0)
    np.testing.assert_array_equal(P[:, 0], [1, 0, 0])
    assert [*P[:, 1], *P[:, 2]] == [third] * 6


@given(MASKS, st.integers(0, 2**32 - 1), st.sampled_from([0.0, -1e12, 1e12]))
def test_masked(mask: Any, seed: int, shift: float) -> None:
    """Hidden entries are exactly 0; the visible ones are a softmax of their own.

    However far below 0 they are, which tells -inf from a merely large negative number.
    """
    n = len(mask)
    mask[0] |= ~mask.any(axis=0)  # every query sees a key
    L = np.random.default_rng(seed).standard_normal((n, n))
    L = (L + shift) - shift  # now exact when shifted
    P = rb.column_softmax(L + shift, mask=mask)
    assert (P[~mask] == 0).all()
    for j in range(n):
        seen = scipy.special.softmax(L[mask[:, j], j])
        np.testing.assert_allclose(P[mask[:, j], j], seen, rtol=2 * (n + 4) * EPS, atol=0)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_batch_is_a_loop(n: int, seed: int) -> None:
    """To the bit: the reductions run over keys, column by column, in either case."""
    rng = np.random.default_rng(seed)
    L, mask = rng.standard_normal((2, 3, n, n)), rng.random((3, n, n)) < 0.7
    mask[:, 0] = True
    whole, masked = rb.column_softmax(L), rb.column_softmax(L, mask=mask)
    for i, j in np.ndindex(2, 3):
        np.testing.assert_array_equal(whole[i, j], rb.column_softmax(L[i, j]))
        np.testing.assert_array_equal(masked[i, j], rb.column_softmax(L[i, j], mask=mask[j]))


@given(logits())
def test_log_softmax_is_the_log_where_it_can_be(L: Array) -> None:
    """log P by itself is finite where P underflows; a relative error in P is absolute in log P.

    The difference from the largest logit is rounded too, by eps |log P|.
    """
    L = np.asarray(L, dtype=np.float64)
    log_P, P = log_column_softmax(L), rb.column_softmax(L)
    normal = np.finfo(np.float64).tiny <= P
    slack = (len(L) + 6) * EPS + 2 * EPS * np.abs(log_P)
    assert (np.abs(log_P - np.log(np.where(normal, P, 1)))[normal] <= slack[normal]).all()
    assert (log_P[~normal] < -708).all()
    assert (log_P <= 0).all()
