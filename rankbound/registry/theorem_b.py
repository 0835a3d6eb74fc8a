"""Theorem B: what tokens that are not of full column rank allow."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound.certificates.certificates import Representation
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import RepresentedExactly
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Formula, Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.theory.certified import certified_log_rank
from rankbound.theory.decision import least_head_size
from rankbound.theory.theorem_b import unreachability_certificate
from rankbound.verdict import Verdict

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


def centred(L: Integers) -> Integers:
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


_claim = partial(
    make_claim,
    source=Source("rankbound", "Theorem B", "derived here"),
    hypotheses=("integer tokens of rank < n, repeated and zero ones among them", "no mask"),
)
FORGETS = Mutant("forgets the tokens", {"least": lambda logits, X: decide(logits, None)})

CLAIMS = (
    _claim(
        "theorem-b-forced",
        "Where 1 is not in the row space of X, a head's context needs the rank of its logits L.",
        partial(check_reached, ones=False, matrix=lambda L: L),
        # the same context, in a gauge that these tokens do not allow
        Mutant("takes another gauge", {"matrix": lambda L: L + 1}),
    ),
    _claim(
        "theorem-b-free",
        "Where 1 is in the row space of X, a head's context needs head size rank (C L).",
        partial(check_reached, ones=True, matrix=centred),
        Mutant("does not centre", {"matrix": lambda L: L}),
    ),
    _claim(
        "theorem-b-unreachable",
        "On tokens of rank n - 1 no head of any size has the P drawn, as almost every P.",
        check_unreachable,
        FORGETS,
        relation="exists",
    ),
    _claim(
        "b20-example-decided",
        "On X = [1, 0]: [[.5, .75], [.5, .25]] has no head, [[.6, .5], [.4, .5]] one of size 1.",
        check_example,
        FORGETS,
        relation="exists",
    ),
)
