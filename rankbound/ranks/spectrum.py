"""Singular values with the threshold that separates them from rounding, and the ranks they show.

Ranks here are computed in floating point, and say so. ``A`` is an array of shape (..., m, n), real
and finite; over a batch an array of numbers is returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rankbound._validate import (
    Array,
    Storage,
    check_matrix,
    check_real,
    frozen_copy,
    storage_dtype,
)
from rankbound.errors import InputError
from rankbound.exact.rounding import weyl_threshold
from rankbound.records import Record


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum(Record):
    """Singular values and the rank they show; all but `stored` are arrays over a batch.

    The gap is the smallest value kept over the largest dropped, ``inf`` where nothing is kept,
    nothing is dropped or what is dropped is 0. Near 1 it says that the rank is a matter of taste.

    Examples
    --------
    >>> import numpy as np
    >>> import rankbound as rb
    >>> found = rb.spectrum(np.diag([3.0, 2.0, 0.0]))
    >>> found.values.tolist(), found.rank
    ([3.0, 2.0, 0.0], 2)
    """

    values: Array  # (..., min(m, n)), largest first
    tolerance: Any  # what rounding can move a singular value by
    rank: Any  # the number of values above the tolerance
    gap: Any  # the smallest value kept over the largest dropped
    stored: Storage  # the dtype from which the tolerance was derived

    formula: ClassVar[str] = r"\operatorname{rank} = \#\{r : s_r > %(tolerance)s\} = %(rank)s"

    def plot(self, ax: Any = None) -> Any:
        """Draw the values of one matrix against their number, with the tolerance; return the axes.

        The axis of values is logarithmic, unless all are 0.

        Examples
        --------
        >>> import rankbound as rb
        >>> axes = rb.spectrum([[1.0, 2.0], [2.0, 4.0]]).plot()
        """
        from rankbound.canvas import BLUE, GREY, dress, label, note, panel

        if self.values.ndim != 1:
            raise InputError(
                f"these are spectra of shape {self.values.shape}; expected that of one matrix."
            )
        number = np.arange(1, len(self.values) + 1)
        seen = self.values > 0
        with panel(ax, (3.25, 2.4)) as axes:
            if seen.any():
                axes.set_yscale("log")
            else:  # 0 has no place on a logarithmic axis
                seen = ~seen
                axes.set_yticks([0])
                note(axes, "all values are 0")
            axes.plot(number[seen], self.values[seen], "o", color=BLUE, gid="values")
            axes.locator_params(axis="x", integer=True, min_n_ticks=1)
            axes.axhline(self.tolerance, color=GREY, ls="--", gid="tolerance")
            label(axes, x="$r$", y="singular value $s_r$", title=f"rank {self.rank}")
            dress(axes)
        return axes


def spectrum(
    A: npt.ArrayLike, rtol: float | None = None, stored: npt.DTypeLike | None = None
) -> Spectrum:
    """Singular values of a matrix and its numerical rank, with threshold and gap.

    By Weyl's inequality a perturbation E moves no singular value by more than ``‖E‖_2``. Two
    perturbations are bounded: the entries of `A` are each within one ``eps`` of the dtype in which
    it was computed, so ``‖E‖_2 <= ‖E‖_F <= eps(stored) ‖A‖_F``; and the decomposition in float64
    is backward stable, ``‖E‖_2 <= (m + n) eps(float64) ‖A‖_2`` (LAPACK Users' Guide, 4.9).
    The threshold is their sum. Where `A` is a long product computed in low precision its entries
    are further off than one ``eps``: pass `rtol`.

    Parameters
    ----------
    A : array_like, shape (..., m, n)
    rtol : float, optional
        Replaces the derived threshold by ``rtol * values[..., 0]``.
    stored : dtype, optional
        The dtype in which `A` was computed, where the array no longer shows it.

    Examples
    --------
    >>> import rankbound as rb
    >>> s = rb.spectrum([[1.0, 2.0], [2.0, 4.0]])
    >>> s.rank
    1
    """
    return named_spectrum("A", A, rtol, stored)


def named_spectrum(
    name: str, A: npt.ArrayLike, rtol: float | None = None, stored: npt.DTypeLike | None = None
) -> Spectrum:
    """:func:`spectrum` of a matrix that messages call by this name."""
    dtype = storage_dtype(name, A, stored)
    matrix, rtol = check_matrix(name, A), check_rtol(rtol)
    values, scale = singular_values(matrix)
    scaled = np.ldexp(matrix, -scale)
    frobenius = np.sqrt(np.sum(scaled * scaled, axis=(-2, -1)))
    tolerance = weyl_threshold(dtype.eps * frobenius, matrix.shape, values[..., 0])
    return count_above(values, tolerance, rtol, dtype, scale[..., 0], name)


def check_rtol(rtol: float | None) -> float | None:
    """Return `rtol` as a float of at least 0, or None."""
    return None if rtol is None else check_real("rtol", rtol, least=0.0)


def singular_values(A: Array) -> tuple[Array, npt.NDArray[np.int32]]:
    """Singular values of ``A / 2**scale``, and `scale` (..., 1, 1), so that nothing overflows."""
    largest = np.max(np.abs(A), axis=(-2, -1), keepdims=True)
    scale = np.frexp(largest)[1]
    return np.linalg.svd(np.ldexp(A, -scale), compute_uv=False), scale


def count_above(
    values: Array,
    tolerance: Any,
    rtol: float | None,
    dtype: Storage,
    scale: npt.NDArray[np.int32] | int = 0,
    name: str = "A",
) -> Spectrum:
    """Build the record: count the values above the tolerance, or above ``rtol * values[0]``.

    `values` and `tolerance` are those of the matrix, of this name, divided by ``2**scale``.
    """
    if rtol is not None:
        with np.errstate(over="ignore"):  # nothing is above an infinite threshold
            tolerance = rtol * values[..., 0]
    tolerance = np.asarray(tolerance)
    rank = np.sum(values > tolerance[..., None], axis=-1)
    gap = _gap(values, rank)
    values = frozen_copy(unscaled(values, scale, name, name, "its rank does not change"))
    with np.errstate(over="ignore"):
        tolerance = np.ldexp(tolerance[..., None], scale)[..., 0]
    if values.ndim == 1:
        return Spectrum(values, float(tolerance), int(rank), float(gap), dtype)
    return Spectrum(values, frozen_copy(tolerance), frozen_copy(rank), frozen_copy(gap), dtype)


def _gap(values: Array, rank: npt.NDArray[np.int64]) -> Array:
    padded = np.concatenate(  # a kept value above and a zero below, where one side is missing
        [np.full_like(values[..., :1], np.inf), values, np.zeros_like(values[..., :1])], axis=-1
    )
    kept = np.take_along_axis(padded, rank[..., None], axis=-1)[..., 0]
    dropped = np.take_along_axis(padded, rank[..., None] + 1, axis=-1)[..., 0]
    with np.errstate(over="ignore"):  # a ratio above 1.8e308 is as good as infinite
        gap: Array = np.divide(kept, dropped, out=np.full_like(kept, np.inf), where=dropped > 0)
    return gap


def numerical_rank(
    A: npt.ArrayLike, rtol: float | None = None, stored: npt.DTypeLike | None = None
) -> Any:
    """Count the singular values above the threshold of :func:`rankbound.spectrum`.

    ``spectrum(A, rtol, stored).rank``: an int, or an integer array over a batch.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.numerical_rank([[1, 0], [0, 1e-17]])
    1
    """
    return spectrum(A, rtol, stored).rank


def effective_rank(A: npt.ArrayLike) -> Any:
    """Exponential of the entropy of the normalised singular values.

    ``exp(-Σ p_i log p_i)`` with ``p = sigma / sum(sigma)`` (Roy & Vetterli 2007, Definition 1);
    between 1 and the rank. The zero matrix, for which it is not defined there, has 0 here. A is
    (..., m, n); a batch of matrices gives an array.

    Examples
    --------
    >>> import numpy as np
    >>> import rankbound as rb
    >>> [round(rb.effective_rank(np.diag([1.0, s])), 3) for s in (1.0, 0.1, 0.0)]
    [2.0, 1.356, 1.0]
    """
    return _plain(effective_rank_of_values(singular_values(check_matrix("A", A))[0]))


def effective_rank_of_values(values: Array) -> Array:
    """Effective rank from singular values (..., r)."""
    total = values.sum(axis=-1, keepdims=True)
    p = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)
    return np.where(total[..., 0] > 0, np.exp(entropy), 0.0)


def stable_rank(A: npt.ArrayLike) -> Any:
    """Squared Frobenius norm over squared spectral norm.

    ``sum(sigma**2) / max(sigma)**2`` (Rudelson & Vershynin 2007); between 1 and the rank. The zero
    matrix has 0. A is (..., m, n); a batch of matrices gives an array.

    Examples
    --------
    >>> import numpy as np
    >>> import rankbound as rb
    >>> rb.stable_rank(np.diag([2.0, 1.0, 1.0]))
    1.5
    """
    values = singular_values(check_matrix("A", A))[0]
    ratio = np.divide(values, values[..., :1], out=np.zeros_like(values), where=values[..., :1] > 0)
    return _plain(np.sum(ratio * ratio, axis=-1))


def _plain(array: Array) -> Any:
    return float(array) if np.ndim(array) == 0 else array


def unscaled(values: Array, scale: Any, name: str, divide: str, since: str) -> Array:
    """``values * 2**scale``, if float64 holds them; `divide` and `since` are the remedy."""
    with np.errstate(over="ignore"):  # reported just below
        unscaled: Array = np.ldexp(values, scale)
    if not np.isfinite(unscaled).all():
        raise InputError(
            f"{name}: a singular value is above 1.8e308; expected one that float64 holds. "
            f"Divide {divide} by a power of two: {since}."
        )
    return unscaled
