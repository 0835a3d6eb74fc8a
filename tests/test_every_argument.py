"""Each argument of each public function: refused by its name; a batch only where it is taken."""

from __future__ import annotations

import re
import warnings
from random import Random
from typing import Any

import numpy as np
import pytest

from rankbound.errors import RankboundError
from tests.helpers import script

fuzz_surface = script("fuzz_surface")
TARGETS = {
    target.name: target
    for target in (fuzz_surface._target(*one) for one in fuzz_surface.public_functions())
    if target.name != "audit"  # of a model that is not there
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
