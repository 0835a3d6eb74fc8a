"""Which keys can win a query, each answer with a witness that is checked exactly.

Guesses come from directions and from linear programs in floats; each is checked. What they leave
open is decided over the rationals, by a simplex method on integers.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_matrix, frozen_copy, plain
from rankbound.errors import InputError, InputTypeError
from rankbound.exact.flint import left_inverse, rational_product
from rankbound.exact.rational import Rationals, as_rationals, rational_matrix
from rankbound.exact.rounding import ETA, U, check_model, product_error, up

Weights = Mapping[int, Fraction]
Query = tuple[Fraction, ...]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]
SHARE = 1e-9  # a weight of the linear program below this share is first taken for 0
SLACK = -1  # the number of the variable s, beside those of keys
MOST_WORK = 10**9  # products of integers for one key: some minutes


@dataclass(frozen=True, eq=False)
class Argmaxable:
    """Which keys can win a query, with the evidence; flags are of shape (n,).

    For each unargmaxable key i there are weights μ >= 0 that sum to 1 with ``Σ_j μ_j k_j = k_i``
    and ``Σ_j μ_j b_j >= b_i``, exactly, over other keys: whatever the query, one of them is not
    below key i. Undecided is what floats leave open and is too much work over the rationals: too
    many keys of too many coordinates.
    """

    argmaxable: Flags  # True only where a query is known to make the key win
    unargmaxable: Flags  # True only where no query does, which the weights prove
    undecided: Flags  # neither was shown
    queries: Array  # (k, n): column i wins for key i, exactly; nan where none is known in floats
    weights: Mapping[int, Weights]
    rational_queries: Mapping[int, Query]  # where rounding to float64 loses the query


def argmaxable(keys: Any, *, biases: Any = None) -> Argmaxable:
    """Say which keys can get the largest logit of some query, strictly.

    Key i is argmaxable if some q has ``q·k_i + b_i > q·k_j + b_j`` for all j != i. By Gordan's
    theorem it is not iff k_i is a convex combination of other keys with ``Σ μ_j b_j >= b_i``:
    without biases iff it is no vertex of the convex hull of the keys, or is repeated (Grivas,
    Bogoychev & Lopez 2022, arXiv 2203.06462; docs/theory.md, section 5).

    Keys are (k, n), one per column; biases, (n,), are added to their logits. Every number is read
    exactly: a float as the rational number that it is, integers and Fractions as they stand.
    Queries and weights are checked exactly.

    Examples
    --------
    >>> import rankbound as rb
    >>> found = rb.argmaxable([[0.0, 2.0, 0.0, 0.5], [0.0, 0.0, 2.0, 0.5]])
    >>> found.argmaxable
    array([ True,  True,  True, False])
    >>> dict(found.weights[3])
    {0: Fraction(1, 2), 1: Fraction(1, 4), 2: Fraction(1, 4)}
    """
    K, exact_keys = _read("keys", keys)
    n = K.shape[1]
    b, exact_biases = np.zeros(n), None
    if biases is not None:
        row, _ = plain("biases", biases)
        if row.shape != (n,):
            raise InputError(f"biases have shape {row.shape}; expected ({n},), one per key.")
        floats, exact_biases = _read("biases", row[None])
        b = floats[0]
    check_model()
    space = _Keys(K, b, exact_keys, exact_biases)
    queries = np.full(space.K.shape, np.nan)
    weights: dict[int, Weights] = _repeated(space)
    rational: dict[int, Query] = {}
    for candidates in _guesses(space.K):
        for i, won in zip(*_winners(space, candidates), strict=True):
            if np.isnan(queries[0, i]):
                queries[:, i] = candidates[:, won]
    for i in range(space.n):
        if i not in weights and np.isnan(queries[0, i]):
            found, first = _settled(space, i, queries)
            if found is None and np.isnan(queries[0, i]):
                found, query = _decided(space, i, first)
                if query is not None:
                    _keep(space, i, query, queries, rational)
            if found is not None:
                weights[i] = found
    wins, loses = ~np.isnan(queries[0]), np.isin(np.arange(space.n), list(weights))
    wins[list(rational)] = True
    wins, loses, unknown = map(frozen_copy, (wins, loses, ~(wins | loses)))
    proofs = MappingProxyType(weights), MappingProxyType(rational)
    return Argmaxable(wins, loses, unknown, frozen_copy(queries), *proofs)


def _read(name: str, value: Any) -> tuple[Array, Rationals | None]:
    """A matrix in float64, and as rational numbers if float64 does not hold it."""
    array, _ = plain(name, value)
    floats = check_matrix(name, array, ndim=2)
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and array.dtype.itemsize <= 8):
        return floats, None
    rows, unit = rational_matrix(name, array, floats=True)
    if unit != 1:
        raise InputTypeError(
            f"{name} holds {unit}, which is irrational; expected rational numbers, which are read "
            "exactly. Pass floats for others."
        )
    return floats, None if rows == as_rationals(floats.tolist()) else rows


@dataclass(frozen=True, eq=False)
class _Keys:
    """Keys and biases in float64, and exactly where that rounds them."""

    K: Array
    b: Array
    exact_keys: Rationals | None
    exact_biases: Rationals | None

    @property
    def n(self) -> int:
        return int(self.K.shape[1])

    def column(self, i: int) -> list[Fraction]:
        """Key i and its bias."""
        if self.exact_keys is None:
            key = [Fraction(x) for x in self.K[:, i].tolist()]
        else:
            key = [row[i] for row in self.exact_keys]
        return [*key, Fraction(self.b[i]) if self.exact_biases is None else self.exact_biases[0][i]]

    def rounding(self) -> tuple[Array, Array]:
        """By how much the floats of keys and of biases may be off."""
        sizes = ((self.K, self.exact_keys), (self.b, self.exact_biases))
        key, bias = (
            np.zeros_like(floats) if exact is None else U * np.abs(floats) * (1 + 4 * U) + ETA
            for floats, exact in sizes
        )
        return key, bias


def _keep(space: _Keys, i: int, query: Query, queries: Array, rational: dict[int, Query]) -> None:
    """A query that key i wins, in floats if rounding leaves it the winner."""
    try:
        rounded = np.array([float(x) for x in query])
    except OverflowError:
        rounded = None
    if rounded is not None and _wins_exactly(space, i, rounded):
        queries[:, i] = rounded
    else:
        rational[i] = query


def _settled(space: _Keys, i: int, queries: Array) -> tuple[Weights | None, Ints]:
    """Weights for key i; or a query for it, written into `queries`; or neither.

    Against the keys that are known to win, which are few, before all: a query that key i wins among
    them is won by it or by a key that was not known to win, and each time there is one more. The
    keys to which the last linear program gives weight come back too.
    """
    everyone = np.delete(np.arange(space.n), i)
    for _ in range(space.n):
        known = np.flatnonzero(~np.isnan(queries[0]))
        others = known if len(known) else everyone
        query, multipliers = _solve(space, i, others)
        won = [] if query is None else _winners(space, query[:, None])[0].tolist()
        winner = won[0] if won else None
        if winner is None or not np.isnan(queries[0, winner]):
            break
        queries[:, winner] = query
        if winner == i:
            return None, others[:0]
    found = _weights(space, i, others, multipliers)
    if found is None and len(others) < len(everyone):
        others = everyone
        query, multipliers = _solve(space, i, others)
        found = _weights(space, i, others, multipliers)
    if found is None and query is not None and _wins_exactly(space, i, query):
        queries[:, i] = query
    return found, others[multipliers > 0]


def _repeated(space: _Keys) -> dict[int, Weights]:
    """Keys that are equal to another one of no smaller bias."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    rounded = space.exact_keys is not None
    for i, key in enumerate(space.K.T.tolist()):
        groups.setdefault(tuple(space.column(i)[:-1] if rounded else key), []).append(i)
    found: dict[int, Weights] = {}
    for members in groups.values():
        if len(members) > 1:
            bias = {i: space.column(i)[-1] for i in members}
            first, *rest = sorted(members, key=lambda i: -bias[i])
            for i in rest:
                found[i] = MappingProxyType({first: Fraction(1)})
            if bias[rest[0]] == bias[first]:
                found[first] = MappingProxyType({rest[0]: Fraction(1)})
    return found


