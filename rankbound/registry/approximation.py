"""Smaller heads: what they can and cannot do (theory, section 5).

Approximate: KL bounds and sparse patterns. Select: sign patterns, keys that can win, orderings; at
which scale is in selection.py. Last, the folklore that contexts have no higher rank: false.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.attention.ensembles import random_context
from rankbound.attention.head import AttentionHead
from rankbound.certificates.certificates import Counterexample
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import RankAboveHeadSize
from rankbound.exact.elimination import pivots_modulo_prime
from rankbound.exact.rounding import U
from rankbound.fitting.solve import fit_head
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Formula, Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.registry.populations import POSITIVE
from rankbound.registry.theorems import FULL_RANK
from rankbound.theory.approximation import aitchison_error, best_argument, kl_lower_bound
from rankbound.theory.argmax import argmaxable
from rankbound.theory.decision import log_rank
from rankbound.theory.divergence import kl_certificate, pattern_certificate, sign_rank_certificate
from rankbound.theory.planning import spectral_kl_bounds, truncated_kl
from rankbound.theory.sign_rank import (
    sign_change_bound,
    sign_pattern_kl_bound,
    sign_rank_bound,
    wrong_entry_cost,
)
from rankbound.theory.sparse import sparse_head, total_variation_bound
from rankbound.verdict import Verdict

SECTION_5 = Source("rankbound", "section 5", "derived here")
SOFT = 1.5  # fits of soft contexts were within a factor of 1.3 of the bound
HIGHER = "a fit that does not train lies higher, which a lower bound allows; see kl-bracket-soft"
Bound = Callable[[Array, int], float]

_supported = partial(make_claim, status=Verdict.SUPPORTED)
_at_most = partial(make_claim, relation="<=", status=Verdict.SUPPORTED)


# approximation: KL bounds and sparse patterns


def _fits(trial: Trial) -> Iterator[tuple[str, Array, int, float]]:
    """Gibbs and Dirichlet contexts, head sizes, and the KL divergence of a fitted head."""
    laws: tuple[tuple[str, dict[str, float]], ...] = (
        ("gibbs", {"scale": 0.01}),  # here the bound is within a few per cent of what is fitted
        ("gibbs", {"scale": 0.3}),
        ("gibbs", {"scale": 1.0}),
        ("dirichlet", {}),
    )
    for n in trial.some(2, (4, 7, 10)):
        for law, parameters in laws:
            P = random_context(n, trial.rng, law, **parameters)
            for k in sorted({1, n // 2, n - 2}):
                fit = fit_head(P, k, random_starts=trial.count(1, 5))
                yield f"{law} {parameters or ''}, n = {n}, head size {k}", P, k, fit.kl


def check_kl_bound(trial: Trial, *, prove: Formula = kl_certificate) -> Instances:
    """The bound, with its certificate, against fitted heads."""
    for label, P, k, kl in _fits(trial):
        proof = prove(P, k)
        bound = proof.statement.bound
        yield Instance(label, bound, kl, Verdict.CERTIFIED, 1e-9 * kl, (proof,))


def larger_by_half(P: Array, k: int) -> Any:
    """The certificate, of 1.5 times the bound."""
    proof: Any = kl_certificate(P, k)
    return replace(proof, statement=replace(proof.statement, bound=1.5 * proof.statement.bound))


def check_soft(
    trial: Trial, *, bound: Bound = kl_lower_bound, fit: Formula = fit_head
) -> Instances:
    """Fitted KL over the bound, at most 1.5."""
    for _ in range(trial.count(1, 4)):
        P = random_context(16, trial.rng, "gibbs", scale=0.3)
        for k in (4, 8, 12, 14):
            ratio = fit(P, k, random_starts=1).kl / max(bound(P, k), 1e-300)
            yield Instance(f"n = 16, head size {k}", ratio, SOFT, Verdict.SUPPORTED)


def least_probability(P: Array, k: int) -> float:
    """``(p_min/n) φ(τ_k)``, the bound by the least probability alone."""
    tail = aitchison_error(P, k)
    return float(P.min() / len(P) * (tail + math.expm1(-tail)))


def by_truncation(P: Array, k: int) -> float:
    """The KL divergence of the truncated decomposition of ``C log P``, a head of size k."""
    return float(truncated_kl(P, np.log(P))[k])


def by_spectrum(P: Array, k: int) -> float:
    """``e^(η + s) τ_k²/(2 n²)``."""
    return spectral_kl_bounds(P, k)[1]


def check_spectrum(
    trial: Trial, *, reached: Bound = by_truncation, bound: Bound = by_spectrum
) -> Instances:
    """Gibbs contexts, diffuse and not."""
    for n in trial.some(2, (4, 7, 16)):
        for scale in (0.01, 0.3, 1.0):
            P = random_context(n, trial.rng, "gibbs", scale=scale)
            for k in sorted({1, n // 2, n - 2}):
                label = f"n = {n}, scale {scale}, head size {k}"
                yield Instance(label, reached(P, k), bound(P, k), Verdict.SUPPORTED)


def check_sparse(trial: Trial, *, build: Formula = sparse_head) -> Instances:
    """Heads of size 2s, in total variation with every rounding bounded."""
    for n, s in ((12, 1), (12, 2), (40, 3), (200, 1)):
        P = random_context(n, trial.rng, "sparse", nonzeros=s)
        head = build(P)
        worst = float(np.max(total_variation_bound(head, P)))
        reached = worst if head.head_size <= 2 * s else math.inf
        yield Instance(f"n = {n}, s = {s}", reached, 1e-6, Verdict.SUPPORTED)


def _cooler(P: Array) -> AttentionHead:
    head = sparse_head(P)
    return AttentionHead(W_q=head.W_q / 1.5, W_k=head.W_k, scale=head.scale)


def _without_the_last(P: Array) -> AttentionHead:
    head = sparse_head(P)
    return AttentionHead(W_q=head.W_q[:-1], W_k=head.W_k[:-1], scale=head.scale)


# selection: sign patterns, keys that can win, orderings


def check_forster(trial: Trial, *, bound: Formula = sign_rank_bound) -> Instances:
    """Sylvester's matrices: the square root of n, rounded up, in integers."""
    from scipy.linalg import hadamard

    for n in trial.some(6, (2, 4, 8, 16, 32, 64, 128)):
        wanted = math.isqrt(n - 1) + 1
        H = hadamard(n)
        found = bound(H)
        proofs = (partial(sign_rank_certificate, H, found),)
        yield Instance(f"n = {n}", found, wanted, Verdict.CERTIFIED, certificates=proofs)


