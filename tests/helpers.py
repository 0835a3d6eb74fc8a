"""What several test modules need: vectors, refusals, and matrices over the rationals."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import strategies as st

import rankbound as rb

# in the words of the system, which LC_MESSAGES may translate
NO_SUCH_FILE = os.strerror(errno.ENOENT)
FILE_EXISTS = os.strerror(errno.EEXIST)
IS_A_DIRECTORY = os.strerror(errno.EISDIR)
NAME_TOO_LONG = os.strerror(errno.ENAMETOOLONG)

EPS = float(np.finfo(np.float64).eps)

Array = npt.NDArray[np.float64]
Rows = list[list[Fraction]]

# powers of two for matrices of entries below 2^10, the ends of float64 more often than by chance
EXPONENTS = st.sampled_from([-1074, -1073, -1065, -1022, 1010]) | st.integers(-1074, 1010)
SMALL_FRACTIONS = st.builds(Fraction, st.integers(-3, 3), st.integers(1, 4))


def vectors(name: str) -> list[dict[str, Any]]:
    """The cases of a file made by scripts/make_vectors.py."""
    text = (Path(__file__).parent / "vectors" / f"{name}.json").read_text(encoding="utf-8")
    cases: list[dict[str, Any]] = json.loads(text)["cases"]
    return cases


def script(name: str) -> Any:
    """A module of scripts/."""
    path = Path(__file__).parents[1] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@contextmanager
def refused(error: type[Exception], *parts: str) -> Iterator[pytest.ExceptionInfo[Any]]:
    """Expect this very class of error, its message holding every part."""
    with pytest.raises(error) as caught:
        yield caught
    assert caught.type is error
    for part in parts:
        assert part in str(caught.value)


def case(
    name: str,
    error: type[Exception],
    parts: tuple[str, ...],
    function: Callable[..., Any],
    *arguments: Any,
    **keywords: Any,
) -> Any:
    """A call that must be refused with this error, for ``pytest.mark.parametrize``."""
    return pytest.param(partial(function, *arguments, **keywords), error, parts, id=name)


@st.composite
def rational_rows(
    draw: Callable[..., Any], rows: int | None = None, columns: int | None = None
) -> Rows:
    """A matrix of small Fractions, a product of thin ones half of the time."""
    m = rows or draw(st.integers(1, 5))
    n = columns or draw(st.integers(1, 5))
    inner = draw(st.sampled_from([None, *range(1, min(m, n))]))
    if inner is None:
        return draw(_table(m, n))  # type: ignore[no-any-return]
    return times(draw(_table(m, inner)), draw(_table(inner, n)))


def _table(m: int, n: int) -> st.SearchStrategy[Rows]:
    return st.lists(st.lists(SMALL_FRACTIONS, min_size=n, max_size=n), min_size=m, max_size=m)


def times(A: Rows, B: Rows) -> Rows:
    """The product, by the definition."""
    return [
        [
            sum((a * b for a, b in zip(row, column, strict=True)), Fraction(0))
            for column in zip(*B, strict=True)
        ]
        for row in A
    ]


def transposed(A: Rows) -> Rows:
    """The transpose."""
    return [list(column) for column in zip(*A, strict=True)]


def less_column_means(A: Rows) -> Rows:
    """C A, as the product with C = I - 11^T/n."""
    n = len(A)
    C = [[Fraction(int(i == j)) - Fraction(1, n) for j in range(n)] for i in range(n)]
    return times(C, A)


def sympy_rank(rows: Any) -> int:
    """The rank that SymPy finds by elimination over the rationals."""
    import sympy

    return int(sympy.Matrix(rows).rank())


def log_spectrum(P: npt.ArrayLike) -> Array:
    """Singular values of C log P, by the formula."""
    log_P = np.log(np.asarray(P, dtype=np.float64))
    n = len(log_P)
    values = np.linalg.svd((np.eye(n) - 1 / n) @ log_P, compute_uv=False)
    return np.asarray(values, dtype=np.float64)


def certificate_of(bounds: rb.RankBounds) -> Any:
    """The certificate of the lower side, written and accepted."""
    return bounds.certify().certificate


def certified(bounds: rb.RankBounds) -> rb.RankBounds | None:
    """The certified record, or None where there is none; the bounds keep their verdict."""
    before = bounds.verdict
    try:
        return bounds.certify()
    except rb.Undecided as error:
        assert error.bounds is bounds
        return None
    finally:
        assert bounds.verdict is before
