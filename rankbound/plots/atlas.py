"""The head-size atlas as a picture: an interval for each class of patterns and each sense."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from rankbound._validate import check_real
from rankbound.atlas.entry import PATTERNS
from rankbound.errors import InputError
from rankbound.plots.canvas import (
    BLUE,
    FONT,
    GREEN,
    PURPLE,
    VERMILION,
    axes_or_new,
    dress,
    read_choice,
    read_points,
    write_beside,
)

__all__ = ["atlas_intervals"]

_KEYS = ("pattern", "notion", "n", "lower", "upper")


@dataclass(frozen=True)
class _Style:
    """How a sense looks; those of one pattern stand above each other."""

    name: str
    colour: str
    marker: str
    offset: float


_STYLES: Mapping[str, _Style] = MappingProxyType(
    {
        "exact": _Style("exactly", BLUE, "o", -0.27),
        "closure": _Style("to any precision", GREEN, "s", -0.09),
        "bounded": _Style("with bounded logits", VERMILION, "D", 0.09),
        "sign": _Style("the same keys preferred", PURPLE, "^", 0.27),
    }
)


def atlas_intervals(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the interval that holds the least head size, for each pattern and sense.

    A marker is a head size at which both sides meet, a line an interval with its ends marked; where
    no head of any size will do, "none" stands at the right. Head sizes are on a logarithmic axis.

    Parameters
    ----------
    rows : sequence of mapping
        Tidy records, one per entry of the atlas: ``pattern``, ``notion``, ``n``, ``lower`` and
        ``upper``, which are infinite where there is no head. Other keys are ignored.
    axes : Axes, optional
        Where to draw; a new figure 7.2 in wide unless given.

    Returns
    -------
    Axes
        Artists carry a ``gid``, for use in SVG and in tests: ``one-hot-closure``.

    Raises
    ------
    InputError, InputTypeError
        If there are no rows, a key is missing, a pattern or notion is unknown, ``lower`` is above
        ``upper``, an entry occurs twice, or `axes` is not Axes.

    References
    ----------
    docs/theory.md, sections 1, 3 and 5.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> row = {"pattern": "one-hot", "notion": "closure", "n": 8, "lower": 2, "upper": 2}
    >>> atlas_intervals([row], Figure().subplots()).get_xlabel()
    'least head size'
    """
    entries = read_points(rows, _KEYS, ("pattern", "notion"), _read)
    axes = axes_or_new(axes, (7.2, 5.2))
    patterns = [pattern for pattern in PATTERNS if any(e.pattern == pattern for e in entries)]
    longest = max(entry.n for entry in entries)
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.85, 2.2 * longest)
    labelled: set[tuple[str, float]] = set()
    for entry in entries:
        style, size = _STYLES[entry.notion], (entry.pattern, entry.lower)
        height = patterns.index(entry.pattern) + style.offset
        _draw(axes, entry, style, height, longest)
        if entry.lower == entry.upper < math.inf and size not in labelled:
            labelled.add(size)  # once where senses agree
            name = write_beside(axes, (entry.lower, height), (7, -1), f"{entry.lower:g}")
            name.set(fontsize=FONT - 1, color=style.colour)
    _dress(axes, patterns, {entry.notion for entry in entries}, longest)
    return axes


@dataclass(frozen=True)
class _Entry:
    pattern: str
    notion: str
    lower: float
    upper: float
    n: int


def _read(name: str, record: Mapping[str, Any]) -> _Entry:
    pattern = read_choice(name, record, "pattern", PATTERNS)
    notion = read_choice(name, record, "notion", _STYLES)
    lower, upper = (_size(f"{name}[{key!r}]", record[key]) for key in ("lower", "upper"))
    if lower > upper:
        raise InputError(f"{name} has lower = {lower} above upper = {upper}.")
    return _Entry(pattern, notion, lower, upper, int(check_real(f"{name}['n']", record["n"])))


def _size(name: str, value: Any) -> float:
    return math.inf if value == math.inf else check_real(name, value, least=0.0)


def _draw(axes: Axes, entry: _Entry, style: _Style, height: float, longest: int) -> None:
    gid = f"{entry.pattern}-{entry.notion}"
    if math.isinf(entry.lower):
        none = axes.annotate("none", (2.15 * longest, height), ha="right", va="center", gid=gid)
        none.set(fontsize=FONT - 1, color=style.colour)
        return
    ends = [max(entry.lower, 0.9), max(min(entry.upper, 2.1 * longest), 0.9)]
    (line,) = axes.plot(ends, [height, height], color=style.colour, linewidth=1.6, gid=gid)
    line.set(marker=style.marker, markersize=4.2, solid_capstyle="butt")


def _dress(axes: Axes, patterns: list[str], notions: set[str], longest: int) -> None:
    axes.set_yticks(range(len(patterns)), [PATTERNS[pattern] for pattern in patterns])
    axes.set_ylim(len(patterns) - 0.4, -0.6)
    for place in range(1, len(patterns)):
        axes.axhline(place - 0.5, color="0.9", linewidth=0.8, zorder=0)
    ticks = [2**e for e in range(longest.bit_length() + 1) if 2**e <= 1.1 * longest]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    dress(axes, "left")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("least head size", fontsize=FONT)
    axes.set_title(f"What {longest} tokens need of a head", loc="left", fontsize=FONT + 1)
    handles = [
        axes.plot([], [], style.marker, color=style.colour, markersize=4.5, label=style.name)[0]
        for notion, style in _STYLES.items()
        if notion in notions
    ]
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.3, -0.09),
        ncols=4,
        fontsize=FONT - 1,
        frameon=False,
    )
