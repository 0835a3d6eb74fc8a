"""Which keys a head can select: one per query at a small scale, and every pair at head size 4.

*Price of scale:* how large logits must be for a small head to select one key per query. *Spread
keys*, of coherence μ, do so at a scale of ``max(0, log((n - 1)(1 - ε)/ε))/(1 - μ)``. On the
trigonometric moment curve each pair of keys is scored above all others. docs/theory.md, section 5.
"""

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
    check_head,
    check_head_size,
    check_int,
    check_matrix,
    check_real,
    check_seed,
    frozen_copy,
    require_memory,
)
from rankbound.attention.head import AttentionHead
from rankbound.errors import InputError, InputTypeError, Undecided
from rankbound.exact.rounding import ETA, TINY, U, check_model, product_error, up
from rankbound.theory.sparse import total_variation_bound

Ints = npt.NDArray[np.intp]
MOST_SELECTED = 2**53
MOST_CAPS = 4096  # head sizes beyond are left to the other bounds, which are then the better ones
HALVINGS = 24  # of the factor that multiplies the queries
SHARES = (1 - 1e-6, 0.9, 0.5)  # of the error, the rest being left to rounding
LARGEST = 1e150  # logits beyond are not formed
MOST_KEYS = 1_000  # whose pairs are checked: half a million queries, taken a block at a time
BLOCK = 2**22  # numbers in a block of scores


@dataclass(frozen=True, eq=False)
class ScaleBounds:
    """Lower bounds of the scale β of a head that selects n different keys."""

    volume: float  # (n^{1/d} - 1)/2 · g, g = log((1 - ε)/ε): balls around keys are disjoint
    caps: float  # caps of the hull of the keys are disjoint; infinite for d = 1 and n > 2
    average: float  # (1 - 1/n) sufficient_gap(n, ε), for every d; reached for d >= n - 1
    plane: float  # g/(1 - cos(2π/n)) for d = 2 and n > 2, and 0 elsewhere

    @property
    def best(self) -> float:
        """The largest of them."""
        return max(self.volume, self.caps, self.average, self.plane)


def least_scale_bound(n: int, head_size: int, error: float) -> float:
    """How large logits must be for a head of this size to select n different keys, at least.

    *Price of scale.* Let n queries put a probability of at least 1 - ε on n different keys (so do
    all contexts within ε in total variation of a permutation), at head size d, whatever the other
    keys and queries are. Then ``β = max_j ‖q_j‖ · max_i ‖k_i‖``, the temperature included, is at
    least each of the four bounds of :class:`ScaleBounds`; the best is returned, rounded down. It
    is infinite where no scale is enough: head size 1 selects at most two keys. The volume bound
    is that of Weller, Boratko, Naim & Lee 2025, Theorem 1.

    Examples
    --------
    >>> [round(least_scale_bound(1024, d, error=1e-3), 2) for d in (2, 4, 8, 1023)]
    [366898.19, 60.68, 13.82, 13.82]
    """
    return scale_bounds(n, head_size, error).best


def scale_bounds(n: int, head_size: int, error: float) -> ScaleBounds:
    """The four bounds behind :func:`least_scale_bound`, each rounded down."""
    from mpmath.ctx_iv import MPIntervalContext

    n = check_int("n", n, least=1, most=MOST_SELECTED)
    d, error = check_head_size(head_size), check_share(error)
    iv: Any = MPIntervalContext()
    iv.prec = 106
    if n == 1:
        return ScaleBounds(0.0, 0.0, 0.0, 0.0)
    # no key is nearer to the selected one's logit
    gap = iv.log((1 - iv.mpf(error)) / iv.mpf(error))
    mean_gap = iv.log((n - 1) * (1 - iv.mpf(error)) / iv.mpf(error))
    volume = caps = plane = 0.0
    if error < 0.5:
        volume = _down((iv.exp(iv.log(n) / d) - 1) / 2 * gap)
        caps = _caps(iv, n, d, gap)
        if d == 2 and n > 2:
            plane = _down(gap / (2 * iv.sin(iv.pi / n) ** 2))
    return ScaleBounds(volume, caps, _down(mean_gap * (n - 1) / n), plane)


def sufficient_gap(n: int, error: float, share: float = 1.0) -> float:
    """``max(0, log((n - 1)(1 - ε)/ε))``: how far n - 1 logits must lie below that of a key.

    Then the key has a probability of at least 1 - ε, ε a share of the error; from ε = 1 - 1/n on
    equal logits will do, so the gap, and with it the scale of a head, is 0. Unchecked.
    """
    odds = math.log1p(-share * error) - math.log(share) - math.log(error)  # ε may underflow
    return max(0.0, math.log(n - 1) + odds) if n > 1 else 0.0


