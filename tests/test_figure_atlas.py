"""The published atlas: its table is what is computed, and its drawing shows each entry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from matplotlib.figure import Figure

import rankbound as rb
from rankbound.plots import atlas_intervals
from tests.helpers import refused
from tests.test_figures import published

ROWS = published("atlas")
ENTRY: dict[str, Any] = {"pattern": "one-hot", "notion": "sign", "n": 8, "lower": 2, "upper": 2}


def artists(rows: list[dict[str, Any]]) -> dict[str, Any]:
    figure = Figure()
    axes = atlas_intervals(rows, figure.subplots())

    def found() -> Iterator[Any]:
        yield from axes.lines
        yield from axes.texts

    return {artist.get_gid(): artist for artist in found() if artist.get_gid()}


def test_published_intervals_are_those_of_the_theorems() -> None:
    (n,) = {row["n"] for row in ROWS}
    assert n == 128
    at = {(row["pattern"], row["notion"]): (row["lower"], row["upper"]) for row in ROWS}
    assert at["random-positive", "exact"] == at["random-positive", "closure"] == (n - 1, n - 1)
    assert at["random-causal", "exact"] == at["random-causal", "closure"] == (n // 2, n // 2)
    assert at["worst-causal", "exact"] == (n - 1, n - 1)
    assert at["one-hot", "closure"] == (2, 2)
    assert at["one-hot", "exact"] == (math.inf, math.inf)
    assert at["sparse", "closure"][1] == 6
    assert {claim for row in ROWS for claim in row["claims"].split()} <= set(rb.claims)


def test_each_entry_is_drawn_where_it_lies() -> None:
    drawn = artists(ROWS)
    assert set(drawn) == {f"{row['pattern']}-{row['notion']}" for row in ROWS}
    for row in ROWS:
        artist = drawn[f"{row['pattern']}-{row['notion']}"]
        if math.isinf(row["lower"]):
            assert artist.get_text() == "no head"
        else:
            assert list(artist.get_xdata()) == [row["lower"], row["upper"]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pattern": "other"}, "['pattern'] is 'other'; expected one of"),
        ({"notion": "other"}, "['notion'] is 'other'; expected one of"),
        ({"lower": 3}, "above upper"),
        ({"upper": -1}, "at least 0"),
    ],
)
def test_records_that_are_no_entries(change: dict[str, Any], words: str) -> None:
    with refused(rb.InputError, words):
        artists([{**ENTRY, **change}])


def test_bad_tables() -> None:
    with refused(rb.InputError, "rows is empty"):
        atlas_intervals([])
    with refused(rb.InputError, "repeats pattern = 'one-hot', notion = 'sign'"):
        artists([ENTRY, ENTRY])
    with refused(rb.InputError, "has no 'n'"):
        artists([{key: value for key, value in ENTRY.items() if key != "n"}])
    with refused(rb.InputTypeError, "expected Axes"):
        atlas_intervals([ENTRY], "axes")  # type: ignore[arg-type]
    with refused(rb.InputTypeError, "expected a mapping"):
        atlas_intervals(["row"])
