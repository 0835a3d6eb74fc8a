"""Theorem C: masked contexts, and the completion of hidden logits to least rank."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import (
    Array,
    as_array,
    check_context,
    check_rows,
    check_square,
    storage_dtype,
)
from rankbound.attention.masks import Mask, check_mask
from rankbound.errors import InputError
from rankbound.exact.completion import extend_exactly
from rankbound.exact.rational import is_exact, rational_matrix
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.spectrum import spectrum
from rankbound.theory.reach import Reach
from rankbound.theory.spans import combine
from rankbound.verdict import Verdict

__all__ = ["MaskedLogs", "check_hidden", "complete", "complete_anyhow", "essential", "read_masked"]


@dataclass(frozen=True, eq=False)
class MaskedLogs:
    """Log-probabilities where the mask shows them, up to a constant in each column.

    Attributes
    ----------
    values : ndarray, shape (n, n)
        ``log P`` or logits; 0 where hidden.
    error : ndarray, shape (n, n)
        A bound on the error of each entry.
    mask : ndarray of bool, shape (n, n)
        [key, query], True = visible.
    exact : list of list of Fraction, or None
        The logits exactly, up to one common factor, where they were; 0 where hidden.
    underflowed : bool
        Whether `error` is mostly that of entries near the smallest positive number of the dtype.
    """

    values: Array
    error: Array
    mask: Mask
    exact: list[list[Fraction]] | None = None
    underflowed: bool = False

    def scaled(self) -> tuple[Array, Array, int]:
        """Values and errors over ``2**exponent``, and the exponent, so that nothing overflows."""
        exponent = int(np.frexp(np.max(np.abs(self.values)))[1])
        return np.ldexp(self.values, -exponent), np.ldexp(self.error, -exponent), exponent


def read_masked(
    P: Any, logits: Any, mask: Any, *, stored: npt.DTypeLike | None, rows: bool
) -> MaskedLogs:
    """Read a context that is positive exactly on the mask, or logits on the mask.

    ``rows=True`` transposes the mask with the matrix.
    """
    name, data = ("logits", logits) if P is None else ("P", P)
    dtype = np.dtype(np.float64) if is_exact(data) else storage_dtype(name, data, stored)
    shape = as_array(name, data).shape
    if check_rows(rows):  # at the door, once: the mask lies as the matrix does
        visible = check_mask(np.swapaxes(_as_mask(mask), -1, -2), shape[::-1])
    else:
        visible = check_mask(mask, shape)
    if P is None:
        return _masked_logits(logits, visible, dtype, rows)
    matrix = check_square("P", data)
    matrix = matrix.T if rows else matrix
    check_hidden(matrix, visible)
    filled, _ = check_context("P", matrix, stored=dtype, rows=False, zeros=True)
    if np.any(filled[visible] == 0):
        where = [int(i) for i in np.argwhere(visible & (filled == 0))[0]]
        raise InputError(
            f"P is 0 at {where}, which the mask shows; expected positive entries there: "
            "a softmax is positive where it sees. Hide the entry, or pass logits=."
        )
    info = np.finfo(dtype)
    values = np.log(np.where(visible, filled, 1.0))
    with np.errstate(over="ignore"):
        underflow = float(info.smallest_subnormal) / np.where(visible, filled, 1.0)
        rounding = float(info.eps) * (1 + np.abs(values))
        underflowed = np.linalg.norm(underflow[visible]) > np.linalg.norm(rounding[visible])
    error = np.where(visible, rounding + underflow, 0.0)
    return MaskedLogs(values, error, visible, underflowed=bool(underflowed))


def _as_mask(mask: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(mask)
    except ValueError:
        raise InputError("mask is ragged; expected a bool matrix.") from None


def check_hidden(P: Array, visible: Mask) -> None:
    """Refuse a context that is not 0 where the mask hides."""
    if np.any(P[~visible] != 0):
        where = [int(i) for i in np.argwhere(~visible & (P != 0))[0]]
        raise InputError(
            f"P is {P[tuple(where)]} at {where}, which the mask hides; expected 0 there. "
            "The mask is [key, query], True = visible: torch's is its transpose."
        )


def _masked_logits(logits: Any, visible: Mask, dtype: np.dtype[Any], rows: bool) -> MaskedLogs:
    if is_exact(logits):
        table = rational_matrix("logits", logits)[0]
        table = [list(column) for column in zip(*table, strict=True)] if rows else table
        table = [
            [x if seen else Fraction(0) for x, seen in zip(*pair, strict=True)]
            for pair in zip(table, visible.tolist(), strict=True)
        ]
        values = check_square("logits", table)
        return MaskedLogs(values, np.zeros_like(values), visible, table)
    array = as_array("logits", logits)
    array = array.T if rows else array
    hidden = ~visible & (array == -np.inf)  # as most software writes them
    values = np.where(visible, check_square("logits", np.where(hidden, 0.0, array)), 0.0)
    return MaskedLogs(values, float(np.finfo(dtype).eps) * np.abs(values), visible)


def essential(mask: Mask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the keys and queries that impose anything, keys by how many of these queries see them.

    A query that sees one key is 1 there whatever the logits; a key that no other query sees is
    free.
    """
    queries = np.flatnonzero(mask.sum(axis=0) > 1)
    seen = mask[:, queries].sum(axis=1)
    keys = np.argsort(-seen, kind="stable")
    return keys[seen[keys] > 0], queries


