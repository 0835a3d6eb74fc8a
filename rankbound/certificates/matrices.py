"""The matrices of a certificate, and how its numbers are written."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational, Real
from typing import Any, Literal

from rankbound.errors import InputError, InputTypeError

__all__ = ["Dyadic", "Matrix", "Minor", "encoded", "floating", "integer", "integers"]

Number = int | Fraction | float


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix of exact numbers; build one with :meth:`of_integers` and its siblings.

    Parameters
    ----------
    type : {"integer", "rational", "float"}
        What the entries are. Floats stand for the exact numbers they are.
    rows, columns : int
        The shape.
    entries : tuple
        ints, Fractions or floats, row by row.
    """

    type: Literal["integer", "rational", "float"]
    rows: int
    columns: int
    entries: tuple[Number, ...]

    def __post_init__(self) -> None:
        if self.type not in WRITERS:
            raise InputError(f"type is {self.type!r}; expected one of {', '.join(WRITERS)}.")
        _require_count(self.rows, self.columns, len(self.entries))

    @classmethod
    def of_integers(cls, rows: Sequence[Sequence[Any]], columns: int | None = None) -> Matrix:
        """Return the integer matrix of these rows; `columns` is needed where there is no row."""
        return cls("integer", *_flat(rows, columns, integer))

    @classmethod
    def of_rationals(cls, rows: Sequence[Sequence[Any]], columns: int | None = None) -> Matrix:
        """Return the rational matrix of these rows of Fractions or ints."""
        return cls("rational", *_flat(rows, columns, _rational))

    @classmethod
    def of_floats(cls, rows: Sequence[Sequence[Any]], columns: int | None = None) -> Matrix:
        """Return the float matrix of these rows of finite floats."""
        return cls("float", *_flat(rows, columns, _float))

    def to_data(self) -> dict[str, Any]:
        """The matrix as a certificate writes it."""
        write = WRITERS[self.type]
        return {
            "type": self.type,
            "rows": self.rows,
            "columns": self.columns,
            "entries": [write(entry) for entry in self.entries],
        }


@dataclass(frozen=True, eq=False)
class Dyadic:
    """A matrix of integers times ``2**exponent``.

    Parameters
    ----------
    rows, columns : int
        The shape.
    entries : tuple of int
        Row by row.
    exponent : int
        The exponent of two that all entries share.
    """

    rows: int
    columns: int
    entries: tuple[int, ...]
    exponent: int

    def __post_init__(self) -> None:
        _require_count(self.rows, self.columns, len(self.entries))
        object.__setattr__(self, "entries", integers(self.entries))
        object.__setattr__(self, "exponent", integer(self.exponent))

    def to_data(self) -> dict[str, Any]:
        """The matrix as a certificate writes it."""
        return {
            "rows": self.rows,
            "columns": self.columns,
            "entries": [hex(entry) for entry in self.entries],
            "exponent": self.exponent,
        }


@dataclass(frozen=True, eq=False)
class Minor:
    """A square part of a matrix, and a modulus at which its determinant is a unit.

    Parameters
    ----------
    rows, columns : tuple of int
        As many distinct indices each.
    prime : int
        The modulus; a prime serves best, any integer from 2 to 2^64 - 1 proves as much.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    prime: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", integers(self.rows))
        object.__setattr__(self, "columns", integers(self.columns))
        object.__setattr__(self, "prime", integer(self.prime))

    def to_data(self) -> dict[str, Any]:
        """The minor as a certificate writes it."""
        return {"rows": list(self.rows), "columns": list(self.columns), "prime": hex(self.prime)}


def encoded(value: Any) -> Any:
    """A field of a statement or certificate as JSON holds it: floats as ``float.hex()``."""
    if isinstance(value, Matrix | Dyadic | Minor):
        return value.to_data()
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float):
        return value.hex()
    return value


def _flat(
    rows: Sequence[Sequence[Any]], columns: int | None, convert: Callable[[Any], Number]
) -> tuple[int, int, tuple[Number, ...]]:
    if columns is None:
        if len(rows) == 0:
            raise InputError("there are no rows; expected `columns` to say how many columns.")
        columns = len(rows[0])
    for row in rows:
        if len(row) != columns:
            raise InputError(f"a row has {len(row)} entries; expected {columns} in every row.")
    return len(rows), columns, tuple(convert(entry) for row in rows for entry in row)


def integer(value: Any) -> int:
    """Python's int, of any library's integer."""
    try:
        return int(operator.index(value))
    except TypeError:
        raise InputTypeError(f"{value!r} is not an integer; expected an int.") from None


def integers(values: Iterable[Any]) -> tuple[int, ...]:
    """Python's ints."""
    return tuple(map(integer, values))


def floating(value: Any) -> float:
    """Python's float, of any library's real number; finite."""
    if isinstance(value, float):
        return _float(value)
    if not isinstance(value, Real):
        raise InputTypeError(f"{value!r} is not a real number; expected a float.")
    return _float(float(value))


def _rational(value: Any) -> Fraction:
    if not isinstance(value, Rational):
        raise InputTypeError(f"{value!r} is not a rational; expected a Fraction or an int.")
    return Fraction(value)


def _float(value: Any) -> float:
    if not isinstance(value, float):
        raise InputTypeError(f"{value!r} is not a float; expected one (integers: of_integers).")
    if not math.isfinite(value):
        raise InputError(f"{value!r} stands for no number; expected finite floats.")
    return float(value)


def _require_count(rows: int, columns: int, count: int) -> None:
    if rows < 0 or columns < 0 or rows * columns != count:
        raise InputError(f"{rows} × {columns} needs {rows * columns} entries; got {count}.")


def _written_rational(value: Any) -> str:
    return f"{hex(value.numerator)}/{hex(value.denominator)}"


WRITERS: dict[str, Callable[[Any], str]] = {
    "integer": hex,
    "rational": _written_rational,
    "float": float.hex,
}
