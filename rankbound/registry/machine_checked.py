"""Machine-checked theorems: proved in Coq, in proofs/, in full generality.

The word is stronger than *proved* and speaks of the theorem alone: that the Python computes what it
says is shown by the claim's own check. ``machine_checked.json`` lists the theorems that Coq found
to assume nothing, or the axioms of the real numbers, and the SHA-256 of the files that it compiled
(``scripts/make_theorems.py``; tests/registry/test_machine_checked.py compares them). Where proofs/
stands beside the package and differs from these files, nothing is machine-checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path

from rankbound.registry.claim import Claim

PROOFS = Path(__file__).parents[2] / "proofs"  # not in an installed package


@dataclass(frozen=True)
class Theorem:
    """A theorem in words, where it stands in proofs/, and the axioms that it assumes."""

    statement: str
    file: str
    line: int
    axioms: tuple[str, ...]


@cache
def machine_checked(proofs: Path = PROOFS) -> Mapping[str, Theorem]:
    """Return the machine-checked theorems by name: file, dot, theorem."""
    text = (resources.files("rankbound.registry") / "machine_checked.json").read_text("utf-8")
    data = json.loads(text)
    if (proofs / "_CoqProject").is_file():
        files = ((proofs / name, digest) for name, digest in data["sources"].items())
        if not all(f.is_file() and sha256(f.read_bytes()).hexdigest() == d for f, d in files):
            return {}
    return {
        name: Theorem(**{**theorem, "axioms": tuple(theorem["axioms"])})
        for name, theorem in data["theorems"].items()
    }


def standing(claim: Claim) -> str:
    """Return the word for the claim's theorem; empty if it names none."""
    if not claim.theorem:
        return ""
    if claim.theorem not in machine_checked():
        return "not machine-checked"
    return "machine-checked in part" if claim.theorem_part else "machine-checked"
