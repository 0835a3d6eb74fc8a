"""What changes of queries and keys leave of the bound (section 6): biases, RoPE, QK-norm, GQA.

The integer heads on which variants are checked are here too; what changes the logits themselves is
in :mod:`rankbound.registry.logit_variants`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.attention.variants import (
    append_ones,
    apply_temperature,
    grouped_logits,
    qk_norm,
    rotate,
)
from rankbound.exact.rational import Rationals, as_rationals, centred
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Claim, Instance, Mutant, Relation, Source, Trial, make_claim
from rankbound.registry.populations import exact_logits, pretrained_sample
from rankbound.theory.certified import certified_log_rank
from rankbound.verdict import Verdict

Table = npt.NDArray[Any]  # objects: ints and Fractions
Check = Callable[..., Iterator[Instance]]

HERE = "the rank statement is derived here, docs/theory.md, section 6"
HEADS = "integer heads and tokens, n = 4 and 7, d = n; temperature 1"
OFF_BY_ONE = Mutant("bound off by one", {"bound": lambda head_size: head_size - 1})


def here(what: str, note: str = "derived here") -> Source:
    """A statement of docs/theory.md, section 6."""
    return Source("rankbound", f"section 6, {what}", note)


# integer heads, and the comparison of ranks with their sizes


@dataclass(frozen=True, eq=False)
class Draw:
    """An integer head with its tokens, and the stream for whatever else a variant draws."""

    label: str
    number: int
    trial: Trial
    W_k: Table
    W_q: Table
    X: Table

    @property
    def keys(self) -> Table:
        """Shape (k, n)."""
        keys: Table = self.W_k @ self.X
        return keys

    @property
    def queries(self) -> Table:
        """Shape (k, n)."""
        queries: Table = self.W_q @ self.X
        return queries

    @property
    def logits(self) -> Table:
        """Shape (n, n), [key, query]."""
        L: Table = self.keys.T @ self.queries
        return L

    def integers(self, *shape: int, least: int = -9) -> Table:
        """More integers, from `least` to 9."""
        return self.trial.rng.integers(least, 9, size=shape, endpoint=True).astype(object)


def draws(trial: Trial, sizes: tuple[int, ...] = (1, 2, 3)) -> Iterator[tuple[Draw, int, int]]:
    """Integer heads of several sizes, with their length and head size."""
    for n in (4, 7):
        for k in (k for k in sizes if k <= n - 2):
            for number in range(trial.count(2, 10)):
                W_k, W_q, X = (
                    trial.rng.integers(-9, 9, size=shape, endpoint=True).astype(object)
                    for shape in ((k, n), (k, n), (n, n))
                )
                label = f"n = {n}, head size {k}, draw {number}"
                yield Draw(label, number, trial, W_k, W_q, X), n, k


def keeps(
    variant: Callable[[Draw], Table], sizes: tuple[int, ...] = (1, 2, 3), *, gauge: bool = False
) -> Check:
    """Compare the rank of the logits of a variant, or their log-rank, with the head size."""

    def check(
        trial: Trial,
        *,
        logits: Callable[[Draw], Table] = variant,
        bound: Callable[[int], int] = lambda head_size: head_size + gauge,
    ) -> Iterator[Instance]:
        for draw, _, k in draws(trial, sizes):
            L = as_rationals(logits(draw))
            rank = certified_log_rank(logits=L) if gauge else exact_rank(L)
            yield Instance.of_bounds(draw.label, rank, bound(k))

    return check


def _stays(
    id: str, of: str, source: Source, check: Check, mutant: Mutant, on: str = HEADS
) -> Claim:
    """The claim that the logits keep rank at most k; the mutant's do not."""
    return make_claim(
        f"variant-{id}",
        f"The logits of a head of size k keep rank at most k under {of}.",
        check,
        OFF_BY_ONE,
        mutant,
        source=source,
        hypotheses=(on,),
        relation=Relation.LE,
        status=Verdict.CERTIFIED,
    )


# biases: the rank stays, and the key bias is pure gauge

Added = Callable[[Rationals, Rationals, list[Fraction]], Rationals]
Moved = Callable[[Rationals, list[Fraction]], int]


