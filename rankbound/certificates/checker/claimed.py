"""Statements as the checker holds them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rankbound.certificates.checker import sentences
from rankbound.certificates.checker.outcome import Rejected
from rankbound.certificates.checker.tables import Table

__all__ = [
    "Layer",
    "LayersDiffer",
    "LogRank",
    "LogRankWithin",
    "LogitRank",
    "MaskedLogRank",
    "Rank",
    "RankAboveHeadSize",
    "RankUnderError",
    "RepresentedExactly",
    "RepresentedWithin",
    "SingularValue",
    "Statement",
    "Unreachable",
    "UnreachableWithin",
    "require_shape_bound",
]


@dataclass(frozen=True, eq=False)
class Rank:
    """lower <= rank(matrix) <= upper."""

    matrix: Table
    lower: int
    upper: int

    @property
    def shape_bound(self) -> int:
        """What the shape alone says."""
        return min(self.matrix.rows, self.matrix.columns)

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.rank(self.matrix, self.lower, self.upper)


@dataclass(frozen=True, eq=False)
class RankUnderError:
    """Every real matrix within the error has rank >= lower."""

    matrix: Table
    error: Table
    uniform: float | None
    lower: int

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.rank_under_error(self.matrix, self.uniform, self.lower)


@dataclass(frozen=True, eq=False)
class LogRank:
    """lower <= rank(C logits) <= upper."""

    logits: Table
    lower: int
    upper: int

    @property
    def shape_bound(self) -> int:
        """What the shape alone says."""
        return self.logits.rows - 1

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.log_rank(self.logits, self.lower, self.upper)


@dataclass(frozen=True, eq=False)
class LogitRank:
    """lower <= rank(K^T Q) <= upper, or of C K^T Q."""

    keys: Table
    queries: Table
    centred: bool
    lower: int
    upper: int

    @property
    def shape_bound(self) -> int:
        """What the shape alone says."""
        return min(self.keys.rows, self.keys.columns - self.centred)

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.logit_rank(self.keys, self.centred, self.lower, self.upper)


@dataclass(frozen=True, eq=False)
class SingularValue:
    """Every real matrix within the error has its index-th singular value >= bound."""

    matrix: Table
    error: Table
    uniform: float | None
    index: int
    bound: float

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.singular_value(self.matrix, self.uniform, self.index, self.bound)


@dataclass(frozen=True, eq=False)
class LogRankWithin:
    """Every positive Q within the ratio of the context has rank(C log Q) >= lower."""

    context: Table
    ratio: float
    lower: int

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.log_rank_within(self.context, self.ratio, self.lower)


@dataclass(frozen=True, eq=False)
class RepresentedExactly:
    """(keys tokens)^T (queries tokens) = C logits."""

    logits: Table
    keys: Table
    queries: Table
    tokens: Table | None

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.represented_exactly(self.logits, self.keys, self.tokens)


@dataclass(frozen=True, eq=False)
class RepresentedWithin:
    """The column softmax of scale keys^T queries is within the ratio of the context."""

    context: Table
    ratio: float
    keys: Table
    queries: Table
    scale: float
    tokens: Table | None

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.represented_within(self.context, self.ratio, self.keys, self.tokens)


@dataclass(frozen=True, eq=False)
class MaskedLogRank:
    """Bounds of the least rank of logits that agree with the given ones on the mask."""

    logits: Table
    visible: list[list[int]]
    lower: int
    upper: int

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.masked_log_rank(self.logits, self.lower, self.upper)


@dataclass(frozen=True, eq=False)
class RankAboveHeadSize:
    """P ∝ 2^exponents belongs to a head of size k and has rank above k."""

    exponents: Table
    keys: Table
    queries: Table

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.rank_above_head_size(self.exponents, self.keys)


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


@dataclass(frozen=True, eq=False)
class LayersDiffer:
    """‖f(X) - g(X)‖_F >= gap."""

    f: Layer
    g: Layer
    tokens: Table
    gap: Fraction

    def sentence(self) -> str:
        """The statement in words."""
        f, g = ((layer.heads, layer.head_size) for layer in (self.f, self.g))
        return sentences.layers_differ(f, g, self.tokens, self.gap)


@dataclass(frozen=True, eq=False)
class Unreachable:
    """No head of any size has the context of the logits on the tokens."""

    logits: Table
    tokens: Table

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.unreachable(self.logits, self.tokens)


@dataclass(frozen=True, eq=False)
class UnreachableWithin:
    """No head of any size has a context within the ratio of this on the tokens."""

    context: Table
    ratio: float
    tokens: Table

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.unreachable_within(self.context, self.ratio, self.tokens)


Statement = (
    Rank
    | RankUnderError
    | LogRank
    | LogitRank
    | SingularValue
    | LogRankWithin
    | RepresentedExactly
    | RepresentedWithin
    | MaskedLogRank
    | RankAboveHeadSize
    | LayersDiffer
    | Unreachable
    | UnreachableWithin
)


def require_shape_bound(statement: Rank | LogRank | LogitRank) -> None:
    """Reject an upper bound below what the shape gives: nothing here would prove it."""
    if statement.upper < statement.shape_bound:
        raise Rejected(
            f"the upper bound {statement.upper} is below {statement.shape_bound}, what the shape "
            "gives, and this kind of certificate proves no other."
        )
