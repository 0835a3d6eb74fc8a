"""Verdicts: each trend shown, and each contradicted, by arms that nobody trained."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from rankbound.experiments.catalogue import EXPERIMENTS
from rankbound.experiments.trends import (
    NOT,
    NOT_TESTED,
    PARTLY,
    REPRODUCED,
    TRENDS,
    TUNED,
    Finding,
)
from tests.experiments.invented import BY_ID, NAN, SHOWN, Key, Value, arms

OF_MODELS = [trend for trend in SHOWN if BY_ID[trend].experiment in TUNED]


def found(trend: str, changes: dict[Key, Value | None] | None = None, **told: Any) -> Finding:
    table = {**SHOWN[trend], **(changes or {})}
    left = {key: value for key, value in table.items() if value is not None}
    return BY_ID[trend].finding(arms(BY_ID[trend].experiment, left, **told))


def test_every_trend_has_arms_that_show_it() -> None:
    assert list(SHOWN) == [trend.id for trend in TRENDS]
    assert {trend.experiment for trend in TRENDS} == set(EXPERIMENTS)


@pytest.mark.parametrize("trend", SHOWN)
def test_shown(trend: str) -> None:
    finding = found(trend)
    assert finding.verdict == REPRODUCED, finding.evidence
    assert "hold" not in finding.evidence
    assert finding.seeds == 3
    assert finding.statement and finding.paper


@pytest.mark.parametrize("trend", SHOWN)
def test_without_runs_nothing_is_said(trend: str) -> None:
    finding = BY_ID[trend].finding([])
    assert (finding.verdict, finding.checks, finding.evidence) == (NOT_TESTED, (), "")
    assert finding.seeds == 0
    right = arms(BY_ID[trend].experiment, SHOWN[trend])
    other = "lookup" if BY_ID[trend].experiment != "lookup" else "mixing"
    wrong = [replace(arm, experiment=other) for arm in right]
    assert BY_ID[trend].finding(wrong).verdict == NOT_TESTED


@pytest.mark.parametrize("trend", SHOWN)
def test_one_arm_says_nothing(trend: str) -> None:
    for key, value in SHOWN[trend].items():
        alone = BY_ID[trend].finding(arms(BY_ID[trend].experiment, {key: value}))
        assert alone.verdict == NOT_TESTED or trend == "lookup-control", key


@pytest.mark.parametrize("trend", SHOWN)
def test_values_the_other_way_round_do_not_show_it(trend: str) -> None:
    """The same arms with the negated order of values: the least where the greatest was."""
    table = SHOWN[trend]
    assert all(isinstance(value, (int, float)) for value in table.values())
    ranked = sorted({value for value in table.values() if isinstance(value, (int, float))})
    swap = dict(zip(ranked, reversed(ranked), strict=True))
    turned = {key: swap[value] for key, value in table.items() if isinstance(value, (int, float))}
    finding = BY_ID[trend].finding(arms(BY_ID[trend].experiment, turned))
    if trend in ("lookup-control", "collapse-skip"):  # both of 0.999 and 1, or 0.6 and 3, will do
        return
    assert finding.verdict in (NOT, PARTLY), finding.evidence
    assert "does not hold" in finding.evidence


@pytest.mark.parametrize("trend", SHOWN)
def test_equal_values_show_nothing(trend: str) -> None:
    """All arms alike, be they all solved, all failed, or all diverged."""
    for value in (1e-12, 0.5, NAN):
        level = dict.fromkeys(SHOWN[trend], value)
        finding = BY_ID[trend].finding(arms(BY_ID[trend].experiment, level))
        # both solved is as well as each other: the statement says no more
        alike = (trend, value) in (("mixing-smaller-d", 1e-12), ("collapse-skip", 0.5))
        assert (finding.verdict == REPRODUCED) == alike, finding.evidence


@pytest.mark.parametrize("trend", SHOWN)
def test_a_diverged_arm_shows_nothing(trend: str) -> None:
    """NaN is above nothing and below nothing; an arm that is not looked at may hold it."""
    unseen: dict[str, set[Key]] = {
        "separation-fixed": {("standard", 1)},
        "mixing-heads": {("standard", 4, 64), ("standard", 32, 64)},
        "mixing-knee": {("standard", 4, 64)},
        "mixing-smaller-d": {("fixed", 1)},
        "language-heads": {("standard", 8, 64)},
    }
    for key in SHOWN[trend]:
        verdict = found(trend, {key: NAN}).verdict
        assert (verdict == REPRODUCED) == (key in unseen.get(trend, set())), key


@pytest.mark.parametrize("trend", SHOWN)
def test_no_more_than_partly_if_a_seed_contradicts(trend: str) -> None:
    for key, value in SHOWN[trend].items():
        assert isinstance(value, float)
        finding = found(trend, {key: [value, value, NAN]})
        if finding.verdict != REPRODUCED:
            assert finding.verdict == PARTLY
            assert "2 of 3 seeds" in finding.evidence
            assert finding.seeds == 3


@pytest.mark.parametrize("trend", SHOWN)
def test_seeds_that_arms_do_not_share_say_nothing(trend: str) -> None:
    """Each arm with a seed of its own: nothing can be compared, seed by seed."""
    apart: dict[Key, Value | None] = {
        key: {at: value}
        for at, (key, value) in enumerate(SHOWN[trend].items())
        if isinstance(value, (int, float))
    }
    assert apart.keys() == SHOWN[trend].keys()
    finding = found(trend, apart)
    alone = ("lookup-control", "distinct-fixed", "collapse-skip")  # each arm says something
    assert finding.verdict == NOT_TESTED or trend in alone


def test_comparisons_are_of_the_seeds_that_both_have() -> None:
    """An arm whose other seeds failed: the finding says on how many it rests."""
    finding = found("mixing-heads", {("standard", 32): {1: 0.09}})
    assert (finding.verdict, finding.seeds) == (REPRODUCED, 1)
    changes: dict[Key, Value | None] = {
        ("standard", 8): {0: 1.66, 1: 1.5},
        ("fixed", 8): {1: 1.58, 2: 1.2},
    }
    finding = found("language-size", changes)
    assert (finding.verdict, finding.seeds) == (NOT, 1)


CONTRADICTED: list[tuple[str, dict[Key, Value | None], str]] = [
    # no cliff, one elsewhere, a small step only, a context that is not had
    ("context-cliff", {("head", 8, 6): 1e-14}, NOT),
    ("context-cliff", {("head", 16, 14): 1e-12}, PARTLY),
    ("context-cliff", {("head", 8, 5): 1.0}, PARTLY),
    ("context-cliff", {("head", 8, 7): 1e-7}, PARTLY),
    ("context-cliff", {("head", 8, 7): None, ("head", 16, 15): None}, NOT_TESTED),
    ("context-cliff", {("head", 8, 7): None}, REPRODUCED),
    # what fixed heads do not do either; what a standard layer does too; more small heads do better
    ("separation-fixed", {("fixed", 4): 0.01}, NOT),
    ("separation-fixed", {("standard", 2): 5e-4}, PARTLY),
    ("separation-fixed", {("standard", 16): 0.25}, PARTLY),
    ("separation-fixed", {("standard", 1): 0.9}, REPRODUCED),
    ("separation-fixed", {("fixed", 4): None}, NOT_TESTED),
    ("separation-fixed", {("standard", h): None for h in (2, 4, 8)}, NOT_TESTED),
    ("separation-queries", {("sizes", 4, 16, 16, 4): 0.01}, NOT),
    ("separation-queries", {("sizes", 4, 16, 16, 4): 0.01, ("sizes", 4, 16, 4, 16): 2.0}, PARTLY),
    ("separation-queries", {("sizes", 4, 16, 16, 4): 1e-8, ("sizes", 4, 16, 4, 16): 1e-5}, PARTLY),
    # two full heads, or standard ones, do it as well
    ("distinct-fixed", {("fixed", 2): 1e-5}, PARTLY),
    ("distinct-fixed", {("standard", 4): 1e-5}, PARTLY),
    ("distinct-fixed", {("fixed", 4): 0.2}, NOT),
    ("distinct-fixed", {("fixed", 2): None}, NOT_TESTED),
    ("distinct-fixed", {("standard", 1): None}, NOT_TESTED),
    # heads that only help, or only hurt: half of a U
    ("distinct-heads", {("standard", 4): 0.3, ("standard", 8): 0.2}, NOT),
    ("distinct-heads", {("standard", 1): 0.1}, PARTLY),
    ("distinct-heads", {("standard", 8): 0.39}, PARTLY),
    ("distinct-heads", {("standard", 1): None, ("standard", 8): None}, NOT_TESTED),
    ("mixing-heads", {("standard", 32): 1e-3}, PARTLY),
    ("mixing-heads", {("standard", h): 1e-6 / h for h in (8, 16, 32)}, NOT),
    ("mixing-heads", {("standard", h): 1e-6 * h for h in (1, 2, 4)}, PARTLY),
    # heads that hurt, that do not help, or of which either is not seen
    ("mixing-fixed", {("fixed", 4): 0.01}, NOT),
    ("mixing-fixed", {("fixed", 8): 0.01}, PARTLY),
    ("mixing-fixed", {("fixed", 2): 0.6}, PARTLY),
    ("mixing-fixed", {("fixed", 1): None, ("fixed", 2): None}, NOT_TESTED),
    ("mixing-fixed", {("fixed", 4): None, ("fixed", 8): None}, NOT_TESTED),
    ("mixing-fixed", {("fixed", 8): None}, NOT_TESTED),
    # the same gain beyond the knee as below; a slope without a knee; the step elsewhere
    ("mixing-knee", {("standard", 4): 3e-7}, PARTLY),
    ("mixing-knee", {("standard", 4): 0.0}, PARTLY),  # the step beyond gains all
    ("mixing-knee", {("sizes", 4, 32, 6, 8): 9e-6}, PARTLY),
    ("mixing-knee", {("sizes", 4, 32, 7, 8): 2e-4}, NOT),
    ("mixing-knee", {("sizes", 4, 32, 7, 8): None}, NOT_TESTED),
    ("mixing-knee", {("sizes", 4, 32, 7, 8): None, ("sizes", 4, 32, 5, 8): 1e-3}, NOT_TESTED),
    ("mixing-knee", {("standard", 4): None}, NOT_TESTED),
    ("mixing-smaller-d", {("fixed", 16): 0.01}, PARTLY),
    ("mixing-smaller-d", {("fixed", 4): 0.01}, NOT),
    ("mixing-smaller-d", {("standard", 4, 64): None, ("standard", 16, 64): None}, NOT_TESTED),
    # small heads do as well; the only small heads are below n - 1 as well
    ("farthest-size", {("standard", 2): 0.07}, PARTLY),
    ("farthest-size", {("fixed", 4): 0.5}, PARTLY),
    ("farthest-size", {("standard", 1): 0.8}, NOT),
    ("farthest-size", {("standard", 2): None, ("standard", 8): 0.6}, NOT_TESTED),
    ("lookup-control", {("standard", 32): 0.98}, NOT),
    ("lookup-control", {("standard", 4): 0.98}, PARTLY),
    ("lookup-control", {("standard", 32): None}, NOT_TESTED),
    ("language-heads", {("standard", 32): 1.5}, NOT),
    ("language-heads", {("standard", 16): 1.75}, PARTLY),
    ("language-heads", {("standard", 2): None, ("standard", 8): None}, NOT_TESTED),
    ("language-fixed", {("fixed", 16): 1.59}, NOT),
    ("language-fixed", {("fixed", 16): (1.54, 1.59, 1.54)}, PARTLY),
    ("language-size", {("fixed", 8): 1.66}, NOT),
    ("language-matched", {("matched", 16): 1.53}, NOT),
    ("language-matched", {("matched", 8): 1.57}, PARTLY),
    ("language-matched", {("fixed", 8): None, ("matched", 16): None}, NOT_TESTED),
    ("language-smaller-d", {("fixed", 8): 1.65}, PARTLY),
    ("language-smaller-d", {("standard", 8, 64): 1.48}, NOT),
    ("language-knee", {("standard", 4): 1.58}, NOT),
    ("language-knee", {("standard", 4): 1.61}, PARTLY),
    ("language-knee", {("standard", 4): None}, NOT_TESTED),
    # smaller heads that win, that win on the way, that were not all run
    ("size-split", {("scaled", 16): 1.59}, NOT),
    ("size-split", {("scaled", 4): 1.58}, PARTLY),
    ("size-split", {("scaled", 16): (1.7, 1.7, 1.59)}, PARTLY),
    ("size-split", {("scaled", 4): None}, NOT_TESTED),
    ("size-temperature", {("qk-norm", 16): 1.59}, NOT),
    ("size-temperature", {("qk-norm", 4): 1.75}, PARTLY),
    ("size-temperature", {("scaled", 1): 9.0}, REPRODUCED),
    ("size-rank", {("rank", 4, 32, 2, 8): 1.59}, NOT),
    ("size-rank", {("rank", 4, 32, 2, 8): (1.7, 1.59, 1.7)}, PARTLY),
    ("size-rank", {("qk-norm", 4): None, ("qk-norm", 8): 1.5}, NOT_TESTED),
    ("size-rank-matched", {("rank-matched", 4, 32, 2, 8): 1.59}, NOT),
    # no cubing: exponential, slow at first, a bound that is broken or has no hypothesis
    ("collapse-attention", {("attention", at): 10.0**-at for at in (1, 2, 3, 4)}, NOT),
    ("collapse-attention", {("attention", 4): 1e-120}, NOT),
    ("collapse-attention", {("attention", 1): 2.0}, NOT),
    ("collapse-attention", {("attention", 4): 0.0}, NOT),
    ("collapse-attention", {("attention", 2): (1e-22, 1e-22, 1e-10)}, PARTLY),
    ("collapse-attention", {("bound", 1): 1e-7}, PARTLY),
    ("collapse-attention", {("bound", 3): None}, NOT_TESTED),
    ("collapse-attention", {("attention", 2): None}, NOT_TESTED),
    ("collapse-beyond", {("unit", 3): 1e-4}, NOT),
    ("collapse-ffn", {("ffn", 2): 1e-23}, PARTLY),
    ("collapse-ffn", {("ffn", 3): 1e-30}, NOT),
    ("collapse-skip", {("skip", 1): 0.4}, NOT),
    ("collapse-skip", {("unit-skip", 3): 0.4}, PARTLY),
    ("collapse-skip", {("skip-ffn", 1): None}, NOT_TESTED),
    # the largest step elsewhere, for one n or for all; a number of heads not run
    ("transition-heads", {(8, 3): 0.04}, NOT),
    ("transition-heads", {(8, 5): 0.001}, NOT),
    ("transition-heads", {(128, 2): 0.6, (128, 3): 0.5, (128, 4): 0.4}, PARTLY),
    ("transition-heads", {(8, 4): (0.02, 0.02, 0.19)}, PARTLY),
    ("transition-heads", {(8, 1): None}, REPRODUCED),
    ("transition-heads", {(8, 1): None, (128, 5): None}, NOT_TESTED),
]


@pytest.mark.parametrize(("trend", "changes", "verdict"), CONTRADICTED)
def test_contradicted(trend: str, changes: dict[Key, Value | None], verdict: str) -> None:
    finding = found(trend, changes)
    assert finding.verdict == verdict, finding.evidence


@pytest.mark.parametrize("trend", OF_MODELS)
def test_language_models_are_compared_when_tuned_and_trained(trend: str) -> None:
    assert found(trend, rates=(0.02, 0.04)).verdict == NOT_TESTED
    assert found(trend, decay=0.1).verdict == NOT_TESTED
    assert found(trend, steps=499).verdict == NOT_TESTED
    assert found(trend, steps=500).verdict == REPRODUCED


@pytest.mark.parametrize("trend", OF_MODELS)
def test_language_models_of_two_seeds_reproduce_nothing(trend: str) -> None:
    two: dict[Key, Value | None] = {
        key: value[:2] if isinstance(value, tuple) else (value, value)
        for key, value in SHOWN[trend].items()
    }
    finding = found(trend, two)
    assert (finding.verdict, finding.seeds) == (PARTLY, 2)
    assert finding.evidence.endswith("3 seeds or more (does not hold)")


def test_untrained_layers_say_nothing() -> None:
    for trend, steps in (("farthest-size", 1500), ("lookup-control", 1000)):
        assert found(trend, steps=steps - 1).verdict == NOT_TESTED
        assert found(trend, steps=steps).verdict == REPRODUCED


@pytest.mark.parametrize("trend", SHOWN)
def test_the_order_of_arms_does_not_matter(trend: str) -> None:
    items = list(SHOWN[trend].items())[:4]
    rest = dict(list(SHOWN[trend].items())[4:])
    for order in permutations(items):
        shuffled = arms(BY_ID[trend].experiment, {**rest, **dict(order)})
        assert BY_ID[trend].finding(shuffled) == found(trend)


def test_evidence_marks_what_does_not_hold() -> None:
    finding = found("separation-queries", {("sizes", 4, 16, 4, 16): (0.08, 1e-4, 1e-4)})
    assert finding.verdict == PARTLY
    first, second, third = finding.evidence.split("; ")
    assert "100 times above" in first
    assert first.endswith("(holds for 1 of 3 seeds)")
    assert not second.endswith(")") or "hold" not in second
    assert third.endswith("(holds for 1 of 3 seeds)")
