"""All registered claims: an immutable mapping built from explicit tuples, one per file."""

from __future__ import annotations

from collections.abc import Mapping

from rankbound.registry import (
    any_tokens,
    approximation,
    bhojanapalli2020,
    selection,
    theorem_2,
    theorem_c,
    theorems,
    variants,
)
from rankbound.registry.claim import Claim, by_id

claims: Mapping[str, Claim] = by_id(
    *theorems.CLAIMS,
    *theorem_c.CLAIMS,
    *any_tokens.CLAIMS,
    *bhojanapalli2020.CLAIMS,
    *theorem_2.CLAIMS,
    *variants.CLAIMS,
    *approximation.CLAIMS,
    *selection.CLAIMS,
)
