"""Run cells through joblib and hand back what came of each as soon as it is known.

joblib's active backend decides where: processes of this machine, or a cluster
(``joblib.parallel_config(backend="dask")``).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rankbound.sweeps.cell import DONE, Outcome, Portable, attempt
from rankbound.sweeps.isolation import isolated
from rankbound.sweeps.plan import Cell

__all__ = ["Work", "outcomes"]

CHUNK = 4  # cells a worker in a batch, where the backend cannot hand back one by one


@dataclass(frozen=True)
class Work:
    """How to run a cell.

    Attributes
    ----------
    function : Portable
    retries : int
        Attempts after the first, each with the same seed.
    time_limit : float or None
        Seconds an attempt; not None implies a process of its own.
    apart : bool
        Whether each attempt gets a process of its own in any case.
    """

    function: Portable
    retries: int
    time_limit: float | None
    apart: bool


def outcomes(cells: list[Cell], work: Work, jobs: int) -> Iterator[tuple[Cell, Outcome]]:
    """Run cells and yield each with what came of it, in no order.

    A cell may bring down the worker that runs it (a crash in C, memory used up), and joblib cannot
    tell which it was. Those that were with the workers are then run again, each apart, in a process
    whose end is its own failure; the others go on as before.
    """
    left = {cell.id: cell for cell in cells}
    while left:
        taken: set[str] = set()
        try:
            for cell, outcome in _stream(list(left.values()), work, jobs, taken):
                del left[cell.id]
                yield cell, outcome
        except Exception:  # whatever a backend raises where a worker is lost
            suspects = [cell for cell in left.values() if cell.id in taken]
            if work.apart or not suspects:
                raise
            for cell, outcome in _stream(suspects, replace(work, apart=True), jobs, set()):
                del left[cell.id]
                yield cell, outcome


def _stream(
    cells: list[Cell], work: Work, jobs: int, taken: set[str]
) -> Iterator[tuple[Cell, Outcome]]:
    from joblib import Parallel, delayed
    from joblib.parallel import LokyBackend, get_active_backend

    known = {cell.id: cell for cell in cells}

    def tasks(some: list[Cell]) -> Iterator[Any]:
        for cell in some:
            taken.add(cell.id)
            yield delayed(_run)(cell, work)

    settings: dict[str, Any] = {"n_jobs": jobs, "batch_size": 1}
    if jobs > 1 and isinstance(get_active_backend()[0], LokyBackend):
        settings |= {"initializer": _end_with, "initargs": (os.getpid(),)}
    try:
        parallel = Parallel(**settings, return_as="generator_unordered")
    except ValueError:  # a backend, or a joblib, that hands back lists only
        size = CHUNK * max(jobs, os.cpu_count() or 1)
        for start in range(0, len(cells), size):
            for key, outcome in Parallel(**settings)(tasks(cells[start : start + size])):
                yield known[key], outcome
        return
    results = parallel(tasks(cells))
    try:
        for key, outcome in results:
            yield known[key], outcome
    finally:
        results.close()  # ends the workers now, not when the memory is collected


def _run(cell: Cell, work: Work) -> tuple[str, Outcome]:
    """In a worker: attempts at a cell until one succeeds or none is left."""
    attempts = 0
    while True:
        attempts += 1
        if work.apart or work.time_limit is not None:
            outcome = isolated(work.function, cell.arguments(), work.time_limit)
        else:
            outcome = attempt(work.function.function, cell.arguments())
        if outcome.status == DONE or attempts > work.retries:
            return cell.id, replace(outcome, attempts=attempts)


def _end_with(owner: int) -> None:
    """See that a worker on this machine ends when the process that started it was killed.

    loky's own would work on, beside the run that resumes the cells, and then wait for more. Set up
    before the first cell, as a worker may start after the death of its owner. On a cluster a
    worker is not the owner's child, and its end is the cluster's affair.
    """
    if sys.platform == "win32":  # there the number of a dead parent stays
        return

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
