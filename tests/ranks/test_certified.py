"""Certified ranks: lower <= true rank <= upper, always, and what says so can be checked.

The true ranks come from elimination in Fractions (tests/certificates/build.py) or from SymPy, which
share nothing with the package.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import sympy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import rankbound as rb
from rankbound.exact import rounding
from rankbound.exact.balls import is_nonsingular
from rankbound.exact.rounding import product_error, up
from rankbound.ranks import certified, evidence
from rankbound.ranks.evidence import (
    frobenius,
    gram_is_definite,
    grams_are_definite,
    has_left_inverse,
    preconditioned_gram_is_definite,
    scale_columns,
    singular_values_above,
)
from rankbound.testing.gallery import HardMatrix, hard_matrices
from tests.certificates.build import exact, times, transposed
from tests.certificates.build import rank as true_rank
from tests.helpers import (
    Array,
    Rows,
    case,
    certificate_of,
    rational_rows,
    refused,
    sympy_rank,
)
from tests.helpers import certified as certifiable

HUGE = sys.float_info.max
TWO = np.eye(2)
HADAMARD = np.array([[(-1.0) ** (i & j).bit_count() for j in range(8)] for i in range(8)])
TINY = (5e-324, 1e-310, 2.0**-1022, 1e-160, -1e-160)
LARGE = (1e160, 1e300, -HUGE, HUGE)
FAR = st.sampled_from([0.0, 1.0, -1.0, 1 + 2.0**-52, 1 - 2.0**-53, 1e-8, 1 / 3, *TINY, *LARGE])
SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=5)
SMALL = st.integers(-3, 3).map(float)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def _drawn(draw: Any, shape: tuple[int, int], most: int) -> Array:
    found: npt.NDArray[np.int64] = draw(arrays(np.int64, shape, elements=st.integers(-most, most)))
    return found.astype(np.float64)


@st.composite
def products(draw: Callable[..., Any], tall: bool = False) -> Array:
    """Integer factors of 20 bits, multiplied exactly; rows and columns times powers of two."""
    m, n = sorted(draw(SHAPES), reverse=True) if tall else draw(SHAPES)
    inner, most = draw(st.integers(1, max(1, min(m, n) - 1))), draw(st.sampled_from([1, 3, 2**20]))
    A = _drawn(draw, (m, inner), most) @ _drawn(draw, (inner, n), most)
    scale = st.integers(-400, 400) if draw(st.booleans()) else st.just(0)
    down, across = (draw(arrays(np.int64, size, elements=scale)) for size in (m, n))
    scaled: Array = np.ldexp(A, np.add.outer(down, across))
    return scaled


@st.composite
def near_repeated(draw: Callable[..., Any]) -> Array:
    """A column that repeats another but for one entry, the gap 10^-1 to 10^-16."""
    A = _drawn(draw, draw(SHAPES), 9)
    A[:, -1] = A[:, 0]
    A[draw(st.integers(0, len(A) - 1)), -1] += 10.0 ** -draw(st.integers(1, 16))
    return A


@st.composite
def graded(draw: Callable[..., Any]) -> Array:
    """Powers of a small step by max(i, j)."""
    step = draw(st.sampled_from([0.1, 1e-5, 1e-40, 0.5]))
    powers = np.maximum(*np.indices(draw(SHAPES)))
    steps: Array = step**powers
    return steps


FLOATS: st.SearchStrategy[Array] = st.one_of(
    arrays(np.float64, SHAPES, elements=SMALL),
    arrays(np.float64, SHAPES, elements=FAR),
    arrays(np.float64, SHAPES, elements=FINITE),
    products(),
    near_repeated(),
    graded(),
)


def upward(x: Fraction) -> float:
    """The least float that is at least x."""
    near = float(x)
    return near if Fraction(near) >= x else math.nextafter(near, math.inf)


def distance(A: Array, B: Rows) -> Array:
    """|A - B| rounded upward."""
    return np.array(
        [
            [upward(abs(Fraction(a) - b)) for a, b in zip(*rows, strict=True)]
            for rows in zip(A.tolist(), B, strict=True)
        ]
    )


@st.composite
def near_rational(draw: Callable[..., Any]) -> tuple[Array, Array, Rows]:
    """A rational matrix B, one of floats near it, and |A - B| rounded upward."""
    B = draw(rational_rows())
    if draw(st.booleans()):
        B = transposed(B)
    noise = _drawn(draw, (len(B), len(B[0])), 4) * 2.0 ** -draw(st.integers(3, 60))
    A = np.array([[float(x) for x in row] for row in B]) + noise * draw(st.booleans())
    return A, distance(A, B), B


# ---- lower <= rank <= upper


@pytest.mark.parametrize("hard", hard_matrices(), ids=lambda hard: hard.name)
def test_gallery_is_decided(hard: HardMatrix) -> None:
    bounds = rb.certified_rank(hard.matrix)
    assert (bounds.lower, bounds.upper) == (hard.rank, hard.rank)
    assert rb.check(certificate_of(bounds)).accepted
    assert bounds.verdict is rb.Verdict.RIGOROUS


@settings(max_examples=300)
@given(FLOATS)
def test_floats_are_decided_without_an_error(A: Array) -> None:
    """Elimination has the last word for matrices of this size."""
    bounds = rb.certified_rank(A)
    assert (bounds.lower, bounds.upper) == (true_rank(exact(A.tolist())),) * 2


@given(arrays(np.int64, SHAPES, elements=st.integers(-3, 3)))
def test_integers_are_decided(A: npt.NDArray[np.int64]) -> None:
    assert int(rb.certified_rank(A)) == sympy_rank(A.tolist())


def test_one_matrix_of_integers_is_exact_whatever_their_size() -> None:
    large = [[2**70 + 1, 3 * (2**70 + 1)], [1, 3]]
    assert int(rb.certified_rank(large)) == 1
    assert int(rb.certified_rank(np.array([[2**62 + 1, 2**62], [1, 1]]))) == 2


@settings(max_examples=300)
@given(near_rational(), st.booleans())
def test_lower_is_at_most_the_rank_of_any_matrix_within_the_error(
    near: tuple[Array, Array, Rows], uniform: bool
) -> None:
    A, error, B = near
    bounds = rb.certified_rank(A, float(error.max()) if uniform else error)
    assert bounds.lower <= true_rank(B)
    assert bounds.upper == min(A.shape)


@pytest.mark.parametrize("n", range(2, 17))
def test_identity_up_to_one_over_n(n: int) -> None:
    """I - 11^T/n is singular, and no matrix nearer to I entry by entry is."""
    assert rb.certified_rank(np.eye(n), error=upward(Fraction(1, n))).lower == n - 1
    assert rb.certified_rank(np.eye(n), error=0.999 / n).lower == n


@pytest.mark.parametrize("k", range(1, 53))
def test_one_entry_up_to_where_the_determinant_vanishes(k: int) -> None:
    A, only = np.array([[1.0, 1.0], [1.0, 1.0 + 2.0**-k]]), np.array([[0.0, 0.0], [0.0, 2.0**-k]])
    assert rb.certified_rank(A, error=only).lower == 1
    assert rb.certified_rank(A, error=only / 2).lower == 2


@given(st.floats(5e-324, HUGE), st.floats(0, 2))
def test_a_number_is_zero_or_not(x: float, factor: float) -> None:
    error = min(x * factor, HUGE)
    assert rb.certified_rank([[x]], error=error).lower <= (error < x)


def test_an_error_of_zero_decides_as_much_as_the_tests_can() -> None:
    assert rb.certified_rank(np.eye(3), error=0).lower == 3
    assert rb.certified_rank(np.zeros((3, 2)), error=0).lower == 0


@given(rational_rows(), st.booleans())
def test_exact_numbers_are_never_rounded_in_silence(rows: Rows, batch: bool) -> None:
    """With an error of 0, or in a batch: refused, or bounded rightly."""
    true = true_rank(rows)
    try:
        if batch:
            bounds = rb.certified_rank(np.array([rows, rows], dtype=object))[0]
        else:
            bounds = rb.certified_rank(np.array(rows, dtype=object), error=0)
    except rb.RankboundError:
        return
    assert bounds.lower <= true <= bounds.upper


@pytest.mark.parametrize(
    "rows",
    [
        [[Fraction(1, 3), 1.0], [1, 3.0]],
        [[2**53 + 1, 3 * (2**53 + 1)], [1.0, 3.0]],
        np.array([[2**53 + 1, 3 * (2**53 + 1)], [1.0, 3.0]], dtype=object),
    ],
)
def test_exact_numbers_among_floats_are_not_rounded_either(rows: Any) -> None:
    """Each has rank 1; read as float64 it would have rank 2."""
    try:
        bounds = rb.certified_rank(rows)
    except rb.RankboundError:
        return
    assert bounds.lower <= 1 <= bounds.upper


@pytest.mark.parametrize("given_error", [Fraction(1, 3), Fraction(1, 10), np.longdouble(1) / 3])
def test_the_error_is_rounded_upward(given_error: Any) -> None:
    statement = certificate_of(rb.certified_rank([[1.0]], error=given_error)).statement
    assert Fraction(*statement.error.entries[0].as_integer_ratio()) >= Fraction(
        *given_error.as_integer_ratio()
    )


@given(FLOATS)
def test_elimination_modulo_a_prime_stands_in_for_large_matrices(A: Array) -> None:
    true = true_rank(exact(A.tolist()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certified, "MOST_EXACT", 0)
        bounds = rb.certified_rank(A)
    assert bounds.lower == true
    assert bounds.upper == (true if "exact" in bounds.method else min(A.shape))
    assert rb.check(certificate_of(bounds)).accepted


def test_more_rows_than_a_minor_is_eliminated_for() -> None:
    """The certificate of a large nonsingular matrix is an approximate inverse."""
    A = np.random.default_rng(0).standard_normal((170, 165))
    bounds = rb.certified_rank(A)
    assert (bounds.lower, bounds.upper) == (165, 165)
    assert certificate_of(bounds).kind == "nonsingular-enclosure"
    assert rb.check(certificate_of(bounds)).accepted


@pytest.mark.parametrize("given_error", [0, 0.25, np.float32(0.25), np.int64(3), Fraction(1, 4)])
def test_an_error_that_float64_holds_stays_as_it_is(given_error: Any) -> None:
    statement = certificate_of(rb.certified_rank([[4.0]], error=given_error)).statement
    assert statement.error.entries == (float(given_error),)


# ---- batches


@given(
    st.sampled_from([FAR, SMALL]).flatmap(lambda x: arrays(np.float64, (2, 3, 3, 2), elements=x)),
    st.booleans(),
    st.sampled_from([None, 0.0, 0.25]),
)
def test_a_batch_is_a_loop(stack: Array, wide: bool, error: float | None) -> None:
    stack = np.swapaxes(stack, -1, -2) if wide else stack
    batch = rb.certified_rank(stack, error)
    assert np.shape(batch.lower) == np.shape(batch.upper) == (2, 3)
    for place in np.ndindex(2, 3):
        one = rb.certified_rank(stack[place], error)
        assert (batch[place].lower, batch[place].upper) == (one.lower, one.upper)


def test_each_of_a_batch_has_its_certificate() -> None:
    stack = np.array([np.eye(3), np.zeros((3, 3)), np.ones((3, 3)), np.diag([1.0, 1e-9, 1e-18])])
    for error in (None, 1e-12):
        batch = rb.certified_rank(stack.reshape(2, 2, 3, 3), error)
        for place in np.ndindex(2, 2):
            certificate = certificate_of(rb.certified_rank(stack[2 * place[0] + place[1]], error))
            assert certificate_of(batch[place]).to_json() == certificate.to_json()
            assert certificate_of(batch[place[0]][place[1]]).to_json() == certificate.to_json()
            assert rb.check(certificate).accepted
    with refused(rb.InputTypeError, "4 bounds and certify() needs one", "b[i]"):
        batch.certify()


@pytest.mark.parametrize("shape", [(), (1,), (3, 1), (2, 1, 3)])
def test_the_error_broadcasts(shape: tuple[int, ...]) -> None:
    A = np.array([np.eye(3), 2 * np.eye(3)])
    error = np.full(shape, 0.25)
    batch = rb.certified_rank(A, error)
    for i, within in enumerate(np.broadcast_to(error, A.shape)):
        assert batch[i].lower == rb.certified_rank(A[i], within).lower
        assert certificate_of(batch[i]).statement.error.entries == (0.25,) * 9


# ---- what keeps a rank


@given(FLOATS, st.data())
def test_bounds_do_not_move(A: Array, data: st.DataObject) -> None:
    """Transposed, rows and columns permuted, or halved as far as that is exact."""
    bounds = rb.certified_rank(A)
    rows, columns = (data.draw(st.permutations(range(size))) for size in A.shape)
    down, across = (
        data.draw(arrays(np.int64, size, elements=st.integers(-30, 30))) for size in A.shape
    )
    scale = np.add.outer(down, across)
    with np.errstate(over="ignore"):
        scaled = np.ldexp(A, scale)
    same = [A.T, A[rows][:, columns], np.vstack([A, A[:1]]), np.hstack([np.zeros((len(A), 1)), A])]
    if np.isfinite(scaled).all() and np.array_equal(np.ldexp(scaled, -scale), A):
        same.append(scaled)
    for moved in same:
        other = rb.certified_rank(moved)
        assert (other.lower, other.upper) == (bounds.lower, bounds.upper)


@given(near_rational(), st.integers(-900, 900))
def test_one_power_of_two_for_matrix_and_error_does_not_move_the_lower_side(
    near: tuple[Array, Array, Rows], e: int
) -> None:
    A, error, B = near
    if np.array_equal(np.ldexp(np.ldexp(error, e), -e), error):
        assert rb.certified_rank(np.ldexp(A, e), np.ldexp(error, e)).lower <= true_rank(B)


# ---- certificates


def documents(bounds: rb.RankBounds) -> tuple[dict[str, Any], dict[str, Any]]:
    """The certificate's JSON, read, and its statement."""
    document: dict[str, Any] = json.loads(certificate_of(bounds).to_json())
    return document, document["statement"]


