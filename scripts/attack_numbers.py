"""Attack every rank and bound with numbers that are hard for floats, and judge by other arithmetic.

    python scripts/attack_numbers.py [--count 2000] [--seed 0] [--family NAME ...]

draws for each family of functions contexts, heads, tokens and layers with logits of ±700, entries
of P down to 1e-300 and the subnormals, singular values at the threshold, spectra that are graded or
clustered, factors graded in opposite orders, offsets of 1e6 to 1e12, float32 data cast to float64,
and tokens of condition 1e8 to 1e18. The truth comes from flint's rationals and balls and from
mpmath at 200 bits, never from the package. Each outcome is right, `Undecided`, refused (an
`InputError` that names what float64 cannot hold) or wrong. Prints the counts of each family, and
each wrong answer with what repeats it; exit 1 if there is one.

What is right: exact input has one answer. Floats that were rounded from an exact source must not
have more rank than it, nor less than the singular values that are clear of twice the documented
threshold. A certified statement must hold of the floats as the exact numbers they are.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from operator import mul
from typing import Any

import flint
import mpmath
import numpy as np

import rankbound as rb
from rankbound.theory.approximation import entrywise_lower_bound
from rankbound.theory.divergence import kl_certificate
from rankbound.theory.planning import spectral_kl_bounds
from rankbound.theory.theorem_b import unreachability_certificate

BITS = 200
NOTHING = 2.0**-160  # what 200 bits leave of a sum that vanishes
EPS = 2.0**-52
EPS32 = 2.0**-23
TINY = 5e-324
CLEAR32 = 300  # the package asks for a gap of 100 times float32's rounding; its own bound thrice
Table = list[list[Fraction]]
Rng = np.random.Generator
Array = np.ndarray[Any, np.dtype[Any]]


class Wrong(Exception):
    """A wrong answer, in words."""


def require(holds: object, *what: object) -> None:
    """Raise `Wrong` unless it holds."""
    if not holds:
        raise Wrong(" ".join(map(repr, what)))


# ---- truth: rationals by flint, singular values and logarithms at 200 bits


def rationals(A: Any) -> Table:
    """Floats, integers and Fractions as the rationals that they are."""
    return [[x if isinstance(x, Fraction) else Fraction(x) for x in row] for row in _lists(A)]


def _lists(A: Any) -> list[list[Any]]:
    rows: list[list[Any]] = A.tolist() if isinstance(A, np.ndarray) else A
    return rows


def matrix(A: Any) -> flint.fmpq_mat:
    """A rational matrix of flint."""
    return flint.fmpq_mat(
        [[flint.fmpq(x.numerator, x.denominator) for x in row] for row in rationals(A)]
    )


def table(M: flint.fmpq_mat) -> Table:
    """The same as Fractions."""
    return [[Fraction(int(x.p), int(x.q)) for x in row] for row in M.tolist()]


def rank(A: Any) -> int:
    """The rank over the rationals."""
    A = rationals(A)
    return matrix(A).rank() if A and A[0] else 0


def centred(A: Any) -> Table:
    """Columns less their means."""
    A = rationals(A)
    means = [sum(column, Fraction(0)) / len(A) for column in zip(*A, strict=True)]
    return [[x - m for x, m in zip(row, means, strict=True)] for row in A]


def product(A: Any, B: Any) -> Table:
    """The product over the rationals."""
    return table(matrix(A) * matrix(B))


def transposed(A: Any) -> Table:
    """Rows as columns."""
    return [list(row) for row in zip(*rationals(A), strict=True)]


def real(x: Any) -> Any:
    """A number at 200 bits."""
    if isinstance(x, Fraction):
        return mpmath.mpf(x.numerator) / x.denominator
    return mpmath.mpf(x)


def singular(A: Any) -> list[Any]:
    """Singular values, largest first, at 200 bits."""
    values = mpmath.svd_r(mpmath.matrix([[real(x) for x in row] for row in A]), compute_uv=False)
    return sorted((values[i] for i in range(len(values))), reverse=True)


def centred_reals(A: list[list[Any]]) -> list[list[Any]]:
    """Columns of reals less their means."""
    means = [mpmath.fsum(column) / len(A) for column in zip(*A, strict=True)]
    return [[x - m for x, m in zip(row, means, strict=True)] for row in A]


def log_softmax(L: Any) -> list[list[Any]]:
    """Logarithms of the column softmax."""
    columns = []
    for given in zip(*L, strict=True):
        column = [real(x) for x in given]
        top = max(column)
        total = top + mpmath.log(mpmath.fsum(mpmath.exp(x - top) for x in column))
        columns.append([x - total for x in column])
    return [list(row) for row in zip(*columns, strict=True)]


def log_columns(P: Any) -> list[list[Any]]:
    """Logarithms of the floats P, columns divided by their exact sums."""
    return log_softmax([[mpmath.log(real(x)) for x in row] for row in _lists(P)])


def frobenius(A: Any) -> Any:
    """The Frobenius norm, by mpmath since squares may overflow."""
    return mpmath.sqrt(mpmath.fsum(real(x) ** 2 for row in A for x in row))


def difference(A: list[list[Any]], B: list[list[Any]]) -> list[list[Any]]:
    """A - B."""
    return [[x - y for x, y in zip(*r, strict=True)] for r in zip(A, B, strict=True)]


def farthest(A: list[list[Any]], B: list[list[Any]]) -> Any:
    """The largest difference of entries."""
    return max(abs(x) for row in difference(A, B) for x in row)


def head_logits(head: Any, X: Any = None) -> Table:
    """Logits of a head over the rationals, its floats as the numbers that they are."""
    K, Q = rationals(head.W_k), rationals(head.W_q)
    if X is not None:
        K, Q = product(K, X), product(Q, X)
    scale = Fraction(head.scale)
    return [[scale * x for x in row] for row in product(transposed(K), Q)]


def kl(log_P: list[list[Any]], log_Q: list[list[Any]]) -> Any:
    """Mean KL divergence over columns."""
    terms = (
        mpmath.exp(p) * (p - q)
        for rows in zip(log_P, log_Q, strict=True)
        for p, q in zip(*rows, strict=True)
    )
    return mpmath.fsum(terms) / len(log_P)


# ---- hard numbers


def integers(rng: Rng, *shape: int, most: int = 9) -> Table:
    """Small integers, not 0."""
    return rationals((rng.integers(1, most + 1, shape) * rng.choice([-1, 1], shape)).tolist())


def factors(rng: Rng, n: int, k: int) -> tuple[Table, Table]:
    """Keys and queries (k, n): plain, graded, clustered, or graded in opposite orders."""
    K, Q = integers(rng, k, n), integers(rng, k, n)
    kind = rng.choice(["plain", "graded", "clustered", "opposite"])
    step = int(rng.choice([3, 10, 25, 50, 220]))
    for t in range(k):
        if kind == "graded":
            power = Fraction(1, 2 ** (step * t))
            Q[t] = [x * power for x in Q[t]]
        elif kind == "clustered" and t >= k // 2:
            Q[t] = [x / 2**step for x in Q[t]]
        elif kind == "opposite":  # what one has lost the other has gained
            power = Fraction(2) ** int(np.clip(step * (t - k // 2) * 4, -900, 900))
            K[t], Q[t] = [x * power for x in K[t]], [x / power for x in Q[t]]
    return K, Q


def logits(rng: Rng, n: int, *, widest: int = 10**6, offsets: bool = True) -> Table:
    """Exact logits of low rank, maybe ±700, maybe with large constants in their columns."""
    K, Q = factors(rng, n, int(rng.integers(1, n)))
    L = product(transposed(K), Q)
    spread = max(max(c) - min(c) for c in zip(*L, strict=True))
    if spread and (rng.random() < 0.4 or spread > widest):
        top = Fraction(int(rng.choice([1, 30, 700, min(1400, widest)])))
        top = min(top, Fraction(widest))
        L = [[x * top / spread for x in row] for row in L]
    if offsets and rng.random() < 0.4:
        size = 10 ** int(rng.integers(6, 13))
        c = [Fraction(int(x)) for x in rng.integers(-size, size, n)]
        L = [[x + y for x, y in zip(row, c, strict=True)] for row in L]
    return L


def near_tie(rng: Rng, L: Table) -> Table:
    """Raise the rank by one singular value that lies about the threshold of float64 logits."""
    n = len(L)
    column, row = integers(rng, n, 1, most=3), integers(rng, 1, n, most=3)
    added = centred(product(column, row))
    top = max(abs(x) for r in added for x in r)
    if not top:
        return L
    tolerance = float_tolerance(floats(L))
    factor = float(rng.choice([0.3, 0.999, 1.001, 3.0, 30.0])) * float(tolerance)
    factor /= float(frobenius(added))
    return [
        [x + Fraction(factor) * y for x, y in zip(*rows, strict=True)]
        for rows in zip(L, added, strict=True)
    ]


def floats(L: Any) -> Array:
    """Each entry to the nearest float64."""
    return np.array([[float(x) for x in row] for row in L])


def single(A: Any) -> Array:
    """Each entry to the nearest float32, as float64 (twice rounded: within float32's eps)."""
    return floats(A).astype(np.float32).astype(np.float64)


def context(L: Any) -> Array:
    """P, each entry rounded once from 200 bits."""
    return np.array([[float(mpmath.exp(x)) for x in row] for row in log_softmax(L)])


def given_as(kind: str, L: Table) -> Any:
    """The logits exactly, or in floats, or their context."""
    return L if kind == "exact" else floats(L) if kind == "logits" else context(L)


def float_tolerance(L: Array, eps: float = EPS) -> Any:
    """The documented threshold of float logits: their rounding, and that of centring and SVD."""
    return eps * frobenius(L) + len(L) * EPS * frobenius(centred(L))


def context_tolerance(P: Array, eps: float = EPS, least: float = TINY) -> Any:
    """The documented threshold of float contexts."""
    log_P = [[mpmath.log(real(x)) for x in row] for row in P]
    error = [[eps * (1 + abs(x)) + least / mpmath.exp(x) for x in row] for row in log_P]
    return frobenius(error) + len(P) * EPS * frobenius(centred_reals(log_P))


def tokens(rng: Rng, n: int, *, full: bool = False) -> Array:
    """Float tokens, nearly dependent or badly scaled: condition 1e8 to 1e18."""
    d = int(rng.integers(n, n + 2)) if full else int(rng.integers(1, n + 2))
    X = integers(rng, d, n)
    power = Fraction(1, 2 ** int(rng.integers(26, 61)))
    kind = rng.integers(4)
    if kind == 1 and d > 1:  # a row nearly the same as another
        X[-1] = [x + power * y for x, y in zip(X[0], X[-1], strict=True)]
    elif kind == 2:
        X[-1] = [x * power for x in X[-1]]
    elif kind == 3:  # nearly 1 in the row space
        X[-1] = [1 + power * y for y in X[-1]]
    return floats(X)


# ---- families: each draws one case and returns its outcome


def bounded(found: int, values: list[Any], tolerance: Any, most: int, *what: object) -> None:
    """A numerical rank is that of the source, but for values within twice the threshold."""
    least = sum(x > 2 * tolerance for x in values)
    require(min(least, most) <= found <= most, found, least, most, *what)


def exact_ranks(rng: Rng) -> None:
    """`exact_rank`, and `certified_log_rank` of logits."""
    L = logits(rng, int(rng.integers(2, 8)))
    if rng.random() < 0.5:
        L = near_tie(rng, L)
    given: Any = floats(L) if rng.random() < 0.5 else L
    L = rationals(given)
    b = rb.exact_rank(given, floats="exact")
    require(b.lower == b.upper == rank(L), "exact_rank", b.lower, b.upper, given)
    b = rb.certified_log_rank(logits=given)
    require(b.lower == b.upper == rank(centred(L)), "log rank", b.lower, b.upper, given)


def certified_ranks(rng: Rng) -> None:
    """`certified_rank` of floats as they are, and within the error of a source of lower rank."""
    source = logits(rng, int(rng.integers(2, 8)))
    if rng.random() < 0.5:
        source = near_tie(rng, source)
    A = floats(source) if rng.random() < 0.7 else single(source)
    b = rb.certified_rank(A)
    require(b.lower <= rank(A) <= b.upper, "as given", b.lower, b.upper, A.tolist())
    off = [[abs(x) for x in row] for row in difference(rationals(A), source)]
    error = np.nextafter(floats(off), np.inf)
    b = rb.certified_rank(A, error=error)
    require(b.lower <= rank(source) <= b.upper, "within", b.lower, A.tolist(), error.tolist())


def certified_contexts(rng: Rng) -> str:
    """`certified_log_rank` of P within a ratio: heads that come nearer, and the head it names."""
    n = int(rng.integers(2, 6))
    L = logits(rng, n, widest=700)
    P = context(L)
    log_P = log_columns(P)
    ratio = float(farthest(log_P, log_softmax(L)) * (1 + mpmath.mpf(2) ** -40)) + TINY
    ratio = max(ratio, float(rng.choice([0.0, 1e-12, 1e-9, 1e-3])))
    b = rb.certified_log_rank(P, ratio=ratio)
    require(b.lower <= rank(centred(L)), "source is below", b.lower, P.tolist(), ratio)
    D = mpmath.matrix(centred_reals(log_P))
    if b.lower:  # the truncated decomposition, one rank below, must be farther than the ratio
        U, s, V = mpmath.svd_r(D)
        k = b.lower - 1
        low = [
            [mpmath.fsum(U[i, t] * s[t] * V[t, j] for t in range(k)) for j in range(n)]
            for i in range(n)
        ]
        near = farthest(log_P, log_softmax(low))
        require(near > ratio, "a head below", b.lower, P.tolist(), ratio)
    if b.upper == n - 1 and b.lower == n - 1:
        return "right"
    proof = b.certify().upper_certificate
    if proof is None:
        require(b.upper == n - 1 or b.upper == b.lower, "no head shown", b.upper, P.tolist())
        return "right"
    said: Any = proof.statement
    K, Q = _rows(said.keys), _rows(said.queries)
    named = [[Fraction(said.scale) * x for x in row] for row in product(transposed(K), Q)]
    off = farthest(log_P, log_softmax(named))
    require(off <= ratio, "the head named misses", float(off), P.tolist(), ratio)
    require(rank(named) <= b.upper, "its size", b.upper, P.tolist())
    return "right"


def _rows(M: Any) -> Table:
    entries = [Fraction(x) for x in M.entries]
    return [entries[i : i + M.columns] for i in range(0, len(entries), M.columns)]


def log_ranks(rng: Rng) -> None:
    """`log_rank` of logits and contexts: exact, float64, float32 declared and not."""
    n = int(rng.integers(2, 8))
    kind = str(rng.choice(["exact", "logits", "P", "float32", "float32 P", "undeclared"]))
    L = logits(rng, n, widest=740 if kind.endswith("P") else 10**6)
    if kind in ("logits", "P") and rng.random() < 0.4:
        L = near_tie(rng, L)
    most = rank(centred(L))
    if kind == "exact":
        require(rb.log_rank(logits=L) == most, kind, L)
        return
    if kind in ("P", "float32 P"):
        eps, least = (EPS, TINY) if kind == "P" else (EPS32, 2.0**-149)
        if kind == "float32 P":  # keep to what float32 holds
            top = max(max(c) - min(c) for c in zip(*L, strict=True))
            L = [[x * min(Fraction(1), 80 / max(top, Fraction(1))) for x in row] for row in L]
        P = context(L)
        P = P if kind == "P" else P.astype(np.float32).astype(np.float64)
        found = rb.log_rank(P, stored="float64" if kind == "P" else "float32")
        values = singular(centred_reals([[mpmath.log(real(x)) for x in row] for row in P]))
        bounded(found, values, context_tolerance(P, eps, least), most, kind, P.tolist())
        return
    data = floats(L) if kind == "logits" else single(L)
    stored = {"logits": "float64", "float32": "float32", "undeclared": None}[kind]
    found = rb.log_rank(logits=data, stored=stored)
    values = singular(centred(data))
    if kind != "undeclared":
        eps = EPS if stored == "float64" else EPS32
        bounded(found, values, float_tolerance(data, eps), most, kind, data.tolist())
        return
    clear = float_tolerance(data, CLEAR32 * EPS32)
    if (
        most
        and values[most - 1] > clear
        and all(x < EPS32 * frobenius(data) for x in values[most:])
    ):
        require(found == most, kind, found, most, data.tolist())
    require(found <= rank(centred(data)), kind, found, data.tolist())


def head_ranks(rng: Rng) -> None:
    """`log_rank(head=, X=)`: the rank of the head's own numbers, masks too."""
    n = int(rng.integers(2, 8))
    k = int(rng.integers(1, n + 2))
    K, Q = factors(rng, n, k)
    if rng.random() < 0.3:  # keys with a large part in common
        size = Fraction(10 ** int(rng.integers(6, 13)))
        K = [[x + size for x in row] for row in K]
    if rng.random() < 0.3 and k > 1:  # or dependent
        K[-1] = [2 * x for x in K[0]]
    X = None
    if rng.random() < 0.5:
        X = tokens(rng, n)
        K, Q = integers(rng, k, len(X)), integers(rng, k, len(X))
        if len(X) > 1 and rng.random() < 0.6:  # W_k X cancels, exactly or nearly
            a, b = Fraction(float(rng.uniform(1, 2))), Fraction(float(rng.uniform(1, 2)))
            X = X[: max(2, len(X))]
            t = integers(rng, 1, n)[0]
            X[0], X[1] = floats([[-b * x for x in t], [a * x for x in t]])
            for row in K:
                row[:] = [a * row[0], b * row[0], *[Fraction(0)] * (len(X) - 2)]
            if rng.random() < 0.3:
                K[0][0] += Fraction(1, 2**50)
    W_k, W_q = floats(K), floats(Q)
    head = rb.AttentionHead(W_q=W_q, W_k=W_k)
    L = head_logits(rb.AttentionHead(W_q=W_q, W_k=W_k, scale=1.0), X)
    mask = nested(rng, n) if rng.random() < 0.3 else None
    most = rank(centred(L)) if mask is None else new_rows(L, mask)
    found = rb.log_rank(head=head, X=X, mask=mask)
    shown = None if X is None else X.tolist()
    require(found == most, found, most, W_k.tolist(), W_q.tolist(), shown, mask)


def spectra(rng: Rng) -> None:
    """`spectrum`, `numerical_rank` and `logit_spectrum` against singular values at 200 bits."""
    n = int(rng.integers(2, 7))
    L = logits(rng, n)
    if rng.random() < 0.5:
        L = near_tie(rng, L)
    cast = rng.random() < 0.3
    A = single(L) if cast else floats(L)
    found = rb.spectrum(A, stored="float32" if cast else None)
    truth = singular(A)
    rounding = 2 * n * EPS * truth[0]
    off = max(abs(x - y) for x, y in zip(truth, found.values.tolist(), strict=True))
    require(off <= rounding, "values", float(off), float(rounding), A.tolist())
    tolerance = (EPS32 if cast else EPS) * frobenius(A) + rounding
    bounded(found.rank, truth, tolerance, rank(L), "numerical_rank", A.tolist())
    k = int(rng.integers(1, n + 1))
    K, Q = factors(rng, n, k)
    if rng.random() < 0.3:
        size = Fraction(10 ** int(rng.integers(6, 13)))
        K = [[x + size for x in row] for row in K]
    head = rb.AttentionHead(W_q=floats(Q), W_k=floats(K), scale=1.0)
    centre = bool(rng.integers(2))
    values = rb.logit_spectrum(head, centred=centre)
    exact = head_logits(head)
    truth = singular(centred(exact) if centre else exact)[:k]
    rows = zip(head.W_k, head.W_q, strict=True)
    # no scaling of coordinates enters: each contributes the product of its norms
    size = mpmath.fsum(frobenius([a]) * frobenius([b]) for a, b in rows)
    allowed = 2 * math.sqrt(k) * (n + k) * EPS * size
    off = max(abs(x - y) for x, y in zip(truth, values.tolist(), strict=True))
    require(off <= allowed, "logit_spectrum", float(off), float(allowed), head.W_k.tolist(),
            head.W_q.tolist(), centre)  # fmt: skip


def nested(rng: Rng, n: int) -> Array:
    """A mask, [key, query], whose keys are seen by decreasing sets of queries."""
    seen = np.sort(rng.integers(1, n + 1, n))  # keys that query j sees
    mask = np.arange(n)[:, None] < seen[None, :]
    return mask[rng.permutation(n)][:, rng.permutation(n)]


def new_rows(L: Table, mask: Array) -> int:
    """Theorem C over the rationals, written from its statement."""
    n = len(L)
    queries = [j for j in range(n) if mask[:, j].sum() > 1]
    keys = sorted(range(n), key=lambda i: -sum(bool(mask[i, j]) for j in queries))
    above: list[int] = []
    count = 0
    for i in keys[1:]:
        seen = [j for j in queries if mask[i, j]]
        if seen:
            rows = [[L[t][j] - L[keys[0]][j] for j in seen] for t in [*above, i]]
            count += rank(rows) - (rank(rows[:-1]) if above else 0)
        above.append(i)
    return count


def completions(rng: Rng) -> None:
    """`least_head_size` and `certified_log_rank` under nested masks, exact and float."""
    n = int(rng.integers(2, 7))
    mask = nested(rng, n)
    L = logits(rng, n)
    most = new_rows(L, mask)
    require(rb.least_head_size(logits=L, mask=mask) == most, "exact", most, L, mask.tolist())
    data = floats(L)
    given = new_rows(rationals(data), mask)
    b = rb.certified_log_rank(logits=data, mask=mask)
    require(b.lower == b.upper == given, "certified", b.lower, given, data.tolist(), mask.tolist())
    plain = product(transposed(integers(rng, 2, n)), integers(rng, 2, n))
    found = rb.least_head_size(logits=floats(plain) / 3, mask=mask)
    require(found == new_rows(plain, mask), "float", found, floats(plain).tolist(), mask.tolist())
    found = rb.least_head_size(logits=data, mask=mask)
    require(found <= most, "more than its source", found, most, data.tolist(), mask.tolist())


def lost_rows(rng: Rng) -> None:
    """Ranks where float64 loses what a row has of one coordinate, under masks and in batches."""
    n = int(rng.integers(3, 7))
    k = int(rng.integers(2, 4))
    K, Q = (rationals(rng.integers(-1, 2, (k, n)).tolist()) for _ in range(2))
    unit, t = Fraction(2) ** int(rng.choice([-60, 60, 20])), int(rng.integers(k))
    if rng.random() < 0.7:
        K[t] = [x * unit for x in K[t]]
    else:
        K = [[*row[:t], row[t] * unit, *row[t + 1 :]] for row in K]
    L = product(transposed(K), Q)
    mask = nested(rng, n) if rng.random() < 0.7 else np.triu(np.ones((n, n), np.bool_))
    truth, what = new_rows(L, mask), (L, mask.tolist())
    kind = rng.choice(["exact head", "float head", "logits", "batch"])
    if kind == "batch":
        c = [Fraction(int(x)) for x in rng.integers(2**40, 2**52, n)]
        shifted = [[x + y for x, y in zip(row, c, strict=True)] for row in L]
        batch = np.array([shifted, L], dtype=object)
        found = rb.log_rank(logits=batch).tolist()
        require(found == [rank(centred(L))] * 2, kind, found, *what)
        found = rb.least_head_size(logits=batch, mask=np.array([mask, mask])).tolist()
        require(found == [truth] * 2, kind, found, truth, *what)
    elif kind == "logits":
        for ask in (rb.log_rank, rb.least_head_size):
            found = ask(logits=floats(L), mask=mask, stored="float64")
            require(found <= truth, ask.__name__, found, truth, *what)
    else:
        numbers = floats if kind == "float head" else partial(np.array, dtype=object)
        head = rb.AttentionHead(W_q=numbers(Q), W_k=numbers(K), scale=1.0)
        found = rb.log_rank(head=head, mask=mask)
        require(found == truth, kind, found, truth, *what)


def projector(X: Any) -> Any:
    """N = I - X^+ X over the rationals."""
    X = rationals(X)
    n = len(X[0])
    reduced, r = matrix(X).rref()
    identity = flint.fmpq_mat(n, n, [int(i == j) for i in range(n) for j in range(n)])
    if not r:
        return identity
    Z = flint.fmpq_mat(reduced.tolist()[:r])
    return identity - Z.transpose() * (Z * Z.transpose()).inv() * Z


def theorem_b(L: Table, X: Any) -> tuple[float, Table, Table, Table]:
    """The least size over the rationals, logits in the gauge, and both residuals."""
    n = len(L)
    N: Any = projector(X)
    ell: Any = matrix(L)
    ones: Any = flint.fmpq_mat(n, 1, [1] * n)
    outside = N * ones
    length = (ones.transpose() * outside)[0, 0]
    weights = outside / length if length else ones / n
    D = ell - ones * (weights.transpose() * ell)
    across, along = table(N * D), table(D * N)
    reached = not any(x for M in (across, along) for row in M for x in row)
    return (D.rank() if reached else math.inf), table(D), across, along


def on_tokens(rng: Rng) -> None:
    """`least_head_size` and `unreachability_certificate` on tokens of condition 1e8 to 1e18."""
    n = int(rng.integers(2, 6))
    X = tokens(rng, n)
    L = reached(rng, X)
    kind = str(rng.choice(["exact", "logits", "P"]))
    if kind == "P":
        spread = max(max(c) - min(c) for c in zip(*L, strict=True))
        L = [[x * min(Fraction(1), 700 / max(spread, Fraction(1))) for x in row] for row in L]
    ones = [[Fraction(1)]] * n
    outside = frobenius(table(projector(X) * matrix(ones)))
    grown = 1 + (math.sqrt(n) / outside if outside else 0)

    def known() -> Any:  # what the data and float64 leave of a residual, in the gauge
        if kind == "P":
            data = context_tolerance(context(L))
        else:
            data = float_tolerance(floats(L), 0 if kind == "exact" else EPS)
        return data * grown + 4 * n * EPS * frobenius(theorem_b(L, X)[1])

    if rng.random() < 0.4:
        near = float(rng.choice([0.3, 0.999, 1.001, 3.0, 30.0])) * float(known())
        L[0][-1] += Fraction(rng.choice([near, 2.0 ** -float(rng.integers(0, 20))]))
    least, D, across, along = theorem_b(L, X)
    if rng.random() < 0.5:
        found = rb.least_head_size(logits=L, X=rationals(X))
        require(found == least, "exact", found, least, L, X.tolist())
    proof = unreachability_certificate(logits=L, X=X)
    require((proof is None) == (least < math.inf), "certificate", least, L, X.tolist())
    data: Any = given_as(kind, L)
    stored = None if kind == "exact" else "float64"
    name = "P" if kind == "P" else "logits"
    found = rb.least_head_size(X=X, stored=stored, **{name: data})
    what = (found, least, kind, L, X.tolist())
    if least == math.inf:
        off = max(frobenius(across), frobenius(along))
        require(found == math.inf or off <= 2 * known(), "unreachable", float(off), *what)
        return
    require(found <= least, "more than its source", *what)
    clear = sum(x > 2 * known() for x in singular(D))
    require(found >= min(clear, least), "less than is clear", clear, *what)


def reached(rng: Rng, X: Array) -> Table:
    """Exact logits of a head on these tokens, with large constants in their columns or not."""
    d, n = X.shape
    r = int(rng.integers(1, d + 1))
    M = product(transposed(integers(rng, r, d, most=3)), integers(rng, r, d, most=3))
    L = product(product(transposed(X), M), X)
    c = integers(rng, 1, n, most=10 ** int(rng.choice([1, 6, 12])))[0]
    return [[x + y for x, y in zip(row, c, strict=True)] for row in L]


def representations(rng: Rng) -> None:
    """`represent`: the head's own numbers, over the rationals, stay within the ratio."""
    n = int(rng.integers(2, 6))
    X = tokens(rng, n, full=True) if rng.random() < 0.6 else None
    kind = str(rng.choice(["exact", "logits", "P"]))
    L = logits(rng, n, widest=700 if kind == "P" else 1400)
    allowed, stored = 1e-8, None if kind == "exact" else "float64"
    data: Any = given_as(kind, L)
    name = "P" if kind == "P" else "logits"
    try:
        head = rb.represent(X=X, stored=stored, **{name: data})
    except rb.NotRepresentable as error:
        require(X is not None and theorem_b(L, X)[0] == math.inf, str(error), L, X)
        return
    if kind == "P":
        log_P, allowed = log_columns(data), allowed + 2 * context_tolerance(data)
    else:
        log_P = log_softmax(_lists(data))
        allowed += 2 * float_tolerance(data) if kind == "logits" else 0
    off = farthest(log_P, log_softmax(head_logits(head, X)))
    shown = None if X is None else X.tolist()
    require(
        off <= allowed * (1 + 1e-9), kind, float(off), float(allowed), floats(L).tolist(), shown
    )


def truncated(D: Array, k: int, u: Array, v: Array) -> Table:
    """Logits of rank k, exactly, near D in the norm weighted by u on keys and v on queries."""
    U, s, V = np.linalg.svd(u[:, None] * D * v)
    return product(U[:, :k] * s[:k] / u[:, None], V[:k] / v)


def kl_bounds(rng: Rng) -> None:
    """`kl_lower_bound` and `kl_bracket`: no head, the source's or a fit's, comes below."""
    n = int(rng.integers(3, 6))
    L = logits(rng, n, widest=700)
    P = context(L)
    log_P = log_columns(P)
    k = int(rng.integers(1, n - 1))
    bound = rb.kl_lower_bound(P, k)
    low = [product(transposed(integers(rng, k, n)), integers(rng, k, n))]
    if rank(centred(L)) <= k:
        low.append(L)
    D = np.array([[float(x) for x in row] for row in centred_reals(log_P)])
    weights = np.sqrt(np.maximum(P, 1e-12))
    for u, v in ((np.ones(n), np.ones(n)), (weights.min(axis=1), np.ones(n)),
                 (weights.mean(axis=1), weights.mean(axis=0))):  # fmt: skip
        low.append(truncated(D, k, u, v))
    for Q in low:
        found = kl(log_P, log_softmax(Q))
        require(found >= bound - NOTHING, "below", float(found), bound, k, P.tolist())
    off = entrywise_lower_bound(P, k)
    tail = mpmath.sqrt(mpmath.fsum(x**2 for x in singular(centred_reals(log_P))[k:]))
    require(off <= tail / n, "entrywise", off, float(tail / n), P.tolist())
    if rng.random() < 0.25:
        b = rb.kl_bracket(P, [k], random_starts=0, max_iterations=60)
        found = kl(log_P, log_softmax(head_logits(b.fits[0].head)))
        require(b.lower[0] <= found + NOTHING, "bracket", b.lower[0], float(found), P.tolist())
        # φ of differences that are known to the rounding of logits
        off = 16 * n * EPS * (1 + frobenius(D))
        near = off * mpmath.sqrt(found) + off**2 + 1e-12 * found
        require(abs(b.upper[0] - found) <= near, "upper", b.upper[0], float(found), P.tolist())


def stored_contexts(rng: Rng) -> None:
    """KL bounds of a P whose columns sum to 1 as its dtype has it: no head comes below or above."""
    n = int(rng.integers(3, 9))
    k = int(rng.integers(1, n - 1))
    scale = float(10.0 ** rng.uniform(-3, 1))
    exact = rb.random_context(n, seed=int(rng.integers(2**32)), law="gibbs", scale=scale)
    stored, eps = [("bfloat16", 2.0**-8), ("float16", 2.0**-10), ("float32", EPS32)][
        rng.integers(3)
    ]
    off = 1 + (n - 1) * eps / 2 * rng.uniform(-1, 1, n if rng.random() < 0.5 else 1)
    P = exact * off
    log_P = log_columns(P / P.sum(axis=0))
    bound = rb.kl_lower_bound(P, k, stored=stored)
    lower, upper = spectral_kl_bounds(P, k, stored=stored)
    D = np.array([[float(x) for x in row] for row in centred_reals(log_P)])
    found = kl(log_P, log_softmax(truncated(D, k, np.ones(n), np.ones(n))))
    rounding = 64 * n * EPS * float(1 + frobenius(D)) * float(frobenius(D))
    what = (k, stored, P.tolist())
    require(bound <= found + rounding, "signs", bound, float(found), *what)
    require(lower <= found + rounding, "spectral", lower, float(found), *what)
    require(found <= upper + rounding, "above", float(found), upper, *what)
    uniform = kl(log_P, log_softmax(rationals(np.zeros((n, n)).tolist())))
    sizes = rb.head_size_for_kl(P, kl=float(uniform) * (1 + 1e-9) + rounding, stored=stored)
    require(sizes.lower == 0, "uniform", sizes.lower, float(uniform), *what)
    if stored != "bfloat16":  # which NumPy does not have
        certificate = kl_certificate(P.astype(stored), k)
        require(rb.check(certificate).accepted, "certificate", *what)


def nearest(rng: Rng) -> None:
    """`aitchison_error` and `nearest_head`: the tail of the spectrum, and a head of it."""
    n = int(rng.integers(2, 6))
    L = logits(rng, n, widest=700)
    k = int(rng.integers(1, n + 1))
    if rng.random() < 0.5:
        data: Any = context(L)
        given: dict[str, Any] = {"P": data}
        log_P, tolerance = log_columns(data), context_tolerance(data)
    else:
        data = floats(L)
        given = {"logits": data}
        log_P, tolerance = log_softmax(data.tolist()), float_tolerance(data)
    values = singular(centred_reals(log_P))
    tail = mpmath.sqrt(mpmath.fsum(x**2 for x in values[k:]))
    allowed = math.sqrt(n) * tolerance
    found = rb.aitchison_error(head_size=k, **given)
    require(abs(found - tail) <= allowed, "error", found, float(tail), data.tolist(), k)
    X = tokens(rng, n, full=True) if rng.random() < 0.4 else None
    if X is not None and rank(X) < n:
        X = None
    head = rb.nearest_head(head_size=k, X=X, **given)
    Q = log_softmax(head_logits(head, X))
    off = frobenius(centred_reals(difference(log_P, Q)))
    allowed = 4 * allowed if X is None else 4 * allowed + 2 * n * 1e-8
    shown = None if X is None else X.tolist()
    require(off <= tail + allowed, "head", float(off), float(tail), data.tolist(), k, shown)


def winners(rng: Rng) -> str:
    """`argmaxable`: each flag with a witness that holds over the rationals."""
    k, n = int(rng.integers(1, 4)), int(rng.integers(2, 9))
    K = floats(factors(rng, n, k)[0])
    if rng.random() < 0.6 and n > 2:  # one key about the middle of others
        shares = rng.dirichlet(np.ones(n - 1))
        K[:, -1] = K[:, :-1] @ shares
        K[0, -1] *= 1 + float(rng.choice([-1, 0, 1])) * 2.0 ** -int(rng.integers(10, 54))
    if rng.random() < 0.3:
        K += 10.0 ** int(rng.integers(6, 13))
    b = rng.choice([0.0, 1e-16, 1e12]) * rng.standard_normal(n) if rng.random() < 0.4 else None
    found = rb.argmaxable(K, biases=b)
    flags = found.argmaxable.astype(int) + found.unargmaxable + found.undecided
    require((flags == 1).all(), "flags", K.tolist())
    keys = transposed(K)
    biases = [Fraction(0)] * n if b is None else [Fraction(x) for x in b.tolist()]
    for i in range(n):
        if found.argmaxable[i]:
            q = found.rational_queries.get(i) or [Fraction(x) for x in found.queries[:, i].tolist()]
            score = [sum(map(mul, q, key), c) for key, c in zip(keys, biases, strict=True)]
            require(
                all(score[i] > s for j, s in enumerate(score) if j != i), "query", i, K.tolist()
            )
        elif found.unargmaxable[i]:
            w = found.weights.get(i, {})
            require(sum(w.values()) == 1 and min(w.values()) >= 0 and i not in w, i, K.tolist())
            mean = [sum(m * keys[j][t] for j, m in w.items()) for t in range(k)]
            require(mean == keys[i], "weights", i, K.tolist())
            require(sum(m * biases[j] for j, m in w.items()) >= biases[i], "bias", i, K.tolist())
    return "undecided" if found.undecided.any() else "right"


def layers(rng: Rng) -> str:
    """`separating_tokens`: the gap of the layers at 200 bits is at least what is certified."""
    d, h = int(rng.choice([4, 6])), 2
    size = int(rng.integers(d // h + 1, d + 1))
    f = rb.random_multihead(d=d, heads=h, seed=int(rng.integers(2**31)))
    g = rb.random_multihead(d=d, heads=h, seed=int(rng.integers(2**31)), head_size=size)
    kind = str(rng.choice(["same", "bit", "graded", "large", "offset"]))
    if kind in ("same", "bit"):
        g = rb.widen(f, size)
    W_q, W_k, W_v, W_o = (np.array(W) for W in (g.W_q, g.W_k, g.W_v, g.W_o))
    if kind == "bit":
        W_v[0, 0, 0] = np.nextafter(W_v[0, 0, 0], np.inf)
    if kind == "graded":
        power = 2.0 ** (12 * np.arange(size))
        W_k, W_q = W_k * power[:, None], W_q / power[:, None]
    if kind == "large":
        W_q = W_q * 700
    if kind == "offset":
        W_v = W_v + 10.0 ** int(rng.integers(6, 13))
    g = rb.MultiHead(W_q, W_k, W_v, W_o, scale=g.scale)
    found = rb.separating_tokens(f, g, int(rng.integers(2, 4)))
    if found.tokens is None:
        require(found.gap == 0, "gap without tokens", found.gap)
        return "undecided"
    require(kind != "same", "separated from itself", found.gap)
    X = found.tokens
    gap = frobenius(difference(output(f, X), output(g, X)))
    require(gap >= found.gap, kind, "gap", float(gap), found.gap, X.tolist())
    return "right"


def output(layer: Any, X: Array) -> list[list[Any]]:
    """The layer's output at 200 bits."""
    n, v = X.shape[1], layer.W_v.shape[1]
    total = [[mpmath.mpf(0)] * n for _ in range(len(X))]
    for i in range(layer.heads):
        head = rb.AttentionHead(W_q=layer.W_q[i], W_k=layer.W_k[i], scale=layer.scale)
        log_P = log_softmax(head_logits(head, X))
        V = product(product(layer.W_o[:, i * v : (i + 1) * v], layer.W_v[i]), X)
        V = [[real(x) for x in row] for row in V]
        P = [[mpmath.exp(x) for x in row] for row in log_P]
        for a, row in enumerate(V):
            for j in range(n):
                total[a][j] += mpmath.fsum(row[t] * P[t][j] for t in range(n))
    return total


FAMILIES: dict[str, Callable[[Rng], str | None]] = {
    "exact ranks": exact_ranks,
    "certified ranks": certified_ranks,
    "certified contexts": certified_contexts,
    "log-ranks": log_ranks,
    "log-ranks of heads": head_ranks,
    "spectra": spectra,
    "masks": completions,
    "tokens": on_tokens,
    "represented": representations,
    "KL bounds": kl_bounds,
    "nearest heads": nearest,
    "argmaxable": winners,
    "layers": layers,
    "lost rows": lost_rows,
    "stored contexts": stored_contexts,
}


def attack(family: str, seed: int, case: int) -> tuple[str, str]:
    """Run one case: its outcome, and what was wrong."""
    rng = np.random.default_rng([seed, list(FAMILIES).index(family), case])
    with warnings.catch_warnings(), mpmath.workprec(BITS):
        warnings.simplefilter("error")
        try:
            return FAMILIES[family](rng) or "right", ""
        except rb.Undecided:
            return "undecided", ""
        except rb.InputError as error:
            return "refused", str(error)
        except Exception as error:  # what is raised beyond the promised is wrong too
            return "wrong", f"{type(error).__name__}: {error}"


def main() -> int:
    """Run the attack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="cases of each family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", nargs="*", choices=FAMILIES, default=list(FAMILIES))
    options = parser.parse_args()
    totals: Counter[str] = Counter()
    for family in options.family:
        counts: Counter[str] = Counter()
        for case in range(options.count):
            outcome, why = attack(family, options.seed, case)
            counts[outcome] += 1
            if outcome == "wrong":
                print(f"wrong: {family}, seed {options.seed}, case {case}: {why}", file=sys.stderr)
        totals += counts
        said = ", ".join(f"{counts[x]} {x}" for x in ("right", "undecided", "refused", "wrong"))
        print(f"{family}: {said}", flush=True)
    print(f"{sum(totals.values())} cases, {totals['wrong']} wrong")
    return bool(totals["wrong"])


if __name__ == "__main__":
    sys.exit(main())
