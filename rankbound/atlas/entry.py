"""An entry of the atlas, and the atlas as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rankbound.errors import InputError
from rankbound.table import Column, Table, Tabular
from rankbound.verdict import Verdict

__all__ = ["NOTIONS", "PATTERNS", "Atlas", "Entry"]

NOTIONS = MappingProxyType(
    {
        "exact": "some head has this context exactly",
        "closure": "heads come as close to it as wished",
        "bounded": "a head with bounded logits comes within a total variation",
        "sign": "some head prefers the same keys",
    }
)
PATTERNS = MappingProxyType(
    {
        "worst-positive": "worst positive context",
        "random-positive": "random positive context",
        "random-causal": "random causal context",
        "worst-causal": "worst causal context",
        "random-prefix": "random context, prefix of 3n/4",
        "hadamard": "Hadamard pattern, P ∝ 2^H",
        "one-hot": "one key per query, a permutation",
        "sparse": "three keys per query",
        "random-signs": "random signs",
        "orderings": "every order of the keys",
    }
)


@dataclass(frozen=True)
class Entry:
    """An interval that holds the least head size for a pattern, in one sense."""

    pattern: str  # of PATTERNS
    notion: str  # of NOTIONS
    n: int
    lower: float  # both sides are infinite where no head of any size will do
    upper: float
    lower_evidence: Verdict
    upper_evidence: Verdict
    how: str  # what was computed for each side
    theorem: str  # where it is proved
    claims: tuple[str, ...]  # registered claims that verify it on other instances

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS or self.notion not in NOTIONS:
            raise InputError(f"no entry {self.pattern!r}, {self.notion!r} in the atlas.")
        if not 0 <= self.lower <= self.upper:
            raise InputError(
                f"the least head size of {self.pattern}, {self.notion} would lie between "
                f"{self.lower} and {self.upper}; expected 0 <= lower <= upper."
            )

    @property
    def evidence(self) -> list[str]:
        """The words for both sides, below first; one where they agree."""
        return list(dict.fromkeys((str(self.lower_evidence), str(self.upper_evidence))))

    @property
    def interval(self) -> str:
        """The interval in a cell."""
        if math.isinf(self.lower):
            return "none"
        low, high = int(self.lower), self.upper
        if low == high:
            return str(low)
        return f"{low}–{'…' if math.isinf(high) else int(high)}"


@dataclass(frozen=True)
class Atlas(Tabular):
    """The entries for sequences of n tokens; a pattern need not have one in every sense."""

    n: int
    seed: int  # of the random patterns
    scale: float  # in the bounded sense: the largest |q| |k|
    error: float  # in the bounded sense: the total variation per column
    entries: tuple[Entry, ...]

    def entry(self, pattern: str, notion: str) -> Entry | None:
        """The entry of a pattern in a sense, if there is one."""
        wanted = (pattern, notion)
        return next((e for e in self.entries if (e.pattern, e.notion) == wanted), None)

    def table(self) -> Table:
        """Return the intervals with their evidence, one row per pattern."""
        return self.grid(lambda e: f"{e.interval} ({', '.join(sorted(e.evidence))})", "≤")

    def grid(self, cell: Callable[[Entry], str], at_most: str) -> Table:
        """Return a cell for each entry, one row per pattern and one column per sense."""
        titles = {
            "exact": "exact",
            "closure": "to any precision",
            "bounded": f"|q||k| {at_most} {self.scale:g}, TV {at_most} {self.error:g}",
            "sign": "sign",
        }
        cells = {(entry.pattern, entry.notion): cell(entry) for entry in self.entries}
        return Table(
            [Column("pattern", f"n = {self.n}"), *(Column(name, titles[name]) for name in NOTIONS)],
            [
                (title, *(cells.get((pattern, notion)) for notion in NOTIONS))
                for pattern, title in PATTERNS.items()
            ],
        )

    def rows(self) -> list[dict[str, Any]]:
        """The entries as records of plain values; an infinite side is None."""
        return [{key: _plain(value) for key, value in vars(e).items()} for e in self.entries]

    def to_json(self) -> str:
        """Return the settings and the entries as a JSON object."""
        settings = {"n": self.n, "seed": self.seed, "scale": self.scale, "error": self.error}
        return json.dumps({**settings, "entries": self.rows()})


def _plain(value: Any) -> Any:
    """A field of an entry, as JSON holds it."""
    if isinstance(value, (str, Verdict)):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return None if math.isinf(value) else int(value)
