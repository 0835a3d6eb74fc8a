"""Theorems A and B: heads on given tokens, and Lemma 1, the softmax gauge (Yang et al. 2018)."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.attention.ensembles import random_context
from rankbound.attention.head import AttentionHead
from rankbound.certificates.certificates import Certificate
from rankbound.errors import Undecided
from rankbound.exact.elimination import prove_rank
from rankbound.exact.flint import solve_rows
from rankbound.exact.rational import Rationals, as_rationals, centred, transposed
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.fitting.solve import Fit, fit_head
from rankbound.ranks.certified import certified_rank
from rankbound.ranks.exact import exact_rank
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
    one_coordinate_less,
    query_centred,
    random_contexts,
    represented,
    rescaled,
    spread_tokens,
)
from rankbound.theory.approximation import nearest_head
from rankbound.theory.certified import certified_log_rank
from rankbound.theory.decision import least_head_size, log_rank
from rankbound.theory.theorem_a import exact_factors, split
from rankbound.theory.theorem_b import unreachability_certificate
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


# Theorem A: a head of size k has the context P iff k >= logrank(P); so n - 1 is sharp


def check_theorem_a(trial: Trial, *, nearest: Formula = nearest_head) -> Instances:
    """The nearest head of size k reaches P iff k is at least the log-rank."""
    for label, P in random_contexts(trial):
        X = spread_tokens(len(P), trial)
        tolerance = construction_error(np.log(P), X)
        for k in range(1, len(P) + 1):
            Q = nearest(P, k, X=X).context(X)
            reached = bool(np.max(np.abs(np.log(P) - np.log(Q))) <= tolerance)
            yield Instance(f"{label}, head size {k}", reached, log_rank(P) <= k, Verdict.SUPPORTED)


def truncated(matrix: Formula) -> Formula:
    """Heads by a truncated singular value decomposition: of another matrix than C log P."""

    def nearest(P: Array, k: int, *, X: Array) -> AttentionHead:
        A, B = split(matrix(P), 0, k)
        return AttentionHead(W_q=B @ np.linalg.pinv(X), W_k=A @ np.linalg.pinv(X), scale=1.0)

    return nearest


def _of_rank(trial: Trial) -> Cases:
    for n in trial.some(3, (3, 6, 12, 24)):
        for rank in sorted({0, 1, n // 2, n - 1}):
            for repeat in range(trial.count(1, 4)):
                P = random_context(n, trial.rng, "logrank", rank=rank)
                yield f"logits of rank {rank}, n = {n}, draw {repeat}", (P,), (rank,)


def check_sufficient(
    trial: Trial, *, size: Formula = lambda n: n - 1, factors: Formula = exact_factors
) -> Instances:
    """Size of an exact head for P ∝ exp(M), multiplied out; infinite if it is not exact."""
    for n in range(2, trial.count(12, 24)):
        M = trial.integers(n, n)
        A, B = factors(M)
        reached = len(A) if exact_logits(A, B) == centred(as_rationals(M)) else math.inf
        proofs = (represented(M, A, B),)
        yield Instance(f"n = {n}", reached, size(n), Verdict.CERTIFIED, certificates=proofs)


def _half_as_many_again(M: Any) -> tuple[Rationals, Rationals]:
    """The exact factors with zeros as further coordinates."""
    A, B = (f + [[Fraction(0)] * len(M)] * ((len(f) + 1) // 2) for f in exact_factors(M))
    return A, B


def _identities(trial: Trial) -> Cases:
    for n in range(2, trial.count(24, 64)):
        yield f"P ∝ 2^I, n = {n}", (identity_logits(n),), (n,)


def _integer_logits(trial: Trial) -> Cases:
    for n in range(2, trial.count(16, 40)):
        yield f"n = {n}", (trial.integers(n, n),), (n,)


def _float_contexts(trial: Trial) -> Cases:
    for n in (2, 4, 8, 16, 32, 64):
        for law in ("dirichlet", "gibbs"):
            for repeat in range(trial.count(2, 10)):
                P = random_context(n, trial.rng, law)
                yield f"{law}, n = {n}, draw {repeat}", (P,), (n,)


def check_trained_reaches(
    trial: Trial, *, size: Formula = lambda n: n - 1, train: Formula = fit_head
) -> Instances:
    """Train from random weights at size n - 1: stationary points of full rank have context P."""
    for n in (3, 5, 8):
        for repeat in range(trial.count(2, 10)):
            P = random_context(n, trial.rng)
            seed = int(trial.rng.integers(2**31))
            fit = train(P, size(n), seed=seed, spectral_start=False, random_starts=1)
            missed = float(np.max(np.abs(fit.head.context() - P)))
            tolerance = min(stationary_error(fit, n), smaller_heads_miss(P))
            yield Instance(f"n = {n}, draw {repeat}", missed, 0.0, Verdict.SUPPORTED, tolerance)


def _trained_and_rescaled(*given: Any, **named: Any) -> Fit:
    fit = fit_head(*given, **named)
    return replace(fit, head=rescaled(fit.head))


def stationary_error(fit: Fit, n: int) -> float:
    """How far from P the context can be at head size n - 1, the gradient being what was asked for.

    With A the (n - 1) × n keys and G = (Q - P)/n the gradient holds A G, and 1^T G = 0. So let
    ``I ≈ Z A + y 1^T``, rows of the difference of 1-norm ε < 1 at most, rows of Z of 2-norm z at
    most: then ``max |Q - P| <= n z ‖A G‖ / (1 - ε)`` (gradient.v, trained_head). A larger gradient
    than was asked for allows no more: what has not been trained must not pass for what is hard to
    train. Infinite where A has no such Z.
    """
    A = fit.head.W_k
    inverse = np.linalg.pinv(np.vstack([A, np.ones(n)]))
    Z, y = inverse[:, :-1], inverse[:, -1:]
    # a product of m summands is computed to within m eps of that of the moduli
    rounding = (n + 2) * FLOAT64_EPS * (np.abs(Z) @ np.abs(A) + np.abs(y) + np.eye(n))
    rest = float(np.max(np.sum(np.abs(np.eye(n) - Z @ A - y) + rounding, axis=1)))
    if rest >= 1:
        return math.inf
    # A G is computed to within n eps ‖A‖_F, G having entries below 1/n
    noise = 4 * n * FLOAT64_EPS * float(np.linalg.norm(A))
    gradient = min(fit.gradient_norm, fit.gradient_tolerance) + noise
    longest = float(np.max(np.linalg.norm(Z, axis=1)))
    return n * longest * gradient / (1 - rest) + 4 * n * FLOAT64_EPS


def smaller_heads_miss(P: Array) -> float:
    """Each context of a head of size n - 2 misses some entry of P by at least this.

    It misses one of log P by δ = ``s_{n-1}(C log P)/n`` at least (section 5), so one of P by
    ``p (1 - e^-δ)``. A tolerance that is no larger tells n - 1 from n - 2.
    """
    n, log_P = len(P), np.log(P)
    values = np.linalg.svd(log_P - log_P.mean(axis=0), compute_uv=False)
    return float(P.min()) * -math.expm1(-float(values[n - 2]) / n)


DOES_NOT_CENTRE = Mutant("does not centre", {"rank": exact_rank})
OF_FLOATS = (
    Mutant("measures the rank of P", {"rank": certified_rank}),
    Mutant("does not centre", {"rank": lambda P: certified_rank(np.log(P))}),
)


# Theorem B: what tokens that are not of full column rank allow

Integers = npt.NDArray[np.int64]  # no product here comes near 2^63


def decide(logits: Any, X: Any) -> float:
    """The least head size, decided over the rationals."""
    return float(least_head_size(X=X, logits=logits))


def _integers(trial: Trial, *shape: int) -> Integers:
    return np.array(trial.integers(*shape, bound=9))


def _tokens(n: int, d: int, ones: bool, trial: Trial) -> Integers:
    """Integer tokens d < n, one repeated and one zero; with a row of ones 1 is in the row space."""
    X = _integers(trial, d, n)
    X[:, 1] = X[:, 0]
    if ones:
        X[0] = 1
    else:
        X[:, -1] = 0
    return X


def check_reached(trial: Trial, *, ones: bool, least: Formula = decide) -> Instances:
    """The least size for a head's own context: rank L where the gauge is forced, else of C L."""
    for n in range(3, trial.count(8, 12)):
        for d in range(2, n):
            for k in sorted({1, d - 1, d}):
                X = _tokens(n, d, ones, trial)
                keys, queries = (_integers(trial, k, d) @ X for _ in range(2))
                L = keys.T @ queries
                found = least(L + _integers(trial, 1, n), X)
                needed = int(exact_rank(centred(as_rationals(L.tolist())) if ones else L))
                proofs = (partial(proofs_of_least, found, L, X, ones),)
                label = f"n = {n}, d = {d}, head size {k}"
                yield Instance(label, found, needed, Verdict.CERTIFIED, certificates=proofs)