def _guesses(K: Array) -> list[Array]:
    """Queries that point from the mean to each key, as they stand and with the spread undone.

    sound: each is checked. incomplete: a vertex of the hull need not win along its own direction.
    """
    with np.errstate(all="ignore"):
        scaled = np.ldexp(K, -np.frexp(np.abs(K).max())[1])
        centred = scaled - scaled.mean(axis=1, keepdims=True)
        U_, values, Vt = np.linalg.svd(centred, full_matrices=False)
        kept = values > values[0] * len(K) * 1e-14
        white = U_[:, kept] / np.maximum(values[kept], 1e-300) @ Vt[kept]
    return [centred, white]


def _winners(space: _Keys, candidates: Array) -> tuple[Ints, Ints]:
    """Keys that win some of the queries beyond rounding, and which query each of them wins."""
    K, b = space.K, space.b
    key_rounding, bias_rounding = space.rounding()
    with np.errstate(all="ignore"):  # a score that is not finite settles nothing
        products = K.T @ candidates
        scores = products + b[:, None]
        error = product_error(K.T, candidates) + 2 * U * (np.abs(products) + np.abs(scores))
        if key_rounding.any() or bias_rounding.any():
            moved = key_rounding.T @ np.abs(candidates) + len(K) * ETA + bias_rounding[:, None]
            error = error + up(moved, len(K) + 2)
        lowest, highest = scores - up(error, 4), scores + up(error, 4)
        best = np.argmax(scores, axis=0)
        columns = np.arange(candidates.shape[1])
        floor = lowest[best, columns]
        highest[best, columns] = -np.inf
        certain = np.nextafter(highest.max(axis=0), np.inf) < np.nextafter(floor, -np.inf)
    return best[certain], columns[certain]


