"""Quadratic minorants of a KL divergence, and what rank k does not explain under their weights.

An entry that misses log p by x costs ``p φ(x)``, ``φ(t) = t - 1 + e^{-t}``. In a column that costs
less than a budget θ every x is below T, ``p φ(T) = θ``, and there ``p φ(x) >= w (x - H)² - e`` with
the price ``e = max_{x <= T} w (x - H)² - p φ(x)``. For weights ``w = a_i² b_j²`` of rank one the
best a head of size k can do against the right sides is a truncated decomposition
(docs/theory.md, section 5, *Tilts*). Every function bounds its own rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.exact.rounding import LOG_ERROR, U, not_faint, product_error, up

SERIES = 1e-3  # in magnitude, below which φ is bounded by its series
SQUARED = 2.0**-500  # numbers from which on a square does not underflow
SWEEPS = 12  # of Sinkhorn's iteration at each of the temperatures
TEMPERATURES = (0.3, 0.1, 0.03, 0.01)  # as shares of the spread of the logarithms
DEAR = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)  # columns that may cost a budget or more
SHORT, LONG = 80, 200  # steps of an ascent: for each number of dear columns, and for the best one
RATE = 0.03  # of a step in log a and log b,
TILT_RATE = 0.6  # and in H, over what is unexplained on average
BALANCED = 10  # steps between changes of the budget
NEWTON = 3  # steps towards where a minorant touches
TILT_BITS = 40  # of a tilt that is proved: a certificate holds it
TOUCHES = 12  # more of these, where a bound is proved
MARGIN = 2.0**-36  # relative, to the left of where it touches: the slope there is positive
SPARE = 2.0**-42  # of a slope and of p/w: far above their rounding, in a certificate too
FAINT = 1e-290  # weights that underflow is near to bound nothing


@dataclass(frozen=True, eq=False)
class Weighted:
    """A bound of ``Σ p φ(Δ)`` on a block, by weights that hold for a budget, and maybe a tilt."""

    value: float
    budget: float
    a: Array
    b: Array
    tilt: Array | None = None
    keys: npt.NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    queries: npt.NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))


def phi_low(t: Array) -> Array:
    """A lower bound of ``φ(t) = t - 1 + e^{-t}``.

    Near 0 its series, ``t²/2 - t³/6``, whose next term is positive and whose signs alternate for
    t > 0 and agree for t < 0; elsewhere each rounding is at most that of the larger of t and
    ``e^{-t} - 1``, and up to 1 ``φ(t) >= t²/3`` keeps them small beside it.
    """
    small = np.clip(t, -SERIES, SERIES)
    series = small * small * (0.5 - small / 6) * (1 - 8 * U)
    grown = np.expm1(-t)
    error = (2 * LOG_ERROR + 4 * U) * np.maximum(np.abs(t), np.abs(grown))
    return not_faint(np.where(np.abs(t) < SERIES, series, np.maximum((t + grown) - error, 0.0)))


def phi_threshold(y: Array) -> tuple[Array, Array]:
    """T with ``φ(T) >= y`` and a lower bound of ``φ(T)/T²``, which is at most 1/2 and decreases."""
    T = np.sqrt(2 * y) + y  # above the root, as φ(t) >= t²/2 - t³/6 and φ(t) >= t - 1
    for _ in range(8):  # Newton from above on a convex function stays above, up to rounding
        with np.errstate(divide="ignore", invalid="ignore"):
            step = (T + np.expm1(-T) - y) / -np.expm1(-T)
        T = np.where((T >= SERIES) & np.isfinite(step), np.maximum(T - step, np.sqrt(2 * y)), T)
    T = T * (1 + 1e-9)
    for _ in range(60):
        short = _falls_short(T, y)
        if not short.any():
            break
        T = np.where(short, T * (1 + 1e-6) + 1e-300, T)
    else:
        T = np.where(short, np.inf, T)  # no threshold was found: no weight
    with np.errstate(invalid="ignore"):
        ratio = np.where(
            T < SERIES, (0.5 - T / 6) * (1 - 8 * U), phi_low(T) / (T * T) * (1 - 4 * U)
        )
    return T, np.where(np.isfinite(T) & (T > 0), ratio, 0.0)


def _falls_short(T: Array, y: Array) -> Array:
    """Whether ``φ(T) >= y`` is not shown; by roots of its series where squares underflow."""
    root = T * np.sqrt(0.5 - np.minimum(T, SERIES) / 6) * (1 - 8 * U)
    found: Array = np.where(T < SQUARED, root < np.sqrt(y) * (1 + 4 * U), phi_low(T) < y)
    return found


def rank_one_minorant(W: Array, mass: Array, start: Array | None = None) -> tuple[Array, Array]:
    """a, b > 0 with ``(a_i b_j)² <= W_ij``, as large as possible on average over `mass`.

    In logarithms that is a linear program, dual to optimal transport with cost log W: Sinkhorn's
    iteration comes near, and two exact steps make it feasible and tight. `start` holds
    logarithms of b² to start from.
    """
    w = np.log(W)
    total = mass.sum()
    rows, columns = (np.log(np.maximum(mass.sum(axis=x) / total, 1e-12)) for x in (1, 0))
    g = w.min(axis=0) if start is None else start
    spread = float(w.max() - w.min())
    for temperature in (t * spread for t in TEMPERATURES if spread > 1e-9):
        f = -temperature * _log_sum_exp((g - w) / temperature + columns, 1)
        g = -temperature * _log_sum_exp((f[:, None] - w) / temperature + rows[:, None], 0)
        # the other sweeps scale this plan, whose columns have their mass, and so none overflows
        plan = np.exp((f[:, None] + g - w) / temperature + rows[:, None] + columns)
        r, c, v = np.exp(rows), np.exp(columns), np.ones(len(g))
        with np.errstate(all="ignore"):  # a row that underflows: g stays as it is, which is sound
            for _ in range(SWEEPS - 1):
                v = c / ((r / (plan @ v)) @ plan)
            scaled = g + temperature * np.log(v)
        g = scaled if np.isfinite(scaled).all() else g
    f = (w - g).min(axis=1)
    g = (w - f[:, None]).min(axis=0)
    a, b = np.exp(f / 2), np.exp(g / 2)
    excess = float(np.max(np.square(np.multiply.outer(a, b)) / W))
    return a * (1 - 16 * U) / np.sqrt(max(excess, 1.0)), b


def _log_sum_exp(x: Array, axis: int) -> Array:
    """Of a matrix, which it overwrites: this is where the bounds spend their time."""
    top = np.maximum.reduce(x, axis=axis, keepdims=True)
    np.exp(np.subtract(x, top, out=x), out=x)
    return np.asarray(top.ravel() + np.log(np.add.reduce(x, axis=axis)))


@dataclass(frozen=True, eq=False)
class Explained:
    """What no matrix of rank k and no gauge explains of ``diag(a) ℓ diag(b)``.

    ``tail`` bounds ``min ‖diag(a) (ℓ + 1 c^T) diag(b) - M‖_F²`` over c and rank M <= k from below,
    ``tails`` that for k = 0, 1, …; ``columns`` bounds the squared norms of the columns from above,
    the gauge chosen best for each;
    ``mass`` estimates the squares of the entries of the unexplained part.
    """

    tail: float
    tails: Array
    columns: Array
    mass: Array


def explained(ell: Array, a: Array, b: Array, k: int, tilt: Array | float = 0.0) -> Explained:
    """Bound the unexplained part of ``ℓ - tilt``, ℓ logarithms within 4 units in the last place.

    The gauge is projected out: ``M = diag(a) (ℓ - 1 m^T) diag(b)``, m the means of ℓ with weights
    a². The distance from the matrices of rank k moves by no more than the Frobenius norm of an
    error; the singular values of ``U S V^T`` are at least ``σ_min(U) σ_min(V)`` times those of S.
    """
    rows = len(a)
    share = a * a / np.sum(a * a)
    tilted, sizes = ell - tilt, np.abs(ell) + np.abs(tilt)
    mean = share @ tilted
    M = a[:, None] * (tilted - mean) * b
    size = up(share @ sizes, rows + 8)
    slack = up(
        a[:, None] * ((LOG_ERROR + 10 * U) * sizes + (LOG_ERROR + (3 * rows + 26) * U) * size) * b,
        8,
    )
    error = float(up(float(np.linalg.norm(slack)), slack.size))
    left, s, right = np.linalg.svd(M, full_matrices=False)
    rebuilt = (left * s) @ right
    miss = (
        np.abs(M - rebuilt)
        + product_error(left * s, right)
        + 4 * U * np.abs(left) @ (s[:, None] * np.abs(right))
    )
    residual = float(up(float(np.linalg.norm(up(miss, 8))), miss.size))
    shrink = _shrink(_defect(left.T), _defect(right))
    sums = np.append(np.cumsum((s * s)[::-1])[::-1], 0.0)
    unexplained = np.sqrt(sums) * (1 - (len(s) + 4) * U)
    tails = np.square(np.maximum(unexplained * shrink - residual - error, 0.0) * (1 - 8 * U))
    tails = not_faint(tails * (1 - 4 * U))
    lengths = up(np.linalg.norm(M, axis=0), rows + 4) + up(np.linalg.norm(slack, axis=0), rows + 4)
    rest = (left[:, k:] * s[k:]) @ right[k:]
    return Explained(float(tails[min(k, len(s))]), tails, up(lengths * lengths, 4), rest * rest)


def _shrink(left: float, right: float) -> float:
    """``(1 - left)(1 - right)``, rounded down: three roundings are covered, of 8 u given away."""
    return (1 - left) * (1 - right) * (1 - 8 * U)


def _defect(basis: Array) -> float:
    """An upper bound of ``‖B B^T - I‖_F`` for rows that should be orthonormal, at most 1."""
    gram = basis @ basis.T
    off = np.abs(gram - np.eye(len(gram))) + product_error(basis, basis.T)
    return min(float(up(float(np.linalg.norm(up(off, 4))), off.size)), 1.0)


def judged(
    tails: Array, columns: Array, budget: float, k: int, price: Array | None = None
) -> float:
    """The best bound over the number of dear columns, those that cost a budget or more.

    ``columns`` bounds squared norms from above; what t dear columns take from the tail is at most
    the t largest of these, less their prices and what they cost, and at most t singular values.
    """
    n = len(columns)
    paid = np.zeros(n) if price is None else price.sum(axis=0)
    count = 0 if price is None else price.size
    excess = columns - paid * (1 - 2 * (count + 2) * U) - budget
    excess += 4 * U * (columns + paid + budget)
    by_norm, by_rank = left_over(tails, up(np.maximum(excess, 0.0), 2), budget, k, n)
    few = np.maximum(by_norm, by_rank) * (1 - 4 * U) - up(float(paid.sum()), count)
    few = np.minimum.accumulate(few - 4 * U * np.abs(few))
    many = np.append(np.arange(1, n + 1) * budget * (1 - 4 * U), np.inf)
    return float(max(np.max(np.minimum(few, many)), 0.0))


def left_over(tails: Array, excess: Array, budget: float, k: int, most: int) -> tuple[Array, Array]:
    """What is unexplained and paid where 0, 1, …, `most` columns are dear: by norms, by rank."""
    dear = np.arange(most + 1)
    largest = np.sort(np.maximum(excess, 0.0))[::-1][:most]
    lost = up(np.append(0.0, np.cumsum(largest)), 2 * most)
    return tails[min(k, len(tails) - 1)] - lost, tails[
        np.minimum(k + dear, len(tails) - 1)
    ] + dear * budget


# tilts


def raised(ell: Array, p: Array, k: int, start: Weighted) -> Weighted:
    """The best bound met by ascent in a, b and H, and what it rests on; `start` if none is better.

    From the number of dear columns that the start is best at, more and fewer of them are tried
    while that raises the bound; the ascent goes on from the best.
    """
    if not (start.budget > 0 and start.a.all()):
        return start
    wanted = start.value / start.budget
    places = [i for i, m in enumerate(DEAR) if m < min(len(p) - 1 - k, p.shape[1])]
    first = min(places, key=lambda i: abs(DEAR[i] + 1 - wanted))
    point = Point(start.budget, DEAR[first], np.log(start.a), np.log(start.b), np.zeros_like(p))
    best = found = _ascended(ell, p, k, point, SHORT)
    for step in (1, -1):
        place, last = first + step, found
        while place in places:
            last = _ascended(ell, p, k, last.with_dear(DEAR[place]), SHORT)
            if last.value <= best.value:
                break
            best, place = last, place + step
        if best is not found:
            break
    last = _ascended(ell, p, k, best, LONG)
    return max([start, *(proved(ell, p, k, one) for one in (best, last))], key=lambda x: x.value)


@dataclass(frozen=True, eq=False)
class Point:
    """Where an ascent is: log a, log b and H, for a budget and a number of dear columns."""

    budget: float
    dear: int
    key_weights: Array
    query_weights: Array
    tilt: Array
    value: float = -np.inf

    def with_dear(self, dear: int) -> Point:
        """With another number of dear columns, and about the budget that goes with it."""
        budget = self.budget * ((self.dear + 1) / (dear + 1)) ** 0.8
        return replace(self, budget=budget, dear=dear, value=-np.inf)


def _ascended(ell: Array, p: Array, k: int, start: Point, steps: int) -> Point:
    """The best of so many steps along the gradient, each coordinate at its own rate (Adam).

    Every `BALANCED` steps the budget moves to where both cases of the bound are equal.
    """
    point = best = replace(start, value=-np.inf)
    dear, budget = start.dear, start.budget
    T, x = phi_threshold(budget / p)[0], np.zeros_like(p)
    parts = [start.key_weights, start.query_weights, start.tilt]
    mean, square = [[np.zeros_like(one) for one in parts] for _ in range(2)]
    rates = [RATE, RATE, 0.0]
    for t in range(1, steps + 1):
        with np.errstate(all="ignore"):
            value, gradient, x, size = _slope(ell, p, k, point, T, x)
        if not np.isfinite(value):
            break
        rates[2] = rates[2] or TILT_RATE * size
        reached = min(value, (dear + 1) * budget)
        if reached > best.value:
            best = replace(point, value=reached)
        for i, part in enumerate(gradient):
            mean[i] = 0.9 * mean[i] + 0.1 * part / budget
            square[i] = 0.98 * square[i] + 0.02 * (part / budget) ** 2
            rate = rates[i] * (1.01 - t / steps) / (1 - 0.9**t)
            parts[i] = parts[i] + rate * mean[i] / (np.sqrt(square[i] / (1 - 0.98**t)) + 1e-12)
        if t % BALANCED == 0:
            share = np.sqrt(max(value / ((dear + 1) * budget), 0.0))
            budget *= float(np.clip(share, 1 / 1.5, 1.5))
            T = phi_threshold(budget / p)[0]
        point = Point(budget, dear, parts[0], parts[1], parts[2])
    return best


def _slope(
    ell: Array, p: Array, k: int, point: Point, T: Array, x: Array
) -> tuple[float, tuple[Array, Array, Array], Array, float]:
    """The bound without its case (m + 1) θ, its gradient, where minorants touch, and a size.

    The bound is a least value, over matrices of rank k and over errors x, of what is linear in w
    and w H; so its derivatives are those at the minimisers.
    """
    a, H = np.exp(point.key_weights), point.tilt
    D = np.multiply.outer(a, np.exp(point.query_weights))
    w = D * D
    x = np.minimum(touching(p, w, H, x), T)
    inside = np.minimum(np.log(p / (2 * w)), T) - x
    peak = w * (x - H) ** 2 - p * (x + np.expm1(-x))
    peak += np.maximum(2 * w * (x - H) + p * np.expm1(-x), 0.0) * np.maximum(inside, 0.0)
    end = w * (T - H) ** 2 - point.budget
    price, at = np.maximum(peak, end), np.where(end > peak, T, x)
    M = D * (ell - H)
    unit = a / np.linalg.norm(a)
    M -= np.multiply.outer(unit, unit @ M)
    if not np.isfinite(M).all():
        return -np.inf, (a, a, M), x, 0.0
    left, s, right = np.linalg.svd(M, full_matrices=False)
    tails = np.append(np.cumsum((s * s)[::-1])[::-1], 0.0)
    excess = np.sum(M * M - price, axis=0) - point.budget
    by_norm, by_rank = left_over(tails, excess, point.budget, k, point.dear)
    few = np.maximum(by_norm, by_rank)
    dear = int(np.argmin(few))
    value = float(few[dear] - np.sum(price))
    r = k if by_norm[dear] >= by_rank[dear] else k + dear
    miss = ((left[:, r:] * s[r:]) @ right[r:]) / D  # of ℓ - H, at the nearest matrix
    size = float(np.sqrt(tails[k] / np.sum(w)))
    slope = miss**2 - (at - H) ** 2
    tilt = miss - (at - H)
    if r == k and dear:
        out = np.argsort(-excess)[:dear]
        out = out[excess[out] > 0]
        whole = M[:, out] / D[:, out]
        slope[:, out] -= whole**2 - (at - H)[:, out] ** 2
        tilt[:, out] -= whole - (at - H)[:, out]
    slope *= 2 * w
    return value, (slope.sum(axis=1), slope.sum(axis=0), -2 * w * tilt), x, size


def touching(p: Array, w: Array, H: Array, near: Array) -> Array:
    """Where ``w (x - H)² - p φ(x)`` is largest among the x at which it is concave, nearly.

    That is ``x <= log r``, r = p/(2 w). There the derivative is positive as far as
    ``x + log(1 + (H - x)/r)`` is negative, which is concave and grows up to H + r - 1. If that is
    below log r it stays negative; else it has one zero, and Newton's method is on its left after
    one step.
    """
    r = p / (2 * w)
    last = np.log(r)
    x = np.minimum(near, last)
    for _ in range(NEWTON):
        inner = np.maximum(r + H - x, 1 + 1e-12)
        x = x - (x + np.log(inner / r)) / (1 - 1 / inner)
        x = np.minimum(np.maximum(x, -600.0), last)
    return np.where(H + (r - 1) < last, last, x)


def proved(ell: Array, p: Array, k: int, point: Point) -> Weighted:
    """The bound at a point of an ascent, with every rounding bounded."""
    a, b, H = np.exp(point.key_weights), np.exp(point.query_weights), point.tilt
    unit = np.ldexp(1.0, int(np.frexp(np.abs(H).max())[1]) - TILT_BITS)
    H = np.round(H / unit) * unit
    price, _, _ = prices(p, a, b, H, point.budget)
    value = 0.0
    if np.isfinite(price).all():
        found = explained(ell, a, b, k, H)
        value = judged(found.tails, found.columns, point.budget, k, price)
    return Weighted(value, point.budget, a, b, H)


def prices(p: Array, a: Array, b: Array, H: Array, budget: float) -> tuple[Array, Array, Array]:
    """Upper bounds of ``max_{x <= T} w (x - H)² - p φ(x)``, where tangents touch, and T.

    ``p φ(T) >= budget``. From ``x_0 = log(p/(2 w))`` on the function is convex, so at most what it
    is at x_0 and T. Up to x_0 it is concave, so below its tangent at z, z <= x_0; where that rises,
    below the tangent's value at the smaller of T and x_0, and ``x_0 - z <= p e^{-z}/(2 w) - 1``.
    """
    w, z = np.square(np.multiply.outer(a, b)), np.zeros_like(H)
    T = phi_threshold(up(budget / p, 2))[0]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(TOUCHES):
            z = touching(p, w, H, z)
        z = np.minimum(z, T)
        z = z - MARGIN * np.abs(z)
        for i in range(TOUCHES):
            straight, bent = 2 * w * (z - H), p * np.expm1(-z)
            error = SPARE * (np.abs(straight) + np.abs(bent))
            ratio = p * np.exp(-z) / (2 * w)
            holds = (straight + bent >= error) & (ratio * (1 - SPARE) >= 1)
            if holds.all():
                break
            z = np.where(holds, z, z - MARGIN * 8.0**i * (np.abs(z) + np.abs(H) + U))
        square, paid = up(up(w, 3) * np.square(z - H), 4), p * phi_low(z)
        room = np.minimum(ratio * (1 + SPARE) - 1, up(np.maximum(T - z, 0.0), 1))
        rise = up((straight + bent + error) * np.maximum(room, 0.0), 8)
        peak = square - paid + rise + 8 * U * (square + paid + rise)
        square, paid = up(up(w, 3) * np.square(T - H), 4), p * phi_low(T)
        end = square - paid + 8 * U * (square + paid)
        price = np.maximum(np.maximum(peak, end), 0.0)
    return np.where(holds & (w > FAINT) & np.isfinite(price), price, np.inf), z, T
