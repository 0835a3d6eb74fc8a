"""The log-rank of a head from its keys and queries; the n × n matrix is never formed.

Multiplying coordinate i of the keys by a power of two and dividing that of the queries by it leaves
the logits alone. So the two are balanced first, coordinate by coordinate, and a singular value is
compared with the rounding of balanced factors. Where that count is less than the head could reach,
or rests on a row that rounding may have made new, it is compared with the rank of the numbers as
given, found by elimination modulo primes, which is exact. The two agree, or the answer is
`Undecided`, unless the head is of exact numbers and elimination over the rationals decides.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_head, check_matrix, storage_dtype
from rankbound.attention.head import exact_array
from rankbound.attention.masks import Chain, Mask, check_mask, nested_chain
from rankbound.errors import InputError, Undecided
from rankbound.exact.elimination import extend_exactly
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.factored import (
    balanced,
    balancing,
    shifted,
    spectrum_of_factors,
    unit_rows,
)
from rankbound.theory.softmax_gauge import Logs
from rankbound.theory.theorem_c import bounds_under_mask, new_rows
from rankbound.verdict import Verdict

# Below 2^31, so that a product fits 64 bits; none is a Mersenne number. NumPy eliminates, as
# conversion to flint takes longer.
PRIMES = (2147483629, 2147483587, 2147483579, 2147483563)

MOST_ELIMINATED = 64  # tokens, in about a second

Integers = npt.NDArray[np.int64]
Factors = tuple[Array, Array]  # keys and queries, (k, n)


def log_rank_of_head(
    head: Any, X: Any, mask: Any, rtol: float | None, stored: npt.DTypeLike | None
) -> int:
    """The log-rank of a head on tokens: O(n k²) in time and, apart from the mask, O(n k) in memory.

    `mask` None means the head's own. Under a mask that is not nested the logits are formed and
    bounded; the head itself shows that its size is enough. Undecided if the bounds do not meet, or
    if the rounding of keys and queries leaves the answer open.
    """
    _require_head(head)
    mask = getattr(head, "mask", None) if mask is None else mask
    tokens = None if X is None else check_matrix("X", X, ndim=2)
    keys, queries = head.keys(X), head.queries(X)
    n = keys.shape[1]
    chain, visible = _read_mask(mask, n)
    if rtol is not None and not (chain is None and visible is None):
        raise InputError(
            "rtol and mask are not taken together; expected one: under a mask rows are compared "
            "with spans, and no singular value is counted."
        )
    if head.scale == 0:
        return 0
    own = getattr(head, "stored", None) if stored is None else None
    eps = (own or storage_dtype("head", keys, stored)).eps
    unit = eps if tokens is None else eps * len(tokens)  # one rounding for each product
    errors = None if tokens is None else _product_errors(head, tokens)
    if visible is not None:
        return _bounded(keys, queries, visible, unit, errors)
    if chain is None:
        count = unmasked_log_rank(keys, queries, unit, rtol, errors)
        if rtol is not None:
            return count
        order, seen, sure = np.arange(n), np.full(n, n), count
    else:
        order, seen = chain.keys, chain.seen
        shown = None if errors is None else (errors[0][:, order], errors[1])
        sure, count = chain_log_rank(keys[:, order], queries, seen, unit, shown)
    most = max(0, min(len(keys), int(seen.max()) - 1))
    if sure == most:
        return count
    given = getattr(head, "exact", None)
    W_q, W_k = (head.W_q, head.W_k) if given is None else given
    as_given = tokens if X is None else exact_array("X", X)
    factors = [W_k, W_q, *([] if X is None else [tokens if as_given is None else as_given])]
    denominators = {x.denominator for A in factors if A.dtype == object for x in A.flat}
    primes = [p for p in PRIMES if all(d % p for d in denominators)]
    exact = max(_rank_modulo(p, factors, order, seen) for p in primes[:2])
    whole = given is not None and (X is None or as_given is not None)
    if exact == count or (whole and exact > count):
        return exact
    if whole and n <= MOST_ELIMINATED:
        return _rank_by_elimination(factors, order, seen)
    if eps > FLOAT64_EPS and sure == min(most, *_ranks_within(keys, queries, unit, errors)):
        return count  # every head within rounding has this log-rank or more, and one has it
    raise _left_open(sure, count, exact, most, eps)


def _read_mask(mask: Any, n: int) -> tuple[Chain | None, Mask | None]:
    """The chain of a mask, or the mask where it is not nested; neither where nothing is hidden."""
    if mask is None:
        return None, None
    chain = nested_chain(mask, n) if isinstance(mask, str) else None
    if chain is None:
        visible = check_mask(mask, (n, n))
        chain = nested_chain(visible)
        if chain is None:
            return None, visible
    return (None if n == 1 or (chain.seen == n).all() else chain), None


def _product_errors(head: Any, tokens: Array) -> Factors:
    """What float64 commits in ``W X``: where it cancels, much more than a share of the result."""
    size, unit = np.abs(tokens), (len(tokens) + 1) * FLOAT64_EPS
    with np.errstate(over="ignore"):
        keys, queries = (unit * (np.abs(W) @ size) for W in (head.W_k, head.W_q))
    return keys, queries


def _require_head(head: Any) -> None:
    check_head(head, "For queries and keys, rb.AttentionHead(W_q=queries, W_k=keys).")
    if getattr(head, "soft_cap", None) is not None:
        raise InputError(
            "the head caps its logits, which then have no factors of its size; expected a head "
            "without soft_cap. Pass logits=head.logits(X)."
        )


def _left_open(sure: int, count: int, exact: int, most: int, eps: float) -> Undecided:
    return Undecided(
        f"the log-rank of the head is {exact} for its numbers as given, and rounding by {eps:.1e} "
        f"shows {count} of it: the keys and queries nearly cancel, or hold products of low rank "
        "that were rounded. Pass rtol=, stored= or exact logits=.",
        bounds=RankBounds(
            min(sure, exact), most, Verdict.SUPPORTED, "lower: beyond rounding; upper: the head"
        ),
        remedy="rtol= to count singular values above a share of the largest, stored= for the "
        "dtype in which the head was computed, or logits= in exact numbers",
    )


def _bounded(
    keys: Array, queries: Array, visible: Mask, unit: float, errors: Factors | None
) -> int:
    """The log-rank under a mask that is not nested, from the formed logits, if its bounds meet."""
    left, right, _ = balanced(keys, queries)
    wrong_left, wrong_right = _balanced_errors(keys, queries, unit, errors)
    size, width = np.abs(left), np.abs(right) + wrong_right
    products = wrong_left.T @ width + size.T @ wrong_right
    products += (len(keys) + 2) * FLOAT64_EPS * (size.T @ width)
    values, error = (np.where(visible, matrix, 0.0) for matrix in (left.T @ right, products))
    _, known = bounds_under_mask(Logs(values, error, np.zeros((1, 1), np.int32), visible))
    upper = min(int(known.upper), len(keys))
    if known.lower >= upper:
        return upper
    method = f"{known.method}, or the head itself"
    raise Undecided(
        f"the mask is not nested, and the log-rank lies in [{known.lower}, {upper}].",
        bounds=RankBounds(known.lower, upper, known.verdict, method),
        remedy="a nested mask (rb.is_nested)",
    )


def _balanced_errors(keys: Array, queries: Array, unit: float, errors: Factors | None) -> Factors:
    """Bounds on the errors of balanced factors: `unit` of each entry, and `errors`."""
    powers = balancing(keys, queries)[:2]
    given = (np.zeros_like(keys), np.zeros_like(queries)) if errors is None else errors
    left, right = (
        shifted(unit * np.abs(factor) + error, power)
        for factor, error, power in zip((keys, queries), given, powers, strict=True)
    )
    return left, right


def unmasked_log_rank(
    keys: Array,
    queries: Array,
    unit: float,
    rtol: float | None,
    errors: Factors | None = None,
) -> int:
    """Rank of ``C keys^T queries``, keys and queries (k, n) with entries right to `unit`.

    By Weyl no singular value moves by more than the error of the product, which is below
    ``2 unit ‖keys‖_F ‖queries‖_F`` of the balanced factors, and what the QR of the factors adds.
    Where they are products themselves, `errors` bounds what these committed beside `unit`. Nor is
    the rank below that of both factors less k (Sylvester), however their rows are scaled.
    """
    left, right, _ = balanced(keys, queries)
    values = spectrum_of_factors(left, right, 1.0, centred=True)
    wrong = _balanced_errors(keys, queries, unit, errors)
    size, width, wrong_size, wrong_width = (float(np.linalg.norm(x)) for x in (left, right, *wrong))
    threshold = wrong_size * (width + wrong_width) + size * wrong_width
    threshold += sum(keys.shape) * FLOAT64_EPS * size * width
    if rtol is not None:
        threshold = rtol * float(values[0])
    count = int(np.count_nonzero(values > threshold))
    if rtol is not None or count == min(len(keys), keys.shape[1] - 1):
        return count
    return max(count, sum(_ranks_within(keys, queries, unit, errors)) - len(keys))


def _ranks_within(
    keys: Array, queries: Array, unit: float, errors: Factors | None = None
) -> list[int]:
    """Ranks of the centred keys and of the queries, rows scaled, beyond `unit` and `errors`."""
    found = []
    given = (np.zeros_like(keys), np.zeros_like(queries)) if errors is None else errors
    for whole, beside, centred in zip((keys, queries), given, (True, False), strict=True):
        factor, sizes = unit_rows(whole)
        error = (unit + sum(factor.shape) * FLOAT64_EPS) * float(np.linalg.norm(factor))
        error += float(np.linalg.norm(shifted(beside, -sizes)))
        shown = factor - factor.mean(axis=1, keepdims=True) if centred else factor
        values = np.linalg.svd(shown, compute_uv=False)
        found.append(int(np.count_nonzero(values > error)))
    return found


def chain_log_rank(
    keys: Array, queries: Array, seen: Integers, unit: float, errors: Factors | None = None
) -> tuple[int, int]:
    """Bounds of the masked log-rank (Theorem C) where query j sees the first ``seen[j]`` keys.

    Row i of the logits, less the first, is ``(a_i - a_1)^T b_j`` for the queries j that see key i.
    Queries in the span of others that see no less decide nothing, so at most k queries stay, those
    that see most: row i is new where ``a_i - a_1`` adds to the span of the rows above it on them.
    """
    telling = np.flatnonzero(seen > 1)
    if not len(telling):
        return 0, 0
    wrong_keys, wrong_queries = _balanced_errors(keys, queries, unit, errors)
    keys, queries, _ = balanced(keys, queries)
    telling = telling[np.argsort(-seen[telling], kind="stable")]
    columns = queries[:, telling].T
    width = np.full(len(columns), len(queries))
    kept = telling[new_rows(columns, wrong_queries[:, telling].T, width)[0]]
    few, wrong_few = queries[:, kept], wrong_queries[:, kept]
    D = (keys - keys[:, :1]).T @ few
    error = (wrong_keys + wrong_keys[:, :1]).T @ (np.abs(few) + wrong_few)
    error += (np.abs(keys) + np.abs(keys[:, :1])).T @ wrong_few
    shown = np.count_nonzero(seen[kept] > np.arange(len(D))[:, None], axis=1)
    new, sure = new_rows(D[1:], error[1:], shown[1:])
    return sure, len(new)


def _rank_modulo(p: int, factors: list[npt.NDArray[Any]], order: Integers, seen: Integers) -> int:
    """:func:`chain_log_rank` of the numbers as given, with no rounding, modulo a prime.

    `factors` are W_k, W_q and the tokens, if there are any. Never above the rank over the
    rationals, and below it only where the prime divides a minor.
    """
    keys, queries, *tokens = (_residues(A, p) for A in factors)
    for X in tokens:
        keys, queries = _product(keys, X, p), _product(queries, X, p)
    keys = (keys[:, order] - keys[:, order[:1]]) % p
    telling = np.flatnonzero(seen > 1)
    telling = telling[np.argsort(-seen[telling], kind="stable")]
    kept = telling[_independent_columns(queries[:, telling], p)]
    D = _product(keys.T, queries[:, kept], p)
    shown = np.count_nonzero(seen[kept] > np.arange(len(D))[:, None], axis=1)
    new: list[int] = []
    for width in np.unique(shown[shown > 0])[::-1]:
        rows = [*new, *np.flatnonzero(shown == width).tolist()]
        found = _independent_columns(D[rows, :width].T, p)
        new += [rows[i] for i in found if i >= len(new)]
    return len(new)


def _rank_by_elimination(factors: list[npt.NDArray[Any]], order: Integers, seen: Integers) -> int:
    """:func:`_rank_modulo` over the rationals, and so the rank itself."""
    keys, queries, *tokens = (np.vectorize(Fraction, otypes=[object])(A) for A in factors)
    for X in tokens:
        keys, queries = keys.dot(X), queries.dot(X)
    telling = np.flatnonzero(seen > 1)
    table = keys[:, order].T.dot(queries[:, telling]).tolist()
    visible = np.arange(len(table))[:, None] < seen[telling]
    return len(extend_exactly(table, visible.tolist()).new)


def _residues(A: npt.NDArray[Any], p: int) -> Integers:
    """Rationals modulo an odd prime; floats are whole multiples of powers of two."""
    if A.dtype == object:
        whole = [int(x.numerator) * pow(int(x.denominator), -1, p) % p for x in A.flat]
        return np.array(whole, dtype=np.int64).reshape(A.shape)
    mantissa, exponent = np.frexp(A)
    whole = np.ldexp(mantissa, 53).astype(np.int64) % p
    used, place = np.unique(exponent - 53, return_inverse=True)
    powers = np.array([pow(2, int(e), p) for e in used], dtype=np.int64)
    residues: Integers = whole * powers[place].reshape(A.shape) % p
    return residues


def _product(A: Integers, B: Integers, p: int) -> Integers:
    total = np.zeros((len(A), B.shape[1]), dtype=np.int64)
    for column, row in zip(A.T, B, strict=True):  # a sum of two products would overflow
        total = (total + np.multiply.outer(column, row) % p) % p
    return total


def _independent_columns(A: Integers, p: int) -> list[int]:
    """The columns that are no combination of columns to their left."""
    rest = A.copy()
    pivots: list[int] = []
    for _ in range(len(A)):
        telling = rest.any(axis=0)
        if not telling.any():
            break
        column = int(np.argmax(telling))
        row = int(np.argmax(rest[:, column] != 0))
        pivot = rest[row] * pow(int(rest[row, column]), -1, p) % p
        others = np.delete(rest, row, axis=0)
        rest = (others - np.multiply.outer(others[:, column], pivot) % p) % p
        pivots.append(column)
    return pivots
