"""Least head sizes as pictures: what a mask does to them, and the atlas of patterns and senses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from rankbound import canvas
from rankbound._validate import check_int, check_real
from rankbound.atlas import PATTERNS
from rankbound.canvas import Rows, Style
from rankbound.errors import InputError

_SERIES: Mapping[str, Style] = MappingProxyType(
    {
        "full": Style("full", canvas.BLUE, "o"),
        "causal-worst": Style("causal, worst case", canvas.AMBER, "v"),
        "prefix-3/4": Style("prefix of p = 3n/4", canvas.RED, "^"),
        "causal": Style("causal", canvas.GREEN, "s"),
        "prefix-1/2": Style("prefix of n/2", canvas.BLACK, "D"),
        "sliding-1/4": Style("sliding window of n/4", canvas.BLACK, "X"),
    }
)
_FORMULAS: Mapping[str, tuple[str, Callable[[int], int]]] = MappingProxyType(  # of Theorem C
    {
        "full": ("n − 1", lambda n: n - 1),
        "causal-worst": ("n − 1", lambda n: n - 1),
        "prefix-3/4": ("p − 1", lambda n: max(n // 2, 3 * n // 4 - 1)),
        "causal": ("⌊n/2⌋", lambda n: n // 2),
        "prefix-1/2": ("⌊n/2⌋", lambda n: n // 2),
    }
)


def head_sizes_by_mask(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw the least head size against the number of tokens n, for each mask.

    Theorem C: under a nested mask (full, causal, prefix) the least head size is a count, known
    exactly. A thin line is the formula for almost every context, or for the worst case; a marker is
    a row of the table. Series that agree in every row are drawn once, under both names. For other
    masks only bounds are known: if the sides of a series do not meet in every row, it is drawn as a
    band from the lower to the upper bounds, and called undecided.

    A ``gid`` is ``full-formula``, ``full-points``, or ``sliding-1/4-band`` where the sides do not
    meet; of series that agree that of the first.

    Rows are tidy records, one per pair (series, n): ``series``, ``n``, ``lower`` and ``upper``. A
    series is ``full``, ``causal``, ``causal-worst`` (tokens that prefer themselves by a constant),
    ``prefix-1/2`` or ``prefix-3/4`` (the share of the tokens in the prefix), or ``sliding-1/4``
    (the share in the window).

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> rows = [{"series": "causal", "n": n, "lower": n // 2, "upper": n // 2} for n in (2, 3, 4)]
    >>> axes = head_sizes_by_mask(rows, Figure().subplots())
    >>> axes.get_xlabel()
    'number of tokens n'
    """
    points = sorted(
        canvas.read_points(rows, ("series", "n", "lower", "upper"), ("series", "n"), _read_point)
    )
    found = canvas.grouped(points, lambda point: point.series)
    with canvas.panel(ax, (canvas.WIDE, 3.2)) as axes:
        decided: dict[tuple[tuple[int, int], ...], list[str]] = {}
        bands: list[str] = []
        for name in (name for name in _SERIES if name in found):
            if all(point.lower == point.upper for point in found[name]):
                decided.setdefault(tuple((p.n, p.lower) for p in found[name]), []).append(name)
            else:
                bands.append(name)
        for curve, names in decided.items():
            _draw_points(axes, names, curve)
        for name in bands:
            _draw_band(axes, name, found[name])
        _dress_masks(axes, points)
    return axes


@dataclass(frozen=True, order=True)
class _Point:
    series: str
    n: int
    lower: int
    upper: int


def _read_point(name: str, record: Mapping[str, Any]) -> _Point:
    series = canvas.read_choice(name, record, "series", _SERIES)
    n = check_int(f"{name}['n']", record["n"], least=2)
    lower = check_int(f"{name}['lower']", record["lower"], least=0)
    upper = check_int(f"{name}['upper']", record["upper"], least=lower, why="lower <= upper")
    return _Point(series, n, lower, upper)


