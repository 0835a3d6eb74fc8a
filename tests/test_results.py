"""What searches, bounds and decompositions return is as on record: none grows weaker unseen."""

from __future__ import annotations

import json

import pytest

from tests.helpers import script

script("results_of_calls")  # which the next one imports
make_results = script("make_results")
RECORD = json.loads(make_results.RECORD.read_text(encoding="ascii"))


@pytest.mark.parametrize("name", sorted(make_results.RESULTS))
def test_a_result_is_as_on_record(name: str) -> None:
    digest, count, size, weighted = make_results.summary(make_results.RESULTS[name]())
    was, of, then, at = RECORD[name]
    assert (digest, count) == (was, of)
    half = 5 * 10.0 ** -make_results.digits(name)  # half a unit of the last digit held, at most
    assert size == pytest.approx(then, rel=half, abs=0)
    assert weighted == pytest.approx(at, rel=0, abs=2 * half * then)


def test_the_record_is_of_these_results() -> None:
    assert set(RECORD) == set(make_results.RESULTS)


def test_a_result_that_changes_shows() -> None:
    """A float, a whole number, their order, a name; at the top and within."""
    results = [[1.0, 2.0], [1.0, 2.001], [2.0, 1.0], [1, 2.0], [1.0, [2.0, "x"]], {"a": 1.0}]
    summaries = [make_results.summary(one) for one in results]
    assert all(a != b for i, a in enumerate(summaries) for b in summaries[:i])
