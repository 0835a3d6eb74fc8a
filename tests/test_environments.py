"""scripts/test_matrix.py: a cell is what it says, and what fails in it is not lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import test_matrix
from test_matrix import CELLS, Answer, Cell, Failed, Workshop, counted, find_python, floors, main

PASSED = "<testcase classname='t' name='passed'/>"
SKIPPED = "<testcase classname='t' name='skipped'><skipped/></testcase>"
FAILED = "<testcase classname='t' name='f'><failure/></testcase>"
ERROR = "<testcase classname='t' name='e'><error/></testcase>"


@pytest.mark.parametrize("name", ["two-threads", "comma", "no-home", "optimized", "warnings"])
def test_a_cell_shows_what_it_is(name: str, tmp_path: Path) -> None:
    if name == "comma" and not shutil.which("localedef"):
        pytest.skip("no localedef to make a locale with")
    if name == "two-threads" and (os.cpu_count() or 1) < 2:
        pytest.skip("one core only")
    if name == "no-home" and not Path(test_matrix.READ_ONLY).exists():
        pytest.skip("no file system that nobody can write to")
    workshop = Workshop(tmp_path, [])
    workshop.make_locale(CELLS[name])
    inside = [test_matrix.__file__, "--inside", name]
    codes = [
        workshop.command(CELLS[cell], Path(sys.executable), inside, tmp_path)
        for cell in (name, "oldest")
    ]
    assert codes == [0, 1]


def test_every_requirement_has_a_floor_that_is_met() -> None:
    assert len(floors()) >= 16
    for name, floor in floors().items():
        assert Version(version(name)) >= Version(floor), name


@pytest.mark.parametrize(
    ("cases", "code", "expected", "names"),
    [
        (PASSED + SKIPPED, 0, (1, 0, 1), []),
        (PASSED + FAILED + ERROR, 1, (1, 2, 0), ["t::f", "t::e"]),
        (PASSED, 3, (1, 1, 0), ["pytest ended with exit code 3"]),
        (SKIPPED, 0, (0, 1, 1), ["pytest ended with exit code 0"]),
        (None, 4, (0, 1, 0), ["pytest ended with exit code 4"]),
    ],
)
def test_what_pytest_reports_is_counted(
    cases: str | None, code: int, expected: tuple[int, ...], names: list[str], tmp_path: Path
) -> None:
    report = tmp_path / "report"
    if cases is not None:
        report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    answer = counted(report, code)
    assert (answer["passed"], answer["failed"], answer["skipped"]) == expected
    assert answer["names"] == names


def test_what_passed_is_not_repeated_and_what_failed_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def run(self: Workshop, cell: Cell) -> Answer:
        ran.append(cell.name)
        if cell.name == "comma" and ran.count("comma") == 1:
            raise Failed("no such locale")
        return {"passed": 7, "failed": 0, "skipped": 1, "names": []}

    monkeypatch.setattr(Workshop, "build", lambda self: None)
    monkeypatch.setattr(Workshop, "run", run)
    arguments = ["--folder", str(tmp_path), "--only", "oldest", "comma"]
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert "| comma | 3.12 | 0 | 1 | 0 |" in shown.out
    assert shown.err == "comma: no such locale\n"
    assert main(arguments) == 0
    assert ran == ["oldest", "comma", "comma"]
    monkeypatch.setattr(Workshop, "build", lambda self: setattr(self, "digest", "changed"))
    assert main(arguments) == 0
    assert main([*arguments, "--sample"]) == 0
    assert ran[3:] == ["oldest", "comma"] * 2


def test_an_environment_is_made_again_when_other_packages_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "venv" in words:
            made.append(words[-1])
            Path(words[-1]).mkdir(exist_ok=True)
        return subprocess.CompletedProcess(words, 0)

    workshop = Workshop(tmp_path, [])
    workshop.wheel = tmp_path / "a.whl"
    monkeypatch.setattr(test_matrix, "find_python", lambda wanted: "python")
    monkeypatch.setattr(subprocess, "run", run)
    for wanted, times in (("numpy>=1", 1), ("numpy>=1", 1), ("numpy>=2", 2)):
        asked = {"": [wanted], "test": ["pytest>=8"]}
        monkeypatch.setattr(test_matrix, "requirements", lambda asked=asked: asked)
        workshop._environment(CELLS["oldest"])
        assert len(made) == times


def test_an_interpreter_that_is_not_there() -> None:
    assert find_python(".".join(map(str, sys.version_info[:2])))
    with pytest.raises(Failed, match=r"no Python 3\.0 on the path"):
        find_python("3.0")


def test_the_cells_are_listed_and_documented(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(CELLS)
    text = (test_matrix.ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    lines = text.split("\n## ")[0].splitlines()
    table = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert table[1:] == [f"`{name}`" for name in CELLS]


ABSENT = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *given):
        return None if name in {names} else self.finder.find_spec(name, *given)
sys.meta_path[:] = map(Without, sys.meta_path)
import pytest
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "."]))
"""


@pytest.mark.slow
def test_what_needs_a_package_that_is_absent_is_not_collected() -> None:
    """No module of tests fails to be imported where only the extra `test` is installed."""
    names = {"torch", "transformers", "safetensors", "gguf", "accelerate", "pandas", "distributed"}
    run = subprocess.run(
        [sys.executable, "-c", ABSENT.format(names=names)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:]
    assert "audits of models: tiny not collected" in run.stdout
