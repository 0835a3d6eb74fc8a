"""The row space of a matrix, read as the exact numbers it holds, to full float64 accuracy.

Where rows are so different in scale that no float64 decomposition sees their span, ball arithmetic
of rising precision does: the rows are independent over the rationals, so their Gram matrix is
nonsingular, and some precision suffices.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.exact.elimination import prove_rank
from rankbound.exact.flint import flint_module
from rankbound.exact.rational import Rationals

Array = npt.NDArray[np.float64]

PRECISIONS = (212, 848, 3392, 13568)  # bits; the last holds rows 2^6000 apart
ACCURACY = 2.0**-60  # of the projector, entry by entry


@dataclass(frozen=True, eq=False)
class ExactRowSpace:
    """The row space of the tokens as given."""

    rank: int  # over the rationals
    pivots: tuple[int, ...]  # independent rows that span it
    projector: Array  # (n, n), orthogonal, each entry rounded once
    outside: Array  # (n,), the part of the vector 1 outside it, to relative accuracy; 0 if inside
    _solver: Any

    def solve(self, factors: Array) -> Array:
        """W, zero off the pivots' columns, with ``W X`` the projection of the factors' rows."""
        flint = flint_module()
        inverse, bits = self._solver
        weights = np.zeros((len(factors), len(self.pivots)))
        with flint.ctx.workprec(bits):
            product = flint.arb_mat(factors.tolist()) * inverse
            weights = np.array([[float(x.mid()) for x in row] for row in product.tolist()])
        return weights.reshape(len(factors), len(self.pivots))


def exact_row_space(rows: Rationals) -> ExactRowSpace | None:
    """Return the row space of a rational matrix, or None if no stated precision suffices."""
    flint = flint_module()
    n = len(rows[0])
    proof = prove_rank(rows)
    if proof.rank == 0:
        return ExactRowSpace(0, (), np.zeros((n, n)), np.ones(n), (flint.arb_mat(n, 0), 53))
    inside = prove_rank([*rows, [Fraction(1)] * n]).rank == proof.rank
    chosen = [rows[i] for i in proof.rows]
    for bits in PRECISIONS:
        found = _at_precision(flint, chosen, bits)
        if found is not None:
            projector, outside, inverse = found
            outside = np.zeros(n) if inside else outside
            return ExactRowSpace(proof.rank, proof.rows, projector, outside, (inverse, bits))
    return None


def _at_precision(flint: Any, rows: Rationals, bits: int) -> tuple[Array, Array, Any] | None:
    with flint.ctx.workprec(bits):
        Z = flint.arb_mat(
            [[flint.arb(flint.fmpq(x.numerator, x.denominator)) for x in row] for row in rows]
        )
        transposed = Z.transpose()
        try:
            inverse = transposed * (Z * transposed).inv()  # Z^+, (n, r)
        except ZeroDivisionError:  # a pivot that may be zero
            return None
        projector = inverse * Z
        table = projector.tolist()
        if max(float(x.rad()) for row in table for x in row) > ACCURACY:
            return None
        outside = [1 - sum(row[1:], row[0]) for row in table]
        size = max(float(abs(x.mid())) for x in outside)
        if max(float(x.rad()) for x in outside) > ACCURACY * size and size > ACCURACY:
            return None
        return (
            np.array([[float(x.mid()) for x in row] for row in table]),
            np.array([float(x.mid()) for x in outside]),
            inverse,
        )
