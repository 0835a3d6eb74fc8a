"""The rank over the rationals, both sides proved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from rankbound._validate import shown
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import LogitRank, Rank, Statement
from rankbound.errors import InputError
from rankbound.exact import rational
from rankbound.exact.elimination import RankProof, pivots_modulo_prime, prove_rank
from rankbound.exact.flint import product, rational_product
from rankbound.exact.rational import (
    IntegerMatrix,
    Rationals,
    integer_rows,
    rational_matrix,
)
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.evidence import certify_proof
from rankbound.verdict import Verdict


def exact_rank(A: Any, floats: Literal["refuse", "exact"] = "refuse") -> RankBounds:
    """Return the rank of a matrix over the rationals, with both sides proved.

    The lower side is a minor that is not zero modulo a prime; the upper side is an exact
    factorisation through the columns of that minor. Neither side rests on a tolerance.

    Parameters
    ----------
    A : sequence of rows, ndarray of ints or objects, or sympy.Matrix, shape (m, n)
        Ints, Fractions, SymPy numbers (rational up to one common factor).
    floats : {"refuse", "exact"}
        Whether to read floats as the exact rationals they are. The rank is then that of the
        rounded matrix, which is rarely that of the matrix meant.

    Returns
    -------
    RankBounds
        Rigorous, with ``lower == upper``.

    Examples
    --------
    >>> import rankbound as rb
    >>> from fractions import Fraction
    >>> int(rb.exact_rank([[Fraction(1, 3), 1], [1, 3]]))
    1
    """
    if not isinstance(floats, str) or floats not in ("refuse", "exact"):
        raise InputError(f'floats is {shown(floats)}; expected "refuse" or "exact".')
    rows, _ = rational_matrix("A", A, floats=floats == "exact")
    proof = prove_rank(rows)
    upper = "the shape" if proof.factors is None else "an exact factorisation"

    def stated() -> tuple[Statement, Rationals]:
        return Rank(Matrix.of_rationals(rows), proof.rank, proof.rank), rows

    return _bounds(proof, upper, stated)


def _bounds(
    proof: RankProof,
    upper: str,
    stated: Callable[[], tuple[Statement, Rationals | IntegerMatrix]],
) -> RankBounds:
    method = f"lower: a minor that is not zero modulo {proof.prime}; upper: {upper}"
    return RankBounds(
        proof.rank,
        proof.rank,
        Verdict.RIGOROUS,
        method,
        lambda _: (certify_proof(*stated(), proof),),
    )


def exact_logit_rank(keys: Any, queries: Any, *, centre: bool = False) -> RankBounds:
    """Return the rank over Q of ``keys^T queries``, or of C times it: a context's log-rank.

    Keys and queries are (k, n); floats are read as the rationals they are, and the product is
    exact: this is the rank that a head's logits have before any rounding. k coordinates prove
    rank <= k; a minor that is not zero modulo a prime proves the other side, and elimination over
    Q decides where the two do not meet.
    """
    K, _ = rational_matrix("keys", keys, floats=True)
    Q, _ = rational_matrix("queries", queries, floats=True)
    if (len(K), len(K[0])) != (len(Q), len(Q[0])):
        raise InputError(
            f"keys are ({len(K)}, {len(K[0])}) and queries ({len(Q)}, {len(Q[0])}); "
            "expected the same shape (head_size, n)."
        )
    n = len(Q[0])
    # one multiplier for all: one per coordinate would change the product
    left, over_left = _cleared(K)
    right, over_right = _cleared(Q)
    if centre:  # n C in place of C
        left = [
            [n * x - total for x in row] for row, total in zip(left, map(sum, left), strict=True)
        ]
    L = product([list(key) for key in zip(*left, strict=True)], right)
    minor = pivots_modulo_prime(L, denominators=[n, over_left, over_right])
    proof = RankProof(len(minor[0]), *minor, None)
    bound = min(len(K), n - 1 if centre else n)
    upper = f"the factors have {len(K)} coordinates" if bound == len(K) else "the shape"
    exact: Rationals | None = None
    if proof.rank < bound:  # elimination over Q decides, and a factorisation shows it
        columns = rational.transposed(K)  # one row per key
        exact = rational_product(rational.centred(columns) if centre else columns, Q)
        proof, upper = prove_rank(exact), "an exact factorisation"

    def stated() -> tuple[Statement, Rationals | IntegerMatrix]:
        factors = Matrix.of_rationals(K), Matrix.of_rationals(Q)
        statement = LogitRank(*factors, centre, proof.rank, proof.rank)
        return statement, L if exact is None else exact

    return _bounds(proof, upper, stated)


def _cleared(rows: Rationals) -> tuple[IntegerMatrix, int]:
    """The integers that a matrix is over one denominator, and that."""
    n = len(rows[0])
    (entries,), (over,) = integer_rows([[x for row in rows for x in row]])
    return [entries[i : i + n] for i in range(0, len(entries), n)], over
