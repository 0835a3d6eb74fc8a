"""The house plan holds, and the checker that says so can say no."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import rankbound
from tests.floors import violations

ROOT = Path(rankbound.__file__).parent


def test_package_keeps_to_its_floors() -> None:
    assert violations(ROOT) == []


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, source in {"__init__.py": '__all__ = ["log_rank"]\n', **files}.items():
        path = root / "rankbound" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return root / "rankbound"


BROKEN = {
    "upward": (
        {"ranks/__init__.py": "", "ranks/a.py": "from rankbound.theory.b import c\n"},
        "ranks.a:1 imports theory.b: floor 2 may not import floor 4",
    ),
    "upward in a function": (
        {"errors.py": "def f():\n    import rankbound.verdict\n    import rankbound.ranks.a\n"},
        "errors:3 imports ranks.a: floor 0 may not import floor 2",
    ),
    "upward for types only": (
        {
            "verdict.py": "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from rankbound.ranks import bounds\n",
            "ranks/bounds.py": "",
        },
        "verdict:3 imports ranks.bounds: floor 0 may not import floor 2",
    ),
    "upward, relative": (
        {"ranks/a.py": "from ..theory import b\n", "theory/b.py": ""},
        "ranks.a:1 imports theory.b: floor 2 may not import floor 4",
    ),
    "sideways": (
        {"exact/a.py": "from rankbound._validate import x\n", "_validate.py": ""},
        "exact.a:1 imports _validate: floor 1 may not import floor 1",
    ),
    "the facade from within": (
        {"theory/a.py": "import rankbound as rb\n"},
        "theory.a:1 imports rankbound: floor 4 may not import floor 9",
    ),
    "unknown floor": ({"attic/a.py": ""}, "attic is on no floor of the plan"),
    "cycle": (
        {
            "theory/a.py": "from rankbound.theory import b\n",
            "theory/b.py": "def f():\n    from rankbound.theory.a import x\n",
        },
        "cycle: theory.a -> theory.b -> theory.a",
    ),
    "flint astray": (
        {"ranks/a.py": "def f():\n    import flint\n"},
        "ranks.a:2 imports flint, which only exact/ may",
    ),
    "hypothesis astray": (
        {"reporting/a.py": "from hypothesis.extra import numpy\n"},
        "reporting.a:1 imports hypothesis.extra, which only testing/ may",
    ),
    "numpy on floor 0": (
        {"verdict.py": "import numpy as np\n"},
        "verdict:1 imports numpy, and certificates, errors, verdict must work without it",
    ),
    "numpy behind certificates": (
        {
            "certificates/model.py": "from rankbound.certificates.words import x\n",
            "certificates/words.py": "from numpy.linalg import svd\n",
        },
        "certificates.words:1 imports numpy.linalg, "
        "and certificates, errors, verdict must work without it",
    ),
    "too long": ({"errors.py": "\n" * 301}, "errors has 301 lines; expected at most 300"),
    "shadowed": (
        {"log_rank/__init__.py": ""},
        "log_rank is both a public name and a module at the top of the package",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_checker_finds(case: str, tmp_path: Path) -> None:
    files, message = BROKEN[case]
    assert message in violations(_tree(tmp_path, files))


def test_checker_accepts_what_is_allowed(tmp_path: Path) -> None:
    allowed = {
        "__main__.py": "from rankbound.cli import main\n",
        "errors.py": "from __future__ import annotations\n" + "\n" * 299,
        "_validate.py": "import numpy as np\nfrom rankbound.errors import InputError\n",
        "exact/exact.py": "def f():\n    import flint\n",
        "theory/a.py": "from . import b\nfrom rankbound.ranks.c import x\n",
        "theory/b.py": "",
        "ranks/c.py": "from rankbound._validate import x\n",
        "reporting/table.py": "import rich\n",
        "cli/main.py": "import rankbound\nfrom rankbound.reporting import table\n",
        "testing/draws.py": "from hypothesis import strategies\n",
    }
    assert violations(_tree(tmp_path, allowed)) == []


def test_import_loads_no_heavy_package() -> None:
    heavy = ["numpy", "scipy", "sympy", "mpmath", "flint", "joblib", "matplotlib", "rich"]
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT.parent)!r}); import rankbound; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[]"
