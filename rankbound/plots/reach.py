"""The share of the dimensions of contexts that heads have, with more tokens than coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes

from rankbound import canvas
from rankbound._validate import check_int
from rankbound.canvas import Rows, Style

_SERIES: Mapping[str, Style] = MappingProxyType(
    {
        "causal-bias": Style("causal mask, with a bias", canvas.BLUE, "D"),
        "causal": Style("causal mask", canvas.GREEN, "s"),
        "full": Style("no mask", canvas.RED, "o"),
    }
)


def reach_by_length(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw the share of the dimensions of contexts that heads of any size have, against d/n.

    On n tokens of d coordinates. Without a mask it falls from 1 to ``d/(d + 1)`` as soon as
    n = d + 1; a causal mask forgives that one missing dimension. A ``gid`` is the name of the
    series.

    Rows are tidy records, one per pair (series, n): ``series``, one of ``causal``, ``causal-bias``
    (1 in the row space of the tokens) and ``full``; ``n``, ``d``, ``dimension`` and ``contexts``,
    the dimension of all contexts positive on the mask.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> row = {"series": "causal", "n": 3, "d": 2, "dimension": 3, "contexts": 3}
    >>> reach_by_length([row], Figure().subplots()).get_xlabel()
    'coordinates per token, d/n'
    """
    keys = ("series", "n", "d", "dimension", "contexts")
    points = canvas.read_points(rows, keys, ("series", "n"), _read_point)
    groups = canvas.grouped(sorted(points, key=lambda p: p.n), lambda point: point.series)
    d = points[0].d
    with canvas.panel(ax, (canvas.WIDE, 2.9)) as axes:
        for name, style in _SERIES.items():
            if name in groups:
                places = [p.d / p.n for p in groups[name]]
                shares = [point.dimension / point.contexts for point in groups[name]]
                (line,) = axes.plot(places, shares, style.marker + "-", color=style.colour)
                line.set(markersize=2.8, gid=name, label=style.name)
        missing = d / (d + 1)
        axes.axvline(missing, color="0.8", linewidth=0.6, zorder=0)
        axes.annotate(
            "n = d + 1",
            (missing, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            color=canvas.GREY,
        )
        axes.set_xlim(0.9 * min(p.d / p.n for p in points), 1.25)
        axes.set_ylim(0.0, 1.06)
        title = f"A causal mask forgives one missing dimension (heads of any size, d = {d})"
        y = "share of the dimensions\nof contexts"
        canvas.label(axes, title=title, x="coordinates per token, d/n", y=y)
        canvas.dress(axes)
        canvas.legend(axes)
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
