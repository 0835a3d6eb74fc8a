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
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
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


def make_plan(
    function: Function,
    grid: Grid,
    version: str,
    seed: int,
    unrecorded: Mapping[str, Any] | None = None,
) -> Plan:
    """Return the cells of a grid, distinct, each one a call that the function accepts.

    The seed of a cell is derived from ``seed`` and its id, so it depends neither on the order of
    the grid nor on what else is in it.
    """
    name = _function_name(function)
    unrecorded = unrecorded or {}
    if not isinstance(version, str) or not version:
        raise InputTypeError(f'version is {version!r}; expected a word such as "1".')
    version = str.__str__(version)
    for what, word in (("version", version), ("the function's name", name)):
        if word != word.encode("utf-8", "replace").decode("utf-8"):
            raise InputError(
                f"{what} is {word!r}, which has half a surrogate pair; expected a word that UTF-8 "
                "has: it is a column of the store. Choose another."
            )
    seed = check_int("seed", seed, least=0, why="seeds of cells are derived from it")
    signature = _signature(function)
    cells: dict[str, Cell] = {}
    names: dict[str, None] = {}
    for place, parameters in enumerate(_points(grid)):
        plain = {key: _plain(f"{key} in cell {place}", v) for key, v in parameters.items()}
        seeded = signature is not None and _takes_seed(signature) and "seed" not in plain
        _check_call(name, signature, plain, unrecorded, seeded)
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
    if not isinstance(name, str) or not isinstance(function, _KINDS):
        raise InputTypeError(
            f"function is {function!r}, an object of type {type(function).__name__}; expected a "
            "function made by def: a cell is known by the function's name and its parameters, and "
            "what an object holds is in neither. Call it in such a function."
        )
    if name.rpartition(".")[2] == "<lambda>":
        raise InputError(
            "function is a lambda; expected a function made by def: a cell is known by the "
            "function's name, and all lambdas bear the same."
        )
    held = _held(function, name, set())
    if held is not None:
        raise InputError(
            f"function {name} holds {held}; expected one that holds nothing but its code: a cell "
            "is known by the function's name and its parameters, and this is in neither. Make it "
            "inside the function, or a parameter, or, if no result depends on it, give it by "
            "unrecorded=."
        )
    return name


_KINDS = (type, FunctionType, MethodType, BuiltinFunctionType)


def _held(function: Any, name: str, seen: set[int]) -> str | None:
    """What a function holds besides its code, in words; None if there is nothing.

    Code is itself, what it decorates, and what is made by def or class in the scope around it, as
    long as these hold nothing. Defaults are code, too, and so is what the module holds.
    """
    if id(function) in seen or isinstance(function, type):
        return None
    seen.add(id(function))
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type) and name == f"{owner.__qualname__}.{function.__name__}":
        owner = None  # a classmethod, of the class that its name names
    if owner is not None and not isinstance(owner, ModuleType):
        return f"the object it is bound to, of type {type(owner).__name__}"
    function = getattr(function, "__func__", function)
    scope = name.rpartition(".")[0]
    if not isinstance(function, FunctionType):  # in C: no scope is around it
        return None
    for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # not bound yet
            continue
        if not isinstance(value, (type, FunctionType)) or not (
            free == "__class__"  # of a method that calls super()
            or value.__qualname__ == name
            or ("<locals>" in scope and value.__qualname__.rpartition(".")[0] == scope)
        ):
            return f"{free}, of type {type(value).__name__}, from the scope around it"
        held = _held(value, value.__qualname__, seen)
        if held is not None:
            return f"{free}, which holds {held}"
    return None


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
    name: str,
    signature: inspect.Signature | None,
    parameters: dict[str, Any],
    unrecorded: Mapping[str, Any],
    seeded: bool,
) -> None:
    both = sorted(parameters.keys() & unrecorded.keys())
    if both:
        raise InputError(
            f"unrecorded names {both[0]}, as the grid does; expected it in one of them. Keep it in "
            "the grid if results depend on it."
        )
    reserved = sorted(parameters.keys() & set(COLUMNS))
    if reserved:
        raise InputError(
            f"the grid names {reserved[0]}, a column of the results that says how the cell went; "
            "expected another name."
        )
    if signature is None:
        return
    try:
        signature.bind(**parameters, **unrecorded, **({"seed": 0} if seeded else {}))
    except TypeError as error:
        raise InputError(
            f"the grid does not fit {name}{signature}: {error}; expected its parameters by name."
        ) from None


def _points(grid: Grid) -> list[dict[str, Any]]:
    """The cells' parameters: the product of a dict of lists, or a list of dicts as it stands."""
    if isinstance(grid, Mapping):
        grid = keyed("the grid", grid)
        axes = [_axis(name, values) for name, values in grid.items()]
        points = [dict(zip(grid, point, strict=True)) for point in product(*axes)] if axes else []
    elif isinstance(grid, Sequence) and not isinstance(grid, (str, bytes)):
        for place, point in enumerate(grid):
            if not isinstance(point, Mapping):
                raise InputTypeError(f"grid[{place}] is {point!r}; expected a dict of parameters.")
        points = [keyed(f"grid[{place}]", point) for place, point in enumerate(grid)]
    else:
        raise InputTypeError(
            f"grid is of type {type(grid).__name__}; expected a dict of lists, whose product is "
            "run, or a list of dicts, one per cell."
        )
    if not points:
        raise InputError("the grid is empty; expected at least one cell.")
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

    A NumPy scalar becomes a number, a tuple a list, and a value of a subclass of these types what
    the type itself holds, so a member of a StrEnum its word and a namedtuple a list: also in the
    first run, so that a resumed one calls the function with the same.
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
    if isinstance(value, Mapping):
        return {k: _plain(where, v, depth + 1) for k, v in keyed(where, value).items()}
    raise InputTypeError(
        f"{where} is of type {type(value).__name__}; expected numbers, words, None, and lists or "
        "dicts (keyed by words) of them: a cell is known by the JSON of its parameters. Pass a "
        "name or a path, and make the object in the function."
    )


def plain_scalar(value: Any) -> tuple[bool, Any]:
    """Whether a value is a scalar that JSON has, and if so as Python's own, also if it is NumPy's.

    None, a truth value, a number or a word. Of a subclass of these it is what the type itself
    holds, read by the type's own method: what the subclass says of itself (the str of a member of
    an Enum is its name) is not asked.
    """
    if isinstance(value, np.generic) and value.dtype.kind not in "mM":  # dates: some are ints
        value = float(value) if isinstance(value, np.longdouble) else np.generic.item(value)
    if value is None or isinstance(value, bool):
        return True, value
    if isinstance(value, int):
        return True, int.__int__(value)
    if isinstance(value, float):
        return True, float.__float__(value)
    if isinstance(value, str):
        return True, str.__str__(value)
    return False, value


def keyed(where: str, value: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a mapping as a dict whose keys are plain words."""
    plain: dict[str, Any] = {}
    for key, entry in value.items():
        if not isinstance(key, str):
            raise InputTypeError(
                f"{where} has the key {key!r}; expected a word: JSON has no other keys. Name it."
            )
        word = str.__str__(key)
        if word in plain:  # an Enum's members differ from their words, as keys
            raise InputError(f"{where} has the key {word!r} twice; expected distinct words.")
        plain[word] = entry
    return plain
