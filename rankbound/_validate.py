"""Checks at the door: each public function calls these once, its private twin never.

:func:`plain` is the only reader of foreign arrays. A check returns the argument in the form in
which the rest of the package computes, or raises one message: got, expected, rule, remedy.
"""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from numbers import Integral, Rational
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rankbound._files import is_matrix_path, read_matrix
from rankbound.errors import InputError, InputTypeError, RankboundError, did_you_mean

Array = npt.NDArray[np.float64]
T = TypeVar("T")

MOST_ENTRIES = 2**34  # of one array; 128 GiB of float64
MOST_BITS = 128  # of an integer, a seed's too
MOST_LISTED = 2**16  # entries of an iterable, which may have no end
LARGEST_EXACT = 2**53  # integers up to it are float64 numbers


@dataclass(frozen=True)
class Storage:
    """The floating dtype in which data was computed, from which tolerances are derived."""

    name: str  # float64, float32, float16 or bfloat16
    eps: float  # the distance from 1 to the next number
    smallest: float  # the smallest positive number

    def __str__(self) -> str:
        return self.name


def _ieee(name: str) -> Storage:
    info = np.finfo(name)
    return Storage(name, float(info.eps), float(info.smallest_subnormal))


FLOAT64 = _ieee("float64")
STORAGES = {
    "float64": FLOAT64,
    "float32": _ieee("float32"),
    "float16": _ieee("float16"),
    "bfloat16": Storage("bfloat16", 2.0**-7, 2.0**-133),
}


def shown(value: Any, most: int = 80) -> str:
    """``repr(value)``, shortened; also where there is none that Python prints."""
    try:
        if isinstance(value, Integral) and abs(int(value)).bit_length() > 1000:
            return f"an integer of about {int(abs(int(value)).bit_length() * 0.30103) + 1} digits"
        text = repr(value)
    except ValueError:  # a Fraction of such integers
        return f"a {type(value).__name__} of too many digits to print"
    except Exception as error:  # a foreign object may raise anything
        return f"a {type(value).__name__} without repr ({type(error).__name__})"
    return text if len(text) <= most else f"{text[: most - 1]}…"


def plain(name: str, value: Any) -> tuple[npt.NDArray[Any], Storage | None]:
    """Read an array of whatever library as a NumPy array; nothing in it is rounded.

    Lists, NumPy and JAX arrays, DataFrames, torch tensors (detached, on the CPU), SymPy matrices
    and paths to .npy, .npz or .csv files are read. The dtype is numeric, or object where exact
    integers or Fractions would be rounded, or where there is something other than a number.
    Returned beside it: the dtype of the data where NumPy has none of that name (bfloat16).
    """
    array, stored = guarded(name, value, lambda: _read(name, value))
    require_memory(name, None, *array.shape)  # a view of few numbers may have any shape
    return array, stored


def guarded(name: str, value: Any, read: Callable[[], T]) -> T:
    """What is read of a foreign object, which may raise anything when it is looked at."""
    try:
        if hasattr(value, "__len__") and not hasattr(value, "dtype"):
            require_memory(name, None, len(value))  # a range has any length
        return read()
    except RankboundError:
        raise
    except Exception as error:
        raise InputTypeError(
            f"{name} is a {type(value).__name__} that cannot be read as an array of numbers "
            f"({type(error).__name__}{': ' if str(error) else ''}{str(error)[:160]}); expected a "
            "matrix of numbers."
        ) from None


def _read(name: str, value: Any) -> tuple[npt.NDArray[Any], Storage | None]:
    if isinstance(value, np.ma.MaskedArray):
        raise InputTypeError(
            f"{name} is a masked array; expected a plain one: what it hides would be read. "
            "Fill it, or pass mask= where attention is masked."
        )
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise InputTypeError(f"{name} is {type(value).__name__}; expected a matrix of numbers.")
    if isinstance(value, (str, os.PathLike)):
        return _read(name, _load(name, value))
    if is_head(value):
        raise InputTypeError(
            f"{name} is a head ({type(value).__name__}); expected a matrix. Pass its context, "
            "head.context(X), or head= where a function has it."
        )
    if isinstance(value, (Mapping, Set, Iterator)):
        raise InputTypeError(
            f"{name} is a {type(value).__name__}; expected a matrix, for example a list of rows."
        )
    home = type(value).__module__.partition(".")[0]
    if hasattr(value, "toarray") or hasattr(value, "todense"):
        raise InputTypeError(
            f"{name} is a sparse {type(value).__name__}; expected a dense matrix: {name}.toarray()."
        )
    if isinstance(value, (list, tuple)) and value and type(value[0]).__module__ == "torch":
        value, home = sys.modules["torch"].stack(list(value)), "torch"  # as outputs.attentions
    if home == "torch" and hasattr(value, "detach"):
        return _from_torch(name, value)
    if getattr(value, "is_Matrix", False):
        return _objects(value.tolist()), None
    if hasattr(value, "to_numpy"):
        return _from_frame(name, value), None
    return _from_numpy(name, value)


