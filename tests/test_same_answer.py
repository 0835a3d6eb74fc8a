"""One matrix, whatever it is given as: every function has the same answer, or the same refusal.

Random contexts and logits, exact and float, with and without masks, with and without faults, go to
every function that takes a context as an array, nested lists, a data frame, a torch tensor, a path,
an ``rb.Context``, and by rows. 150 of them here; ``make same-answer`` tries 2,000.
"""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import rankbound as rb

pytestmark = pytest.mark.slow

CASES = int(os.environ.get("SAME_ANSWER", "150"))
PER_TEST = 10
TORCH, PANDAS = find_spec("torch") is not None, find_spec("pandas") is not None

FAST: dict[str, Callable[..., Any]] = {
    "log_rank": rb.log_rank,
    "least_head_size": rb.least_head_size,
    "represent": rb.represent,
    "aitchison_error": lambda P=None, **given: rb.aitchison_error(P, 1, **given),
    "nearest_head": lambda P=None, **given: rb.nearest_head(P, 1, **given),
    "kl_lower_bound": lambda P=None, **given: rb.kl_lower_bound(P, 1, **given),
    "sparse_head": rb.sparse_head,
}
SLOW: dict[str, Callable[..., Any]] = {
    "certified_log_rank": lambda P=None, **given: rb.certified_log_rank(
        P, ratio=None if _exact_logits(P, given) else 1e-4, **given
    ),
    "fit_head": lambda P=None, **given: rb.fit_head(P, 1, random_starts=0, **given),
    "kl_bracket": lambda P=None, **given: rb.kl_bracket(P, [1], random_starts=0, **given),
}
KEYWORDS = {name: set(inspect.signature(getattr(rb, name)).parameters) for name in {**FAST, **SLOW}}


def _exact_logits(P: Any, given: dict[str, Any]) -> bool:
    context = P if isinstance(P, rb.Context) else None
    if context is not None:
        return context.exact is not None
    logits = given.get("logits")
    try:
        return logits is not None and rb.Context(**given).exact is not None
    except rb.RankboundError:
        return False


@dataclass(frozen=True)
class Case:
    """A matrix with all that says how to read it; ``name`` is P or logits."""

    name: str
    values: npt.NDArray[Any]
    mask: Any = None
    rows: bool = False
    stored: str | None = None  # where the values alone do not say it
    what: str = ""

    def given(self) -> dict[str, Any]:
        """The keyword arguments."""
        found: dict[str, Any] = {self.name: self.values}
        found |= {} if self.mask is None else {"mask": self.mask}
        found |= {"rows": True} if self.rows else {}
        return found | ({} if self.stored is None else {"stored": self.stored})


def draw(seed: int) -> Case:
    """A case; one of three has a fault."""
    rng = np.random.default_rng([7, seed])
    n = int(rng.integers(2, 7))
    mask = _mask(rng, n)
    kind = str(rng.choice(["P", "P32", "logits", "logits32", "ints", "fractions", "large"]))
    logits = rng.standard_normal((n, n))
    if rng.random() < 0.4:  # of low rank
        logits = logits[:, :1] @ logits[:1]
    stored = None
    values: npt.NDArray[Any]
    if kind.startswith("P"):
        values = rb.column_softmax(logits, mask=mask)
        if kind == "P32":
            values = _normalised32(values)
    elif kind == "ints":
        values = rng.integers(-3, 4, (n, n))
    elif kind == "large":
        values = np.array([[2**60 + int(x) for x in row] for row in rng.integers(0, 3, (n, n))])
    elif kind == "fractions":
        values = np.array(
            [[Fraction(int(x), 3) for x in row] for row in rng.integers(-3, 4, (n, n))]
        )
    else:
        values = logits.astype(np.float32 if kind == "logits32" else np.float64)
        if TORCH and kind == "logits32" and rng.random() < 0.5:
            kind, stored = "bfloat16", "bfloat16"
            values = _to_bfloat16(values)
    if mask is not None and kind in ("logits", "logits32") and rng.random() < 0.5:
        hidden = values.dtype.type(rng.choice([np.nan, np.inf, -np.inf, 7.0]))
        values = np.where(mask, values, hidden)
    name = "P" if kind.startswith("P") else "logits"
    case = Case(name, values, mask, stored=stored, what=kind)
    if rng.random() < 1 / 3:
        case = _faulty(rng, case)
    return _by_rows(case) if rng.random() < 0.3 else case


def _mask(rng: np.random.Generator, n: int) -> npt.NDArray[np.bool_] | None:
    kind = int(rng.integers(8))
    if kind == 0:
        return rb.causal_mask(n)
    if kind == 1:
        return rb.prefix_mask(n, int(rng.integers(n + 1)))
    if kind == 2:
        return rb.sliding_mask(n, int(rng.integers(1, n + 1)))
    if kind == 3:
        mask = rng.random((n, n)) < 0.6
        mask[rng.integers(n, size=n), np.arange(n)] = True
        return mask
    return None


