"""Certified ranks of floats, beside a rank by singular values, which certifies nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

import rankbound as rb
from benchmarks.races import Entries, Race, Wanted

N = 1024


def ill_conditioned(n: int, condition: float) -> Any:
    """A matrix whose singular values fall from 1 evenly, in logarithms, to 1/condition."""
    draw = np.random.default_rng(0)
    left, right = (np.linalg.qr(draw.standard_normal((n, n)))[0] for _ in range(2))
    return left * np.geomspace(1, 1 / condition, n) @ right


def full(n: int) -> Any:
    """Whether what is certified is full rank."""

    def verdict(found: Any) -> tuple[bool, dict[str, Any]]:
        bounds = found["rankbound"]
        return bool(np.all(bounds.lower == n)), {"by": bounds.method}

    return verdict


def context() -> Entries:
    """One context matrix; the Gram matrix, and its Cholesky decomposition, show full rank."""
    P = rb.random_context(N, 0)
    return Entries(
        lambda: rb.certified_rank(P),
        lambda: np.linalg.matrix_rank(P),
        lambda: scipy.linalg.lapack.dpotrf(scipy.linalg.blas.dsyrk(1.0, P)),
        verdict=full(N),
    )


def batch() -> Entries:
    """A thousand small ones."""
    P = np.stack([rb.random_context(64, seed) for seed in range(1000)])
    return Entries(
        lambda: rb.certified_rank(P),
        lambda: np.linalg.matrix_rank(P),
        lambda: np.linalg.cholesky(np.swapaxes(P, 1, 2) @ P),
        verdict=full(64),
    )


def inverse() -> Entries:
    """A condition whose square is beyond a Gram matrix in float64."""
    A = ill_conditioned(N, 1e8)
    return Entries(
        lambda: rb.certified_rank(A),
        lambda: np.linalg.matrix_rank(A),
        lambda: np.linalg.inv(A) @ A,
        verdict=full(N),
    )


RACES = (
    Race(
        "certified-context",
        "certified full rank of a context, n = 1024",
        "`numpy.linalg.matrix_rank`",
        "Gram matrix and Cholesky",
        Wanted(3),
        context,
        rounds=9,
    ),
    Race(
        "certified-batch",
        "certified ranks of 1000 × (64, 64)",
        "`numpy.linalg.matrix_rank` of the batch",
        "Gram matrices and Cholesky",
        Wanted(2),
        batch,
        rounds=9,
    ),
    Race(
        "certified-condition",
        "certified full rank, n = 1024, condition 10⁸",
        "`numpy.linalg.matrix_rank`",
        "an inverse and a product",
        Wanted(2),
        inverse,
        rounds=9,
    ),
)
