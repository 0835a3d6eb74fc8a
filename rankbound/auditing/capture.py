"""Queries and keys of any model that transformers runs, recorded as attention is computed.

The model runs by itself, in its own eager code, and torch's operations are followed from a product
to the softmax that it feeds (`tracing`); queries, keys, masks and biases are read from them
(`forms`). What is not understood is refused: a guess would be measured as if it were the model. And
the model's own attention weights must be reproduced from what was read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import FLOAT64, STORAGES, Array
from rankbound.attention.masks import Block, in_blocks
from rankbound.auditing.forms import RealTokens, Unreadable, read_layer
from rankbound.auditing.models import LoadedModel, in_general
from rankbound.auditing.running import Inputs, real_tokens, run
from rankbound.auditing.tracing import Call, Softmax, traced
from rankbound.errors import InputError
from rankbound.measuring.head import BLOCK, RecordedHead, exponentials

SAMPLED = 32  # queries whose weights are kept from a run of the model without any observer
FLOOR = 4 * float(np.finfo(np.float32).tiny)  # what underflow may leave of a weight
VAGUE = 0.5  # a bound on the sum of a query's deviations above which it would show nothing
SUM = 1e-2  # how far from 1 the sum of a query's weights may be, to take them for weights
Samples = dict[Call, Array]  # in the order in which they ran


@dataclass(frozen=True, eq=False)
class Captured:
    """One layer's attention, as the model computed it."""

    layer: int  # its number, as of `layer_numbers`
    module: str  # the name of the layer's module in the model
    turn: int  # how often this module was called before; above 0 where layers share a module
    heads: tuple[RecordedHead, ...]  # on their keys; a mask that hides nothing is None
    key_value_heads: int  # how many heads have keys of their own
    dtype: str  # in which the model computed them
    own: Any  # torch.Tensor, the model's own attention weights, padding included
    real: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]  # its queries and keys, of all of own
    steps: int = 1  # how many operations rounded between the products and the softmax
    added: float = 0.0  # what one unit of rounding may add to a logit beside that of its product

    def weights(self) -> Iterator[Array]:
        """The model's own attention weights, head by head, (m, n), [key, query].

        In memory they lie as the model has them, by queries; half precision becomes float32.
        """
        queries, keys = self.real
        double = self.own.dtype.itemsize == 8
        for h in range(len(self.heads)):
            own = self.own[0, h].detach().cpu()
            array = (own if double else own.float()).numpy().T
            yield array if queries.all() and keys.all() else array[np.ix_(keys, queries)]

    @property
    def place(self) -> str:
        """How an error names the layer."""
        return f"layer {self.layer} ({self.module})"


