"""The share of the dimensions of contexts that heads have, with more tokens than coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes

from rankbound import canvas
from rankbound._validate import check_int
from rankbound.canvas import Style

_SERIES: Mapping[str, Style] = MappingProxyType(
    {
        "causal": Style("causal", canvas.GREEN, "s"),
        "causal-bias": Style("causal, with a bias", canvas.SKY, "D", size=3.0),
        "full": Style("no mask", canvas.VERMILION, "o"),
    }
)


def reach_by_length(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the share of the dimensions of contexts that heads of any size have, against n/d.

    With n tokens of d coordinates. Without a mask it falls from 1 to ``d/(d + 1)`` as soon as
    n > d; a causal mask forgives one missing dimension. A ``gid`` is the name of the series.

    Rows are tidy records, one per pair (series, n): ``series``, one of ``causal``, ``causal-bias``
    (1 in the row space of the tokens) and ``full``; ``n``, ``d``, ``dimension`` and ``contexts``,
    the dimension of all contexts positive on the mask.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> row = {"series": "causal", "n": 3, "d": 2, "dimension": 3, "contexts": 3}
    >>> reach_by_length([row], Figure().subplots()).get_xlabel()
    'tokens over coordinates, n/d'
    """
    keys = ("series", "n", "d", "dimension", "contexts")
    points = canvas.read_points(rows, keys, ("series", "n"), _read_point)
    axes = canvas.axes_or_new(axes, (6.75, 3.2))
    groups = canvas.grouped(sorted(points, key=lambda p: p.n), lambda point: point.series)
    for name, style in _SERIES.items():
        series = groups.get(name, [])
        if series:
            shares = [point.dimension / point.contexts for point in series]
            (line,) = axes.plot([p.n / p.d for p in series], shares, style.marker + "-")
            line.set(color=style.colour, linewidth=1.0, markersize=style.size, gid=name)
            line.set(label=style.name)
    axes.axvline(1, color="0.8", linewidth=0.8, zorder=0)
    axes.set_ylim(0.0, 1.04)
    canvas.dress(axes)
    d = points[0].d
    canvas.label(
        axes,
        title=f"What heads of any size reach on tokens of d = {d} coordinates",
        x="tokens over coordinates, n/d",
        y="share of the dimensions of contexts",
    )
    axes.legend(fontsize=canvas.FONT, frameon=False)
    return axes


@dataclass(frozen=True)
class _Point:
    series: str
    n: int
    d: int
    dimension: int
    contexts: int


def _read_point(name: str, record: Mapping[str, Any]) -> _Point:
    series = canvas.read_choice(name, record, "series", _SERIES)
    n = check_int(f"{name}['n']", record["n"], least=2)
    d = check_int(f"{name}['d']", record["d"], least=1)
    contexts = check_int(f"{name}['contexts']", record["contexts"], least=1)
    dimension = check_int(
        f"{name}['dimension']", record["dimension"], least=0, most=contexts, why="part of them all"
    )
    return _Point(series, n, d, dimension, contexts)
