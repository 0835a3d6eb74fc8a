"""Whatever a cell does is one failed cell with its own error text; Ctrl-C alone ends the sweep."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from joblib import parallel_config

import rankbound as rb
from tests.sweeps import functions
from tests.sweeps.killing import contents

SAID = {
    "surrogate": r"ValueError: half a pair \\ud800",
    "cancelled": "CancelledError: why",
    "generator": "GeneratorExit: why",
    "interrupt": "KeyboardInterrupt: why",
    "exit": "SystemExit: why",
    "stop": "StopIteration: why",
    "own": "Own: why",
    "unpicklable": "Unpicklable: why",
    "unreadable": "Unreadable: why",
    "silent": r"Silent: \(no message: its __str__ fails\)",
    "sly": "Sly: the truth",
    "shut": "Own: not these keys",
    "scalar": "CancelledError: no number",
    "explosive": "InputTypeError: the result's y is an object of type Explosive; expected a scalar",
    "error": r"InputTypeError: the result's y is Unpicklable\('why'\) of type Unpicklable",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "here": {},
    "two workers": {"jobs": 2},
    "apart": {"time_limit": 60.0},
    "two threads": {"jobs": 2},
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


@pytest.fixture
def heard() -> Iterator[None]:
    """SIGINT is not ignored, as it is where the tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("how", SETTINGS)
def test_whatever_a_cell_does_is_its_own_failure(how: str, store: Path, tmp_path: Path) -> None:
    assert SAID.keys() == functions.RAISED.keys() | functions.RETURNED.keys()
    names = ["first", *SAID, "last"]
    (tmp_path / "calls").mkdir()
    grid = {"what": names, "folder": [str(tmp_path / "calls")]}
    with parallel_config(backend="threading") if how == "two threads" else nullcontext():
        done = rb.sweep(functions.misbehaves, grid, store, **SETTINGS[how])
    errors = {cell.parameters["what"]: cell.error for cell in done.failed}
    assert errors.keys() == SAID.keys()
    for what, said in SAID.items():
        place = r" \[(functions|workers)\.py, line \d+\]"
        assert re.match(said, str(errors[what])), errors[what]
        assert bool(re.search(f"{place}$", str(errors[what]))) is (
            what not in ("explosive", "error")
        )
    assert {
        file.name: file.read_text() for file in (tmp_path / "calls").iterdir()
    } == dict.fromkeys(names, "x")  # each called once
    assert {cell.attempts for cell in done.cells} == {1}


@pytest.mark.parametrize("settings", [{"jobs": 2}, {"time_limit": 60.0}, {}])
def test_a_function_that_cannot_be_unpickled_fails_its_cells(
    settings: dict[str, Any], store: Path
) -> None:
    """It is read by the worker; in this process it need not be."""
    told = {"folder": "/", "value": functions.Explosive()}
    done = rb.sweep(functions.placed, {"x": [1, 2]}, store, unrecorded=told, **settings)
    assert len(done.failed) == (2 if settings else 0)
    for cell in done.failed:
        assert re.match(r"SystemExit: it went off \[functions\.py, line", str(cell.error))
        assert cell.wall_time is None  # it was not called


def test_a_process_that_gives_no_answer_says_how_it_ended(store: Path) -> None:
    done = rb.sweep(functions.stops, {"x": [0, 1, 2, 3, 4]}, store, time_limit=60.0, jobs=2)
    assert [cell.error for cell in done.cells] == [
        None,
        "its process ended in the call, by SIGINT",
        None,
        None,
        "its process ended in the call, with exit code 1",
    ]


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("how", ["raised", "disguised"])
def test_ctrl_c_in_a_cell_ends_the_sweep_and_fails_no_cell(
    how: str, jobs: int, store: Path, tmp_path: Path
) -> None:
    grid = {"how": [how], "folder": [str(tmp_path)]}
    with pytest.raises(KeyboardInterrupt):
        rb.sweep(functions.interrupted, grid, store, jobs)
    assert [(row[5], row[8]) for row in contents(store)] == [("pending", 0)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("heard")
def test_a_result_is_kept_though_ctrl_c_came(store: Path, tmp_path: Path) -> None:
    grid = {"how": ["swallowed"], "folder": [str(tmp_path)]}
    assert rb.sweep(functions.interrupted, grid, store).cells[0].result == {"y": 1}


@pytest.mark.usefixtures("heard")
def test_sigint_that_is_ignored_stays_so(store: Path, tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for how in ("raised", "disguised"):
        done = rb.sweep(functions.interrupted, {"how": [how], "folder": [str(tmp_path)]}, store)
        assert not done.failed
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
