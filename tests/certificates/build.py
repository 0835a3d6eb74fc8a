"""Honest certificates by hand: Fractions, elimination and plain JSON; nothing of rankbound."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

Doc = dict[str, Any]
Matrix = list[list[Fraction]]

PRIME = (1 << 61) - 1


def dumped(doc: Doc) -> str:
    """The canonical JSON."""
    return json.dumps(doc, sort_keys=True, separators=(",", ":"))


def document(kind: str, statement: Doc, data: Doc, claim: str | None = None) -> Doc:
    """The envelope."""
    return {
        "schema": "rankbound-certificate-1",
        "kind": kind,
        "claim": claim,
        "statement": statement,
        "data": data,
    }


def table(kind: str, rows: Sequence[Sequence[Any]], columns: int | None = None) -> Doc:
    """A matrix as a certificate writes it."""
    write: dict[str, Callable[[Any], str]] = {
        "integer": hex,
        "float": lambda x: float(x).hex(),
        "rational": lambda x: f"{Fraction(x).numerator:#x}/{Fraction(x).denominator:#x}",
    }
    return {
        "type": kind,
        "rows": len(rows),
        "columns": len(rows[0]) if columns is None else columns,
        "entries": [write[kind](x) for row in rows for x in row],
    }


def dyadic(rows: Sequence[Sequence[Fraction]], exponent: int, columns: int | None = None) -> Doc:
    """The matrix rounded to multiples of 2**exponent."""
    return {
        "rows": len(rows),
        "columns": len(rows[0]) if columns is None else columns,
        "entries": [hex(round(Fraction(x) / Fraction(2) ** exponent)) for row in rows for x in row],
        "exponent": exponent,
    }


def exact(rows: Sequence[Sequence[Any]]) -> Matrix:
    """The matrix in Fractions."""
    return [[Fraction(x) for x in row] for row in rows]


def times(A: Matrix, B: Matrix) -> Matrix:
    """The product."""
    return [
        [sum((a * b for a, b in zip(r, c, strict=True)), Fraction(0)) for c in zip(*B, strict=True)]
        for r in A
    ]


def transposed(A: Matrix) -> Matrix:
    """The transpose."""
    return [list(column) for column in zip(*A, strict=True)]


def centred(A: Matrix) -> Matrix:
    """C A."""
    means = [sum(column) / Fraction(len(A)) for column in transposed(A)]
    return [[x - mean for x, mean in zip(row, means, strict=True)] for row in A]


def eliminated(A: Matrix) -> tuple[list[int], list[int], Matrix]:
    """Pivot rows, pivot columns, and the nonzero rows of the reduced echelon form."""
    rows = [list(row) for row in A]
    left, pivots, chosen, reduced = list(range(len(A))), [], [], []
    for j in range(len(A[0])):
        i = next((i for i in left if rows[i][j]), None)
        if i is None:
            continue
        left.remove(i)
        chosen.append(i)
        pivots.append(j)
        rows[i] = [x / rows[i][j] for x in rows[i]]
        for other in range(len(rows)):
            if other != i and rows[other][j]:
                factor = rows[other][j]
                rows[other] = [x - factor * y for x, y in zip(rows[other], rows[i], strict=True)]
    reduced = [rows[i] for i in chosen]
    return chosen, pivots, reduced


def rank(A: Matrix) -> int:
    """The rank over the rationals."""
    return len(eliminated(A)[0])


def minor(A: Matrix, prime: int = PRIME) -> Doc:
    """A nonzero minor of full rank."""
    rows, columns, _ = eliminated(A)
    return {"rows": rows, "columns": columns, "prime": hex(prime)}


def factors(A: Matrix) -> tuple[Doc, Doc]:
    """Left and right, of inner size the rank."""
    _, columns, reduced = eliminated(A)
    left = [[row[j] for j in columns] for row in A]
    return table("rational", left, len(columns)), table("rational", reduced, len(A[0]))


def left_inverse(B: Matrix) -> Matrix:
    """(B^T B)^-1 B^T, for B of full column rank."""
    gram = times(transposed(B), B)
    n = len(gram)
    padded = [row + [Fraction(int(i == j)) for j in range(n)] for i, row in enumerate(gram)]
    return times([row[n:] for row in eliminated(padded)[2]], transposed(B))


def enclosure(
    B: Matrix,
    columns: list[int] | None = None,
    shape: tuple[int, int] | None = None,
    row_exponents: list[int] | None = None,
    column_exponents: list[int] | None = None,
    grid: int = 40,
    bits: int = 40,
) -> Doc:
    """The data of a nonsingular enclosure for the (scaled) chosen columns B."""
    m, n = shape or (len(B), len(B[0]))
    return {
        "columns": columns,
        "row_exponents": row_exponents or [0] * m,
        "column_exponents": column_exponents or [0] * n,
        "grid": grid,
        "inverse": dyadic(left_inverse(B), -bits),
    }


def gap(A: Matrix, V: Matrix, grid: int = 40, bits: int = 40) -> Doc:
    """The data of a spectral gap with compression V."""
    return {
        "compression": dyadic(V, -bits),
        "inverse": dyadic(left_inverse(times(A, V)), -bits),
        "grid": grid,
    }


def log_differences(P: Sequence[Sequence[float]]) -> Matrix:
    """D, to double precision."""
    return exact(
        [[math.log(x) - math.log(y) for x, y in zip(row, P[0], strict=True)] for row in P[1:]]
    )


def centred_logs(P: Sequence[Sequence[float]]) -> Matrix:
    """C log P, to double precision."""
    logs = [[math.log(x) for x in row] for row in P]
    means = [sum(column) / len(P) for column in zip(*logs, strict=True)]
    return exact([[x - mean for x, mean in zip(row, means, strict=True)] for row in logs])


def identity(n: int) -> Matrix:
    """The identity."""
    return [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]


INTEGERS = [[1, 2, 3], [4, 5, 6], [7, 8, 10]]
DEFICIENT = [[1, 2, 3, 4], [2, 4, 6, 8], [1, 0, 1, 0]]
RATIONALS = [
    [Fraction(1, 2), Fraction(1, 3)],
    [Fraction(3), Fraction(2)],
    [Fraction(0), Fraction(5, 7)],
]
FLOATS = [[0.1, 0.25, -3.5], [1e-3, 2.0, 0.5]]
CONTEXT = [[0.5, 0.25, 0.1], [0.25, 0.5, 0.2], [0.25, 0.25, 0.7]]
SQUARE = [[2.0, 0.5], [-0.25, 1.0]]
TALL = [[1.0, 2.0, 3.0], [0.5, 4.0, 4.5], [-1.0, 0.25, -0.75], [0.0, 1.0, 1.0]]


def minor_rank(kind: str, rows: list[list[Any]], modulus: int = PRIME) -> Doc:
    """A nonzero minor for `rank`."""
    A = exact(rows)
    upper = min(len(A), len(A[0]))
    statement = {"kind": "rank", "matrix": table(kind, rows), "lower": rank(A), "upper": upper}
    return document("nonzero-minor", statement, minor(A, modulus))


def minor_log_rank(rows: list[list[Any]], kind: str = "integer") -> Doc:
    """A nonzero minor for `log-rank`."""
    A = centred(exact(rows))
    upper = len(rows) - 1
    statement = {"kind": "log-rank", "logits": table(kind, rows), "lower": rank(A), "upper": upper}
    return document("nonzero-minor", statement, minor(A))


def minor_logit_rank(
    keys: list[list[Any]], queries: list[list[Any]], is_centred: bool, kind: str = "integer"
) -> Doc:
    """A nonzero minor for `logit-rank`."""
    A = times(transposed(exact(keys)), exact(queries))
    A = centred(A) if is_centred else A
    statement = {
        "kind": "logit-rank",
        "keys": table(kind, keys),
        "queries": table(kind, queries),
        "centred": is_centred,
        "lower": rank(A),
        "upper": min(len(keys), len(keys[0]) - is_centred),
    }
    return document("nonzero-minor", statement, minor(A))


def factored_rank(kind: str, rows: list[list[Any]], with_minor: bool = True) -> Doc:
    """A factorisation for `rank`."""
    A = exact(rows)
    left, right = factors(A)
    r = rank(A)
    statement = {"kind": "rank", "matrix": table(kind, rows), "lower": r * with_minor, "upper": r}
    data = {"left": left, "right": right, "minor": minor(A) if with_minor else None}
    return document("factorisation", statement, data)


def factored_log_rank(rows: list[list[Any]], kind: str = "integer") -> Doc:
    """A factorisation for `log-rank`."""
    A = centred(exact(rows))
    left, right = factors(A)
    r = rank(A)
    statement = {"kind": "log-rank", "logits": table(kind, rows), "lower": r, "upper": r}
    return document("factorisation", statement, {"left": left, "right": right, "minor": minor(A)})


def enclosed_rank(kind: str, rows: list[list[Any]]) -> Doc:
    """A nonsingular enclosure for `rank`, of as many columns as the rank."""
    A = exact(rows)
    _, columns, _ = eliminated(A)
    B = [[row[j] for j in columns] for row in A]
    upper = min(len(A), len(A[0]))
    statement = {"kind": "rank", "matrix": table(kind, rows), "lower": len(columns), "upper": upper}
    data = enclosure(B, columns, (len(A), len(A[0])))
    return document("nonsingular-enclosure", statement, data)


def enclosed_under_error(
    rows: list[list[float]], error: Any, row_exponents: list[int], column_exponents: list[int]
) -> Doc:
    """A nonsingular enclosure for `rank-under-error`, all columns, scaled."""
    B = [
        [Fraction(x) * Fraction(2) ** (a + b) for x, b in zip(row, column_exponents, strict=True)]
        for row, a in zip(rows, row_exponents, strict=True)
    ]
    statement = {
        "kind": "rank-under-error",
        "matrix": table("float", rows),
        "error": error.hex() if isinstance(error, float) else table("float", error),
        "lower": len(rows[0]),
    }
    data = enclosure(B, None, None, row_exponents, column_exponents)
    return document("nonsingular-enclosure", statement, data)


def enclosed_log_rank(P: list[list[float]], ratio: float, columns: list[int]) -> Doc:
    """A nonsingular enclosure for `log-rank-within`."""
    B = [[row[j] for j in columns] for row in log_differences(P)]
    statement = {
        "kind": "log-rank-within",
        "context": table("float", P),
        "ratio": ratio.hex(),
        "lower": len(columns),
    }
    data = enclosure(B, columns, (len(P) - 1, len(P)))
    return document("nonsingular-enclosure", statement, data)


def gap_singular_value(
    rows: list[list[float]], error: Any, V: Matrix, bound: float, bits: int = 40
) -> Doc:
    """A spectral gap for `singular-value`."""
    statement = {
        "kind": "singular-value",
        "matrix": table("float", rows),
        "error": error.hex() if isinstance(error, float) else table("float", error),
        "index": len(V[0]),
        "bound": bound.hex(),
    }
    return document("spectral-gap", statement, gap(exact(rows), V, bits=bits))


def gap_log_rank(P: list[list[float]], ratio: float, V: Matrix) -> Doc:
    """A spectral gap for `log-rank-within`."""
    statement = {
        "kind": "log-rank-within",
        "context": table("float", P),
        "ratio": ratio.hex(),
        "lower": len(V[0]),
    }
    return document("spectral-gap", statement, gap(centred_logs(P), V))


def represented(tokens: list[list[Any]] | None) -> Doc:
    """A representation for `represented-exactly`."""
    keys, queries = (
        exact([[1, Fraction(1, 2), 0], [0, 2, -1]]),
        exact([[2, 1, 1], [1, 0, Fraction(3, 4)]]),
    )
    X = identity(3) if tokens is None else exact(tokens)
    K, Q = times(keys, X), times(queries, X)
    L = times(transposed(K), Q)
    shifted = [[x + j for j, x in enumerate(row)] for row in L]
    # the head's own logits must be the centred ones: centre the keys over the tokens
    if tokens is None:
        keys = transposed(centred(transposed(keys)))
    statement = {
        "kind": "represented-exactly",
        "logits": table("rational", shifted),
        "keys": table("rational", keys),
        "queries": table("rational", queries),
        "tokens": None if tokens is None else table("rational", X),
    }
    return document("representation", statement, {})


def represented_within(ratio: float = 1e-12) -> Doc:
    """A representation for `represented-within`."""
    keys, queries, scale = [[0.5, -1.0, 2.0]], [[1.0, 0.25, -0.75]], 0.5
    columns = []
    for q in queries[0]:
        weights = [math.exp(scale * k * q) for k in keys[0]]
        columns.append([w / sum(weights) for w in weights])
    statement = {
        "kind": "represented-within",
        "context": table("float", list(zip(*columns, strict=True))),
        "ratio": ratio.hex(),
        "keys": table("float", keys),
        "queries": table("float", queries),
        "scale": scale.hex(),
        "tokens": None,
    }
    return document("representation", statement, {})


def represented_within_on_tokens() -> Doc:
    """The same head on tokens that double each coordinate, its projections halved."""
    document = represented_within()
    statement = document["statement"]
    doubled = [[2.0 * (i == j) for j in range(3)] for i in range(3)]
    statement["tokens"] = table("float", doubled)
    for name, row in (("keys", [0.25, -0.5, 1.0]), ("queries", [0.5, 0.125, -0.375])):
        statement[name] = table("float", [row])
    return document


def masked_witness() -> Doc:
    """Causal, identity logits, n = 3: the rows less the first are new, so the least rank is 2.

    Row 2 less row 1 is (*, 1, 0) and row 3 less row 1 (*, *, 1), * hidden. The head has keys
    (0, 1, 0), (0, 0, 1) and queries (0, 1, 0), (0, 0, 1).
    """
    rows = [[0, 1, 0], [0, 0, 1]]
    statement = {
        "kind": "masked-log-rank",
        "logits": table("integer", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        "mask": table("integer", [[1, 1, 1], [0, 1, 1], [0, 0, 1]]),
        "lower": 2,
        "upper": 2,
    }
    data = {
        "rows": [1, 2],
        "reference": 0,
        "directions": table("integer", [[0, 0], [1, 0], [0, 1]]),
        "keys": table("integer", rows),
        "queries": table("integer", rows),
    }
    return document("masked-witness", statement, data)


def counterexample() -> Doc:
    """A counterexample: 2^(ij + j) is of full rank, its logits of rank 1."""
    exponents = [[i * j + j for j in range(3)] for i in range(3)]
    statement = {
        "kind": "rank-above-head-size",
        "exponents": table("integer", exponents),
        "keys": table("integer", [[0, 1, 2]]),
        "queries": table("integer", [[0, 1, 2]]),
    }
    P = exact([[2**e for e in row] for row in exponents])
    return document("counterexample", statement, minor(P))


def layer(
    kind: str,
    W_q: list[list[list[Any]]],
    W_k: list[list[list[Any]]],
    W_v: list[list[list[Any]]],
    W_o: list[list[Any]],
    scale: Any,
) -> Doc:
    """A layer as a certificate writes it, of stacks of matrices, one a head."""
    stacks = {"queries": W_q, "keys": W_k, "values": W_v}
    flat = {name: table(kind, [row for head in W for row in head]) for name, W in stacks.items()}
    number = f"{Fraction(scale).numerator:#x}/{Fraction(scale).denominator:#x}"
    return {"heads": len(W_q), **flat, "output": table(kind, W_o), "scale": number}


def separation(f: Doc, g: Doc, tokens: Doc, gap: Any) -> Doc:
    """A separation for `layers-differ`."""
    written = f"{Fraction(gap).numerator:#x}/{Fraction(gap).denominator:#x}"
    statement = {"kind": "layers-differ", "f": f, "g": g, "tokens": tokens, "gap": written}
    return document("separation", statement, {})


ONE_HEAD = layer(
    "rational",
    [[[1, 0], [Fraction(1, 2), 1]]],
    [[[1, -1], [2, Fraction(1, 3)]]],
    [[[1, 2]]],
    [[1], [1]],
    Fraction(1, 2),
)
TWO_HEADS = layer(
    "float", [[[1.0, 0.5]], [[0.0, 2.0]]], [[[1.0, 1.0]], [[-0.25, 1.0]]],
    [[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [1.0, -1.0]]],
    [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]], 1.0,
)  # fmt: skip


def separated() -> Doc:
    """Two layers of unlike shapes; the outputs differ by 6.75998."""
    tokens = table("float", [[1.0, 0.0, -1.0], [0.5, 2.0, 1.0]])
    return separation(ONE_HEAD, TWO_HEADS, tokens, Fraction(6759, 1000))


def separated_exactly() -> Doc:
    """One token (1, 1) four times: f has (3, 3) and g (1.5, 1), which differ by 2.5, so by 5."""
    return separation(ONE_HEAD, TWO_HEADS, table("integer", [[1] * 4] * 2), 5)


def unreachable(tokens: list[list[Any]], left: list[Any], right: list[Any]) -> Doc:
    """No head has these logits where the tokens map a vector that fits to zero."""
    statement = {
        "kind": "unreachable",
        "logits": table("integer", [[0, 1, 2], [3, 0, 1], [1, 1, 1]]),
        "tokens": table("integer", tokens),
    }
    vectors = {"left": left, "right": right}
    data = {name: table("rational", [[x] for x in vector]) for name, vector in vectors.items()}
    return document("unreachable", statement, data)


def unreachable_within(ratio: float = 0.5) -> Doc:
    """B20's example: the product is log 3, and may move by 2 ratio."""
    statement = {
        "kind": "unreachable-within",
        "context": table("float", [[0.5, 0.75], [0.5, 0.25]]),
        "ratio": ratio.hex(),
        "tokens": table("float", [[1.0, 0.0]]),
    }
    data = {"left": table("integer", [[1], [-1]]), "right": table("integer", [[0], [1]])}
    return document("unreachable", statement, data)


