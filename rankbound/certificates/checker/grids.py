"""A matrix known to within errors, rounded down to a dyadic grid."""

from __future__ import annotations

from dataclasses import dataclass

from rankbound.certificates.checker.limits import Budget, digits, longest
from rankbound.certificates.checker.tables import Rows, Table

__all__ = ["Rounded", "residual", "rounded"]


@dataclass(frozen=True, eq=False)
class Rounded:
    """In units of 2**-grid; every matrix in question is within `errors` of `entries`."""

    entries: Rows
    errors: Rows


def rounded(
    matrix: Table,
    error: Table | None,
    row_shifts: list[int],
    columns: list[int],
    column_shifts: list[int],
    budget: Budget,
) -> Rounded:
    """The chosen columns, entry (i, j) times 2**(row shift i + column shift j), rounded down.

    The shifts are the statement's exponents with the grid's added to those of the rows.
    """
    widest = max(row_shifts) + max((column_shifts[j] for j in columns), default=0)
    deepest = min(row_shifts) + min((column_shifts[j] for j in columns), default=0)
    for table in (matrix,) if error is None else (matrix, error):
        bits = longest(table.numerators) + max(widest, 0)
        budget.hold(table.rows * len(columns) * bits, "the matrix on its grid")
        # dividing a by b digits costs about (a - b) b, never more than a^2 / 4
        length = digits(longest(table.denominators) + max(-deepest, 0))
        steps = digits(bits) * min(length, digits(bits) // 4 + 1)
        budget.spend(2 * table.rows * len(columns) * (200 + steps), "rounding to the grid")
    entries, errors = [], []
    for i, shift in enumerate(row_shifts):
        pairs = [
            _floor(matrix.numerators[i][j], matrix.denominators[i][j], shift + column_shifts[j])
            for j in columns
        ]
        entries.append([value for value, _ in pairs])
        if error is None:
            errors.append([inexact for _, inexact in pairs])
        else:
            above, below = error.numerators[i], error.denominators[i]
            errors.append(
                [
                    inexact - _floor(-above[j], below[j], shift + column_shifts[j])[0]
                    for j, (_, inexact) in zip(columns, pairs, strict=True)
                ]
            )
    return Rounded(entries, errors)


def _floor(above: int, below: int, shift: int) -> tuple[int, int]:
    """The floor of above / below * 2**shift, and 1 if that is not exact."""
    if not above:
        return 0, 0
    if shift >= 0:
        above <<= shift
    else:
        below <<= -shift
    value, rest = divmod(above, below)
    return value, 1 if rest else 0


def residual(product: Rows, exponent: int, budget: Budget) -> tuple[Rows, int, int]:
    """|I - product 2**exponent| in integers over one: the integers, the one, the shift applied.

    Numbers in the product's units must be shifted left by the last to be in the integers' units.
    """
    shift, one = max(exponent, 0), 1 << max(-exponent, 0)
    budget.hold(len(product) ** 2 * (longest(product) + shift), "the residual")
    return (
        [
            [abs((one if i == j else 0) - (x << shift)) for j, x in enumerate(row)]
            for i, row in enumerate(product)
        ],
        one,
        shift,
    )
