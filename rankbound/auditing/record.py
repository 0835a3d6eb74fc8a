"""What an audit found."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rankbound.auditing.columns import COLUMNS
from rankbound.auditing.models import require
from rankbound.auditing.page import write_page
from rankbound.auditing.reproduction import Reproduction
from rankbound.auditing.texts import TextFacts
from rankbound.measuring.head import HeadMeasures

__all__ = ["Audit", "AuditedHead", "ModelFacts"]


@dataclass(frozen=True)
class ModelFacts:
    """The model that was audited.

    Attributes
    ----------
    name, architecture, model_type : str
        As it was found; its class; its type in config.json.
    parameters : int
        Number of weights.
    attention_layers : int
        How many times a forward pass computes attention.
    storage_dtype, compute_dtype : str
        Of the weights in their files (GGUF: the types of query and key projections), and in which
        the model was run.
    quantised : bool
        Whether the weights were dequantised when loaded.
    positions : int or None
        The longest sequence it takes, where it says.
    unit : float
        The relative error of queries and keys from which thresholds are derived: the eps of the
        coarser of both dtypes; of the latter alone where the weights are quantised.
    """

    name: str
    architecture: str
    model_type: str
    parameters: int
    attention_layers: int
    storage_dtype: str
    compute_dtype: str
    quantised: bool
    positions: int | None
    unit: float


@dataclass(frozen=True, eq=False)
class AuditedHead:
    """One head on one window.

    Attributes
    ----------
    window, layer, head, key_value_head : int
        Numbered from 0; layers are those with attention, in the order in which they run.
    module : str
        The name of the layer's module in the model.
    measures : HeadMeasures
        What was measured, with the spectra.
    storage_dtype, compute_dtype : str
        As in :class:`ModelFacts`.
    """

    window: int
    layer: int
    module: str
    head: int
    key_value_head: int
    measures: HeadMeasures
    storage_dtype: str
    compute_dtype: str

    def row(self) -> dict[str, Any]:
        """The columns of :meth:`Audit.to_frame`, by name."""
        return {column.name: column.value(self) for column in COLUMNS}


@dataclass(frozen=True, eq=False)
class Audit:
    """An audit of a model on a text.

    Attributes
    ----------
    heads : tuple of AuditedHead
        Window by window, layer by layer; the columns are defined in docs/audit.md.
    model : ModelFacts
    text : TextFacts
    proof : Reproduction
        How well the model's own attention weights were reproduced on the first window.
    complete : bool
        False if it was interrupted, and `heads` holds the layers that were finished.
    versions : mapping from str to str
        Of Python, rankbound, numpy, torch and transformers, as they ran.
    """

    heads: tuple[AuditedHead, ...]
    model: ModelFacts
    text: TextFacts
    proof: Reproduction
    complete: bool
    versions: Mapping[str, str]

    def to_frame(self) -> Any:
        """Return a pandas DataFrame, one row per head and window.

        Raises
        ------
        BackendMissing
            If pandas is not installed.
        """
        pandas = require("pandas", "to_frame")
        names = [column.name for column in COLUMNS]
        frame = pandas.DataFrame([head.row() for head in self.heads], columns=names)
        return frame.astype({column.name: column.kind for column in COLUMNS if column.kind})

    def to_json(self) -> str:
        """Return the audit as JSON: model, text, proof, and per head its row and spectra."""
        return json.dumps(self._data(), indent=1, ensure_ascii=False, allow_nan=False)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the audit as one page that needs no network: map, spectra, table, definitions.

        Raises
        ------
        InputTypeError
            If `path` is no path.
        """
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
        return {
            "complete": self.complete,
            "model": dataclasses.asdict(self.model),
            "text": dataclasses.asdict(self.text),
            "proof": dataclasses.asdict(self.proof),
            "versions": dict(self.versions),
            "heads": heads,
        }
