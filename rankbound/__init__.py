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
    from rankbound.ranks.spectrum import (
        Spectrum,
        effective_rank,
        logit_spectrum,
        numerical_rank,
        spectrum,
        stable_rank,
    )
    from rankbound.registry.catalogue import claims
    from rankbound.registry.claim import Claim
    from rankbound.registry.verification import Report, verify
    from rankbound.sweeps.results import Sweep
    from rankbound.sweeps.run import sweep
    from rankbound.theory.approximation import aitchison_error, nearest_head
    from rankbound.theory.argmax import argmaxable
    from rankbound.theory.certified import certified_log_rank
    from rankbound.theory.decision import least_head_size, log_rank, represent
    from rankbound.theory.kl_bound import kl_lower_bound
    from rankbound.theory.sign_rank import sign_rank_bound
    from rankbound.theory.sparse import sparse_head
    from rankbound.theory.theorem_2 import Separation, separating_tokens, widen
    from rankbound.verdict import Verdict

_HOME = {
    "AttentionHead": "attention.head",
    "Audit": "auditing.record",
    "BackendMissing": "errors",
    "Bracket": "fitting.bracket",
    "Check": "certificates.checker",
    "Context": "context",
    "Claim": "registry.claim",
    "Fit": "fitting.solve",
    "InputError": "errors",
    "InputTypeError": "errors",
    "MultiHead": "attention.layer",
    "NotRepresentable": "errors",
    "RankBounds": "ranks.bounds",
    "RankboundError": "errors",
    "Report": "registry.verification",
    "Separation": "theory.theorem_2",
    "Spectrum": "ranks.spectrum",
    "Sweep": "sweeps.results",
    "Undecided": "errors",
    "Verdict": "verdict",
    "aitchison_error": "theory.approximation",
    "argmaxable": "theory.argmax",
    "audit": "auditing.audit",
    "causal_mask": "attention.masks",
    "certified_log_rank": "theory.certified",
    "certified_rank": "ranks.certified",
    "check": "certificates.checker",
    "claims": "registry.catalogue",
    "column_softmax": "attention.softmax",
    "effective_rank": "ranks.spectrum",
    "exact_rank": "ranks.exact",
    "fit_head": "fitting.solve",
    "full_mask": "attention.masks",
    "is_nested": "attention.masks",
    "kl_bracket": "fitting.bracket",
    "kl_lower_bound": "theory.kl_bound",
    "least_head_size": "theory.decision",
    "log_rank": "theory.decision",
    "logit_spectrum": "ranks.spectrum",
    "nearest_head": "theory.approximation",
    "numerical_rank": "ranks.spectrum",
    "prefix_mask": "attention.masks",
    "random_context": "attention.ensembles",
    "random_head": "attention.ensembles",
    "random_multihead": "attention.ensembles",
    "random_tokens": "attention.ensembles",
    "represent": "theory.decision",
    "separating_tokens": "theory.theorem_2",
    "sign_rank_bound": "theory.sign_rank",
    "sliding_mask": "attention.masks",
    "sparse_head": "theory.sparse",
    "spectrum": "ranks.spectrum",
    "stable_rank": "ranks.spectrum",
    "sweep": "sweeps.run",
    "verify": "registry.verification",
    "widen": "theory.theorem_2",
}

__all__ = [
    "AttentionHead",
    "Audit",
    "BackendMissing",
    "Bracket",
    "Check",
    "Claim",
    "Context",
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
