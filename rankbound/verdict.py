"""The words of evidence, and what each of them promises."""

from __future__ import annotations

from enum import Enum

from rankbound.errors import InputTypeError


class Verdict(Enum):
    """How sure an answer is.

    The value is the word itself; :attr:`meaning` says what it promises. A verdict is not a
    truth value: ``bool(verdict)`` raises, so that "unknown" can never pass for "no".

    Examples
    --------
    >>> Verdict.CERTIFIED.meaning
    'a rigorous enclosure or exact arithmetic for the instance named, written down and checked'
    """

    PROVED = "proved"
    CERTIFIED = "certified"
    RIGOROUS = "rigorous"
    SUPPORTED = "supported"
    REFUTED = "refuted"
    UNDECIDED = "undecided"

    @property
    def meaning(self) -> str:
        """What the word promises."""
        return _MEANING[self]

    def __str__(self) -> str:
        return self.value

    def __bool__(self) -> bool:
        raise TypeError(
            f"a Verdict ({self.value}) is not a truth value: compare it, "
            "for example `verdict is Verdict.CERTIFIED`."
        )

    @staticmethod
    def weakest(verdicts: list[Verdict]) -> Verdict:
        """The weakest of the verdicts that speak for a statement; undecided if there is none."""
        if type(verdicts) is not list or not all(isinstance(v, Verdict) for v in verdicts):
            raise InputTypeError(
                f"verdicts is a {type(verdicts).__name__[:60]} of other things; expected a list of "
                "Verdict."
            )
        return min(verdicts, key=_STRENGTH.index, default=Verdict.UNDECIDED)


_MEANING = {
    Verdict.PROVED: "an exact or symbolic argument that covers every instance of the stated form",
    Verdict.CERTIFIED: (
        "a rigorous enclosure or exact arithmetic for the instance named, written down and checked"
    ),
    Verdict.RIGOROUS: "the same enclosure as certified, computed here and not written down",
    Verdict.SUPPORTED: "floating-point instances agree within a stated, derived tolerance",
    Verdict.REFUTED: "a witness against the statement, itself certified",
    Verdict.UNDECIDED: "none of these; what would decide it is said beside it",
}

_STRENGTH = [
    Verdict.REFUTED,
    Verdict.UNDECIDED,
    Verdict.SUPPORTED,
    Verdict.RIGOROUS,
    Verdict.CERTIFIED,
    Verdict.PROVED,
]

STYLES = {  # on a terminal
    Verdict.PROVED: "bold green",
    Verdict.CERTIFIED: "green",
    Verdict.RIGOROUS: "blue",
    Verdict.SUPPORTED: "cyan",
    Verdict.REFUTED: "magenta",
    Verdict.UNDECIDED: "yellow",
}
