"""Queries and keys of any model that transformers runs, recorded as attention is computed.

An attention function registered with transformers is called by each attention layer with its
queries and keys after biases, rotations and norms. It records them and lets the layer's own
function compute the attention, so that the model goes on as it would. What it does not understand
in its arguments it refuses: a guess would be measured as if it were the model. And the model's own
attention weights must be reproduced from what was recorded.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import FLOAT64, STORAGES, Array
from rankbound.attention.head import AttentionHead
from rankbound.attention.masks import Mask
from rankbound.auditing.models import LoadedModel, in_general, quiet, require
from rankbound.errors import InputError
from rankbound.measuring.head import layer_heads

NAME = "rankbound"
SAMPLED = 32  # queries whose weights are kept from a run of the model without any observer
VAGUE = 0.5  # a bound on the sum of a query's deviations above which it would show nothing
HIDDEN = -1e4  # what is added to a hidden logit is at most this
UNDERSTOOD = {"scaling", "softcap", "dropout"}
# They choose a kernel, repeat what the mask says, or ask for outputs; none changes a logit.
BENIGN = {
    "cache_position",
    "cu_seq_lens_k",
    "cu_seq_lens_q",
    "deterministic",
    "is_causal",
    "max_length_k",
    "max_length_q",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "position_ids",
    "return_dict",
    "sliding_window",
    "use_cache",
}


@dataclass(frozen=True, eq=False)
class Captured:
    """One layer's attention, as the model computed it."""

    layer: int  # its number, as of `layer_numbers`
    module: str  # the name of the layer's module in the model
    turn: int  # how often this module was called before; above 0 where layers share a module
    heads: tuple[AttentionHead, ...]  # on their keys; a mask that hides nothing is None
    key_value_heads: int  # how many heads have keys of their own
    dtype: str  # in which the model computed them
    own: Any  # torch.Tensor, the model's own attention weights

    def weights(self) -> Array:
        """The model's own attention weights as float64, (heads, n, n), [key, query]."""
        return as_columns(self.own)

    @property
    def place(self) -> str:
        """How an error names the layer."""
        return f"layer {self.layer} ({self.module})"


Call = tuple[str, int]  # a module's name in the model, and how often it was called before
Samples = dict[Call, Array]  # in the order in which they ran


# what sees an attention call: its module, its query, key and mask, its weights and its options
_active: ContextVar[Callable[..., None] | None] = ContextVar("rankbound_observer", default=None)


def layer_numbers(calls: Iterable[Call]) -> dict[Call, int]:
    """The number of each attention layer, by its call, in the order in which they ran.

    It is the first number in the module's name, so that a layer keeps its number in the model
    (layers.4.self_attn is 4 where other layers have no attention); unless two layers shared it, as
    where a module is called twice: then all are counted as they run, from 0.
    """
    calls = list(calls)
    named = [next(filter(str.isdecimal, name.split(".")), None) for name, _ in calls]
    numbers = [int(number) for number in named if number is not None]
    if len(set(numbers)) < len(calls):
        numbers = list(range(len(calls)))
    return dict(zip(calls, numbers, strict=True))


