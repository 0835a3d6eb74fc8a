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
from tests.floors import imports

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
    edges = [edge for edge in imports(ROOT) if edge.module.startswith("certificates")]
    assert edges
    for edge in edges:
        if edge.outside:
            known = edge.target.split(".")[0] in sys.stdlib_module_names
            assert known or (
                edge.target == "mpmath.ctx_iv" and edge.module.endswith("enclosures")
            ), str(edge)
        else:
            assert edge.target == "errors" or edge.target.startswith("certificates"), str(edge)
        if edge.module.startswith("certificates.checker") and not edge.outside:
            assert edge.target.startswith("certificates.checker"), str(edge)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "certificates").rglob("*.py")), ids=lambda p: p.stem
)
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            docstring = ast.get_docstring(node) or ""
            assert node.end_lineno - node.lineno + 1 - len(docstring.splitlines()) <= 40, node.name
