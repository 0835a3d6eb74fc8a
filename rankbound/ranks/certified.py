"""The rank of a float matrix, read as the exact reals it holds: a rigorous lower side."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from numbers import Rational
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, as_array, check_matrix, plain
from rankbound.errors import InputError, InputTypeError
from rankbound.exact.rational import is_exact
from rankbound.exact.rounding import check_model
from rankbound.ranks import evidence
from rankbound.ranks.bounds import RankBounds
from rankbound.ranks.evidence import GRAM, Test, certain_columns, grams_are_definite
from rankbound.ranks.exact import exact_rank
from rankbound.verdict import Verdict

MOST_EXACT = 256**2  # entries up to which the rank of a deficient matrix is decided exactly


def certified_rank(A: npt.ArrayLike, error: npt.ArrayLike | None = None) -> RankBounds:
    """Bound the rank of every matrix within an entrywise error of A, rigorously.

    The entries are float64 numbers taken as the exact reals they are, or known to within `error`.
    The lower side comes from the cheapest test that succeeds:

    1. a Cholesky decomposition of the shifted Gram matrix runs to completion (not tried where a
       quarter of 256 columns or more foretells that it will not);
    2. it does for A U^{-1}, P A = L U, which is better conditioned;
    3. an approximate left inverse R has ``‖I - R A‖_∞ < 1``;
    4. one of these for columns chosen by pivoting, where A is rank-deficient or nearly so;
    5. without an error: elimination modulo a prime on the entries as rationals, which decides;
       with one: ball arithmetic of rising precision on a square minor.

    The upper side is the shape, or an exact factorisation where step 5 found one. A rank below the
    shape can never be certified for a matrix that is known only within an error.

    Parameters
    ----------
    A : array_like, shape (..., m, n)
        Floats (of at most 64 bits), or exact numbers: those go to :func:`rankbound.exact_rank`.
    error : array_like, broadcastable to A, optional
        How far each entry may be from the one meant; non-negative.

    Returns
    -------
    RankBounds
        Rigorous. ``.certify()`` (of one matrix, or of ``b[i]``) writes a certificate that is
        checked without floating point.

    Raises
    ------
    RankboundError
        If the BLAS does not follow the model of rounding on which the tests rest.

    References
    ----------
    Jeannerod & Rump 2013 (products); Higham 2002, Theorem 10.3 (Cholesky); Rump 2010 (inverses);
    Ozaki, Ogita, Oishi & Rump 2012 (products of ill-conditioned factors).

    Examples
    --------
    >>> import rankbound as rb
    >>> b = rb.certified_rank([[1.0, 2.0], [3.0, 4.0]])
    >>> b.lower, b.upper, b.verdict.value
    (2, 2, 'rigorous')
    >>> rb.certified_rank([[1.0, 0.0], [0.0, 1e-17]], error=1e-16).lower
    1
    """
    A = _read("A", A)
    if error is None and getattr(A, "ndim", 2) == 2 and is_exact(A):
        return exact_rank(A)
    _refuse_inexact(A)
    matrix = check_matrix("A", A)
    within = None if error is None else _check_error(error, matrix.shape)
    check_model()
    if matrix.ndim == 2:
        return _bounds(matrix, within)
    return _batch(matrix, within)


def _batch(A: Array, error: Array | None) -> RankBounds:
    shape, size = A.shape[:-2], A.shape[-2:]
    stack = A.reshape(-1, *size)
    errors = None if error is None else error.reshape(stack.shape)
    passed = grams_are_definite(stack) if errors is None else np.zeros(len(stack), np.bool_)

    @cache
    def bounds(i: int) -> RankBounds:
        return _bounds(stack[i], None if errors is None else errors[i])

    lower = np.full(len(stack), min(size))
    upper = lower.copy()
    methods = {f"lower: {GRAM}; upper: the shape"} if passed.any() else set()
    for i in np.flatnonzero(~passed):
        one = bounds(int(i))
        lower[i], upper[i] = one.lower, one.upper
        methods.add(one.method)
    return RankBounds(
        lower.reshape(shape),
        upper.reshape(shape),
        Verdict.RIGOROUS,
        " | ".join(sorted(methods)),
        lambda place: bounds(int(np.ravel_multi_index(place, shape))).certify().certificates,
    )


def _read(name: str, value: Any) -> Any:
    """Lists as they are, since NumPy would round what they hold; everything else as an array."""
    return value if isinstance(value, (list, tuple)) else plain(name, value)[0]


def _refuse_inexact(A: Any) -> None:
    as_array("A", A)  # refuses what is no number
    given = np.asarray(A)
    if given.dtype.kind == "f" and given.dtype.itemsize <= 8 and isinstance(A, np.ndarray):
        return
    # entry by entry: a list of Fractions and floats is no array of floats
    if all(_is_float64(entry) for entry in np.array(A, dtype=object).flat):
        return
    raise InputTypeError(
        f"A has dtype {given.dtype} and entries that float64 does not hold exactly; expected "
        "entries that it does, since they are read as exact reals. Use rb.exact_rank."
    )


def _rounded_up(entry: Any) -> float:
    """The least float64 that is not below the entry, within one."""
    exact = _fraction(entry)
    try:
        rounded = float(entry) if exact is None else float(exact)
    except OverflowError:
        return math.inf
    if exact is None:  # irrational, so rounded one way or the other; or not finite, and refused
        low = not isinstance(entry, (float, np.floating))
    else:
        low = Fraction(rounded) < exact
    return math.nextafter(rounded, math.inf) if low else rounded


def _fraction(entry: Any) -> Fraction | None:
    """The entry exactly; None where it is not a rational or not finite."""
    if isinstance(entry, Rational):
        return Fraction(int(entry.numerator), int(entry.denominator))
    if isinstance(entry, (float, np.floating)) and np.isfinite(entry):
        return Fraction(*entry.as_integer_ratio())
    return Fraction(bool(entry)) if isinstance(entry, np.bool_) else None


def _is_float64(entry: Any) -> bool:
    """Whether an integer, Fraction, SymPy number or long float is a float64 exactly."""
    exact = _fraction(entry)
    if exact is None:  # not finite, which is refused in its own words, or not rational
        return isinstance(entry, (float, np.floating))
    try:
        return Fraction(float(exact)) == exact
    except OverflowError:
        return False


def _check_error(error: Any, shape: tuple[int, ...]) -> Array:
    error = _read("error", error)
    as_array("error", error)  # refuses what is no number
    given = np.array(error, dtype=object)
    array = np.array([_rounded_up(x) for x in given.flat]).reshape(given.shape)
    try:
        array = np.broadcast_to(array, shape)
    except ValueError:
        raise InputError(
            f"error has shape {array.shape} and A {shape}; expected one number, or a shape that "
            "broadcasts to that of A."
        ) from None
    if not (np.isfinite(array).all() and array.min() >= 0):
        bad = array[~(np.isfinite(array) & (array >= 0))].flat[0]
        raise InputError(f"error holds {bad}; expected finite numbers of at least 0.")
    return array


def _bounds(A: Array, error: Array | None) -> RankBounds:
    test = certain_columns(A, error)
    if len(test.columns) < min(A.shape):
        if error is None and A.size <= MOST_EXACT:
            return exact_rank(A, floats="exact")
        test = _by_elimination(A, test) if error is None else _by_balls(A, error, test)
    return RankBounds(
        len(test.columns),
        min(A.shape),
        Verdict.RIGOROUS,
        f"lower: {test.name}; upper: the shape",
        lambda _: (evidence.prove_columns(A, error, len(test.columns)),),
    )


def _by_elimination(A: Array, test: Test) -> Test:
    """Lower side modulo a prime, for matrices on which an exact factorisation takes minutes."""
    rank = len(evidence.float_pivots(A)[0])
    if rank > len(test.columns):
        return Test(tuple(range(rank)), "a minor that is not zero modulo a prime")
    return test


def _by_balls(A: Array, error: Array, test: Test) -> Test:
    """Try a minor of full size in ball arithmetic, which pays where rounding was the obstacle."""
    from rankbound.exact.balls import is_nonsingular

    minor = evidence.pivoted_minor(A, min(A.shape))
    rows, columns = np.ix_(*minor)
    if is_nonsingular(A[rows, columns], error[rows, columns]):
        return Test(tuple(range(min(A.shape))), "ball arithmetic on a minor")
    return test
