"""How much of two workers a sweep uses: cells of half a second, of work and of sleep.

    python scripts/time_sweeps.py [--cells 40] [--jobs 2] [--seconds 0.5]

For each kind of cell it prints the seconds that the cells took together, those that the sweep took,
and the efficiency: the first over the second times the workers. The work is arithmetic in Python,
whose own pace on busy cores is in both numbers. Starting the workers is in the sweep's time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

import rankbound as rb


def work(cell: int, seconds: float) -> dict[str, Any]:
    """Count for so long."""
    end, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        count += 1
    return {"count": count}


def rest(cell: int, seconds: float) -> dict[str, Any]:
    """Sleep for so long."""
    time.sleep(seconds)
    return {}


def main() -> None:
    """Run both sweeps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.5)
    options = parser.parse_args()
    grid: dict[str, Any] = {"cell": list(range(options.cells)), "seconds": [options.seconds]}
    for function in (work, rest):
        for limit in (None, 60.0):
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                done = rb.sweep(
                    function, grid, f"{folder}/s.sqlite", options.jobs, time_limit=limit
                )
                taken = time.perf_counter() - start
            cells = sum(cell.wall_time or 0.0 for cell in done.cells)
            kind = f"{function.__name__}{', each in its own process' if limit else ''}"
            print(
                f"{kind}: cells {cells:.2f} s, sweep {taken:.2f} s on {options.jobs} workers, "
                f"efficiency {cells / taken / options.jobs:.3f}"
            )


if __name__ == "__main__":
    main()
