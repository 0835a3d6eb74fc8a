"""The experiments: what each asks, and which function answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rankbound.experiments.context import context
from rankbound.experiments.farthest import farthest
from rankbound.experiments.language import language
from rankbound.experiments.lookup import lookup
from rankbound.experiments.mixing import mixing
from rankbound.experiments.separation import separation

__all__ = ["EXPERIMENTS", "Experiment"]


@dataclass(frozen=True)
class Experiment:
    """An experiment of the catalogue.

    Attributes
    ----------
    name : str
    what : str
        What it asks, in a line.
    function : callable
        Of a cell's parameters; returns a dict of scalars.
    measure : str
        The result that is judged.
    needs : tuple of str
        Packages besides the core.
    version : str
        Raised when the function changes: a store then runs its cells again.
    """

    name: str
    what: str
    function: Callable[..., dict[str, Any]]
    measure: str
    needs: tuple[str, ...] = ("torch",)
    version: str = "1"


_ALL = (
    Experiment(
        "context",
        "one head, one dense context: is the cliff at head size n - 1?",
        context,
        "kl",
        needs=(),
    ),
    Experiment(
        "separation",
        "a teacher of full heads with one U: do standard layers miss it, and fixed ones not?",
        separation,
        "error",
    ),
    Experiment(
        "separation-distinct",
        "the same with four different U: too few heads and too small ones both miss it",
        separation,
        "error",
    ),
    Experiment(
        "mixing",
        "four dense contexts of eight tokens: a U over heads, and a knee at head size n - 1 = 7",
        mixing,
        "error",
    ),
    Experiment(
        "farthest",
        "the farthest of eight points: heads need size d, whatever n is",
        farthest,
        "error",
    ),
    Experiment(
        "lookup",
        "four pointers a token, the negative control: one-hot routing has no bottleneck",
        lookup,
        "accuracy",
    ),
    Experiment(
        "language",
        "a byte-level language model: more heads, fixed heads, wider layers, same parameters",
        language,
        "loss",
        needs=("torch", "safetensors"),
    ),
)

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({e.name: e for e in _ALL})
