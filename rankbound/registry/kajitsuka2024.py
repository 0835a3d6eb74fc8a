"""Kajitsuka & Sato 2023: one layer of attention with weights of rank 1 tells contexts apart.

The margin is what that costs; nothing is said of P.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from fractions import Fraction

from rankbound.registry.claim import Formula, Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.verdict import Verdict


def boltzmann(tokens: Iterable[int]) -> Fraction:
    """``Σ x 2^x/Σ 2^x``: the operator a^T softmax(a) at a = x log 2, over log 2."""
    weights = [(x, Fraction(2) ** x) for x in tokens]
    return sum((x * w for x, w in weights), Fraction(0)) / sum(w for _, w in weights)


def check_boltzmann(trial: Trial, *, operator: Formula = boltzmann) -> Instances:
    """The least difference between two contexts, over the margin; exact but for two logarithms."""
    for n, words in trial.some(3, ((2, 5), (3, 5), (3, 6), (4, 6))):
        step = math.floor((2 * math.log(n) + 3) / math.log(2)) + 1
        vocabulary = range(0, step * words, step)
        values = sorted(map(operator, itertools.combinations(vocabulary, n)))
        least = min(y - x for x, y in itertools.pairwise(values))
        margin = math.log(n) ** 2 * math.exp(-2 * vocabulary[-1] * math.log(2))
        label = f"{n} of {words} tokens, {step} log 2 apart"
        yield Instance(label, float(least) * math.log(2), margin, Verdict.SUPPORTED)


CLAIMS = (
    make_claim(
        "kajitsuka-boltzmann",
        "A head of size 1 gives any two different sets of n tokens, more than 2 log n + 3 apart, "
        "values that differ by (log n)² e^(-2r) at least, r the largest token.",
        check_boltzmann,
        Mutant("hardmax, which cannot (their Theorem 1)", {"operator": max}),
        source=Source(
            "kajitsuka2024",
            "Lemma 1, Boltzmann operator",
            "separation from an account of the text, margin remembered; softmax weights rational "
            "and exact here",
        ),
        hypotheses=("no token repeated; tokens are multiples of a step above 2 log n + 3",),
        relation=">=",
        status=Verdict.SUPPORTED,
        without={"factor": "the margin is the least of all n and r; no instance comes near it"},
    ),
)
