"""B20, Theorem 2 and section 3: layers of a fixed head size are strictly more expressive.

Inclusion: a layer of heads of size d/h is one of larger heads. Separation: not the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
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
from rankbound.attention.layer import LayerCost, MultiHead
from rankbound.exact.rounding import U
from rankbound.fitting.layer import fit_layer
from rankbound.registry.claim import (
    Claim,
    Formula,
    Instance,
    Instances,
    Mutant,
    Source,
    Trial,
    make_claim,
)
from rankbound.theory.theorem_2 import Separation, separating_tokens, widen
from rankbound.verdict import Verdict

STANDARD = "f is a standard layer: h heads of size d/h < d_p, without residual or normalisation"
FIXED = (
    "g has heads of size d_p <= d, at a scale that is not 0, that share U = V_k^T V_q of rank d_p; "
    "V_o V_v has rank d"
)
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
        theorem="theorem_2_separation.theorem_2_separation",
    )


CLAIMS = (
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
        theorem="main.widened_layer",
    ),
    _theorem_2(
        "b20-theorem2-inclusion-widened",
        "No tokens tell a layer from its widened form: none are found, but for the rounding of a "
        "W_q that absorbs the scale.",
        check_widened,
        Mutant("the temperature of the larger head size", {"wider": _rescaled}),
        Mutant("W_q half as large again", {"wider": _widened_and_more}, "factor"),
        hypotheses=("the scale is kept, or that of the larger head size",),
        status=Verdict.SUPPORTED,
        theorem="main.widened_layer",
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
        theorem="main.single_token",
    ),
    _parameters(
        "b20-parameters",
        "A layer has 4 d d_p h weights; with head size d/h that is 4 d², whatever h.",
        check_parameters,
        Mutant("the output projection forgotten", {"count": lambda d, h, k: 3 * d * h * k}),
        relation="exists",
        status=Verdict.PROVED,
        theorem="main.parameters_of_a_layer",
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
