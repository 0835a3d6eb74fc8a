"""The relative error of a layer's outputs beside given ones, and its analytic gradient."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rankbound._validate import Array
from rankbound.attention.layer import MultiHead
from rankbound.attention.softmax import _softmax

__all__ = ["LayerObjective", "Shape"]


@dataclass(frozen=True)
class Shape:
    """The sizes of a layer, and where its weights lie in a flat vector.

    Attributes
    ----------
    heads, head_size, value_size, d : int
        h, k, v and the embedding size.
    """

    heads: int
    head_size: int
    value_size: int
    d: int

    @property
    def size(self) -> int:
        """Number of weights."""
        return 2 * self.heads * self.d * (self.head_size + self.value_size)

    def split(self, flat: Array) -> tuple[Array, Array, Array, Array]:
        """W_q, W_k (h, k, d), W_v (h, v, d) and W_o as (h, d, v)."""
        h, k, v, d = self.heads, self.head_size, self.value_size, self.d
        q, key, value = (h * k * d, 2 * h * k * d, h * d * (2 * k + v))
        return (
            flat[:q].reshape(h, k, d),
            flat[q:key].reshape(h, k, d),
            flat[key:value].reshape(h, v, d),
            flat[value:].reshape(h, d, v),
        )

    def layer(self, flat: Array) -> MultiHead:
        """The layer with these weights and scale ``1/sqrt(k)``."""
        W_q, W_k, W_v, W_o = self.split(flat)
        return MultiHead(W_q, W_k, W_v, np.concatenate(list(W_o), axis=1))


@dataclass(frozen=True, eq=False)
class LayerObjective:
    """``‖f(X) - Y‖² / ‖Y‖²``, squared Frobenius norms summed over sequences.

    Attributes
    ----------
    shape : Shape
        Of the layer f; its scale is ``1/sqrt(head_size)``.
    X, Y : ndarray, shape (N, d, n)
        Sequences of tokens and the outputs to be met.
    """

    shape: Shape
    X: Array
    Y: Array
    _total: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_total", float(np.sum(self.Y**2)))

    def __call__(self, flat: Array) -> tuple[float, Array]:
        """Value and gradient at the flat weights.

        With ``R = df/d(output)``, ``H_i = W_v^i X P_i``: ``dW_o^i = R H_i^T``, ``dH_i = W_o^iT R``,
        ``dV_i = dH_i P_i^T``, ``dP_i = V_i^T dH_i``; by columns ``dL = P ∘ (dP - 1^T (P ∘ dP))``,
        and ``dQ = s K dL``, ``dK = s Q dL^T``.
        """
        W_q, W_k, W_v, W_o = self.shape.split(flat)
        scale = self.shape.head_size**-0.5
        Q, K, V = (self._project(W) for W in (W_q, W_k, W_v))
        P = _softmax(scale * np.swapaxes(K, -1, -2) @ Q)
        H = V @ P
        residual = np.sum(W_o[:, None] @ H, axis=0) - self.Y
        R = 2.0 / self._total * residual
        dH = np.swapaxes(W_o, -1, -2)[:, None] @ R
        dV = dH @ np.swapaxes(P, -1, -2)
        dP = np.swapaxes(V, -1, -2) @ dH
        dL = scale * P * (dP - np.sum(P * dP, axis=-2, keepdims=True))
        gradient = [
            self._against_tokens(K @ dL),
            self._against_tokens(Q @ np.swapaxes(dL, -1, -2)),
            self._against_tokens(dV),
            _summed(np.broadcast_to(R, (self.shape.heads, *R.shape)), H),
        ]
        value = float(np.sum(residual**2)) / self._total
        return value, np.concatenate([part.ravel() for part in gradient])

    def _project(self, W: Array) -> Array:
        """``W X``, shape (h, N, size, n)."""
        return np.asarray(W[:, None] @ self.X, np.float64)

    def _against_tokens(self, slope: Array) -> Array:
        return _summed(slope, np.broadcast_to(self.X, (len(slope), *self.X.shape)))


def _summed(left: Array, right: Array) -> Array:
    """``Σ_N left_N right_N^T`` for each head, as one product a head."""
    h, N, a, n = left.shape
    b = right.shape[2]
    flat_left = np.swapaxes(left, 1, 2).reshape(h, a, N * n)
    flat_right = np.swapaxes(right, 1, 2).reshape(h, b, N * n)
    return np.asarray(flat_left @ np.swapaxes(flat_right, 1, 2), np.float64)
