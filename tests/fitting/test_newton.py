"""Newton's method: its steps against dense algebra, its ends against SciPy's L-BFGS-B."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.fitting.descent import _cut, _Link, _steihaug, lbfgs, newton, read_problem
from rankbound.fitting.objective import Objective, damped_inverses, root_inverses
from rankbound.testing import contexts
from tests.helpers import EPS, Array

SEEDS = st.integers(0, 2**32 - 1)


def quadratic(values: list[float], seed: int) -> tuple[Array, Array, Array]:
    """A Hessian with these eigenvalues, a positive definite metric, and a gradient."""
    rng, n = np.random.default_rng(seed), len(values)
    V = np.linalg.qr(rng.standard_normal((n, n)))[0]
    W = np.linalg.qr(rng.standard_normal((n, n)))[0]
    metric = (W * rng.uniform(0.5, 2, n)) @ W.T
    H: Array = (V * np.array(values)) @ V.T
    return H, np.asarray(metric), rng.standard_normal(n)


def solver(M: Array) -> Callable[[Array], Array]:
    """What applies the inverse of M."""
    return lambda r: np.asarray(np.linalg.solve(M, r))


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=6), SEEDS)
def test_a_step_inside_solves_newtons_equation(values: list[float], seed: int) -> None:
    H, M, g = quadratic(values, seed)
    step = _steihaug(lambda p: H @ p, solver(M), g, 1e6, 1e-10, 100)
    # the residual is 1e-10 of the gradient in a metric of condition 4, the condition of H is 100
    np.testing.assert_allclose(step.direction, -np.linalg.solve(H, g), atol=1e-7)
    assert not step.border
    assert step.curvature > 0
    check_step(step.direction, step.fall, step.length, H, M, g)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=6), SEEDS, st.floats(0.01, 10))
def test_a_step_never_leaves_the_ball(values: list[float], seed: int, radius: float) -> None:
    """And is never worse than steepest descent within it."""
    H, M, g = quadratic(values, seed)
    step = _steihaug(lambda p: H @ p, solver(M), g, radius, 0.1, 100)
    check_step(step.direction, step.fall, step.length, H, M, g)
    assert step.length <= radius * (1 + 1e-9)
    assert step.border is (step.length >= radius * (1 - 1e-12)) or not step.border
    p = -np.linalg.solve(M, g)
    reach = radius / np.sqrt(p @ M @ p)
    curve = p @ H @ p
    t = min(reach, -(g @ p) / curve) if curve > 0 else reach
    assert step.fall >= -(t * (g @ p) + t * t * curve / 2) * (1 - 1e-9)
    if step.curvature < 0:
        assert step.border
        # a quotient p·Hp / p·p is off by n eps ‖H‖_F at most, an eigenvalue and the symmetry of H
        # by as much each: a zero eigenvalue may show as negative curvature of that size
        assert np.linalg.eigvalsh(H)[0] < 4 * len(H) * EPS * np.linalg.norm(H)


def check_step(x: Array, fall: float, length: float, H: Array, M: Array, g: Array) -> None:
    """Fall and length are those of the step; recurrences of up to 6 steps lose some digits."""
    assert fall == pytest.approx(-(g @ x + x @ H @ x / 2), rel=1e-6)
    assert length == pytest.approx(np.sqrt(x @ M @ x), rel=1e-6)


@given(
    st.lists(st.floats(-10, 10), min_size=2, max_size=6), SEEDS, st.floats(0.1, 10), st.floats(0, 1)
)
def test_a_path_cut_is_the_step_in_the_smaller_ball(
    values: list[float], seed: int, radius: float, share: float
) -> None:
    H, M, g = quadratic(values, seed)
    path: list[_Link] = []
    whole = _steihaug(lambda p: H @ p, solver(M), g, radius, 0.1, 100, path)
    smaller = max(share, 1e-3) * whole.length * (1 - 1e-9)
    step = _steihaug(lambda p: H @ p, solver(M), g, smaller, 0.1, 100)
    cut = _cut(path, smaller)
    assert cut is not None
    # sums of the same terms in another order, whose lengths the balls bound
    np.testing.assert_allclose(cut.direction, step.direction, atol=1e-12 * (1 + radius))
    assert (cut.border, cut.products) == (True, 0)
    assert (cut.length, cut.curvature) == (step.length, step.curvature)
    assert cut.fall == pytest.approx(step.fall, rel=1e-9)
    assert _cut(path[:-1], 2 * whole.length) is None  # what was not kept is computed anew


@pytest.mark.parametrize("k", [1, 3, 8, 13, 48])
@pytest.mark.parametrize("rank", [1, 2, 48])
def test_inverses_by_halves(k: int, rank: int) -> None:
    """Of condition 100 k and less, the leading parts of low rank too."""
    A = np.random.default_rng(k).standard_normal((5, k, rank))
    blocks = A @ A.swapaxes(1, 2) / rank + 1e-2 * np.eye(k)
    root = root_inverses(blocks)
    found = blocks @ (root.swapaxes(1, 2) @ root)
    # a few k eps times the condition
    np.testing.assert_allclose(
        found, np.broadcast_to(np.eye(k), found.shape), atol=800 * k**2 * EPS
    )


@pytest.mark.parametrize(
    ("damping", "unit", "serves"),
    [(1e-2, 1.0, True), (1e-9, 1.0, False), (1e-2, 1e-16, False)],
)
def test_single_precision_is_refused_where_it_does_not_serve(
    damping: float, unit: float, serves: bool
) -> None:
    """Hardly damped blocks of low rank, or faint ones: it is then as in double precision."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((2, 48, 2)) @ rng.standard_normal((2, 2, 64))
    point = Objective(DIRICHLET).at(unit * factors / 10)
    assert damped_inverses(point.blocks(np.float32), damping)[2] is serves
    inverse, units, double_serves = damped_inverses(point.blocks(), damping)
    assert double_serves
    columns = rng.standard_normal((128, 48, 1))
    exact = ((inverse @ columns)[:, :, 0] / units).reshape(2, 64, 48).swapaxes(1, 2)
    gradient = np.ascontiguousarray(columns.reshape(2, 64, 48).swapaxes(1, 2))
    miss = np.abs(point.preconditioner(damping)(gradient) - exact).max() / np.abs(exact).max()
    # k eps times the condition 48/damping, eps that of single precision where it serves
    assert miss < (48 * 2.0**-24 * 4800 if serves else 1e-15)
    assert serves is bool(miss > 1e-15)


