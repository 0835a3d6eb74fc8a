"""How close a head of too small a size can come to P (docs/theory.md, section 5).

In Aitchison distance the answer has a closed form. In KL divergence there are rigorous lower
bounds: each rounding is bounded, and NumPy's logarithm and expm1 are taken to be within 4 units in
the last place. They rest on rank-one minorants of weights, and on the part of a weighted matrix
that no matrix of rank k explains.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_head_size
from rankbound.attention.head import AttentionHead
from rankbound.attention.masks import Mask
from rankbound.context import Context, read_context
from rankbound.errors import InputError
from rankbound.exact.rounding import LOG_ERROR, U, check_model, product_error, up
from rankbound.theory.sign_rank import GIVEN_AWAY, cut_best, largest_rectangle
from rankbound.theory.softmax_gauge import logs_of, of_each
from rankbound.theory.theorem_a import check_reached, full_rank_tokens, head_from_factors, split

REACHED = 1e-8  # by how much the head on given tokens may miss the optimum, in log-probability

Block = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]  # keys and queries

FLOOR = 1e-100  # keys of probabilities below are left out of a block: their weight is nothing
BUDGETS = 8  # column budgets tried on a block,
REFINED = 5  # and more of them near the best
ROUNDS = 4  # of improving a minorant
SPLITS = ((1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (1, 4))  # of keys and of queries
MOST_BLOCKS = 6  # fully visible ones, under a mask
LARGEST_SPLIT = 96  # tokens above which only the whole matrix is bounded
SERIES = 1e-3  # below, φ is bounded by its series
MOST_SIGNS = 512  # tokens up to which patterns of signs are tried
SWEEPS = 12  # of Sinkhorn's iteration at each of the temperatures
TEMPERATURES = (0.3, 0.1, 0.03, 0.01)  # as shares of the spread of the logarithms
TILTS = 40  # steps of a tilt,
TILTED = (1.2, 1.5, 1.8, 2.2, 2.7)  # and budgets, over the best one without, at which it is tried
TOUCHED = 1e-3  # of a weight: entries whose minorant leaves less are not tilted


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

    For ``φ(t) = t - 1 + e^{-t}`` and a budget θ > 0 let ``φ(T_ij) = θ/p_ij`` and
    ``a_i² b_j² <= p_ij φ(T_ij)/T_ij²``, and let M be ``diag(a) log P diag(b)`` with the gauge
    projected out. For every m

        n KL >= min((m + 1) θ, tail_k(M)² - (the m largest (‖M_j‖² - θ)_+)),

    since in a column that costs less than θ every entry of log P is missed by less than T. The same
    holds on blocks of keys and queries, and for disjoint blocks the bounds add up. Under a mask the
    best bound of a fully visible block holds. Up to 96 tokens what the weights exceed ``a_i² b_j²``
    by is used too, by a tilt of log P (docs/theory.md, section 5).

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
    >>> 0 < bound <= fit.kl < 3 * bound
    True
    """
    from threadpoolctl import threadpool_limits

    context = read_context(P, mask=mask, stored=stored, rows=rows, zeros=True, batch=True)
    k = check_head_size(head_size)
    check_model()
    with threadpool_limits(1, "blas"):  # the matrices are small; threads only wait for each other
        return of_each(context, lambda one: _lower_bound(one.P, one.mask, k))


def _lower_bound(P: Array, mask: Mask | None, k: int) -> float:
    """The best bound for a checked context, tilted where the context is small enough."""
    n, found = len(P), best_argument(P, mask, k)
    low, total = _normalised_low(P), 0.0
    for part in found.blocks if n <= LARGEST_SPLIT else ():
        block = np.ix_(part.keys, part.queries)
        total += _tilted(np.log(P[block]), low[block], k, part)
    return max(found.value, total * (1 - GIVEN_AWAY) / n)


@dataclass(frozen=True, eq=False)
class Weighted:
    """A bound of ``Σ p φ(Δ)`` on a block, by weights that hold for a budget."""

    value: float
    budget: float
    a: Array
    b: Array
    keys: npt.NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    queries: npt.NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))


@dataclass(frozen=True, eq=False)
class Argument:
    """A lower bound of the mean KL divergence and what it rests on: blocks, or wrong signs."""

    value: float
    blocks: tuple[Weighted, ...] = ()
    thresholds: Array | None = None  # logarithms, for each column
    parts: int = 1  # that the rows are cut into


