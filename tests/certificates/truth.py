"""Whether a statement is true, found without a certificate: Fractions, SymPy, mpmath.

True may mean "not known to be false" where deciding is hard; False is always certain. What the
specification calls malformed raises, and counts as false.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise, product
from math import isqrt
from typing import Any

import mpmath
import numpy as np
import sympy

from tests.certificates.build import (
    Doc,
    Matrix,
    centred,
    eliminated,
    left_inverse,
    times,
    transposed,
)

VERTICES = 300  # at most so many corners of a box of matrices


def holds(statement: Doc) -> bool:
    """Whether the statement is well formed and not false."""
    try:
        return bool(ORACLES[statement["kind"]](statement))
    except Exception:  # the oracle only reads what the specification allows
        return False


def number(text: str) -> Fraction:
    """The number that a string of a certificate stands for."""
    if "p" in text:
        return Fraction(float.fromhex(text))
    above, _, below = text.partition("/")
    if below:
        assert int(below, 16) > 0
    return Fraction(int(above, 16), int(below or "0x1", 16))


def matrix(data: Doc) -> Matrix:
    """The matrix in Fractions."""
    m, n = data["rows"], data["columns"]
    assert type(m) is int and type(n) is int and m > 0 and n > 0
    assert len(data["entries"]) == m * n
    entries = [number(entry) for entry in data["entries"]]
    return [entries[i * n : (i + 1) * n] for i in range(m)]


def rank(A: Matrix) -> int:
    """The rank, by SymPy."""
    rows = [[sympy.Rational(x.numerator, x.denominator) for x in row] for row in A]
    return int(sympy.Matrix(rows).rank())


def _bounded(value: int, statement: Doc) -> bool:
    lower, upper = statement["lower"], statement["upper"]
    assert type(lower) is int and type(upper) is int and lower >= 0
    return lower <= value <= upper


def _rank(statement: Doc) -> bool:
    return _bounded(rank(matrix(statement["matrix"])), statement)


def _log_rank(statement: Doc) -> bool:
    L = matrix(statement["logits"])
    assert len(L) == len(L[0])
    return _bounded(rank(centred(L)), statement)


def _logit_rank(statement: Doc) -> bool:
    A = times(transposed(matrix(statement["keys"])), matrix(statement["queries"]))
    assert len(A) == len(A[0]) and type(statement["centred"]) is bool
    return _bounded(rank(centred(A) if statement["centred"] else A), statement)


def _errors(statement: Doc, A: Matrix) -> Matrix:
    if isinstance(statement["error"], str):
        return [[number(statement["error"])] * len(A[0])] * len(A)
    errors = matrix(statement["error"])
    assert (len(errors), len(errors[0])) == (len(A), len(A[0]))
    return errors


def _corners(A: Matrix, E: Matrix) -> list[Matrix]:
    assert all(e >= 0 for row in E for e in row)
    n = len(A[0])
    flat = [
        (a, e) for row, errors in zip(A, E, strict=True) for a, e in zip(row, errors, strict=True)
    ]
    if 2 ** len(flat) > VERTICES:  # these only: still necessary
        flat = [(a, Fraction(0)) for a, _ in flat]
        return [[[a for a, _ in flat[i * n : (i + 1) * n]] for i in range(len(A))]]
    return [
        [list(corner[i * n : (i + 1) * n]) for i in range(len(A))]
        for corner in product(*[(a - e, a + e) for a, e in flat])
    ]


def _rank_under_error(statement: Doc) -> bool:
    """Exact where a determinant decides, which is multiaffine: its extremes are at corners."""
    A = matrix(statement["matrix"])
    lower, corners = statement["lower"], _corners(A, _errors(statement, A))
    assert type(lower) is int and lower >= 0
    if lower == len(A) == len(A[0]):
        signs = {sympy.sign(sympy.Matrix(corner).det()) for corner in corners}
        return signs in ({1}, {-1})
    return all(rank(corner) >= lower for corner in corners)


def _singular_value(statement: Doc) -> bool:
    A = matrix(statement["matrix"])
    index, bound = statement["index"], number(statement["bound"])
    assert type(index) is int and 1 <= index <= min(len(A), len(A[0])) and bound > 0
    with mpmath.workdps(60):
        slack = 1 - mpmath.mpf(10) ** -40
        return all(
            sorted(_singular_values(corner), reverse=True)[index - 1] >= _real(bound) * slack
            for corner in _corners(A, _errors(statement, A))
        )


def _singular_values(A: Matrix) -> list[Any]:
    """From the Gram matrix of the shorter side."""
    A = A if len(A) <= len(A[0]) else transposed(A)
    gram = mpmath.matrix([[_real(x) for x in row] for row in times(A, transposed(A))])
    values, _ = mpmath.eigsy(gram)
    return [mpmath.sqrt(max(value, 0)) for value in values]


def _log_rank_within(statement: Doc) -> bool:
    """Exact for 2 × 2; else necessary: P itself, and Q with all rows within reach made equal."""
    P, ratio, lower = matrix(statement["context"]), number(statement["ratio"]), statement["lower"]
    n = len(P)
    assert n == len(P[0]) and ratio >= 0 and type(lower) is int and lower >= 0
    assert all(x > 0 for row in P for x in row)
    with mpmath.workdps(60):
        logs = [[mpmath.log(_real(x)) for x in row] for row in P]
        spread = [
            max(abs(x - y) for x, y in zip(one, two, strict=True))
            for i, one in enumerate(logs)
            for two in logs[:i]
        ]
        # each row of differences that can be made to vanish is one rank less
        movable = any(d <= 2 * _real(ratio) for d in spread)
        columns = [max(column) - min(column) for column in zip(*logs, strict=True)]
        flat = sum(d <= 2 * _real(ratio) for d in columns)
    return bool(lower <= min(n - 1 - movable, n - flat, rank(_exact_logs(P))))


def _exact_logs(P: Matrix) -> Matrix:
    """C log P with equal logarithms equal: distinct floats here have independent enough ones."""
    with mpmath.workdps(60):
        return centred(
            [[Fraction(str(mpmath.nstr(mpmath.log(_real(x)), 50))) for x in row] for row in P]
        )


def _represented_exactly(statement: Doc) -> bool:
    K, Q, L = (matrix(statement[name]) for name in ("keys", "queries", "logits"))
    assert len(K[0]) == len(Q[0]) and len(K) == len(Q)
    if statement.get("tokens") is not None:
        X = matrix(statement["tokens"])
        assert len(X) == len(K[0])
        K, Q = times(K, X), times(Q, X)
    return centred(times(transposed(K), Q)) == centred(L)


def _represented_within(statement: Doc) -> bool:
    P, K, Q = (matrix(statement[name]) for name in ("context", "keys", "queries"))
    ratio, scale = number(statement["ratio"]), number(statement["scale"])
    if statement.get("tokens") is not None:
        X = matrix(statement["tokens"])
        assert len(X) == len(K[0])
        K, Q = times(K, X), times(Q, X)
    L = times(transposed(K), Q)
    assert (len(L), len(L[0])) == (len(P), len(P[0])) and ratio >= 0
    with mpmath.workdps(60):
        return all(
            _distance(column, logits, scale) <= _real(ratio) * (1 + mpmath.mpf(10) ** -40)
            for column, logits in zip(transposed(P), transposed(L), strict=True)
        )


def _distance(column: list[Fraction], logits: list[Fraction], scale: Fraction) -> Any:
    powers = [mpmath.exp(_real(scale * x)) for x in logits]
    total = mpmath.log(sum(powers)) - mpmath.log(_real(sum(column, Fraction(0))))
    return max(
        abs(_real(scale * x) - total - mpmath.log(_real(p)))
        for x, p in zip(logits, column, strict=True)
    )


def _rank_above_head_size(statement: Doc) -> bool:
    E, K, Q = (matrix(statement[name]) for name in ("exponents", "keys", "queries"))
    L = times(transposed(K), Q)
    assert (len(L), len(L[0])) == (len(E), len(E[0]))
    for j in range(len(E)):
        if len({L[i][j] - E[i][j] for i in range(len(E))}) > 1:
            return False
    return rank([[Fraction(2) ** int(e) for e in row] for row in E]) > len(K)


def _masked_log_rank(statement: Doc) -> bool:
    """Exact for nested masks, by the gains in rank; else necessary: visible blocks, keys seen."""
    L, mask = matrix(statement["logits"]), matrix(statement["mask"])
    lower, upper, n = statement["lower"], statement["upper"], len(L)
    assert n == len(L[0]) == len(mask) == len(mask[0])
    assert all(x in (0, 1) for row in mask for x in row)
    assert all(sum(column) for column in transposed(mask))
    queries = [j for j in range(n) if sum(row[j] for row in mask) > 1]
    if not queries:
        return bool(lower <= 0 <= upper)
    seen = {i: {j for j in queries if mask[i][j]} for i in range(n)}
    keys = sorted((i for i in range(n) if seen[i]), key=lambda i: -len(seen[i]))
    chain = [seen[i] for i in keys]
    if chain[0] != set(queries) or any(not x >= y for x, y in pairwise(chain)):
        most = max(sum(row[j] for row in mask) for j in range(n)) - 1
        pairs = [(i, k, j) for i in keys for k in keys for j in seen[i] & seen[k]]
        differs = any(L[i][j] - L[k][j] != 0 for i, k, j in pairs)  # then no head of size 0 will do
        return bool(lower <= most and upper >= differs)
    least = 0
    for place in range(1, len(keys)):
        part = [
            [L[i][j] - L[keys[0]][j] for j in sorted(chain[place])] for i in keys[1 : place + 1]
        ]
        least += rank(part) - (rank(part[:-1]) if part[:-1] else 0)
    return bool(lower <= least <= upper)


def _layers_differ(statement: Doc) -> bool:
    X, gap = matrix(statement["tokens"]), number(statement["gap"])
    assert gap > 0
    with mpmath.workdps(60):
        f, g = (_output(statement[name], X) for name in ("f", "g"))
        norm = mpmath.sqrt(sum(abs(x) ** 2 for x in f - g))
        return bool(norm >= _real(gap) * (1 - mpmath.mpf(10) ** -40))


def _heads_and_gauges(statement: Doc, n: int) -> Matrix:
    """Rows that span the logits of all heads on the tokens, X^T M X + 1 c^T, n² numbers each."""
    X = matrix(statement["tokens"])
    assert len(X[0]) == n
    heads = [[x * y for x in one for y in two] for one in X for two in X]
    gauges = [[Fraction(int(j == g)) for _ in range(n) for j in range(n)] for g in range(n)]
    return heads + gauges


def _unreachable(statement: Doc) -> bool:
    L = matrix(statement["logits"])
    assert len(L) == len(L[0])
    spanned = _heads_and_gauges(statement, len(L))
    return rank([*spanned, [x for row in L for x in row]]) > rank(spanned)


def _unreachable_within(statement: Doc) -> bool:
    """Necessary: the head nearest in least squares is not within the ratio."""
    P, ratio = matrix(statement["context"]), number(statement["ratio"])
    n = len(P)
    assert n == len(P[0]) and ratio >= 0 and all(x > 0 for row in P for x in row)
    spanned = _heads_and_gauges(statement, n)
    basis = [spanned[i] for i in eliminated(spanned)[0]]
    logs = [[x] for row in _exact_logs(P) for x in row]
    nearest = times(left_inverse(transposed(basis)), logs)
    fitted = times(transposed(basis), nearest)
    return max(abs(x[0] - y[0]) for x, y in zip(logs, fitted, strict=True)) > ratio


def _visible(statement: Doc, n: int) -> list[int]:
    """The places of what the mask shows among n² numbers, row by row."""
    mask = [x for row in matrix(statement["mask"]) for x in row]
    assert len(mask) == n * n and all(x in (0, 1) for x in mask)
    assert all(sum(mask[j::n]) for j in range(n))
    return [place for place, x in enumerate(mask) if x]


def _unreachable_masked(statement: Doc) -> bool:
    L = [x for row in matrix(statement["logits"]) for x in row]
    n = isqrt(len(L))
    shown = _visible(statement, n)
    spanned = [[row[place] for place in shown] for row in _heads_and_gauges(statement, n)]
    return rank([*spanned, [L[place] for place in shown]]) > rank(spanned)


def _unreachable_masked_within(statement: Doc) -> bool:
    """Necessary: the head nearest in least squares is not within the ratio."""
    P, ratio = matrix(statement["context"]), number(statement["ratio"])
    n = len(P)
    shown = _visible(statement, n)
    entries = [x for row in P for x in row]
    assert all((x > 0) == (place in shown) and x >= 0 for place, x in enumerate(entries))
    spanned = [[row[place] for place in shown] for row in _heads_and_gauges(statement, n)]
    basis = [spanned[i] for i in eliminated(spanned)[0]]
    positive = [[x if x > 0 else Fraction(1) for x in row] for row in P]
    with mpmath.workdps(60):
        logs = [
            [Fraction(str(mpmath.nstr(mpmath.log(_real(x)), 50)))] for row in positive for x in row
        ]
    wanted = [logs[place] for place in shown]
    fitted = times(transposed(basis), times(left_inverse(transposed(basis)), wanted))
    return max(abs(x[0] - y[0]) for x, y in zip(wanted, fitted, strict=True)) > ratio


def _represented_masked(statement: Doc) -> bool:
    K, Q, L = (matrix(statement[name]) for name in ("keys", "queries", "logits"))
    assert len(K[0]) == len(Q[0]) and len(K) == len(Q)
    if statement.get("tokens") is not None:
        X = matrix(statement["tokens"])
        assert len(X) == len(K[0])
        K, Q = times(K, X), times(Q, X)
    own, n = times(transposed(K), Q), len(L)
    assert len(own) == len(L[0]) == n
    off: dict[int, set[Fraction]] = {}
    for place in _visible(statement, n):
        i, j = divmod(place, n)
        off.setdefault(j, set()).add(own[i][j] - L[i][j])
    return all(len(different) == 1 for different in off.values())


def _selected(keys: Matrix, members: tuple[int, ...]) -> bool:
    """By linear programming: small whole numbers, for which a gap of 1 is far from rounding."""
    from scipy.optimize import linprog

    points = transposed(keys)
    outside = [i for i in range(len(points)) if i not in members]
    rows = [
        [float(y - x) for x, y in zip(points[i], points[o], strict=True)]
        for i in members
        for o in outside
    ]
    if not rows:
        return True
    found = linprog([0.0] * len(keys), rows, [-1.0] * len(rows), bounds=(None, None))
    return bool(found.status == 0)


def _selectable(statement: Doc) -> bool:
    keys, most = matrix(statement["keys"]), statement["most"]
    n = len(keys[0])
    assert 1 <= most <= n
    return all(_selected(keys, S) for s in range(1, most + 1) for S in combinations(range(n), s))


def _unselectable(statement: Doc) -> bool:
    keys, members = matrix(statement["keys"]), statement["members"]
    assert len(set(members)) == len(members) and all(0 <= i < len(keys[0]) for i in members)
    return not _selected(keys, tuple(members))


def _output(layer: Doc, X: Matrix) -> Any:
    """Σ_i W_o^i W_v^i X softmax(scale (W_k^i X)^T (W_q^i X)), head by head."""
    W_q, W_k, W_v, W_o = (matrix(layer[name]) for name in ("queries", "keys", "values", "output"))
    h, scale = layer["heads"], number(layer["scale"])
    assert type(h) is int and h > 0 and len(W_q) == len(W_k)
    assert len(W_q) % h == len(W_v) % h == 0 and len(W_o) == len(X)
    k, v = len(W_q) // h, len(W_v) // h
    total = mpmath.zeros(len(X), len(X[0]))
    assert len(W_o[0]) == h * v
    for i in range(h):
        keys, queries = (times(W[i * k : (i + 1) * k], X) for W in (W_k, W_q))
        columns = []
        for logits in transposed(times(transposed(keys), queries)):
            powers = [mpmath.exp(_real(scale * (x - max(logits)))) for x in logits]
            columns.append([power / sum(powers) for power in powers])
        P = mpmath.matrix(columns).T
        carried = times(
            [row[i * v : (i + 1) * v] for row in W_o], times(W_v[i * v : (i + 1) * v], X)
        )
        total += mpmath.matrix([[_real(x) for x in row] for row in carried]) * P
    return total


def _real(x: Fraction) -> Any:
    return mpmath.mpf(x.numerator) / x.denominator


def _kl_above(statement: Doc) -> bool:
    return _no_head_is_nearer(statement, np.log(_floats(statement["context"])))


def _kl_above_of_logits(statement: Doc) -> bool:
    return _no_head_is_nearer(statement, _floats(statement["logits"]))


def _floats(data: Doc) -> Any:
    return np.array([[float(x) for x in row] for row in matrix(data)])


def _no_head_is_nearer(statement: Doc, logits: Any) -> bool:
    """Necessary: neither the truncated decomposition is nearer, nor what descent makes of it."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    k, bound, n = statement["head_size"], number(statement["bound"]), len(logits)
    assert type(k) is int and k > 0 and bound >= 0 and logits.shape == (n, n)
    target = log_softmax(logits, axis=0)
    P = np.exp(target)

    def divergence(factors: Any) -> tuple[float, Any]:
        A, B = factors.reshape(2, n, k)
        log_Q = log_softmax(A @ B.T, axis=0)
        G = (np.exp(log_Q) - P) / n
        return np.sum(P * (target - log_Q)) / n, np.concatenate(
            [(G @ B).ravel(), (G.T @ A).ravel()]
        )

    left, s, right = np.linalg.svd(target - target.mean(axis=0))
    kept = np.sqrt(np.pad(s, (0, max(k - n, 0)))[:k])
    factors = [np.pad(part, ((0, 0), (0, max(k - n, 0))))[:, :k] * kept for part in (left, right.T)]
    start = np.concatenate([part.ravel() for part in factors])
    found = minimize(divergence, start, jac=True, method="L-BFGS-B").x
    return bool(bound <= min(divergence(start)[0], divergence(found)[0]) + 1e-12)


