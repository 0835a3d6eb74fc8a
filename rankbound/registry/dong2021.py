"""Dong, Cordonnier & Loukas 2021, "Attention is not all you need": residuals fall doubly fast.

The ICML form is checked. arXiv v2 has a factor γ that depends on the attention, whose definition
was not recovered. Skip connections are what keeps tokens apart: they are the mutant here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from rankbound._validate import Array
from rankbound.attention.layer import MultiHead
from rankbound.certificates.certificates import LayerSeparation
from rankbound.certificates.matrices import Layer, Matrix
from rankbound.certificates.statements import LayersDiffer
from rankbound.registry.claim import Formula, Instance, Instances, Mutant, Source, Trial, make_claim
from rankbound.verdict import Verdict

SMALL = 1.256  # the proof's condition on differences of exponents, as remembered


def residual(X: Array) -> tuple[float, float]:
    """Bounds of ``min_x ‖X - x 1^T‖_{1,∞}``, the root of the norms' product; from below, above.

    Below: medians minimise the sum over tokens in each coordinate, and half the largest distance of
    two tokens bounds the other norm. Above: the better of three choices of x.
    """
    medians = np.median(X, axis=1, keepdims=True)
    sums = float(np.abs(X - medians).sum(axis=1).max())
    pairs = np.abs(X[:, :, None] - X[:, None, :]).sum(axis=0)
    choices = (medians, X.mean(axis=1, keepdims=True), (X.max(1) + X.min(1))[:, None] / 2)
    return math.sqrt(sums * float(pairs.max()) / 2), min(norm(X - x) for x in choices)


def norm(A: Array) -> float:
    """``‖A‖_{1,∞} = sqrt(‖A‖_1 ‖A‖_∞)``."""
    return math.sqrt(float(np.abs(A).sum(axis=0).max() * np.abs(A).sum(axis=1).max()))


@dataclass(frozen=True, eq=False)
class Stack:
    """Layers on tokens, small enough for the bound to say something."""

    label: str
    layers: tuple[MultiHead, ...]
    X: Array

    @property
    def rate(self) -> float:
        """``β H/√d_qk``: β bounds ``‖W_QK‖_1 ‖W_V W_O‖_{1,∞}`` over heads and layers."""
        products = [
            float(np.abs(head.W_q.T @ head.W_k).sum(axis=0).max()) * norm(np.asarray(head.W_v))
            for layer in self.layers
            for head in map(layer.head, range(layer.heads))
        ]
        return max(products) * self.layers[0].heads * self.layers[0].scale

    @property
    def widest(self) -> float:
        """The largest difference of two logits of a query, in any head of the first layer."""
        logits = (self.layers[0].head(i).logits(self.X) for i in range(self.layers[0].heads))
        return max(float(np.ptp(L - L.mean(axis=1, keepdims=True), axis=0).max()) for L in logits)


def stacks(trial: Trial) -> Iterator[Stack]:
    """Random layers, tokens scaled to ``4 β H ‖res‖²/√d_qk`` from .2 to .8; and the pair ±a."""
    for heads, n, d, k in ((1, 2, 1, 1), (1, 5, 3, 2), (2, 6, 4, 3), (3, 4, 4, 2)):
        for depth in (1, 2, 3):
            for share in trial.some(1, (0.2, 0.8)):
                layers = tuple(_layer(heads, d, k, trial) for _ in range(depth))
                X = np.array([[1.0, -1.0]]) if d == 1 else trial.rng.standard_normal((d, n))
                label = f"{heads} heads of size {k}, n = {n}, depth {depth}, {share}"
                rate = Stack(label, layers, X).rate
                X = X * math.sqrt(share / (4 * rate)) / residual(X)[1]
                stack = Stack(label, layers, X)
                if stack.widest <= SMALL:
                    yield stack


def _layer(heads: int, d: int, k: int, trial: Trial) -> MultiHead:
    """Gaussian weights; all 1 where tokens have one coordinate."""
    if d == 1:
        one = np.ones((1, 1, 1))
        return MultiHead(one, one, one, one[0])
    W_q, W_k, W_v = trial.rng.standard_normal((3, heads, k, d))
    return MultiHead(W_q, W_k, W_v, trial.rng.standard_normal((d, heads * k)))


def attend(layer: MultiHead, X: Array) -> Array:
    """A layer without skip connection."""
    return layer.output(X)


def attend_and_skip(layer: MultiHead, X: Array) -> Array:
    """The same with one."""
    Y: Array = X + layer.output(X)
    return Y


def doubly_exponential(rate: float, start: float, depth: int, *, constant: float = 4.0) -> float:
    """``(4 β H/√d_qk)^((3^L - 1)/2) ‖res‖^(3^L)``."""
    power: float = 3**depth
    return float((constant * rate) ** ((power - 1) / 2) * start**power)


def check_collapse(
    trial: Trial, *, layer: Formula = attend, bound: Formula = doubly_exponential
) -> Instances:
    """The residual after L layers, from above, beside the bound, from below."""
    for stack in stacks(trial):
        X = stack.X
        for one in stack.layers:
            X = layer(one, X)
        predicted = bound(stack.rate, residual(stack.X)[0], len(stack.layers))
        yield Instance(stack.label, residual(X)[1], predicted, Verdict.SUPPORTED)


def pair(a: int, copies: int) -> list[list[int]]:
    """Tokens a and -a, one coordinate each."""
    return [[a] * copies + [-a] * copies]


def one_coordinate(w: Fraction, v: Fraction) -> Layer:
    """One head of size 1 on tokens of one coordinate: logits w x y, values v x."""
    (W_q, W_k, W_v), W_o = ([[[x]]] for x in (w, Fraction(1), v)), [[Fraction(1)]]
    return Layer.of_rationals(W_q, W_k, W_v, W_o, 1)


def check_condition(trial: Trial, *, tokens: Formula = pair) -> Instances:
    """W_QK = 1/10, W_V = 2, so 4 β = .8 < 1: tokens ±10 go to ±20, nearly.

    The outputs are ±b, so their norm is sqrt(n) b; the certificate, against the layer of zeros,
    shows b >= 19 for 2 and for 4 tokens. By induction residuals grow without end: w b² > w a².
    """
    w, v = Fraction(1, 10), Fraction(2)
    f, zero = one_coordinate(w, v), one_coordinate(w, Fraction(0))
    for copies in (1, 2):
        X = np.array(tokens(10, copies), dtype=np.float64)
        one = np.ones((1, 1, 1))
        Y = MultiHead(float(w) * one, one, float(v) * one, one[0], scale=1.0).output(X)
        grows = residual(Y)[0] > 1.9 * residual(X)[1]
        gap = Fraction(19) * (1 if copies == 1 else 2)  # sqrt(n) b > 19 sqrt(n)
        proof = LayerSeparation(
            LayersDiffer(f, zero, Matrix.of_integers(X.astype(int).tolist()), gap)
        )
        label = f"{2 * copies} tokens"
        yield Instance(label, grows, True, Verdict.CERTIFIED, certificates=(proof,))


def _ninth(rate: float, start: float, depth: int) -> float:
    return doubly_exponential(rate, start, depth, constant=4 / 9)


CLAIMS = (
    make_claim(
        "dong-collapse",
        "Without skip connections L layers of H heads leave a residual of at most "
        "(4 β H/√d_qk)^((3^L - 1)/2) ‖res(X)‖^(3^L).",
        check_collapse,
        Mutant("with skip connections", {"layer": attend_and_skip}),
        Mutant(
            "4/9 for 4, the least that must show: the pair ±a attains an eighth",
            {"bound": _ninth},
            "factor",
        ),
        source=Source(
            "dong2021",
            "Theorem for multi-head layers, ICML form",
            "two accounts agree; γ of arXiv v2 is not known and taken as 1; norms remembered",
        ),
        hypotheses=(
            "4 β H ‖res(X)‖²/√d_qk < 1, where the bound says something: tested first",
            f"logits of a query differ by at most {SMALL}, as the proof is remembered to ask",
            "no MLP, no LayerNorm",
        ),
        relation="<=",
        status=Verdict.SUPPORTED,
    ),
    make_claim(
        "dong-printed-condition",
        "4 β < √d_qk is not enough for residuals to fall: tokens exist whose residual grows by "
        "1.9 in each layer.",
        check_condition,
        Mutant("tokens ±1", {"tokens": lambda a, copies: pair(1, copies)}),
        source=Source(
            "dong2021",
            "remark that residuals converge whenever 4 γ β < √d_qk",
            "from an account of arXiv v2, γ taken as 1; the condition that is enough has the "
            "residual in it, derived here",
        ),
        hypotheses=("one head, one coordinate, W_QK = 1/10, W_V = 2, no skip connection",),
        relation="exists",
    ),
)
