"""Biases on queries and keys (section 6): the rank stays, and the key bias is pure gauge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from rankbound.attention.variants import append_ones
from rankbound.exact.flint import rational_product
from rankbound.exact.rational import rational_matrix
from rankbound.registry.claim import Claim, Instance, Mutant, Relation, Trial
from rankbound.registry.populations import pretrained_sample
from rankbound.registry.variant_heads import (
    HEADS,
    Draw,
    Rows,
    Table,
    draws,
    here,
    keeps,
    mutated,
    rational_table,
    stays,
)
from rankbound.theory.certified import certified_log_rank
from rankbound.verdict import Verdict

__all__ = ["CLAIMS"]

Added = Callable[[Rows, Rows, list[Fraction]], Rows]
Moved = Callable[[Rows, list[Fraction]], int]


def _biased(draw: Draw) -> Table:
    k, X = len(draw.W_k), append_ones(draw.X)
    W_k, W_q = (np.hstack([W, draw.integers(k, 1)]) for W in (draw.W_k, draw.W_q))
    L: Table = (W_k @ X).T @ (W_q @ X)
    return L


def _bias_a_key(draw: Draw) -> Table:
    L: Table = draw.logits + draw.integers(len(draw.X), 1)
    return L


def _with_bias(columns: Rows, bias: list[Fraction]) -> Rows:
    return [[x + b for x in row] for row, b in zip(columns, bias, strict=True)]


def _product(keys: Rows, queries: Rows) -> Rows:
    return rational_product([list(column) for column in zip(*keys, strict=True)], queries)


def _heads(trial: Trial) -> Iterator[tuple[str, Rows, Rows, list[Fraction]]]:
    """Keys, queries and a bias far above them: random integers, and a pretrained encoder's."""
    for draw, _, k in draws(trial):
        keys, queries = rational_table(draw.keys), rational_table(draw.queries)
        yield draw.label, keys, queries, [Fraction(x) for x in 1000 * draw.integers(k)]
        yield f"{draw.label}, no bias", keys, queries, [Fraction(0)] * k
    for label, head in pretrained_sample(trial):
        keys, queries = (
            rational_matrix("x", x.astype(float), floats=True)[0] for x in (head.keys, head.queries)
        )
        bias = trial.rng.integers(-1000, 1000, size=len(keys), endpoint=True).tolist()
        yield label, keys, queries, [Fraction(x) for x in bias]


def _difference(after: Rows, before: Rows) -> Rows:
    return [[x - y for x, y in zip(*rows, strict=True)] for rows in zip(after, before, strict=True)]


def _by_key_bias(keys: Rows, queries: Rows, bias: list[Fraction]) -> Rows:
    """What a bias on the keys adds to the logits."""
    return _difference(_product(_with_bias(keys, bias), queries), _product(keys, queries))


def _by_query_bias(keys: Rows, queries: Rows, bias: list[Fraction]) -> Rows:
    """What a bias on the queries adds to the logits."""
    return _difference(_product(keys, _with_bias(queries, bias)), _product(keys, queries))


def _varies(keys: Rows, bias: list[Fraction]) -> int:
    """1 if the keys' products with the bias differ, 0 if not."""
    products = {x for row in _product(keys, [[b] for b in bias]) for x in row}
    return int(len(products) > 1)


def _gauge(added: Added, moved: Moved) -> Callable[..., Iterator[Instance]]:
    """Compare rank C(L' - L), 0 iff the context stays (Lemma 1), with what `moved` says."""

    def check(trial: Trial, *, added: Added = added, moved: Moved = moved) -> Iterator[Instance]:
        for label, keys, queries, bias in _heads(trial):
            rank = certified_log_rank(logits=added(keys, queries, bias))
            yield Instance.of_bounds(label, rank, moved(keys, bias))

    return check


CLAIMS = (
    stays(
        "biases",
        "biases on queries and keys",
        here("biases", "a head without biases, on tokens with a row of ones"),
        keeps(_biased),
        mutated("a bias on each key's logit", _bias_a_key),
    ),
    Claim(
        id="variant-key-bias",
        statement="A bias on the keys leaves the context as it is: rank C(L' - L) = 0.",
        source=here("biases"),
        hypotheses=(f"{HEADS}; and heads of all-MiniLM-L6-v2, floats read as rationals",),
        relation=Relation.EQ,
        status=Verdict.CERTIFIED,
        check=_gauge(_by_key_bias, lambda keys, bias: 0),
        mutants=(Mutant("on the queries", {"added": _by_query_bias}),),
    ),
    Claim(
        id="variant-query-bias",
        statement=(
            "A bias b on the queries changes the context, rank C(L' - L) = 1, unless all keys "
            "have the same product with b."
        ),
        source=here("biases"),
        hypotheses=(f"{HEADS}; and heads of all-MiniLM-L6-v2, floats read as rationals",),
        relation=Relation.EQ,
        status=Verdict.CERTIFIED,
        check=_gauge(_by_query_bias, _varies),
        mutants=(
            Mutant("on the keys", {"added": _by_key_bias}),
            Mutant("always changes it", {"moved": lambda keys, bias: 1}),
        ),
    ),
)
