"""Fails where a routine does more than it should: counts, not times; ``make bench-check``.

    python -m benchmarks.guard [NAME ...]

Each routine runs on a small input while its operations and its memory are counted
(benchmarks/counting.py), and may not exceed MARGIN times what its algorithm needs. That is far from
the count of the way that it replaces, so a rounding of the count decides nothing and a slower
algorithm does. The exact rank is a ratio of times beside python-flint, far below what it reaches.

Exit 0: all within; 1: one is not.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import counting

MARGIN = 1.5
FLINT = 4.0  # times as fast as flint at least; some 30 on this size
HEAVY = ("scipy", "sympy", "flint", "matplotlib", "rich", "joblib", "torch", "pandas")


@dataclass(frozen=True)
class Guard:
    """A routine and what it may do.

    Attributes
    ----------
    prepare : callable
        Makes a small input and returns the work, once the counting is installed.
    operations : float
        Those that its algorithm needs, in floats.
    floats : float
        How many it keeps at once; 8 bytes each.
    """

    prepare: Callable[[], Callable[[], Any]]
    operations: float
    floats: float

    def found(self) -> dict[str, float]:
        """Operations and floats of a run, over what may be; of the second run, which loads none."""
        work = self.prepare()
        work()
        with counting.tally() as tally:
            work()
        return {
            "operations": tally.operations / (MARGIN * self.operations),
            "memory": tally.bytes / (MARGIN * 8 * self.floats),
        }


def _logit_spectrum(n: int, k: int, d: int) -> Guard:
    def prepare() -> Callable[[], Any]:
        import rankbound as rb

        head, X = rb.random_head(d, k, 0), rb.random_tokens(d, n, 1)
        return lambda: rb.logit_spectrum(head, X, centred=True)

    # keys and queries; each preconditioned, and its Gram matrix; and what is of k × k. A few blocks
    # of 512 tokens are kept at once
    operations = 4 * k * d * n + 8 * n * k * k + 100 * k**3
    return Guard(prepare, operations, (d + 10 * k) * 512)


def _masked(n: int, k: int) -> Guard:
    def prepare() -> Callable[[], Any]:
        import numpy as np

        import rankbound as rb

        head = rb.AttentionHead(*np.random.default_rng(0).standard_normal((2, k, n)))
        return lambda: rb.log_rank(head=head, mask="causal")

    # the triangles of keys and queries, and the logits of k queries with the bounds of their errors
    return Guard(prepare, 8 * n * k * k, 16 * k * n)


def _certified(n: int, condition: float) -> Guard:
    def prepare() -> Callable[[], Any]:
        import rankbound as rb
        from benchmarks.rows.certified_ranks import ill_conditioned

        A = rb.random_context(n, 0) if condition == 1 else ill_conditioned(n, condition)
        return lambda: rb.certified_rank(A)

    gram = n**3 + n**3 / 3  # and Cholesky
    inverse = 2 * n**3 + 4 * n**3  # and two products, with it and with its absolute values
    return Guard(
        prepare, gram + (0 if condition == 1 else inverse), (3 if condition == 1 else 8) * n * n
    )


def _certified_batch(count: int, n: int) -> Guard:
    def prepare() -> Callable[[], Any]:
        import numpy as np

        import rankbound as rb

        P = np.stack([rb.random_context(n, seed) for seed in range(count)])
        return lambda: rb.certified_rank(P)

    return Guard(prepare, count * (2 * n**3 + n**3 / 3), 3 * count * n * n)


def _log_rank(n: int) -> Guard:
    def prepare() -> Callable[[], Any]:
        import rankbound as rb

        P = rb.random_context(n, 0)
        return lambda: rb.certified_log_rank(P)

    # the Gram matrix and Cholesky, as of the certified rank
    return Guard(prepare, n**3 + n**3 / 3, 8 * n * n)


def _fit(n: int, k: int) -> Guard:
    def prepare() -> Callable[[], Any]:
        import rankbound as rb

        P = rb.random_context(n, 0)
        return lambda: rb.fit_head(P, k, random_starts=0)

    # 250 steps: the Hessian's six products and the preconditioner's; and five preconditioners, a
    # block per key and query and its inverse. The steps taken hang a little on the BLAS
    steps, blocks = 12 * n * n * k + 4 * n * k * k, 4 * n * n * k * k + 4 * n * k**3
    return Guard(prepare, 250 * steps + 5 * blocks, 5 * n * k * k + 40 * n * n + 2**17)


GUARDS = {
    "logit-spectrum": _logit_spectrum(2048, 32, 48),
    "masked-log-rank": _masked(2048, 16),
    "certified-context": _certified(192, 1),
    "certified-condition": _certified(192, 1e8),
    "certified-batch": _certified_batch(64, 32),
    "certified-log-rank": _log_rank(128),
    "fit": _fit(32, 24),
}


def counts(names: Sequence[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Each guard's shares of what may be; above 1 is too much."""
    counting.install()
    for name, guard in GUARDS.items():
        if not names or name in names:
            yield name, guard.found()


def exact_rank() -> dict[str, float]:
    """The time of an exact rank beside flint's; the best of three, each."""
    import rankbound as rb
    from benchmarks.rows.exact_ranks import combinations, flint_matrix

    rows = combinations(True, 100, 50)
    matrix = flint_matrix(rows)

    def best(work: Callable[[], Any]) -> float:
        times = []
        for _ in range(3):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return min(times)

    return {"time": FLINT * best(lambda: rb.exact_rank(rows)) / best(matrix.rank)}


def imports() -> dict[str, float]:
    """How many heavy packages the import of rankbound loads; none may be."""
    code = f"import sys, numpy, rankbound; print(sum(x in sys.modules for x in {HEAVY}))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {"heavy packages": 2.0 * int(told.stdout)}


OTHERS: dict[str, Callable[[], dict[str, float]]] = {"exact-rank": exact_rank, "import": imports}


def main(names: Sequence[str]) -> int:
    """Print each share of what may be; 1 if one is above it."""
    unknown = [name for name in names if name not in (*GUARDS, *OTHERS)]
    if unknown:
        sys.exit(f"there is no {unknown[0]!r}; expected of {', '.join((*GUARDS, *OTHERS))}")
    failed = False
    asked = [name for name in GUARDS if not names or name in names]
    found = list(counts(asked)) if asked else []
    found += [(name, look()) for name, look in OTHERS.items() if not names or name in names]
    for name, shares in found:
        over = max(shares.values()) > 1
        failed |= over
        told = ", ".join(f"{what} {100 * share:.0f} %" for what, share in shares.items())
        print(f"{'TOO MUCH' if over else 'ok'}: {name}: {told} of what may be", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
