"""Any tokens under any mask: which contexts heads have, by linear algebra in their weights.

Let query j see the keys K_j. A head with ``M = W_k^T W_q`` has P on tokens X iff for some c

    (X^T M X)_ij + c_j = log p_ij   for every visible pair (i, j),

which is linear in (M, c). So (Fredholm) some head has P **iff** ``<W, log P> = 0`` for every W that
is zero where the mask hides, with ``1^T W = 0`` and ``X W X^T = 0``. One such W with another
product proves that no head has P. The contexts of heads are a manifold whose dimension is the rank
of the system less the n of the gauge.

The least head size is the least rank of M over the solutions. It is known where M is unique up to
the gauge; elsewhere Theorem C bounds it from below, and a solution that was found from above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from operator import mul
from typing import Any

import numpy as np

from rankbound._validate import Array, check_bool, check_int
from rankbound.attention.masks import Mask, check_mask, full_mask
from rankbound.certificates.certificates import OrthogonalWeights, Representation
from rankbound.certificates.checker import check
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import (
    RepresentedMasked,
    Statement,
    UnreachableMasked,
    UnreachableMaskedWithin,
)
from rankbound.context import Context
from rankbound.errors import InputTypeError, Undecided
from rankbound.exact.elimination import prove_rank
from rankbound.exact.flint import null_space, rational_product, solve_rows
from rankbound.exact.rational import Rationals, transposed
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.ranks.bounds import RankBounds
from rankbound.theory.softmax_gauge import Logs, lost_by_large_logits
from rankbound.theory.theorem_a import Reach, guarded_reach
from rankbound.tokens import RowSpace, Tokens, read_tokens
from rankbound.verdict import Verdict

MOST_FLOATS = 2**24  # entries of the system in floats: seconds
MOST_EXACT = 2**17  # and over the rationals
MOST_SEARCHED = 2**21  # entries of a Jacobian in the search for a smaller head
STARTS = 2  # random ones, beside the truncated weights of least norm

Equations = list[tuple[int, int, int]]  # key, reference key, query


def reachable_dimension(X: Any, *, mask: Any = None) -> int:
    """Dimension of the set of contexts that heads, of any size, have on tokens X under a mask.

    Exact: the rank over the rationals of ``M -> (X^T M X)_ij - (X^T M X)_i'j``, i' a key that
    query j sees, over all other keys i that it sees. All contexts positive on the mask together
    have one dimension less per query than pairs are visible. Every one of them is the context of
    some head iff the two dimensions are equal.

    Parameters
    ----------
    X : array_like, shape (d, n)
        Tokens, the exact numbers they are, floats too.
    mask : as in `Context`, optional
        None shows every key.

    Returns
    -------
    int

    Examples
    --------
    A causal mask forgives one missing dimension: all 4 · 3 / 2 dimensions are reached with d = 3.

    >>> import rankbound as rb
    >>> X = [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 4]]
    >>> rb.reachable_dimension(X, mask="causal"), rb.reachable_dimension(X)
    (6, 9)
    """
    equations = weight_equations(X, mask=mask)
    return prove_rank(equations).rank if equations and equations[0] else 0


def weight_equations(X: Any, *, mask: Any = None) -> Rationals:
    """The equations for the entries of M by rows, M of shape (r, r) on r independent rows of X.

    One per visible pair, less one per query: ``(X^T M X)_ij - (X^T M X)_i'j``.
    """
    tokens = read_tokens(X)
    n = tokens.n
    visible = full_mask(n) if mask is None else check_mask(mask, (n, n))
    rows, equations = _independent(tokens), _equations(visible)
    _require(len(equations) * len(rows) ** 2, MOST_EXACT)
    return _system(rows, equations)


def causal_dimension(n: int, d: int, *, holds_ones: bool = False) -> int:
    """Dimension of the causal contexts that heads have on n tokens of d coordinates.

    For tokens any d of which are independent: all ``n(n-1)/2`` dimensions for n <= d + 1 (a causal
    mask forgives one missing dimension); with ``m = n - d``, ``n(n-1)/2 - m(m-1)`` for
    d <= n <= 2d; and d² beyond.

    Parameters
    ----------
    n, d : int
        Number of tokens; their embedding size.
    holds_ones : bool
        Whether 1 is in the row space of the first d + 1 tokens, as it is with a bias. Then
        ``n(n-1)/2 - m²`` for d <= n <= 2d - 1 and ``d² - d`` beyond.

    Examples
    --------
    >>> import rankbound as rb
    >>> [rb.causal_dimension(n, 4) for n in (4, 5, 6, 8, 9)]
    [6, 10, 13, 16, 16]
    """
    n, d = check_int("n", n, least=1), check_int("d", d, least=1)
    holds_ones = check_bool("holds_ones", holds_ones, "1 is in the row space")
    missing = max(n - d, 0)
    if holds_ones:
        return n * (n - 1) // 2 - missing**2 if n < 2 * d else d * d - d
    return n * (n - 1) // 2 - missing * max(missing - 1, 0) if n <= 2 * d else d * d


def _independent(tokens: Tokens) -> Rationals:
    """Independent rows of the tokens over the rationals, as many as their rank."""
    rows = tokens.rationals
    return [rows[i] for i in sorted(prove_rank(rows).rows)]


def _equations(visible: Mask) -> Equations:
    """One per visible pair, less one per query: each takes the first key that its query sees."""
    found: Equations = []
    for j, seen in enumerate(visible.T):
        first, *rest = np.flatnonzero(seen).tolist()
        found += [(i, first, j) for i in rest]
    return found


def _system(rows: Rationals, equations: Equations) -> Rationals:
    """The coefficients of M, r × r by rows, in each equation."""
    if not rows:
        return [[] for _ in equations]
    columns = transposed(rows)
    return [
        [(x - y) * z for x, y in zip(columns[i], columns[first], strict=True) for z in columns[j]]
        for i, first, j in equations
    ]


def _require(size: int, most: int) -> None:
    if size > most:
        raise Undecided(
            f"the equations for the weights have {size} coefficients; at most {most} are solved. "
            "Pass fewer tokens, or tokens of full column rank, which need none.",
            remedy="fewer tokens",
        )


# over the rationals


def orthogonal_weights(tokens: Tokens, visible: Mask) -> list[Rationals]:
    """A basis of the W, n × n, with ``1^T W = 0``, ``X W X^T = 0``, zero where the mask hides."""
    rows, equations = _independent(tokens), _equations(visible)
    _require(len(equations) * max(len(rows), 1) ** 2, MOST_EXACT)
    if not equations:
        return []
    if rows:
        null = null_space(transposed(_system(rows, equations)))
    else:
        null = [[Fraction(int(a == b)) for b in equations] for a in equations]
    return [_as_weights(y, equations, tokens.n) for y in null]


def _as_weights(y: list[Fraction], equations: Equations, n: int) -> Rationals:
    W = [[Fraction(0)] * n for _ in range(n)]
    for x, (i, first, j) in zip(y, equations, strict=True):
        W[i][j] += x
        W[first][j] -= x
    return W


def exact_weights(L: Rationals, tokens: Tokens, visible: Mask) -> Rationals | None:
    """M on the independent rows of the tokens with logits L on the mask, or None if there is none.

    M has shape (r, r); of the solutions the one that elimination finds.
    """
    rows, equations = _independent(tokens), _equations(visible)
    r = len(rows)
    _require(len(equations) * max(r, 1) ** 2, MOST_EXACT)
    wanted = [L[i][j] - L[first][j] for i, first, j in equations]
    m = solve_rows(transposed(_system(rows, equations)) if rows and equations else [], wanted)
    if m is None:
        return None
    return [m[i * r : (i + 1) * r] or [Fraction(0)] * r for i in range(r)]


def masked_representation(L: Rationals, tokens: Tokens, visible: Mask) -> Representation | None:
    """The proof that a head has logits L on the mask, on these tokens; None if there is none."""
    M = exact_weights(L, tokens, visible)
    if M is None:
        return None
    rows = sorted(prove_rank(tokens.rationals).rows)
    d = len(tokens.rationals)
    chosen = [[Fraction(int(i == row)) for i in range(d)] for row in rows] or [[Fraction(0)] * d]
    M = M or [[Fraction(0)]]
    statement = RepresentedMasked(
        Matrix.of_rationals(L),
        _mask_matrix(visible),
        Matrix.of_rationals(chosen),
        Matrix.of_rationals(rational_product(M, chosen)),
        Matrix.of_rationals(tokens.rationals),
    )
    return Representation(statement)


def masked_unreachability(
    context: Context, tokens: Tokens, ratio: float
) -> OrthogonalWeights | None:
    """The proof that no head has the context under its mask, if there is one."""
    X = Matrix.of_rationals(tokens.rationals)
    if context.name == "P":
        floats = np.where(context.visible, context.values, 0.0).tolist()
        # rounded logarithms choose the weights; what they prove is checked
        L = [[Fraction(math.log(x)) if x else Fraction(0) for x in row] for row in floats]
        statement: Statement = UnreachableMaskedWithin(
            Matrix.of_floats(floats), _mask_matrix(context.visible), ratio, X
        )
    else:
        L = exact_logits(context, ratio)
        statement = UnreachableMasked(Matrix.of_rationals(L), _mask_matrix(context.visible), X)
    W = _strongest(L, orthogonal_weights(tokens, context.visible))
    if W is None:
        return None
    proof = OrthogonalWeights(statement, Matrix.of_rationals(W))
    return proof if context.name == "logits" or check(proof).accepted else None


def exact_logits(context: Context, ratio: float) -> Rationals:
    """The logits of a context given by exact ones; anything else is refused."""
    if context.exact is None:
        raise InputTypeError(
            "logits are not exact; expected ints, Fractions or SymPy numbers, since rounded ones "
            "have no exact answer. Pass the context P and a ratio."
        )
    if ratio:
        raise InputTypeError(f"ratio is {ratio} with logits; expected 0, as they are exact.")
    return context.exact


def _strongest(L: Rationals, basis: list[Rationals]) -> Rationals | None:
    """The W of greatest ``|<W, L>| / ‖W‖_1`` among a basis and the projection of L on it."""
    products = [_product(W, L) for W in basis]
    found = [W for W, x in zip(basis, products, strict=True) if x]
    if not found:
        return None
    units = [_unit(W) for W in basis]
    flat = np.array([list(map(float, unit)) for unit in units])
    shares = np.linalg.lstsq(flat.T, np.array(list(map(float, _unit(L)))), rcond=None)[0]
    largest = float(np.abs(shares).max())
    if 0 < largest < math.inf:
        whole = [Fraction(x) for x in np.round(shares / largest * 2**20).tolist()]
        entries = zip(*units, strict=True)
        n, mixed = len(L), [sum(map(mul, whole, entry), Fraction(0)) for entry in entries]
        found.append([mixed[i * n : (i + 1) * n] for i in range(n)])
    return max(found, key=lambda W: abs(_product(W, L)) / (_length(W) or 1))


def _unit(M: Rationals) -> list[Fraction]:
    """The entries over the largest of them, which may be beyond float64."""
    entries = [x for row in M for x in row]
    largest = max(map(abs, entries)) or 1
    return [x / largest for x in entries]


def _product(W: Rationals, L: Rationals) -> Fraction:
    """``<W, L>``, over the entries where W is not zero."""
    pairs = (pair for rows in zip(W, L, strict=True) for pair in zip(*rows, strict=True))
    return sum((x * y for x, y in pairs if x), Fraction(0))


def _length(W: Rationals) -> Fraction:
    """``‖W‖_1``, entry by entry."""
    return sum((abs(x) for row in W for x in row), Fraction(0))


def _mask_matrix(visible: Mask) -> Matrix:
    return Matrix.of_integers(visible.astype(int).tolist())


# in floats


@dataclass(frozen=True, eq=False)
class System:
    """The equations for M on an orthonormal basis of the row space, decomposed."""

    left: Array  # (equations, rank), orthonormal
    values: Array  # (rank,), all positive
    right: Array  # (rank, r²)
    lost: float  # the error of the coefficients, in spectral norm
    gauge: Array | None  # w, X^T w = 1, if there is one: adding w u^T to M changes no context
    space: RowSpace

    @property
    def unique(self) -> bool:
        """Whether every context of a head has one M, up to the gauge."""
        r = self.space.rank
        return r * r - len(self.values) == (0 if self.gauge is None else r)

    @property
    def coefficients(self) -> Array:
        """The matrix of the equations."""
        return (self.left * self.values) @ self.right

    def solve(self, wanted: Array) -> tuple[Array, Array]:
        """M of least norm, (r, r), and what no M explains of each equation."""
        inside = self.left.T @ wanted
        m = self.right.T @ (inside / self.values)
        r = self.space.rank
        return m.reshape(r, r), wanted - self.left @ inside

    def without_gauge(self, M: Array) -> Array:
        """Of all ``M + w u^T`` one of least rank."""
        if self.gauge is None:
            return M
        return M - np.outer(self.gauge, self.gauge @ M) / (self.gauge @ self.gauge)


def _decompose(tokens: Tokens, space: RowSpace, visible: Mask) -> System:
    """The system with each query's equations centred over the keys that it sees."""
    r, count = space.rank, int(visible.sum())
    _require(count * r * r, MOST_FLOATS)
    blocks, size = [np.zeros((0, r * r))], 0.0
    for j, seen in enumerate(visible.T):
        keys = space.basis[:, seen].T
        size = math.hypot(size, float(np.linalg.norm(keys) * np.linalg.norm(space.basis[:, j])))
        centred = keys - keys.mean(axis=0)
        blocks.append((centred[:, :, None] * space.basis[:, j]).reshape(len(keys), r * r))
    left, values, right = np.linalg.svd(np.concatenate(blocks), full_matrices=False)
    lost = (2 * space.angle + (count + r * r) * FLOAT64_EPS) * size
    rank = int(np.count_nonzero(values > lost))
    known = _exact_rank(tokens, visible)
    if known not in (None, rank):
        raise Undecided(
            f"the equations for the weights have rank {rank} to rounding and {known} for the exact "
            "numbers that X holds; expected tokens for which rounding leaves no doubt of it. Pass "
            "logits and tokens exactly (ints or Fractions).",
            bounds=RankBounds(0, tokens.n - 1, Verdict.SUPPORTED, "the shape; if any head has P"),
            remedy="exact logits and tokens",
        )
    gauge = space.basis.sum(axis=1) if tokens.holds_ones else None
    return System(left[:, :rank], values[:rank], right[:rank], lost, gauge, space)


