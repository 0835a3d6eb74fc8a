"""A byte-level language model: its corpus, its arms, the experiments that train one; its heads.

The heads of trained models are measured as an audit measures any head.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import check_int, check_word
from rankbound.attention.masks import causal_mask
from rankbound.errors import InputError
from rankbound.experiments import layers
from rankbound.experiments.layers import Sizes, layer_sizes
from rankbound.measuring.head import HeadMeasures, layer_heads, measure_heads

FIXED = 16  # the head size of the arms `fixed` and `matched`
ARMS = ("standard", "fixed", "matched")
SPLITS = ("scaled", "qk-norm", "rank", "rank-matched")
TEMPERATURE = 4.0  # the largest logit under QK-norm, at every head size
LAYERS, LENGTH, BATCH, JUDGED = 2, 64, 32, 2048  # JUDGED: windows of the held-out text
WINDOWS = 4  # of the held-out text; a head's measures are medians over them

MOST_BYTES = 4_000_000
LEAST_BYTES = 20_000
HELD_OUT = 0.1  # the end of the corpus, never trained on
APART = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True, eq=False)
class Corpus:
    """Bytes to learn and bytes to be judged by."""

    train: npt.NDArray[np.uint8]  # the first nine tenths
    held_out: npt.NDArray[np.uint8]  # the rest
    sha256: str  # of both


def read_corpus(text: str | os.PathLike[str] | None, sha256: str | None = None) -> Corpus:
    """Return the corpus of a text file or of the standard library, of this hash if one is given."""
    found = library_corpus() if text is None else file_corpus(text)
    if sha256 is not None and found.sha256 != sha256:
        raise InputError(
            f"the corpus has SHA-256 {found.sha256}; expected {sha256}, which the plan names. The "
            "text changed after the sweep was planned: plan it anew."
        )
    return found


def library_corpus() -> Corpus:
    """The first 4 MB of the standard library's .py files, tests excluded, in a seeded order.

    Its hash differs between versions of Python.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if not APART & set(path.relative_to(root).parts)
    )
    text = bytearray()
    for place in np.random.default_rng(0).permutation(len(found)):
        text += (root / found[place]).read_bytes()
        if len(text) >= MOST_BYTES:
            break
    return _corpus(bytes(text[:MOST_BYTES]), "the standard library")


