"""The matrices of a certificate, and how its numbers are written."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational, Real
from typing import Any, Literal

from rankbound.certificates.checker.outcome import shown
from rankbound.errors import InputError, InputTypeError

__all__ = [
    "Dyadic",
    "Layer",
    "Matrix",
    "Minor",
    "encoded",
    "floating",
    "integer",
    "integers",
    "rational",
]

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
        return cls("rational", *_flat(rows, columns, rational))

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


@dataclass(frozen=True, eq=False)
class Layer:
    """The weights of attention heads; build them with :meth:`of_rationals` or :meth:`of_floats`.

    Parameters
    ----------
    heads : int
        Number of heads h.
    queries, keys : Matrix, shape (h * k, d)
        Projections, head after head.
    values : Matrix, shape (h * v, d)
        Value projections, head after head.
    output : Matrix, shape (d, h * v)
        Output projection; its columns belong to the heads in order.
    scale : Fraction
        What multiplies the logits.
    """

    heads: int
    queries: Matrix
    keys: Matrix
    values: Matrix
    output: Matrix
    scale: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", integer(self.heads))
        object.__setattr__(self, "scale", rational(self.scale))

    @classmethod
    def of_rationals(cls, W_q: Any, W_k: Any, W_v: Any, W_o: Any, scale: Rational | int) -> Layer:
        """Return the layer of stacks (h, k, d), (h, k, d), (h, v, d) and a matrix (d, h * v)."""
        make = Matrix.of_rationals
        queries, keys, values = (make(_stacked(W)) for W in (W_q, W_k, W_v))
        return cls(len(W_q), queries, keys, values, make(W_o), rational(scale))

    @classmethod
    def of_floats(cls, W_q: Any, W_k: Any, W_v: Any, W_o: Any, scale: float) -> Layer:
        """Return the layer of the exact numbers that these floats are, shaped likewise."""
        make = Matrix.of_floats
        queries, keys, values = (make(_stacked(W)) for W in (W_q, W_k, W_v))
        return cls(len(W_q), queries, keys, values, make(W_o), Fraction(floating(scale)))

    def to_data(self) -> dict[str, Any]:
        """The layer as a certificate writes it."""
        return {name: encoded(value) for name, value in vars(self).items()}


def encoded(value: Any) -> Any:
    """A field of a statement or certificate as JSON holds it: floats as ``float.hex()``."""
    if isinstance(value, Matrix | Dyadic | Minor | Layer):
        return value.to_data()
    if isinstance(value, Fraction):
        return _written_rational(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float):
        return value.hex()
    return value


def _stacked(heads: Any) -> list[Any]:
    return [row for head in heads for row in head]


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
        raise InputTypeError(f"{shown(value)} is not an integer; expected an int.") from None


def integers(values: Iterable[Any]) -> tuple[int, ...]:
    """Python's ints."""
    return tuple(map(integer, values))


def floating(value: Any) -> float:
    """Python's float, of any library's real number; finite."""
    if isinstance(value, float):
        return _float(value)
    if not isinstance(value, Real):
        raise InputTypeError(f"{shown(value)} is not a real number; expected a float.")
    return _float(float(value))


def rational(value: Any) -> Fraction:
    """A Fraction, of any library's rational."""
    if not isinstance(value, Rational):
        raise InputTypeError(f"{shown(value)} is not a rational; expected a Fraction or an int.")
    return Fraction(int(value.numerator), int(value.denominator))


def _float(value: Any) -> float:
    if not isinstance(value, float):
        raise InputTypeError(f"{shown(value)} is not a float; expected one (or of_integers).")
    if not math.isfinite(value):
        raise InputError(f"{shown(value)} stands for no number; expected finite floats.")
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
