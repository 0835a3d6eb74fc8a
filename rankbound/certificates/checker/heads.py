"""Certificates about heads and layers: a head given, one under a mask, none, and two layers.

Each ``verify`` function says what it verified, or rejects.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

from rankbound.certificates.checker import fields, tables
from rankbound.certificates.checker.enclosures import (
    LEAST_GRID,
    Enclosures,
    logarithms,
    normalised_logarithms,
    require_enclosable,
)
from rankbound.certificates.checker.fields import LARGEST_EXPONENT, Rejected
from rankbound.certificates.checker.statements import (
    Layer,
    LayersDiffer,
    MaskedLogRank,
    RepresentedExactly,
    RepresentedMasked,
    RepresentedWithin,
    Statement,
    Unreachable,
    UnreachableMasked,
    UnreachableMaskedWithin,
    UnreachableWithin,
)
from rankbound.certificates.checker.tables import Budget, Rows, Table


def verify_representation(statement: Statement, data: object, budget: Budget) -> str:
    """The head is given, so multiply it out."""
    fields.keyed(data, "the data", ())
    match statement:
        case RepresentedExactly():
            return _exactly(statement, budget)
        case RepresentedWithin():
            return _within(statement, budget)
        case RepresentedMasked():
            return _on_the_mask(statement, budget)
        case _:
            raise Rejected(
                "a representation proves statements of kind represented-exactly, "
                "represented-masked and represented-within."
            )


def _exactly(statement: RepresentedExactly, budget: Budget) -> str:
    n = statement.logits.rows
    if statement.tokens is None:
        keys, over_keys = tables.cleared_by_columns(statement.keys, budget)
        queries, over_queries = tables.cleared_by_columns(statement.queries, budget)
    else:
        tokens, over = tables.cleared_by_columns(statement.tokens, budget)
        keys, over_k = tables.cleared_whole(statement.keys, budget)
        queries, over_q = tables.cleared_whole(statement.queries, budget)
        keys, queries = (tables.multiply(W, tokens, n, budget) for W in (keys, queries))
        over_keys, over_queries = ([y * x for x in over] for y in (over_k, over_q))
    product = tables.multiply(tables.transposed(keys, n), queries, n, budget)
    target = tables.centred(statement.logits, budget)
    if tables.equals(product, over_keys, over_queries, target, budget):
        return "the head's logits are the centred logits exactly"
    length = tables.digits_of([over_keys]) * tables.digits_of([over_queries])
    budget.spend(n * n * (100 + length), "the denominators of the logits")
    below = [[x * y for y in over_queries] for x in over_keys]
    own = tables.centred(Table("rational", n, n, product, below), budget)
    if not tables.equals(own.numerators, [1] * n, own.denominators[0], target, budget):
        raise Rejected("the head's logits are not the logits given, in any gauge.")
    return "the head's logits, centred, are the centred logits exactly"


def _on_the_mask(statement: RepresentedMasked, budget: Budget) -> str:
    n = statement.logits.rows
    keys, over_keys = tables.cleared_whole(statement.keys, budget)
    queries, over_queries = tables.cleared_whole(statement.queries, budget)
    if statement.tokens is not None:
        tokens, over = tables.cleared_whole(statement.tokens, budget)
        keys, queries = (tables.multiply(W, tokens, n, budget) for W in (keys, queries))
        over_keys, over_queries = over_keys * over, over_queries * over
    scale = over_keys * over_queries
    _require_on_mask(statement.logits, statement.visible, keys, queries, scale, budget)
    return "the head's logits are the logits on the mask, up to a constant in each column"


def _within(statement: RepresentedWithin, budget: Budget) -> str:
    n = statement.context.rows
    above, below = statement.scale.as_integer_ratio()
    keys, over_keys = tables.cleared_whole(statement.keys, budget)
    queries, over_queries = tables.cleared_whole(statement.queries, budget)
    if statement.tokens is not None:
        tokens, over_tokens = tables.cleared_whole(statement.tokens, budget)
        keys, queries = (tables.multiply(W, tokens, n, budget) for W in (keys, queries))
        over_keys, over_queries = over_keys * over_tokens, over_queries * over_tokens
    product = tables.multiply(tables.transposed(keys, n), queries, n, budget)
    columns = [[x * above for x in column] for column in tables.transposed(product, n)]
    over = over_keys * over_queries * below
    enclosures = Enclosures(LEAST_GRID, budget)
    low, high = (
        tables.transposed(bounds, n)
        for bounds in normalised_logarithms(statement.context, enclosures)
    )
    enclosures.spend(n * n + n)
    numerator, denominator = statement.ratio.as_integer_ratio()
    for j, column in enumerate(columns):
        distance = _distance(column, over, low[j], high[j], enclosures)
        if distance * denominator > numerator * enclosures.one:
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


# ---- masked witness
#
# Keys i_1, …, i_r, a reference key and directions w_1, …, w_r over queries such that every query in
# the support of w_t sees the reference and i_1, …, i_t. With D_s the row of key i_s less the
# reference's, D_s w_t depends neither on what is hidden nor on the gauge for s <= t; if it is 0 for
# s < t and not 0 for s = t, the matrix (D_s w_t) is triangular with a diagonal free of zeros for
# every completion, so every completion has rank at least r. Keys and queries whose logits are the
# given ones on the mask, up to a constant in each column, bound the least rank from above.


def verify_masked_witness(statement: Statement, data: object, budget: Budget) -> str:
    """Bounds of the rank that hidden logits leave open."""
    if not isinstance(statement, MaskedLogRank):
        raise Rejected("a masked witness proves statements of kind masked-log-rank.")
    keys = ("rows", "reference", "directions", "keys", "queries")
    found = fields.keyed(data, "the data", keys)
    n = statement.logits.rows
    rows = fields.distinct_indices(found["rows"], "the rows", n)
    reference = fields.size(found["reference"], "the reference", 0, n - 1)
    directions = tables.read_table(
        found["directions"], "the matrix of directions", tables.EXACT, 1, 0
    )
    if directions.shape != (n, len(rows)):
        raise Rejected(f"the directions are {directions.shape}; expected {n} × {len(rows)}.")
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
    logits, _ = tables.cleared_whole(statement.logits, budget)
    W, _ = tables.cleared_by_columns(directions, budget)
    differences = [[x - y for x, y in zip(logits[i], logits[reference], strict=True)] for i in rows]
    values = tables.multiply(differences, W, len(rows), budget)
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
    first = tables.read_table(keys, "the matrix of keys", tables.EXACT, 0)
    second = tables.read_table(queries, "the matrix of queries", tables.EXACT, 0)
    if first.shape != second.shape or first.columns != n:
        raise Rejected("the keys and queries are not of one shape, with a column a token.")
    if first.rows > statement.upper:
        raise Rejected(f"the head has size {first.rows}, above the bound {statement.upper}.")
    left, over_left = tables.cleared_whole(first, budget)
    right, over_right = tables.cleared_whole(second, budget)
    scale = over_left * over_right
    _require_on_mask(statement.logits, statement.visible, left, right, scale, budget)
    return f"a head of size {first.rows} has the logits on the mask"


def _require_on_mask(
    given: Table, visible: Rows, keys: Rows, queries: Rows, scale: int, budget: Budget
) -> None:
    """``keys^T queries / scale`` is what is given on the mask, up to a constant in each column."""
    n = given.rows
    logits, over = tables.cleared_whole(given, budget)
    product = tables.multiply(tables.transposed(keys, n), queries, n, budget)
    length = tables.digits_of(product) * tables.digits_of([[over]])
    length += tables.digits_of(logits) * tables.digits_of([[scale]])
    budget.spend(n * n * (100 + length), "the comparison of logits")
    for j in range(n):
        seen = [i for i in range(n) if visible[i][j]]
        if len({product[i][j] * over - logits[i][j] * scale for i in seen}) > 1:
            raise Rejected(f"column {j} of the head's logits differs from those given.")


# ---- unreachable
#
# Vectors `left` over keys, which sums to zero, and `right` over queries, one of which the tokens X
# map to zero. The logits of a head are X^T M X, so left^T L right = 0 for them and for L + 1 c^T.
# Where the number is not 0 for the logits of a context, no head has it; where for log P it exceeds
# ratio ‖left‖_1 ‖right‖_1, no head is that near.


def verify_unreachable(statement: Statement, data: object, budget: Budget) -> str:
    """No head of any size has the context on the tokens given."""
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
    tokens, _ = tables.cleared_by_rows(statement.tokens, budget)
    vectors = {"left": left, "right": right}
    null = [name for name, v in vectors.items() if not any(tables.row_sums(tokens, v, budget))]
    if not null:
        raise Rejected("the tokens map neither vector to zero.")
    if isinstance(statement, Unreachable):
        how = _not_zero(statement, left, right, budget)
    else:
        how = _beyond_ratio(statement, left, right, budget)
    return f"the left vector sums to zero, the tokens map the {null[0]} one to zero, and {how}"


def _vector(value: object, name: str, n: int, budget: Budget) -> list[int]:
    """Integers in the same ratios; a positive factor proves as much."""
    table = tables.read_table(value, f"the {name} vector", tables.EXACT, shape=(n, 1))
    return tables.transposed(tables.cleared_whole(table, budget)[0], 1)[0]


def _not_zero(statement: Unreachable, left: list[int], right: list[int], budget: Budget) -> str:
    logits, _ = tables.cleared_whole(statement.logits, budget)
    between = tables.row_sums(logits, right, budget)
    if not tables.row_sums([left], between, budget)[0]:
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
    length = tables.digits_of([left]) + tables.digits_of([right]) + tables.digits_of([*low, *high])
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


# ---- orthogonal weights
#
# W, n × n, zero where the mask hides, whose columns sum to zero, with X W X^T = 0. The logits of a
# head are X^T M X on the mask up to a constant in each column, so <W, L> = <X W X^T, M> = 0.
# Where that is not 0 for the logits of a context, no head has it; where for log P it exceeds
# ratio ‖W‖_1, no head is that near.


def verify_orthogonal_weights(statement: Statement, data: object, budget: Budget) -> str:
    """No head of any size has the context on the tokens given under the mask."""
    if not isinstance(statement, UnreachableMasked | UnreachableMaskedWithin):
        raise Rejected(
            "orthogonal weights prove statements of kind unreachable-masked and "
            "unreachable-masked-within."
        )
    found = fields.keyed(data, "the data", ("weights",))
    n = statement.tokens.columns
    table = tables.read_table(found["weights"], "the matrix of weights", tables.EXACT, shape=(n, n))
    W, _ = tables.cleared_whole(table, budget)
    for row, seen in zip(W, statement.visible, strict=True):
        if any(x and not shown for x, shown in zip(row, seen, strict=True)):
            raise Rejected("a weight lies where the mask hides.")
    if any(tables.row_sums(tables.transposed(W, n), [1] * n, budget)):
        raise Rejected("a column of the weights does not sum to zero.")
    tokens, _ = tables.cleared_by_rows(statement.tokens, budget)
    d = len(tokens)
    between = tables.multiply(tokens, W, n, budget)
    if any(map(any, tables.multiply(between, tables.transposed(tokens, n), d, budget))):
        raise Rejected("the tokens do not map the weights to zero.")
    if isinstance(statement, UnreachableMasked):
        logits, _ = tables.cleared_whole(statement.logits, budget)
        length = tables.digits_of(W) * tables.digits_of(logits)
        budget.spend(n * n * (100 + length), "the product with the logits")
        if not sum(
            x * y
            for row, given in zip(W, logits, strict=True)
            for x, y in zip(row, given, strict=True)
        ):
            raise Rejected("the product of the weights with the logits is zero.")
        how = "their product with the logits is not zero"
    else:
        how = _weighed_beyond_ratio(statement, W, budget)
    return f"the weights are visible, sum to zero, are zero on the tokens, and {how}"


def _weighed_beyond_ratio(statement: UnreachableMaskedWithin, W: Rows, budget: Budget) -> str:
    n = statement.context.rows
    require_enclosable(n)
    enclosures = Enclosures(LEAST_GRID, budget)
    enclosures.spend(n * n)
    above, below = statement.ratio.as_integer_ratio()
    budget.spend(n * n * 100 * tables.digits_of(W), "the product with the logarithms")
    least = most = total = 0
    context = statement.context
    for weights, numerators, denominators in zip(
        W, context.numerators, context.denominators, strict=True
    ):
        for w, x, over in zip(weights, numerators, denominators, strict=True):
            if w:
                first, last = enclosures.logarithm(x, x, over)
                ends = w * first, w * last
                least, most, total = least + min(ends), most + max(ends), total + abs(w)
    if max(least, -most) * below <= above * total * enclosures.one:
        raise Rejected("the product of the logarithms with the weights is not beyond the ratio.")
    return "their product with the logarithms is more than the ratio allows"


# ---- separation
#
# The logits are exact. A column of a context is enclosed in units of 2^-grid: the greatest logit is
# taken off exactly, the exponentials are enclosed, and a weight is one of them over the sum. With
# [x, y] the enclosure of P, the output A P, A = W_o W_v X, is A (x + y) / 2 to within
# |A| (y - x) / 2. Where the logits of a column are equal in every head of both layers, the weights
# are 1/n and the column is rational.

GRIDS = (LEAST_GRID, 512, 2048, LARGEST_EXPONENT)
HELD = 256  # bits of memory that an integer takes beside its own


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The logits of each head, [head][query][key] over `below`, and W_o W_v X over `over`.

    The latter is d × (h n), head after head.
    """

    logits: list[Rows]
    below: int
    values: Rows
    over: int


