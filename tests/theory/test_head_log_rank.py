"""The log-rank of a head from its factors, beside what the formed logits say."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.theory import theorem_c
from rankbound.theory.head_log_rank import chain_log_rank
from rankbound.theory.theorem_c import new_rows
from tests.helpers import EPS, refused
from tests.theory.test_completion import by_the_formula, nested_masks


@st.composite
def integer_heads(draw: Any) -> rb.AttentionHead:
    """Small whole keys and queries, often repeated or zero; the scale is a power of two."""
    k, n = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    entries = st.lists(st.integers(-2, 2), min_size=k * n, max_size=k * n)
    keys, queries = (np.reshape(draw(entries), (k, n)) for _ in range(2))
    return rb.AttentionHead(queries, keys, scale=draw(st.sampled_from([1.0, 0.25, -2.0])))


@given(integer_heads(), st.data())
@settings(max_examples=150, deadline=None)
def test_it_is_the_theorem_in_rationals(head: rb.AttentionHead, data: st.DataObject) -> None:
    mask = data.draw(nested_masks(n=head.d))
    logits = (head.W_k.T @ head.W_q).astype(np.int64)
    assert rb.log_rank(head=head, mask=mask) == by_the_formula(logits, mask)
    whole = rb.log_rank(logits=logits.tolist())
    assert rb.log_rank(head=head) == rb.log_rank(head=head, mask=rb.full_mask(head.d)) == whole


@pytest.mark.parametrize("seed", range(40))
def test_tokens_of_any_shape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, d, k = (int(rng.integers(1, most)) for most in (30, 9, 12))
    head, X = rb.random_head(d, k, seed), rb.random_tokens(d, n, seed + 1)
    if n > 2 and seed % 3 == 0:  # the same token twice, early and late
        X[:, -1] = X[:, 0]
    mask = rb.prefix_mask(n, int(rng.integers(0, n + 1)))
    for shown in (mask, mask[rng.permutation(n)]):
        expected = rb.log_rank(logits=head.logits(X), mask=shown)
        assert rb.log_rank(head=head, X=X, mask=shown) == expected
        # at most the head size, the rank of the tokens, and n - 1
        assert expected <= min(k, d, n - 1)


def test_causal_heads_reach_their_size_when_the_sequence_is_twice_as_long() -> None:
    head, X = rb.random_head(16, 8, 0), rb.random_tokens(16, 40, 1)
    sizes = [rb.log_rank(head=head, X=X[:, :n], mask=rb.causal_mask(n)) for n in (8, 15, 16, 40)]
    assert sizes == [4, 7, 8, 8]


def test_a_difference_below_rounding_is_none() -> None:
    """One key differs from the others by half a unit of float32."""
    head = rb.AttentionHead(np.ones((1, 3)), np.array([[1.0, 1.0 + 2**-24, 1.0]]))
    mask = rb.prefix_mask(3, 2)
    assert rb.log_rank(head=head, mask=mask) == 1
    assert rb.log_rank(head=head, mask=mask, stored=np.float32) == 0
    assert rb.log_rank(head=head) == 1
    assert rb.log_rank(head=head, stored=np.float32) == 0


def test_no_matrix_of_keys_and_queries_is_formed() -> None:
    n, k = 20_000, 4
    rng = np.random.default_rng(0)
    keys, queries = rng.standard_normal((2, k, n))
    tracemalloc.start()
    try:
        assert chain_log_rank(keys, queries, np.arange(1, n + 1), EPS) == (k, k)
        assert rb.log_rank(head=rb.AttentionHead(queries, keys)) == k
        assert rb.log_rank(head=rb.AttentionHead(queries, keys), mask="causal") == k
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * n * k * 8  # n × n would be 5,000 n k


def test_huge_and_tiny_factors() -> None:
    keys, queries = np.random.default_rng(0).standard_normal((2, 3, 9))
    for size in (1e200, 1e-200):
        head = rb.AttentionHead(size * queries, size * keys)
        assert rb.log_rank(head=head) == 3
        assert rb.log_rank(head=head, mask=rb.causal_mask(9)) == 3
    zero = rb.AttentionHead(np.zeros((2, 3)), np.zeros((2, 3)))
    assert rb.log_rank(head=zero) == rb.log_rank(head=zero, mask=rb.causal_mask(3)) == 0


def test_a_mask_that_is_not_nested_is_bounded_by_the_head_too() -> None:
    n = 12
    head = rb.random_head(16, 2, 0)
    X = rb.random_tokens(16, n, 1)
    # a fully visible block shows 2, and so does the head
    assert rb.log_rank(head=head, X=X, mask=rb.sliding_mask(n, 8)) == 2
    wide = rb.random_head(16, 6, 0)
    with pytest.raises(rb.Undecided) as caught:
        rb.log_rank(head=wide, X=X, mask=rb.sliding_mask(n, 8))
    bounds = caught.value.bounds
    assert 0 < bounds.lower < bounds.upper == 6


def by_elimination(keys: Any, queries: Any, mask: Any = None) -> int:
    """The log-rank of whole keys and queries in exact arithmetic."""
    logits = np.array(keys, object).T @ np.array(queries, object)
    return int(rb.log_rank(logits=logits.tolist(), mask=mask))


@st.composite
def graded_heads(draw: Any) -> tuple[Any, Any, Any]:
    """Whole factors, a power of two for each coordinate of the keys, and one for the queries."""
    k, n = draw(st.integers(1, 4)), draw(st.integers(2, 7))
    entries = st.lists(st.integers(-3, 3), min_size=k * n, max_size=k * n)
    keys, queries = (np.reshape(draw(entries), (k, n)).tolist() for _ in range(2))
    steps = draw(st.lists(st.integers(-300, 300), min_size=k, max_size=k))
    drift = draw(st.lists(st.sampled_from([0, 0, 0, 1, -3, 40, -70]), min_size=k, max_size=k))
    return keys, queries, [(a, b - a) for a, b in zip(steps, drift, strict=True)]


def scaled(rows: Any, powers: Any) -> Any:
    return [[Fraction(2) ** p * x for x in row] for row, p in zip(rows, powers, strict=True)]


@given(graded_heads(), st.data())
@settings(max_examples=150, deadline=None)
def test_graded_factors_are_right_or_undecided(
    drawn: tuple[Any, Any, Any], data: st.DataObject
) -> None:
    """Coordinates scaled up in the keys and down in the queries; some not quite reciprocally."""
    keys, queries, powers = drawn
    keys, queries = scaled(keys, [p for p, _ in powers]), scaled(queries, [q for _, q in powers])
    head = rb.AttentionHead(np.array(queries, float), np.array(keys, float), scale=1.0)
    reciprocal = all(p == -q for p, q in powers)
    if head.d > 3:  # a mask that is not nested: whatever is known holds under every mask
        try:
            bounded = rb.log_rank(head=head, mask=rb.sliding_mask(head.d, 3))
        except rb.Undecided as undecided:
            bounded = undecided.bounds.lower
        assert bounded <= by_elimination(keys, queries)
    for mask in (None, data.draw(nested_masks(n=head.d))):
        try:
            found = rb.log_rank(head=head, mask=mask)
        except rb.Undecided as undecided:
            assert not reciprocal
            exact = by_elimination(keys, queries, mask)
            assert undecided.bounds.lower <= exact <= undecided.bounds.upper
        else:
            assert found == by_elimination(keys, queries, mask)


@pytest.mark.parametrize("power", [3, 20, 26, 40, 44, 47, 48, 49, 55, 80])
@pytest.mark.parametrize("seed", range(5))
def test_factors_that_nearly_cancel_are_right_or_undecided(power: int, seed: int) -> None:
    """Keys ``G A`` and queries ``G^-T B`` for a whole G of determinant 1: no scaling mends it."""
    a, b = np.random.default_rng(seed).integers(-3, 4, (2, 2, 6)).tolist()
    size = 2**power
    keys = [[x + size * y for x, y in zip(*a, strict=True)], a[1]]
    queries = [b[0], [y - size * x for x, y in zip(*b, strict=True)]]
    head = rb.AttentionHead(np.array(queries, float), np.array(keys, float))
    exact = by_elimination(a, b)
    assert rb.log_rank(head=rb.AttentionHead(queries, keys)) == exact  # whole numbers, as they are
    rounded = [[[int(x) for x in row] for row in W.tolist()] for W in (head.W_k, head.W_q)]
    exact = by_elimination(*rounded)  # floats, as they are
    try:
        assert rb.log_rank(head=head) == exact
    except rb.Undecided as undecided:
        assert power > 26
        assert undecided.bounds.lower <= exact <= undecided.bounds.upper


def test_cancelling_factors_show_nothing_under_a_mask_that_is_not_nested() -> None:
    """Equal logits, but for the rounding of ``(1e17 + small) - 1e17``."""
    small = np.random.default_rng(0).standard_normal((1, 12))
    head = rb.AttentionHead(
        np.vstack([1e17 + 0 * small, 1e17 + 0 * small]),
        np.vstack([1.0 + 1e-3 * small, -(1.0 + 1e-3 * small)]),
    )
    try:
        found = rb.log_rank(head=head, mask=rb.sliding_mask(12, 8))
    except rb.Undecided as undecided:
        found = undecided.bounds.lower
    assert found == 0


def test_the_head_of_a_graded_matrix_and_its_inverse() -> None:
    D = np.diag([1e-8, 1.0, 1e8])
    assert rb.log_rank(head=rb.AttentionHead(D, np.linalg.inv(D))) == 2
    assert rb.log_rank(head=rb.AttentionHead(np.linalg.inv(D), D), mask=rb.causal_mask(3)) == 2
    assert rb.log_rank(head=rb.AttentionHead(D, D), X=np.diag([1e8, 1.0, 1e-8])) == 2
    # a coordinate far below the others counts as well: logits diag(1e-160, 1, 1e160)
    D = np.diag([1e-80, 1.0, 1e80])
    assert rb.log_rank(head=rb.AttentionHead(D, D)) == 2


def test_a_product_of_low_rank_that_was_rounded_is_left_open() -> None:
    rng = np.random.default_rng(0)
    low = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 20))
    head = rb.AttentionHead(low, rng.standard_normal((6, 20)))
    with refused(rb.Undecided, "is 6 for its numbers as given, and rounding"):
        rb.log_rank(head=head)
    assert rb.log_rank(head=head, rtol=1e-9) == 2
    assert rb.log_rank(head=head, stored=np.float32) == 2
    # given as tokens, the product is formed without rounding
    tokens, k = rng.standard_normal((2, 20)), rb.random_head(2, 6, 0)
    assert rb.log_rank(head=k, X=tokens) == 2


def test_exact_numbers_are_not_rounded() -> None:
    big, ones = 2**60, [[1, 1, 1]]
    assert rb.log_rank(head=rb.AttentionHead(ones, [[big, big + 1, big]])) == 1
    assert rb.log_rank(head=rb.AttentionHead(ones, [[float(big), big + 1.0, big]])) == 0
    assert rb.log_rank(head=rb.AttentionHead(ones, np.array([[big, big + 1, big]]))) == 1
    # rows that are multiples of each other, and an entry over a prime that is tried
    third = [Fraction(1, 3), Fraction(2, 7), Fraction(5, 2147483629)]
    keys: Any = [third, [3 * x for x in third]]
    assert rb.log_rank(head=rb.AttentionHead([[1, 2, 4], [0, 1, 5]], keys)) == 1
    X = [[big, big + 1, big, 0]]
    assert rb.log_rank(head=rb.AttentionHead([[1]], [[1]]), X=X) == 1
    assert rb.log_rank(head=rb.AttentionHead([[1]], [[1]]), X=[[big, big + 1, big]]) == 1


def test_a_head_of_scale_0_is_uniform() -> None:
    assert rb.log_rank(head=rb.AttentionHead(np.eye(3), np.eye(3), scale=0.0)) == 0


@pytest.mark.parametrize("unit", [0.01, 1.0, 1.4, 2.0, 2.8])
def test_rtol_is_a_share_of_the_largest_singular_value(unit: float) -> None:
    """Logits of singular values 1, 1e-3, 1e-6 in any unit, centred already."""
    contrasts = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2
    keys = unit * np.diag([1.0, 1e-3, 1e-6]) @ contrasts
    head = rb.AttentionHead(W_q=contrasts, W_k=keys)
    for rtol, rank in ((1.1e-3, 1), (0.9e-3, 2), (1.1e-6, 2), (0.9e-6, 3)):
        assert rb.log_rank(head=head, rtol=rtol) == rank


def test_rows_that_are_combinations_are_not_new() -> None:
    rng = np.random.default_rng(1)
    basis = rng.standard_normal((3, 5))
    rows = np.vstack([basis, rng.standard_normal((7, 3)) @ basis, rng.standard_normal((1, 5))])
    error = EPS * np.abs(rows)
    assert new_rows(rows, error, np.full(11, 5)) == ([0, 1, 2, 10], 4)
    assert new_rows(rows, error, np.array([5] * 3 + [3] * 8)) == ([0, 1, 2], 3)
    # on the first column alone one row spans all
    assert new_rows(rows, error, np.full(11, 1)) == ([0], 1)


@pytest.mark.parametrize("seed", range(20))
def test_rows_that_are_independent_together_are_new_one_by_one(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where some are near the span of others, by a little more or less than their errors."""
    rng = np.random.default_rng(seed)
    n, r = (int(rng.integers(2, most)) for most in (30, 9))
    rows = rng.standard_normal((n, r)) * np.exp(rng.uniform(-9, 9, (n, 1)))
    rows[-1] = rows[:-1].T @ rng.standard_normal(n - 1)
    if seed % 2:
        rows[1] = rows[0] + rng.uniform(1e-4, 3e-3) * rows[1]
    error = 10.0 ** rng.integers(-16, -2) * np.abs(rows)
    seen = np.sort(rng.integers(0, r + 1, n))[::-1]
    seen[: n // 2] = r
    together = new_rows(rows, error, seen)
    monkeypatch.setattr(theorem_c, "_independent", lambda rows, error: False)
    assert together == new_rows(rows, error, seen)
    monkeypatch.setattr(theorem_c._Span, "is_everything", lambda span: False)
    assert together == new_rows(rows, error, seen)  # nor is a row outside a span of everything


def test_rows_that_errors_explain_are_not_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.array([[1.0, 0, 0], [1, 1e-3, 0], [0, 0, 1]])
    for wrong, new in ((1e-6, [0, 1, 2]), (1e-2, [0, 2])):
        error = np.full((3, 3), wrong)
        assert theorem_c._independent(rows, error) is (len(new) == 3)
        assert new_rows(rows, error, np.full(3, 3)) == (new, len(new))
    monkeypatch.setattr(theorem_c, "_independent", lambda rows, error: True)
    assert new_rows(rows, np.full((3, 3), 1e-2), np.full(3, 3)) == ([0, 1, 2], 3)


def test_the_error_of_one_row_hides_no_other() -> None:
    """Only rows that a combination uses count: the third is the second, but for 1e-3."""
    rows = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 1e-3]])
    for wrong, new in ((0, [0, 1, 2]), (1, [0, 1]), (2, [0, 1])):
        error = np.zeros((3, 3))
        error[wrong] = 1e-2
        assert new_rows(rows, error, np.full(3, 3)) == (new, len(new))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"P": np.full((2, 2), 0.5)}, "a head alone"),
        ({"logits": np.zeros((2, 2))}, "a head alone"),
        ({"rows": True}, "a head alone"),
        ({"rtol": 1e-3, "mask": rb.causal_mask(2)}, "not taken together"),
        ({"mask": rb.causal_mask(3)}, "mask has shape (3, 3)"),
        ({"X": np.ones((3, 2))}, "as many columns"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], words: str) -> None:
    head = rb.AttentionHead(np.ones((1, 2)), np.ones((1, 2)))
    with refused(rb.InputError, words):
        rb.log_rank(head=head, **arguments)


