"""What is fitted, where to start, and from one start down to a stationary point of the loss.

Trust-region Newton-CG (exact Hessian products, negative curvature followed to the border), or
SciPy's L-BFGS-B, which sees values and gradients only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from rankbound._validate import Array
from rankbound.attention.head import AttentionHead
from rankbound.attention.masks import Mask
from rankbound.context import read_context
from rankbound.errors import InputError
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.fitting.objective import (
    KL,
    Loss,
    Objective,
    Point,
    ReverseKL,
    TotalVariation,
    masked_context,
)
from rankbound.theory.softmax_gauge import Logs, centre
from rankbound.theory.theorem_a import head_from_factors
from rankbound.theory.theorem_c import complete
from rankbound.tokens import RowSpace, read_tokens

METHODS = ("newton", "l-bfgs")
SMOOTHINGS = (1e-1, 1e-2, 1e-3, 1e-4)  # of the total variation, in units of 1/n
ROUGH = 1e-4  # tolerance of a stage that only leads to the next
DAMPING = 1e-2  # of each block of the preconditioner, in units of its mean eigenvalue
REBUILT = 60  # products, or k where that is more, after which the blocks are built anew
MOST_PRODUCTS = 250  # for one step
FORCING = 0.3  # the power of the gradient's norm to which a step is accurate
KEPT = 2**23  # numbers of a path that are kept, 64 MiB
HOPED, ALIKE = 2.0, 1e-3  # what a start that loses is granted: falls of its model, and a share
WAIT, STALLED = 500, 3e-3  # products, and the share of the loss that they should win


@dataclass(frozen=True, eq=False)
class Problem:
    """A context matrix to fit, on tokens and under a mask."""

    P: Array
    mask: Mask | None
    X: Array | None  # None means the identity
    space: RowSpace | None  # of the tokens

    @property
    def basis(self) -> Array | None:
        """Orthonormal rows (r, n) that span the row space; None means the identity."""
        return None if self.space is None else self.space.basis

    @property
    def rank(self) -> int:
        """The dimension r in which the factors live."""
        return len(self.P) if self.basis is None else len(self.basis)

    @property
    def zeros(self) -> Mask:
        """Where P is 0 though nothing hides it."""
        zeros: Mask = self.P == 0
        return zeros if self.mask is None else zeros & self.mask

    def lift(self, factors: Array) -> AttentionHead:
        """The head with these factors (2, k, r) of its logits."""
        left, right = factors if self.basis is None else factors @ self.basis
        return head_from_factors(left, right, factors.shape[1], self.space)

    def random_start(self, k: int, rng: np.random.Generator) -> Array:
        """Gaussian factors whose logits have entries of variance 1."""
        return np.asarray(rng.standard_normal((2, k, self.rank)) / np.sqrt(np.sqrt(k)), np.float64)

    def spectral_start(self, k: int) -> Array:
        """The truncated singular value decomposition of the logits, in the basis."""
        D = _start_logits(self.P, self.mask)
        return truncated(D if self.basis is None else self.basis @ D @ self.basis.T, k)

    def context(self, head: AttentionHead) -> tuple[Array, Array]:
        """Log Q and Q of a head on the tokens, both 0 where the mask hides."""
        return masked_context(head.logits(self.X), self.mask)


def read_problem(P: Any, *, X: Any = None, **given: Any) -> Problem:
    """Check what a fit is given, and read it; what is given beside X is for `read_context`."""
    context = read_context(P, zeros=True, **given)
    target = context.P / context.P.sum(axis=0)
    if X is None:
        return Problem(target, context.mask, None, None)
    tokens = read_tokens(X, context.n)
    if tokens.numerical.rank == 0:
        raise InputError(
            f"X is zero, of shape {tokens.matrix.shape}; expected tokens that are not: every head "
            "is uniform on them."
        )
    return Problem(target, context.mask, tokens.matrix, tokens.numerical)


def truncated(D: Array, k: int) -> Array:
    """Factors (2, k, r) of the truncated singular value decomposition of D, padded with zeros."""
    U, values, Vt = np.linalg.svd(D)
    root = np.sqrt(values[:k, None])
    factors = np.zeros((2, k, len(D)))
    factors[:, : len(root)] = root * U.T[:k], root * Vt[:k]
    return factors


def _start_logits(P: Array, mask: Mask | None) -> Array:
    """``C log P`` with a floor, which is all a start needs; completed where a mask is nested."""
    log_P = np.log(np.maximum(P, 1e-12))
    if mask is None:
        return centre(log_P)
    logs = Logs(np.where(mask, log_P, 0.0), np.zeros_like(log_P), np.zeros((1, 1), np.int32), mask)
    completed = complete(logs)
    if completed is not None:
        return np.asarray(np.ldexp(completed.scaled, completed.exponent), np.float64)
    means = (log_P * mask).sum(axis=0) / mask.sum(axis=0)
    return np.where(mask, log_P - means, 0.0)


@dataclass(frozen=True, eq=False)
class End:
    """Where a descent ended.

    `curvature` is the least ``p^T H p / p^T M p`` over the directions p of the last step's
    conjugate gradients; None where no step was taken, or the method knows no Hessian.
    """

    point: Point
    iterations: int  # Hessian products, or the method's own count
    curvature: float | None = None

    @property
    def gradient_norm(self) -> float:
        """Euclidean norm of the gradient."""
        return float(np.linalg.norm(self.point.gradient))


@dataclass(frozen=True, eq=False)
class _Step:
    direction: Array
    length: float  # in the metric of the preconditioner
    fall: float  # of the model
    border: bool
    products: int
    curvature: float


@dataclass(frozen=True)
class Race:
    """When a descent is given up: its end is then where it was.

    It loses to a rival, a loss that another start has reached, if it is above that and its model's
    minimum is inside the ball, from where `HOPED` times the fall of the model would not bring it
    below the rival, less `ALIKE` of that. It stalls if it may and the last `WAIT` products lowered
    the loss by less than `STALLED` of it. Both are guesses: a saddle may look like an end.
    """

    rival: float = math.inf
    may_stall: bool = False

    def lost(self, value: float, step: _Step) -> bool:
        """Whether a step from this value, not yet taken, says so."""
        least = self.rival * (1 - ALIKE)
        return not step.border and value > self.rival and value - HOPED * step.fall >= least

    def stalled(self, values: list[tuple[int, float]]) -> bool:
        """Whether the losses so far, each after so many products, say so."""
        products, value = values[-1]
        before = [v for p, v in values if p <= products - WAIT]
        return self.may_stall and bool(before) and before[-1] - value < STALLED * value


def newton(
    objective: Objective, start: Array, tolerance: float, limit: int, race: Race | None = None
) -> End:
    """Descend from factors of shape (2, k, r) until the gradient's norm is within the tolerance.

    Each step minimises the quadratic model, whose Hessian is exact, over a ball (Steihaug 1983).
    The ball and the preconditioner take the metric of the Fisher blocks, in which a step measures
    the loss it can win, and which moves with A -> G A, B -> G^{-T} B as the factors do. A step is
    kept if it lowers the loss; where that falls below rounding, if it lowers the gradient. One that
    is not kept is cut at a smaller ball, which takes no product. `limit` counts Hessian products.
    See Conn, Gould & Toint 2000, sections 7.5 and 17.4.
    """
    point = objective.at(start)
    norm = first = float(np.linalg.norm(point.gradient))
    radius, curvature, products, built = math.sqrt(2 * point.value), None, 0, -math.inf
    path: list[_Link] = []  # from this point
    race, values = race or Race(), [(0, point.value)]
    while norm > tolerance:
        step = _cut(path, radius)
        if step is None:
            if products >= limit:
                break
            if products - built >= max(REBUILT, start.shape[1]):
                precondition, built = point.preconditioner(DAMPING), products
            # so that steps converge superlinearly, and the last is no more accurate than asked
            accuracy = min(0.1, max((norm / first) ** FORCING, 0.2 * tolerance / norm))
            path, most = [], min(limit - products, MOST_PRODUCTS)
            step = _steihaug(
                point.hessian, precondition, point.gradient, radius, accuracy, most, path
            )
            products += step.products
            if race.lost(point.value, step) or race.stalled(values):
                break
        trial = objective.at(point.factors + step.direction)
        fall = point.value - trial.value
        if step.fall <= _rounding(point):  # the loss no longer tells; the gradient may
            kept = float(np.linalg.norm(trial.gradient)) < norm
            if not kept:
                break
        else:
            kept = fall > 1e-4 * step.fall
            radius = _next_radius(radius, step, fall / step.fall)
        if kept:
            point, curvature, path = trial, step.curvature, []
            values.append((products, point.value))
            norm = float(np.linalg.norm(point.gradient))
    return End(point, products, curvature)


def _rounding(point: Point) -> float:
    """About how much of the value is rounding: that of the sum, and that of the logits.

    Each log q is off by some eps |log q|, which moves the loss by its slope in L times as much.
    """
    moved = np.abs(point.slope) * (1 + np.abs(point.log_Q))
    return 4 * FLOAT64_EPS * (point.value + float(moved.sum()))


def _next_radius(radius: float, step: _Step, ratio: float) -> float:
    if not ratio >= 0.25:  # also where the trial is not a number
        return 0.25 * min(radius, step.length)
    return max(radius, 2.0 * step.length) if ratio > 0.75 and step.border else radius


class _Link(NamedTuple):
    """One direction p of conjugate gradients, and what is known at x, where it starts."""

    p: Array
    length: float  # of the step along it; infinite where the model curves down
    rz: float
    curve: float  # p^T H p
    fall: float  # of the model so far
    xx: float  # inner products in M
    xp: float
    pp: float

    @property
    def reached(self) -> float:
        """The squared length of x after the step."""
        if not self.curve > 0:
            return math.inf
        return self.xx + 2 * self.length * self.xp + self.length * self.length * self.pp

    def to_border(self, radius: float) -> tuple[float, float]:
        """How far along p the border is, and the fall there."""
        room = max(radius * radius - self.xx, 0.0)
        way = (-self.xp + math.sqrt(self.xp * self.xp + self.pp * room)) / self.pp
        return way, self.fall + way * self.rz - 0.5 * way * way * self.curve


def _steihaug(
    hessian: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    gradient: Array,
    radius: float,
    accuracy: float,
    most: int,
    path: list[_Link] | None = None,
) -> _Step:
    """Conjugate gradients on the model from 0, until accurate, at the border, or curved down.

    Lengths in the metric M of the preconditioner follow from the recurrences: M is never applied.
    The links of the path are kept as far as memory is meant for them (`KEPT`): in a smaller ball
    the path is the same up to its border (:func:`_cut`).
    """
    path = [] if path is None else path
    x, r = np.zeros_like(gradient), gradient.copy()
    z = precondition(r)
    p, rz = -z, float(np.vdot(r, z))
    first, fall, curvature = rz, 0.0, math.inf
    xx, xp, pp = 0.0, 0.0, rz
    if not rz > 0:  # the gradient's square underflows
        return _Step(x, 0.0, 0.0, False, 0, 0.0)
    for products in range(1, most + 1):
        Hp = hessian(p)
        curve = float(np.vdot(p, Hp))
        curvature = min(curvature, curve / pp)
        length = rz / curve if curve > 0 else math.inf
        link = _Link(p, length, rz, curve, fall, xx, xp, pp)
        if products * p.size <= KEPT:
            path.append(link)
        longer = link.reached
        if not longer < radius * radius:
            way, fall = link.to_border(radius)
            return _Step(x + way * p, radius, fall, True, products, curvature)
        x += length * p
        Hp *= length
        r += Hp
        fall, xx = fall + 0.5 * length * rz, longer
        z = precondition(r)
        last, rz = rz, float(np.vdot(r, z))
        if not rz > accuracy * accuracy * first:
            break
        ratio = rz / last
        # x·p is positive in exact arithmetic, and the length of x never falls
        xp, pp = max(ratio * (xp + length * pp), 0.0), rz + ratio * ratio * pp
        p = ratio * p
        p -= z
    return _Step(x, math.sqrt(xx), fall, False, products, curvature)


def _cut(path: list[_Link], radius: float) -> _Step | None:
    """The step of this path in a smaller ball, without a product; None where it was not kept."""
    curvature = math.inf
    for i, link in enumerate(path):
        curvature = min(curvature, link.curve / link.pp)
        if not link.reached < radius * radius:
            way, fall = link.to_border(radius)
            x = way * link.p
            for earlier in path[:i]:
                x += earlier.length * earlier.p
            return _Step(x, radius, fall, True, 0, curvature)
    return None


@cache
def _numpy_blas() -> Any:
    """The BLAS libraries that are loaded, NumPy's among them; to find them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """BLAS keeps to one thread: the matrices are small, and threads only wait for each other."""
    limited: AbstractContextManager[Any] = _numpy_blas().limit(limits=1, user_api="blas")
    return limited


