"""Completion of a nested partial matrix over the rationals, with what proves it least."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rankbound.exact.flint import null_space, solve_rows
from rankbound.exact.rational import Rationals

__all__ = ["ExactCompletion", "extend_exactly"]


@dataclass(frozen=True, eq=False)
class ExactCompletion:
    """A completion of least rank of D, the rows of a nested partial matrix less the first.

    Attributes
    ----------
    new : list of int
        Rows that are in no span of the rows above them, on what is visible of them.
    witnesses : list of list of Fraction
        For each, a vector on its visible columns that the rows above annihilate and it does not.
    basis : list of list of Fraction
        The new rows, 0 where hidden.
    coefficients : list of list of Fraction
        For each row of D, the combination of the basis that reproduces what is visible of it.
    """

    new: list[int]
    witnesses: Rationals
    basis: Rationals
    coefficients: Rationals


def extend_exactly(table: Rationals, visible: list[list[bool]]) -> ExactCompletion:
    """Complete row by row; the visible sets of the rows decrease, and the first is everything."""
    columns = len(table[0])
    D = [
        [x - first if seen else Fraction(0) for x, first, seen in zip(*triple, strict=True)]
        for triple in ((row, table[0], shown) for row, shown in zip(table, visible, strict=True))
    ]
    found = ExactCompletion([], [], [], [[]])
    for i in range(1, len(D)):
        seen = [j for j in range(columns) if visible[i][j]]
        row = [D[i][j] for j in seen]
        part = [[above[j] for j in seen] for above in found.basis]
        witness = _annihilator(part, row)
        if witness is None:
            found.coefficients.append(solve_rows(part, row))
            continue
        whole = [Fraction(0)] * columns
        for j, x in zip(seen, witness, strict=True):
            whole[j] = x
        found.new.append(i)
        found.witnesses.append(whole)
        found.basis.append(D[i])
        found.coefficients.append([Fraction(0)] * (len(found.basis) - 1) + [Fraction(1)])
    size = len(found.basis)
    padded = [row + [Fraction(0)] * (size - len(row)) for row in found.coefficients]
    return ExactCompletion(found.new, found.witnesses, found.basis, padded)


def _annihilator(part: Rationals, row: list[Fraction]) -> list[Fraction] | None:
    """A vector w with part · w = 0 and row · w != 0, or None if the row is in the span of part."""
    if not any(row):
        return None
    if not part:
        first = next(j for j, x in enumerate(row) if x)
        return [Fraction(int(j == first)) for j in range(len(row))]
    return next(
        (w for w in null_space(part) if sum(x * y for x, y in zip(row, w, strict=True))), None
    )
