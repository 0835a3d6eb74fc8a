"""Malformed, oversized and hostile input is a rejection with a reason and never raises."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankbound.certificates.checker import Check, check
from tests.certificates import build
from tests.certificates.build import Doc, dumped, example
from tests.helpers import NO_SUCH_FILE

SMALL = "minor, rank of integers"
ENCLOSED = "enclosure, rank under error"


def rejected(certificate: object, *parts: str) -> Check:
    """Expect a rejection whose reason holds every part."""
    outcome = check(certificate)
    assert not outcome.accepted
    for part in parts:
        assert part in outcome.reason, outcome.reason
    return outcome


def changed(name: str, part: str, **fields: Any) -> Doc:
    """An example with fields of its statement or data replaced."""
    document = example(name)
    document[part].update(fields)
    return document


def with_matrix(**fields: Any) -> Doc:
    """The small example with fields of its matrix replaced."""
    document = example(SMALL)
    document["statement"]["matrix"].update(fields)
    return document


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "not JSON"),
        ("null", "expected an object"),
        ("[]", "expected an object"),
        ("{}", "has no 'schema'"),
        ("{", "not JSON"),
        ("]" * 100_000, "not JSON"),
        ("[" * 100_000, "nest deeper than the limit of 8"),
        ('{"a":' * 100_000, "nest deeper than the limit of 8"),
        ("[" * 100_000 + "]" * 100_000, "nest deeper than the limit of 8"),
        ("[]," * 100_000, "not JSON"),
        ("]" * 100_000 + "[" * 100_000, "not JSON"),
        ('"', "not JSON"),
        ('"' * 100_001, "not JSON"),
        ("\\" * 1000, "backslash"),
        ('"\\u0030"', "backslash"),
        ("\ufeff{}", "outside ASCII"),
        ("é", "outside ASCII"),
        ("NaN", "'NaN' is not allowed"),
        ("[Infinity]", "'Infinity' is not allowed"),
        ("[-Infinity]", "is not allowed"),
        ("1.0", "'1.0' is not allowed"),
        ("1e9", "is not allowed"),
        ("-0", "the integer -0 is not allowed"),
        ('{"rows":-0}', "the integer -0 is not allowed"),
        ("9" * 1_000_000, "too long"),
        ("[" + "0," * 9_000_000 + "0]", "more than 8388608 items"),
        ("[]," * 4_500_000, "more than 8388608 items"),
        ('""' * 17_000_000, "more than 8388608 items"),
        (" " * (2**28 + 1), "the limit is 268435456"),
        ("\x00", "not JSON"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_text_that_is_no_certificate(text: str, part: str) -> None:
    assert rejected(text, part).statement == "no statement could be read"


def test_bytes_that_are_not_ascii() -> None:
    rejected(b"\xff\xfe{}", "not ASCII at byte 0")


def test_a_repeated_key() -> None:
    text = dumped(example(SMALL))
    for key in ("schema", "lower", "prime"):
        match = re.search(rf'"{key}":("[^"]*"|\d+)', text)
        assert match is not None
        rejected(text.replace(match[0], f"{match[0]},{match[0]}"), "repeats a key")


@pytest.mark.parametrize("value", [None, 1, 1.5, object(), [], (), set(), True, range(3), check])
def test_things_that_are_no_certificates(value: object) -> None:
    rejected(value, "expected a certificate")


class Faulty:
    """An object whose to_json fails, or returns no text."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def to_json(self) -> object:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def test_faulty_objects() -> None:
    for answer in (ValueError("no"), RecursionError(), MemoryError(), OverflowError()):
        rejected(Faulty(answer), f"failed with {type(answer).__name__}")
    rejected(Faulty(3), "expected a certificate")
    assert check(Faulty(dumped(example(SMALL)))).accepted


def test_dicts_that_no_json_could_give() -> None:
    cycle: dict[str, Any] = {}
    cycle["schema"] = cycle
    rejected(cycle, "nest deeper than the limit of 8")
    bush: list[Any] = []
    bush.extend([bush] * 1000)
    rejected({"schema": bush}, "limit")
    rejected({"schema": ["x" * 2**20] * 1000}, "characters")
    rejected({1: 2}, "not a string")
    rejected({"schema": (1, 2)}, "type tuple")
    rejected({"schema": float("nan")}, "type float")
    rejected(changed(SMALL, "statement", lower=10**10_000), "out of bounds")
    rejected(changed(SMALL, "statement", matrix=10**10_000), "an integer of")


