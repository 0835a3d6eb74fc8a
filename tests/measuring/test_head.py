"""Measures of heads against the n × n matrices that they are said to describe."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.attention.head import capped
from rankbound.attention.pretrained import pretrained_heads
from rankbound.measuring.head import (
    HeadMeasures,
    layer_heads,
    least_size_within,
    measure_heads,
    read_mask,
    tails,
)
from tests.helpers import refused

FLOAT32 = float(np.finfo(np.float32).eps)


def factors(k: int, n: int, seed: int, size: float = 1.0) -> npt.NDArray[np.float64]:
    return size * np.random.default_rng(seed).standard_normal((2, k, n))


def measure(
    queries: npt.NDArray[np.float64],
    keys: npt.NDArray[np.float64],
    scale: float,
    mask: npt.NDArray[np.bool_] | None = None,
    softcap: float | None = None,
    unit: float = 2.0**-52,
) -> HeadMeasures:
    heads = layer_heads(queries[None], keys[None], scale=scale, mask=mask, soft_cap=softcap)
    return next(measure_heads(heads, unit=unit))


@given(st.integers(1, 6), st.integers(2, 24), st.integers(0, 99), st.sampled_from([0.3, 1.0, 3.0]))
def test_everything_unmasked_agrees_with_the_formed_matrices(
    k: int, n: int, seed: int, size: float
) -> None:
    q, keys = factors(k, n, seed, size)
    head = rb.AttentionHead(W_q=q, W_k=keys)
    L, P = head.logits(), head.context()
    log_P = np.log(P)
    centred = log_P - log_P.mean(axis=0)
    m = measure(q, keys, head.scale)
    assert m.log_rank == rb.log_rank(head=head)
    assert m.logit_rank == rb.numerical_rank(L)
    for ours, matrix in ((m.log_effective_rank, centred), (m.logit_effective_rank, L)):
        assert ours == pytest.approx(rb.effective_rank(matrix), rel=1e-6)
    assert m.log_stable_rank == pytest.approx(rb.stable_rank(centred), rel=1e-8)
    assert m.context_effective_rank == pytest.approx(rb.effective_rank(P), rel=1e-8)
    assert m.entropy == pytest.approx(-np.sum(P * log_P) / n, abs=1e-12)
    assert m.sink_mass == pytest.approx(P[0].mean())
    scale = float(np.linalg.norm(centred))
    if k > 1:
        assert m.aitchison_error_half == pytest.approx(
            rb.aitchison_error(P, k // 2), abs=float(1e-9 * scale)
        )
        near = np.log(rb.nearest_head(P, k // 2).context())
        assert m.kl_half == pytest.approx(
            np.sum(P * (log_P - near)) / n, abs=float(1e-9 * (1 + scale))
        )
    least = m.least_head_size_1pct
    errors = [scale if j == 0 else rb.aitchison_error(P, j) for j in range(n + 1)]
    assert errors[least] <= 0.01 * scale + 1e-12 * scale
    assert least == 0 or errors[least - 1] > 0.01 * scale - 1e-12 * scale
    assert m.aitchison_error(least) == pytest.approx(errors[least], abs=float(1e-9 * scale))
    assert m.least_head_size(0.01) == least


MASKS = {
    "causal": rb.causal_mask(20),
    "prefix": rb.prefix_mask(20, 7),
    "padded": np.repeat(np.arange(20)[:, None] < 14, 20, axis=1),
    "causal and padded": rb.causal_mask(20) & (np.arange(20)[:, None] < 14),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("k", [1, 3, 12])
def test_under_a_nested_mask_the_log_rank_is_that_of_theorem_c(name: str, k: int) -> None:
    mask = MASKS[name]
    q, keys = factors(k, 20, 5)
    head = rb.AttentionHead(W_q=q, W_k=keys)
    m = measure(q, keys, head.scale, mask)
    assert m.masked
    assert m.log_rank == rb.log_rank(head=head, mask=mask)
    assert m.log_rank == rb.log_rank(logits=head.logits(), mask=mask)
    P = head.context(mask=mask)
    assert m.entropy == pytest.approx(-np.sum(P[mask] * np.log(P[mask])) / 20)
    assert m.sink_mass == pytest.approx(P[0].mean())
    assert m.context_effective_rank == pytest.approx(rb.effective_rank(P), rel=1e-8)


@pytest.mark.parametrize("name", MASKS)
def test_the_generic_log_rank_is_that_of_a_random_context(name: str) -> None:
    mask = MASKS[name]
    logits = np.random.default_rng(0).standard_normal((20, 20))
    assert read_mask(mask, 4).generic == rb.log_rank(logits=logits, mask=mask)


@pytest.mark.parametrize("n", range(2, 13))
def test_the_generic_log_rank_of_causal_attention_is_half_the_length(n: int) -> None:
    assert read_mask(rb.causal_mask(n), 1).generic == n // 2


@pytest.mark.parametrize(("k", "window"), [(2, 3), (2, 9), (4, 9), (8, 9), (12, 16)])
def test_a_sliding_window_gives_bounds_that_hold_the_known_ones(k: int, window: int) -> None:
    mask = rb.sliding_mask(24, window)
    q, keys = factors(k, 24, 3)
    m = measure(q, keys, 1.0, mask)
    assert m.generic_log_rank is None
    head = rb.AttentionHead(W_q=q, W_k=keys, scale=1.0)
    try:
        low = high = rb.log_rank(head=head, mask=mask)
    except rb.Undecided as undecided:
        low, high = undecided.bounds.lower, undecided.bounds.upper
    assert m.log_rank_lower <= high  # both hold the truth
    assert low <= m.log_rank_upper <= min(k, window - 1)
    assert (m.log_rank is None) == (m.log_rank_lower < m.log_rank_upper)


def test_a_window_much_wider_than_the_head_decides_its_log_rank() -> None:
    q, keys = factors(4, 64, 0)
    assert measure(q, keys, 1.0, rb.sliding_mask(64, 24)).log_rank == 4


@pytest.mark.parametrize("name", [None, "causal", "sliding"])
def test_a_cap_is_applied_before_anything_is_measured(name: str | None) -> None:
    mask = {None: None, "causal": rb.causal_mask(20), "sliding": rb.sliding_mask(20, 12)}[name]
    q, keys = factors(3, 20, 1, 2.0)
    L = 5.0 * np.tanh((keys.T @ q) / 5.0)
    P = rb.column_softmax(L, mask=mask)
    m = measure(q, keys, 1.0, mask, 5.0)
    assert m.log_effective_rank == pytest.approx(rb.effective_rank(L - L.mean(axis=0)), rel=1e-8)
    assert m.context_effective_rank == pytest.approx(rb.effective_rank(P), rel=1e-8)
    assert m.log_rank_upper > m.head_size  # the cap lifts the rank
    assert m.log_rank_bound == 19
    if name == "causal":
        assert m.log_rank == rb.log_rank(logits=L, mask=mask)


@pytest.mark.parametrize("mask", [None, rb.causal_mask(16)])
def test_half_a_capped_head_costs_what_its_truncation_costs(mask: None) -> None:
    q, keys = factors(4, 16, 2, 2.0)
    L = capped(keys.T @ q, 3.0)
    left, values, right = np.linalg.svd(L - L.mean(axis=0))
    near = rb.column_softmax((left[:, :2] * values[:2]) @ right[:2], mask=mask)
    P = rb.column_softmax(L, mask=mask)
    shown = P > 0
    expected = np.sum(P[shown] * np.log(P[shown] / near[shown])) / 16
    assert measure(q, keys, 1.0, mask, 3.0).kl_half == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kl", [1e-4, 0.003, 0.1])
def test_the_size_within_a_budget_lies_between_its_bounds(kl: float, causal: bool) -> None:
    """The truncation of the upper size is within it; no fit of a size below the lower one is."""
    rng = np.random.default_rng(int(1e4 * kl) + causal)
    q, keys = rng.standard_normal((2, 1, 5, 12))
    mask = rb.causal_mask(12) if causal else None
    [head] = layer_heads(q, keys, scale=0.3, mask=mask)
    [m] = measure_heads([head], kl=kl, head_sizes=range(6))
    assert m.kl_size_lower is not None and m.kl_size_upper is not None
    assert 0 <= m.kl_size_lower <= m.kl_size_upper <= 5
    assert m.kl_errors[m.kl_size_upper] <= kl
    assert all(m.kl_errors[size] > kl for size in range(m.kl_size_upper))
    if not causal:  # 0.003: the bounds must say something
        assert m.kl_size_lower >= {1e-4: 5, 0.003: 3, 0.1: 0}[kl]
    if m.kl_size_lower > 1:
        P = rb.Context(head.context(), mask=mask) if causal else head.context()
        fit = rb.fit_head(P, m.kl_size_lower - 1, random_starts=1, max_iterations=500)
        assert fit.kl > kl
    [unasked] = measure_heads([head])
    assert unasked.kl_size_lower is unasked.kl_size_upper is None


def test_errors_of_a_masked_head_are_upper_bounds() -> None:
    """The head of two coordinates that truncation gives is within the error on visible pairs."""
    q, keys = factors(5, 16, 4)
    mask = rb.causal_mask(16)
    L = keys.T @ q
    left, values, right = np.linalg.svd(L - L.mean(axis=0))
    gap = L - (left[:, :2] * values[:2]) @ right[:2]
    best = np.where(mask, gap, 0.0)
    best = np.where(mask, gap - best.sum(axis=0) / mask.sum(axis=0), 0.0)  # free gauge
    m = measure(q, keys, 1.0, mask)
    assert np.linalg.norm(best) <= m.aitchison_error(2) == m.aitchison_error_half


def test_query_heads_share_keys_in_order() -> None:
    q = np.random.default_rng(0).standard_normal((6, 3, 12))
    keys = np.random.default_rng(1).standard_normal((2, 3, 12))
    for h, m in enumerate(measure_heads(layer_heads(q, keys, scale=0.5))):
        alone = measure(q[h], keys[h // 3], 0.5)
        np.testing.assert_array_equal(m.centred_values, alone.centred_values)


def test_the_threshold_is_that_of_the_dtype() -> None:
    """A third coordinate below float32's rounding counts in float64 and not in float32."""
    q, keys = factors(3, 40, 0)
    q[2] *= 1e-9
    assert measure(q, keys, 1.0).logit_rank == 3
    assert measure(q, keys, 1.0, unit=FLOAT32).logit_rank == 2
    assert measure(q, keys, 1.0, unit=FLOAT32).log_rank == 2


