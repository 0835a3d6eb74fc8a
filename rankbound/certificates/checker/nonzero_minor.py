"""Certificates of kind nonzero-minor: a minor of r rows that is not zero, so the rank is >= r."""

from __future__ import annotations

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.claimed import (
    LogitRank,
    LogRank,
    Rank,
    Statement,
    require_shape_bound,
)
from rankbound.certificates.checker.limits import Budget
from rankbound.certificates.checker.modular import MINOR_KEYS, read_minor, require_unit, residues
from rankbound.certificates.checker.outcome import Rejected
from rankbound.certificates.checker.products import multiply
from rankbound.certificates.checker.tables import Rows, Table, transposed

__all__ = ["prove_lower", "verify"]


def verify(statement: Statement, data: object, budget: Budget) -> str:
    """Return what was verified, or reject."""
    if not isinstance(statement, Rank | LogRank | LogitRank):
        raise Rejected("a nonzero minor proves statements of kind rank, log-rank and logit-rank.")
    require_shape_bound(statement)
    minor = fields.keyed(data, "the data", MINOR_KEYS)
    return f"{prove_lower(statement, minor, budget)}; the upper bound is that of the shape"


def prove_lower(
    statement: Rank | LogRank | LogitRank, minor: dict[str, object], budget: Budget
) -> str:
    """Prove the lower bound by the minor and say how, or reject."""
    match statement:
        case Rank(matrix=table):
            rows, columns, modulus = read_minor(minor, table.rows, table.columns)
            part = residues(table, rows, columns, modulus, budget)
        case LogRank(logits=table):
            rows, columns, modulus = read_minor(minor, table.rows, table.columns)
            part = _centred_residues(table, rows, columns, modulus, budget)
        case LogitRank(keys=keys):
            rows, columns, modulus = read_minor(minor, keys.columns, keys.columns)
            part = _logit_residues(statement, rows, columns, modulus, budget)
    if len(rows) < statement.lower:
        raise Rejected(
            f"the minor has {len(rows)} rows, fewer than the lower bound {statement.lower}."
        )
    require_unit(part, modulus, budget)
    return f"the {len(rows)} × {len(rows)} minor is not zero modulo {modulus:#x}"


def _centred_residues(
    table: Table, rows: list[int], columns: list[int], modulus: int, budget: Budget
) -> Rows:
    """The chosen part of n C times the matrix, modulo m."""
    n = table.rows
    every = residues(table, list(range(n)), columns, modulus, budget)
    sums = [sum(column) for column in zip(*every, strict=True)]
    return [[(n * x - s) % modulus for x, s in zip(every[i], sums, strict=True)] for i in rows]


def _logit_residues(
    statement: LogitRank, rows: list[int], columns: list[int], modulus: int, budget: Budget
) -> Rows:
    """The chosen part of K^T Q, or of n C K^T Q = (n K C)^T Q, modulo m."""
    size, n = statement.keys.rows, statement.keys.columns
    every = list(range(size))
    queries = residues(statement.queries, every, columns, modulus, budget)
    if statement.centred:
        keys = residues(statement.keys, every, list(range(n)), modulus, budget)
        keys = [[(n * row[i] - sum(row)) % modulus for i in rows] for row in keys]
    else:
        keys = residues(statement.keys, every, rows, modulus, budget)
    product = multiply(transposed(keys, len(rows)), queries, len(columns), budget)
    return [[x % modulus for x in row] for row in product]