def layer_numbers(calls: Iterable[Call]) -> dict[Call, int]:
    """The number of each attention layer, by its call, in the order in which they ran.

    It is the first number in the module's name, so that a layer keeps its number in the model
    (layers.4.self_attn is 4 where other layers have no attention); unless two layers shared it, as
    where a module is called twice, or an encoder and a decoder have a layer 0 each: then all are
    counted as they run, from 0.
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
    inputs: Inputs = MappingProxyType({}),
) -> Iterator[None]:
    """Show these attention layers, or all, to `visit` while the model runs once, one at a time.

    The masks of `inputs` say which tokens are padding, and left out. `numbers` are those of the
    calls of an earlier run: `InputError` if another is observed, or one of them is not.
    """
    seen: set[Call] = set()

    def observe(call: Call, softmax: Softmax) -> None:
        if call not in numbers:
            raise InputError(
                f"{call[0]}: attends where it did not before; expected a model that does the same "
                "whenever it runs on the same input."
            )
        seen.add(call)
        if layers is None or numbers[call] in layers:
            visit(_read(numbers[call], call, softmax, real_tokens(loaded, inputs, call[0])))

    with traced(loaded.model, observe):
        yield
    unseen = [call for call in numbers if call not in seen]
    if unseen:
        raise InputError(
            f"{loaded.facts.name}: {len(unseen)} of {len(numbers)} attention layers of "
            f"{loaded.facts.architecture} ({unseen[0][0]}) did not run again; expected a model "
            "that does the same whenever it runs on the same input."
        )


def _read(layer: int, call: Call, softmax: Softmax, given: RealTokens | None) -> Captured:
    place = f"layer {layer} ({call[0]})"
    try:
        found = read_layer(softmax.form(), softmax.dim, given)
    except Unreadable as error:
        raise InputError(
            f"{place}: the layer {error}, which the audit does not understand; expected products "
            "of queries and keys, scaled, capped, masked, and a bias. What else changes the logits "
            "would be measured wrongly."
        ) from None
    if not (np.isfinite(found.queries).all() and np.isfinite(found.keys).all()):
        raise InputError(
            f"{place}: its queries or keys hold inf or nan; expected finite numbers. The weights "
            f"are damaged, or {found.dtype} is too narrow for them."
        )
    if any(bias is not None and not np.isfinite(bias).all() for bias in found.biases):
        raise InputError(
            f"{place}: adds inf or nan to visible logits; expected finite numbers. It may compute "
            "its mask in another dtype than that of dtype=."
        )
    group = _group(found.keys)
    stored = STORAGES[found.dtype]
    head = partial(RecordedHead, scale=found.scale, soft_cap=found.cap, stored=stored)
    distinct, n = {id(mask): mask for mask in found.masks}, found.queries.shape[-1]
    blocks = {name: in_blocks(mask, n, BLOCK) for name, mask in distinct.items()}
    heads = tuple(
        head(queries, found.keys[h - h % group], mask=mask, bias=bias, blocks=blocks[id(mask)])
        for h, (queries, mask, bias) in enumerate(
            zip(found.queries, found.masks, found.biases, strict=True)
        )
    )
    own = softmax.weights.transpose(softmax.dim, -1)
    own = own.reshape(1, len(heads), *own.shape[-2:])
    shared = len(heads) // group
    return Captured(
        layer, *call, heads, shared, found.dtype, own, found.real, found.steps, found.added
    )


def _group(keys: Array) -> int:
    """How many heads in turn have the same keys: the most such that all groups do."""
    heads = len(keys)
    same = [bool(np.array_equal(keys[h], keys[h - 1])) for h in range(1, heads)]
    first = next((h for h, one in enumerate(same, 1) if not one), heads)
    fits = heads % first == 0 and all(one == (h % first != 0) for h, one in enumerate(same, 1))
    return first if fits else 1


def as_columns(tensor: Any) -> Array:
    """A (1, heads, n, m) tensor as float64, (heads, m, n): columns are tokens."""
    array: Array = tensor[0].detach().transpose(-1, -2).cpu().double().contiguous().numpy()
    return array


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


@dataclass(frozen=True, eq=False)
class Attention:
    """Which attention a model computes on an input, from runs before any head is measured."""

    numbers: dict[Call, int]  # of its layers, in the order in which they ran
    samples: Samples  # of the weights that the model returned in a run without any observer
    not_audited: tuple[str, ...]  # other modules of attention, and why


def look(loaded: LoadedModel, inputs: Inputs) -> Attention:
    """Run a model unobserved, then observed, and find out which layers have attention.

    The two runs must give the same output, and every attention weight that the model returns must
    be that of a layer that is observed.
    """
    returned, output = returned_weights(loaded, inputs)
    seen: list[tuple[Call, Array]] = []
    beside: dict[str, str] = {}

    def observe(call: Call, softmax: Softmax) -> None:
        seen.append((call, _sample(softmax.weights.transpose(softmax.dim, -1))))

    with traced(loaded.model, observe, beside) as ran:
        again = run(loaded, inputs)
    model = loaded.facts
    if not _equal(output, again):
        raise InputError(
            f"{model.name}: {model.architecture} gives another output when it runs again; expected "
            "a model whose output its input determines."
        )
    if not seen:
        what = "computes no attention: no softmax of its gives weights to values"
        if beside:
            what = f"has no attention that can be read: {min(beside)}, {beside[min(beside)]}"
        raise InputError(f"{model.name}: {model.architecture} {what}; expected attention layers.")
    samples, left = _matched(seen, returned)
    if left:
        shapes = sorted({part.shape[:2] for part in left})
        raise InputError(
            f"{model.name}: {model.architecture} returns {len(left)} matrices of attention weights "
            f"of (heads, keys) = {', '.join(map(str, shapes))} that are not those of an "
            f"observed softmax; expected all to be among the {len(seen)} that were observed."
        )
    calls = [call for call, _ in seen]
    return Attention(layer_numbers(calls), samples, not_audited(loaded, calls, ran, beside))


def _sample(weights: Any) -> Array:
    """Some queries of attention weights, (heads, m, sampled)."""
    flat = weights.reshape(1, -1, *weights.shape[-2:])
    return as_columns(flat[:, :, sampled(flat.shape[-2])])


def returned_weights(loaded: LoadedModel, inputs: Inputs) -> tuple[list[Array], Any]:
    """Samples of the attention weights that a model's modules return when it runs by itself."""
    found: dict[str, list[Array]] = {}

    def keep(name: str, output: Any) -> None:
        if any(other.startswith(f"{name}.") for other in found) or not name:
            return  # of modules within each other the innermost counts
        parts = [_sample(part) for part in _tensors(output) if _are_weights(part)]
        if parts:
            found.setdefault(name, []).extend(parts)

    def watched(**options: Any) -> Any:
        handles = [
            module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
            for name, module in loaded.model.named_modules()
        ]
        try:
            return run(loaded, inputs, **options)
        finally:
            for handle in handles:
                handle.remove()

    output = watched()
    if not found:  # some return them only where asked to, or the whole model does and no layer
        try:
            asked = watched(output_attentions=True)
        except InputError:
            return [], output
        if not found:
            found[""] = [_sample(part) for part in _tensors(asked) if _are_weights(part)]
    return [part for parts in found.values() for part in parts], output


