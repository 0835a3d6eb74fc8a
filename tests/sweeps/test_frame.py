"""The frame of a sweep, where pandas is installed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import rankbound as rb
from tests.sweeps import functions


def test_a_frame_has_one_row_a_cell_of_this_plan(tmp_path: Path) -> None:
    store = tmp_path / "results.sqlite"
    rb.sweep(functions.drawn, {"x": [7, 8, 9]}, store)
    done = rb.sweep(functions.drawn, {"x": [3, 1, "a", 9]}, store)
    frame = done.to_frame()
    assert list(frame.columns) == list(done.columns)
    assert list(frame["x"]) == [3, 1, "a", 9]
    assert list(frame["cell_seed"]) == [cell.seed for cell in done.cells]
    assert frame["y"].dtype == pd.Int64Dtype()  # integers with a gap stay integers
    assert list(frame["y"].dropna()) == [9, 1, 81]
    assert list(frame["y"].isna()) == [False, False, True, False]
    assert frame["draw"].dtype == "float64"


def test_a_frame_of_failures_and_of_lists(tmp_path: Path) -> None:
    failed = rb.sweep(functions.exits, {"x": [1, 2]}, tmp_path / "a.sqlite").to_frame()
    assert list(failed["cell_status"]) == ["failed", "failed"]
    lists = rb.sweep(functions.mutates, {"values": [[], [1]]}, tmp_path / "b.sqlite").to_frame()
    assert list(lists["values"]) == [[], [1]]
