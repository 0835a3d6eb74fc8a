"""rankbound: what head size an attention head needs, and the proof.

The toolkit verifies *Low-Rank Bottleneck in Multi-head Attention Models* (Bhojanapalli, Yun,
Rawat, Reddi & Kumar, ICML 2020; B20 below) claim by claim, and answers what it leaves to its
readers: exactly, approximately, and for the heads of a real model.

Conventions, said once: tokens are columns, context matrices are [key, query] and their columns sum
to 1. What :class:`Context` takes for P, logits, mask, rows and stored, every function takes. A bad
argument raises `InputError` (its value) or `InputTypeError` (its type), with one message: got,
expected, rule, remedy; docstrings name other errors only. References are to docs/theory.md.

The names are listed in ``__init__.pyi`` and imported when first used (PEP 562), so that
``import rankbound`` costs next to nothing.
"""

from __future__ import annotations

from typing import Any

import lazy_loader

_lazy, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("rankbound")
    return _lazy(name)
