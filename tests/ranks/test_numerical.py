"""Effective and stable rank: between 1 and the rank, and nothing about scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

import rankbound as rb
from rankbound.testing import tokens
from tests.helpers import EPS, EXPONENTS, Array

INTEGRAL = ("low_rank", "repeated")


@given(tokens(kinds=INTEGRAL))
def test_between_one_and_the_rank(A: Array) -> None:
    """In floating point up to n - r values of at most n eps sigma_1 stand where zeros belong.

    Their share of the sum is delta <= n² eps, and adds at most h(delta) + delta log n to the
    entropy, h(delta) <= delta (1 + log 1/delta); their squares add n (n eps)² to the stable rank.
    The sums and the exponential are rounded: a few n eps.
    """
    rank, n = int(rb.exact_rank(A, floats="exact")), max(A.shape)
    if rank == 0:
        assert rb.effective_rank(A) == rb.stable_rank(A) == 0.0
        return
    delta = n * n * EPS
    entropy_slack = delta * (1 + np.log(n / delta)) + 8 * n * EPS
    assert 1 <= rb.effective_rank(A) <= rank * np.exp(entropy_slack)
    assert 1 <= rb.stable_rank(A) <= rank * (1 + 8 * n * EPS) + n * (n * EPS) ** 2


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8))
def test_closed_form_of_a_diagonal(values: list[float]) -> None:
    """LAPACK's values of a diagonal are within n eps of the largest, at most 1e6 n eps relative.

    Each moves the entropy by at most that share times log(1/p) + 1 <= 16.
    """
    A, slack = np.diag(values), 1e6 * len(values) * EPS
    assert rb.effective_rank(A) == pytest.approx(np.exp(entropy(values)), rel=16 * slack, abs=0)
    squares = np.square(values)
    assert rb.stable_rank(A) == pytest.approx(squares.sum() / squares.max(), rel=2 * slack, abs=0)


@given(st.integers(1, 8), st.integers(-1074, 1020))
def test_equal_values_count_fully(n: int, exponent: int) -> None:
    A = np.ldexp(np.eye(n), exponent)
    # log n and exp are rounded, and so is a sum of n terms
    assert rb.effective_rank(A) == pytest.approx(n, rel=4 * n * EPS, abs=0)
    assert rb.stable_rank(A) == n


@given(tokens(kinds=INTEGRAL), EXPONENTS)
def test_a_power_of_two_changes_nothing(A: Array, exponent: int) -> None:
    scaled = np.ldexp(A, exponent)
    assert rb.effective_rank(scaled) == rb.effective_rank(A)
    assert rb.stable_rank(scaled) == rb.stable_rank(A)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_batch_is_a_loop(m: int, n: int, seed: int) -> None:
    """Within the rounding of sums of min(m, n) terms, whatever their order."""
    batch = np.random.default_rng(seed).standard_normal((2, 3, m, n))
    batch[0, 0] = 0
    for function in (rb.effective_rank, rb.stable_rank):
        whole = function(batch)
        assert whole.shape == (2, 3)
        loop = [[function(A) for A in row] for row in batch]
        np.testing.assert_allclose(whole, loop, rtol=8 * min(m, n) * EPS, atol=0)
    assert isinstance(rb.effective_rank(batch[1, 1]), float)


class Foreign:
    """An array of another library: NumPy reads it, its dtype is its own."""

    dtype = "float32"

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray[Any, Any]:
        return self.array


def test_the_dtype_is_that_of_the_data_whatever_holds_it() -> None:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((16, 3)) @ rng.standard_normal((3, 16))
    single = A.astype(np.float32)
    for held in (single, list(single), Foreign(single), single.astype(">f4")):
        assert rb.numerical_rank(held) == 3


def test_a_masked_array_is_refused() -> None:
    with pytest.raises(rb.InputTypeError, match="masked array; expected a plain one"):
        rb.numerical_rank(np.ma.masked_array(np.eye(3), mask=np.eye(3, dtype=bool)))
