"""Minors modulo m: not zero there, hence not zero.

The integers, and the rationals whose denominators are prime to m, map to the integers modulo m by
a ring homomorphism, so a determinant maps to the determinant of the residues. If that is a unit,
the determinant is not zero, be m prime or not.
"""

from __future__ import annotations

from math import gcd

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.limits import MOST_MINOR, Budget, digits, longest
from rankbound.certificates.checker.outcome import Rejected
from rankbound.certificates.checker.tables import Rows, Table

__all__ = ["MINOR_KEYS", "read_minor", "require_unit", "residues"]

MINOR_KEYS = ("rows", "columns", "prime")


def read_minor(
    data: dict[str, object], rows: int, columns: int
) -> tuple[list[int], list[int], int]:
    """The chosen rows, the chosen columns, and the modulus."""
    chosen_rows = fields.distinct_indices(data["rows"], "the minor's rows", rows)
    chosen_columns = fields.distinct_indices(data["columns"], "the minor's columns", columns)
    if len(chosen_rows) != len(chosen_columns):
        raise Rejected(
            f"the minor has {len(chosen_rows)} rows and {len(chosen_columns)} columns; "
            "expected as many."
        )
    if len(chosen_rows) > MOST_MINOR:
        raise Rejected(f"the minor has {len(chosen_rows)} rows; the limit is {MOST_MINOR}.")
    modulus = fields.integer(data["prime"], "the prime")
    if not 2 <= modulus < 2**64:
        raise Rejected("the prime is out of bounds; expected 2 to 2^64 - 1.")
    return chosen_rows, chosen_columns, modulus


def residues(
    table: Table, rows: list[int], columns: list[int], modulus: int, budget: Budget
) -> Rows:
    """The chosen part of a matrix modulo m."""
    length = digits(longest(table.numerators)) + digits(longest(table.denominators))
    budget.spend(len(rows) * len(columns) * (2000 + 3 * length), "reducing a matrix")
    return [
        [_residue(table.numerators[i][j], table.denominators[i][j], modulus) for j in columns]
        for i in rows
    ]


def _residue(above: int, below: int, modulus: int) -> int:
    if below == 1:
        return above % modulus
    if gcd(below, modulus) != 1:
        raise Rejected(f"a denominator is not prime to the modulus {modulus:#x}.")
    return above * pow(below, -1, modulus) % modulus


def require_unit(matrix: Rows, modulus: int, budget: Budget) -> None:
    """Reject unless elimination shows the determinant to be a unit modulo m.

    Incomplete for a composite m: a column may hold no unit though the determinant is one.
    """
    r = len(matrix)
    budget.spend(100 * r**3, f"a minor of {r} rows")
    matrix = list(matrix)
    for step in range(r):
        index = next((i for i, row in enumerate(matrix) if gcd(row[0], modulus) == 1), None)
        if index is None:
            raise Rejected(
                f"elimination of the {r} × {r} minor modulo {modulus:#x} finds no unit in column "
                f"{step}."
            )
        pivot = matrix.pop(index)
        inverse, tail = pow(pivot[0], -1, modulus), pivot[1:]
        matrix = [_eliminated(row, inverse, tail, modulus) for row in matrix]


def _eliminated(row: list[int], inverse: int, tail: list[int], modulus: int) -> list[int]:
    factor = row[0] * inverse % modulus
    if not factor:
        return row[1:]
    return [(x - factor * y) % modulus for x, y in zip(row[1:], tail, strict=True)]
