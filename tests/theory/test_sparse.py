"""Sparse patterns: the size of the head, and a total variation that holds for its floats."""

from __future__ import annotations

import itertools
import math
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.theory import sparse as key_order
from rankbound.theory.sparse import (
    curve_product,
    key_orders,
    least_log_products,
    total_variation_bound,
)
from tests.helpers import Array, refused

Ints = Any
ERRORS = st.sampled_from([0.3, 1e-3, 1e-6, 1e-9])


def supported_on(keys: Ints, seed: int = 0) -> Array:
    """Dirichlet(1) on these keys, a row of them a query."""
    keys = np.asarray(keys)
    n, s = keys.shape
    P = np.zeros((n, n))
    P[keys, np.arange(n)[:, None]] = np.random.default_rng(seed).dirichlet(np.ones(s), size=n)
    return P


def circulant(n: int, *offsets: int) -> Ints:
    return (np.arange(n)[:, None] + np.array(offsets)) % n


def exact_total_variation(head: rb.AttentionHead, P: Array, X: Array | None = None) -> Array:
    """From the head's floats, in 60 digits."""
    with mpmath.workdps(60):
        K, Q = mpmath.matrix(head.W_k), mpmath.matrix(head.W_q)
        if X is not None:
            K, Q = K * mpmath.matrix(X), Q * mpmath.matrix(X)
        L = mpmath.mpf(head.scale) * (K.T * Q)
        n = L.rows
        found = []
        for j in range(n):
            top = max(L[i, j] for i in range(n))
            weights = [mpmath.exp(L[i, j] - top) for i in range(n)]
            total = sum(weights)
            away = [abs(w / total - mpmath.mpf(P[i, j])) for i, w in enumerate(weights)]
            found.append(float(sum(away) / 2))
    return np.array(found)


@st.composite
def sparse_contexts(draw: Any, most: int = 10) -> Array:
    """Columns with different numbers of keys, some keys shared by many queries."""
    n = draw(st.integers(1, most))
    s = draw(st.integers(1, n))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pool = rng.permutation(n)[: max(s, draw(st.integers(1, n)))]
    P = np.zeros((n, n))
    for j in range(n):
        own = rng.choice(pool, size=int(rng.integers(1, s + 1)), replace=False)
        P[own, j] = rng.dirichlet(np.full(len(own), draw(st.sampled_from([0.05, 1.0]))))
    P /= P.sum(axis=0)
    return P


@settings(max_examples=40)
@given(sparse_contexts(), ERRORS)
def test_size_and_total_variation(P: Array, error: float) -> None:
    head = rb.sparse_head(P, error=error)
    n, s = len(P), int(np.count_nonzero(P, axis=0).max())
    assert head.head_size == max(1, min(2 * s, n - 1))
    bound = total_variation_bound(head, P)
    assert bound.max() <= error
    assert (exact_total_variation(head, P) <= bound).all()
    assert (np.abs(head.context() - P).sum(axis=0) / 2 <= bound).all()


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from([1.0, 1e6, 1e12]))
def test_the_bound_covers_rounding(k: int, seed: int, size: float) -> None:
    """Logits so large that float64 loses digits of the context, on tokens and without."""
    rng, n = np.random.default_rng(seed), 4
    W_q, W_k = rng.standard_normal((2, k, n))
    head, P = rb.AttentionHead(W_q * size, W_k), rb.random_context(n, seed=seed % 1000)
    X = rng.standard_normal((n, n))
    assert (exact_total_variation(head, P) <= total_variation_bound(head, P)).all()
    assert (exact_total_variation(head, P, X) <= total_variation_bound(head, P, X)).all()


def test_the_bound_is_not_vacuous() -> None:
    head = rb.sparse_head(np.eye(50), error=1e-6)
    assert (
        total_variation_bound(head, np.eye(50)).max()
        < 2 * exact_total_variation(head, np.eye(50)).max()
    )


def test_permutations_need_head_size_2() -> None:
    n = 1000
    P = rb.random_context(n, seed=0, law="permutation")
    head = rb.sparse_head(P)
    assert head.head_size == 2
    assert np.abs(head.context() - P).sum(axis=0).max() / 2 <= 1e-6


