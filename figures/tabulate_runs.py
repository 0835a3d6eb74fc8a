"""Write the tables of long runs from the store that holds them.

    python figures/tabulate_runs.py NAME STORE

NAME is experiments-laptop, experiments-overnight or trained-heads; STORE is what
``rankbound experiment`` wrote. Then ``python figures/regenerate.py NAME --draw-only`` draws.
The provenance names the commands, the versions and the text that were used, and how many of the
preset's cells are done.

Exit 0: done; 2: an unknown name, or a store without runs of the preset.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from recipes import FIGURES
from regenerate import HERE, to_csv, write_table

from rankbound.errors import RankboundError
from rankbound.experiments.report import ExperimentReport, make_report

NAMES = [name for name, recipe in FIGURES.items() if recipe.compute is None]


def rows_of(name: str, report: ExperimentReport) -> list[dict[str, Any]]:
    """The rows of a table, in an order that does not depend on when runs ended."""
    records = report.heads if name == "trained-heads" else report.results.runs
    rows = [asdict(record) for record in records]
    return sorted(rows, key=lambda row: [str(row[column]) for column in FIGURES[name].columns])


def provenance(name: str, report: ExperimentReport, table: bytes) -> dict[str, Any]:
    """Where a table comes from; nothing in it names the machine or the time."""
    results = report.results
    return {
        "command": f"rankbound experiment NAME --preset {results.preset} --store STORE, for each "
        f"NAME below; python figures/tabulate_runs.py {name} STORE",
        "file": f"{name}.csv",
        "sha256": hashlib.sha256(table).hexdigest(),
        "settings": dict(FIGURES[name].settings),
        "cells": {
            experiment: f"{results.done[experiment]} of {planned}"
            for experiment, planned in results.planned.items()
            if name != "trained-heads" or experiment == "language"
        },
        "corpus_sha256": results.corpus,
        "versions": dict(results.versions),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="tabulate_runs.py", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("store")
    options = parser.parse_args(arguments)
    recipe = FIGURES[options.name]
    try:
        report = make_report(
            options.store, recipe.settings["preset"], heads=options.name == "trained-heads"
        )
    except RankboundError as error:
        print(f"tabulate_runs.py: {error}", file=sys.stderr)
        return 2
    table = to_csv(iter(rows_of(options.name, report)), recipe.columns)
    write_table(options.name, table, provenance(options.name, report, table), HERE / "data")
    return 0


if __name__ == "__main__":
    sys.exit(main())
