"""Lower bounds of the KL divergence: each step against a second computation, and against fits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.attention.softmax import log_column_softmax
from rankbound.fitting.objective import kl_divergence
from rankbound.testing import contexts
from rankbound.theory import minorants
from rankbound.theory.approximation import (
    _psi_low,
    best_argument,
    entrywise_lower_bound,
    kl_lower_bound,
    normalised_low,
)
from rankbound.theory.divergence import kl_certificate
from rankbound.theory.minorants import (
    Point,
    _defect,
    _shrink,
    _slope,
    explained,
    judged,
    phi_low,
    phi_threshold,
    prices,
    rank_one_minorant,
    touching,
)
from tests.helpers import Array, refused

SEEDS = st.integers(0, 2**31)
POSITIVE = st.floats(1e-250, 1e8)


def phi(t: Any) -> Any:
    with mpmath.workdps(400):
        t = mpmath.mpf(float(t))
        return t - 1 + mpmath.exp(-t)


def psi(s: float) -> Any:
    with mpmath.workdps(400):
        x = mpmath.mpf(s)
        return 1 - (1 + x) * mpmath.exp(-x)


# the function φ


@given(st.floats(0, 1e8) | st.floats(-600, 0))
def test_phi_from_below(t: float) -> None:
    low = float(phi_low(np.array(t)))
    true = phi(t)
    assert low <= true
    if abs(t) > 1e-140:  # and near: three digits where the series takes over, more elsewhere
        assert low >= true * (1 - 1e-6)


@given(st.floats(-1e-140, 1e-140) | st.floats(-1e-153, 1e-153))
def test_phi_and_psi_from_below_where_products_underflow(t: float) -> None:
    """A subnormal product is rounded by up to its own size, upwards too."""
    assert mpmath.mpf(float(phi_low(np.array(t)))) <= phi(t)
    assert mpmath.mpf(float(_psi_low(np.array(abs(t))))) <= psi(abs(t))
    if abs(t) > 1e-150:
        assert float(phi_low(np.array(t))) >= phi(t) * (1 - 1e-6)


@given(st.floats(0, 1e3))
def test_psi_from_below(s: float) -> None:
    low = float(_psi_low(np.array(s)))
    assert low <= psi(s)
    if s > 1e-140:
        assert low >= psi(s) * (1 - 1e-6)


@given(st.floats(0, 1e-290))
def test_a_threshold_of_a_budget_whose_square_root_alone_is_normal(y: float) -> None:
    """Down to the smallest budget: φ(T) >= y and a ratio near 1/2."""
    T, ratio = (float(x) for x in phi_threshold(np.array(y)))
    assert phi(T) >= mpmath.mpf(y)
    if y:
        assert phi(T) <= mpmath.mpf(y) * (1 + 1e-8)
        assert 0.5 * (1 - 1e-12) < ratio <= 0.5


@given(POSITIVE)
def test_the_threshold_is_above_the_root_and_its_ratio_below(y: float) -> None:
    T, ratio = (float(x) for x in phi_threshold(np.array(y)))
    assert phi(T) >= mpmath.mpf(y)
    with mpmath.workdps(400):
        true = phi(T) / mpmath.mpf(T) ** 2
    assert true * (1 - 1e-5) <= ratio <= true
    assert phi(T * (1 - 1e-3)) < mpmath.mpf(y)  # it is no wide guess
    assert ratio <= 0.5


def test_the_ratio_falls() -> None:
    ratios = phi_threshold(np.geomspace(1e-12, 1e6, 400))[1]
    assert (np.diff(ratios) <= 1e-9).all()


@pytest.mark.parametrize(("share", "grows"), [(1 - 1e-5, True), (0.5, False)])
def test_a_threshold_that_rounding_left_short_grows(
    share: float, grows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if φ were computed so far from below; where it is too far, there is no threshold."""
    y = np.geomspace(1e-9, 1e3, 20)
    monkeypatch.setattr(minorants, "phi_low", lambda t: share * phi_low(t))
    T = phi_threshold(y)[0]
    if grows:
        assert (share * phi_low(T) >= y).all()
        assert (phi_low(T) <= (1 + 1e-3) * y).all()  # as loose as where the series ends
    else:
        assert np.isinf(T).all()


