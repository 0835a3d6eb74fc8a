"""Which keys each query sees.

A mask is bool, [key, query], True = visible. This is the transpose of the boolean mask of torch's
``scaled_dot_product_attention`` ([query, key], True = visible); ``torch.nn.MultiheadAttention``
means the opposite by True (hidden).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._files import is_matrix_path
from rankbound._validate import check_int, plain, require_memory, shown
from rankbound.errors import InputError, InputTypeError, did_you_mean

Mask = npt.NDArray[np.bool_]


def check_mask(mask: Any, shape: tuple[int, ...], *, rows: bool = False) -> Mask:
    """Return a bool mask of this shape, (..., n, n), that lets every query see a key.

    A mask by name ("causal", "prefix:P", "sliding:W") is [key, query] always; an array lies as the
    matrix does: [query, key] with ``rows=True``. It is broadcast over leading dimensions only.
    """
    if isinstance(mask, str) and not is_matrix_path(mask):
        visible = _named(mask, shape[-1])
    else:
        visible = plain("mask", mask)[0]
        what = f"dtype {visible.dtype}"
        if visible.dtype == object:
            others = [x for x in visible.flat if not isinstance(x, (bool, np.bool_))]
            if others:
                what = f"entries of other types, for example {shown(others[0], 40)}"
            else:
                visible = visible.astype(np.bool_)
        if visible.dtype != np.bool_:
            ones = visible.dtype != object and (visible == 1).any()
            remedy = (
                "One of 0 and 1 (visible) is `mask == 1`."
                if ones and ((visible == 0) | (visible == 1)).all()
                else "An additive mask of 0 and -inf is `mask == 0`."
            )
            raise InputTypeError(
                f"mask has {what}; expected bool, {_axes(rows)}, True = visible. {remedy}"
            )
        if visible.shape[-2:] != shape[-2:] or visible.ndim < 2:
            raise InputError(
                f"mask has shape {visible.shape} and the matrix {shape}; expected "
                f"{shape[-2:]}, {_axes(rows)}, or a batch of them."
            )
        if rows:
            visible = np.swapaxes(visible, -1, -2)
    try:
        broadcast = np.broadcast_to(visible, shape)
    except ValueError:
        raise InputError(
            f"mask has shape {visible.shape} and the matrix {shape}; expected leading dimensions "
            "that broadcast to those of the matrix."
        ) from None
    blind = ~visible.any(axis=-2)
    if blind.any():
        where = [int(i) for i in np.argwhere(blind)[0]]
        lies = (
            "Transposed it hides all keys from none: if it lies so, pass mask.T. "
            if visible.any(axis=-1).all()
            else ""
        )
        raise InputError(
            f"mask hides every key from query {where[-1]}; expected at least one visible key: "
            f"a softmax over nothing is not defined. {lies}Show it one key, where its P is 1: that "
            "imposes nothing; or drop that token, its row and its column."
        )
    return broadcast


def _axes(rows: bool) -> str:
    return "[query, key] as rows=True says" if rows else "[key, query] (torch's masks: mask.T)"


def _named(text: str, n: int) -> Mask:
    name, _, number = text.partition(":")
    if name == "causal" and not number:
        return causal_mask(n)
    if name in ("prefix", "sliding") and number.isdecimal() and len(number) < 10:
        if name == "prefix":
            return prefix_mask(n, int(number))
        if int(number) > 0:
            return sliding_mask(n, int(number))
    raise InputError(
        f'mask is {shown(text)}; expected "causal", "prefix:P", "sliding:W" with W >= 1, for '
        'example "prefix:4", a .npy, .npz or .csv file of bools, or an array of them.'
        f"{did_you_mean(name, ('causal', 'prefix:P', 'sliding:W'))}"
    )


def full_mask(n: int) -> Mask:
    """Every key is visible to every query: bool, shape (n, n), [key, query], True = visible.

    Examples
    --------
    >>> import rankbound as rb
    >>> bool(rb.full_mask(3).all())
    True
    """
    n = check_int("n", n, least=1)
    require_memory("n", n, n, n)
    return np.ones((n, n), dtype=np.bool_)


def causal_mask(n: int) -> Mask:
    """Key i is visible to query j iff i <= j: bool, shape (n, n), [key, query], True = visible.

    The upper triangle: the transpose of torch's ``tril`` masks.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.causal_mask(2)
    array([[ True,  True],
           [False,  True]])
    """
    return np.triu(full_mask(n))


def prefix_mask(n: int, prefix: int) -> Mask:
    """Causal, and the first `prefix` keys are visible to every query (prefix language model).

    Bool, shape (n, n), [key, query], True = visible; `prefix` is 0 (causal) to n (full).

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.prefix_mask(3, 2).astype(int)
    array([[1, 1, 1],
           [1, 1, 1],
           [0, 0, 1]])
    """
    mask = causal_mask(n)
    prefix = check_int("prefix", prefix, least=0, most=len(mask), why="a part of the sequence")
    mask[:prefix] = True
    return mask


def sliding_mask(n: int, window: int) -> Mask:
    """Causal, and a query sees only the last `window` >= 1 keys, its own included.

    Bool, shape (n, n), [key, query], True = visible. Nested (:func:`is_nested`) only for
    ``window == 1`` and ``window >= n``.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.sliding_mask(3, 2).astype(int)
    array([[1, 1, 0],
           [0, 1, 1],
           [0, 0, 1]])
    """
    mask = causal_mask(n)
    window = check_int("window", window, least=1, why="a query sees at least its own key")
    return mask & ~np.triu(mask, k=min(window, len(mask)))


@dataclass(frozen=True, eq=False)
class Block:
    """Neighbouring queries, and the keys from the first to the last that one of them sees."""

    keys: slice
    queries: slice
    mask: Mask | None  # which of these keys each sees; None if all
    hidden: tuple[slice, Mask] | None  # those that some do not see, first to last, and which do not

    def hide(self, array: npt.NDArray[Any], value: float) -> None:
        """Overwrite what is hidden of an array of the block, (keys, queries)."""
        if self.hidden is not None:
            keys, hidden = self.hidden
            np.copyto(array[keys], value, where=hidden)


def in_blocks(mask: Mask | None, queries: int, width: int) -> tuple[Block, ...]:
    """Blocks of so many queries; without a mask all see all keys."""
    blocks = [slice(start, start + width) for start in range(0, queries, width)]
    if mask is None:
        return tuple(Block(slice(0, None), block, None, None) for block in blocks)
    return tuple(_block(mask, block) for block in blocks)


def _block(mask: Mask, queries: slice) -> Block:
    keys = _spanned(np.any(mask[:, queries], axis=1))
    shown = mask[keys, queries]
    if shown.all():
        return Block(keys, queries, None, None)
    partly = _spanned(~np.all(shown, axis=1))
    return Block(keys, queries, shown, (partly, np.asfortranarray(~shown[partly])))


def _spanned(some: Mask) -> slice:
    """From the first that is True to the last."""
    found = np.flatnonzero(some)
    return slice(int(found[0]), int(found[-1]) + 1)


@dataclass(frozen=True, eq=False)
class Chain:
    """The order of a nested mask: the first ``seen[j]`` of `keys` are what query j sees.

    `keys` are those that some telling query sees, by how many of these queries see them. A query
    that sees one key imposes nothing, its softmax being 1 there whatever the logits: its `seen`
    is 0.
    """

    keys: npt.NDArray[np.int64]
    seen: npt.NDArray[np.int64]

    @property
    def queries(self) -> npt.NDArray[np.int64]:
        """The queries that see at least two keys."""
        return np.flatnonzero(self.seen)


def essential(mask: Mask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the keys and queries that impose anything, keys by how many of these queries see them.

    A query that sees one key imposes nothing, and a key that no other query sees is free.
    """
    keys, _, queries, _ = _counted(mask)
    return keys, queries


