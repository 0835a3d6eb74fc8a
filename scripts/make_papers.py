"""Write the tables of ``docs/papers.md`` from the registry; a test compares the two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from rankbound.registry.catalogue import PAPERS, claims
from rankbound.registry.claim import Claim

TARGET = Path(__file__).parent.parent / "docs" / "papers.md"

# target, in which sense, head size, the claims that say so
SIZES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("every positive P", "exact", "n - 1", ("sharp-sufficient", "sharp-necessary")),
    ("one positive P", "exact", "rank (C log P)", ("theorem-a", "sui-visible-dimension")),
    ("almost every causal P", "exact", "⌊n/2⌋", ("causal-generic",)),
    ("the worst causal P", "exact", "n - 1", ("causal-worst",)),
    ("the worst causal P", "limit", "⌊n/2⌋", ("causal-dense",)),
    ("every order of the keys", "order", "n - 1", ("all-orderings",)),
    (
        "which keys pass a threshold",
        "sign",
        "sign rank - 1, at least",
        ("weller-sign-rank", "forster-hadamard", "sign-changes"),
    ),
    (
        "one key per query, any map",
        "argmax, scale free",
        "2",
        ("adler-any-map", "one-hot-two", "grivas-unit-keys"),
    ),
    ("at most s keys per query", "limit, scale free", "2 s", ("sparse-two-s",)),
    (
        "one key per query, n of them",
        "within ε, scale β",
        "log n / log(1 + 2 β/g), at least; g = log((1 - ε)/ε)",
        ("price-of-scale-volume", "price-of-scale"),
    ),
    ("one key per query", "within ε, coherence μ", "O(log n), random keys", ("spread-keys",)),
    (
        "every set of q keys, margin γ",
        "margin, fixed keys",
        "log C(n, q) / log(1 + 1/γ), at least",
        ("weller-table",),
    ),
    (
        "every set of q keys, constant margin",
        "margin, fixed keys",
        "where coherence is below 1/(3 q - 1)",
        ("sanford-dual",),
    ),
    (
        "s logits per query that are not 0",
        "ratios within e^(2ε)",
        "O(s Λ² log n / ε²), vacuous below n = 10^5",
        ("likhosherstov-ratios", "likhosherstov-vacuous"),
    ),
    ("contexts told apart, not P", "any margin", "1", ("kajitsuka-boltzmann",)),
    (
        "T examples memorised by H heads",
        "rank of what is handed on",
        "1 may do: at most H (n - 1) + 1 at any size",
        ("mahdavi-upper", "mahdavi-guarantee", "mahdavi-size-caps"),
    ),
)


def marks(name: str) -> tuple[str, str]:
    """What stands before a block and after it."""
    return f"<!-- {name}: written by scripts/make_papers.py -->\n", f"\n<!-- end of {name} -->"


def sizes(claims: Mapping[str, Claim] = claims) -> str:
    """How large must the head size be?"""
    rows = ["| target | in which sense | head size | claims |", "|---|---|---|---|"]
    for target, sense, size, ids in SIZES:
        said = ", ".join(f"`{name}` ({claims[name].status.value})" for name in ids)
        rows.append(f"| {target} | {sense} | {size} | {said} |")
    return "\n".join(rows)


def statements(papers: Iterable[ModuleType] = PAPERS) -> str:
    """Every claim of a paper: what is stated, the evidence, how sure the source is."""
    rows = ["| claim | statement | evidence | source, and how it was read |", "|---|---|---|---|"]
    for claim in (claim for paper in papers for claim in paper.CLAIMS):
        note = f"{claim.source}: {claim.source.note}".replace("|", "\\|")
        statement = claim.statement.replace("|", "\\|")
        rows.append(f"| `{claim.id}` | {statement} | **{claim.status.value}** | {note} |")
    return "\n".join(rows)


def written(text: str) -> str:
    """The page with both blocks as the registry has them."""
    for name, block in (("sizes", sizes()), ("statements", statements())):
        begin, end = marks(name)
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise SystemExit(f"{TARGET}: the marks of {name} are gone")
        text = f"{before}{begin}{block}{end}{after}"
    return text


if __name__ == "__main__":
    TARGET.write_text(written(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
