"""B20, Theorem 1 and the bottleneck: Bhojanapalli, Yun, Rawat, Reddi & Kumar 2020.

Theorem 1 says that for d >= n a head of size d on X has any positive P as its context (first half),
and that for d < n some X and P fail (second half). Section 2.3 says what a smaller head size does,
on random, trained and pretrained heads. Theorem 2 is in theorem_2.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from operator import floordiv
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.attention.head import AttentionHead
from rankbound.attention.pretrained import pretrained_heads
from rankbound.attention.softmax import log_column_softmax
from rankbound.exact.flint import left_inverse, rational_product
from rankbound.exact.rational import as_rationals, centred, transposed
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.fitting.objective import kl_divergence
from rankbound.fitting.solve import fit_head
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.certified import certified_rank
from rankbound.ranks.exact import exact_logit_rank, exact_rank
from rankbound.registry.claim import (
    Cases,
    Claim,
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
    POSITIVE,
    Contexts,
    construction_error,
    exact_logits,
    has_rank,
    identity_logits,
    one_coordinate_less,
    pretrained_contexts,
    query_centred,
    random_contexts,
    represented,
    rescaled,
    spread_tokens,
    trained_contexts,
    trained_heads,
)
from rankbound.theory.certified import certified_log_rank, certify_head
from rankbound.theory.decision import represent
from rankbound.theory.theorem_a import exact_factors
from rankbound.verdict import Verdict

Integers = list[list[int]]

CENTRES_OVER_QUERIES = "centres over queries instead of keys"
HEAD_SIZE_OFF_BY_ONE = "head size off by one"
MEASURES_P = "measures the rank of P"
# a rank at its bound: 1 is the least by which it can be off
OFF_BY_ONE = Mutant(HEAD_SIZE_OFF_BY_ONE, {"predicted": lambda head_size: head_size - 1}, "factor")
ONLY_A_SAMPLE = "training only draws the contexts, and any others would do"
POSITIONAL = "adds |i - j| to the logits"

NECESSITY = "Theorem A, necessity"

_first_half = partial(
    make_claim,
    source=Source("bhojanapalli2020", "Theorem 1, first half", "in our words and notation"),
    hypotheses=("X is d × n of full column rank, so d >= n", POSITIVE, "d_q = d_k = d >= n"),
    theorem="main.theorem_1_first",
)
_second_half = partial(
    make_claim,
    source=Source(
        "bhojanapalli2020",
        "Theorem 1, second half",
        "printed for d_q = d_k = d < n; its proof is the example d = 1, n = 2",
    ),
    relation="exists",
    status=Verdict.PROVED,
    theorem="main.theorem_1_second",
)
_bottleneck = partial(
    make_claim,
    source=Source(
        "bhojanapalli2020",
        "section 2.3",
        "there: head size d/h below n limits the head; in our words",
    ),
)


# Theorem 1, first half: d >= n suffices


def check_first_exact(
    trial: Trial, *, factors: Formula = exact_factors, inverse: Formula = left_inverse
) -> Instances:
    """Build W_k, W_q over the rationals for P ∝ exp(M) and multiply out."""
    for n in range(2, trial.count(8, 14)):
        M, d = trial.integers(n, n), n + int(trial.rng.integers(0, 3))
        X = trial.first(partial(has_rank, rank=n), partial(trial.integers, d, n, bound=9))
        tokens = as_rationals(X)
        pseudo = inverse(tokens)
        W_k, W_q = (rational_product(factor, pseudo) for factor in factors(M))
        L = exact_logits(rational_product(W_k, tokens), rational_product(W_q, tokens))
        target = centred(as_rationals(M))
        miss = max(
            abs(x - y) for rows in zip(L, target, strict=True) for x, y in zip(*rows, strict=True)
        )
        label, proofs = f"n = {n}, d = {d}", (represented(M, W_k, W_q, X),)
        yield Instance(label, float(miss), 0.0, Verdict.CERTIFIED, certificates=proofs)


def _first(suffix: str, contexts: Contexts, of: str, **without: str) -> Claim:
    def check(trial: Trial, *, construct: Formula = represent) -> Instances:
        for label, P in contexts(trial):
            X = spread_tokens(len(P), trial)
            head = construct(P, X=X, head_size=len(X))
            missed = np.max(np.abs(np.log(P) - np.log(head.context(X))))
            tolerance = construction_error(np.log(P), X)
            certificate = certify_head(head, P, X, tolerance)
            evidence = Verdict.SUPPORTED if certificate is None else Verdict.CERTIFIED
            proofs = () if certificate is None else (certificate,)
            yield Instance(label, float(missed), 0.0, evidence, tolerance, proofs)

    return _first_half(
        f"b20-theorem1-first-{suffix}",
        "For d >= n a head of size d on X has any positive P as its context, within the ratio "
        f"stated as tolerance: {of}.",
        check,
        Mutant("missing 1/sqrt(head size)", {"construct": _unscaled}),
        Mutant(
            "logits half as large again",
            {"construct": lambda P, **sizes: rescaled(represent(P, **sizes))},
            "factor",
        ),
        Mutant(CENTRES_OVER_QUERIES, {"construct": _query_centred}),
        Mutant(
            "keeps P for its transpose",
            {"construct": lambda P, **sizes: represent(P.T / P.T.sum(0), **sizes)},
        ),
        without=without,
    )


def _query_centred(P: Array, **sizes: Any) -> AttentionHead:
    return represent(logits=query_centred(P), **sizes)


def _unscaled(P: Array, **sizes: Any) -> AttentionHead:
    head = represent(P, **sizes)
    return AttentionHead(W_q=head.W_q, W_k=head.W_k, scale=1.0)


def _transposed_factors(M: Integers) -> Any:
    A, B = exact_factors(transposed(as_rationals(M)))
    return B, A


# Theorem 1, second half: for d < n some X and P fail


def check_second_example(trial: Trial, *, logits: Formula = lambda s, X: X.T * s * X) -> Instances:
    """B20's X = [1, 0] and P, for all weights of any head size at once.

    The weights enter through the number ``s = W_k^T W_q / sqrt(k)`` alone, since d = 1.
    """
    import sympy

    s = sympy.Symbol("s", real=True)
    column = logits(s, sympy.Matrix([[1, 0]]))[:, 1].applyfunc(sympy.exp)
    P_12 = sympy.Rational(3, 4)  # of P = [[1/2, 3/4], [1/2, 1/4]]
    gap = sympy.simplify(column[0] / (column[0] + column[1]) - P_12)
    reached = bool(gap.free_symbols) or gap == 0
    yield Instance("X = [1, 0], query 2, all weights", not reached, True, Verdict.PROVED)


def check_second_family(
    trial: Trial, *, token: Formula = lambda x: 0 * x, query: Formula = lambda W_q, x, bias: W_q * x
) -> Instances:
    """For every n >= 2, d < n and head size k: a zero token makes its column uniform."""
    import sympy

    d, k, m = (sympy.Symbol(name, integer=True, positive=True) for name in "dkm")
    n = m + 1  # n >= 2
    shapes = {"X": (d, n), "x": (d, 1), "W_k": (k, d), "W_q": (k, d), "b": (k, 1)}
    X, x, W_k, W_q, b = (sympy.MatrixSymbol(name, *shape) for name, shape in shapes.items())
    column = (X.T * W_k.T * query(W_q, token(x), b)).doit()
    zero = column == sympy.ZeroMatrix(n, 1)
    yield Instance("logits of a zero token, all d, n, k, W", zero, True, Verdict.PROVED)
    # P's column (2, 1, ..., 1)/(n + 1) is not uniform
    excess = bool(sympy.factor(2 / (n + 1) - 1 / n).is_positive)
    yield Instance("a column that is not uniform, all n >= 2", excess, True, Verdict.PROVED)


def _second(suffix: str, contexts: Contexts, most: int, of: str) -> Claim:
    def check(
        trial: Trial,
        *,
        tokens: Formula = lambda n: np.eye(n - 1, n),  # the last is zero
        floor: Formula = lambda last, n: kl_divergence(last, np.full((n, 1), -np.log(n))) / n,
    ) -> Instances:
        for count, (label, P) in enumerate(contexts(trial)):
            if count == trial.count(most, 10**6):
                return
            n = len(P)
            X = tokens(n)
            # started at the optimum in Aitchison distance, a few steps say what can be reached
            fit = fit_head(P, n, X=X, random_starts=0, max_iterations=30)
            bound = floor(P[:, -1:], n)
            rounding = 8 * n * FLOAT64_EPS * float(np.max(np.abs(np.log(P))))  # of both sums
            reached = kl_divergence(P, log_column_softmax(fit.head.logits(X)))
            yield Instance(label, reached, bound, Verdict.SUPPORTED, rounding)

    return _second_half(
        f"b20-theorem1-second-{suffix}",
        "For d < n and X with a zero token every head stays at KL >= KL(P_j ‖ uniform)/n, j "
        f"that token: {of}.",
        check,
        Mutant("no token is zero", {"tokens": np.eye}),
        # the fitted heads attain the bound
        Mutant(
            "half as much again",
            {"floor": lambda last, n: 1.5 * kl_divergence(last, np.full((n, 1), -np.log(n))) / n},
            "factor",
        ),
        hypotheses=("X = [I 0] with d = n - 1", POSITIVE, "the fitted head may have any size"),
        relation=">=",
        status=Verdict.SUPPORTED,
        without={"idle": "it holds for every head, fitted or not; that it is attained shows a fit"},
        theorem="main.zero_token_kl",
    )


# Section 2.3: what a head size allows


def _factors(W_k: Integers, W_q: Integers, X: Integers) -> tuple[Any, Any]:
    """Integer keys and queries; the temperature is a factor and changes no rank."""
    return np.array(W_k) @ np.array(X), np.array(W_q) @ np.array(X)


def _with_distance(W_k: Integers, W_q: Integers, X: Integers) -> Any:
    keys, queries = _factors(W_k, W_q, X)
    places = np.arange(queries.shape[1])
    return keys.T @ queries + np.abs(places[:, None] - places)


def _integer_heads(trial: Trial, *, most: Formula) -> Cases:
    """Heads of sizes below the rank of any n × n logits: others would say nothing."""
    for n in (3, 6, 10):
        for d in (n - 1, n, n + 2):  # below, at and above n
            for k in sorted(k for k in {1, 2, n // 2, n - 2, n - 1} if k < most(n)):
                for repeat in range(trial.count(1, 5)):
                    X = trial.integers(d, n, bound=99)
                    if repeat % 2:  # a repeated and a zero token
                        for row in X:
                            row[-1], row[1] = 0, row[0]
                    W_k, W_q = (trial.integers(k, d, bound=99) for _ in range(2))
                    yield f"n = {n}, d = {d}, head size {k}, draw {repeat}", (W_k, W_q, X), (k,)


def _rank_of_head(W_k: Integers, W_q: Integers, X: Integers, *, centre: bool) -> RankBounds:
    return exact_logit_rank(*_factors(W_k, W_q, X), centre=centre)


def check_bottleneck(
    trial: Trial, *, sizes: Formula = lambda n: range(1, n - 1), witness: Formula = identity_logits
) -> Instances:
    """P ∝ 2^I has an exact log-rank above every head size k < n - 1."""
    for n in range(3, trial.count(12, 40)):
        bounds = certified_log_rank(logits=witness(n)).certify()
        needed = Instance.of_bounds("", bounds, n - 1)
        for k in sizes(n):
            above = needed.measured > k
            yield replace(needed, label=f"n = {n}, head size {k}", measured=above, predicted=True)


def _trained(trial: Trial) -> Cases:
    for label, fit in trained_heads(trial):
        yield label, (fit.head.W_k, fit.head.W_q), (fit.head.head_size,)


def _pretrained(trial: Trial) -> Cases:
    """Keys and queries of the pretrained encoder, of embedding size 384 with 12 heads per layer."""
    for length in trial.some(1, (64, 128)):
        for head in pretrained_heads(length):
            label = f"layer {head.layer}, head {head.index}, n = {length}"
            yield label, (head.keys, head.queries), (384, 12)


def _rank_of_context(keys: Any, queries: Any) -> RankBounds:
    return certified_rank(AttentionHead(W_q=queries, W_k=keys).context())


def _without_last_coordinate(keys: Any, queries: Any, *, centre: bool = True) -> RankBounds:
    return exact_logit_rank(keys[:-1], queries[:-1], centre=centre)


def _on_the_first_tokens(keys: Any, queries: Any) -> RankBounds:
    k = len(keys)
    return exact_logit_rank(keys[:, :k], queries[:, :k], centre=True)


CLAIMS = (
    _first_half(
        "b20-theorem1-first-exact",
        "For d >= n a head of size d on X has any positive P as its context: exactly, "
        "(W_k X)^T (W_q X) = C log P over the rationals for P ∝ exp(M), M integer.",
        check_first_exact,
        Mutant("X^T for the left inverse", {"inverse": transposed}),
        Mutant(CENTRES_OVER_QUERIES, {"factors": _transposed_factors}),
        Mutant("one coordinate too few", {"factors": one_coordinate_less}),
        theorem="main.theorem_1_exact",
    ),
    _first("random", random_contexts, "random contexts"),
    _first("trained", trained_contexts, "contexts of heads trained here", idle=ONLY_A_SAMPLE),
    _first("pretrained", pretrained_contexts, "contexts of a pretrained encoder"),
    _second_half(
        "b20-theorem1-second-example",
        "On X = [1, 0] no head has the context P = [[.5, .75], [.5, .25]].",
        check_second_example,
        Mutant(
            "second token is not zero",
            {"logits": lambda s, X: (X + X.ones(1, 2)).T * s * (X + X.ones(1, 2))},
        ),
        Mutant("queries carry a bias", {"logits": lambda s, X: X.T * s * (X + X.ones(1, 2))}),
        hypotheses=("d = 1, n = 2", "all real weights, all head sizes"),
        theorem="main.b20_example",
    ),
    _second_half(
        "b20-theorem1-second-family",
        "For every d < n (n >= 2) there are X and a positive P that no head of any size has as "
        "its context on X: a zero token attends uniformly.",
        check_second_family,
        Mutant("the token is not zero", {"token": lambda x: x}),
        Mutant("queries carry a bias", {"query": lambda W_q, x, bias: W_q * x + bias}),
        hypotheses=("X has a zero token", "all real weights, all head sizes"),
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
    _bottleneck(
        "logit-rank-random",
        "The logits of a head have rank at most its head size, on every X.",
        compare_ranks(partial(_integer_heads, most=int), partial(_rank_of_head, centre=False), int),
        OFF_BY_ONE,
        Mutant(POSITIONAL, {"rank": lambda *head: exact_rank(_with_distance(*head))}),
        hypotheses=("integer weights and tokens, any rank of X; k < n",),
        relation="<=",
    ),
    _bottleneck(
        "log-rank-random",
        "The context of a head has log-rank at most its head size, on every X.",
        compare_ranks(
            partial(_integer_heads, most=lambda n: n - 1), partial(_rank_of_head, centre=True), int
        ),
        OFF_BY_ONE,
        Mutant(
            POSITIONAL,
            {"rank": lambda *head: certified_log_rank(logits=_with_distance(*head))},
        ),
        source=Source("rankbound", NECESSITY, "no rank condition on X"),
        hypotheses=("integer weights and tokens, any rank of X; k < n - 1",),
        relation="<=",
        theorem="main.necessary",
    ),
    _bottleneck(
        "log-rank-trained",
        "Contexts of heads trained here have log-rank equal to their head size.",
        compare_ranks(_trained, partial(exact_logit_rank, centre=True), int),
        Mutant(MEASURES_P, {"rank": _rank_of_context}),
        Mutant("reads k tokens alone", {"rank": _on_the_first_tokens}),
        hypotheses=(
            "heads of size k < n fitted to Dirichlet contexts from random starts",
            "float64 read as exact rationals",
        ),
        without={"idle": ONLY_A_SAMPLE},
        theorem="main.certified_head",
    ),
    _bottleneck(
        "logit-rank-pretrained",
        "Logits of all 72 heads of all-MiniLM-L6-v2 have rank d/h = 32, their bound.",
        compare_ranks(_pretrained, partial(exact_logit_rank, centre=False), floordiv),
        Mutant(MEASURES_P, {"rank": _rank_of_context}),
        Mutant(
            "drops a coordinate",
            {"rank": partial(_without_last_coordinate, centre=False)},
        ),
        hypotheses=("queries and keys after biases, float32 read as exact rationals",),
    ),
    _bottleneck(
        "log-rank-pretrained",
        "Contexts of all 72 heads of all-MiniLM-L6-v2 have log-rank exactly 32.",
        compare_ranks(_pretrained, partial(exact_logit_rank, centre=True), floordiv),
        Mutant(MEASURES_P, {"rank": _rank_of_context}),
        Mutant("drops a coordinate", {"rank": _without_last_coordinate}),
        source=Source("rankbound", NECESSITY, "each head sits at its bottleneck"),
        hypotheses=("n = 64 and 128 tokens; float32 read as exact rationals",),
        theorem="main.certified_head",
    ),
    _bottleneck(
        "b20-bottleneck",
        "At head size k < n - 1 some positive P is the context of no head on any X: P ∝ 2^I.",
        check_bottleneck,
        Mutant("k = n - 1 too", {"sizes": lambda n: range(1, n)}),
        Mutant("the witness is uniform", {"witness": lambda n: [[1] * n for _ in range(n)]}),
        hypotheses=("n >= 3", "k < n - 1 (B20 has d/h < n)"),
        relation="exists",
        theorem="main.sharp",
    ),
)
