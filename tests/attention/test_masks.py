"""Masks are [key, query] with True = visible, and nested means what the theorem needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import rankbound as rb
from rankbound.attention.masks import check_mask, in_blocks, nested_chain
from tests.helpers import refused

SIZES = st.integers(1, 9)


@st.composite
def masks(draw: Any) -> Any:
    """Random, or nested by construction: key i is seen by the first `reach` queries of an order."""
    n = draw(st.integers(1, 5))
    if draw(st.booleans()):
        mask = draw(arrays(np.bool_, (n, n), fill=st.nothing()))
        mask[draw(st.integers(0, n - 1))] |= ~mask.any(axis=0)
        return mask
    reach = [n, *(draw(st.integers(0, n)) for _ in range(n - 1))]
    order = draw(st.permutations(range(n)))
    rows = draw(st.permutations(range(n)))
    return np.array([[order[j] < reach[i] for j in range(n)] for i in rows])


@given(SIZES, st.data())
def test_each_mask_by_its_definition(n: int, data: st.DataObject) -> None:
    i, j = np.indices((n, n))  # i is the key, j the query
    prefix, window = data.draw(st.integers(0, n)), data.draw(st.integers(1, n + 2))
    np.testing.assert_array_equal(rb.full_mask(n), np.ones((n, n), dtype=bool))
    np.testing.assert_array_equal(rb.causal_mask(n), i <= j)
    np.testing.assert_array_equal(rb.prefix_mask(n, prefix), (i <= j) | (i < prefix))
    np.testing.assert_array_equal(rb.sliding_mask(n, window), (i <= j) & (j - i < window))


@given(masks())
def test_nested_is_a_chain_whose_largest_set_is_everything(mask: Any) -> None:
    """By the definition: any two of the sets are comparable, and one of them is all queries.

    Queries that see a single key impose nothing and are left out.
    """
    telling = frozenset(np.flatnonzero(mask.sum(axis=0) > 1))
    seen_by = [frozenset(np.flatnonzero(row)) & telling for row in mask]
    chain = all(a <= b or b <= a for a in seen_by for b in seen_by)
    assert rb.is_nested(mask) is (chain and telling in seen_by)
    if rb.is_nested(mask):  # and then Theorem C decides
        assert rb.log_rank(logits=np.zeros(mask.shape), mask=mask) == 0


@given(masks(), st.data())
def test_nested_does_not_depend_on_the_order(mask: Any, data: st.DataObject) -> None:
    keys, queries = (data.draw(st.permutations(range(len(mask)))) for _ in range(2))
    assert rb.is_nested(mask[np.ix_(keys, queries)]) is rb.is_nested(mask)


@given(SIZES, st.data())
def test_which_of_the_usual_masks_are_nested(n: int, data: st.DataObject) -> None:
    prefix, window = data.draw(st.integers(0, n)), data.draw(st.integers(1, n + 2))
    assert rb.is_nested(rb.full_mask(n))
    assert rb.is_nested(rb.causal_mask(n))
    assert rb.is_nested(rb.prefix_mask(n, prefix))
    assert rb.is_nested(rb.sliding_mask(n, window)) is (window >= n or window == 1)
    padded = rb.full_mask(n)
    padded[data.draw(st.integers(1, n)) :] = False
    assert rb.is_nested(padded)


def test_padding_on_the_left_is_nested() -> None:
    """Key 0 is padding, which only query 0 sees, since it must see something: it imposes nothing.

    One rule: what is_nested calls nested is what Theorem C decides.
    """
    mask = rb.causal_mask(4)
    mask[0, 1:] = False
    assert rb.is_nested(mask)
    P = rb.column_softmax(np.random.default_rng(0).standard_normal((4, 4)), mask=mask)
    assert rb.least_head_size(P, mask=mask) == 1  # as of the causal context of three tokens


def test_an_array_of_objects_is_a_mask_where_all_are_booleans() -> None:
    mask = np.array([[True, np.True_], [False, True]], dtype=object)
    logits = np.eye(2)
    assert rb.log_rank(logits=logits, mask=mask) == rb.log_rank(logits=logits, mask="causal") == 1
    mask[0, 1] = 1
    with pytest.raises(rb.InputTypeError, match="entries of other types, for example 1;"):
        rb.log_rank(logits=logits, mask=mask)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_nested_mask_by_name_is_not_formed(n: int) -> None:
    names = ["causal", *(f"prefix:{P}" for P in range(n + 1))]
    for name in names:
        found, formed = nested_chain(name, n), nested_chain(check_mask(name, (n, n)))
        assert found is not None
        assert formed is not None
        np.testing.assert_array_equal(found.keys, formed.keys)
        np.testing.assert_array_equal(found.seen, formed.seen)
    for name in (f"prefix:{n + 1}", "prefix:", "prefix:-1", "sliding:1", "causal:", "causal:2", ""):
        assert nested_chain(name, n) is None


@pytest.mark.parametrize("name", [None, "causal", "prefix:3", "sliding:2", "holes"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_of_queries_hide_what_the_mask_hides(name: str | None, order: Any) -> None:
    n, width = 10, 4
    mask = None if name in (None, "holes") else check_mask(name, (n, n))
    if name == "holes":
        mask = np.random.default_rng(0).random((n, n)) < 0.5
        mask[5] = True
    mask = None if mask is None else np.asarray(mask, order=order)
    shown = np.zeros((n, n))
    for block in in_blocks(mask, n, width):
        part = shown[block.keys, block.queries]
        part[:] = 1
        block.hide(part, 0)
        assert block.mask is None or not block.mask.all()
        np.testing.assert_array_equal(part, 1 if block.mask is None else block.mask)
    np.testing.assert_array_equal(shown, 1 if mask is None else mask)


def test_more_keys_than_eight_bits_count() -> None:
    n = 600
    seen = np.random.default_rng(0).integers(1, n + 1, n)
    seen[0] = n
    chain = nested_chain(np.arange(n)[:, None] < seen)
    assert chain is not None
    np.testing.assert_array_equal(chain.seen, np.where(seen > 1, seen, 0))
    np.testing.assert_array_equal(chain.keys, np.arange(n))
    mask = np.arange(n)[:, None] < seen
    mask[300, 0], mask[300, np.argmin(seen)] = False, True  # as often, of another query
    assert nested_chain(mask) is None


def test_a_query_that_sees_nothing_has_remedies_that_work() -> None:
    """Show it one key, drop the token, or transpose the mask where that shows all something."""
    L = np.random.default_rng(0).standard_normal((4, 4))
    mask = rb.causal_mask(4)
    mask[:, 1] = False
    with refused(rb.InputError, "query 1", "Show it one key", "its row and its column"):
        rb.log_rank(logits=L, mask=mask)
    kept = np.delete(np.arange(4), 1)
    rb.log_rank(logits=L[np.ix_(kept, kept)], mask=mask[np.ix_(kept, kept)])
    mask[1, 1] = True
    assert rb.least_head_size(logits=L, mask=mask) >= 1
    one_key = np.zeros((4, 4), dtype=bool)
    one_key[:, 0] = True  # as [query, key] all see key 0
    with refused(rb.InputError, "Transposed it hides all keys from none", "pass mask.T"):
        rb.log_rank(logits=L, mask=one_key)
    rb.log_rank(logits=L, mask=one_key.T)
