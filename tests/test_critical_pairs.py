"""scripts/critical_pairs.py: the gradient of its training, where that stops, and a bound."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.theory.selection import check_pairs, curve_pairs, pair_members
from tests.helpers import refused

SCRIPT = Path(__file__).parents[1] / "scripts" / "critical_pairs.py"


def load_script() -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("critical_pairs", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["critical_pairs"] = module
    spec.loader.exec_module(module)
    return module


script = load_script()
PUBLISHED_CRITICAL: dict[int, int] = script.PUBLISHED_CRITICAL
contrastive_loss, critical_keys = script.contrastive_loss, script.critical_keys
pair_margin_bound, train_pairs = script.pair_margin_bound, script.train_pairs


@settings(max_examples=20)
@given(st.integers(3, 6), st.integers(1, 4), st.integers(0, 999), st.sampled_from([1.0, 0.1]))
def test_loss_and_gradient(n: int, d: int, seed: int, tau: float) -> None:
    """The loss by its definition, the gradient by differences."""
    rng = np.random.default_rng(seed)
    members = pair_members(n)
    factors = rng.standard_normal((d, n + len(members))) + 0.1
    unit = factors / np.linalg.norm(factors, axis=0)
    terms = []
    for pair, query in zip(members, unit.T[n:], strict=True):
        scores = unit[:, :n].T @ query / tau
        others = sum(np.exp(scores[i]) for i in range(n) if i not in pair)
        terms += [-np.log(np.exp(scores[a]) / (np.exp(scores[a]) + others)) for a in pair]
    loss, gradient = contrastive_loss(factors, members, n, tau)
    assert loss == pytest.approx(np.mean(terms), rel=1e-10, abs=1e-12)
    direction, h = rng.standard_normal(factors.shape), 1e-6
    ends = [contrastive_loss(factors + s * h * direction, members, n, tau)[0] for s in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * h)
    assert float(np.sum(gradient * direction)) == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_small_temperatures_do_not_overflow() -> None:
    found = train_pairs(4, 2, 0, temperature=1e-9, max_iterations=3)
    assert found.count == 6


def test_falling_temperatures_pass_the_published_number() -> None:
    n = PUBLISHED_CRITICAL[4] + 4
    found = max((train_pairs(n, 4, seed) for seed in range(3)), key=lambda pairs: pairs.share)
    assert found.share == 1
    assert check_pairs(found.keys, found.queries).realised == found.count
    # less than any may have, more than the curve has
    assert curve_pairs(n).margin < found.margin <= pair_margin_bound(n, 4)


def test_one_temperature_stops_where_it_was_published_to() -> None:
    found = critical_keys(4, temperature=0.1, first=8, last=12)
    assert found.realised[:2] == (8, 9)
    # 10 from these starts; which local optimum a start leads to may hang on the last bit
    assert found.critical in (PUBLISHED_CRITICAL[4], PUBLISHED_CRITICAL[4] + 1)
    assert 0.7 < found.share < 1


def test_in_space_no_temperature_helps() -> None:
    """Five keys: K_5 is not planar."""
    found = critical_keys(3, last=6, starts=2)
    assert (found.realised, found.critical) == ((4,), 5)


def test_no_critical_number() -> None:
    found = critical_keys(6, last=8, starts=1)
    assert found.critical is None and found.share == 1 and found.realised == (7, 8)


def test_adam_reaches_what_it_should() -> None:
    found = train_pairs(8, 4, 0, temperature=0.1, method="adam")
    assert found.share == 1
    again = train_pairs(8, 4, 0, temperature=0.1, method="adam")
    np.testing.assert_array_equal(found.keys, again.keys)


@pytest.mark.parametrize(
    ("keywords", "kind", "part"),
    [
        ({"n": 2}, rb.InputError, "n is 2"),
        ({"n": 129}, rb.InputError, "from 3 to 128"),
        ({"head_size": 0}, rb.InputError, "head_size"),
        ({"temperature": 0.0}, rb.InputError, "above 0.0"),
        ({"temperature": 1e-10}, rb.InputError, "mostly rounding"),
        ({"method": "sgd"}, rb.InputError, "l-bfgs, adam"),
        ({"seed": -1}, rb.InputError, "seed is -1"),
        ({"max_iterations": 0}, rb.InputError, "max_iterations"),
    ],
)
def test_refused(keywords: dict[str, Any], kind: type[Exception], part: str) -> None:
    with refused(kind, part):
        train_pairs(**{"n": 4, "head_size": 2, "seed": 0, **keywords})


def test_a_search_that_cannot_begin() -> None:
    with refused(rb.InputError, "first is 9"):
        critical_keys(4, first=9, last=8)


@given(st.integers(2, 10**6), st.integers(1, 50))
def test_the_bound_on_margins(n: int, d: int) -> None:
    bound = pair_margin_bound(n, d)
    assert 0 < bound <= 2
    assert bound >= pair_margin_bound(n + 1, d)
    assert bound <= pair_margin_bound(n, d + 1)
    if bound < 2:
        assert bound == pytest.approx(2 / ((n * (n - 1) / 2) ** (1 / d) - 1), rel=1e-9)


@pytest.mark.parametrize("n", [3, 4, 5, 10, 20, 50])
def test_the_curve_keeps_to_the_bound(n: int) -> None:
    assert curve_pairs(n).margin <= pair_margin_bound(n, 4)


def test_the_bound_needs_two_keys() -> None:
    with refused(rb.InputError, "n is 1"):
        pair_margin_bound(1, 4)
