"""Theorem B: which contexts a head on tokens of any rank has, and the least size of one.

The independent side is linear algebra over the rationals: the logits of heads on X are the
matrices X^T M X, so P has a head iff ``log P + 1 c^T = X^T M X`` is solvable in (c, M). Nothing of
Theorem B (projectors, a forced gauge) enters that.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.attention.softmax import log_column_softmax
from tests.helpers import EPS, Array, refused, sympy_rank

SEEDS = st.integers(0, 2**32 - 1)
INTS = st.integers(-3, 3)
Ints = npt.NDArray[np.int64]


def table(rows: int, columns: int) -> st.SearchStrategy[Ints]:
    row = st.lists(INTS, min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows).map(lambda x: np.array(x, dtype=np.int64))


@st.composite
def deficient_tokens(draw: Any, n: int) -> Ints:
    """Integer tokens whose rank is below n, each way of being so."""
    kind = draw(st.sampled_from(["wide", "product", "repeated", "zero token", "affine", "zero"]))
    if kind == "zero" or n == 1:
        return np.zeros((draw(st.integers(1, 3)), n), dtype=np.int64)
    if kind == "wide":
        return draw(table(draw(st.integers(1, n - 1)), n))  # type: ignore[no-any-return]
    if kind == "product":
        r, d = draw(st.integers(1, n - 1)), draw(st.integers(n, n + 1))
        return np.asarray(draw(table(d, r)) @ draw(table(r, n)))
    if kind == "affine":  # 1 is in the row space
        inner = draw(table(draw(st.integers(1, max(n - 2, 1))), n))
        rows = np.vstack([inner, np.ones((1, n), dtype=np.int64)])
        return np.asarray(rows[: n - 1] if n > 2 else rows[1:])
    X = draw(table(n, n))
    X[:, draw(st.integers(1, n - 1))] = X[:, 0] if kind == "repeated" else 0
    return np.asarray(X)


@st.composite
def exact_cases(draw: Any) -> tuple[Ints, Ints]:
    """Tokens and integer logits, about half of them those of a head on the tokens."""
    n = draw(st.integers(1, 4))
    X = draw(deficient_tokens(n))
    d, free = len(X), draw(table(1, n))
    kind = draw(st.sampled_from(["head", "head", "left", "right", "any"]))
    L = X.T @ draw(table(d, d)) @ X
    if kind == "left":  # N L = 0 alone
        L = L + X.T @ draw(table(d, n))
    elif kind == "right":  # L N = 0 alone
        L = L + draw(table(n, d)) @ X
    elif kind == "any":
        L = draw(table(n, n))
    return X, np.asarray(L + free)


def truth(X: Ints, L: Ints) -> float:
    """The least head size by its definition.

    Solve for the gauge: an equation for each entry of L, linear in the entries of M and c. If
    there is a solution, the least rank of L + 1 c^T over those c. Of a solution L' the others are
    L' + 1 v^T with 1 v^T = X^T M X, that is, v in the row space of X and 1 in it too; then taking
    v = -(row i of L') is allowed, and rank(L' - 1·row i) = rank(differences of rows), which no
    gauge changes: a lower bound that is reached.
    """
    d, n = X.shape
    heads = np.array([np.outer(X[a], X[b]).ravel() for a in range(d) for b in range(d)])
    gauges = np.array([np.eye(n, dtype=np.int64)[j][None].repeat(n, 0).ravel() for j in range(n)])
    A = sympy.Matrix(np.vstack([heads, gauges]).T.tolist())
    b = sympy.Matrix(L.ravel().tolist())
    if A.rank() < A.row_join(b).rank():
        return math.inf
    solution, parameters = A.gauss_jordan_solve(b)
    gauge = solution.subs(dict.fromkeys(parameters, 0))[d * d :]
    reached = sympy.Matrix(L.tolist()) - sympy.ones(n, 1) * sympy.Matrix([gauge])
    ones = sympy.ones(1, n)
    if sympy.Matrix(X.tolist()).col_join(ones).rank() > sympy_rank(X.tolist()):
        return int(reached.rank())  # no 1 v^T is a head's, v = 0 apart: the gauge is unique
    ranks = {(reached - sympy.ones(n, 1) * reached.row(i)).rank() for i in range(n)}
    assert len(ranks) == 1
    return int(ranks.pop())


def b20_tokens() -> list[Any]:
    return [[[1, 0]], np.array([[1, 0]]), np.array([[1.0, 0.0]]), sympy.Matrix([[1, 0]])]


@pytest.mark.parametrize("X", b20_tokens(), ids=["list", "ints", "floats", "sympy"])
def test_the_example_of_b20(X: Any) -> None:
    """d = 1, n = 2: column 2 is (1/2, 1/2) whatever the weights; column 1 is free."""
    assert rb.least_head_size([[0.5, 0.75], [0.5, 0.25]], X=X) == math.inf
    assert rb.least_head_size([[0.6, 0.5], [0.4, 0.5]], X=X) == 1
    assert rb.least_head_size([[0.5, 0.5], [0.5, 0.5]], X=X) == 0
    head = rb.represent([[0.6, 0.5], [0.4, 0.5]], X=X)
    assert (head.head_size, head.d) == (1, 1)
    np.testing.assert_allclose(head.context([[1, 0]]), [[0.6, 0.5], [0.4, 0.5]], rtol=16 * EPS)
    with refused(rb.NotRepresentable, "no head of any size", "query 1"):
        rb.represent([[0.5, 0.75], [0.5, 0.25]], X=X)
    log2 = sympy.log(2) * sympy.Matrix([[0, 1], [0, 0]])
    assert rb.least_head_size(logits=log2, X=X) == math.inf
    assert rb.least_head_size(logits=log2.T, X=X) == 1
    assert rb.least_head_size(logits=sympy.log(2) * sympy.Matrix([[1, 3], [0, 3]]), X=X) == 1


@settings(max_examples=100)
@given(exact_cases())
def test_agrees_with_linear_algebra_over_the_rationals(pair: tuple[Ints, Ints]) -> None:
    """Exactly for exact logits and tokens; in floats small integers leave no doubt either."""
    X, L = pair
    expected = truth(X, L)
    assert rb.least_head_size(logits=L, X=X) == expected
    assert rb.least_head_size(logits=sympy.Matrix(L.tolist()) / 3, X=X.tolist()) == expected
    floats = X.astype(np.float64)
    assert rb.least_head_size(logits=L, X=floats) == expected
    assert rb.least_head_size(logits=L.astype(np.float64), X=X) == expected
    assert rb.least_head_size(logits=L / 8, X=floats) == expected
    P = rb.column_softmax(L / 8)
    assert rb.least_head_size(P, X=X) == rb.least_head_size(P, X=floats) == expected


@settings(max_examples=60)
@given(exact_cases())
def test_represent_keeps_its_promise(pair: tuple[Ints, Ints]) -> None:
    """At the least size and above it; one less is refused, and so is all where there is no head."""
    X, L = pair
    least = truth(X, L)
    P = rb.column_softmax(L / 8)
    for given_as in ({"P": P}, {"logits": [[Fraction(int(x), 8) for x in row] for row in L]}):
        if least == math.inf:
            unreachable(given_as, X)
            continue
        for size in (None, max(int(least), 1) + 2):
            head = rb.represent(X=X, head_size=size, **given_as)
            assert head.head_size == (size or max(least, 1))
            np.testing.assert_allclose(head.context(X), P, rtol=1e-10, atol=0)
        if least > 1:
            too_small(given_as, X, int(least))


def unreachable(given_as: dict[str, Any], X: Any, *parts: str) -> str:
    with pytest.raises(rb.NotRepresentable) as caught:
        rb.represent(X=X, **given_as)
    error = caught.value
    assert error.least_head_size == math.inf
    assert error.reason in str(error)
    for part in ("no head of any size", " = 0 fails", "for query ", *parts):
        assert part in str(error)
    return error.reason


def too_small(given_as: dict[str, Any], X: Any, least: int) -> None:
    with pytest.raises(rb.NotRepresentable, match=f"least head size is {least}") as caught:
        rb.represent(X=X, head_size=least - 1, **given_as)
    assert caught.value.least_head_size == least


def spread(d: int, n: int, rank: int, seed: int) -> Array:
    """Tokens of this rank, exactly: factors of 20 bits. Their singular values are about 1 to 2."""
    left, right = rounded_factors(d, n, rank, seed)
    X = np.asarray(left @ right.T)
    assert int(rb.exact_rank(X, floats="exact")) == rank
    return X


def rounded_factors(d: int, n: int, rank: int, seed: int, bits: int = 20) -> tuple[Array, Array]:
    left, right = (
        np.linalg.qr(np.random.default_rng([seed, m]).standard_normal((m, rank)))[0] for m in (d, n)
    )
    return (
        np.rint(np.ldexp(left * np.linspace(1, 2, rank), bits)) / 2.0**bits,
        np.rint(np.ldexp(right, bits)) / 2.0**bits,
    )


def with_ones(X: Array) -> Array:
    """A row of ones appended (what biases on keys and queries do): 1 in the row space."""
    return np.vstack([X, np.ones((1, X.shape[1]))])


def head_on(X: Array, k: int, seed: int) -> rb.AttentionHead:
    """A head of well-conditioned projections, so that its ranks are beyond doubt."""
    keys, queries = np.random.default_rng(seed).standard_normal((2, len(X), len(X)))
    return rb.AttentionHead(np.linalg.qr(queries)[0][:k], np.linalg.qr(keys)[0][:k], scale=1.0)


SHAPES = [(4, 8, 4), (6, 8, 3), (10, 8, 5), (8, 8, 7), (20, 33, 16), (1, 5, 1)]


@pytest.mark.parametrize(("d", "n", "r"), SHAPES)
@pytest.mark.parametrize("inside", [False, True])
def test_the_context_of_a_head_needs_its_size(d: int, n: int, r: int, inside: bool) -> None:
    """Or what tokens and gauge leave of it.

    Logits X^T M X of a generic M of rank k have rank min(k, r). Where 1 is not in the row space
    they are the only ones. Where it is, one dimension of the keys is constant over tokens, hence
    gauge: min(k, r - 1), r the rank with the row of ones.
    """
    X = spread(d, n, r, seed=n)
    if inside:
        X, r = with_ones(X), r + 1
    for k in sorted({1, max(r // 2, 1), max(r - 1, 1), min(r, len(X))}):
        P = head_on(X, k, seed=k).context(X)
        least = min(k, r - 1) if inside else min(k, r)
        assert rb.least_head_size(P, X=X) == least
        head = rb.represent(P, X=X)
        assert (head.head_size, head.d) == (max(least, 1), len(X))
        np.testing.assert_allclose(head.context(X), P, rtol=1e-10, atol=0)
        if least > 1:
            too_small({"P": P}, X, least)


@pytest.mark.parametrize(("d", "n", "r"), SHAPES)
@pytest.mark.parametrize("inside", [False, True])
def test_a_random_context_has_no_head(d: int, n: int, r: int, inside: bool) -> None:
    X = spread(d, n, r, seed=n)
    X = with_ones(X) if inside else X
    if rb.numerical_rank(X) < n:
        P = rb.random_context(n, seed=d)
        assert rb.least_head_size(P, X=X) == math.inf
        unreachable({"P": P}, X)


@pytest.mark.parametrize("kind", ["repeated", "zero"])
def test_repeated_and_zero_tokens(kind: str) -> None:
    """A repeated token has the same column and row of P; a zero token a uniform column."""
    n = 7
    X = spread(9, n, n, seed=0)
    X[:, 5] = X[:, 2] if kind == "repeated" else 0
    P = head_on(X, 3, seed=0).context(X)
    assert rb.least_head_size(P, X=X) == 3
    Q = rb.random_context(n, seed=0)
    reason = unreachable({"P": Q}, X)
    if kind == "zero":  # the gauge makes its row 0, and its column is not
        assert "L N = 0" in reason
        assert "query 5," in reason
        Q[:, 5] = 1 / n
        assert rb.least_head_size(Q, X=X) == n - 1  # the other six span everything
    else:
        assert "N L = 0" in reason
        # rows agree: N L = 0 holds, and L N does not
        Q[[2, 5]] = Q[[2, 5]].mean(axis=0)
        reason = unreachable({"P": Q}, X)
        assert "L N = 0" in reason
        assert "query 2" in reason or "query 5" in reason  # by as much
        Q[:, 5] = Q[:, 2]
        assert (
            rb.least_head_size(Q, X=X) == n - 2
        )  # distinct tokens less the gauge's one: B, 1 inside
    np.testing.assert_allclose(rb.represent(P, X=X).context(X), P, rtol=1e-10, atol=0)


def test_zero_tokens_alone() -> None:
    """Every head is uniform on them."""
    X = np.zeros((3, 4))
    assert rb.least_head_size(np.full((4, 4), 0.25), X=X) == 0
    np.testing.assert_allclose(rb.represent(np.full((4, 4), 0.25), X=X).context(X), 0.25)
    assert rb.least_head_size(rb.random_context(4, 0), X=X) == math.inf
    assert rb.least_head_size(logits=[[1, 2], [1, 2]], X=[[0, 0]]) == 0
    assert rb.least_head_size(logits=[[1, 2], [1, 3]], X=[[0, 0]]) == math.inf
    assert rb.least_head_size([[1.0]], X=[[0.0]]) == 0


# metamorphic: what is added is useless, and the answer must not move
@given(st.sampled_from([1, 2, 3, 5]), SEEDS, st.booleans(), st.data())
def test_useless_structure(k: int, seed: int, inside: bool, data: st.DataObject) -> None:
    n = 6
    X = spread(5, n, 4, seed)
    X = with_ones(X) if inside else X
    P = head_on(X, min(k, len(X)), seed).context(X)
    Q = P.copy()
    Q[0, 1] *= 1.5
    Q /= Q.sum(axis=0)
    order = data.draw(st.permutations(range(n)))
    # of full column rank, so invertible on X, and of so few bits that G X is exact
    G = np.rint(16 * spread(len(X) + 2, len(X), len(X), seed + 1)) / 16
    least = min(k, 4)  # of 4 + inside dimensions the gauge takes one where 1 is inside
    for tokens in (
        X,
        G @ X,
        np.vstack([X, np.zeros((2, n))]),
        np.vstack([X[:1], X]),
        np.ldexp(X, data.draw(st.integers(-400, 400))),
    ):
        assert rb.least_head_size(P, X=tokens) == least
        assert rb.least_head_size(Q, X=tokens) == math.inf
        assert rb.represent(P, X=tokens).head_size == least
    moved = np.ix_(order, order)
    assert rb.least_head_size(P[moved], X=X[:, order]) == least
    assert rb.least_head_size(Q[moved], X=X[:, order]) == math.inf
    assert rb.least_head_size(P.T, X=X, rows=True) == least
    logits = head_on(X, min(k, len(X)), seed).logits(X) + np.random.default_rng(seed).normal(size=n)
    assert rb.least_head_size(logits=logits, X=X) == least
    assert rb.least_head_size(logits=np.ldexp(logits, 1000), X=X) == least


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("query", [0, 4, 7])
def test_near_the_reachable_set(query: int, inside: bool) -> None:
    """Off it by 10^-6 in one entry: none, and the reason names the query. By rounding: as before.

    N L then has that column alone, of norm 10^-6 times the distance of e_0 from the row space (and
    from 1, if the gauge is forced).
    """
    n = 8
    X = spread(6, n, 5, seed=2)
    X = with_ones(X) if inside else X
    P = head_on(X, 3, seed=1).context(X)
    N = np.eye(n) - np.linalg.pinv(X) @ X
    off = P.copy()
    off[0, query] *= 1 + 1e-6
    off /= off.sum(axis=0)
    with pytest.raises(rb.Undecided, match=r"rounding of float32.*Pass stored="):
        rb.least_head_size(off, X=X)
    assert rb.least_head_size(off, X=X, stored=np.float64) == math.inf
    reason = unreachable({"P": off, "stored": np.float64}, X, "N L = 0", f"query {query},")
    assert ("gauge that N 1 forces" if not inside else "any gauge, as N 1 = 0") in reason
    column = N[:, 0].copy()
    if not inside:
        ones = N.sum(axis=1)
        column -= ones * (ones @ column) / (ones @ ones)
    size = float(reason.split("fails by ")[1].split(" ")[0])
    assert size == pytest.approx(1e-6 * np.linalg.norm(column), rel=0.01)  # printed to 3 digits
    near = P.copy()
    near[0, query] *= 1 + 1e-15
    assert rb.least_head_size(near, X=X) == 3
    assert rb.least_head_size(near / near.sum(axis=0), X=X) == 3


@pytest.mark.parametrize("inside", [False, True])
def test_the_second_condition_is_named_with_its_worst_query(inside: bool) -> None:
    """Logits X^T M: N L = 0 whatever M is, and L N fails most where |M N| is largest."""
    n = 8
    X = spread(6, n, 5, seed=3)
    X = with_ones(X) if inside else X
    M = np.random.default_rng(0).standard_normal((len(X), n))
    N = np.eye(n) - np.linalg.pinv(X) @ X
    L = X.T @ M
    residual = (L - L.mean(axis=0) if inside else L) @ N
    worst = int(np.argmax(np.linalg.norm(residual, axis=0)))
    reason = unreachable({"P": rb.column_softmax(L)}, X, "L N = 0", f"most for query {worst},")
    size = float(reason.split("fails by ")[1].split(" ")[0])
    assert size == pytest.approx(np.linalg.norm(residual), rel=0.01)


@settings(max_examples=30)
@given(exact_cases())
def test_the_exact_reason_names_a_query_that_fails(pair: tuple[Ints, Ints]) -> None:
    """With that query's condition alone, in rationals: column j of N L (or of L N) is not 0."""
    X, L = pair
    if truth(X, L) < math.inf:
        return
    reason = unreachable({"logits": L}, X, "fails exactly")
    query = int(reason.split("for query ")[1].split(",")[0])
    # a context that differs from the head's in other queries only does not fail N L for this one
    if "N L" in reason:
        column = L[:, [query]]
        rows = np.hstack([X.T, np.ones((len(L), 1), dtype=np.int64)])
        assert sympy_rank(np.hstack([rows, column]).tolist()) > sympy_rank(rows.tolist())
    else:
        assert "L N" in reason