def verify_separation(statement: Statement, data: object, budget: Budget) -> str:
    """Two layers whose outputs differ on the tokens given."""
    if not isinstance(statement, LayersDiffer):
        raise Rejected("a separation proves statements of kind layers-differ.")
    fields.keyed(data, "the data", ())
    n = statement.tokens.columns
    require_enclosable(n)
    tokens, over = tables.cleared_whole(statement.tokens, budget)
    f, g = (_evaluated(layer, tokens, over, n, budget) for layer in (statement.f, statement.g))
    values, common = _side_by_side(f, g, budget)
    flat = [
        all(len(set(logits[j])) == 1 for layer in (f, g) for logits in layer.logits)
        for j in range(n)
    ]
    gap = statement.gap
    for grid in GRIDS:
        enclosures = Enclosures(grid, budget)
        centres, widths = _weights((f, g), flat, enclosures, budget)
        low, high = _squares(values, centres, widths, flat, enclosures.one, budget)
        # in units of 1 / (2 common n 2**grid)^2
        least = (2 * common * n * gap.numerator << grid) ** 2
        if low * gap.denominator**2 >= least:
            how = "exactly" if all(flat) else f"weights enclosed in units of 2^-{grid}"
            return f"the outputs of the layers differ by the gap or more, {how}"
        if high * gap.denominator**2 < least:
            raise Rejected("the outputs of the layers differ by less than the gap.")
    raise Rejected(f"weights in units of 2^-{GRIDS[-1]}, the limit, do not decide the gap.")


