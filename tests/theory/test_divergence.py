"""Certificates of bounds: accepted of the bound that the function returns, and of hardly more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.linalg import hadamard

import rankbound as rb
from rankbound.theory.divergence import (
    exact_dyadic,
    kl_certificate,
    pattern_certificate,
    scale_certificate,
    sign_rank_certificate,
)
from rankbound.theory.selection import least_scale_bound
from rankbound.theory.sign_rank import sign_pattern_kl_bound
from tests.helpers import Array, refused

RANDOM = np.where(np.random.default_rng(0).random((16, 16)) < 0.5, 1, -1)


def gibbs(n: int, scale: float = 0.3) -> Array:
    return rb.random_context(n, seed=1, law="gibbs", scale=scale)


# what makes a certificate of a bound given, or of its own; the bound that it is of; by which factor
# a larger one is refused, 1 + 1e-6 where the certificate knows no more than the bound
BOUNDS: dict[str, tuple[Callable[..., Any], float, float]] = {
    "soft": (partial(kl_certificate, gibbs(8), 3), 0.0, 1.01),
    "one column of weights": (partial(kl_certificate, gibbs(6, 2.0), 1), 0.0, 1.01),
    "of rows": (partial(kl_certificate, gibbs(8).T, 3, rows=True), 0.0, 1.01),
    **{
        f"pattern of {n}, {epsilon}, {k}": (
            partial(pattern_certificate, hadamard(n), epsilon, k),
            sign_pattern_kl_bound(hadamard(n), epsilon, k),
            1.01,
        )
        for n, epsilon, k in ((16, 0.5, 1), (16, 4.0, 2), (64, 6.0, 3))
    },
    "scale": (partial(scale_certificate, 300, 3, 1e-6), least_scale_bound(300, 3, 1e-6), 1.01),
    "scale on a line": (partial(scale_certificate, 12, 2, 0.01), least_scale_bound(12, 2, 0.01), 2),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_the_certificate_is_of_the_bound_and_of_hardly_more(name: str) -> None:
    prove, bound, factor = BOUNDS[name]
    proof = prove()
    stated = proof.statement.bound
    assert stated > 0
    assert not bound or stated == bound
    assert rb.check(proof).accepted
    assert prove(bound=stated).to_json() == proof.to_json()
    assert rb.check(prove(bound=stated / 2)).accepted
    assert not rb.check(prove(bound=stated * factor)).accepted
    assert not rb.check(replace(proof, statement=replace(proof.statement, bound=1e9))).accepted


@pytest.mark.parametrize("H", [hadamard(16), hadamard(64), RANDOM, RANDOM[:12], RANDOM[:, :9]])
def test_the_certificate_of_a_sign_rank(H: Any) -> None:
    proof: Any = sign_rank_certificate(H)
    least = rb.sign_rank_bound(H)
    assert proof.statement.lower == least >= 2
    assert rb.check(proof).accepted
    assert sign_rank_certificate(H, least).to_json() == proof.to_json()
    assert rb.check(sign_rank_certificate(H, least - 1)).accepted
    assert not rb.check(sign_rank_certificate(H, least + 1)).accepted


def test_a_head_of_size_n_less_1_has_a_bound_of_0() -> None:
    proof: Any = kl_certificate(gibbs(5), 4)
    assert proof.statement.bound == 0
    assert rb.check(kl_certificate(gibbs(5), 4, 0.0)).accepted is rb.check(proof).accepted
    assert not rb.check(kl_certificate(gibbs(5), 4, 1e-9)).accepted


def test_a_context_under_a_mask_is_refused() -> None:
    P = rb.column_softmax(np.zeros((3, 3)), mask="causal")
    with refused(rb.InputError, "P has hidden entries", "without a mask"):
        kl_certificate(rb.Context(P, mask="causal"), 1)


def test_floats_become_dyadic_numbers_exactly() -> None:
    A = np.array([[1.5, -0.1, 0.0], [2.0**-60, math.pi, -3e20]])
    dyadic = exact_dyadic(A)
    assert (dyadic.rows, dyadic.columns) == A.shape
    assert [math.ldexp(x, dyadic.exponent) for x in dyadic.entries] == A.ravel().tolist()
    assert exact_dyadic(np.zeros((1, 2))).entries == (0, 0)