# minorants


@st.composite
def weights(draw: Any) -> Array:
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(SEEDS))
    scale = draw(st.sampled_from([0.0, 0.3, 3.0, 30.0]))
    return np.asarray(np.exp(scale * rng.standard_normal(shape)), np.float64)


@given(weights(), SEEDS)
@settings(max_examples=100, deadline=None)
def test_minorants_are_below_in_rationals(W: Array, seed: int) -> None:
    mass = np.random.default_rng(seed).random(W.shape) + 1e-3
    a, b = rank_one_minorant(W, mass)
    assert (a > 0).all() and (b > 0).all()
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            assert (Fraction(x) * Fraction(y)) ** 2 <= Fraction(W[i, j])
    # tight: neither factor can grow in any place
    share = np.square(np.multiply.outer(a, b)) / W
    assert share.max(axis=1).min() > 1 - 1e-9


def test_a_minorant_comes_near_the_linear_program() -> None:
    from scipy.optimize import linprog

    rng = np.random.default_rng(0)
    W, mass = np.exp(rng.standard_normal((6, 5))), rng.random((6, 5))
    rows = [np.concatenate([np.eye(6)[i], np.eye(5)[j]]) for i in range(6) for j in range(5)]
    best = linprog(
        -np.concatenate([mass.sum(axis=1), mass.sum(axis=0)]),
        A_ub=np.array(rows),
        b_ub=np.log(W).ravel(),
        bounds=(None, None),
    )
    a, b = rank_one_minorant(W, mass)
    reached = 2 * (mass.sum(axis=1) @ np.log(a) + mass.sum(axis=0) @ np.log(b))
    assert -best.fun - 0.05 * mass.sum() <= reached <= -best.fun + 1e-9


# the unexplained part


# columns that do not sum to 1

STORED = [("bfloat16", 1.15), ("bfloat16", 0.85), ("float16", 1.015), ("float32", 1 - 2e-6)]


def patterned() -> Array:
    """A context that the bound by signs says most of, with keys and queries of their own sizes."""
    from scipy.linalg import hadamard

    signs, size = hadamard(16).astype(np.float64), np.full(16, 7.0)
    size[[0, 8]] = 2.0
    signs[:8, [0, 8]] = -1.0
    P = np.exp(size * signs)
    return np.asarray(P / P.sum(axis=0), np.float64)


@pytest.mark.parametrize(("stored", "factor"), STORED)
@pytest.mark.parametrize("by_signs", [True, False])
def test_a_bound_is_that_of_the_normalised_context(
    stored: str, factor: float, by_signs: bool
) -> None:
    """Sums that the tolerance of a stored dtype admits change nothing but last digits."""
    P, k = (patterned(), 1) if by_signs else (rb.random_context(12, seed=0, law="gibbs"), 3)
    assert (best_argument(P, None, k).thresholds is not None) == by_signs
    # some n roundings of sums and logarithms; budgets, that ties choose, a hundredth apart
    relative = 1e-12 if by_signs else 0.02
    bound = kl_lower_bound(P * factor, k, stored=stored)
    assert bound == pytest.approx(kl_lower_bound(P, k), rel=relative)


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("k", [1, 3])
def test_certificates_by_signs_of_stored_contexts(stored: str, k: int) -> None:
    """The checker divides by the exact sums of the columns, each with a deviation of its own."""
    from scipy.linalg import hadamard

    for P in (patterned(), np.exp(6.0 * hadamard(32)), patterned().T[::-1] ** 0.9):
        deviations = {"float32": 1e-6, "float16": 8e-3, "bfloat16": 0.07}[stored]
        sums = 1 + deviations * np.linspace(-1, 1, len(P))
        context = rb.Context(P / P.sum(axis=0) * sums, stored=stored)
        certificate = kl_certificate(context, k)
        assert rb.check(certificate).accepted


def test_of_a_subnormal_probability_a_lower_bound_is_left() -> None:
    P = np.array([[5e-324, 2e-308], [1.0, 1.0]]) * np.array([1.0, 1.0])
    P[1] *= 1 + 1e-13
    low = normalised_low(P)
    for j in range(2):
        total = sum(map(Fraction, P[:, j].tolist()))
        assert all(
            Fraction(x) <= Fraction(p) / total for x, p in zip(low[:, j], P[:, j], strict=True)
        )


