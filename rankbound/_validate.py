"""Checks at the door: each public function calls these once, its private twin never.

A check returns the argument in the form in which the rest of the package computes (float64
arrays, the dtype it was stored in kept beside it) or raises one message that says what was got,
what was expected, the rule and the remedy.
"""

from __future__ import annotations

import math
import operator
from numbers import Rational
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.errors import InputError, InputTypeError

__all__ = [
    "Array",
    "as_array",
    "check_context",
    "check_head_size",
    "check_int",
    "check_matrix",
    "check_real",
    "check_rows",
    "check_seed",
    "check_square",
    "frozen_copy",
    "storage_dtype",
]

Array = npt.NDArray[np.float64]


def as_array(name: str, value: Any) -> npt.NDArray[Any]:
    """Return `value` as a real numeric array of its own dtype (objects become float64)."""
    if isinstance(value, np.ma.MaskedArray):
        raise InputTypeError(
            f"{name} is a masked array; expected a plain one: what it hides would be read. "
            "Fill it, or pass mask= where attention is masked."
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(
            f"{name} is ragged: every row must have the same length. ({error})"
        ) from None
    except TypeError as error:  # foreign arrays of a dtype that NumPy does not have
        raise InputTypeError(f"{name} cannot be read as an array of numbers: {error}.") from None
    if array.dtype == object:
        return _from_objects(name, array)
    if array.dtype.kind not in "biuf":
        raise InputTypeError(
            f"{name} has dtype {array.dtype}; expected real numbers (bool, integer or float): "
            "ranks and softmax are computed in float64. Convert it first."
        )
    return array


def _from_objects(name: str, array: npt.NDArray[Any]) -> Array:
    out = np.empty(array.shape, dtype=np.float64)
    for index, entry in np.ndenumerate(array):
        # SymPy's numbers answer is_real; Fraction and int are Rational
        if not (
            isinstance(entry, (Rational, float, np.floating))
            or getattr(entry, "is_real", None) is True
        ):
            where = ", ".join(map(str, index))
            raise InputTypeError(
                f"{name}[{where}] is {entry!r} of type {type(entry).__name__}; expected a real "
                "number (int, float, Fraction or a SymPy number)."
            )
        try:
            out[index] = float(entry)
        except (OverflowError, TypeError):
            raise InputError(
                f"{name}[{', '.join(map(str, index))}] has no float64 value; expected a number "
                "below 1.8e308 in magnitude without free symbols."
            ) from None
    return out


def check_matrix(name: str, value: Any, *, ndim: int | None = None) -> Array:
    """Return `value` as a float64 array of at least two axes, finite and with no empty axis.

    ``ndim=2`` refuses a batch.
    """
    array = as_array(name, value)
    if array.ndim < 2 or (ndim is not None and array.ndim != ndim):
        expected = (
            "a matrix (2 axes)" if ndim == 2 else "a matrix or a batch of them (2 or more axes)"
        )
        raise InputError(
            f"{name} has shape {array.shape}; expected {expected}. "
            "A batch is taken only where the documentation says so."
        )
    if 0 in array.shape:
        raise InputError(
            f"{name} has shape {array.shape}; expected at least one row and one column: "
            "an empty matrix has no head size."
        )
    with np.errstate(over="ignore", invalid="ignore"):  # reported just below, with its place
        array = array.astype(np.float64)
    _check_finite(name, array)
    return array


def _check_finite(name: str, array: Array) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        bad = tuple(int(i) for i in np.argwhere(~finite)[0])
        hint = (
            " For an entry that must get no attention, pass a mask."
            if array[bad] == -np.inf
            else " Remove or repair it: no rank is defined with it."
        )
        raise InputError(
            f"{name} holds {array[bad]} at {list(bad)}; expected finite numbers.{hint}"
        )


def check_square(name: str, value: Any, *, ndim: int | None = 2) -> Array:
    """Return `value` as a finite float64 square matrix, or a batch of them if ``ndim`` is None."""
    array = check_matrix(name, value, ndim=ndim)
    if array.shape[-1] != array.shape[-2]:
        raise InputError(
            f"{name} has shape {array.shape}; expected (n, n), keys by queries: "
            "in self-attention every token is both a key and a query."
        )
    return array


def storage_dtype(name: str, value: Any, stored: npt.DTypeLike | None) -> np.dtype[Any]:
    """Return the floating dtype the data was computed in: `stored`, or that of `value`.

    Integers, objects and extended precision count as float64, the dtype they are computed in here.
    """
    if stored is None:
        found = as_array(name, value).dtype
        return found if found.kind == "f" and found.itemsize <= 8 else np.dtype(np.float64)
    try:
        dtype = np.dtype(stored)
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind != "f" or dtype.itemsize > 8:
        raise InputTypeError(
            f"stored={stored!r}; expected np.float16, np.float32 or np.float64: the dtype in which "
            f"{name} was computed, from which the tolerance is derived."
        )
    return dtype


def check_context(
    name: str,
    value: Any,
    *,
    stored: npt.DTypeLike | None,
    rows: bool,
    zeros: bool = False,
    ndim: int | None = 2,
) -> tuple[Array, np.dtype[Any]]:
    """Return `value` as a positive column-stochastic float64 matrix, with its storage dtype.

    ``rows=True`` says that the rows sum to 1, as in the rest of the world, and transposes once.
    ``zeros=True`` admits entries equal to 0.
    """
    dtype = storage_dtype(name, value, stored)
    rows = check_rows(rows)
    P = check_square(name, value, ndim=ndim)
    if rows:
        P = np.swapaxes(P, -1, -2)
    _check_signs(name, P, zeros=zeros)
    # Each entry is within a relative n·eps of a number whose columns sum to 1 exactly: n - 1
    # additions, one exponential and one division, each within eps, and the additions below.
    n = P.shape[-1]
    tolerance = (n + 8) * float(np.finfo(dtype).eps)
    deviation = _deviation(P, -2)
    # in low precision the bound is wide: a transposed P shows by rows that sum to 1 far better
    small = 8 * math.sqrt(n) * float(np.finfo(dtype).eps)
    transposed = deviation > small and _deviation(P, -1) < deviation / 4
    if deviation > tolerance or transposed:
        raise InputError(_not_stochastic(name, P, deviation, tolerance, dtype, rows=rows))
    return P, dtype


def check_rows(rows: Any) -> bool:
    """Return `rows` as a bool; anything else is refused."""
    if not isinstance(rows, (bool, np.bool_)):
        raise InputTypeError(f"rows is {rows!r}; expected True (rows sum to 1) or False.")
    return bool(rows)


def _deviation(P: Array, axis: int) -> float:
    with np.errstate(over="ignore"):  # an infinite sum is reported as one that is not 1
        return float(np.max(np.abs(P.sum(axis=axis) - 1.0)))


def _check_signs(name: str, P: Array, *, zeros: bool) -> None:
    low = float(P.min())
    if low < 0 or (low == 0 and not zeros):
        where = [int(i) for i in np.argwhere(low == P)[0]]
        rule = (
            "probabilities are not negative"
            if low < 0
            else "a softmax is positive, so no head of any size reaches a zero"
        )
        remedy = (
            ""
            if low < 0
            else " If it underflowed, pass logits= instead; if it is hidden, it needs a mask."
        )
        raise InputError(f"{name} is {low} at {where}; expected positive entries: {rule}.{remedy}")


def _not_stochastic(
    name: str, P: Array, deviation: float, tolerance: float, dtype: np.dtype[Any], *, rows: bool
) -> str:
    sums, other = ("rows", "columns") if rows else ("columns", "rows")
    head = (
        f"{name} has {sums} that sum to 1 only within {deviation:.1e}; expected {tolerance:.1e} "
        f"for n = {P.shape[-1]} in {dtype}: each query's attention sums to 1."
    )
    if _deviation(P, -1) <= min(tolerance, deviation / 4):
        remedy = "rows=False" if rows else "rows=True (--rows at the command line), or P.T"
        return f"{head} Its {other} do sum to 1, so it lies transposed: pass {remedy}."
    for coarser in (np.float32, np.float16):
        if deviation <= (P.shape[-1] + 8) * float(np.finfo(coarser).eps) and dtype != coarser:
            return (
                f"{head} If it was computed in {coarser.__name__}, pass "
                f"stored=np.{coarser.__name__}; otherwise normalise it."
            )
    return f"{head} Normalise it, or pass logits= if these are logits."


def check_int(name: str, value: Any, *, least: int, most: int | None = None, why: str = "") -> int:
    """Return `value` as an int in ``[least, most]``; bools and floats are refused."""
    if isinstance(value, (bool, np.bool_)):
        raise InputTypeError(f"{name} is {value!r}; expected an integer, not a truth value.")
    try:
        number = operator.index(value)
    except TypeError:
        raise InputTypeError(
            f"{name} is {value!r} of type {type(value).__name__}; expected an integer."
        ) from None
    if number < least or (most is not None and number > most):
        span = f"at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} is {number}; expected {span}{': ' + why if why else ''}.")
    return number


