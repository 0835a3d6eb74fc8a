"""Values, gradients and Hessian products of every loss against arithmetic of 50 digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr

import rankbound as rb
from rankbound.attention.softmax import log_column_softmax
from rankbound.fitting.descent import _stages, read_problem
from rankbound.fitting.objective import (
    KL,
    LOSSES,
    Loss,
    Objective,
    ReverseKL,
    TotalVariation,
    measure,
)
from tests.helpers import EPS, Array, refused

SMOOTHING = 0.125
Terms = Callable[[Any, Any], Any]  # of p and q, in mpmath
OF: dict[str, tuple[Callable[[Array], Loss], Terms]] = {
    "kl": (KL, lambda p, q: p * mpmath.log(p / q) if p else 0),
    "reverse_kl": (ReverseKL, lambda p, q: q * mpmath.log(q / p)),
    "total_variation": (
        lambda P: TotalVariation(P, SMOOTHING),
        lambda p, q: (mpmath.sqrt((q - p) ** 2 + mpmath.mpf(SMOOTHING) ** 2) - SMOOTHING) / 2,
    ),
}


@dataclass(frozen=True)
class Instance:
    """An objective, a point and a direction, and the loss of the point in mpmath."""

    objective: Objective
    factors: Array
    direction: Array
    term: Terms

    def exact(self, factors: Any) -> Any:
        """The loss at factors of mpmath numbers, nested lists (2, k, r)."""
        P, R, mask = self.objective.P, self.objective.basis, self.objective.mask
        n, k = len(P), self.factors.shape[1]
        R = np.eye(n) if R is None else R
        A, B = (
            [[sum(x * R[m][i] for m, x in enumerate(row)) for i in range(n)] for row in half]
            for half in factors
        )
        total = mpmath.mpf(0)
        for j in range(n):
            seen = [i for i in range(n) if mask is None or mask[i, j]]
            weights = [mpmath.exp(sum(A[a][i] * B[a][j] for a in range(k))) for i in seen]
            column = mpmath.mpf(0)
            for i, weight in zip(seen, weights, strict=True):
                column += self.term(mpmath.mpf(float(P[i, j])), weight / sum(weights))
            total += column
        return total / n

    def moved(self, *moves: tuple[Any, Array]) -> Any:
        """The exact loss at the factors plus multiples of arrays."""
        return self.exact(
            [
                [
                    [
                        mpmath.mpf(float(x)) + sum(t * float(d[h, a, i]) for t, d in moves)
                        for i, x in enumerate(row)
                    ]
                    for a, row in enumerate(half)
                ]
                for h, half in enumerate(self.factors)
            ]
        )

    def errors(self) -> tuple[float, float, float]:
        """How far value, gradient and Hessian product are from central differences."""
        point = self.objective.at(self.factors)
        gradient, product = point.gradient, point.hessian(self.direction)
        slopes, bends = np.empty_like(gradient), np.empty_like(gradient)
        with mpmath.workdps(50):
            step = mpmath.mpf(10) ** -12  # squared, it is what the differences are off by
            value = float(self.moved() - point.value)
            for index in np.ndindex(gradient.shape):
                unit = np.zeros_like(gradient)
                unit[index] = 1.0
                four = [
                    s * t * self.moved((s * step, unit), (t * step, self.direction))
                    for s in (1, -1)
                    for t in (1, -1)
                ]
                bends[index] = float(sum(four) / (4 * step * step))
                rise = self.moved((step, unit)) - self.moved((-step, unit))
                slopes[index] = float(rise / (2 * step))
        return (
            abs(value),
            float(np.max(np.abs(gradient - slopes))),
            float(np.max(np.abs(product - bends))),
        )

    @property
    def slack(self) -> float:
        """A few (n + k) eps times norms.

        The third derivative in the logits is at most 3/μ² for the total variation, logits times
        a few for the others; a Hessian product holds two factors and a direction.
        """
        x, d = float(np.linalg.norm(self.factors)), float(np.linalg.norm(self.direction))
        n, k = len(self.objective.P), self.factors.shape[1]
        logs = float(np.abs(np.log(np.where(self.objective.P > 0, self.objective.P, 1.0))).max())
        bend = max(3 / SMOOTHING**2, logs + x * x)
        return float(16 * (n + k) * EPS * (1 + x * x) * (1 + x) * (1 + d) * (1 + bend))


def instance(
    name: str, n: int, k: int, seed: int, kind: str = "plain", loss: Loss | None = None
) -> Instance:
    """A random one: "plain", on a "basis" of rank n - 1, or under a causal "mask"."""
    rng = np.random.default_rng(seed)
    mask = rb.causal_mask(n) if kind == "mask" else None
    P = rb.column_softmax(rng.standard_normal((n, n)), mask=mask)
    basis = None
    if kind == "basis":
        basis = np.linalg.qr(rng.standard_normal((n, max(n - 1, 1))))[0].T
    shape = (2, k, n if basis is None else len(basis))
    make, term = OF[name]
    return Instance(
        Objective(P, basis, mask, loss or make(P)),
        rng.standard_normal(shape),
        rng.standard_normal(shape),
        term,
    )


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=12)
@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["plain", "basis", "mask"]),
)
def test_value_gradient_and_hessian(name: str, n: int, k: int, seed: int, kind: str) -> None:
    case = instance(name, n, k, seed, kind)
    assert max(case.errors()) <= case.slack


class Forgetful:
    """A loss whose second derivative drops what the slope's own change adds."""

    def __init__(self, loss: Loss) -> None:
        self.value, self.slope, self.weights = loss.value, loss.slope, loss.weights

    def bend(self, log_Q: Array, Q: Array, T: Array) -> Array:
        """The Fisher part alone, half of it."""
        bend: Array = T / (2 * Q.shape[1])
        return bend


