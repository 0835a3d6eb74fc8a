"""Kobayashi, Akram & von Oswald 2024, "Weight decay induces low-rank attention layers"."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.registry.claim import Formula, Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.verdict import Verdict

ABSTRACT = "abstract read; the identity is remembered with confidence"


def nuclear(A: Array) -> float:
    """The sum of the singular values."""
    return float(np.linalg.norm(A, "nuc"))


def half_of_squares(B: Array, C: Array) -> float:
    """``½(‖B‖_F² + ‖C‖_F²)``."""
    return float((B * B).sum() + (C * C).sum()) / 2


def check_nuclear(
    trial: Trial, *, norm: Formula = nuclear, cost: Formula = half_of_squares
) -> Instances:
    """Random factors, and the balanced ones, U √S and √S V^T, which attain it.

    ``B C`` is off by ``k u ‖B‖_F ‖C‖_F`` in Frobenius norm, the nuclear norm by √n times that;
    each of n singular values by LAPACK's n eps times the largest; the sums of squares by n k eps.
    """
    for n, k in ((4, 2), (6, 6), (12, 5)):
        for repeat in range(trial.count(1, 4)):
            B, C = trial.rng.standard_normal((n, k)), trial.rng.standard_normal((k, n))
            U, s, Vt = np.linalg.svd(B @ C)
            root = np.sqrt(s[:k])
            for kind, left, right in (
                ("random", B, C),
                ("balanced", U[:, :k] * root, root[:, None] * Vt[:k]),
            ):
                size = float(np.linalg.norm(left) * np.linalg.norm(right))
                tolerance = 2 * n * (n + k) * FLOAT64_EPS * size
                label = f"{kind}, n = {n}, k = {k}, draw {repeat}"
                yield Instance(
                    label, norm(left @ right), cost(left, right), Verdict.SUPPORTED, tolerance
                )


def flow(B: Any, C: Any, G: Any, decay: Any) -> tuple[Any, Any]:
    """The gradient flow of ``f(B C) + ½ λ (‖B‖² + ‖C‖²)``; pairs of a matrix and its transpose."""
    dB = -(G[0] * C[1] + decay * B[0]), -(C[0] * G[1] + decay * B[1])
    dC = -(B[1] * G[0] + decay * C[0]), -(G[1] * B[0] + decay * C[1])
    return dB, dC


def _decay_of_one(B: Any, C: Any, G: Any, decay: Any) -> tuple[Any, Any]:
    dB, dC = flow(B, C, G, decay)
    return dB, (dC[0] + decay * C[0], dC[1] + decay * C[1])


def check_balance(
    trial: Trial, *, flow: Formula = flow, rate: Formula = lambda decay: 2 * decay
) -> Instances:
    """``d/dt (B^T B - C C^T) = -2 λ (B^T B - C C^T)``, as polynomials that do not commute."""
    import sympy

    pairs = ((f"{x}", f"{x}t") for x in "BCG")
    B, C, G = (tuple(sympy.Symbol(x, commutative=False) for x in pair) for pair in pairs)
    decay = sympy.Symbol("decay")
    (dB, dBt), (dC, dCt) = flow(B, C, G, decay)
    change = dBt * B[0] + B[1] * dB - dC * C[1] - C[0] * dCt
    rest = sympy.expand(change + rate(decay) * (B[1] * B[0] - C[0] * C[1]))
    yield Instance("every f, every size", rest == 0, True, Verdict.PROVED)


VALUES = (3.0, 2.0, 1.2, 0.5, 0.3, 0.1)
STEPS, STEP = 2000, 0.1


def descend(Y: Array, decay: float, B: Array, C: Array) -> tuple[Array, Array]:
    """Gradient descent on ``½‖B C - Y‖² + ½ λ (‖B‖² + ‖C‖²)``."""
    for _ in range(STEPS):
        G = B @ C - Y
        B, C = B - STEP * (G @ C.T + decay * B), C - STEP * (B.T @ G + decay * C)
    return B, C


def check_rank(trial: Trial, *, train: Formula = descend) -> Instances:
    """How many singular values of what was trained are certainly not 0.

    With F the loss and F* its least value, at A* with values (s - λ)_+, ``F >= F* + ½‖A - A*‖_F²``,
    for ``½(‖B‖² + ‖C‖²) >= ‖A‖_*`` and ½‖A - Y‖² is strongly convex. So A is within
    ``sqrt(2 (F - F*))`` of A*; F is computed to within 64 eps F for matrices of this size.
    """
    s = np.array(VALUES)
    for decay in trial.some(2, (0.8, 0.4, 1.5)):
        U, V = (np.linalg.qr(trial.rng.standard_normal((6, 6)))[0] for _ in range(2))
        Y = (U * s) @ V.T
        B, C = train(Y, decay, *(0.3 * trial.rng.standard_normal((2, 6, 6))))
        loss = float(((B @ C - Y) ** 2).sum()) / 2 + decay * half_of_squares(B, C)
        kept = np.maximum(s - decay, 0)
        least = float(((kept - s) ** 2).sum()) / 2 + decay * float(kept.sum())
        within = math.sqrt(2 * max(loss - least, 0) + 64 * FLOAT64_EPS * loss)
        rank = int((np.linalg.svd(B @ C, compute_uv=False) > within).sum())
        predicted = int((s > decay).sum())
        yield Instance(f"λ = {decay}", rank, predicted, Verdict.SUPPORTED)


CLAIMS = (
    make_claim(
        "kobayashi-nuclear",
        "Weight decay on factors is at least the nuclear norm of the product, "
        "½(‖B‖² + ‖C‖²) >= ‖B C‖_*, and balanced factors attain it.",
        check_nuclear,
        Mutant(
            "√rank times the Frobenius norm",
            {"norm": lambda A: math.sqrt(np.linalg.matrix_rank(A)) * np.linalg.norm(A)},
        ),
        Mutant("a third", {"cost": lambda B, C: half_of_squares(B, C) / 1.5}, "factor"),
        source=Source("kobayashi2024", "nuclear norm of the product", ABSTRACT),
        hypotheses=("real factors; W_k^T W_q for a head",),
        relation="<=",
        status=Verdict.SUPPORTED,
    ),
    make_claim(
        "kobayashi-balance",
        "Under gradient flow with weight decay λ the imbalance B^T B - C C^T falls like "
        "e^(-2 λ t), whatever the loss.",
        check_balance,
        Mutant("decay of one factor", {"flow": _decay_of_one}),
        Mutant("e^(-λ t)", {"rate": lambda decay: decay}),
        source=Source("kobayashi2024", "balancedness", ABSTRACT),
        hypotheses=("loss f(B C) with a gradient; exact flow, no momentum, no minibatch noise",),
        status=Verdict.PROVED,
    ),
    make_claim(
        "kobayashi-rank",
        "Trained with weight decay λ, a product of full inner size that is to match Y has as many "
        "singular values as Y has above λ.",
        check_rank,
        Mutant("no decay", {"train": lambda Y, decay, B, C: descend(Y, 0.0, B, C)}),
        Mutant("does not train", {"train": lambda Y, decay, B, C: (B, C)}, "idle"),
        source=Source(
            "kobayashi2024",
            "low rank under weight decay",
            f"{ABSTRACT}; the case of a square loss, solved in closed form here",
        ),
        hypotheses=("½‖B C - Y‖²; full batch; singular values of Y not equal to λ",),
        status=Verdict.SUPPORTED,
    ),
)
