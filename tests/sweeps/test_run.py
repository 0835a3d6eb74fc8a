"""Runs: what is kept, what is run again, what fails and what stops a sweep."""

from __future__ import annotations

import csv
import fcntl
import json
import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb
from rankbound.sweeps.run import Tick, note
from rankbound.sweeps.store import Record
from tests.helpers import refused
from tests.sweeps import functions
from tests.sweeps.killing import contents


def calls(folder: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in folder.iterdir()}


def by(sweep: rb.Sweep, name: str) -> dict[Any, Record]:
    return {cell.parameters[name]: cell for cell in sweep.cells}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


def test_any_number_of_workers_gives_the_same_store(tmp_path: Path) -> None:
    grid = {"x": list(range(12))}
    here = rb.sweep(functions.drawn, grid, tmp_path / "1.sqlite")
    there = rb.sweep(functions.drawn, grid, tmp_path / "2.sqlite", jobs=2)
    apart = rb.sweep(functions.drawn, {"x": [0, 1]}, tmp_path / "3.sqlite", time_limit=60.0)
    assert contents(tmp_path / "1.sqlite") == contents(tmp_path / "2.sqlite")
    assert set(contents(tmp_path / "3.sqlite")) <= set(contents(tmp_path / "1.sqlite"))
    assert [cell.parameters["x"] for cell in there.cells] == list(range(12))
    assert [cell.result for cell in here.cells[:2]] == [cell.result for cell in apart.cells]
    assert not here.failed
    assert {cell.status for cell in here.cells} == {"done"}
    assert all(cell.wall_time is not None and cell.wall_time > 0 for cell in apart.cells)
    assert all(set(c.versions) == {"python", "numpy", "scipy", "rankbound"} for c in apart.cells)


