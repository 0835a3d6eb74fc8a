"""Sign ranks: against every small pattern, patterns of known rank, and heads that are fitted."""

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
from scipy.linalg import hadamard

import rankbound as rb
from rankbound.attention.softmax import log_column_softmax
from rankbound.theory.sign_rank import (
    largest_rectangle,
    selection_head_size,
    sign_change_bound,
    sign_pattern_kl_bound,
    sign_rank_bounds,
)
from tests.helpers import Array, refused

MOST = 8
sizes = st.integers(1, MOST)


def sign_rank_at_most_2(H: Array) -> bool:
    """By the definition: rows are vectors in the plane, ordered by angle once some are negated.

    A column is then a half-plane, whose signs change at most once.
    """
    m = len(H)
    for flips in itertools.product((1, -1), repeat=m - 1):
        turned = H * np.array((1, *flips))[:, None]
        for order in itertools.permutations(range(m)):
            rows = turned[list(order)]
            if ((rows[1:] != rows[:-1]).sum(axis=0) <= 1).all():
                return True
    return False


def sign_rank(H: Array) -> int:
    """1, 2, or 3 for "3 or more"."""
    if (np.outer(H[:, 0] * H[0, 0], H[0]) == H).all():
        return 1
    return 2 if sign_rank_at_most_2(H) else 3


def patterns(m: int, n: int) -> Any:
    for signs in itertools.product((1, -1), repeat=m * n):
        yield np.array(signs).reshape(m, n)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 3), (2, 2), (2, 3), (3, 2), (3, 3)])
def test_every_small_pattern(m: int, n: int) -> None:
    for H in patterns(m, n):
        truth = sign_rank(H)
        assert rb.sign_rank_bound(H) <= truth
        bounds = sign_rank_bounds(H)
        assert bounds.lower <= truth <= bounds.upper <= min(m, n)
        assert selects_between(H, truth)
        assert sign_change_bound(H).upper >= truth


def selects_between(H: Array, truth: int) -> bool:
    head = selection_head_size(H)
    return bool(head.lower <= truth and head.upper >= truth - 1)


