"""What the public functions return, and what it rests on, for ``make_results.py``.

Each is called on matrices and contexts in the ways in which it takes them: with zeros, masks and
tokens, by rows, in several dtypes, exactly. What is refused counts by its kind and its words.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache, partial
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

import rankbound as rb
from rankbound._validate import Array
from rankbound.attention import layer, masks, pretrained, variants
from rankbound.certificates.checker import tables
from rankbound.context import read_context
from rankbound.exact import rounding
from rankbound.ranks import evidence, exact
from rankbound.theory import (
    approximation,
    argmax,
    decision,
    divergence,
    head_log_rank,
    planning,
    selection,
    set_selection,
    sign_rank,
    softmax_gauge,
    theorem_a,
    theorem_b,
)
from rankbound.tokens import read_tokens


@cache
def context(n: int, law: str = "gibbs", seed: int = 1, **parameters: float) -> Array:
    """P, fixed."""
    P = rb.random_context(n, seed=seed, law=law, **parameters)
    P.setflags(write=False)
    return P


def signs(n: int) -> npt.NDArray[np.int64]:
    """A pattern with changes in every column."""
    table = np.cos(np.outer(np.arange(1, n + 1), np.arange(1, n + 1)))
    return np.where(table > 0, 1, -1)


def causal(n: int) -> npt.NDArray[np.bool_]:
    """Query j sees keys 0, …, j."""
    return np.asarray(np.triu(np.ones((n, n), bool)))


def hidden(n: int) -> npt.NDArray[np.bool_]:
    """A mask that is not nested."""
    mask = np.ones((n, n), bool)
    mask[np.arange(n), (np.arange(n) * 3 + 1) % n] = False
    mask[0] = True
    return mask


NUMBERS = re.compile(r"\d[\d.]*(e[-+]?\d+)?")  # which rounding may change


def attempted(answer: Callable[[], Any]) -> Any:
    """What is returned, or what is raised: its kind, its words less the numbers, its bounds."""
    try:
        return answer()
    except rb.RankboundError as error:
        known = (getattr(error, name, None) for name in ("bounds", "least_head_size"))
        return type(error).__name__, NUMBERS.sub("#", str(error)), *known


def whole_logits(n: int, k: int, seed: int) -> Any:
    """Of keys and queries of this size, as lists of integers."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-4, 5, (n, k)) @ rng.integers(-4, 5, (k, n))).tolist()


def ways() -> dict[str, dict[str, Any]]:
    """A context in the ways in which functions take one."""
    P, few, seen = context(6), context(6, "logrank", rank=2), context(6, "causal")
    X = rb.random_tokens(4, 6, 0)
    rounded = few.astype(np.float32) / few.astype(np.float32).sum(axis=0, dtype=np.float64)
    on_tokens = rb.random_head(4, 2, 1).context(X)
    return {
        "plain": {"P": P},
        "of a small rank": {"P": few},
        "with zeros": {"P": context(6, "sparse", nonzeros=2)},
        "of a permutation": {"P": context(6, "permutation")},
        "of one size": {"P": np.full((4, 4), 0.25)},
        "rows": {"P": few.T, "rows": True},
        "in float32": {"P": few.astype(np.float32)},
        "from float32": {"P": few.astype(np.float32).astype(np.float64), "stored": np.float32},
        "in float16": {"P": few.astype(np.float16)},
        "logits": {"logits": np.log(few)},
        "large logits": {"logits": 40 * np.log(P)},
        "whole logits": {"logits": whole_logits(6, 2, 0)},
        "whole logits in rows": {"logits": whole_logits(6, 2, 1), "rows": True},
        "with a threshold": {"P": P, "rtol": 0.3},
        "causal": {"P": seen, "mask": "causal"},
        "causal, of a small rank": {"P": masked(few, causal(6)), "mask": "causal"},
        "under another mask": {"P": masked(few, hidden(6)), "mask": hidden(6)},
        "whole, causal": {"logits": whole_logits(6, 2, 2), "mask": causal(6)},
        "sliding, in rows": {
            "P": masked(few, rb.sliding_mask(6, 3)).T,
            "mask": "sliding:3",
            "rows": True,
        },
        "on tokens": {"P": on_tokens, "X": X},
        "on tokens that do not do": {"P": P, "X": X},
        "on wide tokens": {"P": P, "X": rb.random_tokens(7, 6, 2)},
        "on whole tokens": {
            "logits": whole_logits(4, 1, 3),
            "X": [[1, 2, 0, 1], [0, 1, 1, 3], [2, 0, 1, 1]],
        },
        "on tokens, causal": {
            "P": masked(on_tokens, causal(6)),
            "X": X,
            "mask": "causal",
        },
        "on tokens that do not do, causal": {"P": seen, "X": X[:2], "mask": "causal"},
        "in doubt": {"P": rounded},
        "a batch": {"P": np.stack([P, few])},
        "a batch in doubt": {"P": np.stack([P, rounded])},
    }


