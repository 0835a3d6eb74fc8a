"""Theorem A: a head of the least size exists, has the context, and none is smaller."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.attention.softmax import log_column_softmax
from rankbound.testing import contexts, logits, tokens
from rankbound.theory.theorem_a import exact_factors
from tests.helpers import (
    EPS,
    Array,
    Rows,
    less_column_means,
    log_spectrum,
    rational_rows,
    refused,
    sympy_rank,
    times,
    transposed,
    vectors,
)

SIZES = [4, 8, 16, 32, 64]
SQUARE = st.integers(1, 5).flatmap(lambda n: rational_rows(n, n))


def well_conditioned(d: int, n: int) -> Array:
    """Tokens of condition number at most 3."""
    basis = np.linalg.qr(np.random.default_rng(d).standard_normal((d, n)))[0]
    return np.asarray(basis * np.linspace(1, 3, n))


def no_smaller(least: int, size: int, P: Any = None, X: Any = None, logits: Any = None) -> None:
    with pytest.raises(rb.NotRepresentable) as caught:
        rb.represent(P, X=X, head_size=size, logits=logits)
    assert caught.value.least_head_size == least
    assert str(least) in caught.value.reason
    assert str(size) in caught.value.reason
    for part in (f"least head size is {least}", f"size {size}", "rb.nearest_head"):
        assert part in str(caught.value)


@pytest.mark.parametrize("case", vectors("least_head_size"), ids=lambda case: case["name"])
def test_agrees_with_the_vectors(case: dict[str, Any]) -> None:
    M, expected = case["exponents"], case["least_head_size"]
    n = len(M)
    assert rb.least_head_size(logits=M) == expected
    assert rb.least_head_size(logits=sympy.log(2) * sympy.Matrix(M), X=np.eye(n)) == expected
    head = rb.represent(logits=M)
    assert head.head_size == max(expected, 1)
    # |L| <= 4 and n <= 6: an SVD and a product are off by a few n eps ‖L‖_F, ‖L‖_F <= 24
    np.testing.assert_allclose(head.context(), rb.column_softmax(M), rtol=10 * n * 24 * EPS, atol=0)
    if expected > 1:
        no_smaller(expected, expected - 1, logits=M)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("extra", [None, 0, 5])
def test_dirichlet_contexts_need_n_minus_1(n: int, extra: int | None) -> None:
    """And get it: to 1e-10, a hundred times 10 n eps ‖C log P‖_F κ(X) <= 1e-10 at n = 64."""
    P = rb.random_context(n, seed=n)
    X = None if extra is None else well_conditioned(n + extra, n)
    assert rb.least_head_size(P, X=X) == n - 1
    head = rb.represent(P, X=X)
    assert (head.head_size, head.d) == (n - 1, n if X is None else len(X))
    np.testing.assert_allclose(head.context(X), P, rtol=1e-10, atol=0)
    no_smaller(n - 1, n - 2, P, X)
    no_smaller(n - 1, 1, P, X)


@pytest.mark.parametrize(("n", "k"), [(4, 1), (8, 3), (16, 8), (32, 30), (64, 8)])
@pytest.mark.parametrize("extra", [None, 0, 5])
def test_the_context_of_a_head_needs_its_size(n: int, k: int, extra: int | None) -> None:
    X = None if extra is None else well_conditioned(n + extra, n)
    d = n if X is None else len(X)
    P = rb.random_head(d, k, seed=n).context(X)
    assert rb.least_head_size(P, X=X) == rb.least_head_size(P) == k
    head = rb.represent(P, X=X)
    assert head.head_size == k
    np.testing.assert_allclose(head.context(X), P, rtol=1e-10, atol=0)
    if k > 1:
        no_smaller(k, k - 1, P, X)


@given(contexts(), st.data())
def test_represent_keeps_its_promise(P: Array, data: st.DataObject) -> None:
    """Within `ratio` of log P, over twice the threshold below which values are dropped.

    The threshold is at most 3 n eps (1 + ‖log P‖_F) for these.
    """
    n = len(P)
    X = data.draw(st.none() | tokens(d=n + 2, n=n, kinds="full_column_rank"))
    context = rb.Context(P, stored=np.float64)
    least = int(rb.least_head_size(context, X=X))
    head = rb.represent(context, X=X)
    assert head.head_size == max(least, 1)
    log_Q = log_column_softmax(head.logits(X))
    allowed = 1e-8 + 6 * n * EPS * (1 + np.linalg.norm(np.log(P)))
    assert np.max(np.abs(log_Q - np.log(P))) <= allowed + (n + 4) * EPS
    if least > 1:
        no_smaller(least, least - 1, context, X)


@given(contexts(), st.integers(0, 9))
def test_every_larger_size_will_do(P: Array, more: int) -> None:
    """Padding with zeros, and the scale that goes with it, changes P by rounding only."""
    P = rb.Context(P, stored=np.float64).P
    n, least = len(P), int(rb.least_head_size(P, stored=np.float64))
    head = rb.represent(P, stored=np.float64)
    larger = rb.represent(P, head_size=max(least, 1) + more, stored=np.float64)
    assert larger.head_size == head.head_size + more
    slack = 8 * (n + more) * EPS * np.linalg.norm(np.log(P))
    assert np.max(np.abs(larger.logits() - head.logits())) <= slack
    assert rb.least_head_size(logits=larger.logits(), rtol=1e-9) <= least


@given(contexts(kinds=("uniform", "single")), st.integers(1, 5))
def test_uniform_contexts_need_nothing(P: Array, size: int) -> None:
    assert rb.least_head_size(P) == 0
    assert rb.represent(P).head_size == 1
    head = rb.represent(P, head_size=size)
    assert head.head_size == size
    np.testing.assert_allclose(head.context(), P, rtol=(len(P) + 4) * EPS)


def test_one_token() -> None:
    for X in (None, [[2.0]], [[0.5], [1.0]]):
        assert rb.least_head_size([[1.0]], X=X) == 0
        assert rb.represent([[1.0]], X=X).context(X) == 1.0


@given(logits(kinds=("integer", "low_rank", "repeated", "gaussian", "one_hot", "underflow")))
def test_represent_from_logits(L: Array) -> None:
    """Also where P underflows: the logits are those of L, up to the gauge."""
    n, least = len(L), rb.least_head_size(logits=L)
    head = rb.represent(logits=L)
    assert head.head_size == max(least, 1)
    C = np.eye(n) - 1 / n
    slack = 1e-8 + 20 * n * EPS * (1 + np.linalg.norm(L))
    assert np.max(np.abs(C @ head.logits() - C @ L)) <= 2 * slack


@given(SQUARE)
def test_exact_factors(M: Rows) -> None:
    """A^T B = C L exactly, with as few rows as the rank that SymPy finds."""
    A, B = exact_factors(M)
    centred = less_column_means(M)
    rank = sympy_rank(centred)
    assert len(A) == len(B) == rank == rb.least_head_size(logits=M)
    if rank:
        assert times(transposed(A), B) == centred
    else:
        assert not any(map(any, centred))


def test_exact_factors_are_a_head() -> None:
    """With W_k = A, W_q = sqrt(r) B, the context is 2^M normalised: rationals, rounded once."""
    M = [[3, 0, 1], [0, 2, 1], [1, 1, 5]]
    A, B = exact_factors(M)
    r = len(A)
    keys, queries = np.array(A, dtype=float), math.sqrt(r) * np.array(B, dtype=float)
    head = rb.AttentionHead(queries * math.log(2), keys)
    P = [[Fraction(2**x, sum(2 ** row[j] for row in M)) for j, x in enumerate(row)] for row in M]
    # products of length 2 of numbers up to 4, rounded: far below 100 eps
    np.testing.assert_allclose(head.context(), np.array(P, dtype=float), rtol=100 * EPS)


@pytest.mark.parametrize("top", [1e300, 8e307, 1.2e308, 1.7e308])
def test_the_largest_logits(top: float) -> None:
    """Reached, or refused in words about the logits; never a NumPy warning."""
    for L in ([[top, 0.0], [-top, 0.0]], [[top, -top], [-top, top]]):
        assert rb.least_head_size(logits=L) == 1
        try:
            head = rb.represent(logits=L)
        except rb.InputError as error:
            assert "logits" in str(error)
            assert top > 1e307
        else:
            np.testing.assert_array_equal(head.context(), rb.column_softmax(L))


def test_what_float64_cannot_reach_is_not_blamed_on_tokens() -> None:
    """Without X, an exact matrix of too wide a range is undecided for its own reason."""
    with pytest.raises(rb.Undecided) as caught:
        rb.represent(logits=[[10**30, 0, 1], [0, 1, 0], [1, 1, 5]])
    assert "head of size 2 exists" in str(caught.value)
    assert "X is ill-conditioned" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_low_precision(dtype: Any) -> None:
    """P, rounded to the dtype, is reached within twice its own rounding and the log's."""
    P = rb.random_head(16, 3, seed=0).context().astype(dtype)
    assert rb.least_head_size(P) == 3
    cast = P.astype(np.float64)
    for head in (rb.represent(P), rb.represent(cast, stored=dtype)):
        assert head.head_size == 3
        eps = float(np.finfo(dtype).eps)
        # twice the threshold, eps ‖1 + |log P|‖_F with |log P| < 9, and the error of the data
        allowed = 3 * eps * 10 * 16
        log_Q = log_column_softmax(head.logits())
        assert np.max(np.abs(log_Q - np.log(cast / cast.sum(axis=0)))) <= allowed


