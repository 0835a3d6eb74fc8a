"""The variants by their laws: what a rotation, a norm, a bias or a cap leaves or bounds."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.attention.variants import (
    alibi_bias,
    append_ones,
    apply_temperature,
    biased_head,
    grouped_logits,
    qk_norm,
    relative_bias,
    rope,
    rotate,
    soft_cap,
    talking_heads,
)
from rankbound.registry.variants import _capped
from tests.helpers import EPS, Array, case, less_column_means, refused

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.sampled_from([2, 4, 6])
PAIRINGS = st.sampled_from(["half", "interleaved"])


def gaussian(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


@given(SIZES, st.integers(1, 6), SEEDS, PAIRINGS)
def test_rope_keeps_norms(k: int, n: int, seed: int, pairing: Any) -> None:
    """Each coordinate takes two products and a sum, with factors of size at most 1."""
    x = gaussian(seed, k, n)
    turned = rope(x, pairing=pairing)
    lengths = np.linalg.norm(x, axis=0)
    assert np.max(np.abs(np.linalg.norm(turned, axis=0) - lengths) / lengths) <= 8 * k * EPS
    np.testing.assert_array_equal(turned[:, 0], x[:, 0])  # position 0 does not turn


@given(SIZES, st.integers(1, 6), SEEDS, PAIRINGS, st.integers(0, 1000))
def test_rope_sees_differences_of_positions_alone(
    k: int, n: int, seed: int, pairing: Any, shift: int
) -> None:
    """An angle of size a is rounded by a eps, which turns a vector by as much."""
    keys, queries = gaussian(seed, 2, k, n)
    places = np.arange(n)

    def logits(at: Any) -> Array:
        L: Array = rope(keys, at, pairing=pairing).T @ rope(queries, at, pairing=pairing)
        return L

    slack = 8 * k * EPS * (n + shift + 1) * np.linalg.norm(keys) * np.linalg.norm(queries)
    assert np.max(np.abs(logits(places) - logits(places + shift))) <= slack


@given(SIZES, st.integers(1, 6), SEEDS)
def test_the_two_pairings_differ_by_a_permutation(k: int, n: int, seed: int) -> None:
    x = gaussian(seed, k, n)
    order = np.arange(k).reshape(2, -1).T.ravel()  # 0, k/2, 1, k/2 + 1, …
    np.testing.assert_array_equal(rope(x[order], pairing="interleaved"), rope(x)[order])


def test_rope_by_the_definition() -> None:
    """As complex numbers: pair t of column j times e^(i j base^(-2t/k))."""
    k, n, base = 4, 5, 100.0
    x = gaussian(0, k, n)
    angles = np.outer(base ** (-2 * np.arange(k // 2) / k), np.arange(n))
    expected = (x[: k // 2] + 1j * x[k // 2 :]) * np.exp(1j * angles)
    turned = rope(x, base=base)
    np.testing.assert_allclose(turned, np.vstack([expected.real, expected.imag]), atol=32 * EPS)


def test_rope_tells_repeated_tokens_apart() -> None:
    """Without it the columns of P would be equal: dependent tokens no longer bind (section 6)."""
    X = np.ones((1, 2))
    W_q, W_k = np.array([[1.0], [2.0]]), np.array([[3.0], [-1.0]])
    assert np.ptp((W_k @ X).T @ (W_q @ X)) == 0
    P = rb.column_softmax(rope(W_k @ X).T @ rope(W_q @ X))
    assert np.max(np.abs(P[:, 0] - P[:, 1])) > 1e-3


def test_a_rational_rotation_is_exact() -> None:
    cos: Any = [[Fraction(3, 5), 1]]
    sin: Any = [[Fraction(4, 5), 0]]
    turned = rotate([[1, 2], [3, 4]], cos, sin)
    assert turned.tolist() == [[Fraction(-9, 5), 2], [Fraction(13, 5), 4]]
    assert all(type(entry) is Fraction for entry in turned.flat)


def test_rotations_of_float32_are_rotations() -> None:
    angles = np.linspace(0, 3, 8, dtype=np.float32).reshape(2, 4)
    assert rotate(np.ones((4, 4)), np.cos(angles), np.sin(angles)).shape == (4, 4)


@given(st.integers(1, 6), st.integers(1, 6), SEEDS, st.sampled_from(["l2", "rms"]))
def test_normalised_columns_have_the_norm_of_the_gain(k: int, n: int, seed: int, norm: Any) -> None:
    x = gaussian(seed, k, n)
    y = qk_norm(x, 3.0, norm)
    size = 3.0 * (np.sqrt(k) if norm == "rms" else 1.0)
    np.testing.assert_allclose(np.linalg.norm(y, axis=0), size, rtol=(k + 8) * EPS)
    # the factor of a column does not matter, a power of two not even in rounding
    np.testing.assert_array_equal(qk_norm(x * 2.0**500, 3.0, norm), y)


def test_normalising_is_exact_where_norms_are_rational() -> None:
    y = qk_norm([[3, 5], [4, -12]], [2, Fraction(1, 2)])
    assert y.tolist() == [[Fraction(6, 5), Fraction(10, 13)], [Fraction(2, 5), Fraction(-6, 13)]]
    assert qk_norm([[1], [1], [1], [-1]], norm="rms").tolist() == [[1], [1], [1], [-1]]


@given(st.integers(1, 4), st.integers(1, 6), SEEDS)
def test_a_biased_head_is_a_head_on_tokens_with_ones(k: int, n: int, seed: int) -> None:
    d = 3
    X, head = gaussian(seed, d, n), rb.random_head(d, k, seed)
    query_bias, key_bias = gaussian(seed + 1, 2, k)
    biased = biased_head(head, query_bias, key_bias)
    ones = append_ones(X)
    assert ones.shape == (d + 1, n)
    np.testing.assert_array_equal(ones[-1], 1.0)
    assert biased.head_size == k
    keys, queries = head.keys(X) + key_bias[:, None], head.queries(X) + query_bias[:, None]
    slack = 8 * (d + 1 + k) * EPS * np.linalg.norm(biased.W_k) * np.linalg.norm(biased.W_q)
    slack *= np.linalg.norm(ones) ** 2
    assert np.max(np.abs(biased.logits(ones) - head.scale * keys.T @ queries)) <= slack
    # the key bias is gauge: it does not move the context, beyond what rounding the logits does
    P, Q = biased.context(ones), biased_head(head, query_bias).context(ones)
    assert np.max(np.abs(P - Q)) <= 4 * slack + (n + 4) * EPS
    assert biased.output(ones).shape == (k, n)


def test_ones_appended_to_exact_tokens_are_exact() -> None:
    X: Any = [[1, Fraction(1, 2)]]
    assert append_ones(X).tolist() == [[1, Fraction(1, 2)], [1, 1]]
    assert append_ones(np.zeros((2, 3, 4))).shape == (2, 4, 4)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), SEEDS)
def test_grouped_logits_are_those_of_the_heads(k: int, n: int, g: int, seed: int) -> None:
    keys, queries = gaussian(seed, k, n), gaussian(seed + 1, g, k, n)
    L = grouped_logits(keys, queries)  # type: ignore[arg-type]
    assert L.shape == (n, g * n)
    for a in range(g):
        alone = rb.AttentionHead(W_q=queries[a], W_k=keys).logits()
        slack = 4 * (k + 2) * EPS * np.linalg.norm(keys) * np.linalg.norm(queries)
        assert np.max(np.abs(L[:, a * n : a * n + n] - alone)) <= slack
    assert rb.numerical_rank(L) <= k


@given(st.integers(1, 12), st.fractions(-3, 3, max_denominator=8))
def test_alibi_by_the_definition(n: int, slope: Fraction) -> None:
    signed, both = alibi_bias(n, slope), alibi_bias(n, slope, bidirectional=True)
    for i, j in np.ndindex(n, n):
        assert signed[i, j] == slope * (i - j)
        assert both[i, j] == -slope * abs(i - j)
    visible = rb.causal_mask(n)
    assert (signed[visible] == both[visible]).all()
    floats = signed.astype(float)
    np.testing.assert_allclose(alibi_bias(n, float(slope)), floats, rtol=2 * EPS, atol=0)


@given(st.integers(1, 6), SEEDS)
def test_relative_bias_depends_on_the_distance(n: int, seed: int) -> None:
    table = gaussian(seed, 2 * n - 1)
    B = relative_bias(table)
    assert B.shape == (n, n)
    np.testing.assert_array_equal(B[1:, 1:], B[:-1, :-1])  # Toeplitz
    np.testing.assert_array_equal(B[:, 0], table[n - 1 :])
    np.testing.assert_array_equal(B[0], table[n - 1 :: -1])


@pytest.mark.parametrize("number", [2, 2.0, 0.5])
@pytest.mark.parametrize("tensor", [False, True])
def test_a_number_in_an_array_without_axes_is_that_number(number: Any, tensor: bool) -> None:
    """Exact if it is an integer, as without the array."""
    held = pytest.importorskip("torch").tensor(number) if tensor else np.array(number)
    L, rational = [[3, 0], [4, 1]], [[3, 0], [4, 5]]
    calls: list[Callable[[Any], Any]] = [
        lambda x: apply_temperature(L, x),
        lambda x: alibi_bias(3, x),
        lambda x: qk_norm(rational, x),
        lambda x: grouped_logits(L, [L], scale=x),
    ]
    for call in calls:
        found, expected = call(held), call(number)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_alibi_is_a_relative_bias() -> None:
    distances = range(-4, 5)
    for both in (False, True):
        table: Any = [-abs(x) if both else x for x in distances]
        assert (relative_bias(table) == alibi_bias(5, 1, bidirectional=both)).all()


@given(st.integers(1, 6), SEEDS, st.sampled_from([1e-3, 1.0, 50.0]), st.sampled_from([1e-2, 1e6]))
def test_soft_cap_bounds_and_keeps_order(n: int, seed: int, cap: float, scale: float) -> None:
    L = scale * gaussian(seed, n, n)
    capped = soft_cap(L, cap)
    assert np.max(np.abs(capped)) <= cap
    assert (np.abs(capped) <= np.abs(L) * (1 + 8 * EPS)).all()
    assert (np.sign(capped) == np.sign(L)).all()
    order = np.argsort(L, axis=None)
    assert (np.diff(capped.ravel()[order]) >= -4 * EPS * cap).all()
    np.testing.assert_array_equal(soft_cap(-L, cap), -capped)


def test_soft_cap_of_small_logits_is_nearly_the_identity() -> None:
    """``|x - tanh x| <= |x|³/3``."""
    L = 1e-3 * gaussian(0, 5, 5)
    assert (np.abs(soft_cap(L, 1.0) - L) <= np.abs(L) ** 3 / 3 + 4 * EPS * np.abs(L)).all()


@pytest.mark.parametrize("x", range(0, 60, 7))
def test_the_witness_of_the_soft_cap_claim_is_the_soft_cap(x: int) -> None:
    """The claim's rational form of tanh at multiples of (log 2)/2, beside the function."""
    (found,) = soft_cap([[50 * x * np.log(2) / 2]], 50.0)[0]
    assert abs(found - float(_capped(x))) <= 64 * 16 * EPS


