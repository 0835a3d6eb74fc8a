"""The experiments: a row a run, and a row a trained head; ``tabulate_runs.py`` writes both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType

from matplotlib.figure import Figure

from rankbound.experiments.language import TrainedHead
from rankbound.experiments.results import Run
from rankbound.plots import errors_by_heads, ranks_of_trained_heads, spectra_of_trained_heads
from recipes.recipe import Recipe, Row, panels

_TYPES: Mapping[str, type] = MappingProxyType(
    {"int": int, "float": float, "str": str, "bool": bool}
)
SHOWN = ("mixing", "separation-distinct", "language")


def _columns(record: type) -> Mapping[str, type]:
    """The columns are the attributes, documented there."""
    return MappingProxyType({field.name: _TYPES[str(field.type)] for field in fields(record)})


def draw_runs(rows: Sequence[Row], figure: Figure) -> None:
    """Draw a panel for each experiment whose layers have different numbers of heads."""
    for axes, name in zip(panels(figure, len(SHOWN)), SHOWN, strict=True):
        errors_by_heads([row for row in rows if row["experiment"] == name], ax=axes)


def draw_heads(rows: Sequence[Row], figure: Figure) -> None:
    """Draw what trained heads use of their size, and their spectra."""
    first, second = panels(figure, 2)
    ranks_of_trained_heads(rows, ax=first)
    spectra_of_trained_heads(rows, ax=second)


def _runs(preset: str) -> Recipe:
    settings = MappingProxyType({"preset": preset})
    alt = (
        f"Errors against the number of heads in three experiments of the {preset} preset: with "
        "standard heads they rise again beyond 4 heads for dense averages and for language, and "
        "are flat for a teacher of four maps, which 4 heads of fixed size learn"
    )
    return Recipe(_columns(Run), settings, None, draw_runs, (3.7, 9.6), alt)


LAPTOP = _runs("laptop")
OVERNIGHT = _runs("overnight")
TRAINED_HEADS = Recipe(
    _columns(TrainedHead),
    MappingProxyType({"preset": "overnight"}),
    None,
    draw_heads,
    (3.2, 6.0),
    "Left, the effective log-rank of trained heads against head size, below its bound; right, the "
    "median spectra of their centred logits by head size and weight decay",
)
