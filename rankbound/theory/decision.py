"""The log-rank, the least head size, and the head that has it: Lemma 1 and Theorems A, B and C."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from rankbound._validate import check_bool, check_head_size, check_real
from rankbound.attention.head import AttentionHead
from rankbound.context import Context, read_context
from rankbound.errors import InputError, NotRepresentable, Undecided
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.spectrum import check_rtol
from rankbound.theory.any_tokens import least_under_mask
from rankbound.theory.head_log_rank import log_rank_of_head
from rankbound.theory.softmax_gauge import Logs, logs_of, of_each, refuse_underflow
from rankbound.theory.theorem_a import (
    Reach,
    check_reached,
    head_from_factors,
    least_on_full_rank,
    missed,
)
from rankbound.theory.theorem_b import least_on_tokens
from rankbound.theory.theorem_c import bounds_under_mask, guarded_completion
from rankbound.tokens import Tokens, read_tokens
from rankbound.verdict import Verdict


def log_rank(
    P: Any = None,
    *,
    logits: Any = None,
    mask: Any = None,
    head: Any = None,
    X: Any = None,
    rtol: float | None = None,
    stored: Any = None,
    rows: bool = False,
) -> Any:
    """Rank of ``C log P``, C = I - 11^T/n: the least rank of logits whose softmax is P (Lemma 1).

    Softmax determines logits up to a constant in each column (the gauge), so
    ``log_rank(P) = min over c of rank(log P + 1 c^T)``, reached at minus the column means. It is
    at most n - 1, and 0 exactly for the uniform context. It is neither the rank of P, which the
    exponential lifts, nor the rank of given logits, which may be larger by 1 (as that of Yang, Dai,
    Salakhutdinov & Cohen 2018, Property 1 and Corollary 1).

    The threshold for P models entries that are right to the dtype's rounding. A P computed from
    logits that are large beside their differences within a column (keys with a large common part)
    is not, and reads too high: pass ``logits=`` (whose own rounding the threshold then contains).

    Parameters
    ----------
    P, logits, stored, rows : as in `Context`
        A batch too. Exact logits are decided exactly; floats are free of underflow. For a context
        ``P ∝ 2^M`` pass ``logits=M``: the factor log 2 changes no rank.
    mask : as in `Context`
        Then the answer is the least rank of a completion of what it hides (Theorem C).
    head : AttentionHead, optional
        Instead of P: decided from its keys and queries in O(n k²), without forming the n × n
        matrix unless the mask is not nested. The answer is at most the head size.
    X : array_like, shape (d, n), optional
        The tokens of `head`; None means the identity.
    rtol : float, optional
        Counts singular values above ``rtol`` times the largest, instead of above the threshold
        derived from the dtype. Unused for exact logits.

    Returns
    -------
    int, or integer ndarray over a batch
        Exact for exact logits; numerical elsewhere.

    Raises
    ------
    Undecided
        If the mask is not nested, unless the bounds meet (``.bounds`` holds them); or if float64
        data shows the rounding of float32 and no `stored` is given.

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
        turned = check_bool("rows", rows, "P lies [query, key]")
        if P is not None or logits is not None or turned:
            raise InputError(
                "head is given beside P, logits or rows=True; expected a head alone: its context "
                "is [key, query] already."
            )
        return log_rank_of_head(head, X, mask, rtol, stored)
    if X is not None:
        raise InputError(
            "X is given without head; expected P or logits alone, or head with X: the log-rank of "
            "P or of logits does not depend on tokens. "
            "For the least head size on tokens use rb.least_head_size(P, X=X)."
        )
    context = read_context(P, logits=logits, mask=mask, rows=rows, stored=stored, batch=True)
    if context.batch and context.mask is None and not context.rounded and not context.exact_logits:
        logs = logs_of(context)
        if rtol is not None or not logs.underflowed:
            return logs.rank(rtol)
    return of_each(context, lambda one: _known(decide(one, None, rtol)))