@given(FLOATS)
def test_certificates_prove_the_bounds(A: Array) -> None:
    bounds = rb.certified_rank(A)
    document, statement = documents(bounds)
    assert (statement["lower"], statement["upper"]) == (bounds.lower, bounds.upper)
    assert statement["matrix"]["entries"] == [(x + 0.0).hex() for x in A.ravel().tolist()] or (
        statement["matrix"]["type"] == "rational"
    )
    assert rb.check(certificate_of(bounds)).accepted
    assert rb.check(json.dumps(document, indent=1)).accepted
    statement["lower"] += 1
    assert not rb.check(document).accepted


@given(near_rational())
def test_certificates_under_an_error_prove_the_lower_side(near: tuple[Array, Array, Rows]) -> None:
    A, error, _ = near
    bounds = rb.certified_rank(A, error)
    if certifiable(bounds) is None:
        return
    document, statement = documents(bounds)
    assert statement["kind"] == "rank-under-error"
    assert statement["lower"] == bounds.lower
    assert statement["error"]["entries"] == [x.hex() for x in error.ravel().tolist()]
    assert rb.check(json.dumps(document)).accepted
    statement["lower"] += 1
    assert not rb.check(document).accepted


@pytest.mark.parametrize("error", [[[0, 1e20], [0, 0]], [[0, 0], [0, 1e-310]]])
def test_an_error_far_from_the_entries_leaves_a_certificate_or_none(error: Any) -> None:
    """Triangular, so nonsingular whatever the entry above the diagonal is; nothing overflows."""
    for A in ([[1e-300, 0.0], [0.0, 1.0]], [[1e-300, 0.0], [0.0, 1e300]]):
        bounds = rb.certified_rank(A, error=error)
        if certifiable(bounds) is not None:
            assert rb.check(certificate_of(bounds)).accepted