def _evaluated(layer: Layer, tokens: Rows, over: int, n: int, budget: Budget) -> Evaluated:
    h, k, v = layer.heads, layer.head_size, layer.value_size
    above, below = layer.scale.numerator, layer.scale.denominator
    W_q, over_queries = tables.cleared_whole(layer.queries, budget)
    W_k, over_keys = tables.cleared_whole(layer.keys, budget)
    queries, keys = (tables.multiply(W, tokens, n, budget) for W in (W_q, W_k))
    bits = tables.longest(queries) + tables.longest(keys) + k.bit_length()
    budget.hold(h * n * n * (bits + above.bit_length() + HELD), "the logits of a layer")
    budget.spend(
        h * n * n * tables.digits(bits) * tables.digits(above.bit_length()), "scaling the logits"
    )
    logits = []
    for i in range(h):
        part = slice(i * k, (i + 1) * k)
        product = tables.multiply(tables.transposed(queries[part], n), keys[part], n, budget)
        logits.append([[above * x for x in row] for row in product])
    W_v, over_values = tables.cleared_whole(layer.values, budget)
    W_o, over_output = tables.cleared_whole(layer.output, budget)
    carried = tables.multiply(W_v, tokens, n, budget)
    bits = tables.longest(W_o) + tables.longest(carried) + v.bit_length()
    budget.hold(len(W_o) * h * n * (bits + HELD), "the values of a layer")
    values: Rows = [[] for _ in W_o]
    for i in range(h):
        part = slice(i * v, (i + 1) * v)
        product = tables.multiply([row[part] for row in W_o], carried[part], n, budget)
        for row, more in zip(values, product, strict=True):
            row.extend(more)
    return Evaluated(
        logits, below * over_queries * over_keys * over**2, values, over_values * over_output * over
    )


