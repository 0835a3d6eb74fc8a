"""A model whose queries are replaced: what it predicts, and what its outputs cost and differ by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.auditing import capture
from rankbound.auditing.models import LoadedModel, require
from rankbound.auditing.replacing import Cuts, refitted, replacing
from rankbound.auditing.running import run, text_inputs
from rankbound.auditing.tracing import Call
from rankbound.errors import InputError
from rankbound.theory.bases import Moments, moments, projections, second_order_kl

EIGHTHS = (1, 2, 3, 4, 6)  # of the head size, beside all of it: what a plan chooses from
MASKED = 7  # one token of so many is masked, where a model predicts masked tokens


@dataclass(frozen=True)
class Layer:
    """An attention layer, as its queries and keys show it."""

    number: int  # in the model
    heads: int
    key_value_heads: int
    head_size: int
    value_size: int

    @property
    def grid(self) -> list[int]:
        """The head sizes from which a plan chooses, its own first."""
        smaller = {max(1, self.head_size * part // 8) for part in EIGHTHS} - {self.head_size}
        return [self.head_size, *sorted(smaller, reverse=True)]

    @property
    def group(self) -> int:
        """Query heads per key/value head."""
        return self.heads // self.key_value_heads


@dataclass(frozen=True)
class Cost:
    """What a run costs against that of the model itself, a mean over the tokens that are scored."""

    loss: float | None  # in nats; None where the model predicts no tokens
    divergence: float  # KL of the output, in nats; without logits the distance of hidden states

    def increase(self, full: Cost) -> float | None:
        """By how much the loss is above that of the model itself; None where there is none."""
        return None if self.loss is None or full.loss is None else self.loss - full.loss


@dataclass(frozen=True, eq=False)
class Scored:
    """A window, as the model itself predicts it."""

    ids: list[int]  # the tokens to run on
    places: Any  # the positions that are scored
    labels: Any  # torch.Tensor, what stands there
    output: Any  # torch.Tensor, of the model itself there
    divergence: Callable[[Any], float]  # of another output from it


@dataclass(frozen=True, eq=False)
class Subject:
    """A model whose attention layers are all known, and whose queries can be replaced in each."""

    loaded: LoadedModel
    layers: dict[Call, Layer]  # as they ran
    objective: str  # "next token", "masked token", or "none"
    output: str  # of the divergence: "kl" or "distance"

    def scored(self, window: list[int]) -> Scored:
        """Run the model itself on a window."""
        torch = require("torch", "a measured loss")
        ids, places, labels = self._task(window)
        own = output_of(run(self.loaded, ids))[places]
        predicted = torch.tensor(labels, device=own.device)
        return Scored(ids, places, predicted, own, _divergence_from(own, self.output))

    def costs(
        self,
        windows: Iterable[Scored],
        all_cuts: Sequence[Cuts | None],
        tick: Callable[[], None] = lambda: None,
    ) -> list[Cost]:
        """Return the cost of each way to cut, None being the model itself; each run calls `tick`.

        `windows` may be scored one at a time: outputs take much memory.
        """
        inference = require("torch", "a measured loss").inference_mode
        found: list[list[Cost]] = []
        for window in windows:
            found.append([])
            for cuts in all_cuts:
                given = window.output
                if cuts is not None:
                    given = self._cut(window.ids, cuts)[window.places]
                with inference():
                    loss = None if self.objective == "none" else _loss(given, window.labels)
                    apart = 0.0 if cuts is None else window.divergence(given)
                    found[-1].append(Cost(loss, apart))
                tick()
        return [_mean(costs) for costs in zip(*found, strict=True)]

    def _cut(self, ids: list[int], cuts: Cuts) -> Any:
        with replacing(self.loaded, cuts):
            return output_of(run(self.loaded, ids))

    def _task(self, window: list[int]) -> tuple[list[int], Any, list[int]]:
        """The tokens to run on, the positions that are scored, and what stands there."""
        if self.objective == "masked token":
            mask = self.loaded.tokenizer.mask_token_id
            scored = list(range(min(3, len(window) - 1), len(window) - 1, MASKED)) or [0]
            ids = [mask if i in set(scored) else token for i, token in enumerate(window)]
            return ids, scored, [window[i] for i in scored]
        if self.objective == "next token":
            return window, slice(0, -1), window[1:]
        return window, slice(None), window

    def moments(self, windows: Iterable[list[int]]) -> dict[Call, Moments]:
        """The moments of all heads on windows of a text, as the uncut model has them."""
        numbers = {call: layer.number for call, layer in self.layers.items()}
        found: dict[Call, Moments] = {}

        def visit(captured: capture.Captured) -> None:
            call = (captured.module, captured.turn)
            mine = moments(captured.heads, captured.weights())
            found[call] = found[call] + mine if call in found else mine

        for window in windows:
            with capture.recording(self.loaded, visit, numbers):
                run(self.loaded, window)
        return found


@dataclass(frozen=True, eq=False)
class Bench:
    """A model, the windows it is tested on, and the moments from which it is cut."""

    subject: Subject
    windows: list[list[int]]
    calibration: list[list[int]]
    moments: dict[Call, Moments]  # empty without a calibration text
    basis: str

    def refitted(self, head_size: int, *, shared: bool) -> Cuts:
        """Each head replaced by the nearest one of a smaller size, on the text as it comes."""
        return lambda _, query, key: refitted(query, key, head_size, shared=shared)

    def fixed(self, sizes: Mapping[Call, int | Sequence[int]], *, shared: bool) -> Cuts:
        """The layers named cut by projections of the calibration text.

        A layer has one size, or one per key/value head if their bases are `shared`.
        """
        layers = self.subject.layers
        cuts = {
            call: projections(
                self.moments[call], self.basis, size, layers[call].group if shared else 1
            ).cut
            for call, size in sizes.items()
            if np.min(size) < layers[call].head_size
        }
        return lambda call, query, key: cuts.get(call)

    @cached_property
    def by_runs(self) -> dict[Call, dict[int, float]]:
        """The divergence with one layer cut, each a run on a window of the calibration text."""
        layers = self.subject.layers
        places = [(call, size) for call, layer in layers.items() for size in layer.grid[1:]]
        cuts = [self.fixed({call: size}, shared=True) for call, size in places]
        found: dict[Call, dict[int, float]] = {c: {la.head_size: 0.0} for c, la in layers.items()}
        costs = self.subject.costs([self.subject.scored(self.calibration[-1])], cuts)
        for (call, size), cost in zip(places, costs, strict=True):
            found[call][size] = cost.divergence
        return found

    @cached_property
    def by_moments(self) -> dict[Call, dict[int, Array]]:
        """The second order of the KL divergence of each key/value head's query heads, summed."""
        found: dict[Call, dict[int, Array]] = {}
        for call, layer in self.subject.layers.items():
            m, found[call] = self.moments[call], {}
            for size in layer.grid:
                each = second_order_kl(m, projections(m, self.basis, size, layer.group).cut)
                shared = each.reshape(layer.key_value_heads, -1).sum(axis=1)
                found[call][size] = np.maximum(shared, 0.0)  # of the model itself it is rounding
        return found


