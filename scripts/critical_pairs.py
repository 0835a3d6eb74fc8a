"""Where trained embeddings stop realising all pairs, beside the published numbers and the theory.

    python scripts/critical_pairs.py [--sizes 4 5 6 8] [--temperatures 0.1 0.07] [--seed 0]
        [--starts 3] [--ahead 12] [--adam]

For each head size d the number n of keys is raised until no start realises all pairs: at fixed
temperatures of the contrastive loss, and with falling temperatures, up to `--ahead` keys more than
the published critical number (Weller, Boratko, Naim & Lee 2025, section 4: the n at which Adam with
InfoNCE stops; its temperature is not stated). ">n" says that all n tried were realised. Then the
trigonometric moment curve, which realises all pairs at d = 4 for every n, with the margin it has
and a bound that no unit keys and queries exceed. Exit 1 if the curve misses a pair.
"""

from __future__ import annotations

import argparse
import sys
import time

from rankbound.fitting.pairs import PUBLISHED_CRITICAL, critical_keys
from rankbound.theory.pairs import curve_pairs, pair_margin_bound

CURVE = (10, 20, 50, 100, 200)
BEHIND = 6  # how far below the published number a search at a fixed temperature begins


def critical(d: int, temperature: float | None, options: argparse.Namespace) -> str:
    """One cell: the critical number and how long it took."""
    published, begun = PUBLISHED_CRITICAL[d], time.perf_counter()
    found = critical_keys(
        d,
        temperature=temperature,
        first=published if temperature is None else max(d + 1, published - BEHIND),
        last=published + options.ahead,
        starts=options.starts,
        seed=options.seed,
        method="adam" if options.adam else "l-bfgs",
    )
    if found.critical is None:
        number = f">{found.realised[-1]}"
    else:
        number = f"{'' if found.realised else '<='}{found.critical} ({found.share:.1%})"
    return f"{number}, {time.perf_counter() - begun:.1f} s"


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 5, 6, 8])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.1, 0.07])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--ahead", type=int, default=12)
    parser.add_argument("--adam", action="store_true", help="train with Adam, not with L-BFGS")
    options = parser.parse_args()
    unknown = sorted(set(options.sizes) - PUBLISHED_CRITICAL.keys())
    if unknown:
        parser.error(f"no number is published for {unknown}; take from {list(PUBLISHED_CRITICAL)}")
    heads = [f"at temperature {tau:g}" for tau in options.temperatures]
    print("Critical n (share of pairs realised there)")
    print(" | ".join(["d", "published", *heads, "falling temperatures"]))
    for d in options.sizes:
        cells = [critical(d, tau, options) for tau in (*options.temperatures, None)]
        print(" | ".join([str(d), str(PUBLISHED_CRITICAL[d]), *cells]), flush=True)
    print("\nThe moment curve at d = 4\nn | pairs | realised | margin | no margin above")
    curves = [curve_pairs(n) for n in CURVE]
    for n, found in zip(CURVE, curves, strict=True):
        bound = pair_margin_bound(n, 4)
        print(f"{n} | {found.count} | {found.realised} | {found.margin:.2e} | {bound:.2f}")
    return int(any(found.share < 1 for found in curves))


if __name__ == "__main__":
    sys.exit(main())
