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
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rankbound.exact.flint import flint_module
from rankbound.exact.rational import IntegerMatrix
from rankbound.exact.residues import (
    Array,
    Basis,
    Extension,
    basis_of,
    inverses,
    largest_prime,
    leading_order,
    mixed,
    reduce,
    residues,
)

__all__ = ["Lifting", "Prepared", "lifting_of"]

LEAST_WORK = 1_500_000  # rank^2 · bits · other columns, above which flint solves later than this
DIGIT_PRIMES = 48
MOST_ENTRIES = 2**24  # of an array of residues
MOST_BITS = 2**14  # of an entry
MOST_SIZE = 2**12  # rows and columns: combinations of them stay exact in float64
SLACK = math.lcm(*range(1, 101)) ** 2  # small primes that one combination may miss
GROWTH = 1.5  # of the number of digits between two attempts at a denominator
MARGIN = 24  # bits by which a short vector must be shorter than chance would have it


@dataclass(frozen=True, eq=False)
class Lifting:
    """Residues of ``[[A, B], [C, D]]``, A nonsingular modulo every prime of `digits`.

    Attributes
    ----------
    digits, residuals : Basis
        The primes whose product is the base X, and those that hold the residuals.
    by_digits, by_residuals : ndarray, shape (primes, m, n)
        The matrix modulo the primes.
    inverse : ndarray, shape (primes, r, r)
        The inverse of A modulo the primes of `digits`.
    bits : int
        Bits that no entry exceeds.
    """

    digits: Basis
    residuals: Basis
    by_digits: Array
    by_residuals: Array
    inverse: Array
    bits: int

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
        axes = (0, 2, 1)
        return Lifting(
            self.digits,
            self.residuals,
            np.ascontiguousarray(self.by_digits.transpose(axes)),
            np.ascontiguousarray(self.by_residuals.transpose(axes)),
            np.ascontiguousarray(self.inverse.transpose(axes)),
            self.bits,
        )

    def refuted(self) -> bool:
        """Whether the Schur complement D - C A^{-1} B is not zero modulo the first prime.

        sound: then a larger minor is not zero.
        """
        r, p = self.rank, self.digits.primes[0]
        M = self.by_digits[0]
        across = reduce(self.inverse[0] @ M[:r, r:], p)
        return bool(reduce(M[r:, r:] - M[r:, :r] @ across, p).any())

    def denominators(self) -> Iterator[int]:
        """Guess a common denominator of A^{-1} B after more and more digits; 0 where none is seen.

        Two combinations of the entries share a denominator b: (a_1, a_2, b) is a short vector of
        the lattice of their residues.
        """
        X, r = self.digits.modulus, self.rank
        E, A = self._combined(), np.ascontiguousarray(self.by_residuals[:, :r, :r])
        P, Q = self.digits.column[:, None, None], self.residuals.column[:, None, None]
        weights = _weights(r)
        sums, modulus, count, wanted = [0, 0], 1, 0, 1.0
        # Cramer's rule and Hadamard's bound: beyond these bits there is nothing more to see
        most = 3 * (r * (self.bits + r.bit_length()) + X.bit_length())
        while modulus.bit_length() < most:
            S = reduce(self.inverse @ self.to_digits(E), P)
            parts = mixed(S.reshape(len(S), -1), self.digits).reshape(-1, r, 2)
            sums = [
                w + modulus * _whole(self.digits, parts[:, :, j] @ weights[:, j])
                for j, w in enumerate(sums)
            ]
            modulus, count = modulus * X, count + 1
            if count >= wanted:
                wanted = count * GROWTH
                yield _shared_denominator(modulus, sums)
            E = reduce(E - A @ self.to_residuals(S), Q)
            E = reduce(E * self.shrink[:, None, None], Q)

    def _combined(self) -> Array:
        """Two combinations of the columns of B, modulo the primes of the residuals."""
        right = self.by_residuals[:, : self.rank, self.rank :]
        return reduce(right @ _weights(right.shape[2]), self.residuals.column[:, None, None])

    def proves(self, denominator: int, kept: list[Array] | None = None) -> bool:
        """Whether ``G S = denominator · T`` exactly for some whole S, which is found by its digits.

        sound: rank M = rank A then. The residues of the digits are appended to `kept`.
        """
        if denominator <= 0:
            raise ValueError("0 S = 0 T proves nothing.")
        X, r = self.digits.modulus, self.rank
        m, n = self.by_digits.shape[1:]
        most = denominator.bit_length() + self.bits + 2 * X.bit_length()
        count = 0
        E = np.zeros((len(self.residuals.primes), m, n - r))
        while denominator or E.any():
            if count * X.bit_length() > most:
                return False  # the denominator is none
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
            if kept is not None:
                kept.append(S)
            count += 1
            E = self._residual(E, self.residuals.of(d), self.to_residuals(S))
        return True

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
        shape = lifted[0].shape[1:]
        weights = flint.fmpz_mat([[c] for c in basis.summands])
        total, power = flint.fmpz_mat(math.prod(shape), 1), flint.fmpz(1)
        for digit in lifted:
            table = mixed(digit.reshape(len(digit), -1), basis).T.astype(np.int64).tolist()
            total += flint.fmpz_mat(table) * weights * power
            power *= basis.modulus
        return flint.fmpz_mat(*shape, total.entries())


def _weights(count: int) -> Array:
    """Two vectors of weights for combinations, of shape (count, 2), of no pattern."""
    return np.random.default_rng(0).integers(1, count + 1, (count, 2)).astype(np.float64)


def _whole(basis: Basis, parts: Array) -> int:
    """The integer that is this combination of the summands."""
    return sum(int(a) * c for a, c in zip(parts.tolist(), basis.summands, strict=True))


def _shared_denominator(modulus: int, sums: list[int]) -> int:
    """A multiple of the denominator of two fractions with these residues, or 0 if none is small."""
    lattice = flint_module().fmpz_mat([[modulus, 0, 0], [0, modulus, 0], [*sums, 1]]).lll()
    short = [int(lattice[0, j]) for j in range(3)]
    most = max(map(int.bit_length, short))
    # of 3 dimensions and determinant modulus^2: what chance makes has 2/3 of its bits
    return abs(short[2]) * SLACK if 3 * (most + MARGIN) < 2 * modulus.bit_length() else 0


Prepared = tuple[Lifting, tuple[int, ...]]


def lifting_of(
    M: IntegerMatrix, rows: tuple[int, ...], columns: tuple[int, ...]
) -> Prepared | None:
    """Prepare M for lifting with the minor on these rows and columns.

    Also return the rows in the order in which they stand; the columns keep theirs, and the others
    follow in order. None where the matrix is not one for this method: too little work, too large
    entries, or a minor that is singular modulo the primes tried.
    """
    m, n, r = len(M), len(M[0]), len(rows)
    bits, size = max(max(map(int.bit_length, row)) for row in M), max(m, n)
    if r * r * bits * (n - r) < LEAST_WORK or bits > MOST_BITS or size > MOST_SIZE:
        return None
    spare = bits + 2 * size.bit_length() + 4  # residuals are at most size^2 2^(bits + 2)
    count = max(4, min(max(min(DIGIT_PRIMES, r // 2), spare // 16), MOST_ENTRIES // (m * n)))
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
