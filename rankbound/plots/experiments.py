"""The experiments as pictures: errors over the number of heads, and what trained heads use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from statistics import median
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from rankbound.errors import InputError, InputTypeError
from rankbound.experiments.results import Arm, Run, gather
from rankbound.plots.canvas import axes_or_new

_FONT = 9.0
# Okabe & Ito's palette, as in the other figures.
_COLOURS: Mapping[str, str] = MappingProxyType(
    {"standard": "#D55E00", "fixed": "#0072B2", "matched": "#009E73"}
)
_SHADES = ("#56B4E9", "#0072B2", "#CC79A7", "#E69F00")  # one per weight decay
_MARKERS: Mapping[str, str] = MappingProxyType({"standard": "o", "fixed": "s", "matched": "^"})
_MEASURES: Mapping[str, str] = MappingProxyType(
    {"language": "loss, nats per byte", "lookup": "accuracy"}
)
_FLOAT32_EPS = 2.0**-23
_KEYS = ("head_size", "weight_decay", "log_effective_rank", "log_rank_bound", "spectrum")


def errors_by_heads(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw one experiment: error over the number of heads, standard and fixed.

    A line joins the arms of a kind and a d; markers are medians over seeds and bars the range,
    each arm at its best learning rate. Layers whose value size is given apart are left out, and
    language models of a weight decay other than 0.01.

    Parameters
    ----------
    rows : sequence of mapping
        Runs of one experiment, with the keys of :class:`~rankbound.experiments.results.Run`.
    axes : Axes, optional
        Where to draw; a new figure unless given.

    Returns
    -------
    Axes
        Lines carry a ``gid`` such as ``standard-32``.

    Raises
    ------
    InputError, InputTypeError
        If there is no row, a key is missing, or the rows are of several experiments.
    """
    runs = _runs(rows)
    arms = [arm for arm in gather(runs) if arm.kind in _COLOURS and _usual(arm)]
    if len({run.experiment for run in runs}) != 1 or not arms:
        raise InputError(
            "rows hold no or several experiments with layers; expected the runs of one of them."
        )
    place = axes_or_new(axes, (4.6, 3.4))
    main = min(arm.d for arm in arms)
    groups: dict[tuple[str, int], list[Arm]] = {}
    for arm in sorted(arms, key=lambda arm: (arm.d, arm.heads)):
        groups.setdefault((arm.kind, arm.d), []).append(arm)
    for (kind, d), group in groups.items():
        _line(place, kind, d, group, d == main)
    _dress(place, arms)
    return place


def _usual(arm: Arm) -> bool:
    """Whether its weight decay is the one of the arms that are compared."""
    return arm.weight_decay == (0.01 if arm.experiment == "language" else 0.0)


def _runs(rows: Sequence[Mapping[str, Any]]) -> list[Run]:
    names = [field.name for field in fields(Run)]
    _check(rows, names)
    return [Run(**{name: row[name] for name in names}) for row in rows]


def _line(axes: Axes, kind: str, d: int, arms: list[Arm], main: bool) -> None:
    label = {
        "standard": f"head size d / heads, d = {d}",
        "fixed": f"head size {arms[0].d_k}, d = {d}",
        "matched": "as standard, wider FFN:\nparameters of fixed",
    }[kind]
    heads = [arm.heads for arm in arms]
    middle = [arm.middle for arm in arms]
    spread = [
        [arm.middle - arm.low for arm in arms],
        [arm.high - arm.middle for arm in arms],
    ]
    drawn = axes.errorbar(
        heads,
        middle,
        spread,
        label=label,
        color=_COLOURS[kind],
        alpha=1.0 if main else 0.55,
        marker=_MARKERS[kind] if main else "D",
        markersize=5,
        linestyle="-" if main else ":",
        linewidth=1.4,
        elinewidth=1.0,
        capsize=2,
    )
    drawn.lines[0].set_gid(f"{kind}-{d}")  # as an argument it would name the caps, too


def _dress(axes: Axes, arms: Sequence[Arm]) -> None:
    experiment = arms[0].experiment
    heads = sorted({arm.heads for arm in arms})
    axes.set_xscale("log", base=2)
    _ticks(axes.xaxis, heads)
    axes.set_xlabel("number of heads", fontsize=_FONT)
    axes.set_ylabel(_MEASURES.get(experiment, "relative squared error"), fontsize=_FONT)
    if experiment not in _MEASURES:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"{experiment}, n = {arms[0].n}", fontsize=_FONT + 1, loc="left")
    # below: the lines of a U leave no corner free
    _finish(axes, loc="upper center", bbox_to_anchor=(0.5, -0.16))


