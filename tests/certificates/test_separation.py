"""Certificates of kind separation: two layers whose outputs differ on the tokens given."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
from rankbound.certificates.certificates import LayerSeparation, read_certificate
from rankbound.certificates.checker import Check, check
from rankbound.certificates.matrices import Layer, Matrix
from rankbound.certificates.statements import LayersDiffer
from rankbound.testing import multiheads
from tests.certificates.build import Doc, dumped, example, layer, separation, table
from tests.certificates.truth import holds, matrix
from tests.helpers import Array

UNDECIDED = "do not decide the gap"
LESS = "differ by less than the gap"


def stated(f: rb.MultiHead, g: rb.MultiHead, X: Array, gap: Fraction) -> LayerSeparation:
    """The certificate of two layers in float64."""
    one, two = (Layer.of_floats(m.W_q, m.W_k, m.W_v, m.W_o, m.scale) for m in (f, g))
    return LayerSeparation(LayersDiffer(one, two, Matrix.of_floats(X.tolist()), gap))


def scalar(weight: Any, scale: Any, value: Any = 1) -> Doc:
    """A head on tokens of one coordinate: keys are the tokens, queries `weight` times them."""
    return layer("rational", [[[weight]]], [[[1]]], [[[value]]], [[1]], scale)


def two(gap: Any, weight: Any, scale: Any = 1) -> Check:
    """Tokens 0 and 1: f pools 1/2 to query 0 and x / (1 + x) to 1, x = exp(weight scale); g 0."""
    f, g = scalar(weight, scale), scalar(weight, scale, 0)
    return check(separation(f, g, table("integer", [[0, 1]]), gap))


def distance(weight: Any, digits: int = 400) -> Any:
    """sqrt(1/4 + (1 / (1 + exp(-weight)))^2)."""
    with mpmath.workdps(digits):
        return mpmath.sqrt(mpmath.mpf(1) / 4 + (1 / (1 + mpmath.exp(-weight))) ** 2)


def near(value: Any, power: int) -> Fraction:
    """The rational of so many bits just below."""
    with mpmath.workdps(1400):
        return Fraction(int(mpmath.floor(mpmath.ldexp(value, power))), 2**power)


@settings(max_examples=40)
@given(st.data(), st.integers(1, 3), st.integers(1, 4))
def test_agrees_with_float64_on_either_side(data: st.DataObject, d: int, n: int) -> None:
    """Any two layers and tokens: the gap that NumPy finds, less and more a little."""
    f, g = (data.draw(multiheads(d=d)) for _ in range(2))
    X = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal((d, n))
    outputs = [m.output(X) for m in (f, g)]
    size = max(float(np.linalg.norm(Y)) for Y in outputs) + float(np.abs(X).max())
    gap = float(np.linalg.norm(outputs[0] - outputs[1]))
    # logits of at most about 1e2 lose 1e-14 of themselves, and so do the weights
    below, above = Fraction(gap) - Fraction(size) / 2**20, Fraction(gap) + Fraction(size) / 2**20
    if below > 0:
        assert check(stated(f, g, X, below)).accepted
    outcome = check(stated(f, g, X, above))
    assert not outcome.accepted
    assert LESS in outcome.reason


def test_one_token_repeated_is_decided_exactly() -> None:
    """The outputs differ by 5, which is not below 5; below any greater number it is."""
    document = example("separation, one token")
    assert check(document).reason.endswith("exactly")
    document["statement"]["gap"] = f"{5 * 10**1000 + 1:#x}/{10**1000:#x}"
    assert LESS in check(document).reason
    assert check(document).statement.endswith("at least 5.00000 in the Frobenius norm")


def test_zero_weights_make_any_tokens_exact() -> None:
    f, g = scalar(0, 1), scalar(0, 1, 0)
    tokens = table("integer", [[0, 1, 2]])  # each query pools 1, so the square is 3
    assert check(separation(f, g, tokens, Fraction(1732, 1000))).reason.endswith("exactly")
    assert LESS in check(separation(f, g, tokens, Fraction(1733, 1000))).reason


@pytest.mark.parametrize("power", [100, 400, 1500, 3000])
def test_the_precision_is_raised_until_the_gap_is_decided(power: int) -> None:
    """A gap that agrees with the distance to `power` bits."""
    below = near(distance(1, 1400), power)
    assert two(below, 1).accepted
    assert LESS in two(below + Fraction(1, 2**power), 1).reason


@pytest.mark.parametrize("weight", range(1, 9))
def test_errors_of_opposite_weights_do_not_cancel(weight: int) -> None:
    """Tokens 1 and -1 pool ±tanh(weight), whose two terms have errors of like size."""
    f, g = scalar(weight, 1), scalar(weight, 1, 0)
    with mpmath.workdps(400):
        norm = mpmath.sqrt(2) * mpmath.tanh(weight)
    for power in range(120, 140):
        for step, expected in ((0, True), (1, False)):
            gap = near(norm, power) + Fraction(step, 2**power)
            assert check(separation(f, g, table("integer", [[1, -1]]), gap)).accepted == expected


def test_beyond_the_finest_grid_nothing_is_decided() -> None:
    assert UNDECIDED in two(near(distance(1, 1400), 4400), 1).reason


@pytest.mark.parametrize("weight", [10**3, 10**6, -(10**6), 10**30])
def test_large_logits(weight: int) -> None:
    """The weights are 0 and 1 to more digits than any grid has."""
    limit = distance(weight)
    assert two(near(limit, 64) - Fraction(1, 2**60), weight).accepted
    assert LESS in two(near(limit, 64) + Fraction(1, 2**60), weight).reason
    if weight < 0:  # the norm exceeds 1/2 by about e^-2000000
        assert two(Fraction(1, 2), weight).accepted
        assert UNDECIDED in two(Fraction(1, 2) + Fraction(1, 2**9000), weight).reason


def test_the_scale_multiplies_the_logits() -> None:
    for weight, scale in ((2, Fraction(1, 2)), (-1, -1), (Fraction(-1, 3), -3)):
        assert two(near(distance(1), 60), weight, scale).accepted
        assert LESS in two(near(distance(1), 60) + Fraction(1, 2**60), weight, scale).reason


def test_keys_and_queries_have_their_sides() -> None:
    """Tokens e_1, e_2; the query e_1 prefers the key e_2 by log-odds 1: P = [[.27, .5], [.73, .5]].

    Exchanged, or with the transpose for P, the outputs would be other ones.
    """
    f = layer("integer", [[[1, 0]]], [[[0, 1]]], [[[0, 1]]], [[1], [0]], 1)
    g = layer("integer", [[[0, 0]]], [[[0, 0]]], [[[0, 0]]], [[0], [0]], 1)
    identity = table("integer", [[1, 0], [0, 1]])
    for gap, expected in ((near(distance(1), 60), True), (near(distance(1), 60) + 1, False)):
        document = separation(f, g, identity, gap)
        assert check(document).accepted == expected == holds(document["statement"])


def test_a_layer_never_differs_from_itself() -> None:
    document = example("separation")
    document["statement"]["f"] = document["statement"]["g"]
    for gap in ("0x1/0x1", f"0x1/{2**900:#x}"):
        document["statement"]["gap"] = gap
        assert not check(document).accepted


@pytest.mark.parametrize(
    ("path", "value", "part"),
    [
        (("gap",), "0x0/0x1", "the gap is not positive"),
        (("gap",), "-0x1/0x1", "the gap is not positive"),
        (("gap",), "0x1", "expected a rational like"),
        (("gap",), (1.0).hex(), "expected a rational like"),
        (("f",), None, "the layer f is None; expected an object"),
        (("g", "heads"), 0, "the number of heads of g is out of bounds"),
        (("g", "heads"), 3, "the rows of g do not divide into 3 heads"),
        (("g", "heads"), True, "expected an integer"),
        (("f", "scale"), 1, "expected a rational like"),
        (("f", "keys"), table("integer", [[1, 1]]), "expected 1 × 2"),
        (("f", "values"), table("integer", [[1]]), "do not fit each other"),
        (("f", "output"), table("integer", [[1, 1]]), "do not fit each other"),
        (("tokens",), table("integer", [[1, 1]]), "do not fit each other and tokens of 1 rows"),
        (("tokens",), table("float", [[1.0] * 257] * 2), "the limit for enclosures is 256"),
    ],
)
def test_what_the_specification_forbids(path: tuple[str, ...], value: object, part: str) -> None:
    document = example("separation")
    place: Any = document["statement"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    outcome = check(document)
    assert not outcome.accepted
    assert part in outcome.reason, outcome.reason


def test_the_work_is_counted_before_it_is_done() -> None:
    """1024 heads on 256 tokens: 67 million logits, which no memory should meet."""
    heads = {"type": "integer", "rows": 1024, "columns": 1, "entries": ["0x1"] * 1024}
    output = {"type": "integer", "rows": 1, "columns": 1024, "entries": ["0x1"] * 1024}
    many = {"heads": 1024, "queries": heads, "keys": heads, "values": heads, "output": output}
    many["scale"] = "0x1/0x1"
    tokens = table("integer", [list(range(256))])
    outcome = check(separation(many, many, tokens, 1))
    assert not outcome.accepted
    assert "the limit" in outcome.reason
    long = f"{2**100_000 + 1:#x}/{3**60_000:#x}"  # logits of 400 000 bits
    document = example("separation")
    document["statement"]["f"]["scale"] = document["statement"]["f"]["keys"]["entries"][0] = long
    assert not check(document).accepted


def test_the_classes_write_what_the_checker_reads() -> None:
    """Built from Fractions and from floats, and read back."""
    data = example("separation, one token")["statement"]
    exact = Layer.of_rationals(
        [[[1, 0], [Fraction(1, 2), 1]]],
        [[[1, -1], [2, Fraction(1, 3)]]],
        [[[1, 2]]],
        [[1], [1]],
        Fraction(1, 2),
    )
    floats = Layer.of_floats(
        np.array([[[1.0, 0.5]], [[0.0, 2.0]]]),
        np.array([[[1.0, 1.0]], [[-0.25, 1.0]]]),
        np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [1.0, -1.0]]]),
        np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]),
        1,
    )
    assert exact.to_data() == data["f"]
    assert floats.to_data() == data["g"]
    tokens = Matrix.of_integers(np.ones((2, 4), dtype=np.int64))  # type: ignore[arg-type]
    statement = LayersDiffer(exact, floats, tokens, Fraction(5))
    certificate = LayerSeparation(statement)
    assert certificate.to_json() == dumped(example("separation, one token"))
    again = read_certificate(certificate.to_json()).statement
    assert isinstance(again, LayersDiffer)
    assert (again.gap, again.f.scale) == (Fraction(5), Fraction(1, 2))
    assert again.g.heads == 2
    assert matrix(again.g.to_data()["output"]) == matrix(data["g"]["output"])