def best_argument(P: Array, mask: Mask | None, k: int) -> Argument:
    """The best bound for a checked context, in columns that sum to 1."""
    n = len(P)
    if k >= n - 1:
        return Argument(0.0)
    blocks: Iterable[list[Block]]
    if mask is None:
        blocks = (_grid(n, split) for split in (SPLITS if n <= LARGEST_SPLIT else SPLITS[:1]))
    else:
        blocks = ([block] for block in _visible_blocks(mask, k))
    low = _normalised_low(P)
    found = [Argument(0.0)]
    for parts in blocks:
        weighted = tuple(_weighted_blocks(P, low, k, parts))
        found.append(Argument(sum(one.value for one in weighted), weighted))
    if mask is None and n <= MOST_SIGNS and P.min() > 0:
        found.append(_by_signs(np.log(P), low, k))
    best = max(found, key=lambda one: one.value)
    return replace(best, value=best.value * (1 - GIVEN_AWAY) / n)


def _normalised_low(P: Array) -> Array:
    """Lower bounds of the entries of P with columns that sum to 1."""
    return np.asarray(P / up(P.sum(axis=0), len(P) + 2) * (1 - 2 * U))


def _by_signs(ell: Array, low: Array, k: int) -> Argument:
    """The bound by signs, with a threshold in each column that splits it best, or in half."""
    n, best = len(ell), Argument(0.0)
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
        distance = np.abs(ell - threshold) * (1 - 4 * U) - 2 * LOG_ERROR * np.abs(ell)
        distance = np.maximum(distance, 0.0)
        above = low * phi_low(distance)
        below = np.exp(threshold) * (1 - 2 * (n + 16) * U) * _psi_low(distance)
        costs = np.where(signs > 0, above, below) * (1 - 4 * U)
        value, parts = cut_best(costs, area)
        if value > best.value:
            best = Argument(value, thresholds=threshold, parts=parts)
    return best


def _psi_low(s: Array) -> Array:
    """A lower bound of ``1 - (1 + s) e^{-s}``, s >= 0: what probability θ e^{-s} costs at θ."""
    small = np.minimum(s, SERIES)
    series = small * small * (0.5 - small / 3) * (1 - 8 * U)
    direct = np.maximum(1.0 - (1.0 + s) * np.exp(-s) - 16 * U, 0.0)
    return np.where(s < SERIES, series, direct)


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
        tail = explained(np.log(one.values), ones, ones, k).tail
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
    value = float(least * share * (1 - 2 * U))
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
        value = _judged(found.tail, found.columns, budget)
        if value > best.value:
            best = Weighted(value, budget, a, b)
        if not found.mass.any():
            break
        # towards where the unexplained part lies, by halves: it moves with the minorant
        start, mass = 2 * np.log(b), mass / mass.sum() + found.mass / found.mass.sum()
    return best


def _tilted(ell: Array, p: Array, k: int, part: Weighted) -> float:
    """The best bound of a block by minorants and tilts, at budgets near the best without."""
    best = part.value
    for budget in (factor * part.budget for factor in TILTED):
        W = p * phi_threshold(up(budget / p, 2))[1] * (1 - 2 * U)
        mass, start = np.ones_like(p), None
        for _ in range(ROUNDS if W.min() > 0 else 0):
            a, b = rank_one_minorant(W, mass, start)
            H, price = _tilt(ell, W, a, b, k)
            found = explained(ell, a, b, k, H)
            paid = up((H * H * price).sum(axis=0), 2**14)
            tail = found.tail - float(up(float(paid.sum()), paid.size))
            best = max(best, _judged(tail, found.columns - paid * (1 - 2.0**-36), budget))
            start, mass = 2 * np.log(b), mass / mass.sum() + found.mass / found.mass.sum()
    return best


def _tilt(ell: Array, W: Array, a: Array, b: Array, k: int) -> tuple[Array, Array]:
    """The tilt H that raises the bound most, of those met, and what a unit of H² costs.

    What the minorant w leaves of the weights W holds an entry's error x near any -y of one's
    choice: ``(W - w) x² >= -2 w H x - H² w²/(W - w)``. So ``Σ W x²`` is at least ``Σ w (x - H)²``
    less ``Σ H² w W/(W - w)``. H moves towards ``-(1 - w/W)`` times what is unexplained, by steps
    that shrink: what they raise is concave in H.
    """
    D = np.multiply.outer(a, b)
    rest = 1 - D * D / W  # of each weight, as a share of it
    touched = rest > TOUCHED
    price = np.where(touched, D * D / np.maximum(rest, TOUCHED), 0.0)
    H = best = np.zeros_like(W)
    highest, unit = -np.inf, a / np.linalg.norm(a)
    for step in range(TILTS):
        M = D * (ell - H)
        M -= np.multiply.outer(unit, unit @ M)
        left, s, right = np.linalg.svd(M, full_matrices=False)
        value = float(np.sum(s[k:] ** 2) - np.sum(H * H * price))
        if value > highest:
            highest, best = value, H
        aim = np.where(touched, -rest * ((left[:, k:] * s[k:]) @ right[k:]) / D, 0.0)
        H = H + (aim - H) * (6 / (step + 6))
    return best, price


