"""Stores where the disk says no: full, read-only, no right to write, no such name."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb
from rankbound.cli.main import main
from rankbound.sweeps.store import open_store, store_path
from tests.helpers import NAME_TOO_LONG, refused
from tests.sweeps import functions
from tests.sweeps.killing import ROOT, contents

RESUME = "What was recorded is kept"
GRID = {"length": [4000 + i for i in range(60)]}  # more than fits


def words(length: int) -> dict[str, Any]:
    return {"word": "x" * length}


@contextlib.contextmanager
def small_disk(folder: Path, *options: str) -> Iterator[Path]:
    """A file system in memory, of 256 KiB: less than the grid takes."""
    where = folder / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", ",".join(["size=256k", *options]), "none", str(where)]
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root mounts a small disk")
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code under the rights that files have; root must first give up the power to pass them."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    command = [*([] if os.geteuid() else drop), sys.executable, "-c"]
    try:
        with tempfile.TemporaryDirectory() as name:
            os.chmod(name, 0o555)
            probe = "import sys; open(sys.argv[1] + '/file', 'w')"
            tried = subprocess.run([*command, probe, name], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("root passes all rights, and setpriv is not installed")
    if b"PermissionError" not in tried.stderr:
        pytest.skip("rights stop nobody here")
    return subprocess.run(
        [*command, code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


STATUS = "import sys; from rankbound.cli.main import main; sys.exit(main(sys.argv[1:]))"
SWEEP = (
    "import sys, rankbound as rb; from tests.sweeps import functions\n"
    "try: rb.sweep(functions.twice, {'x': [0, 1, 2, 3]}, sys.argv[1])\n"
    "except rb.InputError as error: print(error)"
)
CRASH = (
    "import os, sys, rankbound as rb; from tests.sweeps import functions\n"
    "rb.sweep(functions.twice, {'x': [0, 1, 2]}, sys.argv[1],\n"
    "         progress=lambda tick: tick.finished == 2 and os._exit(9))"
)


def lock_away(folder: Path, how: str) -> None:
    """From here on nobody writes to it."""
    if how == "no right":
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


@pytest.mark.parametrize("how", ["no right", "read-only disk"])
@pytest.mark.parametrize("ended", ["finished", "killed", "killed, and part of it lost"])
def test_status_where_nobody_may_write(how: str, ended: str, tmp_path: Path) -> None:
    """What a killed run left in its log counts; where that cannot be read, it says so."""
    with small_disk(tmp_path) if how != "no right" else contextlib.nullcontext(tmp_path) as place:
        store = place / "s.sqlite"
        if ended == "finished":
            rb.sweep(functions.twice, {"x": [0, 1, 2]}, store)
        else:
            command = [sys.executable, "-c", CRASH, str(store)]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            assert subprocess.run(command, env=environment, check=False).returncode == 9
            assert (place / "s.sqlite-wal").stat().st_size
            if ended != "killed":
                (place / "s.sqlite-shm").unlink()
        lock_away(place, how)
        before = {file.name: file.read_bytes() for file in place.iterdir() if file.is_file()}
        shown = python(STATUS, "sweep", "status", store)
        if ended == "killed, and part of it lost":
            assert shown.returncode == 2
            assert shown.stderr.count("\n") == 1
            assert f"{store} cannot be read" in shown.stderr
            assert "s.sqlite-wal" in shown.stderr
        else:
            assert (shown.returncode, shown.stderr) == (0, "")
            done, pending = (3, 0) if ended == "finished" else (2, 1)
            assert shown.stdout.split()[-6:-1] == ["1", str(done), "0", str(pending), str(done)]
        refusal = python(SWEEP, store).stdout
        assert refusal.count("\n") == 1
        assert "s.sqlite cannot be locked" in refusal
        assert "in another folder" in refusal
        assert before == {f.name: f.read_bytes() for f in place.iterdir() if f.is_file()}


def test_no_store_is_made_where_nobody_may_write(tmp_path: Path) -> None:
    lock_away(tmp_path, "no right")
    refusal = python(SWEEP, tmp_path / "s.sqlite").stdout
    assert "s.sqlite cannot be locked: [Errno 13]" in refusal
    assert not list(tmp_path.iterdir())


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        ballast, store = disk / "ballast", disk / "s.sqlite"
        ballast.write_bytes(bytes(96 * 1024))
        with refused(rb.InputError, f"{store} cannot be read or written", RESUME):
            rb.sweep(words, GRID, store)
        (disk / "more").touch()
        with contextlib.suppress(OSError):
            (disk / "more").write_bytes(bytes(1 << 20))  # to the last byte
        with refused(rb.InputError, f"{store} cannot be", "room on its disk"):
            rb.sweep(words, GRID, store)
        kept = resumed(store, [ballast, disk / "more"])
    assert 3 < kept < 60


def test_a_file_that_may_not_grow_loses_nothing(tmp_path: Path) -> None:
    """The same without a small disk: the system refuses to let a file grow beyond a limit."""
    code = (
        "import resource, sys, rankbound as rb; from tests.sweeps.test_disk import GRID, words\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))\n"
        "try: rb.sweep(words, GRID, sys.argv[1])\n"
        "except rb.InputError as error: print(error)"
    )
    store = tmp_path / "s.sqlite"
    command = [sys.executable, "-c", code, str(store)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert f"{store} cannot be read or written" in done.stdout, done
    assert RESUME in done.stdout
    assert 3 < resumed(store, []) < 60


def resumed(store: Path, ballast: list[Path]) -> int:
    """Make room, resume, and return how many cells had been kept: those that were not run again."""
    for file in ballast:
        file.unlink()
    with open_store(store_path(store), read_only=True) as opened:
        kept = [record for record in opened.records() if record.status == "done"]
    assert all(record.result == {"word": "x" * record.parameters["length"]} for record in kept)
    few = {"length": GRID["length"][: len(kept) + 3]}
    again = rb.sweep(words, few, store)
    assert not again.failed
    assert [cell.attempts for cell in again.cells] == [1] * len(again.cells)
    before = {record.id: record.wall_time for record in kept}
    assert before.items() <= {cell.id: cell.wall_time for cell in again.cells}.items()
    return len(kept)


LONG = "n" * 300


@pytest.mark.parametrize(
    ("name", "error", "part"),
    [
        (LONG, rb.InputError, NAME_TOO_LONG),
        ("n" * 249, rb.InputError, NAME_TOO_LONG),  # with SQLite's -journal
        (f"{LONG}/s.sqlite", rb.InputError, NAME_TOO_LONG),
        ("a/" * 3000 + "s.sqlite", rb.InputError, NAME_TOO_LONG),
        ("half \ud800", rb.InputError, "surrogates not allowed"),
        ("nul \0", rb.InputTypeError, "expected the path of an SQLite file"),
        ("pipe", rb.InputError, "is no regular file"),
    ],
    ids=["long", "long with a suffix", "long folder", "long path", "surrogate", "NUL", "a pipe"],
)
def test_no_path_of_a_store(
    name: str, error: type[Exception], part: str, tmp_path: Path, capsys: Any
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (f"{tmp_path}/{name}", Path(f"{tmp_path}/{name}")):
        with refused(error, part, "expected the path of an SQLite file"):
            rb.sweep(functions.twice, {"x": [1]}, path)
    assert main(["sweep", "status", f"{tmp_path}/{name}"]) == 2
    assert part in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["pipe"]


def test_the_longest_name_of_a_store(tmp_path: Path) -> None:
    name = "n" * (os.pathconf(tmp_path, "PC_NAME_MAX") - len("-journal"))
    assert not rb.sweep(functions.twice, {"x": [1]}, tmp_path / name).failed
    assert len(contents(tmp_path / name)) == 1
