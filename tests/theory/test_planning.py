"""Head size within a budget of KL divergence, from the spectrum, against fits and heads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.theory.approximation import best_argument, excluded_sizes
from rankbound.theory.planning import spectral_kl_bounds, truncated_kl
from tests.helpers import EPS, Array, refused


def divergence(P: Array, Q: Array) -> float:
    """Mean KL by its definition."""
    return float((P * np.log(P / Q)).sum(axis=0).mean())


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(3, 12), st.floats(0.05, 2), st.floats(1e-4, 0.3))
def test_no_fit_is_within_the_budget_below_the_lower_bound(
    seed: int, n: int, scale: float, budget: float
) -> None:
    P = rb.random_context(n, seed=seed, law="gibbs", scale=scale)
    bounds = rb.head_size_for_kl(P, kl=budget)
    if bounds.lower == 1:
        assert divergence(P, np.full((n, n), 1 / n)) > budget
    if bounds.lower > 1:
        fit = rb.fit_head(P, int(bounds.lower) - 1, random_starts=1, max_iterations=200)
        assert fit.kl > budget
    if bounds.upper:
        head = rb.nearest_head(P, int(bounds.upper))
        assert divergence(P, head.context()) <= budget * (1 + 1e-9) + 1e-14


@pytest.mark.parametrize("scale", [0.003, 0.03, 0.3])
@pytest.mark.parametrize("k", [1, 5, 14])
def test_the_formulas_hold_and_meet_for_diffuse_attention(scale: float, k: int) -> None:
    P = rb.random_context(16, seed=k, law="gibbs", scale=scale)
    lower, upper = spectral_kl_bounds(P, k)
    fit = rb.fit_head(P, k, random_starts=1)
    assert lower <= fit.kl <= upper
    near = divergence(P, rb.nearest_head(P, k).context())
    rounding = 8 * EPS * float(np.abs(np.log(P)).max())  # of two logarithms, in each of two sums
    assert fit.kl - rounding <= near <= upper + rounding
    if scale < 0.01:  # a bound wrong by 1.5 would show
        assert upper < 1.5 * fit.kl and fit.kl < 1.5 * lower


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(3, 9), st.floats(0.01, 2), st.floats(1e-6, 0.3))
def test_excluded_sizes_are_too_small(seed: int, n: int, scale: float, kl: float) -> None:
    """Without a mask and under a causal one; a size that a truncation serves is never excluded."""
    P = rb.random_context(n, seed=seed, law="gibbs", scale=scale)
    excluded = excluded_sizes(P, None, kl)
    serves = np.flatnonzero(truncated_kl(P, np.log(P)) <= kl)
    assert excluded <= (serves[0] if len(serves) else n - 1)
    causal = np.tril(np.ones((n, n)), 0).T * P
    causal /= causal.sum(axis=0)
    below = excluded_sizes(causal, causal > 0, kl)
    for context, size in ((P, excluded), (rb.Context(causal, mask="causal"), below)):
        if size > 1:
            fit = rb.fit_head(context, size - 1, random_starts=1, max_iterations=200)
            assert fit.kl > kl


def test_excluded_sizes_say_as_much_as_the_bound_without_tilts_within_two() -> None:
    P = rb.random_context(24, seed=0, law="gibbs", scale=0.1)
    for k in (4, 12, 20):
        kl = best_argument(P, None, k, tilted=False).value
        assert k - 1 <= excluded_sizes(P, None, kl * (1 - 1e-6)) <= k + 2
    assert excluded_sizes(P, None, 100.0) == 0
    assert excluded_sizes(P, None, 0.0) == 23  # of full log-rank


@pytest.mark.parametrize("seed", range(3))
def test_a_bracket_lies_within_the_bounds_of_the_spectrum(seed: int) -> None:
    """So the planner prunes nothing there: the fits start from the truncation."""
    P = rb.random_context(8, seed=seed, law="gibbs", scale=0.1)
    bracket = rb.kl_bracket(P, [1, 3, 5], random_starts=0)
    for k, lower, upper in zip(bracket.head_size, bracket.lower, bracket.upper, strict=True):
        least, most = spectral_kl_bounds(P, int(k))
        assert least * (1 - 1e-8) <= lower <= upper <= most


FACTORS = [1.05, 0.95, np.linspace(0.95, 1.05, 64)]  # of columns, as bfloat16 admits


@pytest.mark.parametrize("factor", FACTORS)
def test_the_spectrum_of_a_stored_context_bounds_the_normalised_one(factor: float | Array) -> None:
    """By digits: dividing by a sum is n + 1 roundings."""
    P = rb.random_context(64, seed=0, law="gibbs", scale=0.001)
    bounds = spectral_kl_bounds(P * factor, 16, stored="bfloat16")
    # logarithms of P near log 1/64 are off by 4 u, beside singular values of about 1e-3
    np.testing.assert_allclose(bounds, spectral_kl_bounds(P, 16), rtol=1e-10)


@pytest.mark.parametrize("kl", [1e-5, 1e-3, 0.01])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_head_sizes_of_a_context_in_few_bits(dtype: str, kl: float) -> None:
    """The dtype is that of the array, named, or of a context: each time the same bounds."""
    P = rb.random_context(16, seed=0, law="gibbs", scale=0.3)
    few = P.astype(dtype)
    bounds = rb.head_size_for_kl(few, kl=kl)
    wide = few.astype(np.float64)
    for again in (
        rb.head_size_for_kl(wide, kl=kl, stored=dtype),
        rb.head_size_for_kl(rb.Context(few), kl=kl),
        rb.head_size_for_kl(wide / wide.sum(axis=0), kl=kl),
    ):
        assert (again.lower, again.upper) == (bounds.lower, bounds.upper)
    assert divergence(wide / wide.sum(axis=0), rb.nearest_head(few, 15).context()) < 1e-5


@pytest.mark.parametrize("factor", [1.05, 0.95])
@pytest.mark.parametrize("kl", [0.001, 0.01, 0.05])
def test_head_sizes_do_not_depend_on_sums_that_a_dtype_admits(factor: float, kl: float) -> None:
    P = rb.random_context(16, seed=0, law="gibbs", scale=0.1)
    bounds = rb.head_size_for_kl(P * factor, kl=kl, stored="bfloat16")
    expected = rb.head_size_for_kl(P, kl=kl)
    assert (bounds.lower, bounds.upper) == (expected.lower, expected.upper)
    uniform = divergence(P, np.full((16, 16), 1 / 16)) <= kl
    assert (bounds.lower == 0) == uniform == (bounds.upper == 0)


def test_logits_whose_softmax_underflows_have_a_size() -> None:
    """One query attends to one key: 0 log 0 is 0, and uniform attention is log n away."""
    logits = np.where(np.eye(5), 900.0, 0.0)
    bounds = rb.head_size_for_kl(logits=logits, kl=1.0)
    assert 1 <= bounds.lower <= bounds.upper <= 4
    assert rb.head_size_for_kl(logits=logits, kl=1.7).upper == 0  # log 5 = 1.609


def test_every_truncation_is_that_of_the_nearest_head() -> None:
    P = rb.random_context(9, seed=0)
    found = truncated_kl(P, np.log(P))
    for k in range(1, 9):
        expected = divergence(P, rb.nearest_head(P, k).context())
        assert found[k] == pytest.approx(expected, rel=1e-9, abs=1e-14)
    assert found[0] == pytest.approx(np.sum(P * np.log(9 * P)) / 9)


def test_ends() -> None:
    P = rb.random_context(6, seed=0)
    nothing = rb.head_size_for_kl(P, kl=100.0)
    assert (nothing.lower, nothing.upper) == (0, 0)
    everything = rb.head_size_for_kl(P, kl=0.0)
    assert (everything.lower, everything.upper) == (5, 5)
    with refused(rb.InputError, "kl is -1", "expected"):
        rb.head_size_for_kl(P, kl=-1.0)
    causal = rb.random_context(4, seed=0, law="causal")
    with refused(rb.InputError, "without a mask"):
        rb.head_size_for_kl(rb.Context(causal, mask="causal"), kl=0.1)
