"""Which keys queries can prefer: at which scale, and by heads of size 1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, replace
from functools import partial
from itertools import combinations, permutations
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.attention.head import AttentionHead
from rankbound.certificates.certificates import RadonWeights, SelectingQueries
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import Selectable
from rankbound.exact.rounding import FLOAT64_EPS, U
from rankbound.fitting.scale import fit_directions
from rankbound.registry.claim import (
    Formula,
    Instance,
    Instances,
    Mutant,
    Source,
    Trial,
    make_claim,
)
from rankbound.theory.divergence import scale_certificate
from rankbound.theory.selection import (
    Pairs,
    ScaleBounds,
    check_pairs,
    coherence,
    curve_pairs,
    head_scale,
    least_scale_bound,
    random_keys,
    scale_bounds,
    selecting_head,
)
from rankbound.theory.set_selection import (
    selectable_certificate,
    set_margin_scale,
    set_selecting_keys,
    set_selection_size,
    unselectable_certificate,
)
from rankbound.theory.sparse import sparse_head, total_variation_bound
from rankbound.verdict import Verdict

SETS = Source("rankbound", "selecting sets of keys", "derived here; published: q - 1 to 2q")
ONE = Source("rankbound", "head size 1", "derived here")
PRICE = Source("rankbound", "section 5, the price of scale", "derived here")
ERRORS = (1e-1, 1e-3, 1e-6)
WIDER = "directions that are not fitted need a larger scale, which a lower bound allows"
SELECTED = "n queries put at least 1 - ε on n different keys"

_supported = partial(make_claim, status=Verdict.SUPPORTED)
_at_most = partial(make_claim, relation="<=", status=Verdict.SUPPORTED)


def check_enough(trial: Trial, *, build: Formula = selectable_certificate) -> Instances:
    """The dimension of keys of which every set has a query that selects it, all written down."""
    for n in range(2, trial.count(7, 9)):
        for q in range(1, min(n, trial.count(3, 4))):
            proof = build(n, q)
            size = proof.statement.keys.rows
            label, predicted = f"n = {n}, q = {q}", min(2 * q, n - 1)
            yield Instance(label, size, predicted, Verdict.CERTIFIED, certificates=(proof,))


def check_needed(trial: Trial, *, size: Formula = set_selection_size) -> Instances:
    """Random integer keys of one coordinate less: some set of at most q keys has no query."""
    for n in range(3, trial.count(9, 12)):
        for q in range(1, min(n, 4)):
            less = size(n, q) - 1
            if less:
                keys = trial.integers(less, n, bound=99)
                proof = unselectable_certificate(keys, q)
                label = f"n = {n}, q = {q}"
                yield Instance(
                    label,
                    proof is not None,
                    True,
                    Verdict.CERTIFIED,
                    certificates=(partial(_same, proof),),
                )


def _same(proof: RadonWeights | None) -> RadonWeights | None:
    return proof


def margin_scale(keys: Any, q: int) -> float:
    """Scale over gap of queries along the mean of each set less the mean of the rest."""
    n = keys.shape[1]
    scales = []
    for members in combinations(range(n), q):
        inside = np.isin(np.arange(n), members)
        query = keys[:, inside].mean(axis=1) - keys[:, ~inside].mean(axis=1)
        scores = query @ keys
        gap = float(scores[inside].min() - scores[~inside].max())
        scales.append(float(np.linalg.norm(query)) / gap if gap > 0 else np.inf)
    return max(scales) * float(np.linalg.norm(keys, axis=0).max())


def check_margin(
    trial: Trial, *, measure: Formula = margin_scale, bound: Formula = set_margin_scale
) -> Instances:
    """Centred simplices, which attain the bound, and random keys, which stay above."""
    for n in range(2, trial.count(7, 9)):
        for q in range(1, n):
            for name in ("simplex", "moved simplex"):
                keys = np.eye(n) - 1 / n
                if name != "simplex":
                    keys = keys + 0.1 / n * trial.rng.standard_normal((n, n))
                beta = measure(keys, q)
                if np.isfinite(beta):
                    rounding = 64 * n * FLOAT64_EPS * beta
                    label = f"{name}, n = {n}, q = {q}"
                    yield Instance(label, beta, bound(n, q, 1.0), Verdict.SUPPORTED, rounding)


def previous_token_keys(n: int) -> list[int]:
    """Keys 1, -2, 3, -4, … of a head of size 1."""
    return [(i + 1) * (-1) ** i for i in range(n)]


def check_previous(trial: Trial, *, keys: Formula = previous_token_keys) -> Instances:
    """How many causal queries of sign that of the previous key prefer it, in integers."""
    for n in (2, 3, 8, trial.count(40, 200)):
        own = keys(n)
        wins = 0
        for j in range(1, n):
            sign = 1 if own[j - 1] > 0 else -1
            scores = [sign * x for x in own[: j + 1]]
            wins += all(scores[j - 1] > x for i, x in enumerate(scores) if i != j - 1)
        yield Instance(f"n = {n}", wins, n - 1, Verdict.SUPPORTED)


def orders_that_look_back(n: int, back: int) -> int:
    """In how many orders of n keys on a line each query can prefer the key so many tokens back.

    Among the keys 0, …, j that query j sees it is the greatest or the least. Ties between keys that
    win nothing can be broken, so orders without ties are all there is to try.
    """

    def wins(order: tuple[int, ...]) -> bool:
        place = {key: rank for rank, key in enumerate(order)}
        seen = ([place[i] for i in range(j + 1)] for j in range(back, n))
        return all(ranks[j] in (min(ranks), max(ranks)) for j, ranks in enumerate(seen))

    return sum(map(wins, permutations(range(n))))


def check_two_back(trial: Trial, *, orders: Formula = orders_that_look_back) -> Instances:
    """All orders of c + 3 keys, so any longer sequence too, which holds them."""
    for back in range(2, trial.count(4, 5)):
        yield Instance(f"c = {back}", orders(back + 3, back), 0, Verdict.PROVED)


def _one_coordinate_less(n: int, q: int) -> SelectingQueries:
    """The queries, of keys that lack their last coordinate."""
    fewer = set_selecting_keys(n, q)[:-1] or [[0] * n]
    statement = Selectable(Matrix.of_integers(fewer), q)
    return replace(selectable_certificate(n, q), statement=statement)


# the price of scale


def _heads(trial: Trial) -> Iterator[tuple[str, int, int, float, float]]:
    """Heads that select n keys: random, fitted, regular; with an upper bound of their scale.

    Simplices attain the average bound, two keys on a line that by volume, polygons that of the
    plane as ε tends to 0; none is known that attains the bound by caps.
    """
    from scipy.linalg import helmert  # its columns are the corners of a simplex

    for n in trial.some(4, (2, 3, 6, 16, 48)):
        if n > 2:
            yield f"polygon, n = {n}", n, 2, *polygon(n)
        for error in ERRORS:
            for d in sorted({2, 3, 6, n - 1}) if n > 2 else ():
                label = f"n = {n}, head size {d}, error {error:.0e}"
                keys, queries = fit_directions(n, d, trial.rng)
                fitted = selecting_head(keys, error, directions=queries)
                yield f"fitted, {label}", n, d, error, fitted.scale
                drawn = random_keys(n, d, trial.rng)
                if coherence(drawn) < 1 - 1e-4:
                    yield f"random, {label}", n, d, error, selecting_head(drawn, error).scale
            simplex = selecting_head(helmert(n), error)
            yield f"simplex, n = {n}, error {error:.0e}", n, n - 1, error, simplex.scale
            ring = sparse_head(np.eye(n)[trial.rng.permutation(n)], error=error)
            yield f"circle, n = {n}, error {error:.0e}", n, ring.head_size, error, head_scale(ring)


def polygon(n: int) -> tuple[float, float]:
    """What a regular polygon of keys, with queries along them, misses, and its scale.

    The error is some 1e-321, evaluated in 60 digits and rounded up.
    """
    from mpmath import mp

    with mp.workdps(60):
        gaps = [1 - mp.cos(2 * mp.pi * i / n) for i in range(1, n)]
        scale = float(739 / gaps[0])
        odds = sum(mp.exp(-scale * gap) for gap in gaps)
        return math.nextafter(float(odds / (1 + odds)), 1.0), scale


def check_prices(trial: Trial, *, bound: Formula, units: int = 0) -> Instances:
    """The bound, rounded by a few units, beside the scale of heads whose contexts are checked."""
    for label, n, d, error, scale in _heads(trial):
        least = bound(n, d, error)
        rounding = units * least * 2.0**-52 if units else 0.0
        proofs = (partial(scale_certificate, n, d, error, least),)
        yield Instance(label, least, scale, Verdict.CERTIFIED, rounding, proofs)


def _volume(n: int, d: int, error: float, *, power: int = 1, factor: float = 1.0) -> float:
    return factor * scale_bounds(n**power, d, error).volume


def counts(n: int, d: int, error: float, bounds: ScaleBounds) -> Iterator[tuple[str, float]]:
    """For each bound, taken as the scale, how many keys its own counting argument allows.

    The balls of the volume bound, the caps of the surface bound at their height s = 1 + h/2, the
    angles between neighbours on a circle, and the mean of the log-odds.
    """
    g = math.log((1 - error) / error)
    yield "volume", (1 + 2 * bounds.volume / g) ** d
    if bounds.caps > 0 and math.isfinite(bounds.caps):
        h = g / bounds.caps
        ball = math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2 + 1)) * math.sqrt(math.pi)
        s = 1 + h / 2
        yield "caps", d * ball * ((1 + s) ** 2 / (s * h - h * h / 4)) ** ((d - 1) / 2)
    if bounds.plane:
        yield "plane", 2 * math.pi / math.acos(1 - g / bounds.plane)
    yield "average", 1 + math.exp(bounds.average * n / (n - 1)) * error / (1 - error)


def check_counts(trial: Trial, *, bounds: Formula = scale_bounds) -> Instances:
    """Each bound is the scale at which its argument allows n keys, and no more."""
    for n in trial.some(2, (5, 40, 300)):
        for d in (2, 3, 7):
            for error in ERRORS:
                for name, count in counts(n, d, error, bounds(n, d, error)):
                    label = f"{name}, n = {n}, head size {d}, error {error:.0e}"
                    yield Instance(label, count, n, Verdict.SUPPORTED, 1e-9 * n)


def _each_times(factor: float) -> Formula:
    def scaled(n: int, d: int, error: float) -> ScaleBounds:
        found = scale_bounds(n, d, error)
        return ScaleBounds(*(factor * x for x in astuple(found)))

    return scaled


def gap(n: int, error: float) -> float:
    """By how much n - 1 other logits must be lower: not at all where equal ones will do."""
    return math.log(max(1.0, (n - 1) * (1 - error) / error))


def check_attained(
    trial: Trial,
    *,
    select: Formula = lambda keys, error: selecting_head(keys, error).scale,
    gap: Formula = gap,
) -> Instances:
    """The scale of keys at the corners of a simplex, which a bisection has found to 2^-24."""
    from scipy.linalg import helmert

    for n in range(1, trial.count(8, 24)):
        for error in (*ERRORS, 0.6, 1 - 1 / (2 * n)):
            scale = select(helmert(n) if n > 1 else np.ones((1, 1)), error)
            predicted = (1 - 1 / n) * gap(n, error)
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
    scale = gap(n, error) / spread
    head = AttentionHead(W_q=scale * keys, W_k=keys, scale=1.0)
    return float(total_variation_bound(head, np.eye(n)).max()), scale


def check_spread(trial: Trial, *, spread: Formula = lambda keys: 1 - coherence(keys)) -> Instances:
    """Random keys, and orthogonal ones, with the scale that their coherence asks for."""
    for n, d in trial.some(5, ((1, 3), (8, 16), (6, 6), (40, 24), (100, 64), (200, 120))):
        for error in (*ERRORS, 1 - 1 / (2 * n)):
            keys = np.eye(n) if n == d else random_keys(n, d, trial.rng)
            measured, scale = _ruled(keys, error, spread(keys))
            label = f"n = {n}, head size {d}, error {error:.0e}"
            yield Instance(label, measured, error, Verdict.SUPPORTED, _rounding(d, n, scale))


def check_all_pairs(trial: Trial, *, found: Formula = curve_pairs) -> Instances:
    """How many pairs the moment curve realises at head size 4, its floats read as they are."""
    for n in trial.some(5, (3, 5, 10, 20, 50, 120)):
        pairs = found(n)
        yield Instance(f"n = {n}", pairs.realised, n * (n - 1) // 2, Verdict.SUPPORTED)


def _with_coordinates(n: int, *, keys: list[int], queries: list[int]) -> Pairs:
    pairs = curve_pairs(n)
    return check_pairs(pairs.keys[keys], pairs.queries[queries])


CLAIMS = (
    make_claim(
        "sets-selected",
        "Fixed keys in dimension min(2q, n - 1) give every set of at most q keys a query that "
        "selects it.",
        check_enough,
        Mutant("one coordinate less", {"build": _one_coordinate_less}),
        Mutant("for one more key", {"build": lambda n, q: selectable_certificate(n + 1, q + 1)}),
        source=SETS,
        hypotheses=("n keys on the moment curve, or a simplex",),
        theorem="main.sets_of_keys",
    ),
    make_claim(
        "sets-not-selected",
        "In fewer dimensions than min(2q, n - 1) some set of at most q keys has no query: a Radon "
        "partition.",
        check_needed,
        Mutant("enough dimensions", {"size": lambda n, q: set_selection_size(n, q) + 1}),
        source=SETS,
        hypotheses=("random integer keys",),
        relation="exists",
        theorem="main.sets_of_keys",
    ),
    make_claim(
        "sets-margin",
        "To prefer every set of q of n keys by a gap g takes max‖query‖ max‖key‖ >= "
        "g sqrt(q(n-1)(n-q))/n in every dimension; the centred simplex attains it.",
        check_margin,
        Mutant("half the length of queries", {"measure": lambda K, q: margin_scale(K, q) / 2}),
        Mutant(
            "the bound times 1.5",
            {"bound": lambda n, q, g: 1.5 * set_margin_scale(n, q, g)},
            "factor",
        ),
        source=SETS,
        hypotheses=("queries along mean of the set less mean of the rest",),
        relation=">=",
        status=Verdict.SUPPORTED,
    ),
    make_claim(
        "previous-token-size-one",
        "Under a causal mask a head of size 1 lets every query prefer the previous token, for "
        "every n.",
        check_previous,
        Mutant("keys of one sign", {"keys": lambda n: [i + 1 for i in range(n)][::-1]}),
        source=ONE,
        hypotheses=("keys 1, -2, 3, -4, …", "integer arithmetic"),
        theorem="main.heads_of_size_one",
        status=Verdict.SUPPORTED,
    ),
    make_claim(
        "two-back-not-size-one",
        "No head of size 1 lets every causal query prefer the key c tokens back, c = 2, 3 and "
        "n >= c + 3.",
        check_two_back,
        Mutant("one back", {"orders": lambda n, back: orders_that_look_back(n, 1)}),
        Mutant("n = c + 2", {"orders": lambda n, back: orders_that_look_back(n - 1, back)}),
        source=ONE,
        hypotheses=("every order of the keys on the line",),
        theorem="main.heads_of_size_one",
        status=Verdict.PROVED,
    ),
    _at_most(
        "price-of-scale",
        "No head that selects n keys within ε has a scale below the best of four bounds.",
        partial(check_prices, bound=least_scale_bound),
        Mutant(
            "average bound without 1 - 1/n",
            {"bound": lambda n, d, e: math.log((n - 1) * (1 - e) / e)},
        ),
        Mutant(
            "head size one less",
            {"bound": lambda n, d, e: least_scale_bound(n, max(1, d - 1), e)},
        ),
        Mutant(
            "1.001 times", {"bound": lambda n, d, e: 1.001 * least_scale_bound(n, d, e)}, "factor"
        ),
        source=PRICE,
        hypotheses=(SELECTED, "scale max ‖q‖ max ‖k‖"),
        status=Verdict.CERTIFIED,
        without={"idle": WIDER},
    ),
    _supported(
        "price-of-scale-counts",
        "Each of the four bounds is the scale at which its own argument allows n keys.",
        check_counts,
        Mutant("1.001 times", {"bounds": _each_times(1.001)}, "factor"),
        source=PRICE,
        hypotheses=(
            "ε < 1/2",
            "no head is known that attains the bound by caps; others: price-of-scale",
        ),
    ),
    _at_most(
        "price-of-scale-volume",
        "n keys selected within ε need a scale of ½ (n^{1/d} - 1) log((1 - ε)/ε).",
        partial(check_prices, bound=_volume, units=16),
        Mutant("n^{2/d}", {"bound": partial(_volume, power=2)}),
        Mutant("1.001 times", {"bound": partial(_volume, factor=1.001)}, "factor"),
        source=Source(
            "weller2025",
            "Theorem 1",
            "there for unit vectors, k-subsets and a margin; here for lengths and total variation",
        ),
        hypotheses=(SELECTED, "ε < 1/2; attained by two keys on a line"),
        status=Verdict.CERTIFIED,
        without={"idle": WIDER},
    ),
    _supported(
        "price-of-scale-attained",
        "Keys on a simplex select within ε at the scale (1 - 1/n) max(0, log((n - 1)(1 - ε)/ε)).",
        check_attained,
        Mutant(
            "1.5 times",
            {"select": lambda keys, error: 1.5 * selecting_head(keys, error).scale},
            "factor",
        ),
        Mutant(
            "below 0 where equal logits will do",
            {"gap": lambda n, error: math.log(max(n - 1, 1) * (1 - error) / error)},
        ),
        source=PRICE,
        hypotheses=("head size n - 1, or n = 1 and scale 0", "queries along the keys"),
    ),
    _at_most(
        "spread-keys",
        "Keys of coherence μ select within ε at the scale max(0, log((n - 1)(1 - ε)/ε))/(1 - μ), "
        "0 for n = 1.",
        check_spread,
        Mutant("1.5 (1 - μ)", {"spread": lambda keys: 1.5 * (1 - coherence(keys))}, "factor"),
        Mutant("as if the keys were orthogonal twice over", {"spread": lambda keys: 2.0}),
        Mutant("1 + μ", {"spread": lambda keys: 1 + coherence(keys)}),
        source=Source("rankbound", "section 5, keys that are spread out", "derived here"),
        hypotheses=("unit keys, up to rounding", "μ an upper bound that holds for the floats"),
    ),
    _supported(
        "all-pairs",
        "Head size 4 scores both keys of every pair above all others, for each n tried.",
        check_all_pairs,
        Mutant(
            "the circle alone, head size 2",
            {"found": partial(_with_coordinates, keys=[0, 1], queries=[0, 1])},
        ),
        Mutant(
            "cosines and sines of 2t swapped",
            {"found": partial(_with_coordinates, keys=[0, 1, 2, 3], queries=[0, 1, 3, 2])},
        ),
        source=Source("weller2025", "section 4", "there training stops at n = 10 for d = 4"),
        hypotheses=("keys on the trigonometric moment curve",),
    ),
)
