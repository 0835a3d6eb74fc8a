"""Functions that the tests sweep, importable by worker processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def drawn(x: int, seed: int) -> dict[str, Any]:
    import numpy as np

    return {"y": x * x, "draw": float(np.random.default_rng(seed).standard_normal())}


def killable(x: int, folder: str, milliseconds: float, seed: int) -> dict[str, Any]:
    """Where a file named stall lies, the last quarter of 200 cells takes a minute each.

    Its process holds a shared lock on a file named alive, so that one can see who survives.
    """
    import fcntl

    if folder not in _alive:
        _alive[folder] = os.open(f"{folder}/alive", os.O_RDWR | os.O_CREAT)
        fcntl.flock(_alive[folder], fcntl.LOCK_SH)
    time.sleep(60 if x >= 150 and Path(folder, "stall").exists() else milliseconds / 1000)
    return drawn(x, seed)


_alive: dict[str, int] = {}


def named(name: str, folder: str) -> dict[str, Any]:
    """Counts its calls for each name in a file."""
    with (Path(folder) / name).open("a") as file:
        file.write("x")
    return {"length": len(name)}


def flaky(folder: str, failures: int) -> dict[str, Any]:
    """Fails so many times and then succeeds."""
    file = Path(folder) / f"flaky-{failures}"
    calls = int(file.read_text()) if file.exists() else 0
    file.write_text(str(calls + 1))
    if calls < failures:
        raise OSError(f"call {calls}")
    return {"calls": calls}


def sleeper(seconds: float) -> dict[str, Any]:
    time.sleep(seconds)
    return {"slept": seconds}


def parent(folder: str) -> dict[str, Any]:
    """Starts a process that holds a lock, and sleeps with it."""
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'w'); "
        "fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, f"{folder}/lock"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(600)
    return {}


def deaf() -> dict[str, Any]:
    """Ignores what can be ignored, and stays in one call of C."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    re.match(r"(a+)+$", "a" * 60 + "b")
    return {}


def fatal(x: int) -> dict[str, Any]:
    """Some cells end their process."""
    if x == 3:
        os._exit(7)
    if x == 5:
        os.kill(os.getpid(), 9)
    return {"y": x}


def returns(what: str) -> Any:
    import numpy as np

    values: dict[str, Any] = {
        "number": 3,
        "nothing": None,
        "list": {"a": [1, 2]},
        "array": {"a": np.arange(2)},
        "complex": {"a": 1j},
        "key": {1: 2},
        "parameter": {"what": 2},
        "column": {"cell_id": 2},
        "scalars": {
            "int": np.int64(3),
            "float": np.float32(0.5),
            "long": np.longdouble(0.25),
            "bool": np.True_,
            "zero-dim": np.array(2.0),
            "nan": float("nan"),
            "none": None,
            "word": "w",
        },
    }
    return values[what]


def threads() -> dict[str, Any]:
    import numpy.linalg  # noqa: F401 - loads BLAS
    from threadpoolctl import threadpool_info

    return {
        "most": max(pool["num_threads"] for pool in threadpool_info()),
        "environment": os.environ["OMP_NUM_THREADS"],
    }


def twice(x: float) -> dict[str, Any]:
    return {"y": 2 * x}


def says(x: float) -> dict[str, Any]:
    sys.stdout.write("said by a cell\n")
    return {"y": 2 * x}


def exits(x: int) -> dict[str, Any]:
    raise SystemExit(x)


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def mute(x: int) -> dict[str, Any]:
    raise Mute


def mutates(values: list[int]) -> dict[str, Any]:
    values.append(1)
    return {"length": len(values)}


def process(x: int) -> dict[str, Any]:
    time.sleep(0.05)
    return {"process": os.getpid()}
