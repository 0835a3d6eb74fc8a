"""An interval that holds a rank, with the evidence for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from rankbound.errors import InputError, InputTypeError, Undecided
from rankbound.verdict import Verdict

__all__ = ["RankBounds"]


@dataclass(frozen=True, eq=False)
class RankBounds:
    """What is known of a rank: ``lower <= rank <= upper``.

    A bound is not a number: ``int(b)`` is the rank where the two sides meet and raises
    :class:`~rankbound.Undecided` elsewhere; ``bool(b)`` and ``b == 5`` raise ``TypeError``.

    Parameters
    ----------
    lower, upper : int, or integer array over a batch
        The two sides.
    verdict : Verdict
        The evidence for both sides.
    method : str
        What proves the lower and the upper side, in words.

    Examples
    --------
    >>> import rankbound as rb
    >>> b = rb.exact_rank([[1, 2], [2, 4]])
    >>> b.lower, b.upper, int(b)
    (1, 1, 1)
    """

    lower: int | npt.NDArray[np.int64]
    upper: int | npt.NDArray[np.int64]
    verdict: Verdict
    method: str

    def __post_init__(self) -> None:
        if np.shape(self.lower) != np.shape(self.upper):
            raise InputError(
                f"lower has shape {np.shape(self.lower)} and upper {np.shape(self.upper)}; "
                "expected the same: they bound the same ranks."
            )
        if np.any(np.asarray(self.lower) > np.asarray(self.upper)) or np.any(
            np.asarray(self.lower) < 0
        ):
            raise InputError(
                f"lower is {self.lower} and upper {self.upper}; expected 0 <= lower <= upper."
            )

    def __int__(self) -> int:
        if np.ndim(self.lower):
            raise InputTypeError(
                f"these are {np.size(self.lower)} bounds, not one; take one, `int(b[i])`."
            )
        if self.lower != self.upper:
            raise Undecided(
                f"the rank lies in [{self.lower}, {self.upper}] ({self.method}); the sides do not "
                "meet. Use .lower and .upper, or exact arithmetic (rb.exact_rank).",
                bounds=self,
                remedy="exact arithmetic (rb.exact_rank)",
            )
        return int(self.lower)

    def __getitem__(self, index: Any) -> RankBounds:
        if not np.ndim(self.lower):
            raise InputTypeError("this is one bound, not a batch; use .lower, .upper or int(b).")
        lower, upper = np.asarray(self.lower)[index], np.asarray(self.upper)[index]
        if np.ndim(lower) == 0:
            return RankBounds(int(lower), int(upper), self.verdict, self.method)
        return RankBounds(lower, upper, self.verdict, self.method)

    def __len__(self) -> int:
        if not np.ndim(self.lower):
            raise InputTypeError("this is one bound, not a batch; it has no length.")
        return len(np.asarray(self.lower))

    def __bool__(self) -> NoReturn:
        raise TypeError("a RankBounds is not a truth value: compare .lower, .upper or int(b).")

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError(
            "a RankBounds is an interval and equals no number: compare .lower, .upper or int(b)."
        )

    __hash__ = object.__hash__

    def to_json(self) -> str:
        """Return the record as a JSON object."""
        return json.dumps(
            {
                "lower": np.asarray(self.lower).tolist(),
                "upper": np.asarray(self.upper).tolist(),
                "verdict": str(self.verdict),
                "method": self.method,
            }
        )
