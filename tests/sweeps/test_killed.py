"""SIGKILL at random moments loses no cell, doubles none and changes none."""

from pathlib import Path

import pytest

from tests.sweeps.killing import kill_and_resume

pytestmark = pytest.mark.slow


def test_a_sweep_killed_twenty_times_is_the_sweep_left_in_peace(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, kills=20, seed=0)
