"""Adler 2025, "On the Capacity of Self-Attention": heads that recover a graph on n items.

There D_K, the total of query and key coordinates, grows like m' log m'/d for m' edges. Its abstract
alone was read, and its constants are not known. The bound is about finite precision; this is what
exact arithmetic adds: without it two coordinates do, for any map.
"""

from __future__ import annotations

import math

from rankbound.ranks.bounds import written
from rankbound.registry.claim import Formula, Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.registry.populations import exact_log_rank, represented
from rankbound.verdict import Verdict

Integers = list[list[int]]


def parabola(targets: list[int]) -> tuple[Integers, Integers]:
    """Keys ``(i, i²)`` and queries ``(2 t, -1)``: a score of ``t² - (i - t)²``, largest at t."""
    n = len(targets)
    keys = [list(range(n)), [i * i for i in range(n)]]
    return keys, [[2 * t for t in targets], [-1] * n]


def line(targets: list[int]) -> tuple[Integers, Integers]:
    """The same with keys on a line, ``(i, i)``."""
    (first, _), queries = parabola(targets)
    return [first, first], queries


def logits_of(keys: Integers, queries: Integers) -> Integers:
    """``K^T Q`` in integers."""
    return [
        [sum(map(int.__mul__, key, query)) for query in zip(*queries, strict=True)]
        for key in zip(*keys, strict=True)
    ]


def selects(M: Integers, targets: list[int]) -> bool:
    """Whether each query scores its target strictly above every other key."""
    columns = zip(zip(*M, strict=True), targets, strict=True)
    return all(column.count(max(column)) == 1 and column[t] == max(column) for column, t in columns)


def check_maps(trial: Trial, *, head: Formula = parabola, size: Formula = lambda n: 2) -> Instances:
    """Head size that selects the targets of a random permutation, and of a random map."""
    for n in trial.some(3, (4, 8, 16, 40)):
        maps = {
            "permutation": trial.rng.permutation(n).tolist(),
            "map": [0, n // 2, n - 1, *trial.rng.integers(0, n, n - 3).tolist()],
        }
        for kind, targets in maps.items():
            keys, queries = head(targets)
            M = logits_of(keys, queries)
            found = len(keys) if selects(M, targets) else math.inf
            proofs = (
                represented(M, keys, queries),
                lambda M=M: written(exact_log_rank(M)),
            )
            label = f"{kind}, n = {n}"
            yield Instance(label, found, size(n), Verdict.CERTIFIED, certificates=proofs)


CLAIMS = (
    make_claim(
        "adler-any-map",
        "A head of size 2 recovers every map of n items, three targets or more, for every n, if "
        "the scale of its logits is free.",
        check_maps,
        Mutant("keys on a line", {"head": line}),
        Mutant("log n coordinates", {"size": lambda n: math.ceil(math.log2(n)) + 1}),
        source=Source(
            "adler2025",
            "abstract: for n items in d = n dimensions a permutation is recovered by one head",
            "abstract only; the head of size 2 is derived here, and beside the bound, not against "
            "it: the logits of keys (i, i²) grow like n²",
        ),
        hypotheses=("integer logits; item i on the i-th unit token",),
    ),
)
