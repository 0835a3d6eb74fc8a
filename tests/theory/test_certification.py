"""The log-rank with both sides proved: against SymPy, and against contexts built to be near."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import rankbound as rb
from rankbound.ranks import evidence
from rankbound.testing import contexts, logits
from rankbound.theory import certified as certification
from rankbound.theory.softmax_gauge import centre
from tests.certificates.build import exact
from tests.certificates.build import rank as true_rank
from tests.helpers import (
    Array,
    Rows,
    case,
    certificate_of,
    certified,
    less_column_means,
    log_spectrum,
    rational_rows,
    refused,
    sympy_rank,
    transposed,
)

DIGITS = 60
RATIOS = (0.0, 1e-300, 1e-12, 1e-9, 1e-6, 1e-3, 0.03, 0.3, 1.0, 10.0, 1e10, 1e300)


def log_contexts(L: Rows) -> Any:
    """Logarithms of the column softmax of exact logits, to 60 digits."""
    with mpmath.workdps(DIGITS):
        logs = mpmath.matrix([[mpmath.mpf(x.numerator) / x.denominator for x in row] for row in L])
        for j in range(logs.cols):
            total = mpmath.log(mpmath.fsum(mpmath.exp(x) for x in logs[:, j]))
            for i in range(logs.rows):
                logs[i, j] -= total
        return logs


def greatest_distance(P: Array, logs: Any, *, normalised: bool) -> Any:
    """The largest |log P - log Q|, to 60 digits; P as given, or its columns over their sums."""
    with mpmath.workdps(DIGITS):
        reals = [[mpmath.mpf(x) for x in column] for column in P.T.tolist()]
        totals = [mpmath.fsum(column) if normalised else mpmath.mpf(1) for column in reals]
        return max(
            abs(mpmath.log(x / total) - logs[i, j])
            for j, (column, total) in enumerate(zip(reals, totals, strict=True))
            for i, x in enumerate(column)
        )


def just_above(x: Any) -> float:
    """A float that is at least x, by one unit in the last place or two."""
    return math.nextafter(float(x), math.inf)


@st.composite
def near_low_log_rank(draw: Callable[..., Any]) -> tuple[Array, float, int]:
    """P, a ratio, and the log-rank of a context within that ratio: as tight as a float can be.

    The context is the softmax of exact logits of low rank; P that of the same plus a sign pattern
    s t^T times ε, which moves singular values by as much as its n ratio allows.
    """
    n = draw(st.integers(2, 5))
    r = draw(st.integers(0, n - 1))
    factors = [draw(arrays(np.int64, (n, r), elements=st.integers(-2, 2))) for _ in range(2)]
    L = factors[0] @ factors[1].T
    s, t = (draw(arrays(np.int64, n, elements=st.sampled_from([-1, 1]))) for _ in range(2))
    step = draw(st.sampled_from([0.0, 1e-15, 1e-9, 1e-3, 0.1, 1.0]))
    unit = 2.0 ** -draw(
        st.sampled_from([0, 0, 10, 30])
    )  # small: log P is far from its centred part
    P = rb.column_softmax(unit * (L + step * np.outer(s, t)))
    exact_logits = [[Fraction(int(x)) * Fraction(unit) for x in row] for row in L]
    ratio = just_above(greatest_distance(P, log_contexts(exact_logits), normalised=False))
    return P, ratio, true_rank(less_column_means(exact_logits))


# ---- exact logits


@pytest.mark.parametrize("mask", [None, "causal"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_context_of_float_logits_is_read_as_the_logits_are(dtype: Any, mask: Any) -> None:
    """As exact numbers: 0.1 is not three times a third of it, so the rank of floats is full."""
    thirds = np.arange(1.0, 5)[:, None] * np.array([0.1, 0.2, 0.3, 0.7])
    for L in (thirds.astype(dtype), np.outer([1, 2, 3, 4], [1.0, 2, 3, 5]).astype(dtype)):
        read = rb.certified_log_rank(rb.Context(logits=L, mask=mask))
        given_so = rb.certified_log_rank(logits=L, mask=mask)
        exactly = rb.certified_log_rank(
            logits=[[Fraction(float(x)) for x in row] for row in L], mask=mask
        )
        for found in (read, given_so):
            assert (found.lower, found.upper) == (exactly.lower, exactly.upper)
            assert found.verdict is exactly.verdict is rb.Verdict.RIGOROUS


@given(rational_rows(4, 4))
def test_exact_logits_agree_with_sympy_and_log_rank(rows: Rows) -> None:
    bounds = rb.certified_log_rank(logits=rows)
    true = sympy_rank(less_column_means(rows))
    assert (bounds.lower, bounds.upper) == (true, true) == (rb.log_rank(logits=rows),) * 2
    assert bounds.verdict is rb.Verdict.RIGOROUS
    assert rb.check(certificate_of(bounds)).accepted
    document = json.loads(certificate_of(bounds).to_json())
    assert (document["statement"]["lower"], document["statement"]["upper"]) == (true, true)
    assert rb.check(json.dumps(document)).accepted
    for change in (("lower", 1), ("upper", -1)):
        other = json.loads(json.dumps(document))
        other["statement"][change[0]] += change[1]
        assert not rb.check(other).accepted
    assert bounds.upper_certificate is None


@pytest.mark.parametrize("ratio", [0.0, 1e-15, 0.5])
def test_singular_values_are_to_exceed_the_ratio_and_what_rounding_does(
    ratio: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """n times the ratio; 4 units in the last place of a logarithm; two centrings of n additions."""
    radii: list[float] = []

    def above(D: Array, radius: float, room: Array) -> int:
        radii.append(radius)
        return 0

    monkeypatch.setattr(certification, "singular_values_above", above)
    P = rb.random_context(5, seed=0)
    rb.certified_log_rank(P, ratio=ratio)
    sizes, u, n = np.abs(np.log(P)), 2.0**-53, 5
    rounding = 8 * u * np.linalg.norm(sizes) + (2 * n + 4) * u * n * sizes.max()
    assert radii == [pytest.approx(n * ratio + rounding, rel=1e-12, abs=0)]


@pytest.mark.parametrize(
    ("middle", "upper", "kind"),
    [(1, "C has rank n - 1", "nonzero-minor"), (0, "an exact factorisation", "factorisation")],
)
def test_a_log_rank_of_n_minus_1_needs_no_factors(middle: int, upper: str, kind: str) -> None:
    """No matrix that is centred has a larger rank, so a minor proves both sides."""
    bounds = rb.certified_log_rank(logits=[[1, 0, 0], [0, middle, 0], [0, 0, 0]])
    assert bounds.method.endswith(f"upper: {upper}")
    assert json.loads(certificate_of(bounds).to_json())["kind"] == kind


@given(logits(largest=5))
def test_float_logits_are_the_rationals_they_are(L: Array) -> None:
    bounds = rb.certified_log_rank(logits=L)
    fractions = exact(L.tolist())
    assert int(bounds) == true_rank(less_column_means(fractions))
    assert int(bounds) == rb.log_rank(logits=fractions)
    assert rb.check(certificate_of(bounds)).accepted


@given(rational_rows(3, 3), st.lists(st.integers(-9, 9), min_size=3, max_size=3))
def test_exact_logits_do_not_move(rows: Rows, gauge: list[int]) -> None:
    """A constant added to each column, another order of the tokens, another base, rows=True."""
    rank = int(rb.certified_log_rank(logits=rows))
    shifted = [[x + c for x, c in zip(row, gauge, strict=True)] for row in rows]
    rationals = sympy.Matrix(
        [[sympy.Rational(x.numerator, x.denominator) for x in r] for r in rows]
    )
    for same in (shifted, rows[::-1], [row[::-1] for row in rows], sympy.log(2) * rationals):
        assert int(rb.certified_log_rank(logits=same)) == rank
    assert int(rb.certified_log_rank(logits=transposed(rows), rows=True)) == rank


def test_rows_are_the_queries_where_it_says_so() -> None:
    """Logits whose columns are constant are the uniform context; whose rows are, are not."""
    constant = [[0, 1, 5], [0, 1, 5], [0, 1, 5]]
    assert int(rb.certified_log_rank(logits=constant)) == 0
    assert int(rb.certified_log_rank(logits=constant, rows=True)) == 1


# ---- the lower side within a ratio


@settings(max_examples=80)
@given(near_low_log_rank())
def test_lower_is_at_most_the_log_rank_of_any_context_within_the_ratio(
    near: tuple[Array, float, int],
) -> None:
    P, ratio, rank = near
    bounds = rb.certified_log_rank(P, ratio=ratio)
    assert bounds.lower <= rank
    assert bounds.lower <= bounds.upper <= len(P) - 1
    found: Any = certified(bounds)
    if found is not None:
        assert rb.check(found.certificate).accepted


@pytest.mark.parametrize("n", [2, 4, 6, 16])
@pytest.mark.parametrize("step", [1e-6, 1e-3, 0.25, 1.0])
def test_weyl_is_used_with_its_constant_n(n: int, step: float) -> None:
    """P ∝ exp(step s t^T), s balanced: s_1(C log P) is n step.

    A positive matrix with equal rows lies within the ratio `step`, so the bound cannot be better.
    """
    s = np.array([1.0, -1.0] * (n // 2))
    P = rb.column_softmax(step * np.outer(s, np.roll(s, 1)))
    slack = 1e-5  # far above the rounding of log P, about 10 n log(n) u / step of the ratio
    assert rb.certified_log_rank(P, ratio=step * (1 + slack)).lower == 0
    inside = rb.certified_log_rank(P, ratio=step * (1 - slack))
    assert inside.lower == 1
    assert rb.check(certificate_of(inside)).accepted


@given(contexts(largest=6), st.sampled_from(RATIOS))
def test_certificates_prove_both_sides(P: Array, ratio: float) -> None:
    bounds = rb.certified_log_rank(P, ratio=ratio)
    assert 0 <= bounds.lower <= bounds.upper <= len(P) - 1
    found: Any = certified(bounds)
    if found is None:
        return
    statement: Any = found.certificate.statement
    assert (statement.lower, statement.ratio) == (bounds.lower, ratio)
    assert statement.context.entries == tuple(P.ravel().tolist())
    document = json.loads(found.certificate.to_json())
    assert rb.check(json.dumps(document)).accepted
    document["statement"]["lower"] += 1
    assert not rb.check(document).accepted


def test_a_larger_ratio_than_was_proved_is_rejected() -> None:
    P = rb.random_context(5, seed=1)
    bounds = rb.certified_log_rank(P, ratio=1e-3)
    document = json.loads(certificate_of(bounds).to_json())
    document["statement"]["ratio"] = (10.0).hex()
    assert not rb.check(document).accepted
    document["statement"]["ratio"] = (1e-4).hex()
    assert rb.check(document).accepted


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 16, 32, 64])
def test_dirichlet_contexts_are_decided(n: int) -> None:
    """Full log-rank, certified, at ratio 0: whether named or not."""
    P = rb.random_context(n, seed=n)
    for bounds in (rb.certified_log_rank(P), rb.certified_log_rank(P, ratio=0.0)):
        assert (bounds.lower, bounds.upper) == (n - 1, n - 1)
    assert rb.check(certificate_of(bounds)).accepted
    assert bounds.verdict is rb.Verdict.RIGOROUS


# ---- the upper side: a head


def is_enclosed(P: Array, statement: Any) -> bool:
    """Whether the head's context is within the ratio, to 60 digits."""
    keys, queries = (
        np.array([Fraction(x) for x in m.entries], dtype=object).reshape(m.rows, m.columns)
        for m in (statement.keys, statement.queries)
    )
    product = (keys.T @ queries) * Fraction(statement.scale)
    assert statement.tokens is None
    found = greatest_distance(P, log_contexts(product.tolist()), normalised=True)
    return bool(found <= mpmath.mpf(statement.ratio))