DIRICHLET = rb.random_context(64, seed=0)


@pytest.mark.parametrize(
    ("P", "k"),
    [
        (rb.random_context(6, 0), 1),
        (rb.random_context(6, 0), 2),
        (rb.random_context(16, 0), 8),
        (rb.random_context(16, 0), 14),
        (DIRICHLET, 8),
    ],
)
@pytest.mark.parametrize("tokens", [False, True])
def test_the_end_is_that_of_lbfgs(P: Array, k: int, tokens: bool) -> None:
    """From the spectral start, with gradients below 1e-8.

    Near a minimum the KL exceeds it by the squared gradient over twice the curvature, which is
    above 1e-5 here (its least eigenvalue across the gauge, balanced factors).
    """
    X = rb.random_tokens(len(P) // 2, len(P), seed=0) if tokens else None
    one, other = (
        rb.fit_head(P, k, X=X, random_starts=0, method=method) for method in ("newton", "l-bfgs")
    )
    assert one.converged
    assert other.converged
    assert one.kl == pytest.approx(other.kl, abs=1e-16 / 2e-5)
    assert one.curvature is not None
    assert one.curvature > 0
    assert other.curvature is None
    assert (one.method, other.method) == ("newton", "l-bfgs")


@pytest.mark.parametrize(("kind", "k"), [("causal", 4), ("prefix", 5), ("sliding", 3)])
def test_the_end_under_a_mask(kind: str, k: int) -> None:
    """Both reach what can be reached: KL within the squared gradient over a curvature of 1e-5."""
    mask = {
        "causal": rb.causal_mask(8),
        "prefix": rb.prefix_mask(8, 4),
        "sliding": rb.sliding_mask(8, 3),
    }[kind]
    P = rb.column_softmax(np.random.default_rng(0).standard_normal((8, 8)), mask=mask)
    for method in ("newton", "l-bfgs"):
        fit = rb.fit_head(P, k, mask=mask, random_starts=0, method=method)
        assert fit.converged
        assert fit.kl <= 1e-16 / 2e-5


def test_the_cliff_near_its_edge() -> None:
    """THEORY 5 at k = 48: the value from the spectral start, in under a thousand products."""
    fit = rb.fit_head(DIRICHLET, 48, random_starts=0)
    assert f"{fit.kl:.3e}" == "2.164e-03"
    assert fit.converged
    assert fit.iterations < 1000


@settings(max_examples=25)
@given(contexts(largest=6), st.integers(1, 6), SEEDS)
def test_newton_only_descends(P: Array, k: int, seed: int) -> None:
    problem = read_problem(P)
    objective = Objective(problem.P)
    start = problem.random_start(k, np.random.default_rng(seed))
    before, ends = objective.at(start), [newton(objective, start, 1e-8, m) for m in (1, 7, 60)]
    # the loss may rise by its rounding alone: logits off by (n + k) eps times norms
    slack = 64 * EPS * (1 + float(np.max(np.abs(before.log_Q)))) * len(P)
    assert max(end.point.value for end in ends) <= before.value + slack
    for end, most in zip(ends, (1, 7, 60), strict=True):
        assert end.iterations <= most
        again = objective.at(end.point.factors)
        assert end.gradient_norm == float(np.linalg.norm(again.gradient))


def test_a_converged_start_is_left_alone() -> None:
    """The saddle at 0 has no gradient: no step, no curvature, and no claim about either."""
    objective = Objective(rb.random_context(5, 0))
    uniform = Objective(np.full((5, 5), 0.2))
    end = newton(uniform, np.zeros((2, 2, 5)), 1e-8, 10)
    assert (end.iterations, end.curvature, end.point.value) == (0, None, 0.0)
    end = newton(objective, np.zeros((2, 2, 5)), 1e-8, 10)
    assert (end.iterations, end.curvature) == (0, None)
    assert end.point.value > 0


def test_negative_curvature_is_followed() -> None:
    """Next to the saddle at 0 the way down is a direction of negative curvature."""
    objective = Objective(rb.random_context(5, 0))
    U, _, Vt = np.linalg.svd(-objective.at(np.zeros((2, 2, 5))).slope)
    start = 1e-6 * np.stack([U.T[:2], Vt[:2]])
    ends = [newton(objective, start, 1e-12, limit) for limit in range(1, 40)]
    first = next(end.curvature for end in ends if end.curvature is not None)
    assert first < 0
    end = newton(objective, start, 1e-8, 2000)
    assert end.gradient_norm <= 1e-8
    assert end.curvature is not None
    assert end.curvature > 0
    spectral = rb.fit_head(objective.P, 2, random_starts=0).kl
    assert end.point.value == pytest.approx(spectral, rel=0.2)


def test_zeros_end_honestly() -> None:
    """A permutation is approached by ever larger logits; out of products, the end says so."""
    P = rb.random_context(8, 0, "permutation")
    short = rb.fit_head(P, 2, random_starts=0, max_iterations=20)
    assert not short.converged
    assert short.gradient_norm > 1e-8
    assert short.iterations == 20
    long = rb.fit_head(P, 2, random_starts=0)
    assert long.converged
    assert 0 < long.kl < short.kl


@pytest.mark.parametrize("limit", [1, 5])
def test_lbfgs_keeps_its_limit(limit: int) -> None:
    objective = Objective(rb.random_context(6, 0))
    start = np.random.default_rng(0).standard_normal((2, 2, 6))
    end = lbfgs(objective, start, 1e-8, limit)
    assert end.iterations == limit
    assert end.point.value < objective.at(start).value
