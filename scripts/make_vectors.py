"""Make ``tests/vectors``: exact ranks and least head sizes from SymPy, to compare rankbound with.

SymPy's domain matrices over Python's own rationals share no code with python-flint, which rankbound
uses. The least head size of ``P ∝ 2^M`` is not even computed by the same formula: here it is the
rank of M with its first row subtracted from the others, there the rank of the centred M (the two
agree because both remove the softmax gauge, and nothing else).

Run as ``python scripts/make_vectors.py``; ``--check`` compares with the files and writes nothing.
The stream is ``random.Random.random``, which the standard library promises to keep.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

os.environ["SYMPY_GROUND_TYPES"] = "python"  # SymPy without flint, whatever is installed

from sympy import QQ
from sympy.polys.matrices import DomainMatrix

SEED = 2020
FOLDER = Path(__file__).resolve().parents[1] / "tests" / "vectors"
PRIMES = (2, 3, 2**31 - 1, 2**61 - 1, 2**62 - 57)  # where an elimination modulo a prime may fail

Matrix = list[list[Fraction]]


def sympy_rank(rows: Matrix) -> int:
    """Rank over the rationals."""
    table = [[QQ(x.numerator, x.denominator) for x in row] for row in rows]
    return int(DomainMatrix(table, (len(rows), len(rows[0])), QQ).rank())


def _integer(draw: Random, most: int) -> int:
    return int(draw.random() * (2 * most + 1)) - most


def _integers(draw: Random, m: int, n: int, most: int = 3) -> Matrix:
    return [[Fraction(_integer(draw, most)) for _ in range(n)] for _ in range(m)]


def _product(A: Matrix, B: Matrix) -> Matrix:
    columns = list(zip(*B, strict=True))
    return [
        [sum((a * b for a, b in zip(row, column, strict=True)), Fraction(0)) for column in columns]
        for row in A
    ]


def _centred(A: Matrix) -> Matrix:
    means = [sum(column, Fraction(0)) / len(A) for column in zip(*A, strict=True)]
    return [[x - mean for x, mean in zip(row, means, strict=True)] for row in A]


def _rescaled(draw: Random, A: Matrix) -> Matrix:
    """Rows and columns times non-zero Fractions, which keeps the rank."""
    rows, columns = (
        [Fraction(1 + int(draw.random() * 9), 1 + int(draw.random() * 9)) for _ in range(size)]
        for size in (len(A), len(A[0]))
    )
    return [
        [r * c * x for c, x in zip(columns, row, strict=True)]
        for r, row in zip(rows, A, strict=True)
    ]


def rank_cases() -> Iterator[tuple[str, Matrix]]:
    """Named matrices of ints and Fractions."""
    draw = Random(SEED)
    for m, n in ((1, 1), (1, 4), (4, 1), (3, 3), (3, 5), (5, 3), (6, 6), (8, 8)):
        yield f"zero ({m}, {n})", [[Fraction(0)] * n for _ in range(m)]
        yield f"random ({m}, {n})", _integers(draw, m, n)
        for r in range(1, min(m, n)):
            low = _product(_integers(draw, m, r), _integers(draw, r, n))
            yield f"product ({m}, {r}) ({r}, {n})", low
            yield f"product ({m}, {r}) ({r}, {n}), rescaled", _rescaled(draw, low)
            yield f"product ({m}, {r}) ({r}, {n}), centred", _centred(low)
        yield f"random ({m}, {n}), centred", _centred(_integers(draw, m, n))
    for prime in PRIMES:
        A = _integers(draw, 4, 4, most=9)
        yield f"random (4, 4) times {prime}", [[prime * x for x in row] for row in A]
        low = _product(_integers(draw, 4, 2), _integers(draw, 2, 4))
        mixed = [
            [x + prime * y for x, y in zip(u, v, strict=True)] for u, v in zip(low, A, strict=True)
        ]
        yield f"rank 2 modulo {prime}", mixed
    near = [[Fraction(2) ** 80 + (i == j) for j in range(5)] for i in range(5)]
    yield "2^80 + identity", near
    yield "2^80 + identity, centred", _centred(near)


def head_size_cases() -> Iterator[tuple[str, Matrix]]:
    """Exponents M of contexts ``P ∝ 2^M``, entries at most 4 in magnitude, n at most 6."""
    draw = Random(SEED + 1)
    for n in range(1, 7):
        yield f"uniform, n = {n}", [[Fraction(0)] * n for _ in range(n)]
        gauge = _integers(draw, 1, n, most=4)
        yield f"constant columns, n = {n}", gauge * n
        yield f"identity, n = {n}", [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
        for most in (1, 2, 4):
            yield f"random up to {most}, n = {n}", _integers(draw, n, n, most=most)
        for r in range(1, min(n, 4)):  # entries of the product at most 3
            low = _product(_integers(draw, n, r, most=1), _integers(draw, r, n, most=1))
            yield f"rank {r}, n = {n}", low
            shift = _integers(draw, 1, n, most=1)[0]
            moved = [[x + c for x, c in zip(row, shift, strict=True)] for row in low]
            yield f"rank {r} in another gauge, n = {n}", moved


def least_head_size(M: Matrix) -> int:
    """Rank of M once its first row has removed the gauge; 0 for n = 1."""
    rest = [[x - y for x, y in zip(row, M[0], strict=True)] for row in M[1:]]
    return sympy_rank(rest) if rest else 0


def _document(what: str, cases: list[dict[str, Any]]) -> str:
    head = {"what": what, "made_by": "scripts/make_vectors.py (SymPy, no flint)", "seed": SEED}
    lines = ",\n".join(f"  {json.dumps(case)}" for case in cases)
    return f'{json.dumps(head)[:-1]}, "cases": [\n{lines}\n]}}\n'


def documents() -> dict[str, str]:
    """The content of each file."""
    ranks = [
        {"name": name, "matrix": [[str(x) for x in row] for row in A], "rank": sympy_rank(A)}
        for name, A in rank_cases()
    ]
    sizes = [
        {
            "name": name,
            "exponents": [[int(x) for x in row] for row in M],
            "least_head_size": least_head_size(M),
        }
        for name, M in head_size_cases()
    ]
    return {
        "exact_rank.json": _document("ranks over the rationals", ranks),
        "least_head_size.json": _document("least head sizes of contexts P ∝ 2^exponents", sizes),
    }


def main() -> int:
    """Write the files, or compare with them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    arguments = parser.parse_args()
    stale = []
    for name, content in documents().items():
        path = FOLDER / name
        if arguments.check:
            if not path.exists() or path.read_text(encoding="utf-8") != content:
                stale.append(name)
        else:
            FOLDER.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    if stale:
        print(f"not as made by this script: {', '.join(stale)}; run it without --check.")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