def test_the_witness_needs_n_minus_1_in_floating_point_too() -> None:
    M = np.outer(np.arange(5), np.arange(5))
    L = 50 * np.log(2) / 2 * M / 4
    assert rb.log_rank(logits=L) == 1
    assert rb.log_rank(logits=soft_cap(L, 50.0)) == 4


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), SEEDS)
def test_mixed_heads_by_the_definition(g: int, h: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    heads, mix = rng.integers(-9, 9, (h, n, n)), rng.integers(-9, 9, (g, h))
    expected = np.einsum("ab,bij->aij", mix, heads)
    for form in (float, object):  # both are exact here
        mixed = talking_heads(heads.astype(form), mix.astype(form))
        assert mixed.tolist() == expected.tolist()
    np.testing.assert_array_equal(talking_heads(heads, np.eye(h)), heads)


@given(st.integers(1, 4), SEEDS)
def test_temperature_is_one_a_query(n: int, seed: int) -> None:
    L, T = gaussian(seed, n, n), 1.0 + np.arange(n)
    np.testing.assert_array_equal(apply_temperature(L, T), L / T)
    np.testing.assert_array_equal(apply_temperature(L, 2), L / 2)
    assert apply_temperature(np.ones((n, n), dtype=int), 3).tolist() == [[Fraction(1, 3)] * n] * n


def test_a_batch_is_a_loop() -> None:
    x = gaussian(0, 2, 3, 4, 5)
    for change in (rope, qk_norm, append_ones, lambda L: soft_cap(L, 2.0)):
        whole = change(x)
        for place in np.ndindex(2, 3):
            np.testing.assert_array_equal(whole[place], change(x[place]))


def test_sympy_numbers_with_an_irrational_factor_become_floats() -> None:
    import sympy

    L = sympy.log(2) * sympy.Matrix([[1, 2], [3, 4]])
    np.testing.assert_allclose(
        apply_temperature(L, 2), np.log(2) * np.array([[0.5, 1.0], [1.5, 2.0]])
    )
    assert apply_temperature(sympy.Matrix([[1, 2]]), 2).tolist() == [[Fraction(1, 2), 1]]


HEAD = rb.AttentionHead(W_q=[[1.0, 0.0]], W_k=[[0.0, 1.0]])
Input, Type = rb.InputError, rb.InputTypeError


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        case("ragged", Input, ("ragged",), append_ones, [[1.0], [1.0, 2.0]]),
        case("not finite", Input, ("X holds nan",), append_ones, [[np.nan]]),
        case("no head", Type, ("head is a int", "AttentionHead"), biased_head, 3),
        case("bias", Input, ("key_bias has shape (2,)", "(1,)"), biased_head, HEAD, 0, [1, 2]),
        case("odd", Input, ("3 coordinates", "even"), rope, np.ones((3, 2))),
        case("pairing", Input, ("pairing is 'x'",), rope, np.ones((2, 2)), pairing="x"),
        case("base", Input, ("base is 0",), rope, np.ones((2, 2)), base=0),
        case("positions", Input, ("positions has shape (3,)",), rope, np.ones((2, 2)), [1, 2, 3]),
        case("angles", Input, ("cos is (1, 1)",), rotate, np.ones((2, 2)), [[1.0]], [[0.0]]),
        case("no rotation", Input, ("cos² + sin²",), rotate, [[1], [1]], [[1]], [[1]]),
        case("zero column", Input, ("zero column",), qk_norm, [[0.0], [0.0]]),
        case("norm", Input, ("norm is 'l1'",), qk_norm, [[1.0]], norm="l1"),
        case("irrational", Input, ("irrational norm",), qk_norm, [[1], [1]]),
        case("gain", Input, ("gain has shape (2,)",), qk_norm, [[1.0]], [1, 2]),
        case("cold", Input, ("temperature holds 0", "above 0"), apply_temperature, [[1.0]], 0.0),
        case("no temperature", Type, ("temperature",), apply_temperature, [[1.0]], None),
        case("no queries", Input, ("queries is empty",), grouped_logits, [[1.0]], []),
        case("queries", Input, ("same shape",), grouped_logits, [[1.0]], [[[1.0, 2.0]]]),
        case("overflow", Input, ("overflow",), grouped_logits, [[1e200]], [[[1e200]]]),
        case("no length", Input, ("n is 0",), alibi_bias, 0, 1.0),
        case("slope", Input, ("slope",), alibi_bias, 2, np.inf),
        case("even table", Input, ("table has shape (2,)",), relative_bias, [1.0, 2.0]),
        case("two axes", Input, ("table has shape (1, 1)",), relative_bias, [[1.0]]),
        case("cap", Input, ("cap is 0",), soft_cap, [[1.0]], 0.0),
        case("no heads", Input, ("logits is empty",), talking_heads, [], [[1.0]]),
        case(
            "shapes", Input, ("(1, 1), (1, 2)",), talking_heads, [[[1.0]], [[1.0, 2.0]]], [[1, 1]]
        ),
        case("mix", Input, ("mix has shape (1, 2)",), talking_heads, [[[1.0]]], [[1.0, 2.0]]),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], parts: tuple[str, ...]) -> None:
    with refused(error, *parts):
        call()


