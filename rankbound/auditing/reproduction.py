"""An audit checks itself first: it reproduces the model's own attention weights.

Let u be the sum of the unit roundoffs of the model's dtype and of float64, in which the context is
recomputed. A logit is an inner product of k terms, scaled: in any order of summation it is off by
at most ``(k + 4) u |scale| |q|·|k|`` (Jeannerod & Rump 2013, and the roundings of the scale); a cap
does not enlarge that and adds ``6 u |L|``. Many models take the softmax in float32 whatever they
run in: let v be u, or with the roundoff of float32 if that is larger. Casting the logits,
subtracting the largest and the exponential add ``v (|L| + max L - L) + 4 v``. Let E be their sum:
each exponential is right to a factor ``e^±E``, their sum to ``Σ P e^E``, and n additions, a
division and a cast add ``(n + 4) v``. So a weight is right to a factor ``e^±B``,
``B = E + log Σ P e^E + (n + 4) v``, apart from underflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import FLOAT64, STORAGES, Array
from rankbound.attention.head import AttentionHead
from rankbound.auditing.capture import Captured, as_columns
from rankbound.auditing.models import LoadedModel
from rankbound.errors import InputError

__all__ = ["Reproduction", "Samples", "context_and_bound", "eager_samples", "reproduce"]

SAMPLED = 32  # queries whose weights are kept from a run of the model without any observer
VAGUE = 0.5  # a bound on the sum of a query's deviations above which it would show nothing


@dataclass(frozen=True)
class Reproduction:
    """How well the model's attention weights were reproduced."""

    deviation: float  # largest difference of a weight from the model's own
    ratio: float  # largest difference over its bound; at most 1
    weights: int  # how many were compared

    def with_(self, other: Reproduction) -> Reproduction:
        """Both together."""
        return Reproduction(
            max(self.deviation, other.deviation),
            max(self.ratio, other.ratio),
            self.weights + other.weights,
        )


Samples = dict[str, list[Array]]


@contextmanager
def eager_samples(loaded: LoadedModel, n: int) -> Iterator[Samples]:
    """Collect some columns of each layer's weights while the model runs unobserved.

    Yields a dict that holds, after the run, for each module that returned weights those of each of
    its calls, (heads, n, sampled), [key, query]. Of modules within each other the innermost counts.
    """
    samples: Samples = {}
    chosen = sampled(n)

    def keep(name: str, output: Any) -> None:
        if any(other.startswith(f"{name}.") for other in samples) or not name:
            return
        for part in output if isinstance(output, tuple) else ():
            if getattr(part, "ndim", 0) == 4 and tuple(part.shape[2:]) == (n, n):
                samples.setdefault(name, []).append(as_columns(part[:, :, chosen]))
                return

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name, module in loaded.model.named_modules()
    ]
    try:
        yield samples
    finally:
        for handle in hooks:
            handle.remove()


def sampled(n: int) -> npt.NDArray[np.int64]:
    """The queries that are sampled."""
    return np.unique(np.linspace(0, n - 1, SAMPLED).astype(np.int64))


def reproduce(captured: Captured, samples: Samples) -> Reproduction:
    """Compare every weight with what the layer's own attention gave, some with an unobserved run.

    Refused if one differs by more than rounding explains, or rounding might explain anything.
    """
    unobserved = samples.get(captured.module, [])[captured.turn : captured.turn + 1]
    if not unobserved or captured.own is None:
        raise InputError(
            f"{captured.place}: the model does not return its attention weights when it runs by "
            "itself; expected them, to be reproduced before anything is reported."
        )
    weights, total = captured.weights(), Reproduction(0.0, 0.0, 0)
    for h, head in enumerate(captured.heads):
        P, bound = context_and_bound(head, captured.dtype)
        if float(bound.sum(axis=0).max()) > VAGUE:
            raise InputError(
                f"{captured.place}, head {h}: logits so large that rounding in {captured.dtype} "
                "leaves the weights open; nothing would be shown. Pass dtype='float64'."
            )
        chosen = sampled(P.shape[1])
        pairs = (
            (P, bound, weights[h]),
            (P[:, chosen], bound[:, chosen], unobserved[0][h]),
        )
        for ours, allowed, theirs in pairs:
            total = total.with_(_compare(ours, allowed, theirs, f"{captured.place}, head {h}"))
    return total


def _compare(ours: Array, bound: Array, theirs: Array, place: str) -> Reproduction:
    difference = np.abs(ours - theirs)
    ratio = float(np.max(difference / bound))
    if not ratio <= 1:
        where = [int(i) for i in np.unravel_index(np.argmax(difference / bound), ours.shape)]
        raise InputError(
            f"{place}: the weights recomputed from its queries and keys differ from the model's "
            f"own by {difference[tuple(where)]:.2e} at [key, query] = {where}, where rounding "
            f"explains {bound[tuple(where)]:.2e}; nothing is reported. The layer does something "
            "to its logits that the audit does not know."
        )
    return Reproduction(float(difference.max()), ratio, difference.size)


def context_and_bound(head: AttentionHead, dtype: str) -> tuple[Array, Array]:
    """The context of a head in float64, and how far a model in `dtype` may be from each weight."""
    L, P, mask = head.logits(), head.context(), head.mask
    k, n = head.head_size, head.d
    u = (STORAGES[dtype].eps + FLOAT64.eps) / 2
    v = max(u, (STORAGES["float32"].eps + FLOAT64.eps) / 2)
    E = ((k + 4) * u * abs(head.scale)) * (np.abs(head.W_k).T @ np.abs(head.W_q))
    if head.soft_cap is not None:
        E += 6 * u * np.abs(L)
    top = (L if mask is None else np.where(mask, L, -np.inf)).max(axis=0)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        E += v * (np.abs(L) + np.abs(top - L)) + 4 * v
        factor = np.where(P > 0, np.expm1(E), 0.0)
        rest = np.log1p(np.sum(P * factor, axis=0)) + (n + 4) * v
        bound = P * (factor * np.exp(rest) + np.expm1(rest))  # P (e^(E + rest) - 1)
    return P, bound + 4 * float(np.finfo(np.float32).tiny)
