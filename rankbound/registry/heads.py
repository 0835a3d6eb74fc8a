"""The bottleneck for heads (B20, section 2.3): random, trained and pretrained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rankbound.attention.head import AttentionHead
from rankbound.attention.pretrained import pretrained_heads
from rankbound.exact.flint import product
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.certified import certified_rank
from rankbound.ranks.exact import exact_logit_rank, exact_rank
from rankbound.ranks.spectrum import numerical_rank
from rankbound.registry.claim import Claim, Instance, Mutant, Relation, Source, Trial
from rankbound.registry.populations import identity_logits, trained_heads
from rankbound.theory.certified import certified_log_rank
from rankbound.theory.decision import log_rank
from rankbound.verdict import Verdict

__all__ = ["CLAIMS"]

BOTTLENECK = Source(
    "bhojanapalli2020", "section 2.3", "there: head size d/h below n limits the head; in our words"
)

Matrix = list[list[int]]
Ranker = Callable[[Matrix, Matrix, Matrix], RankBounds]


def _factors(W_k: Matrix, W_q: Matrix, X: Matrix) -> tuple[Matrix, Matrix]:
    """Integer keys and queries; the temperature is a factor and changes no rank."""
    return product(W_k, X), product(W_q, X)


def _rank_of_logits(W_k: Matrix, W_q: Matrix, X: Matrix) -> RankBounds:
    return exact_logit_rank(*_factors(W_k, W_q, X))


def _log_rank_of_context(W_k: Matrix, W_q: Matrix, X: Matrix) -> RankBounds:
    return exact_logit_rank(*_factors(W_k, W_q, X), centre=True)


def _with_distance(W_k: Matrix, W_q: Matrix, X: Matrix) -> Matrix:
    keys, queries = _factors(W_k, W_q, X)
    L = product([list(row) for row in zip(*keys, strict=True)], queries)
    return [[x + abs(i - j) for j, x in enumerate(row)] for i, row in enumerate(L)]


def _draws(trial: Trial) -> Iterator[tuple[str, int, Matrix, Matrix, Matrix]]:
    """Integer heads and tokens: d below, at and above n, repeated and zero tokens among them."""
    for n in (3, 6, 10):
        for d in (n - 1, n, n + 2):
            for k in sorted({1, 2, n // 2, n - 2, n - 1, n} - {0}):
                for repeat in range(trial.count(1, 5)):
                    X = trial.integers(d, n, bound=99)
                    if repeat % 2:
                        for row in X:
                            row[-1], row[1] = 0, row[0]
                    W_k, W_q = (trial.integers(k, d, bound=99) for _ in range(2))
                    yield f"n = {n}, d = {d}, head size {k}, draw {repeat}", k, W_k, W_q, X


def _random_heads(rank: Ranker) -> Callable[..., Iterator[Instance]]:
    """Compare an exact rank of random integer heads with their head size."""

    def check(
        trial: Trial,
        *,
        rank: Ranker = rank,
        bound: Callable[[int], int] = lambda head_size: head_size,
    ) -> Iterator[Instance]:
        for label, k, W_k, W_q, X in _draws(trial):
            yield Instance.of_bounds(label, rank(W_k, W_q, X), bound(k))

    return check


def check_bottleneck(
    trial: Trial,
    *,
    sizes: Callable[[int], range] = lambda n: range(1, n - 1),
    witness: Callable[[int], Matrix] = identity_logits,
) -> Iterator[Instance]:
    """P ∝ 2^I has an exact log-rank above every head size k < n - 1."""
    for n in range(3, trial.count(12, 40)):
        needed = certified_log_rank(logits=witness(n)).certify()
        for k in sizes(n):
            yield Instance(
                f"n = {n}, head size {k}",
                int(needed) > k,
                True,
                needed.verdict,
                certificates=needed.certificates,
            )


def check_trained(
    trial: Trial,
    *,
    rank: Callable[..., int] = log_rank,
    bound: Callable[[int], int] = lambda head_size: head_size,
) -> Iterator[Instance]:
    """Log-rank of the contexts of trained heads, measured from the contexts alone."""
    for label, fit in trained_heads(trial):
        measured = rank(fit.head.context())
        yield Instance(label, measured, bound(fit.head.head_size), Verdict.SUPPORTED)


def _pretrained(centre: bool) -> Callable[..., Iterator[Instance]]:
    def check(
        trial: Trial,
        *,
        rank: Callable[..., Any] = exact_logit_rank,
        bound: Callable[[int, int], int] = lambda d, heads: d // heads,
    ) -> Iterator[Instance]:
        for length in (64, 128)[: trial.count(1, 2)]:
            for head in pretrained_heads(length):
                bounds = rank(head.keys, head.queries, centre=centre)
                label = f"layer {head.layer}, head {head.index}, n = {length}"
                yield Instance.of_bounds(label, bounds, bound(384, 12))

    return check


def _rank_of_context(keys: Any, queries: Any, *, centre: bool) -> RankBounds:
    return certified_rank(AttentionHead(W_q=queries, W_k=keys).context())


def _without_last_coordinate(keys: Any, queries: Any, *, centre: bool) -> Any:
    return exact_logit_rank(keys[:-1], queries[:-1], centre=centre)


OFF_BY_ONE = Mutant("head size off by one", {"bound": lambda head_size: head_size - 1})
POSITIONAL = "adds |i - j| to the logits"

CLAIMS = (
    Claim(
        id="logit-rank-random",
        statement="The logits of a head have rank at most its head size, on every X.",
        source=BOTTLENECK,
        hypotheses=("integer weights and tokens, any rank of X",),
        relation=Relation.LE,
        status=Verdict.CERTIFIED,
        check=_random_heads(_rank_of_logits),
        mutants=(
            OFF_BY_ONE,
            Mutant(POSITIONAL, {"rank": lambda *head: exact_rank(_with_distance(*head))}),
        ),
    ),
    Claim(
        id="log-rank-random",
        statement="The context of a head has log-rank at most its head size, on every X.",
        source=Source("rankbound", "Theorem A, necessity", "no rank condition on X"),
        hypotheses=("integer weights and tokens, any rank of X",),
        relation=Relation.LE,
        status=Verdict.CERTIFIED,
        check=_random_heads(_log_rank_of_context),
        mutants=(
            OFF_BY_ONE,
            Mutant(
                POSITIONAL,
                {"rank": lambda *head: certified_log_rank(logits=_with_distance(*head))},
            ),
        ),
    ),
    Claim(
        id="log-rank-trained",
        statement="Contexts of heads trained here have log-rank equal to their head size.",
        source=BOTTLENECK,
        hypotheses=("heads of size k < n fitted to Dirichlet contexts from random starts",),
        relation=Relation.EQ,
        status=Verdict.SUPPORTED,
        check=check_trained,
        mutants=(OFF_BY_ONE, Mutant("measures the rank of P", {"rank": numerical_rank})),
    ),
    Claim(
        id="logit-rank-pretrained",
        statement="Logits of all 72 heads of all-MiniLM-L6-v2 have rank d/h = 32, their bound.",
        source=BOTTLENECK,
        hypotheses=("queries and keys after biases, float32 read as exact rationals",),
        relation=Relation.EQ,
        status=Verdict.CERTIFIED,
        check=_pretrained(centre=False),
        mutants=(
            Mutant("head size off by one", {"bound": lambda d, heads: d // heads - 1}),
            Mutant("measures the rank of P", {"rank": _rank_of_context}),
        ),
    ),
    Claim(
        id="log-rank-pretrained",
        statement="Contexts of all 72 heads of all-MiniLM-L6-v2 have log-rank exactly 32.",
        source=Source("rankbound", "Theorem A, necessity", "each head sits at its bottleneck"),
        hypotheses=("n = 64 and 128 tokens; float32 read as exact rationals",),
        relation=Relation.EQ,
        status=Verdict.CERTIFIED,
        check=_pretrained(centre=True),
        mutants=(
            Mutant("head size off by one", {"bound": lambda d, heads: d // heads + 1}),
            Mutant("drops a coordinate", {"rank": _without_last_coordinate}),
        ),
    ),
    Claim(
        id="b20-bottleneck",
        statement=(
            "At head size k < n - 1 some positive P is the context of no head on any X: P ∝ 2^I."
        ),
        source=BOTTLENECK,
        hypotheses=("n >= 3", "k < n - 1 (B20 has d/h < n)"),
        relation=Relation.EXISTS,
        status=Verdict.CERTIFIED,
        check=check_bottleneck,
        mutants=(
            Mutant("k = n - 1 too", {"sizes": lambda n: range(1, n)}),
            Mutant("the witness is uniform", {"witness": lambda n: [[1] * n for _ in range(n)]}),
        ),
    ),
)
