"""Layers in torch, a small causal transformer over bytes, their training, its checkpoints.

Tokens are rows; weights are a dict. The transformer is Pre-LN, its maps without biases. Torch is
imported by the functions that need it, so that sizes can be read without it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rankbound._validate import check_int
from rankbound.errors import BackendMissing, InputError

Tensor = Any  # torch.Tensor, where torch may be missing when types are checked
Weights = dict[str, Tensor]
BYTES = 256
# the parameters of a cell, kept with its weights
TOLD = ("arm", "heads", "d", "rate", "weight_decay", "steps", "corpus", "seed")


@dataclass(frozen=True)
class Sizes:
    """A multi-head attention layer's sizes."""

    d: int  # of a token
    heads: int
    d_k: int  # head size, of queries and keys
    d_v: int  # value size

    @property
    def parameters(self) -> int:
        """Number of entries of W_q, W_k, W_v and W_o."""
        return 2 * self.d * self.heads * (self.d_k + self.d_v)

    def facts(self) -> dict[str, int]:
        """What a result says of its layer."""
        return {"d_k": self.d_k, "d_v": self.d_v, "attention_parameters": self.parameters}


def layer_sizes(
    d: int, heads: int, head_size: int | None = None, value_size: int | None = None
) -> Sizes:
    """Return the sizes of a layer; the standard ones, d / heads, where no head size is given.

    Examples
    --------
    >>> layer_sizes(32, 4)
    Sizes(d=32, heads=4, d_k=8, d_v=8)
    >>> layer_sizes(32, 4, head_size=7, value_size=8).parameters
    3840
    """
    d, heads = check_int("d", d, least=1), check_int("heads", heads, least=1)
    if head_size is None and d % heads:
        raise InputError(
            f"d is {d} and heads is {heads}; expected d to be a multiple of heads in a standard "
            "layer, whose heads have size d / heads. Pass head_size for a fixed one."
        )
    d_k = d // heads if head_size is None else check_int("head_size", head_size, least=1)
    d_v = d_k if value_size is None else check_int("value_size", value_size, least=1)
    return Sizes(d, heads, d_k, d_v)


def gaussian(*shape: int, generator: Any, scale: float | None = None) -> Tensor:
    """A map to be trained: Gaussian, scaled by its number of inputs unless a scale is given."""
    import torch

    scale = shape[0] ** -0.5 if scale is None else scale
    return (scale * torch.randn(*shape, generator=generator)).requires_grad_()


def attention_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Shapes of a layer's maps, which act on rows from the right.

    Head h owns the h-th block of columns of W_q, W_k and W_v, and of rows of W_o.
    """
    d, inner, values = sizes.d, sizes.heads * sizes.d_k, sizes.heads * sizes.d_v
    return {"W_q": (d, inner), "W_k": (d, inner), "W_v": (d, values), "W_o": (values, d)}


def attention_weights(sizes: Sizes, generator: Any) -> Weights:
    """Weights of a layer."""
    shapes = attention_shapes(sizes)
    return {name: gaussian(*shape, generator=generator) for name, shape in shapes.items()}


def attention(
    x: Tensor,
    weights: Weights,
    heads: int,
    *,
    prefix: str = "",
    causal: bool = False,
    temperature: float | None = None,
) -> Tensor:
    """Multi-head self-attention of tokens x (batch, n, d), scale ``1/sqrt(d_k)``; the temperature
    is that of :func:`queries_and_keys`.
    """
    from torch.nn.functional import scaled_dot_product_attention

    q, k = queries_and_keys(x, weights, heads, prefix=prefix, temperature=temperature)
    v = _by_head(x @ weights[f"{prefix}W_v"], heads)
    mixed = scaled_dot_product_attention(q, k, v, is_causal=causal)
    return mixed.transpose(1, 2).flatten(2) @ weights[f"{prefix}W_o"]


def queries_and_keys(
    x: Tensor, weights: Weights, heads: int, *, prefix: str = "", temperature: float | None = None
) -> tuple[Tensor, Tensor]:
    """Queries and keys of each head, (batch, heads, n, d_k).

    Under a temperature they are normalised (QK-norm) so that the logits ``q^T k/sqrt(d_k)`` are the
    temperature times the cosine of query and key: no larger at one head size than at another.
    """
    from torch.nn.functional import normalize

    q, k = (_by_head(x @ weights[f"{prefix}{name}"], heads) for name in ("W_q", "W_k"))
    if temperature is None:
        return q, k
    size = temperature**0.5 * q.shape[-1] ** 0.25
    return size * normalize(q, dim=-1), size * normalize(k, dim=-1)


def _by_head(rows: Tensor, heads: int) -> Tensor:
    batch, n, width = rows.shape
    return rows.view(batch, n, heads, width // heads).transpose(1, 2)


def minimise(
    weights: Weights,
    loss: Callable[[], Tensor],
    *,
    steps: int,
    rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    warm_up: float = 0.0,
) -> None:
    """Train weights in place by AdamW; the last step's weights count, not the best ones.

    The loss draws its batch. The learning rate rises linearly to `rate` in the fraction `warm_up`
    of the steps, then falls to 0 as a cosine. Only matrices decay, not gains or biases.
    """
    import torch

    leaves = list(weights.values())
    groups = [
        {"params": [w for w in leaves if w.ndim >= 2], "weight_decay": weight_decay},
        {"params": [w for w in leaves if w.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=rate, betas=betas, foreach=True)
    rising = max(1, round(warm_up * steps))

    def factor(step: int) -> float:
        if step < rising and warm_up > 0:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        schedule.step()


def relative_error(got: Tensor, wanted: Tensor) -> Tensor:
    """``‖got - wanted‖² / ‖wanted‖²``, over all entries of a batch."""
    return ((got - wanted) ** 2).sum() / (wanted**2).sum()


@contextmanager
def one_thread(seed: int) -> Iterator[Any]:
    """Torch on one thread, and a generator from which all that is random is drawn."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield torch.Generator().manual_seed(seed)
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Shape:
    """What a model is, besides its weights."""

    sizes: Sizes  # of each attention layer
    layers: int  # blocks
    n: int  # most tokens
    ffn: int  # width of each block's feed-forward layer
    temperature: float | None = None  # of normalised queries and keys; plain ones without it


