"""From text, bytes, a file, a dict or an object to a tree of plain Python values.

Everything that could exhaust memory, the stack or patience is looked at before ``json`` sees it.
The writer's JSON is canonical; the reader accepts any spelling of the same object (white space,
order of keys), since the proof does not depend on it.
"""

from __future__ import annotations

import json
import os
import re
import stat
from typing import Any, NoReturn

from rankbound.certificates.checker.limits import MOST_BYTES, MOST_DEPTH, MOST_ITEMS
from rankbound.certificates.checker.outcome import Rejected, shown

__all__ = ["parse", "tree"]

LONGEST_INTEGER = 6  # sizes, indices and exponents; every other integer is a hexadecimal string
STRING = re.compile(r'"[^"]*"')
BRACKET = re.compile(r"[\[\]{}]")


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
