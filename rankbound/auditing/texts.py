"""Windows of tokens, cut from a text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from rankbound._validate import check_int
from rankbound.auditing.models import quiet
from rankbound.errors import InputError, InputTypeError

__all__ = ["TextFacts", "check_text", "cut_windows"]

USUAL = 512  # tokens of a window, where the text and the model allow it


@dataclass(frozen=True)
class TextFacts:
    """What was read.

    Attributes
    ----------
    sha256 : str
        Of the text in UTF-8.
    tokens : int
        Number of tokens of the whole text, special ones included.
    length, windows : int
        Tokens of a window, and how many windows were audited.
    """

    sha256: str
    tokens: int
    length: int
    windows: int


def check_text(text: Any) -> str:
    """Return a text that is not empty."""
    if not isinstance(text, str):
        raise InputTypeError(
            f"text is a {type(text).__name__}; expected a str, the text itself. "
            "For a file pass Path(file).read_text(encoding='utf-8')."
        )
    if not text.strip():
        raise InputError("the text is empty; expected words for the model to attend to.")
    return text


def cut_windows(
    tokenizer: Any, text: str, length: int | None, windows: int, most: int | None
) -> tuple[list[list[int]], TextFacts]:
    """Cut the first windows of a text, each with the tokenizer's special tokens around it.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    text : str
    length : int or None
        Tokens of a window, special ones included; as many as there are up to 512 unless given.
    windows : int
        How many.
    most : int or None
        The model's number of positions.

    Raises
    ------
    InputError
        If the text is too short, or the length beyond the model's positions.
    """
    windows = check_int("windows", windows, least=1)
    whole, body = _ids(tokenizer, text, True), _ids(tokenizer, text, False)
    before, after = _around(whole, body)
    if len(body) < 1 or len(whole) < 2:
        raise InputError(f"the text has {len(whole)} tokens; expected at least 2.")
    n = _length(length, len(whole), most)
    inside = n - len(before) - len(after)
    if inside < 1:
        raise InputError(
            f"length is {n}, all of it special tokens; expected at least {n - inside + 1}."
        )
    available = len(body) // inside
    if available < windows:
        raise InputError(
            f"the text has {len(whole)} tokens, {available} windows of {n}; expected {windows}. "
            "Give a longer text or a smaller length."
        )
    cut = [[*before, *body[w * inside : (w + 1) * inside], *after] for w in range(windows)]
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return cut, TextFacts(digest, len(whole), n, windows)


def _length(length: int | None, tokens: int, most: int | None) -> int:
    if length is None:
        return min(tokens, USUAL, most or USUAL)
    n = check_int("length", length, least=2, why="one token attends to itself")
    if most is not None and n > most:
        raise InputError(f"length is {n}; expected at most {most}, the positions of the model.")
    if n > tokens:
        raise InputError(
            f"the text has {tokens} tokens; expected at least the length of {n}. Give a longer "
            "text or a smaller length."
        )
    return n


def _ids(tokenizer: Any, text: str, special: bool) -> list[int]:
    with quiet():  # a long text is meant: it is cut below
        return list(tokenizer(text, add_special_tokens=special)["input_ids"])


def _around(whole: list[int], body: list[int]) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    for start in range(len(whole) - len(body) + 1):
        if whole[start : start + len(body)] == body:
            return whole[:start], whole[start + len(body) :]
    raise InputError(
        "the tokenizer writes a text otherwise with special tokens than without; expected them "
        "before and after it."
    )
