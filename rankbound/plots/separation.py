"""Students of a teacher with large heads: what they miss, against their number of heads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes

from rankbound._validate import check_int, check_real
from rankbound.plots.canvas import (
    BLUE,
    FONT,
    GREEN,
    PURPLE,
    VERMILION,
    axes_or_new,
    dress,
    explain_hollow,
    read_choice,
    read_converged,
    read_points,
    write_beside,
)

__all__ = ["student_errors"]

_KEYS = ("series", "heads", "head_size", "value_size", "parameters", "seed", "error")


@dataclass(frozen=True)
class _Style:
    """How a series looks, and where its name is written beside its last markers."""

    name: str
    colour: str
    marker: str
    offset: float  # in doublings of h: students of equal h stand side by side
    align: str = "left"
    above: float = 0.0  # points


_SERIES: Mapping[str, _Style] = MappingProxyType(
    {
        "standard": _Style("standard: $d_k = d_v = d/h$", VERMILION, "o", 0.0, "right", 13.0),
        "fixed": _Style("fixed: $d_k = d_v = {k}$", BLUE, "s", -0.14),
        "narrow-values": _Style("$d_k = {k}$, $d_v = {v}$", GREEN, "D", 0.14),
        "narrow-keys": _Style("$d_k = {k}$, $d_v = {v}$", PURPLE, "^", 0.14, above=-5.0),
    }
)


def student_errors(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the share of a teacher's output that students miss against their number of heads h.

    B20 Theorem 2: no standard layer, of h heads of size d/h, is equal to a teacher whose heads are
    larger and which meets the hypotheses of the theorem; a layer with heads of the teacher's size
    may be. The standard layer with h = 1 has heads of size d: it tells whether what the others miss
    is due to the number of heads or to their size.

    Each marker is the end of a fit that is not convex: an upper bound on the least error of its
    class, with no proof that the class cannot do better. A hollow marker is a fit that did not
    converge: not even a stationary point. A vertical line is the range over the seeds, and a line
    from one h to the next joins their medians. The axis of errors is logarithmic.

    Parameters
    ----------
    rows : sequence of mapping
        Tidy records, one per student and seed: ``series``, ``heads``, ``head_size`` (d_k),
        ``value_size`` (d_v), ``parameters``, ``seed`` and ``error``; optionally ``converged`` (True
        unless given). A series is ``standard`` (d_k = d_v = d/h), ``fixed`` (both the same for
        every h), ``narrow-values`` or ``narrow-keys`` (the one or the other cut to d/h). Other
        keys are ignored.
    axes : Axes, optional
        Where to draw; a new figure 7.2 in wide unless given.

    Returns
    -------
    Axes
        Artists carry a ``gid``, for use in SVG and in tests: ``standard-converged`` and
        ``standard-stopped`` the markers of a series, ``standard-range`` and ``standard-median``.

    Raises
    ------
    InputError, InputTypeError
        If there are no rows, a key is missing, a series is not one of these, an error is not
        positive, a triple (series, heads, seed) occurs twice, or `axes` is not Axes.

    References
    ----------
    docs/theory.md, section 4 (B20 Theorem 2).

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> sizes = {"head_size": 4, "value_size": 4, "parameters": 1024}
    >>> row = {"series": "standard", "heads": 4, **sizes, "seed": 0, "error": 0.16}
    >>> axes = student_errors([row], Figure().subplots())
    >>> axes.get_xlabel()
    'number of heads h (in brackets: size d/h of a standard head)'
    """
    points = read_points(rows, _KEYS, ("series", "heads", "seed"), _read_point)
    points.sort(key=lambda point: (point.series, point.heads, point.seed))
    axes = axes_or_new(axes, (7.2, 3.9))
    axes.set_yscale("log")
    for name, style in _SERIES.items():
        series = [point for point in points if point.series == name]
        if series:
            _draw_series(axes, style, series)
            _name(axes, style, series)
    _dress(axes, points)
    return axes


