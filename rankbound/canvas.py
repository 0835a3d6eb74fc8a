"""What the figures share: where they are drawn, how they look, and how their rows are read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import textwrap
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import matplotlib.style  # mpl.style is there once it is imported
import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import ScaledTranslation

from rankbound._validate import shown
from rankbound.errors import InputError, InputTypeError

STYLE = Path(__file__).with_name("rankbound.mplstyle")
WIDE, NARROW = 6.75, 3.25  # inches: a page, and a column of two
# From dark to light, so that they differ in grey as well, and under each form of colour blindness.
BLACK, BLUE, RED, GREEN, AMBER = "#000000", "#003C86", "#A83232", "#1B8A5A", "#C9821C"
PALETTE, MARKERS = (BLUE, RED, GREEN, AMBER, BLACK), ("o", "s", "D", "^", "v")
GREY = "0.35"  # of notes
HOLLOW = "hollow: fit not converged"
CHARACTER = 0.56  # the mean width of a character of the style's font, in its size

Rows = Any  # mappings, dataclasses, a DataFrame, or the path of a published table's JSON
Point = TypeVar("Point")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Style:
    """How a series looks."""

    name: str
    colour: str
    marker: str
    offset: float = 0.0  # from its place, so that series stand side by side


@contextmanager
def styled() -> Iterator[None]:
    """The style, for what is drawn and saved within."""
    with mpl.style.context(STYLE):
        yield
        shown = mpl.is_interactive()  # a notebook's backend says so when it is first used: it stays
    mpl.interactive(shown)


@contextmanager
def panel(ax: Axes | None, inches: tuple[float, float]) -> Iterator[Axes]:
    """These axes, or those of a new figure of this size, to be drawn on in the style."""
    with styled():
        axes = _new(1, inches)[0] if ax is None else ax
        if not isinstance(axes, Axes):
            raise InputTypeError(
                f"ax is of type {type(ax).__name__}; expected Axes. figure.subplots() returns them."
            )
        yield axes


@contextmanager
def pair(
    ax: tuple[Axes, Axes] | None, inches: tuple[float, float], what: str
) -> Iterator[tuple[Axes, Axes]]:
    """The same of two panels, the first and the second of which show this."""
    with styled():
        try:
            left, right = _new(2, inches) if ax is None else ax
            are_axes = isinstance(left, Axes) and isinstance(right, Axes)
        except (TypeError, ValueError):
            are_axes = False
        if not are_axes:
            raise InputTypeError(
                f"ax is of type {type(ax).__name__}; expected a pair of Axes: {what}. "
                "figure.subplots(1, 2) returns one."
            )
        yield left, right


def _new(count: int, inches: tuple[float, float]) -> Sequence[Axes]:
    import matplotlib.pyplot as plt  # chooses a backend, which given axes do not need

    _, axes = plt.subplots(1, count, figsize=inches, squeeze=False)
    found: Sequence[Axes] = axes[0]
    return found


def published(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a published table, from the JSON of its provenance, whose SHA-256 they have.

    A column whose texts are all integers, numbers or truth values is read as that.
    """
    origin = json.loads(Path(path).read_text(encoding="utf-8"))
    table = Path(path).with_name(origin["file"]).read_bytes()
    if hashlib.sha256(table).hexdigest() != origin["sha256"]:
        raise InputError(
            f"{origin['file']} is not the table that {Path(path).name} describes (SHA-256 differs)."
        )
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    values = {key: _typed([row[key] for row in rows]) for key in (rows[0] if rows else ())}
    return [{key: values[key][place] for key in values} for place in range(len(rows))]


def _typed(texts: list[str]) -> list[Any]:
    for kind in (int, float, {"true": True, "false": False}.__getitem__):
        try:
            return [kind(text) for text in texts]
        except (ValueError, KeyError):
            continue
    return texts


def read_points(
    rows: Rows,
    keys: Sequence[str],
    identity: Sequence[str],
    read: Callable[[str, Mapping[str, Any]], Point],
) -> list[Point]:
    """Read each record, whose keys are there, to a point; no two points have the same identity.

    `read` takes the name of the record, for messages, and the record. `identity` names attributes
    of the point.
    """
    points: dict[tuple[Any, ...], Point] = {}
    for name, record in checked(rows, keys):
        point = read(name, record)
        values = tuple(getattr(point, part) for part in identity)
        if values in points:
            which = ", ".join(f"{k} = {value!r}" for k, value in zip(identity, values, strict=True))
            raise InputError(
                f"{name} repeats {which}; expected one record for each: select or average first."
            )
        points[values] = point
    if not points:
        raise InputError(f"rows is empty; expected one record for each {', '.join(identity)}.")
    return list(points.values())