def _tensors(output: Any) -> Iterator[Any]:
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)):
        for part in output:
            yield from _tensors(part) if isinstance(part, (tuple, list, Mapping)) else (part,)


def _are_weights(part: Any) -> bool:
    """Whether a tensor may be attention weights, by its shape, its signs and its sums."""
    if getattr(part, "ndim", 0) not in (4, 5) or not part.is_floating_point() or not part.numel():
        return False
    if part.shape[-1] < 2 or bool((part < 0).any()):
        return False
    sums = part.sum(dim=-1)
    return bool((sums <= 1 + SUM).all()) and bool((sums > 0).any())


def _matched(seen: list[tuple[Call, Array]], returned: list[Array]) -> tuple[Samples, list[Array]]:
    """To each observed layer the returned weights that are nearest; and what is left of these.

    Left are only weights that sum to 1, or to 0 where padding was left out: what sums to less may
    be something else.
    """
    samples: Samples = {}
    left = []
    for part in returned:
        heads, keys, queries = part.shape
        near = [
            (float(np.abs(own[:, :keys] - part).max()), call)
            for call, own in seen
            if call not in samples
            and (own.shape[0], own.shape[2]) == (heads, queries)
            and own.shape[1] >= keys
        ]
        if near and min(near)[0] <= SUM:
            samples[min(near)[1]] = part
        elif _sum_to_one(part) and not any(
            own.shape == part.shape and np.abs(own - part).max() <= SUM for _, own in seen
        ):
            left.append(part)  # weights of no sink, and not even the same again
    return samples, left


def _sum_to_one(part: Array) -> bool:
    sums = part.sum(axis=1)
    whole = np.abs(sums - 1) <= SUM
    return bool((whole | (sums == 0)).all() and whole.any())


def _equal(one: Any, other: Any) -> bool:
    pairs = zip(_tensors(one), _tensors(other), strict=False)
    return all(
        bool(((a == b) | ((a != a) & (b != b))).all())
        for a, b in pairs
        if getattr(a, "ndim", 0) and getattr(a, "shape", None) == getattr(b, "shape", None)
    )


