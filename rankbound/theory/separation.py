"""B20 Theorem 2: tokens that tell a layer of fixed head size from any standard layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from rankbound._validate import Array, check_int, frozen_copy
from rankbound.attention.layer import MultiHead
from rankbound.certificates.checker import check
from rankbound.certificates.matrices import Layer, Matrix
from rankbound.certificates.model import LayerSeparation
from rankbound.certificates.statements import LayersDiffer
from rankbound.errors import InputError
from rankbound.exact.balls import Weights, gap_of_outputs
from rankbound.exact.elimination import prove_rank
from rankbound.exact.flint import rational_product
from rankbound.theory.inclusion import check_layer
from rankbound.theory.separating import attention_witness, random_witness, value_witness
from rankbound.verdict import Verdict

__all__ = ["Separation", "separating_tokens"]

Rational = list[list[Fraction]]


@dataclass(frozen=True, eq=False)
class Separation:
    """Tokens on which two layers differ, and by how much at least.

    Attributes
    ----------
    tokens : ndarray, shape (d, n), or None
        The tokens X; None where none were found.
    gap : float
        A rigorous lower bound of ``‖f(X) - g(X)‖_F``, in the unit of the outputs; 0 where
        undecided.
    relative_gap : float
        A rigorous lower bound of ``‖f(X) - g(X)‖_F / ‖g(X)‖_F``; huge where g(X) is 0.
    verdict : Verdict
        Certified or undecided.
    case : str
        Which witness: "values" (case a), "attention" (case b), "random", or "" where there is none.
    failing : tuple of str
        The hypotheses of the theorem that do not hold, decided exactly on the weights as the
        rational numbers that the floats are.
    """

    tokens: Array | None
    gap: float
    relative_gap: float
    verdict: Verdict
    case: str
    failing: tuple[str, ...]
    _layers: tuple[MultiHead, MultiHead] = field(repr=False)

    @property
    def certificate(self) -> LayerSeparation | None:
        """What proves the gap to :func:`rankbound.check`, built on first use; None where undecided.

        It is handed out only if the checker accepts it; if not (layers beyond its limits, for one),
        the verdict falls to undecided.
        """
        if self.tokens is None or self.verdict is not Verdict.CERTIFIED:
            return None
        if "_certificate" not in self.__dict__:
            f, g = (_recorded(layer) for layer in self._layers)
            tokens, gap = Matrix.of_floats(self.tokens.tolist()), Fraction(self.gap)
            certificate = LayerSeparation(LayersDiffer(f, g, tokens, gap))
            if not check(certificate).accepted:
                object.__setattr__(self, "verdict", Verdict.UNDECIDED)
                return None
            object.__setattr__(self, "_certificate", certificate)
        found: LayerSeparation = self.__dict__["_certificate"]
        return found


def separating_tokens(f: MultiHead, g: MultiHead, n: int = 2) -> Separation:
    """Tokens X with ``f(X) != g(X)``, for f a standard layer and g one of a larger head size.

    B20 Theorem 2: if n >= 2, the heads of g share ``U = (V_k^i)^T V_q^i`` of rank d_p, the head
    size of g, ``V_o [V_v^1; …; V_v^h]`` has full rank d, and f has heads of size below d_p and at
    most d value coordinates in all, then such X exist. With ``A = Σ V_o^i V_v^i``, ``B_i = W_o^i
    W_v^i`` and ``B = Σ B_i``: (a) where B != A, one token x repeated, ``(B - A) x != 0``; (b) where
    B = A, tokens ``[q, q + w, …, q + w]`` with ``M_1 q = 0``, ``w^T U q != 0``, ``B_1 w != 0``.

    Which case holds is discontinuous in the weights, so both witnesses are computed, and the one
    with the larger certified gap beside ``‖g(X)‖_F`` is returned. Where a hypothesis fails, or
    neither witness shows a gap, random tokens are tried as well.

    Parameters
    ----------
    f, g : MultiHead
        Layers of the same embedding size d, as the exact numbers that their floats are.
    n : int
        Number of tokens.

    Returns
    -------
    Separation
        Undecided, with gap 0 and tokens None, where no tokens were found: the layers may be equal.

    Raises
    ------
    InputError, InputTypeError
        If the layers do not have the same embedding size, or n < 1.
    BackendMissing
        If python-flint is not installed.

    References
    ----------
    Bhojanapalli et al. 2020, Theorem 2 and appendix B (B20); the witness is that of
    docs/theory.md, section 4.

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
    failing = tuple(_failing(f, g, n))
    found = [
        _certified(f, g, tokens, case, failing)
        for case, tokens in (
            ("values", value_witness(f, g, n)),
            ("attention", attention_witness(f, g, n)),
        )
        if tokens is not None
    ]
    if failing or not any(s.gap for s in found):
        tokens = random_witness(f, g, n)
        if tokens is not None:
            found.append(_certified(f, g, tokens, "random", failing))
    nothing = Separation(None, 0.0, 0.0, Verdict.UNDECIDED, "", failing, (f, g))
    return max([nothing, *found], key=lambda s: s.relative_gap)


def _certified(
    f: MultiHead, g: MultiHead, tokens: Array, case: str, failing: tuple[str, ...]
) -> Separation:
    gap, size = gap_of_outputs(_weights(f), _weights(g), tokens)
    if not gap:
        return Separation(None, 0.0, 0.0, Verdict.UNDECIDED, "", failing, (f, g))
    relative = float(np.nextafter(gap / size, 0.0))  # size is an upper bound, above 0
    return Separation(frozen_copy(tokens), gap, relative, Verdict.CERTIFIED, case, failing, (f, g))


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
        (f.scale != 0 and g.scale != 0, "the scales are not 0"),
        (_common_products(g), "(V_k^i)^T V_q^i is the same for every head of g"),
        (
            all(_full_rank(W[0]) for W in (g.W_k, g.W_q)),
            "(V_k^i)^T V_q^i has rank d_p, the head size of g",
        ),
        (
            _rank_of_product(g.W_o, g.W_v.reshape(-1, g.d)) == g.d,
            "V_o [V_v^1; ...; V_v^h] has full rank d",
        ),
    ]
    return [text for holds, text in tests if not holds]


def _common_products(g: MultiHead) -> bool:
    if all(np.array_equal(W[i], W[0]) for W in (g.W_k, g.W_q) for i in range(g.heads)):
        return True
    first = _product(g.W_k[0].T, g.W_q[0])
    return all(_product(g.W_k[i].T, g.W_q[i]) == first for i in range(1, g.heads))


def _full_rank(W: Array) -> bool:
    return len(W) <= W.shape[1] and prove_rank(_exact(W)).rank == len(W)


def _rank_of_product(left: Array, right: Array) -> int:
    return prove_rank(_product(left, right)).rank


def _product(left: Array, right: Array) -> Rational:
    return rational_product(_exact(left), _exact(right))


def _exact(array: Array) -> Rational:
    return [[Fraction(x) for x in row] for row in array.tolist()]
