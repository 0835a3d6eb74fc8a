"""What ``fuzz_input.py`` calls and what it calls it with: the surface, and the catalogue.

The surface is read from the package and the parser. A parameter is known by its name: it has a kind
and a good value here, and a public function with a required parameter that has none is an error.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import inspect
import json
import math
import pickle
import pkgutil
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import numpy as np

import rankbound as rb

try:
    import torch
except ImportError:
    torch = None
try:
    import pandas
except ImportError:
    pandas = None

N, D = 3, 4  # tokens, and their size
DIGITS = 10**6
LONG = 10**DIGITS  # which takes its time


@dataclass(frozen=True)
class Bad:
    """A replacement for a good value."""

    label: str
    value: Any
    clean: tuple[Any, ...] = ()  # one value, the same data in a clean spelling; empty: it has none
    same: bool = False  # whether it is good data, which is refused only if it always is
    free: bool = False  # whether it may be accepted though it has no clean spelling


Draws = list[tuple[str, Callable[[], Any]]]


# ---- hostile objects


class Raising:
    """Every question to it raises."""

    def _no(self, *_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("asked")

    __len__ = __iter__ = __getitem__ = __bool__ = __float__ = __index__ = __int__ = _no
    __repr__ = __str__ = __array__ = __fspath__ = __call__ = __eq__ = __lt__ = _no
    __hash__ = None  # type: ignore[assignment]
    to_json = _no


def raising(*names: str, base: type = object, arguments: tuple[Any, ...] = ()) -> Any:
    """An object of which these methods raise."""

    def no(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("asked")

    return type("Odd", (base,), dict.fromkeys(names, no))(*arguments)


class Endless:
    """Claims a length that no memory holds."""

    def __len__(self) -> int:
        return 2**60

    def __getitem__(self, index: Any) -> float:
        return 0.5


class Attributes:
    """Has every attribute, and no two of them fit together."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return 1


class Payload:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def _recursive() -> Any:
    rows: list[Any] = [1.0]
    rows.append(rows)
    return rows


def _deep(levels: int) -> Any:
    value: Any = 0.5
    for _ in range(levels):
        value = [value]
    return value


JUNK: Draws = [
    ("object()", object),
    ("a function", lambda: lambda *_: 1),
    ("a class", lambda: int),
    ("a module", lambda: math),
    ("...", lambda: ...),
    ("NotImplemented", lambda: NotImplemented),
    ("complex", lambda: 1 + 2j),
    ("numpy complex", lambda: np.complex64(1j)),
    ("b''", lambda: b""),
    ("bytes", lambda: b"\xff\x00"),
    ("memoryview", lambda: memoryview(array("d", [0.5]))),
    ("empty dict", dict),
    ("dict", lambda: {"a": [1, 2]}),
    ("set", lambda: {1, 2.5}),
    ("generator", lambda: (i for i in "ab")),
    ("endless generator", lambda: iter(lambda: 1.0, None)),
    ("range of 10^12", lambda: range(10**12)),
    ("date", lambda: datetime.date(2020, 1, 1)),
    ("timedelta", lambda: datetime.timedelta(days=1)),
    ("datetime64", lambda: np.datetime64("2020-01-01")),
    ("timedelta64", lambda: np.timedelta64(1, "D")),
    ("NaT", lambda: np.datetime64("NaT")),
    ("Decimal NaN", lambda: Decimal("sNaN")),
    ("Raising", Raising),
    ("raises __repr__", lambda: raising("__repr__")),
    ("raises __array__", lambda: raising("__array__")),
    ("raises __len__", lambda: raising("__len__", "__getitem__")),
    ("raises __iter__", lambda: raising("__iter__")),
    ("raises __float__", lambda: raising("__float__")),
    ("raises __index__", lambda: raising("__index__")),
    ("raises __fspath__", lambda: raising("__fspath__")),
    ("raises __eq__", lambda: raising("__eq__", "__hash__")),
    ("raises __getattribute__", lambda: raising("__getattr__")),
    ("raises to_numpy", lambda: raising("to_numpy")),
    ("raises tolist", lambda: raising("__array__", "tolist")),
    ("str that raises", lambda: raising("__repr__", "__str__", base=str, arguments=("causa1",))),
    ("list that raises", lambda: raising("__len__", "__iter__", base=list, arguments=([1],))),
    ("list whose repr raises", lambda: raising("__repr__", base=list, arguments=([[1j]],))),
    ("repr of two lines", type("Two", (), {"__repr__": lambda _: "a\nb"})),
    ("repr that is long", type("Long", (), {"__repr__": lambda _: "ab" * 10**6})),
    ("class name that is long", type("Long" * 500, (), {})),
    ("repr with a surrogate", type("S", (), {"__repr__": lambda _: "\ud800"})),
    ("repr that is no str", type("N", (), {"__repr__": lambda _: 1})),
    ("Endless", Endless),
    ("every attribute", Attributes),
    ("recursive list", _recursive),
    ("list of depth 70", lambda: _deep(70)),
    ("list of depth 10^5", lambda: _deep(10**5)),
    ("list of None", lambda: [[None] * N] * N),
    ("list of str", lambda: [["0.5"] * N] * N),
    ("list of Raising", lambda: [[Raising()]]),
    ("list of lists and objects", lambda: [[1.0, object()], [raising("__float__"), 2]]),
    ("tuple of dicts", lambda: ({"a": 1}, {})),
    ("array of str", lambda: np.array([["a", "b"]] * 2)),
    ("array of bytes", lambda: np.array([b"a", b"b"])),
    ("array of dates", lambda: np.zeros((N, N), "datetime64[D]")),
    ("array of timedeltas", lambda: np.zeros((N, N), "timedelta64[s]")),
    ("array of complex", lambda: np.eye(N) * 1j),
    ("array of None", lambda: np.full((N, N), None)),
    ("array of arrays", lambda: np.array([np.eye(2), np.eye(3), 1], dtype=object)),
    ("structured array", lambda: np.zeros((N, N), [("a", float), ("b", int)])),
    ("void", lambda: np.void(b"abc")),
    ("masked array", lambda: np.ma.masked_less(np.eye(N), 0.5)),
    ("np.ma.masked", lambda: np.ma.masked),
    ("char array", lambda: np.char.array([["a"]])),
    ("empty list", list),
    ("list of empty lists", lambda: [[], []]),
    ("ragged", lambda: [[1.0, 2.0], [1.0]]),
    ("ragged, deeper", lambda: [[1.0, [2.0]], [1.0, 2.0]]),
    ("view of 10^12 entries", lambda: np.broadcast_to(0.5, (10**6, 10**6))),
    ("view of 2^50 bools", lambda: np.broadcast_to(True, (2**25, 2**25))),
    ("shape (2^40, 0)", lambda: np.zeros((2**40, 0))),
    ("NaN", lambda: float("nan")),
    ("inf", lambda: float("inf")),
    ("-inf", lambda: -np.inf),
]

