"""A sample of ``make audit-coverage``, and that it finds a false success."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.measuring.head import layer_heads, measure_heads

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import audit_coverage
from audit_coverage import LENGTH, TARGET, TEXT, Outcome, as_markdown, covered, difference

SAMPLE = {
    "bert": ("works", "2 layers, 8 heads"),
    "gpt2": ("works", "2 layers, 8 heads"),
    "llama": ("works", "2 layers, 8 heads"),
    "mixtral": ("works", "2 layers, 8 heads"),
    "roberta": ("works", "2 layers, 8 heads"),
    "mpnet": ("works", "2 layers, 8 heads"),
    "bloom": ("works", "2 layers, 8 heads"),
    "t5": ("works", "6 layers, 24 heads"),
    "gpt_oss": ("works", "2 layers, 8 heads"),
    "vit": ("works", "2 layers, 8 heads on pixel_values"),
    "clip": ("works", "4 layers, 16 heads on input_ids, pixel_values"),
    "mamba": ("refused", "computes no attention"),
}


@pytest.mark.parametrize("model_type", SAMPLE)
def test_what_comes_of_a_type(model_type: str) -> None:
    found = covered(model_type)
    assert (found.result, found.detail) == SAMPLE[model_type]


def without_a_head(audit: rb.Audit) -> rb.Audit:
    return replace(audit, heads=audit.heads[1:])


def changed(name: str, by: float) -> Callable[[rb.Audit], rb.Audit]:
    def change(audit: rb.Audit) -> rb.Audit:
        last = audit.heads[-1]
        value = getattr(last.measures, name) * by
        wrong = replace(last, measures=replace(last.measures, **{name: value}))
        return replace(audit, heads=(*audit.heads[:-1], wrong))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_a_head, "1 of the matrices that the model returns are no head"),
        (lambda audit: replace(audit, heads=()), "8 of the matrices"),
        (changed("entropy", 1.01), "head 3: entropy"),
        (changed("sink_mass", 1.01), "head 3: sink_mass"),
        (changed("context_effective_rank", 1.01), "head 3: context_effective_rank"),
        (changed("centred_values", 1.01), "head 3: centred_values"),
        (changed("log_effective_rank", 1.01), "head 3: log_effective_rank"),
        (changed("log_stable_rank", 1.01), "head 3: log_stable_rank"),
        (changed("aitchison_error_half", 1.01), "head 3: aitchison_error_half"),
        (changed("keys", 2), "head 3: shape"),
    ],
)
def test_a_false_success_is_found(change: Callable[[rb.Audit], rb.Audit], said: str) -> None:
    model: Any = audit_coverage.tiny_model("bert")
    given = {"text": TEXT, "length": LENGTH, "tokenizer": audit_coverage.tokenizer()}
    audit = rb.audit(model, **given, dtype="float64")
    assert difference(model, audit, given) == ("", "")
    assert said in difference(model, change(audit), given)[0]


@pytest.mark.parametrize("masked", [False, True])
def test_rounding_and_a_misread_head_are_orders_of_magnitude_apart(masked: bool) -> None:
    """Of what is allowed rounding takes less than a tenth, a wrong scale ten times as much."""
    rng = np.random.default_rng(0)
    q, keys = 2 * rng.standard_normal((2, 8, LENGTH))
    mask = rb.causal_mask(LENGTH) if masked else None
    [head] = layer_heads(q[None], keys[None], scale=8**-0.5, mask=mask)
    [measures] = measure_heads([head])
    L = head.logits() if mask is None else np.where(mask, head.logits(), -np.inf)
    L = L.astype(np.float32)
    P = np.exp(L - L.max(axis=0))
    rounded = (P / P.sum(axis=0)).astype(np.float64)
    assert 0 < max(ratio for _, ratio in audit_coverage.ratios(measures, rounded)) < 0.1
    for wrong in (1.1, 0.9):
        misread = rb.column_softmax(wrong * head.logits(), mask=mask)
        assert max(ratio for _, ratio in audit_coverage.ratios(measures, misread)) > 10


def test_heads_whose_weights_the_model_does_not_return() -> None:
    """The pooling of SigLIP is torch's own layer; a wrong head of it is found too."""
    model: Any = audit_coverage.tiny_model("siglip")
    given = audit_coverage.given_to(audit_coverage.run_on(model)[0] or {})
    audit = rb.audit(model, **given, dtype="float64")
    told = ", 4 compared with softmaxes of its run"
    assert difference(model, audit, given) == ("", told)
    [first] = [h for h in audit.heads if "vision_model.head" in h.module and h.head == 0]
    wrong = replace(first, measures=replace(first.measures, entropy=1.1 * first.measures.entropy))
    heads = tuple(wrong if head is first else head for head in audit.heads)
    assert "entropy" in difference(model, replace(audit, heads=heads), given)[0]


def test_the_page_counts_its_rows() -> None:
    page = TARGET.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.*?)` \| (.*?) \| (.*) \|$", page, flags=re.MULTILINE)
    counted = dict(
        re.findall(r"^\| (works|refused|not built|false success) \| (\d+) \|$", page, re.M)
    )
    results = Counter(result for _, result, _ in rows)
    assert {name: int(many) for name, many in counted.items()} == {
        name: results[name] for name in ("works", "refused", "not built", "false success")
    }
    assert results["false success"] == 0
    for name, result, detail in rows:
        assert SAMPLE.get(name, (result, detail)) == (result, detail)
    assert "| `x` | refused | a\\|b |" in as_markdown([Outcome("x", "refused", "a|b")])