def check_sign_changes(
    trial: Trial,
    *,
    matrix: Formula = lambda found, H: found.matrix(len(H)),
    size: Formula = lambda changes: changes + 1,
) -> Instances:
    """Polynomials with the signs of H: a matrix of integers, its rank certified."""
    for n in trial.some(3, (3, 5, 8, 12)):
        H = np.where(np.asarray(trial.integers(n, n)) > 0, 1, -1)
        H[-1] = H[-2]  # n - 1 changes would say nothing
        found = sign_change_bound(H.tolist())
        witness = matrix(found, H.tolist())
        signs = [[(x > 0) - (x < 0) for x in row] for row in witness]
        changes = int((H[1:] != H[:-1]).sum(axis=0).max())
        label = f"n = {n}, {changes} changes"
        instance = Instance.of_bounds(label, exact_rank(witness), size(changes))
        yield instance if signs == H.tolist() else replace(instance, measured=math.inf)


def check_hadamard_kl(trial: Trial, *, bound: Formula = sign_pattern_kl_bound) -> Instances:
    """P ∝ exp(ε H) at head sizes below √n - 1: fitted heads stay away."""
    from scipy.linalg import hadamard

    for n, k in trial.some(2, ((16, 1), (16, 2), (32, 3))):
        H = hadamard(n)
        for epsilon in (0.05, 1.0):
            P = np.exp(epsilon * H)
            fit = fit_head(P / P.sum(axis=0), k, random_starts=1)
            label = f"n = {n}, ε = {epsilon}, head size {k}"
            found, tolerance = bound(H, epsilon, k), 1e-9 * fit.kl
            proofs = (partial(pattern_certificate, H, epsilon, k, found),)
            yield Instance(label, found, fit.kl, Verdict.CERTIFIED, tolerance, proofs)


