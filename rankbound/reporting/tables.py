"""Tables by rich: of a report, of the registry, of an installation."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rankbound.fitting.bracket import Bracket
from rankbound.registry.claim import Claim
from rankbound.registry.verification import Report, Row
from rankbound.verdict import Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "bracket_table",
    "claims_table",
    "console",
    "plain_table",
    "report_summary",
    "report_table",
    "simple_table",
]

_COLOURS = {
    Verdict.PROVED: "bold green",
    Verdict.CERTIFIED: "green",
    Verdict.RIGOROUS: "blue",
    Verdict.SUPPORTED: "cyan",
    Verdict.REFUTED: "magenta",
    Verdict.UNDECIDED: "yellow",
}
_PIPE_WIDTH = 160  # no terminal says how wide it is: wide enough that no cell is folded


def console() -> Console:
    """Return a console on standard output, wide enough where it is a file or a pipe."""
    from rich.console import Console

    class PipeConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # for the command line to end quietly; rich would exit with 1

    return PipeConsole(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def bracket_table(bracket: Bracket) -> Table:
    """Return the two sides for each head size."""
    table = plain_table("head size", "KL, at least", "KL of a head", "ratio", "gradient")
    for column in table.columns:
        column.justify = "right"
    for k, low, high, fit in zip(
        bracket.head_size, bracket.lower, bracket.upper, bracket.fits, strict=True
    ):
        ratio = f"{high / low:.3g}" if low > 0 else "-"
        gradient = f"{fit.gradient_norm:.1e}" + ("" if fit.converged else " (not converged)")
        table.add_row(str(k), f"{low:.4g}", f"{high:.4g}", ratio, gradient)
    return table


def report_table(report: Report) -> Table:
    """Return the report as a table, a row a claim."""
    table = plain_table("claim", "evidence", "instances", "residual", "tolerance", "source")
    for column in table.columns[2:5]:
        column.justify = "right"
    for row in report.rows:
        table.add_row(row.id, _evidence(row), str(row.instances), *_numbers(row), row.source)
    return table


def _evidence(row: Row) -> str:
    word = f"[{_COLOURS[row.evidence]}]{row.evidence}[/]"
    return word if row.ok else f"{word} [bold red]not {row.registered}[/]"


def _numbers(row: Row) -> tuple[str, str]:
    residual, tolerance = (f"{x:.1e}" if x else "0" for x in (row.residual, row.tolerance))
    return residual, tolerance


def report_summary(report: Report) -> list[str]:
    """Return the closing lines: how many claims are as registered, and why others are not."""
    wrong = [row for row in report.rows if not row.ok]
    lines = [
        f"{row.id}: {row.evidence}, registered as {row.registered}. "
        + (row.reason or f"Worst instance: {row.worst}.")
        for row in wrong
    ]
    held = len(report.rows) - len(wrong)
    lines.append(
        f"{held} of {len(report.rows)} claims as registered "
        f"(level {report.level}, seed {report.seed})."
    )
    return lines


def claims_table(claims: Iterable[Claim]) -> Table:
    """Return the registry as a table."""
    table = plain_table("claim", "status", "relation", "mutants", "statement", "source")
    for claim in claims:
        table.add_row(
            claim.id,
            f"[{_COLOURS[claim.status]}]{claim.status}[/]",
            claim.relation.value,
            str(len(claim.mutants)),
            claim.statement,
            str(claim.source),
        )
    return table


def simple_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Return a table of two columns without a head."""
    from rich.text import Text

    table = plain_table("", "")
    table.show_header = False
    for name, value in rows:
        table.add_row(Text(name), Text(value))  # as it stands: brackets are no markup
    return table


def plain_table(*columns: str) -> Table:
    """Return an empty table with these columns, ruled under its head alone."""
    from rich import box
    from rich.table import Table

    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