def _nudged(document: dict[str, Any], *path: Any) -> Any:
    """Check it with the numerator of one number one higher."""
    document = json.loads(json.dumps(document))
    node: Any = document
    for step in path[:-1]:
        node = node[step]
    above, slash, below = node[path[-1]].partition("/")
    node[path[-1]] = f"{int(above, 16) + 1:#x}{slash}{below}"
    return rb.check(document)


def test_no_number_of_a_factorisation_can_change() -> None:
    document, statement = documents(rb.certified_rank([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]))
    assert document["kind"] == "factorisation"
    assert rb.check(document).accepted
    for part in ("left", "right"):
        for i in range(len(document["data"][part]["entries"])):
            assert not _nudged(document, "data", part, "entries", i).accepted
    for i in range(len(statement["matrix"]["entries"])):
        assert not _nudged(document, "statement", "matrix", "entries", i).accepted


def test_no_digit_that_matters_of_an_inverse_can_change() -> None:
    """A leading digit: the last ones leave it a left inverse that is as good."""
    A = [[2.0, 1.0], [1.0, 3.0], [0.0, 1.0]]
    document, _ = documents(rb.certified_rank(A, error=1e-3))
    assert document["kind"] == "nonsingular-enclosure"
    entries = document["data"]["inverse"]["entries"]
    largest = max(range(len(entries)), key=lambda i: abs(int(entries[i], 16)))
    for digit in "0123456789abcdef":
        text = entries[largest]
        start = text.index("x") + 1
        entries[largest] = f"{text[:start]}f{digit}{text[start:]}"
        assert not rb.check(document).accepted
        entries[largest] = text
    document["data"]["inverse"]["exponent"] += 1
    assert not rb.check(document).accepted


