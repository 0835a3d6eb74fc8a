"""Costs are those of the layers, counted."""

from __future__ import annotations

import numpy as np
import pytest

import rankbound as rb
from rankbound.attention.layer import LayerCost, cost_table, designs
from tests.helpers import refused


@pytest.mark.parametrize(("d", "heads", "k", "v"), [(8, 2, 4, 4), (6, 3, 5, 2), (4, 1, 1, 7)])
def test_costs_are_counted(d: int, heads: int, k: int, v: int) -> None:
    small, value = np.ones((heads, k, d)), np.ones((heads, v, d))
    layer = rb.MultiHead(small, small, value, np.ones((d, heads * v)))
    cost = LayerCost(d, heads, k, v)
    assert cost.parameters == layer.parameter_count
    # one query on n keys: each product of (a, b) with (b, c) is 2 a b c operations
    n = 11
    projections = heads * (2 * k * d + 2 * k * d + 2 * v * d) + 2 * d * heads * v
    attention = heads * (2 * n * k + 2 * n * v)
    assert cost.flops_per_token(n) == projections + attention
    kept = layer.W_k.shape[0] * layer.W_k.shape[1] + layer.W_v.shape[0] * layer.W_v.shape[1]
    assert cost.cache_bytes_per_token(4) == 4 * kept


def test_designs_are_those_of_the_theorems() -> None:
    sizes = [cost.head_size for cost in designs(d=512, heads=8, n=256)]
    assert sizes == [64, 256, 255, 128]
    X = rb.random_tokens(9, 9, 0)
    for cost in designs(d=9, heads=3, n=9)[2:3]:  # n - 1 reaches a random context
        assert rb.least_head_size(rb.random_context(9, 0), X=X) == cost.head_size
    causal = rb.random_context(9, 0, law="causal")
    assert rb.least_head_size(causal, mask=rb.causal_mask(9)) == designs(9, 3, 9)[3].head_size


def test_the_table_has_a_row_a_design() -> None:
    table = cost_table(designs(d=64, heads=4, n=33), n=33)
    lines = table.splitlines()
    assert len(lines) == 6 and all(line.count("|") == 7 for line in lines)
    assert "16,384" in lines[2]  # 4 d²


def test_bad_sizes() -> None:
    with refused(rb.InputError, "heads to divide d"):
        designs(10, 3, 8)
    with refused(rb.InputError, "one token"):
        designs(10, 5, 1)
    with refused(rb.InputError, "head_size"):
        LayerCost(8, 2, 0)
