"""Fit a head of a given size to a context matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import (
    Array,
    check_context,
    check_head_size,
    check_int,
    check_matrix,
    check_real,
)
from rankbound.attention.head import AttentionHead
from rankbound.attention.masks import Mask, check_mask
from rankbound.attention.softmax import _softmax, log_column_softmax
from rankbound.errors import InputError
from rankbound.fitting.objective import KLObjective, kl_divergence
from rankbound.ranks.spectrum import spectrum
from rankbound.theory.completion import MaskedLogs, check_hidden, complete, read_masked
from rankbound.theory.construction import head_from_factors
from rankbound.theory.logs import centre, read_logs

__all__ = ["Fit", "fit_head"]


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted head and how well it was fitted.

    Attributes
    ----------
    head : AttentionHead
        The best head found: an upper bound on what its size can reach, never a lower one.
    kl : float
        ``(1/n) Σ_j KL(P_j ‖ Q_j)`` in nats, Q the head's context.
    gradient_norm : float
        Euclidean norm of the gradient at the head, in the factors A, B of its logits ``A^T B``.
    iterations : int
        Of the start that won.
    converged : bool
        Whether ``gradient_norm <= gradient_tolerance``. False means: not even a stationary point.
    gradient_tolerance : float
        What was asked.
    start_kls : tuple of float
        Where each start ended: the truncated SVD first (if asked), then the random ones. Their
        agreement is the only sign of a global optimum, and no proof of it.
    seed : int
        From which the random starts can be drawn again.
    """

    head: AttentionHead
    kl: float
    gradient_norm: float
    iterations: int
    converged: bool
    gradient_tolerance: float
    start_kls: tuple[float, ...]
    seed: int


def fit_head(
    P: npt.ArrayLike | None = None,
    head_size: int = 1,
    X: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    *,
    logits: Any = None,
    seed: int = 0,
    spectral_start: bool = True,
    random_starts: int = 3,
    gradient_tolerance: float = 1e-8,
    max_iterations: int = 10_000,
    stored: npt.DTypeLike | None = None,
    rows: bool = False,
) -> Fit:
    """Fit a head of this size to P by L-BFGS, in mean KL divergence.

    The problem is not convex. One start is the truncated singular value decomposition of
    ``C log P`` (the exact optimum in Aitchison distance), the others are Gaussian; the best end
    is returned. On tokens X of any rank the factors live in the row space of X.

    Parameters
    ----------
    P : array_like, shape (n, n), optional
        One matrix, columns sum to 1, [key, query]. Zeros are allowed: then the infimum need not
        be attained, and the fit follows it until the gradient is small.
    head_size : int
        k >= 1.
    X : array_like, shape (d, n), optional
        Tokens; None means the identity.
    mask : array_like of bool, shape (n, n), optional
        [key, query], True = visible; transposed too with ``rows=True``.
    logits : array_like or sympy.Matrix, shape (n, n), optional
        Logits instead of P, which is their column softmax.
    seed : int
        For the random starts.
    spectral_start : bool
        Whether to start from the truncated singular value decomposition.
    random_starts : int
        How many, 0 or more.
    gradient_tolerance : float
        Euclidean norm of the gradient at which a start is called converged.
    max_iterations : int
        For each start.
    stored, rows
        As in :func:`rankbound.log_rank`.

    Returns
    -------
    Fit

    Raises
    ------
    InputError, InputTypeError
        If an argument is not as described.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(8, seed=0)
    >>> fit = rb.fit_head(P, 7)
    >>> fit.converged, fit.kl < 1e-20
    (True, True)
    """
    context, visible = _target(P, logits, mask, stored, rows)
    k = check_head_size(head_size)
    basis, lift = _row_space(X, len(context))
    tolerance = check_real("gradient_tolerance", gradient_tolerance, above=0.0)
    limit = check_int("max_iterations", max_iterations, least=1)
    seed = check_int("seed", seed, least=0, why="fits are written down by an integer seed")
    rng = np.random.default_rng(seed)
    objective = KLObjective(context / context.sum(axis=0), basis, visible)
    r = len(context) if basis is None else len(basis)
    starts = [_spectral_start(objective, k)] if spectral_start else []
    for _ in range(check_int("random_starts", random_starts, least=0)):
        starts.append(rng.standard_normal((2, k, r)) / np.sqrt(np.sqrt(k)))
    if not starts:
        raise InputError("no start is left; expected spectral_start=True or random_starts >= 1.")
    ends = [_descend(objective, start, tolerance, limit) for start in starts]
    best = min(ends, key=lambda end: end.kl)
    head = lift(best.factors)
    # of the head itself: on ill-conditioned tokens it is not quite what was fitted
    kl = best.kl if X is None else _kl_of(head, X, objective)
    return Fit(
        head=head,
        kl=kl,
        gradient_norm=best.gradient_norm,
        iterations=best.iterations,
        converged=best.gradient_norm <= tolerance,
        gradient_tolerance=tolerance,
        start_kls=tuple(end.kl for end in ends),
        seed=seed,
    )


