"""What a mask does to the least head size of integer logits, with both sides proved.

Each row holds what ``rb.certified_log_rank`` says of one matrix under one mask. Its certificate is
built, and the verdict taken after the checker has read it, so that ``certified`` means accepted.
A sliding window of more than one token and fewer than n is not nested: its row is an interval,
``supported`` by floating-point ranks, within which the least head size is undecided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

import rankbound as rb
from rankbound.plots import head_sizes_by_mask
from recipes.recipe import Recipe, Row, on_one_axes

COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "series": str,
        "n": int,
        "mask": str,  # full, causal, prefix:P or sliding:W, as the command line has it
        "logits": str,  # random, uniform integers in [-bound, bound]; or the identity
        "lower": int,  # of the least head size
        "upper": int,
        "verdict": str,
        "method": str,
    }
)
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {"n": list(range(2, 33)), "seed": 0, "bound": 1000}  # the logits of n are seeded (seed, n)
)


def masks_rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of all series, by n; the series of one n share their logits, but for the worst case."""
    for n in settings["n"]:
        for series in ("full", "causal", "causal-worst", "prefix-1/2", "prefix-3/4", "sliding-1/4"):
            yield masks_row(series, n, settings)


def masks_row(series: str, n: int, settings: Mapping[str, Any]) -> Row:
    """Bounds of the least head size of one matrix of logits under one mask."""
    if series == "causal-worst":
        kind, logits = "identity", np.eye(n, dtype=np.int64)
    else:
        kind, logits = "random", random_logits(n, settings["seed"], settings["bound"])
    name, mask = masked(series, n)
    bounds = rb.certified_log_rank(logits=logits, mask=mask)
    if bounds.verdict is rb.Verdict.RIGOROUS:
        bounds = bounds.certify()  # the checker reads it
    return {
        "series": series,
        "n": n,
        "mask": name,
        "logits": kind,
        "lower": bounds.lower,
        "upper": bounds.upper,
        "verdict": str(bounds.verdict),
        "method": bounds.method,
    }


def random_logits(n: int, seed: int, bound: int) -> npt.NDArray[np.int64]:
    """Integers so widely spread that a rank below the generic one would be a rare accident."""
    return np.random.default_rng([seed, n]).integers(-bound, bound, (n, n), endpoint=True)


def masked(series: str, n: int) -> tuple[str, npt.NDArray[np.bool_]]:
    """The mask of a series, and its name: prefixes are rounded down, the window up."""
    if series == "full":
        return series, rb.full_mask(n)
    if series.startswith("prefix"):
        prefix = n // 2 if series == "prefix-1/2" else 3 * n // 4
        return f"prefix:{prefix}", rb.prefix_mask(n, prefix)
    if series == "sliding-1/4":
        window = -(-n // 4)
        return f"sliding:{window}", rb.sliding_mask(n, window)
    return "causal", rb.causal_mask(n)


MASKS = Recipe(
    COLUMNS,
    SETTINGS,
    masks_rows,
    on_one_axes(head_sizes_by_mask),
    (3.2, 3.3),
    "Least head size against the number of tokens n: n - 1 without a mask and for the worst causal "
    "context, half of n for almost every causal one, an undecided band for a sliding window",
)
