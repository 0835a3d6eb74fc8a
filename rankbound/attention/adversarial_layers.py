"""Layers for B20 Theorem 2: fixed layers that meet its hypotheses, and standard ones near them."""

from __future__ import annotations

import math

import numpy as np

from rankbound._validate import (
    Array,
    check_head_size,
    check_int,
    check_real,
    check_seed,
    require_memory,
)
from rankbound.attention.ensembles import Seed
from rankbound.attention.layer import MultiHead, standard_head_size
from rankbound.errors import InputError, InputTypeError

GRID = 16  # weights are multiples of 1/16, so that their products are exact in float64
MOST = 24  # and at most 24/16 in magnitude


def random_fixed_layer(
    d: int, heads: int, head_size: int, seed: Seed, *, logit_scale: float = 1.0
) -> MultiHead:
    """A layer that meets the hypotheses of B20 Theorem 2 (almost surely).

    Its heads share ``U = V_k^T V_q`` of rank d_p = `head_size`, and ``V_o [V_v^1; …; V_v^h]`` has
    full rank d, so ``head_size <= d <= heads * head_size``. The weights are small multiples of
    1/16, so every product of two is exact. On unit Gaussian tokens the logits have standard
    deviation `logit_scale`, about.
    """
    d, heads = check_int("d", d, least=1), check_int("heads", heads, least=1)
    k = check_head_size(head_size)
    require_memory("d", d, 4, heads, min(k, d), d)
    if k > d or heads * k < d:
        raise InputError(
            f"head_size is {k}, d {d} and heads {heads}; expected head_size <= d <= heads * "
            "head_size: elsewhere U cannot have rank head_size, or V_o V_v rank d."
        )
    rng = check_seed(seed)
    V_q, V_k = _grid(rng, 2, k, d)
    return _fixed_layer(rng, V_q, V_k, heads, logit_scale)


def same_values(g: MultiHead, heads: int, seed: Seed) -> MultiHead:
    """A standard layer with ``Σ W_o^i W_v^i = Σ V_o^i V_v^i`` exactly, and random attention.

    Case (b) of B20 Theorem 2; h = `heads` divides d. The values of g are taken to the left of a
    random unimodular integer matrix, which is exact for layers of :func:`random_fixed_layer`.
    """
    size = _size_beside(g, heads)
    rng = check_seed(seed)
    W_q, W_k = rng.standard_normal((2, heads, size, g.d)) / math.sqrt(g.d)
    W_v, W_o = _split_values(g, heads, size, rng)
    return MultiHead(W_q, W_k, W_v, W_o)


def nearest_products(g: MultiHead, heads: int, seed: Seed) -> MultiHead:
    """As :func:`same_values`, each head with the best rank d/h approximation of the logits of g.

    ``W_k^T W_q`` is the truncated singular value decomposition of ``V_k^T V_q``, the scales
    absorbed.
    """
    size = _size_beside(g, heads)
    W_v, W_o = _split_values(g, heads, size, check_seed(seed))
    U, s, Vt = np.linalg.svd(g.scale * g.W_k[0].T @ g.W_q[0])
    root = np.sqrt(s[:size])[:, None]
    W_q, W_k = (_shared(W, heads) for W in (root * Vt[:size], root * U.T[:size]))
    return MultiHead(W_q, W_k, W_v, W_o, scale=1.0)


def skew_pair(
    d: int, heads: int, head_size: int, seed: Seed, *, logit_scale: float = 1.0
) -> tuple[MultiHead, MultiHead]:
    """Layers f and g with the same values and ``U - W_k^T W_q`` skew-symmetric for every head of f.

    The third case of B20's proof: on ``[v, 0, …, 0]`` no query tells f from g. Parameters as in
    :func:`random_fixed_layer`; h divides d, and ``head_size - d/h`` is positive and even, the rank
    of a skew-symmetric matrix.
    """
    size = standard_head_size(d, heads)
    extra = check_head_size(head_size) - size
    if extra <= 0 or extra % 2 or head_size > d:
        raise InputError(
            f"head_size is {head_size} and d/h {size}; expected head_size - d/h even and positive "
            f"and head_size <= d = {d}: a skew-symmetric matrix has even rank."
        )
    rng = check_seed(seed)
    M_q, M_k = _grid(rng, 2, size, d)
    a, b = _grid(rng, 2, extra // 2, d)
    V_q, V_k = np.vstack([M_q, a, b]), np.vstack([M_k, b, -a])  # Σ b a^T - a b^T is skew
    g = _fixed_layer(rng, V_q, V_k, heads, logit_scale)
    W_v, W_o = _split_values(g, heads, size, rng)
    return MultiHead(_shared(M_q, heads), _shared(M_k, heads), W_v, W_o, scale=g.scale), g


def _fixed_layer(
    rng: np.random.Generator, V_q: Array, V_k: Array, heads: int, logit_scale: float
) -> MultiHead:
    k, d = V_q.shape
    V_v, V_o = _grid(rng, heads, k, d), _grid(rng, d, heads * k)
    spread = float(np.linalg.norm(V_k.T @ V_q))  # the standard deviation of x^T U y
    scale = check_real("logit_scale", logit_scale, above=0.0) / max(spread, 1.0)
    return MultiHead(_shared(V_q, heads), _shared(V_k, heads), V_v, V_o, scale)


def _size_beside(g: MultiHead, heads: int) -> int:
    if not isinstance(g, MultiHead):
        raise InputTypeError(f"g is a {type(g).__name__}; expected a MultiHead.")
    return standard_head_size(g.d, heads)


def _split_values(
    g: MultiHead, heads: int, size: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """W_v, W_o of a standard layer with ``W_o [W_v^1; …] = V_o [V_v^1; …]``, without rounding."""
    A = g.W_o @ g.W_v.reshape(-1, g.d)
    whole = np.rint(A * GRID**2)
    if not np.array_equal(whole, A * GRID**2) or np.abs(whole).max() > 2**40:
        raise InputError(
            "the products of g are not multiples of 1/256; expected a layer of weights that are "
            "small multiples of 1/16 (random_fixed_layer), whose values can be met exactly."
        )
    # E = R (I + N), R a permutation and N² = 0: its inverse is (I - N) R^T, whole as well
    half = g.d // 2
    N = np.zeros((g.d, g.d))
    N[:half, half:] = rng.integers(-1, 2, (half, g.d - half))
    R = np.eye(g.d)[rng.permutation(g.d)]
    W_v = (R @ (np.eye(g.d) + N)).reshape(heads, size, g.d)
    return W_v, A @ (np.eye(g.d) - N) @ R.T


def _shared(W: Array, heads: int) -> Array:
    return np.repeat(W[None], heads, axis=0)


def _grid(rng: np.random.Generator, *shape: int) -> Array:
    return np.asarray(rng.integers(-MOST, MOST + 1, shape) / GRID, np.float64)
