"""Errors are caught by the class a caller expects; verdicts never pass for truth values."""

from __future__ import annotations

import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from tests.helpers import refused

STRENGTH = ["refuted", "undecided", "supported", "rigorous", "certified", "proved"]
VERDICTS = st.sampled_from(list(rb.Verdict))


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (rb.InputError, ValueError),
        (rb.InputTypeError, TypeError),
        (rb.NotRepresentable, ValueError),
        (rb.Undecided, ValueError),
        (rb.BackendMissing, ImportError),
    ],
)
def test_every_error_is_ours_and_a_builtin(
    error: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(error, rb.RankboundError)
    assert issubclass(error, builtin)
    # no error is caught where another was meant
    others = {rb.InputError, rb.InputTypeError, rb.NotRepresentable, rb.Undecided} - {error}
    assert not any(issubclass(error, other) for other in others)


def test_errors_carry_what_they_know() -> None:
    missing = rb.NotRepresentable("no head", least_head_size=math.inf, reason="the reason")
    assert (str(missing), missing.least_head_size, missing.reason) == (
        "no head",
        math.inf,
        "the reason",
    )
    bounds = rb.RankBounds(1, 2, rb.Verdict.RIGOROUS, "a test")
    unknown = rb.Undecided("unknown", bounds=bounds, remedy="more bits")
    assert unknown.bounds is bounds
    assert (str(unknown), unknown.remedy) == ("unknown", "more bits")
    assert (rb.Undecided("unknown").bounds, rb.Undecided("unknown").remedy) == (None, "")


@given(VERDICTS)
def test_a_verdict_is_no_truth_value(verdict: rb.Verdict) -> None:
    with refused(TypeError, f"({verdict.value})", "not a truth value", "`verdict is"):
        bool(verdict)
    assert str(verdict) == verdict.value
    assert rb.Verdict(verdict.value) is verdict is copy.deepcopy(verdict)
    assert len(verdict.meaning) > 20


def test_every_word_has_its_own_meaning() -> None:
    assert {verdict.value for verdict in rb.Verdict} == set(STRENGTH)
    assert len({verdict.meaning for verdict in rb.Verdict}) == len(STRENGTH)


@given(st.lists(VERDICTS))
def test_the_weakest_verdict_speaks_for_all(verdicts: list[rb.Verdict]) -> None:
    weakest = rb.Verdict.weakest(verdicts)
    if not verdicts:
        assert weakest is rb.Verdict.UNDECIDED
        return
    assert weakest in verdicts
    assert all(STRENGTH.index(weakest.value) <= STRENGTH.index(v.value) for v in verdicts)
