"""Eckart–Young for heads: the least Aitchison distance, and the head that has it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.attention.softmax import log_column_softmax
from rankbound.testing import contexts, heads, tokens
from rankbound.theory.approximation import stays_away
from tests.helpers import EPS, Array, log_spectrum


def slack(P: Array) -> float:
    """Singular values off by a few n eps ‖C log P‖_F; a tail of n of them, sqrt(n) times that."""
    n = len(P)
    return float(16 * n**1.5 * EPS * (1 + np.linalg.norm(np.log(P))))


def distance(P: Array, log_Q: Array) -> float:
    """``‖C (log P - log Q)‖_F``, by the formula."""
    n = len(P)
    return float(np.linalg.norm((np.eye(n) - 1 / n) @ (np.log(P) - log_Q)))


@given(contexts(), st.integers(1, 9))
def test_error_is_the_tail_of_the_spectrum(P: Array, k: int) -> None:
    tail = np.linalg.norm(log_spectrum(P)[k:])
    assert abs(rb.aitchison_error(P, k) - tail) <= slack(P)


@given(contexts(), st.integers(1, 9), st.data())
def test_the_nearest_head_reaches_it(P: Array, k: int, data: st.DataObject) -> None:
    """On tokens of condition number at most 10, which multiplies the rounding by as much."""
    n = len(P)
    X = data.draw(st.none() | tokens(d=n + 1, n=n, kinds="full_column_rank"))
    head = rb.nearest_head(P, k, X=X)
    assert head.head_size == k
    assert head.d == (n if X is None else n + 1)
    log_Q = log_column_softmax(head.logits(X))
    rounding = slack(P) * (1 if X is None else 40)
    assert abs(distance(P, log_Q) - rb.aitchison_error(P, k)) <= rounding


@given(contexts(4), heads(4, kinds=("gaussian", "zero", "low_rank", "single")))
def test_no_head_is_nearer(P: Array, head: rb.AttentionHead) -> None:
    assert distance(P, log_column_softmax(head.logits())) >= (
        rb.aitchison_error(P, head.head_size) - slack(P)
    )


@given(contexts(5, kinds=("gaussian", "one_hot")), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_the_nearest_head_cannot_be_improved(P: Array, k: int, seed: int) -> None:
    """Nor are its neighbours nearer."""
    head, rng = rb.nearest_head(P, k), np.random.default_rng(seed)
    for size in (1e-4, 1e-2, 1):
        W_q, W_k = (W + size * rng.standard_normal(W.shape) for W in (head.W_q, head.W_k))
        log_Q = log_column_softmax(rb.AttentionHead(W_q, W_k, scale=head.scale).logits())
        assert distance(P, log_Q) >= rb.aitchison_error(P, k) - slack(P)


@given(contexts())
def test_error_falls_with_the_size_and_ends_at_the_log_rank(P: Array) -> None:
    errors = [rb.aitchison_error(P, k) for k in range(1, len(P) + 2)]
    assert all(a >= b for a, b in itertools.pairwise(errors))
    assert errors[-1] == 0.0
    assert errors[max(int(rb.least_head_size(P, stored=np.float64)), 1) - 1] <= 4 * slack(P)


def test_known_value() -> None:
    """P ∝ exp(ε I) has C log P = ε C: n - 1 singular values ε."""
    n, epsilon = 6, 0.5
    L = epsilon * np.eye(n)
    for k in range(1, n + 1):
        expected = epsilon * np.sqrt(max(n - 1 - k, 0))
        for error in (
            rb.aitchison_error(rb.column_softmax(L), k),
            rb.aitchison_error(logits=L, head_size=k),
        ):
            assert error == pytest.approx(expected, abs=16 * n**1.5 * EPS * 10)


@pytest.mark.parametrize("n", [2, 8])
def test_the_largest_logits(n: int) -> None:
    """An error above 1.8e308 is refused, and one below is given; never a NumPy warning."""
    for size in (1.0, 2.0**-4):
        L = size * 1.7e308 * np.eye(n)
        expected = size * 1.7 * np.sqrt(n - 2)  # in units of 1e308
        if expected < 1.79:
            error = rb.aitchison_error(logits=L, head_size=1) / 1e308
            assert error == pytest.approx(expected, rel=16 * n**1.5 * EPS, abs=1e-12)
        else:
            with pytest.raises(rb.InputError, match=r"1\.8e308"):
                rb.aitchison_error(logits=L, head_size=1)


def test_from_logits_and_rows() -> None:
    P = rb.random_context(6, seed=0)
    for k in (1, 3):
        expected = rb.aitchison_error(P, k)
        error = rb.aitchison_error(logits=np.log(P), head_size=k)
        assert error == pytest.approx(expected, abs=2 * slack(P))
        assert rb.aitchison_error(P.T, k, rows=True) == expected
        head = rb.nearest_head(logits=np.log(P), head_size=k)
        log_Q = log_column_softmax(head.logits())
        assert distance(P, log_Q) == pytest.approx(expected, abs=2 * slack(P))


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_batch_is_a_loop(n: int, k: int, seed: int) -> None:
    P = rb.column_softmax(np.random.default_rng(seed).standard_normal((2, 3, n, n)))
    whole = rb.aitchison_error(P, k)
    assert whole.shape == (2, 3)
    for i in np.ndindex(2, 3):
        assert abs(whole[i] - rb.aitchison_error(P[i], k)) <= slack(P[i])


# which head sizes keep a positive divergence


@pytest.mark.parametrize(("n", "rank"), [(2, 1), (5, 4), (6, 1), (6, 3), (9, 4)])
def test_heads_below_the_log_rank_stay_away_and_others_do_not(n: int, rank: int) -> None:
    """A key that nothing attends to takes part in no block, whatever its place."""
    rng = np.random.default_rng(n + rank)
    P = rb.column_softmax(rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n)))
    wanted = [k < rank for k in range(n + 2)]
    assert [stays_away(P, k) for k in range(n + 2)] == wanted
    unseen = np.insert(np.hstack([P, P[:, :1]]), rank, 0.0, axis=0)
    assert [stays_away(unseen, k) for k in range(n + 2)] == wanted


@pytest.mark.parametrize("n", [4, 7, 8])
def test_blocks_that_a_mask_shows_stay_away(n: int) -> None:
    """Nested masks show the blocks on which Theorem C rests: below its size all heads stay away."""
    L = np.random.default_rng(n).standard_normal((n, n))
    for prefix in (0, 2, n - 1):
        mask = rb.prefix_mask(n, prefix)
        P = rb.column_softmax(L, mask=mask)
        least = rb.least_head_size(P, mask=mask)
        assert [stays_away(P, k, mask) for k in range(n)] == [k < least for k in range(n)]
    sliding = rb.Context(logits=L, mask="sliding:3").visible  # two keys are seen by two queries
    P = rb.column_softmax(L, mask=sliding)
    assert [stays_away(P, k, sliding) for k in range(n)] == [k < 1 for k in range(n)]
