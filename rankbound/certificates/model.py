"""Certificates: a statement, the data that proves it, and one canonical JSON for both.

``rankbound.check`` verifies them; docs/certificates.md says what each kind proves and why.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from rankbound.certificates.matrices import Dyadic, Matrix, Minor, encoded, integer, integers
from rankbound.certificates.statements import Statement

__all__ = [
    "KINDS",
    "SCHEMA",
    "Certificate",
    "Counterexample",
    "Dyadic",
    "Factorisation",
    "LayerSeparation",
    "MaskedWitness",
    "Matrix",
    "Minor",
    "NonsingularEnclosure",
    "NonzeroMinor",
    "Representation",
    "SpectralGap",
    "UnreachableWitness",
]

SCHEMA = "rankbound-certificate-1"


CONVERTED: dict[str, Callable[[Any], object]] = {
    "rows": integers,
    "columns": integers,
    "row_exponents": integers,
    "column_exponents": integers,
    "prime": integer,
    "grid": integer,
    "reference": integer,
}


class Certificate:
    """A statement with the data that proves it.

    Attributes
    ----------
    kind : str
        What sort of proof it is.
    statement : Statement
        What it proves.
    claim : str or None
        The id of the claim that it speaks for.
    """

    kind: ClassVar[str]
    statement: Statement
    claim: str | None

    def __post_init__(self) -> None:
        for name, convert in CONVERTED.items():
            if getattr(self, name, None) is not None:
                object.__setattr__(self, name, convert(getattr(self, name)))

    def data(self) -> dict[str, Any]:
        """What proves the statement, as JSON holds it."""
        names = [p.name for p in fields(self)]  # type: ignore[arg-type]  # always a dataclass
        return {
            name: encoded(getattr(self, name))
            for name in names
            if name not in ("statement", "claim")
        }

    def to_json(self) -> str:
        """Return the canonical JSON: keys sorted, no white space, ASCII."""
        envelope = {
            "schema": SCHEMA,
            "kind": self.kind,
            "claim": self.claim,
            "statement": self.statement.to_data(),
            "data": self.data(),
        }
        return json.dumps(envelope, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def for_claim(self, claim: str | None) -> Self:
        """Return a copy that speaks for the claim of this id."""
        return replace(self, claim=claim)  # type: ignore[type-var]  # always a dataclass


@dataclass(frozen=True, eq=False)
class NonzeroMinor(Certificate):
    """The minor is a unit modulo `prime`, so the rank is at least its size."""

    kind = "nonzero-minor"
    statement: Statement
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    prime: int
    claim: str | None = None

    def data(self) -> dict[str, Any]:
        """What proves the statement, as JSON holds it."""
        return Minor(self.rows, self.columns, self.prime).to_data()


@dataclass(frozen=True, eq=False)
class Factorisation(Certificate):
    """``left right`` is the matrix, so its rank is at most the inner size."""

    kind = "factorisation"
    statement: Statement
    left: Matrix
    right: Matrix
    minor: Minor | None = None
    claim: str | None = None


@dataclass(frozen=True, eq=False)
class NonsingularEnclosure(Certificate):
    """`inverse` times the chosen, scaled columns is near the identity for every matrix in question.

    `columns` None chooses all of them; the exponents are one for each row and each column of the
    whole matrix.
    """

    kind = "nonsingular-enclosure"
    statement: Statement
    columns: tuple[int, ...] | None
    row_exponents: tuple[int, ...]
    column_exponents: tuple[int, ...]
    grid: int
    inverse: Dyadic
    claim: str | None = None


@dataclass(frozen=True, eq=False)
class SpectralGap(Certificate):
    """`inverse` times matrix times `compression` is near the identity in the spectral norm."""

    kind = "spectral-gap"
    statement: Statement
    compression: Dyadic
    inverse: Dyadic
    grid: int
    claim: str | None = None


@dataclass(frozen=True, eq=False)
class MaskedWitness(Certificate):
    """Directions that make rows independent in every completion, and a head on the mask."""

    kind = "masked-witness"
    statement: Statement
    rows: tuple[int, ...]
    reference: int
    directions: Matrix
    keys: Matrix | None = None
    queries: Matrix | None = None
    claim: str | None = None


@dataclass(frozen=True, eq=False)
class Representation(Certificate):
    """The statement gives the head; multiplying it out is the proof."""

    kind = "representation"
    statement: Statement
    claim: str | None = None


@dataclass(frozen=True, eq=False)
class Counterexample(Certificate):
    """A minor of 2^exponents of more rows than the head size is not zero."""

    kind = "counterexample"
    statement: Statement
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    prime: int
    claim: str | None = None

    def data(self) -> dict[str, Any]:
        """What proves the statement, as JSON holds it."""
        return Minor(self.rows, self.columns, self.prime).to_data()


@dataclass(frozen=True, eq=False)
class LayerSeparation(Certificate):
    """The statement gives the layers and the tokens; evaluating both is the proof."""

    kind = "separation"
    statement: Statement
    claim: str | None = None


@dataclass(frozen=True, eq=False)
class UnreachableWitness(Certificate):
    """Vectors, n × 1: ``left^T L right`` is 0 for the logits of every head, and not for these."""

    kind = "unreachable"
    statement: Statement
    left: Matrix
    right: Matrix
    claim: str | None = None


KINDS: dict[str, type[Certificate]] = {
    certificate.kind: certificate
    for certificate in (
        NonzeroMinor,
        Factorisation,
        NonsingularEnclosure,
        SpectralGap,
        MaskedWitness,
        Representation,
        Counterexample,
        LayerSeparation,
        UnreachableWitness,
    )
}
