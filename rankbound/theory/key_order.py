"""In which order keys go round a circle, so that no query's keys are crowded.

Keys sit at equal angles. A query with the keys S must tell them from every other key t by the
product ``Π_{i in S} (1 - cos(t - t_i))``: the larger the least of these products, the smaller the
logits. Only the order is free, and finding a good one is a search that promises nothing; what is
built on it is checked afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array

__all__ = ["Supports", "key_orders", "least_log_products"]

Ints = npt.NDArray[np.intp]
Supports = list[tuple[Ints, Ints]]  # for each number of keys m: queries (c,) and their keys (c, m)

MOST_STEPS = 256  # affine orders that are tried
MOST_WORK = 1e8  # logarithms that affine orders, and each round of swaps, may add up
TRANSFORM = 16  # a Fourier transform costs as much as so many sums over all places
SWEEPS = 60  # of the ascent that spreads keys round the circle
ROUNDS = (16, 64)  # swaps a key that the search tries, round by round
LARGEST = 690.0  # a logarithm above which the cost of a query no longer grows, nor overflows


def least_log_products(place: Ints, keys: Ints) -> Array:
    """``min log Π_{i in S} (1 - cos(t - t_i))`` over places t not of S, for each row S of `keys`.

    Between neighbouring places of S each logarithm is concave in t, hence so is the sum, and the
    least value is beside a place of S. Many keys are convolved with the logarithms instead.
    """
    n, (count, m) = len(place), keys.shape
    at, table = place[keys], _log_table(n)
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


def _log_table(n: int) -> Array:
    with np.errstate(divide="ignore"):  # log 0 = -inf at distance 0
        table: Array = np.log(2.0 * np.sin(np.arange(n) * (math.pi / n)) ** 2)
    return table


def key_orders(n: int, supports: Supports) -> Iterator[Ints]:
    """Places of keys 0, …, n - 1 on the circle: as they stand, then in orders searched for.

    The search starts at the best of some affine orders ``i -> a i mod n`` (for patterns that
    repeat) and of one in which keys of one query repel each other (for those that do not), and
    swaps keys of the most crowded query; the later order is the better. It is deterministic. With
    one key a query all orders are alike, and the first is the only one.
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
