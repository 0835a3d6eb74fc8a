"""Which sets of keys some query prefers: queries that show it, and Radon partitions that refute it.

Keys are the columns of an exact matrix; the score of a key is its product with the query. A query
selects a set if each key of the set has a larger score than each key outside.
"""

from __future__ import annotations

from itertools import chain, combinations
from math import comb

from rankbound.certificates.checker import fields, tables
from rankbound.certificates.checker.fields import Rejected
from rankbound.certificates.checker.statements import Selectable, Statement, Unselectable
from rankbound.certificates.checker.tables import EXACT, Budget

MOST_SETS = 2**16


def verify_selecting_queries(statement: Statement, data: object, budget: Budget) -> str:
    """One query per set, in the order of size and then of members, selects it."""
    if not isinstance(statement, Selectable):
        raise Rejected("selecting queries prove statements of kind selectable.")
    found = fields.keyed(data, "the data", ("queries",))
    n, most = statement.keys.columns, statement.most
    count = sum(comb(n, size) for size in range(1, most + 1))
    if count > MOST_SETS:
        raise Rejected(f"there are {count} sets; the limit is {MOST_SETS}.")
    queries = tables.read_table(
        found["queries"], "the matrix of queries", EXACT, shape=(statement.keys.rows, count)
    )
    keys, _ = tables.cleared_whole(statement.keys, budget)
    vectors, _ = tables.cleared_whole(queries, budget)
    scores = tables.multiply(tables.transposed(vectors, count), keys, n, budget)
    sets = chain.from_iterable(combinations(range(n), size) for size in range(1, most + 1))
    for members, row in zip(sets, scores, strict=True):
        inside = [row[i] for i in members]
        outside = [row[i] for i in range(n) if i not in members]
        if outside and max(outside) >= min(inside):
            raise Rejected(f"the query of the set {list(members)} does not select it.")
    return f"each of the {count} sets is selected by its query"


def verify_radon_partition(statement: Statement, data: object, budget: Budget) -> str:
    """A point that is a mean of keys of the set and of keys outside it."""
    if not isinstance(statement, Unselectable):
        raise Rejected("a Radon partition proves statements of kind unselectable.")
    found = fields.keyed(data, "the data", ("weights",))
    n = statement.keys.columns
    table = tables.read_table(found["weights"], "the weights", EXACT, shape=(n, 1))
    weights = tables.transposed(tables.cleared_whole(table, budget)[0], 1)[0]
    members = set(statement.members)
    for i, x in enumerate(weights):
        if x and (x > 0) != (i in members):
            raise Rejected(f"weight {i} is not positive inside the set and negative outside.")
    if not any(weights) or sum(weights) != 0:
        raise Rejected("the weights are all zero, or do not sum to zero.")
    keys, _ = tables.cleared_by_rows(statement.keys, budget)
    if any(tables.row_sums(keys, weights, budget)):
        raise Rejected("the weighted keys do not sum to zero.")
    return "a mean of keys of the set is a mean of keys outside it"
