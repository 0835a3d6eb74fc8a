"""Certificates as Python objects: canonical JSON, there and back."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankbound.certificates import certificates, statements
from rankbound.certificates.certificates import read_certificate
from rankbound.certificates.checker import check
from rankbound.certificates.matrices import Dyadic, Matrix, Minor
from rankbound.errors import InputError, InputTypeError
from tests.certificates.build import EXAMPLES, INTEGERS, PRIME, dumped, example
from tests.helpers import Rows, rational_rows, refused


@pytest.mark.parametrize("name", EXAMPLES)
def test_read_and_written_again_gives_the_same_bytes(name: str) -> None:
    text = dumped(example(name))
    certificate = read_certificate(text)
    assert certificate.to_json() == text
    assert certificate.kind == example(name)["kind"]
    assert read_certificate(text.encode()).to_json() == text
    outcome = check(certificate)
    assert outcome.accepted
    assert outcome.statement == certificate.statement.sentence()


@pytest.mark.parametrize("name", EXAMPLES)
def test_for_claim_is_a_copy(name: str) -> None:
    certificate = read_certificate(dumped(example(name)))
    claimed = certificate.for_claim("a.claim")
    assert certificate.claim is None
    assert claimed.claim == "a.claim"
    assert type(claimed) is type(certificate)
    assert claimed.to_json() == dumped({**example(name), "claim": "a.claim"})
    assert read_certificate(claimed.to_json()).claim == "a.claim"
    assert claimed.for_claim(None).to_json() == certificate.to_json()


def test_examples_cover_every_kind() -> None:
    documents = EXAMPLES.values()
    assert {document["kind"] for document in documents} == set(certificates.PROOFS)
    assert {document["statement"]["kind"] for document in documents} == set(statements.KINDS)


@given(rational_rows())
def test_matrices_there_and_back(rows: Rows) -> None:
    matrix = Matrix.of_rationals(rows)
    assert (matrix.rows, matrix.columns) == (len(rows), len(rows[0]))
    assert matrix.entries == tuple(x for row in rows for x in row)
    certificate = certificates.Representation(statements.Rank(matrix, 0, 9))
    again = read_certificate(certificate.to_json()).statement
    assert isinstance(again, statements.Rank)
    assert again.matrix.entries == matrix.entries


def test_numbers_of_other_libraries_become_pythons() -> None:
    three: Any = np.int64(3)
    indices: Any = np.arange(3)
    rows: Any = np.array(INTEGERS)
    prime: Any = np.uint64(PRIME)
    statement = statements.Rank(Matrix.of_integers(rows), three, three)
    certificate = certificates.NonzeroMinor(statement, indices, indices, prime)
    assert certificate.to_json() == dumped(example("minor, rank of integers"))
    assert certificate.rows == (0, 1, 2)
    assert {type(i) for i in (*certificate.rows, certificate.prime)} == {int}
    floats: Any = np.eye(2)
    truth: Any = np.bool_(True)
    under = statements.RankUnderError(Matrix.of_floats(floats), 0, 2)
    assert under.to_data()["error"] == "0x0.0p+0"
    assert type(statements.LogitRank(under.matrix, under.matrix, truth, 0, 2).centred) is bool


def test_what_is_written_has_one_spelling() -> None:
    """Zero has no sign, in a matrix or alone; fractions are in lowest terms."""
    zero: Any = np.float64(-0.0)
    matrix = Matrix.of_floats([[zero, -0.0, 0.0]])
    assert matrix.to_data()["entries"] == ["0x0.0p+0"] * 3
    for error in (zero, Matrix.of_floats([[-0.0] * 3])):
        statement = statements.RankUnderError(Matrix.of_floats([[1.0, -0.0, 2.0]]), error, 0)
        certificate = certificates.SpectralGap(
            statement, Dyadic(0, 0, (), 0), Dyadic(0, 0, (), 0), 0
        )
        assert "-0x0" not in certificate.to_json()
    assert Matrix.of_rationals([[Fraction(2, 4), -0]]).to_data()["entries"] == [
        "0x1/0x2",
        "0x0/0x1",
    ]


def test_matrices_of_no_rows_or_columns() -> None:
    left, right = Matrix.of_rationals([[], []]), Matrix.of_rationals([], columns=3)
    statement = statements.Rank(Matrix.of_integers([[0, 0, 0]] * 2), 0, 0)
    assert check(certificates.Factorisation(statement, left, right, Minor((), (), PRIME))).accepted


@pytest.mark.parametrize(
    ("build", "error", "part"),
    [
        (lambda: Matrix.of_integers([[1, 2], [3]]), InputError, "expected 2 in every row"),
        (lambda: Matrix.of_integers([]), InputError, "expected `columns`"),
        (lambda: Matrix.of_integers([[1.0]]), InputTypeError, "1.0 is not an integer"),
        (lambda: Matrix.of_rationals([[0.5]]), InputTypeError, "0.5 is not a rational"),
        (lambda: Matrix.of_floats([[1]]), InputTypeError, "1 is not a float"),
        (lambda: Matrix.of_floats([[float("nan")]]), InputError, "nan stands for no number"),
        (lambda: Matrix.of_floats([[float("-inf")]]), InputError, "stands for no number"),
        (lambda: Matrix("integer", 2, 2, (1,)), InputError, "needs 4 entries; got 1"),
        (lambda: Matrix("integer", -1, -1, (1,)), InputError, "-1 × -1"),
        (lambda: Matrix("real", 1, 1, (1,)), InputError, "'real'"),  # type: ignore[arg-type]
        (lambda: Dyadic(1, 2, (1,), 0), InputError, "needs 2 entries"),
        (lambda: Dyadic(1, 1, (1.5,), 0), InputTypeError, "not an integer"),  # type: ignore[arg-type]
        (
            lambda: statements.LogRankWithin(Matrix.of_floats([[0.5]]), Fraction(1, 2), "1"),  # type: ignore[arg-type]
            InputTypeError,
            "'1' is not an integer",
        ),
        (
            lambda: statements.RankUnderError(Matrix.of_floats([[0.5]]), "0.5", 1),  # type: ignore[arg-type]
            InputTypeError,
            "not a real number",
        ),
    ],
)
def test_what_is_no_matrix(build: Callable[[], object], error: type[Exception], part: str) -> None:
    with refused(error, part):
        build()


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "[" * 1000, "NaN", '{"schema":"rankbound-certificate-2"}', b"\xff"],
)
def test_what_is_no_certificate_is_refused(text: str | bytes) -> None:
    with refused(InputError, "expected"):
        read_certificate(text)


@given(st.data())
def test_spoilt_text_is_refused_or_read_never_worse(data: st.DataObject) -> None:
    text = dumped(example(data.draw(st.sampled_from(sorted(EXAMPLES)))))
    i = data.draw(st.integers(0, len(text) - 1))
    spoilt = (
        text[:i] + data.draw(st.sampled_from(['"', "0", "x", "[", "}", ",", ""])) + text[i + 1 :]
    )
    try:
        certificate = read_certificate(spoilt)
    except (InputError, InputTypeError):
        return
    assert read_certificate(certificate.to_json()).to_json() == certificate.to_json()
