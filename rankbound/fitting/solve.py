"""Heads fitted to a context matrix: of one size, along a path, and beside a lower bound."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rankbound._validate import (
    Array,
    check_bool,
    check_head_size,
    check_int,
    check_ints,
    check_real,
    frozen_copy,
    require_memory,
    shown,
)
from rankbound.attention.head import AttentionHead
from rankbound.context import Context, read_context
from rankbound.errors import InputError, Interrupted
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.fitting.descent import (
    METHODS,
    SMOOTHINGS,
    End,
    Problem,
    Race,
    descend,
    read_problem,
    truncated,
)
from rankbound.fitting.objective import LOSSES, Point, measure
from rankbound.records import Record
from rankbound.table import Column, Table
from rankbound.theory.approximation import kl_lower_bound
from rankbound.theory.softmax_gauge import centre

HALVINGS = 40  # of the first step along new directions


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Record):
    """A fitted head and how well it was fitted.

    The head is the best one found: an upper bound on what its size can reach, never a lower one.
    The gradient is in the factors A, B of its logits ``A^T B``; the total variation has kinks: for
    it, the gradient is that of the loss smoothed by ``smoothing``. The ends of the starts are in
    this order: the truncated SVD (if asked), then the random ones, drawn again from ``seed``. Their
    agreement is the only sign of a global optimum, and no proof of it; starts that lost a race have
    not been followed that far.

    `iterations` are those of the start that won: Hessian products of Newton's method, each of about
    the cost of an iteration of L-BFGS, or iterations of that; for the total variation of all its
    stages. `curvature` is the least that Newton's last step met, in units of the Fisher metric.
    Below 0: the head may be at a saddle. Above 0: the step met none, which proves no minimum. None:
    no step was taken, or the method sees no curvature.

    Examples
    --------
    >>> import rankbound as rb
    >>> fit = rb.fit_head(rb.random_context(4, seed=0), 3, seed=0)
    >>> fit.head.head_size, fit.kl < 1e-12, fit.converged
    (3, True, True)
    """

    head: AttentionHead  # the best one found
    kl: float  # ``(1/n) Σ_j KL(P_j ‖ Q_j)`` in nats, Q the head's context, whatever the loss
    gradient_norm: float  # Euclidean
    iterations: int  # of the start that won
    converged: bool  # gradient_norm <= gradient_tolerance; if not: not even a stationary point
    gradient_tolerance: float  # that was asked for
    start_kls: tuple[float, ...]  # of the ends of all starts
    seed: int  # of the random starts
    loss: str  # what was minimised
    value: float  # that loss of the head: the total variation itself, not smoothed
    start_values: tuple[float, ...]  # the loss at the ends of all starts
    smoothing: float  # μ where ``|x|`` was smoothed to ``sqrt(x² + μ²) - μ``; else 0
    curvature: float | None  # the least at Newton's last step
    method: str  # how the loss was minimised

    formula: ClassVar[str] = r"\textstyle\frac1n \sum_j \mathrm{KL}(P_j \,\|\, Q_j) = %(kl)s"


def fit_head(
    P: Any = None,
    head_size: int = 1,
    *,
    X: Any = None,
    mask: Any = None,
    logits: Any = None,
    seed: int = 0,
    spectral_start: bool = True,
    random_starts: int = 3,
    gradient_tolerance: float = 1e-8,
    max_iterations: int = 10_000,
    loss: str = "kl",
    method: str = "newton",
    race: bool = True,
    stored: Any = None,
    rows: bool = False,
) -> Fit:
    """Fit a head of this size to P, in mean KL divergence unless another loss is named.

    The problem is not convex. One start is the truncated singular value decomposition of
    ``C log P`` (the exact optimum in Aitchison distance), the others are Gaussian; the best end
    is returned. On tokens X of any rank the factors live in the row space of X.

    Parameters
    ----------
    P, mask, logits, stored, rows
        One matrix, as in :class:`rankbound.Context`. Zeros are allowed, but not in the reverse KL:
        then the infimum need not be attained, and the fit follows it until the gradient is small.
    head_size : int
        k >= 1.
    X : array_like, shape (d, n), optional
        Tokens; None means the identity.
    seed, spectral_start, random_starts
        Which starts: the truncated singular value decomposition, and how many at random.
    gradient_tolerance, max_iterations
        Euclidean norm of the gradient at which a start is called converged; for each start, the
        most that :attr:`Fit.iterations` counts.
    loss : {"kl", "reverse_kl", "total_variation"}
        Mean over columns of ``KL(P_j ‖ Q_j)``, of ``KL(Q_j ‖ P_j)`` or of ``½ Σ_i |p_ij - q_ij|``.
        The last has kinks and is minimised smoothed, less and less, down to μ = 1e-4/n. The last
        two may be least at infinity also for a positive P.
    method : {"newton", "l-bfgs"}
        Trust-region Newton–CG, or SciPy's L-BFGS-B, which ends in the same points and near
        k = n - 1 takes thousands of iterations.
    race : bool
        Whether a start is given up once it loses: its loss is above that of the best end so far,
        and twice the fall that Newton's next step predicts would not bring it 1e-3 of that below;
        the step ends inside the trust region. Such a start ends where it was, and its KL no longer
        says whether starts agree. One at a saddle may be given up that would have won: rarely, and
        then by about a hundredth (``tests/fitting/test_race.py``). The total variation and L-BFGS
        do not race.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(8, seed=0)
    >>> fit = rb.fit_head(P, 7)
    >>> fit.converged, fit.kl < 1e-20
    (True, True)
    """
    problem = read_problem(P, X=X, mask=mask, logits=logits, stored=stored, rows=rows)
    k = check_head_size(head_size)
    stop = (gradient_tolerance, max_iterations)
    fitting = Fitting(problem, loss, method, *stop, seed, spectral_start, random_starts, race)
    starts = fitting.starts(k)
    if not starts:
        raise InputError("no start is left; expected spectral_start=True or random_starts >= 1.")
    return fitting.record(fitting.ends(starts))


@dataclass(frozen=True, eq=False)
class Fitting:
    """A problem and how it is to be solved; it checks its settings."""

    problem: Problem
    loss: str
    method: str
    tolerance: float
    limit: int
    seed: int
    spectral_start: bool
    random_starts: int
    race: bool = True
    may_stall: bool = False  # a descent of a P with zeros

    def __post_init__(self) -> None:
        _check_choice("loss", self.loss, LOSSES)
        _check_choice("method", self.method, METHODS)
        why = "fits are written down by an integer seed"
        numbers = {
            "tolerance": check_real("gradient_tolerance", self.tolerance, above=0.0),
            "limit": check_int("max_iterations", self.limit, least=1),
            "spectral_start": check_bool("spectral_start", self.spectral_start, "one more start"),
            "race": check_bool("race", self.race, "losing starts are given up"),
            "seed": check_int("seed", self.seed, least=0, why=why),
            "random_starts": check_int(
                "random_starts", self.random_starts, least=0, most=10_000, why="each is a fit"
            ),
        }
        for name, number in numbers.items():
            object.__setattr__(self, name, number)
        if self.loss == "reverse_kl":
            _check_positive(self.problem)

    def starts(self, k: int) -> list[Array]:
        """The spectral start and the random ones, of shape (2, k, r)."""
        blocks = (2 * len(self.problem.P), k, k) if self.method == "newton" else ()
        require_memory("head_size", k, *(blocks or (2, k, self.problem.rank)))
        rng = np.random.default_rng(self.seed)
        first = [self.problem.spectral_start(k)] if self.spectral_start else []
        return first + [self.problem.random_start(k, rng) for _ in range(self.random_starts)]

    def ends(self, starts: Iterable[Array], others: Iterable[End] = ()) -> list[End]:
        """The ends of starts, each racing against those before it and against other ends."""
        found, rival = list[End](), min(map(self.value, others), default=math.inf)
        for start in starts:
            found.append(self.descend(start, rival if self.race else math.inf))
            rival = min(rival, self.value(found[-1]))
        return found

    def descend(self, start: Array, rival: float) -> End:
        """The end of one start that races against a loss."""
        stop = (self.tolerance, self.limit, self.method, Race(rival, self.may_stall))
        return descend(self.problem, self.loss, start, *stop)

    def value(self, end: End) -> float:
        """The loss at an end, not smoothed."""
        if self.loss != "total_variation":
            return end.point.value
        return measure(self.loss, self.problem.P, end.point.log_Q, end.point.Q)

    def record(self, ends: list[End]) -> Fit:
        """The fit: the best of these ends."""
        P, values = self.problem.P, [self.value(end) for end in ends]
        best = ends[values.index(min(values))]
        head = self.problem.lift(best.point.factors)
        context = best.point.log_Q, best.point.Q
        if self.problem.X is not None:  # ill-conditioned tokens: the head is not quite the factors
            context = self.problem.context(head)
        norm = best.gradient_norm
        return Fit(
            head=head,
            kl=measure("kl", P, *context),
            gradient_norm=norm,
            iterations=best.iterations,
            converged=norm <= self.tolerance,
            gradient_tolerance=self.tolerance,
            start_kls=tuple(
                value if self.loss == "kl" else measure("kl", P, end.point.log_Q, end.point.Q)
                for end, value in zip(ends, values, strict=True)
            ),
            seed=self.seed,
            loss=self.loss,
            value=measure(self.loss, P, *context),
            start_values=tuple(values),
            smoothing=SMOOTHINGS[-1] / len(P) if self.loss == "total_variation" else 0.0,
            curvature=best.curvature,
            method=self.method,
        )


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        expected = ", ".join(repr(choice) for choice in choices)
        raise InputError(f"{name} is {shown(value)}; expected one of {expected}.")


def _check_positive(problem: Problem) -> None:
    if problem.zeros.any():
        where = [int(i) for i in np.argwhere(problem.zeros)[0]]
        raise InputError(
            f"P is 0 at {where}; expected positive entries: KL(Q ‖ P) is infinite for every head, "
            "since a softmax is positive. Hide the entry by a mask, or take loss='kl'."
        )


def fit_path(
    P: Any = None,
    head_sizes: Iterable[int] = (1,),
    *,
    X: Any = None,
    mask: Any = None,
    logits: Any = None,
    seed: int = 0,
    spectral_start: bool = True,
    random_starts: int = 1,
    gradient_tolerance: float = 1e-8,
    max_iterations: int = 10_000,
    loss: str = "kl",
    method: str = "newton",
    race: bool = True,
    stored: Any = None,
    rows: bool = False,
) -> tuple[Fit, ...]:
    """Fit a head of each of these sizes; a larger one never has the larger loss.

    Beside the starts of :func:`rankbound.fit_head`, each size is started from the best head of
    the size before it, grown along the leading singular directions of the residual ``P - Q``, and
    then from the best head of the size after it, its logits cut to rank k. Where a smaller head is
    still better it is returned padded with zeros: it is a head of the larger size. Without any
    start the first size takes the truncated singular value decomposition all the same.

    Head sizes are different, in any order; the rest is as in :func:`rankbound.fit_head`, for each.
    There is one Fit for each, in that order. ``start_kls`` and ``start_values`` hold the ends in
    this order: spectral, random, grown, cut, padded. A padded head carries the values of the
    smaller one, and no curvature: along its zeros it may be improved.

    Examples
    --------
    >>> import rankbound as rb
    >>> from rankbound.fitting.solve import fit_path
    >>> fits = fit_path(rb.random_context(8, seed=0), [7, 2, 4])
    >>> [fit.head.head_size for fit in fits]
    [7, 2, 4]
    >>> fits[0].kl <= fits[2].kl <= fits[1].kl
    True
    """
    sizes = _check_sizes(head_sizes)
    problem = read_problem(P, X=X, mask=mask, logits=logits, stored=stored, rows=rows)
    stop = (gradient_tolerance, max_iterations)
    fitting = Fitting(problem, loss, method, *stop, seed, spectral_start, random_starts, race)
    return _path(fitting, sizes)


def _path(fitting: Fitting, sizes: list[int]) -> tuple[Fit, ...]:
    ends: dict[int, list[End]] = {}
    try:
        _descend_path(fitting, sorted(sizes), ends)
    except KeyboardInterrupt:
        raise Interrupted("the path was interrupted", _fits(fitting, sizes, ends)) from None
    return _fits(fitting, sizes, ends)


def _fits(fitting: Fitting, sizes: list[int], ends: dict[int, list[End]]) -> tuple[Fit, ...]:
    """The fits of the sizes that have ends, in the order of `sizes`."""
    fits: dict[int, Fit] = {}
    last: Fit | None = None
    for k in sorted(ends):
        last = fits[k] = _monotone(fitting.record(ends[k]), last, k)
    return tuple(fits[k] for k in sizes if k in fits)


def _check_sizes(head_sizes: Any) -> list[int]:
    sizes = check_ints("head_sizes", head_sizes, least=1, example=[1, 2, 4])
    if not sizes:
        raise InputError("head_sizes is empty; expected at least one head size.")
    if len(set(sizes)) < len(sizes):
        raise InputError(f"head_sizes is {sizes}; expected each size once.")
    return sizes


def _descend_path(fitting: Fitting, sizes: list[int], ends: dict[int, list[End]]) -> None:
    """Note where the starts of each size ended, sizes increasing."""

    def best(k: int) -> Point:
        return min(ends[k], key=fitting.value).point

    for i, k in enumerate(sizes):
        starts = fitting.starts(k)
        if i > 0:
            starts.append(grown(best(sizes[i - 1]), k))
        ends[k] = fitting.ends(starts or [fitting.problem.spectral_start(k)])
    for k, larger in reversed(list(pairwise(sizes))):
        ends[k] += fitting.ends([cut(fitting.problem, best(larger), k)], ends[k])


def grown(point: Point, k: int) -> Array:
    """Factors of size k, at which the loss is below that of a smaller size's point.

    New rows along the leading singular directions u v^T of ``-df/dL``, each as long as Newton's
    method would go along it alone, then halved together until the loss falls.
    """
    objective, size = point.objective, point.factors.shape[1]
    basis = objective.basis
    slope = point.slope if basis is None else basis @ point.slope @ basis.T
    U, values, Vt = np.linalg.svd(-slope)
    count = min(k - size, len(values))
    left, right = U.T[:count], Vt[:count]
    lengths = np.array(
        [_length(point, values[i], left[i], right[i]) for i in range(count)], dtype=np.float64
    )
    start = np.zeros((2, k, point.factors.shape[2]))
    start[:, :size] = point.factors
    for halvings in range(HALVINGS):
        root = np.sqrt(np.ldexp(lengths, -halvings))[:, None]
        start[:, size : size + count] = root * left, root * right
        if objective.at(start).value < point.value:
            break
    return start


def _length(point: Point, fall: float, u: Array, v: Array) -> float:
    """How far to go along u v^T: the slope over the curvature where that is positive, at most 1."""
    basis = point.objective.basis
    if basis is not None:
        u, v = u @ basis, v @ basis
    direction = np.outer(u, v)
    T = point.Q * direction
    T -= point.Q * T.sum(axis=0)
    curvature = float(np.vdot(direction, point.objective.loss.bend(point.log_Q, point.Q, T)))
    return min(fall / curvature, 1.0) if curvature > fall else 1.0


def cut(problem: Problem, point: Point, k: int) -> Array:
    """Factors of size k: the logits of a larger size's point, cut to that rank."""
    A, B = point.factors
    if problem.basis is None:
        A = A - A.mean(axis=1, keepdims=True)  # the gauge, in which the logits are centred
    return truncated(A.T @ B, k)


