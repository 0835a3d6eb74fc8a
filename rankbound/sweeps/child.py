"""``python -m rankbound.sweeps.child``: one call in a process that may be killed.

It reads the pickled function and the arguments from standard input, says when it is ready, calls,
and answers in JSON on what was standard output (what the function prints goes to standard error).
Standard input stays open as long as its parent lives; when it ends, so does the child, with all
that it started.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import struct
import sys
import threading
from typing import IO

from rankbound.sweeps.cell import FAILED, Outcome, attempt, describe

__all__ = ["GIVEN_PATH", "read_frame", "write_frame"]

GIVEN_PATH = "RANKBOUND_CHILD_PYTHONPATH"  # what PYTHONPATH was, to be given back
_LENGTH = struct.Struct(">Q")


def write_frame(stream: IO[bytes], content: bytes) -> None:
    """Write the length and the content."""
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Return the next content, or None where the stream has ended."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    content = stream.read(_LENGTH.unpack(head)[0])
    return content if len(content) == _LENGTH.unpack(head)[0] else None


def main() -> None:
    """Answer one request."""
    commands, answers = _own_ends()
    given = os.environ.pop(GIVEN_PATH, None)
    if given:
        os.environ["PYTHONPATH"] = given
    else:
        os.environ.pop("PYTHONPATH", None)
    pickled, arguments = read_frame(commands), read_frame(commands)
    if pickled is None or arguments is None:
        return
    threading.Thread(target=_end_with, args=(commands.fileno(),), daemon=True).start()
    outcome = _answer(pickled, arguments, answers)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    write_frame(answers, json.dumps(dataclasses.asdict(outcome)).encode("ascii"))


def _answer(pickled: bytes, arguments: bytes, answers: IO[bytes]) -> Outcome:
    from cloudpickle import loads

    try:
        function = loads(pickled)  # from our own parent, over its own pipe
    except Exception as error:
        message = f"the function cannot be unpickled: {describe(error)}"
        return Outcome(FAILED, error=message)
    write_frame(answers, b"ready")
    return attempt(function, json.loads(arguments))


def _own_ends() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes to the parent, out of reach of what the function reads and prints."""
    commands, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    os.dup2(2, 1)
    return commands, answers


def _end_with(commands: int) -> None:
    os.read(commands, 1)  # returns when the other end is gone
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)  # the parent made this process the leader of a group
    os._exit(1)


if __name__ == "__main__":
    main()
