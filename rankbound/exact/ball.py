"""Ball arithmetic by python-flint's ``arb``: rigorous error bounds at any precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.exact.flint import flint_module
from rankbound.exact.rational import IntegerMatrix

__all__ = ["PRECISIONS", "inverse_on_grid", "is_nonsingular"]

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
    mantissa, exponent = (int(part) for part in midpoint.man_exp())
    shift = exponent + grid
    return mantissa << shift if shift >= 0 else mantissa >> -shift
