"""Exact products and inverses by python-flint.

It is imported inside the functions, so that `import rankbound` stays cheap.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from rankbound.errors import BackendMissing
from rankbound.exact.rational import IntegerMatrix

__all__ = ["flint_module", "left_inverse", "product", "rational_product"]


def flint_module() -> Any:
    """Return python-flint, or raise with the install line; only this package reaches it."""
    try:
        import flint
    except ImportError:
        raise BackendMissing(
            "exact arithmetic needs python-flint, which is not installed here: "
            "pip install python-flint (wheels exist for glibc Linux, macOS and Windows)."
        ) from None
    return flint


def product(left: IntegerMatrix, right: IntegerMatrix) -> IntegerMatrix:
    """Return the exact product of two integer matrices."""
    flint = flint_module()
    rows = (flint.fmpz_mat(left) * flint.fmpz_mat(right)).tolist()
    return [[int(x) for x in row] for row in rows]


def left_inverse(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return ``(X^T X)^{-1} X^T`` exactly, for X of full column rank.

    Raises
    ------
    ZeroDivisionError
        If X is not of full column rank.
    """
    X = _rational_flint(rows)
    transposed = X.transpose()
    return _fractions((transposed * X).inv() * transposed)


def rational_product(
    left: list[list[Fraction]], right: list[list[Fraction]]
) -> list[list[Fraction]]:
    """Return the exact product of two rational matrices."""
    return _fractions(_rational_flint(left) * _rational_flint(right))


def _rational_flint(rows: list[list[Fraction]]) -> Any:
    flint = flint_module()
    return flint.fmpq_mat([[flint.fmpq(x.numerator, x.denominator) for x in row] for row in rows])


def _fractions(matrix: Any) -> list[list[Fraction]]:
    return [[Fraction(int(x.p), int(x.q)) for x in row] for row in matrix.tolist()]
