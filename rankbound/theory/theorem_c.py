"""Theorem C: the least head size under a mask, and the completion of hidden logits that reaches it.

X of full column rank, P positive exactly on a nested mask: the sets K_i of queries that see key i
decrease in some order of the keys, and all queries see the first (queries that see a single key
impose nothing and are left out). Let D be log P less its first row. Row i *is new* when
``D[i, K_i]`` is not in the span of the rows above it on K_i. The least head size is the number of
new rows: each raises the rank of every completion, and every other row is completed by the
combination that reproduces what is visible of it. For almost every causal P that is floor(n/2).

Under other masks there are bounds: a fully visible block from below, a completion from above.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.attention.masks import Chain, Mask, essential, nested_chain
from rankbound.certificates.certificates import MaskedWitness
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import MaskedLogRank
from rankbound.exact.elimination import ExactCompletion, extend_exactly
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.spectrum import spectrum
from rankbound.theory.softmax_gauge import Logs
from rankbound.theory.theorem_a import Reach, guarded_reach
from rankbound.verdict import Verdict

MOST_BLOCKS = 24  # the most promising fully visible ones: a rank each


def complete(logs: Logs) -> Reach | None:
    """The least head size under a nested mask, and logits of that rank; None if it is not nested.

    Every row that is not new is completed by the combination of least norm that reproduces what is
    visible of it.
    """
    chain = nested_chain(logs.visible)
    if chain is None:
        return None
    keys, queries = chain.keys, chain.queries
    L = np.zeros_like(logs.values)
    if not len(queries):
        return Reach(0, L)
    order = np.ix_(keys, queries)
    visible = logs.visible[order]
    D = np.where(visible, logs.values[order] - logs.values[keys[0], queries], 0.0)
    error = np.where(visible, logs.error[order] + logs.error[keys[0], queries], 0.0)
    given = None if logs.given is None else logs.given[order]
    new, completed, tolerance, doubtful = _extend(D, error, visible, given)
    if logs.exact is not None:
        new, doubtful = len(_exact_completion(logs, chain).new), False
    L[order] = completed
    return Reach(new, L, logs.exponent, tolerance, doubtful=doubtful)


def guarded_completion(logs: Logs) -> Reach | None:
    """:func:`complete`, unless float64 data shows the rounding of float32."""
    found = complete(logs)
    if found is None:
        return None
    return guarded_reach(logs, found, lambda less: complete(less) or found)


def _extend(
    D: Array, error: Array, visible: Mask, given: Array | None = None
) -> tuple[int, Array, float, bool]:
    """Complete row by row: how many are new, the completion, its tolerance, whether in doubt.

    `given` is what D was computed from, row 0 being what was subtracted: it tells equal rows.
    """
    new: list[int] = []
    basis = np.zeros((0, D.shape[1]))
    noise = np.zeros(0)
    completed = np.zeros_like(D)
    worst, doubtful = 0.0, False
    for i in range(1, len(D)):
        seen = visible[i]
        row, known = D[i : i + 1, seen], np.linalg.norm(error[i : i + 1, seen], axis=1)
        read = None if given is None else given[[0, *new]][:, seen]
        found = combine(basis[:, seen], row, noise, known, read)
        completed[i] = found.coefficients[0] @ basis
        doubtful |= bool(found.doubtful[0])
        if found.outside[0]:
            completed[i, seen] = row[0]
            new.append(i)
            basis = np.vstack([basis, completed[i]])
            noise = np.append(noise, known)
        else:
            worst = max(worst, float(found.tolerance[0]))
    return len(new), completed, worst, doubtful


AMPLIFIED = 1e3  # coefficients of unit rows beyond which a combination rests on cancellation


@dataclass(frozen=True, eq=False)
class Combination:
    """Rows as combinations of a basis: coefficients (m, s), and for each row what they show."""

    coefficients: Array
    outside: npt.NDArray[np.bool_]  # farther from the span than errors and rounding explain
    tolerance: Array  # by how much they may
    doubtful: npt.NDArray[np.bool_]  # whether that rests on cancellation in the basis


def combine(
    basis: Array, rows: Array, basis_error: Array, rows_error: Array, given: Array | None = None
) -> Combination:
    """The combinations of least norm of `basis` (s, r) that come nearest to each of `rows` (m, r).

    The errors bound the Euclidean error of each row. Basis rows are brought to unit length first,
    so that one much longer than another does not hide it. A row outside is in doubt where a
    direction of the basis is lost in rounding, as it may lie there. Rows that are equal in `given`
    (1 + s, r), of which the basis holds the differences from the first, have none to lose.
    """
    span = _Span.of(basis, basis_error)
    c, distance, tolerance, plain = span.nearest(rows, rows_error)
    outside = distance > tolerance
    lost = bool(outside.any()) and span.loses_a_direction()
    if lost and given is not None:
        once = np.unique(given, axis=0, return_index=True)[1]
        once = once[once > 0] - 1
        lost = _Span.of(basis[once], basis_error[once]).loses_a_direction()
    return Combination(c, outside, tolerance, np.where(outside, lost, distance > plain))


@dataclass(frozen=True, eq=False)
class _Span:
    """The span of a basis (s, r): its rows brought to unit length, decomposed once."""

    unit: Array
    lengths: Array
    noise: Array  # of the rows of unit length
    left: Array
    values: Array
    right: Array

    @classmethod
    def of(cls, basis: Array, error: Array) -> Self:
        lengths: Array = np.linalg.norm(basis, axis=1)
        lengths[lengths == 0] = 1.0
        unit = basis / lengths[:, None]
        return cls(unit, lengths, error / lengths, *np.linalg.svd(unit, full_matrices=False))

    @property
    def rounding(self) -> float:
        """Of backward stable least squares: LAPACK's customary constant, eight times."""
        return 8 * (sum(self.unit.shape) + 1) * FLOAT64_EPS

    def nearest(self, rows: Array, error: Array) -> tuple[Array, Array, Array, Array]:
        """Coefficients, the distances that they leave, and what errors and rounding explain of it.

        The last also where coefficients beyond `AMPLIFIED` are not believed.
        """
        sizes: Array = np.linalg.norm(rows, axis=1)
        told = self._told
        c = (rows @ self.right[told].T / self.values[told]) @ self.left[:, told].T
        few = np.minimum(np.abs(c), AMPLIFIED * sizes[:, None])
        explained = [
            error + x @ self.noise + self.rounding * (sizes + x.sum(axis=1))
            for x in (np.abs(c), few)
        ]
        distance: Array = np.linalg.norm(rows - c @ self.unit, axis=1)
        return c / self.lengths, distance, explained[0], explained[1]

    @property
    def _told(self) -> npt.NDArray[np.bool_]:
        """Which singular values count: above NumPy's share of the largest for least squares."""
        share = max(self.unit.shape) * FLOAT64_EPS
        return np.asarray(self.values > share * self.values.max(initial=0.0))

    def loses_a_direction(self) -> bool:
        """Whether so little of one is left that rounding may have made it."""
        return not self._told.all()

    def is_everything(self) -> bool:
        """Whether every row is in the span but for rounding, on these columns or fewer.

        Columns that are left out make no row longer and let the others span no less.
        """
        s, r = self.unit.shape
        return s >= r and bool(self.values[r - 1] > self.rounding * s**0.5)


