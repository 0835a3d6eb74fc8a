"""TODO."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import (
    Array,
    as_array,
    check_head_size,
    check_int,
    check_matrix,
    check_real,
    check_seed,
    frozen_copy,
)
from rankbound.attention.head import AttentionHead
from rankbound.errors import InputError, InputTypeError, Undecided
from rankbound.exact.elimination import prove_rank
from rankbound.exact.rational import centred
from rankbound.exact.rounding import ETA, U, check_model, product_error, up
from rankbound.ranks.bounds import RankBounds
from rankbound.theory.scale import check_share, head_scale, longest
from rankbound.theory.sign_rank import FORSTER, _changes, _lower, _rational, _signs
from rankbound.theory.sparse import total_variation_bound
from rankbound.verdict import Verdict


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


Ints = npt.NDArray[np.intp]
HALVINGS = 24  # of the factor that multiplies the queries
SHARES = (1 - 1e-6, 0.9, 0.5)  # of the error, the rest being left to rounding
LARGEST = 1e150  # logits beyond are not formed


def random_keys(n: int, head_size: int, seed: int | np.random.Generator) -> Array:
    """Draw n keys uniformly from the unit sphere.

    For each δ in (0, 1) their coherence is at most ``sqrt(2 log(n²/δ)/d)`` with a probability of at
    least 1 - δ, d the head size.

    Parameters
    ----------
    n, head_size : int
    seed : int or numpy.random.Generator

    Returns
    -------
    ndarray, shape (head_size, n)
        Each of length 1 up to rounding.

    References
    ----------
    docs/theory.md, section 5.

    Examples
    --------
    >>> random_keys(100, 64, seed=0).shape
    (64, 100)
    """
    n, d = check_int("n", n, least=1), check_head_size(head_size)
    rng = check_seed(seed)
    drawn = rng.standard_normal((d, n))
    keys: Array = drawn / np.sqrt(np.sum(drawn * drawn, axis=0))
    return keys


def coherence(keys: npt.ArrayLike) -> float:
    """Bound the largest ``|k_i · k_j|/(‖k_i‖ ‖k_j‖)`` over different keys i, j from above.

    The keys are exact numbers, the floats that they are, and every rounding is accounted for.

    Parameters
    ----------
    keys : array_like, shape (head_size, n)
        One key a column, none of them zero.

    Returns
    -------
    float
        At most 1; 0 for a single key.

    References
    ----------
    docs/theory.md, section 5.

    Examples
    --------
    >>> coherence([[1.0, 0.0], [0.0, 2.0]]) < 1e-300
    True
    >>> round(coherence([[1.0, 3.0], [0.0, 4.0]]), 12)
    0.6
    """
    K = check_matrix("keys", keys, ndim=2)
    check_model()
    largest = np.abs(K).max(axis=0)
    if not largest.all():
        raise InputError(
            f"key {int(np.argmin(largest))} is zero; expected keys that have a direction. Drop it."
        )
    m, n = K.shape
    if n == 1:
        return 0.0
    # powers of two, so exact but for entries that underflow, each by at most η
    K = np.ldexp(K, -np.frexp(largest)[1])
    products = up(np.abs(K.T @ K) + product_error(K.T, K) + 4 * m * ETA, 3)
    lengths = np.sqrt(np.sum(K * K, axis=0)) * (1 - 2 * (m + 4) * U)  # from below, at least 1/2
    ratios = up(products / np.outer(lengths, lengths), 2)
    np.fill_diagonal(ratios, 0.0)
    return min(1.0, float(ratios.max()))


@dataclass(frozen=True, eq=False)
class SelectingHead:
    """A head that gives each query one key, with what is certified of it.

    Attributes
    ----------
    head : AttentionHead
        On the identity tokens.
    targets : ndarray of int, shape (n,)
        The key that each query selects.
    scale : float
        β, at least ``|scale| max ‖q_j‖ max ‖k_i‖`` of the head.
    margin : float
        At most the least ``u_j·(k_t - k_i)`` over queries j, their targets t and other keys i, all
        directions and keys divided by the largest length of one; infinite for a single key.
    total_variation : float
        The most by which a column of the context misses its target, in exact arithmetic and in
        float64.
    """

    head: AttentionHead
    targets: Ints
    scale: float
    margin: float
    total_variation: float


def selecting_head(
    keys: npt.ArrayLike,
    error: float,
    *,
    directions: npt.ArrayLike | None = None,
    targets: npt.ArrayLike | None = None,
) -> SelectingHead:
    """Return the head with these keys whose queries select one key each, at the least scale.

    *Spread keys.* Let unit keys have coherence μ < 1. The queries ``q_j = β k_{t_j}`` with
    ``β = log((n - 1)(1 - ε)/ε)/(1 - μ)`` put a probability of at least 1 - ε on key t_j. In general
    it is the margin ``m = min_{i != t} u_t·(k_t - k_i)`` of directions u_t that stands for 1 - μ.

    The factor of the directions is bisected between 0 and what this asks for; the context is
    computed with a bound on its rounding, and is within `error`.

    Parameters
    ----------
    keys : array_like, shape (head_size, n)
        One key a column.
    error : float
        ε, the total variation allowed in each column.
    directions : array_like, shape (head_size, n), optional
        Column t is the direction of queries that select key t; the keys themselves unless given.
    targets : array_like of int, shape (n,), optional
        t_j, the key that query j selects; 0, …, n - 1 unless given. Keys may repeat.

    Returns
    -------
    SelectingHead

    Raises
    ------
    InputError, InputTypeError
        If an argument is not as described, or a direction does not prefer its key.
    Undecided
        If rounding stands in the way: the margin is too small for the error in float64.

    References
    ----------
    docs/theory.md, section 5.

    Examples
    --------
    >>> found = selecting_head(random_keys(100, 64, seed=0), error=1e-3)
    >>> found.total_variation <= 1e-3, 10 < found.scale < 20
    (True, True)
    """
    K = check_matrix("keys", keys, ndim=2)
    V = K if directions is None else check_matrix("directions", directions, ndim=2)
    if V.shape != K.shape:
        raise InputError(
            f"directions are {V.shape} but keys are {K.shape}; expected the same shape: "
            "column t of one is the direction of queries that select column t of the other."
        )
    share = check_share(error)
    chosen = _targets(targets, K.shape[1])
    check_model()
    low, worst = worst_margin(K, V)
    if not low[chosen].min() > 0:
        t = int(chosen[np.argmin(low[chosen])])
        raise InputError(
            f"direction {t} prefers key {int(worst[t])} to key {t}, or does not tell them apart in "
            "float64; expected each key to win its own direction. Fewer keys, or a larger head "
            "size, leave more room; for keys of one length the keys themselves serve."
        )
    return _selecting(K, V[:, chosen], chosen, float(low[chosen].min()), share)


def _targets(targets: npt.ArrayLike | None, n: int) -> Ints:
    if targets is None:
        return np.arange(n)
    array = as_array("targets", targets)
    if array.dtype.kind not in "iu":
        raise InputTypeError(f"targets have dtype {array.dtype}; expected integers, keys' numbers.")
    if array.shape != (n,) or array.min() < 0 or array.max() >= n:
        raise InputError(
            f"targets have shape {array.shape}; expected ({n},), one a query, each from 0 to "
            f"{n - 1}: a key's number."
        )
    return array.astype(np.intp)


def worst_margin(keys: Array, directions: Array) -> tuple[Array, Ints]:
    """For each t the least ``u_t·(k_t - k_i)`` over i != t, from below, and where; unchecked."""
    with np.errstate(under="ignore"):
        L = keys.T @ directions
        error = product_error(keys.T, directions)
    own = np.diag(L)
    gaps = own - L
    gaps -= up(error + np.diag(error) + 2 * U * (np.abs(L) + np.abs(own)), 4)
    np.fill_diagonal(gaps, np.inf)
    return gaps.min(axis=0), np.argmin(gaps, axis=0)


def _selecting(K: Array, V: Array, targets: Ints, margin: float, error: float) -> SelectingHead:
    n, lengths = K.shape[1], longest(K) * longest(V)
    P = np.zeros((n, n))
    P[targets, np.arange(n)] = 1.0

    def head_at(factor: float) -> tuple[AttentionHead, float]:
        head = AttentionHead(W_q=factor * V, W_k=K, scale=1.0)
        return head, float(total_variation_bound(head, P).max())

    high = _enough(head_at, n, margin, lengths, error)
    low, (head, reached) = 0.0, head_at(high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found, missed = head_at(middle)
        if missed <= error:
            head, reached, high = found, missed, middle
        else:
            low = middle
    relative = margin / lengths * (1 - 8 * U)
    return SelectingHead(head, frozen_copy(targets), head_scale(head), relative, reached)


def _enough(
    head_at: Callable[[float], tuple[AttentionHead, float]],
    n: int,
    margin: float,
    lengths: float,
    error: float,
) -> float:
    """A factor of the directions that is checked to reach the error."""
    for share in SHARES:
        allowed = share * error
        factor = max(0.0, math.log(max(n - 1, 1) * (1 - allowed) / allowed)) / margin
        if factor * lengths < LARGEST and head_at(factor)[1] <= error:
            return factor
    raise Undecided(
        f"keys with a margin of {margin:.1e} select within {error:.1e} in exact arithmetic at a "
        f"scale of {factor * lengths:.1e}; float64 does not hold logits of that size well enough. "
        "Take a larger error=, or keys spread further.",
        remedy="take a larger error=, or keys spread further",
    )
