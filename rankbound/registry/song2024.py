"""Song, Zhao, Majumder & Lin 2024, CapaBoost: masked copies of one low-rank update, added up."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from rankbound.exact.rational import as_rationals
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Cases, Mutant, Source, Trial, compare_ranks, make_claim


def _masked(trial: Trial) -> Cases:
    """Factors of integers, with random masks of half their entries."""
    for n, r, parts in trial.some(2, ((16, 1, 3), (16, 2, 3), (24, 3, 2))):
        for repeat in range(trial.count(1, 3)):
            A, B = (np.array(trial.integers(r, n, bound=99), dtype=object) for _ in range(2))
            masks = trial.rng.integers(0, 2, size=(2, parts, r, n)).astype(object)
            label = f"n = {n}, rank {r}, {parts} masks, draw {repeat}"
            yield label, (A, B, masks), (n, r, parts)


def _sum_rank(A: Any, B: Any, masks: Any, *, shared: bool = False) -> RankBounds:
    """The rank of ``Σ_i (B_i)^T A_i``, the factors masked by pair i; by pair 0 if shared."""
    pairs = masks.swapaxes(0, 1)
    total = sum((B * pair[0]).T @ (A * pair[1]) for pair in (pairs[:1] if shared else pairs))
    return exact_rank(as_rationals(total))


CLAIMS = (
    make_claim(
        "capaboost-rank",
        "Each sum drawn of l masked copies of one update of rank r has rank l r, at no more "
        "parameters.",
        compare_ranks(_masked, _sum_rank, lambda n, r, parts: min(n, r * parts)),
        Mutant("one mask for all", {"rank": partial(_sum_rank, shared=True)}),
        Mutant("the rank of one", {"predicted": lambda n, r, parts: r}),
        source=Source("song2024", "abstract", "abstract only; the rank is checked on each draw"),
        hypotheses=("integer factors, random masks, l r <= n",),
    ),
)
