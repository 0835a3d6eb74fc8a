"""Ball arithmetic by python-flint's ``arb``: rigorous error bounds at any precision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.exact.flint import flint_module
from rankbound.exact.rational import IntegerMatrix

Array = npt.NDArray[np.float64]
PRECISIONS = (106, 212, 424, 848)  # bits; the last is the stated limit
MOST_ROWS = 256  # a minor of this size takes seconds at the highest precision


def is_nonsingular(A: Array, error: Array) -> bool:
    """Prove that every square matrix within the error of A is nonsingular.

    sound: an enclosure of the inverse exists only then. incomplete: the error may be too wide for
    any precision.
    """
    if len(A) > MOST_ROWS:
        return False
    return any(_inverse(A, error, bits) is not None for bits in PRECISIONS)


def _inverse(A: Array, error: Array | None, bits: int) -> Any:
    flint = flint_module()
    with flint.ctx.workprec(bits):
        radii = [[0.0] * A.shape[1]] * A.shape[0] if error is None else error.tolist()
        balls = [
            [flint.arb(x, r) for x, r in zip(*rows, strict=True)]
            for rows in zip(A.tolist(), radii, strict=True)
        ]
        try:
            return flint.arb_mat(balls).inv()
        except ZeroDivisionError:  # a pivot that may be zero
            return None


def inverse_on_grid(A: Array, grid: int) -> IntegerMatrix | None:
    """Return ``A^{-1} 2**grid`` rounded to integers, for A square and not singular to 848 bits."""
    for bits in PRECISIONS:
        inverse = _inverse(A, None, bits + grid)
        if inverse is not None:
            return [[_on_grid(x.mid(), grid) for x in row] for row in inverse.tolist()]
    return None


def _on_grid(midpoint: Any, grid: int) -> int:
    mantissa, exponent = map(int, midpoint.man_exp())
    shift = exponent + grid
    return mantissa << shift if shift >= 0 else mantissa >> -shift


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a layer, as the exact real numbers that the floats are."""

    W_q: Array  # (h, k, d)
    W_k: Array  # (h, k, d)
    W_v: Array  # (h, v, d)
    W_o: Array  # (d, h * v)
    scale: float  # of the logits


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
            size = float(_norm(flint, target).upper())
            lower = float(_norm(flint, _output(flint, f, tokens) - target).lower())
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
