"""Separate many opponents from a layer of fixed head size (B20 Theorem 2).

    python scripts/separate_opponents.py [--count 1000] [--seed 0]

draws d from 4 to 32, heads, head sizes with h > d/d_p, a layer g that meets the hypotheses, and an
opponent f in turn from each family: random; the same values; the same values and the best
approximation of the logits; skew-symmetric differences; and, at d of at most 8,
trained to imitate g. It prints for each family how many were separated with a certified gap, and
the least gap beside ``‖g(X)‖_F``; then f against itself, widened, where no gap may be claimed.
Exit 1 if an opponent is not separated, or a layer is from itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np

import rankbound as rb
from rankbound.attention.adversarial_layers import (
    nearest_products,
    random_fixed_layer,
    same_values,
    skew_pair,
)
from rankbound.fitting.layer import fit_layer

Pair = tuple[rb.MultiHead, rb.MultiHead]
SIZES = (4, 6, 8, 12, 16, 20, 24, 32)


def imitator(g: rb.MultiHead, heads: int, seed: int) -> rb.MultiHead:
    """A standard layer trained to imitate g."""
    return fit_layer(g, heads, n=3, sequences=48, seed=seed, max_iterations=150).layer


OPPONENTS: dict[str, Callable[[rb.MultiHead, int, int], rb.MultiHead]] = {
    "random": lambda g, heads, seed: rb.random_multihead(g.d, heads, seed),
    "same values": same_values,
    "nearest products": nearest_products,
    "imitating": imitator,
}
FAMILIES = ("random", "same values", "nearest products", "skew", "imitating")


def draw(family: str, rng: np.random.Generator) -> tuple[Pair, str]:
    """An opponent and a layer that meets the hypotheses, and their sizes in words."""
    while True:
        d = int(rng.choice(SIZES[:3] if family == "imitating" else SIZES))
        h = int(rng.choice([h for h in range(2, d + 1) if d % h == 0]))
        head_size = int(rng.integers(d // h + 1, d + 1))
        heads = max(int(rng.integers(1, 9)), -(-d // head_size))
        seed = int(rng.integers(2**31))
        label = f"d = {d}, h = {h}, d_p = {head_size}, {heads} heads of g, seed {seed}"
        if family != "skew":
            g = random_fixed_layer(d, heads, head_size, seed)
            return (OPPONENTS[family](g, h, seed), g), label
        head_size -= (head_size - d // h) % 2
        if head_size > d // h:
            return skew_pair(d, h, head_size, seed), label


def main() -> int:
    """Run the search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    gaps: dict[str, list[float]] = {family: [] for family in FAMILIES}
    failures = uncovered = 0
    for place in range(options.count):
        family = FAMILIES[place % len(FAMILIES)]
        (f, g), label = draw(family, rng)
        n = int(rng.integers(2, 6))
        found = rb.separating_tokens(f, g, n)
        gaps[family].append(found.relative_gap)
        uncovered += bool(found.failing)
        if found.verdict is not rb.Verdict.CERTIFIED:
            failures += 1
            print(f"not separated: {family}, {label}, n = {n}", file=sys.stderr)
        if rb.separating_tokens(f, rb.widen(f, g.head_size), n).gap:
            failures += 1
            print(f"separated from itself: {family}, {label}, n = {n}", file=sys.stderr)
    for family, found_gaps in gaps.items():
        separated = sum(gap > 0 for gap in found_gaps)
        least = f", relative gap at least {min(found_gaps):.3g}" if found_gaps else ""
        print(f"{family}: {separated} of {len(found_gaps)} separated{least}")
    print(f"{uncovered} draws failed a hypothesis (a rank), {failures} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