def excluded_sizes(P: Array, mask: Mask | None, kl: float) -> int:
    """How many head sizes, 0, 1, …, cannot come within a KL divergence of a checked context.

    The bound of :func:`kl_lower_bound` with the budgets n KL/(m + 1), m + 1 = 1, 2, 4, …: they and
    their weights are the same for every size, so one decomposition each serves all.
    """
    n, found = len(P), 0
    low = P / up(P.sum(axis=0), n + 2) * (1 - 2 * U)
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


def _judged(tail: float, columns: Array, budget: float) -> float:
    """The best over m of the smaller of both cases, rounded down."""
    loss = np.sort(np.maximum(columns - budget, 0.0))[::-1]
    n = len(loss)
    lost = up(np.concatenate([[0.0], np.cumsum(loss)]), 2 * n)
    few = (tail - lost) * (1 - 4 * U)
    many = np.append(np.arange(1, n + 1) * budget * (1 - 4 * U), np.inf)
    return float(max(np.max(np.minimum(few, many)), 0.0))


def phi_low(t: Array) -> Array:
    """A lower bound of ``φ(t) = t - 1 + e^{-t}``, t >= 0.

    Below 1/1000 the alternating series, ``t²/2 - t³/6``; elsewhere each rounding is at most that of
    t, and ``φ(t) >= t²/3`` up to 1 keeps them small beside it.
    """
    small = np.minimum(t, SERIES)
    series = small * small * (0.5 - small / 6) * (1 - 8 * U)
    direct = np.maximum((t + np.expm1(-t)) - (2 * LOG_ERROR + 4 * U) * t, 0.0)
    return np.where(t < SERIES, series, direct)


def phi_threshold(y: Array) -> tuple[Array, Array]:
    """T with ``φ(T) >= y`` and a lower bound of ``φ(T)/T²``, which is at most 1/2 and decreases."""
    T = np.sqrt(2 * y) + y  # above the root, as φ(t) >= t²/2 - t³/6 and φ(t) >= t - 1
    for _ in range(8):  # Newton from above on a convex function stays above, up to rounding
        with np.errstate(divide="ignore", invalid="ignore"):
            step = (T + np.expm1(-T) - y) / -np.expm1(-T)
        T = np.where((T >= SERIES) & np.isfinite(step), np.maximum(T - step, np.sqrt(2 * y)), T)
    T = T * (1 + 1e-9)
    for _ in range(60):
        short = phi_low(T) < y
        if not short.any():
            break
        T = np.where(short, T * (1 + 1e-6) + 1e-300, T)
    else:
        T = np.where(short, np.inf, T)  # no threshold was found: no weight
    with np.errstate(invalid="ignore"):
        ratio = np.where(
            T < SERIES, (0.5 - T / 6) * (1 - 8 * U), phi_low(T) / (T * T) * (1 - 4 * U)
        )
    return T, np.where(np.isfinite(T) & (T > 0), ratio, 0.0)


def rank_one_minorant(W: Array, mass: Array, start: Array | None = None) -> tuple[Array, Array]:
    """a, b > 0 with ``(a_i b_j)² <= W_ij``, as large as possible on average over `mass`.

    In logarithms that is a linear program, dual to optimal transport with cost log W: Sinkhorn's
    iteration comes near, and two exact steps make it feasible and tight. `start` holds
    logarithms of b² to start from.
    """
    w = np.log(W)
    total = mass.sum()
    rows, columns = (np.log(np.maximum(mass.sum(axis=x) / total, 1e-12)) for x in (1, 0))
    g = w.min(axis=0) if start is None else start
    spread = float(w.max() - w.min())
    for temperature in (t * spread for t in TEMPERATURES if spread > 1e-9):
        f = -temperature * _log_sum_exp((g - w) / temperature + columns, 1)
        g = -temperature * _log_sum_exp((f[:, None] - w) / temperature + rows[:, None], 0)
        # the other sweeps scale this plan, whose columns have their mass, and so none overflows
        plan = np.exp((f[:, None] + g - w) / temperature + rows[:, None] + columns)
        r, c, v = np.exp(rows), np.exp(columns), np.ones(len(g))
        with np.errstate(all="ignore"):  # a row that underflows: g stays as it is, which is sound
            for _ in range(SWEEPS - 1):
                v = c / ((r / (plan @ v)) @ plan)
            scaled = g + temperature * np.log(v)
        g = scaled if np.isfinite(scaled).all() else g
    f = (w - g).min(axis=1)
    g = (w - f[:, None]).min(axis=0)
    a, b = np.exp(f / 2), np.exp(g / 2)
    excess = float(np.max(np.square(np.multiply.outer(a, b)) / W))
    return a * (1 - 16 * U) / np.sqrt(max(excess, 1.0)), b


