"""Integers by their residues modulo many small primes, exact in float64.

Residues are centred, |x| <= p/2 + 1, and the primes so small that no sum of products reaches 2^52.
Every float operation here is then exact, or a quotient whose error `reduce` allows for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from operator import methodcaller
from typing import Any

import numpy as np

from rankbound.exact.flint import flint_module

__all__ = [
    "Basis",
    "Extension",
    "basis_of",
    "inverses",
    "largest_prime",
    "leading_order",
    "mixed",
    "reduce",
    "residues",
]

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


def residues(numbers: list[int], basis: Basis) -> Array:
    """Residues of integers of any size, of shape (primes, numbers)."""
    size = max(map(int.bit_length, numbers), default=0) // LIMB + 1
    result = np.empty((len(basis.primes), len(numbers)))
    powers = np.stack([basis.of(1 << (LIMB * i)) for i in range(size)], axis=1)
    to_bytes = methodcaller("to_bytes", 2 * size, "little", signed=True)
    step = max(1, BLOCK // size)
    p = basis.column[:, None]
    for start in range(0, len(numbers), step):
        part = numbers[start : start + step]
        data = b"".join(map(to_bytes, part))
        limbs = np.frombuffer(data, dtype="<u2").reshape(len(part), size).astype(np.float64)
        limbs[:, -1] -= (limbs[:, -1] >= 2 ** (LIMB - 1)) * 2.0**LIMB  # two's complement
        result[:, start : start + step] = reduce(powers @ limbs.T, p)
    return result


def mixed(x: Array, basis: Basis) -> Array:
    """Write integers with residues x, of shape (primes, N), as sums; shape (primes + 1, N).

    The integers are ``basis.summands @ mixed(x, basis)``, at most 0.51 times the modulus in size.
    Integers at most a quarter of it in size are found as they are: there the float sum rounds to
    the right whole.
    """
    result = np.empty((len(x) + 1, x.shape[1]))
    parts = np.multiply(x, basis.inverse_cofactors[:, None], out=result[:-1])
    np.rint((1.0 / basis.column) @ reduce_each(parts, basis), out=result[-1])
    return result


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

    def __call__(self, x: Array) -> Array:
        """From shape (source primes, ...) to (target primes, ...)."""
        sums = self.unreduced(x)
        reduce_each(sums.reshape(len(sums), -1), self.target)
        return sums


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
