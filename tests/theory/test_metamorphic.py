"""Useless structure is added, and the answer must not move.

Contexts are those of heads whose log-rank is known and far from any threshold; what must not move
is the log-rank, the least head size, and whether `represent` succeeds at a size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.testing import heads
from tests.helpers import EPS, Array, Rows, rational_rows

SEEDS = st.integers(0, 2**32 - 1)
SQUARE = st.integers(1, 5).flatmap(lambda n: rational_rows(n, n))
D, N = 9, 6


def rotation(size: int, seed: int, condition: float = 3.0) -> Array:
    """A random G of the given condition number."""
    left, right = np.random.default_rng(seed).standard_normal((2, size, size))
    values = np.linspace(1, condition, size)
    return np.asarray(np.linalg.qr(left)[0] * values @ np.linalg.qr(right)[0])


def assert_needs(k: int, P: Array, X: npt.ArrayLike | None) -> None:
    """Everything that a context tells about its head size."""
    assert rb.log_rank(P) == k
    assert rb.least_head_size(P) == rb.least_head_size(P, X=X) == k
    for size in (k, k + 2):
        np.testing.assert_allclose(
            rb.represent(P, X=X, head_size=size).context(X), P, rtol=1e-8, atol=0
        )
    if k > 1:
        with pytest.raises(rb.NotRepresentable):
            rb.represent(P, X=X, head_size=k - 1)


def spread_head(k: int, seed: int, d: int = D) -> rb.AttentionHead:
    """A head with well-conditioned projections: its log-rank is min(k, n - 1) beyond doubt."""
    return rb.AttentionHead(rotation(d, seed)[:k], rotation(d, seed + 1)[:k], scale=1.0)


def spread_tokens(seed: int) -> Array:
    return rotation(D, seed)[:, :N]


@given(st.integers(1, 4), SEEDS)
def test_to_begin_with(k: int, seed: int) -> None:
    X = spread_tokens(seed)
    assert_needs(k, spread_head(k, seed).context(X), X)


@given(st.integers(1, 4), SEEDS, st.permutations(range(N)))
def test_permuting_tokens(k: int, seed: int, order: list[int]) -> None:
    """P becomes Π^T P Π, to rounding, and needs the same."""
    head, X = spread_head(k, seed), spread_tokens(seed)
    P, moved = head.context(X), head.context(X[:, order])
    # a logit of at most 3^4 = 81 is a sum of at most 3 * 9 products, which may be in another order
    np.testing.assert_allclose(moved, P[np.ix_(order, order)], rtol=4 * 27 * 81 * EPS)
    assert_needs(k, moved, X[:, order])


@given(st.integers(1, 4), SEEDS)
def test_another_basis_of_keys_and_queries(k: int, seed: int) -> None:
    """W_k -> G^T W_k, W_q -> G^-1 W_q leaves W_k^T W_q alone."""
    head, X, G = spread_head(k, seed), spread_tokens(seed), rotation(k, seed + 2)
    moved = rb.AttentionHead(np.linalg.solve(G, head.W_q), G.T @ head.W_k, scale=head.scale)
    P = moved.context(X)
    # as above, with a factor κ(G)² <= 9 more
    np.testing.assert_allclose(P, head.context(X), rtol=4 * 27 * 81 * 9 * EPS)
    assert_needs(k, P, X)


@given(st.integers(1, 4), SEEDS, st.floats(-5, 5))
def test_a_key_bias_is_pure_gauge(k: int, seed: int, size: float) -> None:
    """A bias b on every key adds 1 (b^T Q) to the logits: the rank may rise, the answer may not."""
    head, X = spread_head(k, seed), spread_tokens(seed)
    keys, queries = head.keys(X), head.queries(X)
    moved = rb.AttentionHead(queries, keys + size, scale=1.0)
    assert_needs(k, moved.context(), None)
    np.testing.assert_allclose(moved.context(), head.context(X), rtol=1e4 * 81 * EPS)


@given(st.integers(1, 4), SEEDS, st.integers(1, 4))
def test_padding_the_embedding(k: int, seed: int, more: int) -> None:
    """Zero rows of X, and any columns of W_q and W_k to meet them."""
    head, X = spread_head(k, seed), spread_tokens(seed)
    taller = np.vstack([X, np.zeros((more, N))])
    extra = np.random.default_rng(seed).standard_normal((2, k, more))
    moved = rb.AttentionHead(
        np.hstack([head.W_q, extra[0]]), np.hstack([head.W_k, extra[1]]), scale=head.scale
    )
    P = moved.context(taller)
    np.testing.assert_allclose(P, head.context(X), rtol=4 * 31 * 81 * EPS)
    assert_needs(k, P, taller)


@given(st.integers(1, 4), SEEDS, st.integers(1, 4))
def test_padding_the_head_size(k: int, seed: int, more: int) -> None:
    """Zero rows of W_q and W_k, the scale kept."""
    head, X = spread_head(k, seed), spread_tokens(seed)
    zeros = np.zeros((more, D))
    moved = rb.AttentionHead(
        np.vstack([head.W_q, zeros]), np.vstack([head.W_k, zeros]), scale=head.scale
    )
    P = moved.context(X)
    np.testing.assert_allclose(P, head.context(X), rtol=4 * 31 * 81 * EPS)
    assert_needs(k, P, X)


@given(st.integers(1, 4), SEEDS, st.integers(-200, 200))
def test_rescaling_tokens_and_projections_inversely(k: int, seed: int, exponent: int) -> None:
    """By a power of two: the same to the bit."""
    head, X = spread_head(k, seed), np.ldexp(spread_tokens(seed), exponent)
    W_q, W_k = (np.ldexp(W, -exponent) for W in (head.W_q, head.W_k))
    P = rb.AttentionHead(W_q, W_k, scale=head.scale).context(X)
    np.testing.assert_array_equal(P, head.context(spread_tokens(seed)))
    assert_needs(k, P, X)


@given(heads(kinds=("gaussian", "integer", "low_rank", "zero", "wide")), st.permutations(range(8)))
def test_permuting_any_context(head: rb.AttentionHead, order: list[int]) -> None:
    """Wherever the threshold falls into a gap of more than 2, however the head was drawn."""
    P = head.context()
    order = [i for i in order if i < len(P)]
    spectrum = rb.spectrum(np.log(P) - np.log(P).mean(axis=0))
    if spectrum.rank == len(P) - 1 or spectrum.gap > 1e3:
        assert rb.log_rank(P[np.ix_(order, order)]) == rb.log_rank(P)


@given(SQUARE, st.data())
def test_exact_logits(M: Rows, data: st.DataObject) -> None:
    """Keys and queries permuted apart, the gauge, and any scale but 0: exactly the same."""
    n, least = len(M), rb.least_head_size(logits=M)
    keys, queries = (data.draw(st.permutations(range(n))) for _ in range(2))
    c = data.draw(st.lists(st.fractions(-9, 9, max_denominator=9), min_size=n, max_size=n))
    factor = data.draw(st.fractions(-9, 9, max_denominator=9).filter(bool))
    moved = [[factor * M[i][j] + c[j] for j in queries] for i in keys]
    assert rb.least_head_size(logits=moved) == rb.log_rank(logits=moved) == least
    head = rb.represent(logits=moved)
    assert head.head_size == max(least, 1)
    if least > 1:
        with pytest.raises(rb.NotRepresentable):
            rb.represent(logits=moved, head_size=int(least) - 1)


@given(SQUARE)
def test_a_token_twice(M: Rows) -> None:
    """A repeated key and query adds nothing but weight: the log-rank stays.

    The new logits are E^T M E for the (n, n + 1) matrix E that repeats the last token; C M has the
    rank of M less its first row, and repeating rows and columns keeps that.
    """
    index = [*range(len(M)), len(M) - 1]
    twice = [[M[i][j] for j in index] for i in index]
    assert rb.log_rank(logits=twice) == rb.log_rank(logits=M)