def _side_by_side(f: Evaluated, g: Evaluated, budget: Budget) -> tuple[Rows, int]:
    """The values of f and those of g negated, over one denominator."""
    length = tables.digits(f.over.bit_length()) + tables.digits(g.over.bit_length())
    budget.spend(4 * length**2, "a denominator")
    common = lcm(f.over, g.over)
    factors = common // f.over, -(common // g.over)
    count = sum(len(layer.values) * len(layer.values[0]) for layer in (f, g))
    bits = tables.longest(f.values + g.values)
    budget.hold(count * (bits + common.bit_length() + HELD), "the values over one denominator")
    budget.spend(count * tables.digits(bits) * length, "clearing denominators")
    return [
        [factors[0] * x for x in first] + [factors[1] * x for x in second]
        for first, second in zip(f.values, g.values, strict=True)
    ], common


def _weights(
    layers: tuple[Evaluated, ...], flat: list[bool], enclosures: Enclosures, budget: Budget
) -> tuple[Rows, Rows]:
    """Sums and differences of the bounds of each weight, [head and key][query].

    In units of 2**-grid; in a flat column of 1/n, where the weights are 1.
    """
    n, centres, widths = len(flat), Rows(), Rows()
    for layer in layers:
        count, below = len(layer.logits) * n * (n - sum(flat)), layer.below.bit_length()
        enclosures.spend(count)
        bits = max(tables.longest(logits) for logits in layer.logits) + enclosures.grid
        budget.spend(count * tables.digits(bits) * tables.digits(below), "the exponents")
        for logits in layer.logits:
            bounds = [
                ([1] * n, [1] * n) if flat[j] else _softmax(logits[j], layer.below, enclosures)
                for j in range(n)
            ]
            sums = [[x + y for x, y in zip(*pair, strict=True)] for pair in bounds]
            differences = [[y - x for x, y in zip(*pair, strict=True)] for pair in bounds]
            centres += tables.transposed(sums, n)
            widths += tables.transposed(differences, n)
    return centres, widths


