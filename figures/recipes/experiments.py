"""The experiments: a row a run, and a row a trained head; ``tabulate_runs.py`` writes both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType

from matplotlib.figure import Figure

from rankbound.experiments.language import TrainedHead
from rankbound.experiments.results import Run
from rankbound.plots import errors_by_heads, ranks_of_trained_heads, spectra_of_trained_heads
from recipes.recipe import Recipe, Row

_TYPES: Mapping[str, type] = MappingProxyType(
    {"int": int, "float": float, "str": str, "bool": bool}
)
SHOWN = ("mixing", "separation-distinct", "language")


def _columns(record: type) -> Mapping[str, type]:
    """The columns are the attributes, documented there."""
    return MappingProxyType({field.name: _TYPES[str(field.type)] for field in fields(record)})


def draw_runs(rows: Sequence[Row], figure: Figure) -> None:
    """Draw a panel for each experiment whose layers have different numbers of heads."""
    for axes, name in zip(figure.subplots(1, len(SHOWN)), SHOWN, strict=True):
        errors_by_heads([row for row in rows if row["experiment"] == name], axes)


def draw_heads(rows: Sequence[Row], figure: Figure) -> None:
    """Draw what trained heads use of their size, and their spectra."""
    left, right = figure.subplots(1, 2)
    ranks_of_trained_heads(rows, left)
    spectra_of_trained_heads(rows, right)


def _runs(preset: str) -> Recipe:
    settings = MappingProxyType({"preset": preset})
    return Recipe(_columns(Run), settings, None, draw_runs, (11.0, 4.2))


LAPTOP = _runs("laptop")
OVERNIGHT = _runs("overnight")
TRAINED_HEADS = Recipe(
    _columns(TrainedHead), MappingProxyType({"preset": "overnight"}), None, draw_heads, (8.4, 3.6)
)
