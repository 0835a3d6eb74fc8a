"""What the claims about variants share: integer heads, and the comparison of ranks with sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy.typing as npt

from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Claim, Instance, Mutant, Relation, Source, Trial
from rankbound.theory.certified import certified_log_rank
from rankbound.verdict import Verdict

__all__ = [
    "HEADS",
    "HERE",
    "OFF_BY_ONE",
    "Draw",
    "Rows",
    "Table",
    "draws",
    "here",
    "keeps",
    "mutated",
    "rational_table",
    "stays",
]

Table = npt.NDArray[Any]  # objects: ints and Fractions
Rows = list[list[Fraction]]

HERE = "the rank statement is derived here, docs/theory.md, section 6"
HEADS = "integer heads and tokens, n = 4 and 7, d = n; temperature 1"
OFF_BY_ONE = Mutant("bound off by one", {"bound": lambda head_size: head_size - 1})


def here(what: str, note: str = "derived here") -> Source:
    """A statement of docs/theory.md, section 6."""
    return Source("rankbound", f"section 6, {what}", note)


@dataclass(frozen=True, eq=False)
class Draw:
    """An integer head with its tokens, and the stream for whatever else a variant draws."""

    label: str
    number: int
    trial: Trial
    W_k: Table
    W_q: Table
    X: Table

    @property
    def keys(self) -> Table:
        """Shape (k, n)."""
        keys: Table = self.W_k @ self.X
        return keys

    @property
    def queries(self) -> Table:
        """Shape (k, n)."""
        queries: Table = self.W_q @ self.X
        return queries

    @property
    def logits(self) -> Table:
        """Shape (n, n), [key, query]."""
        L: Table = self.keys.T @ self.queries
        return L

    def integers(self, *shape: int, least: int = -9) -> Table:
        """More integers, from `least` to 9."""
        return self.trial.rng.integers(least, 9, size=shape, endpoint=True).astype(object)


def draws(trial: Trial, sizes: tuple[int, ...] = (1, 2, 3)) -> Iterator[tuple[Draw, int, int]]:
    """Integer heads of several sizes, with their length and head size."""
    for n in (4, 7):
        for k in (k for k in sizes if k <= n - 2):
            for number in range(trial.count(2, 10)):
                W_k, W_q, X = (
                    trial.rng.integers(-9, 9, size=shape, endpoint=True).astype(object)
                    for shape in ((k, n), (k, n), (n, n))
                )
                label = f"n = {n}, head size {k}, draw {number}"
                yield Draw(label, number, trial, W_k, W_q, X), n, k


def rational_table(rows: Table) -> Rows:
    """Rows of Fractions."""
    return [[Fraction(x) for x in row] for row in rows]


def keeps(
    variant: Callable[[Draw], Table], sizes: tuple[int, ...] = (1, 2, 3), *, gauge: bool = False
) -> Callable[..., Iterator[Instance]]:
    """Compare the rank of the logits of a variant, or their log-rank, with the head size."""

    def check(
        trial: Trial,
        *,
        logits: Callable[[Draw], Table] = variant,
        bound: Callable[[int], int] = lambda head_size: head_size + gauge,
    ) -> Iterator[Instance]:
        for draw, _, k in draws(trial, sizes):
            L = rational_table(logits(draw))
            rank = certified_log_rank(logits=L) if gauge else exact_rank(L)
            yield Instance.of_bounds(draw.label, rank, bound(k))

    return check


def stays(
    id: str,
    of: str,
    source: Source,
    check: Callable[..., Iterator[Instance]],
    *mutants: Mutant,
    hypothesis: str = HEADS,
) -> Claim:
    """The claim that the logits keep rank at most k."""
    return Claim(
        id=f"variant-{id}",
        statement=f"The logits of a head of size k keep rank at most k under {of}.",
        source=source,
        hypotheses=(hypothesis,),
        relation=Relation.LE,
        status=Verdict.CERTIFIED,
        check=check,
        mutants=(OFF_BY_ONE, *mutants),
    )


def mutated(name: str, logits: Callable[[Draw], Table]) -> Mutant:
    """A variant that does not keep the rank."""
    return Mutant(name, {"logits": logits})
