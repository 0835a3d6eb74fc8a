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
from tests.auditing.tiny import TEXT, save


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "llama", "llama")


def refused(model: Path, message: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(rb.InputError, match=message):
        rb.audit(model, *(arguments or (TEXT, 40)), **options)


def test_a_model_without_attention(tmp_path: Path) -> None:
    refused(save(tmp_path / "mamba", "mamba"), "computes no attention|cannot load")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "vit",
            r"takes images \(pixel_values\), not .* of a text; .*model, inputs={'pixel_values'",
        ),
        (
            "wav2vec2",
            r"takes audio \(input_values\), not .*model, inputs={'input_values': …}",
        ),
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
    refused(llama, r"LlamaModel takes another input \(hidden_states and grid_thw\), not the tokens")


def test_what_else_a_model_takes_that_does_not_run(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaModel

    def forward(self: Any, input_ids: Any, bbox: Any = None, pixel_values: Any = None) -> None:
        raise ValueError("where are the boxes?")

    monkeypatch.setattr(LlamaModel, "forward", forward)
    message = (
        r"on 40 tokens of text alone; it also takes bbox, pixel_values, given by rb.audit.*: V"
    )
    refused(llama, message)


def test_an_encoder_that_was_saved_alone(tmp_path: Path) -> None:
    for name, heads in (("bart", 8), ("t5", 8)):
        frame = rb.audit(save(tmp_path / name, name, encoder=True), TEXT, 40).to_frame()
        assert len(frame) == heads
        assert frame.biased.all() == (name == "t5")


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


def test_a_model_that_acts_otherwise_when_it_runs_again_is_found_out(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama import modeling_llama

    eager, runs = modeling_llama.eager_attention_forward, []

    def two_faced(module: Any, *tensors: Any, **options: Any) -> Any:
        runs.append(1)
        options["scaling"] *= 1.0 if len(runs) < 3 else 1.01
        return eager(module, *tensors, **options)

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", two_faced)
    refused(llama, "LlamaModel gives another output when it runs again")


def test_a_layer_that_runs_only_once_is_found_out(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rankbound.auditing import capture

    look = capture.look

    def longer(*given: Any) -> Any:
        found = look(*given)
        found.numbers["layers.7.self_attn", 0] = 7
        return found

    monkeypatch.setattr(capture, "look", longer)
    refused(llama, r"1 of 3 attention layers of LlamaModel \(layers\.7\.self_attn\) did not run")


def test_without_torch_the_install_line_is_told(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(rb.BackendMissing, match=r'pip install "rankbound\[models\]"'):
        rb.audit(llama, TEXT, 40)
