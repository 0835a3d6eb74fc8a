"""The exact rank equals SymPy's, and does not move under what keeps a rank."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.ranks.exact import exact_logit_rank
from rankbound.testing import logits
from rankbound.testing.gallery import HardMatrix, hard_matrices
from tests.helpers import (
    SMALL_FRACTIONS,
    Array,
    Rows,
    less_column_means,
    rational_rows,
    refused,
    sympy_rank,
    times,
    transposed,
    vectors,
)


@pytest.mark.parametrize("case", vectors("exact_rank"), ids=lambda case: case["name"])
def test_agrees_with_the_vectors(case: dict[str, Any]) -> None:
    bounds = rb.exact_rank([[Fraction(x) for x in row] for row in case["matrix"]])
    assert int(bounds) == case["rank"]
    assert bounds.verdict is rb.Verdict.RIGOROUS


@given(rational_rows())
def test_agrees_with_sympy(rows: Rows) -> None:
    assert int(rb.exact_rank(rows)) == sympy_rank(rows)


@pytest.mark.parametrize("hard", hard_matrices(), ids=lambda hard: hard.name)
def test_gallery(hard: HardMatrix) -> None:
    assert int(rb.exact_rank(hard.matrix, floats="exact")) == hard.rank


@given(rational_rows(), st.randoms(use_true_random=False), SMALL_FRACTIONS)
def test_does_not_move(rows: Rows, random: Any, factor: Fraction) -> None:
    """Transposed, its rows permuted, rescaled, or with a combination of its columns appended."""
    rank = int(rb.exact_rank(rows))
    assert int(rb.exact_rank(transposed(rows))) == rank
    assert int(rb.exact_rank(random.sample(rows, len(rows)))) == rank
    assert int(rb.exact_rank([[x / 7 for x in row] for row in rows])) == rank
    assert int(rb.exact_rank([[*row, row[0] + factor * row[-1]] for row in rows])) == rank


@given(rational_rows())
def test_every_exact_container_reads_the_same(rows: Rows) -> None:
    import sympy

    rank = int(rb.exact_rank(rows))
    rationals = [[sympy.Rational(x.numerator, x.denominator) for x in row] for row in rows]
    for same in (
        tuple(map(tuple, rows)),
        np.array(rows, dtype=object),
        sympy.Matrix(rationals),
        sympy.ImmutableMatrix(rationals),
        sympy.sqrt(3) * sympy.Matrix(rationals),
    ):
        assert int(rb.exact_rank(same)) == rank


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
def test_integer_dtypes_are_read_without_wrapping(dtype: type[np.integer[Any]]) -> None:
    """[[top, 1], [1, 0]] has rank 2; its square or negative would wrap around in the dtype."""
    top = np.iinfo(dtype).max
    assert int(rb.exact_rank(np.array([[top, 1], [1, 0]], dtype=dtype))) == 2
    assert int(rb.exact_rank(np.array([[top, top], [top, top]], dtype=dtype))) == 1


@given(logits(kinds=("low_rank", "gaussian", "near_low_rank", "huge", "repeated")))
def test_floats_are_the_rationals_they_are(L: Array) -> None:
    fractions = [[Fraction(x) for x in row] for row in L.tolist()]
    assert int(rb.exact_rank(L, floats="exact")) == int(rb.exact_rank(fractions))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_every_dtype_and_container(dtype: type[np.floating[Any]]) -> None:
    A = np.array([[1, 2], [0.5, 1]], dtype=dtype)
    for same in (A, A.tolist(), [list(row) for row in A], A.astype(object)):
        assert int(rb.exact_rank(same, floats="exact")) == 1


def test_floats_are_refused_unless_asked_for() -> None:
    with refused(
        rb.InputTypeError,
        "A[0, 1] is the float 0.5",
        "expected an exact number",
        'Pass floats="exact"',
    ):
        rb.exact_rank([[1, 0.5]])


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 5)).flatmap(
        lambda shape: st.tuples(rational_rows(*shape), rational_rows(*shape))
    )
)
def test_logit_rank_is_that_of_the_exact_product(pair: tuple[Rows, Rows]) -> None:
    keys, queries = pair
    L = times(transposed(keys), queries)
    assert int(exact_logit_rank(keys, queries)) == sympy_rank(L)
    assert int(exact_logit_rank(keys, queries, centre=True)) == sympy_rank(less_column_means(L))


def test_logit_rank_is_not_that_of_the_rounded_product() -> None:
    """A head of size 2: its logits have rank 2 before rounding and 16 after."""
    keys, queries = np.random.default_rng(0).standard_normal((2, 2, 16))
    assert int(exact_logit_rank(keys, queries)) == 2
    assert int(rb.exact_rank(keys.T @ queries, floats="exact")) == 16


def test_logit_rank_refuses_factors_that_do_not_match() -> None:
    with refused(rb.InputError, "keys are (1, 2)", "queries (1, 3)", "expected the same shape"):
        exact_logit_rank([[1, 2]], [[1, 2, 3]])


@pytest.mark.parametrize(
    ("keys", "centre", "upper"),
    [
        (np.eye(2, 3), False, "the factors have 2 coordinates"),
        (np.eye(2, 3), True, "the factors have 2 coordinates"),
        (np.eye(3), False, "the factors have 3 coordinates"),
        (np.eye(3), True, "the shape"),
        (np.eye(5, 3), False, "the shape"),
        (np.ones((5, 3)), False, "an exact factorisation"),
    ],
)
def test_what_bounds_the_rank_of_logits_is_said(keys: Any, centre: bool, upper: str) -> None:
    bounds = exact_logit_rank(keys.astype(int), keys.astype(int), centre=centre)
    assert bounds.method.endswith(f"; upper: {upper}")
