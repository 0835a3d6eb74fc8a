"""How far a head's context is from P: losses of the logits, with derivatives in the factors.

Each loss is the mean over columns of a function of q = softmax(l), whose derivative is
``F = diag(q) - q q^T``. Each gives its value, its slope in the logits, the exact derivative of that
slope along a change of logits, and the weights c of its Gauss-Newton part ``F diag(c² / q²) F``,
which is positive semidefinite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.attention.softmax import log_column_softmax

LOSSES = ("kl", "reverse_kl", "total_variation")
FISHER = 0.1  # share of the Fisher metric in the weights of a loss that may be flat
SMALL = 4  # half of a block that LAPACK inverts
MISS = 0.1  # by how much single precision may miss a solution, in units of its right side
CACHED = 2**17  # entries of an array that a cache holds
PART = 2**17  # bytes of a temporary array: larger ones are mapped anew each time

Precision = type[np.float32] | type[np.float64]


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
    where p = 0 the term is q. Rounding then costs ``u t p`` per term instead of ``u |log p| p``.
    """
    return KL(P).value(log_Q, np.exp(log_Q))


def measure(loss: str, P: Array, log_Q: Array, Q: Array) -> float:
    """The loss of this name; the total variation itself, ``(1/n) Σ_j ½ Σ_i |p_ij - q_ij|``."""
    if loss == "total_variation":
        return float(np.abs(P - Q).sum() / (2 * P.shape[1]))
    return (KL(P) if loss == "kl" else ReverseKL(P)).value(log_Q, Q)


def masked_context(logits: Array, mask: npt.NDArray[np.bool_] | None) -> tuple[Array, Array]:
    """Log Q and Q, both 0 where the mask hides: P is 0 there as well, and no log enters."""
    log_Q = log_column_softmax(logits, mask)
    Q = np.exp(log_Q)
    return (log_Q if mask is None else np.where(mask, log_Q, 0.0)), Q


def _terms(P: Array, t: Array, Q: Array) -> Array:
    """``p φ(t)`` with ``t = log p - log q``, without cancellation."""
    near = np.minimum(np.maximum(t, -1.0), 1.0)
    terms = np.expm1(-near)
    terms += near
    terms *= P
    far = near != t
    return np.where(far, P * (t - 1.0) + Q, terms) if far.any() else terms


@dataclass(frozen=True, eq=False)
class _Divergence:
    P: Array

    @cached_property
    def _log_P(self) -> Array:
        return np.log(np.where(self.P > 0, self.P, 1.0))

    @cached_property
    def _has_zeros(self) -> bool:
        return not bool((self.P > 0).all())

    def weights(self, Q: Array) -> Array:
        """``c² = q``: F diag(1/q) F = F, which is exact for KL, and for the reverse where Q = P."""
        return Q


class KL(_Divergence):
    """``KL(P ‖ Q)``: slope q - p, of derivative F, which is its own Gauss–Newton part."""

    def value(self, log_Q: Array, Q: Array) -> float:
        """The mean KL divergence of Q from P, as :func:`kl_divergence`."""
        terms = _terms(self.P, self._log_P - log_Q, Q)
        if self._has_zeros:
            terms = np.where(self.P > 0, terms, Q)
        return float(np.sum(terms) / self.P.shape[1])

    def slope(self, log_Q: Array, Q: Array) -> Array:
        """``(q - p)/n``."""
        return np.asarray((Q - self.P) / self.P.shape[1], np.float64)

    def bend(self, log_Q: Array, Q: Array, T: Array) -> Array:
        """``dq/n``."""
        return np.asarray(T * (1.0 / self.P.shape[1]), np.float64)


class ReverseKL(_Divergence):
    """``KL(Q ‖ P)``, with ``u = log q - log p``: slope q (u - q·u). P is positive where visible."""

    def value(self, log_Q: Array, Q: Array) -> float:
        """The mean KL divergence of P from Q."""
        # where Q underflows its term q (t - 1) + p is p, as it is in truth
        return float(np.sum(_terms(Q, log_Q - self._log_P, self.P)) / self.P.shape[1])

    def slope(self, log_Q: Array, Q: Array) -> Array:
        """``q (u - q·u)/n``."""
        u = log_Q - self._log_P
        return np.asarray(Q * (u - np.sum(Q * u, axis=0)) / self.P.shape[1], np.float64)

    def bend(self, log_Q: Array, Q: Array, T: Array) -> Array:
        """``(dq (u - q·u + 1) - q (dq·u))/n``, since q du = dq."""
        u = log_Q - self._log_P
        bend: Array = T * (u - np.sum(Q * u, axis=0) + 1.0) - Q * np.sum(T * u, axis=0)
        bend /= self.P.shape[1]
        return bend


