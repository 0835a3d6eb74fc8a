"""Theorem A: the exact head size of a context, for tokens of full column rank.

A positive column-stochastic P is the context matrix of some head of size k on X (d × n, of rank n)
iff ``rank(C log P) <= k``, C = I - 11^T/n: ``C L = C log P`` has rank at most rank L <= k, and
conversely a factorisation ``C log P = A^T B`` is a head, ``W_k = A X^+``, ``W_q = sqrt(k) B X^+``.
So B20's Theorem 1 holds with n - 1 for its n, and n - 1 is needed by ``P ∝ exp(ε I)``, for which
``C log P = ε C``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, require_memory
from rankbound.attention.head import AttentionHead
from rankbound.attention.softmax import log_column_softmax
from rankbound.context import read_context
from rankbound.errors import InputError, InputTypeError, Undecided
from rankbound.exact.elimination import prove_rank
from rankbound.exact.rational import Rationals, centred, transposed
from rankbound.exact.rounding import U, product_error, up
from rankbound.theory.softmax_gauge import Logs, guarded
from rankbound.tokens import RowSpace, Tokens, read_tokens


@dataclass(frozen=True, eq=False)
class Reach:
    """The least head size of a context, and logits of that rank that show it."""

    least: float  # infinite when no head of any size has the context
    scaled: Array  # the logits over 2**exponent
    exponent: npt.NDArray[np.int32] | int = 0
    tolerance: float = 0.0  # of each scaled logit, for the error of the data
    reason: str = ""  # where no head has it: which condition failed, by how much, for which query
    space: RowSpace | None = None  # of the tokens; None for any of full column rank
    doubtful: bool = False  # whether it rests on cancellation in the data
    undecided: Undecided | None = None  # where the least is not known: its bounds; `least` is upper

    @property
    def allowed(self) -> float:
        """What the dtype of the data leaves open, in log-probability."""
        with np.errstate(over="ignore"):
            return 2 * float(np.max(np.ldexp(self.tolerance, self.exponent)))

    def factors(self, rank: int) -> tuple[Array, Array]:
        """A, B of shape (rank, n), of equal weight, with ``A^T B`` the logits truncated to rank."""
        return split(self.scaled, self.exponent, rank)


def split(D: Array, exponent: Any, rank: int) -> tuple[Array, Array]:
    """Factors of ``2**exponent D`` truncated to a rank by the singular value decomposition."""
    left, values, right = np.linalg.svd(D)
    root = np.sqrt(values[:rank, None])
    half = np.asarray(exponent) // 2
    return (
        np.ldexp(root * left.T[:rank], half),
        np.ldexp(root * right[:rank], np.asarray(exponent) - half),
    )


def least_on_full_rank(logs: Logs, rtol: float | None) -> Reach:
    """Theorem A: the log-rank, with ``C log P`` for logits."""
    tolerance = 0.0 if logs.exact is not None else float(logs.tolerance)
    return Reach(int(logs.rank(rtol)), logs.scaled, logs.exponent, tolerance)


def head_from_factors(
    left: Array, right: Array, size: int, space: RowSpace | None
) -> AttentionHead:
    """The head of this size with logits ``left^T right`` on tokens that span both factors' rows."""
    n = left.shape[1]
    require_memory("head_size", size, size, n)
    padded = np.zeros((2, size, n))
    padded[0, : len(left)] = left
    padded[1, : len(right)] = right * math.sqrt(size)  # undoes the scale 1/sqrt(head_size)
    if space is not None:
        padded = np.stack([space.weights(factor) for factor in padded])
    return AttentionHead(W_q=padded[1], W_k=padded[0])


def guarded_reach(logs: Logs, found: Reach, again: Callable[[Logs], Reach]) -> Reach:
    """What was found, unless it is another answer at the rounding of float32."""

    def least(factor: float) -> float:
        return found.least if factor == 1 else again(logs.less_certain(factor)).least

    guarded(logs, least)
    return found


def full_rank_tokens(X: Any, n: int) -> Tokens:
    """Read tokens that must be of full column rank."""
    tokens = read_tokens(X, n)
    if tokens.numerical_rank < n and tokens.rank < n:
        raise InputError(
            f"X is {tokens.matrix.shape} and has rank {tokens.rank}; expected full "
            f"column rank {n} (so d >= n): the closed form is for such tokens. "
            "rb.fit_head takes any; rb.least_head_size decides whether P is reached on any."
        )
    return tokens


def missed(head: AttentionHead, X: Tokens | None, logs: Logs) -> float:
    """The largest error of the head's log-probabilities, over what the mask shows."""
    found = head.logits(None if X is None else X.matrix)
    with np.errstate(invalid="ignore"):  # -inf less -inf, where the mask hides
        difference = log_column_softmax(found, logs.mask) - log_column_softmax(
            logs.unscaled(), logs.mask
        )
    return float(np.max(np.abs(difference if logs.mask is None else difference[logs.mask])))


def logit_error(head: AttentionHead, L: Array, X: Array | None) -> Array:
    """How far logits L computed in float64 may be from the exact ones."""
    keys, queries = head.keys(X), head.queries(X)
    spread = product_error(keys.T, queries)
    if X is not None:
        key_error, query_error = product_error(head.W_k, X), product_error(head.W_q, X)
        with np.errstate(under="ignore"):
            spread = (
                spread
                + up(np.abs(keys.T) @ query_error, len(keys))
                + up(key_error.T @ (np.abs(queries) + query_error), len(keys) + 1)
            )
    return up(abs(head.scale) * spread + 2 * U * np.abs(L), 6)


def check_reached(head: AttentionHead, X: Tokens | None, logs: Logs, allowed: float) -> None:
    """Raise Undecided unless the head's log-probabilities are those of the logs."""
    off = missed(head, X, logs)
    if not off <= allowed:
        remedy = (
            "take a smaller rtol= or a larger ratio="
            if X is None
            else "take better conditioned tokens, or a larger ratio="
        )
        raise Undecided(
            f"a head of size {head.head_size} exists, but in float64 the one found misses log P by "
            f"{off:.1e}, and {allowed:.1e} is allowed: "
            f"{'the logits span too wide a range' if X is None else 'X is ill-conditioned'}, or "
            f"too much was counted as rounding; {remedy}.",
            remedy=remedy,
        )


def exact_factors(logits: Any) -> tuple[Rationals, Rationals]:
    """Return rational A, B, (r, n), with ``A^T B = C L`` exactly and r = rank(C L) <= n - 1.

    The exact form of the construction: ``W_k = A`` and ``W_q = sqrt(r) B`` are a head of size r on
    the identity. Both are empty when the columns of L are constant. `logits` are ints, Fractions
    or rational SymPy numbers.

    Examples
    --------
    >>> A, B = exact_factors([[1, 0], [0, 1]])
    >>> A, B
    ([[Fraction(1, 2), Fraction(-1, 2)]], [[Fraction(1, 1), Fraction(-1, 1)]])
    """
    context = read_context(None, logits=logits)
    if context.exact is None or context.unit != 1:
        raise InputTypeError(
            f"logits are {'a multiple of ' + str(context.unit) if context.exact else 'floats'}; "
            "expected rational entries: ints, Fractions or rational SymPy numbers."
        )
    factors = prove_rank(centred(context.exact)).factors
    if factors is None:  # C L is singular
        raise ArithmeticError("a centred matrix has full rank; please report this as a bug.")
    left, right = factors()
    return transposed(left), right
