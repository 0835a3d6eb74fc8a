"""Which keys can win: against convex hulls, envelopes of lines, and the evidence by itself."""

from __future__ import annotations

import itertools
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

import rankbound as rb
from rankbound.theory.argmax import Argmaxable
from tests.helpers import Array, refused


def exactly(x: Any) -> Fraction:
    return Fraction(x) if isinstance(x, (int, Fraction)) else Fraction(float(x))


def check_evidence(found: Argmaxable, K: Any, b: Any = None) -> None:
    """Every answer is shown by what comes with it, over the rationals."""
    k, n = np.shape(K)
    biases = np.zeros(n) if b is None else b
    told = np.stack([found.argmaxable, found.unargmaxable, found.undecided])
    assert (told.sum(axis=0) == 1).all()
    in_floats = ~np.isnan(found.queries).any(axis=0)
    in_rationals = np.isin(np.arange(n), list(found.rational_queries))
    assert (in_floats | in_rationals == found.argmaxable).all()
    assert not (in_floats & in_rationals).any()
    assert set(found.weights) == set(np.flatnonzero(found.unargmaxable).tolist())
    keys = [[exactly(x) for x in column] for column in zip(*K, strict=True)]
    offsets = [exactly(x) for x in biases]
    for i in np.flatnonzero(found.argmaxable).tolist():
        lost = found.rational_queries.get(i)
        query = [exactly(x) for x in found.queries[:, i]] if lost is None else list(lost)
        scores = [
            sum((x * y for x, y in zip(query, key, strict=True)), offset)
            for key, offset in zip(keys, offsets, strict=True)
        ]
        assert all(scores[i] > score for j, score in enumerate(scores) if j != i)
    for i, weights in found.weights.items():
        assert i not in weights
        assert min(weights.values()) > 0
        assert sum(weights.values()) == 1
        for row in range(k):
            assert sum(w * keys[j][row] for j, w in weights.items()) == keys[i][row]
        assert sum(w * offsets[j] for j, w in weights.items()) >= offsets[i]


def strict_vertices(points: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """Strict vertices of a hull in the plane: Andrew's monotone chain, in integers."""

    def chain(ordered: list[tuple[int, int]]) -> list[tuple[int, int]]:
        out: list[tuple[int, int]] = []
        for p in ordered:
            while len(out) > 1 and _turn(out[-2], out[-1], p) <= 0:
                out.pop()
            out.append(p)
        return out

    ordered = sorted(set(points))
    return {*chain(ordered), *chain(ordered[::-1])}


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@pytest.mark.parametrize(("k", "n"), [(2, 40), (3, 40), (4, 30)])
def test_vertices_of_the_convex_hull(k: int, n: int) -> None:
    for seed in range(3):
        K = np.random.default_rng(seed).standard_normal((k, n))
        found = rb.argmaxable(K)
        vertices = np.isin(np.arange(n), ConvexHull(K.T).vertices)
        np.testing.assert_array_equal(found.argmaxable, vertices)
        np.testing.assert_array_equal(found.unargmaxable, ~vertices)
        check_evidence(found, K)


small = st.integers(-3, 3)


@settings(max_examples=60)
@given(st.lists(st.tuples(small, small), min_size=1, max_size=9))
def test_points_of_a_grid(points: list[tuple[int, int]]) -> None:
    """Repeated, collinear and inner keys: none undecided."""
    K = np.array(points, float).T
    found = rb.argmaxable(K)
    vertices = strict_vertices(points)
    expected = [p in vertices and points.count(p) == 1 for p in points]
    assert found.argmaxable.tolist() == expected
    assert not found.undecided.any()
    check_evidence(found, K)


def on_the_envelope(lines: list[tuple[int, int]]) -> list[bool]:
    """Lines q -> k q + b strictly above all others somewhere: tried between all crossings."""
    crossings = sorted(
        {
            Fraction(b2 - b1, k1 - k2)
            for (k1, b1), (k2, b2) in itertools.combinations(lines, 2)
            if k1 != k2
        }
    )
    tries = [Fraction(0)]
    if crossings:
        tries = [crossings[0] - 1, crossings[-1] + 1]
        tries += [(x + y) / 2 for x, y in itertools.pairwise(crossings)]
    wins = [False] * len(lines)
    for q in tries:
        scores = [k * q + b for k, b in lines]
        if scores.count(max(scores)) == 1:
            wins[scores.index(max(scores))] = True
    return wins


@settings(max_examples=60)
@given(
    st.lists(st.tuples(small, small), min_size=1, max_size=8),
    st.sampled_from([1.0, 2.0**-1000, 2.0**1000]),
    st.sampled_from([1.0, 2.0**-1000, 2.0**1000]),
)
def test_biases_by_the_upper_envelope(
    lines: list[tuple[int, int]], scale: float, bias_scale: float
) -> None:
    """No power of two that scales keys or biases changes who can win."""
    K = np.array([[k for k, _ in lines]], float) * scale
    b = np.array([b for _, b in lines], float) * bias_scale
    found = rb.argmaxable(K, biases=b)
    assert found.argmaxable.tolist() == on_the_envelope(lines)
    assert not found.undecided.any()
    extreme = {scale, bias_scale} == {2.0**-1000, 2.0**1000}
    # else float64 holds the queries, of size bias_scale / scale
    assert extreme or not found.rational_queries
    check_evidence(found, K, b)


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(0, 2**32 - 1), st.booleans())
def test_evidence(k: int, n: int, seed: int, biased: bool) -> None:
    rng = np.random.default_rng(seed)
    K = rng.standard_normal((k, n)) * 10.0 ** rng.integers(-8, 8, (k, 1))
    K[:, rng.integers(n)] = K[:, rng.integers(n)]
    b = rng.standard_normal(n) if biased else None
    check_evidence(rb.argmaxable(K, biases=b), K, b)