def _draw_points(axes: Axes, names: Sequence[str], curve: Sequence[tuple[int, int]]) -> None:
    first, style = names[0], _SERIES[names[0]]
    sizes = [n for n, _ in curve]
    said = "; ".join(_SERIES[name].name for name in names)
    if first in _FORMULAS:
        words, formula = _FORMULAS[first]
        said += f": {words}"
        (line,) = axes.plot(sizes, [formula(n) for n in sizes], color=style.colour)
        line.set(linewidth=0.6, alpha=0.6, zorder=2, gid=f"{first}-formula")
    (markers,) = axes.plot(sizes, [size for _, size in curve], style.marker, color=style.colour)
    markers.set(markersize=2.8, zorder=4, gid=f"{first}-points", label=said)


def _draw_band(axes: Axes, name: str, series: Sequence[_Point]) -> None:
    sizes, style = [point.n for point in series], _SERIES[name]
    lower, upper = [point.lower for point in series], [point.upper for point in series]
    band = axes.fill_between(sizes, lower, upper, color=style.colour, alpha=0.16, linewidth=0)
    last = series[-1]
    said = f"{style.name}: undecided, {last.lower} to {last.upper} at n = {last.n}"
    band.set(zorder=0, gid=f"{name}-band", label=said)
    for side in (lower, upper):
        axes.plot(sizes, side, color=style.colour, linewidth=0.6, linestyle=(0, (2, 1.5)), zorder=1)


