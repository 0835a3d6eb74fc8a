"""Logits read from the operations that made them: each mechanism against NumPy's own formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional

from rankbound.attention.softmax import _softmax
from rankbound.auditing.forms import Layer, Unreadable, read_layer
from rankbound.auditing.tracing import NO_PRODUCTS, UNMET, Softmax, traced

Floats = npt.NDArray[np.float64]
H, N, M, K = 3, 6, 7, 4  # heads, queries, keys, head size


def drawn(*shape: int, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


Q, KEYS, V = drawn(1, H, N, K), drawn(1, H, M, K, seed=1), drawn(1, H, M, K, seed=2)
BIAS, MASK = drawn(1, H, N, M, seed=3), torch.arange(M) <= torch.arange(N)[:, None] + 1
LEAST = torch.tensor(torch.finfo(torch.float64).min, dtype=torch.float64)
LOW = torch.where(MASK, 0 * LEAST, LEAST)
TEMPERATURE, SIZES = drawn(H, 1, 1, seed=4).exp(), drawn(N, 1, seed=5).exp()
SINK, R = drawn(H, seed=6), drawn(H, 2 * N - 1, K, seed=7)


class Attend(torch.nn.Module):  # type: ignore[misc]
    """A module whose forward is a function; it has a parameter, as layers do."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__()
        self.function, self.weight = function, torch.nn.Parameter(torch.ones(1))

    def forward(self) -> Any:
        return self.function()


def observed(function: Callable[[], Any]) -> list[Softmax]:
    found: list[Softmax] = []
    model = torch.nn.ModuleDict({"attn": Attend(function)})
    with torch.no_grad(), traced(model, lambda _, softmax: found.append(softmax)):
        model["attn"]()
    return found


def read(function: Callable[[], Any]) -> tuple[Layer, Floats]:
    """What is read of one attention, and its weights, (heads, keys, queries)."""
    [softmax] = observed(function)
    layer = read_layer(softmax.form(), softmax.dim)
    weights = softmax.weights.transpose(softmax.dim, -1)
    shape = (-1, *weights.shape[-2:])
    return layer, weights.reshape(shape).transpose(-1, -2).double().numpy()


def logits(layer: Layer) -> Floats:
    """From queries, keys, scale, cap, biases and masks; hidden ones are -inf."""
    L = layer.scale * layer.keys.swapaxes(1, 2) @ layer.queries
    if layer.cap is not None:
        L = layer.cap * np.tanh(L / layer.cap)
    for h, (bias, mask) in enumerate(zip(layer.biases, layer.masks, strict=True)):
        L[h] += 0 if bias is None else bias
        L[h][slice(0, 0) if mask is None else ~mask] = -np.inf
    return L


def attend(L: Any, value: Any = V) -> Any:
    return torch.softmax(L, dim=-1) @ value


def product() -> Any:
    return Q @ KEYS.transpose(-1, -2)


def shifted() -> Any:
    """Transformer-XL: a product with the positions between, shifted row by row."""
    positions = functional.pad(Q[0] @ R.transpose(-1, -2), (1, 0))  # (H, N, 2N)
    moved = positions.reshape(H, 2 * N, N)[:, 1:].reshape(H, N, 2 * N - 1)
    return product()[..., :N] + moved[..., :N]


def in_place() -> Any:
    L = product()
    L /= 2.0
    L += BIAS
    L.masked_fill_(~MASK, float("-inf"))
    return attend(L)


def with_sink() -> Any:
    L = torch.cat([product(), SINK.reshape(1, H, 1, 1).expand(1, H, N, 1)], dim=-1)
    L = L - L.max(dim=-1, keepdim=True).values
    return functional.softmax(L, dim=-1, dtype=L.dtype)[..., :-1] @ V


def keys_first() -> Any:
    """A softmax over the first of two dimensions, from a product of keys with queries."""
    L = KEYS @ Q.transpose(-1, -2)
    return torch.softmax(L, dim=-2).transpose(-1, -2) @ V


def grouped() -> Any:
    keys = KEYS[:, :1, None].expand(1, 1, H, M, K).reshape(1, H, M, K)
    return attend(Q @ keys.transpose(-1, -2))


