"""Theorem C: what a nested mask does to the least head size."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np

from rankbound.attention.masks import Mask, causal_mask, prefix_mask
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
from rankbound.registry.populations import exact_log_rank, identity_logits


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


def _gains(trial: Trial) -> Cases:
    """Small integers and nested masks."""
    for n in range(2, trial.count(7, 10)):
        for repeat in range(trial.count(3, 10)):
            mask, _ = random_nested(n, trial)
            case = trial.integers(n, n, bound=2), mask
            yield f"random nested mask, n = {n}, draw {repeat}", case, case


def _nested(trial: Trial) -> Cases:
    """Random integer logits of 21 bits under random nested masks."""
    for n in range(2, trial.count(9, 16)):
        for repeat in range(trial.count(2, 6)):
            mask, sizes = random_nested(n, trial)
            yield f"n = {n}, draw {repeat}", (trial.integers(n, n), mask), (sizes,)


def _causal(trial: Trial) -> Cases:
    """Random integer logits under the causal mask."""
    for n in range(2, trial.count(17, 33)):
        yield f"causal, n = {n}", (trial.integers(n, n), causal_mask(n)), (n,)


def _worst(trial: Trial) -> Cases:
    """P ∝ 2^I on the visible triangle: tokens that prefer themselves by a constant."""
    for n in range(2, trial.count(17, 33)):
        yield f"causal P ∝ 2^I, n = {n}", (identity_logits(n), causal_mask(n)), (n,)


def _prefix(trial: Trial) -> Cases:
    """Random integer logits under prefix masks."""
    for n in (4, 7, 12):
        for p in sorted({1, 2, n // 2, n - 1, n}):
            yield f"n = {n}, prefix {p}", (trial.integers(n, n), prefix_mask(n, p)), (n, p)


def check_dense(trial: Trial, *, step: Formula = lambda k: Fraction(1, 10**k)) -> Instances:
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
            bounds = exact_log_rank(logits, causal_mask(n))
            yield Instance.of_bounds(f"n = {n}, t = {t}", bounds, n // 2)


_claim = partial(
    make_claim,
    source=Source("rankbound", "Theorem C", "derived here; not found in print for attention"),
    hypotheses=(
        "X of full column rank (on others, a lower bound)",
        "P ∝ exp(M) on the mask, M integer or rational",
    ),
)
FORGETS = Mutant("forgets the mask", {"rank": lambda logits, mask: exact_log_rank(logits)})

CLAIMS = (
    _claim(
        "theorem-c",
        "Under a nested mask the least head size is the number of new rows.",
        compare_ranks(_gains, exact_log_rank, count_of_gains),
        FORGETS,
    ),
    _claim(
        "nested-generic",
        "Each P drawn under a nested mask needs max{t : |K_t| >= t - 1} - 1, as almost every one.",
        compare_ranks(_nested, exact_log_rank, generic),
        FORGETS,
        Mutant("one more", {"predicted": lambda sizes: generic(sizes) + 1}),
    ),
    _claim(
        "causal-generic",
        "Each causal P drawn needs head size floor(n/2), as almost every one does.",
        compare_ranks(_causal, exact_log_rank, lambda n: n // 2),
        FORGETS,
        Mutant("n - 1, as without a mask", {"predicted": lambda n: n - 1}),
        Mutant("rounds up", {"predicted": lambda n: (n + 1) // 2}),
    ),
    _claim(
        "causal-worst",
        "The causal P ∝ 2^I needs head size n - 1.",
        compare_ranks(_worst, exact_log_rank, lambda n: n - 1),
        Mutant("floor(n/2)", {"predicted": lambda n: n // 2}),
    ),
    _claim(
        "prefix-generic",
        "Each P drawn with prefix p needs head size max(floor(n/2), p - 1).",
        compare_ranks(_prefix, exact_log_rank, lambda n, p: max(n // 2, p - 1)),
        FORGETS,
        Mutant("forgets the prefix", {"predicted": lambda n, p: n // 2}),
    ),
    _claim(
        "causal-dense",
        "Heads of size floor(n/2) come arbitrarily close to the causal worst case.",
        check_dense,
        Mutant("stays at the worst case", {"step": lambda k: Fraction(0)}),
    ),
)
