"""How much memory work takes at its height, in a process of its own.

    python -m benchmarks.memory NAME

prints it in bytes. The work runs on a small input first, so that what is loaded on first use is
there; the increase is that of the resident memory from then to its height. The bound is a number
of arrays, counted in the algorithm as `counted` says.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import rankbound as rb
from benchmarks.rows.certified_ranks import ill_conditioned
from benchmarks.rows.logit_spectra import LONG_D, LONG_K, tokens_on_disk
from benchmarks.rows.masked_heads import random_head

STATUS = Path("/proc/self/status")
SLACK = 2**22  # bytes for what is not of these arrays: vectors, code loaded late, kept pages


@dataclass(frozen=True)
class Peak:
    """Work whose memory is bounded.

    Attributes
    ----------
    name, work : str
        To ask for it, and what is done.
    prepare : callable
        Makes the input of a size, in a folder that is removed afterwards, and returns the work.
    small, large : int
        Sizes: to warm up, and to measure.
    arrays : float
        How many arrays of `unit` it may hold at once, beside its input.
    unit : callable
        Bytes of such an array at a size.
    shape : str
        Of such an array.
    counted : str
        Which arrays these are.
    """

    name: str
    work: str
    prepare: Callable[[int, str], Callable[[], Any]]
    small: int
    large: int
    arrays: float
    unit: Callable[[int], int]
    shape: str
    counted: str

    @property
    def bound(self) -> float:
        """Bytes by which the process may grow."""
        return self.arrays * self.unit(self.large) + SLACK


def square(n: int) -> int:
    """Bytes of an n × n array of float64."""
    return 8 * n * n


def factor(k: int) -> Callable[[int], int]:
    """Bytes of a k × n array of float64."""
    return lambda n: 8 * k * n


def _certified(n: int, folder: str) -> Callable[[], Any]:
    return partial(rb.certified_rank, rb.random_context(n, 0))


def _conditioned(n: int, folder: str) -> Callable[[], Any]:
    return partial(rb.certified_rank, ill_conditioned(n, 1e8))


def _log_rank(n: int, folder: str) -> Callable[[], Any]:
    return partial(rb.certified_log_rank, rb.random_context(n, 0))


def _fit(n: int, folder: str) -> Callable[[], Any]:
    P = rb.random_context(n, 0)
    return partial(rb.fit_head, P, 3 * n // 4, random_starts=0, max_iterations=30)


def _bracket(n: int, folder: str) -> Callable[[], Any]:
    P = rb.random_context(n, 0, "sparse", nonzeros=8)
    return partial(rb.kl_bracket, P, [8], max_iterations=10)


def _spectrum(n: int, folder: str) -> Callable[[], Any]:
    head, X = rb.random_head(128, 64, 0), rb.random_tokens(128, n, 1)
    return partial(rb.logit_spectrum, head, X)


def _on_disk(n: int, folder: str) -> Callable[[], Any]:
    head = rb.random_head(LONG_D, LONG_K, 0)
    return partial(rb.logit_spectrum, head, tokens_on_disk(n, folder))


def _masked(n: int, folder: str) -> Callable[[], Any]:
    return partial(rb.log_rank, head=random_head(n, 64), mask="causal")


PEAKS = {
    peak.name: peak
    for peak in (
        Peak(
            "certified-context",
            "certified full rank of a context, n = 2048",
            _certified,
            64,
            2048,
            3,
            square,
            "n × n",
            "the Gram matrix, the matrix in the order in which BLAS reads it, and one in passing",
        ),
        Peak(
            "certified-condition",
            "certified full rank, n = 2048, condition 10⁸",
            _conditioned,
            64,
            2048,
            5,
            square,
            "n × n",
            "the factors, one of which gives way to its inverse, the product, its Gram matrix, and "
            "one in passing",
        ),
        Peak(
            "certified-log-rank",
            "certified log-rank of floats, n = 1024",
            _log_rank,
            64,
            1024,
            3,
            square,
            "n × n",
            "P as read, its centred logarithms, and the Gram matrix of the test of a rank",
        ),
        Peak(
            "fit-large",
            "fit, n = 256, k = 192, thirty steps",
            _fit,
            16,
            256,
            5,
            lambda n: 8 * n * (3 * n // 4) ** 2,
            "n × k × k",
            "a block per key and per query of the preconditioner, the inverse of each, and for "
            "all arrays of n × n and k × n as much as one of these",
        ),
        Peak(
            "kl-bracket",
            "KL bracket, n = 256, head size 8, ten steps",
            _bracket,
            32,
            256,
            24,
            square,
            "n × n",
            "P, logits, softmax and slope at two points, four products of a step (12), and as "
            "many for the weights, tilts and tails of a minorant",
        ),
        Peak(
            "logit-spectrum",
            "logit spectrum, n = 65 536, k = 64, d = 128",
            _spectrum,
            256,
            65_536,
            0.25,
            factor(64),
            "k × n",
            "none: blocks of tokens, a quarter of one factor at most",
        ),
        Peak(
            "long-sequence",
            "logit spectrum, n = 10⁶, k = 64, d = 64, float32 tokens in a file",
            _on_disk,
            256,
            10**6,
            0.25,
            factor(LONG_K),
            "k × n",
            "none: blocks of tokens, a quarter of one factor at most",
        ),
        Peak(
            "masked-log-rank",
            "log-rank of a head under a causal mask, n = 32 768, k = 64",
            _masked,
            256,
            32_768,
            12,
            factor(64),
            "k × n",
            "queries and keys balanced and in the order of the mask (4), the bounds of their "
            "rounding (4), the logits of k queries and theirs (4)",
        ),
    )
}


def resident(field: str) -> int:
    """Bytes of resident memory: VmRSS, or its height VmHWM; of which files RssFile."""
    if not STATUS.is_file():  # not Linux: the height alone, of bytes on macOS
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return 0 if field == "RssFile" else int(most * (1 if sys.platform == "darwin" else 1024))
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def increase(peak: Peak) -> int:
    """Bytes by which this process grows; what it maps of files is no memory of its own."""
    with tempfile.TemporaryDirectory() as folder:
        peak.prepare(peak.small, folder)()
        work = peak.prepare(peak.large, folder)
        if STATUS.is_file():
            # the height of what came before would hide that of the work; getrusage keeps it, and
            # that of the process from which this one was started
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before, files = resident("VmRSS"), resident("RssFile")
        work()
        return resident("VmHWM") - before - max(0, resident("RssFile") - files)


def run(peak: Peak) -> dict[str, Any]:
    """The increase in a fresh process, beside its bound."""
    command = [sys.executable, "-m", "benchmarks.memory", peak.name]
    told = subprocess.run(command, check=False, capture_output=True, text=True)
    if told.returncode:
        lines = told.stderr.strip().splitlines()
        return {"name": peak.name, "bytes": None, "met": False, "error": lines[-1] if lines else ""}
    size = json.loads(told.stdout)
    unit = peak.unit(peak.large)
    return {
        "name": peak.name,
        "bytes": size,
        "arrays": round(size / unit, 2),
        "bound": peak.arrays,
        "met": size <= peak.bound,
    }


if __name__ == "__main__":
    print(json.dumps(increase(PEAKS[sys.argv[1]])))
