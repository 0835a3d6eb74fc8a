"""How fast the routines are beside their peers, and how their cost grows.

Both tables are read from ``benchmarks/results.json``, which ``make bench`` measures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rankbound import canvas
from recipes.recipe import Recipe, Row, on_one_axes

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results.json"
FITTED = 4  # the largest sizes, which the line is fitted to

SPEED_COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "work": str,
        "peer": str,
        "ratio": float,  # seconds of the peer over those of rankbound, the median of the rounds
        "lower": float,  # quartiles
        "upper": float,
        "wanted": float,
    }
)
GROWTH_COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "variable": str,  # what grows: n, k, batch or workers
        "work": str,
        "size": int,
        "seconds": float,
        "exponent": float,  # of the series, fitted to its largest sizes
    }
)
RACES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "certified-condition": ("certified rank, condition 10⁸", "matrix_rank"),
        "certified-batch": ("1000 certified ranks, n = 64", "matrix_rank"),
        "certified-context": ("certified rank, n = 1024", "matrix_rank"),
        "certified-log-rank-256": ("certified log-rank, n = 256", "SVD"),
        "certified-log-rank-512": ("certified log-rank, n = 512", "SVD"),
        "certified-log-rank-1024": ("certified log-rank, n = 1024", "SVD"),
        "fit-all-starts": ("fit from four starts, k = 16", "one by L-BFGS-B"),
        "fit-cliff": ("fit, k = 48 of n = 64", "L-BFGS-B"),
        "layer-spectra": ("72 centred spectra, n = 512", "SVD"),
        "logit-spectrum": ("logit spectrum, n = 2048", "matrix_rank"),
        "exact-fractional": ("exact rank, fractions", "flint"),
        "exact-whole": ("exact rank, whole numbers", "flint"),
        "exact-small": ("exact rank, 20 × 20", "SymPy, stopped"),
    }
)
SERIES: Mapping[str, tuple[str, str]] = MappingProxyType(  # name: its words and its colour
    {
        "spectrum-n": ("logit spectrum, k = 64", canvas.BLUE),
        "masked-n": ("causal log-rank, k = 64", canvas.RED),
        "measures-n": ("audit measures, k = 64", canvas.GREEN),
        "certified-n": ("certified rank", canvas.AMBER),
        "log-rank-n": ("certified log-rank", canvas.BLACK),
        "spectrum-k": ("logit spectrum, n = 8192", canvas.BLUE),
        "masked-k": ("causal log-rank, n = 4096", canvas.RED),
        "measures-k": ("audit measures, n = 1024", canvas.GREEN),
        "spectrum-batch": ("logit spectra, n = 256", canvas.BLUE),
        "certified-batch": ("certified ranks, n = 64", canvas.AMBER),
        "sweep-workers": ("a sweep of 40 cells", canvas.BLACK),
    }
)
AXES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "n": ("Cost against tokens", "number of tokens, n"),
        "k": ("Cost against head size", "head size, k"),
        "batch": ("Cost against batch", "matrices in the batch"),
        "workers": ("Time against workers", "workers"),
    }
)


def measured(part: str) -> dict[str, dict[str, Any]]:
    """The rows of a part of the results, by name."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))[part]
    return {row["name"]: row for row in rows if "skipped" not in row}


def speed_rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    """A row per race that has a peer."""
    found = measured("races")
    for name, (work, peer) in RACES.items():
        if name in found:
            lower, ratio, upper = found[name]["number"]
            sides = {"ratio": ratio, "lower": lower, "upper": upper}
            yield {"work": work, "peer": peer, **sides, "wanted": found[name]["wanted"]}


def growth_rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    """A row per series and size."""
    found = measured("growth")
    for name, (work, _) in SERIES.items():
        if name in found:
            row = found[name]
            same = {"variable": row["variable"], "work": work, "exponent": row["exponent"]}
            for size, seconds in zip(row["sizes"], row["seconds"], strict=True):
                yield {**same, "size": size, "seconds": seconds}


def together(text: str) -> str:
    """The text, in which no line ends beside a sign."""
    for sign in ("=", "×", "of"):
        text = text.replace(f" {sign} ", f"\xa0{sign}\xa0")
    return text.replace("/ ", "/\xa0")


