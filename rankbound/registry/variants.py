"""Variants of attention: what they leave of the bound (theory, section 6), on integer heads.

Changes of queries and keys: biases, RoPE, QK-norm, temperatures, grouped queries. Changes of the
logits: ALiBi, T5's bias, soft caps, mixed heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.attention.masks import causal_mask
from rankbound.attention.variants import (
    alibi_bias,
    append_ones,
    apply_temperature,
    grouped_logits,
    qk_norm,
    relative_bias,
    rotate,
    talking_heads,
)
from rankbound.exact.rational import Rationals, as_rationals, centred, transposed
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import (
    Check,
    Claim,
    Formula,
    Instance,
    Instances,
    Mutant,
    Source,
    Trial,
    make_claim,
)
from rankbound.registry.populations import exact_log_rank, exact_logits, pretrained_sample
from rankbound.theory.certified import certified_log_rank
from rankbound.verdict import Verdict

Table = npt.NDArray[Any]  # objects: ints and Fractions

HERE = "the rank statement is derived here, docs/theory.md, section 6"
HEADS = "integer heads and tokens, n = 4 and 7, d = n; temperature 1"
WIDER = "integer heads and tokens, n = 6 and 8, d = n; head size at most n - 3"
OFF_BY_ONE = Mutant("bound off by one", {"bound": lambda head_size: head_size - 1}, "factor")
HALF = Fraction(1, 2)
CAP = Fraction(50)  # Gemma 2's, for attention
PRESS = Source("press2022", "section 3, linear biases", HERE)
HEAD_SIZE_ALONE = Mutant("head size alone", {"bound": lambda head_size: head_size}, "factor")

_certified = partial(make_claim, relation="<=", status=Verdict.CERTIFIED)


def here(what: str, note: str = "derived here") -> Source:
    """A statement of docs/theory.md, section 6."""
    return Source("rankbound", f"section 6, {what}", note)


# integer heads, and the comparison of ranks with their sizes


def product(keys: Table, queries: Table) -> Table:
    """``K^T Q``, [key, query]."""
    L: Table = keys.T @ queries
    return L


@dataclass(frozen=True, eq=False)
class Draw:
    """An integer head with its tokens, and the stream for whatever else a variant draws."""

    label: str
    number: int
    trial: Trial
    W_k: Table
    W_q: Table
    X: Table
    keys: Table  # W_k X
    queries: Table  # W_q X

    @property
    def logits(self) -> Table:
        """Shape (n, n), [key, query]."""
        return product(self.keys, self.queries)

    def integers(self, *shape: int, least: int = -9) -> Table:
        """More integers, from `least` to 9."""
        return self.trial.rng.integers(least, 9, size=shape, endpoint=True).astype(object)


def draws(
    trial: Trial, sizes: tuple[int, ...] = (1, 2, 3), lengths: tuple[int, ...] = (4, 7)
) -> Iterator[tuple[Draw, int, int]]:
    """Integer heads of several sizes, with their length and head size."""
    for n in lengths:
        for k in (k for k in sizes if k <= n - 2):
            for number in range(trial.count(2, 10)):
                W_k, W_q, X = (
                    trial.rng.integers(-9, 9, size=shape, endpoint=True).astype(object)
                    for shape in ((k, n), (k, n), (n, n))
                )
                label = f"n = {n}, head size {k}, draw {number}"
                yield Draw(label, number, trial, W_k, W_q, X, W_k @ X, W_q @ X), n, k


def keeps(
    trial: Trial,
    *,
    logits: Formula,
    bound: Formula = lambda head_size: head_size,
    rank: Callable[[Rationals], RankBounds] = exact_rank,
    sizes: tuple[int, ...] = (1, 2, 3),
    lengths: tuple[int, ...] = (4, 7),
) -> Instances:
    """Compare the rank of the logits of a variant with the head size, or another bound."""
    for draw, _, k in draws(trial, sizes, lengths):
        yield Instance.of_bounds(draw.label, rank(as_rationals(logits(draw))), bound(k))


def one_more(head_size: int) -> int:
    """K + 1."""
    return head_size + 1


def _causal_log_rank(logits: Rationals) -> RankBounds:
    return exact_log_rank(logits, causal_mask(len(logits)))


def _stays(
    id: str, of: str, source: Source, check: Check, mutant: Mutant, on: str = HEADS
) -> Claim:
    """The claim that the logits keep rank at most k; the mutant's do not."""
    return _certified(
        f"variant-{id}",
        f"The logits of a head of size k keep rank at most k under {of}.",
        check,
        OFF_BY_ONE,
        mutant,
        source=source,
        hypotheses=(on,),
    )


