"""Matrices of rational numbers: how they are read, and what is done with them exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from numbers import Integral, Rational
from typing import Any

import numpy as np

from rankbound._validate import guarded, plain, shown
from rankbound.errors import InputError, InputTypeError

IntegerMatrix = list[list[int]]
Rationals = list[list[Fraction]]


def is_exact(value: Any) -> bool:
    """Say whether `value` is a matrix of ints, Fractions or SymPy numbers, to be read exactly."""
    if hasattr(value, "is_Matrix"):
        return True
    dtype = getattr(value, "dtype", None)
    if dtype is None and isinstance(value, Sequence):
        try:
            rows = [row if isinstance(row, Sequence) else [row] for row in value]
            entries = [entry for row in rows for entry in row]
        except Exception:  # a foreign sequence may raise anything; reading it says so
            return False
        return bool(entries) and all(_is_exact_entry(entry) for entry in entries)
    kind = getattr(dtype, "kind", "")
    if kind == "O":
        return all(_is_exact_entry(entry) for entry in np.asarray(value).flat)
    return kind in ("i", "u")


def _is_exact_entry(entry: Any) -> bool:
    return isinstance(entry, Rational) or (
        hasattr(entry, "is_rational") and not getattr(entry, "is_Float", False)
    )


def rational_matrix(name: str, value: Any, *, floats: bool = False) -> tuple[Rationals, Any]:
    """Read a matrix exactly, as ``(rows, unit)``: the matrix is ``unit * rows``.

    Its entries are ints, Fractions or SymPy numbers, which may share one irrational factor, as in
    ``log(2) * M``; floats, read as the exact rationals they are, only with ``floats=True``.
    """
    table = guarded(name, value, lambda: _table(name, value))
    if not table or not isinstance(table[0], list) or not table[0]:
        raise InputError(
            f"{name} is no matrix, or is empty: {shown(value)}; expected a matrix of at least one "
            "row and column."
        )
    if any(not isinstance(row, list) or len(row) != len(table[0]) for row in table):
        raise InputError(f"{name} is ragged or has more than 2 axes; expected one matrix (m, n).")
    if floats and all(type(entry) is float for row in table for entry in row):
        with suppress(ValueError, OverflowError):  # not finite: said below
            return as_rationals(table), 1
    unit = _common_unit(table)
    plain = type(unit) is int
    rows = [
        [
            # most matrices are of Fractions, with nothing to read
            entry
            if plain and type(entry) is Fraction
            else _fraction(name, entry, (i, j), unit, floats)
            for j, entry in enumerate(row)
        ]
        for i, row in enumerate(table)
    ]
    return rows, unit


def _table(name: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [
            row.tolist()
            if hasattr(row, "tolist")
            else list(row)
            if isinstance(row, Sequence)
            else row
            for row in value
        ]
    array = plain(name, value)[0]
    if array.ndim != 2:
        raise InputError(f"{name} has shape {array.shape}; expected one matrix (m, n).")
    return array.tolist()


def _common_unit(table: list[list[Any]]) -> Any:
    for row in table:
        for entry in row:
            if type(entry) is Fraction:
                continue
            if hasattr(entry, "is_rational") and entry.is_rational is False and entry.is_real:
                return entry
    return 1


def _fraction(name: str, entry: Any, at: tuple[int, int], unit: Any, floats: bool) -> Fraction:
    where = f"{name}[{at[0]}, {at[1]}]"
    if hasattr(entry, "is_rational") and not isinstance(entry, Rational):  # a SymPy number
        ratio = entry if unit == 1 else _ratio(entry, unit)
        if ratio.is_Rational:
            return Fraction(int(ratio.p), int(ratio.q))
        raise InputTypeError(
            f"{where} is {shown(entry)}; expected a rational number, or one common irrational "
            "factor times a rational matrix: the rank is decided over the rationals. "
            "For other entries pass floats."
        )
    if unit != 1 and entry != 0:
        raise InputTypeError(
            f"{where} is {shown(entry)}, and another entry is {shown(unit)}; "
            "expected one common factor."
        )
    if isinstance(entry, Integral):
        return Fraction(int(entry))
    if isinstance(entry, Rational):
        return Fraction(int(entry.numerator), int(entry.denominator))
    if isinstance(entry, (float, np.floating)):
        return _from_float(where, entry, floats)
    raise InputTypeError(
        f"{where} is {shown(entry)} of type {type(entry).__name__}; "
        "expected an int, a Fraction or a SymPy number."
    )


def _ratio(entry: Any, unit: Any) -> Any:
    import sympy

    if entry == 0:
        return sympy.Integer(0)
    return sympy.simplify(sympy.expand_log(entry) / sympy.expand_log(unit))


def _from_float(where: str, entry: Any, floats: bool) -> Fraction:
    if not floats:
        raise InputTypeError(
            f"{where} is the float {entry!r}; expected an exact number, since a rounded entry "
            'decides no exact rank. Pass floats="exact" to read floats as the rationals they are.'
        )
    if not np.isfinite(entry):
        raise InputError(f"{where} is {entry}; expected a finite number.")
    return Fraction(*entry.as_integer_ratio())


def as_rationals(rows: Any) -> Rationals:
    """Return rows of finite floats or rationals as Fractions, without a check."""
    return [[Fraction(x) for x in row] for row in rows]


def transposed(rows: Rationals) -> Rationals:
    """Return the transpose of a matrix of at least one row."""
    return [list(column) for column in zip(*rows, strict=True)]


def centred(rows: Rationals) -> Rationals:
    """Return C·rows exactly, C = I - 11^T/n: each column less its mean."""
    means = [sum(column, Fraction(0)) / len(rows) for column in zip(*rows, strict=True)]
    return [[x - mean for x, mean in zip(row, means, strict=True)] for row in rows]


def integer_rows(rows: Rationals | IntegerMatrix) -> tuple[IntegerMatrix, list[int]]:
    """Clear denominators row by row, which keeps the rank; also return each row's multiplier."""
    cleared, multipliers = [], []
    for row in rows:
        ratios = [x.as_integer_ratio() for x in row]  # one call an entry: half the time is calls
        multiplier = 1
        for _, q in ratios:
            if multiplier % q:  # a remainder costs a fraction of a divisor
                multiplier = math.lcm(multiplier, q)
        cleared.append([p * (multiplier // q) for p, q in ratios])
        multipliers.append(multiplier)
    return cleared, multipliers
