"""What a mask does to the least head size: one line per mask, against the number of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes

from rankbound._validate import check_int
from rankbound.plots.canvas import (
    BLACK,
    BLUE,
    FONT,
    GREEN,
    GREY,
    SKY,
    VERMILION,
    axes_or_new,
    dress,
    read_choice,
    read_points,
    write_beside,
)

__all__ = ["head_sizes_by_mask"]

_NAME = MappingProxyType({"ha": "left", "fontsize": FONT, "annotation_clip": False})


@dataclass(frozen=True)
class _Style:
    """How a series looks, and the formula that Theorem C gives for it, if it gives one."""

    name: str
    colour: str
    marker: str
    size: float = 3.4
    is_filled: bool = True
    formula: Callable[[int], int] | None = None


# Where two formulas agree, hollow markers surround filled ones.
_SERIES: Mapping[str, _Style] = MappingProxyType(
    {
        "full": _Style("full: n − 1", BLUE, "o", formula=lambda n: n - 1),
        "causal-worst": _Style(
            "causal, worst case: n − 1", VERMILION, "D", 5.6, False, lambda n: n - 1
        ),
        "prefix-3/4": _Style(
            "prefix of p = 3n/4: p − 1",
            BLACK,
            "^",
            3.8,
            formula=lambda n: max(n // 2, 3 * n // 4 - 1),
        ),
        "causal": _Style("causal: ⌊n/2⌋", GREEN, "s", formula=lambda n: n // 2),
        "prefix-1/2": _Style("prefix of n/2: ⌊n/2⌋", BLACK, "o", 6.0, False, lambda n: n // 2),
        "sliding-1/4": _Style("sliding window, n/4", SKY, "X", 4.0),
    }
)


def head_sizes_by_mask(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the least head size against the number of tokens n, for each mask.

    Theorem C: under a nested mask (full, causal, prefix) the least head size is a count, known
    exactly. A thin line is the formula for almost every context, or for the worst case; a marker is
    a row of the table. For other masks only bounds are known: if the sides of a series do not meet
    in every row, it is drawn as a band from the lower to the upper bounds, and called undecided.

    Parameters
    ----------
    rows : sequence of mapping
        Tidy records, one per pair (series, n): ``series``, ``n``, ``lower`` and ``upper``. A series
        is ``full``, ``causal``, ``causal-worst`` (tokens that prefer themselves by a constant),
        ``prefix-1/2`` or ``prefix-3/4`` (the share of the tokens in the prefix), or
        ``sliding-1/4`` (the share in the window). Other keys are ignored.
    axes : Axes, optional
        Where to draw; a new figure 7.2 in wide unless given.

    Returns
    -------
    Axes
        Artists carry a ``gid``, for use in SVG and in tests: ``full-formula``, ``full-points``,
        and ``sliding-1/4-band`` where the sides do not meet.

    Raises
    ------
    InputError, InputTypeError
        If there are no rows, a key is missing, a series is not one of these, ``lower`` is above
        ``upper``, a pair (series, n) occurs twice, or `axes` is not Axes.

    References
    ----------
    docs/theory.md, Theorem C.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> rows = [{"series": "causal", "n": n, "lower": n // 2, "upper": n // 2} for n in (2, 3, 4)]
    >>> axes = head_sizes_by_mask(rows, Figure().subplots())
    >>> axes.get_xlabel()
    'number of tokens n'
    """
    points = sorted(
        read_points(rows, ("series", "n", "lower", "upper"), ("series", "n"), _read_point)
    )
    axes = axes_or_new(axes, (7.2, 3.6))
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
    _dress(axes, points)
    return axes


@dataclass(frozen=True, order=True)
class _Point:
    series: str
    n: int
    lower: int
    upper: int


def _read_point(name: str, record: Mapping[str, Any]) -> _Point:
    series = read_choice(name, record, "series", _SERIES)
    n = check_int(f"{name}['n']", record["n"], least=2)
    lower = check_int(f"{name}['lower']", record["lower"], least=0)
    upper = check_int(f"{name}['upper']", record["upper"], least=lower, why="lower <= upper")
    return _Point(series, n, lower, upper)


def _draw_points(axes: Axes, name: str, style: _Style, series: Sequence[_Point]) -> None:
    sizes = [point.n for point in series]
    if style.formula is not None:
        (line,) = axes.plot(sizes, [style.formula(n) for n in sizes], color=style.colour)
        line.set(linewidth=0.8, alpha=0.45, zorder=2, gid=f"{name}-formula")
    (markers,) = axes.plot(sizes, [point.lower for point in series], style.marker)
    markers.set(markersize=style.size, markeredgecolor=style.colour, gid=f"{name}-points")
    if style.is_filled:
        markers.set(markerfacecolor=style.colour, markeredgewidth=0.0, zorder=4)
    else:
        markers.set(markerfacecolor="none", markeredgewidth=0.7, zorder=3)


def _draw_band(axes: Axes, name: str, style: _Style, series: Sequence[_Point]) -> None:
    sizes = [point.n for point in series]
    lower, upper = [point.lower for point in series], [point.upper for point in series]
    band = axes.fill_between(sizes, lower, upper, color=style.colour, alpha=0.16, linewidth=0)
    band.set(zorder=0, gid=f"{name}-band")
    for side in (lower, upper):
        axes.plot(sizes, side, color=style.colour, linewidth=0.8, linestyle=(0, (2, 1.5)), zorder=1)
    last = series[-1]
    text = f"{style.name}: undecided;\nin [{last.lower}, {last.upper}] at n = {last.n}"
    place = (last.n, last.lower + 0.12 * (last.upper - last.lower))
    note = write_beside(axes, place, (9, 0), text, **_NAME)
    note.set(color=GREY, linespacing=1.25)


def _name_the_points(axes: Axes, last: Mapping[str, _Point]) -> None:
    """Write the name of each series right of its last marker, one above another where they meet."""
    for name, point in last.items():
        here = [other for other in last if last[other] == replace(point, series=other)]
        above = (len(here) - 1) / 2 - here.index(name)
        place = (point.n, point.lower)
        note = write_beside(axes, place, (9, 12.5 * above), _SERIES[name].name, **_NAME)
        note.set(color=_SERIES[name].colour, fontweight="bold")


def _dress(axes: Axes, points: Sequence[_Point]) -> None:
    widest, tallest = max(point.n for point in points), max(point.upper for point in points)
    axes.set_title(
        "Least head size: certified (markers) or bounded (band)", loc="left", fontsize=FONT + 1
    )
    axes.set_xlabel("number of tokens n", fontsize=FONT)
    step = max(1, widest // 4)
    axes.set_xlim(min(point.n for point in points) - 1, widest + 0.8)
    axes.set_ylim(-0.6, tallest + 1.6)
    axes.set_xticks(sorted({min(point.n for point in points), *range(step, widest + 1, step)}))
    axes.set_yticks(range(0, tallest + 2, step))
    dress(axes)