def speed_ratios(rows: canvas.Rows, ax: Axes | None = None) -> Axes:
    """Draw how many times as fast as its peer each routine is, with quartiles and what was wanted.

    A ``gid`` is such as ``ratio-`` or ``wanted-`` and the work.
    """
    records = [record for _, record in canvas.checked(rows, tuple(SPEED_COLUMNS))]
    with canvas.panel(ax, (canvas.WIDE, 4.6)) as axes:
        for place, record in enumerate(records):
            met = record["ratio"] >= record["wanted"]
            colour = canvas.BLUE if met else canvas.RED
            work, quartiles = record["work"], (record["lower"], record["upper"])
            axes.plot(quartiles, (place, place), "-", color=colour, gid=f"quartiles-{work}")
            (dot,) = axes.plot(record["ratio"], place, "o", color=colour, gid=f"ratio-{work}")
            dot.set_markerfacecolor(colour if met else "white")
            (mark,) = axes.plot(record["wanted"], place, "|", color=canvas.BLACK)
            mark.set(gid=f"wanted-{work}", markersize=6, markeredgewidth=1.2)
            if place == 0:
                mark.set_label("wanted")
        for met, colour, face, said in (
            (True, canvas.BLUE, canvas.BLUE, "measured, with quartiles"),
            (False, canvas.RED, "white", "below what is wanted"),
        ):
            if any((r["ratio"] >= r["wanted"]) is met for r in records):
                axes.plot([], [], "o-", color=colour, mfc=face, label=said)
        axes.axvline(1, color="0.8", linewidth=0.6, zorder=0)
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_ylim(-0.7, len(records) - 0.3)
        left = canvas.name_rows(axes, [together(f"{r['work']} / {r['peer']}") for r in records])
        title = "How many times as fast as the peer named after the stroke"
        x = "seconds of the peer / seconds of rankbound"
        canvas.label(axes, title=title, x=x, left=left)
        canvas.dress(axes)
        canvas.legend(axes)
    return axes


def cost_growth(rows: canvas.Rows, ax: Axes | None = None) -> Axes:
    """Draw seconds against one variable, a line per routine, with the fitted power.

    The ``gid`` of points is the work, that of a fitted line ``fit-`` and the work.
    """
    records = [record for _, record in canvas.checked(rows, tuple(GROWTH_COLUMNS))]
    colours = dict(SERIES.values())
    variable = records[0]["variable"]
    title, x = AXES[variable]
    symbol = {"batch": "B", "workers": "w"}.get(variable, variable)
    with canvas.panel(ax, (canvas.NARROW, 2.8)) as axes:
        for work, group in canvas.grouped(records, lambda record: record["work"]).items():
            colour = colours[work]
            marker = canvas.MARKERS[canvas.PALETTE.index(colour)]
            sizes = np.array([record["size"] for record in group], float)
            seconds = np.array([record["seconds"] for record in group])
            (points,) = axes.plot(sizes, seconds, marker, color=colour, gid=work)
            power = group[0]["exponent"]
            points.set_label(f"{work}: ${symbol}^{{{power:.2f}}}$")
            last = sizes[-FITTED:]
            factor = np.exp(np.mean(np.log(seconds[-FITTED:]) - power * np.log(last)))
            axes.plot(last, factor * last**power, "-", color=colour, gid=f"fit-{work}")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        ticks = sorted({record["size"] for record in records})
        ticks = ticks[len(ticks) % 2 == 0 :: 2] if len(ticks) > 5 else ticks
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        every = sorted(record["seconds"] for record in records)
        if every[-1] < 10 * every[0]:  # no power of ten need be between
            axes.set_yticks(every, [f"{seconds:.3g}" for seconds in every])
        axes.minorticks_off()
        canvas.label(axes, title=title, x=x, y="seconds")
        canvas.dress(axes)
        canvas.legend(axes)
    return axes


def draw_growth(rows: Sequence[Row], figure: Figure) -> None:
    """Draw a panel per variable: in two rows on a page, one above another in a column."""
    groups = canvas.grouped(rows, lambda row: row["variable"])
    beside = figure.get_figwidth() > (canvas.WIDE + canvas.NARROW) / 2
    shape = (-(-len(groups) // 2), 2) if beside else (len(groups), 1)
    every = list(figure.subplots(*shape, squeeze=False).flat)
    for axes, group in zip(every, groups.values(), strict=False):
        cost_growth(group, ax=axes)
    for axes in every[len(groups) :]:
        axes.remove()


SPEED = Recipe(
    SPEED_COLUMNS,
    MappingProxyType({}),
    speed_rows,
    on_one_axes(speed_ratios),
    (4.6, 7.2),
    "How many times as fast as its peer each routine is, with quartiles, and what was wanted: from "
    "the certified ranks, several times, to exact ranks, a hundred times and more",
)
GROWTH = Recipe(
    GROWTH_COLUMNS,
    MappingProxyType({}),
    growth_rows,
    draw_growth,
    (5.6, 10.4),
    "Seconds against number of tokens, head size, batch and workers, on logarithmic axes, with a "
    "fitted line and its exponent for each routine",
)