def _exact_rank(tokens: Tokens, visible: Mask) -> int | None:
    """The rank of the equations over the rationals; None where they are too many."""
    rows, equations = _independent(tokens), _equations(visible)
    if not rows or not equations:
        return 0
    if len(equations) * len(rows) ** 2 > MOST_EXACT:
        return None
    return prove_rank(_system(rows, equations)).rank


def least_under_mask(logs: Logs, tokens: Tokens, known: RankBounds) -> Reach:
    """Decide whether some head on these tokens has the context; the least size, or bounds of it.

    `known` bounds the least size on tokens of full column rank, below also here. Exact logits and
    tokens decide over the rationals whether there is a head.
    """
    exact = logs.exact is not None and tokens.given is not None
    M = exact_weights(logs.exact or [], tokens, logs.visible) if exact else None
    if exact and M is None:
        reason = "some W with 1^T W = 0 and X W X^T = 0 has <W, log P> != 0, exactly"
        return Reach(math.inf, logs.values, logs.exponent, reason=reason)
    if M is not None and _unique(tokens, logs.visible):
        return _exactly(logs, tokens, M)
    if tokens.rank and tokens.space is None:
        _require(MOST_FLOATS + 1, MOST_FLOATS)
    space = tokens.numerical if tokens.space is None else tokens.space
    system, lower = _decompose(tokens, space, logs.visible), int(known.lower)
    found = _least(logs, system, lower)
    if math.isinf(found.least) and M is not None:
        return _bounded(_exactly(logs, tokens, M), lower)
    if found.doubtful:
        raise Undecided(
            f"{found.reason}; but rounding in the weights, or in the logits before the softmax, "
            "explains as much. Pass logits and tokens exactly (ints or Fractions).",
            bounds=RankBounds(lower, logs.n - 1, Verdict.SUPPORTED, "Theorem C; if any head has P"),
            remedy="exact logits and tokens",
        )
    return guarded_reach(logs, found, lambda less: _least(less, system, lower))


