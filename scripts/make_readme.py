"""Write the table of claims into ``README.md``, from the registry; a test compares the two."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import rankbound as rb
from rankbound.registry.machine_checked import standing
from rankbound.verdict import Verdict

TARGET = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- claims: written by make claims -->\n", "\n\n<!-- end of claims -->"
SHOWN = (  # of the many, what a reader asks for first
    "theorem-a",
    "sharp-almost-every",
    "theorem-c",
    "causal-generic",
    "causal-one-missing-head",
    "b20-theorem1-first-exact",
    "b20-theorem1-second-family",
    "b20-bottleneck",
    "kl-lower-bound",
    "sparse-two-s",
    "variant-rope",
    "variant-soft-cap",
    "folklore-context-rank",
)


def block() -> str:
    """The table, and the count of all claims."""
    rows = ["| claim | verdict | in Coq | statement |", "|---|---|---|---|"]
    for claim in map(rb.claims.__getitem__, SHOWN):
        coq = {"machine-checked": "yes", "machine-checked in part": "in part"}
        checked = coq.get(standing(claim), "")
        statement = claim.statement.replace("|", "\\|").replace("*", "\\*")
        rows.append(f"| `{claim.id}` | {claim.status} | {checked} | {statement} |")
    every = rb.claims.values()
    words = Counter(claim.status for claim in every)
    counts = ", ".join(f"{words[word]} {word}" for word in Verdict if words[word])
    coq_count = sum(standing(claim).startswith("machine-checked") for claim in every)
    return "\n".join(
        [
            *rows,
            "",
            f"Of {len(every)} claims: {counts}; {coq_count} machine-checked, whole or in part.",
        ]
    )


def main() -> None:
    """Replace what stands between the marks."""
    before, _, rest = TARGET.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END.lstrip())
    if not mark:
        raise SystemExit(f"{TARGET}: the marks of the claims are gone")
    TARGET.write_text(before + BEGIN + block() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
