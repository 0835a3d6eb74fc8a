"""Arms that nobody trained: values that show a trend, and values that do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rankbound.experiments.results import Arm
from rankbound.experiments.trends import TRENDS, TUNED

Value = float | Sequence[float] | Mapping[int, float]  # of every seed, of each, by seed
# kind, heads and more sizes, where the experiment has arms that differ in them
Key = tuple[Any, ...]
N = {"language": 64, "lookup": 16, "head-size": 64}
D = {"mixing": 32, "language": 32, "lookup": 64, "head-size": 32}
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

    Its key is ("head", n, d_k), or (kind, heads), (kind, heads, d), (kind, heads, d, d_k, d_v); of
    transition (n, heads), of collapse (kind, layers).
    """
    if isinstance(value, Mapping):
        values = dict(value)
    else:
        listed = [value] * 3 if isinstance(value, (int, float)) else value
        values = dict(enumerate(listed))
    kind: Any
    kind, size, *more = key
    heads, layers = size, 2 if experiment in TUNED else 1
    if experiment == "transition":
        kind, n, d, d_k, d_v = "fixed", kind, 4, 2, 2
    elif experiment == "collapse":
        layers, heads, n, d, d_k, d_v = size, 4, 16, 32, 8, 8
    elif kind == "head":
        n, heads, d, d_k, d_v = size, 1, size, more[0], 0
    else:
        n, d = N.get(experiment, 8), more[0] if more else D.get(experiment, 16)
        usual = {"fixed": 8 if experiment == "mixing" else 16}.get(str(kind), d // heads)
        d_k, d_v = more[1:] if more[1:] else (usual, usual)
    return Arm(
        experiment, kind, d, n, heads, d_k, d_v, 100, steps, rates[0],
        decay if experiment in TUNED else 0.0, layers, tuple(rates), values,
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
    "size-split": {("scaled", 1): 1.6, ("scaled", 4): 1.61, ("scaled", 16): 1.7},
    "size-temperature": {
        ("qk-norm", 1): 1.6, ("qk-norm", 4): 1.61, ("qk-norm", 16): 1.7,
    },
    "size-rank": {("qk-norm", 4): 1.6, ("rank", 4, 32, 2, 8): 1.65},
    "size-rank-matched": {("qk-norm", 4): 1.6, ("rank-matched", 4, 32, 2, 8): 1.65},
    "collapse-attention": {
        ("attention", 1): 1e-6, ("attention", 2): 1e-22, ("attention", 3): 1e-71,
        ("attention", 4): 1e-219, ("bound", 1): 0.3, ("bound", 2): 0.01, ("bound", 3): 1e-5,
        ("bound", 4): 1e-16,
    },
    "collapse-beyond": {("unit", 1): 0.3, ("unit", 2): 0.01, ("unit", 3): 3e-7},
    "collapse-ffn": {
        ("ffn", 1): 2e-6, ("ffn", 2): 1e-21, ("ffn", 3): 1e-70,
        ("attention", 1): 1e-6, ("attention", 2): 1e-22, ("attention", 3): 1e-71,
    },
    "collapse-skip": {
        ("skip", 1): 1.0, ("skip", 2): 1.01, ("skip", 3): 1.02, ("skip-ffn", 1): 1.4,
        ("skip-ffn", 2): 2.0, ("skip-ffn", 3): 3.0, ("unit-skip", 1): 1.1, ("unit-skip", 2): 1.2,
        ("unit-skip", 3): 0.6,
    },
    "transition-heads": {
        **{(8, h): v for h, v in zip(range(1, 6), (0.5, 0.3, 0.2, 0.02, 0.01), strict=True)},
        **{(128, h): v for h, v in zip(range(1, 6), (0.6, 0.4, 0.3, 0.005, 0.003), strict=True)},
    },
}  # fmt: skip
