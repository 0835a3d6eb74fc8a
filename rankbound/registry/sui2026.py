"""Sui & Zhang 2026, "The Approximation Rank of Softmax Attention": the visible dimension.

There an approximation rank of P at an error is bounded through the dimension of the interaction
that softmax leaves visible. That dimension is the log-rank. The approximation rank is not checked.
"""

from __future__ import annotations

from functools import partial

from rankbound.ranks.exact import exact_logit_rank
from rankbound.registry.claim import Cases, Mutant, Source, Trial, compare_ranks, make_claim


def _agreeing(trial: Trial) -> Cases:
    """Keys that agree in some coordinates, or, turned by integers, along as many directions."""
    for n in trial.some(2, (5, 8, 13)):
        for k in (2, 3, 4):
            for shared in range(1, k):
                keys, queries = trial.integers(k, n, bound=9), trial.integers(k, n, bound=9)
                for row in keys[:shared]:
                    row[:] = [row[0] or 1] * n
                turned = [[sum(row) for row in zip(*keys[: i + 1], strict=True)] for i in range(k)]
                label = f"n = {n}, head size {k}, {shared} shared"
                yield label, (keys, queries), (k, shared)
                yield f"{label}, turned", (turned, queries), (k, shared)


CLAIMS = (
    make_claim(
        "sui-visible-dimension",
        "Each head drawn of size k whose keys agree along m directions has a context of log-rank "
        "k - m, the visible dimension of its interaction.",
        compare_ranks(
            _agreeing, partial(exact_logit_rank, centre=True), lambda k, shared: k - shared
        ),
        Mutant("does not centre", {"rank": exact_logit_rank}),
        Mutant(
            "centres over queries",
            {"rank": lambda keys, queries: exact_logit_rank(queries, keys, centre=True)},
        ),
        Mutant("the head size", {"predicted": lambda k, shared: k}),
        source=Source(
            "sui2026",
            "visible interaction dimension",
            "abstract only; that it is the log-rank is derived here, docs/theory.md, section 1",
        ),
        hypotheses=("integer keys and queries, k < n; keys agree along m < k directions",),
    ),
)