def file_corpus(path: str | os.PathLike[str]) -> Corpus:
    """The first 4 MB of a text file."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(MOST_BYTES)
    except (OSError, TypeError, ValueError) as error:  # no path, or one with a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"the text {str(path)!r} cannot be read: {reason}; expected a text file."
        ) from None
    if b"\0" in text:
        raise InputError(
            f"the text {str(path)!r} holds a zero byte, so it is no text; expected one in UTF-8 or "
            "another encoding without zero bytes."
        )
    return _corpus(text, repr(str(path)))


def _corpus(text: bytes, name: str) -> Corpus:
    if len(text) < LEAST_BYTES:
        raise InputError(
            f"the text {name} has {len(text)} bytes; expected {LEAST_BYTES} or more: a tenth is "
            "held out, and fewer say little of a model."
        )
    values = np.frombuffer(text, np.uint8)
    cut = round(len(text) * (1 - HELD_OUT))
    return Corpus(values[:cut], values[cut:], hashlib.sha256(text).hexdigest())


def arm_sizes(arm: str, d: int, heads: int) -> tuple[Sizes, int]:
    """Sizes of the attention layers and width of the feed-forward layers of an arm.

    ``standard`` has heads of size d / heads, ``fixed`` of size 16; ``matched`` is the standard one
    with feed-forward layers widened until it has as many parameters as ``fixed``.
    """
    check_word("arm", arm, ARMS)
    sizes = layer_sizes(d, heads, FIXED if arm == "fixed" else None)
    ffn = 4 * d
    if arm == "matched":  # a unit of a feed-forward layer has 2 d parameters: 2 d + 32 heads units
        ffn += (layer_sizes(d, heads, FIXED).parameters - sizes.parameters) // (2 * d)
    return sizes, ffn


def language(
    arm: str,
    heads: int,
    d: int,
    rate: float,
    weight_decay: float,
    steps: int,
    corpus: str,
    seed: int,
    *,
    text: str | None = None,
    checkpoints: str | None = None,
) -> dict[str, Any]:
    """Train one language model; return its loss on the held-out text, in nats per byte.

    Two pre-LN blocks, 64 bytes, batches of 32, AdamW (0.9, 0.98) with 5 % of warm-up to `rate` and
    a cosine to zero. The loss is that of the last step's weights on 2048 windows, the same for all
    models. For the arms see :func:`arm_sizes`. The corpus is named by its SHA-256: a run on another
    text is another cell. The text is a file, by default the standard library's sources; trained
    weights are kept in the folder `checkpoints`, if one is named.

    The result holds ``loss``, ``train_loss`` (of the last 50 batches), ``d_k``, ``d_v``, ``ffn``,
    ``parameters`` and the version of ``torch``.
    """
    sizes, ffn = arm_sizes(arm, d, heads)
    shape = layers.Shape(sizes, LAYERS, LENGTH, ffn)
    source = read_corpus(text, corpus)
    with layers.one_thread(seed) as generator:
        weights = layers.make_weights(shape, generator)
        plan = {"steps": steps, "rate": rate, "weight_decay": weight_decay}
        found = _learnt(weights, shape, source, generator, plan)
    if checkpoints is not None:
        cell = (arm, heads, d, rate, weight_decay, steps, corpus, seed)
        told = dict(zip(layers.TOLD, cell, strict=True))
        layers.save_checkpoint(Path(checkpoints), weights, shape, told)
    return found


def split_shapes(arm: str, d: int, heads: int, rank: int) -> tuple[layers.Shape, layers.Shape]:
    """The standard model whose weights an arm of :func:`head_size` starts from, and the arm's own.

    ``scaled`` is the standard model, ``qk-norm`` the same with queries and keys normalised. Of each
    of its heads ``rank`` leaves so many coordinates of queries and keys, and values whole;
    ``rank-matched`` gives the parameters that go to the feed-forward layers.
    """
    check_word("arm", arm, SPLITS)
    sizes, temperature = layer_sizes(d, heads), None if arm == "scaled" else TEMPERATURE
    rank = check_int("rank", rank, least=1, most=sizes.d_k, why="no more than d / heads are there")
    if arm in ("scaled", "qk-norm") and rank < sizes.d_k:
        raise InputError(f"rank is {rank} in the arm {arm}; expected {sizes.d_k}, its head size.")
    whole = layers.Shape(sizes, LAYERS, LENGTH, 4 * d, temperature)
    more = heads * (sizes.d_k - rank) if arm == "rank-matched" else 0  # units of 2 d parameters
    return whole, replace(whole, sizes=layer_sizes(d, heads, rank, sizes.d_v), ffn=4 * d + more)


def head_size(
    arm: str,
    heads: int,
    rate: float,
    weight_decay: float,
    steps: int,
    corpus: str,
    seed: int,
    rank: int | None = None,
    d: int = 32,
    *,
    text: str | None = None,
    checkpoints: str | None = None,
) -> dict[str, Any]:
    """Train one language model of head size d / heads, all from the same weights at a seed.

    W_q, W_k, W_v and W_o are the same d × d matrices for every number of heads, which only splits
    them, and batches are the same: head sizes differ in nothing else, parameters included. Under
    ``qk-norm`` the logits are the cosines of queries and keys times 4, so that 1/sqrt(d_k), and
    what longer vectors make of it, is out of the comparison: the contexts of small heads are then
    among those of large ones. ``rank`` leaves so many coordinates of queries and keys in heads
    whose number and values stay, from the same weights; ``rank-matched`` has the parameters of the
    whole (:func:`split_shapes`). All else, and the result with its ``loss``, is as in
    :func:`language`; no checkpoint is kept.
    """
    given = layer_sizes(d, heads).d_k if rank is None else rank
    whole, shape = split_shapes(arm, d, heads, given)
    source = read_corpus(text, corpus)
    with layers.one_thread(seed) as generator:
        weights = layers.make_weights(whole, generator)
        with layers.one_thread(seed + 1_000_000) as apart:  # batches are those of the other arms
            weights = layers.cut_weights(weights, whole, shape, apart)
        plan = {"steps": steps, "rate": rate, "weight_decay": weight_decay}
        return _learnt(weights, shape, source, generator, plan)


def _learnt(
    weights: layers.Weights,
    shape: layers.Shape,
    source: Corpus,
    generator: Any,
    plan: dict[str, Any],
) -> dict[str, Any]:
    """Train the weights in place; return the loss and sizes."""
    import torch

    train, held_out = (
        torch.from_numpy(part.astype("int64")).unfold(0, LENGTH + 1, 1)
        for part in (source.train, source.held_out)
    )
    losses: list[float] = []

    def batch_loss() -> Any:
        places = torch.randint(len(train), (BATCH,), generator=generator)
        found = layers.byte_loss(weights, shape, train[places])
        losses.append(float(found.detach()))
        return found

    layers.minimise(weights, batch_loss, betas=(0.9, 0.98), warm_up=0.05, **plan)
    evenly = torch.linspace(0, len(held_out) - 1, JUDGED).long()
    return {
        "loss": layers.mean_loss(weights, shape, held_out[evenly], BATCH),
        "train_loss": sum(losses[-50:]) / len(losses[-50:]),
        "d_k": shape.sizes.d_k,
        "d_v": shape.sizes.d_v,
        "ffn": shape.ffn,
        "parameters": layers.parameter_count(weights),
        "torch": torch.__version__,
    }


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
        weights, shape, told = layers.read_checkpoint(path)
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
    weights: layers.Weights, shape: layers.Shape, told: dict[str, Any], corpus: Corpus
) -> Iterator[TrainedHead]:
    import torch

    starts = np.linspace(0, len(corpus.held_out) - shape.n, WINDOWS).astype(int)
    windows = np.stack([corpus.held_out[at : at + shape.n] for at in starts])
    with torch.no_grad():
        found = layers.heads_of(weights, shape, torch.from_numpy(windows.astype("int64")))
    mask, sizes = causal_mask(shape.n), shape.sizes
    for layer, (queries, keys) in enumerate(found):
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
