"""A layer of attention heads, and what it costs: weights, operations and cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, as_array, check_head_size, check_int, check_real, frozen_copy
from rankbound.attention.head import AttentionHead, without_overflow
from rankbound.errors import InputError
from rankbound.records import Record
from rankbound.table import Column, Table


@dataclass(frozen=True, eq=False, repr=False)
class MultiHead(Record):
    """Multi-head attention without residual or normalisation: ``Σ_i W_o^i W_v^i X P_i``.

    B20's MultiHead when ``head_size = d / heads`` and its FixedMultiHead when `head_size` is set
    apart from d and h.

    Parameters
    ----------
    W_q, W_k : array_like, shape (h, head_size, d)
        Query and key projections.
    W_v : array_like, shape (h, v, d)
        Value projections.
    W_o : array_like, shape (d, h * v)
        Output projection; its columns belong to the heads in order, v to each.
    scale : float, optional
        What multiplies the logits; ``1/sqrt(head_size)`` unless given.

    Examples
    --------
    >>> import rankbound as rb
    >>> layer = rb.random_multihead(d=8, heads=2, seed=0)
    >>> layer.heads, layer.head_size, layer.parameter_count
    (2, 4, 256)
    """

    W_q: Array
    W_k: Array
    W_v: Array
    W_o: Array
    scale: float

    formula: ClassVar[str] = r"X \mapsto \sum_i W_o^i W_v^i X P_i"

    def __init__(
        self,
        W_q: npt.ArrayLike,
        W_k: npt.ArrayLike,
        W_v: npt.ArrayLike,
        W_o: npt.ArrayLike,
        scale: float | None = None,
    ) -> None:
        arrays = {"W_q": W_q, "W_k": W_k, "W_v": W_v, "W_o": W_o}
        checked = {name: _stack(name, array) for name, array in arrays.items()}
        _check_shapes(checked)
        for name, array in checked.items():
            object.__setattr__(self, name, frozen_copy(array))
        factor = 1 / math.sqrt(self.head_size) if scale is None else check_real("scale", scale)
        object.__setattr__(self, "scale", factor)

    @property
    def heads(self) -> int:
        """Number of heads h."""
        return len(self.W_q)

    @property
    def head_size(self) -> int:
        """Query and key coordinates of each head."""
        return int(self.W_q.shape[1])

    @property
    def value_size(self) -> int:
        """Value coordinates of each head."""
        return int(self.W_v.shape[1])

    @property
    def d(self) -> int:
        """Embedding size."""
        return int(self.W_q.shape[2])

    @property
    def parameter_count(self) -> int:
        """Number of weights: ``2 h d (k + v)``; 4 d² in the standard layer."""
        return LayerCost(self.d, self.heads, self.head_size, self.value_size).parameters

    def head(self, i: int) -> AttentionHead:
        """Head `i`, its value projection followed by its columns of `W_o`."""
        i = check_int("i", i, least=0, most=self.heads - 1, why="heads are numbered from 0")
        v = self.value_size
        W_o = self.W_o[:, i * v : (i + 1) * v]
        value = without_overflow("W_o W_v", lambda: W_o @ self.W_v[i])
        return AttentionHead(self.W_q[i], self.W_k[i], value, scale=self.scale)

    def output(self, X: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> Array:
        """``Σ_i W_o^i W_v^i X P_i``, shape (..., d, n), for tokens X of that shape and a mask as in
        `Context`.
        """
        outputs = [self.head(i).output(X, mask) for i in range(self.heads)]
        return without_overflow("the output", lambda: np.sum(outputs, axis=0))


def _stack(name: str, value: Any) -> Array:
    with np.errstate(over="ignore"):  # reported just below
        array = as_array(name, value).astype(np.float64)
    axes = 2 if name == "W_o" else 3
    if array.ndim != axes or 0 in array.shape:
        expected = "(d, h * v)" if axes == 2 else "(h, size, d)"
        raise InputError(f"{name} has shape {array.shape}; expected {expected}, no axis empty.")
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)].flat[0]
        raise InputError(f"{name} holds {bad}, which is not finite; expected finite weights.")
    return array


def _check_shapes(arrays: dict[str, Array]) -> None:
    W_q, W_k, W_v, W_o = arrays["W_q"], arrays["W_k"], arrays["W_v"], arrays["W_o"]
    if W_q.shape != W_k.shape:
        raise InputError(f"W_q is {W_q.shape} but W_k is {W_k.shape}: both must be (h, k, d).")
    heads, _, d = W_q.shape
    if W_v.shape[0] != heads or W_v.shape[2] != d:
        raise InputError(f"W_v is {W_v.shape}; expected ({heads}, v, {d}), to fit W_q.")
    if W_o.shape != (d, heads * W_v.shape[1]):
        raise InputError(
            f"W_o is {W_o.shape}; expected ({d}, {heads * W_v.shape[1]}): one column for each "
            "value coordinate of each head."
        )


@dataclass(frozen=True)
class LayerCost:
    """The cost of one attention layer, without biases; `design` is its name in a table.

    Examples
    --------
    >>> from rankbound.attention.layer import LayerCost
    >>> LayerCost(d=512, heads=8, head_size=64).parameters == 4 * 512**2
    True
    """

    d: int
    heads: int
    head_size: int
    value_size: int = 0
    design: str = ""

    def __post_init__(self) -> None:
        check_int("d", self.d, least=1)
        check_int("heads", self.heads, least=1)
        check_head_size(self.head_size)
        if self.value_size == 0:
            object.__setattr__(self, "value_size", self.head_size)
        check_int("value_size", self.value_size, least=1)

    @property
    def parameters(self) -> int:
        """Weights: ``2 h d (k + v)``; 4 d² in the standard layer, 4 d d_p h in B20's fixed one."""
        return 2 * self.heads * self.d * (self.head_size + self.value_size)

    def flops_per_token(self, n: int) -> int:
        """Operations for one query that sees n keys: two for each weight, 2 n h (k + v) beside.

        A multiplication and an addition count as two; the softmax is left out.
        """
        n = check_int("n", n, least=1)
        return 2 * self.parameters + 2 * n * self.heads * (self.head_size + self.value_size)

    def cache_bytes_per_token(self, bytes_per_number: int = 2) -> int:
        """Bytes of keys and values kept for each token of the text: ``h (k + v)`` numbers."""
        size = check_int("bytes_per_number", bytes_per_number, least=1)
        return self.heads * (self.head_size + self.value_size) * size


