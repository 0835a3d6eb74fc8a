"""What the toolkit's promises about speed come to here: each piece of work beside its peer.

``python benchmarks/run.py [NAME ...]`` prints a table of medians and ratios. One BLAS thread, peer
and rankbound in turn in the same process; absolute times are the machine's, ratios are the point.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import rankbound as rb
from rankbound.exact.flint import rational_product

Work = Callable[[], Any]


@dataclass(frozen=True)
class Race:
    """Two ways to do one thing.

    Attributes
    ----------
    work, peer : str
        What is done, and beside what.
    wanted : float
        The least ratio wanted, peer over rankbound.
    entries : callable
        Returns rankbound's way and the peer's; the peer's may be a time in seconds where it was
        stopped.
    rounds : int
        How often each is run; the medians count.
    """

    work: str
    peer: str
    wanted: float
    entries: Callable[[], tuple[Work, Work]]
    rounds: int = 5


def logit_spectrum() -> tuple[Work, Work]:
    """Singular values of logits from the factors, beside the rank of the formed matrix."""
    head, X = rb.random_head(128, 64, 0), rb.random_tokens(128, 2048, 1)
    return lambda: rb.logit_spectrum(head, X), lambda: np.linalg.matrix_rank(head.logits(X))


def certified_context() -> tuple[Work, Work]:
    """Certified full rank of one context matrix."""
    P = rb.random_context(1024, 0)
    return lambda: rb.certified_rank(P), lambda: np.linalg.matrix_rank(P)


def certified_batch() -> tuple[Work, Work]:
    """Certified ranks of a thousand context matrices."""
    P = np.stack([rb.random_context(64, seed) for seed in range(1000)])
    return lambda: rb.certified_rank(P), lambda: np.linalg.matrix_rank(P)


def rationals(small: int) -> list[list[Fraction]]:
    """A 200 × 200 matrix of rank 100: combinations of 100 rows of fractions below 100.

    ``small = 1`` combines them with whole numbers below 10, other values with fractions.
    """
    draw = random.Random(0)

    def entry(largest: int, below: int) -> Fraction:
        return Fraction(draw.randint(-largest, largest), draw.randint(1, below))

    combine = [[entry(9 if small == 1 else 99, small) for _ in range(100)] for _ in range(200)]
    return rational_product(combine, [[entry(99, 99) for _ in range(200)] for _ in range(100)])


def exact_large(small: int) -> Callable[[], tuple[Work, Work]]:
    """Exact rank of a large rational matrix, beside python-flint's own."""

    def entries() -> tuple[Work, Work]:
        import flint

        rows = rationals(small)
        native = flint.fmpq_mat(
            [[flint.fmpq(x.numerator, x.denominator) for x in row] for row in rows]
        )
        return lambda: rb.exact_rank(rows), native.rank

    return entries


SYMPY = """
import random, sympy
from fractions import Fraction
draw = random.Random(0)
M = sympy.Matrix(20, 20, lambda i, j: sympy.Rational(draw.randint(-99, 99), draw.randint(1, 99)))
M.rank()
"""
STOP = 60.0  # seconds after which SymPy is stopped


def exact_small() -> tuple[Work, Work]:
    """Exact rank of a small rational matrix, beside SymPy, which is stopped after a while."""
    draw = random.Random(0)
    rows = [
        [Fraction(draw.randint(-99, 99), draw.randint(1, 99)) for _ in range(20)] for _ in range(20)
    ]

    def sympy_rank() -> None:
        try:
            subprocess.run([sys.executable, "-c", SYMPY], timeout=STOP, check=True)
        except subprocess.TimeoutExpired:
            sys.stderr.write(f"sympy: no answer in {STOP:.0f} s\n")

    return lambda: rb.exact_rank(rows), sympy_rank


def fit_cliff() -> tuple[Work, Work]:
    """A fit near the cliff, from the truncated decomposition to a gradient norm of 1e-8."""
    P = np.random.default_rng(0).dirichlet(np.ones(64), size=64).T
    P = np.maximum(P, 1e-12)
    P /= P.sum(axis=0)

    def fit(method: str) -> Work:
        return lambda: rb.fit_head(P, 48, random_starts=0, method=method)

    return fit("newton"), fit("l-bfgs")


