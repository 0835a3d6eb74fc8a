"""Certificates of kind spectral-gap: α >= ‖I - R A V‖_2 for every A in question, and α < 1.

Then 1 - α <= s_r(R A V) <= ‖R‖_2 s_r(A) ‖V‖_2. The norm must be the spectral one: with the greatest
row sum alone the bound is false (R = I, A = I - 1 e_1^T / 2); sqrt(‖·‖_1 ‖·‖_∞) is never below it.
For `log-rank-within`, A = C log P and s_r(A) > n ratio >= ‖C (log Q - log P)‖_2 proves
rank(C log Q) >= r (Weyl).
"""

from __future__ import annotations

from fractions import Fraction

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.claimed import LogRankWithin, SingularValue, Statement
from rankbound.certificates.checker.enclosures import centred_logs
from rankbound.certificates.checker.grids import Rounded, residual, rounded
from rankbound.certificates.checker.limits import Budget
from rankbound.certificates.checker.outcome import Rejected
from rankbound.certificates.checker.products import multiply, row_sums
from rankbound.certificates.checker.tables import Dyadic, Rows, read_dyadic, transposed

__all__ = ["verify"]


def verify(statement: Statement, data: object, budget: Budget) -> str:
    """Return what was verified, or reject."""
    found = fields.keyed(data, "the data", ("compression", "inverse", "grid"))
    grid = fields.exponent(found["grid"], "the grid")
    match statement:
        case SingularValue(matrix=matrix, error=error):
            pass
        case LogRankWithin():
            matrix, error = centred_logs(statement.context, grid + 20, budget)
        case _:
            raise Rejected(
                "a spectral gap proves statements of kind singular-value and log-rank-within."
            )
    V = read_dyadic(found["compression"], "the compression", matrix.columns, None)
    R = read_dyadic(found["inverse"], "the inverse", V.columns, matrix.rows)
    every = list(range(matrix.columns))
    known = rounded(matrix, error, [grid] * matrix.rows, every, [0] * matrix.columns, budget)
    alpha_squared = _alpha_squared(known, R, V, grid, budget)
    if alpha_squared >= 1:
        raise Rejected("the bound of the spectral norm of I - R A V is not below 1.")
    if isinstance(statement, LogRankWithin):
        if V.columns < statement.lower:
            raise Rejected(
                f"the compression has {V.columns} columns, fewer than the lower bound "
                f"{statement.lower}."
            )
        _require_above(matrix.rows * Fraction(statement.ratio), alpha_squared, R, V, budget)
        return f"singular value {V.columns} of C log P is above n times the ratio"
    if V.columns != statement.index:
        raise Rejected(
            f"the compression has {V.columns} columns; expected the index, {statement.index}."
        )
    _require_bound(statement.bound, alpha_squared, R, V, budget)
    return "1 - ‖I - R A V‖ over ‖R‖ ‖V‖ reaches the bound for every matrix in question"


def _alpha_squared(known: Rounded, R: Dyadic, V: Dyadic, grid: int, budget: Budget) -> Fraction:
    """‖M‖_1 ‖M‖_∞ of M = |I - R A^ V| + |R| e |V|, from row and column sums."""
    product = multiply(R.entries, known.entries, V.rows, budget)
    product = multiply(product, V.entries, V.columns, budget)
    distance, one, shift = residual(product, R.exponent - grid + V.exponent, budget)
    left, right = _absolute(R.entries), _absolute(V.entries)
    rows = row_sums(left, row_sums(known.errors, [sum(row) for row in right], budget), budget)
    columns = _column_sums(
        right, _column_sums(known.errors, _totals(left, R.columns), budget), budget
    )
    greatest_row = max(
        (sum(row) + (more << shift) for row, more in zip(distance, rows, strict=True)), default=0
    )
    greatest_column = max(
        (
            total + (more << shift)
            for total, more in zip(_totals(distance, V.columns), columns, strict=True)
        ),
        default=0,
    )
    return Fraction(greatest_row * greatest_column, one * one)


def _require_bound(
    bound: float, alpha_squared: Fraction, R: Dyadic, V: Dyadic, budget: Budget
) -> None:
    """Reject unless (1 - α) >= bound ‖R‖ ‖V‖, by squares: α and the norms are square roots."""
    wanted = Fraction(bound) ** 2 * _squared_norms(R, V, budget)
    # sqrt(a) + sqrt(b) <= 1 for a, b >= 0 iff a + b <= 1 and 4 a b <= (1 - a - b)^2
    rest = 1 - alpha_squared - wanted
    if rest < 0 or 4 * alpha_squared * wanted > rest * rest:
        raise Rejected("(1 - α) / (‖R‖ ‖V‖) does not reach the bound.")


def _require_above(
    radius: Fraction, alpha_squared: Fraction, R: Dyadic, V: Dyadic, budget: Budget
) -> None:
    """Reject unless (1 - α) > radius ‖R‖ ‖V‖, strictly; α < 1 is known."""
    moved = radius**2 * _squared_norms(R, V, budget)
    rest = 1 - alpha_squared - moved
    if rest <= 0 or 4 * alpha_squared * moved >= rest * rest:
        raise Rejected("(1 - α) / (‖R‖ ‖V‖) is not above n times the ratio.")


def _squared_norms(R: Dyadic, V: Dyadic, budget: Budget) -> Fraction:
    """‖R R^T‖_∞ ‖V^T V‖_∞, never below ‖R‖_2² ‖V‖_2²."""
    gram_R = multiply(R.entries, transposed(R.entries, R.columns), R.rows, budget)
    gram_V = multiply(transposed(V.entries, V.columns), V.entries, V.columns, budget)
    return Fraction(_norm(gram_R) * _norm(gram_V)) * Fraction(4) ** (R.exponent + V.exponent)


def _norm(gram: Rows) -> int:
    return max((sum(map(abs, row)) for row in gram), default=0)


def _absolute(matrix: Rows) -> Rows:
    return [[abs(x) for x in row] for row in matrix]


def _totals(matrix: Rows, columns: int) -> list[int]:
    return [sum(column) for column in transposed(matrix, columns)]


def _column_sums(matrix: Rows, weights: list[int], budget: Budget) -> list[int]:
    """The transpose of the matrix times a vector."""
    columns = len(matrix[0]) if matrix else 0
    return row_sums(transposed(matrix, columns), weights, budget)
