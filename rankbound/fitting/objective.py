"""The mean KL divergence of a head's context from P, and its analytic gradient."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.attention.softmax import log_column_softmax

__all__ = ["KLObjective", "kl_divergence"]


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
    positive = P > 0
    return _kl(P, np.log(np.where(positive, P, 1.0)), positive, log_Q, np.exp(log_Q))


def _kl(P: Array, log_P: Array, positive: npt.NDArray[np.bool_], log_Q: Array, Q: Array) -> float:
    t = log_P - log_Q
    near = np.clip(t, -1.0, 1.0)
    terms = np.where(near == t, P * (np.expm1(-near) + near), P * (t - 1.0) + Q)
    return float(np.sum(np.where(positive, terms, Q)) / P.shape[1])


@dataclass(frozen=True, eq=False)
class KLObjective:
    """``f(A, B) = KL(P ‖ softmax(L))`` with ``L = (A R)^T (B R)``, A, B of shape (k, r).

    Attributes
    ----------
    P : ndarray, shape (n, n)
        The target; columns sum to 1, zeros allowed.
    basis : ndarray, shape (r, n), or None
        R: orthonormal rows that span the row space of the tokens; None means the identity.
    mask : ndarray of bool, shape (n, n), or None
        [key, query], True = visible; P is 0 where it hides.
    """

    P: Array
    basis: Array | None = None
    mask: npt.NDArray[np.bool_] | None = None
    _positive: npt.NDArray[np.bool_] = field(init=False, repr=False)
    _log_P: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        positive = self.P > 0
        object.__setattr__(self, "_positive", positive)
        object.__setattr__(self, "_log_P", np.log(np.where(positive, self.P, 1.0)))

    def __call__(self, flat: Array, head_size: int) -> tuple[float, Array]:
        """Value and gradient at the flattened factors.

        With ``G = df/dL = (Q - P)/n`` the gradients are ``B G^T`` and ``A G`` (times ``R^T``).
        """
        factors = flat.reshape(2, head_size, -1)
        A, B = factors if self.basis is None else factors @ self.basis
        log_Q = log_column_softmax(A.T @ B, self.mask)
        Q = np.exp(log_Q)
        if self.mask is not None:  # where P and Q are both 0, no log enters
            log_Q = np.where(self.mask, log_Q, 0.0)
        slope = (Q - self.P) / self.P.shape[1]
        gradient = np.stack([B @ slope.T, A @ slope])
        if self.basis is not None:
            gradient = gradient @ self.basis.T
        return self.divergence(log_Q, Q), gradient.ravel()

    def divergence(self, log_Q: Array, Q: Array) -> float:
        """The mean KL divergence of Q from P; `log_Q` is 0 where the mask hides."""
        return _kl(self.P, self._log_P, self._positive, log_Q, Q)
