"""Which model types of transformers an audit takes: each drawn tiny at random, audited, compared.

``python scripts/audit_coverage.py`` writes docs/audit-coverage.md; with names of types it prints
what it finds of them, and a model is given a text where it runs on one, or else such inputs as the
names of its arguments ask for. A success counts only if an independent computation agrees: the
attention weights that the model itself returns (`output_attentions`), or where it returns none
those that Python's softmax functions give as it runs, are those of the heads, and what NumPy
computes from each agrees with the audit. Otherwise it is a false success.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import json
import re
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import rankbound as rb

TARGET = Path(__file__).parent.parent / "docs" / "audit-coverage.md"
LENGTH = 16
WORDS = [f"w{i}" for i in range(56)]
TEXT = " ".join(WORDS[(7 * i * i + i) % len(WORDS)] for i in range(60))
LARGEST = 40_000_000  # weights of a model that is still tiny
SECONDS = 15.0  # of the processor, for one type
SEARCHED = 3.0  # of them for sizes and inputs that fit
SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embed_dim"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "n_inner", "hidden_dim"), 48),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "moe_intermediate_size"), 48),
    **dict.fromkeys(("latent_query_num",), 8),
    **dict.fromkeys(
        (
            "vocab_size",
            "vocab_size_per_layer_input",
            "max_position_embeddings",
            "n_positions",
            "max_seq_len",
        ),
        64,
    ),
    **dict.fromkeys(("head_dim", "d_kv", "kv_channels", "projection_dim"), 8),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk"), 2),
    **dict.fromkeys(("init_std", "initializer_range"), 0.3),
    **dict.fromkeys(("pad_token_id",), 3),
    **dict.fromkeys(("bos_token_id",), 1),
    **dict.fromkeys(("eos_token_id", "sep_token_id", "decoder_start_token_id"), 2),
    **dict.fromkeys(("image_size",), 32),
    **dict.fromkeys(("num_mel_bins",), 16),
    **dict.fromkeys(("max_length",), 32),
    **dict.fromkeys(("patch_size",), 8),
    **dict.fromkeys(("use_sliding_window",), False),
}
# The model's weights are a softmax in float32, each right to a factor (n + 4 + 2 |top - L|) u: so
# log P to 1e-5 for these lengths and logits to 30, and its singular values to 1e-5 n. Measures made
# of them lose some digits more; a misread head differs in the first ones, as a test shows.
ROUNDED, RELATIVE = 1e-5, 1e-3
WHOLE = 1e-3  # how far from 1 the sum of weights may be: far above rounding, far below logits
FLAT = 1e-3  # a largest singular value of log P below which rounding of P hides its spectrum
SHAPE = "shape"  # what differs where there is no context of the right shape
SECTIONS = "mrope_section"  # of RoPE in three dimensions, told where the default is too large
KEPT = None  # a size that is left as the configuration has it
WIDE = dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim"))
# Other sizes, tried in turn until a model can be built and, if it takes text, runs on it.
OTHERS: tuple[dict[str, Any], ...] = (
    {},
    {SECTIONS: KEPT},
    {"head_dim": KEPT},
    {"num_key_value_heads": 4, "num_kv_heads": 4, "head_dim": KEPT},
    {**dict.fromkeys(WIDE, 96), "head_dim": 24},  # thirds and sixths of it
    {**dict.fromkeys(WIDE, 512), "head_dim": 128},  # RoPE's sections, which sum to 64
    {"num_hidden_layers": KEPT, "num_layers": KEPT},
    {"vocab_size": KEPT, "image_size": KEPT, "patch_size": KEPT, "projection_dim": KEPT},
    {**WIDE, "num_attention_heads": KEPT, "num_key_value_heads": KEPT, "head_dim": KEPT},
)
# Other layers, where those of the tiny model have no attention, and smaller weights.
MORE: tuple[dict[str, Any], ...] = (
    {"num_hidden_layers": 4, "initializer_range": 0.02},
    {"num_hidden_layers": 8},
)
RETRIED = "computes no attention|nothing would be shown"
REASONS = {  # of refusals, by what the message says
    r"does not run on": "does not run where it is audited",
    r"computes no attention": "computes no attention",
    r"no attention that can be read: \S+, (.*?);": "has one attention, {0}",
    r"the layer (.*?), which the audit does not understand": "a layer {0}",
    r"gives another output": "gives another output when it runs again",
    r"that are not those of an observed softmax": "returns weights that are not those of a softmax",
    r"nothing is reported|nothing would be shown": "its weights are not reproduced",
    r"hold inf or nan": "queries or keys hold inf or nan",
}


@dataclass(frozen=True)
class Outcome:
    """What came out for a model type."""

    model_type: str
    result: str  # works, refused, false success or not built
    detail: str
    message: str = ""  # of a refusal, in full


def main() -> None:
    """Audit the types that were named, or all, and then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*")
    parser.add_argument("--log", type=Path, help="of outcomes: those in it are not drawn again")
    parser.add_argument("--count", type=int, help="of types that are drawn now; all unless given")
    options = parser.parse_args()
    log: Path | None = options.log
    known = []
    if log is not None and log.exists():
        lines = log.read_text(encoding="utf-8").splitlines()
        known = [Outcome(**json.loads(line)) for line in lines]
    done = {outcome.model_type for outcome in known}
    new = [name for name in options.types or base_models() if name not in done]
    for model_type in new[: options.count]:
        known.append(covered(model_type))
        print(*vars(known[-1]).values(), sep=" | ", flush=True)
        if log is not None:
            with log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(vars(known[-1])) + "\n")
    if not options.types:
        TARGET.write_text(as_markdown(known), encoding="utf-8")


