"""Run one cell: call the function under one thread and return its outcome, whatever it is."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from rankbound.errors import InputError, InputTypeError
from rankbound.sweeps.plan import COLUMNS

DONE, FAILED = "done", "failed"
MOST_ERROR = 4000  # characters of an error that are kept
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


@cache
def versions() -> dict[str, str]:
    """What a result may depend on besides its parameters; nothing that names the machine."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "scipy", "rankbound"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a source tree, say
            continue
    return found


@dataclass(frozen=True)
class Outcome:
    """The outcome of a cell: plain data, which crosses processes and machines."""

    status: str  # DONE or FAILED
    result: str | None = None  # JSON of the scalars, NaN and Infinity as Python spells them
    error: str | None = None  # class, message and place
    wall_time: float | None = None  # seconds of the last attempt; None if it never started
    attempts: int = 1
    versions: Mapping[str, str] = field(default_factory=versions)  # where it was run


class Portable:
    """A function that goes to another process as it stands, even one of ``__main__``.

    In this process it is the function itself. It is pickled once, for all cells, and unpickled
    once in each process.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        from cloudpickle import dumps

        self.function = function
        try:
            self.pickled: bytes = dumps(function)
        except Exception as error:  # a lock says TypeError, a cycle of objects whatever it likes
            raise InputTypeError(
                f"function {function.__qualname__} cannot be pickled ({error}), so it cannot go to "
                "another process; expected one that holds no lock, generator, socket or open "
                "connection. Make these inside the function."
            ) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, (self.pickled,)


@lru_cache(maxsize=4)
def _unpack(pickled: bytes) -> Portable:
    from cloudpickle import loads

    portable = Portable.__new__(Portable)
    portable.function, portable.pickled = loads(pickled), pickled
    return portable


def attempt(function: Callable[..., Any], arguments: dict[str, Any]) -> Outcome:
    """Call the function once. Only an interruption gets out."""
    names = set(arguments)
    with one_thread():
        start = time.perf_counter()
        try:
            value = function(**arguments)
        except (Exception, SystemExit) as error:  # sys.exit in a cell ends the cell
            seconds = time.perf_counter() - start
            return Outcome(FAILED, error=describe(error), wall_time=seconds)
        seconds = time.perf_counter() - start
    try:
        result = json.dumps(_scalars(value, names))
    except (TypeError, ValueError) as error:
        message = f"{type(error).__name__}: {error}"
        return Outcome(FAILED, error=message, wall_time=seconds)
    return Outcome(DONE, result=result, wall_time=seconds)


def describe(error: BaseException) -> str:
    """Class, message, and the place in the user's code, without the folders of this machine."""
    try:
        text = str(error)
    except Exception:  # an error that cannot say what it is
        text = "(no message: its __str__ fails)"
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is the call here
    place = f" [{Path(frames[-1].filename).name}, line {frames[-1].lineno}]" if frames else ""
    return f"{type(error).__name__}: {text}"[:MOST_ERROR] + place


def _scalars(value: Any, taken: set[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InputTypeError(
            f"the function returned {_short(value)} of type {type(value).__name__}; expected a "
            'dict of scalars, such as {"kl": 0.5}.'
        )
    for name in value:
        if not isinstance(name, str):
            raise InputTypeError(f"the result has the key {name!r}; expected a word.")
        if name in taken or name in COLUMNS:
            raise InputError(
                f"the result names {name!r}, which is a parameter or a column of its own; "
                "expected another name, as each is a column of one table."
            )
    return {str(name): _scalar(name, entry) for name, entry in value.items()}


def _scalar(name: str, value: Any) -> Any:
    got = value
    # NumPy's scalars, and arrays and tensors of one entry without axes
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = float(value) if isinstance(value, np.longdouble) else value.item()
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise InputTypeError(
        f"the result's {name} is {_short(got)} of type {type(got).__name__}; expected a scalar: a "
        "number, a word, a truth value or None."
    )


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # what is returned may be anything
        return "an object"
    return text if len(text) <= 60 else f"{text[:57]}..."


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for BLAS and OpenMP: those loaded, and those that the function will load."""
    from threadpoolctl import threadpool_limits

    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        with threadpool_limits(1):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
