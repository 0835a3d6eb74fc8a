"""For writing tests: strategies for attention heads, and matrices that are hard in named ways.

The strategies ``tokens``, ``heads``, ``contexts``, ``logits`` and ``multiheads`` need Hypothesis
(``pip install "rankbound[test]"``), which is imported when the first of them is used;
:mod:`rankbound.testing.gallery` needs nothing beyond the core.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