def base_models() -> list[str]:
    """Model types with a base model, shuffled: the first so many are a fair sample."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    every = sorted(MODEL_MAPPING_NAMES)
    Random(0).shuffle(every)
    return every


def covered(model_type: str) -> Outcome:
    """Draw a model of this type, audit it and compare."""
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _covered(model_type)
    except OutOfTime:
        return Outcome(model_type, "not built", f"takes longer than {SECONDS:.0f} s")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.collect()
        gc.freeze()  # what is left are modules, which are not looked through again


class OutOfTime(BaseException):
    """Nothing that catches what a model raises catches this."""


def _too_long(*_: Any) -> None:
    raise OutOfTime


def _covered(model_type: str) -> Outcome:
    first = None
    for more in ({}, *MORE):
        model = tiny_model(model_type, more)
        if isinstance(model, str):
            return first or Outcome(model_type, "not built", model)
        found = _audited(model_type, model)
        first = first or found
        if found.result != "refused" or not re.search(RETRIED, found.message):
            return found if found.result != "refused" else first
    return first or found


def _audited(model_type: str, model: Any) -> Outcome:
    inputs, why = run_on(model)
    if inputs is None:
        return Outcome(model_type, "not built", f"not run: {why}")
    given = given_to(inputs)
    for dtype in ("float64", "float32"):  # some make float32 of whatever they are given
        try:
            audit = rb.audit(model, **given, dtype=dtype)
            break
        except rb.RankboundError as error:
            said = str(error)
            other = re.search(r"does not run.*(float|[dD]ouble|dtype)|adds inf or nan", said)
            if dtype == "float32" or not other:
                return Outcome(model_type, "refused", reason(said), said)
    try:
        differs, source = difference(model, audit, given)
    except Exception as error:  # then nothing speaks for the success
        differs = f"not compared: {type(error).__name__}: {' '.join(str(error).split())[:80]}"
    if differs:
        return Outcome(model_type, "false success", differs)
    beside = "; beside it " + "; ".join(audit.model.not_audited) if audit.model.not_audited else ""
    on = f" on {', '.join(given['inputs'])}" if "inputs" in given else ""
    single = " in float32" if dtype == "float32" else ""
    return Outcome(
        model_type,
        "works",
        f"{audit.model.attention_layers} layers, {len(audit.heads)} heads{on}{single}{source}"
        f"{beside}",
    )


def tiny_model(model_type: str, more: dict[str, Any] | None = None) -> Any:
    """A model of random weights, or why there is none; `more` are sizes beside the usual ones."""
    import time

    import torch
    import transformers

    why, first, start = "", None, time.process_time()
    for build in BUILDERS:
        if first is not None and time.process_time() > start + SEARCHED:
            break
        try:
            kind = transformers.CONFIG_MAPPING[model_type]
            sizes = build(kind()) | {k: v for k, v in (more or {}).items() if hasattr(kind(), k)}
            with torch.device("meta"):
                drawn = transformers.AutoModel.from_config(kind(**sizes))
            many = sum(p.numel() for p in drawn.parameters())
            if many > LARGEST:
                why = why or f"{many:,} weights: its sizes have other names"
                continue
            torch.manual_seed(0)
            config = kind(**sizes)
            if hasattr(config, "_experts_implementation"):
                config._experts_implementation = "eager"  # grouped kernels take no float64
            model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
            first = model if first is None else first
            if run_on(model)[0] is None:
                continue
            return model
        except Exception as error:  # whatever a configuration of these sizes lacks
            why = why or f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    return why if first is None else first


def _sizes(config: Any, other: dict[str, Any]) -> dict[str, Any]:
    """Arguments that make a configuration tiny, those of its parts too."""
    has = {*config.to_dict(), *getattr(config, "attribute_map", {})}
    wanted = {**SIZES, **other}
    sizes = {name: wanted[name] for name in wanted if name in has and wanted[name] is not KEPT}
    rope = getattr(config, "rope_parameters", None)
    if isinstance(rope, dict) and ("mrope_section" in rope or SECTIONS in other):
        size = sizes.get("head_dim") or sizes.get("hidden_size", 32) // 4
        half = int(size * rope.get("partial_rotary_factor", 1)) // 2
        third = half // 3  # its sections share half a head's size
        sizes["rope_parameters"] = {**rope, "mrope_section": [half - 2 * third, third, third]}
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if part is not None:
            sizes[name] = {"model_type": part.model_type, **_sizes(part, other)}
    return sizes


def _divided(config: Any, by: int) -> dict[str, Any]:
    """Arguments that divide every width of a configuration by one number, and keep few layers."""
    found: dict[str, Any] = {}
    for name, value in config.to_dict().items():
        part = getattr(config, name, None)
        if name in config.sub_configs:
            if part is not None and hasattr(part, "sub_configs"):
                found[name] = {"model_type": part.model_type, **_divided(part, by)}
        elif name in ("vocab_size", "initializer_range"):
            found[name] = SIZES[name]
        elif _all_ints(value) and re.search(r"layers?$|depths?$|n_layer|blocks$|_layers_", name):
            found[name] = _each(value, lambda many: min(many, 2))
        elif _all_ints(value) and re.search(r"dim|size|width|channel|d_model|embd|planes", name):
            if not re.search(r"image|patch|kernel|stride|group|window|batch|head_dim", name):
                found[name] = _each(value, lambda n: n // by if n >= 32 and n % by == 0 else n)
        elif name in ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id"):
            found[name] = SIZES[name]
    return found


def _all_ints(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_all_ints(part) for part in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _each(value: Any, change: Callable[[int], int]) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_each(part, change) for part in value)
    return change(value)


BUILDERS: tuple[Callable[[Any], dict[str, Any]], ...] = (
    *(partial(_sizes, other=other) for other in OTHERS),
    *(partial(_divided, by=by) for by in (8, 4, 16, 2)),
)


def given_to(inputs: dict[str, Any]) -> dict[str, Any]:
    """How a model that runs on these is audited: on a text, or on inputs."""
    if set(inputs) <= {"input_ids", "decoder_input_ids"}:
        return {"text": TEXT, "length": LENGTH, "tokenizer": tokenizer()}
    return {"inputs": inputs}


def run_on(model: Any) -> tuple[dict[str, Any] | None, str]:
    """Inputs on which a model runs: the least that it asks for, in the first shapes that fit.

    Or None, and what it says of those it asks for first.
    """
    import torch

    known = inspect.signature(type(model).forward).parameters
    names = [p.name for p in known.values() if p.default is p.empty]
    names = [name for name in names if name in INPUTS and name != "self"]
    main = getattr(model, "main_input_name", "input_ids")
    if not names:
        names = ["input_ids"] if "input_ids" in known else [main] if main in INPUTS else []
    if model.config.is_encoder_decoder and "decoder_input_ids" in known:
        names.append("decoder_input_ids")
    tried: set[tuple[str, ...]] = set()
    queue, why = [tuple(dict.fromkeys(names))], "" if names else "it names no inputs known here"
    while queue and len(tried) < 8:
        names_now = queue.pop(0)
        if names_now in tried or not names_now:
            continue
        tried.add(names_now)
        for shapes in list(product(*(INPUTS[name] for name in names_now)))[:24]:
            found = {}
            try:
                for name, make in zip(names_now, shapes, strict=True):
                    found[name] = make(model.config)
                with torch.no_grad():
                    model(**found)
                return found, ""
            except Exception as error:  # it may say what it lacks
                told = " ".join(str(error).split())[:100]
                why = why or f"{', '.join(names_now)}: {type(error).__name__}: {told}"
                said = re.findall(r"\w+", str(error))
                more = [word for word in said if word in INPUTS and word in known]
                others = [n for n in ASKED if n in known and n not in names_now]
                for new in (tuple(more), *((other,) for other in others)):
                    queue.append(tuple(dict.fromkeys((*names_now, *new))))
    return None, why


def _from(config: Any, *names: str, default: Any) -> Any:
    """The first of these that the configuration or a part of it has."""
    parts = [config, *(getattr(config, name, None) for name in config.sub_configs)]
    for name in names:
        for part in parts:
            value = getattr(part, name, None)
            if value is not None:
                return value
    return default


def _random(*shape: int) -> Any:
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def _ints(*shape: int, most: int = 50) -> Any:
    import torch

    generator = torch.Generator().manual_seed(1)
    return torch.randint(4, most, shape, generator=generator)


def _image(*lead: int, side: int | None = None) -> Callable[[Any], Any]:
    def make(config: Any) -> Any:
        size = _from(config, "image_size", "img_size", default=32) if side is None else side
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        many = int(_from(config, "num_channels", "in_channels", "in_chans", default=3))
        frames = int(_from(config, "num_frames", "frames_per_clip", default=2))
        before = [frames if n == FRAMES else n for n in lead]
        return _random(*before, many, int(height), int(width))

    return make


def _mels(turned: bool, length: int) -> Callable[[Any], Any]:
    def make(config: Any) -> Any:
        names = ("num_mel_bins", "feature_size", "n_mels", "input_feat_per_channel", "input_dim")
        bins = int(_from(config, *names, default=80))
        positions = _from(config, "max_source_positions", default=None)
        many = 2 * int(positions) if length == 0 and positions else length or 3000
        return _random(1, bins, many) if turned else _random(1, many, bins)

    return make


def _patches(config: Any) -> Any:
    patch = _from(config, "patch_size", default=14)
    patch = int(patch if isinstance(patch, int) else patch[-1])
    times = int(_from(config, "temporal_patch_size", default=1))
    many = int(_from(config, "in_channels", "in_chans", "num_channels", default=3))
    return _random(16, many * times * patch * patch)


def _patches_alone(config: Any) -> Any:
    return _patches(config)[None]


def _grid(*numbers: int) -> Callable[[Any], Any]:
    def make(config: Any) -> Any:
        import torch

        return torch.tensor([numbers])

    return make


def _mask(*shape: int) -> Callable[[Any], Any]:
    def make(config: Any) -> Any:
        import torch

        return torch.ones(shape, dtype=torch.long)

    return make


def _positions() -> Any:
    import torch

    return torch.cartesian_prod(torch.arange(4), torch.arange(4))[None]


def _first(many: int) -> Any:
    import torch

    return (torch.arange(LENGTH) < many)[None].long()


FRAMES = -1  # as many as the configuration says
# Inputs by the name of the argument: shapes that are tried in turn.
INPUTS: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "input_ids": (lambda _: _ints(1, LENGTH),),
    "decoder_input_ids": (lambda _: _ints(1, 8),),
    "attention_mask": (_mask(1, LENGTH),),
    "pixel_values": (
        _image(1),
        _image(1, FRAMES),
        _image(1, side=64),
        _image(1, side=224),
        _image(1, 1),
        _patches,
        _patches_alone,
        _image(1, FRAMES, side=224),
    ),
    "pixel_values_videos": (_image(1, FRAMES), _patches),
    "input_features_mask": (
        _mask(1, 64),
        _mask(1, 3000),
        _mask(1, 200),
    ),
    "pixel_position_ids": (lambda _: _positions(),),
    "image_embeds_position_mask": (lambda _: _first(8),),
    "decoder_inputs_embeds": (
        lambda c: _random(1, 8, int(_from(c, "hidden_size", "d_model", default=32))),
    ),
    "qformer_input_ids": (lambda _: _ints(1, 8),),
    "audio_mel": (_mels(False, 64),),
    "audio_mel_mask": (lambda c: _mask(1, 64)(c).bool(),),
    "latents": (lambda c: _random(1, int(_from(c, "hidden_size", default=32)), LENGTH),),
    "pixel_mask": (lambda c: _mask(1, *_image(1)(c).shape[-2:])(c),),
    "hidden_states": (
        _patches,
        lambda c: _random(1, LENGTH, int(_from(c, "hidden_size", "d_model", default=32))),
        lambda c: _random(LENGTH, int(_from(c, "hidden_size", "d_model", default=32))),
        lambda c: _random(1, int(_from(c, "hidden_size", "d_model", default=32)), LENGTH),
    ),
    "grid_thw": (_grid(1, 4, 4),),
    "image_grid_thw": (_grid(1, 4, 4),),
    "spatial_shapes": (_grid(4, 4),),
    "input_values": (
        lambda _: _random(1, 4000),
        lambda _: _random(1, 1, 4000),
        lambda c: _random(
            1, int(_from(c, "max_length", default=64)), int(_from(c, "num_mel_bins", default=128))
        ),
        lambda _: _random(1, 24000),
    ),
    "input_features": (
        _mels(True, 0),
        _mels(False, 64),
        _mels(True, 64),
        _mels(True, 3000),
        _mels(False, 200),
    ),
    "bbox": (lambda _: _ints(1, LENGTH, 4).sort(-1).values,),
    "inputs": (
        lambda c: _random(1, LENGTH, int(_from(c, "d_model", default=32))),
        lambda _: _ints(1, LENGTH),
    ),
    "inputs_embeds": (lambda c: _random(1, LENGTH, int(_from(c, "hidden_size", default=32))),),
    "past_values": (
        lambda c: _random(
            1,
            int(_from(c, "context_length", default=16)),
            int(_from(c, "num_input_channels", default=1)),
        ),
        lambda c: _random(1, int(_from(c, "context_length", default=16))),
    ),
    "encoder_hidden_states": (
        lambda c: _random(1, LENGTH, int(_from(c, "hidden_size", default=32))),
        lambda c: _random(1, LENGTH, int(_from(c, "encoder_hidden_size", default=32))),
    ),
    "audio_codes": (lambda _: _ints(1, 8, LENGTH),),
    "input_points": (lambda _: 8 * _random(1, 1, 1, 2).abs(),),
    "speech_inputs": (lambda _: _random(1, 4000),),
}
ASKED = ("pixel_values", "input_features", "input_values", "decoder_input_ids", "bbox")


def tokenizer() -> Any:
    """Of words between [CLS] and [SEP]."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {word: i for i, word in enumerate(["[UNK]", "[CLS]", "[SEP]", "[PAD]", *WORDS])}
    words = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")


