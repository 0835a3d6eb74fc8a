"""Statements read from their JSON, each of them strictly."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.claimed import (
    Layer,
    LayersDiffer,
    LogitRank,
    LogRank,
    LogRankWithin,
    MaskedLogRank,
    Rank,
    RankAboveHeadSize,
    RankUnderError,
    RepresentedExactly,
    RepresentedWithin,
    SingularValue,
    Statement,
    Unreachable,
    UnreachableWithin,
)
from rankbound.certificates.checker.limits import LARGEST_EXPONENT
from rankbound.certificates.checker.outcome import Rejected, shown
from rankbound.certificates.checker.tables import (
    ANY,
    EXACT,
    FLOAT,
    INTEGER,
    Table,
    constant,
    read_table,
    transposed,
)

__all__ = ["read_statement"]


def read_statement(value: object) -> tuple[str, Statement]:
    """The kind and the statement, or a rejection."""
    if not isinstance(value, dict):
        raise Rejected(f"the statement is {shown(value)}; expected an object.")
    kind = fields.text(value.get("kind"), "the kind of the statement")
    if kind not in READERS:
        raise Rejected(f"the statement is of an unknown kind {shown(kind)}.")
    required, optional, reader = READERS[kind]
    return kind, reader(fields.keyed(value, "the statement", ("kind", *required), optional))


def _rank(data: dict[str, object]) -> Rank:
    return Rank(read_table(data["matrix"], "the matrix", ANY), *_bounds(data))


def _rank_under_error(data: dict[str, object]) -> RankUnderError:
    matrix = read_table(data["matrix"], "the matrix", FLOAT)
    return RankUnderError(matrix, *_error(data["error"], matrix), _lower(data))


def _log_rank(data: dict[str, object]) -> LogRank:
    return LogRank(_square(data["logits"], "the logits", EXACT), *_bounds(data))


def _logit_rank(data: dict[str, object]) -> LogitRank:
    keys = read_table(data["keys"], "the matrix of keys", ANY)
    queries = _alike(data["queries"], "the matrix of queries", ANY, keys)
    centred = fields.boolean(data["centred"], "centred")
    return LogitRank(keys, queries, centred, *_bounds(data))


def _singular_value(data: dict[str, object]) -> SingularValue:
    matrix = read_table(data["matrix"], "the matrix", FLOAT)
    index = fields.size(data["index"], "the index", 1, min(matrix.rows, matrix.columns))
    bound = fields.nonnegative(data["bound"], "the bound")
    if not bound:
        raise Rejected("the bound is zero; expected a positive number.")
    return SingularValue(matrix, *_error(data["error"], matrix), index, bound)


def _log_rank_within(data: dict[str, object]) -> LogRankWithin:
    context = _context(data["context"])
    return LogRankWithin(context, fields.nonnegative(data["ratio"], "the ratio"), _lower(data))


def _represented_exactly(data: dict[str, object]) -> RepresentedExactly:
    logits = _square(data["logits"], "the logits", EXACT)
    return RepresentedExactly(logits, *_head(data, EXACT, logits))


def _represented_within(data: dict[str, object]) -> RepresentedWithin:
    context = _context(data["context"])
    ratio = fields.nonnegative(data["ratio"], "the ratio")
    keys, queries, tokens = _head(data, FLOAT, context)
    scale = fields.floating(data["scale"], "the scale")
    return RepresentedWithin(context, ratio, keys, queries, scale, tokens)


def _head(
    data: dict[str, object], types: tuple[str, ...], square: Table
) -> tuple[Table, Table, Table | None]:
    """Keys and queries for as many tokens as the square table has, or projections and tokens."""
    keys = read_table(data["keys"], "the matrix of keys", types)
    queries = _alike(data["queries"], "the matrix of queries", types, keys)
    given = data.get("tokens")
    tokens = None if given is None else read_table(given, "the matrix of tokens", types)
    if tokens is not None and tokens.rows != keys.columns:
        raise Rejected(f"the tokens have {tokens.rows} rows and the keys {keys.columns} columns.")
    _as_many(keys.columns if tokens is None else tokens.columns, square)
    return keys, queries, tokens


def _masked_log_rank(data: dict[str, object]) -> MaskedLogRank:
    logits = _square(data["logits"], "the logits", EXACT)
    mask = _alike(data["mask"], "the mask", INTEGER, logits)
    visible = mask.numerators
    if any(x not in (0, 1) for row in visible for x in row):
        raise Rejected("an entry of the mask is neither 0 nor 1.")
    if not all(any(column) for column in transposed(visible, logits.columns)):
        raise Rejected("the mask hides every key from a query.")
    lower, upper = _bounds(data)
    return MaskedLogRank(logits, visible, lower, upper)


def _rank_above_head_size(data: dict[str, object]) -> RankAboveHeadSize:
    exponents = _square(data["exponents"], "the exponents", INTEGER)
    if not all(0 <= x <= LARGEST_EXPONENT for row in exponents.numerators for x in row):
        raise Rejected(f"an exponent is out of bounds; expected 0 to {LARGEST_EXPONENT}.")
    keys = read_table(data["keys"], "the matrix of keys", INTEGER)
    queries = _alike(data["queries"], "the matrix of queries", INTEGER, keys)
    _as_many(keys.columns, exponents)
    return RankAboveHeadSize(exponents, keys, queries)


def _layers_differ(data: dict[str, object]) -> LayersDiffer:
    tokens = read_table(data["tokens"], "the matrix of tokens", ANY)
    f, g = (_layer(data[name], name, tokens.rows) for name in ("f", "g"))
    gap = Fraction(*fields.rational(data["gap"], "the gap"))
    if gap <= 0:
        raise Rejected("the gap is not positive.")
    return LayersDiffer(f, g, tokens, gap)


def _layer(value: object, name: str, d: int) -> Layer:
    data = fields.keyed(value, f"the layer {name}", LAYER)
    heads = fields.size(data["heads"], f"the number of heads of {name}", 1)
    keys = read_table(data["keys"], f"the keys of {name}", ANY)
    queries = _alike(data["queries"], f"the queries of {name}", ANY, keys)
    values = read_table(data["values"], f"the values of {name}", ANY)
    output = read_table(data["output"], f"the output of {name}", ANY)
    if keys.rows % heads or values.rows % heads:
        raise Rejected(f"the rows of {name} do not divide into {heads} heads.")
    if not keys.columns == values.columns == output.rows == d or output.columns != values.rows:
        raise Rejected(f"the projections of {name} do not fit each other and tokens of {d} rows.")
    scale = Fraction(*fields.rational(data["scale"], f"the scale of {name}"))
    return Layer(heads, queries, keys, values, output, scale)


def _unreachable(data: dict[str, object]) -> Unreachable:
    logits = _square(data["logits"], "the logits", EXACT)
    return Unreachable(logits, _tokens(data["tokens"], logits))


def _unreachable_within(data: dict[str, object]) -> UnreachableWithin:
    context = _context(data["context"])
    ratio = fields.nonnegative(data["ratio"], "the ratio")
    return UnreachableWithin(context, ratio, _tokens(data["tokens"], context))


def _tokens(value: object, square: Table) -> Table:
    tokens = read_table(value, "the matrix of tokens", ANY)
    _as_many(tokens.columns, square)
    return tokens


def _bounds(data: dict[str, object]) -> tuple[int, int]:
    lower, upper = _lower(data), fields.size(data["upper"], "the upper bound")
    if lower > upper:
        raise Rejected(f"the lower bound {lower} is above the upper bound {upper}.")
    return lower, upper


def _lower(data: dict[str, object]) -> int:
    return fields.size(data["lower"], "the lower bound")


def _error(value: object, matrix: Table) -> tuple[Table, float | None]:
    if not isinstance(value, dict):
        uniform = fields.nonnegative(value, "the error")
        return constant(uniform, matrix.rows, matrix.columns), uniform
    error = _alike(value, "the matrix of errors", FLOAT, matrix)
    if any(x < 0 for row in error.numerators for x in row):
        raise Rejected("an error is negative.")
    return error, None


def _context(value: object) -> Table:
    context = _square(value, "the context", FLOAT)
    if not all(x > 0 for row in context.numerators for x in row):
        raise Rejected("an entry of the context is not positive.")
    return context


def _square(value: object, where: str, types: tuple[str, ...]) -> Table:
    table = read_table(value, where, types)
    if table.rows != table.columns:
        raise Rejected(f"{where} is {table.rows} × {table.columns}; expected a square matrix.")
    return table


def _alike(value: object, where: str, types: tuple[str, ...], other: Table) -> Table:
    table = read_table(value, where, types)
    if (table.rows, table.columns) != (other.rows, other.columns):
        raise Rejected(
            f"{where} is {table.rows} × {table.columns}; expected {other.rows} × {other.columns}."
        )
    return table


def _as_many(tokens: int, square: Table) -> None:
    if tokens != square.rows:
        raise Rejected(f"the head has {tokens} tokens and the matrix {square.rows} rows.")


LAYER = ("heads", "queries", "keys", "values", "output", "scale")

READERS: dict[
    str, tuple[tuple[str, ...], tuple[str, ...], Callable[[dict[str, object]], Statement]]
] = {
    "rank": (("matrix", "lower", "upper"), (), _rank),
    "rank-under-error": (("matrix", "error", "lower"), (), _rank_under_error),
    "log-rank": (("logits", "lower", "upper"), (), _log_rank),
    "logit-rank": (("keys", "queries", "centred", "lower", "upper"), (), _logit_rank),
    "singular-value": (("matrix", "error", "index", "bound"), (), _singular_value),
    "log-rank-within": (("context", "ratio", "lower"), (), _log_rank_within),
    "represented-exactly": (("logits", "keys", "queries"), ("tokens",), _represented_exactly),
    "represented-within": (
        ("context", "ratio", "keys", "queries", "scale"),
        ("tokens",),
        _represented_within,
    ),
    "masked-log-rank": (("logits", "mask", "lower", "upper"), (), _masked_log_rank),
    "rank-above-head-size": (("exponents", "keys", "queries"), (), _rank_above_head_size),
    "layers-differ": (("f", "g", "tokens", "gap"), (), _layers_differ),
    "unreachable": (("logits", "tokens"), (), _unreachable),
    "unreachable-within": (("context", "ratio", "tokens"), (), _unreachable_within),
}