def check_share(error: Any) -> float:
    """Return a total variation strictly between 0 and 1."""
    share = check_real("error", error, above=0.0)
    if not share < 1:
        raise InputError(
            f"error is {share}; expected a total variation below 1, which every context meets."
        )
    return share


def _caps(iv: Any, n: int, d: int, gap: Any) -> float:
    if d == 1:
        return math.inf if n > 2 else 0.0
    if d > MOST_CAPS:
        return 0.0
    share = n / _surface_ratio(iv, d)
    return _down((iv.exp(2 * iv.log(share) / (d - 1)) - 1) / 4 * gap)


def _surface_ratio(iv: Any, d: int) -> Any:
    """``d κ_d/κ_{d-1}``, κ_d the volume of the unit ball, by Wallis' formula."""
    m = d // 2
    middle = math.comb(2 * m, m)
    if d % 2:
        return iv.mpf(2) * 4**m / middle
    return iv.pi * d * middle / 4**m


def _down(interval: Any) -> float:
    """A float below the interval; 0 is one for a scale, which is never negative."""
    value = float(interval.a)  # to nearest
    return max(0.0, math.nextafter(value, 0.0)) if value > 0 else 0.0


def head_scale(head: AttentionHead, *, X: npt.ArrayLike | None = None) -> float:
    """Bound the scale of a head, ``β = |scale| max_j ‖q_j‖ max_i ‖k_i‖``, from above.

    No logit is larger in magnitude. Tokens X None mean the identity; the bound is infinite where
    the squares overflow.
    """
    check_head(head, "For queries and keys, rb.AttentionHead(W_q=queries, W_k=keys).")
    check_model()
    tokens = None if X is None else check_matrix("X", X, ndim=2)
    keys, queries = np.abs(head.keys(tokens)), np.abs(head.queries(tokens))
    if head.scale == 0:
        return 0.0
    with np.errstate(over="ignore", under="ignore"):
        if tokens is not None:
            keys = up(keys + product_error(head.W_k, tokens), 1)
            queries = up(queries + product_error(head.W_q, tokens), 1)
        # the product of norms, of which neither is below the smallest number, may underflow once
        largest = up(longest(keys) * longest(queries), 1)
        return float(up(abs(head.scale) * largest, 1))


def longest(columns: Array) -> float:
    """An upper bound of the largest Euclidean norm of a column."""
    m = len(columns)
    with np.errstate(over="ignore", under="ignore"):
        squares = np.sum(np.square(columns), axis=0) + m * ETA  # each square may underflow
        return float(up(np.sqrt(up(squares, 2 * m)), 1).max())


def unit_columns(columns: Array) -> Array:
    """The columns divided by their Euclidean lengths."""
    scaled: Array = columns / np.sqrt(np.sum(columns * columns, axis=-2, keepdims=True))
    return scaled


def random_keys(n: int, head_size: int, seed: int | np.random.Generator) -> Array:
    """Draw n keys uniformly from the unit sphere: shape (head_size, n), lengths 1 up to rounding.

    For each δ in (0, 1) their coherence is at most ``sqrt(2 log(n²/δ)/d)`` with a probability of at
    least 1 - δ, d the head size.
    """
    n, d = check_int("n", n, least=1), check_head_size(head_size)
    rng = check_seed(seed)
    require_memory("head_size", d, d, n)
    return unit_columns(rng.standard_normal((d, n)))