@settings(max_examples=30)
@given(st.integers(0, 2**20 - 1))
def test_patterns_of_four_rows(code: int) -> None:
    H = np.array([1 if code >> i & 1 else -1 for i in range(20)]).reshape(4, 5)
    truth = sign_rank(H)
    bounds = sign_rank_bounds(H)
    assert bounds.upper >= truth
    assert truth == 3 or max(bounds.lower, rb.sign_rank_bound(H)) <= truth


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_never_above_a_rank_that_has_the_signs(m: int, n: int, r: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    M = rng.standard_normal((m, r)) @ rng.standard_normal((r, n))
    H = np.where(M > 0, 1, -1)
    assert rb.sign_rank_bound(H) <= r
    assert sign_rank_bounds(H).lower <= r
    # with a threshold in each column, the rank may be one more, the head size not
    selects = np.where(np.quantile(M, rng.random(), axis=0) < M, 1, -1)
    assert selection_head_size(selects).lower <= r


@pytest.mark.parametrize("dtype", [np.int8, np.float16, np.float32])
def test_the_dtype_of_the_signs_changes_nothing(dtype: type[np.generic]) -> None:
    """Sums of 256 signs are too large for int8."""
    H = hadamard(256)
    assert rb.sign_rank_bound(H.astype(dtype)) == rb.sign_rank_bound(H)
    witness = sign_change_bound(H.astype(dtype))
    assert witness.upper == sign_change_bound(H).upper
    assert witness.leading.dtype == witness.changes.dtype == np.int64
    assert largest_rectangle(H.astype(dtype), 5) == largest_rectangle(H, 5)


@pytest.mark.parametrize(("n", "least"), [(1, 1), (2, 2), (4, 2), (8, 3), (16, 4), (64, 8)])
def test_hadamard(n: int, least: int) -> None:
    assert rb.sign_rank_bound(hadamard(n)) == least


@given(sizes, sizes, st.integers(0, 2**32 - 1))
def test_forsters_bound_by_its_formula(m: int, n: int, seed: int) -> None:
    """Between what Gershgorin gives and the spectral norm, rounded up."""
    H = np.random.default_rng(seed).choice([-1, 1], (m, n))
    found = rb.sign_rank_bound(H)
    assert found <= math.ceil(math.sqrt(m * n) / np.linalg.norm(H, 2) + 1e-9)
    for G in (H @ H.T, H.T @ H):
        row = int(np.abs(G).sum(axis=1).max())
        assert found**2 * row >= m * n
        assert found >= math.ceil(math.sqrt(Fraction(m * n, row)) - 1e-12)


@given(st.integers(9, 24), st.integers(9, 24), st.integers(0, 2**32 - 1))
def test_gershgorin_alone_takes_the_better_side(m: int, n: int, seed: int) -> None:
    """As for patterns whose Gram matrix is too large to multiply."""
    H = np.random.default_rng(seed).choice([-1, 1], (m, n))
    rows = min(int(np.abs(G).sum(axis=1).max()) for G in (H @ H.T, H.T @ H))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rankbound.theory.sign_rank.MOST_ROWS", 0)
        found = rb.sign_rank_bound(H)
    assert found**2 * rows >= m * n > (found - 1) ** 2 * rows


def test_powers_of_the_gram_matrix_help() -> None:
    """Gershgorin alone gives 5 on a random pattern of 256, and Forster's bound is 8.2."""
    H = np.random.default_rng(0).choice([-1, 1], (256, 256))
    row = np.abs(H @ H.T).sum(axis=1).max()
    assert math.ceil(256 / math.sqrt(row)) == 5
    assert rb.sign_rank_bound(H) == 8


@given(sizes, sizes, st.integers(0, 2**32 - 1))
def test_signs_and_orders_change_nothing(m: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    H = rng.choice([-1, 1], (m, n))
    other = H[rng.permutation(m)][:, rng.permutation(n)] * rng.choice([-1, 1], (m, 1))
    assert rb.sign_rank_bound(H) == rb.sign_rank_bound(other) == rb.sign_rank_bound(-other.T)
    assert rb.sign_rank_bound(H.astype(np.float32)) == rb.sign_rank_bound(H.tolist())


@given(sizes, sizes, st.integers(0, 2**32 - 1))
def test_sign_changes_have_a_witness(m: int, n: int, seed: int) -> None:
    H = np.random.default_rng(seed).choice([-1, 1], (m, n))
    found = sign_change_bound(H)
    assert found.changes.tolist() == [sum(a != b for a, b in itertools.pairwise(h)) for h in H.T]
    assert found.upper == max(found.changes) + 1
    witness = found.matrix(m)
    assert (np.sign(np.array(witness, float)) == H).all()
    assert int(rb.exact_rank(witness)) <= found.upper
    assert (found.signs(m) == H).all()


@pytest.mark.parametrize("least", ["columns", "rows", "rank"])
def test_the_upper_side_is_the_least_of_three(least: str) -> None:
    """Sign changes along columns, along rows, and the rank: each is the least of some H."""
    rng = np.random.default_rng(0)
    if least == "rank":  # two rows and their negatives, in an order that changes all the time
        H = rng.choice([-1, 1], (2, 12))[rng.integers(0, 2, 12)] * rng.choice([-1, 1], (12, 1))
    else:  # one change in each column, at any place
        H = np.where(np.arange(12)[:, None] < rng.integers(1, 12, 12), 1, -1)
        H = H * rng.choice([-1, 1], 12)
    H = H.T if least == "rows" else H
    three = {
        "columns": sign_change_bound(H).upper,
        "rows": sign_change_bound(H.T).upper,
        "rank": int(rb.exact_rank(H)),
    }
    assert min(three, key=lambda side: three[side]) == least
    assert sorted(three.values())[0] < sorted(three.values())[1]
    assert sign_rank_bounds(H).upper == three[least]


@given(sizes, sizes, st.integers(0, 2**32 - 1))
def test_heads_that_select(m: int, n: int, seed: int) -> None:
    """The upper side by construction: logits of that rank up to a constant in each column."""
    H = np.random.default_rng(seed).choice([-1, 1], (m, n))
    bounds, rank = selection_head_size(H), sign_rank_bounds(H)
    assert rank.lower - 1 <= bounds.lower <= bounds.upper <= min(rank.upper, max(m - 1, 0))
    L = np.array(sign_change_bound(H).matrix(m), dtype=object)
    L = L - np.array([[Fraction(int(x)) for x in L.sum(axis=0)]]) / m
    assert int(rb.exact_rank(L)) <= sign_change_bound(H).upper - 1


def test_selection_known() -> None:
    one_each = selection_head_size(2 * np.eye(9, dtype=int) - 1)
    assert (one_each.lower, one_each.upper) == (1, 2)
    nothing = selection_head_size(np.outer(np.ones(5), [1, -1, 1]))
    assert (nothing.lower, nothing.upper) == (0, 0)
    staircase = selection_head_size(np.where(np.tri(7) > 0, 1, -1))
    assert (staircase.lower, staircase.upper) == (1, 1)
    assert selection_head_size(hadamard(64)).lower == 7


def kl(log_P: Array, log_Q: Array) -> float:
    return float((np.exp(log_P) * (log_P - log_Q)).sum(axis=0).mean())


@pytest.mark.parametrize("epsilon", [0.05, 1.0, 4.0])
def test_fitted_heads_stay_above(epsilon: float) -> None:
    H = hadamard(16)
    P = rb.column_softmax(epsilon * H)
    bound = sign_pattern_kl_bound(H, epsilon, 2)
    fit = rb.fit_head(P, 2, seed=0, random_starts=1, max_iterations=100)
    assert 0 < bound < fit.kl
    assert sign_pattern_kl_bound(H, epsilon, 3) == 0.0
    # what the thresholds 1/Z_j and Pinsker's inequality give
    Z = np.exp(epsilon * H).sum(axis=0)
    assert bound >= 2 / 16 * ((1 - math.exp(-epsilon)) / Z.max()) ** 2


@given(st.floats(1e-3, 5), st.integers(2, 40), st.integers(0, 40), st.booleans())
def test_one_entry_on_the_wrong_side(epsilon: float, n: int, positive: int, above: bool) -> None:
    """The bound of a column is below the KL divergence of the cheapest such distribution."""
    from rankbound.theory.sign_rank import column_bound

    positive = min(positive, n)
    grown, shrunk = math.exp(epsilon), math.exp(-epsilon)
    Z = positive * grown + (n - positive) * shrunk
    p, threshold = (grown if above else shrunk) / Z, math.cosh(epsilon) / Z
    if threshold >= 1 or p >= 1 or (positive == 0 and above) or (positive == n and not above):
        return
    least = p * math.log(p / threshold) + (1 - p) * math.log((1 - p) / (1 - threshold))
    assert n * column_bound(n, positive, epsilon) <= least * (1 + 1e-9)


@given(st.floats(1e-6, 5), st.integers(0, 2**32 - 1), st.sampled_from([1, 2]))
def test_kl_bound_by_its_formula_rounded_down(epsilon: float, seed: int, k: int) -> None:
    H = hadamard(16) * np.random.default_rng(seed).choice([-1, 1], (16, 1))
    with mpmath.workdps(60):
        e = mpmath.mpf(epsilon)
        one, costs = [], []
        for count in (H > 0).sum(axis=0):
            Z = int(count) * mpmath.exp(e) + (16 - int(count)) * mpmath.exp(-e)
            d, a, b = mpmath.sinh(e) / Z, mpmath.exp(e) / Z, 1 - mpmath.exp(-e) / Z
            one.append(max(2 * d**2, d**2 / (2 * a) + d**2 / (2 * b)) / 16)
            costs.append((mpmath.exp(e * mpmath.coth(e) - 1) - e / mpmath.sinh(e)) / Z / 16)
        many = [
            16 // r * sum(sorted(costs)[: max(0, 16 - (k + 1) ** 2 * 16 // r)])
            for r in (1, 2, 4, 8, 16)
        ]
        expected = max(min(one), *many)
        found = sign_pattern_kl_bound(H, epsilon, k)
        assert 0 < found <= expected
        assert found >= expected * (1 - 2.0**-29)  # what is given away to certificates


@given(st.floats(1e-3, 30), st.integers(2, 40), st.integers(0, 40), st.floats(0, 1))
def test_the_threshold_is_where_both_sides_cost_most(
    epsilon: float, n: int, positive: int, share: float
) -> None:
    """At the identric mean; between the two values the smaller cost is nowhere larger."""
    from rankbound.theory.sign_rank import wrong_entry_cost

    with mpmath.workdps(60):
        e = mpmath.mpf(epsilon)
        Z = min(positive, n) * mpmath.exp(e) + (n - min(positive, n)) * mpmath.exp(-e)

        def least(threshold: mpmath.mpf) -> mpmath.mpf:
            return min(
                p * mpmath.log(p / threshold) + threshold - p
                for p in (mpmath.exp(e) / Z, mpmath.exp(-e) / Z)
            )

        best = mpmath.exp(e * mpmath.coth(e) - 1) / Z
        cost = n * wrong_entry_cost(n, min(positive, n), epsilon)
        assert least(best) * (1 - 1e-9) <= cost <= least(best) * (1 + 1e-15)
        assert least(mpmath.exp((2 * share - 1) * e) / Z) <= least(best)


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("area", [0, 7, 16, 40, 64])
def test_wrong_entries_are_counted_by_blocks(area: int, parts: int) -> None:
    """Against the cheapest placement of wrong entries that leaves no larger rectangle of a block.

    With r rows a block and `spared` columns without a wrong entry the cheapest choice is explicit.
    """
    from rankbound.theory.sign_rank import cut_best

    costs = np.random.default_rng(area).uniform(1, 2, (8, 8))
    r = 8 // parts
    spared = min(8, area // r)
    blocks = [costs[i * r : (i + 1) * r].min(axis=0) for i in range(parts)]
    least = sum(float(np.sort(block)[: 8 - spared].sum()) for block in blocks)
    assert cut_best(costs, area)[0] >= least * (1 - 1e-15)
    assert cut_best(costs, 64)[0] == 0.0
    assert cut_best(costs, 0)[0] == pytest.approx(costs.sum(), rel=1e-14)


@pytest.mark.parametrize(("k", "epsilon"), [(1, 6.0), (3, 6.0), (3, 2.0), (6, 6.0)])
def test_no_fitted_head_is_below_the_robust_bound(k: int, epsilon: float) -> None:
    H = hadamard(64)
    P = rb.column_softmax(epsilon * H)
    bound = sign_pattern_kl_bound(H, epsilon, k)
    fit = rb.fit_head(P, k, seed=0, random_starts=1, max_iterations=60)
    general = rb.kl_lower_bound(P, k)
    assert 0 < bound < fit.kl
    assert general < fit.kl
    assert epsilon < 6 or general >= 0.9 * bound  # there it is the one that binds


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 3))
def test_no_head_is_below(seed: int, epsilon: float) -> None:
    H = hadamard(16)
    log_P = log_column_softmax(epsilon * H)
    rng = np.random.default_rng(seed)
    near = rb.nearest_head(logits=epsilon * H, head_size=2)
    W_q, W_k = (W + rng.normal(0, 0.1, W.shape) for W in (near.W_q, near.W_k))
    for head in (near, rb.AttentionHead(W_q, W_k), rb.random_head(16, 2, seed)):
        assert kl(log_P, log_column_softmax(head.logits())) > sign_pattern_kl_bound(H, epsilon, 2)


@pytest.mark.parametrize("epsilon", [1e-300, 1e-160, 700.0, 1e5, 1.7e308])
def test_extreme_temperatures(epsilon: float) -> None:
    assert 0 <= sign_pattern_kl_bound(hadamard(16), epsilon, 1) < 1


@pytest.mark.parametrize(
    "function",
    [
        rb.sign_rank_bound,
        sign_change_bound,
        sign_rank_bounds,
        selection_head_size,
        lambda H: sign_pattern_kl_bound(H, 1.0, 1),
    ],
)
def test_refused_patterns(function: Any) -> None:
    with refused(rb.InputError, "H holds 0", "[0, 1]", "expected 1 and -1", "np.where"):
        function(np.eye(2, dtype=int))
    with refused(rb.InputError, "H holds nan", "expected 1 and -1"):
        function([[math.nan, 1.0]])
    with refused(rb.InputError, "H holds Fraction", "expected 1 and -1"):  # 1.0 to rounding
        function([[Fraction(10**20 + 1, 10**20), 1]])
    with refused(rb.InputTypeError, "H is bool", "2 * H.astype(int) - 1"):
        function(np.eye(2, dtype=bool))
    with refused(rb.InputTypeError, "dtype <U1", "expected real"):
        function([["+", "-"]])
    for shape in ((3,), (0, 2), (1, 1, 1)):
        with refused(rb.InputError, str(shape), "one matrix (m, n)"):
            function(np.ones(shape))


def test_refused_arguments() -> None:
    with refused(rb.InputError, "expected (n, n)", "keys by queries"):
        sign_pattern_kl_bound(np.ones((2, 3)), 1.0, 1)
    with refused(rb.InputError, "epsilon is 0.0", "above 0"):
        sign_pattern_kl_bound(np.ones((2, 2)), 0.0, 1)
    with refused(rb.InputError, "head_size is 0", "at least 1"):
        sign_pattern_kl_bound(np.ones((2, 2)), 1.0, 0)
