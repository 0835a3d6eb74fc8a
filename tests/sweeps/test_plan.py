"""Cells: what they are known by, and what no cell can be."""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict, namedtuple
from enum import Enum, IntEnum, IntFlag, StrEnum
from functools import lru_cache, partial, update_wrapper, wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.sweeps.plan import make_plan
from tests.helpers import case, refused
from tests.sweeps import functions

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def anything(**parameters: Any) -> dict[str, Any]:
    return parameters


def ids(grid: Any, **settings: Any) -> list[str]:
    return [cell.id for cell in plan(grid=grid, **settings).cells]


def test_an_id_is_the_hash_of_name_version_and_parameters() -> None:
    """Written down here apart: a changed id would orphan every store."""
    (cell,) = make_plan(functions.drawn, [{"x": 2}], "1", 0).cells
    text = json.dumps(["drawn", "1", '{"x":2}'], separators=(",", ":"))
    assert cell.id == hashlib.sha256(text.encode()).hexdigest()[:32]
    derived = hashlib.sha256(f"0:{cell.id}".encode()).digest()[:8]
    assert cell.seed == int.from_bytes(derived, "big") >> 1


@given(st.dictionaries(st.text(min_size=1), PLAIN, min_size=1, max_size=4))
def test_the_order_of_parameters_does_not_matter(parameters: dict[str, Any]) -> None:
    backwards = dict(reversed(parameters.items()))
    assert ids([parameters]) == ids([backwards])
    assert ids([parameters]) != ids([parameters], version="2")
    assert ids([parameters]) == ids([parameters], seed=1)
    (cell,) = make_plan(anything, [parameters], "1", 0).cells
    assert cell.arguments() == parameters
    assert cell.arguments() is not cell.arguments()


def test_distinct_parameters_have_distinct_ids() -> None:
    values = [0, False, 0.0, -0.0, "0", None, [], [0], [[0]], {}, {"0": 0}, 1e300, 10**300]
    assert len(set(ids({"x": values}))) == len(values)


def test_numpy_values_and_tuples_count_as_what_json_reads_back() -> None:
    numpy = [np.int64(3), np.float32(0.5), np.True_, np.str_("w"), np.longdouble(0.25)]
    assert ids({"x": numpy}) == ids({"x": [3, 0.5, True, "w", 0.25]})
    assert ids({"x": np.arange(3)}) == ids({"x": range(3)}) == ids({"x": (0, 1, 2)})
    assert ids({"x": [(1, (2, 3))]}) == ids({"x": [[1, [2, 3]]]})


class Colour(str, Enum):  # noqa: UP042 - its str is not its word, as that of a StrEnum is
    RED = "red"


class Shape(StrEnum):
    ROUND = "round"


class Size(IntEnum):
    BIG = 3


class Flag(IntFlag):
    UP = 4


class Liar(float):
    def __float__(self) -> float:
        return 99.0


class Count(int):
    def __int__(self) -> int:
        return 99

    __index__ = __int__

    def __repr__(self) -> str:
        return "a lie"


class Odd(str):
    """A key of its own beside the same word."""

    def __hash__(self) -> int:
        return 7


class Half(np.float64):
    def item(self, *place: Any) -> float:
        return 99.0


Pair = namedtuple("Pair", "left right")
HELD: list[tuple[Any, Any]] = [
    (Colour.RED, "red"),
    (Shape.ROUND, "round"),
    (Size.BIG, 3),
    (Flag.UP, 4),
    (functions.Word("so"), "so"),
    (Count(3), 3),
    (Liar(0.5), 0.5),
    (Half(0.5), 0.5),
    (np.float64(0.5), 0.5),
    (np.bool_(True), True),
    (np.str_("w"), "w"),
    (Pair(Colour.RED, Size.BIG), ["red", 3]),
    (OrderedDict({Colour.RED: Shape.ROUND}), {"red": "round"}),
]