CAUSAL = [[1, 1, 1], [0, 1, 1], [0, 0, 1]]


def orthogonal_weights() -> Doc:
    """Causal, X = (1, 2, 4): X W X^T = 2 (-2 + 4) + 4 (1 - 2) = 0, and <W, L> = -2 + 2 - 1."""
    statement = {
        "kind": "unreachable-masked",
        "logits": table("integer", [[0, 1, 2], [0, 0, 1], [0, 0, 5]]),
        "mask": table("integer", CAUSAL),
        "tokens": table("integer", [[1, 2, 4]]),
    }
    data = {"weights": table("integer", [[0, -2, 1], [0, 2, -1], [0, 0, 0]])}
    return document("orthogonal-weights", statement, data)


def orthogonal_weights_within(ratio: float = 0.25) -> Doc:
    """X = (1, 1, 1): every visible logit of a column is the same, and log 2 is 0.69."""
    statement = {
        "kind": "unreachable-masked-within",
        "context": table("float", [[1.0, 0.5, 0.5], [0.0, 0.5, 0.25], [0.0, 0.0, 0.25]]),
        "mask": table("integer", CAUSAL),
        "ratio": ratio.hex(),
        "tokens": table("float", [[1.0, 1.0, 1.0]]),
    }
    data = {"weights": table("integer", [[0, 0, 2], [0, 0, -1], [0, 0, -1]])}
    return document("orthogonal-weights", statement, data)


