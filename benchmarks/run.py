"""Measure everything and write ``results.json``; ``make bench``.

    python -m benchmarks.run [NAME ...] [--only races|memory|growth|workers]

A line is printed per row. Names, or a part, measure these alone and leave the rest of the file as
it is. One BLAS thread; the sides of a race take turns, and what counts are medians of ratios.

Exit 0: done; 1: a right answer or a bound on memory was missed. That a race is slower than wanted
is told in the table.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks import growth, memory, races, rates, workers
from benchmarks.rows import RACES

RESULTS = Path(__file__).with_name("results.json")
PARTS = ("races", "memory", "growth", "workers")
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def missing(race: races.Race) -> list[str]:
    """The packages that a race needs and that are not installed."""
    return [name for name in race.needs if importlib.util.find_spec(name) is None]


def run_race(race: races.Race, known: rates.Rates) -> dict[str, Any]:
    """The row of a race, with a line that tells of it."""
    if absent := missing(race):
        skipped = f"{', '.join(absent)} not installed"
        return {"name": race.name, "skipped": skipped, "said": f"skipped: {skipped}"}
    row = races.run(race, known)
    beside = f" beside {race.beside}" if race.beside else ""
    said = f"{race.wanted.words(row['number'][1])}{beside}, wanted {race.wanted.words()}"
    wrong = {True: "", False: "; THE ANSWER IS WRONG", None: "; there is no answer"}[row["right"]]
    return {**row, "said": f"{'met' if row['met'] else 'not met'}: {said}{wrong}"}


def run_peak(peak: memory.Peak) -> dict[str, Any]:
    """The row of a bound on memory, with a line."""
    row = memory.run(peak)
    found = row.get("error", f"{row.get('arrays')} arrays of {peak.shape}")
    said = f"{'met' if row['met'] else 'not met'}: {found}, at most {peak.arrays:g}"
    return {**row, "said": said}


def measure(part: str, names: Sequence[str], known: rates.Rates) -> Iterator[dict[str, Any]]:
    """The rows of a part as plain data; `said` is the line to print."""
    if part == "races":
        yield from (run_race(race, known) for race in RACES.values() if chosen(race.name, names))
    elif part == "memory":
        yield from (run_peak(peak) for peak in memory.PEAKS.values() if chosen(peak.name, names))
    elif part == "growth":
        yield from growth.measured(names)
    else:
        yield from workers.measured(names)


def chosen(name: str, names: Sequence[str]) -> bool:
    """Whether it was asked for; all are where no name is given."""
    return not names or name in names


def read(path: Path = RESULTS) -> dict[str, Any]:
    """The results as they stand."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write(results: Mapping[str, Any], path: Path = RESULTS) -> None:
    """Write the results, a row per line."""
    blocks = [f' "machine": {json.dumps(results["machine"], ensure_ascii=False)}']
    for part in PARTS:
        rows = (f"  {json.dumps(row, ensure_ascii=False)}" for row in results.get(part, []))
        blocks.append(f' "{part}": [\n' + ",\n".join(rows) + "\n ]")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """Plain data with four digits to a float: more are noise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def merged(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The rows with those that were measured again in their place."""
    rows = {row["name"]: row for row in (*old, *new)}
    return list(rows.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line per row, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known_names = [*RACES, *memory.PEAKS, *growth.SERIES, *workers.CASES]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known_names))
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; all unless given")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in known_names:
            parser.error(f"there is no {name!r}; expected of {', '.join(known_names)}")
    results, failed = read(), False
    os.environ.update(dict.fromkeys(THREADS, "1"))  # of the processes that are started
    with threadpool_limits(1, "blas"):
        known = rates.measured()
        results["machine"] = rounded(rates.machine(known))
        for part in options.only or PARTS:
            rows = [row for row in results.get(part, []) if row["name"] in known_names]
            for row in measure(part, options.names, known):
                print(f"{part}: {row['name']}: {row.pop('said')}", flush=True)
                failed |= row.get("right") is False or (part == "memory" and not row["met"])
                rows = results[part] = merged(rows, [rounded(row)])
                write(results)  # what is done stays, if the rest is stopped
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
