"""Kill sweeps at random moments, resume them, and compare with sweeps left in peace.

    python scripts/kill_sweeps.py [--rounds 3] [--kills 20] [--seed 0] [--milliseconds 50] [--dask]

Each round runs 200 cells on two workers, kills the run by SIGKILL so often, each time anywhere in
its first seconds, and resumes it: 200 cells must be done, each once, with the results of an
undisturbed run, and no worker of a killed run may be left. With ``--dask`` the workers are those
of a cluster that outlives the runs. Exit 1 if a round differs.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.sweeps.killing import kill_and_resume


def main() -> int:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--milliseconds", type=float, default=50.0, help="of a cell")
    parser.add_argument("--dask", action="store_true", help="on a cluster of this machine")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        scheduler = ""
        if options.dask:
            from distributed import LocalCluster

            cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
            scheduler = stack.enter_context(cluster).scheduler_address
        for seed in range(options.seed, options.seed + options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    kill_and_resume(
                        Path(folder),
                        options.kills,
                        seed,
                        milliseconds=options.milliseconds,
                        spread=7 * options.milliseconds / 1000,
                        scheduler=scheduler,
                        say=print,
                    )
                except AssertionError as error:
                    print(f"seed {seed}: {error}", file=sys.stderr)
                    return 1
            print(f"seed {seed}: 200 cells, each once, the same as an undisturbed run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
