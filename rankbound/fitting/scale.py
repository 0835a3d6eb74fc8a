"""The price of scale, measured: the least scale found beside the scale that no head undercuts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np

from rankbound._validate import Array, check_head_size, check_int, check_seed
from rankbound.errors import InputError, Undecided
from rankbound.fitting.descent import minimise
from rankbound.theory.selection import (
    ScaleBounds,
    SelectingHead,
    check_share,
    random_keys,
    scale_bounds,
    selecting_head,
    sufficient_gap,
    unit_columns,
    worst_margin,
)

SHARPNESS = (4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0)  # of the smooth least margin
ITERATIONS = 200  # of L-BFGS at each of them
MOST_KEYS = 1024


@dataclass(frozen=True, eq=False)
class ScaleBracket:
    """Two sides of the least scale at which a head of a size selects n keys within an error.

    `random` is the scale of a head with random unit keys, queries along them; infinite if float64
    does not hold it, or two keys agree. Checked, rounded up. `fitted` is the same for keys and
    queries fitted for the largest margin: the smaller of both.
    """

    n: int
    head_size: int
    error: float  # total variation allowed in each column
    bounds: ScaleBounds  # no head of this size does with less: proved
    random: float
    fitted: float
    margin: float  # of the better head
    found: SelectingHead | None  # the better head, if there is one

    @property
    def lower(self) -> float:
        """The best of the lower bounds."""
        return self.bounds.best

    @property
    def sufficient(self) -> float:
        """``sufficient_gap(n, ε)/m``, the scale that a margin m alone promises."""
        gap = sufficient_gap(self.n, self.error)
        return gap / self.margin if self.margin > 0 else math.inf

    def to_json(self) -> str:
        """Return the numbers as a JSON object."""
        names = ("n", "head_size", "error", "lower", "random", "fitted", "margin", "sufficient")
        values = {name: getattr(self, name) for name in names}
        return json.dumps(
            {k: v if math.isfinite(v) else str(v) for k, v in values.items()}  # JSON has no inf
        )


def scale_bracket(
    n: int, head_size: int, error: float, *, seed: int = 0, starts: int = 3
) -> ScaleBracket:
    """Bracket the scale β that a head of this size needs to select n keys within an error.

    Below are proved bounds (:func:`rankbound.theory.selection.scale_bounds`). Above are heads whose
    context is checked: with random keys, and with unit keys and queries fitted so that the least of
    ``q_j·(k_j - k_i)`` is as large as possible. Both sides meet for head sizes of n - 1 and more.

    There are 2 to 1024 keys; the error ε is between 0 and 1; random keys and so many fits are drawn
    from the seed.

    Examples
    --------
    >>> bracket = scale_bracket(6, 3, error=1e-3)
    >>> bracket.lower <= bracket.fitted <= bracket.random, round(bracket.margin, 4)
    (True, 1.0)
    """
    n, d = check_int("n", n, least=2, most=MOST_KEYS), check_head_size(head_size)
    share, starts = check_share(error), check_int("starts", starts, least=1)
    rng = np.random.default_rng(check_int("seed", seed, least=0))
    bounds = scale_bounds(n, d, share)
    keys = random_keys(n, d, rng)
    drawn = _selected(keys, keys, share)
    # the best margin, not the best scale, decides among fits: it is what they are fitted for
    fits = [fit_directions(n, d, rng) for _ in range(starts)]
    fitted = _selected(*max(fits, key=lambda fit: float(worst_margin(*fit)[0].min())), share)
    heads = [head for head in (fitted, drawn) if head is not None]
    best = min(heads, key=lambda head: head.scale, default=None)
    return ScaleBracket(
        n,
        d,
        share,
        bounds,
        math.inf if drawn is None else drawn.scale,
        math.inf if best is None else best.scale,
        -math.inf if best is None else best.margin,
        best,
    )


def _selected(keys: Array, directions: Array, error: float) -> SelectingHead | None:
    try:
        return selecting_head(keys, error, directions=directions)
    except (InputError, Undecided):  # two keys agree, or nearly so
        return None


def fit_directions(n: int, head_size: int, seed: int | np.random.Generator) -> tuple[Array, Array]:
    """Fit unit keys and unit queries for the largest ``min_{i != j} q_j·(k_j - k_i)``.

    The least is smoothed by a log-sum-exp, less and less, and raised by L-BFGS from keys drawn at
    random and queries near them: a local optimum. Keys and queries come back, (head_size, n) each,
    of length 1 up to rounding.

    Examples
    --------
    >>> keys, queries = fit_directions(12, 2, seed=0)  # the corners of a regular polygon
    >>> bool(abs(worst_margin(keys, queries)[0].min() - (1 - math.cos(math.pi / 6))) < 1e-3)
    True
    """
    n, d = check_int("n", n, least=2, most=MOST_KEYS), check_head_size(head_size)
    rng = check_seed(seed)
    keys = unit_columns(rng.standard_normal((d, n)))
    pair = np.stack([keys, unit_columns(keys + rng.standard_normal((d, n)) / (4 * math.sqrt(d)))])
    options = {"maxiter": ITERATIONS, "ftol": 1e-14, "gtol": 1e-10}

    def flat(x: Array, sharpness: float) -> tuple[float, Array]:
        value, gradient = soft_margin(x.reshape(pair.shape), sharpness)
        return -value, -gradient.ravel()

    for sharpness in SHARPNESS:
        result = minimise(flat, pair.ravel(), options, sharpness)
        pair = unit_columns(result.x.reshape(pair.shape))
    return pair[0], pair[1]


def soft_margin(pair: Array, sharpness: float) -> tuple[float, Array]:
    """A smooth lower bound of the least margin, ``-log Σ_{i != j} e^{-t q_j·(k_j - k_i)}/t``.

    `pair` holds keys and queries, (2, d, n), which are divided by their lengths; the gradient is
    with respect to it. Unchecked.
    """
    lengths = np.sqrt(np.sum(pair * pair, axis=1, keepdims=True))
    unit = pair / lengths
    keys, queries = unit
    scores = keys.T @ queries
    gaps = -sharpness * (np.diag(scores) - scores)
    np.fill_diagonal(gaps, -np.inf)
    top = gaps.max()
    with np.errstate(under="ignore"):
        weights = np.exp(gaps - top)
        total = float(weights.sum())
        weights /= total
        pull = np.diag(weights.sum(axis=0)) - weights
        gradient = np.stack([queries @ pull.T, keys @ pull])
    gradient -= unit * np.sum(unit * gradient, axis=1, keepdims=True)
    return -(float(top) + math.log(total)) / sharpness, gradient / lengths
