"""Nothing is left out silently: every attention layer is audited, refused or named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb
from rankbound.auditing.capture import layer_numbers
from rankbound.cli.main import main
from rankbound.reporting import audit_summary
from tests.auditing.tiny import TEXT, save

N = 40


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "llama", "llama", num_hidden_layers=3)


def replace_layer(
    monkeypatch: pytest.MonkeyPatch, layer: int, change: Callable[[Any, Any], Any]
) -> None:
    """Let one of Llama's layers compute its attention by itself, and return what `change` gives."""
    from transformers.models.llama import modeling_llama

    forward = modeling_llama.LlamaAttention.forward

    def own(module: Any, *arguments: Any, **options: Any) -> Any:
        if module.layer_idx != layer:
            return forward(module, *arguments, **options)
        told = module.config._attn_implementation_internal
        module.config._attn_implementation_internal = "eager"
        try:
            return change(*forward(module, *arguments, **options))
        finally:
            module.config._attn_implementation_internal = told

    monkeypatch.setattr(modeling_llama.LlamaAttention, "forward", own)


def test_a_layer_outside_the_interface_is_audited(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = rb.audit(llama, TEXT, N)
    replace_layer(monkeypatch, 1, lambda output, weights: (output, weights))
    found = rb.audit(llama, TEXT, N)
    assert found.to_frame().equals(usual.to_frame())
    assert found.proof == usual.proof


def test_a_layer_that_does_not_return_its_weights_is_audited_too(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = rb.audit(llama, TEXT, N)
    replace_layer(monkeypatch, 1, lambda output, weights: (output, None))
    found = rb.audit(llama, TEXT, N)
    assert found.to_frame().equals(usual.to_frame())
    assert usual.proof.weights - found.proof.weights == 4 * N * 32  # compared with its own only


def without_softmax(monkeypatch: pytest.MonkeyPatch, layer: int) -> None:
    """Let one of Llama's layers attend without a softmax."""
    from transformers.models.llama import modeling_llama

    eager = modeling_llama.eager_attention_forward

    def linear(module: Any, query: Any, key: Any, value: Any, *mask: Any, **options: Any) -> Any:
        if module.layer_idx != layer:
            return eager(module, query, key, value, *mask, **options)
        keys, values = (
            modeling_llama.repeat_kv(part, module.num_key_value_groups) for part in (key, value)
        )
        return (query @ (keys.transpose(2, 3) @ values)).transpose(1, 2).contiguous(), None

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", linear)


def test_a_layer_without_weights_is_named_and_the_others_keep_their_numbers(
    llama: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_softmax(monkeypatch, 1)
    audit = rb.audit(llama, TEXT, N)
    assert audit.to_frame().layer.tolist() == [0] * 4 + [2] * 4
    assert audit.model.attention_layers == 2
    beside = "layers.*.self_attn (LlamaAttention), which computes no weights by a softmax"
    assert audit.model.not_audited == (beside,)
    assert json.loads(audit.to_json())["model"]["not_audited"] == [beside]
    assert audit.table().caption == f"Not audited: {beside}."
    assert f"Not audited: {beside}." in audit_summary(audit)
    audit.to_html(tmp_path / "page.html")
    assert f"<dt>Not audited</dt><dd>{beside}</dd>" in (tmp_path / "page.html").read_text("utf-8")
    with pytest.raises(
        rb.InputError, match=r"layers holds 1; .* 2 attention layers of llama, 0, 2"
    ):
        rb.audit(llama, TEXT, N, layers=[1])
    assert not rb.audit(llama, TEXT, N, layers=[2]).to_frame().empty


def test_weights_that_nobody_observed_are_refused(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer that returns weights which no softmax gave is not silently another's."""

    def uniform(output: Any, weights: Any) -> Any:
        return output, weights * 0 + 1 / weights.shape[-1]

    replace_layer(monkeypatch, 1, uniform)
    with pytest.raises(
        rb.InputError,
        match=r"returns 1 matrices .* \(4, 40\) that are not those of an observed softmax",
    ):
        rb.audit(llama, TEXT, N)


def test_a_model_of_its_own_attention_is_audited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """GIT's text model returns its weights and does not ask transformers for an attention."""
    folder, text = save(tmp_path / "git", "git"), tmp_path / "text.txt"
    text.write_text(TEXT)
    assert main(["audit", str(folder), "--text", str(text), "--length", "40"]) == 0
    assert "In 8 of 8 heads" in capsys.readouterr().out


def test_what_does_not_run_on_text_is_named(tmp_path: Path) -> None:
    """LLaVA: a Llama whose vision tower has nothing to see."""
    audit = rb.audit(save(tmp_path / "m", "llava"), TEXT, N)
    assert audit.to_frame().layer.tolist() == [0] * 4 + [1] * 4
    [beside] = audit.model.not_audited
    assert beside.startswith("2 of vision_tower.")
    assert beside.endswith("self_attn (CLIPAttention), which does not run on this input")


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["layers.4.self_attn", "layers.8.self_attn"], [4, 8]),
        (["layers.4.self_attn"], [4]),
        (["blocks.0.0.attn", "blocks.0.1.attn", "blocks.1.0.attn"], [0, 1, 2]),
        (["group2.attn", "layer.7.attn"], [0, 1]),
    ],
)
def test_layers_keep_the_numbers_of_the_model(names: list[str], numbers: list[int]) -> None:
    assert list(layer_numbers([(name, 0) for name in names]).values()) == numbers
    twice = [(name, turn) for turn in range(2) for name in names]
    assert list(layer_numbers(twice).values()) == list(range(2 * len(names)))


def test_attention_within_attention_is_named_once() -> None:
    from types import SimpleNamespace

    from torch import nn

    from rankbound.auditing.capture import not_audited

    def block() -> Any:
        inner = nn.ModuleDict({"attention": nn.Linear(2, 2), "attn_dropout": nn.Dropout()})
        return nn.ModuleDict({"attention": inner, "mlp": nn.Linear(2, 2)})

    model = nn.ModuleDict({"text": nn.ModuleList([block(), block()]), "image": block()})
    model["empty_attn"] = nn.Dropout()  # without weights
    loaded: Any = SimpleNamespace(model=model)
    calls = [("text.0.attention", 0), ("text.1.attention", 0)]
    expected = "image.attention (ModuleDict), which does not run on this input"
    assert not_audited(loaded, calls, set()) == (expected,)
    ran = {"text.1.attention"}
    named = "text.*.attention (ModuleDict), which computes no weights by a softmax"
    assert not_audited(loaded, calls[:1], ran) == (named, expected)
    named = "text.*.attention (ModuleDict), whose softmax gives no weights to values"
    why = {"text.1.attention": "whose softmax gives no weights to values"}
    assert not_audited(loaded, calls[:1], ran, why) == (named, expected)
