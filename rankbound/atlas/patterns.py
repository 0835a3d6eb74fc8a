"""Patterns of few keys, of signs, and of orders."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.atlas.entry import Entry
from rankbound.attention.ensembles import random_context
from rankbound.errors import InputError, Undecided
from rankbound.ranks.exact import exact_rank
from rankbound.theory.argmax import argmaxable
from rankbound.theory.scale import least_scale_bound
from rankbound.theory.selection import selection_head_size
from rankbound.theory.sparse import sparse_head
from rankbound.theory.spread_keys import random_keys, selecting_head
from rankbound.verdict import Verdict

__all__ = ["pattern_entries"]

ERROR = 1e-6  # to which sparse heads are built
SPREAD = 1000  # of random integer keys


def pattern_entries(n: int, seed: int, scale: float, error: float) -> Iterator[Entry]:
    """Entries of patterns with zeros, of signs and of orders."""
    yield from _one_hot(n, seed)
    yield from _at_a_scale(n, seed, scale, error)
    yield from _sparse(n, seed)
    yield _signs(n, seed)
    yield _orderings(n, seed)


def _no_head(pattern: str, n: int) -> Entry:
    return Entry(
        pattern,
        "exact",
        n,
        math.inf,
        math.inf,
        Verdict.PROVED,
        Verdict.PROVED,
        "a softmax has no zeros",
        "section 1",
        ("softmax-gauge",),
    )


def _built(pattern: str, n: int, P: Array, lower: int, below: str, *claims: str) -> Entry:
    head = sparse_head(P, error=ERROR)
    return Entry(
        pattern,
        "closure",
        n,
        min(lower, head.head_size),
        head.head_size,
        Verdict.SUPPORTED,
        Verdict.SUPPORTED,
        f"lower: {below}; upper: a head within {ERROR:g} in total variation, rounding bounded",
        "section 5",
        claims,
    )


def _one_hot(n: int, seed: int) -> Iterator[Entry]:
    P = random_context(n, seed, law="permutation")
    yield _no_head("one-hot", n)
    line = np.random.default_rng([seed, n]).standard_normal((1, n))
    winners = int(argmaxable(line).argmaxable.sum())
    lower = 2 if winners < n else 1
    below = f"on a line {winners} of {n} keys can win"
    yield _built("one-hot", n, P, lower, below, "sparse-two-s", "one-hot-two")
    bounds = selection_head_size(np.where(P > 0, 1, -1))
    yield Entry(
        "one-hot",
        "sign",
        n,
        max(int(bounds.lower), lower),
        int(bounds.upper),
        bounds.verdict,
        bounds.verdict,
        f"lower: {below}; upper: sign changes",
        "section 5",
        ("one-hot-two", "sign-changes"),
    )


def _at_a_scale(n: int, seed: int, scale: float, error: float) -> Iterator[Entry]:
    """One key a query where logits are bounded: none where the scale is too small for any head."""
    sizes = range(1, n)
    lower = next((d for d in sizes if least_scale_bound(n, d, error) <= scale), n)
    if lower == n:
        return
    P = random_context(n, seed, law="permutation")
    targets = np.argmax(P, axis=0)
    for d in range(lower, n):
        keys = random_keys(n, d, seed) if d < n - 1 else _simplex(n)
        try:
            found = selecting_head(keys, error, targets=targets)
        except (InputError, Undecided):  # a key that does not win its own direction, for one
            continue
        if found.scale <= scale:
            yield Entry(
                "one-hot",
                "bounded",
                n,
                lower,
                d,
                Verdict.SUPPORTED,
                Verdict.SUPPORTED,
                "lower: volume, caps, averages; upper: a head with spread keys within the error",
                "section 5, price of scale",
                ("price-of-scale", "spread-keys"),
            )
            return


def _simplex(n: int) -> Array:
    """N keys at equal angles, shape (n - 1, n): no scale is smaller (docs/theory.md, section 5)."""
    basis = np.linalg.qr(np.eye(n)[:, 1:] - 1 / n)[0]  # of the orthogonal complement of 1
    keys: Array = basis.T * np.sqrt(n / (n - 1))
    return keys


def _sparse(n: int, seed: int) -> Iterator[Entry]:
    P = random_context(n, seed, law="sparse", nonzeros=min(3, n))
    if (P > 0).all():
        return
    yield _no_head("sparse", n)
    bounds = selection_head_size(np.where(P > 0, 1, -1))
    below = "the keys must at least be preferred (Forster)"
    yield _built("sparse", n, P, max(int(bounds.lower), 1), below, "sparse-two-s")
    upper = min(int(bounds.upper), 6)
    yield Entry(
        "sparse",
        "sign",
        n,
        min(int(bounds.lower), upper),
        upper,
        bounds.verdict,
        bounds.verdict,
        f"{bounds.method}; upper also: the head of size 2s",
        "section 5",
        ("sparse-two-s",),
    )


def _signs(n: int, seed: int) -> Entry:
    H = np.random.default_rng([seed, n]).choice(np.array([-1, 1]), (n, n))
    bounds = selection_head_size(H)
    return Entry(
        "random-signs",
        "sign",
        n,
        int(bounds.lower),
        int(bounds.upper),
        bounds.verdict,
        bounds.verdict,
        bounds.method,
        "section 5, Forster 2002",
        ("forster-hadamard", "sign-changes"),
    )


def _orderings(n: int, seed: int) -> Entry:
    """Keys give every order iff they are affinely independent: n of them need n - 1 coordinates."""
    rng = np.random.default_rng([seed, n])
    enough = [
        d
        for d in (n - 2, n - 1)
        if d >= 1 and _affinely_independent(rng.integers(-SPREAD, SPREAD, (d, n), endpoint=True))
    ]
    size = min(enough, default=n)
    return Entry(
        "orderings",
        "sign",
        n,
        size,
        size,
        Verdict.CERTIFIED,
        Verdict.CERTIFIED,
        "exact affine rank of random integer keys: n at n - 1 coordinates, less at n - 2",
        "section 5",
        ("all-orderings",),
    )


def _affinely_independent(keys: npt.NDArray[np.int64]) -> bool:
    n = int(keys.shape[1])
    return int(exact_rank([*keys.tolist(), [1] * n])) == n
