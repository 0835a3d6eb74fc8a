"""``rankbound audit``: mistakes are one line and exit 2; no torch needed."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from rankbound.auditing.models import OLDEST
from rankbound.cli import read_numbers
from rankbound.cli.main import main
from tests.auditing.files import model_folder
from tests.helpers import NO_SUCH_FILE

Capture = pytest.CaptureFixture[str]


def refused(arguments: list[str], capsys: Capture) -> str:
    assert main(["audit", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_layers_are_numbers_and_ranges() -> None:
    assert read_numbers("--layers", None) is None
    assert read_numbers("--layers", "0, 3-5,9") == [0, 3, 4, 5, 9]


@pytest.mark.parametrize("layers", ["", "x", "1-", "-1", "5-3", "1--2", "99999"])
def test_other_layers_are_refused(layers: str, tmp_path: Path, capsys: Capture) -> None:
    text = tmp_path / "text.txt"
    text.write_text("words")
    assert "--layers" in refused([".", "--text", str(text), f"--layers={layers}"], capsys)


def test_a_text_that_cannot_be_read_is_refused(tmp_path: Path, capsys: Capture) -> None:
    text = tmp_path / "text.txt"
    assert NO_SUCH_FILE in refused([".", "--text", str(text)], capsys)
    text.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refused([".", "--text", str(text)], capsys)
    text.write_text(" ")
    assert "the text is empty" in refused([".", "--text", str(text)], capsys)


def test_a_refused_model_leaves_no_record(tmp_path: Path, capsys: Capture) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "audit.json"
    text.write_text("words")
    arguments = ["no_such_model", "--text", str(text), "--json", str(out)]
    assert "no such model" in refused(arguments, capsys)
    assert not out.exists()
    out.write_text("of an earlier run")
    refused(arguments, capsys)
    assert out.read_text() == "of an earlier run"
    arguments[-1] = str(tmp_path / "no" / "audit.json")
    assert f"audit.json: {NO_SUCH_FILE}" in refused(arguments, capsys)


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_what_is_missing_is_told_with_the_install_line(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("words")
    monkeypatch.setitem(sys.modules, missing, None)
    folder = model_folder(tmp_path / "m")
    error = refused([str(folder), "--text", str(text)], capsys)
    assert 'pip install "rankbound[models]"' in error


@pytest.mark.parametrize("version", ["4.50.3", "5.3.0", "5.0.0rc1"])
def test_an_old_transformers_is_told_with_the_install_line(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pytest.importorskip("safetensors")
    text = tmp_path / "text.txt"
    text.write_text("words")
    old = ModuleType("transformers")
    old.__dict__["__version__"] = version
    monkeypatch.setitem(sys.modules, "transformers", old)
    torch = ModuleType("torch")
    torch.__dict__["float32"] = None
    monkeypatch.setitem(sys.modules, "torch", torch)
    error = refused([str(model_folder(tmp_path / "m")), "--text", str(text)], capsys)
    assert f"needs transformers 5.4 or later; {version} is installed" in error
    assert 'pip install --upgrade "rankbound[models]"' in error


def test_the_oldest_transformers_is_that_of_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    oldest = ".".join(map(str, OLDEST))
    assert f"transformers>={oldest}" in project["project"]["optional-dependencies"]["models"]
