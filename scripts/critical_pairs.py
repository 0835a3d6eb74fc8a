"""Where trained embeddings stop realising all pairs, beside the published numbers and the theory.

    python scripts/critical_pairs.py [--sizes 4 5 6 8] [--temperatures 0.1 0.07] [--seed 0]
        [--starts 3] [--ahead 12] [--adam]

For each head size d the number n of keys is raised until no start realises all pairs: at fixed
temperatures of the contrastive loss, and with falling temperatures, up to `--ahead` keys more than
the published critical number (Weller, Boratko, Naim & Lee 2025, section 4: the n at which Adam with
InfoNCE stops; its temperature is not stated). ">n" says that all n tried were realised. Then the
trigonometric moment curve, which realises all pairs at d = 4 for every n, with the margin it has
and a bound that no unit keys and queries exceed. Exit 1 if the curve misses a pair.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from mpmath.ctx_iv import MPIntervalContext
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from rankbound._validate import Array, check_head_size, check_int, check_real
from rankbound.errors import InputError
from rankbound.theory.selection import Pairs, check_pairs, curve_pairs, pair_members, unit_columns

CURVE = (10, 20, 50, 100, 200)
BEHIND = 6  # how far below the published number a search at a fixed temperature begins
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

    References
    ----------
    Weller, Boratko, Naim & Lee 2025, section 4; docs/theory.md, section 5.
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

    References
    ----------
    Weller, Boratko, Naim & Lee 2025, section 4; docs/theory.md, section 5.
    """
    n, d = check_int("n", n, least=3, most=MOST_KEYS), check_head_size(head_size)
    rng = np.random.default_rng(check_int("seed", seed, least=0))
    limit = check_int("max_iterations", max_iterations, least=1)
    if method not in METHODS:
        raise InputError(f"method is {method!r}; expected one of {', '.join(METHODS)}.")
    stages = TEMPERATURES if temperature is None else (_temperature(temperature),)
    members = pair_members(n)
    factors = unit_columns(rng.standard_normal((d, n + len(members))))
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


def _pairs(factors: Array, n: int) -> Pairs:
    return check_pairs(factors[:, :n], factors[:, n:])


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
    def flat(x: Array) -> tuple[float, Array]:
        value, gradient = loss(x.reshape(start.shape))
        return value, gradient.ravel()

    options = {"maxiter": limit, "maxfun": 2 * limit, "gtol": 1e-9, "ftol": 1e-13}
    with threadpool_limits(1, "blas"):
        result = minimize(flat, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return unit_columns(result.x.reshape(start.shape))


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
        x = unit_columns(x - RATE * first / (1 - 0.9**step) / size)
    return x


def pair_margin_bound(n: int, head_size: int) -> float:
    """The margin with which unit keys and queries can realise all pairs, at most.

    It is ``2/((n (n - 1)/2)^{1/d} - 1)``, and never above 2.

    Parameters
    ----------
    n : int
        At least 2.
    head_size : int
        d.

    Returns
    -------
    float
        Rounded up.

    References
    ----------
    Weller, Boratko, Naim & Lee 2025, Theorem 1; docs/theory.md, section 5.
    """
    n = check_int("n", n, least=2, most=2**26)
    d = check_head_size(head_size)
    if n == 2:
        return 2.0
    iv: Any = MPIntervalContext()
    iv.prec = 106
    most = 2 / (iv.exp(iv.log(n * (n - 1) // 2) / d) - 1)
    return min(2.0, math.nextafter(float(most.b), math.inf))


def cell(d: int, temperature: float | None, options: argparse.Namespace) -> str:
    """One cell: the critical number and how long it took."""
    published, begun = PUBLISHED_CRITICAL[d], time.perf_counter()
    found = critical_keys(
        d,
        temperature=temperature,
        first=published if temperature is None else max(d + 1, published - BEHIND),
        last=published + options.ahead,
        starts=options.starts,
        seed=options.seed,
        method="adam" if options.adam else "l-bfgs",
    )
    if found.critical is None:
        number = f">{found.realised[-1]}"
    else:
        number = f"{'' if found.realised else '<='}{found.critical} ({found.share:.1%})"
    return f"{number}, {time.perf_counter() - begun:.1f} s"


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 5, 6, 8])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.1, 0.07])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--ahead", type=int, default=12)
    parser.add_argument("--adam", action="store_true", help="train with Adam, not with L-BFGS")
    options = parser.parse_args()
    unknown = sorted(set(options.sizes) - PUBLISHED_CRITICAL.keys())
    if unknown:
        parser.error(f"no number is published for {unknown}; take from {list(PUBLISHED_CRITICAL)}")
    heads = [f"at temperature {tau:g}" for tau in options.temperatures]
    print("Critical n (share of pairs realised there)")
    print(" | ".join(["d", "published", *heads, "falling temperatures"]))
    for d in options.sizes:
        cells = [cell(d, tau, options) for tau in (*options.temperatures, None)]
        print(" | ".join([str(d), str(PUBLISHED_CRITICAL[d]), *cells]), flush=True)
    print("\nThe moment curve at d = 4\nn | pairs | realised | margin | no margin above")
    curves = [curve_pairs(n) for n in CURVE]
    for n, found in zip(CURVE, curves, strict=True):
        bound = pair_margin_bound(n, 4)
        print(f"{n} | {found.count} | {found.realised} | {found.margin:.2e} | {bound:.2f}")
    return int(any(found.share < 1 for found in curves))


if __name__ == "__main__":
    sys.exit(main())
