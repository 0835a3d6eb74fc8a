"""Theorem B: which contexts tokens of any rank allow, and at what head size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from rankbound._validate import Array, check_matrix
from rankbound.errors import InputError
from rankbound.exact.elimination import prove_rank
from rankbound.exact.flint import left_inverse, rational_product
from rankbound.exact.rational import is_exact, rational_matrix
from rankbound.ranks.spectrum import FLOAT64_EPS, spectrum
from rankbound.theory.logs import Logs
from rankbound.theory.reach import Reach

__all__ = ["Tokens", "reach", "read_tokens"]

Rational = list[list[Fraction]]


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens with their row space.

    Attributes
    ----------
    matrix : ndarray, shape (d, n)
        The tokens.
    rank : int
        Their rank: exact for exact tokens, numerical elsewhere.
    basis : ndarray, shape (rank, n)
        Orthonormal rows that span the row space.
    inverse : ndarray, shape (n, d)
        The pseudoinverse at this rank.
    angle : float
        A bound on the error of the projector ``basis^T basis`` in spectral norm.
    exact : list of list of Fraction, or None
        The tokens exactly, where they were.
    """

    matrix: Array
    rank: int
    basis: Array
    inverse: Array
    angle: float
    exact: Rational | None


def read_tokens(X: Any, n: int) -> Tokens:
    """Read tokens and find their row space.

    The projector onto it moves by at most ``‖E‖_2 / (σ_r - ‖E‖_2)`` under a perturbation E that
    leaves the rank r (Wedin); E is bounded by the threshold of the spectrum.
    """
    tokens = check_matrix("X", X, ndim=2)
    if tokens.shape[1] != n:
        raise InputError(
            f"X is {tokens.shape} but the context is {(n, n)}: X must have one column a token, "
            f"{n} of them."
        )
    exact = rational_matrix("X", X)[0] if is_exact(X) else None
    shown = spectrum(X)
    rank = int(shown.rank) if exact is None else prove_rank(exact).rank
    U, values, Vt = np.linalg.svd(tokens, full_matrices=False)
    least = float(values[rank - 1]) if rank else 1.0
    with np.errstate(all="ignore"):  # weights on such tokens are refused later
        inverse = Vt[:rank].T / values[:rank] @ U[:, :rank].T
    if rank == n:
        return Tokens(tokens, rank, Vt[:rank], inverse, 0.0, exact)
    if exact is not None:
        return Tokens(tokens, rank, _exact_basis(exact, n), inverse, n * FLOAT64_EPS, exact)
    margin = least - float(shown.tolerance)  # positive, as the rank counts what is above it
    angle = float(shown.tolerance) / margin
    return Tokens(tokens, rank, Vt[:rank], inverse, angle, exact)


def _exact_basis(exact: Rational, n: int) -> Array:
    """An orthonormal basis of the row space, from the projector N over the rationals.

    The projector's eigenvalues are 0 and 1, so its eigenvectors are found to rounding, however
    different the scales of the tokens are.
    """
    N = np.array([[float(x) for x in row] for row in _complement(exact, n)])
    values, vectors = np.linalg.eigh(N)
    return np.asarray(vectors[:, values < 0.5].T, np.float64)


def reach(logs: Logs, X: Tokens, rtol: float | None) -> Reach:
    """Decide whether some head on these tokens has the context, and the least size.

    Let N project onto the complement of the row space of X. The logits of heads are the matrices
    with N L = 0 and L N = 0. If N 1 is not 0 the gauge is forced, ``c = -ℓ^T N 1 / 1^T N 1``, and L
    is ℓ + 1 c^T or nothing; if it is 0 the conditions are N ℓ = 0 and C ℓ N = 0, and L = C ℓ has
    the least rank. Decided over the rationals where logits and tokens are exact.
    """
    if logs.exact is not None and X.exact is not None:
        return _exact(logs, X)
    return _floating(logs, X, rtol)


def _floating(logs: Logs, X: Tokens, rtol: float | None) -> Reach:
    n, D = logs.n, logs.scaled
    outside = 1.0 - X.basis.T @ X.basis.sum(axis=1)  # N 1
    length = float(np.linalg.norm(outside))
    known = float(logs.tolerance) + 2 * X.angle * float(np.linalg.norm(D))
    forced = length > math.sqrt(n) * (X.angle + n * FLOAT64_EPS)
    if forced:
        # an error of D enters the gauge divided by ‖N 1‖, one of the projector likewise
        D = D - (outside @ D) / (outside @ outside)
        known *= 1 + math.sqrt(n) / length
    tolerance = known + 4 * n * FLOAT64_EPS * float(np.linalg.norm(D))
    across = D - X.basis.T @ (X.basis @ D)
    along = D - (D @ X.basis.T) @ X.basis
    reason = _failure(across, along, tolerance, forced)
    if reason:
        return Reach(math.inf, D, logs.exponent, tolerance, reason)
    inside = X.basis.T @ (X.basis @ D @ X.basis.T) @ X.basis
    values = np.linalg.svd(inside, compute_uv=False)
    threshold = tolerance if rtol is None else rtol * values[0]
    return Reach(int(np.count_nonzero(values > threshold)), inside, logs.exponent, tolerance)


def _failure(across: Array, along: Array, tolerance: float, forced: bool) -> str:
    gauge = "the gauge that N 1 forces" if forced else "any gauge, as N 1 = 0"
    for name, residual in (("N L", across), ("L N", along)):
        size = float(np.linalg.norm(residual))
        if size > tolerance:
            query = int(np.argmax(np.linalg.norm(residual, axis=0)))
            return (
                f"{name} = 0 fails by {size:.2e} (rounding explains {tolerance:.1e}), most for "
                f"query {query}, in {gauge}; N projects onto what the tokens do not span"
            )
    return ""


def _exact(logs: Logs, X: Tokens) -> Reach:
    D, tokens, n = logs.exact, X.exact, logs.n
    if D is None or tokens is None:
        raise TypeError("exact logits and tokens are needed")
    N = _complement(tokens, n)
    outside = [sum(row, Fraction(0)) for row in N]
    length = sum(outside, Fraction(0))  # 1^T N 1 = ‖N 1‖^2
    if length:
        gauge = [
            -sum(u * x for u, x in zip(outside, column, strict=True)) / length
            for column in zip(*D, strict=True)
        ]
        D = [[x + c for x, c in zip(row, gauge, strict=True)] for row in D]
    for name, residual in (("N L", rational_product(N, D)), ("L N", rational_product(D, N))):
        bad = [j for row in residual for j, x in enumerate(row) if x]
        if bad:
            gauge_name = "the gauge that N 1 forces" if length else "any gauge, as N 1 = 0"
            reason = (
                f"{name} = 0 fails exactly, for query {bad[0]}, in {gauge_name}; "
                "N projects onto what the tokens do not span"
            )
            return Reach(math.inf, logs.scaled, logs.exponent, reason=reason)
    logits = np.array([[float(x) for x in row] for row in D]) * logs.unit
    return Reach(prove_rank(D).rank, logits)


def _complement(tokens: Rational, n: int) -> Rational:
    """N = I - Π exactly, Π the projector onto the row space."""
    proof = prove_rank(tokens)
    rows = [tokens[i] for i in proof.rows]
    identity = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
    if not rows:
        return identity
    transposed = [list(column) for column in zip(*rows, strict=True)]
    projector = rational_product(transposed, left_inverse(transposed))
    return [
        [x - y for x, y in zip(*pair, strict=True)]
        for pair in zip(identity, projector, strict=True)
    ]
