"""Matrices as the checker holds them: exact, in integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.limits import MOST_BITS, Budget, digits, longest
from rankbound.certificates.checker.outcome import Rejected, shown

__all__ = [
    "ANY",
    "EXACT",
    "FLOAT",
    "INTEGER",
    "Dyadic",
    "Rows",
    "Table",
    "centred",
    "cleared_by_columns",
    "cleared_by_rows",
    "cleared_whole",
    "constant",
    "read_dyadic",
    "read_table",
    "transposed",
]

Rows = list[list[int]]

INTEGER = ("integer",)
FLOAT = ("float",)
EXACT = ("integer", "rational")
ANY = ("integer", "rational", "float")


@dataclass(frozen=True, eq=False)
class Table:
    """A matrix of rational numbers: entry (i, j) is numerators[i][j] / denominators[i][j]."""

    type: str
    rows: int
    columns: int
    numerators: Rows
    denominators: Rows


@dataclass(frozen=True, eq=False)
class Dyadic:
    """A matrix of integers times 2**exponent."""

    rows: int
    columns: int
    entries: Rows
    exponent: int


def read_table(
    value: object, where: str, types: tuple[str, ...], least_rows: int = 1, least_columns: int = 1
) -> Table:
    """A matrix of one of the types."""
    data = fields.keyed(value, where, ("type", "rows", "columns", "entries"))
    kind = fields.text(data["type"], f"the type of {where}")
    if kind not in types:
        raise Rejected(f"{where} is of type {shown(kind)}; expected {' or '.join(types)}.")
    rows = fields.size(data["rows"], f"the number of rows of {where}", least_rows)
    columns = fields.size(data["columns"], f"the number of columns of {where}", least_columns)
    entries = fields.items(data["entries"], where, rows * columns)
    if kind == "integer":
        ones = [1] * columns
        integers = [fields.integer(entry, where) for entry in entries]
        return Table(kind, rows, columns, _folded(integers, rows, columns), [ones] * rows)
    if kind == "float":
        pairs = [fields.floating(entry, where).as_integer_ratio() for entry in entries]
    else:
        pairs = [fields.rational(entry, where) for entry in entries]
    above, below = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Table(kind, rows, columns, _folded(above, rows, columns), _folded(below, rows, columns))


def read_dyadic(value: object, where: str, rows: int | None, columns: int | None) -> Dyadic:
    """A dyadic matrix of the shape given; None leaves that side of it open."""
    data = fields.keyed(value, where, ("rows", "columns", "entries", "exponent"))
    m = fields.size(data["rows"], f"the number of rows of {where}")
    n = fields.size(data["columns"], f"the number of columns of {where}")
    if (rows is not None and m != rows) or (columns is not None and n != columns):
        raise Rejected(
            f"{where} is {m} × {n}; expected {'any' if rows is None else rows} × "
            f"{'any' if columns is None else columns}."
        )
    entries = [
        fields.integer(entry, where) for entry in fields.items(data["entries"], where, m * n)
    ]
    return Dyadic(m, n, _folded(entries, m, n), fields.exponent(data["exponent"], where))


def constant(value: float, rows: int, columns: int) -> Table:
    """The matrix whose entries are all this float; its rows are one list, so do not write to it."""
    above, below = value.as_integer_ratio()
    return Table("float", rows, columns, [[above] * columns] * rows, [[below] * columns] * rows)


def transposed(rows: Rows, columns: int) -> Rows:
    """The transpose of a matrix of so many columns."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * columns


def cleared_by_rows(table: Table, budget: Budget) -> tuple[Rows, list[int]]:
    """Integers, and for each row the denominator that they are over."""
    cleared, over = [], []
    for above, below in zip(table.numerators, table.denominators, strict=True):
        common = _common(below, budget)
        cleared.append(_over(above, below, common, budget, table.rows))
        over.append(common)
    return cleared, over


def cleared_by_columns(table: Table, budget: Budget) -> tuple[Rows, list[int]]:
    """Integers, and for each column the denominator that they are over."""
    flipped = Table(
        table.type,
        table.columns,
        table.rows,
        transposed(table.numerators, table.columns),
        transposed(table.denominators, table.columns),
    )
    cleared, over = cleared_by_rows(flipped, budget)
    return transposed(cleared, table.rows), over


def cleared_whole(table: Table, budget: Budget) -> tuple[Rows, int]:
    """Integers, and the one denominator that they are over."""
    common = _common([_common(below, budget) for below in table.denominators], budget)
    return [
        _over(above, below, common, budget, table.rows)
        for above, below in zip(table.numerators, table.denominators, strict=True)
    ], common


def centred(table: Table, budget: Budget) -> Table:
    """C times the matrix: each entry less the mean of its column."""
    cleared, over = cleared_by_columns(table, budget)
    n = table.rows
    budget.hold(n * table.columns * (longest(cleared) + n.bit_length()), "the centred matrix")
    sums = [sum(column) for column in zip(*cleared, strict=True)]
    numerators = [[n * x - total for x, total in zip(row, sums, strict=True)] for row in cleared]
    return Table("rational", n, table.columns, numerators, [[n * common for common in over]] * n)


def _folded(entries: list[int], rows: int, columns: int) -> Rows:
    return [entries[i * columns : (i + 1) * columns] for i in range(rows)]


def _common(denominators: Sequence[int], budget: Budget) -> int:
    common = 1
    for below in denominators:
        if below == 1 or below == common:
            continue
        budget.spend(4 * digits(common.bit_length()) * digits(below.bit_length()), "a denominator")
        common = lcm(common, below)
        if common.bit_length() > MOST_BITS:
            raise Rejected(f"a common denominator has more than {MOST_BITS} bits, the limit.")
    return common


def _over(above: list[int], below: list[int], common: int, budget: Budget, rows: int) -> list[int]:
    if common == 1:
        return above
    bits, most = common.bit_length(), max(map(int.bit_length, above), default=1)
    budget.hold(rows * len(above) * (bits + most), "a matrix cleared of denominators")
    # the quotient costs at most digits(common)^2 / 4, its product with the numerator the rest
    budget.spend(len(above) * digits(bits) * (digits(bits) + digits(most)), "clearing denominators")
    return [x * (common // y) for x, y in zip(above, below, strict=True)]
