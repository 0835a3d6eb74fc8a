"""Theorem C: the least head size under a mask, and heads that have it.

Two independent sides. For small matrices the least rank over all completions and gauges is found
by Gröbner bases: rank <= r is impossible iff 1 is in the ideal of the minors of size r + 1. For any
nested mask the formula of the theorem is evaluated by SymPy, block by block.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr

import rankbound as rb
from rankbound.attention.softmax import log_column_softmax
from rankbound.context import Context
from rankbound.fitting.objective import Objective
from rankbound.testing import contexts
from rankbound.theory.softmax_gauge import logs_of
from rankbound.theory.theorem_c import bounds_under_mask, complete
from tests.helpers import EPS, Array, refused, sympy_rank

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
SEEDS = st.integers(0, 2**32 - 1)
CAUSAL = dict(zip(range(2, 13), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6], strict=True))


@st.composite
def nested_masks(draw: Any, n: int | None = None, largest: int = 6) -> Mask:
    """Each key is seen by the first few queries of an order, one key by all."""
    n = n or draw(st.integers(1, largest))
    reach = [n, *(draw(st.integers(0, n)) for _ in range(n - 1))]
    queries, keys = draw(st.permutations(range(n))), draw(st.permutations(range(n)))
    return np.array([[queries[j] < reach[i] for j in range(n)] for i in keys], dtype=np.bool_)


@st.composite
def any_masks(draw: Any, n: int) -> Mask:
    """Every query sees the key of its own index, at least."""
    bits = draw(st.lists(st.booleans(), min_size=n * n, max_size=n * n))
    return np.array(bits, dtype=np.bool_).reshape(n, n) | np.eye(n, dtype=np.bool_)


def integers(n: int, low: int = -2, high: int = 2) -> st.SearchStrategy[Ints]:
    entries = st.lists(st.integers(low, high), min_size=n * n, max_size=n * n)
    return entries.map(lambda x: np.array(x, dtype=np.int64).reshape(n, n))


def low_rank(n: int) -> st.SearchStrategy[Ints]:
    """Products of thin integer matrices."""

    def product(r: int) -> st.SearchStrategy[Ints]:
        factor = st.lists(st.integers(-2, 2), min_size=n * r, max_size=n * r)
        pair = st.tuples(factor, factor)
        return pair.map(lambda x: np.reshape(x[0], (n, r)) @ np.reshape(x[1], (r, n)))

    return st.integers(1, max(n - 1, 1)).flatmap(product)


@st.composite
def nested_cases(draw: Any, largest: int = 6) -> tuple[Ints, Mask]:
    mask = draw(nested_masks(largest=largest))
    n = len(mask)
    return draw(st.one_of(integers(n), integers(n, 0, 1), low_rank(n))), mask


def by_the_formula(L: Ints, mask: Mask) -> int:
    """``Σ_i ( rank D[<=i, K_i] - rank D[<i, K_i] )``, in rationals, by SymPy."""
    n = len(mask)
    queries = [j for j in range(n) if mask[:, j].sum() > 1]
    seen_by = {i: [j for j in queries if mask[i, j]] for i in range(n)}
    keys = sorted((i for i in range(n) if seen_by[i]), key=lambda i: -len(seen_by[i]))
    total = 0
    for place in range(1, len(keys)):
        columns = seen_by[keys[place]]
        rows = [[int(L[i, j] - L[keys[0], j]) for j in columns] for i in keys[: place + 1]]
        total += sympy_rank(rows) - sympy_rank(rows[:-1])
    return total


def over_all_completions(L: Ints, mask: Mask) -> int:
    """The least rank over every complex fill of the hidden logits and every gauge.

    Differences of rows know no gauge, and their least rank is that over all gauges. By Hilbert's
    theorem the minors of a size have no common zero iff they generate 1.
    """
    n, names = len(mask), itertools.count()
    A = sympy.Matrix(
        n, n, lambda i, j: int(L[i, j]) if mask[i, j] else sympy.Symbol(f"u{next(names)}")
    )
    D = A[1:, :] - sympy.ones(n - 1, 1) * A[0, :]
    for r in range(n - 1):
        places = itertools.product(
            itertools.combinations(range(n - 1), r + 1), itertools.combinations(range(n), r + 1)
        )
        minors = [sympy.expand(D.extract(list(a), list(b)).det()) for a, b in places]
        minors = [minor for minor in minors if minor != 0]
        if any(minor.is_number for minor in minors):
            continue
        if not minors or sympy.groebner(minors, order="grevlex").exprs != [1]:
            return r
    return n - 1


def gaussian(n: int, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).standard_normal((n, n)))


def has_it(head: rb.AttentionHead, P: Array, mask: Mask, X: Any = None) -> None:
    """The head's context is P on the mask, and exactly 0 off it."""
    found = head.context(X, mask)
    np.testing.assert_allclose(found[mask], P[mask], rtol=1e-8, atol=0)
    assert not found[~mask].any()


def no_smaller(least: int, mask: Mask, **given_as: Any) -> None:
    for size in {least - 1, 1}:
        if 1 <= size < least:
            with pytest.raises(rb.NotRepresentable) as caught:
                rb.represent(head_size=size, mask=mask, **given_as)
            assert caught.value.least_head_size == least
            for part in (f"size {size}", f"least head size is {least}", "rb."):
                assert part in str(caught.value)


