"""The checker's own arithmetic beside naive products, SymPy's determinants and flint's balls."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import flint
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankbound.certificates.checker.enclosures import (
    Enclosures,
    centred_logs,
    log_differences,
    rounded,
)
from rankbound.certificates.checker.fields import Rejected, integer
from rankbound.certificates.checker.ranks import require_unit
from rankbound.certificates.checker.tables import (
    FLOAT,
    MOST_WORK,
    Budget,
    Table,
    constant,
    multiply,
    read_table,
)
from tests.certificates import build

ENTRIES = (
    st.integers(-3, 3)
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([2**31, -(2**31), 2**30 - 1, -(2**64), 2**64 - 1, -(2**7), 2**7 - 1])
)


def matrices(rows: int, columns: int) -> st.SearchStrategy[list[list[int]]]:
    """Integer matrices of one shape."""
    row = st.lists(ENTRIES, min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows)


@settings(max_examples=300)
@given(st.data(), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_packed_products_are_products(data: st.DataObject, p: int, q: int, r: int) -> None:
    left, right = data.draw(matrices(p, q)), data.draw(matrices(q, r))
    expected = [
        [sum(left[i][k] * right[k][j] for k in range(q)) for j in range(r)] for i in range(p)
    ]
    assert multiply(left, right, r, Budget()) == expected


@pytest.mark.parametrize(("a", "b"), [(1, 1), (30, 31), (60, 600), (3000, 300)])
@pytest.mark.parametrize(("p", "q", "r"), [(1, 1, 1), (2, 3, 40), (40, 3, 2), (3, 40, 2)])
def test_a_product_costs_its_products_of_digits(p: int, q: int, r: int, a: int, b: int) -> None:
    """No less than p q r digits(a) digits(b), the schoolbook's; at most what packing them takes."""
    budget = Budget()
    multiply([[2**a - 1] * q] * p, [[2**b - 1] * r] * q, r, budget)
    short, long = sorted((-(-a // 30), -(-b // 30)))
    rows, columns = (p, r) if a <= b else (r, p)
    spent = MOST_WORK - budget.left
    assert p * q * r * short * long <= spent
    packed = rows * q * (100 + short * (1 + columns * (short + long + 2)))
    assert spent <= packed + (rows + q) * columns * (310 + (a + b) // 8)


@pytest.mark.parametrize("bits", [1, 7, 8, 15, 16, 29, 30, 31, 64])
@pytest.mark.parametrize("inner", [1, 2, 3, 4, 7, 8, 127, 128])
def test_packed_products_at_the_width_of_a_digit(bits: int, inner: int) -> None:
    """The greatest entries, of both signs, where a carry into the next digit would show."""
    top = 2**bits - 1
    for a in (top, -top):
        for b in (top, -top):
            product = multiply([[a] * inner], [[b, -b, b]] * inner, 3, Budget())
            assert product == [[inner * a * b, -inner * a * b, inner * a * b]]


@settings(max_examples=300)
@given(st.data(), st.integers(0, 4), st.integers(2, 40) | st.just(2**61 - 1))
def test_a_unit_modulo_m_is_a_determinant_that_is_not_zero(
    data: st.DataObject, n: int, modulus: int
) -> None:
    matrix = data.draw(matrices(n, n))
    determinant = int(flint.fmpz_mat(matrix).det()) if n else 1
    try:
        require_unit([[x % modulus for x in row] for row in matrix], modulus, Budget())
    except Rejected:
        # complete for a prime, where every residue but zero is a unit
        assert not flint.fmpz(modulus).is_prime() or determinant % modulus == 0
    else:
        assert flint.fmpz(determinant).gcd(modulus) == 1


@pytest.mark.parametrize("grid", [128, 700, 2600, 4116])
@settings(max_examples=60)
@given(
    x=st.floats(5e-324, 1.7e308)
    | st.sampled_from([1.0, 2.0, 0.5, 1 + 2**-52, 1 - 2**-53, 1 + 2**-20, 5e-324])
)
def test_logarithms_are_enclosed(grid: int, x: float) -> None:
    above, below = x.as_integer_ratio()
    low, high = Enclosures(grid, Budget()).logarithm(above, above, below)
    assert 0 < high - low <= 4
    assert _inside(flint.arb(x).log, low, high, grid)


@settings(max_examples=300)
@given(st.integers(-5000 * 2**128, 0) | st.integers(-(2**128), 0) | st.integers(-4, 0))
def test_exponentials_are_enclosed(x: int) -> None:
    low, high = Enclosures(128, Budget()).exponential(x, x)
    assert 0 <= low <= high <= 2**128 + 2
    assert high - low <= 4
    assert _inside(lambda: _power(x), low, high, 128)


def test_exponentials_of_numbers_far_apart() -> None:
    low, high = Enclosures(128, Budget()).exponential(-(2**5000), 0)
    assert low == 0
    assert high >= 2**128
    assert Enclosures(128, Budget()).exponential(-(2**5000), -(2**4999)) == (0, 1)


def _power(x: int) -> flint.arb:
    return (flint.arb(x) * flint.arb(2) ** -128).exp()


def _inside(value: Callable[[], flint.arb], low: int, high: int, grid: int) -> bool:
    before = flint.ctx.prec
    flint.ctx.prec = grid + 200
    try:
        scaled = value() * flint.arb(2) ** grid
        return bool(low <= scaled and scaled <= high)
    finally:
        flint.ctx.prec = before


@settings(max_examples=300)
@given(
    st.fractions(-50, 50, max_denominator=40),
    st.sampled_from([0.0, 0.1, 1e-300, 3.0]),
    st.integers(-40, 40),
    st.integers(-40, 40),
)
def test_rounding_to_a_grid_covers_every_matrix_in_question(
    x: Fraction, error: float, down: int, across: int
) -> None:
    table = Table("rational", 1, 1, [[x.numerator]], [[x.denominator]])
    given_error = constant(error, 1, 1) if error else None
    entries, errors = rounded(table, given_error, [down], [0], [across], Budget())
    scale = Fraction(2) ** (down + across)
    for moved in (x - Fraction(error), x, x + Fraction(error)):
        assert abs(moved * scale - entries[0][0]) <= errors[0][0]
    assert errors[0][0] <= Fraction(error) * scale + 2


def test_the_longest_integer_that_is_read() -> None:
    """2^17 bits are 32768 digits, and there is room for 0x, a sign and one digit more."""
    assert integer("-0x" + "f" * 32769, "here") == 1 - 16**32769
    for longer in ("-0x" + "f" * 32770, "0x" + "f" * 32771):
        with pytest.raises(Rejected, match="more than 131072 bits"):
            integer(longer, "here")


def test_the_work_of_rounding_grows_with_either_shift() -> None:
    """Entries of 2^16 bits times a low power of 2, which rows and columns may share."""
    table = Table("rational", 1, 1, [[2**65535]], [[1]])
    spent = []
    for down, across in ((0, 0), (-3000, 0), (0, -3000), (-3000, -3000)):
        budget = Budget()
        rounded(table, None, [down], [0], [across], budget)
        spent.append(MOST_WORK - budget.left)
    assert spent[0] < spent[1] == spent[2] < spent[3]


CONTEXTS = st.lists(
    st.lists(st.floats(1e-300, 1e300), min_size=2, max_size=2), min_size=2, max_size=2
)


@pytest.mark.parametrize("grid", [-5, 60, 200])
@settings(max_examples=60)
@given(CONTEXTS, st.sampled_from([0.0, 1e-40, 0.1]))
def test_differences_of_logarithms_are_enclosed(
    grid: int, rows: list[list[float]], ratio: float
) -> None:
    """They lie within the error, less 2 `ratio`, of the centre, to a few units of the grid."""
    context = read_table(build.table("float", rows), "the context", FLOAT)
    centre, error = log_differences(context, ratio, grid, Budget())
    assert (centre.rows, centre.columns, error.rows, error.columns) == (1, 2, 1, 2)
    with flint.ctx.workprec(1000):
        for j in range(2):
            true = flint.arb(rows[1][j]).log() - flint.arb(rows[0][j]).log()
            _require_near(true, centre, error, 0, j, 2 * Fraction(ratio), grid)


@pytest.mark.parametrize("grid", [-5, 200])
@settings(max_examples=60)
@given(CONTEXTS)
def test_centred_logarithms_are_enclosed(grid: int, rows: list[list[float]]) -> None:
    context = read_table(build.table("float", rows), "the context", FLOAT)
    centre, error = centred_logs(context, grid, Budget())
    assert (centre.rows, centre.columns, error.rows, error.columns) == (2, 2, 2, 2)
    with flint.ctx.workprec(1000):
        logs = [[flint.arb(x).log() for x in row] for row in rows]
        for i in range(2):
            for j in range(2):
                true = logs[i][j] - (logs[0][j] + logs[1][j]) / 2
                _require_near(true, centre, error, i, j, Fraction(0), grid)


def _require_near(
    true: flint.arb, centre: Table, error: Table, i: int, j: int, more: Fraction, grid: int
) -> None:
    middle = Fraction(centre.numerators[i][j], centre.denominators[i][j])
    width = Fraction(error.numerators[i][j], error.denominators[i][j]) - more
    assert 0 < width < Fraction(2) ** (4 - max(128, grid))
    assert _ball(middle - width) <= true
    assert true <= _ball(middle + width)


def _ball(x: Fraction) -> flint.arb:
    return flint.arb(flint.fmpq(x.numerator, x.denominator))


def test_mpmath_keeps_its_precision() -> None:
    import mpmath

    before = (mpmath.mp.prec, mpmath.iv.prec)
    Enclosures(500, Budget()).logarithm(3, 3, 1)
    assert (mpmath.mp.prec, mpmath.iv.prec) == before
