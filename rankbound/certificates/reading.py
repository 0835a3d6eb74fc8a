"""Certificates read back from their JSON; reading one proves nothing, checking it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from typing import Any

from rankbound.certificates.checker.outcome import Rejected
from rankbound.certificates.checker.text import parse
from rankbound.certificates.matrices import Dyadic, Layer, Matrix, Minor
from rankbound.certificates.model import KINDS, SCHEMA, Certificate
from rankbound.certificates.statements import KINDS as STATEMENTS
from rankbound.certificates.statements import Statement
from rankbound.errors import InputError, InputTypeError

__all__ = ["read_certificate"]


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
        kind = KINDS[envelope["kind"]]
        return kind(statement=statement, claim=envelope["claim"], **data)  # type: ignore[call-arg]
    except (InputError, InputTypeError):
        raise
    except (Rejected, LookupError, AttributeError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"the text is not that of a certificate ({type(error).__name__}: {error}); "
            "expected what to_json writes."
        ) from None


def _statement(value: Any) -> Statement:
    kind = STATEMENTS[value["kind"]]
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