def test_tokens_of_low_precision() -> None:
    P, X = rb.random_context(8, seed=0), well_conditioned(10, 8).astype(np.float32)
    np.testing.assert_allclose(rb.represent(P, X=X).context(X), P, rtol=1e-10, atol=0)


@given(st.integers(-500, 500))
def test_the_unit_of_the_tokens_does_not_matter(exponent: int) -> None:
    P, X = rb.random_context(6, seed=0), np.ldexp(well_conditioned(7, 6), exponent)
    assert rb.least_head_size(P, X=X) == 5
    np.testing.assert_allclose(rb.represent(P, X=X).context(X), P, rtol=1e-10, atol=0)


def test_ill_conditioned_tokens_are_undecided_and_not_refused() -> None:
    """κ(X) = 1e12 costs 1e12 eps of accuracy: more than `ratio` allows, less than full rank."""
    P = rb.random_context(8, seed=0)
    X = well_conditioned(8, 8) @ np.diag([*[1.0] * 7, 1e-12]) @ well_conditioned(8, 8).T
    with pytest.raises(rb.Undecided, match=r"head of size 7 exists.*ill-conditioned.*ratio=") as e:
        rb.represent(P, X=X)
    assert "conditioned" in e.value.remedy
    head = rb.represent(P, X=X, ratio=0.1)
    assert np.max(np.abs(np.log(head.context(X)) - np.log(P))) <= 0.1


