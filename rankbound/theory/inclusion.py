"""B20 Theorem 2, first half: a layer of small heads is a layer of larger ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rankbound._validate import Array, check_head_size, check_int
from rankbound.attention.layer import MultiHead
from rankbound.errors import InputError, InputTypeError

__all__ = ["check_layer", "widen"]


def widen(
    layer: MultiHead,
    head_size: int,
    *,
    value_size: int | None = None,
    default_scale: bool = False,
) -> MultiHead:
    """The same layer with heads of a larger size: F ⊂ G.

    Query, key and value projections get zero rows and the output projection zero columns, so every
    logit and every output is the same real number. The temperature is kept by keeping the scale;
    with ``default_scale=True`` it is ``1/sqrt(head_size)``, as in the paper's class G, and `W_q`
    absorbs the ratio, rounded to float64.

    Parameters
    ----------
    layer : MultiHead
        Any layer; in the paper a standard one, of head size d/h.
    head_size : int
        Query and key coordinates of each head of the result, at least those of `layer`.
    value_size : int, optional
        Value coordinates of each head of the result, at least those of `layer`, which they are
        unless given.
    default_scale : bool
        Whether the result has the scale of its own head size.

    Returns
    -------
    MultiHead

    Raises
    ------
    InputError, InputTypeError
        If `layer` is no layer or a size is below its own.

    References
    ----------
    Bhojanapalli et al. 2020, Theorem 2 (B20); docs/theory.md, section 4.

    Examples
    --------
    >>> import rankbound as rb
    >>> layer = rb.random_multihead(d=8, heads=4, seed=0)
    >>> wide = rb.widen(layer, head_size=8)
    >>> layer.head_size, wide.head_size, wide.scale == layer.scale
    (2, 8, True)
    """
    check_layer("layer", layer)
    k = check_head_size(head_size)
    v = layer.value_size if value_size is None else check_int("value_size", value_size, least=1)
    for name, asked, own in (
        ("head_size", k, layer.head_size),
        ("value_size", v, layer.value_size),
    ):
        if asked < own:
            raise InputError(
                f"{name} is {asked} and that of the layer {own}; expected at least {own}: "
                "a layer is widened by zeros, and a smaller one need not have its outputs."
            )
    W_q, W_k, W_v = (
        _padded(W, size, axis=1) for W, size in ((layer.W_q, k), (layer.W_k, k), (layer.W_v, v))
    )
    split = layer.W_o.reshape(layer.d, layer.heads, layer.value_size)
    W_o = _padded(split, v, axis=2).reshape(layer.d, layer.heads * v)
    if not default_scale:
        return MultiHead(W_q, W_k, W_v, W_o, layer.scale)
    return MultiHead(layer.scale * math.sqrt(k) * W_q, W_k, W_v, W_o)


def check_layer(name: str, layer: Any) -> None:
    """Refuse what is no layer."""
    if not isinstance(layer, MultiHead):
        raise InputTypeError(
            f"{name} is a {type(layer).__name__}; expected a MultiHead: "
            "rb.MultiHead(W_q, W_k, W_v, W_o)."
        )


def _padded(array: Array, size: int, axis: int) -> Array:
    width = [(0, 0)] * array.ndim
    width[axis] = (0, size - array.shape[axis])
    return np.pad(array, width)
