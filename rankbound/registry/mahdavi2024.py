"""Mahdavi, Liao & Thrampoulidis 2024, "Memorization Capacity of Multi-Head Attention".

T examples are memorised, for any labels, where what the heads hand on, a row for each example, has
rank T. Logits are integers times log 2, so that softmax weights are rational.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from functools import partial

from rankbound.exact.rational import Rationals, as_rationals, transposed
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import (
    Cases,
    Formula,
    Instance,
    Instances,
    Mutant,
    Source,
    Trial,
    compare_ranks,
    make_claim,
)
from rankbound.registry.populations import exact_logits, has_rank
from rankbound.verdict import Verdict


def softmax(logits: Sequence[int | Fraction], base: int = 2) -> list[Fraction]:
    """The weights ``base^l/Σ base^l``."""
    weights = unnormalised(logits, base)
    total = sum(weights)
    return [x / total for x in weights]


def unnormalised(logits: Sequence[int | Fraction], base: int = 2) -> list[Fraction]:
    """``base^l``."""
    return [Fraction(base) ** int(x) for x in logits]


# one context for all examples: the weights of the heads, side by side


def _shared(trial: Trial) -> Cases:
    """H heads on n tokens that all examples share: logits (T, n) for each head."""
    for heads, n, k in trial.some(2, ((2, 3, 2), (2, 4, 3), (3, 4, 3))):
        examples = heads * n + 2
        logits = [
            transposed(
                exact_logits(trial.integers(k, n, bound=3), trial.integers(k, examples, bound=3))
            )
            for _ in range(heads)
        ]
        yield f"{heads} heads of size {k}, n = {n}", (logits,), (heads, n)


def _weights_rank(logits: list[Rationals], *, weights: Formula = softmax) -> RankBounds:
    rows = zip(*logits, strict=True)  # an example's logits, head by head
    return exact_rank([[x for head in row for x in weights(head)] for row in rows])


def check_upper(
    trial: Trial,
    *,
    weights: Formula = softmax,
    bound: Formula = lambda heads, n: heads * (n - 1) + 1,
) -> Instances:
    """The rank of the heads' weights on one context."""
    for label, (logits,), (heads, n) in _shared(trial):
        rank = _weights_rank(logits, weights=weights)
        yield Instance.of_bounds(label, rank, bound(heads, n))


# contexts of their own: the guarantee of Theorem 1


def _draw(trial: Trial, *shape: int) -> Rationals:
    return as_rationals(trial.integers(*shape, bound=2))


def _kruskal(queries: Rationals, n: int) -> bool:
    """Whether every n of the columns are independent."""
    columns = transposed(queries)
    return all(has_rank(part, n) for part in itertools.combinations(columns, n))


def guaranteed(heads: int, n: int, k: int) -> int:
    """``H (min(n, d_h) - 1) + 1``."""
    return heads * (min(n, k) - 1) + 1


def check_guarantee(
    trial: Trial, *, weights: Formula = softmax, count: Formula = guaranteed
) -> Instances:
    """The rank of what random heads hand on, for as many examples as are guaranteed."""
    for heads, n, k in trial.some(2, ((1, 3, 3), (2, 4, 3), (3, 4, 3))):
        d, examples = n, guaranteed(heads, n, k)
        queries = trial.first(partial(_kruskal, n=n), partial(_draw, trial, d, max(examples, n)))
        contexts = [
            trial.first(partial(has_rank, rank=n), partial(_draw, trial, d, n))
            for _ in range(examples)
        ]
        projections = [(_draw(trial, k, d), _draw(trial, k, d)) for _ in range(heads)]
        Z = [
            [x for W in projections for x in _attended(W, E, query, weights)]
            for E, query in zip(contexts, transposed(queries), strict=False)
        ]
        label = f"{heads} heads of size {k}, n = {n}, {examples} examples"
        yield Instance.of_bounds(label, exact_rank(Z), count(heads, n, k))


def _attended(
    projections: tuple[Rationals, Rationals], E: Rationals, query: list[Fraction], weights: Formula
) -> list[Fraction]:
    """What a head makes of a context for one query, its values being the tokens."""
    W_k, W_q = projections
    keys = exact_logits(transposed(W_k), E)
    asked = exact_logits(transposed(W_q), [[x] for x in query])
    P = weights([row[0] for row in exact_logits(keys, asked)])
    return [sum((x * p for x, p in zip(row, P, strict=True)), Fraction(0)) for row in E]


# heads of size 1 that do more

BASES = (2, 3, 5, 7)


def _bases(trial: Trial) -> Cases:
    """Queries t log b, keys j: a head of size 1 for each base b, on one context of n tokens."""
    for heads, n in trial.some(4, ((1, 4), (2, 4), (3, 4), (2, 6), (3, 5), (4, 4))):
        examples = heads * (n - 1) + 1
        yield f"{heads} heads of size 1, n = {n}", (heads, n, examples), (heads, n, 1)


def _power_rank(heads: int, n: int, examples: int, *, steps: int = 1) -> RankBounds:
    rows = [[steps * t * j for j in range(n)] for t in range(examples)]
    return exact_rank([[x for b in BASES[:heads] for x in softmax(row, b)] for row in rows])


THEOREM = "Theorem 1"
SECOND_HAND = "from two accounts of the text; its H (min(n, d_h) - 1) + 1 is remembered"

CLAIMS = (
    make_claim(
        "mahdavi-upper",
        "On one context of n tokens H heads of any size hand on at most rank H (n - 1) + 1.",
        check_upper,
        Mutant("weights that do not sum to 1", {"weights": unnormalised}),
        Mutant("H (n - 1)", {"bound": lambda heads, n: heads * (n - 1)}),
        Mutant(
            "by a factor", {"bound": lambda heads, n: int((heads * (n - 1) + 1) / 1.5)}, "factor"
        ),
        source=Source("mahdavi2024", "upper bound for a shared context", SECOND_HAND),
        hypotheses=("one context for all examples; integer logits times log 2; H >= 2",),
        relation="<=",
    ),
    make_claim(
        "mahdavi-guarantee",
        "H heads of size d_h drawn at random memorise H (min(n, d_h) - 1) + 1 examples.",
        check_guarantee,
        Mutant("uniform weights", {"weights": partial(softmax, base=1)}),
        Mutant(
            "one and a half times as many",
            {"count": lambda heads, n, k: 1.5 * guaranteed(heads, n, k)},
            "factor",
        ),
        source=Source("mahdavi2024", THEOREM, SECOND_HAND),
        hypotheses=(
            "every n queries independent, and every context of rank n: both checked exactly",
            "random integer heads; d = n, values are the tokens",
        ),
        relation=">=",
    ),
    make_claim(
        "mahdavi-size-caps",
        "H heads of size d_h < n memorise no more than H (d_h - 1) + 1 examples.",
        compare_ranks(_bases, _power_rank, guaranteed),
        Mutant("uniform weights", {"rank": partial(_power_rank, steps=0)}),
        Mutant("the upper bound", {"predicted": lambda heads, n, k: heads * (n - 1) + 1}),
        source=Source(
            "mahdavi2024",
            THEOREM,
            f"{SECOND_HAND}; read as a cap it is false: size 1 reaches H (n - 1) + 1",
        ),
        hypotheses=("one context; keys j, queries t log b, b = 2, 3, 5, 7",),
        relation="<=",
        status=Verdict.REFUTED,
    ),
)
