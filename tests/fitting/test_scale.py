"""The price of scale, measured: both sides, and the optima that are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.fitting.scale import fit_directions, scale_bracket, soft_margin
from rankbound.theory.selection import head_scale, least_scale_bound, worst_margin
from tests.helpers import refused


@settings(max_examples=20)
@given(st.integers(2, 7), st.integers(1, 4), st.integers(0, 999), st.sampled_from([1.0, 30.0]))
def test_soft_margin_and_its_gradient(n: int, d: int, seed: int, sharpness: float) -> None:
    rng = np.random.default_rng(seed)
    pair = rng.standard_normal((2, d, n)) + 0.1
    value, gradient = soft_margin(pair, sharpness)
    keys, queries = pair / np.linalg.norm(pair, axis=1, keepdims=True)
    scores = keys.T @ queries
    margin = min(scores[j, j] - scores[i, j] for i in range(n) for j in range(n) if i != j)
    assert margin - math.log(n * (n - 1)) / sharpness - 1e-12 <= value <= margin + 1e-12
    direction, h = rng.standard_normal(pair.shape), 1e-6
    ends = [soft_margin(pair + s * h * direction, sharpness)[0] for s in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * h)
    assert float(np.sum(gradient * direction)) == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("n", "d", "margin"),
    [
        (2, 1, 2.0),
        (7, 2, 1 - math.cos(2 * math.pi / 7)),
        (6, 3, 1.0),  # octahedron
        (12, 3, 1 - 1 / math.sqrt(5)),  # icosahedron
        (5, 4, 5 / 4),  # simplex
        (10, 4, 5 / 6),  # the best spherical code known
    ],
)
def test_margins_of_the_best_codes(n: int, d: int, margin: float) -> None:
    """Keys and queries are fitted freely, and come out as spherical codes with queries along."""
    bracket = scale_bracket(n, d, 1e-3)
    assert bracket.found is not None
    assert bracket.margin == pytest.approx(margin, abs=1e-3)
    assert bracket.margin <= margin + 1e-12
    keys, queries = bracket.found.head.W_k, bracket.found.head.W_q
    cosines = np.sum(keys * queries, axis=0) / np.linalg.norm(queries, axis=0)
    if n <= d + 1 or d == 2 or n == 12:
        np.testing.assert_allclose(cosines, 1, atol=1e-3)


def test_the_fit_goes_beyond_a_rough_margin() -> None:
    """A smoothing of 1/4 alone ends at 0.561, 0.691 and 0.208."""
    margins = [scale_bracket(n, d, 1e-3, starts=2).margin for n, d in ((16, 4), (7, 3), (64, 4))]
    assert margins[0] > 0.6 and margins[1] > 0.77 and margins[2] > 0.24


@pytest.mark.parametrize(("n", "d"), [(9, 2), (8, 3), (40, 4), (30, 12), (4, 3), (5, 8)])
@pytest.mark.parametrize("error", [0.3, 1e-6])
def test_sides_are_in_order(n: int, d: int, error: float) -> None:
    bracket = scale_bracket(n, d, error, starts=2)
    assert bracket.lower == least_scale_bound(n, d, error)
    assert bracket.lower <= bracket.fitted <= bracket.random
    assert bracket.fitted <= bracket.sufficient * (1 + 1e-4)
    found = bracket.found
    assert found is not None and found.scale == bracket.fitted == head_scale(found.head)
    assert (np.diag(found.head.context()) >= 1 - error).all()
    if d >= n - 1:  # both sides meet
        assert bracket.fitted <= bracket.lower * (1 + 1e-4)


def test_no_scale_is_enough() -> None:
    bracket = scale_bracket(3, 1, 1e-3)
    assert bracket.found is None
    assert bracket.lower == bracket.fitted == bracket.random == bracket.sufficient == math.inf
    assert json.loads(bracket.to_json())["fitted"] == "inf"


def test_records_and_seeds() -> None:
    one, two = (scale_bracket(8, 3, 1e-2, seed=3, starts=1) for _ in range(2))
    assert one.to_json() == two.to_json()
    assert json.loads(one.to_json())["lower"] == one.lower
    keys, queries = fit_directions(4, 3, seed=0)
    np.testing.assert_allclose(np.linalg.norm([keys, queries], axis=1), 1)
    assert worst_margin(keys, queries)[0].min() == pytest.approx(4 / 3, abs=1e-3)


def test_refused() -> None:
    with refused(rb.InputError, "from 2 to 1024"):
        scale_bracket(1, 2, 0.1)
    with refused(rb.InputError, "below 1"):
        scale_bracket(4, 2, 1.5)
    with refused(rb.InputError, "starts is 0"):
        scale_bracket(4, 2, 0.1, starts=0)
    with refused(rb.InputTypeError, "seed is None"):
        fit_directions(4, 2, None)  # type: ignore[arg-type]
