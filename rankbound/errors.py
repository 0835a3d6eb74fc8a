"""What rankbound raises.

Every message says what was got, what was expected, the rule behind it, and the remedy.
This module imports nothing, so that any floor can use it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class RankboundError(Exception):
    """Base of all errors that rankbound raises on purpose; what users wrote cannot break a line.

    Examples
    --------
    >>> import rankbound as rb
    >>> try:
    ...     rb.random_context(0, seed=0)
    ... except rb.RankboundError as error:
    ...     print(type(error).__name__)
    InputError
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(on_one_line(message))


def on_one_line(message: str) -> str:
    """A message as one line that can be printed, its longest words shortened."""
    words = message.split() if "\n" in message else message.split(" ")
    text = " ".join(word if len(word) <= 160 else f"{word[:120]}…" for word in words)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message, " Did you mean this or that?"; empty where no name is near."""
    from difflib import get_close_matches

    names, asked = list(known), word.strip("*?[]")[:80]
    held = [name for name in names if len(asked) > 2 and asked in name]
    near = (get_close_matches(asked, names, n=3) or held)[:3]
    return f" Did you mean {' or '.join(near)}?" if near else ""


class InputError(RankboundError, ValueError):
    """An argument has the right type and a value that the rule named in the message forbids.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.random_context(0, seed=0)
    Traceback (most recent call last):
        ...
    rankbound.errors.InputError: n is 0; expected at least 1.
    """


class InputTypeError(RankboundError, TypeError):
    """An argument has a type that the rule named in the message forbids.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.random_context("8", seed=0)
    Traceback (most recent call last):
        ...
    rankbound.errors.InputTypeError: n is '8' of type str; expected an integer.
    """


class NotRepresentable(RankboundError, ValueError):
    """No attention head of the requested size has the requested context matrix.

    Attributes
    ----------
    least_head_size : int or math.inf
        The least head size that would do; ``math.inf`` when no head of any size does.
    reason : str
        The condition that failed.

    Examples
    --------
    >>> import rankbound as rb
    >>> try:
    ...     rb.represent(rb.random_context(6, seed=0), head_size=4)
    ... except rb.NotRepresentable as error:
    ...     print(error.least_head_size)
    5
    """

    def __init__(self, message: str, *, least_head_size: float, reason: str) -> None:
        super().__init__(message)
        self.least_head_size = least_head_size
        self.reason = reason


class Undecided(RankboundError, ValueError):
    """The question has an answer, and what is known does not settle it.

    Attributes
    ----------
    bounds : RankBounds or None
        What is known.
    remedy : str
        What would decide it.

    Examples
    --------
    >>> import rankbound as rb
    >>> bounds = rb.RankBounds(2, 3, rb.Verdict.RIGOROUS, "by hand")
    >>> try:
    ...     int(bounds)
    ... except rb.Undecided as error:
    ...     print(error.bounds.lower, error.bounds.upper)
    2 3
    """

    def __init__(self, message: str, *, bounds: Any = None, remedy: str = "") -> None:
        super().__init__(message)
        self.bounds = bounds
        self.remedy = remedy


class BackendMissing(RankboundError, ImportError):
    """An optional package is needed and not installed; the message holds the install line.

    Examples
    --------
    >>> import rankbound as rb
    >>> issubclass(rb.BackendMissing, ImportError)
    True
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C stopped a computation whose parts mean something by themselves.

    Attributes
    ----------
    done : Audit, Atlas or Bracket
        What was finished.
    """

    def __init__(self, message: str, done: Any) -> None:
        super().__init__(message)
        self.done = done
