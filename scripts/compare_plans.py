"""Which plans save most of a cache at the same loss: a head size per key/value head, or per layer.

    python scripts/compare_plans.py [MODEL …]

Both ways to share a budget, ranked by runs with one layer cut and by moments alone, calibrated on
one part of Python's standard library (its language reference) and tested on another (the source of
argparse), with windows of 256 tokens. Prints a table; SmolLM2 takes ten minutes on one core.
"""

from __future__ import annotations

import sys

import torch
from compare_bases import MODELS, domains
from threadpoolctl import threadpool_limits

import rankbound as rb
from rankbound.auditing.narrowing import PER
from rankbound.table import Column, Table

LENGTH = 256
BUDGETS = (0.05, 0.1, 0.2)  # of the loss in nats, or of the divergence where there is none
COLUMNS = [Column(name) for name in ("budget", "ranked by", "a size per", "bytes per token")]
COLUMNS += [Column("predicted", format=".3f"), Column("measured", format=".3f")]


def compare(model: str) -> Table:
    """The plans of a model."""
    texts, rows = domains(), []
    curve = rb.measure_loss(
        model, texts["source"], [8], length=LENGTH, calibrate=texts["reference"]
    )
    for budget in BUDGETS:
        for run_layers in (True, False):
            for per in PER:
                plan = curve.plan(loss=budget, run_layers=run_layers, per=per)
                reached = plan.divergence if plan.increase is None else plan.increase
                found = (plan.ranked_by, per, plan.cache_bytes, plan.predicted, reached)
                rows.append((budget, *found))
    full = plan.full_cache_bytes
    return Table(COLUMNS, rows, caption=f"{model}: of {full:,} bytes per token.")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for name in sys.argv[1:] or MODELS:
            print(compare(name).to_markdown(), flush=True)
