"""Certificates of a claim's instances, written to files and believed only when read back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rankbound.certificates.checker import check
from rankbound.registry.claim import Claim, Instance

__all__ = ["statement_kinds", "write_certificates"]


def write_certificates(
    claim_id: str, instances: Iterable[Instance], folder: Path
) -> tuple[int, str]:
    """Write one file a certificate, check each from its file, and return how many and what failed.

    Files are named after the claim and numbered; those of an earlier run of the claim are removed.
    """
    for stale in folder.glob(f"{claim_id}-[0-9]*.json"):
        stale.unlink()
    written = 0
    for instance in instances:
        for place, source in enumerate(instance.certificates):
            certificate = source() if callable(source) else source
            if certificate is None:
                return written, f"no certificate was found for {instance.label}"
            file = folder / f"{claim_id}-{written:04d}.json"
            file.write_text(certificate.for_claim(claim_id).to_json() + "\n", encoding="ascii")
            outcome = check(file)
            if not outcome.accepted:
                return written, (
                    f"certificate {place} of {instance.label} was rejected: {outcome.reason}"
                )
            written += 1
    return written, ""


def statement_kinds(claims: Mapping[str, Claim]) -> dict[str, list[str]]:
    """Return which kinds of statement each claim's certificates carry, from a quick run."""
    kinds = {}
    for claim in claims.values():
        found: set[str] = set()
        for instance in claim.check(claim.trial("quick", 0)):
            for source in instance.certificates:
                certificate: Any = source() if callable(source) else source
                found.add(certificate.statement.kind)
        if found:
            kinds[claim.id] = sorted(found)
    return kinds


def as_json(kinds: dict[str, list[str]]) -> str:
    """Return the text of ``claims.json``."""
    return json.dumps(kinds, indent=2, sort_keys=True) + "\n"
