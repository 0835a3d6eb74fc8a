"""The log-rank of a head under a causal mask, from its factors."""

from __future__ import annotations

from typing import Any

import numpy as np

import rankbound as rb
from benchmarks.races import Entries, Race, Wanted

N, K = 4096, 64


def random_head(n: int, k: int) -> rb.AttentionHead:
    """A head of random queries and keys."""
    return rb.AttentionHead(*np.random.default_rng(0).standard_normal((2, k, n)))


def causal() -> Entries:
    """Under the mask, beside the singular values of the block of its first half of keys, which
    all later queries see.
    """
    head = random_head(N, K)
    block = head.W_k[:, : N // 2].T @ head.W_q[:, N // 2 :]
    tall = [np.ascontiguousarray(W.T) for W in (head.W_q, head.W_k)]

    def verdict(found: Any) -> tuple[bool, dict[str, Any]]:
        return found["rankbound"] == K, {"log-rank": int(found["rankbound"])}

    return Entries(
        lambda: rb.log_rank(head=head, mask="causal"),
        lambda: np.linalg.svd(block, compute_uv=False),
        lambda: [np.linalg.qr(factor, mode="r") for factor in tall],
        verdict=verdict,
    )


RACES = (
    Race(
        "masked-log-rank",
        f"log-rank of a head under a causal mask, n = {N}, k = {K}, from its factors",
        "`numpy.linalg.svd` of its fully visible block, 2048 × 2048",
        "QR of both factors",
        Wanted(0.06, "seconds"),
        causal,
    ),
)