def represented_masked(tokens: list[list[Any]] | None) -> Doc:
    """Keys (1, 2, 3) and queries (0, 1, 2): logits in another gauge, anything where hidden."""
    statement = {
        "kind": "represented-masked",
        "logits": table("rational", [[7, 1, 5], [9, 2, 7], [Fraction(1, 2), -9, 9]]),
        "mask": table("integer", CAUSAL),
        "keys": table("integer", [[1, 2, 3]] if tokens is None else [[1, 1]]),
        "queries": table("integer", [[0, 1, 2]] if tokens is None else [[0, 1]]),
        "tokens": None if tokens is None else table("integer", tokens),
    }
    return document("representation", statement, {})


def selecting_queries() -> Doc:
    """Of three keys on a line the outer ones, and in the plane all pairs too."""
    statement = {
        "kind": "selectable",
        "keys": table("integer", [[0, 1, 0], [0, 0, 1]]),
        "most": 2,
    }
    queries = [[-1, 1, 0, 0, -1, 1], [-1, 0, 1, -1, 0, 1]]
    return document("selecting-queries", statement, {"queries": table("integer", queries)})


def radon_partition() -> Doc:
    """On a line no query prefers the middle one: 1 = (0 + 2)/2."""
    statement = {"kind": "unselectable", "keys": table("integer", [[0, 1, 2]]), "members": [1]}
    weights = table("rational", [[Fraction(-1, 2)], [1], [Fraction(-1, 2)]])
    return document("radon-partition", statement, {"weights": weights})


