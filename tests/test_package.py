"""The public surface: names, laziness, and the examples in the documentation."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import rankbound as rb
from tests.conftest import REAL_MODELS

ROOT = Path(__file__).parent.parent
AUDITED = {f"rankbound.auditing.{name}" for name in ("audit", "loss", "narrowing")}
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(rb.__path__, "rankbound.")
    if not name.endswith("__main__")
]


def test_every_public_name_resolves() -> None:
    names = dir(rb)
    assert names == sorted(names)
    assert len(names) >= 55
    for name in names:
        assert getattr(rb, name) is not None
    assert rb.__version__ == version("rankbound")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        rb.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_the_wheel_holds_the_list_of_names(tmp_path: Path) -> None:
    """Without it the package could not be imported."""
    builders = pytest.importorskip("hatchling.builders.wheel", reason="needs rankbound[dev]")
    (wheel,) = builders.WheelBuilder(str(ROOT)).build(
        directory=str(tmp_path), versions=["standard"]
    )
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        data = ("references.bib", "registry/machine_checked.json", "certificates/claims.json")
        for name in ("__init__.py", "__init__.pyi", "py.typed", *data):
            assert f"rankbound/{name}" in names
        files.extractall(tmp_path / "installed")
    code = "import rankbound; print(rankbound.__file__, len(dir(rankbound)))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    file, count = run.stdout.split()
    assert Path(file).is_relative_to(tmp_path / "installed")
    assert int(count) == len(dir(rb))


def test_the_sdist_holds_what_the_tests_read(tmp_path: Path) -> None:
    builders = pytest.importorskip("hatchling.builders.sdist", reason="needs rankbound[dev]")
    (sdist,) = builders.SdistBuilder(str(ROOT)).build(directory=str(tmp_path))
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    for folder in ("rankbound", "tests", "scripts", "figures", "notebooks", "docs", "benchmarks"):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.*")}
        made = re.compile(r"/__pycache__|/\.|\.pgf$|-img\d+\.png$")  # which git does not keep
        wanted = {file for file in files if not made.search(file)}
        assert wanted
        assert wanted <= names
    tops = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile")
    assert {*tops, "pyproject.toml", "proofs/_CoqProject"} <= names


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module: str) -> None:
    if module in AUDITED and not REAL_MODELS:
        pytest.skip("its examples audit a model of `make models`")
    results = doctest.testmod(importlib.import_module(module))
    assert results.failed == 0


def test_readme_example_runs_as_printed() -> None:
    results = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert results.attempted >= 10
    assert results.failed == 0


def test_the_readers_path_is_true() -> None:
    """Each file that CONTRIBUTING.md names is there and holds the thing."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    path = re.findall(r"^\| [^|`]+ \| `([\w/]+\.py)` \| `([^`]+)` \|$", text, flags=re.MULTILINE)
    assert len(path) >= 15
    for file, name in path:
        assert name in (ROOT / file).read_text(encoding="utf-8"), f"{name} is not in {file}"


def test_the_table_of_floors_is_that_of_the_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (floors,) = (contract for contract in contracts if contract["id"] == "floors")
    layers = [set(re.findall(r"\w+", layer)) for layer in floors["layers"]]
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \| [^|]+ \|$", text, flags=re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == layers


def test_readme_names_its_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("verify", "test", "figures"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_the_package_stays_small() -> None:
    """At most 160 modules and 38,940 lines: what goes is repetition, and no line is squeezed.

    Made straight it had 24,500; claims with power, the papers around B20, heads under masks, bounds
    by signs and by tilts, their certificates, audits of any model on any input and what a smaller
    head costs it, records, the experiments at equal parameters, and claims
    from other packages are what came since.
    """
    modules = list((ROOT / "rankbound").rglob("*.py"))
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in modules)
    assert len(modules) <= 160
    assert lines <= 38_940
