"""Grivas, Bogoychev & Lopez 2022: which classes of a low-rank softmax can win.

The criterion is `argmaxable-hull`; here what prevents the trouble. Which 13 of 150 models have such
classes was not recovered, and models are not part of this package.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial

from rankbound.certificates.certificates import Representation
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import RepresentedExactly
from rankbound.exact.flint import left_inverse
from rankbound.exact.rational import Rationals, as_rationals, transposed
from rankbound.registry.claim import Formula, Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.registry.populations import exact_logits, has_rank, identity_logits
from rankbound.verdict import Verdict


def on_sphere(points: list[list[int]]) -> Rationals:
    """Rational keys of length 1, one per column: ``(2 t, |t|² - 1)/(|t|² + 1)``."""
    return transposed(
        [
            [Fraction(x, square + 1) for x in (*(2 * t for t in point), square - 1)]
            for point in points
            for square in (sum(t * t for t in point),)
        ]
    )


def off_sphere(points: list[list[int]]) -> Rationals:
    """The same keys, each of another length: the i-th is divided by i + 1."""
    columns = transposed(on_sphere(points))
    return transposed([[x / (i + 1) for x in key] for i, key in enumerate(columns)])


def each_wins(M: Rationals) -> bool:
    """Whether the diagonal is strictly the largest entry of every column."""
    columns = enumerate(transposed(M))
    return all(c[i] > max(c[:i] + c[i + 1 :]) for i, c in columns)


def distinct_points(trial: Trial, n: int, size: int) -> list[list[int]]:
    """So many different integer points."""
    points: list[list[int]] = []

    def is_new(drawn: list[list[int]]) -> bool:
        return drawn[0] not in points

    for _ in range(n):
        points.append(trial.first(is_new, partial(trial.integers, 1, size, bound=50))[0])
    return points


def affinely_independent(K: list[list[int]]) -> bool:
    """Whether the columns are."""
    return has_rank([*K, [1] * len(K[0])], len(K[0]))


def check_unit(trial: Trial, *, keys: Formula = on_sphere) -> Instances:
    """Whether each key scores above all others for the query along it."""
    for k in (2, 3, 5):
        for n in trial.some(2, (4, 9, 16)):
            K = keys(distinct_points(trial, n, k - 1))
            M = exact_logits(K, K)
            wins = each_wins(M)
            proof = Representation(
                RepresentedExactly(*(Matrix.of_rationals(rows) for rows in (M, K, K)))
            )
            label = f"{n} keys, head size {k}"
            yield Instance(label, wins, True, Verdict.CERTIFIED, certificates=(proof,))


def dual_queries(keys: Rationals) -> Rationals:
    """Queries that score 1 on one key and 0 on the others, up to one constant each."""
    points = [[*key, Fraction(1)] for key in transposed(keys)]
    return left_inverse(points)[:-1]


def check_few(trial: Trial, *, queries: Formula = dual_queries) -> Instances:
    """Whether k + 1 affinely independent keys all win; the head's context is that of identity."""
    for k in trial.some(3, (2, 3, 5, 8)):
        for repeat in range(trial.count(2, 5)):
            draw = partial(trial.integers, k, k + 1, bound=9)
            K = as_rationals(trial.first(affinely_independent, draw))
            Q = queries(K)
            same = Matrix.of_integers(identity_logits(k + 1))
            proof = Representation(
                RepresentedExactly(same, *(Matrix.of_rationals(rows) for rows in (K, Q)))
            )
            label = f"{k + 1} keys, head size {k}, draw {repeat}"
            wins = each_wins(exact_logits(K, Q))
            yield Instance(label, wins, True, Verdict.CERTIFIED, certificates=(proof,))


CLAIMS = (
    make_claim(
        "grivas-few-keys",
        "At most k + 1 keys in general position can all win at head size k: one that cannot takes "
        "k + 2 or more.",
        check_few,
        Mutant("queries along the keys", {"queries": lambda keys: keys}),
        source=Source(
            "grivas2022", "remark on few classes", "read in the code's comments; our words"
        ),
        hypotheses=("integer keys, affinely independent: tested exactly",),
        relation="exists",
    ),
    make_claim(
        "grivas-unit-keys",
        "Different keys of one length can all win, at every head size from 2 on.",
        check_unit,
        Mutant("keys of several lengths", {"keys": off_sphere}),
        source=Source(
            "grivas2022", "appendix D, normalised weights", "read of the text and code; our words"
        ),
        hypotheses=("rational keys of length 1, none repeated; queries along the keys",),
        relation="exists",
    ),
)
