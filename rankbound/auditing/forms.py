"""Logits as products of queries and keys, and what was added: read from the operations of a model.

A node is a tensor that a model computed from a batch of matrix products (`bmm`) by operations that
are understood: views, casts, concatenations, scales, sums, masks, a cap. Its form says of each
entry which entries of which products are summed in it, with what coefficient, what is added and
whether it is hidden. Where the product's row depends on the query only and its column on the key
only, its factors are queries and keys of a head; the rest is a bias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.auditing.models import require

HIDDEN = -1e4  # what is added to a hidden logit is at most this
ABSENT = -1  # the index of an entry that holds no product
# Views and copies: what they do to entries they do to indices.
_MOVES = """_reshape_alias _unsafe_view alias cat clone constant_pad_nd contiguous detach diagonal
expand flip gather index index_select lift_fresh movedim narrow permute repeat reshape roll select
slice split split_with_sizes squeeze stack t transpose unbind unflatten unfold unsqueeze view
_to_copy copy"""
# What may change nothing, as a clamp far from all entries: then it is no operation.
_IDLE = "clamp clamp_min clamp_max maximum minimum nan_to_num dropout native_dropout"
MOVES, IDLE = frozenset(_MOVES.split()), frozenset(_IDLE.split())
SUMS = frozenset(("add", "sub", "rsub", "mul", "div", "neg", "masked_fill", "where", "tanh"))
PRODUCTS = frozenset(("bmm", "baddbmm"))


class Unreadable(Exception):
    """Logits of another form; the message says what is done to them."""


@dataclass(eq=False)
class Node:
    """A tensor and the operation that gave it; arguments that are nodes stand for their tensors."""

    name: str  # of the operation, as aten names it
    function: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    shape: tuple[int, ...]
    dtype: str
    depth: int = 0
    roots: tuple[int, ...] = ()  # the softmaxes whose outputs these are, moved only
    changed: str = ""  # or what was done to it
    item: int | None = None  # of an operation that gives several


@dataclass(frozen=True, eq=False)
class Term:
    """A product's entries, moved and scaled: coefficient · (left @ right)[batch, row, column]."""

    product: Node
    maps: tuple[Any, Any, Any]  # of batch, row and column, each of the form's shape
    coefficient: Any = 1.0  # a number, or a tensor of the form's shape

    def moved(self, move: Callable[[Any, float], Any]) -> Term:
        """Its entries elsewhere; `move` takes a tensor and what stands in new entries."""
        maps = tuple(move(index, ABSENT) for index in self.maps)
        scale = self.coefficient
        return Term(
            self.product,
            (maps[0], maps[1], maps[2]),
            scale if isinstance(scale, float) else move(scale, 0.0),
        )

    def times(self, factor: Any) -> Term:
        """Scaled by a number or a tensor of the form's shape."""
        return replace(self, coefficient=self.coefficient * factor)


@dataclass(frozen=True, eq=False)
class Form:
    """The sum of terms, capped or not, and a bias; some of its entries hidden."""

    shape: tuple[int, ...]
    terms: tuple[Term, ...] = ()
    bias: Any = None  # a tensor of this shape, in float64; 0 where hidden
    hidden: Any = None  # a tensor of this shape, bool
    cap: float | None = None  # then it is cap · tanh(terms) + bias
    largest: float = 0.0  # of the sizes of what was added to visible entries, summed
    steps: int = 0  # how many operations rounded
    dtypes: frozenset[str] = field(default_factory=frozenset)  # of the products' factors

    def moved(self, move: Callable[[Any, float], Any], padding: float = 0.0) -> Form:
        """Its entries elsewhere; new ones hold `padding` and no product."""
        bias = None if self.bias is None else move(self.bias, padding)
        if bias is None and padding:
            torch = require("torch", "an audit")
            bias = move(torch.zeros((), dtype=torch.float64).expand(self.shape), padding)
        hidden = None if self.hidden is None else move(self.hidden, 0.0)
        terms = tuple(term.moved(move) for term in self.terms)
        some = next(t for t in (bias, hidden, *(term.maps[0] for term in terms)) if t is not None)
        return replace(self, shape=tuple(some.shape), terms=terms, bias=bias, hidden=hidden)

    def expanded(self, shape: tuple[int, ...]) -> Form:
        """Broadcast to a shape."""
        if shape == self.shape or not (self.terms or self.bias is not None):
            return replace(self, shape=shape)
        return self.moved(lambda tensor, _: tensor.expand(shape))


