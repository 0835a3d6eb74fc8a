"""Layers as pictures: their errors over the number of heads, and what trained heads use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from rankbound import canvas
from rankbound._validate import check_int, check_real
from rankbound.canvas import Rows, Style
from rankbound.errors import InputError
from rankbound.experiments.results import Arm, Run, gather

KINDS: Mapping[str, Style] = MappingProxyType(  # those that are drawn
    {
        "standard": Style("head size d / heads", canvas.RED, "o"),
        "fixed": Style("head size {d_k}", canvas.BLUE, "s"),
        "matched": Style("as standard, wider FFN:\nparameters of fixed", canvas.GREEN, "^"),
        "scaled": Style("logits scaled by $1/\\sqrt{{d_k}}$", canvas.RED, "o"),
        "qk-norm": Style("QK-norm, one temperature", canvas.BLUE, "s"),
    }
)
_WIDER = ((canvas.AMBER, "D", ":"), (canvas.BLACK, "v", "-."), (canvas.GREEN, "P", "--"))
_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "separation": "One map, four heads",
        "separation-distinct": "Four different maps",
        "farthest": "The farthest token",
        "mixing": "Four dense averages",
        "lookup": "One key looked up per query",
        "language": "Bytes of text",
        "head-size": "Bytes of text, two scales",
        "transition": "Several maxima",
    }
)
_MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "language": "loss (nats per byte)",
        "head-size": "loss (nats per byte)",
        "lookup": "accuracy",
    }
)
_DECAYS: Mapping[str, float] = MappingProxyType({"language": 0.01, "head-size": 0.01})
# of arms that are compared
_FLOAT32_EPS = 2.0**-23
_HEAD_KEYS = ("d", "head_size", "weight_decay", "log_effective_rank", "log_rank_bound", "spectrum")


def errors_by_heads(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw one experiment: error over the number of heads, standard and fixed.

    A line joins the arms of a kind, a d and an n; markers are medians over seeds and bars the
    range, each arm at its best learning rate. A hollow marker is one seed, which has no range. A
    star stands above an arm whose best rate is the least or the greatest that was tried: a better
    one may lie beyond. Layers whose value size is given apart are left out, and language models of
    a weight decay other than 0.01.

    The ``gid`` of a line is such as ``standard-32``; ``fixed-4-128`` where there are several n.

    Rows are runs of one experiment, with the keys of :class:`~rankbound.experiments.results.Run`.
    """
    names = [field.name for field in fields(Run)]
    runs = [Run(**{name: row[name] for name in names}) for _, row in canvas.checked(rows, names)]
    arms = [
        arm
        for arm in gather(runs)
        if arm.kind in KINDS and arm.weight_decay == _DECAYS.get(arm.experiment, 0.0)
    ]
    if len({run.experiment for run in runs}) != 1 or not arms:
        raise InputError(
            "rows hold no or several experiments with layers; expected the runs of one of them."
        )
    arms.sort(key=lambda arm: (arm.d, arm.heads))
    lengths = sorted({arm.n for arm in arms})
    widths = sorted({arm.d for arm in arms})
    with canvas.panel(ax, (canvas.NARROW, 3.4)) as axes:
        for (kind, d, n), group in canvas.grouped(arms, lambda a: (a.kind, a.d, a.n)).items():
            style, gid = KINDS[kind], f"{kind}-{d}"
            name = f"{style.name.format(d_k=group[0].d_k)}, d = {d}"
            look = (style.colour, style.marker, "-")
            if d != widths[0]:
                look = _WIDER[(widths.index(d) - 1) % len(_WIDER)]
            if len(lengths) > 1:
                name, gid = f"{name}, n = {n}", f"{gid}-{n}"
                look = (_shade(lengths.index(n)), style.marker, "-")
            _draw_arms(axes, group, gid, name, *look)
        _dress_arms(axes, arms)
    return axes


