"""Certificates of kind factorisation: left · right is the matrix, so the rank is at most s."""

from __future__ import annotations

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.claimed import LogitRank, LogRank, Rank, Statement
from rankbound.certificates.checker.limits import Budget
from rankbound.certificates.checker.modular import MINOR_KEYS
from rankbound.certificates.checker.nonzero_minor import prove_lower
from rankbound.certificates.checker.outcome import Rejected
from rankbound.certificates.checker.products import equals, multiply
from rankbound.certificates.checker.tables import (
    EXACT,
    Table,
    centred,
    cleared_by_columns,
    cleared_by_rows,
    cleared_whole,
    read_table,
    transposed,
)

__all__ = ["verify"]


def verify(statement: Statement, data: object, budget: Budget) -> str:
    """Return what was verified, or reject."""
    if not isinstance(statement, Rank | LogRank | LogitRank):
        raise Rejected("a factorisation proves statements of kind rank, log-rank and logit-rank.")
    found = fields.keyed(data, "the data", ("left", "right", "minor"))
    left = read_table(found["left"], "the left factor", EXACT, least_columns=0)
    right = read_table(found["right"], "the right factor", EXACT, least_rows=0)
    if left.columns != right.rows:
        raise Rejected(
            f"the left factor has {left.columns} columns and the right one {right.rows} rows."
        )
    if left.columns > statement.upper:
        raise Rejected(
            f"the factors have inner size {left.columns}, above the upper bound {statement.upper}."
        )
    lower = _lower(statement, found["minor"], budget)
    _require_product(left, right, _target(statement, budget), budget)
    return f"factors of inner size {left.columns} multiply to the matrix exactly; {lower}"


def _target(statement: Rank | LogRank | LogitRank, budget: Budget) -> Table:
    match statement:
        case Rank(matrix=table):
            return table
        case LogRank(logits=table):
            return centred(table, budget)
    n = statement.keys.columns
    keys, over_keys = cleared_whole(statement.keys, budget)
    queries, over_queries = cleared_whole(statement.queries, budget)
    product = multiply(transposed(keys, n), queries, n, budget)
    table = Table("rational", n, n, product, [[over_keys * over_queries] * n] * n)
    return centred(table, budget) if statement.centred else table


def _lower(statement: Rank | LogRank | LogitRank, minor: object, budget: Budget) -> str:
    if minor is not None:
        return prove_lower(statement, fields.keyed(minor, "the minor", MINOR_KEYS), budget)
    if statement.lower > 0:
        raise Rejected(f"there is no minor for the lower bound {statement.lower}.")
    return "the lower bound is 0"


def _require_product(left: Table, right: Table, target: Table, budget: Budget) -> None:
    if (left.rows, right.columns) != (target.rows, target.columns):
        raise Rejected(
            f"the product of the factors is {left.rows} × {right.columns}; "
            f"expected {target.rows} × {target.columns}."
        )
    first, over_rows = cleared_by_rows(left, budget)
    second, over_columns = cleared_by_columns(right, budget)
    product = multiply(first, second, right.columns, budget)
    if not equals(product, over_rows, over_columns, target, budget):
        raise Rejected("the product of the factors is not the matrix.")
