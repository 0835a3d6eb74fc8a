"""A sample of ``make audit-coverage``, and that it finds a false success."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import audit_coverage
from audit_coverage import LENGTH, TARGET, TEXT, Outcome, as_markdown, covered, difference

SAMPLE = {
    "bert": ("works", "2 layers, 8 heads"),
    "gpt2": ("works", "2 layers, 8 heads"),
    "llama": ("works", "2 layers, 8 heads"),
    "mixtral": ("works", "2 layers, 8 heads"),
    "roberta": ("works", "2 layers, 8 heads"),
    "git": ("refused", "attention outside transformers' interface"),
    "mpnet": ("refused", "attention outside transformers' interface"),
    "mamba": ("refused", "shows no attention weights"),
    "t5": ("refused", "an encoder–decoder"),
    "vit": ("refused", "takes images, not the tokens of a text"),
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
        (without_a_head, "7 heads, where the model returns 8"),
        (lambda audit: replace(audit, heads=()), "0 heads, where the model returns 8"),
        (changed("entropy", 1.01), "head 3: entropy"),
        (changed("sink_mass", 1.01), "head 3: sink_mass"),
        (changed("context_effective_rank", 1.01), "head 3: context_effective_rank"),
        (changed("centred_values", 1.01), "head 3: centred_values"),
    ],
)
def test_a_false_success_is_found(change: Callable[[rb.Audit], rb.Audit], said: str) -> None:
    model: Any = audit_coverage.tiny_model("bert")
    words = audit_coverage.tokenizer()
    audit = rb.audit(model, TEXT, LENGTH, tokenizer=words, dtype="float64")
    assert difference(model, audit) == ""
    assert said in difference(model, change(audit))


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