def coherence(keys: npt.ArrayLike) -> float:
    """Bound the largest ``|k_i · k_j|/(‖k_i‖ ‖k_j‖)`` over different keys i, j from above.

    The keys, one per column and none of them zero, are the exact numbers that their floats are,
    and every rounding is accounted for. The bound is at most 1, and 0 for a single key.

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
            f"keys have shape {K.shape}, and key {int(np.argmin(largest))} is zero; expected keys "
            "that have a direction. Drop it."
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
    """A head that gives each query one key, on the identity, with bounds that hold for it.

    `margin` is at most the least ``u_j·(k_t - k_i)`` over queries j, their targets t and other keys
    i, all directions and keys divided by the largest length of one; infinite for a single key.
    `total_variation` is the most by which a column of the context misses its target, in exact
    arithmetic and in float64.
    """

    head: AttentionHead
    targets: Ints  # the key that each query selects
    scale: float  # β, at least |scale| max ‖q_j‖ max ‖k_i‖ of the head
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
    ``β = max(0, log((n - 1)(1 - ε)/ε))/(1 - μ)`` put a probability of at least 1 - ε on key t_j; no
    scale is needed for n = 1. In general it is the margin ``m = min_{i != t} u_t·(k_t - k_i)`` of
    directions u_t that stands for 1 - μ.

    The factor of the directions is bisected between 0 and what this asks for; the context is
    computed with a bound on its rounding, and is within `error`.

    Parameters
    ----------
    keys : array_like, shape (head_size, n)
        One key per column.
    error : float
        ε, the total variation allowed in each column.
    directions : array_like, shape (head_size, n), optional
        Column t is the direction of queries that select key t; the keys themselves unless given.
    targets : array_like of int, shape (n,), optional
        t_j, the key that query j selects; 0, …, n - 1 unless given. Keys may repeat.

    Raises
    ------
    Undecided
        If rounding stands in the way: the margin is too small for the error in float64.

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
    margins, worst = worst_margin(K, V)
    if not margins[chosen].min() > 0:
        t = int(chosen[np.argmin(margins[chosen])])
        raise InputError(
            f"direction {t} prefers key {int(worst[t])} to key {t}, or does not tell them apart in "
            "float64; expected each key to win its own direction. Fewer keys, or a larger head "
            "size, leave more room; for different keys of one length the keys themselves serve."
        )
    V, margin = V[:, chosen], float(margins[chosen].min())
    n, lengths = K.shape[1], longest(K) * longest(V)
    P = np.zeros((n, n))
    P[chosen, np.arange(n)] = 1.0

    def head_at(factor: float) -> tuple[AttentionHead, float]:
        head = AttentionHead(W_q=factor * V, W_k=K, scale=1.0)
        return head, float(total_variation_bound(head, P).max())

    high = _enough(head_at, n, margin, lengths, share)
    low, (head, reached) = 0.0, head_at(high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found, missed = head_at(middle)
        if missed <= share:
            head, reached, high = found, missed, middle
        else:
            low = middle
    relative = margin / lengths * (1 - 8 * U)
    return SelectingHead(head, frozen_copy(chosen), head_scale(head), relative, reached)


def _targets(targets: npt.ArrayLike | None, n: int) -> Ints:
    if targets is None:
        return np.arange(n)
    array = as_array("targets", targets)
    if array.dtype.kind not in "iu":
        raise InputTypeError(f"targets have dtype {array.dtype}; expected integers, keys' numbers.")
    if array.shape != (n,) or array.min() < 0 or array.max() >= n:
        raise InputError(
            f"targets have shape {array.shape}; expected ({n},), one per query, each from 0 to "
            f"{n - 1}: a key's number."
        )
    return array.astype(np.intp)


def worst_margin(keys: Array, directions: Array) -> tuple[Array, Ints]:
    """For each t the least ``u_t·(k_t - k_i)`` over i != t, from below, and where; unchecked."""
    L, error = _scores(keys, directions)
    own = np.diag(L)
    gaps = own - L
    gaps -= up(error + np.diag(error) + 2 * U * (np.abs(L) + np.abs(own)), 4)
    np.fill_diagonal(gaps, np.inf)
    return gaps.min(axis=0), np.argmin(gaps, axis=0)


def _scores(keys: Array, queries: Array) -> tuple[Array, Array]:
    """``keys^T queries`` and a bound of its rounding; refused where float64 does not hold them."""
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):  # reported just below
        scores, error = keys.T @ queries, product_error(keys.T, queries)
    if not np.isfinite(error).all():
        raise InputError(
            f"keys of up to {np.abs(keys).max():.1e} and queries of up to "
            f"{np.abs(queries).max():.1e} have scores that float64 does not hold; expected "
            "smaller ones. Divide them by a power of two."
        )
    return scores, error


def _enough(
    head_at: Callable[[float], tuple[AttentionHead, float]],
    n: int,
    margin: float,
    lengths: float,
    error: float,
) -> float:
    """A factor of the directions that is checked to reach the error."""
    for share in SHARES:
        factor = sufficient_gap(n, error, share) / margin
        if factor * lengths < LARGEST and head_at(factor)[1] <= error:
            return factor
    raise Undecided(
        f"keys with a margin of {margin:.1e} select within {error:.1e} in exact arithmetic at a "
        f"scale of {factor * lengths:.1e}; float64 does not hold logits of that size well enough. "
        "Take a larger error=, or keys spread further.",
        remedy="take a larger error=, or keys spread further",
    )


@dataclass(frozen=True, eq=False)
class Pairs:
    """Keys, a query for each pair ``(0, 1), (0, 2), …, (1, 2), …``, and what is certain of scores.

    `margin` is at most the least score of a key of a pair less the largest of another key, over all
    pairs, divided by the largest length of a key and of a query; negative if a pair is missed, and
    infinite where there is no other key.
    """

    keys: Array  # (head_size, n)
    queries: Array  # (head_size, n (n - 1)/2)
    realised: int  # pairs both of whose keys certainly have larger scores than every other key
    margin: float

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return int(self.queries.shape[1])

    @property
    def share(self) -> float:
        """Of the pairs, how many are realised."""
        return self.realised / self.count


def pair_members(n: int) -> Ints:
    """The pairs of n keys in order, a row each; unchecked."""
    return np.stack(np.triu_indices(n, 1), axis=1)


def check_pairs(keys: npt.ArrayLike, queries: npt.ArrayLike) -> Pairs:
    """Say for how many pairs of n >= 2 keys their query scores both above all other keys.

    Keys, (head_size, n), and queries, (head_size, n (n - 1)/2), in the order of :class:`Pairs`, are
    the floats that they are; a pair counts if its margin is above a bound on the rounding of the
    scores.

    Examples
    --------
    >>> check_pairs([[1.0, 0.0, -1.0]], [[1.0, 0.0, -1.0]]).realised  # not the outer two
    2
    """
    K, Q = check_matrix("keys", keys, ndim=2), check_matrix("queries", queries, ndim=2)
    n = check_int("number of keys", K.shape[1], least=2, most=MOST_KEYS)
    count = n * (n - 1) // 2
    if Q.shape != (len(K), count):
        raise InputError(
            f"queries are {Q.shape}; expected {(len(K), count)}, one for each pair of the {n} keys "
            "and of their length."
        )
    check_model()
    members = pair_members(n)
    step = max(1, BLOCK // n)
    least = [
        _pair_margins(K, Q[:, start : start + step], members[start : start + step])
        for start in range(0, len(members), step)
    ]
    margins = np.concatenate(least)
    relative = _over_lengths(float(margins.min()), K, Q)
    return Pairs(frozen_copy(K), frozen_copy(Q), int(np.count_nonzero(margins > 0)), relative)


def _over_lengths(margin: float, K: Array, Q: Array) -> float:
    """A margin over the largest lengths of a column of either, from below.

    That is over more than the lengths if it is positive, and over less if it is negative.
    """
    if margin == math.inf:  # there is no other key
        return margin
    for columns in (K, Q):
        largest = float(np.abs(columns).max())
        if not largest:  # then all scores are 0, and all pairs are missed
            return -TINY
        # by a power of two, so exact but for entries that underflow, each by at most η
        exponent = math.frexp(largest)[1]
        scaled, m = np.ldexp(columns, -exponent), len(columns)
        if margin > 0:
            length = longest(scaled)
        else:  # at least 1/2
            length = float(np.sqrt(np.sum(scaled * scaled, axis=0)).max()) * (1 - 2 * (m + 4) * U)
        with np.errstate(over="ignore", under="ignore"):
            margin = float(np.ldexp(margin / length, -exponent))
    if abs(margin) < TINY:  # it may have been rounded up
        return -TINY if margin < 0 else 0.0
    return margin - 8 * U * abs(margin) if math.isfinite(margin) else margin


def _pair_margins(K: Array, Q: Array, members: Ints) -> Array:
    """The margin of each query's pair, from below."""
    scores, error = _scores(K, Q)
    error = up(error + U * np.abs(scores), 2)
    own = np.arange(len(members))[:, None]
    inside = (scores - error)[members, own].min(axis=1)
    outside = scores + error
    outside[members, own] = -np.inf
    most = outside.max(axis=0)
    rounding = np.where(np.isfinite(most), 2 * U * (np.abs(inside) + np.abs(most)), 0.0)
    margins: Array = inside - most - rounding
    return margins


