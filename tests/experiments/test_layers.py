"""Layers and the transformer in torch are those of the package, written in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf, log_softmax

import rankbound as rb
from rankbound.experiments.language import LAYERS, LENGTH, arm_sizes
from rankbound.experiments.layers import (
    Shape,
    Sizes,
    attention,
    attention_weights,
    byte_loss,
    heads_of,
    layer_sizes,
    make_weights,
    parameter_count,
    queries_and_keys,
    weight_shapes,
)
from tests.experiments.tiny import array, model

SIZES = (layer_sizes(12, 3), layer_sizes(12, 1), layer_sizes(12, 3, 7), layer_sizes(12, 2, 5, 3))


def the_layer(weights: dict[str, Any], sizes: Sizes, prefix: str = "") -> rb.MultiHead:
    """The same layer for tokens as columns."""
    W_q, W_k, W_v = (
        array(weights[prefix + name]).T.reshape(sizes.heads, -1, sizes.d)
        for name in ("W_q", "W_k", "W_v")
    )
    return rb.MultiHead(W_q, W_k, W_v, array(weights[f"{prefix}W_o"]).T)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_attention_is_the_packages_multihead(sizes: Sizes, causal: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    weights = {f"a.{n}": w for n, w in attention_weights(sizes, generator).items()}
    x = torch.randn(2, 9, sizes.d, generator=generator)
    layer = the_layer(weights, sizes, "a.")
    assert (layer.heads, layer.head_size) == (sizes.heads, sizes.d_k)
    mask = rb.causal_mask(9) if causal else None
    wanted = np.stack([layer.output(array(tokens).T, mask).T for tokens in x])
    got = attention(x, weights, sizes.heads, prefix="a.", causal=causal)
    assert got.dtype == torch.float32
    eps = np.finfo(np.float32).eps
    assert np.abs(array(got) - wanted).max() <= 100 * eps * np.abs(wanted).max()
    double = {name: w.double() for name, w in weights.items()}
    exact = attention(x.double(), double, sizes.heads, prefix="a.", causal=causal)
    assert np.abs(array(exact) - wanted).max() <= 1e-13 * np.abs(wanted).max()


@pytest.mark.parametrize("sizes", SIZES)
def test_queries_and_keys_are_those_of_the_logits(sizes: Sizes) -> None:
    generator = torch.Generator().manual_seed(2)
    weights = {n: w.double() for n, w in attention_weights(sizes, generator).items()}
    x = torch.randn(1, 6, sizes.d, generator=generator).double()
    queries, keys = (array(part)[0] for part in queries_and_keys(x, weights, sizes.heads))
    assert queries.shape == keys.shape == (sizes.heads, 6, sizes.d_k)
    layer = the_layer(weights, sizes)
    for head in range(sizes.heads):
        L = rb.AttentionHead(layer.W_q[head], layer.W_k[head]).logits(array(x)[0].T)
        np.testing.assert_allclose(keys[head] @ queries[head].T / sizes.d_k**0.5, L, atol=1e-12)


def test_maps_are_scaled_by_their_number_of_inputs() -> None:
    weights = attention_weights(Sizes(64, 4, 32, 16), torch.Generator().manual_seed(0))
    for w in weights.values():
        assert w.requires_grad
        assert float(w.detach().std()) == pytest.approx(len(w) ** -0.5, rel=0.1)


# the transformer


def normed(x: Any, weights: dict[str, Any], name: str) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return scaled * array(weights[f"{name}.gain"]) + array(weights[f"{name}.shift"])


def losses(weights: dict[str, Any], shape: Shape, window: Any) -> Any:
    """The loss at each byte, by the definition."""
    n = len(window) - 1
    x = array(weights["embedding"])[window[:-1]] + array(weights["positions"])[:n]
    for layer in range(shape.layers):
        at = f"layers.{layer}."
        seen = normed(x, weights, f"{at}attention")
        x = x + the_layer(weights, shape.sizes, at).output(seen.T, rb.causal_mask(n)).T
        inner = normed(x, weights, f"{at}ffn") @ array(weights[f"{at}W_1"])
        x = x + inner * (1 + erf(inner / np.sqrt(2))) / 2 @ array(weights[f"{at}W_2"])
    scores = log_softmax(normed(x, weights, "last") @ array(weights["unembedding"]), axis=-1)
    return -scores[np.arange(n), window[1:]]


@pytest.mark.parametrize("head_size", [None, 3])
def test_the_loss_is_that_of_the_definition(head_size: int | None) -> None:
    weights, shape = model(head_size=head_size)
    windows = np.random.default_rng(0).integers(0, 256, (3, 11))
    wanted = np.mean([losses(weights, shape, window) for window in windows])
    got = byte_loss(weights, shape, torch.from_numpy(windows))
    assert float(got.detach()) == pytest.approx(wanted, rel=1e-5)
    double = {name: w.double() for name, w in weights.items()}
    exact = float(byte_loss(double, shape, torch.from_numpy(windows)).detach())
    assert exact == pytest.approx(wanted, rel=1e-12)


def test_a_later_byte_changes_no_earlier_loss() -> None:
    """The mean over the first t bytes is the loss of the window cut off there."""
    weights, shape = model()
    weights = {name: w.double() for name, w in weights.items()}
    window = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 11)))

    def sums(changed: Any) -> list[float]:
        with torch.no_grad():
            return [t * float(byte_loss(weights, shape, changed[:, : t + 1])) for t in range(1, 11)]

    whole = sums(window)
    each = losses(weights, shape, window[0].numpy())
    np.testing.assert_allclose(np.diff([0, *whole]), each, rtol=1e-9)
    for place in range(1, 10):
        other = window.clone()
        other[0, place] = (other[0, place] + 7) % 256
        with torch.no_grad():
            queries = [heads_of(weights, shape, w[:, :-1])[-1][0] for w in (window, other)]
        same = torch.isclose(queries[0], queries[1], rtol=0, atol=1e-12).all(dim=-1).all(dim=1)[0]
        assert same.tolist() == [at < place for at in range(10)]


def test_heads_of_a_model_are_those_that_it_attends_with() -> None:
    weights, shape = model(heads=4, head_size=3)
    tokens = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (2, 10)))
    found = heads_of(weights, shape, tokens)
    assert len(found) == shape.layers
    x = array(weights["embedding"])[tokens] + array(weights["positions"])
    queries, keys = (array(part) for part in found[0])
    seen = normed(x, weights, "layers.0.attention")
    for name, part in (("W_q", queries), ("W_k", keys)):
        wanted = seen @ array(weights[f"layers.0.{name}"])
        np.testing.assert_allclose(part.swapaxes(1, 2).reshape(2, 10, 12), wanted, atol=1e-5)


@pytest.mark.parametrize(("d", "heads"), [(32, 8), (32, 16), (48, 8), (64, 4)])
def test_parameters_are_as_the_arms_say(d: int, heads: int) -> None:
    counts = {}
    for arm in ("standard", "fixed", "matched"):
        sizes, ffn = arm_sizes(arm, d, heads)
        shape = Shape(sizes, LAYERS, LENGTH, ffn)
        weights = make_weights(shape, torch.Generator().manual_seed(0))
        assert {name: tuple(w.shape) for name, w in weights.items()} == weight_shapes(shape)
        counts[arm] = parameter_count(weights)
        outside = 512 * d + LENGTH * d + 2 * d
        assert counts[arm] == outside + LAYERS * (sizes.parameters + 2 * ffn * d + 4 * d)
    assert counts["matched"] == counts["fixed"]
    assert (counts["fixed"] > counts["standard"]) == (d // heads < 16)
