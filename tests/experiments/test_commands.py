"""``rankbound experiment`` and ``rankbound report``: what they print, and what they refuse."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rankbound.cli.main import main
from rankbound.errors import InputTypeError
from rankbound.experiments import catalogue as module
from rankbound.experiments.catalogue import EXPERIMENTS, GRIDS
from tests.experiments.stores import Value, broken, fill, stand_in
from tests.helpers import FILE_EXISTS, NO_SUCH_FILE, refused

TORCH = tuple(name for name, one in EXPERIMENTS.items() if "torch" in one.needs)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is run, with a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    return tmp_path


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put stand-ins that need nothing in the place of the experiments."""

    def put(value: Value) -> None:
        made = {
            name: replace(one, function=stand_in(name, value), needs=())
            for name, one in EXPERIMENTS.items()
        }
        monkeypatch.setattr(module, "EXPERIMENTS", made)

    return put


def failed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a refusal."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("rankbound")
    return err


@pytest.mark.parametrize("arguments", [["experiment"], ["experiment", "list"]])
def test_list(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for name, one in EXPERIMENTS.items():
        counts = [len(GRIDS[name][preset]) for preset in ("smoke", "laptop", "overnight")]
        needs = ", ".join(one.needs) or "-"
        row = next(line for line in out.splitlines() if re.search(rf"^\W*{name}\s", line))
        assert re.findall(r"\d+", row.split(needs)[-1]) == [str(count) for count in counts]
        assert one.what in row
    assert not list(folder.iterdir())


def test_the_context_experiment_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Needs no torch: run, run again, reported."""
    assert main(["experiment", "context"]) == 0
    first = capsys.readouterr().out
    assert re.search(r"context-cliff\s+reproduced", first)
    assert "mixing" not in first
    assert {path.name for path in folder.iterdir()} >= {"experiments.sqlite"}
    before = (folder / "experiments.sqlite").read_bytes()
    assert main(["experiment", "context", "--preset", "smoke", "--jobs", "1"]) == 0
    assert capsys.readouterr().out == first
    assert (folder / "experiments.sqlite").read_bytes() == before  # nothing was run again
    written = ["--json", "r.json", "--markdown", "r.md", "--figures", "f"]
    assert main(["report", "experiments.sqlite", *written]) == 0
    out = capsys.readouterr().out
    assert re.search(r"context-cliff\s+reproduced", out)
    assert "mixing: 8 of 8 cells are missing." in out
    data = json.loads((folder / "r.json").read_text())
    assert data["findings"][0]["verdict"] == "reproduced"
    assert (folder / "r.md").read_text().startswith("| trend |")
    assert not list((folder / "f").iterdir())  # no layers to draw


def test_an_experiment_prints_its_own_arms_and_trends(
    folder: Path, invented: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    invented(lambda cell: 0.5)
    assert main(["experiment", "separation", "--store", "s.sqlite"]) == 0
    capsys.readouterr()
    assert main(["experiment", "mixing", "--store", "s.sqlite"]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"^\W*mixing ", out, flags=re.M)) == len(GRIDS["mixing"]["smoke"])
    assert "mixing-heads" in out
    assert "separation" not in out
    assert re.search(r"sizes +32 +4 +7 +8 ", out)  # d, heads, and both sizes


def test_all_experiments(
    folder: Path, invented: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A text is the language model's; the others do not mind."""
    invented(lambda cell: 0.5)
    (folder / "text").write_bytes(b"abc\n" * 6000)
    assert main(["experiment", "all", "--store", "s.sqlite", "--text", "text"]) == 0
    capsys.readouterr()
    assert main(["report", "s.sqlite", "--figures", "f"]) == 0
    out = capsys.readouterr().out
    assert "missing" not in out
    drawn = {path.name for path in (folder / "f").iterdir()}
    assert drawn == {f"{name}.svg" for name in TORCH}


def test_failed_cells_are_told_and_exit_1(
    folder: Path, invented: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    invented(lambda cell: broken(cell) if cell["heads"] == 2 else 0.5)
    assert main(["experiment", "mixing"]) == 1
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("failed: ")]
    assert '"heads":2' in line
    assert "Broken: nothing to train" in line
    invented(broken)
    for store in ("experiments.sqlite", "new.sqlite"):  # beside other runs, and without any
        assert main(["experiment", "lookup", "--store", store]) == 1
        assert "failed: lookup" in capsys.readouterr().out
    assert main(["report", "experiments.sqlite"]) == 0
    assert "lookup: 1 of 1 cells are missing, 1 of them failed." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], ("NAME is 'nothing'", "context, separation, ")),
        (["context", "--preset", "long"], ("--preset is 'long'", "smoke, laptop, overnight")),
        (["context", "--jobs", "0"], ("jobs",)),
        (["context", "--jobs", "two"], ("--jobs", "two")),
        (["context", "--text", "text"], ("a text was given to the experiment context",)),
        (["context", "--store", "none/s.sqlite"], ("is no directory",)),
        (["context", "--store", "."], ("is a directory",)),
        (["context", "--store", "text"], ("no store",)),
    ],
)
def test_bad_usage_of_experiment(
    arguments: list[str],
    words: tuple[str, ...],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "text").write_text("no database, but long enough for the header of one" * 999)
    err = failed(["experiment", *arguments], capsys)
    assert all(word in err for word in words)
    assert {path.name for path in folder.iterdir()} <= {"text", "text.lock"}


