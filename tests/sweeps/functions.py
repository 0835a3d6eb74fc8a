"""Functions that the tests sweep, importable by worker processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
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


class Own(BaseException):
    """Neither an Exception nor one of Python's."""


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("no pickle of this")


class Unreadable(Exception):
    """Its pickle cannot be read."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


class Silent(Exception):
    def __str__(self) -> str:
        raise GeneratorExit("no words")


class Word(str):
    """A word that lies about itself."""

    def __str__(self) -> str:
        return "a lie"

    def __format__(self, how: str) -> str:
        raise Own("no format")


class Sly(Exception):
    def __str__(self) -> str:
        return Word("the truth")


class Shut(Mapping[str, Any]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> Any:
        raise Own("not this key")

    def __iter__(self) -> Iterator[str]:
        raise Own("not these keys")

    def __len__(self) -> int:
        raise Own("not this length")


class Scalar:
    """Like a tensor without axes, and its number cannot be had."""

    shape = ()

    def item(self) -> float:
        raise asyncio.CancelledError("no number")


def burst(what: str) -> Any:
    raise SystemExit(what)


class Explosive:
    """It can be pickled, and not unpickled."""

    def __reduce__(self) -> Any:
        return burst, ("it went off",)

    def __repr__(self) -> str:
        raise Own("no repr")


RAISED: dict[str, BaseException] = {
    "surrogate": ValueError("half a pair \ud800"),
    "cancelled": asyncio.CancelledError("why"),
    "generator": GeneratorExit("why"),
    "interrupt": KeyboardInterrupt("why"),
    "exit": SystemExit("why"),
    "stop": StopIteration("why"),
    "own": Own("why"),
    "unpicklable": Unpicklable("why"),
    "unreadable": Unreadable("why", ""),
    "silent": Silent("why"),
    "sly": Sly("why"),
}
RETURNED: dict[str, Any] = {
    "shut": Shut(),
    "scalar": {"y": Scalar()},
    "explosive": {"y": Explosive()},
    "error": {"y": Unpicklable("why")},
}


def misbehaves(what: str, folder: str) -> Any:
    """Counts its calls in a file, and does as it is told."""
    named(what, folder)
    if what in RAISED:
        raise RAISED[what]
    return RETURNED.get(what, {"length": len(what)})


def interrupted(how: str, folder: str) -> dict[str, Any]:
    """SIGINT comes while it is called, and it says something else, or nothing at all."""
    named("calls", folder)
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        if how == "raised":
            raise
        if how == "disguised":
            raise RuntimeError("something went wrong") from None
    return {"y": 1}


def stops(x: int) -> dict[str, Any]:
    """As a process, not as a call: by a signal from without, or with its output closed."""
    if x == 1:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(600)
    if x == 2:
        sys.stdout.close()
    if x == 3:
        sys.stdout = sys.stderr = None
    if x == 4:
        os.closerange(3, 256)
    return {"y": x}


def kinds(**values: Any) -> dict[str, Any]:
    return {f"{name} came as": f"{type(v).__name__} {v!r}" for name, v in values.items()}


def placed(x: int, folder: str, value: Any = None) -> dict[str, Any]:
    return {"y": x, "there": Path(folder).is_dir()}
