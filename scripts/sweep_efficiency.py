"""How much of two workers' time a sweep uses, on cells that wait half a second.

    python scripts/sweep_efficiency.py [--cells 40] [--seconds 0.5] [--jobs 2]

Prints cells · seconds / (jobs · wall time), workers warm; starting them is printed apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import rankbound as rb


def wait(cell: int, seconds: float) -> dict[str, float]:
    """A cell that takes this long and leaves the processor alone."""
    time.sleep(seconds)
    return {"waited": seconds}


def main() -> int:
    """Run a sweep of two cells to start the workers, then the one that is timed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for name, cells in (("warm", options.jobs), ("timed", options.cells)):
            start = time.perf_counter()
            grid = {"cell": list(range(cells)), "seconds": [options.seconds]}
            rb.sweep(wait, grid, f"{folder}/{name}.sqlite", jobs=options.jobs)
            times.append(time.perf_counter() - start)
    useful = options.cells * options.seconds / options.jobs
    print(
        f"{options.cells} cells of {options.seconds} s on {options.jobs} workers: "
        f"{times[1]:.2f} s, efficiency {useful / times[1]:.3f}; starting the workers took about "
        f"{max(times[0] - options.seconds, 0.0):.2f} s"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
