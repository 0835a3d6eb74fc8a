"""Heads of a real trained encoder, shipped with the package."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

from rankbound._validate import check_int, frozen_copy
from rankbound.attention.head import AttentionHead
from rankbound.errors import InputError, RankboundError

LENGTHS = (64, 128)


@dataclass(frozen=True, eq=False)
class PretrainedHead:
    """One head of all-MiniLM-L6-v2 on a text, as its queries and keys, shape (32, n).

    Columns are tokens; the biases, shape (32,), are contained in `queries` and `keys`. There are 6
    layers of 12 heads, numbered from 0.
    """

    layer: int
    index: int
    queries: npt.NDArray[np.float32]
    keys: npt.NDArray[np.float32]
    query_bias: npt.NDArray[np.float32]
    key_bias: npt.NDArray[np.float32]

    @property
    def head(self) -> AttentionHead:
        """The head on identity tokens: its logits are ``keys^T queries / sqrt(32)``."""
        return AttentionHead(W_q=self.queries, W_k=self.keys)


def pretrained_heads(length: int = 64) -> tuple[PretrainedHead, ...]:
    """Queries and keys of all 72 heads of all-MiniLM-L6-v2 on a public-domain text, layer by layer.

    The data, for `length` 64 or 128 tokens, is in the package (``rankbound/data``), made by
    ``scripts/make_real_heads.py``; its provenance, licence (Apache-2.0) and checksums are in
    ``minilm_l6.json`` beside it. Data that does not match its checksum raises `RankboundError`.
    """
    length = check_int("length", length, least=1)
    if length not in LENGTHS:
        raise InputError(
            f"length is {length}; expected one of {LENGTHS}. For others run "
            "scripts/make_real_heads.py --lengths N in a checkout."
        )
    arrays = _load(f"minilm_l6_n{length}.npz")
    layers, heads = arrays["queries"].shape[:2]
    names = ("queries", "keys", "query_bias", "key_bias")
    return tuple(
        PretrainedHead(layer, i, *(frozen_copy(arrays[name][layer, i]) for name in names))
        for layer in range(layers)
        for i in range(heads)
    )


def _load(name: str) -> dict[str, npt.NDArray[np.float32]]:
    folder = resources.files("rankbound") / "data"
    provenance = json.loads((folder / "minilm_l6.json").read_text(encoding="utf-8"))
    content = (folder / name).read_bytes()
    expected = {entry["file"]: entry["sha256"] for entry in provenance["files"]}[name]
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise RankboundError(
            f"{name} has SHA-256 {found}; expected {expected}: the package's data is damaged. "
            "Install rankbound again."
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}
