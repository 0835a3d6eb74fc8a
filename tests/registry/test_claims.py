"""Every claim is as registered, and its check catches every mutant."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any, get_args

import numpy as np
import pytest
import scipy.optimize
from threadpoolctl import threadpool_limits

import rankbound as rb
from rankbound.certificates.certificates import Certificate
from rankbound.fitting import descent
from rankbound.registry.claim import (
    Claim,
    Instance,
    Mutant,
    MutantKind,
    Relation,
    Trial,
    by_id,
)
from rankbound.registry.verification import LONG, Row, prove, run_claim
from rankbound.verdict import Verdict
from tests.helpers import script

make_claims = script("make_claims")
RECORD = json.loads(make_claims.CASES.read_text(encoding="ascii"))
CLAIMS = list(rb.claims.values())
MUTANTS = [
    pytest.param(claim, mutant, id=f"{claim.id}-{mutant.name}")
    for claim in CLAIMS
    for mutant in claim.mutants
]
each_claim = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)


# of another seed, too, where that takes less than half a second
SEEDS = [
    pytest.param(claim, seed, id=f"{seed}-{claim.id}")
    for seed in (0, 1)
    for claim in CLAIMS
    if seed == 0 or claim.id not in LONG
]


@pytest.mark.parametrize(("claim", "seed"), SEEDS)
def test_claim_is_as_registered(claim: Claim, seed: int) -> None:
    """A check that draws nothing is the same for every seed, and is run once."""
    row = row_of(claim, seed if draws(claim) else 0)
    assert row.ok, f"seed {seed}: {row}"
    assert row.instances >= 1


# ---- the mutants


@dataclass(frozen=True)
class Run:
    """What a check yielded on the quick trial of seed 0, and how.

    What stopped it, whether it fitted, and the trial, which notes what it is asked for.
    """

    instances: tuple[Instance, ...]
    error: Exception | None
    fitted: bool
    trial: Any

    def check(self, trial: Trial, **formulas: Any) -> Iterator[Instance]:
        """The check again, without its work."""
        yield from self.instances
        if self.error is not None:
            raise self.error

    def by_label(self) -> dict[tuple[str, int], Instance]:
        """The instances; a repeated label is numbered."""
        seen: Counter[str] = Counter()
        found = {}
        for one in self.instances:
            found[one.label, seen[one.label]] = one
            seen[one.label] += 1
        return found


@cache
def row_of(claim: Claim, seed: int) -> Row:
    """The row of a claim, of seed 0 from the run that the mutants are compared with."""
    known = claim if seed else replace(claim, check=run_of(claim).check)
    return run_claim(known, "quick", seed)


def draws(claim: Claim) -> bool:
    """Whether its check draws from its stream."""
    streams = (run_of(claim).trial.rng, make_claims.noted(claim).rng)
    states = [
        (one.bit_generator.state, one.bit_generator.seed_seq.n_children_spawned) for one in streams
    ]
    return bool(states[0] != states[1])


def run_of(claim: Claim, mutant: Mutant | None = None) -> Run:
    """One run of a check, as it is or mutated; each is run once."""
    return _run(claim, mutant)


@cache
def _run(claim: Claim, mutant: Mutant | None) -> Run:
    """The first run.

    All that the package fits is fitted by Newton's method or by SciPy, and these two are watched.
    """
    instances: list[Instance] = []
    error, fitted = None, False
    trial = make_claims.noted(claim)

    def watched(minimiser: Callable[..., Any]) -> Callable[..., Any]:
        def watch(*given: Any, **named: Any) -> Any:
            nonlocal fitted
            fitted = True
            return minimiser(*given, **named)

        return watch

    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1, "blas"):
        for module, name in ((descent, "newton"), (scipy.optimize, "minimize")):
            patch.setattr(module, name, watched(getattr(module, name)))
        try:
            formulas = {} if mutant is None else mutant.formulas
            most = None if mutant is None else make_claims.ENOUGH
            instances.extend(islice(claim.check(trial, **formulas), most))
        except Exception as stopped:
            error = stopped
    return Run(tuple(instances), error, fitted, trial)


@pytest.mark.parametrize(("claim", "mutant"), MUTANTS)
def test_check_catches_mutant(claim: Claim, mutant: Mutant) -> None:
    played = replace(claim, check=run_of(claim, mutant).check)
    row = run_claim(played, "quick", 0, mutant.formulas)
    assert not row.ok
    # caught by what it measures, not by falling over: the relation fails, or that of a false
    # statement holds; a certificate of the wrong matrix may be rejected as well
    assert (row.residual > row.tolerance) is (claim.status is not Verdict.REFUTED)
    assert not row.reason or row.reason.startswith(("certificate ", "not built: "))


def changed(claim: Claim, mutant: Mutant) -> list[tuple[Instance, Instance]]:
    """The instances, right and wrong, of which the mutant changes the measured side only."""
    right, wrong = (run_of(claim, one).by_label() for one in (None, mutant))
    return [
        (one, wrong[label])
        for label, one in right.items()
        if label in wrong
        and wrong[label].measured != one.measured
        and wrong[label].predicted == one.predicted
    ]


def iterates(claim: Claim) -> bool:
    """Whether the check fits anything, or takes steps that are to converge."""
    return run_of(claim).fitted or "step" in inspect.signature(claim.check).parameters


def lacking(claim: Claim) -> set[str]:
    """Mutants that it needs and has not: of the measured side, by a factor, idle."""
    kinds = {mutant.kind for mutant in claim.mutants}
    has = {
        "measured": any(changed(claim, mutant) for mutant in claim.mutants),
        "factor": "factor" in kinds,
        "idle": "idle" in kinds,
    }
    bounded = claim.relation in (Relation.LE, Relation.GE)
    bounded |= any(one.tolerance for one in run_of(claim).instances)
    bounded &= claim.status is not Verdict.REFUTED  # what is false bounds nothing
    needed = {"measured": True, "factor": bounded, "idle": iterates(claim)}
    return {kind for kind in needed if needed[kind] and not has[kind]}


@each_claim
def test_claim_has_the_mutants_that_it_needs_or_says_why_not(claim: Claim) -> None:
    """On the measured side; by a factor where a number is bounded; idle where something trains."""
    assert claim.hypotheses
    assert claim.mutants
    assert lacking(claim) == set(claim.without)  # no reason is missing, none is out of date


def test_what_a_claim_lacks_is_seen() -> None:
    trained, ranks = rb.claims["trained-reaches"], rb.claims["sharp-necessary"]
    for kind in ("factor", "idle"):
        others = tuple(mutant for mutant in trained.mutants if mutant.kind != kind)
        assert lacking(replace(trained, mutants=others)) == {kind}
    predicted_only = Mutant("n, as in B20", {"predicted": lambda n: n})
    assert lacking(replace(ranks, mutants=(predicted_only,))) == {"measured"}
    assert lacking(replace(ranks, mutants=())) == {"measured"}


def stated(instance: Instance) -> list[dict[str, Any]]:
    """What the certificates of an instance state, as far as they are built and accepted."""
    (proved,), _ = prove(None, [instance])
    whole = [one for one in proved.certificates if isinstance(one, Certificate)]
    return [one.statement.to_data() for one in whole[: proved.accepted]]


def of_the_predicted_side(claim: Claim, mutant: Mutant) -> list[str]:
    """Instances whose certificates are the same when something else is measured."""
    return [
        right.label
        for right, wrong in changed(claim, mutant)[:8]
        if right.evidence is wrong.evidence is Verdict.CERTIFIED and stated(wrong) == stated(right)
    ]


@pytest.mark.parametrize(("claim", "mutant"), MUTANTS)
def test_certificates_are_of_the_measured_side(claim: Claim, mutant: Mutant) -> None:
    assert not of_the_predicted_side(claim, mutant)


def test_a_certificate_of_the_predicted_side_is_seen() -> None:
    """Of a rank of 2, whatever is measured; and of the rank of what is measured."""
    answer = Mutant("answers 99", {"size": lambda rank: 99})
    larger = Mutant("a larger matrix", {"size": lambda rank: rank + 1})

    def identity(size: int) -> rb.RankBounds:
        return rb.exact_rank(np.eye(size, dtype=int))

    def one_sided(trial: Trial, *, size: Callable[[int], int] = int) -> Iterator[Instance]:
        yield replace(Instance.of_bounds("case", identity(2), 2), measured=size(2))

    def sound(trial: Trial, *, size: Callable[[int], int] = int) -> Iterator[Instance]:
        yield Instance.of_bounds("case", identity(size(2)), 2)

    for check, mutant, found in ((one_sided, answer, ["case"]), (sound, larger, [])):
        claim = replace(rb.claims["sharp-necessary"], check=check)
        assert changed(claim, mutant)
        assert of_the_predicted_side(claim, mutant) == found


def test_a_claim_that_draws_is_seen_to_draw() -> None:
    """One that spawns streams too; what does not draw is the same for both seeds."""
    assert draws(rb.claims["theorem-a"])
    assert not draws(rb.claims["log-rank-pretrained"])

    def spawning(trial: Trial) -> Iterator[Instance]:
        trial.rng.spawn(1)
        yield from ()

    assert draws(replace(rb.claims["log-rank-pretrained"], check=spawning))


def test_a_claim_that_fits_is_seen_to_fit() -> None:
    """By Newton's method, by SciPy on layers and on directions; and one that does neither."""
    fitted = ("trained-reaches", "b20-theorem2-separation-imitating", "price-of-scale")
    assert all(run_of(rb.claims[name]).fitted for name in fitted)
    assert iterates(rb.claims["causal-dense"])
    assert not iterates(rb.claims["softmax-gauge"])