# the numbers of THEORY 3
@pytest.mark.parametrize(("n", "expected"), CAUSAL.items())
@pytest.mark.parametrize("seed", [0, 1])
def test_causal_is_half(n: int, expected: int, seed: int) -> None:
    mask, L = rb.causal_mask(n), gaussian(n, seed)
    whole = np.round(1000 * L).astype(np.int64)
    P = rb.random_context(n, seed, "causal")
    for given_as in ({"P": P}, {"logits": L}, {"logits": whole}):
        assert rb.least_head_size(mask=mask, **given_as) == expected
        assert rb.log_rank(mask=mask, **given_as) == expected
        assert rb.represent(mask=mask, **given_as).head_size == expected
        no_smaller(expected, mask, **given_as)
    assert by_the_formula(whole, mask) == expected


@pytest.mark.parametrize(("prefix", "expected"), [(2, 6), (6, 6), (11, 10), (0, 6), (12, 11)])
def test_prefix(prefix: int, expected: int) -> None:
    mask, L = rb.prefix_mask(12, prefix), gaussian(12)
    assert rb.least_head_size(rb.column_softmax(L, mask=mask), mask=mask) == expected
    assert rb.least_head_size(logits=L, mask=mask) == expected
    assert rb.least_head_size(logits=np.round(100 * L).astype(int), mask=mask) == expected


@given(nested_masks(largest=12), SEEDS)
def test_almost_every_context_of_a_nested_mask(mask: Mask, seed: int) -> None:
    """``max{t : |K_t| >= t - 1} - 1``, the sets K in decreasing order."""
    sizes = sorted(mask.sum(axis=1), reverse=True)
    expected = max(t for t, size in enumerate(sizes, 1) if size >= t - 1) - 1
    L = gaussian(len(mask), seed)
    P = rb.column_softmax(L, mask=mask)
    assert rb.least_head_size(P, mask=mask) == expected
    assert rb.least_head_size(logits=L, mask=mask) == expected
    assert rb.least_head_size(logits=np.round(2**20 * L).astype(int), mask=mask) == expected
    has_it(rb.represent(P, mask=mask), P, mask)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 17, 40])
def test_the_worst_causal_context(n: int) -> None:
    """Tokens that prefer themselves by log 2: n - 1 again, as without a mask."""
    mask, M = rb.causal_mask(n), np.eye(n, dtype=np.int64)
    log2 = math.log(2) * M
    P = rb.column_softmax(log2, mask=mask)
    ways: list[dict[str, Any]] = [{"P": P}, {"logits": M}, {"logits": log2}]
    for given_as in ways:
        assert rb.least_head_size(mask=mask, **given_as) == n - 1
        no_smaller(n - 1, mask, **given_as)
    assert rb.least_head_size(logits=sympy.log(2) * sympy.eye(n), mask=mask) == n - 1
    has_it(rb.represent(P, mask=mask), P, mask)


@given(contexts())
def test_a_full_mask_is_no_mask(P: Array) -> None:
    """Up to a threshold: contexts near low rank are left out by asking for a clear gap."""
    n = len(P)
    values = rb.spectrum(np.log(P) - np.log(P).mean(axis=0)).values
    clear = values[(values > 1e-15 * n) & (values < 1e-6 * values[0])]
    if not len(clear):
        assert rb.least_head_size(P, mask=rb.full_mask(n)) == rb.log_rank(P)
        assert rb.log_rank(P, mask=rb.full_mask(n)) == rb.log_rank(P)


@given(st.integers(1, 6).flatmap(lambda n: integers(n) | low_rank(n)))
def test_a_full_mask_is_no_mask_exactly(L: Ints) -> None:
    full = rb.full_mask(len(L))
    assert rb.least_head_size(logits=L, mask=full) == rb.log_rank(logits=L)


# against searches that know nothing of the theorem
@settings(max_examples=40)
@given(st.integers(2, 4).flatmap(lambda n: st.tuples(integers(n, -1, 1), nested_masks(n))))
def test_no_completion_is_smaller(pair: tuple[Ints, Mask]) -> None:
    L, mask = pair
    least = rb.least_head_size(logits=L, mask=mask)
    assert least == over_all_completions(L, mask)
    assert rb.least_head_size(logits=L / 4, mask=mask) == least
    has_it(rb.represent(logits=L, mask=mask), rb.column_softmax(L, mask=mask), mask)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("prefix", [3, 4])
def test_no_completion_of_five_tokens_is_smaller(prefix: int, seed: int) -> None:
    L = np.random.default_rng(seed).integers(-1, 2, (5, 5))
    mask = rb.prefix_mask(5, prefix)
    assert rb.least_head_size(logits=L, mask=mask) == over_all_completions(L, mask)


