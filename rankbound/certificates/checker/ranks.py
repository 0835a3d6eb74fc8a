"""Certificates about ranks: minors, factorisations, approximate inverses, singular values.

Each ``verify`` function says what it verified, or rejects.
"""

from __future__ import annotations

from fractions import Fraction
from math import gcd

from rankbound.certificates.checker import fields, statements, tables
from rankbound.certificates.checker.enclosures import (
    centred_logs,
    log_differences,
    residual,
    rounded,
)
from rankbound.certificates.checker.fields import Rejected
from rankbound.certificates.checker.tables import Budget, Dyadic, Rows, Shape, Table

# Minors modulo m: not zero there, hence not zero.
#
# The integers, and the rationals whose denominators are prime to m, map to the integers modulo m by
# a ring homomorphism, so a determinant maps to the determinant of the residues. If that is a unit,
# the determinant is not zero, be m prime or not.


MINOR_KEYS = ("rows", "columns", "prime")
MOST_MINOR = 512


def read_minor(
    data: dict[str, object], rows: int, columns: int
) -> tuple[list[int], list[int], int]:
    """The chosen rows, the chosen columns, and the modulus."""
    chosen_rows = fields.distinct_indices(data["rows"], "the minor's rows", rows)
    chosen_columns = fields.distinct_indices(data["columns"], "the minor's columns", columns)
    if len(chosen_rows) != len(chosen_columns):
        raise Rejected(
            f"the minor has {len(chosen_rows)} rows and {len(chosen_columns)} columns; "
            "expected as many."
        )
    if len(chosen_rows) > MOST_MINOR:
        raise Rejected(f"the minor has {len(chosen_rows)} rows; the limit is {MOST_MINOR}.")
    modulus = fields.integer(data["prime"], "the prime")
    if not 2 <= modulus < 2**64:
        raise Rejected("the prime is out of bounds; expected 2 to 2^64 - 1.")
    return chosen_rows, chosen_columns, modulus


def residues(
    table: Table, rows: list[int], columns: list[int], modulus: int, budget: Budget
) -> Rows:
    """The chosen part of a matrix modulo m."""
    length = tables.digits_of(table.numerators) + tables.digits_of(table.denominators)
    budget.spend(len(rows) * len(columns) * (2000 + 3 * length), "reducing a matrix")
    inverse = {
        below: _inverse(below, modulus)
        for below in {table.denominators[i][j] for i in rows for j in columns}
    }
    chosen = [(table.numerators[i], table.denominators[i]) for i in rows]
    return [[above[j] * inverse[below[j]] % modulus for j in columns] for above, below in chosen]


def _inverse(below: int, modulus: int) -> int:
    if gcd(below, modulus) != 1:
        raise Rejected(f"a denominator is not prime to the modulus {modulus:#x}.")
    return pow(below, -1, modulus)


def require_unit(matrix: Rows, modulus: int, budget: Budget) -> None:
    """Reject unless elimination shows the determinant to be a unit modulo m.

    Incomplete for a composite m: a column may hold no unit though the determinant is one.
    """
    r = len(matrix)
    budget.spend(100 * r**3, f"a minor of {r} rows")
    matrix = list(matrix)
    for step in range(r):
        index = next((i for i, row in enumerate(matrix) if gcd(row[0], modulus) == 1), None)
        if index is None:
            raise Rejected(
                f"elimination of the {r} × {r} minor modulo {modulus:#x} finds no unit in column "
                f"{step}."
            )
        pivot = matrix.pop(index)
        inverse, tail = pow(pivot[0], -1, modulus), pivot[1:]
        matrix = [_eliminated(row, inverse, tail, modulus) for row in matrix]


def _eliminated(row: list[int], inverse: int, tail: list[int], modulus: int) -> list[int]:
    factor = row[0] * inverse % modulus
    if not factor:
        return row[1:]
    return [(x - factor * y) % modulus for x, y in zip(row[1:], tail, strict=True)]


