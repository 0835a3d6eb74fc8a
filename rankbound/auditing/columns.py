"""What the columns of an audit mean: the texts of its page and of its documentation."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from types import MappingProxyType

__all__ = ["DEFINITIONS", "NOTATION", "as_markdown"]

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

# Backquotes are code, as in Markdown; `make columns` writes this into docs/audit.md.
DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "window": "Number of the window of the text, from 0.",
        "layer": "Number of the layer among those with attention, in the order in which they run, "
        "from 0.",
        "head": "Number of the query head in its layer, from 0.",
        "key_value_head": "Number of the head in its layer whose keys it reads, from 0.",
        "head_size": "k, the number of entries of a query or key.",
        "length": "n, the number of tokens of the window, special ones included.",
        "masked": "Whether some key is hidden from some query.",
        "softcap": "The cap c of logits c tanh(L / c), where there is one; everything is measured "
        "after it.",
        "logit_rank": "Rank of L: how many of its singular values lie above the threshold.",
        "log_rank": "The log-rank: the least head size at which a head has exactly these attention "
        "weights, up to the threshold; the rank of C log P, or of its best completion where pairs "
        "are hidden. Empty where only bounds are known (masks that are not nested, such as sliding "
        "windows); the page then shows both.",
        "log_rank_lower": "A lower bound of the log-rank; equal to the upper one unless the mask "
        "is not nested.",
        "log_rank_upper": "An upper bound of the log-rank.",
        "log_rank_bound": "min(k, n − 1): no head of this size has a larger log-rank. n − 1 where "
        "logits are capped, since the cap lifts ranks.",
        "generic_log_rank": "The log-rank of almost every matrix of attention weights with this "
        "mask: n − 1, and ⌊n/2⌋ for a causal mask. Empty where the mask is not nested.",
        "at_bottleneck": "Whether the log-rank reaches `log_rank_bound` while almost every matrix "
        "of attention weights would need more. No where the bounds leave it open.",
        "log_effective_rank": "Effective rank of C L: exp of the entropy of s / Σ s (Roy & "
        "Vetterli 2007). At most k without a cap, and equal to it only if all k singular values "
        "are the same.",
        "log_stable_rank": "Stable rank of C L: Σ s² / s₁².",
        "logit_effective_rank": "Effective rank of L.",
        "context_effective_rank": "Effective rank of P itself, which the head size does not bound. "
        "Empty where it was not asked for: it takes an SVD of n × n a head.",
        "aitchison_error_half": "τ at ⌊k/2⌋: what is lost of log P when half of the size is kept.",
        "kl_half": "Mean over queries of the KL divergence, in nats, of the attention weights from "
        "those of the head of size ⌊k/2⌋ that is nearest in Aitchison distance (the truncation of "
        "C L): an upper bound of what half the size costs.",
        "least_head_size_1pct": "The least j with τ_j ≤ 0.01 τ₀: the head size that leaves 1 % of "
        "the Aitchison norm.",
        "entropy": "Mean over queries of the entropy of their attention weights, in nats.",
        "sink_mass": "Mean over queries of the attention weight of key 0. Under a causal mask "
        "query 0 counts with 1.",
        "storage_dtype": "In what the weights of queries and keys are stored.",
        "compute_dtype": "In what the model was run.",
    }
)


def as_markdown() -> str:
    """Notation and definitions as a paragraph and a table."""
    rows = (f"| `{name}` | {meaning} |" for name, meaning in DEFINITIONS.items())
    return "\n".join([*wrap(NOTATION, 100), "", "| column | meaning |", "|---|---|", *rows])