WORDS: list[tuple[str, str]] = [
    ("empty", ""),
    ("a word", "nonsense"),
    ("a surrogate", "\ud800"),
    ("NUL", "a\0b"),
    ("NUL.npy", "a\0b.npy"),
    ("a surrogate.npy", "\ud800.npy"),
    ("new line", "a\nb"),
    ("new line.npy", "a\nb.npy"),
    ("escape", "\x1b[31m[red]"),
    ("10^6 letters", "x" * 10**6),
    ("a long name", "x" * 300 + ".npy"),
    ("10^5 letters.npy", "x" * 10**5 + ".npy"),
    ("10^4 digits", "9" * 10**4),
    ("Arabic digits", "٣"),
    ("superscript", "²"),
    ("prefix:²", "prefix:²"),
    ("prefix:99", "prefix:99"),
    ("sliding:0", "sliding:0"),
    ("causal:1", "causal:1"),
    ("markup", "[bold]x[/nothing]"),
    ("braces", "{0}%s"),
]

FILES = [
    "missing.npy",
    "nowhere/P.npy",
    "folder",
    "folder.npy",
    "empty.npy",
    "noise.npy",
    "cut.npy",
    "cut-header.npy",
    "huge.npy",
    "huge-int.npy",
    "deep-header.npy",
    "negative.npy",
    "pickled.npy",
    "bare-pickle.npy",
    "objects.npz",
    "two.npz",
    "empty.npz",
    "no.npz",
    "payload.pkl",
    "sparse.npy",
    "sparse.json",
    "zeros.json",
    "deep.json",
    "digits.json",
    "text.txt",
    "latin.txt",
    "complex.npy",
    "strings.npy",
    "loop.npy",
    "unreadable.npy",
    "big.npy",
    "P.npy/x.npy",
    "/dev/zero",
    "/dev/null",
    "/dev/full",
    "/proc/self/mem",
]


READABLE = {"big.npy", "unreadable.npy"}  # by root


