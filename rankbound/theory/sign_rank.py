"""The sign rank: how small a rank a pattern of signs allows, and the head size it asks for.

*Forster 2002* bounds it from below, sign changes down the columns from above. A head whose queries
prefer the keys of a pattern, or that comes close to P ∝ exp(ε H), has at least the head size of the
sign rank less one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import (
    as_array,
    check_head_size,
    check_int,
    check_real,
    frozen_copy,
    plain,
    shown,
)
from rankbound.errors import InputError, InputTypeError
from rankbound.exact.elimination import prove_rank
from rankbound.exact.flint import product
from rankbound.exact.rational import as_rationals, centred
from rankbound.exact.rounding import U, check_model
from rankbound.ranks.bounds import RankBounds
from rankbound.verdict import Verdict

Signs = npt.NDArray[np.int64]
POWERS = (1, 2, 4, 8)  # of the Gram matrix, whose entries then have some 60 bits at n = 256
GIVEN_AWAY = 2.0**-30  # of a bound, for a certificate's rounded numbers to prove it
MOST_ROWS = 512  # of a Gram matrix that is multiplied exactly
FORSTER = "Forster's bound in integers, outer products"


def sign_rank_bound(H: npt.ArrayLike) -> int:
    """Forster's lower bound of the sign rank, ``sqrt(m n)/‖H‖_2``, certified in integers.

    *Forster, J. Comput. Syst. Sci. 65, 2002* (docs/theory.md, section 5). Every real matrix with
    the signs of H, of shape m × n with entries 1 and -1, has a rank of at least
    ``sqrt(m n)/‖H‖_2``. With G the Gram matrix of rows or of columns, ``‖H‖_2^{2p} = ‖G^p‖_2`` is
    at most the greatest absolute row sum of G^p, an integer B; the least r with
    ``r^{2p} B >= (m n)^p`` is returned, the best over both sides at p = 1 and the smaller side at
    p = 2, 4, 8. It is at least 1, at most Forster's bound, rounded up, and never above the sign
    rank.

    Examples
    --------
    >>> import rankbound as rb
    >>> from scipy.linalg import hadamard
    >>> [rb.sign_rank_bound(hadamard(n)) for n in (2, 4, 8, 16)]
    [2, 2, 3, 4]
    """
    signs = _signs(H)
    return max(_least_root(signs.size, bound, p) for bound, p in _norm_bounds(signs))


def _norm_bounds(signs: Signs) -> list[tuple[int, int]]:
    """Integers B, and p, with ``‖H‖_2^{2p} <= B``."""
    check_model()
    # sums of ±1 are integers below 2^53, so each order of summation gives them exactly
    Hf = signs.astype(np.float64)
    grams = [Hf @ Hf.T, Hf.T @ Hf]
    found = [(int(np.abs(G).sum(axis=1).max()), 1) for G in grams]
    small = grams[0] if len(grams[0]) <= len(grams[1]) else grams[1]
    if len(small) <= MOST_ROWS:
        power = [[int(x) for x in row] for row in small.tolist()]
        for p in POWERS[1:]:
            power = product(power, power)
            found.append((max(sum(map(abs, row)) for row in power), p))
    return found


def largest_rectangle(H: npt.ArrayLike, rank: int) -> int:
    """The most entries of a submatrix of H whose signs some matrix of this rank may have.

    By Forster's theorem on the submatrix, whose spectral norm is at most that of H, at most
    ``rank² ‖H‖_2²``; an integer, rounded down.

    Examples
    --------
    >>> from scipy.linalg import hadamard
    >>> largest_rectangle(hadamard(16), 2)
    64
    """
    rank = check_int("rank", rank, least=0)
    return min(_root(rank ** (2 * p) * bound, p) for bound, p in _norm_bounds(_signs(H)))


def _root(x: int, p: int) -> int:
    """The largest integer whose p-th power is at most x, p a power of 2."""
    for _ in range(p.bit_length() - 1):
        x = math.isqrt(x)
    return x


def cut_best(costs: npt.NDArray[np.float64], area: int) -> tuple[float, int]:
    """What wrong signs cost at least, where rectangles without one have at most `area` entries.

    Cut the rows into blocks of r. In each the columns without a wrong entry form a rectangle with
    the block, so all but ``area/r`` columns hold one, and pay their cheapest. The best over
    r = n, n/2, n/4, …, not rounded down, and the number of blocks that gives it.
    """
    n, best = len(costs), (0.0, 1)
    for parts in (2**i for i in range(n.bit_length())):
        total = 0.0
        for block in np.array_split(costs, parts):
            spared = area // len(block)
            total += float(np.sort(block.min(axis=0))[: max(costs.shape[1] - spared, 0)].sum())
        best = max(best, (total, parts))
    return best


def _signs(H: npt.ArrayLike) -> Signs:
    array, _ = plain("H", H)
    if array.dtype == object:
        as_array("H", array)  # refuses what is no number; the numbers are compared unrounded
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(
            f"H has shape {array.shape}; expected one matrix (m, n) with a row and a column."
        )
    if array.dtype.kind == "b":
        raise InputTypeError("H is bool; expected entries 1 and -1. Pass 2 * H.astype(int) - 1.")
    wrong = (array != 1) & (array != -1)
    if wrong.any():
        where = [int(i) for i in np.argwhere(wrong)[0]]
        entry = shown(array.tolist()[where[0]][where[1]])
        raise InputError(
            f"H holds {entry} at {where}; expected 1 and -1: a sign rank is that of "
            "a pattern of signs. Pass np.where(H > 0, 1, -1)."
        )
    return np.asarray(array, np.int64)


def _least_root(area: int, bound: int, p: int) -> int:
    """The least integer r with ``r^{2p} bound >= area^p``."""
    return 1 + _root((area**p - 1) // bound, 2 * p)


@dataclass(frozen=True, eq=False)
class SignChanges:
    """An upper bound of the sign rank with its witness, polynomials in the row number.

    Column j of the witness is ``leading_j Π_r (2i - r)`` at row i, the product over the roots of
    the column, odd integers: an integer matrix with exactly the signs of H, and of rank at most
    `upper`, since its columns are polynomials of degree below it.
    """

    upper: int  # the most sign changes in a column, plus 1
    changes: Signs  # down each column
    leading: Signs  # 1 or -1
    roots: tuple[tuple[int, ...], ...]  # of each column, in units of half a row

    def signs(self, rows: int) -> Signs:
        """The signs of the witness on so many rows: each root below a row turns the sign."""
        twice = 2 * np.arange(rows)
        columns = [  # an even number 2i has so many roots above it
            sign * (-1) ** (len(roots) - np.searchsorted(np.array(roots, np.int64), twice))
            for sign, roots in zip(self.leading, self.roots, strict=True)
        ]
        return np.array(columns, np.int64).T

    def matrix(self, rows: int) -> list[list[int]]:
        """The witness on so many rows, in exact integers."""
        return [
            [
                int(sign) * math.prod(2 * i - root for root in roots)
                for sign, roots in zip(self.leading, self.roots, strict=True)
            ]
            for i in range(rows)
        ]


def sign_change_bound(H: npt.ArrayLike) -> SignChanges:
    """Bound the sign rank by the most sign changes in a column, plus 1, for the rows as ordered.

    A column with s sign changes has the signs of a polynomial of degree s in the row number, with a
    root at each change (Alon, Frankl & Rödl 1985; docs/theory.md, section 5). The signs of these
    polynomials, products of integers, are compared with H, of entries 1 and -1. Reorder the rows,
    or transpose, for other bounds.

    Examples
    --------
    >>> bound = sign_change_bound([[1, 1], [-1, 1], [1, -1]])
    >>> bound.upper, bound.roots
    (3, ((1, 3), (3,)))
    >>> bound.matrix(3)
    [[3, 3], [-1, 1], [3, -1]]
    """
    signs = _signs(H)
    turns = signs[1:] != signs[:-1]
    changes = turns.sum(axis=0)
    roots = tuple(tuple(int(2 * i + 1) for i in np.flatnonzero(column)) for column in turns.T)
    # below its least root a polynomial of degree s with leading sign 1 has the sign (-1)^s
    leading = signs[0] * np.where(changes % 2, -1, 1)
    found = SignChanges(int(changes.max()) + 1, frozen_copy(changes), frozen_copy(leading), roots)
    if not np.array_equal(found.signs(len(signs)), signs):
        raise ArithmeticError("the witness has other signs than H; please report this as a bug.")
    return found


def sign_rank_bounds(H: npt.ArrayLike) -> RankBounds:
    """Bound the sign rank of H: the least rank of a real matrix with exactly these signs.

    *Lower:* Forster's bound; and 2 unless H is an outer product, since the signs of a matrix of
    rank 1 are one. *Upper:* sign changes plus 1, along columns and along rows, and the rank of H.

    Examples
    --------
    >>> bounds = sign_rank_bounds([[1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    >>> bounds.lower, bounds.upper
    (2, 3)
    """
    signs = _signs(H)
    rank = prove_rank(as_rationals(signs.tolist())).rank
    upper = min(sign_change_bound(signs).upper, sign_change_bound(signs.T).upper, rank)
    method = f"{FORSTER}; sign changes, rank of H"
    return RankBounds(_lower(signs), upper, Verdict.SUPPORTED, method)


def _lower(H: Signs) -> int:
    outer = np.array_equal(H, np.outer(H[:, 0] * H[0, 0], H[0]))
    return 1 if outer else max(2, sign_rank_bound(H))


def selection_head_size(H: npt.ArrayLike) -> RankBounds:
    """Bound the least head size at which every query prefers its own keys to all others.

    Query j selects the keys i with ``H[i, j] = 1``: each of them must have a larger logit than each
    of the others, where it is -1. By how much does not matter, so logits may then be scaled until P
    is as sharp as wished. The least head size of such logits is ``signrank(H) - 1`` or
    ``signrank(H)`` (Weller, Boratko, Naim & Lee 2025, arXiv 2508.21038, Proposition 2, transposed;
    docs/theory.md, section 5): thresholds between the two kinds of keys cost one rank at most. The
    constant of a column is gauge, so s sign changes down the columns need head size s only, not
    s + 1, and H itself ``rank(C H)``. A pattern that prefers nothing (constant columns) needs 0.

    Examples
    --------
    >>> import numpy as np
    >>> bounds = selection_head_size(2 * np.eye(9, dtype=int) - 1)  # each query selects one key
    >>> bounds.lower, bounds.upper
    (1, 2)
    """
    signs = _signs(H)
    changes = sign_change_bound(signs).upper - 1
    if changes == 0:
        lower = upper = 0
    else:
        lower = max(1, _lower(signs) - 1)
        gauged = prove_rank(centred(as_rationals(signs.tolist()))).rank
        upper = min(changes, sign_change_bound(signs.T).upper, gauged)
    return RankBounds(lower, upper, Verdict.SUPPORTED, f"{FORSTER}; sign changes, rank of C H")


def sign_pattern_kl_bound(H: npt.ArrayLike, epsilon: float, head_size: int) -> float:
    """Lower bound of the KL divergence from P ∝ exp(epsilon H) at this head size.

    *Forster for KL, robustly* (docs/theory.md, section 5). Let H be square, [key, query], Z_j the
    column sums of exp(ε H), and put a threshold at ``e^{ε coth ε - 1}/Z_j``, the identric mean of
    the two values of column j. An entry of Q on the wrong side of it costs at least
    ``c_j = (e^{ε coth ε - 1} - ε/sinh ε)/Z_j``, and a submatrix without such an entry has the signs
    of H at rank k + 1, so at most ``(k + 1)² ‖H‖_2²`` entries. For every context Q of a head of
    size k and every r

        ``n KL(P ‖ Q) >= ⌊n/r⌋ Σ c_j``, over the cheapest ``n - ⌊(k + 1)² ‖H‖_2²/r⌋`` columns,

    of order ``min(ε², 1)/(k + 1)²`` for Hadamard matrices, whatever n. Where k + 1 < signrank(H)
    is known otherwise, one entry is on the wrong side of ``cosh(ε)/Z_j``, and

        ``n KL(P ‖ Q) >= min_j max(2 δ_j², δ_j²/(2 a_j) + δ_j²/(2 b_j))``,

    with ``δ_j = sinh(ε)/Z_j``, ``a_j = e^ε/Z_j`` and ``b_j = 1 - e^{-ε}/Z_j``.

    The bound is a mean over queries, in nats, rounded down from an enclosure; it is 0 where
    :func:`sign_rank_bounds` does not show that k + 1 is below the sign rank. For small ε
    :func:`rankbound.kl_lower_bound`, by column budgets, is larger, and positive for k < rank(C H).

    Examples
    --------
    >>> from scipy.linalg import hadamard
    >>> bound = sign_pattern_kl_bound(hadamard(64), epsilon=6, head_size=3)
    >>> 0.011 < bound < 0.012, sign_pattern_kl_bound(hadamard(16), epsilon=0.1, head_size=3)
    (True, 0.0)
    """
    signs, k = _signs(H), check_head_size(head_size)
    epsilon = check_real("epsilon", epsilon, above=0.0)
    if signs.shape[0] != signs.shape[1]:
        raise InputError(f"H has shape {signs.shape}; expected (n, n), keys by queries.")
    if k + 1 >= _lower(signs):
        return 0.0
    n = len(signs)
    positive = {int(count) for count in (signs > 0).sum(axis=0)}
    least = min(column_bound(n, count, epsilon) for count in positive)
    wrong = cut_pattern(signs, epsilon, k)[0]
    return max(least * (1 - 4 * U), wrong * (1 - GIVEN_AWAY))


def cut_pattern(H: npt.ArrayLike, epsilon: float, k: int) -> tuple[float, int]:
    """The bound by wrong signs for P ∝ exp(epsilon H), not rounded down, and its blocks of rows."""
    signs = _signs(H)
    n, counts = len(signs), (signs > 0).sum(axis=0)
    costs = {int(c): wrong_entry_cost(n, int(c), epsilon) for c in counts}
    each = np.broadcast_to([costs[int(c)] for c in counts], (n, n))
    return cut_best(each, largest_rectangle(signs, k + 1))


def wrong_entry_cost(n: int, positive: int, epsilon: float) -> float:
    """``c_j/n`` for a column with so many entries 1: a number near its lower end."""
    iv = _enclosing()
    e = iv.mpf(epsilon)
    grown, shrunk = iv.exp(e), iv.exp(-e)
    sinh = (grown - shrunk) / 2
    mean = iv.exp(e * (grown + shrunk) / (2 * sinh) - 1)
    return float(((mean - e / sinh) / (positive * grown + (n - positive) * shrunk) / n).a)


def _enclosing() -> Any:
    from mpmath.ctx_iv import MPIntervalContext

    iv: Any = MPIntervalContext()
    iv.prec = 212  # the difference loses about 2 log2(1/ε) of them
    return iv


def column_bound(n: int, positive: int, epsilon: float) -> float:
    """The bound of a column with so many entries 1, divided by n: a number near its lower end."""
    iv = _enclosing()
    grown, shrunk = iv.exp(iv.mpf(epsilon)), iv.exp(-iv.mpf(epsilon))
    Z = positive * grown + (n - positive) * shrunk
    square = ((grown - shrunk) / (2 * Z)) ** 2
    taylor = square / (2 * grown / Z) + square / (2 * (1 - shrunk / Z))
    return max(float((bound / n).a) for bound in (2 * square, taylor))
