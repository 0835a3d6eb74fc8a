"""The head-size atlas for one number of tokens, one row per entry, as in ``rankbound atlas``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
            **{name: getattr(entry, name) for name in COLUMNS if name != "claims"},
            "claims": " ".join(entry.claims),
        }


ATLAS = Recipe(COLUMNS, SETTINGS, atlas_rows, on_one_axes(atlas_intervals), (7.2, 5.2))
