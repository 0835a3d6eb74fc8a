"""B20 Theorem 2: inclusion, and tokens that separate."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.attention.adversarial_layers import (
    nearest_products,
    random_fixed_layer,
    same_values,
    skew_pair,
)
from rankbound.exact.balls import Weights, gap_of_outputs
from rankbound.exact.flint import rational_product
from rankbound.theory.theorem_2 import attention_witness, value_witness, values
from tests.helpers import Array, refused

SEEDS = st.integers(0, 2**31)


@st.composite
def shapes(draw: Any) -> tuple[int, int, int, int]:
    """d, heads of f, head size and heads of g, with h > d/d_p."""
    d = draw(st.sampled_from([4, 6, 8, 12, 16]))
    h = draw(st.sampled_from([h for h in range(2, d + 1) if d % h == 0]))
    head_size = draw(st.integers(d // h + 1, d))
    return d, h, head_size, max(draw(st.integers(1, 5)), -(-d // head_size))


def exact(array: Array) -> list[list[Fraction]]:
    return [[Fraction(x) for x in row] for row in array.tolist()]


def by_mpmath(layer: rb.MultiHead, X: Array) -> Any:
    """The output to 60 digits, written down a second time."""
    mpmath.mp.dps = 60
    total = mpmath.zeros(layer.d, X.shape[1])
    tokens, v = mpmath.matrix(X.tolist()), layer.value_size
    for i in range(layer.heads):
        q, k, value = (mpmath.matrix(W[i].tolist()) for W in (layer.W_q, layer.W_k, layer.W_v))
        L = (k * tokens).T * (q * tokens) * mpmath.mpf(layer.scale)
        P = L.apply(mpmath.exp)
        for j in range(P.cols):
            column = sum(P[row, j] for row in range(P.rows))
            for row in range(P.rows):
                P[row, j] /= column
        W_o = mpmath.matrix(layer.W_o[:, i * v : (i + 1) * v].tolist())
        total += W_o * value * tokens * P
    return total


# widen


@given(shapes(), SEEDS)
@settings(max_examples=25, deadline=None)
def test_a_widened_layer_is_the_same_function(shape: tuple[int, ...], seed: int) -> None:
    d, h, head_size, _ = shape
    f = rb.random_multihead(d, h, seed)
    wide = rb.widen(f, head_size, value_size=f.value_size + 2)
    assert (wide.head_size, wide.value_size, wide.heads) == (head_size, f.value_size + 2, h)
    assert wide.scale == f.scale
    for i in range(h):  # in rationals: logits and values
        for one, other in ((f.head(i), wide.head(i)),):
            assert rational_product(exact(one.W_k.T), exact(one.W_q)) == rational_product(
                exact(other.W_k.T), exact(other.W_q)
            )
        own, other_v = f.value_size, wide.value_size
        assert rational_product(
            exact(f.W_o[:, i * own : (i + 1) * own]), exact(f.W_v[i])
        ) == rational_product(
            exact(wide.W_o[:, i * other_v : (i + 1) * other_v]), exact(wide.W_v[i])
        )
    found = rb.separating_tokens(f, wide, 3)
    assert (found.gap, found.tokens, found.verdict) == (0.0, None, rb.Verdict.UNDECIDED)


def test_the_default_scale_is_absorbed() -> None:
    f = rb.random_multihead(8, 4, 0)  # head size 2 to 8: the ratio of temperatures is 2, exact
    wide = rb.widen(f, 8, default_scale=True)
    assert wide.scale == rb.random_multihead(8, 4, 0, head_size=8).scale
    X = rb.random_tokens(8, 5, 1)
    np.testing.assert_allclose(wide.output(X), f.output(X), rtol=1e-13, atol=1e-14)
    assert not np.allclose(rb.MultiHead(wide.W_q / 2, wide.W_k, wide.W_v, wide.W_o).output(X),
                           f.output(X), rtol=1e-3)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"head_size": 1}, "head_size is 1 and that of the layer 2; expected at least 2"),
        ({"head_size": 0}, "at least one query"),
        ({"head_size": 4, "value_size": 1}, "value_size is 1 and that of the layer 2; expected"),
    ],
)
def test_what_cannot_be_widened(arguments: dict[str, int], words: str) -> None:
    with refused(rb.InputError, words):
        rb.widen(rb.random_multihead(4, 2, 0), **arguments)  # type: ignore[arg-type]
    with refused(rb.InputTypeError, "expected a MultiHead"):
        rb.widen(np.eye(2), 2)  # type: ignore[arg-type]


# separating tokens


@given(shapes(), SEEDS, st.integers(2, 5), st.sampled_from(["random", "values", "products"]))
@settings(max_examples=60, deadline=None)
def test_opponents_are_separated(shape: tuple[int, ...], seed: int, n: int, family: str) -> None:
    d, h, head_size, heads = shape
    g = random_fixed_layer(d, heads, head_size, seed)
    f = {
        "random": lambda: rb.random_multihead(d, h, seed),
        "values": lambda: same_values(g, h, seed),
        "products": lambda: nearest_products(g, h, seed),
    }[family]()
    found = rb.separating_tokens(f, g, n)
    if found.failing:  # a draw whose U or V_o V_v is not of full rank: seldom, and said
        assert all("rank" in text for text in found.failing)
    assert found.verdict is rb.Verdict.CERTIFIED
    assert found.tokens is not None and found.tokens.shape == (d, n)
    if family != "random":
        assert found.case == "attention" or found.failing
    # the floats agree with the bound, which is far above rounding
    gap = np.linalg.norm(f.output(found.tokens) - g.output(found.tokens))
    assert found.relative_gap > 0.01
    assert found.gap == pytest.approx(gap, rel=1e-6)


@given(SEEDS, st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_the_skew_case(seed: int, n: int) -> None:
    f, g = skew_pair(8, 4, 6, seed)
    assert f.scale == g.scale
    difference = g.W_k[0].T @ g.W_q[0] - f.W_k[0].T @ f.W_q[0]
    assert np.array_equal(difference, -difference.T) and difference.any()
    assert rb.separating_tokens(f, g, n).gap > 0


@pytest.mark.parametrize("seed", range(4))
def test_bounds_against_sixty_digits(seed: int) -> None:
    g = random_fixed_layer(4, 2, 3, seed)
    f = same_values(g, 2, seed) if seed % 2 else rb.random_multihead(4, 2, seed)
    found = rb.separating_tokens(f, g, 3)
    assert found.tokens is not None
    target = by_mpmath(g, found.tokens)
    gap, size = (
        mpmath.sqrt(sum(x * x for x in M)) for M in (by_mpmath(f, found.tokens) - target, target)
    )
    assert found.gap <= gap <= found.gap * (1 + mpmath.mpf(2) ** -40)
    assert found.relative_gap <= gap / size


def test_nearly_equal_values_are_told_by_attention() -> None:
    """B - A is 0 or a rounding error by order of summation: the answer does not depend on it."""
    g = random_fixed_layer(8, 4, 6, 0)
    f = same_values(g, 4, 0)
    nudged = rb.MultiHead(f.W_q, f.W_k, f.W_v, f.W_o * (1 + 2.0**-50))
    for layer in (f, nudged):
        found = rb.separating_tokens(layer, g, 2)
        assert found.case == "attention" and found.relative_gap > 0.1
    # and on one token, where attention says nothing, the nudge alone is seen
    assert rb.separating_tokens(f, g, 1).gap == 0
    single = rb.separating_tokens(nudged, g, 1)
    assert 0 < single.relative_gap < 1e-13 and single.case == "values"
    assert single.failing == ("n >= 2",)


def test_values_agree_exactly() -> None:
    g = random_fixed_layer(12, 3, 5, 1)
    f = same_values(g, 4, 2)
    A, B = (
        rational_product(exact(layer.W_o), exact(layer.W_v.reshape(-1, 12))) for layer in (g, f)
    )
    assert A == B
    assert np.array_equal(values(f), values(g))


def test_witnesses_are_those_of_the_proof() -> None:
    g = random_fixed_layer(6, 2, 4, 3)
    x = value_witness(rb.random_multihead(6, 3, 0), g, 4)
    assert x is not None and np.array_equal(x, np.repeat(x[:, :1], 4, axis=1))
    f = same_values(g, 3, 0)
    X = attention_witness(f, g, 4)
    assert X is not None and np.array_equal(X[:, 1:], np.repeat(X[:, 1:2], 3, axis=1))
    q, w = X[:, 0], X[:, 1] - X[:, 0]
    blind = [
        i for i in range(3) if np.linalg.norm(f.W_k[i].T @ f.W_q[i] @ q) < 1e-5 * np.linalg.norm(q)
    ]
    assert blind
    assert abs(w @ g.W_k[0].T @ g.W_q[0] @ q) > 1e-3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("one token", "n >= 2"),
        ("small", "smaller than those of g"),
        ("wide values", "at most d value coordinates"),
        ("distinct", "the same for every head of g"),
        ("flat", "rank d_p"),
        ("blunt", "full rank d"),
        ("frozen", "scale of g is not 0"),
    ],
)
def test_hypotheses_are_checked(change: str, words: str) -> None:
    d, n = 6, 3
    f, g = rb.random_multihead(d, 3, 0), random_fixed_layer(d, 2, 4, 1)
    W = {name: np.array(getattr(g, name)) for name in ("W_q", "W_k", "W_v", "W_o")}
    if change == "one token":
        n = 1
    elif change == "small":
        f = rb.random_multihead(d, 1, 0)
    elif change == "wide values":
        f = rb.widen(f, 2, value_size=3)
    elif change == "distinct":
        W["W_q"][1, 0, 0] += 1
    elif change == "flat":
        W["W_q"][:, 0] = W["W_q"][:, 1]
    elif change == "blunt":
        W["W_o"][0] = W["W_o"][1]
    scale = 0.0 if change == "frozen" else g.scale
    found = rb.separating_tokens(f, rb.MultiHead(**W, scale=scale), n)
    assert [text for text in found.failing if words in text], found.failing
    assert len(found.failing) == 1
    assert found.gap > 0  # and they are separated all the same
    intact = rb.separating_tokens(rb.random_multihead(d, 3, 0), g, 3)
    assert intact.failing == ()


def test_equal_products_of_unequal_projections_are_common() -> None:
    g = random_fixed_layer(4, 2, 3, 0)
    W_q, W_k = np.array(g.W_q), np.array(g.W_k)
    W_q[1] *= 2
    W_k[1] /= 2
    same = rb.MultiHead(W_q, W_k, g.W_v, g.W_o, g.scale)
    assert rb.separating_tokens(rb.random_multihead(4, 4, 0), same, 2).failing == ()


def test_zero_layers() -> None:
    small = np.zeros((2, 1, 2))
    zero = rb.MultiHead(small, small, small, np.zeros((2, 2)))
    g = random_fixed_layer(2, 1, 2, 0)
    assert rb.separating_tokens(zero, g, 2).gap > 0
    assert rb.separating_tokens(zero, zero, 2).verdict is rb.Verdict.UNDECIDED
    found = rb.separating_tokens(g, zero, 2)
    assert found.gap > 0 and found.relative_gap > 1e300


def test_bad_arguments() -> None:
    f = rb.random_multihead(4, 2, 0)
    with refused(rb.InputError, "the same tokens"):
        rb.separating_tokens(f, rb.random_multihead(6, 2, 0), 2)
    with refused(rb.InputError, "n is 0"):
        rb.separating_tokens(f, f, 0)
    with refused(rb.InputTypeError, "g is a str"):
        rb.separating_tokens(f, "g", 2)  # type: ignore[arg-type]


def test_huge_logits_are_enclosed() -> None:
    f = rb.random_multihead(4, 2, 0)
    hot = rb.MultiHead(f.W_q * 1e150, f.W_k, f.W_v, f.W_o)
    found = rb.separating_tokens(hot, random_fixed_layer(4, 2, 3, 0), 2)
    assert found.gap > 0 and np.isfinite(found.gap)


def test_the_gap_is_a_bound_at_every_precision() -> None:
    f, g = rb.random_multihead(4, 2, 0), random_fixed_layer(4, 2, 3, 0)
    X = rb.random_tokens(4, 3, 0)
    one, two = (Weights(w.W_q, w.W_k, w.W_v, w.W_o, w.scale) for w in (f, g))
    gap, size = gap_of_outputs(one, two, X)
    assert gap == pytest.approx(np.linalg.norm(f.output(X) - g.output(X)), rel=1e-12)
    assert size >= np.linalg.norm(g.output(X)) * (1 - 1e-14)
    assert gap_of_outputs(one, one, X)[0] == 0.0
    assert gap_of_outputs(one, replace(one, scale=one.scale * (1 + 2**-52)), X)[0] > 0


@pytest.mark.parametrize("family", ["random", "values"])
def test_the_certificate_is_checked_apart_from_its_producer(family: str) -> None:
    g = random_fixed_layer(6, 3, 4, 0)
    f = same_values(g, 3, 0) if family == "values" else rb.random_multihead(6, 3, 0)
    found = rb.separating_tokens(f, g, 3)
    certificate = found.certificate
    assert certificate is not None and found.certificate is certificate
    checked = rb.check(certificate.to_json())
    assert checked.accepted, checked.reason
    # twice the gap is false, and refused
    larger = replace(certificate.statement, gap=2 * certificate.statement.gap)  # type: ignore[attr-defined,call-arg]
    refuted = rb.check(replace(certificate, statement=larger))
    assert not refuted.accepted and "less than the gap" in refuted.reason
    assert rb.separating_tokens(f, rb.widen(f, 4), 3).certificate is None


def test_beyond_the_checkers_limits_nothing_is_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gap is enclosed all the same, and the record says which of both it is."""
    refusal = rb.check("{}")
    monkeypatch.setattr("rankbound.theory.theorem_2.check", lambda _: refusal)
    found = rb.separating_tokens(rb.random_multihead(4, 2, 0), random_fixed_layer(4, 2, 3, 0))
    assert found.certificate is None and found.verdict is rb.Verdict.RIGOROUS
    assert found.gap > 0 and found.tokens is not None


def test_reading_a_separation_changes_nothing() -> None:
    found = rb.separating_tokens(rb.random_multihead(4, 2, 0), random_fixed_layer(4, 2, 3, 0))
    before = found.verdict
    assert before is rb.Verdict.CERTIFIED
    assert found.certificate is not None and rb.check(found.certificate).accepted
    assert found.verdict is before
    with pytest.raises(FrozenInstanceError):
        found.verdict = rb.Verdict.UNDECIDED  # type: ignore[misc]
