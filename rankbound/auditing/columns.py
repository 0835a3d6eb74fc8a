"""The columns of an audit: one list, from which its record, table, page and documentation are made.

A new measure is a field of `HeadMeasures` and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from rankbound.measuring.head import HeadMeasures

__all__ = ["COLUMNS", "NOTATION", "Column", "as_markdown"]

NOTATION = (
    "n is the number of tokens of a window, k the head size; L is the n × n matrix of a head's "
    "logits (keys by queries, after biases, rotations, norms, scale and cap), P its attention "
    "weights, each column a query's. C L is L less each query's mean over keys; without a mask it "
    "is C log P. s₁ ≥ s₂ ≥ … are the singular values of C L, and τ_j = sqrt(Σ s_r², r > j) is the "
    "least Aitchison distance from log P at which a head of size j can stay (Eckart–Young). Under "
    "a mask log P is defined on visible pairs only and has no singular values: the spectra are "
    "then those of the head's own logits, hidden pairs included, and errors at smaller sizes are "
    "upper bounds. The threshold of a rank is by how much the rounding of queries and keys may "
    "move a singular value."
)


@dataclass(frozen=True)
class Column:
    """One column of an audit, a row per head and window.

    Attributes
    ----------
    name : str
        In the frame, the JSON and the page: an attribute of `HeadMeasures`, or of `AuditedHead`
        where `place` is set.
    meaning : str
        What stands in the page and in docs/audit.md; backquotes are code.
    title : str
        Its heading in the printed table; empty if it is not printed.
    shown : str or callable
        How it is printed there: a format, or a function of the head's measures.
    kind : str or None
        Its pandas dtype, where empty entries need one.
    place : bool
        Whether it says where the head is and how it was run, rather than what was measured.
    """

    name: str
    meaning: str
    title: str = ""
    shown: str | Callable[[HeadMeasures], str] = "{}"
    kind: str | None = None
    place: bool = False

    def value(self, head: Any) -> Any:
        """The entry of an `AuditedHead`."""
        return getattr(head if self.place else head.measures, self.name)

    def cell(self, head: Any) -> str:
        """The entry as it is printed; empty for None."""
        if callable(self.shown):
            return self.shown(head.measures)
        value = self.value(head)
        return "" if value is None else self.shown.format(value)


def _log_rank(m: HeadMeasures) -> str:
    known = m.log_rank is not None
    found = f"{m.log_rank}" if known else f"{m.log_rank_lower}..{m.log_rank_upper}"
    return f"{found} of {m.log_rank_bound}"


COLUMNS = (
    Column(
        "window",
        "Number of the window of the text, from 0.",
        place=True,
    ),
    Column(
        "layer",
        "Number of the layer among those with attention, in the order in which they run, from 0.",
        title="layer",
        place=True,
    ),
    Column(
        "head",
        "Number of the query head in its layer, from 0.",
        title="head",
        place=True,
    ),
    Column(
        "key_value_head",
        "Number of the head in its layer whose keys it reads, from 0.",
        title="key/value head",
        place=True,
    ),
    Column(
        "head_size",
        "k, the number of entries of a query or key.",
        title="size",
    ),
    Column(
        "length",
        "n, the number of tokens of the window, special ones included.",
    ),
    Column(
        "masked",
        "Whether some key is hidden from some query.",
    ),
    Column(
        "softcap",
        "The cap c of logits c tanh(L / c), where there is one; everything is measured after it.",
        kind="float64",
    ),
    Column(
        "logit_rank",
        "Rank of L: how many of its singular values lie above the threshold.",
    ),
    Column(
        "log_rank",
        "The log-rank: the least head size at which a head has exactly these attention "
        "weights, up to the threshold; the rank of C log P, or of its best completion "
        "where pairs are hidden. Empty where only bounds are known (masks that are not "
        "nested, such as sliding windows); the page then shows both.",
        title="log-rank",
        shown=_log_rank,
        kind="Int64",
    ),
    Column(
        "log_rank_lower",
        "A lower bound of the log-rank; equal to the upper one unless the mask is not nested.",
    ),
    Column(
        "log_rank_upper",
        "An upper bound of the log-rank.",
    ),
    Column(
        "log_rank_bound",
        "min(k, n − 1): no head of this size has a larger log-rank. n − 1 where logits "
        "are capped, since the cap lifts ranks.",
    ),
    Column(
        "generic_log_rank",
        "The log-rank of almost every matrix of attention weights with this mask: n − 1, "
        "and ⌊n/2⌋ for a causal mask. Empty where the mask is not nested.",
        kind="Int64",
    ),
    Column(
        "at_bottleneck",
        "Whether the log-rank reaches `log_rank_bound` while almost every matrix of "
        "attention weights would need more. No where the bounds leave it open.",
    ),
    Column(
        "log_effective_rank",
        "Effective rank of C L: exp of the entropy of s / Σ s (Roy & Vetterli 2007). At "
        "most k without a cap, and equal to it only if all k singular values are the "
        "same.",
        title="effective",
        shown="{:.1f}",
    ),
    Column(
        "log_stable_rank",
        "Stable rank of C L: Σ s² / s₁².",
        title="stable",
        shown="{:.1f}",
    ),
    Column(
        "logit_effective_rank",
        "Effective rank of L.",
        title="logits, effective",
        shown="{:.1f}",
    ),
    Column(
        "context_effective_rank",
        "Effective rank of P itself, which the head size does not bound. Empty where it "
        "was not asked for: it takes an SVD of n × n per head.",
        title="P, effective",
        shown="{:.1f}",
        kind="float64",
    ),
    Column(
        "aitchison_error_half",
        "τ at ⌊k/2⌋: what is lost of log P when half of the size is kept.",
        title="error at half",
        shown="{:.3g}",
    ),
    Column(
        "kl_half",
        "Mean over queries of the KL divergence, in nats, of the attention weights from "
        "those of the head of size ⌊k/2⌋ that is nearest in Aitchison distance (the "
        "truncation of C L): an upper bound of what half the size costs.",
        title="KL at half",
        shown="{:.2g}",
    ),
    Column(
        "least_head_size_1pct",
        "The least j with τ_j ≤ 0.01 τ₀: the head size that leaves 1 % of the Aitchison norm.",
        title="size for 1%",
    ),
    Column(
        "entropy",
        "Mean over queries of the entropy of their attention weights, in nats.",
        title="entropy",
        shown="{:.2f}",
    ),
    Column(
        "sink_mass",
        "Mean over queries of the attention weight of key 0. Under a causal mask query 0 "
        "counts with 1.",
        title="sink",
        shown="{:.3f}",
    ),
    Column(
        "storage_dtype",
        "In what the weights of queries and keys are stored.",
        place=True,
    ),
    Column(
        "compute_dtype",
        "In what the model was run.",
        place=True,
    ),
)


def as_markdown() -> str:
    """Notation and meanings as a paragraph and a table."""
    rows = (f"| `{column.name}` | {column.meaning} |" for column in COLUMNS)
    return "\n".join([*wrap(NOTATION, 100), "", "| column | meaning |", "|---|---|", *rows])
