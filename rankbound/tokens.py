"""What a user gives for tokens, read once: a matrix, its rank, and the space its rows span."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from rankbound._validate import Array, Storage, as_floats, check_shape, is_float, plain, storage
from rankbound.errors import InputError, InputTypeError, Undecided
from rankbound.exact.elimination import pivots_modulo_prime, prove_rank
from rankbound.exact.projector import ExactRowSpace, exact_row_space
from rankbound.exact.rational import Rationals, integer_rows, is_exact, rational_matrix
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.ranks.spectrum import named_spectrum

MOST_EXACT = 256**2  # entries of tokens whose row space is found over the rationals


@dataclass(frozen=True, eq=False)
class RowSpace:
    """The row space of tokens, in R^n, and weights that reach it."""

    rank: int
    basis: Array  # (rank, n), orthonormal rows that span it
    outside: Array  # (n,), what of the vector 1 is outside it
    angle: float  # bounds the error of the projector basis^T basis in spectral norm
    exact: ExactRowSpace | None  # where it was found over the rationals
    inverse: Array | None  # (n, d), the pseudoinverse of the tokens where it was not
    tokens: Array  # (d, n), in floats

    def weights(self, factors: Array) -> Array:
        """W of shape (k, d) with ``W X`` the projection of the factors' rows, (k, n)."""
        W = np.zeros((len(factors), len(self.tokens)))
        if self.exact is not None:
            W[:, list(self.exact.pivots)] = self.exact.solve(factors)
        elif self.inverse is not None:
            with np.errstate(over="ignore", invalid="ignore"):  # reported just below
                W = factors @ self.inverse
        if not np.isfinite(W).all():
            raise InputError(
                f"X has entries of at most {np.max(np.abs(self.tokens)):.1e}, on which weights "
                "overflow float64; expected larger ones. Multiply X by a power of two."
            )
        return W


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens X, one per column, as the numbers they are."""

    matrix: Array  # (d, n)
    stored: Storage  # the dtype in which they were computed
    given: Rationals | None  # the tokens exactly, where they were given in exact numbers

    @property
    def n(self) -> int:
        """Number of tokens."""
        return int(self.matrix.shape[1])

    @cached_property
    def rationals(self) -> Rationals:
        """The tokens as the exact numbers they are; floats too."""
        if self.given is not None:
            return self.given
        return [[Fraction(x) for x in row] for row in self.matrix.tolist()]

    @cached_property
    def numerical_rank(self) -> int:
        """The number of singular values above what rounding moves them by."""
        return int(self._spectrum.rank)

    @property
    def settled(self) -> bool:
        """Whether rounding leaves no doubt of the rank."""
        if self.given is None and self.numerical_rank == min(self.matrix.shape):
            return True  # sound: what is above the threshold is not 0
        return self.numerical_rank == self.rank_as_given

    @cached_property
    def rank(self) -> int:
        """The rank, of exact tokens over the rationals; Undecided if rounding leaves it open."""
        if self.given is not None or self.settled:
            return self.rank_as_given if self.given is not None else self.numerical_rank
        raise Undecided(
            f"X has rank {self.numerical_rank} to rounding in {self.stored} and "
            f"{self.rank_as_given} as the exact numbers its entries are; expected tokens whose "
            "rank rounding leaves no doubt of. Pass exact tokens (ints or Fractions), or tokens "
            "scaled so that no row or column is lost beside another.",
            remedy="exact or better conditioned tokens",
        )

    @cached_property
    def rank_as_given(self) -> int:
        """The rank over the rationals; of floats, as exact numbers, modulo a prime near 2^61.

        That is never above the rank over the rationals, and below it only for numbers made for it.
        """
        return prove_rank(self.given).rank if self.given is not None else self._modular(False)

    @cached_property
    def holds_ones(self) -> bool:
        """Whether the vector 1 is in the row space of the tokens as given (modulo that prime)."""
        return self._modular(True) == self._modular(False)

    def _modular(self, with_ones: bool) -> int:
        rows = [*self.rationals, *([[Fraction(1)] * self.n] if with_ones else [])]
        return len(pivots_modulo_prime(integer_rows(rows)[0])[0])

    @cached_property
    def _spectrum(self) -> Any:
        return named_spectrum("X", self.matrix, stored=self.stored.name)

    @cached_property
    def numerical(self) -> RowSpace:
        """The row space at the numerical rank, by the singular value decomposition.

        The projector onto it moves by at most ``‖E‖_2 / (σ_r - ‖E‖_2)`` under a perturbation E that
        leaves the rank r (Wedin); E is bounded by the threshold of the spectrum.
        """
        U, values, Vt = np.linalg.svd(self.matrix, full_matrices=False)
        rank, tolerance = self.numerical_rank, float(self._spectrum.tolerance)
        with np.errstate(all="ignore"):  # weights on such tokens are refused later
            inverse = Vt[:rank].T / values[:rank] @ U[:, :rank].T
        basis = Vt[:rank]
        margin = float(values[rank - 1]) - tolerance if rank else 1.0
        angle = 0.0 if rank in (0, self.n) else tolerance / margin
        outside = np.zeros(self.n) if rank == self.n else 1.0 - basis.T @ basis.sum(axis=1)
        return RowSpace(rank, basis, outside, angle, None, inverse, self.matrix)

    @property
    def space(self) -> RowSpace | None:
        """The row space, by the singular value decomposition where rounding leaves no doubt."""
        return self.numerical if self.settled else self.as_given

    @cached_property
    def as_given(self) -> RowSpace | None:
        """The row space over the rationals; None where none is computed (size, or precision)."""
        if self.matrix.size > MOST_EXACT:
            return None
        found = exact_row_space(self.rationals)
        if found is None:
            return None
        # the eigenvalues of a projector are 0 and 1, so its eigenvectors are found to rounding
        values, vectors = np.linalg.eigh((found.projector + found.projector.T) / 2)
        basis = np.asarray(vectors[:, values > 0.5].T, np.float64)
        angle = 0.0 if found.rank == self.n else self.n * FLOAT64_EPS
        return RowSpace(found.rank, basis, found.outside, angle, found, None, self.matrix)


def read_tokens(X: Any, n: int | None = None) -> Tokens:
    """Read tokens, (d, n), of a sequence of length n, or take those that were read."""
    if isinstance(X, Tokens):
        tokens = X
    else:
        given, hint = plain("X", X)
        if given.dtype == np.bool_:
            raise InputTypeError(
                "X has dtype bool; expected tokens, numbers of shape (d, n): a matrix of truth "
                "values is a mask (mask=)."
            )
        check_shape("X", given.shape, ndim=2)
        dtype = storage("X", given, None, hint)
        # one irrational factor common to all tokens changes no row space, and floats need its value
        exact = given.dtype.kind in "iu" or (
            given.dtype == object and is_exact(given) and not any(map(is_float, given.flat))
        )
        rationals, unit = rational_matrix("X", given) if exact else (None, 1)
        matrix = as_floats("X", given)
        if unit != 1 and rationals is not None:
            matrix = np.array([[float(x) for x in row] for row in rationals]) * float(unit)
        tokens = Tokens(matrix, dtype, rationals)
    if n is not None and tokens.n != n:
        raise InputError(
            f"X is {tokens.matrix.shape} but the context is {(n, n)}: X must have one column per "
            f"token, {n} of them."
        )
    return tokens
