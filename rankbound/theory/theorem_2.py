"""B20 Theorem 2: layers of small heads are layers of larger ones, and not the other way round.

*Inclusion.* A layer of heads of size d/h is a layer of heads of any larger size: pad by zeros
(:func:`widen`). *Separation.* A layer g of fixed head size d_p differs from every standard layer f
of h > d/d_p heads, on tokens that :func:`separating_tokens` finds. docs/theory.md, section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from rankbound._validate import (
    Array,
    check_bool,
    check_head_size,
    check_int,
    frozen_copy,
    require_memory,
)
from rankbound.attention.layer import MultiHead
from rankbound.certificates.certificates import AS_JSON, LayerSeparation
from rankbound.certificates.checker import check
from rankbound.certificates.matrices import Layer, Matrix
from rankbound.certificates.statements import LayersDiffer
from rankbound.errors import InputError, InputTypeError
from rankbound.exact.balls import Weights, gap_of_outputs
from rankbound.exact.elimination import prove_rank
from rankbound.exact.flint import rational_product
from rankbound.exact.rational import Rationals, as_rationals
from rankbound.records import Record
from rankbound.verdict import Verdict

BITS = 24  # of a token's coordinates: enough for a witness, and short in a certificate
LOGIT_DIFFERENCES = (-8.0, -4.0, -2.0, -1.0, 1.0, 4.0)  # between the repeated token and the first
RATIOS = (0.25, 1.0, 4.0)  # of the sizes of the two tokens


def widen(
    layer: MultiHead,
    head_size: int,
    *,
    value_size: int | None = None,
    default_scale: bool = False,
) -> MultiHead:
    """The same layer with heads of a larger size: F ⊂ G (B20, Theorem 2; section 4).

    Query, key and value projections get zero rows and the output projection zero columns, so every
    logit and every output is the same real number. The temperature is kept by keeping the scale;
    with ``default_scale=True`` it is ``1/sqrt(head_size)``, as in the paper's class G, and `W_q`
    absorbs the ratio, rounded to float64.

    Parameters
    ----------
    layer : MultiHead
        Any layer; in the paper a standard one, of head size d/h.
    head_size : int
        Query and key coordinates of each head of the result, at least those of `layer`.
    value_size : int, optional
        Value coordinates likewise; those of `layer` unless given.
    default_scale : bool
        Whether the result has the scale of its own head size.

    Examples
    --------
    >>> import rankbound as rb
    >>> layer = rb.random_multihead(d=8, heads=4, seed=0)
    >>> wide = rb.widen(layer, head_size=8)
    >>> layer.head_size, wide.head_size, wide.scale == layer.scale
    (2, 8, True)
    """
    check_layer("layer", layer)
    default_scale = check_bool("default_scale", default_scale, "the scale of the larger size")
    k = check_head_size(head_size)
    v = layer.value_size if value_size is None else check_int("value_size", value_size, least=1)
    for name, asked, own in (
        ("head_size", k, layer.head_size),
        ("value_size", v, layer.value_size),
    ):
        if asked < own:
            raise InputError(
                f"{name} is {asked} and that of the layer {own}; expected at least {own}: "
                "a layer is widened by zeros, and a smaller one need not have its outputs."
            )
        require_memory(name, asked, layer.heads, asked, layer.d)
    W_q, W_k, W_v = (
        _padded(W, size, axis=1) for W, size in ((layer.W_q, k), (layer.W_k, k), (layer.W_v, v))
    )
    split = layer.W_o.reshape(layer.d, layer.heads, layer.value_size)
    W_o = _padded(split, v, axis=2).reshape(layer.d, layer.heads * v)
    if not default_scale:
        return MultiHead(W_q, W_k, W_v, W_o, layer.scale)
    return MultiHead(layer.scale * math.sqrt(k) * W_q, W_k, W_v, W_o)


def check_layer(name: str, layer: Any) -> None:
    """Raise unless it is a MultiHead."""
    if not isinstance(layer, MultiHead):
        raise InputTypeError(
            f"{name} is a {type(layer).__name__}; expected a MultiHead: "
            "rb.MultiHead(W_q, W_k, W_v, W_o)."
        )


def _padded(array: Array, size: int, axis: int) -> Array:
    width = [(0, 0)] * array.ndim
    width[axis] = (0, size - array.shape[axis])
    return np.pad(array, width)


@dataclass(frozen=True, eq=False, repr=False)
class Separation(Record):
    """Tokens on which two layers differ, and by how much at least.

    Certified, or undecided; rigorous where the gap is enclosed and the checker does not take the
    certificate, for layers beyond its limits. `case` says which witness: "values" (case a),
    "attention" (case b), "random", or "" where there is none. `failing` are the hypotheses of the
    theorem that do not hold, decided exactly on the weights as the rationals that the floats are.

    Examples
    --------
    >>> import rankbound as rb
    >>> f = rb.random_multihead(d=4, heads=2, seed=0)
    >>> g = rb.random_multihead(d=4, heads=2, seed=1, head_size=4)
    >>> found = rb.separating_tokens(f, g)
    >>> found.verdict.value, found.tokens.shape, found.gap > 0
    ('certified', (4, 2), True)
    """

    tokens: Array | None  # X, shape (d, n); None where none were found
    gap: float  # rigorous lower bound of ``‖f(X) - g(X)‖_F``; 0 where undecided
    relative_gap: float  # the same of ``‖f(X) - g(X)‖_F / ‖g(X)‖_F``; huge where g(X) is 0
    verdict: Verdict  # certified, rigorous or undecided
    case: str  # which witness
    failing: tuple[str, ...]  # hypotheses of the theorem that do not hold
    certificate: LayerSeparation | None = field(  # accepted, if certified
        default=None, repr=False, metadata=AS_JSON
    )

    formula: ClassVar[str] = r"\|f(X) - g(X)\|_F \ge %(gap)s"


def separating_tokens(f: MultiHead, g: MultiHead, n: int = 2) -> Separation:
    """Tokens X with ``f(X) != g(X)``, for f a standard layer and g one of a larger head size.

    B20, Theorem 2 and appendix B (docs/theory.md, section 4): such X exist if n >= 2, the heads of
    g share ``U = (V_k^i)^T V_q^i`` of rank d_p, the head size of g, at a scale that is not 0,
    ``V_o [V_v^1; …; V_v^h]`` has full rank d, and f has heads of size below d_p and at most d value
    coordinates in all. With
    ``A = Σ V_o^i V_v^i``, ``B_i = W_o^i W_v^i`` and ``B = Σ B_i``: (a) where B != A, one token x
    repeated, ``(B - A) x != 0``; (b) where B = A, tokens ``[q, q + w, …, q + w]`` with
    ``M_1 q = 0``, ``w^T U q != 0``, ``B_1 w != 0``.

    Which case holds is discontinuous in the weights, so both witnesses are computed, and the one
    with the larger certified gap beside ``‖g(X)‖_F`` is returned. Where a hypothesis fails, or
    neither witness shows a gap, random tokens are tried as well. Undecided, with gap 0 and tokens
    None, is returned where no tokens were found: the layers may be equal.

    Parameters
    ----------
    f, g : MultiHead
        Layers of the same embedding size d, as the exact numbers that their floats are.
    n : int
        Number of tokens.

    Examples
    --------
    >>> import rankbound as rb
    >>> f = rb.random_multihead(d=8, heads=4, seed=0)
    >>> g = rb.random_multihead(d=8, heads=4, seed=1, head_size=8)
    >>> rb.separating_tokens(f, g, n=2).gap > 0
    True
    >>> rb.separating_tokens(f, rb.widen(f, head_size=8), n=2).verdict
    <Verdict.UNDECIDED: 'undecided'>
    """
    check_layer("f", f)
    check_layer("g", g)
    if f.d != g.d:
        raise InputError(
            f"f has embedding size {f.d} and g {g.d}; expected the same: both take the same tokens."
        )
    n = check_int("n", n, least=1)
    require_memory("n", n, n, n)
    failing = tuple(_failing(f, g, n))
    nothing = Separation(None, 0.0, 0.0, Verdict.UNDECIDED, "", failing)
    weights = _weights(f), _weights(g)

    def measured(case: str, tokens: Array | None) -> Separation:
        gap, size = (0.0, 0.0) if tokens is None else gap_of_outputs(*weights, tokens)
        if tokens is None or not gap:
            return nothing
        relative = float(np.nextafter(gap / size, 0.0))  # size is an upper bound, above 0
        return Separation(frozen_copy(tokens), gap, relative, Verdict.RIGOROUS, case, failing)

    found = [
        measured("values", value_witness(f, g, n)),
        measured("attention", attention_witness(f, g, n)),
    ]
    if failing or not any(s.gap for s in found):
        found.append(measured("random", random_witness(f, g, n)))
    return _certified(f, g, max([nothing, *found], key=lambda s: s.relative_gap))


def _certified(f: MultiHead, g: MultiHead, found: Separation) -> Separation:
    """The same with its certificate, if the checker accepts it."""
    if found.tokens is None:
        return found
    tokens, gap = Matrix.of_floats(found.tokens.tolist()), Fraction(found.gap)
    certificate = LayerSeparation(LayersDiffer(_recorded(f), _recorded(g), tokens, gap))
    if not check(certificate).accepted:
        return found
    return replace(found, verdict=Verdict.CERTIFIED, certificate=certificate)


def _recorded(layer: MultiHead) -> Layer:
    W_q, W_k, W_v, W_o = (W.tolist() for W in (layer.W_q, layer.W_k, layer.W_v, layer.W_o))
    return Layer.of_floats(W_q, W_k, W_v, W_o, layer.scale)


def _weights(layer: MultiHead) -> Weights:
    return Weights(layer.W_q, layer.W_k, layer.W_v, layer.W_o, layer.scale)


def _failing(f: MultiHead, g: MultiHead, n: int) -> list[str]:
    """The hypotheses of the theorem that do not hold."""
    tests = [
        (n >= 2, "n >= 2"),
        (f.head_size < g.head_size, "the heads of f are smaller than those of g (h > d/d_p)"),
        (f.heads * f.value_size <= f.d, "f has at most d value coordinates"),
        (g.scale != 0, "the scale of g is not 0"),
        (_common_products(g), "(V_k^i)^T V_q^i is the same for every head of g"),
        (
            all(prove_rank(as_rationals(W[0].tolist())).rank == len(W[0]) for W in (g.W_k, g.W_q)),
            "(V_k^i)^T V_q^i has rank d_p, the head size of g",
        ),
        (
            prove_rank(_product(g.W_o, g.W_v.reshape(-1, g.d))).rank == g.d,
            "V_o [V_v^1; ...; V_v^h] has full rank d",
        ),
    ]
    return [text for holds, text in tests if not holds]


def _common_products(g: MultiHead) -> bool:
    if all(np.array_equal(W[i], W[0]) for W in (g.W_k, g.W_q) for i in range(g.heads)):
        return True
    first = _product(g.W_k[0].T, g.W_q[0])
    return all(_product(g.W_k[i].T, g.W_q[i]) == first for i in range(1, g.heads))


def _product(left: Array, right: Array) -> Rationals:
    return rational_product(as_rationals(left.tolist()), as_rationals(right.tolist()))


def values(layer: MultiHead) -> Array:
    """``Σ_i W_o^i W_v^i``, shape (d, d): the layer on a single token."""
    return np.asarray(layer.W_o @ layer.W_v.reshape(-1, layer.d), np.float64)


def value_witness(f: MultiHead, g: MultiHead, n: int) -> Array | None:
    """Case (a): one token x, n times, with the largest ``‖(B - A) x‖`` beside ``‖A x‖``.

    On such tokens every context is uniform or irrelevant: f gives ``B x`` and g gives ``A x``.
    """
    A, difference = values(g), values(f) - values(g)
    ratio = difference @ np.linalg.pinv(A)
    if not (np.isfinite(ratio).all() and difference.any()):
        return None
    x = np.linalg.pinv(A) @ np.linalg.svd(ratio)[2][0]
    if not (difference @ x).any():  # A has a null space, where B has none
        x = np.linalg.svd(difference)[2][0]
    return _short(np.repeat(x[:, None], n, axis=1))


def attention_witness(f: MultiHead, g: MultiHead, n: int) -> Array | None:
    """Case (b): ``[q, q + w, …, q + w]`` with ``M_i q = 0``, ``w^T U q != 0`` and ``B_i w != 0``.

    Head i of f attends uniformly from q and the heads of g do not. The case needs one such q and
    w; among those of every head and a few sizes, the one with the largest gap is taken.
    """
    candidates = [X for i in range(f.heads) for X in _of_head(f, g, n, i)]
    return _best(f, g, np.array(candidates)) if candidates else None


def random_witness(f: MultiHead, g: MultiHead, n: int) -> Array | None:
    """Gaussian tokens of several sizes, for layers that the theorem does not cover."""
    rng = np.random.default_rng(0)
    sizes = np.repeat([0.5, 1.0, 2.0, 4.0], 64)
    return _best(f, g, sizes[:, None, None] * rng.standard_normal((len(sizes), f.d, n)))


def _of_head(f: MultiHead, g: MultiHead, n: int, i: int) -> list[Array]:
    M = f.W_k[i].T @ f.W_q[i]
    null = np.linalg.svd(M)[2][f.head_size :].T
    U = g.scale * g.W_k[0].T @ g.W_q[0]
    if not null.size or not U.any():
        return []
    q = null @ np.linalg.svd(U @ null)[2][0]
    Uq = U @ q
    size = np.linalg.norm(Uq)
    if not size > 0:
        return []
    v = f.value_size
    B = f.W_o[:, i * v : (i + 1) * v] @ f.W_v[i]
    along = np.linalg.svd(B)[2][0]
    only = np.linalg.pinv(values(g)) @ B @ along  # what the other heads do not see, where B = A
    tokens = []
    for w in (Uq / size, along, only, only + Uq / size):
        slope = float(w @ Uq)
        if abs(slope) <= 1e-6 * size * np.linalg.norm(w):
            continue
        for difference in LOGIT_DIFFERENCES:
            for ratio in RATIOS:  # (a q)^T U^T (b w) = difference, with ‖b w‖ = ratio ‖a q‖
                b = np.sqrt(abs(difference / slope) * ratio / np.linalg.norm(w))
                a = difference / slope / b
                tokens.append(_short((a * q)[:, None] + np.outer(b * w, np.arange(n) > 0)))
    return tokens


def _best(f: MultiHead, g: MultiHead, candidates: Array) -> Array | None:
    target = g.output(candidates)
    gap = np.linalg.norm(f.output(candidates) - target, axis=(-2, -1))
    size = np.linalg.norm(target, axis=(-2, -1))
    usable = np.flatnonzero(gap > 0)
    if not len(usable):
        return None
    best = usable[np.argmax(gap[usable] / np.maximum(size[usable], gap[usable] * 1e-12))]
    return _short(candidates[best])


def _short(tokens: Array) -> Array:
    """Tokens rounded to multiples of a power of two: short numbers, equal columns stay equal."""
    top = float(np.max(np.abs(tokens)))
    if not (np.isfinite(top) and top > 0):
        return tokens
    exponent = BITS - int(np.frexp(top)[1])
    return np.ldexp(np.rint(np.ldexp(tokens, exponent)), -exponent)