# biases: the rank stays, and the key bias is pure gauge


def _biased(draw: Draw) -> Table:
    k, X = len(draw.W_k), append_ones(draw.X)
    W_k, W_q = (np.hstack([W, draw.integers(k, 1)]) for W in (draw.W_k, draw.W_q))
    return product(W_k @ X, W_q @ X)


def _heads(trial: Trial) -> Iterator[tuple[str, Rationals, Rationals, list[Fraction]]]:
    """Keys, queries and a bias far above them: random integers, and a pretrained encoder's."""
    for draw, _, k in draws(trial):
        keys, queries = as_rationals(draw.keys), as_rationals(draw.queries)
        yield draw.label, keys, queries, [Fraction(x) for x in 1000 * draw.integers(k)]
        yield f"{draw.label}, no bias", keys, queries, [Fraction(0)] * k
    for label, head in pretrained_sample(trial):
        keys, queries = (as_rationals(x.tolist()) for x in (head.keys, head.queries))
        bias = trial.rng.integers(-1000, 1000, size=len(keys), endpoint=True).tolist()
        yield label, keys, queries, [Fraction(x) for x in bias]


def _by_key_bias(keys: Rationals, queries: Rationals, bias: list[Fraction]) -> Rationals:
    """What a bias on the keys adds to the logits."""
    biased = [[x + b for x in row] for row, b in zip(keys, bias, strict=True)]
    pairs = zip(exact_logits(biased, queries), exact_logits(keys, queries), strict=True)
    return [[x - y for x, y in zip(*rows, strict=True)] for rows in pairs]


def _by_query_bias(keys: Rationals, queries: Rationals, bias: list[Fraction]) -> Rationals:
    """What a bias on the queries adds to the logits."""
    return transposed(_by_key_bias(queries, keys, bias))


def _varies(keys: Rationals, bias: list[Fraction]) -> int:
    """1 if the keys' products with the bias differ, 0 if not."""
    products = {x for row in exact_logits(keys, [[b] for b in bias]) for x in row}
    return int(len(products) > 1)


def _gauge(
    id: str, statement: str, added: Formula, moved: Formula, *mutants: Mutant, theorem: str = ""
) -> Claim:
    """Compare rank C(L' - L), 0 iff the context stays (Lemma 1), with what `moved` says."""

    def check(trial: Trial, *, added: Formula = added, moved: Formula = moved) -> Instances:
        for label, keys, queries, bias in _heads(trial):
            rank = certified_log_rank(logits=added(keys, queries, bias))
            yield Instance.of_bounds(label, rank, moved(keys, bias))

    return _certified(
        id,
        statement,
        check,
        *mutants,
        source=here("biases"),
        hypotheses=(f"{HEADS}; and heads of all-MiniLM-L6-v2, floats read as rationals",),
        relation="=",
        theorem=theorem,
    )


# RoPE, QK-norm, temperature, grouped queries

TRIPLES = ((3, 4, 5), (5, 12, 13), (8, 15, 17))  # angles whose multiples have rational cosines


def _rotations(pairs: int, n: int) -> tuple[Table, Table]:
    """Cosines and sines of multiples of angles with rational ones, one row per pair."""
    powers = np.empty((2, pairs, n), dtype=object)
    for pair, (a, b, c) in enumerate(TRIPLES[:pairs]):
        x, y = Fraction(1), Fraction(0)
        for place in range(n):
            powers[:, pair, place] = x, y
            x, y = (a * x - b * y) / c, (b * x + a * y) / c
    return powers[0], powers[1]


