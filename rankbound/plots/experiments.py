"""The experiments as pictures: errors over the number of heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from rankbound.errors import InputError, InputTypeError
from rankbound.experiments.results import Arm, Run, gather
from rankbound.plots.canvas import axes_or_new

__all__ = ["errors_by_heads"]

_FONT = 9.0
# Okabe & Ito's palette, as in the other figures.
_COLOURS: Mapping[str, str] = MappingProxyType(
    {"standard": "#D55E00", "fixed": "#0072B2", "matched": "#009E73"}
)
_MARKERS: Mapping[str, str] = MappingProxyType({"standard": "o", "fixed": "s", "matched": "^"})
_MEASURES: Mapping[str, str] = MappingProxyType(
    {"language": "loss, nats a byte", "lookup": "accuracy"}
)


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
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputTypeError(f"rows[{number}] is {row!r}; expected a mapping.")
        missing = [name for name in names if name not in row]
        if missing:
            raise InputError(f"rows[{number}] has no {missing[0]!r}; expected {', '.join(names)}.")
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
    axes.xaxis.set_major_locator(FixedLocator(heads))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("number of heads", fontsize=_FONT)
    axes.set_ylabel(_MEASURES.get(experiment, "relative squared error"), fontsize=_FONT)
    if experiment not in _MEASURES:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"{experiment}, n = {arms[0].n}", fontsize=_FONT + 1, loc="left")
    axes.tick_params(labelsize=_FONT - 1)
    axes.spines[["top", "right"]].set_visible(False)
    # below: the lines of a U leave no corner free
    axes.legend(
        fontsize=_FONT - 1.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16)
    )