def _unique(tokens: Tokens, visible: Mask) -> bool:
    """Whether M is unique up to the gauge, over the rationals."""
    rank, r = _exact_rank(tokens, visible), tokens.rank
    return rank is not None and r * r - rank == (r if tokens.holds_ones else 0)


def _exactly(logs: Logs, tokens: Tokens, M: Rationals) -> Reach:
    """The head of weights M over the rationals, of the least rank over the gauge."""
    rows, n = _independent(tokens), logs.n
    if not rows:
        return Reach(0, np.zeros((n, n)), space=tokens.space)
    if tokens.holds_ones:
        w = solve_rows(rows, [Fraction(1)] * n) or []
        share = rational_product([w], M)[0]
        squares = sum(x * x for x in w)
        M = [
            [x - a * b / squares for x, b in zip(row, share, strict=True)]
            for row, a in zip(M, w, strict=True)
        ]
    L = rational_product(rational_product(transposed(rows), M), rows)
    values = np.array([[float(x) for x in row] for row in L]) * logs.unit
    return Reach(prove_rank(M).rank, values, space=tokens.space)


def _bounded(found: Reach, lower: int) -> Reach:
    """What was found, undecided where it is above the lower bound."""
    if found.least <= lower:
        return found
    bounds = RankBounds(
        lower, int(found.least), Verdict.SUPPORTED, "lower: Theorem C; upper: the weights found"
    )
    undecided = Undecided(
        "the weights of a head with this context are not unique on these tokens under this mask, "
        f"and the least head size lies in [{bounds.lower}, {bounds.upper}] ({bounds.method}).",
        bounds=bounds,
        remedy=f"rb.represent with head_size={bounds.upper} returns a head",
    )
    return replace(found, undecided=undecided)


