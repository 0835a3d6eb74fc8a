"""How close a head of too small a size can come to P (docs/theory.md, section 5).

In Aitchison distance the answer has a closed form. In KL divergence there are rigorous lower
bounds: each rounding is bounded, and NumPy's logarithm and expm1 are taken to be within 4 units in
the last place. They rest on quadratic minorants and on what rank k does not explain under their
weights (:mod:`rankbound.theory.minorants`), or on entries on the wrong side of a threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_head_size
from rankbound.attention.head import AttentionHead
from rankbound.attention.masks import Mask
from rankbound.context import Context, read_context
from rankbound.errors import InputError
from rankbound.exact.rounding import LOG_ERROR, U, check_model, not_faint, up
from rankbound.theory.minorants import (
    SERIES,
    Weighted,
    explained,
    judged,
    phi_low,
    phi_threshold,
    raised,
    rank_one_minorant,
)
from rankbound.theory.sign_rank import GIVEN_AWAY, cut_best, largest_rectangle
from rankbound.theory.softmax_gauge import logs_of, of_each
from rankbound.theory.theorem_a import check_reached, full_rank_tokens, head_from_factors, split

REACHED = 1e-8  # by how much the head on given tokens may miss the optimum, in log-probability

Block = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]  # keys and queries

FLOOR = 1e-100  # keys of probabilities below are left out of a block: their weight is nothing
BUDGETS = 8  # column budgets tried on a block,
REFINED = 5  # and more of them near the best
ROUNDS = 4  # of improving a minorant
SPLITS = ((1, 1), (2, 1), (4, 1))  # of keys and of queries
MOST_BLOCKS = 6  # fully visible ones, under a mask
LARGEST_TILTED = 96  # tokens above which only the whole matrix is bounded, without a tilt
HOPED = 2.5  # by how much tilts raise a split that they are tried on
MOST_SIGNS = 512  # tokens up to which patterns of signs are tried


def aitchison_error(
    P: Any = None,
    head_size: int = 1,
    *,
    logits: Any = None,
    rows: bool = False,
    stored: Any = None,
) -> Any:
    """Least Aitchison distance between P and the context of a head of this size.

    ``min ‖C (log P - log Q)‖_F`` over contexts Q of heads of size k is exactly
    ``sqrt(Σ_{r > k} s_r²)``, s the singular values of ``C log P`` (Eckart–Young; tokens of full
    column rank, otherwise a lower bound), in natural logarithms. See docs/theory.md, section 5.

    Parameters
    ----------
    P, logits, rows, stored : as in `Context`
        Positive, without a mask; a batch too, of which each has its own distance.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(8, seed=0, law="logrank", rank=3)
    >>> bool(rb.aitchison_error(P, 3) < 1e-12 < rb.aitchison_error(P, 2))
    True
    """
    k = check_head_size(head_size)
    logs = logs_of(unmasked(P, logits=logits, stored=stored, rows=rows, batch=True))
    values = logs.singular_values
    with np.errstate(over="ignore"):  # reported just below
        tail = np.ldexp(np.linalg.norm(values[..., k:], axis=-1), logs.exponent[..., 0, 0])
    if not np.isfinite(tail).all():
        raise InputError("the error is above 1.8e308; divide the logits by a power of two.")
    return float(tail) if np.ndim(tail) == 0 else tail


def nearest_head(
    P: Any = None,
    head_size: int = 1,
    *,
    X: Any = None,
    logits: Any = None,
    rows: bool = False,
    stored: Any = None,
) -> AttentionHead:
    """Return the head of this size nearest to P in Aitchison distance.

    Its logits are the truncated singular value decomposition of ``C log P``; it reaches
    :func:`rankbound.aitchison_error` (Eckart–Young; docs/theory.md, section 5).

    Parameters
    ----------
    P, logits, rows, stored : as in `aitchison_error`
        One matrix.
    X : array_like, shape (d, n), optional
        Tokens of full column rank; None means the identity.

    Raises
    ------
    Undecided
        If X is so ill-conditioned that the head misses the optimum by more than 1e-8.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(8, seed=0)
    >>> rb.log_rank(rb.nearest_head(P, 3).context())
    3
    """
    k = check_head_size(head_size)
    logs = logs_of(unmasked(P, logits=logits, stored=stored, rows=rows))
    tokens = None if X is None else full_rank_tokens(X, logs.n)
    left, right = split(logs.scaled, logs.exponent, min(k, logs.n))
    head = head_from_factors(left, right, k, None if tokens is None else tokens.space)
    if tokens is not None:
        truncated = replace(logs, values=left.T @ right, exponent=np.zeros((1, 1), np.int32))
        check_reached(head, tokens, truncated, REACHED)
    return head


def unmasked(P: Any, **given: Any) -> Context:
    """Read a context that nothing hides: a closed form under a mask is not known."""
    context = read_context(P, **given)
    if context.mask is not None:
        raise InputError(
            f"{context.name} has hidden entries; expected a context without a mask: the closed "
            "form is for those. rb.fit_head and rb.kl_lower_bound take a mask."
        )
    return context


def kl_lower_bound(
    P: Any,
    head_size: int,
    *,
    mask: Any = None,
    rows: bool = False,
    stored: Any = None,
) -> Any:
    """A number that no head of this size comes below in mean KL divergence, on any tokens.

    For ``φ(t) = t - 1 + e^{-t}`` and a budget θ > 0 let ``p φ(T) = θ`` in each entry, let
    ``w (x - H)² - e``, ``w = a_i² b_j²``, be at most ``p φ(x)`` for x <= T, and let M be
    ``diag(a) (log P - H) diag(b)`` with the gauge projected out. For every m

        n KL >= min((m + 1) θ, min over t <= m of what t dear columns leave - Σ e),

    that is, ``tail_k(M)²`` less the t largest ``(‖M_j‖² - Σ_i e_ij - θ)_+``, or
    ``tail_{k+t}(M)² + t θ``: in a column that costs less than θ every entry is missed by less than
    T. The same holds on blocks of keys and queries, and for disjoint blocks the bounds add up.
    Under a mask the best bound of a fully visible block holds. Up to 96 tokens a, b and H are found
    by ascent; beyond, H = 0 (docs/theory.md, section 5).

    Parameters
    ----------
    P, mask, rows, stored : as in `Context`
        Zeros are allowed; a batch too.

    Returns
    -------
    float, or ndarray over a batch
        In nats; 0 where nothing is shown, as for ``head_size >= n - 1``. Roundings are bounded
        outward; NumPy's logarithm and expm1 are taken to be within 4 units in the last place, and
        P, columns normalised, to be the exact numbers that its floats are.

    Raises
    ------
    RankboundError
        If this machine's arithmetic is not that of the bounds.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(16, seed=0, law="gibbs", scale=0.3)
    >>> fit, bound = rb.fit_head(P, 4), rb.kl_lower_bound(P, 4)
    >>> 0 < bound <= fit.kl < 1.5 * bound
    True
    """
    from threadpoolctl import threadpool_limits

    context = read_context(P, mask=mask, stored=stored, rows=rows, zeros=True, batch=True)
    k = check_head_size(head_size)
    check_model()
    with threadpool_limits(1, "blas"):  # the matrices are small; threads only wait for each other
        return of_each(context, lambda one: best_argument(one.P, one.mask, k).value)


@dataclass(frozen=True, eq=False)
class Argument:
    """A lower bound of the mean KL divergence and what it rests on: blocks, or wrong signs."""

    value: float
    blocks: tuple[Weighted, ...] = ()
    thresholds: Array | None = None  # logarithms, for each column
    parts: int = 1  # that the rows are cut into


def best_argument(P: Array, mask: Mask | None, k: int, *, tilted: bool = True) -> Argument:
    """The best bound for a checked context, its columns divided by their exact sums."""
    n = len(P)
    if k >= n - 1:
        return Argument(0.0)
    blocks: Iterable[list[Block]]
    if mask is None:
        blocks = (_grid(n, split) for split in (SPLITS if n <= LARGEST_TILTED else SPLITS[:1]))
    else:
        blocks = ([block] for block in _visible_blocks(mask, k))
    low = normalised_low(P)
    found = [_sum(_weighted_blocks(P, low, k, parts)) for parts in blocks]
    best = max(found, key=lambda one: one.value, default=Argument(0.0))
    if tilted and n <= LARGEST_TILTED:
        whole = best if mask is not None else found[0]
        found.append(_sum(_raised_block(P, low, k, one) for one in whole.blocks))
        if best is not whole and found[-1].value < HOPED * best.value:
            found.append(_sum(_raised_block(P, low, k, one) for one in best.blocks))
    if mask is None and n <= MOST_SIGNS and P.min() > 0:
        found.append(_by_signs(P, low, k))
    best = max(found, key=lambda one: one.value, default=best)
    return replace(best, value=best.value * (1 - GIVEN_AWAY) / n)


def _sum(weighted: Iterable[Weighted]) -> Argument:
    """Bounds of disjoint blocks add up."""
    blocks = tuple(weighted)
    return Argument(sum(one.value for one in blocks), blocks)


def _raised_block(P: Array, low: Array, k: int, part: Weighted) -> Weighted:
    block = np.ix_(part.keys, part.queries)
    found = raised(np.log(P[block]), low[block], k, part)
    return replace(found, keys=part.keys, queries=part.queries)


def normalised_low(P: Array) -> Array:
    """Lower bounds of the entries of P, its columns divided by their exact sums."""
    return not_faint(P / up(P.sum(axis=0), len(P) + 2) * (1 - 2 * U))


def _by_signs(P: Array, low: Array, k: int) -> Argument:
    """The bound by signs, with a threshold in each column that splits it best, or in half.

    Logarithms and thresholds are those of P with its columns divided by their exact sums: n - 1
    roundings of a sum move its logarithm by n u at most.
    """
    n, best = len(P), Argument(0.0)
    logs, log_sums = np.log(P), np.log(P.sum(axis=0))
    ell = np.minimum(logs - log_sums, 0.0)
    error = 2 * LOG_ERROR * (np.abs(logs) + np.abs(log_sums)) + (n + 2) * U
    order = np.sort(ell, axis=0)
    t, p = np.diff(order, axis=0), np.exp(order)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # the identric mean of two neighbours: a wrong entry at either costs as much
        mean = (p[1:] * order[1:] - p[:-1] * order[:-1]) / (p[1:] - p[:-1]) - 1
        gain = np.where(t > 0, p[1:] * (order[1:] - mean) - p[1:] + np.exp(mean), 0.0)
    mean = np.clip(np.where(t > 0, mean, order[:-1]), order[:-1], order[1:])
    for place in (np.argmax(gain, axis=0), np.full(n, (n - 1) // 2)):
        threshold = mean[place, np.arange(n)]
        signs = np.where(ell > threshold, 1, -1)
        area = largest_rectangle(signs, k + 1)
        if area >= n * n:
            continue
        distance = np.maximum(np.abs(ell - threshold) * (1 - 4 * U) - error, 0.0)
        above = low * phi_low(distance)
        below = np.exp(threshold) * (1 - 2 * LOG_ERROR) * _psi_low(distance)
        costs = not_faint(np.where(signs > 0, above, below) * (1 - 4 * U))
        value, parts = cut_best(costs, area)
        if value > best.value:
            best = Argument(value, thresholds=threshold, parts=parts)
    return best


def _psi_low(s: Array) -> Array:
    """A lower bound of ``1 - (1 + s) e^{-s}``, s >= 0: what probability θ e^{-s} costs at θ."""
    small = np.minimum(s, SERIES)
    series = small * small * (0.5 - small / 3) * (1 - 8 * U)
    direct = np.maximum(1.0 - (1.0 + s) * np.exp(-s) - 16 * U, 0.0)
    return not_faint(np.where(s < SERIES, series, direct))


def entrywise_lower_bound(P: Any, head_size: int, *, rows: bool = False) -> Any:
    """By how much every head of this size, on tokens of any rank, misses some entry of log P.

    ``max |log P - log Q| >= τ_k/n``, τ_k the least Aitchison distance, since centring raises no
    Frobenius norm and n² entries carry it. P is positive, without a mask, maybe a batch; rounding
    is bounded as in :func:`kl_lower_bound`.
    """
    context = unmasked(P, rows=rows, batch=True)
    k = check_head_size(head_size)
    check_model()
    ones = np.ones(context.n)

    def bound(one: Context) -> float:
        ell = np.log(one.values) if one.name == "P" else one.values  # up to gauge
        tail = explained(ell, ones, ones, k).tail
        return float(np.sqrt(tail) / context.n * (1 - 8 * U))

    return of_each(context, bound)


def stays_away(P: Array, head_size: int, mask: Mask | None = None) -> bool:
    """Whether heads of this size keep a positive KL divergence from P, for a checked context.

    sound: a visible block of positive entries whose logarithms have a positive distance from rank k
    and gauge. incomplete: other blocks may show it.
    """
    n = len(P)
    blocks = _grid(n, (1, 1)) if mask is None else list(_visible_blocks(mask, head_size))
    for keys, queries in blocks:
        kept = keys[(P[np.ix_(keys, queries)] > FLOOR).all(axis=1)]
        if min(len(kept) - 1, len(queries)) > head_size:
            ones = np.ones(len(kept)), np.ones(len(queries))
            if explained(np.log(P[np.ix_(kept, queries)]), *ones, head_size).tail > 0:
                return True
    return False


def _grid(n: int, split: tuple[int, int]) -> list[Block]:
    """Disjoint blocks: so many parts of keys times so many parts of queries, at random."""
    rng = np.random.default_rng(0)
    keys, queries = (np.array_split(rng.permutation(n), parts) for parts in split)
    return [(some, columns) for some in keys for columns in queries]


def _visible_blocks(visible: Mask, k: int) -> Iterator[Block]:
    """The first keys in the order of how many queries see them, and the queries that see all."""
    order = np.argsort(-visible.sum(axis=1), kind="stable")
    sees = np.logical_and.accumulate(visible[order], axis=0)
    sizes = np.minimum(np.arange(len(order)), sees.sum(axis=1))  # keys - 1 and queries
    for last in np.argsort(-sizes, kind="stable")[:MOST_BLOCKS]:
        if sizes[last] > k:
            yield order[: last + 1], np.flatnonzero(sees[last])


def _weighted_blocks(P: Array, low: Array, k: int, blocks: list[Block]) -> Iterator[Weighted]:
    """Lower bounds of the parts of n KL that lie in disjoint blocks; none where k is too large."""
    if min(min(len(keys) - 1, len(queries)) for keys, queries in blocks) <= k:
        return
    for keys, queries in blocks:
        # sound: leaving keys out leaves out terms that are not negative
        kept = keys[(low[np.ix_(keys, queries)] > FLOOR).all(axis=1)]
        if len(kept) - 1 > k:
            block = np.ix_(kept, queries)
            best = _weighted(np.log(P[block]), low[block], k)
            yield replace(best, keys=kept, queries=queries)


def _weighted(ell: Array, p: Array, k: int) -> Weighted:
    """The best bound of ``Σ p φ(Δ)`` over budgets, on one block."""
    direct = [_direct(ell, k, *minorant) for minorant in _simple(p)]
    tried = {float(budget): _with_budget(ell, p, k, budget) for budget in _budgets(ell, p, k)}
    # between the best and its neighbours, where the ratio is largest
    for _ in range(REFINED if tried else 0):
        budgets = sorted(tried)
        at = budgets.index(max(budgets, key=lambda budget: tried[budget].value))
        near = [b for b in (at - 1, at) if 0 <= b < len(budgets) - 1]
        gap = max(near, key=lambda b: budgets[b + 1] / budgets[b])
        middle = float(np.sqrt(budgets[gap] * budgets[gap + 1]))
        tried[middle] = _with_budget(ell, p, k, middle)
    return max([*direct, *tried.values()], key=lambda one: one.value)


def _simple(p: Array) -> Iterator[tuple[Array, Array]]:
    """Minorants of p itself: the least entry everywhere, and one that is large on average."""
    m, n = p.shape
    root = float(np.sqrt(p.min())) * (1 - 4 * U)
    yield np.full(m, root), np.ones(n)
    yield rank_one_minorant(p, np.ones_like(p))


def _direct(ell: Array, k: int, a: Array, b: Array) -> Weighted:
    """``w φ(τ/√w)``, w = min (a_i b_j)²: all that is unexplained, carried by the cheapest entry.

    It is the bound by that budget with the weights times φ(t)/t², t = τ/√w.
    """
    least = np.square(a.min() * b.min()) * (1 - 4 * U)
    tail = np.sqrt(explained(ell, a, b, k).tail / least) * (1 - 4 * U)
    share = float(phi_low(np.asarray(tail)))
    value = float(not_faint(least * share * (1 - 2 * U)))
    return Weighted(value, value, a * (np.sqrt(share) / tail if tail > 0 else 0.0), b)


def _with_budget(ell: Array, p: Array, k: int, budget: float) -> Weighted:
    c = phi_threshold(up(budget / p, 2))[1]
    W = p * c * (1 - 2 * U)
    best = Weighted(0.0, budget, np.zeros(len(p)), np.zeros(p.shape[1]))
    if not W.min() > 0:
        return best
    mass, start = np.ones_like(p), None
    for _ in range(ROUNDS):
        a, b = rank_one_minorant(W, mass, start)
        found = explained(ell, a, b, k)
        value = judged(found.tails, found.columns, budget, k)
        if value > best.value:
            best = Weighted(value, budget, a, b)
        if not found.mass.any():
            break
        # towards where the unexplained part lies, by halves: it moves with the minorant
        start, mass = 2 * np.log(b), mass / mass.sum() + found.mass / found.mass.sum()
    return best


def excluded_sizes(P: Array, mask: Mask | None, kl: float) -> int:
    """How many head sizes, 0, 1, …, cannot come within a KL divergence of a checked context.

    The bound of :func:`kl_lower_bound` with the budgets n KL/(m + 1), m + 1 = 1, 2, 4, …: they and
    their weights are the same for every size, so one decomposition each serves all.
    """
    n, found = len(P), 0
    low = normalised_low(P)
    target = n * kl * (1 + GIVEN_AWAY)
    for keys, queries in _grid(n, (1, 1)) if mask is None else _visible_blocks(mask, 0):
        kept = keys[(low[np.ix_(keys, queries)] > FLOOR).all(axis=1)]
        block = np.ix_(kept, queries)
        for shared in (2**i for i in range(len(queries).bit_length())):
            if min(len(kept) - 1, len(queries)) > found:
                some = _excluded(np.log(P[block]), low[block], target, shared, found)
                found = max(found, some)
    return found


def _excluded(ell: Array, p: Array, target: float, shared: int, found: int) -> int:
    """How many sizes the budget target/shared excludes, on one block."""
    budget = float(up(target / shared, 1))
    W = p * phi_threshold(up(budget / p, 2))[1] * (1 - 2 * U)
    mass, start = np.ones_like(p), None
    for _ in range(ROUNDS if W.min() > 0 else 0):
        a, b = rank_one_minorant(W, mass, start)
        unexplained = explained(ell, a, b, found)
        loss = np.sort(np.maximum(unexplained.columns - budget, 0.0))[::-1]
        lost = up(float(loss[: shared - 1].sum()), 2 * len(loss))
        found = max(found, int(np.count_nonzero(unexplained.tails - lost > target)))
        if not unexplained.mass.any():
            break
        start, mass = 2 * np.log(b), mass / mass.sum() + unexplained.mass / unexplained.mass.sum()
    return found


def _budgets(ell: Array, p: Array, k: int) -> Array:
    """From what all columns are likely to spend together to what one of them may need."""
    share = p / p.sum(axis=0)
    variance = np.sum(p * np.square(ell - np.sum(share * ell, axis=0)), axis=0)
    a, b = rank_one_minorant(p / 2, np.ones_like(p))
    least = explained(ell, a, b, k).tail
    one, together = float(np.median(variance)), min(least, float(variance.sum()) / 2)
    if not (one > 0 and together > 0):
        return np.zeros(0)
    return np.geomspace(min(one, together) / 8, 1.5 * max(one, together), BUDGETS)
