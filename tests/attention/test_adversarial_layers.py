"""Layers for Theorem 2 have the properties that their docstrings state."""

from __future__ import annotations

import numpy as np
import pytest

import rankbound as rb
from rankbound.attention.adversarial_layers import (
    nearest_products,
    random_fixed_layer,
    same_values,
    skew_pair,
)
from tests.helpers import refused


def test_logits_have_the_asked_spread() -> None:
    g = random_fixed_layer(16, 4, 8, 0, logit_scale=2.0)
    x, y = np.random.default_rng(0).standard_normal((2, 16, 4000))
    logits = g.scale * np.einsum("in,in->n", g.W_k[0] @ x, g.W_q[0] @ y)
    assert np.std(logits) == pytest.approx(2.0, rel=0.1)


def test_products_are_the_nearest() -> None:
    g = random_fixed_layer(8, 4, 6, 0)
    f = nearest_products(g, 4, 0)
    U = g.scale * g.W_k[0].T @ g.W_q[0]
    tail = np.linalg.svd(U, compute_uv=False)[2:]
    for i in range(4):
        miss = np.linalg.norm(f.scale * f.W_k[i].T @ f.W_q[i] - U)
        assert miss == pytest.approx(np.linalg.norm(tail), rel=1e-9)


def test_a_seed_draws_the_same_layer() -> None:
    one, two = (random_fixed_layer(6, 2, 4, 3) for _ in range(2))
    assert np.array_equal(one.W_v, two.W_v) and np.array_equal(one.W_q, two.W_q)
    assert not np.array_equal(one.W_v, random_fixed_layer(6, 2, 4, 4).W_v)
    assert np.array_equal(same_values(one, 3, 1).W_o, same_values(two, 3, 1).W_o)


def test_sizes_out_of_range() -> None:
    with refused(rb.InputError, "head_size <= d"):
        random_fixed_layer(4, 2, 5, 0)
    with refused(rb.InputError, "heads * head_size"):
        random_fixed_layer(8, 2, 3, 0)
    with refused(rb.InputError, "heads to divide d"):
        same_values(random_fixed_layer(8, 2, 4, 0), 3, 0)
    with refused(rb.InputError, "even"):
        skew_pair(8, 4, 5, 0)
    with refused(rb.InputError, "multiples of 1/16"):
        same_values(rb.random_multihead(8, 2, 0), 2, 0)
