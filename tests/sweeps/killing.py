"""A sweep of 200 cells, killed at random moments and resumed, beside one left in peace."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import rankbound as rb
from tests.sweeps import functions

CELLS = 200
ROOT = Path(rb.__file__).parents[1]
PROGRAM = """
import contextlib, sys
import rankbound as rb
from tests.sweeps import functions
from tests.sweeps.killing import grid

def show(tick):
    print(tick.kept + tick.finished, flush=True)

store, folder, milliseconds, scheduler = sys.argv[1:]
with contextlib.ExitStack() as stack:
    if scheduler:
        from distributed import Client
        from joblib import parallel_config

        stack.enter_context(Client(scheduler))
        stack.enter_context(parallel_config(backend="dask"))
    where = grid(folder, float(milliseconds))
    rb.sweep(functions.killable, where, store, jobs=2, seed=7, progress=show)
"""


def grid(folder: str, milliseconds: float) -> dict[str, Any]:
    return {"x": list(range(CELLS)), "folder": [folder], "milliseconds": [milliseconds]}


def contents(store: Path) -> list[tuple[Any, ...]]:
    """What a store says that no clock enters, read without this package."""
    connection = sqlite3.connect(store)
    rows = connection.execute(
        "SELECT id, function, version, parameters, seed, status, result, error, attempts, "
        "python, numpy, scipy, rankbound FROM cells ORDER BY id"
    ).fetchall()
    connection.close()
    return rows


def kill_and_resume(
    folder: Path,
    kills: int,
    seed: int,
    *,
    milliseconds: float = 4.0,
    spread: float = 0.04,
    scheduler: str = "",
    say: Callable[[str], object] = lambda line: None,
) -> None:
    """Kill a sweep on two workers so often, resume it, compare; raise AssertionError if it differs.

    A fifth of the kills come while a run starts, the others within `spread` seconds of its first
    cell. No killed run can reach the end, as the last quarter of the cells stalls until then.
    """
    random, store = Random(seed), folder / "killed.sqlite"
    arguments = [str(store), str(folder), str(milliseconds), scheduler]
    (folder / "stall").touch()
    done = 0
    for count in range(kills):
        started = random.random() > 0.2 and done < 140  # near the stall no cell would come
        delay = random.uniform(0.0, spread if started else 1.0)
        _kill_after(started, delay, arguments)
        now = sum(row[5] == "done" for row in contents(store)) if store.exists() else 0
        assert done <= now < CELLS, (count, done, now)
        done = now
        say(f"kill {count + 1}: {done} cells done")
    (folder / "stall").unlink()
    _run(arguments)
    if not scheduler:
        assert _all_gone(folder), "workers of killed runs are still at work"
    calm = folder / "calm.sqlite"
    rb.sweep(functions.killable, grid(str(folder), milliseconds), calm, seed=7)
    rows = contents(store)
    assert len(rows) == CELLS
    assert all(row[5] == "done" and row[8] == 1 for row in rows)  # each once
    assert rows == contents(calm)


def _command(arguments: list[str]) -> dict[str, Any]:
    return {
        "args": [sys.executable, "-c", PROGRAM, *arguments],
        "env": os.environ | {"PYTHONPATH": str(ROOT)},
        "text": True,
    }


def _run(arguments: list[str]) -> None:
    done = subprocess.run(**_command(arguments), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def _kill_after(started: bool, delay: float, arguments: list[str]) -> None:
    with subprocess.Popen(**_command(arguments), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if started:
            first = process.stdout.readline()
            process.stdout.readline()  # a cell of this run
            assert first, "the run has not started"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def _all_gone(folder: Path) -> bool:
    """Whether nobody holds the lock that each worker holds."""
    alive = os.open(folder / "alive", os.O_RDWR)
    try:
        for _ in range(200):
            try:
                fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                time.sleep(0.05)
        return False
    finally:
        os.close(alive)
