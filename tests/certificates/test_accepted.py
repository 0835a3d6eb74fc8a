"""Honest certificates are accepted, whatever they are handed over as."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

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


# Factors of matrices that leave a statement true and its data a proof of it.
THIRD, FIFTH, SEVENTH = Fraction(1, 3), Fraction(1, 5), Fraction(1, 7)
PRODUCT = (Fraction(5, 7), Fraction(7, 15))  # of two that are a third together
HEAD = dict(zip(("keys", "queries"), PRODUCT, strict=True))
FACTORS = dict(zip(("left", "right"), PRODUCT, strict=True))
UNITS = {
    "rank": {"matrix": THIRD, **FACTORS},
    "log-rank": {"logits": THIRD, **FACTORS},
    "logit-rank": {"keys": THIRD, "queries": FIFTH},
    "represented-exactly": {"logits": THIRD, **HEAD},
    "represented-masked": {"logits": THIRD, **HEAD},
    "masked-log-rank": {"logits": THIRD, "directions": FIFTH, **HEAD},
    "unreachable": {"logits": THIRD, "tokens": FIFTH, **FACTORS},
    "unreachable-masked": {"logits": THIRD, "tokens": FIFTH, "weights": SEVENTH},
    "selectable": {"keys": THIRD, "queries": FIFTH},
    "unselectable": {"keys": THIRD, "weights": FIFTH},
}


def in_other_units(document: Any, units: dict[str, Fraction]) -> Any:
    """The document with these matrices times these factors."""
    for name, part in document.items():
        if name in units and part is not None:
            part["entries"] = [
                f"{x.numerator:#x}/{x.denominator:#x}"
                for entry in part["entries"]
                for x in [Fraction(*(int(n, 16) for n in entry.split("/"))) * units[name]]
            ]
            part["type"] = "rational"
        elif isinstance(part, dict):
            in_other_units(part, units)
    return document


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, document in EXAMPLES.items()
        if document["statement"]["kind"] in UNITS and "float" not in dumped(document)
    ],
)
def test_accepts_the_same_in_other_units(name: str) -> None:
    """Every exact matrix has denominators then."""
    document = example(name)
    units = dict(UNITS[document["statement"]["kind"]])
    if "keys" in units and document["statement"].get("tokens"):
        units |= {"tokens": FIFTH, "queries": 25 * units["queries"]}
    outcome = check(in_other_units(document, units))
    assert outcome.accepted, outcome
    assert holds(document["statement"])


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
