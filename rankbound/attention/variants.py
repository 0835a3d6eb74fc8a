"""What architectures do to queries, keys and logits, in the package's orientation.

Queries and keys are (head_size, n), columns are tokens; logits are [key, query]. Exact numbers
(one matrix of ints, Fractions or rational SymPy numbers, scalars included) give exact results, an
array of Fractions; anything else is computed in float64. What each change does to the bound on the
head size is docs/theory.md, section 6, and the claims ``variant-*``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from numbers import Rational
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rankbound._validate import (
    check_bool,
    check_int,
    check_matrix,
    check_real,
    check_word,
    guarded,
    item,
    plain,
    require_memory,
    storage_dtype,
)
from rankbound.attention.head import AttentionHead, capped
from rankbound.errors import InputError, InputTypeError, RankboundError
from rankbound.exact.rational import is_exact, rational_matrix

Table = npt.NDArray[Any]  # float64, or objects that are Fractions
Pairing = Literal["half", "interleaved"]


def append_ones(X: npt.ArrayLike) -> Table:
    """Tokens (..., d, n) with a row of ones below: ``W X + b 1^T = [W b] append_ones(X)``.

    So a head with biases is a head without, on tokens whose row space holds 1 (Theorem B, second
    case).
    """
    tokens = _read_matrix("X", X, _all_exact(X))
    ones = np.full_like(tokens[..., :1, :], Fraction(1))
    return np.concatenate([tokens, ones], axis=-2)


def biased_head(
    head: AttentionHead,
    query_bias: npt.ArrayLike | None = None,
    key_bias: npt.ArrayLike | None = None,
) -> AttentionHead:
    """The head with biases (head_size,), as one without on :func:`append_ones` of the tokens.

    The head size, and so the bound on the rank, stay. The key bias leaves the context alone: it
    adds one constant to each column of the logits. The query bias does not. Values have no bias.
    """
    if not isinstance(head, AttentionHead):
        raise InputTypeError(f"head is a {type(head).__name__}; expected an AttentionHead.")
    k = head.head_size
    why = "one per coordinate of the head"
    biases = [
        _read_vector(name, 0.0 if b is None else b, k, why, exact=False)
        for name, b in (("query_bias", query_bias), ("key_bias", key_bias))
    ]
    W_q, W_k = (np.column_stack(pair) for pair in zip((head.W_q, head.W_k), biases, strict=True))
    W_v = None if head.W_v is None else np.column_stack([head.W_v, np.zeros(len(head.W_v))])
    return AttentionHead(
        W_q,
        W_k,
        W_v,
        scale=head.scale,
        mask=head.mask,
        soft_cap=head.soft_cap,
        stored=head.stored.name,
    )


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
    """
    exact = _all_exact(columns, cos, sin)
    x, c, s = (
        _read_matrix(*pair, exact) for pair in (("columns", columns), ("cos", cos), ("sin", sin))
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
    rotated[..., first, :] = _finite("the rotated columns", lambda: a * c - b * s)
    rotated[..., second, :] = _finite("the rotated columns", lambda: a * s + b * c)
    return rotated


def rope(
    columns: npt.ArrayLike,
    positions: npt.ArrayLike | None = None,
    base: float = 10000.0,
    pairing: Pairing = "half",
) -> Table:
    """Rotary position embedding: pair t of column j turns by ``positions[j] base^(-2t/k)``.

    A product of a rotated key and query depends on positions through their difference only, and
    the logits are still a product of k coordinates (Su et al. 2021, section 3.2). Columns and
    pairing as in :func:`rotate`; positions are 0, 1, …, n - 1 unless given.
    """
    x = check_matrix("columns", columns)
    k, n = x.shape[-2:]
    _require_even(k)
    places = np.arange(n) if positions is None else positions
    row = _read_vector("positions", places, n, "one per column", exact=False)
    rates = check_real("base", base, above=0.0) ** (-2.0 * np.arange(k // 2) / k)
    angles = _finite("the angles", lambda: np.multiply.outer(rates, row))
    return rotate(x, np.cos(angles), np.sin(angles), pairing)


def qk_norm(columns: npt.ArrayLike, gain: Any = 1, norm: Literal["l2", "rms"] = "l2") -> Table:
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
    """
    check_word("norm", norm, ("l2", "rms"))
    exact = _all_exact(columns, gain)
    x = _read_matrix("columns", columns, exact)
    k = x.shape[-2]
    factors = _read_vector("gain", gain, k, "one per coordinate", exact)
    peak = np.max(np.abs(x), axis=-2, keepdims=True)
    if (peak == 0).any():
        raise InputError("columns hold a zero column; expected none: it has no direction to keep.")
    y = x / peak  # squares neither overflow nor vanish
    square = np.sum(y * y, axis=-2, keepdims=True) / (k if norm == "rms" else 1)
    length = np.frompyfunc(_exact_root, 1, 1)(square) if exact else np.sqrt(square)
    return _finite("the normalised columns", lambda: factors[:, None] * (y / length))


def grouped_logits(keys: npt.ArrayLike, queries: Sequence[Any], scale: Any = None) -> Table:
    """Logits (n, g n) of g query heads that share their keys, side by side (GQA; MQA: all heads).

    ``[L_1, …, L_g] = scale · keys^T [queries_1, …, queries_g]`` has rank at most k, the head size,
    for any number g of heads (Ainslie et al. 2023; Shazeer 2019). Keys and the queries of each head
    are (k, n); the scale is ``1/sqrt(k)`` unless given.
    """
    queries = _several("queries", queries, "(k, n) per query head")
    exact = scale is not None and _all_exact(keys, scale, *queries)  # 1/sqrt(k) is a float
    K = _read_matrix("keys", keys, exact)
    groups = [_read_matrix(f"queries[{a}]", Q, exact) for a, Q in enumerate(queries)]
    if K.ndim != 2 or any(Q.shape != K.shape for Q in groups):
        shapes = ", ".join(str(Q.shape) for Q in groups)
        raise InputError(
            f"keys are {K.shape} and queries {shapes}; expected the same shape (head_size, n)."
        )
    size = 1 / math.sqrt(len(K)) if scale is None else scale
    factor = _read_vector("scale", size, 1, "one for all logits", exact)[0]
    return _finite("the logits", lambda: factor * (K.T @ np.concatenate(groups, axis=1)))


def apply_temperature(L: npt.ArrayLike, temperature: Any) -> Table:
    """Logits (..., n, m) over a temperature > 0, one for all or one per query: no rank changes."""
    exact = _all_exact(L, temperature)
    logits = _read_matrix("L", L, exact)
    T = _read_vector("temperature", temperature, logits.shape[-1], "one per query", exact)
    if not (T > 0).all():
        raise InputError(f"temperature holds {min(T)}; expected numbers above 0.")
    return _finite("the logits", lambda: logits / T)


def alibi_bias(n: int, slope: Any, *, bidirectional: bool = False) -> Table:
    """ALiBi, what is added to the logits: ``m (i - j)`` for key i and query j, or ``-m |i - j|``.

    The two agree on a causal mask, where i <= j. The first is ``m (i 1^T - 1 j^T)``: rank 2, of
    which the softmax ignores 1. The second (`bidirectional`) has log-rank n - 1 for m != 0. The
    paper's slope m is 2^(-8 a/h) for head a = 1, …, h, h a power of 2 (Press, Smith & Lewis 2022,
    section 3, causal).

    Examples
    --------
    >>> from rankbound.attention.variants import alibi_bias
    >>> alibi_bias(2, 0.5)
    array([[ 0. , -0.5],
           [ 0.5,  0. ]])
    """
    n = check_int("n", n, least=1)
    bidirectional = check_bool("bidirectional", bidirectional, "by distance alone")
    require_memory("n", n, n, n)
    exact = _all_exact(slope)
    m = _read_vector("slope", slope, 1, "one for all distances", exact)[0]
    places = _read_vector("n", list(range(n)), n, "", exact)
    distance = np.subtract.outer(places, places)
    return _finite("the biases", lambda: m * (-abs(distance) if bidirectional else distance))


def relative_bias(table: npt.ArrayLike) -> Table:
    """Additive relative bias: ``B[i, j] = table[i - j + n - 1]`` for key i and query j (Toeplitz).

    The table is (2 n - 1,), for the distances i - j = -(n - 1), …, n - 1; T5 shares its entries
    between distances in one bucket (Raffel et al. 2020, section 2.1). The log-rank of B alone is
    anything from 0 to n - 1.
    """
    shape = _shape("table", table)
    if len(shape) != 1 or shape[0] % 2 == 0:
        raise InputError(
            f"table has shape {shape}; expected (2 n - 1,): one number for each distance "
            "from -(n - 1) to n - 1."
        )
    length = shape[0]
    values = _read_vector("table", table, length, "one per distance", _all_exact(table))
    places = np.arange(length // 2 + 1)
    B: Table = values[np.subtract.outer(places, places) + length // 2]
    return B


def soft_cap(L: npt.ArrayLike, cap: float) -> Table:
    """``cap · tanh(L / cap)``: logits squeezed into (-cap, cap), entry by entry, in float64.

    Not linear, so it raises the rank: a head of size 1 may need n - 1 afterwards. Gemma 2 has cap
    50 for attention (Gemma Team 2024, section 2).
    """
    return capped(check_matrix("L", L), check_real("cap", cap, above=0.0))


def talking_heads(logits: Sequence[Any] | Table, mix: npt.ArrayLike) -> Table:
    """Talking-heads before the softmax: ``L'_a = Σ_b mix[a, b] L_b``, shape (g, n, m).

    The h logits are (n, m) each, mix is (g, h). So each mixed head has rank at most h k, h heads
    of size k, and may attain min(h k, n) (Shazeer, Lan, Cheng, Ding & Hou 2020).
    """
    heads = _several("logits", logits, "(n, n) per head")
    exact = _all_exact(*heads, mix)
    tables = [_read_matrix(f"logits[{b}]", L, exact) for b, L in enumerate(heads)]
    if len({L.shape for L in tables}) > 1 or tables[0].ndim != 2:
        shapes = ", ".join(str(L.shape) for L in tables)
        raise InputError(f"logits have shapes {shapes}; expected one shape (n, n) for all heads.")
    weights = _read_matrix("mix", mix, exact)
    if weights.ndim != 2 or weights.shape[1] != len(tables):
        raise InputError(
            f"mix has shape {weights.shape}; expected (any, {len(tables)}): a row holds one weight "
            "for each head."
        )
    flat = np.stack(tables).reshape(len(tables), -1)
    mixed: Table = _finite("the mixed logits", lambda: weights @ flat)
    return mixed.reshape(-1, *tables[0].shape)


def _require_even(k: int) -> None:
    if k % 2:
        raise InputError(
            f"columns have {k} coordinates; expected an even number: they are rotated in pairs."
        )


def _pairs(k: int, pairing: str) -> tuple[slice, slice]:
    if check_word("pairing", pairing, ("half", "interleaved")) == "half":
        return slice(0, k // 2), slice(k // 2, k)
    return slice(0, k, 2), slice(1, k, 2)


def _all_exact(*values: Any) -> bool:
    """Whether all are rational: numbers, or one matrix or vector of them each."""
    return all(_one_exact(value) for value in values)


def _one_exact(value: Any) -> bool:
    try:
        value = guarded("", value, lambda: item(value))
        axes = len(_shape("", value))
    except RankboundError:
        return False  # refused, with its name, where it is read
    if not axes and isinstance(value, Rational):
        return True
    if axes > 2 or not is_exact(value):
        return False
    # log(2) times a matrix is exact elsewhere; its sums and quotients here would not be
    return bool(rational_matrix("", [list(value)] if axes == 1 else value)[1] == 1)


def _shape(name: str, value: Any) -> tuple[int, ...]:
    """The shape of what was given; () for a number."""
    if isinstance(value, (Rational, float, np.number)) and not isinstance(value, bool):
        return ()
    return () if getattr(value, "is_number", False) is True else plain(name, value)[0].shape


def _several(name: str, value: Any, each: str) -> list[Any]:
    try:
        matrices = list(value)
    except TypeError:
        raise InputTypeError(
            f"{name} is a {type(value).__name__}; expected a sequence of matrices, one per head."
        ) from None
    if not matrices:
        raise InputError(f"{name} is empty; expected one matrix {each}.")
    return matrices


def _read_matrix(name: str, value: Any, exact: bool) -> Table:
    """A matrix of Fractions, or one of float64 or a batch of them."""
    if not exact:
        return check_matrix(name, value)
    return np.array(rational_matrix(name, value)[0], dtype=object)


def _read_vector(name: str, value: Any, length: int, why: str, exact: bool) -> Table:
    """A number repeated, or a vector of this length."""
    value = guarded(name, value, lambda: item(value))
    shape = _shape(name, value)
    if shape not in ((), (length,)):
        raise InputError(f"{name} has shape {shape}; expected one number or ({length},): {why}.")
    row = plain(name, value)[0].tolist() if shape else [value]
    vector = _read_matrix(name, [row], exact)[0]
    return vector if shape else np.repeat(vector, length)


def _exact_root(square: Fraction) -> Fraction:
    """The square root of a rational that has a rational one."""
    root = Fraction(math.isqrt(square.numerator), math.isqrt(square.denominator))
    if root * root != square:
        raise InputError(
            "an exact column has an irrational norm; expected the square of the norm to be the "
            "square of a rational. Pass floats, or columns divided by their norms."
        )
    return root


def _finite(name: str, compute: Callable[[], Table]) -> Table:
    """What is computed, without a NumPy warning; a float that overflows is refused."""
    with np.errstate(over="ignore", invalid="ignore"):
        result = compute()
    if result.dtype != object and not np.isfinite(result).all():
        raise InputError(f"{name} overflow float64; expected numbers below 1.8e308. Scale down.")
    return result
