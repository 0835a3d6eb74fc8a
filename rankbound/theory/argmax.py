"""Which keys can win a query, each answer with a witness that is checked exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, as_array, check_matrix, frozen_copy
from rankbound.errors import InputError
from rankbound.exact.flint import left_inverse, rational_product
from rankbound.exact.rounding import U, check_model, product_error, up

__all__ = ["Argmaxable", "argmaxable"]

Weights = Mapping[int, Fraction]
Flags = npt.NDArray[np.bool_]
SHARE = 1e-9  # a weight of the linear program below this share is taken for 0; checked exactly


@dataclass(frozen=True, eq=False)
class Argmaxable:
    """Which keys can win a query, with the evidence.

    Attributes
    ----------
    argmaxable : ndarray of bool, shape (n,)
        True only where a query is known to make the key win; False where none does *or* it is not
        known: see the next two.
    unargmaxable : ndarray of bool, shape (n,)
        True only where no query does, for which :attr:`weights` holds the proof.
    undecided : ndarray of bool, shape (n,)
        Neither was shown: the key is within rounding of the hull of the others.
    queries : ndarray, shape (k, n)
        Column i is a query that key i wins, in exact arithmetic; nan where none is known.
    weights : mapping from int to mapping from int to Fraction
        For each unargmaxable key i, weights μ >= 0 that sum to 1 with ``Σ_j μ_j k_j = k_i`` and
        ``Σ_j μ_j b_j >= b_i``, exactly, over other keys: whatever the query, one of them is not
        below key i.
    """

    argmaxable: Flags
    unargmaxable: Flags
    undecided: Flags
    queries: Array
    weights: Mapping[int, Weights]


def argmaxable(keys: npt.ArrayLike, biases: npt.ArrayLike | None = None) -> Argmaxable:
    """Say which keys can get the largest logit of some query, strictly.

    Key i is argmaxable if some q has ``q·k_i + b_i > q·k_j + b_j`` for all j != i. By Gordan's
    theorem it is not iff k_i is a convex combination of other keys with ``Σ μ_j b_j >= b_i``:
    without biases iff it is no vertex of the convex hull of the keys, or is repeated. Keys are read
    as float64, each an exact number. Queries and weights come from linear programs and are
    checked: queries with a bound on rounding, in rationals where that does not settle it, and
    weights always in rationals.

    Parameters
    ----------
    keys : array_like, shape (k, n)
        One key a column.
    biases : array_like, shape (n,), optional
        Added to the logits of each key.

    Returns
    -------
    Argmaxable

    References
    ----------
    Grivas, Bogoychev & Lopez 2022 (arXiv 2203.06462); docs/theory.md, section 5.

    Examples
    --------
    >>> import rankbound as rb
    >>> found = rb.argmaxable([[0.0, 2.0, 0.0, 0.5], [0.0, 0.0, 2.0, 0.5]])
    >>> found.argmaxable
    array([ True,  True,  True, False])
    >>> dict(found.weights[3])
    {0: Fraction(1, 2), 1: Fraction(1, 4), 2: Fraction(1, 4)}
    """
    K = check_matrix("keys", keys, ndim=2)
    b = _biases(biases, K.shape[1])
    check_model()
    return _argmaxable(K, b)


def _biases(biases: npt.ArrayLike | None, n: int) -> Array:
    if biases is None:
        return np.zeros(n)
    array = as_array("biases", biases)
    if array.shape != (n,):
        raise InputError(f"biases have shape {array.shape}; expected ({n},), one a key.")
    row: Array = check_matrix("biases", array[None, :])[0]
    return row


def _argmaxable(K: Array, b: Array) -> Argmaxable:
    n = K.shape[1]
    queries = np.full(K.shape, np.nan)
    weights: dict[int, Weights] = dict(_repeated(K, b))
    for candidates in _guesses(K):
        for i, won in zip(*_winners(K, b, candidates), strict=True):
            if np.isnan(queries[0, i]):
                queries[:, i] = candidates[:, won]
    for i in range(n):
        if i not in weights and np.isnan(queries[0, i]):
            found = _settled(K, b, i, queries)
            if found is not None:
                weights[i] = found
    wins = ~np.isnan(queries[0])
    loses = np.isin(np.arange(n), list(weights))
    wins, loses, unknown = map(frozen_copy, (wins, loses, ~(wins | loses)))
    return Argmaxable(wins, loses, unknown, frozen_copy(queries), MappingProxyType(weights))


def _settled(K: Array, b: Array, i: int, queries: Array) -> Weights | None:
    """Weights for key i; or a query for it, written into `queries`; or neither.

    Against the keys that are known to win, which are few, before all: a query that key i wins among
    them is won by it or by a key that was not known to win, and each time there is one more.
    """
    everyone = np.delete(np.arange(K.shape[1]), i)
    while True:
        known = np.flatnonzero(~np.isnan(queries[0]))
        others = known if len(known) else everyone
        query, multipliers = _solve(K, b, i, others)
        winner = _winner(K, b, query)
        if winner is None or not np.isnan(queries[0, winner]):
            break
        queries[:, winner] = query
        if winner == i:
            return None
    found = _weights(K, b, i, others, multipliers)
    if found is None and len(others) < len(everyone):
        query, multipliers = _solve(K, b, i, everyone)
        found = _weights(K, b, i, everyone, multipliers)
    if found is None and query is not None and _wins_exactly(K, b, i, query):
        queries[:, i] = query
    return found


def _winner(K: Array, b: Array, query: Array | None) -> int | None:
    """The key that wins this query beyond rounding."""
    if query is None:
        return None
    found = _winners(K, b, query[:, None])[0]
    return int(found[0]) if len(found) else None


def _repeated(K: Array, b: Array) -> dict[int, Weights]:
    """Keys that are equal to another one of no smaller bias."""
    _, group = np.unique(K, axis=1, return_inverse=True)
    best: dict[int, list[int]] = {}
    for i in np.argsort(-b, kind="stable"):
        best.setdefault(int(np.ravel(group)[i]), []).append(int(i))
    found: dict[int, Weights] = {}
    for first, *rest in best.values():
        for i in rest:
            found[i] = MappingProxyType({first: Fraction(1)})
        if rest and b[rest[0]] == b[first]:
            found[first] = MappingProxyType({rest[0]: Fraction(1)})
    return found


def _guesses(K: Array) -> list[Array]:
    """Queries that point from the mean to each key, as they stand and with the spread undone.

    sound: each is checked. incomplete: a vertex of the hull need not win along its own direction.
    """
    with np.errstate(all="ignore"):
        scaled = _scaled(K)
        centred = scaled - scaled.mean(axis=1, keepdims=True)
        U_, values, Vt = np.linalg.svd(centred, full_matrices=False)
        kept = values > values[0] * len(K) * 1e-14
        white = U_[:, kept] / np.maximum(values[kept], 1e-300) @ Vt[kept]
    return [centred, white]


def _scaled(K: Array) -> Array:
    scaled: Array = np.ldexp(K, -np.frexp(np.abs(K).max())[1])
    return scaled


def _winners(
    K: Array, b: Array, candidates: Array
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Keys that win some of the queries beyond rounding, and which query each of them wins."""
    with np.errstate(all="ignore"):  # a score that is not finite settles nothing
        products = K.T @ candidates
        scores = products + b[:, None]
        error = product_error(K.T, candidates) + 2 * U * (np.abs(products) + np.abs(scores))
        lowest, highest = scores - up(error, 4), scores + up(error, 4)
        best = np.argmax(scores, axis=0)
        columns = np.arange(candidates.shape[1])
        floor = lowest[best, columns]
        highest[best, columns] = -np.inf
        certain = np.nextafter(highest.max(axis=0), np.inf) < np.nextafter(floor, -np.inf)
    return best[certain], columns[certain]


