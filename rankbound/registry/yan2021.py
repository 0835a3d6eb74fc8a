"""Yan, Chen, Qi, Bhendawade, Gong, Duan & Zhang 2021, EL-Attention: queries expanded, not keys."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.exact.rational import as_rationals, centred
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Cases, Mutant, Source, Trial, compare_ranks, make_claim

Table = npt.NDArray[Any]  # objects: ints


def _heads(trial: Trial) -> Cases:
    for n, d, k in ((5, 6, 2), (7, 4, 3), (9, 9, 1)):
        for repeat in range(trial.count(1, 5)):
            arrays = (
                np.array(trial.integers(*shape, bound=9), dtype=object)
                for shape in ((k, d), (k, d), (d, n), (k, 1))
            )
            yield f"n = {n}, d = {d}, head size {k}, draw {repeat}", tuple(arrays), ()


def expand_queries(W_k: Table, W_q: Table, X: Table) -> Table:
    """``W_k^T W_q X``: what meets the tokens themselves, so that no key is stored."""
    expanded: Table = W_k.T @ (W_q @ X)
    return expanded


def _difference(
    W_k: Table, W_q: Table, X: Table, bias: Table, *, expand: Any = expand_queries, gauge: bool
) -> RankBounds:
    """The rank of what changes in the logits, but for the gauge, if keys had a bias."""
    rows = as_rationals(X.T @ expand(W_k, W_q, X) - (W_k @ X + bias).T @ (W_q @ X))
    return exact_rank(centred(rows) if gauge else rows)


_lost = partial(_difference, gauge=True)

CLAIMS = (
    make_claim(
        "el-attention-lossless",
        "Queries expanded by W_k^T meet the tokens as they would meet keys, a bias of which is "
        "lost in the softmax: rank C(L' - L) = 0.",
        compare_ranks(_heads, _lost, lambda: 0),
        Mutant("forgets the gauge", {"rank": partial(_difference, gauge=False)}),
        Mutant(
            "expands by W_q^T",
            {"rank": partial(_lost, expand=lambda W_k, W_q, X: W_q.T @ (W_q @ X))},
        ),
        source=Source(
            "yan2021", "definition of EL-attention", "remembered with confidence; in our notation"
        ),
        hypotheses=("integer heads with a bias on keys and none on queries; no RoPE",),
    ),
)
