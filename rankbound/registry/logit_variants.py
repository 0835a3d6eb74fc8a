"""What changes of logits do to the bound (section 6): ALiBi, T5's bias, soft caps, mixed heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from rankbound.attention.masks import causal_mask
from rankbound.attention.variants import alibi_bias, relative_bias, talking_heads
from rankbound.exact.rational import as_rationals
from rankbound.ranks.exact import exact_rank
from rankbound.registry.claim import Claim, Instance, Mutant, Relation, Source, Trial, make_claim
from rankbound.registry.variants import (
    HEADS,
    HERE,
    OFF_BY_ONE,
    Draw,
    Table,
    draws,
    here,
    keeps,
)
from rankbound.theory.certified import certified_log_rank
from rankbound.verdict import Verdict

HALF = Fraction(1, 2)
CAP = Fraction(50)  # Gemma 2's, for attention
PRESS = Source("press2022", "section 3, linear biases", HERE)
HEAD_SIZE_ALONE = Mutant("head size alone", {"bound": lambda head_size: head_size})

_certified = partial(make_claim, relation=Relation.LE, status=Verdict.CERTIFIED)


def _signed(draw: Draw) -> Table:
    return alibi_bias(len(draw.X), HALF)


def _bidirectional(draw: Draw) -> Table:
    return alibi_bias(len(draw.X), HALF, bidirectional=True)


def _random_table(draw: Draw) -> Table:
    return relative_bias(draw.integers(2 * len(draw.X) - 1))


def _plus(bias: Callable[[Draw], Table]) -> Callable[[Draw], Table]:
    return lambda draw: draw.logits + bias(draw)


def check_causal(
    trial: Trial,
    *,
    bias: Callable[[Draw], Table] = _bidirectional,
    bound: Callable[[int], int] = lambda head_size: head_size + 1,
) -> Iterator[Instance]:
    """Masked log-rank of a causal head with a bias; on the mask both forms of ALiBi agree."""
    for draw, _, k in draws(trial):
        logits = as_rationals(draw.logits + bias(draw))
        bounds = certified_log_rank(mask=causal_mask(len(logits)), logits=logits)
        yield Instance.of_bounds(draw.label, bounds, bound(k))


def check_alone(
    trial: Trial,
    *,
    bias: Callable[[int], Table] = lambda n: alibi_bias(n, HALF, bidirectional=True),
    rank: Callable[[int], int] = lambda n: n - 1,
) -> Iterator[Instance]:
    """Log-rank of an ALiBi bias alone, that is, with a head of zero logits."""
    for n in range(2, trial.count(12, 40)):
        bounds = certified_log_rank(logits=bias(n))
        yield Instance.of_bounds(f"n = {n}", bounds, rank(n))


def check_any_rank(
    trial: Trial, *, bases: Callable[[int], range] = lambda rank: range(2, rank + 2)
) -> Iterator[Instance]:
    """The table ``Σ_a a^l`` over r bases: ``Σ_a (a^i) (a^-j)^T``, of log-rank r.

    The r columns (a^i) and 1 are independent (Vandermonde, for distinct a other than 1).
    """
    for n in range(2, trial.count(7, 12)):
        for r in range(n):
            distances = range(1 - n, n)
            table: Any = [sum((Fraction(a) ** e for a in bases(r)), Fraction(0)) for e in distances]
            rank = certified_log_rank(logits=relative_bias(table))
            yield Instance.of_bounds(f"n = {n}, rank {r}", rank, r)


def check_known_bias(
    trial: Trial, *, removed: Callable[[Table], Table] = lambda B: B
) -> Iterator[Instance]:
    """What softmax leaves of log P, logits up to the gauge, less the bias."""
    for draw, n, k in draws(trial):
        B = _random_table(draw)
        log_P = draw.logits + B - draw.integers(n)  # one constant per column
        bounds = certified_log_rank(logits=as_rationals(log_P - removed(B)))
        yield Instance.of_bounds(draw.label, bounds, k)


def _capped(x: int) -> Fraction:
    """``cap tanh(L/cap)`` at L = cap x (log 2)/2: rational, for ``tanh(x (log 2)/2)`` is."""
    return CAP * Fraction(2**x - 1, 2**x + 1)


def check_soft_cap(
    trial: Trial,
    *,
    cap: Callable[[int], Fraction] = _capped,
    bound: Callable[[int], int] = lambda n: 1,
) -> Iterator[Instance]:
    """The head of size 1 with logits ``cap (log 2)/2 · i j``, capped: an exact witness."""
    for n in range(3, trial.count(10, 20)):
        L = [[cap(i * j) for j in range(n)] for i in range(n)]
        bounds = certified_log_rank(logits=L)
        yield Instance.of_bounds(f"L = cap (log 2)/2 · i j, n = {n}", bounds, bound(n))


def check_mixed(
    trial: Trial,
    *,
    mixed: Callable[[list[Table], Table], Table] = talking_heads,
    bound: Callable[[int, int, int], int] = lambda h, k, n: min(h * k, n),
) -> Iterator[Instance]:
    """Exact rank of a mixture of the logits of h heads."""
    for draw, n, k in draws(trial):
        for h in (2, 3):
            heads = [draw.integers(k, n).T @ draw.integers(k, n) for _ in range(h)]
            for a, L in enumerate(mixed(heads, draw.integers(2, h))):
                label = f"{draw.label}, {h} heads, mixture {a}"
                yield Instance.of_bounds(label, exact_rank(as_rationals(L)), bound(h, k, n))


def _multiplied(heads: list[Table], mix: Table) -> Table:
    product: Table = np.prod(np.stack(heads), axis=0)[None]
    return product


def check_mixed_attained(
    trial: Trial,
    *,
    mix: Callable[[int], list[list[int]]] = lambda h: [[1] * h],
    rank: Callable[[int, int, int], int] = lambda h, k, n: min(h * k, n - 1),
) -> Iterator[Instance]:
    """Heads with coordinates of their own, b k, …, b k + k - 1 of the identity, added up."""
    for h in (2, 3):
        for k in (1, 2, 3):
            for n in range(k + 2, h * k + trial.count(2, 5)):
                parts = [np.eye(n, dtype=int)[b * k : b * k + k] for b in range(h)]
                heads = [part.T @ part for part in parts]
                (L,) = talking_heads([head.astype(object) for head in heads], mix(h))
                bounds = certified_log_rank(logits=as_rationals(L))
                yield Instance.of_bounds(f"{h} heads of size {k}, n = {n}", bounds, rank(h, k, n))


def _broken(id: str, by: str, source: Source, bias: Callable[[Draw], Table]) -> Claim:
    return make_claim(
        f"variant-{id}",
        f"The context of a head of size k has log-rank at most k + 1 with {by}.",
        keeps(_plus(bias), gauge=True),
        Mutant("ALiBi with a signed distance", {"logits": _plus(_signed)}),
        Mutant("bounds by the length", {"bound": lambda head_size: 7}),
        source=source,
        hypotheses=(HEADS,),
        relation=Relation.LE,
        status=Verdict.REFUTED,
    )


CLAIMS = (
    _certified(
        "variant-alibi-signed",
        "With ALiBi m (i - j) on full attention a head has log-rank at most k + 1.",
        keeps(_plus(_signed), gauge=True),
        OFF_BY_ONE,
        HEAD_SIZE_ALONE,
        Mutant("bidirectional", {"logits": _plus(_bidirectional)}),
        source=PRESS,
        hypotheses=(f"{HEADS}; key i, query j, m = 1/2",),
    ),
    _certified(
        "variant-alibi-causal",
        "With ALiBi, in either form, a causal head has masked log-rank at most k + 1.",
        check_causal,
        HEAD_SIZE_ALONE,
        Mutant("a random table of relative biases", {"bias": _random_table}),
        source=PRESS,
        hypotheses=(f"{HEADS}; causal mask, m = 1/2",),
    ),
    _certified(
        "variant-alibi-bidirectional-alone",
        "Bidirectional ALiBi -m |i - j|, m != 0, alone has log-rank n - 1.",
        check_alone,
        Mutant("signed distance", {"bias": lambda n: alibi_bias(n, HALF)}),
        Mutant("n", {"rank": lambda n: n}),
        source=here("bidirectional ALiBi"),
        hypotheses=("m = 1/2",),
        relation=Relation.EQ,
    ),
    _broken(
        "alibi-bidirectional",
        "bidirectional ALiBi -m |i - j|",
        here("bidirectional ALiBi", "false: a generalisation of the causal case"),
        _bidirectional,
    ),
    _broken(
        "relative-bias",
        "a table of relative biases",
        Source("raffel2020", "section 2.1, relative position", f"false; {HERE}"),
        _random_table,
    ),
    _certified(
        "variant-relative-bias-any-rank",
        "A table of relative biases alone attains every log-rank from 0 to n - 1.",
        check_any_rank,
        Mutant("base 1, a constant", {"bases": lambda rank: range(1, rank + 1)}),
        source=here("relative biases"),
        hypotheses=("a table of 2 n - 1 numbers, one per distance",),
        relation=Relation.EQ,
    ),
    _certified(
        "variant-known-bias",
        "For a known additive bias B on the logits, rank C(log P - B) <= k.",
        check_known_bias,
        Mutant("forgets the bias", {"removed": lambda B: 0 * B}),
        Mutant("subtracts its transpose", {"removed": lambda B: B.T}),
        source=here("relative biases"),
        hypotheses=(f"{HEADS}; B Toeplitz of integers",),
    ),
    _certified(
        "variant-soft-cap",
        "Soft-capping, cap tanh(L/cap), leaves the log-rank at most the head size.",
        check_soft_cap,
        Mutant("does not cap", {"cap": Fraction}),
        Mutant("bounds by n", {"bound": lambda n: n}),
        source=Source("gemma2024", "section 2, logit soft-capping", f"false; {HERE}"),
        hypotheses=("head size 1, L = cap (log 2)/2 · i j, where the tanh is rational; cap = 50",),
        status=Verdict.REFUTED,
    ),
    _certified(
        "variant-talking-heads",
        "Mixed logits of h heads of size k have rank at most min(h k, n).",
        check_mixed,
        Mutant("one head's bound", {"bound": lambda h, k, n: k}),
        Mutant("multiplies the logits", {"mixed": _multiplied}),
        source=Source("shazeer2020", "projection before the softmax", HERE),
        hypotheses=(f"{HEADS}; h = 2 and 3",),
    ),
    _certified(
        "variant-talking-heads-attained",
        "A mixture of h heads of size k attains log-rank min(h k, n - 1), above k.",
        check_mixed_attained,
        Mutant("mixes nothing", {"mix": lambda h: [[1] + [0] * (h - 1)]}),
        Mutant("one head's bound", {"rank": lambda h, k, n: k}),
        source=here("talking heads"),
        hypotheses=("h >= 2", "n >= k + 2"),
        relation=Relation.EQ,
    ),
)