def _counted(mask: Mask) -> tuple[npt.NDArray[np.int64], ...]:
    """Keys and how many telling queries see each, queries and how many keys each sees."""
    sees, seen = _in_columns(mask), _in_columns(mask.T)
    queries = np.flatnonzero(sees > 1)
    seen -= mask[:, np.flatnonzero(sees <= 1)].sum(axis=1)
    keys = np.argsort(-seen, kind="stable")
    keys = keys[seen[keys] > 0]
    return keys, seen[keys], queries, sees[queries]


def _in_columns(mask: Mask) -> npt.NDArray[np.int64]:
    """How many entries of each column are True."""
    few = 255  # as many as eight bits count
    found = np.zeros(mask.shape[1], dtype=np.int64)
    for start in range(0, len(mask), few):
        found += mask[start : start + few].sum(axis=0, dtype=np.uint8)
    return found


def nested_chain(mask: Mask | str, n: int | None = None) -> Chain | None:
    """The chain of a mask of shape (n, n), or None if it is not nested; no other is formed.

    Let ``r_1 >= r_2 >= …`` be how many queries see each key and ``c_j`` how many keys query j sees.
    The first t keys are seen ``r_1 + … + r_t`` times, which is at most ``Σ_j min(c_j, t)``, and
    equal for all t only if query j sees the first ``c_j`` of them: if r_i queries see at least i
    keys, for each i (the Ferrers matrix of Gale & Ryser). A mask by name is not formed either,
    where it is nested for all n: n is its size.
    """
    if isinstance(mask, str):
        return None if n is None else _chain_by_name(mask, n)
    keys, often, queries, sees = _counted(mask)
    if not np.array_equal(often, _at_least(sees, len(keys))):
        return None
    seen = np.zeros(mask.shape[1], dtype=np.int64)
    seen[queries] = sees
    return Chain(keys, seen)


def _at_least(counts: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """How many of these are at least 1, 2, … `most`; one more entry if some are larger."""
    found: npt.NDArray[np.int64] = np.cumsum(np.bincount(counts, minlength=most + 1)[::-1])
    return found[::-1][1:]


def _chain_by_name(text: str, n: int) -> Chain | None:
    name, _, number = text.partition(":")
    prefix = (
        0 if text == "causal" else int(number) if name == "prefix" and number.isdecimal() else -1
    )
    if not 0 <= prefix <= n:
        return None
    sees = np.maximum(np.arange(1, n + 1), prefix)
    return Chain(np.arange(n if n > 1 else 0), np.where(sees > 1, sees, 0))


def is_nested(mask: npt.ArrayLike) -> bool:
    """Say whether the keys can be ordered so that the sets of queries that see them decrease.

    The hypothesis of Theorem C, under which the least head size is known exactly: leaving out
    queries that see a single key, which impose nothing, the sets ``K_i = {j : mask[i, j]}`` form a
    chain and the largest holds all the queries that are left. Causal, prefix, full and padded masks
    are nested, with padding on either side; sliding windows are only if their width is 1 or at
    least n. `mask` is bool, (n, n), [key, query]; the transpose of a nested one need not be nested.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.is_nested(rb.causal_mask(4)), rb.is_nested(rb.sliding_mask(4, 2))
    (True, False)
    """
    shape = plain("mask", mask)[0].shape
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise InputError(f"mask has shape {shape}; expected (n, n), [key, query], n >= 1.")
    return nested_chain(check_mask(mask, shape)) is not None
