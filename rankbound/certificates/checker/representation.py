"""Certificates of kind representation: the head is given, so multiply it out."""

from __future__ import annotations

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.claimed import RepresentedExactly, RepresentedWithin, Statement
from rankbound.certificates.checker.enclosures import (
    LEAST_GRID,
    Enclosures,
    normalised_logarithms,
    require_enclosable,
)
from rankbound.certificates.checker.limits import Budget, digits, longest
from rankbound.certificates.checker.outcome import Rejected
from rankbound.certificates.checker.products import equals, multiply
from rankbound.certificates.checker.tables import (
    Table,
    centred,
    cleared_by_columns,
    cleared_whole,
    transposed,
)

__all__ = ["verify"]


def verify(statement: Statement, data: object, budget: Budget) -> str:
    """Return what was verified, or reject."""
    fields.keyed(data, "the data", ())
    match statement:
        case RepresentedExactly():
            return _exactly(statement, budget)
        case RepresentedWithin():
            return _within(statement, budget)
        case _:
            raise Rejected(
                "a representation proves statements of kind represented-exactly and "
                "represented-within."
            )


def _exactly(statement: RepresentedExactly, budget: Budget) -> str:
    n = statement.logits.rows
    if statement.tokens is None:
        keys, over_keys = cleared_by_columns(statement.keys, budget)
        queries, over_queries = cleared_by_columns(statement.queries, budget)
    else:
        tokens, over = cleared_by_columns(statement.tokens, budget)
        W_k, over_k = cleared_whole(statement.keys, budget)
        W_q, over_q = cleared_whole(statement.queries, budget)
        keys = multiply(W_k, tokens, n, budget)
        queries = multiply(W_q, tokens, n, budget)
        over_keys = [over_k * common for common in over]
        over_queries = [over_q * common for common in over]
    product = multiply(transposed(keys, n), queries, n, budget)
    target = centred(statement.logits, budget)
    if equals(product, over_keys, over_queries, target, budget):
        return "the head's logits are the centred logits exactly"
    length = digits(longest([over_keys])) * digits(longest([over_queries]))
    budget.spend(n * n * (100 + length), "the denominators of the logits")
    below = [[x * y for y in over_queries] for x in over_keys]
    own = centred(Table("rational", n, n, product, below), budget)
    if not equals(own.numerators, [1] * n, own.denominators[0], target, budget):
        raise Rejected("the head's logits are not the logits given, in any gauge.")
    return "the head's logits, centred, are the centred logits exactly"


def _within(statement: RepresentedWithin, budget: Budget) -> str:
    n = statement.context.rows
    require_enclosable(n)
    above, below = statement.scale.as_integer_ratio()
    keys, over_keys = cleared_whole(statement.keys, budget)
    queries, over_queries = cleared_whole(statement.queries, budget)
    if statement.tokens is not None:
        tokens, over_tokens = cleared_whole(statement.tokens, budget)
        keys, queries = (multiply(W, tokens, n, budget) for W in (keys, queries))
        over_keys, over_queries = over_keys * over_tokens, over_queries * over_tokens
    product = multiply(transposed(keys, n), queries, n, budget)
    columns = [[x * above for x in column] for column in transposed(product, n)]
    over = over_keys * over_queries * below
    enclosures = Enclosures(LEAST_GRID, budget)
    low, high = (
        transposed(bounds, n) for bounds in normalised_logarithms(statement.context, enclosures)
    )
    enclosures.spend(n * n + n)
    for j, column in enumerate(columns):
        distance = _distance(column, over, low[j], high[j], enclosures)
        if not _at_most(distance, statement.ratio, enclosures):
            raise Rejected(f"column {j} of the head's context is not proved within the ratio.")
    return "every entry of the head's context is enclosed within the ratio"


def _distance(
    logits: list[int], over: int, low: list[int], high: list[int], enclosures: Enclosures
) -> int:
    """A bound, in units of the grid, of |log Q - log P| in one column; the logits are over `over`.

    The greatest logit is taken off first, which leaves Q as it is and every exponent <= 0.
    """
    greatest = max(logits)
    below = [(x - greatest) * enclosures.one // over for x in logits]
    above = [-((greatest - x) * enclosures.one // over) for x in logits]
    powers = [enclosures.exponential(x, y) for x, y in zip(below, above, strict=True)]
    least, most = enclosures.logarithm(
        sum(x for x, _ in powers), sum(y for _, y in powers), enclosures.one
    )
    return max(
        max(abs(x - most - last), abs(y - least - first))
        for x, y, first, last in zip(below, above, low, high, strict=True)
    )


def _at_most(distance: int, ratio: float, enclosures: Enclosures) -> bool:
    above, below = ratio.as_integer_ratio()
    return distance * below <= above * enclosures.one
