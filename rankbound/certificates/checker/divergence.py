"""Lower bounds of the KL divergence from a context to every head of a size.

``n KL(P ‖ Q) = Σ p φ(log p - log q)`` over all entries, ``φ(t) = t - 1 + e^{-t}``; no term is
negative. Two arguments: column budgets, and entries on the wrong side of a threshold. Logarithms
and probabilities are in units of the grid; docs/certificates.md says why either proves a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from operator import mul

from rankbound.certificates.checker import fields, tables
from rankbound.certificates.checker.enclosures import (
    LEAST_GRID,
    Enclosures,
    normalised_logarithms,
    require_enclosable,
    residual,
    softmax_logarithms,
)
from rankbound.certificates.checker.fields import Rejected
from rankbound.certificates.checker.signs import largest_rectangle, read_power
from rankbound.certificates.checker.statements import KLAbove, KLAboveOfLogits, Statement
from rankbound.certificates.checker.tables import Budget, Dyadic, Rows, read_dyadic

MOST_BLOCK_BITS = 512  # of a number in a block, and half its exponent
SMALL = 20  # φ is bounded by its series below 2^-20
ROOT_BITS = 256  # of a square root


@dataclass(frozen=True, eq=False)
class Logs:
    """Bounds of log P, P ∝ the context or exp(logits) with columns that sum to 1."""

    low: Rows
    high: Rows
    head_size: int
    enclosures: Enclosures
    budget: Budget


@dataclass(frozen=True, eq=False)
class Block:
    """Keys and queries, their budget and weights, and what is nearly a decomposition."""

    keys: list[int]
    queries: list[int]
    budget: Fraction
    key_weights: list[int]
    query_weights: list[int]
    exponent: int  # of a product of two weights
    tilt: Rows  # in units of the grid, as the two that follow
    touching: Rows
    reach: Rows
    left: Dyadic
    values: Dyadic
    right: Dyadic


def _logs(statement: Statement, budget: Budget) -> tuple[Logs, Fraction]:
    """The logarithms, and what the parts must add up to."""
    enclosures = Enclosures(LEAST_GRID, budget)
    match statement:
        case KLAbove(context=table):
            require_enclosable(table.rows)
            low, high = normalised_logarithms(table, enclosures)
        case KLAboveOfLogits(logits=table):
            require_enclosable(table.rows)
            low, high = softmax_logarithms(table, enclosures, budget)
        case _:
            raise Rejected(
                "column budgets and wrong signs prove statements of kind kl-above and "
                "kl-above-of-logits."
            )
    wanted = Fraction(statement.bound) * table.rows
    return Logs(low, high, statement.head_size, enclosures, budget), wanted


def verify_column_budgets(statement: Statement, data: object, budget: Budget) -> str:
    """The bounds of disjoint blocks add up to the one stated."""
    logs, wanted = _logs(statement, budget)
    found = fields.keyed(data, "the data", ("blocks",))
    n = len(logs.low)
    blocks = [
        _block(value, n, logs.enclosures.grid)
        for value in fields.items(found["blocks"], "the list of blocks")
    ]
    covered = [(i, j) for block in blocks for i in block.keys for j in block.queries]
    if len(set(covered)) < len(covered):
        raise Rejected("two blocks share an entry.")
    total = Fraction(0)
    for block in blocks:
        total += _bound(block, _prices(block, logs), logs)
    if total < wanted:
        raise Rejected(f"the blocks show a divergence of {float(total / n)!r} only.")
    return f"the bounds of {len(blocks)} blocks, by column budgets, add up to the one stated"


def verify_wrong_signs(statement: Statement, data: object, budget: Budget) -> str:
    """In each block of rows so many columns hold an entry on the wrong side, and pay for it."""
    logs, wanted = _logs(statement, budget)
    found = fields.keyed(data, "the data", ("thresholds", "parts", "power"))
    n, power = len(logs.low), read_power(found["power"])
    parts = fields.size(found["parts"], "the number of parts", 1, n)
    thresholds = _thresholds(found["thresholds"], n, logs.enclosures.grid)
    logs.enclosures.spend(n + 2 * n * n)
    signs, costs = _sides(logs, thresholds)
    area = largest_rectangle(signs, logs.head_size + 1, power, budget)
    total, first = 0, 0
    for part in range(parts):  # the first of them have a row more
        rows = costs[first : first + n // parts + (part < n % parts)]
        first += len(rows)
        cheapest = sorted(min(column) for column in zip(*rows, strict=True))
        total += sum(cheapest[: max(n - area // len(rows), 0)])
    if total < wanted * logs.enclosures.one**2:
        raise Rejected("entries on the wrong side do not cost as much as stated.")
    return f"wrong signs: rectangles without one have at most {area} entries"


# column budgets


def _block(value: object, n: int, grid: int) -> Block:
    shaped = ("tilt", "touching", "reach")
    names = ("keys", "queries", "budget", "key_weights", "query_weights", *shaped)
    found = fields.keyed(value, "a block", (*names, "left", "values", "right"))
    keys, queries = (fields.distinct_indices(found[name], name, n) for name in names[:2])
    budget = Fraction(*fields.rational(found["budget"], "the budget"))
    a = read_dyadic(found["key_weights"], "the key weights", len(keys), 1)
    b = read_dyadic(found["query_weights"], "the query weights", 1, len(queries))
    minorants = [
        read_dyadic(found[name], f"the {name}", len(keys), len(queries)) for name in shaped
    ]
    values = read_dyadic(found["values"], "the singular values", None, 1)
    if not (keys and queries and values.rows):
        raise Rejected("a block has no keys, no queries or no singular values.")
    left = read_dyadic(found["left"], "the left vectors", len(keys), values.rows)
    right = read_dyadic(found["right"], "the right vectors", values.rows, len(queries))
    for matrix in (a, b, *minorants, left, values, right):
        bits = max(tables.longest(matrix.entries), abs(matrix.exponent) // 2)
        if bits > MOST_BLOCK_BITS:
            raise Rejected(f"a number of a block is beyond the limit of {MOST_BLOCK_BITS} bits.")
    if max(budget.numerator.bit_length(), budget.denominator.bit_length()) > 4 * MOST_BLOCK_BITS:
        raise Rejected(f"the budget has more than {4 * MOST_BLOCK_BITS} bits, the limit.")
    key_weights, (query_weights,) = [x for (x,) in a.entries], b.entries
    if not (budget > 0 and min(key_weights) > 0 and min(query_weights) > 0):
        raise Rejected("a budget or a weight is not positive.")
    tilt, touching, reach = (
        [[_shifted(x, one.exponent + grid) for x in row] for row in one.entries]
        for one in minorants
    )
    weights = key_weights, query_weights, a.exponent + b.exponent
    return Block(keys, queries, budget, *weights, tilt, touching, reach, left, values, right)


def _prices(block: Block, logs: Logs) -> list[Fraction]:
    """Of each column: ``w (x - H)² - p φ(x)``, w = (a b)², is at most this where x <= T."""
    enclosures, total = logs.enclosures, []
    enclosures.spend(3 * len(block.keys) * len(block.queries))
    for place, (j, b) in enumerate(zip(block.queries, block.query_weights, strict=True)):
        price = 0
        for row, (i, a) in enumerate(zip(block.keys, block.key_weights, strict=True)):
            least = min(logs.low[i][j], 0)
            p = enclosures.exponential(least, least)[0]
            z, H, T = (x[row][place] for x in (block.touching, block.tilt, block.reach))
            if T <= 0 or p * _phi(T, enclosures) < block.budget * enclosures.one**3:
                raise Rejected(f"key {i} and query {j} may miss by more than their reach.")
            found = _price(p, (a * b) ** 2, 2 * block.exponent, z, H, T, enclosures)
            if found is None:
                raise Rejected(f"the minorant of key {i} and query {j} does not touch.")
            price += found
        total.append(Fraction(price, enclosures.one**3))
    return total


def _price(
    p: int, square: int, exponent: int, z: int, H: int, T: int, enclosures: Enclosures
) -> int | None:
    """At least the largest ``w (x - H)² - p φ(x)``, x <= T, in units of the grid's cube.

    w is the square times 2**exponent. Above x_0 = log(p/(2 w)) the function is convex; below, it is
    under its tangent at z <= x_0, if that rises under the tangent's value at x_0 or T.
    """
    one, grid = enclosures.one, enclosures.grid
    least, most = _power_of_e(-z, enclosures)
    if _shifted(2 * square, exponent + 2 * grid, up=True) > p * least:
        return None  # z is above x_0
    twice = 2 * square * (z - H)
    slope = _shifted(twice, exponent + grid) - p * (one - least)
    if slope < 0:
        return None
    slope = _shifted(twice, exponent + grid, up=True) - p * (one - most)
    # x_0 - z = log r <= r - 1, r = p e^-z/(2 w)
    room = min(-((-_shifted(p * most, -exponent, up=True)) // (2 * square * one)) - one, T - z)
    peak, end = (
        _shifted(square * (x - H) ** 2, exponent + grid, up=True) - p * _phi(x, enclosures)
        for x in (z, T)
    )
    return max(peak + slope * max(room, 0), end, 0)


def _power_of_e(t: int, enclosures: Enclosures) -> tuple[int, int]:
    """Bounds of e^t, in units of the grid."""
    if t == 0:
        return enclosures.one, enclosures.one
    if t < 0:
        return enclosures.exponential(t, t)
    least, most = enclosures.exponential(-t, -t)
    if not least:
        raise Rejected("a minorant touches where exponentials are beyond the grid.")
    return enclosures.one**2 // most, -(-(enclosures.one**2) // least)


def _phi(t: int, enclosures: Enclosures) -> int:
    """At most φ(t), t in units of the grid; the result in units of its square."""
    one = enclosures.one
    if abs(t) >> (enclosures.grid - SMALL):
        return max(t - one + _power_of_e(-t, enclosures)[0], 0) * one
    # t²/2 - t³/6 + t⁴/24 - t⁵/120
    return t * t * (60 * one**3 - 20 * t * one**2 + 5 * t * t * one - t**3) // (120 * one**3)


def _bound(block: Block, prices: list[Fraction], logs: Logs) -> Fraction:
    """The best over m of min((m + 1) θ, the least over t <= m of what t dear columns leave).

    They take at most the t largest excesses of norms from the tail, and at most t singular values.
    """
    tails, columns = _unexplained(block, logs)
    paid = sum(prices)
    excess = (max(x - e - block.budget, Fraction(0)) for x, e in zip(columns, prices, strict=True))
    best, lost, left = Fraction(0), Fraction(0), None
    for m, dearest in enumerate([*sorted(excess, reverse=True), Fraction(0)]):
        by_rank = tails[min(m, len(tails) - 1)] + m * block.budget
        few = max(tails[0] - lost, by_rank) - paid
        left = few if left is None else min(left, few)
        best = max(best, min((m + 1) * block.budget, left) if m < len(columns) else left)
        lost += dearest
    return best


def _unexplained(block: Block, logs: Logs) -> tuple[list[Fraction], list[Fraction]]:
    """Of ``M = diag(a) (log P - H) diag(b)``, the gauge projected out.

    Lower bounds of the squared distances to rank k, k + 1, …, and upper bounds of the columns'
    squared norms.
    """
    M, E, over = _weighted(block, logs)
    unit = _power(block.exponent - logs.enclosures.grid) / over
    left = tables.transposed(block.left.entries, block.left.columns)
    shrink = 1 - _defect(left, block.left.exponent, logs.budget)
    shrink *= 1 - _defect(block.right.entries, block.right.exponent, logs.budget)
    squares = sorted((x * x for (x,) in block.values.entries), reverse=True)
    miss = _distance(block, M, over, block.exponent - logs.enclosures.grid, logs.budget)
    noise = _root(Fraction(sum(x * x for row in E for x in row)), up=True) * unit
    shrink = max(shrink, Fraction(0)) * _power(2 * block.values.exponent)
    rests = [sum(squares[r:]) for r in range(logs.head_size, max(len(squares), logs.head_size) + 1)]
    tails = [_root(rest * shrink, up=False) - miss - noise for rest in rests]
    lengths = [
        sum(_root(Fraction(sum(x * x for x in part)), up=True) for part in pair)
        for pair in zip(zip(*M, strict=True), zip(*E, strict=True), strict=True)
    ]
    return [max(x, Fraction(0)) ** 2 for x in tails], [(x * unit) ** 2 for x in lengths]


def _weighted(block: Block, logs: Logs) -> tuple[Rows, Rows, int]:
    """M and its errors in units of the grid, of the weights' exponent, and over Σ a²."""
    count = len(block.keys) * len(block.queries)
    length = tables.digits_of([block.key_weights]) + tables.digits_of([block.query_weights])
    logs.budget.spend(count * (1000 + 40 * (length + 10) ** 2), "a weighted block")
    squares = [a * a for a in block.key_weights]
    over = sum(squares)
    M, E = Rows(), Rows()
    for j, b, *tilt in zip(block.queries, block.query_weights, *block.tilt, strict=True):
        low = [logs.low[i][j] - x for i, x in zip(block.keys, tilt, strict=True)]
        wide = [logs.high[i][j] - logs.low[i][j] for i in block.keys]
        mean, error = (sum(map(mul, squares, x)) for x in (low, wide))
        M.append([a * b * (over * x - mean) for a, x in zip(block.key_weights, low, strict=True)])
        E.append([a * b * (over * x + error) for a, x in zip(block.key_weights, wide, strict=True)])
    return tables.transposed(M, len(block.keys)), tables.transposed(E, len(block.keys)), over