def test_what_is_done_is_not_run_again(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    small = {"name": ["a", "b"], "folder": [str(folder)]}
    rb.sweep(functions.named, small, store)
    grown = rb.sweep(functions.named, small | {"name": ["c", "b", "a"]}, store)
    assert calls(folder) == {"a": 1, "b": 1, "c": 1}
    assert [cell.parameters["name"] for cell in grown.cells] == ["c", "b", "a"]
    assert len(rb.sweep(functions.named, small, store).cells) == 2  # this plan's only
    raised = rb.sweep(functions.named, small, store, version="2")
    assert calls(folder) == {"a": 2, "b": 2, "c": 1}
    assert {cell.version for cell in raised.cells} == {"2"}
    assert len(contents(store)) == 5


def test_what_failed_is_run_again_and_attempts_add_up(store: Path, tmp_path: Path) -> None:
    grid: dict[str, Any] = {"folder": [str(tmp_path)], "failures": [1, 3]}
    first = rb.sweep(functions.flaky, grid, store, retries=1)
    assert first.cells[0].result == {"calls": 1}
    assert [cell.parameters["failures"] for cell in first.failed] == [3]
    error = str(first.failed[0].error)
    assert re.fullmatch(r"OSError: call 1 \[functions.py, line \d+\]", error)
    assert repr(first) == "Sweep(2 cells, 1 failed)"
    second = rb.sweep(functions.flaky, grid, store, retries=5)
    assert not second.failed
    assert [cell.attempts for cell in second.cells] == [2, 4]
    assert second.cells[1].error is None


def test_another_seed_is_refused_where_cells_are_done(store: Path) -> None:
    rb.sweep(functions.drawn, {"x": [1]}, store, seed=1)
    with refused(rb.InputError, '{"x":1}', "expected the seed= of the earlier run", "replicate"):
        rb.sweep(functions.drawn, {"x": [1, 2]}, store, seed=2)
    assert len(contents(store)) == 1  # and nothing was entered
    rb.sweep(functions.drawn, {"x": [2]}, store, seed=2)
    rb.sweep(functions.twice, {"x": [1]}, store, seed=1)
    rb.sweep(functions.twice, {"x": [1, 2]}, store, seed=2)  # takes no seed: any will do


def test_results_of_every_kind_of_scalar(store: Path) -> None:
    (cell,) = rb.sweep(functions.returns, {"what": ["scalars"]}, store).cells
    assert cell.result is not None
    assert math.isnan(cell.result.pop("nan"))
    scalars = {"int": 3, "float": 0.5, "long": 0.25, "bool": True, "zero-dim": 2.0}
    assert cell.result == scalars | {"none": None, "word": "w"}
    assert {k: type(v) for k, v in cell.result.items()}["bool"] is bool


RETURNED = {
    "number": ("the function returned 3 of type int", "dict of scalars"),
    "nothing": ("returned None", "dict of scalars"),
    "list": ("the result's a is [1, 2] of type list", "expected a scalar"),
    "array": ("the result's a is array([0, 1]) of type ndarray",),
    "complex": ("the result's a is 1j of type complex",),
    "key": ("the result has the key 1",),
    "parameter": ("the result names 'what'", "another name"),
    "column": ("the result names 'cell_id'",),
}


def test_a_result_that_is_no_dict_of_scalars_fails_its_cell(store: Path) -> None:
    done = rb.sweep(functions.returns, {"what": [*RETURNED, "scalars"]}, store)
    errors = {cell.parameters["what"]: cell.error for cell in done.failed}
    assert errors.keys() == RETURNED.keys()
    for what, parts in RETURNED.items():
        assert all(part in str(errors[what]) for part in parts)
    assert done.cells[-1].status == "done"


@pytest.mark.parametrize("time_limit", [None, 60.0])
def test_whatever_a_cell_raises_ends_that_cell_alone(store: Path, time_limit: Any) -> None:
    stopped = rb.sweep(functions.exits, {"x": [4]}, store, time_limit=time_limit)
    assert str(stopped.failed[0].error).startswith("SystemExit: 4 [functions.py, line ")
    unsaid = rb.sweep(functions.mute, {"x": [4]}, store, time_limit=time_limit)
    assert "no message" in str(unsaid.failed[0].error)


def test_no_cell_sees_what_another_did_to_its_parameters(store: Path) -> None:
    done = rb.sweep(functions.mutates, {"values": [[], [1], (2, 3)]}, store)
    assert [cell.result for cell in done.cells] == [{"length": 1}, {"length": 2}, {"length": 3}]
    assert [cell.parameters["values"] for cell in done.cells] == [[], [1], [2, 3]]


def test_a_time_limit_kills_a_cell_with_all_it_started(store: Path, tmp_path: Path) -> None:
    limits: dict[str, Any] = {"time_limit": 0.5, "jobs": 2}
    slept = rb.sweep(functions.sleeper, {"seconds": [20.0, 0.0, 0.001]}, store, **limits)
    assert [cell.status for cell in slept.cells] == ["failed", "done", "done"]
    assert slept.failed[0].error == "time limit: not done after 0.5 s, and killed"
    assert slept.failed[0].wall_time == 0.5
    rb.sweep(functions.parent, {"folder": [str(tmp_path)]}, store, time_limit=2.0)
    assert let_go(tmp_path / "lock"), "what the cell started has outlived it"


def let_go(path: Path, tries: int = 200) -> bool:
    """Whether nobody holds the lock any more; a sleeping holder would for minutes."""
    with path.open("r+b") as lock:
        for _ in range(tries):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                time.sleep(0.05)
    return False


def test_a_time_limit_ends_a_call_that_no_signal_but_sigkill_ends(store: Path) -> None:
    (cell,) = rb.sweep(functions.deaf, [{}], store, time_limit=0.5).cells
    assert cell.error == "time limit: not done after 0.5 s, and killed"


def test_a_cell_with_a_time_limit_ends_with_its_owner(store: Path, tmp_path: Path) -> None:
    code = (
        "import sys, rankbound as rb\nfrom tests.sweeps import functions\n"
        "rb.sweep(functions.parent, {'folder': [sys.argv[2]]}, sys.argv[1], time_limit=500.0)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(store), str(tmp_path)]) as owner:
        while not (tmp_path / "lock").exists() or let_go(tmp_path / "lock", 1):
            assert owner.poll() is None
            time.sleep(0.05)
        owner.kill()
    assert let_go(tmp_path / "lock"), "the cell has outlived its owner"


@pytest.mark.parametrize("time_limit", [None, 60.0])
def test_a_cell_that_ends_its_process_ends_that_cell_alone(store: Path, time_limit: Any) -> None:
    done = rb.sweep(functions.fatal, {"x": list(range(8))}, store, 2, time_limit=time_limit)
    cells = by(done, "x")
    assert cells[3].error == "its process ended in the call, with exit code 7"
    assert cells[5].error == "its process ended in the call, by SIGKILL"
    assert [x for x in cells if cells[x].status == "done"] == [0, 1, 2, 4, 6, 7]
    assert {cell.attempts for cell in done.cells} == {1}


@pytest.mark.parametrize("settings", [{}, {"jobs": 2}, {"time_limit": 60.0}])
def test_one_thread_a_worker(settings: dict[str, Any], store: Path) -> None:
    before = dict(os.environ)
    (cell,) = rb.sweep(functions.threads, [{}], store, **settings).cells
    assert cell.result == {"most": 1, "environment": "1"}
    assert dict(os.environ) == before


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_the_same_call_under_another_backend(backend: str, tmp_path: Path) -> None:
    """Among them one that cannot hand back results one by one."""
    from joblib import parallel_config

    grid = {"x": list(range(12))}
    rb.sweep(functions.drawn, grid, tmp_path / "plain.sqlite")
    with parallel_config(backend=backend):
        rb.sweep(functions.drawn, grid, tmp_path / "other.sqlite", jobs=2)
    assert contents(tmp_path / "plain.sqlite") == contents(tmp_path / "other.sqlite")


def test_what_a_cell_prints_is_not_its_answer(
    store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = rb.sweep(functions.says, {"x": [1, 2]}, store, time_limit=60.0)
    assert [cell.result for cell in done.cells] == [{"y": 2}, {"y": 4}]
    assert capfd.readouterr().err == "said by a cell\n" * 2  # and no bar, as it is no terminal


def test_a_function_that_cannot_be_pickled_is_refused_at_once(store: Path) -> None:
    connection = sqlite3.connect(":memory:")
    for value in (threading.Lock(), (i for i in range(3)), connection, sys._getframe()):

        def function(x: int, value: Any = value) -> dict[str, Any]:
            return {"y": x, "held": str(value)}

        with refused(rb.InputTypeError, "<locals>.function cannot be pickled", "inside"):
            rb.sweep(function, {"x": [1]}, store)
        with refused(rb.InputTypeError, "placed cannot be pickled", "unrecorded="):
            told = {"folder": "/", "value": value}
            rb.sweep(functions.placed, {"x": [1]}, store, unrecorded=told)
    connection.close()
    assert not store.exists()


def test_what_is_unrecorded_is_told_to_each_call_and_kept_nowhere(
    store: Path, tmp_path: Path
) -> None:
    ways: list[dict[str, Any]] = [{}, {"jobs": 2}, {"time_limit": 60.0}]
    for number, settings in enumerate(ways):
        grid = {"x": [0, number + 1]}
        folder = tmp_path / str(number)
        folder.mkdir()
        told = {"folder": str(folder)}
        done = rb.sweep(functions.placed, grid, store, unrecorded=told, **settings)
        assert [cell.result for cell in done.cells] == [{"y": x, "there": True} for x in grid["x"]]
        assert done.cells[0].attempts == 1  # from another folder, and not run again
        folder.rmdir()
    assert str(tmp_path).encode() not in store.read_bytes()


def test_a_second_run_says_so_at_once(store: Path) -> None:
    seen: list[str] = []

    def again(tick: Tick) -> None:
        with refused(rb.InputError, "in use", f"process {os.getpid()}", "another store"):
            rb.sweep(functions.twice, {"x": [1]}, store)
        code = (
            "import sys, rankbound as rb\nfrom tests.sweeps import functions\n"
            "rb.sweep(functions.twice, {'x': [1]}, sys.argv[1])"
        )
        seen.append(python(code, str(store)).stderr.splitlines()[-1])

    rb.sweep(functions.drawn, {"x": [1]}, store, progress=again)
    assert len(seen) == 2
    assert all(f"in use by process {os.getpid()}" in line for line in seen)
    assert len(rb.sweep(functions.twice, {"x": [1]}, store).cells) == 1  # and now it is free


def python(code: str, *arguments: str, folder: Path | None = None) -> Any:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
        check=False,
    )


SCRIPT = """
import sys
import rankbound as rb

def cell(x, folder):
    with open(f"{folder}/calls", "a") as file:
        file.write(f"{x} {__name__}\\n")
    return {"y": helper(x)}

def helper(x):
    return 10 * x

if __name__ == "__main__":
    settings = {"jobs": 2} if sys.argv[2] == "2" else {"time_limit": 60.0}
    done = rb.sweep(cell, {"x": eval(sys.argv[1]), "folder": [sys.argv[3]]}, "s.sqlite", **settings)
    print([record.result["y"] for record in done.cells])
"""


def test_a_function_of_one_script_is_resumed_from_another(tmp_path: Path) -> None:
    for name, jobs, xs, printed in (
        ("first.py", "2", "[1, 2, 3]", "[10, 20, 30]"),
        ("second.py", "1", "[4, 3, 2, 1]", "[40, 30, 20, 10]"),
    ):
        (tmp_path / name).write_text(f"# {name}\n{SCRIPT}")
        code = (
            "import runpy, sys; sys.argv = sys.argv[1:]; "
            "runpy.run_path(sys.argv[0], None, '__main__')"
        )
        done = python(code, name, xs, jobs, str(tmp_path), folder=tmp_path)
        assert (done.stdout.strip(), done.stderr) == (printed, "")
    lines = (tmp_path / "calls").read_text().splitlines()
    assert sorted(lines) == [f"{x} __main__" for x in (1, 2, 3, 4)]


INTERRUPTED = """
import sys
import signal
import rankbound as rb
from tests.sweeps import functions

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where started so

def show(tick):
    print(tick.finished, flush=True)

grid = {"seconds": [i / 1000 for i in range(8)] + [600.0, 601.0]}
rb.sweep(functions.sleeper, grid, sys.argv[1], jobs=2, progress=show, time_limit=eval(sys.argv[2]))
"""


@pytest.mark.parametrize("inherited", [signal.SIG_DFL, signal.SIG_IGN])  # in the background
@pytest.mark.parametrize("limit", ["None", "500.0"])
@pytest.mark.parametrize("whom", ["the owner", "the group"])  # as a terminal does
def test_ctrl_c_keeps_what_is_done(limit: str, whom: str, inherited: Any, store: Path) -> None:
    before = signal.signal(signal.SIGINT, inherited)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, str(store), limit],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "8":
            break
    if whom == "the group":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    assert process.communicate()[1].strip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT
    statuses = [row[5] for row in contents(store)]
    assert sorted(statuses) == ["done"] * 8 + ["pending"] * 2
    resumed = rb.sweep(functions.sleeper, {"seconds": [i / 1000 for i in range(8)]}, store)
    assert {cell.attempts for cell in resumed.cells} == {1}


def test_progress_counts_what_this_run_does(store: Path) -> None:
    rb.sweep(functions.twice, {"x": [1, 2]}, store)
    ticks: list[Tick] = []
    rb.sweep(functions.twice, {"x": [1, 2, 3, "a", None]}, store, progress=ticks.append)
    assert [(t.total, t.kept, t.finished, t.failed) for t in ticks] == [
        (5, 2, 0, 0),
        (5, 2, 1, 0),
        (5, 2, 2, 0),
        (5, 2, 3, 1),
    ]
    assert ticks[0].remaining is None
    assert ticks[1].remaining == pytest.approx(2 * ticks[1].elapsed)
    assert ticks[3].remaining == 0.0
    ticks.clear()
    rb.sweep(functions.twice, {"x": [1, 2]}, store, progress=ticks.append)
    assert [(t.kept, t.finished, t.remaining) for t in ticks] == [(2, 0, 0.0)]


@pytest.mark.parametrize(
    ("remaining", "failed", "text"),
    [
        (None, 0, ""),
        (None, 2, "2 failed"),
        (12.4, 0, "about 12 s to go"),
        (59.7, 1, "1 failed, about 60 s to go"),
        (600.0, 0, "about 10 min to go"),
        (3599.0, 0, "about 1 h 00 min to go"),
        (9000.0, 0, "about 2 h 30 min to go"),
    ],
)
def test_the_note_of_the_bar(remaining: float | None, failed: int, text: str) -> None:
    assert note(Tick(9, 0, 3, failed, 1.0, remaining)) == text


def test_a_terminal_gets_a_bar(store: Path) -> None:
    import pty

    code = (
        "import sys, rankbound as rb\nfrom tests.sweeps import functions\n"
        "rb.sweep(functions.drawn, {'x': [1, 2, 3]}, sys.argv[1])"
    )
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code, str(store)], stderr=theirs, check=True)
    os.close(theirs)
    shown = "".join(_drain(ours))
    assert "sweep" in shown
    assert "3/3" in shown


