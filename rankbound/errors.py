"""What rankbound raises.

Every message says what was got, what was expected, the rule behind it, and the remedy.
This module imports nothing, so that any floor can use it.
"""

from __future__ import annotations

from typing import Any


class RankboundError(Exception):
    """Base of all errors that rankbound raises on purpose; what users wrote cannot break a line."""

    def __init__(self, message: str = "") -> None:
        super().__init__(on_one_line(message))


def on_one_line(message: str) -> str:
    """A message as one line that can be printed, its longest words shortened."""
    words = message.split() if "\n" in message else message.split(" ")
    text = " ".join(word if len(word) <= 160 else f"{word[:120]}…" for word in words)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class InputError(RankboundError, ValueError):
    """An argument has the right type and a value that the rule named in the message forbids."""


class InputTypeError(RankboundError, TypeError):
    """An argument has a type that the rule named in the message forbids."""


class NotRepresentable(RankboundError, ValueError):
    """No attention head of the requested size has the requested context matrix.

    Attributes
    ----------
    least_head_size : int or math.inf
        The least head size that would do; ``math.inf`` when no head of any size does.
    reason : str
        The condition that failed.
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
    """

    def __init__(self, message: str, *, bounds: Any = None, remedy: str = "") -> None:
        super().__init__(message)
        self.bounds = bounds
        self.remedy = remedy


class BackendMissing(RankboundError, ImportError):
    """An optional package is needed and not installed; the message holds the install line."""
