"""Yao, Chen, Murtadha & Wang 2026, "Thin Keys, Full Values": what its experiments show of rank.

That a head of size 1 cannot select what lies two or more tokens back is a claim on heads of size 1.
"""

from __future__ import annotations

import math
from functools import partial

from rankbound.exact.rational import as_rationals, transposed
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.exact import exact_logit_rank
from rankbound.registry.adler2025 import Integers, logits_of, parabola, selects
from rankbound.registry.claim import (
    Cases,
    Formula,
    Instance,
    Instances,
    Mutant,
    Source,
    Trial,
    compare_ranks,
    make_claim,
)
from rankbound.registry.populations import exact_logits, represented
from rankbound.verdict import Verdict

_refuted = partial(make_claim, status=Verdict.REFUTED)


def one_hot(targets: list[int]) -> tuple[Integers, Integers]:
    """Keys on the identity: as many coordinates as keys."""
    n = len(targets)
    keys = [[int(i == j) for j in range(n)] for i in range(n)]
    return keys, [[int(i == t) for t in targets] for i in range(n)]


def check_retrieval(
    trial: Trial, *, head: Formula = parabola, least: Formula = math.log2
) -> Instances:
    """The size of a head that retrieves each of N keys, beside log2 N; 16 keys in the paper."""
    for n in trial.some(2, (8, 16, 32)):
        targets = trial.rng.permutation(n).tolist()
        keys, queries = head(targets)
        M = logits_of(keys, queries)
        size = len(keys) if selects(M, targets) else math.inf
        proof = represented(M, keys, queries)
        label = f"{n} keys"
        yield Instance(label, size, least(n), Verdict.CERTIFIED, certificates=(proof,))


def _latents(trial: Trial) -> Cases:
    """Heads on a latent that they share; DeepSeek-V2's 512 of 128 heads of size 128, scaled."""
    for heads, size, latent in trial.some(2, ((4, 4, 8), (16, 8, 32), (32, 32, 128))):
        n = latent + 4
        shared = trial.integers(latent, n, bound=9)
        up, queries = trial.integers(size, latent, bound=9), trial.integers(size, n, bound=9)
        label = f"{heads} heads of size {size}, a latent of {latent}"
        yield label, (shared, up, queries, latent // heads), (size, latent // heads)


def whole_latent(shared: Integers, up: Integers, queries: Integers, share: int) -> RankBounds:
    """The rank of a head's logits whose keys are made of the whole latent."""
    return exact_logit_rank(exact_logits(transposed(as_rationals(up)), shared), queries)


def slice_of_latent(shared: Integers, up: Integers, queries: Integers, share: int) -> RankBounds:
    """The same where a head reads its own share of the latent only."""
    return whole_latent(shared[:share], [row[:share] for row in up], queries, share)


CLAIMS = (
    _refuted(
        "yao-retrieval-logarithm",
        "Retrieving each of N keys takes a head of size log2 N or more.",
        check_retrieval,
        Mutant("keys on the identity", {"head": one_hot}),
        Mutant("two coordinates", {"least": lambda n: 2}),
        source=Source(
            "yao2026",
            "abstract, and experiment 2: 16 keys, head size 1 fails, 2 to 16 succeed",
            "read in the source: retrieval requires about log2 N dimensions; as a bound for a "
            "head it is false, and the experiment's threshold is that of two coordinates",
        ),
        hypotheses=("N >= 8; integer keys (i, i²), queries (2 t, -1)",),
        relation=">=",
    ),
    _refuted(
        "yao-effective-dimension",
        "A latent of c coordinates that h heads share leaves the logits of each head rank c/h.",
        compare_ranks(_latents, whole_latent, lambda size, share: share),
        Mutant("each head reads its own share", {"rank": slice_of_latent}),
        Mutant("the head size", {"predicted": lambda size, share: size}),
        source=Source(
            "yao2026",
            "remark on DeepSeek-V2: 512 over 128 heads, an effective key dimension of 4",
            "read in the source; false as a statement of rank: each head reads the whole latent",
        ),
        hypotheses=("integer latents and projections, head size <= c; no RoPE part",),
        relation="<=",
    ),
)