def masked(P: Array, mask: npt.NDArray[np.bool_]) -> Array:
    """The context renormalised on the mask."""
    return np.asarray(P * mask / (P * mask).sum(axis=0))


def orders(*small: Any) -> list[Array]:
    """Logarithms of errors and tolerances, of which a share is to show."""
    return [np.log(np.maximum(np.asarray(x, np.float64), rounding.ETA)) for x in small]


def reach(
    P: Any = None,
    X: Any = None,
    logits: Any = None,
    mask: Any = None,
    rtol: Any = None,
    stored: Any = None,
    rows: bool = False,
) -> Any:
    """What is known of a context, and of the heads that have it, with errors and tolerances."""
    context = read_context(P, logits=logits, mask=mask, rows=rows, stored=stored)
    logs = softmax_gauge.logs_of(context)
    less = logs.less_certain(3.0)
    known = orders(logs.error, less.error, logs.tolerance)
    flags = logs.declared, logs.underflowed, logs.unit, logs.stored.name
    if np.ndim(P) > 2:
        return known, flags
    tokens = None if X is None else read_tokens(X, context.n)
    found = attempted(partial(decision.decide, context, tokens, rtol))
    if not isinstance(found, theorem_a.Reach):
        return known, flags, found
    return known, flags, found.least, found.doubtful, orders(found.tolerance, found.allowed)


def roundings() -> Any:
    """Bounds on what rounding does, in units of it."""
    A, B = np.cos(np.arange(12.0)).reshape(3, 4), np.arange(20.0).reshape(4, 5) + 0.1
    heads = [rb.random_head(5, 3, seed) for seed in (0, 1)]
    X = rb.random_tokens(5, 6, 0)
    factors = heads[0].keys(X), heads[1].queries(X)
    given = head_log_rank._product_errors(heads[0], X)
    return [
        [(rounding.up(1.0, k) - 1) / rounding.U for k in (0, 1, 2, 9, 1000)],
        orders(rounding.up(0.0, 1), rounding.product_error(A, B)),
        orders(rounding.product_error_sums(A, B), rounding.product_error(A * 0, B)),
        orders(rounding.weyl_threshold(1e-9, (3, 4), 2.0), rounding.weyl_threshold(0, (3, 4), 2.0)),
        orders(*given, *head_log_rank._balanced_errors(*factors, 1e-12, None)),
        orders(*head_log_rank._balanced_errors(*factors, 1e-12, given)),
        orders(evidence.frobenius(np.abs(A) * 1e-200), evidence.frobenius(A * A)),
        orders(evidence.sliced_product(B.T, np.tril(B[:, :4]))[1]),
        orders(*(evidence.scale_columns(A * 2.0**-1050, e)[1] for e in (None, A * A * 1e-320))),
        orders(*(rb.spectrum(A, stored=t).tolerance for t in ("float64", "float32", "float16"))),
    ]


def every_way(function: Callable[..., Any], *, among: str = "", **given: Any) -> Any:
    """What a function says of each context that it takes in this way."""
    known = inspect.signature(function).parameters.keys()
    return {
        name: attempted(partial(function, **way, **given))
        for name, way in ways().items()
        if way.keys() <= known and among in name
    }


