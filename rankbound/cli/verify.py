"""``rankbound verify``: check the claims and say what evidence was reached."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankbound.registry.verification import Row

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
    parser.add_argument(
        "--certificates", type=Path, metavar="DIR", help="write certificates there, and re-check"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check the claims, print the table, write the report if asked."""
    from rankbound.registry.verification import Report, select
    from rankbound.registry.verification import run as run_claims
    from rankbound.reporting.tables import console, report_summary, report_table

    chosen = select(options.claims or None)
    rows = run_claims(chosen, options.level, options.seed, options.jobs, options.certificates)
    if options.json is not None:
        options.json.touch()  # a path that cannot be written is found out before the work
    report = Report(_with_progress(rows, len(chosen)), options.level, options.seed)
    out = console()
    out.print(report_table(report))
    for line in report_summary(report):
        out.print(line, markup=False, soft_wrap=True)
    if options.json is not None:
        options.json.write_text(report.to_json() + "\n", encoding="utf-8")
    return 0 if report.ok else 1


def _with_progress(rows: Iterator[Row], total: int) -> tuple[Row, ...]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    done = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task("checking claims", total=total)
        for row in rows:
            done.append(row)
            progress.update(task, advance=1, description=row.id)
    return tuple(done)
