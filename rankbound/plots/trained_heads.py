"""Trained heads as pictures: what they use of their size, and their spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from rankbound.errors import InputError, InputTypeError
from rankbound.plots.canvas import axes_or_new

__all__ = ["ranks_of_trained_heads", "spectra_of_trained_heads"]

_FONT = 9.0
_SHADES = ("#56B4E9", "#0072B2", "#CC79A7", "#E69F00")  # Okabe & Ito's, a decay each
_FLOAT32_EPS = 2.0**-23
_KEYS = ("head_size", "weight_decay", "log_effective_rank", "log_rank_bound", "spectrum")


def ranks_of_trained_heads(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the effective log-rank of trained heads over their head size, beside the bound.

    A marker is the median over all heads of models of that head size, a bar the middle half of
    them; weight decays stand beside each other. The line is the bound: the log-rank, and so the
    effective one, is at most the head size.

    Parameters
    ----------
    rows : sequence of mapping
        A head each, with the keys of :class:`~rankbound.experiments.heads.TrainedHead`.
    axes : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    InputError, InputTypeError
        If there is no row, a row is no mapping or lacks a key, or `axes` is not Axes.
    """
    _check(rows)
    place = axes_or_new(axes, (4.6, 3.4))
    sizes = sorted({row["head_size"] for row in rows})
    place.plot(sizes, sizes, color="0.35", linewidth=1.0, label="the bound: head size", gid="bound")
    decays = sorted({row["weight_decay"] for row in rows})
    for number, decay in enumerate(decays):
        _decay(place, rows, decay, _shade(number), number - (len(decays) - 1) / 2)
    place.set_xscale("log", base=2)
    place.set_yscale("log", base=2)
    for axis in (place.xaxis, place.yaxis):
        axis.set_major_locator(FixedLocator(sizes))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_locator(NullLocator())
    place.set_xlabel("head size", fontsize=_FONT)
    place.set_ylabel("effective log-rank of a trained head", fontsize=_FONT)
    _dress(place)
    return place


def spectra_of_trained_heads(rows: Sequence[Mapping[str, Any]], axes: Axes | None = None) -> Axes:
    """Draw the spectra of centred logits of trained heads: a line a head size and weight decay.

    Each line is the median over heads of ``s_r / s_1``, cut at float32's rounding. A head whose
    bound is not felt has a spectrum that falls to nothing before r reaches the head size; one at
    its bound ends high.

    Parameters
    ----------
    rows : sequence of mapping
        A head each, with the keys of :class:`~rankbound.experiments.heads.TrainedHead`.
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
    _check(rows)
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
                label = None  # once a decay
    place.set_xscale("log", base=2)
    place.set_yscale("log")
    # below is what float32, in which models are trained, cannot tell from 0
    place.set_ylim(bottom=max(_FLOAT32_EPS, place.get_ylim()[0]))
    place.xaxis.set_major_locator(FixedLocator([1, *sizes]))
    place.xaxis.set_major_formatter(ScalarFormatter())
    place.xaxis.set_minor_locator(NullLocator())
    place.set_xlabel("r; a line ends at its head size", fontsize=_FONT)
    place.set_ylabel("singular value s_r / s_1 of centred logits", fontsize=_FONT)
    _dress(place)
    return place


def _check(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        raise InputError("rows is empty; expected one a trained head.")
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputTypeError(f"rows[{number}] is {row!r}; expected a mapping.")
        for key in _KEYS:
            if key not in row:
                raise InputError(f"rows[{number}] has no {key!r}; expected {', '.join(_KEYS)}.")


def _shade(number: int) -> str:
    return _SHADES[number % len(_SHADES)]


def _words(decay: float) -> str:
    return f"weight decay {decay:g}" if decay else "no weight decay"


def _dress(axes: Axes) -> None:
    axes.tick_params(labelsize=_FONT - 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=_FONT - 1.5, frameon=False)


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
