"""Heads of trained models are measured as the package measures any head."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch

import rankbound as rb
from rankbound.experiments.language import WINDOWS, TrainedHead, file_corpus, measure_trained_heads
from rankbound.experiments.layers import heads_of, read_checkpoint, save_checkpoint
from tests.experiments.tiny import array, model, text
from tests.helpers import refused


def told(path: Path, **changes: Any) -> dict[str, Any]:
    return {
        "arm": "fixed", "heads": 2, "d": 8, "rate": 0.02, "weight_decay": 0.1, "steps": 3,
        "corpus": file_corpus(path).sha256, "seed": 7, **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, and a model of two layers with two heads of size 3 that stands for a trained one."""
    path = tmp_path_factory.mktemp("heads")
    weights, shape = model(head_size=3)
    save_checkpoint(path, weights, shape, told(text(path / "text")))
    return path


@pytest.fixture(scope="module")
def heads(folder: Path) -> list[TrainedHead]:
    return measure_trained_heads(folder, folder / "text")


def logits(folder: Path, layer: int, head: int) -> list[Any]:
    """Of each window, from queries and keys: [key, query]."""
    weights, shape, _ = read_checkpoint(next(folder.glob("*.safetensors")))
    held_out = file_corpus(folder / "text").held_out
    starts = np.linspace(0, len(held_out) - shape.n, WINDOWS).astype(int)
    tokens = np.stack([held_out[at : at + shape.n] for at in starts]).astype("int64")
    queries, keys = heads_of(weights, shape, torch.from_numpy(tokens))[layer]
    q, k = array(queries)[:, head], array(keys)[:, head]
    return [k[w] @ q[w].T / np.sqrt(3) for w in range(WINDOWS)]


def test_a_head_is_named(heads: list[TrainedHead]) -> None:
    assert [(head.layer, head.head) for head in heads] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for head in heads:
        assert (head.arm, head.d, head.heads, head.head_size, head.n) == ("fixed", 8, 2, 3, 10)
        assert (head.steps, head.seed, head.rate, head.weight_decay) == (3, 7, 0.02, 0.1)


def test_measures_are_those_of_the_package(folder: Path, heads: list[TrainedHead]) -> None:
    mask = rb.causal_mask(10)
    centring = np.eye(10) - 1 / 10
    for found in heads:
        ranks, effective, stable, entropies, lost, shares = [], [], [], [], [], []
        for L in logits(folder, found.layer, found.head):
            ranks.append(rb.log_rank(logits=L, mask=mask, stored=np.float32))
            centred = centring @ L
            effective.append(float(rb.effective_rank(centred)))
            stable.append(float(rb.stable_rank(centred)))
            sizes = np.linalg.svd(centred, compute_uv=False)
            shares.append(sizes[:3] / sizes[0])
            lost.append(float(np.linalg.norm(sizes[1:]) / np.linalg.norm(sizes)))
            P = rb.column_softmax(L, mask=mask)
            logs = np.where(mask, np.log(np.where(mask, P, 1)), 0)
            entropies.append(float(-(P * logs).sum(axis=0).mean()))
        assert found.log_rank == int(median(ranks))
        assert found.log_rank_bound == 3
        assert found.generic_log_rank == 5  # of almost every causal context: n / 2
        assert found.at_bottleneck == all(rank >= 3 for rank in ranks)
        assert found.log_effective_rank == pytest.approx(median(effective), rel=1e-9)
        assert found.log_stable_rank == pytest.approx(median(stable), rel=1e-9)
        assert found.entropy == pytest.approx(median(entropies), rel=1e-9)
        assert found.aitchison_half == pytest.approx(median(lost), rel=1e-6)
        spectrum = [float(share) for share in found.spectrum.split()]
        assert spectrum == pytest.approx(np.median(shares, axis=0), rel=5e-3)  # three digits
        assert found.kl_half > 0
        assert 1 <= found.least_head_size_1pct <= 3
        assert 0 <= found.sink_mass <= 1


def test_a_rank_counts_what_float32_can_tell(tmp_path: Path) -> None:
    """A query that is the sum of two others, as far as float32 can add."""
    weights, shape = model(head_size=3)
    with torch.no_grad():
        w = weights["layers.0.W_q"]
        w[:, 2] = w[:, 0] + w[:, 1]
    save_checkpoint(tmp_path, weights, shape, told(text(tmp_path / "text")))
    found = measure_trained_heads(tmp_path, tmp_path / "text")
    assert [head.log_rank for head in found] == [2, 3, 3, 3]
    assert [head.at_bottleneck for head in found] == [False, True, True, True]


def test_only_models_that_are_wanted_are_measured(folder: Path, tmp_path: Path) -> None:
    weights, shape = model(head_size=3)
    for changes in ({"steps": 5}, {"corpus": "another"}):
        save_checkpoint(tmp_path, weights, shape, told(folder / "text", **changes))
    with refused(rb.InputError, "learnt a text of SHA-256 another", "Name the text it learnt"):
        measure_trained_heads(tmp_path, folder / "text")
    found = measure_trained_heads(tmp_path, folder / "text", lambda one: one["steps"] == 5)
    assert [head.steps for head in found] == [5] * 4
    assert measure_trained_heads(tmp_path, folder / "text", lambda one: False) == []


def test_another_text_is_refused(folder: Path, tmp_path: Path) -> None:
    with refused(rb.InputError, "learnt a text of SHA-256"):
        measure_trained_heads(folder, text(tmp_path / "other", 5))
    with refused(rb.InputError, "cannot be read"):
        measure_trained_heads(folder, tmp_path / "none")


def test_folders_without_checkpoints_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "language-0.part").write_bytes(b"half")
    for folder in (tmp_path, tmp_path / "none"):
        with refused(rb.InputError, str(folder), "no checkpoint", "rankbound experiment language"):
            measure_trained_heads(folder)
    (tmp_path / "language-0.safetensors").write_bytes(b"half")
    with refused(rb.InputError, "language-0.safetensors is no checkpoint"):
        measure_trained_heads(tmp_path)
