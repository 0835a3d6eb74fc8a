"""The rank over the rationals, both sides proved."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

from rankbound.certificates.matrices import Matrix
from rankbound.certificates.model import Factorisation, NonzeroMinor
from rankbound.certificates.statements import LogitRank
from rankbound.errors import InputError
from rankbound.exact.elimination import pivots_modulo_prime, prove_rank
from rankbound.exact.flint import product, rational_product
from rankbound.exact.rational import centred, integer_rows, rational_matrix
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.evidence import certify_proof, prove_exact
from rankbound.verdict import Verdict

__all__ = ["exact_logit_rank", "exact_rank"]


def exact_rank(A: Any, floats: Literal["refuse", "exact"] = "refuse") -> RankBounds:
    """Return the rank of a matrix over the rationals, with both sides proved.

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
        Rigorous, with ``lower == upper``.

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
    proof = prove_rank(rows)
    upper = "the shape" if proof.factors is None else "an exact factorisation"
    return RankBounds(
        proof.rank,
        proof.rank,
        Verdict.RIGOROUS,
        f"lower: a minor that is not zero modulo {proof.prime}; upper: {upper}",
        lambda _: (prove_exact(rows, proof),),
    )


def exact_logit_rank(keys: Any, queries: Any, *, centre: bool = False) -> RankBounds:
    """Return the rank over the rationals of ``keys^T queries``, or of ``C keys^T queries``.

    Floats are read as the rationals they are, and the product is exact: this is the rank that a
    head's logits have before any rounding. k coordinates prove rank <= k; a minor that is not zero
    modulo a prime proves the other side, and elimination over Q decides where the two do not meet.

    Parameters
    ----------
    keys, queries : array_like, shape (k, n)
        Floats, ints, Fractions or rational SymPy numbers.
    centre : bool
        Whether to centre over keys, C = I - 11^T/n: then the rank is the log-rank of the context.

    Returns
    -------
    RankBounds
        Rigorous, with ``lower == upper``.

    Raises
    ------
    InputError, InputTypeError
        If the factors are not two matrices of the same shape with rational entries.
    """
    K, _ = rational_matrix("keys", keys, floats=True)
    Q, _ = rational_matrix("queries", queries, floats=True)
    if (len(K), len(K[0])) != (len(Q), len(Q[0])):
        raise InputError(
            f"keys are ({len(K)}, {len(K[0])}) and queries ({len(Q)}, {len(Q[0])}); "
            "expected the same shape (head_size, n)."
        )
    columns = [list(column) for column in zip(*K, strict=True)]  # keys^T, a row a key
    left = integer_rows(centred(columns) if centre else columns)[0]
    # one multiplier for all queries: one a coordinate would change the product
    right = integer_rows([[x for row in Q for x in row]])[0][0]
    n = len(Q[0])
    L = product(left, [right[i : i + n] for i in range(0, len(right), n)])
    rows, places, prime = pivots_modulo_prime(L)
    bound = min(len(K), n - 1 if centre else n)
    if len(rows) < bound:
        return _deficient(K, Q, centre, columns)
    upper = f"the factors have {len(K)} coordinates" if bound == len(K) else "the shape"
    method = f"lower: a minor that is not zero modulo {prime}; upper: {upper}"

    def prove(_: tuple[int, ...]) -> tuple[NonzeroMinor]:
        factors = Matrix.of_rationals(K), Matrix.of_rationals(Q)
        return (NonzeroMinor(LogitRank(*factors, centre, bound, bound), rows, places, prime),)

    return RankBounds(bound, bound, Verdict.RIGOROUS, method, prove)


def _deficient(
    K: list[list[Fraction]], Q: list[list[Fraction]], centre: bool, columns: list[list[Fraction]]
) -> RankBounds:
    """Below the number of coordinates: elimination over Q decides, and a factorisation shows it."""
    L = rational_product(centred(columns) if centre else columns, Q)
    proof = prove_rank(L)

    def prove(_: tuple[int, ...]) -> tuple[NonzeroMinor | Factorisation]:
        factors = Matrix.of_rationals(K), Matrix.of_rationals(Q)
        return (certify_proof(LogitRank(*factors, centre, proof.rank, proof.rank), L, proof),)

    method = f"lower: a minor that is not zero modulo {proof.prime}; upper: an exact factorisation"
    return RankBounds(proof.rank, proof.rank, Verdict.RIGOROUS, method, prove)