def descend(
    problem: Problem,
    loss: str,
    start: Array,
    tolerance: float,
    limit: int,
    method: str,
    race: Race | None = None,
) -> End:
    """Minimise the loss of this name from a start, in stages that share what is left of the limit.

    The total variation has kinks, and is flat where a probability is missed by far; it begins
    at a head good in KL, and is smoothed less and less. Only Newton's method races, for a loss
    that is minimised as it is.
    """
    stages, left = _stages(problem, loss), limit
    race = race if len(stages) == 1 else None
    solve = partial(newton, race=race) if method == "newton" else lbfgs
    with one_thread():
        for to_come, stage in zip(reversed(range(len(stages))), stages, strict=True):
            share = left // (to_come + 1)
            if share > 0 or not to_come:
                objective = Objective(problem.P, problem.basis, problem.mask, stage)
                end = solve(objective, start, max(tolerance, ROUGH if to_come else 0.0), share)
                start, left = end.point.factors, left - end.iterations
    return End(end.point, limit - left, end.curvature)


def _stages(problem: Problem, loss: str) -> list[Loss]:
    P, n = problem.P, len(problem.P)
    if loss == "total_variation":
        return [KL(P), *(TotalVariation(P, factor / n) for factor in SMOOTHINGS)]
    return [KL(P) if loss == "kl" else ReverseKL(P)]


