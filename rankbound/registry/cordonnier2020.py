"""Cordonnier, Loukas & Jaggi 2020, "Multi-Head Attention: Collaborate Instead of Concatenate"."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.exact.rational import as_rationals
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Cases, Mutant, Source, Trial, compare_ranks, make_claim

Table = npt.NDArray[Any]  # objects: ints


def _layers(trial: Trial) -> Cases:
    """Integer heads W_k, W_q of shape (h, k, d), h k <= d."""
    for heads, k, d in trial.some(3, ((2, 1, 4), (2, 2, 5), (3, 2, 6), (4, 3, 12))):
        for repeat in range(trial.count(2, 5)):
            W_k, W_q = (
                np.array(trial.integers(heads * k, d, bound=9), dtype=object).reshape(heads, k, d)
                for _ in range(2)
            )
            yield f"{heads} heads of size {k}, d = {d}, draw {repeat}", (W_k, W_q), (heads, k)


def block(head: int, heads: int, k: int) -> list[int]:
    """The mixing vector of a head: 1 on its own k of the h k shared coordinates."""
    return [int(i // k == head) for i in range(heads * k)]


def _missed(W_k: Table, W_q: Table, *, mixing: Any = block) -> RankBounds:
    """The rank of all heads' ``W_k^T W_q`` less ``~W_k^T diag(m_i) ~W_q``, side by side."""
    heads, k, d = W_k.shape
    shared_k, shared_q = W_k.reshape(-1, d), W_q.reshape(-1, d)
    rest = [
        W_k[i].T @ W_q[i] - (shared_k * np.array(mixing(i, heads, k))[:, None]).T @ shared_q
        for i in range(heads)
    ]
    return exact_rank(as_rationals(np.hstack(rest)))


def _together(W_k: Table, W_q: Table, *, own_keys: bool = True) -> RankBounds:
    """The rank of ``[W_k^1T W_q^1 | … | W_k^hT W_q^h]``, at most the shared dimension."""
    pairs = zip(W_k if own_keys else [W_k[0]] * len(W_k), W_q, strict=True)
    return exact_rank(as_rationals(np.hstack([K.T @ Q for K, Q in pairs])))


CORDONNIER = Source("cordonnier2020", "re-parametrisation", "remembered with confidence; our words")

CLAIMS = (
    make_claim(
        "cordonnier-shared-exact",
        "h heads of size k are one pair of shared projections of h k coordinates with a mixing "
        "vector for each head, exactly.",
        compare_ranks(_layers, _missed, lambda heads, k: 0),
        Mutant(
            "the next head's coordinates",
            {"rank": partial(_missed, mixing=lambda i, h, k: block((i + 1) % h, h, k))},
        ),
        Mutant("all coordinates", {"rank": partial(_missed, mixing=lambda i, h, k: [1] * (h * k))}),
        source=CORDONNIER,
        hypotheses=("integer heads; biases left out: on queries alone they change logits",),
    ),
    make_claim(
        "cordonnier-shared-needed",
        "No shared projections of fewer than h k coordinates have the logits of the heads drawn, "
        "exactly.",
        compare_ranks(_layers, _together, lambda heads, k: heads * k),
        Mutant("heads share keys", {"rank": partial(_together, own_keys=False)}),
        Mutant("the head size", {"predicted": lambda heads, k: k}),
        source=Source(
            "cordonnier2020",
            "compression by a tensor decomposition",
            "remembered; there fewer coordinates approximate, here exactness is excluded",
        ),
        hypotheses=("integer heads, h k <= d, tokens of rank d",),
    ),
)
