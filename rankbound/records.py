"""Records: what functions find. Short in a prompt, a table in a notebook, whole in JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from fractions import Fraction
from functools import cache
from types import MappingProxyType, UnionType
from typing import Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

import numpy as np

from rankbound._validate import shown
from rankbound.errors import InputError, InputTypeError
from rankbound.table import Column, Table

LONGEST = 399  # characters of a repr
FEW = 6  # entries of an array that are shown one by one
UNWRITTEN = MappingProxyType({"written": False})  # metadata of a field that JSON leaves out


class Record:
    """A frozen dataclass that is shown, tabulated and written in one way.

    A subclass is declared with ``repr=False`` and says in `formula`, in LaTeX, what it states, with
    its fields in braces. A field with ``metadata={"codec": (to plain data, from it)}`` is written
    and read by these.
    """

    formula: ClassVar[str] = ""

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={short(value)}" for name, value in _shown(self))
        return _cut(f"{type(self).__name__}({said})", LONGEST)

    def table(self) -> Table:
        """Return the record as a table: by default a row per field."""
        columns = [Column("name", ""), Column("value", "", align="left")]
        return Table(columns, [(name, short(value)) for name, value in _shown(self)])

    def to_frame(self) -> Any:
        """Return a pandas DataFrame of the table; BackendMissing if pandas is not installed."""
        return self.table().to_frame()

    def to_markdown(self) -> str:
        """Return the table in Markdown."""
        return self.table().to_markdown()

    def latex(self) -> str:
        """What the record states, in LaTeX without dollars; empty if it states nothing."""
        if not self.formula:
            return ""
        values = {name: _in_latex(value) for name, value in _shown(self)}
        return self.formula % values

    def _repr_html_(self) -> str:
        above = f"<p>${_escaped(self.latex())}$</p>\n" if self.latex() else ""
        return above + self.table().to_html()

    def to_json(self) -> str:
        """Return the record as a JSON object, which :meth:`from_json` reads back."""
        return json.dumps(plain(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the record that :meth:`to_json` wrote.

        Raises
        ------
        InputError
            If the text is no JSON, or not that of such a record.
        """
        record: Self = restored(cls, parsed(text))
        return record

    @classmethod
    def _of(cls, values: dict[str, Any]) -> Self:
        """The record with these fields; for a constructor that takes something else."""
        return cls(**values)


def _shown(record: Any) -> list[tuple[str, Any]]:
    found = [f for f in fields(record) if f.repr and f.metadata.get("written", True)]
    return [(f.name, getattr(record, f.name)) for f in found]


def short(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (bool, np.bool_)) or value is None:
        return str(value)
    if isinstance(value, (int, float, np.number)):
        return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)
    if isinstance(value, str):
        return repr(_cut(value, 60))
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and value.size <= FEW:
            return f"[{', '.join(map(short, value.tolist()))}]"
        return f"{value.dtype} {value.shape}"
    if isinstance(value, (tuple, list)):
        if len(value) <= FEW and not any(is_dataclass(one) for one in value):
            return f"({', '.join(map(short, value))})"
        kinds = {type(one).__name__ for one in value}
        return f"{len(value)} × {' or '.join(sorted(kinds))}"
    if isinstance(value, Mapping):
        return f"{len(value)} entries"
    return _cut(str(value), 80)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _in_latex(value: Any) -> str:
    said = short(value)
    mantissa, e, exponent = said.partition("e")
    try:
        return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if e else said
    except ValueError:
        return said


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


# JSON. A number that JSON lacks is a word: "inf", "-inf", "nan"; a Fraction is "p/q".


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _written(f, getattr(value, f.name)) for f in _written_fields(type(value))}
    return value


def _written_fields(kind: type) -> list[Field[Any]]:
    return [f for f in fields(kind) if f.metadata.get("written", True)]


def _written(field: Field[Any], value: Any) -> Any:
    codec = field.metadata.get("codec")
    return codec[0](value) if codec and value is not None else plain(value)


def parsed(text: Any) -> Any:
    """The value of a JSON text."""
    if not isinstance(text, (str, bytes)):
        raise InputTypeError(f"text is {shown(text)}; expected the JSON of a record, as a str.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"text is no JSON: {error}; expected the JSON that to_json() wrote."
        ) from None


def restored(hint: Any, value: Any, place: str = "the record") -> Any:
    """A value of this type from plain data."""
    try:
        return _restored(hint, value, place)
    except (TypeError, ValueError, KeyError, OverflowError, ZeroDivisionError) as error:
        if isinstance(error, InputError | InputTypeError):
            raise
        raise _unlike(place, hint, value) from None