def proofs_of_least(
    found: float, L: Integers, X: Integers, ones: bool = False
) -> tuple[Certificate, ...]:
    """That what was found is the least head size for P ∝ exp(L) on X, or P ∝ b^L for any base b.

    Infinite: no head has P. Finite: a head of that size, and the log-rank from below. Then L is to
    be X^T M X; with 1 in the row space of X, C L is of that form as well.
    """
    none = unreachability_certificate(X=X.tolist(), logits=L.tolist())
    proofs = certified_log_rank(logits=L.tolist()).certify().certificates
    if none is None and found:  # at size 0 the context is uniform
        logits, tokens = as_rationals(L.tolist()), as_rationals(X.tolist())
        factors = prove_rank(centred(logits) if ones else logits).factors
        left, right = ([], []) if factors is None else factors()
        W_k, W_q = ([solve_rows(tokens, row) for row in side] for side in (transposed(left), right))
        proofs = (represented(L.tolist(), W_k, W_q, X.tolist()), *proofs)
    shown = Instance("", found, found, Verdict.CERTIFIED, certificates=proofs).proved
    if none is not None:
        shown, proofs = (math.inf, math.inf), (none,)
    if shown != (found, found):
        raise Undecided(f"{found:g} was found, and a least head size in {shown} is proved")
    return proofs


