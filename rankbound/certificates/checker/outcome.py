"""What the checker answers, how much it takes on, and the budget that one check may spend.

Work is counted before it is done, from sizes and bit lengths, in products of two 30-bit digits:
about a nanosecond each. So no certificate can keep the checker busy for hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

LONGEST_SHOWN = 60
MOST_BITS_SHOWN = 200


@dataclass(frozen=True, eq=False)
class Check:
    """The outcome of checking one certificate; a rejected one refutes nothing."""

    accepted: bool  # whether the certificate proves its statement
    statement: str  # in words, as the checker read it
    reason: str  # what was verified, or why the certificate is rejected

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


MOST_BYTES = 2**28
MOST_DEPTH = 8
MOST_ITEMS = 2**23  # in all lists and objects together: a short item costs far more than its bytes
MOST_ROWS = 1024
MOST_BITS = 2**17  # of one integer
LARGEST_EXPONENT = 4096
MOST_MINOR = 512
MOST_ENCLOSED = 256
MOST_MATRIX_BITS = 2**31
MOST_WORK = 2**36


class Budget:
    """The work that is left for one check."""

    def __init__(self) -> None:
        self.left = MOST_WORK

    def spend(self, work: int, on: str) -> None:
        """Take `work` from what is left, or reject."""
        self.left -= work
        if self.left < 0:
            raise Rejected(
                f"{on} would take the check past its limit of 2^{MOST_WORK.bit_length() - 1} "
                "products of digits."
            )

    @staticmethod
    def hold(bits: int, what: str) -> None:
        """Reject a matrix too large for memory before it is made."""
        if bits > MOST_MATRIX_BITS:
            raise Rejected(
                f"{what} would take {bits} bits; the limit for one matrix is "
                f"2^{MOST_MATRIX_BITS.bit_length() - 1}."
            )


def digits(bits: int) -> int:
    """How many 30-bit digits an integer of so many bits takes; at least one."""
    return max(bits + 29, 30) // 30


def longest(rows: Iterable[Iterable[int]]) -> int:
    """The greatest bit length among the integers; at least 1."""
    return max((max(map(int.bit_length, row), default=1) for row in rows), default=1) or 1