def test_files(tmp_path: Path) -> None:
    rejected(tmp_path / "absent.json", f"cannot be read: {NO_SUCH_FILE}")
    rejected(tmp_path, "not that of a regular file")
    os.mkfifo(tmp_path / "pipe")
    rejected(tmp_path / "pipe", "not that of a regular file")
    rejected(Path("/dev/zero"), "not that of a regular file")
    rejected(Path("a\0b"), "failed with ValueError")
    empty = tmp_path / "empty.json"
    empty.touch()
    rejected(empty, "not JSON")


@pytest.mark.parametrize(
    ("document", "part"),
    [
        (with_matrix(rows=True), "expected an integer"),
        (with_matrix(rows=3.0), "type float"),
        (with_matrix(rows="0x3"), "expected an integer"),
        (with_matrix(rows=-3), "out of bounds"),
        (with_matrix(rows=-3, columns=-3), "out of bounds"),
        (with_matrix(rows=0, entries=[]), "out of bounds; expected 1 to 1024"),
        (with_matrix(rows=0, columns=0, entries=[]), "out of bounds"),
        (with_matrix(rows=1025), "expected 1 to 1024"),
        (with_matrix(rows=2), "has 9 items; expected 6"),
        (with_matrix(entries={}), "expected a list"),
        (with_matrix(entries=["0x1"] * 8 + [1]), "expected an integer like"),
        (with_matrix(entries=["0x1"] * 8 + ["1"]), "expected an integer like"),
        (with_matrix(entries=["0x1"] * 8 + ["0X1"]), "expected an integer like"),
        (with_matrix(entries=["0x1"] * 8 + ["0x01"]), "expected an integer like"),
        (with_matrix(entries=["0x1"] * 8 + ["0x1\n"]), "expected an integer like"),
        (with_matrix(entries=["0x1"] * 8 + ["0x1_0"]), "expected an integer like"),
        (with_matrix(entries=["0x1"] * 8 + ["+0x1"]), "expected an integer like"),
        (with_matrix(entries=["0x1"] * 8 + ["0x1/0x1"]), "expected an integer like"),
        (with_matrix(entries=["0x1"] * 8 + ["0x" + "f" * 40_000]), "131072 bits, the limit"),
        (with_matrix(type="rational"), "expected a rational like"),
        (with_matrix(type="float"), "expected a finite float like"),
        (with_matrix(type="complex"), "expected integer or rational or float"),
        (with_matrix(type=None), "expected a string"),
        (with_matrix(type="rational", entries=["0x1/0x0"] * 9), "not positive"),
        (with_matrix(type="rational", entries=["0x1/-0x1"] * 9), "not positive"),
        (with_matrix(entries=["0x1"] * 8 + ["-0x0"]), "expected an integer like"),
        (with_matrix(entries=["0x1"] * 8 + ["0x00"]), "expected an integer like"),
        (with_matrix(type="rational", entries=["0x2/0x4"] * 9), "expected lowest terms"),
        (with_matrix(type="rational", entries=["-0x3/0x3"] * 9), "expected lowest terms"),
        (with_matrix(type="rational", entries=["0x0/0x2"] * 9), "expected lowest terms"),
        (with_matrix(type="rational", entries=["-0x0/0x1"] * 9), "expected an integer like"),
        (with_matrix(type="float", entries=["-0x0.0p+0"] * 9), "expected a finite float"),
        (with_matrix(type="rational", entries=["0x1/0x2/0x3"] * 9), "expected an integer like"),
        (with_matrix(type="float", entries=["inf"] * 9), "expected a finite float"),
        (with_matrix(type="float", entries=["-inf"] * 9), "expected a finite float"),
        (with_matrix(type="float", entries=["nan"] * 9), "expected a finite float"),
        (with_matrix(type="float", entries=["0x1p0"] * 9), "expected a finite float"),
        (with_matrix(type="float", entries=["0x1.0000000000000p+9999"] * 9), "finite float"),
        (with_matrix(type="float", entries=["0x1.0000000000000p-2000"] * 9), "finite float"),
        (changed(SMALL, "statement", lower=True), "expected an integer"),
        (changed(SMALL, "statement", lower=-1), "out of bounds"),
        (changed(SMALL, "statement", lower=4, upper=3), "above the upper bound"),
        (changed(SMALL, "statement", lower=2, upper=2), "is below 3, what the shape gives"),
        (changed(SMALL, "data", rows=[0, 1, 1]), "repeats an index"),
        (changed(SMALL, "data", rows=[0, 1, 3]), "out of bounds"),
        (changed(SMALL, "data", rows=[0, 1, -1]), "out of bounds"),
        (changed(SMALL, "data", rows=[0, 1, True]), "expected an integer"),
        (changed(SMALL, "data", rows=[0, 1]), "2 rows and 3 columns"),
        (changed(SMALL, "data", rows=[0, 1], columns=[0, 1]), "fewer than the lower bound 3"),
        (changed(SMALL, "data", rows=[], columns=[]), "fewer than the lower bound 3"),
        (changed(SMALL, "data", prime="0x1"), "expected 2 to 2^64 - 1"),
        (changed(SMALL, "data", prime="0x0"), "expected 2 to 2^64 - 1"),
        (changed(SMALL, "data", prime="-0x7"), "expected 2 to 2^64 - 1"),
        (changed(SMALL, "data", prime=hex(2**64)), "expected 2 to 2^64 - 1"),
        (changed(SMALL, "data", prime=7), "expected an integer like"),
        (changed(SMALL, "data", prime="0x3"), "finds no unit in column"),  # the minor is -3
        (changed("minor, rank of rationals", "data", prime="0x7"), "not prime to the modulus 0x7"),
        (changed(ENCLOSED, "data", grid=4097), "expected -4096 to 4096"),
        (changed(ENCLOSED, "data", grid=True), "expected an integer"),
        (changed(ENCLOSED, "data", row_exponents=[0]), "has 1 items; expected 2"),
        (changed(ENCLOSED, "data", row_exponents=[0, 5000]), "expected -4096 to 4096"),
        (changed(ENCLOSED, "data", columns=[0, 0]), "repeats an index"),
        (changed(ENCLOSED, "data", columns=[0]), "the inverse is 2 × 2; expected 1 × 2"),
        (changed(ENCLOSED, "statement", error=(-1.0).hex()), "the error is negative"),
        (changed(ENCLOSED, "statement", error=0), "expected a finite float"),
        (
            changed("enclosure, scaled", "statement", error=build.table("float", [[0.0]])),
            "expected 2 × 2",
        ),
        (
            changed(ENCLOSED, "statement", error=build.table("float", [[0.0, -1.0], [0.0, 0.0]])),
            "an error is negative",
        ),
        (changed("gap, singular value", "statement", bound=(0.0).hex()), "the bound is zero"),
        (changed("gap, singular value", "statement", bound=(-1.0).hex()), "negative"),
        (changed("gap, singular value", "statement", index=0), "out of bounds"),
        (changed("gap, singular value", "statement", index=3), "out of bounds"),
        (changed("gap, singular value", "statement", index=1), "expected the index, 1"),
        (changed("enclosure, log-rank", "statement", ratio=(-1.0).hex()), "the ratio is negative"),
        (
            changed("enclosure, log-rank", "statement", context=build.table("float", [[0.0]])),
            "not positive",
        ),
        (
            changed("enclosure, log-rank", "statement", context=build.table("float", [[1.0]])),
            "no differences of logarithms",
        ),
        (
            changed("minor, log-rank", "statement", logits=build.table("integer", [[1, 2]])),
            "expected a square matrix",
        ),
        (changed("minor, logit rank", "statement", centred=0), "expected true or false"),
        (
            changed("minor, logit rank", "statement", queries=build.table("integer", [[1, 2]])),
            "expected 1 × 3",
        ),
        (
            changed("factors, rank of integers", "data", minor=None),
            "no minor for the lower bound 2",
        ),
        (
            changed("factors, rank of integers", "data", right=build.table("integer", [[1]])),
            "2 columns and the right one 1 rows",
        ),
        (
            changed("representation, exact", "statement", tokens=build.table("integer", [[1]])),
            "1 rows and the keys 3 columns",
        ),
        (
            changed("representation, within", "statement", context=build.table("float", [[1.0]])),
            "3 tokens and the matrix 1 rows",
        ),
        (changed("representation, within", "data", note="0x1"), "unknown key 'note'"),
        (
            changed("counterexample", "statement", exponents=build.table("integer", [[-1]])),
            "expected 0 to 4096",
        ),
        (
            changed("counterexample", "statement", exponents=build.table("integer", [[4097]])),
            "expected 0 to 4096",
        ),
        (changed("counterexample", "data", rows=[0], columns=[0]), "more than the head size 1"),
        ({**example(SMALL), "schema": "rankbound-certificate-2"}, "the schema is"),
        ({**example(SMALL), "kind": "trust-me"}, "unknown kind 'trust-me'"),
        ({**example(SMALL), "kind": ["nonzero-minor"]}, "expected a string"),
        ({**example(SMALL), "statement": {"kind": "truth"}}, "unknown kind 'truth'"),
        ({**example(SMALL), "statement": []}, "expected an object"),
        ({**example(SMALL), "data": None}, "expected an object"),
        ({**example(SMALL), "note": "0x1"}, "unknown key 'note'"),
    ],
)
def test_fields_that_the_specification_forbids(document: Doc, part: str) -> None:
    rejected(document, part)


