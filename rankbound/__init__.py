"""rankbound: what head size an attention head needs, and the proof.

The toolkit verifies *Low-Rank Bottleneck in Multi-head Attention Models* (Bhojanapalli, Yun,
Rawat, Reddi & Kumar, ICML 2020; B20 below) claim by claim, and answers what it leaves to its
readers: exactly, approximately, and for the heads of a real model.

Conventions: tokens are columns, context matrices are [key, query] and their columns sum to 1.
Names are imported when first used (PEP 562), so that ``import rankbound`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankbound.attention.ensembles import (
        random_context,
        random_head,
        random_multihead,
        random_tokens,
    )
    from rankbound.attention.head import AttentionHead
    from rankbound.attention.layer import MultiHead
    from rankbound.attention.masks import (
        causal_mask,
        full_mask,
        is_nested,
        prefix_mask,
        sliding_mask,
    )
    from rankbound.attention.softmax import column_softmax
    from rankbound.auditing.audit import audit
    from rankbound.auditing.record import Audit
    from rankbound.certificates.checker import Check, check
    from rankbound.errors import (
        BackendMissing,
        InputError,
        InputTypeError,
        NotRepresentable,
        RankboundError,
        Undecided,
    )
    from rankbound.fitting.bracket import Bracket, kl_bracket
    from rankbound.fitting.solve import Fit, fit_head
    from rankbound.ranks.bounds import RankBounds
    from rankbound.ranks.certified import certified_rank
    from rankbound.ranks.exact import exact_rank
    from rankbound.ranks.factored import logit_spectrum
    from rankbound.ranks.numerical import effective_rank, numerical_rank, stable_rank
    from rankbound.ranks.spectrum import Spectrum, spectrum
    from rankbound.registry.catalogue import claims
    from rankbound.registry.claim import Claim
    from rankbound.registry.verification import Report, verify
    from rankbound.sweeps.run import Sweep, sweep
    from rankbound.theory.approximation import aitchison_error, nearest_head
    from rankbound.theory.argmax import argmaxable
    from rankbound.theory.certification import certified_log_rank
    from rankbound.theory.inclusion import widen
    from rankbound.theory.kl_bound import kl_lower_bound
    from rankbound.theory.logrank import log_rank
    from rankbound.theory.representation import least_head_size, represent
    from rankbound.theory.separation import Separation, separating_tokens
    from rankbound.theory.signrank import sign_rank_bound
    from rankbound.theory.sparse import sparse_head
    from rankbound.verdict import Verdict

_HOME = {
    "AttentionHead": "attention.head",
    "Audit": "auditing.record",
    "BackendMissing": "errors",
    "Bracket": "fitting.bracket",
    "Check": "certificates.checker",
    "Claim": "registry.claim",
    "Fit": "fitting.solve",
    "InputError": "errors",
    "InputTypeError": "errors",
    "MultiHead": "attention.layer",
    "NotRepresentable": "errors",
    "RankBounds": "ranks.bounds",
    "RankboundError": "errors",
    "Report": "registry.verification",
    "Separation": "theory.separation",
    "Spectrum": "ranks.spectrum",
    "Sweep": "sweeps.run",
    "Undecided": "errors",
    "Verdict": "verdict",
    "aitchison_error": "theory.approximation",
    "argmaxable": "theory.argmax",
    "audit": "auditing.audit",
    "causal_mask": "attention.masks",
    "certified_log_rank": "theory.certification",
    "certified_rank": "ranks.certified",
    "check": "certificates.checker",
    "claims": "registry.catalogue",
    "column_softmax": "attention.softmax",
    "effective_rank": "ranks.numerical",
    "exact_rank": "ranks.exact",
    "fit_head": "fitting.solve",
    "full_mask": "attention.masks",
    "is_nested": "attention.masks",
    "kl_bracket": "fitting.bracket",
    "kl_lower_bound": "theory.kl_bound",
    "least_head_size": "theory.representation",
    "log_rank": "theory.logrank",
    "logit_spectrum": "ranks.factored",
    "nearest_head": "theory.approximation",
    "numerical_rank": "ranks.numerical",
    "prefix_mask": "attention.masks",
    "random_context": "attention.ensembles",
    "random_head": "attention.ensembles",
    "random_multihead": "attention.ensembles",
    "random_tokens": "attention.ensembles",
    "represent": "theory.representation",
    "separating_tokens": "theory.separation",
    "sign_rank_bound": "theory.signrank",
    "sliding_mask": "attention.masks",
    "sparse_head": "theory.sparse",
    "spectrum": "ranks.spectrum",
    "stable_rank": "ranks.numerical",
    "sweep": "sweeps.run",
    "verify": "registry.verification",
    "widen": "theory.inclusion",
}

__all__ = [
    "AttentionHead",
    "Audit",
    "BackendMissing",
    "Bracket",
    "Check",
    "Claim",
    "Fit",
    "InputError",
    "InputTypeError",
    "MultiHead",
    "NotRepresentable",
    "RankBounds",
    "RankboundError",
    "Report",
    "Separation",
    "Spectrum",
    "Sweep",
    "Undecided",
    "Verdict",
    "aitchison_error",
    "argmaxable",
    "audit",
    "causal_mask",
    "certified_log_rank",
    "certified_rank",
    "check",
    "claims",
    "column_softmax",
    "effective_rank",
    "exact_rank",
    "fit_head",
    "full_mask",
    "is_nested",
    "kl_bracket",
    "kl_lower_bound",
    "least_head_size",
    "log_rank",
    "logit_spectrum",
    "nearest_head",
    "numerical_rank",
    "prefix_mask",
    "random_context",
    "random_head",
    "random_multihead",
    "random_tokens",
    "represent",
    "separating_tokens",
    "sign_rank_bound",
    "sliding_mask",
    "sparse_head",
    "spectrum",
    "stable_rank",
    "sweep",
    "verify",
    "widen",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("rankbound")
    if name not in _HOME:
        raise AttributeError(f"module 'rankbound' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"rankbound.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
