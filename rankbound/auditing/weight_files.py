"""Weight files, checked before any library reads them: nothing in them is ever executed."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankbound.auditing.backends import require
from rankbound.errors import InputError

__all__ = ["DTYPES", "Storage", "read_gguf", "read_safetensors"]

MOST_HEADER = 100_000_000  # bytes, the format's own limit
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
}
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Storage:
    """How the weights lie in their files.

    Attributes
    ----------
    dtype : str
        float16, bfloat16, float32, float64, or the quantised types of GGUF, for example Q4_1.
    quantised : bool
        Whether weights are dequantised when loaded.
    """

    dtype: str
    quantised: bool


def read_safetensors(files: list[Path]) -> Storage:
    """Check the headers of a checkpoint's files and return the dtype of most of its weights.

    Raises
    ------
    InputError
        If a header is cut, too large, no JSON, or its tensors do not tile the file; or the weights
        are not plain floats.
    """
    sizes: Counter[str] = Counter()
    for file in files:
        for dtype, shape in _header(file).values():
            if len(shape) > 1:
                sizes[dtype] += math.prod(shape)
    if not sizes:
        raise InputError(f"{files[0].name}: holds no weight matrices; expected those of a model.")
    most = sizes.most_common(1)[0][0]
    if most not in DTYPES:
        raise InputError(
            f"{files[0].name}: most weights are {most}; expected F16, BF16, F32 or F64. "
            "Dequantise the model and save it again, or give its .gguf file."
        )
    return Storage(DTYPES[most], quantised=False)


def _header(file: Path) -> dict[str, tuple[str, list[int]]]:
    """The dtype and shape of each tensor of a file whose header is in order."""
    length = file.stat().st_size
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if length < 8 or size > length - 8:
            raise _damaged(file, f"its header says {size} bytes and the file has {length}")
        if size > MOST_HEADER:
            raise _damaged(file, f"its header of {size} bytes is above {MOST_HEADER}")
        content = stream.read(size)
    try:
        table = json.loads(content.decode("utf-8"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise _damaged(file, f"its header is no JSON ({type(error).__name__})") from None
    if not isinstance(table, dict):
        raise _damaged(file, "its header is no JSON object")
    table.pop("__metadata__", None)
    spans, found = [], {}
    for name, entry in table.items():
        dtype, shape, begin, end = _entry(file, name, entry)
        spans.append((begin, end))
        found[name] = (dtype, shape)
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise _damaged(file, f"its tensors leave a hole or overlap at byte {begin}")
        position = end
    if position != length - 8 - size:
        raise _damaged(file, f"its tensors end at byte {position} of {length - 8 - size}")
    return found


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name is given twice")
    return table


def _entry(file: Path, name: str, entry: Any) -> tuple[str, list[int], int, int]:
    good = isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "data_offsets"}
    numbers = [entry["shape"], entry["data_offsets"]] if good else [None]
    if not all(
        isinstance(part, list) and all(type(x) is int and 0 <= x < 2**63 for x in part)
        for part in numbers
    ):
        raise _damaged(file, f"the entry of {name[:60]!r} is not as the format says")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _damaged(file, f"{name[:60]!r} has the unknown dtype {str(dtype)[:20]!r}")
    if len(offsets) != 2 or (offsets[1] - offsets[0]) * 8 != math.prod(shape) * BITS[dtype]:
        raise _damaged(file, f"{name[:60]!r} does not fit its offsets")
    return dtype, shape, offsets[0], offsets[1]


def _damaged(file: Path, what: str) -> InputError:
    return InputError(
        f"{file.name}: a damaged safetensors file: {what}. Copy it again from its source."
    )


def read_gguf(file: Path) -> Storage:
    """Check a GGUF file and return the types of its query and key projections.

    Raises
    ------
    InputError
        If it is damaged or names no query and key projections.
    """
    with file.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GGUF":
        raise InputError(f"{file.name}: does not begin as a GGUF file; expected one.")
    try:
        tensors = require("gguf", "a .gguf model").GGUFReader(file).tensors
        types = {str(t.tensor_type.name) for t in tensors if _is_attention(str(t.name))}
    except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError, OSError) as error:
        raise InputError(
            f"{file.name}: a damaged GGUF file ({type(error).__name__}). "
            "Copy it again from its source."
        ) from None
    if not types:
        raise InputError(
            f"{file.name}: holds no query and key projections; expected a model with attention."
        )
    plain = types <= DTYPES.keys()
    names = sorted(DTYPES.get(name, name) for name in types)
    order = ["float64", "float32", "float16", "bfloat16"]
    coarsest = max(names, key=order.index) if plain else "+".join(names)
    return Storage(coarsest, quantised=not plain)


def _is_attention(name: str) -> bool:
    return any(part in name for part in (".attn_q.", ".attn_k.", ".attn_qkv."))
