"""The log-rank of a head from its keys and queries; the n × n matrix is never formed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_matrix, storage_dtype
from rankbound.attention.masks import Mask, check_mask
from rankbound.errors import InputError, InputTypeError, Undecided
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.spectrum import FLOAT64_EPS, spectrum_of_factors
from rankbound.theory.completion import essential
from rankbound.theory.decision import decide
from rankbound.theory.spans import scan

__all__ = [
    "chain_log_rank",
    "factors_of",
    "log_rank_of_head",
    "nested_chain",
    "unmasked_log_rank",
]


def log_rank_of_head(
    head: Any, X: Any, mask: Any, rtol: float | None, stored: npt.DTypeLike | None
) -> int:
    """The log-rank of a head on tokens: O(n k²) in time and, apart from the mask, O(n k) in memory.

    Under a mask that is not nested the logits are formed and bounded, and `Undecided` is raised
    unless the bounds meet; the head itself shows that its size is enough.
    """
    keys, queries, unit = factors_of(head, X, stored)
    n = keys.shape[1]
    visible = None if mask is None else check_mask(mask, (n, n))
    if visible is None or visible.all():
        return unmasked_log_rank(keys, queries, unit, rtol)
    if rtol is not None:
        raise InputError(
            "rtol and mask are not taken together: under a mask rows are compared with spans, "
            "and no singular value is counted."
        )
    chain = nested_chain(visible)
    if chain is None:
        return _bounded(head, X, visible, stored)
    order, seen = chain
    return chain_log_rank(keys[:, order], queries, seen, unit)


def _bounded(head: Any, X: Any, visible: Mask, stored: npt.DTypeLike | None) -> int:
    try:
        return int(decide(None, None, visible, head.logits(X), None, stored, False)[0].least)
    except Undecided as undecided:
        bounds, size = undecided.bounds, len(head.queries(X))
        upper = min(int(bounds.upper), size)
        if bounds.lower >= upper:
            return upper
        raise Undecided(
            f"the mask is not nested, and the log-rank lies in [{bounds.lower}, {upper}].",
            bounds=RankBounds(
                bounds.lower, upper, bounds.verdict, f"{bounds.method}, or the head itself"
            ),
            remedy=undecided.remedy,
        ) from None


def factors_of(head: Any, X: Any, stored: npt.DTypeLike | None) -> tuple[Array, Array, float]:
    """Keys and queries of a head, shape (k, n), and the relative error of their entries.

    The rounding of the dtype, once for each of the d products of a coordinate when tokens are
    given.
    """
    if not (hasattr(head, "queries") and hasattr(head, "keys")):
        raise InputTypeError(
            f"head is a {type(head).__name__}; expected an AttentionHead. "
            "For queries and keys, rb.AttentionHead(W_q=queries, W_k=keys)."
        )
    products = 1 if X is None else check_matrix("X", X, ndim=2).shape[0]
    keys, queries = head.keys(X), head.queries(X)
    dtype = storage_dtype("head", keys, stored)
    return keys, queries, products * float(np.finfo(dtype).eps)


def unmasked_log_rank(keys: Array, queries: Array, unit: float, rtol: float | None) -> int:
    """Rank of ``C keys^T queries``, keys and queries (k, n) with entries right to `unit`.

    By Weyl no singular value moves by more than the error of the product, which is below
    ``2 unit ‖keys‖_F ‖queries‖_F``, and what the QR of the factors adds.
    """
    keys, queries = (np.ldexp(f, -int(np.frexp(np.abs(f).max())[1])) for f in (keys, queries))
    values = spectrum_of_factors(keys, queries, 1.0, centred=True)
    sizes = float(np.linalg.norm(keys)) * float(np.linalg.norm(queries))
    relative = 2 * unit + sum(keys.shape) * FLOAT64_EPS
    threshold = relative * sizes if rtol is None else rtol * float(values[0])
    return int(np.count_nonzero(values > threshold))


def chain_log_rank(keys: Array, queries: Array, seen: npt.NDArray[np.int64], unit: float) -> int:
    """The masked log-rank (Theorem C) where query j sees the first ``seen[j]`` keys.

    Row i of the logits, less the first, is ``(a_i - a_1)^T b_j`` for the queries j that see key i.
    Queries in the span of others that see no less decide nothing, so at most k queries stay, those
    that see most: row i is new where ``a_i - a_1`` adds to the span of the rows above it on them.
    """
    telling = np.flatnonzero(seen > 1)
    if not len(telling):
        return 0
    keys, queries = (np.ldexp(f, -int(np.frexp(np.abs(f).max())[1])) for f in (keys, queries))
    telling = telling[np.argsort(-seen[telling], kind="stable")]
    columns = queries[:, telling].T
    width = np.full(len(columns), len(queries))
    kept = telling[scan(columns, unit * np.abs(columns), width)]
    few = queries[:, kept]
    D = (keys - keys[:, :1]).T @ few
    error = 2 * unit * (np.abs(keys) + np.abs(keys[:, :1])).T @ np.abs(few)
    shown = np.count_nonzero(seen[kept] > np.arange(len(D))[:, None], axis=1)
    return len(scan(D[1:], error[1:], shown[1:]))


def nested_chain(visible: Mask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Keys in the order of nesting and how many of them each query sees; None if not nested.

    A query that sees one key is said to see none: it imposes nothing.
    """
    keys, queries = essential(visible)
    seen = np.zeros(visible.shape[1], dtype=np.int64)
    seen[queries] = visible[:, queries].sum(axis=0)
    for position, key in enumerate(keys):
        if not np.array_equal(visible[key, queries], seen[queries] > position):
            return None
    return keys, seen