def test_biases_that_balance() -> None:
    """Where the weights of k + 2 keys are determined by the biases only."""
    for seed in range(4):
        K = np.random.default_rng(seed).standard_normal((2, 10))
        b = np.random.default_rng(seed + 1).standard_normal(10)
        found = rb.argmaxable(K, biases=b)
        assert not found.undecided.any()
        check_evidence(found, K, b)


def test_wrong_weights_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A linear program that gives the same weight to every key is not believed."""

    def misleading(c: Array, A_ub: Array, **_: Any) -> SimpleNamespace:
        weights = SimpleNamespace(marginals=-np.ones(len(A_ub)))
        return SimpleNamespace(success=True, x=np.zeros(len(c)), ineqlin=weights)

    monkeypatch.setattr("scipy.optimize.linprog", misleading)
    K = np.array([[0.0, 1.0, 4.0, 0.0], [0.0, 1.0, 0.0, 4.0]])
    for keys in (K, K[:, :3]):
        found = rb.argmaxable(keys)
        assert (
            found.unargmaxable.tolist()
            == [False, keys.shape[1] == 4, False, False][: keys.shape[1]]
        )
        check_evidence(found, keys)


def test_keys_on_a_sphere_always_win() -> None:
    K = np.random.default_rng(0).standard_normal((3, 400))
    assert rb.argmaxable(K / np.linalg.norm(K, axis=0)).argmaxable.all()


def test_at_most_k_plus_1_keys_in_general_position_win() -> None:
    K = np.random.default_rng(0).standard_normal((5, 6))
    assert rb.argmaxable(K).argmaxable.all()


def test_repeated_keys() -> None:
    K = np.array([[0.0, 1.0, 1.0, 3.0]])
    found = rb.argmaxable(K)
    assert found.argmaxable.tolist() == [True, False, False, True]
    assert dict(found.weights[1]) == {2: Fraction(1)}
    assert dict(found.weights[2]) == {1: Fraction(1)}
    lifted = rb.argmaxable(K, biases=[0.0, 5.0, 4.0, 0.0])
    assert lifted.argmaxable.tolist() == [True, True, False, True]
    check_evidence(lifted, K, np.array([0.0, 5.0, 4.0, 0.0]))
    assert rb.argmaxable(np.zeros((2, 3))).unargmaxable.all()
    assert rb.argmaxable(np.zeros((2, 1))).argmaxable.all()


def test_floats_are_exact_numbers() -> None:
    """(0.2, 0.8) is not on the segment from (0.1, 0.7) to (0.3, 0.9) once these are rounded."""
    K = np.array([[0.1, 0.3, 0.2], [0.7, 0.9, 0.8]])
    a, c, m = ([exactly(x) for x in K[:, j]] for j in range(3))
    assert (c[0] - a[0]) * (m[1] - a[1]) != (c[1] - a[1]) * (m[0] - a[0])
    found = rb.argmaxable(K)
    assert not found.unargmaxable.any()
    check_evidence(found, K)


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e300, 1.7e308])
def test_the_ends_of_float64(size: float) -> None:
    K = size * np.array([[1.0, -1.0, 1.0, -1.0, 0.0], [1.0, 1.0, -1.0, -1.0, 0.0]])
    found = rb.argmaxable(K)
    assert found.argmaxable.tolist() == [True] * 4 + [False]
    check_evidence(found, K)


@pytest.mark.parametrize("offset", [2.0**-53, -(2.0**-53)])
def test_within_rounding_of_the_hull(offset: float) -> None:
    """One key is beside an edge, by less than the linear program resolves."""
    K = np.array([[0.0, 1.0, 0.5 + offset, 1.0], [0.0, 1.0, 0.5, 0.0]])
    found = rb.argmaxable(K)
    outside = offset < 0
    assert found.argmaxable.tolist() == [True, True, outside, True]
    assert found.unargmaxable[2] == (not outside)
    check_evidence(found, K)


def wins_by_elimination(columns: list[list[Fraction]], i: int) -> bool:
    """Fourier and Motzkin: eliminate q from ``q·(k_i - k_j) + b_i - b_j > 0``, exactly."""
    rows = {
        tuple(x - y for x, y in zip(columns[i], other, strict=True))
        for j, other in enumerate(columns)
        if j != i
    }
    for _ in range(len(columns[0]) - 1):
        above, below = ([row for row in rows if s * row[0] > 0] for s in (1, -1))
        rows = {row[1:] for row in rows if row[0] == 0}
        rows |= {
            tuple(x / abs(up[0]) + y / abs(down[0]) for x, y in zip(up, down, strict=True))[1:]
            for up, down in itertools.product(above, below)
        }
    return all(row[0] > 0 for row in rows)


@st.composite
def wide_ranges(draw: Any) -> tuple[list[list[Fraction]], list[Fraction], bool]:
    """Keys, biases or none, of scales up to 1e15 apart; some inside the hull of others, or near."""
    k, n = draw(st.integers(1, 2)), draw(st.integers(3, 6))
    scales = st.sampled_from([Fraction(10) ** e for e in (-9, -6, -3, 0, 3, 6)])
    columns = [
        [draw(st.integers(-20, 20)) * scale for _ in range(k + 1)]
        for scale in draw(st.lists(scales, min_size=n, max_size=n))
    ]
    rows = [draw(scales) for _ in range(k + 1)] if draw(st.booleans()) else [Fraction(1)] * (k + 1)
    columns = [[x * r for x, r in zip(column, rows, strict=True)] for column in columns]
    biased = draw(st.booleans())
    if not biased:
        columns = [[*column[:-1], Fraction(0)] for column in columns]
    weights = [draw(st.integers(0, 3)) * draw(scales) for _ in columns]
    if sum(weights):  # one more, inside; then moved a little
        inner = [
            sum((w * c[r] for w, c in zip(weights, columns, strict=True)), Fraction(0))
            / sum(weights)
            for r in range(k + 1)
        ]
        inner[draw(st.integers(0, k)) if biased else 0] += draw(st.integers(-1, 1)) * draw(scales)
        columns.append(inner)
    table = [list(row) for row in zip(*columns, strict=True)]
    return table[:-1], table[-1], biased


@settings(max_examples=80, deadline=None)
@given(wide_ranges(), st.booleans())
def test_scales_that_differ(
    case: tuple[list[list[Fraction]], list[Fraction], bool], rounded: bool
) -> None:
    """Interior and exterior keys, floats or Fractions: none undecided, each as by elimination."""
    keys: Any
    keys, biases, biased = case
    b: Any = biases if biased else None
    if rounded:
        keys = np.array([[float(x) for x in row] for row in keys])
        b = np.array([float(x) for x in biases]) if biased else None
    found = rb.argmaxable(keys, biases=b)
    offsets = [Fraction(0)] * len(biases) if b is None else [exactly(x) for x in b]
    columns = [[exactly(x) for x in column] for column in zip(*keys, offsets, strict=True)]
    expected = [wins_by_elimination(columns, i) for i in range(len(columns))]
    assert not found.undecided.any()
    assert found.argmaxable.tolist() == expected
    check_evidence(found, keys, b)


def test_a_small_weight_is_not_dropped() -> None:
    """Key 2 lies between keys 0 and 1 but for a billionth of key 3."""
    K = np.array([[0, 0, -0.01, -1e7], [10, -10, -0.01, -1e7]])
    found = rb.argmaxable(K)
    assert found.unargmaxable.tolist() == [False, False, True, False]
    assert 0 < found.weights[2][3] < Fraction(1, 10**8)
    check_evidence(found, K)


BIG = 2**53


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([[0, BIG, BIG + 1]], [True, False, True]),
        ([[Fraction(1, 2), BIG, BIG + 1]], [True, False, True]),
        ([[0.5, BIG, BIG + 2]], [True, False, True]),
        (np.array([[0, BIG, BIG + 1]]), [True, False, True]),
        (np.array([[0, BIG, BIG + 1]], np.uint64), [True, False, True]),
        ([[0, 3 * BIG, 3 * BIG + 1, 3 * BIG]], [True, False, True, False]),
        ([[Fraction(1, 3), Fraction(1, 3) + Fraction(1, 10**30), 0]], [False, True, True]),
        ([[Fraction(1, 10**400), 0, Fraction(1, 10**401)]], [True, True, False]),
    ],
)
def test_exact_numbers_are_not_rounded(keys: Any, expected: list[bool]) -> None:
    found = rb.argmaxable(keys)
    assert found.argmaxable.tolist() == expected and not found.undecided.any()
    table = keys.tolist() if isinstance(keys, np.ndarray) else keys
    check_evidence(found, table)


def test_exact_biases_are_not_rounded() -> None:
    keys = [[0, 1, 2]]
    for middle, wins in ((BIG + 1, False), (BIG + 2, True)):
        found = rb.argmaxable(keys, biases=[BIG, middle, BIG + 2])
        assert found.argmaxable.tolist() == [True, wins, True]
        check_evidence(found, keys, [Fraction(x) for x in (BIG, middle, BIG + 2)])


def test_a_query_that_float64_does_not_hold() -> None:
    """Keys 1 and 2 agree but for the last of 60 digits in one coordinate."""
    keys: list[list[Any]]
    keys = [[0, Fraction(10**60), Fraction(10**60 + 1), 2 * 10**60], [0, 0, 1, 0]]
    biases: list[Any] = [0, Fraction(10**30), Fraction(10**30), 0]
    found = rb.argmaxable(keys, biases=biases)
    assert not found.undecided.any()
    check_evidence(found, keys, [Fraction(x) for x in biases])


def test_numbers_that_would_be_rounded_beside_floats_are_refused() -> None:
    """NumPy would make floats of these integers."""
    with refused(rb.InputTypeError, "keys mixes exact numbers with floats", "Fractions"):
        rb.argmaxable([[0.5, BIG, BIG + 1]])
    with refused(rb.InputTypeError, "biases mixes exact numbers with floats"):
        rb.argmaxable([[0, 1, 2]], biases=[0.5, BIG, BIG + 1])


def test_irrational_keys_are_refused() -> None:
    sympy = pytest.importorskip("sympy")
    with refused(rb.InputTypeError, "irrational", "Pass floats"):
        rb.argmaxable([[0, sympy.sqrt(2), 2 * sympy.sqrt(2)]])


def test_what_programs_leave_open_is_decided_over_the_rationals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scipy.optimize.linprog", lambda *_, **__: SimpleNamespace(success=False))
    K = np.array([[0.0, 2.0, 0.0, 0.5], [0.0, 0.0, 2.0, 0.5]])
    found = rb.argmaxable(K)
    assert found.unargmaxable.tolist() == [False, False, False, True]
    check_evidence(found, K)
    for seed in range(5):
        K = np.random.default_rng(seed).standard_normal((3, 12))
        b = np.random.default_rng(seed + 9).standard_normal(12) if seed % 2 else None
        found = rb.argmaxable(K, biases=b)
        assert not found.undecided.any()
        check_evidence(found, K, b)


def test_too_much_work_leaves_keys_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scipy.optimize.linprog", lambda *_, **__: SimpleNamespace(success=False))
    monkeypatch.setattr("rankbound.theory.argmax.MOST_WORK", 10)
    K = np.array([[0.0, 2.0, 0.0, 0.5], [0.0, 0.0, 2.0, 0.5]])
    found = rb.argmaxable(K)
    assert found.undecided.tolist() == [False, False, False, True]
    check_evidence(found, K)


def test_records_are_read_only() -> None:
    found = rb.argmaxable(np.eye(2))
    with pytest.raises(ValueError, match="read-only"):
        found.queries[0, 0] = 1.0
    with pytest.raises(TypeError):
        found.weights[0] = {}  # type: ignore[index]


def test_refused() -> None:
    with refused(rb.InputError, "keys holds nan", "expected finite"):
        rb.argmaxable([[np.nan, 1.0]])
    with refused(rb.InputError, "keys has shape (3,)", "expected a matrix"):
        rb.argmaxable([1.0, 2.0, 3.0])
    with refused(rb.InputError, "biases have shape (2,)", "expected (3,)"):
        rb.argmaxable(np.ones((2, 3)), biases=[1.0, 2.0])
    with refused(rb.InputError, "biases holds inf", "expected finite"):
        rb.argmaxable(np.ones((2, 2)), biases=[1.0, np.inf])
    with refused(rb.InputTypeError, "complex128", "expected real"):
        rb.argmaxable(np.eye(2) * 1j)
