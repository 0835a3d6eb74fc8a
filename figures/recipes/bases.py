"""Bases of fixed projections beside each other; ``scripts/compare_bases.py`` writes the table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from types import MappingProxyType
from typing import Any

from matplotlib.figure import Figure

from recipes.recipe import Recipe, Row

COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "model": str,
        "calibration": str,  # the text on which projections were calibrated
        "test": str,  # and on which they were tested
        "basis": str,  # as of rankbound.theory.bases
        "basis_per": str,  # head, or key/value head
        "head_size": int,
        "tokens": int,  # of the calibration
        "shifts": int,  # positions over which moments were averaged
        "full_loss": float,  # of the model itself, in nats; nan without a language head
        "loss": float,  # where all heads are cut
        "divergence": float,  # KL of the output in nats; without logits of hidden states, relative
    }
)
SETTINGS: Mapping[str, Any] = MappingProxyType({"test_tokens": 512, "calibration_tokens": 1024})
MARKS = ("o", "s", "D", "^", "v", "x")


def means(rows: Sequence[Row], model: str, per: str) -> dict[str, dict[int, float]]:
    """By basis and head size, the mean divergence over pairs of texts, with one basis per what."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        usual = row["tokens"] == SETTINGS["calibration_tokens"] and row["shifts"] == 1
        if usual and (row["model"], row["basis_per"]) == (model, per):
            found[row["basis"]][row["head_size"]].append(row["divergence"])
    return {
        basis: {size: fmean(values) for size, values in sorted(sizes.items())}
        for basis, sizes in found.items()
    }


def draw(rows: Sequence[Row], figure: Figure) -> None:
    """Draw a panel per model: mean divergence against head size, a line per basis of key heads."""
    models = sorted({row["model"] for row in rows})
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for axes, model in zip(panels, models, strict=True):
        per = max({row["basis_per"] for row in rows if row["model"] == model}, key=len)
        for mark, (basis, line) in zip(MARKS, means(rows, model, per).items(), strict=False):
            axes.plot(list(line), list(line.values()), f"{mark}-", label=basis, lw=1, ms=4)
        sizes = sorted({row["head_size"] for row in rows if row["model"] == model})
        axes.set(title=model, xlabel="head size", yscale="log", xticks=sizes)
        axes.minorticks_off()
        languages = any(row["loss"] == row["loss"] for row in rows if row["model"] == model)
        axes.set_ylabel("KL of the output [nats]" if languages else "distance of hidden states")
    panels[0].legend(fontsize="small")


BASES = Recipe(COLUMNS, SETTINGS, None, draw, (7.0, 3.2))
