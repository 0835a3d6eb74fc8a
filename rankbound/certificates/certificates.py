"""Certificates: a statement, the data that proves it, and one canonical JSON for both.

``rankbound.check`` verifies them; docs/certificates.md says what each kind proves and why. Reading
one back proves nothing; checking it does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, ClassVar, Self

from rankbound.certificates.checker.fields import parse
from rankbound.certificates.checker.outcome import Rejected
from rankbound.certificates.matrices import (
    Dyadic,
    Layer,
    Matrix,
    Minor,
    encoded,
    integer,
    integers,
)
from rankbound.certificates.statements import KINDS, Statement
from rankbound.errors import InputError, InputTypeError

__all__ = [
    "PROOFS",
    "SCHEMA",
    "Certificate",
    "Counterexample",
    "Factorisation",
    "LayerSeparation",
    "MaskedWitness",
    "NonsingularEnclosure",
    "NonzeroMinor",
    "Representation",
    "SpectralGap",
    "UnreachableWitness",
    "read_certificate",
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


PROOFS: dict[str, type[Certificate]] = {
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


def read_certificate(text: str | bytes) -> Certificate:
    """Return the certificate that a JSON text stands for.

    Parameters
    ----------
    text : str or bytes
        What ``to_json`` wrote; writing the result again gives the same bytes.

    Returns
    -------
    Certificate
        Of the class that its kind names.

    Raises
    ------
    InputError
        If the text is not that of a certificate. Its proof is not looked at: see
        ``rankbound.check``.
    """
    try:
        envelope: Any = parse(text)
        if envelope["schema"] != SCHEMA:
            raise InputError(f"the schema is {envelope['schema']!r}; expected {SCHEMA!r}.")
        statement = _statement(envelope["statement"])
        data = {name: _field(name, value) for name, value in envelope["data"].items()}
        kind = PROOFS[envelope["kind"]]
        return kind(statement=statement, claim=envelope["claim"], **data)  # type: ignore[call-arg]
    except (InputError, InputTypeError):
        raise
    except (Rejected, LookupError, AttributeError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"the text is not that of a certificate ({type(error).__name__}: {error}); "
            "expected what to_json writes."
        ) from None


def _statement(value: Any) -> Statement:
    kind = KINDS[value["kind"]]
    names = [parameter.name for parameter in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: _field(name, value[name]) for name in names})


def _field(name: str, value: Any) -> Any:
    """A field as Python holds it; what it is shows in its JSON, but for the hexadecimal prime."""
    if isinstance(value, dict):
        if "type" in value:
            return _matrix(value)
        if "exponent" in value:
            entries = tuple(int(entry, 16) for entry in value["entries"])
            return Dyadic(value["rows"], value["columns"], entries, value["exponent"])
        if "heads" in value:
            return Layer(**{part: _field(part, held) for part, held in value.items()})
        return Minor(tuple(value["rows"]), tuple(value["columns"]), int(value["prime"], 16))
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and "/" in value:
        return _rational(value)
    if isinstance(value, str):
        return int(value, 16) if name == "prime" else float.fromhex(value)
    return value


def _matrix(value: Any) -> Matrix:
    read = READERS[value["type"]]
    entries = tuple(read(entry) for entry in value["entries"])
    return Matrix(value["type"], value["rows"], value["columns"], entries)


def _integer(text: str) -> int:
    return int(text, 16)


def _rational(text: str) -> Fraction:
    numerator, _, denominator = text.partition("/")
    return Fraction(int(numerator, 16), int(denominator, 16))


READERS: dict[str, Callable[[str], int | Fraction | float]] = {
    "integer": _integer,
    "rational": _rational,
    "float": float.fromhex,
}
