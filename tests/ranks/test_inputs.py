"""What a rank function is given: read exactly, or refused in one line that names it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankbound as rb

HUGE = 10**5000  # more digits than Python prints
ROWS = [[1, 2], [3, 4]]
EXACT = [rb.exact_rank, rb.certified_rank]
RANKS = [rb.certified_rank, rb.spectrum, rb.numerical_rank, rb.stable_rank, rb.effective_rank]


def exactly(A: Any) -> rb.RankBounds:
    """The exact rank, floats read as they are."""
    return rb.exact_rank(A, floats="exact")


@pytest.mark.parametrize("rank", [*EXACT, exactly])
def test_integers_of_other_libraries_are_read_exactly(rank: Any) -> None:
    pandas = pytest.importorskip("pandas")
    torch = pytest.importorskip("torch")
    near = [[2**53, 2**53 + 1], [2**53 + 1, 2**53 + 2]]  # rounded to float64 it is another matrix
    for read in (list, np.array, pandas.DataFrame, torch.tensor):
        assert int(rank(read(ROWS))) == 2
    for read in (pandas.DataFrame, torch.tensor, np.array):
        assert int(exactly(read(near))) == 2


@pytest.mark.parametrize("rank", [*RANKS, exactly])
def test_torch_tensors_with_gradient_and_bfloat16(rank: Any) -> None:
    torch = pytest.importorskip("torch")
    rank(torch.eye(2, requires_grad=True))
    rank(torch.eye(2, dtype=torch.bfloat16))
    bounds = rb.certified_rank(torch.eye(2, dtype=torch.float64), error=torch.zeros(2, 2))
    assert (bounds.lower, bounds.upper) == (2, 2)


def bad() -> dict[str, tuple[Any, str]]:
    """What is no matrix of numbers, and a part of the message."""
    sparse = pytest.importorskip("scipy.sparse")
    return {
        "sparse": (sparse.eye(2).tocsr(), "sparse"),
        "generator": ((row for row in ROWS), "generator"),
        "dict": ({"a": 1}, "dict"),
        "set": ({1, 2}, "set"),
        "head": (rb.AttentionHead(np.eye(2), np.eye(2)), "AttentionHead"),
        "path": (Path("no-such-place"), "no-such-place"),
        "string": ("abc", "abc"),
        "none": (None, "None"),
        "bytes": (b"ab", "bytes"),
        "masked": (np.ma.masked_array(np.eye(2)), "masked array"),
    }


@pytest.mark.parametrize("kind", list(bad()))
@pytest.mark.parametrize("rank", [*RANKS, rb.exact_rank, exactly])
def test_what_is_no_matrix_is_refused_by_name(kind: str, rank: Any) -> None:
    value, part = bad()[kind]
    with pytest.raises(rb.RankboundError, match=part) as caught:
        rank(value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rank", EXACT)
def test_integers_of_any_length(rank: Any) -> None:
    assert int(rank([[HUGE, 1], [1, 1]])) == 2
    assert int(rank([[Fraction(1, HUGE), 1], [1, HUGE]])) == 1


def test_no_message_is_lost_with_a_long_integer() -> None:
    import sympy

    wrong: list[Any] = [
        lambda: rb.RankBounds(HUGE, HUGE, rb.Verdict.RIGOROUS, "a test"),
        lambda: rb.exact_rank([[HUGE, "x"], [1, 1]]),
        lambda: rb.exact_rank([[HUGE, sympy.sqrt(2)], [1, 1]]),
        lambda: rb.certified_rank([[0.5]], error=HUGE),
        lambda: rb.spectrum([[HUGE, 1.0]]),
    ]
    for call in wrong:
        with pytest.raises(rb.RankboundError):
            call()


def test_check_rejects_what_is_no_certificate_and_never_raises() -> None:
    for what in (Path("no-such-file"), Path("."), 3, None, HUGE, {"a": HUGE}, np.eye(2)):
        outcome = rb.check(what)
        assert not outcome.accepted
        assert outcome.reason