def ones(n: int) -> Doc:
    """An integer matrix of many equal entries, cheap to write."""
    return {"type": "integer", "rows": n, "columns": n, "entries": ["0x1"] * (n * n)}


def test_limits_on_minors() -> None:
    statement = {"kind": "rank", "matrix": ones(600), "lower": 0, "upper": 600}
    minor = {"rows": list(range(513)), "columns": list(range(513)), "prime": "0x7"}
    rejected(build.document("nonzero-minor", statement, minor), "513 rows; the limit is 512")


def test_the_work_is_counted_before_it_is_done() -> None:
    """A small text may ask for hours of work, or for terabytes."""
    n = 512
    long = "0x" + "f" * 3000
    entries = [long] * n + ["0x1"] * (n * (n - 1))
    left = {"type": "integer", "rows": n, "columns": n, "entries": entries}
    statement = {"kind": "rank", "matrix": ones(n), "lower": 0, "upper": n}
    data: Doc = {"left": left, "right": left, "minor": None}
    rejected(build.document("factorisation", statement, data), "the limit")

    wide = {"type": "float", "rows": n, "columns": n, "entries": [(1.0).hex()] * n**2}
    statement = {"kind": "rank", "matrix": wide, "lower": 0, "upper": n}
    data = {
        "columns": None,
        "row_exponents": [4096] * n,
        "column_exponents": [4096] * n,
        "grid": 4096,
        "inverse": {"rows": n, "columns": n, "entries": ["0x1"] * n**2, "exponent": 0},
    }
    rejected(build.document("nonsingular-enclosure", statement, data), "the limit")