def _normalised32(P: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    rounded = P.astype(np.float32)
    found: npt.NDArray[np.float32] = rounded / rounded.sum(axis=0)
    return found


def _to_bfloat16(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    import torch

    found: npt.NDArray[Any] = torch.tensor(values).bfloat16().float().numpy()
    return found


def _by_rows(case: Case) -> Case:
    mask = case.mask
    if isinstance(mask, np.ndarray) and mask.ndim >= 2:
        mask = np.swapaxes(mask, -1, -2)
    values = np.swapaxes(case.values, -1, -2) if case.values.ndim >= 2 else case.values
    return replace(case, values=values, mask=mask, rows=not case.rows)


def _faulty(rng: np.random.Generator, case: Case) -> Case:
    """The case with something in it that every function must refuse."""
    values, n = case.values.copy(), case.values.shape[-1]
    floats = values.dtype.kind == "f"
    fault = str(
        rng.choice(["entry", "stochastic", "blind", "mask shape", "mask kind", "shape", "complex"])
    )
    visible = np.ones((n, n), np.bool_) if case.mask is None else case.mask
    at = tuple(rng.choice(np.argwhere(visible)))
    if fault == "entry" and floats:
        wrong = [np.nan, np.inf, -np.inf] + ([-0.25, 0.0] if case.name == "P" else [])
        values[at] = rng.choice(wrong)
    elif fault == "stochastic" and case.name == "P":
        values = values * 1.5
    elif fault == "blind":
        mask = visible.copy()
        mask[:, 0] = False
        return replace(case, mask=mask, what=f"{case.what}, {fault}")
    elif fault == "mask shape":
        mask = [np.ones((n + 1, n + 1), np.bool_), np.ones(n, np.bool_), np.ones((1, n), np.bool_)]
        return replace(case, mask=mask[int(rng.integers(3))], what=f"{case.what}, {fault}")
    elif fault == "mask kind":
        return replace(case, mask=visible.astype(np.int64), what=f"{case.what}, {fault}")
    elif fault == "shape":
        values = [values[:-1], values[0], values[:, :0], np.stack([values, values])][
            int(rng.integers(4))
        ]
    elif fault == "complex" and floats:
        values = values.astype(np.complex128)
    else:
        return case
    return replace(case, values=values, what=f"{case.what}, {fault}")


def routes(case: Case, folder: Path) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """The same case by every way in: its name, positional and keyword arguments."""
    given, values, mask = case.given(), case.values, case.mask
    array_mask = {} if not isinstance(mask, np.ndarray) else {"mask": mask.tolist()}
    as_stored = {"stored": "float32"} if values.dtype == np.float32 and not case.stored else {}
    if values.size:  # lists without entries have lost a dimension
        yield "list", (), given | {case.name: values.tolist()} | array_mask | as_stored
    yield "order", (), given | {case.name: np.asfortranarray(values)}
    yield "rows", (), _by_rows(case).given()
    with suppress(rb.RankboundError):  # what the reader refuses has a test of its own
        yield "context", (rb.Context(**given),), {}
    if values.dtype != object:
        np.save(folder / "values.npy", values)
        path_mask = {}
        if isinstance(mask, np.ndarray):
            np.savez(folder / "mask.npz", mask)
            path_mask = {"mask": folder / "mask.npz"}
        yield "path", (), given | {case.name: str(folder / "values.npy")} | path_mask
    if PANDAS and values.ndim == 2:
        import pandas

        yield "frame", (), given | {case.name: pandas.DataFrame(values)}
    if TORCH and values.dtype != object:
        import torch

        tensor = torch.tensor(values)
        if case.stored == "bfloat16" and not tensor.is_complex():  # there is no complex bfloat16
            tensor = tensor.bfloat16()
            given.pop("stored")
        tensor.requires_grad_(tensor.is_floating_point())
        torch_mask = {"mask": torch.tensor(mask)} if isinstance(mask, np.ndarray) else {}
        yield "torch", (), given | {case.name: tensor} | torch_mask


Outcome = tuple[str, Any]


def outcome(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Outcome:
    """What came back, in plain values; only errors of rankbound are refusals."""
    try:
        found = function(*arguments, **keywords)
    except rb.RankboundError as error:
        return type(error).__name__, str(error)
    except Exception as error:  # an error or a warning of NumPy, torch or the interpreter
        return f"raw {type(error).__name__}", str(error)
    return "answer", _plain(found)


def _plain(found: Any) -> Any:
    if isinstance(found, rb.AttentionHead):
        return [found.head_size, found.context().tolist()]
    if isinstance(found, rb.RankBounds):
        return [found.lower, found.upper, found.verdict.value]
    if isinstance(found, rb.Bracket):
        return [found.lower.tolist(), found.upper.tolist()]
    if isinstance(found, rb.Fit):
        return [found.kl, found.head.head_size]
    return np.asarray(found).tolist()


def same(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes are the same, up to the last digits of floats."""
    if one[0] != other[0]:
        return False
    if one[0] == "answer":
        return _close(one[1], other[1])
    return _without_digits(one[1]) == _without_digits(other[1])


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(_close, a, b))
    if isinstance(a, float):
        return a == b or math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-9)
    return bool(a == b)


def _without_digits(message: str) -> str:
    return re.sub(r"-?\d+\.\d+(e[+-]?\d+)?|\d+e[+-]\d+", "#", message)


def _takes(function: str, keywords: dict[str, Any]) -> bool:
    return set(keywords) - {"P"} <= KEYWORDS[function]


def disagreements(case: Case, folder: Path, functions: dict[str, Any]) -> Iterator[str]:
    """Where a route differs from the array itself, in words."""
    others = list(routes(case, folder))
    for name, function in functions.items():
        if not _takes(name, case.given()):
            continue
        expected = outcome(function, **case.given())
        for route, arguments, keywords in others:
            if not _takes(name, keywords):
                continue
            found = outcome(function, *arguments, **keywords)
            if route == "rows" and expected[0] == found[0] in ("InputError", "InputTypeError"):
                continue  # the messages name columns or rows
            if not same(found, expected) or found[0].startswith("raw"):
                yield f"{name} by {route}: {found}\n    and by array: {expected}"


@pytest.mark.parametrize("first", range(0, CASES, PER_TEST))
def test_same_answer_by_every_route(first: int, tmp_path: Path) -> None:
    wrong = []
    for seed in range(first, min(first + PER_TEST, CASES)):
        case = draw(seed)
        functions = FAST | (SLOW if seed % 5 == 0 else {})
        wrong += [
            f"seed {seed} ({case.what}), {one}" for one in disagreements(case, tmp_path, functions)
        ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("first", range(0, CASES, PER_TEST))
def test_whatever_the_reader_refuses_all_refuse_in_the_same_words(first: int) -> None:
    wrong = []
    for seed in range(first, min(first + PER_TEST, CASES)):
        case = draw(seed)
        refusal = outcome(rb.Context, **case.given())
        if refusal[0] == "answer":
            continue
        for name, function in (FAST | SLOW).items():
            if _takes(name, case.given()):
                found = outcome(function, **case.given())
                if not same(found, refusal) or found[0].startswith("raw"):
                    wrong.append(
                        f"seed {seed} ({case.what}), {name}: {found}\n    the reader: {refusal}"
                    )
    assert not wrong, "\n".join(wrong)


TOKENS = {
    "floats": np.array([[1.0, 2.0, 0.5], [0.0, 1.0, 0.25]]),
    "ints": np.array([[1, 2, 3], [0, 1, 1], [1, 0, 0]]),
    "float32": np.array([[1, 2, 3], [0, 1, 1], [1, 0, 2]], np.float32),
    "nan": np.array([[1.0, np.nan, 0.5], [0.0, 1.0, 0.25]]),
    "bool": np.eye(3, dtype=np.bool_),
    "wrong length": np.eye(4),
    "flat": np.ones(3),
}


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("function", [rb.least_head_size, rb.represent])
def test_tokens_by_every_route(function: Callable[..., Any], name: str, tmp_path: Path) -> None:
    X, logits = TOKENS[name], [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    np.save(tmp_path / "X.npy", X)
    ways: dict[str, Any] = {"path": tmp_path / "X.npy", "order": np.asfortranarray(X)}
    if X.dtype != np.float32:
        ways["list"] = X.tolist()
    if PANDAS and X.ndim == 2:
        import pandas

        ways["frame"] = pandas.DataFrame(X)
    if TORCH:
        import torch

        ways["torch"] = torch.tensor(X)
    expected = outcome(function, X=X, logits=logits)
    for way, given in ways.items():
        found = outcome(function, X=given, logits=logits)
        assert same(found, expected), f"{way}: {found}; by array: {expected}"


@pytest.mark.parametrize("name", ["aitchison_error", "nearest_head", "sparse_head"])
def test_a_masked_context_is_refused_where_no_mask_is_taken(name: str) -> None:
    P = rb.column_softmax(np.arange(9.0).reshape(3, 3), mask=rb.causal_mask(3))
    context = rb.Context(P, mask="causal")
    found = outcome((FAST | SLOW)[name], context)
    assert found[0] in ("InputError", "InputTypeError"), found
    assert "mask" in found[1]
