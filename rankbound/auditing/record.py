"""What an audit found."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rankbound.auditing.capture import Reproduction
from rankbound.auditing.columns import COLUMNS
from rankbound.auditing.models import ModelFacts, TextFacts
from rankbound.auditing.page import write_page
from rankbound.measuring.head import HeadMeasures
from rankbound.table import Table, Tabular

__all__ = ["Audit", "AuditedHead", "ModelFacts"]


@dataclass(frozen=True, eq=False)
class AuditedHead:
    """One head on one window; all numbers are from 0."""

    window: int
    layer: int  # of those with attention, in the order in which they run
    module: str  # the name of the layer's module in the model
    head: int
    key_value_head: int
    measures: HeadMeasures
    storage_dtype: str
    compute_dtype: str

    def row(self) -> dict[str, Any]:
        """The columns of :meth:`Audit.to_frame`, by name."""
        return {column.name: column.value(self) for column in COLUMNS}


@dataclass(frozen=True, eq=False)
class Audit(Tabular):
    """An audit of a model on a text.

    Attributes
    ----------
    heads : tuple of AuditedHead
        Window by window, layer by layer; the columns are defined in docs/audit.md.
    model, text, proof, versions
        What was audited, how well the model's own attention weights were reproduced on the first
        window, and the versions of Python and the packages that ran.
    complete : bool
        False if it was interrupted, and `heads` holds the layers that were finished.
    """

    heads: tuple[AuditedHead, ...]
    model: ModelFacts
    text: TextFacts
    proof: Reproduction
    complete: bool
    versions: Mapping[str, str]

    def table(self) -> Table:
        """Return what is printed: a row per head and window."""
        several = self.text.windows > 1
        shown = [m for m in COLUMNS if m.title and (several or m.name != "window")]
        rows = [
            [m.printed(head.measures) if m.printed else m.value(head) for m in shown]
            for head in self.heads
        ]
        return Table([m.column() for m in shown], rows)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame of all columns, one row per head and window.

        BackendMissing if pandas is not installed.
        """
        rows = (head.row().values() for head in self.heads)
        return Table([m.column() for m in COLUMNS], map(tuple, rows)).to_frame()

    def to_json(self) -> str:
        """Return the audit as JSON: model, text, proof, and per head its row and spectra."""
        return json.dumps(self._data(), indent=1, ensure_ascii=False, allow_nan=False)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the audit as one page that needs no network: map, spectra, table, definitions."""
        write_page(path, self._data())

    def _data(self) -> dict[str, Any]:
        heads = [
            {
                **head.row(),
                "module": head.module,
                "threshold": head.measures.threshold,
                "kl_errors": {str(k): error for k, error in head.measures.kl_errors.items()},
                "logit_values": head.measures.logit_values.tolist(),
                "centred_values": head.measures.centred_values.tolist(),
            }
            for head in self.heads
        ]
        facts = {name: asdict(getattr(self, name)) for name in ("model", "text", "proof")}
        versions = dict(self.versions)
        return {"complete": self.complete, **facts, "versions": versions, "heads": heads}
