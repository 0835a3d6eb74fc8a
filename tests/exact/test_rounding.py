"""Bounds of rounding against the rationals: they hold, and they are no larger than they need be."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankbound.exact.rounding import ETA, FLOAT64_EPS, U, product_error, up, weyl_threshold

positive = st.floats(min_value=1e-300, max_value=1e300)
u, eta = Fraction(U), Fraction(ETA)


@given(value=positive, operations=st.integers(0, 10**6))
def test_up_undoes_the_roundings_and_hardly_more(value: float, operations: int) -> None:
    """A factor (1 - u)^m at most is lost; 2 (m + 2) u and three roundings of its own are added."""
    exact = Fraction(value)
    found = Fraction(float(up(value, operations)))
    # (1 - u)^-m <= 1 / (1 - m u), by Bernoulli
    assert found >= exact / (1 - operations * u)
    assert found <= exact * (1 + (2 * operations + 4) * u) * (1 + u) ** 3 + 2 * eta


def test_up_covers_one_underflow() -> None:
    """A product of positive numbers that became 0 was at most half the smallest of them."""
    assert Fraction(float(up(0.0, 1))) == eta


@pytest.mark.parametrize("scale", [1.0, 2.0**-537, 2.0**-600])
@pytest.mark.parametrize("m", [1, 2, 9, 64])
def test_the_error_of_a_product(m: int, scale: float) -> None:
    """The stated bound m u |x|·|y| + m η / 2 is covered, and not by more than twice and a little.

    Twice, since η stands for η / 2: beside what rounds, the factor tends to 1.
    """
    rng = np.random.default_rng(m)
    left, right = (scale * rng.standard_normal(shape) for shape in ((3, m), (m, 4)))
    bound, computed = product_error(left, right), left @ right
    for i, j in np.ndindex(3, 4):
        terms = [Fraction(left[i, t]) * Fraction(right[t, j]) for t in range(m)]
        size = sum(map(abs, terms))
        stated = m * u * size + m * eta / 2
        found = Fraction(float(bound[i, j]))
        assert abs(Fraction(float(computed[i, j])) - sum(terms)) <= stated <= found
        assert found <= m * u * size * (1 + (2 * m + 20) * u) + (m + 4) * eta


def test_weyl_adds_the_decomposition_to_the_error() -> None:
    """max(m, n) eps times the largest singular value, of the last two axes."""
    assert weyl_threshold(0.0, (7, 3, 5), 2.0) == 5 * FLOAT64_EPS * 2.0
    assert weyl_threshold(1.0, (7, 5, 3), 0.0) == 1.0
