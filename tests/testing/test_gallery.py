"""The gallery: each matrix is as hard as its name says. Its ranks are certified in tests/ranks."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.testing import gallery
from tests.helpers import EPS, refused, sympy_rank

ALL = gallery.hard_matrices()
SMALL = [hard for hard in ALL if np.size(hard.matrix) <= 36]


def test_names_are_unique_and_matrices_read_only() -> None:
    assert len({hard.name for hard in ALL}) == len(ALL)
    for hard in ALL:
        assert isinstance(hard.rank, int)
        if isinstance(hard.matrix, np.ndarray):
            assert not hard.matrix.flags.writeable
        else:
            assert all(isinstance(row, tuple) for row in hard.matrix)
    with pytest.raises(AttributeError):
        ALL[0].rank = 7  # type: ignore[misc]


@pytest.mark.parametrize("hard", SMALL, ids=lambda hard: hard.name)
def test_small_ranks_agree_with_sympy(hard: gallery.HardMatrix) -> None:
    assert sympy_rank([[Fraction(x) for x in row] for row in np.array(hard.matrix).tolist()]) == (
        hard.rank
    )


def test_every_hard_kind_is_there() -> None:
    """Below, at and above what a numerical rank can see."""
    seen = {hard.name: rb.numerical_rank(hard.matrix) for hard in ALL}
    missed = [hard for hard in ALL if seen[hard.name] < hard.rank]
    assert len(missed) > 10
    assert any(hard.rank == 0 for hard in ALL)
    assert any(np.size(hard.matrix) == 1 for hard in ALL)
    assert seen["rounded product, (64, 8) times (8, 64)"] == 8
    assert seen["unit upper triangular, n = 200"] == 199
    gaps = [seen[f"near-repeated columns, gap 1e-{k}"] for k in range(1, 17)]
    assert gaps == sorted(gaps, reverse=True)
    assert {gaps[0], gaps[-1]} == {5, 4}


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18])
def test_magic_squares_are_magic(n: int) -> None:
    hard = gallery.magic_square(n)
    M = np.array(hard.matrix)
    total = n * (n * n + 1) // 2
    sums = [*M.sum(axis=0), *M.sum(axis=1), M.trace(), M[:, ::-1].trace()]
    assert set(sums) == {total}
    assert sorted(M.ravel().tolist()) == list(range(1, n * n + 1))
    assert int(rb.exact_rank(M)) == hard.rank == (n if n % 2 else 3 if n % 4 == 0 else n // 2 + 2)


@pytest.mark.parametrize("n", [1, 2, 4, 32])
def test_hadamard_columns_are_orthogonal(n: int) -> None:
    H = np.array(gallery.hadamard(n).matrix)
    assert set(H.ravel()) <= {-1, 1}
    np.testing.assert_array_equal(H.T @ H, n * np.eye(n))


def test_kahan_hides_from_pivoted_qr() -> None:
    """The last pivot, s^(n-1), is far above the smallest singular value."""
    A = gallery.kahan(60, sine=0.8).matrix
    assert np.linalg.svd(A, compute_uv=False)[-1] < 1e-3 * A[-1, -1]
    # every column below its own pivot is no longer than the pivot: no exchange is called for
    for i in range(60):
        assert np.linalg.norm(A[i:, i:], axis=0).max() <= A[i, i] * (1 + 60 * EPS)


def test_contexts_of_rank_one_logits() -> None:
    """2^(ij): logits of rank 1, log-rank at most 1, and a context of full rank."""
    P = gallery.powers_of_two(12).matrix
    assert [sum(column) for column in zip(*P, strict=True)] == [1] * 12
    assert rb.log_rank(logits=[[i * j for j in range(12)] for i in range(12)]) == 1
    assert int(rb.exact_rank(P)) == 12
    # rounded correctly from 40 digits, hence within half an eps of exp, which is within a few
    L = np.outer(x := np.array([k / 32 for k in range(-32, 33) if k]), x)
    np.testing.assert_allclose(gallery.rounded_exponential().matrix, np.exp(L), rtol=4 * EPS)


def test_scaled_by_a_power_of_two_exactly() -> None:
    plain = np.array(gallery.magic_square(4).matrix, dtype=np.float64)
    for exponent in (-1074, 0, 1018):
        A = gallery.scaled(exponent).matrix
        np.testing.assert_array_equal(np.ldexp(A, -exponent), plain)
    assert gallery.scaled(-1074).matrix.max() < np.finfo(np.float64).tiny


@pytest.mark.parametrize(
    ("function", "value", "part"),
    [
        (gallery.hilbert, 0, "n is 0; expected at least 1"),
        (gallery.graded, 301, "n is 301; expected from 1 to 300"),
        (gallery.magic_square, 2, "n is 2; expected at least 3"),
        (gallery.hadamard, 6, "n is 6; expected a power of 2"),
        (gallery.scaled, 1019, "exponent is 1019; expected from -1074 to 1018"),
        (gallery.near_repeated_columns, 0, "exponent is 0; expected from 1 to 300"),
    ],
)
def test_impossible_sizes(function: Any, value: int, part: str) -> None:
    with refused(rb.InputError, part):
        function(value)


def test_without_hypothesis_the_gallery_works_and_the_strategies_say_why_not() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from rankbound.testing.gallery import hard_matrices\n"
        "assert hard_matrices()\n"
        "import rankbound\n"
        "for name in ('tokens', 'heads', 'contexts', 'logits', 'multiheads'):\n"
        "    try:\n"
        "        exec(f'from rankbound.testing import {name}')\n"
        "    except rankbound.BackendMissing as error:\n"
        "        assert 'pip install \"rankbound[test]\"' in str(error), error\n"
        "    else:\n"
        "        raise SystemExit(f'{name} was imported')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(rb.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr


def test_importing_the_gallery_does_not_import_hypothesis() -> None:
    code = "import sys, rankbound.testing.gallery; sys.exit('hypothesis' in sys.modules)"
    folder = Path(rb.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=folder, check=False).returncode == 0
