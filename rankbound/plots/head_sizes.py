"""Least head sizes as pictures: what a mask does to them, and the atlas of patterns and senses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from rankbound import canvas
from rankbound._validate import check_int, check_real
from rankbound.atlas import PATTERNS
from rankbound.canvas import Style
from rankbound.errors import InputError

_NAME = MappingProxyType({"ha": "left", "fontsize": canvas.FONT, "annotation_clip": False})


# Where two formulas agree, hollow markers surround filled ones.
_SERIES: Mapping[str, Style] = MappingProxyType(
    {
        "full": Style("full: n − 1", canvas.BLUE, "o"),
        "causal-worst": Style(
            "causal, worst case: n − 1", canvas.VERMILION, "D", size=5.6, filled=False
        ),
        "prefix-3/4": Style("prefix of p = 3n/4: p − 1", canvas.BLACK, "^", size=3.8),
        "causal": Style("causal: ⌊n/2⌋", canvas.GREEN, "s"),
        "prefix-1/2": Style("prefix of n/2: ⌊n/2⌋", canvas.BLACK, "o", size=6.0, filled=False),
        "sliding-1/4": Style("sliding window, n/4", canvas.SKY, "X", size=4.0),
    }
)
_FORMULAS: Mapping[str, Callable[[int], int]] = MappingProxyType(  # of Theorem C
    {
        "full": lambda n: n - 1,
        "causal-worst": lambda n: n - 1,
        "prefix-3/4": lambda n: max(n // 2, 3 * n // 4 - 1),
        "causal": lambda n: n // 2,
        "prefix-1/2": lambda n: n // 2,
    }
)


def head_sizes_by_mask(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the least head size against the number of tokens n, for each mask.

    Theorem C: under a nested mask (full, causal, prefix) the least head size is a count, known
    exactly. A thin line is the formula for almost every context, or for the worst case; a marker is
    a row of the table. For other masks only bounds are known: if the sides of a series do not meet
    in every row, it is drawn as a band from the lower to the upper bounds, and called undecided.

    A ``gid`` is ``full-formula``, ``full-points``, or ``sliding-1/4-band`` where the sides do not
    meet.

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
    axes = canvas.axes_or_new(axes, (7.2, 3.6))
    decided = {}
    for name, style in _SERIES.items():
        series = [point for point in points if point.series == name]
        if not series:
            continue
        if all(point.lower == point.upper for point in series):
            _draw_points(axes, name, style, series)
            decided[name] = series[-1]
        else:
            _draw_band(axes, name, style, series)
    _name_the_points(axes, decided)
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


def _draw_points(axes: Axes, name: str, style: Style, series: Sequence[_Point]) -> None:
    sizes = [point.n for point in series]
    if name in _FORMULAS:
        (line,) = axes.plot(sizes, [_FORMULAS[name](n) for n in sizes], color=style.colour)
        line.set(linewidth=0.8, alpha=0.45, zorder=2, gid=f"{name}-formula")
    (markers,) = axes.plot(sizes, [point.lower for point in series], style.marker)
    markers.set(markersize=style.size, markeredgecolor=style.colour, gid=f"{name}-points")
    if style.filled:
        markers.set(markerfacecolor=style.colour, markeredgewidth=0.0, zorder=4)
    else:
        markers.set(markerfacecolor="none", markeredgewidth=0.7, zorder=3)


def _draw_band(axes: Axes, name: str, style: Style, series: Sequence[_Point]) -> None:
    sizes = [point.n for point in series]
    lower, upper = [point.lower for point in series], [point.upper for point in series]
    band = axes.fill_between(sizes, lower, upper, color=style.colour, alpha=0.16, linewidth=0)
    band.set(zorder=0, gid=f"{name}-band")
    for side in (lower, upper):
        axes.plot(sizes, side, color=style.colour, linewidth=0.8, linestyle=(0, (2, 1.5)), zorder=1)
    last = series[-1]
    text = f"{style.name}: undecided;\nin [{last.lower}, {last.upper}] at n = {last.n}"
    place = (last.n, last.lower + 0.12 * (last.upper - last.lower))
    note = canvas.write_beside(axes, place, (9, 0), text, **_NAME)
    note.set(color=canvas.GREY, linespacing=1.25)


def _name_the_points(axes: Axes, last: Mapping[str, _Point]) -> None:
    """Write the name of each series right of its last marker, one above another where they meet."""
    for name, point in last.items():
        here = [other for other in last if last[other] == replace(point, series=other)]
        above = (len(here) - 1) / 2 - here.index(name)
        place = (point.n, point.lower)
        note = canvas.write_beside(axes, place, (9, 12.5 * above), _SERIES[name].name, **_NAME)
        note.set(color=_SERIES[name].colour, fontweight="bold")


def _dress_masks(axes: Axes, points: Sequence[_Point]) -> None:
    widest, tallest = max(point.n for point in points), max(point.upper for point in points)
    title = "Least head size: certified (markers) or bounded (band)"
    canvas.label(axes, title=title, x="number of tokens n")
    step = max(1, widest // 4)
    axes.set_xlim(min(point.n for point in points) - 1, widest + 0.8)
    axes.set_ylim(-0.6, tallest + 1.6)
    axes.set_xticks(sorted({min(point.n for point in points), *range(step, widest + 1, step)}))
    axes.set_yticks(range(0, tallest + 2, step))
    canvas.dress(axes)


# the senses of one pattern stand above each other
_SENSES: Mapping[str, Style] = MappingProxyType(
    {
        "exact": Style("exactly", canvas.BLUE, "o", -0.27),
        "closure": Style("to any precision", canvas.GREEN, "s", -0.09),
        "bounded": Style("with bounded logits", canvas.VERMILION, "D", 0.09),
        "sign": Style("the same keys preferred", canvas.PURPLE, "^", 0.27),
    }
)


def atlas_intervals(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the interval that holds the least head size, for each pattern and sense.

    A marker is a head size at which both sides meet, a line an interval with its ends marked; where
    no head of any size will do, "none" stands at the right. Head sizes are on a logarithmic axis.
    Sections 1, 3 and 5 prove the entries. A ``gid`` is such as ``one-hot-closure``.

    Rows are tidy records, one per entry of the atlas: ``pattern``, ``notion``, ``n``, ``lower`` and
    ``upper``, which are infinite where there is no head.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> row = {"pattern": "one-hot", "notion": "closure", "n": 8, "lower": 2, "upper": 2}
    >>> atlas_intervals([row], Figure().subplots()).get_xlabel()
    'least head size'
    """
    keys = ("pattern", "notion", "n", "lower", "upper")
    entries = canvas.read_points(rows, keys, ("pattern", "notion"), _read_entry)
    axes = canvas.axes_or_new(axes, (7.2, 5.2))
    patterns = [pattern for pattern in PATTERNS if any(e.pattern == pattern for e in entries)]
    longest = max(entry.n for entry in entries)
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.85, 2.2 * longest)
    labelled: set[tuple[str, float]] = set()
    for entry in entries:
        style, size = _SENSES[entry.notion], (entry.pattern, entry.lower)
        height = patterns.index(entry.pattern) + style.offset
        _draw_entry(axes, entry, style, height, longest)
        if entry.lower == entry.upper < math.inf and size not in labelled:
            labelled.add(size)  # once where senses agree
            name = canvas.write_beside(axes, (entry.lower, height), (7, -1), f"{entry.lower:g}")
            name.set(fontsize=canvas.FONT - 1, color=style.colour)
    _dress_atlas(axes, patterns, {entry.notion for entry in entries}, longest)
    return axes


