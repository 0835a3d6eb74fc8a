"""What a figure is made of, and how its table is compared with the published one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rankbound import canvas

Row = dict[str, Any]
Draw = Callable[[Sequence[Row], Figure], None]
# The largest difference that is none, from the settings, the published row and the computed one.
Tolerance = Callable[[Mapping[str, Any], Row, Row], float]


def free(settings: Mapping[str, Any], published: Row, computed: Row) -> float:
    """Any difference: how a solver went, which another BLAS changes, not what it found."""
    return math.inf


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
        Settings to rows. None where the runs take long: the command that the provenance names then
        writes the table.
    draw : callable
        Rows and an empty figure, of either width, to the drawn figure.
    heights : tuple of float
        In inches, of the figure as wide as a page and as wide as a column.
    alt : str
        What the figure shows, for those who do not see it.
    tolerances : mapping of str to Tolerance
        Of columns; one that is not named is compared exactly.
    slow : bool
        Whether `compute` takes minutes.
    """

    columns: Mapping[str, type]
    settings: Mapping[str, Any]
    compute: Callable[[Mapping[str, Any]], Iterator[Row]] | None
    draw: Draw
    heights: tuple[float, float]
    alt: str
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)
    slow: bool = False

    def differences(self, published: Sequence[Row], computed: Sequence[Row]) -> Iterator[str]:
        """Where two tables differ by more than the tolerances: row, column, got and expected."""
        for place, (old, new) in enumerate(zip_longest(published, computed), start=1):
            if old is None or new is None:
                yield f"got {len(computed)} rows, expected {len(published)}"
                return
            for column in self.columns:
                allowed = 0.0
                if column in self.tolerances:
                    allowed = self.tolerances[column](self.settings, old, new)
                if not _within(new[column], old[column], allowed):
                    yield (
                        f"row {place}, column {column}: got {new[column]!r}, expected "
                        f"{old[column]!r}, tolerance {allowed:.2g}"
                    )


def _within(got: Any, expected: Any, allowed: float) -> bool:
    if got == expected or (got != got and expected != expected):
        return True
    return allowed == math.inf or (allowed > 0 and abs(got - expected) <= allowed)


def on_one_axes(plot: Callable[..., Axes]) -> Draw:
    """Draw a figure that has one pair of axes."""

    def draw(rows: Sequence[Row], figure: Figure) -> None:
        plot(rows, ax=figure.subplots())

    return draw


def panels(figure: Figure, count: int) -> list[Axes]:
    """So many panels: beside each other on a page, one above another in a column."""
    beside = figure.get_figwidth() > (canvas.WIDE + canvas.NARROW) / 2
    shape = (1, count) if beside else (count, 1)
    return list(figure.subplots(*shape, squeeze=False).flat)