@contextmanager
def recording(
    loaded: LoadedModel,
    visit: Callable[[Captured], None],
    numbers: Mapping[Call, int],
    layers: frozenset[int] | None = None,
) -> Iterator[None]:
    """Show these attention layers, or all, to `visit` while the model runs once, one at a time.

    `numbers` are those of the calls that a run without observer made: `InputError` if another is
    observed, or one of them is not.
    """
    interface = require("transformers", "an audit")
    masks = require("transformers.masking_utils", "an audit")
    interface.AttentionInterface.register(NAME, _attend)
    interface.AttentionMaskInterface.register(NAME, masks.eager_mask)
    names = {id(module): name for name, module in loaded.model.named_modules()}
    calls: Counter[str] = Counter()

    def observe(module: Any, tensors: Any, weights: Any, options: Any) -> None:
        name = names.get(id(module), type(module).__name__)
        call = name, calls[name]
        calls[name] += 1
        if call not in numbers:
            raise InputError(
                f"{name}: the model does not return its attention weights when it runs by "
                "itself; expected them, to be reproduced before anything is reported."
            )
        if layers is None or numbers[call] in layers:
            visit(_read(numbers[call], call, module, tensors, weights, options))

    token = _active.set(observe)
    try:
        with quiet():
            loaded.model.set_attn_implementation(NAME)
        yield
        unseen = [call for call in numbers if call[1] >= calls[call[0]]]
        if unseen:
            raise InputError(
                f"{loaded.facts.name}: {len(unseen)} of {len(numbers)} attention layers of "
                f"{loaded.facts.architecture} ({unseen[0][0]}) do not compute attention through "
                "transformers' attention interface, where queries and keys are observed; expected "
                "an architecture all of whose layers do."
            )
    finally:
        _active.reset(token)
        with quiet():
            loaded.model.set_attn_implementation("eager")


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any = None, **options: Any
) -> tuple[Any, Any]:
    """What attention layers call: their own eager attention, observed."""
    output, weights = own_attention(module)(module, query, key, value, attention_mask, **options)
    observe = _active.get()
    if observe is not None:
        observe(module, (query, key, attention_mask), weights, options)
    return output, weights


def own_attention(module: Any) -> Any:
    """The eager attention of a layer's own module."""
    for kind in type(module).__mro__:
        function = getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None)
        if function is not None:
            return function
    raise InputError(
        f"{type(module).__name__} has no eager attention to compare with; expected a model whose "
        "module defines eager_attention_forward."
    )


def _read(
    layer: int,
    call: Call,
    module: Any,
    tensors: tuple[Any, ...],
    weights: Any,
    options: dict[str, Any],
) -> Captured:
    place = f"layer {layer} ({call[0]})"
    query, key, attention_mask = tensors
    _check_options(place, module, options)
    _check_shapes(place, module, query, key)
    queries, keys = as_columns(query), as_columns(key)
    if not (np.isfinite(queries).all() and np.isfinite(keys).all()):
        raise InputError(
            f"{place}: its queries or keys hold inf or nan; expected finite numbers. The weights "
            f"are damaged, or {query.dtype} is too narrow for them."
        )
    scale, cap = (_number(place, name, options.get(name)) for name in ("scaling", "softcap"))
    heads = layer_heads(
        queries,
        keys,
        scale=query.shape[-1] ** -0.5 if scale is None else scale,
        mask=_visible(place, attention_mask, query.shape[2]),
        soft_cap=cap,
    )
    dtype = str(query.dtype).removeprefix("torch.")
    return Captured(layer, *call, heads, len(keys), dtype, own=weights)


def _check_options(place: str, module: Any, options: dict[str, Any]) -> None:
    if options.get("dropout") or getattr(module, "sinks", None) is not None:
        what = "dropout" if options.get("dropout") else "learned sinks"
        raise InputError(
            f"{place}: attention with {what}; expected weights that sum to 1 over the tokens."
        )
    for name, value in options.items():
        if name not in UNDERSTOOD | BENIGN and value is not None and value is not False:
            raise InputError(
                f"{place}: the model passes {name} to its attention, which the audit does not "
                "understand; expected queries, keys, a mask, a scale and a cap. What else changes "
                "the logits would be measured wrongly."
            )


def _check_shapes(place: str, module: Any, query: Any, key: Any) -> None:
    batch, heads, n, size = query.shape
    if batch != 1 or key.shape[2] != n:
        raise InputError(
            f"{place}: queries of {n} tokens attend to keys of {key.shape[2]}; expected "
            "self-attention over one sequence."
        )
    if key.shape[3] != size or heads % key.shape[1]:
        raise InputError(
            f"{place}: queries {tuple(query.shape)} and keys {tuple(key.shape)}; expected one size "
            "and a multiple of the number of key/value heads."
        )
    groups = getattr(module, "num_key_value_groups", None)
    if groups is not None and groups * key.shape[1] != heads:
        raise InputError(
            f"{place}: {heads} query heads and {key.shape[1]} key/value heads in groups of "
            f"{groups}; expected groups that agree."
        )


