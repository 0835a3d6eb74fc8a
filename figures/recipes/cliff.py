"""The cliff: what a head of each size can do for a generic context.

A fitted value is an upper bound on a minimum. A row with ``converged`` false is one where descent
stopped (at its limit of iterations, or on rounding) before the gradient fell to the tolerance of
the settings: the head is not even a stationary point. Such rows are kept, and drawn hollow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

import rankbound as rb
from rankbound.plots import cliff
from recipes.recipe import Recipe, Row, Tolerance, free, panels

COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "n": int,
        "head_size": int,
        "seed": int,
        "law": str,
        "aitchison_error": float,  # exact minimum over heads of this size
        "aitchison_rounding": float,  # below it, an Aitchison error is 0 as far as float64 can tell
        "kl": float,  # best head found: an upper bound on the minimum
        "kl_rounding": float,  # likewise for a KL
        "gradient_norm": float,
        "converged": bool,  # False: not a stationary point, so the KL is not even a local minimum
        "iterations": int,
        "random_starts": int,
        "kl_svd_start": float,  # where the descent from the truncated SVD ended
        "kl_worst_start": float,  # its distance from kl is the spread over all starts
    }
)
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "law": "dirichlet",
        "alpha": 1.0,
        "seed": 0,
        "fit_seed": 0,
        "random_starts": 3,
        "gradient_tolerance": 1e-8,
        "max_iterations": 10_000,
        "head_sizes": {
            16: list(range(1, 17)),
            32: list(range(1, 33)),
            64: [1, 2, 3, 4, 6, *range(8, 60, 4), 58, 60, 61, 62, 63, 64],
        },
    }
)


def cliff_rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of the cliff: one context per n, one row per head size."""
    for n, head_sizes in settings["head_sizes"].items():
        P = rb.random_context(n, settings["seed"], settings["law"], alpha=settings["alpha"])
        for head_size in head_sizes:
            yield cliff_row(P, head_size, settings)


def cliff_row(P: npt.NDArray[np.float64], head_size: int, settings: Mapping[str, Any]) -> Row:
    """What a head of this size can do for P, exactly in Aitchison distance and fitted in KL."""
    fit = rb.fit_head(
        P,
        head_size,
        seed=settings["fit_seed"],
        random_starts=settings["random_starts"],
        gradient_tolerance=settings["gradient_tolerance"],
        max_iterations=settings["max_iterations"],
        race=False,  # the ends of all starts are told
    )
    aitchison, kl = rounding(P)
    return {
        "n": len(P),
        "head_size": head_size,
        "seed": settings["seed"],
        "law": settings["law"],
        "aitchison_error": rb.aitchison_error(P, head_size),
        "aitchison_rounding": aitchison,
        "kl": fit.kl,
        "kl_rounding": kl,
        "gradient_norm": fit.gradient_norm,
        "converged": fit.converged,
        "iterations": fit.iterations,
        "random_starts": settings["random_starts"],
        "kl_svd_start": fit.start_kls[0],
        "kl_worst_start": max(fit.start_kls),
    }


def rounding(P: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Up to where an Aitchison error and a KL computed in float64 may be 0 in truth.

    ``r = n eps ‖C log P‖_F`` bounds what centring and the singular value decomposition do to the
    singular values (Weyl; as in ``rb.log_rank``). The logits of the head built from them are off
    by at most 4 r an entry: r each for centring, decomposition, a dropped value and the product of
    the factors. By Hoeffding's lemma logits off by at most δ cost at most ``δ²/2`` of KL: 8 r².
    """
    log_P = np.log(P)
    norm = float(np.linalg.norm(log_P - log_P.mean(axis=0)))
    r = len(P) * float(np.finfo(np.float64).eps) * norm
    return r, 8 * r**2


def solved(settings: Mapping[str, Any], published: Row, computed: Row) -> float:
    """What a KL may change by between two descents into one minimum.

    Each ends within ``g²/(2 μ)`` of it, g the gradient's norm and μ the least curvature across the
    minimum; ``g²/μ`` allows for both. A singular value s_k of the logits is shared by two factors
    as ``s_k^(1/2)``, and a column's softmax bends by at least p_min across the gauge: ``μ >= p_min
    s_k / n`` near P, where a head of size k has the logits' first k singular values. Below, values
    are 0 to rounding.
    """
    n, k = published["n"], min(published["head_size"], published["n"] - 1)
    p_min, values = _context(n, settings["seed"], settings["law"], settings["alpha"])
    descent = settings["gradient_tolerance"] ** 2 * n / (p_min * values[k - 1])
    return float(descent + 2 * published["kl_rounding"])


@cache
def _context(n: int, seed: int, law: str, alpha: float) -> tuple[float, list[float]]:
    P = rb.random_context(n, seed, law, alpha=alpha)
    log_P = np.log(P)
    return float(P.min()), np.linalg.svd(log_P - log_P.mean(axis=0), compute_uv=False).tolist()


def rounded(settings: Mapping[str, Any], published: Row, computed: Row) -> float:
    """Twice the rounding of an Aitchison error: once for each computation."""
    return float(2 * published["aitchison_rounding"])


def _a_norm(column: str) -> Tolerance:
    """The rounding of a norm of n² logarithms, or of its square: less than n² eps of it, or 2."""

    def tolerance(settings: Mapping[str, Any], published: Row, computed: Row) -> float:
        return float(2 * published["n"] ** 2 * np.finfo(np.float64).eps * published[column])

    return tolerance


TOLERANCES: Mapping[str, Tolerance] = MappingProxyType(
    {
        "aitchison_error": rounded,
        "aitchison_rounding": _a_norm("aitchison_rounding"),
        "kl": solved,
        "kl_rounding": _a_norm("kl_rounding"),
        "gradient_norm": free,
        "iterations": free,
        "kl_svd_start": solved,
        "kl_worst_start": solved,
    }
)


def draw(rows: Sequence[Row], figure: Figure) -> None:
    """Draw the cliff into an empty figure."""
    first, second = panels(figure, 2)
    cliff(rows, ax=(first, second))


CLIFF = Recipe(
    COLUMNS,
    SETTINGS,
    cliff_rows,
    draw,
    (3.0, 5.2),
    "Aitchison error and KL divergence of the best head against its size, for n = 16, 32 and 64: "
    "both fall slowly, and drop to 0 at head size n - 1",
    TOLERANCES,
    slow=True,
)
