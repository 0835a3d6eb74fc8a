"""B20 Theorem 2 by training: layers of a fixed head size that standard layers do not match."""

from __future__ import annotations

from typing import Any

from rankbound.experiments.sizes import check_word, layer_sizes

__all__ = ["separation"]

TEACHERS = 4  # heads of the teacher, each of size d
JUDGED = 16_384  # sequences by which the trained layer is judged


def separation(
    teacher: str,
    heads: int,
    seed: int,
    head_size: int | None = None,
    value_size: int | None = None,
    d: int = 16,
    n: int = 8,
    steps: int = 3000,
    rate: float = 5e-3,
    batch: int = 256,
) -> dict[str, Any]:
    """Train one attention layer to be a teacher of four heads of size d = 16 on Gaussian tokens.

    Teacher head i attends with logits ``X^T U_i X`` of standard deviation 2 and has values
    ``A_i X``; the layer is the sum. ``common`` has one U for all heads, the case of the theorem's
    proof (then one full head is the teacher); ``distinct`` has four.

    Parameters
    ----------
    teacher : {"common", "distinct"}
    heads, head_size, value_size : int
        Of the trained layer; sizes are d / heads unless given.
    seed : int
        Of the teacher, the weights and the tokens.
    d, n : int
        Tokens: their size and number.
    steps, rate, batch : int, float, int
        Adam (0.9, 0.99), warm-up 5 %, cosine to zero.

    Returns
    -------
    dict
        ``error``, ``E‖f - g‖² / E‖g‖²`` on fresh tokens; ``d_k``, ``d_v``,
        ``attention_parameters``, ``torch``.
    """
    import torch

    from rankbound.experiments.layers import attention, attention_weights
    from rankbound.experiments.training import minimise, one_thread, relative_error

    check_word("teacher", teacher, ("common", "distinct"))
    sizes = layer_sizes(d, heads, head_size, value_size)
    with one_thread(seed) as generator:
        U = torch.randn(1 if teacher == "common" else TEACHERS, d, d, generator=generator)
        U = 2 * U / U.flatten(1).norm(dim=1)[:, None, None]  # sd of x^T U y is ‖U‖_F
        A = torch.randn(TEACHERS, d, d, generator=generator) * (TEACHERS * d) ** -0.5
        U = U.expand(TEACHERS, d, d)

        def taught(x: Any) -> Any:
            P = torch.softmax(torch.einsum("btd,hde,bse->bhts", x, U, x), dim=-1)  # keys last
            return torch.einsum("bhts,bse,hef->btf", P, x, A)

        weights = attention_weights(sizes, generator)

        def error(count: int) -> Any:
            x = torch.randn(count, n, d, generator=generator)
            with torch.no_grad():
                wanted = taught(x)
            return relative_error(attention(x, weights, heads), wanted)

        minimise(
            weights,
            lambda: error(batch),
            steps=steps,
            rate=rate,
            betas=(0.9, 0.99),
            warm_up=0.05,
        )
        with torch.no_grad():
            final = float(error(JUDGED))
    return {"error": final, **sizes.facts(), "torch": torch.__version__}
