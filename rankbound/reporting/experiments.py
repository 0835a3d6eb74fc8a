"""Tables by rich: experiments, what their runs show, trained heads."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import TYPE_CHECKING

from rankbound.experiments.arms import Arm
from rankbound.experiments.catalogue import Experiment
from rankbound.experiments.heads import TrainedHead
from rankbound.experiments.judging import NOT, NOT_TESTED, PARTLY, REPRODUCED, Finding
from rankbound.experiments.presets import GRIDS, PRESETS
from rankbound.reporting.tables import plain_table

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "arms_table",
    "catalogue_table",
    "findings_table",
    "heads_table",
]

_COLOURS = {REPRODUCED: "green", PARTLY: "yellow", NOT: "magenta", NOT_TESTED: "dim"}


def catalogue_table(experiments: Iterable[Experiment]) -> Table:
    """Return the experiments: what each asks, what it needs, cells of each preset."""
    table = plain_table("experiment", "asks", "needs", *PRESETS)
    for column in table.columns[3:]:
        column.justify = "right"
    for one in experiments:
        counts = [str(len(GRIDS[one.name][preset])) for preset in PRESETS]
        table.add_row(one.name, one.what, ", ".join(one.needs) or "-", *counts)
    return table


def arms_table(arms: Iterable[Arm]) -> Table:
    """Return the arms with both of their sizes, and the median and range over seeds."""
    table = plain_table(
        "experiment", "arm", "d", "heads", "d_k", "d_v", "parameters", "rate", "seeds",
        "median", "least", "greatest",
    )  # fmt: skip
    for column in table.columns[2:]:
        column.justify = "right"
    for arm in arms:
        sizes = (arm.d, arm.heads, arm.d_k, arm.d_v, arm.parameters)
        decay = f", decay {arm.weight_decay:g}" if arm.weight_decay else ""
        values = (f"{value:.4g}" for value in (arm.middle, arm.low, arm.high))
        rate = f"{arm.rate:g}{'*' if arm.at_edge else ''}" if arm.rate else "-"
        name = f"{arm.kind}{decay}"
        table.add_row(arm.experiment, name, *map(str, sizes), rate, str(len(arm.values)), *values)
    return table


def findings_table(findings: Iterable[Finding]) -> Table:
    """Return each trend with its verdict, the paper's numbers beside the runs'."""
    from rich.text import Text

    table = plain_table("trend", "verdict", "the paper", "here")
    for one in findings:
        table.add_row(
            Text(f"{one.trend}\n{one.statement}"),
            Text(_with_seeds(one), _COLOURS[one.verdict]),
            Text(one.paper),
            Text(one.evidence or "the preset has not the runs"),
        )
    return table


def _with_seeds(finding: Finding) -> str:
    if not finding.seeds:
        return finding.verdict
    return f"{finding.verdict}\n({finding.seeds} seed{'s' if finding.seeds > 1 else ''})"


def heads_table(heads: Iterable[TrainedHead]) -> Table:
    """Return the trained heads by model and weight decay: how much of their size they use."""
    groups: dict[tuple[str, int, int, int, float], list[TrainedHead]] = {}
    for head in heads:
        key = (head.arm, head.d, head.heads, head.head_size, head.weight_decay)
        groups.setdefault(key, []).append(head)
    table = plain_table(
        "model", "d", "heads", "head size", "decay", "trained heads", "at the bound", "log-rank",
        "effective", "effective / size", "1 % size", "KL at half",
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for (arm, d, count, size, decay), group in sorted(groups.items(), key=lambda item: item[0]):
        effective = median(head.log_effective_rank for head in group)
        table.add_row(
            arm,
            *(str(value) for value in (d, count, size, decay, len(group))),
            f"{sum(head.log_rank >= head.log_rank_bound for head in group) / len(group):.0%}",
            f"{median(head.log_rank for head in group):g}",
            f"{effective:.2f}",
            f"{effective / size:.2f}",
            f"{median(head.least_head_size_1pct for head in group):g}",
            f"{median(head.kl_half for head in group):.2g}",
        )
    return table
