"""The floors hold, and import-linter is seen to say no.

The contracts stand in pyproject.toml. Each is broken here by one import, written into a copy of
the package.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb

grimp = pytest.importorskip("grimp", reason="import-linter comes with the extra rankbound[dev]")

ROOT = Path(__file__).parent.parent
LATER = "def _later():\n    {}\n"
FOR_TYPES = "from typing import TYPE_CHECKING as _T\n\nif _T:\n    {}\n"
BROKEN = {
    "upward": ("ranks/bounds.py", "import rankbound.theory", "lower floors"),
    "upward in a function": ("errors.py", LATER.format("import rankbound.ranks"), "lower floors"),
    "upward for types": ("verdict.py", FOR_TYPES.format("import rankbound.exact"), "lower floors"),
    "upward, relative": ("ranks/bounds.py", "from ..theory import argmax", "lower floors"),
    "sideways": ("exact/rounding.py", "import rankbound.certificates", "lower floors"),
    "on no floor": ("attic.py", "", "lower floors"),
    "the facade": ("theory/argmax.py", "import rankbound", "facade"),
    "flint astray": ("ranks/bounds.py", LATER.format("import flint"), "one room each"),
    "hypothesis astray": ("atlas.py", "from hypothesis import given", "one room each"),
    "torch astray": ("fitting/bracket.py", "import torch.nn", "one room each"),
    "transformers astray": ("cli/main.py", "import transformers", "one room each"),
    "numpy": ("certificates/statements.py", "from numpy.linalg import svd", "without NumPy"),
    "numpy behind another": ("table.py", "import numpy", "without NumPy"),
    "checker": (
        "certificates/checker/fields.py",
        "import rankbound.certificates.statements",
        "checker",
    ),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__", "data")
    shutil.copytree(ROOT / "rankbound", tmp_path / "rankbound", ignore=ignored)
    return tmp_path


def test_every_contract_is_kept() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def test_the_copy_is_what_is_read(copy: Path) -> None:
    assert lint(copy).returncode == 0


@pytest.mark.parametrize("case", BROKEN)
def test_a_contract_is_broken_by_one_import(case: str, copy: Path) -> None:
    file, source, contract = BROKEN[case]
    with (copy / "rankbound" / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{source}\n")
    done = lint(copy)
    assert done.returncode == 1
    broken = [line for line in done.stdout.splitlines() if " BROKEN" in line]
    assert any(contract in line for line in broken), done.stdout


def test_a_cycle_within_a_folder_is_broken(copy: Path) -> None:
    folder = copy / "rankbound" / "sweeps"
    (folder / "one.py").write_text("import rankbound.sweeps.two\n", encoding="utf-8")
    (folder / "two.py").write_text(LATER.format("from . import one"), encoding="utf-8")
    assert "No cycles are allowed in rankbound.sweeps" in lint(copy).stdout


def through_packages(graph: Any) -> list[str]:
    """Cycles that pass through the ``__init__`` of a folder, which are not among siblings."""
    return [
        f"{package} -> {child} -> {package}"
        for package in graph.modules
        for child in graph.find_modules_directly_imported_by(package)
        if child.startswith(f"{package}.") and graph.chain_exists(child, package)
    ]


def test_no_cycle_passes_through_the_init_of_a_folder() -> None:
    graph = grimp.build_graph("rankbound", cache_dir=None)
    assert through_packages(graph) == []
    graph.add_import(importer="rankbound.ranks", imported="rankbound.ranks.bounds")
    graph.add_import(importer="rankbound.ranks.bounds", imported="rankbound.ranks")
    assert len(through_packages(graph)) == 1


def test_no_module_at_the_top_bears_a_public_name() -> None:
    tops = {path.stem for path in (ROOT / "rankbound").iterdir()}
    assert tops & set(dir(rb)) == set()


def test_import_loads_no_heavy_package() -> None:
    heavy = ["numpy", "scipy", "sympy", "mpmath", "flint", "joblib", "matplotlib", "rich", "pandas"]
    code = f"import sys, rankbound; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[]"
