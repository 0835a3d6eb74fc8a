"""The proof that no head of any size has a context on given tokens (Theorem B)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy.typing as npt

from rankbound._validate import check_context, check_real
from rankbound.certificates.checker import check
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.model import UnreachableWitness
from rankbound.certificates.statements import Unreachable, UnreachableWithin
from rankbound.errors import InputError, InputTypeError
from rankbound.exact.elimination import prove_rank
from rankbound.exact.flint import left_inverse, rational_product
from rankbound.exact.rational import is_exact, rational_matrix

__all__ = ["unreachability_certificate"]

Vector = list[Fraction]
Rational = list[list[Fraction]]


def unreachability_certificate(
    P: npt.ArrayLike | None = None,
    X: Any = None,
    *,
    logits: Any = None,
    ratio: float = 0.0,
) -> UnreachableWitness | None:
    """Return the proof that no head of any size has this context on tokens X, if it is one.

    Theorem B restated: P has a head on X iff ``C log P v = 0`` for every v with ``X v = 0`` and
    ``u^T log P = 0`` for every u with ``X u = 0`` and ``1^T u = 0``. So where there is none, two
    vectors show it: left with ``1^T left = 0``, and right, ``X left = 0`` or ``X right = 0``, and
    ``left^T log P right`` not 0, which it is for every head.

    Parameters
    ----------
    P : array_like, shape (n, n), optional
        Positive, columns sum to 1, [key, query]; its floats stand for the exact numbers they are.
    X : array_like or sympy.Matrix, shape (d, n)
        Tokens, read exactly, floats too.
    logits : array_like or sympy.Matrix, shape (n, n), optional
        Logits instead of P: ints, Fractions or SymPy numbers, up to one common factor.
    ratio : float
        With P: no head has its context within a factor ``e^±ratio`` of P in every entry.

    Returns
    -------
    UnreachableWitness or None
        With logits, None if and only if some head has the context; with P, None if no proof was
        found (n is at most 256 there).

    Raises
    ------
    InputError, InputTypeError
        If an argument is not as described.

    References
    ----------
    docs/theory.md, Theorem B; docs/certificates.md, kind unreachable.

    Examples
    --------
    >>> import rankbound as rb
    >>> from rankbound.theory.unreachable import unreachability_certificate
    >>> proof = unreachability_certificate([[0.5, 0.75], [0.5, 0.25]], X=[[1, 0]], ratio=0.5)
    >>> rb.check(proof).accepted
    True
    >>> unreachability_certificate(logits=[[5, 0], [0, 0]], X=[[1, 0]]) is None
    True
    """
    ratio = check_real("ratio", ratio, least=0.0)
    if (P is None) == (logits is None):
        raise InputTypeError(
            f"{'neither' if P is None else 'both'} of P and logits given; expected exactly one."
        )
    if X is None:
        raise InputError("X is None; expected tokens: on some, every context has a head.")
    tokens = rational_matrix("X", X, floats=True)[0]
    if logits is not None:
        table = _read_logits(logits, ratio)
        _require_fit("logits", table, tokens)
        return _of_logits(table, tokens)
    context = check_context("P", P, stored=None, rows=False)[0].tolist()
    _require_fit("P", context, tokens)
    return _of_context(context, ratio, tokens)


def _read_logits(logits: Any, ratio: float) -> Rational:
    if not is_exact(logits):
        raise InputTypeError(
            "logits are not exact; expected ints, Fractions or SymPy numbers, since rounded ones "
            "have no exact answer. Pass the context P and a ratio."
        )
    if ratio:
        raise InputTypeError(f"ratio is {ratio} with logits; expected 0, as they are exact.")
    return rational_matrix("logits", logits)[0]


def _require_fit(name: str, table: list[list[Any]], tokens: Rational) -> None:
    if not len(table) == len(table[0]) == len(tokens[0]):
        raise InputError(
            f"{name} has shape {(len(table), len(table[0]))} and X {len(tokens[0])} columns; "
            "expected (n, n) and one column a token."
        )


def _of_logits(logits: Rational, tokens: Rational) -> UnreachableWitness | None:
    found = max(_witnesses(logits, tokens), key=lambda w: w[0], default=None)
    if found is None or not found[0]:
        return None
    statement = Unreachable(Matrix.of_rationals(logits), Matrix.of_rationals(tokens))
    return UnreachableWitness(statement, _column(found[1]), _column(found[2]))


def _of_context(
    context: list[list[float]], ratio: float, tokens: Rational
) -> UnreachableWitness | None:
    """The witness is chosen by rounded logarithms; what it proves is checked."""
    logs = [[Fraction(math.log(x)) for x in row] for row in context]
    found = max(_witnesses(logs, tokens), key=lambda w: w[0], default=None)
    if found is None:
        return None
    statement = UnreachableWithin(Matrix.of_floats(context), ratio, Matrix.of_rationals(tokens))
    witness = UnreachableWitness(statement, _column(found[1]), _column(found[2]))
    return witness if check(witness).accepted else None


def _column(vector: Vector) -> Matrix:
    return Matrix.of_rationals([[x] for x in vector])


def _witnesses(L: Rational, tokens: Rational) -> Iterator[tuple[Fraction, Vector, Vector]]:
    """Vectors left and right, after what ``|left^T L right| / (‖left‖_1 ‖right‖_1)`` is.

    All are 0 iff P has a head: let ``X u = 0``, ``1^T u != 0`` and c the gauge with u^T L' = 0. By
    the second kind v^T L' = 0 for all null v, and if C L v = 0, then L' v = μ 1 with
    ``μ 1^T u = u^T L' v = 0``.
    """
    null = _null_space(tokens)
    if not null:
        return
    n = len(L)
    across = rational_product(L, [list(row) for row in zip(*null, strict=True)])
    for v, column in zip(null, zip(*across, strict=True), strict=True):
        most, least = column.index(max(column)), column.index(min(column))
        left = [Fraction((i == most) - (i == least)) for i in range(n)]
        yield (column[most] - column[least]) / (2 * _length(v)), left, v
    level = _summing_to_zero(null)
    for u, row in zip(level, rational_product(level, L) if level else [], strict=True):
        j = max(range(n), key=lambda j: abs(row[j]))
        yield abs(row[j]) / _length(u), u, [Fraction(i == j) for i in range(n)]


def _null_space(tokens: Rational) -> Rational:
    """A basis of the vectors that the tokens map to zero, one for each column without a pivot."""
    n, proof = len(tokens[0]), prove_rank(tokens)
    others = [j for j in range(n) if j not in proof.columns]
    solved: Rational = []
    if proof.rank and others:
        core = [[tokens[i][j] for j in proof.columns] for i in proof.rows]
        rest = [[tokens[i][j] for j in others] for i in proof.rows]
        solved = rational_product(left_inverse(core), rest)
    basis = []
    for place, j in enumerate(others):
        vector = [Fraction(i == j) for i in range(n)]
        for pivot, row in zip(proof.columns, solved, strict=True):
            vector[pivot] = -row[place]
        basis.append(vector)
    return basis


def _summing_to_zero(null: Rational) -> Rational:
    """A basis of those combinations that sum to zero."""
    sums = [sum(u, Fraction(0)) for u in null]
    place = next((i for i, total in enumerate(sums) if total), None)
    if place is None:
        return null
    return [
        [x - total / sums[place] * y for x, y in zip(u, null[place], strict=True)]
        for i, (u, total) in enumerate(zip(null, sums, strict=True))
        if i != place
    ]


def _length(vector: Vector) -> Fraction:
    return sum(map(abs, vector), Fraction(0))
