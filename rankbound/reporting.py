"""What the command line shows: the registry and its report, brackets, the atlas, audits."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from rankbound.registry.machine_checked import machine_checked, standing
from rankbound.table import Column, Table
from rankbound.verdict import STYLES

if TYPE_CHECKING:
    from rich.console import Console

    from rankbound.atlas import Atlas
    from rankbound.auditing.audit import Audit
    from rankbound.measuring.head import HeadMeasures
    from rankbound.registry.claim import Claim
    from rankbound.registry.verification import Report

_SILENCE = 10.0  # seconds between the lines that tell of progress in a pipe
_PIPE_WIDTH = 190  # no terminal says how wide it is: wide enough that no cell is folded


def console(stream: TextIO | None = None) -> Console:
    """Return a console on a stream, by default standard output; wide enough where it is a pipe."""
    from rich.console import Console

    class PipeConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # for the command line to end quietly; rich would exit with 1

    stream = stream or sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return PipeConsole(file=stream, width=width, highlight=False)


@contextmanager
def progress(
    what: str,
    total: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    *,
    quiet: bool = False,
) -> Iterator[Callable[[int, int, str], None]]:
    """Show on standard error how far work has gone: a bar, or in a pipe a line every ten seconds;
    quiet: nothing.

    What it gives is called with how much is done, of how much, and what comes next.
    """
    if quiet:
        yield lambda done, total, what: None
        return
    if sys.stderr is None or not sys.stderr.isatty():
        told = clock()

        def tell(done: int, total: int, what: str) -> None:
            nonlocal told
            if sys.stderr is not None and clock() - told >= _SILENCE:
                told = clock()
                with suppress(OSError):  # a pipe that nobody reads any more stops no work
                    sys.stderr.write(f"{done} of {total}: {what}\n")
                    sys.stderr.flush()

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)

        def show(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield show


def answer_table(answer: Iterable[tuple[str, object]]) -> Table:
    """Return names and values, without a head."""
    return Table([Column("name", "", whole=True), Column("value", "", align="left")], answer)


def claims_table(claims: Iterable[Claim]) -> Table:
    """Return the registry, one row per claim."""
    status = Column("status", style=lambda verdict: STYLES[verdict])
    return Table(
        ["claim", status, "relation", "mutants", "statement", "source"],
        ((c.id, c.status, c.relation, len(c.mutants), _told(c), _from(c)) for c in claims),
    )


def _from(claim: Claim) -> str:
    """The source, and which other package registers the claim."""
    from rankbound.registry.outside import origin

    package = origin(claim)
    return f"{claim.source}\nregistered by {package}" if package else str(claim.source)


def _told(claim: Claim) -> str:
    """The statement, and in a line of its own what is machine-checked of it."""
    if not claim.theorem:
        return claim.statement
    part = f": {claim.theorem_part}." if claim.theorem_part else "."
    return f"{claim.statement}\n{standing(claim).capitalize()} by {claim.theorem}{part}"


def theorems_table(names: Iterable[str]) -> Table:
    """Return the machine-checked theorems of these names: what they assume and state."""
    known = machine_checked()
    return Table(
        ["theorem", "assumes", "statement"],
        (
            (name, known[name].axioms or "nothing", known[name].statement)
            for name in dict.fromkeys(names)
            if name in known
        ),
        title="Machine-checked theorems (docs/machine-checked.md)",
    )


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


def atlas_sources(atlas: Atlas) -> Table:
    """Return what was computed for each entry, its evidence and the claims that verify it."""
    return Table(
        ["entry", "evidence", "computed", "theorem", "claims"],
        (
            (
                f"{entry.pattern}, {entry.notion}: {entry.interval}",
                entry.evidence,
                entry.how,
                entry.theorem,
                entry.claims,
            )
            for entry in atlas.entries
        ),
    )


def audit_summary(audit: Audit) -> list[str]:
    """Return the closing lines: what was audited, how it was checked, what stands out."""
    from rankbound.auditing.page import bottleneck

    model, text = audit.model, audit.text
    stored = f"{model.storage_dtype} weights" + (", dequantised" if model.quantised else "")
    lines = [
        f"{model.name}: {model.architecture}, {model.parameters:,} parameters, {stored}, "
        f"run in {model.compute_dtype}.",
        f"{'Inputs' if text.length is None else 'Text'}: {text.summary()}.",
        f"The model's own attention weights were reproduced to {audit.proof.deviation:.1e}, "
        f"{audit.proof.ratio:.2f} of what rounding explains ({audit.proof.weights:,} weights).",
    ]
    lines += [f"Not audited: {'; '.join(model.not_audited)}."] if model.not_audited else []
    if audit.heads:
        measures = [head.measures for head in audit.heads]
        ranks = [m.log_effective_rank for m in measures]
        lines.append(
            f"{bottleneck([head.row() for head in audit.heads])} "
            f"Effective rank of centred log P: {min(ranks):.1f} to {max(ranks):.1f}, "
            f"median {statistics.median(ranks):.1f}."
        )
        lines += [_cost(measures, size) for size in _shared_sizes(measures)]
    return lines


def _shared_sizes(measures: Sequence[HeadMeasures]) -> list[int]:
    """Head sizes at which the cost of every head is known."""
    return sorted(set.intersection(*(set(m.kl_errors) for m in measures)))


def _cost(measures: Sequence[HeadMeasures], size: int) -> str:
    errors = [m.kl_errors[size] for m in measures]
    return (
        f"At head size {size} the KL divergence of heads refitted to this text is at most "
        f"{max(errors):.2g} nats, in the median {statistics.median(errors):.2g}."
    )
