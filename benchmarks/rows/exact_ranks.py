"""Exact ranks of rational matrices, beside python-flint and SymPy."""

from __future__ import annotations

import random
import subprocess
import sys
from fractions import Fraction
from functools import partial
from typing import Any

import rankbound as rb
from benchmarks.races import Entries, Race, Wanted
from rankbound.exact.flint import rational_product

ROWS, RANK, SMALL = 200, 100, 20
STOP = 20  # seconds after which SymPy is stopped
SYMPY = f"""
import random, sympy
draw = random.Random(0)
def entry(i, j):
    return sympy.Rational(draw.randint(-99, 99), draw.randint(1, 99))
sympy.Matrix({SMALL}, {SMALL}, entry).rank()
"""


def fraction(draw: random.Random, largest: int, below: int) -> Fraction:
    """A fraction of a numerator and a denominator of at most these sizes."""
    return Fraction(draw.randint(-largest, largest), draw.randint(1, below))


def combinations(whole: bool, rows: int = ROWS, rank: int = RANK) -> list[list[Fraction]]:
    """Combinations of `rank` rows of fractions below 100, by whole numbers or fractions."""
    draw = random.Random(0)
    size = (9, 1) if whole else (99, 99)
    combine = [[fraction(draw, *size) for _ in range(rank)] for _ in range(rows)]
    return rational_product(
        combine, [[fraction(draw, 99, 99) for _ in range(rows)] for _ in range(rank)]
    )


def flint_matrix(rows: list[list[Fraction]]) -> Any:
    """The same for python-flint."""
    import flint

    return flint.fmpq_mat([[flint.fmpq(x.numerator, x.denominator) for x in row] for row in rows])


def large(whole: bool) -> Entries:
    """A matrix of half its size in rank."""
    rows = combinations(whole)
    matrix = flint_matrix(rows)
    return Entries(
        lambda: rb.exact_rank(rows),
        matrix.rank,
        verdict=lambda found: (int(found["rankbound"]) == found["peer"] == RANK, {}),
    )


def small() -> Entries:
    """A matrix on which SymPy takes long; it is stopped after a while."""
    draw = random.Random(0)
    rows = [[fraction(draw, 99, 99) for _ in range(SMALL)] for _ in range(SMALL)]

    def sympy_rank() -> bool:
        try:
            subprocess.run([sys.executable, "-c", SYMPY], timeout=STOP, check=True)
        except subprocess.TimeoutExpired:
            return False
        return True

    return Entries(
        lambda: rb.exact_rank(rows),
        sympy_rank,
        verdict=lambda found: (
            int(found["rankbound"]) == SMALL,
            {"the peer ended": found["peer"], "it was stopped after seconds": STOP},
        ),
    )


RACES = (
    Race(
        "exact-whole",
        "exact rank, 200 × 200 rationals of rank 100, whole combinations",
        "`flint.fmpq_mat.rank`",
        "",
        Wanted(100),
        partial(large, True),
    ),
    Race(
        "exact-fractional",
        "the same, fractional combinations",
        "`flint.fmpq_mat.rank`",
        "",
        Wanted(60),
        partial(large, False),
    ),
    Race(
        "exact-small",
        "exact rank, 20 × 20 rationals",
        f"`sympy.Matrix.rank`, stopped after {STOP} s",
        "",
        Wanted(1000),
        small,
    ),
)
