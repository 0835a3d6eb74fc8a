"""The price of scale: what no head undercuts, and what spread keys and the moment curve reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from rankbound._validate import Array
from rankbound.attention.head import AttentionHead
from rankbound.exact.rounding import U
from rankbound.fitting.scale import fit_directions
from rankbound.registry.claim import Instance, Mutant, Relation, Source, Trial, make_claim
from rankbound.theory.scale import head_scale, least_scale_bound
from rankbound.theory.selection import (
    Pairs,
    check_pairs,
    coherence,
    curve_pairs,
    random_keys,
    selecting_head,
)
from rankbound.theory.sparse import sparse_head, total_variation_bound
from rankbound.verdict import Verdict

PRICE = Source("rankbound", "section 5, the price of scale", "derived here")
VOLUME = Source(
    "weller2025",
    "Theorem 1",
    "there for unit vectors, k-subsets and a margin; here for lengths and total variation",
)
Bound = Callable[[int, int, float], float]
ERRORS = (1e-1, 1e-3, 1e-6)

_supported = partial(make_claim, relation=Relation.LE, status=Verdict.SUPPORTED)


def _heads(trial: Trial) -> Iterator[tuple[str, int, int, float, float]]:
    """Heads that select n keys: random, fitted, regular; with an upper bound of their scale."""
    from scipy.linalg import helmert  # its columns are the corners of a simplex

    for n in (3, 6, 16, 48)[: trial.count(3, 4)]:
        for error in ERRORS:
            for d in sorted({2, 3, 6, n - 1}):
                label = f"n = {n}, head size {d}, error {error:.0e}"
                keys, queries = fit_directions(n, d, trial.rng)
                fitted = selecting_head(keys, error, directions=queries)
                yield f"fitted, {label}", n, d, error, fitted.scale
                drawn = random_keys(n, d, trial.rng)
                if coherence(drawn) < 1 - 1e-4:
                    yield f"random, {label}", n, d, error, selecting_head(drawn, error).scale
            simplex = selecting_head(helmert(n), error)
            yield f"simplex, n = {n}, error {error:.0e}", n, n - 1, error, simplex.scale
            circle = sparse_head(np.eye(n)[trial.rng.permutation(n)], error=error)
            size = circle.head_size
            yield f"circle, n = {n}, error {error:.0e}", n, size, error, head_scale(circle)


def check_price(trial: Trial, *, bound: Bound = least_scale_bound) -> Iterator[Instance]:
    """The bound beside the scale of heads whose contexts are checked."""
    for label, n, d, error, scale in _heads(trial):
        yield Instance(label, bound(n, d, error), scale, Verdict.SUPPORTED)


def check_volume(
    trial: Trial,
    *,
    exponent: Callable[[int], float] = lambda d: 1 / d,
    half: Callable[[], float] = lambda: 0.5,
) -> Iterator[Instance]:
    """``½ (n^{1/d} - 1) log((1 - ε)/ε)`` beside the same heads."""
    for label, n, d, error, scale in _heads(trial):
        volume = half() * (n ** exponent(d) - 1) * math.log((1 - error) / error)
        yield Instance(label, volume, scale, Verdict.SUPPORTED, 16 * volume * 2.0**-52)


def check_attained(
    trial: Trial, *, factor: Callable[[int], float] = lambda n: 1 - 1 / n
) -> Iterator[Instance]:
    """The scale of keys at the corners of a simplex, which a bisection has found to 2^-24."""
    from scipy.linalg import helmert

    for n in range(2, trial.count(8, 24)):
        for error in ERRORS:
            scale = selecting_head(helmert(n), error).scale
            predicted = factor(n) * math.log((n - 1) * (1 - error) / error)
            # the bound on the context exceeds it by its rounding, which moves the log-odds of ε
            # by 1/(ε (1 - ε)) times as much
            rounding = _rounding(n - 1, n, scale) / (error * (1 - error))
            tolerance = scale * 2.0**-23 + rounding
            label = f"n = {n}, error {error:.0e}"
            yield Instance(label, scale, predicted, Verdict.SUPPORTED, tolerance)


def _rounding(d: int, n: int, scale: float) -> float:
    """What rounding adds to a total variation: of logits up to a scale, lengths, and the softmax.

    An inner product, its bound and two lengths are each within a relative (d + 4) u.
    """
    return (4 * (d + 4) * scale + 4 * n + 40) * U


def _ruled(keys: Array, error: float, spread: float) -> tuple[float, float]:
    """Total variation from the identity with queries along the keys, and the scale of the rule."""
    n = keys.shape[1]
    scale = math.log((n - 1) * (1 - error) / error) / spread
    head = AttentionHead(W_q=scale * keys, W_k=keys, scale=1.0)
    return float(total_variation_bound(head, np.eye(n)).max()), scale


def check_spread(
    trial: Trial, *, spread: Callable[[Array], float] = lambda keys: 1 - coherence(keys)
) -> Iterator[Instance]:
    """Random keys with the scale that their coherence asks for."""
    for n, d in ((8, 16), (40, 24), (100, 64), (200, 120))[: trial.count(3, 4)]:
        for error in ERRORS:
            keys = random_keys(n, d, trial.rng)
            measured, scale = _ruled(keys, error, spread(keys))
            label = f"n = {n}, head size {d}, error {error:.0e}"
            yield Instance(label, measured, error, Verdict.SUPPORTED, _rounding(d, n, scale))


def check_all_pairs(
    trial: Trial, *, found: Callable[[int], Pairs] = curve_pairs
) -> Iterator[Instance]:
    """How many pairs the moment curve realises at head size 4, its floats read as they are."""
    for n in (3, 5, 10, 20, 50, 120)[: trial.count(5, 6)]:
        pairs = found(n)
        yield Instance(f"n = {n}", pairs.realised, n * (n - 1) // 2, Verdict.SUPPORTED)


def _circle_pairs(n: int) -> Pairs:
    pairs = curve_pairs(n)
    return check_pairs(pairs.keys[:2], pairs.queries[:2])


def _swapped_pairs(n: int) -> Pairs:
    pairs = curve_pairs(n)
    return check_pairs(pairs.keys, pairs.queries[[0, 1, 3, 2]])


CLAIMS = (
    _supported(
        "price-of-scale",
        "No head that selects n keys within ε has a scale below the best of four bounds.",
        check_price,
        Mutant(
            "average bound without 1 - 1/n",
            {"bound": lambda n, d, e: math.log((n - 1) * (1 - e) / e)},
        ),
        Mutant("head size one less", {"bound": lambda n, d, e: least_scale_bound(n, d - 1, e)}),
        source=PRICE,
        hypotheses=("n queries put at least 1 - ε on n different keys", "scale max ‖q‖ max ‖k‖"),
    ),
    _supported(
        "price-of-scale-volume",
        "n keys selected within ε need a scale of ½ (n^{1/d} - 1) log((1 - ε)/ε).",
        check_volume,
        Mutant("n^{2/d}", {"exponent": lambda d: 2 / d}),
        Mutant("twice as much", {"half": lambda: 1.0}),
        source=VOLUME,
        hypotheses=("n queries put at least 1 - ε on n different keys", "ε < 1/2"),
    ),
    _supported(
        "price-of-scale-attained",
        "Keys on a simplex select within ε at the scale (1 - 1/n) log((n - 1)(1 - ε)/ε).",
        check_attained,
        Mutant("without 1 - 1/n", {"factor": lambda n: 1.0}),
        source=PRICE,
        hypotheses=("head size n - 1", "queries along the keys"),
        relation=Relation.EQ,
    ),
    _supported(
        "spread-keys",
        "Keys of coherence μ select within ε at the scale log((n - 1)(1 - ε)/ε)/(1 - μ).",
        check_spread,
        Mutant("as if the keys were orthogonal twice over", {"spread": lambda keys: 2.0}),
        Mutant("1 + μ", {"spread": lambda keys: 1 + coherence(keys)}),
        source=Source("rankbound", "section 5, keys that are spread out", "derived here"),
        hypotheses=("unit keys, up to rounding", "μ an upper bound that holds for the floats"),
    ),
    _supported(
        "all-pairs",
        "Head size 4 scores both keys of every pair above all others, for each n tried.",
        check_all_pairs,
        Mutant("the circle alone, head size 2", {"found": _circle_pairs}),
        Mutant("cosines and sines of 2t swapped", {"found": _swapped_pairs}),
        source=Source("weller2025", "section 4", "there training stops at n = 10 for d = 4"),
        hypotheses=("keys on the trigonometric moment curve",),
        relation=Relation.EQ,
    ),
)