def _numbers(given: Any) -> Any:
    """A tensor or a number as a tensor in float64."""
    torch = require("torch", "an audit")
    if isinstance(given, torch.Tensor):
        return given.detach().cpu().double()
    return torch.tensor(given, dtype=torch.float64)


def form_of(node: Any, shape: tuple[int, ...] | None = None) -> Form:
    """The form of a node, of a tensor or of a number; `Unreadable` if it has none."""
    found = _evaluated(node) if isinstance(node, Node) else _constant(node)
    return found if shape is None else found.expanded(shape)


def _constant(given: Any) -> Form:
    torch = require("torch", "an audit")
    values = _numbers(given)
    hidden = None
    if values.ndim and values.shape[-1] > 1:  # what is one number for each query hides no key
        low = values <= HIDDEN
        if bool(low.any()):
            hidden = low
            values = torch.where(low, 0.0, values)
    largest = float(values.abs().max()) if values.numel() else 0.0
    return Form(tuple(values.shape), (), values, hidden, largest=largest)


def _evaluated(node: Node) -> Form:
    if node.roots:
        raise Unreadable("takes the softmax of another softmax")
    if node.changed:
        raise Unreadable(f"applies {node.changed} to its logits")
    try:
        if node.name in PRODUCTS:
            found = _product(node)
        elif node.name in MOVES:
            found = _moved(node)
        else:
            found = _STEPS[node.name](node)
    except (IndexError, TypeError, ValueError, RuntimeError, KeyError) as error:
        raise Unreadable(f"applies {node.name} to its logits ({type(error).__name__})") from error
    return found.expanded(node.shape)


def _product(node: Node) -> Form:
    torch = require("torch", "an audit")
    *added, left, right = node.arguments
    batch, rows, columns = shape = (left.shape[0], left.shape[1], right.shape[2])
    maps = (
        torch.arange(batch)[:, None, None].expand(shape),
        torch.arange(rows)[None, :, None].expand(shape),
        torch.arange(columns)[None, None, :].expand(shape),
    )
    given = (str(left.dtype), str(right.dtype))
    term = Term(node, maps)
    found = Form(shape, (term,), dtypes=frozenset(d.removeprefix("torch.") for d in given))
    if not added:
        return found
    alpha, beta = (float(node.options.get(name, 1)) for name in ("alpha", "beta"))
    found = _scaled(found, alpha)
    if beta == 0:
        return found
    return _sum(found, _scaled(form_of(added[0], shape), beta))


def _moved(node: Node) -> Form:
    first, *rest = node.arguments
    if node.name in ("_to_copy", "clone", "contiguous", "alias", "detach", "lift_fresh"):
        rounds = node.name == "_to_copy"
        inner = form_of(first)
        return replace(inner, steps=inner.steps + rounds)
    if node.name == "copy":
        return form_of(rest[0], node.shape)
    if node.name in ("cat", "stack"):
        return _joined(node, [form_of(part) for part in first])
    inner = form_of(first)
    rest = [part.cpu() if hasattr(part, "cpu") else part for part in rest]
    if node.name == "index":
        rest = [[part if part is None else part.cpu() for part in rest[0]]]

    def move(tensor: Any, padding: float) -> Any:
        if node.name == "constant_pad_nd":
            return node.function(tensor, rest[0], padding)
        if node.name in ("view", "_unsafe_view", "_reshape_alias"):
            return tensor.reshape(node.shape)
        given = node.function(tensor, *rest, **node.options)
        return given if node.item is None else given[node.item]

    pad = node.name == "constant_pad_nd"
    return inner.moved(move, float(rest[1]) if pad and len(rest) > 1 else 0.0)


