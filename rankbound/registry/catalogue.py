"""All registered claims: an immutable mapping built from explicit tuples, one a source."""

from __future__ import annotations

from collections.abc import Mapping

from rankbound.registry import bhojanapalli2020, folklore, heads, sharpened
from rankbound.registry.claim import Claim, by_id

__all__ = ["claims"]

claims: Mapping[str, Claim] = by_id(
    *sharpened.CLAIMS,
    *bhojanapalli2020.CLAIMS,
    *heads.CLAIMS,
    *folklore.CLAIMS,
)