@cache
def matrices() -> dict[str, Any]:
    """Matrices on which different tests of rank decide."""
    rng = np.random.default_rng(5)
    A, hilbert = rng.standard_normal((6, 6)), 1 / (1.0 + np.add.outer(np.arange(9), np.arange(9)))
    return {
        "random": A,
        "identity": np.eye(5),
        "tall": rng.standard_normal((9, 4)),
        "wide": rng.standard_normal((4, 9)),
        "of rank 3": rng.standard_normal((6, 3)) @ rng.standard_normal((3, 6)),
        "whole, of rank 3": rng.integers(-3, 4, (6, 3)) @ rng.integers(-3, 4, (3, 7)) * 1.0,
        "Hilbert": hilbert,
        "scaled": np.ldexp(A, np.arange(6) * 70 - 200),
        "tiny": A * 1e-300,
        "huge": A * 1e150,
        "zero": np.zeros((3, 4)),
        "a zero column": A * (np.arange(6) != 2),
        "in float32": A.astype(np.float32),
        "two": np.stack([A, A * (np.arange(6) > 1)]),
        "nearly singular": np.vander(np.linspace(0.5, 1, 12)),
    }


def within(A: Any) -> list[Any]:
    """Errors of its entries: none, even ones of several sizes, and uneven ones."""
    sizes = np.abs(A) + 2.0**-30 * np.abs(A).max()
    even = [None, 1e-12, 1e-3, 0.3]
    return [*even, np.eye(*A.shape[-2:]) * 0.6 * np.abs(A).max(), sizes * 1e-9, sizes * 0.1]


def ranks(name: str) -> Any:
    """What is certified of a matrix, with and without errors, and by which test."""
    A = matrices()[name]
    if A.ndim > 2:
        return [rb.certified_rank(A, e) for e in (None, 1e-3)]
    tall = A.astype(np.float64) if A.shape[0] >= A.shape[1] else A.T
    errors = (e if e is None else np.broadcast_to(e, tall.shape) for e in within(tall))
    return [
        [proofs(rb.certified_rank(A, e)) for e in within(A)],
        *(
            (
                evidence.certain_columns(tall, e),
                evidence.frobenius(e),
                evidence.scale_columns(tall, e),
                evidence.has_left_inverse(tall, e),
                evidence._full_rank(tall, e),
            )
            for e in errors
            if tall.any()
        ),
    ]


def proofs(bounds: rb.RankBounds) -> Any:
    """The bounds and what certifies them."""
    return bounds, attempted(lambda: bounds.certify().certificates)


def work(certificate: Any) -> Any:
    """Whether it is accepted, and the products of digits that its check counts."""
    budget, spent = tables.Budget, list[int]()

    def spend(self: Any, products: int, on: str) -> None:
        spent.append(products)

    with patch.object(budget, "spend", spend):
        return rb.check(certificate).accepted, float(sum(spent))


def certificates() -> Iterator[Any]:
    """Of most kinds."""
    P, logs, X = context(6), whole_logits(6, 2, 2), rb.random_tokens(4, 6, 0)
    keys = [[1, 0, 2, 1], [0, 1, 1, 3]]
    for bounds in (
        rb.exact_rank(exact_numbers(Fraction)),
        rb.certified_rank(matrices()["random"]),
        rb.certified_rank(matrices()["nearly singular"]),
        rb.certified_rank(matrices()["tall"], 1e-3),
        rb.certified_log_rank(P, ratio=1e-9),
        rb.certified_log_rank(logits=logs),
        rb.certified_log_rank(logits=logs, mask="causal"),
        exact.exact_logit_rank(keys, keys, centre=True),
    ):
        yield from bounds.certify().certificates
    yield theorem_b.unreachability_certificate(P, X=X)
    yield theorem_b.unreachability_certificate(context(6, "causal"), X=X, mask="causal")
    yield divergence.sign_rank_certificate(signs(9))
    yield divergence.pattern_certificate(signs(16), 3.0, 1)
    yield divergence.scale_certificate(9, 4, 0.01)
    yield set_selection.selectable_certificate(5, 2)
    yield set_selection.unselectable_certificate([[0, 1, 2, 5]], 2)
    first, second = layers()[:2]
    yield rb.separating_tokens(first, second).certificate