@dataclass(frozen=True, eq=False)
class TotalVariation:
    """``½ Σ (sqrt(x² + μ²) - μ)``, x = q - p: below the total variation by at most n μ / 2."""

    P: Array
    smoothing: float  # μ > 0

    def value(self, log_Q: Array, Q: Array) -> float:
        """The smoothed loss; :func:`measure` gives the total variation itself."""
        x = Q - self.P
        near = np.hypot(x, self.smoothing) + self.smoothing
        return float(np.sum(x * x / near) / (2 * self.P.shape[1]))

    def slope(self, log_Q: Array, Q: Array) -> Array:
        """``q (s - q·s)/n`` with ``s = x / (2 sqrt(x² + μ²))``."""
        s = self._signs(Q)
        return np.asarray(Q * (s - np.sum(Q * s, axis=0)) / self.P.shape[1], np.float64)

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
        return np.asarray(x / (2 * np.hypot(x, self.smoothing)), np.float64)

    def _curvature(self, Q: Array) -> Array:
        return self.smoothing**2 / (2 * np.hypot(Q - self.P, self.smoothing) ** 3)


@dataclass(frozen=True, eq=False)
class Objective:
    """``f(A, B) = loss(softmax(L))`` with ``L = (A R)^T (B R)``, A, B of shape (k, r).

    R is the basis: orthonormal rows (r, n) that span the row space of the tokens; None means the
    identity. P is 0 where the mask hides; the loss is the mean KL divergence from P unless given.
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
        return Point(self, factors, A, B, *masked_context(A.T @ B, self.mask))


@dataclass(frozen=True, eq=False)
class Point:
    """An objective at one pair of factors; what is computed once is kept."""

    objective: Objective
    factors: Array  # (2, k, r)
    A: Array  # the factors times the basis, (k, n): keys of the tokens
    B: Array  # their queries
    log_Q: Array  # the context, 0 where the mask hides, as Q is
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
        T = np.dot(dA.T, self.B)  # dL
        T += np.dot(self.A.T, dB)
        T *= self.Q  # dq = F dl
        T -= self.Q * np.add.reduce(T, axis=0)
        dG = self.objective.loss.bend(self.log_Q, self.Q, T)
        product = np.empty((2, *self.A.shape))
        np.dot(self.B, dG.T, out=product[0])
        np.dot(self.A, dG, out=product[1])
        product[0] += np.dot(dB, self.slope.T)
        product[1] += np.dot(dA, self.slope)
        return self._restrict(product)

    def _restrict(self, factors: Array) -> Array:
        basis = self.objective.basis
        return factors if basis is None else factors @ basis.T

    def blocks(self, precision: Precision = np.float64) -> npt.NDArray[Any]:
        """The Gauss–Newton Hessian in each key a_i alone and each query b_j alone, (2n, k, k).

        With c² the loss's weights: ``Σ_j b_j b_j^T w_ij`` for a_i, where w_ij is the diagonal
        ``c_ij² (1 - 2 q_ij) + q_ij² Σ_i c_ij²``; and ``Σ_i c_ij² (a_i - ā)(a_i - ā)^T`` for b_j,
        where ā = A q_j. For KL these are the Fisher blocks ``Σ_j b_j b_j^T q_ij (1 - q_ij)`` and
        ``A diag(q_j) A^T - ā ā^T``. All over n.
        """
        A, Q, n = self.A, self.Q, self.Q.shape[1]
        squares: Any = self.objective.loss.weights(Q) / n
        keys: Any = np.maximum(squares * (1 - 2 * Q) + Q * Q * squares.sum(axis=0), 0.0)
        mixed = A @ Q
        keys, squares, B = (x.astype(precision) for x in (keys, squares, self.B))
        blocks = np.empty((2 * n, len(A), len(A)), precision)
        for part in _parts(n, A.size * blocks.itemsize):
            np.matmul(B * keys[part, None, :], B.T, out=blocks[:n][part])
            # first: what the a_i have in common may be large
            centred = (A - mixed.T[part, :, None]).astype(precision)
            weighted = centred * squares.T[part, None, :]
            np.matmul(weighted, centred.swapaxes(1, 2), out=blocks[n:][part])
        return blocks

    def preconditioner(self, damping: float) -> Callable[[Array], Array]:
        """A positive definite approximation of the inverse Hessian: that of its damped blocks.

        On a basis the inverse acts on the tokens and is restricted: ``R M^{-1} R^T``. Large blocks
        are kept in single precision where that serves (:func:`damped_inverses`): the time goes
        into reading them.
        """
        k, n, basis = len(self.A), self.Q.shape[1], self.objective.basis
        single = 2 * n * k * k > CACHED
        blocks = self.blocks(np.float32 if single else np.float64)
        inverse, units, serves = damped_inverses(blocks, damping)
        if single and not serves:
            inverse, units, _ = damped_inverses(self.blocks(), damping)

        single = inverse.dtype == np.float32
        if not single:
            inverse /= units[:, :, None]

        def apply(factors: Array) -> Array:
            columns = (factors if basis is None else factors @ basis).swapaxes(1, 2)
            columns = columns.reshape(2 * n, k, 1)
            if single:  # which has little range
                largest = float(np.abs(columns).max()) or 1.0
                solved = np.matmul(inverse, (columns / largest).astype(np.float32))
                solved = solved * (largest / units)[:, :, None]
            else:
                solved = np.matmul(inverse, columns)
            return self._restrict(np.ascontiguousarray(solved.reshape(2, n, k).swapaxes(1, 2)))

        return apply


def damped_inverses(
    blocks: npt.NDArray[Any], damping: float
) -> tuple[npt.NDArray[Any], Array, bool]:
    """Inverses of positive semidefinite blocks in units u, damped; u, (m, 1); whether they serve.

    In double precision they do. In single precision they do if each block M brings ``M^{-1} v``
    back to a v of random signs within a tenth: one that is damped by less than about k 2^-24 of its
    mean eigenvalue may not, nor one that is faint. The blocks are overwritten.
    """
    k, precision = blocks.shape[-1], blocks.dtype
    diagonal, tiny = np.arange(k), float(np.finfo(precision).tiny)
    with np.errstate(all="ignore"):  # what is not finite fails the comparison
        traces = np.maximum(np.einsum("mii->m", blocks), 0.0).astype(np.float64) / k
        floor = max(float(traces.mean()) * 1e-6, 1e-100)  # a block may vanish, and so may all
        units = (traces + floor)[:, None]
        blocks /= units[:, :, None].astype(precision)
        damped = (damping * traces + floor)[:, None] / units
        blocks[:, diagonal, diagonal] += damped.astype(precision)
        if precision == np.float64:
            return np.linalg.inv(blocks), units, True
        try:
            root = root_inverses(blocks)
        except np.linalg.LinAlgError:  # a pivot that rounding made 0 or less
            return blocks, units, False
        inverse = root.swapaxes(1, 2) @ root
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (k, 1)).astype(precision)
        miss = float(np.abs(blocks @ (inverse @ signs) - signs).max())
    # below 2^24 times the least normal number a trace has lost digits to underflow
    return inverse, units, bool(units.min() > 2.0**24 * tiny and miss < MISS)


def root_inverses(blocks: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The inverses of the Cholesky factors L of blocks M, (m, k, k): ``M^{-1} = L^{-T} L^{-1}``.

    By halves, in products of matrices, for which the processor is several times faster than for
    LAPACK on small ones. Only halves of L are inverted explicitly, never those of M: that would
    lose the digits of the condition at each halving.
    """
    h = blocks.shape[-1] // 2
    if h < SMALL:
        return np.asarray(np.linalg.inv(np.linalg.cholesky(blocks)))
    first, root = root_inverses(blocks[:, :h, :h]), np.zeros(blocks.shape, blocks.dtype)
    F = blocks[:, h:, :h] @ first.swapaxes(1, 2)
    second = root_inverses(blocks[:, h:, h:] - F @ F.swapaxes(1, 2))
    root[:, :h, :h], root[:, h:, h:] = first, second
    root[:, h:, :h] = -(second @ (F @ first))
    return root


def _parts(n: int, size: int) -> list[slice]:
    step = max(1, PART // size)
    return [slice(start, start + step) for start in range(0, n, step)]
