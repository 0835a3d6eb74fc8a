"""A pretrained model: found by name, checked before any library reads it, loaded, run on a text.

Nothing is downloaded, unpickled or executed from a model's files. torch, transformers and the
readers of weight files are optional, imported when an audit needs them, their chatter kept quiet.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import os
import platform
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from rankbound._validate import STORAGES, floating_dtype, path_given, shown
from rankbound.errors import BackendMissing, InputError, InputTypeError
from rankbound.sweeps.workers import installed

COMPUTE = ("float32", "float64")
INSTALL = 'pip install "rankbound[models]"'
OLDEST = (5, 4)  # of transformers; pyproject.toml says what older ones lack
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ATTENTION = (".attn_q.", ".attn_k.", ".attn_qkv.")  # GGUF's names of query and key projections
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def require(name: str, purpose: str) -> ModuleType:
    """Import an optional package; BackendMissing, with the install line, if there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it says of itself at import is not the user's
            return import_module(name)
    except ImportError as error:
        raise BackendMissing(f"{purpose} needs {name} ({error}): {INSTALL}") from None


def require_transformers() -> ModuleType:
    """Import transformers; BackendMissing if there is none in which attention can be observed."""
    module = require("transformers", "an audit")
    version = str(module.__version__)
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise BackendMissing(
            f"an audit needs transformers {oldest} or later; {version} is installed: "
            f"{INSTALL.replace('install', 'install --upgrade')}"
        )
    return module


def versions() -> dict[str, str]:
    """Of Python, rankbound and the packages on which the numbers of an audit depend."""
    packages = installed("rankbound", "numpy", "torch", "transformers")
    return {"Python": platform.python_version(), **packages}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing; its settings are put back."""
    logging = require("transformers", "an audit").utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class Storage:
    """How the weights lie in their files."""

    dtype: str  # float16, bfloat16, float32, float64, or GGUF's quantised types, for example Q4_1
    quantised: bool  # whether weights are dequantised when loaded


@dataclass(frozen=True)
class ModelFiles:
    """A model that was found and checked."""

    name: str  # the last part of its path, or the package that carries it
    folder: Path
    gguf: str | None  # the name of its .gguf file, if it is one
    storage: Storage


def find_model(model: str | os.PathLike[str]) -> ModelFiles:
    """Find a model, named as for `audit`, and check its files; a package is never imported."""
    if not isinstance(model, (str, os.PathLike)):
        raise InputTypeError(
            f"model is a {type(model).__name__}; expected a directory, a .gguf file, the name of "
            "an installed package, or a loaded PreTrainedModel of transformers; save another with "
            "model.save_pretrained(folder)."
        )
    path = path_given("model", model)
    if os.path.isdir(path):  # False also of names that no file system takes
        return _directory(path, path.resolve().name)
    if os.path.isfile(path):
        return _file(path)
    return _package(str(path))


def _file(path: Path) -> ModelFiles:
    if path.suffix == ".gguf":
        return ModelFiles(path.stem, path.parent, path.name, read_gguf(path))
    if any(path.match(pattern) for pattern in PICKLES):
        raise _pickle(path.name)
    raise InputError(
        f"model is {path.name}, neither a directory nor a .gguf file; expected one of them: for "
        "safetensors the directory that holds them and config.json."
    )


def _package(name: str) -> ModelFiles:
    module = name.replace("-", "_")
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{name}: no such model; expected a directory with config.json and "
            "safetensors, a .gguf file, or an installed package that carries one. "
            "Nothing is downloaded."
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
    if config.get("quantization_config"):
        raise InputError(
            f"{name}: config.json asks for quantised weights; expected plain floats. Dequantise "
            "the model and save it again, or give its .gguf file."
        )
    if config.get("pruned_heads"):
        raise InputError(
            f"{name}: config.json prunes heads (pruned_heads), and transformers no longer builds "
            "layers that lack some; expected a model with all its heads."
        )
    if (folder / "adapter_config.json").exists():
        raise InputError(
            f"{name}: holds an adapter, which would change the weights; expected a whole model. "
            "Merge it and save the result."
        )


def _is_one_stack(config: Mapping[str, Any]) -> bool:
    """Whether the weights are those of one stack of an encoder–decoder, saved alone."""
    named = config.get("architectures")
    return (
        isinstance(named, list)
        and len(named) == 1
        and str(named[0]).endswith(("Encoder", "EncoderModel", "Decoder", "Stack"))
    )


def _class(config: Any) -> Any:
    """What loads the model: transformers' choice, or the stack that was saved alone."""
    transformers = require("transformers", "an audit")
    usual = transformers.MODEL_MAPPING.get(type(config), None)
    if isinstance(usual, type) and _is_one_stack(config.to_dict()):
        stack = getattr(sys.modules[usual.__module__], config.architectures[0], None)
        if isinstance(stack, type) and issubclass(stack, transformers.PreTrainedModel):
            return stack
    return transformers.AutoModel


