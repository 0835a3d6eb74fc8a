"""The log-rank with both sides proved, and the least head size within a stated ratio."""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np

from rankbound._validate import Array, check_real, item, shown
from rankbound.attention.head import AttentionHead
from rankbound.attention.softmax import log_column_softmax
from rankbound.certificates.certificates import Representation
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import LogRank, LogRankWithin, RepresentedWithin
from rankbound.context import Context, read_context
from rankbound.errors import InputError, InputTypeError
from rankbound.exact.elimination import prove_rank
from rankbound.exact.rational import Rationals, centred
from rankbound.exact.rounding import LOG_ERROR, LOG_ULPS, U, check_model, up
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.evidence import (
    certify_proof,
    frobenius,
    leading_values,
    singular_values_above,
    spectral_gap,
)
from rankbound.theory.softmax_gauge import centre, logs_of
from rankbound.theory.theorem_a import logit_error
from rankbound.theory.theorem_c import certified_under_mask
from rankbound.verdict import Verdict


def certified_log_rank(
    P: Any = None,
    *,
    logits: Any = None,
    mask: Any = None,
    ratio: float | None = None,
    rows: bool = False,
) -> RankBounds:
    """Bound the log-rank, and so the least head size, with both sides proved.

    *Logits* are read as the exact numbers they are, floats too: the rank of ``C L`` over the
    rationals, ``lower == upper``. Under a nested mask likewise, the rank of the least completion.

    *A float P*, its columns divided by their exact sums, is known within a ratio: of all heads
    whose context Q has ``|log Q - log P| <= ratio`` in each entry, the least head size lies in
    [lower, upper]. The lower side: ``s_r(C log P) > n · ratio`` proves ``rank(C log Q) >= r`` for
    every such Q, on any tokens (Weyl; ``‖C E‖_2 <= ‖E‖_F <= n ratio``). The upper side: a concrete
    head whose context is enclosed within the ratio, on tokens of full column rank. With ratio 0
    the lower side is about P itself, and the upper side is n - 1.

    So the answer to "is P representable at head size k" is no if ``k < lower``, yes if
    ``k >= upper``, and not settled between (docs/theory.md, Theorem A and section 8).

    Parameters
    ----------
    P, logits, rows : as in `Context`
        One matrix; P of floats. Float logits are read as the rationals they are.
    mask : as in `Context`
        For P, or if the mask is not nested, the bounds are *supported* and no more.
    ratio : float, optional
        At least 0, which it is unless given; goes with P, without a mask.

    Returns
    -------
    RankBounds
        Rigorous, if NumPy's logarithm and exponential are within 4 units in the last place.
        ``.certify()``, up to n = 1024, assumes nothing: ``.certificate`` proves the lower side (and
        the upper, for exact logits), ``.upper_certificate`` the upper where a head does.

    Examples
    --------
    >>> import rankbound as rb
    >>> b = rb.certified_log_rank(logits=[[0, 1, 2], [1, 2, 3], [2, 3, 4]])
    >>> b.lower, b.upper
    (1, 1)
    >>> P = rb.random_context(8, seed=0, law="logrank", rank=3)
    >>> b = rb.certified_log_rank(P, ratio=1e-9)
    >>> b.lower, b.upper
    (3, 3)
    """
    context = _read(P, logits, mask, rows)
    if context.mask is not None and ratio is not None:
        raise InputTypeError(
            "ratio and mask are not taken together; expected one: the bound within a ratio is "
            "for contexts that nothing hides."
        )
    if context.mask is not None:
        return certified_under_mask(logs_of(context))
    if context.exact is not None:
        if ratio is not None:
            raise InputTypeError(
                f"ratio is {shown(ratio)} beside logits; expected none: ratio goes with P; logits "
                "are read as the exact numbers they are. "
                "Pass rb.column_softmax(logits) as P for an answer within a ratio."
            )
        return _exact(context.exact)
    within = 0.0 if ratio is None else _check_ratio(ratio)
    check_model()
    return _within(context.values, within)


def _read(P: Any, logits: Any, mask: Any, rows: bool) -> Context:
    context = read_context(P, logits=logits, mask=mask, rows=rows, floats="exact")
    if context.name == "logits" and context.exact is None:  # a Context of float logits
        return Context(logits=context.given, mask=context.mask, floats="exact")
    if context.name == "P" and context.all_exact:
        raise InputTypeError(
            "P holds exact numbers, whose logarithms are irrational; expected floats. "
            "Pass logits= for an exact answer, or P.astype(float)."
        )
    return context


def _exact(table: Rationals) -> RankBounds:
    D = centred(table)
    proof = prove_rank(D, most=len(D) - 1)
    upper = "C has rank n - 1" if proof.factors is None else "an exact factorisation"

    def prove(_: tuple[int, ...]) -> tuple[Any]:
        statement = LogRank(Matrix.of_rationals(table), proof.rank, proof.rank)
        return (certify_proof(statement, D, proof),)

    method = f"lower: a minor that is not zero modulo {proof.prime}; upper: {upper}"
    return RankBounds(proof.rank, proof.rank, Verdict.RIGOROUS, method, prove)


