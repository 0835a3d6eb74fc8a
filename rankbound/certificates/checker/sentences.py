"""Statements in words, for the checker and for the certificates alike."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Protocol

__all__ = [
    "Shaped",
    "layers_differ",
    "log_rank",
    "log_rank_within",
    "logit_rank",
    "masked_log_rank",
    "rank",
    "rank_above_head_size",
    "rank_under_error",
    "represented_exactly",
    "represented_within",
    "singular_value",
    "unreachable",
    "unreachable_within",
]


class Shaped(Protocol):
    """What a sentence says of a matrix."""

    @property
    def type(self) -> str:
        """The type of its entries."""

    @property
    def rows(self) -> int:
        """How many rows it has."""

    @property
    def columns(self) -> int:
        """How many columns it has."""


def rank(matrix: Shaped, lower: int, upper: int) -> str:
    """Lower <= rank(matrix) <= upper."""
    return f"the {_shape(matrix)} {matrix.type} matrix has rank {_between(lower, upper)}"


def rank_under_error(matrix: Shaped, error: float | None, lower: int) -> str:
    """Rank at least `lower` whatever the errors; None: they differ from entry to entry."""
    return f"every real matrix within {_error(error)} of {_given(matrix)} has rank at least {lower}"


def log_rank(logits: Shaped, lower: int, upper: int) -> str:
    """Lower <= rank(C L) <= upper."""
    return (
        f"the context P ∝ exp(L) of the {_shape(logits)} {logits.type} logits L has log-rank "
        f"{_between(lower, upper)}, and so has P ∝ b^L for every base b > 0 other than 1"
    )


def logit_rank(keys: Shaped, centred: bool, lower: int, upper: int) -> str:
    """Bounds of the rank of K^T Q, or of C K^T Q."""
    what = "the context" if centred else "the logits"
    rank_of = "log-rank" if centred else "rank"
    return (
        f"{what} of the head of size {keys.rows} given by its keys and queries, "
        f"{_shape(keys)}, {'has' if centred else 'have'} {rank_of} {_between(lower, upper)}"
    )


def singular_value(matrix: Shaped, error: float | None, index: int, bound: float) -> str:
    """s_index >= bound whatever the errors."""
    return (
        f"every real matrix within {_error(error)} of {_given(matrix)} has singular value "
        f"number {index} (the largest is number 1) at least {bound!r}"
    )


def log_rank_within(context: Shaped, ratio: float, lower: int) -> str:
    """rank(C log Q) >= lower for every Q within the ratio."""
    said = (
        f"every positive matrix within a factor e^±{ratio!r} of the {_shape(context)} context, "
        f"entry by entry, has log-rank at least {lower}"
    )
    if lower < 2:
        return said
    return f"{said}: no head of size {lower - 1}, on any tokens, has its context that near"


def represented_exactly(logits: Shaped, keys: Shaped, tokens: Shaped | None) -> str:
    """(keys tokens)^T (queries tokens) = C logits."""
    on = "the identity as tokens" if tokens is None else f"the {_shape(tokens)} tokens given"
    return (
        f"a head of size {keys.rows}, on {on}, has exactly the context P ∝ exp(L) of the "
        f"{_shape(logits)} {logits.type} logits L, and one has P ∝ b^L for every base b > 0"
    )


def represented_within(context: Shaped, ratio: float, keys: Shaped, tokens: Shaped | None) -> str:
    """The head's context is within the ratio of P."""
    on = "the identity as tokens" if tokens is None else f"the {_shape(tokens)} tokens given"
    return (
        f"the context of a head of size {keys.rows}, on {on}, is within a factor e^±{ratio!r} of "
        f"the {_shape(context)} context given, its columns normalised, entry by entry"
    )


def masked_log_rank(logits: Shaped, lower: int, upper: int) -> str:
    """Bounds of the least head size under a mask."""
    return (
        f"the least head size with which a head has the logits L, {_shape(logits)} {logits.type}, "
        f"up to a constant in each column, where the mask shows them, is in [{lower}, {upper}]"
    )


def rank_above_head_size(exponents: Shaped, keys: Shaped) -> str:
    """rank(P) > k for the context of a head of size k."""
    return (
        f"the context P ∝ 2^E of the {_shape(exponents)} exponents E belongs to a head of size "
        f"{keys.rows} and has rank(P) > {keys.rows}: rank(P) <= head size is false"
    )


def layers_differ(f: tuple[int, int], g: tuple[int, int], tokens: Shaped, gap: Fraction) -> str:
    """‖f(X) - g(X)‖_F >= gap; a layer is said by its number of heads and their size."""
    return (
        f"on the {_shape(tokens)} tokens given, the outputs of the layer f of {_heads(*f)} and of "
        f"the layer g of {_heads(*g)} differ by at least {_downward(gap)} in the Frobenius norm"
    )


def unreachable(logits: Shaped, tokens: Shaped) -> str:
    """No head has the context of the logits on the tokens."""
    return (
        f"no head of any size has, on the {_shape(tokens)} tokens given, the context P ∝ exp(L) of "
        f"the {_shape(logits)} {logits.type} logits L, nor P ∝ b^L for any base b > 0 other than 1"
    )


def unreachable_within(context: Shaped, ratio: float, tokens: Shaped) -> str:
    """No head has a context within the ratio of P on the tokens."""
    return (
        f"no head of any size has, on the {_shape(tokens)} tokens given, a context within a factor "
        f"e^±{ratio!r} of the {_shape(context)} context given, entry by entry"
    )


def _heads(count: int, size: int) -> str:
    return f"{count} head{'' if count == 1 else 's'} of size {size}"


def _shape(matrix: Shaped) -> str:
    return f"{matrix.rows} × {matrix.columns}"


def _given(matrix: Shaped) -> str:
    return f"the {_shape(matrix)} {matrix.type} matrix, entry by entry,"


def _error(error: float | None) -> str:
    return "the errors given" if error is None else repr(error)


def _downward(value: Fraction) -> str:
    """Six digits, rounded down; the statement holds the number exactly."""
    context = Context(prec=6, rounding=ROUND_FLOOR)
    return str(context.divide(Decimal(value.numerator), Decimal(value.denominator)))


def _between(lower: int, upper: int) -> str:
    return f"exactly {lower}" if lower == upper else f"between {lower} and {upper}"