@pytest.mark.parametrize("store", [None, 3, "a\0b"])
def test_a_store_that_is_no_path(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda package: SimpleNamespace())
    for name in ("context", "language"):
        with refused(InputTypeError, "expected the path of an SQLite file"):
            module.run_experiment(name, store=store)


@pytest.mark.parametrize("content", [None, b"", b"short", b"abc\0" * 9000])
def test_a_text_that_will_not_do(
    content: bytes | None,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda package: SimpleNamespace())
    if content is not None:
        (folder / "text").write_bytes(content)
    err = failed(["experiment", "language", "--text", "text"], capsys)
    assert "the text 'text'" in err
    assert not (folder / "experiments.sqlite").exists()


@pytest.mark.parametrize("name", TORCH)
def test_missing_packages_are_named_with_the_line_that_installs_them(
    name: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for missing in EXPERIMENTS[name].needs:
        monkeypatch.setattr(
            module, "find_spec", lambda package, gone=missing: package != gone or None
        )
        err = failed(["experiment", name], capsys)
        assert f"the experiment {name} needs {missing}" in err
        assert 'pip install "rankbound[experiments]"' in err
    assert not list(folder.iterdir())


def changed(path: Path, statement: str) -> Path:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    return path


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "none": (lambda path: None, "no such file"),
    "a folder": (lambda path: path.mkdir(), "is a directory"),
    "text": (lambda path: path.write_text("no database" * 999), "no store"),
    "another's": (lambda path: changed(path, "CREATE TABLE t (x)"), "no store of sweeps"),
    "newer": (
        lambda path: changed(fill(path, only=["lookup"]), "PRAGMA user_version = 7"),
        "schema 7; expected schema 1",
    ),
    "failed alone": (
        lambda path: fill(path, "smoke", {"lookup": broken}, ["lookup"]),
        "no finished run of any preset",
    ),
    "no runs": (
        lambda path: changed(fill(path, only=["lookup"]), "DELETE FROM cells"),
        "no finished run of any preset",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_stores(what: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, words = BAD[what]
    make(folder / "s.sqlite")
    assert words in failed(["report", "s.sqlite", "--json", "r.json"], capsys)
    assert not (folder / "r.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "STORE"),
        (["s.sqlite", "--preset", "long"], "--preset is 'long'"),
        (["s.sqlite", "--preset", "overnight"], "no finished run of overnight"),
        (["s.sqlite", "--json", "none/r.json"], f"none/r.json: {NO_SUCH_FILE}"),
        (["s.sqlite", "--figures", "s.sqlite"], f"s.sqlite: {FILE_EXISTS}"),
    ],
)
def test_bad_usage_of_report(
    arguments: list[str], words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(folder / "s.sqlite", only=["lookup"])
    assert main(["report", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