@given(contexts(largest=6), st.sampled_from(RATIOS[2:]))
def test_the_upper_side_is_a_head(P: Array, ratio: float) -> None:
    bounds = rb.certified_log_rank(P, ratio=ratio)
    found: Any = certified(bounds)
    certificate: Any = None if found is None else found.upper_certificate
    if "C has rank n - 1" in bounds.method:
        assert bounds.upper == len(P) - 1
        assert certificate is None
    if certificate is None:
        return
    statement = certificate.statement
    assert rb.check(certificate).accepted
    assert rb.check(certificate.to_json()).accepted
    assert statement.context.entries == tuple(P.ravel().tolist())
    assert statement.ratio == ratio
    # zero keys give the uniform context, of log-rank 0
    assert (statement.keys.rows if any(statement.keys.entries) else 0) == bounds.upper
    assert is_enclosed(P, statement)
    assert bounds.verdict is rb.Verdict.RIGOROUS


def cancelling(
    size: float, on_tokens: bool, rng: np.random.Generator
) -> tuple[rb.AttentionHead, Array | None]:
    """A head whose keys, or else logits, are small differences of large numbers."""
    W, V, T, Y, Z = rng.standard_normal((5, 4, 4))
    if on_tokens:
        W_k, W_q = np.hstack([size * W, -size * W]), np.hstack([V, T])
        return rb.AttentionHead(W_q=W_q, W_k=W_k, scale=1.0), np.vstack([Y, Y + Z / size])
    W_k, W_q = np.vstack([size * W, -size * W]), np.vstack([V, V + T / size])
    return rb.AttentionHead(W_q=W_q, W_k=W_k, scale=1.0), None


