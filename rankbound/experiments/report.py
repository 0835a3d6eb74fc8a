"""The report of a store: arms, trends with their verdicts, trained heads."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rankbound.errors import InputError
from rankbound.experiments.arms import Arm, gather
from rankbound.experiments.heads import TrainedHead, measure_trained_heads
from rankbound.experiments.judging import Finding
from rankbound.experiments.results import Results, read_results
from rankbound.experiments.run import checkpoint_folder
from rankbound.experiments.trends import TRENDS

__all__ = ["ExperimentReport", "make_report"]


@dataclass(frozen=True, eq=False)
class ExperimentReport:
    """What a preset's runs show.

    Attributes
    ----------
    results : Results
        The runs.
    arms : tuple of Arm
    findings : tuple of Finding
        One a trend.
    heads : tuple of TrainedHead
        Of the language models kept beside the store, each arm's at its best learning rate; empty if
        there are none, or not asked for.
    """

    results: Results
    arms: tuple[Arm, ...]
    findings: tuple[Finding, ...]
    heads: tuple[TrainedHead, ...]

    @property
    def missing(self) -> Mapping[str, int]:
        """Cells of each experiment that are planned and not done; those of none are left out."""
        results = self.results
        short = {name: planned - results.done[name] for name, planned in results.planned.items()}
        return {name: count for name, count in short.items() if count}

    @property
    def notes(self) -> list[str]:
        """What the tables rest on: runs, their versions and text; and what is missing."""
        results = self.results
        versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
        lines = [f"Preset {results.preset}: {len(results.runs)} runs, with {versions}."]
        if results.corpus:
            lines.append(f"Language models learnt a text of SHA-256 {results.corpus}.")
        edge = sum(arm.at_edge for arm in self.arms)
        if edge:
            lines.append(
                f"{edge} arms, marked *, have their best learning rate at the edge of those tried: "
                "another may be better."
            )
        for name, count in self.missing.items():
            failed = f", {results.failed[name]} of them failed" if results.failed[name] else ""
            lines.append(f"{name}: {count} of {results.planned[name]} cells are missing{failed}.")
        return lines

    def to_json(self) -> str:
        """Return runs, findings and heads as JSON; the value of a run that diverged is null."""
        data: dict[str, Any] = {
            "preset": self.results.preset,
            "planned": dict(self.results.planned),
            "done": dict(self.results.done),
            "failed": dict(self.results.failed),
            "corpus": self.results.corpus,
            "versions": dict(self.results.versions),
            "findings": [
                {**asdict(one), "seeds": one.seeds, "evidence": one.evidence}
                for one in self.findings
            ],
            "runs": [_finite(asdict(run)) for run in self.results.runs],
            "heads": [_finite(asdict(head)) for head in self.heads],
        }
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)

    def to_markdown(self) -> str:
        """Return two tables: trends beside the paper's numbers, and arms with their range.

        Below them stands what they rest on, and what is missing.
        """
        lines = ["| trend | verdict | seeds | the paper | here |", "|---|---|---|---|---|"]
        for one in self.findings:
            lines.append(
                f"| {one.trend}: {one.statement} | **{one.verdict}** | {one.seeds} | {one.paper} | "
                f"{one.evidence} |"
            )
        lines += ["", "| experiment | arm | parameters | decay | rate | seeds | median (range) |"]
        lines.append("|---|---|---|---|---|---|---|")
        for arm in self.arms:
            lines.append(
                f"| {arm.experiment} | {arm.name} | {arm.parameters} | {arm.weight_decay:g} | "
                f"{arm.rate:g}{'*' if arm.at_edge else ''} | {len(arm.values)} | {arm.range()} |"
            )
        lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def make_report(
    store: str | os.PathLike[str],
    preset: str | None = None,
    text: str | os.PathLike[str] | None = None,
    *,
    heads: bool = True,
) -> ExperimentReport:
    """Judge every trend by the runs in a store, and measure the trained heads beside it.

    Parameters
    ----------
    store : path
        Of `rankbound experiment`.
    preset : {"smoke", "laptop", "overnight"}, optional
        The one with most runs in the store unless named. Runs of others are not mixed in.
    text : path, optional
        What the language models learnt, if not the standard library's sources.
    heads : bool
        Whether to measure trained heads, which needs torch and the same text.

    Returns
    -------
    ExperimentReport

    Raises
    ------
    InputError
        If the file is no store or holds no finished run of the preset; of trained heads, if the
        text is another than they learnt.
    """
    results = read_results(store, preset)
    if not results.runs:
        raise InputError(
            f"{store} holds no finished run of {preset or 'any preset'}; expected the store of "
            "`rankbound experiment NAME --preset PRESET --store STORE`."
        )
    arms = gather(results.runs)
    findings = tuple(trend.finding(arms) for trend in TRENDS)
    measured = _heads(store, text, results.corpus, arms) if heads else ()
    return ExperimentReport(results, arms, findings, measured)


def _heads(
    store: str | os.PathLike[str],
    text: str | os.PathLike[str] | None,
    corpus: str,
    arms: tuple[Arm, ...],
) -> tuple[TrainedHead, ...]:
    """The heads of the arms' models, at the learning rate by which each arm is judged."""
    names = ("arm", "d", "heads", "weight_decay", "steps", "rate", "corpus")
    judged = {
        (arm.kind, arm.d, arm.heads, arm.weight_decay, arm.steps, arm.rate, corpus)
        for arm in arms
        if arm.experiment == "language"
    }
    folder = checkpoint_folder(store)
    if not judged or not folder.is_dir():
        return ()

    def wanted(told: Mapping[str, Any]) -> bool:
        return tuple(told[name] for name in names) in judged

    return tuple(measure_trained_heads(folder, text, wanted))


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
