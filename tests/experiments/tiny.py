"""Language models of a few numbers, and texts for them. Needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rankbound.experiments.layers import Shape, layer_sizes, make_weights

LINE = b"def f(x, y):\n    return x * 2 + %d\n"


def text(path: Path, first: int = 0) -> Path:
    """A text of 24 kB that depends on the first number."""
    path.write_bytes(b"".join(LINE % (first + number) for number in range(700)))
    return path


def model(
    heads: int = 2, head_size: int | None = None, n: int = 10, seed: int = 0, ffn: int = 12
) -> tuple[dict[str, Any], Shape]:
    """Random weights, none of them special: gains and shifts too."""
    shape = Shape(layer_sizes(8, heads, head_size), 2, n, ffn)
    generator = torch.Generator().manual_seed(seed)
    weights = make_weights(shape, generator)
    with torch.no_grad():
        for name, w in weights.items():
            if name.endswith((".gain", ".shift")):
                w.add_(torch.randn(w.shape, generator=generator), alpha=0.3)
    return weights, shape


def array(w: Any) -> Any:
    """As NumPy has it, in float64."""
    return w.detach().double().numpy()