def heads() -> dict[str, rb.AttentionHead]:
    """Heads with and without tokens, values, a mask, a cap, a scale of their own."""
    W = [rb.random_head(4, 2, seed) for seed in (0, 1)]
    keys, queries = W[0].W_k, W[0].W_q
    values = np.arange(12.0).reshape(3, 4)
    return {
        "plain": W[0],
        "with values": rb.AttentionHead(queries, keys, values),
        "scaled": rb.AttentionHead(queries, keys, scale=-0.7),
        "masked": rb.AttentionHead(queries, keys, mask=causal(4)),
        "capped": rb.AttentionHead(queries, keys, soft_cap=2.0),
        "in float32": rb.AttentionHead(queries.astype(np.float32), keys.astype(np.float32)),
        "from float16": rb.AttentionHead(queries, keys, stored=np.float16),
        "whole": rb.AttentionHead([[1, 2, 0, 1], [0, 1, 3, -1]], [[2, 0, 1, 1], [1, 1, -1, 0]]),
    }


def of_heads() -> Any:
    """What heads make of tokens, under masks and without, and their ranks."""
    X, square = rb.random_tokens(4, 5, 0), rb.random_tokens(4, 4, 3)
    tokens, seen = (None, square, X), (None, "causal", "sliding:2")
    asked = (None, "causal", "prefix:2", hidden(5))
    return {
        name: [
            head,
            *map(
                attempted,
                (
                    *(partial(head.logits, t) for t in tokens),
                    *(partial(head.context, t, mask=m) for t in tokens for m in seen),
                    *(partial(head.output, X, mask=m) for m in seen),
                    *(
                        partial(rb.log_rank, head=head, X=t, mask=m)
                        for t in (None, X, [X, X])
                        for m in asked
                    ),
                    *(
                        partial(rb.logit_spectrum, head, t, c)
                        for t in (None, X)
                        for c in (False, True)
                    ),
                    partial(selection.head_scale, head, X=X),
                    partial(variants.biased_head, head, [1.0, -1.0], [0.5, 2.0]),
                ),
            ),
        ]
        for name, head in heads().items()
    }


def layers() -> list[rb.MultiHead]:
    """Of equal and of different sizes, values and scales."""
    first = rb.random_multihead(6, 2, 0)
    second = rb.random_multihead(6, 3, 1)
    return [
        first,
        second,
        rb.random_multihead(6, 2, 2, head_size=5),
        rb.MultiHead(first.W_q, first.W_k, first.W_v, first.W_o, scale=2 * first.scale),
        rb.MultiHead(first.W_q, first.W_k, -first.W_v, first.W_o),
        rb.MultiHead(-first.W_q, first.W_k, first.W_v, first.W_o),
        rb.widen(first, 5),
        rb.widen(second, 4, value_size=3, default_scale=True),
    ]


def differing(f: rb.MultiHead, g: rb.MultiHead) -> Any:
    """Whether tokens tell two layers apart, and by which argument."""
    return [
        (one.case, one.failing, one.verdict.value, one.tokens is None)
        for n in (2, 3)
        for one in (rb.separating_tokens(f, g, n),)
    ]


