"""The columns of an audit: one list, from which its record, table, page and documentation are made.

A new measure is a field of `HeadMeasures` and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rankbound.measuring.head import HeadMeasures
from rankbound.table import Column

NOTATION = (
    "A head has n queries and m keys, each of size k; in self-attention n = m, the tokens of a "
    "window, unless the layer has keys of its own (a learned sink). L is the m × n matrix of the "
    "products of its keys and queries, after rotations, norms, scale and cap; B is a bias that "
    "the model adds to them (relative positions, ALiBi), 0 for most; P is the matrix of its "
    "attention weights, the softmax of L + B, each column a query's. C L is L less each query's "
    "mean over keys; without mask and bias it is C log P. The bias is known to every head and not "
    "counted: what is measured is the head size for L = log P − B. s₁ ≥ s₂ ≥ … are the singular "
    "values of C L, and τ_j = sqrt(Σ s_r², r > j) is the least Aitchison distance from log P − B "
    "at which a head of size j can stay (Eckart–Young). Under a mask log P is defined on visible "
    "pairs only and has no singular values: the spectra are then those of the head's own logits, "
    "hidden pairs included, and errors at smaller sizes are upper bounds. The threshold of a rank "
    "is by how much the rounding of queries and keys may move a singular value."
)


@dataclass(frozen=True)
class Measure:
    """One column of an audit, which has a row per head and window."""

    name: str  # in frame, JSON and page: an attribute of `HeadMeasures`, or see `place`
    meaning: str  # what stands in the page and in docs/audit.md; backquotes are code
    title: str = ""  # its heading in the printed table, where it is printed
    format: str = ""
    printed: Callable[[HeadMeasures], str] | None = None  # what is printed instead of its value
    dtype: str | None = None  # of pandas, where empty entries need one
    place: bool = False  # an attribute of `AuditedHead`: of its place, or of its group
    said: str = ""  # in words, where its name between spaces is none

    @property
    def words(self) -> str:
        """Its heading in the page."""
        return self.said or self.name.replace("_", " ")

    def value(self, head: Any) -> Any:
        """The entry of an `AuditedHead`."""
        return getattr(head if self.place else head.measures, self.name)

    def column(self) -> Column:
        """The column of a table."""
        return Column(self.name, self.title, format=self.format, align="right", dtype=self.dtype)


def _log_rank(m: HeadMeasures) -> str:
    known = m.log_rank is not None
    found = f"{m.log_rank}" if known else f"{m.log_rank_lower}..{m.log_rank_upper}"
    return f"{found} of {m.log_rank_bound}"


def _size_within(m: HeadMeasures) -> str:
    known = m.kl_size_lower == m.kl_size_upper
    return f"{m.kl_size_upper}" if known else f"{m.kl_size_lower}..{m.kl_size_upper}"


COLUMNS = (
    Measure("window", "Number of the window of the text, from 0.", title="window", place=True),
    Measure(
        "layer",
        "Number of the layer in the model, from 0: the first in its module's name, or, where "
        "layers share it, its number among those with attention as they run.",
        title="layer",
        place=True,
    ),
    Measure(
        "module",
        "Name of the layer's module in the model, with its stack or tower.",
        title="module",
        place=True,
    ),
    Measure(
        "head",
        "Number of the query head in its layer, from 0. Where a layer attends within several "
        "blocks (windows of an image, frames) the heads of each block count on.",
        title="head",
        place=True,
    ),
    Measure(
        "key_value_head",
        "Number of the head in its layer whose keys it reads, from 0.",
        title="key/value head",
        place=True,
        said="key/value head",
    ),
    Measure(
        "head_size", "k, the number of entries of a query or key.", title="size", said="head size k"
    ),
    Measure(
        "length",
        "n, the number of queries: the tokens of the window, special ones included.",
        said="queries n",
    ),
    Measure(
        "keys",
        "m, the number of keys: n in self-attention, one more for each learned sink (a key of 0, "
        "whose logit is its bias), the tokens of the other stack in cross-attention.",
        said="keys m",
    ),
    Measure("masked", "Whether some key is hidden from some query."),
    Measure("biased", "Whether a bias is added to the products, other than one for each query."),
    Measure(
        "softcap",
        "The cap c of logits c tanh(L / c), where there is one; everything is measured after it.",
        dtype="float64",
        said="soft cap",
    ),
    Measure(
        "logit_rank",
        "Rank of L: how many of its singular values lie above the threshold.",
        said="rank of L",
    ),
    Measure(
        "log_rank",
        "The log-rank: the least head size at which a head has exactly these attention weights, up "
        "to the threshold; the rank of C L, or of its best completion where pairs are hidden. "
        "Empty where only bounds are known (masks that are not nested, such as sliding windows); "
        "the page then shows both.",
        title="log-rank",
        printed=_log_rank,
        dtype="Int64",
        said="log-rank",
    ),
    Measure(
        "log_rank_lower",
        "A lower bound of the log-rank; equal to the upper one unless the mask is not nested.",
        said="log-rank, at least",
    ),
    Measure("log_rank_upper", "An upper bound of the log-rank.", said="log-rank, at most"),
    Measure(
        "log_rank_at_storage",
        "How much of `log_rank_lower` would be left if queries and keys were known only to the "
        "rounding of the dtype in which the weights are stored: the rest that rounding would leave "
        "open. The same where that dtype is as fine as the one the model ran in; empty for "
        "quantised weights.",
        dtype="Int64",
        said="log-rank beyond storage rounding",
    ),
    Measure(
        "log_rank_bound",
        "min(k, m − 1, n): no head of this size has a larger log-rank. min(m − 1, n) where logits "
        "are capped, since the cap lifts ranks.",
        said="log-rank, bound",
    ),
    Measure(
        "generic_log_rank",
        "The log-rank of almost every matrix of attention weights with this mask: min(m − 1, n), "
        "and ⌊n/2⌋ for a causal mask. Empty where the mask is not nested.",
        dtype="Int64",
        said="log-rank of almost every P",
    ),
    Measure(
        "at_bottleneck",
        "Whether the log-rank reaches `log_rank_bound` while almost every matrix of attention "
        "weights with this mask would need more. No where that is not known: where the bounds "
        "leave it open, or `generic_log_rank` is empty.",
        said="at the bottleneck",
    ),
    Measure(
        "log_effective_rank",
        "Effective rank of C L: exp of the entropy of s / Σ s (Roy & Vetterli 2007). At most k "
        "without a cap, and equal to it only if all k singular values are the same.",
        title="effective",
        format=".1f",
        said="effective log-rank",
    ),
    Measure(
        "log_stable_rank",
        "Stable rank of C L: Σ s² / s₁².",
        title="stable",
        format=".1f",
        said="stable rank of C L",
    ),
    Measure(
        "logit_effective_rank",
        "Effective rank of L.",
        title="logits, effective",
        format=".1f",
        said="effective rank of L",
    ),
    Measure(
        "context_effective_rank",
        "Effective rank of P itself, which the head size does not bound. Empty where it was not "
        "computed: it takes an SVD of m × n per head.",
        title="P, effective",
        format=".1f",
        dtype="float64",
        said="effective rank of P",
    ),
    Measure(
        "biased_log_rank",
        "The log-rank of P itself where there is a bias, which the head size does not bound: the "
        "rank of C (L + B), that is of C log P, up to the threshold. Empty without a bias, and "
        "under a mask.",
        dtype="Int64",
    ),
    Measure(
        "biased_effective_rank",
        "Effective rank of C (L + B). Empty as `biased_log_rank` is.",
        dtype="float64",
    ),
    Measure(
        "aitchison_error_half",
        "τ at ⌊k/2⌋: what is lost of log P − B when half of the size is kept.",
        title="error at half",
        format=".3g",
        said="Aitchison error at k/2",
    ),
    Measure(
        "kl_three_quarters",
        "The KL divergence at head size ⌊3k/4⌋, as `kl_half` at ⌊k/2⌋.",
        format=".2g",
        said="KL at 3k/4",
    ),
    Measure(
        "kl_half",
        "Mean over queries of the KL divergence, in nats, of the attention weights from those of "
        "the head of size ⌊k/2⌋ that is nearest in Aitchison distance (the truncation of C L, with "
        "the same bias): an upper bound of what half the size costs a head refitted to this very "
        "text. With projections fixed before the text is seen, as a smaller model has, it may cost "
        "far more.",
        title="KL at half",
        format=".2g",
        said="KL at k/2",
    ),
    Measure(
        "kl_quarter",
        "The KL divergence at head size ⌊k/4⌋, as `kl_half` at ⌊k/2⌋.",
        format=".2g",
        said="KL at k/4",
    ),
    Measure(
        "basis_sharing_error",
        "How much more of the KL divergence, to second order, is lost at head size ⌊k/2⌋ because "
        "the query heads of a key/value head share one basis of keys (the only kind that shrinks a "
        "cache) instead of having the best one each; as a share of what is lost without any "
        "coordinate (docs/theory.md, section 5). 0: their best bases are the same. Empty where a "
        "head has keys of its own.",
        dtype="float64",
        place=True,
        said="error of the shared basis at k/2",
    ),
    Measure(
        "least_head_size_1pct",
        "The least j with τ_j ≤ 0.01 τ₀: the head size that leaves 1 % of the Aitchison norm. It "
        "does not predict what a smaller head costs the model.",
        said="size for 1\N{NO-BREAK SPACE}% Aitchison error",
    ),
    Measure(
        "kl_size_lower",
        "No head of a smaller size, on any tokens, is within the budget `kl` of these attention "
        "weights, a KL divergence as `kl_half` (column budgets, docs/theory.md, section 5; under a "
        "mask on a fully visible block). Empty where no budget was given.",
        dtype="Int64",
        said="size for the KL budget, at least",
    ),
    Measure(
        "kl_size_upper",
        "The least size at which the truncation of C L is within the budget `kl`: the head of that "
        "size is known. Empty where no budget was given.",
        title="size for KL",
        printed=_size_within,
        dtype="Int64",
        said="size for the KL budget, at most",
    ),
    Measure(
        "entropy",
        "Mean over queries of the entropy of their attention weights, in nats.",
        title="entropy",
        format=".2f",
    ),
    Measure(
        "sink_mass",
        "Mean over queries of the attention weight of key 0. Under a causal mask query 0 counts "
        "with 1.",
        title="sink",
        format=".3f",
        said="weight of key 0",
    ),
    Measure(
        "storage_dtype",
        "In what the weights of queries and keys are stored.",
        place=True,
        said="stored in",
    ),
    Measure("compute_dtype", "In what the model was run.", place=True, said="run in"),
)
