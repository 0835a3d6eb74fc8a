"""Matrices over the rationals, and their rank with a proof of both sides.

python-flint is imported inside the functions, so that `import rankbound` stays cheap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Rational
from typing import Any

import numpy as np

from rankbound.errors import BackendMissing, InputError, InputTypeError

__all__ = ["IntegerMatrix", "RankProof", "centred", "is_exact", "prove_rank", "rational_matrix"]

# Primes below 2^63, as the modulus must fit a machine word. A prime that happens to divide the
# pivotal minor is found out by the exact check and the next one is tried.
_PRIMES = (2**61 - 1, 2**62 - 57, 2**63 - 25, 2**60 - 93)

IntegerMatrix = list[list[int]]


def _flint() -> Any:
    try:
        import flint
    except ImportError:
        raise BackendMissing(
            "exact arithmetic needs python-flint, which is not installed here: "
            "pip install python-flint (wheels exist for glibc Linux, macOS and Windows)."
        ) from None
    return flint


def is_exact(value: Any) -> bool:
    """Say whether `value` is a matrix of ints, Fractions or SymPy numbers, to be read exactly."""
    if hasattr(value, "is_Matrix"):
        return True
    dtype = getattr(value, "dtype", None)
    if dtype is None and isinstance(value, Sequence):
        rows = [row if isinstance(row, Sequence) else [row] for row in value]
        entries = [entry for row in rows for entry in row]
        return bool(entries) and all(_is_exact_entry(entry) for entry in entries)
    kind = getattr(dtype, "kind", "")
    if kind == "O":
        return all(_is_exact_entry(entry) for entry in np.asarray(value).flat)
    return kind in ("i", "u")


def _is_exact_entry(entry: Any) -> bool:
    return isinstance(entry, Rational) or (
        hasattr(entry, "is_rational") and not getattr(entry, "is_Float", False)
    )


def rational_matrix(
    name: str, value: Any, *, floats: bool = False
) -> tuple[list[list[Fraction]], Any]:
    """Read a matrix exactly.

    Parameters
    ----------
    name : str
        What to call it in messages.
    value : array_like or sympy.Matrix, shape (m, n)
        Ints, Fractions or SymPy numbers; SymPy entries may share one irrational factor, as in
        ``log(2) * M``. Floats, read as the exact rationals they are, only with ``floats=True``.
    floats : bool
        Whether to accept floats.

    Returns
    -------
    rows : list of list of Fraction
    unit : 1 or a SymPy number
        The common factor: the matrix is ``unit * rows``.

    Raises
    ------
    InputError, InputTypeError
        If an entry is not a rational multiple of the common factor, or the shape is not (m, n).
    """
    table = value.tolist() if hasattr(value, "tolist") else [list(row) for row in value]
    if not table or not isinstance(table[0], list) or not table[0]:
        raise InputError(
            f"{name} has shape {np.shape(table)}; expected a matrix of at least one row and column."
        )
    if any(not isinstance(row, list) or len(row) != len(table[0]) for row in table):
        raise InputError(f"{name} is ragged or has more than 2 axes; expected one matrix (m, n).")
    unit = _common_unit(table)
    rows = [
        [_fraction(name, entry, (i, j), unit, floats) for j, entry in enumerate(row)]
        for i, row in enumerate(table)
    ]
    return rows, unit


def _common_unit(table: list[list[Any]]) -> Any:
    for row in table:
        for entry in row:
            if hasattr(entry, "is_rational") and entry.is_rational is False and entry.is_real:
                return entry
    return 1


def _fraction(name: str, entry: Any, at: tuple[int, int], unit: Any, floats: bool) -> Fraction:
    where = f"{name}[{at[0]}, {at[1]}]"
    if hasattr(entry, "is_rational") and not isinstance(entry, Rational):  # a SymPy number
        ratio = entry if unit == 1 else _ratio(entry, unit)
        if ratio.is_Rational:
            return Fraction(int(ratio.p), int(ratio.q))
        raise InputTypeError(
            f"{where} is {entry}; expected a rational number, or one common irrational factor "
            "times a rational matrix: the rank is decided over the rationals. "
            "For other entries pass floats."
        )
    if unit != 1 and entry != 0:
        raise InputTypeError(
            f"{where} is {entry}, and another entry is {unit}; expected one common factor."
        )
    if isinstance(entry, Integral):
        return Fraction(int(entry))
    if isinstance(entry, Rational):
        return Fraction(int(entry.numerator), int(entry.denominator))
    if isinstance(entry, float):
        return _from_float(where, entry, floats)
    raise InputTypeError(
        f"{where} is {entry!r} of type {type(entry).__name__}; "
        "expected an int, a Fraction or a SymPy number."
    )


def _ratio(entry: Any, unit: Any) -> Any:
    import sympy

    if entry == 0:
        return sympy.Integer(0)
    return sympy.simplify(sympy.expand_log(entry) / sympy.expand_log(unit))


def _from_float(where: str, entry: float, floats: bool) -> Fraction:
    if not floats:
        raise InputTypeError(
            f"{where} is the float {entry!r}; expected an exact number, since a rounded entry "
            'decides no exact rank. Pass floats="exact" to read floats as the rationals they are.'
        )
    if not math.isfinite(entry):
        raise InputError(f"{where} is {entry}; expected a finite number.")
    return Fraction(entry)


def centred(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return C·rows exactly, C = I - 11^T/n: each column less its mean."""
    means = [sum(column, Fraction(0)) / len(rows) for column in zip(*rows, strict=True)]
    return [[x - mean for x, mean in zip(row, means, strict=True)] for row in rows]


