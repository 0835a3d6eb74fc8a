"""The experiments on made-up tokens: one head on one context, and layers that learn a task.

A layer has ``heads`` heads of size ``head_size`` and, where it can be given, value size
``value_size``, each d / heads unless given; d and n are size and number of the tokens. It is
trained for ``steps`` steps at the highest learning rate ``rate``, falling to zero as a cosine, on
batches of ``batch``. ``seed`` determines the task, the weights and the tokens. A result holds the
measure on fresh tokens, ``d_k``, ``d_v``, ``attention_parameters`` and the version of ``torch``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rankbound._validate import check_int, check_word
from rankbound.errors import InputError
from rankbound.experiments import layers
from rankbound.experiments.layers import Sizes, Tensor, Weights, attention, layer_sizes

TEACHERS = 4  # heads of the teacher of `separation` and of `mixing`
RANK = 6  # of what each head of the teacher of `mixing` does to values
POINTERS, SYMBOLS = 4, 8  # of a token of `lookup`
JUDGED = 16_384  # sequences by which a trained layer is judged
LOOKED_UP = 2048  # the same for `lookup`


def context(n: int, head_size: int, seed: int) -> dict[str, Any]:
    """Fit a head to ``P = softmax(N(0, 1))`` on X = I, by L-BFGS in float64 from random starts.

    ``d`` is n here, so a head of size n - 1 has P exactly (Theorem A); gradients must find it.
    The spectral start, which would reveal the answer, is left out. The result is ``kl`` (mean over
    columns in nats), ``gradient_norm``, ``iterations`` and ``log_rank`` of P.
    """
    import numpy as np

    from rankbound.attention.softmax import column_softmax
    from rankbound.fitting.solve import fit_head
    from rankbound.theory.decision import log_rank

    n, head_size = check_int("n", n, least=2), check_int("head_size", head_size, least=1)
    if head_size >= n:
        raise InputError(
            f"head_size is {head_size} and n is {n}; expected less: n - 1 is always enough."
        )
    P = column_softmax(np.random.default_rng(seed).standard_normal((n, n)))
    fit = fit_head(
        P,
        head_size,
        seed=seed,
        spectral_start=False,
        random_starts=1,
        gradient_tolerance=1e-10,
        max_iterations=20_000,
        method="l-bfgs",
    )
    return {
        "kl": fit.kl,
        "gradient_norm": fit.gradient_norm,
        "iterations": fit.iterations,
        "log_rank": log_rank(P),
    }


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
    """B20 Theorem 2 by training: learn a teacher of four heads of size d on Gaussian tokens.

    Teacher head i attends with logits ``X^T U_i X`` of standard deviation 2 and has values
    ``A_i X``; the layer is the sum. ``teacher="common"`` has one U for all heads, the case of the
    theorem's proof (then one full head is the teacher); ``"distinct"`` has four. Adam (0.9, 0.99),
    warm-up 5 %. The measure is ``error``, ``E‖f - g‖² / E‖g‖²``.
    """
    import torch

    check_word("teacher", teacher, ("common", "distinct"))
    sizes = layer_sizes(d, heads, head_size, value_size)
    with layers.one_thread(seed) as generator:
        U = torch.randn(1 if teacher == "common" else TEACHERS, d, d, generator=generator)
        U = 2 * U / U.flatten(1).norm(dim=1)[:, None, None]  # sd of x^T U y is ‖U‖_F
        A = torch.randn(TEACHERS, d, d, generator=generator) * (TEACHERS * d) ** -0.5
        U = U.expand(TEACHERS, d, d)

        def taught(x: Tensor) -> Tensor:
            P = torch.softmax(torch.einsum("btd,hde,bse->bhts", x, U, x), dim=-1)  # keys last
            return torch.einsum("bhts,bse,hef->btf", P, x, A)

        weights = layers.attention_weights(sizes, generator)

        def error(count: int) -> Tensor:
            x = torch.randn(count, n, d, generator=generator)
            with torch.no_grad():
                wanted = taught(x)
            return layers.relative_error(attention(x, weights, heads), wanted)

        plan = {"steps": steps, "rate": rate, "betas": (0.9, 0.99), "warm_up": 0.05}
        return _trained(sizes, weights, error, batch, plan)


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
    """Both walls at once: learn ``y_t = Σ_i A_i Σ_j P_i[t, j] z_j``.

    ``P_i = softmax(scale · N(0, 1))`` are four fixed, dense, random contexts; token j is its
    position, ``√n/2`` at entry j, above a Gaussian ``z_j`` of d - n entries; each A_i has rank 6.
    Four heads of head size n - 1 = 7, to have P_i (Theorem A), and of value size 6 are the teacher.
    Adam (0.9, 0.999), no warm-up. The measure is ``error``, ``E‖f - y‖² / E‖y‖²``.
    """
    import torch

    if d - n < RANK:
        raise InputError(f"d is {d} and n is {n}; expected d to be at least n + {RANK}.")
    sizes = layer_sizes(d, heads, head_size, value_size)
    with layers.one_thread(seed) as generator:

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        P = torch.softmax(scale * normal(TEACHERS, n, n), dim=-1)
        A = normal(TEACHERS, d - n, RANK) @ normal(TEACHERS, RANK, d) / (RANK * (d - n)) ** 0.5
        positions = torch.eye(n) * (n**0.5 / 2)
        weights = layers.attention_weights(sizes, generator)

        def error(count: int) -> Tensor:
            z = normal(count, n, d - n)
            x = torch.cat([positions.expand(count, n, n), z], dim=-1)
            wanted = torch.einsum("hts,bse,hef->btf", P, z, A)
            return layers.relative_error(attention(x, weights, heads), wanted)

        return _trained(sizes, weights, error, batch, {"steps": steps, "rate": rate})


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
    """Learn to replace each of eight points by the farthest one (Amsel et al.).

    Points are uniform on the sphere of R^d; ``x + attention(x)``, then ``x + ffn(x)`` of width
    `ffn`. What the logits must be is ``-β x^T y``, of rank d: the condition is head size < d, not
    < n. Adam (0.9, 0.999), warm-up 5 %. The measure is ``error``, the mean squared distance from
    the farthest point (that of the best constant, 0, is 1).
    """
    import torch
    from torch.nn.functional import gelu, normalize

    sizes = layer_sizes(d, heads, head_size)
    with layers.one_thread(seed) as generator:
        weights = layers.attention_weights(sizes, generator)
        weights["W_1"] = layers.gaussian(d, ffn, generator=generator)
        weights["b_1"] = torch.zeros(ffn, requires_grad=True)
        weights["W_2"] = layers.gaussian(ffn, d, generator=generator)

        def error(count: int) -> Tensor:
            x = normalize(torch.randn(count, n, d, generator=generator), dim=-1)
            place = torch.argmin(x @ x.transpose(1, 2), dim=-1)
            wanted = torch.gather(x, 1, place[..., None].expand(count, n, d))
            y = x + attention(x, weights, heads)
            y = y + gelu(y @ weights["W_1"] + weights["b_1"]) @ weights["W_2"]
            return torch.mean(torch.sum((y - wanted) ** 2, dim=-1))

        plan = {"steps": steps, "rate": rate, "warm_up": 0.05}
        return _trained(sizes, weights, error, batch, plan)


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
    """A negative control: learn to name the symbols at four places that each token points to.

    A token is the sum of embeddings of its position, its symbol (of 8) and its four pointers; a
    linear map of ``x + attention(x)`` names four symbols. Each target attends to one key: a pattern
    of column sparsity 1, which head size 2 reaches as closely as one likes (docs/theory.md,
    section 5). Adam (0.9, 0.98), warm-up 5 %. The measure is ``accuracy`` of single answers (chance
    is 1/8).
    """
    import torch
    from torch.nn.functional import cross_entropy

    sizes = layer_sizes(d, heads, head_size)
    with layers.one_thread(seed) as generator:
        weights = layers.attention_weights(sizes, generator)
        for name, rows in (("positions", n), ("symbols", SYMBOLS), ("pointers", POINTERS * n)):
            weights[name] = layers.gaussian(rows, d, generator=generator, scale=1.0)
        weights["answers"] = layers.gaussian(d, POINTERS * SYMBOLS, generator=generator)
        slots = n * torch.arange(POINTERS)

        def drawn(count: int) -> tuple[Tensor, Tensor]:
            symbols = torch.randint(SYMBOLS, (count, n), generator=generator)
            pointers = torch.randint(n, (count, n, POINTERS), generator=generator)
            x = weights["positions"] + weights["symbols"][symbols]
            x = x + weights["pointers"][pointers + slots].sum(dim=2)
            y = (x + attention(x, weights, heads)) @ weights["answers"]
            wanted = torch.gather(symbols, 1, pointers.flatten(1)).view(count, n, POINTERS)
            return y.view(count, n, POINTERS, SYMBOLS), wanted

        def loss() -> Tensor:
            scores, wanted = drawn(batch)
            return cross_entropy(scores.flatten(0, 2), wanted.flatten())

        layers.minimise(weights, loss, steps=steps, rate=rate, betas=(0.9, 0.98), warm_up=0.05)
        with torch.no_grad():
            scores, wanted = drawn(LOOKED_UP)
            accuracy = float(torch.mean((scores.argmax(dim=-1) == wanted).float()))
    return {"accuracy": accuracy, **sizes.facts(), "torch": torch.__version__}


def transition(
    heads: int,
    n: int,
    seed: int,
    head_size: int = 2,
    d: int = 4,
    ffn: int = 64,
    steps: int = 2000,
    rate: float = 5e-2,
    batch: int = 256,
) -> dict[str, Any]:
    """Learn ``Σ_i max_t a_i^T x_t`` over four orthonormal a_i, from n Gaussian tokens of d = 4.

    One query, which is a weight, attends to all tokens; an FFN of width `ffn` reads the values of
    all heads. Four heads of size 2 can attend to the four maxima, ``β a_i^T x_t`` being a logit of
    rank 1; fewer need an FFN that grows with n (Yu et al., Theorem 2). Adam (0.9, 0.999), warm-up
    5 %. The measure is ``nmse``, the mean squared error over the variance of what is learnt.
    """
    import torch
    from torch.nn.functional import gelu

    sizes = layer_sizes(d, heads, head_size)
    with layers.one_thread(seed) as generator:
        shapes = layers.attention_shapes(sizes)
        weights = {w: layers.gaussian(*shapes[w], generator=generator) for w in ("W_k", "W_v")}
        weights["query"] = layers.gaussian(heads, head_size, generator=generator, scale=1.0)
        weights["W_1"] = layers.gaussian(heads * head_size, ffn, generator=generator)
        weights["b_1"] = torch.zeros(ffn, requires_grad=True)
        weights["W_2"] = layers.gaussian(ffn, 1, generator=generator)
        weights["b_2"] = torch.zeros(1, requires_grad=True)
        a = torch.linalg.qr(torch.randn(d, TEACHERS, generator=generator))[0]

        def drawn(count: int) -> tuple[Tensor, Tensor]:
            x = torch.randn(count, n, d, generator=generator)
            return x, (x @ a).amax(dim=1).sum(dim=-1)

        _, target = drawn(JUDGED)
        mean, variance = target.mean(), target.var()

        def error(count: int) -> Tensor:
            x, wanted = drawn(count)
            keys, values = ((x @ weights[w]).unflatten(2, (heads, -1)) for w in ("W_k", "W_v"))
            P = torch.softmax((keys * weights["query"]).sum(dim=-1) / head_size**0.5, dim=1)
            seen = (P[..., None] * values).sum(dim=1).flatten(1)
            y = gelu(seen @ weights["W_1"] + weights["b_1"]) @ weights["W_2"] + weights["b_2"]
            return ((y[:, 0] - (wanted - mean) / variance.sqrt()) ** 2).mean()

        plan = {"steps": steps, "rate": rate, "warm_up": 0.05}
        found = _trained(sizes, weights, error, batch, plan)
    kept = {name: found[name] for name in ("d_k", "d_v", "torch")}
    return {"nmse": found["error"], **kept, "parameters": layers.parameter_count(weights)}


def _trained(
    sizes: Sizes,
    weights: Weights,
    error: Callable[[int], Tensor],
    batch: int,
    plan: dict[str, Any],
) -> dict[str, Any]:
    """Minimise the error on so many fresh sequences; return it on many more."""
    import torch

    layers.minimise(weights, lambda: error(batch), **plan)
    with torch.no_grad():
        final = float(error(JUDGED))
    return {"error": final, **sizes.facts(), "torch": torch.__version__}
