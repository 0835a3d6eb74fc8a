"""All pairs of keys at head size 4, and what is certain of the scores."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.theory.selection import check_pairs, curve_pairs, pair_members
from tests.helpers import Array, refused


def exact_margins(keys: Array, queries: Array) -> list[Fraction]:
    """Each pair's margin over the rationals, where there are other keys."""
    n = keys.shape[1]
    columns = [[Fraction(float(x)) for x in key] for key in keys.T]
    margins = []
    for query, pair in zip(queries.T, itertools.combinations(range(n), 2), strict=True):
        q = [Fraction(float(x)) for x in query]
        scores = [sum((a * b for a, b in zip(key, q, strict=True)), Fraction()) for key in columns]
        others = [s for i, s in enumerate(scores) if i not in pair]
        margins.append(min(scores[i] for i in pair) - max(others))
    return margins


def exact_length(columns: Array) -> float:
    """The square of the largest length, to nearest."""
    return max(float(sum(Fraction(float(x)) ** 2 for x in column)) for column in columns.T)


@pytest.mark.parametrize("n", [3, 4, 5, 10, 20, 50])
def test_the_curve_realises_all_pairs_over_the_rationals(n: int) -> None:
    found = curve_pairs(n)
    assert found.keys.shape == (4, n)
    assert found.realised == found.count == n * (n - 1) // 2 and found.share == 1
    margins = exact_margins(found.keys, found.queries)
    assert min(margins) > 0
    lengths = math.sqrt(exact_length(found.keys) * exact_length(found.queries))
    assert found.margin == pytest.approx(float(min(margins)) / lengths, rel=1e-9)
    assert 0 < found.margin <= float(min(margins)) / lengths
    np.testing.assert_allclose((found.keys**2).sum(axis=0), 1)
    np.testing.assert_allclose((found.queries**2).sum(axis=0), 1)


def test_the_margin_falls_like_the_fourth_power() -> None:
    """The pair around a single key is the tightest: (1 - cos h)², over the lengths."""
    n, h = 200, 2 * math.pi / 200
    query = np.array([2 * math.cos(h), 0, -0.5, 0])  # angles h and -h, the key between at 0
    expected = (1 - math.cos(h)) ** 2 / (math.sqrt(2) * np.linalg.norm(query))
    assert curve_pairs(n).margin == pytest.approx(expected, rel=1e-6)
    assert curve_pairs(100).margin / curve_pairs(200).margin == pytest.approx(16, rel=0.01)


@settings(max_examples=40)
@given(
    st.integers(3, 6), st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from([0, 400, -400])
)
def test_margins_are_bounds(n: int, d: int, seed: int, exponent: int) -> None:
    rng = np.random.default_rng(seed)
    keys = np.ldexp(rng.standard_normal((d, n)), exponent)
    members = pair_members(n)
    noise = rng.standard_normal((d, len(members))) * 2.0**exponent
    queries = keys[:, members[:, 0]] + keys[:, members[:, 1]] + noise / 3
    exact = exact_margins(keys, queries)
    found = check_pairs(keys, queries)
    assert found.realised <= sum(margin > 0 for margin in exact)
    if exponent >= 0:  # products that underflow are not certain
        assert found.realised == sum(margin > 0 for margin in exact)
        scale = math.sqrt(exact_length(np.ldexp(keys, -exponent)))
        scale *= math.sqrt(exact_length(np.ldexp(queries, -exponent)))
        worst = float(min(exact) / Fraction(2) ** (2 * exponent)) / scale
        assert worst - 1e-13 <= found.margin <= worst + 1e-15
    assert is_at_most(found.margin, min(exact), keys, queries)


def is_at_most(margin: float, least: Fraction, keys: Array, queries: Array) -> bool:
    """Whether ``margin <= least/√(K² Q²)``, K and Q the largest lengths, in rationals."""
    if math.isinf(margin):
        return margin < 0
    squares = [
        max(sum((Fraction(float(x)) ** 2 for x in column), Fraction()) for column in columns.T)
        for columns in (keys, queries)
    ]
    reached, wanted = (x * abs(x) for x in (Fraction(margin), least))
    return reached * squares[0] * squares[1] <= wanted


