"""Matrices as the checker holds them, exact, in integers; their products; and what work may cost.

Work is counted before it is done, from sizes and bit lengths, in products of two 30-bit digits:
about a nanosecond each. So no certificate can keep the checker busy for hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import lcm
from operator import mul
from typing import NamedTuple

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.fields import MOST_BITS, Rejected, shown

Rows = list[list[int]]

INTEGER = ("integer",)
FLOAT = ("float",)
EXACT = ("integer", "rational")
ANY = ("integer", "rational", "float")
MOST_MATRIX_BITS = 2**31
MOST_WORK = 2**36


class Budget:
    """The work that is left for one check."""

    def __init__(self) -> None:
        self.left = MOST_WORK

    def spend(self, work: int, on: str) -> None:
        """Take `work` from what is left, or reject."""
        self.left -= work
        if self.left < 0:
            raise Rejected(
                f"{on} would take the check past its limit of 2^{MOST_WORK.bit_length() - 1} "
                "products of digits."
            )

    @staticmethod
    def hold(bits: int, what: str) -> None:
        """Reject a matrix too large for memory before it is made."""
        if bits > MOST_MATRIX_BITS:
            raise Rejected(
                f"{what} would take {bits} bits; the limit for one matrix is "
                f"2^{MOST_MATRIX_BITS.bit_length() - 1}."
            )


def digits(bits: int) -> int:
    """How many 30-bit digits an integer of so many bits takes; at least one."""
    return max(bits + 29, 30) // 30


def longest(rows: Iterable[Iterable[int]]) -> int:
    """The greatest bit length among the integers; at least 1."""
    return max((max(map(int.bit_length, row), default=1) for row in rows), default=1) or 1


class Shape(NamedTuple):
    """Rows and columns, as messages write them."""

    rows: int
    columns: int

    def __str__(self) -> str:
        return f"{self.rows} × {self.columns}"


def digits_of(rows: Iterable[Iterable[int]]) -> int:
    """How many digits the longest of the integers takes."""
    return digits(longest(rows))


@dataclass(frozen=True, eq=False)
class Table:
    """A matrix of rational numbers: entry (i, j) is numerators[i][j] / denominators[i][j]."""

    type: str
    rows: int
    columns: int
    numerators: Rows
    denominators: Rows

    @property
    def shape(self) -> Shape:
        """Rows and columns."""
        return Shape(self.rows, self.columns)

    def __str__(self) -> str:
        return f"{self.shape} {self.type}"


@dataclass(frozen=True, eq=False)
class Dyadic:
    """A matrix of integers times 2**exponent."""

    rows: int
    columns: int
    entries: Rows
    exponent: int


def read_table(
    value: object,
    where: str,
    types: tuple[str, ...],
    least_rows: int = 1,
    least_columns: int = 1,
    shape: tuple[int, int] | None = None,
) -> Table:
    """A matrix of one of the types, and of the shape if that is given."""
    data = fields.keyed(value, where, ("type", "rows", "columns", "entries"))
    kind = fields.text(data["type"], f"the type of {where}")
    if kind not in types:
        raise Rejected(f"{where} is of type {shown(kind)}; expected {' or '.join(types)}.")
    rows = fields.size(data["rows"], f"the number of rows of {where}", least_rows)
    columns = fields.size(data["columns"], f"the number of columns of {where}", least_columns)
    entries = fields.items(data["entries"], where, rows * columns)
    if kind == "integer":
        above, over = [fields.integer(entry, where) for entry in entries], [[1] * columns] * rows
    else:
        read = _ratio if kind == "float" else fields.rational
        pairs = [read(entry, where) for entry in entries]
        above = [numerator for numerator, _ in pairs]
        over = _folded([denominator for _, denominator in pairs], rows, columns)
    table = Table(kind, rows, columns, _folded(above, rows, columns), over)
    if shape is not None and table.shape != shape:
        raise Rejected(f"{where} is {table.shape}; expected {Shape(*shape)}.")
    return table


def _ratio(value: object, where: str) -> tuple[int, int]:
    return fields.floating(value, where).as_integer_ratio()


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
    above, below = (transposed(x, table.columns) for x in (table.numerators, table.denominators))
    flipped = Table(table.type, table.columns, table.rows, above, below)
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


# ---- products
#
# Exact products of integer matrices, a row packed into one big integer.


def multiply(left: Rows, right: Rows, columns: int, budget: Budget) -> Rows:
    """The product, `right` having so many columns.

    A row of `right` is packed into one integer, digits wide enough for every entry of the
    product and its sign; a row of the product is then a sum of numbers times packed rows.
    The factor with the shorter entries gives the numbers.
    """
    a, b = longest(left), longest(right)
    if a > b:
        flipped = _packed_product(
            transposed(right, columns), transposed(left, len(right)), len(left), b, a, budget
        )
        return transposed(flipped, len(left))
    return _packed_product(left, right, columns, a, b, budget)


def _packed_product(left: Rows, right: Rows, columns: int, a: int, b: int, budget: Budget) -> Rows:
    rows, inner = len(left), len(right)
    if not inner or not columns:
        return [[0] * columns for _ in left]
    # |entry| <= inner * (2^a - 1)(2^b - 1) < 2^(a + b + inner.bit_length()) <= 2^(8 width - 1)
    width = (a + b + inner.bit_length()) // 8 + 1
    budget.hold(max(rows, inner) * columns * 8 * width, "a product")
    work = rows * inner * (100 + digits(a) * digits(8 * width * columns))
    packing = (rows + inner) * columns * (300 + width)
    budget.spend(work + packing, f"a product of {rows} × {inner} × {columns}")
    offset = int.from_bytes((bytes(width - 1) + b"\x80") * columns, "little")
    packed = [_packed(row, width, offset) for row in right]
    return [_unpacked(sum(map(mul, row, packed)) + offset, width, columns) for row in left]


def _packed(row: list[int], width: int, offset: int) -> int:
    half = 1 << (8 * width - 1)
    return (
        int.from_bytes(b"".join([(x + half).to_bytes(width, "little") for x in row]), "little")
        - offset
    )


def _unpacked(packed: int, width: int, columns: int) -> list[int]:
    half = 1 << (8 * width - 1)
    data = packed.to_bytes(width * columns, "little")
    return [
        int.from_bytes(data[i : i + width], "little") - half
        for i in range(0, width * columns, width)
    ]


def row_sums(matrix: Rows, vector: list[int], budget: Budget) -> list[int]:
    """The matrix times a vector."""
    work = len(matrix) * len(vector) * digits_of(matrix) * digits_of([vector])
    budget.spend(work, "a product with a vector")
    return [sum(map(mul, row, vector)) for row in matrix]


def equals(
    product: Rows, row_over: list[int], column_over: list[int], target: Table, budget: Budget
) -> bool:
    """Whether product[i][j] / (row_over[i] * column_over[j]) is the target, entry by entry."""
    down, across = digits_of([row_over]), digits_of([column_over])
    work = down * across + digits_of(target.numerators) * (down + across)
    work += digits_of(product) * digits_of(target.denominators)
    budget.spend(target.rows * target.columns * work, "comparing a product")
    return all(
        x * below == above * (over * c)
        for row, over, aboves, belows in zip(
            product, row_over, target.numerators, target.denominators, strict=True
        )
        for x, c, above, below in zip(row, column_over, aboves, belows, strict=True)
    )
