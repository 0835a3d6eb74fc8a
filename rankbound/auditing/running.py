"""What a model is given, checked, and its run on it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from rankbound._validate import shown
from rankbound.auditing.forms import RealTokens
from rankbound.auditing.models import LoadedModel, quiet, require
from rankbound.errors import InputError, InputTypeError, RankboundError

Inputs = Mapping[str, Any]  # what the model's forward is called with


def text_inputs(loaded: LoadedModel, ids: list[int]) -> dict[str, Any]:
    """The inputs of a window of text; a decoder beside an encoder reads the same text, shifted."""
    torch = require("torch", "an audit")
    given = {"input_ids": torch.tensor([ids], device=loaded.model.device)}
    config, known = loaded.model.config, _parameters(loaded.model)
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in known:
        names = ("decoder_start_token_id", "bos_token_id", "pad_token_id")
        told = (getattr(config, name, None) for name in names)
        start = next((token for token in told if isinstance(token, int) and token >= 0), ids[0])
        given["decoder_input_ids"] = torch.tensor([[start, *ids[:-1]]], device=loaded.model.device)
    return given


def _parameters(model: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(type(model).forward).parameters


# What a model's main input is, where it is not a text's tokens.
TAKES = {"pixel": "images", "input_features": "audio", "input_values": "audio", "video": "videos"}
OTHERS = ("bbox", "decoder_input_ids", "entity_ids", "encoder_hidden_states")


def check_ids(loaded: LoadedModel, windows: list[list[int]]) -> None:
    """Raise unless the model takes tokens, and has an embedding of each."""
    facts, known = loaded.facts, _parameters(loaded.model)
    if "input_ids" not in known and all(p.kind is not p.VAR_POSITIONAL for p in known.values()):
        named = [p for p in known.values() if p.kind is p.POSITIONAL_OR_KEYWORD][1:]  # not self
        needed = [p.name for p in named if p.default is p.empty]
        main = getattr(loaded.model, "main_input_name", "input_ids")
        main = main if isinstance(main, str) else " and ".join(map(str, main))
        main = " and ".join(needed) if main == "input_ids" else main
        other = next((what for part, what in TAKES.items() if part in main), "another input")
        raise InputError(
            f"{facts.name}: {facts.architecture} takes {other} ({main or 'not input_ids'}), not "
            "the tokens of a text; expected rb.audit(model, "
            f"inputs={{{main.split(' ')[0]!r}: …}}), as its processor gives them."
        )
    rows = _embedded(loaded.model)
    most = max(map(max, windows))
    if rows is not None and most >= rows:
        raise InputError(
            f"{facts.name}: the tokenizer gives token {most}, and the model embeds {rows} tokens, "
            "numbered from 0; expected the tokenizer of the model."
        )


def _embedded(model: Any) -> int | None:
    try:
        rows = getattr(model.get_input_embeddings(), "num_embeddings", None)
    except (NotImplementedError, AttributeError):  # no such embeddings: no limit is known
        return None
    return rows if isinstance(rows, int) else None


def check_inputs(loaded: LoadedModel, inputs: Any) -> dict[str, Any]:
    """Inputs as tensors on the model's device, floats in its dtype; named as it names them."""
    torch = require("torch", "an audit")
    facts, known = loaded.facts, _parameters(loaded.model)
    if not isinstance(inputs, Mapping) or not all(isinstance(name, str) for name in inputs):
        raise InputTypeError(
            f"inputs is {shown(inputs)}; expected a dict of what the model's forward takes, as its "
            "processor gives it: inputs=processor(images=image, return_tensors='pt')."
        )
    if not inputs:
        raise InputError("inputs is empty; expected what the model's forward takes.")
    takes_more = any(p.kind is p.VAR_KEYWORD for p in known.values())
    unknown = sorted(name for name in inputs if name not in known)
    if unknown and not takes_more:
        names = [n for n, p in known.items() if p.kind is p.POSITIONAL_OR_KEYWORD and n != "self"]
        raise InputError(
            f"inputs holds {unknown[0]}, which {facts.architecture} does not take; expected some "
            f"of {', '.join(names)}."
        )
    found: dict[str, Any] = {}
    dtype = getattr(torch, facts.compute_dtype)
    for name, value in inputs.items():
        if value is None or isinstance(value, (bool, str)):
            found[name] = value
            continue
        try:
            tensor = torch.as_tensor(value, device=loaded.model.device)
            finite = not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise InputTypeError(
                f"inputs[{name!r}] is {shown(value)}; expected a tensor or an array, as the "
                "model's processor gives it with return_tensors='pt'."
            ) from None
        if not finite:
            raise InputError(f"inputs[{name!r}] holds inf or nan; expected finite numbers.")
        ids = name in ("input_ids", "decoder_input_ids")
        if ids and (tensor.is_floating_point() or tensor.is_complex()):
            raise InputTypeError(
                f"inputs[{name!r}] has dtype {str(tensor.dtype).removeprefix('torch.')}; expected "
                "integers, the numbers of tokens. Pass them as a tokenizer gives them."
            )
        tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
        if ids and (tensor.ndim != 2 or len(tensor) != 1):
            raise InputError(
                f"inputs[{name!r}] has shape {tuple(tensor.shape)}; expected (1, tokens), one "
                "sequence at a time."
            )
        if name.endswith("attention_mask") and not bool(tensor.any()):
            raise InputError(
                f"inputs[{name!r}] leaves out every token; expected at least one that is real."
            )
        found[name] = tensor
    _check_tokens(loaded, found.get("input_ids"))
    return found