def ranks_of_trained_heads(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the effective log-rank of trained heads over their head size, beside the bound.

    A marker is the median over all heads of models of that head size, a bar the middle half of
    them; weight decays stand beside each other. The line is the bound: the log-rank, and so the
    effective one, is at most the head size.

    Parameters
    ----------
    rows : sequence of mapping
        One head each, with the keys of :class:`~rankbound.experiments.heads.TrainedHead`.
    axes : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError, InputTypeError
        If there is no row, a row is no mapping or lacks a key, or `axes` is not Axes.
    """
    _check_heads(rows)
    place = axes_or_new(axes, (4.6, 3.4))
    sizes = sorted({row["head_size"] for row in rows})
    place.plot(sizes, sizes, color="0.35", linewidth=1.0, label="the bound: head size", gid="bound")
    decays = sorted({row["weight_decay"] for row in rows})
    for number, decay in enumerate(decays):
        _decay(place, rows, decay, _shade(number), number - (len(decays) - 1) / 2)
    place.set_xscale("log", base=2)
    place.set_yscale("log", base=2)
    for axis in (place.xaxis, place.yaxis):
        _ticks(axis, sizes)
    place.set_xlabel("head size", fontsize=_FONT)
    place.set_ylabel("effective log-rank of a trained head", fontsize=_FONT)
    _finish(place)
    return place


def spectra_of_trained_heads(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the spectra of centred logits of trained heads: one line per head size and weight decay.

    Each line is the median over heads of ``s_r / s_1``, cut at float32's rounding. A head whose
    bound is not felt has a spectrum that falls to nothing before r reaches the head size; one at
    its bound ends high.

    Parameters
    ----------
    rows : sequence of mapping
        One head each, with the keys of :class:`~rankbound.experiments.heads.TrainedHead`.
    axes : Axes, optional

    Returns
    -------
    Axes
        Lines carry a ``gid`` such as ``spectrum-16-0.1``: head size, decay.

    Raises
    ------
    InputError, InputTypeError
        As :func:`ranks_of_trained_heads`.
    """
    _check_heads(rows)
    place = axes_or_new(axes, (4.6, 3.4))
    sizes = sorted({row["head_size"] for row in rows if row["head_size"] > 1})
    for number, decay in enumerate(sorted({row["weight_decay"] for row in rows})):
        label: str | None = _words(decay)
        for size in sizes:
            found = [
                [float(value) for value in row["spectrum"].split()]
                for row in rows
                if row["head_size"] == size and row["weight_decay"] == decay
            ]
            if found:
                middle = [median(values) for values in zip(*found, strict=True)]
                place.plot(
                    range(1, len(middle) + 1),
                    middle,
                    color=_shade(number),
                    marker=".",
                    linewidth=1.2,
                    label=label,
                    gid=f"spectrum-{size}-{decay:g}",
                )
                label = None  # once per decay
    place.set_xscale("log", base=2)
    place.set_yscale("log")
    # below is what float32, in which models are trained, cannot tell from 0
    place.set_ylim(bottom=max(_FLOAT32_EPS, place.get_ylim()[0]))
    _ticks(place.xaxis, [1, *sizes])
    place.set_xlabel("r; a line ends at its head size", fontsize=_FONT)
    place.set_ylabel("singular value s_r / s_1 of centred logits", fontsize=_FONT)
    _finish(place)
    return place


def _shade(number: int) -> str:
    return _SHADES[number % len(_SHADES)]


def _words(decay: float) -> str:
    return f"weight decay {decay:g}" if decay else "no weight decay"


def _decay(
    axes: Axes, rows: Sequence[Mapping[str, Any]], decay: float, colour: str, shift: float
) -> None:
    groups: dict[int, list[float]] = {}
    for row in rows:
        if row["weight_decay"] == decay:
            groups.setdefault(row["head_size"], []).append(row["log_effective_rank"])
    sizes = sorted(groups)
    middle = [median(groups[size]) for size in sizes]
    quarters = [_quarters(groups[size]) for size in sizes]
    spread = [
        [m - low for m, (low, _) in zip(middle, quarters, strict=True)],
        [high - m for m, (_, high) in zip(middle, quarters, strict=True)],
    ]
    drawn = axes.errorbar(
        [size * 2 ** (0.12 * shift) for size in sizes],
        middle,
        spread,
        label=_words(decay),
        color=colour,
        marker="o",
        markersize=5,
        linestyle="none",
        elinewidth=1.0,
        capsize=2,
    )
    drawn.lines[0].set_gid(f"decay-{decay:g}")


def _quarters(values: Sequence[float]) -> tuple[float, float]:
    import numpy as np

    low, high = np.quantile(values, (0.25, 0.75))
    return float(low), float(high)


def _check_heads(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        raise InputError("rows is empty; expected one per trained head.")
    _check(rows, _KEYS)


def _check(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputTypeError(f"rows[{number}] is {row!r}; expected a mapping.")
        missing = [name for name in names if name not in row]
        if missing:
            raise InputError(f"rows[{number}] has no {missing[0]!r}; expected {', '.join(names)}.")


def _ticks(axis: Axis, places: Iterable[int]) -> None:
    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_locator(NullLocator())


def _finish(axes: Axes, **legend: Any) -> None:
    axes.tick_params(labelsize=_FONT - 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=_FONT - 1.5, frameon=False, **legend)
