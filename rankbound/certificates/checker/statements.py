"""Statements as the checker reads and holds them: what each claims, in words, and what it demands.

The writer's are in ``certificates.statements``; the two share no code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import dataclass_transform

from rankbound.certificates.checker import fields, tables
from rankbound.certificates.checker.fields import LARGEST_EXPONENT, Rejected, shown
from rankbound.certificates.checker.tables import (
    ANY,
    EXACT,
    FLOAT,
    INTEGER,
    Rows,
    Table,
    read_table,
)


@dataclass_transform(eq_default=False, frozen_default=True)
class Statement:
    """A statement as the checker holds it, a frozen dataclass; as a string, in words."""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, eq=False)(cls)


class Rank(Statement):
    """lower <= rank(matrix) <= upper."""

    matrix: Table
    lower: int
    upper: int

    def __str__(self) -> str:
        return f"the {self.matrix} matrix has rank {_between(self.lower, self.upper)}"


class RankUnderError(Statement):
    """Every real matrix within the error has rank >= lower."""

    matrix: Table
    error: Table
    uniform: float | None
    lower: int

    def __str__(self) -> str:
        return (
            f"every real matrix within {_given_error(self.uniform)} of {_given(self.matrix)} "
            f"has rank at least {self.lower}"
        )


class LogRank(Statement):
    """lower <= rank(C logits) <= upper."""

    logits: Table
    lower: int
    upper: int

    def __str__(self) -> str:
        return (
            f"the context P ∝ exp(L) of the {self.logits} logits L has "
            f"log-rank {_between(self.lower, self.upper)}, and so has P ∝ b^L for every base b > 0 "
            "other than 1"
        )


class LogitRank(Statement):
    """lower <= rank(K^T Q) <= upper, or of C K^T Q."""

    keys: Table
    queries: Table
    centred: bool
    lower: int
    upper: int

    def __str__(self) -> str:
        what, has = ("the context", "has log-rank") if self.centred else ("the logits", "have rank")
        return (
            f"{what} of the head of size {self.keys.rows} given by its keys and queries, "
            f"{self.keys.shape}, {has} {_between(self.lower, self.upper)}"
        )


class SingularValue(Statement):
    """Every real matrix within the error has its index-th singular value >= bound."""

    matrix: Table
    error: Table
    uniform: float | None
    index: int
    bound: float

    def __str__(self) -> str:
        return (
            f"every real matrix within {_given_error(self.uniform)} of {_given(self.matrix)} has "
            f"singular value number {self.index} (the largest is number 1) at least {self.bound!r}"
        )


class LogRankWithin(Statement):
    """Every positive Q within the ratio of the context has rank(C log Q) >= lower."""

    context: Table
    ratio: float
    lower: int

    def __str__(self) -> str:
        said = (
            f"every positive matrix within a factor e^±{self.ratio!r} of the "
            f"{self.context.shape} context, entry by entry, has log-rank at least {self.lower}"
        )
        if self.lower < 2:
            return said
        return f"{said}: no head of size {self.lower - 1}, on any tokens, has its context that near"


class RepresentedExactly(Statement):
    """(keys tokens)^T (queries tokens) = C logits."""

    logits: Table
    keys: Table
    queries: Table
    tokens: Table | None

    def __str__(self) -> str:
        return (
            f"a head of size {self.keys.rows}, on {_on(self.tokens)}, has exactly the context "
            f"P ∝ exp(L) of the {self.logits} logits L, and one has "
            "P ∝ b^L for every base b > 0"
        )


class RepresentedMasked(Statement):
    """(keys tokens)^T (queries tokens) is logits on the mask, up to a constant in each column."""

    logits: Table
    visible: Rows
    keys: Table
    queries: Table
    tokens: Table | None

    def __str__(self) -> str:
        return (
            f"a head of size {self.keys.rows}, on {_on(self.tokens)} and under the mask, has "
            f"exactly the context P ∝ exp(L) of the {self.logits} logits L, and one has "
            "P ∝ b^L for every base b > 0"
        )


class RepresentedWithin(Statement):
    """The column softmax of scale keys^T queries is within the ratio of the context."""

    context: Table
    ratio: float
    keys: Table
    queries: Table
    scale: float
    tokens: Table | None

    def __str__(self) -> str:
        return (
            f"the context of a head of size {self.keys.rows}, on {_on(self.tokens)}, is within a "
            f"factor e^±{self.ratio!r} of the {self.context.shape} context given, its columns "
            "normalised, entry by entry"
        )


class MaskedLogRank(Statement):
    """Bounds of the least rank of logits that agree with the given ones on the mask."""

    logits: Table
    visible: list[list[int]]
    lower: int
    upper: int

    def __str__(self) -> str:
        return (
            f"the least head size with which a head has the logits L, {self.logits.shape} "
            f"{self.logits.type}, up to a constant in each column, where the mask shows them, is "
            f"in [{self.lower}, {self.upper}]"
        )


class RankAboveHeadSize(Statement):
    """P ∝ 2^exponents belongs to a head of size k and has rank above k."""

    exponents: Table
    keys: Table
    queries: Table

    def __str__(self) -> str:
        k = self.keys.rows
        return (
            f"the context P ∝ 2^E of the {self.exponents.shape} exponents E belongs to a head of "
            f"size {k} and has rank(P) > {k}: rank(P) <= head size is false"
        )


@dataclass(frozen=True, eq=False)
class Layer:
    """Heads of one shape, their projections one after the other, and what multiplies the logits."""

    heads: int
    queries: Table
    keys: Table
    values: Table
    output: Table
    scale: Fraction

    @property
    def head_size(self) -> int:
        """Query and key coordinates of each head."""
        return self.keys.rows // self.heads

    @property
    def value_size(self) -> int:
        """Value coordinates of each head."""
        return self.values.rows // self.heads


class LayersDiffer(Statement):
    """‖f(X) - g(X)‖_F >= gap."""

    f: Layer
    g: Layer
    tokens: Table
    gap: Fraction

    def __str__(self) -> str:
        # six digits, rounded down
        down = Context(prec=6, rounding=ROUND_FLOOR)
        gap = down.divide(Decimal(self.gap.numerator), Decimal(self.gap.denominator))
        return (
            f"on the {self.tokens.shape} tokens given, the outputs of the layer f of "
            f"{_heads(self.f)} and of the layer g of {_heads(self.g)} differ by at least {gap} in "
            "the Frobenius norm"
        )


class Unreachable(Statement):
    """No head of any size has the context of the logits on the tokens."""

    logits: Table
    tokens: Table

    def __str__(self) -> str:
        return (
            f"no head of any size has, on the {self.tokens.shape} tokens given, the context "
            f"P ∝ exp(L) of the {self.logits} logits L, nor P ∝ b^L for "
            "any base b > 0 other than 1"
        )


class UnreachableMasked(Statement):
    """No head of any size has the context of the logits on the tokens under the mask."""

    logits: Table
    visible: Rows
    tokens: Table

    def __str__(self) -> str:
        return (
            f"no head of any size has, on the {self.tokens.shape} tokens given and under the mask, "
            f"the context P ∝ exp(L) of the {self.logits} logits L, nor P ∝ b^L for "
            "any base b > 0 other than 1"
        )


class UnreachableMaskedWithin(Statement):
    """No head of any size has a context within the ratio of this on the tokens under the mask."""

    context: Table
    visible: Rows
    ratio: float
    tokens: Table

    def __str__(self) -> str:
        return (
            f"no head of any size has, on the {self.tokens.shape} tokens given and under the mask, "
            f"a context within a factor e^±{self.ratio!r} of the {self.context.shape} context "
            "given, in every entry that is visible"
        )


class UnreachableWithin(Statement):
    """No head of any size has a context within the ratio of this on the tokens."""

    context: Table
    ratio: float
    tokens: Table

    def __str__(self) -> str:
        return (
            f"no head of any size has, on the {self.tokens.shape} tokens given, a context within "
            f"a factor e^±{self.ratio!r} of the {self.context.shape} context given, entry by "
            "entry"
        )


class Selectable(Statement):
    """Every set of at most so many keys is selected by some query."""

    keys: Table
    most: int

    def __str__(self) -> str:
        return (
            f"of the {self.keys.columns} keys given, in dimension {self.keys.rows}, every set of "
            f"at most {self.most} has a query that scores each of them above each other key"
        )


class Unselectable(Statement):
    """No query selects these keys."""

    keys: Table
    members: tuple[int, ...]

    def __str__(self) -> str:
        return (
            f"of the {self.keys.columns} keys given, in dimension {self.keys.rows}, no query "
            f"scores each of {list(self.members)} above each other key"
        )


def _heads(layer: Layer) -> str:
    return f"{layer.heads} head{'' if layer.heads == 1 else 's'} of size {layer.head_size}"


def _given(matrix: Table) -> str:
    return f"the {matrix} matrix, entry by entry,"


def _given_error(error: float | None) -> str:
    return "the errors given" if error is None else repr(error)


def _on(tokens: Table | None) -> str:
    return "the identity as tokens" if tokens is None else f"the {tokens.shape} tokens given"


def _between(lower: int, upper: int) -> str:
    return f"exactly {lower}" if lower == upper else f"between {lower} and {upper}"


RankBetween = Rank | LogRank | LogitRank


def require_shape_bound(statement: RankBetween) -> None:
    """Reject an upper bound below what the shape gives: nothing here would prove it."""
    match statement:
        case Rank(matrix=table):
            most = min(table.rows, table.columns)
        case LogRank(logits=table):
            most = table.rows - 1
        case LogitRank(keys=table):
            most = min(table.rows, table.columns - statement.centred)
    if statement.upper < most:
        raise Rejected(
            f"the upper bound {statement.upper} is below {most}, what the shape gives, and this "
            "kind of certificate proves no other."
        )


# ---- reading


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
    "selectable": (("keys", "most"), _selectable),
    "unselectable": (("keys", "members"), _unselectable),
    "unreachable-masked": (("logits", "mask", "tokens"), _unreachable_masked),
    "unreachable-masked-within": (
        ("context", "mask", "ratio", "tokens"),
        _unreachable_masked_within,
    ),
}
