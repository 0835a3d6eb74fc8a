"""Certificates of kind unreachable: what the checker takes for a proof, and what it does not."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankbound.certificates.checker import check
from tests.certificates import build
from tests.certificates.build import Doc, Matrix, example, table, times, transposed
from tests.certificates.truth import holds

QUERIES = "unreachable, by queries"
KEYS = "unreachable, by keys"
SMALL = st.integers(-2, 2)


def vectors(document: Doc, left: list[Any], right: list[Any]) -> Doc:
    """The document with other vectors."""
    for name, vector in (("left", left), ("right", right)):
        document["data"][name] = table("rational", [[x] for x in vector])
    return document


def small(rows: int, columns: int) -> st.SearchStrategy[Matrix]:
    """Small integer matrices."""
    row = st.lists(SMALL.map(Fraction), min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows)


@settings(max_examples=300)
@given(small(1, 3), small(3, 3), small(1, 1), st.lists(SMALL, min_size=6, max_size=6))
def test_no_pair_of_vectors_proves_what_is_false(
    X: Matrix, L: Matrix, M: Matrix, entries: list[int]
) -> None:
    """Any vectors, for any logits and for those of a head in any gauge."""
    head = times(times(transposed(X), M), X)
    gauged = [[x + c for x, c in zip(row, L[0], strict=True)] for row in head]
    for logits in (L, gauged):
        statement = {
            "kind": "unreachable",
            "logits": table("rational", logits),
            "tokens": table("rational", X),
        }
        document = vectors(build.document("unreachable", statement, {}), entries[:3], entries[3:])
        accepted = check(document).accepted
        assert not accepted or (holds(statement) and logits is L)


@pytest.mark.parametrize(
    ("name", "left", "right", "part"),
    [
        (QUERIES, [1, 0, 0], [1, 1, -1], "does not sum to zero"),
        (QUERIES, [1, -1, 0], [1, 0, 0], "map neither vector to zero"),
        (QUERIES, [0, 0, 0], [1, 1, -1], "with both vectors is zero"),
        (QUERIES, [1, -1, 0], [0, 0, 0], "with both vectors is zero"),
        (KEYS, [0, 0, 0], [1, 0, 0], "with both vectors is zero"),
        (KEYS, [2, -3, 1], [3, 8, 0], "with both vectors is zero"),  # -8 · 3 + 3 · 8
        (QUERIES, [1, -1], [1, 1, -1], "the left vector is 2 × 1; expected 3 × 1"),
        (QUERIES, [1, -1, 0], [1, 1, -1, 0], "the right vector is 4 × 1; expected 3 × 1"),
    ],
)
def test_vectors_that_prove_nothing(
    name: str, left: list[Any], right: list[Any], part: str
) -> None:
    outcome = check(vectors(example(name), left, right))
    assert not outcome.accepted
    assert part in outcome.reason, outcome.reason


def test_a_transposed_witness_is_none() -> None:
    """Keys and queries have unlike parts: only the left vector must sum to zero."""
    document = example(QUERIES)
    data = document["data"]
    data["left"], data["right"] = data["right"], data["left"]
    assert not check(document).accepted


def test_the_ratio_is_half_the_product_of_the_example() -> None:
    """log 3 may move by 2 ratio: a factor just below the square root of 3 leaves a proof."""
    half = math.log(3) / 2
    for ratio, expected in (
        (0.0, True),
        (half - 1e-15, True),
        (half + 1e-15, False),
        (1e300, False),
    ):
        document = build.unreachable_within(ratio)
        assert check(document).accepted == expected == holds(document["statement"])
    flat = build.unreachable_within(0.0)
    flat["statement"]["context"] = table("float", [[0.6, 0.5], [0.4, 0.5]])
    assert "not beyond the ratio" in check(flat).reason


def test_a_product_of_zero_is_not_beyond_a_ratio_of_zero() -> None:
    for left, right in (([0, 0], [0, 1]), ([1, -1], [0, 0]), ([1, -1], [0, 1])):
        document = vectors(build.unreachable_within(0.0), left, right)
        assert check(document).accepted == any(left) * any(right)


@pytest.mark.parametrize("i", [3, 5, 7, 11])
@pytest.mark.parametrize("j", [3, 5, 9, 13])
def test_logarithms_that_add_up_to_zero_are_not_separated_from_it(i: int, j: int) -> None:
    """log i/64 + log j/64 - log ij/4096 = 0: each term takes the bound that is the worse one."""
    statement = {
        "kind": "unreachable-within",
        "context": table("float", [[i / 64, i * j / 4096], [1.0, j / 64]]),
        "ratio": (0.0).hex(),
        "tokens": table("integer", [[0, 0]]),
    }
    document = build.document("unreachable", statement, {})
    for sign in (1, -1):
        outcome = check(vectors(document, [1, -1], [sign, -sign]))
        assert "not beyond the ratio" in outcome.reason


@pytest.mark.parametrize(
    ("name", "field", "value", "part"),
    [
        (QUERIES, "tokens", table("integer", [[1, 0]]), "the head has 2 tokens and the matrix 3"),
        (QUERIES, "logits", table("integer", [[1, 0]]), "expected a square matrix"),
        (QUERIES, "logits", table("float", [[1.0]]), "expected integer or rational"),
        ("unreachable, within", "ratio", (-1.0).hex(), "the ratio is negative"),
        ("unreachable, within", "context", table("float", [[0.0]]), "not positive"),
        ("unreachable, within", "tokens", table("integer", [[0]]), "1 tokens and the matrix 2"),
    ],
)
def test_what_the_specification_forbids(name: str, field: str, value: Doc, part: str) -> None:
    document = example(name)
    document["statement"][field] = value
    outcome = check(document)
    assert not outcome.accepted
    assert part in outcome.reason, outcome.reason


def test_limits() -> None:
    n = 257
    statement = {
        "kind": "unreachable-within",
        "context": table("float", [[1.0] * n] * n),
        "ratio": (0.0).hex(),
        "tokens": table("integer", [[0] * n]),
    }
    ends = [1, *[0] * (n - 2), -1]
    document = vectors(build.document("unreachable", statement, {}), ends, ends)
    assert "the limit for enclosures is 256" in check(document).reason
    small = example("unreachable, within")
    long = f"{2**131_000 + 1:#x}"
    small["data"]["right"] = table("integer", [[0], [1]])
    small["data"]["right"]["entries"][1] = long
    assert check(small).accepted  # a factor changes nothing


def test_represented_exactly_in_any_gauge() -> None:
    """B20's other example: the gauge is forced, and the head's logits are not centred."""
    one = table("integer", [[1]])
    statement: Doc = {
        "kind": "represented-exactly",
        "logits": table("integer", [[5, 3], [4, 3]]),
        "keys": one,
        "queries": one,
        "tokens": table("integer", [[1, 0]]),
    }
    document = build.document("representation", statement, {})
    assert check(document).accepted
    assert holds(statement)
    for logits in ([[5, 3], [3, 3]], [[5, 4], [4, 3]], [[4, 3], [5, 3]]):
        statement["logits"] = table("integer", logits)
        assert "in any gauge" in check(document).reason
