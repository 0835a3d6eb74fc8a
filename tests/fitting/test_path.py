"""Paths of head sizes: monotone, in order, and never behind what single fits find."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr

import rankbound as rb
from rankbound.attention.softmax import log_column_softmax
from rankbound.fitting.descent import read_problem
from rankbound.fitting.objective import LOSSES, Objective, TotalVariation, kl_divergence
from rankbound.fitting.solve import _monotone, cut, fit_path, grown
from rankbound.testing import contexts
from tests.helpers import EPS, Array, refused


def random_point(P: Array, k: int, X: Any = None, mask: Any = None, seed: int = 0) -> Any:
    """A random point of the KL objective, and its problem."""
    problem = read_problem(P, X=X, mask=mask)
    start = problem.random_start(k, np.random.default_rng(seed))
    return problem, Objective(problem.P, problem.basis, problem.mask).at(start)


@settings(max_examples=15)
@given(contexts(largest=6), st.sets(st.integers(1, 7), min_size=2, max_size=4), st.data())
def test_a_path_is_monotone(P: Array, sizes: set[int], data: st.DataObject) -> None:
    """In the order given; what each head says is what it does; no worse than fit_head."""
    order = data.draw(st.permutations(sorted(sizes)))
    fits = fit_path(P, order, max_iterations=100)
    assert [fit.head.head_size for fit in fits] == order
    increasing = sorted(fits, key=lambda fit: fit.head.head_size)
    assert all(more.kl <= fewer.kl for fewer, more in pairwise(increasing))
    for fit in fits:
        norms = np.linalg.norm(fit.head.W_q) * np.linalg.norm(fit.head.W_k) * fit.head.scale
        found = kl_divergence(P, log_column_softmax(fit.head.logits()))  # the context may underflow
        slack = 8 * (2 * len(P) + fit.head.head_size) * EPS * (1 + norms)
        assert abs(found - fit.kl) <= slack
        assert fit.kl == min(fit.start_kls)
        alone = rb.fit_head(P, fit.head.head_size, random_starts=1, max_iterations=100)
        assert fit.start_kls[:2] == alone.start_kls
        assert fit.kl <= alone.kl


def test_the_path_of_theory_5() -> None:
    """Where single starts differ, neighbours find the better end: 2.100e-3 at k = 48."""
    fits = fit_path(rb.random_context(64, seed=0), [32, 48, 62])
    assert [f"{fit.kl:.3e}" for fit in fits] == ["2.593e-02", "2.100e-03", "1.387e-06"]
    assert all(fit.converged for fit in fits)


def test_each_size_is_started_from_its_neighbours() -> None:
    """Spectral and random everywhere, grown but for the first, cut but for the last."""
    fits = fit_path(rb.random_context(6, 0), [2, 3, 5], random_starts=2)
    assert [len(fit.start_kls) for fit in fits] == [4, 5, 4]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_path_in_every_loss(loss: str) -> None:
    fits = fit_path(rb.random_context(6, 0), [1, 2, 3, 5], loss=loss, max_iterations=500)
    assert all(more.value <= fewer.value for fewer, more in pairwise(fits))
    assert {fit.loss for fit in fits} == {loss}
    for fit in fits:
        assert fit.kl in fit.start_kls
    assert fits[-1].value < 1e-12


def test_a_path_on_tokens_and_under_a_mask() -> None:
    X, mask = rb.random_tokens(4, 8, 0), rb.causal_mask(8)
    P = rb.random_context(8, 0, "causal")
    fits = fit_path(P, range(1, 5), X=X, mask=mask, max_iterations=500)
    for fit, (fewer, more) in zip(fits, pairwise([*fits, fits[-1]]), strict=True):
        assert more.kl <= fewer.kl
        found = fit.head.context(X, mask)
        assert not found[~mask].any()
        size = np.linalg.norm(fit.head.W_q) * np.linalg.norm(fit.head.W_k) * np.linalg.norm(X) ** 2
        slack = 8 * 24 * EPS * (1 + fit.head.scale * float(size))
        assert abs(float(np.sum(rel_entr(P, found)) / 8) - fit.kl) <= slack
    again = fit_path(P.T, range(1, 5), X=X, mask=mask.T, rows=True, max_iterations=500)
    assert [fit.kl for fit in again] == [fit.kl for fit in fits]


def test_nothing_is_left_from_the_log_rank_on() -> None:
    P = rb.random_context(8, 0, "logrank", rank=3)
    fits = fit_path(P, [2, 3, 4, 7])
    assert fits[0].kl > 1e-6
    assert all(fit.kl < 1e-20 for fit in fits[1:])


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("k", [3, 4, 12])
def test_growing_lowers_the_loss(tokens: bool, masked: bool, k: int) -> None:
    mask = rb.causal_mask(6) if masked else None
    P = rb.column_softmax(np.random.default_rng(1).standard_normal((6, 6)), mask=mask)
    X = rb.random_tokens(4, 6, 0) if tokens else None
    _, point = random_point(P, 2, X, mask)
    start = grown(point, k)
    assert start.shape == (2, k, 4 if tokens else 6)
    np.testing.assert_array_equal(start[:, :2], point.factors)
    assert point.objective.at(start).value < point.value


@pytest.mark.parametrize(("seed", "scale"), [(14, 3), (17, 1)])
def test_a_first_step_too_long_is_halved(seed: int, scale: int) -> None:
    """Here the steps along five directions together raise a loss that bends sharply."""
    P = rb.column_softmax(scale * np.random.default_rng(seed).standard_normal((6, 6)))
    problem = read_problem(P)
    objective = Objective(problem.P, loss=TotalVariation(problem.P, 0.01 / 6))
    point = objective.at(5 * problem.random_start(1, np.random.default_rng(seed)))
    assert objective.at(grown(point, 6)).value < point.value


def test_cutting_keeps_what_fits() -> None:
    """Logits of rank 2 held by factors of size 4 are cut to size 2 without loss."""
    problem, point = random_point(rb.random_context(6, 0), 2)
    padded = point.objective.at(np.concatenate([point.factors, np.zeros((2, 2, 6))], axis=1))
    smaller = point.objective.at(cut(problem, padded, 2))
    # the decomposition of logits of norm about 6 is off by a few eps times that
    np.testing.assert_allclose(smaller.log_Q, point.log_Q, atol=64 * 6 * EPS)
    # the best of rank 1 in Frobenius norm, by Eckart and Young
    L = point.A.T @ point.B
    L -= L.mean(axis=0)
    A, B = cut(problem, padded, 1)
    tail = np.linalg.svd(L, compute_uv=False)[1:]
    assert np.linalg.norm(A.T @ B - L) == pytest.approx(np.linalg.norm(tail), rel=1e-12)


def test_a_smaller_head_that_is_better_is_padded() -> None:
    P = rb.random_context(6, 0)
    good = rb.fit_head(P, 2)
    bad = rb.fit_head(P, 4, spectral_start=False, random_starts=1, max_iterations=1)
    assert bad.kl > good.kl
    fit = _monotone(bad, good, 4)
    assert fit.head.head_size == 4
    # the same products with zeros added
    np.testing.assert_allclose(fit.head.logits(), good.head.logits(), rtol=0, atol=64 * EPS)
    assert (fit.kl, fit.value, fit.gradient_norm) == (good.kl, good.value, good.gradient_norm)
    assert fit.curvature is None
    assert fit.start_kls == (*bad.start_kls, good.kl)
    assert _monotone(good, bad, 2) is good
    assert _monotone(good, None, 2) is good


def test_the_seed_decides() -> None:
    P = rb.random_context(6, 0)
    one, same = (fit_path(P, [1, 3], seed=4) for _ in range(2))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a.head.W_q, b.head.W_q)
        assert a.start_kls == b.start_kls


def test_no_starts_of_its_own() -> None:
    """The first size then starts from the decomposition, the next from the first."""
    P = rb.random_context(6, 0)
    fits = fit_path(P, [2, 3], spectral_start=False, random_starts=0)
    assert fits[0].start_kls[0] == rb.fit_head(P, 2, random_starts=0).kl
    assert len(fits[1].start_kls) >= 1


def test_head_sizes_that_are_none() -> None:
    P = rb.random_context(3, 0)
    with refused(rb.InputTypeError, "head_sizes is 3", "[1, 2, 4]"):
        fit_path(P, 3)  # type: ignore[arg-type]
    with refused(rb.InputTypeError, "head_sizes is '12'"):
        fit_path(P, "12")  # type: ignore[arg-type]
    with refused(rb.InputError, "head_sizes is empty"):
        fit_path(P, [])
    with refused(rb.InputError, "head_sizes is [1, 2, 1]", "once"):
        fit_path(P, [1, 2, 1])
    with refused(rb.InputError, "head_sizes is 0", "at least 1"):
        fit_path(P, [1, 0])
