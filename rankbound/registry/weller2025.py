"""Weller, Boratko, Naim & Lee 2025, "On the Theoretical Limitations of Embedding-Based Retrieval".

Which sets of keys some query prefers: what a margin asks of the dimension, and the sign rank. The
volume bound for attention is `price-of-scale-volume`; pairs of keys are `all-pairs`.
"""

from __future__ import annotations

import math
from fractions import Fraction

from rankbound.exact.rational import Rationals, as_rationals
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
from rankbound.registry.populations import exact_logits
from rankbound.verdict import Verdict

MARGIN = Fraction(1, 10)
TABLE = {  # Table 1: keys, size of the sets, dimension
    (10**3, 2): 6,
    (10**3, 10): 23,
    (10**3, 100): 135,
    (10**4, 2): 8,
    (10**4, 10): 33,
    (10**4, 100): 233,
    (10**4, 1000): 1354,
    (10**6, 2): 12,
    (10**6, 10): 52,
    (10**6, 100): 425,
    (10**6, 1000): 3296,
}


def check_table(trial: Trial, *, base: Formula = lambda margin: 1 + 1 / margin) -> Instances:
    """The least d with ``(1 + 1/γ)^d >= C(n, q)``, in integers."""
    for (n, q), printed in TABLE.items():
        sets, growth = math.comb(n, q), base(MARGIN)
        start = max(0, int(math.log(sets) / math.log(growth)) - 2)  # integers decide
        d = next(d for d in range(start, start + 9) if growth**d >= sets)
        yield Instance(f"n = {n}, sets of {q}", d, printed, Verdict.PROVED)


def _thresholds(trial: Trial) -> Cases:
    for n in (4, 7, 12):
        for d in range(1, min(n - 1, trial.count(3, 5))):
            keys, queries = trial.integers(d, n, bound=9), trial.integers(d, n, bound=9)
            thresholds = trial.integers(n, n, bound=9)
            yield f"n = {n}, head size {d}", (keys, queries, thresholds), (d,)


def _less_one_per_query(keys: Rationals, queries: Rationals, thresholds: Rationals) -> Rationals:
    L = exact_logits(as_rationals(keys), as_rationals(queries))
    return [[x - t for x, t in zip(row, thresholds[0], strict=True)] for row in L]


def _less_one_per_pair(keys: Rationals, queries: Rationals, thresholds: Rationals) -> Rationals:
    L = exact_logits(as_rationals(keys), as_rationals(queries))
    rows = zip(L, thresholds, strict=True)
    return [[x - t for x, t in zip(*pair, strict=True)] for pair in rows]


CLAIMS = (
    make_claim(
        "weller-table",
        "Table 1 prints the least d with (1 + 1/γ)^d >= C(n, q), the bound on coordinates in "
        "which unit queries prefer every set of q of n unit keys by a margin γ = 0.1.",
        check_table,
        Mutant("1/γ", {"base": lambda margin: 1 / margin}),
        Mutant("1 + 3/2γ", {"base": lambda margin: 1 + Fraction(3, 2) / margin}, "factor"),
        source=Source("weller2025", "Theorem 1 and Table 1", "read in the source"),
        hypotheses=(
            "unit keys and queries; scores inside a set exceed those outside by 2γ",
            "the table alone: the theorem itself is a volume argument that nothing here checks",
        ),
        status=Verdict.PROVED,
    ),
    make_claim(
        "weller-sign-rank",
        "The scores drawn at head size d, less a threshold for each query, have rank d + 1, the "
        "most there can be; so what they select has sign rank at most d + 1.",
        compare_ranks(
            _thresholds, lambda *head: exact_rank(_less_one_per_query(*head)), lambda d: d + 1
        ),
        Mutant(
            "a threshold for each pair",
            {"rank": lambda *head: exact_rank(_less_one_per_pair(*head))},
        ),
        Mutant("the head size", {"predicted": lambda d: d}),
        source=Source(
            "weller2025",
            "Proposition 2, sign-rank(2A - 1) - 1 <= row-wise threshold rank",
            "read in the source; transposed, in our words",
        ),
        hypotheses=("integer keys, queries and thresholds, d <= n - 2",),
    ),
)
