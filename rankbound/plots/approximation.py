"""The cliff: what a head of each size can do for a generic context, down to nothing at n - 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rankbound import canvas
from rankbound._validate import check_int, check_real
from rankbound.canvas import Rows, Scale

_MARKERS = ("o", "s", "D", "^", "P", "X", "h")


def cliff(rows: Rows, ax: tuple[Axes, Axes] | None = None) -> tuple[Axes, Axes]:
    """Draw the least Aitchison error and the least KL found against head size, for each n.

    Theorem A: a head of size n - 1 has every positive n × n context, and one of size n - 2 almost
    none. So both errors of a generic context are positive up to head size n - 2 and 0 from n - 1
    on: a cliff, whose place is marked by a vertical line.

    The axis of errors is logarithmic. A value that its rounding cannot tell from 0 has no place
    there: it is drawn as a triangle in a grey band below a break, at no particular height.
    A hollow marker is a fit that did not converge: the head is not a stationary point, and the KL
    an upper bound on the minimum with nothing to say how far off.

    The ``gid`` of the series of n = 16 are ``aitchison-16`` and ``kl-16``, those of the lines at
    n - 1 ``aitchison-mark-15`` and ``kl-mark-15``.

    Rows are tidy records, one per pair (n, head size): ``n``, ``head_size``, ``aitchison_error``
    and ``kl``; optionally ``aitchison_rounding`` and ``kl_rounding``, up to which a value counts as
    0 (0 unless given), and ``converged`` (True unless given). Of the axes the first is Aitchison's.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> rows = [
    ...     {"n": 3, "head_size": 1, "aitchison_error": 1.5, "kl": 0.1},
    ...     {"n": 3, "head_size": 2, "aitchison_error": 0.0, "kl": 0.0},
    ... ]
    >>> left, right = cliff(rows, Figure().subplots(1, 2))
    >>> right.get_ylabel()
    'mean KL divergence (nats)'
    """
    keys, identity = ("n", "head_size", _AITCHISON.column, _KL.column), ("n", "head_size")
    given = [record for _, record in canvas.checked(rows, keys)]
    points = [
        sorted(canvas.read_points(given, keys, identity, partial(_read_point, panel=panel)))
        for panel in (_AITCHISON, _KL)
    ]
    with canvas.pair(ax, (canvas.WIDE, 3.0), "Aitchison error, then KL") as (left, right):
        _draw_panel(left, _AITCHISON, points[0])
        _draw_panel(right, _KL, points[1])
    return left, right


@dataclass(frozen=True)
class _Panel:
    name: str
    title: str
    unit: str
    column: str
    is_fitted: bool


_AITCHISON = _Panel(
    "aitchison", "The exact least error", "Aitchison error", "aitchison_error", False
)
_KL = _Panel("kl", "The best head found", "mean KL divergence (nats)", "kl", True)


@dataclass(frozen=True, order=True)
class _Point:
    n: int
    head_size: int
    value: float
    is_zero: bool
    converged: bool


def _read_point(name: str, record: Mapping[str, Any], panel: _Panel) -> _Point:
    value = check_real(f"{name}[{panel.column!r}]", record[panel.column], least=0.0)
    key = f"{panel.name}_rounding"
    return _Point(
        n=check_int(f"{name}['n']", record["n"], least=2),
        head_size=check_int(f"{name}['head_size']", record["head_size"], least=1),
        value=value,
        is_zero=value <= check_real(f"{name}[{key!r}]", record.get(key, 0.0), least=0.0),
        converged=canvas.read_converged(name, record) or not panel.is_fitted,
    )


def _draw_panel(axes: Axes, panel: _Panel, points: Sequence[_Point]) -> None:
    scale = Scale.of([point.value for point in points if not point.is_zero])
    sizes = sorted({point.n for point in points})
    axes.set_yscale("log")
    x = "head size (vertical lines: n − 1)"
    canvas.label(axes, title=panel.title, x=x, y=panel.unit)
    for index, n in enumerate(sizes):
        series = [point for point in points if point.n == n]
        line, mark = _draw_series(axes, n, series, scale, index % len(canvas.PALETTE))
        line.set_gid(f"{panel.name}-{n}")
        mark.set_gid(f"{panel.name}-mark-{n - 1}")
    _dress_abscissa(axes, sizes, max(point.head_size for point in points))
    zeros = [point for point in points if point.is_zero]
    widest = max((point.n for point in zeros), default=1)
    canvas.dress_ordinate(axes, scale, [point.value for point in zeros], widest - 1)
    # a KL of 0 is the minimum, whatever the gradient says: no hollow triangles
    if any(not point.converged and not point.is_zero for point in points):
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        canvas.note(axes, canvas.HOLLOW, bbox=white)


def _draw_series(
    axes: Axes, n: int, series: Sequence[_Point], scale: Scale, index: int
) -> tuple[Line2D, Line2D]:
    colour, marker = canvas.PALETTE[index], _MARKERS[index]
    shown = [point for point in series if not point.is_zero]
    zeros = [point for point in series if point.is_zero]
    mark = axes.axvline(n - 1, color=colour, linewidth=0.6, alpha=0.6, zorder=1)
    xs, ys = [point.head_size for point in shown], [point.value for point in shown]
    (line,) = axes.plot(xs, ys, color=colour, marker="", zorder=3)
    for point in shown:
        face = colour if point.converged else "white"
        (drawn,) = axes.plot(point.head_size, point.value, marker, color=colour, zorder=4)
        drawn.set(markersize=2.6, markeredgewidth=0.8, markerfacecolor=face)
    if zeros:
        xs = [point.head_size for point in zeros]
        axes.plot(xs, [scale.zero] * len(xs), "v", ms=3.6, color=colour, zorder=4, clip_on=False)
    if shown and zeros and shown[-1].head_size < zeros[0].head_size:
        fall = [shown[-1].head_size, zeros[0].head_size]
        axes.plot(fall, [shown[-1].value, scale.zero], ":", marker="", color=colour)
    name = canvas.write_beside(axes, (n - 2, scale.height(0.035)), (-4, 0), f"n = {n}", ha="right")
    name.set(color=colour, fontweight="bold")
    return line, mark


def _dress_abscissa(axes: Axes, sizes: Sequence[int], widest: int) -> None:
    axes.set_xlim(0, max(widest, *sizes) + 1.5)
    ticks = sorted({1, *(n - 1 for n in sizes)})
    axes.set_xticks(ticks)
    step = 2 ** max(0, math.ceil(math.log2(widest / 16)))
    axes.set_xticks(range(step, widest + 1, step), minor=True)
    canvas.dress(axes)
    for tick, label in zip(ticks, axes.get_xticklabels(), strict=True):
        if tick + 1 in sizes:
            label.set_color(canvas.PALETTE[sizes.index(tick + 1) % len(canvas.PALETTE)])