def least_head_size(
    P: Any = None,
    *,
    X: Any = None,
    logits: Any = None,
    mask: Any = None,
    rtol: float | None = None,
    stored: Any = None,
    rows: bool = False,
) -> Any:
    """Least head size with which some attention head on tokens X has the context P.

    *Tokens of full column rank* (Theorem A): the log-rank, at most n - 1 (sharper than the n of
    B20, Theorem 1), and n - 1 for almost every P. *Any tokens, no mask* (Theorem B): a head may
    need more, or none have P; the answer is then infinite. *A nested mask, tokens of full column
    rank* (Theorem C): the number of new rows, floor(n/2) for almost every causal P.

    Parameters
    ----------
    P, logits, mask, stored, rows : as in `Context`
        A batch too; P is positive exactly where the mask shows. Exact logits are decided exactly
        (on rank-deficient tokens, if these are exact too).
    X : array_like, shape (d, n), optional
        Tokens, the exact numbers they are, floats too; None means any of full column rank.
    rtol : as in `log_rank`

    Returns
    -------
    int or math.inf, or ndarray over a batch
        0 for uniform columns, which a head of any size has; infinite where no head has P, which
        ``rankbound.theory.theorem_b.unreachability_certificate`` proves.

    Raises
    ------
    Undecided
        If the mask is not nested, or there is a mask and X is not of full column rank, unless the
        bounds meet (``.bounds`` holds them); if entries of P are so near underflow that their
        logarithms are unknown; if the answer hangs on the rounding of X, or on that of float32.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.least_head_size(rb.random_context(16, seed=0))
    15
    >>> rb.least_head_size(rb.random_context(16, seed=0, law="causal"), mask="causal")
    8
    >>> rb.least_head_size([[0.5, 0.75], [0.5, 0.25]], X=[[1, 0]])
    inf
    """
    rtol = check_rtol(rtol)
    context = read_context(P, logits=logits, mask=mask, rows=rows, stored=stored, batch=True)
    tokens = None if X is None else read_tokens(X, context.n)
    return of_each(context, lambda one: _known(decide(one, tokens, rtol)))


def represent(
    P: Any = None,
    *,
    X: Any = None,
    head_size: int | None = None,
    logits: Any = None,
    mask: Any = None,
    ratio: float = 1e-8,
    rtol: float | None = None,
    stored: Any = None,
    rows: bool = False,
) -> AttentionHead:
    """Return a head whose context on X is P: the constructive proof of Theorems A, B and C.

    Factor the logits that :func:`least_head_size` finds (``C log P``, in the gauge that
    rank-deficient tokens force, or completed where a mask hides them) as ``A^T B`` by the singular
    value decomposition, and put ``W_k = A X^+``, ``W_q = sqrt(k) B X^+`` (B20, Theorem 1).

    Parameters
    ----------
    P, X, logits, mask, rtol, stored, rows : as in `least_head_size`
        One matrix; tokens None mean the identity.
    head_size : int, optional
        Any size from the least on (padded with zeros); the least, or 1 if that is 0, unless given.
    ratio : float
        How far the head's log-probabilities may be from log P in any entry, over what the dtype of
        the data leaves open. Checked on the head that is returned.

    Raises
    ------
    NotRepresentable
        If `head_size` is below the least, which the error holds as ``.least_head_size``; or if no
        head of any size has P, ``.reason`` saying which condition failed.
    Undecided
        As :func:`least_head_size`; or if X is so ill-conditioned that the head misses `ratio` in
        float64, or `rtol` drops more than rounding explains.

    Examples
    --------
    >>> import numpy as np, rankbound as rb
    >>> P = rb.random_context(8, seed=0)
    >>> head = rb.represent(P)
    >>> head.head_size, bool(np.allclose(head.context(), P, rtol=1e-10, atol=0))
    (7, True)
    """
    ratio = check_real("ratio", ratio, above=0.0)
    rtol = check_rtol(rtol)
    wanted = None if head_size is None else check_head_size(head_size)
    context = read_context(P, logits=logits, mask=mask, rows=rows, stored=stored)
    tokens = None if X is None else read_tokens(X, context.n)
    answer = decide(context, tokens, rtol)
    if math.isinf(answer.least):
        raise NotRepresentable(
            f"no head of any size has this context on these tokens: {answer.reason}.",
            least_head_size=math.inf,
            reason=answer.reason,
        )
    least = int(answer.least if answer.undecided is None else answer.undecided.bounds.lower)
    size = max(int(_known(answer)), 1) if wanted is None else wanted
    if size < least:
        nearest = "rb.nearest_head" if context.mask is None else "rb.fit_head"
        raise NotRepresentable(
            f"no head of size {size} has this context: its logits have rank {least} or more in "
            "every gauge and completion, and those of a head at most its size. The least head size "
            f"is {least}; {nearest}(P, {size}) comes as close as one can.",
            least_head_size=least,
            reason=f"log-rank {least} > head size {size}",
        )
    if size < answer.least:
        _known(answer)
    return _head(logs_of(context), tokens, answer, size, ratio + answer.allowed)


