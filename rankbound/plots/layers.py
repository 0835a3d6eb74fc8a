"""Layers as pictures: their errors over the number of heads, and what trained heads use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from rankbound import canvas
from rankbound._validate import check_int, check_real
from rankbound.canvas import Style
from rankbound.errors import InputError
from rankbound.experiments.results import Arm, Run, gather

KINDS: Mapping[str, Style] = MappingProxyType(  # those that are drawn
    {
        "standard": Style("head size d / heads, d = {d}", canvas.VERMILION, "o"),
        "fixed": Style("head size {d_k}, d = {d}", canvas.BLUE, "s"),
        "matched": Style("as standard, wider FFN:\nparameters of fixed", canvas.GREEN, "^"),
        "scaled": Style("logits scaled by $1/\\sqrt{{d_k}}$", canvas.VERMILION, "o"),
        "qk-norm": Style("QK-norm, one temperature", canvas.BLUE, "s"),
    }
)
_SHADES = (canvas.SKY, canvas.BLUE, canvas.PURPLE, canvas.ORANGE)  # one per weight decay
_MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "language": "loss, nats per byte",
        "head-size": "loss, nats per byte",
        "lookup": "accuracy",
    }
)
_DECAYS: Mapping[str, float] = MappingProxyType({"language": 0.01, "head-size": 0.01})
# of arms that are compared
_FLOAT32_EPS = 2.0**-23
_HEAD_KEYS = ("head_size", "weight_decay", "log_effective_rank", "log_rank_bound", "spectrum")


def errors_by_heads(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw one experiment: error over the number of heads, standard and fixed.

    A line joins the arms of a kind, a d and an n; markers are medians over seeds and bars the
    range, each arm at its best learning rate. Layers whose value size is given apart are left out,
    and language models of a weight decay other than 0.01.

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
    place = canvas.axes_or_new(axes, (4.6, 3.4))
    main = min(arm.d for arm in arms)
    arms.sort(key=lambda arm: (arm.d, arm.heads))
    lengths = sorted({arm.n for arm in arms})
    for (kind, d, n), group in canvas.grouped(arms, lambda a: (a.kind, a.d, a.n)).items():
        style, is_main = KINDS[kind], d == main
        name, colour = style.name.format(d=d, d_k=group[0].d_k), style.colour
        if len(lengths) > 1:
            name, colour = f"{name}, n = {n}", _shade(lengths.index(n))
        _bars(
            place,
            [(arm.heads, arm.low, arm.middle, arm.high) for arm in group],
            f"{kind}-{d}" if len(lengths) == 1 else f"{kind}-{d}-{n}",
            label=name,
            color=colour,
            alpha=1.0 if is_main else 0.55,
            marker=style.marker if is_main else "D",
            linestyle="-" if is_main else ":",
            linewidth=1.4,
        )
    _dress_arms(place, arms)
    return place


def _bars(
    axes: Axes, points: Sequence[tuple[float, float, float, float]], gid: str, **style: Any
) -> None:
    """Draw markers with bars: abscissa, low end, middle and high end of each."""
    xs, low, middle, high = map(np.array, zip(*points, strict=True))
    spread = [(middle - low).tolist(), (high - middle).tolist()]  # old matplotlib warns at arrays
    drawn = axes.errorbar(xs, middle, spread, markersize=5, elinewidth=1.0, capsize=2, **style)
    drawn.lines[0].set_gid(gid)  # as an argument it would name the caps, too


def _dress_arms(axes: Axes, arms: Sequence[Arm]) -> None:
    experiment = arms[0].experiment
    heads = sorted({arm.heads for arm in arms})
    axes.set_xscale("log", base=2)
    _ticks(axes.xaxis, heads)
    lengths = ", ".join(str(n) for n in sorted({arm.n for arm in arms}))
    title, error = f"{experiment}, n = {lengths}", "relative squared error"
    canvas.label(axes, title=title, x="number of heads", y=_MEASURES.get(experiment, error))
    if experiment not in _MEASURES:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    # below: the lines of a U leave no corner free
    _finish(axes, loc="upper center", bbox_to_anchor=(0.5, -0.16))


def ranks_of_trained_heads(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the effective log-rank of trained heads over their head size, beside the bound.

    A marker is the median over all heads of models of that head size, a bar the middle half of
    them; weight decays stand beside each other. The line is the bound: the log-rank, and so the
    effective one, is at most the head size.

    A row is a head, with the keys of :class:`~rankbound.experiments.language.TrainedHead`.
    """
    rows, place = _heads(rows), canvas.axes_or_new(axes, (4.6, 3.4))
    sizes = sorted({row["head_size"] for row in rows})
    (bound,) = place.plot(sizes, sizes, label="the bound: head size", gid="bound")
    bound.set(color=canvas.GREY, linewidth=1.0)
    decays = sorted({row["weight_decay"] for row in rows})
    for number, decay in enumerate(decays):
        _decay(place, rows, decay, _shade(number), number - (len(decays) - 1) / 2)
    place.set_xscale("log", base=2)
    place.set_yscale("log", base=2)
    for axis in (place.xaxis, place.yaxis):
        _ticks(axis, sizes)
    canvas.label(place, x="head size", y="effective log-rank of a trained head")
    _finish(place)
    return place