def _check_ratio(ratio: Any) -> float:
    """Return the ratio as the float64 it is: rounded, it would be wrong for one of the sides."""
    within = check_real("ratio", ratio, least=0.0)
    ratio = item(ratio)
    exact = isinstance(ratio, Rational | float | np.floating | np.integer) and (
        Fraction(*ratio.as_integer_ratio())
        if hasattr(ratio, "as_integer_ratio")
        else Fraction(int(ratio.numerator), int(ratio.denominator))
    ) == Fraction(within)
    if not exact:
        raise InputError(
            f"ratio is {shown(ratio)}, which float64 does not hold exactly; expected one that it "
            f"does, since both sides are proved for it. Pass float(ratio), which is {within!r}."
        )
    return within


def _within(P: Array, ratio: float) -> RankBounds:
    n = len(P)
    # in one piece: the allocator gives smaller ones back after each call, and new pages cost as
    # much as the test
    logs, room = np.empty((2, n, n))
    D, noise = _centred_logs(P, logs)
    radius = float(up(n * ratio + noise, 2))
    lower = singular_values_above(D, radius, room)
    head = _least_head(D, np.log(P), lower, ratio) if ratio > 0 and lower < n - 1 else None
    upper = n - 1 if head is None else (head.head_size if np.any(head.W_k) else 0)
    if upper < lower:
        raise ArithmeticError("a head below the certified bound; please report this as a bug.")
    above = "C has rank n - 1" if head is None else "a head enclosed within the ratio"

    def prove(_: tuple[int, ...]) -> tuple[Any, ...]:
        statement = LogRankWithin(Matrix.of_floats(P.tolist()), ratio, lower)
        again = _centred_logs(P, np.empty((n, n)))[0]  # it is not kept
        below = spectral_gap(statement, again, lower)
        return (below,) if head is None else (below, certify_head(head, P, None, ratio))

    method = f"lower: s_r(C log P) > n ratio; upper: {above}"
    return RankBounds(lower, upper, Verdict.RIGOROUS, method, prove)


def _centred_logs(P: Array, out: Array) -> tuple[Array, float]:
    """``C log P``, and how far it may be off in Frobenius norm.

    By the logarithm, and by two centrings of at most n additions each, whose gauge part C removes.
    """
    n, log_P = len(P), np.log(P, out=out)
    largest = max(float(log_P.max()), -float(log_P.min()))
    noise = LOG_ERROR * frobenius(log_P) + (2 * n + 4) * U * n * largest
    return centre(log_P, out=out), float(up(noise, 8))


def _least_head(D: Array, log_P: Array, lower: int, ratio: float) -> AttentionHead | None:
    """The head of least size from `lower` < n - 1 whose context is certainly within the ratio."""

    def factors(found: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        left, values, right = found
        root = np.sqrt(values)[:, None]
        return root * left.T, root * right

    def head(k: int) -> AttentionHead:
        return AttentionHead(W_q=queries[:k], W_k=keys[:k], scale=1.0)

    def reaches(k: int) -> bool:  # the truncation error decreases with k
        return _is_within(head(k), None, log_P, ratio)

    least = max(lower, 1)
    for radius in (ratio, 0.0):  # the values above the ratio mostly suffice, and may be few
        keys, queries = factors(leading_values(D, radius))
        most = min(len(keys), len(D) - 1)
        if least <= most and reaches(least):  # as it mostly does
            return head(least)
        if least < most and reaches(most):
            return head(least + bisect_left(range(least, most), True, key=reaches))
    return None


def _is_within(head: AttentionHead, X: Array | None, log_P: Array, ratio: float) -> bool:
    """Whether the context of the head, not capped, is certainly within the ratio of P.

    The error of the logits enters each log-probability at most twice, the rounding of the softmax
    and of all logarithms a few units in the last place for each of the n summands. P stands for
    itself with its columns normalised.
    """
    L = head.scale * (head.keys(X).T @ head.queries(X))
    error = logit_error(head, L, X)
    log_P = log_P - np.log(np.exp(log_P).sum(axis=0))
    log_Q = log_column_softmax(L)
    size = float(np.max(np.abs(L)) + np.max(np.abs(log_Q)) + np.max(np.abs(log_P))) + 1.0
    rounding = (2 * len(L) + 16 * LOG_ULPS) * 2 * U * size
    bound = np.max(np.abs(log_Q - log_P)) + 2 * float(np.max(error)) + rounding
    return bool(up(bound, 8) <= ratio)


def certify_head(
    head: AttentionHead, P: Array, X: Array | None, ratio: float
) -> Representation | None:
    """Return the certificate that the head's context on X is within the ratio of P, or None.

    The keys and queries are products of the weights with the tokens as the exact reals they are;
    rounding is bounded, so the answer is certain, and the certificate needs no floating point.
    """
    if not _is_within(head, X, np.log(P), ratio):
        return None
    tokens = None if X is None else Matrix.of_floats(X.tolist())
    context = Matrix.of_floats(P.tolist())
    W_k, W_q = Matrix.of_floats(head.W_k.tolist()), Matrix.of_floats(head.W_q.tolist())
    return Representation(RepresentedWithin(context, ratio, W_k, W_q, head.scale, tokens))
