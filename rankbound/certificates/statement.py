"""What every statement of a certificate has: a kind, a sentence, and its parameters as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from typing import Any, ClassVar

from rankbound.certificates.matrices import Matrix, encoded, floating, integer, rational

__all__ = ["Statement"]


class Statement:
    """What a certificate states: a kind and parameters."""

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        for name, convert in CONVERTED.items():
            if hasattr(self, name):
                object.__setattr__(self, name, convert(getattr(self, name)))

    def sentence(self) -> str:
        """The statement in words."""
        raise NotImplementedError

    def denominators(self) -> set[int]:
        """The denominators of its rational entries, which no modulus of a proof may divide."""
        tables = (value for value in vars(self).values() if isinstance(value, Matrix))
        entries = (x for table in tables if table.type == "rational" for x in table.entries)
        return {x.denominator for x in entries if isinstance(x, Fraction)}

    def to_data(self) -> dict[str, Any]:
        """The statement as a certificate writes it."""
        parameters = fields(self)  # type: ignore[arg-type]  # every statement is a dataclass
        return {"kind": self.kind, **{p.name: encoded(getattr(self, p.name)) for p in parameters}}


def _error(value: Any) -> float | Matrix:
    return value if isinstance(value, Matrix) else floating(value)


# numbers of other libraries become Python's, and the integers 0 and 1 floats where those are meant
CONVERTED: dict[str, Callable[[Any], object]] = {
    "lower": integer,
    "upper": integer,
    "index": integer,
    "centred": bool,
    "error": _error,
    "ratio": floating,
    "bound": floating,
    "gap": rational,
    "scale": floating,
}
