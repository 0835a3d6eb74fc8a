"""Theorem B: what tokens that are not of full column rank allow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from rankbound.certificates.certificates import Representation
from rankbound.certificates.matrices import Matrix as Table
from rankbound.certificates.statements import RepresentedExactly
from rankbound.exact.flint import product
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Claim, Instance, Mutant, Relation, Source, Trial
from rankbound.theory.certified import certified_log_rank
from rankbound.theory.decision import least_head_size
from rankbound.theory.theorem_b import unreachability_certificate
from rankbound.verdict import Verdict

__all__ = ["CLAIMS"]

THEOREM_B = Source("rankbound", "Theorem B", "derived here")

Matrix = list[list[int]]
Decide = Callable[..., float]


def decide(logits: Any, X: Any) -> float:
    """The least head size, decided over the rationals."""
    return float(least_head_size(X=X, logits=logits))


def without_tokens(logits: Any, X: Any) -> float:
    """What comes out if the tokens are forgotten."""
    return float(least_head_size(logits=logits))


def _tokens(n: int, d: int, ones: bool, trial: Trial) -> Matrix:
    """Integer tokens d < n, one repeated and one zero; with a row of ones 1 is in the row space."""
    X = trial.integers(d, n, bound=9)
    for row in X:
        row[1] = row[0]
        if not ones:
            row[-1] = 0
    if ones:
        X[0] = [1] * n
    return X


def _draws(ones: bool, trial: Trial) -> Iterator[tuple[str, Matrix, Matrix]]:
    """Tokens, and the integer logits of a head on them."""
    for n in range(3, trial.count(8, 12)):
        for d in range(2, n):
            for k in sorted({1, d - 1, d}):
                X = _tokens(n, d, ones, trial)
                keys, queries = (product(trial.integers(k, d, bound=9), X) for _ in range(2))
                L = product([list(column) for column in zip(*keys, strict=True)], queries)
                yield f"n = {n}, d = {d}, head size {k}", X, L


def _gauged(L: Matrix, trial: Trial) -> Matrix:
    shift = trial.integers(1, len(L), bound=9)[0]
    return [[x + c for x, c in zip(row, shift, strict=True)] for row in L]


def centred(L: Matrix) -> Matrix:
    """N C L, in integers."""
    n = len(L)
    sums = [sum(column) for column in zip(*L, strict=True)]
    return [[n * x - s for x, s in zip(row, sums, strict=True)] for row in L]


def as_it_is(L: Matrix) -> Matrix:
    """L, in the gauge that the tokens force."""
    return L


def shifted(L: Matrix) -> Matrix:
    """L + 1 1^T, the same context in a gauge that these tokens do not allow."""
    return [[x + 1 for x in row] for row in L]


def _reached(ones: bool, matrix: Callable[[Matrix], Matrix]) -> Callable[..., Iterator[Instance]]:
    """The least size for a head's own context: rank L where the gauge is forced, else of C L."""

    def check(
        trial: Trial, *, matrix: Callable[[Matrix], Matrix] = matrix, least: Decide = decide
    ) -> Iterator[Instance]:
        for label, X, L in _draws(ones, trial):
            bounds = exact_rank(matrix(L))
            yield Instance(
                label,
                least(_gauged(L, trial), X),
                int(bounds),
                Verdict.CERTIFIED,
                certificates=bounds.certify().certificates,
            )

    return check


def check_unreachable(trial: Trial, *, least: Decide = decide) -> Iterator[Instance]:
    """Random integer logits: no head of any size, whether 1 is in the row space or not."""
    for n in range(3, trial.count(9, 14)):
        for ones in (False, True):
            X, L = _tokens(n, n - 1, ones, trial), trial.integers(n, n)
            label = f"n = {n}, 1 {'in' if ones else 'not in'} the row space"
            proof = partial(unreachability_certificate, X=X, logits=L)
            reached = math.isinf(least(L, X))
            yield Instance(label, reached, True, Verdict.CERTIFIED, certificates=(proof,))


def check_example(trial: Trial, *, least: Decide = decide) -> Iterator[Instance]:
    """B20's X = [1, 0]: its P has no head; P = [[.6, .5], [.4, .5]] has one of size 1.

    The logits are log 3 and log 3/2 times integer matrices, so both are decided exactly, and the
    certificates, which hold for every base, are of these integers.
    """
    import sympy

    X = [[1, 0]]
    for label, base, logits, predicted, proofs in (
        ("P = [[.5, .75], [.5, .25]]", 3, [[0, 1], [0, 0]], math.inf, _no_head),
        ("P = [[.6, .5], [.4, .5]]", sympy.Rational(3, 2), [[1, 0], [0, 0]], 1, _size_one),
    ):
        found = least(sympy.log(base) * sympy.Matrix(logits), X)
        certificates = tuple(proofs(logits, X))
        yield Instance(
            label, found == predicted, True, Verdict.CERTIFIED, certificates=certificates
        )


def _no_head(logits: Matrix, X: Matrix) -> Iterator[Any]:
    yield partial(unreachability_certificate, X=X, logits=logits)


def _size_one(logits: Matrix, X: Matrix) -> Iterator[Any]:
    """X = [1, 0] and W_k = W_q = 1 have the logits [[1, 0], [0, 0]]; size 0 is for uniform P."""
    one = Table.of_integers([[1]])
    L, tokens = Table.of_integers(logits), Table.of_integers(X)
    yield Representation(RepresentedExactly(L, one, one, tokens))
    yield from certified_log_rank(logits=logits).certify().certificates


def _claim(
    name: str,
    statement: str,
    relation: Relation,
    check: Callable[..., Iterator[Instance]],
    *mutants: Mutant,
) -> Claim:
    return Claim(
        id=name,
        statement=statement,
        source=THEOREM_B,
        hypotheses=("integer tokens of rank < n, repeated and zero ones among them", "no mask"),
        relation=relation,
        status=Verdict.CERTIFIED,
        check=check,
        mutants=mutants,
    )


FORGETS = Mutant("forgets the tokens", {"least": without_tokens})

CLAIMS = (
    _claim(
        "theorem-b-forced",
        "Where 1 is not in the row space of X, a head's context needs the rank of its logits L.",
        Relation.EQ,
        _reached(False, as_it_is),
        Mutant("takes another gauge", {"matrix": shifted}),
    ),
    _claim(
        "theorem-b-free",
        "Where 1 is in the row space of X, a head's context needs head size rank (C L).",
        Relation.EQ,
        _reached(True, centred),
        Mutant("does not centre", {"matrix": as_it_is}),
    ),
    _claim(
        "theorem-b-unreachable",
        "On tokens of rank n - 1 no head of any size has the P drawn, as almost every P.",
        Relation.EXISTS,
        check_unreachable,
        FORGETS,
    ),
    _claim(
        "b20-example-decided",
        "On X = [1, 0]: [[.5, .75], [.5, .25]] has no head, [[.6, .5], [.4, .5]] one of size 1.",
        Relation.EXISTS,
        check_example,
        FORGETS,
    ),
)