@pytest.mark.parametrize(("value", "holds"), HELD, ids=[type(v).__name__ for v, _ in HELD])
def test_of_a_subclass_arrives_what_the_type_of_json_holds(
    value: Any, holds: Any, tmp_path: Path
) -> None:
    """In the first run as in one that reads the store, as a parameter and as a result."""
    grid = {"x": [value, [value]]}
    done = rb.sweep(functions.kinds, grid, tmp_path / "s.sqlite")
    expected = [f"{type(v).__name__} {v!r}" for v in (holds, [holds])]
    assert [cell.result for cell in done.cells] == [{"x came as": text} for text in expected]
    again = rb.sweep(functions.kinds, {"x": [holds, [holds]]}, tmp_path / "s.sqlite")
    assert [cell.attempts for cell in again.cells] == [1, 1]
    if not isinstance(holds, (list, dict)):

        def given(y: int, held: Any = value) -> dict[str, Any]:
            return {"x": held}

        (cell,) = rb.sweep(given, {"y": [1]}, tmp_path / "t.sqlite").cells
        assert cell.result == {"x": holds}
        assert type(cell.result["x"]) is type(holds)


def test_names_and_versions_are_words_too(tmp_path: Path) -> None:
    done = rb.sweep(functions.kinds, {Colour.RED: [1]}, tmp_path / "s.sqlite", version=Shape.ROUND)
    assert done.names == ("red",)
    assert type(done.names[0]) is str
    assert done.rows()[0]["red"] == 1
    assert (done.cells[0].version, done.cells[0].parameters) == ("round", {"red": 1})


def test_a_product_runs_in_the_order_of_its_lists() -> None:
    made = make_plan(anything, {"b": [2, 1], "a": ["u", "v"]}, "1", 0)
    assert made.names == ("b", "a")
    pairs = [(cell.arguments()["b"], cell.arguments()["a"]) for cell in made.cells]
    assert pairs == [(2, "u"), (2, "v"), (1, "u"), (1, "v")]


def test_seeds() -> None:
    """Derived for functions that take one; the same in any grid; the grid's own goes before."""
    (alone,) = make_plan(functions.drawn, {"x": [3]}, "1", 5).cells
    among = make_plan(functions.drawn, {"x": [4, 3, 2]}, "1", 5).cells
    other = make_plan(functions.drawn, {"x": [4, 3, 2]}, "1", 6).cells
    assert alone.seed == among[1].seed is not None
    assert len({cell.seed for cell in (*among, *other)}) == 6
    assert all(0 <= cell.seed < 2**63 for cell in among if cell.seed is not None)
    assert alone.arguments() == {"x": 3, "seed": alone.seed}
    (own,) = make_plan(functions.drawn, {"x": [3], "seed": [11]}, "1", 5).cells
    assert own.seed is None
    assert own.arguments() == {"x": 3, "seed": 11}
    assert make_plan(functions.sleeper, {"seconds": [3]}, "1", 0).cells[0].seed is None
    assert make_plan(anything, {"x": [3]}, "1", 0).cells[0].seed is None  # **parameters takes all


class Callable:
    def __call__(self, x: int) -> dict[str, Any]:
        return {}

    def method(self, x: int) -> dict[str, Any]:
        return {}

    @classmethod
    def of_class(cls, x: int) -> dict[str, Any]:
        return {}

    @staticmethod
    def static(x: int) -> dict[str, Any]:
        return {}


class Heir(Callable):
    pass


def closure(value: Any) -> Any:
    def function(x: int) -> dict[str, Any]:
        return {"y": value}

    return function


def through(value: Any) -> Any:
    def helper() -> Any:
        return value

    def function(x: int) -> dict[str, Any]:
        return {"y": helper()}

    return function


def decorated(times: Any) -> Any:
    def decorate(function: Any) -> Any:
        @wraps(function)
        def wrapper(**parameters: Any) -> Any:
            return function(**parameters)

        @wraps(function)
        def repeated(**parameters: Any) -> Any:
            return [function(**parameters) for _ in range(times or 1)][-1]

        return wrapper if times is None else repeated

    return decorate(anything)


def clean() -> Any:
    """Code alone: it calls itself, a neighbour and a class of its scope."""

    class Scale:
        factor = 2

    def double(x: int) -> int:
        return Scale.factor * x

    def function(x: int) -> dict[str, Any]:
        return {"y": double(x) if x else function(1)["y"]}

    return function


