"""Sparse patterns are easy: head size 2s approximates any context with s keys per query.

Keys sit at equal angles of a curve. A query with the keys S tells them from every other key t by
the product ``Π_{i in S} (1 - cos(t - t_i))``: the larger the least of these products, the smaller
the logits. Only the order of the keys is free.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_real
from rankbound.attention.head import AttentionHead
from rankbound.attention.softmax import _softmax
from rankbound.errors import InputError, NotRepresentable, Undecided
from rankbound.exact.rounding import FLOAT64_EPS, U, check_model, up
from rankbound.theory.approximation import unmasked
from rankbound.theory.softmax_gauge import centre
from rankbound.theory.theorem_a import full_rank_tokens, head_from_factors, logit_error, split
from rankbound.tokens import Tokens

Ints = npt.NDArray[np.intp]
Supports = list[tuple[Ints, Ints]]  # for each number of keys m: queries (c,) and their keys (c, m)

FLOAT64_TINY = float(np.finfo(np.float64).tiny)
HOPELESS = 1e100  # a β beyond which no logits are formed: rounding leaves nothing of P near 1e16
MOST_NUMBERS = 2**22  # in one array of many small systems
MOST_STEPS = 256  # affine orders that are tried
MOST_WORK = 1e8  # logarithms that affine orders, and each round of swaps, may add up
TRANSFORM = 16  # a Fourier transform costs as much as so many sums over all places
SWEEPS = 60  # of the ascent that spreads keys round the circle
ROUNDS = (16, 64)  # swaps per key that the search tries, round by round
LARGEST = 690.0  # a logarithm above which the cost of a query no longer grows, nor overflows


def sparse_head(
    P: npt.ArrayLike,
    *,
    X: Any = None,
    error: float = 1e-6,
    rows: bool = False,
    stored: npt.DTypeLike | None = None,
) -> AttentionHead:
    """Return a head of size min(2s, n - 1) whose context is within `error` of a sparse P.

    *Sparse patterns are easy.* Let each query of P attend to at most s keys. For every n and every
    error a head of size min(2s, n - 1) has a context within it in total variation, in each column.

    Keys sit on the trigonometric moment curve ``(cos mt, sin mt)``, m = 1, …, s, at equal angles in
    an order that keeps the keys of one query apart; a key that no query attends to sits at the
    origin. The query with keys S is the functional ``g(t) - β Π_{i in S} (1 - cos(t - t_i))``, g of
    least norm with ``g(t_i) = log p_i`` up to a constant, and β as small as the error allows. For
    2s >= n - 1 the zeros of P are filled instead, and the head has the context exactly (Theorem A).
    See docs/theory.md, section 5.

    Parameters
    ----------
    P, rows, stored : as in `Context`
        One matrix, zeros allowed. Columns are normalised first.
    X : array_like, shape (d, n), optional
        Tokens of full column rank; None means the identity.
    error : float
        Total variation allowed in each column, between 0 and 1. It is bounded for the context that
        the head has in float64 in any order of summation, not for exact arithmetic only.

    Raises
    ------
    NotRepresentable
        If a head of this size exists and float64 logits do not hold it: the larger β, the more
        digits are lost. ``.reason`` says which β exact arithmetic would need and which error is
        reached; ``.least_head_size`` is n - 1, which does if `error` is not below rounding (the
        least that does in float64 is not known).
    Undecided
        If only the tokens X stand in the way, being ill-conditioned.

    Examples
    --------
    >>> import numpy as np
    >>> import rankbound as rb
    >>> P = np.eye(1000)[np.random.default_rng(0).permutation(1000)]
    >>> head = rb.sparse_head(P)
    >>> head.head_size, bool(np.abs(head.context() - P).sum(axis=0).max() < 2e-6)
    (2, True)
    """
    error = check_real("error", error, above=0.0)
    if not U < error < 1:
        raise InputError(
            f"error is {error}; expected a total variation between {U:.1e}, below which float64 "
            "probabilities do not resolve it, and 1, which every context meets."
        )
    context = unmasked(P, stored=stored, rows=rows, zeros=True)
    target = context.P / context.P.sum(axis=0)
    n = len(target)
    tokens = None if X is None else full_rank_tokens(X, n)
    check_model()
    most = int(np.count_nonzero(target, axis=0).max())
    if 2 * most >= n - 1:
        return _filled(target, tokens, error)
    return _on_the_curve(target, most, tokens, error)


def total_variation_bound(head: AttentionHead, P: Array, X: Array | None = None) -> Array:
    """Bound the total variation between P and the head's context, per column; input unchecked.

    It holds for the context in exact arithmetic and for the one computed in float64 with sums in
    any order (docs/theory.md, section 5). The context is computed once: its logits are within δ of
    the exact ones, and those of another order within 2δ, which moves a context by at most δ. Each
    softmax adds a relative error of n + 16 roundings to each entry, and, subtracting the largest
    logit, one of d to an entry e^{-d}, of which d e^{-d} <= 1/e is left.
    """
    L = head.logits(X)
    n = len(L)
    measured = np.abs(_softmax(L) - P).sum(axis=0) / 2
    bound = up(measured + logit_error(head, L, X).max(axis=0) + 2 * (2 * n + 16) * U, n + 8)
    return np.minimum(bound, 1.0)


def _filled(P: Array, tokens: Tokens | None, error: float) -> AttentionHead:
    """The head of size n - 1 whose context is P with half the error spread over its zeros."""
    zero = P == 0
    count = zero.sum(axis=0)
    given = np.where(count > 0, error / 2, 0.0)
    filled = np.where(zero, given / np.maximum(count, 1), P * (1 - given))
    L = centre(np.log(np.maximum(filled, FLOAT64_TINY)))
    size = max(len(P) - 1, 1)
    left, right = split(L, 0, size)
    return _checked(left, right, P, tokens, error)


def _checked(
    keys: Array, queries: Array, P: Array, tokens: Tokens | None, error: float
) -> AttentionHead:
    space = None if tokens is None else tokens.space
    head = head_from_factors(keys, queries, len(keys), space)
    reached = _reached(head, P, tokens)
    if not reached <= error:
        remedy = "take a larger error="
        if tokens is not None:
            remedy += ", or better conditioned tokens"
        raise Undecided(
            f"a head of size {head.head_size} exists, but the one found in float64 has a context "
            f"within {reached:.1e} of P in total variation only, and {error:.1e} is allowed: "
            f"{remedy}.",
            remedy=remedy,
        )
    return head


def _reached(head: AttentionHead, P: Array, tokens: Tokens | None) -> float:
    X = None if tokens is None else tokens.matrix
    return float(total_variation_bound(head, P, X).max())


@dataclass(frozen=True, eq=False)
class _Attempt:
    """Keys and queries for one order of the keys, and the largest β among them."""

    keys: Array
    queries: Array
    beta: float

    def head(self) -> AttentionHead:
        """The head on the identity."""
        return head_from_factors(self.keys, self.queries, len(self.keys), None)


def _on_the_curve(P: Array, most: int, tokens: Tokens | None, error: float) -> AttentionHead:
    used = np.flatnonzero(P.any(axis=1))
    supports = _supports(P[used])
    orders = key_orders(len(used), supports)
    best = _attempt(P, used, next(orders), supports, most, error)
    for place in orders:  # the natural order is kept only if a search finds none with less β
        best = min(best, _attempt(P, used, place, supports, most, error), key=lambda a: a.beta)
        if _reached(best.head(), P, None) <= error:
            break
    reached = _reached(best.head(), P, None)
    if not reached <= error:
        larger = f"Take error={2 * reached:.0e}; or fill" if 2 * reached < 1 else "Fill"
        raise NotRepresentable(
            f"heads of size {2 * most} come within {error:.1e} of P in total variation, but none "
            f"was found whose float64 logits do: in exact arithmetic β = {best.beta:.1e} does, and "
            f"rounding such logits leaves {reached:.1e}. {larger} the zeros of P and take "
            f"rb.represent, whose head size is at most {len(P) - 1}.",
            least_head_size=len(P) - 1,
            reason=f"β = {best.beta:.1e}, at which rounding leaves a total variation {reached:.1e}",
        )
    return _checked(best.keys, best.queries, P, tokens, error)


def _supports(P: Array) -> Supports:
    """Queries by their number of keys, with these keys."""
    counts = np.count_nonzero(P, axis=0)
    groups = []
    for m in np.unique(counts):
        queries = np.flatnonzero(counts == m)
        groups.append((queries, np.nonzero(P.T[queries])[1].reshape(-1, m)))
    return groups


def _parts(supports: Supports, most: int) -> Iterator[tuple[Ints, Ints]]:
    """The supports in parts that fit into memory."""
    for columns, members in supports:
        size = max(1, MOST_NUMBERS // (2 * most * members.shape[1]))
        for start in range(0, len(columns), size):
            yield columns[start : start + size], members[start : start + size]


def _attempt(
    P: Array, used: Ints, place: Ints, supports: Supports, most: int, error: float
) -> _Attempt:
    """Keys and queries with the used keys at these places of the circle."""
    angles = 2 * math.pi * place / len(used)
    orders = np.arange(1, most + 1)[:, None]
    keys = np.zeros((2 * most, len(P)))
    keys[:, used] = np.concatenate([np.cos(orders * angles), np.sin(orders * angles)])
    queries, beta = np.zeros((2 * most, P.shape[1])), 0.0
    for columns, members in _parts(supports, most):
        found, largest = _queries(P, keys, angles, used, columns, members, error)
        queries[:, columns] = found
        beta = max(beta, largest)
    return _Attempt(keys, queries, beta)


def _queries(
    P: Array, keys: Array, angles: Array, used: Ints, columns: Ints, members: Ints, error: float
) -> tuple[Array, float]:
    """The functionals ``g - β w`` of queries with equally many keys, and the largest β.

    Probabilities below error/(8m) are raised to it, at a cost of error/8; error/2 may leak to other
    keys, and the rest is for rounding.
    """
    n, m = len(P), members.shape[1]
    support = used[members]  # (c, m)
    log_p = np.log(np.maximum(P[support, columns[:, None]], error / (8 * m)))
    at = np.swapaxes(keys[:, support], 0, 1)  # (c, 2s, m)
    # as a map to values on the support, up to a constant
    differences = np.swapaxes(at - at.mean(axis=2, keepdims=True), 1, 2)
    inverse = np.linalg.pinv(differences, rcond=8 * m * FLOAT64_EPS)
    g = (inverse @ (log_p - log_p.mean(axis=1, keepdims=True))[:, :, None])[:, :, 0]
    gauge = ((g[:, :, None] * at).sum(axis=1) - log_p).mean(axis=1)
    coefficients, mean = curve_product(angles[members], len(keys) // 2)
    product = np.tile(mean, (n, 1))  # what it is at the origin, where the unused keys are
    product[used] = 1.0
    for own in angles[members].T:
        product[used] *= 2 * np.sin((angles[:, None] - own) / 2) ** 2
    product[support, np.arange(len(members))[:, None]] = np.inf
    above = (g @ keys).T - gauge + math.log((n - m) * (2 - error) / error)
    with np.errstate(over="ignore"):  # a product may underflow
        beta = (np.maximum(above, 0.0) / np.maximum(product, FLOAT64_TINY)).max(axis=0)
    if not beta.max() < HOPELESS:
        return np.zeros_like(g).T, float(beta.max())
    return (g - beta[:, None] * coefficients).T, float(beta.max())


def curve_product(angles: Array, most: int) -> tuple[Array, Array]:
    """Coefficients of ``Π_i (1 - cos(t - t_i))`` on the curve, (c, 2 most), and its mean."""
    count, m = angles.shape
    terms = np.zeros((count, 2 * m + 1), complex)  # of e^{ikt}, k = -m, …, m
    terms[:, m] = 1.0
    for i in range(m):
        turn = np.exp(1j * angles[:, i])[:, None] / 2
        terms = terms - np.roll(terms, -1, axis=1) * turn - np.roll(terms, 1, axis=1) * turn.conj()
    coefficients = np.zeros((count, 2 * most))
    coefficients[:, :m] = 2 * terms[:, m + 1 :].real
    coefficients[:, most : most + m] = -2 * terms[:, m + 1 :].imag
    return coefficients, terms[:, m].real


# In which order keys go round the circle: a search that promises nothing; what is built is checked.


def least_log_products(place: Ints, keys: Ints) -> Array:
    """``min log Π_{i in S} (1 - cos(t - t_i))`` over places t not of S, for each row S of `keys`.

    Between neighbouring places of S each logarithm is concave in t, hence so is the sum, and the
    least value is beside a place of S. Many keys are convolved with the logarithms instead.
    """
    n, (count, m) = len(place), keys.shape
    at = place[keys]
    with np.errstate(divide="ignore"):  # log 0 = -inf at distance 0
        table: Array = np.log(2.0 * np.sin(np.arange(n) * (math.pi / n)) ** 2)
    if 2 * m * m <= TRANSFORM * n:
        beside = np.concatenate([at - 1, at + 1], axis=1) % n
        values = table[(beside[:, :, None] - at[:, None, :]) % n].sum(axis=2)
        values[np.isneginf(values)] = np.inf  # a place of S
        return np.asarray(values.min(axis=1), np.float64)
    table[0] = 0.0
    own = np.zeros((count, n))
    own[np.arange(count)[:, None], at] = 1.0
    values = np.fft.irfft(np.fft.rfft(own) * np.fft.rfft(table), n)
    values[own > 0] = np.inf
    return np.asarray(values.min(axis=1), np.float64)


def key_orders(n: int, supports: Supports) -> Iterator[Ints]:
    """Places of keys 0, …, n - 1 on the circle: as they stand, then in orders searched for.

    The search starts at the best of some affine orders ``i -> a i mod n`` (for patterns that
    repeat) and of one in which keys of one query repel each other (for those that do not), and
    swaps keys of the most crowded query; the later order is the better. It is deterministic. With
    one key per query all orders are alike, and the first is the only one.
    """
    natural = np.arange(n)
    yield natural
    if all(keys.shape[1] == 1 for _, keys in supports):
        return
    steps = [a for a in range(2, n // 2 + 1) if math.gcd(a, n) == 1]
    whole = float(sum(_work(n, keys) * len(keys) for _, keys in supports))
    stride = max(1, -(-len(steps) // max(1, min(MOST_STEPS, int(MOST_WORK / whole)))))
    candidates = [natural, *(natural * a % n for a in steps[::stride]), _repelled(n, supports)]
    place = min(candidates, key=lambda p: sum(float(_costs(p, keys).sum()) for _, keys in supports))
    rng = np.random.default_rng(0)
    # a swap concerns the queries that hold either key
    one = sum(2 * _work(n, keys) * keys.size / n for _, keys in supports)
    for swaps in ROUNDS:
        place = _swapped(place, supports, min(swaps * n, int(MOST_WORK / one)), rng)
        yield place


def _work(n: int, keys: Ints) -> int:
    m: int = keys.shape[1]
    return min(2 * m * m, TRANSFORM * n)


def _costs(place: Ints, keys: Ints) -> Array:
    """The inverse of each query's least product, which its logits grow with."""
    costs: Array = np.exp(np.minimum(-least_log_products(place, keys), LARGEST))
    return costs


