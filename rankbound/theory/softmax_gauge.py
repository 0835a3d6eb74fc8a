"""Lemma 1: softmax determines logits up to a constant in each column, the gauge.

``softmax(L) = softmax(L')`` iff ``L - L' = 1 c^T``. So what a context P says of its logits is log P
up to such constants, and ``log_rank(P) = rank(C log P)``, C = I - 11^T/n, is the least rank over
the gauge: C 1 = 0, and centring raises no rank. Here is what is known of log P, with a bound on the
error that data and logarithm carry, and the rank that this shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import FLOAT64, STORAGES, Array, Storage
from rankbound.attention.masks import Mask
from rankbound.context import Context
from rankbound.errors import InputError, Undecided
from rankbound.exact.elimination import prove_rank
from rankbound.exact.rational import Rationals, centred
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.spectrum import Spectrum, count_above
from rankbound.tokens import RowSpace
from rankbound.verdict import Verdict

CLEAR = 100.0  # a gap of this factor in what is counted shows the rounding of another dtype
FLOAT32 = STORAGES["float32"]


@dataclass(frozen=True, eq=False)
class Logs:
    """What is known of log P, up to a constant added to each column."""

    values: Array  # log P / 2**exponent in some gauge, 0 where hidden: nothing over- or underflows
    error: Array  # a bound on the error of each entry that the data and its logarithm carry
    exponent: npt.NDArray[np.int32]  # of shape (..., 1, 1)
    mask: Mask | None = None
    stored: Storage = FLOAT64
    declared: bool = True  # whether that dtype was said, by argument or by the data
    underflowed: bool = False  # the error is mostly that of entries near underflow
    exact: Rationals | None = None  # the logits over `unit`, where they were exact
    unit: float = 1.0
    given: Array | None = None  # P or the logits: in `values` other entries may be equal, too

    @property
    def n(self) -> int:
        """Sequence length."""
        return int(self.values.shape[-1])

    @property
    def visible(self) -> Mask:
        """The mask, also where it hides nothing."""
        return np.ones(self.values.shape, np.bool_) if self.mask is None else self.mask

    @cached_property
    def scaled(self) -> Array:
        """``C log P / 2**exponent``, for a context that nothing hides."""
        return centre(self.values)

    @cached_property
    def tolerance(self) -> Array:
        """What can move a singular value of `scaled`: the error (Weyl) and rounding.

        Centring and the decomposition each commit at most ``n u ‖C log P‖_F``, together
        ``n eps ‖C log P‖_F``.
        """
        return _norm(self.error) + self.n * FLOAT64_EPS * _norm(self.scaled)

    @cached_property
    def singular_values(self) -> Array:
        """Those of `scaled`, largest first."""
        return np.asarray(np.linalg.svd(self.scaled, compute_uv=False), np.float64)

    def less_certain(self, factor: float) -> Logs:
        """The same data with errors that are larger by a factor."""
        with np.errstate(over="ignore"):
            return replace(self, error=self.error * factor)

    def unscaled(self) -> Array:
        """`values` times ``2**exponent``; refused where differences within a column overflow."""
        with np.errstate(over="ignore", invalid="ignore"):  # reported just below
            D: Array = np.ldexp(self.values, self.exponent)
            spread = D.max(axis=-2) - D.min(axis=-2)
        if not np.isfinite(spread).all():
            raise InputError(
                "logits differ by more than 1.8e308 within a column; expected differences that "
                "float64 holds. Divide them by a power of two: no rank changes."
            )
        return D

    def spectrum(self, rtol: float | None = None) -> Spectrum:
        """Singular values of ``C log P`` and its numerical rank."""
        return self._count(rtol, self.exponent[..., 0])

    def _count(self, rtol: float | None, exponent: Any) -> Spectrum:
        return count_above(
            self.singular_values, self.tolerance, rtol, self.stored, exponent, "logits"
        )

    def rank(self, rtol: float | None = None) -> Any:
        """Rank of ``C log P``: exact where the logits were, numerical elsewhere, and guarded."""
        if self.exact is not None:
            return prove_rank(centred(self.exact)).rank
        if rtol is not None:
            return self._count(rtol, 0).rank  # a power of two changes no rank
        norm = self.n * FLOAT64_EPS * _norm(self.scaled)

        def at(factor: float) -> Any:
            tolerance = factor * _norm(self.error) + norm
            return np.count_nonzero(self.singular_values > tolerance[..., None], axis=-1)

        rank = guarded(self, at)
        return int(rank) if np.ndim(rank) == 0 else rank


def centre(log_P: Array, out: Array | None = None) -> Array:
    """``C log P``: each column less its mean, twice, so that the mean's own rounding goes too."""
    centred: Array = np.subtract(log_P, log_P.mean(axis=-2, keepdims=True), out=out)
    centred -= centred.mean(axis=-2, keepdims=True)
    return centred


def _norm(matrix: Array) -> Array:
    with np.errstate(over="ignore"):  # an error may be infinite
        return np.asarray(np.sqrt(np.sum(matrix * matrix, axis=(-2, -1))), np.float64)


