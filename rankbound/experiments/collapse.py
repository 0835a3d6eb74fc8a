"""Dong et al. 2021 in numbers: what untrained attention leaves of its tokens' differences.

Tokens are columns, ``X = x 1^T + R``: one common token and residuals. Residuals fall far below the
rounding of x, so the two are carried apart, which costs nothing: with ``P = p 1^T + E``, where p is
what a head attends to without residuals, a layer makes ``W (x + R p)`` of x and ``W R E`` of R.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from rankbound._validate import Array, check_int, check_word
from rankbound.attention.layer import MultiHead
from rankbound.registry.dong2021 import SMALL, Stack, doubly_exponential, residual

STACKS = ("attention", "ffn", "skip", "skip-ffn", "unit", "unit-skip", "bound")
DEPTH = 4  # one layer more would underflow
SHARE = 0.5  # of what the bound's hypothesis allows

Tokens = tuple[Array, Array]  # x (d, 1) and R (d, n)


def collapse(
    arm: str, layers: int, seed: int, d: int = 32, n: int = 16, heads: int = 4
) -> dict[str, Any]:
    """Send tokens through random layers; return the ``residual`` left, over that at the start.

    It is ``min_x ‖X - x 1^T‖_{1,∞}``, from above, as `dong-collapse` measures it; weights are
    Gaussian and keep variances, heads have size d / heads. ``attention`` has neither skips nor
    feed-forward layers; ``ffn`` has ReLU layers of width 4 d after it, ``skip`` skips, ``skip-ffn``
    both. Their residuals start at half of what the hypothesis ``4 β H ‖res(X)‖²/√d_qk < 1`` allows,
    beside a Gaussian x; those of ``unit`` and ``unit-skip`` are Gaussian of unit variance, where
    the bound says nothing. ``bound`` is the bound on ``attention``; NaN, should logits differ by
    more than the proof allows. With skips the common x grows from layer to layer, so a residual
    that stays is a smaller share of its token.
    """
    check_word("arm", arm, STACKS)
    depth = check_int("layers", layers, least=1, most=DEPTH, why="a residual of 1e-300 is 0")
    rng = np.random.default_rng(seed)
    # as many as are ever needed are drawn, so that a deeper stack only adds to a shallower one
    drawn = [(_attention(rng, d, heads), _ffn(rng, d)) for _ in range(DEPTH)]
    attentions = tuple(layer for layer, _ in drawn)
    x, R = rng.standard_normal((d, 1)), rng.standard_normal((d, n))
    if not arm.startswith("unit"):
        rate = Stack(arm, attentions, x + R).rate
        R = R * math.sqrt(SHARE / (4 * rate)) / residual(R)[1]
    least, start = residual(R)  # the norm, from below and from above
    stack = Stack(arm, attentions[:depth], x + R)
    if arm == "bound":
        bound = doubly_exponential(stack.rate, least, depth)
        left = bound if stack.widest <= SMALL else math.nan
    else:
        tokens, skip = (x, R), "skip" in arm
        for attention, ffn in drawn[:depth]:
            tokens = _through(partial(attend, attention), tokens, skip)
            if arm.endswith("ffn"):
                tokens = _through(partial(feed_forward, *ffn), tokens, skip)
        unit = np.abs(tokens[1]).max()  # the norm squares what is small enough already
        left = unit * residual(tokens[1] / unit)[1]
    sizes = {"d_k": d // heads, "d_v": d // heads}
    return {
        "residual": float(left / start),
        **sizes,
        "parameters": depth * attentions[0].parameter_count,
    }


def attend(layer: MultiHead, x: Array, R: Array) -> Tokens:
    """A layer of attention on tokens ``x 1^T + R``."""
    common, residuals = np.zeros_like(x), np.zeros_like(R)
    for head in map(layer.head, range(layer.heads)):
        keys, queries = head.W_k @ R, layer.scale * (head.W_q @ np.hstack([x, R]))
        at_x, at_R = np.split(keys.T @ queries, [1], axis=1)
        p = np.exp(at_x - at_x.max())
        p /= p.sum()
        more = np.expm1(at_R)  # what residuals of queries add; p 1^T is left without them
        mean = p.T @ more
        E = p * (more - mean) / (1 + mean)
        W = np.asarray(head.W_v)  # with its part of W_o
        common += W @ (x + R @ p)
        residuals += W @ R @ E
    return common, residuals


def feed_forward(W_1: Array, W_2: Array, x: Array, R: Array) -> Tokens:
    """``W_2 relu(W_1 X)`` on tokens ``x 1^T + R``; a unit on for both of x and X is linear."""
    at_x, more = W_1 @ x, W_1 @ R
    clipped = np.maximum(at_x + more, 0) - np.maximum(at_x, 0)
    linear = (at_x > 0) & (at_x + more > 0)
    return W_2 @ np.maximum(at_x, 0), W_2 @ np.where(linear, more, clipped)


def _through(layer: Callable[[Array, Array], Tokens], tokens: Tokens, skip: bool) -> Tokens:
    """Apply a layer, with a skip or without; then the mean of the residuals is counted to x."""
    common, residuals = layer(*tokens)
    if skip:
        common, residuals = common + tokens[0], residuals + tokens[1]
    mean = residuals.mean(axis=1, keepdims=True)
    return common + mean, residuals - mean


def _attention(rng: np.random.Generator, d: int, heads: int) -> MultiHead:
    W_q, W_k, W_v = rng.standard_normal((3, heads, d // heads, d)) / math.sqrt(d)
    return MultiHead(W_q, W_k, W_v, rng.standard_normal((d, d)) / math.sqrt(d))


def _ffn(rng: np.random.Generator, d: int) -> tuple[Array, Array]:
    return (
        rng.standard_normal((4 * d, d)) / math.sqrt(d),
        rng.standard_normal((d, 4 * d)) / math.sqrt(2 * d),  # a ReLU halves variances
    )
