"""The strategies draw what their tables say, at the sizes that were asked, and shrink."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankbound as rb
import rankbound.testing
from rankbound.testing import contexts, heads, logits, multiheads, strategies, tokens
from rankbound.testing.strategies import CONTEXTS, HEADS, LOGITS, MULTIHEADS, TOKENS
from tests.helpers import EPS, Array, refused

TABLES: dict[str, tuple[Callable[..., Any], Any]] = {
    "logits": (logits, LOGITS),
    "contexts": (contexts, CONTEXTS),
    "tokens": (tokens, TOKENS),
    "heads": (heads, HEADS),
    "multiheads": (multiheads, MULTIHEADS),
}
MINIMUM = settings(derandomize=True, database=None, max_examples=500)


def least(strategy: st.SearchStrategy[Any], holds: Callable[[Any], bool]) -> Any:
    """What Hypothesis shrinks to."""
    from hypothesis import find

    return find(strategy, holds, settings=MINIMUM)


@pytest.mark.parametrize("name", TABLES)
def test_public_names_and_documented_kinds(name: str) -> None:
    strategy, table = TABLES[name]
    assert getattr(rankbound.testing, name) is strategy is getattr(strategies, name)
    assert name in dir(rankbound.testing)
    documented = [
        line.split("``")[1]
        for line in (strategy.__doc__ or "").splitlines()
        if line.strip().startswith("* ``")
    ]
    assert documented == list(table)


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match=r"No rankbound.testing attribute nonsense"):
        getattr(rankbound.testing, "nonsense")  # noqa: B009  # a name that no checker knows


@given(st.data())
def test_every_kind_has_the_sizes_that_were_asked(data: st.DataObject) -> None:
    n, d = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    assert data.draw(logits(n)).shape == data.draw(contexts(n)).shape == (n, n)
    assert data.draw(tokens(d, n)).shape == (d, n)
    head = data.draw(heads(d, n))
    assert (head.d, head.head_size) == (d, n)
    layer = data.draw(multiheads(d, n))
    assert (layer.d, layer.heads) == (d, n)
    assert max(data.draw(tokens(largest=3)).shape) <= 3


@given(logits())
def test_logits_are_finite_and_square(L: Array) -> None:
    assert np.isfinite(L).all()
    assert L.dtype in (np.float64, np.int64)
    assert L.shape == (len(L), len(L))


@given(logits(kinds="constant"))
def test_constant_logits(L: Array) -> None:
    assert np.equal(L, L[0]).all()


@given(logits(kinds="integer"))
def test_integer_logits(L: Array) -> None:
    assert L.dtype == np.int64


@given(contexts(kinds="integer"), tokens(kinds="integer"))
def test_integer_contexts_and_tokens(P: Array, X: Array) -> None:
    """The ratios of a column are of weights from 1 to 9."""
    weights = P / P.min(axis=0)
    possible = sorted({i / j for i in range(1, 10) for j in range(1, i + 1)})
    off = np.abs(weights[..., None] - possible).min(axis=-1) / weights
    assert off.max() <= 4 * EPS  # of the sum none; a division each, and that of the ratio
    assert X.dtype == np.int64
    assert np.abs(X).max() <= 3


@given(logits(kinds="low_rank"))
def test_low_rank_logits(L: Array) -> None:
    assert int(rb.exact_rank(L, floats="exact")) < len(L)


@given(logits(kinds="repeated") | tokens(kinds="repeated"))
def test_repeated_columns(L: Array) -> None:
    assert len({tuple(column) for column in L.T.tolist()}) < L.shape[1]


@given(logits(kinds="one_hot"))
def test_one_hot_logits(L: Array) -> None:
    assert ((L != 0).sum(axis=0) == 1).all()
    assert ((L != 0).sum(axis=1) == 1).all()
    assert 1 <= L.max() <= 1000


@given(logits(kinds="underflow"))
def test_underflowing_logits(L: Array) -> None:
    with np.errstate(under="ignore"):
        assert (np.exp(L - L.max(axis=0)) == 0).sum() == len(L) * (len(L) - 1)


@given(logits(kinds="single") | contexts(kinds="single"))
def test_single(L: Array) -> None:
    assert L.shape == (1, 1)


def test_near_low_rank_reaches_every_gap() -> None:
    """From a numerical rank above the low one to none."""
    near = logits(4, kinds="near_low_rank")
    assert rb.numerical_rank(least(near, lambda L: rb.numerical_rank(L) == 4)) == 4
    assert rb.numerical_rank(least(near, lambda L: 0 < rb.numerical_rank(L) < 4)) < 4


def test_huge_logits_are_huge() -> None:
    assert np.abs(least(logits(kinds="huge"), lambda L: np.abs(L).max() > 1e306)).max() > 1e306


@given(contexts())
def test_contexts_are_positive_and_stochastic(P: Array) -> None:
    """Normal numbers, so that their logarithms are good to eps; n + 1 roundings in a sum."""
    assert np.finfo(np.float64).tiny <= P.min()
    assert np.max(np.abs(P.sum(axis=0) - 1)) <= (len(P) + 1) * EPS
    rb.log_rank(P, stored=np.float64)  # a gap of 1e-7 is meant


def test_contexts_reach_their_ends() -> None:
    assert least(contexts(kinds="tiny"), lambda P: P.min() < 1e-300).min() < 1e-300
    peaked = least(contexts(kinds="one_hot"), lambda P: P.max(axis=0).min() == 1)
    assert (peaked.max(axis=0) == 1).all()
    assert peaked.min() > 0


@given(tokens(kinds="full_column_rank"))
def test_tokens_of_full_column_rank(X: Array) -> None:
    values = np.linalg.svd(X, compute_uv=False)
    assert X.shape[0] >= X.shape[1]
    # between 1 and 10, to rounding
    assert values[0] <= 10 * values[-1] * (1 + 100 * EPS)


@given(tokens(kinds=("low_rank", "wide")))
def test_tokens_that_are_not_of_full_column_rank(X: Array) -> None:
    assert int(rb.exact_rank(X, floats="exact")) < max(X.shape)


@given(tokens(kinds="wide"), tokens(kinds="single"))
def test_shapes_of_tokens(wide: Array, single: Array) -> None:
    assert wide.shape[0] < wide.shape[1]
    assert single.shape[1] == 1


@given(heads())
def test_heads_have_values_and_a_context(head: rb.AttentionHead) -> None:
    assert head.W_v is not None
    P = head.context()
    assert np.max(np.abs(P.sum(axis=0) - 1)) <= (head.d + 1) * EPS


@given(heads(kinds="zero"), heads(kinds="low_rank"), heads(kinds="integer"))
def test_kinds_of_heads(
    zero: rb.AttentionHead, low: rb.AttentionHead, integer: rb.AttentionHead
) -> None:
    assert (zero.logits() == 0).all()
    assert low.head_size >= 2
    assert rb.numerical_rank(low.logits()) <= 1
    assert integer.scale == 1
    np.testing.assert_array_equal(integer.logits(), np.round(integer.logits()))


@given(heads(kinds="wide"), heads(kinds="single"), heads(kinds="huge"))
def test_sizes_of_heads(
    wide: rb.AttentionHead, single: rb.AttentionHead, huge: rb.AttentionHead
) -> None:
    assert wide.head_size > wide.d
    assert single.head_size == 1
    assert np.abs(huge.W_q).max() > 1e140


@given(multiheads())
def test_layers_have_an_output(layer: rb.MultiHead) -> None:
    assert layer.output(np.eye(layer.d)).shape == (layer.d, layer.d)


@given(multiheads(kinds="standard"), multiheads(kinds="single"), multiheads(kinds="repeated"))
def test_kinds_of_layers(
    standard: rb.MultiHead, single: rb.MultiHead, repeated: rb.MultiHead
) -> None:
    assert standard.head_size * standard.heads == standard.d
    assert (single.heads, single.head_size) == (1, single.d)
    assert (repeated.W_q == repeated.W_q[0]).all()
    assert repeated.heads >= 2


def test_a_fixed_layer_may_have_any_head_size() -> None:
    layer = least(multiheads(4, 2, kinds="fixed"), lambda layer: layer.head_size > 4)
    assert layer.head_size == 5


def test_failures_shrink_to_something_small() -> None:
    """Sizes shrink in every kind, and entries where they are integers."""
    assert least(logits(), lambda L: rb.log_rank(logits=L, stored=np.float64) >= 1).shape == (2, 2)
    assert least(contexts(), lambda P: rb.log_rank(P, stored=np.float64) >= 2).shape == (3, 3)
    assert least(tokens(), lambda X: X.shape[0] >= 2 and X.shape[1] >= 3).shape == (2, 3)
    assert least(heads(), lambda head: head.head_size > head.d).W_q.shape == (2, 1)
    assert least(multiheads(), lambda layer: layer.heads > 2).W_q.shape[0] == 3
    P = least(contexts(kinds="integer"), lambda P: rb.log_rank(P, stored=np.float64) >= 1)
    np.testing.assert_array_equal(np.sort(P, axis=None), [1 / 3, 0.5, 0.5, 2 / 3])
    X = least(tokens(kinds="integer"), lambda X: rb.numerical_rank(X) >= 2)
    assert X.shape == (2, 2)
    assert np.abs(X).max() == 1
    low = least(logits(kinds="low_rank"), lambda L: int(rb.exact_rank(L, floats="exact")) == 2)
    assert low.shape == (3, 3)
    assert np.abs(low).max() <= 2


DEADLINE = """
import datetime, sys
HEAVY = ("rankbound", "scipy", "flint", "mpmath", "sympy", "joblib", "matplotlib")
from hypothesis import given, settings
from rankbound import testing
import rankbound as rb
usual = datetime.timedelta(milliseconds=200)  # Hypothesis's own; none where it sees a CI