def _joined(node: Node, parts: list[Form]) -> Form:
    """Forms side by side; a term of one has no entries in the others."""
    torch = require("torch", "an audit")

    def join(tensors: list[Any]) -> Any:
        return node.function(tensors, *node.arguments[1:], **node.options)

    terms = []
    for at, part in enumerate(parts):
        if part.cap is not None:
            raise Unreadable("joins capped logits with others")
        for term in part.terms:
            absent = [torch.full(other.shape, ABSENT) for other in parts]
            maps = [join([*absent[:at], index, *absent[at + 1 :]]) for index in term.maps]
            scale = term.coefficient
            if not isinstance(scale, float):
                zeros = [torch.zeros(other.shape, dtype=torch.float64) for other in parts]
                scale = join([*zeros[:at], scale, *zeros[at + 1 :]])
            terms.append(Term(term.product, (maps[0], maps[1], maps[2]), scale))
    zero = torch.zeros((), dtype=torch.float64)
    bias = [zero.expand(p.shape) if p.bias is None else p.bias for p in parts]
    hidden = [zero.bool().expand(p.shape) if p.hidden is None else p.hidden for p in parts]
    return Form(
        node.shape,
        tuple(terms),
        join(bias),
        join(hidden),
        largest=max(part.largest for part in parts),
        steps=max(part.steps for part in parts),
        dtypes=frozenset().union(*(part.dtypes for part in parts)),
    )


def _scaled(form: Form, factor: Any) -> Form:
    """A form times a number, or a tensor that broadcasts with it."""
    torch = require("torch", "an audit")
    if not isinstance(factor, float):
        shape = tuple(torch.broadcast_shapes(form.shape, factor.shape))
        form, factor = form.expanded(shape), factor.expand(shape)
    if form.cap is not None and not (isinstance(factor, float) and factor > 0):
        raise Unreadable("scales capped logits by more than a number")
    top = abs(factor) if isinstance(factor, float) else float(factor.abs().max())
    capped = form.cap is not None
    return replace(
        form,
        terms=form.terms if capped else tuple(term.times(factor) for term in form.terms),
        cap=form.cap * factor if form.cap is not None else None,
        bias=None if form.bias is None else form.bias * factor,
        largest=form.largest * top,
        steps=form.steps + 1,
    )


def _sum(left: Form, right: Form) -> Form:
    torch = require("torch", "an audit")
    if any(one.cap is not None and two.terms for one, two in ((left, right), (right, left))):
        raise Unreadable("adds other products to capped logits")
    shape = tuple(torch.broadcast_shapes(left.shape, right.shape))
    parts = left.expanded(shape), right.expanded(shape)
    biases = [part.bias for part in parts if part.bias is not None]
    masks = [part.hidden for part in parts if part.hidden is not None]
    caps = [part.cap for part in parts if part.cap is not None]
    return Form(
        shape,
        (*parts[0].terms, *parts[1].terms),
        biases[0] + biases[1] if len(biases) == 2 else next(iter(biases), None),
        masks[0] | masks[1] if len(masks) == 2 else next(iter(masks), None),
        caps[0] if caps else None,
        parts[0].largest + parts[1].largest,
        max(part.steps for part in parts) + 1,
        parts[0].dtypes | parts[1].dtypes,
    )


def _number(given: Any) -> Any:
    """A factor as a number, where all its entries are the same, or as a tensor in float64."""
    if isinstance(given, Node):
        raise Unreadable("multiplies logits with one another")
    values = _numbers(given)
    return float(values) if values.numel() == 1 else values


def _multiplied(node: Node) -> Form:
    left, right = node.arguments[:2]
    if not isinstance(left, Node):
        left, right = right, left
    return _scaled(form_of(left), _number(right))


def _divided(node: Node) -> Form:
    divided, by = node.arguments[:2]
    if not isinstance(divided, Node) or node.options.get("rounding_mode") is not None:
        raise Unreadable("divides by its logits")
    return _scaled(form_of(divided), 1.0 / _number(by))


def _added(node: Node) -> Form:
    left, right = node.arguments[:2]
    alpha = float(node.options.get("alpha", node.arguments[2] if len(node.arguments) > 2 else 1))
    if node.name == "rsub":
        left, right = right, left
    sign = 1.0 if node.name == "add" else -1.0
    if isinstance(right, Node):
        return _sum(form_of(left), _scaled(form_of(right), sign * alpha))
    torch = require("torch", "an audit")
    if isinstance(right, torch.Tensor) and right.dtype == torch.bool:
        right = right.double()
    return _sum(form_of(left), form_of(sign * alpha * right))


