"""Lesens, Rakhshan & Rabusseau 2025, KQ-SVD: the logits of a head at low rank, in closed form.

`nearest_head` is its centred form: what is nearest after the softmax has taken its constants.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rankbound._validate import Array
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.registry.claim import Formula, Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.registry.populations import pretrained_sample
from rankbound.theory.approximation import aitchison_error
from rankbound.verdict import Verdict

ABSTRACT = "abstract and accounts of it"


def truncated(A: Array, rank: int) -> Array:
    """The truncated singular value decomposition."""
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    nearest: Array = (U[:, :rank] * s[:rank]) @ Vt[:rank]
    return nearest


def _heads(trial: Trial) -> Iterator[tuple[str, Array, Array]]:
    """Keys and queries: of a pretrained encoder, random, and with orthonormal queries."""
    for label, head in pretrained_sample(trial):
        yield label, head.keys.astype(np.float64), head.queries.astype(np.float64)
    for n, k in ((9, 4), (12, 6)):
        keys, queries = trial.rng.standard_normal((2, k, n))
        yield f"random, n = {n}, head size {k}", keys, queries
        yield f"orthonormal queries, n = {n}", keys, np.linalg.qr(queries.T)[0].T
        yield f"centred keys, n = {n}", keys - keys.mean(axis=1, keepdims=True), queries


def _rounding(keys: Array, queries: Array) -> float:
    """Products of k terms, and LAPACK's n eps for singular vectors and values, on both sides."""
    k, n = keys.shape
    size = float(np.linalg.norm(keys) * np.linalg.norm(queries))
    return float(8 * (n + k) * FLOAT64_EPS * size)


def check_keys_alone(
    trial: Trial, *, compress: Formula = truncated, share: Formula = lambda tail: tail
) -> Instances:
    """The logits' error where keys alone are truncated, beside the least at that rank."""
    for label, keys, queries in _heads(trial):
        values = np.linalg.svd(keys.T @ queries, compute_uv=False)
        for rank in sorted({1, len(keys) // 2, len(keys) - 1}):
            error = float(np.linalg.norm((keys - compress(keys, rank)).T @ queries))
            least = float(np.linalg.norm(values[rank:]))
            yield Instance(
                f"{label}, rank {rank}",
                error,
                share(least),
                Verdict.SUPPORTED,
                _rounding(keys, queries),
            )


def check_centred(
    trial: Trial, *, compress: Formula = truncated, share: Formula = lambda tail: tail
) -> Instances:
    """How far the softmax's logarithm is off at the best rank of logits, and of centred logits."""
    for label, keys, queries in _heads(trial):
        L = keys.T @ queries
        for rank in sorted({1, len(keys) // 2, len(keys) - 1}):
            missed = L - compress(L, rank)
            error = float(np.linalg.norm(missed - missed.mean(axis=0)))
            least = float(aitchison_error(logits=L, head_size=rank))
            yield Instance(
                f"{label}, rank {rank}",
                error,
                share(least),
                Verdict.SUPPORTED,
                _rounding(keys, queries),
            )


WHOLE = Mutant("keeps the whole", {"compress": lambda A, rank: A})
FACTOR = Mutant("one and a half times", {"share": lambda tail: 1.5 * tail}, "factor")

CLAIMS = (
    make_claim(
        "kq-svd-keys-alone",
        "Truncating the keys alone leaves logits at least as far off as truncating the logits.",
        check_keys_alone,
        WHOLE,
        FACTOR,
        source=Source("lesens2025", "optimality over keys alone", ABSTRACT),
        hypotheses=("Frobenius norm of the logits; all-MiniLM-L6-v2 and random heads",),
        relation=">=",
        status=Verdict.SUPPORTED,
    ),
    make_claim(
        "kq-svd-centred",
        "After the softmax, the best low rank of the logits is at least as far from P, in "
        "Aitchison distance, as the best low rank of the centred logits.",
        check_centred,
        WHOLE,
        FACTOR,
        source=Source(
            "lesens2025",
            "closed-form factorisation",
            f"{ABSTRACT}; the comparison is derived here: the softmax forgets a constant per query",
        ),
        hypotheses=("Aitchison distance; equal where keys have mean 0",),
        relation=">=",
        status=Verdict.SUPPORTED,
    ),
)