@pytest.mark.parametrize("d", [1, 3, 256])
@pytest.mark.parametrize("sizes", [(0, 0), (-300, 200), (-500, -500), (500, 400)])
def test_a_negative_margin_is_over_no_more_than_the_lengths(d: int, sizes: tuple[int, int]) -> None:
    """A pair without scores beside a key along the query: -1, and no more digits above it."""
    keys, queries = np.zeros((d, 3)), np.zeros((d, 3))
    keys[-1, 2], queries[-1] = 2.0 ** sizes[0], 2.0 ** sizes[1]
    margin = check_pairs(keys, queries).margin
    assert is_at_most(margin, min(exact_margins(keys, queries)), keys, queries)
    # roundings of the scores and lengths; at 2^-1000 a score itself is off by d η
    assert -1 - (8 * d + 100) * 2.0**-53 <= margin <= -1
    unlike = check_pairs(np.ldexp(keys, -3), queries).margin
    assert unlike == margin  # the lengths are those of the columns


def test_where_all_scores_are_zero_the_margin_is_just_below() -> None:
    for keys, queries in ((np.zeros((2, 3)), np.ones((2, 3))), (np.ones((2, 3)), np.zeros((2, 3)))):
        found = check_pairs(keys, queries)
        assert found.realised == 0 and -1e-300 < found.margin < 0
    assert check_pairs(np.zeros((2, 2)), np.ones((2, 1))).margin == math.inf  # no other key


def test_ties_do_not_count() -> None:
    assert check_pairs([[1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0]]).realised == 0
    near = check_pairs([[1.0, 1.0, 1.0 - 2.0**-53]], [[1.0, 1.0, 1.0]])
    assert near.realised == 0  # true of pair (0, 1), and within rounding
    two = check_pairs([[1.0, -3.0]], [[1.0]])
    assert two.realised == 1 and two.margin == math.inf


@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_near_ties(d: int, seed: int) -> None:
    """Keys whose scores agree but for rounding: none counts that is not realised exactly."""
    rng = np.random.default_rng(seed)
    query = rng.standard_normal(d)
    keys = rng.standard_normal((d, 3)) * 1e6  # so that the rounding is far above that of 1
    keys += np.outer(query, (1 - query @ keys) / (query @ query))
    queries = np.outer(query, [1.0, 0.0, 0.0])  # of the first pair; the others miss theirs
    exact = exact_margins(keys, queries)
    assert check_pairs(keys, queries).realised <= sum(margin > 0 for margin in exact)


def test_five_keys_in_space_are_not_enough() -> None:
    """The curve without its last coordinate: K_5 is not planar, so no five keys in space do."""
    found = curve_pairs(5)
    assert check_pairs(found.keys[:3], found.queries[:3]).share < 1


@pytest.mark.parametrize(
    ("keys", "queries", "kind", "part"),
    [
        (np.ones((2, 3)), np.ones((2, 2)), rb.InputError, "expected (2, 3)"),
        (np.ones((2, 3)), np.ones((3, 3)), rb.InputError, "expected (2, 3)"),
        (np.ones((2, 1)), np.ones((2, 1)), rb.InputError, "from 2 to 1000"),
        (np.ones((1, 1001)), np.ones((1, 3)), rb.InputError, "1000"),
        (np.full((2, 3), np.nan), np.ones((2, 3)), rb.InputError, "nan"),
    ],
)
def test_refused(keys: Any, queries: Any, kind: type[Exception], part: str) -> None:
    with refused(kind, part):
        check_pairs(keys, queries)


def test_other_bad_arguments() -> None:
    with refused(rb.InputError, "n is 1"):
        curve_pairs(1)
    with refused(rb.InputError, "n is 1001; expected from 2 to 1000"):
        curve_pairs(1001)
    with refused(rb.InputError, "number of keys is 1001; expected from 2 to 1000"):
        check_pairs(np.ones((1, 1001)), np.ones((1, 1001)))
