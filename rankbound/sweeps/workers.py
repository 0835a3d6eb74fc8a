"""Run cells: each under one thread, with its outcome whatever it is; in joblib's workers.

Whatever a cell does becomes its outcome in one place, :func:`attempt`, in the process that ran it.
Only plain data leaves that process, so nothing that a cell returns or raises is ever unpickled.

joblib's active backend decides where the workers are: on this machine, or on a cluster
(``joblib.parallel_config(backend="dask")``). Neither joblib nor an executor of loky can kill one
call and let the others go on, so an attempt with a time limit gets one process of loky.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
import traceback
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from importlib import metadata
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from rankbound.errors import InputError, InputTypeError
from rankbound.sweeps.plan import COLUMNS, Cell, keyed, plain_scalar

DONE, FAILED = "done", "failed"
MOST_ERROR = 4000  # characters of an error that are kept
LIBRARIES = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")
THREADS = ("VECLIB_MAXIMUM_THREADS", *(f"{name}_NUM_THREADS" for name in LIBRARIES))
CHUNK = 4  # cells per worker in a batch, where the backend cannot hand back one by one
START_LIMIT = 120.0  # seconds for Python to start and import what the function needs
FAREWELL = 1.0  # seconds to end by itself after the answer
LONGEST_WAIT = 86_400.0  # seconds: an operating system takes no timeout above 24 days


@cache
def versions() -> dict[str, str]:
    """What a result may depend on besides its parameters; nothing that names the machine."""
    return {"python": platform.python_version(), **installed("numpy", "scipy", "rankbound")}


def installed(*packages: str) -> dict[str, str]:
    """The versions of packages, without those that are not installed: run from a source tree."""
    found = {}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
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
    once in each process, by the first cell there: what fails then is that cell's failure.
    """

    def __init__(self, function: Callable[..., Any], keywords: Mapping[str, Any]) -> None:
        from cloudpickle import dumps

        self.function: Callable[..., Any] | None = partial(function, **keywords)
        try:
            self.pickled: bytes = dumps(self.function)
        except Exception as error:  # a lock says TypeError, a cycle of objects whatever it likes
            raise InputTypeError(
                f"function {function.__qualname__} cannot be pickled ({error}), so it cannot go to "
                "another process; expected one that holds, also by unrecorded=, no lock, "
                "generator, socket or open connection. Make these inside the function."
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {"function": None, "pickled": self.pickled}

    def load(self) -> Callable[..., Any]:
        """Return the function."""
        return _unpickled(self.pickled) if self.function is None else self.function


@lru_cache(maxsize=4)
def _unpickled(pickled: bytes) -> Callable[..., Any]:
    from cloudpickle import loads

    function: Callable[..., Any] = loads(pickled)
    return function


def attempt(
    portable: Portable, arguments: dict[str, Any], ready: Callable[[], object] = lambda: None
) -> Outcome:
    """Call the function once, and make the outcome of whatever comes of it.

    Only Ctrl-C gets out, as KeyboardInterrupt: a SIGINT that came in the call. `ready` is called
    when the function is here, before the call.
    """
    start: float | None = None
    with one_thread(), _interruptions() as came:
        try:
            function = portable.load()
            ready()
            start = time.perf_counter()
            value = function(**arguments)
            seconds = time.perf_counter() - start
            result = json.dumps(_scalars(value, set(arguments)))
            return Outcome(DONE, result=result, wall_time=seconds)
        except BaseException as error:  # a cell may raise anything, and end nothing but itself
            taken = None if start is None else time.perf_counter() - start
            outcome = _failure(describe(error), taken)
        if came:
            raise KeyboardInterrupt
        return outcome


def describe(error: BaseException) -> str:
    """Class, message, and the place in the user's code, without the folders of this machine."""
    try:
        text = str.__str__(str(error))  # of a subclass, the word alone
    except BaseException:  # an error that cannot say what it is
        text = "(no message: its __str__ fails)"
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        # what this module finds wrong with a result is in no line of theirs
        place = "" if file == __file__ else f" [{Path(file).name}, line {line}]"
    return f"{type(error).__name__}: {text}"[:MOST_ERROR] + place


@contextmanager
def _interruptions() -> Iterator[list[int]]:
    """The SIGINTs that come: by these Ctrl-C differs from a KeyboardInterrupt that a cell raises.

    Python hands signals to the main thread alone; one that is ignored stays so.
    """
    came: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield came
        return

    def handler(number: int, frame: FrameType | None) -> None:
        came.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, handler)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _scalars(value: Any, taken: set[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InputTypeError(
            f"the function returned {_short(value)} of type {type(value).__name__}; expected a "
            'dict of scalars, such as {"kl": 0.5}.'
        )
    result = keyed("the result", value)
    for name in result:
        if name in taken or name in COLUMNS:
            raise InputError(
                f"the result names {name!r}, which is a parameter or a column of its own; "
                "expected another name, as each is a column of one table."
            )
    return {name: _scalar(name, entry) for name, entry in result.items()}


def _scalar(name: str, value: Any) -> Any:
    got = value
    # NumPy's scalars, and arrays and tensors of one entry without axes
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value if isinstance(value, np.generic) else value.item()
    scalar, value = plain_scalar(value)
    if scalar:
        return value
    raise InputTypeError(
        f"the result's {name} is {_short(got)} of type {type(got).__name__}; expected a scalar: a "
        "number, a word, a truth value or None."
    )


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except BaseException:  # what is returned may be anything
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
        for name in THREADS:
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in before.items() if value is not None})