def _distance(block: Block, M: Rows, over: int, exponent: int, budget: Budget) -> Fraction:
    """At least ‖M - left diag(values) right‖_F."""
    values = [x for (x,) in block.values.entries]
    scaled = [list(map(mul, row, values)) for row in block.left.entries]
    product = tables.multiply(scaled, block.right.entries, len(block.queries), budget)
    own = block.left.exponent + block.values.exponent + block.right.exponent
    common = min(exponent, own)
    length = tables.digits(
        max(tables.longest(M) + exponent, tables.longest(product) + over.bit_length() + own)
        - common
    )
    budget.spend(len(M) * len(block.queries) * (1000 + 4 * length**2), "the distance")
    total = sum(
        ((x << (exponent - common)) - (over * y << (own - common))) ** 2
        for row, other in zip(M, product, strict=True)
        for x, y in zip(row, other, strict=True)
    )
    return _root(Fraction(total), up=True) * _power(common) / over


def _defect(rows: Rows, exponent: int, budget: Budget) -> Fraction:
    """At least ‖B B^T - I‖_F for these rows, which should be orthonormal, or 1."""
    gram = tables.multiply(rows, tables.transposed(rows, len(rows[0])), len(rows), budget)
    off, one, _ = residual(gram, 2 * exponent, budget)
    total = Fraction(sum(x * x for row in off for x in row), one**2)
    return min(_root(total, up=True), Fraction(1))