def by_einsum() -> Any:
    L = torch.einsum("bhid,bhjd->bhij", Q, KEYS) / math.sqrt(K)
    return torch.einsum("bhij,bhjd->bhid", torch.softmax(L, dim=-1), V)


def biased_product() -> Any:
    """BLOOM: the bias is what a product is added to."""
    L = torch.baddbmm(BIAS[0], Q[0], KEYS[0].transpose(1, 2), beta=2.0, alpha=0.5)
    return torch.bmm(torch.softmax(L, dim=-1), V[0])


def single_softmax() -> Any:
    L = (product() * 0.3).float()
    return functional.softmax(L, dim=-1).to(Q.dtype) @ V


def fused() -> Any:
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return functional.scaled_dot_product_attention(Q, KEYS, V, attn_mask=LOW, scale=0.7)


def idle() -> Any:
    L = torch.max(product() + LOW, LEAST)
    P = functional.dropout(torch.softmax(L.clamp(min=-1e300), dim=-1), 0.5, training=False)
    return (P * torch.ones(H, 1, 1)) @ V


RAW = (KEYS @ Q.transpose(-1, -2))[0].numpy()
B, HIDDEN = BIAS[0].transpose(1, 2).numpy(), ~MASK.T.numpy()
SHIFT = np.stack(
    [
        [[float(Q[0, h, i] @ R[h, N - 1 - i + j]) for i in range(N)] for j in range(N)]
        for h in range(H)
    ]
)


def hidden(L: Floats) -> Floats:
    return np.where(HIDDEN, -np.inf, L)


# The attention and its logits as NumPy has them, (heads, keys, queries).
MECHANISMS: dict[str, tuple[Callable[[], Any], Floats]] = {
    "plain": (lambda: attend(product()), RAW),
    "scaled": (lambda: attend(product() * 0.25), 0.25 * RAW),
    "divided": (lambda: attend(product() / torch.tensor(3.0)), RAW / 3.0),
    "scaled queries": (lambda: attend((0.5 * Q) @ KEYS.transpose(-1, -2)), 0.5 * RAW),
    "masked": (lambda: attend(product() + LOW), hidden(RAW)),
    "filled": (lambda: attend(product().masked_fill(~MASK, -1e9)), hidden(RAW)),
    "chosen": (lambda: attend(torch.where(MASK, product(), torch.tensor(-1e4))), hidden(RAW)),
    "XLNet's mask": (lambda: attend(product() - 1e30 * (~MASK).double()), hidden(RAW)),
    "biased": (lambda: attend(product() + BIAS), RAW + B),
    "biased and masked": (lambda: attend((product() + BIAS) * 2 + LOW), hidden(2 * RAW + 2 * B)),
    "in place": (in_place, hidden(RAW / 2 + B)),
    "ALiBi in the product": (biased_product, 0.5 * RAW + 2 * B),
    "capped": (lambda: attend(2 * torch.tanh(product() * 0.5)), 2 * np.tanh(0.5 * RAW)),
    "capped and masked": (
        lambda: attend(torch.tanh(product() / 4) * 4 + LOW),
        hidden(4 * np.tanh(RAW / 4)),
    ),
    "temperature per head": (
        lambda: attend(product() * TEMPERATURE),
        RAW * TEMPERATURE.numpy(),
    ),
    "size per query": (lambda: attend(product() * SIZES), RAW * SIZES.T.numpy()),
    "size per key": (
        lambda: attend(product() / (1 + torch.arange(M))),
        RAW / (1 + np.arange(M)[:, None]),
    ),
    "sink": (
        with_sink,
        np.concatenate([RAW, np.broadcast_to(SINK.numpy()[:, None, None], (H, 1, N))], axis=1),
    ),
    "keys first": (keys_first, RAW),
    "grouped": (grouped, (KEYS[:, :1] @ Q.transpose(-1, -2))[0].numpy()),
    "einsum": (by_einsum, RAW / 2),
    "softmax in float32": (single_softmax, 0.3 * RAW),
    "fused": (fused, hidden(0.7 * RAW)),
    "idle operations": (idle, hidden(RAW)),
    "two products": (
        lambda: attend(product() + Q.flip(2) @ V.transpose(-1, -2)),
        RAW + (V @ Q.flip(2).transpose(-1, -2))[0].numpy(),
    ),
    "keys in two parts": (
        lambda: attend(
            torch.cat([Q @ KEYS[:, :, at].transpose(-1, -2) for at in (slice(4), slice(4, M))], -1)
        ),
        RAW,
    ),
    "GPT's mask": (lambda: attend(product() * MASK - 1e4 * ~MASK), hidden(RAW)),
    "mask of ones": (lambda: (torch.ones(N, M) * torch.softmax(product(), -1)) @ V, RAW),
    "relative positions": (lambda: attend(shifted(), V[:, :, :N]), RAW[:, :N] + SHIFT),
    "gauge": (lambda: attend(product() - 5 * torch.arange(N)[:, None]), RAW),
}


