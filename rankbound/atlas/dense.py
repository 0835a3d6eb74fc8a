"""Patterns of positive weights: contexts without zeros where they are visible."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.atlas.entry import Entry
from rankbound.attention.ensembles import random_context
from rankbound.attention.masks import Mask, causal_mask, prefix_mask
from rankbound.attention.softmax import column_softmax
from rankbound.ranks.bounds import RankBounds
from rankbound.theory.certified import certified_log_rank
from rankbound.theory.kl_bound import stays_away
from rankbound.theory.selection import selection_head_size
from rankbound.verdict import Verdict

__all__ = ["dense_entries"]

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
