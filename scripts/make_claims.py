"""Write what is generated from the registry; tests compare both with what it does.

``rankbound/certificates/claims.json``: which kinds of statement a claim's certificates may carry;
the checker rejects others. ``tests/registry/cases.json``: how many cases a quick run tries; a
digest of their labels, of the whole numbers predicted, of the exact matrices that their
certificates speak of, of what is drawn and of the cases that a full run adds; the sums of what is
measured, of what is predicted and of the tolerances; by how much each registered mutant fails; a
digest of the words and names with which the claim is registered; and, under "full", the cases and
sums of a full run, of a new claim and of those that have them: where it takes more than a tenth of
a second, delete that entry.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import rankbound as rb
from rankbound.certificates.certificates import Certificate
from rankbound.registry.claim import Claim, Instance, Trial
from rankbound.registry.verification import built

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "rankbound" / "certificates" / "claims.json"
FLOAT = re.compile("0x[0-9a-f.]+p|/0x[1248]0{13}")  # also read as a rational, over 2^52 or more
CASES = ROOT / "tests" / "registry" / "cases.json"
ENOUGH = 36  # cases of a quick run on which a mutant is tried


@dataclass(frozen=True, eq=False)
class Noted(Trial):
    """A trial that notes what it is asked for."""

    asked: list[Any]

    def count(self, quick: int, full: int) -> int:
        """The same answer."""
        self.asked.append([quick, full])
        return super().count(quick, full)

    def some(self, quick: int, cases: Sequence[Any]) -> Sequence[Any]:
        """The same cases."""
        self.asked.append({"cases": repr(cases)})
        return super().some(quick, cases)

    def integers(self, *shape: int, bound: int = 2**20) -> list[list[int]]:
        """The same draw."""
        self.asked.append({"shape": [int(size) for size in shape], "bound": bound})
        return super().integers(*shape, bound=bound)


def noted(claim: Claim, level: str = "quick") -> Noted:
    """The trial of seed 0."""
    trial = claim.trial(level, 0)
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


def sums(instances: Sequence[Instance]) -> list[float]:
    """Of the sizes of what is measured and of what is predicted, and of the tolerances."""
    rows = [(float(i.measured), float(i.predicted), i.tolerance) for i in instances]
    return [math.fsum(map(abs, column)) for column in zip(*rows, strict=True)]


def failing(claim: Claim, instances: Sequence[Instance]) -> float:
    """By how much the cases fail the relation in all, where it is by more than their tolerance."""
    return math.fsum(r for one in instances if (r := claim.residual(one)) > one.tolerance)


def three_digits(number: float) -> float:
    """As the record holds it."""
    return float(f"{number:.3g}")


def stated(instance: Instance) -> list[Any]:
    """What the certificates of an instance state, but of floats, which a BLAS may round."""
    certificates: list[Certificate] = []
    for source in instance.certificates:
        made = source if isinstance(source, Certificate) else source()
        certificates += made if isinstance(made, tuple) else [made] if made else []
    every = [one.statement.to_data() for one in certificates]
    return [one for one in every if not FLOAT.search(json.dumps(one))]


def recorded(claim: Claim) -> dict[str, Any]:
    """What the record holds of a claim."""
    trial = noted(claim)
    instances = list(claim.check(trial))
    wrong = {m.name: first_part(claim.check(noted(claim), **m.formulas)) for m in claim.mutants}
    return {
        "cases": cases(instances, trial),
        "sums": [three_digits(one) for one in sums(instances)],
        "registered": registered(claim),
        "mutants": {name: three_digits(failing(claim, some)) for name, some in wrong.items()},
    }


def full(claim: Claim) -> tuple[list[Any], list[float]]:
    """The cases of a full run, whose certificates are left unbuilt, and the sums."""
    trial = noted(claim, "full")
    instances = [replace(one, certificates=()) for one in claim.check(trial)]
    return cases(instances, trial), sums(instances)


def registered(claim: Claim) -> str:
    """The digest of all that is said of a claim."""
    said = [
        [claim.statement, *claim.hypotheses, claim.relation.value, claim.status.value],
        [claim.source.key, claim.source.place, claim.source.note],
        [claim.theorem, claim.theorem_part, sorted(claim.without.items())],
        [[mutant.name, mutant.kind, sorted(mutant.formulas)] for mutant in claim.mutants],
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]


def first_part(instances: Iterator[Instance]) -> list[Instance]:
    """What is yielded up to an error, of as many cases as a mutant is given."""
    found: list[Instance] = []
    with suppress(Exception):
        found.extend(islice(instances, ENOUGH))
    return found


def statement_kinds(claims: Mapping[str, Claim]) -> dict[str, list[str]]:
    """Return which kinds of statement each claim's certificates carry, from a quick run."""
    kinds = {}
    for claim in claims.values():
        instances = claim.check(claim.trial("quick", 0))
        kinds[claim.id] = sorted({one.statement.kind for each in instances for one in built(each)})
    return {claim_id: found for claim_id, found in kinds.items() if found}


def written(data: dict[str, Any]) -> str:
    """One line per claim."""
    lines = (f'"{name}": {json.dumps(value)}' for name, value in sorted(data.items()))
    return "{\n " + ",\n ".join(lines) + "\n}\n"


if __name__ == "__main__":
    kinds = statement_kinds(rb.claims)  # before the file is touched: the checker reads it
    text = json.dumps(kinds, indent=2, sort_keys=True) + "\n"
    TARGET.write_text(text, encoding="ascii")
    tried, before = {}, json.loads(CASES.read_text(encoding="ascii"))
    for claim in rb.claims.values():
        tried[claim.id] = recorded(claim)
        if "full" in before.get(claim.id, ["full"]):
            tried[claim.id]["full"], found = full(claim)
            tried[claim.id]["full"].append([three_digits(one) for one in found])
    CASES.write_text(written(tried), encoding="ascii")
