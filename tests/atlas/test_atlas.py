"""The atlas: its entries are computed, in order, and those that theory gives."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import rankbound as rb
from rankbound.atlas import NOTIONS, PATTERNS, Atlas, Entry, compute_atlas
from rankbound.cli.main import main
from rankbound.theory.approximation import stays_away
from tests.helpers import refused

SIZES = (4, 9, 16)


@cache
def atlas_of(n: int) -> Atlas:
    return compute_atlas(n)


@pytest.mark.parametrize("n", SIZES)
def test_entries_are_those_of_the_theorems(n: int) -> None:
    def interval(pattern: str, notion: str) -> tuple[float, float]:
        entry = atlas_of(n).entry(pattern, notion)
        assert entry is not None
        return entry.lower, entry.upper

    for pattern in ("worst-positive", "random-positive"):
        assert interval(pattern, "exact") == interval(pattern, "closure") == (n - 1, n - 1)
    for notion in ("exact", "closure"):
        assert interval("random-causal", notion) == (n // 2, n // 2)
        size = max(n // 2, 3 * n // 4 - 1)
        assert interval("random-prefix", notion) == (size, size)
    assert interval("worst-causal", "exact") == (n - 1, n - 1)
    assert interval("worst-causal", "closure") == (1, n // 2)
    assert interval("one-hot", "exact") == (math.inf, math.inf)
    assert interval("one-hot", "closure") == interval("one-hot", "sign") == (2, 2)
    assert interval("sparse", "closure")[1] == min(6, n - 1)
    assert interval("orderings", "sign") == (n - 1, n - 1)


@pytest.mark.parametrize("n", SIZES)
def test_signs_lie_between_their_bounds(n: int) -> None:
    size = 1 << (n.bit_length() - 1)
    entry = atlas_of(n).entry("hadamard", "sign")
    assert entry is not None and entry.n == size
    assert entry.lower >= max(1, math.isqrt(size - 1))  # Forster: at least √n - 1
    assert entry.upper <= size - 1


@pytest.mark.parametrize("n", SIZES)
def test_every_claim_is_registered_and_every_word_known(n: int) -> None:
    for entry in atlas_of(n).entries:
        assert entry.claims and set(entry.claims) <= set(rb.claims), entry
        assert entry.how and entry.theorem
        assert entry.pattern in PATTERNS and entry.notion in NOTIONS


def test_a_seed_draws_the_same_atlas() -> None:
    assert compute_atlas(4).to_json() == atlas_of(4).to_json()
    assert compute_atlas(4, seed=1).to_json() != atlas_of(4).to_json()


def test_bounded_logits_cost_coordinates() -> None:
    sizes = {}
    for scale in (8.0, 50.0, 1e6):
        entry = compute_atlas(12, scale=scale).entry("one-hot", "bounded")
        assert entry is not None and 2 <= entry.lower <= entry.upper <= 11
        sizes[scale] = entry.upper
    assert sizes[1e6] == 2 < sizes[50.0] < sizes[8.0]
    # below the average bound log((n - 1)(1 - ε)/ε)(1 - 1/n) no head of any size selects every key
    assert compute_atlas(12, scale=2.0).entry("one-hot", "bounded") is None


def test_records() -> None:
    atlas = atlas_of(9)
    data = json.loads(atlas.to_json())
    assert data["n"] == 9 and len(data["entries"]) == len(atlas.entries)
    none = next(e for e in data["entries"] if (e["pattern"], e["notion"]) == ("one-hot", "exact"))
    assert none["lower"] is None
    lines = atlas.to_markdown().splitlines()
    assert len(lines) == 2 + len(PATTERNS)
    assert "| none (proved) | 2 (supported) |" in lines[2 + list(PATTERNS).index("one-hot")]


def test_an_interval_out_of_order_is_no_entry() -> None:
    word = rb.Verdict.SUPPORTED
    with refused(rb.InputError, "lower <= upper"):
        Entry("one-hot", "sign", 4, 3, 2, word, word, "", "", ())
    with refused(rb.InputError, "no entry"):
        Entry("one-hot", "other", 4, 1, 2, word, word, "", "", ())


def test_bad_arguments() -> None:
    for changes in ({"scale": 0.0}, {"error": 1.0}, {"error": -1.0}):
        with refused(rb.InputError, "expected"):
            compute_atlas(4, **changes)  # type: ignore[arg-type]
    for n in (2, 513):
        with refused(rb.InputError, f"n is {n}"):
            compute_atlas(n)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "atlas.json"
    assert main(["atlas", "--n", "4", "--json", str(out)]) == 0
    assert json.loads(out.read_text()) == json.loads(atlas_of(4).to_json())
    text = capsys.readouterr().out
    assert "one key per query, a permutation" in text and "sharp-necessary" in text
    assert main(["atlas", "--n", "1"]) == 2


def test_staying_away_is_shown_where_it_is_so() -> None:
    P = rb.random_context(8, 0, law="logrank", rank=4)
    assert [stays_away(P, k) for k in (1, 3, 4, 7)] == [True, True, False, False]
    causal, mask = rb.random_context(8, 0, law="causal"), rb.causal_mask(8)
    assert [stays_away(causal, k, mask) for k in (1, 3, 4)] == [True, True, False]
    assert not stays_away(np.eye(5), 1)
