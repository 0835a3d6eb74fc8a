"""Sign ranks from below, by Forster's theorem in integers.

A real m × n matrix with the signs of H has a rank of at least ``sqrt(m n)/‖H‖_2``. With G the Gram
matrix of the rows or of the columns of H and B the greatest absolute row sum of G^p,
``‖H‖_2^{2p} = ‖G^p‖_2 <= B``.
"""

from __future__ import annotations

from math import isqrt

from rankbound.certificates.checker import fields, tables
from rankbound.certificates.checker.fields import Rejected
from rankbound.certificates.checker.statements import SignRank, Statement
from rankbound.certificates.checker.tables import Budget, Rows

POWERS = (1, 2, 4, 8)


def verify_forster(statement: Statement, data: object, budget: Budget) -> str:
    """A rank of less than the bound would be below sqrt(m n)/‖H‖_2."""
    if not isinstance(statement, SignRank):
        raise Rejected("Forster's bound proves statements of kind sign-rank.")
    power = read_power(fields.keyed(data, "the data", ("power",))["power"])
    signs = statement.signs
    norm = norm_power(signs.numerators, signs.columns, power, budget)
    least = max(statement.lower - 1, 0)
    if least ** (2 * power) * norm >= (signs.rows * signs.columns) ** power:
        raise Rejected(f"Forster's bound at power {power} does not exclude the rank {least}.")
    return f"‖H‖_2^{2 * power} is at most {fields.shown(norm)}, so the rank is above {least}"


def read_power(value: object) -> int:
    """The power of the Gram matrix: 1, 2, 4 or 8."""
    power = fields.size(value, "the power", 1, POWERS[-1])
    if power not in POWERS:
        raise Rejected(f"the power is {power}; expected one of {POWERS}.")
    return power


def norm_power(signs: Rows, columns: int, power: int, budget: Budget) -> int:
    """B with ``‖H‖_2^(2 power) <= B``, the better of that of the rows and that of the columns."""
    across = tables.transposed(signs, columns)
    bounds = []
    for left, right in ((signs, across), (across, signs)):
        gram = tables.multiply(left, right, len(left), budget)
        for _ in range(POWERS.index(power)):
            gram = tables.multiply(gram, gram, len(gram), budget)
        bounds.append(max(sum(map(abs, row)) for row in gram))
    return min(bounds)


def largest_rectangle(signs: Rows, rank: int, power: int, budget: Budget) -> int:
    """The most entries of a submatrix whose signs a matrix of this rank has: rank² ‖H‖_2² at most.

    Forster's theorem on the submatrix, whose norm is at most that of H; rounded down.
    """
    area: int = rank ** (2 * power) * norm_power(signs, len(signs[0]), power, budget)
    for _ in range(POWERS.index(power)):
        area = isqrt(area)
    return area
