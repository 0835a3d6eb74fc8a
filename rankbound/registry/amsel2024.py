"""Amsel, Yehudai & Bruna 2024, "On the Benefits of Rank in Attention Layers".

To find nearest neighbours low-rank heads must be exponentially many. Accounts disagree on the
exponents, so the theorem is not registered. Its first step is: heads that together have fewer
coordinates than tokens are blind to a direction.
"""

from __future__ import annotations

from functools import partial

from rankbound.exact.flint import null_space
from rankbound.exact.rational import Rationals, as_rationals, centred, transposed
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import (
    Cases,
    Formula,
    Mutant,
    Source,
    Trial,
    compare_ranks,
    make_claim,
)
from rankbound.registry.populations import exact_logits


def _heads(trial: Trial) -> Cases:
    """The projections of H heads of size r, stacked, and tokens that are not to be confused."""
    for heads, r, d in ((1, 3, 4), (2, 2, 5), (3, 2, 8), (1, 4, 4), (2, 2, 4), (3, 2, 5)):
        for repeat in range(trial.count(1, 4)):
            W_k, W_q = (as_rationals(trial.integers(heads * r, d, bound=9)) for _ in range(2))
            others = as_rationals(trial.integers(d, 3, bound=9))
            spare = as_rationals(trial.integers(d, 1, bound=9))
            label = f"{heads} heads of size {r}, d = {d}, draw {repeat}"
            yield label, (W_k, W_q, others, spare, r), (heads, r, d)


def unseen(W_q: Rationals, spare: Rationals) -> Rationals:
    """A token that no query projection sees, or, where there is none, the spare one."""
    vectors = null_space(W_q)
    return transposed(vectors[:1]) if vectors else spare


def _told_apart(
    W_k: Rationals,
    W_q: Rationals,
    others: Rationals,
    spare: Rationals,
    r: int,
    *,
    token: Formula = unseen,
) -> RankBounds:
    """The rank of C times the logits that y has on y, -y and other tokens, a column per head."""
    y = token(W_q, spare)
    X = [[*own, -own[0], *rest] for own, rest in zip(y, others, strict=True)]
    columns = []
    for start in range(0, len(W_q), r):
        keys = exact_logits(transposed(W_k[start : start + r]), X)
        query = exact_logits(transposed(W_q[start : start + r]), y)
        columns += transposed(exact_logits(keys, query))
    return exact_rank(centred(transposed(columns)))


CLAIMS = (
    make_claim(
        "amsel-blind",
        "H heads of size r on tokens of d > H r coordinates leave some query uniform in all of "
        "them, on whatever tokens: it does not prefer its own copy to its opposite.",
        compare_ranks(_heads, _told_apart, lambda heads, r, d: heads * (heads * r >= d)),
        Mutant("any query", {"rank": partial(_told_apart, token=lambda W_q, spare: spare)}),
        Mutant("sees everything", {"predicted": lambda heads, r, d: heads}),
        source=Source(
            "amsel2024",
            "nearest neighbours; why a head of rank r < d fails",
            "from accounts of the text; the step is derived here, and beyond H r = d nothing is "
            "claimed of how many heads do",
        ),
        hypotheses=(
            "integer heads and five tokens; d <= H r: no query is unseen, and each head tells",
        ),
    ),
)
