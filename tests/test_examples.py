"""The examples that Hypothesis draws are the same in each run, whatever ran before."""

import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st


def drawn() -> list[tuple[int, str]]:
    found = []

    @given(st.integers(), st.floats())
    def collect(whole: int, real: float) -> None:
        found.append((whole, float.hex(real)))

    collect()
    return found


def test_examples_do_not_hang_on_the_modules_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = drawn()
    source = tmp_path / "literals.py"
    source.write_text("".join(f"x{i} = {10**6 + i}, {i}.015625\n" for i in range(300)))
    module = types.ModuleType("literals")
    module.__file__ = str(source)
    exec(compile(source.read_text(), str(source), "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "literals", module)
    assert drawn() == before
