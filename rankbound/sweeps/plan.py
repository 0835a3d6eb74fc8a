"""What a sweep is to compute: cells that never change, each with an id and a seed.

Pure data: nothing here runs a cell or opens a file.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import Any

import numpy as np

from rankbound._validate import check_int
from rankbound.errors import InputError, InputTypeError

Function = Callable[..., Mapping[str, Any]]
Grid = Mapping[str, Iterable[Any]] | Sequence[Mapping[str, Any]]

# what a table says of a cell beside its parameters and its result
COLUMNS = ("cell_status", "cell_error", "cell_seed", "cell_attempts", "cell_wall_time", "cell_id")


@dataclass(frozen=True)
class Cell:
    """One call to make.

    Its id is a hash of the function's ``__qualname__``, the version and the parameters; the module
    is left out, as it is ``__main__`` for a script.
    """

    id: str
    parameters: str  # canonical JSON
    seed: int | None  # None where the function takes none or the grid names its own

    def arguments(self) -> dict[str, Any]:
        """The keywords of the call, fresh each time: no call sees what another did to them."""
        keywords: dict[str, Any] = json.loads(self.parameters)
        return keywords if self.seed is None else {**keywords, "seed": self.seed}


@dataclass(frozen=True)
class Plan:
    """The cells of one function at one version, in the order of the grid."""

    function: str  # its __qualname__
    version: str  # raised by the user when the function changes
    names: tuple[str, ...]  # of the parameters, in the order in which the grid names them
    cells: tuple[Cell, ...]


def make_plan(function: Function, grid: Grid, version: str, seed: int) -> Plan:
    """Return the cells of a grid, distinct, each one a call that the function accepts.

    The seed of a cell is derived from ``seed`` and its id, so it depends neither on the order of
    the grid nor on what else is in it.
    """
    name = _function_name(function)
    if not isinstance(version, str) or not version:
        raise InputTypeError(f'version is {version!r}; expected a word such as "1".')
    seed = check_int("seed", seed, least=0, why="seeds of cells are derived from it")
    signature = _signature(function)
    cells: dict[str, Cell] = {}
    names: dict[str, None] = {}
    for place, parameters in enumerate(_points(grid)):
        plain = {key: _plain(f"{key} in cell {place}", v) for key, v in parameters.items()}
        seeded = signature is not None and _takes_seed(signature) and "seed" not in plain
        _check_call(name, signature, plain, seeded)
        text = canonical(plain, f"cell {place}")
        key = sha256(canonical([name, version, text]).encode()).hexdigest()[:32]
        if key in cells:
            raise InputError(
                f"cell {place} has the parameters {text}, which an earlier cell has; expected "
                'distinct cells. To repeat one, add a parameter such as "replicate": [0, 1, 2].'
            )
        cells[key] = Cell(key, text, _derived(seed, key) if seeded else None)
        names.update(dict.fromkeys(plain))
    return Plan(name, version, tuple(names), tuple(cells.values()))


def canonical(value: Any, what: str = "value") -> str:
    """Return the one JSON spelling of plain data: keys sorted, no white space, ASCII."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:  # an integer of more digits than Python prints
        raise InputError(f"{what} has no JSON: {error}.") from None


def _derived(seed: int, key: str) -> int:
    """63 bits, which every store and random generator takes, and 1e6 cells keep distinct."""
    return int.from_bytes(sha256(f"{seed}:{key}".encode()).digest()[:8]) >> 1


def _function_name(function: Any) -> str:
    if not callable(function):
        raise InputTypeError(f"function is {function!r}; expected a function of the parameters.")
    name = getattr(function, "__qualname__", None)
    if not isinstance(name, str):
        raise InputTypeError(
            f"function is {function!r}, which has no __qualname__; expected a function made by "
            "def: a cell is known by the function's name, and what an object holds is not in it."
        )
    if name.rpartition(".")[2] == "<lambda>":
        raise InputError(
            "function is a lambda; expected a function made by def: a cell is known by the "
            "function's name, and all lambdas bear the same."
        )
    return name


def _signature(function: Function) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some functions in C have none: the calls will tell
        return None


def _takes_seed(signature: inspect.Signature) -> bool:
    parameter = signature.parameters.get("seed")
    return parameter is not None and parameter.kind in (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )


def _check_call(
    name: str, signature: inspect.Signature | None, parameters: dict[str, Any], seeded: bool
) -> None:
    reserved = sorted(parameters.keys() & set(COLUMNS))
    if reserved:
        raise InputError(
            f"the grid names {reserved[0]}, a column of the results that says how the cell went; "
            "expected another name."
        )
    if signature is None:
        return
    try:
        signature.bind(**parameters, **({"seed": 0} if seeded else {}))
    except TypeError as error:
        raise InputError(
            f"the grid does not fit {name}{signature}: {error}; expected its parameters by name."
        ) from None


def _points(grid: Grid) -> list[dict[str, Any]]:
    """The cells' parameters: the product of a dict of lists, or a list of dicts as it stands."""
    if isinstance(grid, Mapping):
        axes = [_axis(name, values) for name, values in grid.items()]
        points = [dict(zip(grid, point, strict=True)) for point in product(*axes)] if axes else []
    elif isinstance(grid, Sequence) and not isinstance(grid, (str, bytes)):
        for place, point in enumerate(grid):
            if not isinstance(point, Mapping):
                raise InputTypeError(f"grid[{place}] is {point!r}; expected a dict of parameters.")
        points = [dict(point) for point in grid]
    else:
        raise InputTypeError(
            f"grid is of type {type(grid).__name__}; expected a dict of lists, whose product is "
            "run, or a list of dicts, one per cell."
        )
    if not points:
        raise InputError("the grid is empty; expected at least one cell.")
    for name in {key: None for point in points for key in point}:
        if not isinstance(name, str):
            raise InputTypeError(f"the grid has the key {name!r}; expected a parameter's name.")
    return points


def _axis(name: Any, values: Any) -> list[Any]:
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return list(values)
    if not isinstance(values, (list, tuple, range)):
        raise InputTypeError(
            f"grid[{name!r}] is of type {type(values).__name__}; expected a list of the values to "
            "run, also where there is one."
        )
    return list(values)


def _plain(where: str, value: Any, depth: int = 0) -> Any:
    """Return `value` as what JSON reads back: None, bool, int, float, str, list, dict.

    A tuple becomes a list and a NumPy scalar a number: also in the first run, so that a resumed
    one calls the function with the same.
    """
    if depth > 50:
        raise InputError(f"{where} is nested more than 50 deep; expected parameters, not data.")
    scalar, value = plain_scalar(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(
            f"{where} is {value}; expected a finite number: JSON, by which a cell is known, has no "
            "other. Pass None or a word for it."
        )
    if scalar:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(where, entry, depth + 1) for entry in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str(key): _plain(where, entry, depth + 1) for key, entry in value.items()}
    raise InputTypeError(
        f"{where} is of type {type(value).__name__}; expected numbers, words, None, and lists or "
        "dicts (keyed by words) of them: a cell is known by the JSON of its parameters. Pass a "
        "name or a path, and make the object in the function."
    )


def plain_scalar(value: Any) -> tuple[bool, Any]:
    """Whether a value is a scalar that JSON has, and if so as Python's own, also if it is NumPy's.

    None, a truth value, a number or a word; of a subclass of these, the value without the class.
    """
    if isinstance(value, np.generic):
        value = float(value) if isinstance(value, np.longdouble) else value.item()
    if value is None or isinstance(value, bool):
        return True, value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return True, kind(value)
    return False, value
