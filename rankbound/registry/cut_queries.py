"""Queries cut to fewer coordinates: the KL divergence to second order (theory, section 5)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.attention.softmax import log_column_softmax
from rankbound.registry.claim import Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.theory.bases import covariance, project
from rankbound.verdict import Verdict

SECTION_5 = Source("rankbound", "section 5", "derived here")
SPREADS = (0.05, 0.5, 3.0)  # of the logits that are lost: bounds are 1.04, 1.4 and 40 apart


def mean_kl(keys: Array, queries: Array, errors: Array) -> float:
    """The KL divergence of attention from that of queries less errors, a mean over queries."""
    log_P = log_column_softmax(keys.T @ queries)
    log_Q = log_column_softmax(keys.T @ (queries - errors))
    return float(np.mean(np.sum(np.exp(log_P) * (log_P - log_Q), axis=0)))


def quadratic(keys: Array, queries: Array, errors: Array) -> Array:
    """Of each query ``e^T S e``, S the covariance of the keys under its attention."""
    P = np.exp(log_column_softmax(keys.T @ queries))
    each = zip(P.T, errors.T, strict=True)
    return np.array([e @ covariance(keys, p[:, None]) @ e for p, e in each])


def _uncentred(keys: Array, queries: Array, errors: Array) -> Array:
    P = np.exp(log_column_softmax(keys.T @ queries))
    return np.asarray(np.sum(P * (keys.T @ errors) ** 2, axis=0))


def factor(r: float) -> float:
    """``g(r) = (e^r - 1 - r)/r²``, by its series near 0."""
    if abs(r) < 1e-2:
        return sum(r**j / math.factorial(j + 2) for j in range(6))
    return (math.expm1(r) - r) / (r * r)


def check_second_order(
    trial: Trial,
    *,
    metric: Callable[..., Array] = quadratic,
    kl: Callable[..., float] = mean_kl,
    g: Callable[[float], float] = factor,
) -> Instances:
    """Keys with a mean, queries with errors: KL between both bounds."""
    for n, k in trial.some(1, ((8, 3), (32, 8))):
        for spread in SPREADS:
            keys = trial.rng.standard_normal((k, n)) + 1
            queries, errors = trial.rng.standard_normal((2, k, n)) / math.sqrt(k)
            errors *= spread / np.ptp(keys.T @ errors, axis=0)
            found, values = kl(keys, queries, errors), metric(keys, queries, errors)
            lost = np.ptp(keys.T @ errors, axis=0)
            low, high = (
                float(np.mean([g(sign * r) * v for r, v in zip(lost, values, strict=True)]))
                for sign in (-1, 1)
            )
            # logits of size below 20 are off by 1e-14, and so are the logarithms whose mean this is
            rounding = 1e-12
            label = f"n = {n}, spread {spread}"
            yield Instance(f"{label}, below", low, found, Verdict.SUPPORTED, rounding)
            yield Instance(f"{label}, above", found, high, Verdict.SUPPORTED, rounding)


def _reached(S: Array, C: Array, size: int) -> float:
    E = np.eye(len(S)) - project(S[None], C[None], size).cut[0].T
    return float(np.trace(S @ E @ C @ E.T))


def _other(S: Array, C: Array, size: int) -> float:
    """What is reached by the principal axes of the queries, the keys not looked at."""
    E = np.eye(len(S)) - project(C[None], None, size).cut[0].T
    return float(np.trace(S @ E @ C @ E.T))


def tail(S: Array, C: Array, size: int) -> float:
    """The sum of the eigenvalues of S C beyond the first ones, by another way than the basis."""
    left, right = np.linalg.cholesky(S), np.linalg.cholesky(C)
    return float(np.sum(np.linalg.svd(left.T @ right, compute_uv=False)[size:] ** 2))


def check_least(
    trial: Trial,
    *,
    reached: Callable[..., float] = _reached,
    least: Callable[..., float] = tail,
) -> Instances:
    """Random S and C: the basis reaches the sum of the discarded eigenvalues."""
    for d, size in trial.some(2, ((4, 1), (6, 3), (8, 7))):
        S, C = (M @ M.T for M in trial.rng.standard_normal((2, d, 2 * d)))
        found, wanted = reached(S, C, size), least(S, C, size)
        # sums of d² products of entries below those of S and C, and the floor of eigenvalues
        rounding = 1e-9 * float(np.linalg.norm(S) * np.linalg.norm(C))
        yield Instance(f"d = {d}, size {size}", found, wanted, Verdict.SUPPORTED, rounding)


def _times(share: float, keys: Array, queries: Array, errors: Array) -> float:
    return mean_kl(keys, queries, share * errors)


CLAIMS: tuple[Any, ...] = (
    make_claim(
        "cut-query-kl",
        "A query that loses e costs g(-r) e^T S e to g(r) e^T S e in KL divergence, S the "
        "covariance of the keys under its attention, r the range of the logits lost.",
        check_second_order,
        Mutant("the second moment of the keys for S", {"metric": _uncentred}),
        Mutant("half of the error measured", {"kl": partial(_times, 0.5)}),
        Mutant("bounds times 1.5", {"g": lambda r: 1.5 * factor(r)}, "factor"),
        Mutant("bounds over 1.5", {"g": lambda r: factor(r) / 1.5}, "factor"),
        source=SECTION_5,
        hypotheses=("finite keys and queries; g(r) = (e^r - 1 - r)/r²",),
        relation="<=",
        status=Verdict.SUPPORTED,
    ),
    make_claim(
        "cut-query-basis",
        "Of all projections of rank k the basis of S and C loses least of E[e^T S e]: the sum of "
        "the discarded eigenvalues of C^½ S C^½.",
        check_least,
        Mutant("the axes of the queries alone", {"reached": _other}),
        Mutant("one eigenvalue more", {"least": lambda S, C, k: tail(S, C, k - 1)}),
        Mutant("1.5 times the sum", {"least": lambda S, C, k: 1.5 * tail(S, C, k)}, "factor"),
        source=SECTION_5,
        hypotheses=("S and C positive definite",),
        status=Verdict.SUPPORTED,
    ),
)
