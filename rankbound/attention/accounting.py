"""What a layer costs: weights, operations and cache, by embedding size, heads and head size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rankbound._validate import check_head_size, check_int
from rankbound.errors import InputError

__all__ = ["LayerCost", "cost_table", "designs"]


@dataclass(frozen=True)
class LayerCost:
    """The cost of one attention layer, without biases.

    Parameters
    ----------
    d : int
        Embedding size.
    heads : int
        Number of heads h.
    head_size : int
        Query and key coordinates of each head.
    value_size : int, optional
        Value coordinates of each head; `head_size` unless given.
    design : str
        What to call it in a table.

    Raises
    ------
    InputError, InputTypeError
        If a size is below 1.

    Examples
    --------
    >>> from rankbound.attention.accounting import LayerCost
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
    """The standard layer, and those with the head sizes that n tokens ask for.

    d/h; n, as B20 propose; n - 1, which reaches every context and is needed for almost every one
    (Theorem A); floor(n/2), needed for almost every causal context (Theorem C).

    Parameters
    ----------
    d, heads, n : int
        Embedding size, number of heads (a divisor of d), sequence length of at least 2.

    Returns
    -------
    tuple of LayerCost

    Raises
    ------
    InputError, InputTypeError
        If a size is out of range, or h does not divide d.
    """
    d, heads = check_int("d", d, least=1), check_int("heads", heads, least=1)
    n = check_int("n", n, least=2, why="one token needs no attention")
    if d % heads:
        raise InputError(f"d is {d} and heads {heads}; expected heads to divide d: heads of d/h.")
    sizes = {
        "standard, d/h": d // heads,
        "fixed, n (B20)": n,
        "fixed, n - 1 (Theorem A)": n - 1,
        "fixed, floor(n/2) (Theorem C, causal)": n // 2,
    }
    return tuple(LayerCost(d, heads, size, design=name) for name, size in sizes.items())


def cost_table(costs: Sequence[LayerCost], n: int, bytes_per_number: int = 2) -> str:
    """Costs as a Markdown table, for queries that see n keys.

    Parameters
    ----------
    costs : sequence of LayerCost
        One a row, as :func:`designs` returns them.
    n : int
        Keys that a query sees.
    bytes_per_number : int
        Of the cache.

    Returns
    -------
    str

    Examples
    --------
    >>> from rankbound.attention.accounting import cost_table, designs
    >>> print(cost_table(designs(d=512, heads=8, n=128)[:2], n=128))
    | design | heads | head size | parameters | FLOPs a token | cache bytes a token |
    |---|---|---|---|---|---|
    | standard, d/h | 8 | 64 | 1,048,576 | 2,359,296 | 2,048 |
    | fixed, n (B20) | 8 | 128 | 2,097,152 | 4,718,592 | 4,096 |
    """
    lines = [
        "| design | heads | head size | parameters | FLOPs a token | cache bytes a token |",
        "|---|---|---|---|---|---|",
    ]
    for cost in costs:
        numbers = (
            cost.heads,
            cost.head_size,
            cost.parameters,
            cost.flops_per_token(n),
            cost.cache_bytes_per_token(bytes_per_number),
        )
        lines.append(f"| {cost.design} | {' | '.join(f'{x:,}' for x in numbers)} |")
    return "\n".join(lines)