def weight_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights, without making them."""
    d, n, ffn = shape.sizes.d, shape.n, shape.ffn
    norm: dict[str, tuple[int, ...]] = {"gain": (d,), "shift": (d,)}
    block = {
        **attention_shapes(shape.sizes),
        **{f"{name}.{part}": size for name in ("attention", "ffn") for part, size in norm.items()},
        "W_1": (d, ffn),
        "W_2": (ffn, d),
    }
    return {
        "embedding": (BYTES, d),
        "positions": (n, d),
        "unembedding": (d, BYTES),
        **{f"last.{part}": size for part, size in norm.items()},
        **{f"layers.{at}.{name}": s for at in range(shape.layers) for name, s in block.items()},
    }


def make_weights(shape: Shape, generator: Any) -> Weights:
    """Gaussian maps, scaled by their number of inputs; embeddings of unit size; gains of 1."""
    import torch

    weights = {}
    for name, size in weight_shapes(shape).items():
        if name.endswith((".gain", ".shift")):
            start = float(name.endswith(".gain"))
            weights[name] = torch.full(size, start, requires_grad=True)
        else:
            scale = 0.5 if name in ("embedding", "positions") else None
            weights[name] = gaussian(*size, generator=generator, scale=scale)
    return weights


def cut_weights(weights: Weights, whole: Shape, part: Shape, generator: Any) -> Weights:
    """Weights of a shape with smaller heads and wider feed-forward layers, as far as they go.

    Of each head's queries and keys the first ``part.sizes.d_k`` coordinates are left; units beyond
    those of `whole` are drawn from the generator, scaled as the others are. All else is the same.
    """
    import torch

    heads, more = whole.sizes.heads, part.ffn - whole.ffn
    found = {name: w.detach() for name, w in weights.items()}
    for name, size in weight_shapes(part).items():
        w = found[name]
        if name.endswith((".W_q", ".W_k")):
            w = w.unflatten(1, (heads, -1))[:, :, : part.sizes.d_k].flatten(1)
        elif name.endswith((".W_1", ".W_2")) and more:
            axis = 1 if name.endswith(".W_1") else 0
            units = (len(w), more) if axis else (more, w.shape[1])
            drawn = len(w) ** -0.5 * torch.randn(*units, generator=generator)
            w = torch.cat([w, drawn], dim=axis)
        found[name] = w.clone().requires_grad_()
        if found[name].shape != size:
            raise InputError(f"{name} becomes {tuple(w.shape)}; expected {size}: no part of it.")
    return found


def parameter_count(weights: Weights) -> int:
    """Number of trained entries."""
    return sum(int(w.numel()) for w in weights.values())


def byte_loss(weights: Weights, shape: Shape, windows: Tensor) -> Tensor:
    """Mean cross-entropy of the next byte, in nats; windows (batch, n + 1) of bytes."""
    from torch.nn.functional import cross_entropy

    x = _embed(weights, windows[:, :-1])
    for layer in range(shape.layers):
        x = _block(x, weights, shape, layer)
    scores = _normed(x, weights, "last") @ weights["unembedding"]
    return cross_entropy(scores.flatten(0, 1), windows[:, 1:].flatten())


def mean_loss(weights: Weights, shape: Shape, windows: Tensor, batch: int) -> float:
    """The mean of the losses on batches of these windows."""
    import torch

    with torch.no_grad():
        losses = [float(byte_loss(weights, shape, part)) for part in windows.split(batch)]
    return sum(losses) / len(losses)


def heads_of(weights: Weights, shape: Shape, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Queries and keys (batch, heads, n, d_k) of each layer on tokens (batch, n)."""
    x, found = _embed(weights, tokens), []
    for layer in range(shape.layers):
        at = f"layers.{layer}."
        seen = _normed(x, weights, f"{at}attention")
        heads, temperature = shape.sizes.heads, shape.temperature
        found.append(queries_and_keys(seen, weights, heads, prefix=at, temperature=temperature))
        x = _block(x, weights, shape, layer)
    return found


