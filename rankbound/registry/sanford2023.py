"""Sanford, Hsu & Telgarsky 2023, "Representational Strengths and Limitations of Transformers".

Averages of q chosen tokens by keys that are nearly orthogonal. The lower bound, m p >= c q for p
bits, is a communication argument: no program shows it, and without a limit of precision 2 q
coordinates do, which is the claim on selecting sets of keys.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from rankbound.certificates.certificates import Representation
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import RepresentedExactly
from rankbound.exact.flint import left_inverse
from rankbound.exact.rational import Rationals, as_rationals, transposed
from rankbound.registry.claim import Formula, Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.registry.populations import exact_logits
from rankbound.verdict import Verdict


def bent_keys(d: int) -> Rationals:
    """2 d keys of ±1, d = 4^m: Sylvester's columns, and the same times a bent function's signs.

    Two keys of one half are orthogonal, of different halves they have a product of ±√d.
    """
    from scipy.linalg import hadamard

    H = hadamard(d)
    x, y = np.divmod(np.arange(d), math.isqrt(d))
    signs = np.array([1 - 2 * (int(a & b).bit_count() % 2) for a, b in zip(x, y, strict=True)])
    return as_rationals(np.hstack([H, signs[:, None] * H]).tolist())


def dual_query(keys: Rationals, chosen: list[int]) -> list[Fraction]:
    """``K_S (K_S^T K_S)^-1 1``, which scores exactly 1 on every key of S."""
    part = [[row[i] for i in chosen] for row in keys]
    return [sum(column, Fraction(0)) for column in transposed(left_inverse(part))]


def mean_query(keys: Rationals, chosen: list[int]) -> list[Fraction]:
    """``K_S 1/d``, the sum of the keys of S."""
    return [sum((row[i] for i in chosen), Fraction(0)) / len(keys) for row in keys]


def outside(mu: Fraction, q: int) -> Fraction:
    """``q μ/(1 - (q - 1) μ)``, below 1/2 iff ``μ < 1/(3 q - 1)``."""
    return q * mu / (1 - (q - 1) * mu)


def check_dual(trial: Trial, *, query: Formula = dual_query, bound: Formula = outside) -> Instances:
    """The largest score off the chosen sets; infinite unless it is 1 on each of their keys."""
    for d, q in trial.some(2, ((16, 1), (64, 2), (64, 1))):
        every = bent_keys(d)
        n = trial.count(12, 24)
        places = sorted(trial.rng.choice(2 * d, n, replace=False).tolist())
        keys = [[row[i] for i in places] for row in every]
        gram = exact_logits(keys, keys)
        mu = max(abs(gram[i][j]) for i in range(n) for j in range(i)) / d
        if mu * (3 * q - 1) >= 1:
            raise AssertionError(f"coherence {mu} does not meet the hypothesis")
        sets = [sorted(trial.rng.choice(n, q, replace=False).tolist()) for _ in range(n)]
        queries = transposed([query(keys, chosen) for chosen in sets])
        M = exact_logits(keys, queries)
        inside = {M[i][j] for j, chosen in enumerate(sets) for i in chosen}
        largest = max(M[i][j] for j, chosen in enumerate(sets) for i in range(n) if i not in chosen)
        measured = float(largest) if inside == {1} else math.inf
        proof = Representation(
            RepresentedExactly(*(Matrix.of_rationals(rows) for rows in (M, keys, queries)))
        )
        label = f"{n} of {2 * d} keys in {d} coordinates, sets of {q}"
        yield Instance(
            label, measured, float(bound(mu, q)), Verdict.CERTIFIED, certificates=(proof,)
        )


CLAIMS = (
    make_claim(
        "sanford-dual",
        "Where keys have coherence μ < 1/(3 q - 1), the query K_S (K_S^T K_S)^-1 1 scores 1 on "
        "the q keys of S and at most q μ/(1 - (q - 1) μ) < 1/2 on all others, for every S drawn.",
        check_dual,
        Mutant("the sum of the keys", {"query": mean_query}),
        Mutant("two thirds", {"bound": lambda mu, q: outside(mu, q) / Fraction(3, 2)}, "factor"),
        source=Source(
            "sanford2023",
            "Theorem 2, dual certificate",
            "from a detailed account; there random keys and q log N coordinates, here a condition "
            "on one number, derived in docs/papers.md",
        ),
        hypotheses=("keys ±1/√d; their coherence is computed exactly and meets the condition",),
        relation="<=",
    ),
)
