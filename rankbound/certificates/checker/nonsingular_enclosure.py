"""Certificates of kind nonsingular-enclosure: ‖I - R B‖ < 1 for every B in question.

The norm is the greatest row sum, which is submultiplicative, so every R B is nonsingular and
every B, hence every matrix that B is r columns of up to powers of two, has rank >= r.
"""

from __future__ import annotations

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.claimed import (
    LogRankWithin,
    Rank,
    RankUnderError,
    Statement,
    require_shape_bound,
)
from rankbound.certificates.checker.enclosures import log_differences
from rankbound.certificates.checker.grids import residual, rounded
from rankbound.certificates.checker.limits import Budget
from rankbound.certificates.checker.outcome import Rejected
from rankbound.certificates.checker.products import multiply, row_sums
from rankbound.certificates.checker.tables import Table, read_dyadic

__all__ = ["verify"]

KEYS = ("columns", "row_exponents", "column_exponents", "grid", "inverse")


def verify(statement: Statement, data: object, budget: Budget) -> str:
    """Return what was verified, or reject."""
    found = fields.keyed(data, "the data", KEYS)
    grid = fields.exponent(found["grid"], "the grid")
    match statement:
        case Rank(matrix=matrix):
            require_shape_bound(statement)
            error: Table | None = None
        case RankUnderError(matrix=matrix):
            error = statement.error
        case LogRankWithin():
            matrix, error = log_differences(statement.context, statement.ratio, grid + 20, budget)
        case _:
            raise Rejected(
                "a nonsingular enclosure proves statements of kind rank, rank-under-error and "
                "log-rank-within."
            )
    r = _prove(matrix, error, grid, found, budget)
    if r < statement.lower:
        raise Rejected(f"{r} columns are fewer than the lower bound {statement.lower}.")
    return f"every choice of the {r} columns is nonsingular by an approximate left inverse"


def _prove(
    matrix: Table, error: Table | None, grid: int, found: dict[str, object], budget: Budget
) -> int:
    """The number of columns proved independent."""
    columns = (
        list(range(matrix.columns))
        if found["columns"] is None
        else fields.distinct_indices(found["columns"], "the columns", matrix.columns)
    )
    down = fields.exponents(found["row_exponents"], "the row exponents", matrix.rows)
    across = fields.exponents(found["column_exponents"], "the column exponents", matrix.columns)
    inverse = read_dyadic(found["inverse"], "the inverse", len(columns), matrix.rows)
    known = rounded(matrix, error, [a + grid for a in down], columns, across, budget)
    product = multiply(inverse.entries, known.entries, len(columns), budget)
    distance, one, shift = residual(product, inverse.exponent - grid, budget)
    absolute = [[abs(x) for x in row] for row in inverse.entries]
    moved = row_sums(absolute, [sum(row) for row in known.errors], budget)
    for i, (row, more) in enumerate(zip(distance, moved, strict=True)):
        if sum(row) + (more << shift) >= one:
            raise Rejected(f"row {i} of I - R B, its errors included, does not sum to less than 1.")
    return len(columns)