def reason(message: str) -> str:
    """Why it was refused, in a few words."""
    for pattern, said in REASONS.items():
        match = re.search(pattern, message)
        if match:
            return said.format(*match.groups()) + message[match.end() :][: 90 * ("run on" in said)]
    return message[:100]


def difference(model: Any, audit: rb.Audit, given: dict[str, Any]) -> tuple[str, str]:
    """How an audit differs from the model's own weights, if it does, and where these are from."""
    import torch

    from rankbound.auditing.models import LoadedModel
    from rankbound.auditing.running import check_inputs, text_inputs
    from rankbound.auditing.texts import cut_windows

    loaded = LoadedModel(model.to(getattr(torch, audit.model.compute_dtype)), None, audit.model)
    if "inputs" in given:
        inputs = check_inputs(loaded, given["inputs"])
    else:
        [ids], _ = cut_windows(tokenizer(), TEXT, LENGTH, 1, None)
        inputs = text_inputs(loaded, ids)
    for part in (model.config, model.config.get_text_config()):
        part.use_cache = False  # as an audit runs it: some mask otherwise with a cache
    softmaxes: list[Any] = []
    torch.manual_seed(0)
    with torch.no_grad(), collected(model, softmaxes):
        try:
            output = model(**inputs, output_attentions=True)
        except TypeError:  # it takes no such argument
            output = model(**inputs)
    own = [P for weights in returned(output) for P in per_head(weights)]
    others = [P for weights in softmaxes for P in per_head(weights)]
    return unmatched(audit, own, others)


