"""Any tokens under any mask: existence against the definition, dimensions, and what is returned."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sympy

import rankbound as rb
from rankbound.theory import any_tokens
from rankbound.theory.any_tokens import masked_representation, orthogonal_weights
from rankbound.theory.theorem_b import unreachability_certificate
from rankbound.tokens import read_tokens
from tests.certificates.build import exact, rank
from tests.helpers import refused

Ints = npt.NDArray[np.int64]


def small_case(seed: int) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """Integer tokens of rank < n, logits of which about half are a head's, a mask."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    d = int(rng.integers(1, n))
    X = rng.integers(-2, 3, (d, n))
    mask = rb.causal_mask(n)
    if seed % 3:
        mask = (rng.random((n, n)) < rng.choice([0.5, 0.7, 0.9])) | np.eye(n, dtype=np.bool_)
    L = rng.integers(-3, 4, (n, n))
    if seed % 2:
        L = X.T @ rng.integers(-2, 3, (d, d)) @ X + rng.integers(-3, 4, (1, n))
    return X, L, mask


def exists(X: Ints, L: Ints, mask: npt.NDArray[np.bool_]) -> bool:
    """``X^T M X + 1 c^T = L`` on the mask has a solution (M, c), by elimination in Fractions."""
    d, n = X.shape
    shown = [(i, j) for j in range(n) for i in range(n) if mask[i, j]]
    A = [
        [int(X[a, i] * X[b, j]) for a in range(d) for b in range(d)]
        + [int(j == q) for q in range(n)]
        for i, j in shown
    ]
    extended = [[*row, int(L[i, j])] for row, (i, j) in zip(A, shown, strict=True)]
    return rank(exact(A)) == rank(exact(extended))


def decided(**given: Any) -> tuple[float, float]:
    """Bounds of the least head size."""
    try:
        least = rb.least_head_size(**given)
        return least, least
    except rb.Undecided as undecided:
        bounds = undecided.bounds
        assert bounds is not None
        return int(bounds.lower), int(bounds.upper)


