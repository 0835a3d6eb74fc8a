"""The one reader of contexts: what it takes, what it remembers, and what it refuses."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy

import rankbound as rb
from rankbound.theory.planning import spectral_kl_bounds
from rankbound.tokens import read_tokens
from tests.helpers import EPS, refused

MASK = np.array([[True, False], [True, True]])
P = np.array([[0.5, 0.0], [0.5, 1.0]])


def test_it_says_what_it_holds() -> None:
    context = rb.Context(P, mask=MASK)
    assert repr(context) == "Context(P, n = 2, float64, 1 of 4 entries hidden)"
    assert repr(rb.Context(logits=[[1, 2], [3, 4]])) == "Context(logits, n = 2, exact)"
    batch = rb.Context(np.stack([P, P]).astype(np.float32))
    assert repr(batch) == "Context(P, batch of 2, n = 2, float32)"
    assert (batch.batch, len(batch), batch[1].n, batch.declared) == ((2,), 2, 2, True)


def test_what_was_read_is_not_read_again() -> None:
    context = rb.Context(P, mask=MASK)
    assert rb.log_rank(context) == rb.log_rank(P, mask=MASK) == 0
    for more in ({"mask": MASK}, {"rows": True}, {"stored": np.float32}, {"logits": P}):
        with refused(rb.InputTypeError, "a Context is given beside", "expected it alone"):
            rb.log_rank(context, **more)
    with pytest.raises(ValueError, match="read-only"):
        context.values[0, 0] = 1.0


def test_hidden_entries_are_zero_and_rows_lie_in_columns() -> None:
    for given in (np.array([[0.5, np.nan], [0.5, 1.0]]), [[0.5, None], [0.5, 1.0]]):
        np.testing.assert_array_equal(rb.Context(given, mask=MASK).values, P)
    turned = rb.Context(P.T, mask=MASK.T, rows=True)
    np.testing.assert_array_equal(turned.values, P)
    assert turned.mask is not None
    np.testing.assert_array_equal(turned.mask, MASK)
    named = rb.Context(np.array([[1.0, 0.0], [0.25, 0.75]]), mask="causal", rows=True)
    assert named.mask is not None  # by name a mask is [key, query] always
    np.testing.assert_array_equal(named.mask, rb.causal_mask(2))
    assert rb.Context(rb.random_context(3, 0), mask="prefix:3").mask is None  # it hides nothing


CAUSAL, C = rb.causal_mask(5), rb.random_context(5, 0, "causal")
FULL = rb.random_context(5, 0)


@pytest.mark.parametrize(
    ("given", "remedy", "mended"),
    [
        ({"P": C.T, "mask": "causal"}, "pass rows=True.", {"rows": True}),
        ({"P": C, "mask": "causal", "rows": True}, "pass rows=False.", {"rows": False}),
        ({"P": C.T, "mask": CAUSAL.T}, "pass rows=True.", {"rows": True}),
        ({"P": C, "mask": CAUSAL, "rows": True}, "pass rows=False.", {"rows": False}),
        ({"P": C.T, "mask": CAUSAL}, "pass P.T.", {"P": C}),
        ({"P": C, "mask": CAUSAL.T}, "transpose the mask, mask.T.", {"mask": CAUSAL}),
        ({"P": FULL, "mask": "causal"}, "columns do without the mask: leave", {"mask": None}),
        (
            {"P": FULL.T, "mask": "sliding:2"},
            "pass rows=True, and leave",
            {"rows": True, "mask": None},
        ),
        ({"P": FULL.T}, "pass rows=True", {"rows": True}),
    ],
)
def test_what_lies_transposed_is_named_and_the_remedy_works(
    given: dict[str, Any], remedy: str, mended: dict[str, Any]
) -> None:
    """Whichever of P and its mask lies transposed; a mask by name cannot."""
    with refused(rb.InputError, "sum to 1 only within", "expected", remedy):
        rb.Context(**given)
    rb.log_rank(rb.Context(**{**given, **mended}))


@pytest.mark.parametrize("added", [-1e4, -1e9, float(np.finfo(np.float32).min), -65504.0])
@pytest.mark.parametrize("rows", [False, True])
def test_a_mask_added_to_logits_is_refused_and_the_remedy_works(added: float, rows: bool) -> None:
    rng = np.random.default_rng(0)
    L = 5 * rng.standard_normal((8, 2)) @ rng.standard_normal((2, 8))
    visible = rb.causal_mask(8).T if rows else rb.causal_mask(8)
    given = L + np.where(visible, 0, added)
    with refused(rb.InputError, "in 28 of 64 entries", "mask", "logits > -5000 as mask="):
        rb.least_head_size(logits=given, rows=rows)
    assert rb.least_head_size(logits=given, rows=rows, mask=given > -5000) == 2
    exact = [[Fraction(x) for x in row] for row in given.tolist()]
    assert rb.Context(logits=exact, rows=rows).exact is not None
    rb.Context(logits=np.where(visible, given.round(), -1e9).astype(np.int64), rows=rows)


def test_large_logits_are_no_mask() -> None:
    """Offsets of columns, one-hot and whole numbers of any size, what no gap separates."""
    rng = np.random.default_rng(0)
    L = rng.standard_normal((6, 6))
    for given in (
        L - 1e9 * rng.integers(0, 2, 6),
        -1e6 * (1 - np.eye(6)),
        1e6 * L,
        -1e5 * np.subtract.outer(np.arange(6), np.arange(6)) ** 2.0,
        L - 700,
        np.where(rb.causal_mask(6), L.round(), -(2.0**60)),
    ):
        rb.Context(logits=given)
    rb.Context(logits=L - 1e9 * (L > 0), mask="causal")  # which says what is hidden


def test_exact_logits_stay_exact() -> None:
    big: Any = 2**60
    third = Fraction(1, 3)
    cases: tuple[Any, ...] = (
        ([[big, big + 1], [0, 1]], [[big, big + 1], [0, 1]]),
        (np.array([[big, big + 1], [0, 1]]), [[big, big + 1], [0, 1]]),
        ([[third, 0], [0, 1]], [[third, 0], [0, 1]]),
        (sympy.log(2) * sympy.Matrix([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    )
    for given, expected in cases:
        context = rb.Context(logits=given)
        assert context.exact == expected
    assert rb.Context(logits=sympy.log(2) * sympy.eye(2)).unit == pytest.approx(np.log(2))
    assert rb.Context(logits=[[0, 0.5], [1, 2]]).exact is None  # nothing is lost in float64
    assert rb.Context(logits=[[0, 0.5], [1, 2]], floats="exact").exact is not None
    with refused(rb.InputTypeError, "mixes exact numbers with floats", "[0, 0] is 11529215"):
        rb.Context(logits=[[big + 1, 0.5], [1, 2]])
    hidden = [[big, float("-inf")], [big + 1, 1]]
    assert rb.Context(logits=hidden, mask=MASK).exact == [[big, 0], [big + 1, 1]]


def test_logits_give_the_context() -> None:
    L = np.random.default_rng(0).standard_normal((4, 4))
    context = rb.Context(logits=L, mask="causal")
    np.testing.assert_array_equal(context.P, rb.column_softmax(L, mask=rb.causal_mask(4)))


@pytest.mark.parametrize("stored", ["bfloat16", np.float16, "float32", np.dtype("f8")])
def test_the_dtype_of_the_data(stored: Any) -> None:
    context = rb.Context(rb.random_context(3, 0), stored=stored)
    assert context.declared
    assert context.stored.name == (stored if isinstance(stored, str) else np.dtype(stored).name)
    assert {"bfloat16": 2.0**-7, "float16": 2.0**-10}.get(
        context.stored.name, context.stored.eps
    ) == context.stored.eps


def test_files(tmp_path: Path) -> None:
    A = rb.random_context(4, 0)
    np.save(tmp_path / "P.npy", A)
    np.savez(tmp_path / "one.npz", anything=A)
    np.savez(tmp_path / "two.npz", P=A, mask=rb.full_mask(4))
    for name in ("P.npy", "one.npz", "two.npz"):
        np.testing.assert_array_equal(rb.Context(tmp_path / name).values, A)
    assert rb.Context(tmp_path / "two.npz", mask=tmp_path / "two.npz").mask is None
    np.savez(tmp_path / "other.npz", Q=A, R=A)
    with refused(rb.InputError, "other.npz holds Q, R", "expected one array, or one called P"):
        rb.Context(tmp_path / "other.npz")
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00\x0a\x00{[]: 1}   \n")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04junk")
    for name in ("bad.npy", "bad.npz"):
        with refused(rb.InputError, f"{name} cannot be read", "expected a matrix"):
            rb.Context(tmp_path / name)


def test_a_tuple_of_tensors_is_a_batch() -> None:
    """As the attentions of a model are, of each layer one, with gradients."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.functional.softmax(torch.eye(4, requires_grad=True).expand(2, 4, 4), dim=-1)
    assert rb.Context((layer, layer), rows=True).batch == (2, 2)
    assert rb.Context([layer[0, 0], *layer[0, 1:]], rows=True).stored.name == "float32"
    with refused(rb.InputTypeError, "P is a tuple that cannot be read"):
        rb.Context((layer, layer[0]), rows=True)