def verify_nonzero_minor(statement: statements.Statement, data: object, budget: Budget) -> str:
    """A minor of r rows that is not zero, so the rank is >= r."""
    if not isinstance(statement, statements.RankBetween):
        raise Rejected("a nonzero minor proves statements of kind rank, log-rank and logit-rank.")
    statements.require_shape_bound(statement)
    minor = fields.keyed(data, "the data", MINOR_KEYS)
    return f"{prove_lower(statement, minor, budget)}; the upper bound is that of the shape"


def prove_lower(statement: statements.RankBetween, minor: dict[str, object], budget: Budget) -> str:
    """Prove the lower bound by the minor and say how, or reject."""
    match statement:
        case statements.Rank(matrix=table):
            rows, columns, modulus = read_minor(minor, *table.shape)
            part = residues(table, rows, columns, modulus, budget)
        case statements.LogRank(logits=table):
            rows, columns, modulus = read_minor(minor, *table.shape)
            part = _centred_residues(table, rows, columns, modulus, budget)
        case statements.LogitRank(keys=keys):
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
    statement: statements.LogitRank,
    rows: list[int],
    columns: list[int],
    modulus: int,
    budget: Budget,
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
    product = tables.multiply(tables.transposed(keys, len(rows)), queries, len(columns), budget)
    return [[x % modulus for x in row] for row in product]


def verify_factorisation(statement: statements.Statement, data: object, budget: Budget) -> str:
    """Left · right is the matrix, so the rank is at most their inner size."""
    if not isinstance(statement, statements.RankBetween):
        raise Rejected("a factorisation proves statements of kind rank, log-rank and logit-rank.")
    found = fields.keyed(data, "the data", ("left", "right", "minor"))
    left = tables.read_table(found["left"], "the left factor", tables.EXACT, least_columns=0)
    right = tables.read_table(found["right"], "the right factor", tables.EXACT, least_rows=0)
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


def _target(statement: statements.RankBetween, budget: Budget) -> Table:
    match statement:
        case statements.Rank(matrix=table):
            return table
        case statements.LogRank(logits=table):
            return tables.centred(table, budget)
    n = statement.keys.columns
    keys, over_keys = tables.cleared_whole(statement.keys, budget)
    queries, over_queries = tables.cleared_whole(statement.queries, budget)
    product = tables.multiply(tables.transposed(keys, n), queries, n, budget)
    table = Table("rational", n, n, product, [[over_keys * over_queries] * n] * n)
    return tables.centred(table, budget) if statement.centred else table


def _lower(statement: statements.RankBetween, minor: object, budget: Budget) -> str:
    if minor is not None:
        return prove_lower(statement, fields.keyed(minor, "the minor", MINOR_KEYS), budget)
    if statement.lower > 0:
        raise Rejected(f"there is no minor for the lower bound {statement.lower}.")
    return "the lower bound is 0"


def _require_product(left: Table, right: Table, target: Table, budget: Budget) -> None:
    shape = Shape(left.rows, right.columns)
    if shape != target.shape:
        raise Rejected(f"the product of the factors is {shape}; expected {target.shape}.")
    first, over_rows = tables.cleared_by_rows(left, budget)
    second, over_columns = tables.cleared_by_columns(right, budget)
    product = tables.multiply(first, second, right.columns, budget)
    if not tables.equals(product, over_rows, over_columns, target, budget):
        raise Rejected("the product of the factors is not the matrix.")