@pytest.mark.parametrize("on_tokens", [False, True])
@pytest.mark.parametrize("size", [1.0, 1e4, 1e8])
def test_no_head_is_certified_for_the_logits_that_float64_makes_of_it(
    size: float, on_tokens: bool
) -> None:
    """Where products cancel, the exact context is not the one computed."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        head, X = cancelling(size, on_tokens, rng)
        P = head.context(np.eye(4) if X is None else X)
        certificate = certification.certify_head(head, P, X, 1e-11)
        assert certificate is None or rb.check(certificate).accepted
        if size == 1.0:  # the bound on rounding is 144 u times logits of about 100 at most
            assert certificate is not None


@given(st.integers(2, 6), st.data())
def test_a_context_of_low_log_rank_needs_no_larger_head(n: int, data: st.DataObject) -> None:
    """Logits below 40 in magnitude: the truncated decomposition errs by far less than 1e-9."""
    r = data.draw(st.integers(0, n - 1))
    factors = [data.draw(arrays(np.int64, (n, r), elements=st.integers(-2, 2))) for _ in range(2)]
    L = factors[0] @ factors[1].T
    true = true_rank(less_column_means([[Fraction(int(x)) for x in row] for row in L]))
    bounds = rb.certified_log_rank(rb.column_softmax(L.astype(float)), ratio=1e-9)
    assert bounds.lower <= true
    assert bounds.upper <= true
    if true > 0 and log_spectrum(rb.column_softmax(L.astype(float)))[true - 1] > 1e-6:
        assert bounds.lower == true


# ---- monotone in the ratio


@settings(max_examples=30)
@given(contexts(largest=6))
def test_bounds_fall_as_the_ratio_grows(P: Array) -> None:
    bounds = [rb.certified_log_rank(P, ratio=ratio) for ratio in RATIOS]
    assert [b.lower for b in bounds] == sorted((b.lower for b in bounds), reverse=True)
    assert [b.upper for b in bounds] == sorted((b.upper for b in bounds), reverse=True)


@pytest.mark.parametrize("n", [3, 5, 8, 40])
def test_bounds_fall_as_the_ratio_passes_each_singular_value(n: int) -> None:
    P = rb.random_context(n, seed=n)
    steps = [-(10.0 ** -(e / 2)) for e in range(24, 32)]  # where a test may just fail, and above
    ratios = sorted(s / n * (1 + d) for s in log_spectrum(P)[:-1] for d in (*steps, 1e-15, 1e-3))
    lower = [rb.certified_log_rank(P, ratio=ratio).lower for ratio in ratios]
    assert lower == sorted(lower, reverse=True)


# ---- the ends


@pytest.mark.parametrize("n", range(1, 10))
def test_uniform(n: int) -> None:
    """Log-rank 0: shown within any ratio above rounding, and not at 0."""
    P = np.full((n, n), 1 / n)
    here = rb.certified_log_rank(P)
    assert (here.lower, here.upper) == (0, n - 1)
    near = rb.certified_log_rank(P, ratio=1e-10)
    assert (near.lower, near.upper) == (0, 0)
    for bounds in (here, near):
        assert rb.check(certificate_of(bounds)).accepted
    assert n == 1 or rb.check(near.certify().upper_certificate).accepted


def test_one_token_has_log_rank_0() -> None:
    for bounds in (
        rb.certified_log_rank([[1.0]]),
        rb.certified_log_rank([[1.0]], ratio=3.0),
        rb.certified_log_rank(logits=[[7]]),
    ):
        assert (bounds.lower, bounds.upper) == (0, 0)
        assert rb.check(certificate_of(bounds)).accepted
        assert bounds.upper_certificate is None


@given(contexts(largest=5), st.sampled_from(RATIOS))
def test_rows_are_transposed_once(P: Array, ratio: float) -> None:
    one, two = (
        rb.certified_log_rank(P, ratio=ratio),
        rb.certified_log_rank(P.T, ratio=ratio, rows=True),
    )
    assert (one.lower, one.upper) == (two.lower, two.upper)
    if certified(one) is not None:
        assert certificate_of(one).to_json() == certificate_of(two).to_json()


def test_entries_next_to_underflow() -> None:
    for tiny in (5e-324, 1e-310, 1e-300):
        P = np.array([[1.0, tiny], [tiny, 1.0]])
        for ratio in (0.0, 1.0, 300.0):
            bounds = rb.certified_log_rank(P, ratio=ratio)
            assert (bounds.lower, bounds.upper) == (1, 1)
            assert rb.check(certificate_of(bounds)).accepted


def test_without_a_certificate_nothing_is_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("spectral_gap", "certify_head"):
        monkeypatch.setattr(certification, name, lambda *_: None)
        P = rb.random_context(4, seed=0, law="logrank", rank=2)
        bounds = rb.certified_log_rank(P, ratio=1e-3)
        with refused(rb.Undecided, "no certificate was found"):
            bounds.certify()
        assert bounds.verdict is rb.Verdict.RIGOROUS
        monkeypatch.undo()


def test_beyond_the_limit_of_the_checker_the_reason_is_said() -> None:
    bounds = rb.certified_log_rank(rb.random_context(1025, seed=0))
    with refused(rb.Undecided, "beyond the checker's limit of 1024 rows"):
        bounds.certify()
    assert (bounds.lower, bounds.upper, bounds.verdict) == (1024, 1024, rb.Verdict.RIGOROUS)


@pytest.mark.parametrize("gap", [0.4, 0.6, 1 - 2.0**-20])
def test_the_numbers_of_a_certificate_are_as_long_as_the_gap_needs(gap: float) -> None:
    """Where n times the ratio is this part of the singular value: few bits, or all there are."""
    P = rb.random_context(40, seed=0, law="logrank", rank=3)
    least = np.linalg.svd(centre(np.log(P)), compute_uv=False)[2]
    bounds = rb.certified_log_rank(P, ratio=float(gap * least / 40))
    assert bounds.lower == 3
    certificate = certificate_of(bounds)
    assert (-certificate.inverse.exponent <= 12) is (gap < 0.5)


# ---- what is refused

HALF = np.full((2, 2), 0.5)
THIRDS = [[Fraction(1, 2), Fraction(1, 3)], [Fraction(1, 2), Fraction(2, 3)]]
BAD: dict[str, tuple[dict[str, Any], type[Exception], tuple[str, ...]]] = {
    "neither": ({}, rb.InputTypeError, ("neither of P and logits", "exactly one")),
    "both": ({"P": HALF, "logits": HALF}, rb.InputTypeError, ("both of P and logits",)),
    "a ratio with logits": (
        {"logits": [[1, 2], [3, 4]], "ratio": 0.0},
        rb.InputTypeError,
        ("ratio goes with P", "rb.column_softmax(logits)"),
    ),
    "a negative ratio": ({"P": HALF, "ratio": -1e-9}, rb.InputError, ("ratio is -1e-09", "0.0")),
    "no number": ({"P": HALF, "ratio": math.nan}, rb.InputError, ("ratio is nan", "finite")),
    "infinite": ({"P": HALF, "ratio": math.inf}, rb.InputError, ("ratio is inf", "finite")),
    "in words": ({"P": HALF, "ratio": "1"}, rb.InputTypeError, ("ratio is '1'", "real number")),
    "exact P": ({"P": THIRDS}, rb.InputTypeError, ("irrational", "logits=", "P.astype(float)")),
    "P of Fractions": (
        {"P": [[Fraction(1, 2)] * 2] * 2},
        rb.InputTypeError,
        ("irrational", "logits="),
    ),
    "a batch": ({"P": HALF[None]}, rb.InputError, ("(1, 2, 2)", "a matrix (2 axes)")),
    "a zero": ({"P": np.eye(2)}, rb.InputError, ("P is 0.0 at [0, 1]", "pass logits=")),
    "columns": ({"P": 2 * HALF}, rb.InputError, ("columns that sum to 1 only", "Normalise")),
    "transposed": ({"P": np.array([[0.9, 0.1], [0.8, 0.2]])}, rb.InputError, ("pass rows=True",)),
    "oblong logits": ({"logits": [[1, 2, 3]]}, rb.InputError, ("(1, 3)", "expected (n, n)")),
    "nan among logits": ({"logits": [[math.nan]]}, rb.InputError, ("nan at [0, 0]",)),
    "rows in words": ({"P": HALF, "rows": "no"}, rb.InputTypeError, ("rows is 'no'",)),
    "rows in words, with logits": (
        {"logits": [[1, 2], [3, 4]], "rows": "no"},
        rb.InputTypeError,
        ("rows is 'no'",),
    ),
}


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        case(name, kind, parts, rb.certified_log_rank, **arguments)
        for name, (arguments, kind, parts) in BAD.items()
    ],
)
def test_refuses(call: Callable[[], Any], error: type[Exception], parts: tuple[str, ...]) -> None:
    with refused(error, *parts):
        call()


@pytest.mark.parametrize("ratio", [Fraction(1, 3), np.longdouble(1) / 3])
def test_a_ratio_that_float64_rounds_is_refused(ratio: Any) -> None:
    """Rounded down it would be too small for the lower side, rounded up for the upper one."""
    with pytest.raises(rb.InputError, match="float64 does not hold exactly"):
        rb.certified_log_rank(rb.random_context(4, 0), ratio=ratio)


@pytest.mark.parametrize("ratio", [Fraction(1, 4), 0.25, np.float32(0.25), 1])
def test_a_ratio_that_float64_holds_is_taken_as_it_is(ratio: Any) -> None:
    P = rb.random_context(4, 0)
    found, expected = (rb.certified_log_rank(P, ratio=x) for x in (ratio, float(ratio)))
    assert (found.lower, found.upper) == (expected.lower, expected.upper)


@pytest.mark.parametrize("kind", ["array", "float32", "integer", "extended", "tensor"])
def test_a_ratio_in_an_array_without_axes_is_the_number_in_it(kind: str) -> None:
    number: Any = 1 if kind == "integer" else 0.1
    ratio: Any = np.array(number)
    if kind == "tensor":
        ratio = pytest.importorskip("torch").tensor(number)
    elif kind in ("float32", "extended"):
        ratio = np.array(number, np.float32 if kind == "float32" else np.longdouble)
    P = rb.random_context(4, 0)
    found, expected = (rb.certified_log_rank(P, ratio=x) for x in (ratio, float(ratio)))
    assert (found.lower, found.upper) == (expected.lower, expected.upper)
    third: Any = np.array(np.longdouble(1) / 3)
    if third[()] != float(third):  # it has more bits
        with pytest.raises(rb.InputError, match="float64 does not hold exactly"):
            rb.certified_log_rank(P, ratio=third)


def test_a_sketch_finds_the_head_that_a_whole_decomposition_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of size 256: 20 singular values are certain, and more are needed to be within the ratio."""
    rng, n = np.random.default_rng(0), 256
    left, right = (np.linalg.qr(centre(rng.standard_normal((n, 40))))[0] for _ in range(2))
    values = np.r_[np.full(20, 30.0), np.logspace(0, -12, 20)]
    P = rb.column_softmax(left * values @ right.T)
    for radius, sketched in ((1e-2, True), (1e-13, False)):
        found = evidence._sketched_values(centre(np.log(P)), radius)
        assert (found is not None) is sketched
    bounds = rb.certified_log_rank(P, ratio=1e-2)
    assert 20 <= bounds.lower < bounds.upper < 40
    monkeypatch.setattr(evidence, "_sketched_values", lambda *_: None)
    whole = rb.certified_log_rank(P, ratio=1e-2)
    assert (bounds.lower, bounds.upper) == (whole.lower, whole.upper)