def folder_of_files(folder: Path) -> None:
    """Write the files that cases name: a few good ones, and many that are not."""
    (folder / "work").mkdir()
    (folder / "folder").mkdir()
    (folder / "folder.npy").mkdir()
    (folder / "empty-folder").mkdir()
    P = rb.random_context(N, seed=0)
    good: dict[str, Any] = {"P": P, "X": rb.random_tokens(D, N, seed=0), "mask": rb.causal_mask(N)}
    good |= {"complex": P * 1j, "strings": np.array([["a"]]), "big": np.eye(40)}
    good["L"] = np.arange(N * N).reshape(N, N) ** 2
    for name, matrix in good.items():
        np.save(folder / f"{name}.npy", matrix)
    raw = (folder / "P.npy").read_bytes()
    np.savez(folder / "two.npz", a=P, b=P)
    np.savez(folder / "empty.npz")
    np.savez(folder / "objects.npz", P=np.array([Payload(folder / "ran")], dtype=object))
    np.save(folder / "pickled.npy", np.array([Payload(folder / "ran")], dtype=object))
    contents = {
        "empty.npy": b"",
        "noise.npy": Random(0).randbytes(4096),
        "cut.npy": raw[:-5],
        "cut-header.npy": raw[:40],
        "huge.npy": _header((2**30, 2**30)),
        "huge-int.npy": _header((10**400,)),
        "negative.npy": _header((-1, -3)),
        "deep-header.npy": _header("(" * 5000 + ")" * 5000),
        "bare-pickle.npy": pickle.dumps(Payload(folder / "ran")),
        "payload.pkl": pickle.dumps(Payload(folder / "ran")),
        "no.npz": b"PK\x03\x04nothing",
        "zeros.json": b"0" * 10**7,
        "deep.json": b"[" * 10**6,
        "digits.json": b'{"schema": %s}' % (b"9" * DIGITS),
        "text.txt": b" ".join(b"w%d" % (i * i % 60) for i in range(30)),
        "latin.txt": b"caf\xe9",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    for name in ("sparse.npy", "sparse.json"):
        with open(folder / name, "wb") as file:
            file.truncate(2**40)
    (folder / "loop.npy").symlink_to(folder / "loop.npy")
    (folder / "unreadable.npy").write_bytes(raw)
    (folder / "unreadable.npy").chmod(0)
    (folder / "certificate.json").write_text(good_certificate(), encoding="ascii")


def _header(shape: Any) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode("ascii")
    return b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text + b"\0" * 64


@cache
def good_certificate() -> str:
    """The JSON of a certificate that is accepted."""
    found: Any = rb.certified_rank([[1.0, 2.0], [3.0, 5.0]]).certify().certificate
    return str(found.to_json())


# ---- good values, and the odd and bad ones of each kind


def _matrix_spellings(A: Any) -> Draws:
    """The same numbers, spelt otherwise; each has the same answer as the array."""
    A = np.asarray(A)
    wide = np.zeros((*A.shape[:-1], 2 * A.shape[-1]), A.dtype)
    wide[..., ::2] = A
    spelt: Draws = [
        ("list", A.tolist),
        ("Fortran order", lambda: np.asfortranarray(A)),
        ("strided", lambda: wide[..., ::2]),
        ("reversed twice", lambda: A[::-1].copy()[::-1]),
        ("big-endian", lambda: A.astype(A.dtype.newbyteorder(">"))),
        ("list of arrays", lambda: list(A)),
        ("tuple of tuples", lambda: tuple(map(tuple, A.tolist()))),
        ("array subclass", lambda: A.view(type("Sub", (np.ndarray,), {}))),
        ("objects", lambda: A.astype(object)),
    ]
    if A.ndim == 2:
        names = [*"zyxwvu"[: A.shape[1]]]
        if pandas is not None:
            spelt += [
                ("DataFrame", lambda: pandas.DataFrame(A)),
                ("DataFrame with names", lambda: pandas.DataFrame(A, columns=names)),
            ]
        spelt.append(("np.matrix", lambda: np.asmatrix(A)))
    if torch is not None and A.dtype.kind in "fib":
        spelt += [
            ("tensor", lambda: torch.tensor(A)),
            ("tensor with gradient", lambda: torch.tensor(A, requires_grad=A.dtype.kind == "f")),
            ("transposed tensor", lambda: torch.tensor(A.swapaxes(0, -1).copy()).swapaxes(0, -1)),
        ]
    return spelt


def _changed(A: Any, value: Any) -> Callable[[], Any]:
    def change() -> Any:
        B = np.array(A, dtype=object if isinstance(value, (int, Fraction, Decimal)) else float)
        B[(0,) * B.ndim] = value
        return B.tolist() if B.dtype == object else B

    return change


def _matrix_changes(A: Any) -> Draws:
    """Other matrices, good or bad: whatever is accepted has a clean spelling as an array."""
    A = np.asarray(A)
    F = A.astype(float)
    changes: Draws = [
        ("transposed", lambda: A.T),
        ("flat", A.ravel),
        ("a batch of one", lambda: A[None]),
        ("a batch of two", lambda: np.stack([A, A])),
        ("an empty batch", lambda: np.zeros((0, *A.shape))),
        ("0-d", lambda: np.array(0.5)),
        ("one row less", lambda: A[1:]),
        ("one column less", lambda: A[..., 1:]),
        ("no rows", lambda: A[:0]),
        ("no columns", lambda: A[..., :0]),
        ("1 x 1", lambda: np.ones((1, 1))),
        ("zero", lambda: 0 * A),
        ("negative", lambda: -A),
        ("times 1e-300", lambda: F * 1e-300),
        ("times 1e300", lambda: F * 1e300),
        ("times 5e-324", lambda: np.full(A.shape, 5e-324)),
        ("largest", lambda: np.full(A.shape, 1.7e308)),
        ("-0.0", _changed(F, -0.0)),
        ("NaN inside", _changed(F, np.nan)),
        ("inf inside", _changed(F, np.inf)),
        ("-inf inside", _changed(F, -np.inf)),
        ("float16", lambda: F.astype(np.float16)),
        ("float32", lambda: F.astype(np.float32)),
        ("longdouble", lambda: F.astype(np.longdouble)),
        ("int8", lambda: np.sign(A).astype(np.int8)),
        ("uint64 extremes", lambda: np.full(A.shape, 2**64 - 1, np.uint64)),
        ("int64 least", lambda: np.full(A.shape, -(2**63), np.int64)),
        ("bool", lambda: A.astype(bool)),
        ("10^400 inside", _changed(A, 10**400)),
        ("Fraction inside", _changed(A, Fraction(1, 3))),
        ("tiny Fraction inside", _changed(A, Fraction(1, 10**400))),
        ("10^6 digits inside", _changed(A, LONG)),
        ("Fraction of 10^6 digits inside", _changed(A, Fraction(1, LONG + 1))),
        ("Decimal inside", _changed(A, Decimal("0.5"))),
        ("Decimal infinity inside", _changed(A, Decimal("Infinity"))),
        ("longdouble 1e4000", lambda: np.full(A.shape, np.longdouble("1e4000"))),
    ]
    return changes


def _unread(A: Any) -> Draws:
    """Matrices in containers that are refused, or read to the same numbers."""
    import scipy.sparse
    import sympy

    A = np.asarray(A)
    held: Draws = [
        (
            "sparse matrix",
            lambda: scipy.sparse.csr_matrix(A.astype(float).reshape(-1, A.shape[-1])),
        ),
        ("sparse array", lambda: scipy.sparse.coo_array(np.atleast_2d(A.astype(float)))),
        ("iterator of rows", lambda: iter(A.tolist())),
        ("dict of rows", lambda: dict(enumerate(A.tolist()))),
        ("symbols", lambda: sympy.Matrix(2, 2, sympy.symbols("a b c d"))),
        ("SymPy nan", lambda: sympy.Matrix([[sympy.nan, 1], [1, 1]])),
        ("SymPy infinity", lambda: [[sympy.oo, 1], [1, 1]]),
        ("SymPy I", lambda: [[sympy.I, 1], [1, 1]]),
    ]
    if torch is not None:
        held += [
            ("meta tensor", lambda: torch.zeros((N, N), device="meta")),
            ("sparse tensor", lambda: torch.eye(N).to_sparse()),
            ("complex tensor", lambda: torch.eye(N) * 1j),
            ("conjugate tensor", (torch.eye(N) * 1j).conj),
            ("nested tensor", lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])),
            ("float8 tensor", lambda: torch.eye(N).to(torch.float8_e4m3fn)),
            ("quantised", lambda: torch.quantize_per_tensor(torch.eye(N), 0.1, 0, torch.quint8)),
            ("tensor of 2^50", lambda: torch.zeros(1).expand(2**25, 2**25)),
        ]
    return held


