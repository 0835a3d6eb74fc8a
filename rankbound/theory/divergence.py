"""Certificates of KL lower bounds, sign ranks and scales (docs/certificates.md).

What the bounds of :mod:`rankbound.theory.approximation`, :mod:`rankbound.theory.sign_rank` and
:mod:`rankbound.theory.selection` rest on, written down.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_head_size, check_real
from rankbound.certificates.certificates import ColumnBudgets, Forster, Packing, WrongSigns
from rankbound.certificates.matrices import Block, Dyadic, Matrix
from rankbound.certificates.statements import KLAbove, KLAboveOfLogits, ScaleAbove, SignRank
from rankbound.context import read_context
from rankbound.errors import InputError
from rankbound.theory.approximation import best_argument, normalised_low
from rankbound.theory.minorants import Weighted, prices
from rankbound.theory.selection import least_scale_bound
from rankbound.theory.sign_rank import cut_pattern, sign_pattern_kl_bound, sign_rank_bound

LENGTHENED = 1 + 2.0**-40  # a reach, so that rounding does not make it too short
FINE = 2.0**100  # over the grid on which minorants touch
BITS = 80  # of the numbers of a decomposition, after the point of the largest
LARGEST_POWER, MOST_ROWS = 8, 256  # of a Gram matrix in Forster's bound
RAISED = 2.0**-45  # of a threshold: what lies on it is then below


def kl_certificate(
    P: Any, head_size: int, bound: float | None = None, *, rows: bool = False
) -> ColumnBudgets | WrongSigns:
    """Return the certificate that no head of this size comes below a KL divergence from P.

    Parameters
    ----------
    P, rows : as in `Context`
        Positive, without a mask.
    bound : float, optional
        What is to be proved, in nats; unless given, :func:`rankbound.kl_lower_bound`. Of a larger
        one than the argument gives the checker rejects the certificate.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(8, seed=0)
    >>> rb.check(kl_certificate(P, 3)).accepted
    True
    """
    context, k = read_context(P, rows=rows), check_head_size(head_size)
    if context.mask is not None:
        raise InputError(f"{context.name} has hidden entries; expected a context without a mask.")
    argument = best_argument(context.P, None, k)
    wanted = argument.value if bound is None else check_real("bound", bound, least=0.0)
    statement = KLAbove(Matrix.of_floats(context.P.tolist()), k, wanted)
    if argument.thresholds is not None:
        t = argument.thresholds
        return _wrong_signs(statement, t + RAISED * np.abs(t), argument.parts)
    blocks = tuple(_block(context.P, one) for one in argument.blocks if one.value > 0)
    return ColumnBudgets(statement, blocks)


def pattern_certificate(
    H: npt.ArrayLike, epsilon: float, head_size: int, bound: float | None = None
) -> WrongSigns:
    """The certificate of :func:`rankbound.theory.sign_rank.sign_pattern_kl_bound`, P ∝ exp(ε H).

    Of its part by wrong signs, not of that by one wrong entry.
    """
    found = sign_pattern_kl_bound(H, epsilon, head_size) if bound is None else bound
    signs = np.asarray(H, np.float64)
    logits = Matrix.of_floats((epsilon * signs).tolist())
    statement = KLAboveOfLogits(logits, head_size, found)
    mean = epsilon / math.tanh(epsilon) - 1
    thresholds = mean - np.log(np.exp(epsilon * signs).sum(axis=0))
    return _wrong_signs(statement, thresholds, cut_pattern(H, epsilon, head_size)[1])


def sign_rank_certificate(H: npt.ArrayLike, lower: int | None = None) -> Forster:
    """The certificate of :func:`rankbound.sign_rank_bound`, or that a sign rank is as large.

    Examples
    --------
    >>> import rankbound as rb
    >>> from scipy.linalg import hadamard
    >>> rb.check(sign_rank_certificate(hadamard(16))).statement[-19:]
    'has rank at least 4'
    """
    least = sign_rank_bound(H) if lower is None else lower
    signs = Matrix.of_integers(np.asarray(H).tolist())
    return Forster(SignRank(signs, least), _power(min(signs.rows, signs.columns)))


def scale_certificate(n: int, head_size: int, error: float, bound: float | None = None) -> Packing:
    """The certificate of ``least_scale_bound(n, head_size, error)``, or of a scale given."""
    least = least_scale_bound(n, head_size, error) if bound is None else bound
    return Packing(ScaleAbove(n, head_size, error, least))


def _wrong_signs(statement: KLAbove | KLAboveOfLogits, thresholds: Array, parts: int) -> WrongSigns:
    return WrongSigns(statement, exact_dyadic(thresholds[None, :]), parts, _power(len(thresholds)))


def _power(rows: int) -> int:
    return LARGEST_POWER if rows <= MOST_ROWS else 1


def _block(P: Array, found: Weighted) -> Block:
    part = np.ix_(found.keys, found.queries)
    a, b = found.a, found.b
    H = np.zeros((len(a), len(b))) if found.tilt is None else found.tilt
    _, touching, reach = prices(normalised_low(P)[part], a, b, H, found.budget)
    tilted, share = np.log(P[part]) - H, a * a / np.sum(a * a)
    left, values, right = np.linalg.svd(
        a[:, None] * (tilted - share @ tilted) * b, full_matrices=False
    )
    return Block(
        tuple(found.keys),
        tuple(found.queries),
        Fraction(found.budget),
        exact_dyadic(a[:, None]),
        exact_dyadic(b[None, :]),
        exact_dyadic(H),
        exact_dyadic(np.floor(touching * FINE) / FINE),
        exact_dyadic(reach * LENGTHENED),
        *(_rounded(part) for part in (left, values[:, None], right)),
    )


def exact_dyadic(A: Array) -> Dyadic:
    """The floats as they are, over the power of two that the smallest of them needs."""
    least = int(np.frexp(A[A != 0])[1].min(initial=0)) - 53
    return _dyadic(A, least)


def _rounded(A: Array) -> Dyadic:
    return _dyadic(A, int(np.frexp(np.abs(A).max())[1]) - BITS)


def _dyadic(A: Array, exponent: int) -> Dyadic:
    unit = Fraction(2) ** exponent
    entries = tuple(round(Fraction(x) / unit) for x in A.ravel().tolist())
    return Dyadic(len(A), A.shape[1], entries, exponent)
