"""Compute the data behind each figure, and draw it.

    python figures/regenerate.py [NAME ...] [--data-only | --draw-only]

without a name regenerates all; those of long runs (``tabulate_runs.py``) are then drawn from the
tables as they stand. A figure NAME is ``data/NAME.csv``, a tidy table; beside it
``data/NAME.json``, its provenance (command, settings and seeds, versions, SHA-256 of the table);
and ``NAME.svg`` and ``NAME.png``, which ``--draw-only`` redraws from the table as it stands.

What the columns mean is said in ``recipes/``, one file per figure.

On one machine two runs write the same bytes. Another BLAS may change the last digits of the table
and, since fits are not convex, send a start to another local minimum; the SHA-256 identifies the
published table.

Exit 0: done; 2: an unknown name, or a table that is missing or not the one its provenance names.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import platform
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
import scipy.linalg  # loads its BLAS, so that the provenance names it whichever figure comes first
from matplotlib.figure import Figure
from recipes import FIGURES, Row
from threadpoolctl import threadpool_info, threadpool_limits

from rankbound.errors import RankboundError

HERE = Path(__file__).resolve().parent


class Failure(Exception):
    """What ends the command with one line and exit code 2."""


def write_data(name: str, folder: Path) -> None:
    """Compute the table of a figure and write it with its provenance."""
    recipe = FIGURES[name]
    if recipe.compute is None:
        raise Failure(f"{name} is a table of long runs: `make experiments` runs and tabulates them")
    with threadpool_limits(1, "blas"):  # the sums in a product depend on the number of threads
        table = to_csv(recipe.compute(recipe.settings), recipe.columns)
        origin = provenance(name, table)
    write_table(name, table, origin, folder)


def write_table(name: str, table: bytes, origin: Mapping[str, Any], folder: Path) -> None:
    """Write a table and its provenance."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.csv").write_bytes(table)
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in origin.items()]
    (folder / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def to_csv(rows: Iterator[Row], columns: Mapping[str, type]) -> bytes:
    """Return the table as CSV; floats are written so that they read back unchanged."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_CELL[kind](row[name]) for name, kind in columns.items()])
    return buffer.getvalue().encode()


_CELL: Mapping[type, Callable[[Any], str]] = MappingProxyType(
    {int: str, str: str, float: lambda x: repr(float(x)), bool: lambda x: str(bool(x)).lower()}
)
_READ: Mapping[type, Callable[[str], Any]] = MappingProxyType(
    {int: int, str: str, float: float, bool: {"true": True, "false": False}.__getitem__}
)


def provenance(name: str, table: bytes) -> dict[str, Any]:
    """Where a table comes from: nothing in it depends on who ran the command, where or when."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    return {
        "command": f"python figures/regenerate.py {name}",
        "file": f"{name}.csv",
        "sha256": hashlib.sha256(table).hexdigest(),
        "settings": dict(FIGURES[name].settings),
        "versions": {
            "rankbound": project["project"]["version"],
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "blas": sorted(
            {
                f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip()
                for pool in threadpool_info()
                if pool["user_api"] == "blas"
            }
        ),
    }


def read_data(name: str, folder: Path) -> tuple[list[Row], str]:
    """Read a table and its SHA-256, once that agrees with its provenance."""
    try:
        table = (folder / f"{name}.csv").read_bytes()
        origin = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Failure(
            f"no {Path(error.filename).name}: run without --draw-only to compute it"
        ) from None
    digest = hashlib.sha256(table).hexdigest()
    if origin["sha256"] != digest:
        raise Failure(
            f"{name}.csv is not the table that {name}.json describes (SHA-256 differs): "
            "restore it, or run without --draw-only to compute both anew"
        )
    columns = FIGURES[name].columns
    records = csv.DictReader(io.StringIO(table.decode()))
    rows = [{key: _READ[kind](row[key]) for key, kind in columns.items()} for row in records]
    return rows, digest


def draw(name: str, rows: Sequence[Row], digest: str, folder: Path) -> None:
    """Draw a figure as SVG and PNG, free of dates and random identifiers.

    Each names the table it was drawn from, so that a stale figure can be told from a fresh one.
    """
    source = f"data/{name}.csv, SHA-256 {digest}"
    recipe = FIGURES[name]
    with mpl.rc_context({"svg.hashsalt": "rankbound"}):
        figure = Figure(figsize=recipe.inches, layout="constrained")
        recipe.draw(rows, figure)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Source": source})
        figure.savefig(
            folder / f"{name}.png", dpi=200, metadata={"Software": None, "Source": source}
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="regenerate.py", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--data-only", action="store_true", help="compute the tables, draw nothing")
    only.add_argument("--draw-only", action="store_true", help="draw from the tables as they stand")
    options = parser.parse_args(arguments)
    try:
        for name in options.names or FIGURES:
            if name not in FIGURES:
                raise Failure(f"no figure {name!r}; expected one of {', '.join(FIGURES)}")
        for name in options.names or FIGURES:
            long = FIGURES[name].compute is None and not options.names  # only redrawn, unless named
            if not options.draw_only and not long:
                write_data(name, HERE / "data")
            if not options.data_only:
                draw(name, *read_data(name, HERE / "data"), HERE)
    except (Failure, RankboundError) as failure:  # a table of too few runs cannot be drawn
        print(f"regenerate.py: {failure}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
