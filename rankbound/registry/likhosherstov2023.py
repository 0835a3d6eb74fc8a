"""Likhosherstov, Choromanski & Weller 2021, 2023: sparse patterns by random projection.

The constant of their theorem was not recovered; the one here is derived in docs/papers.md. That a
head size serves a given pattern is NP-hard to decide for fixed sizes above 1: no program shows it.
"""

from __future__ import annotations

import math

import numpy as np

from rankbound._validate import Array
from rankbound.registry.claim import Formula, Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.verdict import Verdict

OURS = "abstract only: d = O(log n), ratios preserved; the constant is ours, docs/papers.md"
FAILURE = 1e-6  # δ, of all logits of one draw


def coordinates(
    n: int, nonzeros: int, largest: float, error: float, *, failure: float = FAILURE
) -> int:
    """How many make all n² logits hold within `error`, but for a chance of `failure`.

    ``(4 log n + 2 log(4/δ)) / (η²/2 - η³/3)``, ``η = ε/(√s Λ)``, for at most s logits per query
    that are not 0, all of magnitude at most Λ.
    """
    eta = min(1.0, error / (math.sqrt(nonzeros) * largest))
    return math.ceil((4 * math.log(n) + 2 * math.log(4 / failure)) / (eta**2 / 2 - eta**3 / 3))


def projected(B: Array, d: int, rng: np.random.Generator) -> Array:
    """``G^T (G B)/d`` for a Gaussian G of d rows: keys G/√d, queries G B/√d."""
    G = rng.standard_normal((d, len(B)))
    L: Array = G.T @ (G @ B) / d
    return L


def projected_apart(B: Array, d: int, rng: np.random.Generator) -> Array:
    """The same with keys of another draw."""
    G, H = rng.standard_normal((2, d, len(B)))
    L: Array = G.T @ (H @ B) / d
    return L


def check_ratios(
    trial: Trial, *, size: Formula = coordinates, project: Formula = projected
) -> Instances:
    """The largest error of a logit; that of a ratio within a query is e to twice as much."""
    for n, nonzeros, largest, error in ((16, 1, 2.0, 0.75), (24, 2, 1.5, 0.75), (48, 1, 3.0, 1.0)):
        for repeat in range(trial.count(1, 4)):
            B = np.zeros((n, n))
            for column in B.T:
                keys = trial.rng.choice(n, nonzeros, replace=False)
                column[keys] = trial.rng.uniform(0, largest, nonzeros)
            d = size(n, nonzeros, largest, error)
            missed = float(np.max(np.abs(project(B, d, trial.rng) - B)))
            label = f"n = {n}, {nonzeros} per query, {d} coordinates, draw {repeat}"
            yield Instance(label, missed, error, Verdict.SUPPORTED)


LENGTHS = (128, 1024, 8192, 100_000)


def check_vacuous(
    trial: Trial,
    *,
    floor: Formula = lambda n, share: math.log(n / share),
    factor: Formula = lambda d: d,
) -> Instances:
    """Coordinates for a permutation within .01 in total variation, ratios within e^±1."""
    for n in LENGTHS:
        d = coordinates(n, 1, floor(n, 0.01), 0.5, failure=0.5)
        yield Instance(f"n = {n}", factor(d), n - 1, Verdict.SUPPORTED)


CLAIMS = (
    make_claim(
        "likhosherstov-ratios",
        "Keys G/√d and queries G B/√d, G Gaussian, have every logit of a sparse B within ε from "
        "d = (4 log n + 2 log(4/δ)) / (η²/2 - η³/3) coordinates on, η = ε/(√s Λ).",
        check_ratios,
        Mutant("keys drawn apart from queries", {"project": projected_apart}),
        Mutant(
            "a thirtieth of the coordinates, the least that must show",
            {"size": lambda *case: coordinates(*case) // 30},
            "factor",
        ),
        source=Source("likhosherstov2023", "main theorem", OURS),
        hypotheses=(
            "at most s logits per query that are not 0, in [0, Λ]",
            "but for a chance of δ = 1e-6 in each draw",
        ),
        relation="<=",
        status=Verdict.SUPPORTED,
    ),
    make_claim(
        "likhosherstov-vacuous",
        "For a permutation within .01 in total variation this constant asks for at least the "
        "n - 1 coordinates that reach every context, at each n tried up to 100,000.",
        check_vacuous,
        Mutant("forgets the mass of the floor", {"floor": lambda n, share: math.log(1 / share)}),
        Mutant("two thirds", {"factor": lambda d: d / 1.5}, "factor"),
        source=Source("likhosherstov2023", "main theorem", OURS),
        hypotheses=(
            "n floored logits carry the share .01 together: Λ = log(n/.01)",
            "ratios within e^±1, δ = 1/2; two coordinates do for any n: sparse-two-s",
        ),
        relation=">=",
        status=Verdict.SUPPORTED,
    ),
)