def _negated(node: Node) -> Form:
    return _scaled(form_of(node.arguments[0]), -1.0)


def _filled(node: Node) -> Form:
    inner, where, value = node.arguments[:3]
    return _overwritten(form_of(inner), where, value)


def _chosen(node: Node) -> Form:
    where, one, other = node.arguments[:3]
    if isinstance(one, Node) and isinstance(other, Node):
        raise Unreadable("chooses between two kinds of logits")
    if isinstance(one, Node):
        return _overwritten(form_of(one), ~where, other)
    return _overwritten(form_of(other), where, one)


def _overwritten(form: Form, where: Any, value: Any) -> Form:
    """A form with some entries replaced by numbers; low ones are hidden."""
    torch = require("torch", "an audit")
    where, value = where.cpu(), _numbers(value)
    shape = tuple(torch.broadcast_shapes(form.shape, where.shape, value.shape))
    form, where = form.expanded(shape), where.expand(shape)
    chosen = value.expand(shape)
    low = where & (chosen <= HIDDEN)
    hidden = low if form.hidden is None else torch.where(where, low, form.hidden)
    written = where & ~low
    if bool(written.any()):
        if form.cap is not None:
            raise Unreadable("overwrites capped logits")
        bias = torch.zeros((), dtype=torch.float64) if form.bias is None else form.bias
        form = replace(
            form,
            terms=tuple(
                term.moved(lambda tensor, absent: torch.where(written, absent, tensor))
                for term in form.terms
            ),
            bias=torch.where(written, chosen, bias),
            largest=form.largest + float(chosen[written].abs().max()),
        )
    return replace(form, shape=shape, hidden=hidden)


def _capped(node: Node) -> Form:
    inner = form_of(node.arguments[0])
    if inner.cap is not None or inner.bias is not None or inner.hidden is not None:
        raise Unreadable("caps logits to which something was added")
    return replace(inner, cap=1.0, steps=inner.steps + 1)


_STEPS: dict[str, Callable[[Node], Form]] = {
    "mul": _multiplied,
    "div": _divided,
    "add": _added,
    "sub": _added,
    "rsub": _added,
    "neg": _negated,
    "masked_fill": _filled,
    "where": _chosen,
    "tanh": _capped,
}


@dataclass(frozen=True, eq=False)
class Layer:
    """The logits of an attention layer, one head for each leading index of its softmax."""

    queries: Array  # (heads, k, n)
    keys: Array  # (heads, k, m)
    scale: float
    cap: float | None
    biases: tuple[Array | None, ...]  # per head, (m, n); 0 where hidden
    masks: tuple[Any, ...]  # per head, bool (m, n), True = visible; None hides nothing
    steps: int  # how many operations rounded between the products and the softmax
    added: float  # what one unit of rounding may add to a logit beside that of its product
    dtype: str  # the coarsest of the products' factors
    real: tuple[Any, Any]  # bool: which queries and keys of the softmax these are, without padding


@dataclass(frozen=True, eq=False)
class RealTokens:
    """Which tokens of an input are real, where some are padding."""

    tokens: Any  # bool, one per token; None: all that are queries of the layer
    queries: bool  # whether the layer's queries are known to be these tokens


def read_layer(form: Form, dim: int, given: RealTokens | None = None) -> Layer:
    """Queries, keys and biases of logits whose softmax is taken over `dim`, without padding."""
    form = form.moved(lambda tensor, _: tensor.transpose(dim, -1))
    if len(form.shape) < 2:
        raise Unreadable("has logits of one query only")
    form, real = _without_padding(form, given)
    terms = [_where_visible(term, form.hidden) for term in form.terms]
    heads = [_factors(term) for term in terms]
    split = [found for found in heads if found is not None]
    if not split:
        raise Unreadable(
            "has logits that are no products of a query with a key"
            if form.terms
            else "has logits without products"
        )
    split = _of_one_query(split)
    scales = {scale for _, _, scale in split}
    one = scales.pop() if len(scales) == 1 else 1.0
    cap = form.cap
    queries = np.concatenate([q * (1.0 if one == c else c) for q, _, c in split], axis=1)
    keys = np.concatenate([k for _, k, _ in split], axis=1)
    rest = [term for term, found in zip(terms, heads, strict=True) if found is None]
    if cap is not None and rest:
        raise Unreadable("caps logits that are no products of a query with a key")
    bias, most = form.bias, 0.0
    for term in rest:
        values, sizes = _values(term)
        bias = values if bias is None else bias + values
        most += (term.product.arguments[-1].shape[1] + 4) * sizes
    lead = int(np.prod(form.shape[:-2], dtype=np.int64))
    hidden = _per_head(form.hidden, form.shape, lead)
    added = _per_head(bias, form.shape, lead)
    masks, biases = _masks_and_biases(hidden, added, lead)
    coarsest = max(form.dtypes, key=["float64", "float32", "float16", "bfloat16"].index)
    return Layer(
        queries,
        keys,
        one * (1.0 if cap is None else cap),
        cap,
        biases,
        masks,
        form.steps,
        form.steps * form.largest + most,
        coarsest,
        real,
    )