@dataclass(frozen=True)
class Work:
    """How to run a cell."""

    function: Portable
    retries: int  # attempts after the first, each with the same seed
    time_limit: float | None  # seconds per attempt; not None implies a process of its own
    apart: bool = False  # whether each attempt gets a process of its own in any case


def outcomes(cells: list[Cell], work: Work, jobs: int) -> Iterator[tuple[Cell, Outcome]]:
    """Run cells and yield each with its outcome as soon as it is known, in no order.

    A cell may bring down the worker that runs it (a crash in C, memory used up), and joblib cannot
    tell which it was. Those that were with the workers are then run again, each apart, in a process
    whose end is its own failure; the others are run as before.
    """
    left = {cell.id: cell for cell in cells}
    while left:
        taken: set[str] = set()
        try:
            for cell, outcome in _stream(list(left.values()), work, jobs, taken):
                del left[cell.id]
                yield cell, outcome
        except (Exception, CancelledError):  # whatever a backend raises where a worker is lost
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
            yield from Parallel(**settings)(tasks(cells[start : start + size]))
        return
    results = parallel(tasks(cells))
    try:
        yield from results
    finally:
        results.close()  # ends the workers now, not when the memory is collected


def _run(cell: Cell, work: Work) -> tuple[Cell, Outcome]:
    """In a worker: attempts at a cell until one succeeds or none is left."""
    attempts = 0
    while True:
        attempts += 1
        if work.apart or work.time_limit is not None:
            outcome = _isolated(work.function, cell.arguments(), work.time_limit)
        else:
            outcome = attempt(work.function, cell.arguments())
        if outcome.status == DONE or attempts > work.retries:
            return cell, replace(outcome, attempts=attempts)


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


def _isolated(portable: Portable, arguments: dict[str, Any], limit: float | None) -> Outcome:
    """Call the function once in a process of its own, killed at the limit with all it started.

    The limit counts from the call: starting Python and importing the function's module is not
    charged to the cell.
    """
    from loky.backend import get_context

    context = get_context("loky")  # unlike Python's own, it leaves the user's __main__ alone
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, portable, arguments))
    with _children_allowed():
        process.start()
    theirs.close()
    try:
        answer = _converse(ours, limit)
        if isinstance(answer, Outcome):
            wait([process.sentinel], FAREWELL)
    finally:
        _kill(process)
        ours.close()
    if isinstance(answer, Outcome):
        return answer
    return _failure(f"its process ended {answer} the call, {_ending(process.exitcode)}")


def _converse(process: Connection, limit: float | None) -> Outcome | str:
    """Return the outcome; or, if the process ended, when: before or in the call."""
    when = "before"
    try:
        if not _heard(process, START_LIMIT):
            return _failure(
                f"its process was not ready to call after {START_LIMIT:g} s, and killed"
            )
        answer: Outcome | None = process.recv()
        if answer is not None:
            return answer
        when = "in"
        if not _heard(process, limit):
            return _failure(f"time limit: not done after {limit:g} s, and killed", limit)
        outcome: Outcome = process.recv()
        return outcome
    except (EOFError, ConnectionError):
        return when


def _serve(owner: Connection, portable: Portable, arguments: dict[str, Any]) -> None:
    """In the process: say None when it is ready, call, and answer with the outcome."""
    if hasattr(os, "setsid"):
        os.setsid()  # the leader of a group: all that the function starts is killed with it
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is for the owner, who kills this process
    os.dup2(2, 1)  # what the function prints is no output of the sweep's
    threading.Thread(target=_follow, args=(owner,), daemon=True).start()
    outcome = attempt(portable, arguments, lambda: owner.send(None))
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):  # the function may have closed it, or put anything there
            stream.flush()
    owner.send(outcome)


def _follow(owner: Connection) -> None:
    """End the process, with all that it started, when its owner has ended."""
    owner.poll(None)  # nothing is ever sent: it returns when the other end is gone
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _heard(connection: Connection, limit: float | None) -> bool:
    """Whether there is an answer, or the end of the pipe, within the limit."""
    end = math.inf if limit is None else time.monotonic() + limit
    while not connection.poll(min(max(0.0, end - time.monotonic()), LONGEST_WAIT)):
        if time.monotonic() >= end:
            return False
    return True


@contextmanager
def _children_allowed() -> Iterator[None]:
    """Let a daemon, such as a worker of a cluster, start a process, which Python refuses it.

    The reason of the refusal is that such children outlive a daemon; ours ends with its owner.
    """
    process = multiprocessing.current_process()
    before, process.daemon = process.daemon, False
    try:
        yield
    finally:
        process.daemon = before


def _failure(message: str, wall_time: float | None = None) -> Outcome:
    # half a surrogate pair in it, which UTF-8 and so the store does not have, is spelled out
    error = message.encode("utf-8", "backslashreplace").decode("utf-8")
    return Outcome(FAILED, error=error, wall_time=wall_time)


def _kill(process: Any) -> None:
    """End the process and what it started, also where it has ended and they have not.

    Before it is waited for: until then its number, which is its group's, is nobody else's.
    """
    if sys.platform == "win32":
        from loky.backend.utils import kill_process_tree

        kill_process_tree(process)
    else:
        for kill in (os.killpg, os.kill):  # it may have been killed before it led a group
            with suppress(ProcessLookupError, PermissionError):  # macOS, of a group of zombies
                kill(process.pid, signal.SIGKILL)
    process.join()


def _ending(code: int) -> str:
    """How a process ended that had closed its end of the pipe: a kill no longer changed that."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