def _known(answer: Reach) -> float:
    """The least head size, or the error that holds its bounds."""
    if answer.undecided is not None:
        raise answer.undecided
    return answer.least


def _head(
    logs: Logs, tokens: Tokens | None, answer: Reach, size: int, allowed: float
) -> AttentionHead:
    """The head of this size, checked: with the weights of least norm, else with exact ones."""
    if tokens is not None and answer.space is None:
        raise Undecided(
            f"X is {tokens.matrix.shape} and its row space is not computed: too many entries, or "
            "numbers too far apart. Pass tokens that float64 tells apart.",
            remedy="better conditioned tokens",
        )
    factors = answer.factors(int(answer.least))
    head = head_from_factors(*factors, size, answer.space)
    exact = None
    if tokens is not None and missed(head, tokens, logs) > allowed:
        exact = tokens.as_given
    if exact is not None and exact is not answer.space:
        head = head_from_factors(*factors, size, exact)
    check_reached(head, tokens, logs, allowed)
    return head


def decide(context: Context, tokens: Tokens | None, rtol: float | None) -> Reach:
    """The answer of Theorem A, B or C, whichever tokens and mask call for."""
    logs = logs_of(context)
    if context.mask is not None:
        if rtol is not None:
            raise InputError(
                "rtol and mask are not taken together; expected one: under a mask rows are "
                "compared with spans, and no singular value is counted."
            )
        return _masked(logs, tokens)
    if rtol is None:
        refuse_underflow(
            logs,
            int(logs.rank()) if logs.underflowed else 0,
            "pass logits=, or rtol= to count singular values as they are",
        )
    if tokens is None:
        return least_on_full_rank(logs, rtol)
    return least_on_tokens(logs, tokens, rtol)


def _masked(logs: Logs, tokens: Tokens | None) -> Reach:
    n = logs.n
    answer = guarded_completion(logs)
    if answer is None:
        answer, known = bounds_under_mask(logs)
    else:
        lower = 0 if answer.doubtful else int(answer.least)
        known = RankBounds(lower, n - 1, Verdict.SUPPORTED, "Theorem C; the shape")
    refuse_underflow(logs, min(int(answer.least), int(known.lower)), "pass logits=")
    if tokens is not None and tokens.numerical_rank < n and tokens.rank < n:
        return least_under_mask(logs, tokens, known)
    if answer.doubtful:
        raise Undecided(
            f"the rows of log P are so nearly dependent that rounding leaves the least head size "
            f"open (about {int(answer.least)}). To decide, pass logits= in exact numbers.",
            bounds=RankBounds(0, n - 1, Verdict.SUPPORTED, "the shape"),
            remedy="logits= in exact numbers",
        )
    if answer.least > known.lower:
        undecided = Undecided(
            f"the mask is not nested, and the least head size lies in [{known.lower}, "
            f"{known.upper}] ({known.method}).",
            bounds=known,
            remedy="a nested mask (rb.is_nested)",
        )
        answer = replace(answer, undecided=undecided)
    space = None if tokens is None else tokens.space
    return replace(answer, space=space)
