"""Load a model that was found and checked, and run it."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

from rankbound.auditing.backends import quiet, require, require_transformers
from rankbound.auditing.loading import ModelFiles
from rankbound.errors import InputError, RankboundError

__all__ = ["EPS", "LoadedModel", "load", "run"]

EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
COMPUTE = ("float32", "float64")


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to run.

    Attributes
    ----------
    model, tokenizer : transformers objects
    name : str
        As it was found.
    storage_dtype, compute_dtype : str
        In which the weights lie in their files, and in which the model runs.
    quantised : bool
        Whether the weights were dequantised when loaded.
    positions : int or None
        The longest sequence it takes, where it says.
    """

    model: Any
    tokenizer: Any
    name: str
    storage_dtype: str
    compute_dtype: str
    quantised: bool
    positions: int | None

    @property
    def unit(self) -> float:
        """The relative error of an entry of queries and keys: the coarser dtype's eps.

        Dequantised weights count as given exactly: what is audited is the quantised model.
        """
        stored = 0.0 if self.quantised else EPS[self.storage_dtype]
        return max(stored, EPS[self.compute_dtype])


def load(files: ModelFiles, dtype: str) -> LoadedModel:
    """Load model and tokenizer from their directory; no remote code, nothing unpickled.

    Raises
    ------
    BackendMissing
        If torch or transformers is not installed, or transformers is too old.
    InputError
        If `dtype` is not float32 or float64, or transformers cannot load the model whole.
    """
    if dtype not in COMPUTE:
        raise InputError(
            f"dtype is {dtype!r}; expected one of {', '.join(COMPUTE)}: whatever the weights are "
            "stored in, the model runs in a dtype in which its attention can be reproduced."
        )
    torch = require("torch", "an audit")
    require_transformers()
    if files.gguf is not None:
        require("accelerate", "a .gguf model")
    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # progress bars of readers
        model = _model(files, getattr(torch, dtype))
        tokenizer = _tokenizer(files)
    model.eval()
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        name=files.name,
        storage_dtype=files.storage.dtype,
        compute_dtype=dtype,
        quantised=files.storage.quantised,
        positions=_positions(model, tokenizer),
    )


def _model(files: ModelFiles, dtype: Any) -> Any:
    config = _load("AutoConfig", files)
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"{files.name}: {config.model_type} is an encoder–decoder; expected one stack of "
            "self-attention, an encoder or a decoder. Save its encoder alone."
        )
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        part.use_cache = False  # one window at a time: no keys of earlier tokens
    model, info = _load(
        "AutoModel",
        files,
        config=config,
        dtype=dtype,
        attn_implementation="eager",
        output_loading_info=True,
        **({} if files.gguf else {"use_safetensors": True}),
    )
    absent = sorted(name for name in info["missing_keys"] if "pooler" not in name)
    if absent:  # transformers would draw them at random
        raise InputError(
            f"{files.name}: the files hold no {absent[0]} ({len(absent)} weights are missing); "
            "expected every weight of the model."
        )
    return model


def _tokenizer(files: ModelFiles) -> Any:
    tokenizer = _load("AutoTokenizer", files)
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what some versions make of no files
        raise InputError(
            f"{files.name}: transformers cannot load its tokenizer: it holds no words; expected "
            "the tokenizer's files beside the model's."
        )
    return tokenizer


def _load(kind: str, files: ModelFiles, **options: Any) -> Any:
    transformers = require("transformers", "an audit")
    if files.gguf is not None:
        options["gguf_file"] = files.gguf
    try:
        return getattr(transformers, kind).from_pretrained(
            str(files.folder), trust_remote_code=False, local_files_only=True, **options
        )
    except Exception as error:  # whatever it finds wrong, the user's model cannot be loaded
        first = " ".join(str(error).split())[:300]
        if "ignore_mismatched_sizes" in first:  # it has printed which, and that was not shown
            first = "the shapes of the weights are not those of config.json"
        raise InputError(
            f"{files.name}: transformers cannot load its {kind.removeprefix('Auto').lower()}: "
            f"{type(error).__name__}: {first}"
        ) from None


def _positions(model: Any, tokenizer: Any) -> int | None:
    told = [
        getattr(model.config.get_text_config(), "max_position_embeddings", None),
        getattr(tokenizer, "model_max_length", None),
    ]
    known = [int(n) for n in told if isinstance(n, int) and 0 < n < 10**9]
    return min(known) if known else None


def run(loaded: LoadedModel, ids: list[int]) -> None:
    """Run the model on one window; what is wanted of it is recorded on the way."""
    torch = require("torch", "an audit")
    tokens = torch.tensor([ids], device=loaded.model.device)
    try:
        with quiet(), torch.inference_mode():
            loaded.model(input_ids=tokens)
    except RankboundError:
        raise
    except Exception as error:  # whatever stops it, it is the model that does not run
        first = " ".join(str(error).split())[:200]
        raise InputError(
            f"{loaded.name}: the model does not run on {len(ids)} tokens of text: "
            f"{type(error).__name__}: {first}"
        ) from None