def curve_pairs(n: int) -> Pairs:
    """Realise all pairs of n >= 2 keys at head size 4, in floats too.

    *Sparse patterns are easy*, s = 2: keys at equal angles ``t_i`` on the trigonometric moment
    curve ``(cos t, sin t, cos 2t, sin 2t)``, and for the pair with angles a, b the functional of
    ``-(1 - cos(t - a))(1 - cos(t - b))`` less its constant term: 0 at a and b and negative at all
    other keys. Keys and queries have length 1, up to rounding; the margin falls like n^-4.

    Examples
    --------
    >>> found = curve_pairs(50)
    >>> found.keys.shape, found.realised, found.count, 1e-5 < found.margin < 1e-4
    ((4, 50), 1225, 1225, True)
    """
    n = check_int("n", n, least=2, most=MOST_KEYS)
    check_model()
    angles = 2 * math.pi * np.arange(n) / n
    a, b = angles[pair_members(n)].T
    # (1 - cos(t - a))(1 - cos(t - b)) in cosines and sines of t and 2t
    queries = np.array(
        [
            np.cos(a) + np.cos(b),
            np.sin(a) + np.sin(b),
            -np.cos(a + b) / 2,
            -np.sin(a + b) / 2,
        ]
    )
    keys = np.array([np.cos(angles), np.sin(angles), np.cos(2 * angles), np.sin(2 * angles)])
    return check_pairs(unit_columns(keys), unit_columns(queries))
