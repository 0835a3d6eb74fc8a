"""Where training stops realising all pairs of keys, long before the head size forbids it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_head_size, check_int, check_real
from rankbound.errors import InputError
from rankbound.theory.pairs import Pairs, _check_pairs, pair_members

__all__ = ["PUBLISHED_CRITICAL", "CriticalKeys", "contrastive_loss", "critical_keys", "train_pairs"]

Ints = npt.NDArray[np.intp]
# where Weller, Boratko, Naim & Lee 2025 stop: Adam, InfoNCE at a temperature that is not stated
PUBLISHED_CRITICAL = {4: 10, 5: 14, 6: 19, 8: 28, 10: 36, 12: 47, 16: 79, 20: 120}
TEMPERATURES: tuple[float, ...] = (0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4)
LEAST_TEMPERATURE = 1e-9
METHODS = ("l-bfgs", "adam")
MOST_KEYS = 128
RATE, PATIENCE, MOST_STEPS = 0.01, 1_000, 20_000  # of Adam


@dataclass(frozen=True, eq=False)
class CriticalKeys:
    """Where training stops realising all pairs.

    Attributes
    ----------
    head_size : int
    realised : tuple of int
        The numbers of keys tried for which some start realised all pairs.
    critical : int or None
        The first for which none did, and where the search stopped; None if all were realised.
    share : float
        The share of pairs that the best start realised there; 1 if there is no such number.
    """

    head_size: int
    realised: tuple[int, ...]
    critical: int | None
    share: float


def critical_keys(
    head_size: int,
    *,
    temperature: float | None = None,
    first: int | None = None,
    last: int = 32,
    starts: int = 3,
    seed: int = 0,
    method: str = "l-bfgs",
) -> CriticalKeys:
    """Raise the number of keys by one until no start realises all pairs.

    Parameters
    ----------
    head_size, temperature, method
        As in :func:`train_pairs`.
    first, last : int
        Numbers of keys to begin and to end at; the first is head_size + 1 unless given.
    starts : int
        At most so many for each number of keys.
    seed : int
        Of the first start; the others follow.

    Returns
    -------
    CriticalKeys

    Raises
    ------
    InputError, InputTypeError
        If an argument is not as described.

    References
    ----------
    Weller, Boratko, Naim & Lee 2025, section 4; docs/theory.md, section 5.

    Examples
    --------
    >>> critical_keys(3, temperature=0.1, last=6).critical  # 5 keys in space never do
    5
    """
    d = check_head_size(head_size)
    last = check_int("last", last, least=2, most=MOST_KEYS)
    first = check_int("first", d + 1 if first is None else first, least=2, most=last)
    starts, seed = check_int("starts", starts, least=1), check_int("seed", seed, least=0)
    realised: list[int] = []
    for n in range(first, last + 1):
        best = 0.0
        for start in range(starts):
            found = train_pairs(n, d, seed + start, temperature=temperature, method=method)
            best = max(best, found.share)
            if best == 1:
                break
        if best < 1:
            return CriticalKeys(d, tuple(realised), n, best)
        realised.append(n)
    return CriticalKeys(d, tuple(realised), None, 1.0)


def train_pairs(
    n: int,
    head_size: int,
    seed: int,
    *,
    temperature: float | None = None,
    method: str = "l-bfgs",
    max_iterations: int = 1_500,
) -> Pairs:
    """Train unit keys, and a unit query for each pair of them, to score the pair above the rest.

    The loss is contrastive (InfoNCE): the mean over pairs and their two keys of
    ``-log(e^{s/τ}/(e^{s/τ} + Σ e^{s'/τ}))``, s the score of the key and s' those of all keys that
    are not in the pair. The temperature τ is the reciprocal of the scale of the logits.

    Parameters
    ----------
    n : int
        How many keys, 3 to 128.
    head_size : int
        d.
    seed : int
        Of the start, Gaussian directions.
    temperature : float, optional
        τ. Unless given it falls from 0.1 to 1e-4, each stage beginning where the last ended, until
        all pairs are realised.
    method : {"l-bfgs", "adam"}
        SciPy's L-BFGS; or Adam, normalising after each step, which stops when the loss has not
        fallen for 1000 steps.
    max_iterations : int
        Of L-BFGS at each temperature.

    Returns
    -------
    Pairs
        What is certain of the trained floats.

    Raises
    ------
    InputError, InputTypeError
        If an argument is not as described.

    References
    ----------
    Weller, Boratko, Naim & Lee 2025, section 4; docs/theory.md, section 5.

    Examples
    --------
    >>> train_pairs(8, 4, seed=0).share
    1.0
    """
    n, d = check_int("n", n, least=3, most=MOST_KEYS), check_head_size(head_size)
    rng = np.random.default_rng(check_int("seed", seed, least=0))
    limit = check_int("max_iterations", max_iterations, least=1)
    if method not in METHODS:
        raise InputError(f"method is {method!r}; expected one of {', '.join(METHODS)}.")
    stages = TEMPERATURES if temperature is None else (_temperature(temperature),)
    members = pair_members(n)
    factors = _unit(rng.standard_normal((d, n + len(members))))
    for tau in stages:
        loss = _Loss(members, n, tau)
        factors = _adam(loss, factors) if method == "adam" else _lbfgs(loss, factors, limit)
        found = _pairs(factors, n)
        if found.realised == found.count:
            break
    return found


def _temperature(value: float) -> float:
    tau = check_real("temperature", value, above=0.0)
    if tau < LEAST_TEMPERATURE:
        raise InputError(
            f"temperature is {tau}; expected at least {LEAST_TEMPERATURE}: differences of scores "
            "divided by less are mostly rounding."
        )
    return tau


def _unit(columns: Array) -> Array:
    scaled: Array = columns / np.sqrt(np.sum(columns * columns, axis=0))
    return scaled


def _pairs(factors: Array, n: int) -> Pairs:
    return _check_pairs(factors[:, :n], factors[:, n:])


def contrastive_loss(
    factors: Array, members: Ints, n: int, temperature: float
) -> tuple[float, Array]:
    """The loss of :func:`train_pairs` and its gradient, unchecked.

    The first n columns of `factors` are keys, the rest queries; each is divided by its length.
    """
    lengths = np.sqrt(np.sum(factors * factors, axis=0))
    unit = factors / lengths
    keys, queries = unit[:, :n], unit[:, n:]
    scores = keys.T @ queries / temperature  # (n, pairs)
    own = np.take_along_axis(scores, members.T, axis=0)  # (2, pairs)
    np.put_along_axis(scores, members.T, -np.inf, axis=0)
    top = scores.max(axis=0)
    with np.errstate(under="ignore"):
        weights = np.exp(scores - top)
        total = weights.sum(axis=0)
        behind = top + np.log(total) - own
        loss = np.logaddexp(0.0, behind)
        slope = np.exp(behind - loss) / (loss.size * temperature)  # of the logistic function
        pull = weights * (slope.sum(axis=0) / total)
        np.put_along_axis(pull, members.T, -slope, axis=0)
        gradient = np.concatenate([queries @ pull.T, keys @ pull], axis=1)
        gradient -= unit * np.sum(unit * gradient, axis=0)
        return float(loss.mean()), gradient / lengths


@dataclass(frozen=True, eq=False)
class _Loss:
    members: Ints
    n: int
    temperature: float

    def __call__(self, factors: Array) -> tuple[float, Array]:
        return contrastive_loss(factors, self.members, self.n, self.temperature)


Objective = Callable[[Array], tuple[float, Array]]


def _lbfgs(loss: Objective, start: Array, limit: int) -> Array:
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    def flat(x: Array) -> tuple[float, Array]:
        value, gradient = loss(x.reshape(start.shape))
        return value, gradient.ravel()

    options = {"maxiter": limit, "maxfun": 2 * limit, "gtol": 1e-9, "ftol": 1e-13}
    with threadpool_limits(1, "blas"):
        result = minimize(flat, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return _unit(result.x.reshape(start.shape))


def _adam(loss: Objective, start: Array) -> Array:
    x, first, second = start, np.zeros_like(start), np.zeros_like(start)
    best, since = np.inf, 0
    for step in range(1, MOST_STEPS + 1):
        value, gradient = loss(x)
        since = 0 if value < best else since + 1
        best = min(best, value)
        if since >= PATIENCE:
            break
        first = 0.9 * first + 0.1 * gradient
        with np.errstate(under="ignore"):
            second = 0.999 * second + 0.001 * gradient * gradient
        size = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        x = _unit(x - RATE * first / (1 - 0.9**step) / size)
    return x
