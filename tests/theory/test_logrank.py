"""The log-rank: the rank that the softmax gauge leaves."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import rankbound as rb
from rankbound.testing import contexts, logits
from rankbound.testing.gallery import hilbert
from rankbound.theory.softmax_gauge import centre, logs_of
from tests.helpers import (
    EPS,
    EXPONENTS,
    Array,
    Rows,
    less_column_means,
    log_spectrum,
    rational_rows,
    refused,
    sympy_rank,
    vectors,
)

INTEGRAL = ("constant", "low_rank", "repeated", "single", "one_hot")  # small integers, as float64
SQUARE = st.integers(1, 5).flatmap(lambda n: rational_rows(n, n))


def powers_of_two(M: Any) -> Array:
    """``P ∝ 2^M``, each entry rounded once."""
    rows = [[Fraction(2) ** int(x) for x in row] for row in M]
    sums = [sum(column) for column in zip(*rows, strict=True)]
    return np.array([[float(x / s) for x, s in zip(row, sums, strict=True)] for row in rows])


@pytest.mark.parametrize("case", vectors("least_head_size"), ids=lambda case: case["name"])
def test_agrees_with_the_vectors(case: dict[str, Any]) -> None:
    """Exact logits in every form; and P itself, whose threshold leaves room.

    n <= 6 and entries of M at most 4: n C M is an integer matrix, so its non-zero singular values
    multiply to at least 1, and those of C log P are at least 2e-10. The threshold is below 1e-12.
    """
    M, expected = case["exponents"], case["least_head_size"]
    assert rb.log_rank(logits=M) == expected
    assert rb.log_rank(logits=np.array(M)) == expected
    assert rb.log_rank(logits=sympy.Matrix(M)) == expected
    assert rb.log_rank(logits=sympy.log(2) * sympy.Matrix(M)) == expected
    assert rb.log_rank(logits=[[Fraction(x, 3) for x in row] for row in M]) == expected
    assert rb.log_rank(logits=np.log(2) * np.array(M)) == expected
    assert rb.log_rank(powers_of_two(M)) == expected


@given(SQUARE)
def test_exact_logits_agree_with_sympy(M: Rows) -> None:
    assert rb.log_rank(logits=M) == sympy_rank(less_column_means(M))


@given(SQUARE, st.data())
def test_least_rank_over_the_gauge(M: Rows, data: st.DataObject) -> None:
    """Lemma 1: log_rank <= rank(M + 1 c^T) <= log_rank + 1, and equal for some c."""
    c = data.draw(st.lists(st.integers(-3, 3), min_size=len(M), max_size=len(M)))
    moved = [[x + y for x, y in zip(row, c, strict=True)] for row in M]
    least = rb.log_rank(logits=M)
    assert rb.log_rank(logits=moved) == least
    assert least <= sympy_rank(moved) <= least + 1
    assert sympy_rank(less_column_means(M)) == least


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 32, 64])
def test_dirichlet_contexts_have_the_largest(n: int) -> None:
    assert rb.log_rank(rb.random_context(n, seed=n)) == n - 1


@pytest.mark.parametrize(("n", "k"), [(4, 1), (8, 3), (16, 1), (16, 8), (64, 8), (64, 32)])
def test_a_head_of_size_k_has_k(n: int, k: int) -> None:
    for seed in range(3):
        head, X = rb.random_head(d=n + 3, head_size=k, seed=seed), rb.random_tokens(n + 3, n, seed)
        assert rb.log_rank(head.context(X)) == rb.log_rank(logits=head.logits(X)) == k


@given(contexts())
def test_at_most_n_minus_1(P: Array) -> None:
    assert 0 <= rb.log_rank(P, stored=np.float64) <= len(P) - 1


@given(logits())
def test_at_most_n_minus_1_for_logits(L: Array) -> None:
    assert 0 <= rb.log_rank(logits=L, stored=np.float64) <= len(L) - 1


@given(contexts(kinds=("uniform", "single")))
def test_uniform_has_0(P: Array) -> None:
    assert rb.log_rank(P) == 0


def test_0_only_for_uniform() -> None:
    """A deviation of 2^-40 in one column is far above rounding."""
    P = np.full((4, 4), 0.25)
    P[:2, 1] += (2.0**-40, -(2.0**-40))
    assert rb.log_rank(P) == 1


@given(logits(kinds=INTEGRAL), EXPONENTS)
def test_a_power_of_two_changes_nothing(L: Array, exponent: int) -> None:
    """The logits as they stand, down to denormals and up to the edge of float64."""
    assert rb.log_rank(logits=np.ldexp(L, exponent)) == rb.log_rank(logits=L)


@given(logits(kinds=INTEGRAL))
def test_the_largest_floats(L: Array) -> None:
    """Entries in [2^1023, 2^1024): neither their sum nor their norm is a float64.

    The answer is that of the matrix divided by a power of two, or a refusal that says so.
    """
    largest = np.ldexp(L, 1024 - int(np.frexp(np.max(np.abs(L)))[1]))
    try:
        rank = rb.log_rank(logits=largest)
    except rb.InputError as error:
        assert "logits" in str(error)
        assert "above 1.8e308" in str(error)
    else:
        assert rank == rb.log_rank(logits=L)


@given(logits(kinds=INTEGRAL))
def test_floats_never_exceed_the_exact_answer(L: Array) -> None:
    """Weyl: what is above the threshold is not zero in exact arithmetic."""
    exact = rb.log_rank(logits=L.astype(np.int64))
    assert rb.log_rank(logits=L) <= exact
    P = rb.column_softmax(L)
    assume(P.min() > 1e-300)
    assert rb.log_rank(P) <= exact


@pytest.mark.parametrize("rank", [1, 2, 8])
def test_the_decompositions_own_rounding_is_not_counted(rank: int) -> None:
    """At n = 200 LAPACK leaves values of several eps ‖C L‖_F where exact integers have none."""
    left, right = np.random.default_rng(0).integers(-3, 4, (2, rank, 200))
    L = left.T @ right
    assert rb.log_rank(logits=L) == rb.log_rank(logits=L.astype(np.float64)) == rank


@given(logits(kinds="underflow"))
def test_underflow_is_refused_in_P_and_exact_in_logits(L: Array) -> None:
    """t times a permutation: C L = t C Π, of rank n - 1."""
    assert rb.log_rank(logits=L) == len(L) - 1
    with refused(rb.InputError, "P is 0.0", "expected positive entries", "pass logits= instead"):
        rb.log_rank(rb.column_softmax(L))


FEW = st.tuples(st.integers(2, 6), st.integers(1, 2)).flatmap(
    lambda at: arrays(np.int64, (2, at[1], at[0]), elements=st.integers(-1, 1))
)


@given(FEW, st.sampled_from([np.float16, np.float32]))
def test_low_precision_adds_no_rank(factors: Any, dtype: Any) -> None:
    """P, at least e^-4/6, is rounded once: within what the threshold of its dtype allows."""
    M = factors[0].T @ factors[1]
    exact = rb.log_rank(logits=M)
    rounded = rb.column_softmax(M).astype(dtype)
    assert rb.log_rank(rounded) <= exact
    assert rb.log_rank(rounded.astype(np.float64), stored=dtype) <= exact
    assert rb.log_rank(logits=M.astype(dtype)) <= exact
    thirds = (M / 3).astype(dtype)
    assert rb.log_rank(logits=thirds) <= exact
    assert rb.log_rank(logits=thirds.astype(np.float64), stored=dtype) <= exact


def test_low_precision_of_logits_counts() -> None:
    """A gauge of 1000 makes the rounding of float32 logits large beside what is centred."""
    left, right = np.random.default_rng(0).standard_normal((2, 8, 64))
    L = (1000 + left.T @ right).astype(np.float32)
    assert rb.log_rank(logits=L) == 8
    assert rb.log_rank(logits=L.astype(np.float64), stored=np.float64) == 63
    with refused(rb.Undecided, "is 8 if the data was computed in float32 and 63", "stored="):
        rb.log_rank(logits=L.astype(np.float64))
    assert rb.log_rank(logits=L.astype(np.float64), stored=np.float32) == 8


@given(logits(kinds="gaussian"), st.floats(-1e9, 1e9))
def test_a_gauge_far_from_0_is_taken_out(L: Array, c: float) -> None:
    """The centred columns have mean 0 to their own rounding, not to that of the gauge."""
    centred = centre(L + c)
    n, size = len(L), np.max(np.abs(centred))
    assert np.max(np.abs(centred.mean(axis=0))) <= 2 * n * EPS * size


@pytest.mark.parametrize("n", [5, 15, 20])
def test_exact_logits_see_what_no_float_does(n: int) -> None:
    """Hilbert's matrix is nonsingular, so C H has rank n - 1; in float64 it is about 12."""
    H = hilbert(n).matrix
    assert rb.log_rank(logits=H) == rb.least_head_size(logits=H) == n - 1
    floats = np.array(H, dtype=np.float64)
    assert (rb.log_rank(logits=floats) < n - 1) == (n > 12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("small", [1e-12, 1e-100, 1e-300])
def test_what_the_stored_dtype_cannot_hold_is_unknown(dtype: Any, small: float) -> None:
    """An entry below the smallest number of the dtype it was computed in has an unknown log."""
    P = np.array([[1.0, 0.5], [small, 0.5]])
    if small > float(np.finfo(dtype).smallest_subnormal):
        assert rb.log_rank(P, stored=dtype) == 1
        return
    for one in (P, P[None], np.array([np.full((2, 2), 0.5), P])):
        with refused(rb.Undecided, "near the smallest positive number of its dtype") as caught:
            rb.log_rank(one, stored=dtype)
        assert (caught.value.bounds.lower, caught.value.bounds.upper) == (0, 1)
        assert np.all(rb.log_rank(one, stored=dtype, rtol=1e-6) <= 1)


def test_a_float32_context_keeps_its_log_rank() -> None:
    P = rb.random_head(64, 8, seed=0).context().astype(np.float32)
    assert rb.log_rank(P) == 8
    assert rb.log_rank(P.astype(np.float64), stored=np.float32) == 8


def test_a_cast_float32_context_is_refused_with_the_remedy() -> None:
    """Its columns sum to 1 only in float32; a silent answer would be 63 instead of 8."""
    P = rb.random_head(64, 8, seed=0).context().astype(np.float32).astype(np.float64)
    with pytest.raises(rb.InputError, match=r"sum to 1 only within.*stored=np.float32") as caught:
        rb.log_rank(P)
    assert "ormalise" not in str(caught.value)


@pytest.mark.parametrize("rows", [False, True])
def test_a_float32_context_in_float64_is_undecided_on_every_route(
    rows: bool, tmp_path: Path
) -> None:
    """Normalised in float64 its columns give nothing away; its singular values do.

    Of rank 4 with n = 32, they fall from 10^-1 to 10^-7 after the fourth.
    """
    X = rb.random_tokens(40, 32, seed=1)
    P = rb.random_head(d=40, head_size=4, seed=0).context(X).astype(np.float32)
    assert rb.log_rank(P) == 4
    data = P.astype(np.float64) / P.astype(np.float64).sum(axis=0)
    data = np.ascontiguousarray(data.T) if rows else data
    np.save(tmp_path / "P.npy", data)
    routes: tuple[Any, ...] = (data, data.tolist(), tmp_path / "P.npy", str(tmp_path / "P.npy"))
    for f in (rb.log_rank, rb.least_head_size, rb.represent):
        for route in (*routes, rb.Context(data, rows=rows)):
            given: Any = {} if isinstance(route, rb.Context) else {"rows": rows}
            words = r"is 4 if the data was computed in float32 and 31 if.*stored=np\.float32"
            with pytest.raises(rb.Undecided, match=words) as caught:
                f(route, **given)
            bounds = caught.value.bounds  # the answers for the one dtype and for the other
            assert bounds is not None and (bounds.lower, bounds.upper) == (4, 31)
        assert rb.log_rank(data, rows=rows, stored=np.float32) == 4
        assert rb.log_rank(data, rows=rows, stored="float64") == 31


@given(contexts(), st.floats(1e-12, 1))
def test_rtol_counts_values_above_a_share_of_the_largest(P: Array, rtol: float) -> None:
    """Values nearer to the share than the formula's own rounding are left out."""
    values = log_spectrum(P)
    slack = 8 * len(P) * EPS * (1 + np.abs(np.log(P)).sum())
    assume((np.abs(values - rtol * values[0]) > slack).all())
    assert rb.log_rank(P, rtol=rtol) == np.sum(values > rtol * values[0])


@given(contexts(kinds=("low_rank", "gaussian", "one_hot")))
def test_rows_are_the_transpose(P: Array) -> None:
    assert rb.log_rank(P.T, rows=True) == rb.log_rank(P)


@given(SQUARE)
def test_rows_are_the_transpose_for_logits(M: Rows) -> None:
    turned = [list(column) for column in zip(*M, strict=True)]
    assert rb.log_rank(logits=turned, rows=True) == rb.log_rank(logits=M)
    floats = np.array(M, dtype=np.float64)
    assert rb.log_rank(logits=floats.T, rows=True) == rb.log_rank(logits=floats)


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_batch_is_a_loop(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((2, 3, 2, 2, n))
    L = np.swapaxes(factors[..., 0, :, :], -1, -2) @ factors[..., 1, :, :]
    P = rb.column_softmax(L)
    from_P, from_logits = rb.log_rank(P), rb.log_rank(logits=L)
    assert from_P.shape == from_logits.shape == (2, 3)
    for i in np.ndindex(2, 3):
        assert from_P[i] == rb.log_rank(P[i])
        assert from_logits[i] == rb.log_rank(logits=L[i])


def test_a_batch_of_integer_logits() -> None:
    M = np.array([[[0, 1], [0, 1]], [[1, 0], [0, 1]]])
    np.testing.assert_array_equal(rb.log_rank(logits=M), [0, 1])


def test_neither_the_rank_of_P_nor_that_of_the_logits() -> None:
    """THEORY 0: logits of rank 2 whose context has rank 8, decided exactly."""
    left, right = np.random.default_rng(0).integers(-4, 5, (2, 2, 8))
    M = left.T @ right
    P = [[Fraction(2) ** int(x) for x in row] for row in M]
    assert int(rb.exact_rank(M)) == rb.log_rank(logits=M) == 2
    assert int(rb.exact_rank(P)) == 8
    assert int(rb.exact_rank(M + np.arange(8) + 1)) == 3  # another gauge, the same context


def test_without_a_mask_all_is_visible() -> None:
    visible = logs_of(rb.Context(rb.random_context(3, 0))).visible
    assert visible.dtype == np.bool_
    assert visible.tolist() == [[True] * 3] * 3
