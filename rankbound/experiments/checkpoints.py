"""Trained language models kept as safetensors, and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from rankbound.errors import BackendMissing, InputError
from rankbound.experiments.layers import Weights
from rankbound.experiments.sizes import Sizes
from rankbound.experiments.transformer import Shape, weight_shapes

__all__ = ["read_checkpoint", "save_checkpoint"]

TOLD = ("arm", "heads", "d", "rate", "weight_decay", "steps", "corpus", "seed")


def save_checkpoint(folder: Path, weights: Weights, shape: Shape, told: Mapping[str, Any]) -> Path:
    """Keep weights, shape and parameters in one file, named by the parameters' hash."""
    save = _safetensors().save_file
    folder.mkdir(parents=True, exist_ok=True)
    parameters = json.dumps(dict(told), sort_keys=True)
    path = folder / f"language-{sha256(parameters.encode()).hexdigest()[:16]}.safetensors"
    kept = {name: w.detach().contiguous() for name, w in weights.items()}
    part = path.with_suffix(".part")  # a killed worker leaves no half of a checkpoint
    save(kept, part, {"shape": json.dumps(asdict(shape)), "parameters": parameters})
    part.replace(path)
    return path


def read_checkpoint(path: Path) -> tuple[Weights, Shape, dict[str, Any]]:
    """Return weights, shape and parameters.

    Raises
    ------
    InputError
        If it is no checkpoint of a language model.
    """
    try:
        with _safetensors().safe_open(path, "pt") as file:
            told = file.metadata() or {}
            fields = json.loads(told["shape"])
            shape = Shape(**{**fields, "sizes": Sizes(**fields["sizes"])})
            parameters = json.loads(told["parameters"])
            _check(file, shape, parameters)
            names = file.keys()  # a file of safetensors is no mapping
            weights = {name: file.get_tensor(name) for name in names}
            return weights, shape, parameters
    except BackendMissing:
        raise
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
        raise ValueError(f"it holds {min(found)}, which its shape has not")


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise BackendMissing(
            f'checkpoints need safetensors ({error}): pip install "rankbound[experiments]"'
        ) from None

    class Both:
        safe_open = staticmethod(safetensors.safe_open)
        save_file = staticmethod(safetensors.torch.save_file)

    return Both
