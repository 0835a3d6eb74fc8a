"""Certificates of kind unreachable: no head of any size has the context on the tokens given.

Vectors `left` over keys, which sums to zero, and `right` over queries, one of which the tokens X
map to zero. The logits of a head are X^T M X, so left^T L right = 0 for them and for L + 1 c^T.
Where the number is not 0 for the logits of a context, no head has it; where for log P it exceeds
ratio ‖left‖_1 ‖right‖_1, no head is that near.
"""

from __future__ import annotations

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.claimed import Statement, Unreachable, UnreachableWithin
from rankbound.certificates.checker.enclosures import (
    LEAST_GRID,
    Enclosures,
    logarithms,
    require_enclosable,
)
from rankbound.certificates.checker.limits import Budget, digits, longest
from rankbound.certificates.checker.outcome import Rejected
from rankbound.certificates.checker.products import row_sums
from rankbound.certificates.checker.tables import (
    EXACT,
    cleared_by_rows,
    cleared_whole,
    read_table,
    transposed,
)

__all__ = ["verify"]


def verify(statement: Statement, data: object, budget: Budget) -> str:
    """Return what was verified, or reject."""
    if not isinstance(statement, Unreachable | UnreachableWithin):
        raise Rejected(
            "a certificate of kind unreachable proves statements of kind unreachable and "
            "unreachable-within."
        )
    found = fields.keyed(data, "the data", ("left", "right"))
    n = statement.tokens.columns
    left, right = (_vector(found[name], name, n, budget) for name in ("left", "right"))
    if sum(left):
        raise Rejected("the left vector does not sum to zero.")
    tokens, _ = cleared_by_rows(statement.tokens, budget)
    null = [
        name
        for name, vector in (("left", left), ("right", right))
        if not any(row_sums(tokens, vector, budget))
    ]
    if not null:
        raise Rejected("the tokens map neither vector to zero.")
    if isinstance(statement, Unreachable):
        how = _not_zero(statement, left, right, budget)
    else:
        how = _beyond_ratio(statement, left, right, budget)
    return f"the left vector sums to zero, the tokens map the {null[0]} one to zero, and {how}"


def _vector(value: object, name: str, n: int, budget: Budget) -> list[int]:
    """Integers in the same ratios; a positive factor proves as much."""
    table = read_table(value, f"the {name} vector", EXACT)
    if (table.rows, table.columns) != (n, 1):
        raise Rejected(f"the {name} vector is {table.rows} × {table.columns}; expected {n} × 1.")
    return transposed(cleared_whole(table, budget)[0], 1)[0]


def _not_zero(statement: Unreachable, left: list[int], right: list[int], budget: Budget) -> str:
    logits, _ = cleared_whole(statement.logits, budget)
    between = row_sums(logits, right, budget)
    if not row_sums([left], between, budget)[0]:
        raise Rejected("the product of the logits with both vectors is zero.")
    return "their product with the logits is not zero"


def _beyond_ratio(
    statement: UnreachableWithin, left: list[int], right: list[int], budget: Budget
) -> str:
    """Each product of weights takes the bounds of its logarithm by its sign."""
    n = statement.context.rows
    require_enclosable(n)
    enclosures = Enclosures(LEAST_GRID, budget)
    low, high = logarithms(statement.context, enclosures)
    above, below = statement.ratio.as_integer_ratio()
    length = digits(longest([left])) + digits(longest([right])) + digits(longest([*low, *high]))
    budget.spend(n * n * length**2, "the product with the logarithms")
    least = most = 0
    for x, lows, highs in zip(left, low, high, strict=True):
        for y, first, last in zip(right, lows, highs, strict=True):
            ends = x * y * first, x * y * last
            least, most = least + min(ends), most + max(ends)
    moved = above * sum(map(abs, left)) * sum(map(abs, right)) * enclosures.one
    if max(least, -most) * below <= moved:
        raise Rejected("the product of the logarithms with both vectors is not beyond the ratio.")
    return "their product with the logarithms is more than the ratio allows"
