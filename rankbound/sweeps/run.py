"""A sweep: every cell of a grid run once, kept, and gone on with after any stop."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rankbound._validate import check_int, check_real
from rankbound.sweeps.cell import FAILED, Portable
from rankbound.sweeps.lock import FileLock
from rankbound.sweeps.plan import Function, Grid, make_plan
from rankbound.sweeps.progress import Counter, Tick, reporting
from rankbound.sweeps.results import Sweep
from rankbound.sweeps.store import open_store, store_path
from rankbound.sweeps.stream import Work, outcomes

__all__ = ["sweep"]


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
    progress: Callable[[Tick], object] | None = None,
) -> Sweep:
    """Run a function over a grid, each cell once, and keep what comes of it.

    Each cell is recorded when it ends, in one transaction. A sweep that was stopped, by Ctrl-C,
    SIGKILL or the machine, is resumed by the same call: what is done is not run again, what failed
    is. A cell that fails does not end the sweep.

    A cell is known by the function's ``__qualname__``, the version and its parameters, so a sweep
    resumes also from another script or a larger grid. **Raise the version when the function
    changes**: its code is not looked at.

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
        Seconds an attempt. Each runs in a process of its own, killed at the limit with all it
        started; to start one costs about as much as importing what the function needs.
    version : str
        Of the function.
    seed : int
        From which the cells' seeds are derived.
    progress : callable, optional
        Called with a :class:`~rankbound.sweeps.progress.Tick` at the start and after each cell. By
        default a bar on standard error if it is a terminal, and nothing otherwise.

    Returns
    -------
    Sweep
        The cells of this grid, those of earlier runs included.

    Raises
    ------
    InputError, InputTypeError
        If an argument is not as described, the function cannot be pickled or does not accept the
        grid's parameters, the store is in use, damaged, of another schema or no store, or holds
        cells of this plan that were run with another seed.
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
    plan = make_plan(function, grid, version, seed)
    work = Work(
        function=Portable(function),
        retries=check_int("retries", retries, least=0),
        time_limit=None if time_limit is None else check_real("time_limit", time_limit, above=0.0),
        apart=False,
    )
    jobs = check_int("jobs", jobs, least=1)
    path = store_path(store)
    with FileLock(_lock_path(path), str(path)), open_store(path) as opened:
        cells = opened.admit(plan)
        counter = Counter(len(plan.cells), len(plan.cells) - len(cells))
        with reporting(progress) as tell:
            tell(counter.tick())
            run: Any = outcomes(cells, work, jobs)
            try:
                for cell, outcome in run:
                    opened.record(cell, outcome)
                    tell(counter.tick(outcome.status == FAILED))
            finally:
                run.close()
        return Sweep(opened.records(plan), plan.names)


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
