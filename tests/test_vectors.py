"""The vectors are what their script makes of its seed, and they hold the cases that matter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers import vectors

SCRIPT = Path(__file__).parents[1] / "scripts" / "make_vectors.py"


def test_files_are_as_made() -> None:
    """Fails too when SymPy changes its mind about a rank."""
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_there_is_something_to_compare_with() -> None:
    ranks, sizes = vectors("exact_rank"), vectors("least_head_size")
    for cases in (ranks, sizes):
        assert len({case["name"] for case in cases}) == len(cases) > 50
    assert {case["rank"] for case in ranks} == set(range(9))
    assert {case["least_head_size"] for case in sizes} == set(range(6))
    assert any("/" in x for case in ranks for row in case["matrix"] for x in row)