def _solve(space: _Keys, i: int, others: Ints) -> tuple[Array | None, Array]:
    """The query that key i wins most clearly among these keys, and the multipliers, unchecked.

    The linear program maximises the margin t over |q| <= 1 and 0 <= λ <= 1, the scale of biases:
    ``q·(k_i - k_j) + λ (b_i - b_j) >= t``. Its multipliers are the weights where t is 0.
    """
    from scipy.optimize import linprog

    K, b = space.K, space.b
    k, m = len(K), len(others)
    if m == 0:  # a single key wins every query
        return np.zeros(k), np.zeros(0)
    rows = np.vstack([K, b[None]])
    with np.errstate(all="ignore"):
        first = np.frexp(np.abs(rows).max(axis=1))[1]  # so that no difference over- or underflows
        rows = np.ldexp(rows, -first[:, None])
        difference = rows[:, [i]] - rows[:, others]
        second = np.frexp(np.abs(difference).max(axis=1))[1]
        difference = np.ldexp(difference, -second[:, None])
    answer = linprog(
        np.r_[np.zeros(k + 1), -1.0],
        A_ub=np.concatenate([-difference.T, np.ones((m, 1))], axis=1),
        b_ub=np.zeros(m),
        bounds=[(-1, 1)] * k + [(0, 1), (None, 1)],
        method="highs-ds",
    )
    if not answer.success:
        return None, np.zeros(m)
    multipliers = -np.asarray(answer.ineqlin.marginals, np.float64)
    return _query(answer.x, first + second, difference), multipliers


def _query(x: Array, scales: npt.NDArray[np.int32], difference: Array) -> Array | None:
    """The query of a solution, brought to the scale of the biases."""
    k = len(difference) - 1
    direction, scale = x[:k], x[k]
    with np.errstate(all="ignore"):
        size = float(np.abs(difference[k]).max())
        if size > 0:
            # where the biases do not help, a scale that leaves half of the margin does no harm
            margin = float((direction @ difference[:k]).min())
            scale = max(scale, margin / 2 / size)
            if scale <= 0:
                return None
            query = np.ldexp(direction / scale, scales[k] - scales[:k])
        else:
            query = np.ldexp(direction, scales[:k].min() - scales[:k])
    return query if np.isfinite(query).all() else None


def _wins_exactly(space: _Keys, i: int, query: Array) -> bool:
    """Whether key i wins the query, over the rationals."""
    q = [*(Fraction(x) for x in query.tolist()), Fraction(1)]
    own = _inner(q, space.column(i))
    return all(_inner(q, space.column(j)) < own for j in range(space.n) if j != i)


def _weights(space: _Keys, i: int, others: Ints, multipliers: Array) -> Weights | None:
    """Solve for the weights exactly on the keys that the linear program gives weight to."""
    if not np.isfinite(multipliers).all() or not multipliers.max(initial=0.0) > 0:
        return None
    support = others[multipliers > SHARE * multipliers.max()].tolist()
    columns = [space.column(j) for j in support]
    own = space.column(i)
    # at most k + 1 keys carry the weight, or k + 2 whose biases then balance
    keys = [[Fraction(1) for _ in support], *([c[r] for c in columns] for r in range(len(own) - 1))]
    wanted = [[Fraction(1)], *([x] for x in own[:-1])]
    biases = [column[-1] for column in columns]
    solution = _solution(keys, wanted) or _solution([*keys, biases], [*wanted, [own[-1]]])
    if solution is None or min(solution) < 0:
        return None
    if _inner(solution, biases) < own[-1]:
        return None
    return MappingProxyType({j: m for j, m in zip(support, solution, strict=True) if m})


