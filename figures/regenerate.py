"""Compute the data behind each figure, compare them with the published ones, and draw.

    python figures/regenerate.py [NAME ...] [--check | --data-only | --draw-only] [--jobs N]

without a name takes all; those of long runs are then drawn from the tables as they stand. A figure
NAME is ``data/NAME.csv``, a tidy table; beside it ``data/NAME.json``, its provenance (command,
settings and seeds, versions, SHA-256 of the table); ``NAME.svg``, ``.png`` and ``.pdf``, as wide as
a page; and the same in ``column/``, as wide as a column of two. ``.pgf`` is written too where LaTeX
is installed. ``--draw-only`` draws from the tables as they stand.

What the columns mean is said in ``recipes/``, one file per figure, and how far a value computed
again may be from the published one: nothing for what is exact; the rounding, or what the solver's
tolerance leaves open, for floats; anything for how a solver went. A table within these stays as it
is. ``--check`` writes nothing, and says what differs.

Exit 0: done; 1: ``--check`` found a difference; 2: an unknown name, or a table that is missing or
not the one its provenance names.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import platform
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy.linalg  # loads its BLAS, so that the provenance names it whichever figure comes first
from matplotlib.figure import Figure
from recipes import FIGURES, Row
from threadpoolctl import threadpool_info, threadpool_limits

from rankbound import canvas
from rankbound.errors import RankboundError, did_you_mean

HERE = Path(__file__).resolve().parent
SHOWN = 8  # differences of one table, before the rest is counted


class Failure(Exception):
    """What ends the command with one line and exit code 2."""


# Tables


def computed(name: str) -> tuple[bytes, dict[str, Any], float]:
    """The table of a figure, its provenance, and how many seconds they took."""
    recipe, start = FIGURES[name], time.perf_counter()
    if recipe.compute is None:
        raise Failure(f"{name} is a table of long runs, written by: {long_command(name)}")
    with threadpool_limits(1, "blas"):  # the sums in a product depend on the number of threads
        table = to_csv(recipe.compute(recipe.settings), recipe.columns)
        origin = provenance(name, table)
    return table, origin, time.perf_counter() - start


def long_command(name: str) -> str:
    """The command that wrote a table, as its provenance has it."""
    try:
        told = json.loads((HERE / "data" / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "`make experiments`"
    return str(told["command"])


def write_table(name: str, table: bytes, origin: Mapping[str, Any], folder: Path) -> None:
    """Write a table and its provenance."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.csv").write_bytes(table)
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in origin.items()]
    (folder / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def to_csv(rows: Iterable[Row], columns: Mapping[str, type]) -> bytes:
    """Return the table as CSV; floats are written so that they read back unchanged."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_CELL[kind](row[name]) for name, kind in columns.items()])
    return buffer.getvalue().encode()


def from_csv(table: bytes, columns: Mapping[str, type]) -> list[Row]:
    """Return the rows that :func:`to_csv` wrote."""
    records = csv.DictReader(io.StringIO(table.decode()))
    return [{key: _READ[kind](row[key]) for key, kind in columns.items()} for row in records]


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
    return from_csv(table, FIGURES[name].columns), digest


def differences(name: str, table: bytes, folder: Path) -> list[str]:
    """Where a computed table differs from the published one, and that from its provenance."""
    recipe = FIGURES[name]
    try:
        published = (folder / f"{name}.csv").read_bytes()
        origin = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        return [f"there is no {Path(error.filename).name}"]
    if origin["settings"] != json.loads(json.dumps(dict(recipe.settings))):  # keys are text there
        return ["the settings of the recipe are not those of the published table"]
    columns = published.partition(b"\n")[0].decode().split(",")
    if columns != list(recipe.columns):
        return [f"got the columns {', '.join(recipe.columns)}, expected {', '.join(columns)}"]
    try:
        rows = from_csv(published, recipe.columns)
    except (ValueError, KeyError) as error:
        return [f"a cell of the published table cannot be read: {error}"]
    found = list(recipe.differences(rows, from_csv(table, recipe.columns)))
    if hashlib.sha256(published).hexdigest() != origin["sha256"]:
        found.append(f"SHA-256 is not the one that {name}.json names")
    return found


# Drawings


def draw(name: str, rows: Sequence[Row], digest: str, folder: Path) -> None:
    """Draw a figure in both widths, free of dates and random identifiers.

    Each file names the table it was drawn from, so that a stale figure can be told from a fresh
    one, and says in words what it shows.
    """
    recipe = FIGURES[name]
    source = f"data/{name}.csv, SHA-256 {digest}"
    about: dict[str, dict[str, str | None]] = {
        "svg": {"Date": None, "Source": source, "Description": recipe.alt},
        "png": {"Software": None, "Source": source, "Description": recipe.alt},
        "pdf": {"CreationDate": None, "Subject": recipe.alt, "Keywords": source},
    }
    kinds: dict[str, dict[str, Any]] = {kind: {"metadata": words} for kind, words in about.items()}
    if shutil.which("xelatex"):
        kinds["pgf"] = {}  # which has no room for metadata
    for width, height, where in zip(
        (canvas.WIDE, canvas.NARROW), recipe.heights, (folder, folder / "column"), strict=True
    ):
        where.mkdir(parents=True, exist_ok=True)
        with canvas.styled():
            figure = Figure(figsize=(width, height))
            recipe.draw(rows, figure)
            for kind, options in kinds.items():
                figure.savefig(where / f"{name}.{kind}", **options)


# The command


def tables(names: Sequence[str], jobs: int) -> Iterator[tuple[str, bytes, dict[str, Any], float]]:
    """The computed tables, in several processes if there are several jobs."""
    if jobs == 1 or len(names) == 1:
        for name in names:
            yield (name, *computed(name))
        return
    with ProcessPoolExecutor(jobs) as pool:
        # what takes longest first, so that no process waits long for the last
        order = sorted(names, key=lambda name: not FIGURES[name].slow)
        pending = {name: pool.submit(computed, name) for name in order}
        for name, made in pending.items():
            yield (name, *made.result())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="regenerate.py", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="compute and compare, write nothing")
    only.add_argument("--data-only", action="store_true", help="compute the tables, draw nothing")
    only.add_argument("--draw-only", action="store_true", help="draw from the tables as they stand")
    parser.add_argument("--jobs", type=int, default=1, help="processes that compute; default 1")
    parser.add_argument("--prog", default=parser.prog, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        for name in options.names or FIGURES:
            if name not in FIGURES:
                near = did_you_mean(name, FIGURES)
                raise Failure(f"no figure {name!r}; expected one of {', '.join(FIGURES)}.{near}")
        return _run(options)
    except (Failure, RankboundError) as failure:  # a table of too few runs cannot be drawn
        print(f"{options.prog}: {failure}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    names = options.names or list(FIGURES)
    differ = False
    if not options.draw_only:
        # of long runs, unless they are named, nothing is computed
        asked = [name for name in names if FIGURES[name].compute is not None]
        differ = _compute(asked if options.check or not options.names else names, options)
    if options.check:
        for name in names:
            if FIGURES[name].compute is None:
                read_data(name, HERE / "data")
                print(f"{name}: from long runs, not computed again; SHA-256 as published")
        return int(differ)
    if not options.data_only:
        for name in names:
            start = time.perf_counter()
            draw(name, *read_data(name, HERE / "data"), HERE)
            print(f"{name}: drawn in {time.perf_counter() - start:.1f} s", flush=True)
    return 0


def _compute(names: Sequence[str], options: argparse.Namespace) -> bool:
    """Compute tables and say what differs; write those unless told to check. Whether any did."""
    differ = False
    for name, table, origin, seconds in tables(names, options.jobs):
        found = differences(name, table, HERE / "data")
        differ = differ or bool(found)
        if found and not options.check:
            write_table(name, table, origin, HERE / "data")
        said = "as published" if not found else "differs" if options.check else "written"
        print(f"{name}: computed in {seconds:.1f} s, {said}", flush=True)
        for line in found[:SHOWN]:
            print(f"  {name}.csv, {line}", flush=True)
        if len(found) > SHOWN:
            print(f"  and {len(found) - SHOWN} more", flush=True)
    return differ


if __name__ == "__main__":
    sys.exit(main())