def check_head(value: Any, remedy: str) -> None:
    """Refuse what has no keys and queries as a head has."""
    if not is_head(value):
        raise InputTypeError(
            f"head is a {type(value).__name__}; expected an AttentionHead. {remedy}"
        )


def is_head(value: Any) -> bool:
    """Whether something has the keys and queries of a head; no class is imported for it."""
    try:
        return callable(getattr(value, "queries", None)) and callable(getattr(value, "keys", None))
    except Exception:  # a foreign object may raise anything
        return False


def _load(name: str, path: Any) -> Any:
    text = os.fspath(path)
    if isinstance(text, bytes) or not is_matrix_path(text):
        raise InputTypeError(
            f"{name} is {shown(path)}; expected numbers, or the path of a .npy, .npz or .csv file."
        )
    return read_matrix(name, text)


def _from_torch(name: str, value: Any) -> tuple[npt.NDArray[Any], Storage | None]:
    if "sparse" in str(value.layout):
        raise InputTypeError(f"{name} is a sparse tensor; expected a dense one: {name}.to_dense().")
    dtype = str(value.dtype).partition(".")[2]
    try:
        tensor = value.detach().cpu()
        array = (tensor.float() if dtype == "bfloat16" else tensor).numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:  # meta, quantised, float8
        raise InputTypeError(
            f"{name} is a tensor of {dtype} on {value.device} that cannot be read ({error}); "
            "expected a dense tensor of numbers."
        ) from None
    return _from_numpy(name, array)[0], STORAGES.get(dtype)


def _from_frame(name: str, value: Any) -> npt.NDArray[Any]:
    kinds = {getattr(dtype, "kind", "O") for dtype in np.atleast_1d(getattr(value, "dtypes", []))}
    if len(kinds) > 1 and hasattr(value, "astype"):  # integers beside floats would be rounded
        return _from_numpy(name, value.astype(object).to_numpy().tolist())[0]
    return _from_numpy(name, value.to_numpy())[0]


def _from_numpy(name: str, value: Any) -> tuple[npt.NDArray[Any], Storage | None]:
    stored = None
    try:
        array = np.asarray(value)
    except OverflowError:  # an integer above all floats, beside a float
        array = _objects(value)
    except ValueError as error:
        raise InputError(
            f"{name} is ragged: every row must have the same length. ({str(error)[:160]})"
        ) from None
    except TypeError as error:  # foreign arrays of a dtype that NumPy does not have
        raise InputTypeError(f"{name} cannot be read as an array of numbers: {error}.") from None
    if array.dtype.name in STORAGES and array.dtype.kind == "V":  # bfloat16 of JAX
        stored, array = STORAGES[array.dtype.name], array.astype(np.float32)
    if array.dtype.kind == "f" and isinstance(value, Sequence):
        objects = _objects(value)
        if any(_is_wide(entry) for entry in objects.flat):
            array = objects
    if array.dtype.kind not in "biufO":
        raise InputTypeError(
            f"{name} has dtype {array.dtype}; expected real numbers (integer or float). "
            "Convert it first."
        )
    if array.dtype == object and array.ndim == 0 and not _is_number(array.item()):
        raise InputTypeError(
            f"{name} is {shown(array.item())} of type {type(value).__name__}; expected a matrix of "
            "numbers: it is not a real number, and no array of them."
        )
    return array, stored


def _objects(value: Any) -> npt.NDArray[Any]:
    return np.array(value, dtype=object)


def _is_number(entry: Any) -> bool:
    """Whether an entry is a real number; SymPy's answer is_real."""
    return (
        isinstance(entry, (Rational, float, np.floating)) or getattr(entry, "is_real", None) is True
    )


def _is_wide(entry: Any) -> bool:
    """Whether float64 rounds this integer."""
    return isinstance(entry, Integral) and abs(int(entry)) > LARGEST_EXACT


