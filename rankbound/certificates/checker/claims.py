"""Which statement kinds a claim may carry: claims.json, generated from the registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from rankbound.certificates.checker.outcome import Rejected, shown

__all__ = ["registered", "require_claim"]


@cache
def registered() -> Mapping[str, list[str]]:
    """The statement kinds of each claim id."""
    text = files("rankbound.certificates").joinpath("claims.json").read_text(encoding="utf-8")
    found: dict[str, list[str]] = json.loads(text)
    return found


def require_claim(claim: object, kind: str, claims: Mapping[str, list[str]]) -> None:
    """Reject a claim that may not carry a statement of this kind."""
    if claim is None:
        return
    if not isinstance(claim, str) or claim not in claims:
        raise Rejected(f"the claim {shown(claim)} is not in the registry.")
    if kind not in claims[claim]:
        raise Rejected(
            f"the claim {claim} carries statements of kind {', '.join(claims[claim])}, not {kind}."
        )
