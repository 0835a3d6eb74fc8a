"""The public surface: names, laziness, and the examples in the documentation."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import rankbound as rb

ROOT = Path(__file__).parent.parent
# written in torch, and imported only where an experiment runs
IN_TORCH = {"rankbound.experiments.transformer"}
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(rb.__path__, "rankbound.")
    if not name.endswith("__main__") and (find_spec("torch") or name not in IN_TORCH)
]


def test_every_public_name_resolves_and_all_is_sorted() -> None:
    assert rb.__all__ == sorted(rb.__all__)
    for name in rb.__all__:
        assert getattr(rb, name) is not None
    assert set(rb.__all__) <= set(dir(rb))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = rb.nonsense


def test_lazy_names_and_type_checker_names_agree() -> None:
    assert set(rb._HOME) == set(rb.__all__)
    source = Path(rb.__file__).read_text(encoding="utf-8")
    block = source[source.index("if TYPE_CHECKING") : source.index("_HOME")]
    imported = set()
    for _, names in re.findall(r"from (\S+) import (\([^)]*\)|[^\n]*)", block):
        imported |= {name.strip() for name in names.strip("()").split(",") if name.strip()}
    assert imported == set(rb.__all__)


def test_import_costs_no_numpy() -> None:
    code = (
        "import sys, rankbound;"
        "heavy = {'numpy', 'scipy', 'sympy', 'flint', 'joblib', 'matplotlib'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module: str) -> None:
    results = doctest.testmod(importlib.import_module(module))
    assert results.failed == 0


def test_readme_example_runs_as_printed() -> None:
    results = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert results.attempted >= 10
    assert results.failed == 0


def test_readme_names_its_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("verify", "test", "figures"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
