"""The head size that a context needs within a budget of KL divergence, from its spectrum: no fit.

Let τ_k² be the sum of the squared singular values of ``C log P`` beyond the k-th, s the largest
entry in magnitude of what the truncation to rank k leaves out (s <= τ_k), and all p_ij in
``[e^-η/n, e^η/n]``. Then

    e^-η φ(τ_k)/n²  <=  least KL at head size k  <=  e^(η + s) τ_k²/(2 n²),   φ(t) = t - 1 + e^-t,

so ``KL = τ_k²/(2 n²)`` to first order: for diffuse attention the cost of every head size is read
off the spectrum. *Upper:* for Q the truncation, the KL of a column is ``Σ p_i Δ_i + log Σ p_i
e^{-Δ_i} <= Σ p_i (e^{-Δ_i} - 1 + Δ_i) <= e^s Σ p_i Δ_i²/2`` (proofs/kl_upper.v). *Lower:* the bound
by the least probability (:mod:`rankbound.theory.approximation`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

import numpy as np

from rankbound._validate import Array, check_head_size, check_real
from rankbound.attention.softmax import log_column_softmax
from rankbound.context import Context
from rankbound.errors import InputError
from rankbound.exact.rounding import FLOAT64_EPS, check_model
from rankbound.ranks.bounds import RankBounds
from rankbound.theory.approximation import best_argument, excluded_sizes, unmasked
from rankbound.theory.minorants import phi_low
from rankbound.theory.softmax_gauge import centre, logs_of
from rankbound.verdict import Verdict

LARGEST_SPREAD = 1e150  # of logits within a column


def spectral_kl_bounds(
    P: Any = None,
    head_size: int = 1,
    *,
    logits: Any = None,
    rows: bool = False,
    stored: Any = None,
) -> tuple[float, float]:
    """Lower and upper bound of the least mean KL divergence of a head of this size, in nats.

    The formulas of :mod:`rankbound.theory.planning`, in floats: what the truncated singular value
    decomposition and the largest and least probability say by themselves.

    Parameters
    ----------
    P, logits, rows, stored : as in `Context`
        Positive, without a mask.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(64, seed=0, law="gibbs", scale=0.01)
    >>> lower, upper = spectral_kl_bounds(P, 16)
    >>> 1 < upper / lower < 1.5, lower <= rb.fit_head(P, 16).kl <= upper
    (True, True)
    """
    k = check_head_size(head_size)
    context = unmasked(P, logits=logits, rows=rows, stored=stored)
    D, n = centre(_logits(context)), context.n
    left, values, right = np.linalg.svd(D)
    tail = float(np.linalg.norm(values[k:]))
    largest_miss = float(np.abs((left[:, k:] * values[k:]) @ right[k:]).max(initial=0.0))
    P = _normalised(context)
    least, largest = float(P.min()), float(P.max())
    upper = largest * math.exp(min(largest_miss, 700.0)) * tail**2 / (2 * n)
    return least / n * float(phi_low(np.asarray(tail))), upper


def head_size_for_kl(
    P: Any = None,
    kl: float = 0.01,
    *,
    logits: Any = None,
    rows: bool = False,
    stored: Any = None,
) -> RankBounds:
    """Bound the least head size that comes within a KL divergence of P, without a fit.

    *Upper:* the least size at which the truncated singular value decomposition of ``C log P``, a
    head (:func:`rankbound.nearest_head`), is within the budget. *Lower:* one more than the largest
    size that column budgets, as of :func:`rankbound.kl_lower_bound`, keep above it on any tokens.
    For diffuse attention both are where ``τ_k²/(2 n²)`` crosses the budget (docs/theory.md,
    section 5).

    Parameters
    ----------
    P, logits, rows, stored : as in `Context`
        Positive, without a mask.
    kl : float
        The budget, a mean over queries in nats.

    Returns
    -------
    RankBounds
        Of the least head size: between 0, which is uniform attention, and n - 1.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(64, seed=0, law="gibbs", scale=0.1)
    >>> bounds = rb.head_size_for_kl(P, kl=0.0001)
    >>> bounds.lower, bounds.upper
    (46, 46)
    """
    from threadpoolctl import threadpool_limits

    budget = check_real("kl", kl, least=0.0)
    context = unmasked(P, logits=logits, rows=rows, stored=stored)
    check_model()
    P = _normalised(context)

    def is_reached(k: int) -> bool:
        return best_argument(context.P, None, k).value <= budget

    with threadpool_limits(1, "blas"):  # the matrices are small; threads only wait for each other
        fits = np.flatnonzero(truncated_kl(P, _logits(context)) <= budget)
        upper = int(fits[0]) if len(fits) else context.n - 1
        lower = min(excluded_sizes(context.P, None, budget), upper)
        sizes = range(max(lower, 1), upper)  # the bound falls with the size
        if too_small := bisect_left(sizes, True, key=is_reached):
            lower = sizes[0] + too_small
    if upper and not lower and _uniform_is_too_far(P, budget):
        lower = 1
    return RankBounds(lower, upper, Verdict.SUPPORTED, "KL lower bound; truncated decomposition")


def _normalised(context: Context) -> Array:
    """P with columns that sum to 1 in float64, whatever the dtype in which it was computed."""
    return np.asarray(context.P / context.P.sum(axis=0), np.float64)


def _logits(context: Context) -> Array:
    """Log P up to gauge, of a size whose squares float64 holds."""
    D = logs_of(context).unscaled()
    spread = float((D.max(axis=0) - D.min(axis=0)).max())
    if spread > LARGEST_SPREAD:
        raise InputError(
            f"{context.name} differ by {spread:.1e} within a column, in logarithms; expected at "
            f"most {LARGEST_SPREAD:.0e}, since their squares are summed. Divide the logits by a "
            "power of two: such attention is one-hot either way."
        )
    return np.asarray(D - D.max(axis=0))


def _uniform_is_too_far(P: Array, budget: float) -> bool:
    """Whether a head of size 0, uniform attention, is beyond the budget."""
    n = len(P)
    ratios = np.where(P > 0, n * P, 1.0)  # the softmax of logits may underflow
    return float(np.sum(P * np.log(ratios))) / n * (1 - 8 * n * FLOAT64_EPS) > budget


def truncated_kl(P: Array, log_P: Array) -> Array:
    """Mean KL divergence from P of the softmax of ``C log P`` truncated to rank 0, 1, …, n - 1."""
    n = len(P)
    D = centre(log_P)
    left, values, right = np.linalg.svd(D)
    normal, missed = log_column_softmax(D), D
    found = np.zeros(n)
    for k in range(n):
        log_Q = log_column_softmax(D - missed)
        t = normal - log_Q
        near = P * (t + np.expm1(-np.maximum(t, -1.0)))
        found[k] = np.sum(np.where(t < -1.0, np.exp(log_Q) - P + P * t, near)) / n
        missed = missed - values[k] * np.outer(left[:, k], right[k])
    return found
