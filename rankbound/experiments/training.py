"""One training loop for all: AdamW, warm-up, cosine to zero; the last step's weights count."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rankbound.experiments.layers import Tensor, Weights

__all__ = ["minimise", "one_thread", "relative_error"]


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
    """Train weights in place; what stands at the end are those of the last step, not the best.

    Parameters
    ----------
    weights : dict of Tensor
        Leaves that require a gradient.
    loss : callable
        Draws a batch and returns its loss.
    steps : int
    rate : float
        The highest learning rate.
    betas : tuple of float
        Of Adam.
    weight_decay : float
        Decoupled (AdamW); 0 is Adam. Only matrices decay, not gains or biases.
    warm_up : float
        The fraction of steps in which the rate rises linearly; it then falls to 0 as a cosine.
    """
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
    return torch.sum((got - wanted) ** 2) / torch.sum(wanted**2)


@contextmanager
def one_thread(seed: int) -> Iterator[Any]:
    """Torch on one thread, and a generator from which all that is random is drawn."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield torch.Generator().manual_seed(seed)
    finally:
        torch.set_num_threads(threads)