def _with_head(config: Any, decoder: bool) -> Any:
    """What loads the model with its language head, if its config names one, or if it is GGUF."""
    transformers = require("transformers", "an audit")
    named = [str(name) for name in config.architectures or ()]
    for kind, mapping in (
        (transformers.AutoModelForCausalLM, transformers.MODEL_FOR_CAUSAL_LM_MAPPING),
        (transformers.AutoModelForMaskedLM, transformers.MODEL_FOR_MASKED_LM_MAPPING),
    ):
        known = mapping.get(type(config), None)
        causal = kind is transformers.AutoModelForCausalLM
        if known is not None and (known.__name__ in named or (causal and decoder)):
            return kind
    return _class(config)


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
        f"{what}: a pickle checkpoint, which can run any code when it is read, and is never read "
        "here; expected safetensors. Convert it to safetensors where you trust it: "
        "model.save_pretrained(folder, safe_serialization=True)."
    )


def read_safetensors(files: list[Path]) -> Storage:
    """Read the headers of a checkpoint's files: the dtype of most of its weights."""
    library = require("safetensors", "a model in safetensors")
    sizes: Counter[str] = Counter()
    for file in files:
        try:
            with library.safe_open(file, framework="numpy") as stream:
                names = stream.keys()
                for tensor in (stream.get_slice(name) for name in names):
                    if len(shape := tensor.get_shape()) > 1:
                        sizes[tensor.get_dtype()] += math.prod(shape)
        except (library.SafetensorError, OSError) as error:
            raise InputError(
                f"{file.name}: a damaged safetensors file: {error}. Copy it again from its source."
            ) from None
    if not sizes:
        raise InputError(f"{files[0].name}: holds no weight matrices; expected those of a model.")
    most = sizes.most_common(1)[0][0]
    if most not in DTYPES:
        raise InputError(
            f"{files[0].name}: most weights are {most}; expected F16, BF16, F32 or F64. "
            "Dequantise the model and save it again, or give its .gguf file."
        )
    return Storage(DTYPES[most], quantised=False)


def read_gguf(file: Path) -> Storage:
    """Check a GGUF file and return the types of its query and key projections."""
    with file.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GGUF":
        raise InputError(f"{file.name}: does not begin as a GGUF file; expected one.")
    try:
        tensors = require("gguf", "a .gguf model").GGUFReader(file).tensors
        attention = [t for t in tensors if any(part in str(t.name) for part in ATTENTION)]
        types = {str(t.tensor_type.name) for t in attention}
    except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError, OSError) as error:
        raise InputError(
            f"{file.name}: a damaged GGUF file ({type(error).__name__}). "
            "Copy it again from its source."
        ) from None
    if not types:
        raise InputError(
            f"{file.name}: holds no query and key projections; expected a model with attention."
        )
    plain = types <= DTYPES.keys()
    names = sorted(DTYPES.get(name, name) for name in types)
    order = ["float64", "float32", "float16", "bfloat16"]
    coarsest = max(names, key=order.index) if plain else "+".join(names)
    return Storage(coarsest, quantised=not plain)


