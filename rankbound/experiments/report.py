"""The report of a store: arms, trends with their verdicts, trained heads, each as one table."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rankbound.errors import InputError
from rankbound.experiments.catalogue import GRIDS, PRESETS, Experiment, checkpoint_folder
from rankbound.experiments.language import TrainedHead, measure_trained_heads
from rankbound.experiments.results import Arm, Results, gather, read_results
from rankbound.experiments.trends import NOT, NOT_TESTED, PARTLY, REPRODUCED, TRENDS, Finding
from rankbound.table import Column, Table, finite

LACKING = "the preset lacks these runs"  # where there is no evidence
_COLOURS = {REPRODUCED: "green", PARTLY: "yellow", NOT: "magenta", NOT_TESTED: "dim"}


@dataclass(frozen=True, eq=False)
class ExperimentReport:
    """What a preset's runs show.

    The heads are those of the language models kept beside the store, each arm's at its best
    learning rate; none if there are none, or they are not asked for.
    """

    results: Results
    arms: tuple[Arm, ...]
    findings: tuple[Finding, ...]  # one per trend
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
        counts = ("preset", "planned", "done", "failed", "corpus", "versions")
        data: dict[str, Any] = {name: getattr(self.results, name) for name in counts}
        data["findings"] = [
            {**asdict(one), "seeds": one.seeds, "evidence": one.evidence} for one in self.findings
        ]
        data["runs"] = finite([asdict(run) for run in self.results.runs])
        data["heads"] = finite([asdict(head) for head in self.heads])
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)

    def to_markdown(self) -> str:
        """Return two tables, of trends beside the paper's numbers and of arms with their range.

        Below them stands what they rest on, and what is missing.
        """
        tables = [findings_table(self.findings).to_markdown(), arms_table(self.arms).to_markdown()]
        return "\n\n".join([*tables, "\n".join(f"- {note}" for note in self.notes)]) + "\n"

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

    The preset is the one with most runs in the store unless named; runs of others are not mixed in.
    The text is what the language models learnt, if not the standard library's sources. To measure
    heads takes torch and this text.
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


def catalogue_table(experiments: Iterable[Experiment]) -> Table:
    """Return the experiments: what each asks, what it needs, cells of each preset."""
    return Table(
        ["experiment", "asks", "needs", *PRESETS],
        (
            (one.name, one.what, one.needs or None, *(len(GRIDS[one.name][p]) for p in PRESETS))
            for one in experiments
        ),
    )


def findings_table(findings: Iterable[Finding]) -> Table:
    """Return each trend with its verdict, the paper's numbers beside the runs'."""
    verdict = Column("verdict", style=lambda words: _COLOURS[words.partition(" (")[0]])
    return Table(
        ["trend", verdict, "statement", Column("paper", "the paper"), "here"],
        (
            (one.trend, one.words, one.statement, one.paper, one.evidence or LACKING)
            for one in findings
        ),
    )


def arms_table(arms: Iterable[Arm]) -> Table:
    """Return the arms with both of their sizes, and the median and range over seeds."""

    def row(arm: Arm) -> tuple[Any, ...]:
        decay = f", decay {arm.weight_decay:g}" if arm.weight_decay else ""
        rate = f"{arm.rate:g}{'*' if arm.at_edge else ''}" if arm.rate else None
        sizes = (arm.d, arm.heads, arm.d_k, arm.d_v, arm.parameters)
        values = (arm.middle, arm.low, arm.high)
        return arm.experiment, f"{arm.kind}{decay}", *sizes, rate, len(arm.values), *values

    sizes = (Column("d_k", "d_k"), Column("d_v", "d_v"), "parameters")
    return Table(
        ["experiment", "arm", "d", "heads", *sizes, Column("rate", align="right"), "seeds",
         "median", "least", "greatest"],
        map(row, arms),
    )  # fmt: skip


def heads_table(heads: Iterable[TrainedHead]) -> Table:
    """Return the trained heads by model and weight decay: how much of their size they use."""
    groups: dict[tuple[str, int, int, int, float], list[TrainedHead]] = {}
    for head in heads:
        key = (head.arm, head.d, head.heads, head.head_size, head.weight_decay)
        groups.setdefault(key, []).append(head)

    def middle(name: str) -> Callable[[list[TrainedHead]], float]:
        return lambda group: median(getattr(head, name) for head in group)

    def full(group: list[TrainedHead]) -> float:
        return sum(head.log_rank >= head.log_rank_bound for head in group) / len(group)

    effective = middle("log_effective_rank")
    measured: list[tuple[Column, Callable[[list[TrainedHead]], float]]] = [
        (Column("trained_heads"), len),
        (Column("at_the_bound", format=".0%"), full),
        (Column("log_rank", "log-rank", format="g"), middle("log_rank")),
        (Column("effective", format=".2f"), effective),
        (
            Column("effective_share", "effective / size", format=".2f"),
            lambda group: effective(group) / group[0].head_size,
        ),
        (Column("size_1pct", "1 % size", format="g"), middle("least_head_size_1pct")),
        (Column("kl_half", "KL at half", format=".2g"), middle("kl_half")),
    ]
    model: list[Column | str] = ["model", "d", "heads", "head_size", Column("decay", format=str)]
    return Table(
        [*model, *(column for column, _ in measured)],
        ((*key, *(value(groups[key]) for _, value in measured)) for key in sorted(groups)),
    )
