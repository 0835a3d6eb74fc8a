"""The atlas as tables: the intervals, and what stands behind each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankbound.atlas.entry import NOTIONS, PATTERNS, Atlas
from rankbound.reporting.tables import plain_table

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["atlas_sources", "atlas_table"]


def atlas_table(atlas: Atlas) -> Table:
    """Return the intervals, a row a pattern and a column a sense."""
    titles = {
        "exact": "exact",
        "closure": "to any precision",
        "bounded": f"|q||k| <= {atlas.scale:g}, TV <= {atlas.error:g}",
        "sign": "sign",
    }
    table = plain_table(f"n = {atlas.n}", *(titles[notion] for notion in NOTIONS))
    for pattern, title in PATTERNS.items():
        cells = (atlas.entry(pattern, notion) for notion in NOTIONS)
        table.add_row(title, *("-" if cell is None else cell.interval for cell in cells))
    return table


def atlas_sources(atlas: Atlas) -> Table:
    """Return what was computed for each entry, its evidence and the claims that verify it."""
    table = plain_table("entry", "evidence", "computed", "theorem", "claims")
    for entry in atlas.entries:
        words = dict.fromkeys((str(entry.lower_evidence), str(entry.upper_evidence)))
        table.add_row(
            f"{entry.pattern}, {entry.notion}: {entry.interval}",
            ", ".join(words),
            entry.how,
            entry.theorem,
            ", ".join(entry.claims),
        )
    return table
