"""What the machine does per second, measured in the run whose floors are computed from it."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

PACKAGES = ("numpy", "scipy", "python-flint", "sympy", "joblib", "torch", "transformers", "dask")


@dataclass(frozen=True)
class Rates:
    """Of one thread, per second."""

    gemm: float  # operations of a product of matrices in float64
    single: float  # the same in float32
    copy: float  # bytes read and written

    def seconds(self, operations: float, moved: float = 0.0) -> float:
        """What so many operations and so many bytes take at least."""
        return operations / self.gemm + moved / self.copy


def measured(n: int = 1024, size: int = 2**23) -> Rates:
    """The rates of this machine: medians of five, of products of n × n and copies of `size`."""
    A, source = np.random.default_rng(0).standard_normal((n, n)), np.zeros(size)
    B, target = A.astype(np.float32), np.empty_like(source)
    double, single = (2.0 * n**3 / _median(partial(np.matmul, M, M)) for M in (A, B))
    return Rates(double, single, 2.0 * source.nbytes / _median(partial(np.copyto, target, source)))


def _median(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(6):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times[1:])  # the first run touches the memory


def machine(known: Rates) -> dict[str, Any]:
    """What the times hang on: processor, BLAS, versions. Nothing says whose machine it is."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "blas": sorted(
            {
                f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip()
                for pool in threadpool_info()
                if pool["user_api"] == "blas"
            }
        ),
        "blas_threads": 1,
        "rates": asdict(known),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _processor() -> str:
    """The model of the processor, as Linux names it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
