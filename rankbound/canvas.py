"""What the figures share: where they are drawn, how they look, and how their rows are read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from rankbound._validate import shown
from rankbound.errors import InputError, InputTypeError

# Okabe & Ito's palette, which the common forms of colour blindness keep apart
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "0.35"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)  # best on white first
FONT = 9.0

Point = TypeVar("Point")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Style:
    """How a series looks, and where its name is written beside its last markers."""

    name: str
    colour: str
    marker: str
    offset: float = 0.0  # from its place, so that series stand side by side
    size: float = 3.4
    filled: bool = True
    align: str = "left"
    above: float = 0.0  # points


def axes_or_new(axes: Axes | None, inches: tuple[float, float]) -> Axes:
    """Return these axes, or those of a new figure of this size."""
    if axes is None:
        import matplotlib.pyplot as plt  # chooses a backend, which given axes do not need

        _, axes = plt.subplots(figsize=inches, layout="constrained")
    if not isinstance(axes, Axes):
        raise InputTypeError(
            f"axes is of type {type(axes).__name__}; expected Axes. figure.subplots() returns them."
        )
    return axes


def read_points(
    rows: Sequence[Mapping[str, Any]],
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


def checked(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each record, whose keys are there, with its name for messages."""
    for place, record in enumerate(rows):
        name = f"rows[{place}]"
        if not isinstance(record, Mapping):
            raise InputTypeError(
                f"{name} is {shown(record)}; expected a mapping. "
                "For a DataFrame pass frame.to_dict('records')."
            )
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


def explain_hollow(axes: Axes, at: tuple[float, float], va: str, **style: Any) -> None:
    """Say in a right corner, at a place in fractions of the axes, what a hollow marker is."""
    axes.annotate(
        "hollow: fit not converged",
        at,
        xycoords="axes fraction",
        ha="right",
        va=va,
        fontsize=FONT - 1,
        color=GREY,
        **style,
    )


def label(axes: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Write the title and the names of the axes."""
    axes.set_title(title, loc="left", fontsize=FONT + 1)
    axes.set_xlabel(x, fontsize=FONT)
    axes.set_ylabel(y, fontsize=FONT)


def dress(axes: Axes, *bare: str) -> None:
    """Set the font of the ticks and hide the spines at the top, at the right, and at these."""
    axes.tick_params(labelsize=FONT, length=3)
    axes.spines[["top", "right", *bare]].set_visible(False)