def test_real_heads_that_overwhelm_softmax_keep_their_log_rank() -> None:
    """Logits of hundreds: P underflows, and everything is finite."""
    heads = pretrained_heads(64)
    q, keys = (np.stack([getattr(h, name) for h in heads[:12]]) for name in ("queries", "keys"))
    for m in measure_heads(layer_heads(10 * q, keys, stored=np.float32)):
        assert m.log_rank == m.log_rank_bound == 32
        assert m.at_bottleneck
        assert all(np.isfinite([m.entropy, m.kl_half, m.aitchison_error_half]))


def test_a_head_that_attends_uniformly_needs_no_size() -> None:
    m = measure(np.ones((2, 6)), np.ones((2, 6)), 1.0)
    assert (m.log_rank, m.least_head_size_1pct, m.log_effective_rank) == (0, 0, 0.0)
    assert m.entropy == pytest.approx(np.log(6))
    assert not m.at_bottleneck


def test_the_least_size_is_the_first_within_the_fraction() -> None:
    values = np.array([1.0, 0.009, 0.001])
    assert [least_size_within(values, f) for f in (1.0, 0.0091, 0.009, 0.0005, 0.0)] == [
        0,
        1,
        2,
        3,
        3,
    ]


@pytest.mark.parametrize("window", [3, 9, 16])
def test_blocks_that_bound_from_below_are_fully_visible(window: int) -> None:
    mask = rb.sliding_mask(24, window)
    blocks = read_mask(mask, 4).blocks
    assert blocks
    for rows, columns in blocks:
        assert len(rows) > 1
        assert mask[np.ix_(rows, columns)].all()


