"""What a head of each size reaches, and what none of that size can: the two sides together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, frozen_copy
from rankbound.context import read_context
from rankbound.fitting.solve import Fit, fit_path
from rankbound.table import Column, Table, Tabular
from rankbound.theory.approximation import kl_lower_bound

__all__ = ["Bracket", "kl_bracket"]


@dataclass(frozen=True, eq=False)
class Bracket(Tabular):
    """Two sides of the least mean KL divergence from P, for each of some head sizes.

    Attributes
    ----------
    head_size : ndarray of int, shape (m,)
        The head sizes k, as they were given.
    lower : ndarray, shape (m,)
        No head of this size, on any tokens, is closer: rigorous (:func:`rankbound.kl_lower_bound`),
        without a certificate.
    upper : ndarray, shape (m,)
        The KL of a concrete head, computed in float64.
    fits : tuple of Fit
        Those heads, with the gradient and the ends of all starts: a value that more starts may
        lower.
    """

    head_size: npt.NDArray[np.int64]
    lower: Array
    upper: Array
    fits: tuple[Fit, ...]

    def table(self) -> Table:
        """Return one row per head size."""
        columns = (
            "head_size",
            Column("lower", "KL, at least"),
            Column("upper", "KL of a head"),
            Column("gradient_norm", format=".1e"),
            "converged",
        )
        sides = zip(self.head_size, self.lower, self.upper, self.fits, strict=True)
        return Table(
            columns,
            [(k, low, high, fit.gradient_norm, fit.converged) for k, low, high, fit in sides],
        )

    def to_json(self) -> str:
        """Return the rows as a JSON array."""
        return self.table().to_json()


def kl_bracket(
    P: Any,
    head_sizes: Iterable[int],
    *,
    mask: Any = None,
    seed: int = 0,
    random_starts: int = 1,
    gradient_tolerance: float = 1e-8,
    max_iterations: int = 10_000,
    stored: Any = None,
    rows: bool = False,
) -> Bracket:
    """Bracket the least mean KL divergence from P that heads of each size reach.

    The upper side is a path of fits, each size started from its neighbours too
    (:func:`rankbound.fitting.solve.fit_path`), for identity tokens: any tokens of full column rank
    do as well, others may do worse. The lower side holds for all tokens.

    Parameters
    ----------
    P : array_like, shape (n, n), or Context
        One matrix, columns sum to 1, [key, query]; zeros are allowed.
    head_sizes : iterable of int
        Different sizes, in any order.
    seed, random_starts, gradient_tolerance, max_iterations
        As in :func:`rankbound.fit_head`, for each start of each size.
    mask, stored, rows
        As in :class:`rankbound.Context`.

    Returns
    -------
    Bracket

    References
    ----------
    docs/theory.md, section 5.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(8, seed=0, law="gibbs", scale=0.3)
    >>> bracket = rb.kl_bracket(P, [1, 4, 7])
    >>> bool((bracket.lower <= bracket.upper).all()), bool(bracket.upper[2] < 1e-20)
    (True, True)
    """
    context = read_context(P, mask=mask, stored=stored, rows=rows, zeros=True)
    fits = fit_path(
        context,
        head_sizes,
        seed=seed,
        random_starts=random_starts,
        gradient_tolerance=gradient_tolerance,
        max_iterations=max_iterations,
    )
    sizes = [fit.head.head_size for fit in fits]
    bounds: dict[int, float] = {}
    best = 0.0
    for k in sorted(sizes, reverse=True):  # a bound of a larger size is one of a smaller
        best = max(best, kl_lower_bound(context, k))
        bounds[k] = best
    lower = np.array([bounds[k] for k in sizes])
    upper = np.array([fit.kl for fit in fits])
    return Bracket(frozen_copy(np.array(sizes)), frozen_copy(lower), frozen_copy(upper), fits)
