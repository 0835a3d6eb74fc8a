"""Bhojanapalli, Yun, Rawat, Reddi & Kumar 2020 (B20): Theorems 1 and 2, and the bottleneck.

Theorem 1 says that for d >= n a head of size d on X has any positive P as its context (first half),
and that for d < n some X and P fail (second half). Section 2.3 says what a smaller head size does,
on random, trained and pretrained heads. Theorem 2 says that a fixed head size is more expressive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from operator import floordiv
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.attention.adversarial_layers import (
    nearest_products,
    random_fixed_layer,
    same_values,
    skew_pair,
)
from rankbound.attention.ensembles import random_multihead
from rankbound.attention.head import AttentionHead
from rankbound.attention.layer import LayerCost, MultiHead
from rankbound.attention.pretrained import pretrained_heads
from rankbound.attention.softmax import log_column_softmax
from rankbound.exact.flint import left_inverse, rational_product
from rankbound.exact.rational import as_rationals, centred, transposed
from rankbound.exact.rounding import FLOAT64_EPS, U
from rankbound.fitting.layer import fit_layer
from rankbound.fitting.objective import kl_divergence
from rankbound.fitting.solve import fit_head
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.certified import certified_rank
from rankbound.ranks.exact import exact_logit_rank, exact_rank
from rankbound.ranks.spectrum import numerical_rank
from rankbound.registry.claim import (
    Cases,
    Claim,
    Formula,
    Instance,
    Instances,
    Mutant,
    Source,
    Trial,
    compare_ranks,
    make_claim,
)
from rankbound.registry.populations import (
    POSITIVE,
    Contexts,
    construction_error,
    exact_logits,
    identity_logits,
    one_coordinate_less,
    pretrained_contexts,
    query_centred,
    random_contexts,
    represented,
    rescaled,
    spread_tokens,
    trained_contexts,
    trained_heads,
)
from rankbound.theory.certified import certified_log_rank, certify_head
from rankbound.theory.decision import log_rank, represent
from rankbound.theory.theorem_2 import Separation, separating_tokens, widen
from rankbound.theory.theorem_a import exact_factors
from rankbound.verdict import Verdict

Integers = list[list[int]]

CENTRES_OVER_QUERIES = "centres over queries instead of keys"
HEAD_SIZE_OFF_BY_ONE = "head size off by one"
MEASURES_P = "measures the rank of P"
# a rank at its bound: 1 is the least by which it can be off
OFF_BY_ONE = Mutant(HEAD_SIZE_OFF_BY_ONE, {"predicted": lambda head_size: head_size - 1}, "factor")
ONLY_A_SAMPLE = "training only draws the contexts, and any others would do"
POSITIONAL = "adds |i - j| to the logits"

NECESSITY = "Theorem A, necessity"

_first_half = partial(
    make_claim,
    source=Source("bhojanapalli2020", "Theorem 1, first half", "in our words and notation"),
    hypotheses=("X is d × n of full column rank, so d >= n", POSITIVE, "d_q = d_k = d >= n"),
)
_second_half = partial(
    make_claim,
    source=Source(
        "bhojanapalli2020",
        "Theorem 1, second half",
        "printed for d_q = d_k = d < n; its proof is the example d = 1, n = 2",
    ),
    relation="exists",
    status=Verdict.PROVED,
)
_bottleneck = partial(
    make_claim,
    source=Source(
        "bhojanapalli2020",
        "section 2.3",
        "there: head size d/h below n limits the head; in our words",
    ),
)


# Theorem 1, first half: d >= n suffices


def check_first_exact(
    trial: Trial, *, factors: Formula = exact_factors, inverse: Formula = left_inverse
) -> Instances:
    """Build W_k, W_q over the rationals for P ∝ exp(M) and multiply out."""
    for n in range(2, trial.count(8, 14)):
        M, d = trial.integers(n, n), n + int(trial.rng.integers(0, 3))
        X = trial.integers(d, n, bound=9)
        while int(exact_rank(X)) < n:  # the hypothesis, met exactly
            X = trial.integers(d, n, bound=9)
        tokens = as_rationals(X)
        pseudo = inverse(tokens)
        W_k, W_q = (rational_product(factor, pseudo) for factor in factors(M))
        L = exact_logits(rational_product(W_k, tokens), rational_product(W_q, tokens))
        target = centred(as_rationals(M))
        miss = max(
            abs(x - y) for rows in zip(L, target, strict=True) for x, y in zip(*rows, strict=True)
        )
        label, proofs = f"n = {n}, d = {d}", (represented(M, W_k, W_q, X),)
        yield Instance(label, float(miss), 0.0, Verdict.CERTIFIED, certificates=proofs)


def _first(suffix: str, contexts: Contexts, of: str, **without: str) -> Claim:
    def check(trial: Trial, *, construct: Formula = represent) -> Instances:
        for label, P in contexts(trial):
            X = spread_tokens(len(P), trial)
            head = construct(P, X=X, head_size=len(X))
            missed = np.max(np.abs(np.log(P) - np.log(head.context(X))))
            tolerance = construction_error(np.log(P), X)
            certificate = certify_head(head, P, X, tolerance)
            evidence = Verdict.SUPPORTED if certificate is None else Verdict.CERTIFIED
            proofs = () if certificate is None else (certificate,)
            yield Instance(label, float(missed), 0.0, evidence, tolerance, proofs)

    return _first_half(
        f"b20-theorem1-first-{suffix}",
        "For d >= n a head of size d on X has any positive P as its context, within the ratio "
        f"stated as tolerance: {of}.",
        check,
        Mutant("missing 1/sqrt(head size)", {"construct": _unscaled}),
        Mutant(
            "logits half as large again",
            {"construct": lambda P, **sizes: rescaled(represent(P, **sizes))},
            "factor",
        ),
        Mutant(CENTRES_OVER_QUERIES, {"construct": _query_centred}),
        Mutant(
            "keeps P for its transpose",
            {"construct": lambda P, **sizes: represent(P.T / P.T.sum(0), **sizes)},
        ),
        without=without,
    )


def _query_centred(P: Array, **sizes: Any) -> AttentionHead:
    return represent(logits=query_centred(P), **sizes)


def _unscaled(P: Array, **sizes: Any) -> AttentionHead:
    head = represent(P, **sizes)
    return AttentionHead(W_q=head.W_q, W_k=head.W_k, scale=1.0)


def _transposed_factors(M: Integers) -> Any:
    A, B = exact_factors(transposed(as_rationals(M)))
    return B, A


# Theorem 1, second half: for d < n some X and P fail


def check_second_example(trial: Trial, *, logits: Formula = lambda s, X: X.T * s * X) -> Instances:
    """B20's X = [1, 0] and P, for all weights of any head size at once.

    The weights enter through the number ``s = W_k^T W_q / sqrt(k)`` alone, since d = 1.
    """
    import sympy

    s = sympy.Symbol("s", real=True)
    column = logits(s, sympy.Matrix([[1, 0]]))[:, 1].applyfunc(sympy.exp)
    P_12 = sympy.Rational(3, 4)  # of P = [[1/2, 3/4], [1/2, 1/4]]
    gap = sympy.simplify(column[0] / (column[0] + column[1]) - P_12)
    reached = bool(gap.free_symbols) or gap == 0
    yield Instance("X = [1, 0], query 2, all weights", not reached, True, Verdict.PROVED)


def check_second_family(
    trial: Trial, *, token: Formula = lambda x: 0 * x, query: Formula = lambda W_q, x, bias: W_q * x
) -> Instances:
    """For every n >= 2, d < n and head size k: a zero token makes its column uniform."""
    import sympy

    d, k, m = (sympy.Symbol(name, integer=True, positive=True) for name in "dkm")
    n = m + 1  # n >= 2
    shapes = {"X": (d, n), "x": (d, 1), "W_k": (k, d), "W_q": (k, d), "b": (k, 1)}
    X, x, W_k, W_q, b = (sympy.MatrixSymbol(name, *shape) for name, shape in shapes.items())
    column = (X.T * W_k.T * query(W_q, token(x), b)).doit()
    zero = column == sympy.ZeroMatrix(n, 1)
    yield Instance("logits of a zero token, all d, n, k, W", zero, True, Verdict.PROVED)
    # P's column (2, 1, ..., 1)/(n + 1) is not uniform
    excess = bool(sympy.factor(2 / (n + 1) - 1 / n).is_positive)
    yield Instance("a column that is not uniform, all n >= 2", excess, True, Verdict.PROVED)


def _second(suffix: str, contexts: Contexts, most: int, of: str) -> Claim:
    def check(
        trial: Trial,
        *,
        tokens: Formula = lambda n: np.eye(n - 1, n),  # the last is zero
        floor: Formula = lambda last, n: kl_divergence(last, np.full((n, 1), -np.log(n))) / n,
    ) -> Instances:
        for count, (label, P) in enumerate(contexts(trial)):
            if count == trial.count(most, 10**6):
                return
            n = len(P)
            X = tokens(n)
            # started at the optimum in Aitchison distance, a few steps say what can be reached
            fit = fit_head(P, n, X=X, random_starts=0, max_iterations=30)
            bound = floor(P[:, -1:], n)
            rounding = 8 * n * FLOAT64_EPS * float(np.max(np.abs(np.log(P))))  # of both sums
            reached = kl_divergence(P, log_column_softmax(fit.head.logits(X)))
            yield Instance(label, reached, bound, Verdict.SUPPORTED, rounding)

    return _second_half(
        f"b20-theorem1-second-{suffix}",
        "For d < n and X with a zero token every head stays at KL >= KL(P_j ‖ uniform)/n, j "
        f"that token: {of}.",
        check,
        Mutant("no token is zero", {"tokens": np.eye}),
        # the fitted heads attain the bound
        Mutant(
            "half as much again",
            {"floor": lambda last, n: 1.5 * kl_divergence(last, np.full((n, 1), -np.log(n))) / n},
            "factor",
        ),
        hypotheses=("X = [I 0] with d = n - 1", POSITIVE, "the fitted head may have any size"),
        relation=">=",
        status=Verdict.SUPPORTED,
        without={"idle": "it holds for every head, fitted or not; that it is attained shows a fit"},
    )


# Section 2.3: what a head size allows


def _factors(W_k: Integers, W_q: Integers, X: Integers) -> tuple[Any, Any]:
    """Integer keys and queries; the temperature is a factor and changes no rank."""
    return np.array(W_k) @ np.array(X), np.array(W_q) @ np.array(X)


def _with_distance(W_k: Integers, W_q: Integers, X: Integers) -> Any:
    keys, queries = _factors(W_k, W_q, X)
    places = np.arange(queries.shape[1])
    return keys.T @ queries + np.abs(places[:, None] - places)


def _integer_heads(trial: Trial) -> Cases:
    for n in (3, 6, 10):
        for d in (n - 1, n, n + 2):  # below, at and above n
            for k in sorted({1, 2, n // 2, n - 2, n - 1, n} - {0}):
                for repeat in range(trial.count(1, 5)):
                    X = trial.integers(d, n, bound=99)
                    if repeat % 2:  # a repeated and a zero token
                        for row in X:
                            row[-1], row[1] = 0, row[0]
                    W_k, W_q = (trial.integers(k, d, bound=99) for _ in range(2))
                    yield f"n = {n}, d = {d}, head size {k}, draw {repeat}", (W_k, W_q, X), (k,)


def _rank_of_head(W_k: Integers, W_q: Integers, X: Integers, *, centre: bool) -> RankBounds:
    return exact_logit_rank(*_factors(W_k, W_q, X), centre=centre)


def check_bottleneck(
    trial: Trial, *, sizes: Formula = lambda n: range(1, n - 1), witness: Formula = identity_logits
) -> Instances:
    """P ∝ 2^I has an exact log-rank above every head size k < n - 1."""
    for n in range(3, trial.count(12, 40)):
        bounds = certified_log_rank(logits=witness(n)).certify()
        needed = Instance.of_bounds("", bounds, n - 1)
        for k in sizes(n):
            above = needed.measured > k
            yield replace(needed, label=f"n = {n}, head size {k}", measured=above, predicted=True)


def check_trained(
    trial: Trial, *, rank: Formula = log_rank, predicted: Formula = lambda head_size: head_size
) -> Instances:
    """Log-rank of the contexts of trained heads, measured from the contexts alone."""
    for label, fit in trained_heads(trial):
        measured = rank(fit.head.context())
        yield Instance(label, measured, predicted(fit.head.head_size), Verdict.SUPPORTED)


def _pretrained(trial: Trial) -> Cases:
    """Keys and queries of the pretrained encoder, of embedding size 384 with 12 heads per layer."""
    for length in (64, 128)[: trial.count(1, 2)]:
        for head in pretrained_heads(length):
            label = f"layer {head.layer}, head {head.index}, n = {length}"
            yield label, (head.keys, head.queries), (384, 12)


def _rank_of_context(keys: Any, queries: Any) -> RankBounds:
    return certified_rank(AttentionHead(W_q=queries, W_k=keys).context())


def _without_last_coordinate(keys: Any, queries: Any, *, centre: bool = True) -> RankBounds:
    return exact_logit_rank(keys[:-1], queries[:-1], centre=centre)


# Theorem 2: fixed head size is strictly more expressive

STANDARD = "f is a standard layer: h heads of size d/h < d_p, without residual or normalisation"
FIXED = "g has heads of size d_p <= d that share U = V_k^T V_q of rank d_p; V_o V_v has rank d"
SHAPES = ((4, 2, 4, 2), (6, 3, 3, 3), (8, 4, 5, 3), (8, 8, 3, 4), (6, 2, 6, 1))  # d, h, d_p, h of g

Search = Callable[[MultiHead, MultiHead, int], Separation]
Pair = Callable[..., tuple[MultiHead, MultiHead]]  # of d, h, d_p, perhaps the heads of g, a seed

_theorem_2 = partial(
    make_claim,
    source=Source(
        "bhojanapalli2020",
        "Theorem 2",
        "in our words; the witness is computed, where the paper shows that one exists",
    ),
)
_parameters = partial(
    make_claim,
    source=Source("bhojanapalli2020", "Section 3", "in our words"),
    hypotheses=("query, key and value size d_p", "no biases"),
)


def check_inclusion(
    trial: Trial,
    *,
    rows: Formula = lambda W, zeros: [[W], [zeros]],
    factor: Formula = lambda d_p, h, d: (d_p * h / d) ** Fraction(1, 2),
) -> Instances:
    """Zero rows and columns change no product, and W_q absorbs the scale, for every size at once.

    The last instance has the scales of F and G: d = h k, d_p = k + e.
    """
    import sympy

    d, h, k, v, e = (sympy.Symbol(name, integer=True, positive=True) for name in "dhkve")

    def pad(W: Any) -> Any:
        return sympy.BlockMatrix(rows(W, sympy.ZeroMatrix(e, W.cols)))

    W_q, W_k = (sympy.MatrixSymbol(name, k, d) for name in ("W_q", "W_k"))
    wide = sympy.block_collapse(pad(W_k).T * pad(W_q))
    same = wide == W_k.T * W_q
    yield Instance("W_k^T W_q, all d, k, d_p and weights", same, True, Verdict.PROVED)
    W_o, W_v = sympy.MatrixSymbol("W_o", d, v), sympy.MatrixSymbol("W_v", v, d)
    wide = sympy.block_collapse(pad(W_o.T).T * pad(W_v))
    yield Instance("W_o W_v, all d, v and weights", wide == W_o * W_v, True, Verdict.PROVED)
    W_q, W_k = (W.subs(d, h * k) for W in (W_q, W_k))
    wide = sympy.block_collapse(pad(W_k).T * pad(factor(k + e, h, h * k) * W_q)) / sympy.sqrt(k + e)
    scale, product = wide.as_coeff_mmul()
    # of the logits of f: 1/sqrt(d/h)
    same = product == W_k.T * W_q and sympy.simplify(scale * sympy.sqrt(k) - 1) == 0
    yield Instance("scaled logits, all d, h, d_p and weights", same, True, Verdict.PROVED)


def check_widened(trial: Trial, *, wider: Formula = widen) -> Instances:
    """Layers and their widened forms: no tokens are claimed to separate them.

    With the scale kept every real number is the same; with the scale of its own head size the wider
    layer has a W_q that is rounded.
    """
    for d, h, head_size, _ in SHAPES:
        f = random_multihead(d, h, trial.rng)
        for own in (False, True):
            g = wider(f, head_size, default_scale=own)
            for n in (1, 2, 4):
                found = separating_tokens(f, g, n)
                X = found.tokens
                tolerance = rounded_queries_error(f, X) if own and X is not None else 0.0
                label = f"d = {d}, h = {h}, d_p = {head_size}, {'own' if own else 'same'} scale"
                yield Instance(f"{label}, n = {n}", found.gap, 0, Verdict.SUPPORTED, tolerance)


def rounded_queries_error(f: MultiHead, X: Array) -> float:
    """By how much the outputs on X move at most, in Frobenius norm, when W_q absorbs a scale.

    Three roundings, of the factor, of its product with W_q and of the new scale, move logits by at
    most ``E = 4 u s (|W_k| |X|)^T (|W_q| |X|)``, log-probabilities of a column by twice its largest
    entry e_j, and a column of P by ``(e^{2 e_j} - 1) P_j``; a convex combination of the columns of
    ``|W_o| |W_v| |X|`` is at most their row-wise maximum a. (The fourth u is for this sum itself.)
    """
    size, total = np.abs(X), 0.0
    W_o = np.split(np.abs(f.W_o), f.heads, axis=1)
    for W_q, W_k, W_v, out in zip(*(np.abs(W) for W in (f.W_q, f.W_k, f.W_v)), W_o, strict=True):
        E = 4 * U * abs(f.scale) * (W_k @ size).T @ (W_q @ size)
        a = (out @ W_v @ size).max(axis=1)
        total += float(np.linalg.norm(a) * np.linalg.norm(np.expm1(2 * E.max(axis=0))))
    return total


def _separated(label: str, found: Separation) -> Instance:
    apart = found.gap > 0
    evidence = Verdict.CERTIFIED if apart else Verdict.SUPPORTED
    proofs = (lambda: found.certificate,) if apart else ()
    return Instance(label, apart, True, evidence, certificates=proofs)


def _against(opponent: Callable[[MultiHead, int, int], MultiHead]) -> Pair:
    """A random g and what is set against it, given g, h and a seed."""

    def pair(d: int, h: int, head_size: int, heads: int, seed: int) -> tuple[MultiHead, MultiHead]:
        g = random_fixed_layer(d, heads, head_size, seed)
        return opponent(g, h, seed), g

    return pair


def _imitator(g: MultiHead, h: int, seed: int) -> MultiHead:
    return fit_layer(g, h, n=3, sequences=48, seed=seed, max_iterations=150).layer


def check_single_token(
    trial: Trial, *, output: Formula = lambda layer, x: layer.output(x)
) -> Instances:
    """Layers with the same values on single tokens of integers: every product is exact."""
    for d, h, head_size, heads in SHAPES:
        g = random_fixed_layer(d, heads, head_size, trial.rng)
        f = same_values(g, h, trial.rng)
        x = np.array(trial.integers(d, 1, bound=64), dtype=np.float64)
        gap = float(np.max(np.abs(output(f, x) - output(g, x))))
        yield Instance(f"d = {d}, h = {h}, d_p = {head_size}", gap, 0, Verdict.SUPPORTED)


def check_parameters(trial: Trial, *, count: Formula = lambda d, h, k: 4 * d * h * k) -> Instances:
    """The weights of each projection counted, for every size at once."""
    import sympy

    d, h, k = sympy.symbols("d h k", integer=True, positive=True)
    shapes = [(h * k, d)] * 3 + [(d, h * k)]  # W_q, W_k, W_v, W_o, all heads together
    total = sum(rows * columns for rows, columns in shapes)
    fixed = sympy.simplify(total - count(d, h, k)) == 0
    yield Instance("fixed head size d_p: 4 d d_p h", fixed, True, Verdict.PROVED)
    standard = sympy.simplify(count(d, h, d / h) - 4 * d**2) == 0
    yield Instance("standard head size d/h: 4 d²", standard, True, Verdict.PROVED)


def check_costs(
    trial: Trial, *, counted: Formula = lambda layer: layer.parameter_count
) -> Instances:
    """Layers counted against the formula."""
    for d, h, head_size, heads in SHAPES:
        for layer in (random_multihead(d, h, 0), random_fixed_layer(d, heads, head_size, 0)):
            size = LayerCost(d, layer.heads, layer.head_size)
            label = f"d = {d}, h = {layer.heads}, head size {layer.head_size}"
            yield Instance(label, counted(layer), size.parameters, Verdict.SUPPORTED)


def _blind(f: MultiHead, g: MultiHead, n: int) -> Separation:
    return separating_tokens(f, widen(f, f.head_size + 1), n)


def _rescaled(layer: MultiHead, head_size: int, default_scale: bool) -> MultiHead:
    wide = widen(layer, head_size)
    return MultiHead(wide.W_q, wide.W_k, wide.W_v, wide.W_o)


def _widened_and_more(layer: MultiHead, head_size: int, default_scale: bool) -> MultiHead:
    wide = widen(layer, head_size, default_scale=default_scale)
    return MultiHead(1.5 * wide.W_q, wide.W_k, wide.W_v, wide.W_o, wide.scale)


BLIND = Mutant("tokens of a layer against itself, widened", {"search": _blind})
SINGLE = Mutant(
    "one token instead of n >= 2", {"search": lambda f, g, n: separating_tokens(f, g, 1)}
)


def _separation(
    name: str,
    opponents: str,
    pair: Pair,
    *mutants: Mutant,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    **without: str,
) -> Claim:
    def check(trial: Trial, *, search: Search = separating_tokens) -> Instances:
        for d, h, head_size, *heads in shapes:
            for _ in range(trial.count(1, 6)):
                seed, n = int(trial.rng.integers(2**31)), int(trial.rng.integers(2, 5))
                label = f"d = {d}, h = {h}, d_p = {head_size}, n = {n}, seed {seed}"
                f, g = pair(d, h, head_size, *heads, seed)
                yield _separated(label, search(f, g, n))

    return _theorem_2(
        f"b20-theorem2-separation-{name}",
        f"Some tokens tell g from f, where f is {opponents}.",
        check,
        BLIND,
        *mutants,
        hypotheses=(STANDARD, FIXED, "n >= 2"),
        relation="exists",
        without=without,
    )


CLAIMS = (
    _first_half(
        "b20-theorem1-first-exact",
        "For d >= n a head of size d on X has any positive P as its context: exactly, "
        "(W_k X)^T (W_q X) = C log P over the rationals for P ∝ exp(M), M integer.",
        check_first_exact,
        Mutant("X^T for the left inverse", {"inverse": transposed}),
        Mutant(CENTRES_OVER_QUERIES, {"factors": _transposed_factors}),
        Mutant("one coordinate too few", {"factors": one_coordinate_less}),
    ),
    _first("random", random_contexts, "random contexts"),
    _first("trained", trained_contexts, "contexts of heads trained here", idle=ONLY_A_SAMPLE),
    _first("pretrained", pretrained_contexts, "contexts of a pretrained encoder"),
    _second_half(
        "b20-theorem1-second-example",
        "On X = [1, 0] no head has the context P = [[.5, .75], [.5, .25]].",
        check_second_example,
        Mutant(
            "second token is not zero",
            {"logits": lambda s, X: (X + X.ones(1, 2)).T * s * (X + X.ones(1, 2))},
        ),
        Mutant("queries carry a bias", {"logits": lambda s, X: X.T * s * (X + X.ones(1, 2))}),
        hypotheses=("d = 1, n = 2", "all real weights, all head sizes"),
    ),
    _second_half(
        "b20-theorem1-second-family",
        "For every d < n (n >= 2) there are X and a positive P that no head of any size has as "
        "its context on X: a zero token attends uniformly.",
        check_second_family,
        Mutant("the token is not zero", {"token": lambda x: x}),
        Mutant("queries carry a bias", {"query": lambda W_q, x, bias: W_q * x + bias}),
        hypotheses=("X has a zero token", "all real weights, all head sizes"),
    ),
    _second(
        "trained", random_contexts, 6, "heads fitted here, in at most 30 steps, to random contexts"
    ),
    _second(
        "pretrained",
        pretrained_contexts,
        3,
        "heads fitted here to contexts of a pretrained encoder",
    ),
    _bottleneck(
        "logit-rank-random",
        "The logits of a head have rank at most its head size, on every X.",
        compare_ranks(_integer_heads, partial(_rank_of_head, centre=False), int),
        OFF_BY_ONE,
        Mutant(POSITIONAL, {"rank": lambda *head: exact_rank(_with_distance(*head))}),
        hypotheses=("integer weights and tokens, any rank of X",),
        relation="<=",
    ),
    _bottleneck(
        "log-rank-random",
        "The context of a head has log-rank at most its head size, on every X.",
        compare_ranks(_integer_heads, partial(_rank_of_head, centre=True), int),
        OFF_BY_ONE,
        Mutant(
            POSITIONAL,
            {"rank": lambda *head: certified_log_rank(logits=_with_distance(*head))},
        ),
        source=Source("rankbound", NECESSITY, "no rank condition on X"),
        hypotheses=("integer weights and tokens, any rank of X",),
        relation="<=",
    ),
    _bottleneck(
        "log-rank-trained",
        "Contexts of heads trained here have log-rank equal to their head size.",
        check_trained,
        Mutant(MEASURES_P, {"rank": numerical_rank}),
        Mutant("centres over queries", {"rank": lambda P: numerical_rank(query_centred(P))}),
        hypotheses=("heads of size k < n fitted to Dirichlet contexts from random starts",),
        status=Verdict.SUPPORTED,
        without={"idle": ONLY_A_SAMPLE},
    ),
    _bottleneck(
        "logit-rank-pretrained",
        "Logits of all 72 heads of all-MiniLM-L6-v2 have rank d/h = 32, their bound.",
        compare_ranks(_pretrained, partial(exact_logit_rank, centre=False), floordiv),
        Mutant(MEASURES_P, {"rank": _rank_of_context}),
        Mutant(
            "drops a coordinate",
            {"rank": partial(_without_last_coordinate, centre=False)},
        ),
        hypotheses=("queries and keys after biases, float32 read as exact rationals",),
    ),
    _bottleneck(
        "log-rank-pretrained",
        "Contexts of all 72 heads of all-MiniLM-L6-v2 have log-rank exactly 32.",
        compare_ranks(_pretrained, partial(exact_logit_rank, centre=True), floordiv),
        Mutant(MEASURES_P, {"rank": _rank_of_context}),
        Mutant("drops a coordinate", {"rank": _without_last_coordinate}),
        source=Source("rankbound", NECESSITY, "each head sits at its bottleneck"),
        hypotheses=("n = 64 and 128 tokens; float32 read as exact rationals",),
    ),
    _bottleneck(
        "b20-bottleneck",
        "At head size k < n - 1 some positive P is the context of no head on any X: P ∝ 2^I.",
        check_bottleneck,
        Mutant("k = n - 1 too", {"sizes": lambda n: range(1, n)}),
        Mutant("the witness is uniform", {"witness": lambda n: [[1] * n for _ in range(n)]}),
        hypotheses=("n >= 3", "k < n - 1 (B20 has d/h < n)"),
        relation="exists",
    ),
    _theorem_2(
        "b20-theorem2-inclusion",
        "Zero rows and columns turn a layer of head size k into one of any d_p >= k with "
        "the same outputs: F is contained in G.",
        check_inclusion,
        Mutant("projections repeated instead of padded", {"rows": lambda W, zeros: [[W], [W]]}),
        Mutant("W_q keeps its size", {"factor": lambda d_p, h, d: 1}),
        Mutant("without the root", {"factor": lambda d_p, h, d: d_p * h / d}),
        hypotheses=("any layer; the scale is kept, or W_q takes the factor sqrt(d_p h/d)",),
        relation="exists",
        status=Verdict.PROVED,
    ),
    _theorem_2(
        "b20-theorem2-inclusion-widened",
        "No tokens are found to tell a layer from its widened form, but for the rounding of a W_q "
        "that absorbs the scale.",
        check_widened,
        Mutant("the temperature of the larger head size", {"wider": _rescaled}),
        Mutant("W_q half as large again", {"wider": _widened_and_more}, "factor"),
        hypotheses=("the scale is kept, or that of the larger head size",),
        status=Verdict.SUPPORTED,
    ),
    _separation("random", "random", _against(lambda g, h, seed: random_multihead(g.d, h, seed))),
    _separation(
        "same-values", "one with Σ W_o W_v = V_o V_v exactly", _against(same_values), SINGLE
    ),
    _separation(
        "nearest-products",
        "one with the same values and W_k^T W_q the best approximation of U of rank d/h",
        _against(nearest_products),
        SINGLE,
    ),
    _separation(
        "skew",  # the third case of the paper's proof
        "one with the same values and U - W_k^T W_q skew-symmetric",
        skew_pair,
        SINGLE,
        shapes=((4, 2, 4), (6, 3, 4), (8, 4, 6), (8, 8, 3)),
    ),
    _separation(
        "imitating",
        "trained to imitate g",
        _against(_imitator),
        shapes=SHAPES[:2],
        idle="layers that are not trained are told apart as well (-random)",
    ),
    _theorem_2(
        "b20-theorem2-single-token",
        "On one token (n = 1) a layer is Σ W_o W_v: layers with the same values agree, "
        "whatever their heads.",
        check_single_token,
        Mutant("two tokens", {"output": lambda f, x: f.output(np.hstack([x, x[::-1]]))}),
        hypotheses=("n = 1", "Σ W_o W_v = V_o V_v"),
        status=Verdict.SUPPORTED,
    ),
    _parameters(
        "b20-parameters",
        "A layer has 4 d d_p h weights; with head size d/h that is 4 d², whatever h.",
        check_parameters,
        Mutant("the output projection forgotten", {"count": lambda d, h, k: 3 * d * h * k}),
        relation="exists",
        status=Verdict.PROVED,
    ),
    _parameters(
        "b20-parameters-counted",
        "The weights of layers are as many as the formula says.",
        check_costs,
        Mutant(
            "the output projection forgotten",
            {"counted": lambda layer: layer.parameter_count - layer.W_o.size},
        ),
        Mutant("one head counted", {"counted": lambda layer: layer.parameter_count // layer.heads}),
        status=Verdict.SUPPORTED,
    ),
)