def _drain(descriptor: int) -> Iterator[str]:
    try:
        while piece := os.read(descriptor, 4096):
            yield piece.decode()
    except OSError:  # Linux says so at the end
        pass
    os.close(descriptor)


def test_tables(store: Path, tmp_path: Path) -> None:
    grid: Any = [{"x": 1, "more": [1, 2]}, {"x": 2, "note": 'a "b",\n'}, {"x": -1}]

    def mixed(x: int, more: list[int] | None = None, note: str = "") -> dict[str, Any]:
        return {"root": math.sqrt(x), "nan": math.nan, "whole": x == 1}

    done = rb.sweep(mixed, grid, store)
    file = tmp_path / "rows.csv"
    done.to_csv(file)
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == list(done.columns)
    assert list(rows[0])[:6] == ["x", "more", "note", "root", "nan", "whole"]
    assert [row["root"] for row in rows] == ["1.0", repr(math.sqrt(2)), ""]
    assert json.loads(rows[0]["more"]) == [1, 2]
    assert rows[1]["note"] == 'a "b",\n'
    assert [row["cell_status"] for row in rows] == ["done", "done", "failed"]
    assert rows[2]["cell_error"].startswith("ValueError: ")
    assert [row["cell_id"] for row in rows] == [cell.id for cell in done.cells]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, ""),
        ("", '""'),
        ("nothing", '"nothing"'),
        ("1", '"1"'),
        (1, "1"),
        (1.0, "1.0"),
        (True, "true"),
        ("true", '"true"'),
        ([1, "a", None], '"[1, ""a"", null]"'),
        ({"b": "c,\n"}, '"{""b"": ""c,\\n""}"'),
        ('a "b",\r\n', '"a ""b"",\r\n"'),
        ("\ud800 half", '"\\ud800 half"'),
    ],
)
def test_fields_of_a_table(value: Any, field: str, store: Path, tmp_path: Path) -> None:
    """One that is no word and nothing else; results may also be NaN and infinite."""

    def given(x: Any) -> dict[str, Any]:
        return {"nan": math.nan, "most": math.inf, "least": -math.inf, "no": None, "empty": ""}

    rb.sweep(given, [{"x": value}], store).to_csv(tmp_path / "rows.csv")
    head, line = (tmp_path / "rows.csv").read_bytes().decode().split("\n", 1)
    assert head.startswith('"x","nan","most","least","no","empty","cell_status"')
    assert line.startswith(f'{field},NaN,Infinity,-Infinity,,"","done",,,1,')
    file = (tmp_path / "rows.csv").open(newline="", encoding="utf-8")
    with file:
        assert len(list(csv.reader(file))[1]) == head.count(",") + 1


@pytest.mark.parametrize("path", ["none/rows.csv", ".", "a\0b", 1.5, None])
def test_a_table_that_cannot_be_written(
    path: Any, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.parent)
    done = rb.sweep(functions.twice, {"x": [1]}, store)
    with refused(rb.InputError, f"path is {path!r}", "cannot be written", "CSV"):
        done.to_csv(path)


def test_a_frame_says_what_it_lacks(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = rb.sweep(functions.drawn, {"x": [1, "a"]}, store)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with refused(rb.BackendMissing, "pip install pandas"):
        done.to_frame()
