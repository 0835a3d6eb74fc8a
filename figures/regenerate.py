"""Compute the data behind each figure, and draw it.

    python figures/regenerate.py [NAME ...] [--data-only | --draw-only]

without a name regenerates all. A figure NAME is ``data/NAME.csv``, a tidy table; beside it
``data/NAME.json``, its provenance (command, settings and seeds, versions, SHA-256 of the table);
and ``NAME.svg`` and ``NAME.png``, which ``--draw-only`` redraws from the table as it stands.

A fitted value is an upper bound on a minimum. A row with ``converged`` false is one where descent
stopped (at its limit of iterations, or on rounding) before the gradient fell to the tolerance of
the settings: the head is not even a stationary point. Such rows are kept, and drawn hollow.

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
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import scipy
from matplotlib.figure import Figure
from threadpoolctl import threadpool_info, threadpool_limits

import rankbound as rb
from rankbound.plots import cliff

HERE = Path(__file__).resolve().parent
Row = dict[str, Any]


class Failure(Exception):
    """What ends the command with one line and exit code 2."""


@dataclass(frozen=True)
class Recipe:
    """How one figure is made.

    Attributes
    ----------
    columns : mapping of str to type
        The columns of the table, in order: int, float, bool or str.
    settings : mapping
        Everything the numbers depend on besides the code; written into the provenance.
    compute : callable
        Settings to rows.
    draw : callable
        Rows and an empty figure to the drawn figure.
    inches : tuple of float
        Width and height.
    """

    columns: Mapping[str, type]
    settings: Mapping[str, Any]
    compute: Callable[[Mapping[str, Any]], Iterator[Row]]
    draw: Callable[[Sequence[Row], Figure], None]
    inches: tuple[float, float]


CLIFF_COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "n": int,
        "head_size": int,
        "seed": int,
        "law": str,
        "aitchison_error": float,  # exact minimum over heads of this size
        "aitchison_rounding": float,  # below it, an Aitchison error is 0 as far as float64 can tell
        "kl": float,  # best head found: an upper bound on the minimum
        "kl_rounding": float,  # likewise for a KL
        "gradient_norm": float,
        "converged": bool,  # False: not a stationary point, so the KL is not even a local minimum
        "iterations": int,
        "random_starts": int,
        "kl_svd_start": float,  # where the descent from the truncated SVD ended
        "kl_worst_start": float,  # its distance from kl is the spread over all starts
    }
)
CLIFF_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "law": "dirichlet",
        "alpha": 1.0,
        "seed": 0,
        "fit_seed": 0,
        "random_starts": 3,
        "gradient_tolerance": 1e-8,
        "max_iterations": 10_000,
        "head_sizes": {
            16: list(range(1, 17)),
            32: list(range(1, 33)),
            64: [1, 2, 3, 4, 6, *range(8, 60, 4), 58, 60, 61, 62, 63, 64],
        },
    }
)


def cliff_rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of the cliff: one context an n, one row a head size."""
    for n, head_sizes in settings["head_sizes"].items():
        P = rb.random_context(n, settings["seed"], settings["law"], alpha=settings["alpha"])
        for head_size in head_sizes:
            yield cliff_row(P, head_size, settings)


def cliff_row(P: npt.NDArray[np.float64], head_size: int, settings: Mapping[str, Any]) -> Row:
    """What a head of this size can do for P, exactly in Aitchison distance and fitted in KL."""
    fit = rb.fit_head(
        P,
        head_size,
        seed=settings["fit_seed"],
        random_starts=settings["random_starts"],
        gradient_tolerance=settings["gradient_tolerance"],
        max_iterations=settings["max_iterations"],
    )
    aitchison, kl = rounding(P)
    return {
        "n": len(P),
        "head_size": head_size,
        "seed": settings["seed"],
        "law": settings["law"],
        "aitchison_error": rb.aitchison_error(P, head_size),
        "aitchison_rounding": aitchison,
        "kl": fit.kl,
        "kl_rounding": kl,
        "gradient_norm": fit.gradient_norm,
        "converged": fit.converged,
        "iterations": fit.iterations,
        "random_starts": settings["random_starts"],
        "kl_svd_start": fit.start_kls[0],
        "kl_worst_start": max(fit.start_kls),
    }


def rounding(P: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Up to where an Aitchison error and a KL computed in float64 may be 0 in truth.

    ``r = n eps ‖C log P‖_F`` bounds what centring and the singular value decomposition do to the
    singular values (Weyl; as in ``rb.log_rank``). The logits of the head built from them are off
    by at most 4 r an entry: r each for centring, decomposition, a dropped value and the product of
    the factors. By Hoeffding's lemma logits off by at most δ cost at most ``δ²/2`` of KL: 8 r².
    """
    log_P = np.log(P)
    norm = float(np.linalg.norm(log_P - log_P.mean(axis=0)))
    r = len(P) * float(np.finfo(np.float64).eps) * norm
    return r, 8 * r**2


def draw_cliff(rows: Sequence[Row], figure: Figure) -> None:
    """Draw the cliff into an empty figure."""
    left, right = figure.subplots(1, 2)
    cliff(rows, (left, right))


FIGURES: Mapping[str, Recipe] = MappingProxyType(
    {"cliff": Recipe(CLIFF_COLUMNS, CLIFF_SETTINGS, cliff_rows, draw_cliff, (7.2, 3.3))}
)


def write_data(name: str, folder: Path) -> None:
    """Compute the table of a figure and write it with its provenance."""
    recipe = FIGURES[name]
    with threadpool_limits(1, "blas"):  # the sums in a product depend on the number of threads
        table = to_csv(recipe.compute(recipe.settings), recipe.columns)
        origin = provenance(name, table)
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
            if not options.draw_only:
                write_data(name, HERE / "data")
            if not options.data_only:
                draw(name, *read_data(name, HERE / "data"), HERE)
    except Failure as failure:
        print(f"regenerate.py: {failure}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
