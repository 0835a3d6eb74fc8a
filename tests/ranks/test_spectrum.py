"""The numerical rank counts what rounding cannot have made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import rankbound as rb
from rankbound.testing import logits, tokens
from rankbound.testing.gallery import HardMatrix, hard_matrices
from tests.helpers import EPS, EXPONENTS, Array

INTEGRAL = ("low_rank", "repeated")  # kinds of tokens with small integer entries
SMALL = arrays(np.int64, st.tuples(*[st.integers(1, 4)] * 2), elements=st.integers(-3, 3))


@given(tokens())
def test_values_are_the_singular_values(A: Array) -> None:
    """Both decompositions are backward stable: each is within (m + n) eps sigma_1."""
    values = rb.spectrum(A).values
    other = np.linalg.svd(A, compute_uv=False)
    assert np.max(np.abs(values - other)) <= 2 * sum(A.shape) * EPS * other[0]
    assert (values[:-1] >= values[1:]).all()


@given(SMALL)
def test_agrees_with_the_exact_rank_of_small_integers(A: Any) -> None:
    """The r-minors are integers, so sigma_1 … sigma_r >= 1 and sigma_r >= 12^-3 >> 5 eps 12."""
    assert rb.numerical_rank(A) == int(rb.exact_rank(A))


@given(logits())
def test_never_above_the_exact_rank(L: Array) -> None:
    """Weyl: a value above the threshold is not zero in exact arithmetic."""
    assert rb.numerical_rank(L) <= int(rb.exact_rank(L, floats="exact"))


@pytest.mark.parametrize("rank", [1, 2, 8])
def test_the_decompositions_own_rounding_is_not_counted(rank: int) -> None:
    """At n = 200 LAPACK leaves values of about 8 eps ‖A‖_F where exact integers have none."""
    left, right = np.random.default_rng(0).integers(-3, 4, (2, rank, 200))
    A = left.T @ right
    assert rb.numerical_rank(A) == int(rb.exact_rank(A)) == rank


@pytest.mark.parametrize("hard", hard_matrices(), ids=lambda hard: hard.name)
def test_never_above_the_true_rank_in_the_gallery(hard: HardMatrix) -> None:
    assert rb.numerical_rank(hard.matrix) <= hard.rank


@given(tokens(kinds=INTEGRAL), st.sampled_from([np.float16, np.float32, np.float64]))
def test_rounding_to_the_stored_dtype_adds_no_rank(A: Array, dtype: Any) -> None:
    """A/3 is rounded once, so ‖E‖_F <= eps ‖A‖_F: below the threshold of that dtype."""
    rank = int(rb.exact_rank(A, floats="exact"))
    rounded = (A / 3).astype(dtype)
    assert rb.numerical_rank(rounded) <= rank
    assert rb.numerical_rank(rounded.astype(np.float64), stored=dtype) <= rank
    assert rb.spectrum(rounded).stored.name == np.dtype(dtype).name


def test_the_stored_dtype_matters() -> None:
    """A product of rank 8 in float32 shows rank 64 to a float64 threshold."""
    factors = np.random.default_rng(0).standard_normal((2, 8, 64))
    A = (factors[0].T @ factors[1]).astype(np.float32)
    assert rb.numerical_rank(A) == 8
    assert rb.numerical_rank(A.astype(np.float64)) == 64
    assert rb.numerical_rank(A.astype(np.float64), stored=np.float32) == 8


@given(tokens(kinds=INTEGRAL), EXPONENTS)
def test_a_power_of_two_changes_nothing_but_the_scale(A: Array, exponent: int) -> None:
    """Exact, down to denormals and up to overflow: entries < 2^7, sigma_1 < 2^11."""
    plain, scaled = rb.spectrum(A), rb.spectrum(np.ldexp(A, exponent))
    assert scaled.rank == plain.rank
    assert scaled.gap == plain.gap
    np.testing.assert_array_equal(scaled.values, np.ldexp(plain.values, exponent))


@given(tokens(), st.just(0.0) | st.floats(1e-300, 1))
def test_rtol_counts_values_above_a_share_of_the_largest(A: Array, rtol: float) -> None:
    s = rb.spectrum(A, rtol=rtol)
    assert s.rank == np.sum(s.values > rtol * s.values[0]) == rb.numerical_rank(A, rtol=rtol)
    assert s.tolerance == pytest.approx(rtol * s.values[0], rel=EPS, abs=0)


@given(tokens())
def test_threshold_and_gap_say_what_was_counted(A: Array) -> None:
    s = rb.spectrum(A)
    kept, dropped = s.values[: s.rank], s.values[s.rank :]
    assert (kept > s.tolerance).all()
    assert (dropped <= s.tolerance).all()
    if len(kept) and len(dropped) and dropped[0] > 0:
        assert s.gap == pytest.approx(kept[-1] / dropped[0], rel=4 * EPS, abs=0)
    else:
        assert s.gap == np.inf


def test_zero() -> None:
    s = rb.spectrum(np.zeros((3, 2)))
    assert (s.rank, s.tolerance, s.gap) == (0, 0.0, np.inf)


@pytest.mark.parametrize("small", [1e-310, 1e-320, 5e-324])
@pytest.mark.parametrize("large", [1.0, 1e308])
def test_extreme_entries_beside_each_other(small: float, large: float) -> None:
    s = rb.spectrum(np.diag([large, small]))
    assert s.rank == 1
    assert s.values[0] == large


def test_a_singular_value_that_float64_cannot_hold() -> None:
    with pytest.raises(rb.InputError, match=r"above 1.8e308; expected .* Divide A by a power"):
        rb.spectrum(np.full((3, 3), 1e308))


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_batch_is_a_loop(m: int, n: int, seed: int) -> None:
    """Ranks and values exactly; thresholds within the rounding of a sum of mn squares."""
    rng = np.random.default_rng(seed)
    batch = rng.standard_normal((2, 3, m, n)) * 10.0 ** rng.integers(-300, 300, (2, 3, 1, 1))
    batch[..., -1, :] = batch[..., 0, :]
    whole = rb.spectrum(batch)
    assert whole.values.shape == (2, 3, min(m, n))
    assert whole.rank.dtype.kind == "i"
    for index in np.ndindex(2, 3):
        one = rb.spectrum(batch[index])
        assert whole.rank[index] == one.rank == rb.numerical_rank(batch)[index]
        assert whole.gap[index] == one.gap
        np.testing.assert_array_equal(whole.values[index], one.values)
        assert whole.tolerance[index] == pytest.approx(one.tolerance, rel=m * n * EPS, abs=0)


def test_records_are_read_only() -> None:
    for record in (rb.spectrum(np.eye(3)).values, rb.spectrum(np.ones((2, 3, 3))).rank):
        with pytest.raises(ValueError, match="read-only"):
            record[0] = 7
