"""Tables by rich: what a store of sweeps holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rankbound.reporting.tables import plain_table
from rankbound.sweeps.cell import DONE, FAILED
from rankbound.sweeps.plan import canonical
from rankbound.sweeps.store import PENDING, Record

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["failure_lines", "store_table"]


def store_table(records: Iterable[Record]) -> Table:
    """Return a table with a row for each function and version."""
    from rich.text import Text

    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.function, record.version), []).append(record)
    table = plain_table("function", "version", DONE, FAILED, PENDING, "attempts", "seconds")
    for column in table.columns[2:]:
        column.justify = "right"
    for (function, version), group in groups.items():
        statuses = [record.status for record in group]
        counts = [statuses.count(word) for word in (DONE, FAILED, PENDING)]
        attempts = sum(record.attempts for record in group)
        seconds = sum(record.wall_time or 0.0 for record in group)
        numbers = (*counts, attempts, f"{seconds:.1f}")
        table.add_row(Text(function), Text(version), *map(str, numbers))
    return table


def failure_lines(records: Iterable[Record]) -> list[str]:
    """Return a line for each failed cell: function, parameters, error."""
    return [
        f"failed: {record.function} {canonical(record.parameters)} "
        f"after {record.attempts} attempts: {' '.join((record.error or '').split())}"
        for record in records
        if record.status == FAILED
    ]