def _sign_rank(statement: Doc) -> bool:
    """Necessary: the rank of the signs, and sign changes down the columns or along the rows."""
    H, lower = matrix(statement["signs"]), statement["lower"]
    assert type(lower) is int and lower >= 0 and all(x in (1, -1) for row in H for x in row)
    changes = [
        max(sum(x != y for x, y in pairwise(column)) for column in A) for A in (H, transposed(H))
    ]
    return bool(lower <= min(rank(H), *(most + 1 for most in changes)))


def _scale_above(statement: Doc) -> bool:
    """Necessary: a simplex and a circle select the keys at no smaller scale."""
    n, d = statement["count"], statement["head_size"]
    error, bound = number(statement["error"]), number(statement["bound"])
    assert type(n) is type(d) is int and n > 0 and d > 0 and 0 < error < 1 and bound >= 0
    if n == 1:
        return bound == 0
    scales = []
    if d >= n - 1:
        odds = mpmath.log(_real((n - 1) * (1 - error) / error))
        scales.append(max(odds, 0) * (n - 1) / n)
    if d > 1:
        gaps = 1 - np.cos(2 * np.pi * np.arange(1, n) / n)
        wanted = float(error / (1 - error))
        low, high = 0.0, float(1 / gaps[0] * (abs(np.log(wanted)) + np.log(n) + 1))
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (low, middle) if np.exp(-middle * gaps).sum() <= wanted else (middle, high)
        scales.append(high)
    return all(bound <= float(scale) * (1 + 1e-9) + 1e-9 for scale in scales)


ORACLES = {
    "rank": _rank,
    "log-rank": _log_rank,
    "logit-rank": _logit_rank,
    "rank-under-error": _rank_under_error,
    "singular-value": _singular_value,
    "log-rank-within": _log_rank_within,
    "represented-exactly": _represented_exactly,
    "represented-within": _represented_within,
    "masked-log-rank": _masked_log_rank,
    "rank-above-head-size": _rank_above_head_size,
    "layers-differ": _layers_differ,
    "unreachable": _unreachable,
    "unreachable-within": _unreachable_within,
    "unreachable-masked": _unreachable_masked,
    "unreachable-masked-within": _unreachable_masked_within,
    "represented-masked": _represented_masked,
    "kl-above": _kl_above,
    "kl-above-of-logits": _kl_above_of_logits,
    "sign-rank": _sign_rank,
    "scale-above": _scale_above,
    "selectable": _selectable,
    "unselectable": _unselectable,
}
