"""What an audit refuses: models it does not understand, and layers that are not what they seem."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb
from tests.auditing.tiny import CONFIGS, TEXT, save


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "llama", "llama")


def refused(model: Path, message: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(rb.InputError, match=message):
        rb.audit(model, *(arguments or (TEXT, 40)), **options)


def test_an_encoder_decoder(tmp_path: Path) -> None:
    refused(save(tmp_path / "t5", "t5"), "encoder–decoder")


def test_a_position_bias() -> None:
    """T5's encoder alone, whose relative bias table is passed to its attention.

    In older transformers, 5.10 say, its attention cannot be observed at all: refused too.
    """
    import torch
    import transformers

    from rankbound.auditing.capture import recording
    from rankbound.auditing.models import LoadedModel, ModelFacts, run

    torch.manual_seed(0)
    config = transformers.T5Config(**CONFIGS["t5"][1])
    model = transformers.T5EncoderModel(config).eval()
    facts = ModelFacts(
        "t5", "T5EncoderModel", "t5", 0, 0, "float32", "float32", False, None, 2.0**-23, 2.0**-23
    )
    loaded = LoadedModel(model, None, facts)
    with (
        pytest.raises(
            rb.InputError,
            match=r"layer 0 \(.*SelfAttention\): .*passes position_bias|"
            "T5EncoderModel does not compute attention through",
        ),
        recording(loaded, lambda _: None, {("encoder.block.0.layer.0.SelfAttention", 0): 0}),
    ):
        run(loaded, [1, 5, 6, 7])


def test_a_learned_sink(tmp_path: Path) -> None:
    refused(
        save(tmp_path / "gpt_oss", "gpt_oss"),
        r"layer 0 \(layers.0.self_attn\): attention with learned sinks",
    )


def test_a_model_without_attention(tmp_path: Path) -> None:
    refused(save(tmp_path / "mamba", "mamba"), "shows no attention weights, also|cannot load")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mpnet", "2 of 2 attention layers .* do not compute attention through transformers'"),
        ("xlnet", r"returns attention weights of shape \(1, 4, 40, 40\), but no layer returns its"),
        ("vit", r"ViTModel takes images \(pixel_values\); expected a model that takes the tokens"),
        ("wav2vec2", r"Wav2Vec2Model takes audio \(input_values\)"),
    ],
)
def test_the_true_reason_is_told(name: str, message: str, tmp_path: Path) -> None:
    refused(save(tmp_path / "m", name), message)


def test_a_model_whose_forward_takes_no_tokens(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaModel

    def forward(self: Any, hidden_states: Any, grid_thw: Any, **options: Any) -> None:
        raise AssertionError("run")

    monkeypatch.setattr(LlamaModel, "forward", forward)
    refused(llama, r"LlamaModel takes another input \(hidden_states and grid_thw\); expected a")


def test_what_else_a_model_takes_that_does_not_run(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaModel

    def forward(self: Any, input_ids: Any, bbox: Any = None, pixel_values: Any = None) -> None:
        raise ValueError("where are the boxes?")

    monkeypatch.setattr(LlamaModel, "forward", forward)
    message = r"does not run on 40 tokens of text alone \(it also takes bbox, pixel_values\): Value"
    refused(llama, message)


def test_an_encoder_that_was_saved_alone(tmp_path: Path) -> None:
    """As the refusal of an encoder–decoder advises: BART's is audited, T5's bias told."""
    frame = rb.audit(save(tmp_path / "bart", "bart", encoder=True), TEXT, 40).to_frame()
    assert frame.layer.tolist() == [0] * 4 + [1] * 4
    refused(save(tmp_path / "t5", "t5", encoder=True), "passes position_bias|through transformers'")
    config = json.loads((tmp_path / "bart" / "config.json").read_text())
    for named in ("BartModel", "NoSuchEncoder", "BartEncoder, BartDecoder"):
        changed = config | {"architectures": named.split(", "), "is_encoder_decoder": True}
        (tmp_path / "bart" / "config.json").write_text(json.dumps(changed))
        refused(tmp_path / "bart", "bart is an encoder–decoder; .*Save its encoder alone")


def test_positions_that_are_counted_from_padding(tmp_path: Path) -> None:
    """RoBERTa's first position is row 4 of 46, after that of padding."""
    folder = save(tmp_path / "m", "roberta")
    refused(folder, "length is 43; expected at most 42, the positions", TEXT, 43)
    assert rb.audit(folder, TEXT).text.length == 42


