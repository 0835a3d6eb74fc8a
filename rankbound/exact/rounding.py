"""A-priori bounds for floating-point products, computed so that they stay bounds.

The model: IEEE 754 binary64, round to nearest, and conventional products, in which every entry is
an inner product summed in any order, with or without fused multiply-adds and in any blocking. Then
(Jeannerod & Rump 2013, Theorem 4.2, and half the smallest positive number for each product that
underflows)

    |fl(x · y) - x · y| <= m u |x| · |y| + m η / 2,    m the length, u = 2^-53, η = 2^-1074.

It does not hold for Strassen-type algorithms, nor where a product is accumulated in fewer bits
(TF32, bfloat16, float16): :func:`check_model` multiplies matrices whose product is known and
refuses a BLAS that is off.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.errors import RankboundError

Array = npt.NDArray[np.float64]
U = 2.0**-53
ETA = 2.0**-1074
TINY = 2.0**-1022  # the smallest normal number
FLOAT64_EPS = 2.0 * U  # the distance from 1 to the next float64
LOG_ULPS = 4  # NumPy's logarithm and exponential are within 4 units in the last place
LOG_ERROR = LOG_ULPS * FLOAT64_EPS  # that error, relative


def up(value: Array | float, operations: int) -> Array:
    """An upper bound of a non-negative number that was computed by so many roundings.

    Sums, products, quotients and roots of non-negative numbers lose at most a factor
    ``(1 - u)^operations``; the factor ``1 + 2 (operations + 2) u`` more than undoes it. The η
    covers one operation that underflows; where many may, the caller adds theirs.
    """
    bound: Array = np.asarray(value) * (1.0 + 2.0 * (operations + 2) * U) + ETA
    return bound


def not_faint(value: Array) -> Array:
    """Lower bounds of non-negative numbers that were computed as such by relative roundings.

    Below the smallest normal number a rounding is not relative, and 0 is returned. Factors of at
    most 1 only lower a product, so one that ends above was never below on the way.
    """
    bound: Array = np.where(value < TINY, 0.0, value)
    return bound


def product_error(left: Array, right: Array) -> Array:
    """Bound ``|fl(left @ right) - left @ right|`` entrywise, batches included."""
    m = left.shape[-1]
    size = up(np.abs(left) @ np.abs(right), m)
    return up(m * U * size + m * ETA, 3)


def product_error_sums(left: Array, right: Array) -> Array:
    """Bound the row sums of ``|fl(left @ right) - left @ right|``, by products with vectors."""
    m, n = right.shape
    sizes = up(np.abs(left) @ up(np.abs(right).sum(axis=1), n), m) + m * ETA
    return up(m * U * sizes + m * n * ETA, 3)


def weyl_threshold(error: Any, shape: Sequence[int], largest: Any) -> Any:
    """What rounding can move a singular value by, for matrices of this shape (..., m, n).

    No singular value moves by more than the spectral norm of the perturbation (Weyl). `error`
    bounds that of the entries; the decomposition in float64 adds at most ``(m + n) eps`` times the
    largest singular value: one ``eps`` for each reflection from the left and from the right
    (LAPACK Users' Guide, 4.9, leaves a modest function of m and n open; max(m, n) is too small).
    """
    return error + sum(shape[-2:]) * FLOAT64_EPS * largest


def check_model() -> None:
    """Raise RankboundError where the arithmetic is not that of the model.

    Whether subnormal numbers are flushed to zero is a mode of the thread that others may set, so it
    is looked at each time; the bits of a product once per process. What SciPy's library computes
    is for :func:`check_lapack`, which the tests that use it call.
    """
    tiny, huge = np.array([[ETA]]), np.array([[2.0**1000]])
    if not (float(tiny[0, 0] * 1.0) == ETA and float((huge @ tiny)[0, 0]) == 2.0**-74):
        raise RankboundError(
            "this thread flushes subnormal numbers to zero, so no rounding bound holds. "
            "Turn that mode off (torch.set_flush_denormal(False), for one)."
        )
    _check_bits()


@cache
def _check_bits() -> None:
    n = 32
    found = np.full((n, n), 1.0 + 2.0**-46) @ np.ones((n, n))
    # the model allows n u n = n 2^-48; whoever drops the last bit is off by n 2^-46
    if not np.max(np.abs(found - n * (1.0 + 2.0**-46))) <= n * 2.0**-48:
        raise _too_few_bits("this BLAS multiplies float64 matrices")


@cache
def check_lapack() -> None:
    """Raise RankboundError where SciPy's routines are off, whose library may be another.

    Those of the proofs: Gram matrices, products with triangles and Cholesky decompositions, of 256
    rows, so that they work in blocks. All but 16 rows are 0, which leaves every sum exact, but for
    2^-80 of it; whoever drops the last bit of a factor is off by 2^-46.
    """
    from scipy.linalg.blas import dsyr, dsyrk, dtrmm
    from scipy.linalg.lapack import dpotrf

    n, terms, x = 256, 16, 1.0 + 2.0**-46
    row = np.where(np.arange(n) % 2, 1.0, x)
    A = np.zeros((n, n), order="F")
    A[:: n // terms] = row
    square = terms * np.multiply.outer(row, row)
    F = A[::2, : n // 2]  # a half of the rows, so that B below has factors I, F and I
    eye, zero = np.eye(n // 2), np.zeros((n // 2, n // 2))
    R = np.block([[eye, F], [zero, eye]])
    B = np.block([[eye, F], [F.T, eye + square[: n // 2, : n // 2]]])
    sums = x * np.cumsum(np.arange(n) % (n // terms) == 0)  # of the rows before each column
    probes = {
        "dsyrk": [
            (dsyrk(1.0, A, trans=1, lower=0), np.triu(square)),
            (dsyrk(1.0, A.T, trans=0, lower=0), np.triu(square)),
        ],
        "dsyr": [(dsyr(1.0, row, lower=0), np.triu(square) / terms)],
        "dtrmm": [(dtrmm(1.0, np.triu(np.ones((n, n))), x * (A.T > 0), side=1), sums)],
        "dpotrf": [(dpotrf(B, lower=i)[0], (R.T if i else R)) for i in (0, 1)],
    }
    for name, pairs in probes.items():
        for found, true in pairs:
            if not np.max(np.abs(found - true) / np.maximum(true, 1.0)) <= 2.0**-48:
                raise _too_few_bits(f"SciPy's {name} computes")


def _too_few_bits(which: str) -> RankboundError:
    return RankboundError(
        f"{which} with fewer than 47 bits, so no rounding bound "
        "holds. Turn reduced precision off (TF32, emulated or mixed GEMM), or use another BLAS."
    )
