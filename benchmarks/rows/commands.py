"""What starts a process: the import, and `rankbound verify`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.races import Entries, Race, Wanted


def python(*arguments: str) -> None:
    """Run Python in a process of its own, in silence."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def importing() -> Entries:
    """A first public name, beside NumPy alone."""
    return Entries(
        partial(python, "-c", "import numpy, rankbound"), partial(python, "-c", "import numpy")
    )


def verifying() -> Entries:
    """All claims at the quick level by two processes; certificates are built and checked again."""
    folder = tempfile.TemporaryDirectory()
    report = Path(folder.name) / "report.json"

    def verdict(found: Any) -> tuple[bool, dict[str, Any]]:
        told = json.loads(report.read_text(encoding="utf-8"))
        folder.cleanup()
        claims = told["claims"]
        accepted = sum(claim["certificates"] for claim in claims)
        return told["ok"], {"claims": len(claims), "certificates accepted": accepted}

    command = ("-m", "rankbound", "verify", "--jobs", "2", "--quiet", "--json", str(report))
    return Entries(partial(python, *command), verdict=verdict)


RACES = (
    Race(
        "import",
        "`import rankbound` after NumPy",
        "`import numpy`",
        "",
        Wanted(0.05, "more"),
        importing,
        rounds=9,
    ),
    Race(
        "verify",
        "`rankbound verify`, quick, two processes, certificates built and checked",
        "",
        "",
        Wanted(10, "seconds"),
        verifying,
        clock="wall",
        rounds=3,
    ),
)
