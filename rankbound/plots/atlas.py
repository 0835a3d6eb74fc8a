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
from rankbound.atlas.entry import NOTIONS, PATTERNS
from rankbound.errors import InputError, InputTypeError

__all__ = ["atlas_intervals"]

_FONT = 9.0
_KEYS = ("pattern", "notion", "n", "lower", "upper")


@dataclass(frozen=True)
class _Style:
    """How a sense looks; those of one pattern stand above each other."""

    name: str
    colour: str
    marker: str
    offset: float


# Okabe & Ito's palette, as in the other figures.
_STYLES: Mapping[str, _Style] = MappingProxyType(
    {
        "exact": _Style("exactly", "#0072B2", "o", -0.27),
        "closure": _Style("to any precision", "#009E73", "s", -0.09),
        "bounded": _Style("with bounded logits", "#D55E00", "D", 0.09),
        "sign": _Style("the same keys preferred", "#CC79A7", "^", 0.27),
    }
)


def atlas_intervals(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the interval that holds the least head size, for each pattern and sense.

    A marker is a head size at which both sides meet, a line an interval with its ends marked; where
    no head of any size will do, "none" stands at the right. Head sizes are on a logarithmic axis.

    Parameters
    ----------
    rows : sequence of mapping
        Tidy records, one an entry of the atlas: ``pattern``, ``notion``, ``n``, ``lower`` and
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
    entries = _read(rows)
    if axes is None:
        import matplotlib.pyplot as plt  # chooses a backend, which given axes do not need

        _, axes = plt.subplots(figsize=(7.2, 5.2), layout="constrained")
    if not isinstance(axes, Axes):
        raise InputTypeError(
            f"axes is of type {type(axes).__name__}; expected Axes. figure.subplots() returns them."
        )
    patterns = [pattern for pattern in PATTERNS if any(key[0] == pattern for key in entries)]
    longest = max(n for _, _, n in entries.values())
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.85, 2.2 * longest)
    labelled: set[tuple[str, float]] = set()
    for (pattern, notion), (lower, upper, _) in entries.items():
        height = patterns.index(pattern) + _STYLES[notion].offset
        _draw(axes, f"{pattern}-{notion}", _STYLES[notion], height, lower, upper, longest)
        if lower == upper < math.inf and (pattern, lower) not in labelled:
            labelled.add((pattern, lower))  # once where senses agree
            _label(axes, _STYLES[notion].colour, height, lower)
    _dress(axes, patterns, {notion for _, notion in entries}, longest)
    return axes


def _read(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], tuple[float, float, int]]:
    entries: dict[tuple[str, str], tuple[float, float, int]] = {}
    for place, record in enumerate(rows):
        name = f"rows[{place}]"
        if not isinstance(record, Mapping):
            raise InputTypeError(
                f"{name} is of type {type(record).__name__}; expected a mapping. "
                "For a DataFrame pass frame.to_dict('records')."
            )
        for key in _KEYS:
            if key not in record:
                raise InputError(f"{name} has no {key!r}; expected {', '.join(_KEYS)}.")
        pattern, notion = record["pattern"], record["notion"]
        if pattern not in PATTERNS or notion not in NOTIONS:
            raise InputError(
                f"{name} is {pattern!r}, {notion!r}; expected a pattern of "
                f"{', '.join(PATTERNS)} and a notion of {', '.join(NOTIONS)}."
            )
        if (pattern, notion) in entries:
            raise InputError(f"{name} repeats {pattern}, {notion}; expected one record an entry.")
        lower, upper = (_size(f"{name}[{key!r}]", record[key]) for key in ("lower", "upper"))
        if lower > upper:
            raise InputError(f"{name} has lower = {lower} above upper = {upper}.")
        entries[pattern, notion] = lower, upper, int(check_real(f"{name}['n']", record["n"]))
    if not entries:
        raise InputError("rows is empty; expected one record an entry of the atlas.")
    return entries


def _size(name: str, value: Any) -> float:
    return math.inf if value == math.inf else check_real(name, value, least=0.0)


def _draw(
    axes: Axes, gid: str, style: _Style, height: float, lower: float, upper: float, longest: int
) -> None:
    if math.isinf(lower):
        axes.annotate(
            "none",
            (2.15 * longest, height),
            ha="right",
            va="center",
            fontsize=_FONT - 1,
            color=style.colour,
            gid=gid,
        )
        return
    ends = [max(lower, 0.9), max(min(upper, 2.1 * longest), 0.9)]
    (line,) = axes.plot(ends, [height, height], color=style.colour, linewidth=1.6, gid=gid)
    line.set(marker=style.marker, markersize=4.2, solid_capstyle="butt")


def _label(axes: Axes, colour: str, height: float, value: float) -> None:
    axes.annotate(
        f"{value:g}",
        (value, height),
        xytext=(7, -1),
        textcoords="offset points",
        va="center",
        fontsize=_FONT - 1,
        color=colour,
    )


def _dress(axes: Axes, patterns: list[str], notions: set[str], longest: int) -> None:
    axes.set_yticks(range(len(patterns)), [PATTERNS[pattern] for pattern in patterns])
    axes.set_ylim(len(patterns) - 0.4, -0.6)
    for place in range(1, len(patterns)):
        axes.axhline(place - 0.5, color="0.9", linewidth=0.8, zorder=0)
    ticks = [2**e for e in range(longest.bit_length() + 1) if 2**e <= 1.1 * longest]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=_FONT, length=3)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("least head size", fontsize=_FONT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(f"What {longest} tokens need of a head", loc="left", fontsize=_FONT + 1)
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
        fontsize=_FONT - 1,
        frameon=False,
    )
