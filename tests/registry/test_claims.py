"""Every claim is as registered, and its check catches every mutant."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

import rankbound as rb
from rankbound.registry.claim import Claim, Instance, Relation, by_id
from rankbound.registry.verification import run_claim
from rankbound.verdict import Verdict

CLAIMS = list(rb.claims.values())
MUTANTS = [(claim, mutant) for claim in CLAIMS for mutant in claim.mutants]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
@pytest.mark.parametrize("seed", [0, 1])
def test_claim_is_as_registered(claim: Claim, seed: int) -> None:
    row = run_claim(claim, "quick", seed)
    assert row.ok, f"seed {seed}: {row}"
    assert row.instances >= 1


@pytest.mark.parametrize(("claim", "mutant"), MUTANTS, ids=lambda x: getattr(x, "name", None))
def test_check_catches_mutant(claim: Claim, mutant: object) -> None:
    row = run_claim(claim, "quick", 0, mutant.formulas)  # type: ignore[attr-defined]
    assert not row.ok
    # caught by what it measures, not by falling over: the relation fails, or that of a false
    # statement holds; a certificate of the wrong matrix may be rejected as well
    assert (row.residual > row.tolerance) is (claim.status is not Verdict.REFUTED)
    assert not row.reason or row.reason.startswith(("certificate ", "not built: "))


def test_every_claim_has_a_mutant_and_says_what_it_assumes() -> None:
    for claim in CLAIMS:
        assert claim.mutants, claim.id
        assert claim.hypotheses, claim.id


def test_issue_of_the_paper_is_covered() -> None:
    """Both halves of Theorem 1 and the bottleneck, on random, trained and pretrained heads."""
    ids = set(rb.claims)
    for kind in ("random", "trained", "pretrained"):
        assert f"b20-theorem1-first-{kind}" in ids
        assert f"log-rank-{kind}" in ids
    for kind in ("example", "family", "trained", "pretrained"):
        assert f"b20-theorem1-second-{kind}" in ids
    assert rb.claims["folklore-context-rank"].status is Verdict.REFUTED


def test_references_are_known_and_used() -> None:
    bib = (resources.files("rankbound") / "references.bib").read_text(encoding="utf-8")
    known = set(re.findall(r"^@\w+\{(\w+),", bib, flags=re.MULTILINE))
    used = {claim.source.key for claim in CLAIMS}
    assert used == known


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_says_what_it_states_where_it_stands_and_what_it_rests_on(claim: Claim) -> None:
    assert isinstance(claim.hypotheses, tuple) and claim.hypotheses
    for text in (claim.statement, claim.source.place, claim.source.note, *claim.hypotheses):
        assert isinstance(text, str)
    assert claim.statement and claim.source.place and all(claim.hypotheses)


def test_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        rb.claims["x"] = CLAIMS[0]  # type: ignore[index]
    with pytest.raises(rb.InputError, match="repeated"):
        by_id(CLAIMS[0], CLAIMS[0])


def _instance(measured: float, predicted: float, evidence: Verdict, tol: float = 0.0) -> Instance:
    if evidence is not Verdict.CERTIFIED:
        return Instance("case", measured, predicted, evidence, tol)
    certificates = rb.exact_rank([[1]]).certify().certificates
    return Instance("case", measured, predicted, evidence, tol, certificates, accepted=1)


@pytest.mark.parametrize(
    ("relation", "measured", "predicted", "residual"),
    [
        (Relation.EQ, 3, 5, 2),
        (Relation.LE, 3, 5, 0),
        (Relation.LE, 5, 3, 2),
        (Relation.GE, 5, 3, 0),
        (Relation.GE, 3, 5, 2),
        (Relation.IFF, True, False, 1),
        (Relation.EXISTS, True, True, 0),
    ],
)
def test_residual(relation: Relation, measured: float, predicted: float, residual: float) -> None:
    assert relation.residual(measured, predicted) == residual


def test_judgement() -> None:
    claim = replace(CLAIMS[0], relation=Relation.EQ)
    good = [_instance(1, 1, Verdict.CERTIFIED), _instance(1, 1 + 1e-9, Verdict.SUPPORTED, 1e-8)]
    assert claim.judge(good) is Verdict.SUPPORTED
    assert claim.judge(good[:1]) is Verdict.CERTIFIED
    assert claim.judge([]) is Verdict.UNDECIDED
    # a violation in floating point refutes nothing; one in exact arithmetic does
    assert claim.judge([*good, _instance(1, 2, Verdict.SUPPORTED)]) is Verdict.UNDECIDED
    assert claim.judge([*good, _instance(1, 2, Verdict.CERTIFIED)]) is Verdict.REFUTED
    assert claim.judge([_instance(np.nan, 1, Verdict.SUPPORTED, 1e9)]) is Verdict.UNDECIDED


def test_streams_depend_on_seed_and_id_alone() -> None:
    first, second = CLAIMS[0], CLAIMS[1]
    draw = first.trial("quick", 7).integers(2, 2)
    assert draw == first.trial("full", 7).integers(2, 2)
    assert draw != first.trial("quick", 8).integers(2, 2)
    assert draw != second.trial("quick", 7).integers(2, 2)


@pytest.mark.parametrize("tolerance", [np.nan, np.inf])
def test_a_tolerance_that_holds_anything_holds_nothing(tolerance: float) -> None:
    claim = replace(CLAIMS[0], relation=Relation.EQ)
    assert claim.judge([_instance(1, 1, Verdict.SUPPORTED, tolerance)]) is Verdict.UNDECIDED


def test_certified_without_a_certificate_is_supported() -> None:
    """And it refutes nothing either: whoever doubts it has nothing to check."""
    claim = replace(CLAIMS[0], relation=Relation.EQ)
    bare = [Instance("case", 1, predicted, Verdict.CERTIFIED) for predicted in (1, 2)]
    assert claim.judge(bare[:1]) is Verdict.SUPPORTED
    assert claim.judge(bare) is Verdict.UNDECIDED


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_instance_called_certified_carries_a_certificate(claim: Claim) -> None:
    instances = list(claim.check(claim.trial("quick", 0)))
    assert all(i.certificates for i in instances if i.evidence is Verdict.CERTIFIED)