def _least(logs: Logs, system: System, lower: int) -> Reach:
    space, queries = system.space, np.nonzero(logs.visible.T)[0]
    wanted = np.concatenate(
        [x[seen] - x[seen].mean() for x, seen in zip(logs.values.T, logs.visible.T, strict=True)]
    )
    data = float(np.linalg.norm(logs.error[logs.visible]))

    def allowed(size: float) -> float:
        rounding = len(wanted) * FLOAT64_EPS * float(np.linalg.norm(wanted))
        return data + system.lost * size + rounding

    M, missed = system.solve(wanted)
    tolerance = allowed(float(np.linalg.norm(M)))
    least_value = float(system.values.min(initial=math.inf))
    distance = float(np.linalg.norm(missed))
    if distance > tolerance:
        L = space.basis.T @ M @ space.basis
        # the exact weights may be larger than those found by what rounding takes off the system
        margin = max(least_value - system.lost, FLOAT64_EPS * least_value)
        larger = allowed(float(np.linalg.norm(wanted)) / margin)
        doubtful = distance <= max(larger, lost_by_large_logits(logs, space, L))
        worst = int(queries[np.argmax(np.abs(missed))])
        reason = (
            f"no weights have the logits by {distance:.2e} (rounding explains {tolerance:.1e}), "
            f"most for query {worst}"
        )
        return Reach(math.inf, L, logs.exponent, data, reason, space, doubtful)

    def reach(M: Array, rank: int) -> Reach:
        L = space.basis.T @ M @ space.basis
        return Reach(rank, L, logs.exponent, tolerance, space=space)

    M = system.without_gauge(M)
    values = np.linalg.svd(M, compute_uv=False)
    rank = int(np.count_nonzero(values > tolerance / least_value))
    if system.unique:
        return reach(M, rank)
    found = reach(M, rank)
    for size in range(rank - 1, lower - 1, -1):
        smaller = _search(system, wanted, M, size)
        if smaller is None or float(
            np.linalg.norm(system.coefficients @ smaller.ravel() - wanted)
        ) > allowed(float(np.linalg.norm(smaller))):
            break
        M = smaller
        found = reach(M, size)
    return _bounded(found, lower)