def as_columns(tensor: Any) -> Array:
    """A (1, heads, n, m) tensor as float64, (heads, m, n): columns are tokens."""
    array: Array = tensor[0].detach().transpose(-1, -2).cpu().double().contiguous().numpy()
    return array


def _number(place: str, name: str, value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{place}: {name} is no number but {type(value).__name__}; expected one for the layer."
        ) from None


def _visible(place: str, mask: Any, n: int) -> Mask | None:
    """The additive mask of a layer as [key, query] bool; None if it hides nothing."""
    if mask is None:
        return None
    if mask.ndim != 4 or not mask.is_floating_point() or mask.shape[-1] < n:
        raise InputError(
            f"{place}: a mask of {mask.dtype} and shape {tuple(mask.shape)}; expected 0 and "
            f"large negative numbers, (1, 1, {n}, {n})."
        )
    added = as_columns(mask[..., :n])
    if not np.array_equal(added, np.broadcast_to(added[0], added.shape)):
        raise InputError(f"{place}: its heads have different masks; expected one for the layer.")
    seen = np.broadcast_to(added[0] == 0, (n, n))
    if not np.array_equal(seen, np.broadcast_to(added[0] > HIDDEN, (n, n))):
        raise InputError(
            f"{place}: the mask adds other numbers than 0 to visible logits, a position bias; the "
            "audit does not understand it, since a bias lifts the rank of logits."
        )
    if not seen.any(axis=0).all():
        raise InputError(f"{place}: a query sees no key; expected at least one.")
    return None if seen.all() else np.array(seen)


@dataclass(frozen=True)
class Reproduction:
    """How well the model's attention weights were reproduced."""

    deviation: float = 0.0  # largest difference of a weight from the model's own
    ratio: float = 0.0  # largest difference over its bound; at most 1
    weights: int = 0  # how many were compared

    def with_(self, other: Reproduction) -> Reproduction:
        """Both together."""
        return Reproduction(
            max(self.deviation, other.deviation),
            max(self.ratio, other.ratio),
            self.weights + other.weights,
        )


@contextmanager
def eager_samples(loaded: LoadedModel, n: int) -> Iterator[tuple[Samples, set[str]]]:
    """Collect some columns of each layer's weights while the model runs unobserved.

    Yields what holds, after the run, those of each call whose module returned weights, (heads, n,
    sampled), [key, query], and the names of all modules that ran. Of modules within each other the
    innermost counts.
    """
    samples: Samples = {}
    ran: set[str] = set()
    calls: Counter[str] = Counter()
    chosen = sampled(n)

    def keep(name: str, output: Any) -> None:
        ran.add(name)
        if any(other.startswith(f"{name}.") for other in calls) or not name:
            return
        for part in output if isinstance(output, tuple) else ():
            if getattr(part, "ndim", 0) == 4 and tuple(part.shape[2:]) == (n, n):
                samples[name, calls[name]] = as_columns(part[:, :, chosen])
                calls[name] += 1
                return

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name, module in loaded.model.named_modules()
    ]
    try:
        yield samples, ran
    finally:
        for handle in hooks:
            handle.remove()


def not_audited(loaded: LoadedModel, samples: Samples, ran: set[str]) -> tuple[str, ...]:
    """Name the modules of attention that hold no audited layer: vision towers, cross-attention.

    A module counts as attention by its name or its class's, as far as names tell.
    """
    found: dict[str, Any] = {}
    for name, module in loaded.model.named_modules():
        within = any(name.startswith(f"{other}.") for other in [*found, *(c for c, _ in samples)])
        holds = any(f"{audited}.".startswith(f"{name}.") for audited, _ in samples)
        named = (name or "-", type(module).__name__)
        if any(word.lower().endswith(("attn", "attention")) for word in named) and not (
            within or holds or next(module.parameters(), None) is None
        ):
            found[name] = module
    groups = Counter(
        f"{in_general(name)} ({type(module).__name__}), "
        + ("which shows no weights" if name in ran else "which does not run on text")
        for name, module in found.items()
    )
    return tuple(name if many == 1 else f"{many} of {name}" for name, many in groups.items())