def test_experts_run_in_float64(tmp_path: Path) -> None:
    audit = rb.audit(save(tmp_path / "m", "mixtral"), TEXT, 40, dtype="float64")
    assert len(audit.heads) == 8


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    refused(save(tmp_path / "m", "llama", vocab_size=50), "gives token 6., .* embeds 50 tokens")


def test_pruned_heads(llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llama, tmp_path / "m"))
    config = json.loads((folder / "config.json").read_text()) | {"pruned_heads": {"0": [1]}}
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, r"prunes heads \(pruned_heads\)")


def test_what_does_not_fit(llama: Path) -> None:
    refused(llama, "the text is empty", " ")
    refused(llama, "expected at least the length of 90", "w1 w2 w3 " * 10, 90)
    refused(llama, "expected at most 96, the positions", TEXT, 97)
    refused(
        llama,
        r"layers holds 2; expected numbers of the 2 attention layers of llama, 0, 1\.",
        layers=[0, 2],
    )
    refused(llama, "layers is empty", layers=[])
    refused(llama, "head_sizes is -1", head_sizes=[-1])
    refused(llama, "dtype is 'float16'", dtype="float16")
    word: Any = "0"
    with pytest.raises(rb.InputTypeError, match="layers is '0'"):
        rb.audit(llama, TEXT, layers=word)


def test_missing_weights_are_not_drawn_at_random(llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(llama, tmp_path / "m"))
    weights = load_file(folder / "model.safetensors")
    del weights["layers.1.self_attn.q_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, r"hold no layers\.1\.self_attn\.q_proj\.weight \(1 weights")


def changed_weight(llama: Path, folder: Path, change: Callable[[Any], Any]) -> Path:
    """A copy whose layer 1 has another query projection."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(llama, folder)
    weights = load_file(folder / "model.safetensors")
    name = "layers.1.self_attn.q_proj.weight"
    weights[name] = change(weights[name])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("entry", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(entry: float, llama: Path, tmp_path: Path) -> None:
    def damaged(weight: Any) -> Any:
        weight[0, 0] = entry
        return weight

    folder = changed_weight(llama, tmp_path / "m", damaged)
    refused(folder, r"layer 1 \(layers\.1\.self_attn\): its queries or keys hold inf or nan")


def test_weights_of_other_shapes(llama: Path, tmp_path: Path) -> None:
    folder = changed_weight(llama, tmp_path / "m", lambda weight: weight[:-1].clone())
    refused(folder, "cannot load its model: .*shapes of the weights are not those of config.json")


def test_remote_code_is_not_run(llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llama, tmp_path / "m"))
    config = json.loads((folder / "config.json").read_text()) | {
        "model_type": "custom",
        "auto_map": {"AutoConfig": "code.Custom", "AutoModel": "code.Custom"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('run')")
    refused(folder, "cannot load its config")


def test_an_unknown_architecture_and_a_missing_tokenizer(llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llama, tmp_path / "m"))
    for file in folder.glob("token*"):
        file.unlink()
    refused(folder, "cannot load its tokenizer")
    (folder / "config.json").write_text('{"model_type": "nonsense"}')
    refused(folder, "cannot load its config")


def replace_attention(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Any, dict[str, Any]], dict[str, Any]]
) -> None:
    """Let Llama's own attention do something to its logits that nobody is told of."""
    from transformers.models.llama import modeling_llama

    eager = modeling_llama.eager_attention_forward

    def changed(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        return eager(module, query, key, value, mask, **change(module, options))

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", changed)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_layer_with_an_untold_scale_is_named(
    layer: int, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rescaled(module: Any, options: dict[str, Any]) -> dict[str, Any]:
        factor = 1.001 if module.layer_idx == layer else 1.0
        return options | {"scaling": options["scaling"] * factor}

    replace_attention(monkeypatch, rescaled)
    refused(llama, rf"layer {layer} \(layers\.{layer}\.self_attn\), head .*nothing is reported")


def test_a_model_that_acts_otherwise_when_observed_is_found_out(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_faced(module: Any, options: dict[str, Any]) -> dict[str, Any]:
        observed = module.config._attn_implementation == "rankbound"
        return options | {"scaling": options["scaling"] * (1.0 if observed else 1.01)}

    replace_attention(monkeypatch, two_faced)
    refused(llama, r"layer 0 .*nothing is reported")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"relative_bias": 0.5}, "passes relative_bias"),
        ({"dropout": 0.1}, "attention with dropout"),
        ({"scaling": "many"}, "scaling is no number"),
        ({"softcap": [1.0]}, "softcap is no number"),
    ],
)
def test_an_argument_that_is_not_understood_is_named(extra: dict[str, Any], message: str) -> None:
    from rankbound.auditing.capture import _check_options, _number

    with pytest.raises(rb.InputError, match=f"layer 4: .*{message}"):
        _check_options("layer 4", object(), extra)
        for name, value in extra.items():
            _number("layer 4", name, value)


