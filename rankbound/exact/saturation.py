"""Proof that the chosen columns span the others, by a basis of the lattice of all columns.

With G, T, A, B, C, D as in :mod:`rankbound.exact.lifting`, G S = d T has as many digits as d, which
are mostly r times as many as those of an entry. This proof is of as many steps as that number has
digits.

1. *One vector.* Let z = e A^{-1} B w be whole for a combination w of the columns, and C z = e D w,
   so that G z = e T w. Let d divide e, and some z_i be prime to d. Of the multiples of z modulo d
   let x be the one with x_i = 1: then u = G x/d is whole. Let G' be G with u for its i-th column,
   and A' and C' its rows. G = G' H, where H is the identity with -x for its i-th column, and d at
   its place.
2. *High-order residues* (Birmpilis, Labahn and Storjohann 2019). Let A'^{-1} - X^e A'^{-1} R be
   whole. With V the residues of A'^{-1} R Y modulo X, and

       R * Y = (R Y - A' V)/X,

   A'^{-1} R Y = V + X A'^{-1} (R * Y). So R * R is such a residue for 2e + 1 in place of e, and
   A'^{-1} B - X^{e+1} A'^{-1} F is whole for F = R * B. The first is I * I, with e = 1.
3. *Digits.* Let A' S = s F with S whole, for a small s: then s A'^{-1} B is whole, and so is
   s (D - C A^{-1} B) = s D - C' s A'^{-1} B.
4. *Size.* A whole number that is 0 modulo X and smaller than X is 0. How large A^{-1} B may be, an
   inverse in floats proves. Then D = C A^{-1} B, and rank M = rank A.

It succeeds where A' has whole combinations for all columns of s B: where the denominator of A^{-1}
B is, but for its small factors, the product of the elementary divisors, as it mostly is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from rankbound.exact.flint import flint_module
from rankbound.exact.lifting import (
    LIMB,
    SLACK,
    Array,
    Basis,
    Lifting,
    combinations,
    limbs_of,
    mixed,
    reduce,
    residues,
    residues_of_limbs,
    wholes,
)
from rankbound.exact.rational import IntegerMatrix
from rankbound.exact.rounding import U

STEPS = 2  # in which this proof does what it does to B, beside the digits of a denominator
LEAST_WORK = 8  # rank^2, of the digits that it saves, for its other products
SPARE = 64  # bits for the factor by which z may exceed e


def spans(
    side: Lifting, top: Callable[[], IntegerMatrix], denominator: int, digits: list[Array]
) -> bool:
    """Whether the chosen columns span the others, as far as it is proved here.

    `top` returns the rows [A B]; `denominator` is a guess of that of A^{-1} B, and `digits` are
    those of A^{-1} B w for the first combination w.

    sound: rank M = rank A then.
    """
    X, r = side.digits.modulus, side.rank
    m, n = side.by_digits.shape[1:]
    rough = without_small_factors(denominator)
    saved = rough.bit_length() // X.bit_length() - STEPS
    if saved * m * (n - r) < LEAST_WORK * r * r or 8 * r * r << side.bits > X:
        return False
    smooth, bound = denominator // rough, complement_bound(top(), side.bits)
    if bound is None or smooth * bound >= X:
        return False
    lattice = saturated(side, denominator, rough, digits)
    return (
        lattice is not None
        and high_order(lattice, rough.bit_length()).proves(smooth)
        and side.complement_vanishes()
    )


def without_small_factors(number: int) -> int:
    """The largest divisor that no prime of SLACK divides."""
    while (common := math.gcd(number, SLACK)) > 1:
        number //= common
    return number


def complement_bound(top: IntegerMatrix, bits: int) -> int | None:
    """A bound for the entries of D - C A^{-1} B, where an inverse in floats proves one.

    With the rows [A B] scaled to entries of at most 1, ‖I - W A‖ <= q < 1/2 proves that no entry of
    A^{-1} B is above ‖A^{-1}‖ <= 2 ‖W‖, in the norm of row sums.
    """
    r = len(top)
    scales = [1 << max(map(int.bit_length, row)) for row in top]
    A = np.array([[x / s for x in row[:r]] for row, s in zip(top, scales, strict=True)])
    with np.errstate(all="ignore"):  # what is not finite proves nothing
        try:
            W = np.linalg.inv(A)
        except np.linalg.LinAlgError:
            return None
        norm = float(np.abs(W).sum(axis=1).max())
        off = float(np.abs(np.eye(r) - W @ A).sum(axis=1).max())
    # r + 1 roundings of each sum of products of |W| and at most 1, and one of each entry of A;
    # twice that, for the roundings of the norms
    off += 2 * (r + 4) * U * r * norm
    return (2 + math.ceil(4 * r * norm)) << bits if off < 0.5 else None


def saturated(side: Lifting, e: int, d: int, digits: list[Array]) -> Lifting | None:
    """Residues of [A' | B] by step 1, or None where it fails."""
    flint, r, basis = flint_module(), side.rank, side.digits
    # as many digits as z has, by what is to be expected
    count = (e.bit_length() + side.bits + SPARE) // (basis.modulus.bit_length() - 1) + 1
    parts = wholes(np.concatenate(digits[:count], axis=1), basis)
    X, rough = flint.fmpz(basis.modulus), flint.fmpz(d)
    N = X ** len(digits[:count])
    z = [_centred(e * flint.fmpz_poly(parts[i::r])(X), N) for i in range(r)]
    w = combinations(side.by_digits.shape[2] - r)[:, 0]
    if r * max(map(abs, z)) + e * int(w.sum()) << side.bits >= N:
        return None  # A z = e B w modulo N, and not known to be exact
    i = next((i for i, x in enumerate(z) if x.gcd(rough) == 1), None)
    primes = basis.primes + side.residuals.primes
    if i is None or d == 1 or any(d % p == 0 for p in primes):
        return None
    if not _agree(side, e, list(map(int, z)), w):
        return None
    inverse = pow(z[i], -1, rough)
    return _replaced(side, i, [int(_centred(inverse * x, rough)) for x in z], d)


def _centred(number: Any, modulus: Any) -> Any:
    rest = number % modulus
    return rest - modulus if 2 * rest > modulus else rest


def _agree(side: Lifting, e: int, z: list[int], w: Array) -> bool:
    """Whether C z = e D w, by digits of z and e to a base that leaves room for the sums."""
    r, both = side.rank, Basis(side.digits.primes + side.residuals.primes)
    p = both.column[:, None]
    M = np.concatenate([side.by_digits[:, r:], side.by_residuals[:, r:]])
    M = np.concatenate([M[:, :, :r], -reduce(M[:, :, r:] @ w, p)[:, :, None]], axis=2)
    room = both.modulus.bit_length() - 3 - side.bits - (r + int(w.sum())).bit_length()
    size, numbers = room // LIMB, [*z, e]
    if size < 1:
        return False
    count = max(map(int.bit_length, numbers)) // (LIMB * size) + 1
    limbs = limbs_of(numbers, count * size).reshape(-1, size)
    sums = reduce(M @ residues_of_limbs(limbs, both).reshape(-1, r + 1, count), p[:, :, None])
    found = wholes(mixed(sums.reshape(len(sums), -1), both), both)
    rows = zip(*[iter(found)] * count, strict=True)
    return not any(sum(x << LIMB * size * j for j, x in enumerate(row)) for row in rows)


def _replaced(side: Lifting, i: int, x: list[int], d: int) -> Lifting:
    """[A' | B], the i-th column of A' being u = A x/d, and the inverse H A^{-1}."""
    r, inverse = side.rank, side.inverse.copy()
    tables = []
    for table, basis in ((side.by_digits, side.digits), (side.by_residuals, side.residuals)):
        p, known = basis.column[:, None], residues(x, basis)
        top = table[:, :r].copy()
        u = reduce((top[:, :, :r] @ known[:, :, None])[:, :, 0], p)
        u *= basis.of_each(pow(d, -1, q) for q in basis.primes)[:, None]
        top[:, :, i] = reduce(u, p)
        tables.append(top)
        if basis is side.digits:
            row = inverse[:, i].copy()
            inverse -= known[:, :, None] * row[:, None, :]
            reduce(inverse, p[:, :, None])
            inverse[:, i] = reduce(row * basis.of(d)[:, None], p)
    by_digits, by_residuals = tables
    return replace(side, by_digits=by_digits, by_residuals=by_residuals, inverse=inverse)


def high_order(lattice: Lifting, bits: int) -> Lifting:
    """[A' | F] with A'^{-1} B - X^{e+1} A'^{-1} F whole, X^{e+1} of at least these bits.

    Let no entry of [A B] be above b. The rows of A' have sums of at most 1.5 r b, since |x| <= d/2,
    and |V| <= 0.51 X. So |R| <= r b = ρ implies |R * R| <= r ρ^2/X + 0.77 ρ < ρ for X >= 8 r^2 b,
    and likewise |F| < ρ, which the primes of the residuals hold.
    """
    r, P, Q = lattice.rank, lattice.digits.primes, lattice.residuals.primes
    A, inverse = lattice.shrunk[0], lattice.inverse

    def advanced(V: Array, RY: Array) -> Array:
        """(R Y - A' V)/X modulo the primes of the residuals, in place of R Y."""
        V = lattice.to_residuals(V)
        for j, q in enumerate(Q):
            RY[j] *= lattice.shrink[j]
            RY[j] -= A[j] @ V[j]
            reduce(RY[j], q)
        return RY

    def times(R: Array, S: Array, by_digits: Array, by_residuals: Array) -> Array:
        """R * Y, from the residues of R and of Y modulo both sets of primes."""
        V = _product(inverse, _product(S, by_digits, P), P)
        return advanced(V, _product(R, by_residuals, Q))

    R, e = advanced(inverse, np.repeat(np.eye(r)[None], len(Q), axis=0)), 1
    S = lattice.to_digits(R)
    while (e + 1) * (lattice.digits.modulus.bit_length() - 1) < bits:
        R, e = times(R, S, S, R), 2 * e + 1
        S = lattice.to_digits(R)
    F = times(R, S, lattice.by_digits[:, :, r:], lattice.by_residuals[:, :, r:])
    by_digits = np.concatenate([lattice.by_digits[:, :, :r], lattice.to_digits(F)], axis=2)
    by_residuals = np.concatenate([lattice.by_residuals[:, :, :r], F], axis=2)
    return replace(lattice, by_digits=by_digits, by_residuals=by_residuals)


def _product(left: Array, right: Array, primes: tuple[int, ...]) -> Array:
    """The product modulo each prime."""
    result = np.empty((*left.shape[:2], right.shape[2]))
    for x, y, out, p in zip(left, right, result, primes, strict=True):
        reduce(np.matmul(x, y, out=out), p)
    return result