def test_parts_of_a_batch() -> None:
    contexts = np.stack([rb.random_context(3, seed) for seed in range(4)]).reshape(2, 2, 3, 3)
    batch = rb.Context(contexts, mask=np.stack([rb.full_mask(3)] * 2)[:, None])
    assert batch.mask is None
    np.testing.assert_array_equal(batch[1, 0].values, contexts[1, 0])
    assert batch[1].batch == (2,)
    with pytest.raises(IndexError):
        batch[0, 0, 0]
    with refused(rb.InputTypeError, "one context, not a batch"):
        batch[0, 0][0]
    with refused(rb.InputTypeError, "one context, not a batch", ".n"):
        len(batch[0, 0])
    with pytest.raises(TypeError, match="not a truth value"):
        bool(batch)
    with refused(rb.InputError, "leading dimensions"):
        rb.Context(contexts, mask=np.ones((3, 3, 3), np.bool_))


@pytest.mark.parametrize("function", [rb.log_rank, rb.least_head_size])
def test_arrays_in_arrays_out(function: Any) -> None:
    """A batch is a loop, with one mask for all, or one for each."""
    rng = np.random.default_rng(0)
    masks = np.stack([rb.causal_mask(4), rb.full_mask(4), rb.prefix_mask(4, 2)])
    L = rng.standard_normal((2, 3, 4, 4))
    for mask in (masks, rb.causal_mask(4)):
        contexts = rb.column_softmax(L, mask=mask)
        found = function(contexts, mask=mask)
        assert found.dtype == np.int64
        for at in np.ndindex(2, 3):
            own = mask if mask.ndim == 2 else mask[at[1]]
            assert found[at] == function(contexts[at], mask=own)
        turned = np.swapaxes(contexts, -1, -2)
        np.testing.assert_array_equal(
            function(turned, mask=np.swapaxes(mask, -1, -2), rows=True), found
        )


