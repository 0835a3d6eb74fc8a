"""What changes of queries and keys leave of the bound (section 6): RoPE, QK-norm, GQA."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from rankbound.attention.variants import apply_temperature, grouped_logits, qk_norm, rotate
from rankbound.exact.rational import centred
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Claim, Instance, Mutant, Relation, Source, Trial
from rankbound.registry.variant_heads import (
    HEADS,
    HERE,
    OFF_BY_ONE,
    Draw,
    Table,
    draws,
    here,
    keeps,
    mutated,
    rational_table,
    stays,
)
from rankbound.verdict import Verdict

__all__ = ["CLAIMS"]

TRIPLES = ((3, 4, 5), (5, 12, 13), (8, 15, 17))  # angles whose multiples have rational cosines


def _rotations(pairs: int, n: int) -> tuple[Table, Table]:
    """Cosines and sines of multiples of angles with rational ones, a row a pair."""
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
            C_L = centred(rational_table(measured(keys, queries)))
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
    stays(
        "rope",
        "RoPE, in either pairing of coordinates",
        Source("su2021", "section 3.2, rotation", HERE),
        keeps(_rotated, (2, 4)),
        mutated("rotates by |i - j|", _rotated_by_distance),
    ),
    stays(
        "qk-norm",
        "QK-norm with gains",
        Source("henry2020", "definition of QKNorm", HERE),
        keeps(_qk_norm),
        mutated("minus squared distance instead of product", _distance_of_normalised),
        hypothesis="keys and queries of integer norms, n = 4 and 7, integer gains",
    ),
    Claim(
        id="variant-qk-norm-range",
        statement=(
            "With QK-norm at gain g two probabilities of a column have a ratio of at most e^(2g), "
            "their logits differing by at most 2g, and attain it: log-rank <= k does not suffice."
        ),
        source=Source("henry2020", "definition of QKNorm", HERE),
        hypotheses=(
            "logits g k^T q for keys k and queries q of Euclidean norm 1, rational; k = 1 and 4",
            "some query has a key along it and one against it",
        ),
        relation=Relation.EQ,
        status=Verdict.SUPPORTED,  # exact arithmetic; no certificate kind states it
        check=check_qk_range,
        mutants=(
            Mutant("e^g", {"spread": lambda gain: gain}),
            Mutant("root mean square", {"normalise": partial(qk_norm, norm="rms")}),
        ),
    ),
    stays(
        "temperature",
        "a temperature for each query",
        here("temperature"),
        keeps(_temperature),
        mutated("a temperature for each distance", _temperature_by_distance),
    ),
    Claim(
        id="variant-shared-keys",
        statement=(
            "g query heads of size k that share keys (GQA, MQA) have contexts with "
            "rank [C log P_1, …, C log P_g] <= k."
        ),
        source=Source("ainslie2023", "section 2.2, grouped queries", HERE),
        hypotheses=(f"{HEADS}; g = 2 and n heads",),
        relation=Relation.LE,
        status=Verdict.CERTIFIED,
        check=check_shared_keys,
        mutants=(
            OFF_BY_ONE,
            Mutant("each head its own keys", {"joint": _own_keys}),
            Mutant("stacks over keys", {"joint": _over_keys}),
        ),
    ),
)
