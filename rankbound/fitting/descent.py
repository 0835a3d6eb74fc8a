"""From one start down to a stationary point of a loss."""

from __future__ import annotations

import numpy as np

from rankbound._validate import Array
from rankbound.fitting.losses import KL, Loss, ReverseKL, TotalVariation
from rankbound.fitting.newton import End, newton
from rankbound.fitting.objective import Objective
from rankbound.fitting.problem import Problem

__all__ = ["METHODS", "SMOOTHINGS", "descend", "lbfgs"]

METHODS = ("newton", "l-bfgs")
SMOOTHINGS = (1e-1, 1e-2, 1e-3, 1e-4)  # of the total variation, in units of 1/n
ROUGH = 1e-4  # tolerance of a stage that only leads to the next


def descend(
    problem: Problem, loss: str, start: Array, tolerance: float, limit: int, method: str
) -> End:
    """Minimise the loss of this name from a start, in stages that share what is left of the limit.

    The total variation has kinks, and is flat where a probability is missed by far; it begins
    at a head good in KL, and is smoothed less and less.
    """
    from threadpoolctl import threadpool_limits

    solve = newton if method == "newton" else lbfgs
    *rough, last = (
        Objective(problem.P, problem.basis, problem.mask, each) for each in _stages(problem, loss)
    )
    left = limit
    with threadpool_limits(1, "blas"):  # the matrices are small; threads only wait for each other
        for done, objective in enumerate(rough):
            share = left // (len(rough) + 1 - done)
            if share > 0:
                end = solve(objective, start, max(tolerance, ROUGH), share)
                start, left = end.point.factors, left - end.iterations
        end = solve(last, start, tolerance, left)
    return End(end.point, limit - left + end.iterations, end.curvature)


def _stages(problem: Problem, loss: str) -> list[Loss]:
    P, n = problem.P, len(problem.P)
    if loss == "total_variation":
        return [KL(P), *(TotalVariation(P, factor / n) for factor in SMOOTHINGS)]
    return [KL(P) if loss == "kl" else ReverseKL(P)]


def lbfgs(objective: Objective, start: Array, tolerance: float, limit: int) -> End:
    """SciPy's L-BFGS-B, which sees values and gradients only."""
    from scipy.optimize import minimize

    k, x, iterations = start.shape[1], start.ravel(), 0
    # max |g_i| <= tolerance / sqrt(size) implies ‖g‖_2 <= tolerance
    options = {"gtol": tolerance / np.sqrt(x.size), "ftol": 0.0, "maxcor": 20, "maxls": 50}
    while True:
        left = limit - iterations
        result = minimize(
            objective,
            x,
            args=(k,),
            jac=True,
            method="L-BFGS-B",
            options=options | {"maxiter": left, "maxfun": 2 * left + 20},
        )
        moved, x = not np.array_equal(result.x, x), result.x
        iterations += int(result.nit)
        # a line search that fails on rounding starts afresh, from steepest descent
        if np.linalg.norm(result.jac) <= tolerance or not moved or iterations >= limit:
            return End(objective.at(x.reshape(start.shape)), iterations)
