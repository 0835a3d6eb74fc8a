"""What the checker answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

__all__ = ["Check", "Rejected", "shown"]

LONGEST_SHOWN = 60
MOST_BITS_SHOWN = 200


@dataclass(frozen=True, eq=False)
class Check:
    """The outcome of checking one certificate.

    Parameters
    ----------
    accepted : bool
        Whether the certificate proves its statement. A rejected one refutes nothing.
    statement : str
        The statement in words, as the checker read it.
    reason : str
        What was verified, or why the certificate is rejected.
    """

    accepted: bool
    statement: str
    reason: str

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a Check is not a truth value: ask for .accepted; a rejection refutes nothing."
        )


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
