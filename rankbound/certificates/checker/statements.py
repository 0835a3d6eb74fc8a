"""Statements as the checker holds them: what each claims, in words, and what it demands.

The writer's are in ``certificates.statements``; the two share no code.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import dataclass_transform

from rankbound.certificates.checker.fields import Rejected
from rankbound.certificates.checker.tables import Rows, Table


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


class KLAbove(Statement):
    """KL(P ‖ Q) >= bound for every context Q of a head of the size, P the context normalised."""

    context: Table
    head_size: int
    bound: float

    def __str__(self) -> str:
        return (
            f"no head of size {self.head_size}, on any tokens, has a mean KL divergence below "
            f"{self.bound!r} from the {self.context.shape} context given, columns normalised"
        )


class KLAboveOfLogits(Statement):
    """The same for P the column softmax of the logits."""

    logits: Table
    head_size: int
    bound: float

    def __str__(self) -> str:
        return (
            f"no head of size {self.head_size}, on any tokens, has a mean KL divergence below "
            f"{self.bound!r} from the context P ∝ exp(L) of the {self.logits} logits L"
        )


class SignRank(Statement):
    """Every real matrix with these signs has rank >= lower."""

    signs: Table
    lower: int

    def __str__(self) -> str:
        return (
            f"every real matrix with the signs of the {self.signs.shape} matrix given has rank "
            f"at least {self.lower}"
        )


class ScaleAbove(Statement):
    """A head that selects so many keys has a scale of at least the bound."""

    count: int
    head_size: int
    error: float
    bound: float

    def __str__(self) -> str:
        return (
            f"a head of size {self.head_size} whose queries put a probability of at least "
            f"1 - {self.error!r} on each of {self.count} keys, a key for a query, has a scale "
            f"max ‖q‖ max ‖k‖ of at least {self.bound!r}"
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