@pytest.mark.parametrize(
    "function",
    [anything, clean(), decorated(None), Callable.of_class, Callable.static, Heir.static, dict],
    ids=["def", "scope", "decorated", "classmethod", "staticmethod", "inherited", "class"],
)
def test_a_function_of_code_alone(function: Any) -> None:
    assert plan(function).function == function.__qualname__


def test_a_neighbour_goes_to_the_workers_with_its_function(tmp_path: Path) -> None:
    done = rb.sweep(clean(), {"x": [0, 1, 2]}, tmp_path / "s.sqlite", jobs=2)
    assert [cell.result for cell in done.cells] == [{"y": 2}, {"y": 2}, {"y": 4}]


def plan(function: Any = anything, grid: Any = None, **settings: Any) -> Any:
    grid = [{"x": 1}] if grid is None else grid
    chosen: dict[str, Any] = {"version": "1", "seed": 0} | settings
    return make_plan(function, grid, **chosen)


def named_partial(**parameters: Any) -> Any:
    return update_wrapper(partial(anything, **parameters), anything)


HOLDS = ("expected one that holds nothing but its code", "Make it", "unrecorded=")
SEED = {"seed": 1}
LOOP: list[Any] = []
LOOP.append(LOOP)
FIT = ("does not fit drawn(", "unexpected keyword argument 'z'")
VALUE, TYPE = rb.InputError, rb.InputTypeError


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        case("set", TYPE, ("x in cell 0 is of type set", "JSON"), plan, grid={"x": [{1}]}),
        case("array", TYPE, ("of type ndarray", "a path"), plan, grid={"x": [np.eye(2)]}),
        case("object", TYPE, ("of type object",), plan, grid={"x": [[object()]]}),
        case("bytes", TYPE, ("of type bytes",), plan, grid={"x": [b"a"]}),
        case("complex", TYPE, ("of type complex",), plan, grid={"x": [1j]}),
        case("NumPy complex", TYPE, ("of type complex",), plan, grid={"x": [np.complex64(1)]}),
        case("function", TYPE, ("of type function",), plan, grid={"x": [plan]}),
        case("integer keys", TYPE, ("in cell 0 has the key 1", "word"), plan, grid={"x": [{1: 2}]}),
        case("nan", VALUE, ("x in cell 1 is nan", "finite"), plan, grid={"x": [1, math.nan]}),
        case("nan inside", VALUE, ("is nan", "None"), plan, grid=[{"x": [[math.nan]]}]),
        case("NumPy nan", VALUE, ("is nan",), plan, grid={"x": np.array([np.nan])}),
        case("infinity", VALUE, ("is -inf",), plan, grid={"x": [-math.inf]}),
        case("a list in itself", VALUE, ("50 deep",), plan, grid={"x": [LOOP]}),
        case("digits", VALUE, ("cell 0 has no JSON",), plan, grid={"x": [10**5000]}),
        case("no cells", VALUE, ("grid is empty",), plan, grid={}),
        case("no list", VALUE, ("grid is empty",), plan, grid=[]),
        case("an empty axis", VALUE, ("grid is empty",), plan, grid={"x": [], "y": [1]}),
        case("a word", TYPE, ("grid['x'] is of type str",), plan, grid={"x": "abc"}),
        case("a number", TYPE, ("grid['x'] is of type int", "list"), plan, grid={"x": 1}),
        case("a set of values", TYPE, ("grid['x'] is of type set",), plan, grid={"x": {1, 2}}),
        case("a matrix", TYPE, ("grid['x'] is of type ndarray",), plan, grid={"x": np.eye(2)}),
        case("a grid of words", TYPE, ("of type str",), plan, grid="abc"),
        case("a grid of numbers", TYPE, ("grid[1] is 3",), plan, grid=[{"x": 1}, 3]),
        case("an integer name", TYPE, ("the grid has the key 1", "word"), plan, grid={1: [1]}),
        case("twice", VALUE, ('{"x":1}', "replicate"), plan, grid={"x": [1, 2, 1]}),
        case("twice in JSON", VALUE, ("cell 1",), plan, grid={"x": [[1], (1,)]}),
        case("a column", VALUE, ("cell_id", "another name"), plan, grid={"cell_id": [1]}),
        case("no such parameter", VALUE, FIT, plan, functions.drawn, {"x": [1], "z": [1]}),
        case("one too few", VALUE, ("missing", "'seconds'"), plan, functions.sleeper, [{}]),
        case("no function", TYPE, ("function is 3",), plan, 3),
        case("a partial", TYPE, ("type partial", "def"), plan, partial(anything, y=1)),
        case("a named partial", TYPE, ("type partial",), plan, named_partial(y=1)),
        case("a cache", TYPE, ("type _lru_cache_wrapper",), plan, lru_cache(anything)),
        case("a callable", TYPE, ("type Callable",), plan, Callable()),
        case("a method", VALUE, (*HOLDS, "bound to, of type Callable"), plan, Callable().method),
        case("an heir's", VALUE, ("bound to, of type type",), plan, Heir.of_class),
        case("a list's", VALUE, ("append holds", "of type list"), plan, [].append),
        case("a closure", VALUE, (*HOLDS, "value, of type int"), plan, closure(3)),
        case("over None", VALUE, ("value, of type NoneType",), plan, closure(None)),
        case("over code", VALUE, ("value, of type function",), plan, closure(anything)),
        case("over a module", VALUE, ("value, of type module",), plan, closure(math)),
        case("over a class", VALUE, ("value, of type type",), plan, closure(Heir)),
        case("through", VALUE, ("helper, which holds value, of type int",), plan, through(3)),
        case("a decorator's", VALUE, ("times, of type int",), plan, decorated(3)),
        case("its call", VALUE, ("times, of type function",), plan, decorated(named_partial)),
        case(
            "told a seed", VALUE, ("values for", "'seed'"), plan, functions.drawn, unrecorded=SEED
        ),
        case("half a version", VALUE, ("version is '\\ud800'",), plan, version="\ud800"),
        case("twice a name", VALUE, ("'red' twice",), plan, grid=[{"red": 1, Odd("red"): 2}]),
        case("a date", TYPE, ("of type datetime64",), plan, grid={"x": [np.datetime64(3, "ns")]}),
        case("half told", VALUE, ("unrecorded names x",), plan, unrecorded={"x": 1}),
        case("told too much", VALUE, FIT, plan, functions.drawn, unrecorded={"z": 1}),
        case("a lambda", VALUE, ("is a lambda", "def"), plan, lambda x: {"y": x}),
        case("version 2", TYPE, ("version is 2",), plan, version=2),
        case("no version", TYPE, ("version is ''",), plan, version=""),
        case("seed", VALUE, ("seed is -1",), plan, seed=-1),
        case("no seed", TYPE, ("seed is None",), plan, seed=None),
    ],
)
def test_refused(call: Any, error: type[Exception], parts: tuple[str, ...]) -> None:
    with refused(error, *parts):
        call()


