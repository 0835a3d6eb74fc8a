"""A layer is the sum of its heads, and B20's formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.testing import multiheads
from tests.helpers import EPS, Array, refused


def slack(layer: rb.MultiHead, X: Array) -> float:
    """Logits off by 6 (d + k) eps norms, so is P, relatively; then three products and a sum."""
    d, n = X.shape
    X_norm = np.linalg.norm(X)
    logits = abs(layer.scale) * np.linalg.norm(layer.W_q) * np.linalg.norm(layer.W_k) * X_norm**2
    lengths = d + n + layer.head_size + layer.value_size * layer.heads
    values = np.linalg.norm(layer.W_o) * np.linalg.norm(layer.W_v) * X_norm * np.sqrt(n)
    return float(6 * lengths * EPS * (1 + logits) * values)


@given(multiheads(largest=5), st.integers(1, 5), st.integers(0, 2**32 - 1), st.booleans())
def test_output_is_the_projected_concatenation(
    layer: rb.MultiHead, n: int, seed: int, causal: bool
) -> None:
    X, mask = rb.random_tokens(layer.d, n, seed), rb.causal_mask(n) if causal else None
    outputs = []
    for W_q, W_k, W_v in zip(layer.W_q, layer.W_k, layer.W_v, strict=True):
        P = rb.column_softmax(layer.scale * (W_k @ X).T @ (W_q @ X), mask=mask)
        outputs.append(W_v @ X @ P)
    expected = layer.W_o @ np.concatenate(outputs)
    assert np.max(np.abs(layer.output(X, mask) - expected)) <= slack(layer, X)


@given(multiheads(largest=5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_output_is_the_sum_of_the_heads(layer: rb.MultiHead, n: int, seed: int) -> None:
    X = rb.random_tokens(layer.d, n, seed)
    total = sum(layer.head(i).output(X) for i in range(layer.heads))
    assert np.max(np.abs(layer.output(X) - total)) <= slack(layer, X)


@given(multiheads(kinds="repeated", largest=4), st.integers(0, 2**32 - 1))
def test_the_same_head_twice_counts_twice(layer: rb.MultiHead, seed: int) -> None:
    X = rb.random_tokens(layer.d, 3, seed)
    alone = layer.head(0).output(X)
    assert np.max(np.abs(layer.output(X) - layer.heads * alone)) <= slack(layer, X)


@given(multiheads())
def test_parameters(layer: rb.MultiHead) -> None:
    d, h, k, v = layer.d, layer.heads, layer.head_size, layer.value_size
    assert layer.parameter_count == 2 * h * k * d + h * v * d + d * h * v


@given(multiheads(kinds="standard"))
def test_a_standard_layer_has_4_d_squared_parameters(layer: rb.MultiHead) -> None:
    assert layer.head_size == layer.value_size == layer.d // layer.heads
    assert layer.parameter_count == 4 * layer.d**2


def test_value_size_may_differ_from_head_size() -> None:
    rng = np.random.default_rng(0)
    W_q, W_k = rng.standard_normal((2, 2, 3, 5))
    layer = rb.MultiHead(W_q, W_k, rng.standard_normal((2, 4, 5)), rng.standard_normal((5, 8)))
    assert (layer.heads, layer.head_size, layer.value_size, layer.d) == (2, 3, 4, 5)
    assert layer.scale == 1 / np.sqrt(3)
    X = rb.random_tokens(5, 3, seed=1)
    expected = sum(
        layer.W_o[:, 4 * i : 4 * i + 4] @ layer.W_v[i] @ X @ layer.head(i).context(X)
        for i in range(2)
    )
    assert np.max(np.abs(layer.output(X) - expected)) <= slack(layer, X)


def test_a_batch_of_tokens() -> None:
    layer = rb.random_multihead(6, 2, seed=0)
    X = np.random.default_rng(1).standard_normal((2, 6, 4))
    whole = layer.output(X)
    for i in range(2):
        assert np.max(np.abs(whole[i] - layer.output(X[i]))) <= slack(layer, X[i])


def test_heads_are_numbered_from_zero() -> None:
    layer = rb.random_multihead(6, 2, seed=0)
    for i in (-1, 2):
        with refused(rb.InputError, f"i is {i}", "from 0 to 1", "numbered from 0"):
            layer.head(i)


def test_huge_values_are_refused_in_words() -> None:
    """W_o W_v overflows in head(), and the sum of two outputs in output()."""
    one = np.ones((1, 1, 1))
    with pytest.raises(rb.InputError, match="overflow"):
        rb.MultiHead(one, one, 1e200 * one, [[1e200]]).output([[1.0]])
    two = np.ones((2, 1, 1))
    with pytest.raises(rb.InputError, match="overflow"):
        rb.MultiHead(0 * two, two, 1.5e308 * two, [[1.0, 1.0]]).output([[1.0]])
