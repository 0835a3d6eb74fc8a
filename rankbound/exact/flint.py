"""Exact products and inverses by python-flint, which is imported only when it is used."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from rankbound.errors import BackendMissing
from rankbound.exact.rational import IntegerMatrix, Rationals, integer_rows


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


def left_inverse(rows: Rationals) -> Rationals:
    """Return ``(X^T X)^{-1} X^T`` exactly; ZeroDivisionError unless X has full column rank."""
    X = _rational_flint(rows)
    transposed = X.transpose()
    return _fractions((transposed * X).inv() * transposed)


def rational_product(left: Rationals, right: Rationals) -> Rationals:
    """Return the exact product of two rational matrices."""
    return _fractions(_rational_flint(left) * _rational_flint(right))


def null_space(rows: Rationals) -> Rationals:
    """Return a basis of the vectors v with ``rows · v = 0``, one per row; of whole numbers."""
    kernel, nullity = flint_module().fmpz_mat(integer_rows(rows)[0]).nullspace()
    return [[Fraction(int(kernel[i, k])) for i in range(len(rows[0]))] for k in range(nullity)]


def solve_rows(part: Rationals, row: list[Fraction]) -> list[Fraction] | None:
    """Return coefficients c with ``c · part = row``; None if the row is not in the span."""
    if not part or not any(row):
        return None if any(row) else [Fraction(0)] * len(part)
    stacked = [[*column, x] for column, x in zip(zip(*part, strict=True), row, strict=True)]
    echelon, rank = _rational_flint(stacked).rref()
    reduced = _fractions(echelon)
    coefficients = [Fraction(0)] * len(part)
    for i in range(rank):
        pivot = next(j for j in range(len(part) + 1) if reduced[i][j])
        if pivot == len(part):
            return None
        coefficients[pivot] = reduced[i][-1]
    return coefficients


def _rational_flint(rows: Rationals) -> Any:
    flint = flint_module()
    return flint.fmpq_mat([[flint.fmpq(x.numerator, x.denominator) for x in row] for row in rows])


def _fractions(matrix: Any) -> Rationals:
    return [[Fraction(int(x.p), int(x.q)) for x in row] for row in matrix.tolist()]
