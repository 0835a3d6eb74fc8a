"""The heads of trained language models, measured as an audit measures any head."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from rankbound.attention.masks import causal_mask
from rankbound.errors import InputError
from rankbound.experiments.language import Corpus, read_corpus
from rankbound.experiments.layers import Shape, Sizes, Weights, heads_of, read_checkpoint
from rankbound.measuring.head import HeadMeasures, layer_heads, measure_heads

WINDOWS = 4  # of the held-out text; a head's measures are medians over them


@dataclass(frozen=True)
class TrainedHead:
    """One head of one trained model, on windows of the held-out text: medians over them."""

    arm: str  # "standard", "fixed" or "matched"
    d: int
    heads: int
    head_size: int
    n: int
    layer: int
    head: int
    steps: int
    seed: int
    rate: float
    weight_decay: float
    log_rank: int  # under the causal mask
    log_rank_bound: int  # which the head size sets
    generic_log_rank: int  # of almost every causal context: what no bottleneck would allow
    at_bottleneck: bool  # log_rank is all that the size allows, while most contexts need more
    log_effective_rank: float  # of the centred logits
    log_stable_rank: float
    aitchison_half: float  # what half of the size would cost, relative to the whole norm
    kl_half: float  # the same in nats
    least_head_size_1pct: int
    entropy: float
    sink_mass: float
    spectrum: str  # singular values of the centred logits over the largest, to three digits


def measure_trained_heads(
    folder: str | os.PathLike[str],
    text: str | os.PathLike[str] | None = None,
    wanted: Callable[[Mapping[str, Any]], bool] | None = None,
) -> list[TrainedHead]:
    """Measure every head of the language models in a folder, by checkpoint, layer and head.

    The text is what they learnt, by default the standard library's own sources. `wanted` says by a
    model's parameters whether to measure it; all are unless it is given.
    """
    paths = sorted(Path(folder).glob("language-*.safetensors"))
    if not paths:
        raise InputError(
            f"{folder} holds no checkpoint of a language model; expected the folder that "
            "`rankbound experiment language` makes beside its store."
        )
    corpus = read_corpus(text)
    heads: list[TrainedHead] = []
    for path in paths:
        weights, shape, told = read_checkpoint(path)
        if wanted is not None and not wanted(told):
            continue
        if told["corpus"] != corpus.sha256:
            raise InputError(
                f"{path.name} learnt a text of SHA-256 {told['corpus']}; got one of "
                f"{corpus.sha256}. Name the text it learnt."
            )
        heads += _model(weights, shape, told, corpus)
    return heads


def _model(
    weights: Weights, shape: Shape, told: dict[str, Any], corpus: Corpus
) -> Iterator[TrainedHead]:
    import torch

    starts = np.linspace(0, len(corpus.held_out) - shape.n, WINDOWS).astype(int)
    windows = np.stack([corpus.held_out[at : at + shape.n] for at in starts])
    with torch.no_grad():
        layers = heads_of(weights, shape, torch.from_numpy(windows.astype("int64")))
    mask, sizes = causal_mask(shape.n), shape.sizes
    for layer, (queries, keys) in enumerate(layers):
        q, k = (part.double().numpy().swapaxes(2, 3) for part in (queries, keys))
        inputs = [layer_heads(*qk, mask=mask, stored=np.float32) for qk in zip(q, k, strict=True)]
        measured = [measure_heads(heads, context_rank=False) for heads in inputs]
        for head, measures in enumerate(zip(*measured, strict=True)):
            yield _head(measures, sizes, told, layer, head)


def _head(
    measures: Sequence[HeadMeasures], sizes: Sizes, told: dict[str, Any], layer: int, head: int
) -> TrainedHead:
    first = measures[0]
    shares = [one.centred_values / (one.centred_values[0] or 1.0) for one in measures]
    middle: dict[str, Any] = {
        name: median(float(getattr(one, name)) for one in measures)
        for name in ("log_effective_rank", "log_stable_rank", "kl_half", "entropy", "sink_mass")
    }
    whole: dict[str, Any] = {
        name: int(median(int(getattr(one, name)) for one in measures))
        for name in ("generic_log_rank", "least_head_size_1pct")
    }
    return TrainedHead(
        **{name: told[name] for name in ("arm", "steps", "seed", "rate", "weight_decay")},
        **middle,
        **whole,
        d=sizes.d,
        heads=sizes.heads,
        head_size=sizes.d_k,
        n=first.length,
        layer=layer,
        head=head,
        log_rank=int(median(one.log_rank_lower for one in measures)),
        log_rank_bound=first.log_rank_bound,
        at_bottleneck=all(one.at_bottleneck for one in measures),
        aitchison_half=median(
            one.aitchison_error_half / one.aitchison_error(0) if one.aitchison_error(0) else 0.0
            for one in measures
        ),
        spectrum=" ".join(f"{value:.3g}" for value in np.median(shares, axis=0)),
    )