def integer_rows(rows: list[list[Fraction]]) -> tuple[IntegerMatrix, list[int]]:
    """Clear denominators row by row, which keeps the rank; also return each row's multiplier."""
    multipliers = [math.lcm(*(x.denominator for x in row)) for row in rows]
    cleared = [
        [x.numerator * (m // x.denominator) for x in row]
        for row, m in zip(rows, multipliers, strict=True)
    ]
    return cleared, multipliers


@dataclass(frozen=True, eq=False)
class RankProof:
    """A rank over the rationals with what proves it.

    Attributes
    ----------
    rank : int
        The rank of the integer matrix M.
    rows, columns : tuple of int
        A rank × rank minor of M that is not zero modulo `prime`, which proves rank M >= rank.
    prime : int
        The prime.
    coefficients : list of list of Fraction, shape (rank, n)
        Y with ``M[:, columns] @ Y == M`` exactly, which proves rank M <= rank; None when the rank
        is min(m, n), where the shape is the proof.
    """

    rank: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    prime: int
    coefficients: list[list[Fraction]] | None


def prove_rank(M: IntegerMatrix) -> RankProof:
    """Return the rank of an integer matrix with a proof of both sides.

    The row-reduced form modulo a prime names a minor (its rank is a lower bound over Q, for every
    prime); solving with that minor over Q and multiplying out shows that the other columns lie in
    the span of the chosen ones. Far cheaper than elimination over Q, and both sides are kept.
    """
    flint = _flint()
    whole = flint.fmpz_mat(M)
    full = min(len(M), len(M[0]))
    for prime in _PRIMES:
        reduced = flint.nmod_mat(whole, prime)
        columns = _pivots(reduced)
        if not columns:
            if any(map(any, M)):
                continue  # every entry is a multiple of this prime
            return RankProof(0, (), (), prime, [])
        rows = _pivots(reduced.transpose())
        if len(columns) == full:
            return RankProof(full, rows, columns, prime, None)
        coefficients = _span_coefficients(flint, M, whole, rows, columns)
        if coefficients is not None:
            return RankProof(len(columns), rows, columns, prime, coefficients)
    raise ArithmeticError(  # four primes above 2^59 would all have to divide one minor
        "no prime in the list shows the rank; please report this matrix as a bug."
    )


def _pivots(matrix: Any) -> tuple[int, ...]:
    echelon, rank = matrix.rref()
    pivots, column = [], 0
    for row in range(rank):
        while int(echelon[row, column]) == 0:
            column += 1
        pivots.append(column)
    return tuple(pivots)


def _span_coefficients(
    flint: Any, M: IntegerMatrix, whole: Any, rows: tuple[int, ...], columns: tuple[int, ...]
) -> list[list[Fraction]] | None:
    core = flint.fmpz_mat([[M[i][j] for j in columns] for i in rows])
    left = flint.fmpz_mat([[row[j] for j in columns] for row in M])
    solution = core.solve(flint.fmpz_mat([M[i] for i in rows]))
    numerator, denominator = solution.numer_denom()
    if left * numerator != whole * denominator:
        return None  # the prime divided a larger minor
    scale = int(denominator)
    return [[Fraction(int(x), scale) for x in row] for row in numerator.tolist()]
