"""An interval that holds a rank, with the evidence for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt

from rankbound._validate import shown
from rankbound.certificates.certificates import AS_JSON, Certificate
from rankbound.certificates.checker import check
from rankbound.errors import InputError, InputTypeError, Undecided
from rankbound.records import UNWRITTEN, Record
from rankbound.verdict import Verdict

# from a place in the batch to the certificates of its lower side, and of its upper side where the
# first does not prove that too; raises Undecided with the reason where there is none
Prover = Callable[[tuple[int, ...]], tuple[Certificate | None, ...]]


@dataclass(frozen=True, eq=False, repr=False)
class RankBounds(Record):
    """What is known of a rank: ``lower <= rank <= upper``.

    A bound is not a number: ``int(b)`` is the rank where the two sides meet and raises
    :class:`~rankbound.Undecided` elsewhere; ``bool(b)`` and ``b == 5`` raise ``TypeError``.

    The verdict never changes. Bounds that rest on a rigorous enclosure or on exact arithmetic are
    *rigorous*; :meth:`certify` writes that down and returns a new record, which is *certified*:
    its certificates prove the two sides to :func:`rankbound.check`. The upper one stays None where
    the shape or the lower one proves that side. Over a batch the sides are integer arrays. JSON
    holds the certificates, and not what would write one: certify before.

    Examples
    --------
    >>> import rankbound as rb
    >>> b = rb.exact_rank([[1, 2], [2, 4]])
    >>> b.lower, b.upper, int(b), b.verdict.value
    (1, 1, 1, 'rigorous')
    >>> b.certify().verdict.value
    'certified'
    """

    lower: int | npt.NDArray[np.int64]  # the rank is no less; of a batch, an array
    upper: int | npt.NDArray[np.int64]  # the rank is no more
    verdict: Verdict  # rigorous, or certified once written down
    method: str  # what proves the lower and the upper side, in words
    prove: Prover | None = field(default=None, repr=False, metadata=UNWRITTEN)
    certificate: Certificate | None = field(default=None, repr=False, metadata=AS_JSON)
    upper_certificate: Certificate | None = field(default=None, repr=False, metadata=AS_JSON)

    formula: ClassVar[str] = r"%(lower)s \le \operatorname{rank} \le %(upper)s"

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
                f"lower is {shown(self.lower)} and upper {shown(self.upper)}; "
                "expected 0 <= lower <= upper."
            )
        if (self.verdict is Verdict.CERTIFIED) != isinstance(self.certificate, Certificate):
            raise InputTypeError(
                f"verdict is {self.verdict} and certificate {shown(self.certificate)}; expected a "
                "Certificate with the verdict certified, and None with every other. What is "
                "computed rigorously and not written down is Verdict.RIGOROUS."
            )

    def certify(self) -> RankBounds:
        """Write down what proves the bounds and have the checker accept it.

        Of a batch certify one, ``b[i].certify()``.

        Returns
        -------
        RankBounds
            The same bounds with ``Verdict.CERTIFIED`` and the certificates in place.

        Raises
        ------
        Undecided
            With the reason: the bounds are not rigorous, no certificate was found, it is beyond
            the checker's limits, or the checker rejects it.

        Examples
        --------
        >>> import rankbound as rb
        >>> b = rb.certified_rank([[1.0, 2.0], [3.0, 4.0]]).certify()
        >>> rb.check(b.certificate).accepted
        True
        """
        if self.verdict is Verdict.CERTIFIED:
            return self
        certificates = written(self)
        for certificate in certificates:
            outcome = check(certificate)
            if not outcome.accepted:
                raise self._undecided(f"the checker rejects it: {outcome.reason}")
        lower, *upper = certificates
        return replace(
            self,
            verdict=Verdict.CERTIFIED,
            certificate=lower,
            upper_certificate=upper[0] if upper else None,
        )

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """The certificates in place: none, that of the lower side, or those of both sides."""
        return tuple(c for c in (self.certificate, self.upper_certificate) if c is not None)

    def _undecided(self, reason: str) -> Undecided:
        return Undecided(
            f"the bounds [{self.lower}, {self.upper}] ({self.method}) were not certified: "
            f"{reason.rstrip('.')}.",
            bounds=self,
        )

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
        shape = np.shape(self.lower)
        places = np.arange(np.size(self.lower)).reshape(shape)[index]  # in the flattened batch
        lower, upper = (np.ravel(side)[places] for side in (self.lower, self.upper))
        if np.ndim(places) == 0:
            lower, upper = int(lower), int(upper)
        prove = _moved(self.prove, places, shape)
        return RankBounds(lower, upper, self.verdict, self.method, prove)

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


def written(bounds: RankBounds) -> tuple[Certificate, ...]:
    """The certificates that prove the bounds of one matrix; those not yet certified are unchecked.

    For callers that check what they are given; :meth:`RankBounds.certify` does it for the others.
    """
    bounds._require_one("certify()")
    if bounds.verdict is Verdict.CERTIFIED:
        return bounds.certificates
    if bounds.verdict is not Verdict.RIGOROUS or bounds.prove is None:
        raise bounds._undecided(f"the bounds are {bounds.verdict} and no proof came with them")
    try:
        certificates = bounds.prove(())
    except Undecided as why:
        raise bounds._undecided(str(why)) from None
    if not certificates or None in certificates:
        raise bounds._undecided("no certificate was found")
    return tuple(one for one in certificates if one is not None)


def _moved(prove: Prover | None, places: Any, shape: tuple[int, ...]) -> Prover | None:
    """The builder for a part of a batch, given where each bound of the part was in the whole."""
    if prove is None:
        return None
    return lambda place: prove(
        tuple(int(i) for i in np.unravel_index(int(np.asarray(places)[place]), shape))
    )


def _integers(name: str, value: Any) -> Any:
    array = np.array(value)
    if array.dtype.kind not in "iu":
        raise InputTypeError(f"{name} is {shown(value)}; expected an integer, or an array of them.")
    if array.ndim == 0:
        return int(array)
    array.flags.writeable = False
    return array
