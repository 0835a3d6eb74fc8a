"""Certificates: a statement, the data that proves it, and one canonical JSON for both.

``rankbound.check`` verifies them; docs/certificates.md says what each kind proves and why. Reading
one back proves nothing; checking it does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

from rankbound.certificates.checker.fields import Rejected, parse
from rankbound.certificates.matrices import (
    CODECS,
    Block,
    Dyadic,
    Layer,
    Matrix,
    Minor,
    Record,
    read_rational,
)
from rankbound.certificates.statements import KINDS, Statement
from rankbound.errors import InputError, InputTypeError

SCHEMA = "rankbound-certificate-1"


PROOFS: dict[str, type[Certificate]] = {}


class Certificate(Record):
    """A statement with the data that proves it, and the id of the claim that it speaks for."""

    kind: ClassVar[str]
    statement: Statement
    claim: str | None = field(default=None, kw_only=True)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        PROOFS[cls.kind] = cls

    def to_json(self) -> str:
        """Return the canonical JSON: keys sorted, no white space, ASCII."""
        data = self.to_data()
        envelope = {
            "schema": SCHEMA,
            "kind": self.kind,
            "claim": data.pop("claim"),
            "statement": data.pop("statement"),
            "data": data,
        }
        return json.dumps(envelope, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def for_claim(self, claim: str | None) -> Self:
        """Return a copy that speaks for the claim of this id."""
        return replace(self, claim=claim)


class NonzeroMinor(Certificate):
    """The minor is a unit modulo `prime`, so the rank is at least its size."""

    kind = "nonzero-minor"
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    prime: int


class Factorisation(Certificate):
    """``left right`` is the matrix, so its rank is at most the inner size."""

    kind = "factorisation"
    left: Matrix
    right: Matrix
    minor: Minor | None = None


class NonsingularEnclosure(Certificate):
    """`inverse` times the chosen, scaled columns is near the identity for every matrix in question.

    `columns` None chooses all of them; the exponents are one for each row and each column of the
    whole matrix.
    """

    kind = "nonsingular-enclosure"
    columns: tuple[int, ...] | None
    row_exponents: tuple[int, ...]
    column_exponents: tuple[int, ...]
    grid: int
    inverse: Dyadic


class SpectralGap(Certificate):
    """`inverse` times matrix times `compression` is near the identity in the spectral norm."""

    kind = "spectral-gap"
    compression: Dyadic
    inverse: Dyadic
    grid: int


class MaskedWitness(Certificate):
    """Directions that make rows independent in every completion, and a head on the mask."""

    kind = "masked-witness"
    rows: tuple[int, ...]
    reference: int
    directions: Matrix
    keys: Matrix | None = None
    queries: Matrix | None = None


class Representation(Certificate):
    """The statement gives the head; multiplying it out is the proof."""

    kind = "representation"


class Counterexample(NonzeroMinor):
    """A minor of 2^exponents of more rows than the head size is not zero."""

    kind = "counterexample"


class LayerSeparation(Certificate):
    """The statement gives the layers and the tokens; evaluating both is the proof."""

    kind = "separation"


class UnreachableWitness(Certificate):
    """Vectors, n × 1: ``left^T L right`` is 0 for the logits of every head, and not for these."""

    kind = "unreachable"
    left: Matrix
    right: Matrix


class OrthogonalWeights(Certificate):
    """W, n × n and visible: ``<W, L>`` is 0 for the logits of every head, and not for these."""

    kind = "orthogonal-weights"
    weights: Matrix


class SelectingQueries(Certificate):
    """One query per set, sets in the order of size and then of members."""

    kind = "selecting-queries"
    queries: Matrix


class RadonWeights(Certificate):
    """Weights, n × 1, of sum 0 and positive on the set only, that the keys map to zero."""

    kind = "radon-partition"
    weights: Matrix


class ColumnBudgets(Certificate):
    """Of disjoint blocks: their budgets, weights and nearly singular value decompositions."""

    kind = "column-budgets"
    blocks: tuple[Block, ...]


class WrongSigns(Certificate):
    """Logarithms of a threshold for each column; parts of the rows; a power for Forster's bound."""

    kind = "wrong-signs"
    thresholds: Dyadic
    parts: int
    power: int


class Forster(Certificate):
    """The power, 1, 2, 4 or 8, of the Gram matrix whose row sums bound its norm."""

    kind = "forster"
    power: int


class Packing(Certificate):
    """The statement says it all; evaluating the four bounds is the proof."""

    kind = "packing"


def read_certificate(text: str | bytes) -> Certificate:
    """Return the certificate that a JSON text stands for; written again it gives the same bytes.

    Its proof is not looked at: see ``rankbound.check``.
    """
    try:
        envelope: Any = parse(text)
        if envelope["schema"] != SCHEMA:
            raise InputError(f"the schema is {envelope['schema']!r}; expected {SCHEMA!r}.")
        statement = _statement(envelope["statement"])
        data = {name: _field(name, value) for name, value in envelope["data"].items()}
        kind = PROOFS[envelope["kind"]]
        return kind(statement=statement, claim=envelope["claim"], **data)
    except (InputError, InputTypeError):
        raise
    except (Rejected, LookupError, AttributeError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"the text is not that of a certificate ({type(error).__name__}: {error}); "
            "expected what to_json writes."
        ) from None


def _statement(value: Any) -> Statement:
    kind = KINDS[value["kind"]]
    names = [parameter.name for parameter in fields(kind)]
    return kind(**{name: _field(name, value[name]) for name in names})


def _field(name: str, value: Any) -> Any:
    """A field as Python holds it; what it is shows in its JSON, but for the hexadecimal prime."""
    if isinstance(value, dict):
        if "type" in value:
            _, read = CODECS[value["type"]]
            entries = tuple(read(entry) for entry in value["entries"])
            return Matrix(value["type"], value["rows"], value["columns"], entries)
        if "exponent" in value:
            digits = tuple(int(entry, 16) for entry in value["entries"])
            return Dyadic(value["rows"], value["columns"], digits, value["exponent"])
        if "heads" in value or "budget" in value:
            record = Layer if "heads" in value else Block
            return record(**{part: _field(part, held) for part, held in value.items()})
        return Minor(tuple(value["rows"]), tuple(value["columns"]), int(value["prime"], 16))
    if isinstance(value, list):
        return tuple(_field(name, item) for item in value)
    if isinstance(value, str) and "/" in value:
        return read_rational(value)
    if isinstance(value, str):
        return int(value, 16) if name == "prime" else float.fromhex(value)
    return value


def _as_data(certificate: Certificate) -> Any:
    return json.loads(certificate.to_json())


def _from_data(data: Any) -> Certificate:
    return read_certificate(json.dumps(data))


# how a record writes a certificate that it holds, and reads it back
AS_JSON: Mapping[str, Any] = MappingProxyType({"codec": (_as_data, _from_data)})
