"""Try to fit a head that comes below a proved lower bound.

    python scripts/attack_brackets.py [--count 10000] [--seed 0]

draws contexts of 3 to 6 tokens (soft, Gaussian, Dirichlet of several concentrations, nearly of low
log-rank, with a nearly vanishing entry) and a head size, computes `rb.kl_lower_bound`, and fits
heads from the truncated decomposition and random starts, for each loss, with small and large
budgets of iterations. The KL of every head is compared with the bound, and the planner, asked for
the sizes that cannot come within it, must not exclude that of the head. Prints how many heads were
tried and the least ratio of a KL to its bound; exit 1 if one is below 1 by more than its rounding,
or its size excluded.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

import rankbound as rb
from rankbound.theory.approximation import excluded_sizes

LOSSES = ("kl", "reverse_kl", "total_variation")
EPS = float(np.finfo(np.float64).eps)


def context(rng: np.random.Generator) -> np.ndarray:
    """A small positive context of one of several kinds."""
    n = int(rng.integers(3, 7))
    kind = int(rng.integers(5))
    if kind < 2:
        return rb.random_context(n, rng, law="gibbs", scale=(0.3, 1.0)[kind])
    if kind == 2:
        return rb.random_context(n, rng, alpha=float(rng.choice([0.3, 1.0, 10.0])))
    rank = int(rng.integers(1, n))
    logits = np.log(rb.random_context(n, rng, law="logrank", rank=rank))
    if kind == 3:
        logits += float(rng.choice([1e-6, 1e-3, 0.1])) * rng.standard_normal((n, n))
    else:
        logits[tuple(rng.integers(n, size=2))] -= float(rng.choice([5.0, 30.0]))
    return rb.column_softmax(logits)


def kls(P: np.ndarray, k: int, rng: np.random.Generator) -> list[float]:
    """The KL of heads from several starts, losses and budgets."""
    seed = int(rng.integers(2**31))
    loss, budget = str(rng.choice(LOSSES)), int(rng.choice([3, 30, 1000]))
    tried = [
        rb.fit_head(P, k, seed=seed, random_starts=2, max_iterations=budget),
        rb.fit_head(P, k, seed=seed, random_starts=1, max_iterations=budget, loss=loss),
    ]
    return [value for fit in tried for value in (fit.kl, *fit.start_kls)]


def main() -> int:
    """Run the attack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    heads, positive, least, below = 0, 0, np.inf, 0
    for _ in range(options.count):
        P = context(rng)
        k = int(rng.integers(1, len(P) - 1))
        bound = rb.kl_lower_bound(P, k)
        positive += bound > 0
        reached = kls(P, k, rng)
        rounding = 64 * EPS**2 * (1 + np.square(np.log(P)).max())
        if excluded_sizes(P, None, min(reached) * (1 + 1e-9) + rounding) > k:
            below += 1
            print(f"excluded: KL {min(reached)!r}, k = {k}, P = {P.tolist()}", file=sys.stderr)
        for kl in reached:
            heads += 1
            if bound > 0:
                least = min(least, kl / bound)
            # a KL near rounding is known to about its logits' rounding squared, and eps of itself
            if kl < bound * (1 - 1e-9) - rounding:
                below += 1
                print(
                    f"below: KL {kl!r}, bound {bound!r}, k = {k}, P = {P.tolist()}", file=sys.stderr
                )
    print(
        f"{options.count} contexts, {positive} with a positive bound, {heads} heads; "
        f"least ratio of KL to bound {least:.6g}; {below} below"
    )
    return bool(below)


if __name__ == "__main__":
    sys.exit(main())
