"""What architectures do to logits after the product of queries and keys; see ``variants``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import check_int, check_matrix, check_real
from rankbound.attention._reading import (
    Table,
    all_exact,
    finite,
    read_matrix,
    read_vector,
    require_positive,
)
from rankbound.errors import InputError

__all__ = ["alibi_bias", "mix_heads", "relative_bias", "soft_cap", "temper"]


def temper(L: npt.ArrayLike, temperature: Any) -> Table:
    """Logits divided by a temperature, one for all or one a query: no rank changes.

    Parameters
    ----------
    L : array_like, shape (..., n, m)
        Logits, [key, query].
    temperature : number or array_like of shape (m,)
        Above 0.

    Returns
    -------
    ndarray, shape (..., n, m)

    Raises
    ------
    InputError, InputTypeError
        If a temperature is not positive, or an argument not as described.
    """
    exact = all_exact(L, temperature)
    logits = read_matrix("L", L, exact)
    T = read_vector("temperature", temperature, logits.shape[-1], "one a query", exact)
    require_positive("temperature", T)
    return finite("the logits", lambda: logits / T)


def alibi_bias(n: int, slope: Any, *, bidirectional: bool = False) -> Table:
    """ALiBi, what is added to the logits: ``m (i - j)`` for key i and query j, or ``-m |i - j|``.

    The two agree on a causal mask, where i <= j. The first is ``m (i 1^T - 1 j^T)``: rank 2, of
    which the softmax ignores 1. The second has log-rank n - 1 for m != 0.

    Parameters
    ----------
    n : int
        Sequence length.
    slope : number
        m; the paper has 2^(-8 a/h) for head a = 1, …, h (h a power of 2).
    bidirectional : bool
        Whether to penalise distance on both sides.

    Returns
    -------
    ndarray, shape (n, n)

    Raises
    ------
    InputError, InputTypeError
        If n is not a positive integer or the slope not a finite number.

    References
    ----------
    Press, Smith & Lewis 2022, section 3 (causal).

    Examples
    --------
    >>> from rankbound.attention.variants import alibi_bias
    >>> alibi_bias(2, 0.5)
    array([[ 0. , -0.5],
           [ 0.5,  0. ]])
    """
    n = check_int("n", n, least=1)
    exact = all_exact(slope)
    m = read_vector("slope", slope, 1, "one for all distances", exact)[0]
    places = read_vector("n", list(range(n)), n, "", exact)
    distance = np.subtract.outer(places, places)
    return finite("the biases", lambda: m * (-abs(distance) if bidirectional else distance))


def relative_bias(table: npt.ArrayLike) -> Table:
    """Additive relative bias: ``B[i, j] = table[i - j + n - 1]`` for key i and query j (Toeplitz).

    T5 shares entries of the table between distances in one bucket. The log-rank of B alone is
    anything from 0 to n - 1.

    Parameters
    ----------
    table : array_like, shape (2 n - 1,)
        For the distances i - j = -(n - 1), …, n - 1.

    Returns
    -------
    ndarray, shape (n, n)

    Raises
    ------
    InputError, InputTypeError
        If the table is not one of an odd number of finite numbers.

    References
    ----------
    Raffel et al. 2020, section 2.1.
    """
    if np.ndim(table) != 1 or np.size(table) % 2 == 0:
        raise InputError(
            f"table has shape {np.shape(table)}; expected (2 n - 1,): one number for each distance "
            "from -(n - 1) to n - 1."
        )
    length = int(np.size(table))
    values = read_vector("table", table, length, "one a distance", all_exact(table))
    places = np.arange(length // 2 + 1)
    B: Table = values[np.subtract.outer(places, places) + length // 2]
    return B


def soft_cap(L: npt.ArrayLike, cap: float) -> Table:
    """``cap · tanh(L / cap)``: logits squeezed into (-cap, cap), entry by entry.

    Not linear, so it raises the rank: a head of size 1 may need n - 1 afterwards.

    Parameters
    ----------
    L : array_like, shape (..., n, m)
        Logits, [key, query].
    cap : float
        Above 0 (Gemma 2: 50 for attention).

    Returns
    -------
    ndarray of float64, shape (..., n, m)

    Raises
    ------
    InputError, InputTypeError
        If the logits are not finite, or the cap is not a positive number.

    References
    ----------
    Gemma Team 2024, section 2.
    """
    logits, limit = check_matrix("L", L), check_real("cap", cap, above=0.0)
    with np.errstate(over="ignore"):  # tanh of an infinite ratio is ±1
        ratio = logits / limit
    return finite("the logits", lambda: limit * np.tanh(ratio))


def mix_heads(logits: Sequence[Any] | Table, mix: npt.ArrayLike) -> Table:
    """Talking-heads before the softmax: ``L'_a = Σ_b mix[a, b] L_b``.

    So each mixed head has rank at most h k, h heads of size k, and may attain min(h k, n).

    Parameters
    ----------
    logits : sequence of h array_likes, shape (n, m) each
        Logits of the heads, [key, query].
    mix : array_like, shape (g, h)
        Row a holds the weights of mixed head a.

    Returns
    -------
    ndarray, shape (g, n, m)

    Raises
    ------
    InputError, InputTypeError
        If there is no head, or the shapes differ.

    References
    ----------
    Shazeer, Lan, Cheng, Ding & Hou 2020.
    """
    heads = list(logits)
    if not heads:
        raise InputError("logits is empty; expected one matrix (n, n) a head.")
    exact = all_exact(*heads, mix)
    tables = [read_matrix(f"logits[{b}]", L, exact) for b, L in enumerate(heads)]
    if len({L.shape for L in tables}) > 1 or tables[0].ndim != 2:
        shapes = ", ".join(str(L.shape) for L in tables)
        raise InputError(f"logits have shapes {shapes}; expected one shape (n, n) for all heads.")
    weights = read_matrix("mix", mix, exact)
    if weights.ndim != 2 or weights.shape[1] != len(tables):
        raise InputError(
            f"mix has shape {weights.shape}; expected (any, {len(tables)}): a row holds one weight "
            "for each head."
        )
    flat = np.stack(tables).reshape(len(tables), -1)
    mixed: Table = finite("the mixed logits", lambda: weights @ flat)
    return mixed.reshape(-1, *tables[0].shape)
