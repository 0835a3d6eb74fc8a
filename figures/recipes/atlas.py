"""The head-size atlas for one number of tokens, one row per entry, as in ``rankbound atlas``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from rankbound.atlas import compute_atlas
from rankbound.plots import atlas_intervals
from recipes.recipe import Recipe, Row, on_one_axes

COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "pattern": str,
        "notion": str,
        "n": int,  # tokens of the pattern
        "lower": float,  # of the least head size; infinite where no head will do
        "upper": float,
        "lower_evidence": str,
        "upper_evidence": str,
        "how": str,
        "theorem": str,
        "claims": str,
        "scale": float,  # the largest |q||k| in the bounded sense
        "error": float,  # the total variation per column there
    }
)
SETTINGS: Mapping[str, Any] = MappingProxyType({"n": 128, "seed": 0, "scale": 50.0, "error": 0.01})


def atlas_rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    """The entries of the atlas."""
    atlas = compute_atlas(
        settings["n"], settings["seed"], scale=settings["scale"], error=settings["error"]
    )
    for entry in atlas.entries:
        yield {
            **{field.name: getattr(entry, field.name) for field in fields(entry)},
            "claims": " ".join(entry.claims),
            "scale": settings["scale"],
            "error": settings["error"],
        }


ATLAS = Recipe(
    COLUMNS,
    SETTINGS,
    atlas_rows,
    on_one_axes(atlas_intervals),
    (5.2, 6.0),
    "Least head size of ten classes of patterns of 128 tokens, in four senses: dense patterns need "
    "64 to 127, one key per query 2 to any precision and 3 to 11 with bounded logits",
)
