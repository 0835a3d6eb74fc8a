"""The example in docs/sweeps.md runs as printed."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "sweeps.md"


def test_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(str(DOCUMENT), module_relative=False)
    assert results.attempted == 6
    assert results.failed == 0
    assert (tmp_path / "results.sqlite").exists()
