"""Selecting sets of keys: a query for every set, and Radon partitions where there is none."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.certificates.checker import check
from rankbound.certificates.statements import Selectable, Unselectable
from rankbound.theory.set_selection import (
    radon_partition,
    selectable_certificate,
    set_margin_scale,
    set_selecting_keys,
    set_selecting_query,
    set_selection_size,
    unselectable_certificate,
)
from tests.helpers import refused

SIZES = [(n, q) for n in range(1, 8) for q in range(1, n + 1)]


@pytest.mark.parametrize(("n", "q"), SIZES)
def test_every_set_has_its_query(n: int, q: int) -> None:
    """One score inside, all others below it by at least 1, on keys of the least size."""
    size = set_selection_size(n, q)
    assert size == min(2 * q, n - 1)
    keys = set_selecting_keys(n, q)
    assert len(keys) == size
    if size == 2 * q:
        assert keys == [[t**power for t in range(n)] for power in range(1, size + 1)]
    for m in range(1, q + 1):
        for members in itertools.combinations(range(n), m):
            query = set_selecting_query(n, q, members)
            assert len(query) == size
            scores = [sum(a * row[i] for a, row in zip(query, keys, strict=True)) for i in range(n)]
            (inside,) = {scores[i] for i in members}
            assert all(scores[i] <= inside - 1 for i in range(n) if i not in members)


def test_a_certificate_holds_every_set() -> None:
    certificate = selectable_certificate(6, 2)
    assert isinstance(certificate.statement, Selectable)
    assert certificate.statement.keys.rows == 4
    assert certificate.queries.columns == math.comb(6, 1) + math.comb(6, 2)
    assert check(certificate.to_json()).accepted


@given(st.integers(1, 3).flatmap(lambda d: st.tuples(*[st.tuples(*[st.floats(-9, 9)] * 6)] * d)))
def test_sides_of_a_radon_partition_meet(keys: Any) -> None:
    d, found = len(keys), radon_partition(keys)
    assert found is not None  # n > d + 1
    assert not found.inside.keys() & found.outside.keys()
    assert {*found.inside, *found.outside} <= set(range(d + 2))
    assert 1 <= len(found.inside) <= (d + 2) // 2
    assert len(found.inside) <= len(found.outside)
    for side in (found.inside, found.outside):
        assert sum(side.values()) == 1
        assert all(isinstance(weight, Fraction) and weight > 0 for weight in side.values())
    for row in keys:
        sides = [
            sum(w * Fraction(row[i]) for i, w in side.items()) for side in vars(found).values()
        ]
        assert sides[0] == sides[1]


@pytest.mark.parametrize("q", [1, 2, 3])
def test_what_no_query_selects_is_certified_from_its_size_on(q: int) -> None:
    """Keys of the least size but one: Radon's smaller side has at most q keys."""
    keys = np.random.default_rng(q).integers(-9, 10, (2 * q - 1, 2 * q + 2)).tolist()
    found = radon_partition(keys)
    assert found is not None
    fewest = len(found.inside)
    certificate = unselectable_certificate(keys, fewest)
    assert certificate is not None
    assert isinstance(certificate.statement, Unselectable)
    assert certificate.statement.members == tuple(sorted(found.inside))
    assert check(certificate.to_json()).accepted
    assert fewest <= q
    assert fewest == 1 or unselectable_certificate(keys, fewest - 1) is None


def test_keys_that_are_independent_have_no_partition() -> None:
    simplex = [[0, 1, 0], [0, 0, 1]]
    assert radon_partition(simplex) is None
    assert unselectable_certificate(simplex, 3) is None


@pytest.mark.parametrize(("n", "q"), [(2, 1), (5, 2), (9, 4)])
def test_the_centred_simplex_attains_the_margin(n: int, q: int) -> None:
    """Its query for a set is the mean inside less the mean outside, scaled to the gap."""
    keys, gap = np.eye(n) - 1 / n, 0.5
    query = keys[:, :q].mean(axis=1) - keys[:, q:].mean(axis=1)
    scores = keys.T @ query
    query *= gap / (scores[:q].min() - scores[q:].max())
    reached = np.linalg.norm(query) * np.linalg.norm(keys[:, 0])
    assert set_margin_scale(n, q, gap) == pytest.approx(reached)
    assert set_margin_scale(n, q, 0) == 0


def test_refused() -> None:
    with refused(rb.InputError, "keys is 6; expected from 0 to 5: the number of a key."):
        set_selecting_query(6, 2, [1, 6])
    with refused(rb.InputError, "keys are [1, 2, 4]; expected 1 to q = 2 different ones."):
        set_selecting_query(6, 2, [4, 2, 1])
    with refused(rb.InputError, "keys are []; expected 1 to q = 2 different ones."):
        set_selecting_query(6, 2, [])
    with refused(rb.InputTypeError, "keys is 3; expected numbers of keys."):
        set_selecting_query(6, 2, 3)
    with refused(rb.InputError, "n is 0; expected at least 1."):
        set_selection_size(0, 1)
    with refused(rb.InputError, "q is 3; expected from 1 to 2: one of its sets."):
        set_selection_size(2, 3)
    with refused(rb.InputError, "q is 0; expected at least 1."):
        unselectable_certificate([[1, 2]], 0)
    with refused(rb.InputError, "n is 1; expected at least 2."):
        set_margin_scale(1, 1, 1.0)
    with refused(rb.InputError, "q is 2; expected from 1 to 1: a set and a rest."):
        set_margin_scale(2, 2, 1.0)
    with refused(rb.InputError, "gap is -1"):
        set_margin_scale(2, 1, -1.0)
