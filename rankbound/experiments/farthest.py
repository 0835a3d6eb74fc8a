"""The farthest of eight points on a sphere (Amsel et al.): heads need size d, whatever n is."""

from __future__ import annotations

from typing import Any

from rankbound.experiments.sizes import layer_sizes

__all__ = ["farthest"]

JUDGED = 16_384


def farthest(
    heads: int,
    seed: int,
    head_size: int | None = None,
    d: int = 16,
    n: int = 8,
    ffn: int = 64,
    steps: int = 3000,
    rate: float = 5e-3,
    batch: int = 256,
) -> dict[str, Any]:
    """Train ``x + attention(x)``, then ``x + ffn(x)``, to replace each point by the farthest one.

    Points are uniform on the sphere of R^d. What the logits must be is ``-β x^T y``, of rank d: the
    condition is head size < d, not < n.

    Parameters
    ----------
    heads, head_size : int
        Of the trained layer; d / heads unless given.
    seed : int
    d, n, ffn : int
        Size and number of the points, width of the feed-forward layer.
    steps, rate, batch : int, float, int
        AdamW (0.9, 0.999) without decay, warm-up 5 %, cosine to zero.

    Returns
    -------
    dict
        ``error``, mean squared distance from the farthest point, on fresh points (that of the best
        constant, 0, is 1); ``d_k``, ``d_v``, ``attention_parameters``, ``torch``.
    """
    import torch
    from torch.nn.functional import gelu, normalize

    from rankbound.experiments.layers import attention, attention_weights, gaussian
    from rankbound.experiments.training import minimise, one_thread

    sizes = layer_sizes(d, heads, head_size)
    with one_thread(seed) as generator:
        weights = attention_weights(sizes, generator)
        weights["W_1"] = gaussian(d, ffn, generator=generator, scale=d**-0.5)
        weights["b_1"] = torch.zeros(ffn, requires_grad=True)
        weights["W_2"] = gaussian(ffn, d, generator=generator, scale=ffn**-0.5)

        def error(count: int) -> Any:
            x = normalize(torch.randn(count, n, d, generator=generator), dim=-1)
            place = torch.argmin(x @ x.transpose(1, 2), dim=-1)
            wanted = torch.gather(x, 1, place[..., None].expand(count, n, d))
            y = x + attention(x, weights, heads)
            y = y + gelu(y @ weights["W_1"] + weights["b_1"]) @ weights["W_2"]
            return torch.mean(torch.sum((y - wanted) ** 2, dim=-1))

        minimise(weights, lambda: error(batch), steps=steps, rate=rate, warm_up=0.05)
        with torch.no_grad():
            final = float(error(JUDGED))
    return {"error": final, **sizes.facts(), "torch": torch.__version__}