def designs(d: int, heads: int, n: int) -> tuple[LayerCost, ...]:
    """The standard layer, and those with the head sizes that n >= 2 tokens ask for.

    d/h, h = `heads` a divisor of d; n, as B20 propose; n - 1, which reaches every context and is
    needed for almost every one (Theorem A); floor(n/2), needed for almost every causal context
    (Theorem C).
    """
    n = check_int("n", n, least=2, why="one token needs no attention")
    sizes = {
        "standard, d/h": standard_head_size(d, heads),
        "fixed, n (B20)": n,
        "fixed, n - 1 (Theorem A)": n - 1,
        "fixed, floor(n/2) (Theorem C, causal)": n // 2,
    }
    return tuple(LayerCost(d, heads, size, design=name) for name, size in sizes.items())


def cost_table(costs: Sequence[LayerCost], n: int, bytes_per_number: int = 2) -> str:
    """Costs (of :func:`designs`, for example) as a Markdown table, for queries that see n keys.

    Examples
    --------
    >>> from rankbound.attention.layer import cost_table, designs
    >>> print(cost_table(designs(d=512, heads=8, n=128)[:2], n=128))
    | design | heads | head size | parameters | FLOPs per token | cache bytes per token |
    |---|---:|---:|---:|---:|---:|
    | standard, d/h | 8 | 64 | 1,048,576 | 2,359,296 | 2,048 |
    | fixed, n (B20) | 8 | 128 | 2,097,152 | 4,718,592 | 4,096 |
    """
    names = ("heads", "head size", "parameters", "FLOPs per token", "cache bytes per token")
    rows = [
        (
            cost.design,
            cost.heads,
            cost.head_size,
            cost.parameters,
            cost.flops_per_token(n),
            cost.cache_bytes_per_token(bytes_per_number),
        )
        for cost in costs
    ]
    return Table(["design", *(Column(name, format=",") for name in names)], rows).to_markdown()


def standard_head_size(d: int, heads: int, remedy: str = "") -> int:
    """Return d/h; refuse a number of heads that does not divide d."""
    d, heads = check_int("d", d, least=1), check_int("heads", heads, least=1)
    if d % heads:
        raise InputError(
            f"d is {d} and heads {heads}; expected heads to divide d, since a standard head has "
            f"size d/h.{remedy}"
        )
    return d // heads