@given(st.integers(2, 6), st.integers(1, 6))
def test_signed_alibi_has_rank_2_and_log_rank_1(n: int, m: int) -> None:
    bias = alibi_bias(n, m)
    assert int(rb.exact_rank(bias)) == 2
    assert int(rb.exact_rank(less_column_means(bias.tolist()))) == 1


def test_a_bias_reaches_the_context_that_b20_shows_unreachable() -> None:
    """X = [1, 0], d = 1: with a row of ones it has full column rank, and k = n - 1 = 1 suffices."""
    P, X = np.array([[0.5, 0.75], [0.5, 0.25]]), np.array([[1.0, 0.0]])
    with pytest.raises(rb.NotRepresentable):
        rb.represent(P, X=X)
    head = rb.represent(P, X=append_ones(X))
    assert head.head_size == 1
    np.testing.assert_allclose(head.context(append_ones(X)), P, rtol=64 * EPS)


def test_rope_reaches_every_context_on_some_dependent_tokens() -> None:
    """For fixed keys the logits are linear in W_q; on 3 tokens of rank 2 that map is onto.

    Exact: rational rotations, and the rank of the map over the rationals. Without rotations it
    has rank at most n · rank X = 6 of the 9 logits.
    """
    X: Any = np.array([[1, 0, 1], [0, 1, 1]], dtype=object)
    W_k: Any = np.array([[1, 2], [-1, 1], [3, -2], [2, 5], [1, -4], [2, 1]], dtype=object)
    cos: Any = [[1, Fraction(3, 5), Fraction(-7, 25)], [1, Fraction(5, 13), Fraction(-119, 169)]]
    sin: Any = [[0, Fraction(4, 5), Fraction(24, 25)], [0, Fraction(12, 13), Fraction(120, 169)]]
    cos.append([1, Fraction(15, 17), Fraction(161, 289)])
    sin.append([0, Fraction(8, 17), Fraction(240, 289)])
    still: Any = [[1] * 3] * 3, [[0] * 3] * 3

    def rank(c: Any, s: Any) -> int:
        keys, map_rows = rotate(W_k @ X, c, s), []
        for a, b in np.ndindex(6, 2):
            W_q = np.zeros((6, 2), dtype=object)
            W_q[a, b] = 1
            map_rows.append((keys.T @ rotate(W_q @ X, c, s)).ravel().tolist())
        return int(rb.exact_rank(map_rows))

    assert rank(cos, sin) == 9
    assert rank(*still) <= 6