def _dress_masks(axes: Axes, points: Sequence[_Point]) -> None:
    widest, tallest = max(point.n for point in points), max(point.upper for point in points)
    title = "A causal mask halves the least head size, except in the worst case"
    canvas.label(axes, title=title, x="number of tokens n", y="least head size")
    step = max(1, widest // 4)
    axes.set_xlim(min(point.n for point in points) - 1, widest + 0.8)
    axes.set_ylim(-0.6, tallest + 1.6)
    axes.set_xticks(sorted({min(point.n for point in points), *range(step, widest + 1, step)}))
    axes.set_yticks(range(0, tallest + 2, step))
    canvas.dress(axes)
    canvas.legend(axes)


# the senses of one pattern stand above each other
_SENSES: Mapping[str, Style] = MappingProxyType(
    {
        "exact": Style("exactly", canvas.BLUE, "o", -0.3),
        "closure": Style("to any precision", canvas.RED, "s", -0.1),
        "bounded": Style("with bounded logits", canvas.GREEN, "D", 0.1),
        "sign": Style("the same keys preferred", canvas.AMBER, "^", 0.3),
    }
)
_LEFT = 0.72  # where the axis of head sizes begins, and what has no place on it stands


def atlas_intervals(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw the interval that holds the least head size, for each pattern and sense.

    A marker is a head size at which both sides meet; a bar between strokes an interval whose sides
    do not, with its ends written on it. "no head" stands at the right where none of any size
    will do, and a grey dash at the left where a sense is not asked of a pattern. Head sizes are on
    a logarithmic axis. Sections 1, 3 and 5 prove the entries. A ``gid`` is such as
    ``one-hot-closure``.

    Rows are tidy records, one per entry of the atlas: ``pattern``, ``notion``, ``n``, ``lower`` and
    ``upper``, which are infinite where there is no head; optionally ``scale`` and ``error``, the
    largest ``|q||k|`` and the total variation of the bounded sense.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> row = {"pattern": "one-hot", "notion": "closure", "n": 8, "lower": 2, "upper": 2}
    >>> atlas_intervals([row], Figure().subplots()).get_xlabel()
    'least head size'
    """
    keys = ("pattern", "notion", "n", "lower", "upper")
    entries = canvas.read_points(rows, keys, ("pattern", "notion"), _read_entry)
    patterns = [pattern for pattern in PATTERNS if any(e.pattern == pattern for e in entries)]
    longest = max(entry.n for entry in entries)
    with canvas.panel(ax, (canvas.WIDE, 5.2)) as axes:
        axes.set_xscale("log", base=2)
        axes.set_xlim(_LEFT, 3.6 * longest)
        labelled: set[tuple[str, float]] = set()
        for entry in entries:
            style, size = _SENSES[entry.notion], (entry.pattern, entry.lower)
            height = patterns.index(entry.pattern) + style.offset
            _draw_entry(axes, entry, style, height, size not in labelled)
            if entry.lower == entry.upper:
                labelled.add(size)  # once where senses agree
        asked = {(entry.pattern, entry.notion) for entry in entries}
        for place, pattern in enumerate(patterns):
            for notion, style in _SENSES.items():
                if (pattern, notion) not in asked:
                    dash = [1.06 * _LEFT, 1.16 * _LEFT]
                    axes.plot(dash, [place + style.offset] * 2, color="0.7", linewidth=0.8)
        _dress_atlas(axes, patterns, entries, longest)
    return axes


@dataclass(frozen=True)
class _Entry:
    pattern: str
    notion: str
    lower: float
    upper: float
    n: int
    bounds: str  # of the bounded sense


def _read_entry(name: str, record: Mapping[str, Any]) -> _Entry:
    pattern = canvas.read_choice(name, record, "pattern", PATTERNS)
    notion = canvas.read_choice(name, record, "notion", _SENSES)
    lower, upper = (_size(f"{name}[{key!r}]", record[key]) for key in ("lower", "upper"))
    if lower > upper:
        raise InputError(f"{name} has lower = {lower} above upper = {upper}.")
    bounds = ""
    if notion == "bounded" and {"scale", "error"} <= set(record):
        bounds = f"\n|q||k| $\\leq$ {record['scale']:g}, TV $\\leq$ {record['error']:g}"
    n = int(check_real(f"{name}['n']", record["n"]))
    return _Entry(pattern, notion, lower, upper, n, bounds)


def _size(name: str, value: Any) -> float:
    return math.inf if value == math.inf else check_real(name, value, least=0.0)


def _draw_entry(axes: Axes, entry: _Entry, style: Style, height: float, named: bool) -> None:
    gid = f"{entry.pattern}-{entry.notion}"
    if math.isinf(entry.lower):
        none = axes.annotate("no head", (3.5 * entry.n, height), ha="right", va="center", gid=gid)
        none.set(color=style.colour)
        return
    right = 3.5 * entry.n
    ends = [max(entry.lower, _LEFT), max(min(entry.upper, right), _LEFT)]
    (line,) = axes.plot(ends, [height, height], color=style.colour, gid=gid)
    if entry.lower == entry.upper:
        line.set(marker=style.marker, markersize=3.6)
        said = f"{entry.lower:g}" if named else ""
        canvas.write_beside(axes, (ends[1], height), (5, -0.5), said, color=style.colour)
    else:
        line.set(marker="|", markersize=4.5, linewidth=1.4, solid_capstyle="butt")
        said, middle = f"{entry.lower:g} to {entry.upper:g}", math.sqrt(ends[0] * ends[1])
        name = axes.text(middle, height, said, ha="center", va="center", color=style.colour)
        name.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})


def _dress_atlas(axes: Axes, patterns: list[str], entries: list[_Entry], longest: int) -> None:
    left = canvas.name_rows(axes, [PATTERNS[pattern] for pattern in patterns])
    axes.set_ylim(len(patterns) - 0.45, -0.55)
    for place in range(1, len(patterns)):
        axes.axhline(place - 0.5, color="0.9", linewidth=0.6, zorder=0)
    every = 1 if canvas.width(axes) > canvas.NARROW else 2
    ticks = [2**e for e in range(0, longest.bit_length() + 1, every) if 2**e <= 1.1 * longest]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    canvas.dress(axes, "left")
    axes.tick_params(axis="y", length=0)
    title = f"What {longest} tokens need of a head depends on what is asked"
    canvas.label(axes, title=title, x="least head size", left=left)
    bounds = {entry.bounds for entry in entries if entry.notion == "bounded"}
    handles: list[Any] = [
        Line2D([], [], linestyle="", marker=style.marker, color=style.colour, label=style.name)
        for notion, style in _SENSES.items()
        if any(entry.notion == notion for entry in entries)
    ]
    for handle in handles:
        if handle.get_label() == _SENSES["bounded"].name:
            handle.set_label(handle.get_label() + "".join(sorted(bounds)))
    look: dict[str, Any] = {"linestyle": "-", "color": canvas.GREY}
    handles += [
        Line2D([], [], marker="|", markersize=4.5, label="bounds that do not meet", **look),
        Line2D([], [], linestyle="-", linewidth=0.8, color="0.7", label="not asked"),
    ]
    canvas.legend(axes, handles)
