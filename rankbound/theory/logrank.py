"""The log-rank: the rank that the low-rank bottleneck governs (Lemma 1)."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from rankbound.errors import InputError
from rankbound.ranks.spectrum import check_rtol
from rankbound.theory.decision import decide
from rankbound.theory.head_logrank import log_rank_of_head
from rankbound.theory.logs import read_logs

__all__ = ["log_rank"]


def log_rank(
    P: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    *,
    logits: Any = None,
    head: Any = None,
    X: npt.ArrayLike | None = None,
    rtol: float | None = None,
    stored: npt.DTypeLike | None = None,
    rows: bool = False,
) -> Any:
    """Rank of ``C log P``, C = I - 11^T/n: the least rank of logits whose softmax is P.

    Softmax determines logits up to a constant in each column (the gauge), so
    ``log_rank(P) = min over c of rank(log P + 1 c^T)``, reached at minus the column means. It is
    at most n - 1, and 0 exactly for the uniform context. It is neither the rank of P, which the
    exponential lifts, nor the rank of given logits, which may be larger by 1.

    Parameters
    ----------
    P : array_like, shape (..., n, n), optional
        Positive, columns sum to 1, [key, query].
    mask : array_like of bool, shape (n, n), optional
        A nested mask, [key, query], True = visible; then one matrix, and the answer is the least
        rank of a completion of what it hides (Theorem C).
    logits : array_like or sympy.Matrix, shape (..., n, n), optional
        Logits instead of P: free of underflow for floats; ints, Fractions and SymPy numbers (one
        matrix; rational up to a common factor such as log 2) are decided exactly. For a context
        ``P ∝ 2^M`` pass M: the factor log 2 does not change a rank.
    head : AttentionHead, optional
        A head instead of P, decided from its keys and queries in O(n k²): the n × n matrix is
        never formed, unless the mask is not nested. It is at most the head size.
    X : array_like, shape (d, n), optional
        The tokens of `head`; None means the identity.
    rtol : float, optional
        Counts singular values above ``rtol`` times the largest, instead of above the threshold
        derived from the dtype. Unused for exact logits.
    stored : dtype, optional
        The dtype in which the data was computed, where the array no longer shows it.
    rows : bool
        True if the rows of P are the queries (they sum to 1), as in most software.

    Returns
    -------
    int, or integer ndarray over a batch
        Exact for exact logits; numerical elsewhere.

    Notes
    -----
    The threshold for P models entries that are right to the dtype's rounding. A P computed from
    logits that are large beside their differences within a column (keys with a large common part)
    is not, and reads too high: pass ``logits=`` (whose own rounding the threshold then contains).

    Raises
    ------
    Undecided
        If the mask is not nested, unless the bounds meet; ``.bounds`` holds them.
    InputError, InputTypeError
        If P is not positive and column-stochastic, an entry is not finite, or not exactly one of
        P, logits and head is given.

    References
    ----------
    Yang, Dai, Salakhutdinov & Cohen 2018, Property 1 and Corollary 1 (their rank may exceed this
    one by 1); docs/theory.md, Lemma 1.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.log_rank([[0.5, 0.75], [0.5, 0.25]])
    1
    >>> rb.log_rank(logits=[[0, 1], [0, 1]])
    0
    """
    rtol = check_rtol(rtol)
    if head is not None:
        if P is not None or logits is not None or rows:
            raise InputError(
                "head is given beside P, logits or rows=True; expected a head alone: its context "
                "is [key, query] already."
            )
        return log_rank_of_head(head, X, mask, rtol, stored)
    if X is not None:
        raise InputError(
            "X is given without head; the log-rank of P or of logits does not depend on tokens. "
            "For the least head size on tokens use rb.least_head_size(P, X)."
        )
    if mask is not None:
        return int(decide(P, None, mask, logits, rtol, stored, rows)[0].least)
    return read_logs(P, logits, stored=stored, rows=rows, ndim=None).rank(rtol)
