"""The statements that a certificate may carry.

Each holds its parameters, not its proof; docs/certificates.md says what each claims. Throughout
``C = I - 11^T/n``, n the number of rows. The checker has a table of its own.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

from rankbound.certificates.checker.reading import read_statement
from rankbound.certificates.matrices import Layer, Matrix, Record

KINDS: dict[str, type[Statement]] = {}


class Statement(Record):
    """What a certificate states: a kind and parameters."""

    kind: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        KINDS[cls.kind] = cls

    def sentence(self) -> str:
        """The statement in words, as the checker reads it."""
        return str(read_statement(self.to_data())[1])

    def denominators(self) -> set[int]:
        """The denominators of its rational entries, which no modulus of a proof may divide."""
        tables = (value for value in vars(self).values() if isinstance(value, Matrix))
        entries = (x for table in tables if table.type == "rational" for x in table.entries)
        return {x.as_integer_ratio()[1] for x in entries}

    def to_data(self) -> dict[str, Any]:
        """The statement as a certificate writes it."""
        return {"kind": self.kind, **super().to_data()}


class Rank(Statement):
    """``lower <= rank(matrix) <= upper`` over the rationals."""

    kind = "rank"
    matrix: Matrix
    lower: int
    upper: int


class RankUnderError(Statement):
    """Every real matrix within `error` of `matrix`, entry by entry, has rank >= `lower`.

    `error` is a float, or a float matrix of the same shape, not negative.
    """

    kind = "rank-under-error"
    matrix: Matrix
    error: float | Matrix
    lower: int


class LogRank(Statement):
    """``lower <= rank(C logits) <= upper``: the log-rank of the context P ∝ exp(logits)."""

    kind = "log-rank"
    logits: Matrix
    lower: int
    upper: int


class LogitRank(Statement):
    """Bounds of the rank of ``keys^T queries``, or of C times it if `centred`."""

    kind = "logit-rank"
    keys: Matrix
    queries: Matrix
    centred: bool
    lower: int
    upper: int


class SingularValue(Statement):
    """Every real matrix within `error` entrywise has singular value number `index` >= `bound`.

    The largest is number 1.
    """

    kind = "singular-value"
    matrix: Matrix
    error: float | Matrix
    index: int
    bound: float


class LogRankWithin(Statement):
    """Every positive Q with ``abs(log Q - log context) <= ratio`` has log-rank >= `lower`.

    Entry by entry; so no head of size ``lower - 1``, on any tokens, has its context that near.
    """

    kind = "log-rank-within"
    context: Matrix
    ratio: float
    lower: int


class RepresentedExactly(Statement):
    """``C (keys tokens)^T (queries tokens) = C logits``; tokens None: the identity."""

    kind = "represented-exactly"
    logits: Matrix
    keys: Matrix
    queries: Matrix
    tokens: Matrix | None = None


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


class RepresentedMasked(Statement):
    """``(keys tokens)^T (queries tokens)`` is `logits` on the mask, but for the gauge.

    `mask` holds 1 where a key is visible, else 0; tokens None: the identity.
    """

    kind = "represented-masked"
    logits: Matrix
    mask: Matrix
    keys: Matrix
    queries: Matrix
    tokens: Matrix | None = None


class MaskedLogRank(Statement):
    """``lower <=`` least rank of logits that agree with these on the mask ``<= upper``.

    Agree up to a constant in each column; `mask` holds 1 where a key is visible, else 0.
    """

    kind = "masked-log-rank"
    logits: Matrix
    mask: Matrix
    lower: int
    upper: int


class RankAboveHeadSize(Statement):
    """The context P ∝ 2^exponents belongs to a head of size k and has rank(P) > k."""

    kind = "rank-above-head-size"
    exponents: Matrix
    keys: Matrix
    queries: Matrix


class LayersDiffer(Statement):
    """``‖f(X) - g(X)‖_F >= gap`` for two layers of attention heads on the tokens X."""

    kind = "layers-differ"
    f: Layer
    g: Layer
    tokens: Matrix
    gap: Fraction


class Unreachable(Statement):
    """No head of any size has the context P ∝ exp(logits) on the tokens, nor P ∝ b^logits."""

    kind = "unreachable"
    logits: Matrix
    tokens: Matrix


class Selectable(Statement):
    """Every set of at most `most` keys has a query that scores each of them above each other."""

    kind = "selectable"
    keys: Matrix
    most: int


class Unselectable(Statement):
    """No query scores each of these keys above each other key."""

    kind = "unselectable"
    keys: Matrix
    members: tuple[int, ...]


class KLAbove(Statement):
    """Every head of the size has a mean KL divergence of at least `bound` from the context.

    Whose columns are divided by their exact sums.
    """

    kind = "kl-above"
    context: Matrix
    head_size: int
    bound: float


class KLAboveOfLogits(Statement):
    """The same for the context P ∝ exp(logits)."""

    kind = "kl-above-of-logits"
    logits: Matrix
    head_size: int
    bound: float


class SignRank(Statement):
    """Every real matrix with these signs, 1 and -1, has rank >= `lower`."""

    kind = "sign-rank"
    signs: Matrix
    lower: int


class ScaleAbove(Statement):
    """``max ‖q‖ max ‖k‖ >= bound`` for heads that give `count` keys a probability >= 1 - error."""

    kind = "scale-above"
    count: int
    head_size: int
    error: float
    bound: float


class UnreachableMasked(Statement):
    """The same under a mask, which holds 1 where a key is visible, else 0."""

    kind = "unreachable-masked"
    logits: Matrix
    mask: Matrix
    tokens: Matrix


class UnreachableMaskedWithin(Statement):
    """No head has, under the mask, a context within e^±ratio of `context`, 0 where hidden."""

    kind = "unreachable-masked-within"
    context: Matrix
    mask: Matrix
    ratio: float
    tokens: Matrix


class UnreachableWithin(Statement):
    """No head of any size has, on the tokens, a context within e^±ratio of `context`."""

    kind = "unreachable-within"
    context: Matrix
    ratio: float
    tokens: Matrix
