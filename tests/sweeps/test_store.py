"""Stores that are none, another's, of another schema or damaged; the lock; the command line."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb
from rankbound.cli.main import main
from rankbound.sweeps.plan import make_plan
from rankbound.sweeps.store import SCHEMA, locked, open_store, store_path
from tests.helpers import refused
from tests.sweeps import functions


def filled(path: Path, cells: int = 3) -> Path:
    rb.sweep(functions.twice, {"x": list(range(cells))}, path)
    return path


def execute(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def text(path: Path) -> Path:
    path.write_text("no database, but long enough to be taken for the header of one" * 20)
    return path


def torn(path: Path) -> Path:
    """Zeros over the middle of a large store: its head is whole, its pages are not."""
    size = filled(path, 200).stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3)
        file.write(bytes(size // 3))
    return path


def cut(path: Path) -> Path:
    content = filled(path, 200).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def astray(path: Path) -> Path:
    """A changed letter in the index alone: SQLite reads the table and sees nothing."""
    (cell,) = rb.sweep(functions.twice, {"x": [1]}, path).cells
    content = path.read_bytes()
    places = [match.start() for match in re.finditer(cell.id.encode(), content)]
    assert len(places) == 2
    for place in places:
        path.write_bytes(content[:place] + b"x" + content[place + 1 :])
        connection = sqlite3.connect(path)
        in_table = connection.execute("SELECT id FROM cells NOT INDEXED").fetchall()
        connection.close()
        if in_table == [(cell.id,)]:
            return path
    raise AssertionError("no copy of the id is the index's")


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no SQLite": (text, "no store, or a damaged one"),
    "another's": (lambda path: execute(path, "CREATE TABLE t (x)"), "no store of sweeps"),
    "newer": (
        lambda path: execute(filled(path), "PRAGMA user_version = 7"),
        "schema 7; expected schema 1",
    ),
    "torn": (torn, "damaged"),
    "cut off": (cut, "damaged"),
    "astray": (astray, "is damaged"),
    "no JSON": (
        lambda path: execute(filled(path), "UPDATE cells SET result = '{'"),
        "it holds no JSON",
    ),
    "a directory": (lambda path: path.parent, "is a directory"),
    "no folder": (lambda path: path / "store.sqlite", "is no directory"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_store_is_refused_and_left_alone(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = BAD[what]
    path = make(tmp_path / "store.sqlite")
    before = path.read_bytes() if path.is_file() else None
    for _ in range(2):  # the lock is let go
        with refused(rb.InputError, str(path.name if path.is_file() else ""), message):
            rb.sweep(functions.twice, {"x": [0, 1]}, path)
    assert main(["sweep", "status", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("store", [None, 3, "", b"", "a\0b", Path("a\0b"), ["a"]])
def test_a_store_that_is_no_path(store: Any) -> None:
    with refused(rb.InputTypeError, "expected the path of an SQLite file"):
        rb.sweep(functions.twice, {"x": [1]}, store)


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "empty.sqlite"
    path.touch()
    with refused(rb.InputError, "no store of sweeps"), open_store(path, read_only=True):
        pass
    assert len(filled(path).read_bytes()) > 0


def test_a_store_is_one_sqlite_file_that_others_can_read(tmp_path: Path) -> None:
    path = filled(tmp_path / "a store?#.sqlite")
    assert {file.name for file in tmp_path.iterdir()} == {path.name, f"{path.name}.lock"}
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
    rows = connection.execute("SELECT parameters, json_extract(result, '$.y') FROM cells")
    assert rows.fetchall() == [('{"x":0}', 0), ('{"x":1}', 2), ('{"x":2}', 4)]
    connection.close()


def test_a_store_that_changes_under_a_run_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"

    def meddle(tick: Any) -> None:
        if tick.finished == 1:
            execute(path, "UPDATE cells SET status = 'done', result = '{}' WHERE status <> 'done'")

    with refused(rb.InputError, "was changed while a sweep was at work on it", '{"x":2}'):
        rb.sweep(functions.twice, {"x": [1, 2, 3]}, path, progress=meddle)


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite")
    plan = make_plan(functions.twice, {"x": [77]}, "1", 0)
    with open_store(path, read_only=True) as store:
        assert len(store.records()) == 3
        with refused(rb.InputError, "cannot be read or written", "readonly"):
            store.admit(plan)


def test_two_names_of_a_store_have_one_lock(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite")
    (tmp_path / "link.sqlite").symlink_to(path)
    assert store_path(tmp_path / "link.sqlite") == path

    def again(tick: Any) -> None:
        with refused(rb.InputError, "in use"):
            filled(tmp_path / "link.sqlite")

    rb.sweep(functions.twice, {"x": [9]}, path, progress=again)


def test_the_lock_dies_with_its_process_and_not_with_its_children(tmp_path: Path) -> None:
    """A forked child shares the lock, and must not keep it when its parent is killed."""
    path = tmp_path / "s"
    code = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from rankbound.sweeps.store import locked\n"
        "lock = locked(Path(sys.argv[1]))\nlock.__enter__()\n"
        "child = os.fork()\n"
        "if not child: print(os.getpid(), flush=True)\n"  # once it runs, it has let go
        "time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with refused(rb.InputError, f"s is in use by process {holder.pid};"), locked(path):
                pass
            holder.kill()
            holder.wait()
            with locked(path):  # at once: no clock
                os.kill(child, 0)  # while the child still lives
        finally:
            os.kill(child, signal.SIGKILL)
    assert (tmp_path / "s.lock").read_bytes() == b""  # it stays: removed, it could be locked twice


def test_a_lock_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite.lock").mkdir()
    with refused(rb.InputError, "s.sqlite cannot be locked", "s.sqlite.lock", "another folder"):
        filled(tmp_path / "s.sqlite")


def test_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = filled(tmp_path / "s.sqlite")
    assert main(["sweep", "status", str(path)]) == 0
    assert re.search(r"twice +1 +3 +0 +0 +3 ", capsys.readouterr().out)
    rb.sweep(functions.exits, {"x": [4, 5]}, path, version="[b]2", retries=1)
    seen: list[str] = []

    def look(tick: Any) -> None:
        assert main(["sweep", "status", str(path)]) == 1
        seen.append(capsys.readouterr().out)

    rb.sweep(functions.twice, {"x": [3, 4]}, path, progress=look)  # while a run is at work
    assert [re.findall(r"twice +1 +(\d) +0 +(\d)", out) for out in seen] == [
        [("3", "2")],
        [("4", "1")],
        [("5", "0")],
    ]
    assert re.search(r"exits +\[b\]2 +0 +2 +0 +4 ", seen[0])
    lines = [line for line in seen[0].splitlines() if line.startswith("failed: ")]
    assert len(lines) == 2
    assert lines[1].startswith('failed: exits {"x":5} after 2 attempts: SystemExit: 5 [')


@pytest.mark.parametrize("arguments", [["sweep"], ["sweep", "run"], ["sweep", "status"]])
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_status_makes_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "status", str(tmp_path / "none.sqlite")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("inherited", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_command_hears_ctrl_c_also_in_the_background(inherited: Any, tmp_path: Path) -> None:
    """A shell without job control starts such a command with SIGINT ignored."""
    path = filled(tmp_path / "s.sqlite")
    code = (
        "import signal, sys\nfrom rankbound.cli.main import main\n"
        "from rankbound.sweeps import store\n"
        "store.open_store = lambda *_, **__: signal.raise_signal(signal.SIGINT)\n"
        "sys.exit(main(['sweep', 'status', sys.argv[1]]))"
    )
    before = signal.signal(signal.SIGINT, inherited)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.returncode, done.stderr) == (130, "rankbound: interrupted\n")
