"""``rankbound sweep status``: what a store of sweeps holds."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_command"]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "sweep", help="look into a store of sweeps", description="Look into a store of sweeps."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    status = actions.add_parser(
        "status",
        help="what is done, failed and still to run",
        description=(
            "Print what a store holds, also while a run is at work on it: cells of each function "
            "and version, and the failed ones with their errors. Exit 1 if a cell has failed."
        ),
    )
    status.add_argument("store", type=Path, metavar="STORE", help="the SQLite file of a sweep")
    status.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read the store and print it."""
    from rankbound.reporting.tables import console
    from rankbound.sweeps.run import failure_lines, store_table
    from rankbound.sweeps.store import open_store, store_path

    with open_store(store_path(options.store), read_only=True) as store:
        records = store.records()
    out = console()
    out.print(store_table(records))
    failures = failure_lines(records)
    for line in failures:
        out.print(line, markup=False, soft_wrap=True)
    return 1 if failures else 0
