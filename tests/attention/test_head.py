"""A head is the formula: softmax of scale (W_k X)^T (W_q X), by columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.testing import heads, tokens
from tests.helpers import EPS

MODERATE = ("zero", "integer", "gaussian", "low_rank", "wide", "single")
PLAIN = ("gaussian", "single")


def bound(head: rb.AttentionHead, X: npt.ArrayLike) -> float:
    """What the logits may be off by: three products of lengths d, d and k, each rounded."""
    norms = np.linalg.norm(head.W_q) * np.linalg.norm(head.W_k) * np.linalg.norm(X) ** 2
    return float((2 * head.d + head.head_size + 2) * EPS * abs(head.scale) * norms)


@given(heads(kinds=MODERATE), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_logits_by_the_definition(head: rb.AttentionHead, n: int, seed: int) -> None:
    X = rb.random_tokens(head.d, n, seed)
    expected = head.scale * np.einsum("ka,ai,kb,bj->ij", head.W_k, X, head.W_q, X, optimize=False)
    assert np.max(np.abs(head.logits(X) - expected)) <= 2 * bound(head, X)
    np.testing.assert_array_equal(head.context(X), rb.column_softmax(head.logits(X)))


@given(heads(kinds=MODERATE))
def test_no_tokens_means_the_identity(head: rb.AttentionHead) -> None:
    identity = np.eye(head.d)
    np.testing.assert_array_equal(head.queries(), head.W_q)
    np.testing.assert_array_equal(head.keys(), head.W_k)
    assert np.max(np.abs(head.logits() - head.logits(identity))) <= 2 * bound(head, identity)


@given(heads(kinds="integer"), st.data())
def test_integer_logits_are_exact(head: rb.AttentionHead, data: st.DataObject) -> None:
    X = data.draw(tokens(d=head.d, kinds="single")) * 0 + 2
    keys, queries = (np.array(W, dtype=object) for W in (head.W_k, head.W_q))
    expected = (keys @ X.astype(object)).T @ (queries @ X.astype(object))
    assert head.logits(X).tolist() == expected.tolist()


@given(heads(kinds=MODERATE), st.integers(1, 6), st.integers(0, 2**32 - 1), st.booleans())
def test_output_averages_the_values(
    head: rb.AttentionHead, n: int, seed: int, causal: bool
) -> None:
    """Each token gets Σ_i P_ij W_v x_i; a product of length d and one of length n, rounded."""
    X, mask = rb.random_tokens(head.d, n, seed), rb.causal_mask(n) if causal else None
    assert head.W_v is not None
    P = head.context(X, mask)
    expected = [sum(P[i, j] * (head.W_v @ X[:, i]) for i in range(n)) for j in range(n)]
    slack = 2 * (head.d + n + 2) * EPS * np.linalg.norm(head.W_v) * np.linalg.norm(X)
    assert np.max(np.abs(head.output(X, mask).T - np.array(expected))) <= slack
    if causal:
        assert (P[np.tril_indices(n, -1)] == 0).all()


@given(heads(kinds="gaussian"), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_batch_is_a_loop(head: rb.AttentionHead, n: int, seed: int) -> None:
    """Within rounding: a batch may be multiplied in another order."""
    X = np.random.default_rng(seed).standard_normal((2, 3, head.d, n))
    L, P, Y = head.logits(X), head.context(X, rb.causal_mask(n)), head.output(X)
    assert L.shape == P.shape == (2, 3, n, n)
    for i in np.ndindex(2, 3):
        slack = 2 * bound(head, X[i])
        assert np.max(np.abs(L[i] - head.logits(X[i]))) <= slack
        # softmax moves by at most the largest error of a logit, its own rounding apart
        other = head.context(X[i], rb.causal_mask(n))
        np.testing.assert_allclose(P[i], other, rtol=2 * slack + (n + 4) * EPS, atol=0)
        value_norm = np.linalg.norm(head.W_v) * np.linalg.norm(X[i]) if head.W_v is not None else 0
        rounding = (2 * slack + 2 * (head.d + n + 2) * EPS) * value_norm
        assert np.max(np.abs(Y[i] - head.output(X[i]))) <= n * rounding


def test_scale_is_one_over_the_root_of_the_head_size_unless_given() -> None:
    W = np.ones((4, 3))
    assert rb.AttentionHead(W, W).scale == 0.5
    assert rb.AttentionHead(W, W, scale=2).scale == 2.0
    np.testing.assert_array_equal(rb.AttentionHead(W, W).logits(), np.full((3, 3), 2.0))
    np.testing.assert_array_equal(rb.AttentionHead(W, W, scale=2).logits(), np.full((3, 3), 8.0))


def test_a_head_keeps_its_own_read_only_copies() -> None:
    W = np.ones((2, 3))
    head = rb.AttentionHead(W, W, W)
    W[:] = 7
    for array in (head.W_q, head.W_k, head.W_v):
        assert array is not None
        assert (array == 1).all()
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 7
    with pytest.raises(AttributeError):
        head.scale = 1.0  # type: ignore[misc]


@given(heads(kinds="huge"))
def test_huge_projections_leave_a_context(head: rb.AttentionHead) -> None:
    P = head.context()
    assert np.max(np.abs(P.sum(axis=0) - 1)) <= (head.d + 1) * EPS


def test_key_and_query_are_not_confused() -> None:
    """Row = key, column = query: only query 1 tells the keys apart."""
    head = rb.AttentionHead(W_q=[[0.0, np.log(3)]], W_k=[[1.0, 0.0]])
    expected = [[0.5, 0.75], [0.5, 0.25]]  # exp and log are off by at most a few eps
    np.testing.assert_allclose(head.context(), expected, rtol=8 * EPS)