@dataclass(frozen=True)
class _Entry:
    pattern: str
    notion: str
    lower: float
    upper: float
    n: int


def _read_entry(name: str, record: Mapping[str, Any]) -> _Entry:
    pattern = canvas.read_choice(name, record, "pattern", PATTERNS)
    notion = canvas.read_choice(name, record, "notion", _SENSES)
    lower, upper = (_size(f"{name}[{key!r}]", record[key]) for key in ("lower", "upper"))
    if lower > upper:
        raise InputError(f"{name} has lower = {lower} above upper = {upper}.")
    return _Entry(pattern, notion, lower, upper, int(check_real(f"{name}['n']", record["n"])))


def _size(name: str, value: Any) -> float:
    return math.inf if value == math.inf else check_real(name, value, least=0.0)


def _draw_entry(axes: Axes, entry: _Entry, style: Style, height: float, longest: int) -> None:
    gid = f"{entry.pattern}-{entry.notion}"
    if math.isinf(entry.lower):
        none = axes.annotate("none", (2.15 * longest, height), ha="right", va="center", gid=gid)
        none.set(fontsize=canvas.FONT - 1, color=style.colour)
        return
    ends = [max(entry.lower, 0.9), max(min(entry.upper, 2.1 * longest), 0.9)]
    (line,) = axes.plot(ends, [height, height], color=style.colour, linewidth=1.6, gid=gid)
    line.set(marker=style.marker, markersize=4.2, solid_capstyle="butt")


def _dress_atlas(axes: Axes, patterns: list[str], notions: set[str], longest: int) -> None:
    axes.set_yticks(range(len(patterns)), [PATTERNS[pattern] for pattern in patterns])
    axes.set_ylim(len(patterns) - 0.4, -0.6)
    for place in range(1, len(patterns)):
        axes.axhline(place - 0.5, color="0.9", linewidth=0.8, zorder=0)
    ticks = [2**e for e in range(longest.bit_length() + 1) if 2**e <= 1.1 * longest]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    canvas.dress(axes, "left")
    axes.tick_params(axis="y", length=0)
    canvas.label(axes, title=f"What {longest} tokens need of a head", x="least head size")
    handles = [
        axes.plot([], [], style.marker, color=style.colour, markersize=4.5, label=style.name)[0]
        for notion, style in _SENSES.items()
        if notion in notions
    ]
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.3, -0.09),
        ncols=4,
        fontsize=canvas.FONT - 1,
        frameon=False,
    )
