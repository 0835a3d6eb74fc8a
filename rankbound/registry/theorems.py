"""Lemma 1, the softmax gauge (Yang, Dai, Salakhutdinov & Cohen 2018), and Theorems A, B and C."""

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
from rankbound.attention.masks import Mask, causal_mask, prefix_mask
from rankbound.certificates.certificates import Representation
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import RepresentedExactly
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
from rankbound.theory.decision import least_head_size, log_rank
from rankbound.theory.theorem_a import exact_factors
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


def times_n_centred(L: Integers) -> Integers:
    """N C L, in integers."""
    D: Integers = len(L) * L - L.sum(axis=0)
    return D


def check_reached(
    trial: Trial, *, ones: bool, matrix: Formula, least: Formula = decide
) -> Instances:
    """The least size for a head's own context: rank L where the gauge is forced, else of C L."""
    for n in range(3, trial.count(8, 12)):
        for d in range(2, n):
            for k in sorted({1, d - 1, d}):
                X = _tokens(n, d, ones, trial)
                keys, queries = (_integers(trial, k, d) @ X for _ in range(2))
                L = keys.T @ queries
                bounds = exact_rank(matrix(L))
                found = least(L + _integers(trial, 1, n), X)
                instance = Instance.of_bounds(f"n = {n}, d = {d}, head size {k}", bounds, 0)
                yield replace(instance, measured=found, predicted=int(bounds))


def check_unreachable(trial: Trial, *, least: Formula = decide) -> Instances:
    """Random integer logits: no head of any size, whether 1 is in the row space or not."""
    for n in range(3, trial.count(9, 14)):
        for ones in (False, True):
            X, L = _tokens(n, n - 1, ones, trial), trial.integers(n, n)
            label = f"n = {n}, 1 {'in' if ones else 'not in'} the row space"
            proof = partial(unreachability_certificate, X=X.tolist(), logits=L)
            reached = math.isinf(least(L, X))
            yield Instance(label, reached, True, Verdict.CERTIFIED, certificates=(proof,))


def check_example(trial: Trial, *, least: Formula = decide) -> Instances:
    """B20's X = [1, 0]: its P has no head; P = [[.6, .5], [.4, .5]] has one of size 1.

    The logits are log 3 and log 3/2 times integer matrices, so both are decided exactly, and the
    certificates, which hold for every base, are of these integers: W_k = W_q = 1 have the second
    matrix as logits, and its log-rank is not 0.
    """
    import sympy

    X, one = [[1, 0]], Matrix.of_integers([[1]])
    no_head, size_one = [[0, 1], [0, 0]], [[1, 0], [0, 0]]
    representation = RepresentedExactly(
        Matrix.of_integers(size_one), one, one, Matrix.of_integers(X)
    )
    not_uniform = Instance.of_bounds("", certified_log_rank(logits=size_one), 1).certificates
    for label, base, logits, predicted, proofs in (
        (
            "P = [[.5, .75], [.5, .25]]",
            sympy.Integer(3),
            no_head,
            math.inf,
            (partial(unreachability_certificate, X=X, logits=no_head),),
        ),
        (
            "P = [[.6, .5], [.4, .5]]",
            sympy.Rational(3, 2),
            size_one,
            1,
            (Representation(representation), *not_uniform),
        ),
    ):
        found = least(sympy.log(base) * sympy.Matrix(logits), X)
        yield Instance(label, found == predicted, True, Verdict.CERTIFIED, certificates=proofs)


_theorem_b = partial(
    make_claim,
    source=Source("rankbound", "Theorem B", "derived here"),
    hypotheses=("integer tokens of rank < n, repeated and zero ones among them", "no mask"),
)
FORGETS_TOKENS = Mutant("forgets the tokens", {"least": lambda logits, X: decide(logits, None)})


# Theorem C: what a nested mask does to the least head size


def random_nested(n: int, trial: Trial) -> tuple[Mask, list[int]]:
    """A nested mask and the sizes of its decreasing sets of queries, the first everything."""
    sizes = [n, *sorted((int(x) for x in trial.rng.integers(0, n + 1, n - 1)), reverse=True)]
    columns = trial.rng.permutation(n)
    mask = np.zeros((n, n), dtype=np.bool_)
    for key, size in enumerate(sizes):
        mask[key, columns[:size]] = True
    return mask[trial.rng.permutation(n)], sizes


def count_of_gains(logits: list[list[int]], mask: Mask) -> int:
    """``Σ_i rank D[<=i, K_i] - rank D[<i, K_i]`` by exact ranks, on queries that see two keys."""
    queries = mask.sum(axis=0) > 1
    keys = np.argsort(-mask[:, queries].sum(axis=1), kind="stable")
    L, seen = np.array(logits)[keys][:, queries], mask[keys][:, queries]
    D = L[1:] - L[:1]
    total = 0
    for place, at in enumerate(seen[1:]):
        if at.any():
            above = int(exact_rank(D[:place, at])) if place else 0
            total += int(exact_rank(D[: place + 1, at])) - above
    return total


def generic(sizes: list[int]) -> int:
    """``max{t : |K_t| >= t - 1} - 1`` for the decreasing sets K_1, K_2, …"""
    return max(t for t, size in enumerate(sizes, 1) if size >= t - 1) - 1