def run(tmp_path: Path, **settings: Any) -> Any:
    return rb.sweep(functions.twice, {"x": [1]}, tmp_path / "s.sqlite", **settings)


@pytest.mark.parametrize(
    ("settings", "error", "part"),
    [
        ({"jobs": 0}, VALUE, "jobs is 0; expected at least 1"),
        ({"jobs": 1.5}, TYPE, "jobs is 1.5"),
        ({"retries": -1}, VALUE, "retries is -1"),
        ({"time_limit": 0}, VALUE, "time_limit is 0.0; expected a number above 0"),
        ({"time_limit": -1.0}, VALUE, "time_limit is -1.0"),
        ({"time_limit": math.nan}, VALUE, "time_limit is nan"),
        ({"time_limit": math.inf}, VALUE, "time_limit is inf"),
        ({"time_limit": "1"}, TYPE, "time_limit is '1'"),
        ({"time_limit": 10**400}, VALUE, "time_limit is"),
        ({"unrecorded": 3}, TYPE, "unrecorded is 3"),
        ({"unrecorded": {3: 1}}, TYPE, "unrecorded has the key 3"),
    ],
)
def test_settings_refused(
    settings: dict[str, Any], error: type[Exception], part: str, tmp_path: Path
) -> None:
    with refused(error, part):
        run(tmp_path, **settings)
    assert not list(tmp_path.iterdir())  # nothing was made


@pytest.mark.parametrize("limit", [1e10, 1e308])
def test_a_time_limit_longer_than_any_clock(limit: float, tmp_path: Path) -> None:
    assert not run(tmp_path, time_limit=limit).failed