def check_unreachable(trial: Trial, *, least: Formula = decide) -> Instances:
    """Random integer logits: no head of any size, whether 1 is in the row space or not."""
    for n in range(3, trial.count(9, 14)):
        for ones in (False, True):
            X, L = _tokens(n, n - 1, ones, trial), np.array(trial.integers(n, n))
            label = f"n = {n}, 1 {'in' if ones else 'not in'} the row space"
            found = least(L, X)
            proofs = (partial(proofs_of_least, found, L, X),)
            yield Instance(label, math.isinf(found), True, Verdict.CERTIFIED, certificates=proofs)


def check_example(trial: Trial, *, least: Formula = decide) -> Instances:
    """B20's X = [1, 0]: its P has no head; P = [[.6, .5], [.4, .5]] has one of size 1.

    The logits are log 3 and log 3/2 times integer matrices, so both are decided exactly, and the
    certificates, which hold for every base, are of these integers.
    """
    import sympy

    X = np.array([[1, 0]])
    for label, base, logits, predicted in (
        ("P = [[.5, .75], [.5, .25]]", sympy.Integer(3), [[0, 1], [0, 0]], math.inf),
        ("P = [[.6, .5], [.4, .5]]", sympy.Rational(3, 2), [[1, 0], [0, 0]], 1),
    ):
        found = least(sympy.log(base) * sympy.Matrix(logits), X)
        proofs = (partial(proofs_of_least, found, np.array(logits), X),)
        yield Instance(label, found == predicted, True, Verdict.CERTIFIED, certificates=proofs)