@given(seed=SEEDS, rows=st.integers(1, 6), size=st.floats(0.0, 3.0))
def test_the_defect_of_a_basis_is_bounded_from_above_and_at_most_one(
    seed: int, rows: int, size: float
) -> None:
    """Against ‖B B^T - I‖_F² in rationals; 1 leaves nothing of a tail, more changes its sign."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((8, rows)))[0].T + size * np.eye(rows, 8)
    B = [[Fraction(x) for x in row] for row in basis.tolist()]
    exact = Fraction(0)
    for i, x in enumerate(B):
        for j, y in enumerate(B):
            exact += (sum(s * t for s, t in zip(x, y, strict=True)) - (i == j)) ** 2
    found = Fraction(_defect(basis))
    assert found <= 1
    assert found == 1 or found**2 >= exact


@given(left=st.floats(0.0, 1.0), right=st.floats(0.0, 1.0))
def test_what_two_defects_leave_is_rounded_down_by_twelve_roundings_at_most(
    left: float, right: float
) -> None:
    u, exact = Fraction(2) ** -53, (1 - Fraction(left)) * (1 - Fraction(right))
    assert (1 - 12 * u) * exact <= Fraction(_shrink(left, right)) <= (1 - 4 * u) * exact


def exact_tail(P: Array, a: Array, b: Array, k: int) -> tuple[Any, list[Any]]:
    """By mpmath to 50 digits: tail² of diag(a) log P diag(b), gauge removed, and column norms²."""
    with mpmath.workdps(50):
        m, n = P.shape
        w = [mpmath.mpf(float(x)) for x in a]
        M = mpmath.matrix(m, n)
        for j in range(n):
            ell = [mpmath.log(mpmath.mpf(float(P[i, j]))) for i in range(m)]
            mean = sum(x * x * y for x, y in zip(w, ell, strict=True)) / sum(x * x for x in w)
            for i in range(m):
                M[i, j] = w[i] * (ell[i] - mean) * mpmath.mpf(float(b[j]))
        s = sorted((x for x in mpmath.svd_r(M, compute_uv=False)), reverse=True)
        return sum(x * x for x in s[k:]), [sum(M[i, j] ** 2 for i in range(m)) for j in range(n)]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_unexplained_is_bounded_from_below(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(3, 8)), int(rng.integers(0, 3))
    P = rb.random_context(n, seed, law="logrank", rank=min(k + seed % 2, n - 1))
    a, b = np.exp(rng.standard_normal((2, n)))
    found = explained(np.log(P), a, b, k)
    tail, columns = exact_tail(P, a, b, k)
    assert found.tail <= tail
    assert all(low >= true for low, true in zip(found.columns, columns, strict=True))
    # near to within a relative 1e-9 where there is something, or rounding in the square
    scale = float(sum(columns))
    assert found.tail >= float(tail) * (1 - 1e-9) - 1e-12 * scale - 1e-24
    np.testing.assert_allclose(found.columns, [float(x) for x in columns], rtol=1e-9, atol=1e-24)


# the bound


@given(
    contexts(kinds=("gaussian", "near_low_rank", "low_rank"), largest=6), st.integers(1, 4), SEEDS
)
@settings(max_examples=60, deadline=None)
def test_no_fitted_head_is_below(P: Array, k: int, seed: int) -> None:
    bound = kl_lower_bound(P, k)
    fit = rb.fit_head(P, k, seed=seed, random_starts=2, max_iterations=300)
    assert bound <= fit.kl * (1 + 1e-6) + 1e-15
    for start in fit.start_kls:
        assert bound <= start * (1 + 1e-6) + 1e-15
    nearest = kl_divergence(P, log_column_softmax(rb.nearest_head(P, k).logits()))
    assert bound <= nearest * (1 + 1e-6) + 1e-15


@given(contexts(kinds="gaussian", largest=6), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_never_weaker_than_the_least_probability_alone(P: Array, k: int) -> None:
    n = len(P)
    tail = rb.aitchison_error(P, k) if k < n - 1 else 0.0
    floor = P.min() / n * float(phi(tail))
    assert kl_lower_bound(P, k) >= floor * (1 - 1e-5) - 1e-15


def test_budgets_need_the_minimum() -> None:
    """Without it the crossing would be false here (THEORY 5)."""
    P = rb.column_softmax([[0.0, 0.0, 3.0], [3.0, 6.0, 6.0], [2.0, 2.0, 5.0]])
    fit = rb.fit_head(P, 1, random_starts=10)
    assert 0 < kl_lower_bound(P, 1) <= fit.kl


@pytest.mark.parametrize("seed", range(3))
def test_soft_contexts_are_bracketed_within_three(seed: int) -> None:
    P = rb.random_context(16, seed, law="gibbs", scale=0.3)
    for k in (1, 8, 14):
        fit = rb.fit_head(P, k)
        assert 1 <= fit.kl / kl_lower_bound(P, k) <= 3


def test_published_values() -> None:
    """n = 64, Dirichlet(1): above the crossing with four simple minorants (theory, section 5)."""
    P = np.maximum(np.random.default_rng(0).dirichlet(np.ones(64), size=64).T, 1e-12)
    P /= P.sum(axis=0)
    for k, simple in ((32, 4.5e-5), (62, 2.65e-8)):
        assert simple < kl_lower_bound(P, k) < {32: 2.593e-2, 62: 1.387e-6}[k]


def test_where_nothing_is_shown() -> None:
    P = rb.random_context(5, 0)
    assert kl_lower_bound(P, 4) == kl_lower_bound(P, 100) == 0.0
    assert kl_lower_bound([[1.0]], 1) == 0.0
    assert kl_lower_bound(np.full((6, 6), 1 / 6), 1) < 1e-30
    exact = rb.random_context(8, 0, law="logrank", rank=3)
    assert kl_lower_bound(exact, 3) < 1e-28 < 1e-6 < kl_lower_bound(exact, 2)


def test_zeros_are_left_out() -> None:
    P = rb.random_context(8, 0, law="gibbs")
    P[0, 0] = 0
    P /= P.sum(axis=0)
    bound = kl_lower_bound(P, 2)
    assert 0 < bound <= rb.fit_head(P, 2).kl
    assert kl_lower_bound(np.eye(4), 1) == 0.0


def test_rows_and_columns() -> None:
    P = rb.random_context(6, 1)
    assert kl_lower_bound(P.T, 2, rows=True) == kl_lower_bound(P, 2)
    with refused(rb.InputError, "rows=True"):
        kl_lower_bound(P.T, 2)
    with refused(rb.InputError, "head_size"):
        kl_lower_bound(P, 0)


def test_some_entry_is_missed_of_a_context_read_from_logits() -> None:
    """Logits are logarithms of P up to gauge, also where P underflows."""
    P = rb.random_context(9, seed=0)
    context = rb.Context(logits=np.log(P) + 3.0)
    assert entrywise_lower_bound(context, 3) == pytest.approx(entrywise_lower_bound(P, 3))
    steep = rb.Context(logits=np.where(np.eye(9), 900.0, 0.0))
    # eight singular values of 900; nine entries a side carry what is left
    assert entrywise_lower_bound(steep, 3) == pytest.approx(900 * 5**0.5 / 9)


@given(contexts(kinds="gaussian", largest=6), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_some_entry_is_missed(P: Array, k: int) -> None:
    bound = entrywise_lower_bound(P, k)
    head = rb.nearest_head(P, k)
    miss = np.abs(np.log(P) - log_column_softmax(head.logits()))
    assert bound <= np.max(miss) + 1e-12
    assert bound <= rb.aitchison_error(P, k) / len(P) * (1 + 1e-12)
    assert bound >= rb.aitchison_error(P, k) / len(P) * (1 - 1e-9) - 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_under_a_mask(seed: int) -> None:
    n = 8
    P, mask = rb.random_context(n, seed, law="causal"), rb.causal_mask(n)
    least = rb.least_head_size(P, mask=mask)
    assert least == 4
    for k in range(1, n):
        bound = kl_lower_bound(P, k, mask=mask)
        fit = rb.fit_head(P, k, mask=mask, random_starts=2)
        assert bound <= fit.kl * (1 + 1e-6) + 1e-15
        assert (bound > 0) is (k < least)  # almost every causal context stays at a distance
    assert kl_lower_bound(P.T, 2, mask=mask.T, rows=True) == kl_lower_bound(P, 2, mask=mask)
    with refused(rb.InputError, "over what the mask shows"):
        kl_lower_bound(rb.random_context(n, seed), 2, mask=mask)


def test_a_batch_has_a_bound_for_each_matrix() -> None:
    P = np.array([rb.random_context(6, seed, law="causal") for seed in range(4)]).reshape(
        2, 2, 6, 6
    )
    mask = rb.causal_mask(6)
    found = kl_lower_bound(P, 1, mask=mask)
    assert found.shape == (2, 2) and (found > 0).all()
    for place in np.ndindex(2, 2):
        assert found[place] == kl_lower_bound(P[place], 1, mask=mask)
    dense = np.array([rb.random_context(5, seed) for seed in range(3)])
    missed = entrywise_lower_bound(dense, 2)
    assert missed.shape == (3,)
    assert missed.tolist() == [entrywise_lower_bound(one, 2) for one in dense]


def test_a_context_is_taken_as_it_was_read() -> None:
    P, mask = rb.random_context(6, 0, law="causal"), rb.causal_mask(6)
    context = rb.Context(P.T, mask=mask.T, rows=True)
    assert kl_lower_bound(context, 1) == kl_lower_bound(P, 1, mask=mask)
    with refused(rb.InputTypeError, "a Context is given beside"):
        kl_lower_bound(context, 1, mask=mask)
    with refused(rb.InputError, "without a mask"):
        entrywise_lower_bound(context, 1)


# tilts


@given(SEEDS, st.sampled_from([0.01, 1.0, 20.0]), st.sampled_from([1e-6, 1e-2, 1.0]))
@settings(max_examples=25, deadline=None)
def test_a_price_makes_a_quadratic_a_minorant(seed: int, scale: float, budget: float) -> None:
    """``w (x - H)² - e <= p φ(x)`` up to T, by mpmath, and no smaller e would do."""
    rng = np.random.default_rng(seed)
    p = np.exp(-scale * rng.random((3, 2)))
    a, b = np.exp(rng.normal(-1, 1, 3)), np.sqrt(budget) * np.exp(rng.normal(-1, 1, 2))
    H = rng.normal(0, 1, (3, 2)) * rng.choice([0.0, 1e-4, 1.0, 10.0], (3, 2))
    price, _, T = prices(p, a, b, H, budget)
    assert np.isfinite(price).all() and (price >= 0).all()
    with mpmath.workdps(60):
        for i, j in np.ndindex(3, 2):
            w = (mpmath.mpf(float(a[i])) * mpmath.mpf(float(b[j]))) ** 2
            q, h, end, e = (mpmath.mpf(float(x[i, j])) for x in (p, H, T, price))

            def gap(x: Any, w: Any = w, q: Any = q, h: Any = h) -> Any:
                return w * (x - h) ** 2 - q * (x - 1 + mpmath.exp(-x))

            assert q * (end - 1 + mpmath.exp(-end)) >= budget
            last = min(mpmath.log(q / (2 * w)), end)
            low, high = min(last, -mpmath.mpf(50)) - abs(h), last
            for _ in range(200):  # of its slope, which falls up to `last`
                middle = (low + high) / 2
                rises = 2 * w * (middle - h) > q * (1 - mpmath.exp(-middle))
                low, high = (middle, high) if rises else (low, middle)
            true = max(gap(end), gap(low), gap(last), mpmath.mpf(0))
            assert true <= e + mpmath.mpf(10) ** -50
            # φ's series is within 1e-7 of it, at T too, and a tangent's rise is small
            spent = budget + q * (low - 1 + mpmath.exp(-low))
            assert e <= true + true / 10**12 + spent / 10**6 + w * (h * h + 1) / 10**9


def test_without_a_tilt_a_minorant_has_no_price() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(6), 5).T
    c = phi_threshold(0.1 / p)[1]
    a, b = rank_one_minorant(p * c, np.ones_like(p))
    assert prices(p, a, b, np.zeros_like(p), 0.1)[0].max() <= 1e-14


@given(SEEDS)
def test_where_a_minorant_touches(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, w = np.exp(rng.uniform(-9, 0, (4, 4))), np.exp(rng.uniform(-9, 0, (4, 4)))
    H, x = rng.normal(0, 3, (4, 4)), np.zeros((4, 4))
    for _ in range(9):
        x = touching(p, w, H, x)
    slope = 2 * w * (x - H) + p * np.expm1(-x)
    last = np.log(p / (2 * w))
    assert (x <= last).all()
    met = np.abs(slope) <= 1e-9 * (w * (1 + np.abs(x - H)) + p * np.exp(-x))
    near = slope[x == last] + 1e-2 * w[x == last]  # a zero just left of where all ends is let go
    assert (met | (x == last)).all() and (near > 0).all()


@pytest.mark.parametrize("dear", [0, 1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_slope_of_the_dual(seed: int, dear: int) -> None:
    """Against differences, where neither a minimiser nor what pays changes."""
    rng = np.random.default_rng(seed)
    P = rb.random_context(7, seed)
    ell, k = np.log(P), 2
    parts = [rng.normal(-2, 0.3, 7), rng.normal(-1, 0.3, 7), rng.normal(0, 0.5, (7, 7))]
    T = phi_threshold(0.05 / P)[0]

    def value(a: Array, b: Array, H: Array) -> tuple[float, tuple[Array, Array, Array]]:
        x = np.zeros_like(P)
        for _ in range(8):
            found, gradient, x, _ = _slope(ell, P, k, Point(0.05, dear, a, b, H), T, x)
        return found, gradient

    _, gradient = value(*parts)
    for _ in range(3):
        way = [rng.standard_normal(one.shape) for one in parts]
        h = 1e-5
        up, down = (
            value(*[x + s * h * y for x, y in zip(parts, way, strict=True)])[0] for s in (1, -1)
        )
        slope = sum(float(np.sum(x * y)) for x, y in zip(gradient, way, strict=True))
        assert (up - down) / (2 * h) == pytest.approx(slope, rel=1e-3, abs=1e-4)


@given(SEEDS, st.integers(0, 3), st.floats(0.01, 2.0))
@settings(max_examples=60, deadline=None)
def test_dear_columns_take_no_more_than_is_counted(seed: int, k: int, budget: float) -> None:
    """Over every set of columns: what the others leave unexplained, and what these pay."""
    rng = np.random.default_rng(seed)
    M, price = rng.standard_normal((5, 4)), rng.random((5, 4)) * rng.choice([0.0, 0.1])
    s = np.linalg.svd(M, compute_uv=False)
    tails = np.append(np.cumsum((s * s)[::-1])[::-1], 0.0)
    found = judged(tails, np.sum(M * M, axis=0), budget, k, price)
    least = np.inf
    for some in range(16):
        out = np.array([some >> j & 1 for j in range(4)], bool)
        rest = np.linalg.svd(M[:, ~out], compute_uv=False)[k:]
        others = max(float(np.sum(rest**2) - price[:, ~out].sum()), 0.0)
        least = min(least, others + budget * float(out.sum()))
    assert found <= least * (1 + 1e-12)


@pytest.mark.parametrize("k", [12, 14])
def test_the_gap_closes_for_soft_contexts(k: int) -> None:
    P = rb.random_context(16, seed=0, law="gibbs", scale=0.3)
    assert 1 <= rb.fit_head(P, k).kl / kl_lower_bound(P, k) <= 1.01


@pytest.mark.parametrize(
    ("law", "k", "untilted", "tilted"),
    [
        ("gibbs", 4, 18.4, 4.5),
        ("gibbs", 8, 8.2, 3.7),
        ("gibbs", 12, 3.9, 1.5),
        ("dirichlet", 4, 26.4, 7.8),
        ("dirichlet", 8, 20.5, 7.8),
        ("dirichlet", 12, 13.7, 5.4),
    ],
)
def test_tilts_come_nearer_to_fits(law: str, k: int, untilted: float, tilted: float) -> None:
    """The ratios of a fit to the bounds that docs/theory.md, section 5, tells."""
    P = rb.random_context(16, seed=0, law=law)
    kl = rb.fit_head(P, k).kl
    assert kl / best_argument(P, None, k, tilted=False).value == pytest.approx(untilted, rel=0.02)
    assert kl / kl_lower_bound(P, k) == pytest.approx(tilted, rel=0.03)