def _without_padding(form: Form, given: RealTokens | None) -> tuple[Form, tuple[Any, Any]]:
    """The logits of real queries, at the keys that some of them sees; and which these are.

    Queries are the tokens if the layer hides from the real ones every token that is not.
    """
    torch = require("torch", "an audit")
    n, m = form.shape[-2:]
    real = np.ones(n, bool), np.ones(m, bool)
    if given is None:
        return form, real
    tokens = real[0] if given.tokens is None else given.tokens
    if len(tokens) != n:
        return form, real  # these queries are something else
    seen = torch.ones(m, dtype=torch.bool)
    if form.hidden is not None:
        visible = ~form.hidden[..., torch.as_tensor(tokens), :]
        seen = visible.reshape(-1, m).any(dim=0)
    unseen = ~seen.numpy()
    if not given.queries and not (m >= n and unseen[:n][~tokens].all()):
        return form, real
    real = tokens, ~unseen
    rows, columns = (torch.as_tensor(np.flatnonzero(part)) for part in real)
    return form.moved(lambda t, _: t.index_select(-2, rows).index_select(-1, columns)), real


def _where_visible(term: Term, hidden: Any) -> Term:
    """A term whose coefficient is one number on all visible entries has that coefficient."""
    if isinstance(term.coefficient, float) or hidden is None:
        return term
    seen = term.coefficient[~hidden]
    one = bool(seen.numel()) and bool((seen == seen[0]).all())
    return replace(term, coefficient=float(seen[0])) if one else term


def _constant_along(tensor: Any, dim: int) -> bool:
    if tensor.stride(dim) == 0 or tensor.shape[dim] == 1:
        return True
    return bool((tensor == tensor.select(dim, 0).unsqueeze(dim)).all())


Factors = tuple[Array, Array, float]  # queries and keys, (heads, k, tokens), and a scale


def _factors(term: Term) -> Factors | None:
    """Queries, keys (heads, k, tokens) and a scale; None if no such factors give the term."""
    batch, row, column = term.maps
    shape = batch.shape
    there = batch >= 0 if batch.stride(-1) else batch[..., :1] >= 0
    if not _constant_along(there, -2):
        return None
    seen = there[..., 0, :].expand((*shape[:-2], shape[-1])).reshape(-1, shape[-1])
    if not bool((seen == seen[0]).all()) or not bool(seen.any()):
        return None
    kept = seen[0].nonzero()[:, 0]
    whole = len(kept) == shape[-1]
    if not whole:
        batch, row, column = (index.index_select(-1, kept) for index in term.maps)
    if not (_constant_along(batch, -1) and _constant_along(batch, -2)):
        return None
    left, right = term.product.arguments[-2:]
    if _constant_along(row, -1) and _constant_along(column, -2):
        of_queries, of_keys, turned = row[..., 0], column[..., 0, :], False
    elif _constant_along(column, -1) and _constant_along(row, -2):
        of_queries, of_keys, turned = column[..., 0], row[..., 0, :], True
    else:
        return None
    tables = [_table(left), _table(right.transpose(-1, -2))]  # (batch, tokens, k)
    if turned:
        tables = tables[::-1]
    heads = batch[..., 0, 0].reshape(-1).numpy()
    at_queries = of_queries.reshape(len(heads), -1).numpy()
    at_keys = of_keys.reshape(len(heads), -1).numpy()
    queries = tables[0][heads[:, None], at_queries].swapaxes(-1, -2)
    keys = np.zeros((len(heads), tables[1].shape[-1], shape[-1]))
    keys[..., kept.numpy()] = tables[1][heads[:, None], at_keys].swapaxes(-1, -2)
    scale = term.coefficient
    if isinstance(scale, float):
        return queries, keys, scale
    scale = scale if whole else scale.index_select(-1, kept)
    if _constant_along(scale, -1):
        queries = queries * scale[..., 0].reshape(len(heads), 1, -1).numpy()
    elif _constant_along(scale, -2):
        factor = scale[..., 0, :].reshape(len(heads), 1, -1).numpy()
        keys[..., kept.numpy()] *= factor
    else:
        return None
    return queries, keys, 1.0