def kl_above(tilted: bool = False, bound: float | None = None) -> Doc:
    """At head size 1, P = CONTEXT: one block, the budget 0.02 and weights 1/3 throughout.

    The products of two weights are 1/9, so what is decomposed is C log P / 9. Or with a tilt, at
    weights that suit it: 98 % of the least KL divergence there is, as descent finds it.
    """
    bound = bound or (0.0244 if tilted else 0.00175)
    budget = Fraction(3, 40) if tilted else Fraction(1, 50)
    a = [Fraction(x, 4096) for x in ((3255, 4680, 3966) if tilted else (1365, 1365, 1365))]
    b = [Fraction(x, 4096) for x in ((1187, 1407, 922) if tilted else (1365, 1365, 1365))]
    entries = [[-315, 275, 2], [93, -127, 66], [-84, 74, -142]]
    H = [[Fraction(x * tilted, 1024) for x in row] for row in entries]
    z, T = ([[Fraction(0)] * 3 for _ in range(3)] for _ in range(2))
    totals = [sum(column) for column in transposed(exact(CONTEXT))]
    for i in range(3):
        for j in range(3):
            p = CONTEXT[i][j] / float(totals[j])
            z[i][j] = _touching(p, float(a[i] * b[j]) ** 2, float(H[i][j]))
            T[i][j] = _reach(p, float(budget))
    M = weighted(CONTEXT, H, a, b)
    left, values, right = decomposed(M)
    block = {
        "keys": [0, 1, 2],
        "queries": [0, 1, 2],
        "budget": f"{budget.numerator:#x}/{budget.denominator:#x}",
        "key_weights": dyadic([[x] for x in a], -12),
        "query_weights": dyadic([b], -12),
        "tilt": dyadic(H, -10),
        "touching": dyadic(z, -60),
        "reach": dyadic(T, -60),
        "left": dyadic(left, -60),
        "values": dyadic([[x] for x in values], -60),
        "right": dyadic(right, -60),
    }
    statement = {
        "kind": "kl-above",
        "context": table("float", CONTEXT),
        "head_size": 1,
        "bound": bound.hex(),
    }
    return document("column-budgets", statement, {"blocks": [block]})


