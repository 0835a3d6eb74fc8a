"""Proof that the chosen columns of an integer matrix span the others, by p-adic lifting.

Let M be an integer matrix, G its chosen columns, T the others, and A the rows of G that make it
nonsingular. For a whole number d the digits S_0, S_1, … of A^{-1} d B, where B are those rows of T,
come with residuals

    E_0 = 0,   X E_{i+1} = E_i + d_i T - G S_i,

d_i the digits of d to the base X. Where each division is exact and a residual is 0 after the last
digit of d, G S = d T exactly with S = Σ S_i X^i: the rank of M is that of A, whatever d is. A wrong
guess of d, a common denominator of A^{-1} B, costs time and never truth.

X is the product of one set of primes. The residuals are small and known by another set, and
everything is a product of matrices of residues (Chen and Storjohann 2005).

Residues are centred, |x| <= p/2 + 1, and the primes so small that no sum of products reaches 2^52.
Every float operation here is then exact, or a quotient whose error `reduce` allows for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from operator import methodcaller
from typing import Any

import numpy as np

from rankbound.exact.flint import flint_module
from rankbound.exact.rational import IntegerMatrix

EXACT = 2**52
LIMB = 16
BLOCK = 2**15  # limbs in memory at a time
FEW = 13  # rows up to which an inverse is found by elimination

Array = Any


@dataclass(frozen=True, eq=False)
class Basis:
    """Distinct odd primes; integers below half their product have their residues to themselves."""

    primes: tuple[int, ...]

    @cached_property
    def column(self) -> Array:
        """The primes, to broadcast over arrays of shape (primes, ...)."""
        return np.array(self.primes, dtype=np.float64)

    @cached_property
    def modulus(self) -> int:
        """The product."""
        return math.prod(self.primes)

    @cached_property
    def summands(self) -> list[int]:
        """The product over each prime, and less the product: see :func:`mixed`."""
        return [*(self.modulus // p for p in self.primes), -self.modulus]

    @cached_property
    def inverse_cofactors(self) -> Array:
        """Inverses of the product over each prime, modulo that prime."""
        return self.of_each(pow(c, -1, p) for c, p in zip(self.summands, self.primes, strict=False))

    def of(self, number: int) -> Array:
        """Residues of one integer, of shape (primes,)."""
        return self.of_each(number for _ in self.primes)

    def of_each(self, numbers: Iterable[int]) -> Array:
        """The residue of the i-th integer modulo the i-th prime."""
        return np.array(
            [(x + p // 2) % p - p // 2 for x, p in zip(numbers, self.primes, strict=True)],
            dtype=np.float64,
        )

    def only(self, kept: Iterable[int]) -> Basis:
        """The basis of some of the primes."""
        return Basis(tuple(self.primes[i] for i in kept))


def largest_prime(depth: int) -> int:
    """A bound for primes such that sums of `depth` products of residues are exact."""
    return 2 * (math.isqrt(EXACT // (depth + 4)) - 1)


def basis_of(count: int, below: int) -> Basis:
    """The `count` largest primes below a bound."""
    flint = flint_module()
    primes: list[int] = []
    candidate = below - 1 - below % 2
    while len(primes) < count and candidate > 2:
        if flint.fmpz(candidate).is_prime():
            primes.append(candidate)
        candidate -= 2
    return Basis(tuple(primes))


def reduce(x: Array, p: Array) -> Array:
    """Bring integers |x| <= 2^52 to centred residues, in place.

    The float quotient is within 1/p of x/p, so the result is at most p/2 + 1 in size; products and
    differences are integers below 2^53, hence exact. It is 0 just where p divides x.
    """
    wholes = x * (1.0 / p)
    np.rint(wholes, out=wholes)
    wholes *= p
    x -= wholes
    return x


def reduce_each(x: Array, basis: Basis) -> Array:
    """As :func:`reduce`, of shape (primes, N): large arrays a prime at a time, to stay in cache."""
    if x.size <= BLOCK:
        return reduce(x, basis.column[:, None])
    for part, p in zip(x, basis.primes, strict=True):
        reduce(part, p)
    return x


def limbs_of(numbers: list[int], size: int) -> Array:
    """Integers below 2^(16 size - 1) as limbs of 16 bits, the last signed: (numbers, size)."""
    to_bytes = methodcaller("to_bytes", 2 * size, "little", signed=True)
    data = b"".join(map(to_bytes, numbers))
    limbs = np.frombuffer(data, dtype="<u2").reshape(len(numbers), size).astype(np.float64)
    limbs[:, -1] -= (limbs[:, -1] >= 2 ** (LIMB - 1)) * 2.0**LIMB  # two's complement
    return limbs


def residues(numbers: list[int], basis: Basis) -> Array:
    """Residues of integers of any size, of shape (primes, numbers)."""
    size = max(map(int.bit_length, numbers), default=0) // LIMB + 1
    result = np.empty((len(basis.primes), len(numbers)))
    step = max(1, BLOCK // size)
    for start in range(0, len(numbers), step):
        part = limbs_of(numbers[start : start + step], size)
        result[:, start : start + step] = residues_of_limbs(part, basis)
    return result


def residues_of_limbs(limbs: Array, basis: Basis) -> Array:
    """Residues of the integers with these limbs, of shape (primes, numbers)."""
    p, size = basis.column[:, None], limbs.shape[1]
    powers = np.ones_like(p)
    while powers.shape[1] < size:
        power = basis.of(1 << (LIMB * powers.shape[1]))[:, None]
        powers = np.concatenate([powers, reduce(powers * power, p)], axis=1)
    return reduce(powers[:, :size] @ limbs.T, p)


def mixed(x: Array, basis: Basis) -> Array:
    """Write integers with residues x, of shape (primes, N), as sums; shape (primes + 1, N).

    The integers are ``basis.summands @ mixed(x, basis)``, at most 0.51 times the modulus in size,
    and the right ones up to a quarter of it: there the float sum rounds to the right whole.
    """
    result = np.empty((len(x) + 1, x.shape[1]))
    parts = np.multiply(x, basis.inverse_cofactors[:, None], out=result[:-1])
    np.rint((1.0 / basis.column) @ reduce_each(parts, basis), out=result[-1])
    return result


def wholes(parts: Array, basis: Basis) -> list[int]:
    """The integers ``basis.summands @ parts``, by limbs; the parts as of :func:`mixed`."""
    size = basis.modulus.bit_length() // LIMB + 2
    data = b"".join(abs(c).to_bytes(2 * size, "little") for c in basis.summands)
    weights = np.frombuffer(data, dtype="<u2").reshape(-1, size).astype(np.float64)
    weights[-1] *= -1
    limbs = (weights.T @ parts).astype(np.int64)  # of less than 2^52
    for i in range(size - 1):
        limbs[i + 1] += limbs[i] >> LIMB
    table = limbs.T.astype("<u2")  # modulo 2^16: two's complement
    return [int.from_bytes(row.tobytes(), "little", signed=True) for row in table]


@dataclass(frozen=True, eq=False)
class Extension:
    """From residues in one basis to residues in another, of the integers of :func:`mixed`."""

    source: Basis
    target: Basis

    @cached_property
    def _weights(self) -> Array:
        return np.stack([self.target.of(c) for c in self.source.summands], axis=1)

    def unreduced(self, x: Array) -> Array:
        """From shape (source primes, ...) to (target primes, ...), as sums of products."""
        sums = self._weights @ mixed(x.reshape(len(x), -1), self.source)
        return sums.reshape(-1, *x.shape[1:])

    def of_mixed(self, parts: Array) -> Array:
        """From the parts of :func:`mixed`, of shape (source primes + 1, N)."""
        return reduce_each(self._weights @ parts, self.target)

    def __call__(self, x: Array) -> Array:
        """From shape (source primes, ...) to (target primes, ...)."""
        parts = mixed(x.reshape(len(x), -1), self.source)
        return self.of_mixed(parts).reshape(-1, *x.shape[1:])


def inverses(matrices: Array, basis: Basis) -> tuple[Array, list[int]]:
    """Inverses modulo each prime of matrices of shape (primes, r, r), and where they are right.

    Nothing is pivoted: where a leading minor vanishes the product with the inverse is not I.
    """
    found = _inverses(matrices, basis)
    unit, good = np.eye(matrices.shape[1]), []
    for i, p in enumerate(basis.primes):
        if not reduce(matrices[i] @ found[i] - unit, p).any():
            good.append(i)
    return found, good


def _inverses(a: Array, basis: Basis) -> Array:
    n, p = a.shape[1], basis.column[:, None, None]
    if n <= FEW:
        return _eliminated(a.copy(), basis)
    h = n // 2
    first = _inverses(a[:, :h, :h], basis)
    right = reduce(first @ a[:, :h, h:], p)
    left = reduce(a[:, h:, :h] @ first, p)
    rest = _inverses(reduce(a[:, h:, h:] - a[:, h:, :h] @ right, p), basis)
    result = np.empty_like(a)
    result[:, h:, h:] = rest
    result[:, h:, :h] = reduce(-rest @ left, p)
    result[:, :h, h:] = reduce(-right @ rest, p)
    result[:, :h, :h] = reduce(first - right @ result[:, h:, :h], p)
    return result


def _eliminated(a: Array, basis: Basis) -> Array:
    p = basis.column
    for k in range(a.shape[1]):
        pivots = zip(a[:, k, k].astype(np.int64).tolist(), basis.primes, strict=True)
        inverse = reduce(np.array([float(pow(x, -1, q)) if x else 0.0 for x, q in pivots]), p)
        row = reduce(a[:, k, :] * inverse[:, None], p[:, None])
        column = a[:, :, k].copy()
        a -= column[:, :, None] * row[:, None, :]
        reduce(a, p[:, None, None])
        a[:, k, :] = row
        a[:, :, k] = reduce(-column * inverse[:, None], p[:, None])
        a[:, k, k] = inverse
    return a


def leading_order(a: Array, p: int) -> list[int] | None:
    """An order of the rows in which no leading minor vanishes modulo p; None if a is singular."""
    order = list(range(len(a)))
    for k in range(len(a)):
        pivots = np.flatnonzero(a[k:, k])
        if not len(pivots):
            return None
        if (i := k + int(pivots[0])) != k:
            a[[k, i]] = a[[i, k]]
            order[k], order[i] = order[i], order[k]
        factors = reduce(a[k + 1 :, k] * pow(int(a[k, k]), -1, p), p)
        a[k + 1 :, k + 1 :] -= np.outer(factors, a[k, k + 1 :])
        reduce(a[k + 1 :, k + 1 :], p)
    return order


LEAST_WORK = 1_500_000  # rank^2 · bits · other columns, above which flint solves later than this
ROOM = 420  # bits of X beyond those of residuals: see step 4 of rankbound.exact.saturation
MOST_ENTRIES = 2**24  # of an array of residues
MOST_BITS = 2**14  # of an entry
MOST_SIZE = 2**12  # rows and columns: combinations of them stay exact in float64
SLACK = math.lcm(*range(1, 101)) ** 2  # small primes that one combination may miss
GROWTH = 1.25  # of the number of digits between two attempts at a denominator
MARGIN = 24  # bits by which a short vector must be shorter than chance would have it


@dataclass(frozen=True, eq=False)
class Lifting:
    """Residues of ``[[A, B], [C, D]]``, A nonsingular modulo every prime of `digits`."""

    digits: Basis  # the primes whose product is the base X
    residuals: Basis  # the primes that hold the residuals
    by_digits: Array  # the matrix modulo each of the first, of shape (primes, m, n)
    by_residuals: Array  # and modulo each of the second
    inverse: Array  # of A modulo the primes of `digits`, of shape (primes, r, r)
    bits: int  # that no entry exceeds

    @property
    def rank(self) -> int:
        """The size of A."""
        return int(self.inverse.shape[1])

    @cached_property
    def to_digits(self) -> Extension:
        """From the primes of the residuals to those of the digits."""
        return Extension(self.residuals, self.digits)

    @cached_property
    def to_residuals(self) -> Extension:
        """From the primes of the digits to those of the residuals."""
        return Extension(self.digits, self.residuals)

    @cached_property
    def shrink(self) -> Array:
        """1/X modulo the primes of the residuals."""
        X = self.digits.modulus
        return self.residuals.of_each(pow(X, -1, q) for q in self.residuals.primes)

    @cached_property
    def solver(self) -> Array:
        """A^{-1} above C A^{-1}, modulo the primes of `digits`."""
        below = self.by_digits[:, self.rank :, : self.rank]
        result = np.empty((len(below), self.by_digits.shape[1], self.rank))
        for found, C, inverse, p in zip(
            result, below, self.inverse, self.digits.primes, strict=True
        ):
            found[: self.rank] = inverse
            reduce(np.matmul(C, inverse, out=found[self.rank :]), p)
        return result

    @cached_property
    def shrunk(self) -> tuple[Array, Array]:
        """G/X and T/X modulo the primes of the residuals."""
        r = self.rank
        M = reduce(
            self.by_residuals * self.shrink[:, None, None], self.residuals.column[:, None, None]
        )
        return np.ascontiguousarray(M[:, :, :r]), np.ascontiguousarray(M[:, :, r:])

    def transposed(self) -> Lifting:
        """The same for the transpose."""
        tables = (self.by_digits, self.by_residuals, self.inverse)
        first, second, inverse = (M.transpose(0, 2, 1) for M in tables)
        return Lifting(self.digits, self.residuals, first, second, inverse, self.bits)

    def complement_vanishes(self, primes: int | None = None) -> bool:
        """Whether the Schur complement D - C A^{-1} B is zero modulo the first primes, or all.

        Where it is not, a larger minor is not zero.
        """
        r = self.rank
        for M, inverse, p in islice(
            zip(self.by_digits, self.inverse, self.digits.primes, strict=True), primes
        ):
            across = reduce(inverse @ M[:r, r:], p)
            if reduce(M[r:, r:] - M[r:, :r] @ across, p).any():
                return False
        return True

    def denominators(self) -> Iterator[tuple[int, list[Array]]]:
        """Guess a common denominator of A^{-1} B after more and more digits; 0 where none is seen.

        Two combinations of the entries share a denominator. That of the first is b where (a, b) is
        a short vector of the lattice of its residues, and the second times b has what is left. With
        it come the digits of the first combination of columns, as those of :func:`mixed`.
        """
        X, r = self.digits.modulus, self.rank
        E, A = self._combined(), np.ascontiguousarray(self.by_residuals[:, :r, :r])
        P, Q = self.digits.column[:, None, None], self.residuals.column[:, None, None]
        weights = combinations(r)
        sums, modulus, wanted = [0, 0], 1, 1.0
        digits: list[Array] = []
        # Cramer's rule and Hadamard's bound: beyond these bits there is nothing more to see
        most = 3 * (r * (self.bits + r.bit_length()) + X.bit_length())
        for count in range(1, most // (X.bit_length() - 1) + 2):
            S = reduce(self.inverse @ self.to_digits(E), P)
            parts = mixed(S.reshape(len(S), -1), self.digits)
            first, second = parts[:, ::2], parts[:, 1::2]
            sums = [
                w + modulus * _whole(self.digits, part @ weights[:, j])
                for j, (w, part) in enumerate(zip(sums, (first, second), strict=True))
            ]
            modulus *= X
            digits.append(first)
            if count >= wanted:
                wanted = count * GROWTH
                yield _shared_denominator(modulus, sums), digits
            E = reduce(E - A @ self.to_residuals.of_mixed(parts).reshape(-1, r, 2), Q)
            E = reduce(E * self.shrink[:, None, None], Q)

    def _combined(self) -> Array:
        """Two combinations of the columns of B, modulo the primes of the residuals."""
        right = self.by_residuals[:, : self.rank, self.rank :]
        weights = combinations(right.shape[2])
        return reduce(right @ weights, self.residuals.column[:, None, None])

    def proves(self, denominator: int, kept: list[Array] | None = None) -> bool:
        """Whether ``G S = denominator · T`` exactly for some whole S, which is found by its digits.

        sound: rank M = rank A then. The digits, as those of :func:`mixed`, are appended to `kept`.
        """
        if denominator <= 0:
            raise ValueError("0 S = 0 T proves nothing.")
        X, r = self.digits.modulus, self.rank
        m, n = self.by_digits.shape[1:]
        most = denominator.bit_length() + self.bits + 2 * X.bit_length()
        E = np.zeros((len(self.residuals.primes), m, n - r))
        for _ in range(most // X.bit_length() + 1):
            denominator, d = divmod(denominator, X)
            wide = self.to_digits.unreduced(E)
            S = np.empty((len(wide), r, n - r))
            for i, (d_i, p) in enumerate(zip(self.digits.of(d), self.digits.primes, strict=True)):
                right = wide[i]
                right += d_i * self.by_digits[i, :, r:]
                found = self.solver[i] @ reduce(right[:r], p)
                found[r:] -= right[r:]
                if reduce(found, p)[r:].any():
                    return False  # the division of these rows by X is not exact
                S[i] = found[:r]
            digit = mixed(S.reshape(len(S), -1), self.digits)
            if kept is not None:
                kept.append(digit)
            S = self.to_residuals.of_mixed(digit).reshape(-1, r, n - r)
            E = self._residual(E, self.residuals.of(d), S)
            if not (denominator or E.any()):
                return True
        return False  # the denominator is none

    def _residual(self, E: Array, d: Array, S: Array) -> Array:
        """(E + d T - G S)/X, known to be whole."""
        for j, (G, T) in enumerate(zip(*self.shrunk, strict=True)):
            E[j] *= self.shrink[j]
            E[j] += d[j] * T
            E[j] -= G @ S[j]
            reduce(E[j], self.residuals.primes[j])
        return E

    def numerators(self, denominator: int) -> Any:
        """S = Σ S_i X^i of :meth:`proves` as a matrix of integers."""
        flint, basis = flint_module(), self.digits
        lifted: list[Array] = []
        if not self.proves(denominator, lifted):
            raise ValueError("this is no common denominator.")
        columns = [wholes(digit, basis) for digit in lifted]
        X = flint.fmpz(basis.modulus)
        entries = [flint.fmpz_poly(list(places))(X) for places in zip(*columns, strict=True)]
        return flint.fmpz_mat(self.rank, self.by_digits.shape[2] - self.rank, entries)


def combinations(count: int) -> Array:
    """Two vectors of weights, of shape (count, 2), of no pattern."""
    return np.random.default_rng(0).integers(1, count + 1, (count, 2)).astype(np.float64)


def _whole(basis: Basis, parts: Array) -> int:
    """The integer that is this combination of the summands."""
    return sum(int(a) * c for a, c in zip(parts.tolist(), basis.summands, strict=True))


def _shared_denominator(modulus: int, sums: list[int]) -> int:
    """A multiple of the denominator of two fractions with these residues, or 0 if none is small."""
    flint, shared = flint_module(), 1
    for x in sums:
        lattice = flint.fmpz_mat([[modulus, 0], [shared * x % modulus, 1]]).lll()
        short = int(lattice[0, 0]), int(lattice[0, 1])
        # of 2 dimensions and determinant modulus: what chance makes has half of its bits
        if 2 * (max(map(int.bit_length, short)) + MARGIN) >= modulus.bit_length():
            return 0
        shared *= abs(short[1])
    return shared * SLACK


Prepared = tuple[Lifting, tuple[int, ...]]


def lifting_of(
    M: IntegerMatrix, rows: tuple[int, ...], columns: tuple[int, ...]
) -> Prepared | None:
    """Prepare M for lifting with the minor on these rows and columns; the rows as now ordered.

    None where the matrix is not one for this method: too little work, too large entries, or a minor
    that is singular modulo the primes tried.
    """
    m, n, r = len(M), len(M[0]), len(rows)
    bits, size = max(max(map(int.bit_length, row)) for row in M), max(m, n)
    if r * r * bits * (n - r) < LEAST_WORK or bits > MOST_BITS or size > MOST_SIZE:
        return None
    spare = bits + 2 * size.bit_length() + 4  # residuals are at most size^2 2^(bits + 2)
    count = max(min(r // 2, (spare + ROOM) // 22), spare // 16)
    count = max(4, min(count, MOST_ENTRIES // (m * n)))
    # the longest sums: a digit beside an unreduced residual, and an extension
    below = largest_prime(size + count + spare // 16)
    second = (spare + 2) // (below.bit_length() - 2) + 1  # of primes above below/2
    if second * m * n > MOST_ENTRIES:
        return None
    together = basis_of(count + second, below)
    p = together.primes[0]
    order = leading_order(np.array([[float(M[i][j] % p) for j in columns] for i in rows]), p)
    if order is None:
        return None
    rows = tuple(rows[i] for i in order)
    along = [*rows, *sorted(set(range(m)) - set(rows))]
    across = [*columns, *sorted(set(range(n)) - set(columns))]
    numbers = [row[j] for row in map(M.__getitem__, along) for j in across]
    table = residues(numbers, together).reshape(-1, m, n)
    primes, others = together.only(range(count)), together.only(range(count, count + second))
    inverse, good = inverses(table[:count, :r, :r], primes)
    if not good:
        return None
    kept = slice(count) if len(good) == count else good  # a slice copies nothing
    lifting = Lifting(primes.only(good), others, table[kept], table[count:], inverse[good], bits)
    return lifting, rows