def as_array(name: str, value: Any) -> npt.NDArray[Any]:
    """Return `value` as a real numeric array of its own dtype (objects become float64)."""
    array, _ = plain(name, value)
    return _from_objects(name, array) if array.dtype == object else array


def is_float(entry: Any) -> bool:
    """Whether an entry is a float, of Python, NumPy or SymPy."""
    return isinstance(entry, (float, np.floating)) or getattr(entry, "is_Float", False) is True


def refuse_mixture(name: str, array: npt.NDArray[Any]) -> None:
    """Refuse exact numbers that float64 does not hold beside floats."""
    entries = list(np.ndenumerate(array))
    lost = next(((at, x) for at, x in entries if loses(x)), None)
    rounded = next(((at, x) for at, x in entries if is_float(x)), None)
    if lost is not None and rounded is not None:
        raise InputTypeError(
            f"{name} mixes exact numbers with floats: {_place(name, lost[0])} is {shown(lost[1])}, "
            f"which float64 does not hold, and {_place(name, rounded[0])} is the float "
            f"{rounded[1]!r}; expected all exact or all floats, so that nothing is rounded "
            "unasked. Make the floats Fractions, or all entries floats."
        )


def loses(entry: Any) -> bool:
    """Whether float64 does not hold an exact number."""
    if not isinstance(entry, Rational):  # of SymPy's numbers, the irrational ones
        return getattr(entry, "is_real", None) is True and not is_float(entry)
    exact = Fraction(int(entry.numerator), int(entry.denominator))
    try:
        return Fraction(float(exact)) != exact
    except OverflowError:
        return True


def _place(name: str, at: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(map(str, at))}]"


def _from_objects(name: str, array: npt.NDArray[Any]) -> Array:
    if array.ndim == 1 and any(isinstance(entry, Sequence) for entry in array):
        raise InputError(f"{name} is ragged: every row must have the same length.")
    refuse_mixture(name, array)
    out = np.empty(array.shape, dtype=np.float64)
    for index, entry in np.ndenumerate(array):
        if not _is_number(entry):
            raise InputTypeError(
                f"{_place(name, index)} is {shown(entry)} of type {type(entry).__name__}; expected "
                "a real number (int, float, Fraction or a SymPy number)."
            )
        try:
            out[index] = float(entry)
        except (OverflowError, TypeError):
            raise InputError(
                f"{_place(name, index)} has no float64 value; expected a number "
                "below 1.8e308 in magnitude without free symbols."
            ) from None
    return out


def as_floats(
    name: str, array: npt.NDArray[Any], visible: npt.NDArray[np.bool_] | None = None
) -> Array:
    """Copy what :func:`plain` read to finite float64; what is not visible becomes 0, unread."""
    if visible is not None:
        array = np.where(visible, array, 0)
    if array.dtype == object:
        array = _from_objects(name, array)
    with np.errstate(over="ignore", invalid="ignore"):  # reported just below, with its place
        array = array.astype(np.float64)
    check_finite(name, array, masked=visible is not None)
    return array


def column_blocks(
    name: str, value: Any, width: Callable[[tuple[int, ...]], int]
) -> Iterator[Array]:
    """:func:`check_matrix`, so many columns at a time as `width` says of its shape.

    What is numeric already is neither copied nor held as a whole: it may be a ``np.memmap`` larger
    than memory.
    """
    array, _ = guarded(name, value, lambda: _read(name, value))
    if array.size > MOST_ENTRIES or array.dtype == object:
        array = check_matrix(name, value)
    check_shape(name, array.shape)
    step = width(array.shape)
    for first in range(0, array.shape[-1], step):
        with np.errstate(over="ignore", invalid="ignore"):  # reported just below, with its place
            block = array[..., first : first + step].astype(np.float64, copy=False)
        check_finite(name, block, first=first)
        yield block


def check_matrix(name: str, value: Any, *, ndim: int | None = None) -> Array:
    """Return `value` as a float64 array of at least two axes, finite and with no empty axis.

    ``ndim=2`` refuses a batch.
    """
    array, _ = plain(name, value)
    if array.dtype == object:
        array = _from_objects(name, array)
    check_shape(name, array.shape, ndim=ndim)
    return as_floats(name, array)


