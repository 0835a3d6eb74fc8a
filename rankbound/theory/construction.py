"""Heads built from factors of their logits, and checked."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.attention.head import AttentionHead
from rankbound.attention.masks import Mask
from rankbound.attention.softmax import log_column_softmax
from rankbound.errors import InputError, InputTypeError, Undecided
from rankbound.exact.elimination import prove_rank
from rankbound.exact.rational import centred, rational_matrix
from rankbound.theory.tokens import Tokens, read_tokens

__all__ = ["check_reached", "exact_factors", "full_rank_tokens", "head_from_factors"]


def full_rank_tokens(X: Any, n: int) -> Tokens:
    """Read tokens that must be of full column rank."""
    tokens = read_tokens(X, n)
    if tokens.rank < n:
        raise InputError(
            f"X is {tokens.matrix.shape} and has numerical rank {tokens.rank}; expected full "
            f"column rank {n} (so d >= n): the closed form is for such tokens. "
            "rb.fit_head takes any; rb.least_head_size decides whether P is reached on any."
        )
    return tokens


def head_from_factors(left: Array, right: Array, size: int, X: Tokens | None) -> AttentionHead:
    """The head of this size with logits ``left^T right`` on tokens that span both factors' rows."""
    n = left.shape[1]
    padded = np.zeros((2, size, n))
    padded[0, : len(left)] = left
    padded[1, : len(right)] = right * math.sqrt(size)  # undoes the scale 1/sqrt(head_size)
    if X is not None:  # the least-norm solution of W X = factor is factor X^+
        with np.errstate(over="ignore", invalid="ignore"):  # reported just below
            padded = padded @ X.inverse
        if not np.isfinite(padded).all():
            raise InputError("X is so small that weights on it overflow float64; scale it up.")
    return AttentionHead(W_q=padded[1], W_k=padded[0])


def check_reached(
    head: AttentionHead, X: Tokens | None, L: Array, allowed: float, mask: Mask | None = None
) -> None:
    """Raise Undecided unless the head's log-probabilities are those of the logits L."""
    found = head.logits(None if X is None else X.matrix)
    with np.errstate(invalid="ignore"):  # -inf less -inf, where the mask hides
        difference = log_column_softmax(found, mask) - log_column_softmax(L, mask)
    missed = np.max(np.abs(difference if mask is None else difference[mask]))
    if not missed <= allowed:
        remedy = (
            "take a smaller rtol= or a larger ratio="
            if X is None
            else "take better conditioned tokens, or a larger ratio="
        )
        raise Undecided(
            f"a head of size {head.head_size} exists, but in float64 the one found misses log P by "
            f"{missed:.1e}, and {allowed:.1e} is allowed: "
            f"{'the logits span too wide a range' if X is None else 'X is ill-conditioned'}, or "
            f"too much was counted as rounding; {remedy}.",
            remedy=remedy,
        )


def exact_factors(logits: Any) -> tuple[list[list[Fraction]], list[list[Fraction]]]:
    """Return rational A, B with ``A^T B = C L`` exactly and as few rows as its rank.

    The exact form of the construction in Theorem A: with ``W_k = A`` and ``W_q = sqrt(r) B`` it is
    a head of size r = rank(C L) <= n - 1 on the identity.

    Parameters
    ----------
    logits : sequence of rows, ndarray of ints or objects, or sympy.Matrix, shape (n, n)
        Ints, Fractions or rational SymPy numbers.

    Returns
    -------
    A, B : list of list of Fraction, shape (r, n)
        Both empty when the columns of L are constant (r = 0).

    Raises
    ------
    InputError, InputTypeError
        If an entry is not rational, or the matrix is not square.

    Examples
    --------
    >>> A, B = exact_factors([[1, 0], [0, 1]])
    >>> A, B
    ([[Fraction(1, 2), Fraction(-1, 2)]], [[Fraction(1, 1), Fraction(-1, 1)]])
    """
    rows, unit = rational_matrix("logits", logits)
    if unit != 1:
        raise InputTypeError(
            f"logits are a multiple of {unit}; expected rational entries. Divide by {unit}."
        )
    if len(rows) != len(rows[0]):
        raise InputError(f"logits have shape ({len(rows)}, {len(rows[0])}); expected (n, n).")
    factors = prove_rank(centred(rows)).factors
    if factors is None:  # C L is singular
        raise ArithmeticError("a centred matrix has full rank; please report this as a bug.")
    left, right = factors()
    return [list(column) for column in zip(*left, strict=True)], right
