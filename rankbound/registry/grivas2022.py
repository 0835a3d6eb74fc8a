"""Grivas, Bogoychev & Lopez 2022: which classes of a low-rank softmax can win.

The criterion is `argmaxable-hull`; here what prevents the trouble. Which 13 of 150 models have such
classes was not recovered, and models are not part of this package.
"""

from __future__ import annotations

from fractions import Fraction

from rankbound.certificates.certificates import Representation
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import RepresentedExactly
from rankbound.exact.rational import Rationals, transposed
from rankbound.registry.claim import Formula, Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.registry.populations import exact_logits
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


def check_unit(trial: Trial, *, keys: Formula = on_sphere) -> Instances:
    """Whether each key scores above all others for the query along it."""
    for k in (2, 3, 5):
        for n in (4, 9, 16)[: trial.count(2, 3)]:
            points: list[list[int]] = []
            while len(points) < n:
                (point,) = trial.integers(1, k - 1, bound=50)
                points += [point] if point not in points else []
            K = keys(points)
            M = exact_logits(K, K)
            columns = transposed(M)
            wins = all(c[i] > max(c[:i] + c[i + 1 :]) for i, c in enumerate(columns))
            proof = Representation(
                RepresentedExactly(*(Matrix.of_rationals(rows) for rows in (M, K, K)))
            )
            label = f"{n} keys, head size {k}"
            yield Instance(label, wins, True, Verdict.CERTIFIED, certificates=(proof,))


CLAIMS = (
    make_claim(
        "grivas-unit-keys",
        "Keys of one length can all win, at every head size from 2 on.",
        check_unit,
        Mutant("keys of several lengths", {"keys": off_sphere}),
        source=Source(
            "grivas2022", "appendix D, normalised weights", "read of the text and code; our words"
        ),
        hypotheses=("rational keys of length 1, none repeated; queries along the keys",),
        relation="exists",
    ),
)