def _of_one_query(split: list[Factors]) -> list[Factors]:
    """Products of the same queries with keys in different places are one product."""
    found: list[Factors] = []
    for queries, keys, scale in split:
        for at, (other, seen, factor) in enumerate(found):
            apart = not (keys.any(axis=(0, 1)) & seen.any(axis=(0, 1))).any()
            if apart and scale == factor and np.array_equal(queries, other):
                found[at] = (queries, keys + seen, scale)
                break
        else:
            found.append((queries, keys, scale))
    return found


def _table(factor: Any) -> Array:
    table: Array = factor.detach().cpu().double().numpy()
    return table


def _values(term: Term) -> tuple[Any, float]:
    """The numbers of a term in float64, and the largest sum of the sizes of their products."""
    torch = require("torch", "an audit")
    left, right = (part.detach().cpu().double() for part in term.product.arguments[-2:])
    there = term.maps[0] >= 0
    at = tuple(index.clamp(min=0) for index in term.maps)
    factor = term.coefficient
    values = torch.where(there, torch.bmm(left, right)[at], 0.0) * factor
    sizes = torch.where(there, torch.bmm(left.abs(), right.abs())[at], 0.0) * (
        abs(factor) if isinstance(factor, float) else factor.abs()
    )
    return values, float(sizes.max())


def _per_head(tensor: Any, shape: tuple[int, ...], lead: int) -> list[Any]:
    """What belongs to each head, [key, query]; the same object where it is the same for all."""
    if tensor is None:
        return [None] * lead
    tensor = tensor.expand(shape)
    axes = range(len(shape) - 2)
    if all(tensor.stride(axis) == 0 or shape[axis] == 1 for axis in axes):
        return [tensor[(0,) * len(axes)].numpy().T] * lead
    flat = tensor.reshape(lead, *shape[-2:])
    found: list[Any] = []
    for part in flat:
        array = part.numpy().T
        same = found and np.array_equal(found[-1], array)
        found.append(found[-1] if same else array)
    return found


def _masks_and_biases(
    hidden: list[Any], added: list[Any], heads: int
) -> tuple[tuple[Any, ...], tuple[Array | None, ...]]:
    """A mask that hides nothing is None, and so is a bias that is one number for each query."""
    masks: list[Any] = []
    biases: list[Array | None] = []
    for h in range(heads):
        if h and hidden[h] is hidden[h - 1] and added[h] is added[h - 1]:
            masks.append(masks[-1])
            biases.append(biases[-1])
            continue
        same = h and hidden[h] is hidden[h - 1]
        if same:
            masks.append(masks[-1])
        elif hidden[h] is None or not hidden[h].any():
            masks.append(None)
        else:
            visible = ~hidden[h]
            visible.flags.writeable = False
            if not visible.any(axis=0).all():
                raise Unreadable(
                    "has a query that sees no key, and no attention_mask says that it is padding"
                )
            masks.append(visible)
        biases.append(_bias(added[h], masks[-1]))
    return tuple(masks), tuple(biases)


def _bias(added: Any, mask: Any) -> Array | None:
    if added is None:
        return None
    some = 0 if mask is None else mask.argmax(axis=0)  # a key that a query sees
    differs = added != added[some, np.arange(added.shape[1])]
    if mask is not None:
        differs &= mask
    if not differs.any():
        return None
    shown: Array = np.array(added) if mask is None else np.where(mask, added, 0.0)
    return shown