@dataclass(frozen=True)
class _Point:
    series: str
    heads: int
    head_size: int
    value_size: int
    parameters: int
    seed: int
    error: float
    converged: bool

    @property
    def place(self) -> float:
        return math.log2(self.heads) + _SERIES[self.series].offset


def _read_point(name: str, record: Mapping[str, Any]) -> _Point:
    return _Point(
        series=read_choice(name, record, "series", _SERIES),
        **{key: check_int(f"{name}[{key!r}]", record[key], least=1) for key in _KEYS[1:5]},
        seed=check_int(f"{name}['seed']", record["seed"], least=0),
        error=check_real(f"{name}['error']", record["error"], above=0.0),
        converged=read_converged(name, record),
    )


def _draw_series(axes: Axes, style: _Style, series: Sequence[_Point]) -> None:
    name, groups = series[0].series, _by_heads(series)
    places = [group[0].place for group in groups.values()]
    errors = [[point.error for point in group] for group in groups.values()]
    (joined,) = axes.plot(places, [median(group) for group in errors], color=style.colour)
    joined.set(linewidth=1.0, alpha=0.5, zorder=2, gid=f"{name}-median")
    ranges = axes.vlines(places, [min(e) for e in errors], [max(e) for e in errors])
    ranges.set(color=style.colour, linewidth=1.3, zorder=3, gid=f"{name}-range")
    for state, face in (("converged", style.colour), ("stopped", "white")):
        here = [point for point in series if point.converged == (state == "converged")]
        xs, ys = [point.place for point in here], [point.error for point in here]
        (markers,) = axes.plot(xs, ys, style.marker, gid=f"{name}-{state}", zorder=4)
        markers.set(markersize=4.2, markeredgecolor=style.colour, markerfacecolor=face)


def _by_heads(series: Sequence[_Point]) -> dict[int, list[_Point]]:
    groups: dict[int, list[_Point]] = {}
    for point in series:
        groups.setdefault(point.heads, []).append(point)
    return groups


def _name(axes: Axes, style: _Style, series: Sequence[_Point]) -> None:
    """Write the name of a series and its number of parameters beside its last markers."""
    last = list(_by_heads(series).values())[-1]
    point = last[0]
    name = style.name.replace("{k}", str(point.head_size)).replace("{v}", str(point.value_size))
    where = f" at h = {point.heads}" if len({other.parameters for other in series}) > 1 else ""
    write_beside(
        axes,
        (point.place, math.sqrt(min(p.error for p in last) * max(p.error for p in last))),
        (9 if style.align == "left" else 6, style.above),
        f"{name}; {point.parameters} parameters{where}",
        ha=style.align,
        fontsize=FONT,
        color=style.colour,
        annotation_clip=False,
    )


def _dress(axes: Axes, points: Sequence[_Point]) -> None:
    heads = sorted({point.heads for point in points})
    sizes = {point.heads: point.head_size for point in points if point.series == "standard"}
    labels = [f"{h}\n({sizes[h]})" if h in sizes else str(h) for h in heads]
    axes.set_xticks([math.log2(h) for h in heads], labels)
    axes.set_xlim(math.log2(heads[0]) - 0.3, math.log2(heads[-1]) + 0.5)
    least = math.floor(math.log10(min(point.error for point in points)))
    axes.set_ylim(10.0 ** (least - 0.2), 6.0)
    axes.set_yticks([10.0**e for e in range(0, least - 1, -2)])
    axes.set_yticks([], minor=True)
    title = "Share of the teacher's output that the fit misses: an upper bound for its class"
    axes.set_title(title, loc="left", fontsize=FONT + 1)
    axes.set_xlabel("number of heads h (in brackets: size d/h of a standard head)", fontsize=FONT)
    dress(axes)
    if not all(point.converged for point in points):
        explain_hollow(axes, (0.99, 0.02), "bottom")