def subject(loaded: LoadedModel, ids: list[int]) -> Subject:
    """Learn a model's layers from two runs: by itself, and observed with its queries as they are.

    Raises
    ------
    InputError
        If a layer that returns attention weights does not compute them where queries can be
        replaced, or the outputs of the two runs are not the same, bit by bit.
    """
    torch = require("torch", "a measured loss")
    name, architecture = loaded.facts.name, loaded.facts.architecture
    attention = capture.look(loaded, text_inputs(loaded, ids))
    own = run(loaded, ids)
    shapes: dict[Call, tuple[Any, Any]] = {}

    def look(call: Call, query: Any, key: Any) -> None:
        shapes[call] = tuple(query.shape), tuple(key.shape)

    with replacing(loaded, look) as calls:
        same = torch.equal(output_of(own), output_of(run(loaded, ids)))
    missed = [call for call in attention.numbers if call not in shapes]
    if missed or not shapes:
        where = missed[0][0] if missed else architecture
        raise InputError(
            f"{name}: {where} does not compute attention through transformers' attention "
            "interface, where queries can be replaced; expected an architecture all of whose "
            "layers do. An audit without measure_loss takes others too."
        )
    if not same:
        raise InputError(
            f"{name}: {architecture} gives another output when its attention runs through "
            "transformers' interface; expected the same. No loss is reported."
        )
    numbers = capture.layer_numbers(shapes)
    layers = {
        call: Layer(numbers[call], query[1], key[1], query[3], calls[call])
        for call, (query, key) in shapes.items()
    }
    output = "distance" if getattr(own, "logits", None) is None else "kl"
    return Subject(loaded, layers, _objective(loaded, own), output)


def _objective(loaded: LoadedModel, output: Any) -> str:
    """What the model was trained to predict, by its class and what it returns."""
    auto = require("transformers", "a measured loss").models.auto.modeling_auto
    kind, logits = type(loaded.model).__name__, getattr(output, "logits", None)
    if logits is None or logits.ndim != 3:
        return "none"
    if kind in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values():
        return "none" if loaded.tokenizer.mask_token_id is None else "masked token"
    return "next token" if kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() else "none"


def output_of(found: Any) -> Any:
    """Logits, tokens by vocabulary, or else the last hidden states, tokens by their size."""
    output = getattr(found, "logits", None)
    output = getattr(found, "last_hidden_state", None) if output is None else output
    if output is None or output.ndim < 2:
        raise InputError(
            f"the model returns {type(found).__name__} without logits or hidden states; expected "
            "one of them, to say what smaller heads change."
        )
    return output[0] if output.ndim == 3 else output


def _loss(logits: Any, labels: Any) -> float:
    return float(require("torch", "a loss").nn.functional.cross_entropy(logits, labels))


def _divergence_from(own: Any, kind: str) -> Callable[[Any], float]:
    """Of logits the KL divergence of their softmax, a mean over tokens; of hidden states below.

    There it is the squared distance, relative to that of the model's own from their mean.
    """
    if kind == "distance":
        spread = (own - own.mean(dim=0)).double().square().sum()
        return lambda found: float((found - own).double().square().sum() / spread)
    logarithms = own.log_softmax(dim=-1)
    P = logarithms.exp()

    def kl(found: Any) -> float:
        each = (P * (logarithms - found.log_softmax(dim=-1))).sum(dim=-1)
        return max(float(each.double().mean()), 0.0)

    return kl


def _mean(costs: Sequence[Cost]) -> Cost:
    losses = [cost.loss for cost in costs if cost.loss is not None]
    divergence = sum(cost.divergence for cost in costs) / len(costs)
    return Cost(sum(losses) / len(losses) if losses else None, divergence)
