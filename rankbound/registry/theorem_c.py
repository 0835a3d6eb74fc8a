"""Theorem C: what a nested mask does to the least head size; heads close to the worst case."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from rankbound._validate import Array
from rankbound.attention.head import AttentionHead
from rankbound.attention.masks import Mask, causal_mask, prefix_mask
from rankbound.attention.softmax import log_column_softmax
from rankbound.certificates.certificates import Certificate
from rankbound.errors import Undecided
from rankbound.ranks.exact import exact_rank
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
from rankbound.registry.populations import exact_log_rank, identity_logits
from rankbound.theory.certified import certify_head
from rankbound.verdict import Verdict


def random_nested(n: int, trial: Trial) -> tuple[Mask, list[int]]:
    """A nested mask and the sizes of its decreasing sets of queries, the first everything."""
    sizes = [n, *sorted((int(x) for x in trial.rng.integers(0, n + 1, n - 1)), reverse=True)]
    columns = trial.rng.permutation(n)
    mask = np.zeros((n, n), dtype=np.bool_)
    for key, size in enumerate(sizes):
        mask[key, columns[:size]] = True
    return mask[trial.rng.permutation(n)], sizes


def count_of_gains(logits: list[list[int]], mask: Mask) -> int:
    """``Σ_i rank D[<=i, K_i] - rank D[<i, K_i]`` by exact ranks, on queries that see two keys."""
    queries = mask.sum(axis=0) > 1
    keys = np.argsort(-mask[:, queries].sum(axis=1), kind="stable")
    L, seen = np.array(logits)[keys][:, queries], mask[keys][:, queries]
    D = L[1:] - L[:1]
    total = 0
    for place, at in enumerate(seen[1:]):
        if at.any():
            above = int(exact_rank(D[:place, at])) if place else 0
            total += int(exact_rank(D[: place + 1, at])) - above
    return total


def generic(sizes: list[int]) -> int:
    """``max{t : |K_t| >= t - 1} - 1`` for the decreasing sets K_1, K_2, …"""
    return max(t for t, size in enumerate(sizes, 1) if size >= t - 1) - 1


def _gains(trial: Trial) -> Cases:
    for n in range(2, trial.count(7, 10)):
        for repeat in range(trial.count(3, 10)):
            mask, _ = random_nested(n, trial)
            case = trial.integers(n, n, bound=2), mask
            yield f"random nested mask, n = {n}, draw {repeat}", case, case


def _nested(trial: Trial) -> Cases:
    for n in range(2, trial.count(9, 16)):
        for repeat in range(trial.count(2, 6)):
            mask, sizes = random_nested(n, trial)
            yield f"n = {n}, draw {repeat}", (trial.integers(n, n), mask), (sizes,)


def _causal(trial: Trial) -> Cases:
    for n in range(2, trial.count(17, 33)):
        yield f"causal, n = {n}", (trial.integers(n, n), causal_mask(n)), (n,)


def _worst(trial: Trial) -> Cases:
    """P ∝ 2^I on the visible triangle: tokens that prefer themselves by a constant."""
    for n in range(2, trial.count(17, 33)):
        yield f"causal P ∝ 2^I, n = {n}", (identity_logits(n), causal_mask(n)), (n,)


def _prefix(trial: Trial) -> Cases:
    for n in (4, 7, 12):
        for p in sorted({1, 2, n // 2, n - 1, n}):
            yield f"n = {n}, prefix {p}", (trial.integers(n, n), prefix_mask(n, p)), (n, p)


def head_near_worst(n: int, t: float) -> AttentionHead:
    """A head of size m = floor(n/2) with the logits of 2^I on the mask, but t for 0 at (i, i + m).

    Keys 0, e_1, …, e_m, e_1/t, e_2/t, … and queries 0, e_1, …, e_m, t e_1, t e_2, …: key i + m is
    hidden from query i, for which it would have the logit 1/t.
    """
    m = n // 2
    basis = np.hstack([np.zeros((m, 1)), np.eye(m), np.eye(m)])[:, :n]
    scales = np.where(np.arange(n) > m, t, 1.0)
    return AttentionHead(W_q=basis * scales, W_k=basis / scales, scale=math.log(2))


def check_dense(
    trial: Trial, *, step: Formula = lambda s: 2.0**-s, head: Formula = head_near_worst
) -> Instances:
    """How far, in log2 P, heads stay from the causal worst case: at most t = 1/2, 2^-10, 2^-20, ….

    A logit that is off by t moves the log-probabilities of its query by at most t.
    """
    for n in trial.some(4, (2, 3, 6, 9, 16)):
        seen = causal_mask(n)
        P = np.where(seen, 1.0 + np.eye(n), 0.0)
        for s in trial.some(3, (1, 10, 20, 30)):
            near = head(n, step(s))
            log_Q = log_column_softmax(near.logits(), seen)[seen]
            missed = float(np.max(np.abs(log_Q - np.log((P / P.sum(axis=0))[seen])))) / math.log(2)
            reached = missed if near.head_size <= n // 2 else math.inf
            proofs = (partial(proofs_of_nearness, near, P, math.log(2) * 2.0**-s),)
            label = f"n = {n}, head size {n // 2}, t = 2^-{s}"
            yield Instance(label, reached, 2.0**-s, Verdict.CERTIFIED, certificates=proofs)


def _without_a_coordinate(n: int, t: float) -> AttentionHead:
    head = head_near_worst(n, t)
    keys, queries = (W[:-1] if n > 3 else 0 * W for W in (head.W_k, head.W_q))
    return AttentionHead(W_q=queries, W_k=keys, scale=head.scale)


def proofs_of_nearness(head: AttentionHead, P: Array, ratio: float) -> tuple[Certificate, ...]:
    """That the causal context of the head is within the ratio of P, query by query.

    Query j attends to the keys up to j as if there were no others, so its column of P is that of a
    head without a mask on these keys, all of whose queries are query j.
    """
    proofs = []
    for j in range(len(P)):
        keys, query, column = head.W_k[:, : j + 1], head.W_q[:, [j]], P[: j + 1, [j]]
        alone = AttentionHead(W_q=np.repeat(query, j + 1, axis=1), W_k=keys, scale=head.scale)
        proof = certify_head(alone, np.repeat(column, j + 1, axis=1), None, ratio)
        if proof is None:
            raise Undecided(f"query {j} is not shown to be within {ratio:g} of the worst case")
        proofs.append(proof)
    return tuple(proofs)


_theorem_c = partial(
    make_claim,
    source=Source("rankbound", "Theorem C", "derived here; not found in print for attention"),
    hypotheses=(
        "X of full column rank (on others, a lower bound)",
        "P ∝ exp(M) on the mask, M integer or rational",
    ),
    theorem="main.theorem_c",
)
DRAWN = ("X of full column rank", "entries of M uniform integers of 21 bits")
FORGETS_MASK = Mutant("forgets the mask", {"rank": lambda logits, mask: exact_log_rank(logits)})
SEES_ONE_AHEAD = Mutant(
    "sees one key ahead",
    {"rank": lambda logits, mask: exact_log_rank(logits, np.triu(np.ones_like(mask), -1))},
)


CLAIMS = (
    _theorem_c(
        "theorem-c",
        "Under a nested mask the least head size is the number of new rows.",
        compare_ranks(_gains, exact_log_rank, count_of_gains),
        FORGETS_MASK,
    ),
    _theorem_c(
        "nested-generic",
        "Under a nested mask all but a share of T/2^21 of the P ∝ exp(M), and all drawn, need head "
        "size T = max{t : |K_t| >= t - 1} - 1.",
        compare_ranks(_nested, exact_log_rank, generic),
        FORGETS_MASK,
        hypotheses=DRAWN,
        theorem="main.nested_draws",
    ),
    _theorem_c(
        "causal-generic",
        "Of the causal P ∝ exp(M) all but a share of T/2^21, and all drawn, need head size "
        "T = floor(n/2).",
        compare_ranks(_causal, exact_log_rank, lambda n: n // 2),
        FORGETS_MASK,
        SEES_ONE_AHEAD,
        hypotheses=DRAWN,
        theorem="main.prefix_draws",
    ),
    _theorem_c(
        "causal-worst",
        "The causal P ∝ 2^I needs head size n - 1.",
        compare_ranks(_worst, exact_log_rank, lambda n: n - 1),
        Mutant(
            "tokens prefer their predecessors",
            {
                "rank": lambda logits, mask: exact_log_rank(
                    [row[-1:] + row[:-1] for row in logits], mask
                )
            },
        ),
        theorem="main.causal_heads",
    ),
    _theorem_c(
        "prefix-generic",
        "With prefix p all but a share of T/2^21 of the P ∝ exp(M), and all drawn, need head size "
        "T = max(floor(n/2), p - 1).",
        compare_ranks(_prefix, exact_log_rank, lambda n, p: max(n // 2, p - 1)),
        Mutant(
            "forgets the prefix",
            {"rank": lambda logits, mask: exact_log_rank(logits, causal_mask(len(logits)))},
        ),
        hypotheses=DRAWN,
        theorem="main.prefix_draws",
    ),
    _theorem_c(
        "causal-dense",
        "Heads of size floor(n/2) come arbitrarily close to the causal worst case P ∝ 2^I: within "
        "a factor 2^±t in each entry, for t -> 0.",
        check_dense,
        Mutant("stays at t = 1/2", {"step": lambda s: 0.5}, "idle"),
        Mutant("diverges", {"step": lambda s: 2.0**s}, "idle"),
        Mutant("one coordinate less", {"head": _without_a_coordinate}),
        Mutant("half as far again", {"step": lambda s: 1.5 * 2.0**-s}, "factor"),
        hypotheses=("X of full column rank: here the identity", "t = 1/2, 2^-10, …, 2^-30"),
        relation="<=",
        theorem="main.causal_dense",
    ),
)
