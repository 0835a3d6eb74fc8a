"""Honest certificates are accepted, whatever they are handed over as."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankbound.certificates.checker import check
from tests.certificates import build
from tests.certificates.build import EXAMPLES, dumped, example
from tests.certificates.truth import holds
from tests.helpers import Rows, rational_rows


@pytest.mark.parametrize("name", EXAMPLES)
def test_accepts_an_honest_certificate_in_every_form(name: str, tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    path.write_text(dumped(example(name)), encoding="ascii")
    document = example(name)
    for form in (document, dumped(document), dumped(document).encode(), path):
        outcome = check(form)
        assert outcome.accepted, outcome
    assert document == example(name)  # checking leaves what it reads as it was
    assert holds(document["statement"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_accepts_other_spellings_of_the_same_object(name: str) -> None:
    backwards = dict(reversed(example(name).items()))
    assert check(json.dumps(backwards, indent=2) + "\n").accepted


@given(rational_rows(), st.integers(0, 2))
def test_accepts_both_sides_of_an_exact_rank(rows: Rows, slack: int) -> None:
    document = build.factored_rank("rational", rows)
    assert check(document).accepted
    document["statement"]["upper"] += slack
    document["statement"]["lower"] = max(document["statement"]["lower"] - slack, 0)
    assert check(document).accepted
    assert check(build.minor_rank("rational", rows)).accepted


@given(rational_rows(4, 4))
def test_accepts_both_sides_of_an_exact_log_rank(rows: Rows) -> None:
    assert check(build.factored_log_rank(rows, "rational")).accepted
    assert check(build.minor_log_rank(rows, "rational")).accepted


def test_sentences_name_what_is_said() -> None:
    assert check(example("factors, rank of integers")).statement == (
        "the 3 × 4 integer matrix has rank exactly 2"
    )
    assert check(example("enclosure, log-rank")).statement.endswith(
        "has log-rank at least 2: no head of size 1, on any tokens, has its context that near"
    )


def test_rows_and_columns_may_be_scaled_by_powers_of_two_only_for_the_inverse() -> None:
    """The enclosure certifies a matrix near the bottom of float64, whose inverse has no float."""
    assert check(example("enclosure, scaled")).accepted


def test_the_exact_bound_of_the_singular_value_is_reached() -> None:
    """diag(1, 1/2), R and V its inverse and the identity: α = 0, so the bound is 1/2 exactly."""
    rows = [[1.0, 0.0], [0.0, 0.5]]
    assert check(build.gap_singular_value(rows, 0.0, build.identity(2), 0.5)).accepted
    above = float.fromhex("0x1.0000000000001p-1")
    assert not check(build.gap_singular_value(rows, 0.0, build.identity(2), above)).accepted


def test_claims_carry_only_the_kinds_they_may() -> None:
    claims = {"sharp.rank": ["rank", "log-rank"], "other": ["log-rank"]}
    document = example("minor, rank of integers")
    document["claim"] = "sharp.rank"
    assert check(document, claims=claims).accepted
    document["claim"] = "other"
    assert "carries statements of kind log-rank, not rank" in check(document, claims=claims).reason
    document["claim"] = "no such claim"
    for known in (claims, None):
        outcome = check(document, claims=known)
        assert not outcome.accepted
        assert "is not in the registry" in outcome.reason
    for claim in (1, ["sharp.rank"], {"sharp.rank": 1}, True):
        document["claim"] = claim
        assert not check(document, claims=claims).accepted
