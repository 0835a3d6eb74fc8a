"""The rank over the rationals, both sides proved."""

from __future__ import annotations

from typing import Any, Literal

from rankbound.arithmetic.exact import integer_rows, prove_rank, rational_matrix
from rankbound.errors import InputError
from rankbound.ranks.bounds import RankBounds
from rankbound.verdict import Verdict

__all__ = ["exact_rank"]


def exact_rank(A: Any, floats: Literal["refuse", "exact"] = "refuse") -> RankBounds:
    """Return the rank of a matrix over the rationals, with both sides certified.

    The lower side is a minor that is not zero modulo a prime; the upper side is an exact
    factorisation through the columns of that minor. Neither side rests on a tolerance.

    Parameters
    ----------
    A : sequence of rows, ndarray of ints or objects, or sympy.Matrix, shape (m, n)
        Ints, Fractions, SymPy numbers (rational up to one common factor).
    floats : {"refuse", "exact"}
        What to do with floats: refuse them, or read each as the exact rational it is. The rank is
        then that of the rounded matrix, which is rarely that of the matrix meant.

    Returns
    -------
    RankBounds
        With ``lower == upper``.

    Raises
    ------
    InputError, InputTypeError
        If an entry is not exact, or `A` is not one matrix.
    BackendMissing
        If python-flint is not installed.

    Examples
    --------
    >>> import rankbound as rb
    >>> from fractions import Fraction
    >>> int(rb.exact_rank([[Fraction(1, 3), 1], [1, 3]]))
    1
    """
    if floats not in ("refuse", "exact"):
        raise InputError(f'floats is {floats!r}; expected "refuse" or "exact".')
    rows, _ = rational_matrix("A", A, floats=floats == "exact")
    proof = prove_rank(integer_rows(rows)[0])
    upper = "the shape" if proof.coefficients is None else "an exact factorisation"
    return RankBounds(
        proof.rank,
        proof.rank,
        Verdict.CERTIFIED,
        f"lower: a minor that is not zero modulo {proof.prime}; upper: {upper}",
    )