def _log_sum_exp(x: Array, axis: int) -> Array:
    """Of a matrix, which it overwrites: this is where the bounds spend their time."""
    top = np.maximum.reduce(x, axis=axis, keepdims=True)
    np.exp(np.subtract(x, top, out=x), out=x)
    return np.asarray(top.ravel() + np.log(np.add.reduce(x, axis=axis)))


@dataclass(frozen=True, eq=False)
class Explained:
    """What no matrix of rank k and no gauge explains of ``diag(a) ℓ diag(b)``.

    ``tail`` bounds ``min ‖diag(a) (ℓ + 1 c^T) diag(b) - M‖_F²`` over c and rank M <= k from below,
    ``tails`` that for k = 0, 1, …; ``columns`` bounds the squared norms of the columns from above,
    the gauge chosen best for each;
    ``mass`` estimates the squares of the entries of the unexplained part.
    """

    tail: float
    tails: Array
    columns: Array
    mass: Array


def explained(ell: Array, a: Array, b: Array, k: int, tilt: Array | float = 0.0) -> Explained:
    """Bound the unexplained part of ``ℓ - tilt``, ℓ logarithms within 4 units in the last place.

    The gauge is projected out: ``M = diag(a) (ℓ - 1 m^T) diag(b)``, m the means of ℓ with weights
    a². The distance from the matrices of rank k moves by no more than the Frobenius norm of an
    error; the singular values of ``U S V^T`` are at least ``σ_min(U) σ_min(V)`` times those of S.
    """
    rows = len(a)
    share = a * a / np.sum(a * a)
    tilted, sizes = ell - tilt, np.abs(ell) + np.abs(tilt)
    mean = share @ tilted
    M = a[:, None] * (tilted - mean) * b
    size = up(share @ sizes, rows + 8)
    slack = up(
        a[:, None] * ((LOG_ERROR + 10 * U) * sizes + (LOG_ERROR + (3 * rows + 26) * U) * size) * b,
        8,
    )
    error = float(up(float(np.linalg.norm(slack)), slack.size))
    left, s, right = np.linalg.svd(M, full_matrices=False)
    rebuilt = (left * s) @ right
    miss = (
        np.abs(M - rebuilt)
        + product_error(left * s, right)
        + 4 * U * np.abs(left) @ (s[:, None] * np.abs(right))
    )
    residual = float(up(float(np.linalg.norm(up(miss, 8))), miss.size))
    shrink = _shrink(_defect(left.T), _defect(right))
    sums = np.append(np.cumsum((s * s)[::-1])[::-1], 0.0)
    unexplained = np.sqrt(sums) * (1 - (len(s) + 4) * U)
    tails = np.square(np.maximum(unexplained * shrink - residual - error, 0.0) * (1 - 8 * U))
    tails *= 1 - 4 * U
    lengths = up(np.linalg.norm(M, axis=0), rows + 4) + up(np.linalg.norm(slack, axis=0), rows + 4)
    rest = (left[:, k:] * s[k:]) @ right[k:]
    return Explained(float(tails[min(k, len(s))]), tails, up(lengths * lengths, 4), rest * rest)


def _shrink(left: float, right: float) -> float:
    """``(1 - left)(1 - right)``, rounded down: three roundings are covered, of 8 u given away."""
    return (1 - left) * (1 - right) * (1 - 8 * U)


def _defect(basis: Array) -> float:
    """An upper bound of ``‖B B^T - I‖_F`` for rows that should be orthonormal, at most 1."""
    gram = basis @ basis.T
    off = np.abs(gram - np.eye(len(gram))) + product_error(basis, basis.T)
    return min(float(up(float(np.linalg.norm(up(off, 4))), off.size)), 1.0)