def _softmax(logits: list[int], below: int, enclosures: Enclosures) -> tuple[list[int], list[int]]:
    """Bounds of the weights of one query, in units of the grid."""
    greatest, one = max(logits), enclosures.one
    powers = [(one, one)] * len(logits)
    for i, x in enumerate(logits):
        if x != greatest:
            scaled = (x - greatest) * one
            powers[i] = enclosures.exponential(scaled // below, -(-scaled // below))
    least, most = sum(x for x, _ in powers), sum(y for _, y in powers)
    # a weight grows with its own exponential and falls with the others
    return (
        [x * one // (x + most - y) for x, y in powers],
        [min(one, -(-y * one // (y + least - x))) for x, y in powers],
    )


def _squares(
    values: Rows, centres: Rows, widths: Rows, flat: list[bool], one: int, budget: Budget
) -> tuple[int, int]:
    """Bounds of ‖f(X) - g(X)‖_F², in units of 1 / (2 common n one)^2."""
    n = len(flat)
    middle = tables.multiply(values, centres, n, budget)
    radius = tables.multiply([[abs(x) for x in row] for row in values], widths, n, budget)
    length = tables.digits(tables.longest(middle) + one.bit_length())
    budget.spend(2 * len(values) * n * (100 + length**2), "the squares of the differences")
    low = high = 0
    for row, errors in zip(middle, radius, strict=True):
        for x, error, equal in zip(row, errors, flat, strict=True):
            unit = one if equal else n
            low += (max(abs(x) - error, 0) * unit) ** 2
            high += ((abs(x) + error) * unit) ** 2
    return low, high
