"""``rankbound verify``: check the claims and say what evidence was reached."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankbound.registry.claim import Claim
    from rankbound.registry.verification import Report

__all__ = ["add_command"]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "verify",
        help="check the registered claims",
        description="Check the registered claims; exit 1 if one is not as registered.",
    )
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help="ids; all unless given")
    parser.add_argument("--level", choices=("quick", "full"), default="quick")
    parser.add_argument("--seed", type=int, default=0, help="0 unless given")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes; 1 unless given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check the claims, print the table, write the report if asked."""
    from rankbound.registry.verification import select
    from rankbound.reporting.tables import console, report_summary, report_table

    chosen = select(options.claims or None)
    if options.json is not None:
        options.json.touch()  # a path that cannot be written is found out before the work
    report = _verify(chosen, options)
    out = console()
    out.print(report_table(report))
    for line in report_summary(report):
        out.print(line, markup=False, soft_wrap=True)
    if options.json is not None:
        options.json.write_text(report.to_json() + "\n", encoding="utf-8")
    return 0 if report.ok else 1


def _verify(chosen: list[Claim], options: argparse.Namespace) -> Report:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from rankbound.registry.verification import Report
    from rankbound.registry.verification import run as run_claims

    rows = run_claims(chosen, options.level, options.seed, options.jobs)
    done = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task("checking claims", total=len(chosen))
        for row in rows:
            done.append(row)
            progress.update(task, advance=1, description=row.id)
    return Report(tuple(done), options.level, options.seed)