def check_head_size(value: Any) -> int:
    """Return a head size, an integer of at least 1."""
    return check_int(
        "head_size", value, least=1, why="a head has at least one query and key coordinate"
    )


def check_real(
    name: str, value: Any, *, above: float | None = None, least: float | None = None
) -> float:
    """Return `value` as a finite float, above or at least a bound."""
    if isinstance(value, (str, bytes, bool)) or value is None:
        raise InputTypeError(f"{name} is {value!r}; expected a real number.")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputTypeError(f"{name} is {value!r}; expected a real number.") from None
    except OverflowError:
        raise InputError(
            f"{name} is above 1.8e308; expected a number that float64 holds."
        ) from None
    if not np.isfinite(number):
        raise InputError(f"{name} is {number}; expected a finite number.")
    if above is not None and not number > above:
        raise InputError(f"{name} is {number}; expected a number above {above}.")
    if least is not None and not number >= least:
        raise InputError(f"{name} is {number}; expected a number of at least {least}.")
    return number


def check_seed(seed: Any) -> np.random.Generator:
    """Return a Generator from an integer seed or a Generator; None is refused."""
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is None:
        raise InputTypeError(
            "seed is None; expected an integer or a numpy.random.Generator: "
            "what is random here can always be drawn again."
        )
    return np.random.default_rng(check_int("seed", seed, least=0))


def frozen_copy(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a read-only copy, for a record to hold."""
    copy = np.array(array)
    copy.flags.writeable = False
    return copy
