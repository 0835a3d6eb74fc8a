"""Run an experiment's preset through a sweep."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rankbound.errors import BackendMissing, InputError
from rankbound.experiments.catalogue import EXPERIMENTS, GRIDS, PRESETS, Cells
from rankbound.experiments.language import read_corpus
from rankbound.experiments.layers import check_word
from rankbound.sweeps.run import Sweep, Tick, sweep
from rankbound.sweeps.store import store_path


def run_experiment(
    name: str,
    preset: str = "smoke",
    store: str | os.PathLike[str] = "experiments.sqlite",
    jobs: int = 1,
    text: str | os.PathLike[str] | None = None,
    *,
    progress: Callable[[Tick], object] | None = None,
) -> Sweep:
    """Run one experiment and return the preset's cells; resumable, as any sweep is.

    Parameters
    ----------
    name : str
        An experiment of the catalogue.
    preset : {"smoke", "laptop", "overnight"}
    store : path
        One store for all experiments. The trained language models are kept in a folder beside it.
    jobs : int
        Worker processes.
    text : path, optional
        What the language model learns; the standard library's own sources by default.
    progress : callable, optional
        As in :func:`rankbound.sweep`.

    Raises
    ------
    BackendMissing
        If torch or safetensors is needed and missing; the message has the install line.
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
    cells = GRIDS[name][preset]
    function = experiment.function
    if name == "language":
        cells, function = _language(cells, function, Path(store), text)
    elif text is not None:
        raise InputError(
            f"a text was given to the experiment {name}; expected none: only language learns one."
        )
    return sweep(function, list(cells), store, jobs, version=experiment.version, progress=progress)


def checkpoint_folder(store: str | os.PathLike[str]) -> Path:
    """Where the trained models of a store are kept."""
    path = Path(store)
    return path.with_name(f"{path.name}.checkpoints")


def _language(
    cells: Cells, function: Callable[..., Any], store: Path, text: str | os.PathLike[str] | None
) -> tuple[Cells, Callable[..., Any]]:
    """Cells that name their corpus, and a function that knows where it and checkpoints are."""
    corpus = read_corpus(text)
    told = {
        "text": None if text is None else str(Path(text).resolve()),
        "checkpoints": str(checkpoint_folder(store).resolve()),
    }

    # Paths are no parameters: a cell is known by the text's hash, wherever the file is. The name
    # of the function, by which the sweep knows it, stays.
    @functools.wraps(function)
    def placed(**cell: Any) -> Any:
        return function(**cell, **told)

    return tuple({**cell, "corpus": corpus.sha256} for cell in cells), placed
