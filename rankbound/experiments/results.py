"""What a store holds of a preset, run by run; and arms: runs that differ in seed and rate alone."""

from __future__ import annotations

import inspect
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from statistics import fmean, median
from typing import Any

from rankbound._validate import check_word
from rankbound.errors import InputError
from rankbound.experiments.catalogue import EXPERIMENTS, GRIDS, PRESETS, Experiment
from rankbound.sweeps.plan import canonical
from rankbound.sweeps.store import Record, by_function, open_store, store_path
from rankbound.sweeps.workers import DONE, FAILED

# of arms whose sizes say little
_NAMES: Mapping[str, str] = {
    "context": "n={n} d_k={d_k}",
    "collapse": "{kind} L={layers}",
    "transition": "n={n} h={heads}",
}


@dataclass(frozen=True)
class Setting:
    """What a run and an arm have in common.

    Its kind is ``standard``: heads of size d / heads; ``fixed``: one size for keys and values,
    given; ``sizes``: head size and value size given apart; ``matched``: standard, with feed-forward
    layers widened to the parameters of ``fixed``; ``head``: one head alone; or an arm of
    :func:`~rankbound.experiments.language.head_size` or of
    :func:`~rankbound.experiments.collapse.collapse`.
    """

    experiment: str
    kind: str
    d: int
    n: int
    heads: int
    d_k: int
    d_v: int  # 0 where there are no values
    parameters: int  # all of a language model, and of other layers those of attention
    steps: int  # 0 where a fit runs until it converges
    rate: float  # 0 where there is none
    weight_decay: float  # the same
    layers: int


@dataclass(frozen=True)
class Run(Setting):
    """One finished run."""

    seed: int
    value: float  # of the experiment's measure


@dataclass(frozen=True, eq=False)
class Arm(Setting):
    """One setting, over its seeds, at its best learning rate.

    ``rate`` is, of those tried, the one with the least mean value over seeds (accuracies: the
    greatest). One at which a run diverged is the worst.
    """

    rates: tuple[float, ...]  # those tried, over all seeds that the best one has
    values: Mapping[int, float]  # of each seed, at `rate`

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
        usual = "{kind} d={d} h={heads} d_k={d_k} d_v={d_v}"
        return _NAMES.get(self.experiment, usual).format(**asdict(self))

    def range(self) -> str:
        """Median and range over seeds, to read."""
        digits = 4 if EXPERIMENTS[self.experiment].reads else 2
        low, middle, high = (f"{x:.{digits}g}" for x in (self.low, self.middle, self.high))
        return middle if len(self.values) == 1 else f"{middle} ({low} to {high})"


def gather(runs: Iterable[Run]) -> tuple[Arm, ...]:
    """Return the arms, in the order in which they first occur.

    Each is taken at its best learning rate over the seeds that all its rates have, and those seeds
    alone; where no seed has all, among the rates with most seeds. So a sweep that was stopped in a
    seed says what it says without it. The rate is chosen by the same values that are reported,
    which favours arms with more rates: all have the same.
    """
    groups: dict[Setting, dict[float, dict[int, float]]] = {}
    for run in runs:
        shared = {one.name: getattr(run, one.name) for one in fields(Setting)}
        rates = groups.setdefault(Setting(**{**shared, "rate": 0.0}), {})
        rates.setdefault(run.rate, {})[run.seed] = run.value
    return tuple(_arm(setting, rates) for setting, rates in groups.items())


def _arm(setting: Setting, rates: Mapping[float, Mapping[int, float]]) -> Arm:
    shared = set.intersection(*(set(values) for values in rates.values()))
    if shared:
        full = {rate: {s: v[s] for s in shared} for rate, v in rates.items()}
    else:
        most = max(len(values) for values in rates.values())
        full = {rate: dict(v) for rate, v in rates.items() if len(v) == most}
    sign = -1.0 if setting.experiment == "lookup" else 1.0
    means = {rate: sign * fmean(values.values()) for rate, values in full.items()}
    best = min(full, key=lambda rate: math.inf if math.isnan(means[rate]) else means[rate])
    told = {**asdict(setting), "rate": best}
    return Arm(**told, rates=tuple(sorted(full)), values=dict(sorted(full[best].items())))


def having(arms: Iterable[Arm], **wanted: object) -> Iterator[Arm]:
    """The arms with these attributes."""
    return (a for a in arms if all(getattr(a, name) == v for name, v in wanted.items()))


def pick(arms: Iterable[Arm], **wanted: object) -> Arm | None:
    """Return the arm with these attributes; None if there is none, the first if several."""
    return next(having(arms, **wanted), None)


