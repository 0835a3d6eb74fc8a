"""All registered claims: an immutable mapping built from explicit tuples, one a source."""

from __future__ import annotations

from collections.abc import Mapping

from rankbound.registry import (
    approximation,
    bhojanapalli2020,
    bhojanapalli2020_converse,
    bias_variants,
    folklore,
    heads,
    layers,
    logit_variants,
    masked,
    scale,
    selection,
    sharpened,
    tokens,
    variants,
    yang2018,
)
from rankbound.registry.claim import Claim, by_id

__all__ = ["claims"]

claims: Mapping[str, Claim] = by_id(
    *yang2018.CLAIMS,
    *sharpened.CLAIMS,
    *tokens.CLAIMS,
    *masked.CLAIMS,
    *bhojanapalli2020.CLAIMS,
    *bhojanapalli2020_converse.CLAIMS,
    *heads.CLAIMS,
    *layers.CLAIMS,
    *bias_variants.CLAIMS,
    *variants.CLAIMS,
    *logit_variants.CLAIMS,
    *approximation.CLAIMS,
    *selection.CLAIMS,
    *scale.CLAIMS,
    *folklore.CLAIMS,
)
