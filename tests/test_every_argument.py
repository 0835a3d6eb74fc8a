"""Each argument of each public function: refused by its name; a batch only where it is taken."""

from __future__ import annotations

import itertools
import re
import warnings
from functools import partial
from random import Random
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.attention import variants
from rankbound.errors import RankboundError
from tests.helpers import script

fuzz_surface = script("fuzz_surface")
TARGETS = {
    target.name: target
    for target in (fuzz_surface._target(*one) for one in fuzz_surface.public_functions())
    if target.name not in ("audit", "measure_loss", "narrow")  # of a model that is not there
}
L, COLUMNS = np.ones((3, 3)), np.ones((2, 3))
# what fuzz_surface leaves out: the variants of attention, and a law of its own sizes
OTHERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "append_ones": (variants.append_ones, {"X": COLUMNS}),
    "biased_head": (
        variants.biased_head,
        {"head": rb.random_head(3, 2, seed=0), "query_bias": [1, 2], "key_bias": [1, 2]},
    ),
    "rotate": (
        variants.rotate,
        {"columns": COLUMNS, "cos": [[1.0] * 3], "sin": [[0.0] * 3], "pairing": "half"},
    ),
    "rope": (
        variants.rope,
        {"columns": COLUMNS, "positions": [0, 1, 2], "base": 10.0, "pairing": "half"},
    ),
    "qk_norm": (variants.qk_norm, {"columns": COLUMNS, "gain": 2.0, "norm": "l2"}),
    "grouped_logits": (
        variants.grouped_logits,
        {"keys": COLUMNS, "queries": [COLUMNS], "scale": 1.0},
    ),
    "apply_temperature": (variants.apply_temperature, {"L": L, "temperature": 2.0}),
    "alibi_bias": (variants.alibi_bias, {"n": 3, "slope": 1.0, "bidirectional": True}),
    "relative_bias": (variants.relative_bias, {"table": [1.0, 2.0, 3.0]}),
    "soft_cap": (variants.soft_cap, {"L": L, "cap": 5.0}),
    "talking_heads": (variants.talking_heads, {"logits": [L, L], "mix": np.ones((1, 2))}),
    "random_context(hadamard)": (
        partial(rb.random_context, n=4, seed=0, law="hadamard"),
        {"epsilon": 0.5},
    ),
}
WRONG = {
    "an object": object(),
    "complex": 1j,
    "negative": -1.5,
    "ragged": [[1, "x"]],
    "nan": float("nan"),
    "bytes": b"no",
    "empty": np.zeros((2, 0)),
}
# what takes several matrices at once: the shapes (…, n, n) of the documentation
BATCHES = {
    ("Context", "P"),
    ("Context", "logits"),
    ("aitchison_error", "P"),
    ("aitchison_error", "logits"),
    ("certified_rank", "A"),
    ("column_softmax", "L"),
    ("effective_rank", "A"),
    ("kl_lower_bound", "P"),
    ("least_head_size", "P"),
    ("least_head_size", "logits"),
    ("log_rank", "P"),
    ("log_rank", "logits"),
    ("numerical_rank", "A"),
    ("spectrum", "A"),
    ("stable_rank", "A"),
    ("AttentionHead.queries", "X"),
    ("AttentionHead.keys", "X"),
    ("AttentionHead.logits", "X"),
    ("AttentionHead.context", "X"),
    ("AttentionHead.output", "X"),
    ("MultiHead.output", "X"),
    ("theory.approximation.entrywise_lower_bound", "P"),
}


def good(name: str, parameter: str) -> dict[str, Any]:
    """What the function needs, and this argument."""
    target, draw = TARGETS[name], Random(0)
    given = {one: target.table[one][1](draw) for one in (*target.required, parameter)}
    if "P" in target.table and not {"P", "logits", "head"} & set(given):
        given["P"] = target.table["P"][1](draw)
    return given


def refusal(name: str, given: dict[str, Any]) -> str:
    """The message, or nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            TARGETS[name].run(given)
        except RankboundError as error:
            return str(error)
    return ""


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", TARGETS)
def test_a_refusal_begins_with_the_name_of_the_argument(name: str, wrong: str) -> None:
    """Or of the function, where it is one of the words of a list that is unknown."""
    for parameter in TARGETS[name].table:
        said = refusal(name, {**good(name, parameter), parameter: WRONG[wrong]})
        if said and not said.startswith(f"{name.rpartition('.')[2]}: no kind "):
            assert re.match(rf"{parameter}\b", said), said


@pytest.mark.parametrize("name", OTHERS)
def test_a_refusal_of_a_variant_begins_with_the_name_of_the_argument(name: str) -> None:
    function, given = OTHERS[name]
    function(**given)
    for parameter, (label, value) in itertools.product(given, WRONG.items()):
        try:
            function(**{**given, parameter: value})
        except RankboundError as error:
            assert re.match(rf"{parameter}\b", str(error)), str(error)
        else:
            assert label == "negative", (parameter, label)  # a number like any other


def test_what_is_no_value_at_all_is_refused_everywhere() -> None:
    """But by `check`, which rejects what is no certificate, and never raises."""
    taken = {
        (name, parameter)
        for name, target in TARGETS.items()
        for parameter in target.table
        if not refusal(name, {**good(name, parameter), parameter: WRONG["an object"]})
    }
    assert taken == {("check", "certificate"), ("check", "claims")}


@pytest.mark.parametrize("name", TARGETS)
def test_a_batch_is_taken_only_where_it_is_documented(name: str) -> None:
    for parameter, (kind, make) in TARGETS[name].table.items():
        if kind != "matrix" or not isinstance(one := make(Random(0)), np.ndarray):
            continue
        given = good(name, parameter)
        if "head" in TARGETS[name].required or given.get("head") is not None:
            continue  # of a head, tokens are one sequence
        said = refusal(name, {**given, parameter: np.stack([one, one])})
        assert bool(said) is ((name, parameter) not in BATCHES), said
        assert not said or re.match(rf"{parameter}\b", said), said


@pytest.mark.parametrize("name", [name for name, one in TARGETS.items() if "P" in one.table])
def test_tokens_and_masks_of_another_length_are_refused(name: str) -> None:
    """By their own name, for the context is as good as they are."""
    n = fuzz_surface.N + 1
    others = {"X": np.eye(n), "mask": np.ones((n, n), np.bool_), "tokens": np.eye(n)}
    for parameter in {*others} & {*TARGETS[name].table}:
        given = {**good(name, parameter), parameter: others[parameter]}
        assert re.match(rf"{parameter}\b", refusal(name, given)), (parameter, given)