@settings(max_examples=100)
@given(nested_cases())
def test_agrees_with_the_formula(pair: tuple[Ints, Mask]) -> None:
    L, mask = pair
    expected = by_the_formula(L, mask)
    assert rb.least_head_size(logits=L, mask=mask) == expected
    thirds = [[Fraction(int(x), 3) for x in row] for row in L]
    assert rb.least_head_size(logits=thirds, mask=mask) == expected
    P = rb.column_softmax(L / 8, mask=mask)
    ways: list[dict[str, Any]] = [{"P": P}, {"logits": L / 8}]
    for given_as in ways:
        assert rb.least_head_size(mask=mask, **given_as) == expected
        head = rb.represent(mask=mask, **given_as)
        assert head.head_size == max(expected, 1)
        has_it(head, P, mask)
    no_smaller(expected, mask, P=P)


@pytest.mark.parametrize("trial", [84, 221, 318, 534, 848, 953, 1237])
def test_floats_count_as_rationals_do(trial: int) -> None:
    """Small integers, nested masks of 7 to 13 tokens, where one residual is a few hundred eps."""
    L, mask = mixed_cases(trial)
    expected = by_the_formula(L, mask)
    assert rb.least_head_size(logits=L, mask=mask) == expected
    assert rb.least_head_size(logits=L.astype(np.float64), mask=mask) == expected
    assert rb.least_head_size(rb.column_softmax(L, mask=mask), mask=mask) == expected


def mixed_cases(trial: int) -> tuple[Ints, Mask]:
    rng = np.random.default_rng(1)
    for t in range(trial + 1):
        n = int(rng.integers(2, 14))
        if t % 3 == 0:
            L = rng.integers(-2, 3, (n, n))
        elif t % 3 == 1:
            r = int(rng.integers(1, n))
            L = rng.integers(-3, 4, (n, r)) @ rng.integers(-3, 4, (r, n))
        else:
            L = rng.integers(0, 2, (n, n))
        order, reach = rng.permutation(n), [n, *rng.integers(0, n + 1, n - 1)]
        mask = np.zeros((n, n), dtype=np.bool_)
        for i in range(n):
            mask[i, order[: reach[i]]] = True
        mask = mask[rng.permutation(n)]
    return L, rb.causal_mask(n) if trial % 5 == 0 else mask


def test_exact_logits_count_where_floats_cannot() -> None:
    """10^17 and 10^17 + 1 are one float."""
    L = [[0, 0, 0, 0], [10**17, 10**17 + 1, 0, 0], [10**17, 10**17, 0, 0], [5, 5, 5, 0]]
    mask = rb.prefix_mask(4, 3)
    assert rb.least_head_size(logits=L, mask=mask) == 2
    assert rb.least_head_size(logits=np.array(L, dtype=np.float64), mask=mask) == 1


@pytest.mark.parametrize("prefix", [0, 4, 12])
def test_what_rounding_explains_is_not_counted(prefix: int) -> None:
    """Logits of rank 2, rounded to a dtype; 10^-6 in one entry is no rounding in float64."""
    mask = rb.prefix_mask(12, prefix)
    left, right = np.random.default_rng(0).standard_normal((2, 2, 12))
    L = left.T @ right
    P = rb.column_softmax(L, mask=mask)
    assert rb.least_head_size(P, mask=mask) == rb.least_head_size(logits=L, mask=mask) == 2
    for dtype in (np.float32, np.float16):
        low = P.astype(dtype)
        assert rb.least_head_size(low, mask=mask) == 2
        assert rb.least_head_size(low.astype(np.float64), mask=mask, stored=dtype) == 2
        assert rb.least_head_size(logits=L.astype(dtype), mask=mask) == 2
    off = L.copy()
    off[3, 7] += 1e-6
    Q = rb.column_softmax(off, mask=mask)
    for given_as in ({"logits": off}, {"P": Q}):
        assert rb.least_head_size(mask=mask, stored=np.float64, **given_as) == 3
        with refused(rb.Undecided, "is 2 if the data was computed in float32 and 3", "stored="):
            rb.least_head_size(mask=mask, **given_as)


# the head
@pytest.mark.parametrize("mask", ["causal", "prefix:3", "sliding:3"])
def test_a_gauge_that_no_float_holds_is_taken_out_of_exact_logits(mask: str) -> None:
    """10^20 beside logits of size 1: floats are made of the differences."""
    left, right = np.random.default_rng(0).integers(-3, 4, (2, 6, 2))
    L = (left @ right.T).tolist()
    shifted = [[x + 10**20 + 7 * j for j, x in enumerate(row)] for row in L]
    if mask == "sliding:3":
        said = []
        for logits in (L, shifted):
            with pytest.raises(rb.Undecided, match="not nested") as caught:
                rb.represent(logits=logits, mask=mask)
            said.append(str(caught.value))
        assert said[0] == said[1]
        return
    visible = rb.Context(logits=L, mask=mask).visible
    wanted = rb.column_softmax(np.array(L, np.float64), mask=visible)
    for logits in (L, shifted):
        head = rb.represent(logits=logits, mask=mask)
        assert head.context(mask=visible) == pytest.approx(wanted, abs=1e-12)


def test_a_query_that_sees_one_key_shows_nothing() -> None:
    """A mask that is not nested, of which no query compares two keys."""
    itself = np.eye(3, dtype=bool)
    bounds = rb.certified_log_rank(np.eye(3), mask=itself)
    assert (bounds.lower, bounds.upper, bounds.method) == (0, 0, "nothing is seen")