def check_shape(name: str, shape: tuple[int, ...], *, ndim: int | None = None) -> None:
    """Refuse what is no matrix, or no batch of them, or is empty."""
    if len(shape) < 2 or (ndim is not None and len(shape) != ndim):
        expected = (
            "a matrix (2 axes)" if ndim == 2 else "a matrix or a batch of them (2 or more axes)"
        )
        raise InputError(
            f"{name} has shape {shape}; expected {expected}. "
            "A batch is taken only where the documentation says so."
        )
    if 0 in shape:
        raise InputError(
            f"{name} has shape {shape}; expected at least one row and one column: "
            "an empty matrix has no head size."
        )


def check_finite(name: str, array: Array, *, masked: bool = False, first: int = 0) -> None:
    """Refuse NaN and infinite entries; `masked` says that a mask was given.

    `first` is the number of the first column where the array is a block of them.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum()  # finite only if all entries are
    if not np.isfinite(total) and not (finite := np.isfinite(array)).all():
        bad = tuple(int(i) for i in np.argwhere(~finite)[0])
        if masked:
            hint = " The mask shows this entry; hide it, or give its logit."
        elif array[bad] == -np.inf:
            hint = " For an entry that must get no attention, pass a mask."
        else:
            hint = " Remove or repair it: no rank is defined with it."
        at = [*bad[:-1], bad[-1] + first]
        raise InputError(f"{name} holds {array[bad]} at {at}; expected finite numbers.{hint}")


def check_square(name: str, shape: tuple[int, ...], *, ndim: int | None = 2) -> None:
    """Refuse a shape that is not (n, n), or (..., n, n) if ``ndim`` is None."""
    check_shape(name, shape, ndim=ndim)
    if shape[-1] != shape[-2]:
        raise InputError(
            f"{name} has shape {shape}; expected (n, n), keys by queries: "
            "in self-attention every token is both a key and a query. Take those of the same "
            "tokens; cross-attention is measured by rb.audit."
        )


def storage(
    name: str, array: npt.NDArray[Any], stored: Any, hint: Storage | None = None
) -> Storage:
    """The floating dtype the data was computed in: `stored`, or that of the array.

    Integers, objects and extended precision count as float64, the dtype they are computed in here.
    """
    if isinstance(stored, Storage):
        return stored
    if stored is None:
        return hint or STORAGES.get(array.dtype.name, FLOAT64)
    found = floating_dtype(stored)
    if found is None:
        raise InputTypeError(
            f"stored={shown(stored)}; expected np.float16, np.float32 or np.float64 or 'bfloat16': "
            f"the dtype in which {name} was computed, from which the tolerance is derived."
        )
    return found


def floating_dtype(given: Any) -> Storage | None:
    """The floating dtype that is meant by a name, or by a dtype or type of NumPy, torch or JAX."""
    if given is None or (
        isinstance(given, (np.generic, np.ndarray)) and not isinstance(given, str)
    ):
        return None  # for NumPy None is float64, and data has a dtype
    try:
        return STORAGES.get(np.dtype(given).name)
    except Exception:  # "bfloat16", a dtype of torch or JAX, or an object that raises anything
        return STORAGES.get(shown(given).rpartition(".")[2].strip("'"))


def storage_dtype(name: str, value: Any, stored: npt.DTypeLike | None) -> Storage:
    """:func:`storage` of anything that :func:`plain` reads."""
    array, hint = plain(name, value) if stored is None else (np.zeros(0), None)
    return storage(name, array, stored, hint)


def check_word(name: str, value: Any, words: Iterable[str]) -> str:
    """Return a word that is one of these."""
    words = tuple(words)
    if not isinstance(value, str) or value not in words:
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        raise InputError(f"{name} is {shown(value)}; expected one of {', '.join(words)}.{hint}")
    return str(value)


def path_given(name: str, value: Any) -> Path:
    """A str or path-like as a Path; a foreign one may raise anything when it is asked."""
    try:
        return Path(value)
    except Exception:
        raise InputTypeError(
            f"{name} is {shown(value)} of type {type(value).__name__[:60]}; expected a path."
        ) from None


def check_bool(name: str, value: Any, meaning: str) -> bool:
    """Return `value` as a bool; anything else is refused."""
    if not isinstance(value, (bool, np.bool_)):
        raise InputTypeError(f"{name} is {shown(value)}; expected True ({meaning}) or False.")
    return bool(value)


def check_int(name: str, value: Any, *, least: int, most: int | None = None, why: str = "") -> int:
    """Return `value` as an int in ``[least, most]``; bools and floats are refused."""
    if isinstance(value, (bool, np.bool_)):
        raise InputTypeError(f"{name} is {shown(value)}; expected an integer, not a truth value.")
    try:
        number = operator.index(value)
    except Exception:  # a foreign object may raise anything
        raise InputTypeError(
            f"{name} is {shown(value)} of type {type(value).__name__}; expected an integer."
        ) from None
    if number < least or (most is not None and number > most):
        span = f"at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} is {shown(number)}; expected {span}{': ' + why if why else ''}.")
    if number.bit_length() > MOST_BITS:  # NumPy takes minutes for a seed of a million digits
        raise InputError(f"{name} is {shown(number)}; expected an integer below 2^{MOST_BITS}.")
    return number


def listed(name: str, values: Any, expected: str) -> list[Any]:
    """What an iterable holds, which is no text and ends; `expected` is a clause of the message."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InputTypeError(f"{name} is {shown(values)}; expected {expected}.")
    try:
        found = list(islice(values, MOST_LISTED + 1))
    except Exception as error:  # a foreign object may raise anything
        raise InputTypeError(
            f"{name} is {shown(values)}, which cannot be listed ({type(error).__name__}); expected "
            f"{expected}."
        ) from None
    if len(found) > MOST_LISTED:
        raise InputError(f"{name} is {shown(values)}; expected {expected}, at most {MOST_LISTED}.")
    return found


