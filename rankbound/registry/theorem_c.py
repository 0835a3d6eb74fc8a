"""Theorem C: what a nested mask does to the least head size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from rankbound.attention.masks import Mask, causal_mask, prefix_mask
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Claim, Instance, Mutant, Relation, Source, Trial
from rankbound.registry.populations import identity_logits
from rankbound.theory.certified import certified_log_rank
from rankbound.verdict import Verdict

Masked = Callable[..., RankBounds]


def least(logits: Any, mask: Mask) -> RankBounds:
    """The masked log-rank of exact logits, both sides certified."""
    return certified_log_rank(mask=mask, logits=logits)


def unmasked(logits: Any, mask: Mask) -> RankBounds:
    """What comes out if the mask is forgotten."""
    return certified_log_rank(logits=logits)


def random_nested(n: int, trial: Trial) -> tuple[Mask, list[int]]:
    """A nested mask and the sizes of its decreasing sets of queries, the first everything."""
    sizes = [n, *sorted((int(x) for x in trial.rng.integers(0, n + 1, n - 1)), reverse=True)]
    columns = trial.rng.permutation(n)
    mask = np.zeros((n, n), dtype=np.bool_)
    for key, size in enumerate(sizes):
        mask[key, columns[:size]] = True
    return mask[trial.rng.permutation(n)], sizes


def count_of_gains(logits: list[list[int]], mask: Mask) -> int:
    """``Σ_i rank D[<=i, K_i] - rank D[<i, K_i]`` by exact ranks, on queries that see two keys."""
    queries = mask.sum(axis=0) > 1
    keys = np.argsort(-mask[:, queries].sum(axis=1), kind="stable")
    L, seen = np.array(logits)[keys][:, queries], mask[keys][:, queries]
    D = L[1:] - L[:1]
    total = 0
    for place, at in enumerate(seen[1:]):
        if at.any():
            above = int(exact_rank(D[:place, at])) if place else 0
            total += int(exact_rank(D[: place + 1, at])) - above
    return total


def generic(sizes: list[int]) -> int:
    """``max{t : |K_t| >= t - 1} - 1`` for the decreasing sets K_1, K_2, …"""
    return max(t for t, size in enumerate(sizes, 1) if size >= t - 1) - 1


def check_count(trial: Trial, *, rank: Masked = least) -> Iterator[Instance]:
    """The certified interval against the count of gains, for small integers and nested masks."""
    for n in range(2, trial.count(7, 10)):
        for repeat in range(trial.count(3, 10)):
            mask, _ = random_nested(n, trial)
            logits = trial.integers(n, n, bound=2)
            label = f"random nested mask, n = {n}, draw {repeat}"
            yield Instance.of_bounds(label, rank(logits, mask), count_of_gains(logits, mask))


def check_generic(
    trial: Trial, *, rank: Masked = least, predicted: Callable[[list[int]], int] = generic
) -> Iterator[Instance]:
    """Random integer logits of 21 bits under random nested masks."""
    for n in range(2, trial.count(9, 16)):
        for repeat in range(trial.count(2, 6)):
            mask, sizes = random_nested(n, trial)
            bounds = rank(trial.integers(n, n), mask)
            yield Instance.of_bounds(f"n = {n}, draw {repeat}", bounds, predicted(sizes))


def check_causal(
    trial: Trial, *, rank: Masked = least, predicted: Callable[[int], int] = lambda n: n // 2
) -> Iterator[Instance]:
    """Random integer logits under the causal mask."""
    for n in range(2, trial.count(17, 33)):
        bounds = rank(trial.integers(n, n), causal_mask(n))
        yield Instance.of_bounds(f"causal, n = {n}", bounds, predicted(n))


def check_worst(
    trial: Trial, *, rank: Masked = least, predicted: Callable[[int], int] = lambda n: n - 1
) -> Iterator[Instance]:
    """P ∝ 2^I on the visible triangle: tokens that prefer themselves by a constant."""
    for n in range(2, trial.count(17, 33)):
        bounds = rank(identity_logits(n), causal_mask(n))
        yield Instance.of_bounds(f"causal P ∝ 2^I, n = {n}", bounds, predicted(n))


def check_prefix(
    trial: Trial,
    *,
    rank: Masked = least,
    predicted: Callable[[int, int], int] = lambda n, p: max(n // 2, p - 1),
) -> Iterator[Instance]:
    """Random integer logits under prefix masks."""
    for n in (4, 7, 12):
        for p in sorted({1, 2, n // 2, n - 1, n}):
            bounds = rank(trial.integers(n, n), prefix_mask(n, p))
            yield Instance.of_bounds(f"n = {n}, prefix {p}", bounds, predicted(n, p))


def check_dense(
    trial: Trial, *, step: Callable[[int], Fraction] = lambda k: Fraction(1, 10**k)
) -> Iterator[Instance]:
    """Contexts that tend to the worst case, each of a head of size floor(n/2).

    Logits I + t G with |G| <= 1 are within t of I in each entry, so a log-probability of the worst
    case moves by at most 2 t, and its KL divergence from them is at most 2 t.
    """
    for n in (3, 6, 9):
        G = trial.integers(n, n)
        for k in range(1, trial.count(6, 12)):
            t = step(k)
            logits = [
                [int(i == j) + t * Fraction(x, 2**20) for j, x in enumerate(row)]
                for i, row in enumerate(G)
            ]
            yield Instance.of_bounds(f"n = {n}, t = {t}", least(logits, causal_mask(n)), n // 2)


_claim = partial(
    Claim,
    source=Source("rankbound", "Theorem C", "derived here; not found in print for attention"),
    hypotheses=(
        "X of full column rank (on others, a lower bound)",
        "P ∝ exp(M) on the mask, M integer or rational",
    ),
    relation=Relation.EQ,
    status=Verdict.CERTIFIED,
)
FORGETS = Mutant("forgets the mask", {"rank": unmasked})

CLAIMS = (
    _claim(
        id="theorem-c",
        statement="Under a nested mask the least head size is the number of new rows.",
        check=check_count,
        mutants=(FORGETS,),
    ),
    _claim(
        id="nested-generic",
        statement=(
            "Each P drawn under a nested mask needs max{t : |K_t| >= t - 1} - 1, as almost every "
            "one."
        ),
        check=check_generic,
        mutants=(FORGETS, Mutant("one more", {"predicted": lambda sizes: generic(sizes) + 1})),
    ),
    _claim(
        id="causal-generic",
        statement="Each causal P drawn needs head size floor(n/2), as almost every one does.",
        check=check_causal,
        mutants=(
            FORGETS,
            Mutant("n - 1, as without a mask", {"predicted": lambda n: n - 1}),
            Mutant("rounds up", {"predicted": lambda n: (n + 1) // 2}),
        ),
    ),
    _claim(
        id="causal-worst",
        statement="The causal P ∝ 2^I needs head size n - 1.",
        check=check_worst,
        mutants=(Mutant("floor(n/2)", {"predicted": lambda n: n // 2}),),
    ),
    _claim(
        id="prefix-generic",
        statement="Each P drawn with prefix p needs head size max(floor(n/2), p - 1).",
        check=check_prefix,
        mutants=(FORGETS, Mutant("forgets the prefix", {"predicted": lambda n, p: n // 2})),
    ),
    _claim(
        id="causal-dense",
        statement="Heads of size floor(n/2) come arbitrarily close to the causal worst case.",
        check=check_dense,
        mutants=(Mutant("stays at the worst case", {"step": lambda k: Fraction(0)}),),
    ),
)