INTEGERS: list[Any] = [0, -1, 1, 2, 3, 5, 7, 64, 10**6, 10**9, 10**12, 2**31, 2**40, 2**63 - 1]
INTEGERS += [2**63, -(2**63) - 1, 10**30, 10**400, -(10**400)]


def _numbers() -> Iterator[Bad]:
    """Numbers in every spelling, each with its plain one: an int, or a float."""
    for n in INTEGERS:
        yield Bad(f"{n:.3g}" if abs(n) < 10**300 else "±10^400", n, (n,))
    yield Bad("10^(10^6)", LONG, (LONG,))
    yield Bad("-10^(10^6)", -LONG, (-LONG,))
    for n in (0, 1, 2, 3):
        for kind in (np.int8, np.uint64, np.int64):
            yield Bad(f"{kind.__name__}({n})", kind(n), (n,))
        yield Bad(f"array({n})", np.array(n), (n,))
        yield Bad(f"{n}.0", float(n), (float(n),))
        yield Bad(f"float32({n})", np.float32(n), (float(n),))
        yield Bad(f"Fraction({n})", Fraction(n), (float(n),))
        yield Bad(f"Decimal({n})", Decimal(n), (float(n),))
        yield Bad(f"array([{n}])", np.array([n]))
        yield Bad(f"'{n}'", str(n))
        if torch is not None:
            yield Bad(f"tensor({n})", torch.tensor(n), (n,))
    for x in (0.5, -0.5, 1e-3, 1e-308, 5e-324, 1e308, -0.0, 0.999999, 1.5, 1e-20):
        yield Bad(str(x), x, (x,))
        yield Bad(f"float64({x})", np.float64(x), (x,))
        yield Bad(f"array({x})", np.array(x), (x,))
    yield Bad("Fraction(1, 3)", Fraction(1, 3), (1 / 3,))
    yield Bad("Fraction of 10^6 digits", Fraction(LONG, 3))
    yield Bad("Fraction 1/10^400", Fraction(1, 10**400), (0.0,))
    yield Bad("longdouble 1e4000", np.longdouble("1e4000"))
    yield Bad("Decimal 1e999", Decimal("1e999"))
    yield Bad("complex 1+0j", 1 + 0j)
    for truth in (True, False, np.True_, np.False_, np.array(True)):
        yield Bad(f"{type(truth).__name__} {truth}", truth)


def _junk(draw: Random, kind: str) -> Bad:
    label, make = draw.choice(JUNK)
    return Bad(label, make(), free=kind in FREE)


def _word(draw: Random, kind: str, files: Path) -> Bad:
    if draw.random() < 0.5:
        name = draw.choice(FILES)
        path = str(files / name)
        free = kind in TEXTS or name in READABLE
        return Bad(name, Path(path) if draw.random() < 0.3 else path, free=free)
    label, text = draw.choice(WORDS)
    if draw.random() < 0.2 and text.isprintable():
        return Bad(f"np.str_ {label}", np.str_(text), free=kind in TEXTS)
    return Bad(label, text, free=kind in TEXTS)


def _matrix(draw: Random, good: Any, files: Path) -> Bad:
    if good is None:
        good = np.eye(N)
    way = draw.randrange(10)
    if way < 4:
        label, make = draw.choice(_matrix_spellings(good))
        try:
            return Bad(label, make(), (np.ascontiguousarray(good),), same=True)
        except (ValueError, TypeError):  # of what has another number of axes
            return Bad(f"not {label}", good, (good,), same=True)
    if way < 8:
        label, make = draw.choice(_matrix_changes(good))
        try:
            value = make()
        except (ValueError, TypeError, IndexError):  # of truth values, or with one axis
            return Bad(f"not {label}", good, (good,), same=True)
        clean = value.copy() if isinstance(value, np.ndarray) else _tupled(value)
        return Bad(label, value, (clean,))
    label, make = draw.choice(_unread(good))
    return Bad(label, make())


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def odd_and_bad(draw: Random, kind: str, good: Any, files: Path) -> Bad:
    """A replacement for an argument of this kind."""
    way = draw.random()
    if way < 0.35:
        return _junk(draw, kind)
    if way < 0.45:
        return _word(draw, kind, files)
    if way < 0.47:
        return Bad("None", None, free=True)
    if kind in ("matrix", "mask"):
        return _matrix(draw, good, files)
    if kind in ("int", "real", "seed", "count"):
        bad = draw.choice(NUMBERS)
        if kind == "count" and bad.clean and 100 < bad.clean[0] < 10**100:
            return Bad("3", 3, (3,))  # so much work may be asked for, and takes its time
        if kind != "real" and bad.clean and not isinstance(bad.clean[0], int):
            return Bad(bad.label, bad.value)  # a float is no integer
        return bad
    if kind == "bool":
        truth = draw.choice([np.True_, np.False_, 0, 1, 1.0, "True", np.array(True), None])
        clean = (bool(truth),) if isinstance(truth, np.bool_) else ()
        return Bad(f"{type(truth).__name__} {truth}", truth, clean, same=bool(clean))
    if kind == "integers":
        return _integers(draw)
    if kind == "certificate":
        return _certificate(draw, files)
    if way < 0.75:
        bad = draw.choice(NUMBERS)
        return Bad(bad.label, bad.value, free=kind in FREE)
    return _word(draw, kind, files)


