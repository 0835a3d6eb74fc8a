"""An audit as a table and a few lines."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from rankbound.auditing.columns import COLUMNS
from rankbound.auditing.record import Audit
from rankbound.reporting.tables import plain_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from rankbound.measuring.head import HeadMeasures

__all__ = ["audit_summary", "audit_table"]


def audit_table(audit: Audit) -> Table:
    """Return the heads as a table, one row per head and window."""
    several = audit.text.windows > 1
    shown = [column for column in COLUMNS if column.title]
    table = plain_table(*(["window"] if several else []), *(column.title for column in shown))
    for column in table.columns:
        column.justify = "right"
    for head in audit.heads:
        cells = [column.cell(head) for column in shown]
        table.add_row(*([str(head.window)] if several else []), *cells)
    return table


def audit_summary(audit: Audit) -> list[str]:
    """Return the closing lines: what was audited, how it was checked, what stands out."""
    model, text = audit.model, audit.text
    stored = f"{model.storage_dtype} weights" + (", dequantised" if model.quantised else "")
    windows = "1 window" if text.windows == 1 else f"{text.windows} windows"
    lines = [
        f"{model.name}: {model.architecture}, {model.parameters:,} parameters, {stored}, "
        f"run in {model.compute_dtype}.",
        f"Text: {windows} of {text.length:,} tokens, of {text.tokens:,} in all.",
        f"The model's own attention weights were reproduced to {audit.proof.deviation:.1e}, "
        f"{audit.proof.ratio:.2f} of what rounding explains ({audit.proof.weights:,} weights).",
    ]
    if audit.heads:
        measures = [head.measures for head in audit.heads]
        ranks = [m.log_effective_rank for m in measures]
        at = sum(m.at_bottleneck for m in measures)
        lines.append(
            f"{at} of {len(measures)} heads are at the bottleneck: their log-rank is all that "
            "their size allows. "
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
    within = sum(m.least_head_size_1pct <= size for m in measures)
    return (
        f"At head size {size} the KL divergence is at most {max(errors):.2g} nats, in the median "
        f"{statistics.median(errors):.2g}; it is enough for 1 % in {within} of {len(errors)}."
    )
