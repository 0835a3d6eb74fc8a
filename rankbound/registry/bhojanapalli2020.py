"""Theorem 1 of Bhojanapalli, Yun, Rawat, Reddi & Kumar 2020 (B20), first half: d >= n suffices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.attention.head import AttentionHead
from rankbound.certificates.certificates import Representation
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import RepresentedExactly
from rankbound.exact.flint import left_inverse, rational_product
from rankbound.exact.rational import centred
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Claim, Instance, Mutant, Relation, Source, Trial
from rankbound.registry.populations import (
    Contexts,
    construction_error,
    pretrained_contexts,
    random_contexts,
    spread_tokens,
    trained_contexts,
)
from rankbound.theory.certified import certify_head
from rankbound.theory.decision import represent
from rankbound.theory.theorem_a import exact_factors
from rankbound.verdict import Verdict

__all__ = ["CLAIMS"]

FIRST = Source("bhojanapalli2020", "Theorem 1, first half", "in our words and notation")
FULL_RANK = "X is d × n of full column rank, so d >= n"
POSITIVE = "P is positive and column-stochastic"


def _rational(rows: list[list[int]]) -> list[list[Fraction]]:
    return [[Fraction(x) for x in row] for row in rows]


def check_first_exact(
    trial: Trial,
    *,
    factors: Callable[..., Any] = exact_factors,
    inverse: Callable[..., Any] = left_inverse,
) -> Iterator[Instance]:
    """Build W_k, W_q over the rationals for P ∝ exp(M) and multiply out."""
    for n in range(2, trial.count(8, 14)):
        M, d = trial.integers(n, n), n + int(trial.rng.integers(0, 3))
        X = trial.integers(d, n, bound=9)
        while int(exact_rank(X)) < n:  # the hypothesis, met exactly
            X = trial.integers(d, n, bound=9)
        A, B = factors(M)
        pseudo = inverse(_rational(X))
        keys, queries = (
            rational_product(rational_product(factor, pseudo), _rational(X)) for factor in (A, B)
        )
        L = rational_product([list(row) for row in zip(*keys, strict=True)], queries)
        target = centred(_rational(M))
        miss = max(
            abs(x - y) for rows in zip(L, target, strict=True) for x, y in zip(*rows, strict=True)
        )
        W_k, W_q = (Matrix.of_rationals(rational_product(f, pseudo)) for f in (A, B))
        certificate = Representation(
            RepresentedExactly(Matrix.of_integers(M), W_k, W_q, Matrix.of_integers(X))
        )
        yield Instance(
            f"n = {n}, d = {d}",
            float(miss),
            0.0,
            Verdict.CERTIFIED,
            certificates=(certificate,),
        )


def _first_float(contexts: Contexts) -> Callable[..., Iterator[Instance]]:
    def check(
        trial: Trial, *, construct: Callable[..., AttentionHead] = represent
    ) -> Iterator[Instance]:
        for label, P in contexts(trial):
            X = spread_tokens(len(P), trial)
            head = construct(P, X, len(X))
            missed = np.max(np.abs(np.log(P) - np.log(head.context(X))))
            tolerance = construction_error(np.log(P), X)
            certificate = certify_head(head, P, X, tolerance)
            evidence = Verdict.SUPPORTED if certificate is None else Verdict.CERTIFIED
            proofs = () if certificate is None else (certificate,)
            yield Instance(label, float(missed), 0.0, evidence, tolerance, proofs)

    return check


def _query_centred(P: Array, X: Array, head_size: int) -> AttentionHead:
    log_P = np.log(P)
    return represent(
        None, X=X, head_size=head_size, logits=log_P - log_P.mean(axis=1, keepdims=True)
    )


def _unscaled(P: Array, X: Array, head_size: int) -> AttentionHead:
    head = represent(P, X=X, head_size=head_size)
    return AttentionHead(head.W_q, head.W_k, scale=1.0)


def _transposed_factors(M: list[list[int]]) -> Any:
    A, B = exact_factors([list(column) for column in zip(*M, strict=True)])
    return B, A


FIRST_MUTANTS = (
    Mutant("missing 1/sqrt(head size)", {"construct": _unscaled}),
    Mutant("centres over queries instead of keys", {"construct": _query_centred}),
    Mutant(
        "keeps P for its transpose",
        {"construct": lambda P, X, k: represent(P.T / P.T.sum(0), X=X, head_size=k)},
    ),
)


def _first(suffix: str, contexts: Contexts, of: str) -> Claim:
    return Claim(
        id=f"b20-theorem1-first-{suffix}",
        statement=(
            "For d >= n a head of size d on X has any positive P as its context, within the ratio "
            f"stated as tolerance: {of}."
        ),
        source=FIRST,
        hypotheses=(FULL_RANK, POSITIVE, "d_q = d_k = d >= n"),
        relation=Relation.EQ,
        status=Verdict.CERTIFIED,
        check=_first_float(contexts),
        mutants=FIRST_MUTANTS,
    )


CLAIMS = (
    Claim(
        id="b20-theorem1-first-exact",
        statement=(
            "For d >= n a head of size d on X has any positive P as its context: exactly, "
            "(W_k X)^T (W_q X) = C log P over the rationals for P ∝ exp(M), M integer."
        ),
        source=FIRST,
        hypotheses=(FULL_RANK, POSITIVE, "d_q = d_k = d >= n"),
        relation=Relation.EQ,
        status=Verdict.CERTIFIED,
        check=check_first_exact,
        mutants=(
            Mutant(
                "X^T for the left inverse",
                {"inverse": lambda X: [list(c) for c in zip(*X, strict=True)]},
            ),
            Mutant("centres over queries instead of keys", {"factors": _transposed_factors}),
            Mutant(
                "one coordinate too few",
                {
                    "factors": lambda M: tuple(
                        f[:-1] or [[Fraction(0)] * len(M)] for f in exact_factors(M)
                    )
                },
            ),
        ),
    ),
    _first("random", random_contexts, "random contexts"),
    _first("trained", trained_contexts, "contexts of heads trained here"),
    _first("pretrained", pretrained_contexts, "contexts of a pretrained encoder"),
)