def per_head(weights: Any) -> Any:
    """Contexts of weights (..., queries, keys), [key, query]."""
    return (
        weights.detach()
        .double()
        .transpose(-1, -2)
        .reshape(-1, weights.shape[-1], weights.shape[-2])
        .numpy()
    )


def returned(output: Any) -> list[Any]:
    """The attention weights of an output, of all its stacks, those of the outputs in it too."""
    found = []
    for name, part in output.items():
        if hasattr(part, "items"):
            found += returned(part)
        elif name.endswith("attentions") and isinstance(part, (tuple, list)):
            found += [layer for layer in part if getattr(layer, "ndim", 0) >= 3]
    return found


@contextmanager
def collected(model: Any, found: list[Any]) -> Iterator[None]:
    """What Python's softmax functions and torch's own attention layers give as a model runs."""
    import torch

    functional = torch.nn.functional
    softmax = (torch.softmax, functional.softmax, torch.Tensor.softmax)

    class Collector(torch.overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(
            self, function: Any, types: Any, arguments: Any = (), options: Any = None
        ) -> Any:
            output = function(*arguments, **(options or {}))
            if function in softmax and output.ndim > 1:
                found.append(output)
            if function is functional.scaled_dot_product_attention:
                found.append(_fused_weights(*arguments, **(options or {})))
            return output

    def again(module: Any, arguments: Any, options: Any, _: Any) -> None:
        shown = {"need_weights": True, "average_attn_weights": False}
        found.append(module.forward(*arguments, **{**options, **shown})[1])

    handles = [
        module.register_forward_hook(again, with_kwargs=True)
        for module in model.modules()
        if isinstance(module, torch.nn.MultiheadAttention)
    ]
    try:
        with Collector():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _fused_weights(
    query: Any, key: Any, value: Any, attn_mask: Any = None, scale: Any = None, **_: Any
) -> Any:
    """The weights of torch's fused attention, by its definition."""
    L = query.double() @ key.double().transpose(-1, -2)
    L = L * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        hides = attn_mask.dtype == L.new_ones(1).bool().dtype
        L = L.masked_fill(~attn_mask, float("-inf")) if hides else L + attn_mask
    return L.softmax(dim=-1)


def unmatched(audit: rb.Audit, own: list[Any], others: list[Any]) -> tuple[str, str]:
    """What of which head agrees with none of the model's contexts, each of which counts once.

    All that the model returns must be a head's; heads whose weights it does not return are looked
    for among the others. Then it is said that they were.
    """
    own = [P for P in own if (P >= 0).all() and P.sum(axis=0).max() < 1 + WHOLE]  # no logits
    own, others, every, asked = list(own), list(others), list(others), 0
    for head in audit.heads:
        differs = _taken(head.measures, own)
        if differs:
            asked += 1
            other = _taken(head.measures, others)
            differs = other and (other if differs == SHAPE else differs)
        if differs:
            return f"{head.module}, head {head.head}: {differs} differs", ""
    left = [P for P in own if not any(_is_part(P, whole) for whole in every)]
    if left:
        return f"{len(left)} of the matrices that the model returns are no head's", ""
    source = f", {'all' if asked == len(audit.heads) else asked} compared with softmaxes of its run"
    return "", source if asked else ""


def _is_part(P: Any, whole: Any) -> bool:
    """Whether these are the weights of the first or the last keys and queries, and not of all."""
    keys, queries = P.shape
    if keys >= len(whole) or queries > whole.shape[1]:
        return False
    parts = (slice(keys), slice(-keys, None)), (slice(queries), slice(-queries, None))
    return any(np.array_equal(P, whole[rows, columns]) for rows, columns in product(*parts))


def _taken(m: Any, contexts: list[Any]) -> str:
    """Take the context of these measures from a list, or say what differs from the first."""
    worst = ""
    for at, given in enumerate(contexts):
        P = given
        if P.shape == (m.keys - 1, m.length):  # the weight of a sink is not returned
            P = np.vstack([P, 1 - P.sum(axis=0)])
        if P.shape != (m.keys, m.length) or np.abs(P.sum(axis=0) - 1).max() > WHOLE:
            continue
        differs = _differs(m, P)
        if not differs:
            del contexts[at]
            return ""
        worst = worst or differs
    return worst or SHAPE


def _differs(m: Any, P: Any) -> str:
    """The first measure that is not that of a context."""
    return next((name for name, ratio in ratios(m, P) if ratio > 1), "")


def ratios(m: Any, P: Any) -> Iterator[tuple[str, float]]:
    """How far each measure is from that of a context, over what is allowed."""
    for name, value in independent(P, m):
        found = np.asarray(getattr(m, name), np.float64)
        most = min(np.size(found), np.size(value))  # the rest of the longer one is 0
        error = np.append(np.ravel(found)[:most] - np.ravel(value)[:most], 0.0)
        rest = np.append(np.ravel(found)[most:], np.ravel(value)[most:])
        allowed = RELATIVE * np.abs(value).max() + ROUNDED * LENGTH
        yield name, float(np.abs(np.append(error, rest)).max() / allowed)


def independent(P: Any, m: Any) -> Iterator[tuple[str, Any]]:
    """Measures of a context, from itself alone, the cheap ones first."""
    logs = np.log(P, out=np.zeros_like(P), where=P > 0)
    yield "entropy", -float((P * logs).sum(axis=0).mean())
    yield "sink_mass", float(P[0].mean())
    yield "context_effective_rank", _effective(np.linalg.svd(P, compute_uv=False))
    if m.masked or (P < 1e-30).any():
        return
    left, values, right = np.linalg.svd(logs - logs.mean(axis=0), full_matrices=False)
    if m.biased and values[0] < FLAT:
        return
    if m.biased:
        yield "biased_effective_rank", _effective(values)
        return
    yield "centred_values", values
    if values[0] < FLAT:
        return
    yield "log_effective_rank", _effective(values)
    yield "log_stable_rank", float((values**2).sum() / values[0] ** 2)
    half = m.head_size // 2
    yield "aitchison_error_half", float(np.sqrt((values[half:] ** 2).sum()))
    near = (left[:, :half] * values[:half]) @ right[:half]
    near -= np.log(np.exp(near - near.max(axis=0)).sum(axis=0)) + near.max(axis=0)
    yield "kl_half", float((P * (logs - near)).sum(axis=0).mean())


def _effective(values: Any) -> float:
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def as_markdown(found: list[Outcome]) -> str:
    """The page."""
    import transformers

    found = [replace(o, detail=reason(o.message)) if o.message else o for o in found]
    found = sorted(found, key=lambda outcome: outcome.model_type)
    results = Counter(outcome.result for outcome in found)
    reasons = Counter(o.detail.split(":")[0].split(" (")[0] for o in found if o.result == "refused")
    lines = [
        "# Which models an audit takes",
        "",
        f"Written by `make audit-coverage`: {len(found)} of the {len(base_models())} model types "
        f"for which transformers {transformers.__version__} has a base model, in a random order, "
        "each drawn tiny at random and audited in float64.",
        "",
        "| outcome | types |",
        "|---|---|",
        *(
            f"| {name} | {results[name]} |"
            for name in ("works", "refused", "not built", "false success")
        ),
        "",
        "*Works*: the heads are as many as the matrices of attention weights that the model "
        "returns (`output_attentions`), and entropy, weight of key 0 and effective rank of P, "
        "and without a mask the spectrum of C log P and what is derived from it (with a bias "
        "its effective rank), computed from these matrices by NumPy, are the audit's. Where a "
        "model does not return the weights of a layer they are compared with what Python's "
        "softmax functions, or torch's own layers of attention, give as it runs. *Not built*: "
        "transformers makes no model of the tiny sizes tried here, or (not run) the model runs "
        "on none of the inputs that were tried; nothing is said of such a type, and its own "
        "words are given. *False success*: an audit that succeeds and differs.",
        "",
        "| refused because | types |",
        "|---|---|",
        *(f"| {_cell(why)} | {many} |" for why, many in reasons.most_common()),
        "",
        "| type | outcome | |",
        "|---|---|---|",
        *(f"| `{o.model_type}` | {o.result} | {_cell(o.detail)} |" for o in found),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
