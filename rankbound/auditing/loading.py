"""Find a model by directory, file or installed package, and check it before it is loaded."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rankbound.auditing.weight_files import Storage, read_gguf, read_safetensors
from rankbound.errors import InputError, InputTypeError

__all__ = ["ModelFiles", "find_model"]

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class ModelFiles:
    """A model that was found and checked.

    Attributes
    ----------
    name : str
        The last part of its path, or the package that carries it.
    folder : Path
        Where its files are.
    gguf : str or None
        The name of its .gguf file, if it is one.
    storage : Storage
        The dtype of its weights.
    """

    name: str
    folder: Path
    gguf: str | None
    storage: Storage


def find_model(model: str | os.PathLike[str]) -> ModelFiles:
    """Find a model and check its files; nothing is downloaded, executed or unpickled.

    Parameters
    ----------
    model : str or path
        A Hugging Face directory (config.json and safetensors), a .gguf file, or the name of an
        installed package that carries one of them; the package is located and never imported.

    Raises
    ------
    InputError, InputTypeError
        If there is no such model, or its files are not safe or not whole.
    """
    if not isinstance(model, (str, os.PathLike)):
        raise InputTypeError(
            f"model is a {type(model).__name__}; expected a directory, a .gguf file or the name "
            "of an installed package. Save a loaded model with model.save_pretrained(folder)."
        )
    path = Path(model)
    if path.is_dir():
        return _directory(path, path.resolve().name)
    if path.is_file():
        return _file(path)
    return _package(str(model))


def _file(path: Path) -> ModelFiles:
    if path.suffix == ".gguf":
        return ModelFiles(path.stem, path.parent, path.name, read_gguf(path))
    if any(path.match(pattern) for pattern in PICKLES):
        raise _pickle(path.name)
    raise InputError(
        f"{path.name}: neither a directory nor a .gguf file; for safetensors give the directory "
        "that holds them and config.json."
    )


def _package(name: str) -> ModelFiles:
    module = name.replace("-", "_")
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{name}: no such model; expected a directory with config.json and safetensors, a "
            ".gguf file, or an installed package that carries one. Nothing is downloaded."
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    folders = sorted({p.parent for p in root.rglob(WHOLE)} | {p.parent for p in root.rglob(INDEX)})
    found = [p for p in folders if (p / "config.json").is_file()] + sorted(root.rglob("*.gguf"))
    if len(found) != 1:
        inside = ", ".join(str(p.relative_to(root)) for p in found) or "none"
        raise InputError(
            f"{name}: the package carries {len(found)} models ({inside}); expected one. "
            "Give the path of the one that is meant."
        )
    if found[0].suffix == ".gguf":
        return ModelFiles(name, found[0].parent, found[0].name, read_gguf(found[0]))
    return _directory(found[0], name)


def _directory(folder: Path, name: str) -> ModelFiles:
    if not (folder / "config.json").is_file():
        inside = sorted(folder.glob("*.gguf"))
        if len(inside) == 1:
            return ModelFiles(name, folder, inside[0].name, read_gguf(inside[0]))
        raise InputError(
            f"{name}: a directory without config.json; expected a Hugging Face model, as "
            "model.save_pretrained(folder) writes it."
        )
    _check_config(folder, name)
    return ModelFiles(name, folder, None, read_safetensors(_weights(folder, name)))


def _check_config(folder: Path, name: str) -> None:
    config = _json(folder / "config.json", name)
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{name}: config.json names no model_type; expected that of a model.")
    if config.get("is_encoder_decoder") is True:
        raise InputError(
            f"{name}: {config['model_type']} is an encoder–decoder; expected one stack of "
            "self-attention, an encoder or a decoder. Save its encoder alone."
        )
    if config.get("quantization_config"):
        raise InputError(
            f"{name}: config.json asks for quantised weights; expected plain floats. Dequantise "
            "the model and save it again, or give its .gguf file."
        )
    if (folder / "adapter_config.json").exists():
        raise InputError(
            f"{name}: holds an adapter, which would change the weights; expected a whole model. "
            "Merge it and save the result."
        )


def _json(file: Path, name: str) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name}: {file.name} is no JSON ({type(error).__name__}); expected that of a model."
        ) from None
    if not isinstance(data, dict):
        raise InputError(f"{name}: {file.name} holds no JSON object; expected that of a model.")
    return data


def _weights(folder: Path, name: str) -> list[Path]:
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    if (folder / INDEX).is_file():
        table = _json(folder / INDEX, name).get("weight_map")
        parts = sorted(set(table.values())) if isinstance(table, dict) and table else []
        if not parts or not all(_is_plain(part) for part in parts):
            raise InputError(f"{name}: {INDEX} names no files of this directory; expected its own.")
        missing = [part for part in parts if not (folder / part).is_file()]
        if missing:
            raise InputError(f"{name}: {missing[0]} is missing; expected every file of {INDEX}.")
        return [folder / part for part in parts]
    unsafe = [file.name for pattern in PICKLES for file in sorted(folder.glob(pattern))]
    if unsafe:
        raise _pickle(f"{name}: {unsafe[0]}")
    raise InputError(f"{name}: no weights; expected {WHOLE}, or its parts and {INDEX}.")


def _is_plain(part: Any) -> bool:
    return isinstance(part, str) and part.endswith(".safetensors") and Path(part).name == part


def _pickle(what: str) -> InputError:
    return InputError(
        f"{what}: a pickle checkpoint, which can run any code when it is read; it is never read "
        "here. Convert it to safetensors where you trust it: "
        "model.save_pretrained(folder, safe_serialization=True)."
    )
