"""The claims of the registry, counted by subject and by the evidence registered for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

from rankbound import canvas
from rankbound.registry import catalogue
from rankbound.registry.machine_checked import standing
from rankbound.verdict import Verdict
from recipes.recipe import Recipe, Row, on_one_axes

COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "about": str,
        "evidence": str,  # as registered; what `rankbound verify` must reach
        "claims": int,
        "machine_checked": int,  # of these: with a theorem in Coq, whole or in part
    }
)
ABOUT: Mapping[str, str] = MappingProxyType(  # the files of the registry; the others are papers
    {
        "theorems": "Theorem A, exact head size",
        "theorem_c": "Theorem C, masks",
        "any_tokens": "tokens of any rank",
        "theorem_2": "Theorem 2 of B20, layers",
        "approximation": "how close heads come",
        "selection": "selecting keys",
        "cut_queries": "cutting queries and keys",
        "variants": "variants of attention",
        "bhojanapalli2020": "B20, other statements",
    }
)
PAPERS = "papers on the bottleneck"


def evidence_rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    """A row for each pair that has claims."""
    counts: Counter[tuple[str, str]] = Counter()
    checked: Counter[tuple[str, str]] = Counter()
    for module in vars(catalogue).values():
        if isinstance(module, ModuleType) and hasattr(module, "CLAIMS"):
            name = module.__name__.rpartition(".")[2]
            for claim in module.CLAIMS:
                key = (ABOUT.get(name, PAPERS), str(claim.status))
                counts[key] += 1
                checked[key] += standing(claim).startswith("machine-checked")
    for about in (*ABOUT.values(), PAPERS):
        for word in map(str, Verdict):
            if counts[about, word]:
                yield {
                    "about": about,
                    "evidence": word,
                    "claims": counts[about, word],
                    "machine_checked": checked[about, word],
                }


def claims_by_evidence(rows: canvas.Rows, ax: Axes | None = None) -> Axes:
    """Draw how many claims each subject has of each evidence, and how many are machine-checked.

    The ``gid`` of a cell is such as ``Theorem C, masks-certified``.
    """
    records = [record for _, record in canvas.checked(rows, tuple(COLUMNS))]
    abouts = list(dict.fromkeys(record["about"] for record in records))
    words = [str(w) for w in Verdict if any(r["evidence"] == str(w) for r in records)]
    most = max(record["claims"] for record in records)
    total = sum(record["claims"] for record in records)
    checked = sum(record["machine_checked"] for record in records)
    with canvas.panel(ax, (canvas.WIDE, 3.0)) as axes:
        for record in records:
            x, y = words.index(record["evidence"]), abouts.index(record["about"])
            share = record["claims"] / most
            box = mpl.patches.Rectangle((x - 0.5, y - 0.5), 1, 1, linewidth=0)
            box.set(facecolor=mpl.colormaps["Blues"](0.1 + 0.6 * share))
            box.set_gid(f"{record['about']}-{record['evidence']}")
            axes.add_patch(box)
            said = str(record["claims"])
            if record["machine_checked"]:
                said += f" ({record['machine_checked']})"
            colour = "white" if share > 0.7 else "black"
            axes.text(x, y, said, ha="center", va="center", color=colour)
        axes.set_xlim(-0.5, len(words) - 0.5)
        axes.set_ylim(len(abouts) - 0.5, -0.5)
        axes.set_xticks(range(len(words)), words)
        left = canvas.name_rows(axes, abouts)
        title = f"{total} claims by evidence; in brackets those with a theorem in Coq ({checked})"
        canvas.label(axes, title=title, x="evidence registered", left=left)
        canvas.dress(axes, "left", "bottom")
        axes.tick_params(length=0)
    return axes


EVIDENCE = Recipe(
    COLUMNS,
    MappingProxyType({}),
    evidence_rows,
    on_one_axes(claims_by_evidence),
    (2.8, 3.6),
    "How many claims of the registry are proved, certified, supported and refuted, by subject, and "
    "how many of these have a theorem in Coq",
)