@pytest.mark.parametrize("n", [1, 2, 7, 16, 33, 64])
def test_represent_on_masks(n: int) -> None:
    L = gaussian(n, seed=n)
    tokens = np.linalg.qr(gaussian(n, seed=1))[0] * np.linspace(1, 3, n)
    for prefix in sorted({0, min(2, n), n // 2, n - 1, n}):
        mask = rb.prefix_mask(n, prefix)
        P = rb.column_softmax(L, mask=mask)
        least = max(n // 2 if prefix < n else 0, prefix - 1, 0)
        assert rb.least_head_size(P, mask=mask) == least
        for X in (None, tokens):
            head = rb.represent(P, X=X, mask=mask)
            assert head.head_size == max(least, 1)
            has_it(head, P, mask, X)
        has_it(rb.represent(P, head_size=least + 3, mask=mask), P, mask)
        no_smaller(least, mask, P=P)


def test_completions_do_not_blow_up() -> None:
    """Combinations of least norm keep the hidden logits of the size of those that are seen."""
    for n in (64, 128):
        P = rb.random_context(n, 1, "causal")
        mask = rb.causal_mask(n)
        answer = complete(logs_of(Context(P, mask=mask)))
        assert answer is not None
        assert answer.least == n // 2
        L = np.ldexp(answer.scaled, answer.exponent)
        assert np.abs(L).max() <= 10 * np.abs(L[mask]).max()
        assert rb.numerical_rank(L, rtol=1e-10) == n // 2
        np.testing.assert_allclose(rb.column_softmax(L, mask=mask), P, rtol=1e-10)


# metamorphic
@given(nested_cases(), st.data())
def test_the_order_of_keys_and_queries(pair: tuple[Ints, Mask], data: st.DataObject) -> None:
    """Of both together (tokens), and of each alone; and a constant in each column."""
    L, mask = pair
    n = len(L)
    keys, queries = (data.draw(st.permutations(range(n))) for _ in range(2))
    shift = np.array(data.draw(st.lists(st.integers(-9, 9), min_size=n, max_size=n)))
    expected = rb.least_head_size(logits=L, mask=mask)
    for moved in (np.ix_(keys, keys), np.ix_(keys, queries)):
        assert rb.least_head_size(logits=L[moved], mask=mask[moved]) == expected
        P = rb.column_softmax(L[moved] / 4, mask=mask[moved])
        assert rb.least_head_size(P, mask=mask[moved]) == expected
        has_it(rb.represent(P, mask=mask[moved]), P, mask[moved])
    assert rb.least_head_size(logits=L + shift, mask=mask) == expected
    assert rb.least_head_size(logits=L / 4 + shift, mask=mask) == expected


@given(nested_cases(), st.data())
def test_what_is_hidden_does_not_matter(pair: tuple[Ints, Mask], data: st.DataObject) -> None:
    """Any finite number in a hidden logit, or -inf."""
    L, mask = pair
    noise = data.draw(integers(len(L), -50, 50))
    expected = rb.least_head_size(logits=L, mask=mask)
    assert rb.least_head_size(logits=np.where(mask, L, noise), mask=mask) == expected
    for hidden in (noise / 3, -np.inf):
        floats = np.where(mask, L / 4, hidden)
        for form in (floats, floats.tolist()):
            assert rb.least_head_size(logits=form, mask=mask) == expected
        has_it(rb.represent(logits=floats, mask=mask), rb.column_softmax(L / 4, mask=mask), mask)


@given(nested_cases())
def test_rows_transpose_the_mask_too(pair: tuple[Ints, Mask]) -> None:
    """Whatever the mask: also with a key that no query sees."""
    L, mask = pair
    P = rb.column_softmax(L / 4, mask=mask)
    expected = rb.least_head_size(logits=L, mask=mask)
    assert rb.least_head_size(logits=L.T, mask=mask.T, rows=True) == expected
    assert rb.least_head_size(logits=L.T / 4, mask=mask.T, rows=True) == expected
    try:
        assert rb.least_head_size(P, mask=mask) == expected
    except rb.Undecided as error:
        with refused(rb.Undecided, str(error)):
            rb.least_head_size(P.T, mask=mask.T, rows=True)
        return
    assert rb.least_head_size(P.T, mask=mask.T, rows=True) == expected
    has_it(rb.represent(P.T, mask=mask.T, rows=True), P, mask)


def test_a_repeated_row_loses_no_direction_whatever_a_decomposition_makes_of_it() -> None:
    """Two rows are equal on what the third shows: their least singular value is 0, or rounding."""
    L = np.array([[1, 0, 0, 0], [0, -2, 1, 0], [0, -2, 0, 0], [0, 0, 0, 0]])
    mask = np.arange(4) < np.array([[4], [3], [3], [2]])
    rng = np.random.default_rng(0)
    for _ in range(50):
        scaled, keys, queries = L * rng.uniform(0.1, 1, 4), rng.permutation(4), rng.permutation(4)
        seen = mask[np.ix_(keys, queries)]
        P = rb.column_softmax(scaled[np.ix_(keys, queries)], mask=seen)
        assert rb.least_head_size(P, mask=seen) == 3


def test_rows_that_are_equal_after_a_subtraction_leave_doubt() -> None:
    """-1 + 2^-60 is rounded to -1: the least head size of these numbers is 2, not 3."""
    L = np.array(
        [
            [0, 0, 0, 1, -1],
            [0, 1, 0, 2.0**-60, 0],
            [0, 0, 1, 0, 0],
            [0, 0, 0, 1, 0],
            [0, 0, 0, 0, 0],
        ]
    )
    exact = [[Fraction(x) for x in row] for row in L.tolist()]
    assert rb.least_head_size(logits=exact, mask="causal") == 2
    for ask in (rb.log_rank, rb.least_head_size, rb.represent):
        with refused(rb.Undecided, "nearly dependent", "about 3") as caught:
            ask(logits=L, mask="causal")
        assert (caught.value.bounds.lower, caught.value.bounds.upper) == (0, 4)


def test_rows_and_a_key_that_no_query_sees() -> None:
    mask = rb.full_mask(5)
    mask[2] = False
    P = rb.column_softmax(gaussian(5), mask=mask)
    assert rb.least_head_size(P.T, mask=mask.T, rows=True) == 3
    assert rb.fit_head(P.T, 3, mask=mask.T, rows=True, random_starts=0).kl < 1e-20


def blind_takers() -> dict[str, Callable[[Array, Mask, bool], Any]]:
    return {
        "least_head_size": lambda L, mask, rows: rb.least_head_size(logits=L, mask=mask, rows=rows),
        "log_rank": lambda L, mask, rows: rb.log_rank(logits=L, mask=mask, rows=rows),
        "represent": lambda L, mask, rows: rb.represent(logits=L, mask=mask, rows=rows),
        "fit_head": lambda L, mask, rows: rb.fit_head(logits=L, mask=mask, rows=rows),
    }


@pytest.mark.parametrize("name", blind_takers())
@pytest.mark.parametrize("rows", [False, True])
def test_a_query_that_sees_nothing_is_an_error(name: str, rows: bool) -> None:
    L, mask = gaussian(4), rb.full_mask(4)
    mask[:, 2] = False
    with refused(rb.InputError, "hides every key from query 2", "expected at least one"):
        blind_takers()[name](L.T if rows else L, mask.T if rows else mask, rows)


# padding
@given(st.integers(2, 8), SEEDS, st.data())
def test_left_padding(n: int, seed: int, data: st.DataObject) -> None:
    """Padded keys are seen by none but themselves, and those queries impose nothing."""
    pad = data.draw(st.integers(1, n - 1))
    mask = rb.causal_mask(n)
    mask[:pad, :] = np.eye(n, dtype=np.bool_)[:pad]
    assert rb.is_nested(mask)
    L = gaussian(n, seed)
    P = rb.column_softmax(L, mask=mask)
    expected = (n - pad) // 2
    assert rb.least_head_size(P, mask=mask) == expected
    assert rb.least_head_size(P[pad:, pad:], mask=rb.causal_mask(n - pad)) == expected
    has_it(rb.represent(P, mask=mask), P, mask)


@given(st.integers(2, 6).flatmap(lambda n: st.tuples(integers(n), st.integers(1, n - 1))))
def test_keys_that_no_query_sees(pair: tuple[Ints, int]) -> None:
    """Dropped: what remains is a matrix of fewer keys than queries."""
    L, keep = pair
    mask = rb.full_mask(len(L))
    mask[keep:] = False
    expected = sympy_rank((L[1:keep] - L[0]).tolist()) if keep > 1 else 0
    assert rb.least_head_size(logits=L, mask=mask) == expected
    P = rb.column_softmax(L / 4, mask=mask)
    assert rb.least_head_size(P, mask=mask) == expected
    has_it(rb.represent(P, mask=mask), P, mask)


def test_queries_that_see_one_key_impose_nothing() -> None:
    """Query 0 of a causal mask may see any one key: the rest is decided as before."""
    mask = rb.causal_mask(5)
    L = gaussian(5)
    expected = rb.least_head_size(logits=L, mask=mask)
    mask[[0, 3], 0] = [False, True]
    assert rb.is_nested(mask)
    P = rb.column_softmax(L, mask=mask)
    assert rb.least_head_size(P, mask=mask) == rb.least_head_size(logits=L, mask=mask) == expected
    has_it(rb.represent(P, mask=mask), P, mask)


# what is refused
def test_a_context_that_does_not_fit_its_mask_is_refused() -> None:
    mask = rb.causal_mask(4)
    P = rb.random_context(4, 0, "causal")
    for f in (rb.least_head_size, rb.represent, rb.log_rank):
        off = ("over what the mask shows", "do without the mask: leave the mask out")
        with refused(rb.InputError, "sum to 1 only within", *off):
            f(rb.random_context(4, 0), mask=mask)
        zero = P.copy()
        zero[:, 3] = [0.5, 0, 0.25, 0.25]
        with refused(rb.InputError, "P is 0.0 at [1, 3]", "The mask shows it", "positive"):
            f(zero, mask=mask)
    with refused(rb.InputError, "over what the mask shows"):
        rb.fit_head(rb.random_context(4, 0), 1, mask=mask)
    with refused(rb.InputError, "logits holds -inf at [0, 1]"):  # a visible one
        rb.least_head_size(logits=np.where(mask.T, 0.0, -np.inf), mask=mask)


def test_rows_of_very_different_lengths() -> None:
    """A row 2^48 times as long does not hide another in the span of both."""
    u, v = np.array([1, 2, 3, 4, 5.0]), np.array([1, 1, 2, 1, 3.0])
    mask = rb.prefix_mask(5, 4)
    L = np.array([0 * u, 2.0**48 * u, v, 2 * v, 0 * v])
    assert rb.least_head_size(logits=L, mask=mask) == 2
    assert rb.least_head_size(logits=L.astype(np.int64), mask=mask) == 2
    keys = [[0, 2**48, 0, 0, 0], [0, 0, 1, 2, 0], [0, 0, 1, 2, 0]]
    head = rb.AttentionHead(np.array([u, v, [0, 1, 0, 0, 1]]), keys)
    assert rb.log_rank(head=head, mask=mask) == 2


@pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf, None, 7.0, "x"])
def test_what_the_mask_hides_is_of_no_account(hidden: Any) -> None:
    mask, L = rb.causal_mask(4), np.arange(16).reshape(4, 4) ** 2
    cases: list[tuple[str, Any]] = [("logits", L), ("logits", L / 7)]
    cases += [] if isinstance(hidden, str) else [("P", rb.random_context(4, 0, "causal"))]
    for name, data in cases:
        filled = np.array(data, dtype=object)
        filled[~mask] = hidden
        expected: Any = {name: data}
        for rows in (False, True):
            lies: Any = {name: filled.T if rows else filled, "mask": mask.T if rows else mask}
            answer = rb.least_head_size(rows=rows, **lies)
            assert answer == rb.least_head_size(mask="causal", **expected)


def test_entries_near_underflow_are_not_counted_as_rounding() -> None:
    """Logarithms of subnormal numbers are unknown: not the least head size, or an error."""
    mask, L = rb.causal_mask(6), gaussian(6)
    L[1:, 5] -= 744
    P = rb.column_softmax(L, mask=mask)
    truth = rb.least_head_size(logits=np.log(P, where=mask, out=np.zeros((6, 6))), mask=mask)
    try:
        assert rb.least_head_size(P, mask=mask) == truth
    except rb.Undecided as error:
        assert error.bounds.lower <= truth <= error.bounds.upper


@pytest.mark.parametrize("exponent", [-1060, -1000, -600, 600, 1000, 1017])
def test_the_unit_of_the_logits_does_not_matter(exponent: int) -> None:
    mask = rb.causal_mask(6)
    L = np.round(8 * gaussian(6))
    expected = rb.least_head_size(logits=L, mask=mask)
    assert expected == 3
    assert rb.least_head_size(logits=np.ldexp(L, exponent), mask=mask) == expected


@pytest.mark.parametrize("rtol", [0.9, 0.3])
def test_rtol_is_not_ignored(rtol: float) -> None:
    """Under a full mask it counts as without one, or is refused."""
    P = rb.random_context(8, 0)
    expected = rb.log_rank(P, rtol=rtol)
    assert expected < 7
    try:
        assert rb.log_rank(P, mask=rb.full_mask(8), rtol=rtol) == expected
    except (rb.InputError, rb.InputTypeError) as error:
        assert "rtol" in str(error)


# masks that are not nested
def bounds(mask: Mask, **given_as: Any) -> tuple[int, int]:
    """What is known, equal sides where it is decided."""
    try:
        least = int(rb.least_head_size(mask=mask, **given_as))
    except rb.Undecided as error:
        assert error.bounds.lower < error.bounds.upper <= len(mask) - 1
        assert "not nested" in str(error)
        assert f"[{error.bounds.lower}, {error.bounds.upper}]" in str(error)
        assert "nested" in error.remedy
        for f in (rb.log_rank, rb.represent):
            with pytest.raises(rb.Undecided, match="not nested"):
                f(mask=mask, **given_as)
        return error.bounds.lower, error.bounds.upper
    return least, least


@settings(max_examples=25)
@given(st.tuples(integers(4, -1, 1), any_masks(4)))
def test_bounds_hold_the_least_rank_of_all_completions(pair: tuple[Ints, Mask]) -> None:
    """Over the complex numbers, which is at most that over the reals: so below upper too."""
    L, mask = pair
    for given_as in ({"logits": L}, {"logits": L / 4}, {"P": rb.column_softmax(L / 4, mask=mask)}):
        lower, upper = bounds(mask, **given_as)
        assert lower <= over_all_completions(L, mask) <= upper


@given(st.integers(3, 12), st.integers(1, 4), SEEDS, st.data())
def test_bounds_of_what_a_head_has(n: int, k: int, seed: int, data: st.DataObject) -> None:
    """Logits of rank k: k is enough, whatever the mask hides; the lower side knows."""
    mask = data.draw(st.integers(2, n).map(lambda w: rb.sliding_mask(n, w)) | any_masks(n))
    rng = np.random.default_rng(seed)
    L = rng.standard_normal((n, k)) @ rng.standard_normal((k, n))
    assert bounds(mask, logits=L)[0] <= k
    assert bounds(mask, P=rb.column_softmax(L, mask=mask))[0] <= k


@settings(max_examples=30)
@given(st.integers(2, 9), SEEDS, st.data())
def test_the_upper_side_is_a_completion(n: int, seed: int, data: st.DataObject) -> None:
    """Its softmax is P on the mask, and its rank the bound."""
    mask = data.draw(st.integers(2, n).map(lambda w: rb.sliding_mask(n, w)) | any_masks(n))
    assume(mask.sum() > n)  # some query sees two keys
    P = rb.column_softmax(gaussian(n, seed), mask=mask)
    answer, known = bounds_under_mask(logs_of(Context(P, mask=mask)))
    # as many dimensions as one query sees keys, less the gauge, are enough for each alone
    assert 0 <= known.lower <= known.upper <= mask.sum(axis=0).max() - 1
    L = np.ldexp(answer.scaled, answer.exponent)
    np.testing.assert_allclose(rb.column_softmax(L, mask=mask), P, rtol=1e-8)
    assert answer.least == known.upper
    assert rb.numerical_rank(L, rtol=1e-9) <= known.upper


@pytest.mark.parametrize("n", [4, 7, 12])
def test_sliding_windows(n: int) -> None:
    """Below: the largest log-rank of a visible block, a keys of w and the w - a + 1 queries
    that see them all, for almost every P min(a - 1, w - a + 1)."""
    L = gaussian(n)
    for window in range(1, n + 2):
        mask = rb.sliding_mask(n, window)
        lower, upper = bounds(mask, logits=L)
        if window >= n:
            assert lower == upper == n // 2
        elif window == 1:  # every query sees itself alone
            assert lower == upper == 0
        else:
            assert lower == max(min(a - 1, window - a + 1) for a in range(1, window + 1))
            assert lower <= upper <= window - 1


def test_where_the_bounds_meet_it_is_decided() -> None:
    """Uniform where visible: 0; and two queries that see all keys, beside uniform ones."""
    mask = rb.sliding_mask(6, 3)
    P = mask / mask.sum(axis=0)
    assert rb.least_head_size(P, mask=mask) == 0
    has_it(rb.represent(P, mask=mask), P, mask)
    mask = rb.full_mask(5)
    mask[[0, 1, 2], [0, 1, 2]] = False  # two queries see all five keys, three miss one each
    L = np.zeros((5, 5))
    L[:, 3:] = gaussian(5)[:, 3:]
    assert not rb.is_nested(mask)
    P = rb.column_softmax(L, mask=mask)
    assert rb.least_head_size(P, mask=mask) == 2
    has_it(rb.represent(P, mask=mask), P, mask)


# a mask and tokens of too low rank
@settings(max_examples=20)
@given(st.integers(4, 8), st.integers(0, 2**32 - 1))
def test_a_mask_and_rank_deficient_tokens(n: int, seed: int) -> None:
    """A mask forgives one missing dimension, at a size that the search may leave open; not two."""
    mask, P = rb.causal_mask(n), rb.random_context(n, seed, "causal")
    X = rb.random_tokens(n + 1, n, seed)
    assert rb.least_head_size(P, X=X, mask=mask) == n // 2
    X = rb.random_tokens(n + 1, n, seed, rank=n - 1)
    try:
        size = rb.least_head_size(P, X=X, mask=mask)
        assert size == n // 2
    except rb.Undecided as undecided:
        assert undecided.bounds.lower == n // 2
        size = int(undecided.bounds.upper)
    assert rb.represent(P, X=X, mask=mask, head_size=size).head_size == size
    X = rb.random_tokens(n + 1, n, seed, rank=n - 2)
    assert rb.least_head_size(P, X=X, mask=mask) == math.inf


def test_bounds_with_rank_deficient_tokens_hold_the_truth() -> None:
    """Under a full mask that is known, by Theorem B: here no head of any size has P."""
    P, X, full = [[0.5, 0.75], [0.5, 0.25]], [[1, 0]], rb.full_mask(2)
    assert rb.least_head_size(P, X=X) == math.inf
    try:
        assert rb.least_head_size(P, X=X, mask=full) == math.inf
    except rb.Undecided as error:
        assert error.bounds is None or error.bounds.upper >= math.inf


# fits under a mask
def test_the_causal_cliff() -> None:
    """n = 8: nothing but rounding at n / 2, a positive floor one below."""
    mask, P = rb.causal_mask(8), rb.random_context(8, 0, "causal")
    enough = rb.fit_head(P, 4, mask=mask, random_starts=0)
    assert 0 <= enough.kl < 1e-20
    assert enough.converged
    below = rb.fit_head(P, 3, mask=mask, random_starts=1)
    assert below.kl > 1e-9
    for fit in (enough, below):
        found = fit.head.context(mask=mask)
        assert not found[~mask].any()
        assert abs(np.sum(rel_entr(P, found)[mask]) / 8 - fit.kl) <= 100 * EPS
        assert fit.start_kls[0] >= fit.kl


@settings(max_examples=20)
@given(st.integers(2, 6), st.integers(1, 3), SEEDS, st.booleans(), st.data())
def test_a_masked_fit_is_what_it_says(
    n: int, k: int, seed: int, tokens: bool, data: st.DataObject
) -> None:
    """KL is SciPy's over the visible entries, hidden entries of the context are 0."""
    mask = data.draw(nested_masks(n) | any_masks(n))
    P = rb.column_softmax(gaussian(n, seed), mask=mask)
    X = rb.random_tokens(3, n, seed) if tokens else None
    fit = rb.fit_head(P, k, X=X, mask=mask, random_starts=1, max_iterations=20)
    found = fit.head.context(X, mask)
    assert not found[~mask].any()
    # logits are a product of length k of products of length d, each off by eps times norms
    size = 1 + np.linalg.norm(fit.head.W_q) * np.linalg.norm(fit.head.W_k) * fit.head.scale
    size *= 1.0 if X is None else float(np.linalg.norm(X)) ** 2
    slack = 8 * (2 * n + k) * EPS * (size + n)
    assert abs(np.sum(rel_entr(P, found)[mask]) / n - fit.kl) <= slack


@settings(max_examples=15)
@given(st.integers(2, 6), st.integers(1, 3), SEEDS, st.data())
def test_a_masked_fit_of_the_same_written_otherwise(
    n: int, k: int, seed: int, data: st.DataObject
) -> None:
    """By rows, or by logits with -inf where hidden: one step from the spectral start.

    Rounding of P moves it by a few eps over a gap between singular values, above 1e-4 for these.
    """
    mask, L = data.draw(nested_masks(n) | any_masks(n)), gaussian(n, seed)
    P, hidden = rb.column_softmax(L, mask=mask), np.where(mask, L, -np.inf)
    one: Any = {"random_starts": 0, "max_iterations": 1}
    kl = rb.fit_head(P, k, mask=mask, **one).kl
    for fit in (
        rb.fit_head(P.T, k, mask=mask.T, rows=True, **one),
        rb.fit_head(logits=hidden, head_size=k, mask=mask, **one),
        rb.fit_head(logits=hidden.T, head_size=k, mask=mask.T, rows=True, **one),
    ):
        assert fit.kl == pytest.approx(kl, abs=1e-10)


@given(nested_cases())
def test_a_masked_fit_starts_at_the_completion(pair: tuple[Ints, Mask]) -> None:
    """So at the least head size nothing is left to fit: φ(t) <= t² of t a few n eps ‖L‖."""
    L, mask = pair
    n = len(mask)
    P = rb.column_softmax(L / 4, mask=mask)
    least = max(int(rb.least_head_size(P, mask=mask)), 1)
    fit = rb.fit_head(P, least, mask=mask, random_starts=0, max_iterations=1)
    assert 0 <= fit.kl <= (1e4 * n * EPS * (1 + np.linalg.norm(L))) ** 2


@settings(max_examples=20)
@given(st.integers(1, 3), st.integers(1, 2), SEEDS, st.booleans(), st.data())
def test_gradient_under_a_mask(n: int, k: int, seed: int, low: bool, data: st.DataObject) -> None:
    """Central differences of step 1e-12 in 50 digits, as in tests/fitting/test_objective.py."""
    mask = data.draw(nested_masks(n) | any_masks(n))
    rng = np.random.default_rng(seed)
    P = rb.column_softmax(rng.standard_normal((n, n)), mask=mask)
    basis = np.linalg.qr(rng.standard_normal((n, max(n - 1, 1))))[0].T if low else None
    R = np.eye(n) if basis is None else basis
    r = len(R)
    flat = rng.standard_normal(2 * k * r)
    value, gradient = Objective(P, basis, mask)(flat, k)

    def at(x: list[Any]) -> Any:
        half = k * r
        A, B = (
            mpmath.matrix([x[h * half + a * r : h * half + a * r + r] for a in range(k)])
            * mpmath.matrix(R.tolist())
            for h in (0, 1)
        )
        L, total = A.T * B, mpmath.mpf(0)
        for j in range(n):
            keys = np.flatnonzero(mask[:, j]).tolist()
            log_sum = mpmath.log(sum(mpmath.exp(L[i, j]) for i in keys))
            for i in keys:
                p = mpmath.mpf(float(P[i, j]))
                total += p * (mpmath.log(p) - L[i, j] + log_sum)
        return total / n

    scale = 1 + float(np.sum(flat * flat))
    with mpmath.workdps(50):
        point, step = [mpmath.mpf(float(x)) for x in flat], mpmath.mpf(10) ** -12
        assert abs(value - float(at(point))) <= 8 * (n + k) * EPS * scale
        for i in range(len(flat)):
            up, down = ([*point[:i], point[i] + s * step, *point[i + 1 :]] for s in (1, -1))
            slope = float((at(up) - at(down)) / (2 * step))
            assert abs(gradient[i] - slope) <= 8 * (n + k) * EPS * scale


def test_divergence_ignores_what_is_hidden() -> None:
    """Visible zeros count as q, as without a mask; hidden entries not at all."""
    mask = rb.causal_mask(4)
    P = rb.random_context(4, 0, "causal")
    P[:, 3] = [0.5, 0, 0.5, 0]
    log_Q = log_column_softmax(gaussian(4), mask)
    Q = np.exp(log_Q)
    value = Objective(P, None, mask).loss.value(np.where(mask, log_Q, 0.0), Q)
    assert value == pytest.approx(np.sum(rel_entr(P, Q)[mask]) / 4, rel=64 * EPS)
