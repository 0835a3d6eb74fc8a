"""Fit a layer to the outputs of another: students of a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankbound._validate import Array, check_head_size, check_int, check_real
from rankbound.attention.ensembles import random_multihead
from rankbound.attention.layer import MultiHead, standard_head_size
from rankbound.attention.softmax import _softmax
from rankbound.errors import InputError
from rankbound.fitting.descent import lbfgs_options, minimise
from rankbound.theory.theorem_2 import check_layer


@dataclass(frozen=True, eq=False)
class LayerFit:
    """A layer fitted to a teacher, and how close it came.

    `error` is ``E ‖f(X) - g(X)‖² / E ‖g(X)‖²`` over fresh Gaussian tokens: the share of the
    teacher's output that the student misses.
    """

    layer: MultiHead  # the best student found
    error: float
    fitted_error: float  # the same over the tokens it was fitted on
    gradient_norm: float  # of fitted_error in the weights
    iterations: int  # of the start that won
    converged: bool  # gradient_norm <= gradient_tolerance
    start_errors: tuple[float, ...]  # fitted_error where each start ended
    seed: int  # from which tokens and starts can be drawn again


def fit_layer(
    teacher: MultiHead,
    heads: int,
    head_size: int | None = None,
    *,
    value_size: int | None = None,
    n: int = 8,
    sequences: int = 256,
    seed: int = 0,
    starts: int = 1,
    gradient_tolerance: float = 1e-7,
    max_iterations: int = 2000,
) -> LayerFit:
    """Fit a student layer to a teacher on Gaussian tokens, by L-BFGS over all sequences at once.

    The problem is not convex: an error that is reached bounds what the class can do from above,
    never from below.

    Parameters
    ----------
    teacher : MultiHead
        The layer g to imitate.
    heads, head_size, value_size : int
        h, k and v of the student; k = d/h (the standard layer) and v = k unless given.
    n, sequences : int
        Tokens per sequence; sequences to fit on, and as many fresh ones for `LayerFit.error`.
    seed, starts : int
        For tokens and random starts; the best end counts.
    gradient_tolerance, max_iterations
        Norm of the gradient at which a start is called converged; the limit of each start.

    Examples
    --------
    >>> import rankbound as rb
    >>> from rankbound.fitting.layer import fit_layer
    >>> teacher = rb.random_multihead(d=4, heads=2, seed=0)
    >>> fit_layer(teacher, 2, n=3, sequences=32, starts=3).error < 1e-6
    True
    """
    check_layer("teacher", teacher)
    heads, d = check_int("heads", heads, least=1), teacher.d
    if head_size is None:
        remedy = " Give head_size= for a student that sets it apart."
        head_size = standard_head_size(d, heads, remedy)
    k = check_head_size(head_size)
    v = k if value_size is None else check_int("value_size", value_size, least=1)
    shape = Shape(heads, k, v, d)
    n, sequences = check_int("n", n, least=1), check_int("sequences", sequences, least=1)
    tolerance = check_real("gradient_tolerance", gradient_tolerance, above=0.0)
    limit = check_int("max_iterations", max_iterations, least=1)
    seed = check_int("seed", seed, least=0, why="fits are written down by an integer seed")
    rng = np.random.default_rng(seed)
    X, fresh = rng.standard_normal((2, sequences, d, n))
    objective = LayerObjective(shape, X, teacher.output(X))
    if not objective.Y.any():
        raise InputError("the teacher's outputs are 0; expected a layer that is not zero.")
    options = lbfgs_options(shape.size, tolerance, limit)
    ends = [
        minimise(objective, _start(shape, rng), options)
        for _ in range(check_int("starts", starts, least=1))
    ]
    best = min(ends, key=lambda end: float(end.fun))
    norm = float(np.linalg.norm(best.jac))
    return LayerFit(
        layer=shape.layer(best.x),
        error=LayerObjective(shape, fresh, teacher.output(fresh))(best.x)[0],
        fitted_error=float(best.fun),
        gradient_norm=norm,
        iterations=int(best.nit),
        converged=norm <= tolerance,
        start_errors=tuple(float(end.fun) for end in ends),
        seed=seed,
    )


def _start(shape: Shape, rng: np.random.Generator) -> Array:
    layer = random_multihead(shape.d, shape.heads, rng, max(shape.head_size, shape.value_size))
    W_o = layer.W_o.reshape(shape.d, shape.heads, -1)[:, :, : shape.value_size]
    parts = (
        layer.W_q[:, : shape.head_size],
        layer.W_k[:, : shape.head_size],
        layer.W_v[:, : shape.value_size],
        np.swapaxes(W_o, 0, 1),
    )
    return np.concatenate([part.ravel() for part in parts])


@dataclass(frozen=True)
class Shape:
    """The sizes h, k, v and d of a layer, and where its weights lie in a flat vector."""

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


CHUNK = 2**16  # numbers in a temporary array: what a cache holds


@dataclass(frozen=True, eq=False)
class LayerObjective:
    """``‖f(X) - Y‖² / ‖Y‖²``, squared Frobenius norms summed over sequences."""

    shape: Shape  # of the layer f; its scale is 1/sqrt(head_size)
    X: Array  # (N, d, n): sequences of tokens
    Y: Array  # (N, d, n): the outputs to be met

    @cached_property
    def _total(self) -> float:
        return float(np.sum(self.Y**2))

    def __call__(self, flat: Array) -> tuple[float, Array]:
        """Value and gradient at the flat weights.

        With ``R = df/d(output)``, ``H_i = W_v^i X P_i``: ``dW_o^i = R H_i^T``, ``dH_i = W_o^iT R``,
        ``dV_i = dH_i P_i^T``, ``dP_i = V_i^T dH_i``; by columns ``dL = P ∘ (dP - 1^T (P ∘ dP))``,
        and ``dQ = s K dL``, ``dK = s Q dL^T``. Sequences are taken so many at a time that what
        they need stays in the cache.
        """
        shape, n = self.shape, self.X.shape[2]
        step = max(1, CHUNK // (shape.heads * n * max(n, shape.head_size, shape.value_size)))
        parts = [
            self._part(flat, self.X[first : first + step], self.Y[first : first + step])
            for first in range(0, len(self.X), step)
        ]
        return sum(value for value, _ in parts), np.sum([slope for _, slope in parts], axis=0)

    def _part(self, flat: Array, X: Array, Y: Array) -> tuple[float, Array]:
        """What these sequences add to the value and the gradient."""
        W_q, W_k, W_v, W_o = self.shape.split(flat)
        scale = self.shape.head_size**-0.5
        Q, K, V = (W[:, None] @ X for W in (W_q, W_k, W_v))  # (h, N, size, n)
        P = _softmax(scale * np.swapaxes(K, -1, -2) @ Q)
        H = V @ P
        residual = np.sum(W_o[:, None] @ H, axis=0) - Y
        R = 2.0 / self._total * residual
        dH = np.swapaxes(W_o, -1, -2)[:, None] @ R
        dV = dH @ np.swapaxes(P, -1, -2)
        dP = np.swapaxes(V, -1, -2) @ dH
        dL = scale * P * (dP - np.sum(P * dP, axis=-2, keepdims=True))
        dQ, dK = K @ dL, Q @ np.swapaxes(dL, -1, -2)
        # of each head as those of X and R, which all heads share
        X, R = (np.broadcast_to(part, (self.shape.heads, *part.shape)) for part in (X, R))
        gradient = [_summed(dQ, X), _summed(dK, X), _summed(dV, X), _summed(R, H)]
        value = float(np.sum(residual**2)) / self._total
        return value, np.concatenate([part.ravel() for part in gradient])


def _summed(left: Array, right: Array) -> Array:
    """``Σ_N left_N right_N^T`` for each head, as one product per head."""
    h, N, a, n = left.shape
    b = right.shape[2]
    flat_left = np.swapaxes(left, 1, 2).reshape(h, a, N * n)
    flat_right = np.swapaxes(right, 1, 2).reshape(h, b, N * n)
    return np.asarray(flat_left @ np.swapaxes(flat_right, 1, 2), np.float64)