def weighted(
    P: Sequence[Sequence[float]], H: Matrix, a: Sequence[Fraction], b: Sequence[Fraction]
) -> Matrix:
    """``diag(a) (log P - H) diag(b)``, the gauge projected out, to double precision."""
    x = [
        [math.log(p) - float(h) for p, h in zip(*rows, strict=True)]
        for rows in zip(P, H, strict=True)
    ]
    squares = [float(y * y) for y in a]
    means = [
        sum(w * y for w, y in zip(squares, column, strict=True)) / sum(squares)
        for column in zip(*x, strict=True)
    ]
    return exact(
        [
            [float(u) * (y - mean) * float(v) for y, mean, v in zip(row, means, b, strict=True)]
            for u, row in zip(a, x, strict=True)
        ]
    )


def _touching(p: float, w: float, H: float) -> Fraction:
    """Where ``w (x - H)² - p φ(x)`` has no slope, from the left; 0 without a tilt."""
    low, high = -9.0, math.log(p / (2 * w))
    for _ in range(80):
        middle = (low + high) / 2
        rises = 2 * w * (middle - H) > p * -math.expm1(-middle)
        low, high = (middle, high) if rises else (low, middle)
    return Fraction(low - 1e-9) if H else Fraction(0)


def _reach(p: float, budget: float) -> Fraction:
    """T with ``p φ(T)`` a little above the budget."""
    low, high = 0.0, 1.0 + budget / p + 9.0
    for _ in range(80):
        middle = (low + high) / 2
        enough = p * (middle + math.expm1(-middle)) > budget
        low, high = (low, middle) if enough else (middle, high)
    return Fraction(high + 1e-9)