def _draw_arms(
    axes: Axes, arms: Sequence[Arm], gid: str, name: str, colour: str, marker: str, line: str
) -> None:
    points = [(arm.heads, arm.low, arm.middle, arm.high) for arm in arms]
    _bars(axes, points, gid, label=name, color=colour, marker=marker, linestyle=line)
    one = [(arm.heads, arm.middle) for arm in arms if len(arm.values) == 1]
    if one:
        (hollow,) = axes.plot(*zip(*one, strict=True), marker, color=colour, zorder=5)
        hollow.set(markerfacecolor="white", gid=f"{gid}-one-seed")
    for arm in arms:
        if arm.at_edge and math.isfinite(arm.high):
            star = canvas.write_beside(axes, (arm.heads, arm.high), (0, 3), "*", ha="center")
            star.set(color=colour, gid=f"{gid}-edge")


def _bars(
    axes: Axes, points: Sequence[tuple[float, float, float, float]], gid: str, **style: Any
) -> None:
    """Draw markers with bars: abscissa, low end, middle and high end of each."""
    xs, low, middle, high = map(np.array, zip(*points, strict=True))
    spread = [(middle - low).tolist(), (high - middle).tolist()]  # old matplotlib warns at arrays
    drawn = axes.errorbar(xs, middle, spread, elinewidth=0.8, capsize=1.6, **style)
    drawn.lines[0].set_gid(gid)  # as an argument it would name the caps, too


def _dress_arms(axes: Axes, arms: Sequence[Arm]) -> None:
    experiment = arms[0].experiment
    axes.set_xscale("log", base=2)
    _ticks(axes.xaxis, sorted({arm.heads for arm in arms}))
    lengths = ", ".join(str(n) for n in sorted({arm.n for arm in arms}))
    title = f"{_TITLES.get(experiment, experiment)}, n = {lengths}"
    error = "relative squared error"
    canvas.label(axes, title=title, x="number of heads", y=_MEASURES.get(experiment, error))
    if experiment not in _MEASURES:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.14)  # for the stars
    canvas.dress(axes)
    seeds = {len(arm.values) for arm in arms}
    bare: dict[str, Any] = {"linestyle": "", "marker": ""}
    remarks = [f"markers: median of {max(seeds)} seeds,\nbars: their range"] * (max(seeds) > 1)
    remarks += ["hollow: one seed"] * (1 in seeds)
    remarks += ["*: best rate at the edge\nof those tried"] * any(arm.at_edge for arm in arms)
    notes = [Line2D([], [], label=remark, **bare) for remark in remarks]
    canvas.legend(axes, [*axes.get_legend_handles_labels()[0], *notes])


