"""What each preset of each experiment runs: lists of cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any

__all__ = ["GRIDS", "PRESETS", "RATES", "Cells"]

PRESETS = ("smoke", "laptop", "overnight")
Cells = tuple[dict[str, Any], ...]
RATES = (0.02, 0.04, 0.08)  # of language models: each arm is judged at its best


def _seeded(arms: Iterable[Mapping[str, Any]], seeds: int, **shared: Any) -> Cells:
    """Every arm with every seed, all arms of a seed before the next."""
    return tuple({**arm, **shared, "seed": seed} for seed, arm in product(range(seeds), arms))


def _layer(
    heads: int, head_size: int | None = None, value_size: int | None = None
) -> dict[str, Any]:
    """A layer that names the sizes it does not leave standard."""
    sizes = {"head_size": head_size, "value_size": value_size}
    return {"heads": heads} | {name: size for name, size in sizes.items() if size is not None}


def _context(ns: Iterable[int], seeds: int, below: int = 3) -> Cells:
    sizes = [{"n": n, "head_size": n - 1 - less} for n in ns for less in reversed(range(below))]
    return _seeded(sizes, seeds)


MIXING = (
    *(_layer(h) for h in (1, 2, 4, 8, 16, 32)),
    *(_layer(h, 8) for h in (1, 2, 4, 8, 16)),
    *(_layer(4, k, 8) for k in (4, 5, 6, 7)),
    *({**_layer(h), "d": 64} for h in (4, 8, 16)),
)
MIXING_SMOKE = (
    *(_layer(h) for h in (2, 4, 8, 32)),
    _layer(8, 8),
    *(_layer(4, k, 8) for k in (4, 6, 7)),
)
SEPARATION = (
    *(_layer(h) for h in (1, 2, 4, 8, 16)),
    _layer(4, 16),
    _layer(4, 16, 4),
    _layer(4, 4, 16),
)
DISTINCT = (*(_layer(h) for h in (1, 2, 4, 8, 16)), *(_layer(h, 16) for h in (2, 4)))
FARTHEST = (*(_layer(h) for h in (1, 2, 4, 16)), _layer(4, 16))
LOOKUP = tuple(_layer(h) for h in (4, 8, 16, 32))


def _taught(teacher: str, arms: Iterable[Mapping[str, Any]], seeds: int, **shared: Any) -> Cells:
    return _seeded(arms, seeds, teacher=teacher, **shared)


def _arms(arm: str, *heads: int, d: int = 32) -> list[dict[str, Any]]:
    return [{"arm": arm, "heads": h, "d": d} for h in heads]


def _language(
    arms: Iterable[Mapping[str, Any]], steps: int, seeds: int, rates: Iterable[float]
) -> Cells:
    tuned = [{**arm, "rate": rate} for arm in arms for rate in rates]
    return _seeded(tuned, seeds, weight_decay=0.01, steps=steps)


def _decayed(arms: Iterable[Mapping[str, Any]], steps: int, seeds: int) -> Cells:
    """Without decay and with more of it: for the heads that come of it."""
    both = [{**arm, "weight_decay": decay} for arm in arms for decay in (0.0, 0.1)]
    return _seeded(both, seeds, rate=0.02, steps=steps)


_FEW = (*_arms("standard", 2, 8, 32), *_arms("fixed", 8, 16), *_arms("matched", 8))
_WIDE = _arms("standard", 8, d=64)
_ALL = (
    *_arms("standard", 1, 2, 4, 8, 16, 32),
    *_arms("fixed", 4, 8, 16),
    *_arms("matched", 8, 16),
    *_arms("standard", 8, d=48),
    *_WIDE,
)
_DECAYED = (*_arms("standard", 2, 8, 32), *_arms("fixed", 8))
_LONG = {"steps": 3000}  # with half as many the knee is not yet to be seen
_SHORT = {"steps": 400, "rate": 1e-2, "batch": 128}

GRIDS: Mapping[str, Mapping[str, Cells]] = MappingProxyType(
    {
        "context": MappingProxyType(
            {
                "smoke": _context((8,), 1),
                "laptop": _context((8, 16, 32), 3),
                "overnight": _context((8, 16, 32), 10, below=5),
            }
        ),
        "separation": MappingProxyType(
            {
                "smoke": _taught("common", (*map(_layer, (1, 4, 16)), _layer(4, 16)), 1, **_SHORT),
                "laptop": _taught("common", SEPARATION, 1),
                "overnight": _taught("common", SEPARATION, 3),
            }
        ),
        "separation-distinct": MappingProxyType(
            {
                "smoke": _taught("distinct", (_layer(4), _layer(4, 16)), 1, **_SHORT),
                "laptop": _taught("distinct", DISTINCT, 1),
                "overnight": _taught("distinct", DISTINCT, 3),
            }
        ),
        "mixing": MappingProxyType(
            {
                "smoke": _seeded(MIXING_SMOKE, 1, **_LONG),
                "laptop": _seeded(MIXING, 3, **_LONG),
                "overnight": _seeded(MIXING, 3, **_LONG),
            }
        ),
        "farthest": MappingProxyType(
            {
                "smoke": _seeded((_layer(16), _layer(4, 16)), 1, steps=200),
                "laptop": _seeded(FARTHEST, 1, steps=1500),
                "overnight": _seeded(FARTHEST, 3),
            }
        ),
        "lookup": MappingProxyType(
            {
                "smoke": _seeded((_layer(32),), 1, steps=100),
                "laptop": _seeded(LOOKUP, 1),
                "overnight": _seeded(LOOKUP, 3),
            }
        ),
        "language": MappingProxyType(
            {
                "smoke": _language(_FEW[::3], 60, 1, (0.02,)),
                "laptop": _language((*_FEW, *_WIDE), 500, 1, RATES) + _decayed(_FEW[1:4:2], 500, 1),
                "overnight": _language(_ALL, 1500, 3, RATES) + _decayed(_DECAYED, 1500, 2),
            }
        ),
    }
)
