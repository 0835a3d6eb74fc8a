"""The language model: cells known by their text, checkpoints, and the report of both."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

import rankbound as rb
from rankbound.experiments import catalogue as run_module
from rankbound.experiments import language as module
from rankbound.experiments import results as results_module
from rankbound.experiments.catalogue import GRIDS, checkpoint_folder, run_experiment
from rankbound.experiments.language import file_corpus, language, read_corpus
from rankbound.experiments.layers import byte_loss, parameter_count, read_checkpoint
from rankbound.experiments.report import make_report
from rankbound.experiments.results import read_results
from tests.experiments.tiny import text
from tests.helpers import refused

CELL: dict[str, Any] = {
    "arm": "standard", "heads": 4, "d": 16, "rate": 0.02, "weight_decay": 0.01, "steps": 2,
}  # fmt: skip
SMOKE = tuple({**CELL, **arm, "seed": 0} for arm in ({"arm": "fixed"}, {"arm": "matched"}))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer windows to judge by, and a smoke preset of two small models."""
    monkeypatch.setattr(module, "JUDGED", 64)
    grids = MappingProxyType({**GRIDS, "language": {**GRIDS["language"], "smoke": SMOKE}})
    monkeypatch.setattr(run_module, "GRIDS", grids)
    monkeypatch.setattr(results_module, "GRIDS", grids)


def train(path: Path, seed: int = 0, **told: Any) -> dict[str, Any]:
    usual = {**CELL, "corpus": file_corpus(path).sha256, "text": str(path), "seed": seed}
    return language(**{**usual, **told})


def test_a_seed_is_a_model(tmp_path: Path) -> None:
    path = text(tmp_path / "text")
    first = train(path)
    torch.manual_seed(3)
    assert train(path) == first
    assert train(path, seed=1)["loss"] != first["loss"]
    assert train(path, weight_decay=0.5)["loss"] != first["loss"]
    assert (first["d_k"], first["d_v"], first["ffn"]) == (4, 4, 64)
    assert 1 < first["loss"] < 8


def test_training_learns(tmp_path: Path) -> None:
    """Three dozen steps on a text of one line: far below the 5.5 nats of a uniform guess."""
    path = text(tmp_path / "text")
    assert train(path, steps=36)["loss"] < 3.5 < train(path, steps=1)["loss"]


def test_the_loss_is_of_the_last_weights_on_text_held_out(tmp_path: Path) -> None:
    path = text(tmp_path / "text")
    found = train(path, checkpoints=str(tmp_path / "kept"))
    (file,) = (tmp_path / "kept").iterdir()
    weights, shape, told = read_checkpoint(file)
    assert told == {**CELL, "corpus": file_corpus(path).sha256, "seed": 0}
    assert parameter_count(weights) == found["parameters"]
    held_out = torch.from_numpy(file_corpus(path).held_out.astype("int64"))
    places = torch.linspace(0, len(held_out) - 65, 64).long()
    windows = torch.stack([held_out[at : at + 65] for at in places])
    assert found["loss"] == pytest.approx(float(byte_loss(weights, shape, windows)), rel=1e-5)


def test_a_text_that_changed_after_planning_is_refused(tmp_path: Path) -> None:
    path = text(tmp_path / "text")
    planned = file_corpus(path).sha256
    assert read_corpus(str(path), planned).sha256 == planned
    text(path, first=1)
    with refused(rb.InputError, planned, file_corpus(path).sha256, "plan it anew"):
        read_corpus(str(path), planned)
    with refused(rb.InputError, "plan it anew"):
        train(path, corpus=planned, checkpoints=str(tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()


def test_cells_are_known_by_the_hash_of_their_text(tmp_path: Path) -> None:
    """Not by where it is: moved, nothing is run again; another, all is."""
    store, path = tmp_path / "s.sqlite", text(tmp_path / "text")
    first = run_experiment("language", "smoke", store, text=path)
    assert [cell.parameters["corpus"] for cell in first.cells] == [file_corpus(path).sha256] * 2
    moved = path.rename(tmp_path / "moved")
    folder = checkpoint_folder(store)
    times = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert len(times) == 2
    again = run_experiment("language", "smoke", store, text=moved)
    assert [cell.id for cell in again.cells] == [cell.id for cell in first.cells]
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == times
    other = run_experiment("language", "smoke", store, text=text(tmp_path / "other", 9))
    assert not {cell.id for cell in other.cells} & {cell.id for cell in first.cells}
    assert len(list(folder.iterdir())) == 4


def test_a_report_measures_the_heads_of_its_runs(tmp_path: Path) -> None:
    store, path = tmp_path / "s.sqlite", text(tmp_path / "text")
    run_experiment("language", "smoke", store, text=path)
    first = file_corpus(path).sha256
    # a model of no cell of the preset, and one of another text
    train(path, steps=1, checkpoints=str(checkpoint_folder(store)))
    train(text(tmp_path / "other", 9), checkpoints=str(checkpoint_folder(store)))
    report = make_report(store, text=path)
    assert report.results.corpus == first
    assert {(head.arm, head.steps, head.seed) for head in report.heads} == {
        ("fixed", 2, 0), ("matched", 2, 0),
    }  # fmt: skip
    assert len(report.heads) == 2 * 2 * 4
    with refused(rb.InputError, "learnt a text of SHA-256", first):
        make_report(store, text=tmp_path / "other")
    assert make_report(store, text=tmp_path / "other", heads=False).heads == ()
    counts = {run.kind: run.parameters for run in read_results(store).runs}
    assert counts["fixed"] == counts["matched"]
