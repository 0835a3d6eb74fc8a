"""The results of a sweep as data: one row a cell."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankbound.errors import BackendMissing
from rankbound.sweeps.cell import FAILED
from rankbound.sweeps.plan import COLUMNS
from rankbound.sweeps.store import Record

__all__ = ["Sweep"]


@dataclass(frozen=True, eq=False)
class Sweep:
    """The cells of one plan, run.

    Attributes
    ----------
    cells : tuple of Record
        In the order of the grid.
    names : tuple of str
        The parameters.
    """

    cells: tuple[Record, ...]
    names: tuple[str, ...]

    @property
    def failed(self) -> tuple[Record, ...]:
        """The cells that failed, with their ``parameters`` and ``error``; empty if none did."""
        return tuple(cell for cell in self.cells if cell.status == FAILED)

    @property
    def columns(self) -> tuple[str, ...]:
        """Parameters, results in the order in which cells name them, and how each cell went."""
        results = dict.fromkeys(name for cell in self.cells for name in cell.result or ())
        return (*self.names, *results, *COLUMNS)

    def rows(self) -> list[dict[str, Any]]:
        """Return a dict a cell, of all columns; None where a cell has no value."""
        empty = dict.fromkeys(self.columns)
        return [{**empty, **_row(cell)} for cell in self.cells]

    def to_frame(self) -> Any:
        """Return a pandas DataFrame, one row a cell; nested parameters stay lists.

        Raises
        ------
        BackendMissing
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise BackendMissing(
                "to_frame needs pandas, which is not installed: pip install pandas. "
                "to_csv and rows do without."
            ) from None
        rows = self.rows()
        columns = {name: [row[name] for row in rows] for name in self.columns}
        return pd.DataFrame(
            {
                name: pd.array(values, dtype="Int64") if _gappy(values) else values
                for name, values in columns.items()
            }
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line a cell; nothing where there is no value, JSON for nested parameters."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            writer.writeheader()
            for row in self.rows():
                writer.writerow({name: _written(value) for name, value in row.items()})

    def __repr__(self) -> str:
        return f"Sweep({len(self.cells)} cells, {len(self.failed)} failed)"


def _gappy(values: list[Any]) -> bool:
    """Integers with gaps, which pandas would round to float64: seeds, for one."""
    if {type(value) for value in values} != {int, type(None)}:
        return False
    return all(value is None or abs(value) < 2**63 for value in values)


def _row(cell: Record) -> dict[str, Any]:
    values = (cell.status, cell.error, cell.seed, cell.attempts, cell.wall_time, cell.id)
    return {**cell.parameters, **(cell.result or {}), **dict(zip(COLUMNS, values, strict=True))}


def _written(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