def _biased(draw: Draw) -> Table:
    k, X = len(draw.W_k), append_ones(draw.X)
    W_k, W_q = (np.hstack([W, draw.integers(k, 1)]) for W in (draw.W_k, draw.W_q))
    L: Table = (W_k @ X).T @ (W_q @ X)
    return L


def _bias_per_key(draw: Draw) -> Table:
    L: Table = draw.logits + draw.integers(len(draw.X), 1)
    return L


def _with_bias(columns: Rationals, bias: list[Fraction]) -> Rationals:
    return [[x + b for x in row] for row, b in zip(columns, bias, strict=True)]


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


def _difference(after: Rationals, before: Rationals) -> Rationals:
    return [[x - y for x, y in zip(*rows, strict=True)] for rows in zip(after, before, strict=True)]


def _by_key_bias(keys: Rationals, queries: Rationals, bias: list[Fraction]) -> Rationals:
    """What a bias on the keys adds to the logits."""
    return _difference(exact_logits(_with_bias(keys, bias), queries), exact_logits(keys, queries))


def _by_query_bias(keys: Rationals, queries: Rationals, bias: list[Fraction]) -> Rationals:
    """What a bias on the queries adds to the logits."""
    return _difference(exact_logits(keys, _with_bias(queries, bias)), exact_logits(keys, queries))


def _varies(keys: Rationals, bias: list[Fraction]) -> int:
    """1 if the keys' products with the bias differ, 0 if not."""
    products = {x for row in exact_logits(keys, [[b] for b in bias]) for x in row}
    return int(len(products) > 1)


