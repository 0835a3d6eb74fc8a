"""How each figure is made: one file per figure, its name to its recipe."""

from collections.abc import Mapping
from types import MappingProxyType

from recipes.atlas import ATLAS
from recipes.bases import BASES
from recipes.cliff import CLIFF
from recipes.evidence import EVIDENCE
from recipes.experiments import LAPTOP, OVERNIGHT, TRAINED_HEADS
from recipes.loss import LOSS
from recipes.masks import MASKS
from recipes.price import PRICE
from recipes.ranks import RANKS
from recipes.reach import REACH
from recipes.recipe import Recipe, Row
from recipes.separation import SEPARATION
from recipes.speed import GROWTH, SPEED
from recipes.witness import WITNESS

__all__ = ["FIGURES", "Recipe", "Row"]

FIGURES: Mapping[str, Recipe] = MappingProxyType(
    {
        "atlas": ATLAS,
        "bases": BASES,
        "cliff": CLIFF,
        "evidence": EVIDENCE,
        "experiments-laptop": LAPTOP,
        "experiments-overnight": OVERNIGHT,
        "growth": GROWTH,
        "loss": LOSS,
        "masks": MASKS,
        "price": PRICE,
        "ranks": RANKS,
        "reach": REACH,
        "separation": SEPARATION,
        "speed": SPEED,
        "trained-heads": TRAINED_HEADS,
        "witness": WITNESS,
    }
)
