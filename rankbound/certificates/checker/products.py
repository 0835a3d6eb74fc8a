"""Exact products of integer matrices, a row packed into one big integer."""

from __future__ import annotations

from operator import mul

from rankbound.certificates.checker.limits import Budget, digits, longest
from rankbound.certificates.checker.tables import Rows, Table, transposed

__all__ = ["equals", "multiply", "row_sums"]


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
    work = len(matrix) * len(vector) * digits(longest(matrix)) * digits(longest([vector]))
    budget.spend(work, "a product with a vector")
    return [sum(map(mul, row, vector)) for row in matrix]


def equals(
    product: Rows, row_over: list[int], column_over: list[int], target: Table, budget: Budget
) -> bool:
    """Whether product[i][j] / (row_over[i] * column_over[j]) is the target, entry by entry."""
    across = digits(longest([row_over])) * digits(longest([column_over]))
    scaled = digits(longest(target.numerators)) * (
        digits(longest([row_over])) + digits(longest([column_over]))
    )
    plain = digits(longest(product)) * digits(longest(target.denominators))
    budget.spend(target.rows * target.columns * (across + scaled + plain), "comparing a product")
    return all(
        x * below == above * (over * c)
        for row, over, aboves, belows in zip(
            product, row_over, target.numerators, target.denominators, strict=True
        )
        for x, c, above, below in zip(row, column_over, aboves, belows, strict=True)
    )