def _monotone(fit: Fit, smaller: Fit | None, k: int) -> Fit:
    """The fit, or a smaller one that is better, padded with zeros."""
    if smaller is None or fit.value <= smaller.value:
        return fit
    old = smaller.head
    pad = ((0, k - old.head_size), (0, 0))
    return dataclasses.replace(
        smaller,
        head=AttentionHead(W_q=np.pad(old.W_q, pad), W_k=np.pad(old.W_k, pad), scale=old.scale),
        curvature=None,
        start_kls=(*fit.start_kls, smaller.kl),
        start_values=(*fit.start_values, smaller.value),
    )


@dataclass(frozen=True, eq=False, repr=False)
class Bracket(Record):
    """Two sides of the least mean KL divergence from P, for each of some head sizes.

    No head of this size, on any tokens, is closer than `lower`: rigorous
    (:func:`rankbound.kl_lower_bound`), without a certificate. `upper` is the KL of a concrete head,
    computed in float64, which more starts may lower.

    Examples
    --------
    >>> import rankbound as rb
    >>> bracket = rb.kl_bracket(rb.random_context(6, seed=0), [2, 4])
    >>> bracket.head_size.tolist(), bool((bracket.lower <= bracket.upper).all())
    ([2, 4], True)
    """

    head_size: npt.NDArray[np.int64]  # as given
    lower: Array  # proved: KL of no head of the size is below, in nats
    upper: Array  # KL of the fitted heads, in nats
    fits: tuple[Fit, ...]  # the heads of the upper side

    formula: ClassVar[str] = (
        r"\text{lower} \le \min_Q \textstyle\frac1n \sum_j \mathrm{KL}(P_j \,\|\, Q_j) \le "
        r"\text{upper}, \quad Q \text{ of head size } k"
    )

    def table(self) -> Table:
        """Return one row per head size."""
        columns = (
            "head_size",
            Column("lower", "KL, at least"),
            Column("upper", "KL of a head"),
            Column("ratio", format=".3g"),
            Column("gradient_norm", format=".1e"),
            "converged",
        )
        sides = zip(self.head_size, self.lower, self.upper, self.fits, strict=True)
        rows = [
            (k, low, high, high / low if low > 0 else None, fit.gradient_norm, fit.converged)
            for k, low, high, fit in sides
        ]
        return Table(columns, rows)

    def plot(self, ax: Any = None) -> Any:
        """Draw both sides against the head size; return the axes.

        A value that rounding cannot tell from 0 is a triangle in a grey band below a break of the
        axis, at no particular height: the KL of a size that has P exactly, and a lower side that
        shows nothing.

        Examples
        --------
        >>> import rankbound as rb
        >>> P = rb.random_context(8, seed=0, law="gibbs", scale=0.3)
        >>> axes = rb.kl_bracket(P, [1, 2, 4]).plot()
        """
        from rankbound.canvas import BLUE, RED, Scale, dress, dress_ordinate, label, legend, panel

        order = np.argsort(self.head_size)
        k, least = self.head_size[order], np.array([_rounding(self.fits[i]) for i in order])
        sides = (
            (self.upper[order], "a head of this size", "o-", BLUE, 6.5),
            (self.lower[order], "no head comes below", "s--", RED, 3.5),
        )
        scale = Scale.of([float(kl) for side, *_ in sides for kl in side[side > least]])
        zeros = np.any([side <= least for side, *_ in sides], axis=0)
        with panel(ax, (3.25, 2.4)) as axes:
            axes.set_yscale("log")
            for side, name, style, colour, size in sides:
                seen = side > least
                axes.plot(k[seen], side[seen], style, color=colour, label=name, gid=name)
                if not seen.all():
                    place = np.full(np.count_nonzero(~seen), scale.zero)
                    (drawn,) = axes.plot(k[~seen], place, "v", color=colour, ms=size)
                    drawn.set(gid=f"{name}: 0 to rounding", clip_on=False)
            axes.locator_params(axis="x", integer=True, min_n_ticks=1)
            label(axes, x="head size $k$", y="mean KL divergence (nats)")
            dress(axes)
            if zeros.any():
                below = [float(kl) for side, *_ in sides for kl in side[side <= least]]
                dress_ordinate(axes, scale, below, None if zeros[0] else float(k[zeros][0]))
            legend(axes)
        return axes


