"""Arms that nobody trained: values that show a trend, and values that do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rankbound.experiments.results import Arm
from rankbound.experiments.trends import TRENDS

Value = float | Sequence[float] | Mapping[int, float]  # of every seed, of each, by seed
# kind, heads, d_k and more sizes, where the experiment has arms that differ in them
Key = tuple[Any, ...]
N = {"language": 64, "lookup": 16}
D = {"mixing": 32, "language": 32, "lookup": 64}
BY_ID = {trend.id: trend for trend in TRENDS}
RATES = (0.02, 0.04, 0.08)


def arm(
    experiment: str,
    key: Key,
    value: Value,
    *,
    steps: int = 3000,
    rates: Sequence[float] = RATES,
    decay: float = 0.01,
) -> Arm:
    """Make an arm, of three seeds unless said otherwise.

    Its key is ("head", n, d_k), or (kind, heads), (kind, heads, d), (kind, heads, d, d_k, d_v).
    """
    if isinstance(value, Mapping):
        values = dict(value)
    else:
        listed = [value] * 3 if isinstance(value, (int, float)) else value
        values = dict(enumerate(listed))
    kind, heads, *more = key
    if kind == "head":
        n, heads, d, d_k, d_v = heads, 1, heads, more[0], 0
    else:
        n, d = N.get(experiment, 8), more[0] if more else D.get(experiment, 16)
        usual = {"fixed": 8 if experiment == "mixing" else 16}.get(str(kind), d // heads)
        d_k, d_v = more[1:] if more[1:] else (usual, usual)
    return Arm(
        experiment, str(kind), d, n, heads, d_k, d_v, 100, steps, rates[0],
        decay if experiment == "language" else 0.0, tuple(rates), values,
    )  # fmt: skip


def arms(experiment: str, table: Mapping[Key, Value], **told: Any) -> Iterable[Arm]:
    return [arm(experiment, key, value, **told) for key, value in table.items()]


NAN = float("nan")

# What shows each trend.
SHOWN: dict[str, dict[Key, Value]] = {
    "context-cliff": {
        ("head", 8, 5): 3e-3, ("head", 8, 6): 6e-4, ("head", 8, 7): 2e-16,
        ("head", 16, 13): 3e-4, ("head", 16, 14): 1e-4, ("head", 16, 15): 2e-14,
    },
    "separation-fixed": {
        ("fixed", 4): 1e-8, ("standard", 1): 1e-13, ("standard", 2): 0.03,
        ("standard", 4): 0.2, ("standard", 8): 0.3, ("standard", 16): 0.4,
    },
    "separation-queries": {("sizes", 4, 16, 16, 4): 2e-5, ("sizes", 4, 16, 4, 16): 0.08},
    "distinct-fixed": {
        ("fixed", 4): 3e-10, ("fixed", 2): 0.3, ("standard", 1): 0.5, ("standard", 4): 0.4,
    },
    "distinct-heads": {
        ("standard", 1): 0.5, ("standard", 2): 0.36, ("standard", 4): 0.4, ("standard", 8): 0.42,
    },
    "mixing-heads": {
        ("standard", 1): 0.46, ("standard", 2): 0.2, ("standard", 4): 5e-6,
        ("standard", 8): 2e-3, ("standard", 16): 1e-2, ("standard", 32): 9e-2,
        ("standard", 4, 64): 1e-6, ("standard", 32, 64): 1e-7,
    },
    "mixing-fixed": {
        ("fixed", 1): 0.5, ("fixed", 2): 0.25, ("fixed", 4): 5e-6, ("fixed", 8): 6e-6,
    },
    "mixing-knee": {
        ("sizes", 4, 32, 4, 8): 3e-3, ("sizes", 4, 32, 6, 8): 1e-4, ("sizes", 4, 32, 7, 8): 8e-6,
        ("standard", 4): 7e-6, ("standard", 4, 64): 1e-9,
    },
    "mixing-smaller-d": {
        ("fixed", 4): 5e-6, ("standard", 4, 64): 1e-6, ("fixed", 16): 3e-6,
        ("standard", 16, 64): 2e-3, ("fixed", 1): 0.5,
    },
    "farthest-size": {
        ("standard", 1): 0.05, ("standard", 2): 0.6, ("standard", 16): 0.7, ("fixed", 4): 0.04,
    },
    "lookup-control": {("standard", 4): 1.0, ("standard", 32): 0.999},
    "language-heads": {
        ("standard", 2): 1.68, ("standard", 8): 1.66, ("standard", 16): 1.69,
        ("standard", 32): 1.74, ("standard", 8, 64): 1.4,
    },
    "language-fixed": {("fixed", 4): 1.6, ("fixed", 8): 1.58, ("fixed", 16): 1.54},
    "language-size": {("standard", 8): 1.66, ("fixed", 8): 1.58},
    "language-matched": {
        ("matched", 8): 1.6, ("fixed", 8): 1.58, ("matched", 16): 1.6, ("fixed", 16): 1.54,
    },
    "language-smaller-d": {("standard", 8, 64): 1.6, ("fixed", 8): 1.58, ("fixed", 16): 1.5},
    "language-knee": {
        ("standard", 1): 1.6, ("standard", 2): 1.62, ("standard", 4): 1.63, ("standard", 8): 1.7,
    },
}  # fmt: skip
