"""What claims are checked on: contexts and exact logits; and wrong heads, to be caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.attention.ensembles import random_context, random_tokens
from rankbound.attention.head import AttentionHead
from rankbound.attention.masks import Mask
from rankbound.attention.pretrained import PretrainedHead, pretrained_heads
from rankbound.certificates.certificates import Representation
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import RepresentedExactly
from rankbound.exact.flint import rational_product
from rankbound.exact.rational import Rationals, transposed
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.fitting.solve import Fit, fit_head
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Trial
from rankbound.theory.certified import certified_log_rank
from rankbound.theory.theorem_a import exact_factors

Contexts = Callable[[Trial], Iterator[tuple[str, Array]]]  # a label and a context each
POSITIVE = "P is positive and column-stochastic"


def exact_logits(keys: Any, queries: Any) -> Rationals:
    """``K^T Q`` over the rationals, for rows of ints or Fractions."""
    return rational_product(transposed(keys), queries)


def exact_log_rank(logits: Any, mask: Mask | None = None) -> RankBounds:
    """The log-rank of P ∝ exp(M), which is that of P ∝ b^M for every base b; masked, if given."""
    return certified_log_rank(mask=mask, logits=logits)


def represented(M: Any, W_k: Any, W_q: Any, X: Any = None) -> Representation:
    """The certificate that W_k, W_q represent P ∝ exp(M), M integer, on integer tokens or on I."""
    weights = (Matrix.of_rationals(W) for W in (W_k, W_q))
    tokens = () if X is None else (Matrix.of_integers(X),)
    return Representation(RepresentedExactly(Matrix.of_integers(M), *weights, *tokens))


def has_rank(rows: Any, rank: int) -> bool:
    """Whether a matrix of exact numbers has it."""
    return int(exact_rank(rows)) == rank


def identity_logits(n: int) -> list[list[int]]:
    """The n × n identity: with base 2, the context P ∝ 2^I of tokens that prefer themselves."""
    return [[int(i == j) for j in range(n)] for i in range(n)]


def random_contexts(trial: Trial) -> Iterator[tuple[str, Array]]:
    """Dirichlet, Gibbs and low log-rank contexts of several lengths."""
    for n in trial.some(3, (2, 5, 12, 24)):
        for law, parameters in (
            ("dirichlet", {}),
            ("gibbs", {"scale": 2.0}),
            ("logrank", {"rank": n // 2}),
        ):
            for repeat in range(trial.count(2, 8)):
                P = random_context(n, trial.rng, law, **parameters)
                yield f"{law}, n = {n}, draw {repeat}", P


def trained_heads(trial: Trial) -> Iterator[tuple[str, Fit]]:
    """Heads fitted by this toolkit to Dirichlet contexts, below and at the threshold n - 1."""
    for n, sizes in ((6, (1, 3, 5)), (12, (2, 4, 8))):
        for size in sizes:
            for repeat in range(trial.count(1, 4)):
                P = random_context(n, trial.rng)
                seed = int(trial.rng.integers(2**31))
                fit = fit_head(P, size, seed=seed, spectral_start=False, random_starts=1)
                yield f"trained, n = {n}, head size {size}, draw {repeat}", fit


def pretrained_sample(trial: Trial) -> Iterator[tuple[str, PretrainedHead]]:
    """Heads of the pretrained encoder: one per layer, or all 72."""
    step = 13 // trial.count(1, 13)  # 13 = one layer of 12 and one head on
    for head in pretrained_heads(64)[::step]:
        yield f"all-MiniLM-L6-v2, layer {head.layer}, head {head.index}, n = 64", head


def _contexts_of(heads: Callable[[Trial], Iterator[tuple[str, Any]]]) -> Contexts:
    return lambda trial: ((label, found.head.context()) for label, found in heads(trial))


trained_contexts = _contexts_of(trained_heads)
pretrained_contexts = _contexts_of(pretrained_sample)


def spread_tokens(n: int, trial: Trial) -> Array:
    """Gaussian tokens of full column rank, d a little above n."""
    return random_tokens(n + int(trial.rng.integers(0, 4)), n, trial.rng)


# wrong versions that several claims must catch


def query_centred(P: Array) -> Array:
    """Log P less the mean over queries, where the softmax asks for that over keys."""
    log_P = np.log(P)
    return np.asarray(log_P - log_P.mean(axis=1, keepdims=True), np.float64)


def rescaled(head: AttentionHead, factor: float = 1.5) -> AttentionHead:
    """The head with its logits multiplied by a factor."""
    return AttentionHead(W_q=head.W_q, W_k=head.W_k, scale=factor * head.scale)


def one_coordinate_less(M: Any) -> tuple[Rationals, Rationals]:
    """The exact factors, without their last coordinate."""
    A, B = (f[:-1] or [[Fraction(0)] * len(M)] for f in exact_factors(M))
    return A, B


# tolerances


def construction_error(log_P: Array, X: Array) -> float:
    """How far in any entry of log P the construction of Theorem A may be in float64; D = C log P.

    Solving W X = F by a backward stable method leaves ``‖W X - F‖_F <= 2 c u κ ‖F‖_F`` with
    κ = ``‖X‖_F ‖X^+‖_2`` and LAPACK's customary c = max(d, n); computing W X again adds half of
    that. The product of the two factors, whose norms multiply to the nuclear norm ``‖D‖_*``, is
    then off by ``6 c u κ ‖D‖_*``, plus its own rounding; a softmax at most doubles that. With
    eps = 2 u the sum stays below ``8 c eps κ ‖D‖_*``. The last term bounds the rounding of softmax
    and logarithms, a few units for each of the n summands.
    """
    n, D = len(log_P), log_P - log_P.mean(axis=0)
    condition = np.linalg.norm(X) * np.linalg.norm(np.linalg.pinv(X), 2)
    return float(
        8 * max(X.shape) * FLOAT64_EPS * condition * np.linalg.norm(D, "nuc")
        + 4 * (n + 32) * FLOAT64_EPS * (1 + 4 * np.max(np.abs(log_P)))
    )
