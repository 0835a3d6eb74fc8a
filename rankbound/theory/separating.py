"""Tokens on which two layers may differ, by the two cases of B20 Theorem 2."""

from __future__ import annotations

import numpy as np

from rankbound._validate import Array
from rankbound.attention.layer import MultiHead

__all__ = ["attention_witness", "random_witness", "value_witness", "values"]

BITS = 24  # of a token's coordinates: enough for a witness, and short in a certificate
LOGIT_DIFFERENCES = (-8.0, -4.0, -2.0, -1.0, 1.0, 4.0)  # between the repeated token and the first
RATIOS = (0.25, 1.0, 4.0)  # of the sizes of the two tokens


def values(layer: MultiHead) -> Array:
    """``Σ_i W_o^i W_v^i``, shape (d, d): the layer on a single token."""
    return np.asarray(layer.W_o @ layer.W_v.reshape(-1, layer.d), np.float64)


def value_witness(f: MultiHead, g: MultiHead, n: int) -> Array | None:
    """Case (a): one token x, n times, with the largest ``‖(B - A) x‖`` beside ``‖A x‖``.

    On such tokens every context is uniform or irrelevant: f gives ``B x`` and g gives ``A x``.
    """
    A, difference = values(g), values(f) - values(g)
    ratio = difference @ np.linalg.pinv(A)
    if not (np.isfinite(ratio).all() and difference.any()):
        return None
    x = np.linalg.pinv(A) @ np.linalg.svd(ratio)[2][0]
    if not (difference @ x).any():  # A has a null space, where B has none
        x = np.linalg.svd(difference)[2][0]
    return _short(np.repeat(x[:, None], n, axis=1))


def attention_witness(f: MultiHead, g: MultiHead, n: int) -> Array | None:
    """Case (b): ``[q, q + w, …, q + w]`` with ``M_i q = 0``, ``w^T U q != 0`` and ``B_i w != 0``.

    Head i of f attends uniformly from q and the heads of g do not. The case needs one such q and
    w; among those of every head and a few sizes, the one with the largest gap is taken.
    """
    candidates = [X for i in range(f.heads) for X in _of_head(f, g, n, i)]
    return _best(f, g, np.array(candidates)) if candidates else None


def random_witness(f: MultiHead, g: MultiHead, n: int) -> Array | None:
    """Gaussian tokens of several sizes, for layers that the theorem does not cover."""
    rng = np.random.default_rng(0)
    sizes = np.repeat([0.5, 1.0, 2.0, 4.0], 64)
    return _best(f, g, sizes[:, None, None] * rng.standard_normal((len(sizes), f.d, n)))


def _of_head(f: MultiHead, g: MultiHead, n: int, i: int) -> list[Array]:
    M = f.W_k[i].T @ f.W_q[i]
    null = np.linalg.svd(M)[2][f.head_size :].T
    U = g.scale * g.W_k[0].T @ g.W_q[0]
    if not null.size or not U.any():
        return []
    q = null @ np.linalg.svd(U @ null)[2][0]
    Uq = U @ q
    size = np.linalg.norm(Uq)
    if not size > 0:
        return []
    v = f.value_size
    B = f.W_o[:, i * v : (i + 1) * v] @ f.W_v[i]
    along = np.linalg.svd(B)[2][0]
    only = np.linalg.pinv(values(g)) @ B @ along  # what the other heads do not see, where B = A
    tokens = []
    for w in (Uq / size, along, only, only + Uq / size):
        slope = float(w @ Uq)
        if abs(slope) <= 1e-6 * size * np.linalg.norm(w):
            continue
        for difference in LOGIT_DIFFERENCES:
            for ratio in RATIOS:  # (a q)^T U^T (b w) = difference, with ‖b w‖ = ratio ‖a q‖
                b = np.sqrt(abs(difference / slope) * ratio / np.linalg.norm(w))
                a = difference / slope / b
                tokens.append(_short((a * q)[:, None] + np.outer(b * w, np.arange(n) > 0)))
    return tokens


def _best(f: MultiHead, g: MultiHead, candidates: Array) -> Array | None:
    target = g.output(candidates)
    gap = np.linalg.norm(f.output(candidates) - target, axis=(-2, -1))
    size = np.linalg.norm(target, axis=(-2, -1))
    usable = np.flatnonzero(gap > 0)
    if not len(usable):
        return None
    best = usable[np.argmax(gap[usable] / np.maximum(size[usable], gap[usable] * 1e-12))]
    return _short(candidates[best])


def _short(tokens: Array) -> Array:
    """Tokens rounded to multiples of a power of two: short numbers, equal columns stay equal."""
    top = float(np.max(np.abs(tokens)))
    if not (np.isfinite(top) and top > 0):
        return tokens
    exponent = BITS - int(np.frexp(top)[1])
    return np.ldexp(np.rint(np.ldexp(tokens, exponent)), -exponent)
