"""A head is the formula: softmax of scale (W_k X)^T (W_q X), by columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.testing import heads, tokens
from tests.helpers import EPS, refused

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


def test_a_head_has_a_mask_and_a_cap_of_its_own() -> None:
    W_q, W_k = np.random.default_rng(0).standard_normal((2, 3, 6))
    plain = rb.AttentionHead(W_q, W_k, np.eye(6), scale=4.0)
    head = rb.AttentionHead(W_q, W_k, np.eye(6), scale=4.0, mask=rb.causal_mask(6), soft_cap=5.0)
    np.testing.assert_allclose(head.logits(), 5 * np.tanh(plain.logits() / 5), rtol=8 * EPS)
    P = rb.column_softmax(head.logits(), mask=rb.causal_mask(6))
    np.testing.assert_array_equal(head.context(), P)
    np.testing.assert_array_equal(head.output(), np.eye(6) @ P)
    # another mask takes the place of its own
    full = head.context(mask=rb.full_mask(6))
    np.testing.assert_array_equal(full, rb.column_softmax(head.logits()))
    with refused(rb.InputError, "mask"):
        head.context(np.eye(6)[:, :4])  # four tokens under a mask of six
    assert repr(head) == "AttentionHead(head_size=3, d=6, scale=4, mask=(6, 6), soft_cap=5)"
    assert head.mask is not None
    assert not head.mask.flags.writeable


def test_the_dtype_of_keys_and_queries_is_remembered() -> None:
    W = np.ones((1, 3), np.float32)
    assert rb.AttentionHead(W, W.astype(np.float64)).stored.name == "float32"
    assert rb.AttentionHead(W.astype(np.float16), W).stored.name == "float16"
    assert rb.AttentionHead([[1, 2]], [[1, 2]]).stored.name == "float64"
    assert rb.AttentionHead([[1, 2]], [[1, 2]], stored=np.float16).stored.name == "float16"
    assert rb.AttentionHead([[1, 2]], [[1, 2]], stored="bfloat16").stored.eps == 2**-7
    keys = W.copy()
    keys[0, 1] += 2**-23  # one unit of float32: what rounding may have done
    assert rb.log_rank(head=rb.AttentionHead(W, keys)) == 0
    assert rb.log_rank(head=rb.AttentionHead(W, keys, stored=np.float64)) == 1


@pytest.mark.parametrize(
    ("error", "change", "words"),
    [
        (rb.InputError, {"mask": np.ones((2, 3), bool)}, "mask has shape (2, 3)"),
        (rb.InputTypeError, {"mask": np.ones((2, 2))}, "expected bool"),
        (rb.InputError, {"mask": np.zeros((2, 2), bool)}, "hides every key"),
        (rb.InputTypeError, {"mask": "causal"}, "rb.causal_mask(n)"),
        (rb.InputError, {"soft_cap": 0.0}, "soft_cap is 0.0"),
        (rb.InputTypeError, {"stored": "int8"}, "stored='int8'"),
    ],
)
def test_masks_caps_and_dtypes_that_are_none(
    error: type[Exception], change: dict[str, Any], words: str
) -> None:
    with refused(error, words):
        rb.AttentionHead(np.eye(2), np.eye(2), **change)


def test_a_capped_head_has_no_log_rank_from_factors() -> None:
    head = rb.AttentionHead(np.eye(2), np.eye(2), soft_cap=1.0)
    with refused(rb.InputError, "logits=head.logits(X)"):
        rb.log_rank(head=head)
    masked = rb.AttentionHead(np.eye(3), np.eye(3), mask=rb.prefix_mask(3, 2))
    assert rb.log_rank(head=masked) == rb.log_rank(logits=masked.logits(), mask=masked.mask)
