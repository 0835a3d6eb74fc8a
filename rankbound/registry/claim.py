"""What a claim is, what an instance of it is, and how instances become a verdict."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np

from rankbound._validate import shown
from rankbound.certificates.certificates import Certificate
from rankbound.certificates.statements import (
    KLAbove,
    KLAboveOfLogits,
    RankAboveHeadSize,
    RepresentedExactly,
    RepresentedWithin,
    ScaleAbove,
)
from rankbound.errors import InputError, InputTypeError, RankboundError
from rankbound.mathematics import marked
from rankbound.ranks.bounds import RankBounds, written
from rankbound.table import Column, Table
from rankbound.verdict import Verdict

LEVELS = ("quick", "full")
MOST_DRAWS = 5_000  # until one meets a hypothesis

T = TypeVar("T")


class Relation(Enum):
    """How the measured side of an instance must stand to the predicted one."""

    EQ = "="
    LE = "<="
    GE = ">="
    IFF = "iff"
    EXISTS = "exists"

    @property
    def is_of_numbers(self) -> bool:
        """Whether it compares numbers, such as those that certificates bound; else truth values."""
        return self in (Relation.EQ, Relation.LE, Relation.GE)

    def residual(self, measured: float, predicted: float) -> float:
        """By how much the relation fails; 0 where it holds. Truth values count as 0 and 1."""
        difference = float(measured) - float(predicted)
        if self is Relation.LE:
            return max(0.0, difference)
        if self is Relation.GE:
            return max(0.0, -difference)
        return abs(difference)


@dataclass(frozen=True, eq=False)
class Source:
    """Where a statement comes from."""

    key: str  # in references.bib
    place: str  # theorem, section or page
    note: str = ""  # whether the wording is the source's own, and what differs

    def __str__(self) -> str:
        return f"{self.key}, {self.place}"


Built = Certificate | tuple[Certificate, ...] | None
Builder = Callable[[], Built]


@dataclass(frozen=True, eq=False)
class Instance:
    """One case of a claim: what was measured, what the claim predicts, and the evidence.

    The certificates prove the measured side; one that is still to be built is a function of no
    arguments that returns a certificate or a tuple of them (None, or an error: there is none).
    """

    label: str
    measured: float
    predicted: float
    evidence: Verdict  # that is claimed; see `word`
    tolerance: float = 0.0  # derived from a bound; 0 where the arithmetic is exact
    certificates: tuple[Certificate | Builder, ...] = ()
    accepted: int = 0  # how many were built and accepted by the checker

    def __post_init__(self) -> None:
        for source in self.certificates:
            if not (isinstance(source, Certificate) or callable(source)):
                raise InputTypeError(
                    f"{self.label}: {shown(source)} is not a certificate; expected a Certificate, "
                    "or a function of no arguments that returns one."
                )

    @property
    def word(self) -> Verdict:
        """The evidence that the instance earns: certified only with accepted certificates."""
        if self.evidence is not Verdict.CERTIFIED:
            return self.evidence
        real = all(isinstance(source, Certificate) for source in self.certificates)
        earned = real and self.certificates and self.accepted == len(self.certificates)
        return Verdict.CERTIFIED if earned else Verdict.SUPPORTED

    @property
    def proved(self) -> tuple[float, float]:
        """What the certificates prove of a rank, head size, KL or scale: at least, at most."""
        sides = [_sides(one) for one in self.certificates if isinstance(one, Certificate)]
        lower, upper = zip((0.0, math.inf), *sides, strict=True)
        return max(lower), min(upper)

    @classmethod
    def of_bounds(cls, label: str, bounds: RankBounds, predicted: int) -> Instance:
        """The instance of a rank whose two sides meet, with what proves them."""
        if bounds.verdict not in (Verdict.RIGOROUS, Verdict.CERTIFIED):
            return cls(label, int(bounds), predicted, bounds.verdict)
        proofs = (lambda: written(bounds),)  # verification checks what is written
        return cls(label, int(bounds), predicted, Verdict.CERTIFIED, certificates=proofs)


def _sides(certificate: Certificate) -> tuple[float, float]:
    statement = certificate.statement
    if isinstance(statement, RankAboveHeadSize):
        return statement.keys.rows + 1, math.inf
    if isinstance(statement, RepresentedExactly | RepresentedWithin):
        return 0, statement.keys.rows
    if isinstance(statement, KLAbove | KLAboveOfLogits | ScaleAbove):
        return statement.bound, math.inf
    return getattr(statement, "lower", 0), getattr(statement, "upper", math.inf)


Instances = Iterator[Instance]
Formula = Callable[..., Any]  # an argument of a check by keyword, which a mutant may replace


MutantKind = Literal["wrong", "factor", "idle"]
LACKS = ("measured", "factor", "idle")  # what a claim may state a reason for not having


@dataclass(frozen=True, eq=False)
class Mutant:
    """A deliberately wrong version of a claim, which its check must catch.

    Kind "factor": a number that is bounded is off by a factor of 1.5, or by the least that must
    show. Kind "idle": what is trained or iterated does not train or does not converge.
    """

    name: str  # what is wrong
    formulas: Mapping[str, Formula]  # in place of the check's keyword arguments
    kind: MutantKind = "wrong"


@dataclass(frozen=True, eq=False)
class Trial:
    """What a check is given: its own random stream and how much to do."""

    rng: np.random.Generator
    level: str

    def count(self, quick: int, full: int) -> int:
        """How many instances to try at this level."""
        return quick if self.level == "quick" else full

    def some(self, quick: int, cases: Sequence[T]) -> Sequence[T]:
        """The first `quick` of these cases; at the full level all of them."""
        return cases[: self.count(quick, len(cases))]

    def integers(self, *shape: int, bound: int = 2**20) -> list[list[int]]:
        """Random integers as Python ints, as many rows and columns as asked."""
        table: list[list[int]] = self.rng.integers(
            -bound, bound, size=shape, endpoint=True
        ).tolist()
        return table

    def first(self, meets: Callable[[T], bool], draw: Callable[[], T]) -> T:
        """The first draw that meets a hypothesis."""
        for _ in range(MOST_DRAWS):
            if meets(drawn := draw()):
                return drawn
        raise RankboundError(f"none of {MOST_DRAWS} draws meets the hypothesis.")


@dataclass(frozen=True, eq=False, repr=False)
class Claim:
    """A statement with its source, its check, and the mutants that the check must catch.

    Every instance meets the hypotheses. The status is the evidence that verification is registered
    to reach, ``REFUTED`` for false statements; ``check(trial, **formulas)`` yields the instances.

    Of the mutants one changes the measured side and not the predicted one; where a number is
    bounded, by <=, >= or a tolerance, one is of kind "factor"; where something is trained or
    iterated, one is "idle". `without` says why a claim has none: "measured", "factor" or "idle" and
    the reason. tests/registry reads this off what the mutated checks do.

    `theorem` is the theorem of proofs/ that says all of the statement, or the part that
    `theorem_part` tells; for a false statement, the one that refutes it.

    Examples
    --------
    >>> import rankbound as rb
    >>> claim = rb.claims["theorem-a"]
    >>> claim.statement
    'P is the context of a head of size k on X iff logrank(P) <= k.'
    >>> claim.theorem, claim.status.value
    ('main.theorem_a', 'supported')
    """

    id: str  # lower-case words with hyphens
    statement: str  # in words and formulas, with its quantifiers
    source: Source  # key of the bibliography, and the place in it
    hypotheses: tuple[str, ...]  # that each instance meets
    relation: Relation  # of the measured to the predicted side
    status: Verdict  # the evidence that verification is to reach
    check: Callable[..., Instances] = field(repr=False)
    mutants: tuple[Mutant, ...] = field(repr=False)
    without: Mapping[str, str] = field(default_factory=dict, repr=False)
    theorem: str = ""  # file, dot, name
    theorem_part: str = ""  # what of the statement the theorem says, if not all

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", str(self.id)):
            raise InputError(
                f"the id {shown(self.id)} of a claim is no name; expected lower-case words and "
                'numbers with hyphens between, such as "theorem-a".'
            )
        for lacking, reason in self.without.items():
            if lacking not in LACKS or not reason:
                raise InputError(
                    f"{self.id}: without is {dict(self.without)!r}; expected one of "
                    f"{', '.join(LACKS)} and the reason for each."
                )
        if self.theorem_part and not self.theorem:
            raise InputError(f"{self.id}: theorem_part is part of no theorem; pass theorem=.")

    def __repr__(self) -> str:
        return f"Claim({self.id!r}, {self.status.value})"

    def _repr_html_(self) -> str:
        facts = {
            "claim": self.id,
            "statement": marked(self.statement),
            "hypotheses": marked("; ".join(self.hypotheses)),
            "status": str(self.status),
            "source": str(self.source),
            "theorem": self.theorem or None,
            "mutants": "; ".join(mutant.name for mutant in self.mutants),
        }
        return Table(
            [Column("name", ""), Column("value", "", align="left")], facts.items()
        ).to_html()

    def trial(self, level: str, seed: int) -> Trial:
        """Return the trial of this claim at a level and seed; its stream depends on its id."""
        if level not in LEVELS:
            raise InputError(f"level is {shown(level)}; expected one of {', '.join(LEVELS)}.")
        stable = int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:8], "big")
        stream = np.random.SeedSequence([seed, stable])
        return Trial(np.random.default_rng(stream), level)

    def judge(self, instances: list[Instance]) -> Verdict:
        """Turn instances into a word of evidence.

        A violated instance refutes the claim when its certificates do; elsewhere it leaves the
        claim undecided. Where none is violated the weakest evidence counts. Certified are instances
        whose certificates were built and accepted, and do not contradict what was measured.
        """
        if not all(math.isfinite(i.tolerance) for i in instances):
            return Verdict.UNDECIDED  # such a tolerance would hold anything
        broken = [i for i in instances if self.residual(i) > i.tolerance]
        if any(self._refutes(i) for i in broken):
            return Verdict.REFUTED
        if broken:
            return Verdict.UNDECIDED
        return Verdict.weakest([self.earned(i) for i in instances])

    def earned(self, instance: Instance) -> Verdict:
        """The evidence of an instance: not certified by what does not speak of what it measured."""
        lower, upper = instance.proved
        silent = self.relation.is_of_numbers and not lower <= instance.measured <= upper
        return Verdict.SUPPORTED if silent and instance.certificates else instance.word

    def _refutes(self, broken: Instance) -> bool:
        """Whether accepted certificates speak of what was measured, and exclude what is predicted.

        One that is of the predicted side excludes nothing; and an argument that did not go through,
        or a witness that does not show that something exists, is none against it.
        """
        if not self.relation.is_of_numbers or self.earned(broken) is not Verdict.CERTIFIED:
            return False
        lower, upper = broken.proved
        nearest = min(max(float(broken.predicted), lower), upper)
        return self.relation.residual(nearest, broken.predicted) > broken.tolerance

    def residual(self, instance: Instance) -> float:
        """By how much an instance fails the relation; a NaN fails it infinitely."""
        residual = self.relation.residual(instance.measured, instance.predicted)
        return residual if residual == residual else float("inf")


Check = Callable[..., Instances]
Cases = Iterator[tuple[str, tuple[Any, ...], tuple[Any, ...]]]


def compare_ranks(cases: Callable[[Trial], Cases], rank: Formula, predicted: Formula) -> Check:
    """Return the check that the rank of each case is as predicted; mutants replace either.

    A case is a label, what `rank` takes, and what `predicted` takes.
    """

    def check(trial: Trial, *, rank: Formula = rank, predicted: Formula = predicted) -> Instances:
        for label, matrices, sizes in cases(trial):
            yield Instance.of_bounds(label, rank(*matrices), predicted(*sizes))

    return check


def make_claim(
    id: str,
    statement: str,
    check: Check,
    *mutants: Mutant,
    source: Source,
    hypotheses: tuple[str, ...],
    relation: Relation | Literal["=", "<=", ">=", "iff", "exists"] = "=",
    status: Verdict = Verdict.CERTIFIED,
    without: Mapping[str, str] = MappingProxyType({}),
    theorem: str = "",
    theorem_part: str = "",
) -> Claim:
    """Return the claim: what is stated, its check, the wrong versions; then what it rests on."""
    return Claim(
        id,
        statement,
        source,
        hypotheses,
        Relation(relation),
        status,
        check,
        mutants,
        without,
        theorem,
        theorem_part,
    )


def by_id(*claims: Claim) -> Mapping[str, Claim]:
    """Return an immutable mapping from id to claim; a repeated id is an error."""
    ids = [claim.id for claim in claims]
    repeated = {i for i in ids if ids.count(i) > 1}
    if repeated:
        raise InputError(f"claim ids {sorted(repeated)} are repeated; expected unique ids.")
    return MappingProxyType(dict(zip(ids, claims, strict=True)))
