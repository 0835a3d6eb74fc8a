"""TODO."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_int, check_real
from rankbound.atlas.entry import Atlas, Entry
from rankbound.attention.ensembles import random_context
from rankbound.attention.masks import Mask, causal_mask, prefix_mask
from rankbound.attention.softmax import column_softmax
from rankbound.errors import InputError, Undecided
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_rank
from rankbound.theory.argmax import argmaxable
from rankbound.theory.certified import certified_log_rank
from rankbound.theory.kl_bound import stays_away
from rankbound.theory.scale import least_scale_bound
from rankbound.theory.selection import random_keys, selecting_head, selection_head_size
from rankbound.theory.sparse import sparse_head
from rankbound.verdict import Verdict

Ints = npt.NDArray[np.int64]
SPREAD = 1000  # of random integer logits
STEP = 2**20  # how near the sequence that shows the causal closure is taken


def dense_entries(n: int, seed: int) -> Iterator[Entry]:
    """Entries of positive contexts, without a mask and under one."""
    yield from _worst(n)
    yield from _random(n, seed)
    yield from _masked("random-causal", n, seed, causal_mask(n), ("causal-generic",))
    yield from _masked("random-prefix", n, seed, prefix_mask(n, 3 * n // 4), ("prefix-generic",))
    yield from _worst_causal(n, seed)
    yield from _hadamard(n)


def _exact(pattern: str, n: int, bounds: RankBounds, theorem: str, *claims: str) -> Entry:
    return Entry(
        pattern,
        "exact",
        n,
        int(bounds.lower),
        int(bounds.upper),
        bounds.verdict,
        bounds.verdict,
        bounds.method,
        theorem,
        claims,
    )


def _closure(pattern: str, n: int, P: Array, exact: RankBounds, mask: Mask | None = None) -> Entry:
    """Below: the largest size at which every head keeps a positive KL divergence, plus 1."""
    most = int(exact.upper)
    below = next((k for k in range(most - 1, 0, -1) if stays_away(P, k, mask)), 0)
    lower = below + 1
    return Entry(
        pattern,
        "closure",
        n,
        min(lower, most),
        most,
        Verdict.SUPPORTED,
        exact.verdict,
        f"lower: a positive KL bound at head size {below}; upper: the exact head",
        "section 5",
        ("kl-lower-bound",),
    )


def _worst(n: int) -> Iterator[Entry]:
    identity = np.eye(n, dtype=np.int64)
    exact = certified_log_rank(logits=identity)
    yield _exact("worst-positive", n, exact, "Theorem A", "sharp-necessary", "sharp-sufficient")
    yield _closure("worst-positive", n, _base_two(identity), exact)


def _random(n: int, seed: int) -> Iterator[Entry]:
    P = random_context(n, seed)
    exact = certified_log_rank(P)
    yield _exact("random-positive", n, exact, "Theorem A", "sharp-almost-every")
    yield _closure("random-positive", n, P, exact)


def _masked(
    pattern: str, n: int, seed: int, mask: Mask, claims: tuple[str, ...]
) -> Iterator[Entry]:
    logits = _random_logits(n, seed)
    exact = certified_log_rank(logits=logits, mask=mask)
    yield _exact(pattern, n, exact, "Theorem C", *claims)
    # logits of the size of one, so that no weight vanishes; their rank is the same
    yield _closure(pattern, n, column_softmax(logits / SPREAD, mask=mask), exact, mask)


def _worst_causal(n: int, seed: int) -> Iterator[Entry]:
    """The identity needs n - 1; its neighbours I + G/2^20 need floor(n/2)."""
    mask, identity = causal_mask(n), np.eye(n, dtype=np.int64)
    exact = certified_log_rank(logits=identity, mask=mask)
    yield _exact("worst-causal", n, exact, "Theorem C", "causal-worst")
    near = certified_log_rank(logits=STEP * identity + _random_logits(n, seed), mask=mask)
    bound = _closure("worst-causal", n, _base_two(identity, mask), near, mask)
    how = f"{bound.how.split(';')[0]}; upper: the size of I + G/t for random G, t = 2^20"
    yield Entry(
        "worst-causal",
        "closure",
        n,
        bound.lower,
        int(near.upper),
        Verdict.SUPPORTED,
        near.verdict,
        how,
        "Theorem C",
        ("causal-dense", "kl-lower-bound"),
    )


def _hadamard(n: int) -> Iterator[Entry]:
    size = 1 << (n.bit_length() - 1)
    i = np.arange(size)
    H = 1 - 2 * (np.bitwise_count(i[:, None] & i) % 2).astype(np.int64)
    exact = certified_log_rank(logits=H)
    yield _exact("hadamard", size, exact, "Theorem A", "sharp-sufficient")
    yield _closure("hadamard", size, _base_two(H), exact)
    bounds = selection_head_size(H)
    yield Entry(
        "hadamard",
        "sign",
        size,
        int(bounds.lower),
        int(bounds.upper),
        bounds.verdict,
        bounds.verdict,
        bounds.method,
        "section 5, Forster 2002",
        ("forster-hadamard", "sign-changes"),
    )


def _random_logits(n: int, seed: int) -> Ints:
    return np.random.default_rng([seed, n]).integers(-SPREAD, SPREAD, (n, n), endpoint=True)


def _base_two(logits: Any, mask: Mask | None = None) -> Array:
    return column_softmax(np.log(2.0) * logits, mask=mask)


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


LARGEST = 512  # tokens for which every entry takes seconds, not hours


def compute_atlas(n: int, seed: int = 0, *, scale: float = 50.0, error: float = 0.01) -> Atlas:
    """What head size each class of patterns of n tokens needs, in each sense.

    Every entry is computed for one pattern of its class: exact and certified ranks, KL bounds,
    heads that are built, and sign ranks. It is an interval where the two sides do not meet.

    Parameters
    ----------
    n : int
        Tokens, from 3 to 512.
    seed : int
        Of the random patterns.
    scale, error : float
        In the bounded sense: the largest ``|q| |k|``, and the total variation a column.

    Returns
    -------
    Atlas

    References
    ----------
    docs/theory.md, sections 1, 3 and 5.

    Examples
    --------
    >>> from rankbound.atlas.compute import compute_atlas
    >>> atlas = compute_atlas(8)
    >>> atlas.entry("random-causal", "exact").interval
    '4'
    """
    n = check_int("n", n, least=3, most=LARGEST, why="patterns differ from 3 tokens on")
    seed = check_int("seed", seed, least=0)
    scale = check_real("scale", scale, above=0.0)
    error = check_real("error", error, above=0.0)
    if not error < 1:
        raise InputError(f"error is {error}; expected a total variation below 1.")
    entries = (*dense_entries(n, seed), *pattern_entries(n, seed, scale, error))
    return Atlas(n, seed, scale, error, entries)