def decomposed(A: Matrix) -> tuple[Matrix, list[Fraction], Matrix]:
    """Left vectors, values and right vectors, to double precision: one-sided Jacobi rotations.

    Columns of A V are made orthogonal two at a time; where one is zero the left vector is made up.
    """
    U = [[float(x) for x in column] for column in transposed(A)]  # its columns, as rows
    V = [[float(i == j) for j in range(len(U))] for i in range(len(U))]
    for _ in range(40):
        for i in range(len(U)):
            for j in range(i):
                inner = sum(x * y for x, y in zip(U[i], U[j], strict=True))
                difference = sum(x * x for x in U[i]) - sum(x * x for x in U[j])
                angle = math.atan2(2 * inner, difference) / 2
                c, s = math.cos(angle), math.sin(angle)
                for B in (U, V):
                    first, second = B[i], B[j]
                    B[i] = [c * x + s * y for x, y in zip(first, second, strict=True)]
                    B[j] = [c * y - s * x for x, y in zip(first, second, strict=True)]
    lengths = [math.sqrt(sum(x * x for x in u)) for u in U]
    kept = [i for i, length in enumerate(lengths) if length > 1e-12]
    left = [[x / lengths[i] for x in U[i]] for i in kept]
    return (
        transposed(exact(left)),
        [Fraction(lengths[i]) for i in kept],
        exact([V[i] for i in kept]),
    )


