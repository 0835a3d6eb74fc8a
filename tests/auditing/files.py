"""Model files written by hand, so that nothing but bytes is needed to test how they are read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

CONFIG = {"model_type": "bert"}
BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I32": 4, "U8": 1}


def header_of(tensors: dict[str, tuple[str, list[int]]]) -> tuple[dict[str, Any], int]:
    table: dict[str, Any] = {}
    position = 0
    for name, (dtype, shape) in tensors.items():
        end = position + math.prod(shape) * BYTES[dtype]
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    return table, position


def safetensors(table: Any, data: int, *, length: int | None = None) -> bytes:
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    size = len(header) if length is None else length
    return size.to_bytes(8, "little") + header + bytes(data)


def model_folder(
    folder: Path, config: Any = CONFIG, weights: bytes | None = None, name: str = "model"
) -> Path:
    folder.mkdir(exist_ok=True)
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        (folder / "config.json").write_text(text)
    if weights is None:
        weights = safetensors(*header_of({"w": ("F32", [4, 4]), "b": ("F32", [4])}))
    if weights:
        (folder / f"{name}.safetensors").write_bytes(weights)
    return folder
