"""Heads along a path of head sizes, each size started from its neighbours."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_head_size
from rankbound.attention.head import AttentionHead
from rankbound.errors import InputError, InputTypeError
from rankbound.fitting.newton import End
from rankbound.fitting.objective import Point
from rankbound.fitting.problem import Problem, read_problem, truncated
from rankbound.fitting.solve import Fit, Fitting

__all__ = ["fit_path"]

HALVINGS = 40  # of the first step along new directions


def fit_path(
    P: npt.ArrayLike | None = None,
    head_sizes: Iterable[int] = (1,),
    X: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    *,
    logits: Any = None,
    seed: int = 0,
    spectral_start: bool = True,
    random_starts: int = 1,
    gradient_tolerance: float = 1e-8,
    max_iterations: int = 10_000,
    loss: str = "kl",
    method: str = "newton",
    stored: npt.DTypeLike | None = None,
    rows: bool = False,
) -> tuple[Fit, ...]:
    """Fit a head of each of these sizes; a larger one never has the larger loss.

    Beside the starts of :func:`rankbound.fit_head`, each size is started from the best head of
    the size before it, grown along the leading singular directions of the residual ``P - Q``, and
    then from the best head of the size after it, its logits cut to rank k. Where a smaller head is
    still better it is returned padded with zeros: it is a head of the larger size.

    Parameters
    ----------
    P : array_like, shape (n, n), optional
        As in :func:`rankbound.fit_head`.
    head_sizes : iterable of int
        Different sizes, in any order.
    X, mask, logits, stored, rows
        As in :func:`rankbound.fit_head`.
    seed, spectral_start, random_starts
        Likewise; all sizes have the same seed. May be none: the first size then starts from the
        truncated singular value decomposition all the same.
    gradient_tolerance, max_iterations, loss, method
        Likewise, for each start of each size.

    Returns
    -------
    tuple of Fit
        One for each head size, in the order given. ``start_kls`` and ``start_values`` hold the
        ends in this order: spectral, random, grown, cut, padded. A padded head carries the values
        of the smaller one, and no curvature: along its zeros it may be improved.

    Raises
    ------
    InputError, InputTypeError
        If an argument is not as described.

    Examples
    --------
    >>> import rankbound as rb
    >>> from rankbound.fitting.path import fit_path
    >>> fits = fit_path(rb.random_context(8, seed=0), [7, 2, 4])
    >>> [fit.head.head_size for fit in fits]
    [7, 2, 4]
    >>> fits[0].kl <= fits[2].kl <= fits[1].kl
    True
    """
    sizes = _check_sizes(head_sizes)
    problem = read_problem(P, X, mask, logits, stored, rows)
    fitting = Fitting.read(
        problem,
        loss,
        method,
        gradient_tolerance,
        max_iterations,
        seed,
        spectral_start,
        random_starts,
    )
    ends = _ends(fitting, sorted(sizes))
    fits: dict[int, Fit] = {}
    last: Fit | None = None
    for k in sorted(sizes):
        last = fits[k] = _monotone(fitting.record(ends[k]), last, k)
    return tuple(fits[k] for k in sizes)


def _check_sizes(head_sizes: Any) -> list[int]:
    if isinstance(head_sizes, (str, bytes)) or not isinstance(head_sizes, Iterable):
        raise InputTypeError(f"head_sizes is {head_sizes!r}; expected integers, such as [1, 2, 4].")
    sizes = [check_head_size(size) for size in head_sizes]
    if not sizes:
        raise InputError("head_sizes is empty; expected at least one head size.")
    if len(set(sizes)) < len(sizes):
        raise InputError(f"head_sizes is {sizes}; expected each size once.")
    return sizes


def _ends(fitting: Fitting, sizes: list[int]) -> dict[int, list[End]]:
    """Where the starts of each size ended, sizes increasing."""

    def best(k: int) -> Point:
        return min(ends[k], key=fitting.value).point

    ends: dict[int, list[End]] = {}
    for i, k in enumerate(sizes):
        starts = fitting.starts(k)
        if i > 0:
            starts.append(grown(best(sizes[i - 1]), k))
        ends[k] = [
            fitting.descend(start) for start in starts or [fitting.problem.spectral_start(k)]
        ]
    for k, larger in reversed(list(pairwise(sizes))):
        ends[k].append(fitting.descend(cut(fitting.problem, best(larger), k)))
    return ends


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