def wrong_signs(kind: str, bound: float) -> Doc:
    """Sylvester's 8 × 8 matrix over 2, head size 1: an area of 2² · 8, so four columns pay."""
    H = [[(-1) ** (i & j).bit_count() for j in range(8)] for i in range(8)]
    logits = [[0.5 * x for x in row] for row in H]
    totals = [sum(math.exp(row[j]) for row in logits) for j in range(8)]
    middle = 0.5 / math.tanh(0.5) - 1
    statement: Doc = {"kind": kind, "head_size": 1, "bound": bound.hex()}
    if kind == "kl-above":
        P = [[math.exp(x) / Z for x, Z in zip(row, totals, strict=True)] for row in logits]
        statement["context"] = table("float", P)
    else:
        statement["logits"] = table("float", logits)
    thresholds = dyadic([[Fraction(middle - math.log(Z)) for Z in totals]], -60)
    data = {"thresholds": thresholds, "parts": 1, "power": 1}
    return document("wrong-signs", statement, data)


def forster(power: int = 1) -> Doc:
    """Sylvester's 8 × 8 matrix: √8 < 3."""
    H = [[(-1) ** (i & j).bit_count() for j in range(8)] for i in range(8)]
    statement = {"kind": "sign-rank", "signs": table("integer", H), "lower": 3}
    return document("forster", statement, {"power": power})


def packing(count: int, head_size: int, error: float, bound: float) -> Doc:
    """A scale that some counting argument asks for."""
    statement = {
        "kind": "scale-above",
        "count": count,
        "head_size": head_size,
        "error": error.hex(),
        "bound": bound.hex(),
    }
    return document("packing", statement, {})


CENTRED_TOKENS = [[1, 0, -1], [0, 2, -2], [3, -1, -2]]  # what projects them is centred already
FIRST = [[Fraction(1)], [Fraction(0)], [Fraction(0)]]
FIRST_TWO = [row[:2] for row in identity(3)]