@pytest.mark.parametrize("name", MECHANISMS)
def test_logits_are_those_of_numpy(name: str) -> None:
    function, expected = MECHANISMS[name]
    layer, weights = read(function)
    rounding = 1e-6 if name == "softmax in float32" else 1e-13
    found = logits(layer)
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    known = np.where(np.isinf(expected), 0, expected)
    difference = np.where(np.isinf(expected), 0, found) - known
    if name == "gauge" or name == "sink":  # a number for each query may be missing
        difference -= np.where(np.isinf(expected), 0, difference[:, :1])
    np.testing.assert_allclose(difference, 0, atol=1e-12)
    P = np.stack([_softmax(np.where(np.isinf(L), 0, L), ~np.isinf(L)) for L in expected])
    np.testing.assert_allclose(weights, P, atol=rounding)


@pytest.mark.parametrize(
    ("name", "size", "scale", "biased"),
    [
        ("plain", K, 1.0, False),
        ("scaled", K, 0.25, False),
        ("biased and masked", K, 2.0, True),
        ("ALiBi in the product", K, 0.5, True),
        ("capped and masked", K, 1.0, False),
        ("temperature per head", K, 1.0, False),
        ("sink", K, 1.0, True),
        ("two products", 2 * K, 1.0, False),  # their factors are joined
        ("keys in two parts", K, 1.0, False),  # of the same queries
        ("relative positions", K, 1.0, True),  # no product of a query and a key of its own
        ("gauge", K, 1.0, False),
    ],
)
def test_what_the_head_size_bounds(name: str, size: int, scale: float, biased: bool) -> None:
    layer, _ = read(MECHANISMS[name][0])
    assert layer.queries.shape[:2] == layer.keys.shape[:2] == (H, size)
    assert layer.scale == pytest.approx(scale)
    assert [bias is not None for bias in layer.biases] == [biased] * H
    if name == "sink":
        assert not layer.keys[..., -1].any()


def test_a_mask_is_one_for_all_heads_unless_they_differ() -> None:
    layer, _ = read(MECHANISMS["masked"][0])
    assert all(mask is layer.masks[0] for mask in layer.masks)
    per_head = torch.stack([MASK, torch.ones_like(MASK), MASK])
    layer, _ = read(lambda: attend(product().masked_fill(~per_head, -1e9)))
    assert layer.masks[1] is None
    np.testing.assert_array_equal(layer.masks[2], MASK.T.numpy())


def test_blocks_count_as_heads() -> None:
    """Two blocks of three queries and keys: windows of an image."""
    q, k = (part[0, :, :6].reshape(H, 2, 3, K).transpose(0, 1) for part in (Q, KEYS))
    layer, weights = read(lambda: attend(q @ k.transpose(-1, -2), k))
    expected = (k @ q.transpose(-1, -2)).reshape(2 * H, 3, 3).numpy()
    np.testing.assert_allclose(logits(layer), expected)
    assert weights.shape == (2 * H, 3, 3)


def own_keys() -> Any:
    """Each query has keys of its own, as in attention within neighbourhoods."""
    keys = KEYS[0][:, torch.randint(0, M, (N, 4), generator=torch.Generator().manual_seed(0))]
    L = (Q[0][:, :, None] @ keys.transpose(-1, -2)).squeeze(2)
    return attend(L[None], V[:, :, :4])


UNREADABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "clamped": (lambda: attend(product().clamp(min=0.0)), "applies clamp to its logits"),
    "squared": (lambda: attend(product() * product()), "multiplies logits with one another"),
    "capped mask": (lambda: attend(torch.tanh(product() + BIAS)), "caps logits to which something"),
    "twice": (
        lambda: torch.softmax(torch.softmax(product(), -1) + BIAS, -1) @ V,
        "takes the softmax of another softmax",
    ),
    "changed weights": (
        lambda: (torch.softmax(product(), -1) * torch.arange(M)) @ V,
        r"changes the weights after the softmax \(mul\)",
    ),
    "changed in place": (
        lambda: torch.softmax(product(), -1).mul_(torch.arange(M)) @ V,
        r"changes the weights after the softmax \(mul\)",
    ),
    "own keys": (own_keys, "has logits that are no products of a query with a key"),
    "blind by what is added": (
        lambda: attend(product() - 1e10 * (torch.arange(N)[:, None] == 2).expand(N, M)),
        "a query that sees no key",
    ),
    "blind": (
        lambda: attend(product().masked_fill(torch.arange(N)[:, None] == 2, float("-inf"))),
        "a query that sees no key",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_not_understood_is_said(name: str) -> None:
    function, message = UNREADABLE[name]
    with pytest.raises(Unreadable, match=message):
        for softmax in observed(function):
            read_layer(softmax.form(), softmax.dim)


def test_two_softmaxes_that_weigh_values_together_are_two() -> None:
    def both() -> Any:
        weights = [torch.softmax(c * product(), dim=-1) for c in (1.0, 2.0)]
        return torch.cat(weights, dim=-1) @ torch.cat([V, V], dim=-2)

    layers = [read_layer(softmax.form(), softmax.dim) for softmax in observed(both)]
    assert [layer.scale for layer in layers] == [1.0, 2.0]


def test_a_difference_of_two_softmaxes_is_refused() -> None:
    def difference() -> Any:
        first, second = (torch.softmax(c * product(), dim=-1) for c in (1.0, 2.0))
        return (first - 0.5 * second) @ V

    found = observed(difference)
    assert len(found) == 2
    for softmax in found:
        with pytest.raises(Unreadable, match=r"changes the weights after the softmax \((sub|mul)"):
            softmax.form()


def test_a_softmax_that_weighs_no_values_is_no_attention() -> None:
    """A router's, one whose weights are only returned, and two without products."""
    found: list[Any] = []

    def router() -> Any:
        return torch.softmax(Q[0, 0] @ KEYS[0, 0].T, dim=-1).topk(2)

    cases: list[tuple[Callable[[], Any], dict[str, str]]] = [
        (router, {}),
        (lambda: torch.softmax(product(), dim=-1).sum(dim=1), {"attn": UNMET}),
        (lambda: attend(product().relu()), {"attn": NO_PRODUCTS}),
        (lambda: attend(BIAS + 0.0), {"attn": NO_PRODUCTS}),
    ]
    for function, why in cases:
        beside: dict[str, str] = {}
        model = torch.nn.ModuleDict({"attn": Attend(function)})
        with torch.no_grad(), traced(model, lambda *seen: found.append(seen), beside):
            model["attn"]()
        assert beside == why
    assert found == []


def test_a_linear_layer_is_no_product_of_queries_with_keys() -> None:
    """ConvBERT's kernels: the softmax of what a linear layer gives, however torch computes it."""
    linear = torch.nn.Linear(K, M, bias=False).double()

    class Kernels(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.scores = linear

        def forward(self) -> Any:
            weight = self.scores.weight.T.expand(H, K, M)
            return torch.softmax(torch.bmm(Q[0], weight), dim=-1) @ V[0]

    found: list[Any] = []
    beside: dict[str, str] = {}
    with torch.no_grad(), traced(model := Kernels(), lambda *seen: found.append(seen), beside):
        model()
    assert (found, beside) == ([], {"": NO_PRODUCTS})


def test_a_kernel_that_shows_no_weights_is_refused() -> None:
    from rankbound import InputError

    with pytest.raises(InputError, match=r"attn: computes attention in one kernel"):
        observed(lambda: functional.scaled_dot_product_attention(Q, KEYS, V))
