"""Write the tables of docs/speed.md, and what docs/promises.md says of speed; ``make speed``.

All come from ``results.json``; a test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from benchmarks import growth, memory, workers
from benchmarks.races import Race, Wanted
from benchmarks.rows import RACES
from benchmarks.run import read

DOCS = Path(__file__).parent.parent / "docs"
SPEED, PROMISES = DOCS / "speed.md", DOCS / "promises.md"
PROMISED = ("certified-context", "certified-batch", "certified-condition")
PROMISE = re.compile(r"(?<=\| timings beside peers \| )[^|]+\| \d+(?= \| `make bench` \|)")
AUDITED = ((2048, 1), (2048, 8), (8192, 1))  # tokens of a window, and windows


def digits(number: float) -> str:
    """A number as it is read: three digits, or all of a large one."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def shown(wanted: Wanted, number: float) -> str:
    """A number of a race in its unit."""
    if wanted.kind == "more":
        return f"{number:.3f} s more"
    return digits(number) + {"times": " ×", "growth": " × as long", "seconds": " s"}[wanted.kind]


def by_name(results: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The rows of a part."""
    return {row["name"]: row for row in results[part]}


def machine(results: Mapping[str, Any]) -> Iterator[str]:
    """A paragraph on the machine."""
    told = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    rates = told["rates"]
    blas = ", ".join(told["blas"])
    yield from wrap(
        f"Measured on {told['processor']}, {told['system']}; {blas}; one thread: "
        f"{rates['gemm'] / 1e9:.0f} GFLOP/s in products of float64, "
        f"{rates['single'] / 1e9:.0f} of float32, {rates['copy'] / 1e9:.0f} GB/s in copies. "
        f"{versions}.",
        100,
    )


def races(results: Mapping[str, Any]) -> Iterator[str]:
    """The table of the races."""
    rows = by_name(results, "races")
    yield "| work | beside | wanted | measured (quartiles) | seconds | over the floor | met |"
    yield "|---|---|---|---|---|---|---|"
    for name, race in RACES.items():
        if name in rows:
            yield _race(race, rows[name])


def _race(race: Race, row: Mapping[str, Any]) -> str:
    wanted = shown(race.wanted, race.wanted.value)
    if "skipped" in row:
        return f"| {race.work} | {race.beside} | {wanted} | skipped: {row['skipped']} | | | |"
    low, middle, high = row["number"]
    measured = shown(race.wanted, middle)
    if row["rounds"]["rankbound"] > 1:
        measured += f" ({digits(low)} to {digits(high)})"
    if race.wanted.kind == "seconds" and "peer" in row["seconds"]:
        measured += f"; the peer {digits(row['seconds']['peer'][1])} s"
    if row["right"] is None:
        measured = "no answer"
    once = [side for side, rounds in row["rounds"].items() if rounds == 1]
    if once and race.rounds > 1:
        names = {"rankbound": "it", "peer": "the peer", "floor": "the floor"}
        measured += f"; {', '.join(names[side] for side in once)} run once"
    floor = "" if row["over_floor"] is None else f"{digits(row['over_floor'])} × {race.floor}"
    met = "yes" if row["met"] else "**no**"
    seconds = digits(row["seconds"]["rankbound"][1])
    return f"| {race.work} | {race.beside} | {wanted} | {measured} | {seconds} | {floor} | {met} |"


def peaks(results: Mapping[str, Any]) -> Iterator[str]:
    """The table of the memory."""
    rows = by_name(results, "memory")
    yield "| work | arrays | at most | of shape | MB | met | counted |"
    yield "|---|---|---|---|---|---|---|"
    for name, peak in memory.PEAKS.items():
        if name in rows:
            row = rows[name]
            size = "" if row["bytes"] is None else f"{row['bytes'] / 1e6:.0f}"
            yield (
                f"| {peak.work} | {row.get('arrays', row.get('error', ''))} | {peak.arrays:g} | "
                f"{peak.shape} | {size} | {'yes' if row['met'] else '**no**'} | {peak.counted} |"
            )


def exponents(results: Mapping[str, Any]) -> Iterator[str]:
    """The table of the growth."""
    rows = by_name(results, "growth")
    yield "| work | grows with | from | to | exponent | by count of operations |"
    yield "|---|---|---|---|---|---|"
    for name, series in growth.SERIES.items():
        if name in rows:
            row = rows[name]
            first, *_, last = row["sizes"][-growth.FITTED :]
            yield (
                f"| {series.work} | {series.variable} | {first:,} | {last:,} | "
                f"{row['exponent']:.2f} | {series.expected:g} |"
            )


def efficiency(results: Mapping[str, Any]) -> Iterator[str]:
    """The table of the workers."""
    rows = by_name(results, "workers")
    yield "| work | workers | efficiency | wanted | met |"
    yield "|---|---|---|---|---|"
    for name, case in workers.CASES.items():
        if name in rows:
            row = rows[name]
            told, met = row.get("skipped", ""), ""
            if not told:
                told = f"{row['efficiency']:.2f}"
                met = "yes" if row["efficiency"] >= (case.wanted or 0.0) else "**no**"
            wanted = "" if case.wanted is None else f"{case.wanted:g}"
            yield f"| {case.what} | {row['workers']} | {told} | {wanted} | {wanted and met} |"


def large_model(results: Mapping[str, Any]) -> Iterator[str]:
    """What an audit of a large model would take."""
    model = growth.LARGE
    if "seconds" not in by_name(results, "races").get("audit", {}):
        yield "Not counted: the race of an audit was skipped."
        return
    heads = model.layers * model.heads
    yield (
        f"A model of {model.name} parameters, {model.layers} layers of {model.heads} heads of size "
        f"{model.head_size}, has {heads:,} heads per window:"
    )
    yield ""
    yield "| n | windows | seconds per head | hours of heads | hours of runs | on 32 cores |"
    yield "|---|---|---|---|---|---|"
    share = by_name(results, "workers").get("windows", {}).get("efficiency", 1.0)
    for n, windows in AUDITED:
        took = growth.audit_hours(results, model, n, windows)
        whole = (took["heads"] + took["runs"]) / 32 / share
        cells = (took["seconds per head"], took["heads"], took["runs"], whole)
        yield f"| {n:,} | {windows} | {' | '.join(digits(cell) for cell in cells)} |"


BLOCKS = {
    "machine": machine,
    "races": races,
    "memory": peaks,
    "growth": exponents,
    "workers": efficiency,
    "large model": large_model,
}


def with_blocks(text: str, results: Mapping[str, Any]) -> str:
    """The page with what stands between its marks written anew."""
    for name, block in BLOCKS.items():
        begin, end = f"<!-- {name}: written by make speed -->\n", f"\n<!-- end of {name} -->"
        before, first, rest = text.partition(begin)
        _, last, after = rest.partition(end)
        if not (first and last):
            raise SystemExit(f"speed.md: the marks of {name} are gone")
        text = before + begin + "\n".join(block(results)) + end + after
    return text


def with_promise(text: str, results: Mapping[str, Any]) -> str:
    """The page of promises with the numbers of this run: how many times as fast, how many not."""
    ratios = [by_name(results, "races")[name]["number"][1] for name in PROMISED]
    *first, last = (f"{ratio:.1f}" for ratio in ratios)
    slower = sum(ratio <= 1 for ratio in ratios)
    said = f"{len(ratios)} comparisons: {', '.join(first)} and {last} times as fast | {slower}"
    text, count = PROMISE.subn(said, text)
    if count != 1:
        raise SystemExit("promises.md: the row of `make bench` is gone")
    return text


def main() -> None:
    """Write both pages."""
    results = read()
    for path, write in ((SPEED, with_blocks), (PROMISES, with_promise)):
        path.write_text(write(path.read_text("utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main()