@pytest.mark.parametrize("without", [{"wrong": "it has none"}, {"factor": ""}])
def test_what_a_claim_lacks_needs_a_reason(without: dict[str, str]) -> None:
    with pytest.raises(rb.InputError, match=r"expected one of measured, factor, idle and the reas"):
        replace(CLAIMS[0], without=without)


@each_claim
def test_instances_are_cases_of_their_own(claim: Claim) -> None:
    """Each with a name that no other has, two finite numbers, and a tolerance that is one."""
    instances = run_of(claim).instances
    names = [one.label for one in instances]
    assert all(isinstance(name, str) and name for name in names)
    assert len(set(names)) == len(names)
    for one in instances:
        assert math.isfinite(one.measured)
        assert math.isfinite(one.predicted)
        assert 0 <= one.tolerance < math.inf
        assert isinstance(one.evidence, Verdict)


@each_claim
def test_the_cases_are_those_on_record(claim: Claim) -> None:
    """So that none is dropped in silence; `make claims` writes the record."""
    run = run_of(claim)
    assert RECORD[claim.id]["cases"] == make_claims.cases(run.instances, run.trial)


@each_claim
def test_a_claim_is_registered_as_on_record(claim: Claim) -> None:
    """Its words and its source, so that a page that quotes them quotes what was meant."""
    assert RECORD[claim.id]["registered"] == make_claims.registered(claim)


