"""Matrices in files: .npy, .npz and .csv, told apart by what they hold; nothing is unpickled."""

from __future__ import annotations

import io
import os
import re
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np

from rankbound.errors import InputError

MOST_TEXT = 2**28  # bytes of a .csv
EXPECTED = "expected a matrix of numbers in a .npy, .npz or .csv file"
_INTEGER = re.compile(r"[+-]?\d{1,4000}", re.ASCII)
_FRACTION = re.compile(r"[+-]?\d{1,4000}/0*[1-9]\d{0,4000}", re.ASCII)


def is_matrix_path(text: str) -> bool:
    """Whether a text names a file that holds a matrix, or an array of one: ``FILE.npz:NAME``."""
    return Path(_split(text)[0]).suffix in (".npy", ".npz", ".csv")


def read_matrix(name: str, path: str | os.PathLike[str]) -> Any:
    """Return what a file holds: an array, or of a .csv the rows; ``-`` is standard input.

    An .npz of several arrays gives the one called `name`, or NAME for ``FILE.npz:NAME``. Numbers of
    a .csv that are integers or fractions (``2/3``) stay exact; there is no header.
    """
    file, key = _split(os.fspath(path))
    where = "standard input" if file == "-" else file
    try:
        if file == "-":
            return _read(name, sys.stdin.buffer, key)
        with open(file, "rb") as stream:
            return _read(name, stream, key)
    except InputError as error:
        raise InputError(f"{name}: {where} {error}; {EXPECTED}.") from None
    except Exception as error:  # NumPy evaluates headers, and damaged files raise anything
        reason = getattr(error, "strerror", None) or f"damaged: {type(error).__name__}"
        raise InputError(f"{name}: {where} cannot be read ({reason}); {EXPECTED}.") from None


def _split(text: str) -> tuple[str, str]:
    file, _, key = text.rpartition(":")
    return (file, key) if file.endswith(".npz") else (text, "")


def _read(name: str, stream: Any, key: str) -> Any:
    begin = stream.peek(6)[:6]
    if not begin:
        raise InputError("is empty")
    if begin == b"\x93NUMPY":
        return _array(stream)
    if begin[:2] == b"PK":
        return _from_archive(name, io.BytesIO(stream.read()), key)
    if b"\0" in begin:
        raise InputError("cannot be read: it is neither a .npy, an .npz nor a .csv file")
    return _rows(stream.read(MOST_TEXT + 1))


def _array(stream: Any) -> Any:
    """One array; what its header claims is read and no more."""
    try:
        return np.lib.format.read_array(SimpleNamespace(read=stream.read), allow_pickle=False)
    except ValueError as error:
        if "Object arrays" in str(error):
            raise InputError(
                "holds Python objects, which are never unpickled here: save it with .astype(float)"
            ) from None
        raise


def _from_archive(name: str, file: IO[bytes], key: str) -> Any:
    with np.load(file, allow_pickle=False) as archive:
        if any(held.endswith("/data.pkl") for held in archive.files):
            raise InputError(
                "is of torch.save, which is never unpickled here: np.save(FILE, tensor.numpy())"
            )
        key = key or (name if name in archive.files or len(archive.files) != 1 else "")
        key = key or archive.files[0]
        if key not in archive.files:
            held = ", ".join(archive.files) or "no array"
            wanted = "one array, or one called" if key == name else "one called"
            raise InputError(f"holds {held}; expected {wanted} {key}. Name one by FILE.npz:NAME")
        with archive.zip.open(f"{key}.npy") as member:
            return _array(member)


def _rows(data: bytes) -> list[list[Any]]:
    """The rows of a .csv; ones that are empty or begin with # are left out."""
    if len(data) > MOST_TEXT:
        raise InputError(f"has more than {MOST_TEXT} bytes of text: save it as .npy")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError("cannot be read: it is no .npy, no .npz and no text in UTF-8") from None
    rows: list[list[Any]] = []
    first = 0
    for at, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = line.split(",") if "," in line else line.split()
        rows.append([_number(cell.strip(), at, place) for place, cell in enumerate(cells, 1)])
        first = first or at
        if len(cells) != len(rows[0]):
            raise InputError(
                f"is ragged: rows have {len(rows[0])} entries in line {first}, {len(cells)} in {at}"
            )
    if not rows:
        raise InputError("holds no numbers")
    if _begins_with_header(rows):
        raise InputError(
            f"begins with 0 to {len(rows[0]) - 1} above rows of another kind, as pandas heads its "
            "columns: write it with header=False, index=False, or, if they are numbers, as 0.0, 1.0"
        )
    return rows


def _begins_with_header(rows: list[list[Any]]) -> bool:
    """Whether integers 0 … n - 1 stand above rows of floats alone, or of bools."""
    first, others = rows[0], [type(x) for row in rows[1:] for x in row]
    return (
        len(first) > 1
        and all(type(x) is int for x in first)
        and first == list(range(len(first)))
        and (set(others) in ({float}, {bool}))
    )


def _number(cell: str, line: int, place: int) -> Any:
    if cell in ("True", "False"):
        return cell == "True"
    if _INTEGER.fullmatch(cell):
        return int(cell)
    if _FRACTION.fullmatch(cell):
        return Fraction(cell)
    try:
        return float("no number" if "_" in cell else cell)
    except ValueError:
        raise InputError(
            f"cannot be read: line {line}, column {place} is {cell[:40]!r}, not a number"
        ) from None