def check_hadamard_counts(trial: Trial, *, bound: Formula = sign_pattern_kl_bound) -> Instances:
    """The bound, beside what is paid by P with as few wrong entries as Forster's theorem allows.

    Of each block of r rows one holds them, in all but the dearest ``(k + 1)² n/r`` columns.
    """
    from scipy.linalg import hadamard

    for n, k in trial.some(3, ((16, 1), (16, 2), (32, 3), (64, 4))):
        H = hadamard(n)
        counts = np.sort((H > 0).sum(axis=0))
        for epsilon in (1e-3, 1.0, 6.0):
            cost = {int(count): wrong_entry(n, int(count), epsilon) for count in set(counts)}
            costs = sorted(cost[int(count)] for count in counts)
            sizes = [2**i for i in range(n.bit_length())]  # r
            paid = [n // r * sum(costs[: max(0, n - (k + 1) ** 2 * n // r)]) for r in sizes]
            label, least = f"n = {n}, ε = {epsilon}, head size {k}", max(paid) / n
            # which the bound takes off for that of its sums, and for its certificate
            rounding = (4 * n * n * U + 2.0**-29) * least
            yield Instance(label, bound(H, epsilon, k), least, Verdict.SUPPORTED, rounding)


def check_wrong_entry(trial: Trial, *, cost: Formula = wrong_entry_cost) -> Instances:
    """What an entry on the wrong side of its threshold costs, beside the best threshold found."""
    for n, positive in trial.some(3, ((4, 2), (16, 8), (64, 64), (64, 1))):
        for epsilon in (1e-3, 0.5, 6.0):
            label = f"n = {n}, {positive} entries 1, ε = {epsilon}"
            found, least = n * cost(n, positive, epsilon), wrong_entry(n, positive, epsilon)
            yield Instance(label, found, least, Verdict.SUPPORTED, 2.0**-45 * least)


def wrong_entry(n: int, positive: int, epsilon: float) -> float:
    """The least cost of a wrong entry in a column with so many entries 1.

    The cost of either side, by its definition ``p log(p/θ) + θ - p`` in 60 digits, is bisected to
    where both are equal.
    """
    from mpmath import mp

    with mp.workdps(60):
        e = mp.mpf(epsilon)
        Z = positive * mp.exp(e) + (n - positive) * mp.exp(-e)
        low, high = -e, e  # of log(θ Z)
        for _ in range(200):
            theta = mp.exp((low + high) / 2) / Z
            up, down = (p * mp.log(p / theta) + theta - p for p in _two_values(e, Z))
            low, high = ((low + high) / 2, high) if up > down else (low, (low + high) / 2)
        return float(min(up, down))


def _at_the_mean(n: int, positive: int, epsilon: float) -> float:
    """The smaller cost at the arithmetic mean of the two values."""
    Z = positive * math.exp(epsilon) + (n - positive) * math.exp(-epsilon)
    theta = math.cosh(epsilon) / Z
    values = (math.exp(epsilon) / Z, math.exp(-epsilon) / Z)
    return min(p * math.log(p / theta) + theta - p for p in values) / n


def _two_values(e: Any, Z: Any) -> tuple[Any, Any]:
    from mpmath import mp

    return mp.exp(e) / Z, mp.exp(-e) / Z


def check_hull(
    trial: Trial, *, winners: Formula = lambda keys: argmaxable(keys).argmaxable
) -> Instances:
    """Keys that can win against the vertices of the hull, found by Qhull."""
    from scipy.spatial import ConvexHull

    for d in (2, 3):
        for n in trial.some(2, (6, 12, 25)):
            keys = trial.rng.standard_normal((d, n))
            vertices = np.zeros(n, dtype=bool)
            vertices[ConvexHull(keys.T).vertices] = True
            for i, (wins, vertex) in enumerate(zip(winners(keys), vertices, strict=True)):
                label = f"d = {d}, n = {n}, key {i}"
                yield Instance(label, bool(wins), bool(vertex), Verdict.SUPPORTED)


def circle(n: int) -> Array:
    """N keys on a circle."""
    angles = 2 * np.pi * np.arange(n) / n
    return np.array([np.cos(angles), np.sin(angles)])


def check_one_hot(trial: Trial, *, plane: Formula = circle) -> Instances:
    """On a line two keys can win, the ends; on a circle all."""
    for n in trial.some(3, (3, 5, 17, 64)):
        line = trial.rng.standard_normal((1, n))
        for keys, wins in ((line, 2), (plane(n), n)):
            count = int(argmaxable(keys).argmaxable.sum())
            yield Instance(f"n = {n}, head size {len(keys)}", count, wins, Verdict.SUPPORTED)


def orderings(keys: Array) -> int:
    """How many orders of the keys some query gives, by linear programming."""
    from scipy.optimize import linprog

    d, n = keys.shape
    count = 0
    for order in itertools.permutations(range(n)):
        steps = keys[:, order[:-1]] - keys[:, order[1:]]  # q·step >= t
        found = linprog(
            np.append(np.zeros(d), -1.0),
            A_ub=np.hstack([-steps.T, np.ones((n - 1, 1))]),
            b_ub=np.zeros(n - 1),
            bounds=[(-1, 1)] * d + [(None, 1)],
        )
        count += found.status == 0 and -found.fun > 1e-7
    return count


def check_orderings(trial: Trial, *, count: Formula = orderings) -> Instances:
    """All n! orders are given at head size n - 1 and not at n - 2, for random integer keys."""
    for n in trial.some(2, (3, 4, 5)):
        for d in range(max(n - 2, 1), n + 1):
            keys = np.asarray(trial.integers(d, n, bound=9), dtype=np.float64)
            affine = exact_rank([*keys.astype(int).tolist(), [1] * n])
            if int(affine) < min(d + 1, n):  # not in general position
                continue
            every = count(keys) == math.factorial(n)
            yield Instance(f"n = {n}, head size {d}", every, d >= n - 1, Verdict.SUPPORTED)


# folklore: often heard and false, with a witness

Table = list[list[int]]


def _exponents(n: int) -> Table:
    return [[i * j for j in range(n)] for i in range(n)]


def _powers_of_two(M: Table) -> Table:
    return [[2**x for x in row] for row in M]


def check_context_rank(
    trial: Trial,
    *,
    context: Formula = _powers_of_two,
    bound: Formula = lambda M: int(log_rank(logits=M)),
) -> Instances:
    """P ∝ 2^{ij}: a head of size 1 has it, and its exact rank is n.

    Dividing the columns of 2^M by their sums gives P and leaves the rank alone. The head size is
    that of the exact head for M (Theorem A): q_j = j log 2, k_i = i.
    """
    for n in range(2, trial.count(12, 24)):
        M = _exponents(n)
        label, rank = f"P ∝ 2^(ij), n = {n}", int(exact_rank(context(M)))
        proofs = (witness(M),) if rank > 1 else ()  # it shows that the rank is above 1
        yield Instance(label, rank, bound(M), Verdict.CERTIFIED, certificates=proofs)


def witness(M: Table) -> Counterexample:
    """The certificate for exponents M[i, j] = i j: keys i and queries j of one coordinate."""
    line = Matrix.of_integers([list(range(len(M)))])
    rows, columns, prime = pivots_modulo_prime(_powers_of_two(M))
    statement = RankAboveHeadSize(Matrix.of_integers(M), line, line)
    return Counterexample(statement, rows, columns, prime)


CLAIMS = (
    _at_most(
        "kl-lower-bound",
        "No head of size k has a mean KL divergence from P below the bound by column budgets and "
        "tilted minorants.",
        check_kl_bound,
        Mutant("the bound times 1.5", {"prove": larger_by_half}, "factor"),
        source=SECTION_5,
        hypotheses=(POSITIVE,),
        status=Verdict.CERTIFIED,
        without={"idle": HIGHER},
    ),
    _at_most(
        "kl-bracket-soft",
        "For softmax of 0.3 times Gaussian logits, n = 16, fitted heads come within a factor "
        "of 1.5 of the bound.",
        check_soft,
        Mutant("the least probability alone", {"bound": least_probability}),
        Mutant("no tilt", {"bound": lambda P, k: best_argument(P, None, k, tilted=False).value}),
        Mutant("the bound over 1.5", {"bound": lambda P, k: kl_lower_bound(P, k) / 1.5}, "factor"),
        Mutant(
            "one iteration",
            {
                "fit": lambda P, k, random_starts: fit_head(
                    P, k, spectral_start=False, random_starts=1, max_iterations=1
                )
            },
            "idle",
        ),
        source=SECTION_5,
        hypotheses=("an observation on random contexts, not a theorem",),
    ),
    _at_most(
        "kl-spectrum",
        "Some head of size k has a mean KL divergence from P of at most e^(η + s) τ_k²/(2 n²): "
        "τ_k² sums the squares of the singular values of C log P beyond the k-th, s is the largest "
        "entry in magnitude of what its truncation leaves out, e^η/n the largest entry of P.",
        check_spectrum,
        Mutant("head size k - 1", {"reached": lambda P, k: by_truncation(P, k - 1)}),
        Mutant("the bound over 1.5", {"bound": lambda P, k: by_spectrum(P, k) / 1.5}, "factor"),
        source=SECTION_5,
        hypotheses=(POSITIVE, FULL_RANK),
        theorem="kl_upper.kl_upper",
        theorem_part="for every singular value decomposition; that there is one is not shown",
    ),
    _at_most(
        "sparse-two-s",
        "A pattern of at most s keys per query is met to any total variation by head size 2s.",
        check_sparse,
        Mutant("one coordinate less", {"build": _without_the_last}),
        Mutant("logits over 1.5", {"build": _cooler}, "factor"),
        source=SECTION_5,
        hypotheses=("P is column-stochastic with at most s non-zeros per column",),
    ),
    make_claim(
        "forster-hadamard",
        "The sign rank of Sylvester's n × n matrix is at least √n.",
        check_forster,
        Mutant("Frobenius norm for spectral norm", {"bound": lambda H: 1}),
        source=Source("forster2002", "main theorem", "evaluated in integers; in our words"),
        hypotheses=("n a power of 2", "H has entries ±1"),
    ),
    _at_most(
        "sign-changes",
        "A sign matrix with at most s changes per column has sign rank at most s + 1.",
        check_sign_changes,
        Mutant("the signs themselves", {"matrix": lambda found, H: H}),
        Mutant("s + 1 over 1.5", {"size": lambda changes: int((changes + 1) / 1.5)}, "factor"),
        source=Source("alon1985", "moment curve", "in our words, from memory"),
        hypotheses=("H has entries ±1",),
        status=Verdict.CERTIFIED,
    ),
    _at_most(
        "hadamard-kl",
        "P ∝ exp(ε H) for a Hadamard matrix H keeps a positive KL divergence from every head "
        "of size below √n - 1, however small ε.",
        check_hadamard_kl,
        Mutant("ε² for ε²/n²", {"bound": lambda H, e, k: e * e}),
        source=Source("forster2002", "main theorem", "the KL bound is derived here"),
        hypotheses=("k + 1 below the sign rank",),
        status=Verdict.CERTIFIED,
        without={
            "factor": "no head is known that comes near it; see hadamard-kl-counts",
            "idle": HIGHER,
        },
    ),
    _supported(
        "hadamard-kl-counts",
        "The bound for Hadamard matrices is what P pays with as few wrong entries as Forster's "
        "theorem allows: n/r in each of the cheapest n - (k + 1)² n/r columns, for the best r.",
        check_hadamard_counts,
        Mutant(
            "1.001 times",
            {"bound": lambda H, e, k: 1.001 * sign_pattern_kl_bound(H, e, k)},
            "factor",
        ),
        Mutant(
            "one coordinate more", {"bound": lambda H, e, k: sign_pattern_kl_bound(H, e, k + 1)}
        ),
        source=Source("forster2002", "main theorem", "the KL bound is derived here"),
        hypotheses=("H is Sylvester's", "k + 1 below √n", "r a power of 2"),
    ),
    _supported(
        "wrong-entry-cost",
        "An entry on the wrong side of its threshold, the identric mean of e^ε/Z and e^{-ε}/Z, "
        "costs (e^{ε coth ε - 1} - ε/sinh ε)/Z, and no threshold makes it cost more.",
        check_wrong_entry,
        Mutant("1.5 times", {"cost": lambda n, m, e: 1.5 * wrong_entry_cost(n, m, e)}, "factor"),
        Mutant("the arithmetic mean", {"cost": _at_the_mean}),
        source=SECTION_5,
        hypotheses=("P ∝ exp(ε H)", "both signs in mind for every column"),
    ),
    _supported(
        "argmaxable-hull",
        "A key can win a query iff it is a vertex of the hull of the keys.",
        check_hull,
        Mutant("every key", {"winners": lambda keys: np.ones(keys.shape[1], dtype=bool)}),
        source=Source("grivas2022", "section 3", "in our words, from memory"),
        hypotheses=("keys without repetition", "no biases"),
        relation="iff",
    ),
    _supported(
        "one-hot-two",
        "Every one of n >= 3 keys can be selected at head size 2, and at head size 1 only two.",
        check_one_hot,
        Mutant("keys on a line", {"plane": lambda n: np.array([np.arange(n), np.arange(n)]) + 0.0}),
        source=Source("weller2025", "Proposition 2", "transposed; in our words"),
        hypotheses=("n >= 3",),
        theorem="main.heads_of_size_one",
        theorem_part="at head size 1 at most two; not head size 2",
    ),
    _supported(
        "all-orderings",
        "n keys in general position can be put in every order iff the head size is n - 1 or more.",
        check_orderings,
        Mutant("one coordinate less", {"count": lambda keys: orderings(keys[:-1])}),
        source=SECTION_5,
        hypotheses=("affinely independent, as far as the head size allows",),
        relation="iff",
    ),
    make_claim(
        "folklore-context-rank",
        "The context matrix of a head has rank at most its head size.",
        check_context_rank,
        Mutant("measures log P instead of P", {"context": lambda M: M}),
        Mutant("bounds by n", {"bound": len}),
        source=Source("rankbound", "section 0", "folklore; no paper is quoted, and it is false"),
        theorem="main.folklore",
        hypotheses=("softmax over keys",),
        relation="<=",
        status=Verdict.REFUTED,
    ),
)
