"""How near a head of too small a size can come, where the answer has a closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import check_head_size
from rankbound.attention.head import AttentionHead
from rankbound.errors import InputError
from rankbound.theory.construction import (
    check_reached,
    full_rank_tokens,
    head_from_factors,
)
from rankbound.theory.logs import read_logs
from rankbound.theory.reach import Reach

__all__ = ["aitchison_error", "nearest_head"]

REACHED = 1e-8  # by how much the head on given tokens may miss the optimum, in log-probability


def aitchison_error(
    P: npt.ArrayLike | None = None,
    head_size: int = 1,
    *,
    logits: Any = None,
    rows: bool = False,
    stored: npt.DTypeLike | None = None,
) -> Any:
    """Least Aitchison distance between P and the context of a head of this size.

    ``min ‖C (log P - log Q)‖_F`` over contexts Q of heads of size k is exactly
    ``sqrt(Σ_{r > k} s_r²)``, s the singular values of ``C log P`` (Eckart–Young; tokens of full
    column rank, otherwise a lower bound).

    Parameters
    ----------
    P : array_like, shape (..., n, n), optional
        Positive, columns sum to 1, [key, query].
    head_size : int
        k >= 1.
    logits, rows, stored
        As in :func:`rankbound.log_rank`.

    Returns
    -------
    float, or ndarray over a batch
        In natural logarithms of ratios.

    Raises
    ------
    InputError, InputTypeError
        If an argument is not as described.

    References
    ----------
    Eckart & Young 1936; docs/theory.md, section 5.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(8, seed=0, law="logrank", rank=3)
    >>> bool(rb.aitchison_error(P, 3) < 1e-12 < rb.aitchison_error(P, 2))
    True
    """
    k = check_head_size(head_size)
    logs = read_logs(P, logits, stored=stored, rows=rows, ndim=None)
    values = np.linalg.svd(logs.scaled, compute_uv=False)
    with np.errstate(over="ignore"):  # reported just below
        tail = np.ldexp(np.linalg.norm(values[..., k:], axis=-1), logs.exponent[..., 0, 0])
    if not np.isfinite(tail).all():
        raise InputError("the error is above 1.8e308; divide the logits by a power of two.")
    return float(tail) if np.ndim(tail) == 0 else tail


def nearest_head(
    P: npt.ArrayLike | None = None,
    head_size: int = 1,
    X: npt.ArrayLike | None = None,
    *,
    logits: Any = None,
    rows: bool = False,
    stored: npt.DTypeLike | None = None,
) -> AttentionHead:
    """Return the head of this size nearest to P in Aitchison distance.

    Its logits are the truncated singular value decomposition of ``C log P``; it reaches
    :func:`rankbound.aitchison_error`.

    Parameters
    ----------
    P : array_like, shape (n, n), optional
        One positive matrix, columns sum to 1, [key, query].
    head_size : int
        k >= 1.
    X : array_like, shape (d, n), optional
        Tokens of full column rank; None means the identity.
    logits, rows, stored
        As in :func:`rankbound.log_rank`.

    Returns
    -------
    AttentionHead

    Raises
    ------
    Undecided
        If X is so ill-conditioned that the head misses the optimum by more than 1e-8.
    InputError, InputTypeError
        If an argument is not as described.

    References
    ----------
    Eckart & Young 1936; docs/theory.md, section 5.
    """
    k = check_head_size(head_size)
    logs = read_logs(P, logits, stored=stored, rows=rows)
    tokens = None if X is None else full_rank_tokens(X, logs.n)
    left, right = Reach(k, logs.scaled, logs.exponent).factors(min(k, logs.n))
    head = head_from_factors(left, right, k, tokens)
    if tokens is not None:
        check_reached(head, tokens, left.T @ right, REACHED)
    return head
