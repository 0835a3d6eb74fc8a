"""Theorem B: which contexts tokens of any rank allow, and at what head size.

Let N = I - X^+ X project onto the complement of the row space of X, and ℓ = log P. The logits of
heads of size k on X are the matrices with ``N L = 0``, ``L N = 0`` and rank at most k.

* If N 1 is not 0 the gauge is forced, ``c = -ℓ^T N 1 / (1^T N 1)``: P is reached iff ``N L = 0``
  and ``L N = 0`` for ``L = ℓ + 1 c^T``, and the least head size is rank L.
* If N 1 = 0: P is reached iff ``N ℓ = 0`` and ``C ℓ N = 0``, and the least head size is
  ``rank(C ℓ)``, reached by ``L = C ℓ``.

Otherwise no head of any size has P, and two vectors show it (:func:`unreachability_certificate`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_real
from rankbound.certificates.certificates import OrthogonalWeights, UnreachableWitness
from rankbound.certificates.checker import check
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import Unreachable, UnreachableWithin
from rankbound.context import read_context
from rankbound.errors import InputError, Undecided
from rankbound.exact.elimination import prove_rank
from rankbound.exact.flint import left_inverse, null_space, rational_product
from rankbound.exact.rational import Rationals, transposed
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.ranks.bounds import RankBounds
from rankbound.theory.any_tokens import exact_logits, masked_unreachability
from rankbound.theory.softmax_gauge import Logs, lost_by_large_logits
from rankbound.theory.theorem_a import (
    Reach,
    guarded_reach,
    head_from_factors,
    least_on_full_rank,
    missed,
)
from rankbound.tokens import RowSpace, Tokens, read_tokens
from rankbound.verdict import Verdict

Vector = list[Fraction]

CONFIRMED = 1e-6  # by how much a head may miss log P that confirms an answer on doubtful tokens
PLAIN = 1e-4  # a share of 1 outside the row space, above which the numerical one is good enough


def least_on_tokens(logs: Logs, X: Tokens, rtol: float | None) -> Reach:
    """Decide whether some head on these tokens has the context, and the least size.

    Over the rationals where logits and tokens are exact. Float tokens are the exact numbers they
    are; where their numerical rank is another, the answer stands only if it is the same for both,
    or a head shows it; else it is Undecided.
    """
    if logs.exact is not None and X.given is not None:
        return replace(_exact(logs, X.given), space=X.space)
    numerical, certain = _reach(logs, X.numerical, rtol)
    certain &= _gauge_is_known(X)
    given = None if certain and X.settled else X.as_given
    if given is None:  # the rank leaves no doubt, or there are too many tokens for more
        if certain and X.numerical_rank == X.rank:
            return _guarded(logs, numerical, rtol)
        _refuse(logs, X, X.numerical_rank, numerical)
    if logs.exact is not None:
        return replace(_exact(logs, X.rationals), space=given)
    found, certain = _reach(logs, given, rtol)
    if not certain:
        _refuse(logs, X, given.rank, found)
    if X.given is None and X.numerical_rank != given.rank and not _confirmed(logs, X, found):
        if numerical.least != found.least:
            _refuse(logs, X, given.rank, found, numerical)
        found = numerical if _confirmed(logs, X, numerical) else found
    return _guarded(logs, found, rtol)


def _gauge_is_known(X: Tokens) -> bool:
    """Whether 1 is plainly outside the numerical row space, or in the row space itself."""
    space = X.numerical
    plainly = float(np.linalg.norm(space.outside)) > PLAIN * math.sqrt(X.n)
    return space.rank == X.n or plainly or (X.settled and X.holds_ones)


def _guarded(logs: Logs, found: Reach, rtol: float | None) -> Reach:
    if found.doubtful:
        raise Undecided(
            f"{found.reason}; but on these tokens, with a large part in common, logits may lose "
            "as much before the softmax. Pass exact logits (logits=, ints or Fractions).",
            bounds=RankBounds(0, logs.n - 1, Verdict.SUPPORTED, "if any head has P"),
            remedy="logits=",
        )
    space = found.space
    if rtol is not None or space is None:
        return found
    return guarded_reach(logs, found, lambda less: _reach(less, space, None)[0])


def _confirmed(logs: Logs, X: Tokens, found: Reach) -> bool:
    """Whether a head of the size found has the context on these very tokens."""
    if math.isinf(found.least):
        return False
    rank = int(found.least)
    try:
        head = head_from_factors(*found.factors(rank), max(rank, 1), found.space)
        return missed(head, X, logs) <= CONFIRMED + found.allowed
    except InputError:  # weights or logits that overflow confirm nothing
        return False


def _refuse(logs: Logs, X: Tokens, rank: int, *found: Reach | None) -> NoReturn:
    sizes = sorted({reach.least for reach in found if reach is not None})
    said = " or ".join("that no head has P" if math.isinf(x) else str(int(x)) for x in sizes)
    ranks = f"rank {X.numerical_rank} to rounding"
    if rank != X.numerical_rank:
        ranks += f" and {rank} as the exact numbers it holds"
    raise Undecided(
        f"X has {ranks}, and the least head size hangs on digits that its rounding has lost "
        f"(found: {said}). Pass exact tokens (ints or Fractions), or rows of X that are "
        "independent and of comparable size.",
        bounds=RankBounds(
            int(min([*sizes, logs.n - 1])),
            logs.n - 1,
            Verdict.SUPPORTED,
            "found; if any head has P",
        ),
        remedy="exact or better conditioned tokens",
    )


def _reach(logs: Logs, space: RowSpace, rtol: float | None) -> tuple[Reach, bool]:
    """The answer on a row space, and whether the error of that space cannot have changed it."""
    if space.rank == logs.n:
        return replace(least_on_full_rank(logs, rtol), space=space), True
    n, D = logs.n, logs.scaled
    length = float(np.linalg.norm(space.outside))
    forced = length > math.sqrt(n) * (space.angle + n * FLOAT64_EPS)
    if space.exact is not None:
        forced = length > 0
    data = float(logs.tolerance)
    turned = 2 * space.angle * float(np.linalg.norm(D))
    grown = 1.0
    if forced:
        # an error of D enters the gauge divided by ‖N 1‖, one of the projector likewise
        D = D - (space.outside @ D) / (space.outside @ space.outside)
        grown += math.sqrt(n) / length
    rounding = 4 * n * FLOAT64_EPS * float(np.linalg.norm(D))
    known = data * grown + rounding
    tolerance = known + turned * grown
    basis = space.basis
    across = D - basis.T @ (basis @ D)
    along = D - (D @ basis.T) @ basis
    inside = basis.T @ (basis @ D @ basis.T) @ basis
    sizes = np.array([np.linalg.norm(across), np.linalg.norm(along)])
    values = np.asarray(np.linalg.svd(inside, compute_uv=False), np.float64)
    # sound: no residual and no singular value lies where the tokens' error alone decides
    doubtful = [*sizes, *(values if rtol is None else [])]
    certain = not any(known < x <= tolerance for x in doubtful)
    # an almost free gauge blows the data's error up: it must not be what drops singular values
    certain &= not any(data + rounding < x <= known for x in values) or grown < 1 / PLAIN
    reason = _failure(across, along, tolerance, forced)
    if reason:
        doubtful = max(sizes) <= grown * lost_by_large_logits(logs, space, D)
        return Reach(math.inf, D, logs.exponent, data, reason, space, doubtful), certain
    threshold = tolerance if rtol is None else rtol * float(values[0])
    least = int(np.count_nonzero(values > threshold))
    return Reach(least, inside, logs.exponent, data, space=space), certain


def _failure(across: Array, along: Array, tolerance: float, forced: bool) -> str:
    for name, residual in (("N L", across), ("L N", along)):
        size = float(np.linalg.norm(residual))
        if size > tolerance:
            query = int(np.argmax(np.linalg.norm(residual, axis=0)))
            fails = f"fails by {size:.2e} (rounding explains {tolerance:.1e})"
            return _reason(f"{name} = 0 {fails}, most for query {query}", forced)
    return ""


def _reason(failure: str, forced: bool) -> str:
    gauge = "the gauge that N 1 forces" if forced else "any gauge, as N 1 = 0"
    return f"{failure}, in {gauge}; N projects onto what the tokens do not span"


def _exact(logs: Logs, tokens: Rationals) -> Reach:
    """Over the rationals, for exact logits and tokens."""
    n, D = logs.n, logs.exact or []
    N = _complement(tokens, n)
    outside = [sum(row, Fraction(0)) for row in N]
    length = sum(outside, Fraction(0))  # 1^T N 1 = ‖N 1‖^2
    weights = [u / length for u in outside] if length else [Fraction(1, n)] * n
    gauge = rational_product([weights], D)[0]
    D = [[x - c for x, c in zip(row, gauge, strict=True)] for row in D]
    for name, residual in (("N L", rational_product(N, D)), ("L N", rational_product(D, N))):
        bad = [j for row in residual for j, x in enumerate(row) if x]
        if bad:
            reason = _reason(f"{name} = 0 fails exactly, for query {bad[0]}", bool(length))
            return Reach(math.inf, logs.scaled, logs.exponent, reason=reason)
    logits = np.array([[float(x) for x in row] for row in D]) * logs.unit
    return Reach(prove_rank(D).rank, logits)


def _complement(tokens: Rationals, n: int) -> Rationals:
    """N = I - Π exactly, Π the projector onto the row space."""
    proof = prove_rank(tokens)
    rows = [tokens[i] for i in proof.rows]
    identity = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
    if not rows:
        return identity
    columns = transposed(rows)
    projector = rational_product(columns, left_inverse(columns))
    return [
        [x - y for x, y in zip(*pair, strict=True)]
        for pair in zip(identity, projector, strict=True)
    ]


def unreachability_certificate(
    P: npt.ArrayLike | None = None,
    *,
    X: Any = None,
    logits: Any = None,
    mask: Any = None,
    ratio: float = 0.0,
    rows: bool = False,
) -> UnreachableWitness | OrthogonalWeights | None:
    """Return the proof that no head of any size has this context on tokens X, if there is one.

    Theorem B restated: P has a head on X iff ``C log P v = 0`` for every v with ``X v = 0`` and
    ``u^T log P = 0`` for every u with ``X u = 0`` and ``1^T u = 0``. So where there is none, two
    vectors show it: left with ``1^T left = 0``, and right, ``X left = 0`` or ``X right = 0``, and
    ``left^T log P right`` not 0, which it is for every head.

    Parameters
    ----------
    P, logits, mask, rows : as in `Context`
        A float P stands for the exact numbers that its floats are; logits must be exact.
    X : array_like or sympy.Matrix, shape (d, n)
        Tokens, read exactly, floats too.
    ratio : float
        With P: no head has its context within a factor ``e^±ratio`` of P in every entry.

    Returns
    -------
    UnreachableWitness, OrthogonalWeights or None
        Weights W under a mask (:mod:`rankbound.theory.any_tokens`). With logits, None if and only
        if some head has the context; with P, None if no proof was found (n is at most 256 there).
        See docs/certificates.md, kinds unreachable and orthogonal-weights.

    Examples
    --------
    >>> import rankbound as rb
    >>> from rankbound.theory.theorem_b import unreachability_certificate
    >>> proof = unreachability_certificate([[0.5, 0.75], [0.5, 0.25]], X=[[1, 0]], ratio=0.5)
    >>> rb.check(proof).accepted
    True
    >>> unreachability_certificate(logits=[[5, 0], [0, 0]], X=[[1, 0]]) is None
    True
    """
    ratio = check_real("ratio", ratio, least=0.0)
    context = read_context(P, logits=logits, mask=mask, rows=rows)
    if X is None:
        raise InputError("X is None; expected tokens: on some, every context has a head.")
    if context.mask is not None:
        return masked_unreachability(context, read_tokens(X, context.n), ratio)
    tokens = read_tokens(X, context.n).rationals
    if context.name == "P":
        floats = context.values.tolist()
        # rounded logarithms choose the witness; what it proves is checked
        logs = [[Fraction(math.log(x)) for x in row] for row in floats]
        within = UnreachableWithin(Matrix.of_floats(floats), ratio, Matrix.of_rationals(tokens))
        found = _strongest(logs, tokens, within)
        return found if found is not None and check(found).accepted else None
    exact = exact_logits(context, ratio)
    statement = Unreachable(Matrix.of_rationals(exact), Matrix.of_rationals(tokens))
    return _strongest(exact, tokens, statement)


def _strongest(
    L: Rationals, tokens: Rationals, statement: Unreachable | UnreachableWithin
) -> UnreachableWitness | None:
    found = max(_witnesses(L, tokens), key=lambda w: w[0], default=None)
    if found is None or not found[0]:
        return None
    return UnreachableWitness(statement, _column(found[1]), _column(found[2]))


def _column(vector: Vector) -> Matrix:
    return Matrix.of_rationals([[x] for x in vector])


def _witnesses(L: Rationals, tokens: Rationals) -> Iterator[tuple[Fraction, Vector, Vector]]:
    """Vectors left and right, after what ``|left^T L right| / (‖left‖_1 ‖right‖_1)`` is.

    All are 0 iff P has a head: let ``X u = 0``, ``1^T u != 0`` and c the gauge with u^T L' = 0. By
    the second kind v^T L' = 0 for all null v, and if C L v = 0, then L' v = μ 1 with
    ``μ 1^T u = u^T L' v = 0``.
    """
    null = null_space(tokens)
    if not null:
        return
    n = len(L)
    across = rational_product(L, transposed(null))
    for v, column in zip(null, zip(*across, strict=True), strict=True):
        most, least = column.index(max(column)), column.index(min(column))
        left = [Fraction((i == most) - (i == least)) for i in range(n)]
        yield (column[most] - column[least]) / (2 * sum(map(abs, v))), left, v
    level = _summing_to_zero(null)
    for u, row in zip(level, rational_product(level, L) if level else [], strict=True):
        j = max(range(n), key=lambda j: abs(row[j]))
        yield abs(row[j]) / sum(map(abs, u)), u, [Fraction(i == j) for i in range(n)]


def _summing_to_zero(null: Rationals) -> Rationals:
    """A basis of those combinations that sum to zero."""
    sums = [sum(u, Fraction(0)) for u in null]
    place = next((i for i, total in enumerate(sums) if total), None)
    if place is None:
        return null
    return [
        [x - total / sums[place] * y for x, y in zip(u, null[place], strict=True)]
        for i, (u, total) in enumerate(zip(null, sums, strict=True))
        if i != place
    ]