def check_ints(name: str, values: Any, *, least: int, example: list[int]) -> list[int]:
    """Return the integers of an iterable, each at least `least`."""
    found = listed(name, values, f"integers, for example {example}")
    return [check_int(name, value, least=least) for value in found]


def check_head_size(value: Any) -> int:
    """Return a head size, an integer of at least 1."""
    return check_int(
        "head_size", value, least=1, why="a head has at least one query and key coordinate"
    )


def require_memory(name: str, value: int | None, *shape: int) -> None:
    """Refuse a size for which an array of this shape is beyond memory; of None, the array."""
    if math.prod(shape) <= MOST_ENTRIES:
        try:
            np.empty(math.prod(shape))  # only asked for: no page of it is touched
        except MemoryError:
            pass
        else:
            return
    entries = " × ".join(map(shown, shape))
    says = f"has {entries}" if value is None else f"is {shown(value)}, which needs {entries}"
    raise InputError(
        f"{name} {says} entries; expected at most {MOST_ENTRIES}, and no more than this machine "
        "has room for: it would not fit into memory."
    )


def check_real(
    name: str, value: Any, *, above: float | None = None, least: float | None = None
) -> float:
    """Return `value` as a finite float, above or at least a bound."""
    if not _is_scalar(value):
        raise InputTypeError(f"{name} is {shown(value)}; expected a real number.")
    try:
        number = float(value)
    except OverflowError:
        raise InputError(
            f"{name} is above 1.8e308 in magnitude; expected a number that float64 holds."
        ) from None
    except Exception:  # a foreign object may raise anything
        raise InputTypeError(f"{name} is {shown(value)}; expected a real number.") from None
    if not np.isfinite(number):
        raise InputError(f"{name} is {number}; expected a finite number.")
    if above is not None and not number > above:
        raise InputError(f"{name} is {number}; expected a number above {above}.")
    if least is not None and not number >= least:
        raise InputError(f"{name} is {number}; expected a number of at least {least}.")
    return number


def item(value: Any) -> Any:
    """The number that an array or a tensor without axes holds; anything else as it is."""
    if isinstance(value, np.ndarray):
        return value[()] if value.ndim == 0 else value
    if isinstance(value, np.generic) or getattr(value, "ndim", None) != 0:
        return value
    read = getattr(value, "item", None)
    return read() if callable(read) else value


def _is_scalar(value: Any) -> bool:
    """Whether ``float(value)`` may be asked for: no text, truth value, date or array."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value is not np.ma.masked and value.ndim == 0 and value.dtype.kind in "iuf"
    return not isinstance(value, bool) and (
        hasattr(type(value), "__float__") or hasattr(type(value), "__index__")
    )


def check_seed(seed: Any) -> np.random.Generator:
    """Return a Generator from an integer seed or a Generator; None is refused."""
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is None:
        raise InputTypeError(
            "seed is None; expected an integer or a numpy.random.Generator: "
            "what is random here can always be drawn again."
        )
    return np.random.default_rng(check_int("seed", seed, least=0))


def frozen_copy(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a read-only copy, for a record to hold."""
    copy = np.array(array)
    copy.flags.writeable = False
    return copy
