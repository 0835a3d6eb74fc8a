"""The fields of a certificate, each read strictly: exact keys, exact types, one spelling."""

from __future__ import annotations

import re
from collections.abc import Collection

from rankbound.certificates.checker.limits import LARGEST_EXPONENT, MOST_BITS, MOST_ROWS
from rankbound.certificates.checker.outcome import Rejected, shown

__all__ = [
    "boolean",
    "distinct_indices",
    "exponent",
    "exponents",
    "floating",
    "integer",
    "items",
    "keyed",
    "nonnegative",
    "rational",
    "size",
    "text",
]

INTEGER = re.compile(r"-?0x(?:0|[1-9a-f][0-9a-f]*)")
LONGEST = MOST_BITS // 4 + 4  # characters of one integer, its sign and prefix with it


def keyed(
    value: object, where: str, required: Collection[str], optional: Collection[str] = ()
) -> dict[str, object]:
    """An object that has the required keys and no others but the optional ones."""
    if not isinstance(value, dict):
        raise Rejected(f"{where} is {shown(value)}; expected an object.")
    for key in required:
        if key not in value:
            raise Rejected(f"{where} has no {key!r}.")
    for key in value:
        if key not in required and key not in optional:
            raise Rejected(f"{where} has an unknown key {shown(key)}.")
    return value


def items(value: object, where: str, count: int | None = None) -> list[object]:
    """A list, of so many items if that is given."""
    if not isinstance(value, list):
        raise Rejected(f"{where} is {shown(value)}; expected a list.")
    if count is not None and len(value) != count:
        raise Rejected(f"{where} has {len(value)} items; expected {count}.")
    return value


def text(value: object, where: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise Rejected(f"{where} is {shown(value)}; expected a string.")
    return value


def boolean(value: object, where: str) -> bool:
    """Either true or false."""
    if not isinstance(value, bool):
        raise Rejected(f"{where} is {shown(value)}; expected true or false.")
    return value


def size(value: object, where: str, least: int = 0, most: int = MOST_ROWS) -> int:
    """A JSON integer from `least` to `most`."""
    if type(value) is not int:  # a bool is an int to Python
        raise Rejected(f"{where} is {shown(value)}; expected an integer.")
    if not least <= value <= most:
        raise Rejected(f"{where} is out of bounds; expected {least} to {most}.")
    return value


def exponent(value: object, where: str) -> int:
    """A JSON integer that serves as an exponent of two."""
    return size(value, where, -LARGEST_EXPONENT, LARGEST_EXPONENT)


def exponents(value: object, where: str, count: int) -> list[int]:
    """So many exponents."""
    return [exponent(item, where) for item in items(value, where, count)]


def distinct_indices(value: object, where: str, below: int) -> list[int]:
    """Indices from 0 to `below` - 1, none of them twice."""
    found = [size(item, where, 0, below - 1) for item in items(value, where)]
    if len(set(found)) < len(found):
        raise Rejected(f"{where} repeats an index.")
    return found


def integer(value: object, where: str) -> int:
    """An integer written in hexadecimal, as Python's hex() does."""
    if not isinstance(value, str) or len(value) > LONGEST or not INTEGER.fullmatch(value):
        if isinstance(value, str) and len(value) > LONGEST:
            raise Rejected(f"{where} has an integer of more than {MOST_BITS} bits, the limit.")
        raise Rejected(f"{where} has {shown(value)}; expected an integer like '-0x1f'.")
    return int(value, 16)


def rational(value: object, where: str) -> tuple[int, int]:
    """Numerator and positive denominator, written "0x3/0x7"."""
    numerator, slash, denominator = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not slash:
        raise Rejected(f"{where} has {shown(value)}; expected a rational like '0x3/0x7'.")
    below = integer(denominator, where)
    if below <= 0:
        raise Rejected(f"{where} has a denominator that is not positive.")
    return integer(numerator, where), below


def floating(value: object, where: str) -> float:
    """A finite float written as float.hex() does."""
    if isinstance(value, str) and len(value) <= 32:
        try:
            found = float.fromhex(value)
        except (ValueError, OverflowError):
            found = float("nan")
        if found.hex() == value and "n" not in value:  # "nan", "inf" and other spellings
            return found
    raise Rejected(
        f"{where} has {shown(value)}; expected a finite float like '0x1.8000000000000p+1'."
    )


def nonnegative(value: object, where: str) -> float:
    """A finite float that is not negative."""
    found = floating(value, where)
    if found < 0:
        raise Rejected(f"{where} is negative.")
    return found
