"""What a trend is, and the comparisons of arms, seed by seed, by which it is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rankbound.experiments.arms import Arm

__all__ = [
    "NOT",
    "NOT_TESTED",
    "PARTLY",
    "REPRODUCED",
    "SOLVED",
    "Check",
    "Finding",
    "Trend",
    "above",
    "by_heads",
    "paired",
    "rising",
    "solved",
]

REPRODUCED, PARTLY, NOT, NOT_TESTED = "reproduced", "partly", "not", "not tested"
SOLVED = 1e-3  # of the relative squared error: what training leaves of a layer that can be exact


@dataclass(frozen=True)
class Check:
    """One comparison: what it says, and whether it holds, seed by seed.

    Attributes
    ----------
    says : str
        With its numbers.
    held : tuple of bool
        One a seed.
    """

    says: str
    held: tuple[bool, ...]


@dataclass(frozen=True)
class Finding:
    """What the runs say of a trend.

    Attributes
    ----------
    trend, experiment, statement, paper : str
        Of the :class:`Trend`.
    verdict : {"reproduced", "partly", "not", "not tested"}
        Every check holds for every seed; not so, but the first holds for some seed; it holds for
        none; the preset has not the runs.
    checks : tuple of Check
    """

    trend: str
    experiment: str
    statement: str
    paper: str
    verdict: str
    checks: tuple[Check, ...]

    @property
    def evidence(self) -> str:
        """The checks in words, those that do not hold marked."""
        return "; ".join(check.says + _failing(check) for check in self.checks)

    @property
    def seeds(self) -> int:
        """The fewest seeds that a check rests on."""
        return min((len(check.held) for check in self.checks), default=0)


def _failing(check: Check) -> str:
    held, seeds = sum(check.held), len(check.held)
    if held == seeds:
        return ""
    return " (does not hold)" if not held else f" (holds for {held} of {seeds} seeds)"


@dataclass(frozen=True)
class Trend:
    """A trend of the paper, or of what it implies, that runs can show or not.

    Attributes
    ----------
    id : str
    experiment : str
    statement : str
    paper : str
        What the paper has, with its numbers, and where.
    judge : callable
        The experiment's arms to checks, the main one first; none where the arms do not suffice.
    """

    id: str
    experiment: str
    statement: str
    paper: str
    judge: Callable[[Sequence[Arm]], Sequence[Check]]

    def finding(self, arms: Iterable[Arm]) -> Finding:
        """Judge the arms of this experiment."""
        mine = [arm for arm in arms if arm.experiment == self.experiment]
        checks = tuple(self.judge(mine))
        told = (self.id, self.experiment, self.statement, self.paper)
        return Finding(*told, _verdict(checks), checks)


def _verdict(checks: Sequence[Check]) -> str:
    if not checks or not all(check.held for check in checks):
        return NOT_TESTED
    if all(all(check.held) for check in checks):
        return REPRODUCED
    return PARTLY if any(checks[0].held) else NOT


def by_heads(arms: Iterable[Arm], **wanted: object) -> list[Arm]:
    """Return the arms with these attributes, by their number of heads."""
    chosen = [a for a in arms if all(getattr(a, name) == v for name, v in wanted.items())]
    return sorted(chosen, key=lambda arm: arm.heads)


def paired(says: str, first: Arm, second: Arm, holds: Callable[[float, float], bool]) -> Check:
    """Compare the values of two arms, for each seed that both have."""
    seeds = sorted(first.values.keys() & second.values.keys())
    return Check(says, tuple(holds(first.values[s], second.values[s]) for s in seeds))


def above(worse: Arm, better: Arm, factor: float = 1.0) -> Check:
    """Check that one arm's value is above another's, `factor` times or more, for every seed."""
    times = "" if factor == 1.0 else f"{factor:g} times "
    says = f"{worse.name}: {worse.range()}, {times}above {better.name}: {better.range()}"
    return paired(says, worse, better, lambda x, y: x > factor * y)


def rising(arms: Sequence[Arm], what: str) -> Check:
    """Check that values rise along the arms, for every seed."""
    seeds = sorted(set.intersection(*(set(arm.values) for arm in arms)))
    along = ", ".join(arm.range() for arm in arms)
    return Check(
        f"{what}: {along}, rising",
        tuple(all(a.values[seed] < b.values[seed] for a, b in pairwise(arms)) for seed in seeds),
    )


def solved(arm: Arm, *, wanted: bool = True) -> Check:
    """Check that an arm's error is below 1e-3, or that it is not, for every seed."""
    side = "below" if wanted else "above"
    return Check(
        f"{arm.name}: {arm.range()}, {side} {SOLVED:g}",
        # not (value < SOLVED) == wanted: a diverged run, NaN, stays above nothing
        tuple(v < SOLVED if wanted else v >= SOLVED for v in arm.values.values()),
    )
