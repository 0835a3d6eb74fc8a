"""Pointers to follow: one-hot routing, which heads of size 2 do. A negative control."""

from __future__ import annotations

from typing import Any

from rankbound.experiments.sizes import layer_sizes

__all__ = ["lookup"]

POINTERS, SYMBOLS = 4, 8
JUDGED = 2048


def lookup(
    heads: int,
    seed: int,
    head_size: int | None = None,
    d: int = 64,
    n: int = 16,
    steps: int = 2000,
    rate: float = 1e-2,
    batch: int = 64,
) -> dict[str, Any]:
    """Train one layer to name the symbols at four places that each token points to.

    A token is the sum of embeddings of its position, its symbol (of 8) and its four pointers; a
    linear map of ``x + attention(x)`` names four symbols. Each target attends to one key: a pattern
    of column sparsity 1, which head size 2 reaches as closely as one likes (docs/theory.md,
    section 5).

    Parameters
    ----------
    heads, head_size : int
        Of the trained layer; d / heads unless given.
    seed : int
    d, n : int
        Size and number of tokens.
    steps, rate, batch : int, float, int
        Adam (0.9, 0.98), warm-up 5 %, cosine to zero.

    Returns
    -------
    dict
        ``accuracy`` on fresh sequences, of single answers (chance is 1/8); ``d_k``, ``d_v``,
        ``attention_parameters``, ``torch``.
    """
    import torch
    from torch.nn.functional import cross_entropy

    from rankbound.experiments.layers import attention, attention_weights, gaussian
    from rankbound.experiments.training import minimise, one_thread

    sizes = layer_sizes(d, heads, head_size)
    with one_thread(seed) as generator:
        weights = attention_weights(sizes, generator)
        for name, rows in (("positions", n), ("symbols", SYMBOLS), ("pointers", POINTERS * n)):
            weights[name] = gaussian(rows, d, generator=generator, scale=1.0)
        weights["answers"] = gaussian(d, POINTERS * SYMBOLS, generator=generator, scale=d**-0.5)
        slots = n * torch.arange(POINTERS)

        def drawn(count: int) -> tuple[Any, Any]:
            symbols = torch.randint(SYMBOLS, (count, n), generator=generator)
            pointers = torch.randint(n, (count, n, POINTERS), generator=generator)
            x = weights["positions"] + weights["symbols"][symbols]
            x = x + weights["pointers"][pointers + slots].sum(dim=2)
            y = (x + attention(x, weights, heads)) @ weights["answers"]
            wanted = torch.gather(symbols, 1, pointers.flatten(1)).view(count, n, POINTERS)
            return y.view(count, n, POINTERS, SYMBOLS), wanted

        def loss() -> Any:
            scores, wanted = drawn(batch)
            return cross_entropy(scores.flatten(0, 2), wanted.flatten())

        minimise(weights, loss, steps=steps, rate=rate, betas=(0.9, 0.98), warm_up=0.05)
        with torch.no_grad():
            scores, wanted = drawn(JUDGED)
            accuracy = float(torch.mean((scores.argmax(dim=-1) == wanted).float()))
    return {"accuracy": accuracy, **sizes.facts(), "torch": torch.__version__}
