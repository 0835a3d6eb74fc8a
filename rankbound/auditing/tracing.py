"""Attention as a model computes it: a softmax of logits whose output multiplies values.

A model runs by itself, in its own eager code; torch shows each of its operations before the next.
Those that lead from a batch of matrix products to a softmax are kept, so that `forms` can read
queries, keys and what was added from them, and a softmax counts as attention when its output, moved
and not changed, is a factor of another product. There is no code for any one architecture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from rankbound.auditing.forms import (
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

SOFTMAXES = frozenset(("_softmax", "_safe_softmax", "softmax"))
FUSED = "scaled_dot_product"  # in the name of a kernel that shows no weights
DEEPEST = 48  # operations from a product to its softmax; beyond them a tensor is no logits
PENDING = 8  # softmaxes whose values are awaited
Call = tuple[str, int]  # a module's name in the model, and how often it was called before


@dataclass(eq=False)
class Softmax:
    """A softmax, as a module computed it."""

    module: str
    logits: Node | None  # None if they do not come from a product in a way that is understood
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
def traced(model: Any, observe: Observer, beside: set[str] | None = None) -> Iterator[set[str]]:
    """Show every attention of a model to `observe` while it runs, one at a time.

    Yields the names of the modules that ran, complete after the run. `beside` collects those whose
    softmax of products met no values.
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
    tracer = _tracer()(lambda: running[-1] if running else "", observe)
    try:
        with tracer:
            yield ran
        if beside is not None:
            beside |= tracer.unmet()
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
        def __init__(self, place: Callable[[], str], observe: Observer) -> None:
            super().__init__()
            self.place, self.observe = place, observe
            self.nodes: Any = weak.WeakTensorKeyDictionary()
            self.pending: dict[int, Softmax] = {}
            self.lost: set[str] = set()
            self.calls: Counter[str] = Counter()
            self.count = 0

        def unmet(self) -> set[str]:
            waiting = {s.module for s in self.pending.values() if s.logits is not None}
            return waiting | self.lost

        def __torch_dispatch__(
            self, function: Any, types: Any, arguments: Any = (), options: Any = None
        ) -> Any:
            options = options or {}
            name = function._schema.name.partition("::")[2]
            name = name[:-1] if name.endswith("_") and not name.startswith("__") else name
            if name in PRODUCTS:
                self.meet(arguments[-2:])
            known = name in PRODUCTS or name in SOFTMAXES or name in MOVES or name in SUMS
            given = self.given(arguments) if known or name in IDLE else None
            given_options = (
                {key: self.given_one(value) for key, value in options.items()} if given else options
            )
            old = arguments[0] if name in IDLE and arguments else None
            before = old.clone() if old is not None and old is not None and self.inplace(function, old) else old
            output = function(*arguments, **options)
            if given is None:
                if FUSED in name and "math" not in name:
                    raise _fused(self.place())
                return output
            if name in PRODUCTS:
                factors = (*given[:-2], *arguments[-2:])
                self.keep(output, Node(name, function, factors, options, tuple(output.shape), _dtype(output)))
            elif name in SOFTMAXES:
                self.softmax(output, arguments, given)
            else:
                nodes = list(_nodes(given))
                if nodes and not any(isinstance(v, Node) for v in given_options.values()):
                    self.follow(name, function, arguments, given, options, output, nodes, before)
            return output

        def inplace(self, function: Any, tensor: Any) -> bool:
            return function._schema.name.endswith("_") and tensor in self.nodes

        def given_one(self, value: Any) -> Any:
            return self.nodes.get(value, value) if isinstance(value, torch.Tensor) else value

        def given(self, arguments: Any) -> tuple[Any, ...]:
            """Arguments, with nodes in the place of their tensors."""
            return tuple(
                [self.given_one(part) for part in value]
                if isinstance(value, (list, tuple))
                else self.given_one(value)
                for value in arguments
            )

        def keep(self, output: Any, node: Node) -> None:
            self.nodes[output] = node

        def softmax(self, output: Any, arguments: Any, given: Any) -> None:
            logits = given[0] if isinstance(given[0], Node) else None
            self.count += 1
            if len(self.pending) >= PENDING:
                gone = self.pending.pop(next(iter(self.pending)))
                self.lost |= {gone.module} if gone.logits is not None else set()
            self.pending[self.count] = Softmax(
                self.place(), logits, int(arguments[1]) % max(output.ndim, 1), output
            )
            node = Node("softmax", None, (), {}, tuple(output.shape), _dtype(output))
            node.root = self.count
            self.keep(output, node)

        def meet(self, factors: Any) -> None:
            """A product with values: whatever softmax gives a factor is attention."""
            for factor in factors:
                node = self.nodes.get(factor)
                if node is None or node.root not in self.pending:
                    continue
                softmax = self.pending.pop(node.root)
                softmax.changed = node.changed
                call = softmax.module, self.calls[softmax.module]
                self.calls[softmax.module] += 1
                self.observe(call, softmax)

        def follow(
            self,
            name: str,
            function: Any,
            arguments: Any,
            given: Any,
            options: Any,
            output: Any,
            nodes: list[Node],
            before: Any,
        ) -> None:
            depth = 1 + max(node.depth for node in nodes)
            if depth > DEEPEST:
                return
            weights = next((node for node in nodes if node.root is not None), None)
            if weights is not None and name not in MOVES and name not in IDLE:
                tensor = next(a for a, g in zip(arguments, given, strict=True) if g is weights)
                same = output is not tensor and _same(output, tensor)
                changed = weights.changed if same else weights.changed or name
                node = Node(name, function, (), {}, tuple(output.shape), _dtype(output), depth)
                node.root, node.changed = weights.root, changed
                self.keep(output, node)
                return
            if name in IDLE:
                first = output[0] if isinstance(output, tuple) else output
                if given[0] is nodes[0] and _same(first, before):
                    self.keep(first, nodes[0])
                elif len(given) > 1 and given[1] is nodes[0] and _same(first, arguments[1]):
                    self.keep(first, nodes[0])
                elif weights is not None:
                    node = Node(name, function, (), {}, tuple(first.shape), _dtype(first), depth)
                    node.root, node.changed = weights.root, name
                    self.keep(first, node)
                else:  # form_of will say which operation it does not know
                    self.keep(first, Node(name, function, given, {}, tuple(first.shape), _dtype(first), depth))
                return
            parts = output if isinstance(output, (list, tuple)) else [output]
            for item, part in enumerate(parts):
                if not isinstance(part, torch.Tensor):
                    continue
                node = Node(name, function, given, options, tuple(part.shape), _dtype(part), depth)
                node.item = item if part is not output else None
                if weights is not None:
                    node.arguments = ()
                    node.root, node.changed = weights.root, weights.changed
                self.keep(part, node)

    return Tracer


def _fused(place: str) -> Exception:
    from rankbound.errors import InputError

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


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _same(output: Any, tensor: Any) -> bool:
    """Whether an operation left a tensor alone, apart from entries that are hidden anyway."""
    torch = require("torch", "an audit")
    if tensor is None or output.shape != tensor.shape or output is tensor:
        return False
    return bool(((output == tensor) | ((tensor <= -1e4) & (output <= -1e4))).all())
