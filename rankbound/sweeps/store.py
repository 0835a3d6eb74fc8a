"""The store of a sweep: one SQLite file, one transaction per cell, written by the parent alone.

``synchronous=NORMAL`` under a write-ahead log: a killed process loses nothing that was recorded;
a power failure may lose the last cells, which are then run again, and never the file.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankbound._validate import shown
from rankbound.errors import InputError, InputTypeError
from rankbound.sweeps.plan import Cell, Plan
from rankbound.sweeps.workers import DONE, Outcome

PENDING = "pending"
SCHEMA = 1  # in SQLite's user_version
APPLICATION = 0x726B6264  # "rkbd", in SQLite's application_id
TABLE = """
CREATE TABLE cells (
    id TEXT PRIMARY KEY,
    function TEXT NOT NULL,
    version TEXT NOT NULL,
    parameters TEXT NOT NULL,
    seed INTEGER,
    status TEXT NOT NULL,
    result TEXT,
    error TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    wall_time REAL,
    python TEXT,
    numpy TEXT,
    scipy TEXT,
    rankbound TEXT
)
"""


@dataclass(frozen=True, eq=False)
class Record:
    """What the store knows of a cell."""

    id: str
    function: str  # its __qualname__
    version: str
    parameters: dict[str, Any]  # as the function got them, without a derived seed
    seed: int | None  # the derived one, where the function took one
    status: str  # "done", "failed" or "pending"
    result: dict[str, Any] | None  # names and scalars, if done
    error: str | None  # class, message and place of what stopped the last attempt, if failed
    attempts: int  # over all runs
    wall_time: float | None  # seconds of the last attempt
    versions: dict[str, str]  # of Python, NumPy, SciPy and rankbound; empty if it was not run


def by_function(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    """Records by function and version."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.function, record.version), []).append(record)
    return groups


class Store:
    """An open store. Made by :func:`open_store`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def admit(self, plan: Plan) -> list[Cell]:
        """Enter the cells that are new, and return those to run: not done, in the plan's order."""
        known = {record.id: record for record in self.records(plan)}
        for cell in plan.cells:
            record = known.get(cell.id)
            if record is not None and record.status == DONE and record.seed != cell.seed:
                raise InputError(
                    f"{self.path} has the cell {cell.parameters} of {plan.function} done with "
                    f"seed {record.seed}, and this sweep derives {cell.seed}; expected the seed= "
                    "of the earlier run, another store or another version. To run several seeds, "
                    'add a parameter such as "replicate": [0, 1, 2].'
                )
        rows = [
            (cell.id, plan.function, plan.version, cell.parameters, cell.seed, PENDING)
            for cell in plan.cells
        ]
        with _reported(self.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO cells (id, function, version, parameters, seed, status) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET seed = excluded.seed",
                rows,
            )
        done = {key for key, record in known.items() if record.status == DONE}
        return [cell for cell in plan.cells if cell.id not in done]

    def record(self, cell: Cell, outcome: Outcome) -> None:
        """Write a cell's outcome: one statement, so one transaction. Never over a done one."""
        told = (outcome.status, outcome.result, outcome.error, outcome.attempts, outcome.wall_time)
        versions = (outcome.versions.get(name) for name in _VERSIONS)
        with _reported(self.path):
            cursor = self._connection.execute(
                "UPDATE cells SET status = ?, result = ?, error = ?, attempts = attempts + ?, "
                "wall_time = ?, python = ?, numpy = ?, scipy = ?, rankbound = ? "
                "WHERE id = ? AND status <> ?",
                (*told, *versions, cell.id, DONE),
            )
        if cursor.rowcount != 1:
            raise InputError(
                f"{self.path} was changed while a sweep was at work on it: the cell "
                f"{cell.parameters} is gone or done; expected no other writer."
            )

    def records(self, plan: Plan | None = None) -> tuple[Record, ...]:
        """The records of a plan's cells in its order, those that there are; or all of them."""
        with _reported(self.path):
            rows = self._connection.execute(
                f"SELECT {', '.join((*_FIELDS, *_VERSIONS))} FROM cells ORDER BY rowid"
            ).fetchall()
        found = {row[0]: _record(self.path, row) for row in rows}
        if plan is None:
            return tuple(found.values())
        return tuple(found[cell.id] for cell in plan.cells if cell.id in found)


_VERSIONS = ("python", "numpy", "scipy", "rankbound")
_FIELDS = tuple(name for name in Record.__dataclass_fields__ if name != "versions")


def _record(path: Path, row: tuple[Any, ...]) -> Record:
    values = dict(zip((*_FIELDS, *_VERSIONS), row, strict=True))
    versions = {name: values.pop(name) for name in _VERSIONS}
    try:
        values["parameters"] = json.loads(values["parameters"])
        values["result"] = None if values["result"] is None else json.loads(values["result"])
    except (TypeError, ValueError):
        raise InputError(f"{path}: the cell {row[0]} is damaged: it holds no JSON.") from None
    return Record(**values, versions={name: v for name, v in versions.items() if v is not None})