@given(st.integers(1, 5), SEEDS)
def test_rtol_counts_values_above_it(k: int, seed: int) -> None:
    """Times the largest of the logits that count: of C log P, 1 being in the row space."""
    X = with_ones(spread(6, 9, 5, seed))
    P = head_on(X, k, seed).context(X)
    D = np.log(P) - np.log(P).mean(axis=0)
    values = np.linalg.svd(D, compute_uv=False)
    rtol = float(np.sqrt(values[k - 1] * values[k // 2]) / values[0]) * 0.99
    assert rb.least_head_size(P, X=X, rtol=rtol) == np.sum(values > rtol * values[0])


def test_low_precision_widens_the_tolerance() -> None:
    """Tokens and contexts rounded to float32 are reached; taken for float64 they are not."""
    X = spread(6, 8, 5, seed=0)
    P = head_on(X, 3, seed=0).context(X)
    P32 = P.astype(np.float32)
    assert rb.least_head_size(P32, X=X) == 3
    cast = P32.astype(np.float64)
    cast /= cast.sum(axis=0)
    assert rb.least_head_size(cast, X=X, stored=np.float32) == 3
    assert rb.least_head_size(cast, X=X, stored=np.float64) == math.inf
    with pytest.raises(rb.Undecided, match="rounding of float32") as caught:
        rb.least_head_size(cast, X=X)
    assert caught.value.bounds.lower == 3
    assert rb.represent(P32, X=X).head_size == 3


@pytest.mark.parametrize("f", [rb.least_head_size, rb.represent])
def test_tokens_too_many_for_exact_numbers_are_undecided_where_rounding_counts(
    f: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between what is found at the numerical rank and the shape."""
    X = spread(6, 8, 5, seed=0)
    P = head_on(X, 3, seed=0).context(X)
    monkeypatch.setattr("rankbound.tokens.MOST_EXACT", X.size - 1)
    words = r"X has rank 5 to rounding, and .*\(found: 3\)\. Pass exact tokens"
    with pytest.raises(rb.Undecided, match=words) as caught:
        f(P, X=X.astype(np.float32))
    bounds = caught.value.bounds
    assert bounds is not None and (bounds.lower, bounds.upper) == (3, 7)
    assert rb.least_head_size(P, X=X) == 3  # rounding leaves no doubt


def test_tokens_whose_rank_rounding_leaves_open() -> None:
    """Rounded to float32, tokens of rank 5 have rank 6, and no head has P on them as they are."""
    X = spread(6, 8, 5, seed=0)
    P = head_on(X, 3, seed=0).context(X)
    for f in (rb.least_head_size, rb.represent):
        with pytest.raises(rb.Undecided, match="rank 5 to rounding and 6 as the exact numbers"):
            f(P, X=X.astype(np.float32))
    left, right = rounded_factors(10, 8, 5, 0, bits=50)  # their product is rounded
    X = left @ right.T
    assert (rb.numerical_rank(X), int(rb.exact_rank(X, floats="exact"))) == (5, 8)
    Q = rb.random_context(8, seed=0)  # as given, weights of 1e16 have it; to rounding, none do
    with pytest.raises(rb.Undecided, match="rank 5 to rounding and 8 as the exact numbers"):
        rb.least_head_size(Q, X=X)
    P = head_on(X, 3, seed=0).context(X)  # both ways it is 3
    assert rb.least_head_size(P, X=X) == 3
    np.testing.assert_allclose(rb.represent(P, X=X).context(X), P, rtol=1e-10, atol=0)


@pytest.mark.parametrize("offset", [1.0, 1e3, 1e6, 2e7, 1e8, 1e9])
def test_a_row_that_is_lost_beside_another_in_rounding(offset: float) -> None:
    """X = [1; offset + (0, 0, 1, 1, 3, 3)]: a head of size 1 has its context, whatever the offset.

    Over the rationals the row space is that of [1; (0, 0, 1, 1, 3, 3)].
    """
    X = np.array([[1.0] * 6, [offset + v for v in (0, 0, 1, 1, 3, 3)]])
    P = rb.AttentionHead([[1, 0]], [[0, 1]]).context(X)
    assert rb.least_head_size(P, X=X) == 1
    head = rb.represent(P, X=X, ratio=1e-8 if offset < 1e8 else 1e-6)
    assert head.head_size == 1
    assert np.max(np.abs(np.log(head.context(X)) - np.log(P))) <= (2e-8 if offset < 1e8 else 2e-6)


def test_tokens_of_norms_that_are_far_apart() -> None:
    """Columns 10^15 and 10^-20 times as long as others are independent all the same."""
    P = rb.random_context(4, seed=0)
    for scales in ([1, 1e15, 1, 1], [1e-20, 1, 1, 1e-8], [2.0**-900, 1, 2.0**60, 1]):
        X = np.vstack([np.diag(scales)[[2, 0, 3, 1]], np.zeros((1, 4))])
        assert rb.least_head_size(P, X=X) == 3
        head = rb.represent(P, X=X)
        assert np.max(np.abs(np.log(head.context(X)) - np.log(P))) <= 2e-8
        # weights in float64 cannot cancel such a range in a general position
        try:
            assert rb.least_head_size(P, X=rb.random_tokens(5, 4, 0) @ np.diag(scales)) == 3
        except rb.Undecided as undecided:
            assert "as the exact numbers it holds" in str(undecided)
    Q = rb.random_context(4, seed=1)
    X = np.array([[1.0, 0, 0, 1], [0, 1e15, 0, 0]])  # of rank 2: as exact numbers, and in floats
    assert rb.least_head_size(Q, X=X) == math.inf


def test_a_gauge_that_is_almost_free() -> None:
    """Where float64 cannot tell whether 1 is in the row space, that is decided exactly."""
    X = np.array([[3.0, 0, 3, 1], [3, 2, 2, 2], [0, 0, 0, 2]]) + 1e7
    P = rb.AttentionHead([[0, 1, 0]], [[-1, 1, -1]], scale=2**-25).context(X)
    assert rb.least_head_size(P, X=X) == 1
    assert rb.represent(P, X=X).head_size == 1
    x: list[Any] = [1, 1, 1 + 2**-52]
    L: list[list[Any]] = [[0] * 3, [0] * 3, x]
    assert rb.least_head_size(logits=L, X=[x]) == 1
    assert rb.least_head_size(logits=[[Fraction(entry) for entry in row] for row in L], X=[x]) == 1
    assert rb.least_head_size(rb.column_softmax(L), X=[x]) == 1


@settings(max_examples=60)
@given(exact_cases(), st.integers(1, 10**9), st.integers(-30, 30))
def test_right_or_undecided_however_tokens_are_mixed(
    pair: tuple[Ints, Ints], factor: int, exponent: int
) -> None:
    """Adding a multiple of one row to another, exactly in float64, leaves the row space alone."""
    X, L = pair
    expected, mixed = truth(X, L), X.astype(np.float64)
    if len(X) > 1:
        mixed[-1] = mixed[-1] * 2.0**exponent
        mixed[0] += factor * X[-1]
    P = rb.column_softmax(L / 8)
    for given_as in ({"P": P}, {"logits": L / 8}, {"logits": L}):
        try:
            assert rb.least_head_size(X=mixed, **given_as) == expected
        except rb.Undecided:
            assert len(X) > 1
    try:
        head = rb.represent(P, X=mixed)
    except (rb.Undecided, rb.NotRepresentable) as error:
        assert isinstance(error, rb.Undecided) or expected == math.inf
    else:
        assert np.max(np.abs(np.log(head.context(mixed)) - np.log(P))) <= 1.1e-8


def test_a_head_is_never_returned_outside_its_ratio() -> None:
    """The forced gauge blows the error of the data up; the promise is about log P.

    Which of these fit hangs on the last bits of exp and log, which versions of NumPy differ in.
    """
    undecided = 0
    for bits in range(30, 51):
        x = np.array([1, 1, 1 + 2.0**-bits])
        P = rb.column_softmax(np.outer(2.0**bits * (x - 1), x))
        try:
            head = rb.represent(P, X=[x])
        except rb.Undecided as error:
            assert re.search(r"misses log P by \d\.\de-0[1-7], and 1\.0e-08 is allowed", str(error))
            undecided += 1
        else:
            log_Q = log_column_softmax(head.logits([x]))
            assert np.max(np.abs(log_Q - np.log(P))) <= 1e-8 + 7 * EPS
    assert 0 < undecided < 21


def test_exact_numbers_beyond_float64() -> None:
    tiny = Fraction(1, 10**400)
    assert rb.least_head_size(logits=[[tiny, 0], [0, 0]], X=[[1.0, 0.0]]) == 1
    assert rb.log_rank(logits=[[tiny, 0], [0, 2 * tiny]]) == 1
    big = 17 * 10**307
    assert rb.log_rank(logits=[[big, 0, 0], [-big, 0, 0], [-big, 0, 0]]) == 1
    assert rb.least_head_size(logits=[[big, big], [0, -big]], mask="causal") == 1
    far = [[1, 0, 0], [1, Fraction(1, 10**6000), 0], [0] * 3, [0] * 3]
    with pytest.raises(rb.Undecided, match="row space is not computed"):
        rb.represent(logits=[[1, 0, 0], [0] * 3, [0] * 3], X=far)


@pytest.mark.parametrize("shape", [(128, 128), (768, 96), (65, 512)])
def test_deficient_tokens_of_the_size_of_a_model(shape: tuple[int, int]) -> None:
    """A repeated token, and a row of ones: neither leaves the rank open."""
    X = np.random.default_rng(0).standard_normal(shape)
    X[:, 5] = X[:, 3]
    X[-1] = 1
    P = rb.random_context(shape[1], seed=0)
    assert rb.least_head_size(P, X=X) == math.inf
    own = head_on(X / 8, 2, seed=0).context(X / 8)
    assert rb.least_head_size(own, X=X / 8) == 2


def test_truth_values_are_no_tokens() -> None:
    P, mask = rb.random_context(4, seed=0), rb.causal_mask(4)
    with refused(rb.InputTypeError, "X has dtype bool", "expected tokens", "mask="):
        rb.least_head_size(P, X=mask)
    with pytest.raises(TypeError, match="positional argument"):
        positional: tuple[Any, ...] = (P, mask)
        rb.least_head_size(*positional)


def test_entries_near_underflow_are_undecided_here_too() -> None:
    P = rb.random_context(6, seed=0)
    P[0, 0] = 5e-324
    P /= P.sum(axis=0)
    for X in (np.eye(5, 6), np.ones((2, 6))):
        with pytest.raises(rb.Undecided, match="near the smallest positive number"):
            rb.least_head_size(P, X=X)


@pytest.mark.parametrize("big", [10**12, 10**17, 10**20, 10**40])
def test_exact_tokens_of_widely_different_scales(big: int) -> None:
    """Their rank is known exactly, and P does not become reachable because float64 cannot see it.

    The row space is that of [[1, 0, 0], [0, 1, 0]]: column 3 of P is uniform over gauge and weights
    whatever the scale.
    """
    X = [[big, 0, 0], [0, 1, 0]]
    P = rb.random_context(3, seed=0)
    assert rb.least_head_size(logits=[[1, 2, 3], [0, 1, 5], [7, 0, 0]], X=X) == math.inf
    try:
        assert rb.least_head_size(P, X=X) == math.inf
        with pytest.raises(rb.NotRepresentable):
            rb.represent(P, X=X)
    except rb.Undecided:
        assert big > 1e15  # float64 does not tell their rank


def test_where_a_head_is_and_is_not_by_one_entry_of_exact_tokens() -> None:
    """X = [[1, 1, 2]] and L = x x^T; shifted by the gauge; broken in one entry."""
    X, L = [[1, 1, 2]], np.outer([1, 1, 2], [1, 1, 2])
    assert rb.least_head_size(logits=L, X=X) == 1
    assert rb.least_head_size(logits=L + np.array([5, 0, -7]), X=X) == 1
    broken = L.copy()
    broken[2, 1] += 1
    assert rb.least_head_size(logits=broken, X=X) == math.inf
    head = rb.represent(logits=L, X=X)
    np.testing.assert_allclose(head.context(X), rb.column_softmax(L), rtol=100 * EPS)


def test_a_common_factor_of_exact_logits_is_kept() -> None:
    """Where 1 is outside the row space and where it is inside."""
    for X in ([[1, 0, 2]], [[1, 0, 2], [1, 1, 1]]):
        L = np.outer(X[0], X[0]) + np.array([1, 0, -2])
        head = rb.represent(logits=sympy.log(2) * sympy.Matrix(L.tolist()), X=X)
        np.testing.assert_allclose(
            head.context(X), rb.column_softmax(math.log(2) * L), rtol=100 * EPS
        )


def head_on_offset_tokens(seed: int) -> tuple[Array, Array, int]:
    """The context, in floats alone, of a random head on tokens with a large part in common."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 8))
    d = int(rng.integers(1, n))
    k = int(rng.integers(0, d + 1))
    X = rng.standard_normal((d, n)) + 1e3 * (rng.random((d, 1)) < 0.7)
    if seed % 2:
        X = np.round(X)
    scale = 1e3 if seed % 3 else 30.0
    A, B = rng.standard_normal((2, k, d))
    logits = (A @ X).T @ (B @ X) / scale
    P = np.exp(logits - logits.max(axis=0))
    return P / P.sum(axis=0), X, k


def test_large_common_parts_never_read_as_no_head() -> None:
    """Logits of 10^3 and more lose digits that P, of smaller differences, does not show lost."""
    outcomes = []
    for seed in range(300):
        P, X, k = head_on_offset_tokens(seed)
        if P.min() < 1e-300:
            continue
        try:
            assert rb.least_head_size(P, X=X) <= k, seed
            outcomes.append("right")
        except rb.Undecided as undecided:
            assert undecided.bounds is not None and undecided.bounds.lower <= k
            outcomes.append("undecided")
    assert outcomes.count("right") > 100 and outcomes.count("undecided") > 10


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
def test_large_common_parts_do_not_hide_that_there_is_no_head(offset: float) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 9))
        X = rng.standard_normal((int(rng.integers(1, n)), n)) + offset
        P = rng.dirichlet(np.full(n, 5.0), size=n).T
        assert rb.least_head_size(P, X=X) == math.inf
