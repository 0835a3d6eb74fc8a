"""How far one context is from another, as functions of the logits, column by column.

Each loss is the mean over columns of a function of q = softmax(l), whose derivative is
``F = diag(q) - q q^T``. Each gives its value, its slope in the logits, the exact derivative of
that slope along a change of logits, and the weights c of its Gauss–Newton part
``F diag(c² / q²) F``, which is positive semidefinite.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array

__all__ = ["KL", "LOSSES", "Loss", "ReverseKL", "TotalVariation", "kl_divergence", "measure"]

LOSSES = ("kl", "reverse_kl", "total_variation")

FISHER = 0.1  # share of the Fisher metric in the weights of a loss that may be flat


class Loss(Protocol):
    """A mean over columns of a distance of Q from P; `log_Q` is 0 where a mask hides."""

    def value(self, log_Q: Array, Q: Array) -> float:
        """The loss."""

    def slope(self, log_Q: Array, Q: Array) -> Array:
        """Its derivative in the logits, shape (n, n)."""

    def bend(self, log_Q: Array, Q: Array, T: Array) -> Array:
        """The derivative of the slope along a change of logits that changes Q by T."""

    def weights(self, Q: Array) -> Array:
        """The squares c² of the Gauss–Newton part, shape (n, n)."""


def kl_divergence(P: Array, log_Q: Array) -> float:
    """``(1/n) Σ_j KL(P_j ‖ Q_j)`` in nats, free of the cancellation near 0.

    ``KL = Σ p φ(log p - log q)`` with ``φ(t) = t - 1 + e^{-t} >= 0``, since both columns sum to 1;
    where p = 0 the term is q. Rounding then costs ``u t p`` a term instead of ``u |log p| p``.

    Parameters
    ----------
    P, log_Q : ndarray, shape (n, n)
        A context matrix, zeros allowed, and the log of another.

    Returns
    -------
    float
    """
    return KL(P).value(log_Q, np.exp(log_Q))


def measure(loss: str, P: Array, log_Q: Array, Q: Array) -> float:
    """The loss of this name; the total variation itself, ``(1/n) Σ_j ½ Σ_i |p_ij - q_ij|``."""
    if loss == "total_variation":
        return float(np.abs(P - Q).sum() / (2 * P.shape[1]))
    return (KL(P) if loss == "kl" else ReverseKL(P)).value(log_Q, Q)


def _divergence(P: Array, t: Array, Q: Array) -> Array:
    """``p φ(t)`` with ``t = log p - log q``, without cancellation."""
    near = np.clip(t, -1.0, 1.0)
    return np.where(near == t, P * (np.expm1(-near) + near), P * (t - 1.0) + Q)


@dataclass(frozen=True, eq=False)
class KL:
    """``KL(P ‖ Q)``: slope q - p, of derivative F, which is its own Gauss–Newton part.

    Attributes
    ----------
    P : ndarray, shape (n, n)
        Columns sum to 1; zeros allowed.
    """

    P: Array
    _positive: npt.NDArray[np.bool_] = field(init=False, repr=False)
    _log_P: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        positive = self.P > 0
        object.__setattr__(self, "_positive", positive)
        object.__setattr__(self, "_log_P", np.log(np.where(positive, self.P, 1.0)))

    def value(self, log_Q: Array, Q: Array) -> float:
        """The mean KL divergence of Q from P, as :func:`kl_divergence`."""
        terms = _divergence(self.P, self._log_P - log_Q, Q)
        return float(np.sum(np.where(self._positive, terms, Q)) / self.P.shape[1])

    def slope(self, log_Q: Array, Q: Array) -> Array:
        """``(q - p)/n``."""
        slope: Array = (Q - self.P) / self.P.shape[1]
        return slope

    def bend(self, log_Q: Array, Q: Array, T: Array) -> Array:
        """``dq/n``."""
        bend: Array = T / self.P.shape[1]
        return bend

    def weights(self, Q: Array) -> Array:
        """``c² = q``: F diag(1/q) F = F."""
        return Q


@dataclass(frozen=True, eq=False)
class ReverseKL:
    """``KL(Q ‖ P)``, with ``u = log q - log p``: slope q (u - q·u).

    Attributes
    ----------
    P : ndarray, shape (n, n)
        Columns sum to 1; positive where visible.
    """

    P: Array
    _log_P: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_log_P", np.log(np.where(self.P > 0, self.P, 1.0)))

    def value(self, log_Q: Array, Q: Array) -> float:
        """The mean KL divergence of P from Q."""
        # where Q underflows its term q (t - 1) + p is p, as it is in truth
        return float(np.sum(_divergence(Q, log_Q - self._log_P, self.P)) / self.P.shape[1])

    def slope(self, log_Q: Array, Q: Array) -> Array:
        """``q (u - q·u)/n``."""
        u = log_Q - self._log_P
        slope: Array = Q * (u - np.sum(Q * u, axis=0)) / self.P.shape[1]
        return slope

    def bend(self, log_Q: Array, Q: Array, T: Array) -> Array:
        """``(dq (u - q·u + 1) - q (dq·u))/n``, since q du = dq."""
        u = log_Q - self._log_P
        bend: Array = T * (u - np.sum(Q * u, axis=0) + 1.0) - Q * np.sum(T * u, axis=0)
        bend /= self.P.shape[1]
        return bend

    def weights(self, Q: Array) -> Array:
        """``c² = q``, exact where Q = P."""
        return Q


@dataclass(frozen=True, eq=False)
class TotalVariation:
    """``½ Σ (sqrt(x² + μ²) - μ)``, x = q - p: below the total variation by at most n μ / 2.

    Attributes
    ----------
    P : ndarray, shape (n, n)
        Columns sum to 1; zeros allowed.
    smoothing : float
        μ > 0.
    """

    P: Array
    smoothing: float

    def value(self, log_Q: Array, Q: Array) -> float:
        """The smoothed loss; :func:`measure` gives the total variation itself."""
        x = Q - self.P
        near = np.hypot(x, self.smoothing) + self.smoothing
        return float(np.sum(x * x / near) / (2 * self.P.shape[1]))

    def slope(self, log_Q: Array, Q: Array) -> Array:
        """``q (s - q·s)/n`` with ``s = x / (2 sqrt(x² + μ²))``."""
        s = self._signs(Q)
        slope: Array = Q * (s - np.sum(Q * s, axis=0)) / self.P.shape[1]
        return slope

    def bend(self, log_Q: Array, Q: Array, T: Array) -> Array:
        """``(dq (s - q·s) + q (ds - dq·s - q·ds))/n``."""
        s = self._signs(Q)
        ds = self._curvature(Q) * T
        fall = np.sum(T * s, axis=0) + np.sum(Q * ds, axis=0)
        bend: Array = T * (s - np.sum(Q * s, axis=0)) + Q * (ds - fall)
        bend /= self.P.shape[1]
        return bend

    def weights(self, Q: Array) -> Array:
        """``c² = q² ds/dq``, and a share of the Fisher metric where that is flat."""
        return Q * Q * self._curvature(Q) + FISHER * Q

    def _signs(self, Q: Array) -> Array:
        x = Q - self.P
        signs: Array = x / (2 * np.hypot(x, self.smoothing))
        return signs

    def _curvature(self, Q: Array) -> Array:
        return self.smoothing**2 / (2 * np.hypot(Q - self.P, self.smoothing) ** 3)