def store_path(store: Any) -> Path:
    """The store's own path, however it is named, so that its lock has one name too."""
    try:
        name = os.fspath(store) if isinstance(store, (str, os.PathLike)) else None
    except Exception:  # a foreign path may raise anything
        name = None
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputTypeError(f"store is {shown(store)}; expected the path of an SQLite file.")
    try:
        path = Path(os.path.realpath(name))
        with suppress(FileNotFoundError, NotADirectoryError):
            path.with_name(f"{path.name}-journal").stat()  # the longest name that SQLite makes
    except (OSError, ValueError) as error:
        raise InputError(
            f"store is {name!r}, no path here: {error}; expected the path of an SQLite file. "
            "Choose another."
        ) from None
    if path.exists() and not path.is_file():
        what = "a directory" if path.is_dir() else "no regular file"
        raise InputError(f"{path} is {what}; expected the path of an SQLite file.")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no directory; expected one for the store to be in.")
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a store for one run, never waiting: a lock that the operating system drops.

    It needs no clock: when its process ends, however it ends, the lock is gone, also where a
    forked child lives on. The file beside the store stays, and holds the holder's number.
    """
    from filelock import FileLock, Timeout

    descriptors: list[int] = []
    lock = FileLock(path.with_name(f"{path.name}.lock"), on_acquired=descriptors.append)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(
            f"{path} is in use by {_holder(lock.lock_file)}; expected no other run on it. Wait for "
            "its end, or name another store."
        ) from None
    except (OSError, NotImplementedError) as error:  # no right to write, or a system without locks
        raise InputError(
            f"{path} cannot be locked: {error}; expected a file {path.name}.lock beside it that "
            "can be written, on a disk that has locks. Name a store in another folder."
        ) from None
    try:
        os.ftruncate(descriptors[0], 0)
        with suppress(OSError):  # a full disk; it only tells others who holds the store
            os.write(descriptors[0], f"{os.getpid()}\n".encode("ascii"))
        yield
    finally:
        os.ftruncate(descriptors[0], 0)
        lock.release()


def _holder(lock_file: str) -> str:
    try:
        number = Path(lock_file).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):  # Windows lets nobody read what is locked
        number = ""
    return f"process {number}" if number else "another run"


@contextmanager
def open_store(path: Path, *, read_only: bool = False) -> Iterator[Store]:
    """Open a store, whole and of this schema, or make it; its path is from :func:`store_path`.

    To read it alone it must exist; that is allowed while a run is at work, and where nobody may
    write.
    """
    if read_only and not path.exists():
        raise InputError(f"{path}: no such file; expected the store of a sweep.")
    with _reported(path):
        connection = _reader(path) if read_only else _connection(path, "mode=rwc")
    try:
        store = Store(path, connection)
        with _reported(path):
            _check(path, connection, read_only)
        yield store
    finally:
        connection.close()


def _connection(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.as_uri()}?{mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=60.0)
    try:
        connection.execute("SELECT name FROM sqlite_schema").fetchall()  # opens the files
    except BaseException:
        connection.close()
        raise
    return connection


def _reader(path: Path) -> sqlite3.Connection:
    """A connection to read by: open for writing, so that SQLite tidies up behind a killed run.

    Where it may not write, the file is read as it stands; but not where it has a log, which would
    be passed over: SQLite reads that, if it can.
    """
    try:
        return _connection(path, "mode=rw")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _NO_WRITING:
            raise
    if not _log(path).exists():
        return _connection(path, "mode=ro&immutable=1")
    try:
        return _connection(path, "mode=ro")
    except sqlite3.OperationalError as error:
        raise InputError(
            f"{path} cannot be read: SQLite says {error}; a killed run left {_log(path).name}, "
            "which is read where one may write. Copy both to such a folder, and read it there."
        ) from None


_NO_WRITING = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _check(path: Path, connection: sqlite3.Connection, read_only: bool) -> None:
    def value(pragma: str) -> Any:
        return connection.execute(f"PRAGMA {pragma}").fetchone()[0]

    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    application, schema = value("application_id"), value("user_version")
    if not tables and not application and not schema and not read_only:
        value("journal_mode = WAL")
        connection.executescript(
            f"BEGIN; {TABLE}; PRAGMA application_id = {APPLICATION}; "
            f"PRAGMA user_version = {SCHEMA}; COMMIT;"
        )
    elif application != APPLICATION or "cells" not in tables:
        raise InputError(f"{path} is an SQLite file, but no store of sweeps; expected another.")
    elif schema != SCHEMA:
        raise InputError(
            f"{path} is a store of schema {schema}; expected schema {SCHEMA}. Read it with the "
            "version of rankbound that wrote it, or name another store."
        )
    whole = value("integrity_check")
    if whole != "ok":
        raise InputError(f"{path} is damaged: {whole}. Restore it, or name another store.")
    connection.execute("PRAGMA synchronous = NORMAL")
    if read_only:  # opened for writing, as it is so that SQLite tidies up behind a killed run
        connection.execute("PRAGMA query_only = ON")


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise InputError(
            f"{path} cannot be read or written: SQLite says {error}; expected a file that can, "
            "and room on its disk. What was recorded is kept: see to it, and call again."
        ) from None
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{path} is no store, or a damaged one: SQLite says {error}. Restore it, or name "
            "another store."
        ) from None