def _restored(hint: Any, value: Any, place: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if hasattr(origin, "__value__"):  # an alias, as NDArray is from NumPy 2.5 on
        return _restored(origin.__value__[inner], value, place)
    for fits, read in _READERS:
        if fits(hint, origin):
            return read(hint, inner, value, place)
    raise TypeError(f"{place}: no reader for {hint}")


def _unlike(place: str, hint: Any, value: Any) -> InputError:
    name = getattr(hint, "__name__", str(hint))
    return InputError(
        f"{place} is {shown(value)}; expected what to_json() writes for {name}. Use the JSON of "
        "a record of the same version."
    )


def _read_union(hint: Any, inner: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in inner:
        return None
    for one in inner:
        try:
            return _restored(one, value, place)
        except (TypeError, ValueError, KeyError):
            continue
    raise _unlike(place, hint, value)


def _read_scalar(hint: Any, inner: tuple[Any, ...], value: Any, place: str) -> Any:
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return float(value) if isinstance(value, str) else value
    if type(value) is not hint:
        raise _unlike(place, hint, value)
    return value


def _read_enum(hint: Any, inner: tuple[Any, ...], value: Any, place: str) -> Any:
    return hint(value)


def _read_array(hint: Any, inner: tuple[Any, ...], value: Any, place: str) -> Any:
    dtype = get_args(inner[1])[0] if len(inner) > 1 and get_args(inner[1]) else Any
    if dtype in (Any, object):
        return _frozen(_numbers(value))
    return _frozen(np.array(_floats(value), dtype=dtype))


def _read_any(hint: Any, inner: tuple[Any, ...], value: Any, place: str) -> Any:
    return _frozen(_numbers(value)) if isinstance(value, list) else _floats(value)


def _floats(value: Any) -> Any:
    if isinstance(value, list):
        return [_floats(one) for one in value]
    return float(value) if value in ("inf", "-inf", "nan") else value


def _numbers(value: Any) -> Any:
    """An array of numbers as they are written; of exact ones where a fraction is among them."""
    objects = np.array(_floats(value), dtype=object)
    if any(isinstance(one, str) for one in objects.flat):
        exact = [Fraction(one) if isinstance(one, str) else one for one in objects.flat]
        return np.array(exact, dtype=object).reshape(objects.shape)
    return np.array(_floats(value))


def _frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array


def _read_tuple(hint: Any, inner: tuple[Any, ...], value: Any, place: str) -> Any:
    if not isinstance(value, list):
        raise _unlike(place, hint, value)
    kinds = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
    pairs = zip(kinds, value, strict=True)
    return tuple(restored(kind, one, f"{place}[{i}]") for i, (kind, one) in enumerate(pairs))


def _read_mapping(hint: Any, inner: tuple[Any, ...], value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise _unlike(place, hint, value)
    key_of: Callable[[str], Any] = int if inner[0] is int else str
    return MappingProxyType(
        {key_of(key): restored(inner[1], one, f"{place}[{key!r}]") for key, one in value.items()}
    )


def _read_dataclass(hint: Any, inner: tuple[Any, ...], value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise _unlike(place, hint, value)
    hints, read = _hints(hint), {}
    for field in _written_fields(hint):
        if field.name not in value:
            raise InputError(
                f"{place} has no {field.name!r}; expected the fields of {hint.__name__}."
            )
        one, codec = value[field.name], field.metadata.get("codec")
        at = f"{place}.{field.name}"
        if codec:
            read[field.name] = None if one is None else codec[1](one)
        else:
            read[field.name] = restored(hints[field.name], one, at)
    make = getattr(hint, "_of", None) or (lambda values: hint(**values))
    return make(read)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


_READERS: tuple[tuple[Callable[[Any, Any], bool], Callable[..., Any]], ...] = (
    (lambda hint, origin: origin in (Union, UnionType), _read_union),
    (lambda hint, origin: hint is Any, _read_any),
    (lambda hint, origin: hint in (bool, int, float, str), _read_scalar),
    (lambda hint, origin: origin is np.ndarray, _read_array),
    (lambda hint, origin: origin is tuple, _read_tuple),
    (lambda hint, origin: origin is not None and issubclass(origin, Mapping), _read_mapping),
    (lambda hint, origin: isinstance(hint, type) and issubclass(hint, Enum), _read_enum),
    (lambda hint, origin: is_dataclass(hint), _read_dataclass),
)
