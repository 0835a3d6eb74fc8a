"""Fits: the values of THEORY 5, honest flags, and a KL that anyone can recompute."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr

import rankbound as rb
from rankbound.attention.softmax import log_column_softmax
from rankbound.fitting.objective import Objective, kl_divergence
from rankbound.testing import contexts
from tests.helpers import EPS, Array, log_spectrum

SEEDS = st.integers(0, 2**32 - 1)


def recomputed(P: Array, fit: rb.Fit, X: npt.ArrayLike | None = None) -> float:
    """The mean KL divergence, from the head alone."""
    return float(np.sum(rel_entr(P, fit.head.context(X))) / len(P))


def rounding(P: Array, fit: rb.Fit, X: npt.ArrayLike | None = None) -> float:
    """What the KL computed from the head's own context may differ by.

    The head's logits are two products of its factors: off by (n + k) eps times norms, and so is
    each log q; the terms and the column sums add a few n eps.
    """
    head = fit.head
    norms = np.linalg.norm(head.queries(X)) * np.linalg.norm(head.keys(X)) * head.scale
    if X is not None:
        inner = np.linalg.norm(head.W_q) * np.linalg.norm(head.W_k) * np.linalg.norm(X) ** 2
        norms = inner * head.scale
    return float(8 * (len(P) + head.head_size + head.d) * EPS * (1 + norms))


DIRICHLET = rb.random_context(64, seed=0)


@pytest.mark.parametrize(("k", "kl"), [(8, 2.349e-1), (16, 1.236e-1), (32, 2.626e-2)])
def test_values_of_theory_5(k: int, kl: float) -> None:
    """n = 64, seed 0, from the truncated SVD; four digits as printed."""
    fit = rb.fit_head(DIRICHLET, k, random_starts=0)
    assert f"{fit.kl:.3e}" == f"{kl:.3e}"
    assert fit.converged
    assert fit.gradient_norm <= fit.gradient_tolerance == 1e-8
    assert fit.start_kls == (fit.kl,)
    assert abs(recomputed(DIRICHLET, fit) - fit.kl) <= rounding(DIRICHLET, fit)


def test_the_cliff_of_theory_5() -> None:
    """One below n - 1 a positive floor, at n - 1 nothing but rounding."""
    assert f"{rb.fit_head(DIRICHLET, 62, random_starts=0).kl:.3e}" == "1.387e-06"
    fit = rb.fit_head(DIRICHLET, 63, random_starts=0)
    assert 0 <= fit.kl < 1e-20
    assert fit.converged


@settings(max_examples=25)
@given(
    contexts(kinds=("gaussian", "low_rank", "uniform", "near_low_rank", "single"), largest=5),
    st.integers(1, 5),
    SEEDS,
)
def test_a_fit_is_what_it_says(P: Array, k: int, seed: int) -> None:
    fit = rb.fit_head(P, k, seed=seed, random_starts=1, max_iterations=60)
    assert fit.head.head_size == k
    assert 0 <= fit.kl == min(fit.start_kls)
    assert len(fit.start_kls) == 2
    assert abs(recomputed(P, fit) - fit.kl) <= rounding(P, fit)
    assert fit.converged is (fit.gradient_norm <= fit.gradient_tolerance)
    assert fit.iterations <= 60
    # never worse than the start, the nearest head in Aitchison distance
    start = kl_divergence(P, log_column_softmax(rb.nearest_head(P, k).logits()))
    assert fit.kl <= start * (1 + 1e-9) + rounding(P, fit)


@settings(max_examples=25)
@given(contexts(kinds="gaussian", largest=6), st.integers(1, 3))
def test_never_below_the_proved_floor(P: Array, k: int) -> None:
    """THEORY 5: KL >= (p_min / n) φ(τ_k), φ(t) = t - 1 + e^-t, for every head of size k."""
    tail = float(np.linalg.norm(log_spectrum(P)[k:]))
    # below 1/1000 the series: t + expm1(-t) keeps no digit of t²/2 where t is a rounding error
    phi = tail + np.expm1(-tail) if tail > 1e-3 else tail**2 / 2 - tail**3 / 6
    fit = rb.fit_head(P, k, random_starts=0, max_iterations=300)
    assert fit.kl >= P.min() / len(P) * phi * (1 - 1e-9) - rounding(P, fit)


@settings(max_examples=25)
@given(contexts(largest=6))
def test_enough_head_size_leaves_nothing(P: Array) -> None:
    """The start is exact, up to log P's own rounding and its floor of 1e-12."""
    n = len(P)
    fit = rb.fit_head(P, max(n - 1, 1), random_starts=0, max_iterations=300)
    exact = P.min() > 1e-11
    slack = 16 * n * EPS * (1 + np.linalg.norm(np.log(P)))
    # KL of a t of that size; a floored entry costs about n times the floor
    assert 0 <= fit.kl <= (slack**2 if exact else 2 * n * 1e-12)


def test_one_iteration_does_not_converge() -> None:
    fit = rb.fit_head(DIRICHLET, 8, random_starts=0, max_iterations=1)
    assert fit.converged is False
    assert fit.gradient_norm > fit.gradient_tolerance
    assert fit.iterations == 1
    assert fit.kl > 2.349e-1


def test_gradient_norm_is_that_of_the_head() -> None:
    """In the factors A, B of its logits A^T B, of equal weight up to the 1/sqrt(k) in W_q."""
    P = rb.random_context(6, seed=1)
    fit = rb.fit_head(P, 2, random_starts=0, max_iterations=5)
    flat = np.concatenate([fit.head.W_k.ravel(), (fit.head.W_q * fit.head.scale).ravel()])
    value, gradient = Objective(P)(flat, 2)
    assert np.linalg.norm(gradient) == pytest.approx(fit.gradient_norm, rel=1e-9)
    assert value == pytest.approx(fit.kl, rel=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 4, 6])
