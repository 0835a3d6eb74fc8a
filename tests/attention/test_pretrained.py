"""The trained heads in the package are what their checksum says."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import rankbound as rb
from rankbound.attention.pretrained import LENGTHS, pretrained_heads
from tests.helpers import EPS, refused


@pytest.mark.parametrize("length", LENGTHS)
def test_all_heads_are_there(length: int) -> None:
    heads = pretrained_heads(length)
    assert [(head.layer, head.index) for head in heads] == [
        (layer, i) for layer in range(6) for i in range(12)
    ]
    for head in heads:
        assert head.queries.shape == head.keys.shape == (32, length)
        assert head.query_bias.shape == head.key_bias.shape == (32,)
        assert head.queries.dtype == np.float32
        assert not head.queries.flags.writeable
        assert head.head.scale == 1 / np.sqrt(32)
        K, Q = head.keys.astype(np.float64), head.queries.astype(np.float64)
        # a product of length 32, twice
        slack = 64 * EPS * np.linalg.norm(K) * np.linalg.norm(Q) / np.sqrt(32)
        assert np.max(np.abs(head.head.logits() - K.T @ Q / np.sqrt(32))) <= slack


def test_their_log_rank_is_at_most_the_head_size() -> None:
    """Theorem A, necessity: 32 for n = 64, and the logits are those of the factors."""
    for head in pretrained_heads(64)[::9]:
        assert rb.log_rank(logits=head.head.logits()) <= 32


def test_damaged_data_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = resources.files("rankbound") / "data"
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "minilm_l6.json").write_bytes((source / "minilm_l6.json").read_bytes())
    content = bytearray((source / "minilm_l6_n64.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "minilm_l6_n64.npz").write_bytes(bytes(content))
    files = SimpleNamespace(files=lambda _: tmp_path)
    monkeypatch.setattr("rankbound.attention.pretrained.resources", files)
    with refused(rb.RankboundError, "SHA-256", "expected", "Install rankbound again"):
        pretrained_heads(64)


def test_provenance_names_what_was_used() -> None:
    text = (resources.files("rankbound") / "data" / "minilm_l6.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert {entry["file"] for entry in record["files"]} == {f"minilm_l6_n{n}.npz" for n in LENGTHS}
    assert "Apache-2.0" in text


def test_other_lengths_are_refused() -> None:
    with refused(rb.InputError, "length is 65", "one of (64, 128)", "make_real_heads.py"):
        pretrained_heads(65)
