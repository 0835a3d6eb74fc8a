"""Arguments of the variants: exact numbers stay exact, anything else becomes float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import check_matrix
from rankbound.errors import InputError
from rankbound.exact.rational import is_exact, rational_matrix

__all__ = [
    "Table",
    "all_exact",
    "exact_root",
    "finite",
    "read_matrix",
    "read_vector",
    "require_positive",
]

Table = npt.NDArray[Any]  # float64, or objects that are Fractions


def all_exact(*values: Any) -> bool:
    """Whether all are rational: numbers, or one matrix or vector of them each."""
    return all(_one_exact(value) for value in values)


def _one_exact(value: Any) -> bool:
    if isinstance(value, Rational) and not isinstance(value, bool):
        return True
    if getattr(value, "ndim", 2) > 2 or not is_exact(value):
        return False
    # log(2) times a matrix is exact elsewhere; its sums and quotients here would not be
    return bool(rational_matrix("", _rows(value))[1] == 1)


def _rows(value: Any) -> Any:
    flat = not hasattr(value, "is_Matrix") and np.ndim(value) == 1
    return [list(value)] if flat else value


def read_matrix(name: str, value: Any, exact: bool) -> Table:
    """A matrix of Fractions, or one of float64 or a batch of them."""
    if not exact:
        return check_matrix(name, value)
    return np.array(rational_matrix(name, value)[0], dtype=object)


def read_vector(name: str, value: Any, length: int, why: str, exact: bool) -> Table:
    """A number repeated, or a vector of this length."""
    single = np.ndim(value) == 0
    vector = read_matrix(name, [[value] if single else value], exact)[0]
    if vector.ndim != 1 or (not single and len(vector) != length):
        raise InputError(
            f"{name} has shape {np.shape(value)}; expected one number or ({length},): {why}."
        )
    return np.repeat(vector, length) if single else vector


def require_positive(name: str, values: Table) -> None:
    """Refuse a number that is not above 0."""
    if not (values > 0).all():
        raise InputError(f"{name} holds {min(values)}; expected numbers above 0.")


def exact_root(square: Fraction) -> Fraction:
    """The square root of a rational that has a rational one."""
    root = Fraction(math.isqrt(square.numerator), math.isqrt(square.denominator))
    if root * root != square:
        raise InputError(
            "an exact column has an irrational norm; expected the square of the norm to be the "
            "square of a rational. Pass floats, or columns divided by their norms."
        )
    return root


def finite(name: str, compute: Callable[[], Table]) -> Table:
    """What is computed, without a NumPy warning; a float that overflows is refused."""
    with np.errstate(over="ignore", invalid="ignore"):
        result = compute()
    if result.dtype != object and not np.isfinite(result).all():
        raise InputError(f"{name} overflow float64; expected numbers below 1.8e308. Scale down.")
    return result
