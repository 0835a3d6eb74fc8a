"""verify: what it runs, what it reports, what it refuses."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import joblib
import numpy as np
import pytest

import rankbound as rb
from rankbound.registry.claim import Claim, Instance, Trial
from rankbound.registry.verification import LONG, MANY, default_jobs
from rankbound.verdict import Verdict

FAST = ("softmax-gauge", "sharp-necessary", "folklore-context-rank")


def test_report_holds_evidence_instances_and_residual() -> None:
    report = rb.verify(FAST)
    assert report.ok
    assert [row.id for row in report.rows] == list(FAST)
    data = json.loads(report.to_json())
    assert data["ok"] is True
    for row in data["claims"]:
        assert row["evidence"] == row["registered"]
        assert row["instances"] >= 1
        assert isinstance(row["residual"], float)
        assert row["source"]
    lines = report.to_markdown().splitlines()
    assert lines[0] == (
        "| claim | evidence | machine-checked | instances | residual | tolerance | source |"
    )
    for row, line in zip(report.rows, lines[2:], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:4] == [row.id, str(row.evidence), row.theorem or "-", str(row.instances)]
        sizes = [f"{size:.1e}" if size else "0" for size in (row.residual, row.tolerance)]
        assert cells[4:] == [*sizes, row.source]


def test_same_bytes_for_any_number_of_jobs() -> None:
    chosen = [*FAST, "sharp-almost-every", "trained-reaches"]
    assert rb.verify(chosen, seed=3).to_json() == rb.verify(chosen, seed=3, jobs=2).to_json()


def test_long_claims_are_begun_first_and_rows_keep_their_order() -> None:
    """The long one is last, sent by its id; one that no worker knows is sent whole."""
    own = replace(rb.claims["softmax-gauge"], id="a-claim-of-another")
    chosen = [own, rb.claims["centring-rank"], rb.claims["sharp-almost-every"]]
    assert set(LONG) <= set(rb.claims)
    one, two = (rb.verify(chosen, jobs=jobs) for jobs in (1, 2))
    assert [row.id for row in two.rows] == [claim.id for claim in chosen]
    assert one.to_json() == two.to_json()


def test_workers_are_started_for_many_claims_only() -> None:
    claims = list(rb.claims.values())
    assert default_jobs(claims[: MANY - 1]) == 1
    assert default_jobs(claims[:MANY]) == joblib.cpu_count()


def test_order_of_claims_does_not_change_a_row() -> None:
    alone = rb.verify("theorem-a").rows[0].as_dict()
    assert alone == rb.verify(["folklore-context-rank", "theorem-a"]).rows[1].as_dict()


def _broken(trial: Trial) -> Iterator[Instance]:
    yield Instance("before", 1, 1, Verdict.CERTIFIED)
    raise rb.InputError("what went wrong")


def _infinite(trial: Trial) -> Iterator[Instance]:
    yield Instance("never", float("inf"), 0.0, Verdict.CERTIFIED)


def _own(check: object, status: Verdict) -> Claim:
    return replace(rb.claims["sharp-necessary"], check=check, status=status)  # type: ignore[arg-type]


def test_a_check_that_cannot_finish_shows_nothing_and_says_why() -> None:
    report = rb.verify([_own(_broken, Verdict.CERTIFIED), rb.claims["softmax-gauge"]])
    assert not report.ok
    row = report.rows[0]
    assert row.evidence is Verdict.UNDECIDED
    assert "what went wrong" in row.reason
    assert report.rows[1].ok
    assert "not certified" in report.to_markdown()


def _careless(trial: Trial) -> Iterator[Instance]:
    yield Instance("before", 1, 1, Verdict.CERTIFIED)
    raise KeyError("a slip in somebody's check")


def test_whatever_stops_a_check_the_others_run() -> None:
    report = rb.verify([_own(_careless, Verdict.CERTIFIED), rb.claims["softmax-gauge"]])
    assert "KeyError" in report.rows[0].reason
    assert report.rows[1].ok


def test_a_numpy_seed_is_written_down_as_a_number() -> None:
    seed: Any = np.int64(7)
    assert json.loads(rb.verify("softmax-gauge", seed=seed).to_json())["seed"] == 7


def test_an_infinite_residual_is_still_json() -> None:
    report = rb.verify([_own(_infinite, Verdict.REFUTED)])
    assert json.loads(report.to_json())["claims"][0]["residual"] == "inf"


def test_one_worker_and_a_quick_run_unless_more_is_asked() -> None:
    defaults = {name: p.default for name, p in inspect.signature(rb.verify).parameters.items()}
    said = {"claims": None, "level": "quick", "seed": 0, "jobs": 1, "certificates": None}
    assert defaults == said


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"claims": "nope"}, rb.InputError, r"claims holds 'nope'; expected ids of registered"),
        ({"claims": "zzz"}, rb.InputError, r"ids of registered claims\. `rankbound claims` lists"),
        ({"claims": 42}, rb.InputTypeError, r"claims is 42; expected ids, claims or a mapping"),
        ({"claims": [3]}, rb.InputTypeError, r"claims holds 3; expected Claims or ids"),
        ({"level": "slow"}, rb.InputError, r"level is 'slow'; expected one of quick, full"),
        ({"seed": -1}, rb.InputError, r"seed is -1; expected at least 0"),
        ({"seed": 0.5}, rb.InputTypeError, r"seed is 0.5 of type float; expected an integer"),
        ({"claims": ["theorem-z"]}, rb.InputError, r"Did you mean theorem-"),
        ({"certificates": 3}, rb.InputTypeError, r"certificates is 3; expected the path of a"),
        ({"certificates": __file__}, rb.InputError, r"certificates is .* expected a folder"),
        ({"jobs": 0}, rb.InputError, r"jobs is 0; expected at least 1"),
    ],
)
def test_bad_input(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rb.verify(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["level", "seed", "claims"])
def test_a_report_that_lacks_a_part_is_refused_by_its_name(name: str) -> None:
    data = json.loads(rb.verify("softmax-gauge").to_json())
    again = rb.Report.from_json(json.dumps(data))
    assert (again.level, again.seed, again.rows[0].id) == ("quick", 0, "softmax-gauge")
    data[name] = None
    with pytest.raises(rb.RankboundError, match=f"^{name} is None"):
        rb.Report.from_json(json.dumps(data))