def test_sinks_that_are_not_passed_are_seen_in_the_module() -> None:
    from types import SimpleNamespace

    from rankbound.auditing.capture import _check_options

    with pytest.raises(rb.InputError, match="attention with learned sinks"):
        _check_options("layer 4", SimpleNamespace(sinks=[1.0]), {})
    _check_options("layer 4", SimpleNamespace(sinks=None), {"output_gates": False})


@pytest.mark.parametrize(
    ("query", "key", "message"),
    [
        ((1, 4, 6, 8), (1, 4, 5, 8), "queries of 6 tokens attend to keys of 5"),
        ((2, 4, 6, 8), (2, 4, 6, 8), "one sequence"),
        ((1, 4, 6, 8), (1, 3, 6, 8), "a multiple of the number of key/value heads"),
        ((1, 4, 6, 8), (1, 1, 6, 8), "groups that agree"),
    ],
)
def test_shapes_that_are_no_self_attention(query: Any, key: Any, message: str) -> None:
    from types import SimpleNamespace

    import torch

    from rankbound.auditing.capture import _check_shapes

    with pytest.raises(rb.InputError, match=message):
        _check_shapes(
            "layer 4", SimpleNamespace(num_key_value_groups=2), torch.ones(query), torch.ones(key)
        )


def test_a_scale_that_is_not_given_is_the_usual_one() -> None:
    import torch

    from rankbound.auditing.capture import _read

    factor = torch.ones(1, 2, 5, 16)
    captured = _read(0, ("h.0", 0), object(), (factor, factor, None), factor, {})
    assert [head.scale for head in captured.heads] == [0.25, 0.25]
    assert captured.heads[0].W_q.shape == (16, 5)


def test_masks_that_are_not_understood() -> None:
    import torch

    from rankbound.auditing.capture import _visible

    hidden = torch.finfo(torch.float32).min
    causal = torch.triu(torch.full((4, 4), hidden), diagonal=1)[None, None]
    mask = _visible("layer 4", causal, 4)
    assert mask is not None
    assert (mask == rb.causal_mask(4)).all()
    assert _visible("layer 4", torch.zeros(1, 1, 1, 4), 4) is None
    per_head = torch.cat([causal, torch.zeros_like(causal)], dim=1)
    blind = torch.full((1, 1, 4, 4), hidden)
    for bad, message in (
        (per_head, "different masks"),
        (causal + 0.5, "a position bias"),
        (torch.where(causal < 0, -3.0, 0.0), "a position bias"),
        (blind, "a query sees no key"),
        (causal == 0, "a mask of torch.bool"),
        (causal[0], "a mask of torch.float32"),
    ):
        with pytest.raises(rb.InputError, match=message):
            _visible("layer 4", bad, 4)


def test_without_torch_the_install_line_is_told(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(rb.BackendMissing, match=r'pip install "rankbound\[models\]"'):
        rb.audit(llama, TEXT, 40)
