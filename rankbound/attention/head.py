"""One attention head: projections, scale, mask and soft-cap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from numbers import Rational
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from rankbound._files import is_matrix_path
from rankbound._validate import (
    LARGEST_EXACT,
    Array,
    Storage,
    check_matrix,
    check_real,
    column_blocks,
    frozen_copy,
    plain,
    shown,
    storage_dtype,
)
from rankbound.attention.masks import Mask, check_mask
from rankbound.attention.softmax import _softmax
from rankbound.errors import InputError, InputTypeError
from rankbound.ranks.factored import WIDTH, split
from rankbound.records import Record


@dataclass(frozen=True, eq=False, repr=False)
class AttentionHead(Record):
    """A head given by its projections: ``P = softmax(scale · (W_k X)^T (W_q X))``, by columns.

    With ``X=None`` the tokens are the identity, which is never formed: then `W_q` and `W_k` are
    the head's queries and keys themselves, as captured from a model. If both are ints or Fractions,
    `exact` holds them as given, and a rank is decided without rounding; all else is in float64.

    Parameters
    ----------
    W_q, W_k : array_like, shape (head_size, d)
        Query and key projections (B20: d_q = d_k, d_p or d/h is the head size).
    W_v : array_like, shape (v, d), optional
        Value projection; needed by :meth:`output` only.
    scale : float, optional
        What multiplies the logits; ``1/sqrt(head_size)`` unless given.
    mask : array_like of bool, shape (n, n), optional
        [key, query], True = visible; used wherever no other mask is given.
    soft_cap : float, optional
        c of capped logits ``c · tanh(L / c)`` (Gemma 2). The cap lifts ranks: the head size then
        bounds the rank of the logits no longer.
    stored : dtype, optional
        In which queries and keys were computed; unless given, the coarser dtype of `W_q` and `W_k`.

    Examples
    --------
    >>> import rankbound as rb
    >>> head = rb.AttentionHead(W_q=[[1.0, 0.0]], W_k=[[0.0, 1.0]])
    >>> head
    AttentionHead(head_size=1, d=2, scale=1)
    >>> head.logits()
    array([[0., 0.],
           [1., 0.]])
    """

    W_q: Array
    W_k: Array
    W_v: Array | None
    scale: float
    mask: Mask | None
    soft_cap: float | None
    stored: Storage
    exact: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None  # W_q, W_k as given, where exact

    formula: ClassVar[str] = r"P = \operatorname{softmax}(%(scale)s \, (W_k X)^\top (W_q X))"

    def __init__(
        self,
        W_q: npt.ArrayLike,
        W_k: npt.ArrayLike,
        W_v: npt.ArrayLike | None = None,
        *,
        scale: float | None = None,
        mask: npt.ArrayLike | None = None,
        soft_cap: float | None = None,
        stored: npt.DTypeLike | None = None,
    ) -> None:
        query, key = check_matrix("W_q", W_q, ndim=2), check_matrix("W_k", W_k, ndim=2)
        if query.shape != key.shape:
            raise InputError(
                f"W_q is {query.shape} but W_k is {key.shape}: both must be (head_size, d), "
                "since a logit is an inner product of a query with a key."
            )
        value = None if W_v is None else check_matrix("W_v", W_v, ndim=2)
        if value is not None and value.shape[1] != query.shape[1]:
            raise InputError(
                f"W_v is {value.shape} but W_q is {query.shape}: W_v must have as many columns "
                f"({query.shape[1]}) as W_q, the embedding size d."
            )
        given = [exact_array(name, W) for name, W in (("W_q", W_q), ("W_k", W_k))]
        dtypes = [storage_dtype(name, W, stored) for name, W in (("W_q", W_q), ("W_k", W_k))]
        fields = {
            "W_q": frozen_copy(query),
            "W_k": frozen_copy(key),
            "W_v": None if value is None else frozen_copy(value),
            "scale": 1 / math.sqrt(len(query)) if scale is None else check_real("scale", scale),
            "mask": None if mask is None else _own_mask(mask),
            "soft_cap": None if soft_cap is None else check_real("soft_cap", soft_cap, above=0.0),
            "exact": None if any(W is None for W in given) else tuple(given),
            "stored": max(dtypes, key=lambda dtype: dtype.eps),
        }
        for name, value_of in fields.items():
            object.__setattr__(self, name, value_of)

    @classmethod
    def _of(cls, values: dict[str, Any]) -> Self:
        exact = values.pop("exact")
        if exact is not None:  # whole numbers, where float64 holds them
            values["W_q"], values["W_k"] = (
                W.astype(np.int64) if W.dtype == np.float64 else W for W in exact
            )
        stored = values.pop("stored").name
        return cls(values.pop("W_q"), values.pop("W_k"), **values, stored=stored)

    def __repr__(self) -> str:
        parts = [f"head_size={self.head_size}, d={self.d}, scale={self.scale:.4g}"]
        parts += [] if self.mask is None else [f"mask={self.mask.shape}"]
        parts += [] if self.soft_cap is None else [f"soft_cap={self.soft_cap:.4g}"]
        return f"AttentionHead({', '.join(parts)})"

    @property
    def head_size(self) -> int:
        """Number of query and key coordinates, the paper's d_q = d_k."""
        return len(self.W_q)

    @property
    def d(self) -> int:
        """Embedding size; the sequence length when the tokens are the identity."""
        return int(self.W_q.shape[1])

    def queries(self, X: npt.ArrayLike | None = None) -> Array:
        """``W_q X``, shape (..., head_size, n)."""
        return self._project("W_q", self.W_q, X)

    def keys(self, X: npt.ArrayLike | None = None) -> Array:
        """``W_k X``, shape (..., head_size, n)."""
        return self._project("W_k", self.W_k, X)

    def _factor_blocks(self, X: npt.ArrayLike | None = None) -> Iterator[tuple[Array, Array]]:
        """Keys and queries of some tokens after others, each (..., head_size, width).

        Neither they nor the tokens are held as a whole. A subclass with keys or queries of its own,
        which may depend on positions, yields them whole.
        """
        own = type(self).keys is AttentionHead.keys and type(self).queries is AttentionHead.queries
        if not own or X is None:
            yield from split(self.keys(X), self.queries(X))
            return
        k, W = self.head_size, np.concatenate([self.W_k, self.W_q])

        def checked(shape: tuple[int, ...]) -> int:
            self._check_rows("W_k", shape)
            return WIDTH

        for tokens in column_blocks("X", X, checked):
            both = without_overflow("W_q X or W_k X", partial(np.matmul, W, tokens))
            yield both[..., :k, :], both[..., k:, :]

    def logits(self, X: npt.ArrayLike | None = None) -> Array:
        """``L = scale · (W_k X)^T (W_q X)``, shape (..., n, n), [key, query].

        Capped where the head is; no mask is applied. X : shape (..., d, n), tokens as columns; None
        means the identity, and n = d.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # reported just below
            L = self.scale * (np.swapaxes(self.keys(X), -1, -2) @ self.queries(X))
        if not np.isfinite(L).all():
            raise InputError(
                "the logits overflow float64; expected products of keys and queries below "
                "1.8e308. Scale the tokens or the projections down."
            )
        return capped(L, self.soft_cap)

    def context(self, X: npt.ArrayLike | None = None, mask: npt.ArrayLike | None = None) -> Array:
        """``P = softmax(L)`` by columns, shape (..., n, n), [key, query].

        X : as for :meth:`logits`. mask : as in `Context`, instead of the head's own; for both at
        once pass ``head.mask & mask``.
        """
        L = self.logits(X)
        shown = self.mask if mask is None else mask
        return _softmax(L, None if shown is None else check_mask(shown, L.shape))

    def output(self, X: npt.ArrayLike | None = None, mask: npt.ArrayLike | None = None) -> Array:
        """``W_v X P``, shape (..., v, n): what the head adds to each token; X, mask as for
        :meth:`context`.
        """
        if self.W_v is None:
            raise InputError(
                "this head has no W_v, so it has a context and no output: "
                "give the value projection, AttentionHead(W_q, W_k, W_v)."
            )
        return self._project("W_v", self.W_v, X) @ self.context(X, mask)

    def _project(self, name: str, W: Array, X: npt.ArrayLike | None) -> Array:
        if X is None:
            return W
        tokens = check_matrix("X", X)
        self._check_rows(name, tokens.shape)
        return without_overflow(f"{name} X", lambda: W @ tokens)

    def _check_rows(self, name: str, shape: tuple[int, ...]) -> None:
        if shape[-2] != self.d:
            raise InputError(
                f"{name} is {getattr(self, name).shape} but X is {shape}: {name} must have as many "
                f"columns ({self.d}) as X has rows ({shape[-2]}); tokens are columns."
            )


def without_overflow(name: str, compute: Callable[[], Array]) -> Array:
    """What is computed, if it is finite."""
    with np.errstate(over="ignore", invalid="ignore"):  # reported just below
        array = compute()
        total = array.sum()  # finite only if all entries are
    if not np.isfinite(total) and not np.isfinite(array).all():
        raise InputError(
            f"{name} overflows float64; expected entries below 1.8e308. "
            "Scale the tokens or the projections down."
        )
    return array


def _own_mask(mask: npt.ArrayLike) -> Mask:
    if isinstance(mask, str) and not is_matrix_path(mask):
        raise InputTypeError(
            f"mask is {shown(mask)}; expected a bool matrix (n, n): a head's own mask is "
            "of one length. Pass rb.causal_mask(n), or the name to head.context(X, mask=...)."
        )
    array = plain("mask", mask)[0]
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise InputError(f"mask has shape {array.shape}; expected (n, n), [key, query].")
    visible = check_mask(array, array.shape)
    if array is mask and array.base is None and not array.flags.writeable:
        return array  # nobody can change it: the heads of a layer share theirs
    own: Mask = frozen_copy(visible)
    return own


def exact_array(name: str, value: Any) -> npt.NDArray[Any] | None:
    """What was given, if it is ints or Fractions: as objects where float64 would round them."""
    array, _ = plain(name, value)
    if array.dtype.kind in "biu":
        wide = array.dtype.itemsize == 8 and bool((np.abs(array) > LARGEST_EXACT).any())
        return array.astype(object if wide else np.float64)
    if array.dtype != object or not all(isinstance(entry, Rational) for entry in array.flat):
        return None
    return array


def capped(L: Array, soft_cap: float | None) -> Array:
    """``soft_cap · tanh(L / soft_cap)``, or L as it is for None. Input unchecked."""
    if soft_cap is None:
        return L
    with np.errstate(over="ignore"):  # tanh of an infinite ratio is ±1
        return np.asarray(soft_cap * np.tanh(L / soft_cap))
