"""What a head can select: the head size that a pattern of signs needs, however loosely met."""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from rankbound._validate import check_head_size, check_real
from rankbound.errors import InputError
from rankbound.exact.elimination import prove_rank
from rankbound.exact.rational import centred
from rankbound.ranks.bounds import RankBounds
from rankbound.theory.signrank import FORSTER, _changes, _lower, _rational, _signs
from rankbound.verdict import Verdict

__all__ = ["selection_head_size", "sign_pattern_kl_bound"]


def selection_head_size(H: npt.ArrayLike) -> RankBounds:
    """Bound the least head size at which every query prefers its own keys to all others.

    Query j selects the keys i with ``H[i, j] = 1``: each of them must have a larger logit than each
    of the others. By how much does not matter, so logits may then be scaled until P is as sharp as
    wished. Let k be the least head size of such logits:

        ``signrank(H) - 1 <= k <= signrank(H)``.

    *Lower:* put a threshold τ_j between the two kinds of keys; ``L - 1 τ^T`` has the signs of H and
    a rank of at most k + 1. *Upper:* a matrix with the signs of H. The constant of a column is
    gauge, so s sign changes down the columns need head size s only, not s + 1, and H itself
    ``rank(C H)``. A pattern that prefers nothing (constant columns) needs 0.

    Parameters
    ----------
    H : array_like, shape (m, n)
        Entries 1 and -1, [key, query].

    Returns
    -------
    RankBounds

    Raises
    ------
    InputError, InputTypeError
        If an entry is neither 1 nor -1.

    References
    ----------
    Weller, Boratko, Naim & Lee 2025 (arXiv 2508.21038), Proposition 2, transposed; docs/theory.md,
    section 5.

    Examples
    --------
    >>> import numpy as np
    >>> bounds = selection_head_size(2 * np.eye(9, dtype=int) - 1)  # each query selects one key
    >>> bounds.lower, bounds.upper
    (1, 2)
    """
    signs = _signs(H)
    changes = _changes(signs).upper - 1
    if changes == 0:
        lower = upper = 0
    else:
        lower = max(1, _lower(signs) - 1)
        gauged = prove_rank(centred(_rational(signs))).rank
        upper = min(changes, _changes(signs.T).upper, gauged)
    return RankBounds(lower, upper, Verdict.SUPPORTED, f"{FORSTER}; sign changes, rank of C H")


def sign_pattern_kl_bound(H: npt.ArrayLike, epsilon: float, head_size: int) -> float:
    """Lower bound of the KL divergence from P ∝ exp(epsilon H) at this head size.

    Let Z_j be the column sums of exp(ε H), and suppose k + 1 < signrank(H). Every context Q of a
    head of size k is on the wrong side of ``θ_j = cosh(ε)/Z_j`` in some entry, for otherwise
    ``log Q - 1 log θ^T``, of rank at most k + 1, had the signs of H. There P and Q differ by at
    least ``δ_j = sinh(ε)/Z_j``, and the data-processing inequality for that entry gives

        ``n KL(P ‖ Q) >= min_j max(2 δ_j², δ_j²/(2 a_j) + δ_j²/(2 b_j))``,

    with ``a_j = e^ε/Z_j`` and ``b_j = 1 - e^{-ε}/Z_j`` (Pinsker; Taylor's theorem).

    Parameters
    ----------
    H : array_like, shape (n, n)
        Entries 1 and -1, [key, query].
    epsilon : float
        Above 0.
    head_size : int
        k >= 1.

    Returns
    -------
    float
        Mean over queries, in nats, rounded down from an enclosure; 0 where :func:`sign_rank_bounds`
        does not show that k + 1 is below the sign rank.

    Raises
    ------
    InputError, InputTypeError
        If an argument is not as described.

    References
    ----------
    Forster 2002; docs/theory.md, section 5.

    Examples
    --------
    >>> from scipy.linalg import hadamard
    >>> bound = sign_pattern_kl_bound(hadamard(16), epsilon=0.1, head_size=2)
    >>> 1e-5 < bound < 1e-4, sign_pattern_kl_bound(hadamard(16), epsilon=0.1, head_size=3)
    (True, 0.0)
    """
    signs, k = _signs(H), check_head_size(head_size)
    epsilon = check_real("epsilon", epsilon, above=0.0)
    if signs.shape[0] != signs.shape[1]:
        raise InputError(f"H has shape {signs.shape}; expected (n, n), keys by queries.")
    if k + 1 >= _lower(signs):
        return 0.0
    n = len(signs)
    positive = {int(count) for count in (signs > 0).sum(axis=0)}
    least = min(_column(n, count, epsilon) for count in positive)
    return max(0.0, math.nextafter(least, 0.0))


def _column(n: int, positive: int, epsilon: float) -> float:
    """The bound of a column with so many entries 1, divided by n: a number near its lower end."""
    from mpmath.ctx_iv import MPIntervalContext

    iv: Any = MPIntervalContext()
    iv.prec = 106
    grown, shrunk = iv.exp(iv.mpf(epsilon)), iv.exp(-iv.mpf(epsilon))
    Z = positive * grown + (n - positive) * shrunk
    square = ((grown - shrunk) / (2 * Z)) ** 2
    taylor = square / (2 * grown / Z) + square / (2 * (1 - shrunk / Z))
    return max(float((bound / n).a) for bound in (2 * square, taylor))
