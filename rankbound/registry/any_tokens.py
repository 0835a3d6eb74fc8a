"""Any tokens under any mask: what causal attention has when n > d, and layer norm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from rankbound.attention.ensembles import random_context
from rankbound.attention.masks import Mask, causal_mask
from rankbound.errors import Undecided
from rankbound.exact.rational import as_rationals
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import (
    Builder,
    Formula,
    Instance,
    Instances,
    Mutant,
    Source,
    Trial,
    compare_ranks,
    make_claim,
)
from rankbound.registry.populations import exact_log_rank
from rankbound.theory.any_tokens import (
    causal_dimension,
    masked_representation,
    weight_equations,
)
from rankbound.theory.decision import least_head_size, log_rank
from rankbound.theory.theorem_b import unreachability_certificate
from rankbound.tokens import read_tokens
from rankbound.verdict import Verdict

EXISTENCE = Source("rankbound", "any tokens under any mask", "derived here")
REACH = Source("rankbound", "what causal attention reaches", "derived here")
Logits = list[list[int]]


def has_a_head(logits: Any, X: Any, mask: Mask) -> bool:
    """What the toolkit decides."""
    try:
        return not math.isinf(least_head_size(logits=logits, X=X, mask=mask))
    except Undecided as undecided:  # how large a head is open, not whether there is one
        return undecided.bounds is not None


def solvable(logits: Logits, X: Logits, mask: Mask, gauge: bool = True) -> bool:
    """The definition: ``X^T M X + 1 c^T`` is L on the mask for some M and c, by ranks."""
    d, n = len(X), len(X[0])
    pairs = [(i, j) for j in range(n) for i in range(n) if mask[i, j]]
    rows = [
        [X[a][i] * X[b][j] for a in range(d) for b in range(d)]
        + [int(gauge and j == q) for q in range(n)]
        for i, j in pairs
    ]
    extended = [[*row, logits[i][j]] for row, (i, j) in zip(rows, pairs, strict=True)]
    return int(exact_rank(rows)) == int(exact_rank(extended))


def random_cases(trial: Trial) -> Iterator[tuple[str, Logits, Logits, Mask]]:
    """Small integer tokens of rank < n under random and causal masks; half the logits are heads'.

    A column of those of heads may be moved by a constant, the gauge.
    """
    for case in range(trial.count(24, 200)):
        n = 3 + case % 3
        d = int(trial.rng.integers(1, n))
        X = trial.rng.integers(-2, 3, (d, n))
        mask = causal_mask(n)
        if case % 2:
            mask = (trial.rng.random((n, n)) < 0.7) | np.eye(n, dtype=np.bool_)
            mask[0, 1] = False
        L = trial.rng.integers(-3, 4, (n, n))
        if case % 4 < 2:
            M = trial.rng.integers(-2, 3, (d, d))
            L = X.T @ M @ X + trial.rng.integers(-3, 4, (1, n))
        yield f"case {case}, n = {n}, d = {d}", L.tolist(), X.tolist(), mask


def check_existence(trial: Trial, *, exists: Formula = has_a_head) -> Instances:
    """What is decided, with the head or the weights W that prove it, against the definition."""
    for label, L, X, mask in random_cases(trial):
        found = exists(L, X, mask)
        wanted, proofs = solvable(L, X, mask), (_proof(found, L, X, mask),)
        yield Instance(label, found, wanted, Verdict.CERTIFIED, certificates=proofs)


def _proof(found: bool, L: Logits, X: Logits, mask: Mask) -> Builder:
    """Of what was found: a head, or weights that show that there is none."""
    if found:
        return partial(masked_representation, as_rationals(L), read_tokens(X), mask)
    return partial(unreachability_certificate, X=X, logits=L, mask=mask)


def moment_tokens(n: int, d: int, first: int) -> Logits:
    """Powers first, first + 1, … of 1, …, n: any d columns are independent.

    For first = 1 the vector 1 is outside the row space of any d + 1 of them, for 0 it is inside.
    """
    return [[t**power for t in range(1, n + 1)] for power in range(first, first + d)]


def _reaches(trial: Trial) -> Iterator[tuple[str, tuple[Any, ...], tuple[Any, ...]]]:
    for d in range(1, trial.count(5, 6)):
        for n in range(2, 2 * d + 3):
            for first in (1, 0):
                label = f"n = {n}, d = {d}, 1 {'outside' if first else 'in'} the row space"
                yield label, (moment_tokens(n, d, first), causal_mask(n)), (n, d, not first)


def _one_missing(trial: Trial) -> Iterator[tuple[str, tuple[Any, ...], tuple[Any, ...]]]:
    for n in range(3, trial.count(8, 11)):
        yield f"n = {n}, d = {n - 1}", (moment_tokens(n, n - 1, 1), causal_mask(n)), (n,)


def rank_of_equations(X: Logits, mask: Mask) -> Any:
    """The exact rank of what weights do to the logits that are visible, up to the gauge."""
    return exact_rank(weight_equations(X, mask=mask))


def _ungauged(X: Logits, mask: Mask) -> Any:
    """What weights do to the logits that are visible, as they are."""
    columns = list(zip(*X, strict=True))
    return [[x * y for x in columns[i] for y in columns[j]] for i, j in np.argwhere(mask).tolist()]


def check_one_missing_head(trial: Trial, *, exists: Formula = has_a_head) -> Instances:
    """Random integer logits on n - 1 coordinates: each has a head, written down."""
    for n in range(3, trial.count(7, 9)):
        X, L = moment_tokens(n, n - 1, 1), trial.integers(n, n, bound=9)
        mask = causal_mask(n)
        found = exists(L, X, mask)
        proofs = (_proof(found, L, X, mask),)
        yield Instance(f"n = {n}", found, True, Verdict.CERTIFIED, certificates=proofs)


def check_one_missing_size(trial: Trial, *, size: Formula = least_head_size) -> Instances:
    """Random causal contexts on Gaussian tokens of n - 1 coordinates."""
    for n in range(3, trial.count(9, 13)):
        P = random_context(n, trial.rng, law="causal")
        X = trial.rng.standard_normal((n - 1, n))
        least = size(P, X=X, mask=causal_mask(n))
        yield Instance(f"n = {n}", least, n // 2, Verdict.SUPPORTED)


def shown_size(P: Any, X: Any, mask: Mask) -> int:
    """The log-rank of what is left when hidden keys get a weight of 1e-3 instead."""
    Q = np.where(mask, P, 1e-3)
    return int(log_rank(Q / Q.sum(axis=0)))


# layer norm


def centred_token(x: list[int]) -> list[int]:
    """D times the token less the mean of its coordinates."""
    return [len(x) * a - sum(x) for a in x]


def normalised_tokens(trial: Trial, d: int, n: int, centre: Formula) -> Any:
    """Integer tokens after layer norm, (d, n): only those whose standard deviation is rational.

    There is none for d = 3.
    """

    def squares(x: list[int]) -> int:
        """d² times the variance, an integer."""
        return sum(a * a for a in centred_token(x)) // d

    def is_square(x: list[int]) -> bool:
        return squares(x) > 0 and math.isqrt(squares(x)) ** 2 == squares(x)

    drawn = [
        trial.first(is_square, lambda: trial.rng.integers(-9, 10, d).tolist()) for _ in range(n)
    ]
    tokens = [[Fraction(a, math.isqrt(squares(x))) for a in centre(x)] for x in drawn]
    return np.array(tokens, dtype=object).T


def check_layer_norm(
    trial: Trial, *, centre: Formula = centred_token, bound: Formula = lambda d: d - 1
) -> Instances:
    """Random integer heads of size d + 1 after layer norm, plain, with gain and shift, and biases.

    Without a mask and with a causal one.
    """
    for d in trial.some(2, (2, 4, 5)):
        n, k = 2 * d + 1, d + 1
        for affine in ("plain", "gain and shift", "and biases"):
            for _ in range(trial.count(1, 4)):
                X = normalised_tokens(trial, d, n, centre)
                draw = partial(trial.rng.integers, 1, 10)
                if affine != "plain":
                    X = draw((d, 1)).astype(object) * X + draw((d, 1)).astype(object)
                keys, queries = (draw((k, d)).astype(object) @ X for _ in range(2))
                if affine == "and biases":
                    keys, queries = (part + draw((k, 1)).astype(object) for part in (keys, queries))
                L = as_rationals((keys.T @ queries).tolist())
                for name, mask in (("no mask", None), ("causal", causal_mask(n))):
                    label = f"d = {d}, n = {n}, {affine}, {name}"
                    yield Instance.of_bounds(label, exact_log_rank(L, mask), bound(d))


NO_MASK = Mutant("forgets the mask", {"rank": lambda X, mask: rank_of_equations(X, mask | True)})

CLAIMS = (
    make_claim(
        "any-tokens-any-mask",
        "Some head has P on X under a mask iff <W, log P> = 0 for every visible W with 1^T W = 0 "
        "and X W X^T = 0.",
        check_existence,
        Mutant("forgets the mask", {"exists": lambda L, X, mask: has_a_head(L, X, mask | True)}),
        Mutant(
            "forgets the tokens",
            {"exists": lambda L, X, mask: has_a_head(L, np.eye(len(L), dtype=int), mask)},
        ),
        Mutant(
            "forgets the gauge",
            {"exists": lambda L, X, mask: solvable(L, X, mask, gauge=False)},
        ),
        source=EXISTENCE,
        hypotheses=("small integer tokens of rank < n", "causal and random masks", "P ∝ exp(L)"),
        relation="iff",
        theorem="main.any_tokens",
    ),
    make_claim(
        "causal-reach",
        "On n > d tokens in general position causal contexts of heads have dimension "
        "n(n-1)/2 - m(m-1), m = n - d, up to n = 2d and d² beyond; with 1 in the row space "
        "n(n-1)/2 - m² and d² - d.",
        compare_ranks(
            _reaches, rank_of_equations, lambda n, d, ones: causal_dimension(n, d, holds_ones=ones)
        ),
        NO_MASK,
        Mutant("forgets the gauge", {"rank": lambda X, mask: exact_rank(_ungauged(X, mask))}),
        source=REACH,
        hypotheses=("X_ij = j^i: any d columns are independent",),
        theorem="reach_dimension.causal_reach",
    ),
    make_claim(
        "causal-one-missing",
        "A causal mask forgives one missing dimension: heads have all n(n-1)/2 dimensions of "
        "causal contexts on d = n - 1.",
        compare_ranks(_one_missing, rank_of_equations, lambda n: n * (n - 1) // 2),
        NO_MASK,
        Mutant(
            "two missing",
            {"rank": lambda X, mask: rank_of_equations(X[1:] or [[0] * len(mask)], mask)},
        ),
        source=REACH,
        hypotheses=("X_ij = j^i, i < n",),
        theorem="main.causal_forgives_one",
    ),
    make_claim(
        "causal-one-missing-head",
        "On d = n - 1 a head has each causal P ∝ exp(L) drawn: B20's Theorem 1, second half, does "
        "not hold under a causal mask.",
        check_one_missing_head,
        Mutant("two missing", {"exists": lambda L, X, mask: has_a_head(L, X[1:], mask)}),
        Mutant("forgets the mask", {"exists": lambda L, X, mask: has_a_head(L, X, mask | True)}),
        source=REACH,
        hypotheses=("X_ij = j^i, i < n", "random integer logits"),
        relation="exists",
        theorem="main.causal_forgives_one",
    ),
    make_claim(
        "causal-one-missing-size",
        "On d = n - 1 the least head size of each causal P drawn is floor(n/2), no more than on "
        "tokens of full column rank.",
        check_one_missing_size,
        Mutant("hidden keys get a weight", {"size": shown_size}),
        source=REACH,
        hypotheses=("Gaussian tokens", "random causal contexts"),
        status=Verdict.SUPPORTED,
    ),
    make_claim(
        "layer-norm",
        "On d-dimensional tokens after layer norm, with or without gain, shift and biases, a "
        "context has log-rank at most d - 1 whatever the head size, and so under a causal mask.",
        check_layer_norm,
        Mutant("root-mean-square norm, which does not centre", {"centre": lambda x: x}),
        Mutant("bounds by d - 2", {"bound": lambda d: d - 2}, "factor"),
        source=Source("rankbound", "after layer norm", "derived here"),
        hypotheses=("keys are linear in tokens after layer norm", "rational standard deviations"),
        relation="<=",
        theorem="main.after_layer_norm",
        theorem_part="with any gain and shift; not biases on keys and queries, not the causal mask",
    ),
)
