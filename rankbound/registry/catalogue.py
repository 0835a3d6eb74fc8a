"""All registered claims: an immutable mapping built from explicit tuples, one per file."""

from __future__ import annotations

from collections.abc import Mapping

from rankbound.registry import (
    approximation,
    bhojanapalli2020,
    folklore,
    theorem_2,
    theorem_a,
    theorem_b,
    theorem_c,
    variants,
)
from rankbound.registry.claim import Claim, by_id

__all__ = ["claims"]

claims: Mapping[str, Claim] = by_id(
    *theorem_a.CLAIMS,
    *theorem_b.CLAIMS,
    *theorem_c.CLAIMS,
    *bhojanapalli2020.CLAIMS,
    *theorem_2.CLAIMS,
    *variants.CLAIMS,
    *approximation.CLAIMS,
    *folklore.CLAIMS,
)
