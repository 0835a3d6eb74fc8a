"""What a head can select: sign patterns, keys that can win, orderings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.fitting.solve import fit_head
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Instance, Mutant, Relation, Source, Trial, make_claim
from rankbound.theory.argmax import argmaxable
from rankbound.theory.sign_rank import sign_change_bound, sign_pattern_kl_bound, sign_rank_bound
from rankbound.verdict import Verdict

SECTION_5 = Source("rankbound", "section 5", "derived here")
FORSTER = Source("forster2002", "main theorem", "evaluated in integers; in our words")
GRIVAS = Source("grivas2022", "section 3", "in our words, from memory")
SIGN_CHANGES = Source("alon1985", "moment curve", "in our words, from memory")
SELECTION = Source("weller2025", "Proposition 2", "transposed; in our words")


_supported = partial(make_claim, relation=Relation.EQ, status=Verdict.SUPPORTED)


def check_forster(
    trial: Trial, *, bound: Callable[[Array], int] = sign_rank_bound
) -> Iterator[Instance]:
    """Sylvester's matrices: the square root of n, rounded up, in integers."""
    from scipy.linalg import hadamard

    for n in (2, 4, 8, 16, 32, 64, 128)[: trial.count(6, 7)]:
        wanted = math.isqrt(n - 1) + 1
        yield Instance(f"n = {n}", bound(hadamard(n)), wanted, Verdict.SUPPORTED)


def by_frobenius(H: Array) -> int:
    """What comes out with the Frobenius norm for the spectral one."""
    return 1


def check_sign_changes(
    trial: Trial, *, size: Callable[[int], int] = lambda changes: changes + 1
) -> Iterator[Instance]:
    """Polynomials with the signs of H: a matrix of integers, its rank certified."""
    for n in (3, 5, 8, 12)[: trial.count(3, 4)]:
        H = np.where(np.asarray(trial.integers(n, n)) > 0, 1, -1)
        found = sign_change_bound(H.tolist())
        witness = found.matrix(n)
        signs = [[(x > 0) - (x < 0) for x in row] for row in witness]
        changes = int((H[1:] != H[:-1]).sum(axis=0).max())
        label = f"n = {n}, {changes} changes"
        instance = Instance.of_bounds(label, exact_rank(witness), size(changes))
        yield instance if signs == H.tolist() else replace(instance, measured=math.inf)


def check_hadamard_kl(
    trial: Trial,
    *,
    bound: Callable[[Array, float, int], float] = sign_pattern_kl_bound,
) -> Iterator[Instance]:
    """P ∝ exp(ε H) at head sizes below √n - 1: fitted heads stay away."""
    from scipy.linalg import hadamard

    for n, k in ((16, 1), (16, 2), (32, 3))[: trial.count(2, 3)]:
        H = hadamard(n)
        for epsilon in (0.05, 1.0):
            P = np.exp(epsilon * H)
            fit = fit_head(P / P.sum(axis=0), k, random_starts=1)
            label = f"n = {n}, ε = {epsilon}, head size {k}"
            yield Instance(label, bound(H, epsilon, k), fit.kl, Verdict.SUPPORTED, 1e-9 * fit.kl)


def check_hull(
    trial: Trial,
    *,
    winners: Callable[[Array], npt.NDArray[np.bool_]] = lambda keys: argmaxable(keys).argmaxable,
) -> Iterator[Instance]:
    """Keys that can win against the vertices of the hull, found by Qhull."""
    from scipy.spatial import ConvexHull

    for d in (2, 3):
        for n in (6, 12, 25)[: trial.count(2, 3)]:
            keys = trial.rng.standard_normal((d, n))
            vertices = np.zeros(n, dtype=bool)
            vertices[ConvexHull(keys.T).vertices] = True
            for i, (wins, vertex) in enumerate(zip(winners(keys), vertices, strict=True)):
                yield Instance(
                    f"d = {d}, n = {n}, key {i}", bool(wins), bool(vertex), Verdict.SUPPORTED
                )


def circle(n: int) -> Array:
    """N keys on a circle."""
    angles = 2 * np.pi * np.arange(n) / n
    return np.array([np.cos(angles), np.sin(angles)])


def check_one_hot(trial: Trial, *, plane: Callable[[int], Array] = circle) -> Iterator[Instance]:
    """On a line two keys can win, the ends; on a circle all."""
    for n in (3, 5, 17, 64)[: trial.count(3, 4)]:
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


def check_orderings(
    trial: Trial, *, threshold: Callable[[int], int] = lambda n: n - 1
) -> Iterator[Instance]:
    """All n! orders are given at head size n - 1 and not at n - 2, for random integer keys."""
    for n in (3, 4, 5)[: trial.count(2, 3)]:
        for d in range(max(n - 2, 1), n + 1):
            keys = np.asarray(trial.integers(d, n, bound=9), dtype=np.float64)
            affine = exact_rank([*keys.astype(int).tolist(), [1] * n])
            if int(affine) < min(d + 1, n):  # not in general position
                continue
            every = orderings(keys) == math.factorial(n)
            yield Instance(f"n = {n}, head size {d}", every, d >= threshold(n), Verdict.SUPPORTED)


CLAIMS = (
    _supported(
        "forster-hadamard",
        "The sign rank of Sylvester's n × n matrix is at least √n.",
        check_forster,
        Mutant("Frobenius norm for spectral norm", {"bound": by_frobenius}),
        source=FORSTER,
        hypotheses=("n a power of 2", "H has entries ±1"),
    ),
    _supported(
        "sign-changes",
        "A sign matrix with at most s changes per column has sign rank at most s + 1.",
        check_sign_changes,
        Mutant("s - 1", {"size": lambda changes: changes - 1}),
        source=SIGN_CHANGES,
        hypotheses=("H has entries ±1",),
        relation=Relation.LE,
        status=Verdict.CERTIFIED,
    ),
    _supported(
        "hadamard-kl",
        "P ∝ exp(ε H) for a Hadamard matrix H keeps a positive KL divergence from every head "
        "of size below √n - 1, however small ε.",
        check_hadamard_kl,
        Mutant("ε² for ε²/n²", {"bound": lambda H, e, k: e * e}),
        source=Source("forster2002", "main theorem", "the KL bound is derived here"),
        hypotheses=("k + 1 below the sign rank",),
        relation=Relation.LE,
    ),
    _supported(
        "argmaxable-hull",
        "A key can win a query iff it is a vertex of the hull of the keys.",
        check_hull,
        Mutant("every key", {"winners": lambda keys: np.ones(keys.shape[1], dtype=bool)}),
        source=GRIVAS,
        hypotheses=("keys without repetition", "no biases"),
        relation=Relation.IFF,
    ),
    _supported(
        "one-hot-two",
        "Every one of n >= 3 keys can be selected at head size 2, and at head size 1 only two.",
        check_one_hot,
        Mutant("keys on a line", {"plane": lambda n: np.array([np.arange(n), np.arange(n)]) + 0.0}),
        source=SELECTION,
        hypotheses=("n >= 3",),
    ),
    _supported(
        "all-orderings",
        "n keys in general position can be put in every order iff the head size is n - 1 or more.",
        check_orderings,
        Mutant("n - 2", {"threshold": lambda n: n - 2}),
        source=SECTION_5,
        hypotheses=("affinely independent, as far as the head size allows",),
        relation=Relation.IFF,
    ),
)