def not_audited(
    loaded: LoadedModel,
    calls: Iterable[Call],
    ran: set[str],
    beside: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Name the modules of attention that hold no audited layer: vision towers, linear attention.

    A module counts as attention by its name or its class's, as far as names tell; no norm does. So
    does one of those `beside`, with a softmax that is not read.
    """
    found: dict[str, Any] = {}
    audited = {name for name, _ in calls}
    others = {name: why for name, why in beside.items() if name not in audited}
    for name, module in loaded.model.named_modules():
        within = any(name.startswith(f"{other}.") for other in [*found, *audited])
        holds = any(f"{one}.".startswith(f"{name}.") for one in audited)
        named = (name or "-", type(module).__name__)
        if any(word.lower().endswith(("attn", "attention")) for word in named) and not (
            within or holds or "Norm" in named[1] or next(module.parameters(), None) is None
        ):
            found[name] = module
    modules = dict(loaded.model.named_modules())
    for name in others:
        if not any(f"{name}.".startswith(f"{other}.") for other in found):
            found[name] = modules[name]
    groups = Counter(
        f"{in_general(name)} ({type(module).__name__}), " + _why(name, ran, others)
        for name, module in found.items()
    )
    return tuple(name if many == 1 else f"{many} of {name}" for name, many in groups.items())


def _why(name: str, ran: set[str], others: Mapping[str, str]) -> str:
    if name not in ran:
        return "which does not run on this input"
    known = (why for other, why in others.items() if f"{other}.".startswith(f"{name}."))
    return next(known, "which computes no weights by a softmax")


def sampled(n: int) -> npt.NDArray[np.int64]:
    """The queries that are sampled."""
    return np.unique(np.linspace(0, n - 1, SAMPLED).astype(np.int64))


def reproduce(captured: Captured, samples: Samples) -> Reproduction:
    """Compare every weight with the layer's own, some with those returned in an unobserved run.

    Refused if one differs by more than rounding explains, or rounding might explain anything.
    """
    unobserved = samples.get((captured.module, captured.turn))
    total = Reproduction()
    queries, keys = captured.real
    chosen = sampled(len(queries))
    mine = queries[chosen]
    where = np.cumsum(queries)[chosen[mine]] - 1  # of those sampled, among the real ones
    for h, (head, weights) in enumerate(zip(captured.heads, captured.weights(), strict=True)):
        place = f"{captured.place}, head {h}"
        known = contexts_and_bounds(head, captured.dtype, captured.steps, captured.added)
        for block, P, bound in known:
            if not float(bound.sum(axis=0).max()) <= VAGUE:  # nan where the bound overflows
                raise InputError(_vague(captured, head, place))
            numbers = np.arange(head.d)[block.queries]
            total = total.with_(
                _compare(P, bound, weights[:, block.queries], place, block.keys, numbers)
            )
            few = np.flatnonzero((where >= numbers[0]) & (where <= numbers[-1]))
            if unobserved is not None and len(few):
                returned = keys[: unobserved.shape[1]]  # without the weight of a sink
                theirs = unobserved[h][returned][:, np.flatnonzero(mine)[few]]
                at = where[few] - numbers[0]
                total = total.with_(
                    _compare(P[:, at], bound[:, at], theirs, place, block.keys, where[few])
                )
    return total


def _vague(captured: Captured, head: RecordedHead, place: str) -> str:
    remedy = "Pass dtype='float64'." if captured.dtype != "float64" else "No dtype helps."
    return (
        f"{place}: logits so large (up to {np.abs(head.logits()).max():.1g}) that rounding in "
        f"{captured.dtype} leaves the weights open; nothing would be shown. {remedy}"
    )


def _compare(
    ours: Array,
    bound: Array,
    theirs: npt.NDArray[Any],
    place: str,
    keys: slice,
    queries: npt.NDArray[np.int64],
) -> Reproduction:
    """Compare weights of some queries, known at these keys, with a model's own at all keys."""
    first, last, _ = keys.indices(len(theirs))
    found = Reproduction()
    for start, P, allowed, given in (
        (first, ours[: last - first], bound[: last - first], theirs[first:last]),
        (0, 0.0, FLOOR, theirs[:first]),
        (last, 0.0, FLOOR, theirs[last:]),
    ):
        if not given.size:
            continue
        difference = np.abs(P - given)
        share = difference / allowed
        ratio = float(share.max())
        if not ratio <= 1:
            i, j = (int(at) for at in np.unravel_index(np.argmax(share), share.shape))
            explained = np.broadcast_to(allowed, share.shape)[i, j]
            where = [start + i, int(queries[j])]
            raise InputError(f"{place}: {_apart(float(difference[i, j]), explained, where)}")
        found = found.with_(Reproduction(float(difference.max()), ratio, given.size))
    return found


def _apart(difference: float, explained: float, where: list[int]) -> str:
    if not np.isfinite(difference):
        return (
            "the model's own attention weights hold nan; expected numbers, and nothing is "
            "reported. Some models overflow at padding in float64: pass dtype='float32'."
        )
    return (
        "the weights recomputed from its queries and keys differ from the model's own by "
        f"{difference:.2e} at [key, query] = {where}, where rounding explains {explained:.2e}; "
        "nothing is reported. The layer does something to its logits that the audit does not know."
    )


def contexts_and_bounds(
    head: RecordedHead, dtype: str, steps: int = 1, added: float = 0.0
) -> Iterator[tuple[Block, Array, Array]]:
    """The context of a head in float64, and how far a model in `dtype` may be from each weight.

    In blocks of queries at the keys that they see; others have a weight of 0, to within `FLOOR`.
    `steps` and `added` are as of :class:`Captured`. With u, v and E as in docs/audit.md, where it
    is derived (the inner products as in Jeannerod & Rump 2013), a weight is right to a factor
    ``e^±B``, ``B = E + log Σ P e^E + (n + 4) v``, apart from underflow.
    """
    u = (STORAGES[dtype].eps + FLOAT64.eps) / 2
    v = max(u, (STORAGES["float32"].eps + FLOAT64.eps) / 2)
    for block, part in head.parts():
        L = part.logits()
        factor = (head.head_size + 4) * u * abs(head.scale)
        E = ((factor * np.abs(part.W_q)).T @ np.abs(part.W_k)).T
        if head.soft_cap is not None:
            E += 6 * u * np.abs(part.products())
        block.hide(L, -np.inf)
        top, P = exponentials(L)
        P /= P.sum(axis=0)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            rounded = (top + added + 4) - L
            rounded += max(steps, 1) * np.abs(L, out=L)
            rounded *= v
            E += rounded
            excess = np.multiply(P, np.expm1(E, out=E), out=E)
            np.fmax(excess, 0.0, out=excess)  # 0 where P is, whatever the bound of its logit
            rest = np.log1p(excess.sum(axis=0)) + (head.keys + 4) * v
            excess *= np.exp(rest)
            excess += np.multiply(P, np.expm1(rest), out=rounded)  # P (e^(E + rest) - 1)
            excess += FLOOR
        yield block, P, excess
