"""Audits of models in memory: the same numbers as from files, and the model is left alone."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from tests.auditing.tiny import TEXT, save

N = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "llama", "llama")


def loaded(folder: Path, kind: str = "AutoModel", **options: Any) -> tuple[Any, Any]:
    import transformers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, kind).from_pretrained(folder, **options)
        return model, transformers.AutoTokenizer.from_pretrained(folder)


def state(model: Any) -> Any:
    """What an audit might have changed."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return (
        {name: (id(t), t.data_ptr(), t.dtype, t.requires_grad) for name, t in tensors.items()},
        {name: module.training for name, module in model.named_modules()},
        [len(module._forward_hooks) for module in model.modules()],
        model.config.to_dict(),
        model.config._attn_implementation,
    )


def test_dtypes_of_numpy_and_torch_are_taken(folder: Path) -> None:
    import torch

    for dtype in ("torch.float64", torch.float64, np.float64, np.dtype("f8")):
        assert rb.audit(folder, TEXT, N, [0], dtype=dtype).model.compute_dtype == "float64"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_a_model_in_memory_is_that_of_its_files(dtype: str, stored: str, tmp_path: Path) -> None:
    import torch

    folder = save(tmp_path / "m", "llama", dtype=stored)
    model, tokenizer = loaded(folder, dtype=getattr(torch, stored), attn_implementation="sdpa")
    model.train()
    model.layers[0].eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its name changes with the version
        model.gradient_checkpointing_enable()
    before = state(model)
    audit = rb.audit(model, TEXT, N, tokenizer=tokenizer, dtype=dtype)
    assert state(model) == before
    from_files = rb.audit(folder, TEXT, N, dtype=dtype)
    assert audit.model == from_files.model
    assert audit.text == from_files.text
    for ours, theirs in zip(audit.heads, from_files.heads, strict=True):
        assert ours.module == theirs.module
        np.testing.assert_array_equal(ours.measures.centred_values, theirs.measures.centred_values)


def test_gradients_and_ties_are_left_alone(folder: Path) -> None:
    model, tokenizer = loaded(folder, "AutoModelForCausalLM")
    model.tie_weights()
    model.lm_head.weight.sum().backward()
    gradient = model.lm_head.weight.grad
    audit = rb.audit(model, TEXT, N, tokenizer=tokenizer)
    assert model.lm_head.weight.grad is gradient
    assert audit.heads[0].module == "model.layers.0.self_attn"
    assert audit.model.parameters == sum(p.numel() for p in model.parameters())


def test_hooks_belong_to_the_model(folder: Path) -> None:
    """One that doubles the queries of a layer doubles the logits that are audited."""
    model, tokenizer = loaded(folder)
    usual = rb.audit(model, TEXT, N, tokenizer=tokenizer, dtype="float64")
    model.layers[0].self_attn.q_proj.register_forward_hook(lambda _, __, output: 2 * output)
    doubled = rb.audit(model, TEXT, N, tokenizer=tokenizer, dtype="float64")
    for before, after in zip(usual.heads[:4], doubled.heads[:4], strict=True):
        np.testing.assert_allclose(
            after.measures.centred_values, 2 * before.measures.centred_values, rtol=1e-9
        )


def test_what_is_refused(folder: Path) -> None:
    import torch

    model, tokenizer = loaded(folder)
    with pytest.raises(rb.InputTypeError, match="tokenizer is None; expected that of the loaded"):
        rb.audit(model, TEXT)
    with pytest.raises(rb.InputError, match="tokenizer is taken with a loaded model"):
        rb.audit(folder, TEXT, tokenizer=tokenizer)
    with pytest.raises(rb.InputTypeError, match=r"model is a Linear; .* loaded PreTrainedModel"):
        rb.audit(torch.nn.Linear(2, 2), TEXT, tokenizer=tokenizer)
    with pytest.raises(rb.InputError, match="dtype is 'float16'"):
        rb.audit(model, TEXT, tokenizer=tokenizer, dtype="float16")
    for bad in (None, torch.float16, np.int64, np.ones(2)):
        with pytest.raises(rb.InputError, match=r"dtype is .*; expected one of float32, float64"):
            rb.audit(model, TEXT, tokenizer=tokenizer, dtype=bad)
    with pytest.raises(rb.InputError, match="on the meta device"):
        rb.audit(model.to("meta"), TEXT, tokenizer=tokenizer)


def test_quantised_weights_are_known_by_what_they_are(tmp_path: Path) -> None:
    """Integers, or tensors of a class of their own that claim a dtype of floats; no flag counts."""
    import torch

    Packed = type("Packed", (torch.Tensor,), {})

    def integers(weight: Any) -> Any:
        return weight.to(torch.int8)

    def packed(weight: Any) -> Any:
        return weight.as_subclass(Packed)

    model, tokenizer = loaded(save(tmp_path / "m", "bert"))
    model.is_quantized = True  # as of a .gguf file, whose weights are floats when it is loaded
    assert len(rb.audit(model, TEXT, N, tokenizer=tokenizer).heads) > 0
    for kind in (integers, packed):
        quantised, _ = loaded(tmp_path / "m")
        for module in quantised.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, kind(weight.detach()))
        with pytest.raises(rb.InputError, match="quantised weights; expected plain floats"):
            rb.audit(quantised, TEXT, tokenizer=tokenizer)


def test_an_encoder_of_a_model_in_memory(tmp_path: Path) -> None:
    model, tokenizer = loaded(save(tmp_path / "m", "bart"))
    audit = rb.audit(model.get_encoder(), TEXT, N, tokenizer=tokenizer)
    assert audit.to_frame().layer.tolist() == [0] * 4 + [1] * 4
