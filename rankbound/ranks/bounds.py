"""An interval that holds a rank, with the evidence for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from rankbound.certificates.checker import check
from rankbound.errors import InputError, InputTypeError, Undecided
from rankbound.verdict import Verdict

__all__ = ["Prover", "RankBounds"]

Prover = Callable[[tuple[int, ...]], Any]  # from a place in the batch to its certificate, or None


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
    prove : callable, optional
        Builds the certificate of one bound, given its place in the batch (an empty tuple where
        there is none); see :attr:`certificate`.
    prove_upper : callable, optional
        The same for the upper side, where it has a certificate of its own.

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
    prove: Prover | None = field(default=None, repr=False)
    prove_upper: Prover | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("lower", "upper"):
            object.__setattr__(self, name, _integers(name, getattr(self, name)))
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

    @property
    def certificate(self) -> Any:
        """What proves the bounds to :func:`rankbound.check`, built on first use.

        None where nothing was computed to prove. It is handed out only if the checker accepts it;
        if it does not, or building it fails, the verdict falls to undecided: a strong word without
        a certificate is not kept.
        """
        return self._built("certificate", self.prove)

    @property
    def upper_certificate(self) -> Any:
        """What proves the upper side, where neither the shape nor :attr:`certificate` does."""
        return self._built("upper_certificate", self.prove_upper)

    def _built(self, name: str, prove: Prover | None) -> Any:
        self._require_one(name)
        if prove is None:
            return None
        if f"_{name}" not in self.__dict__:
            certificate = prove(())
            if certificate is not None and not check(certificate).accepted:
                certificate = None  # beyond the checker's limits, for one
            if certificate is None:
                object.__setattr__(self, "verdict", Verdict.UNDECIDED)
            object.__setattr__(self, f"_{name}", certificate)
        return self.__dict__[f"_{name}"]

    def _require_one(self, name: str) -> None:
        if np.ndim(self.lower):
            raise InputTypeError(
                f"these are {np.size(self.lower)} bounds and {name} needs one; take one, `b[i]`."
            )

    def __int__(self) -> int:
        self._require_one("int(b)")
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
        places = np.moveaxis(np.indices(np.shape(self.lower)), 0, -1)[index]
        if np.ndim(lower) == 0:
            lower, upper = int(lower), int(upper)
        proofs = (_moved(prove, places) for prove in (self.prove, self.prove_upper))
        return RankBounds(lower, upper, self.verdict, self.method, *proofs)

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


def _moved(prove: Prover | None, places: npt.NDArray[np.int64]) -> Prover | None:
    """The builder for a part of a batch, given where each bound of the part was in the whole."""
    if prove is None:
        return None
    return lambda place: prove(tuple(int(i) for i in places[place]))


def _integers(name: str, value: Any) -> Any:
    array = np.array(value)
    if array.dtype.kind not in "iu":
        raise InputTypeError(f"{name} is {value!r}; expected an integer, or an array of them.")
    if array.ndim == 0:
        return int(array)
    array.flags.writeable = False
    return array
