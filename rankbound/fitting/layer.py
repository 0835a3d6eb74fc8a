"""Fit a layer to the outputs of another: students of a teacher."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankbound._validate import Array, check_head_size, check_int, check_real
from rankbound.attention.ensembles import random_multihead
from rankbound.attention.layer import MultiHead
from rankbound.errors import InputError
from rankbound.fitting.layer_objective import LayerObjective, Shape
from rankbound.theory.inclusion import check_layer

__all__ = ["LayerFit", "fit_layer"]


@dataclass(frozen=True, eq=False)
class LayerFit:
    """A layer fitted to a teacher, and how near it came.

    Attributes
    ----------
    layer : MultiHead
        The best student found.
    error : float
        ``E ‖f(X) - g(X)‖² / E ‖g(X)‖²`` over fresh Gaussian tokens: the share of the teacher's
        output that the student misses.
    fitted_error : float
        The same over the tokens it was fitted on.
    gradient_norm : float
        Euclidean norm of the gradient of `fitted_error` in the weights.
    iterations : int
        Of the start that won.
    converged : bool
        Whether ``gradient_norm <= gradient_tolerance``.
    start_errors : tuple of float
        `fitted_error` at which each start ended.
    seed : int
        From which tokens and starts can be drawn again.
    """

    layer: MultiHead
    error: float
    fitted_error: float
    gradient_norm: float
    iterations: int
    converged: bool
    start_errors: tuple[float, ...]
    seed: int


def fit_layer(
    teacher: MultiHead,
    heads: int,
    head_size: int | None = None,
    *,
    value_size: int | None = None,
    n: int = 8,
    sequences: int = 256,
    seed: int = 0,
    starts: int = 1,
    gradient_tolerance: float = 1e-7,
    max_iterations: int = 2000,
) -> LayerFit:
    """Fit a student layer to a teacher on Gaussian tokens, by L-BFGS over all sequences at once.

    The problem is not convex: an error that is reached bounds what the class can do from above,
    never from below.

    Parameters
    ----------
    teacher : MultiHead
        The layer g to imitate.
    heads : int
        Heads h of the student.
    head_size : int, optional
        Of the student; d/h (the standard layer) unless given.
    value_size : int, optional
        Value coordinates of each head; `head_size` unless given.
    n : int
        Tokens a sequence.
    sequences : int
        Sequences to fit on, and as many fresh ones for :attr:`LayerFit.error`.
    seed : int
        For tokens and starts.
    starts : int
        Random starts; the best end counts.
    gradient_tolerance : float
        Norm of the gradient at which a start is called converged.
    max_iterations : int
        For each start.

    Returns
    -------
    LayerFit

    Raises
    ------
    InputError, InputTypeError
        If a size is out of range, or h does not divide d where no head size is given.

    Examples
    --------
    >>> import rankbound as rb
    >>> from rankbound.fitting.layer import fit_layer
    >>> teacher = rb.random_multihead(d=4, heads=2, seed=0)
    >>> fit_layer(teacher, 2, n=3, sequences=32, starts=3).error < 1e-6
    True
    """
    check_layer("teacher", teacher)
    d = teacher.d
    shape = _student_shape(d, heads, head_size, value_size)
    n, sequences = check_int("n", n, least=1), check_int("sequences", sequences, least=1)
    tolerance = check_real("gradient_tolerance", gradient_tolerance, above=0.0)
    limit = check_int("max_iterations", max_iterations, least=1)
    seed = check_int("seed", seed, least=0, why="fits are written down by an integer seed")
    rng = np.random.default_rng(seed)
    X, fresh = rng.standard_normal((2, sequences, d, n))
    objective = LayerObjective(shape, X, teacher.output(X))
    if not objective.Y.any():
        raise InputError("the teacher's outputs are 0; expected a layer that is not zero.")
    ends = [
        _descend(objective, _start(shape, rng), tolerance, limit)
        for _ in range(check_int("starts", starts, least=1))
    ]
    error, flat, norm, iterations = min(ends, key=lambda end: end[0])
    return LayerFit(
        layer=shape.layer(flat),
        error=LayerObjective(shape, fresh, teacher.output(fresh))(flat)[0],
        fitted_error=error,
        gradient_norm=norm,
        iterations=iterations,
        converged=norm <= tolerance,
        start_errors=tuple(end[0] for end in ends),
        seed=seed,
    )


def _student_shape(d: int, heads: int, head_size: int | None, value_size: int | None) -> Shape:
    heads = check_int("heads", heads, least=1)
    if head_size is None:
        if d % heads:
            raise InputError(
                f"d is {d} and heads {heads}; expected heads to divide d, since a standard head "
                "has size d/h. Give head_size= for a student that sets it apart."
            )
        head_size = d // heads
    k = check_head_size(head_size)
    v = k if value_size is None else check_int("value_size", value_size, least=1)
    return Shape(heads, k, v, d)


def _start(shape: Shape, rng: np.random.Generator) -> Array:
    layer = random_multihead(shape.d, shape.heads, rng, max(shape.head_size, shape.value_size))
    W_o = layer.W_o.reshape(shape.d, shape.heads, -1)[:, :, : shape.value_size]
    parts = (
        layer.W_q[:, : shape.head_size],
        layer.W_k[:, : shape.head_size],
        layer.W_v[:, : shape.value_size],
        np.swapaxes(W_o, 0, 1),
    )
    return np.concatenate([part.ravel() for part in parts])


def _descend(
    objective: LayerObjective, start: Array, tolerance: float, limit: int
) -> tuple[float, Array, float, int]:
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    # max |g_i| <= tolerance / sqrt(size) implies ‖g‖_2 <= tolerance
    options = {
        "gtol": tolerance / np.sqrt(start.size),
        "ftol": 0.0,
        "maxcor": 20,
        "maxls": 50,
        "maxiter": limit,
        "maxfun": 2 * limit + 20,
    }
    with threadpool_limits(1, "blas"):  # the matrices are small; threads only wait for each other
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    return float(found.fun), found.x, float(np.linalg.norm(found.jac)), int(found.nit)
