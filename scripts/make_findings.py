"""Write what the published runs show into ``docs/experiments.md``; a test compares the two."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from rankbound.experiments.language import SPLITS
from rankbound.experiments.results import Arm, Run, gather
from rankbound.experiments.trends import TRENDS

ROOT = Path(__file__).parent.parent
TABLES = ROOT / "figures" / "data"
TARGET = ROOT / "docs" / "experiments.md"
BEGIN, END = "<!-- findings: written by make findings -->\n", "\n<!-- end of findings -->"
ORDER = ("standard", "fixed", "matched", *SPLITS)
KINDS = {"int": int, "float": float, "str": str}


def published(preset: str) -> tuple[Arm, ...]:
    """The arms of a published table."""
    with (TABLES / f"experiments-{preset}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = {field.name: KINDS[str(field.type)] for field in fields(Run)}
    return gather(Run(**{name: kind(row[name]) for name, kind in kinds.items()}) for row in rows)


def findings() -> str:
    """The block of the documentation: verdicts of both presets, and the language models' arms."""
    laptop, overnight = (published(preset) for preset in ("laptop", "overnight"))
    standard = _models("language, overnight", "language", overnight)
    split = _models("head-size, laptop", "head-size", laptop)
    return "\n".join([*_verdicts(laptop, overnight), "", *standard, "", *split])


def _verdicts(laptop: tuple[Arm, ...], overnight: tuple[Arm, ...]) -> Iterable[str]:
    yield "| trend | statement | laptop | overnight |"
    yield "|---|---|---|---|"
    for trend in TRENDS:
        short, long = trend.finding(laptop), trend.finding(overnight)
        yield f"| `{trend.id}` | {trend.statement} | {short.words} | **{long.words}** |"


def _models(title: str, experiment: str, arms: tuple[Arm, ...]) -> Iterable[str]:
    yield f"| {title} | d | heads | d_k | d_v | parameters | rate | nats per byte |"
    yield "|---|---|---|---|---|---|---|---|"
    mine = [arm for arm in arms if (arm.experiment, arm.weight_decay) == (experiment, 0.01)]
    for arm in sorted(mine, key=lambda arm: (ORDER.index(arm.kind), arm.d, arm.heads)):
        mark = "*" if arm.at_edge else ""
        yield (
            f"| {arm.kind} | {arm.d} | {arm.heads} | {arm.d_k} | {arm.d_v} | {arm.parameters} | "
            f"{arm.rate:g}{mark} | {arm.range()} |"
        )


def main() -> None:
    """Replace what stands between the marks."""
    before, _, rest = TARGET.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{TARGET}: the marks of the findings are gone")
    TARGET.write_text(before + BEGIN + findings() + "\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