def test_a_common_denominator_beyond_the_limit() -> None:
    """Fermat's numbers are prime to each other, so their product is the common denominator."""
    row = [Fraction(1, 2), *(Fraction(1, 2 ** (2**k) + 1) for k in range(17))]
    left = build.table("rational", [row])
    right = build.table("integer", [[1]] * 18)
    statement = {"kind": "rank", "matrix": build.table("integer", [[1]]), "lower": 0, "upper": 18}
    document = build.document(
        "factorisation", statement, {"left": left, "right": right, "minor": None}
    )
    rejected(document, "common denominator has more than 131072 bits")


@given(st.text(alphabet='{}[]",:0x-1ae.+ntruflsp', max_size=60))
def test_noise_is_rejected_and_never_raises(text: str) -> None:
    rejected(text)
    rejected(text.encode())


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda part: (
        st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=5), part, max_size=4)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("part", ["schema", "kind", "claim", "statement", "data"])
@given(junk=JUNK)
def test_junk_in_place_of_a_part_never_raises(part: str, junk: Any) -> None:
    document = example(SMALL)
    document[part] = junk
    outcome = check(document)
    assert not outcome.accepted or (part, junk) == ("claim", None)


def test_an_outcome_is_no_truth_value() -> None:
    with pytest.raises(TypeError, match=r"ask for \.accepted"):
        bool(check("{}"))
