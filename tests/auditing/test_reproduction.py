"""The bound within which the model's own weights must be reproduced; no torch needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import rankbound as rb
from rankbound.auditing.capture import (
    FLOOR,
    Captured,
    contexts_and_bounds,
    reproduce,
    sampled,
)
from rankbound.measuring.head import BLOCK, RecordedHead, layer_heads

Floats = npt.NDArray[Any]


def weights_in_float32(
    q: Floats, keys: Floats, scale: float, softcap: float | None, mask: Any
) -> Floats:
    """Attention as eager code computes it, every operation rounded to float32."""
    single = np.float32
    L = (keys.astype(single).T @ q.astype(single)) * single(scale)
    if softcap is not None:
        L = np.tanh(L / single(softcap)) * single(softcap)
    if mask is not None:
        L = L + np.where(mask, single(0), np.finfo(single).min)
    weights = np.exp(L - L.max(axis=0))
    total: Floats = weights / weights.sum(axis=0, dtype=single)
    return total.astype(np.float64)


def one_head(q: Floats, keys: Floats, **options: Any) -> RecordedHead:
    [head] = layer_heads(q[None], keys[None], **options)
    return head


def context_and_bound(head: RecordedHead, dtype: str) -> tuple[Floats, Floats]:
    """All blocks in their places."""
    P, bound = np.zeros((head.keys, head.d)), np.full((head.keys, head.d), FLOOR)
    for block, ours, allowed in contexts_and_bounds(head, dtype):
        P[block.keys, block.queries], bound[block.keys, block.queries] = ours, allowed
    return P, bound


@pytest.mark.parametrize("size", [0.1, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_float32_attention_is_within_the_bound(
    size: float, softcap: float | None, masked: bool, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    n = BLOCK + 32
    q, keys = (size * draw.standard_normal((2, 32, n))).astype(np.float32).astype(np.float64)
    mask = rb.causal_mask(n) if masked else None
    head = one_head(q, keys, mask=mask, soft_cap=softcap)
    P, bound = context_and_bound(head, "float32")
    theirs = weights_in_float32(q, keys, 32**-0.5, softcap, mask)
    assert np.all(np.abs(P - theirs) <= bound)
    assert np.any(theirs != P)
    np.testing.assert_allclose(P, head.context(), rtol=1e-13, atol=0)


def test_a_model_in_float64_may_take_its_softmax_in_float32() -> None:
    q, keys = 4 * np.random.default_rng(0).standard_normal((2, 32, 96))
    P, bound = context_and_bound(one_head(q, keys), "float64")
    L = ((keys.T @ q) * 32**-0.5).astype(np.float32)
    weights = np.exp(L - L.max(axis=0))
    assert np.all(np.abs(P - weights / weights.sum(axis=0, dtype=np.float32)) <= bound)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 32**-0.5 * (1 + 1e-3)},
        {"soft_cap": 50.0},
        {"mask": rb.causal_mask(96)},
        {"keys": "rolled"},
    ],
)
def test_a_misread_layer_is_outside_the_bound(change: dict[str, Any]) -> None:
    q, keys = np.random.default_rng(0).standard_normal((2, 32, 96)).astype(np.float32)
    theirs = weights_in_float32(q, keys, 32**-0.5, None, None)
    if "keys" in change:
        change = {"keys": np.roll(keys, 1, axis=1)}
    head = one_head(q, change.pop("keys", keys), **change)
    P, bound = context_and_bound(head, "float32")
    assert np.any(np.abs(P - theirs) > bound)


class Weights:
    """As much of a tensor as is touched."""

    def __init__(self, P: Floats) -> None:
        self.P = P


def captured(
    monkeypatch: pytest.MonkeyPatch, q: Floats, keys: Floats, own: Floats, **other: Any
) -> Captured:
    monkeypatch.setattr(Captured, "weights", lambda self: self.own.P)
    heads = layer_heads(q[None], keys[None], **({"scale": 0.25} | other))
    real = np.ones(q.shape[-1], bool), np.ones(len(own), bool)
    return Captured(3, "h.3", 0, heads, 1, "float32", Weights(own[None]), real)


def test_it_counts_all_weights_and_the_sampled_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    q, keys = np.random.default_rng(0).standard_normal((2, 16, 64)).astype(np.float32)
    own = weights_in_float32(q, keys, 0.25, None, None)
    layer = captured(monkeypatch, q, keys, own)
    columns = sampled(64)
    found = reproduce(layer, {("h.3", 0): own[None][:, :, columns]})
    assert 0 < found.ratio <= 1
    assert found.weights == 64 * (64 + len(columns))


def test_a_failure_names_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    q, keys = np.random.default_rng(0).standard_normal((2, 16, 64)).astype(np.float32)
    own = weights_in_float32(q, keys, 0.25, None, None)
    sample = own[None][:, :, sampled(64)]
    layer = captured(monkeypatch, q, keys, own)
    with pytest.raises(rb.InputError, match=r"layer 3 \(h\.3\), head 0: .*nothing is reported"):
        reproduce(captured(monkeypatch, q, keys, own, scale=0.2501), {("h.3", 0): sample})
    with pytest.raises(rb.InputError, match=r"layer 3 .*nothing is reported"):
        reproduce(layer, {("h.3", 0): sample * (1 + 1e-4)})  # an unobserved run that differs
    alone = reproduce(layer, {("h.2", 0): sample})  # no weights of its own were returned
    assert alone.weights == 64 * 64
    with pytest.raises(rb.InputError, match=r"nothing is reported"):
        reproduce(captured(monkeypatch, q, keys, own * np.nan), {("h.3", 0): sample})


def test_sampled_weights_are_compared_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 2 * BLOCK + 10
    q, keys = np.random.default_rng(0).standard_normal((2, 16, n)).astype(np.float32)
    own = weights_in_float32(q, keys, 0.25, None, None)
    sample = own[None][:, :, sampled(n)]
    layer = captured(monkeypatch, q, keys, own)
    assert reproduce(layer, {("h.3", 0): sample}).weights == n * (n + sample.shape[2])
    for at, query in enumerate(sampled(n)):
        other = sample.copy()
        other[0, 7, at] *= 1 + 1e-4
        with pytest.raises(rb.InputError, match=rf"\[key, query\] = \[7, {query}\]"):
            reproduce(layer, {("h.3", 0): other})


@pytest.mark.parametrize(("key", "query"), [(5, 4), (2 * BLOCK - 1, 0), (BLOCK, BLOCK - 1)])
def test_a_hidden_key_has_no_weight(key: int, query: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a block of queries, and beyond the keys that any of these sees."""
    n = 2 * BLOCK
    q, keys = np.random.default_rng(0).standard_normal((2, 16, n)).astype(np.float32)
    mask = rb.causal_mask(n)
    own = weights_in_float32(q, keys, 0.25, None, mask)
    found = reproduce(captured(monkeypatch, q, keys, own, mask=mask), {})
    assert found.ratio <= 1
    assert found.weights == n * n
    own[key, query] = 1e-30
    with pytest.raises(rb.InputError, match=rf"\[key, query\] = \[{key}, {query}\]"):
        reproduce(captured(monkeypatch, q, keys, own, mask=mask), {})


@pytest.mark.parametrize("size", [1e3, 1e8])  # at 1e8 the bound overflows
def test_a_bound_that_shows_nothing_is_refused(
    size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, keys = size * np.random.default_rng(0).standard_normal((2, 16, 64)).astype(np.float32)
    own = weights_in_float32(q, keys, 0.25, None, None)
    with pytest.raises(rb.InputError, match=r"nothing would be shown.*float64"):
        reproduce(captured(monkeypatch, q, keys, own), {("h.3", 0): own[None][:, :, sampled(64)]})
