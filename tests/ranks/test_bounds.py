"""A RankBounds is an interval and never passes for a number."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.certificates.certificates import Certificate
from rankbound.ranks.bounds import Prover
from tests.helpers import refused

WORD = rb.Verdict.RIGOROUS


@given(st.integers(0, 9), st.integers(0, 9))
def test_int_only_where_the_sides_meet(lower: int, upper: int) -> None:
    if lower > upper:
        with refused(rb.InputError, f"lower is {lower}", f"upper {upper}", "0 <= lower <= upper"):
            rb.RankBounds(lower, upper, WORD, "a test")
        return
    bounds = rb.RankBounds(lower, upper, WORD, "a test")
    if lower == upper:
        assert int(bounds) == lower
        return
    with pytest.raises(rb.Undecided, match=rf"\[{lower}, {upper}\].*Use .lower and .upper") as e:
        int(bounds)
    assert e.value.bounds is bounds
    assert "exact" in e.value.remedy


def test_negative_and_mismatched_sides_are_refused() -> None:
    with refused(rb.InputError, "lower is -1", "0 <= lower"):
        rb.RankBounds(-1, 2, WORD, "a test")
    with refused(rb.InputError, "shape (2,)", "upper ()", "expected the same"):
        rb.RankBounds(np.array([1, 1]), 2, WORD, "a test")


def test_no_truth_value_and_no_equality() -> None:
    bounds = rb.RankBounds(1, 2, WORD, "a test")
    with refused(TypeError, "not a truth value", ".lower, .upper or int(b)"):
        bool(bounds)
    comparisons: list[Any] = [2, bounds, None, "2"]
    for other in comparisons:
        with refused(TypeError, "equals no number", ".lower, .upper or int(b)"):
            _ = bounds == other
        with refused(TypeError, "equals no number"):
            _ = bounds != other
    assert len({bounds, bounds}) == 1  # hashed by identity


def test_a_batch_is_indexed() -> None:
    batch = rb.RankBounds(np.array([[1, 2], [3, 4]]), np.array([[1, 3], [3, 4]]), WORD, "a test")
    assert len(batch) == 2
    assert (batch[0, 1].lower, batch[0, 1].upper) == (2, 3)
    assert (int(batch[1][0]), int(batch[1][1])) == (3, 4)
    assert batch[1].verdict is WORD
    with refused(rb.InputTypeError, "4 bounds and int(b) needs one", "b[i]"):
        int(batch)


def test_one_bound_is_no_batch() -> None:
    one = rb.RankBounds(1, 1, WORD, "a test")
    with refused(rb.InputTypeError, "one bound, not a batch", "int(b)"):
        _ = one[0]
    with refused(rb.InputTypeError, "one bound, not a batch"):
        len(one)


def test_json_holds_everything() -> None:
    record = json.loads(rb.RankBounds(np.array([1, 2]), np.array([1, 3]), WORD, "m").to_json())
    told = {"lower": [1, 2], "upper": [1, 3], "verdict": "rigorous", "method": "m"}
    assert record == {**told, "certificate": None, "upper_certificate": None}


@pytest.mark.parametrize("value", [1.7, float("nan"), "2"])
def test_a_bound_is_an_integer(value: Any) -> None:
    with refused(rb.InputTypeError, "expected an integer"):
        rb.RankBounds(value, value, WORD, "a test")


def test_arrays_are_copied_and_closed() -> None:
    lower = np.array([1, 2])
    bounds = rb.RankBounds(lower, lower, WORD, "a test")
    lower[0] = 7
    assert bounds[0].lower == 1
    with pytest.raises(ValueError, match="read-only"):
        bounds.lower[0] = 7  # type: ignore[index]


# ---- certify


def prover(matrix: Any = ((1, 2), (3, 4))) -> Prover:
    """What proves the rank of this matrix, which is 2 unless another is given."""
    prove = rb.exact_rank(matrix).prove
    assert prove is not None
    return prove


def test_certify_returns_a_new_record_and_leaves_the_old_one_as_it_is() -> None:
    bounds = rb.RankBounds(2, 2, WORD, "a test", prover())
    for _ in range(2):  # certifying once more is the same once more
        found = bounds.certify()
        assert (found.lower, found.upper, found.method) == (2, 2, "a test")
        assert found.verdict is rb.Verdict.CERTIFIED
        assert isinstance(found.certificate, Certificate)
        assert found.certificates == (found.certificate,)
        assert found.upper_certificate is None
        assert rb.check(found.certificate).accepted
        assert found.certify() is found
        assert bounds.verdict is WORD
        assert bounds.certificate is None
        assert bounds.certificates == ()


def test_both_sides_have_their_certificates_in_order() -> None:
    pair = prover()(()) + prover([[5]])(())
    found = rb.RankBounds(2, 2, WORD, "a test", lambda _: pair).certify()
    assert (found.certificate, found.upper_certificate) == pair == found.certificates


def _raises(_: tuple[int, ...]) -> Any:
    raise rb.Undecided("beyond the checker's limit of 256 rows.")


def _rejected(_: tuple[int, ...]) -> Any:
    (good,) = prover()(())
    assert good is not None
    return good, good.for_claim("no-such-claim")


@pytest.mark.parametrize(
    ("verdict", "prove", "reason"),
    [
        (WORD, None, "the bounds are rigorous and no proof came with them"),
        (rb.Verdict.SUPPORTED, prover(), "the bounds are supported and no proof came with them"),
        (WORD, lambda _: (), "no certificate was found"),
        (WORD, lambda _: (None,), "no certificate was found"),
        (WORD, lambda _: (*prover()(()), None), "no certificate was found"),
        (WORD, _raises, "beyond the checker's limit of 256 rows."),
        (WORD, _rejected, "the checker rejects it: "),
    ],
)
def test_where_nothing_can_be_certified_the_reason_is_raised(
    verdict: rb.Verdict, prove: Any, reason: str
) -> None:
    bounds = rb.RankBounds(1, 2, verdict, "a test", prove)
    with refused(rb.Undecided, "[1, 2] (a test) were not certified", reason):
        bounds.certify()
    assert bounds.verdict is verdict


def test_of_a_batch_one_is_certified() -> None:
    batch = rb.certified_rank(np.array([np.eye(2), np.zeros((2, 2))]))
    with refused(rb.InputTypeError, "2 bounds and certify() needs one", "b[i]"):
        batch.certify()
    assert [batch[i].certify().lower for i in range(2)] == [2, 0]
    assert batch.verdict is batch[0].verdict is WORD


def test_certified_is_what_has_a_certificate_and_nothing_else() -> None:
    (good,) = prover()(())
    wrong: list[tuple[rb.Verdict, Any]] = [
        (rb.Verdict.CERTIFIED, None),
        (rb.Verdict.CERTIFIED, "a certificate"),
        (WORD, good),
    ]
    for verdict, certificate in wrong:
        with refused(rb.InputTypeError, f"verdict is {verdict}", "Verdict.RIGOROUS"):
            rb.RankBounds(2, 2, verdict, "a test", certificate=certificate)
