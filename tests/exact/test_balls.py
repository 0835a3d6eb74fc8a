"""Ball arithmetic beside the rationals: inverses on a grid, and what is nonsingular."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from rankbound.exact.balls import MOST_ROWS, inverse_on_grid, is_nonsingular

ENTRIES = st.integers(-32, 32).map(lambda x: x / 8) | st.sampled_from([0.0, 0.1, 2.0**-20])


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(ENTRIES, min_size=n, max_size=n), min_size=n, max_size=n)
    ),
    st.sampled_from([0, 3, 60, 300]),
)
def test_inverses_on_a_grid_are_the_exact_ones_rounded(rows: list[list[float]], grid: int) -> None:
    """Within a unit of the grid, and a little for the balls' own midpoints, of 106 bits more."""
    exact = sympy.Matrix([[sympy.Rational(*x.as_integer_ratio()) for x in row] for row in rows])
    A, none = np.array(rows), np.zeros((len(rows),) * 2)
    found = inverse_on_grid(A, grid)
    if exact.det() == 0:
        assert found is None
        assert not is_nonsingular(A, none)
        return
    assert is_nonsingular(A, none)
    assert found is not None
    for mine, true in zip(np.ravel(np.array(found, object)), exact.inv(), strict=True):
        error = Fraction(int(mine)) - Fraction(int(true.p), int(true.q)) * 2**grid
        assert abs(error) <= 1 + Fraction(1, 2**20)


@pytest.mark.parametrize("error", [0.24, 0.26])
def test_an_error_that_reaches_a_singular_matrix_is_seen(error: float) -> None:
    """[[1, 1/2], [1/2, 1]] is as near to a singular matrix as 1/4 in each entry."""
    A = np.array([[1.0, 0.5], [0.5, 1.0]])
    assert is_nonsingular(A, np.full((2, 2), error)) is (error < 0.25)


def test_more_rows_than_the_limit_are_not_tried() -> None:
    for n in (MOST_ROWS, MOST_ROWS + 1):
        assert is_nonsingular(np.eye(n), np.zeros((n, n))) is (n <= MOST_ROWS)
