"""Attention as a model computes it: a softmax of logits whose output multiplies values.

A model runs by itself, in its own eager code; torch shows each of its operations before the next.
Those that lead from a batch of matrix products to a softmax are kept, so that `forms` can read
queries, keys and what was added from them, and a softmax counts as attention when its output, moved
and not changed, is a factor of another product. There is no code for any one architecture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from rankbound.auditing.forms import (
    HIDDEN,
    IDLE,
    MOVES,
    PRODUCTS,
    SUMS,
    Form,
    Node,
    Unreadable,
    form_of,
)
from rankbound.auditing.models import require
from rankbound.errors import InputError

SOFTMAXES = frozenset(("_softmax", "_safe_softmax", "softmax"))
KNOWN = PRODUCTS | SOFTMAXES | MOVES | SUMS | IDLE
FUSED = "scaled_dot_product"  # in the name of a kernel that shows no weights
DEEPEST = 48  # operations from a product to its softmax; beyond them a tensor is no logits
UNMET = "whose softmax gives no weights to values"
NO_PRODUCTS = "whose softmax is of no products of queries with keys"
PENDING = 8  # softmaxes whose values are awaited
Call = tuple[str, int]  # a module's name in the model, and how often it was called before


@dataclass(eq=False)
class Softmax:
    """A softmax, as a module computed it."""

    module: str
    logits: Node | None  # None if they do not come from products of matrices
    dim: int
    weights: Any  # torch.Tensor, its output, as the model goes on with it
    changed: str = ""  # what was done to the weights before they met values

    def form(self) -> Form:
        """The form of its logits; `Unreadable` if they have none."""
        if self.changed:
            raise Unreadable(f"changes the weights after the softmax ({self.changed})")
        if self.logits is None:
            raise Unreadable("has logits that are no products of a query with a key")
        return form_of(self.logits)


Observer = Callable[[Call, Softmax], None]


@contextmanager
def traced(
    model: Any, observe: Observer, beside: dict[str, str] | None = None
) -> Iterator[set[str]]:
    """Show every attention of a model to `observe` while it runs, one at a time.

    Yields the names of the modules that ran, complete after the run. `beside` collects those with
    another softmax: of products, and no values are met; or of no products, and values are.
    """
    running: list[str] = []
    ran: set[str] = set()
    names = {
        name: module
        for name, module in model.named_modules()
        if name == "" or next(module.parameters(), None) is not None
    }

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            running.append(name)
            ran.add(name)

        return hook

    def leave(*_: Any) -> None:
        running.pop()

    handles = []
    for name, module in names.items():
        handles.append(module.register_forward_pre_hook(enter(name)))
        handles.append(module.register_forward_hook(leave, always_call=True))
    tracer = _tracer()(lambda: running[-1] if running else "", observe, _linear_weights(model))
    try:
        with tracer:
            yield ran
        if beside is not None:
            beside.update(tracer.others | dict.fromkeys(_places(tracer.pending.values()), UNMET))
    finally:
        for handle in handles:
            handle.remove()


@cache
def _tracer() -> Any:
    """The class of what follows torch's operations; torch is imported when it is asked for."""
    torch = require("torch", "an audit")
    modes = require("torch.utils._python_dispatch", "an audit")
    weak = require("torch.utils.weak", "an audit")

    class Tracer(modes.TorchDispatchMode):  # type: ignore[misc, name-defined]
        def __init__(
            self, place: Callable[[], str], observe: Observer, linear: frozenset[int]
        ) -> None:
            super().__init__()
            self.place, self.observe, self.linear = place, observe, linear
            self.nodes: Any = weak.WeakTensorKeyDictionary()
            self.pending: dict[int, Softmax] = {}
            self.others: dict[str, str] = {}  # modules with another softmax, and which
            self.calls: Counter[str] = Counter()
            self.count = 0

        def __torch_dispatch__(
            self, function: Any, types: Any, arguments: Any = (), options: Any = None
        ) -> Any:
            options = options or {}
            written = function._schema.name.partition("::")[2]
            name = written.rstrip("_") if written.endswith("_") else written
            if name in PRODUCTS:
                self.meet(arguments[-2:])
            elif FUSED in name:
                raise _fused(self.place())
            elif name not in KNOWN:
                return function(*arguments, **options)
            given = self.given(arguments)
            nodes = list(_nodes(given))
            before: Any = arguments[0] if arguments else None
            if written != name and nodes and (name in IDLE or nodes[0].roots):
                before = before.clone()  # it is written over
            output = function(*arguments, **options)
            if name in PRODUCTS:
                if not any(_memory(factor) in self.linear for factor in arguments[-2:]):
                    factors = (*given[:-2], *arguments[-2:])
                    self.keep(output, name, function, factors, options)
            elif name in SOFTMAXES:
                self.soften(output, arguments, given)
            elif nodes and name in IDLE:
                self.idle(name, function, (before, *arguments[1:]), given, output, nodes)
            elif name in SUMS and any(node.roots for node in nodes):
                self.changed(name, (before, *arguments[1:]), given, output)
            elif nodes:
                self.follow(name, function, given, options, output, nodes)
            return output

        def given(self, arguments: Any) -> tuple[Any, ...]:
            """Arguments, with nodes in the place of their tensors."""

            def one(value: Any) -> Any:
                return self.nodes.get(value, value) if isinstance(value, torch.Tensor) else value

            return tuple(
                [one(part) for part in value] if isinstance(value, (list, tuple)) else one(value)
                for value in arguments
            )

        def keep(
            self, output: Any, name: str, function: Any, given: Any, options: Any, **more: Any
        ) -> None:
            dtype = str(output.dtype).removeprefix("torch.")
            node = Node(name, function, given, options, tuple(output.shape), dtype, **more)
            self.nodes[output] = node

        def soften(self, output: Any, arguments: Any, given: Any) -> None:
            logits = given[0] if isinstance(given[0], Node) else None
            self.count += 1
            if len(self.pending) >= PENDING:
                gone = _places([self.pending.pop(next(iter(self.pending)))])
                self.others |= dict.fromkeys(gone, UNMET)
            dim = int(arguments[1]) % max(output.ndim, 1)
            self.pending[self.count] = Softmax(self.place(), logits, dim, output)
            self.keep(output, "softmax", None, (), {}, roots=(self.count,))

        def meet(self, factors: Any) -> None:
            """A product with values: whatever softmax gives a factor is attention."""
            for factor in factors:
                node = self.nodes.get(factor)
                for root in node.roots if node is not None else ():
                    softmax = self.pending.pop(root, None)
                    if softmax is not None and softmax.logits is None:
                        self.others[softmax.module] = NO_PRODUCTS
                    elif softmax is not None:
                        softmax.changed = node.changed
                        call = softmax.module, self.calls[softmax.module]
                        self.calls[softmax.module] += 1
                        self.observe(call, softmax)

        def changed(self, name: str, tensors: Any, given: Any, output: Any) -> None:
            """Attention weights on which something was done, maybe nothing that tells."""
            pairs = list(zip(tensors, given, strict=True))
            weights = [node for _, node in pairs if isinstance(node, Node) and node.roots]
            same = any(node is weights[0] and _same(output, tensor) for tensor, node in pairs)
            told = weights[0].changed or ("" if same and len(weights) == 1 else name)
            self.keep(output, name, None, (), {}, roots=_roots(weights), changed=told)

        def idle(
            self, name: str, function: Any, tensors: Any, given: Any, output: Any, nodes: Any
        ) -> None:
            """What may leave its argument as it is; if it does it is no operation."""
            first = output[0] if isinstance(output, tuple) else output
            for tensor, node in zip(tensors[:2], given[:2], strict=False):
                if isinstance(node, Node) and _same(first, tensor):
                    self.nodes[first] = node
                    return
            told = nodes[0].changed or name
            self.keep(first, name, function, given, {}, roots=_roots(nodes), changed=told)

        def follow(
            self, name: str, function: Any, given: Any, options: Any, output: Any, nodes: Any
        ) -> None:
            depth = 1 + max(node.depth for node in nodes)
            if depth > DEEPEST:
                return
            roots, told = _roots(nodes), next((n.changed for n in nodes if n.changed), "")
            for item, part in enumerate(output if isinstance(output, (list, tuple)) else [output]):
                at = None if part is output else item
                more = {"depth": depth, "roots": roots, "changed": told, "item": at}
                self.keep(part, name, function, () if roots else given, options, **more)

    return Tracer


