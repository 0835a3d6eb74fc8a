"""What a model is given: a text, cut into windows of tokens with the special tokens around them,
or other inputs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rankbound._validate import check_int
from rankbound.auditing.models import quiet
from rankbound.errors import InputError, InputTypeError

USUAL = 512  # tokens of a window, where the text and the model allow it
CHARACTERS = 8  # of the text to read for each token wanted, at first
SPARE = 64  # tokens past the last window: how a text goes on changes none of them


@dataclass(frozen=True)
class TextFacts:
    """The text that was read, or the other inputs."""

    sha256: str  # of the text in UTF-8, or of the inputs' names, shapes and bytes
    tokens: int | None  # of what was read of it, special ones included; None for other inputs
    length: int | None  # tokens of a window; None for other inputs
    windows: int  # how many were audited
    whole: bool = True  # whether the text was read to its end
    inputs: Mapping[str, str] = field(default_factory=dict)  # of a run: dtypes and shapes

    def summary(self) -> str:
        """What was given, in a few words."""
        if self.length is None or self.tokens is None:
            return ", ".join(f"{name} {shape}" for name, shape in self.inputs.items())
        windows = "1 window" if self.windows == 1 else f"{self.windows} windows"
        return f"{windows} of {self.length:,} tokens, of {self.extent} in all"

    @property
    def extent(self) -> str:
        """How long the text is, as far as it was read."""
        return f"{self.tokens:,} tokens" if self.whole else f"more than {self.tokens:,} tokens"


def input_facts(inputs: Mapping[str, Any]) -> TextFacts:
    """What is recorded of other inputs than a text."""
    digest = hashlib.sha256()
    for name, value in inputs.items():
        content = value.cpu().numpy().tobytes() if hasattr(value, "cpu") else repr(value).encode()
        digest.update(f"{name} {_shape(value)} ".encode() + content)
    return TextFacts(digest.hexdigest(), None, None, 1, inputs=shapes(inputs))


def shapes(inputs: Mapping[str, Any]) -> dict[str, str]:
    """Dtypes and shapes of inputs, by name."""
    return {name: _shape(value) for name, value in inputs.items()}


def _shape(value: Any) -> str:
    if not hasattr(value, "shape"):
        return repr(value)
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


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

    `length` is as for `audit`, and at most `most`, the model's number of positions. A long text is
    read as far as the windows go, to a blank at least SPARE tokens after them.
    """
    windows = check_int("windows", windows, least=1)
    if length is not None:
        length = _most(
            check_int("length", length, least=2, why="one token attends to itself"), most
        )
    wanted = windows * (length or min(USUAL, most or USUAL))
    whole, body, ended = _start(tokenizer, text, wanted)
    if not body or len(whole) < 2:
        raise InputError(
            f"the text has {len(body)} tokens beside {len(whole) - len(body)} special ones; "
            "expected at least 1, and 2 in all."
        )
    before, after = _around(whole, body)
    _check_single(tokenizer, before, body, after if ended else [])
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
    return cut, TextFacts(digest, len(whole), n, windows, ended)


def _start(tokenizer: Any, text: str, wanted: int) -> tuple[list[int], list[int], bool]:
    """The tokens of the text, or of a start with enough of them: with special ones, without, whole?

    Tokenizers split words at blanks, so a start that ends before one has the tokens of the text.
    """
    size = CHARACTERS * wanted
    while size < len(text) and (blank := re.compile(r"\s").search(text, size)):
        start = text[: blank.start()]
        body = _ids(tokenizer, start, False)
        if len(body) >= wanted + SPARE:
            return _ids(tokenizer, start, True), body, False
        size *= 2
    return _ids(tokenizer, text, True), _ids(tokenizer, text, False), True


def _most(length: int, most: int | None) -> int:
    if most is not None and length > most:
        raise InputError(
            f"length is {length}; expected at most {most}, the positions of the model."
        )
    return length


def _length(length: int | None, tokens: int, most: int | None) -> int:
    if length is None:
        return min(tokens, USUAL, most or USUAL)
    if length > tokens:
        raise InputError(
            f"the text has {tokens} tokens; expected at least the length of {length}. Give a "
            "longer text or a smaller length."
        )
    return length


def _ids(tokenizer: Any, text: str, special: bool) -> list[int]:
    with quiet():  # a long text is meant: it is cut below
        return list(tokenizer(text, add_special_tokens=special)["input_ids"])


def _check_single(tokenizer: Any, before: list[int], body: list[int], after: list[int]) -> None:
    """Raise if a text that holds special tokens gets them a second time."""
    first, last = [*before, *body][:2], [*body, *after][-2:]
    for ends, own, where in ((first, before, "begins"), (last, after, "ends")):
        if own and ends[0] == ends[1]:
            remedy = "Mend the tokenizer" if len(own) > 1 else "Remove it from the text"
            raise InputError(
                f"the text {where} with the special token "
                f"{tokenizer.convert_ids_to_tokens(ends[0])} twice; expected it once, as the "
                f"tokenizer adds it. {remedy}."
            )


def _around(whole: list[int], body: list[int]) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    for start in range(len(whole) - len(body) + 1):
        if whole[start : start + len(body)] == body:
            return whole[:start], whole[start + len(body) :]
    raise InputError(
        "the tokenizer writes a text otherwise with special tokens than without; expected them "
        "before and after it."
    )