def _gains(trial: Trial) -> Cases:
    for n in range(2, trial.count(7, 10)):
        for repeat in range(trial.count(3, 10)):
            mask, _ = random_nested(n, trial)
            case = trial.integers(n, n, bound=2), mask
            yield f"random nested mask, n = {n}, draw {repeat}", case, case


def _nested(trial: Trial) -> Cases:
    for n in range(2, trial.count(9, 16)):
        for repeat in range(trial.count(2, 6)):
            mask, sizes = random_nested(n, trial)
            yield f"n = {n}, draw {repeat}", (trial.integers(n, n), mask), (sizes,)


def _causal(trial: Trial) -> Cases:
    for n in range(2, trial.count(17, 33)):
        yield f"causal, n = {n}", (trial.integers(n, n), causal_mask(n)), (n,)


def _worst(trial: Trial) -> Cases:
    """P ∝ 2^I on the visible triangle: tokens that prefer themselves by a constant."""
    for n in range(2, trial.count(17, 33)):
        yield f"causal P ∝ 2^I, n = {n}", (identity_logits(n), causal_mask(n)), (n,)


def _prefix(trial: Trial) -> Cases:
    for n in (4, 7, 12):
        for p in sorted({1, 2, n // 2, n - 1, n}):
            yield f"n = {n}, prefix {p}", (trial.integers(n, n), prefix_mask(n, p)), (n, p)


def check_dense(trial: Trial, *, step: Formula = lambda k: Fraction(1, 10**k)) -> Instances:
    """Contexts that tend to the worst case, each of a head of size floor(n/2).

    Logits I + t G with |G| <= 1 are within t of I in each entry, so a log-probability of the worst
    case moves by at most 2 t, and its KL divergence from them is at most 2 t.
    """
    for n in (3, 6, 9):
        G = trial.integers(n, n)
        for k in range(1, trial.count(6, 12)):
            t = step(k)
            logits = [
                [int(i == j) + t * Fraction(x, 2**20) for j, x in enumerate(row)]
                for i, row in enumerate(G)
            ]
            bounds = exact_log_rank(logits, causal_mask(n))
            yield Instance.of_bounds(f"n = {n}, t = {t}", bounds, n // 2)


_theorem_c = partial(
    make_claim,
    source=Source("rankbound", "Theorem C", "derived here; not found in print for attention"),
    hypotheses=(
        "X of full column rank (on others, a lower bound)",
        "P ∝ exp(M) on the mask, M integer or rational",
    ),
)
FORGETS_MASK = Mutant("forgets the mask", {"rank": lambda logits, mask: exact_log_rank(logits)})


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
    _theorem_b(
        "theorem-b-forced",
        "Where 1 is not in the row space of X, a head's context needs the rank of its logits L.",
        partial(check_reached, ones=False, matrix=lambda L: L),
        # the same context, in a gauge that these tokens do not allow
        Mutant("takes another gauge", {"matrix": lambda L: L + 1}),
    ),
    _theorem_b(
        "theorem-b-free",
        "Where 1 is in the row space of X, a head's context needs head size rank (C L).",
        partial(check_reached, ones=True, matrix=times_n_centred),
        Mutant("does not centre", {"matrix": lambda L: L}),
    ),
    _theorem_b(
        "theorem-b-unreachable",
        "On tokens of rank n - 1 no head of any size has the P drawn, as almost every P.",
        check_unreachable,
        FORGETS_TOKENS,
        relation="exists",
    ),
    _theorem_b(
        "b20-example-decided",
        "On X = [1, 0]: [[.5, .75], [.5, .25]] has no head, [[.6, .5], [.4, .5]] one of size 1.",
        check_example,
        FORGETS_TOKENS,
        relation="exists",
    ),
    _theorem_c(
        "theorem-c",
        "Under a nested mask the least head size is the number of new rows.",
        compare_ranks(_gains, exact_log_rank, count_of_gains),
        FORGETS_MASK,
    ),
    _theorem_c(
        "nested-generic",
        "Each P drawn under a nested mask needs max{t : |K_t| >= t - 1} - 1, as almost every one.",
        compare_ranks(_nested, exact_log_rank, generic),
        FORGETS_MASK,
        Mutant("one more", {"predicted": lambda sizes: generic(sizes) + 1}),
    ),
    _theorem_c(
        "causal-generic",
        "Each causal P drawn needs head size floor(n/2), as almost every one does.",
        compare_ranks(_causal, exact_log_rank, lambda n: n // 2),
        FORGETS_MASK,
        Mutant("n - 1, as without a mask", {"predicted": lambda n: n - 1}),
        Mutant("rounds up", {"predicted": lambda n: (n + 1) // 2}),
    ),
    _theorem_c(
        "causal-worst",
        "The causal P ∝ 2^I needs head size n - 1.",
        compare_ranks(_worst, exact_log_rank, lambda n: n - 1),
        Mutant("floor(n/2)", {"predicted": lambda n: n // 2}),
    ),
    _theorem_c(
        "prefix-generic",
        "Each P drawn with prefix p needs head size max(floor(n/2), p - 1).",
        compare_ranks(_prefix, exact_log_rank, lambda n, p: max(n // 2, p - 1)),
        FORGETS_MASK,
        Mutant("forgets the prefix", {"predicted": lambda n, p: n // 2}),
    ),
    _theorem_c(
        "causal-dense",
        "Heads of size floor(n/2) come arbitrarily close to the causal worst case.",
        check_dense,
        Mutant("stays at the worst case", {"step": lambda k: Fraction(0)}),
    ),
)
