"""Finding a model: what is safe is found, all else is one clear message; no torch needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb
from rankbound.auditing.models import Storage, find_model
from tests.auditing.files import CONFIG, header_of, model_folder, safetensors

GOOD = {"w": ("F32", [4, 4]), "b": ("F32", [4])}


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("F32", "float32"), ("F16", "float16"), ("BF16", "bfloat16"), ("F64", "float64")],
)
def test_a_directory_is_found_with_the_dtype_of_its_matrices(
    dtype: str, name: str, tmp_path: Path
) -> None:
    tensors = {"w": (dtype, [8, 8]), "norm": ("F32", [1000]), "ids": ("I32", [1, 8])}
    folder = model_folder(tmp_path / "m", weights=safetensors(*header_of(tensors)))
    found = find_model(folder)
    assert (found.name, found.gguf, found.storage) == ("m", None, Storage(name, quantised=False))


def test_metadata_and_shards_are_read(tmp_path: Path) -> None:
    table, size = header_of(GOOD)
    good = safetensors({"__metadata__": {"format": "pt"}, **table}, size)
    folder = model_folder(tmp_path / "m", weights=b"")
    names = {"w": "a.safetensors", "b": "b.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    for part in names.values():
        (folder / part).write_bytes(good)
    assert find_model(str(folder)).storage.dtype == "float32"
    (folder / "b.safetensors").unlink()
    with pytest.raises(rb.InputError, match=r"b\.safetensors is missing"):
        find_model(folder)


@pytest.mark.parametrize("part", ["../other.safetensors", "w.bin", 3, "sub/w.safetensors"])
def test_an_index_names_files_of_its_directory_only(part: Any, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", weights=b"")
    model_folder(tmp_path, config=None, name="other")
    index = {"weight_map": {"w": part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(rb.InputError, match="names no files of this directory"):
        find_model(folder)


def test_a_package_is_located_and_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "carries_a_model"
    model_folder(package, config=None, weights=b"")
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    model_folder(package / "model")
    (package / "pooling").mkdir()
    (package / "pooling" / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_model("carries-a-model").folder == package / "model"
    assert "carries_a_model" not in sys.modules
    model_folder(package / "second")
    with pytest.raises(rb.InputError, match="carries 2 models"):
        find_model("carries_a_model")


def test_a_pickle_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", weights=b"")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    for model in (folder, folder / "pytorch_model.bin"):
        with pytest.raises(rb.InputError, match=r"pickle.*never read.*safetensors"):
            find_model(model)


def _cut(content: bytes) -> bytes:
    return content[:-1]


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut": (lambda: safetensors(*header_of(GOOD))[:-1], "a damaged safetensors file: "),
    "longer": (lambda: safetensors(*header_of(GOOD)) + b"x", "a damaged safetensors file: "),
    "empty": (lambda: b"\0\0", "a damaged safetensors file: "),
    "huge header": (lambda: safetensors(b"{}", 0, length=2**62), "a damaged safetensors file: "),
    "a damaged safetensors file: ": (lambda: safetensors(b"{]", 0), "a damaged safetensors file: "),
    "not UTF-8": (lambda: safetensors(b'{"\xff": 1}', 0), "a damaged safetensors file: "),
    "deep": (lambda: safetensors(b"[" * 100_000, 0), "a damaged safetensors file: "),
    "a list": (lambda: safetensors([], 0), "a damaged safetensors file: "),
    "twice": (lambda: safetensors(b'{"a": {}, "a": {}}', 0), "a damaged safetensors file: "),
    "not a table": (lambda: safetensors({"w": 3}, 0), "a damaged safetensors file: "),
    "a float": (
        lambda: safetensors({"w": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, 4),
        "a damaged safetensors file: ",
    ),
    "negative": (
        lambda: safetensors({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}, 4),
        "a damaged safetensors file: ",
    ),
    "true": (
        lambda: safetensors({"w": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, 4),
        "a damaged safetensors file: ",
    ),
    "a dtype": (
        lambda: safetensors({"w": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}, 4),
        "a damaged safetensors file: ",
    ),
    "a dtype that is a list": (
        lambda: safetensors({"w": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}}, 4),
        "a damaged safetensors file: ",
    ),
    "offsets": (
        lambda: safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, 4),
        "a damaged safetensors file: ",
    ),
    "three offsets": (
        lambda: safetensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]}}, 4),
        "a damaged safetensors file: ",
    ),
    "overlap": (
        lambda: safetensors(
            {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in ("a", "b")},
            4,
        ),
        "a damaged safetensors file: ",
    ),
    "quantised": (lambda: safetensors(*header_of({"w": ("U8", [9, 9])})), "most weights are U8"),
    "nothing": (lambda: safetensors({}, 0), "holds no weight matrices"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_one_clear_message(name: str, tmp_path: Path) -> None:
    make, message = HOSTILE[name]
    folder = model_folder(tmp_path / "m", weights=make())
    with pytest.raises(rb.InputError, match=message):
        find_model(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "without config.json"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "no JSON object"),
        ({}, "names no model_type"),
        ({"model_type": 3}, "names no model_type"),
        ({**CONFIG, "quantization_config": {"bits": 4}}, "quantised"),
    ],
)
def test_a_bad_config_is_one_clear_message(config: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(rb.InputError, match=message):
        find_model(model_folder(tmp_path / "m", config=config))


def test_other_things_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGML and so on")
    (tmp_path / "x.txt").write_text("a text")
    adapted = model_folder(tmp_path / "adapted")
    (adapted / "adapter_config.json").write_text("{}")
    expected: dict[str | Path, str] = {
        tmp_path / "missing": "no such model",
        "no_such_package_at_all": "no such model",
        "math": "no such model",
        "os.path": "no such model",
        "": "no such model|without config",
        tmp_path / "x.gguf": "does not begin as a GGUF file",
        tmp_path / "x.txt": "neither a directory nor",
        adapted: "an adapter",
        model_folder(tmp_path / "empty", weights=b""): "no weights",
    }
    for model, message in expected.items():
        with pytest.raises(rb.InputError, match=message):
            find_model(model)
    number: Any = 3
    with pytest.raises(rb.InputTypeError, match="save_pretrained"):
        find_model(number)
