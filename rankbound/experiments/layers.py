"""Attention layers in torch: their sizes, their weights as a dict, one loop that trains them all.

Tokens are rows here. Torch is imported by the functions that need it, so that sizes can be read
without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rankbound._validate import check_int
from rankbound.errors import InputError

Tensor = Any  # torch.Tensor, where torch may be missing when types are checked
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """A multi-head attention layer's sizes."""

    d: int  # of a token
    heads: int
    d_k: int  # head size, of queries and keys
    d_v: int  # value size

    @property
    def parameters(self) -> int:
        """Number of entries of W_q, W_k, W_v and W_o."""
        return 2 * self.d * self.heads * (self.d_k + self.d_v)

    def facts(self) -> dict[str, int]:
        """What a result says of its layer."""
        return {"d_k": self.d_k, "d_v": self.d_v, "attention_parameters": self.parameters}


def layer_sizes(
    d: int, heads: int, head_size: int | None = None, value_size: int | None = None
) -> Sizes:
    """Return the sizes of a layer; the standard ones, d / heads, where no head size is given.

    Examples
    --------
    >>> layer_sizes(32, 4)
    Sizes(d=32, heads=4, d_k=8, d_v=8)
    >>> layer_sizes(32, 4, head_size=7, value_size=8).parameters
    3840
    """
    d, heads = check_int("d", d, least=1), check_int("heads", heads, least=1)
    if head_size is None and d % heads:
        raise InputError(
            f"d is {d} and heads is {heads}; expected d to be a multiple of heads in a standard "
            "layer, whose heads have size d / heads. Pass head_size for a fixed one."
        )
    d_k = d // heads if head_size is None else check_int("head_size", head_size, least=1)
    d_v = d_k if value_size is None else check_int("value_size", value_size, least=1)
    return Sizes(d, heads, d_k, d_v)


def check_word(name: str, value: object, words: tuple[str, ...]) -> str:
    """Return a word that is one of these."""
    if value not in words:
        raise InputError(f"{name} is {value!r}; expected one of {', '.join(words)}.")
    return str(value)


def gaussian(*shape: int, generator: Any, scale: float) -> Tensor:
    """Gaussian entries of this standard deviation, float32, to be trained."""
    import torch

    return (scale * torch.randn(*shape, generator=generator)).requires_grad_()


def attention_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Shapes of a layer's maps, which act on rows from the right.

    Head h owns the h-th block of columns of W_q, W_k and W_v, and of rows of W_o.
    """
    d, inner, values = sizes.d, sizes.heads * sizes.d_k, sizes.heads * sizes.d_v
    return {"W_q": (d, inner), "W_k": (d, inner), "W_v": (d, values), "W_o": (values, d)}


def attention_weights(sizes: Sizes, generator: Any) -> Weights:
    """Weights of a layer, each map scaled by its number of inputs."""
    return {
        name: gaussian(*shape, generator=generator, scale=shape[0] ** -0.5)
        for name, shape in attention_shapes(sizes).items()
    }


def attention(
    x: Tensor, weights: Weights, heads: int, *, prefix: str = "", causal: bool = False
) -> Tensor:
    """Multi-head self-attention of tokens x (batch, n, d), scale ``1/sqrt(d_k)``."""
    from torch.nn.functional import scaled_dot_product_attention

    q, k = queries_and_keys(x, weights, heads, prefix=prefix)
    v = _by_head(x @ weights[f"{prefix}W_v"], heads)
    mixed = scaled_dot_product_attention(q, k, v, is_causal=causal)
    return mixed.transpose(1, 2).flatten(2) @ weights[f"{prefix}W_o"]


def queries_and_keys(
    x: Tensor, weights: Weights, heads: int, *, prefix: str = ""
) -> tuple[Tensor, Tensor]:
    """Queries and keys of each head, (batch, heads, n, d_k)."""
    q, k = (_by_head(x @ weights[f"{prefix}{name}"], heads) for name in ("W_q", "W_k"))
    return q, k


def _by_head(rows: Tensor, heads: int) -> Tensor:
    batch, n, width = rows.shape
    return rows.view(batch, n, heads, width // heads).transpose(1, 2)


def minimise(
    weights: Weights,
    loss: Callable[[], Tensor],
    *,
    steps: int,
    rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    warm_up: float = 0.0,
) -> None:
    """Train weights in place by AdamW; the last step's weights count, not the best ones.

    The loss draws its batch. The learning rate rises linearly to `rate` in the fraction `warm_up`
    of the steps, then falls to 0 as a cosine. Only matrices decay, not gains or biases.
    """
    import torch

    leaves = list(weights.values())
    groups = [
        {"params": [w for w in leaves if w.ndim >= 2], "weight_decay": weight_decay},
        {"params": [w for w in leaves if w.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=rate, betas=betas, foreach=True)
    rising = max(1, round(warm_up * steps))

    def factor(step: int) -> float:
        if step < rising and warm_up > 0:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        schedule.step()


def relative_error(got: Tensor, wanted: Tensor) -> Tensor:
    """``‖got - wanted‖² / ‖wanted‖²``, over all entries of a batch."""
    return ((got - wanted) ** 2).sum() / (wanted**2).sum()


@contextmanager
def one_thread(seed: int) -> Iterator[Any]:
    """Torch on one thread, and a generator from which all that is random is drawn."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield torch.Generator().manual_seed(seed)
    finally:
        torch.set_num_threads(threads)
