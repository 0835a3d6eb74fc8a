"""The checker stands alone: no producer, no array library, not even the certificates' classes."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import rankbound
from tests.certificates.build import EXAMPLES, dumped

ROOT = Path(rankbound.__file__).parent
BLOCKED = [
    "numpy",
    "scipy",
    "sympy",
    "flint",
    "gmpy2",
    "rankbound.certificates.certificates",
    "rankbound.certificates.statements",
    "rankbound.certificates.matrices",
]
SCRIPT = f"""
import json, sys
for name in {BLOCKED!r}:
    sys.modules[name] = None  # importing it raises ImportError
from rankbound.certificates.checker import check
outcomes = [check(text) for text in json.load(sys.stdin)]
own = sorted(name for name in sys.modules if sys.modules[name] and name.startswith("rankbound"))
json.dump([[[o.accepted, o.reason] for o in outcomes], own], sys.stdout)
"""


def test_the_checker_works_where_nothing_else_can_be_imported() -> None:
    documents = [dumped(document) for document in EXAMPLES.values()]
    spoilt = [text.replace('"0x1fffffffffffffff"', '"0x0"') for text in documents]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([*documents, "{}", *spoilt]),
        capture_output=True,
        text=True,
        check=True,
    )
    outcomes, own = json.loads(run.stdout)
    assert [accepted for accepted, _ in outcomes[: len(documents) + 1]] == [True] * len(
        documents
    ) + [False]
    for text, before, (accepted, _) in zip(
        spoilt, documents, outcomes[len(documents) + 1 :], strict=True
    ):
        assert accepted == (text == before)
    checker = "rankbound.certificates.checker"
    assert all(
        name in ("rankbound", "rankbound.certificates") or name.startswith(checker) for name in own
    )


def test_certificates_import_nothing_of_rankbound_but_errors() -> None:
    grimp = pytest.importorskip("grimp", reason="import-linter comes with rankbound[dev]")
    graph = grimp.build_graph("rankbound", include_external_packages=True, cache_dir=None)
    folder = "rankbound.certificates"
    modules = graph.find_descendants(folder)
    assert modules
    for module in modules:
        for target in graph.find_modules_directly_imported_by(module):
            known = target.split(".")[0] in sys.stdlib_module_names
            enclosed = target == "mpmath" and module.endswith("enclosures")
            own = target.startswith(folder) or target == "rankbound.errors"
            assert known or enclosed or own, f"{module} imports {target}"
            if module.startswith(f"{folder}.checker") and target.startswith("rankbound"):
                assert target.startswith(f"{folder}.checker"), f"{module} imports {target}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "certificates").rglob("*.py")), ids=lambda p: p.stem
)
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            docstring = ast.get_docstring(node) or ""
            assert node.end_lineno - node.lineno + 1 - len(docstring.splitlines()) <= 40, node.name
