"""The price of scale: how large logits must be for a small head to give each query its own key."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from rankbound import canvas
from rankbound.errors import InputError, Undecided
from rankbound.theory.selection import HALVINGS, least_scale_bound, random_keys, selecting_head
from recipes.recipe import Recipe, Row, on_one_axes

COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "n": int,  # queries and keys
        "head_size": int,
        "error": float,  # total variation per column
        "lower": float,  # of the scale, proved in interval arithmetic
        "upper": float,  # of a head that was built; infinite where its keys do not win
        "seed": int,  # of its keys
    }
)
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {"n": [64, 512], "head_size": [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], "error": 0.01, "seed": 0}
)


def price_rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    """Rows by number of keys, then head size."""
    for n in settings["n"]:
        least = math.inf
        for head_size in settings["head_size"]:
            row = price_row(n, head_size, settings["error"], settings["seed"])
            least = min(least, row["upper"])  # a smaller head is one of this size, padded by zeros
            yield {**row, "upper": least}


def price_row(n: int, head_size: int, error: float, seed: int) -> Row:
    """Both sides of the least scale at one head size."""
    keys = round_a_circle(n) if head_size == 2 else random_keys(n, head_size, seed)
    try:
        upper = float(selecting_head(keys, error).scale)
    except (InputError, Undecided):  # a key that does not win its own direction clearly
        upper = math.inf
    lower = least_scale_bound(n, head_size, error)
    sizes = {"n": n, "head_size": head_size, "error": error}
    return {**sizes, "lower": lower, "upper": upper, "seed": seed}


def round_a_circle(n: int) -> npt.NDArray[np.float64]:
    """Keys on the plane, as far from each other as they can be."""
    turns = 2 * math.pi * np.arange(n) / n
    return np.stack([np.cos(turns), np.sin(turns)])


def price_of_scale(rows: canvas.Rows, ax: Axes | None = None) -> Axes:
    """Draw both sides of the least scale against head size, a band for each number of keys.

    A ``gid`` is such as ``lower-64``, ``upper-64`` or ``between-64``.
    """
    keys = ("n", "head_size", "error", "lower", "upper")
    records = [record for _, record in canvas.checked(rows, keys)]
    groups = canvas.grouped(records, lambda record: record["n"])
    with canvas.panel(ax, (canvas.WIDE, 3.2)) as axes:
        for place, (n, group) in enumerate(sorted(groups.items())):
            colour, marker = canvas.PALETTE[place], canvas.MARKERS[place]
            sizes = [record["head_size"] for record in group]
            lower, upper = ([record[side] for record in group] for side in ("lower", "upper"))
            (below,) = axes.plot(sizes, lower, f"{marker}-", color=colour, gid=f"lower-{n}")
            below.set_label(f"n = {n}: no head has less")
            (above,) = axes.plot(sizes, upper, f"{marker}--", color=colour, gid=f"upper-{n}")
            above.set(markerfacecolor="white", label=f"n = {n}: a head that was built")
            band = axes.fill_between(sizes, lower, upper, color=colour, alpha=0.1, linewidth=0)
            band.set_gid(f"between-{n}")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        ticks = [2**e for e in range(1, 12) if 2**e <= max(r["head_size"] for r in records)]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        title = f"One key per query, within {records[0]['error']:g}: small heads pay in scale"
        canvas.label(axes, title=title, x="head size", y="largest $|q||k|$, temperature included")
        canvas.dress(axes)
        canvas.legend(axes)
    return axes


def bisected(settings: Mapping[str, Any], published: Row, computed: Row) -> float:
    """Each computation bisects a scale to 2^-24 of ``log((n - 1)(1 - ε)/ε)/m``, m the margin.

    What is found is at least ``log((1 - ε)/ε)/m``: the key that is nearest must lose by as much.
    """
    if not math.isfinite(published["upper"]):
        return 0.0
    n, error = published["n"], published["error"]
    sure = math.log((n - 1) * (1 - error) / error) / math.log((1 - error) / error)
    return float(2 * 2.0**-HALVINGS * published["upper"] * sure)


PRICE = Recipe(
    COLUMNS,
    SETTINGS,
    price_rows,
    on_one_axes(price_of_scale),
    (3.2, 3.6),
    "Least scale of logits with which a head gives each of 64 or 512 queries its own key, against "
    "head size: a lower bound and a head that was built, both falling steeply to head size 8",
    MappingProxyType({"upper": bisected}),
)
