"""What smaller heads can and cannot approximate: KL bounds and sparse patterns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from rankbound._validate import Array
from rankbound.attention.ensembles import random_context
from rankbound.attention.head import AttentionHead
from rankbound.fitting.solve import fit_head
from rankbound.registry.claim import Instance, Mutant, Relation, Source, Trial, make_claim
from rankbound.registry.populations import POSITIVE
from rankbound.theory.approximation import aitchison_error
from rankbound.theory.kl_bound import kl_lower_bound
from rankbound.theory.sparse import sparse_head, total_variation_bound
from rankbound.verdict import Verdict

Bound = Callable[[Array, int], float]


def check_kl_bound(trial: Trial, *, bound: Bound = kl_lower_bound) -> Iterator[Instance]:
    """The bound against fitted heads, of soft, Gibbs and Dirichlet contexts."""
    laws: tuple[tuple[str, dict[str, float]], ...] = (
        ("gibbs", {"scale": 0.3}),
        ("gibbs", {"scale": 1.0}),
        ("dirichlet", {}),
    )
    for n in (4, 7, 10)[: trial.count(2, 3)]:
        for law, parameters in laws:
            P = random_context(n, trial.rng, law, **parameters)
            for k in sorted({1, n // 2, n - 2}):
                fit = fit_head(P, k, random_starts=trial.count(1, 5))
                label = f"{law} {parameters or ''}, n = {n}, head size {k}"
                yield Instance(label, bound(P, k), fit.kl, Verdict.SUPPORTED, 1e-9 * fit.kl)


def check_soft(trial: Trial, *, bound: Bound = kl_lower_bound) -> Iterator[Instance]:
    """Fitted KL over the bound, at most 5."""
    for _ in range(trial.count(1, 4)):
        P = random_context(16, trial.rng, "gibbs", scale=0.3)
        for k in (4, 8, 12, 14):
            ratio = fit_head(P, k, random_starts=1).kl / max(bound(P, k), 1e-300)
            yield Instance(f"n = 16, head size {k}", ratio, 5.0, Verdict.SUPPORTED)


def least_probability(P: Array, k: int) -> float:
    """``(p_min/n) φ(τ_k)``, the bound by the least probability alone."""
    tail = aitchison_error(P, k)
    return float(P.min() / len(P) * (tail + math.expm1(-tail)))


def check_sparse(
    trial: Trial, *, build: Callable[[Array], AttentionHead] = sparse_head
) -> Iterator[Instance]:
    """Heads of size 2s, in total variation with every rounding bounded."""
    for n, s in ((12, 1), (12, 2), (40, 3), (200, 1)):
        P = random_context(n, trial.rng, "sparse", nonzeros=s)
        head = build(P)
        worst = float(np.max(total_variation_bound(head, P)))
        reached = worst if head.head_size <= 2 * s else math.inf
        yield Instance(
            f"n = {n}, s = {s}, head size {head.head_size}", reached, 1e-6, Verdict.SUPPORTED
        )


def _without_the_last(P: Array) -> AttentionHead:
    head = sparse_head(P)
    return AttentionHead(W_q=head.W_q[:-1], W_k=head.W_k[:-1], scale=head.scale)


_bound = partial(
    make_claim,
    source=Source("rankbound", "section 5", "derived here"),
    relation=Relation.LE,
    status=Verdict.SUPPORTED,
)

CLAIMS = (
    _bound(
        "kl-lower-bound",
        "No head of size k has a mean KL divergence from P below the bound by column budgets.",
        check_kl_bound,
        Mutant("φ(t)/t² taken as 4", {"bound": lambda P, k: 8 * kl_lower_bound(P, k)}),
        hypotheses=(POSITIVE,),
    ),
    _bound(
        "kl-bracket-soft",
        "For softmax of 0.3 times Gaussian logits, n = 16, fitted heads come within a factor "
        "of 5 of the bound.",
        check_soft,
        Mutant("the least probability alone", {"bound": least_probability}),
        hypotheses=("an observation on random contexts, not a theorem",),
    ),
    _bound(
        "sparse-two-s",
        "A pattern of at most s keys per query is met to any total variation by head size 2s.",
        check_sparse,
        Mutant("one coordinate less", {"build": _without_the_last}),
        hypotheses=("P is column-stochastic with at most s non-zeros per column",),
    ),
)
