"""Statements read from their JSON, strictly: what each kind demands of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from rankbound.certificates.checker import fields, tables
from rankbound.certificates.checker.fields import LARGEST_EXPONENT, Rejected, shown
from rankbound.certificates.checker.statements import (
    KLAbove,
    KLAboveOfLogits,
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
    RepresentedMasked,
    RepresentedWithin,
    ScaleAbove,
    Selectable,
    SignRank,
    SingularValue,
    Statement,
    Unreachable,
    UnreachableMasked,
    UnreachableMaskedWithin,
    UnreachableWithin,
    Unselectable,
)
from rankbound.certificates.checker.tables import (
    ANY,
    EXACT,
    FLOAT,
    INTEGER,
    Rows,
    Table,
    read_table,
)

MOST_SELECTED = 10**6 - 1  # keys of a scale


def read_statement(value: object) -> tuple[str, Statement]:
    """The kind and the statement, or a rejection."""
    if not isinstance(value, dict):
        raise Rejected(f"the statement is {shown(value)}; expected an object.")
    kind = fields.text(value.get("kind"), "the kind of the statement")
    if kind not in READERS:
        raise Rejected(f"the statement is of an unknown kind {shown(kind)}.")
    required, reader = READERS[kind]
    optional = ("tokens",) if kind.startswith("represented") else ()
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
    queries = read_table(data["queries"], "the matrix of queries", ANY, shape=keys.shape)
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
    queries = read_table(data["queries"], "the matrix of queries", types, shape=keys.shape)
    given = data.get("tokens")
    tokens = None if given is None else read_table(given, "the matrix of tokens", types)
    if tokens is not None and tokens.rows != keys.columns:
        raise Rejected(f"the tokens have {tokens.rows} rows and the keys {keys.columns} columns.")
    _as_many(keys.columns if tokens is None else tokens.columns, square)
    return keys, queries, tokens


def _masked_log_rank(data: dict[str, object]) -> MaskedLogRank:
    logits = _square(data["logits"], "the logits", EXACT)
    return MaskedLogRank(logits, _mask(data["mask"], logits), *_bounds(data))


def _represented_masked(data: dict[str, object]) -> RepresentedMasked:
    logits = _square(data["logits"], "the logits", EXACT)
    return RepresentedMasked(logits, _mask(data["mask"], logits), *_head(data, EXACT, logits))


def _rank_above_head_size(data: dict[str, object]) -> RankAboveHeadSize:
    exponents = _square(data["exponents"], "the exponents", INTEGER)
    if not all(0 <= x <= LARGEST_EXPONENT for row in exponents.numerators for x in row):
        raise Rejected(f"an exponent is out of bounds; expected 0 to {LARGEST_EXPONENT}.")
    keys = read_table(data["keys"], "the matrix of keys", INTEGER)
    queries = read_table(data["queries"], "the matrix of queries", INTEGER, shape=keys.shape)
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
    queries = read_table(data["queries"], f"the queries of {name}", ANY, shape=keys.shape)
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


def _unreachable_masked(data: dict[str, object]) -> UnreachableMasked:
    logits = _square(data["logits"], "the logits", EXACT)
    return UnreachableMasked(logits, _mask(data["mask"], logits), _tokens(data["tokens"], logits))


def _unreachable_masked_within(data: dict[str, object]) -> UnreachableMaskedWithin:
    context = _square(data["context"], "the context", FLOAT)
    visible = _mask(data["mask"], context)
    for row, seen in zip(context.numerators, visible, strict=True):
        if any((x > 0) != bool(shown) or x < 0 for x, shown in zip(row, seen, strict=True)):
            raise Rejected("the context is not positive where the mask shows and zero elsewhere.")
    ratio = fields.nonnegative(data["ratio"], "the ratio")
    return UnreachableMaskedWithin(context, visible, ratio, _tokens(data["tokens"], context))


def _selectable(data: dict[str, object]) -> Selectable:
    keys = read_table(data["keys"], "the matrix of keys", ANY)
    return Selectable(keys, fields.size(data["most"], "the size of sets", 1, keys.columns))


def _unselectable(data: dict[str, object]) -> Unselectable:
    keys = read_table(data["keys"], "the matrix of keys", ANY)
    members = fields.distinct_indices(data["members"], "the members", keys.columns)
    return Unselectable(keys, tuple(members))


def _kl_above(data: dict[str, object]) -> KLAbove:
    return KLAbove(_context(data["context"]), *_size_and_bound(data))


def _kl_above_of_logits(data: dict[str, object]) -> KLAboveOfLogits:
    return KLAboveOfLogits(_square(data["logits"], "the logits", ANY), *_size_and_bound(data))


def _size_and_bound(data: dict[str, object]) -> tuple[int, float]:
    size = fields.size(data["head_size"], "the head size", 1)
    return size, fields.nonnegative(data["bound"], "the bound")


def _sign_rank(data: dict[str, object]) -> SignRank:
    signs = read_table(data["signs"], "the matrix of signs", INTEGER)
    if any(x not in (1, -1) for row in signs.numerators for x in row):
        raise Rejected("a sign is neither 1 nor -1.")
    return SignRank(signs, _lower(data))


def _scale_above(data: dict[str, object]) -> ScaleAbove:
    count = fields.size(data["count"], "the number of keys", 1, MOST_SELECTED)
    error = fields.nonnegative(data["error"], "the error")
    if not 0 < error < 1:
        raise Rejected("the error is not between 0 and 1.")
    size, bound = _size_and_bound(data)
    return ScaleAbove(count, size, error, bound)


def _mask(value: object, square: Table) -> Rows:
    """Rows of 0 and 1, 1 where a key is visible; every query sees one."""
    visible = read_table(value, "the mask", INTEGER, shape=square.shape).numerators
    if any(x not in (0, 1) for row in visible for x in row):
        raise Rejected("an entry of the mask is neither 0 nor 1.")
    if not all(any(column) for column in tables.transposed(visible, square.columns)):
        raise Rejected("the mask hides every key from a query.")
    return visible


def _tokens(value: object, square: Table) -> Table:
    tokens = read_table(value, "the matrix of tokens", ANY)
    _as_many(tokens.columns, square)
    return tokens


def _bounds(data: dict[str, object]) -> tuple[int, int]:
    lower = fields.size(data["lower"], "the lower bound")
    upper = fields.size(data["upper"], "the upper bound")
    if lower > upper:
        raise Rejected(f"the lower bound {lower} is above the upper bound {upper}.")
    return lower, upper


def _lower(data: dict[str, object]) -> int:
    return fields.size(data["lower"], "the lower bound")


def _error(value: object, matrix: Table) -> tuple[Table, float | None]:
    if not isinstance(value, dict):
        uniform = fields.nonnegative(value, "the error")
        return tables.constant(uniform, matrix.rows, matrix.columns), uniform
    error = read_table(value, "the matrix of errors", FLOAT, shape=matrix.shape)
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
        raise Rejected(f"{where} is {table.shape}; expected a square matrix.")
    return table


def _as_many(tokens: int, square: Table) -> None:
    if tokens != square.rows:
        raise Rejected(f"the head has {tokens} tokens and the matrix {square.rows} rows.")


LAYER = ("heads", "queries", "keys", "values", "output", "scale")

Reader = Callable[[dict[str, object]], Statement]
READERS: dict[str, tuple[tuple[str, ...], Reader]] = {
    "rank": (("matrix", "lower", "upper"), _rank),
    "rank-under-error": (("matrix", "error", "lower"), _rank_under_error),
    "log-rank": (("logits", "lower", "upper"), _log_rank),
    "logit-rank": (("keys", "queries", "centred", "lower", "upper"), _logit_rank),
    "singular-value": (("matrix", "error", "index", "bound"), _singular_value),
    "log-rank-within": (("context", "ratio", "lower"), _log_rank_within),
    "represented-exactly": (("logits", "keys", "queries"), _represented_exactly),
    "represented-within": (("context", "ratio", "keys", "queries", "scale"), _represented_within),
    "represented-masked": (("logits", "mask", "keys", "queries"), _represented_masked),
    "masked-log-rank": (("logits", "mask", "lower", "upper"), _masked_log_rank),
    "rank-above-head-size": (("exponents", "keys", "queries"), _rank_above_head_size),
    "layers-differ": (("f", "g", "tokens", "gap"), _layers_differ),
    "unreachable": (("logits", "tokens"), _unreachable),
    "unreachable-within": (("context", "ratio", "tokens"), _unreachable_within),
    "kl-above": (("context", "head_size", "bound"), _kl_above),
    "kl-above-of-logits": (("logits", "head_size", "bound"), _kl_above_of_logits),
    "sign-rank": (("signs", "lower"), _sign_rank),
    "scale-above": (("count", "head_size", "error", "bound"), _scale_above),
    "selectable": (("keys", "most"), _selectable),
    "unselectable": (("keys", "members"), _unselectable),
    "unreachable-masked": (("logits", "mask", "tokens"), _unreachable_masked),
    "unreachable-masked-within": (
        ("context", "mask", "ratio", "tokens"),
        _unreachable_masked_within,
    ),
}
