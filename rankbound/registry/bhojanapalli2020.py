"""Theorem 1 of Bhojanapalli, Yun, Rawat, Reddi & Kumar 2020 (B20), both halves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.arithmetic.exact import left_inverse, rational_product
from rankbound.arithmetic.rational import centred
from rankbound.attention.head import AttentionHead
from rankbound.fitting.objective import kl_divergence
from rankbound.fitting.solve import fit_head
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Claim, Instance, Mutant, Relation, Source, Trial
from rankbound.registry.populations import (
    EPS,
    construction_error,
    pretrained_contexts,
    random_contexts,
    spread_tokens,
    trained_contexts,
)
from rankbound.theory.logs import centre
from rankbound.theory.representation import exact_factors, represent
from rankbound.verdict import Verdict

__all__ = ["CLAIMS"]

Contexts = Callable[[Trial], Iterator[tuple[str, Array]]]

FIRST = Source("bhojanapalli2020", "Theorem 1, first half", "in our words and notation")
SECOND = Source(
    "bhojanapalli2020",
    "Theorem 1, second half",
    "printed for d_q = d_k = d < n; its proof is the example d = 1, n = 2",
)
FULL_RANK = "X is d × n of full column rank, so d >= n"
POSITIVE = "P is positive and column-stochastic"


def _rational(rows: list[list[int]]) -> list[list[Fraction]]:
    return [[Fraction(x) for x in row] for row in rows]


def check_first_exact(
    trial: Trial,
    *,
    factors: Callable[..., Any] = exact_factors,
    inverse: Callable[..., Any] = left_inverse,
) -> Iterator[Instance]:
    """Build W_k, W_q over the rationals for P ∝ exp(M) and multiply out."""
    for n in range(2, trial.count(8, 14)):
        M, d = trial.integers(n, n), n + int(trial.rng.integers(0, 3))
        X = trial.integers(d, n, bound=9)
        while int(exact_rank(X)) < n:  # the hypothesis, met exactly
            X = trial.integers(d, n, bound=9)
        A, B = factors(M)
        pseudo = inverse(_rational(X))
        keys, queries = (
            rational_product(rational_product(factor, pseudo), _rational(X)) for factor in (A, B)
        )
        L = rational_product([list(row) for row in zip(*keys, strict=True)], queries)
        target = centred(_rational(M))
        miss = max(
            abs(x - y) for rows in zip(L, target, strict=True) for x, y in zip(*rows, strict=True)
        )
        yield Instance(f"n = {n}, d = {d}", float(miss), 0.0, Verdict.CERTIFIED)


def _first_float(contexts: Contexts) -> Callable[..., Iterator[Instance]]:
    def check(
        trial: Trial, *, construct: Callable[..., AttentionHead] = represent
    ) -> Iterator[Instance]:
        for label, P in contexts(trial):
            X = spread_tokens(len(P), trial)
            head = construct(P, X, len(X))
            missed = np.max(np.abs(np.log(P) - np.log(head.context(X))))
            tolerance = construction_error(centre(np.log(P)), X)
            yield Instance(label, float(missed), 0.0, Verdict.SUPPORTED, tolerance)

    return check


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
            fit = fit_head(P, n, X, random_starts=0, max_iterations=30)
            last = P[:, -1:]
            bound = kl_divergence(last, np.full((n, 1), -np.log(n))) / n
            tolerance = 8 * n * EPS * float(np.max(np.abs(np.log(P))))  # rounding of both sums
            yield Instance(label, fit.kl, bound, Verdict.SUPPORTED, tolerance)

    return check


def _query_centred(P: Array, X: Array, head_size: int) -> AttentionHead:
    log_P = np.log(P)
    return represent(None, X, head_size, logits=log_P - log_P.mean(axis=1, keepdims=True))


def _unscaled(P: Array, X: Array, head_size: int) -> AttentionHead:
    head = represent(P, X, head_size)
    return AttentionHead(head.W_q, head.W_k, scale=1.0)


def _transposed_factors(M: list[list[int]]) -> Any:
    A, B = exact_factors([list(column) for column in zip(*M, strict=True)])
    return B, A


def _symbol(name: str, size: Any) -> Any:
    import sympy

    return sympy.MatrixSymbol(name, size, 1)


FIRST_MUTANTS = (
    Mutant("missing 1/sqrt(head size)", {"construct": _unscaled}),
    Mutant("centres over queries instead of keys", {"construct": _query_centred}),
    Mutant(
        "keeps P for its transpose",
        {"construct": lambda P, X, k: represent(P.T / P.T.sum(0), X, k)},
    ),
)
SECOND_MUTANTS = (Mutant("no token is zero", {"tokens": np.eye}),)


def _first(suffix: str, contexts: Contexts, of: str) -> Claim:
    return Claim(
        id=f"b20-theorem1-first-{suffix}",
        statement=f"For d >= n a head of size d on X has any positive P as its context: {of}.",
        source=FIRST,
        hypotheses=(FULL_RANK, POSITIVE, "d_q = d_k = d >= n"),
        relation=Relation.EQ,
        status=Verdict.SUPPORTED,
        check=_first_float(contexts),
        mutants=FIRST_MUTANTS,
    )


def _second(suffix: str, contexts: Contexts, most: int, of: str) -> Claim:
    return Claim(
        id=f"b20-theorem1-second-{suffix}",
        statement=(
            "For d < n and X with a zero token every head, trained to P or not, stays at "
            f"KL >= KL(P_j ‖ uniform)/n, j that token: {of}."
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
        id="b20-theorem1-first-exact",
        statement=(
            "For d >= n a head of size d on X has any positive P as its context: exactly, "
            "(W_k X)^T (W_q X) = C log P over the rationals for P ∝ exp(M), M integer."
        ),
        source=FIRST,
        hypotheses=(FULL_RANK, POSITIVE, "d_q = d_k = d >= n"),
        relation=Relation.EQ,
        status=Verdict.CERTIFIED,
        check=check_first_exact,
        mutants=(
            Mutant(
                "X^T for the left inverse",
                {"inverse": lambda X: [list(c) for c in zip(*X, strict=True)]},
            ),
            Mutant("centres over queries instead of keys", {"factors": _transposed_factors}),
            Mutant(
                "one coordinate too few",
                {
                    "factors": lambda M: tuple(
                        f[:-1] or [[Fraction(0)] * len(M)] for f in exact_factors(M)
                    )
                },
            ),
        ),
    ),
    _first("random", random_contexts, "random contexts"),
    _first("trained", trained_contexts, "contexts of heads trained here"),
    _first("pretrained", pretrained_contexts, "contexts of a pretrained encoder"),
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
    _second("trained", random_contexts, 6, "heads trained here on random contexts"),
    _second(
        "pretrained",
        pretrained_contexts,
        3,
        "heads trained here on contexts of a pretrained encoder",
    ),
)