def test_what_no_head_seems_to_have_is_undecided_between_the_last_size_and_none() -> None:
    """Ones are in the row space but for rounding, where no head has P; outside it, one might."""
    rng = np.random.default_rng(2)
    X = np.vstack([1 + 1e-14 * rng.standard_normal(6), rng.standard_normal((2, 6))])
    with pytest.raises(rb.Undecided, match=r"found: that no head has P\)") as caught:
        rb.least_head_size(rb.random_context(6, 0), X=X)
    bounds = caught.value.bounds
    assert bounds is not None
    assert (bounds.lower, bounds.upper) == (5, 5)


@given(contexts(kinds="near_low_rank"))
def test_the_head_size_follows_the_threshold(P: Array) -> None:
    """Whatever rtol is asked, the size is the number of values above it."""
    values = log_spectrum(P)
    rtol = 1e-6
    slack = 8 * len(P) * EPS * (1 + np.abs(np.log(P)).sum())
    if (np.abs(values - rtol * values[0]) > slack).all():
        assert rb.least_head_size(P, rtol=rtol) == np.sum(values > rtol * values[0])


def test_rows() -> None:
    P = rb.random_context(6, seed=0, law="logrank", rank=2)
    assert rb.least_head_size(P.T, rows=True) == 2
    np.testing.assert_allclose(rb.represent(P.T, rows=True).context(), P, rtol=1e-10)


def test_tokens_of_too_low_rank_reach_almost_no_context() -> None:
    """At any size; the closed form of nearest_head is not for such tokens at all."""
    P = rb.random_context(4, seed=0)
    for X, got in ((np.eye(3, 4), "(3, 4)"), (np.ones((5, 4)), "(5, 4)")):
        assert rb.least_head_size(P, X=X) == math.inf
        with refused(rb.NotRepresentable, "no head of any size", "= 0 fails by"):
            rb.represent(P, X=X)
        with refused(rb.InputError, f"X is {got}", "expected full column rank 4", "closed form"):
            rb.nearest_head(P, 1, X=X)


def test_what_the_user_drops_is_not_counted_as_rounding() -> None:
    """A wide rtol decides a smaller head, which then does not have P: no such head is returned."""
    P = rb.random_context(6, seed=0)
    with pytest.raises(rb.Undecided, match="take a smaller rtol="):
        rb.represent(P, head_size=5, rtol=0.3)


def test_entries_near_underflow_are_undecided() -> None:
    """One entry whose logarithm is unknown would raise the threshold above all others."""
    P = rb.random_context(6, seed=0)
    P[0, 0] = 5e-324
    P /= P.sum(axis=0)
    for ask in (rb.log_rank, rb.least_head_size, rb.represent):
        with pytest.raises(rb.Undecided, match="near the smallest positive number") as caught:
            ask(P)
        assert (caught.value.bounds.lower, caught.value.bounds.upper) == (4, 5)
        assert "logits=" in caught.value.remedy
    assert rb.least_head_size(logits=np.log(P)) == 5


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_transposed_context_is_refused_in_low_precision_too(dtype: Any) -> None:
    """The bound on column sums is wide there; rows that sum to 1 far better give it away."""
    P = rb.random_head(8, 4, 3).context(0.5 * rb.random_tokens(8, 1024, 4)).astype(dtype)
    assert rb.log_rank(P) <= 4
    with pytest.raises(rb.InputError, match="rows=True"):
        rb.log_rank(P.T)


def test_logits_are_the_remedy_for_a_common_part_of_the_keys() -> None:
    """Logits of size 10^3 and differences of size 1: P lost the digits, the logits did not."""
    rng = np.random.default_rng(0)
    head = rb.AttentionHead(
        W_q=rng.standard_normal((4, 32)), W_k=rng.standard_normal((4, 32)) + 1e3
    )
    assert rb.log_rank(logits=head.logits()) == 4
    assert rb.log_rank(head.context(), stored=np.float64) > 4  # as log_rank's documentation says
    with refused(rb.Undecided, "is 4 if the data was computed in float32", "stored="):
        rb.log_rank(head.context())


def test_nearest_head_on_ill_conditioned_tokens_is_undecided() -> None:
    X = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0] * np.logspace(0, -12, 8)
    with pytest.raises(rb.Undecided, match="X is ill-conditioned"):
        rb.nearest_head(rb.random_context(8, 0), 7, X=X)