def sampled(n: int) -> npt.NDArray[np.int64]:
    """The queries that are sampled."""
    return np.unique(np.linspace(0, n - 1, SAMPLED).astype(np.int64))


def reproduce(captured: Captured, samples: Samples) -> Reproduction:
    """Compare every weight with what the layer's own attention gave, some with an unobserved run.

    Refused if one differs by more than rounding explains, or rounding might explain anything.
    """
    unobserved = samples.get((captured.module, captured.turn))
    if unobserved is None or captured.own is None:
        raise InputError(
            f"{captured.place}: the model does not return its attention weights when it runs by "
            "itself; expected them, to be reproduced before anything is reported."
        )
    weights, total = captured.weights(), Reproduction()
    for h, head in enumerate(captured.heads):
        P, bound = context_and_bound(head, captured.dtype)
        if not float(bound.sum(axis=0).max()) <= VAGUE:  # nan where the bound overflows
            remedy = "Pass dtype='float64'." if captured.dtype != "float64" else "No dtype helps."
            raise InputError(
                f"{captured.place}, head {h}: logits so large (up to "
                f"{np.abs(head.logits()).max():.1g}) that rounding in {captured.dtype} leaves the "
                f"weights open; nothing would be shown. {remedy}"
            )
        chosen = sampled(P.shape[1])
        pairs = (
            (P, bound, weights[h]),
            (P[:, chosen], bound[:, chosen], unobserved[h]),
        )
        for ours, allowed, theirs in pairs:
            total = total.with_(_compare(ours, allowed, theirs, f"{captured.place}, head {h}"))
    return total


def _compare(ours: Array, bound: Array, theirs: Array, place: str) -> Reproduction:
    difference = np.abs(ours - theirs)
    ratio = float(np.max(difference / bound))
    if not ratio <= 1:
        where = [int(i) for i in np.unravel_index(np.argmax(difference / bound), ours.shape)]
        raise InputError(
            f"{place}: the weights recomputed from its queries and keys differ from the model's "
            f"own by {difference[tuple(where)]:.2e} at [key, query] = {where}, where rounding "
            f"explains {bound[tuple(where)]:.2e}; nothing is reported. The layer does something "
            "to its logits that the audit does not know."
        )
    return Reproduction(float(difference.max()), ratio, difference.size)


def context_and_bound(head: AttentionHead, dtype: str) -> tuple[Array, Array]:
    """The context of a head in float64, and how far a model in `dtype` may be from each weight.

    With u, v and E as in docs/audit.md, where it is derived (the inner products as in Jeannerod &
    Rump 2013), a weight is right to a factor ``e^±B``, ``B = E + log Σ P e^E + (n + 4) v``, apart
    from underflow.
    """
    L, P, mask = head.logits(), head.context(), head.mask
    k, n = head.head_size, head.d
    u = (STORAGES[dtype].eps + FLOAT64.eps) / 2
    v = max(u, (STORAGES["float32"].eps + FLOAT64.eps) / 2)
    E = ((k + 4) * u * abs(head.scale)) * (np.abs(head.W_k).T @ np.abs(head.W_q))
    if head.soft_cap is not None:
        E += 6 * u * np.abs(L)
    top = (L if mask is None else np.where(mask, L, -np.inf)).max(axis=0)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        E += v * (np.abs(L) + np.abs(top - L)) + 4 * v
        factor = np.where(P > 0, np.expm1(E), 0.0)
        rest = np.log1p(np.sum(P * factor, axis=0)) + (n + 4) * v
        bound = P * (factor * np.exp(rest) + np.expm1(rest))  # P (e^(E + rest) - 1)
    return P, bound + 4 * float(np.finfo(np.float32).tiny)
