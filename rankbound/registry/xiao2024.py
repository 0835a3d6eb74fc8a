"""Xiao, Meng, Li & Yuan 2024, "Dynamically Composable Multi-Head Attention" (DCMHA).

The logits of h heads are mixed with weights that depend on the query, the key, or both. Fixed
weights are `variant-talking-heads`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.exact.rational import as_rationals
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Cases, Mutant, Source, Trial, compare_ranks, make_claim
from rankbound.verdict import Verdict

Table = npt.NDArray[Any]  # objects: ints


def _composed(trial: Trial) -> Cases:
    """Integer heads with a weight for each head and query, and for each head and key."""
    for heads, k in ((2, 1), (2, 2), (3, 1), (3, 2)):
        for n in trial.some(1, (2 * heads * k + 1, 2 * heads * k + 4)):
            keys, queries = (
                np.array(trial.integers(heads * k, n, bound=9), dtype=object).reshape(heads, k, n)
                for _ in range(2)
            )
            logits = [K.T @ Q for K, Q in zip(keys, queries, strict=True)]
            weights = np.array(trial.integers(2 * heads, n, bound=9), dtype=object)
            case = np.stack(logits), weights[:heads], weights[heads:]
            yield f"{heads} heads of size {k}, n = {n}", case, (heads, k)


def by_query(logits: Table, of_queries: Table, of_keys: Table) -> Table:
    """``Σ_b w_b[j] L_b[i, j]``."""
    mixed: Table = (logits * of_queries[:, None, :]).sum(axis=0)
    return mixed


def by_both(logits: Table, of_queries: Table, of_keys: Table) -> Table:
    """``Σ_b (w_b[j] + v_b[i]) L_b[i, j]``: both branches, added."""
    mixed: Table = by_query(logits, of_queries, of_keys) + (logits * of_keys[:, :, None]).sum(0)
    return mixed


def by_product(logits: Table, of_queries: Table, of_keys: Table) -> Table:
    """``Π_b L_b[i, j]``: no mixture."""
    mixed: Table = logits.prod(axis=0) * of_queries[0]
    return mixed


def _rank(mix: Any, *case: Table) -> RankBounds:
    return exact_rank(as_rationals(mix(*case)))


CLAIMS = (
    make_claim(
        "dcmha-query-wise",
        "The logits drawn of h heads of size k, mixed with a weight for each head and query, have "
        "rank h k, the most there can be.",
        compare_ranks(_composed, partial(_rank, by_query), lambda heads, k: heads * k),
        Mutant("one head's bound", {"predicted": lambda heads, k: k}),
        Mutant("multiplies the logits", {"rank": partial(_rank, by_product)}),
        Mutant("weights of keys too", {"rank": partial(_rank, by_both)}),
        source=Source(
            "xiao2024",
            "query-wise branch, before the softmax",
            "abstract read, the branches remembered; the rank is derived here",
        ),
        hypotheses=("integer heads and weights, n > h k",),
    ),
    make_claim(
        "dcmha-both-branches",
        "With a weight for each head and query and one for each head and key, added, mixed logits "
        "have rank at most h k.",
        compare_ranks(_composed, partial(_rank, by_both), lambda heads, k: heads * k),
        Mutant("the query-wise branch alone", {"rank": partial(_rank, by_query)}),
        Mutant("twice that", {"predicted": lambda heads, k: 2 * heads * k}),
        source=Source(
            "xiao2024",
            "query-wise and key-wise branches, before the softmax",
            "abstract read, the branches remembered; false: the bound is 2 h k, attained here, so "
            "composition gains more rank than talking heads do",
        ),
        hypotheses=("integer heads and weights, n > 2 h k",),
        relation="<=",
        status=Verdict.REFUTED,
    ),
)
