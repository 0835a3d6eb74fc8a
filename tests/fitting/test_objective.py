"""The objective against arithmetic of 50 digits, and against SciPy's relative entropy."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr

import rankbound as rb
from rankbound.attention.softmax import log_column_softmax
from rankbound.fitting.objective import Objective, kl_divergence
from rankbound.testing import contexts, logits
from tests.helpers import EPS, Array

SIZES = st.tuples(st.integers(1, 3), st.integers(1, 2))  # n and k


def kl_of_factors(P: Array, A: Any, B: Any) -> Any:
    """``(1/n) Σ p (log p - log q)``, q the softmax of ``A^T B``, in mpmath."""
    n, k = P.shape[1], len(A)
    total = mpmath.mpf(0)
    for j in range(n):
        L = [sum(A[a][i] * B[a][j] for a in range(k)) for i in range(n)]
        log_sum = mpmath.log(sum(mpmath.exp(x) for x in L))
        for i in range(n):
            p = mpmath.mpf(float(P[i, j]))
            total += p * (mpmath.log(p) - L[i] + log_sum) if p else 0
    return total / n


@given(SIZES, st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_gradient(sizes: tuple[int, int], seed: int, zeros: bool, low: bool) -> None:
    """Central differences of step 1e-12 in 50 digits are off by 1e-24, so only rounding counts.

    A gradient is a product of length n of differences of probabilities: (n + k) eps times norms.
    `low` puts the factors into a row space of its own, of rank r < n where there is one.
    """
    (n, k), rng = sizes, np.random.default_rng(seed)
    P = rng.dirichlet(np.ones(n), size=n).T
    if zeros:
        P[0] = 0.0 if n > 1 else 1.0
    P /= P.sum(axis=0)
    basis = np.linalg.qr(rng.standard_normal((n, max(n - 1, 1))))[0].T if low else None
    r = n if basis is None else len(basis)
    flat = rng.standard_normal(2 * k * r)
    value, gradient = Objective(P, basis)(flat, k)

    def at(x: list[Any]) -> Any:
        halves = [[x[h * k * r + a * r : h * k * r + a * r + r] for a in range(k)] for h in (0, 1)]
        lifted = [
            [[sum(row[m] * R[m][i] for m in range(r)) for i in range(n)] for row in half]
            for R in [np.eye(n) if basis is None else basis]
            for half in halves
        ]
        return kl_of_factors(P, *lifted)

    scale = 1 + float(np.sum(flat * flat))
    with mpmath.workdps(50):
        point, step = [mpmath.mpf(float(x)) for x in flat], mpmath.mpf(10) ** -12
        # the columns of P sum to 1 within n eps, which the two forms of KL weigh differently
        assert abs(value - float(at(point))) <= 8 * (n + k) * EPS * scale
        for i in range(len(flat)):
            up, down = ([*point[:i], point[i] + s * step, *point[i + 1 :]] for s in (1, -1))
            slope = float((at(up) - at(down)) / (2 * step))
            assert abs(gradient[i] - slope) <= 8 * (n + k) * EPS * scale


@given(st.integers(1, 6).flatmap(lambda n: st.tuples(contexts(n), logits(n, kinds="gaussian"))))
def test_divergence_is_scipys(pair: tuple[Array, Array]) -> None:
    """A term of rel_entr is off by eps p |log p - log q|; columns sum to 1 within n eps."""
    P, log_Q = pair[0], log_column_softmax(pair[1])
    n, spread = len(P), float(np.max(np.abs(np.log(P) - log_Q)))
    expected = np.sum(rel_entr(P, np.exp(log_Q))) / n
    assert abs(kl_divergence(P, log_Q) - expected) <= 4 * (n + 2) * EPS * (1 + spread)


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_zeros_in_P_cost_what_rel_entr_says(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    P = np.where(rng.random((n, n)) < 0.5, rng.random((n, n)), 0.0)
    P[0] += P.sum(axis=0) == 0
    P /= P.sum(axis=0)
    log_Q = log_column_softmax(rng.standard_normal((n, n)))
    logs = np.log(np.where(P > 0, P, 1.0))
    spread = float(np.max(np.abs(logs - log_Q)))
    expected = np.sum(rel_entr(P, np.exp(log_Q))) / n
    assert abs(kl_divergence(P, log_Q) - expected) <= 4 * (n + 2) * EPS * (1 + spread)


@given(contexts())
def test_no_divergence_from_itself(P: Array) -> None:
    """φ(t) of a t within a few eps of 0 is at most its square, and never below 0."""
    log_Q = np.log(P)
    assert 0 <= kl_divergence(P, log_Q) <= (4 * EPS * (1 + np.max(np.abs(log_Q)))) ** 2


@given(st.integers(2, 5), st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_small_divergences_keep_their_digits(n: int, seed: int, digits: int) -> None:
    """Relative error about eps/t in KL = Σ p t²/2, where the plain sum would lose eps/t².

    t = log p - log q carries the rounding of two logarithms, at most 4 eps (1 + |log p|), as
    against |t| near 10^-digits; the reference takes the same log q.
    """
    rng = np.random.default_rng(seed)
    P = rb.column_softmax(rng.uniform(-1, 1, (n, n)))
    size = 10.0**-digits
    log_Q = log_column_softmax(np.log(P) + size * rng.choice([-1.0, 1.0], size=(n, n)))
    with mpmath.workdps(50):
        exact = mpmath.mpf(0)
        for p, log_q in zip(P.ravel(), log_Q.ravel(), strict=True):
            t = mpmath.log(mpmath.mpf(float(p))) - mpmath.mpf(float(log_q))
            exact += mpmath.mpf(float(p)) * (t - 1 + mpmath.exp(-t))
        exact = float(exact / n)
    # every |t| is at most 2 size; the mean square is what is compared
    slack = 2 * (2 * size) * 16 * EPS + (16 * EPS) ** 2
    assert abs(kl_divergence(P, log_Q) - exact) <= slack


def test_known_value() -> None:
    P = np.array([[0.5, 0.75], [0.5, 0.25]])
    log_Q = np.log(np.array([[0.5, 0.5], [0.5, 0.5]]))
    expected = (0.75 * np.log(1.5) + 0.25 * np.log(0.5)) / 2
    assert kl_divergence(P, log_Q) == pytest.approx(expected, rel=16 * EPS, abs=0)