@pytest.mark.parametrize("name", LOSSES)
def test_a_broken_hessian_is_caught(name: str) -> None:
    whole = instance(name, 3, 2, 0)
    broken = instance(name, 3, 2, 0, loss=Forgetful(whole.objective.loss))
    value, gradient, product = broken.errors()
    assert max(value, gradient) <= whole.slack < product


@pytest.mark.parametrize("name", LOSSES)
def test_measures_are_the_usual_ones(name: str) -> None:
    rng = np.random.default_rng(0)
    P, Q = (rng.dirichlet(np.ones(5), size=5).T for _ in range(2))
    expected = {
        "kl": np.sum(rel_entr(P, Q)),
        "reverse_kl": np.sum(rel_entr(Q, P)),
        "total_variation": np.sum(np.maximum(P - Q, 0)),
    }[name]
    # sums of 25 terms below 2, of columns that sum to 1 within 5 eps
    assert measure(name, P, np.log(Q), Q) == pytest.approx(expected / 5, abs=64 * EPS)


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.floats(1e-12, 1.0))
def test_smoothing_takes_what_it_says(n: int, seed: int, smoothing: float) -> None:
    rng = np.random.default_rng(seed)
    P, Q = (rng.dirichlet(np.ones(n), size=n).T for _ in range(2))
    less = TotalVariation(P, smoothing).value(np.log(Q), Q)
    true = measure("total_variation", P, np.log(Q), Q)
    assert true - n * smoothing / 2 - 4 * EPS <= less <= true + 4 * EPS


def test_weights() -> None:
    """q² times the curvature in q: 1/q where Q = P, and that of sqrt(x² + μ²)/2 plus a share."""
    rng = np.random.default_rng(0)
    P, Q = (rng.dirichlet(np.ones(5), size=5).T for _ in range(2))
    for name in ("kl", "reverse_kl"):
        np.testing.assert_array_equal(OF[name][0](P).weights(Q), Q)
    bent = SMOOTHING**2 / (2 * ((Q - P) ** 2 + SMOOTHING**2) ** 1.5)
    found = OF["total_variation"][0](P).weights(Q)
    np.testing.assert_allclose(found, Q * Q * bent + 0.1 * Q, rtol=64 * EPS)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["plain", "basis", "mask"])
def test_blocks(name: str, kind: str) -> None:
    """Each is J^T F diag(c²/q²) F J / n, J the derivative of a column's logits, formed densely."""
    case = instance(name, 4, 2, 1, kind)
    point = case.objective.at(case.factors)
    blocks, c2, n = point.blocks(), case.objective.loss.weights(point.Q), 4
    metric = []
    for q, c in zip(point.Q.T, c2.T, strict=True):
        F = np.diag(q) - np.outer(q, q)
        metric.append(F @ np.diag(c / np.where(q > 0, q, 1.0) ** 2) @ F / n)
    keys = [
        sum(np.outer(b, b) * metric[j][i, i] for j, b in enumerate(point.B.T)) for i in range(n)
    ]
    queries = [point.A @ M @ point.A.T for M in metric]
    np.testing.assert_allclose(
        blocks,
        [*keys, *queries],
        rtol=0,
        atol=64 * EPS * np.abs(c2).max() * (1 + np.linalg.norm(case.factors)) ** 2,
    )


@pytest.mark.parametrize("kind", ["plain", "mask"])
def test_blocks_of_kl_are_those_of_its_hessian(kind: str) -> None:
    """For KL the second derivative in one key or one query alone is Fisher's, everywhere."""
    case = instance("kl", 4, 2, 2, kind)
    point = case.objective.at(case.factors)
    blocks = point.blocks()
    for side, i in np.ndindex(2, 4):
        for a in range(2):
            unit = np.zeros((2, 2, 4))
            unit[side, a, i] = 1.0
            found = point.hessian(unit)[side, :, i]
            np.testing.assert_allclose(found, blocks[4 * side + i][:, a], atol=case.slack)