def _integers(draw: Random) -> Bad:
    numbers = [draw.choice([0, 1, 2, 3, -1, 9, 10**30, 2**63]) for _ in range(draw.randrange(4))]
    way = draw.randrange(6)
    if way == 0:
        return Bad(f"tuple {numbers}", tuple(numbers), (list(numbers),), same=True)
    if way == 1:
        return Bad(
            f"range {len(numbers)}", range(len(numbers)), (list(range(len(numbers))),), same=True
        )
    if way == 2:
        return Bad("array", np.arange(len(numbers)), (list(range(len(numbers))),), same=True)
    if way == 3:
        return Bad("floats", [0.0, 1.0])
    if way == 4:
        return Bad("bools", [True, False])
    return Bad(f"list {numbers}", numbers, (list(numbers),))


def _certificate(draw: Random, files: Path) -> Bad:
    """JSON that is hostile; the checker answers all of it, and accepts nothing false."""
    text = good_certificate()
    place, size = draw.randrange(len(text)), draw.randrange(1, 9)
    document = json.loads(text)
    node: Any = document
    while isinstance(node, (dict, list)) and node:
        key = draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not isinstance(node[key], (dict, list)) or draw.random() < 0.3:
            break
        node = node[key]
    value = draw.choice([None, True, -1, LONG, 0.5, "", "\ud800", "0x", [], {}, [[[]]], object()])
    node[key] = value
    return draw.choice(
        [
            Bad("cut", text[:place], free=True),
            Bad("without a piece", text[:place] + text[place + size :], free=True),
            Bad(
                "with a piece twice",
                text[:place] + text[place : place + size] + text[place:],
                free=True,
            ),
            Bad("with brackets", text[:place] + "[" * 10**5 + text[place:], free=True),
            Bad("with digits", text[:place] + "9" * 10**6 + text[place:], free=True),
            Bad("with NUL", text[:place] + "\0" + text[place:], free=True),
            Bad("10^8 zeros", "0" * 10**8, free=True),
            Bad("10^7 items", "[" + "0," * 10**7 + "0]", free=True),
            Bad("other field", document, free=True),
            Bad("bytes", text.encode("utf-16"), free=True),
            Bad("the same as bytes", text.encode("ascii"), (text,), same=True),
            Bad("the same as dict", json.loads(text), (text,), same=True),
            Bad("the same as file", files / "certificate.json", (text,), same=True),
        ]
    )


NUMBERS = list(_numbers())
FREE = {"text", "anything", "certificate", "claims", "verdicts"}
TEXTS = {*FREE, "path"}


def _context(draw: Random, mask: bool, rows: bool) -> Any:
    P = rb.random_context(N, seed=draw.randrange(3))
    if mask:
        P = rb.column_softmax(np.log(P), mask=rb.causal_mask(N))
    return P.T.copy() if rows else P


def _standard(draw: Random) -> Any:
    return rb.random_multihead(D, 2, seed=0)


Good = tuple[str, Callable[[Random], Any]]  # the kind of a parameter, and a good value
INT = "int"