def _rounding(fit: Fit) -> float:
    """Up to where a KL computed in float64 may be 0 in truth, near the context of a fit.

    Centring and a decomposition move singular values by at most ``r = n eps ‖C L‖_F``, and so the
    logits of a head by at most 4 r an entry; logits off by at most δ cost ``δ²/2`` at most
    (Hoeffding's lemma): 8 r².
    """
    L = fit.head.logits()
    r = len(L) * FLOAT64_EPS * float(np.linalg.norm(centre(L)))
    return 8 * r * r


def kl_bracket(
    P: Any,
    head_sizes: Iterable[int],
    *,
    mask: Any = None,
    seed: int = 0,
    random_starts: int = 1,
    gradient_tolerance: float = 1e-8,
    max_iterations: int = 10_000,
    stored: Any = None,
    rows: bool = False,
) -> Bracket:
    """Bracket the least mean KL divergence from P that heads of each size reach.

    The upper side is a path of fits, each size started from its neighbours too
    (:func:`fit_path`), for identity tokens: any tokens of full column rank
    do as well, others may do worse. The lower side holds for all tokens. Where P has zeros no head
    need be the best: a fit then ends, not converged, once 500 Hessian products lower its KL by less
    than 0.3 % of it, and heads that are somewhat closer are left unfound.

    Parameters
    ----------
    P, mask, stored, rows
        One matrix, as in :class:`rankbound.Context`; zeros are allowed.
    head_sizes : iterable of int
        Different sizes, in any order.
    seed, random_starts, gradient_tolerance, max_iterations
        As in :func:`rankbound.fit_head`, for each start of each size.

    Raises
    ------
    Interrupted
        A KeyboardInterrupt; its ``done`` is the bracket of the sizes that were reached.

    References
    ----------
    docs/theory.md, section 5.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(8, seed=0, law="gibbs", scale=0.3)
    >>> bracket = rb.kl_bracket(P, [1, 4, 7])
    >>> bool((bracket.lower <= bracket.upper).all()), bool(bracket.upper[2] < 1e-20)
    (True, True)
    """
    context = read_context(P, mask=mask, stored=stored, rows=rows, zeros=True)
    sizes = _check_sizes(head_sizes)
    problem = read_problem(context)
    stop = (gradient_tolerance, max_iterations)
    zeros = bool(problem.zeros.any())
    fitting = Fitting(problem, "kl", "newton", *stop, seed, True, random_starts, True, zeros)
    try:
        fits = _path(fitting, sizes)
    except Interrupted as stopped:
        done = _bracketed(context, stopped.done)
        raise Interrupted("the bracket was interrupted", done) from None
    return _bracketed(context, fits)


def _bracketed(context: Context, fits: tuple[Fit, ...]) -> Bracket:
    sizes = [fit.head.head_size for fit in fits]
    bounds: dict[int, float] = {}
    best = 0.0
    for k in sorted(sizes, reverse=True):  # a bound of a larger size is one of a smaller
        best = max(best, kl_lower_bound(context, k))
        bounds[k] = best
    lower = np.array([bounds[k] for k in sizes])
    upper = np.array([fit.kl for fit in fits])
    return Bracket(frozen_copy(np.array(sizes)), frozen_copy(lower), frozen_copy(upper), fits)