def logs_of(context: Context) -> Logs:
    """What a context says of log P.

    The model: entries of P, computed in a dtype of unit ``eps``, carry a relative error of about
    ``eps``, and an absolute one of the smallest positive number where they underflow; logarithms
    add ``eps |log P|``. What P itself has lost of large logits it does not cover (see `log_rank`).
    Logits carry ``eps |L|``.
    """
    eps = context.stored.eps
    none = np.zeros((*context.batch, 1, 1), np.int32)
    known: dict[str, Any] = {
        "mask": context.mask,
        "stored": context.stored,
        "declared": context.declared,
        "given": context.values,
    }
    if context.batch and context.exact_logits:
        each = [_exact_values(one) for _, one in context.matrices()]
        values = np.array([x for x, _ in each]).reshape(context.values.shape)
        exponents = np.array([x for _, x in each], np.int32).reshape(none.shape)
        return Logs(values, np.zeros_like(values), exponents, **known)
    if context.exact is not None:
        values, exponent = _exact_values(context)
        exact: dict[str, Any] = {"exact": context.exact, "unit": context.unit}
        return Logs(values, np.zeros_like(values), none + exponent, **known, **exact)
    if context.name == "logits":
        L = context.values
        exponent = np.frexp(np.max(np.abs(L), axis=(-2, -1), keepdims=True))[1]
        values = np.ldexp(L, -exponent)
        return Logs(values, eps * np.abs(values), exponent, **known)
    P = context.values if context.mask is None else np.where(context.mask, context.values, 1.0)
    log_P = np.log(P)
    with np.errstate(over="ignore"):  # a subnormal entry may know nothing: its error is infinite
        rounding, underflow = eps * (1 + np.abs(log_P)), context.stored.smallest / P
        if context.mask is not None:
            rounding, underflow = rounding * context.mask, underflow * context.mask
        underflowed = bool(np.any(_norm(underflow) > _norm(rounding)))
        return Logs(log_P, rounding + underflow, none, **known, underflowed=underflowed)


def _exact_values(context: Context) -> tuple[Array, int]:
    """Floats of exact logits less a visible one of their column, so that nothing cancels.

    Over a power of two, whose exponent is returned, so that nothing over- or underflows.
    """
    table = context.exact or []
    if context.mask is None:
        shifted = centred(table)
    else:
        first = [table[i][j] for j, i in enumerate(np.argmax(context.mask, axis=0).tolist())]
        shifted = [
            [x - c if seen else 0 * x for x, c, seen in zip(row, first, shown, strict=True)]
            for row, shown in zip(table, context.mask.tolist(), strict=True)
        ]
    largest = max(abs(x) for row in shifted for x in row)
    exponent = largest.numerator.bit_length() - largest.denominator.bit_length()
    power = Fraction(2) ** -exponent
    return np.array([[float(x * power) for x in row] for row in shifted]) * context.unit, exponent


def lost_by_large_logits(logs: Logs, space: RowSpace, D: Array) -> float:
    """What the logits ``X^T M X`` that gave P may have lost before the softmax.

    Each has an error of up to ``2(d + 1) eps |X|^T |M| |X|``, which P need not show.
    """
    eps = 0.0 if logs.exact is not None else logs.stored.eps
    size = float(np.max(np.abs(space.tokens), initial=0.0)) or 1.0
    try:
        M = np.abs(space.weights(space.weights(D).T * size)) * size
    except InputError:  # weights that overflow
        return math.inf
    moduli = np.abs(space.tokens) / size
    return 2 * (len(M) + 1) * eps * float(np.linalg.norm(moduli.T @ M @ moduli))


def guarded(logs: Logs, answer: Callable[[float], Any]) -> Any:
    """``answer(1)``, unless the data shows the rounding of float32 by a clear gap.

    ``answer(factor)`` is the answer where the data may be off by that many times its error.
    float64 data that was computed in float32, cast or normalised since, has answers that are the
    same for errors of float32's size and 100 times that, and another for its own dtype's. Then
    both answers are raised as Undecided, whose remedy is ``stored=``.
    """
    found = answer(1.0)
    if logs.declared or logs.exact is not None:
        return found
    factor = FLOAT32.eps / logs.stored.eps
    coarse = answer(factor)
    differs = np.asarray((coarse != found) & (coarse >= 1))
    if not differs.any() or not (clear := differs & (answer(CLEAR * factor) == coarse)).any():
        return found
    place = tuple(int(i) for i in np.argwhere(clear)[0])
    fine, rough = (np.asarray(x)[place] for x in (found, coarse))
    where = f" (at {list(place)} of the batch)" if place else ""
    raise Undecided(
        f"the answer is {_count(rough)} if the data was computed in float32 and {_count(fine)} if "
        f"it was computed in float64{where}: what it hangs on is as small as the rounding of "
        "float32, after a clear gap. Pass stored=np.float32 or stored=np.float64.",
        bounds=RankBounds(
            int(min(rough, fine)),
            int(min(max(rough, fine), logs.n - 1)),
            Verdict.SUPPORTED,
            "at the rounding of float32; at that of float64",
        ),
        remedy="stored=",
    )


def _count(answer: Any) -> str:
    return str(int(answer)) if np.isfinite(answer) else "that no head has this context"


def of_each(context: Context, answer: Callable[[Context], float]) -> Any:
    """The answer for one matrix, or the array of them for a batch."""
    if not context.batch:
        return answer(context)
    found = []
    for place, one in context.matrices():
        try:
            found.append(answer(one))
        except Undecided as error:
            raise Undecided(
                f"at {list(place)} of the batch: {error}", bounds=error.bounds, remedy=error.remedy
            ) from None
    return np.array(found).reshape(context.batch)


def refuse_underflow(logs: Logs, least: int, remedy: str) -> None:
    """Raise Undecided where the logarithms of entries near underflow are unknown."""
    if logs.underflowed:
        raise Undecided(
            "entries of P are so near the smallest positive number of its dtype that their "
            f"logarithms are unknown; the log-rank is at least about {least}. To decide, {remedy}.",
            bounds=RankBounds(
                least, logs.n - 1, Verdict.SUPPORTED, "what is above rounding; the shape"
            ),
            remedy=remedy,
        )
