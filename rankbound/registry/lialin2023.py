"""Lialin, Shivagunde, Muckatira & Rumshisky 2023, ReLoRA: low-rank updates one after another."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from rankbound.exact.rational import as_rationals
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Cases, Mutant, Source, Trial, compare_ranks, make_claim


def _updates(trial: Trial) -> Cases:
    for n, r, restarts in ((8, 1, 3), (12, 2, 3), (12, 3, 6)):
        A, B = (
            np.array(trial.integers(restarts * r, n, bound=99), dtype=object).reshape(
                restarts, r, n
            )
            for _ in range(2)
        )
        yield f"n = {n}, {restarts} updates of rank {r}", (A, B), (n, r, restarts)


def _merged_rank(A: Any, B: Any, *, restarted: bool = True) -> RankBounds:
    """The rank of ``Σ_i B_i^T A_i``; with B kept from one update to the next if not restarted."""
    total = sum((B[i if restarted else 0]).T @ A[i] for i in range(len(A)))
    return exact_rank(as_rationals(total))


CLAIMS = (
    make_claim(
        "relora-rank",
        "The l updates of rank r drawn, merged and restarted, add up to rank min(n, l r).",
        compare_ranks(_updates, _merged_rank, lambda n, r, restarts: min(n, r * restarts)),
        Mutant("keeps one factor", {"rank": partial(_merged_rank, restarted=False)}),
        Mutant("the rank of one", {"predicted": lambda n, r, restarts: r}),
        source=Source("lialin2023", "abstract", "remembered; the rank is checked on each draw"),
        hypotheses=("integer factors; what training reaches is not checked",),
    ),
)
