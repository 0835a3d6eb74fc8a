"""Sizes of layers, presets and the catalogue: what is run, and whether it can be."""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import Any

import pytest

import rankbound as rb
from rankbound._validate import check_word
from rankbound.experiments.catalogue import EXPERIMENTS, GRIDS, PRESETS, RATES
from rankbound.experiments.language import ARMS, FIXED, arm_sizes
from rankbound.experiments.layers import Sizes, layer_sizes
from rankbound.sweeps.plan import canonical
from tests.experiments.stores import WIDTH, sizes_of
from tests.helpers import refused

ALL = [(name, preset) for name in GRIDS for preset in PRESETS]


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ((32, 4), Sizes(32, 4, 8, 8)),
        ((32, 4, 7), Sizes(32, 4, 7, 7)),
        ((32, 4, 7, 8), Sizes(32, 4, 7, 8)),
        ((32, 4, None, 5), Sizes(32, 4, 8, 5)),
        ((30, 4, 16), Sizes(30, 4, 16, 16)),
    ],
)
def test_sizes_of_a_layer(arguments: tuple[Any, ...], sizes: Sizes) -> None:
    assert layer_sizes(*arguments) == sizes


def test_parameters_are_those_of_a_layer_of_the_package() -> None:
    for sizes in (layer_sizes(12, 3), layer_sizes(12, 3, 5), layer_sizes(12, 3, 12)):
        layer = rb.random_multihead(12, 3, seed=0, head_size=sizes.d_k)
        assert sizes.parameters == layer.parameter_count
        assert sizes.facts()["attention_parameters"] == sizes.parameters
    both = layer_sizes(12, 3, 5).parameters + layer_sizes(12, 3, 2).parameters
    assert 2 * layer_sizes(12, 3, 5, 2).parameters == both


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((30, 4), rb.InputError, ("d is 30", "heads is 4", "a multiple", "Pass head_size")),
        ((30, 0), rb.InputError, ("heads", "0")),
        ((0, 1), rb.InputError, ("d",)),
        ((32, 4, 0), rb.InputError, ("head_size",)),
        ((32, 4, 8, -1), rb.InputError, ("value_size",)),
        ((32, 4.0), rb.InputTypeError, ("heads",)),
        ((32, True), rb.InputTypeError, ("heads",)),
        (("32", 4), rb.InputTypeError, ("d",)),
    ],
)
def test_bad_sizes(arguments: tuple[Any, ...], error: type[Exception], words: tuple[str]) -> None:
    with refused(error, *words):
        layer_sizes(*arguments)


@pytest.mark.parametrize("word", ["mixed", "", None, 3, ["a"]])
def test_a_word_is_one_of_those_named(word: Any) -> None:
    assert check_word("w", "a", ("a", "b")) == "a"
    with refused(rb.InputError, f"w is {word!r}", "a, b"):
        check_word("w", word, ("a", "b"))


@pytest.mark.parametrize(("name", "preset"), ALL)
def test_every_cell_of_a_preset_is_a_call_of_its_function(name: str, preset: str) -> None:
    signature = inspect.signature(EXPERIMENTS[name].function)
    cells = GRIDS[name][preset]
    assert cells
    for cell in cells:
        told = {**cell, "corpus": ""} if EXPERIMENTS[name].reads else cell
        signature.bind(**told)
        canonical(dict(cell))  # JSON, by which a store knows it
        assert isinstance(cell["seed"], int)  # named, not derived by the sweep
    assert len({canonical(dict(cell)) for cell in cells}) == len(cells)


@pytest.mark.parametrize(("name", "preset"), ALL)
def test_every_layer_of_a_preset_has_sizes(name: str, preset: str) -> None:
    """A standard layer whose heads do not divide d would be refused here."""
    for cell in GRIDS[name][preset]:
        facts = sizes_of(name, dict(cell))
        if name == "context":
            assert 1 <= cell["head_size"] <= cell["n"] - 1
        else:
            assert min(facts.values()) >= 1


@pytest.mark.parametrize("name", GRIDS)
def test_widths_are_the_functions_own(name: str) -> None:
    parameter = inspect.signature(EXPERIMENTS[name].function).parameters.get("d")
    if parameter is not None and name != "language":
        assert parameter.default == WIDTH[name]


@pytest.mark.parametrize("name", GRIDS)
def test_presets_grow(name: str) -> None:
    counts = [len(GRIDS[name][preset]) for preset in PRESETS]
    assert all(fewer <= more for fewer, more in pairwise(counts))
    seeds = [{cell["seed"] for cell in GRIDS[name][preset]} for preset in PRESETS]
    assert seeds[0] == {0}
    for found in seeds:
        assert found == set(range(len(found)))


@pytest.mark.parametrize(("name", "preset"), ALL)
def test_every_arm_has_every_seed(name: str, preset: str) -> None:
    """But models trained for their heads alone, which are of fewer seeds."""
    arms: dict[str, set[int]] = {}
    for cell in GRIDS[name][preset]:
        if cell.get("weight_decay", 0.01) == 0.01:
            rest = canonical({key: value for key, value in cell.items() if key != "seed"})
            arms.setdefault(rest, set()).add(cell["seed"])
    assert len({frozenset(seeds) for seeds in arms.values()}) == 1


@pytest.mark.parametrize("name", ["language", "head-size"])
@pytest.mark.parametrize("preset", ["laptop", "overnight"])
def test_language_models_are_tuned_alike(preset: str, name: str) -> None:
    rates: dict[tuple[Any, ...], set[float]] = {}
    for cell in GRIDS[name][preset]:
        if cell["weight_decay"] == 0.01:
            arm = (cell["arm"], cell["heads"], cell.get("d"), cell.get("rank"), cell["seed"])
            rates.setdefault(arm, set()).add(cell["rate"])
    assert all(found == set(RATES) for found in rates.values())
    assert len(RATES) >= 3


def test_the_catalogue_names_what_there_is() -> None:
    assert list(EXPERIMENTS) == list(GRIDS)
    for name, experiment in EXPERIMENTS.items():
        assert experiment.name == name
        assert experiment.measure in (experiment.function.__doc__ or "")
        assert set(experiment.needs) <= {"torch", "safetensors"}
        assert experiment.what
    catalogue: Any = EXPERIMENTS  # whose type has no item assignment, as it should
    with pytest.raises(TypeError):
        catalogue["mine"] = EXPERIMENTS["context"]


@pytest.mark.parametrize("d", [32, 48, 64])
@pytest.mark.parametrize("heads", [2, 4, 8, 16])
def test_matched_models_have_the_parameters_of_fixed_ones(d: int, heads: int) -> None:
    count = {}
    for arm in ARMS:
        sizes, ffn = arm_sizes(arm, d, heads)
        count[arm] = sizes.parameters + 2 * ffn * d
        assert sizes.d_k == sizes.d_v == (FIXED if arm == "fixed" else d // heads)
        assert arm == "matched" or ffn == 4 * d
    assert count["matched"] == count["fixed"]


def test_bad_arms() -> None:
    with refused(rb.InputError, "arm is 'wide'", "standard, fixed, matched"):
        arm_sizes("wide", 32, 4)
    with refused(rb.InputError, "a multiple"):
        arm_sizes("standard", 32, 5)
