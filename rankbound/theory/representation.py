"""Theorem A: the least head size of a context matrix, and the head that has it."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_head_size, check_matrix, check_real
from rankbound.arithmetic.elimination import prove_rank
from rankbound.arithmetic.rational import centred, rational_matrix
from rankbound.attention.head import AttentionHead
from rankbound.attention.softmax import log_column_softmax
from rankbound.errors import InputError, InputTypeError, NotRepresentable, Undecided
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.spectrum import check_rtol, spectrum
from rankbound.theory.logs import Logs, read_logs
from rankbound.verdict import Verdict

__all__ = ["exact_factors", "head_from_factors", "least_head_size", "represent"]


def least_head_size(
    P: npt.ArrayLike | None = None,
    X: npt.ArrayLike | None = None,
    *,
    logits: Any = None,
    rtol: float | None = None,
    stored: npt.DTypeLike | None = None,
    rows: bool = False,
) -> int:
    """Least head size with which some attention head on tokens X has the context P.

    Theorem A: for X of full column rank, P is the context of a head of size k iff
    ``log_rank(P) <= k``. So the least head size is the log-rank: at most n - 1 (sharper than the n
    of B20, Theorem 1), and n - 1 for almost every P.

    Parameters
    ----------
    P : array_like, shape (n, n), optional
        One positive matrix, columns sum to 1, [key, query].
    X : array_like, shape (d, n), optional
        Tokens of full column rank; None means any such tokens.
    logits : array_like or sympy.Matrix, shape (n, n), optional
        Logits instead of P; exact for ints, Fractions and SymPy numbers.
    rtol, stored, rows
        As in :func:`rankbound.log_rank`.

    Returns
    -------
    int
        0 for uniform columns, which a head of any size has.

    Raises
    ------
    Undecided
        If entries of P are so near underflow that their logarithms are unknown.
    InputError, InputTypeError
        If P is not positive and column-stochastic, or X is not of full column rank.

    References
    ----------
    B20, Theorem 1 (first half: n suffices); docs/theory.md, Theorem A.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.least_head_size(rb.random_context(16, seed=0))
    15
    """
    logs = read_logs(P, logits, stored=stored, rows=rows)
    if X is not None:
        check_tokens(X, logs.n)
    return _least(logs, check_rtol(rtol))


def _least(logs: Logs, rtol: float | None) -> int:
    rank = int(logs.rank(rtol))
    if logs.underflowed and rtol is None:
        remedy = "pass logits=, or rtol= to count singular values as they are"
        raise Undecided(
            f"entries of P are so near the smallest positive number of {logs.dtype} that their "
            f"logarithms are unknown; the log-rank is at least about {rank}. To decide, {remedy}.",
            bounds=RankBounds(rank, logs.n - 1, Verdict.SUPPORTED, "singular values; the shape"),
            remedy=remedy,
        )
    return rank


def represent(
    P: npt.ArrayLike | None = None,
    X: npt.ArrayLike | None = None,
    head_size: int | None = None,
    *,
    logits: Any = None,
    ratio: float = 1e-8,
    rtol: float | None = None,
    stored: npt.DTypeLike | None = None,
    rows: bool = False,
) -> AttentionHead:
    """Return a head whose context on X is P: the constructive proof of Theorem A.

    Factor ``C log P = A^T B`` by the singular value decomposition and put ``W_k = A X^+``,
    ``W_q = sqrt(k) B X^+``, where ``X^+`` is the left inverse of X.

    Parameters
    ----------
    P : array_like, shape (n, n), optional
        One positive matrix, columns sum to 1, [key, query].
    X : array_like, shape (d, n), optional
        Tokens of full column rank; None means the identity.
    head_size : int, optional
        Any size from the least on (padded with zeros); the least, or 1 if that is 0, unless given.
    logits : array_like or sympy.Matrix, shape (n, n), optional
        Logits instead of P; the head size is decided exactly for ints, Fractions and SymPy numbers.
    ratio : float
        How far the head's log-probabilities may be from log P in any entry, over what the dtype of
        the data leaves open. Checked on the head that is returned.
    rtol, stored, rows
        As in :func:`rankbound.log_rank`.

    Returns
    -------
    AttentionHead
        With ``head.context(X)`` equal to P within the ratio.

    Raises
    ------
    NotRepresentable
        If `head_size` is below the least, which the error holds as ``.least_head_size``.
    Undecided
        If X is so ill-conditioned that the head misses `ratio` in float64, entries of P are near
        underflow, or `rtol` drops more than rounding explains.
    InputError, InputTypeError
        If an argument is not as described.

    References
    ----------
    B20, Theorem 1 and its proof; docs/theory.md, Theorem A.

    Examples
    --------
    >>> import numpy as np, rankbound as rb
    >>> P = rb.random_context(8, seed=0)
    >>> head = rb.represent(P)
    >>> head.head_size, bool(np.allclose(head.context(), P, rtol=1e-10, atol=0))
    (7, True)
    """
    ratio = check_real("ratio", ratio, above=0.0)
    logs = read_logs(P, logits, stored=stored, rows=rows)
    D = logs.centred()
    tokens = None if X is None else check_tokens(X, logs.n)
    rtol = check_rtol(rtol)
    least = _least(logs, rtol)
    size = max(least, 1) if head_size is None else check_head_size(head_size)
    if size < least:
        raise NotRepresentable(
            f"no head of size {size} has this context: C log P has rank {least}, and the logits "
            f"of a head have rank at most its size. The least head size is {least}; "
            f"rb.nearest_head(P, {size}) comes as near as one can.",
            least_head_size=least,
            reason=f"log-rank {least} > head size {size}",
        )
    left, right = truncated_factors(logs, least)
    head = head_from_factors(left, right, size, tokens)
    threshold = 0.0 if logs.exact is not None else logs.spectrum().tolerance
    check_reached(head, tokens, D, ratio + 2 * threshold)
    return head


def truncated_factors(logs: Logs, rank: int) -> tuple[Array, Array]:
    """A, B of shape (rank, n), of equal weight, with ``A^T B`` the truncated SVD of C log P."""
    U, values, Vt = np.linalg.svd(logs.scaled)
    root = np.sqrt(values[:rank, None])
    half = logs.exponent // 2
    return np.ldexp(root * U.T[:rank], half), np.ldexp(root * Vt[:rank], logs.exponent - half)


def head_from_factors(left: Array, right: Array, size: int, X: Array | None) -> AttentionHead:
    """The head of this size with logits ``left^T right`` on tokens X of full column rank."""
    n = left.shape[1]
    padded = np.zeros((2, size, n))
    padded[0, : len(left)] = left
    padded[1, : len(right)] = right * math.sqrt(size)  # undoes the scale 1/sqrt(head_size)
    if X is not None:  # the least-norm solution of W X = factor is factor X^+
        stacked = padded.reshape(2 * size, n)
        with np.errstate(over="ignore", invalid="ignore"):  # reported just below
            lifted = np.linalg.lstsq(X.T, stacked.T, rcond=None)[0].T.reshape(2, size, len(X))
        if not np.isfinite(lifted).all():
            raise InputError("X is so small that weights on it overflow float64; scale it up.")
        return AttentionHead(W_q=lifted[1], W_k=lifted[0])
    return AttentionHead(W_q=padded[1], W_k=padded[0])


def check_tokens(X: Any, n: int) -> Array:
    tokens = check_matrix("X", X, ndim=2)
    if tokens.shape[1] != n:
        raise InputError(
            f"X is {tokens.shape} but the context is {(n, n)}: X must have one column a token, "
            f"{n} of them."
        )
    rank = spectrum(X).rank
    if rank < n:
        raise InputError(
            f"X is {tokens.shape} and has numerical rank {rank}; expected full column rank {n} "
            "(so d >= n): Theorem A is about such tokens, and on others a context may have no "
            "head of any size. With X=None the answer holds for all tokens of full column rank."
        )
    return tokens


def check_reached(head: AttentionHead, X: Array | None, L: Array, allowed: float) -> None:
    """Raise Undecided unless the head's log-probabilities are those of the logits L."""
    missed = np.max(np.abs(log_column_softmax(head.logits(X)) - log_column_softmax(L)))
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