@settings(max_examples=5, database=None, deadline=usual)
@given(testing.heads(3, kinds="integer"), testing.tokens(3, kinds="integer"), testing.contexts(3))
def law(head, X, P):
    assert rb.log_rank(head=head, X=X) <= head.head_size
    rb.certified_log_rank(P, ratio=1e-3)
    rb.least_head_size(logits=[[1, 2], [3, 5]])
    rb.fit_head(P, 1, max_iterations=3)

before = set(sys.modules)
law()
print(*(name for name in set(sys.modules) - before if name.partition(".")[0] in HEAVY))
"""


def test_the_first_example_meets_its_deadline() -> None:
    """In a process that has imported nothing: what properties use is imported beforehand."""
    run = subprocess.run(
        [sys.executable, "-c", DEADLINE], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []  # modules imported by the examples


def test_one_kind_or_several() -> None:
    several = logits(2, kinds=("gaussian", "integer"))
    assert least(several, lambda L: L.dtype == np.int64).dtype == np.int64
    assert least(several, lambda L: L.dtype == np.float64).dtype == np.float64


@pytest.mark.parametrize("name", TABLES)
def test_bad_kinds(name: str) -> None:
    strategy, table = TABLES[name]
    first = next(iter(table))
    with refused(rb.InputError, f"{name}: no kind 'nonsense'", "expected some of", first):
        strategy(kinds="nonsense")
    with refused(rb.InputError, "kinds is empty", "expected some of", first):
        strategy(kinds=())
    with refused(rb.InputTypeError, "kinds is 7", "expected a name or several"):
        strategy(kinds=7)
    with refused(rb.InputError, "largest is 0", "at least 1"):
        strategy(largest=0)


@pytest.mark.parametrize(
    ("strategy", "sizes", "kind"),
    [
        (tokens, {"d": 3, "n": 3}, "wide"),
        (tokens, {"d": 2, "n": 3}, "full_column_rank"),
        (tokens, {"n": 1}, "repeated"),
        (logits, {"n": 1}, "low_rank"),
        (contexts, {"n": 2}, "single"),
        (heads, {"d": 3, "head_size": 3}, "wide"),
        (heads, {"head_size": 1}, "low_rank"),
        (multiheads, {"d": 3, "heads": 2}, "standard"),
    ],
)
def test_kinds_that_do_not_exist_at_a_size(
    strategy: Callable[..., Any], sizes: dict[str, int], kind: str
) -> None:
    size = next(iter(sizes.items()))
    with refused(rb.InputError, f"kind {kind!r} does not exist at", f"{size[0]} = {size[1]}"):
        strategy(**sizes, kinds=kind)


@pytest.mark.parametrize("size", [0, -1])
def test_bad_sizes(size: int) -> None:
    with refused(rb.InputError, f"n is {size}", "at least 1"):
        logits(size)
    with refused(rb.InputError, f"d is {size}", "at least 1"):
        tokens(size)
