"""A sweep: every cell of a grid run once, kept, and resumed after any stop.

Its results are data, a row per cell; its progress goes to a callback, or to a bar on a terminal.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankbound._validate import check_int, check_real
from rankbound.errors import InputError, InputTypeError
from rankbound.sweeps.plan import COLUMNS, Function, Grid, canonical, keyed, make_plan
from rankbound.sweeps.store import PENDING, Record, by_function, locked, open_store, store_path
from rankbound.sweeps.workers import DONE, FAILED, Portable, Work, outcomes
from rankbound.table import Column, Table


def sweep(
    function: Function,
    grid: Grid,
    store: str | os.PathLike[str] = "results.sqlite",
    jobs: int = 1,
    retries: int = 0,
    time_limit: float | None = None,
    version: str = "1",
    seed: int = 0,
    *,
    unrecorded: Mapping[str, Any] | None = None,
    progress: Callable[[Tick], object] | None = None,
) -> Sweep:
    """Run a function over a grid, each cell once, and keep its outcome.

    Each cell is recorded when it ends, in one transaction. A sweep that was stopped, by Ctrl-C,
    SIGKILL or the machine, is resumed by the same call: what is done is not run again, what failed
    is. A cell that fails does not end the sweep.

    A cell is known by the function's ``__qualname__``, the version and its parameters, so a sweep
    resumes also from another script or a larger grid. **Raise the version when the function
    changes**: its code is not looked at. A function that holds what is in neither is refused: a
    lambda, a closure over a value, a method of an object, a partial.

    Parameters
    ----------
    function : callable
        Called as ``function(**cell)``; returns a dict of scalars (number, word, truth value, None).
        One that takes a parameter ``seed`` which the grid does not name gets an integer derived
        from the sweep's seed and the cell, below 2^63.
    grid : dict of lists, or list of dicts
        The product of the lists, or the cells as they stand. Values are None, truth values, finite
        numbers, words, and lists or dicts of these; a tuple arrives as a list.
    store : path
        An SQLite file, made if need be; one run at a time, which a lock file beside it sees to.
    jobs : int
        Worker processes on this machine; 1 runs the cells here. Under
        ``joblib.parallel_config(backend="dask")`` the cluster's workers are used instead. Each
        worker has one BLAS thread, so any number gives the same results.
    retries : int
        Attempts at a failing cell after the first, with the same seed.
    time_limit : float, optional
        Seconds per attempt. Each runs in a process of its own, killed at the limit with all it
        started; to start one costs about as much as importing what the function needs.
    version : str
        Of the function.
    seed : int
        From which the cells' seeds are derived.
    unrecorded : dict, optional
        Keywords of every call that are no part of what a cell is known by, such as the folder where
        data lie on this machine. Results must not depend on them.
    progress : callable, optional
        Called with a :class:`~rankbound.sweeps.run.Tick` at the start and after each cell. By
        default a bar on standard error if it is a terminal, and nothing otherwise.

    Returns
    -------
    Sweep
        The cells of this grid, those of earlier runs included.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C; the cells that had ended are kept.

    Examples
    --------
    >>> import tempfile, rankbound as rb
    >>> def parabola(x, scale):
    ...     return {"y": scale * x * x}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = rb.sweep(parabola, {"x": [1, 2], "scale": [10]}, f"{folder}/results.sqlite")
    >>> [cell.result["y"] for cell in done.cells]
    [10, 40]
    """
    if unrecorded is not None and not isinstance(unrecorded, Mapping):
        raise InputTypeError(f"unrecorded is {unrecorded!r}; expected a dict of keywords.")
    unrecorded = keyed("unrecorded", unrecorded or {})
    plan = make_plan(function, grid, version, seed, unrecorded)
    work = Work(
        function=Portable(function, unrecorded),
        retries=check_int("retries", retries, least=0),
        time_limit=None if time_limit is None else check_real("time_limit", time_limit, above=0.0),
    )
    jobs = check_int("jobs", jobs, least=1)
    path = store_path(store)
    with locked(path), open_store(path) as opened:
        cells = opened.admit(plan)
        total, start, finished, failed = len(plan.cells), time.monotonic(), 0, 0
        kept = total - len(cells)
        with reporting(progress) as tell:
            tell(_tick(total, kept, 0, 0, start))
            run: Any = outcomes(cells, work, jobs)
            try:
                for cell, outcome in run:
                    opened.record(cell, outcome)
                    finished += 1
                    failed += outcome.status == FAILED
                    tell(_tick(total, kept, finished, failed, start))
            finally:
                run.close()
        return Sweep(opened.records(plan), plan.names)


HEAD = 20  # cells that a notebook shows


@dataclass(frozen=True, eq=False)
class Sweep:
    """The cells of one plan, run.

    Examples
    --------
    >>> import rankbound as rb
    >>> def root(x):
    ...     return {"root": x**0.5}
    >>> done = rb.sweep(root, {"x": [1, 4]})
    >>> [cell.result["root"] for cell in done.cells], done.failed
    ([1.0, 2.0], ())
    """

    cells: tuple[Record, ...]  # in the order of the grid
    names: tuple[str, ...]  # of the parameters

    @property
    def failed(self) -> tuple[Record, ...]:
        """The cells that failed, with their ``parameters`` and ``error``; empty if none did."""
        return tuple(cell for cell in self.cells if cell.status == FAILED)

    @property
    def columns(self) -> tuple[str, ...]:
        """Parameters, results in the order in which cells name them, and how each cell went."""
        results = dict.fromkeys(name for cell in self.cells for name in cell.result or ())
        return (*self.names, *results, *COLUMNS)

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict per cell, of all columns; None where a cell has no value."""
        empty = dict.fromkeys(self.columns)
        return [{**empty, **_row(cell)} for cell in self.cells]

    def to_frame(self) -> Any:
        """Return a pandas DataFrame, one row per cell; nested parameters stay lists.

        BackendMissing if pandas is not installed; :meth:`to_csv` and :meth:`rows` do without.
        """
        return Table.of(self.rows(), self.columns).to_frame()

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        r"""Write a line of names, and one per cell.

        None, and no value at all, is nothing; a word stands in quotes, also an empty one; a number
        or a truth value is its JSON, NaN and Infinity as Python spells them; a list or a dict is
        its JSON in quotes. Half a surrogate pair, which UTF-8 lacks, is written as ``\ud800``.
        """
        lines = (self.columns, *(row.values() for row in self.rows()))
        text = "".join(f"{','.join(map(_field, line))}\n" for line in lines)
        try:
            Path(path).write_bytes(text.encode("utf-8", "backslashreplace"))
        except (OSError, TypeError, ValueError) as error:  # no path, or one with a zero byte
            raise InputError(
                f"path is {path!r}, which cannot be written: {error}; expected that of a CSV file."
            ) from None

    def __repr__(self) -> str:
        return f"Sweep({len(self.cells)} cells, {len(self.failed)} failed)"

    def _repr_html_(self) -> str:
        shown = Table.of(self.rows()[:HEAD], self.columns)
        more = len(self.cells) - HEAD
        return shown.to_html() + (f"<p>and {more} more cells</p>" if more > 0 else "")


