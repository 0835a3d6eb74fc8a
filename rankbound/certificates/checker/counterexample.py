"""Certificates of kind counterexample: a head of size k whose context has rank above k."""

from __future__ import annotations

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.claimed import RankAboveHeadSize, Statement
from rankbound.certificates.checker.limits import Budget
from rankbound.certificates.checker.modular import MINOR_KEYS, read_minor, require_unit
from rankbound.certificates.checker.outcome import Rejected
from rankbound.certificates.checker.products import multiply
from rankbound.certificates.checker.tables import transposed

__all__ = ["verify"]


def verify(statement: Statement, data: object, budget: Budget) -> str:
    """Return what was verified, or reject."""
    if not isinstance(statement, RankAboveHeadSize):
        raise Rejected("a counterexample proves statements of kind rank-above-head-size.")
    exponents, size, n = statement.exponents.numerators, statement.keys.rows, statement.keys.columns
    minor = fields.keyed(data, "the data", MINOR_KEYS)
    rows, columns, modulus = read_minor(minor, n, n)
    if len(rows) <= size:
        raise Rejected(f"the minor has {len(rows)} rows; expected more than the head size {size}.")
    keys = transposed(statement.keys.numerators, n)
    logits = multiply(keys, statement.queries.numerators, n, budget)
    for j in range(n):
        if len({row[j] - powers[j] for row, powers in zip(logits, exponents, strict=True)}) > 1:
            raise Rejected(f"column {j} of the logits and the exponents differ by no constant.")
    require_unit(
        [[pow(2, exponents[i][j], modulus) for j in columns] for i in rows], modulus, budget
    )
    return (
        f"the logits are the exponents up to the gauge, and the {len(rows)} × {len(rows)} minor "
        f"of 2^exponents is not zero modulo {modulus:#x}"
    )