def new_rows(rows: Array, error: Array, seen: npt.NDArray[np.int64]) -> tuple[list[int], int]:
    """Rows that are outside the span of the rows above them, on what is visible of them.

    And how many of the first of these are so beyond doubt, as :func:`combine` has it.

    `rows` and the bound `error` of each entry are (n, r). Row i shows its first ``seen[i]``
    columns, which do not increase; at most r rows are new, so the time is O(n r²) for n much above
    r².
    """
    new: list[int] = []
    n, r = rows.shape
    start, size, sure = 0, r, n
    span: _Span | None = None  # of the new rows on as many columns as the next shows
    while start < n and seen[start]:
        width = int(seen[start])
        # rows of one width, few at a time: a new row makes the rest of its block stale
        stop = min(int(np.searchsorted(-seen, -width, side="right")), start + 4 * r)
        count = min(size, stop - start, width - len(new))
        if count > 1:  # as a rule all are new until nothing is left; else half as many may be
            whole = [*new, *range(start, start + count)]
            if _independent(rows[whole, :width], error[whole, :width]):
                new, start, span = whole, start + count, None
            else:
                size = count // 2
            continue
        if span is None or span.unit.shape[1] != width:
            span = _Span.of(rows[new, :width], np.linalg.norm(error[new, :width], axis=1))
            if span.is_everything():
                break
        block = slice(start, stop)
        known = np.linalg.norm(error[block, :width], axis=1)
        _, distance, explained, _ = span.nearest(rows[block, :width], known)
        outside = np.flatnonzero(distance > explained)
        if len(outside):
            sure = min(sure, len(new)) if span.loses_a_direction() else sure
            start += int(outside[0])
            new.append(start)
            start, span = start + 1, None
        else:
            start = stop
    return new, min(sure, len(new))


def _independent(rows: Array, error: Array) -> bool:
    """Whether :func:`combine` would find each row outside the span of those before it.

    Of rows of unit length with a least singular value s, any combination c of some is
    ``s sqrt(1 + ‖c‖²)`` away from another at least, and what errors and rounding explain is at most
    ``(e + rounding) (1 + ‖c‖_1)``: less, if s is above the root of their number times that.
    """
    lengths: Array = np.linalg.norm(rows, axis=1)
    if not lengths.all():
        return False
    noise = float(np.max(np.linalg.norm(error, axis=1) / lengths))
    values = np.linalg.svd(rows / lengths[:, None], compute_uv=False)
    rounding = 9 * (sum(rows.shape) + 1) * FLOAT64_EPS  # as `combine` has it, and of this
    return bool(values[-1] > len(rows) ** 0.5 * (noise + rounding * values[0]))