@dataclass(frozen=True)
class ModelFacts:
    """The model that was audited."""

    name: str  # as it was found
    architecture: str  # its class
    model_type: str  # in config.json
    parameters: int  # number of weights
    attention_layers: int  # how many times a forward pass computes attention that is audited
    storage_dtype: str  # of the weights in their files (GGUF: of query and key projections)
    compute_dtype: str  # in which the model was run
    quantised: bool  # whether the weights were dequantised when loaded
    positions: int | None  # the longest sequence it takes, where it says
    unit: float  # the relative error of an entry of queries and keys: eps of the compute dtype
    storage_unit: float | None  # eps of the storage dtype; None for quantised weights
    not_audited: tuple[str, ...] = ()  # other attention of the model or its files, and why


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model of transformers and its tokenizer, ready to run."""

    model: Any
    tokenizer: Any
    facts: ModelFacts  # its attention layers are counted when it runs: 0 until then


def open_model(
    model: Any, tokenizer: Any, dtype: Any, *, head: bool = False, words: bool = True
) -> LoadedModel:
    """Load a model, named as for `audit`, or adopt a loaded one."""
    dtype = _dtype_name(dtype)
    if is_loaded(model):
        return adopt(model, tokenizer, dtype, words=words)
    files = find_model(model)
    if tokenizer is not None:
        raise InputError("tokenizer is taken with a loaded model; expected none: files hold it.")
    return load(files, dtype, head=head, words=words)


def load(files: ModelFiles, dtype: str, *, head: bool = False, words: bool = True) -> LoadedModel:
    """Load a model from its directory, and its tokenizer if it reads `words`.

    No remote code, nothing unpickled. With `head` a language model keeps the layers that predict
    tokens, where its files have them.
    """
    computed = getattr(require("torch", "an audit"), dtype)
    require_transformers()
    if files.gguf is not None:
        require("accelerate", "a .gguf model")
    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # progress bars of readers
        model, beside = _model(files, computed, head)
        tokenizer = _tokenizer(files) if words else None
    return _loaded(model, tokenizer, files.name, files.storage, dtype, beside)


def adopt(model: Any, tokenizer: Any, dtype: str, *, words: bool = True) -> LoadedModel:
    """Make a model in memory ready to run: a copy of its modules on the same weights and device.

    What is changed to run it is changed in the copy, never in the model; of weights in another
    dtype the copy has its own.
    """
    computed = getattr(require("torch", "an audit"), dtype)
    transformers = require_transformers()
    name = Path(str(getattr(model.config, "name_or_path", ""))).name or type(model).__name__
    if words and not isinstance(tokenizer, transformers.PreTrainedTokenizerBase):
        raise InputTypeError(
            f"tokenizer is {shown(tokenizer)}; expected that of the loaded model. Pass "
            "tokenizer=tokenizer beside it."
        )
    weights = {id(t): t for t in model.state_dict(keep_vars=True).values()}
    if any(t.is_meta for t in weights.values()):
        raise InputError(f"{name}: weights on the meta device, without numbers; expected loaded.")
    sizes: Counter[str] = Counter()
    for tensor in weights.values():
        sizes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel() * (tensor.ndim > 1)
    most = sizes.most_common(1)[0][0]
    torch = require("torch", "an audit")
    plain = all(type(t) in (torch.Tensor, torch.nn.Parameter) for t in weights.values())
    if not plain or most not in STORAGES:  # dequantised ones, as of a .gguf file, are floats
        raise InputError(
            f"{name}: quantised weights; expected plain floats. Load the model without "
            "quantization_config, or give its .gguf file."
        )
    copied = copy.deepcopy(model, {key: _in_dtype(t, computed) for key, t in weights.items()})
    _prepare(copied.config, computed)
    with quiet():
        copied.set_attn_implementation("eager")
    return _loaded(copied, tokenizer, name, Storage(most, quantised=False), dtype, ())


def is_loaded(model: Any) -> bool:
    """Whether this is a model of transformers in memory, which is not imported to say so."""
    if isinstance(model, (str, os.PathLike)) or "transformers" not in sys.modules:
        return False
    return isinstance(model, require("transformers", "an audit").PreTrainedModel)


def _dtype_name(dtype: Any) -> str:
    """The name of the dtype in which the model is to run; torch's and NumPy's own are taken."""
    found = floating_dtype(dtype)
    if found is None or found.name not in COMPUTE:
        raise InputError(
            f"dtype is {shown(dtype)}; expected one of {', '.join(COMPUTE)}: whatever the weights "
            "are stored in, the model runs in a dtype in which its attention can be reproduced."
        )
    return found.name


def _in_dtype(tensor: Any, dtype: Any) -> Any:
    """The tensor itself, or a copy in the dtype; a parameter stays one."""
    if tensor.dtype == dtype or not tensor.is_floating_point():
        return tensor
    moved = tensor.detach().to(dtype)
    parameter = require("torch", "an audit").nn.Parameter
    return parameter(moved, requires_grad=False) if isinstance(tensor, parameter) else moved


def _loaded(
    model: Any, tokenizer: Any, name: str, storage: Storage, dtype: str, beside: tuple[str, ...]
) -> LoadedModel:
    model.eval()
    facts = ModelFacts(
        name=name,
        architecture=type(model).__name__,
        model_type=str(model.config.model_type),
        parameters=sum(p.numel() for p in model.parameters()),
        attention_layers=0,
        not_audited=beside,
        storage_dtype=storage.dtype,
        compute_dtype=dtype,
        quantised=storage.quantised,
        positions=_positions(model, tokenizer),
        unit=STORAGES[dtype].eps,  # weights as stored, or dequantised, are the model, exactly
        storage_unit=None if storage.quantised else STORAGES[storage.dtype].eps,
    )
    return LoadedModel(model, tokenizer, facts)


def _model(files: ModelFiles, dtype: Any, head: bool) -> tuple[Any, tuple[str, ...]]:
    """The model, and what attention its files hold beside it."""
    transformers = require("transformers", "an audit")
    config = _load("config", transformers.AutoConfig, files)
    kind = _class(config) if not head else _with_head(config, files.gguf is not None)
    _prepare(config, dtype)
    model, info = _load(
        "model",
        kind,
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
    others = {in_general(n) for n in info["unexpected_keys"] if "attn" in n or "attention" in n}
    stacks = Counter(name.split(".*")[0] for name in others)
    return model, tuple(f"{name}, which is in the files only" for name in sorted(stacks))


def _prepare(config: Any, dtype: Any) -> None:
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        part.use_cache = False  # one window at a time: no keys of earlier tokens
    if str(dtype) == "torch.float64" and hasattr(config, "_experts_implementation"):
        config._experts_implementation = "eager"  # grouped kernels take no float64


def in_general(name: str) -> str:
    """The name of a module with stars for its numbers."""
    return ".".join("*" if part.isdecimal() else part for part in name.split("."))


def _tokenizer(files: ModelFiles) -> Any:
    tokenizer = _load("tokenizer", require("transformers", "an audit").AutoTokenizer, files)
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what some versions make of no files
        raise InputError(
            f"{files.name}: transformers cannot load its tokenizer: it holds no words; expected "
            "the tokenizer's files beside the model's."
        )
    return tokenizer


def _load(what: str, kind: Any, files: ModelFiles, **options: Any) -> Any:
    if files.gguf is not None:
        options["gguf_file"] = files.gguf
    try:
        return kind.from_pretrained(
            str(files.folder), trust_remote_code=False, local_files_only=True, **options
        )
    except Exception as error:  # whatever it finds wrong, the user's model cannot be loaded
        first = " ".join(str(error).split())[:300]
        if "ignore_mismatched_sizes" in first:  # it has printed which, and that was not shown
            first = "the shapes of the weights are not those of config.json"
        raise InputError(
            f"{files.name}: transformers cannot load its {what}: {type(error).__name__}: {first}"
        ) from None


def _positions(model: Any, tokenizer: Any) -> int | None:
    told = [
        getattr(model.config.get_text_config(), "max_position_embeddings", None),
        getattr(tokenizer, "model_max_length", None),
    ]
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if "position" in name.rpartition(".")[2] and padding is not None:
            rows = getattr(module, "num_embeddings", 0)
            told.append(rows - padding - 1)  # RoBERTa counts from the row after padding's
    known = [int(n) for n in told if isinstance(n, int) and 0 < n < 10**9]
    return min(known) if known else None
