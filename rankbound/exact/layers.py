"""Outputs of multi-head layers in ball arithmetic, and how far two of them are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.exact.ball import PRECISIONS
from rankbound.exact.flint import flint_module

__all__ = ["Weights", "gap_of_outputs"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a layer, as the exact real numbers that the floats are.

    Attributes
    ----------
    W_q, W_k, W_v : ndarray, shapes (h, k, d), (h, k, d), (h, v, d)
        Projections.
    W_o : ndarray, shape (d, h * v)
        Output projection.
    scale : float
        What multiplies the logits.
    """

    W_q: Array
    W_k: Array
    W_v: Array
    W_o: Array
    scale: float


def gap_of_outputs(f: Weights, g: Weights, X: Array) -> tuple[float, float]:
    """A lower bound of ``‖f(X) - g(X)‖_F`` and an upper bound of ``‖g(X)‖_F``, both rigorous.

    The precision is raised until the lower bound is positive, or to the stated limit; 0 where it
    never is.
    """
    flint = flint_module()
    for bits in PRECISIONS:
        with flint.ctx.workprec(bits):
            tokens = _matrix(flint, X)
            target = _output(flint, g, tokens)
            gap = _norm(flint, _output(flint, f, tokens) - target)
            size = float(_norm(flint, target).upper())
            lower = float(gap.lower())
        if lower > 0.0 and math.isfinite(lower):
            return math.nextafter(lower, 0.0), math.nextafter(size, math.inf)
    return 0.0, math.nextafter(size, math.inf)


def _matrix(flint: Any, array: Array) -> Any:
    return flint.arb_mat(array.tolist())


def _output(flint: Any, layer: Weights, X: Any) -> Any:
    d, n = X.nrows(), X.ncols()
    total = flint.arb_mat(d, n)
    v = layer.W_v.shape[1]
    scale = flint.arb(layer.scale)
    for i in range(len(layer.W_q)):
        keys, queries = _matrix(flint, layer.W_k[i]) * X, _matrix(flint, layer.W_q[i]) * X
        context = _softmax(flint, (keys.transpose() * queries * scale).tolist())
        values = _matrix(flint, layer.W_v[i]) * X
        total += _matrix(flint, layer.W_o[:, i * v : (i + 1) * v]) * (values * context)
    return total


def _softmax(flint: Any, L: list[list[Any]]) -> Any:
    """By columns; a column is shifted by one of its entries, which changes nothing."""
    columns = []
    for column in zip(*L, strict=True):
        top = max(column, key=lambda x: float(x.mid()))
        powers = [(x - top).exp() for x in column]
        total = sum(powers[1:], powers[0])
        columns.append([x / total for x in powers])
    return flint.arb_mat(columns).transpose()


def _norm(flint: Any, M: Any) -> Any:
    return sum((x * x for x in M.entries()), flint.arb(0)).sqrt()
