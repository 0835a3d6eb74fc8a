"""Enclosures of logarithms and exponentials on a dyadic grid.

mpmath rounds, in the direction asked for, the approximation that it computed, and does not count
the error of that approximation: it can miss the value by a little (mpmath 1.3: 63 of 900 000
intervals did, of exp and log at 20, 53 and 113 bits). Hence GUARD bits more than the grid has, and
one unit of the grid added on either side: what mpmath computes may be wrong by 2^36 times its last
bit. Its functions of one number are called, which costs a quarter of its intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from rankbound.certificates.checker.fields import LARGEST_EXPONENT, Rejected
from rankbound.certificates.checker.tables import (
    Budget,
    Rows,
    Table,
    cleared_by_columns,
    digits,
    longest,
    transposed,
)

MOST_ENCLOSED = 256
LEAST_GRID = 128
GUARD = 48  # at most 12 for the size of a logarithm or exponent, and 36 for mpmath's own error


class Enclosures:
    """Bounds of exp and log, in units of 2**-grid."""

    def __init__(self, grid: int, budget: Budget) -> None:
        from mpmath import libmp

        self.grid = grid
        self.one = 1 << grid
        self._budget = budget
        self._mp = libmp
        self._bits = grid + GUARD

    def logarithm(self, low: int, high: int, below: int) -> tuple[int, int]:
        """Bounds of log(x / below) for every x from `low` to `high`, 0 < low <= high."""
        return self._outward(self._mp.mpf_log, low, high, below)

    def exponential(self, low: int, high: int) -> tuple[int, int]:
        """Bounds of exp(x 2**-grid) for every x from `low` to `high`, low <= high <= 0."""
        if high < -LARGEST_EXPONENT * self.one:  # exp(-4096) is below 2^-4096, so below a unit
            return 0, 1
        low = max(low, -2 * LARGEST_EXPONENT * self.one)
        below, above = self._outward(self._mp.mpf_exp, low, high, self.one)
        return max(below, 0), above

    def spend(self, count: int) -> None:
        """Pay for so many of them before they are computed."""
        self._budget.spend(count * (12000 + self._bits**2 // 5), f"{count} enclosures")

    def _outward(
        self, increasing: Callable[..., Any], low: int, high: int, below: int
    ) -> tuple[int, int]:
        """Bounds of an increasing function from low / below to high / below."""
        first = self._mp.from_rational(low, below, self._bits, "f")
        last = self._mp.from_rational(high, below, self._bits, "c")
        least = self._floor(increasing(first, self._bits, "f"))
        if first == last:  # rounded down likewise, by less than the unit that is added
            return least - 1, least + 2
        return least - 1, self._floor(increasing(last, self._bits, "c")) + 2

    def _floor(self, value: tuple[int, ...]) -> int:
        sign, mantissa, exponent, _ = value
        if not mantissa:
            if exponent:  # mpmath's infinities and nan
                raise Rejected("an enclosure is not finite.")
            return 0
        signed, shift = -int(mantissa) if sign else int(mantissa), int(exponent) + self.grid
        return signed << shift if shift >= 0 else signed >> -shift


def require_enclosable(n: int) -> None:
    """Reject a context larger than the limit for enclosures."""
    if n > MOST_ENCLOSED:
        raise Rejected(f"the context is {n} × {n}; the limit for enclosures is {MOST_ENCLOSED}.")


def logarithms(context: Table, enclosures: Enclosures) -> tuple[Rows, Rows]:
    """Lower and upper bounds of the logarithm of each entry."""
    enclosures.spend(context.rows * context.columns)
    bounds = [
        [enclosures.logarithm(x, x, below) for x, below in zip(above, over, strict=True)]
        for above, over in zip(context.numerators, context.denominators, strict=True)
    ]
    return [[low for low, _ in row] for row in bounds], [
        [high for _, high in row] for row in bounds
    ]


def normalised_logarithms(context: Table, enclosures: Enclosures) -> tuple[Rows, Rows]:
    """Lower and upper bounds of the logarithm of each entry over the sum of its column."""
    low, high = logarithms(context, enclosures)
    enclosures.spend(context.columns)
    sums = []
    for j in range(context.columns):
        pairs = zip(context.numerators, context.denominators, strict=True)
        total = sum((Fraction(above[j], below[j]) for above, below in pairs), Fraction(0))
        sums.append(enclosures.logarithm(total.numerator, total.numerator, total.denominator))
    return (
        [[x - most for x, (_, most) in zip(row, sums, strict=True)] for row in low],
        [[x - least for x, (least, _) in zip(row, sums, strict=True)] for row in high],
    )


def softmax_logarithms(logits: Table, enclosures: Enclosures, budget: Budget) -> tuple[Rows, Rows]:
    """Lower and upper bounds of the logarithm of each entry of the column softmax."""
    rows, over = cleared_by_columns(logits, budget)
    bits = longest(rows) + enclosures.grid
    budget.spend(logits.rows * logits.columns * digits(bits) * digits(longest([over])), "exponents")
    enclosures.spend((logits.rows + 1) * logits.columns)
    lows, highs = [], []
    for column, below in zip(transposed(rows, logits.columns), over, strict=True):
        scaled = [(x - max(column)) * enclosures.one for x in column]
        floors, ceilings = [x // below for x in scaled], [-(-x // below) for x in scaled]
        powers = [enclosures.exponential(*pair) for pair in zip(floors, ceilings, strict=True)]
        least, most = (sum(side) for side in zip(*powers, strict=True))
        low, high = enclosures.logarithm(least, most, enclosures.one)
        lows.append([x - high for x in floors])
        highs.append([x - low for x in ceilings])
    return transposed(lows, logits.rows), transposed(highs, logits.rows)


def log_differences(
    context: Table, ratio: float, precision: int, budget: Budget
) -> tuple[Table, Table]:
    """The matrix D[i - 1, j] = log P[i, j] - log P[0, j], and how far it may be from any D of a Q.

    D and C log Q have equal ranks, since both kill exactly the gauge; |log Q - log P| <= ratio
    moves a difference by at most 2 ratio.
    """
    n = context.rows
    if n == 1:
        raise Rejected("the context is 1 × 1: it has no differences of logarithms.")
    enclosures = Enclosures(max(LEAST_GRID, precision), budget)
    low, high = logarithms(context, enclosures)
    above, below = ratio.as_integer_ratio()
    one, over = enclosures.one, [[enclosures.one * below] * n] * (n - 1)
    centre = [
        [(x - first) * below for x, first in zip(row, high[0], strict=True)] for row in low[1:]
    ]
    error = [
        [
            ((x - first) - (y - last)) * below + 2 * above * one
            for x, first, y, last in zip(row, low[0], other, high[0], strict=True)
        ]
        for row, other in zip(high[1:], low[1:], strict=True)
    ]
    return Table("rational", n - 1, n, centre, over), Table("rational", n - 1, n, error, over)


def centred_logs(context: Table, precision: int, budget: Budget) -> tuple[Table, Table]:
    """The matrix C log P, and how far its enclosure may be from it."""
    n = context.rows
    enclosures = Enclosures(max(LEAST_GRID, precision), budget)
    low, high = logarithms(context, enclosures)
    least, most = ([sum(column) for column in zip(*rows, strict=True)] for rows in (low, high))
    over = [[n * enclosures.one] * n] * n
    centre = [[n * x - top for x, top in zip(row, most, strict=True)] for row in low]
    error = [
        [n * (y - x) + top - bottom for x, y, top, bottom in zip(*rows, most, least, strict=True)]
        for rows in zip(low, high, strict=True)
    ]
    return Table("rational", n, n, centre, over), Table("rational", n, n, error, over)


def rounded(
    matrix: Table,
    error: Table | None,
    row_shifts: list[int],
    columns: list[int],
    column_shifts: list[int],
    budget: Budget,
) -> tuple[Rows, Rows]:
    """The chosen columns, entry (i, j) times 2**(row shift i + column shift j), and their errors.

    The shifts are the statement's exponents with the grid's added to those of the rows. Every
    matrix in question is within the errors of the entries, which are rounded down.
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
    return entries, errors


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
