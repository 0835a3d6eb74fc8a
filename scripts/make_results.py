"""Write ``tests/results.json``: what the searches, bounds and decompositions of the rooms return.

A search promises nothing but what is checked of its answer, and a bound nothing but that it holds;
so a change that makes either weaker breaks no law. Here each has its number on fixed input. What is
whole, rational or text is held by its digest; floats by how many there are, the sum of their sizes
and a weighted sum, on a logarithmic scale. They are held to six digits, where BLAS libraries agree
to nine, and to two where an ascent takes many steps, which they end a hundredth apart.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import results_of_calls  # beside this file
from results_of_calls import causal, context, hidden, signs

import rankbound as rb
from rankbound._validate import Array
from rankbound.attention import adversarial_layers
from rankbound.certificates.matrices import Dyadic, Matrix
from rankbound.certificates.statements import Rank
from rankbound.context import read_context
from rankbound.measuring.head import layer_heads
from rankbound.ranks import evidence
from rankbound.theory import (
    any_tokens,
    approximation,
    bases,
    minorants,
    planning,
    selection,
    set_selection,
    sign_rank,
    softmax_gauge,
    sparse,
    theorem_2,
    theorem_c,
)

RECORD = Path(__file__).parent.parent / "tests" / "results.json"
DIGITS, OF_ASCENTS = 6, 2


def size_of(number: Any) -> float:
    """The number as a float, infinite where it is beyond."""
    return float(number) if abs(number) < 2**1023 else math.inf


def leaves(value: Any) -> Iterator[Any]:
    """The numbers and texts of which a result is made, in order."""
    if isinstance(value, np.ndarray):
        yield value.shape
        yield value.dtype.name
        yield from value.ravel().tolist()
    elif isinstance(value, np.generic):
        yield value.item()
    elif isinstance(value, rb.AttentionHead):  # its factors have signs that a BLAS chooses
        yield value.head_size
        yield from leaves([value.d, value.scale, value.soft_cap, value.mask, value.logits()])
    elif isinstance(value, Matrix):
        yield from leaves([value.type, value.rows, value.columns, *map(size_of, value.entries)])
    elif isinstance(value, Dyadic):
        yield from leaves([value.rows, value.columns, value.exponent])
        yield from (size_of(x * Fraction(2) ** value.exponent) for x in value.entries)
    elif is_dataclass(value):
        for field in fields(value):
            yield from leaves(getattr(value, field.name))
    elif isinstance(value, Mapping):
        yield from leaves(list(value.items()))
    elif isinstance(value, list | tuple | Iterator):
        for one in value:
            yield from leaves(one)
    else:
        yield value


def parts(value: Any) -> Iterator[float | str]:
    """Floats, and everything else as text."""
    for leaf in leaves(value):
        if isinstance(leaf, complex):
            yield from (leaf.real, leaf.imag)
        elif isinstance(leaf, float) and math.isfinite(leaf):
            yield leaf
        elif leaf is None or isinstance(leaf, int | float | Fraction | str | tuple):
            yield str(leaf)


def summary(value: Any) -> list[Any]:
    """The digest of what is exact; of floats how many, the sum of sizes and a weighted sum."""
    found = list(parts(value))
    # on this scale a large number does not hide a small one
    floats = [math.copysign(math.log1p(abs(x)), x) for x in found if isinstance(x, float)]
    exact = "\n".join(x for x in found if isinstance(x, str))
    weighted = math.fsum(x * math.cos(1 + i) for i, x in enumerate(floats))
    digest = hashlib.sha256(exact.encode()).hexdigest()[:12]
    return [digest, len(floats), math.fsum(map(abs, floats)), weighted]


def soft(n: int) -> tuple[Array, Array]:
    """Logarithms of a context that is not far from uniform, and lower bounds of its entries."""
    P = context(n, scale=0.7)
    return np.log(P), approximation.normalised_low(P)


def weights(n: int) -> tuple[Array, Array]:
    """Of keys and of queries, about 1/4."""
    t = np.arange(n)
    return 0.25 + 0.05 * np.cos(t), 0.25 + 0.05 * np.sin(2 * t)


def tilt(n: int) -> Array:
    """Of a size that tilts have."""
    return np.asarray(0.2 * np.cos(np.add.outer(np.arange(n), 3.0 * np.arange(n))))


def ascent(n: int, k: int, dear: int) -> Any:
    """Where the ascent in a, b and H ends."""
    ell, p = soft(n)
    a, b = weights(n)
    start = minorants.Point(0.05, dear, np.log(a), np.log(b), np.zeros((n, n)))
    return minorants._ascended(ell, p, k, start, minorants.SHORT)


def best_raised(n: int, k: int) -> Any:
    """The best bound by tilts from a start without one."""
    ell, p = soft(n)
    return minorants.raised(ell, p, k, approximation._weighted(ell, p, k))


def judged(n: int, k: int, budget: float) -> Any:
    """The bound over the number of dear columns, with prices and without."""
    ell, p = soft(n)
    a, b = weights(n)
    H = tilt(n)
    price, at, T = minorants.prices(p, a / 4, b / 4, H, budget)
    found = minorants.explained(ell, a, b, k, H)
    without = minorants.explained(ell, a, b, k)
    return [
        (price, at, T, minorants.touching(p, np.outer(a, b) ** 2, H, np.zeros_like(p))),
        found,
        without,
        minorants.judged(found.tails, found.columns, budget, k, price / 50),
        minorants.judged(without.tails, without.columns, budget, k),
        minorants.left_over(without.tails, without.columns - budget, budget, k, n),
    ]


def slope(n: int, k: int, dear: int) -> Any:
    """The bound at a point and its gradient."""
    ell, p = soft(n)
    a, b = weights(n)
    point = minorants.Point(0.01, dear, np.log(a), np.log(b), tilt(n))
    T = minorants.phi_threshold(point.budget / p)[0]
    return minorants._slope(ell, p, k, point, T, np.zeros_like(p))


def minorant(n: int) -> Any:
    """Of rank one, of weights that spread by a factor of 50, from a start and from none."""
    W = np.exp(2 * np.cos(np.add.outer(np.arange(n) ** 2, 2.0 * np.arange(n))))
    mass = 1 + np.outer(np.arange(n), np.ones(n))
    start = np.cos(np.arange(n))
    return [
        minorants.rank_one_minorant(W, mass),
        minorants.rank_one_minorant(W, np.ones_like(W), start),
    ]


def supports(n: int, step: int) -> Any:
    """Of n queries with two or three keys each."""
    P = np.zeros((n, n))
    for j in range(n):
        P[[j, (j + step) % n], j] = 0.5
        if j % 3 == 0:
            P[[j, (j + step) % n, (2 * j + 5) % n], j] = 1 / 3
    return sparse._supports(P)


def orders(n: int, step: int) -> Any:
    """The places of keys that the search yields, and what they cost."""
    found = supports(n, step)
    return [
        (place, [sparse._costs(place, keys) for _, keys in found])
        for place in sparse.key_orders(n, found)
    ]


def sparse_logits(n: int, error: float, nonzeros: int) -> Any:
    """Of the head with few keys per query, and the bound that it keeps."""
    P = context(n, "sparse", nonzeros=nonzeros)
    head = rb.sparse_head(P, error=error)
    return head.head_size, head.context(), sparse.total_variation_bound(head, P)


def selecting(n: int, d: int, error: float) -> Any:
    """Scale, margin and total variation of a head that selects."""
    found = selection.selecting_head(selection.random_keys(n, d, seed=0), error)
    return found.scale, found.margin, found.total_variation, found.targets


def cut_costs(basis: str, size: int) -> Any:
    """What two heads lose in a basis, by second order, and the projections of their moments."""
    model, X = rb.random_multihead(8, 2, 0), rb.random_tokens(8, 12, 0)
    two = [model.head(h) for h in range(2)]
    heads = layer_heads([head.queries(X) for head in two], [head.keys(X) for head in two])
    m = bases.moments(heads, [head.context() for head in heads])
    return [
        bases.second_order_kl(m, bases.projections(m, basis, size, group).cut) for group in (1, 2)
    ]


def fixed_layers(d: int, heads: int, size: int, fewer: int) -> Any:
    """A layer of fixed head size, and what is set against it."""
    g = adversarial_layers.random_fixed_layer(d, heads, size, 3)
    return [
        (one.W_q, one.W_k, one.scale, [a @ b for a, b in products(one)])
        for one in (g, adversarial_layers.same_values(g, fewer, 4))
    ]


def products(layer: Any) -> Any:
    """W_o and W_v, head by head."""
    return zip(np.split(layer.W_o, layer.heads, axis=1), layer.W_v, strict=True)


def separated(d: int, h: int, head_size: int, heads: int) -> Any:
    """How far tokens tell two layers apart, and how many certificates say so."""
    g = adversarial_layers.random_fixed_layer(d, heads, head_size, 3)
    found = theorem_2.separating_tokens(rb.random_multihead(d, h, 4), g, 3)
    return found.gap, found.tokens


def system(n: int, d: int, mask: npt.NDArray[np.bool_]) -> Any:
    """The equations of weights under a mask, their solution, and what a search finds."""
    X = rb.random_tokens(d, n, 3)
    P = rb.random_head(d, 2, 5).context(X, mask)
    least = _bounds(lambda: rb.least_head_size(P, X=X, mask=mask))
    return rb.reachable_dimension(X, mask=mask), least


def _bounds(answer: Callable[[], Any]) -> Any:
    try:
        return answer()
    except rb.errors.Undecided as undecided:
        return undecided.bounds.lower, undecided.bounds.upper, undecided.bounds.method


def under_mask(n: int, mask: npt.NDArray[np.bool_]) -> Any:
    """The completion and the bounds of the least head size."""
    P = context(n, "gibbs", seed=4) * mask
    logs = softmax_gauge.logs_of(read_context(P / P.sum(axis=0), mask=mask))
    reach, bounds = theorem_c.bounds_under_mask(logs)
    return reach.least, reach.scaled, bounds.lower, bounds.upper, bounds.method


def kl(n: int, k: int, **given: Any) -> float:
    """The bound of a context by softmax of Gaussian logits."""
    scale = given.pop("scale", 0.5)
    return float(rb.kl_lower_bound(context(n, scale=scale), k, **given))


def completion() -> Any:
    """Row by row, where a row rests on cancellation and others, before and after it, do not."""
    D = np.array([[0, 0, 0, 0], [1, 2, 1, 1], [1, 2 + 1e-5, 0, 3], [0, 1, 5, 1], [2, 4, 2, 2.0]])
    visible = np.ones((5, 4), bool)
    visible[3, 2:] = visible[4, 3] = False
    return [
        theorem_c._extend(np.where(seen, D, 0.0), np.full(D.shape, error), seen)
        for seen in (visible, np.ones_like(visible))
        for error in (1e-16, 1e-7)
    ]


def hard_prices() -> Any:
    """Of entries and weights as small and as large as floats are."""
    p = np.array([[1e-150, 0.5, 1e-12], [0.25, 1e-100, 1.0]])
    a, b = np.array([1e-160, 0.3]), np.array([1e-200, 1.0, 1e150])
    H = np.array([[0.0, 700.0, -700.0], [1e-9, -1e9, 3.0]])
    return [minorants.prices(p, a, b, H, budget) for budget in (1e-6, 1e-3, 1.0)]


grid = np.geomspace(1e-9, 30, 40)

RESULTS: dict[str, Callable[[], Any]] = {
    "phi": lambda: [minorants.phi_low(s * grid) for s in (1, -0.3)],
    "phi-threshold": lambda: minorants.phi_threshold(grid),
    "psi": lambda: approximation._psi_low(grid),
    "minorant-of-rank-one": lambda: [minorant(n) for n in (3, 8)],
    "judged-small": partial(judged, 6, 2, 0.01),
    "judged-large": partial(judged, 12, 3, 0.001),
    "slope": lambda: [slope(8, k, dear) for k, dear in ((1, 0), (2, 2), (3, 1))],
    "ascent-no-dear": lambda: (lambda at: (at.value, at.budget))(ascent(8, 2, 0)),
    "ascent-dear": lambda: (lambda at: (at.value, at.budget))(ascent(10, 3, 2)),
    "with-dear": lambda: [
        minorants.Point(0.05, dear, *np.zeros((3, 1))).with_dear(other)
        for dear, other in ((0, 3), (3, 0), (2, 7))
    ],
    "raised": lambda: (lambda one: (one.value, one.budget))(best_raised(10, 3)),
    "budgets": lambda: [approximation._budgets(*soft(n), 2) for n in (5, 9)],
    "direct": lambda: approximation._direct(*soft(6)[:1], 2, *weights(6)),
    "with-budget": lambda: [
        approximation._with_budget(*soft(8), k, budget) for k in (1, 3) for budget in (0.01, 0.1)
    ],
    "weighted": lambda: approximation._weighted(*soft(7), 2),
    "by-signs": lambda: [
        approximation._by_signs(context(n, scale=0.7), soft(n)[1], 1) for n in (8, 16)
    ],
    "by-signs-uneven": lambda: [
        approximation._by_signs(P, P, k)
        for P in (rb.column_softmax(3.0 * signs(16) + tilt(16)),)
        for k in (1, 2, 3)
    ],
    "by-signs-hadamard": lambda: approximation._by_signs(
        context(16, "hadamard", epsilon=2.0), context(16, "hadamard", epsilon=2.0), 1
    ),
    "kl-gibbs": lambda: [kl(n, k) for n, k in ((6, 1), (12, 3), (12, 5))],
    "kl-sharp": lambda: [kl(10, k, scale=4.0) for k in (1, 3)],
    "kl-large": lambda: kl(100, 4),
    "kl-causal": lambda: float(rb.kl_lower_bound(context(12, "causal"), 2, mask="causal")),
    "kl-without-tilt": lambda: [
        approximation.best_argument(context(14, scale=0.5), None, k, tilted=False).value
        for k in (1, 4)
    ],
    "visible-blocks": lambda: list(approximation._visible_blocks(hidden(9), 2)),
    "blocks": lambda: [approximation._grid(7, split) for split in approximation.SPLITS],
    "excluded-sizes": lambda: (
        [
            approximation.excluded_sizes(context(16, scale=s), None, kl)
            for s in (0.3, 1.0)
            for kl in (1e-4, 1e-3, 1e-2)
        ]
        + [
            approximation.excluded_sizes(context(16, "causal"), causal(16), kl)
            for kl in (1e-5, 1e-3)
        ]
    ),
    "entrywise": lambda: [approximation.entrywise_lower_bound(context(9), k) for k in (1, 4)],
    "aitchison": lambda: [rb.aitchison_error(context(9), k) for k in (1, 4)],
    "planned": lambda: [planning.truncated_kl(context(9), np.log(context(9)))],
    "spectral-kl": lambda: [planning.spectral_kl_bounds(context(9), k) for k in (1, 4)],
    "size-for-kl": lambda: [rb.head_size_for_kl(context(12), kl) for kl in (0.3, 0.05, 0.001)],
    "curve-product": lambda: sparse.curve_product(np.array([[0.1, 2.0, 4.0], [1.0, 1.5, 3.0]]), 4),
    "least-products": lambda: [
        sparse.least_log_products(np.arange(n) * a % n, np.array([[0, 3, 4, 9], [2, 5, 7, 8]]))
        for n, a in ((11, 1), (11, 3), (400, 7), (1, 0))[:3]
    ],
    "orders-of-keys": lambda: [orders(n, step) for n, step in ((7, 2), (13, 5), (24, 7))],
    "repelled": lambda: sparse._repelled(12, supports(12, 5)),
    "sparse-head": lambda: [sparse_logits(n, e, 2) for n, e in ((9, 0.1), (14, 0.01))],
    "sparse-head-filled": partial(sparse_logits, 6, 0.1, 3),
    "scale-bounds": lambda: [
        selection.scale_bounds(n, d, e)
        for n in (1, 2, 3, 40, 1000)
        for d in (1, 2, 3, 8, 5000)
        for e in (1e-6, 0.1, 0.7)
    ],
    "sufficient-gap": lambda: [
        selection.sufficient_gap(n, e, share)
        for n in (1, 2, 9)
        for e in (0.01, 0.6)
        for share in (1.0, 0.5)
    ],
    "selecting-head": lambda: [selecting(*case) for case in ((12, 8, 0.1), (30, 16, 1e-3))],
    "worst-margin": lambda: selection.worst_margin(
        selection.random_keys(9, 4, seed=1), selection.random_keys(9, 4, seed=2)
    ),
    "coherence": lambda: selection.coherence(selection.random_keys(9, 4, seed=1)),
    "pairs": lambda: [
        (lambda one: (one.count, one.share, one.realised, one.margin))(selection.curve_pairs(n))
        for n in (2, 5, 9)
    ],
    "sets": lambda: [
        (set_selection.set_selection_size(n, q), set_selection.set_selecting_keys(n, q))
        for n, q in ((4, 1), (6, 2), (7, 3))
    ],
    "set-margins": lambda: [
        set_selection.set_margin_scale(n, q, g)
        for n, q, g in ((4, 1, 1.0), (9, 3, 0.1), (9, 8, 2.0))
    ],
    "radon": lambda: [set_selection.radon_partition(K) for K in ([[0, 1, 2, 5]], [[1, 4, 2, 9]])],
    "sign-rank": lambda: [
        (sign_rank.sign_rank_bound(signs(n)), sign_rank._norm_bounds(signs(n))) for n in (5, 12, 20)
    ],
    "rectangles": lambda: [
        sign_rank.largest_rectangle(signs(n), k) for n in (8, 20) for k in (1, 2)
    ],
    "cut": lambda: [
        sign_rank.cut_best(np.abs(tilt(n)), area) for n, area in ((6, 9), (6, 30), (12, 50))
    ],
    "sign-changes": lambda: [sign_rank.sign_change_bound(signs(n)) for n in (4, 9)],
    "selection-sizes": lambda: [
        (lambda b: (b.lower, b.upper, b.method))(sign_rank.selection_head_size(signs(n)))
        for n in (4, 9)
    ],
    "pattern-kl": lambda: [
        sign_rank.sign_pattern_kl_bound(signs(16), e, k) for e in (0.1, 3.0) for k in (1, 2)
    ],
    "wrong-entries": lambda: [
        (sign_rank.wrong_entry_cost(n, m, e), sign_rank.column_bound(n, m, e))
        for n, m in ((4, 1), (9, 5))
        for e in (0.01, 2.0)
    ],
    "equations-causal": lambda: [system(n, d, causal(n)) for n, d in ((4, 2), (6, 3))],
    "equations-hidden": lambda: [system(n, d, hidden(n)) for n, d in ((4, 2), (6, 3))],
    "completion": completion,
    "hard-prices": hard_prices,
    "causal-dimension": lambda: [
        any_tokens.causal_dimension(n, d, holds_ones=ones)
        for n in (1, 3, 7)
        for d in (1, 2, 7)
        for ones in (False, True)
        if d <= n
    ],
    "under-causal-mask": lambda: under_mask(7, causal(7)),
    "under-another-mask": lambda: under_mask(7, hidden(7)),
    "bases": lambda: [cut_costs(name, k) for name in bases.BASES for k in (1, 2, 3)],
    "ensembles": lambda: [
        context(6, law, 3, **given)
        for law, given in (
            ("dirichlet", {}),
            ("dirichlet", {"alpha": 0.3}),
            ("gibbs", {}),
            ("permutation", {"epsilon": 0.1}),
            ("causal", {}),
            ("logrank", {"rank": 2}),
        )
    ],
    "tokens": lambda: [rb.random_tokens(4, 6, 0), rb.random_tokens(5, 6, 0, rank=3)],
    "fixed-layers": lambda: [fixed_layers(*case) for case in ((4, 2, 3, 1), (6, 3, 3, 2))],
    "separated": lambda: [separated(*case) for case in ((4, 2, 4, 2), (6, 3, 3, 3))],
    "singular-values-above": lambda: [
        (evidence.singular_values_above(tilt(7) + np.eye(7), radius), evidence._shift(7.0, m, n))
        for radius in (0.1, 0.5, 0.9, 2.0)
        for m, n in ((7, 7), (9, 2))
    ],
    "enclosures": lambda: [
        evidence.enclosure(Rank(Matrix.of_floats(A.tolist()), k, 3), A, error, k)
        for A in (np.array([[2.0, 1.0, 0.0], [1.0, 4.0, 8.0], [0.0, 8.0, 2.0], [1.0, 1.0, 1.0]]),)
        for k in (0, 2, 3)
        for error in (None, np.full(A.shape, 2.0**-20))
    ],
    **results_of_calls.CALLS,
}


def digits(name: str) -> int:
    """How many digits of a result are held."""
    return OF_ASCENTS if name.startswith(("ascent", "raised", "kl-")) else DIGITS


def recorded(name: str) -> list[Any]:
    """The summary, to the digits that are held."""
    return [
        float(f"{value:.{digits(name)}g}") if isinstance(value, float) else value
        for value in summary(RESULTS[name]())
    ]


if __name__ == "__main__":
    lines = (f'"{name}": {json.dumps(recorded(name))}' for name in sorted(RESULTS))
    RECORD.write_text("{\n " + ",\n ".join(lines) + "\n}\n", encoding="ascii")