GOOD: dict[str, Good] = {
    "P": ("matrix", lambda draw: _context(draw, False, False)),
    "logits": ("matrix", lambda draw: np.arange(N * N).reshape(N, N) ** 2 % 7),
    "L": ("matrix", lambda draw: np.arange(N * N).reshape(N, N) / 3),
    "X": ("matrix", lambda draw: rb.random_tokens(D, N, seed=1)),
    "A": ("matrix", lambda draw: np.arange(12.0).reshape(3, 4) ** 2),
    "H": (
        "matrix",
        lambda draw: np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]),
    ),
    "keys": ("matrix", lambda draw: np.array([[1.0, 0.0, -1.0], [0.0, 1.0, -0.5]])),
    "queries": ("matrix", lambda draw: np.array([[1.0, 0.0, -1.0], [0.0, 1.0, -0.5]])),
    "directions": ("matrix", lambda draw: np.array([[1.0, 0.0, -1.0], [0.0, 1.0, -0.5]])),
    "biases": ("matrix", lambda draw: np.array([0.0, 1.0, 2.0])),
    "targets": ("integers", lambda draw: [0, 1, 2]),
    "W_q": ("matrix", lambda draw: np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 1.0]])),
    "W_k": ("matrix", lambda draw: np.array([[1.0, 0.0, 3.0], [0.5, 1.0, 1.0]])),
    "W_v": ("matrix", lambda draw: np.eye(N)),
    "W_o": ("matrix", lambda draw: np.arange(D * D).reshape(D, D) / 7),
    "mask": ("mask", lambda draw: rb.causal_mask(N)),
    "rows": ("bool", lambda draw: False),
    "stored": ("stored", lambda draw: draw.choice(["float64", np.float64])),
    "floats": ("word", lambda draw: "exact"),
    "head": ("head", lambda draw: rb.random_head(D, 2, seed=0)),
    "layer": ("layer", _standard),
    "f": ("layer", _standard),
    "g": ("layer", lambda draw: rb.random_multihead(D, 2, seed=1, head_size=3)),
    "head_size": (INT, lambda draw: 2),
    "value_size": (INT, lambda draw: 2),
    "heads": (INT, lambda draw: 2),
    "n": (INT, lambda draw: 4),
    "d": (INT, lambda draw: 4),
    "q": (INT, lambda draw: 2),
    "i": (INT, lambda draw: 1),
    "rank": (INT, lambda draw: 2),
    "nonzeros": (INT, lambda draw: 2),
    "prefix": (INT, lambda draw: 2),
    "window": (INT, lambda draw: 2),
    "windows": (INT, lambda draw: 1),
    "length": (INT, lambda draw: 8),
    "jobs": (INT, lambda draw: 1),
    "largest": (INT, lambda draw: 4),
    "exponent": (INT, lambda draw: 3),
    "prime": (INT, lambda draw: 101),
    "random_starts": ("count", lambda draw: 1),
    "max_iterations": ("count", lambda draw: 20),
    "positive": (INT, lambda draw: 2),
    "seed": ("seed", lambda draw: 0),
    "head_sizes": ("integers", lambda draw: [1, 2]),
    "layers": ("integers", lambda draw: [0]),
    "scale": ("real", lambda draw: 0.5),
    "soft_cap": ("real", lambda draw: 5.0),
    "rtol": ("real", lambda draw: 1e-9),
    "ratio": ("real", lambda draw: 1e-6),
    "error": ("real", lambda draw: 0.01),
    "epsilon": ("real", lambda draw: 0.25),
    "sine": ("real", lambda draw: 0.9),
    "gradient_tolerance": ("real", lambda draw: 1e-6),
    "kl": ("real", lambda draw: 0.01),
    "bound": ("real", lambda draw: 0.001),
    "gap": ("real", lambda draw: 1.0),
    "alpha": ("real", lambda draw: 1.0),
    "race": ("bool", lambda draw: True),
    "spectral_start": ("bool", lambda draw: True),
    "holds_ones": ("bool", lambda draw: False),
    "centred": ("bool", lambda draw: True),
    "default_scale": ("bool", lambda draw: True),
    "context_rank": ("bool", lambda draw: False),
    "law": ("word", lambda draw: "dirichlet"),
    "loss": ("word", lambda draw: "kl"),
    "method": ("word", lambda draw: "newton"),
    "level": ("word", lambda draw: "quick"),
    "dtype": ("word", lambda draw: "float32"),
    "kinds": ("word", lambda draw: None),
    "claims": ("claims", lambda draw: "softmax-gauge"),
    "certificates": ("path", lambda draw: "written"),
    "certificate": ("certificate", lambda draw: good_certificate()),
    "path": ("path", lambda draw: "written.html"),
    "model": ("model", lambda draw: "nonsense"),
    "tokenizer": ("anything", lambda draw: None),
    "text": ("text", lambda draw: "some words to read"),
    "calibrate": ("text", lambda draw: "other words to read"),
    "measure_loss": ("word", lambda draw: "layer"),
    "plan": ("model", lambda draw: "nonsense"),
    "by": ("word", lambda draw: "model"),
    "basis": ("word", lambda draw: "fisher"),
    "shifts": (INT, lambda draw: 1),
    "same_text": ("bool", lambda draw: True),
    "inputs": ("mapping", lambda draw: None),
    "progress": ("anything", lambda draw: None),
    "verdicts": ("verdicts", lambda draw: [rb.Verdict.PROVED]),
    "instances": ("verdicts", lambda draw: []),
    "instance": ("verdicts", lambda draw: None),
}

OTHER: dict[str, dict[str, Good]] = {  # where a name means something else
    "certified_rank": {"error": ("matrix", lambda draw: np.full((3, 4), 1e-9))},
    "is_nested": {"mask": ("mask", lambda draw: rb.causal_mask(N))},
    "MultiHead": {
        name: ("matrix", lambda draw: np.arange(16.0).reshape(2, 2, 4) % 5)
        for name in ("W_q", "W_k", "W_v")
    },
    "separating_tokens": {"n": (INT, lambda draw: 3)},
    "check": {"claims": ("claims", lambda draw: {"theorem-a": ["rank"]})},
    "set_selecting_query": {"keys": ("integers", lambda draw: [0, 2])},
    "random_head": {"head_size": (INT, lambda draw: 2)},
    "widen": {"head_size": (INT, lambda draw: 3), "value_size": (INT, lambda draw: 3)},
}

