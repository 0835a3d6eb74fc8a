"""Which model types of transformers an audit takes: each drawn tiny at random, audited, compared.

``python scripts/audit_coverage.py`` writes docs/audit-coverage.md; with names of types it prints
what it finds of them. A success counts only if an independent computation agrees: the attention
weights that the model itself returns (`output_attentions`) have as many layers and heads, and
NumPy's entropy, weight of key 0, effective rank and, without a mask, log-rank of each are those of
the audit. Otherwise it is a false success.
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
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import rankbound as rb

TARGET = Path(__file__).parent.parent / "docs" / "audit-coverage.md"
LENGTH = 16
WORDS = [f"w{i}" for i in range(56)]
TEXT = " ".join(WORDS[(7 * i * i + i) % len(WORDS)] for i in range(60))
LARGEST = 20_000_000  # weights of a model that is still tiny
SECONDS = 40.0  # of the processor, for one type
SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embed_dim"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "n_inner", "hidden_dim"), 48),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "moe_intermediate_size"), 48),
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "n_positions", "max_seq_len"), 64),
    **dict.fromkeys(("head_dim", "d_kv", "kv_channels", "projection_dim"), 8),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk"), 2),
    **dict.fromkeys(("init_std", "initializer_range"), 0.3),
    **dict.fromkeys(("pad_token_id",), 3),
    **dict.fromkeys(("bos_token_id",), 1),
    **dict.fromkeys(("eos_token_id", "sep_token_id"), 2),
    **dict.fromkeys(("image_size",), 32),
    **dict.fromkeys(("patch_size",), 8),
    **dict.fromkeys(("use_sliding_window",), False),
}
KEPT = None  # a size that is left as the configuration has it
WIDE = dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim"))
# Other sizes, tried in turn until a model can be built and, if it takes text, runs on it.
OTHERS: tuple[dict[str, Any], ...] = (
    {},
    {"head_dim": KEPT},
    {"num_key_value_heads": 4, "num_kv_heads": 4, "head_dim": KEPT},
    {**dict.fromkeys(WIDE, 96), "head_dim": 24},  # thirds and sixths of it
    {**dict.fromkeys(WIDE, 512), "head_dim": 128},  # RoPE's sections, which sum to 64
    {"num_hidden_layers": KEPT, "num_layers": KEPT},
    {"vocab_size": KEPT, "image_size": KEPT, "patch_size": KEPT, "projection_dim": KEPT},
    {**WIDE, "num_attention_heads": KEPT, "num_key_value_heads": KEPT, "head_dim": KEPT},
)
REASONS = {  # of refusals, by what the message says
    r"encoder–decoder": "an encoder–decoder",
    r"takes (images|audio|videos|another input)": "takes {0}, not the tokens of a text",
    r"does not run on (\d+) tokens of text( alone)?": "does not run on text alone",
    r"through transformers' attention": "attention outside transformers' interface",
    r"no layer returns its own": "no layer returns its weights, only the whole",
    r"shows no attention weights": "shows no attention weights",
    r"passes (\w+) to its attention": "passes {0} to its attention",
    r"learned sinks": "learned sinks",
    r"position bias": "adds a bias to its logits",
    r"no eager attention": "no eager attention to compare with",
    r"does not return its attention weights": "a layer does not return its weights",
    r"nothing is reported|nothing would be shown": "its weights are not reproduced",
    r"queries of|queries \(|self-attention": "queries and keys of other shapes",
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
    except TimeoutError:
        return Outcome(model_type, "not built", f"takes longer than {SECONDS:.0f} s")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.collect()


def _too_long(*_: Any) -> None:
    raise TimeoutError


def _covered(model_type: str) -> Outcome:
    model = tiny_model(model_type)
    if isinstance(model, str):
        return Outcome(model_type, "not built", model)
    try:
        audit = rb.audit(model, TEXT, LENGTH, tokenizer=tokenizer(), dtype="float64")
    except rb.RankboundError as error:
        return Outcome(model_type, "refused", reason(str(error)), str(error))
    try:
        differs = difference(model, audit)
    except TimeoutError:
        raise
    except Exception as error:  # then nothing speaks for the success
        differs = f"not compared: {type(error).__name__}: {' '.join(str(error).split())[:80]}"
    if differs:
        return Outcome(model_type, "false success", differs)
    layers = len({head.layer for head in audit.heads})
    beside = "; beside it " + "; ".join(audit.model.not_audited) if audit.model.not_audited else ""
    return Outcome(model_type, "works", f"{layers} layers, {len(audit.heads)} heads{beside}")


def tiny_model(model_type: str) -> Any:
    """A model of random weights, or why there is none."""
    import torch
    import transformers

    why, first = "", None
    for other in OTHERS:
        try:
            kind = transformers.CONFIG_MAPPING[model_type]
            with torch.device("meta"):
                drawn = transformers.AutoModel.from_config(kind(**_sizes(kind(), other)))
            many = sum(p.numel() for p in drawn.parameters())
            if many > LARGEST:
                why = why or f"{many:,} weights: its sizes have other names"
                continue
            torch.manual_seed(0)
            config = kind(**_sizes(kind(), other))
            if hasattr(config, "_experts_implementation"):
                config._experts_implementation = "eager"  # grouped kernels take no float64
            model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
            first = model if first is None else first
            takes_text = "input_ids" in inspect.signature(type(model).forward).parameters
            if takes_text and not config.is_encoder_decoder:
                with torch.inference_mode():
                    model(input_ids=torch.arange(4, 4 + LENGTH)[None])
            return model
        except TimeoutError:
            raise
        except Exception as error:  # whatever a configuration of these sizes lacks
            why = why or f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    return why if first is None else first


def _sizes(config: Any, other: dict[str, Any]) -> dict[str, Any]:
    """Arguments that make a configuration tiny, those of its parts too."""
    has = {*config.to_dict(), *getattr(config, "attribute_map", {})}
    wanted = {**SIZES, **other}
    sizes = {name: wanted[name] for name in wanted if name in has and wanted[name] is not KEPT}
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if part is not None:
            sizes[name] = {"model_type": part.model_type, **_sizes(part, other)}
    return sizes


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


def difference(model: Any, audit: rb.Audit) -> str:
    """How an audit differs from the weights that the model returns; empty if it does not."""
    import torch

    from rankbound.auditing.texts import cut_windows

    [ids], _ = cut_windows(tokenizer(), TEXT, LENGTH, 1, None)
    with torch.inference_mode():
        output = model.double()(input_ids=torch.tensor([ids]), output_attentions=True)
    contexts = [
        P for layer in returned(output) for P in layer[0].transpose(-1, -2).double().numpy()
    ]
    if len(contexts) != len(audit.heads):
        return f"{len(audit.heads)} heads, where the model returns {len(contexts)}"
    for head, P in zip(audit.heads, contexts, strict=True):
        for name, value in independent(P, head.measures.masked).items():
            found = np.asarray(getattr(head.measures, name), np.float64)
            most = min(np.size(found), np.size(value))  # the rest of the longer one is 0
            error = np.append(np.ravel(found)[:most] - np.ravel(value)[:most], 0.0)
            rest = np.append(np.ravel(found)[most:], np.ravel(value)[most:])
            # a softmax in float32 rounds a weight to 1e-7 of it, so log P by as much
            if np.abs(np.append(error, rest)).max() > 1e-3 * np.abs(value).max() + 1e-5 * LENGTH:
                return f"{head.module}, head {head.head}: {name} differs"
    return ""


def returned(output: Any) -> list[Any]:
    """The attention weights of an output, layer by layer, those of the outputs in it too."""
    parts = [returned(part) for part in output.values() if isinstance(part, dict)]
    own = [layer for layer in output.get("attentions") or () if layer is not None]
    return [*own, *(layer for part in parts for layer in part)]


def independent(P: Any, masked: bool) -> dict[str, Any]:
    """Measures of a context, from itself alone."""
    values = np.linalg.svd(P, compute_uv=False)
    shares = values[values > 0] / values.sum()
    logs = np.log(P, out=np.zeros_like(P), where=P > 0)
    found: dict[str, Any] = {
        "entropy": -float((P * logs).sum(axis=0).mean()),
        "sink_mass": float(P[0].mean()),
        "context_effective_rank": float(np.exp(-(shares * np.log(shares)).sum())),
    }
    if not masked and (P > 1e-30).all():
        found["centred_values"] = np.linalg.svd(logs - logs.mean(axis=0), compute_uv=False)
    return found


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
        "*Works*: layers and heads are those whose weights the model returns "
        "(`output_attentions`), and entropy, weight of key 0, effective rank of P and, without a "
        "mask, the singular values of C log P, computed from these by NumPy, are the audit's. "
        "*Not built*: transformers makes no model of the tiny sizes tried here; nothing is said of "
        "such a type. A type that does not run on text alone may need other inputs, or other than "
        "the tiny sizes: the model's own words are given. *False success*: an audit that succeeds "
        "and differs.",
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
