"""``figures/regenerate.py --check``: what differs is found, and what is within is left alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb
from tests.test_figures import (
    FIGURES,
    NAMES,
    cliff_recipe,
    least_curvature,
    published,
    regenerate,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the published tables of two figures that are computed in a second."""
    (tmp_path / "figures" / "data").mkdir(parents=True)
    for name in ("ranks", "witness"):
        for kind in ("csv", "json"):
            shutil.copy(FIGURES / "data" / f"{name}.{kind}", tmp_path / "figures" / "data")
    shutil.copy(FIGURES.parent / "pyproject.toml", tmp_path)
    monkeypatch.setattr(regenerate, "HERE", tmp_path / "figures")
    return tmp_path / "figures" / "data"


def rewrite(folder: Path, name: str, change: Callable[[list[dict[str, Any]]], Any]) -> bytes:
    """Change the rows of a table, and its provenance to fit."""
    rows = published(name)
    change(rows)
    table: bytes = regenerate.to_csv(rows, regenerate.FIGURES[name].columns)
    origin = json.loads((folder / f"{name}.json").read_text())
    origin["sha256"] = hashlib.sha256(table).hexdigest()
    regenerate.write_table(name, table, origin, folder)
    return table


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_published_is_found_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(folder)
    assert regenerate.main(["ranks", "witness", "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["ranks", "witness"]  # a line a figure
    assert all(line.endswith("as published") for line in lines)
    assert state(folder) == before


def test_a_tampered_number_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(folder, "ranks", lambda rows: rows[2].update(log_rank=4))
    before = state(folder)
    assert regenerate.main(["ranks", "--check"]) == 1
    said = capsys.readouterr().out
    assert "ranks.csv, row 3, column log_rank: got 3, expected 4, tolerance 0" in said
    assert state(folder) == before  # a check writes nothing
    assert regenerate.main(["ranks", "--data-only"]) == 0
    assert "written" in capsys.readouterr().out
    assert state(folder)["ranks.csv"] == (FIGURES / "data" / "ranks.csv").read_bytes()


def test_a_number_changed_within_its_tolerance_stays(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    within = rewrite(folder, "witness", lambda rows: nudge(rows[0], 1.5))
    assert regenerate.main(["witness", "--check"]) == 0
    assert regenerate.main(["witness", "--data-only"]) == 0
    assert state(folder)["witness.csv"] == within
    rewrite(folder, "witness", lambda rows: nudge(rows[0], 2.5))
    capsys.readouterr()
    assert regenerate.main(["witness", "--check"]) == 1
    assert "row 1, column attention: got" in capsys.readouterr().out


def nudge(row: dict[str, Any], roundings: float) -> None:
    row["attention"] += roundings * row["rounding"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda rows: rows.pop(), "got 20 rows, expected 19"),
        (lambda rows: rows.append(dict(rows[0])), "got 20 rows, expected 21"),
    ],
)
def test_rows_are_counted(
    folder: Path, spoil: Callable[[Any], Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(folder, "ranks", spoil)
    assert regenerate.main(["ranks", "--check"]) == 1
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"n,head_size", b"m,head_size", "got the columns n, head_size"),
        (b"16,1,0,1", b"16,1,0,x", "cannot be read"),
        (b"16,1,0,1", b"16,01,0,1", "SHA-256 is not the one"),  # the same number
    ],
)
def test_a_table_edited_by_hand_is_found(
    folder: Path, old: bytes, new: bytes, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = folder / "ranks.csv"
    table.write_bytes(table.read_bytes().replace(old, new, 1))
    assert regenerate.main(["ranks", "--check"]) == 1
    assert words in capsys.readouterr().out


def test_other_settings_and_absent_tables_are_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = regenerate.FIGURES["ranks"]
    other = replace(recipe, settings={**recipe.settings, "seed": 1})
    monkeypatch.setattr(regenerate, "FIGURES", {"ranks": other})
    assert regenerate.main(["--check"]) == 1
    assert "the settings of the recipe are not those" in capsys.readouterr().out
    (folder / "ranks.csv").unlink()
    assert regenerate.main(["--check"]) == 1
    assert "there is no ranks.csv" in capsys.readouterr().out


def test_tables_of_long_runs_are_not_computed_but_their_digest_is_checked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("csv", "json"):
        shutil.copy(FIGURES / "data" / f"loss.{kind}", folder)
    assert regenerate.main(["loss", "--check"]) == 0
    assert "loss: from long runs, not computed again" in capsys.readouterr().out
    (folder / "loss.csv").write_bytes((folder / "loss.csv").read_bytes() + b"\n")
    assert regenerate.main(["loss", "--check"]) != 0


def test_several_processes_write_what_one_does(folder: Path) -> None:
    states = []
    for jobs in ("1", "2"):
        for name in state(folder):
            (folder / name).unlink()
        assert regenerate.main(["ranks", "witness", "--data-only", "--jobs", jobs]) == 0
        states.append(state(folder))
    assert states[0] == states[1]
    assert len(states[0]) == 4


# the tolerances


FREE = {"gradient_norm", "iterations", "weight_norm"}


@pytest.mark.parametrize("name", NAMES)
def test_each_column_that_is_exact_is_compared_exactly(name: str) -> None:
    recipe = regenerate.FIGURES[name]
    for column, kind in recipe.columns.items():
        if kind is not float and column not in FREE:
            assert column not in recipe.tolerances, column
    for row in published(name):
        for column, tolerance in recipe.tolerances.items():
            allowed = tolerance(recipe.settings, row, row)
            assert (allowed == float("inf")) == (column in FREE), column
            assert allowed >= 0


@pytest.mark.parametrize(
    ("name", "column", "factor"),
    [
        ("cliff", "kl", 1.01),
        ("cliff", "kl_svd_start", 1.01),
        ("cliff", "aitchison_error", 1 + 1e-9),
        ("price", "upper", 1.001),
        ("separation", "error", 3.0),
        ("witness", "attention", 1.001),
    ],
)
def test_a_changed_number_is_not_forgiven(name: str, column: str, factor: float) -> None:
    """Of each column with a tolerance, where the numbers are not 0 to rounding: as the table is."""
    recipe, rows = regenerate.FIGURES[name], published(name)
    found = 0
    for row in rows:
        zero = (
            name == "cliff" and row["head_size"] >= row["n"] - 1,
            name == "separation" and row["error"] < 1e-3,
            name == "witness" and row["attention"] < 1e-3,
        )
        if not any(zero):
            changed = {**row, column: factor * row[column]}
            (difference,) = recipe.differences([row], [changed])
            assert f"column {column}: got" in difference
            found += 1
    assert found >= 8


@pytest.mark.parametrize("head_size", [1, 2, 8, 12, 14])
def test_the_curvature_is_at_least_what_the_tolerance_takes_it_for(head_size: int) -> None:
    """``μ >= p_min s_k / n`` at the fitted head, by differences of the gradient."""
    p_min, values = cliff_recipe._context(16, 0, "dirichlet", 1.0)
    P = rb.random_context(16, seed=0)
    assert least_curvature(P, head_size) >= p_min * values[head_size - 1] / 16
