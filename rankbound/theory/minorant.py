"""Rank-one minorants of weights, and the part of a weighted matrix that no rank-k matrix explains.

Everything that :func:`explained` returns is rigorous: each rounding is bounded, and NumPy's
logarithm and expm1 are taken to be within 4 units in the last place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankbound._validate import Array
from rankbound.exact.rounding import U, product_error, up

__all__ = ["Explained", "explained", "phi_low", "phi_threshold", "rank_one_minorant"]

ULPS = 8 * U  # 4 units in the last place, relative
SERIES = 1e-3  # below, φ is bounded by its series
SWEEPS = 12  # of Sinkhorn's iteration at each of the temperatures
TEMPERATURES = (0.3, 0.1, 0.03, 0.01)  # as shares of the spread of the logarithms


def phi_low(t: Array) -> Array:
    """A lower bound of ``φ(t) = t - 1 + e^{-t}``, t >= 0.

    Below 1/1000 the alternating series, ``t²/2 - t³/6``; elsewhere each rounding is at most that of
    t, and ``φ(t) >= t²/3`` up to 1 keeps them small beside it.
    """
    small = np.minimum(t, SERIES)
    series = small * small * (0.5 - small / 6) * (1 - 8 * U)
    direct = np.maximum((t + np.expm1(-t)) - (2 * ULPS + 4 * U) * t, 0.0)
    return np.where(t < SERIES, series, direct)


def phi_threshold(y: Array) -> tuple[Array, Array]:
    """T with ``φ(T) >= y`` and a lower bound of ``φ(T)/T²``, which is at most 1/2 and decreases."""
    T = np.sqrt(2 * y) + y  # above the root, as φ(t) >= t²/2 - t³/6 and φ(t) >= t - 1
    for _ in range(8):  # Newton from above on a convex function stays above, up to rounding
        with np.errstate(divide="ignore", invalid="ignore"):
            step = (T + np.expm1(-T) - y) / -np.expm1(-T)
        T = np.where((T >= SERIES) & np.isfinite(step), np.maximum(T - step, np.sqrt(2 * y)), T)
    T = T * (1 + 1e-9)
    for _ in range(60):
        short = phi_low(T) < y
        if not short.any():
            break
        T = np.where(short, T * (1 + 1e-6) + 1e-300, T)
    else:
        T = np.where(short, np.inf, T)  # no threshold was found: no weight
    with np.errstate(invalid="ignore"):
        ratio = np.where(
            T < SERIES, (0.5 - T / 6) * (1 - 8 * U), phi_low(T) / (T * T) * (1 - 4 * U)
        )
    return T, np.where(np.isfinite(T) & (T > 0), ratio, 0.0)


def rank_one_minorant(W: Array, mass: Array, start: Array | None = None) -> tuple[Array, Array]:
    """a, b > 0 with ``(a_i b_j)² <= W_ij``, as large as possible on average over `mass`.

    In logarithms that is a linear program, dual to optimal transport with cost log W: Sinkhorn's
    iteration comes near, and two exact steps make it feasible and tight.

    Parameters
    ----------
    W : ndarray, shape (m, n)
        Positive weights.
    mass : ndarray, shape (m, n)
        Where it matters, non-negative.
    start : ndarray, shape (n,), optional
        Logarithms of b² to start from.
    """
    w = np.log(W)
    total = mass.sum()
    rows, columns = (np.log(np.maximum(mass.sum(axis=x) / total, 1e-12)) for x in (1, 0))
    g = w.min(axis=0) if start is None else start
    spread = float(w.max() - w.min())
    for temperature in (t * spread for t in TEMPERATURES if spread > 1e-9):
        for _ in range(SWEEPS):
            f = -temperature * _log_sum_exp((g - w) / temperature + columns, 1)
            g = -temperature * _log_sum_exp((f[:, None] - w) / temperature + rows[:, None], 0)
    f = (w - g).min(axis=1)
    g = (w - f[:, None]).min(axis=0)
    a, b = np.exp(f / 2), np.exp(g / 2)
    excess = float(np.max(np.square(np.multiply.outer(a, b)) / W))
    return a * (1 - 16 * U) / np.sqrt(max(excess, 1.0)), b


def _log_sum_exp(x: Array, axis: int) -> Array:
    top = x.max(axis=axis)
    total = np.exp(x - np.expand_dims(top, axis)).sum(axis=axis)
    return np.asarray(top + np.log(total), np.float64)


@dataclass(frozen=True, eq=False)
class Explained:
    """What no matrix of rank k and no gauge explains of ``diag(a) ℓ diag(b)``.

    Attributes
    ----------
    tail : float
        A lower bound of ``min ‖diag(a) (ℓ + 1 c^T) diag(b) - M‖_F²`` over c and rank M <= k.
    columns : ndarray, shape (n,)
        Upper bounds of the squared norms of the columns, the gauge chosen best for each.
    mass : ndarray, shape (m, n)
        Squares of the entries of the unexplained part (an estimate).
    """

    tail: float
    columns: Array
    mass: Array


def explained(ell: Array, a: Array, b: Array, k: int) -> Explained:
    """Bound the unexplained part; `ell` are logarithms of floats within 4 units in the last place.

    The gauge is projected out: ``M = diag(a) (ℓ - 1 m^T) diag(b)``, m the means of ℓ with weights
    a². The distance from the matrices of rank k moves by no more than the Frobenius norm of an
    error; the singular values of ``U S V^T`` are at least ``σ_min(U) σ_min(V)`` times those of S.
    """
    rows = len(a)
    share = a * a / np.sum(a * a)
    mean = share @ ell
    M = a[:, None] * (ell - mean) * b
    size = up(share @ np.abs(ell), rows + 8)
    slack = up(
        a[:, None] * ((ULPS + 8 * U) * np.abs(ell) + (ULPS + (3 * rows + 24) * U) * size) * b, 8
    )
    error = float(up(float(np.linalg.norm(slack)), slack.size))
    left, s, right = np.linalg.svd(M, full_matrices=False)
    rebuilt = (left * s) @ right
    miss = (
        np.abs(M - rebuilt)
        + product_error(left * s, right)
        + 4 * U * np.abs(left) @ (s[:, None] * np.abs(right))
    )
    residual = float(up(float(np.linalg.norm(up(miss, 8))), miss.size))
    shrink = (1 - _defect(left.T)) * (1 - _defect(right)) * (1 - 8 * U)
    unexplained = float(np.sqrt(np.sum(s[k:] ** 2))) * (1 - (len(s) + 4) * U)
    tail = max(unexplained * shrink - residual - error, 0.0) * (1 - 8 * U)
    lengths = up(np.linalg.norm(M, axis=0), rows + 4) + up(np.linalg.norm(slack, axis=0), rows + 4)
    rest = (left[:, k:] * s[k:]) @ right[k:]
    return Explained(tail * tail * (1 - 4 * U), up(lengths * lengths, 4), rest * rest)


def _defect(basis: Array) -> float:
    """An upper bound of ``‖B B^T - I‖_F`` for rows that should be orthonormal, at most 1."""
    gram = basis @ basis.T
    off = np.abs(gram - np.eye(len(gram))) + product_error(basis, basis.T)
    return min(float(up(float(np.linalg.norm(up(off, 4))), off.size)), 1.0)
