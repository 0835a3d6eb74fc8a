"""For writing tests: strategies for attention heads, and matrices that are hard in named ways.

The strategies ``tokens``, ``heads``, ``contexts``, ``logits`` and ``multiheads`` need Hypothesis
(``pip install "rankbound[test]"``), which is imported when the first of them is used;
:mod:`rankbound.testing.gallery` needs nothing beyond the core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankbound.testing.strategies import contexts, heads, logits, multiheads, tokens

__all__ = ["contexts", "heads", "logits", "multiheads", "tokens"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'rankbound.testing' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("rankbound.testing.strategies"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