def test_a_batch_of_exact_logits_is_not_rounded() -> None:
    big = 2**60
    M = [[0, 0, 0], [0, big, big + 1], [0, big, big + 2]]
    np.testing.assert_array_equal(rb.log_rank(logits=[M, M]), [2, 2])
    part = rb.Context(logits=[M])[0]
    exact: Any = part.exact
    assert exact == M
    assert rb.certified_log_rank(part).certify().lower == 2
    with refused(rb.InputTypeError, "mixes exact", "[1, 1] is sqrt(2)"):
        rb.Context(logits=[[0.0, 0.0], [0.0, sympy.sqrt(2)]])


def test_an_index_stays_among_the_matrices_of_a_batch() -> None:
    contexts = np.stack([rb.random_context(3, seed) for seed in range(3)])
    np.testing.assert_array_equal(rb.Context(contexts)[..., 0].values, contexts[0])
    A = np.zeros((2, 2, 2, 2))
    A[1, 1] = [[3, 0], [0, 1]]
    bounds = rb.certified_rank(A)[..., 0][1].certify()
    statement: Any = bounds.certificate
    assert (bounds.lower, statement.statement.lower) == (0, 0)
    assert rb.certified_rank(A)[1][1].certify().lower == 2


def test_the_place_of_what_is_undecided() -> None:
    L = np.random.default_rng(0).standard_normal((2, 4, 4))
    mask = np.stack([rb.causal_mask(4), rb.sliding_mask(4, 3)])
    with refused(rb.Undecided, "at [1] of the batch: the mask is not nested"):
        rb.log_rank(logits=L, mask=mask)


