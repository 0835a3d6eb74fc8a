"""What a user gives for a context matrix, read once.

P or logits, exact or float, under a mask, by columns or rows, of a stated precision: every public
function that takes a context reads it here, so that all accept the same and refuse the rest in the
same words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from numbers import Rational
from typing import Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt

from rankbound._files import is_matrix_path
from rankbound._validate import (
    LARGEST_EXACT,
    STORAGES,
    Array,
    Storage,
    as_floats,
    check_bool,
    check_finite,
    check_square,
    frozen_copy,
    is_float,
    loses,
    plain,
    refuse_mixture,
    shown,
    storage,
)
from rankbound.attention.masks import Mask, check_mask
from rankbound.attention.softmax import _softmax
from rankbound.errors import InputError, InputTypeError, RankboundError
from rankbound.exact.rational import Rationals, rational_matrix

HIDDEN = -5e3  # where -10^4 or less is added to a logit, as masks do, it is below this


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Context:
    """A context matrix as it was given: P, or logits whose column softmax it is.

    Every function of rankbound that takes a context takes what this takes, or a ``Context`` itself,
    which spares reading the same data again.

    Parameters
    ----------
    P : array_like, shape (..., n, n), optional
        [key, query]; its columns sum to 1 over what the mask shows. An array, nested list,
        DataFrame, torch or JAX tensor, or the path of a .npy, .npz or .csv file.
    logits : array_like, shape (..., n, n), optional
        Logits instead of P. Ints, Fractions and SymPy numbers (rational up to one common factor
        such as log 2) stay exact, as one matrix. Floats with an additive mask in them are refused.
    mask : array_like of bool, or str, optional
        True = visible, shape (n, n) or a batch of them; or "causal", "prefix:P", "sliding:W". An
        entry that it hides is of no account, whatever it holds.
    rows : bool
        True if the rows of P are the queries (they sum to 1), as in most software; then a mask
        given as an array is [query, key] too.
    stored : dtype or str, optional
        The dtype in which the data was computed ("float32", torch.bfloat16 …), where the array no
        longer shows it: the tolerance of every rank is derived from it.
    floats : {"refuse", "exact"}
        Whether floats among exact logits are refused or read as the rationals they are. All floats
        are never refused: with "refuse" they are rounded data.

    Attributes
    ----------
    name : str
        ``P`` or ``logits``.
    values : ndarray of float64, shape (..., n, n)
        What was given, [key, query]; 0 where hidden.
    mask : ndarray of bool, shape (..., n, n), or None
        [key, query]; None where nothing is hidden.
    stored : Storage
        The dtype in which the data was computed: ``.name``, ``.eps``, ``.smallest``.
    declared : bool
        Whether `stored` was said, by argument or by an array of lower precision.
    exact : list of list of Fraction, or None
        The logits exactly over `unit`, where they were exact; 0 where hidden.
    unit : float
        Their common factor.
    given : ndarray
        What was given, [key, query], before it was rounded to float64; 0 where hidden.

    Examples
    --------
    >>> import rankbound as rb
    >>> context = rb.Context([[0.5, 0.0], [0.5, 1.0]], mask=[[True, False], [True, True]])
    >>> context
    Context(P, n = 2, float64, 1 of 4 entries hidden)
    >>> rb.log_rank(context)
    0
    """

    name: str
    values: Array
    mask: Mask | None
    stored: Storage
    declared: bool
    exact: Rationals | None
    unit: float
    given: npt.NDArray[Any]

    def __init__(
        self,
        P: Any = None,
        *,
        logits: Any = None,
        mask: Any = None,
        rows: bool = False,
        stored: Any = None,
        floats: Literal["refuse", "exact"] = "refuse",
    ) -> None:
        if (P is None) == (logits is None):
            raise InputTypeError(
                f"{'neither' if P is None else 'both'} of P and logits given; expected exactly "
                "one: the context matrix, or the logits it is the softmax of."
            )
        if not isinstance(floats, str) or floats not in ("refuse", "exact"):
            raise InputError(f'floats is {shown(floats)}; expected "refuse" or "exact".')
        name = "P" if logits is None else "logits"
        rows = check_bool("rows", rows, "rows sum to 1")
        given, hint = plain(name, P if logits is None else logits)
        if given.dtype == np.bool_:
            raise InputTypeError(
                f"{name} has dtype bool; expected numbers: a matrix of truth values is a mask "
                "(mask=)."
            )
        if given.dtype == object:
            _refuse_other_entries(name, given)
        dtype = storage(name, given, stored, hint)
        check_square(name, given.shape, ndim=None)
        visible = None if mask is None else check_mask(mask, given.shape, rows=rows)
        if rows:
            given = np.swapaxes(given, -1, -2)
        whole = given
        if visible is not None:
            given = np.where(visible, given, 0)
        declared = stored is not None or dtype.name != "float64"
        _fill(self, name, given, visible, dtype, declared, floats)
        if name == "logits" and floats == "refuse":
            _refuse_additive_mask(self)
        elif name == "P":
            named = isinstance(mask, str) and not is_matrix_path(mask)
            _check_stochastic(self, rows, _Whole(whole, visible, named))

    @property
    def n(self) -> int:
        """Sequence length."""
        return int(self.values.shape[-1])

    @property
    def batch(self) -> tuple[int, ...]:
        """Leading dimensions; empty for one matrix."""
        return self.values.shape[:-2]

    @cached_property
    def P(self) -> Array:
        """The context matrix, columns normalised to rounding; 0 where hidden."""
        if self.name != "logits":
            return self.values
        if self.batch and self.exact_logits:
            return np.array([one.P for _, one in self.matrices()]).reshape(self.values.shape)
        return _softmax(self.values if self.exact is None else self._below_greatest(), self.mask)

    def _below_greatest(self) -> Array:
        """Exact logits less the greatest that is visible in their column: so nothing cancels."""
        columns = []
        for column, seen in zip(zip(*self.exact or [], strict=True), self.visible.T, strict=True):
            greatest = max((x for x, shown in zip(column, seen, strict=True) if shown), default=0)
            columns.append([_float(x - greatest) for x in column])
        return np.array(columns).T * self.unit

    @property
    def exact_logits(self) -> bool:
        """Whether logits were given, all in exact numbers."""
        return self.name == "logits" and self.all_exact

    @property
    def all_exact(self) -> bool:
        """Whether all that was given, P or logits, is exact numbers."""
        return self.given.dtype.kind in "iu" or (
            self.given.dtype == object and all(map(_is_exact, self.given.flat))
        )

    @property
    def rounded(self) -> bool:
        """Whether float64 does not hold what was given."""
        if self.given.dtype == object:
            return any(map(loses, self.given.flat))
        if self.given.dtype.kind in "iu":
            return max(abs(int(self.given.max())), abs(int(self.given.min()))) > LARGEST_EXACT
        return bool(np.any(self.given != self.values))

    @property
    def visible(self) -> Mask:
        """The mask, also where it hides nothing."""
        return np.ones(self.values.shape, np.bool_) if self.mask is None else self.mask

    def __getitem__(self, index: Any) -> Context:
        if not self.batch:
            raise InputTypeError("this is one context, not a batch; it has no parts.")
        places = np.arange(math.prod(self.batch)).reshape(self.batch)[index]
        n = self.n
        given = self.given.reshape(-1, n, n)[places]
        mask = None if self.mask is None else self.mask.reshape(-1, n, n)[places]
        part = object.__new__(Context)
        _fill(part, self.name, given, mask, self.stored, self.declared, "refuse")
        return part

    def matrices(self) -> Iterator[tuple[tuple[int, ...], Context]]:
        """Each matrix of a batch with its place; one matrix is at the place ()."""
        for place in np.ndindex(*self.batch):
            yield place, self[place] if self.batch else self

    def __len__(self) -> int:
        if not self.batch:
            raise InputTypeError("this is one context, not a batch; it has no length. Use .n.")
        return self.batch[0]

    def __bool__(self) -> NoReturn:
        raise TypeError("a Context is not a truth value.")

    def __repr__(self) -> str:
        parts = [self.name]
        if self.batch:
            parts.append(f"batch of {' × '.join(map(str, self.batch))}")
        parts += [f"n = {self.n}", "exact" if self.exact is not None else self.stored.name]
        if self.mask is not None:
            parts.append(f"{int(np.sum(~self.mask))} of {self.mask.size} entries hidden")
        return f"Context({', '.join(parts)})"

    def _repr_html_(self) -> str:
        stated = r"P" if self.name == "P" else r"P = \operatorname{softmax}(L)"
        return f"<p>${stated}$ [key, query]: <code>{self!r}</code></p>"


def read_context(
    P: Any,
    *,
    logits: Any = None,
    mask: Any = None,
    rows: bool = False,
    stored: Any = None,
    floats: Literal["refuse", "exact"] = "refuse",
    zeros: bool = False,
    batch: bool = False,
) -> Context:
    """The door of every function that takes a context: read it, or take one that was read.

    ``zeros=True`` admits a P with zeros that no mask hides, ``batch=True`` leading dimensions.
    """
    if isinstance(P, Context):
        if logits is not None or mask is not None or rows is not False or stored is not None:
            raise InputTypeError(
                "a Context is given beside logits, mask, rows or stored; expected it alone: it "
                "holds them. Give them to rb.Context."
            )
        context = P
    else:
        context = Context(P, logits=logits, mask=mask, rows=rows, stored=stored, floats=floats)
    if not batch:
        check_square(context.name, context.values.shape)
    if not zeros and context.name == "P":
        _require_positive(context)
    return context


def _fill(
    context: Context,
    name: str,
    given: npt.NDArray[Any],
    visible: Mask | None,
    stored: Storage,
    declared: bool,
    floats: Literal["refuse", "exact"],
) -> None:
    """Set the fields of a context, or of a part of a batch, from what was given."""
    table, unit = _exact(name, given, floats, masked=visible is not None)
    values = _floats(name, given, visible, table, unit)
    values.flags.writeable = False
    hides = visible is not None and not visible.all()
    fields = {
        "name": name,
        "values": values,
        "mask": frozen_copy(visible) if hides and visible is not None else None,
        "stored": stored,
        "given": values if given.dtype == np.float64 else frozen_copy(given),
        "declared": declared,
        "exact": table,
        "unit": unit,
    }
    for field, value in fields.items():
        object.__setattr__(context, field, value)


def _refuse_other_entries(name: str, array: npt.NDArray[Any]) -> None:
    """Refuse what cannot be a number anywhere, hidden or not: rows in the place of numbers."""
    if array.ndim == 1 and any(hasattr(entry, "__len__") for entry in array):
        raise InputError(
            f"{name} is ragged: every row must have the same length. Expected one matrix."
        )


def _exact(
    name: str, given: npt.NDArray[Any], floats: Literal["refuse", "exact"], *, masked: bool
) -> tuple[Rationals | None, float]:
    """Logits as rationals and their common factor, where they are exact or read as such."""
    if name == "P" or given.ndim != 2:
        return None, 1.0
    if floats == "exact":
        if given.dtype.kind == "f":
            check_finite(name, given, masked=masked)
        table, unit = rational_matrix(name, given, floats=True)
        return table, float(unit)
    if given.dtype.kind in "iu" or (given.dtype == object and all(map(_is_exact, given.flat))):
        table, unit = rational_matrix(name, given)
        return table, float(unit)
    if given.dtype == object:
        refuse_mixture(name, given)
    return None, 1.0


def _float(x: Rational) -> float:
    """The nearest float, infinite where it is beyond."""
    try:
        return float(x)
    except OverflowError:
        return math.copysign(math.inf, x)


def _is_exact(entry: Any) -> bool:
    return isinstance(entry, Rational) or (hasattr(entry, "is_rational") and not is_float(entry))


def _floats(
    name: str,
    given: npt.NDArray[Any],
    visible: Mask | None,
    table: Rationals | None,
    unit: float,
) -> Array:
    """What was given, in an array of its own."""
    if table is None:
        return as_floats(name, given, visible)
    try:
        values = np.array([[float(x) for x in row] for row in table]) * unit
    except OverflowError:
        values = np.array([[np.inf]])
    if not np.isfinite(values).all():
        raise InputError(
            f"{name} hold a number above 1.8e308; expected numbers that float64 holds."
        )
    return values


def _require_positive(context: Context) -> None:
    if context.values.min() > 0:
        return
    zero = context.values == 0
    if context.mask is not None:
        zero &= context.mask
    if zero.any():
        where = [int(i) for i in np.argwhere(zero)[0]]
        remedy = (
            "If it underflowed, pass logits= instead; if it is hidden, it needs a mask."
            if context.mask is None
            else "The mask shows it: hide the entry, or pass logits=."
        )
        raise InputError(
            f"P is 0.0 at {where}; expected positive entries: a softmax is positive, so no head of "
            f"any size reaches a zero. {remedy}"
        )


def _refuse_additive_mask(context: Context) -> None:
    """Refuse float logits of two levels: those of keys, and far below them what a mask added to.

    Unmistakable only: the gap is ten times what either level spans, each query has a key of the
    upper level, and that level is no constant and not of whole numbers, which may be meant as they
    are. So are exact numbers, and all where a mask says what is hidden.
    """
    L = context.values
    if context.mask is not None or context.given.dtype.kind != "f" or L.min() > HIDDEN:
        return
    hidden = L <= HIDDEN
    below, rest = L[hidden], L[~hidden]
    if hidden.all(axis=-2).any() or (rest == np.rint(rest)).all():
        return
    low, high = float(below.max()), float(rest.min())
    with np.errstate(over="ignore"):
        spans = max(float(np.ptp(rest)), float(np.ptp(below)))
    if np.ptp(rest) > 0 and high - low > max(10 * spans, -HIDDEN):
        where = [int(i) for i in np.argwhere(hidden)[0]]
        raise InputError(
            f"logits holds {L[tuple(where)]:.6g} at {where}, and such in {len(below)} of {L.size} "
            f"entries, while the others are {high:.6g} or more; expected a mask in place of what "
            "is added to hide a key: the rank would be that of both. Pass the bools "
            f"logits > {HIDDEN:g} as mask=; Fractions are taken as they are."
        )


@dataclass(frozen=True, eq=False)
class _Whole:
    """A P before its mask hid anything, and the mask, both [key, query]."""

    P: npt.NDArray[Any]
    visible: Mask | None
    named: bool  # such a mask is [key, query] always

    def other_readings(self, rows: bool) -> Iterator[tuple[npt.NDArray[Any], Mask | None, str]]:
        """What else can have been meant, with what to say if its columns do sum to 1."""
        P, visible = self.P, self.visible
        turned = np.swapaxes(P, -1, -2)
        own, other, flag = ("rows", "columns", False) if rows else ("columns", "rows", True)
        lies = f"Its {other} do sum to 1"
        if visible is None:
            remedy = "rows=False" if rows else "rows=True (--rows at the command line), or P.T"
            yield turned, None, f"{lies}, so it lies transposed: pass {remedy}."
            return
        over = f"{lies} over what the mask shows"
        tilted = np.swapaxes(visible, -1, -2)
        if self.named:
            yield turned, visible, f"{over}, so it lies transposed: pass rows={flag}."
        else:
            yield turned, tilted, f"{over}, so both lie transposed: pass rows={flag}."
            yield P, tilted, f"Its {own} do over the transposed mask: transpose the mask, mask.T."
            yield turned, visible, f"{over}, so P lies transposed and the mask does not: pass P.T."
        wrong = "leave the mask out, or pass the one it was computed under"
        yield P, None, f"Its {own} do without the mask: {wrong}."
        yield turned, None, f"{lies} without the mask: pass rows={flag}, and {wrong}."


def _check_stochastic(context: Context, rows: bool, whole: _Whole) -> None:
    """Refuse a P with negative entries or columns that do not sum to 1.

    Each entry is within a relative n·eps of a number whose columns sum to 1 exactly: n - 1
    additions, one exponential and one division, each within eps, and the additions below.
    """
    P, n = context.values, context.n
    low = float(P.min())
    if low < 0:
        where = [int(i) for i in np.argwhere(low == P)[0]]
        raise InputError(
            f"P is {low} at {where}; expected positive entries: probabilities are not negative."
        )
    eps = context.stored.eps
    tolerance = (n + 8) * eps
    deviation = _deviation(P, -2)
    # in low precision the bound is wide: a transposed P shows by rows that sum to 1 far better
    small = 8 * math.sqrt(n) * eps
    transposed = deviation > small and _deviation(P, -1) < deviation / 4
    if deviation > tolerance or transposed:
        raise InputError(_not_stochastic(context, deviation, tolerance, rows, whole))


def _deviation(P: Array, axis: int) -> float:
    with np.errstate(over="ignore"):  # an infinite sum is reported as one that is not 1
        return float(np.max(np.abs(P.sum(axis=axis) - 1.0)))


def _sums_to_1(P: npt.NDArray[Any], visible: Mask | None, within: float) -> bool:
    """Whether columns sum to 1 over a mask; what it hides may be anything."""
    try:
        return _deviation(as_floats("P", P, visible), -2) <= within
    except RankboundError:
        return False


def _not_stochastic(
    context: Context, deviation: float, tolerance: float, rows: bool, whole: _Whole
) -> str:
    n = context.n
    over = " over what the mask shows" if context.mask is not None else ""
    head = (
        f"P has {'rows' if rows else 'columns'} that sum to 1 only within {deviation:.1e}{over}; "
        f"expected {tolerance:.1e} for n = {n} in {context.stored}: each query's attention sums "
        "to 1."
    )
    for P, visible, remedy in whole.other_readings(rows):
        if _sums_to_1(P, visible, min(tolerance, deviation / 4)):
            return f"{head} {remedy}"
    least = np.min(context.values, where=context.values > 0, initial=1.0)
    for coarser in ("float32", "float16", "bfloat16"):
        known = STORAGES[coarser]
        if (
            context.stored.eps < known.eps
            and deviation <= (n + 8) * known.eps
            and (least >= known.smallest)
        ):
            example = "stored='bfloat16'" if coarser == "bfloat16" else f"stored=np.{coarser}"
            return f"{head} If it was computed in {coarser}, pass {example}."
    return f"{head} Normalise it{over}, or pass logits= if these are logits."