def _gauge(id: str, statement: str, added: Added, moved: Moved, *mutants: Mutant) -> Claim:
    """Compare rank C(L' - L), 0 iff the context stays (Lemma 1), with what `moved` says."""

    def check(trial: Trial, *, added: Added = added, moved: Moved = moved) -> Iterator[Instance]:
        for label, keys, queries, bias in _heads(trial):
            rank = certified_log_rank(logits=added(keys, queries, bias))
            yield Instance.of_bounds(label, rank, moved(keys, bias))

    return make_claim(
        id,
        statement,
        check,
        *mutants,
        source=here("biases"),
        hypotheses=(f"{HEADS}; and heads of all-MiniLM-L6-v2, floats read as rationals",),
        relation=Relation.EQ,
        status=Verdict.CERTIFIED,
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
    keys, queries = (rotate(x, cos, sin, pairing) for x in (draw.keys, draw.queries))
    L: Table = keys.T @ queries
    return L


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
    return (
        qk_norm(_rational_norms(draw, k, n), gain),
        qk_norm(_rational_norms(draw, k, n), draw.integers(k, least=1)),
    )


def _qk_norm(draw: Draw) -> Table:
    keys, queries = _normalised(draw)
    L: Table = keys.T @ queries
    return L


def _distance_of_normalised(draw: Draw) -> Table:
    keys, queries = _normalised(draw)
    squares = [(x * x).sum(axis=0) for x in (keys, queries)]
    L: Table = 2 * keys.T @ queries - np.add.outer(*squares)
    return L


def check_qk_range(
    trial: Trial,
    *,
    normalise: Callable[..., Table] = qk_norm,
    spread: Callable[[int], int] = lambda gain: 2 * gain,
) -> Iterator[Instance]:
    """The widest difference of logits within a column, less 2 g, exactly."""
    for draw, n, k in draws(trial, (1, 4)):
        gain = 1 + draw.number
        keys, queries = (_rational_norms(draw, k, n) for _ in range(2))
        keys[:, 0], keys[:, 1] = queries[:, 0], -queries[:, 0]
        L = grouped_logits(normalise(keys), [normalise(queries, gain)], scale=1)
        widest = max(max(column) - min(column) for column in L.T)
        label = f"{draw.label}, gain {gain}"
        yield Instance(label, float(widest - spread(gain)), 0.0, Verdict.SUPPORTED)


def check_shared_keys(
    trial: Trial,
    *,
    joint: Callable[[list[Table], list[Table]], Table] | None = None,
    bound: Callable[[int], int] = lambda head_size: head_size,
) -> Iterator[Instance]:
    """Rank of [C L_1, …, C L_g], the heads' logits side by side."""
    measured = joint or (lambda keys, queries: grouped_logits(keys[0], queries, scale=1))
    for draw, n, k in draws(trial):
        for g in (2, n):
            keys = [draw.keys, *(draw.integers(k, n) for _ in range(g - 1))]
            queries = [draw.queries, *(draw.integers(k, n) for _ in range(g - 1))]
            C_L = centred(as_rationals(measured(keys, queries)))
            yield Instance.of_bounds(f"{draw.label}, {g} heads", exact_rank(C_L), bound(k))


def _own_keys(keys: list[Table], queries: list[Table]) -> Table:
    return np.hstack([K.T @ Q for K, Q in zip(keys, queries, strict=True)])


def _over_keys(keys: list[Table], queries: list[Table]) -> Table:
    return np.vstack([keys[0].T @ Q for Q in queries])


def _temperature(draw: Draw) -> Table:
    return apply_temperature(draw.logits, draw.integers(len(draw.X), least=1))


def _temperature_by_distance(draw: Draw) -> Table:
    places = np.arange(len(draw.X)).astype(object)
    scales = [[Fraction(1, int(1 + abs(i - j))) for j in places] for i in places]
    L: Table = draw.logits * np.array(scales, dtype=object)
    return L


CLAIMS = (
    _stays(
        "biases",
        "biases on queries and keys",
        here("biases", "a head without biases, on tokens with a row of ones"),
        keeps(_biased),
        Mutant("a bias on each key's logit", {"logits": _bias_per_key}),
    ),
    _gauge(
        "variant-key-bias",
        "A bias on the keys leaves the context as it is: rank C(L' - L) = 0.",
        _by_key_bias,
        lambda keys, bias: 0,
        Mutant("on the queries", {"added": _by_query_bias}),
    ),
    _gauge(
        "variant-query-bias",
        "A bias b on the queries changes the context, rank C(L' - L) = 1, unless all keys "
        "have the same product with b.",
        _by_query_bias,
        _varies,
        Mutant("on the keys", {"added": _by_key_bias}),
        Mutant("always changes it", {"moved": lambda keys, bias: 1}),
    ),
    _stays(
        "rope",
        "RoPE, in either pairing of coordinates",
        Source("su2021", "section 3.2, rotation", HERE),
        keeps(_rotated, (2, 4)),
        Mutant("rotates by |i - j|", {"logits": _rotated_by_distance}),
    ),
    _stays(
        "qk-norm",
        "QK-norm with gains",
        Source("henry2020", "definition of QKNorm", HERE),
        keeps(_qk_norm),
        Mutant("minus squared distance instead of product", {"logits": _distance_of_normalised}),
        on="keys and queries of integer norms, n = 4 and 7, integer gains",
    ),
    make_claim(
        "variant-qk-norm-range",
        "With QK-norm at gain g two probabilities of a column have a ratio of at most e^(2g), "
        "their logits differing by at most 2g, and attain it: log-rank <= k does not suffice.",
        check_qk_range,
        Mutant("e^g", {"spread": lambda gain: gain}),
        Mutant("root mean square", {"normalise": partial(qk_norm, norm="rms")}),
        source=Source("henry2020", "definition of QKNorm", HERE),
        hypotheses=(
            "logits g k^T q for keys k and queries q of Euclidean norm 1, rational; k = 1 and 4",
            "some query has a key along it and one against it",
        ),
        relation=Relation.EQ,
        status=Verdict.SUPPORTED,
    ),
    _stays(
        "temperature",
        "a temperature for each query",
        here("temperature"),
        keeps(_temperature),
        Mutant("a temperature for each distance", {"logits": _temperature_by_distance}),
    ),
    make_claim(
        "variant-shared-keys",
        "g query heads of size k that share keys (GQA, MQA) have contexts with "
        "rank [C log P_1, …, C log P_g] <= k.",
        check_shared_keys,
        OFF_BY_ONE,
        Mutant("each head its own keys", {"joint": _own_keys}),
        Mutant("stacks over keys", {"joint": _over_keys}),
        source=Source("ainslie2023", "section 2.2, grouped queries", HERE),
        hypotheses=(f"{HEADS}; g = 2 and n heads",),
        relation=Relation.LE,
        status=Verdict.CERTIFIED,
    ),
)
