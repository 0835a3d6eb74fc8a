"""What architectures do to queries, keys and logits, in the package's orientation.

Queries and keys are (head_size, n), columns are tokens; logits are [key, query]. Exact numbers
(one matrix of ints, Fractions or rational SymPy numbers, scalars included) give exact results, an
array of Fractions; anything else is computed in float64. What each change does to the bound on the
head size is docs/theory.md, section 6, and the claims ``variant-*``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rankbound._validate import check_matrix, check_real, storage_dtype
from rankbound.attention._reading import (
    Table,
    all_exact,
    exact_root,
    finite,
    read_matrix,
    read_vector,
)
from rankbound.attention.head import AttentionHead
from rankbound.attention.logit_variants import (
    alibi_bias,
    mix_heads,
    relative_bias,
    soft_cap,
    temper,
)
from rankbound.errors import InputError, InputTypeError

__all__ = [
    "alibi_bias",
    "append_ones",
    "biased_head",
    "grouped_logits",
    "mix_heads",
    "normalise_columns",
    "relative_bias",
    "rope",
    "rotate",
    "soft_cap",
    "temper",
]

Pairing = Literal["half", "interleaved"]


def append_ones(X: npt.ArrayLike) -> Table:
    """Tokens with a row of ones below: ``W X + b 1^T = [W b] append_ones(X)``.

    So a head with biases is a head without, on tokens whose row space holds 1 (Theorem B, second
    case).

    Parameters
    ----------
    X : array_like, shape (..., d, n)

    Returns
    -------
    ndarray, shape (..., d + 1, n)

    Raises
    ------
    InputError, InputTypeError
        If X is not a finite matrix.
    """
    tokens = read_matrix("X", X, all_exact(X))
    ones = np.full_like(tokens[..., :1, :], Fraction(1))
    return np.concatenate([tokens, ones], axis=-2)


def biased_head(
    head: AttentionHead,
    query_bias: npt.ArrayLike | None = None,
    key_bias: npt.ArrayLike | None = None,
) -> AttentionHead:
    """The head with biases, as one without on :func:`append_ones` of the tokens.

    The head size, and so the bound on the rank, stay. The key bias leaves the context alone: it
    adds one constant to each column of the logits. The query bias does not.

    Parameters
    ----------
    head : AttentionHead
    query_bias, key_bias : array_like, shape (head_size,), optional
        What is added to every query and key; zero unless given.

    Returns
    -------
    AttentionHead
        With d + 1 columns a projection; values have no bias.

    Raises
    ------
    InputError, InputTypeError
        If `head` is no head, or a bias does not fit.
    """
    if not isinstance(head, AttentionHead):
        raise InputTypeError(f"head is a {type(head).__name__}; expected an AttentionHead.")
    k = head.head_size
    why = "one a coordinate of the head"
    biases = [
        read_vector(name, 0.0 if b is None else b, k, why, exact=False)
        for name, b in (("query_bias", query_bias), ("key_bias", key_bias))
    ]
    W_q, W_k = (np.column_stack(pair) for pair in zip((head.W_q, head.W_k), biases, strict=True))
    W_v = None if head.W_v is None else np.column_stack([head.W_v, np.zeros(len(head.W_v))])
    return AttentionHead(W_q, W_k, W_v, head.scale)


def rotate(
    columns: npt.ArrayLike, cos: npt.ArrayLike, sin: npt.ArrayLike, pairing: Pairing = "half"
) -> Table:
    """Rotate pairs of coordinates of each column: ``(a, b) -> (a c - b s, a s + b c)``.

    Parameters
    ----------
    columns : array_like, shape (..., k, n)
        Queries or keys, k even.
    cos, sin : array_like, shape (k/2, n)
        Of the angle of each pair in each column; ``cos² + sin² = 1`` to the rounding of the dtype.
    pairing : {"half", "interleaved"}
        Coordinate t goes with t + k/2 (GPT-NeoX, Llama in transformers), or 2t with 2t + 1
        (RoFormer, GPT-J). The two differ by a permutation of coordinates.

    Returns
    -------
    ndarray, shape (..., k, n)

    Raises
    ------
    InputError, InputTypeError
        If k is odd, the shapes do not fit, or the pairs are not those of a rotation.
    """
    exact = all_exact(columns, cos, sin)
    x, c, s = (
        read_matrix(*pair, exact) for pair in (("columns", columns), ("cos", cos), ("sin", sin))
    )
    k, n = x.shape[-2:]
    _require_even(k)
    if c.shape != (k // 2, n) or s.shape != c.shape:
        raise InputError(
            f"cos is {c.shape} and sin {s.shape}; expected ({k // 2}, {n}): an angle for each of "
            f"the {k // 2} pairs of coordinates and each of the {n} columns."
        )
    rounding = max(storage_dtype("cos", y, None).eps for y in (cos, sin))
    if np.max(np.abs(c * c + s * s - 1)) > (0 if exact else 8 * rounding):
        raise InputError(
            "cos² + sin² is not 1; expected the cosine and sine of one angle. "
            "A common factor is a temperature: divide it out."
        )
    first, second = _pairs(k, pairing)
    a, b = x[..., first, :], x[..., second, :]
    rotated = np.empty_like(x)
    rotated[..., first, :] = finite("the rotated columns", lambda: a * c - b * s)
    rotated[..., second, :] = finite("the rotated columns", lambda: a * s + b * c)
    return rotated


def rope(
    columns: npt.ArrayLike,
    positions: npt.ArrayLike | None = None,
    base: float = 10000.0,
    pairing: Pairing = "half",
) -> Table:
    """Rotary position embedding: pair t of column j turns by ``positions[j] base^(-2t/k)``.

    A product of a rotated key and query depends on positions through their difference only, and
    the logits are still a product of k coordinates (Su et al. 2021, section 3.2).

    Parameters
    ----------
    columns : array_like, shape (..., k, n)
        Queries or keys, k even.
    positions : array_like, shape (n,), optional
        0, 1, …, n - 1 unless given.
    base : float
        Above 0.
    pairing : {"half", "interleaved"}
        As in :func:`rotate`.

    Returns
    -------
    ndarray of float64, shape (..., k, n)

    Raises
    ------
    InputError, InputTypeError
        As :func:`rotate`; or if positions or base are not as described.
    """
    x = check_matrix("columns", columns)
    k, n = x.shape[-2:]
    _require_even(k)
    places = np.arange(n) if positions is None else positions
    row = read_vector("positions", places, n, "one a column", exact=False)
    rates = check_real("base", base, above=0.0) ** (-2.0 * np.arange(k // 2) / k)
    angles = finite("the angles", lambda: np.multiply.outer(rates, row))
    return rotate(x, np.cos(angles), np.sin(angles), pairing)


def normalise_columns(
    columns: npt.ArrayLike, gain: Any = 1, norm: Literal["l2", "rms"] = "l2"
) -> Table:
    """QK-norm: each column divided by its norm, then coordinates multiplied by a gain.

    Columns are scaled and rows are scaled, so no rank grows. With "l2", gain g for queries and 1
    for keys and ``scale=1``, logits lie in [-g, g] (Henry et al. 2020); with "rms" a norm is
    sqrt(k) times larger. An epsilon beside the norm changes the factor of a column and no rank.

    Parameters
    ----------
    columns : array_like, shape (..., k, n)
        Queries or keys, no column zero. Exact columns need norms that are rational.
    gain : number or array_like of shape (k,)
    norm : {"l2", "rms"}
        ``sqrt(Σ x²)`` or ``sqrt(Σ x²/k)``.

    Returns
    -------
    ndarray, shape (..., k, n)

    Raises
    ------
    InputError, InputTypeError
        If a column is zero, an exact norm irrational, or an argument not as described.
    """
    if norm not in ("l2", "rms"):
        raise InputError(f'norm is {norm!r}; expected "l2" or "rms".')
    exact = all_exact(columns, gain)
    x = read_matrix("columns", columns, exact)
    k = x.shape[-2]
    factors = read_vector("gain", gain, k, "one a coordinate", exact)
    peak = np.max(np.abs(x), axis=-2, keepdims=True)
    if (peak == 0).any():
        raise InputError("columns hold a zero column; expected none: it has no direction to keep.")
    y = x / peak  # squares neither overflow nor vanish
    square = np.sum(y * y, axis=-2, keepdims=True) / (k if norm == "rms" else 1)
    length = np.frompyfunc(exact_root, 1, 1)(square) if exact else np.sqrt(square)
    return finite("the normalised columns", lambda: factors[:, None] * (y / length))


def grouped_logits(keys: npt.ArrayLike, queries: Sequence[Any], scale: Any = None) -> Table:
    """Logits of query heads that share their keys, side by side (GQA; MQA: all heads).

    ``[L_1, …, L_g] = scale · keys^T [queries_1, …, queries_g]`` has rank at most k, the head size,
    for any number g of heads (Ainslie et al. 2023; Shazeer 2019).

    Parameters
    ----------
    keys : array_like, shape (k, n)
    queries : sequence of g array_likes, shape (k, n) each
    scale : number, optional
        ``1/sqrt(k)`` unless given.

    Returns
    -------
    ndarray, shape (n, g n)

    Raises
    ------
    InputError, InputTypeError
        If there are no queries, or the shapes differ.
    """
    if len(queries) == 0:
        raise InputError("queries is empty; expected one matrix (k, n) a query head.")
    exact = scale is not None and all_exact(keys, scale, *queries)  # 1/sqrt(k) is a float
    K = read_matrix("keys", keys, exact)
    groups = [read_matrix(f"queries[{a}]", Q, exact) for a, Q in enumerate(queries)]
    if K.ndim != 2 or any(Q.shape != K.shape for Q in groups):
        shapes = ", ".join(str(Q.shape) for Q in groups)
        raise InputError(
            f"keys are {K.shape} and queries {shapes}; expected the same shape (head_size, n)."
        )
    size = 1 / math.sqrt(len(K)) if scale is None else scale
    factor = read_vector("scale", size, 1, "one for all logits", exact)[0]
    return finite("the logits", lambda: factor * (K.T @ np.concatenate(groups, axis=1)))


def _require_even(k: int) -> None:
    if k % 2:
        raise InputError(
            f"columns have {k} coordinates; expected an even number: they are rotated in pairs."
        )


def _pairs(k: int, pairing: str) -> tuple[slice, slice]:
    if pairing == "half":
        return slice(0, k // 2), slice(k // 2, k)
    if pairing == "interleaved":
        return slice(0, k, 2), slice(1, k, 2)
    raise InputError(f'pairing is {pairing!r}; expected "half" or "interleaved".')
