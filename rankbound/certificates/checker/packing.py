"""How large logits must be for a small head to select many keys: four bounds, each an inequality.

``g = log((1 - ε)/ε)`` is the least difference of a selected logit from another. Logarithms are
enclosed; π is between two rationals, and sines are bounded by their series.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb

from rankbound.certificates.checker import fields
from rankbound.certificates.checker.enclosures import LEAST_GRID, Enclosures
from rankbound.certificates.checker.fields import Rejected
from rankbound.certificates.checker.statements import ScaleAbove, Statement
from rankbound.certificates.checker.tables import Budget

PI_DIGITS = 3141592653589793238462643383279502884197169399375105821
PI_ABOVE = Fraction(PI_DIGITS, 10**54)
TERMS = 21  # the last power in the series of the sine, whose term is positive


def verify_packing(statement: Statement, data: object, budget: Budget) -> str:
    """One of the four bounds reaches the one stated."""
    if not isinstance(statement, ScaleAbove):
        raise Rejected("packing proves statements of kind scale-above.")
    fields.keyed(data, "the data", ())
    if not statement.bound:
        return "no scale is negative"
    enclosures = Enclosures(LEAST_GRID, budget)
    enclosures.spend(8)
    n, d, bound = statement.count, statement.head_size, Fraction(statement.bound)
    share = Fraction(statement.error)
    odds = (1 - share) / share
    if n > 1:
        if bound * n <= (n - 1) * _log(odds * (n - 1), enclosures)[0]:
            return "the mean of the log-odds over keys asks for it"
        gap = _log(odds, enclosures)[0]
        if gap > 0:
            for name, holds in (("balls", _balls), ("caps", _caps), ("angles", _angles)):
                if holds(n, d, bound / gap, enclosures):
                    return f"disjoint {name} around the keys ask for it"
    raise Rejected("none of the four bounds reaches the scale stated.")


def _balls(n: int, d: int, ratio: Fraction, enclosures: Enclosures) -> bool:
    """Whether ``(1 + 2 β/g)^d <= n``."""
    return d * _log(1 + 2 * ratio, enclosures)[1] <= _log(Fraction(n), enclosures)[0]


def _caps(n: int, d: int, ratio: Fraction, enclosures: Enclosures) -> bool:
    """Whether ``(1 + 4 β/g)^((d - 1)/2) d κ_d/κ_(d-1) <= n``; on a line only two can win."""
    if d == 1:
        return n > 2
    share = n / _surface_ratio(d)
    return (d - 1) * _log(1 + 4 * ratio, enclosures)[1] <= 2 * _log(share, enclosures)[0]


def _surface_ratio(d: int) -> Fraction:
    """At least ``d κ_d/κ_(d-1)``, κ_d the volume of the unit ball, by Wallis' formula."""
    m = d // 2
    middle = comb(2 * m, m)
    if d % 2:
        return Fraction(2 << 2 * m, middle)
    return PI_ABOVE * Fraction(d * middle, 1 << 2 * m)


def _angles(n: int, d: int, ratio: Fraction, enclosures: Enclosures) -> bool:
    """Whether ``2 sin²(π/n) β/g <= 1``, for n > 2 keys in the plane."""
    return d == 2 and n > 2 and 2 * _sine_above(PI_ABOVE / n) ** 2 * ratio <= 1


def _sine_above(x: Fraction) -> Fraction:
    """At least sin x, for 0 < x < 2: the terms of the series alternate and decrease."""
    total, term = Fraction(0), x
    for power in range(1, TERMS + 1, 2):
        total += term
        term *= -x * x / ((power + 1) * (power + 2))
    return total


def _log(x: Fraction, enclosures: Enclosures) -> tuple[Fraction, Fraction]:
    """Bounds of the logarithm of x > 0."""
    below, above = enclosures.logarithm(x.numerator, x.numerator, x.denominator)
    return Fraction(below, enclosures.one), Fraction(above, enclosures.one)
