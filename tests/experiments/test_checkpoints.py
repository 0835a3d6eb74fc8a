"""Trained models kept and read again; files that are none; a worker killed while it writes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import rankbound as rb
from rankbound.experiments.layers import Shape, read_checkpoint, save_checkpoint
from tests.experiments.tiny import model
from tests.helpers import refused

TOLD = {
    "arm": "standard", "heads": 2, "d": 8, "rate": 0.02, "weight_decay": 0.01, "steps": 3,
    "corpus": "ab", "seed": 0,
}  # fmt: skip


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    weights, shape = model()
    return save_checkpoint(tmp_path / "a" / "folder", weights, shape, TOLD)


def test_what_is_kept_is_read_again(kept: Path) -> None:
    weights, shape = model()
    found, its_shape, told = read_checkpoint(kept)
    assert (its_shape, told) == (shape, TOLD)
    assert found.keys() == weights.keys()
    for name, w in weights.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], w)
    assert {path.name for path in kept.parent.iterdir()} == {kept.name}


def test_a_file_is_named_by_its_parameters(kept: Path) -> None:
    weights, shape = model(seed=1)
    again = save_checkpoint(kept.parent, weights, shape, dict(reversed(TOLD.items())))
    assert again == kept
    assert torch.equal(read_checkpoint(kept)[0]["embedding"], weights["embedding"])
    other = save_checkpoint(kept.parent, weights, shape, {**TOLD, "seed": 1})
    assert len({other, *kept.parent.iterdir()}) == 2
    assert all(path.match("language-*.safetensors") for path in (kept, other))


def written(path: Path, metadata: dict[str, str] | None, **changes: Any) -> None:
    weights, shape = model()
    kept = {name: w.detach() for name, w in weights.items()} | changes
    usual = {"shape": json.dumps(asdict(shape)), "parameters": json.dumps(TOLD)}
    save_file(
        {name: w for name, w in kept.items() if w is not None},
        path,
        usual if metadata is None else {**usual, **metadata},
    )


def shaped(**told: Any) -> Callable[[Path], None]:
    _, shape = model()
    return lambda path: written(path, {"shape": json.dumps({**asdict(shape), **told})})


SIZES = {"d": 8, "heads": 2, "d_k": 4, "d_v": 4}
HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), ""),
    "no safetensors": (lambda path: path.write_bytes(b"not that at all" * 99), ""),
    "cut off": (lambda path: path.write_bytes(_whole(path)[:-100]), ""),
    "a pickle": (lambda path: torch.save({"a": 1}, path), ""),
    "without metadata": (lambda path: save_file({"w": torch.zeros(2)}, path), "shape"),
    "no JSON": (lambda path: written(path, {"shape": "{"}), ""),
    "parameters of another": (lambda path: written(path, {"parameters": "{}"}), "no arm"),
    "parameters no dict": (lambda path: written(path, {"parameters": "3"}), ""),
    "without a seed": (
        lambda path: written(path, {"parameters": json.dumps({**TOLD, "seed": 0, "d": 8} | {})
                                    .replace('"seed"', '"sown"')}),
        "no seed",
    ),
    "shape of another": (shaped(width=3), ""),
    "a million layers": (shaped(layers=10**6), "1000000 layers"),
    "no number of layers": (shaped(layers="2"), "layers"),
    "fewer layers": (shaped(layers=1), "layers.1."),
    "more layers": (shaped(layers=3), "layers.2."),
    "a larger d": (shaped(sizes={**SIZES, "d": 10**9}), "1000000000"),
    "more heads": (shaped(sizes={**SIZES, "heads": 3}), "W_q"),
    "longer": (shaped(n=11), "positions"),
    "a weight missing": (lambda path: written(path, None, embedding=None), "embedding"),
    "a weight more": (lambda path: written(path, None, extra=torch.zeros(2)), "extra"),
}  # fmt: skip


def _whole(path: Path) -> bytes:
    written(path, None)
    return path.read_bytes()


@pytest.mark.parametrize("what", HOSTILE)
def test_other_files_are_refused(what: str, tmp_path: Path) -> None:
    make, words = HOSTILE[what]
    path = tmp_path / "language-0.safetensors"
    make(path)
    with refused(rb.InputError, path.name, "no checkpoint of a language model", words, "expected"):
        read_checkpoint(path)


def test_no_file_is_refused(tmp_path: Path) -> None:
    with refused(rb.InputError, "x.safetensors is no checkpoint"):
        read_checkpoint(tmp_path / "x.safetensors")


def test_the_files_made_here_are_else_right(tmp_path: Path) -> None:
    """So that each is refused for what it is named after."""
    path = tmp_path / "language-0.safetensors"
    written(path, None)
    assert isinstance(read_checkpoint(path)[1], Shape)


KILLED = """
import os, signal, sys
from pathlib import Path
import safetensors.torch
from rankbound.experiments import layers as checkpoints
from tests.experiments.test_checkpoints import TOLD
from tests.experiments.tiny import model

whole = safetensors.torch.save_file

def half(weights, path, metadata):
    whole(weights, path, metadata)
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

safetensors.torch.save_file = half
checkpoints.save_checkpoint(Path(sys.argv[1]), *model(), TOLD)
"""


def test_a_killed_worker_leaves_no_half_of_a_checkpoint(kept: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for folder in (tmp_path / "new", kept.parent):
        ended = subprocess.run([sys.executable, "-c", KILLED, str(folder)], cwd=root, check=False)
        assert ended.returncode == -signal.SIGKILL
        assert any(path.stat().st_size for path in folder.iterdir())  # the half is there
    assert not list((tmp_path / "new").glob("*.safetensors"))
    assert read_checkpoint(kept)[2] == TOLD  # the earlier one is whole
    weights, shape = model()
    again = save_checkpoint(tmp_path / "new", weights, shape, TOLD)
    assert {path.name for path in again.parent.iterdir()} == {again.name}
    assert load_file(again).keys() == weights.keys()