def _repelled(n: int, supports: Supports) -> Ints:
    """An order in which keys of one query, as points on the circle, push each other away."""
    rng = np.random.default_rng(0)
    z = np.exp(2j * math.pi * rng.random(n))
    for _ in range(SWEEPS):
        push = np.zeros(n, complex)
        for _, keys in supports:
            total = z[keys].sum(axis=1, keepdims=True)
            np.add.at(push, keys, total - z[keys])
        z = z - push / 2
        z /= np.maximum(np.abs(z), 1e-300)
    place = np.empty(n, np.intp)
    place[np.argsort(np.angle(z), kind="stable")] = np.arange(n)
    return place


def _swapped(place: Ints, supports: Supports, swaps: int, rng: np.random.Generator) -> Ints:
    """Swap a key of the worst query with another wherever that lowers the cost of both."""
    place, n = place.copy(), len(place)
    sizes = [keys for _, keys in supports]
    holders = [_holders(n, keys) for keys in sizes]  # which queries a swap concerns
    costs = [_costs(place, keys) for keys in sizes]
    for _ in range(swaps):
        group = max(range(len(sizes)), key=lambda g: float(costs[g].max()))
        a = int(rng.choice(sizes[group][int(np.argmax(costs[group]))]))
        b = int(rng.integers(n))
        touched = [sorted({*rows[a], *rows[b]}) for rows in holders]
        place[[a, b]] = place[[b, a]]
        new = [_costs(place, keys[rows]) for keys, rows in zip(sizes, touched, strict=True)]
        before = sum(float(old[rows].sum()) for old, rows in zip(costs, touched, strict=True))
        if sum(float(cost.sum()) for cost in new) < before:
            for old, rows, cost in zip(costs, touched, new, strict=True):
                old[rows] = cost
        else:
            place[[a, b]] = place[[b, a]]
    return place


def _holders(n: int, keys: Ints) -> list[list[int]]:
    """For each key the rows of `keys` that hold it."""
    rows: list[list[int]] = [[] for _ in range(n)]
    for row, members in enumerate(keys.tolist()):
        for key in members:
            rows[key].append(row)
    return rows
