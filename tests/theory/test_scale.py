"""The price of scale: bounds that no head undercuts, keys that come near them."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.theory.selection import (
    coherence,
    head_scale,
    least_scale_bound,
    longest,
    random_keys,
    scale_bounds,
    selecting_head,
    worst_margin,
)
from tests.helpers import Array, refused

SEEDS = st.integers(0, 2**32 - 1)
ERRORS = st.sampled_from([0.4, 0.05, 1e-3, 1e-8])


def simplex(n: int) -> Array:
    """The corners of a regular simplex, as unit keys in n - 1 coordinates."""
    _, _, Vt = np.linalg.svd(np.eye(n) - 1 / n)
    corners: Array = Vt[:-1] * math.sqrt(n / (n - 1))
    return corners


def circle(n: int) -> Array:
    angles = 2 * math.pi * np.arange(n) / n
    return np.array([np.cos(angles), np.sin(angles)])


def exact(rows: Array) -> list[list[Fraction]]:
    return [[Fraction(float(x)) for x in row] for row in rows]


def exact_products(A: Array, B: Array) -> list[list[Fraction]]:
    left, right = exact(A.T), exact(B.T)
    return [
        [sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0)) for b in right] for a in left
    ]


def exact_scale(head: rb.AttentionHead) -> mpmath.mpf:
    with mpmath.workdps(50):
        longest = [
            max(mpmath.norm(mpmath.matrix(column)) for column in W.T) for W in (head.W_q, head.W_k)
        ]
        return abs(mpmath.mpf(head.scale)) * longest[0] * longest[1]


def by_formula(n: int, d: int, error: float) -> tuple[float, float, float]:
    """Volume, caps and average in floating point, κ from the gamma function."""
    gap = math.log((1 - error) / error)

    def ball(m: int) -> float:
        return math.exp(m / 2 * math.log(math.pi) - math.lgamma(m / 2 + 1))

    w = d * ball(d) / ball(d - 1)
    return (
        (n ** (1 / d) - 1) / 2 * gap,
        max(0.0, ((n / w) ** (2 / (d - 1)) - 1) / 4 * gap),
        (1 - 1 / n) * math.log((n - 1) * (1 - error) / error),
    )


@given(st.integers(2, 10**9), st.integers(2, 40), st.floats(1e-300, 0.49))
def test_bounds_are_the_formulas_rounded_down(n: int, d: int, error: float) -> None:
    found = scale_bounds(n, d, error)
    for bound, formula in zip(
        (found.volume, found.caps, found.average), by_formula(n, d, error), strict=True
    ):
        # formulas in float64 lose a few digits of n^(1/d) - 1
        assert bound == pytest.approx(formula, rel=1e-9, abs=1e-12)
    assert found.best == least_scale_bound(n, d, error)


@given(st.integers(2, 500), st.integers(1, 30), ERRORS)
def test_bounds_grow_with_keys_and_fall_with_size_and_error(n: int, d: int, error: float) -> None:
    bound = least_scale_bound(n, d, error)
    assert bound <= least_scale_bound(n + 1, d, error)
    assert bound >= least_scale_bound(n, d + 1, error)
    assert bound >= least_scale_bound(n, d, min(0.9, error * 1.5))


def test_what_needs_no_scale_and_what_none_is_enough_for() -> None:
    assert least_scale_bound(1, 1, 1e-3) == 0
    assert least_scale_bound(2, 1, 0.5) == 0
    assert least_scale_bound(3, 2, 0.7) == 0
    assert least_scale_bound(3, 1, 0.49) == math.inf
    assert math.isfinite(least_scale_bound(2, 1, 1e-300))
    assert least_scale_bound(3, 1, 0.6) > 0  # by the average alone
    assert scale_bounds(10**6, 10**5, 0.1).caps == 0


def test_rounded_down() -> None:
    """Against 50 digits: below, by no more than a few units in the last place."""
    with mpmath.workdps(50):
        for n, d, error in itertools.product((2, 3, 1000), (2, 3, 7), (0.3, 1e-9)):
            gap = mpmath.log((1 - mpmath.mpf(error)) / error)
            found = scale_bounds(n, d, error)
            volume = (mpmath.mpf(n) ** (mpmath.mpf(1) / d) - 1) / 2 * gap
            average = (1 - mpmath.mpf(1) / n) * (gap + mpmath.log(n - 1))
            for bound, value in ((found.volume, volume), (found.average, average)):
                assert value * (1 - 4 * mpmath.mpf(2) ** -53) <= bound <= value
            if d == 2 and n > 2:
                plane = gap / (1 - mpmath.cos(2 * mpmath.pi / n))
                assert plane * (1 - 4 * mpmath.mpf(2) ** -53) <= found.plane <= plane


@settings(max_examples=30)
@given(st.integers(2, 9), ERRORS)
def test_a_simplex_reaches_the_average_bound(n: int, error: float) -> None:
    found = selecting_head(simplex(n), error)
    assert least_scale_bound(n, n - 1, error) <= found.scale
    assert found.scale <= least_scale_bound(n, n - 1, error) * (1 + 1e-5)
    assert found.margin == pytest.approx(n / (n - 1), rel=1e-12)


@pytest.mark.parametrize("n", [4, 7, 40])
def test_the_circle_comes_near_the_plane_bound(n: int) -> None:
    """Two neighbours count, so log 2 is what the bound misses of g, and a little for the rest."""
    found, bound = selecting_head(circle(n), 1e-6), least_scale_bound(n, 2, 1e-6)
    ratio = (math.log(1e6) + math.log(2.001)) / math.log(1e6 - 1)
    assert bound <= found.scale <= bound * ratio
    assert found.margin == pytest.approx(1 - math.cos(2 * math.pi / n), rel=1e-9)


@settings(max_examples=60)
@given(st.integers(2, 12), st.integers(2, 6), SEEDS, ERRORS)
def test_no_head_undercuts_the_bounds(n: int, d: int, seed: int, error: float) -> None:
    """Random keys of many lengths, with queries that win for them where there are any."""
    rng = np.random.default_rng(seed)
    keys = rng.standard_normal((d, n)) * rng.uniform(0.8, 1.2, n)
    queries = np.nan_to_num(rb.argmaxable(keys).queries)
    won = worst_margin(keys, queries)[0] > 1e-9
    keys, queries = keys[:, won], queries[:, won]
    if keys.shape[1] < 2:
        return
    found = selecting_head(keys, error, directions=queries)
    bounds = scale_bounds(keys.shape[1], d, error)
    measured = exact_scale(found.head)
    for bound in (bounds.volume, bounds.caps, bounds.average, bounds.plane):
        assert bound <= measured <= found.scale


@settings(max_examples=25)
@given(st.integers(2, 10), st.integers(1, 5), SEEDS, ERRORS)
def test_selecting_heads_reach_their_error(n: int, d: int, seed: int, error: float) -> None:
    rng = np.random.default_rng(seed)
    keys = random_keys(min(n, 2) if d == 1 else n, d, rng)
    if d == 1:
        keys = np.array([[1.0, -1.0]])
    n = keys.shape[1]
    targets = rng.integers(0, n, n)
    if worst_margin(keys, keys)[0].min() < 1e-6:
        return
    found = selecting_head(keys, error, targets=targets)
    context = found.head.context()
    missed = 1 - context[targets, np.arange(n)]
    assert (missed <= found.total_variation).all()
    assert found.total_variation <= error
    # a smaller factor does not do: the least was looked for
    if n > 2 and found.scale > 0:
        less = rb.AttentionHead(found.head.W_q * (1 - 1e-4), found.head.W_k, scale=1.0).context()
        assert (1 - less[targets, np.arange(n)]).max() > error * (1 - 1e-2)


@settings(max_examples=30)
@given(st.integers(2, 40), st.integers(2, 40), SEEDS, ERRORS)
def test_the_rule_of_spread_keys(n: int, d: int, seed: int, error: float) -> None:
    """β = log((n - 1)(1 - ε)/ε)/(1 - μ) with the coherence is always enough."""
    keys = random_keys(n, d, seed)
    spread = 1 - coherence(keys)
    if spread < 1e-6:
        return
    rule = max(0.0, math.log((n - 1) * (1 - error) / error)) / spread
    assert selecting_head(keys, error).scale <= rule * (1 + 1e-5)


@given(st.integers(2, 6), st.integers(1, 4), SEEDS, st.sampled_from([0, 300, -300]))
def test_coherence_is_an_upper_bound(n: int, d: int, seed: int, exponent: int) -> None:
    rng = np.random.default_rng(seed)
    keys = np.ldexp(rng.standard_normal((d, n)), rng.integers(-20, 20, (d, n)) + exponent)
    products = exact_products(keys, keys)
    largest = max(
        products[i][j] ** 2 / (products[i][i] * products[j][j])
        for i, j in itertools.combinations(range(n), 2)
    )
    found = coherence(keys)
    assert largest <= Fraction(found) ** 2
    assert found <= math.sqrt(float(largest)) * (1 + 1e-12) + 1e-15


@given(st.integers(2, 6), SEEDS)
def test_coherence_of_keys_that_are_orthogonal_but_for_rounding(d: int, seed: int) -> None:
    """The products are all rounding, so a bound without it would be wrong half of the time."""
    rng = np.random.default_rng(seed)
    one, other = rng.standard_normal((2, d))
    keys = np.stack([one, other - one * (one @ other) / (one @ one)], axis=1)
    (a, b), (_, c) = exact_products(keys, keys)
    assert b * b <= a * c * Fraction(coherence(keys)) ** 2
    assert coherence(keys) <= math.sqrt(float(b * b / (a * c))) + 4 * (d + 1) * 2.0**-52


@given(st.integers(1, 20), SEEDS)
def test_longest_is_an_upper_bound(d: int, seed: int) -> None:
    columns = np.random.default_rng(seed).standard_normal((d, 3))
    squares = [exact_products(column[:, None], column[:, None])[0][0] for column in columns.T]
    assert max(squares) <= Fraction(longest(columns)) ** 2


def test_coherence_of_keys_that_are_alike() -> None:
    assert coherence([[1.0, 3.0], [1.0, 3.0]]) == 1
    assert coherence([[2.0], [1.0]]) == 0
    assert coherence(np.eye(4)) < 1e-300


def test_random_keys_are_as_incoherent_as_is_promised() -> None:
    n, d, delta = 128, 84, 0.5
    bound = math.sqrt(2 * math.log(n * n / delta) / d)
    assert np.mean([coherence(random_keys(n, d, seed)) <= bound for seed in range(10)]) >= 0.5
    assert bound <= 0.5


@given(st.integers(1, 4), st.integers(1, 5), SEEDS, st.sampled_from([0, 500, -520]))
def test_head_scale_is_an_upper_bound(k: int, n: int, seed: int, exponent: int) -> None:
    rng = np.random.default_rng(seed)
    W_q, W_k = np.ldexp(rng.standard_normal((2, k, n)), exponent)
    head = rb.AttentionHead(W_q, W_k)
    exactly = exact_scale(head)
    assert exactly <= head_scale(head)
    if exponent == 0:
        assert head_scale(head) <= exactly * (1 + 1e-14)
        X = rng.standard_normal((n, n))
        on_tokens = rb.AttentionHead(head.queries(X), head.keys(X), scale=head.scale)
        assert head_scale(on_tokens) <= head_scale(head, X=X) * (1 + 1e-13)
        assert head_scale(head, X=X) <= head_scale(on_tokens) * (1 + 1e-12)


def test_extremes_of_a_scale() -> None:
    assert head_scale(rb.AttentionHead([[1e200]], [[1e200]])) == math.inf
    assert head_scale(rb.AttentionHead([[1e200]], [[1e200]], scale=0.0)) == 0
    assert head_scale(rb.AttentionHead([[0.0]], [[0.0]])) < 1e-300


@pytest.mark.parametrize("d", [2, 3, 5])
def test_worst_margin_is_a_lower_bound(d: int) -> None:
    rng = np.random.default_rng(d)
    keys, directions = rng.standard_normal((2, d, 6))
    products = exact_products(keys, directions)
    low, worst = worst_margin(keys, directions)
    for t in range(6):
        gaps = {i: products[t][t] - products[i][t] for i in range(6) if i != t}
        assert Fraction(low[t]) <= min(gaps.values())
        assert float(min(gaps.values())) - low[t] < 1e-14
        assert gaps[int(worst[t])] == min(gaps.values())


def test_margins_that_float64_does_not_hold() -> None:
    close = circle(2_000)[:, :3]
    selecting_head(close, 1e-3)
    t = 1e-7
    narrow = np.array([[math.cos(x), math.sin(x)] for x in (0, t, 2 * t)]).T
    with refused(rb.Undecided, "a margin of", "float64 does not hold", "larger error="):
        selecting_head(narrow, 1e-6)


@pytest.mark.parametrize(
    ("keys", "keywords", "kind", "part"),
    [
        ([[1.0, 1.0, -1.0]], {}, rb.InputError, "direction 0 prefers key 1 to key 0"),
        ([[1.0, 0.5]], {}, rb.InputError, "direction 1 prefers key 0"),
        ([[1.0, -1.0]], {"directions": [[1.0]]}, rb.InputError, "directions are (1, 1)"),
        ([[1.0, -1.0]], {"targets": [0]}, rb.InputError, "expected (2,)"),
        ([[1.0, -1.0]], {"targets": [0, 2]}, rb.InputError, "from 0 to 1"),
        ([[1.0, -1.0]], {"targets": [0.0, 1.0]}, rb.InputTypeError, "expected integers"),
        ([[1.0, math.inf]], {}, rb.InputError, "inf"),
        ([[1.0, -1.0]], {"error": 1.0}, rb.InputError, "below 1"),
        ([[1.0, -1.0]], {"error": 0.0}, rb.InputError, "above 0.0"),
    ],
)
def test_refused(keys: Any, keywords: dict[str, Any], kind: type[Exception], part: str) -> None:
    with refused(kind, part):
        selecting_head(keys, **{"error": 1e-3, **keywords})


def test_other_bad_arguments() -> None:
    with refused(rb.InputError, "key 1 is zero"):
        coherence([[1.0, 0.0]])
    with refused(rb.InputError, "n is 0"):
        least_scale_bound(0, 1, 0.1)
    with refused(rb.InputError, "head_size is 0"):
        least_scale_bound(2, 0, 0.1)
    with refused(rb.InputTypeError, "seed is None"):
        random_keys(2, 2, None)  # type: ignore[arg-type]
    with refused(rb.InputError, "X has shape"):
        head_scale(rb.random_head(2, 1, 0), X=np.ones((3, 2, 2)))


def test_one_key_only() -> None:
    found = selecting_head([[2.0]], 0.1)
    assert found.total_variation <= 0.1 and found.scale < 1e-100
    sink = selecting_head(circle(5), 1e-3, targets=[3] * 5)
    assert (sink.head.context()[3] >= 1 - 1e-3).all()


@pytest.mark.parametrize("error", [5e-324, 1e-310, 1e-16])
def test_errors_that_no_float_resolves_are_undecided(error: float) -> None:
    with pytest.raises(rb.Undecided, match="select within"):
        selecting_head(simplex(3), error)
