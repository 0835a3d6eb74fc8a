"""The bytes a language model learns: the standard library's own sources, or a file."""

from __future__ import annotations

import hashlib
import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rankbound.errors import InputError

__all__ = ["MOST_BYTES", "Corpus", "file_corpus", "library_corpus"]

MOST_BYTES = 4_000_000
LEAST_BYTES = 20_000
HELD_OUT = 0.1  # the end of the corpus, never trained on
APART = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True, eq=False)
class Corpus:
    """Bytes to learn and bytes to be judged by.

    Attributes
    ----------
    train, held_out : ndarray of uint8
        The first nine tenths, and the rest.
    sha256 : str
        Of both.
    """

    train: npt.NDArray[np.uint8]
    held_out: npt.NDArray[np.uint8]
    sha256: str


def library_corpus() -> Corpus:
    """The first 4 MB of the standard library's .py files, tests excluded, in a seeded order.

    Its hash differs between versions of Python.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if not APART & set(path.relative_to(root).parts)
    )
    text = bytearray()
    for place in np.random.default_rng(0).permutation(len(found)):
        text += (root / found[place]).read_bytes()
        if len(text) >= MOST_BYTES:
            break
    return _corpus(bytes(text[:MOST_BYTES]), "the standard library")


def file_corpus(path: str | os.PathLike[str]) -> Corpus:
    """The first 4 MB of a text file.

    Raises
    ------
    InputError
        If it cannot be read, is too short, or is binary (holds a zero byte).
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(MOST_BYTES)
    except OSError as error:
        raise InputError(
            f"the text {str(path)!r} cannot be read: {error.strerror}; expected a text file."
        ) from None
    if b"\0" in text:
        raise InputError(
            f"the text {str(path)!r} holds a zero byte, so it is no text; expected one in UTF-8 or "
            "another encoding without zero bytes."
        )
    return _corpus(text, repr(str(path)))


def _corpus(text: bytes, name: str) -> Corpus:
    if len(text) < LEAST_BYTES:
        raise InputError(
            f"the text {name} has {len(text)} bytes; expected {LEAST_BYTES} or more: a tenth is "
            "held out, and fewer say little of a model."
        )
    values = np.frombuffer(text, np.uint8)
    cut = round(len(text) * (1 - HELD_OUT))
    return Corpus(values[:cut], values[cut:], hashlib.sha256(text).hexdigest())