def of_variants() -> Any:
    """What the variants of attention make of floats, of exact numbers and of a batch."""
    floats, whole = np.cos(np.arange(16.0)).reshape(4, 4), np.arange(16).reshape(4, 4) - 5
    thirds = [[Fraction(i + 3 * j, 3) for j in range(4)] for i in range(4)]
    cos: Any = [[Fraction(3, 5), 1, 0]]
    sin: Any = [[Fraction(4, 5), 0, 1]]
    pairings: Any = ("half", "interleaved")
    norms: Any = ("l2", "rms")
    tables: list[Any] = [floats, whole, thirds, np.stack([floats] * 2), np.stack([whole] * 2)]
    mix: Any = [[1, 2], [Fraction(1, 2), 0], [1, -1]]
    calls: list[Callable[[], Any]] = [
        *(partial(variants.append_ones, L) for L in tables),
        *(partial(variants.rope, L, None, 9.0, pairing) for L in tables for pairing in pairings),
        *(partial(variants.rope, L, [0, 2, 1, 5]) for L in tables),
        *(partial(variants.qk_norm, L, [1, 2, 3, 4], norm) for L in tables for norm in norms),
        *(partial(variants.qk_norm, [[3, 5], [4, 12]], gain) for gain in (1, 2.5)),
        *(partial(variants.qk_norm, [[3, 5]] * 4, 2, norm) for norm in norms),
        *(partial(variants.grouped_logits, L, [L, L], c) for L in tables for c in (None, 2, 0.5)),
        *(partial(variants.apply_temperature, L, T) for L in tables for T in (2, [1, 2, 3, 0.5])),
        *(partial(variants.soft_cap, L, 2.0) for L in tables),
        *(partial(variants.talking_heads, [L, L], mix) for L in tables),
        *(partial(variants.rotate, whole[:2, :3], cos, sin, pairing) for pairing in pairings),
        *(partial(variants.alibi_bias, 4, m) for m in (1, 0.25, Fraction(1, 3))),
        *(partial(variants.alibi_bias, 4, m, bidirectional=True) for m in (1, 0.25)),
        *(partial(variants.relative_bias, table) for table in (range(5), [0.5, 1.0, 2.0])),
    ]
    return [attempted(call) for call in calls]


def linear_programs() -> Any:
    """Which keys win, decided over the rationals from the start."""
    tables: list[Any] = [
        [[0, 1, 0, 1, 2], [0, 0, 1, 1, 1]],
        [[2, -1, 4, 1, 1], [0, 3, 1, 1, 2], [1, 1, -2, 0, 5]],
        [[Fraction(1, 3), 5, 2, Fraction(7, 2), 3]],
    ]
    biases = np.zeros(5), np.arange(5.0) ** 2 % 3
    spaces = [argmax._Keys(np.array(K, float), b, K, None) for K in tables for b in biases]
    return [argmax._decided(space, i, np.array([2])) for space in spaces for i in range(5)]


def exact_numbers(kind: type) -> Any:
    """A matrix of rank 2 of such numbers."""
    return [[kind(i * j + i + 1) for j in range(4)] for i in range(3)]