def spectra_of_trained_heads(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the spectra of centred logits of trained heads: one line per head size and weight decay.

    Each line is the median over heads of ``s_r / s_1``, cut at float32's rounding. A head whose
    bound is not felt has a spectrum that falls to nothing before r reaches the head size; one at
    its bound ends high.

    The ``gid`` of a line is such as ``spectrum-16-0.1``: head size, decay.

    A row is a head, with the keys of :class:`~rankbound.experiments.language.TrainedHead`.
    """
    rows, place = _heads(rows), canvas.axes_or_new(axes, (4.6, 3.4))
    sizes = sorted({row["head_size"] for row in rows if row["head_size"] > 1})
    decays = sorted({row["weight_decay"] for row in rows})
    labels = {decay: _words(decay) for decay in decays}  # each is written once
    groups = canvas.grouped(rows, lambda row: (row["weight_decay"], row["head_size"]))
    for decay, size in sorted(groups):
        if size == 1:
            continue
        spectra = [map(float, row["spectrum"].split()) for row in groups[decay, size]]
        middle = [median(values) for values in zip(*spectra, strict=True)]
        (line,) = place.plot(range(1, len(middle) + 1), middle, label=labels.pop(decay, None))
        line.set(color=_shade(decays.index(decay)), marker=".", linewidth=1.2)
        line.set_gid(f"spectrum-{size}-{decay:g}")
    place.set_xscale("log", base=2)
    place.set_yscale("log")
    # below is what float32, in which models are trained, cannot tell from 0
    place.set_ylim(bottom=max(_FLOAT32_EPS, place.get_ylim()[0]))
    _ticks(place.xaxis, [1, *sizes])
    y = "singular value s_r / s_1 of centred logits"
    canvas.label(place, x="r; a line ends at its head size", y=y)
    _finish(place)
    return place


def _heads(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if not rows:
        raise InputError("rows is empty; expected one per trained head.")
    return [row for _, row in canvas.checked(rows, _HEAD_KEYS)]


def _shade(number: int) -> str:
    return _SHADES[number % len(_SHADES)]


def _words(decay: float) -> str:
    return f"weight decay {decay:g}" if decay else "no weight decay"


def _decay(
    axes: Axes, rows: Sequence[Mapping[str, Any]], decay: float, colour: str, shift: float
) -> None:
    points = []
    here = [row for row in rows if row["weight_decay"] == decay]
    for size, heads in sorted(canvas.grouped(here, lambda row: row["head_size"]).items()):
        values = [head["log_effective_rank"] for head in heads]
        low, high = np.quantile(values, (0.25, 0.75))
        points.append((size * 2 ** (0.12 * shift), low, median(values), high))
    style = {"label": _words(decay), "color": colour, "marker": "o", "linestyle": "none"}
    _bars(axes, points, f"decay-{decay:g}", **style)


def _ticks(axis: Axis, places: Iterable[int]) -> None:
    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_locator(NullLocator())


def _finish(axes: Axes, **legend: Any) -> None:
    axes.tick_params(labelsize=canvas.FONT - 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=canvas.FONT - 1.5, frameon=False, **legend)


_STUDENT_KEYS = ("series", "heads", "head_size", "value_size", "parameters", "seed", "error")


# offsets in doublings of h: students of equal h stand side by side
_SERIES: Mapping[str, Style] = MappingProxyType(
    {
        "standard": Style(
            "standard: $d_k = d_v = d/h$", canvas.VERMILION, "o", align="right", above=13.0
        ),
        "fixed": Style("fixed: $d_k = d_v = {k}$", canvas.BLUE, "s", -0.14),
        "narrow-values": Style("$d_k = {k}$, $d_v = {v}$", canvas.GREEN, "D", 0.14),
        "narrow-keys": Style("$d_k = {k}$, $d_v = {v}$", canvas.PURPLE, "^", 0.14, above=-5.0),
    }
)


def student_errors(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the share of a teacher's output that students miss against their number of heads h.

    B20 Theorem 2 (section 4): no standard layer, of h heads of size d/h, is equal to a teacher
    whose heads are larger and which meets the hypotheses of the theorem; a layer with heads of the
    teacher's size may be. The standard layer with h = 1 has heads of size d: it tells whether what
    the others miss is due to the number of heads or to their size.

    Each marker is the end of a fit that is not convex: an upper bound on the least error of its
    class, with no proof that the class cannot do better. A hollow marker is a fit that did not
    converge: not even a stationary point. A vertical line is the range over the seeds, and a line
    from one h to the next joins their medians. The axis of errors is logarithmic.

    Of a series, ``standard-converged`` and ``standard-stopped`` are the ``gid`` of the markers,
    ``standard-range`` and ``standard-median`` those of the lines.

    Rows are tidy records, one per student and seed: ``series``, ``heads``, ``head_size`` (d_k),
    ``value_size`` (d_v), ``parameters``, ``seed`` and ``error``; optionally ``converged`` (True
    unless given). A series is ``standard`` (d_k = d_v = d/h), ``fixed`` (both the same for every
    h), ``narrow-values`` or ``narrow-keys`` (the one or the other cut to d/h).

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> sizes = {"head_size": 4, "value_size": 4, "parameters": 1024}
    >>> row = {"series": "standard", "heads": 4, **sizes, "seed": 0, "error": 0.16}
    >>> axes = student_errors([row], Figure().subplots())
    >>> axes.get_xlabel()
    'number of heads h (in brackets: size d/h of a standard head)'
    """
    points = canvas.read_points(rows, _STUDENT_KEYS, ("series", "heads", "seed"), _read_point)
    points.sort(key=lambda point: (point.series, point.heads, point.seed))
    axes = canvas.axes_or_new(axes, (7.2, 3.9))
    axes.set_yscale("log")
    for name, style in _SERIES.items():
        series = [point for point in points if point.series == name]
        if series:
            _draw_series(axes, style, series)
            _name_series(axes, style, series)
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

    @property
    def place(self) -> float:
        return math.log2(self.heads) + _SERIES[self.series].offset


def _read_point(name: str, record: Mapping[str, Any]) -> _Point:
    return _Point(
        series=canvas.read_choice(name, record, "series", _SERIES),
        **{key: check_int(f"{name}[{key!r}]", record[key], least=1) for key in _STUDENT_KEYS[1:5]},
        seed=check_int(f"{name}['seed']", record["seed"], least=0),
        error=check_real(f"{name}['error']", record["error"], above=0.0),
        converged=canvas.read_converged(name, record),
    )


def _draw_series(axes: Axes, style: Style, series: Sequence[_Point]) -> None:
    name = series[0].series
    groups = canvas.grouped(series, lambda point: point.heads).values()
    places = [group[0].place for group in groups]
    errors = [[point.error for point in group] for group in groups]
    (joined,) = axes.plot(places, [median(group) for group in errors], color=style.colour)
    joined.set(linewidth=1.0, alpha=0.5, zorder=2, gid=f"{name}-median")
    ranges = axes.vlines(places, [min(e) for e in errors], [max(e) for e in errors])
    ranges.set(color=style.colour, linewidth=1.3, zorder=3, gid=f"{name}-range")
    for state, face in (("converged", style.colour), ("stopped", "white")):
        here = [point for point in series if point.converged == (state == "converged")]
        xs, ys = [point.place for point in here], [point.error for point in here]
        (markers,) = axes.plot(xs, ys, style.marker, gid=f"{name}-{state}", zorder=4)
        markers.set(markersize=4.2, markeredgecolor=style.colour, markerfacecolor=face)


def _name_series(axes: Axes, style: Style, series: Sequence[_Point]) -> None:
    """Write the name of a series and its number of parameters beside its last markers."""
    last = list(canvas.grouped(series, lambda point: point.heads).values())[-1]
    point = last[0]
    name = style.name.replace("{k}", str(point.head_size)).replace("{v}", str(point.value_size))
    where = f" at h = {point.heads}" if len({other.parameters for other in series}) > 1 else ""
    canvas.write_beside(
        axes,
        (point.place, math.sqrt(min(p.error for p in last) * max(p.error for p in last))),
        (9 if style.align == "left" else 6, style.above),
        f"{name}; {point.parameters} parameters{where}",
        ha=style.align,
        fontsize=canvas.FONT,
        color=style.colour,
        annotation_clip=False,
    )


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
    title = "Share of the teacher's output that the fit misses: an upper bound for its class"
    abscissa = "number of heads h (in brackets: size d/h of a standard head)"
    canvas.label(axes, title=title, x=abscissa)
    canvas.dress(axes)
    if not all(point.converged for point in points):
        canvas.explain_hollow(axes, (0.99, 0.02), "bottom")