def _shifted(x: int, exponent: int, *, up: bool = False) -> int:
    """The floor of x 2**exponent, or the ceiling."""
    if exponent >= 0:
        return x << exponent
    return -(-x >> -exponent) if up else x >> -exponent


def _power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def _root(x: Fraction, *, up: bool) -> Fraction:
    """A bound of the square root of x >= 0, from above or below."""
    if not x:
        return Fraction(0)
    shift = max(ROOT_BITS - x.numerator.bit_length() + x.denominator.bit_length(), 0)
    shift += shift % 2
    root = isqrt((x.numerator << shift) // x.denominator)
    return Fraction(root + up, 1 << shift // 2)


# wrong signs


def _thresholds(value: object, n: int, grid: int) -> list[int]:
    """The logarithm of the threshold of each column, rounded down to the grid."""
    read = read_dyadic(value, "the thresholds", 1, n)
    shift = read.exponent + grid
    found = [x << shift if shift >= 0 else x >> -shift for x in read.entries[0]]
    if max(found) > 0:
        raise Rejected("a threshold is above 1.")
    return found


def _sides(logs: Logs, thresholds: list[int]) -> tuple[Rows, Rows]:
    """Signs of log p - log θ, and what the other side costs, in units of the grid's square.

    ``p log(p/θ) + θ - p``, which grows with the distance of p from θ.
    """
    one = logs.enclosures.one
    least = [logs.enclosures.exponential(t, t)[0] * one for t in thresholds]
    signs, costs = Rows(), Rows()
    for lows, highs in zip(logs.low, logs.high, strict=True):
        signs.append([1 if x > t else -1 for x, t in zip(lows, thresholds, strict=True)])
        row = []
        for low, high, t, theta in zip(lows, highs, thresholds, least, strict=True):
            nearest = low if low > t else high
            if low <= t <= high:
                row.append(0)
                continue
            p = logs.enclosures.exponential(nearest, nearest)
            row.append(max(theta + min(x * (nearest - t - one) for x in p), 0))
        costs.append(row)
    return signs, costs
