"""The fields of a certificate, each read strictly: exact keys, exact types, one spelling.

Before that, text, bytes, a file, a dict or an object becomes a tree of plain Python values.
Everything that could exhaust memory, the stack or patience is looked at before ``json`` sees it.
The writer's JSON is canonical; the reader accepts any layout of the same object (white space,
order of keys), since the proof does not depend on it. Each number has one spelling: no -0, no
fraction that can be reduced.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Collection
from typing import Any, NoReturn

MOST_BYTES = 2**28
MOST_DEPTH = 8
MOST_ITEMS = 2**23  # in all lists and objects together: a short item costs far more than its bytes
MOST_ROWS = 1024
MOST_BITS = 2**17  # of one integer
LARGEST_EXPONENT = 4096
LONGEST_SHOWN = 60
MOST_BITS_SHOWN = 200
LONGEST_INTEGER = 6  # sizes, indices and exponents; every other integer is a hexadecimal string
STRING = re.compile(r'"[^"]*"')
BRACKET = re.compile(r"[\[\]{}]")
INTEGER = re.compile(r"0x0|-?0x[1-9a-f][0-9a-f]*")
RATIONAL = re.compile(rf"({INTEGER.pattern})/(0x[1-9a-f][0-9a-f]*)")
LONGEST = MOST_BITS // 4 + 4  # characters of one integer, its sign and prefix with it


class Rejected(Exception):
    """The certificate does not prove its statement, for the reason in the message."""


def shown(value: object) -> str:
    """What a rejection shows of a value that came from outside: short, whatever its size."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > MOST_BITS_SHOWN:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"{value[:LONGEST_SHOWN]!r}…"
    return repr(value)


def tree(certificate: object) -> object:
    """The certificate as a tree of dict, list, str, int, bool and None, or a rejection."""
    if isinstance(certificate, dict):
        return _Copy().of(certificate, 1)
    if isinstance(certificate, os.PathLike):
        return parse(_content(certificate))
    if isinstance(certificate, str | bytes):
        return parse(certificate)
    to_json = getattr(certificate, "to_json", None)
    text = to_json() if callable(to_json) else None
    if isinstance(text, str | bytes):
        return parse(text)
    raise Rejected(
        f"got {type(certificate).__name__}; expected a certificate, its JSON as text or as a dict, "
        "or the path of a file."
    )


def parse(text: str | bytes) -> object:
    """The tree that a JSON text stands for, or a rejection."""
    if len(text) > MOST_BYTES:
        raise Rejected(f"the text has {len(text)} bytes; the limit is {MOST_BYTES}.")
    try:
        text = text.decode("ascii") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise Rejected(f"the text is not ASCII at byte {error.start}.") from None
    _scan(text)
    try:
        return json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_int=_integer,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except ValueError as error:
        raise Rejected(f"the text is not JSON: {error}.") from None


def _scan(text: str) -> None:
    """Bound the nesting and the number of items without recursion."""
    if not text.isascii() or "\\" in text:
        raise Rejected(
            "the text holds a character outside ASCII or a backslash; no field needs one."
        )
    if text.count('"') > 4 * MOST_ITEMS:
        raise Rejected(f"there are more than {MOST_ITEMS} items, the limit.")
    skeleton = STRING.sub("", text)
    if sum(map(skeleton.count, "[{,")) > MOST_ITEMS:
        raise Rejected(f"there are more than {MOST_ITEMS} items, the limit.")
    depth = 0
    for match in BRACKET.finditer(skeleton):
        depth += 1 if match[0] in "[{" else -1
        if depth > MOST_DEPTH:
            raise Rejected(f"brackets nest deeper than the limit of {MOST_DEPTH}.")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Rejected("an object repeats a key.")
    return found


def _integer(text: str) -> int:
    if len(text) > LONGEST_INTEGER:
        raise Rejected(
            f"the integer {shown(text)} is too long for a size, index or exponent; "
            "other integers are hexadecimal strings."
        )
    if text == "-0":
        raise Rejected("the integer -0 is not allowed; zero is 0.")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise Rejected(f"the number {shown(text)} is not allowed; floats are strings, float.hex().")


def _content(path: os.PathLike[str] | os.PathLike[bytes]) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Rejected("the path is not that of a regular file.")  # a pipe may never end
        with open(path, "rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Rejected(f"the file cannot be read: {error.strerror}.") from None


class _Copy:
    """Copies a tree of plain values; counts, since shared parts make a small tree a large one."""

    def __init__(self) -> None:
        self.items = self.characters = 0

    def of(self, value: object, depth: int) -> object:
        if isinstance(value, dict | list):
            if depth > MOST_DEPTH:
                raise Rejected(f"values nest deeper than the limit of {MOST_DEPTH}.")
            self.items += 1 + len(value)
            if self.items > MOST_ITEMS:
                raise Rejected(f"there are more than {MOST_ITEMS} items, the limit.")
            if isinstance(value, list):
                return [self.of(item, depth + 1) for item in value]
            return {self._key(key): self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, str):
            return self._string(value)
        if value is None or isinstance(value, bool | int):
            return value
        raise Rejected(f"a value of type {type(value).__name__} has no place in a certificate.")

    def _key(self, key: object) -> str:
        if not isinstance(key, str):
            raise Rejected(f"a key of type {type(key).__name__} is not a string.")
        return self._string(key)

    def _string(self, value: str) -> str:
        self.characters += len(value)
        if self.characters > MOST_BYTES:
            raise Rejected(f"the strings have more than {MOST_BYTES} characters, the limit.")
        return str(value)


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
    """Numerator and positive denominator in lowest terms, written "0x3/0x7".

    The length of the text bounds the work of all its divisors at about 2^36 products of digits.
    """
    if isinstance(value, str) and len(value) <= LONGEST:  # at one glance what is mostly the case
        found = RATIONAL.fullmatch(value)
        if found is not None:
            above, below = int(found[1], 16), int(found[2], 16)
            if math.gcd(above, below) == 1:
                return above, below
    numerator, slash, denominator = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not slash:
        raise Rejected(f"{where} has {shown(value)}; expected a rational like '0x3/0x7'.")
    below = integer(denominator, where)
    if below <= 0:
        raise Rejected(f"{where} has a denominator that is not positive.")
    above = integer(numerator, where)
    if math.gcd(above, below) != 1:
        raise Rejected(f"{where} has {shown(value)}; expected lowest terms.")
    return above, below


def floating(value: object, where: str) -> float:
    """A finite float written as float.hex() does."""
    if isinstance(value, str) and len(value) <= 32:
        try:
            found = float.fromhex(value)
        except (ValueError, OverflowError):
            found = float("nan")
        # not "nan", "inf", -0 and other spellings
        if found.hex() == value and math.isfinite(found) and value != (-0.0).hex():
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
