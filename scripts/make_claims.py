"""Write what is generated from the registry; tests compare both with what it does.

``rankbound/certificates/claims.json``: which kinds of statement a claim's certificates may carry;
the checker rejects others. ``tests/registry/cases.json``: how many cases a quick run tries, and a
digest of their labels, of the whole numbers predicted, of the exact matrices that their
certificates speak of, and of what is drawn.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rankbound as rb
from rankbound.certificates.certificates import Certificate
from rankbound.registry.claim import Claim, Instance, Trial
from rankbound.registry.verification import statement_kinds

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "rankbound" / "certificates" / "claims.json"
FLOAT = re.compile("0x[0-9a-f.]+p|/0x[1248]0{13}")  # also read as a rational, over 2^52 or more
CASES = ROOT / "tests" / "registry" / "cases.json"


@dataclass(frozen=True, eq=False)
class Noted(Trial):
    """A trial that notes what it is asked for."""

    asked: list[Any]

    def count(self, quick: int, full: int) -> int:
        """The same answer."""
        self.asked.append([quick, full])
        return super().count(quick, full)

    def integers(self, *shape: int, bound: int = 2**20) -> list[list[int]]:
        """The same draw."""
        self.asked.append({"shape": [int(size) for size in shape], "bound": bound})
        return super().integers(*shape, bound=bound)


def noted(claim: Claim) -> Noted:
    """The quick trial of seed 0."""
    trial = claim.trial("quick", 0)
    return Noted(trial.rng, trial.level, [])


def cases(instances: Sequence[Instance], trial: Noted) -> list[Any]:
    """How many there are, and the digest."""
    found: list[Any] = [
        [one.label, int(one.predicted) if float(one.predicted).is_integer() else "", stated(one)]
        for one in instances
    ]
    drawn = trial.rng.bit_generator.state["state"]["state"]  # how far the stream was used
    digest = hashlib.sha256(json.dumps([found, trial.asked, drawn]).encode()).hexdigest()
    return [len(instances), digest[:12]]


def stated(instance: Instance) -> list[Any]:
    """What the certificates of an instance state, but of floats, which a BLAS may round."""
    certificates: list[Certificate] = []
    for source in instance.certificates:
        made = source if isinstance(source, Certificate) else source()
        certificates += made if isinstance(made, tuple) else [made] if made else []
    every = [one.statement.to_data() for one in certificates]
    return [one for one in every if not FLOAT.search(json.dumps(one))]


def written(data: dict[str, Any]) -> str:
    """One line per claim."""
    lines = (f'"{name}": {json.dumps(value)}' for name, value in sorted(data.items()))
    return "{\n " + ",\n ".join(lines) + "\n}\n"


if __name__ == "__main__":
    kinds = statement_kinds(rb.claims)  # before the file is touched: the checker reads it
    text = json.dumps(kinds, indent=2, sort_keys=True) + "\n"
    TARGET.write_text(text, encoding="ascii")
    tried = {}
    for claim in rb.claims.values():
        trial = noted(claim)
        tried[claim.id] = cases(list(claim.check(trial)), trial)
    CASES.write_text(written(tried), encoding="ascii")