@pytest.mark.parametrize("part", range(20))
def test_existence_is_that_of_the_definition(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand cases in twenty parts: exact numbers, floats, and the proof of either answer."""
    monkeypatch.setattr(any_tokens, "MOST_SEARCHED", 0)  # for smaller heads, where there is one
    for seed in range(50 * part, 50 * part + 50):
        X, L, mask = small_case(seed)
        truth = exists(X, L, mask)
        lower, upper = decided(logits=L.tolist(), X=X.tolist(), mask=mask)
        assert truth == (not math.isinf(upper)) and lower <= upper, seed
        P = rb.column_softmax(L.astype(float), mask=mask)
        in_floats = decided(P=P, X=X.astype(float), mask=mask)
        assert truth == (not math.isinf(in_floats[1])), seed
        table = [[Fraction(int(x)) for x in row] for row in L]
        head = masked_representation(table, read_tokens(X.tolist()), mask)
        weights = unreachability_certificate(logits=L.tolist(), X=X.tolist(), mask=mask)
        assert (head is not None) == truth == (weights is None), seed
        assert rb.check(head if truth else weights).accepted
        near = unreachability_certificate(P, X=X.tolist(), mask=mask, ratio=1e-9)
        assert (near is None) == truth, seed


@pytest.mark.parametrize("seed", range(60))
def test_the_head_that_is_returned_has_the_context(seed: int) -> None:
    X, L, mask = small_case(2 * seed + 1)
    P = rb.column_softmax(L.astype(float), mask=mask)
    lower, upper = decided(P=P, X=X.astype(float), mask=mask)
    head = rb.represent(P, X=X, mask=mask, head_size=max(int(upper), 1))
    np.testing.assert_allclose(head.context(X, mask=mask), P, rtol=1e-8, atol=0)
    if lower > 1:
        with pytest.raises(rb.NotRepresentable, match="no head of size"):
            rb.represent(P, X=X, mask=mask, head_size=int(lower) - 1)
    if 1 <= lower < upper:
        with pytest.raises(rb.Undecided, match="not unique"):
            rb.represent(P, X=X, mask=mask, head_size=int(lower))
        with pytest.raises(rb.Undecided, match="not unique"):
            rb.represent(P, X=X, mask=mask)


@pytest.mark.parametrize("n", [3, 4, 6, 9, 12])
def test_one_missing_dimension_is_forgiven(n: int) -> None:
    """Causal, d = n - 1: every P is reached, at floor(n/2); without the mask none is."""
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n - 1, n))
    P = rb.random_context(n, seed=n, law="causal")
    assert rb.least_head_size(P, X=X, mask="causal") == n // 2
    head = rb.represent(P, X=X, mask="causal")
    assert head.head_size == max(n // 2, 1)
    shown = rb.causal_mask(n)
    np.testing.assert_allclose(head.context(X, mask=shown)[shown], P[shown], rtol=1e-8)
    assert rb.least_head_size(rb.random_context(n, seed=n), X=X) == math.inf


def test_two_missing_dimensions_are_not() -> None:
    n = 7
    X = np.random.default_rng(0).standard_normal((n - 2, n))
    P = rb.random_context(n, seed=0, law="causal")
    assert rb.least_head_size(P, X=X, mask="causal") == math.inf
    with pytest.raises(rb.NotRepresentable, match="most for query"):
        rb.represent(P, X=X, mask="causal")


@pytest.mark.parametrize(("n", "d", "k"), [(9, 4, 2), (12, 5, 3), (16, 4, 4)])
def test_where_the_weights_are_unique_the_size_is_known(n: int, d: int, k: int) -> None:
    """n >= 2d tokens: the rank of the head's weights, which no other head shares."""
    rng = np.random.default_rng([n, d])
    X, A, B = rng.standard_normal((d, n)), *rng.standard_normal((2, k, d))
    P = rb.column_softmax((A @ X).T @ (B @ X), mask="causal")
    assert rb.least_head_size(P, X=X, mask="causal") == k
    Z = rng.integers(-3, 4, (d, n))
    M = rng.integers(-2, 3, (d, k)) @ rng.integers(-2, 3, (k, d))
    L = Z.T @ M @ Z
    assert rb.least_head_size(logits=L.tolist(), X=Z.tolist(), mask="causal") == int(
        sympy.Matrix(M.tolist()).rank()
    )


@pytest.mark.parametrize("mask", ["causal", "prefix:2"])
def test_exact_tokens_whose_weights_are_unique_have_a_head(mask: str) -> None:
    """Found over the rationals, and built on the tokens that it was found on."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        X, M = rng.integers(-5, 6, (2, 4)), rng.integers(-3, 4, (2, 2))
        logits = (X.T @ M @ X).tolist()
        head = rb.represent(logits=logits, X=X.tolist(), mask=mask, head_size=2)
        P = rb.column_softmax(logits, mask=mask)
        np.testing.assert_allclose(head.context(X, mask=mask), P, rtol=1e-9)


def test_a_bias_is_a_gauge() -> None:
    """With 1 in the row space M + w u^T has the same context, of one rank less perhaps."""
    rng = np.random.default_rng(0)
    X = np.vstack([np.ones((1, 12), np.int64), rng.integers(-3, 4, (3, 12))])
    M = np.zeros((4, 4), np.int64)
    M[0] = [1, 2, 3, 4]  # only constants in each column
    M[1, 2] = 1
    given = {"logits": (X.T @ M @ X).tolist(), "X": X.tolist(), "mask": "causal"}
    assert rb.least_head_size(**given) == 1
    P = rb.column_softmax((X.T @ M @ X).astype(float), mask="causal")
    assert rb.least_head_size(P, X=X, mask="causal") == 1


@pytest.mark.parametrize("ones", [False, True])
@pytest.mark.parametrize("d", range(1, 7))
def test_dimensions_of_causal_attention(d: int, ones: bool) -> None:
    for n in range(1, 2 * d + 4):
        X = np.random.default_rng([d, n]).integers(-50, 51, (d, n))
        if ones:
            X[0] = 1
        found = rb.reachable_dimension(X, mask="causal")
        assert found == rb.causal_dimension(n, d, holds_ones=ones), n
        W = orthogonal_weights(read_tokens(X), rb.causal_mask(n))
        assert len(W) == n * (n - 1) // 2 - found
        for weights in W:
            table = sympy.Matrix(weights)
            assert (sympy.Matrix(X.tolist()) * table * sympy.Matrix(X.tolist()).T).is_zero_matrix
            assert not any(sum(column) for column in zip(*weights, strict=True))
            assert table.is_upper


def test_without_a_mask_the_dimension_is_that_of_the_weights() -> None:
    for d, n in ((1, 2), (2, 3), (3, 5), (4, 9)):
        X = np.random.default_rng(n).integers(-9, 10, (d, n))
        assert rb.reachable_dimension(X) == d * d
    assert rb.reachable_dimension(np.eye(4)) == 12
    assert rb.reachable_dimension(np.zeros((2, 3))) == rb.reachable_dimension([[1]]) == 0


def test_nearly_dependent_tokens_are_right_or_undecided() -> None:
    """Two tokens that differ by 1e-9 tell their queries apart; P computed in floats says little."""
    right = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n, d = 8, 3
        X = rng.standard_normal((d, n))
        X[:, 1] = X[:, 0] + 10.0 ** -float(rng.integers(4, 14)) * rng.standard_normal(d)
        A, B = rng.standard_normal((2, 2, d))
        P = rb.column_softmax((A @ X).T @ (B @ X), mask="causal")
        try:
            assert rb.least_head_size(P, X=X, mask="causal") <= 2, seed
            right += 1
        except rb.Undecided as undecided:
            assert undecided.bounds is None or undecided.bounds.lower <= 2
    assert right


def test_sizes_beyond_the_solver_are_refused() -> None:
    with refused(rb.Undecided, "coefficients", "at most"):
        rb.reachable_dimension(np.random.default_rng(0).standard_normal((20, 60)), mask="causal")


def test_rounding_may_leave_open_whether_there_is_a_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The least size is bounded all the same; no tokens were found that lead there."""
    X, least = rb.random_tokens(3, 6, 0), any_tokens._least
    P = rb.random_head(3, 2, 0).context(X, "causal")
    monkeypatch.setattr(
        any_tokens, "_least", lambda *given: replace(least(*given), doubtful=True, reason="nearly")
    )
    with pytest.raises(rb.Undecided, match="nearly; but rounding") as raised:
        rb.least_head_size(P, X=X, mask="causal")
    bounds = raised.value.bounds
    assert (bounds.lower, bounds.upper) == (2, 5)
    assert (bounds.verdict, bounds.method) == (rb.Verdict.SUPPORTED, "Theorem C; if any head has P")
    assert raised.value.remedy == "exact logits and tokens"


def test_weights_beyond_float64_prove_as_well() -> None:
    """The exact weights of tokens in floats have more digits than a float has powers of ten."""
    P = rb.random_context(6, seed=1, law="causal")
    X = rb.random_tokens(4, 6, 0)
    certificate = unreachability_certificate(P, X=X, mask="causal")
    assert certificate is not None
    assert rb.check(certificate).accepted
