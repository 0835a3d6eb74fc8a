"""What a mask asks of the heads of a layer, worked out once for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.attention.head import AttentionHead, capped
from rankbound.attention.masks import Chain, Mask, nested_chain
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.ranks.spectrum import spectrum_of_factors
from rankbound.theory.head_log_rank import chain_log_rank
from rankbound.theory.softmax_gauge import Logs
from rankbound.theory.theorem_c import complete

__all__ = ["MaskFacts", "masked_log_rank", "read_mask", "rounding_of"]

STARTS = 4  # queries from whose keys fully visible blocks are tried


@dataclass(frozen=True, eq=False)
class MaskFacts:
    """A mask that hides something, with what does not depend on the head.

    Attributes
    ----------
    mask : ndarray of bool, shape (n, n)
        [key, query], True = visible.
    chain : (order, seen) or None
        Keys in the order of nesting, and how many of them each query sees (0 for a query that sees
        one key and imposes nothing); None if the mask is not nested.
    generic : int or None
        The masked log-rank of almost every context, ``max{t : |K_t| >= t - 1} - 1``; for causal
        masks floor(n/2). None if the mask is not nested.
    most : int
        No head size above this is ever needed: one less than the most keys that a query sees.
    blocks : tuple of (keys, queries)
        Fully visible blocks, for bounds where the mask is not nested.
    """

    mask: Mask
    chain: Chain | None
    generic: int | None
    most: int
    blocks: tuple[tuple[Any, Any], ...]


def read_mask(mask: Mask, head_size: int) -> MaskFacts:
    """Work out what the heads of a layer share."""
    most = int(mask.sum(axis=0).max()) - 1
    chain = nested_chain(mask)
    if chain is None:
        return MaskFacts(mask, None, None, most, tuple(_blocks(mask, head_size)))
    seen = chain.seen
    telling = np.array([np.count_nonzero(seen > t) for t in range(len(mask))])
    wide = np.flatnonzero(telling >= np.arange(len(mask)))  # |K_t| >= t - 1, t counted from 1
    return MaskFacts(mask, chain, int(wide.max(initial=0)), most, ())


def _blocks(mask: Mask, head_size: int) -> list[tuple[Any, Any]]:
    """Blocks of keys that two queries share, and the queries that see them all.

    Of the many, those with just over `head_size` keys, which may already show the log-rank that
    the head cannot exceed, and those of about half the keys of a query.
    """
    found = {}
    overlap = mask.T.astype(np.float64) @ mask.astype(np.float64)
    widest = np.argsort(-mask.sum(axis=0), kind="stable")
    spread = widest[np.linspace(0, len(widest) // 2, STARTS).astype(int)]
    for first in dict.fromkeys(spread.tolist()):
        shared = overlap[first]
        for wanted in (head_size + 1, 2 * head_size, max(2, int(shared[first]) // 2)):
            second = int(np.argmin(np.where(shared < wanted, np.inf, shared)))
            rows = np.flatnonzero(mask[:, first] & mask[:, second])
            columns = np.flatnonzero(mask[rows].all(axis=0))
            if len(rows) > 1:
                found[rows.tobytes()] = (rows, columns)
    return list(found.values())


def rounding_of(queries: Array, keys: Array, scale: float, unit: float) -> float:
    """By how much rounding moves a singular value of ``scale keys^T queries``, both balanced.

    Each entry of queries and keys is right to a relative `unit`, so by Weyl no singular value moves
    by more than ``2 unit |scale| ‖keys‖_F ‖queries‖_F`` and what the QR of the factors adds.
    Capping moves logits no further apart, so the bound holds for capped logits too.
    """
    sizes = float(np.linalg.norm(keys)) * float(np.linalg.norm(queries))
    return (2 * unit + sum(keys.shape) * FLOAT64_EPS) * abs(scale) * sizes


def masked_log_rank(head: AttentionHead, facts: MaskFacts, unit: float) -> tuple[int, int]:
    """Bounds of the masked log-rank of a balanced head; equal if the mask is nested (Theorem C).

    Otherwise below: the log-rank of a fully visible block; above: the head size, unless logits are
    capped, and what any context with this mask needs at most.
    """
    keys, queries, cap = head.W_k, head.W_q, head.soft_cap
    if facts.chain is not None:
        rank = (
            chain_log_rank(keys[:, facts.chain.keys], queries, facts.chain.seen, unit)
            if cap is None
            else _capped_log_rank(head, facts, unit)
        )
        return rank, rank
    upper = facts.most if cap is not None else min(len(keys), facts.most)
    lower = 0
    for rows, columns in facts.blocks:
        if lower < upper:
            lower = max(lower, _block_rank(queries[:, columns], keys[:, rows], head, unit))
    return min(lower, upper), upper


def _block_rank(queries: Array, keys: Array, head: AttentionHead, unit: float) -> int:
    size = rounding_of(queries, keys, head.scale, unit)
    if head.soft_cap is None:
        values = spectrum_of_factors(keys, queries, head.scale, centred=True)
    else:
        L = capped(head.scale * (keys.T @ queries), head.soft_cap)
        values = np.linalg.svd(L - L.mean(axis=0), compute_uv=False)
        size += 2 * max(L.shape) * FLOAT64_EPS * float(np.linalg.norm(L))
    return int(np.count_nonzero(values > size))


def _capped_log_rank(head: AttentionHead, facts: MaskFacts, unit: float) -> int:
    """Theorem C on the formed matrix: capped logits have no factors."""
    L = head.logits()
    products = np.abs(head.W_k).T @ np.abs(head.W_q)
    error = 2 * unit * abs(head.scale) * products + FLOAT64_EPS * np.abs(L)
    values, error = (np.where(facts.mask, matrix, 0.0) for matrix in (L, error))
    reach = complete(Logs(values, error, np.zeros((1, 1), np.int32), facts.mask))
    return facts.most if reach is None else int(reach.least)  # a chain was found: never None
