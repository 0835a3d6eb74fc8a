"""One run at a time on a store: a lock that the operating system drops with its holder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

from rankbound.errors import InputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FileLock"]

_held: set[int] = set()  # descriptors, for the children that a process forks


class FileLock:
    """An exclusive lock on a file of its own, for a ``with`` statement; never waited for.

    It needs no clock: when its process ends, however it ends, the lock is gone. The file stays,
    since a file that is removed can be locked twice, by its old and by its new name.

    Parameters
    ----------
    path : Path
        Of the lock file, made if need be.
    what : str
        What the lock guards, for the message.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._descriptor = -1

    def __enter__(self) -> FileLock:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
        except (BlockingIOError, PermissionError):  # Windows says: permission denied
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise InputError(
                f"{self._what} is in use by {f'process {holder}' if holder else 'another run'}; "
                "expected no other run on it. Wait for its end, or name another store."
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        _held.add(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _held.discard(self._descriptor)
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far from the holder's number: that is read
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _let_go() -> None:
    # a forked child shares the lock, and would keep it after the death of its parent
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
