"""Four fixed dense contexts of eight tokens, each moving values of its own: both walls at once."""

from __future__ import annotations

from typing import Any

from rankbound.experiments.sizes import layer_sizes

__all__ = ["mixing"]

TEACHERS, RANK = 4, 6  # heads of the teacher, and the rank of what each does to values
JUDGED = 16_384


def mixing(
    heads: int,
    seed: int,
    head_size: int | None = None,
    value_size: int | None = None,
    d: int = 32,
    n: int = 8,
    scale: float = 1.5,
    steps: int = 1500,
    rate: float = 2e-2,
    batch: int = 64,
) -> dict[str, Any]:
    """Train one attention layer to ``y_t = Σ_i A_i Σ_j P_i[t, j] z_j``.

    ``P_i = softmax(scale · N(0, 1))`` are fixed, dense and random; token j is its position,
    ``√n/2`` at entry j, above a Gaussian ``z_j`` of d - n entries; each A_i has rank 6. Four heads
    of head size n - 1 = 7, to have P_i (Theorem A), and of value size 6 are the teacher.

    Parameters
    ----------
    heads, head_size, value_size : int
        Of the trained layer; sizes are d / heads unless given.
    seed : int
        Of the teacher, the weights and the tokens.
    d, n : int
        Tokens: their size and number.
    scale : float
    steps, rate, batch : int, float, int
        Adam (0.9, 0.999), cosine to zero.

    Returns
    -------
    dict
        ``error``, ``E‖f - y‖² / E‖y‖²`` on fresh tokens; ``d_k``, ``d_v``,
        ``attention_parameters``, ``torch``.
    """
    import torch

    from rankbound.errors import InputError
    from rankbound.experiments.layers import attention, attention_weights
    from rankbound.experiments.training import minimise, one_thread, relative_error

    if d - n < RANK:
        raise InputError(f"d is {d} and n is {n}; expected d to be at least n + {RANK}.")
    sizes = layer_sizes(d, heads, head_size, value_size)
    with one_thread(seed) as generator:

        def normal(*shape: int) -> Any:
            return torch.randn(*shape, generator=generator)

        P = torch.softmax(scale * normal(TEACHERS, n, n), dim=-1)
        A = normal(TEACHERS, d - n, RANK) @ normal(TEACHERS, RANK, d) / (RANK * (d - n)) ** 0.5
        positions = torch.eye(n) * (n**0.5 / 2)
        weights = attention_weights(sizes, generator)

        def error(count: int) -> Any:
            z = normal(count, n, d - n)
            x = torch.cat([positions.expand(count, n, n), z], dim=-1)
            wanted = torch.einsum("hts,bse,hef->btf", P, z, A)
            return relative_error(attention(x, weights, heads), wanted)

        minimise(weights, lambda: error(batch), steps=steps, rate=rate)
        with torch.no_grad():
            final = float(error(JUDGED))
    return {"error": final, **sizes.facts(), "torch": torch.__version__}