def test_a_claim_that_is_registered_otherwise_shows() -> None:
    claim = rb.claims["sharp-necessary"]
    source, mutant = claim.source, claim.mutants[0]
    others = [
        replace(claim, statement="another"),
        replace(claim, hypotheses=("another",)),
        replace(claim, source=replace(source, place=source.note, note=source.place)),
        replace(claim, relation=Relation.EXISTS),
        replace(claim, mutants=(replace(mutant, kind="idle"), *claim.mutants[1:])),
        replace(claim, mutants=(Mutant(mutant.name, {"size": int}), *claim.mutants[1:])),
    ]
    digests = [make_claims.registered(one) for one in (claim, *others)]
    assert len(set(digests)) == len(digests)


def resolution(claim: Claim) -> float:
    """Half a unit of the last digit compared, at most: of three; of two where a fit is measured."""
    return 0.05 if run_of(claim).fitted else 0.005


@each_claim
def test_what_is_measured_is_as_on_record(claim: Claim) -> None:
    """To three digits, and up to the tolerances, which cover what rounding does."""
    compare_sums(claim, make_claims.sums(run_of(claim).instances), RECORD[claim.id]["sums"])


@pytest.mark.parametrize("name", [name for name, held in RECORD.items() if "full" in held])
def test_a_full_run_is_as_on_record(name: str) -> None:
    """Its cases and what it measures, of claims on which it takes no time."""
    found, sums = make_claims.full(rb.claims[name])
    *cases, then = RECORD[name]["full"]
    assert found == cases
    compare_sums(rb.claims[name], sums, then)