# what is written in the signature of a function but read by one that has checked it before
CHECKED = {"Array", "Logs", "Context", "Tokens", "Mask", "Supports", "Integers", "Ints", "Flags"}
INTERNAL = {  # of rankbound.theory: what is called with arguments that were read before
    "check_layer": "the check itself",
    "check_share": "the check itself",
    "full_rank_tokens": "the check itself",
    "unmasked": "the check itself",
    "moments": "of recorded heads",
    "covariance": "of recorded heads",
    "projections": "of moments",
    "project": "of moments",
    "second_order_kl": "of moments",
    "sharing_error": "of moments",
    "log_rank_of_head": "called by log_rank",
    "values": "of a checked layer",
    "value_witness": "of checked layers",
    "attention_witness": "of checked layers",
    "random_witness": "of checked layers",
    "column_bound": "of a checked column",
    "wrong_entry_cost": "of a checked column",
    "cut_best": "of checked costs",
    "cut_pattern": "of checked signs",
    "pattern_certificate": "of what a bound has checked",
    "sign_rank_certificate": "of what a bound has checked",
    "scale_certificate": "of what a bound has checked",
    "pair_members": "unchecked, as it says",
    "sufficient_gap": "unchecked, as it says",
    "exact_factors": "of exact logits that were read",
    "stays_away": "of a checked context",
}
RECORDS = {"AttentionHead", "MultiHead", "Context"}  # which users build, and which check
SKIPPED = {"sweep": "has its own attack, make kill-sweeps", "Sweep": "what sweep returns"}


@dataclass(frozen=True)
class Target:
    """A function or a command."""

    name: str
    group: str
    call: Callable[..., Any]
    table: dict[str, Good]
    required: tuple[str, ...]

    def good(self, draw: Random, files: Path) -> dict[str, Any]:
        """Good arguments: what is required, and some of the rest."""
        chosen = [name for name in self.table if name in self.required or draw.random() < 0.15]
        either = [name for name in ("P", "logits", "head") if name in self.table]
        if len(either) > 1:
            one = draw.choice(either) if "P" not in self.required else "P"
            chosen = [name for name in chosen if name not in either] + [one]
            if one == "head":
                chosen = [name for name in chosen if name in ("head", "X", "rtol")]
        found = {name: self.table[name][1](draw) for name in chosen}
        if "P" in found and "mask" in found:
            found["P"] = _context(draw, True, False)
        return found

    def names(self, arguments: dict[str, Any], draw: Random) -> list[str]:
        """Which arguments to replace."""
        several = draw.random() < 0.2 and len(self.table) > 1
        names = draw.sample(list(self.table), 2 if several else 1) if self.table else []
        either = {"P", "logits", "head"}
        if either & set(names) and len(either & set(self.table)) > 1:
            names = [name for name in names if name not in either or name in arguments]
        return names

    def bad(self, name: str, good: Any, draw: Random, files: Path) -> Bad:
        """A replacement for an argument."""
        kind, make = self.table[name]
        found = odd_and_bad(draw, kind, make(draw) if good is None else good, files)
        if self.name == "verify" and found.value is None:  # all claims, in many seconds
            return Bad("more", "more", free=True)
        return found

    def run(self, arguments: dict[str, Any]) -> Any:
        """The answer, with what is lazy in it computed."""
        return self.call(**arguments)


def _target(name: str, group: str, call: Callable[..., Any]) -> Target:
    table, required = {}, []
    special = OTHER.get(name.rpartition(".")[2], {})
    for parameter in inspect.signature(call).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD or parameter.name == "self":
            continue
        known = special.get(parameter.name) or GOOD.get(parameter.name)
        if known is None:
            raise LookupError(
                f"{name}: the parameter {parameter.name} has no good value in GOOD of "
                "scripts/fuzz_surface.py"
            )
        table[parameter.name] = known
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    if name == "verify":
        required.append("claims")  # without, all of them would be verified
    return Target(name, group, call, table, tuple(required))


