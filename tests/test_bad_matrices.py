"""Bad matrices get one message that says what was got, what was expected, and what to do.

Never a number, never a NumPy warning (pytest turns warnings into errors), and never an error of
another class than the one documented. Each case lists parts of the message that must all be there:
what was got, the rule, the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
from scipy import sparse

import rankbound as rb
from tests.helpers import NO_SUCH_FILE, case, refused

NAN, INF = float("nan"), float("inf")
P2 = np.array([[0.5, 0.75], [0.5, 0.25]])

Expected = tuple[type[Exception], tuple[str, ...]]

NOT_MATRICES: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
    "nan": ([[1.0, NAN]] * 2, rb.InputError, ("nan at [0, 1]", "expected finite", "Remove or rep")),
    "inf": ([[INF, 1.0]] * 2, rb.InputError, ("inf at [0, 0]", "expected finite", "Remove or rep")),
    "-inf": ([[-INF, 0.0]] * 2, rb.InputError, ("-inf at [0, 0]", "expected finite", "a mask")),
    "ragged": ([[1.0], [1.0, 2.0]], rb.InputError, ("is ragged", "same length")),
    "strings": ([["a", "b"]] * 2, rb.InputTypeError, ("dtype <U1", "expected real", "Convert it")),
    "complex": (np.eye(2) * 1j, rb.InputTypeError, ("complex128", "expected real", "Convert it")),
    "dates": (np.zeros((2, 2), "M8[s]"), rb.InputTypeError, ("datetime64", "expected real")),
    "None": ([[None, 1]] * 2, rb.InputTypeError, ("[0, 0] is None", "expected a real number")),
    "a symbol": (
        [[sympy.Symbol("x", real=True), 1]] * 2,
        rb.InputError,
        ("[0, 0] has no float64 value", "expected a number", "without free symbols"),
    ),
    "10^400": ([[10**400, 1]] * 2, rb.InputError, ("1.8e308", "expected")),
    "ints that round, beside floats": (
        [[2**60 + 1, 0.5]] * 2,
        rb.InputTypeError,
        ("mixes exact numbers with floats", "[0, 0] is 1152921504606846977", "[0, 1] is the fl"),
    ),
    "truth values in objects": (
        np.array([[object(), 1]] * 2),
        rb.InputTypeError,
        ("[0, 0] is <object", "expected a real number"),
    ),
    "a set": ({1, 2}, rb.InputTypeError, ("is a set", "expected a matrix", "a list of rows")),
    "a dict": ({1: 2}, rb.InputTypeError, ("is a dict", "expected a matrix")),
    "a generator": ((row for row in [[1]]), rb.InputTypeError, ("is a generator", "expected a m")),
    "a sparse matrix": (sparse.eye(2).tocsr(), rb.InputTypeError, ("is a sparse", ".toarray()")),
    "a head": (
        rb.AttentionHead(np.eye(2), np.eye(2)),
        rb.InputTypeError,
        ("is a head", "expected a matrix", "head.context(X)"),
    ),
    "bytes": (b"1234", rb.InputTypeError, ("is bytes", "expected a matrix")),
    "a word": (
        "P",
        rb.InputTypeError,
        ("is 'P'", "expected numbers, or the path", ".npy, .npz or .csv"),
    ),
    "no such file": ("none.npy", rb.InputError, ("none.npy cannot be read", NO_SUCH_FILE, "nu")),
    "Decimal": ([[Decimal(1)] * 2] * 2, rb.InputTypeError, ("[0, 0] is Decimal", "a real number")),
    "mpf": ([[mpmath.mpf(1)] * 2] * 2, rb.InputTypeError, ("[0, 0] is mpf", "a real number")),
    "a masked array": (np.ma.ones((2, 2)), rb.InputTypeError, ("is a masked array", "mask=")),
    "numeric strings": ([["1", "0"]] * 2, rb.InputTypeError, ("dtype <U1", "expected real")),
    "a vector": (np.ones(2), rb.InputError, ("shape (2,)", "expected a matrix")),
    "a number": (1.0, rb.InputError, ("shape ()", "expected a matrix")),
    "no rows": (np.ones((0, 2)), rb.InputError, ("shape (0, 2)", "expected at least one row")),
    "no entries": (np.ones((0, 0)), rb.InputError, ("shape (0, 0)", "expected at least one row")),
}

OF_CONTEXT: dict[str, Callable[..., Any]] = {
    "log_rank": rb.log_rank,
    "least_head_size": rb.least_head_size,
    "represent": rb.represent,
    "aitchison_error": lambda P=None, **more: rb.aitchison_error(P, 1, **more),
    "nearest_head": lambda P=None, **more: rb.nearest_head(P, 1, **more),
    "fit_head": lambda P=None, **more: rb.fit_head(P, 1, **more),
}
FROM_LOGITS = {name: f for name, f in OF_CONTEXT.items() if name != "fit_head"}
BATCHED = ("log_rank", "least_head_size", "aitchison_error")


def any_matrix() -> Iterator[Any]:
    """Wherever a matrix is taken, first of all by that name."""
    identity = rb.AttentionHead(np.eye(2), np.eye(2))
    takers: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "spectrum": ("A", rb.spectrum),
        "numerical_rank": ("A", rb.numerical_rank),
        "effective_rank": ("A", rb.effective_rank),
        "stable_rank": ("A", rb.stable_rank),
        "column_softmax": ("L", rb.column_softmax),
        "W_q": ("W_q", lambda W: rb.AttentionHead(W, np.eye(2))),
        "W_k": ("W_k", lambda W: rb.AttentionHead(np.eye(2), W)),
        "W_v": ("W_v", lambda W: rb.AttentionHead(np.eye(2), np.eye(2), W)),
        "logits of a head": ("X", identity.logits),
        "context of a head": ("X", identity.context),
        "logit_spectrum": ("X", lambda X: rb.logit_spectrum(identity, X)),
        "tokens of least_head_size": ("X", lambda X: rb.least_head_size(P2, X=X)),
        "tokens of represent": ("X", lambda X: rb.represent(P2, X=X)),
        "tokens of nearest_head": ("X", lambda X: rb.nearest_head(P2, 1, X=X)),
        "tokens of fit_head": ("X", lambda X: rb.fit_head(P2, 1, X=X)),
        **{name: ("P", f) for name, f in OF_CONTEXT.items()},
    }
    none_is_a_default = ("W_v", "logits of a head", "context of a head")
    for taker, (name, f) in takers.items():
        for bad, (value, error, parts) in NOT_MATRICES.items():
            if bad == "a symbol" and taker.startswith("tokens"):  # exact, and not rational
                words = ("X", "[0, 0] is x", "expected a rational number")
                yield case(f"{taker}({bad})", rb.InputTypeError, words, f, value)
                continue
            yield case(f"{taker}({bad})", error, (name, *parts), f, value)
        if taker in none_is_a_default or name == "P" or taker.startswith(("tokens", "logit_sp")):
            continue
        yield case(f"{taker}(None)", rb.InputTypeError, (name, "is None", "a real"), f, None)


def shapes() -> Iterator[Any]:
    """One matrix where one is expected, and square where it is a context or logits."""
    parts: tuple[str, ...]
    square = ("expected (n, n)", "keys", "quer", "is measured by rb.audit")
    for name, f in OF_CONTEXT.items():
        parts = ("P has shape (2, 3)", *square)
        yield case(f"{name}(not square)", rb.InputError, parts, f, np.full((2, 3), 0.5))
        if name not in BATCHED:
            parts = ("P has shape (2, 2, 2)", "expected a matrix (2 axes)", "documentation says")
            yield case(f"{name}(a batch)", rb.InputError, parts, f, np.stack([P2, P2]))
    for name, f in FROM_LOGITS.items():
        for dtype in (np.int64, np.float64):
            L, parts = np.zeros((2, 3), dtype), ("logits has shape (2, 3)", *square)
            title = f"{name}(logits not square, {L.dtype})"
            yield case(title, rb.InputError, parts, f, logits=L)
        if name not in BATCHED:
            parts = ("logits has shape (2, 2, 2)", "expected a matrix (2 axes)")
            L = np.zeros((2, 2, 2))
            yield case(f"{name}(a batch of logits)", rb.InputError, parts, f, logits=L)


def columns() -> Iterator[Any]:
    """Not positive, or not column-stochastic: the remedy depends on what it looks like."""
    parts: tuple[str, ...]
    low = rb.random_head(8, 2, seed=0).context()
    off = "columns that sum to 1 only within"
    table: dict[str, tuple[Any, tuple[str, ...]]] = {
        "negative": (
            [[1.5, 0.5], [-0.5, 0.5]],
            ("P is -0.5 at [1, 0]", "expected positive", "not"),
        ),
        "off": ([[0.5, 0.5], [0.4, 0.5]], (f"{off} 1.0e-01", "expected 2.2e-15", "pass logits=")),
        "transposed": (P2.T, (off, "Its rows do sum to 1", "pass rows=True", "P.T")),
        "float32": (low.astype(np.float32).astype(float), (off, "in float64", "stored=np.float32")),
        "float16": (low.astype(np.float16).astype(float), (off, "in float64", "stored=np.float16")),
        "logits": (np.eye(3) * 7 + 1, (f"{off} 9.0e+00", "expected", "pass logits=")),
        "n = 1": ([[0.5]], (f"{off} 5.0e-01", "Normalise it")),
        "near 1e308": (np.full((4, 4), 1e308), (off, "Normalise it")),
    }
    for name, f in OF_CONTEXT.items():
        for bad, (value, parts) in table.items():
            yield case(f"{name}({bad} columns)", rb.InputError, parts, f, value)
        parts = ("rows that sum to 1 only within", "Its columns do sum to 1", "pass rows=False")
        yield case(f"{name}(rows=True)", rb.InputError, parts, f, P2, rows=True)
        rows: tuple[Any, ...] = ("yes", 1, None)
        for value in rows:
            parts = (f"rows is {value!r}", "expected True (rows sum to 1) or False")
            yield case(f"{name}(rows={value!r})", rb.InputTypeError, parts, f, P2.T, rows=value)
        for value in ("nonsense", int, np.longdouble, np.complex64):
            parts = ("stored=", "expected np.float16, np.float32 or np.float64", "tolerance")
            title = f"{name}(stored={value!r})"
            yield case(title, rb.InputTypeError, parts, f, P2, stored=value)
    for name, f in FROM_LOGITS.items():
        parts = (
            "P is 0.0 at [1, 0]",
            "expected positive",
            "no head of any size",
            "logits=",
            "mask",
        )
        yield case(f"{name}(zeros)", rb.InputError, parts, f, [[1.0, 0.5], [0.0, 0.5]])


def logits() -> Iterator[Any]:
    """Floats, and exact numbers with at most one common irrational factor."""
    parts: tuple[str, ...]
    x, log = sympy.Symbol("x"), sympy.log
    exact: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
        "ragged ints": ([[1, 2], [3]], rb.InputError, ("is ragged", "the same length")),
        "a vector of ints": ([1, 2], rb.InputError, ("shape (2,)", "expected a matrix")),
        "two factors": (
            sympy.Matrix([[log(2), log(3)], [0, 0]]),
            rb.InputTypeError,
            ("[0, 1] is log(3)", "expected", "one common irrational factor", "pass floats"),
        ),
        "pi and 1": (
            sympy.Matrix([[sympy.pi, 0], [0, 1]]),
            rb.InputTypeError,
            ("[1, 1] is 1", "another entry is pi", "expected one common factor"),
        ),
        "a free symbol": (
            sympy.Matrix([[x, 0], [0, 1]]),
            rb.InputTypeError,
            ("[0, 0] is x", "expected a rational number", "pass floats"),
        ),
        "exact 10^400": ([[10**400, 0], [0, 1]], rb.InputError, ("above 1.8e308", "expected num")),
    }
    floats = {key: value for key, value in NOT_MATRICES.items() if key != "a symbol"}
    for name, f in FROM_LOGITS.items():
        for bad, (value, error, parts) in {**floats, **exact}.items():
            yield case(f"{name}(logits, {bad})", error, ("logits", *parts), f, logits=value)
        for got, given in (("neither", {}), ("both", {"P": P2, "logits": P2})):
            parts = (f"{got} of P and logits given", "expected exactly one")
            yield case(f"{name}({got})", rb.InputTypeError, parts, f, **given)


def exact_matrices() -> Iterator[Any]:
    """What exact_rank does not read."""
    parts: tuple[str, ...]
    table: dict[str, tuple[Any, type[Exception], tuple[str, ...]]] = {
        "a float": ([[1, 0.5]], rb.InputTypeError, ("[0, 1] is the float 0.5", "an exact number")),
        "a string": ([["a"]], rb.InputTypeError, ("[0, 0] is 'a'", "expected an int, a Fraction")),
        "complex": ([[1j]], rb.InputTypeError, ("[0, 0] is 1j", "expected an int, a Fraction")),
        "None in it": ([[None]], rb.InputTypeError, ("[0, 0] is None", "expected an int, a Frac")),
        "ragged": ([[1], [1, 2]], rb.InputError, ("is ragged", "expected one matrix (m, n)")),
        "no rows": (
            [],
            rb.InputError,
            ("is empty", "expected a matrix", "at least one row and column"),
        ),
        "no columns": (
            [[]],
            rb.InputError,
            ("is empty", "expected a matrix", "at least one row and column"),
        ),
        "a vector": ([1, 2], rb.InputError, ("is no matrix", "expected a matrix")),
        "a vector of ints": (np.arange(2), rb.InputError, ("shape (2,)", "expected one matrix")),
        "a number": (5, rb.InputError, ("shape ()", "expected one matrix (m, n)")),
        "pi and 1": (sympy.Matrix([[1, sympy.pi]]), rb.InputTypeError, ("one common factor",)),
    }
    for bad, (value, error, parts) in table.items():
        yield case(f"exact_rank({bad})", error, ("A", *parts), rb.exact_rank, value)
    batch = np.ones((2, 2, 2), dtype=int)
    yield case(
        "exact_rank(a batch)", rb.InputError, ("A has shape (2, 2, 2)",), rb.exact_rank, batch
    )
    for number in (NAN, INF, -INF):
        parts = (f"A[0, 0] is {number}", "expected a finite number")
        title = f"exact_rank({number}, exact)"
        yield case(title, rb.InputError, parts, rb.exact_rank, [[number]], floats="exact")
    words: tuple[Any, ...] = ("round", True, None)
    for word in words:
        parts = (f"floats is {word!r}", 'expected "refuse" or "exact"')
        title = f"exact_rank(floats={word!r})"
        yield case(title, rb.InputError, parts, rb.exact_rank, [[Fraction(1)]], floats=word)


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [*any_matrix(), *shapes(), *columns(), *logits(), *exact_matrices()],
)
def test_refused(call: Callable[[], Any], error: type[Exception], parts: tuple[str, ...]) -> None:
    with refused(error, *parts):
        call()
