"""Certificates of kind masked-witness: bounds of the rank that hidden logits leave open.

Keys i_1, …, i_r, a reference key and directions w_1, …, w_r over queries such that every query in
the support of w_t sees the reference and i_1, …, i_t. With D_s the row of key i_s less the
reference's, D_s w_t depends neither on what is hidden nor on the gauge for s <= t; if it is 0 for
s < t and not 0 for s = t, the matrix (D_s w_t) is triangular with a diagonal free of zeros for
every completion, so every completion has rank at least r. Keys and queries whose logits are the
given ones on the mask, up to a constant in each column, bound the least rank from above.
"""

from __future__ import annotations

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.claimed import MaskedLogRank, Statement
from rankbound.certificates.checker.limits import Budget
from rankbound.certificates.checker.outcome import Rejected
from rankbound.certificates.checker.products import multiply
from rankbound.certificates.checker.tables import (
    EXACT,
    Table,
    cleared_by_columns,
    cleared_whole,
    read_table,
    transposed,
)

__all__ = ["verify"]

KEYS = ("rows", "reference", "directions", "keys", "queries")


def verify(statement: Statement, data: object, budget: Budget) -> str:
    """Return what was verified, or reject."""
    if not isinstance(statement, MaskedLogRank):
        raise Rejected("a masked witness proves statements of kind masked-log-rank.")
    found = fields.keyed(data, "the data", KEYS)
    n = statement.logits.rows
    rows = fields.distinct_indices(found["rows"], "the rows", n)
    reference = fields.size(found["reference"], "the reference", 0, n - 1)
    directions = read_table(found["directions"], "the matrix of directions", EXACT, 1, 0)
    if (directions.rows, directions.columns) != (n, len(rows)):
        raise Rejected(
            f"the directions are {directions.rows} × {directions.columns}; "
            f"expected {n} × {len(rows)}."
        )
    if len(rows) < statement.lower:
        raise Rejected(
            f"there are {len(rows)} witnesses, fewer than the lower bound {statement.lower}."
        )
    _require_triangular(statement, rows, reference, directions, budget)
    upper = _upper(statement, found["keys"], found["queries"], budget)
    return f"{len(rows)} witnesses are triangular on what is visible; {upper}"


def _require_triangular(
    statement: MaskedLogRank, rows: list[int], reference: int, directions: Table, budget: Budget
) -> None:
    visible = statement.visible
    for t in range(len(rows)):
        for j in range(len(visible)):
            if directions.numerators[j][t] and not (
                visible[reference][j] and all(visible[i][j] for i in rows[: t + 1])
            ):
                raise Rejected(f"direction {t} uses query {j}, from which a needed key is hidden.")
    logits, _ = cleared_whole(statement.logits, budget)
    W, _ = cleared_by_columns(directions, budget)
    differences = [[x - y for x, y in zip(logits[i], logits[reference], strict=True)] for i in rows]
    values = multiply(differences, W, len(rows), budget)
    for s, row in enumerate(values):
        if not row[s]:
            raise Rejected(f"witness {s} is zero.")
        if any(row[s + 1 :]):
            raise Rejected(f"row {s} of the witnesses is not zero beyond its diagonal.")


def _upper(statement: MaskedLogRank, keys: object, queries: object, budget: Budget) -> str:
    n = statement.logits.rows
    if keys is None and queries is None:
        if statement.upper < n - 1:
            raise Rejected(f"no head is given for the upper bound {statement.upper}.")
        return "the upper bound is that of the shape"
    first = read_table(keys, "the matrix of keys", EXACT, 0)
    second = read_table(queries, "the matrix of queries", EXACT, 0)
    if (first.rows, first.columns) != (second.rows, second.columns) or first.columns != n:
        raise Rejected("the keys and queries are not of one shape, with a column a token.")
    if first.rows > statement.upper:
        raise Rejected(f"the head has size {first.rows}, above the bound {statement.upper}.")
    left, over_left = cleared_whole(first, budget)
    right, over_right = cleared_whole(second, budget)
    logits, over = cleared_whole(statement.logits, budget)
    product = multiply(transposed(left, n), right, n, budget)
    scale = over_left * over_right
    budget.spend(4 * n * n * 64, "the comparison of logits")
    for j in range(n):
        seen = [i for i in range(n) if statement.visible[i][j]]
        if len({product[i][j] * over - logits[i][j] * scale for i in seen}) > 1:
            raise Rejected(f"column {j} of the head's logits differs from those given.")
    return f"a head of size {first.rows} has the logits on the mask"
