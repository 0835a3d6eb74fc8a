"""``rankbound report``: what the runs of the experiments show, trend by trend."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankbound.experiments.report import ExperimentReport

__all__ = ["add_command"]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "report",
        help="judge the paper's trends by the runs in a store",
        description=(
            "Print each trend beside the paper's numbers, with its verdict (reproduced, partly, "
            "not, not tested), the arms with their seeds' range, and what the trained heads use."
        ),
    )
    parser.add_argument("store", type=Path, metavar="STORE")
    parser.add_argument(
        "--preset", help="smoke, laptop or overnight; the one with most runs unless given"
    )
    parser.add_argument("--text", type=Path, metavar="FILE", help="what language models learned")
    parser.add_argument("--no-heads", action="store_true", help="do not measure trained heads")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write runs, findings and heads")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write trends and arms")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="draw the figures as SVG")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read, judge, print, write."""
    from rankbound.experiments.report import (
        arms_table,
        findings_table,
        heads_table,
        make_report,
    )
    from rankbound.reporting.tables import console

    report = make_report(options.store, options.preset, options.text, heads=not options.no_heads)
    out = console()
    out.print(findings_table(report.findings))
    out.print(arms_table(report.arms))
    if report.heads:
        out.print(heads_table(report.heads))
    for line in report.notes:
        out.print(line, markup=False, soft_wrap=True)
    if options.json:
        options.json.write_text(report.to_json() + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(report.to_markdown(), encoding="utf-8")
    if options.figures:
        _draw(report, options.figures)
    return 0


def _draw(report: ExperimentReport, folder: Path) -> None:
    """A figure per experiment of layers, and one of trained heads."""
    from matplotlib.figure import Figure

    from rankbound.plots import errors_by_heads, ranks_of_trained_heads, spectra_of_trained_heads

    folder.mkdir(parents=True, exist_ok=True)
    apart = ("head", "sizes")  # no layers, or none that the figure shows
    drawn = {run.experiment for run in report.results.runs if run.kind not in apart}
    for name in sorted(drawn):
        figure = Figure(figsize=(4.6, 3.4), layout="constrained")
        rows = [asdict(run) for run in report.results.runs if run.experiment == name]
        errors_by_heads(rows, figure.subplots())
        figure.savefig(folder / f"{name}.svg")
    if report.heads:
        figure = Figure(figsize=(8.4, 3.6), layout="constrained")
        heads, (left, right) = [asdict(head) for head in report.heads], figure.subplots(1, 2)
        ranks_of_trained_heads(heads, left)
        spectra_of_trained_heads(heads, right)
        figure.savefig(folder / "trained-heads.svg")