def test_tails_end_at_zero_and_do_not_overflow() -> None:
    np.testing.assert_allclose(tails(np.array([4e200, 3e200])), [5e200, 3e200, 0])


def test_bad_shapes_are_refused() -> None:
    q = np.ones((3, 2, 5))
    with pytest.raises(rb.InputError, match="a multiple of that of key/value heads"):
        layer_heads(q, np.ones((2, 2, 5)))
    with pytest.raises(rb.InputError, match="expected"):
        layer_heads(q[0], q[0])
    with pytest.raises(rb.InputError, match="hides every key"):
        layer_heads(q, q, mask=np.zeros((5, 5), dtype=bool))


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("mask", [None, rb.causal_mask(16)])
def test_each_smaller_size_costs_what_its_truncation_costs(mask: None, softcap: float) -> None:
    q, keys = factors(5, 16, 3)
    sizes, k = [7, 0, 3, 1], 5
    heads = layer_heads(q[None], keys[None], scale=1.0, mask=mask, soft_cap=softcap)
    [m] = measure_heads(heads, head_sizes=sizes)
    L = capped(keys.T @ q, softcap)
    left, values, right = np.linalg.svd(L - L.mean(axis=0))
    P = rb.column_softmax(L, mask=mask)
    shown = P > 0
    assert set(m.kl_errors) == {0, 1, 2, 3, 7} | {k // 4, k // 2, 3 * k // 4}
    for size, error in m.kl_errors.items():
        near = rb.column_softmax((left[:, :size] * values[:size]) @ right[:size], mask=mask)
        expected = np.sum(P[shown] * np.log(P[shown] / near[shown])) / 16
        assert error == pytest.approx(expected, rel=1e-9, abs=1e-12)
    uniform = np.log(16) if mask is None else np.log(np.arange(1, 17)).mean()
    assert m.kl_errors[0] == pytest.approx(uniform - m.entropy)  # size 0: uniform attention
    assert m.kl_half == m.kl_errors[k // 2]
    assert m.kl_three_quarters == m.kl_errors[3 * k // 4] < m.kl_quarter == m.kl_errors[k // 4]
    with refused(rb.InputError, "head_sizes is -1"):
        measure_heads(heads, head_sizes=[-1])


@pytest.mark.parametrize("mask", [None, rb.causal_mask(24), rb.sliding_mask(24, 9)])
def test_graded_coordinates_are_measured_as_balanced_ones(mask: Any) -> None:
    """Powers of two in the keys and their inverses in the queries change no number."""
    q, keys = factors(4, 24, 6)
    powers = np.array([2.0**-60, 1.0, 2.0**45, 2.0**80])[:, None]
    plain, graded = measure(q, keys, 1.0, mask), measure(q / powers, keys * powers, 1.0, mask)
    assert plain.log_rank_lower == graded.log_rank_lower == 4
    for name in ("logit_rank", "log_rank_upper", "least_head_size_1pct"):
        assert getattr(graded, name) == getattr(plain, name)
    for name in ("log_effective_rank", "kl_half", "aitchison_error_half", "threshold", "entropy"):
        assert getattr(graded, name) == pytest.approx(getattr(plain, name), rel=1e-12)


@pytest.mark.parametrize("mask", [None, rb.causal_mask(24)])
def test_what_the_storage_dtype_leaves_open(mask: Any) -> None:
    """A fourth coordinate of relative size 1e-4 is above float32's rounding, below bfloat16's."""
    q, keys = np.random.default_rng(5).standard_normal((2, 1, 4, 24))
    keys[:, 3] *= 1e-2
    q[:, 3] *= 1e-2
    heads = layer_heads(q, keys, mask=mask)
    fine, coarse = 2.0**-23, 2.0**-7
    found = [next(measure_heads(heads, unit=fine, storage_unit=u)) for u in (None, fine, coarse)]
    assert [m.log_rank for m in found] == [4, 4, 4]
    assert [m.log_rank_at_storage for m in found][:2] == [None, 4]
    assert found[2].log_rank_at_storage == next(measure_heads(heads, unit=coarse)).log_rank == 3


def test_the_rank_of_p_is_computed_up_to_1024_tokens_unless_asked_for() -> None:
    for n, asked, computed in ((1024, None, True), (1025, None, False), (8, False, False)):
        q, keys = factors(2, n, 0)
        heads = layer_heads(q[None], keys[None], scale=1.0)
        [m] = measure_heads(heads, context_rank=asked)
        assert (m.context_effective_rank is not None) == computed
