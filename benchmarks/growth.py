"""How cost grows with tokens, head size and batch, and the exponents fitted to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import rankbound as rb
from benchmarks.races import Side, Work, quartiles
from benchmarks.rows.masked_heads import random_head
from benchmarks.workers import sweep
from rankbound.measuring.head import layer_heads, measure_heads

ROUNDS = 3
FITTED = 4  # the largest sizes, to which the exponent is fitted: before, calls cost more than work


@dataclass(frozen=True)
class Series:
    """Work at sizes that grow.

    Attributes
    ----------
    name, work : str
        To ask for it, and what is done, with what stays the same.
    variable : {"n", "k", "batch", "workers"}
        What grows.
    sizes : sequence of int
    prepare : callable
        Makes the input of a size and returns the work.
    expected : float
        The exponent that counting operations gives.
    clock : {"cpu", "wall"}
        Seconds of the processor, or on the wall where several work.
    """

    name: str
    work: str
    variable: str
    sizes: Sequence[int]
    prepare: Callable[[int], Work]
    expected: float
    clock: str = "cpu"


def powers(first: int, last: int) -> list[int]:
    """Powers of two, ends included."""
    return [2**e for e in range(int(math.log2(first)), int(math.log2(last)) + 1)]


def _spectrum(n: int, k: int) -> Work:
    return partial(rb.logit_spectrum, random_head(n, k))


def _spectra(batch: int) -> Work:
    head, X = rb.random_head(32, 32, 0), np.random.default_rng(0).standard_normal((batch, 32, 256))
    return partial(rb.logit_spectrum, head, X)


def _masked(n: int, k: int) -> Work:
    return partial(rb.log_rank, head=random_head(n, k), mask="causal")


def _measures(n: int, k: int) -> Work:
    queries, keys = np.random.default_rng(0).standard_normal((2, 1, k, n)).astype(np.float32)
    heads = layer_heads(queries, keys, mask=rb.causal_mask(n))
    return lambda: list(measure_heads(heads, context_rank=False))


def _ranks(batch: int) -> Work:
    P = np.stack([rb.random_context(64, seed) for seed in range(batch)])
    return partial(rb.certified_rank, P)


SERIES = {
    series.name: series
    for series in (
        Series(
            "spectrum-n",
            "logit spectrum, k = 64",
            "n",
            powers(1024, 65_536),
            lambda n: _spectrum(n, 64),
            1,
        ),
        Series(
            "masked-n",
            "causal log-rank, k = 64",
            "n",
            powers(512, 8192),
            lambda n: _masked(n, 64),
            1,
        ),
        Series(
            "measures-n",
            "measures of a causal head, k = 64",
            "n",
            powers(256, 4096),
            lambda n: _measures(n, 64),
            2,
        ),
        Series(
            "certified-n",
            "certified rank",
            "n",
            powers(128, 2048),
            lambda n: partial(rb.certified_rank, rb.random_context(n, 0)),
            3,
        ),
        Series(
            "log-rank-n",
            "certified log-rank",
            "n",
            powers(128, 1024),
            lambda n: partial(rb.certified_log_rank, rb.random_context(n, 0)),
            3,
        ),
        Series(
            "spectrum-k",
            "logit spectrum, n = 8192",
            "k",
            powers(16, 256),
            lambda k: _spectrum(8192, k),
            2,
        ),
        Series(
            "masked-k",
            "causal log-rank, n = 4096",
            "k",
            powers(16, 256),
            lambda k: _masked(4096, k),
            2,
        ),
        Series(
            "measures-k",
            "measures of a causal head, n = 1024",
            "k",
            powers(16, 256),
            lambda k: _measures(1024, k),
            2,
        ),
        Series(
            "spectrum-batch",
            "logit spectra, n = 256, k = 32",
            "batch",
            powers(4, 256),
            _spectra,
            1,
        ),
        Series("certified-batch", "certified ranks, n = 64", "batch", powers(16, 1024), _ranks, 1),
        Series(
            "sweep-workers",
            "a sweep of 40 cells of half a second",
            "workers",
            [1, 2],
            lambda jobs: partial(sweep, jobs),
            -1,
            "wall",
        ),
    )
}


def measured(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row per series: sizes, seconds of the processor, and the exponent."""
    for name, series in SERIES.items():
        if names and name not in names:
            continue
        seconds = [time_of(series.prepare(size), series.clock) for size in series.sizes]
        power, _ = exponent(series.sizes, seconds)
        yield {
            "name": name,
            "variable": series.variable,
            "sizes": list(series.sizes),
            "seconds": seconds,
            "exponent": power,
            "expected": series.expected,
            "said": f"{series.work}: as {series.variable}^{power:.2f}, by count {series.expected}",
        }


def time_of(work: Work, clock: str) -> float:
    """Median seconds of a run."""
    side = Side(work)
    side.warm()
    for _ in range(ROUNDS):
        side.once_more()
    return quartiles(getattr(side, clock))[1]


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """The exponent a and factor c of ``c size^a``, by least squares of the logarithms."""
    x, y = (np.log(values[-FITTED:]) for values in (sizes, seconds))
    power, offset = np.polyfit(x, y, 1)
    return float(power), float(np.exp(offset))


# What an audit of a large model would take


@dataclass(frozen=True)
class Model:
    """Sizes of a model, for which an audit is counted."""

    name: str
    parameters: float
    layers: int
    heads: int
    head_size: int


LARGE = Model("70B", 70e9, 80, 64, 128)


def audit_hours(
    results: Mapping[str, Any], model: Model, n: int, windows: int = 1
) -> dict[str, float]:
    """Hours of one thread that an audit takes: of the model's runs, and of measuring its heads.

    A head is that of the race `audit`, grown with n and k by the fitted exponents of its measures;
    a run of the model is 2 operations per parameter and token, at the rate of float32 products.
    """
    rows = {row["name"]: row for row in results["growth"]}
    (race,) = (row for row in results["races"] if row["name"] == "audit")
    in_n, in_k = (rows[f"measures-{variable}"]["exponent"] for variable in ("n", "k"))
    at = race["seconds"]["rankbound"][1]
    head = at * (n / 2048) ** in_n * (model.head_size / 64) ** in_k
    run = 2 * model.parameters * n / results["machine"]["rates"]["single"]
    return {
        "seconds per head": head,
        "heads": model.layers * model.heads * windows * head / 3600,
        "runs": (2 + windows) * run / 3600,  # unobserved, to find its attention, and per window
    }
