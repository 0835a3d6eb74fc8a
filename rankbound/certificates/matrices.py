"""The records and matrices of a certificate, and how its numbers are read and written."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from numbers import Rational, Real
from typing import Any, Literal, dataclass_transform

from rankbound.certificates.checker.fields import shown
from rankbound.errors import InputError, InputTypeError

Number = int | Fraction | float


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix of exact numbers; build one with :meth:`of_integers` and its siblings."""

    type: Literal["integer", "rational", "float"]  # floats stand for the exact numbers they are
    rows: int
    columns: int
    entries: tuple[Number, ...]  # row by row

    def __post_init__(self) -> None:
        if self.type not in CODECS:
            raise InputError(f"type is {self.type!r}; expected one of {', '.join(CODECS)}.")
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
        write, _ = CODECS[self.type]
        return {
            "type": self.type,
            "rows": self.rows,
            "columns": self.columns,
            "entries": [write(entry) for entry in self.entries],
        }


@dataclass_transform(eq_default=False, frozen_default=True, field_specifiers=(field,))
@dataclass(frozen=True, eq=False)
class Record:
    """Fields that are written as JSON; numbers of other libraries become Python's, as declared.

    Whatever inherits from it is a frozen dataclass.
    """

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, eq=False)(cls)

    def __post_init__(self) -> None:
        for one in fields(self):
            convert = CONVERTED.get(str(one.type))
            if convert is not None:
                object.__setattr__(self, one.name, convert(getattr(self, one.name)))

    def to_data(self) -> dict[str, Any]:
        """The record as a certificate writes it; a prime, unlike an index, in hexadecimal."""
        held = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: hex(x) if name == "prime" else encoded(x) for name, x in held.items()}


class Dyadic(Record):
    """A matrix of integers, row by row, times ``2**exponent``."""

    rows: int
    columns: int
    entries: tuple[int, ...]
    exponent: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_count(self.rows, self.columns, len(self.entries))

    def to_data(self) -> dict[str, Any]:
        """The matrix as a certificate writes it."""
        return {**super().to_data(), "entries": [hex(entry) for entry in self.entries]}


class Minor(Record):
    """A square part of a matrix, and a modulus at which its determinant is a unit.

    A prime serves best; any integer from 2 to 2^64 - 1 proves as much.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    prime: int


class Block(Record):
    """Keys and queries of a context, and what bounds their part of a KL divergence.

    In each entry ``p φ(T) >= θ``, T the reach and θ the budget, and at the touching point the
    slope of ``(a b)² (x - H)² - p φ(x)``, H the tilt, is nearly 0. ``left diag(values) right`` is
    nearly ``diag(a) (log P - H) diag(b)`` with the gauge projected out.
    """

    keys: tuple[int, ...]
    queries: tuple[int, ...]
    budget: Fraction
    key_weights: Dyadic  # a column
    query_weights: Dyadic  # a row
    tilt: Dyadic  # a matrix, as the two that follow
    touching: Dyadic
    reach: Dyadic
    left: Dyadic
    values: Dyadic  # a column
    right: Dyadic


class Layer(Record):
    """The weights of attention heads; build them with :meth:`of_rationals` or :meth:`of_floats`."""

    heads: int
    queries: Matrix  # (h * k, d), head after head
    keys: Matrix  # (h * k, d)
    values: Matrix  # (h * v, d)
    output: Matrix  # (d, h * v); its columns belong to the heads in order
    scale: Fraction  # what multiplies the logits

    @classmethod
    def of_rationals(cls, W_q: Any, W_k: Any, W_v: Any, W_o: Any, scale: Rational | int) -> Layer:
        """Return the layer of stacks (h, k, d), (h, k, d), (h, v, d) and a matrix (d, h * v)."""
        return cls._of(Matrix.of_rationals, (W_q, W_k, W_v), W_o, rational(scale))

    @classmethod
    def of_floats(cls, W_q: Any, W_k: Any, W_v: Any, W_o: Any, scale: float) -> Layer:
        """Return the layer of the exact numbers that these floats are, shaped likewise."""
        return cls._of(Matrix.of_floats, (W_q, W_k, W_v), W_o, Fraction(floating(scale)))

    @classmethod
    def _of(cls, make: Callable[[Any], Matrix], stacks: Any, W_o: Any, scale: Fraction) -> Layer:
        queries, keys, values = (make([row for head in W for row in head]) for W in stacks)
        return cls(len(stacks[0]), queries, keys, values, make(W_o), scale)


def encoded(value: Any) -> Any:
    """A field of a statement or certificate as JSON holds it: floats as ``float.hex()``."""
    if isinstance(value, Matrix | Record):
        return value.to_data()
    if isinstance(value, Fraction):
        return _written_rational(value)
    if isinstance(value, tuple):
        return [encoded(item) if isinstance(item, Record) else item for item in value]
    if isinstance(value, float):
        return _written_float(value)
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
    """An int, from any library's integer."""
    try:
        return int(operator.index(value))
    except TypeError:
        raise InputTypeError(f"{shown(value)} is not an integer; expected an int.") from None


def integers(values: Iterable[Any]) -> tuple[int, ...]:
    """As :func:`integer`, for each."""
    return tuple(map(integer, values))


def floating(value: Any) -> float:
    """A finite float, from any library's real number."""
    if isinstance(value, float):
        return _float(value)
    if not isinstance(value, Real):
        raise InputTypeError(f"{shown(value)} is not a real number; expected a float.")
    return _float(float(value))


def rational(value: Any) -> Fraction:
    """A Fraction, from any library's rational."""
    if type(value) is Fraction:
        return value
    if not isinstance(value, Rational):
        raise InputTypeError(f"{shown(value)} is not a rational; expected a Fraction or an int.")
    return Fraction(int(value.numerator), int(value.denominator))


def _float(value: Any) -> float:
    if not isinstance(value, float):
        raise InputTypeError(f"{shown(value)} is not a float; expected one (or of_integers).")
    if not math.isfinite(value):
        raise InputError(f"{shown(value)} stands for no number; expected finite floats.")
    return float(value)


# by the type that a field declares: the integers 0 and 1 become floats where those are meant
CONVERTED: dict[str, Callable[[Any], object]] = {
    "int": integer,
    "tuple[int, ...]": integers,
    "tuple[int, ...] | None": lambda value: None if value is None else integers(value),
    "bool": bool,
    "float": floating,
    "float | Matrix": lambda value: value if isinstance(value, Matrix) else floating(value),
    "Fraction": rational,
}


def _require_count(rows: int, columns: int, count: int) -> None:
    if rows < 0 or columns < 0 or rows * columns != count:
        raise InputError(f"{rows} × {columns} needs {rows * columns} entries; got {count}.")


def _written_float(value: float) -> str:
    return (value + 0.0).hex()  # the sum turns -0.0 into 0.0: a number has one spelling


def _written_rational(value: Any) -> str:
    numerator, denominator = value.as_integer_ratio()
    return f"{numerator:#x}/{denominator:#x}"


def read_rational(text: str) -> Fraction:
    """The rational that was written as two hexadecimal integers and a slash."""
    numerator, _, denominator = text.partition("/")
    return Fraction(int(numerator, 16), int(denominator, 16))


# how an entry of each type is written, and read
CODECS: dict[str, tuple[Callable[[Any], str], Callable[[str], Number]]] = {
    "integer": (hex, lambda text: int(text, 16)),
    "rational": (_written_rational, read_rational),
    "float": (_written_float, float.fromhex),
}