FOREIGN: dict[str, Any] = {
    "ragged": [[1], [1, 2]],
    "text": "x",
    "dict": {1: 2},
    "a head": rb.random_head(2, 2, 0),
    "complex": np.eye(2) + 1j,
    "objects": [[object()]],
    "bytes": b"ab",
    "empty": [],
}


@pytest.mark.parametrize("value", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize(
    "call",
    [
        append_ones,
        qk_norm,
        rope,
        relative_bias,
        lambda v: rope(np.eye(2), v),
        lambda v: qk_norm(np.eye(2), v),
        lambda v: biased_head(rb.random_head(2, 2, 0), v),
        lambda v: apply_temperature(np.eye(2), v),
        lambda v: alibi_bias(3, v),
        lambda v: soft_cap(v, 1.0),
        lambda v: grouped_logits(v, [v]),
        lambda v: talking_heads([v], [[1]]),
        lambda v: talking_heads([np.eye(2)], v),
    ],
)
def test_what_is_no_number_is_refused_in_words(call: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(rb.RankboundError):
        call(value)


@pytest.mark.parametrize("wrong", ["columns", "cos", "sin"])
def test_a_rotation_names_the_argument_it_cannot_read(wrong: str) -> None:
    given = {"columns": np.ones((2, 3)), "cos": np.ones((1, 3)), "sin": np.zeros((1, 3))}
    given[wrong] = np.full_like(given[wrong], np.nan)
    with pytest.raises(rb.InputError) as caught:
        rotate(given["columns"], cos=given["cos"], sin=given["sin"])
    assert str(caught.value).startswith(f"{wrong} ")
