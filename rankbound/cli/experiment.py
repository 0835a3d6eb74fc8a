"""``rankbound experiment``: run one of the paper's experiments, or list them."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_command"]

STORE = "experiments.sqlite"


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "experiment",
        help="run one of the paper's experiments in laptop form",
        description=(
            "Run an experiment's preset, or that of all, and print arms and trends; without a "
            "name, or with `list`, list them. Stopped at any moment, the same command resumes it. "
            "Exit 1 if a cell failed."
        ),
    )
    parser.add_argument("name", nargs="?", metavar="NAME", default="list")
    parser.add_argument("--preset", default="smoke", help="smoke, laptop or overnight")
    parser.add_argument("--store", type=Path, default=Path(STORE), help=f"{STORE} unless given")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="worker processes")
    parser.add_argument(
        "--text", type=Path, metavar="FILE", help="what the language model learns instead"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run or list."""
    from rankbound.experiments.catalogue import EXPERIMENTS
    from rankbound.experiments.report import catalogue_table
    from rankbound.reporting.tables import console

    if options.name == "list":
        console().print(catalogue_table(EXPERIMENTS.values()))
        return 0
    names = tuple(EXPERIMENTS) if options.name == "all" else (options.name,)
    return max([_run(name, options) for name in names])


def _run(name: str, options: argparse.Namespace) -> int:
    """Run one, and print what its runs show."""
    from rankbound.experiments.report import arms_table, findings_table, make_report
    from rankbound.experiments.run import run_experiment
    from rankbound.reporting.tables import console
    from rankbound.sweeps.run import failure_lines

    text = options.text if name == "language" or options.name != "all" else None
    swept = run_experiment(name, options.preset, options.store, options.jobs, text)
    out = console()
    if len(swept.failed) < len(swept.cells):
        report = make_report(options.store, options.preset, heads=False)
        out.print(arms_table(arm for arm in report.arms if arm.experiment == name))
        out.print(findings_table(f for f in report.findings if f.experiment == name))
    failures = failure_lines(swept.cells)
    for line in failures:
        out.print(line, markup=False, soft_wrap=True)
    return 1 if failures else 0
