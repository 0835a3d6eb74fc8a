"""A loss of a head's context, its gradient and its Hessian, in the factors of the logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.attention.softmax import log_column_softmax
from rankbound.fitting.losses import KL, Loss, kl_divergence

__all__ = ["Objective", "Point", "kl_divergence"]

CHUNK = 2**17  # entries of a temporary array: what a cache holds


@dataclass(frozen=True, eq=False)
class Objective:
    """``f(A, B) = loss(softmax(L))`` with ``L = (A R)^T (B R)``, A, B of shape (k, r).

    Attributes
    ----------
    P : ndarray, shape (n, n)
        The target; columns sum to 1, zeros allowed.
    basis : ndarray, shape (r, n), or None
        R: orthonormal rows that span the row space of the tokens; None means the identity.
    mask : ndarray of bool, shape (n, n), or None
        [key, query], True = visible; P is 0 where it hides.
    loss : Loss
        The mean KL divergence from P unless given.
    """

    P: Array
    basis: Array | None = None
    mask: npt.NDArray[np.bool_] | None = None
    loss: Loss = None  # type: ignore[assignment]  # filled in just below

    def __post_init__(self) -> None:
        if self.loss is None:
            object.__setattr__(self, "loss", KL(self.P))

    def __call__(self, flat: Array, head_size: int) -> tuple[float, Array]:
        """Value and gradient at the flattened factors."""
        point = self.at(flat.reshape(2, head_size, -1))
        return point.value, point.gradient.ravel()

    def at(self, factors: Array) -> Point:
        """The objective at factors A, B, shape (2, k, r)."""
        A, B = factors if self.basis is None else factors @ self.basis
        log_Q = log_column_softmax(A.T @ B, self.mask)
        Q = np.exp(log_Q)
        if self.mask is not None:  # where P and Q are both 0, no log enters
            log_Q = np.where(self.mask, log_Q, 0.0)
        return Point(self, factors, A, B, log_Q, Q)


@dataclass(frozen=True, eq=False)
class Point:
    """An objective at one pair of factors; what is computed once is kept.

    Attributes
    ----------
    objective : Objective
        Of which this is a point.
    factors : ndarray, shape (2, k, r)
        A and B.
    A, B : ndarray, shape (k, n)
        The factors times the basis: keys and queries of the tokens.
    log_Q, Q : ndarray, shape (n, n)
        The context; both 0 where the mask hides.
    """

    objective: Objective
    factors: Array
    A: Array
    B: Array
    log_Q: Array
    Q: Array

    @cached_property
    def value(self) -> float:
        """The loss."""
        return self.objective.loss.value(self.log_Q, self.Q)

    @cached_property
    def slope(self) -> Array:
        """``G = df/dL``, shape (n, n)."""
        return self.objective.loss.slope(self.log_Q, self.Q)

    @cached_property
    def gradient(self) -> Array:
        """``B G^T`` and ``A G``, times ``R^T``; shape (2, k, r)."""
        return self._restrict(np.stack([self.B @ self.slope.T, self.A @ self.slope]))

    def hessian(self, direction: Array) -> Array:
        """The Hessian times a direction, exactly: with dG the change of G along the direction,

        ``B dG^T + dB G^T`` and ``A dG + dA G``.
        """
        basis = self.objective.basis
        dA, dB = direction if basis is None else direction @ basis
        dL = dA.T @ self.B
        dL += self.A.T @ dB
        T = self.Q * dL  # dq = F dl
        T -= self.Q * T.sum(axis=0)
        dG = self.objective.loss.bend(self.log_Q, self.Q, T)
        product = np.empty((2, *self.A.shape))
        np.matmul(self.B, dG.T, out=product[0])
        np.matmul(self.A, dG, out=product[1])
        product[0] += dB @ self.slope.T
        product[1] += dA @ self.slope
        return self._restrict(product)

    def _restrict(self, factors: Array) -> Array:
        basis = self.objective.basis
        return factors if basis is None else factors @ basis.T

    def blocks(self) -> Array:
        """The Gauss–Newton Hessian in each key a_i alone and each query b_j alone, (2n, k, k).

        With c² the loss's weights: ``Σ_j b_j b_j^T w_ij`` for a_i, where w_ij is the diagonal
        ``c_ij² (1 - 2 q_ij) + q_ij² Σ_i c_ij²``; and ``Σ_i c_ij² (a_i - ā)(a_i - ā)^T`` for b_j,
        where ā = A q_j. For KL these are the Fisher blocks ``Σ_j b_j b_j^T q_ij (1 - q_ij)`` and
        ``A diag(q_j) A^T - ā ā^T``. All over n.
        """
        A, B, Q, n = self.A, self.B, self.Q, self.Q.shape[1]
        squares = self.objective.loss.weights(Q) / n
        keys = np.maximum(squares * (1 - 2 * Q) + Q * Q * squares.sum(axis=0), 0.0)
        mixed = A @ Q
        blocks = np.empty((2 * n, len(A), len(A)))
        for part in _parts(n, A.size):
            np.matmul(B * keys[part, None, :], B.T, out=blocks[:n][part])
            centred = A - mixed.T[part, :, None]  # first: what the a_i have in common may be large
            weighted = centred * squares.T[part, None, :]
            np.matmul(weighted, centred.swapaxes(1, 2), out=blocks[n:][part])
        return blocks

    def preconditioner(self, damping: float) -> Callable[[Array], Array]:
        """A positive definite approximation of the inverse Hessian: that of its damped blocks.

        On a basis the inverse acts on the tokens and is restricted: ``R M^{-1} R^T``.
        """
        blocks = self.blocks()
        k, n, basis = len(self.A), self.Q.shape[1], self.objective.basis
        traces = np.maximum(np.trace(blocks, axis1=1, axis2=2), 0.0) / k
        floor = max(float(traces.mean()) * 1e-6, 1e-100)  # a block may vanish, and so may all
        diagonal = np.arange(k)
        blocks[:, diagonal, diagonal] += (damping * traces + floor)[:, None]
        inverse = np.linalg.inv(blocks)

        def apply(factors: Array) -> Array:
            columns = (factors if basis is None else factors @ basis).swapaxes(1, 2)
            solved = np.matmul(inverse, columns.reshape(2 * n, k, 1)).reshape(2, n, k)
            return self._restrict(np.ascontiguousarray(solved.swapaxes(1, 2)))

        return apply


def _parts(n: int, size: int) -> list[slice]:
    step = max(1, CHUNK // size)
    return [slice(start, start + step) for start in range(0, n, step)]
