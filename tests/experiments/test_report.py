"""The report: JSON and Markdown, what is missing, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb
from rankbound.experiments.catalogue import GRIDS, PRESETS, checkpoint_folder
from rankbound.experiments.report import ExperimentReport, make_report
from rankbound.experiments.results import Arm
from rankbound.experiments.trends import TRENDS
from tests.experiments.stores import TEXT, broken, fill
from tests.helpers import refused


def by_size(cell: dict[str, Any]) -> float:
    """A cliff at n - 1."""
    return 1e-18 if cell["head_size"] == cell["n"] - 1 else 1e-4


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ExperimentReport:
    path = tmp_path_factory.mktemp("report") / "s.sqlite"

    def some(cell: dict[str, Any]) -> float:
        return broken(cell) if cell["heads"] == 32 else 1 / cell["heads"]

    values = {"context": by_size, "mixing": some, "language": lambda cell: cell["rate"]}
    fill(path, "laptop", values, ["context", "mixing", "language"])
    return make_report(path)


def refuse(word: str) -> Any:
    raise AssertionError(f"{word} is no JSON")


def test_one_finding_a_trend(report: ExperimentReport) -> None:
    assert [one.trend for one in report.findings] == [trend.id for trend in TRENDS]
    verdicts = {one.trend: one.verdict for one in report.findings}
    assert verdicts["context-cliff"] == "reproduced"
    assert verdicts["mixing-heads"] == "not"
    assert verdicts["farthest-size"] == "not tested"
    assert report.heads == ()  # no folder of checkpoints


def test_what_is_missing_is_said(report: ExperimentReport) -> None:
    planned = {name: len(GRIDS[name]["laptop"]) for name in GRIDS}
    done = ("context", "mixing", "language")
    assert report.missing == {"mixing": 3} | {n: c for n, c in planned.items() if n not in done}
    notes = "\n".join(report.notes)
    assert "mixing: 3 of 54 cells are missing, 3 of them failed." in notes
    assert "lookup: 4 of 4 cells are missing." in notes
    assert f"SHA-256 {TEXT}" in notes
    assert "torch 0.0" in notes
    assert "at the edge" in notes  # the least rate is the best here
    assert "context:" not in notes


def test_json_is_what_the_report_says(report: ExperimentReport) -> None:
    data = json.loads(report.to_json(), parse_constant=refuse)
    assert list(data) == [
        "preset", "planned", "done", "failed", "corpus", "versions", "findings", "runs", "heads",
    ]  # fmt: skip
    assert data["preset"] == "laptop"
    assert data["corpus"] == TEXT
    assert data["failed"]["mixing"] == 3
    assert len(data["runs"]) == len(report.results.runs) == sum(data["done"].values())
    for told, finding in zip(data["findings"], report.findings, strict=True):
        for name in ("trend", "statement", "paper", "verdict", "evidence", "seeds"):
            assert told[name] == getattr(finding, name)
        assert [check["held"] for check in told["checks"]] == [list(c.held) for c in finding.checks]
    assert data["runs"][0]["value"] == report.results.runs[0].value


def test_markdown_has_every_trend_and_every_arm(report: ExperimentReport) -> None:
    text = report.to_markdown()
    assert text == report._repr_markdown_()
    tables = text.split("\n\n")
    assert len(tables) == 3
    for table, records in zip(tables, (report.findings, report.arms, None), strict=True):
        if records is None:
            assert table.splitlines() == [f"- {note}" for note in report.notes]
            continue
        lines = table.splitlines()
        assert len(lines) == 2 + len(records)
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    for finding in report.findings:
        row = next(line for line in text.splitlines() if f"| {finding.trend} | " in line)
        assert f"| {finding.words} | {finding.statement} |" in row
        assert finding.paper in row
    assert "| 0.02* |" in tables[1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_run_that_diverged_is_null_in_json(tmp_path: Path, value: float) -> None:
    path = fill(tmp_path / "s.sqlite", values={"lookup": lambda cell: value}, only=["lookup"])
    report = make_report(path)
    data = json.loads(report.to_json(), parse_constant=refuse)
    assert [run["value"] for run in data["runs"]] == [None]
    assert str(value) in report.to_markdown()


def test_presets_are_not_mixed(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.sqlite", "smoke", only=["farthest", "separation"])
    fill(path, "overnight", only=["farthest"])
    assert {run.steps for run in make_report(path).results.runs} == {3000}
    assert {run.steps for run in make_report(path, "smoke").results.runs} == {200, 400}


def test_stores_without_runs(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.sqlite", "smoke", {"lookup": broken}, ["lookup"])
    with refused(rb.InputError, str(path), "no finished run of any preset", "rankbound experiment"):
        make_report(path)
    fill(path, "smoke", only=["farthest"])
    with refused(rb.InputError, "no finished run of laptop"):
        make_report(path, "laptop")
    for preset in PRESETS[:1]:
        assert len(make_report(path, preset).results.runs) == 2


def test_a_folder_without_checkpoints(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.sqlite", only=["language"])
    folder = checkpoint_folder(path)
    assert folder == tmp_path / "s.sqlite.checkpoints"
    folder.mkdir()
    assert make_report(path, heads=False).heads == ()
    assert all(isinstance(arm, Arm) for arm in make_report(path, heads=False).arms)
