"""Run one call in a child process, and kill it and all it started at a time limit.

Through ``subprocess``, as a worker of a cluster may be a daemon and may not fork. joblib's own
timeout will not do: it ends the whole run.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from rankbound.sweeps.cell import FAILED, Outcome, Portable
from rankbound.sweeps.child import GIVEN_PATH, read_frame, write_frame

__all__ = ["isolated"]

START_LIMIT = 120.0  # seconds for Python to start and import what the function needs
FAREWELL = 1.0  # seconds to end by itself after the answer


def isolated(portable: Portable, arguments: dict[str, Any], limit: float | None) -> Outcome:
    """Call the function once in a process of its own.

    The limit counts from the call: starting Python and importing the function's module is not
    charged to the cell.
    """
    process = _start()
    answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, answers), daemon=True)
    reader.start()
    try:
        return _converse(process, answers, portable, arguments, limit)
    finally:
        reader.join(0 if sys.exc_info()[0] else FAREWELL)
        _kill(process)
        reader.join(FAREWELL)
        if not reader.is_alive():  # else a process that fled its group holds the pipe
            _close(process)


def _converse(
    process: subprocess.Popen[bytes],
    answers: queue.SimpleQueue[bytes | None],
    portable: Portable,
    arguments: dict[str, Any],
    limit: float | None,
) -> Outcome:
    assert process.stdin is not None  # noqa: S101 - as it was asked for
    try:
        write_frame(process.stdin, portable.pickled)
        write_frame(process.stdin, json.dumps(arguments).encode("ascii"))
    except BrokenPipeError:  # it is dead already
        return _failure(f"its process ended before the call, {_ending(process)}")
    try:
        answer = answers.get(timeout=START_LIMIT)
    except queue.Empty:
        return _failure(f"its process was not ready to call after {START_LIMIT:g} s, and killed")
    if answer == b"ready":
        try:
            answer = answers.get(timeout=limit)
        except queue.Empty:
            message = f"time limit: not done after {limit:g} s, and killed"
            return _failure(message, wall_time=limit)
    if answer is None:
        return _failure(f"its process ended in the call, {_ending(process)}")
    return Outcome(**json.loads(answer))


def _failure(message: str, wall_time: float | None = None) -> Outcome:
    return Outcome(FAILED, error=message, wall_time=wall_time)


def _start() -> subprocess.Popen[bytes]:
    # the child finds what its parent finds, and nothing in the folder it happens to start in
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    environment[GIVEN_PATH] = os.environ.get("PYTHONPATH", "")
    group: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "rankbound.sweeps.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        **group,
    )


def _read(process: subprocess.Popen[bytes], answers: queue.SimpleQueue[bytes | None]) -> None:
    assert process.stdout is not None  # noqa: S101 - as it was asked for
    while (frame := read_frame(process.stdout)) is not None:
        answers.put(frame)
    answers.put(None)


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # what it never read
                pipe.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it started, also where it has ended and they have not.

    Before it is waited for: until then its number, which is its group's, is nobody else's.
    """
    if process.returncode is not None:
        return
    if sys.platform == "win32":
        command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(command, capture_output=True, check=False)
    else:
        with suppress(ProcessLookupError, PermissionError):  # macOS, of a group of zombies
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ending(process: subprocess.Popen[bytes]) -> str:
    """How the process ended, which has closed its end: a kill no longer changes that."""
    _kill(process)
    code = process.returncode
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