def _solve(K: Array, b: Array, i: int, others: npt.NDArray[np.intp]) -> tuple[Array | None, Array]:
    """The query that key i wins most clearly among these keys, and the multipliers, unchecked.

    The linear program maximises the margin t over |q| <= 1 and 0 <= λ <= 1, the scale of biases:
    ``q·(k_i - k_j) + λ (b_i - b_j) >= t``. Its multipliers are the weights where t is 0.
    """
    from scipy.optimize import linprog

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


def _wins_exactly(K: Array, b: Array, i: int, query: Array) -> bool:
    """Whether key i wins the query, over the rationals."""
    q = [Fraction(x) for x in query.tolist()]

    def score(j: int) -> Fraction:
        return sum(
            (x * Fraction(y) for x, y in zip(q, K[:, j].tolist(), strict=True)), Fraction(b[j])
        )

    own = score(i)
    return all(score(j) < own for j in range(K.shape[1]) if j != i)


def _weights(
    K: Array, b: Array, i: int, others: npt.NDArray[np.intp], multipliers: Array
) -> Weights | None:
    """Solve for the weights exactly on the keys that the linear program gives weight to."""
    if not np.isfinite(multipliers).all() or not multipliers.max(initial=0.0) > 0:
        return None
    support = others[multipliers > SHARE * multipliers.max()]
    table = np.vstack([K, np.ones(K.shape[1]), b])
    system = [[Fraction(x) for x in row] for row in table[:, support].tolist()]
    wanted = [[Fraction(x)] for x in table[:, i].tolist()]
    # at most k + 1 keys carry the weight, or k + 2 whose biases then balance
    solution = _solution(system[:-1], wanted[:-1]) or _solution(system, wanted)
    if solution is None or min(solution) < 0:
        return None
    gain = sum((m * x for m, x in zip(solution, system[-1], strict=True)), Fraction(0))
    if gain < wanted[-1][0]:
        return None
    return MappingProxyType({int(j): m for j, m in zip(support, solution, strict=True) if m})


def _solution(system: list[list[Fraction]], wanted: list[list[Fraction]]) -> list[Fraction] | None:
    """The solution over the rationals, if there is exactly one."""
    try:
        solution = rational_product(left_inverse(system), wanted)
    except ZeroDivisionError:
        return None
    return [row[0] for row in solution] if rational_product(system, solution) == wanted else None
