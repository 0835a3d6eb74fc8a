"""Log-probabilities up to the softmax gauge, read from a context matrix or from its logits."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_context, check_rows, check_square, storage_dtype
from rankbound.errors import InputError, InputTypeError
from rankbound.exact.elimination import prove_rank
from rankbound.exact.rational import centred, is_exact, rational_matrix
from rankbound.ranks.spectrum import FLOAT64_EPS, Spectrum, count_above

__all__ = ["Logs", "centre", "read_logs"]


@dataclass(frozen=True, eq=False)
class Logs:
    """What is known of log P, up to a constant added to each column.

    Attributes
    ----------
    scaled : ndarray, shape (..., n, n)
        ``C log P / 2**exponent`` in float64, C = I - 11^T/n: nothing over- or underflows in it.
    exponent : int ndarray, shape (..., 1, 1)
        The exponent.
    error : ndarray, shape (...)
        A bound on the Frobenius norm of the error of `scaled` that the data and its logarithm
        carry.
    dtype : numpy.dtype
        The dtype in which the data was computed.
    underflowed : bool
        Whether `error` is mostly that of entries near the smallest positive number of the dtype,
        whose logarithms are unknown.
    exact : list of list of Fraction, or None
        ``C log P`` exactly, up to one common factor, where the logits were exact.
    unit : float
        That factor.
    """

    scaled: Array
    exponent: npt.NDArray[np.int32]
    error: Array
    dtype: np.dtype[Any]
    underflowed: bool = False
    exact: list[list[Fraction]] | None = None
    unit: float = 1.0

    @property
    def tolerance(self) -> Array:
        """What can move a singular value of `scaled`: the error, centring and decomposition."""
        norm = np.sqrt(np.sum(self.scaled * self.scaled, axis=(-2, -1)))
        return np.asarray(self.error + self.n * FLOAT64_EPS * norm, np.float64)

    @property
    def n(self) -> int:
        """Sequence length."""
        return int(self.scaled.shape[-1])

    def centred(self) -> Array:
        """``C log P`` in float64; refused where differences within a column overflow."""
        with np.errstate(over="ignore", invalid="ignore"):  # reported just below
            D: Array = np.ldexp(self.scaled, self.exponent)
            spread = D.max(axis=-2) - D.min(axis=-2)
        if not np.isfinite(spread).all():
            raise InputError(
                "logits differ by more than 1.8e308 within a column; expected differences that "
                "float64 holds. Divide them by a power of two: no rank changes."
            )
        return D

    def spectrum(self, rtol: float | None = None) -> Spectrum:
        """Singular values of ``C log P`` and its numerical rank.

        The threshold is ``error`` (Weyl) plus what the computation in float64 adds: centring and
        the decomposition each commit at most ``n u ‖C log P‖_F``, together ``n eps ‖C log P‖_F``.
        """
        return self._spectrum(rtol, self.exponent[..., 0])

    def _spectrum(self, rtol: float | None, exponent: npt.NDArray[np.int32] | int) -> Spectrum:
        values = np.asarray(np.linalg.svd(self.scaled, compute_uv=False), np.float64)
        return count_above(values, self.tolerance, rtol, self.dtype, exponent)

    def rank(self, rtol: float | None = None) -> Any:
        """Rank of ``C log P``: exact where the logits were, numerical elsewhere."""
        if self.exact is not None:
            return prove_rank(self.exact).rank
        return self._spectrum(rtol, 0).rank  # a power of two changes no rank


def centre(log_P: Array) -> Array:
    """``C log P``: each column less its mean, twice, so that the mean's own rounding goes too."""
    once = log_P - log_P.mean(axis=-2, keepdims=True)
    twice: Array = once - once.mean(axis=-2, keepdims=True)
    return twice


def read_logs(
    P: Any,
    logits: Any,
    *,
    stored: npt.DTypeLike | None = None,
    rows: bool = False,
    ndim: int | None = 2,
) -> Logs:
    """Read ``C log P`` from exactly one of `P` and `logits`.

    The model: entries of P, computed in a dtype of unit ``eps``, carry a relative error of about
    ``eps``, and an absolute one of the smallest positive number where they underflow; logarithms
    add ``eps |log P|``. This covers the rounding of the logits that P was computed from only if
    these are not much larger than their differences within a column: where keys have a large
    common part, P has lost the digits that its log-rank needs, and logits= is the remedy. Logits
    carry ``eps |L|``.
    """
    if (P is None) == (logits is None):
        raise InputTypeError(
            f"{'neither' if P is None else 'both'} of P and logits given; expected exactly one: "
            "the context matrix, or the logits it is the softmax of."
        )
    if logits is not None:
        return _from_logits(logits, stored, check_rows(rows), ndim)
    context, dtype = check_context("P", P, stored=stored, rows=rows, ndim=ndim)
    log_P = np.log(context)
    info = np.finfo(dtype)
    with np.errstate(over="ignore"):  # a subnormal entry may know nothing: its error is infinite
        rounding = _norm(float(info.eps) * (1 + np.abs(log_P)))
        underflow = _norm(float(info.smallest_subnormal) / context)
    none = np.zeros((*context.shape[:-2], 1, 1), np.int32)
    underflowed = bool(np.any(underflow > rounding))
    return Logs(centre(log_P), none, rounding + underflow, dtype, underflowed)


def _norm(error: Array) -> Array:
    return np.asarray(np.sqrt(np.sum(error * error, axis=(-2, -1))), np.float64)


def _from_logits(logits: Any, stored: npt.DTypeLike | None, rows: bool, ndim: int | None) -> Logs:
    if is_exact(logits) and getattr(logits, "ndim", 2) == 2:
        return _from_exact(logits, storage_dtype("logits", (), stored), rows)
    dtype = storage_dtype("logits", logits, stored)
    L = check_square("logits", logits, ndim=ndim)
    if rows:
        L = np.swapaxes(L, -1, -2)
    exponent = np.frexp(np.max(np.abs(L), axis=(-2, -1), keepdims=True))[1]
    scaled = np.ldexp(L, -exponent)
    norm = np.sqrt(np.sum(scaled * scaled, axis=(-2, -1)))
    return Logs(centre(scaled), exponent, float(np.finfo(dtype).eps) * norm, dtype)


def _from_exact(logits: Any, dtype: np.dtype[Any], rows: bool) -> Logs:
    table, unit = rational_matrix("logits", logits)
    if len(table) != len(table[0]):
        raise InputError(
            f"logits has shape ({len(table)}, {len(table[0])}); expected (n, n), keys by queries."
        )
    if rows:
        table = [list(column) for column in zip(*table, strict=True)]
    exact = centred(table)
    try:
        floats = np.array([[float(x) for x in row] for row in exact]) * float(unit)
    except OverflowError:
        floats = np.array([[np.inf]])
    if not np.isfinite(floats).all():
        raise InputError("logits hold a number above 1.8e308; expected numbers that float64 holds.")
    return Logs(
        floats, np.zeros((1, 1), np.int32), np.zeros(()), dtype, exact=exact, unit=float(unit)
    )
