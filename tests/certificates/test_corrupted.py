"""A wrong certificate is never accepted: accepted implies true."""

from __future__ import annotations

import copy
import json
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rankbound.certificates.checker import check
from tests.certificates import build
from tests.certificates.build import EXAMPLES, Doc, dumped, example
from tests.certificates.truth import holds
from tests.helpers import Rows, rational_rows

NAMES = list(EXAMPLES)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in the tree that is not a dict or a list."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in leaves(value[key], (*path, key))]
    if isinstance(value, list):
        return [leaf for i, item in enumerate(value) for leaf in leaves(item, (*path, i))]
    return [path]


def at(document: Any, path: tuple[Any, ...]) -> Any:
    """What lies there."""
    for step in path:
        document = document[step]
    return document


def put(document: Any, path: tuple[Any, ...], value: Any) -> None:
    """Replace what lies there."""
    at(document, path[:-1])[path[-1]] = value


def other_values(value: Any, draw: Any) -> Any:
    """Another value of the same look, often near; sometimes one of another type."""
    if draw(st.integers(0, 9)) == 0:
        return draw(
            st.sampled_from([None, True, False, 1, -1, "", "0x1", 1.5, [], {}, "nan", 10**30])
        )
    if isinstance(value, bool) or value is None:
        return draw(st.sampled_from([True, False, None]))
    if isinstance(value, int):
        return value + draw(st.sampled_from([-2, -1, 1, 2, 1000, -1000]))
    if isinstance(value, str) and "p" in value and value.startswith(("0x", "-0x")):
        return _other_float(float.fromhex(value), draw)
    if isinstance(value, str) and "/" in value:
        above, below = (int(part, 16) for part in value.split("/"))
        step = draw(st.sampled_from([-1, 1]))
        return draw(
            st.sampled_from([f"{above + step:#x}/{below:#x}", f"{above:#x}/{below + step:#x}"])
        )
    if isinstance(value, str) and value.startswith(("0x", "-0x")):
        number = int(value, 16)
        return hex(
            draw(st.sampled_from([number + 1, number - 1, -number, 0, 2 * number, number // 2]))
        )
    return draw(st.text(max_size=8))


def _other_float(number: float, draw: Any) -> str:
    near = [math.nextafter(number, math.inf), math.nextafter(number, -math.inf)]
    far = [-number, 0.0, 2 * number, number / 2, number + 1, 1e300, 5e-324, 10 * number]
    return float(draw(st.sampled_from(near + far))).hex()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(data=st.data())
def test_one_number_changed(name: str, data: st.DataObject) -> None:
    document = example(name)
    path = data.draw(st.sampled_from(leaves(document)))
    changed = other_values(at(document, path), data.draw)
    put(document, path, changed)
    outcome = check(document)
    assert not outcome.accepted or holds(document["statement"]), (path, changed, outcome)
    assert "the checker failed" not in outcome.reason, (path, changed, outcome)
    assert outcome.accepted or outcome.reason.endswith("."), outcome  # a sentence


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_the_statement_changed(name: str) -> None:
    """Each in turn, to each of a few values."""
    for path in leaves(example(name)["statement"], ("statement",)):
        document = example(name)
        value, moved = at(document, path), list[Any]()
        if isinstance(value, str) and value[-1:].isdigit():
            parts = value.partition("/" if "/" in value else "p")
            if "p" in value:
                moved = [
                    (float.fromhex(value) * k + d).hex()
                    for k, d in ((1, 1), (-1, 0), (4, 0), (0, 0))
                ]
            else:
                number = int(parts[0], 16)
                moved = [f"{number + d:#x}{parts[1]}{parts[2]}" for d in (-1, 1, 7)]
        elif isinstance(value, int) and not isinstance(value, bool):
            moved = [value - 1, value + 1, value + 2]
        else:
            moved = [not value]
        for change in moved:
            put(document, path, change)
            outcome = check(document)
            assert not outcome.accepted or holds(document["statement"]), (path, change, outcome)


@pytest.mark.parametrize("name", NAMES)
def test_every_index_of_the_proof_out_of_range(name: str) -> None:
    """One below 0, one beyond the matrices, and each in between, whatever reads it."""
    document = example(name)
    sizes = [len(value) for value in document["statement"].values() if isinstance(value, list)]
    widest = max([8, *sizes])
    for path in leaves(document["data"], ("data",)):
        value = at(document, path)
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        for other in range(-1, widest + 2):
            put(document, path, other)
            outcome = check(document)
            assert not outcome.accepted or holds(document["statement"]), (path, other, outcome)
            assert "the checker failed" not in outcome.reason, (path, other, outcome)
        put(document, path, value)


@given(st.data())
def test_parts_exchanged_between_two_certificates(data: st.DataObject) -> None:
    one, two = (example(data.draw(st.sampled_from(NAMES))) for _ in range(2))
    part = data.draw(st.sampled_from(["kind", "statement", "data"]))
    one[part], two[part] = two[part], one[part]
    for document in (one, two):
        outcome = check(document)
        assert not outcome.accepted or holds(document["statement"]), outcome


@pytest.mark.parametrize("name", NAMES)
def test_fields_swapped(name: str) -> None:
    """Any two fields of the statement, and of the data, change places."""
    for part in ("statement", "data"):
        keys = [key for key in example(name)[part] if key != "kind"]
        for i, first in enumerate(keys):
            for second in keys[:i]:
                document = example(name)
                fields = document[part]
                if fields[first] == fields[second]:
                    continue
                fields[first], fields[second] = fields[second], fields[first]
                outcome = check(document)
                assert not outcome.accepted or holds(document["statement"]), (first, second)


@pytest.mark.parametrize("name", NAMES)
def test_a_field_missing_or_one_too_many(name: str) -> None:
    for path in [(), ("statement",), ("data",)]:
        for key in at(example(name), path):
            document = example(name)
            del at(document, path)[key]
            outcome = check(document)
            absent_tokens = key == "tokens" and at(example(name), (*path, key)) is None
            assert outcome.accepted == absent_tokens, key
        document = example(name)
        at(document, path)["note"] = None
        assert "unknown key 'note'" in check(document).reason


def parts(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in the tree; of a list, of what comes first."""
    if isinstance(value, dict):
        return [path, *(one for key in value for one in parts(value[key], (*path, key)))]
    return [path, *(parts(value[0], (*path, 0)) if isinstance(value, list) and value else [])]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_field_is_refused_by_its_name(name: str) -> None:
    """Each part in turn a number, a word, or an empty list."""
    for path in parts(example(name))[1:]:
        junk: Any
        for junk in (1.5, "junk", []):
            document = example(name)
            put(document, path, junk)
            outcome = check(document)
            assert not outcome.accepted or holds(document["statement"]), (path, junk)
            assert "None" not in outcome.reason, (path, junk, outcome)
            assert "the checker failed" not in outcome.reason, (path, junk, outcome)


@pytest.mark.parametrize("name", NAMES)
def test_another_kind_of_certificate_or_statement(name: str) -> None:
    certificates = {document["kind"] for document in EXAMPLES.values()}
    statements = {document["statement"]["kind"] for document in EXAMPLES.values()}
    document = example(name)
    for kind in certificates - {document["kind"]} | {"", "rank", "NONZERO-MINOR"}:
        document["kind"] = kind
        assert not check(document).accepted
    document = example(name)
    for kind in statements - {document["statement"]["kind"]} | {"", "nonzero-minor"}:
        document["statement"]["kind"] = kind
        assert not check(document).accepted


@settings(max_examples=300)
@given(rational_rows(), rational_rows(), st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_honest_witnesses_for_other_matrices(
    stated: Rows, proved: Rows, lower: int, upper: int, with_minor: bool
) -> None:
    """Random bounds of one matrix, with what proves those of another."""
    statement = {
        "kind": "rank",
        "matrix": build.table("rational", stated),
        "lower": lower,
        "upper": upper,
    }
    left, right = build.factors(proved)
    minor = build.minor(proved)
    candidates = [
        build.document("nonzero-minor", statement, minor),
        build.document(
            "factorisation",
            statement,
            {"left": left, "right": right, "minor": minor if with_minor else None},
        ),
    ]
    for document in candidates:
        assert not check(document).accepted or holds(statement)


@settings(max_examples=300)
@given(rational_rows(3, 3), rational_rows(3, 3), st.integers(0, 3), st.integers(0, 3))
def test_honest_witnesses_for_other_logits(
    stated: Rows, proved: Rows, lower: int, upper: int
) -> None:
    statement = {
        "kind": "log-rank",
        "logits": build.table("rational", stated),
        "lower": lower,
        "upper": upper,
    }
    A = build.centred(proved)
    left, right = build.factors(A)
    for document in (
        build.document("nonzero-minor", statement, build.minor(A)),
        build.document(
            "factorisation", statement, {"left": left, "right": right, "minor": build.minor(A)}
        ),
    ):
        assert not check(document).accepted or holds(statement)


SMALL = st.integers(-4, 4).map(float) | st.sampled_from([0.5, -0.25, 1e-9, 1e9, 1 / 3])
PAIRS = st.lists(st.lists(SMALL, min_size=2, max_size=2), min_size=2, max_size=2)
ERRORS = st.sampled_from([0.0, 1e-12, 0.1, 0.5, 1.0, 5.0])


@settings(max_examples=300)
@given(PAIRS, PAIRS, ERRORS, st.integers(-20, 60), st.integers(-4, 60))
def test_enclosures_of_other_matrices(
    stated: list[list[float]], proved: list[list[float]], error: float, grid: int, bits: int
) -> None:
    """The inverse of one matrix for another near it or not, on any grid, under any error."""
    assume(build.rank(build.exact(proved)) == 2)
    statement: Doc = {
        "kind": "rank-under-error",
        "matrix": build.table("float", stated),
        "error": error.hex(),
        "lower": 2,
    }
    data = build.enclosure(build.exact(proved), grid=grid, bits=bits)
    document = build.document("nonsingular-enclosure", statement, data)
    assert not check(document).accepted or holds(statement)


@settings(max_examples=300)
@given(
    PAIRS,
    ERRORS,
    st.integers(0, 60),
    st.integers(1, 2),
    st.floats(1e-6, 20) | st.sampled_from([0.99, 1.01]),
)
def test_gaps_with_random_bounds(
    rows: list[list[float]], error: float, bits: int, index: int, share: float
) -> None:
    """The bound is a share of what a perfect certificate would reach."""
    A = build.exact(rows)
    assume(build.rank(A) == 2)
    determinant = abs(A[0][0] * A[1][1] - A[0][1] * A[1][0])
    bound = share * float(determinant) / max(1.0, math.hypot(*rows[0], *rows[1]))
    V = [row[:index] for row in build.identity(2)]
    assume(bound > 0 and build.rank(build.times(A, V)) == index)
    document = build.gap_singular_value(rows, error, V, bound, bits)
    outcome = check(document)
    assert not outcome.accepted or holds(document["statement"])


@pytest.mark.parametrize("name", [n for n in NAMES if "upper" in EXAMPLES[n]["statement"]])
def test_an_upper_bound_one_too_low(name: str) -> None:
    """The rank is r, every witness is honest, and the statement says r - 1."""
    document = example(name)
    statement = document["statement"]
    statement["upper"] = statement["lower"]
    assert holds(statement) or not check(document).accepted
    while statement["upper"] and holds(statement):
        statement.update(lower=statement["upper"] - 1, upper=statement["upper"] - 1)
    assert check(document).accepted <= holds(statement)


@pytest.mark.parametrize("lower", [1, 2])
def test_a_lower_bound_without_a_minor(lower: int) -> None:
    """The zero matrix, correctly factored, said to have a rank."""
    document = example("factors, rank of zero")
    document["statement"].update(lower=lower, upper=2)
    assert not check(document).accepted
    document["data"]["minor"] = None
    assert f"no minor for the lower bound {lower}" in check(document).reason


@pytest.mark.parametrize("transpose", [False, True])
def test_one_norm_alone_would_prove_too_much(transpose: bool) -> None:
    """R = I, A = I - 1/2 1 e_1^T, n = 100: ‖I - R A‖_∞ = 1/2, and s_min(A) is far below 1/2.

    Its transpose has that 1-norm.
    """
    n = 100
    rows = [[float(i == j) - 0.5 * (j == 0) for j in range(n)] for i in range(n)]
    if transpose:
        rows = [list(column) for column in zip(*rows, strict=True)]
    R = build.dyadic(build.identity(n), 0)
    data: Doc = {"compression": R, "inverse": R, "grid": 2}
    for bound in (0.5, 0.49, 0.25, 0.1):
        statement = {
            "kind": "singular-value",
            "matrix": build.table("float", rows),
            "error": (0.0).hex(),
            "index": n,
            "bound": bound.hex(),
        }
        outcome = check(build.document("spectral-gap", statement, data))
        assert not outcome.accepted
        assert "spectral norm of I - R A V is not below 1" in outcome.reason
    # the same matrix is nonsingular, for which that norm does suffice
    statement = {"kind": "rank", "matrix": build.table("float", rows), "lower": n, "upper": n}
    data = {
        "columns": None,
        "row_exponents": [0] * n,
        "column_exponents": [0] * n,
        "grid": 2,
        "inverse": R,
    }
    enclosed = check(build.document("nonsingular-enclosure", statement, data))
    assert enclosed.accepted != transpose  # its row sums reach 50


@pytest.mark.parametrize("bound", [0.5, 0.5000000000000001, 0.6, 0.86, 0.87])
def test_the_square_roots_are_compared_not_the_squares(bound: float) -> None:
    """A = [1/2], R = V = [1]: α = 1/2, so 1/2 is proved and 0.6 is false, though α² + 0.6² < 1."""
    document = build.gap_singular_value([[0.5]], 0.0, build.identity(1), bound)
    document["data"]["inverse"] = document["data"]["compression"]
    assert check(document).accepted == (bound == 0.5)


def test_rounding_to_the_grid_is_an_error_too() -> None:
    """[[1, 1], [1, 1 + 2^-30]] is [[1, 1], [1, 1]] on a grid of 20 bits, whatever the inverse."""
    rows = [[1.0, 1.0], [1.0, 1.0 + 2**-30]]
    for grid, expected in ((20, False), (60, True)):
        document = build.enclosed_under_error(rows, 0.0, [0, 0], [0, 0])
        document["data"] = build.enclosure(build.exact(rows), grid=grid)
        assert check(document).accepted == expected
    singular = copy.deepcopy(document)
    singular["statement"]["matrix"] = build.table("float", [[1.0, 1.0], [1.0, 1.0]])
    assert not check(singular).accepted


@pytest.mark.parametrize(("ratio", "expected"), [(0.34, True), (0.35, False)])
def test_a_difference_of_logarithms_moves_by_twice_the_ratio(ratio: float, expected: bool) -> None:
    """[[2, 1], [1, 1]] normalised: log 2 = 0.693 is the only difference, so 0.3465 undoes it."""
    P = [[2 / 3, 1 / 2], [1 / 3, 1 / 2]]
    document = build.enclosed_log_rank(P, ratio, [0])
    assert check(document).accepted == expected == holds(document["statement"])


@pytest.mark.parametrize("share", [Fraction(1), Fraction(1, 2)])
@pytest.mark.parametrize(("ratio", "expected"), [(0.24, True), (0.25, False), (0.35, False)])
def test_a_singular_value_moves_by_n_times_the_ratio(
    ratio: float, expected: bool, share: Fraction
) -> None:
    """Of C log P there is one, log 2 / sqrt 2 = 0.490 = 2 · 0.245; half of R makes α = 1/2."""
    P = [[2 / 3, 1 / 2], [1 / 3, 1 / 2]]
    document = build.gap_log_rank(P, ratio, [[Fraction(1)], [Fraction(0)]])
    R = build.left_inverse([[row[0]] for row in build.centred_logs(P)])
    document["data"]["inverse"] = build.dyadic([[share * x for x in row] for row in R], -40)
    assert check(document).accepted == expected


def test_a_counterexample_whose_context_has_low_rank() -> None:
    """2^(i + j) is of rank 1, and so are the logits i."""
    document = example("counterexample")
    exponents = [[i + j for j in range(3)] for i in range(3)]
    document["statement"]["exponents"] = build.table("integer", exponents)
    document["statement"]["queries"] = build.table("integer", [[1, 1, 1]])
    assert not holds(document["statement"])
    assert "finds no unit in column 1" in check(document).reason


def test_huge_ratios_and_exponents_are_no_trouble() -> None:
    document = example("representation, within")
    document["statement"]["ratio"] = (1e300).hex()
    document["statement"]["scale"] = (1e300).hex()
    assert check(document).accepted == holds(document["statement"])
    document["statement"]["ratio"] = (10.0).hex()
    assert not check(document).accepted
    for scale in (-1e308, 5e-324, -0.5, 0.0):
        document["statement"]["scale"] = scale.hex()
        assert not check(document).accepted or holds(document["statement"])


def raised(name: str, factor: float) -> Doc:
    """An example whose bound is larger."""
    document = example(name)
    bound = float.fromhex(document["statement"]["bound"])
    document["statement"]["bound"] = (factor * bound).hex()
    return document


@pytest.mark.parametrize(
    ("name", "sharp"),
    [
        ("column budgets", 1.0205470),
        ("column budgets, tilted", 1.0093177),
        ("wrong signs", 1.0042887),
        ("wrong signs, of logits", 1.0042887),
        ("packing, on average", 3.57808949 / 3.5),
        ("packing, caps", 256.464438 / 250),
        ("packing, in the plane", 51.7299167 / 51),
    ],
)
def test_a_bound_is_accepted_as_far_as_its_argument_goes(name: str, sharp: float) -> None:
    assert check(raised(name, sharp - 1e-6)).accepted
    assert not check(raised(name, sharp + 1e-6)).accepted


def test_disjoint_balls_ask_for_their_bound_and_no_more() -> None:
    """Some other bound is always the larger; so by themselves: (1 + 2 β/g)^3 <= 1000."""
    from rankbound.certificates.checker.enclosures import Enclosures
    from rankbound.certificates.checker.packing import _balls
    from rankbound.certificates.checker.tables import Budget

    enclosures = Enclosures(128, Budget())
    for ratio, holds_there in (("4.4999999", True), ("4.5000001", False)):
        assert _balls(1000, 3, Fraction(ratio), enclosures) == holds_there


@pytest.mark.parametrize("field", ["key_weights", "query_weights"])
def test_weights_whose_minorants_do_not_touch(field: str) -> None:
    document = example("column budgets")
    weights = document["data"]["blocks"][0][field]
    weights["entries"] = ["0x5555"] * 3
    assert "and query 0 does not touch" in check(document).reason
    weights["entries"] = ["0x0"] * 3
    assert "is not positive" in check(document).reason


@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("name", ["column budgets", "column budgets, tilted"])
def test_minorants_that_are_none(name: str, place: int) -> None:
    """Each number that a price rests on, moved by a little to either side."""
    for field, step, said in (
        ("touching", 2.0**-20, "does not touch"),
        ("touching", 3.0, "does not touch"),
        ("touching", -2.0, "a divergence of"),
        ("reach", -(2.0**-20), "may miss by more than their reach"),
        ("reach", -100.0, "may miss by more than their reach"),
        ("reach", 300.0, "a divergence of"),
        ("tilt", 0.5, "does not touch"),
        ("tilt", -0.5, "a divergence of"),
    ):
        document = example(name)
        held = document["data"]["blocks"][0][field]
        unit = 2.0 ** held["exponent"]
        held["entries"][place] = hex(int(held["entries"][place], 16) + round(step / unit))
        outcome = check(document)
        assert not outcome.accepted and said in outcome.reason, (field, step, outcome.reason)


@given(
    st.floats(1e-6, 1.0),
    st.floats(-6, 1),
    st.floats(-4, 4),
    st.floats(-8, 8) | st.none(),
    st.floats(0.01, 30),
    st.floats(-40, 30),
)
def test_a_price_is_no_smaller_than_what_a_minorant_exceeds(
    p: float, size: float, H: float, z: float | None, T: float, x: float
) -> None:
    """At any x up to T, whatever the point where it is said to touch; by mpmath."""
    from mpmath import mp, mpf

    from rankbound.certificates.checker.divergence import _price
    from rankbound.certificates.checker.enclosures import Enclosures
    from rankbound.certificates.checker.tables import Budget

    enclosures = Enclosures(128, Budget())
    one = enclosures.one
    square = round(p * 10.0**size * 2**80) or 1
    with mp.workdps(80):
        q, w = mpf(round(p * 2**60)) / 2**60, mpf(square) / 2**80
        if z is None:  # as it should be
            low, high = mpf(-60), mp.log(q / (2 * w))
            for _ in range(100):
                z = (low + high) / 2
                rises = 2 * w * (z - H) > q * (1 - mp.exp(-z))
                low, high = (z, high) if rises else (low, z)
            z = low - mpf(10) ** -9
        whole = round(p * 2**60) << 68
        units = [int(mp.floor(mpf(y) * one)) for y in (z, H, T)]
        price = _price(whole, square, -80, units[0], units[1], units[2], enclosures)
        if price is None:
            return
        for y in (x, T, float(z), float(mp.log(q / (2 * w)))):
            at = min(mpf(y), mpf(units[2]) / one)
            gap = w * (at - mpf(units[1]) / one) ** 2 - q * (at - 1 + mp.exp(-at))
            assert gap <= mpf(price) / mpf(one) ** 3 + mpf(10) ** -75  # of the working digits


def test_a_block_may_not_count_twice() -> None:
    document = raised("column budgets", 2.0)
    document["data"]["blocks"] *= 2
    assert "two blocks share an entry" in check(document).reason
    document["data"]["blocks"] = []
    assert "a divergence of 0.0 only" in check(document).reason
    document["statement"]["bound"] = (0.0).hex()
    assert check(document).accepted


def test_vectors_that_are_not_orthonormal_shrink_the_bound() -> None:
    """Twice the left vectors and half the values: the product fits, its singular values do not."""
    document = example("column budgets")
    block = document["data"]["blocks"][0]
    block["left"]["exponent"] += 1
    block["values"]["exponent"] -= 1
    assert "a divergence of 0.0 only" in check(document).reason
    document = example("column budgets")
    block = document["data"]["blocks"][0]
    block["values"]["exponent"] += 1  # twice the values, far from what is decomposed
    assert not check(document).accepted
    block["values"]["exponent"] = 4000
    assert "beyond the limit" in check(document).reason


@pytest.mark.parametrize(("power", "lower"), [(1, 4), (2, 4), (8, 4), (8, 1024)])
def test_a_sign_rank_above_the_bound_of_forster(power: int, lower: int) -> None:
    document = build.forster(power)
    assert check(document).accepted
    document["statement"]["lower"] = lower
    assert "does not exclude the rank" in check(document).reason
    document["data"]["power"] = 3
    assert "expected one of" in check(document).reason


def test_a_threshold_above_one_and_parts_without_rows() -> None:
    document = example("wrong signs")
    document["data"]["thresholds"]["entries"][3] = "0x1"
    assert "a threshold is above 1" in check(document).reason
    # the least that is above: a unit of the grid of 2^-128, all others at -1
    entries = ["-0x1" + "0" * 32] * len(document["data"]["thresholds"]["entries"])
    for entry, above in (("0x1", True), ("0x0", False)):
        changed = document["data"]["thresholds"]
        changed["entries"], changed["exponent"] = [*entries[:-1], entry], -128
        assert ("a threshold is above 1" in check(document).reason) is above
    document = example("wrong signs")
    for parts in (0, 9):
        document["data"]["parts"] = parts
        assert "out of bounds" in check(document).reason


def test_thresholds_finer_than_the_grid_are_rounded() -> None:
    document = example("wrong signs")
    finer = document["data"]["thresholds"]
    finer["entries"] = [hex(int(x, 16) << 200) for x in finer["entries"]]
    finer["exponent"] -= 200
    assert check(document).accepted


def test_the_matrices_of_a_block_are_of_its_size() -> None:
    """One more column of zeros, or row, in each in turn."""
    block = example("column budgets, tilted")["data"]["blocks"][0]
    names = [name for name, value in block.items() if isinstance(value, dict)]
    assert len(names) == 8
    for name in names:
        for side in ("rows", "columns"):
            document = example("column budgets, tilted")
            changed = document["data"]["blocks"][0][name]
            more = changed["columns" if side == "rows" else "rows"]
            changed[side] += 1
            changed["entries"] += ["0x0"] * more
            assert "expected" in check(document).reason, (name, side)


def test_the_bracket_of_pi_and_the_sine_are_bounds() -> None:
    from mpmath import mp

    from rankbound.certificates.checker.packing import PI_ABOVE, _sine_above

    with mp.workdps(80):
        assert 0 < mp.mpf(PI_ABOVE.numerator) / PI_ABOVE.denominator - mp.pi < mp.mpf(10) ** -54
        for n in (3, 4, 12, 999_999):
            sine = _sine_above(PI_ABOVE / n)
            excess = mp.mpf(sine.numerator) / sine.denominator - mp.sin(mp.pi / n)
            assert 0 < excess < mp.mpf(10) ** -20


@pytest.mark.parametrize("name", ["minor, rank of integers", "gap, log-rank"])
def test_truncated_at_every_position(name: str) -> None:
    text = dumped(example(name))
    for end in range(len(text)):
        outcome = check(text[:end])
        assert not outcome.accepted, end


def test_a_character_changed_anywhere() -> None:
    text = dumped(example("factors, rank of integers"))
    for i in range(len(text)):
        for character in '0a"[{,-x':
            outcome = check(text[:i] + character + text[i + 1 :])
            if outcome.accepted:
                assert holds(json.loads(text[:i] + character + text[i + 1 :])["statement"])