def test_no_index_of_a_minor_can_change_into_one_that_vanishes() -> None:
    document, _ = documents(rb.certified_rank([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    assert document["kind"] == "nonzero-minor"
    for name, value in (("columns", [0, 2]), ("columns", [0, 0]), ("rows", [1, 1])):
        assert not rb.check({**document, "data": {**document["data"], name: value}}).accepted
    assert not rb.check({**document, "data": {**document["data"], "prime": "0x3"}}).accepted


def test_without_a_certificate_nothing_is_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether none was found, or the checker does not accept the one that was."""
    false = replace(certificate_of(rb.certified_rank(TWO)), rows=(0, 0))
    assert certifiable(rb.certified_rank(TWO, error=0.1)) is not None
    for built in (None, false):
        monkeypatch.setattr(evidence, "enclosure", lambda *_, built=built: built)
        assert certifiable(rb.certified_rank(TWO, error=0.1)) is None
        assert certifiable(rb.certified_rank([TWO], error=0.1)[0]) is None


# ---- what is refused

VALUE, KIND = rb.InputError, rb.InputTypeError
LONG = np.full((2, 2), 2**53 + 1)
BAD_MATRICES: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
    "nan": ([[1.0, math.nan]], VALUE, ("nan at [0, 1]", "expected finite")),
    "inf": ([[math.inf, 1.0]], VALUE, ("inf at [0, 0]", "expected finite")),
    "vector": (np.ones(2), VALUE, ("shape (2,)", "expected a matrix")),
    "empty": (np.ones((2, 0)), VALUE, ("(2, 0)", "at least one row")),
    "ragged": ([[1.0], [1.0, 2.0]], VALUE, ("ragged",)),
    "strings": ([["a", "b"]], KIND, ("<U1", "expected real numbers")),
    "complex": (TWO * 1j, KIND, ("complex128", "expected real numbers")),
    "masked": (np.ma.masked_array(TWO), KIND, ("masked array", "Fill it")),
    "longdouble": (TWO.astype(np.longdouble) / 3, KIND, ("not hold exactly", "rb.exact_rank")),
    "batch of large integers": (LONG[None], KIND, ("int64", "not hold exactly", "rb.exact_rank")),
}
BAD_ERRORS: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
    "negative": (-0.1, VALUE, ("error holds -0.1", "expected finite numbers of at least 0")),
    "nan": (math.nan, VALUE, ("error holds nan", "expected finite numbers")),
    "infinite": (math.inf, VALUE, ("error holds inf", "expected finite numbers")),
    "of another shape": (np.ones(3), VALUE, ("error has shape (3,)", "A (2, 2)")),
    "of more axes": (np.ones((2, 2, 2)), VALUE, ("error has shape (2, 2, 2)", "A (2, 2)")),
    "of no numbers": ([], VALUE, ("error has shape (0,)",)),
    "in words": ("small", KIND, ("expected numbers",)),
    "beyond float64": (np.longdouble("1e400"), VALUE, ("error holds inf",)),
    "masked": (np.ma.masked_array(0 * TWO), KIND, ("masked array",)),
}
BAD = [
    *(
        case(name, kind, parts, rb.certified_rank, A)
        for name, (A, kind, parts) in BAD_MATRICES.items()
    ),
    *(
        case(f"error {name}", kind, parts, rb.certified_rank, TWO, error)
        for name, (error, kind, parts) in BAD_ERRORS.items()
    ),
    case("large, with an error", KIND, ("not hold exactly",), rb.certified_rank, LONG, 1.0),
]


@pytest.mark.parametrize(("call", "error", "parts"), BAD)
def test_refuses(call: Callable[[], Any], error: type[Exception], parts: tuple[str, ...]) -> None:
    with refused(error, *parts):
        call()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.bool_])
def test_every_dtype_that_float64_holds_is_taken(dtype: Any) -> None:
    assert int(rb.certified_rank(np.eye(2, dtype=dtype))) == 2
    assert rb.certified_rank(np.ones((1, 2, 2), dtype=dtype)).upper.tolist() == [1]  # type: ignore[union-attr]


# ---- no test says True of a matrix that is singular within its error


def says_nothing_wrong(A: Array, error: Array, rank: int) -> None:
    """A is (m, n), m >= n, and a matrix of the given rank below n lies within the error."""
    radius = frobenius(error)
    assert singular_values_above(A, radius) <= rank
    for matrix, within in ((A, error), scale_columns(A, error)):
        assert within is not None
        assert not gram_is_definite(matrix, frobenius(within))
        assert not preconditioned_gram_is_definite(matrix, frobenius(within), sliced=True)
        assert not has_left_inverse(matrix, within)
    if A.shape[0] == A.shape[1]:
        assert not is_nonsingular(A, error)


def is_singular(A: Array) -> None:
    """The same for a matrix that is singular itself."""
    for matrix in (A, scale_columns(A, None)[0]):
        assert not gram_is_definite(matrix, 0.0)
        assert not preconditioned_gram_is_definite(matrix, 0.0, sliced=True)
        assert not has_left_inverse(matrix, None)
    assert not grams_are_definite(A[None]).any()
    assert not grams_are_definite(A.T[None]).any()
    if A.shape[0] == A.shape[1]:
        assert not is_nonsingular(A, np.zeros(A.shape))


@settings(max_examples=200)
@given(products(tall=True))
def test_singular_matrices(A: Array) -> None:
    if true_rank(exact(A.tolist())) < A.shape[1]:
        is_singular(A)


@settings(max_examples=200)
@given(near_rational())
def test_matrices_that_were_rounded_from_singular_ones(near: tuple[Array, Array, Rows]) -> None:
    A, error, B = near
    if A.shape[0] < A.shape[1]:
        A, error, B = A.T, error.T, transposed(B)
    rank = true_rank(B)
    if rank < A.shape[1]:
        says_nothing_wrong(A, error, rank)


@settings(max_examples=200)
@given(products(tall=True), st.data())
def test_matrices_at_the_rounding_level_from_singular_ones(B: Array, data: st.DataObject) -> None:
    """B and a matrix of rank 1 of size sqrt(u) ‖B‖ or less: its norm is the radius, no slack."""
    rank = true_rank(exact(B.tolist()))
    if rank == B.shape[1]:
        return
    u, v = (_drawn(data.draw, (size, 1), 3) for size in B.shape)
    exponent = int(np.frexp(np.abs(B).max())[1]) - data.draw(st.integers(15, 60))
    A = B + np.ldexp(u @ v.T, exponent)
    says_nothing_wrong(A, distance(A, exact(B.tolist())), rank)


def test_many_singular_matrices() -> None:
    """Of small integers times odd ones: many Cholesky decompositions run on where none should."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(2, 7))
        left, right = rng.integers(-9, 10, (n, n - 1)), rng.integers(-9, 10, (n - 1, n))
        is_singular((left @ right).astype(float) * rng.choice([1.0, 3.0, 2.0**-30]))


@pytest.mark.parametrize("k", range(1, 30))
def test_gram_at_the_edge_of_its_shift(k: int) -> None:
    """H diag(1, 1, 1, s), H^T H = 4 I: the nearest singular matrix is 2 s away, exactly."""
    s = 2.0**-k
    A = HADAMARD[:4, :4] * [1.0, 1.0, 1.0, s]
    assert not gram_is_definite(A, 2 * s)
    assert not gram_is_definite(A, math.nextafter(2 * s, math.inf))
    # the shift is 32 u times ‖A‖_F² = 12, and doubled where it is rounded up
    if (2 * s) ** 2 * (1 - 0.99**2) > 2 * 32 * 12 * 2.0**-53:
        assert gram_is_definite(A, 0.99 * 2 * s)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("k", range(1, 30))
def test_gram_at_the_edge_of_its_shift_with_one_row_apart(k: int, order: Literal["C", "F"]) -> None:
    """The same, its last row given beside it; what was in the room is of no account."""
    s = 2.0**-k
    A = HADAMARD[:4, :4] * [1.0, 1.0, 1.0, s]
    rows, room = np.asarray(A[:3], order=order), np.full((4, 4), np.nan)
    assert not gram_is_definite(rows, 0.0)
    assert not gram_is_definite(rows, 2 * s, A[3], room)
    if (2 * s) ** 2 * (1 - 0.99**2) > 2 * 32 * 12 * 2.0**-53:
        assert gram_is_definite(rows, 0.99 * 2 * s, A[3], room)
        assert gram_is_definite(rows, 0.99 * 2 * s, A[3])


@pytest.mark.parametrize("shape", [(60, 60), (90, 60)])
def test_an_ill_conditioned_matrix_passes_when_preconditioned(shape: tuple[int, int]) -> None:
    """Singular values from 1 to 1e-9: the Gram matrix alone shows nothing below 1e-7."""
    rng, n = np.random.default_rng(0), min(shape)
    left, right = (np.linalg.qr(rng.standard_normal((k, n)))[0] for k in shape)
    A = left * np.logspace(0, -9, n) @ right.T
    for matrix in (A, A.T):
        found = rb.certified_rank(matrix)
        assert found.lower == n
        assert evidence.PRECONDITIONED in found.method
    # one of rank n - 1 lies this far away, in the same direction
    error = 1.01e-9 * np.abs(np.outer(left[:, -1], right[:, -1]))
    assert not preconditioned_gram_is_definite(A, frobenius(error))
    assert n - 6 < rb.certified_rank(A, error=error).lower < n


def spread(m: int, n: int, condition: float) -> Array:
    """Columns that are all alike, of singular values that fall evenly to 1/condition."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((k, n)))[0] for k in (m, n))
    return np.asarray(left * np.geomspace(1, 1 / condition, n) @ right.T, np.float64)


@pytest.mark.parametrize("m", [256, 300])
def test_where_pivots_fall_the_gram_matrix_is_not_tried(m: int) -> None:
    """At a condition of 10^5 its test passes, at 10^8 it does not, and the guess says so."""
    for condition, passes in ((1e3, True), (1e5, True), (1e8, False), (1e10, False)):
        A = spread(m, 256, condition)
        assert gram_is_definite(A, 0.0) is passes
        for scale in (1.0, 2.0**100, 2.0**-100):
            assert evidence._pivots_run_out(scale * A) is not passes
        assert evidence._pivots_run_out(A[:, :255]) is False
        found = rb.certified_rank(A)
        assert found.lower == 256
        assert (evidence.GRAM if passes else evidence.PRECONDITIONED) + ";" in found.method


def test_a_guess_from_pivots_decides_nothing() -> None:
    """A quarter whose pivots fall, and three that are orthogonal to it; and what is no guess."""
    A = np.zeros((256, 256))
    A[:64, :64], A[64:, 64:] = spread(64, 64, 1e5), np.eye(192)
    assert evidence._pivots_run_out(A)
    assert gram_is_definite(A, 0.0)
    assert rb.certified_rank(A).lower == 256
    for quarter in (np.zeros((256, 64)), np.ones((256, 64)), np.full((256, 64), 1e200)):
        A[:, :64] = quarter
        assert not evidence._pivots_run_out(A)
        assert rb.certified_rank(A).lower < 256


@pytest.mark.parametrize("shape", [(60, 60), (90, 60)])
def test_slices_reach_further(shape: tuple[int, int]) -> None:
    """Singular values from 1 to 1e-14, and one of 0 instead of the last, to rounding."""
    rng, n = np.random.default_rng(0), min(shape)
    left, right = (np.linalg.qr(rng.standard_normal((k, n)))[0] for k in shape)
    values = np.logspace(0, -14, n)
    A = left * values @ right.T
    assert not preconditioned_gram_is_definite(A, 0.0)
    assert preconditioned_gram_is_definite(A, 0.0, sliced=True)
    assert not preconditioned_gram_is_definite(A, 1.01 * values[-1] * math.sqrt(n), sliced=True)
    assert evidence.PRECONDITIONED in rb.certified_rank(A).method
    # a slice of these would be out of range
    assert not preconditioned_gram_is_definite(A * 2.0**-400, 0.0, sliced=True)
    assert rb.certified_rank(A * 2.0**-400).lower == n


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(0, 30), st.integers(0, 2**32))
def test_the_error_of_a_sliced_product_is_bounded(n: int, spread: int, seed: int) -> None:
    """Rows and columns of X that nearly annihilate those of A, beside the exact product."""
    rng = np.random.default_rng(seed)
    A, X = np.ldexp(rng.standard_normal((2, n, n)), rng.integers(-spread, spread + 1, (2, n, n)))
    X -= np.linalg.pinv(A) @ (A @ X)  # what is left of A X is rounding
    product, bound = evidence.sliced_product(A, X)
    exact_product = times(exact(A.tolist()), exact(X.tolist()))
    off = sum(
        (Fraction(x) - y) ** 2
        for row, others in zip(product.tolist(), exact_product, strict=True)
        for x, y in zip(row, others, strict=True)
    )
    assert off <= Fraction(float(bound)) ** 2
    sizes = np.linalg.norm(A) * np.linalg.norm(X)
    assert bound <= 2.0**-52 * np.linalg.norm(product) + n * 2.0**-85 * sizes + 1e-150


def test_the_error_of_a_sliced_product_that_is_zero_is_bounded() -> None:
    """(a, b) times (b, -a): nothing is left but the rounding of the slices that are not exact."""
    for a, b in np.random.default_rng(0).standard_normal((100, 2)):
        product, bound = evidence.sliced_product(np.array([[a, b]]), np.array([[b], [-a]]))
        assert abs(product[0, 0]) <= bound <= 2.0**-90 * (a * a + b * b) + 1e-150


def test_an_ill_conditioned_triangle_is_left_to_its_inverse() -> None:
    """Ones on the diagonal and -1 below: U = I, so nothing is gained, and L has condition 2^30."""
    A = np.eye(30) - np.tri(30, k=-1)
    assert not gram_is_definite(A, 0.0)
    assert not preconditioned_gram_is_definite(np.asfortranarray(A), 0.0)
    assert has_left_inverse(A, None)
    assert rb.certified_rank(np.vstack([A, A])).lower == 30


@pytest.mark.parametrize("n", [2, 4, 8])
def test_no_singular_value_is_above_itself(n: int) -> None:
    """H D H, H^T H = n I, D of integers: the singular values are n times those, exactly.

    Where the first of D is 0 the columns sum to 0.
    """
    rng, H = np.random.default_rng(n), HADAMARD[:n, :n]
    for trial in range(200):
        d = rng.integers(1, 2 ** rng.integers(2, 40), n).astype(float)
        d[0] *= trial % 2
        A, place = H * d @ H, rng.integers(n)
        above = int(np.count_nonzero(d > d[place]))
        assert singular_values_above(A, n * d[place]) <= above
        near = math.nextafter(n * d[place], 0.0)
        assert singular_values_above(A, near) <= int(np.count_nonzero(n * d > near))
        assert singular_values_above(A, 0.999 * n * d[place]) >= above


@pytest.mark.parametrize("n", [4, 16, 40])
def test_one_singular_value_that_cannot_be_shown_costs_one(n: int) -> None:
    """The last but one is 10^-4 (1 + 1e-15), at the radius; the others are far above it."""
    values = np.r_[np.ones(n - 2), 1e-4 * (1 + 1e-15), 1e-5]
    assert singular_values_above(np.diag(values), 1e-4) == n - 2


@pytest.mark.parametrize(("above", "sketched"), [(30, True), (100, False)])
def test_what_a_sketch_leaves_out_is_looked_for(above: int, sketched: bool) -> None:
    """Of size 256, with so many singular values 1; the others together are below the radius."""
    rng, n = np.random.default_rng(0), 256
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    A = left * np.r_[np.ones(above), np.full(n - above, 1e-6)] @ right.T
    assert (evidence._sketched_values(A, 1e-3) is not None) is sketched
    assert singular_values_above(A, 1e-3) == above
    assert np.count_nonzero(evidence.leading_values(A, 1e-3)[1] > 1e-3) == above


def test_a_centred_matrix_that_is_ill_conditioned_needs_no_decomposition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its singular values but one go from 1 to 1e-9; above that radius there is one fewer."""
    rng, n = np.random.default_rng(0), 40
    basis = np.linalg.qr(np.c_[np.ones(n), rng.standard_normal((n, n - 1))])[0][:, 1:]
    right = np.linalg.qr(rng.standard_normal((n, n - 1)))[0]
    A = basis * np.logspace(0, -9, n - 1) @ right.T
    assert singular_values_above(A, 1.01e-9) == n - 2
    monkeypatch.delattr(np.linalg, "svd")
    assert singular_values_above(A, 0.5e-11) == n - 1


# ---- rounding


@settings(max_examples=200)
@given(st.data(), st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 3)))
def test_product_error_bounds_the_error(data: st.DataObject, sizes: tuple[int, int, int]) -> None:
    tiny = st.sampled_from([1e-162, 3e-162, 1.0])  # products just below and above η/2
    elements = data.draw(st.sampled_from([FAR, FINITE, SMALL, tiny]))
    p, m, q = sizes
    shapes = ((p, m), (m, q))
    left, right = (data.draw(arrays(np.float64, shape, elements=elements)) for shape in shapes)
    with np.errstate(over="ignore", invalid="ignore"):
        found, bound = left @ right, product_error(left, right)
    true = times(exact(left.tolist()), exact(right.tolist()))
    for i, j in np.argwhere(np.isfinite(found)):
        error = abs(Fraction(found[i, j]) - true[i][j])
        assert bound[i, j] == math.inf or Fraction(bound[i, j]) >= error


NONNEGATIVE = st.floats(0, 1e150) | st.sampled_from([5e-324, 1e-162, 1e-310])


@given(arrays(np.float64, st.integers(1, 40), elements=NONNEGATIVE), NONNEGATIVE)
def test_up_bounds_what_was_rounded(terms: Array, factor: float) -> None:
    """A sum, a product, a quotient and a root, each with at most one underflow."""
    first = Fraction(terms.tolist()[0])
    total = sum(map(Fraction, terms.tolist()), Fraction(0))
    assert Fraction(float(up(terms.sum(), len(terms)))) >= total
    assert Fraction(float(up(terms[0] * factor, 1))) >= first * Fraction(factor)
    root = Fraction(float(up(math.sqrt(terms[0]), 1)))
    assert root * root >= first
    if factor > 1e-100:
        assert Fraction(float(up(terms[0] / factor, 1))) >= first / Fraction(factor)


@given(arrays(np.float64, SHAPES, elements=st.floats(0, 1e150)))
@example(np.full((6, 6), 1.5e-162))  # the squares, each less than η/2, vanish one by one
def test_frobenius_is_never_below_the_norm(error: Array) -> None:
    assert frobenius(None) == 0.0  # no error
    norm = Fraction(frobenius(error))
    assert norm * norm >= sum((Fraction(x) ** 2 for x in error.ravel().tolist()), Fraction(0))


class Lossy(np.ndarray[Any, np.dtype[np.float64]]):
    """An array whose matrix products keep only so many bits of their factors."""

    bits = 53

    def __matmul__(self, other: Any) -> Any:
        return self._cut(self) @ self._cut(other)

    def _cut(self, A: Any) -> Array:
        mantissa, exponent = np.frexp(np.asarray(A))
        kept: Array = np.ldexp(np.rint(np.ldexp(mantissa, self.bits)), exponent - self.bits)
        return kept


def with_products_of(bits: int, patch: pytest.MonkeyPatch) -> None:
    """Let the arrays that the check of the model makes be lossy, and the check be made anew."""
    kind = type("Lossy", (Lossy,), {"bits": bits})

    def made(name: str) -> Callable[..., Any]:
        return lambda *arguments: getattr(np, name)(*arguments).view(kind)

    names = {name: made(name) for name in ("full", "ones", "array")}
    patch.setattr(rounding, "np", SimpleNamespace(**names, max=np.max, abs=np.abs))
    rounding._check_bits.cache_clear()


@pytest.mark.parametrize("bits", [8, 11, 24, 46])
def test_a_blas_with_fewer_bits_is_refused(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with_products_of(bits, monkeypatch)
    for call in (rounding.check_model, lambda: rb.certified_rank(np.eye(2))):
        with refused(rb.RankboundError, "fewer than 47 bits", "another BLAS"):
            call()
    with refused(rb.RankboundError, "no rounding bound holds"):
        rb.certified_log_rank(np.full((2, 2), 0.5))


def test_a_blas_with_all_bits_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with_products_of(53, monkeypatch)
    rounding.check_model()


def cut(A: Any, bits: int) -> Any:
    """An array with so many bits of each entry; anything else as it is."""
    if not isinstance(A, np.ndarray):
        return A
    mantissa, exponent = np.frexp(A)
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)


@pytest.mark.parametrize("bits", [8, 11, 24, 46])
@pytest.mark.parametrize(
    ("library", "name"),
    [("blas", "dsyrk"), ("blas", "dsyr"), ("blas", "dtrmm"), ("lapack", "dpotrf")],
)
def test_a_library_of_scipy_with_fewer_bits_is_refused(
    library: str, name: str, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only SciPy's, while NumPy's products have all bits: by every test that uses it."""
    module = importlib.import_module(f"scipy.linalg.{library}")
    sound = getattr(module, name)

    def lossy(*arguments: Any, **options: Any) -> Any:
        return sound(*(cut(x, bits) for x in arguments), **options)

    monkeypatch.setattr(module, name, lossy)
    rounding.check_lapack.cache_clear()
    try:
        rounding.check_model()
        tests: list[Callable[[], Any]] = [
            lambda: gram_is_definite(TWO, 0.0),
            lambda: grams_are_definite(TWO[None]),
            lambda: preconditioned_gram_is_definite(TWO, 0.0),
            lambda: rb.certified_rank(TWO),
            lambda: rb.certified_log_rank(rb.random_context(4, 0)),
        ]
        for call in tests:
            with refused(rb.RankboundError, f"SciPy's {name}", "fewer than 47 bits", "another"):
                call()
    finally:
        rounding.check_lapack.cache_clear()


def test_the_library_of_scipy_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rounding.check_lapack()
    blas = importlib.import_module("scipy.linalg.blas")
    monkeypatch.setattr(blas, "dtrmm", None)  # a call would raise
    assert gram_is_definite(TWO, 0.0)


def test_flushing_to_zero_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it is set: looked at on each call."""
    rounding.check_model()
    monkeypatch.setattr(rounding, "ETA", 0.0)  # what a thread in that mode reads
    monkeypatch.setattr(rounding, "np", SimpleNamespace(array=lambda _: np.zeros((1, 1))))
    with refused(rb.RankboundError, "flushes subnormal numbers", "Turn that mode off"):
        rounding.check_model()


# ---- the long search


def test_a_sample_of_the_long_search() -> None:
    """scripts/fuzz_certificates.py, whose own eyes are tested first."""
    path = Path(__file__).parents[2] / "scripts" / "fuzz_certificates.py"
    spec = importlib.util.spec_from_file_location("fuzz_certificates", path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    tally: Counter[str] = Counter()
    for index in range(300):
        script.trial(1, index, tally, sampled=0.1)
    assert tally["certificates"] > 50
    assert tally["rejected"] > 50


def test_an_irrational_error_is_rounded_upward() -> None:
    error = sympy.sqrt(2) / 10
    stated = certificate_of(rb.certified_rank([[1.0]], error=error)).statement.error.entries[0]
    assert Fraction(*stated.as_integer_ratio()) ** 2 >= Fraction(2, 100)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (4, 4)])
def test_a_stack_is_decided_matrix_by_matrix(shape: tuple[int, int]) -> None:
    """One that is singular, tiny or not finite says nothing of the others."""
    good = np.eye(*shape) + 0.125
    others = [np.zeros(shape), np.ones(shape), 1e-200 * good, np.full(shape, 1e300)]
    stack = np.stack([good, *others, 2 * good])
    found = grams_are_definite(stack)
    assert found.tolist() == [True, *[False] * len(others), True]
    assert found.tolist() == [bool(grams_are_definite(one[None])[0]) for one in stack]
