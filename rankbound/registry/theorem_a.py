"""Lemma 1, the softmax gauge (Yang, Dai, Salakhutdinov & Cohen 2018), and Theorem A.

Theorem A: a head of size k has the context P iff k >= logrank(P); so n - 1 is sharp.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.attention.ensembles import random_context
from rankbound.exact.rational import as_rationals, centred
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.fitting.solve import Fit, fit_head
from rankbound.ranks.certified import certified_rank
from rankbound.ranks.exact import exact_rank
from rankbound.ranks.spectrum import numerical_rank
from rankbound.registry.claim import (
    Cases,
    Formula,
    Instance,
    Instances,
    Mutant,
    Source,
    Trial,
    compare_ranks,
    make_claim,
)
from rankbound.registry.populations import (
    construction_error,
    exact_log_rank,
    exact_logits,
    identity_logits,
    random_contexts,
    represented,
    spread_tokens,
)
from rankbound.theory.approximation import nearest_head
from rankbound.theory.certified import certified_log_rank
from rankbound.theory.decision import log_rank
from rankbound.theory.theorem_a import exact_factors
from rankbound.verdict import Verdict

THEOREM_A = Source("rankbound", "Theorem A", "derived here")
THRESHOLD = Source("rankbound", "Theorem A, sharp threshold", "B20 has n; n - 1 is enough")
FULL_RANK = "X of full column rank"
RATIO = 1e-9  # far above the rounding of a logarithm, far below what a missing coordinate costs


# Lemma 1


def check_gauge(
    trial: Trial, *, softmax: Formula = lambda exp, column, row: exp / column
) -> Instances:
    """Both directions for one entry and two entries of a column: n is arbitrary.

    An entry of P is `softmax` of the exponential of a logit and the sums of its column and row.
    """
    import sympy

    def entry(logit: Any, column: Any, row: Any) -> Any:
        return softmax(sympy.exp(logit), column, row)

    x, y, c = sympy.symbols("x y c", real=True)
    column, row = sympy.symbols("Z R", positive=True)
    shifted = entry(x + c, column * sympy.exp(c), row + (sympy.exp(c) - 1) * sympy.exp(x))
    same = sympy.simplify(shifted - entry(x, column, row)) == 0
    yield Instance("a constant added to a column leaves P alone", same, True, Verdict.PROVED)
    ratio = sympy.log(entry(x, column, row)) - sympy.log(entry(y, column, row))
    known = sympy.simplify(sympy.expand_log(ratio, force=True) - (x - y)) == 0
    yield Instance("P determines differences within a column", known, True, Verdict.PROVED)


def check_centring(trial: Trial, *, mean: Formula = lambda ones, n: ones / n) -> Instances:
    """C = I - 11^T/n is idempotent with trace n - 1, so its rank is n - 1, for every n."""
    import sympy

    n = sympy.Symbol("n", integer=True, positive=True)
    ones = sympy.OneMatrix(n, n)
    C = sympy.Identity(n) - mean(ones, n)
    # C = I - w 11^T, so C² = I - (2 w - w² n) 11^T by 11^T 11^T = n 11^T
    w, rest = (sympy.Identity(n) - C).doit().as_coeff_mmul()
    square = (ones * ones).doit() == n * ones and rest.doit() == ones
    idempotent = square and sympy.simplify(2 * w - w**2 * n - w) == 0
    yield Instance("C C = C, every n", idempotent, True, Verdict.PROVED)
    trace = sympy.simplify(sympy.Trace(C).doit() - (n - 1)) == 0
    yield Instance("trace C = n - 1, every n", trace, True, Verdict.PROVED)


# Theorem A


def check_theorem_a(trial: Trial, *, needed: Formula = log_rank) -> Instances:
    """The nearest head of size k reaches P iff k is at least the log-rank."""
    for label, P in random_contexts(trial):
        X = spread_tokens(len(P), trial)
        tolerance = construction_error(np.log(P), X)
        for k in range(1, len(P) + 1):
            Q = nearest_head(P, k, X=X).context(X)
            reached = bool(np.max(np.abs(np.log(P) - np.log(Q))) <= tolerance)
            yield Instance(f"{label}, head size {k}", reached, needed(P) <= k, Verdict.SUPPORTED)


def _of_rank(trial: Trial) -> Cases:
    """Contexts drawn with logits of some rank."""
    for n in (3, 6, 12, 24)[: trial.count(3, 4)]:
        for rank in sorted({0, 1, n // 2, n - 1}):
            for repeat in range(trial.count(1, 4)):
                P = random_context(n, trial.rng, "logrank", rank=rank)
                yield f"logits of rank {rank}, n = {n}, draw {repeat}", (P,), (rank,)


def check_sufficient(trial: Trial, *, size: Formula = lambda n: n - 1) -> Instances:
    """Size of an exact head for P ∝ exp(M), multiplied out; infinite if it is not exact."""
    for n in range(2, trial.count(12, 24)):
        M = trial.integers(n, n)
        A, B = exact_factors(M)
        reached = len(A) if exact_logits(A, B) == centred(as_rationals(M)) else math.inf
        proofs = (represented(M, A, B),)
        yield Instance(f"n = {n}", reached, size(n), Verdict.CERTIFIED, certificates=proofs)


def _identities(trial: Trial) -> Cases:
    """P ∝ 2^I, logits log 2 times the identity."""
    for n in range(2, trial.count(24, 64)):
        yield f"P ∝ 2^I, n = {n}", (identity_logits(n),), (n,)


def _integer_logits(trial: Trial) -> Cases:
    """Random integer logits of 21 bits."""
    for n in range(2, trial.count(16, 40)):
        yield f"n = {n}", (trial.integers(n, n),), (n,)


def _float_contexts(trial: Trial) -> Cases:
    """Dirichlet and Gibbs contexts, read as the floats they are."""
    for n in (2, 4, 8, 16, 32, 64):
        for law in ("dirichlet", "gibbs"):
            for repeat in range(trial.count(2, 10)):
                P = random_context(n, trial.rng, law)
                yield f"{law}, n = {n}, draw {repeat}", (P,), (n,)


def check_trained_reaches(trial: Trial, *, size: Formula = lambda n: n - 1) -> Instances:
    """Train from random weights at size n - 1: stationary points of full rank have context P."""
    for n in (3, 5, 8):
        for repeat in range(trial.count(2, 10)):
            P = random_context(n, trial.rng)
            seed = int(trial.rng.integers(2**31))
            fit = fit_head(P, size(n), seed=seed, spectral_start=False, random_starts=1)
            missed = float(np.max(np.abs(fit.head.context() - P)))
            label = f"n = {n}, draw {repeat}"
            yield Instance(label, missed, 0.0, Verdict.SUPPORTED, stationary_error(fit, n))


def stationary_error(fit: Fit, n: int) -> float:
    """How far from P the context can be, given the gradient, at head size n - 1.

    With G = (Q - P)/n the gradient holds A G, A the (n - 1) × n keys; let v span the kernel of A.
    Then G = G' + v w^T with ``‖G'‖ <= ‖A G‖ / s_min(A)``, and 1^T G = 0 gives
    ``‖w‖ <= sqrt(n) ‖G'‖ / |1^T v|``.
    """
    _, values, Vt = np.linalg.svd(fit.head.W_k)
    lift = 1 + math.sqrt(n) / abs(float(Vt[-1].sum()))
    # A G is computed to within n eps ‖A‖_F, G having entries below 1/n
    gradient = fit.gradient_norm + 4 * n * FLOAT64_EPS * float(np.linalg.norm(fit.head.W_k))
    return n * lift * gradient / float(values[-1]) + 4 * n * FLOAT64_EPS


def _query_centred_rank(P: Array) -> int:
    log_P = np.log(P)
    return int(numerical_rank(log_P - log_P.mean(axis=1, keepdims=True)))


DOES_NOT_CENTRE = Mutant("does not centre", {"rank": exact_rank})

CLAIMS = (
    make_claim(
        "softmax-gauge",
        "softmax(L) = softmax(L') iff L - L' = 1 c^T for some c.",
        check_gauge,
        Mutant("softmax over queries", {"softmax": lambda exp, column, row: exp / row}),
        Mutant("no normalisation", {"softmax": lambda exp, column, row: exp}),
        source=Source("yang2018", "Property 1", "there for softmax over rows; in our words"),
        hypotheses=("real logits, softmax over keys, every n",),
        relation="iff",
        status=Verdict.PROVED,
    ),
    make_claim(
        "centring-rank",
        "C = I - 11^T/n has rank n - 1, so logrank(P) <= n - 1, for every n.",
        check_centring,
        Mutant("divides by n - 1", {"mean": lambda ones, n: ones / (n - 1)}),
        Mutant("forgets the mean", {"mean": lambda ones, n: 0 * ones}),
        Mutant("scales instead", {"mean": lambda ones, n: ones**0 / n}),
        source=Source("rankbound", "Lemma 1, definition", "derived here"),
        hypotheses=("n >= 1",),
        status=Verdict.PROVED,
    ),
    make_claim(
        "theorem-a",
        "P is the context of a head of size k on X iff logrank(P) <= k.",
        check_theorem_a,
        Mutant("log-rank off by one", {"needed": lambda P: log_rank(P) + 1}),
        Mutant("centres over queries instead of keys", {"needed": _query_centred_rank}),
        Mutant("does not centre", {"needed": lambda P: int(numerical_rank(np.log(P)))}),
        Mutant("measures the rank of P", {"needed": lambda P: int(numerical_rank(P))}),
        source=THEOREM_A,
        hypotheses=(FULL_RANK, "P positive and column-stochastic"),
        relation="iff",
        status=Verdict.SUPPORTED,
    ),
    make_claim(
        "theorem-a-within",
        "Within a ratio of 1e-9 of the softmax, in float64, of random logits of rank r < n the "
        "least head size is r.",
        compare_ranks(_of_rank, partial(certified_log_rank, ratio=RATIO), int),
        Mutant("one more", {"predicted": lambda rank: rank + 1}),
        Mutant("at least one coordinate", {"predicted": lambda rank: rank or 1}),
        source=THEOREM_A,
        hypotheses=(FULL_RANK, "the floats of P read as the reals they are, columns normalised"),
    ),
    make_claim(
        "sharp-sufficient",
        "Head size n - 1 suffices: an exact head for each P ∝ exp(M) drawn.",
        check_sufficient,
        Mutant("n - 2", {"size": lambda n: n - 2}),
        source=THRESHOLD,
        hypotheses=(FULL_RANK, "P ∝ exp(M), M integer"),
        relation="<=",
    ),
    make_claim(
        "sharp-necessary",
        "Head size n - 2 does not suffice: P ∝ 2^I needs n - 1.",
        compare_ranks(_identities, exact_log_rank, lambda n: n - 1),
        Mutant("n, as in B20", {"predicted": lambda n: n}),
        DOES_NOT_CENTRE,
        source=THRESHOLD,
        hypotheses=("any X",),
    ),
    make_claim(
        "sharp-almost-every-exact",
        "Each P ∝ exp(M) drawn needs head size n - 1, as almost every P does.",
        compare_ranks(_integer_logits, exact_log_rank, lambda n: n - 1),
        DOES_NOT_CENTRE,
        source=THRESHOLD,
        hypotheses=("P ∝ exp(M), entries of M uniform integers of 21 bits",),
    ),
    make_claim(
        "sharp-almost-every",
        "Each Dirichlet and Gibbs P drawn needs head size n - 1, as almost every P does.",
        compare_ranks(_float_contexts, certified_log_rank, lambda n: n - 1),
        Mutant("measures the rank of P", {"rank": certified_rank}),
        Mutant("does not centre", {"rank": lambda P: certified_rank(np.log(P))}),
        source=THRESHOLD,
        hypotheses=("P Dirichlet(1) or Gibbs, its floats read as the reals they are",),
    ),
    make_claim(
        "trained-reaches",
        "Heads of size n - 1 trained from random weights reach P.",
        check_trained_reaches,
        Mutant("n - 2", {"size": lambda n: n - 2}),
        source=Source(
            "rankbound", "Theorem A, trained", "stationary points of full rank are exact"
        ),
        hypotheses=(FULL_RANK, "keys of rank n - 1 whose kernel is not orthogonal to 1"),
        status=Verdict.SUPPORTED,
    ),
)
