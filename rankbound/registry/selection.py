"""Claims on which sets of keys queries can prefer, and on heads of size 1."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import combinations, permutations
from typing import Any

import numpy as np

from rankbound.certificates.certificates import RadonWeights, SelectingQueries
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import Selectable
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.registry.claim import (
    Formula,
    Instance,
    Instances,
    Mutant,
    Source,
    Trial,
    make_claim,
)
from rankbound.theory.set_selection import (
    selectable_certificate,
    set_margin_scale,
    set_selecting_keys,
    set_selection_size,
    unselectable_certificate,
)
from rankbound.verdict import Verdict

SETS = Source("rankbound", "selecting sets of keys", "derived here; published: q - 1 to 2q")
ONE = Source("rankbound", "head size 1", "derived here")


def check_enough(trial: Trial, *, build: Formula = selectable_certificate) -> Instances:
    """The dimension of keys of which every set has a query that selects it, all written down."""
    for n in range(2, trial.count(7, 9)):
        for q in range(1, min(n, trial.count(3, 4))):
            proof = build(n, q)
            size = proof.statement.keys.rows
            label, predicted = f"n = {n}, q = {q}", min(2 * q, n - 1)
            yield Instance(label, size, predicted, Verdict.CERTIFIED, certificates=(proof,))


def check_needed(trial: Trial, *, size: Formula = set_selection_size) -> Instances:
    """Random integer keys of one coordinate less: some set of at most q keys has no query."""
    for n in range(3, trial.count(9, 12)):
        for q in range(1, min(n, 4)):
            less = size(n, q) - 1
            if less:
                keys = trial.integers(less, n, bound=99)
                proof = unselectable_certificate(keys, q)
                label = f"n = {n}, q = {q}"
                yield Instance(
                    label,
                    proof is not None,
                    True,
                    Verdict.CERTIFIED,
                    certificates=(partial(_same, proof),),
                )


def _same(proof: RadonWeights | None) -> RadonWeights | None:
    return proof


def margin_scale(keys: Any, q: int) -> float:
    """Scale over gap of queries along the mean of each set less the mean of the rest."""
    n = keys.shape[1]
    scales = []
    for members in combinations(range(n), q):
        inside = np.isin(np.arange(n), members)
        query = keys[:, inside].mean(axis=1) - keys[:, ~inside].mean(axis=1)
        scores = query @ keys
        gap = float(scores[inside].min() - scores[~inside].max())
        scales.append(float(np.linalg.norm(query)) / gap if gap > 0 else np.inf)
    return max(scales) * float(np.linalg.norm(keys, axis=0).max())


def check_margin(
    trial: Trial, *, measure: Formula = margin_scale, bound: Formula = set_margin_scale
) -> Instances:
    """Centred simplices, which attain the bound, and random keys, which stay above."""
    for n in range(2, trial.count(7, 9)):
        for q in range(1, n):
            for name in ("simplex", "moved simplex"):
                keys = np.eye(n) - 1 / n
                if name != "simplex":
                    keys = keys + 0.1 / n * trial.rng.standard_normal((n, n))
                beta = measure(keys, q)
                if np.isfinite(beta):
                    rounding = 64 * n * FLOAT64_EPS * beta
                    label = f"{name}, n = {n}, q = {q}"
                    yield Instance(label, beta, bound(n, q, 1.0), Verdict.SUPPORTED, rounding)


def previous_token_keys(n: int) -> list[int]:
    """Keys 1, -2, 3, -4, … of a head of size 1."""
    return [(i + 1) * (-1) ** i for i in range(n)]


def check_previous(trial: Trial, *, keys: Formula = previous_token_keys) -> Instances:
    """How many causal queries of sign that of the previous key prefer it, in integers."""
    for n in (2, 3, 8, trial.count(40, 200)):
        own = keys(n)
        wins = 0
        for j in range(1, n):
            sign = 1 if own[j - 1] > 0 else -1
            scores = [sign * x for x in own[: j + 1]]
            wins += all(scores[j - 1] > x for i, x in enumerate(scores) if i != j - 1)
        yield Instance(f"n = {n}", wins, n - 1, Verdict.SUPPORTED)


def orders_that_look_back(n: int, back: int) -> int:
    """In how many orders of n keys on a line each query can prefer the key so many tokens back.

    Among the keys 0, …, j that query j sees it is the greatest or the least. Ties between keys that
    win nothing can be broken, so orders without ties are all there is to try.
    """

    def wins(order: tuple[int, ...]) -> bool:
        place = {key: rank for rank, key in enumerate(order)}
        seen = ([place[i] for i in range(j + 1)] for j in range(back, n))
        return all(ranks[j] in (min(ranks), max(ranks)) for j, ranks in enumerate(seen))

    return sum(map(wins, permutations(range(n))))


def check_two_back(trial: Trial, *, orders: Formula = orders_that_look_back) -> Instances:
    """All orders of c + 3 keys, so any longer sequence too, which holds them."""
    for back in range(2, trial.count(4, 5)):
        yield Instance(f"c = {back}", orders(back + 3, back), 0, Verdict.PROVED)


def _one_coordinate_less(n: int, q: int) -> SelectingQueries:
    """The queries, of keys that lack their last coordinate."""
    fewer = set_selecting_keys(n, q)[:-1] or [[0] * n]
    statement = Selectable(Matrix.of_integers(fewer), q)
    return replace(selectable_certificate(n, q), statement=statement)


CLAIMS = (
    make_claim(
        "sets-selected",
        "Fixed keys in dimension min(2q, n - 1) give every set of at most q keys a query that "
        "selects it.",
        check_enough,
        Mutant("one coordinate less", {"build": _one_coordinate_less}),
        Mutant("for one more key", {"build": lambda n, q: selectable_certificate(n + 1, q + 1)}),
        source=SETS,
        hypotheses=("n keys on the moment curve, or a simplex",),
    ),
    make_claim(
        "sets-not-selected",
        "In fewer dimensions than min(2q, n - 1) some set of at most q keys has no query: a Radon "
        "partition.",
        check_needed,
        Mutant("enough dimensions", {"size": lambda n, q: set_selection_size(n, q) + 1}),
        source=SETS,
        hypotheses=("random integer keys",),
        relation="exists",
    ),
    make_claim(
        "sets-margin",
        "To prefer every set of q of n keys by a gap g takes max‖query‖ max‖key‖ >= "
        "g sqrt(q(n-1)(n-q))/n in every dimension; the centred simplex attains it.",
        check_margin,
        Mutant("half the length of queries", {"measure": lambda K, q: margin_scale(K, q) / 2}),
        Mutant(
            "the bound times 1.5",
            {"bound": lambda n, q, g: 1.5 * set_margin_scale(n, q, g)},
            "factor",
        ),
        source=SETS,
        hypotheses=("queries along mean of the set less mean of the rest",),
        relation=">=",
        status=Verdict.SUPPORTED,
    ),
    make_claim(
        "previous-token-size-one",
        "Under a causal mask a head of size 1 lets every query prefer the previous token, for "
        "every n.",
        check_previous,
        Mutant("keys of one sign", {"keys": lambda n: [i + 1 for i in range(n)][::-1]}),
        source=ONE,
        hypotheses=("keys 1, -2, 3, -4, …", "integer arithmetic"),
        theorem="head_size_one.previous_token",
        status=Verdict.SUPPORTED,
    ),
    make_claim(
        "two-back-not-size-one",
        "No head of size 1 lets every causal query prefer the key c tokens back, c = 2, 3 and "
        "n >= c + 3.",
        check_two_back,
        Mutant("one back", {"orders": lambda n, back: orders_that_look_back(n, 1)}),
        Mutant("n = c + 2", {"orders": lambda n, back: orders_that_look_back(n - 1, back)}),
        source=ONE,
        hypotheses=("every order of the keys on the line",),
        theorem="head_size_one.looks_back_impossible",
        status=Verdict.PROVED,
    ),
)