def _rotated(draw: Draw) -> Table:
    cos, sin = _rotations(len(draw.W_k) // 2, len(draw.X))
    pairing: Any = ("half", "interleaved")[draw.number % 2]
    return product(*(rotate(x, cos, sin, pairing) for x in (draw.keys, draw.queries)))


def _rotated_by_distance(draw: Draw) -> Table:
    """Turns each query by |i - j|, as a bidirectional ALiBi would: no rotation of columns."""
    n, k = len(draw.X), len(draw.W_k)
    cos, sin = _rotations(k // 2, n)
    L = np.empty((n, n), dtype=object)
    for i, j in np.ndindex(n, n):
        turned = rotate(draw.queries[:, [j]], cos[:, [abs(i - j)]], sin[:, [abs(i - j)]], "half")
        L[i, j] = draw.keys[:, i] @ turned[:, 0]
    return L


def _rational_norms(draw: Draw, k: int, n: int) -> Table:
    """Integer columns of integer norm: ``(2 t, |t|² - 1)`` has norm ``|t|² + 1``."""
    t = draw.integers(k - 1, n)
    square = (t * t).sum(axis=0) if k > 1 else np.zeros(n, dtype=object)
    return np.vstack([2 * t, square - 1])


def _normalised(draw: Draw) -> tuple[Table, Table]:
    k, n = draw.W_k.shape
    gain = draw.integers(k, least=1)
    keys = qk_norm(_rational_norms(draw, k, n), gain)
    return keys, qk_norm(_rational_norms(draw, k, n), draw.integers(k, least=1))


def _distance_of_normalised(draw: Draw) -> Table:
    keys, queries = _normalised(draw)
    squares = [(x * x).sum(axis=0) for x in (keys, queries)]
    L: Table = 2 * product(keys, queries) - np.add.outer(*squares)
    return L


def check_qk_range(
    trial: Trial, *, normalise: Formula = qk_norm, spread: Formula = lambda gain: 2 * gain
) -> Instances:
    """The widest difference of logits within a column, less 2 g, exactly."""
    for draw, n, k in draws(trial, (1, 4)):
        gain = 1 + draw.number
        keys, queries = (_rational_norms(draw, k, n) for _ in range(2))
        keys[:, 0], keys[:, 1] = queries[:, 0], -queries[:, 0]
        L = grouped_logits(normalise(keys), [normalise(queries, gain)], scale=1)
        widest = max(max(column) - min(column) for column in L.T)
        label = f"{draw.label}, gain {gain}"
        yield Instance(label, float(widest), float(spread(gain)), Verdict.SUPPORTED)


def _shared_keys(keys: list[Table], queries: list[Table]) -> Table:
    return grouped_logits(keys[0], queries, scale=1)


def check_shared_keys(
    trial: Trial, *, joint: Formula = _shared_keys, bound: Formula = lambda head_size: head_size
) -> Instances:
    """Rank of [C L_1, …, C L_g], the heads' logits side by side."""
    for draw, n, k in draws(trial):
        for g in (2, n):
            keys = [draw.keys, *(draw.integers(k, n) for _ in range(g - 1))]
            queries = [draw.queries, *(draw.integers(k, n) for _ in range(g - 1))]
            C_L = centred(as_rationals(joint(keys, queries)))
            yield Instance.of_bounds(f"{draw.label}, {g} heads", exact_rank(C_L), bound(k))


def _own_keys(keys: list[Table], queries: list[Table]) -> Table:
    return np.hstack([product(*head) for head in zip(keys, queries, strict=True)])


def _over_keys(keys: list[Table], queries: list[Table]) -> Table:
    return np.vstack([keys[0].T @ Q for Q in queries])


def _temperature_by_query(draw: Draw) -> Table:
    return apply_temperature(draw.logits, draw.integers(len(draw.X), least=1))


def _temperature_by_distance(draw: Draw) -> Table:
    places = np.arange(len(draw.X)).astype(object)
    scales = [[Fraction(1, int(1 + abs(i - j))) for j in places] for i in places]
    L: Table = draw.logits * np.array(scales, dtype=object)
    return L


# changes of the logits themselves: ALiBi, relative biases, soft caps, mixed heads


def _signed(draw: Draw) -> Table:
    return alibi_bias(len(draw.X), HALF)


def _bidirectional(draw: Draw) -> Table:
    return alibi_bias(len(draw.X), HALF, bidirectional=True)


def _random_table(draw: Draw) -> Table:
    return relative_bias(draw.integers(2 * len(draw.X) - 1))


def _plus(bias: Callable[[Draw], Table]) -> Callable[[Draw], Table]:
    return lambda draw: draw.logits + bias(draw)


def check_alone(
    trial: Trial,
    *,
    bias: Formula = lambda n: alibi_bias(n, HALF, bidirectional=True),
    rank: Formula = lambda n: n - 1,
) -> Instances:
    """Log-rank of an ALiBi bias alone, that is, with a head of zero logits."""
    for n in range(2, trial.count(12, 40)):
        bounds = certified_log_rank(logits=bias(n))
        yield Instance.of_bounds(f"n = {n}", bounds, rank(n))


def check_any_rank(trial: Trial, *, bases: Formula = lambda rank: range(2, rank + 2)) -> Instances:
    """The table ``Σ_a a^l`` over r bases: ``Σ_a (a^i) (a^-j)^T``, of log-rank r.

    The r columns (a^i) and 1 are independent (Vandermonde, for distinct a other than 1).
    """
    for n in range(2, trial.count(7, 12)):
        for r in range(n):
            distances = range(1 - n, n)
            table: Any = [sum((Fraction(a) ** e for a in bases(r)), Fraction(0)) for e in distances]
            rank = certified_log_rank(logits=relative_bias(table))
            yield Instance.of_bounds(f"n = {n}, rank {r}", rank, r)


def _less(removed: Callable[[Table], Table]) -> Callable[[Draw], Table]:
    """What softmax leaves of biased logits, log P up to one constant per column, less a bias."""

    def variant(draw: Draw) -> Table:
        B = _random_table(draw)
        L: Table = draw.logits + B - draw.integers(len(draw.X)) - removed(B)
        return L

    return variant


def _capped(x: int) -> Fraction:
    """``cap tanh(L/cap)`` at L = cap x (log 2)/2: rational, for ``tanh(x (log 2)/2)`` is."""
    return CAP * Fraction(2**x - 1, 2**x + 1)


def check_soft_cap(
    trial: Trial, *, cap: Formula = _capped, bound: Formula = lambda n: 1
) -> Instances:
    """The head of size 1 with logits ``cap (log 2)/2 · i j``, capped: an exact witness."""
    for n in range(3, trial.count(10, 20)):
        L = [[cap(i * j) for j in range(n)] for i in range(n)]
        bounds = certified_log_rank(logits=L)
        yield Instance.of_bounds(f"L = cap (log 2)/2 · i j, n = {n}", bounds, bound(n))


def check_mixed(
    trial: Trial, *, mixed: Formula = talking_heads, bound: Formula = lambda h, k, n: min(h * k, n)
) -> Instances:
    """Exact rank of a mixture of the logits of h heads, h k < n, as n says nothing."""
    for draw, n, k in draws(trial):
        for h in (h for h in (2, 3) if h * k < n):
            heads = [draw.integers(k, n).T @ draw.integers(k, n) for _ in range(h)]
            for a, L in enumerate(mixed(heads, draw.integers(2, h))):
                label = f"{draw.label}, {h} heads, mixture {a}"
                yield Instance.of_bounds(label, exact_rank(as_rationals(L)), bound(h, k, n))


def check_mixed_attained(
    trial: Trial,
    *,
    mix: Formula = lambda h: [[1] * h],
    rank: Formula = lambda h, k, n: min(h * k, n - 1),
) -> Instances:
    """Heads with coordinates of their own, b k, …, b k + k - 1 of the identity, added up."""
    for h in (2, 3):
        for k in (1, 2, 3):
            for n in range(k + 2, h * k + trial.count(2, 5)):
                parts = [np.eye(n, dtype=int)[b * k : b * k + k] for b in range(h)]
                heads = [part.T @ part for part in parts]
                (L,) = talking_heads([head.astype(object) for head in heads], mix(h))
                bounds = certified_log_rank(logits=as_rationals(L))
                yield Instance.of_bounds(f"{h} heads of size {k}, n = {n}", bounds, rank(h, k, n))


def _broken(id: str, by: str, source: Source, bias: Callable[[Draw], Table]) -> Claim:
    return _certified(
        f"variant-{id}",
        f"The context of a head of size k has log-rank at most k + 1 with {by}.",
        partial(keeps, logits=_plus(bias), rank=exact_log_rank, bound=one_more, lengths=(6, 8)),
        Mutant("ALiBi with a signed distance", {"logits": _plus(_signed)}),
        Mutant("bounds by the length", {"bound": lambda head_size: 7}),
        source=source,
        hypotheses=(WIDER,),
        status=Verdict.REFUTED,
    )


CLAIMS = (
    _stays(
        "biases",
        "biases on queries and keys",
        here("biases", "a head without biases, on tokens with a row of ones"),
        partial(keeps, logits=_biased),
        Mutant(
            "a bias on each key's logit",
            {"logits": lambda draw: draw.logits + draw.integers(len(draw.X), 1)},
        ),
    ),
    _gauge(
        "variant-key-bias",
        "A bias on the keys leaves the context as it is: rank C(L' - L) = 0.",
        _by_key_bias,
        lambda keys, bias: 0,
        Mutant("on the queries", {"added": _by_query_bias}),
        theorem="variants.key_bias",
    ),
    _gauge(
        "variant-query-bias",
        "A bias b on the queries changes the context, rank C(L' - L) = 1, unless all keys "
        "have the same product with b.",
        _by_query_bias,
        _varies,
        Mutant("on the keys", {"added": _by_key_bias}),
    ),
    _stays(
        "rope",
        "RoPE, in either pairing of coordinates",
        Source("su2021", "section 3.2, rotation", HERE),
        partial(keeps, logits=_rotated, sizes=(2, 4)),
        Mutant("rotates by |i - j|", {"logits": _rotated_by_distance}),
    ),
    _stays(
        "qk-norm",
        "QK-norm with gains",
        Source("henry2020", "definition of QKNorm", HERE),
        partial(keeps, logits=lambda draw: product(*_normalised(draw))),
        Mutant("minus squared distance instead of product", {"logits": _distance_of_normalised}),
        on="keys and queries of integer norms, n = 4 and 7, integer gains",
    ),
    make_claim(
        "variant-qk-norm-range",
        "With QK-norm at gain g two probabilities of a column have a ratio of at most e^(2g), "
        "their logits differing by at most 2g, and attain it: log-rank <= k does not suffice.",
        check_qk_range,
        Mutant("root mean square", {"normalise": partial(qk_norm, norm="rms")}),
        source=Source("henry2020", "definition of QKNorm", HERE),
        hypotheses=(
            "logits g k^T q for keys k and queries q of Euclidean norm 1, rational; k = 1 and 4",
            "some query has a key along it and one against it",
        ),
        relation="=",
        status=Verdict.SUPPORTED,  # exact arithmetic; no certificate kind states it
    ),
    _stays(
        "temperature",
        "a temperature for each query",
        here("temperature"),
        partial(keeps, logits=_temperature_by_query),
        Mutant("a temperature for each distance", {"logits": _temperature_by_distance}),
    ),
    _certified(
        "variant-shared-keys",
        "g query heads of size k that share keys (GQA, MQA) have contexts with "
        "rank [C log P_1, …, C log P_g] <= k.",
        check_shared_keys,
        OFF_BY_ONE,
        Mutant("each head its own keys", {"joint": _own_keys}),
        Mutant("stacks over keys", {"joint": _over_keys}),
        source=Source("ainslie2023", "section 2.2, grouped queries", HERE),
        hypotheses=(f"{HEADS}; g = 2 and n heads",),
        theorem="variants.shared_keys",
        theorem_part="on tokens of full column rank, and conversely",
    ),
    _certified(
        "variant-alibi-signed",
        "With ALiBi m (i - j) on full attention a head has log-rank at most k + 1.",
        partial(keeps, logits=_plus(_signed), rank=exact_log_rank, bound=one_more, lengths=(6, 8)),
        OFF_BY_ONE,
        HEAD_SIZE_ALONE,
        Mutant("bidirectional", {"logits": _plus(_bidirectional)}),
        source=PRESS,
        hypotheses=(f"{WIDER}; key i, query j, m = 1/2",),
        theorem="variants.signed_distance",
    ),
    _certified(
        "variant-alibi-causal",
        "With ALiBi, in either form, a causal head has masked log-rank at most k + 1.",
        # on the mask both forms agree
        # k + 1 says something where floor(n/2), which suffices for almost every P, is above it
        partial(
            keeps,
            logits=_plus(_bidirectional),
            rank=_causal_log_rank,
            bound=one_more,
            lengths=(10, 13),
        ),
        HEAD_SIZE_ALONE,
        Mutant("a random table of relative biases", {"logits": _plus(_random_table)}),
        source=PRESS,
        hypotheses=("integer heads and tokens, n = 10 and 13 = d; causal mask, m = 1/2",),
        theorem="variants.alibi_causal",
    ),
    _certified(
        "variant-alibi-bidirectional-alone",
        "Bidirectional ALiBi -m |i - j|, m != 0, alone has log-rank n - 1.",
        check_alone,
        Mutant("signed distance", {"bias": lambda n: alibi_bias(n, HALF)}),
        source=here("bidirectional ALiBi"),
        hypotheses=("m = 1/2",),
        theorem="main.variants_beyond",
        relation="=",
    ),
    _broken(
        "alibi-bidirectional",
        "bidirectional ALiBi -m |i - j|",
        here("bidirectional ALiBi", "false: a generalisation of the causal case"),
        _bidirectional,
    ),
    _broken(
        "relative-bias",
        "a table of relative biases",
        Source("raffel2020", "section 2.1, relative position", f"false; {HERE}"),
        _random_table,
    ),
    _certified(
        "variant-relative-bias-any-rank",
        "A table of relative biases alone attains every log-rank from 0 to n - 1.",
        check_any_rank,
        Mutant("base 1, a constant", {"bases": lambda rank: range(1, rank + 1)}),
        source=here("relative biases"),
        hypotheses=("a table of 2 n - 1 numbers, one per distance",),
        theorem="main.variants_beyond",
        relation="=",
    ),
    _certified(
        "variant-known-bias",
        "For a known additive bias B on the logits, rank C(log P - B) <= k.",
        partial(keeps, logits=_less(lambda B: B), rank=exact_log_rank),
        OFF_BY_ONE,
        Mutant("forgets the bias", {"logits": _less(lambda B: 0 * B)}),
        Mutant("subtracts its transpose", {"logits": _less(lambda B: B.T)}),
        source=here("relative biases"),
        hypotheses=(f"{HEADS}; B Toeplitz of integers",),
        theorem="variants.known_bias",
    ),
    _certified(
        "variant-soft-cap",
        "Soft-capping, cap tanh(L/cap), leaves the log-rank at most the head size.",
        check_soft_cap,
        Mutant("does not cap", {"cap": Fraction}),
        Mutant("bounds by n", {"bound": lambda n: n}),
        source=Source("gemma2024", "section 2, logit soft-capping", f"false; {HERE}"),
        hypotheses=("head size 1, L = cap (log 2)/2 · i j, where the tanh is rational; cap = 50",),
        status=Verdict.REFUTED,
    ),
    _certified(
        "variant-talking-heads",
        "Mixed logits of h heads of size k have rank at most min(h k, n).",
        check_mixed,
        Mutant("one head's bound", {"bound": lambda h, k, n: k}, "factor"),
        Mutant(
            "multiplies the logits",
            {"mixed": lambda heads, mix: [np.prod(np.stack(heads), axis=0)]},
        ),
        source=Source("shazeer2020", "projection before the softmax", HERE),
        hypotheses=(f"{HEADS}; h = 2 and 3, h k < n",),
    ),
    _certified(
        "variant-talking-heads-attained",
        "A mixture of h heads of size k attains log-rank min(h k, n - 1), above k.",
        check_mixed_attained,
        Mutant("mixes nothing", {"mix": lambda h: [[1] + [0] * (h - 1)]}),
        source=here("talking heads"),
        hypotheses=("h >= 2", "n >= k + 2"),
        relation="=",
    ),
)
