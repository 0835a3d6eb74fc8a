"""A small causal transformer over bytes: pre-LN blocks without biases in the maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy, gelu, layer_norm

from rankbound.experiments.layers import (
    Tensor,
    Weights,
    attention,
    attention_weights,
    gaussian,
    queries_and_keys,
)
from rankbound.experiments.sizes import Sizes

__all__ = [
    "BYTES",
    "Shape",
    "byte_loss",
    "heads_of",
    "make_weights",
    "parameter_count",
    "weight_shapes",
]

BYTES = 256


@dataclass(frozen=True)
class Shape:
    """What a model is, besides its weights.

    Attributes
    ----------
    sizes : Sizes
        Of each attention layer.
    layers, n, ffn : int
        Number of blocks, most tokens, and width of each block's feed-forward layer.
    """

    sizes: Sizes
    layers: int
    n: int
    ffn: int


def make_weights(shape: Shape, generator: Any) -> Weights:
    """Gaussian maps, scaled by their number of inputs; embeddings of unit size; gains of 1."""
    d = shape.sizes.d
    weights = {
        "embedding": gaussian(BYTES, d, generator=generator, scale=0.5),
        "positions": gaussian(shape.n, d, generator=generator, scale=0.5),
        "unembedding": gaussian(d, BYTES, generator=generator, scale=d**-0.5),
        **_norm("last", d),
    }
    for layer in range(shape.layers):
        at = f"layers.{layer}."
        weights |= attention_weights(shape.sizes, generator, at)
        weights |= _norm(f"{at}attention", d) | _norm(f"{at}ffn", d)
        weights[f"{at}W_1"] = gaussian(d, shape.ffn, generator=generator, scale=d**-0.5)
        weights[f"{at}W_2"] = gaussian(shape.ffn, d, generator=generator, scale=shape.ffn**-0.5)
    return weights


def weight_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights, without making them."""
    d, n, ffn = shape.sizes.d, shape.n, shape.ffn
    keys, values = (shape.sizes.heads * size for size in (shape.sizes.d_k, shape.sizes.d_v))
    block: dict[str, tuple[int, ...]] = {
        "W_q": (d, keys), "W_k": (d, keys), "W_v": (d, values), "W_o": (values, d),
        "W_1": (d, ffn), "W_2": (ffn, d),
        **{f"{norm}.{part}": (d,) for norm in ("attention", "ffn") for part in ("gain", "shift")},
    }  # fmt: skip
    return {
        "embedding": (BYTES, d),
        "positions": (n, d),
        "unembedding": (d, BYTES),
        "last.gain": (d,),
        "last.shift": (d,),
        **{f"layers.{at}.{name}": s for at in range(shape.layers) for name, s in block.items()},
    }


def _norm(name: str, d: int) -> Weights:
    return {
        f"{name}.gain": torch.ones(d, requires_grad=True),
        f"{name}.shift": torch.zeros(d, requires_grad=True),
    }


def parameter_count(weights: Weights) -> int:
    """Number of trained entries."""
    return sum(int(w.numel()) for w in weights.values())


def byte_loss(weights: Weights, shape: Shape, windows: Tensor) -> Tensor:
    """Mean cross-entropy of the next byte, in nats; windows (batch, n + 1) of bytes."""
    x = _embed(weights, windows[:, :-1])
    for layer in range(shape.layers):
        x = _block(x, weights, shape, layer)
    scores = _normed(x, weights, "last") @ weights["unembedding"]
    return cross_entropy(scores.flatten(0, 1), windows[:, 1:].flatten())


def heads_of(weights: Weights, shape: Shape, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Queries and keys (batch, heads, n, d_k) of each layer on tokens (batch, n)."""
    x, found = _embed(weights, tokens), []
    for layer in range(shape.layers):
        at = f"layers.{layer}."
        seen = _normed(x, weights, f"{at}attention")
        found.append(queries_and_keys(seen, weights, shape.sizes.heads, prefix=at))
        x = _block(x, weights, shape, layer)
    return found


def _embed(weights: Weights, tokens: Tensor) -> Tensor:
    return weights["embedding"][tokens] + weights["positions"][: tokens.shape[1]]


def _block(x: Tensor, weights: Weights, shape: Shape, layer: int) -> Tensor:
    at = f"layers.{layer}."
    seen = _normed(x, weights, f"{at}attention")
    x = x + attention(seen, weights, shape.sizes.heads, prefix=at, causal=True)
    seen = _normed(x, weights, f"{at}ffn")
    return x + gelu(seen @ weights[f"{at}W_1"]) @ weights[f"{at}W_2"]


def _normed(x: Tensor, weights: Weights, name: str) -> Tensor:
    return layer_norm(x, x.shape[-1:], weights[f"{name}.gain"], weights[f"{name}.shift"])
