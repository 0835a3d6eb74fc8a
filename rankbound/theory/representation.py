"""The least head size of a context, and the head that has it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_head_size, check_real
from rankbound.attention.head import AttentionHead
from rankbound.errors import InputError, NotRepresentable
from rankbound.ranks.spectrum import check_rtol
from rankbound.theory.construction import check_reached, exact_factors, head_from_factors
from rankbound.theory.decision import decide
from rankbound.theory.reach import Reach

__all__ = ["exact_factors", "least_head_size", "represent"]


def least_head_size(
    P: npt.ArrayLike | None = None,
    X: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    *,
    logits: Any = None,
    rtol: float | None = None,
    stored: npt.DTypeLike | None = None,
    rows: bool = False,
) -> float:
    """Least head size with which some attention head on tokens X has the context P.

    *Tokens of full column rank* (Theorem A): the log-rank, at most n - 1 (sharper than the n of
    B20, Theorem 1), and n - 1 for almost every P.

    *Any tokens, no mask* (Theorem B): let N project onto the complement of the row space of X. If
    N 1 is not 0 the gauge is forced, and P has a head iff ``N L = 0`` and ``L N = 0`` in it, of
    size ``rank L``; else iff ``N log P = 0`` and ``C log P N = 0``, of size ``rank (C log P)``.
    Otherwise no head of any size has P, and the answer is infinite.

    *A nested mask, tokens of full column rank* (Theorem C): the number of new rows, floor(n/2) for
    almost every causal P.

    Parameters
    ----------
    P : array_like, shape (n, n), optional
        One matrix, columns sum to 1, [key, query]; positive, with a mask exactly where it shows.
    X : array_like, shape (d, n), optional
        Tokens; None means any of full column rank.
    mask : array_like of bool, shape (n, n), optional
        [key, query], True = visible.
    logits : array_like or sympy.Matrix, shape (n, n), optional
        Logits instead of P, hidden entries of no account; exact for ints, Fractions and SymPy
        numbers (and, on rank-deficient tokens, if these are exact too).
    rtol, stored, rows
        As in :func:`rankbound.log_rank`; with ``rows=True`` the mask is transposed too.

    Returns
    -------
    int or math.inf
        0 for uniform columns, which a head of any size has; infinite where no head has P, which
        ``rankbound.theory.unreachable.unreachability_certificate`` proves.

    Raises
    ------
    Undecided
        If the mask is not nested, or there is a mask and X is not of full column rank, unless the
        bounds meet (``.bounds`` holds them); or if entries of P are so near underflow that their
        logarithms are unknown.
    InputError, InputTypeError
        If an argument is not as described.

    References
    ----------
    B20, Theorem 1 (first half: n suffices); docs/theory.md, Theorems A, B and C.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.least_head_size(rb.random_context(16, seed=0))
    15
    >>> rb.least_head_size(rb.random_context(16, seed=0, law="causal"), mask=rb.causal_mask(16))
    8
    >>> rb.least_head_size([[0.5, 0.75], [0.5, 0.25]], X=[[1, 0]])
    inf
    """
    rtol = check_rtol(rtol)
    return decide(P, X, mask, logits, rtol, stored, rows)[0].least


def represent(
    P: npt.ArrayLike | None = None,
    X: npt.ArrayLike | None = None,
    head_size: int | None = None,
    mask: npt.ArrayLike | None = None,
    *,
    logits: Any = None,
    ratio: float = 1e-8,
    rtol: float | None = None,
    stored: npt.DTypeLike | None = None,
    rows: bool = False,
) -> AttentionHead:
    """Return a head whose context on X is P: the constructive proof of Theorems A, B and C.

    Factor the logits that :func:`least_head_size` finds (``C log P``, in the gauge that
    rank-deficient tokens force, or completed where a mask hides them) as ``A^T B`` by the singular
    value decomposition, and put ``W_k = A X^+``, ``W_q = sqrt(k) B X^+``.

    Parameters
    ----------
    P : array_like, shape (n, n), optional
        One matrix, columns sum to 1, [key, query]; positive, with a mask exactly where it shows.
    X : array_like, shape (d, n), optional
        Tokens; None means the identity.
    head_size : int, optional
        Any size from the least on (padded with zeros); the least, or 1 if that is 0, unless given.
    mask : array_like of bool, shape (n, n), optional
        [key, query], True = visible.
    logits : array_like or sympy.Matrix, shape (n, n), optional
        Logits instead of P; the head size is decided exactly for ints, Fractions and SymPy numbers.
    ratio : float
        How far the head's log-probabilities may be from log P in any entry, over what the dtype of
        the data leaves open. Checked on the head that is returned.
    rtol, stored, rows
        As in :func:`rankbound.log_rank`; with ``rows=True`` the mask is transposed too.

    Returns
    -------
    AttentionHead
        With ``head.context(X, mask)`` equal to P within the ratio.

    Raises
    ------
    NotRepresentable
        If `head_size` is below the least, which the error holds as ``.least_head_size``; or if no
        head of any size has P, ``.reason`` saying which condition failed.
    Undecided
        As :func:`least_head_size`; or if X is so ill-conditioned that the head misses `ratio` in
        float64, or `rtol` drops more than rounding explains.
    InputError, InputTypeError
        If an argument is not as described.

    References
    ----------
    B20, Theorem 1 and its proof; docs/theory.md, Theorems A, B and C.

    Examples
    --------
    >>> import numpy as np, rankbound as rb
    >>> P = rb.random_context(8, seed=0)
    >>> head = rb.represent(P)
    >>> head.head_size, bool(np.allclose(head.context(), P, rtol=1e-10, atol=0))
    (7, True)
    """
    ratio = check_real("ratio", ratio, above=0.0)
    rtol = check_rtol(rtol)
    answer, tokens, given, visible = decide(P, X, mask, logits, rtol, stored, rows)
    if math.isinf(answer.least):
        raise NotRepresentable(
            f"no head of any size has this context on these tokens: {answer.reason}.",
            least_head_size=math.inf,
            reason=answer.reason,
        )
    least = int(answer.least)
    size = max(least, 1) if head_size is None else check_head_size(head_size)
    if size < least:
        raise NotRepresentable(
            f"no head of size {size} has this context: its logits have rank {least} or more in "
            "every gauge and completion, and those of a head at most its size. The least head size "
            f"is {least}; {'rb.nearest_head' if mask is None else 'rb.fit_head'}(P, {size}) comes "
            "as near as one can.",
            least_head_size=least,
            reason=f"log-rank {least} > head size {size}",
        )
    head = head_from_factors(*answer.factors(least), size, tokens)
    target = _unscaled(given, answer) if visible is None else given
    check_reached(head, tokens, target, ratio + 2 * _entry(answer), visible)
    return head


def _unscaled(given: Array, answer: Reach) -> Array:
    with np.errstate(over="ignore"):  # reported just below
        D: Array = np.ldexp(given, answer.exponent)
        spread = D.max(axis=0) - D.min(axis=0)
    if not np.isfinite(spread).all():
        raise InputError(
            "logits differ by more than 1.8e308 within a column; expected differences that "
            "float64 holds. Divide them by a power of two: no rank changes."
        )
    return D


def _entry(answer: Reach) -> float:
    with np.errstate(over="ignore"):
        return float(np.max(np.ldexp(answer.tolerance, answer.exponent)))
