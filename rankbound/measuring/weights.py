"""What is read off a head's attention weights, the columns of P a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from rankbound._validate import Array
from rankbound.attention.masks import Mask
from rankbound.measuring.spectra import capped, effective_rank_of

__all__ = ["WeightFacts", "context_blocks", "context_effective_rank", "weight_facts"]

BLOCK = 256  # columns at a time


@dataclass(frozen=True)
class WeightFacts:
    """Averages over queries.

    Attributes
    ----------
    entropy : float
        Mean over queries of the entropy of their attention, in nats.
    sink_mass : float
        Mean over queries of the attention that key 0 gets.
    kl_errors : mapping from int to float
        For each head size the mean over queries of the KL divergence, in nats, of the attention
        from that of the head of this size that is nearest in Aitchison distance (truncated SVD of
        ``C L``).
    """

    entropy: float
    sink_mass: float
    kl_errors: Mapping[int, float]


def context_blocks(
    queries: Array, keys: Array, scale: float, softcap: float | None, mask: Mask | None
) -> Iterator[tuple[slice, Array, Array]]:
    """Columns of log P and of P, `BLOCK` at a time; where hidden both are 0."""
    for start in range(0, queries.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        L = capped(scale * (keys.T @ queries[:, block]), softcap)
        yield (block, *_log_softmax(L, None if mask is None else mask[:, block]))


def _log_softmax(L: Array, visible: Mask | None) -> tuple[Array, Array]:
    shown = L if visible is None else np.where(visible, L, -np.inf)
    shifted = L - shown.max(axis=0)
    with np.errstate(under="ignore", over="ignore"):
        weights = np.exp(shifted if visible is None else np.where(visible, shifted, -np.inf))
    total = weights.sum(axis=0)
    log_P = shifted - np.log(total)
    return (log_P if visible is None else np.where(visible, log_P, 0.0)), weights / total


def weight_facts(
    queries: Array,
    keys: Array,
    scale: float,
    softcap: float | None,
    mask: Mask | None,
    head_sizes: Sequence[int],
) -> WeightFacts:
    """Entropy, sink mass and divergence from smaller heads; queries and keys (k, n)."""
    n = queries.shape[1]
    left, right = _principal(queries, keys, scale, softcap)
    divergence = dict.fromkeys(head_sizes, 0.0)
    entropy = sink = 0.0
    for block, log_P, P in context_blocks(queries, keys, scale, softcap, mask):
        visible = None if mask is None else mask[:, block]
        entropy -= float(np.sum(P * log_P))
        sink += float(P[0].sum())
        for size in divergence:
            log_Q = _log_softmax(left[:size].T @ right[:size, block], visible)[0]
            divergence[size] += float(np.sum(P * (log_P - log_Q)))
    errors = {size: max(total / n, 0.0) for size, total in divergence.items()}
    return WeightFacts(entropy / n, sink / n, MappingProxyType(errors))


def _principal(
    queries: Array, keys: Array, scale: float, softcap: float | None
) -> tuple[Array, Array]:
    """Factors of ``C L`` whose first rows are those of its truncations."""
    if softcap is not None:
        L = capped(scale * (keys.T @ queries), softcap)
        left, values, right = np.linalg.svd(L - L.mean(axis=0), full_matrices=False)
        return left.T * values[:, None], right
    basis, triangle = np.linalg.qr(queries.T)
    centred = keys - keys.mean(axis=1, keepdims=True)
    left, values, turn = np.linalg.svd(scale * (centred.T @ triangle.T), full_matrices=False)
    return left.T * values[:, None], turn @ basis.T


def context_effective_rank(
    queries: Array, keys: Array, scale: float, softcap: float | None, mask: Mask | None
) -> float:
    """Effective rank of P itself, which the head size does not bound; forms n × n."""
    blocks = [P for _, _, P in context_blocks(queries, keys, scale, softcap, mask)]
    return effective_rank_of(np.linalg.svd(np.concatenate(blocks, axis=1), compute_uv=False))
