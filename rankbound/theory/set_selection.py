"""Selecting sets of keys: the head size at which fixed keys give every small set its own query.

A query selects a set S of keys if the least score in S is above the largest outside. The least head
size at which some n keys let every set of at most q keys be selected is **min(2q, n - 1)**.

*Upper.* Keys on the moment curve ``(t, t², …, t^{2q})``: the polynomial ``-Π_{i in S} (t - t_i)²``,
less its constant term, which is gauge, is a query; it is 0 on S and negative elsewhere. For
n - 1 < 2q the simplex, n keys with every score free but for a constant. *Lower.* n points in R^k,
k < n - 1, and any 2q + 1 of them if k < 2q, are affinely dependent, so they have a Radon partition:
disjoint sets A and B whose hulls meet, one of them of at most q keys. No linear function is larger
on all of A than on all of B. (Wang et al. 2026 have bounds q - 1 and 2q.)
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import comb, sqrt
from typing import Any

from rankbound._validate import check_int, check_real, shown
from rankbound.certificates.certificates import RadonWeights, SelectingQueries
from rankbound.certificates.checker.selection import MOST_SETS
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import Selectable, Unselectable
from rankbound.errors import InputError, InputTypeError
from rankbound.exact.flint import null_space
from rankbound.exact.rational import Rationals, rational_matrix

MOST_INTEGERS = 2**22  # of a list of keys


def set_selection_size(n: int, q: int) -> int:
    """Least head size at which fixed keys let every set of at most q of n keys be selected.

    Examples
    --------
    >>> [set_selection_size(100, q) for q in (1, 2, 3)], set_selection_size(4, 2)
    ([2, 4, 6], 3)
    """
    n = check_int("n", n, least=1)
    q = check_int("q", q, least=1, most=n, why="one of its sets")
    return min(2 * q, n - 1)


def set_selecting_keys(n: int, q: int) -> list[list[int]]:
    """Integer keys, (head_size, n), that let every set of at most q of them be selected.

    On the moment curve at t = 0, …, n - 1, or the simplex where that is smaller; of at most
    4,194,304 integers in all.
    """
    size = set_selection_size(n, q)
    n, q = int(n), int(q)
    if n * size > MOST_INTEGERS:
        raise InputError(
            f"n is {n} and q is {q}, which makes {n * size} integers; expected {MOST_INTEGERS} at "
            "most, in memory. Take a smaller n or q."
        )
    if size < 2 * q:
        return [[int(i == j + 1) for i in range(n)] for j in range(n - 1)]
    return [[t**power for t in range(n)] for power in range(1, size + 1)]


def set_selecting_query(n: int, q: int, keys: Any) -> list[int]:
    """The integer query for :func:`set_selecting_keys` that selects these keys, at most q of n.

    Each of them has the same score, and each other key one that is lower by at least 1.

    Examples
    --------
    >>> query = set_selecting_query(6, 2, [1, 4])
    >>> [sum(a * b for a, b in zip(query, key)) for key in zip(*set_selecting_keys(6, 2))]
    [0, 16, 12, 12, 16, 0]
    """
    size = set_selection_size(n, q)
    try:
        members = list(keys)
    except Exception:  # what is no iterable, or a foreign one that raises
        raise InputTypeError(f"keys is {shown(keys)}; expected numbers of keys.") from None
    n, q = int(n), int(q)
    why = "the number of a key"
    chosen = sorted({check_int("keys", i, least=0, most=n - 1, why=why) for i in members})
    if not 0 < len(chosen) <= q:
        raise InputError(f"keys are {chosen}; expected 1 to q = {q} different ones.")
    if size < 2 * q:
        base = int(0 in chosen)  # key 0 is the origin
        return [int(i in chosen) - base for i in range(1, n)]
    coefficients = [-1]
    for t in [t for t in chosen for _ in range(2)]:  # times (x - t)
        coefficients = [
            low - t * high for low, high in zip([0, *coefficients], [*coefficients, 0], strict=True)
        ]
    coefficients += [0] * (size + 1 - len(coefficients))
    return coefficients[1:]


def selectable_certificate(n: int, q: int) -> SelectingQueries:
    """The proof that the keys of :func:`set_selecting_keys` let every set of at most q be selected.

    It holds one query per set: sum over s <= q of n choose s, at most 65,536 in all.
    """
    set_selection_size(n, q)  # checks both
    count = 0
    for size in range(1, int(q) + 1):
        count += comb(int(n), size)
        if count > MOST_SETS:
            raise InputError(
                f"n is {shown(n)} and q is {shown(q)}, so that there are {count} sets or more; "
                f"expected {MOST_SETS} at most, one query each. Take a smaller n or q."
            )
    keys = Matrix.of_integers(set_selecting_keys(n, q), columns=int(n))
    n, q = int(n), int(q)
    sets = (S for size in range(1, q + 1) for S in combinations(range(n), size))
    queries = [set_selecting_query(n, q, S) for S in sets]
    columns = list(map(list, zip(*queries, strict=True)))
    return SelectingQueries(Selectable(keys, q), Matrix.of_integers(columns))


@dataclass(frozen=True, eq=False)
class RadonPartition:
    """Two disjoint sets of keys whose hulls meet: no query selects one from the other.

    ``Σ_i inside_i k_i = Σ_i outside_i k_i``, weights positive and of sum 1 on either side.
    """

    inside: dict[int, Fraction]  # the smaller side
    outside: dict[int, Fraction]


def radon_partition(keys: Any) -> RadonPartition | None:
    """A Radon partition of keys, (head_size, n), as the exact numbers they are, if there is one.

    There is one whenever n > head_size + 1. Of n > head_size + 1 keys the first head_size + 2 are
    taken, so the smaller side has at most ``(head_size + 2) // 2`` of them.

    Examples
    --------
    >>> found = radon_partition([[0, 1, 2]])
    >>> sorted(found.inside), sorted(found.outside)
    ([1], [0, 2])
    """
    rows, _ = rational_matrix("keys", keys, floats=True)
    few = len(rows) + 2
    part: Rationals = [row[:few] for row in rows]
    part.append([Fraction(1)] * len(part[0]))
    null = null_space(part)
    if not null:
        return None
    first = null[0]
    total = sum((x for x in first if x > 0), Fraction(0))
    sides = [{i: abs(x) / total for i, x in enumerate(first) if x * sign > 0} for sign in (1, -1)]
    inside, outside = sorted(sides, key=len)
    return RadonPartition(inside, outside)


def unselectable_certificate(keys: Any, q: int) -> RadonWeights | None:
    """The proof that no query selects some set of at most q of these keys, if Radon gives one."""
    q = check_int("q", q, least=1)
    rows, _ = rational_matrix("keys", keys, floats=True)
    found = radon_partition(keys)
    if found is None or len(found.inside) > q:
        return None
    n = len(rows[0])
    weights = [
        [found.inside.get(i, Fraction(0)) - found.outside.get(i, Fraction(0))] for i in range(n)
    ]
    statement = Unselectable(Matrix.of_rationals(rows), tuple(sorted(found.inside)))
    return RadonWeights(statement, Matrix.of_rationals(weights))


def set_margin_scale(n: int, q: int, gap: float) -> float:
    """Least ``max ‖query‖ max ‖key‖`` at which every set of q of n keys is preferred by a gap.

    ``β >= gap sqrt(q (n - 1)(n - q))/n`` in every dimension, attained by the centred simplex: the
    mean over sets S of ``‖mean_S - mean of the rest‖²`` is that of a sample without replacement,
    ``n/(q (n - q)) · n/(n - 1)`` times the variance of the keys, at most K².

    Examples
    --------
    >>> set_margin_scale(2, 1, 1.0)
    0.5
    """
    n = check_int("n", n, least=2)
    q = check_int("q", q, least=1, most=n - 1, why="a set and a rest")
    return check_real("gap", gap, least=0.0) * sqrt(q * (n - 1) * (n - q)) / n
