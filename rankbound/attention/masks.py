"""Which keys each query sees.

A mask is bool, [key, query], True = visible. This is the transpose of the boolean mask of torch's
``scaled_dot_product_attention`` ([query, key], True = visible); ``torch.nn.MultiheadAttention``
means the opposite by True (hidden).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import check_int
from rankbound.errors import InputError, InputTypeError

__all__ = ["causal_mask", "check_mask", "full_mask", "is_nested", "prefix_mask", "sliding_mask"]

Mask = npt.NDArray[np.bool_]


def check_mask(mask: Any, shape: tuple[int, ...]) -> Mask:
    """Return a bool mask that broadcasts to `shape` and lets every query see a key."""
    try:
        array = np.asarray(mask)
    except ValueError:
        raise InputError("mask is ragged; expected a bool matrix, [key, query].") from None
    if array.dtype != np.bool_:
        raise InputTypeError(
            f"mask has dtype {array.dtype}; expected bool, [key, query], True = visible. "
            "An additive mask of 0 and -inf is `mask == 0`."
        )
    try:
        broadcast = np.broadcast_to(array, shape)
    except ValueError:
        raise InputError(
            f"mask has shape {array.shape} and the logits {shape}; expected the same shape, "
            "[key, query] (torch's masks are [query, key]: pass mask.T)."
        ) from None
    blind = ~broadcast.any(axis=-2)
    if blind.any():
        where = [int(i) for i in np.argwhere(blind)[0]]
        raise InputError(
            f"mask hides every key from query {where[-1]}; expected at least one visible key: "
            "a softmax over nothing is not defined. Drop that query."
        )
    return broadcast


def full_mask(n: int) -> Mask:
    """Every key is visible to every query ([key, query], True = visible).

    Parameters
    ----------
    n : int
        Sequence length.

    Returns
    -------
    ndarray of bool, shape (n, n)
    """
    n = check_int("n", n, least=1)
    return np.ones((n, n), dtype=np.bool_)


def causal_mask(n: int) -> Mask:
    """Key i is visible to query j iff i <= j ([key, query], True = visible; upper triangle).

    The transpose of torch's ``tril`` masks.

    Parameters
    ----------
    n : int
        Sequence length.

    Returns
    -------
    ndarray of bool, shape (n, n)

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

    [key, query], True = visible: the transpose of torch's.

    Parameters
    ----------
    n : int
        Sequence length.
    prefix : int
        Length of the prefix, from 0 (causal) to n (full).

    Returns
    -------
    ndarray of bool, shape (n, n)
    """
    mask = causal_mask(n)
    prefix = check_int("prefix", prefix, least=0, most=len(mask), why="a part of the sequence")
    mask[:prefix] = True
    return mask


def sliding_mask(n: int, window: int) -> Mask:
    """Causal, and a query sees only the last `window` keys, its own included.

    [key, query], True = visible: the transpose of torch's. Nested only for ``window >= n`` (then
    causal) or ``window == 1`` with ``n == 1``.

    Parameters
    ----------
    n : int
        Sequence length.
    window : int
        Number of keys a query sees, at least 1.

    Returns
    -------
    ndarray of bool, shape (n, n)
    """
    mask = causal_mask(n)
    window = check_int("window", window, least=1, why="a query sees at least its own key")
    return mask & ~np.triu(mask, k=window)


def is_nested(mask: npt.ArrayLike) -> bool:
    """Say whether the keys can be ordered so that the sets of queries that see them decrease.

    That is, the sets ``K_i = {j : mask[i, j]}`` form a chain and the largest is everything: the
    hypothesis of Theorem C, under which the least head size is known exactly. Causal, prefix,
    full and right-padded masks are nested; sliding windows shorter than n are not, nor is causal
    with left padding as it stands.

    Parameters
    ----------
    mask : array_like of bool, shape (n, n)
        [key, query], True = visible.

    Returns
    -------
    bool

    Raises
    ------
    InputError, InputTypeError
        If the mask is not bool, not square, or hides every key from a query.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.is_nested(rb.causal_mask(4)), rb.is_nested(rb.sliding_mask(4, 2))
    (True, False)
    """
    try:
        shape = np.shape(mask)
    except ValueError:
        raise InputError("mask is ragged; expected a bool matrix, [key, query].") from None
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise InputError(f"mask has shape {shape}; expected (n, n), [key, query], n >= 1.")
    visible = check_mask(mask, shape)
    ordered = visible[np.argsort(-visible.sum(axis=1), kind="stable")]
    return bool(ordered[0].all() and (ordered[:-1] >= ordered[1:]).all())