def bounds_under_mask(logs: Logs) -> tuple[Reach, RankBounds]:
    """A completion and bounds of the least head size under any mask (X of full column rank).

    Below: the log-rank of a fully visible block, of keys that two queries share and of the queries
    that see them all. Above: a completion row by row, as for nested masks but without their
    guarantee; or keys in general position, of one coordinate less than any query sees keys.
    """
    n, mask = logs.n, logs.visible
    keys, queries = essential(mask)
    if not len(queries):
        return Reach(0, np.zeros((n, n))), RankBounds(0, 0, Verdict.SUPPORTED, "nothing is seen")
    lower = max((_block_rank(logs, *block) for block in _blocks(mask, keys, queries)), default=0)
    order = np.ix_(keys, queries)
    visible, values = mask[order], logs.values[order]
    means = np.where(visible, values, 0.0).sum(axis=0) / visible.sum(axis=0)
    D = np.where(visible, values - means, 0.0)
    error = np.where(visible, logs.error[order] + logs.error[order].max(axis=0), 0.0)
    first = np.zeros((1, len(queries)))  # _extend takes its first row as given
    upper, completed, tolerance, _ = _extend(
        np.vstack([first, D]), np.vstack([first, error]), np.vstack([first == 0, visible])
    )
    L = np.zeros((n, n))
    L[order] = completed[1:]
    few = int(mask.sum(axis=0).max()) - 1
    if upper > few:  # at most n - 1
        L, upper = _in_general_position(logs.values, mask, few), few
    method = "lower: a fully visible block; upper: a completion"
    known = RankBounds(min(lower, upper), upper, Verdict.SUPPORTED, method)
    return Reach(upper, L, logs.exponent, tolerance), known


def _in_general_position(values: Array, mask: Mask, size: int) -> Array:
    """Logits of rank `size` that agree on the mask, where no query sees more than size + 1 keys.

    Differences of up to `size` keys in general position are independent, so each query has a vector
    with the differences of logits that it must see; the one of least norm.
    """
    n = len(mask)
    keys = np.random.default_rng(0).standard_normal((size, n))  # almost surely in general position
    queries = np.zeros((size, n))
    for j in range(n):
        first, *rest = np.flatnonzero(mask[:, j])
        if rest:
            differences = keys[:, rest] - keys[:, [first]]
            wanted = values[rest, j] - values[first, j]
            queries[:, j] = np.linalg.lstsq(differences.T, wanted, rcond=None)[0]
    return keys.T @ queries


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


def _block_rank(logs: Logs, rows: Any, columns: Any) -> int:
    block = logs.values[np.ix_(rows, columns)]
    error = logs.error[np.ix_(rows, columns)]
    shown = spectrum(block[1:] - block[0])
    threshold = 2 * float(np.linalg.norm(error)) * len(rows) ** 0.5 + shown.tolerance
    return int(np.count_nonzero(shown.values > threshold))


def certified_under_mask(logs: Logs) -> RankBounds:
    """Bounds of the masked log-rank: rigorous for exact logits under a nested mask."""
    chain = nested_chain(logs.visible)
    if logs.exact is None or chain is None:
        return bounds_under_mask(logs)[1]
    exact, mask = logs.exact, logs.visible
    found = _exact_completion(logs, chain)
    least, keys, queries = len(found.new), chain.keys.tolist(), chain.queries.tolist()

    def prove(_: tuple[int, ...]) -> tuple[MaskedWitness]:
        n = len(exact)
        mask_matrix = Matrix.of_integers(mask.astype(int).tolist())
        statement = MaskedLogRank(Matrix.of_rationals(exact), mask_matrix, least, least)
        directions = [[Fraction(0)] * least for _ in range(n)]
        head_keys = [[Fraction(0)] * n for _ in range(least)]
        head_queries = [[Fraction(0)] * n for _ in range(least)]
        for t in range(least):
            for j, query in enumerate(queries):
                directions[query][t] = found.witnesses[t][j]
                head_queries[t][query] = found.basis[t][j]
            for i, key in enumerate(keys):
                head_keys[t][key] = found.coefficients[i][t]
        witness = MaskedWitness(
            statement,
            tuple(keys[i] for i in found.new),
            keys[0] if keys else 0,
            Matrix.of_rationals(directions, columns=least),
            Matrix.of_rationals(head_keys, columns=n),
            Matrix.of_rationals(head_queries, columns=n),
        )
        return (witness,)

    method = "lower: new rows with triangular witnesses; upper: an exact completion"
    return RankBounds(least, least, Verdict.RIGOROUS, method, prove)


def _exact_completion(logs: Logs, chain: Chain) -> ExactCompletion:
    queries, keys = chain.queries.tolist(), chain.keys.tolist()
    if not queries or logs.exact is None:
        return ExactCompletion([], [], [], [])
    table = [[logs.exact[i][j] for j in queries] for i in keys]
    return extend_exactly(table, logs.visible[np.ix_(keys, queries)].tolist())
