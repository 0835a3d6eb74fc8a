"""Write the tables of long runs from the store that holds them.

    python figures/tabulate_runs.py NAME STORE [--only EXPERIMENT ...]

NAME is experiments-laptop, experiments-overnight or trained-heads; STORE is what
``rankbound experiment`` wrote. Then ``python figures/regenerate.py NAME --draw-only`` draws.
The provenance names the commands, the versions and the text that were used, and how many of the
preset's cells are done. With --only the table keeps its rows of all other experiments, and the
provenance what it says of them: so an experiment is added without running the others again.

Exit 0: done; 2: an unknown name, a store without runs of the preset, or of another text.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from recipes import FIGURES
from regenerate import HERE, Failure, read_data, to_csv, write_table

from rankbound.errors import RankboundError
from rankbound.experiments.catalogue import GRIDS
from rankbound.experiments.report import ExperimentReport, make_report

NAMES = [name for name, recipe in FIGURES.items() if "preset" in recipe.settings]


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


def added(
    name: str, report: ExperimentReport, only: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of the table as it stands, of these experiments those of the store; provenance."""
    before, _ = read_data(name, HERE / "data")
    told = json.loads((HERE / "data" / f"{name}.json").read_text(encoding="utf-8"))
    rows = [row for row in before if row["experiment"] not in only]
    rows += [row for row in rows_of(name, report) if row["experiment"] in only]
    rows.sort(key=lambda row: [str(row[column]) for column in FIGURES[name].columns])
    new = provenance(name, report, to_csv(iter(rows), FIGURES[name].columns))
    texts = {told["corpus_sha256"], new["corpus_sha256"]} - {""}
    if len(texts) > 1:
        raise Failure(
            f"the store's models learnt the text {new['corpus_sha256']}, and those of the table "
            f"{told['corpus_sha256']}: run all experiments on one of them, without --only"
        )
    new["command"] += f", the last time with --only {' '.join(only)}"
    new["corpus_sha256"] = "".join(texts)
    for experiment in new["cells"].keys() - set(only):
        planned = report.results.planned[experiment]
        new["cells"][experiment] = told["cells"].get(experiment, f"0 of {planned}")
    for library, version in told["versions"].items():
        found = {*version.split(", "), *new["versions"].get(library, version).split(", ")}
        new["versions"][library] = ", ".join(sorted(found))
    return rows, new


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="tabulate_runs.py", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("store")
    parser.add_argument("--only", nargs="+", choices=list(GRIDS), metavar="EXPERIMENT")
    options = parser.parse_args(arguments)
    recipe = FIGURES[options.name]
    try:
        report = make_report(
            options.store, recipe.settings["preset"], heads=options.name == "trained-heads"
        )
        if options.only and options.name == "trained-heads":
            raise Failure("trained-heads has rows of language alone: --only is of experiments-*")
        if options.only:
            rows, origin = added(options.name, report, options.only)
        else:
            rows = rows_of(options.name, report)
            origin = provenance(options.name, report, to_csv(iter(rows), recipe.columns))
    except (Failure, RankboundError) as error:
        print(f"tabulate_runs.py: {error}", file=sys.stderr)
        return 2
    write_table(options.name, to_csv(iter(rows), recipe.columns), origin, HERE / "data")
    return 0


if __name__ == "__main__":
    sys.exit(main())
