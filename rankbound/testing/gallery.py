"""Matrices that are hard in named ways, each with its true rank.

The rank is that of the entries as the exact numbers they are: ints, Fractions, or floats read as
the rationals they are. No Hypothesis is needed here. Nothing depends on BLAS or libm: what is
rounded is rounded once, correctly, from an exact value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_int, check_real, frozen_copy
from rankbound.errors import InputError


@dataclass(frozen=True, eq=False)
class HardMatrix:
    """A matrix that some way of computing a rank gets wrong."""

    name: str  # what is hard about it
    matrix: Any  # read-only: an ndarray, or tuples of int or Fraction
    rank: int  # over the rationals, entries taken as they stand


def _record(
    name: str, entries: Sequence[Sequence[Any]] | npt.NDArray[Any], rank: int
) -> HardMatrix:
    if isinstance(entries, np.ndarray):
        return HardMatrix(name, frozen_copy(entries), rank)
    return HardMatrix(name, tuple(tuple(row) for row in entries), rank)


def _side(n: int, *, least: int = 1, most: int = 1024) -> int:
    n = check_int("n", n, least=least)
    return check_int("n", n, least=least, most=most, why="the gallery is of small matrices")


def hilbert(n: int) -> HardMatrix:
    """``1/(i + j + 1)`` in Fractions: nonsingular, condition number about e^{3.5 n}."""
    n = _side(n)
    table = [[Fraction(1, i + j + 1) for j in range(n)] for i in range(n)]
    return _record(f"Hilbert, n = {n}", table, n)


def kahan(n: int, sine: float = 0.9) -> HardMatrix:
    """Kahan's triangular matrix: column-pivoted QR shows no small pivot, yet it is near singular.

    Row i is ``s^i`` times ``(0, …, 0, 1, -c, …, -c)``, ``s² + c² = 1``. Upper triangular with a
    positive diagonal, hence nonsingular.
    """
    n, sine = _side(n), check_real("sine", sine, above=0.0)
    if not sine < 1:
        raise InputError(f"sine is {sine}; expected one between 0 and 1, of an acute angle.")
    cosine = float(np.sqrt(1 - sine * sine))
    A = np.eye(n) - cosine * np.triu(np.ones((n, n)), k=1)
    for i in range(1, n):  # products, not powers: they do not depend on libm
        A[i:] *= sine
    return _record(f"Kahan, n = {n}", A, n)


def unit_upper_triangular(n: int) -> HardMatrix:
    """1 on the diagonal, -1 above it: determinant 1, smallest singular value about 2^-n."""
    n = _side(n)
    return _record(f"unit upper triangular, n = {n}", np.eye(n) - np.triu(np.ones((n, n)), 1), n)


def graded(n: int) -> HardMatrix:
    """``10^-max(i, j)``: determinant ``g_n Π (g_i - g_{i+1})`` with g_i = 10^-i, nonsingular.

    Every step i >= 1 subtracts row i + 1 from row i and leaves g_i - g_{i+1} on the diagonal.
    """
    n = check_int("n", n, least=1, most=300, why="10^-n is to stay a normal number")
    steps = [float(f"1e-{i}") for i in range(n)]
    table = [[steps[max(i, j)] for j in range(n)] for i in range(n)]
    return _record(f"graded, n = {n}", np.array(table), n)


def near_repeated_columns(exponent: int) -> HardMatrix:
    """Five columns, the second equal to the first but for one entry 10^-exponent instead of 0."""
    exponent = check_int("exponent", exponent, least=1, most=300)
    A = np.array(magic_square(5).matrix, dtype=np.float64)
    A[0, :2], A[1:, 1] = (0.0, float(f"1e-{exponent}")), A[1:, 0]
    # column 2 - column 1 = gap e_1, so the determinant is gap times a fixed minor, not 0
    return _record(f"near-repeated columns, gap 1e-{exponent}", A, 5)


def powers_of_two(n: int) -> HardMatrix:
    """``P ∝ 2^{ij}`` in Fractions: logits of rank 1, a context of rank n.

    A column scaling of the Vandermonde matrix of 1, 2, 4, …: its nodes differ.
    """
    n = _side(n, most=128)
    rows = exponential_of_rank_one(n).matrix
    sums = [sum(column) for column in zip(*rows, strict=True)]
    table = [[Fraction(x, y) for x, y in zip(row, sums, strict=True)] for row in rows]
    return _record(f"2^(ij), columns normalised, n = {n}", table, n)


def exponential_of_rank_one(n: int) -> HardMatrix:
    """``2^{ij}`` in ints, n² bits: the context above before normalising."""
    n = _side(n, most=128)
    table = [[2 ** (i * j) for j in range(n)] for i in range(n)]
    return _record(f"2^(ij), n = {n}", table, n)


def rounded_exponential() -> HardMatrix:
    """``exp(x_i x_j)``, x from -1 to 1 in steps of 1/32, rounded to float64.

    The logits have rank 1, the numerical rank is about 11 and the rank of the floats is 64
    (certified by :func:`rankbound.exact_rank` in the tests).
    """
    context = Context(prec=40)  # far more than float64, so that each entry is rounded correctly
    steps = [k for k in range(-32, 33) if k]
    entries = {
        product: float(context.exp(context.divide(Decimal(product), Decimal(1024))))
        for product in {a * b for a in steps for b in steps}
    }
    table = np.array([[entries[a * b] for b in steps] for a in steps])
    return _record("exp of logits of rank 1, rounded to float64, n = 64", table, 64)


def rounded_product() -> HardMatrix:
    """A (64, 8) times an (8, 64) matrix of floats, rounded to float64: the rounding has full rank.

    The rank of the exact product is 8, the numerical rank is 8, and the rank of the floats is 64
    (certified by :func:`rankbound.exact_rank` in the tests).
    """
    draw = Random(0).random  # the one stream that the standard library promises to keep
    left, right = (
        [[int(draw() * 2**53) - 2**52 for _ in range(8)] for _ in range(64)] for _ in range(2)
    )
    # a quotient of two Python ints is rounded correctly
    table = [[sum(a * b for a, b in zip(u, v, strict=True)) / 2**104 for v in right] for u in left]
    return _record("rounded product, (64, 8) times (8, 64)", np.array(table), 64)


def magic_square(n: int) -> HardMatrix:
    """1..n² with equal sums (MATLAB's construction): rank n, 3 or n/2 + 2.

    Full rank for odd n, 3 for n divisible by 4, n/2 + 2 for the other even n (Moler, Experiments
    with MATLAB, 2011, chapter 10).
    """
    n = _side(n, least=3)
    i, j = np.indices((n, n))
    name = f"magic square, n = {n}"
    if n % 2:
        return _record(name, _odd_magic(n), n)
    if n % 4 == 0:
        M = n * i + j + 1
        kept = ((i + 1) % 4 // 2) == ((j + 1) % 4 // 2)
        return _record(name, np.where(kept, n * n + 1 - M, M), 3)
    half, k = n // 2, (n - 2) // 4
    A = _odd_magic(half)
    M = np.block([[A, A + 2 * half**2], [A + 3 * half**2, A + half**2]])
    swapped = [*range(k), *range(n - k + 1, n)]
    M[:, swapped] = np.roll(M[:, swapped], half, axis=0)
    middle = half // 2
    for column in (0, k):
        M[[middle, middle + half], column] = M[[middle + half, middle], column]
    return _record(name, M, half + 2)


def _odd_magic(n: int) -> npt.NDArray[np.int64]:
    i, j = np.indices((n, n)) + 1
    square: npt.NDArray[np.int64] = n * ((i + j - (n + 3) // 2) % n) + (i + 2 * j - 2) % n + 1
    return square


def hadamard(n: int) -> HardMatrix:
    """Sylvester's ±1 matrix: all singular values are √n."""
    n = _side(n)
    if n & (n - 1):
        raise InputError(f"n is {n}; expected a power of 2, where Sylvester's matrix exists.")
    from scipy.linalg import hadamard as sylvester

    return _record(f"Hadamard, n = {n}", sylvester(n), n)


def permutation(n: int) -> HardMatrix:
    """A permutation matrix, the one-hot limit of a context."""
    n = _side(n)
    order = list(range(n))
    Random(n).shuffle(order)
    return _record(f"permutation, n = {n}", np.eye(n)[order], n)


def scaled(exponent: int) -> HardMatrix:
    """The magic square of side 4, rank 3, times 2^exponent, from -1074 (denormal) to 1018."""
    exponent = check_int("exponent", exponent, least=-1074, most=1018)
    A: Array = np.ldexp(np.array(magic_square(4).matrix, dtype=np.float64), exponent)
    return _record(f"magic square, n = 4, times 2^{exponent}", A, 3)


def vanishing_modulo(prime: int) -> HardMatrix:
    """diag(1, prime, 1): rank 3, and 2 modulo the prime."""
    prime = check_int("prime", prime, least=2)
    return _record(f"diagonal, singular modulo {prime}", [[1, 0, 0], [0, prime, 0], [0, 0, 1]], 3)


def hard_matrices() -> tuple[HardMatrix, ...]:
    """The whole gallery, built on each call; names are unique."""
    return (
        *(hilbert(n) for n in (5, 10, 15, 20)),
        kahan(60),
        unit_upper_triangular(200),
        _record("diag(1, 1e-17)", np.diag([1.0, 1e-17]), 2),
        _record("diag(1e308, 1, 5e-324)", np.diag([1e308, 1.0, 5e-324]), 3),
        _record("diag(1, 1e-310)", np.diag([1.0, 1e-310]), 2),
        graded(40),
        *(near_repeated_columns(exponent) for exponent in range(1, 17)),
        powers_of_two(16),
        exponential_of_rank_one(24),
        rounded_exponential(),
        rounded_product(),
        *(scaled(exponent) for exponent in (-1074, -1060, 1018)),
        permutation(16),
        *(magic_square(n) for n in (3, 4, 5, 6, 7, 8, 10, 12)),
        hadamard(16),
        *(vanishing_modulo(prime) for prime in (2, 2**31 - 1, 2**61 - 1, 2**62 - 57)),
        _record("zero", np.zeros((3, 5)), 0),
        _record("n = 1", np.ones((1, 1)), 1),
        _record("zero, n = 1", [[0]], 0),
    )