@pytest.mark.parametrize(("gap", "within"), [(0.0, 2.0**-4), (0.4, 2.0**-4), (0.6, 2.0**-30)])
@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
def test_the_compression_of_a_gap_is_orthonormal_on_the_right_sides(
    size: float, gap: float, within: float
) -> None:
    """V S^-1 of the decomposition of C log P, and U^T, whatever the size of log P."""
    P = rb.random_context(5, seed=0, law="gibbs", scale=size)
    D = centre(np.log(P))
    ratio = float(gap * np.linalg.svd(D, compute_uv=False)[3] / 5)
    (proof,) = rb.certified_log_rank(P, ratio=ratio).certify().certificates
    sides = (getattr(proof, name) for name in ("compression", "inverse"))
    V, R = (
        np.ldexp(np.array(one.entries, float).reshape(one.rows, one.columns), one.exponent)
        for one in sides
    )
    image = D @ V
    # to 40 bits and more, less what float64 loses to a condition number of 8, where n times the
    # ratio leaves less than half of the least singular value; elsewhere to n^(3/2) 2^-bits <= 1/16
    np.testing.assert_allclose(image.T @ image, np.eye(4), rtol=0, atol=within)
    np.testing.assert_allclose(R @ image, np.eye(4), rtol=0, atol=within)