def test_what_is_no_head() -> None:
    with refused(rb.InputTypeError, "expected an AttentionHead"):
        rb.log_rank(head=np.ones((2, 2)))
    with refused(rb.InputError, "does not depend on tokens"):
        rb.log_rank(np.full((2, 2), 0.5), X=np.eye(2))


def test_a_row_that_rounding_made_new_is_not_counted() -> None:
    """2^60 q_1 + q_3 becomes 2^60 q_1: on the last two queries two keys then look parallel."""
    W_q = np.array([[0, 1, 0, -1, 1], [0, 0, 1, -1, 1], [0, 0, 0, 1, 0]])
    W_k = np.array([[0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 1, 1]], dtype=object)
    for large, small in ((2**60, 1), (1, Fraction(1, 2**60))):
        keys = W_k * np.array([[large], [1], [small]])
        assert rb.log_rank(logits=keys.T.dot(W_q), mask="causal") == 2
        exact = rb.AttentionHead(W_q=W_q, W_k=keys, scale=1.0)
        assert rb.log_rank(head=exact, mask="causal") == 2
        assert rb.log_rank(head=exact, X=np.eye(5, dtype=int), mask="causal") == 2
        head = rb.AttentionHead(W_q=W_q, W_k=keys.astype(float), scale=1.0)
        with refused(rb.Undecided, "is 2 for its numbers as given") as caught:
            rb.log_rank(head=head, mask="causal")
        assert (caught.value.bounds.lower, caught.value.bounds.upper) == (2, 3)


def test_a_row_in_doubt_that_elimination_confirms_is_counted() -> None:
    """Keys that are equal on the queries that see another: a direction less, and no doubt."""
    W_q = np.array([[0.0, 0, 0, 0, -1], [1, 1, -1, 1, 1], [-1, 0, 0, -1, 1]])
    W_k = np.array([[1.0, -1, -1, -1, 1], [-1, 0, 1, 1, -1], [-1, 0, 1, 0, -1]])
    assert chain_log_rank(W_k, W_q, np.arange(1, 6), EPS) == (2, 3)
    assert rb.log_rank(logits=(W_k.T @ W_q).astype(int), mask="causal") == 3
    for number in (float, int):
        head = rb.AttentionHead(W_q=W_q.astype(number), W_k=W_k.astype(number), scale=1.0)
        assert rb.log_rank(head=head, mask="causal") == 3
