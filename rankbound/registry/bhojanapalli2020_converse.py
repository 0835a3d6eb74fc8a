"""Theorem 1 of Bhojanapalli et al. 2020 (B20), second half: for d < n some X and P fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.attention.softmax import log_column_softmax
from rankbound.fitting.objective import kl_divergence
from rankbound.fitting.solve import fit_head
from rankbound.registry.claim import Claim, Instance, Mutant, Relation, Source, Trial
from rankbound.registry.populations import EPS, Contexts, pretrained_contexts, random_contexts
from rankbound.verdict import Verdict

__all__ = ["CLAIMS"]

SECOND = Source(
    "bhojanapalli2020",
    "Theorem 1, second half",
    "printed for d_q = d_k = d < n; its proof is the example d = 1, n = 2",
)
POSITIVE = "P is positive and column-stochastic"


def check_second_example(
    trial: Trial, *, logits: Callable[..., Any] = lambda s, X: X.T * s * X
) -> Iterator[Instance]:
    """B20's X = [1, 0] and P, for all weights of any head size at once.

    The weights enter through the number ``s = W_k^T W_q / sqrt(k)`` alone, since d = 1.
    """
    import sympy

    s = sympy.Symbol("s", real=True)
    L = logits(s, sympy.Matrix([[1, 0]]))
    P = sympy.Matrix(
        [[sympy.Rational(1, 2), sympy.Rational(3, 4)]] * 1
        + [[sympy.Rational(1, 2), sympy.Rational(1, 4)]]
    )
    column = L[:, 1].applyfunc(sympy.exp)
    gap = sympy.simplify(column[0] / (column[0] + column[1]) - P[0, 1])
    reached = bool(gap.free_symbols) or gap == 0
    yield Instance("X = [1, 0], query 2, all weights", not reached, True, Verdict.PROVED)


def check_second_family(
    trial: Trial,
    *,
    token: Callable[..., Any] | None = None,
    query: Callable[..., Any] = lambda W_q, x: W_q * x,
) -> Iterator[Instance]:
    """For every n >= 2, d < n and head size k: a zero token makes its column uniform."""
    import sympy

    d, k, m = (sympy.Symbol(name, integer=True, positive=True) for name in "dkm")
    n = m + 1  # n >= 2
    X, W_k, W_q = (
        sympy.MatrixSymbol("X", d, n),
        sympy.MatrixSymbol("W_k", k, d),
        sympy.MatrixSymbol("W_q", k, d),
    )
    x = sympy.ZeroMatrix(d, 1) if token is None else token(d)
    column = (X.T * W_k.T * query(W_q, x)).doit()
    zero = column == sympy.ZeroMatrix(n, 1)
    yield Instance("logits of a zero token, all d, n, k, W", zero, True, Verdict.PROVED)
    excess = sympy.factor(2 / (n + 1) - 1 / n)  # P's column (2, 1, ..., 1)/(n + 1) is not uniform
    yield Instance(
        "a column that is not uniform, all n >= 2", bool(excess.is_positive), True, Verdict.PROVED
    )


def zero_token(n: int) -> Array:
    """Tokens [I 0] of embedding size n - 1: the last token is zero."""
    return np.eye(n - 1, n)


def _second_fitted(contexts: Contexts, most: int) -> Callable[..., Iterator[Instance]]:
    def check(trial: Trial, *, tokens: Callable[[int], Array] = zero_token) -> Iterator[Instance]:
        for count, (label, P) in enumerate(contexts(trial)):
            if count == trial.count(most, 10**6):
                return
            n = len(P)
            X = tokens(n)
            # started at the optimum in Aitchison distance, a few steps say what can be reached
            fit = fit_head(P, n, X=X, random_starts=0, max_iterations=30)
            last = P[:, -1:]
            bound = kl_divergence(last, np.full((n, 1), -np.log(n))) / n
            tolerance = 8 * n * EPS * float(np.max(np.abs(np.log(P))))  # rounding of both sums
            reached = kl_divergence(P, log_column_softmax(fit.head.logits(X)))
            yield Instance(label, reached, bound, Verdict.SUPPORTED, tolerance)

    return check


def _symbol(name: str, size: Any) -> Any:
    import sympy

    return sympy.MatrixSymbol(name, size, 1)


SECOND_MUTANTS = (Mutant("no token is zero", {"tokens": np.eye}),)


def _second(suffix: str, contexts: Contexts, most: int, of: str) -> Claim:
    return Claim(
        id=f"b20-theorem1-second-{suffix}",
        statement=(
            "For d < n and X with a zero token every head stays at KL >= KL(P_j ‖ uniform)/n, j "
            f"that token: {of}."
        ),
        source=SECOND,
        hypotheses=("X = [I 0] with d = n - 1", POSITIVE, "the fitted head may have any size"),
        relation=Relation.GE,
        status=Verdict.SUPPORTED,
        check=_second_fitted(contexts, most),
        mutants=SECOND_MUTANTS,
    )


CLAIMS = (
    Claim(
        id="b20-theorem1-second-example",
        statement="On X = [1, 0] no head has the context P = [[.5, .75], [.5, .25]].",
        source=SECOND,
        hypotheses=("d = 1, n = 2", "all real weights, all head sizes"),
        relation=Relation.EXISTS,
        status=Verdict.PROVED,
        check=check_second_example,
        mutants=(
            Mutant(
                "second token is not zero",
                {"logits": lambda s, X: (X + X.ones(1, 2)).T * s * (X + X.ones(1, 2))},
            ),
            Mutant("queries carry a bias", {"logits": lambda s, X: X.T * s * (X + X.ones(1, 2))}),
        ),
    ),
    Claim(
        id="b20-theorem1-second-family",
        statement=(
            "For every d < n (n >= 2) there are X and a positive P that no head of any size has as "
            "its context on X: a zero token attends uniformly."
        ),
        source=SECOND,
        hypotheses=("X has a zero token", "all real weights, all head sizes"),
        relation=Relation.EXISTS,
        status=Verdict.PROVED,
        check=check_second_family,
        mutants=(
            Mutant("the token is not zero", {"token": lambda d: _symbol("x", d)}),
            Mutant(
                "queries carry a bias",
                {"query": lambda W_q, x: W_q * x + _symbol("b", W_q.shape[0])},
            ),
        ),
    ),
    _second(
        "trained", random_contexts, 6, "heads fitted here, in at most 30 steps, to random contexts"
    ),
    _second(
        "pretrained",
        pretrained_contexts,
        3,
        "heads fitted here to contexts of a pretrained encoder",
    ),
)
