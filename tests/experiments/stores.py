"""Stores of experiments that were never run: functions of the same names, with invented values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import rankbound as rb
from rankbound.experiments.catalogue import EXPERIMENTS, GRIDS
from rankbound.experiments.language import arm_sizes, split_shapes
from rankbound.experiments.layers import layer_sizes

Cell = dict[str, Any]
Value = Callable[[Cell], float]
WIDTH = {
    "mixing": 32, "separation": 16, "separation-distinct": 16, "farthest": 16, "lookup": 64,
    "head-size": 32, "collapse": 32, "transition": 4,
}  # fmt: skip
TEXT = "a" * 64  # stands for a hash


class Broken(RuntimeError):
    """What a cell that should fail raises."""


def ones(cell: Cell) -> float:
    return 1.0


def sizes_of(name: str, cell: Cell) -> dict[str, int]:
    """What the function says of its layers."""
    if name == "context":
        return {}
    if name == "language":
        sizes, ffn = arm_sizes(cell["arm"], cell["d"], cell["heads"])
        return {"d_k": sizes.d_k, "d_v": sizes.d_v, "parameters": 2 * ffn * sizes.d + 7}
    d = cell.get("d", WIDTH[name])
    if name == "head-size":
        whole = layer_sizes(d, cell["heads"])
        _, shape = split_shapes(cell["arm"], d, cell["heads"], cell.get("rank", whole.d_k))
        sizes = shape.sizes
        return {"d_k": sizes.d_k, "d_v": sizes.d_v, "parameters": 2 * shape.ffn * d + 7}
    if name == "collapse":
        return {"d_k": 8, "d_v": 8, "parameters": 9 * cell["layers"]}
    if name == "transition":
        return {"d_k": 2, "d_v": 2, "parameters": 7 + cell["heads"]}
    return layer_sizes(d, cell["heads"], cell.get("head_size"), cell.get("value_size")).facts()


def stand_in(name: str, value: Value = ones, torch: str = "0.0") -> Callable[..., dict[str, Any]]:
    """A function that is known by the experiment's name and trains nothing."""
    experiment, given = EXPERIMENTS[name], (name, value, torch)

    @functools.wraps(experiment.function)
    def placed(*, experiment: Any = experiment, given: Any = given, **cell: Any) -> dict[str, Any]:
        name, value, torch = given
        told = {"torch": torch} if "torch" in experiment.needs else {}
        cell = {key: value for key, value in cell.items() if key not in ("text", "checkpoints")}
        return {experiment.measure: value(cell), **sizes_of(name, cell), **told}

    return placed


def cells_of(name: str, preset: str, corpus: str = TEXT) -> list[Cell]:
    more = {"corpus": corpus} if EXPERIMENTS[name].reads else {}
    return [{**cell, **more} for cell in GRIDS[name][preset]]


def fill(
    path: Path,
    preset: str = "smoke",
    values: Mapping[str, Value] | None = None,
    only: Iterable[str] = EXPERIMENTS,
    corpus: str = TEXT,
) -> Path:
    """Write a store of a preset; values are 1 where none are given."""
    for name in only:
        function = stand_in(name, (values or {}).get(name, ones))
        cells = cells_of(name, preset, corpus)
        rb.sweep(function, cells, path, version=EXPERIMENTS[name].version)
    return path


def broken(cell: Cell) -> float:
    raise Broken("nothing to train")