@pytest.mark.parametrize("pattern", ["random", "circulant", "sink"])
def test_three_keys_of_256(pattern: str) -> None:
    """In natural order {j, j+1, j+3} bottoms out near 1e-5; in another it is easy."""
    n, rng = 256, np.random.default_rng(0)
    keys = {
        "random": np.array([rng.choice(n, 3, replace=False) for _ in range(n)]),
        "circulant": circulant(n, 0, 1, 3),
        "sink": np.array([[0, *(1 + rng.choice(n - 1, 2, replace=False))] for _ in range(n)]),
    }[pattern]
    P = supported_on(keys)
    head = rb.sparse_head(P)
    assert head.head_size == 6
    assert np.abs(head.context() - P).sum(axis=0).max() / 2 <= 1e-6


def test_natural_order_alone_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rankbound.theory.sparse.key_orders", lambda n, _: iter([np.arange(n)]))
    P = supported_on(circulant(256, 0, 1, 3))
    with pytest.raises(rb.NotRepresentable) as caught:
        rb.sparse_head(P)
    assert caught.value.least_head_size == 255
    assert "β = " in caught.value.reason
    beta = float(caught.value.reason.split("β = ")[1].split(",")[0])
    assert 1e10 < beta < 1e12
    assert "Take error=" in str(caught.value)
    rb.sparse_head(P, error=1e-2)


def test_what_float64_does_not_hold() -> None:
    P = supported_on([np.random.default_rng(j).choice(48, 8, replace=False) for j in range(48)])
    with refused(rb.NotRepresentable, "heads of size 16", "exact arithmetic", "rb.represent"):
        rb.sparse_head(P, error=1e-13)
    with refused(rb.Undecided, "head of size 3", "larger error="):
        rb.sparse_head(np.eye(4)[[0, 0, 1, 2]].T / 2 + np.eye(4) / 2, error=2e-16)


def test_unused_keys_sit_at_the_origin() -> None:
    """One key for all queries: an attention sink, whose logits stay small for every n."""
    P = np.zeros((300, 300))
    P[7] = 1.0
    head = rb.sparse_head(P)
    assert np.count_nonzero(np.abs(head.W_k).sum(axis=0)) == 1
    assert np.abs(head.logits()).max() < 50


def test_small_probabilities_and_zeros_are_told_apart() -> None:
    P = np.zeros((9, 9))
    P[0], P[1], P[2] = 1.0, 1e-200, 5e-324
    head = rb.sparse_head(P)
    assert head.head_size == 6
    assert total_variation_bound(head, P).max() <= 1e-6
    # what is below error/(8m) is raised to it, lest logits grow with its logarithm
    np.testing.assert_allclose(head.context()[1:3], 1e-6 / 24, rtol=1e-3)


def test_positive_contexts_are_reached_exactly() -> None:
    P = rb.random_context(6, seed=0)
    head = rb.sparse_head(P, error=1e-12)
    assert head.head_size == 5
    np.testing.assert_allclose(head.context(), P, rtol=1e-12)


@settings(max_examples=15)
@given(sparse_contexts(8), st.integers(0, 2**32 - 1))
def test_on_tokens(P: Array, seed: int) -> None:
    n = len(P)
    X = np.linalg.qr(np.random.default_rng(seed).standard_normal((n + 2, n)))[0] * 3.0
    head = rb.sparse_head(P, X=X, error=1e-5)
    assert head.d == n + 2
    assert (exact_total_variation(head, P, X) <= 1e-5).all()


def test_tokens_that_do_not_serve() -> None:
    P, n = np.eye(6), 6
    with refused(rb.InputError, "full column rank 6", "rb.least_head_size"):
        rb.sparse_head(P, X=np.ones((8, n)))
    with refused(rb.InputError, "(8, 5)", "one column per token"):
        rb.sparse_head(P, X=np.ones((8, 5)))
    X = np.eye(n) + 1e11 * np.ones((n, n))
    with refused(rb.Undecided, "better conditioned tokens"):
        rb.sparse_head(P, X=X)


