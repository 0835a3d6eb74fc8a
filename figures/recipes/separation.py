"""The separation of B20 Theorem 2, measured: students of a teacher with heads of size d.

The teacher meets the hypotheses of the theorem, so no standard layer with more than one head is
equal to it. A row says how far a descent came: an upper bound on the least error of its class,
not a floor under it. With ``converged`` false the descent stopped (at its limit of iterations, or
on rounding) before the gradient fell to the tolerance of the settings.

The heads of a teacher share their logits, of rank d. So one head of size d is equal to it, and so
are h heads of d_k = d and d_v = d/h, among which the values are split: the least error of
``standard`` with h = 1, of ``fixed`` and of ``narrow-values`` is 0. What the others miss is due to
the size of their heads, not to their number; and ``narrow-keys`` (d_k = d/h, d_v = d), with as many
parameters as ``narrow-values``, says that the size of queries and keys is what counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from rankbound.attention.adversarial_layers import random_fixed_layer
from rankbound.attention.layer import MultiHead
from rankbound.fitting.layer import fit_layer
from rankbound.plots import student_errors
from recipes.recipe import Recipe, Row, free, on_one_axes

COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "series": str,  # standard, fixed, narrow-values or narrow-keys
        "heads": int,
        "head_size": int,  # of queries and keys
        "value_size": int,
        "parameters": int,
        "seed": int,  # of the teacher, and of the tokens and start of the student
        "error": float,  # share of the teacher's output missed on fresh tokens
        "fitted_error": float,  # on the tokens of the fit, where it is minimised
        "gradient_norm": float,
        "weight_norm": float,
        "iterations": int,
        "converged": bool,  # False: not a stationary point
    }
)
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "d": 16,
        "teacher_heads": 4,
        "teacher_head_size": 16,
        "logit_scale": 2.0,
        "n": 8,
        "sequences": 1024,  # 256 are overfitted: fresh errors are then well above fitted ones
        "seeds": [0, 1, 2],
        "starts": 1,
        "gradient_tolerance": 1e-5,
        "max_iterations": 500,
        "students": [  # series, heads, head size, value size
            *(["standard", h, 16 // h, 16 // h] for h in (1, 2, 4, 8, 16)),
            *(["fixed", h, 16, 16] for h in (1, 2, 4)),
            ["narrow-values", 4, 16, 4],
            ["narrow-keys", 4, 4, 16],
        ],
    }
)


def separation_rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of all students, each taught by every teacher."""
    for student in settings["students"]:
        for seed in settings["seeds"]:
            yield separation_row(student, seed, settings)


def separation_row(student: Sequence[Any], seed: int, settings: Mapping[str, Any]) -> Row:
    """How close a student of these sizes comes to the teacher of this seed."""
    series, heads, head_size, value_size = student
    fit = fit_layer(
        teacher(seed, settings),
        heads,
        head_size=head_size,
        value_size=value_size,
        n=settings["n"],
        sequences=settings["sequences"],
        seed=seed,
        starts=settings["starts"],
        gradient_tolerance=settings["gradient_tolerance"],
        max_iterations=settings["max_iterations"],
    )
    weights = (fit.layer.W_q, fit.layer.W_k, fit.layer.W_v, fit.layer.W_o)
    return {
        "series": series,
        "heads": heads,
        "head_size": head_size,
        "value_size": value_size,
        "parameters": fit.layer.parameter_count,
        "seed": seed,
        "error": fit.error,
        "fitted_error": fit.fitted_error,
        "gradient_norm": fit.gradient_norm,
        "weight_norm": math.sqrt(sum(float(np.sum(W**2)) for W in weights)),
        "iterations": fit.iterations,
        "converged": fit.converged,
    }


def teacher(seed: int, settings: Mapping[str, Any]) -> MultiHead:
    """A layer that meets the hypotheses of B20 Theorem 2."""
    return random_fixed_layer(
        settings["d"],
        settings["teacher_heads"],
        settings["teacher_head_size"],
        seed,
        logit_scale=settings["logit_scale"],
    )


def solved(settings: Mapping[str, Any], published: Row, computed: Row) -> float:
    """What an error may change by between two descents into one minimum.

    To first order ``|f(w) - f(w')| <= ‖∇f‖ ‖w - w'‖``, and no two weights of these norms are
    farther apart than their sum. On fresh tokens f is another function near to it, whence the 2.
    """
    rows = (published, computed)
    gradient = max(settings["gradient_tolerance"], *(row["gradient_norm"] for row in rows))
    return float(2 * gradient * sum(row["weight_norm"] for row in rows))


SEPARATION = Recipe(
    COLUMNS,
    SETTINGS,
    separation_rows,
    on_one_axes(student_errors),
    (3.8, 4.6),
    "Share of a teacher's output missed by students, against their number of heads: standard "
    "layers of 2 to 16 heads stop between 0.02 and 0.5, heads of fixed size at 0 within the "
    "solver's tolerance",
    MappingProxyType(
        {
            "error": solved,
            "fitted_error": solved,
            "gradient_norm": free,
            "weight_norm": free,
            "iterations": free,
        }
    ),
    slow=True,
)