def verify_nonsingular_enclosure(
    statement: statements.Statement, data: object, budget: Budget
) -> str:
    """‖I - R B‖ < 1 for every B in question.

    The norm is the greatest row sum, which is submultiplicative, so every R B is nonsingular and
    every B, hence every matrix that B is r columns of up to powers of two, has rank >= r.
    """
    keys = ("columns", "row_exponents", "column_exponents", "grid", "inverse")
    found = fields.keyed(data, "the data", keys)
    grid = fields.exponent(found["grid"], "the grid")
    match statement:
        case statements.Rank(matrix=matrix):
            statements.require_shape_bound(statement)
            error: Table | None = None
        case statements.RankUnderError(matrix=matrix):
            error = statement.error
        case statements.LogRankWithin():
            matrix, error = log_differences(statement.context, statement.ratio, grid + 20, budget)
        case _:
            raise Rejected(
                "a nonsingular enclosure proves statements of kind rank, rank-under-error and "
                "log-rank-within."
            )
    r = _prove(matrix, error, grid, found, budget)
    if r < statement.lower:
        raise Rejected(f"{r} columns are fewer than the lower bound {statement.lower}.")
    return f"every choice of the {r} columns is nonsingular by an approximate left inverse"


def _prove(
    matrix: Table, error: Table | None, grid: int, found: dict[str, object], budget: Budget
) -> int:
    """The number of columns proved independent."""
    columns = (
        list(range(matrix.columns))
        if found["columns"] is None
        else fields.distinct_indices(found["columns"], "the columns", matrix.columns)
    )
    down = fields.exponents(found["row_exponents"], "the row exponents", matrix.rows)
    across = fields.exponents(found["column_exponents"], "the column exponents", matrix.columns)
    inverse = tables.read_dyadic(found["inverse"], "the inverse", len(columns), matrix.rows)
    shifts = [a + grid for a in down]
    entries, errors = rounded(matrix, error, shifts, columns, across, budget)
    product = tables.multiply(inverse.entries, entries, len(columns), budget)
    distance, one, shift = residual(product, inverse.exponent - grid, budget)
    absolute = [[abs(x) for x in row] for row in inverse.entries]
    moved = tables.row_sums(absolute, [sum(row) for row in errors], budget)
    for i, (row, more) in enumerate(zip(distance, moved, strict=True)):
        if sum(row) + (more << shift) >= one:
            raise Rejected(f"row {i} of I - R B, its errors included, does not sum to less than 1.")
    return len(columns)


def verify_spectral_gap(statement: statements.Statement, data: object, budget: Budget) -> str:
    """α >= ‖I - R A V‖_2 for every A in question, and α < 1.

    Then 1 - α <= s_r(R A V) <= ‖R‖_2 s_r(A) ‖V‖_2. The norm must be the spectral one: with the
    greatest row sum alone the bound is false (R = I, A = I - 1 e_1^T / 2); sqrt(‖·‖_1 ‖·‖_∞) is
    never below it. For `log-rank-within`, A = C log P and s_r(A) > n ratio >=
    ‖C (log Q - log P)‖_2 proves rank(C log Q) >= r (Weyl).
    """
    found = fields.keyed(data, "the data", ("compression", "inverse", "grid"))
    grid = fields.exponent(found["grid"], "the grid")
    match statement:
        case statements.SingularValue(matrix=matrix, error=error):
            pass
        case statements.LogRankWithin():
            matrix, error = centred_logs(statement.context, grid + 20, budget)
        case _:
            raise Rejected(
                "a spectral gap proves statements of kind singular-value and log-rank-within."
            )
    V = tables.read_dyadic(found["compression"], "the compression", matrix.columns, None)
    R = tables.read_dyadic(found["inverse"], "the inverse", V.columns, matrix.rows)
    every = list(range(matrix.columns))
    known = rounded(matrix, error, [grid] * matrix.rows, every, [0] * matrix.columns, budget)
    alpha_squared = _alpha_squared(known, R, V, grid, budget)
    if alpha_squared >= 1:
        raise Rejected("the bound of the spectral norm of I - R A V is not below 1.")
    if isinstance(statement, statements.LogRankWithin):
        if V.columns < statement.lower:
            raise Rejected(
                f"the compression has {V.columns} columns, fewer than the lower bound "
                f"{statement.lower}."
            )
        radius = matrix.rows * Fraction(statement.ratio)
        rest, margin = _rest(radius, alpha_squared, R, V, budget)
        if rest <= 0 or margin <= 0:
            raise Rejected("(1 - α) / (‖R‖ ‖V‖) is not above n times the ratio.")
        return f"singular value {V.columns} of C log P is above n times the ratio"
    if V.columns != statement.index:
        raise Rejected(
            f"the compression has {V.columns} columns; expected the index, {statement.index}."
        )
    rest, margin = _rest(Fraction(statement.bound), alpha_squared, R, V, budget)
    if rest < 0 or margin < 0:
        raise Rejected("(1 - α) / (‖R‖ ‖V‖) does not reach the bound.")
    return "1 - ‖I - R A V‖ over ‖R‖ ‖V‖ reaches the bound for every matrix in question"