def complete(logs: MaskedLogs) -> Reach | None:
    """The least head size under a nested mask, and logits of that rank; None if it is not nested.

    Let the keys be ordered so that the sets K_i of queries that see them decrease, and subtract the
    first row, which all queries see: D. Row i is new where D[i, K_i] is not in the span of the rows
    above it, restricted to K_i. Each new row raises the rank of every completion, and every other
    row is completed by the combination of least norm that reproduces what is visible of it. So the
    number of new rows is the least rank.
    """
    keys, queries = essential(logs.mask)
    n = len(logs.mask)
    if not len(queries):
        return Reach(0, np.zeros((n, n)))
    order = np.ix_(keys, queries)
    visible = logs.mask[order]
    if not (visible[0].all() and (visible[:-1] >= visible[1:]).all()):
        return None
    values, errors, exponent = logs.scaled()
    D = np.where(visible, values[order] - values[keys[0], queries], 0.0)
    error = np.where(visible, errors[order] + errors[keys[0], queries], 0.0)
    new, completed, tolerance = _extend(D, error, visible)
    if logs.exact is not None:
        table = [[logs.exact[i][j] for j in queries] for i in keys]
        least = len(extend_exactly(table, visible.tolist()).new)
    else:
        least = new
    L = np.zeros((n, n))
    L[order] = completed
    return Reach(least, L, exponent, tolerance)


def _extend(D: Array, error: Array, visible: Mask) -> tuple[int, Array, float]:
    """Complete row by row; return how many are new, the completion, and what rounding left open."""
    basis = np.zeros((0, D.shape[1]))
    noise = np.zeros(0)
    completed = np.zeros_like(D)
    worst = 0.0
    for i in range(1, len(D)):
        seen = visible[i]
        row, known = D[i : i + 1, seen], np.linalg.norm(error[i : i + 1, seen], axis=1)
        coefficients, outside, tolerance = combine(basis[:, seen], row, noise, known)
        completed[i] = coefficients[0] @ basis
        if outside[0]:
            completed[i, seen] = row[0]
            basis = np.vstack([basis, completed[i]])
            noise = np.append(noise, known)
        else:
            worst = max(worst, float(tolerance[0]))
    return len(basis), completed, worst


def complete_anyhow(logs: MaskedLogs) -> tuple[Reach, RankBounds]:
    """A completion and bounds of the least head size under any mask (X of full column rank).

    Below: the log-rank of a fully visible block, of keys that two queries share and of the queries
    that see them all. Above: a completion row by row, as for nested masks but without their
    guarantee; or keys in general position, of one coordinate less than any query sees keys.
    """
    n = len(logs.mask)
    values, errors, exponent = logs.scaled()
    logs = MaskedLogs(values, errors, logs.mask)
    keys, queries = essential(logs.mask)
    if not len(queries):
        return Reach(0, np.zeros((n, n))), RankBounds(0, 0, Verdict.SUPPORTED, "nothing is seen")
    blocks = _blocks(logs.mask, keys, queries)
    lower = max((_block_rank(logs, *block) for block in blocks), default=0)
    order = np.ix_(keys, queries)
    visible, values = logs.mask[order], logs.values[order]
    means = np.where(visible, values, 0.0).sum(axis=0) / visible.sum(axis=0)
    D = np.where(visible, values - means, 0.0)
    error = np.where(visible, logs.error[order] + logs.error[order].max(axis=0), 0.0)
    first = np.zeros((1, len(queries)))  # _extend takes its first row as given
    upper, completed, tolerance = _extend(
        np.vstack([first, D]), np.vstack([first, error]), np.vstack([first == 0, visible])
    )
    L = np.zeros((n, n))
    L[order] = completed[1:]
    few = int(logs.mask.sum(axis=0).max()) - 1
    if upper > few:  # at most n - 1
        L, upper = _in_general_position(logs, few), few
    method = "lower: a fully visible block; upper: a completion"
    known = RankBounds(min(lower, upper), upper, Verdict.SUPPORTED, method)
    return Reach(upper, L, exponent, tolerance), known


def _in_general_position(logs: MaskedLogs, size: int) -> Array:
    """Logits of rank `size` that agree on the mask, where no query sees more than size + 1 keys.

    Differences of up to `size` keys in general position are independent, so each query has a vector
    with the differences of logits that it must see; the one of least norm.
    """
    n = len(logs.mask)
    keys = np.random.default_rng(0).standard_normal((size, n))  # almost surely in general position
    queries = np.zeros((size, n))
    for j in range(n):
        first, *rest = np.flatnonzero(logs.mask[:, j])
        if rest:
            differences = keys[:, rest] - keys[:, [first]]
            wanted = logs.values[rest, j] - logs.values[first, j]
            queries[:, j] = np.linalg.lstsq(differences.T, wanted, rcond=None)[0]
    return keys.T @ queries


MOST_BLOCKS = 24  # the most promising ones: a rank each


def _blocks(mask: Mask, keys: Any, queries: Any) -> list[tuple[Any, Any]]:
    found = {}
    for i, first in enumerate(queries):
        for second in queries[i:]:
            shared = mask[keys][:, first] & mask[keys][:, second]
            rows = keys[shared]
            if len(rows) > 1:
                columns = queries[mask[rows][:, queries].all(axis=0)]
                found[rows.tobytes()] = (rows, columns)
    size = {name: min(len(rows) - 1, len(columns)) for name, (rows, columns) in found.items()}
    best = sorted(found, key=lambda name: -size[name])[:MOST_BLOCKS]
    return [found[name] for name in best]


def _block_rank(logs: MaskedLogs, rows: Any, columns: Any) -> int:
    block = logs.values[np.ix_(rows, columns)]
    error = logs.error[np.ix_(rows, columns)]
    shown = spectrum(block[1:] - block[0])
    threshold = 2 * float(np.linalg.norm(error)) * len(rows) ** 0.5 + shown.tolerance
    return int(np.count_nonzero(shown.values > threshold))
