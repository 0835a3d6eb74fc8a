"""A model run with the queries of its heads replaced, as smaller heads have them.

Logits of a head of size k are ``(B_q^T q) · (B_k^T k)``: those of the head itself where its query q
is replaced by ``B_k B_q^T q``. So a layer's own attention computes what a smaller head would, and
mask, scale, cap, sinks and the sharing of keys stay the model's. Keys are left alone.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from rankbound._validate import STORAGES, Array
from rankbound.auditing.capture import as_columns
from rankbound.auditing.models import LoadedModel, quiet, require
from rankbound.auditing.running import run
from rankbound.auditing.tracing import Call
from rankbound.errors import InputError
from rankbound.theory.bases import project

NAME = "rankbound_replaced"
FEW = 128  # tokens from which a rotation is learnt
# Of the norm, what one rotation may leave unexplained: half of the digits of float32, in which the
# sines of RoPE are rounded in any dtype. Rounding leaves less than 1e-5, other positions about all.
UNTURNED = STORAGES["float32"].eps ** 0.5

# By what the queries of a call are multiplied, (heads, d, d), seen its queries and keys, (batch,
# heads, n, d); None leaves them alone.
Cuts = Callable[[Call, Any, Any], Array | None]
_active: ContextVar[Callable[[Any, Any, Any, Any], Any]] = ContextVar("rankbound_change")


@contextmanager
def replacing(loaded: LoadedModel, cuts: Cuts) -> Iterator[dict[Call, int]]:
    """Run a model once with changed queries; yields its attention calls and their value sizes."""
    interface = require("transformers", "a measured loss")
    masks = require("transformers.masking_utils", "a measured loss")
    interface.AttentionInterface.register(NAME, _attend)
    interface.AttentionMaskInterface.register(NAME, masks.eager_mask)
    names = {id(module): name for name, module in loaded.model.named_modules()}
    seen: Counter[str] = Counter()
    calls: dict[Call, int] = {}

    def changed(module: Any, query: Any, key: Any, value: Any) -> Any:
        name = names.get(id(module), type(module).__name__)
        call = name, seen[name]
        seen[name] += 1
        calls[call] = value.shape[-1]
        cut = cuts(call, query, key)
        return query if cut is None else times(query, cut)

    token = _active.set(changed)
    try:
        with quiet():
            loaded.model.set_attn_implementation(NAME)
        yield calls
    finally:
        _active.reset(token)
        with quiet():
            loaded.model.set_attn_implementation("eager")


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any = None, **options: Any
) -> tuple[Any, Any]:
    """What attention layers call: their own eager attention, of other queries."""
    query = _active.get()(module, query, key, value)
    attended: tuple[Any, Any] = own_attention(module)(
        module, query, key, value, attention_mask, **options
    )
    return attended


def own_attention(module: Any) -> Any:
    """The eager attention of a layer's own module."""
    for kind in type(module).__mro__:
        function = getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None)
        if function is not None:
            return function
    raise InputError(
        f"{type(module).__name__} has no eager attention; expected a model whose module defines "
        "eager_attention_forward."
    )


def times(query: Any, cut: Any) -> Any:
    """Queries (batch, heads, n, d) times a matrix (d, d) per head, in the model's dtype."""
    torch = require("torch", "a measured loss")
    return query @ torch.as_tensor(cut, dtype=query.dtype, device=query.device)


def refitted(query: Any, key: Any, head_size: int, *, shared: bool = False) -> Array:
    """By what queries are multiplied so that logits are the nearest of rank `head_size` to these.

    For one head it is the truncation of ``C L`` on this very sequence, for heads with `shared` keys
    that of all theirs side by side (Eckart–Young). Capped logits are truncated before the cap.
    """
    Q, K = as_columns(query), as_columns(key)
    group = len(Q) // len(K)
    K = np.repeat(K - K.mean(axis=-1, keepdims=True), group, axis=0)
    S, C = (M @ M.swapaxes(-1, -2) / M.shape[-1] for M in (K, Q))
    return project(S, C, head_size, group if shared else 1).cut


def rotations(loaded: LoadedModel, ids: list[int]) -> dict[Call, Array] | None:
    """By what each layer turns queries and keys that move by one position; None unless it does.

    Two runs, the second at positions that are one larger: where positions enter as rotations alone
    (RoPE), its queries and keys are those of the first under one rotation (d, d) per layer, the
    orthogonal Procrustes solution.
    """
    torch = require("torch", "a measured loss")
    if "position_ids" not in inspect.signature(type(loaded.model).forward).parameters:
        return None
    ids = ids[: min(len(ids) - 1, FEW)]  # the second run needs one position more
    runs: list[dict[Call, list[Array]]] = []
    for first in (0, 1):
        found: dict[Call, list[Array]] = {}
        positions = torch.arange(first, first + len(ids), device=loaded.model.device)[None]

        def keep(call: Call, *both: Any, found: dict[Call, list[Array]] = found) -> None:
            found[call] = [np.concatenate([*as_columns(part)], axis=1) for part in both]

        with replacing(loaded, keep):
            run(loaded, ids, position_ids=positions)
        runs.append(found)
    turned = {}
    for call, before in runs[0].items():
        after = runs[1][call]
        left, _, right = np.linalg.svd(sum(b @ a.T for a, b in zip(before, after, strict=True)))
        turned[call] = left @ right
        for a, b in zip(before, after, strict=True):
            if np.linalg.norm(turned[call] @ a - b) > UNTURNED * np.linalg.norm(b):
                return None
    return turned