def _alpha_squared(
    known: tuple[Rows, Rows], R: Dyadic, V: Dyadic, grid: int, budget: Budget
) -> Fraction:
    """‖M‖_1 ‖M‖_∞ of M = |I - R A^ V| + |R| e |V|, from row and column sums."""
    entries, errors = known
    product = tables.multiply(R.entries, entries, V.rows, budget)
    product = tables.multiply(product, V.entries, V.columns, budget)
    distance, one, shift = residual(product, R.exponent - grid + V.exponent, budget)
    left, right = ([[abs(x) for x in row] for row in D.entries] for D in (R, V))
    norms = [_norm(distance, left, errors, right, shift, budget)]
    distance, left, right = (
        tables.transposed(rows, columns)
        for rows, columns in ((distance, V.columns), (left, R.columns), (right, V.columns))
    )
    norms.append(_norm(distance, right, tables.transposed(errors, V.rows), left, shift, budget))
    return Fraction(norms[0] * norms[1], one * one)


def _norm(distance: Rows, left: Rows, errors: Rows, right: Rows, shift: int, budget: Budget) -> int:
    """The greatest row sum of ``distance + left · errors · right 2**shift``."""
    sums = tables.row_sums(
        left, tables.row_sums(errors, [sum(row) for row in right], budget), budget
    )
    whole = (sum(row) + (more << shift) for row, more in zip(distance, sums, strict=True))
    return max(whole, default=0)


def _rest(
    bound: Fraction, alpha_squared: Fraction, R: Dyadic, V: Dyadic, budget: Budget
) -> tuple[Fraction, Fraction]:
    """Two numbers, both >= 0 only where 1 - α >= bound ‖R‖ ‖V‖, both > 0 only where it is above.

    By squares: α and the norms are square roots, and sqrt(a) + sqrt(b) <= 1 for a, b >= 0 iff
    a + b <= 1 and 4 a b <= (1 - a - b)^2. For ‖R‖_2² ‖V‖_2² stands ‖R R^T‖_∞ ‖V^T V‖_∞, which is
    never below it.
    """
    gram_R = tables.multiply(R.entries, tables.transposed(R.entries, R.columns), R.rows, budget)
    gram_V = tables.multiply(tables.transposed(V.entries, V.columns), V.entries, V.columns, budget)
    norms = [max((sum(map(abs, row)) for row in gram), default=0) for gram in (gram_R, gram_V)]
    wanted = bound**2 * norms[0] * norms[1] * Fraction(4) ** (R.exponent + V.exponent)
    rest = 1 - alpha_squared - wanted
    return rest, rest * rest - 4 * alpha_squared * wanted


def verify_counterexample(statement: statements.Statement, data: object, budget: Budget) -> str:
    """A head of size k whose context has rank above k."""
    if not isinstance(statement, statements.RankAboveHeadSize):
        raise Rejected("a counterexample proves statements of kind rank-above-head-size.")
    exponents, size, n = statement.exponents.numerators, statement.keys.rows, statement.keys.columns
    minor = fields.keyed(data, "the data", MINOR_KEYS)
    rows, columns, modulus = read_minor(minor, n, n)
    if len(rows) <= size:
        raise Rejected(f"the minor has {len(rows)} rows; expected more than the head size {size}.")
    keys = tables.transposed(statement.keys.numerators, n)
    logits = tables.multiply(keys, statement.queries.numerators, n, budget)
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