def test_rows_and_stored() -> None:
    P = supported_on(circulant(20, 0, 4))
    np.testing.assert_array_equal(rb.sparse_head(P.T, rows=True).W_q, rb.sparse_head(P).W_q)
    single = P.astype(np.float32)
    normalised = single.astype(np.float64) / single.astype(np.float64).sum(axis=0)
    for entries, stored in ((single, None), (single.astype(np.float64), np.float32)):
        head = rb.sparse_head(entries, error=1e-9, stored=stored)
        assert np.abs(head.context() - normalised).sum(axis=0).max() / 2 <= 1e-9


@pytest.mark.parametrize(
    ("P", "error", "kind", "part"),
    [
        (np.eye(3), 0.0, rb.InputError, "error is 0.0"),
        (np.eye(3), 1.0, rb.InputError, "expected a total variation between 1.1e-16"),
        (np.eye(3), 1e-17, rb.InputError, "float64 probabilities do not resolve"),
        (np.eye(3), math.nan, rb.InputError, "finite"),
        (np.eye(3), "1", rb.InputTypeError, "expected a real number"),
        (np.eye(3) * 2, 1e-6, rb.InputError, "sum to 1"),
        (np.eye(3)[:2], 1e-6, rb.InputError, "expected (n, n)"),
        (np.array([[1.5, 0.0], [-0.5, 1.0]]), 1e-6, rb.InputError, "probabilities are not neg"),
        (np.array([[0.5, 0.9], [0.5, 0.9]]).T, 1e-6, rb.InputError, "sum to 1"),
    ],
)
def test_refused(P: Array, error: Any, kind: type[Exception], part: str) -> None:
    with refused(kind, part):
        rb.sparse_head(P, error=error)


@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_coefficients_of_the_product(most: int, m: int, seed: int) -> None:
    m = min(m, most)
    rng = np.random.default_rng(seed)
    own, t = rng.uniform(0, 7, (3, m)), rng.uniform(0, 7, 5)
    coefficients, mean = curve_product(own, most)
    orders = np.arange(1, most + 1)[:, None]
    curve = np.concatenate([np.cos(orders * t), np.sin(orders * t)])
    expected = np.prod(1 - np.cos(t[None, :, None] - own[:, None, :]), axis=2)
    np.testing.assert_allclose(coefficients @ curve + mean[:, None], expected, atol=1e-13)


@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**32 - 1), st.booleans())
def test_least_products_by_brute_force(n: int, m: int, seed: int, transform: bool) -> None:
    m, rng = min(n, m), np.random.default_rng(seed)
    place, keys = rng.permutation(n), np.array([rng.permutation(n)[:m] for _ in range(40)])
    angles = 2 * math.pi * np.arange(n) / n
    expected = []
    for at in place[keys]:
        rest = np.delete(angles, at)
        products = np.prod(1 - np.cos(rest[:, None] - angles[at]), axis=1)
        expected.append(np.min(products, initial=np.inf))
    old, key_order.TRANSFORM = key_order.TRANSFORM, 0 if transform else 10**6
    try:
        found = least_log_products(place, keys)
    finally:
        key_order.TRANSFORM = old
    np.testing.assert_allclose(found, np.log(expected), rtol=1e-6, atol=1e-9)


def test_known_least_product_and_the_search() -> None:
    """Crowded supports in natural order: the value of the theory; the search does far better."""
    n, h = 256, 2 * math.pi / 256
    keys = circulant(n, 0, 1, 2)
    natural, searched = itertools.islice(key_orders(n, [(np.arange(n), keys)]), 2)
    expected = (1 - math.cos(h)) * (1 - math.cos(2 * h)) * (1 - math.cos(3 * h))
    found = float(least_log_products(natural, keys).min())
    assert found == pytest.approx(math.log(expected), rel=1e-6)
    # the smallest product of the theory is that of supports which leave a hole
    crowded = float(least_log_products(natural, circulant(n, 0, 1, 3)).min())
    smallest = (1 - math.cos(h)) ** 2 * (1 - math.cos(2 * h))
    assert crowded == pytest.approx(math.log(smallest), rel=1e-6)
    assert smallest == pytest.approx(1.1e-10, rel=0.05)
    assert sorted(searched) == list(range(n))
    assert float(least_log_products(searched, keys).min()) > math.log(1e-4)