def real_tokens(loaded: LoadedModel, inputs: Inputs, module: str) -> RealTokens | None:
    """Which of the tokens that a module reads are not padding; None where none is padding.

    A decoder beside an encoder has a mask of its own, and all its queries are its tokens. In other
    modules, such as a vision tower, queries may be something else.
    """
    own, others = (_mask(inputs.get(f"{name}attention_mask")) for name in ("decoder_", ""))
    if own is None and others is None:
        return None
    decoder = ""
    if getattr(loaded.model.config, "is_encoder_decoder", False):
        part = loaded.model.get_decoder()
        decoder = next((name for name, one in loaded.model.named_modules() if one is part), "")
    if decoder and module.startswith(f"{decoder}."):  # its cross-attention reads the others
        return RealTokens(own, queries=True)
    return None if others is None else RealTokens(others, queries=False)


def _mask(given: Any) -> Any:
    """Which tokens a mask of one sequence keeps; None where that is all."""
    if given is None or given.ndim != 2 or len(given) != 1 or bool(given.all()):
        return None
    return given[0].cpu().numpy() != 0


def _check_tokens(loaded: LoadedModel, ids: Any) -> None:
    facts, rows = loaded.facts, _embedded(loaded.model)
    if ids is None or not ids.numel():
        return
    low, high, many = int(ids.min()), int(ids.max()), ids.shape[1]
    if low < 0 or (rows is not None and high >= rows):
        raise InputError(
            f"inputs['input_ids'] holds token {low if low < 0 else high}; expected tokens from 0 "
            f"to {'those that the model embeds' if rows is None else rows - 1}."
        )
    if facts.positions is not None and many > facts.positions:
        raise InputError(
            f"inputs['input_ids'] holds {many} tokens; expected at most {facts.positions}, the "
            "positions of the model."
        )


def run(loaded: LoadedModel, inputs: Inputs | list[int], **options: Any) -> Any:
    """Run the model on inputs, or the tokens of a window, and return its output.

    What is wanted is recorded on the way. Attention is computed in parts, never in one kernel, and
    random numbers that a model draws are the same each time.
    """
    torch = require("torch", "an audit")
    given = inputs if isinstance(inputs, Mapping) else text_inputs(loaded, inputs)
    kernels, fast = torch.nn.attention, torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        # not inference mode, in which torch shows what follows its operations whole ones only
        with (
            quiet(),
            torch.no_grad(),
            kernels.sdpa_kernel(kernels.SDPBackend.MATH),
            torch.random.fork_rng(),
        ):
            torch.manual_seed(0)
            return loaded.model(**given, **options)
    except RankboundError:
        raise
    except Exception as error:  # whatever stops it, it is the model that does not run
        first = " ".join(str(error).split())[:200]
        raise InputError(
            f"{loaded.facts.name}: {loaded.facts.architecture} does not run on "
            f"{_what(loaded.model, given)}: {type(error).__name__}: {first}"
        ) from None
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _what(model: Any, given: Inputs) -> str:
    """What was given to a model that does not run on it, and what else it takes."""
    if set(given) - {"input_ids", "decoder_input_ids"}:
        return f"inputs of {', '.join(sorted(given))}"
    known = _parameters(model)
    takes = sorted(
        n for n in known if n not in given and (n in OTHERS or any(part in n for part in TAKES))
    )
    also = (
        f" alone; it also takes {', '.join(takes)}, given by rb.audit(model, inputs={{…}})"
        if takes
        else ""
    )
    return f"{given['input_ids'].shape[1]} tokens of text{also}"