def _memory(tensor: Any) -> int:
    return int(tensor.untyped_storage().data_ptr())


def _linear_weights(model: Any) -> frozenset[int]:
    """Where the weights of linear layers lie: a product with one is no product of queries and keys.

    torch computes it as a batch of products where its input is no contiguous matrix.
    """
    linear = require("torch", "an audit").nn.Linear
    return frozenset(_memory(m.weight) for m in model.modules() if isinstance(m, linear))


def _fused(place: str) -> Exception:
    return InputError(
        f"{place}: computes attention in one kernel that shows no weights; expected a softmax. "
        "Load the model with attn_implementation='eager'."
    )


def _nodes(given: Any) -> Iterator[Node]:
    for value in given:
        if isinstance(value, Node):
            yield value
        elif isinstance(value, list):
            yield from (part for part in value if isinstance(part, Node))


def _roots(nodes: Iterable[Node]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(root for node in nodes for root in node.roots))


def _places(softmaxes: Iterable[Softmax]) -> set[str]:
    """The modules whose softmax is one of products."""
    return {softmax.module for softmax in softmaxes if softmax.logits is not None}


def _same(output: Any, tensor: Any) -> bool:
    """Whether an operation left a tensor alone, apart from entries that are hidden anyway."""
    if getattr(tensor, "shape", None) != output.shape:
        return False
    hidden = (tensor <= HIDDEN) & (output <= HIDDEN)
    return bool(((output == tensor) | hidden).all())