CALLS: dict[str, Callable[[], Any]] = {
    **{
        function.__name__: partial(every_way, function, **given)
        for function, given in (
            (rb.log_rank, {}),
            (rb.least_head_size, {}),
            (rb.certified_log_rank, {}),
            (rb.represent, {}),
            (rb.nearest_head, {"head_size": 2}),
            (rb.sparse_head, {"error": 0.05}),
            (rb.aitchison_error, {"head_size": 2}),
            (planning.spectral_kl_bounds, {"head_size": 2}),
            (rb.Context, {}),
        )
    },
    # but for "on tokens", which have a head: what rounding leaves of it chooses the proof
    **{
        f"unreachability, {name}": partial(
            every_way, theorem_b.unreachability_certificate, among=name
        )
        for name in ("whole", "wide", "do not do", "batch")
    },
    **{
        f"kl-lower-bound, {name}": partial(
            every_way, approximation.kl_lower_bound, among=name, head_size=1
        )
        for name in ("rows", "float32", "batch", "causal", "another mask", "permutation")
    },
    "reaches": lambda: every_way(reach),
    "certified-log-ranks": lambda: {
        name: proofs(found) if isinstance(found, rb.RankBounds) else found
        for name, found in every_way(rb.certified_log_rank).items()
    },
    "roundings": roundings,
    "certified-log-rank-within": partial(every_way, rb.certified_log_rank, ratio=1e-3),
    "unreachability-within": partial(every_way, theorem_b.unreachability_certificate, ratio=1e-6),
    "represent-size-3": partial(every_way, rb.represent, head_size=3, ratio=1e-4),
    **{f"certified, {name}": partial(ranks, name) for name in matrices()},
    "exact-ranks": lambda: [
        *(proofs(rb.exact_rank(exact_numbers(kind))) for kind in (int, Fraction, np.int64)),
        *(proofs(rb.exact_rank(A, floats="exact")) for A in matrices().values() if A.ndim == 2),
        *(
            proofs(exact.exact_logit_rank(whole_logits(4, 2, 0), whole_logits(4, 1, 1), **given))
            for given in ({}, {"centre": True})
        ),
    ],
    "spectra": lambda: [
        rb.spectrum(matrices()[name], **given)
        for name in ("random", "tall", "wide", "scaled", "huge", "in float32", "nearly singular")
        for given in ({}, {"rtol": 0.4}, {"stored": np.float32}, {"stored": np.float16})
    ],
    "sizes-of-spectra": lambda: [
        (rb.effective_rank(A), rb.stable_rank(A), rb.numerical_rank(A)) for A in matrices().values()
    ],
    "heads": of_heads,
    "layers": lambda: [
        [f.output(rb.random_tokens(6, 4, 0), mask=mask) for mask in (None, "causal")] + [f]
        for f in layers()
    ],
    "layers-that-differ": lambda: [
        attempted(partial(differing, f, g)) for f in layers()[:5] for g in layers()[:5]
    ],
    "designs": lambda: (
        [
            (one, one.parameters, one.flops_per_token(100), one.cache_bytes_per_token())
            for d, h, n in ((64, 8, 32), (64, 4, 512))
            for one in layer.designs(d, h, n)
        ]
        + [layer.cost_table(layer.designs(64, 8, 32), 32)]
    ),
    "masks": lambda: [
        (mask, masks.nested_chain(mask), rb.is_nested(mask), masks.essential(mask))
        for mask in (
            *(rb.prefix_mask(5, k) for k in (1, 3, 5)),
            *(rb.sliding_mask(5, k) for k in (1, 3, 5)),
            rb.causal_mask(4),
            rb.full_mask(3),
            hidden(6),
            causal(5)[:, ::-1],
        )
    ],
    "masks-by-name": lambda: [
        (masks.check_mask(name, (5, 5), rows=rows), masks.nested_chain(name, 5))
        for name in ("causal", "prefix:2", "sliding:2")
        for rows in (False, True)
    ],
    "pretrained": lambda: [(one, one.head) for one in pretrained.pretrained_heads()[5:7]],
    "argmaxable": lambda: [
        attempted(partial(argmax.argmaxable, keys, biases=b))
        for keys in (
            [[0, 1, 0, 1, 2], [0, 0, 1, 1, 1]],
            [[0.5, 1.0, 0.25, 1.0], [0.1, 0.0, 1.0, 0.0]],
            [[Fraction(1, 3), 1, 2, Fraction(1, 3)]],
            np.cos(np.add.outer(np.arange(3), np.arange(9) ** 2)),
            [[1.0, 1.0]],
        )
        for b in (None, [(i * i % 5) / 4 for i in range(len(keys[0]))])
    ],
    "linear-programs": linear_programs,
    "variants": of_variants,
    "selecting": lambda: [
        attempted(partial(selection.selecting_head, K, 0.1, directions=d, targets=t))
        for K in (selection.random_keys(5, 3, seed=1),)
        for d in (None, K + 0.1, -K)
        for t in (None, [0, 0, 3, 2, 1])
    ],
    "certificates-of-sets": lambda: [
        (
            set_selection.selectable_certificate(5, 2),
            attempted(lambda: set_selection.unselectable_certificate([[0, 1, 2, 5]], 2)),
            set_selection.set_selecting_query(5, 2, [1, 4]),
        )
    ],
    "certificates-of-signs": lambda: [
        (
            divergence.sign_rank_certificate(signs(n)),
            divergence.pattern_certificate(signs(16), 3.0, 1),
            sign_rank.sign_rank_bounds(signs(n)),
            proofs(sign_rank.selection_head_size(signs(n))),
            sign_rank.sign_change_bound(signs(n)).matrix(n),
        )
        for n in (5, 9)
    ],
    "certificates-of-scale": lambda: [
        attempted(partial(divergence.scale_certificate, n, d, e, bound))
        for n, d, e in ((9, 2, 0.1), (9, 4, 0.01), (3, 1, 0.1), (20, 30, 0.4))
        for bound in (None, 0.5)
    ],
    "work-of-checks": lambda: [work(one) for one in certificates()],
    "splits": lambda: [
        theorem_a.logit_error(head, head.logits(X), X)
        for head in heads().values()
        for X in (rb.random_tokens(4, 4, 3),)
    ],
}