@pytest.mark.parametrize("kind", ["plain", "basis", "mask"])
def test_the_preconditioner_is_positive_definite(kind: str) -> None:
    case = instance("kl", 4, 2, 3, kind)
    apply = case.objective.at(case.factors).preconditioner(1e-2)
    size = case.factors.size
    M = np.stack([apply(unit.reshape(case.factors.shape)).ravel() for unit in np.eye(size)])
    np.testing.assert_allclose(M, M.T, atol=size * EPS * float(np.abs(M).max()) * 100)  # 1/damping
    assert np.linalg.eigvalsh((M + M.T) / 2)[0] > 0


def test_a_loss_of_no_name() -> None:
    P = rb.random_context(3, 0)
    with refused(rb.InputError, "loss is 'mse'", "'kl'", "'reverse_kl'", "'total_variation'"):
        rb.fit_head(P, 1, loss="mse")
    with refused(rb.InputError, "method is 'adam'", "'newton'", "'l-bfgs'"):
        rb.fit_head(P, 1, method="adam")
    with refused(rb.InputError, "loss is None"):
        rb.fit_head(P, 1, loss=None)  # type: ignore[arg-type]


def test_reverse_divergence_from_a_zero_is_refused() -> None:
    P, mask = rb.random_context(4, 0, "causal"), rb.causal_mask(4)
    with refused(rb.InputError, "P is 0 at [1, 0]", "positive", "infinite", "mask"):
        rb.fit_head(P, 2, loss="reverse_kl")
    assert rb.fit_head(P, 2, mask=mask, loss="reverse_kl", random_starts=0).value < 1e-20


@pytest.mark.parametrize("name", LOSSES)
def test_the_uniform_query_of_b20(name: str) -> None:
    """X = [1, 0]: the second column is uniform, so the infimum is its loss there, over 2."""
    P = np.array([[0.6, 0.75], [0.4, 0.25]])
    expected = {
        "kl": 0.75 * np.log(1.5) + 0.25 * np.log(0.5),
        "reverse_kl": 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25),
        "total_variation": 0.25,
    }[name]
    fit = rb.fit_head(P, 1, X=[[1.0, 0.0]], loss=name)
    assert fit.converged
    assert fit.loss == name
    # the first column is free, and missed by at most the gradient over a curvature of order 0.1
    assert fit.value == pytest.approx(expected / 2, abs=1e-6 if fit.smoothing else 1e-13)


def recomputed(P: Array, fit: rb.Fit) -> dict[str, float]:
    """Every loss, from the head alone."""
    log_Q = log_column_softmax(fit.head.logits())
    Q = np.exp(log_Q)
    return {
        "kl": float(np.sum(P * (np.log(P) - log_Q)) / len(P)),
        "reverse_kl": float(np.sum(rel_entr(Q, P)) / len(P)),
        "total_variation": float(np.sum(np.abs(P - Q)) / (2 * len(P))),
    }


def test_each_loss_is_least_where_it_is_fitted() -> None:
    """From the same start, the head fitted in a loss is the best of the three in it."""
    P = rb.random_context(8, seed=0)
    fits = {
        name: rb.fit_head(P, 3, loss=name, random_starts=1, max_iterations=2000) for name in LOSSES
    }
    found = {name: recomputed(P, fit) for name, fit in fits.items()}
    for name, fit in fits.items():
        assert min(LOSSES, key=lambda other: found[other][name]) == name
        # terms of log q down to -700: 64 of them, each off by eps (1 + |log q|) times q or p
        assert fit.value == pytest.approx(found[name][name], abs=1e-12)
        assert fit.kl == pytest.approx(found[name]["kl"], rel=1e-9)
        assert fit.value == min(fit.start_values)
        assert len(fit.start_values) == len(fit.start_kls) == 2
        assert (fit.smoothing > 0) is (name == "total_variation")
        assert fit.converged is (fit.gradient_norm <= fit.gradient_tolerance)
        assert fit.iterations <= 2000
    assert fits["kl"].value == fits["kl"].kl
    assert fits["kl"].start_values == fits["kl"].start_kls


def test_stages_of_the_total_variation() -> None:
    """KL, then less and less smoothing, down to what the fit says; they share the iterations."""
    P = rb.random_context(8, seed=0)
    first, *rest = _stages(read_problem(P), "total_variation")
    assert isinstance(first, KL)
    smoothings = [each.smoothing for each in rest if isinstance(each, TotalVariation)]
    assert smoothings == sorted(smoothings, reverse=True)
    for method in ("newton", "l-bfgs"):
        fit = rb.fit_head(
            P, 3, loss="total_variation", random_starts=0, max_iterations=50, method=method
        )
        assert smoothings[-1] == fit.smoothing
        assert not fit.converged
        assert fit.iterations == 50
        assert fit.kl == fit.start_kls[0] != fit.start_values[0] == fit.value


@pytest.mark.parametrize("name", LOSSES)
def test_enough_head_size_in_every_loss(name: str) -> None:
    P = rb.random_context(8, seed=0)
    fit = rb.fit_head(P, 7, loss=name, random_starts=0)
    assert fit.converged
    assert 0 <= fit.value < 1e-13
