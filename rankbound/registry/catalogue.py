"""All registered claims: an immutable mapping built from explicit tuples, one a source."""

from __future__ import annotations

from collections.abc import Mapping

from rankbound.registry import (
    bhojanapalli2020,
    bhojanapalli2020_converse,
    folklore,
    heads,
    sharpened,
    yang2018,
)
from rankbound.registry.claim import Claim, by_id

__all__ = ["claims"]

claims: Mapping[str, Claim] = by_id(
    *yang2018.CLAIMS,
    *sharpened.CLAIMS,
    *bhojanapalli2020.CLAIMS,
    *bhojanapalli2020_converse.CLAIMS,
    *heads.CLAIMS,
    *folklore.CLAIMS,
)