def log_rank_spectra() -> tuple[Work, Work]:
    """Spectra of 72 heads of the shape of all-MiniLM-L6-v2 at n = 512, random queries and keys.

    The peer is given the centred log P and only takes its singular values.
    """
    draw = np.random.default_rng(0)
    heads = [rb.AttentionHead(*draw.standard_normal((2, 32, 512))) for _ in range(72)]
    log_P = [np.log(head.context()) for head in heads]
    centred = [matrix - matrix.mean(axis=0) for matrix in log_P]
    return (
        lambda: [rb.logit_spectrum(head, centred=True) for head in heads],
        lambda: [np.linalg.svd(matrix, compute_uv=False) for matrix in centred],
    )


RACES = {
    "logit-spectrum": Race(
        "logit spectrum, n = 2048, k = 64", "numpy.linalg.matrix_rank", 300, logit_spectrum, 3
    ),
    "log-rank-spectra": Race(
        "log-rank spectra, 72 heads, n = 512, k = 32 (random), from q and k",
        "numpy.linalg.svd of each centred log P",
        60,
        log_rank_spectra,
        3,
    ),
    "certified-context": Race(
        "certified full rank of a context, n = 1024",
        "numpy.linalg.matrix_rank, which certifies nothing",
        3,
        certified_context,
        9,
    ),
    "certified-batch": Race(
        "certified ranks of 1000 × (64, 64)",
        "batched numpy.linalg.matrix_rank",
        2,
        certified_batch,
        9,
    ),
    "exact-combinations": Race(
        "exact rank, 200 × 200 rationals of rank 100, whole combinations",
        "flint.fmpq_mat.rank",
        100,
        exact_large(1),
        1,
    ),
    "exact-products": Race(
        "exact rank, 200 × 200 rationals of rank 100, fractional combinations",
        "flint.fmpq_mat.rank",
        100,
        exact_large(99),
        1,
    ),
    "fit-cliff": Race(
        "fit, n = 64, k = 48, to gradient norm 1e-8",
        "SciPy L-BFGS-B, same objective and start",
        3,
        fit_cliff,
        7,
    ),
    "exact-small": Race("exact rank, 20 × 20 rationals", "sympy.Matrix.rank", 1000, exact_small, 1),
}


def median(work: Work, rounds: int) -> float:
    """Median seconds of so many runs."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def run(race: Race) -> tuple[float, float]:
    """Median seconds of rankbound and of its peer, after one run of rankbound to warm up."""
    ours, peer = race.entries()
    ours()
    return median(ours, race.rounds), median(peer, race.rounds)


def long_sequence() -> str:
    """The logit spectrum at n = 200,000, which nothing that forms the matrix can do."""
    head = rb.random_head(64, 64, 0)
    seconds = {}
    for n in (100_000, 200_000):
        X = rb.random_tokens(64, n, 1)
        seconds[n] = median(lambda X=X: rb.logit_spectrum(head, X), 3)  # type: ignore[misc]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        f"logit spectrum, n = 200 000, k = 64: {seconds[200_000]:.2f} s, "
        f"{seconds[200_000] / seconds[100_000]:.2f} times that of n = 100 000, "
        f"peak memory of this process {peak:.2f} GB"
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*RACES, 'long-sequence'])}")
    names = parser.parse_args().names
    unknown = [name for name in names if name not in RACES and name != "long-sequence"]
    if unknown:
        parser.error(f"no race {unknown[0]!r}")
    with threadpool_limits(1, "blas"):
        if not names or "long-sequence" in names:
            print(long_sequence(), flush=True)
        for name, race in RACES.items():
            if not names or name in names:
                ours, peer = run(race)
                print(
                    f"{race.work}: {ours:.4g} s; {race.peer}: {peer:.4g} s; "
                    f"ratio {peer / ours:.1f} (wanted {race.wanted:g})",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
