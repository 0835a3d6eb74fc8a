"""Certificates of a claim's instances: built, checked from their JSON, and written if asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from rankbound._validate import shown
from rankbound.certificates.certificates import Certificate
from rankbound.certificates.checker import check
from rankbound.errors import InputTypeError, Undecided
from rankbound.registry.claim import Claim, Instance
from rankbound.verdict import Verdict

__all__ = ["prove", "statement_kinds"]


def prove(
    claim_id: str | None, instances: Iterable[Instance], folder: Path | None = None
) -> tuple[list[Instance], str]:
    """Build and check the certificates of the instances that are called certified.

    Parameters
    ----------
    claim_id : str or None
        The claim that they speak for; None for none, as those of a mutant.
    instances : iterable of Instance
        Those whose evidence is not certified stay as they are.
    folder : path, optional
        Where to write one file per certificate, named after the claim and numbered; those of an
        earlier run of the claim are removed. It is then the file that is checked.

    Returns
    -------
    instances : list of Instance
        With the certificates in place of what builds them, as far as they were accepted.
    reason : str
        What is wrong with the first instance that keeps less than all of them; or nothing.
    """
    if folder is not None:
        for stale in folder.glob(f"{claim_id}-[0-9]*.json"):
            stale.unlink()
    proved: list[Instance] = []
    reasons: list[str] = []
    for instance in instances:
        if instance.evidence is not Verdict.CERTIFIED:
            proved.append(instance)
            continue
        first = sum(one.accepted for one in proved)
        accepted, reason = _accepted(claim_id, instance, folder, first)
        reasons += [reason] if reason else []
        sources = instance.certificates if reason else tuple(accepted)
        proved.append(replace(instance, certificates=sources, accepted=len(accepted)))
    return proved, reasons[0] if reasons else ""


def _accepted(
    claim_id: str | None, instance: Instance, folder: Path | None, first: int
) -> tuple[list[Certificate], str]:
    """The certificates of an instance up to the first that fails, and why that one does."""
    accepted: list[Certificate] = []
    try:
        for certificate in _built(instance):
            text = certificate.for_claim(claim_id).to_json() + "\n"
            if folder is None:
                outcome = check(text)
            else:
                file = folder / f"{claim_id}-{first + len(accepted):04d}.json"
                file.write_text(text, encoding="ascii")
                outcome = check(file)
            if not outcome.accepted:
                which = f"certificate {len(accepted)} of {instance.label}"
                return accepted, f"{which} was rejected: {outcome.reason}"
            accepted.append(certificate)
    except Undecided as error:
        return accepted, f"not built: {instance.label}: {error}"
    except Exception as error:
        # whatever stops one certificate stops no other instance and no other claim
        return accepted, f"not built: {instance.label}: {type(error).__name__}: {error}"
    return accepted, ""


def _built(instance: Instance) -> Iterator[Certificate]:
    for source in instance.certificates:
        built = source if isinstance(source, Certificate) else source()
        if built is None:
            raise Undecided("no certificate was found")
        for certificate in built if isinstance(built, tuple) else (built,):
            if not isinstance(certificate, Certificate):
                raise InputTypeError(
                    f"{shown(certificate)} is no certificate; expected a Certificate"
                )
            yield certificate


def statement_kinds(claims: Mapping[str, Claim]) -> dict[str, list[str]]:
    """Return which kinds of statement each claim's certificates carry, from a quick run."""
    kinds = {}
    for claim in claims.values():
        found = {
            certificate.statement.kind
            for instance in claim.check(claim.trial("quick", 0))
            for certificate in _built(instance)
        }
        if found:
            kinds[claim.id] = sorted(found)
    return kinds


def as_json(kinds: dict[str, list[str]]) -> str:
    """Return the text of ``claims.json``."""
    return json.dumps(kinds, indent=2, sort_keys=True) + "\n"