def _kl_of(head: AttentionHead, X: npt.ArrayLike, objective: KLObjective) -> float:
    log_Q = log_column_softmax(head.logits(X), objective.mask)
    if objective.mask is not None:
        log_Q = np.where(objective.mask, log_Q, 0.0)
        Q = np.where(objective.mask, np.exp(log_Q), 0.0)
        return objective.divergence(log_Q, Q)
    return kl_divergence(objective.P, log_Q)


def _target(
    P: Any, logits: Any, mask: Any, stored: npt.DTypeLike | None, rows: bool
) -> tuple[Array, Mask | None]:
    if (P is None) == (logits is None):
        read_logs(P, logits)  # says what is missing, or too much
    if logits is not None and mask is not None:
        logs = read_masked(None, logits, mask, stored=stored, rows=rows)
        return _softmax(logs.values, logs.mask), logs.mask
    if logits is not None:
        return _softmax(read_logs(None, logits, stored=stored, rows=rows).centred()), None
    context, _ = check_context("P", P, stored=stored, rows=rows, zeros=True)
    if mask is None:
        return context, None
    visible = check_mask(np.swapaxes(mask, -1, -2) if rows else mask, context.shape)
    check_hidden(context, visible)
    return context, visible


def _row_space(X: Any, n: int) -> tuple[Array | None, Callable[[Array], AttentionHead]]:
    """An orthonormal basis (r, n) of the row space of X, and the map from factors to a head."""
    if X is None:
        return None, _head
    tokens = check_matrix("X", X, ndim=2)
    if tokens.shape[1] != n:
        raise InputError(
            f"X is {tokens.shape} but P is {(n, n)}: X must have one column a token, {n} of them."
        )
    U, values, Vt = np.linalg.svd(tokens, full_matrices=False)
    r = spectrum(X).rank
    if r == 0:
        raise InputError("X is zero; expected tokens that are not: every head is uniform on them.")
    with np.errstate(over="ignore"):  # reported just below
        inverse = U[:, :r] / values[:r]  # W X = factor·Vt is solved by W = factor·(U / s)^T
    if not np.isfinite(inverse).all():
        raise InputError("X is so small that weights on it overflow float64; scale it up.")

    return Vt[:r], lambda factors: _head(factors @ inverse.T)


def _head(factors: Array) -> AttentionHead:
    left, right = factors
    return head_from_factors(left, right, factors.shape[1], None)


def _start_logits(objective: KLObjective) -> Array:
    """``C log P`` with a floor, which is all a start needs; completed where a mask is nested."""
    log_P = np.log(np.maximum(objective.P, 1e-12))
    if objective.mask is None:
        return centre(log_P)
    logs = MaskedLogs(np.where(objective.mask, log_P, 0.0), np.zeros_like(log_P), objective.mask)
    completed = complete(logs)
    if completed is not None:
        return np.asarray(np.ldexp(completed.scaled, completed.exponent), np.float64)
    means = (log_P * objective.mask).sum(axis=0) / objective.mask.sum(axis=0)
    return np.where(objective.mask, log_P - means, 0.0)


def _spectral_start(objective: KLObjective, k: int) -> Array:
    D = _start_logits(objective)
    if objective.basis is not None:
        D = objective.basis @ D @ objective.basis.T
    U, values, Vt = np.linalg.svd(D)
    root = np.sqrt(values[:k, None])
    start = np.zeros((2, k, len(D)))
    start[:, : len(root)] = root * U.T[:k], root * Vt[:k]
    return start


@dataclass(frozen=True, eq=False)
class _End:
    factors: Array
    kl: float
    gradient_norm: float
    iterations: int


def _descend(objective: KLObjective, start: Array, tolerance: float, limit: int) -> _End:
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    k, x, iterations = start.shape[1], start.ravel(), 0
    # max |g_i| <= tolerance / sqrt(size) implies ‖g‖_2 <= tolerance
    options = {"gtol": tolerance / np.sqrt(x.size), "ftol": 0.0, "maxcor": 20, "maxls": 50}
    with threadpool_limits(1, "blas"):  # the matrices are small; threads only wait for each other
        while True:
            left = limit - iterations
            result = minimize(
                objective,
                x,
                args=(k,),
                jac=True,
                method="L-BFGS-B",
                options=options | {"maxiter": left, "maxfun": 2 * left + 20},
            )
            moved, x = not np.array_equal(result.x, x), result.x
            iterations += int(result.nit)
            norm = float(np.linalg.norm(result.jac))
            # a line search that fails on rounding starts afresh, from steepest descent
            if norm <= tolerance or not moved or iterations >= limit:
                return _End(x.reshape(start.shape), float(result.fun), norm, iterations)