@dataclass(frozen=True, eq=False)
class Results:
    """The runs of a preset.

    The corpus is the SHA-256 of what most models of a text learnt; runs on another text are left
    out. It is empty if there are none.
    """

    preset: str
    runs: tuple[Run, ...]  # those that are done
    planned: Mapping[str, int]  # cells of each experiment
    done: Mapping[str, int]
    failed: Mapping[str, int]
    corpus: str
    versions: Mapping[str, str]  # of what the cells were run with; several joined by a comma


def read_results(store: str | os.PathLike[str], preset: str | None = None) -> Results:
    """Read the cells of a preset from a store; of the one with most runs unless named."""
    if preset is not None:
        check_word("preset", preset, PRESETS)
    with open_store(store_path(store), read_only=True) as opened:
        records = opened.records()
    found = [_of_preset(records, name) for name in (PRESETS if preset is None else (preset,))]
    return max(found, key=lambda results: len(results.runs))


def _of_preset(records: Iterable[Record], preset: str) -> Results:
    functions = by_function(records)
    runs: list[Run] = []
    used: list[Record] = []
    done, failed = Counter[str](), Counter[str]()
    found: dict[str, list[Record]] = {}
    for name, experiment in EXPERIMENTS.items():
        key = (experiment.function.__qualname__, experiment.version)
        cells = {canonical(dict(cell)) for cell in GRIDS[name][preset]}
        found[name] = [record for record in functions.get(key, []) if _cell(record) in cells]
    corpus = _corpus(r for name in found if EXPERIMENTS[name].reads for r in found[name])
    for name, experiment in EXPERIMENTS.items():
        mine = found[name]
        if experiment.reads:
            mine = [record for record in mine if record.parameters.get("corpus") == corpus]
        finished = [record for record in mine if record.status == DONE]
        done[name] = len(finished)
        failed[name] = sum(record.status == FAILED for record in mine)
        runs += [_checked_run(experiment, record) for record in finished]
        used += finished
    planned = {name: len(grids[preset]) for name, grids in GRIDS.items()}
    return Results(preset, tuple(runs), planned, done, failed, corpus, _versions(used))


def _cell(record: Record) -> str:
    return canonical({k: v for k, v in record.parameters.items() if k != "corpus"})


def _corpus(records: Iterable[Record]) -> str:
    """The corpus with most runs: a store may hold several, which cannot be compared."""
    counts = Counter[str]()
    for record in records:
        counts[str(record.parameters.get("corpus", ""))] += record.status == DONE
    return max(counts, key=lambda name: counts[name], default="")


def _versions(records: Iterable[Record]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for record in records:
        told = {**record.versions, "torch": (record.result or {}).get("torch")}
        for name, version in told.items():
            if version is not None:
                found.setdefault(name, set()).add(str(version))
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _checked_run(experiment: Experiment, record: Record) -> Run:
    try:
        return _run(experiment, record)
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"the cell {record.id} has the result {record.result}, which is none of the experiment "
            f"{experiment.name}; expected a store of `rankbound experiment` alone, without another "
            f"function {record.function}."
        ) from None


def _run(experiment: Experiment, record: Record) -> Run:
    signature = inspect.signature(experiment.function).parameters
    defaults = {k: p.default for k, p in signature.items() if p.default is not p.empty}
    given, result = {**defaults, **record.parameters}, record.result or {}
    if experiment.name == "context":
        n, k = given["n"], given["head_size"]
        sizes = {"kind": "head", "d": n, "n": n, "heads": 1, "d_k": k, "d_v": 0}
        parameters = 2 * n * k
    else:
        sizes = {"kind": _kind(given), "heads": given["heads"], "d": given["d"]}
        sizes |= {"n": given.get("n", 64), "d_k": result["d_k"], "d_v": result["d_v"]}
        parameters = result.get("parameters") or result["attention_parameters"]
    return Run(
        experiment=experiment.name,
        **sizes,
        parameters=parameters,
        steps=given.get("steps", 0),
        rate=float(given.get("rate", 0.0)),
        weight_decay=float(given.get("weight_decay", 0.0)),
        layers=given.get("layers", experiment.layers),
        seed=given["seed"],
        value=float(result[experiment.measure]),
    )


def _kind(given: Mapping[str, Any]) -> str:
    if "arm" in given:
        return str(given["arm"])
    if given.get("value_size") is not None:
        return "sizes"
    return "standard" if given.get("head_size") is None else "fixed"
