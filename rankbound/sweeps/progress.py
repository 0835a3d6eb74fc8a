"""How far a run is: what a callback is told, and the bar that a terminal gets."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Counter", "Tick", "reporting"]


@dataclass(frozen=True)
class Tick:
    """The state of a run after a cell.

    Attributes
    ----------
    total : int
        Cells of the plan.
    kept : int
        Of these, done by earlier runs.
    finished : int
        Done or failed in this run.
    failed : int
        Failed in this run.
    elapsed : float
        Seconds of this run.
    remaining : float or None
        Seconds to go at the mean pace of this run, cells of earlier runs not counted: they cost
        nothing now. None before the first cell has finished, when nothing is known. Cells of very
        different cost make it wrong by as much.
    """

    total: int
    kept: int
    finished: int
    failed: int
    elapsed: float
    remaining: float | None


class Counter:
    """Counts the cells of a run and gives a tick after each."""

    def __init__(self, total: int, kept: int) -> None:
        self._total, self._kept = total, kept
        self._finished = self._failed = 0
        self._start = time.monotonic()

    def tick(self, failed: bool | None = None) -> Tick:
        """Count a cell, if one has finished, and return the state."""
        self._finished += failed is not None
        self._failed += bool(failed)
        elapsed = time.monotonic() - self._start
        left = self._total - self._kept - self._finished
        pace = elapsed / self._finished if self._finished else None
        return Tick(
            total=self._total,
            kept=self._kept,
            finished=self._finished,
            failed=self._failed,
            elapsed=elapsed,
            remaining=0.0 if not left else None if pace is None else pace * left,
        )


@contextmanager
def reporting(progress: Callable[[Tick], object] | None) -> Iterator[Callable[[Tick], object]]:
    """The callback itself, or a bar on a terminal, or nothing in a pipe."""
    if progress is not None:
        yield progress
    elif sys.stderr is None or not sys.stderr.isatty():
        yield lambda tick: None
    else:
        with _bar() as show:
            yield show


@contextmanager
def _bar() -> Iterator[Callable[[Tick], object]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("sweep"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("sweep", total=None, note="")

        def show(tick: Tick) -> None:
            done = tick.kept + tick.finished
            bar.update(task, total=tick.total, completed=done, note=note(tick))

        yield show


def note(tick: Tick) -> str:
    """What the bar says besides: failures, and the time to go."""
    parts = [f"{tick.failed} failed"] if tick.failed else []
    if tick.remaining is not None:
        parts.append(f"about {_duration(tick.remaining)} to go")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
