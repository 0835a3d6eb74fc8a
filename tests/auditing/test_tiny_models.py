"""Audits of tiny models: every mechanism captured as the model computes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.auditing.capture import Captured, look, recording
from rankbound.auditing.columns import COLUMNS
from rankbound.auditing.models import find_model, load
from rankbound.auditing.running import run, text_inputs
from rankbound.cli.main import main
from rankbound.errors import Interrupted
from tests.auditing.tiny import TEXT, own_attention, save

NAMES = [column.name for column in COLUMNS]
N = 40
GROUPS = {"bert": 4, "gpt2": 4, "albert": 4, "llama": 2, "gemma2": 2, "mistral": 2, "qwen3": 1}
MASKS: dict[str, list[Any]] = {
    "bert": [None, None],
    "albert": [None, None],
    "gpt2": [rb.causal_mask(N)] * 2,
    "llama": [rb.causal_mask(N)] * 2,
    "qwen3": [rb.causal_mask(N)] * 2,
    "gemma2": [rb.sliding_mask(N, 16), rb.causal_mask(N)],
    "mistral": [rb.sliding_mask(N, 16)] * 2,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: save(root / name, name) for name in MASKS}


def captures(folder: Path, ids: list[int]) -> list[Captured]:
    loaded = load(find_model(folder), "float64")
    found: list[Captured] = []
    attention = look(loaded, text_inputs(loaded, ids))
    with recording(loaded, found.append, attention.numbers):
        run(loaded, ids)
    return found


@pytest.mark.parametrize("name", MASKS)
def test_captured_heads_have_the_contexts_that_transformers_returns(
    name: str, models: dict[str, Path]
) -> None:
    ids = [1, *(4 + (11 * i * i) % 60 for i in range(N - 2)), 2]
    own = own_attention(models[name], ids)
    found = captures(models[name], ids)
    assert [layer.layer for layer in found] == [0, 1]
    for layer, weights, mask in zip(found, own, MASKS[name], strict=True):
        assert layer.key_value_heads == GROUPS[name]
        for h, theirs in enumerate(weights):
            head = layer.heads[h]
            first = layer.heads[h * GROUPS[name] // 4 * (4 // GROUPS[name])]
            assert np.array_equal(head.W_k, first.W_k)  # heads of a group share their keys
            assert (head.mask is None) == (mask is None)
            assert head.mask is None or np.array_equal(head.mask, mask)
            assert head.mask is layer.heads[0].mask
            ours = head.context()
            # BERT and GPT-2 take the softmax in float64 too, the others in float32
            error = 1e-12 if name in ("bert", "gpt2", "albert") else 1e-5
            np.testing.assert_allclose(ours, theirs, atol=error)
            assert np.ptp(theirs) > 0.2  # attention with something to get wrong
    scales = {"gpt2": [8**-0.5, 8**-0.5 / 2], "gemma2": [13**-0.5] * 2}
    assert [layer.heads[0].scale for layer in found] == pytest.approx(
        scales.get(name, [8**-0.5] * 2)
    )
    assert found[0].heads[0].soft_cap == (4.0 if name == "gemma2" else None)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_audit_proves_itself_and_has_a_row_a_head(
    name: str, dtype: str, models: dict[str, Path]
) -> None:
    audit = rb.audit(models[name], TEXT, N, dtype=dtype)
    assert audit.complete
    assert 0 < audit.proof.ratio <= 1
    assert audit.proof.weights == 8 * N * (N + 32)
    assert audit.model.attention_layers == 2
    frame = audit.to_frame()
    assert list(frame.columns) == NAMES
    assert len(frame) == 8
    assert frame.key_value_head.tolist() == [h * GROUPS[name] // 4 for h in range(4)] * 2
    assert frame.masked.tolist() == [mask is not None for mask in MASKS[name] for _ in range(4)]
    assert set(frame.compute_dtype) == {dtype}
    assert set(frame.storage_dtype) == {"float32"}
    assert (frame.log_rank_lower <= frame.log_rank_upper).all()
    assert (frame.log_rank_upper <= frame.log_rank_bound).all()
    assert frame.generic_log_rank.isna().tolist() == (
        [mask is not None and not rb.is_nested(mask) for mask in MASKS[name] for _ in range(4)]
    )


def test_a_cap_breaks_the_bound_and_is_said(models: dict[str, Path]) -> None:
    frame = rb.audit(models["gemma2"], TEXT, N).to_frame()
    assert (frame.softcap == 4.0).all()
    assert (frame.log_rank_bound == N - 1).all()
    assert (frame.log_rank_upper > frame.head_size).any()


@pytest.mark.parametrize(
    ("dtype", "unit"), [("float16", 2.0**-10), ("bfloat16", 2.0**-7), ("float64", 2.0**-52)]
)
def test_thresholds_come_from_the_compute_dtype(dtype: str, unit: float, tmp_path: Path) -> None:
    audit = rb.audit(save(tmp_path / "m", "llama", dtype=dtype), TEXT, N)
    assert (audit.model.storage_dtype, audit.model.compute_dtype) == (dtype, "float32")
    assert (audit.model.unit, audit.model.storage_unit) == (2.0**-23, unit)
    finer = rb.audit(tmp_path / "m", TEXT, N, dtype="float64")
    assert (finer.model.unit, finer.model.storage_unit) == (2.0**-52, unit)
    for head in finer.heads:  # what the storage dtype would leave open
        at_storage, lower = head.measures.log_rank_at_storage, head.measures.log_rank_lower
        assert at_storage is not None
        assert (at_storage == lower) if unit == 2.0**-52 else (at_storage <= lower)
    np.testing.assert_allclose(
        audit.to_frame().log_effective_rank, finer.to_frame().log_effective_rank, rtol=1e-4
    )


def test_windows_and_layers_are_chosen(models: dict[str, Path]) -> None:
    steps: list[tuple[int, int, str]] = []
    audit = rb.audit(
        models["llama"],
        TEXT,
        N,
        layers=[1],
        windows=3,
        context_rank=False,
        kl=0.01,
        progress=lambda *step: steps.append(step),
    )
    frame = audit.to_frame()
    assert frame.window.tolist() == [w for w in range(3) for _ in range(4)]
    assert set(frame.layer) == {1}
    assert frame.context_effective_rank.isna().all()
    assert (frame.kl_size_lower <= frame.kl_size_upper).all()
    assert (frame.kl_size_upper <= frame.head_size).all()
    assert "size for KL" in str(audit.table())
    assert [step[:2] for step in steps] == [(1, 3), (2, 3), (3, 3)]
    assert "layers.1.self_attn" in steps[0][2]
    plain = rb.audit(models["llama"], TEXT, N, layers=[1])
    first = plain.to_frame()
    assert first.kl_size_upper.isna().all() and "size for KL" not in str(plain.table())
    np.testing.assert_allclose(frame.entropy[:4], first.entropy)
    assert not np.allclose(frame.entropy[:4], frame.entropy[4:8])


def test_the_record_is_json_with_the_spectra(models: dict[str, Path]) -> None:
    audit = rb.audit(models["gemma2"], TEXT, N, context_rank=False)
    data: dict[str, Any] = json.loads(audit.to_json())
    assert data["complete"] is True
    assert data["model"]["model_type"] == "gemma2"
    assert data["text"]["length"] == N
    assert data["versions"].keys() == {"Python", "rankbound", "numpy", "torch", "transformers"}
    head = data["heads"][0]
    assert set(NAMES) <= head.keys()
    assert head["context_effective_rank"] is None
    assert len(head["centred_values"]) == N  # capped: of the formed matrix
    np.testing.assert_allclose(head["logit_values"], audit.heads[0].measures.logit_values)


def test_transformers_is_left_as_it_was(models: dict[str, Path]) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    rb.audit(models["bert"], TEXT, N)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def interrupt_at(monkeypatch: pytest.MonkeyPatch, layer: int) -> None:
    from rankbound.measuring.head import measure_heads

    done: list[int] = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        done.append(1)
        for h, measured in enumerate(measure_heads(*arguments, **options)):
            if len(done) > layer and h == 2:  # in the midst of a layer
                raise KeyboardInterrupt
            yield measured

    monkeypatch.setattr("rankbound.auditing.audit.measure_heads", interrupted)


def test_an_interrupted_audit_keeps_what_is_finished(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(monkeypatch, 1)
    with pytest.raises(Interrupted) as caught:
        rb.audit(models["llama"], TEXT, N)
    assert not caught.value.done.complete
    assert [(head.layer, head.head) for head in caught.value.done.heads] == [
        (0, h) for h in range(4)
    ]


def text_file(tmp_path: Path) -> str:
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return str(file)


def test_the_command_prints_the_table_and_writes_the_record(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "audit.json"
    command = ["audit", str(models["qwen3"]), "--text", text_file(tmp_path), "--length", "40"]
    more = ["--windows", "2", "--head-sizes", "0,3", "--json", str(out)]
    assert main([*command, "--layers", "0-1", *more]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "Qwen3Model" in printed.out
    assert "own attention weights were reproduced" in printed.out
    assert "In 16 of 16 heads (2 windows, each counted) the log-rank is at its bound" in printed.out
    for size in (0, 3, 4):
        assert f"At head size {size} the KL divergence of heads refitted to this" in printed.out
    heads = json.loads(out.read_text())["heads"]
    assert len(heads) == 16
    assert all(list(head["kl_errors"]) == ["0", "2", "3", "4", "6"] for head in heads)


def test_the_interrupted_command_keeps_what_is_finished(
    models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupt_at(monkeypatch, 1)
    out = tmp_path / "audit.json"
    command = ["audit", str(models["llama"]), "--text", text_file(tmp_path), "--length", "40"]
    assert main([*command, "--json", str(out)]) == 130
    assert capsys.readouterr().err == "rankbound: interrupted\n"
    data = json.loads(out.read_text())
    assert data["complete"] is False
    assert len(data["heads"]) == 4
