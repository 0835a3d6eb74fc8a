"""The experiments: what each asks, which function answers, the cells of each preset, a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rankbound._validate import check_word
from rankbound.errors import BackendMissing, InputError
from rankbound.experiments.collapse import DEPTH, STACKS, collapse
from rankbound.experiments.language import LAYERS, head_size, language, read_corpus
from rankbound.experiments.synthetic import (
    context,
    farthest,
    lookup,
    mixing,
    separation,
    transition,
)
from rankbound.sweeps.run import Sweep, Tick, sweep
from rankbound.sweeps.store import store_path

PRESETS = ("smoke", "laptop", "overnight")
Cells = tuple[dict[str, Any], ...]
RATES = (0.02, 0.04, 0.08)  # of language models: each arm is judged at its best


@dataclass(frozen=True)
class Experiment:
    """An experiment of the catalogue, with the cells of each preset."""

    name: str
    what: str  # it asks, in a line
    function: Callable[..., dict[str, Any]]  # of a cell's parameters; returns a dict of scalars
    measure: str  # the result that is judged
    smoke: Cells
    laptop: Cells
    overnight: Cells
    needs: tuple[str, ...] = ("torch",)  # packages besides the core
    layers: int = 1  # of its models, where a cell does not say
    reads: bool = False  # whether it learns a text
    version: str = "1"  # raised when the function changes: a store then runs its cells again


def _seeded(arms: Iterable[Mapping[str, Any]], seeds: int, **shared: Any) -> Cells:
    """Every arm with every seed, all arms of a seed before the next."""
    return tuple({**arm, **shared, "seed": seed} for seed, arm in product(range(seeds), arms))


def _layer(
    heads: int, head_size: int | None = None, value_size: int | None = None
) -> dict[str, Any]:
    """A layer that names the sizes it does not leave standard."""
    sizes = {"head_size": head_size, "value_size": value_size}
    return {"heads": heads} | {name: size for name, size in sizes.items() if size is not None}


def _context(ns: Iterable[int], seeds: int, below: int = 3) -> Cells:
    sizes = [{"n": n, "head_size": n - 1 - less} for n in ns for less in reversed(range(below))]
    return _seeded(sizes, seeds)


_MIXING = (
    *(_layer(h) for h in (1, 2, 4, 8, 16, 32)),
    *(_layer(h, 8) for h in (1, 2, 4, 8, 16)),
    *(_layer(4, k, 8) for k in (4, 5, 6, 7)),
    *({**_layer(h), "d": 64} for h in (4, 8, 16)),
)
_MIXING_SMOKE = (
    *(_layer(h) for h in (2, 4, 8, 32)),
    _layer(8, 8),
    *(_layer(4, k, 8) for k in (4, 6, 7)),
)
_SEPARATION = (
    *(_layer(h) for h in (1, 2, 4, 8, 16)),
    _layer(4, 16),
    _layer(4, 16, 4),
    _layer(4, 4, 16),
)
_FULL_OR_NOT = (*(_layer(h) for h in (1, 2, 4, 8, 16)), *(_layer(h, 16) for h in (2, 4)))
_FARTHEST = (*(_layer(h) for h in (1, 2, 4, 16)), _layer(4, 16))
_LOOKUP = tuple(_layer(h) for h in (4, 8, 16, 32))


def _arms(arm: str, *heads: int, d: int = 32) -> list[dict[str, Any]]:
    return [{"arm": arm, "heads": h, "d": d} for h in heads]


def _language(
    arms: Iterable[Mapping[str, Any]], steps: int, seeds: int, rates: Iterable[float]
) -> Cells:
    tuned = [{**arm, "rate": rate} for arm in arms for rate in rates]
    return _seeded(tuned, seeds, weight_decay=0.01, steps=steps)


def _decayed(arms: Iterable[Mapping[str, Any]], steps: int, seeds: int) -> Cells:
    """Without decay and with more of it: for the heads that result."""
    both = [{**arm, "weight_decay": decay} for arm in arms for decay in (0.0, 0.1)]
    return _seeded(both, seeds, rate=0.02, steps=steps)


def _splits(*heads: int) -> list[dict[str, Any]]:
    """Both temperatures for each number of heads, and four heads of rank 2."""
    arms = [{"arm": arm, "heads": h} for arm in ("scaled", "qk-norm") for h in heads]
    return [*arms, *({"arm": arm, "heads": 4, "rank": 2} for arm in ("rank", "rank-matched"))]


def _collapse(seeds: int) -> Cells:
    stacks = [{"arm": arm, "layers": depth} for arm in STACKS for depth in range(1, DEPTH + 1)]
    return _seeded(stacks, seeds)


def _transition(ns: Iterable[int], heads: Iterable[int], seeds: int, **shared: Any) -> Cells:
    return _seeded([{"heads": h, "n": n} for n, h in product(ns, heads)], seeds, **shared)


_FEW = (*_arms("standard", 2, 8, 32), *_arms("fixed", 8, 16), *_arms("matched", 8))
_WIDE = _arms("standard", 8, d=64)
_EVERY = (
    *_arms("standard", 1, 2, 4, 8, 16, 32),
    *_arms("fixed", 4, 8, 16),
    *_arms("matched", 8, 16),
    *_arms("standard", 8, d=48),
    *_WIDE,
)
_DECAYED = (*_arms("standard", 2, 8, 32), *_arms("fixed", 8))
_LONG = {"steps": 3000}  # a third as many, of half the size, show the same trends less deep
_SHORT = {"steps": 400, "rate": 1e-2, "batch": 128}
_COMMON, _DISTINCT = {"teacher": "common"}, {"teacher": "distinct"}

_ALL = (
    Experiment(
        "context",
        "one head, one dense context: is the cliff at head size n - 1?",
        context,
        "kl",
        smoke=_context((8,), 1),
        laptop=_context((8, 16, 32), 3),
        overnight=_context((8, 16, 32), 10, below=5),
        needs=(),
    ),
    Experiment(
        "separation",
        "a teacher of full heads with one U: do standard layers miss it, and fixed ones not?",
        separation,
        "error",
        smoke=_seeded((*map(_layer, (1, 4, 16)), _layer(4, 16)), 1, **_COMMON, **_SHORT),
        laptop=_seeded(_SEPARATION, 1, **_COMMON),
        overnight=_seeded(_SEPARATION, 3, **_COMMON),
    ),
    Experiment(
        "separation-distinct",
        "the same with four different U: too few heads and too small ones both miss it",
        separation,
        "error",
        smoke=_seeded((_layer(4), _layer(4, 16)), 1, **_DISTINCT, **_SHORT),
        laptop=_seeded(_FULL_OR_NOT, 1, **_DISTINCT),
        overnight=_seeded(_FULL_OR_NOT, 3, **_DISTINCT),
    ),
    Experiment(
        "mixing",
        "four dense contexts of eight tokens: a U over heads, and a knee at head size n - 1 = 7",
        mixing,
        "error",
        smoke=_seeded(_MIXING_SMOKE, 1, steps=1000, batch=32),
        laptop=_seeded(_MIXING, 3, **_LONG),
        overnight=_seeded(_MIXING, 3, **_LONG),
    ),
    Experiment(
        "farthest",
        "the farthest of eight points: heads need size d, whatever n is",
        farthest,
        "error",
        smoke=_seeded((_layer(16), _layer(4, 16)), 1, steps=200),
        laptop=_seeded(_FARTHEST, 1, steps=1500),
        overnight=_seeded(_FARTHEST, 3),
    ),
    Experiment(
        "lookup",
        "four pointers per token, the negative control: one-hot routing has no bottleneck",
        lookup,
        "accuracy",
        smoke=_seeded((_layer(32),), 1, steps=100),
        laptop=_seeded(_LOOKUP, 1),
        overnight=_seeded(_LOOKUP, 3),
    ),
    Experiment(
        "language",
        "a byte-level language model: more heads, fixed heads, wider layers, same parameters",
        language,
        "loss",
        smoke=_language(_FEW[::3], 60, 1, (0.02,)),
        laptop=_language((*_FEW, *_WIDE), 500, 1, RATES) + _decayed(_FEW[1:4:2], 500, 1),
        overnight=_language(_EVERY, 1500, 3, RATES) + _decayed(_DECAYED, 1500, 2),
        needs=("torch", "safetensors"),
        layers=LAYERS,
        reads=True,
    ),
    Experiment(
        "head-size",
        "language models of one initialisation: do smaller heads lose, and by their rank?",
        head_size,
        "loss",
        smoke=_language(_splits(4)[1:3], 60, 1, (0.02,)),
        laptop=_language(_splits(1, 4, 16), 500, 1, RATES),
        overnight=_language(_splits(1, 2, 4, 8, 16), 1500, 3, RATES),
        layers=LAYERS,
        reads=True,
    ),
    Experiment(
        "collapse",
        "untrained attention: do tokens become one, layer by layer, with and without skips?",
        collapse,
        "residual",
        smoke=_collapse(1),
        laptop=_collapse(3),
        overnight=_collapse(10),
        needs=(),
    ),
    Experiment(
        "transition",
        "the sum of four maxima over tokens: is it learnt from four heads on?",
        transition,
        "nmse",
        smoke=_transition((8,), (3, 4, 5), 1, steps=300),
        laptop=_transition((8, 32, 128), range(1, 6), 1),
        overnight=_transition((8, 32, 128), range(1, 6), 3, steps=4000),
    ),
)

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({one.name: one for one in _ALL})
GRIDS: Mapping[str, Mapping[str, Cells]] = MappingProxyType(
    {one.name: MappingProxyType({p: getattr(one, p) for p in PRESETS}) for one in _ALL}
)


def run_experiment(
    name: str,
    preset: str = "smoke",
    store: str | os.PathLike[str] = "experiments.sqlite",
    jobs: int = 1,
    text: str | os.PathLike[str] | None = None,
    *,
    progress: Callable[[Tick], object] | None = None,
) -> Sweep:
    """Run a preset of one experiment, resumable as any sweep is, and return its cells.

    One store serves all experiments; the trained language models are kept in a folder beside it.
    A text is what they learn, by default the standard library's own sources. Jobs and progress
    are as in :func:`rankbound.sweep`. BackendMissing if torch or safetensors is needed and missing.
    """
    experiment = EXPERIMENTS[check_word("experiment", name, tuple(EXPERIMENTS))]
    check_word("preset", preset, PRESETS)
    store_path(store)
    for package in experiment.needs:
        if find_spec(package) is None:
            raise BackendMissing(
                f"the experiment {name} needs {package}, which is not installed: "
                'pip install "rankbound[experiments]"'
            )
    cells, places = GRIDS[name][preset], None
    if experiment.reads:
        cells, places = _placed(cells, Path(store), text)
    elif text is not None:
        readers = " and ".join(one.name for one in _ALL if one.reads)
        raise InputError(
            f"a text was given to the experiment {name}; expected none: only {readers} learn one."
        )
    return sweep(
        experiment.function,
        list(cells),
        store,
        jobs,
        version=experiment.version,
        unrecorded=places,
        progress=progress,
    )


def checkpoint_folder(store: str | os.PathLike[str]) -> Path:
    """Where the trained models of a store are kept."""
    path = Path(store)
    return path.with_name(f"{path.name}.checkpoints")


def _placed(
    cells: Cells, store: Path, text: str | os.PathLike[str] | None
) -> tuple[Cells, dict[str, Any]]:
    """Cells that name their corpus, and where it and checkpoints are.

    Paths are no parameters: a cell is known by the text's hash, wherever the file is.
    """
    corpus = read_corpus(text)
    places = {
        "text": None if text is None else str(Path(text).resolve()),
        "checkpoints": str(checkpoint_folder(store).resolve()),
    }
    return tuple({**cell, "corpus": corpus.sha256} for cell in cells), places