def _row(cell: Record) -> dict[str, Any]:
    values = (cell.status, cell.error, cell.seed, cell.attempts, cell.wall_time, cell.id)
    return {**cell.parameters, **(cell.result or {}), **dict(zip(COLUMNS, values, strict=True))}


def _field(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return '"' + text.replace('"', '""') + '"' if isinstance(value, (str, list, dict)) else text


def store_table(records: Iterable[Record]) -> Table:
    """Return what a store holds: a row for each function and version."""

    def row(key: tuple[str, str], group: list[Record]) -> tuple[Any, ...]:
        statuses = [record.status for record in group]
        counts = (statuses.count(word) for word in (DONE, FAILED, PENDING))
        attempts = sum(record.attempts for record in group)
        return *key, *counts, attempts, sum(record.wall_time or 0.0 for record in group)

    return Table(
        ["function", "version", DONE, FAILED, PENDING, "attempts", Column("seconds", format=".1f")],
        (row(*item) for item in by_function(records).items()),
    )


def failure_lines(records: Iterable[Record]) -> list[str]:
    """Return a line for each failed cell: function, parameters, error."""
    return [
        f"failed: {record.function} {canonical(record.parameters)} "
        f"after {record.attempts} attempts: {' '.join((record.error or '').split())}"
        for record in records
        if record.status == FAILED
    ]


@dataclass(frozen=True)
class Tick:
    """The state of a run after a cell.

    The time remaining is at the mean pace of this run, cells of earlier runs not counted, and as
    wrong as cells differ in cost; None before the first cell has finished, when nothing is known.
    """

    total: int  # cells of the plan
    kept: int  # of these, done by earlier runs
    finished: int  # done or failed in this run
    failed: int  # in this run
    elapsed: float  # seconds of this run
    remaining: float | None  # seconds to go


def _tick(total: int, kept: int, finished: int, failed: int, start: float) -> Tick:
    elapsed, left = time.monotonic() - start, total - kept - finished
    remaining = elapsed / finished * left if finished else None
    return Tick(total, kept, finished, failed, elapsed, remaining if left else 0.0)


@contextmanager
def reporting(progress: Callable[[Tick], object] | None) -> Iterator[Callable[[Tick], object]]:
    """The callback itself, or a bar on a terminal, or nothing in a pipe."""
    if progress is not None:
        yield progress
        return
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda tick: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    what, noted = TextColumn("sweep"), TextColumn("{task.fields[note]}")
    columns = (what, BarColumn(), MofNCompleteColumn(), noted)
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
