"""Attention layers in torch: a layer is the dict of its weights, tokens are rows here."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from rankbound.experiments.sizes import Sizes

__all__ = ["Tensor", "Weights", "attention", "attention_weights", "gaussian", "queries_and_keys"]

Tensor = Any  # torch.Tensor, where torch may be missing when types are checked
Weights = dict[str, Tensor]


def gaussian(*shape: int, generator: Any, scale: float) -> Tensor:
    """Gaussian entries of this standard deviation, float32, to be trained."""
    return (scale * torch.randn(*shape, generator=generator)).requires_grad_()


def attention_weights(sizes: Sizes, generator: Any, prefix: str = "") -> Weights:
    """Weights of a layer, each map scaled by its number of inputs.

    W_q, W_k (d, heads · d_k) and W_v (d, heads · d_v) act on rows from the right, as W_o
    (heads · d_v, d) does; head h owns the h-th block of columns.
    """
    d, inner = sizes.d, sizes.heads * sizes.d_v
    shapes = {
        "W_q": (d, sizes.heads * sizes.d_k),
        "W_k": (d, sizes.heads * sizes.d_k),
        "W_v": (d, inner),
        "W_o": (inner, d),
    }
    return {
        prefix + name: gaussian(*shape, generator=generator, scale=shape[0] ** -0.5)
        for name, shape in shapes.items()
    }


def attention(
    x: Tensor, weights: Weights, heads: int, *, prefix: str = "", causal: bool = False
) -> Tensor:
    """Multi-head self-attention of tokens x (batch, n, d), scale ``1/sqrt(d_k)``."""
    q, k = queries_and_keys(x, weights, heads, prefix=prefix)
    v = _by_head(x @ weights[f"{prefix}W_v"], heads)
    mixed = scaled_dot_product_attention(q, k, v, is_causal=causal)
    return mixed.transpose(1, 2).flatten(2) @ weights[f"{prefix}W_o"]


def queries_and_keys(
    x: Tensor, weights: Weights, heads: int, *, prefix: str = ""
) -> tuple[Tensor, Tensor]:
    """Queries and keys of each head, (batch, heads, n, d_k)."""
    q, k = (_by_head(x @ weights[f"{prefix}{name}"], heads) for name in ("W_q", "W_k"))
    return q, k


def _by_head(rows: Tensor, heads: int) -> Tensor:
    batch, n, width = rows.shape
    return rows.view(batch, n, heads, width // heads).transpose(1, 2)