def ranks_of_trained_heads(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw the effective log-rank of trained heads over their head size, beside the bound.

    A marker is the median over all heads of models of that head size, a bar the middle half of
    them; weight decays stand beside each other. The line is the bound: the log-rank, and so the
    effective one, is at most the head size.

    A row is a head, with the keys of :class:`~rankbound.experiments.language.TrainedHead`.
    """
    heads = _heads(rows)
    sizes = sorted({row["head_size"] for row in heads})
    decays = sorted({row["weight_decay"] for row in heads})
    with canvas.panel(ax, (canvas.NARROW, 3.0)) as axes:
        (bound,) = axes.plot(sizes, sizes, label="the bound: head size", gid="bound")
        bound.set(color=canvas.GREY, linewidth=0.8)
        for number, decay in enumerate(decays):
            _decay(axes, heads, decay, number, number - (len(decays) - 1) / 2)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        for axis in (axes.xaxis, axes.yaxis):
            _ticks(axis, sizes)
        title = "Trained heads use little of their size"
        y = "effective log-rank\n(median and middle half of heads)"
        canvas.label(axes, title=title, x="head size", y=y)
        canvas.dress(axes)
        canvas.legend(axes)
    return axes


def spectra_of_trained_heads(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw the spectra of centred logits of trained heads: one line per head size and weight decay.

    Each line is the median over heads of ``s_r / s_1``, cut at float32's rounding; its head size
    stands at its end, its weight decay is told by dashes. A head whose bound is not felt has a
    spectrum that falls to nothing before r reaches the head size; one at its bound ends high. Of
    heads of size d, the line ends early whatever they learnt: layer norm leaves d - 1 directions.

    The ``gid`` of a line is such as ``spectrum-16-0.1``: head size, decay.

    A row is a head, with the keys of :class:`~rankbound.experiments.language.TrainedHead`.
    """
    heads = _heads(rows)
    sizes = sorted({row["head_size"] for row in heads if row["head_size"] > 1})
    decays = sorted({row["weight_decay"] for row in heads})
    groups = canvas.grouped(heads, lambda row: (row["weight_decay"], row["head_size"]))
    with canvas.panel(ax, (canvas.NARROW, 3.0)) as axes:
        ends: dict[int, tuple[int, float]] = {}
        for decay, size in sorted(key for key in groups if key[1] > 1):
            spectra = [map(float, row["spectrum"].split()) for row in groups[decay, size]]
            middle = [median(values) for values in zip(*spectra, strict=True)]
            # what float32, in which models are trained, cannot tell from 0
            shown = [value for value in middle if value > _FLOAT32_EPS]
            (line,) = axes.plot(range(1, len(shown) + 1), shown, _DASHES[decays.index(decay) % 3])
            line.set(color=_ramp(sizes.index(size), len(sizes)), gid=f"spectrum-{size}-{decay:g}")
            if size not in ends or shown[-1] < ends[size][1]:
                ends[size] = (len(shown), shown[-1])
        for size, end in ends.items():
            name = canvas.write_beside(axes, end, (0, -6), str(size), ha="center")
            name.set(color=_ramp(sizes.index(size), len(sizes)), fontweight="bold")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.margins(y=0.12)  # for the numbers
        _ticks(axes.xaxis, [1, *sizes])
        if any(row["head_size"] == row["d"] for row in heads):
            said = "size d: layer norm\nleaves d − 1 directions"
            canvas.note(axes, said, (0.04, 0.04), ha="left", va="bottom")
        title = "Their spectra; a number is the head size"
        y = "$s_r / s_1$ of centred logits\n(median of heads)"
        canvas.label(axes, title=title, x="number r of the singular value", y=y)
        canvas.dress(axes)
        handles = [
            Line2D([], [], color=canvas.GREY, linestyle=_DASHES[place % 3], label=_words(decay))
            for place, decay in enumerate(decays)
        ]
        canvas.legend(axes, handles)
    return axes


_DASHES: tuple[Any, ...] = (":", "-", "--")  # of weight decays


def _heads(rows: Any) -> list[Mapping[str, Any]]:
    found = [row for _, row in canvas.checked(rows, _HEAD_KEYS)]
    if not found:
        raise InputError("rows is empty; expected one per trained head.")
    return found


def _shade(number: int) -> str:
    return canvas.PALETTE[number % len(canvas.PALETTE)]


def _ramp(place: int, count: int) -> Any:
    """From dark to light, for what has an order."""
    return mpl.colormaps["viridis"](0.75 * place / max(count - 1, 1))


def _words(decay: float) -> str:
    return f"weight decay {decay:g}" if decay else "no weight decay"


def _decay(
    axes: Axes, rows: Sequence[Mapping[str, Any]], decay: float, number: int, shift: float
) -> None:
    points = []
    here = [row for row in rows if row["weight_decay"] == decay]
    for size, heads in sorted(canvas.grouped(here, lambda row: row["head_size"]).items()):
        values = [head["log_effective_rank"] for head in heads]
        low, high = np.quantile(values, (0.25, 0.75))
        points.append((size * 2 ** (0.2 * shift), low, median(values), high))
    style = {"label": _words(decay), "color": _shade(number), "marker": canvas.MARKERS[number]}
    _bars(axes, points, f"decay-{decay:g}", linestyle="none", **style)


def _ticks(axis: Axis, places: Iterable[int]) -> None:
    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_locator(NullLocator())


_STUDENT_KEYS = ("series", "heads", "head_size", "value_size", "parameters", "seed", "error")


# offsets in doublings of h: students of equal h stand side by side
_SERIES: Mapping[str, Style] = MappingProxyType(
    {
        "standard": Style("standard: $d_k = d_v = d/h$", canvas.RED, "o"),
        "fixed": Style("fixed: $d_k = d_v = {k}$", canvas.BLUE, "s", -0.14),
        "narrow-values": Style("narrow values: $d_k = {k}$, $d_v = {v}$", canvas.GREEN, "D", 0.14),
        "narrow-keys": Style("narrow keys: $d_k = {k}$, $d_v = {v}$", canvas.AMBER, "^", 0.14),
    }
)


def student_errors(rows: Rows, ax: Axes | None = None) -> Axes:
    r"""Draw the share of a teacher's output that students miss against their number of heads h.

    B20 Theorem 2 (section 4): no standard layer, of h heads of size d/h, is equal to a teacher
    whose heads are larger and which meets the hypotheses of the theorem; a layer with heads of the
    teacher's size may be. The standard layer with h = 1 has heads of size d: it tells whether what
    the others miss is due to the number of heads or to their size.

    Each marker is the end of a fit that is not convex: an upper bound on the least error of its
    class, with no proof that the class cannot do better. A hollow marker is a fit that did not
    converge: not even a stationary point. A vertical line is the range over the seeds, and a line
    from one h to the next joins their medians. The axis of errors is logarithmic.

    Near weights w* of error 0 the error is ``½ ∇f · (w - w*)`` to first order, at most
    ``‖∇f‖ ‖w‖`` where w* is no longer than w. Below the largest of these over the fits that
    converged the axis is shaded: there an error is 0 for all that the solver can tell.

    Of a series, ``standard-converged`` and ``standard-stopped`` are the ``gid`` of the markers,
    ``standard-range`` and ``standard-median`` those of the lines; that of the shade is ``zero``.

    Rows are tidy records, one per student and seed: ``series``, ``heads``, ``head_size`` (d_k),
    ``value_size`` (d_v), ``parameters``, ``seed`` and ``error``; optionally ``converged`` (True
    unless given), ``gradient_norm`` and ``weight_norm``. A series is ``standard``
    (d_k = d_v = d/h), ``fixed`` (both the same for every h), ``narrow-values`` or ``narrow-keys``
    (the one or the other cut to d/h).

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> sizes = {"head_size": 4, "value_size": 4, "parameters": 1024}
    >>> row = {"series": "standard", "heads": 4, **sizes, "seed": 0, "error": 0.16}
    >>> axes = student_errors([row], Figure().subplots())
    >>> axes.get_xlabel()
    'number of heads h\n(in brackets: size d/h of a standard head)'
    """
    points = canvas.read_points(rows, _STUDENT_KEYS, ("series", "heads", "seed"), _read_point)
    points.sort(key=lambda point: (point.series, point.heads, point.seed))
    with canvas.panel(ax, (canvas.WIDE, 3.6)) as axes:
        axes.set_yscale("log")
        for name, style in _SERIES.items():
            series = [point for point in points if point.series == name]
            if series:
                _draw_series(axes, style, series)
        _dress_students(axes, points)
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
    tolerance: float  # below it, an error is 0 for all that the solver can tell

    @property
    def place(self) -> float:
        return math.log2(self.heads) + _SERIES[self.series].offset


def _read_point(name: str, record: Mapping[str, Any]) -> _Point:
    norms = [
        check_real(f"{name}[{key!r}]", record.get(key, 0.0), least=0.0)
        for key in ("gradient_norm", "weight_norm")
    ]
    return _Point(
        series=canvas.read_choice(name, record, "series", _SERIES),
        **{key: check_int(f"{name}[{key!r}]", record[key], least=1) for key in _STUDENT_KEYS[1:5]},
        seed=check_int(f"{name}['seed']", record["seed"], least=0),
        error=check_real(f"{name}['error']", record["error"], above=0.0),
        converged=canvas.read_converged(name, record),
        tolerance=math.prod(norms),
    )


def _draw_series(axes: Axes, style: Style, series: Sequence[_Point]) -> None:
    name = series[0].series
    groups = canvas.grouped(series, lambda point: point.heads).values()
    places = [group[0].place for group in groups]
    errors = [[point.error for point in group] for group in groups]
    (joined,) = axes.plot(places, [median(group) for group in errors], color=style.colour)
    joined.set(linewidth=0.8, alpha=0.6, zorder=2, gid=f"{name}-median")
    ranges = axes.vlines(places, [min(e) for e in errors], [max(e) for e in errors])
    ranges.set(color=style.colour, linewidth=1.0, zorder=3, gid=f"{name}-range")
    for state, face in (("converged", style.colour), ("stopped", "white")):
        here = [point for point in series if point.converged == (state == "converged")]
        xs, ys = [point.place for point in here], [point.error for point in here]
        (markers,) = axes.plot(xs, ys, style.marker, gid=f"{name}-{state}", zorder=4)
        markers.set(color=style.colour, markerfacecolor=face)


def _name(style: Style, series: Sequence[_Point]) -> str:
    """The name of a series and its number of parameters."""
    last = series[-1]
    name = style.name.replace("{k}", str(last.head_size)).replace("{v}", str(last.value_size))
    where = f" at h = {last.heads}" if len({other.parameters for other in series}) > 1 else ""
    return f"{name};\n{last.parameters} parameters{where}"


def _dress_students(axes: Axes, points: Sequence[_Point]) -> None:
    heads = sorted({point.heads for point in points})
    sizes = {point.heads: point.head_size for point in points if point.series == "standard"}
    labels = [f"{h}\n({sizes[h]})" if h in sizes else str(h) for h in heads]
    axes.set_xticks([math.log2(h) for h in heads], labels)
    axes.set_xlim(math.log2(heads[0]) - 0.3, math.log2(heads[-1]) + 0.5)
    least = math.floor(math.log10(min(point.error for point in points)))
    axes.set_ylim(10.0 ** (least - 0.2), 6.0)
    axes.set_yticks([10.0**e for e in range(0, least - 1, -2)])
    axes.set_yticks([], minor=True)
    zero = max((point.tolerance for point in points if point.converged), default=0.0)
    if zero > 0:
        axes.axhspan(axes.get_ylim()[0], zero, color="0.93", zorder=0, gid="zero")
        said = "0 within the solver's tolerance"
        note = canvas.write_beside(axes, (axes.get_xlim()[1], zero), (-3, -6), said, ha="right")
        note.set(color=canvas.GREY)
    title = "What students miss where the fit stopped: an upper bound for their class"
    abscissa = "number of heads h\n(in brackets: size d/h of a standard head)"
    canvas.label(axes, title=title, x=abscissa, y="share of the teacher's output")
    canvas.dress(axes)
    handles: list[Any] = [
        Line2D([], [], color=style.colour, marker=style.marker, label=_name(style, series))
        for name, style in _SERIES.items()
        if (series := [point for point in points if point.series == name])
    ]
    if not all(point.converged for point in points):
        look: dict[str, Any] = {"linestyle": "", "marker": "o", "color": canvas.GREY}
        handles.append(Line2D([], [], label=canvas.HOLLOW, markerfacecolor="white", **look))
    canvas.legend(axes, handles, below=46)