def public_functions() -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Name, group and function: rankbound, its records and their methods, theory, testing."""
    for name in dir(rb):
        public = getattr(rb, name)
        if name in SKIPPED or not callable(public):
            continue
        if not inspect.isclass(public) or name in RECORDS:
            yield name, "rankbound", public
    for name, record in (
        ("AttentionHead", rb.AttentionHead(np.eye(2, D), np.ones((2, D)), np.eye(D))),
        ("MultiHead", rb.random_multihead(D, 2, seed=0)),
        ("Context", rb.Context([rb.random_context(N, seed=0)] * 2)),
    ):
        for method, function in vars(type(record)).items():
            if inspect.isfunction(function) and not method.startswith("_"):
                yield f"{name}.{method}", "methods", getattr(record, method)
    yield "Verdict.weakest", "methods", rb.Verdict.weakest
    for law, parameter in LAWS.items():
        yield f"random_context({law})", "rankbound", _law(law, parameter)
    for module in _modules():
        for name, function in sorted(vars(module).items()):
            if inspect.isfunction(function) and _is_door(name, function, module):
                yield f"{module.__name__.removeprefix('rankbound.')}.{name}", "theory", function


LAWS = {
    "dirichlet": "alpha",
    "gibbs": "scale",
    "logrank": "rank",
    "permutation": "epsilon",
    "sparse": "nonzeros",
}


def _law(law: str, parameter: str) -> Callable[..., Any]:
    def drawn(n: Any, seed: Any, **given: Any) -> Any:
        return rb.random_context(n, seed, law, **given)

    kinds = inspect.Parameter
    drawn.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [kinds(name, kinds.KEYWORD_ONLY) for name in ("n", "seed", parameter)]
    )
    return drawn


def _modules() -> Iterator[ModuleType]:
    import rankbound.theory
    from rankbound.testing import gallery, strategies

    for found in pkgutil.iter_modules(rankbound.theory.__path__, "rankbound.theory."):
        yield importlib.import_module(found.name)
    yield gallery
    yield strategies


def _is_door(name: str, function: Any, module: ModuleType) -> bool:
    """Whether a function reads what users give, and not what another has read."""
    if name.startswith("_") or function.__module__ != module.__name__ or name in INTERNAL:
        return False
    if getattr(rb, name, None) is function:
        return False  # it is fuzzed as rankbound.name
    kinds = {
        str(p.annotation).split(" ")[0] for p in inspect.signature(function).parameters.values()
    }
    return not kinds & CHECKED


def surface(run_command: Callable[[list[str]], Any]) -> list[Target]:
    """All targets."""
    return [*(_target(*one) for one in public_functions()), *commands(run_command)]


# ---- commands

NUMERALS = ["", "0", "-1", "1", "2", "3", "1.5", "1e3", "nan", "0x10", "٣", "²", "+2", "1_0", " 2"]
NUMERALS += [
    "9" * 30,
    "9" * 5000,
    "-" + "9" * 5000,
    "1,2",
    "2-1",
    "1-",
    ",",
    "1,,2",
    "0-9999",
    "1-99999",
]
FLAGS = ["--json", "--nonsense", "--", "-x", "--seed=x", "--help=1", "@P.npy"]
OUTPUTS = [
    "out.json",
    "/dev/full",
    "/dev/null",
    "empty-folder",
    "nowhere/out",
    "P.npy/out",
    "loop.npy",
]
WRITTEN = {"json", "html", "markdown", "certificates", "figures"}  # what a command writes

ARGUMENTS: dict[str, dict[str, list[str]]] = {  # good ones; FILE: is in the folder of files
    "verify": {"claims": ["softmax-gauge"]},
    "claims": {"claims": ["softmax-gauge"]},
    "check": {"files": ["FILE:certificate.json"]},
    "doctor": {},
    "head-size": {"file": ["FILE:P.npy"], "tokens": ["FILE:X.npy"]},
    "bracket": {"file": ["FILE:P.npy"], "head_sizes": ["1,2"]},
    "atlas": {"n": ["3"]},
    "audit": {"model": ["nonsense"], "text": ["FILE:text.txt"]},
    "experiment": {"name": ["list"]},
    "report": {"store": ["FILE:missing.sqlite"]},
    "completion": {"shell": ["bash"]},
    "sweep status": {"store": ["FILE:missing.sqlite"]},
}


BESIDE = {"figures"}  # runs a script of the checkout, in a process of its own


@dataclass(frozen=True)
class Command(Target):
    """A command: its arguments are the words of each option, by its name in the parser."""

    actions: dict[str, argparse.Action] = field(default_factory=dict)

    def good(self, draw: Random, files: Path) -> dict[str, Any]:
        """Good arguments: what is required, some of the rest."""
        found = {}
        for name, action in self.actions.items():
            words = ARGUMENTS[self.name].get(name)
            needed = action.required or not action.option_strings
            if words is not None and (needed or draw.random() < 0.3):
                found[name] = [word.replace("FILE:", f"{files}/") for word in words]
        return found

    def names(self, arguments: dict[str, Any], draw: Random) -> list[str]:
        """Which arguments to replace, or to add a word to the end."""
        return draw.sample(
            [*self.actions, ""], min(draw.choice((1, 1, 1, 2)), len(self.actions) + 1)
        )

    def bad(self, name: str, good: Any, draw: Random, files: Path) -> Bad:
        """Words for an option, or some more at the end."""
        action = self.actions.get(name)
        if action is not None and action.nargs == 0:
            return Bad("flag", [], free=True)
        if name in WRITTEN and draw.random() < 0.7:
            place = draw.choice(OUTPUTS)
            return Bad(place, [str(files / place)], free=True)
        way = draw.randrange(4)
        if way == 0:
            label, word = draw.choice(WORDS)
            word = word.replace("\ud800", "\udcff").replace("\0", "")  # what a shell can pass
        elif way == 1:
            label = draw.choice(FILES)
            word = str(files / label)
        elif way == 2:
            label = word = draw.choice(NUMERALS)
        else:
            label = word = draw.choice(FLAGS)
        if (action is None and not word) or (self.name == "verify" and word.startswith("--")):
            label = word = "more"  # without a claim all of them would be verified
        return Bad(label[:20], [word], free=True)

    def words(self, arguments: dict[str, Any]) -> list[str]:
        """The command line."""
        words = self.name.split()
        for name, given in arguments.items():
            options = self.actions[name].option_strings if name in self.actions else []
            words += [*options[:1], *given]
        return words

    def run(self, arguments: dict[str, Any]) -> Any:
        """What the command comes to."""
        return self.call(self.words(arguments))


def commands(run_command: Callable[[list[str]], Any]) -> Iterator[Command]:
    """Every command of the parser."""
    from rankbound.cli.main import make_parser

    for name, parser in _commands("", make_parser()):
        if name in BESIDE:
            continue
        actions = {
            action.dest: action
            for action in parser._actions
            if not isinstance(action, argparse._HelpAction)
        }
        lacking = [
            action.dest
            for action in actions.values()
            if action.required and action.dest not in ARGUMENTS.get(name, {})
        ]
        if name not in ARGUMENTS or lacking:
            raise LookupError(f"{name}: no good {lacking} in ARGUMENTS of scripts/fuzz_surface.py")
        yield Command(name, "commands", run_command, {}, (), actions=actions)


def _commands(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, Any]]:
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner:
        yield name, parser
    for action in inner:
        for word, found in action.choices.items():
            yield from _commands(f"{name} {word}".strip(), found)