def checked(rows: Rows, keys: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each record, whose keys are there, with its name for messages.

    Rows are mappings or records (dataclasses), a DataFrame of them, or the path of the JSON beside
    a published table.
    """
    if isinstance(rows, (str, os.PathLike)):
        rows = published(rows)
    elif hasattr(rows, "to_dict"):
        rows = rows.to_dict("records")
    for place, row in enumerate(rows):
        name, record = f"rows[{place}]", row
        if is_dataclass(row):
            record = {field.name: getattr(row, field.name) for field in fields(row)}
        if not isinstance(record, Mapping):
            raise InputTypeError(f"{name} is {shown(record)}; expected a mapping or a record.")
        for key in keys:
            if key not in record:
                raise InputError(f"{name} has no {key!r}; expected {', '.join(keys)}.")
        yield name, record


def grouped(items: Iterable[Point], key: Callable[[Point], Key]) -> dict[Key, list[Point]]:
    """The items by their key, in the order in which keys are met."""
    groups: dict[Key, list[Point]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def read_choice(name: str, record: Mapping[str, Any], key: str, choices: Mapping[str, Any]) -> str:
    """Read a word that is one of these."""
    value = record[key]
    if value not in list(choices):
        raise InputError(f"{name}[{key!r}] is {value!r}; expected one of {', '.join(choices)}.")
    return str(value)


def read_converged(name: str, record: Mapping[str, Any]) -> bool:
    """Read whether a fit converged; True unless given."""
    converged = record.get("converged", True)
    if not isinstance(converged, (bool, np.bool_)):
        raise InputTypeError(
            f"{name}['converged'] is {converged!r}; expected True or False. "
            "A table read from CSV holds text: convert it first."
        )
    return bool(converged)


def write_beside(
    axes: Axes, at: tuple[float, float], offset: tuple[float, float], text: str, **style: Any
) -> Annotation:
    """Write text, centred vertically, so many points right of and above a place."""
    return axes.annotate(text, at, xytext=offset, textcoords="offset points", va="center", **style)


def note(axes: Axes, text: str, at: tuple[float, float] = (0.98, 0.98), **style: Any) -> None:
    """Write a remark at a place in fractions of the axes, by default the upper right corner."""
    look = {"ha": "right", "va": "top", "color": GREY, "fontsize": mpl.rcParams["font.size"]}
    axes.annotate(text, at, xycoords="axes fraction", **{**look, **style})


def width(axes: Axes) -> float:
    """How wide the axes' part of their figure is, in inches."""
    spec, box = axes.get_subplotspec(), axes.figure.bbox
    inches = box.width / axes.figure.dpi
    return float(inches / (spec.get_gridspec().ncols if spec is not None else 1))


def broken(text: str, inches: float) -> str:
    """A title in as many lines as it takes in this width."""
    room = int(inches * 72 / (CHARACTER * mpl.rcParams["axes.titlesize"]))
    return "\n".join(textwrap.wrap(text, max(room, 12)))


def name_rows(axes: Axes, names: Sequence[str]) -> float:
    """Name rows at 0, 1, …, in several lines where there is little room; return their inches."""
    room = 30 if width(axes) > NARROW else 16
    lines = [textwrap.wrap(name, room) for name in names]
    axes.set_yticks(range(len(names)), ["\n".join(some) for some in lines])
    longest = max(len(line) for some in lines for line in some)
    return float(longest * CHARACTER * mpl.rcParams["ytick.labelsize"] / 72)


def label(axes: Axes, *, title: str = "", x: str = "", y: str = "", left: float = 0.5) -> None:
    """Write the title, broken where the figure ends, and the names of the axes.

    So many inches are left of the axes.
    """
    size = mpl.rcParams["axes.titlesize"]
    axes.set_title(broken(title, width(axes) - left - 0.1), loc="left", fontsize=size)
    axes.set_xlabel(x, fontsize=mpl.rcParams["axes.labelsize"])
    axes.set_ylabel(y, fontsize=mpl.rcParams["axes.labelsize"])


def legend(axes: Axes, handles: Sequence[Any] | None = None, below: float = 26.0) -> None:
    """Put the legend so many points below the axes, in as many columns as their part has room."""
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    size = mpl.rcParams["legend.fontsize"]
    longest = max(len(line) for one in handles for line in str(one.get_label()).split("\n"))
    column = (longest * CHARACTER + 4.5) * size / 72
    offset = ScaledTranslation(0, -below / 72, axes.figure.dpi_scale_trans)
    axes.legend(
        handles=list(handles),
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=axes.transAxes + offset,
        ncols=max(1, min(len(handles), int(width(axes) / column))),
        borderaxespad=0,
    )


def dress(axes: Axes, *bare: str) -> None:
    """Set the ticks in the style and hide the spines at the top, at the right, and at these."""
    style = mpl.rcParams
    axes.tick_params(
        labelsize=style["xtick.labelsize"],
        length=style["xtick.major.size"],
        width=style["xtick.major.width"],
    )
    minor = {"length": style["xtick.minor.size"], "width": style["xtick.minor.width"]}
    axes.tick_params(which="minor", **minor)
    axes.spines[["top", "right", *bare]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_linewidth(mpl.rcParams["axes.linewidth"])


@dataclass(frozen=True)
class Scale:
    """The ends of a logarithmic axis, as decimal logarithms, with a band below it for zeros."""

    bottom: float
    top: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Scale:
        """For these values, which are not 0; there may be none."""
        logs = [math.log10(value) for value in values] or [0.0]
        least, most = min(logs), max(logs)
        # up to the next power of ten where that is near, so that the axis ends in a label
        top = math.ceil(most) if math.ceil(most) - most < 0.5 else most
        # below the least value, room for the names of the series
        return cls(least - 0.14 * max(top - least, 1.0), top)

    def height(self, share: float) -> float:
        """The ordinate at this share of the span above the bottom, or below it."""
        return float(10 ** (self.bottom + share * (self.top - self.bottom)))

    @property
    def zero(self) -> float:
        """The ordinate of what is 0 to rounding."""
        return self.height(-0.12)

    @property
    def ticks(self) -> list[tuple[int, int]]:
        """Digits and powers of ten that are labelled, from the top; 1, or 2 and 5 where few are."""
        step = math.ceil((self.top - self.bottom) / 7)
        decades = range(math.floor(self.top), math.ceil(self.bottom) - 1, -step)
        if len(decades) > 1:
            return [(1, power) for power in decades]
        powers = range(math.floor(self.top), math.floor(self.bottom) - 1, -1)
        near = [(digit, power) for power in powers for digit in (5, 2, 1)]
        return [x for x in near if self.bottom <= math.log10(x[0]) + x[1] <= self.top]


def dress_ordinate(axes: Axes, scale: Scale, zeros: Sequence[float], beside: float | None) -> None:
    """Set the ticks and limits of the axis, and draw the band where there are zeros.

    Left of the abscissa `beside` the band says how large the zeros are.
    """
    plain = scale.bottom >= -2 and scale.top <= 3
    labels = [_number(*tick, plain=plain) for tick in scale.ticks]
    ticks = [digit * 10.0**power for digit, power in scale.ticks]
    if zeros:
        _draw_band(axes, scale)
        labels, ticks = [*labels, "0 to\nrounding"], [*ticks, scale.zero]
    if zeros and beside is not None:
        largest = rf"$\leq$ {_rounded_up(max(zeros))}"
        note = write_beside(axes, (beside, scale.zero), (-9, 0), largest, ha="right")
        note.set(color=GREY)
    axes.set_ylim(scale.height(-0.19 if zeros else -0.04), scale.height(1.04))
    axes.set_yticks(ticks, labels)
    axes.set_yticks([], minor=True)


def _number(digit: int, power: int, *, plain: bool) -> str:
    if plain:
        return f"{digit * 10.0**power:g}"
    return f"$10^{{{power}}}$" if digit == 1 else f"${digit}\\times10^{{{power}}}$"


def _draw_band(axes: Axes, scale: Scale) -> None:
    axes.axhspan(scale.height(-0.19), scale.height(-0.05), color="0.93", zorder=0)
    axes.plot(  # two strokes through the spine: the axis is broken here
        [0, 0],
        [scale.height(-0.06), scale.height(-0.04)],
        transform=axes.get_yaxis_transform(),
        marker=[(-1, -0.6), (1, 0.6)],
        markersize=6,
        markeredgewidth=0.6,
        linestyle="none",
        color="black",
        clip_on=False,
    )


def _rounded_up(value: float) -> str:
    """One digit and a power of ten that are not below the value."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(value))
    digit = math.ceil(value / 10.0**exponent)
    if digit == 10:
        digit, exponent = 1, exponent + 1
    return f"${digit}\\times10^{{{exponent}}}$"
