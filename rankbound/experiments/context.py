"""One head fitted to a random dense context: the cliff is at head size n - 1."""

from __future__ import annotations

from typing import Any

from rankbound._validate import check_int
from rankbound.errors import InputError

__all__ = ["context"]


def context(n: int, head_size: int, seed: int) -> dict[str, Any]:
    """Fit a head to ``P = softmax(N(0, 1))`` on X = I, by L-BFGS in float64 from random starts.

    ``d`` is n here, so a head of size n - 1 has P exactly (Theorem A); gradients must find it.
    The spectral start, which would reveal the answer, is left out.

    Parameters
    ----------
    n, head_size : int
    seed : int
        Of P and of the starts.

    Returns
    -------
    dict
        ``kl``, mean over columns in nats; ``gradient_norm``; ``iterations``; ``log_rank`` of P.
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
