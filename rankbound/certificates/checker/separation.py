"""Certificates of kind separation: two layers whose outputs differ on the tokens given.

The logits are exact. A column of a context is enclosed in units of 2**-grid: the greatest logit is
taken off exactly, the exponentials are enclosed, and a weight is one of them over the sum. With
``[x, y]`` the enclosure of P, the output ``A P``, A = W_o W_v X, is ``A (x + y) / 2`` to within
``|A| (y - x) / 2``. Where the logits of a column are equal in every head of both layers, the
weights are 1/n and the column is rational.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.enclosures import LEAST_GRID, Enclosures, require_enclosable
from rankbound.certificates.checker.outcome import (
    LARGEST_EXPONENT,
    Budget,
    Rejected,
    digits,
    longest,
)
from rankbound.certificates.checker.statements import Layer, LayersDiffer, Statement
from rankbound.certificates.checker.tables import Rows, cleared_whole, multiply, transposed

__all__ = ["verify_separation"]

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
    """Return what was verified, or reject."""
    if not isinstance(statement, LayersDiffer):
        raise Rejected("a separation proves statements of kind layers-differ.")
    fields.keyed(data, "the data", ())
    n = statement.tokens.columns
    require_enclosable(n)
    tokens, over = cleared_whole(statement.tokens, budget)
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
    W_q, over_queries = cleared_whole(layer.queries, budget)
    W_k, over_keys = cleared_whole(layer.keys, budget)
    queries, keys = (multiply(W, tokens, n, budget) for W in (W_q, W_k))
    bits = longest(queries) + longest(keys) + k.bit_length()
    budget.hold(h * n * n * (bits + above.bit_length() + HELD), "the logits of a layer")
    budget.spend(h * n * n * digits(bits) * digits(above.bit_length()), "scaling the logits")
    logits = []
    for i in range(h):
        part = slice(i * k, (i + 1) * k)
        product = multiply(transposed(queries[part], n), keys[part], n, budget)
        logits.append([[above * x for x in row] for row in product])
    W_v, over_values = cleared_whole(layer.values, budget)
    W_o, over_output = cleared_whole(layer.output, budget)
    carried = multiply(W_v, tokens, n, budget)
    bits = longest(W_o) + longest(carried) + v.bit_length()
    budget.hold(len(W_o) * h * n * (bits + HELD), "the values of a layer")
    values: Rows = [[] for _ in W_o]
    for i in range(h):
        part = slice(i * v, (i + 1) * v)
        for row, more in zip(
            values,
            multiply([row[part] for row in W_o], carried[part], n, budget),
            strict=True,
        ):
            row.extend(more)
    return Evaluated(
        logits, below * over_queries * over_keys * over**2, values, over_values * over_output * over
    )


def _side_by_side(f: Evaluated, g: Evaluated, budget: Budget) -> tuple[Rows, int]:
    """The values of f and those of g negated, over one denominator."""
    length = digits(f.over.bit_length()) + digits(g.over.bit_length())
    budget.spend(4 * length**2, "a denominator")
    common = lcm(f.over, g.over)
    factors = common // f.over, -(common // g.over)
    count = sum(len(layer.values) * len(layer.values[0]) for layer in (f, g))
    bits = longest(f.values + g.values)
    budget.hold(count * (bits + common.bit_length() + HELD), "the values over one denominator")
    budget.spend(count * digits(bits) * length, "clearing denominators")
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
    n = len(flat)
    centres: Rows = []
    widths: Rows = []
    for layer in layers:
        count, below = len(layer.logits) * n * (n - sum(flat)), layer.below.bit_length()
        enclosures.spend(count)
        bits = max(longest(logits) for logits in layer.logits) + enclosures.grid
        budget.spend(count * digits(bits) * digits(below), "the exponents")
        for logits in layer.logits:
            bounds = [
                ([1] * n, [1] * n) if flat[j] else _softmax(logits[j], layer.below, enclosures)
                for j in range(n)
            ]
            sums = [[x + y for x, y in zip(*pair, strict=True)] for pair in bounds]
            differences = [[y - x for x, y in zip(*pair, strict=True)] for pair in bounds]
            centres += transposed(sums, n)
            widths += transposed(differences, n)
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
    middle = multiply(values, centres, n, budget)
    radius = multiply([[abs(x) for x in row] for row in values], widths, n, budget)
    length = digits(longest(middle) + one.bit_length())
    budget.spend(2 * len(values) * n * (100 + length**2), "the squares of the differences")
    low = high = 0
    for row, errors in zip(middle, radius, strict=True):
        for x, error, equal in zip(row, errors, flat, strict=True):
            unit = one if equal else n
            low += (max(abs(x) - error, 0) * unit) ** 2
            high += ((abs(x) + error) * unit) ** 2
    return low, high
