"""The statements that a certificate may carry.

Each holds its parameters, not its proof; docs/certificates.md says what each claims. Throughout
``C = I - 11^T/n``, n the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rankbound.certificates.checker import sentences
from rankbound.certificates.matrices import Layer, Matrix
from rankbound.certificates.statement import Statement

__all__ = [
    "KINDS",
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
]


@dataclass(frozen=True, eq=False)
class Rank(Statement):
    """``lower <= rank(matrix) <= upper`` over the rationals."""

    kind = "rank"
    matrix: Matrix
    lower: int
    upper: int

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.rank(self.matrix, self.lower, self.upper)


@dataclass(frozen=True, eq=False)
class RankUnderError(Statement):
    """Every real matrix within `error` of `matrix`, entry by entry, has rank >= `lower`.

    `error` is a float, or a float matrix of the same shape, not negative.
    """

    kind = "rank-under-error"
    matrix: Matrix
    error: float | Matrix
    lower: int

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.rank_under_error(self.matrix, _uniform(self.error), self.lower)


@dataclass(frozen=True, eq=False)
class LogRank(Statement):
    """``lower <= rank(C logits) <= upper``: the log-rank of the context P ∝ exp(logits)."""

    kind = "log-rank"
    logits: Matrix
    lower: int
    upper: int

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.log_rank(self.logits, self.lower, self.upper)


@dataclass(frozen=True, eq=False)
class LogitRank(Statement):
    """Bounds of the rank of ``keys^T queries``, or of C times it if `centred`."""

    kind = "logit-rank"
    keys: Matrix
    queries: Matrix
    centred: bool
    lower: int
    upper: int

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.logit_rank(self.keys, self.centred, self.lower, self.upper)


@dataclass(frozen=True, eq=False)
class SingularValue(Statement):
    """Every real matrix within `error` entrywise has singular value number `index` >= `bound`.

    The largest is number 1.
    """

    kind = "singular-value"
    matrix: Matrix
    error: float | Matrix
    index: int
    bound: float

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.singular_value(self.matrix, _uniform(self.error), self.index, self.bound)


@dataclass(frozen=True, eq=False)
class LogRankWithin(Statement):
    """Every positive Q with ``abs(log Q - log context) <= ratio`` has log-rank >= `lower`.

    Entry by entry; so no head of size ``lower - 1``, on any tokens, has its context that near.
    """

    kind = "log-rank-within"
    context: Matrix
    ratio: float
    lower: int

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.log_rank_within(self.context, self.ratio, self.lower)


@dataclass(frozen=True, eq=False)
class RepresentedExactly(Statement):
    """``C (keys tokens)^T (queries tokens) = C logits``; tokens None: the identity."""

    kind = "represented-exactly"
    logits: Matrix
    keys: Matrix
    queries: Matrix
    tokens: Matrix | None = None

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.represented_exactly(self.logits, self.keys, self.tokens)


@dataclass(frozen=True, eq=False)
class RepresentedWithin(Statement):
    """The column softmax of ``scale keys^T queries`` is within e^±ratio of `context`.

    With tokens, `keys` and `queries` are the projections that make them.
    """

    kind = "represented-within"
    context: Matrix
    ratio: float
    keys: Matrix
    queries: Matrix
    scale: float
    tokens: Matrix | None = None

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.represented_within(self.context, self.ratio, self.keys, self.tokens)


@dataclass(frozen=True, eq=False)
class MaskedLogRank(Statement):
    """``lower <=`` least rank of logits that agree with these on the mask ``<= upper``.

    Agree up to a constant in each column; `mask` holds 1 where a key is visible, else 0.
    """

    kind = "masked-log-rank"
    logits: Matrix
    mask: Matrix
    lower: int
    upper: int

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.masked_log_rank(self.logits, self.lower, self.upper)


@dataclass(frozen=True, eq=False)
class RankAboveHeadSize(Statement):
    """The context P ∝ 2^exponents belongs to a head of size k and has rank(P) > k."""

    kind = "rank-above-head-size"
    exponents: Matrix
    keys: Matrix
    queries: Matrix

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.rank_above_head_size(self.exponents, self.keys)


@dataclass(frozen=True, eq=False)
class LayersDiffer(Statement):
    """``‖f(X) - g(X)‖_F >= gap`` for two layers of attention heads on the tokens X."""

    kind = "layers-differ"
    f: Layer
    g: Layer
    tokens: Matrix
    gap: Fraction

    def sentence(self) -> str:
        """The statement in words."""
        f, g = ((layer.heads, layer.keys.rows // layer.heads) for layer in (self.f, self.g))
        return sentences.layers_differ(f, g, self.tokens, self.gap)


@dataclass(frozen=True, eq=False)
class Unreachable(Statement):
    """No head of any size has the context P ∝ exp(logits) on the tokens, nor P ∝ b^logits."""

    kind = "unreachable"
    logits: Matrix
    tokens: Matrix

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.unreachable(self.logits, self.tokens)


@dataclass(frozen=True, eq=False)
class UnreachableWithin(Statement):
    """No head of any size has, on the tokens, a context within e^±ratio of `context`."""

    kind = "unreachable-within"
    context: Matrix
    ratio: float
    tokens: Matrix

    def sentence(self) -> str:
        """The statement in words."""
        return sentences.unreachable_within(self.context, self.ratio, self.tokens)


def _uniform(error: float | Matrix) -> float | None:
    return None if isinstance(error, Matrix) else error


KINDS: dict[str, type[Statement]] = {
    statement.kind: statement
    for statement in (
        Rank,
        RankUnderError,
        LogRank,
        LogitRank,
        SingularValue,
        LogRankWithin,
        RepresentedExactly,
        RepresentedWithin,
        MaskedLogRank,
        RankAboveHeadSize,
        LayersDiffer,
        Unreachable,
        UnreachableWithin,
    )
}