EXAMPLES: dict[str, Doc] = {
    "minor, rank of integers": minor_rank("integer", INTEGERS),
    "minor, rank of deficient integers": minor_rank("integer", DEFICIENT),
    "minor, rank of rationals": minor_rank("rational", RATIONALS),
    "minor, rank of floats": minor_rank("float", FLOATS),
    "minor, composite modulus": minor_rank("integer", INTEGERS, 4),
    "minor, rank of zero": minor_rank("integer", [[0, 0], [0, 0]]),
    "minor, log-rank": minor_log_rank(INTEGERS),
    "minor, log-rank of rationals": minor_log_rank(
        [[Fraction(1, 3), 2], [5, Fraction(-1, 6)]], "rational"
    ),
    "minor, logit rank": minor_logit_rank([[1, 2, 3]], [[4, 5, -6]], False),
    "minor, centred logit rank": minor_logit_rank(
        [[1, 2, 3], [0, 1, 1]], [[4, 5, 6], [1, 0, 2]], True
    ),
    "minor, logit rank of floats": minor_logit_rank([[0.1, 0.2]], [[1e-9, 3.5]], True, "float"),
    "factors, rank of integers": factored_rank("integer", DEFICIENT),
    "factors, rank of rationals": factored_rank("rational", RATIONALS, False),
    "factors, rank of floats": factored_rank("float", [[0.5, 1.5], [1.0, 3.0]]),
    "factors, rank of zero": factored_rank("integer", [[0, 0, 0], [0, 0, 0]]),
    "factors, log-rank": factored_log_rank([[1, 2, 3], [2, 3, 4], [0, 5, 1]]),
    "enclosure, rank of floats": enclosed_rank("float", TALL),
    "enclosure, rank of rationals": enclosed_rank("rational", RATIONALS),
    "enclosure, rank under error": enclosed_under_error(SQUARE, 0.1, [0, 0], [0, 0]),
    "enclosure, scaled": enclosed_under_error(
        [[1e-300, 1.0], [2e-300, 5.0]], [[1e-305, 1e-3], [0.0, 1e-4]], [0, 1], [996, -1]
    ),
    "enclosure, log-rank": enclosed_log_rank(CONTEXT, 0.01, [0, 2]),
    "gap, singular value": gap_singular_value(SQUARE, 0.001, identity(2), 0.7),
    "gap, singular value of a tall matrix": gap_singular_value(TALL, [[1e-6] * 3] * 4, FIRST, 0.5),
    "gap, log-rank": gap_log_rank(CONTEXT, 0.001, FIRST_TWO),
    "representation, exact": represented(None),
    "representation, exact on tokens": represented(CENTRED_TOKENS),
    "representation, within": represented_within(),
    "representation, within, on tokens": represented_within_on_tokens(),
    "masked witness": masked_witness(),
    "counterexample": counterexample(),
    "unreachable, by queries": unreachable(
        [[1, 0, 1], [0, 1, 1]], [Fraction(1, 2), Fraction(-1, 2), 0], [1, 1, -1]
    ),
    "unreachable, by keys": unreachable([[1, 1, 1], [0, 1, 3]], [2, -3, 1], [1, 0, 0]),
    "unreachable, within": unreachable_within(),
    "orthogonal weights": orthogonal_weights(),
    "orthogonal weights, within": orthogonal_weights_within(),
    "representation, masked": represented_masked(None),
    "representation, masked, on tokens": represented_masked([[1, 1, 1], [0, 1, 2]]),
    "selecting queries": selecting_queries(),
    "Radon partition": radon_partition(),
    "column budgets": kl_above(),
    "column budgets, tilted": kl_above(True),
    "wrong signs": wrong_signs("kl-above", 0.0064),
    "wrong signs, of logits": wrong_signs("kl-above-of-logits", 0.0064),
    "Forster": forster(),
    "Forster, squared": forster(2),
    "packing, on average": packing(9, 8, 0.125, 3.5),
    "packing, balls": packing(10**5, 3, 2.0**-10, 156.0),
    "packing, caps": packing(300, 3, 2.0**-20, 250.0),
    "packing, in the plane": packing(12, 2, 2.0**-10, 51.0),
    "packing, on a line": packing(3, 1, 0.25, 1e6),
    "separation": separated(),
    "separation, one token": separated_exactly(),
}


def example(name: str) -> Doc:
    """A copy, to be spoilt at will."""
    return copy.deepcopy(EXAMPLES[name])