def test_infinite_answers_of_a_batch() -> None:
    contexts = np.array([[[0.5, 0.75], [0.5, 0.25]], [[0.6, 0.5], [0.4, 0.5]]])
    np.testing.assert_array_equal(rb.least_head_size(contexts, X=[[1, 0]]), [np.inf, 1])


def test_tokens_remember_what_they_are() -> None:
    X = read_tokens([[1, 0], [0, 2]])
    given: Any = X.given
    assert (X.n, X.rank, given) == (2, 2, [[1, 0], [0, 2]])
    assert read_tokens(X, 2) is X
    with refused(rb.InputError, "X is (2, 2)", "one column per token, 3 of them"):
        read_tokens(X, 3)
    irrational = read_tokens(sympy.sqrt(2) * sympy.Matrix([[1, 2], [2, 4]]))
    assert irrational.rank == 1
    np.testing.assert_allclose(irrational.matrix, np.sqrt(2) * np.array([[1, 2], [2, 4]]))


@pytest.mark.parametrize("common", [0, 10**16, 10**40])
@pytest.mark.parametrize("unit", [1, Fraction(1, 3)])
def test_a_common_part_of_exact_logits_changes_nothing(common: int, unit: Any) -> None:
    """Neither P nor what rests on it, alone or in a batch: float64 holds no difference of these."""
    small = np.array([[1, 2, 0], [0, 1, 1], [2, 0, 1]], dtype=object) * unit
    large = small + common * np.array([1, 2, -1], dtype=object)
    P = rb.column_softmax(small.astype(float))
    for mask in (None, rb.causal_mask(3)):
        shown = rb.column_softmax(small.astype(float), mask=mask)
        for given in (large, large[None]):
            seen = None if mask is None else np.broadcast_to(mask, given.shape)
            found = rb.Context(logits=given, mask=seen).P
            np.testing.assert_allclose(found, np.broadcast_to(shown, given.shape), rtol=8 * EPS)
    for function in (rb.log_rank, rb.least_head_size, partial(rb.aitchison_error, head_size=1)):
        known = function(logits=small)
        assert function(logits=large) == known
        assert function(logits=np.array([large, small])).tolist() == [known, known]
    assert spectral_kl_bounds(logits=large, head_size=1) == pytest.approx(
        spectral_kl_bounds(P, head_size=1), rel=1e-13
    )


@pytest.mark.parametrize(("least", "named"), [(1e-6, "np.float16"), (1e-9, "'bfloat16'")])
def test_no_dtype_is_suggested_that_does_not_hold_an_entry(least: float, named: str) -> None:
    """Sums of either dtype; the smallest positive number of float16 is 6e-8."""
    found = np.array([[1 - least, 0.501], [least, 0.5]])
    with refused(rb.InputError, f"pass stored={named}."):
        rb.Context(found)
