"""How close a head of too small a size can come, where the answer has a closed form (section 5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rankbound._validate import check_head_size
from rankbound.attention.head import AttentionHead
from rankbound.context import Context, read_context
from rankbound.errors import InputError
from rankbound.theory.softmax_gauge import logs_of
from rankbound.theory.theorem_a import (
    check_reached,
    full_rank_tokens,
    head_from_factors,
    split,
)

__all__ = ["aitchison_error", "nearest_head"]

REACHED = 1e-8  # by how much the head on given tokens may miss the optimum, in log-probability


def aitchison_error(
    P: Any = None,
    head_size: int = 1,
    *,
    logits: Any = None,
    rows: bool = False,
    stored: Any = None,
) -> Any:
    """Least Aitchison distance between P and the context of a head of this size.

    ``min ‖C (log P - log Q)‖_F`` over contexts Q of heads of size k is exactly
    ``sqrt(Σ_{r > k} s_r²)``, s the singular values of ``C log P`` (Eckart–Young; tokens of full
    column rank, otherwise a lower bound). See docs/theory.md, section 5.

    Parameters
    ----------
    P, logits, rows, stored : as in `Context`
        Positive, without a mask; a batch too.
    head_size : int
        k >= 1.

    Returns
    -------
    float, or ndarray over a batch
        In natural logarithms of ratios.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(8, seed=0, law="logrank", rank=3)
    >>> bool(rb.aitchison_error(P, 3) < 1e-12 < rb.aitchison_error(P, 2))
    True
    """
    k = check_head_size(head_size)
    logs = logs_of(unmasked(P, logits=logits, stored=stored, rows=rows, batch=True))
    values = logs.singular_values
    with np.errstate(over="ignore"):  # reported just below
        tail = np.ldexp(np.linalg.norm(values[..., k:], axis=-1), logs.exponent[..., 0, 0])
    if not np.isfinite(tail).all():
        raise InputError("the error is above 1.8e308; divide the logits by a power of two.")
    return float(tail) if np.ndim(tail) == 0 else tail


def nearest_head(
    P: Any = None,
    head_size: int = 1,
    *,
    X: Any = None,
    logits: Any = None,
    rows: bool = False,
    stored: Any = None,
) -> AttentionHead:
    """Return the head of this size nearest to P in Aitchison distance.

    Its logits are the truncated singular value decomposition of ``C log P``; it reaches
    :func:`rankbound.aitchison_error` (Eckart–Young; docs/theory.md, section 5).

    Parameters
    ----------
    P, head_size, logits, rows, stored : as in `aitchison_error`
        One matrix.
    X : array_like, shape (d, n), optional
        Tokens of full column rank; None means the identity.

    Raises
    ------
    Undecided
        If X is so ill-conditioned that the head misses the optimum by more than 1e-8.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(8, seed=0)
    >>> rb.log_rank(rb.nearest_head(P, 3).context())
    3
    """
    k = check_head_size(head_size)
    logs = logs_of(unmasked(P, logits=logits, stored=stored, rows=rows))
    tokens = None if X is None else full_rank_tokens(X, logs.n)
    left, right = split(logs.scaled, logs.exponent, min(k, logs.n))
    head = head_from_factors(left, right, k, None if tokens is None else tokens.space)
    if tokens is not None:
        truncated = replace(logs, values=left.T @ right, exponent=np.zeros((1, 1), np.int32))
        check_reached(head, tokens, truncated, REACHED)
    return head


def unmasked(P: Any, **given: Any) -> Context:
    """Read a context that nothing hides: a closed form under a mask is not known."""
    context = read_context(P, **given)
    if context.mask is not None:
        raise InputError(
            f"{context.name} has hidden entries; expected a context without a mask: the closed "
            "form is for those. rb.fit_head and rb.kl_lower_bound take a mask."
        )
    return context