def test_tokens_of_any_rank(rank: int) -> None:
    """The head acts on X alone; a context that some head has on X is found again."""
    X = rb.random_tokens(5 if rank < 5 else 7, 6, seed=rank, rank=rank)
    assert rb.numerical_rank(X) == rank
    target = rb.random_head(len(X), min(rank, 2), seed=3).context(X)
    fit = rb.fit_head(target, min(rank, 2), X=X, seed=0)
    assert fit.head.d == len(X)
    assert fit.converged
    assert abs(recomputed(target, fit, X) - fit.kl) <= rounding(target, fit, X)
    # near the optimum KL <= |gradient|² / curvature, with a curvature above 1e-6 here
    assert fit.kl <= (1e-8) ** 2 / 1e-6


@pytest.mark.parametrize("exponent", [-1040, -1000, -500, 500, 1000])
def test_tokens_of_any_unit(exponent: int) -> None:
    """The same fit on rescaled tokens, as far as the weights are float64s; else an error."""
    P, X = rb.random_context(4, seed=0), rb.random_tokens(5, 4, seed=1)
    expected = rb.fit_head(P, 1, X=X, random_starts=0).kl
    try:
        fit = rb.fit_head(P, 1, X=np.ldexp(X, exponent), random_starts=0)
    except rb.InputError as error:
        assert exponent < -1000
        assert "X" in str(error)
    else:
        # the same minimum, each reached to a gradient of 1e-8: KL within 1e-16 over a curvature
        assert fit.kl == pytest.approx(expected, rel=1e-9)


def test_rank_deficient_tokens_cannot_reach_every_context() -> None:
    """B20's example, d = 1, X = [1, 0]: the second query is uniform for all weights.

    So the infimum is KL((3/4, 1/4), (1/2, 1/2)) / 2, the first column being free.
    """
    P = np.array([[0.6, 0.75], [0.4, 0.25]])
    fit = rb.fit_head(P, 1, X=[[1.0, 0.0]])
    expected = (0.75 * np.log(1.5) + 0.25 * np.log(0.5)) / 2
    assert fit.converged
    # KL exceeds the infimum by |gradient|² / curvature, curvature of order 0.1
    assert fit.kl == pytest.approx(expected, abs=1e-14)
    np.testing.assert_allclose(fit.head.context([[1.0, 0.0]])[:, 1], [0.5, 0.5], rtol=4 * EPS)


@pytest.mark.parametrize(
    ("law", "parameters"),
    [
        ("permutation", {}),
        ("sparse", {"nonzeros": 2}),
        ("causal", {}),
    ],
)
def test_zeros_are_approached_and_never_reached(law: str, parameters: Any) -> None:
    """A softmax is positive, so the KL is, also where the gradient is below its tolerance."""
    P = rb.random_context(6, 0, law, **parameters)
    fit = rb.fit_head(P, 2, random_starts=1, max_iterations=50)
    assert fit.kl > 0
    assert fit.converged is (fit.gradient_norm <= fit.gradient_tolerance)
    assert abs(recomputed(P, fit) - fit.kl) <= rounding(P, fit)


def test_the_seed_decides() -> None:
    P = rb.random_context(8, seed=0)
    one, same, other = (rb.fit_head(P, 2, seed=s, random_starts=2) for s in (5, 5, 6))
    np.testing.assert_array_equal(one.head.W_q, same.head.W_q)
    np.testing.assert_array_equal(one.head.W_k, same.head.W_k)
    assert (one.kl, one.start_kls, one.seed) == (same.kl, same.start_kls, 5)
    assert one.start_kls[0] == other.start_kls[0]  # the spectral start has no seed
    assert one.start_kls[1:] != other.start_kls[1:]
    whole, alone = (
        rb.fit_head(P, 2, seed=5, random_starts=2, spectral_start=spectral, race=False)
        for spectral in (True, False)
    )
    assert alone.start_kls == whole.start_kls[1:]
    assert whole.kl == one.kl


def test_rows_and_stored() -> None:
    P = rb.random_context(6, seed=0)
    assert (
        rb.fit_head(P.T, 2, rows=True, random_starts=0).kl == rb.fit_head(P, 2, random_starts=0).kl
    )
    low = P.astype(np.float32)
    cast = rb.fit_head(low.astype(np.float64), 2, stored=np.float32, random_starts=0)
    assert cast.kl == rb.fit_head(low, 2, random_starts=0).kl


def test_logits_stand_for_their_softmax() -> None:
    P = rb.random_context(6, seed=0)
    direct = rb.fit_head(P, 2, random_starts=0)
    assert rb.fit_head(head_size=2, logits=np.log(P), random_starts=0).kl == pytest.approx(
        direct.kl, rel=1e-9
    )
    with pytest.raises(rb.InputTypeError, match="neither of P and logits"):
        rb.fit_head(head_size=2)


def test_kl_is_that_of_the_head_on_ill_conditioned_tokens() -> None:
    """What was fitted is exact; the head on such tokens is not, and the record says so."""
    X = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0] * np.logspace(0, -12, 8)
    P = rb.random_context(8, seed=0)
    fit = rb.fit_head(P, 7, X=X, random_starts=0)
    Q = fit.head.context(X)
    # the sum of 64 terms p (log p - log q), each rounded to within eps (|log p| + |log q|)
    rounding = 64 * np.finfo(float).eps * (np.abs(np.log(P)) + np.abs(np.log(Q))).max()
    assert fit.kl == pytest.approx(float(np.sum(P * np.log(P / Q)) / 8), abs=rounding)
    assert fit.kl > 1e-20
