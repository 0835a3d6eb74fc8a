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
SMOOTHINGS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # of the total variation, in units of 1/n


def descend(
    problem: Problem, loss: str, start: Array, tolerance: float, limit: int, method: str
) -> End:
    """Minimise the loss of this name from a start; the total variation smoothed less and less."""
    from threadpoolctl import threadpool_limits

    solve, iterations = newton if method == "newton" else lbfgs, 0
    first, *rest = _objectives(problem, loss)
    with threadpool_limits(1, "blas"):  # the matrices are small; threads only wait for each other
        end = solve(first, start, tolerance, limit)
        for objective in rest:
            iterations, factors = iterations + end.iterations, end.point.factors
            if iterations < limit:
                end = solve(objective, factors, tolerance, limit - iterations)
            else:  # out of steps: the last objective says how far from done
                end = End(objective.at(factors), 0)
    return End(end.point, iterations + end.iterations, end.curvature)


def _objectives(problem: Problem, loss: str) -> list[Objective]:
    P, n = problem.P, len(problem.P)
    losses: list[Loss]
    if loss == "total_variation":
        losses = [TotalVariation(P, factor / n) for factor in SMOOTHINGS]
    else:
        losses = [KL(P) if loss == "kl" else ReverseKL(P)]
    return [Objective(P, problem.basis, problem.mask, each) for each in losses]


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