def _embed(weights: Weights, tokens: Tensor) -> Tensor:
    return weights["embedding"][tokens] + weights["positions"][: tokens.shape[1]]


def _block(x: Tensor, weights: Weights, shape: Shape, layer: int) -> Tensor:
    from torch.nn.functional import gelu

    at = f"layers.{layer}."
    seen = _normed(x, weights, f"{at}attention")
    x = x + attention(
        seen, weights, shape.sizes.heads, prefix=at, causal=True, temperature=shape.temperature
    )
    seen = _normed(x, weights, f"{at}ffn")
    return x + gelu(seen @ weights[f"{at}W_1"]) @ weights[f"{at}W_2"]


def _normed(x: Tensor, weights: Weights, name: str) -> Tensor:
    from torch.nn.functional import layer_norm

    return layer_norm(x, x.shape[-1:], weights[f"{name}.gain"], weights[f"{name}.shift"])


def save_checkpoint(folder: Path, weights: Weights, shape: Shape, told: Mapping[str, Any]) -> Path:
    """Keep weights, shape and parameters in one file, named by the parameters' hash."""
    _, save = _safetensors()
    folder.mkdir(parents=True, exist_ok=True)
    parameters = json.dumps(dict(told), sort_keys=True)
    path = folder / f"language-{sha256(parameters.encode()).hexdigest()[:16]}.safetensors"
    kept = {name: w.detach().contiguous() for name, w in weights.items()}
    part = path.with_suffix(".part")  # a killed worker leaves no half of a checkpoint
    save(kept, part, {"shape": json.dumps(asdict(shape)), "parameters": parameters})
    part.replace(path)
    return path


def read_checkpoint(path: Path) -> tuple[Weights, Shape, dict[str, Any]]:
    """Return weights, shape and parameters."""
    safe_open, _ = _safetensors()
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            fields = json.loads(told["shape"])
            shape = Shape(**{**fields, "sizes": Sizes(**fields["sizes"])})
            parameters = json.loads(told["parameters"])
            _check(file, shape, parameters)
            names = file.keys()  # a file of safetensors is no mapping
            weights = {name: file.get_tensor(name) for name in names}
            return weights, shape, parameters
    except Exception as error:  # safetensors has an error class of its own
        raise InputError(
            f"{path.name} is no checkpoint of a language model ({error}); expected one that "
            "`rankbound experiment language` kept."
        ) from None


def _check(file: Any, shape: Shape, parameters: dict[str, Any]) -> None:
    """Raise if the parameters are not a cell's, or the weights not those of the shape."""
    missing = sorted(set(TOLD) - set(parameters))
    if missing:
        raise ValueError(f"its parameters have no {missing[0]}")
    names = file.keys()
    if not isinstance(shape.layers, int) or not 0 <= shape.layers <= len(names):
        raise ValueError(f"it names {shape.layers!r} layers")
    found = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    for name, wanted in weight_shapes(shape).items():
        if found.pop(name, None) != wanted:
            raise ValueError(f"its shape asks for a weight {name} of shape {wanted}")
    if found:
        raise ValueError(f"it holds {min(found)}, which its shape does not have")


def _safetensors() -> tuple[Any, Any]:
    """What opens a file and what saves one."""
    try:
        from safetensors import safe_open
        from safetensors.torch import save_file
    except ImportError as error:
        raise BackendMissing(
            f'checkpoints need safetensors ({error}): pip install "rankbound[experiments]"'
        ) from None
    return safe_open, save_file
