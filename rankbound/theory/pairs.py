"""All pairs of keys: head size 4 selects each of them, at a price in margin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_int, check_matrix, frozen_copy
from rankbound.errors import InputError
from rankbound.exact.rounding import U, check_model, product_error, up
from rankbound.theory.scale import longest

__all__ = ["Pairs", "check_pairs", "curve_pairs", "pair_members"]

Ints = npt.NDArray[np.intp]
MOST_KEYS = 1_000  # half a million queries, taken a block at a time
BLOCK = 2**22  # numbers in a block of scores


@dataclass(frozen=True, eq=False)
class Pairs:
    """Keys, a query for each pair of them, and what is certain of their scores.

    Attributes
    ----------
    keys : ndarray, shape (head_size, n)
    queries : ndarray, shape (head_size, n (n - 1)/2)
        In the order of ``(0, 1), (0, 2), …, (1, 2), …``.
    realised : int
        Pairs both of whose keys are certain to have larger scores than every other key.
    margin : float
        At most the least score of a key of a pair less the largest of another key, over all pairs,
        divided by the largest length of a key and of a query; negative if a pair is missed, and
        infinite where there is no other key.
    """

    keys: Array
    queries: Array
    realised: int
    margin: float

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return int(self.queries.shape[1])

    @property
    def share(self) -> float:
        """Of the pairs, how many are realised."""
        return self.realised / self.count


def pair_members(n: int) -> Ints:
    """The pairs of n keys in order, a row each; unchecked."""
    return np.stack(np.triu_indices(n, 1), axis=1)


def check_pairs(keys: npt.ArrayLike, queries: npt.ArrayLike) -> Pairs:
    """Say for how many pairs of keys their query scores both above all other keys.

    Keys and queries are the floats that they are; a pair counts if its margin is above a bound on
    the rounding of the scores.

    Parameters
    ----------
    keys : array_like, shape (head_size, n)
        n at least 2.
    queries : array_like, shape (head_size, n (n - 1)/2)
        In the order of ``(0, 1), (0, 2), …, (1, 2), …``.

    Returns
    -------
    Pairs

    References
    ----------
    docs/theory.md, section 5.

    Examples
    --------
    >>> check_pairs([[1.0, 0.0, -1.0]], [[1.0, 0.0, -1.0]]).realised  # not the outer two
    2
    """
    K, Q = check_matrix("keys", keys, ndim=2), check_matrix("queries", queries, ndim=2)
    n = check_int("number of keys", K.shape[1], least=2, most=MOST_KEYS)
    count = n * (n - 1) // 2
    if Q.shape != (len(K), count):
        raise InputError(
            f"queries are {Q.shape}; expected {(len(K), count)}, one for each pair of the {n} keys "
            "and of their length."
        )
    check_model()
    return _check_pairs(K, Q)


def _check_pairs(K: Array, Q: Array) -> Pairs:
    n, members = K.shape[1], pair_members(K.shape[1])
    step = max(1, BLOCK // n)
    least = [
        _pair_margins(K, Q[:, start : start + step], members[start : start + step])
        for start in range(0, len(members), step)
    ]
    margins = np.concatenate(least)
    lengths = longest(K) * longest(Q)
    lowest = float(margins.min())
    # towards minus infinity: a negative one is divided by less
    relative = lowest / lengths
    relative -= 8 * U * abs(relative) if math.isfinite(relative) else 0.0
    return Pairs(frozen_copy(K), frozen_copy(Q), int(np.count_nonzero(margins > 0)), relative)


def _pair_margins(K: Array, Q: Array, members: Ints) -> Array:
    """The margin of each query's pair, from below."""
    with np.errstate(under="ignore"):
        scores = K.T @ Q
        error = up(product_error(K.T, Q) + U * np.abs(scores), 2)
    own = np.arange(len(members))[:, None]
    inside = (scores - error)[members, own].min(axis=1)
    outside = scores + error
    outside[members, own] = -np.inf
    most = outside.max(axis=0)
    rounding = np.where(np.isfinite(most), 2 * U * (np.abs(inside) + np.abs(most)), 0.0)
    margins: Array = inside - most - rounding
    return margins


def curve_pairs(n: int) -> Pairs:
    """Realise all pairs of n keys at head size 4.

    *Sparse patterns are easy*, s = 2: keys at equal angles ``t_i`` on the trigonometric moment
    curve ``(cos t, sin t, cos 2t, sin 2t)``, and for the pair with angles a, b the functional of
    ``-(1 - cos(t - a))(1 - cos(t - b))`` less its constant term: 0 at a and b and negative at all
    other keys. Keys and queries have length 1, up to rounding; the margin falls like n^-4.

    Parameters
    ----------
    n : int
        At least 2.

    Returns
    -------
    Pairs
        With what is certain of the floats; all pairs are realised up to the largest n admitted.

    References
    ----------
    docs/theory.md, section 5.

    Examples
    --------
    >>> found = curve_pairs(50)
    >>> found.keys.shape, found.realised, found.count, 1e-5 < found.margin < 1e-4
    ((4, 50), 1225, 1225, True)
    """
    n = check_int("n", n, least=2, most=MOST_KEYS)
    check_model()
    angles = 2 * math.pi * np.arange(n) / n
    a, b = angles[pair_members(n)].T
    # (1 - cos(t - a))(1 - cos(t - b)) in cosines and sines of t and 2t
    queries = np.array(
        [
            np.cos(a) + np.cos(b),
            np.sin(a) + np.sin(b),
            -np.cos(a + b) / 2,
            -np.sin(a + b) / 2,
        ]
    )
    keys = np.array([np.cos(angles), np.sin(angles), np.cos(2 * angles), np.sin(2 * angles)])
    return _check_pairs(_unit(keys), _unit(queries))


def _unit(columns: Array) -> Array:
    scaled: Array = columns / np.sqrt(np.sum(columns * columns, axis=0))
    return scaled