def _solution(system: Rationals, wanted: Rationals) -> list[Fraction] | None:
    """The solution over the rationals, if there is exactly one."""
    try:
        solution = rational_product(left_inverse(system), wanted)
    except ZeroDivisionError:
        return None
    return [row[0] for row in solution] if rational_product(system, solution) == wanted else None


def _decided(space: _Keys, i: int, first: Ints) -> tuple[Weights | None, Query | None]:
    """Weights for key i, or a query, over the rationals; neither where that is too much work.

    Phase 1 of the simplex method, for μ, s >= 0 with ``Σ_j μ_j (k_j - k_i) = 0``,
    ``Σ_j μ_j (b_j - b_i) - s = 0`` and ``Σ_j μ_j = 1``. If it ends with artificial variables above
    0, its prices ``(q, λ, τ)`` have ``q·(k_i - k_j) + λ (b_i - b_j) >= τ > 0`` for all j, and
    λ >= 0. Everything is an integer: the inverse of the basis is ``inverse/scale`` (Edmonds). Ties
    leave by the lexicographic rule, so it ends; keys in `first` enter before others.
    """
    own = space.column(i)
    m, numbers = len(own) + 1, [j for j in range(space.n) if j != i]
    steps = MOST_WORK // (m * (m + len(numbers)))
    if steps < 4 * m:
        return None, None
    table = [
        [x - y for x, y in zip(space.column(j), own, strict=True)] + [Fraction(1)] for j in numbers
    ]
    clear = [math.lcm(*(column[r].denominator for column in table)) for r in range(m)]
    columns = {
        j: [int(x * c) for x, c in zip(column, clear, strict=True)]
        for j, column in zip(numbers, table, strict=True)
    }
    columns[SLACK] = [0] * (m - 2) + [-1, 0]
    early = [int(j) for j in first if int(j) in columns]
    basis: list[int | None] = [None] * m  # None is an artificial variable
    inverse, scale = [[int(r == c) for c in range(m)] for r in range(m)], 1
    right = [0] * (m - 1) + [1]
    for _ in range(steps):
        artificial = [r for r in range(m) if basis[r] is None]
        prices = [sum(inverse[r][c] for r in artificial) for c in range(m)]
        if not any(right[r] for r in artificial):
            carried = {j: Fraction(right[r], scale) for r, j in enumerate(basis) if right[r]}
            mine = {j: x for j, x in carried.items() if j is not None and j != SLACK}
            return MappingProxyType(mine), None
        entering = _entering(columns, prices, early)
        if entering is None:
            entering = _entering(columns, prices, columns)
        if entering is None:
            values = [Fraction(y * c, scale) for y, c in zip(prices, clear, strict=True)]
            return None, _query_of(values, [column[-2] for column in table])
        column = [_inner(row, columns[entering]) for row in inverse]
        leaving = _leaving(right, inverse, column)
        pivot = column[leaving]
        for r in range(m):
            if r != leaving:
                inverse[r] = [
                    (x * pivot - y * column[r]) // scale
                    for x, y in zip(inverse[r], inverse[leaving], strict=True)
                ]
                right[r] = (right[r] * pivot - right[leaving] * column[r]) // scale
        basis[leaving], scale = entering, pivot
    return None, None


def _inner(x: Iterable[Any], y: Iterable[Any]) -> Any:
    """The inner product of integers or of Fractions."""
    return sum(map(operator.mul, x, y))


def _entering(
    columns: Mapping[int, list[int]], prices: list[int], tried: Iterable[int]
) -> int | None:
    """The variable whose price is the largest, if one is above 0."""
    worth, best = max(((_inner(prices, columns[j]), j) for j in tried), default=(0, None))
    return best if worth > 0 else None


def _leaving(right: list[int], inverse: list[list[int]], column: list[int]) -> int:
    """The row whose ratios to the column come first in lexicographic order."""
    rows = [r for r, x in enumerate(column) if x > 0]
    for values in (right, *zip(*inverse, strict=True)):
        ratios = {r: Fraction(values[r], column[r]) for r in rows}
        least = min(ratios.values())
        rows = [r for r in rows if ratios[r] == least]
        if len(rows) == 1:
            break
    return rows[0]


def _query_of(prices: list[Fraction], gains: list[Fraction]) -> Query:
    """The query ``q/λ`` of prices (q, λ, τ), λ raised where that costs no more than half of τ.

    `gains` are ``b_j - b_i``: raising λ by δ lowers the margin over key j by δ times that.
    """
    *q, weight, margin = prices
    most = max(gains)
    weight += margin / (2 * most) if most > 0 else Fraction(weight == 0)
    return tuple(x / weight for x in q)