def compare_sums(claim: Claim, now: list[float], then: list[float]) -> None:
    """What is measured, predicted and allowed, with what is on record."""
    measured, predicted, tolerance = zip(now, then, strict=True)
    for one, recorded in (measured, predicted):
        assert one == pytest.approx(recorded, rel=resolution(claim), abs=2 * tolerance[1])
    # that of a fit grows with what the fit leaves, and one is of tokens that rounding picks
    if not run_of(claim).fitted and claim.id != "b20-theorem2-inclusion-widened":
        assert tolerance[0] == pytest.approx(tolerance[1], rel=resolution(claim), abs=0)


@pytest.mark.parametrize(("claim", "mutant"), MUTANTS)
def test_mutants_are_wrong_by_as_much_as_on_record(claim: Claim, mutant: Mutant) -> None:
    """By half as much again, by one: what a registered mutant is said to be wrong by."""
    now = make_claims.failing(claim, run_of(claim, mutant).instances)
    then = RECORD[claim.id]["mutants"][mutant.name]
    assert now == pytest.approx(then, rel=resolution(claim), abs=0)


def test_a_case_that_is_dropped_or_drawn_otherwise_shows() -> None:
    first, second = _instance(1, 1, Verdict.SUPPORTED), _instance(2, 2, Verdict.SUPPORTED)

    def asked(full: int = 2, bound: int = 9, draws: int = 0, more: int = 7) -> Any:
        trial = make_claims.noted(CLAIMS[0])
        assert trial.some(1, (6, more)) == (6,)
        trial.integers(trial.count(1, full), 3, bound=bound)
        trial.rng.random(draws)
        return trial

    right = make_claims.cases([first, second], asked())
    for other in ([first], [second, first], [first, replace(second, predicted=3)]):
        assert make_claims.cases(other, asked()) != right
    for trial in (asked(full=3), asked(bound=8), asked(draws=1), asked(more=8)):
        assert make_claims.cases([first, second], trial) != right
    of_one, of_two = (
        replace(first, certificates=rb.exact_rank([[entry]]).certify().certificates)
        for entry in (1, 2)
    )
    assert make_claims.cases([of_one], asked()) != make_claims.cases([of_two], asked())
    assert make_claims.cases([first, second], asked()) == right


@each_claim
def test_a_full_run_tries_no_less_than_a_quick_one(claim: Claim) -> None:
    counts = [one for one in run_of(claim).trial.asked if isinstance(one, list)]
    assert all(isinstance(quick, int) and 1 <= quick <= full for quick, full in counts)


@each_claim
def test_mutants_replace_arguments_of_the_check(claim: Claim) -> None:
    trial, *formulas = inspect.signature(claim.check).parameters
    assert trial == "trial"
    for mutant in claim.mutants:
        assert mutant.formulas
        assert set(mutant.formulas) <= set(formulas)


@each_claim
def test_mutants_have_names_of_their_own_and_a_kind(claim: Claim) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", claim.id)
    names = [mutant.name for mutant in claim.mutants]
    assert all(isinstance(name, str) and name for name in names)
    assert len(set(names)) == len(names)
    assert {mutant.kind for mutant in claim.mutants} <= set(get_args(MutantKind))


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("logit-rank-random", 1),
        ("logit-rank-pretrained", 1),
        ("log-rank-random", 0),
        ("log-rank-pretrained", 0),
    ],
)
def test_the_rank_of_logits_is_not_the_log_rank(name: str, rank: int) -> None:
    """Keys that are all alike have logits of rank 1 and a uniform context: log-rank 0."""
    measure = inspect.signature(rb.claims[name].check).parameters["rank"].default
    keys, queries = [[1, 1, 1]], [[1, 2, 3]]
    head = (keys, queries) if "pretrained" in name else (keys, queries, np.eye(3, dtype=int))
    assert int(measure(*head)) == rank


def test_a_matrix_of_other_signs_has_no_rank_that_counts() -> None:
    claim = rb.claims["sign-changes"]
    negated = claim.check(claim.trial("quick", 0), matrix=lambda found, H: (-np.array(H)).tolist())
    assert {one.measured for one in negated} == {math.inf}


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


@each_claim
def test_every_instance_called_certified_carries_a_certificate(claim: Claim) -> None:
    assert all(i.certificates for i in run_of(claim).instances if i.evidence is Verdict.CERTIFIED)