def _search(system: System, wanted: Array, M: Array, size: int) -> Array | None:
    """Weights of this rank that solve the equations as nearly as least squares on factors gets."""
    from scipy.optimize import least_squares
    from threadpoolctl import threadpool_limits

    r = len(M)
    coefficients = system.coefficients
    A = coefficients.reshape(-1, r, r)
    if not size or A.size // r * 2 * size > MOST_SEARCHED:
        return None

    unknowns = 2 * r * size
    equations = max(len(wanted), unknowns)  # no fewer, by equations 0 = 0: MINPACK asks for that

    def residual(x: Array) -> Array:
        U, V = x.reshape(2, r, size)
        missed = np.zeros(equations)
        missed[: len(wanted)] = coefficients @ (U @ V.T).ravel() - wanted
        return missed

    def jacobian(x: Array) -> Array:
        U, V = x.reshape(2, r, size)
        parts = np.tensordot(A, V, (2, 0)), np.tensordot(A, U, (1, 0))
        slopes = np.zeros((equations, unknowns))
        np.concatenate([part.reshape(len(A), -1) for part in parts], 1, slopes[: len(A)])
        return slopes

    left, values, right = np.linalg.svd(M)
    root = np.sqrt(values[:size])
    rng, scale = np.random.default_rng(0), math.sqrt(float(values[0]) or 1.0)
    starts = [np.stack([left[:, :size] * root, right[:size].T * root])]
    starts += [scale * rng.standard_normal((2, r, size)) / math.sqrt(r) for _ in range(STARTS)]
    enough = (1e-13 * float(np.linalg.norm(wanted))) ** 2
    best: Any = None
    with threadpool_limits(1, "blas"):  # the matrices are small; threads only wait for each other
        for start in starts:
            fit = least_squares(
                residual, start.ravel(), jacobian, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15
            )
            if best is None or fit.cost < best.cost:
                best = fit
            if best.cost <= enough:
                break
    U, V = best.x.reshape(2, r, size)
    return np.asarray(U @ V.T)
