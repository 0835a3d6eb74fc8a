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
from rankbound.experiments.language import (
    LAYERS,
    LENGTH,
    TEMPERATURE,
    file_corpus,
    head_size,
    language,
    read_corpus,
    split_shapes,
)
from rankbound.experiments.layers import (
    byte_loss,
    cut_weights,
    heads_of,
    make_weights,
    parameter_count,
    read_checkpoint,
)
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


# head sizes

ARMS = ("scaled", 1, None), ("scaled", 4, None), ("qk-norm", 2, None), ("rank", 2, 3)


def started(arm: str, heads: int, rank: int, seed: int = 0) -> tuple[Any, Any]:
    """Weights before training, and the shape."""
    whole, shape = split_shapes(arm, 16, heads, rank)
    first = make_weights(whole, torch.Generator().manual_seed(seed))
    return cut_weights(first, whole, shape, torch.Generator().manual_seed(7)), shape


def test_head_sizes_share_parameters_and_initialisation() -> None:
    """W_q, W_k, W_v, W_o and all else are the same matrices, which heads only split."""
    first, _ = started("scaled", 1, 16)
    for arm, heads in (("scaled", 4), ("scaled", 16), ("qk-norm", 1), ("qk-norm", 8)):
        weights, shape = started(arm, heads, 16 // heads)
        assert shape.sizes.d_k == shape.sizes.d_v == 16 // heads
        assert weights.keys() == first.keys()
        assert all(torch.equal(w, first[name]) for name, w in weights.items())
    assert not torch.equal(
        started("scaled", 4, 4, seed=1)[0]["layers.0.W_q"], first["layers.0.W_q"]
    )


def test_the_rank_control_cuts_queries_and_keys_alone() -> None:
    """Four heads of size 4, of rank 1: the first column of each is left; the FFN takes the rest."""
    whole, _ = started("scaled", 4, 4)
    for arm in ("rank", "rank-matched"):
        weights, shape = started(arm, 4, 1)
        assert (shape.sizes.heads, shape.sizes.d_k, shape.sizes.d_v) == (4, 1, 4)
        for name, w in weights.items():
            assert w.requires_grad and w.is_leaf
            if name.endswith((".W_q", ".W_k")):
                assert torch.equal(w, whole[name][:, ::4])
            elif name.endswith(".W_1"):
                assert torch.equal(w[:, :64], whole[name])
            elif name.endswith(".W_2"):
                assert torch.equal(w[:64], whole[name])
            else:
                assert torch.equal(w, whole[name])
        lost = LAYERS * 2 * 16 * 4 * 3
        found = parameter_count(whole) - (lost if arm == "rank" else 0)
        assert parameter_count(weights) == found
    units = weights["layers.1.W_1"].detach()
    assert units.shape == (16, 64 + 12)
    assert float(units[:, 64:].std()) == pytest.approx(0.25, rel=0.2)


def test_a_cut_that_is_none_is_refused() -> None:
    whole, shape = split_shapes("rank", 16, 4, 2)
    weights = make_weights(shape, torch.Generator().manual_seed(0))
    with refused(rb.InputError, "W_q becomes", "expected (16, 16)"):
        cut_weights(weights, shape, whole, torch.Generator())
    with refused(rb.InputError, "arm is 'standard'", "scaled, qk-norm, rank, rank-matched"):
        split_shapes("standard", 16, 4, 4)
    with refused(rb.InputError, "rank is 5", "from 1 to 4"):
        split_shapes("rank", 16, 4, 5)
    with refused(rb.InputError, "rank is 2 in the arm qk-norm", "expected 4"):
        split_shapes("qk-norm", 16, 4, 2)


@pytest.mark.parametrize("heads", [1, 4, 8])
def test_qk_norm_bounds_the_logits_alike_at_every_head_size(heads: int) -> None:
    """They are 4 cos, whatever the weights' size; the scores that softmax sees are these."""
    weights, shape = started("qk-norm", heads, 16 // heads)
    weights = {name: (9 * w if name.endswith((".W_q", ".W_k")) else w).detach()
               for name, w in weights.items()}  # fmt: skip
    tokens = torch.randint(256, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    for queries, keys in heads_of(weights, shape, tokens):
        logits = queries @ keys.transpose(2, 3) / (16 // heads) ** 0.5
        assert float(logits.abs().max()) <= TEMPERATURE * (1 + 1e-5)
        same = queries.norm(dim=-1) * keys.norm(dim=-1) / (16 // heads) ** 0.5
        assert torch.allclose(same, torch.tensor(TEMPERATURE))
    small = {name: w / 9 if name.endswith((".W_q", ".W_k")) else w for name, w in weights.items()}
    windows = torch.randint(256, (2, LENGTH + 1), generator=torch.Generator().manual_seed(1))
    first, second = (float(byte_loss(w, shape, windows)) for w in (weights, small))
    assert first == pytest.approx(second, rel=1e-5)
    plain = split_shapes("scaled", 16, heads, 16 // heads)[1]
    assert abs(float(byte_loss(weights, plain, windows)) - first) > 1e-3


def test_a_head_size_is_a_standard_model(tmp_path: Path) -> None:
    """The same batches, too: `scaled` is the language model, and others differ from it."""
    path = text(tmp_path / "text")
    told: dict[str, Any] = {"rate": 0.02, "weight_decay": 0.01, "steps": 2, "d": 16}
    told |= {"corpus": file_corpus(path).sha256, "text": str(path), "seed": 0}
    found = {(arm, heads, rank): head_size(arm, heads, rank=rank, **told)
             for arm, heads, rank in (*ARMS, ("rank-matched", 2, 3))}  # fmt: skip
    assert found["scaled", 4, None] == train(path)
    assert len({one["loss"] for one in found.values()}) == len(found)
    whole = found["scaled", 1, None]["parameters"]
    assert {key[0] for key, one in found.items() if one["parameters"] != whole} == {"rank"}
    assert head_size("qk-norm", 2, **told) == found["qk-norm", 2, None]


def test_arms_of_a_seed_see_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The units that `rank-matched` has more are drawn from a generator of their own."""
    states: list[Any] = []

    def learnt(weights: Any, shape: Any, source: Any, generator: Any, plan: Any) -> dict[str, Any]:
        states.append(generator.get_state())
        return {"weights": weights}

    monkeypatch.setattr(module, "_learnt", learnt)
    path = text(tmp_path / "text")
    told: dict[str, Any] = {"corpus": file_corpus(path).sha256, "text": str(path), "seed": 3}
    told |= {"rate": 0.02, "weight_decay": 0.01, "steps": 2, "d": 16}
    for arm, heads, rank in (*ARMS, ("rank-matched", 2, 3)):
        head_size(arm, heads, rank=rank, **told)
    assert len(states) == 5
    assert all(torch.equal(state, states[0]) for state in states)
