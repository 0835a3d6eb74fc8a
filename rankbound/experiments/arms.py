"""Runs gathered into arms: what differs in more than its seed and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean, median

from rankbound.experiments.results import Run

__all__ = ["Arm", "gather", "pick"]


@dataclass(frozen=True, eq=False)
class Arm:
    """One setting, over its seeds, at its best learning rate.

    Attributes
    ----------
    experiment, kind : str
    d, n, heads, d_k, d_v, parameters, steps : int
    weight_decay : float
    rate : float
        Of those tried, the one with the least mean value over seeds (accuracies: the greatest). One
        at which a run diverged is the worst.
    rates : tuple of float
        Those tried, over all seeds that the best one has.
    values : mapping of int to float
        Seed to value, at `rate`.
    """

    experiment: str
    kind: str
    d: int
    n: int
    heads: int
    d_k: int
    d_v: int
    parameters: int
    steps: int
    weight_decay: float
    rate: float
    rates: tuple[float, ...]
    values: Mapping[int, float]

    @property
    def low(self) -> float:
        """The least value over seeds."""
        return min(self.values.values())

    @property
    def middle(self) -> float:
        """The median over seeds."""
        return median(self.values.values())

    @property
    def high(self) -> float:
        """The greatest value over seeds."""
        return max(self.values.values())

    @property
    def at_edge(self) -> bool:
        """Whether the best rate is the least or the greatest of several: it may lie beyond."""
        return len(self.rates) > 1 and self.rate in (self.rates[0], self.rates[-1])

    @property
    def name(self) -> str:
        """What it is, with both of its sizes."""
        if self.kind == "head":
            return f"n={self.n} d_k={self.d_k}"
        return f"{self.kind} d={self.d} h={self.heads} d_k={self.d_k} d_v={self.d_v}"

    def range(self) -> str:
        """Median and range over seeds, to read."""
        digits = 4 if self.experiment == "language" else 2
        low, middle, high = (f"{x:.{digits}g}" for x in (self.low, self.middle, self.high))
        return middle if len(self.values) == 1 else f"{middle} ({low} to {high})"


def gather(runs: Iterable[Run]) -> tuple[Arm, ...]:
    """Return the arms, in the order in which they first occur.

    Each is taken at its best learning rate over the seeds that all its rates have, and those seeds
    alone; where no seed has all, among the rates with most seeds. So a sweep that was stopped in a
    seed says what it says without it. The rate is chosen by the same values that are reported,
    which favours arms with more rates: all have the same.
    """
    groups: dict[Run, dict[float, dict[int, float]]] = {}
    for run in runs:
        setting = replace(run, rate=0.0, seed=0, value=0.0)  # what the runs of an arm share
        rates = groups.setdefault(setting, {})
        rates.setdefault(run.rate, {})[run.seed] = run.value
    return tuple(_arm(setting, rates) for setting, rates in groups.items())


def _arm(setting: Run, rates: Mapping[float, Mapping[int, float]]) -> Arm:
    shared = set.intersection(*(set(values) for values in rates.values()))
    if shared:
        full = {rate: {s: v[s] for s in shared} for rate, v in rates.items()}
    else:
        most = max(len(values) for values in rates.values())
        full = {rate: dict(v) for rate, v in rates.items() if len(v) == most}
    sign = -1.0 if setting.experiment == "lookup" else 1.0
    means = {rate: sign * fmean(values.values()) for rate, values in full.items()}
    best = min(full, key=lambda rate: math.inf if math.isnan(means[rate]) else means[rate])
    return Arm(
        experiment=setting.experiment,
        kind=setting.kind,
        d=setting.d,
        n=setting.n,
        heads=setting.heads,
        d_k=setting.d_k,
        d_v=setting.d_v,
        parameters=setting.parameters,
        steps=setting.steps,
        weight_decay=setting.weight_decay,
        rate=best,
        rates=tuple(sorted(full)),
        values=dict(sorted(full[best].items())),
    )


def pick(arms: Iterable[Arm], **wanted: object) -> Arm | None:
    """Return the arm with these attributes; None if there is none, the first if several."""
    for arm in arms:
        if all(getattr(arm, name) == value for name, value in wanted.items()):
            return arm
    return None