def lbfgs(objective: Objective, start: Array, tolerance: float, limit: int) -> End:
    """SciPy's L-BFGS-B, which sees values and gradients only."""
    k, x, iterations = start.shape[1], start.ravel(), 0
    while True:
        options = lbfgs_options(x.size, tolerance, limit - iterations)
        result = minimise(objective, x, options, k)
        moved, x = not np.array_equal(result.x, x), result.x
        iterations += int(result.nit)
        # a line search that fails on rounding starts afresh, from steepest descent
        if np.linalg.norm(result.jac) <= tolerance or not moved or iterations >= limit:
            return End(objective.at(x.reshape(start.shape)), iterations)


def minimise(objective: Callable[..., Any], start: Array, options: Any, *given: Any) -> Any:
    """SciPy's result of L-BFGS-B on an objective that returns its value and its gradient."""
    from scipy.optimize import minimize

    with one_thread():
        return minimize(objective, start, given, jac=True, method="L-BFGS-B", options=options)


def lbfgs_options(size: int, tolerance: float, limit: int) -> dict[str, Any]:
    """SciPy's options for so many numbers, until the gradient's Euclidean norm is within this."""
    # max |g_i| <= tolerance / sqrt(size) implies ‖g‖_2 <= tolerance
    stop = {"gtol": tolerance / np.sqrt(size), "ftol": 0.0}
    return {**stop, "maxcor": 20, "maxls": 50, "maxiter": limit, "maxfun": 2 * limit + 20}
