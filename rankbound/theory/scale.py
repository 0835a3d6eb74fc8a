"""The price of scale: how large logits must be for a small head to select one key per query.

docs/theory.md, section 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_head_size, check_int, check_matrix, check_real
from rankbound.attention.head import AttentionHead
from rankbound.errors import InputError
from rankbound.exact.rounding import ETA, check_model, product_error, up

MOST_KEYS = 2**53
MOST_CAPS = 4096  # head sizes beyond are left to the other bounds, which are then the better ones


@dataclass(frozen=True, eq=False)
class ScaleBounds:
    """Lower bounds of the scale β of a head that selects n different keys, each proved.

    Attributes
    ----------
    volume : float
        ``(n^{1/d} - 1)/2 · g``, ``g = log((1 - ε)/ε)``: keys are at least g/max‖q‖ apart, so balls
        around them are disjoint.
    caps : float
        ``((n/w)^{2/(d-1)} - 1)/4 · g``, w the surface of the unit ball over the volume of the unit
        ball one dimension lower: caps of the hull of the keys are disjoint. For d = 1 and n > 2 it
        is infinite.
    average : float
        ``(1 - 1/n) log((n - 1)(1 - ε)/ε)``, for every head size; it is reached for d >= n - 1.
    plane : float
        ``g/(1 - cos(2π/n))`` for d = 2 and n > 2, and 0 elsewhere.
    """

    volume: float
    caps: float
    average: float
    plane: float

    @property
    def best(self) -> float:
        """The largest of them."""
        return max(self.volume, self.caps, self.average, self.plane)


def least_scale_bound(n: int, head_size: int, error: float) -> float:
    """How large logits must be for a head of this size to select n different keys, at least.

    *Price of scale.* Let n queries put a probability of at least 1 - ε on n different keys (so do
    all contexts within ε in total variation of a permutation), at head size d, whatever the other
    keys and queries are. Then ``β = max_j ‖q_j‖ · max_i ‖k_i‖``, the temperature included, is at
    least each of the four bounds of :class:`ScaleBounds`; the best is returned, rounded down. It
    is infinite where no scale is enough: head size 1 selects at most two keys. The volume bound
    is that of Weller, Boratko, Naim & Lee 2025, Theorem 1.

    Examples
    --------
    >>> [round(least_scale_bound(1024, d, error=1e-3), 2) for d in (2, 4, 8, 1023)]
    [366898.19, 60.68, 13.82, 13.82]
    """
    return scale_bounds(n, head_size, error).best


def scale_bounds(n: int, head_size: int, error: float) -> ScaleBounds:
    """The four bounds behind :func:`least_scale_bound`, each rounded down.

    Examples
    --------
    >>> bounds = scale_bounds(1024, 4, error=1e-3)
    >>> round(bounds.volume, 2), round(bounds.caps, 2), bounds.plane
    (16.08, 60.68, 0.0)
    """
    from mpmath.ctx_iv import MPIntervalContext

    n = check_int("n", n, least=1, most=MOST_KEYS)
    d, error = check_head_size(head_size), check_share(error)
    iv: Any = MPIntervalContext()
    iv.prec = 106
    if n == 1:
        return ScaleBounds(0.0, 0.0, 0.0, 0.0)
    # no key is nearer to the selected one's logit
    gap = iv.log((1 - iv.mpf(error)) / iv.mpf(error))
    mean_gap = iv.log((n - 1) * (1 - iv.mpf(error)) / iv.mpf(error))
    volume = caps = plane = 0.0
    if error < 0.5:
        volume = _down((iv.exp(iv.log(n) / d) - 1) / 2 * gap)
        caps = _caps(iv, n, d, gap)
        if d == 2 and n > 2:
            plane = _down(gap / (2 * iv.sin(iv.pi / n) ** 2))
    return ScaleBounds(volume, caps, _down(mean_gap * (n - 1) / n), plane)


def check_share(error: Any) -> float:
    """Return a total variation strictly between 0 and 1."""
    share = check_real("error", error, above=0.0)
    if not share < 1:
        raise InputError(
            f"error is {share}; expected a total variation below 1, which every context meets."
        )
    return share


def _caps(iv: Any, n: int, d: int, gap: Any) -> float:
    if d == 1:
        return math.inf if n > 2 else 0.0
    if d > MOST_CAPS:
        return 0.0
    share = n / _surface_ratio(iv, d)
    return _down((iv.exp(2 * iv.log(share) / (d - 1)) - 1) / 4 * gap)


def _surface_ratio(iv: Any, d: int) -> Any:
    """``d κ_d/κ_{d-1}``, κ_d the volume of the unit ball, by Wallis' formula."""
    m = d // 2
    middle = math.comb(2 * m, m)
    if d % 2:
        return iv.mpf(2) * 4**m / middle
    return iv.pi * d * middle / 4**m


def _down(interval: Any) -> float:
    """A float below the interval; 0 is one for a scale, which is never negative."""
    value = float(interval.a)  # to nearest
    return max(0.0, math.nextafter(value, 0.0)) if value > 0 else 0.0


def head_scale(head: AttentionHead, *, X: npt.ArrayLike | None = None) -> float:
    """Bound the scale of a head, ``β = |scale| max_j ‖q_j‖ max_i ‖k_i‖``, from above.

    No logit is larger in magnitude. Tokens X None mean the identity; the bound is infinite where
    the squares overflow.

    Examples
    --------
    >>> import rankbound as rb
    >>> head = rb.AttentionHead(W_q=[[0.0, 3.0], [0.0, 4.0]], W_k=[[0.0, 6.0], [2.0, 8.0]], scale=2)
    >>> round(head_scale(head), 9)
    100.0
    """
    check_model()
    tokens = None if X is None else check_matrix("X", X, ndim=2)
    keys, queries = np.abs(head.keys(tokens)), np.abs(head.queries(tokens))
    if head.scale == 0:
        return 0.0
    with np.errstate(over="ignore", under="ignore"):
        if tokens is not None:
            keys = up(keys + product_error(head.W_k, tokens), 1)
            queries = up(queries + product_error(head.W_q, tokens), 1)
        # the product of norms, of which neither is below the smallest number, may underflow once
        largest = up(longest(keys) * longest(queries), 1)
        return float(up(abs(head.scale) * largest, 1))


def longest(columns: Array) -> float:
    """An upper bound of the largest Euclidean norm of a column."""
    m = len(columns)
    with np.errstate(over="ignore", under="ignore"):
        squares = np.sum(np.square(columns), axis=0) + m * ETA  # each square may underflow
        return float(up(np.sqrt(up(squares, 2 * m)), 1).max())


def unit_columns(columns: Array) -> Array:
    """The columns divided by their Euclidean lengths."""
    scaled: Array = columns / np.sqrt(np.sum(columns * columns, axis=-2, keepdims=True))
    return scaled