_theorem_b = partial(
    make_claim,
    source=Source("rankbound", "Theorem B", "derived here"),
    hypotheses=("integer tokens of rank < n, repeated and zero ones among them", "no mask"),
    theorem="main.theorem_b",
)
FORGETS_TOKENS = Mutant("forgets the tokens", {"least": lambda logits, X: decide(logits, None)})
FORGETS_GAUGE = Mutant(
    "takes the logits in the gauge they come in",
    {"least": lambda logits, X: int(exact_rank(logits))},
)
ALWAYS_99 = Mutant("answers 99", {"least": lambda logits, X: 99})


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
        theorem="main.lemma_1",
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
        Mutant(
            "one coordinate less",
            {"nearest": lambda P, k, X: nearest_head(P, max(k - 1, 1), X=X)},
        ),
        Mutant("centres over queries instead of keys", {"nearest": truncated(query_centred)}),
        Mutant("does not centre", {"nearest": truncated(np.log)}),
        Mutant("takes P for log P", {"nearest": truncated(lambda P: P)}),
        Mutant(
            "logits half as large again",
            {"nearest": lambda P, k, X: rescaled(nearest_head(P, k, X=X))},
        ),
        source=THEOREM_A,
        hypotheses=(FULL_RANK, "P positive and column-stochastic"),
        relation="iff",
        status=Verdict.SUPPORTED,
        theorem="main.theorem_a",
    ),
    make_claim(
        "theorem-a-within",
        "Within a ratio of 1e-9 of the softmax, in float64, of random logits of rank r < n the "
        "least head size is r.",
        compare_ranks(_of_rank, partial(certified_log_rank, ratio=RATIO), int),
        *OF_FLOATS,
        source=THEOREM_A,
        hypotheses=(FULL_RANK, "the floats of P read as the reals they are, columns normalised"),
        theorem="main.certified_within",
    ),
    make_claim(
        "sharp-sufficient",
        "Head size n - 1 suffices: an exact head for each P ∝ exp(M) drawn.",
        check_sufficient,
        Mutant("n - 2", {"size": lambda n: n - 2}),
        Mutant("one coordinate less", {"factors": one_coordinate_less}),
        Mutant("half as many coordinates again", {"factors": _half_as_many_again}, "factor"),
        source=THRESHOLD,
        hypotheses=(FULL_RANK, "P ∝ exp(M), M integer"),
        relation="<=",
        theorem="main.sharp",
    ),
    make_claim(
        "sharp-necessary",
        "Head size n - 2 does not suffice: P ∝ 2^I needs n - 1.",
        compare_ranks(_identities, exact_log_rank, lambda n: n - 1),
        DOES_NOT_CENTRE,
        Mutant(
            "forgets the last token",
            {"rank": lambda logits: exact_log_rank([row[:-1] for row in logits[:-1]])},
        ),
        source=THRESHOLD,
        hypotheses=("any X",),
        theorem="main.sharp",
    ),
    make_claim(
        "sharp-almost-every-exact",
        "Of the P ∝ exp(M) all but a share of (n - 1)/2^21 need head size n - 1: so do all drawn.",
        compare_ranks(_integer_logits, exact_log_rank, lambda n: n - 1),
        DOES_NOT_CENTRE,
        source=THRESHOLD,
        hypotheses=("P ∝ exp(M), entries of M uniform integers of 21 bits",),
        theorem="main.full_draws",
    ),
    make_claim(
        "sharp-almost-every",
        "Almost every P needs head size n - 1; each Dirichlet and Gibbs P drawn is certified to.",
        compare_ranks(_float_contexts, certified_log_rank, lambda n: n - 1),
        *OF_FLOATS,
        source=THRESHOLD,
        hypotheses=("P Dirichlet(1) or Gibbs; the floats of each draw read as the reals they are",),
        theorem="main_measure.almost_every_context",
    ),
    make_claim(
        "trained-reaches",
        "At head size n - 1 the context is as near P as the gradient is small, by a bound that "
        "each head trained from random weights is seen to keep.",
        check_trained_reaches,
        Mutant("n - 2", {"size": lambda n: n - 2}),
        Mutant("one iteration", {"train": partial(fit_head, max_iterations=1)}, "idle"),
        Mutant("logits half as large again", {"train": _trained_and_rescaled}, "factor"),
        source=Source(
            "rankbound", "Theorem A, trained", "stationary points of full rank are exact"
        ),
        hypotheses=(FULL_RANK, "keys of rank n - 1 whose kernel is not orthogonal to 1"),
        status=Verdict.SUPPORTED,
        theorem="gradient.trained_head",
    ),
    _theorem_b(
        "theorem-b-forced",
        "Where 1 is not in the row space of X, a head's context needs the rank of its logits L.",
        partial(check_reached, ones=False),
        FORGETS_GAUGE,
        ALWAYS_99,
        theorem="main.theorem_b_logits",
    ),
    _theorem_b(
        "theorem-b-free",
        "Where 1 is in the row space of X, a head's context needs head size rank (C L).",
        partial(check_reached, ones=True),
        FORGETS_GAUGE,
        ALWAYS_99,
        theorem="main.theorem_b_logits",
    ),
    _theorem_b(
        "theorem-b-unreachable",
        "On tokens of rank < n heads, of all sizes, have at most a share of 1/2^21 of the "
        "P ∝ exp(M), and none of those drawn.",
        check_unreachable,
        FORGETS_TOKENS,
        relation="exists",
        hypotheses=("integer tokens of rank < n", "entries of M uniform integers of 21 bits"),
        theorem="main.deficient_draws",
    ),
    _theorem_b(
        "b20-example-decided",
        "On X = [1, 0]: [[.5, .75], [.5, .25]] has no head, [[.6, .5], [.4, .5]] one of size 1.",
        check_example,
        FORGETS_TOKENS,
        relation="exists",
        theorem="main.b20_example",
    ),
)
