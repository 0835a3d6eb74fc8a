"""What a figure is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = dict[str, Any]


Draw = Callable[[Sequence[Row], Figure], None]


@dataclass(frozen=True)
class Recipe:
    """How one figure is made.

    Attributes
    ----------
    columns : mapping of str to type
        The columns of the table, in order: int, float, bool or str.
    settings : mapping
        Everything the numbers depend on besides the code; written into the provenance.
    compute : callable
        Settings to rows. None where the runs take long: ``tabulate_runs.py`` then writes the table
        from a store of them.
    draw : callable
        Rows and an empty figure to the drawn figure.
    inches : tuple of float
        Width and height.
    """

    columns: Mapping[str, type]
    settings: Mapping[str, Any]
    compute: Callable[[Mapping[str, Any]], Iterator[Row]] | None
    draw: Draw
    inches: tuple[float, float]


def on_one_axes(plot: Callable[[Sequence[Row], Axes], Axes]) -> Draw:
    """Draw a figure that has one pair of axes."""

    def draw(rows: Sequence[Row], figure: Figure) -> None:
        plot(rows, figure.subplots())

    return draw
