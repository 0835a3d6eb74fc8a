"""Write what is machine-checked: for the package, and for readers; a test compares both.

``rankbound/registry/machine_checked.json`` lists the machine-checked theorems and the files that
Coq compiled; ``docs/machine-checked.md`` tells them with the claims that name them. Both follow
from the registry and from ``proofs/`` with its record, which ``make proofs`` compares with Coq.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rankbound as rb
from rankbound.registry.claim import Claim

ROOT = Path(__file__).parent.parent
PROOFS = ROOT / "proofs"
DATA = ROOT / "rankbound" / "registry" / "machine_checked.json"
PAGE = ROOT / "docs" / "machine-checked.md"
MARKS = "<!-- theorems: written by scripts/make_theorems.py -->\n", "\n<!-- end of theorems -->"

HEADLINES = ("main.v", "main_measure.v")
PROVED_IN = re.compile(r" \[[\w., ]+\.v\]$")  # where these say in which file the proof stands

OF_THEOREMS = ("Theorem A", "Theorem B", "Theorem C", "Theorem 1", "Theorem 2")


def of_theorems(claims: Mapping[str, Claim]) -> list[Claim]:
    """The claims of Theorems A, B and C, and of B20's Theorems 1 and 2."""
    keys = ("rankbound", "bhojanapalli2020")
    return [
        claim
        for claim in claims.values()
        if claim.source.key in keys and claim.source.place.startswith(OF_THEOREMS)
    ]


def load_record() -> Any:
    """The program of proofs/, which stands alone."""
    spec = importlib.util.spec_from_file_location("record", PROOFS / "record.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{PROOFS / 'record.py'} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules["record"] = module  # where dataclasses look for annotations
    spec.loader.exec_module(module)
    return module


record = load_record()


def untied(claims: Mapping[str, Claim], proofs: Path = PROOFS) -> list[str]:
    """What is wrong with the theorems that claims name: not machine-checked, or not told."""
    known, wrong = record.machine_checked(proofs), []
    for claim in claims.values():
        if claim.theorem and claim.theorem not in known:
            wrong.append(f"{claim.id}: {claim.theorem} is not machine-checked")
        elif claim.theorem and not known[claim.theorem].statement:
            wrong.append(f"{claim.id}: no comment directly above {claim.theorem} says what it is")
    return wrong


def data(claims: Mapping[str, Claim] = rb.claims, proofs: Path = PROOFS) -> str:
    """The list for the package: headline theorems, those that claims name, and the digests."""
    named = {claim.theorem for claim in claims.values()}
    known = sorted(
        record.machine_checked(proofs).items(),
        key=lambda one: [one[1].file != file for file in HEADLINES],
    )
    theorems = {
        name: {**vars(theorem), "statement": PROVED_IN.sub("", theorem.statement)}
        for name, theorem in known
        if name in named or theorem.file in HEADLINES
    }
    sources = {name: digest for digest, name in map(str.split, record.digests(proofs))}
    text = json.dumps({"sources": sources, "theorems": theorems}, indent=1, ensure_ascii=False)
    return text + "\n"


def block(claims: Mapping[str, Claim] = rb.claims, proofs: Path = PROOFS) -> str:
    """Every theorem of the list, with the claims that name it; then how many claims are covered."""
    axioms, parts = record.recorded(proofs)[1], []
    for name, theorem in json.loads(data(claims, proofs))["theorems"].items():
        file, line = theorem["file"], theorem["line"]
        assumes = ", ".join(theorem["axioms"]) or "no axioms"
        if tuple(theorem["axioms"]) == record.CLASSICAL:
            assumes = "the three"
        real = f"reals.real_{name.partition('.')[2]}"
        if name.startswith("main.") and axioms.get(real):
            assumes += f"; over the reals, as `{real}`, the three"
        told = [
            f"`{c.id}` (in part: {c.theorem_part})" if c.theorem_part else f"`{c.id}`"
            for c in claims.values()
            if c.theorem == name
        ]
        parts += [
            f"### `{name}`",
            theorem["statement"].replace("|", "\\|").replace("*", "\\*"),
            f"[{file}, line {line}](../proofs/{file}#L{line}). Assumes {assumes}.",
            *([f"Claims: {'; '.join(told)}."] if told else []),
        ]
    core = of_theorems(claims)
    part = [claim for claim in core if claim.theorem_part]
    none = [claim for claim in core if not claim.theorem]
    names = [", ".join(f"`{claim.id}`" for claim in some) or "none" for some in (part, none)]
    parts += [
        "### The claims of Theorems A, B and C, and of B20's Theorems 1 and 2",
        f"Of these {len(core)} claims {len(core) - len(part) - len(none)} are machine-checked "
        f"whole, {len(part)} in part ({names[0]}), {len(none)} not ({names[1]}).",
    ]
    return "\n\n".join(parts)


def written(text: str, claims: Mapping[str, Claim] = rb.claims) -> str:
    """The page with the block as proofs and registry have it."""
    before, found, rest = text.partition(MARKS[0])
    _, closed, after = rest.partition(MARKS[1])
    if not (found and closed):
        raise SystemExit(f"{PAGE}: the marks of theorems are gone")
    return before + MARKS[0] + block(claims) + MARKS[1] + after


if __name__ == "__main__":
    if wrong := untied(rb.claims):
        raise SystemExit("\n".join(wrong))
    DATA.write_text(data(), encoding="utf-8")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
