"""A small causal transformer over bytes, Pre-LN without biases; trained ones as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy, gelu, layer_norm

from rankbound.errors import BackendMissing, InputError
from rankbound.experiments.layers import (
    Sizes,
    Tensor,
    Weights,
    attention,
    attention_shapes,
    gaussian,
    queries_and_keys,
)

BYTES = 256
# the parameters of a cell, kept with its weights
TOLD = ("arm", "heads", "d", "rate", "weight_decay", "steps", "corpus", "seed")


@dataclass(frozen=True)
class Shape:
    """What a model is, besides its weights."""

    sizes: Sizes  # of each attention layer
    layers: int  # blocks
    n: int  # most tokens
    ffn: int  # width of each block's feed-forward layer


def weight_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights, without making them."""
    d, n, ffn = shape.sizes.d, shape.n, shape.ffn
    norm: dict[str, tuple[int, ...]] = {"gain": (d,), "shift": (d,)}
    block = {
        **attention_shapes(shape.sizes),
        **{f"{name}.{part}": size for name in ("attention", "ffn") for part, size in norm.items()},
        "W_1": (d, ffn),
        "W_2": (ffn, d),
    }
    return {
        "embedding": (BYTES, d),
        "positions": (n, d),
        "unembedding": (d, BYTES),
        **{f"last.{part}": size for part, size in norm.items()},
        **{f"layers.{at}.{name}": s for at in range(shape.layers) for name, s in block.items()},
    }


def make_weights(shape: Shape, generator: Any) -> Weights:
    """Gaussian maps, scaled by their number of inputs; embeddings of unit size; gains of 1."""
    weights = {}
    for name, size in weight_shapes(shape).items():
        if name.endswith((".gain", ".shift")):
            start = float(name.endswith(".gain"))
            weights[name] = torch.full(size, start, requires_grad=True)
        else:
            scale = 0.5 if name in ("embedding", "positions") else size[0] ** -0.5
            weights[name] = gaussian(*size, generator=generator, scale=scale)
    return weights


def parameter_count(weights: Weights) -> int:
    """Number of trained entries."""
    return sum(int(w.numel()) for w in weights.values())


def byte_loss(weights: Weights, shape: Shape, windows: Tensor) -> Tensor:
    """Mean cross-entropy of the next byte, in nats; windows (batch, n + 1) of bytes."""
    x = _embed(weights, windows[:, :-1])
    for layer in range(shape.layers):
        x = _block(x, weights, shape, layer)
    scores = _normed(x, weights, "last") @ weights["unembedding"]
    return cross_entropy(scores.flatten(0, 1), windows[:, 1:].flatten())


def mean_loss(weights: Weights, shape: Shape, windows: Tensor, batch: int) -> float:
    """The mean of the losses on batches of these windows."""
    with torch.no_grad():
        losses = [float(byte_loss(weights, shape, part)) for part in windows.split(batch)]
    return sum(losses) / len(losses)


def heads_of(weights: Weights, shape: Shape, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Queries and keys (batch, heads, n, d_k) of each layer on tokens (batch, n)."""
    x, found = _embed(weights, tokens), []
    for layer in range(shape.layers):
        at = f"layers.{layer}."
        seen = _normed(x, weights, f"{at}attention")
        found.append(queries_and_keys(seen, weights, shape.sizes.heads, prefix=at))
        x = _block(x, weights, shape, layer)
    return found


def _embed(weights: Weights, tokens: Tensor) -> Tensor:
    return weights["embedding"][tokens] + weights["positions"][: tokens.shape[1]]


def _block(x: Tensor, weights: Weights, shape: Shape, layer: int) -> Tensor:
    at = f"layers.{layer}."
    seen = _normed(x, weights, f"{at}attention")
    x = x + attention(seen, weights, shape.sizes.heads, prefix=at, causal=True)
    seen = _normed(x, weights, f"{at}ffn")
    return x + gelu(seen @ weights[f"{at}W_1"]) @ weights[f"{at}W_2"]


def _normed(x: Tensor, weights: Weights, name: str) -> Tensor:
    return layer_norm(x, x.shape[-1:], weights[f"{name}.gain"], weights[f"{name}.shift"])


def save_checkpoint(folder: Path, weights: Weights, shape: Shape, told: Mapping[str, Any]) -> Path:
    """Keep weights, shape and parameters in one file, named by the parameters' hash."""
    _, save = _safetensors()
    folder.mkdir(parents=True, exist_ok=True)
    parameters = json.dumps(dict(told), sort_keys=True)
    path = folder / f"language-{sha256(parameters.encode()).hexdigest()[:16]}.safetensors"
    kept = {name: w.detach().contiguous() for name, w in weights.items()}
    part = path.with_suffix(".part")  # a killed worker leaves no half of a checkpoint
    save(kept, part, {"shape": json.dumps(asdict(shape)), "parameters": parameters})
    part.replace(path)
    return path


def read_checkpoint(path: Path) -> tuple[Weights, Shape, dict[str, Any]]:
    """Return weights, shape and parameters."""
    safe_open, _ = _safetensors()
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            fields = json.loads(told["shape"])
            shape = Shape(**{**fields, "sizes": Sizes(**fields["sizes"])})
            parameters = json.loads(told["parameters"])
            _check(file, shape, parameters)
            names = file.keys()  # a file of safetensors is no mapping
            weights = {name: file.get_tensor(name) for name in names}
            return weights, shape, parameters
    except Exception as error:  # safetensors has an error class of its own
        raise InputError(
            f"{path.name} is no checkpoint of a language model ({error}); expected one that "
            "`rankbound experiment language` kept."
        ) from None


def _check(file: Any, shape: Shape, parameters: dict[str, Any]) -> None:
    """Raise if the parameters are not a cell's, or the weights not those of the shape."""
    missing = sorted(set(TOLD) - set(parameters))
    if missing:
        raise ValueError(f"its parameters have no {missing[0]}")
    names = file.keys()
    if not isinstance(shape.layers, int) or not 0 <= shape.layers <= len(names):
        raise ValueError(f"it names {shape.layers!r} layers")
    found = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    for name, wanted in weight_shapes(shape).items():
        if found.pop(name, None) != wanted:
            raise ValueError(f"its shape asks for a weight {name} of shape {wanted}")
    if found:
        raise ValueError(f"it holds {min(found)}, which its shape does not have")


def _safetensors() -> tuple[Any, Any]:
    """What opens a file and what saves one."""
    try:
        from safetensors import safe_open
        from safetensors.torch import save_file
    except ImportError as error:
        raise BackendMissing(
            f'checkpoints need safetensors ({error}): pip install "rankbound[experiments]"'
        ) from None
    return safe_open, save_file
