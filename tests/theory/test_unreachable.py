"""The proof that no head has a context on given tokens: there is one iff the theory says so."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.errors import InputError, InputTypeError
from rankbound.theory.theorem_b import unreachability_certificate
from tests.helpers import refused
from tests.theory.test_tokens import Ints, exact_cases, truth

EXAMPLE = [[0.5, 0.75], [0.5, 0.25]]
REACHED = [[0.6, 0.5], [0.4, 0.5]]


@settings(max_examples=150)
@given(exact_cases())
def test_there_is_a_proof_exactly_where_there_is_no_head(case: tuple[Ints, Ints]) -> None:
    """Beside linear algebra that knows no theorem; the checker accepts what is returned."""
    X, L = case
    proof = unreachability_certificate(X=X, logits=L)
    assert (proof is None) == (truth(X, L) < math.inf)
    if proof is not None:
        outcome = rb.check(proof)
        assert outcome.accepted, outcome


@settings(max_examples=60)
@given(exact_cases(), st.integers(1, 5), st.integers(-3, 3), st.integers(1, 9))
def test_gauge_scale_and_units_change_nothing(
    case: tuple[Ints, Ints], factor: int, shift: int, below: int
) -> None:
    X, L = case
    before = unreachability_certificate(X=X, logits=L) is None
    gauge = shift * np.arange(len(L))
    moved = [[Fraction(int(x), below) for x in row] for row in -factor * L + gauge]
    assert (unreachability_certificate(X=X, logits=moved) is None) == before
    unit = sympy.log(factor + 1) * sympy.Matrix(L.tolist())
    assert (unreachability_certificate(X=X.tolist(), logits=unit) is None) == before
    doubled = [[Fraction(int(x), 3) for x in row] for row in np.vstack([X, X])]
    assert (unreachability_certificate(X=doubled, logits=L) is None) == before


@pytest.mark.parametrize("X", [[[1, 0]], np.array([[1.0, 0.0]]), sympy.Matrix([[1, 0]])])
def test_the_example_of_b20(X: Any) -> None:
    proof = unreachability_certificate(EXAMPLE, X=X)
    assert proof is not None
    assert rb.check(proof).accepted
    assert unreachability_certificate(REACHED, X=X) is None
    assert unreachability_certificate([[0.5, 0.5], [0.5, 0.5]], X=X) is None


def test_the_greatest_ratio_of_the_example() -> None:
    """log 3 can be shared by two entries, half each: Q = uniform in column 2 is that near."""
    half = math.log(3) / 2
    for ratio, proved in ((half - 1e-12, True), (half + 1e-12, False)):
        proof = unreachability_certificate(EXAMPLE, X=[[1, 0]], ratio=ratio)
        assert (proof is not None) == proved
        assert proof is None or rb.check(proof).accepted


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.data())
def test_contexts_in_float64(seed: int, n: int, data: st.DataObject) -> None:
    """A head's own context is within rounding of itself; a random one is proved out of reach."""
    d = data.draw(st.integers(1, n - 1))
    rng = np.random.default_rng(seed)
    X = rng.integers(-3, 4, (d, n))
    W_q, W_k = rng.integers(-2, 3, (2, 1, d)) / 2
    own = rb.AttentionHead(W_q=W_q, W_k=W_k).context(X)
    # logits of at most 2^7 carry an error of 2^-44 or less, and so do the logarithms
    assert unreachability_certificate(own, X=X, ratio=2.0**-40) is None
    P = rb.random_context(n, seed=seed)
    proof = unreachability_certificate(P, X=X, ratio=2.0**-40)
    assert proof is not None
    assert rb.check(proof).accepted
    assert rb.least_head_size(P, X=X) == math.inf


def test_tokens_of_full_column_rank_leave_nothing_to_prove() -> None:
    P = rb.random_context(4, seed=0)
    assert unreachability_certificate(P, X=np.eye(4)) is None
    assert unreachability_certificate(P, X=rb.random_tokens(6, 4, seed=0)) is None
    assert unreachability_certificate([[1.0]], X=[[0.0]]) is None


@pytest.mark.parametrize(
    ("arguments", "error", "part"),
    [
        ({"P": EXAMPLE}, InputError, "X is None"),
        ({"X": [[1, 0]]}, InputTypeError, "neither of P and logits"),
        ({"P": EXAMPLE, "X": [[1, 0]], "logits": [[1, 0], [0, 0]]}, InputTypeError, "both of P"),
        ({"X": [[1, 0]], "logits": [[1.0, 0.0], [0.0, 0.0]]}, InputTypeError, "not exact"),
        ({"X": [[1, 0]], "logits": [[1, 0], [0, 0]], "ratio": 0.1}, InputTypeError, "ratio is 0.1"),
        (
            {"X": [[1, 0, 0]], "logits": [[1, 0], [0, 0]]},
            InputError,
            "one column per token, 2 of them",
        ),
        ({"X": [[1, 0]], "logits": [[1, 0]]}, InputError, "logits has shape (1, 2)"),
        ({"P": EXAMPLE, "X": [[1, 0, 0]]}, InputError, "the context is (2, 2)"),
        ({"P": EXAMPLE, "X": [[1, 0]], "ratio": -1}, InputError, "ratio"),
        ({"P": [[1.0, 0.5], [0.0, 0.5]], "X": [[1, 0]]}, InputError, "P"),
        ({"P": EXAMPLE, "X": [[1, math.nan]]}, InputError, "X holds nan at [0, 1]"),
        ({"P": EXAMPLE, "X": [1, 0]}, InputError, "X has shape (2,)"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], part: str) -> None:
    with refused(error, part):
        unreachability_certificate(**arguments)
