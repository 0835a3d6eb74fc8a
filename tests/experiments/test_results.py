"""What a store holds of a preset: rows a run, and arms at their best rate."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb
from rankbound.experiments.catalogue import EXPERIMENTS, GRIDS, PRESETS
from rankbound.experiments.results import Run, gather, pick, read_results
from rankbound.experiments.trends import NOT_TESTED, TRENDS
from tests.experiments.stores import TEXT, broken, cells_of, fill, ones, sizes_of, stand_in
from tests.helpers import refused


@pytest.fixture(scope="module", params=PRESETS)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    preset: str = request.param
    return preset, fill(tmp_path_factory.mktemp("filled") / "s.sqlite", preset)


def test_every_cell_is_a_run(filled: tuple[str, Path]) -> None:
    preset, path = filled
    results = read_results(path, preset)
    counts = {name: len(GRIDS[name][preset]) for name in GRIDS}
    assert results.preset == preset
    assert results.planned == counts
    assert results.done == counts
    assert Counter(run.experiment for run in results.runs) == counts
    assert not any(results.failed.values())
    assert results.corpus == TEXT
    assert results.versions["torch"] == "0.0"
    assert {"numpy", "scipy", "python"} <= set(results.versions)


def test_a_run_says_what_its_cell_was(filled: tuple[str, Path]) -> None:
    preset, path = filled
    runs = list(read_results(path, preset).runs)
    for name in GRIDS:
        mine = [run for run in runs if run.experiment == name]
        for cell, run in zip(cells_of(name, preset), mine, strict=True):
            facts = sizes_of(name, cell)
            assert (run.seed, run.value) == (cell["seed"], 1.0)
            if name == "context":
                assert (run.kind, run.n, run.d_k, run.d_v) == (
                    "head",
                    cell["n"],
                    cell["head_size"],
                    0,
                )
                continue
            heads = cell.get("heads", 4)
            assert (run.heads, run.d_k, run.d_v) == (heads, facts["d_k"], facts["d_v"])
            whole = facts.get("parameters", facts.get("attention_parameters"))
            assert run.parameters == whole
            assert run.layers == cell.get("layers", 2 if EXPERIMENTS[name].reads else 1)
            if EXPERIMENTS[name].reads:
                assert (run.kind, run.n, run.steps) == (cell["arm"], 64, cell["steps"])
                assert (run.rate, run.weight_decay) == (cell["rate"], cell["weight_decay"])
                continue
            if name == "collapse":
                assert (run.kind, run.n, run.heads, run.steps) == (cell["arm"], 16, 4, 0)
                continue
            if name == "transition":
                assert (run.kind, run.n) == ("fixed", cell["n"])
            elif run.kind == "standard":
                assert run.d_k == run.d_v == run.d / run.heads
                assert "head_size" not in cell
            elif name != "transition":
                assert run.d_k == cell["head_size"]
                assert run.kind == ("sizes" if "value_size" in cell else "fixed")
            assert run.steps > 0
            assert run.rate > 0


def test_every_arm_has_its_seeds(filled: tuple[str, Path]) -> None:
    """No two arms are taken for one, and none for two."""
    preset, path = filled
    runs = read_results(path, preset).runs
    arms = gather(runs)
    assert sum(len(arm.values) * len(arm.rates) for arm in arms) == len(runs)
    assert len({(arm.experiment, arm.name, arm.weight_decay) for arm in arms}) == len(arms)


SMOKE = {"context-cliff", "separation-fixed", "mixing-heads", "mixing-knee"} | {
    f"collapse-{what}" for what in ("attention", "beyond", "ffn", "skip")
}
FEW = {"language-knee"}  # the laptop has three numbers of heads


def test_a_preset_has_the_runs_that_its_trends_ask_for(filled: tuple[str, Path]) -> None:
    preset, path = filled
    arms = gather(read_results(path, preset).runs)
    tested = {trend.id for trend in TRENDS if trend.finding(arms).verdict != NOT_TESTED}
    every = {trend.id for trend in TRENDS}
    assert tested == {"smoke": SMOKE, "laptop": every - FEW, "overnight": every}[preset]


def test_the_preset_with_most_runs_unless_named(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.sqlite", "laptop", only=["context", "lookup"])
    assert read_results(path).preset == "laptop"
    assert len(read_results(path, "smoke").runs) == 3  # contexts of the laptop's
    fill(path, "overnight", only=["context"])
    assert read_results(path).preset == "overnight"
    with refused(rb.InputError, "preset is 'long'", "smoke, laptop, overnight"):
        read_results(path, "long")


def test_cells_that_failed_are_counted_and_are_no_runs(tmp_path: Path) -> None:
    def seldom(cell: dict[str, Any]) -> float:
        return broken(cell) if cell["seed"] == 1 else 2.0

    path = fill(tmp_path / "s.sqlite", "laptop", {"mixing": seldom}, ["mixing", "context"])
    fill(path, "laptop", {"language": broken}, ["language"])
    results = read_results(path)
    third = len(GRIDS["mixing"]["laptop"]) // 3
    assert results.failed == {**dict.fromkeys(GRIDS, 0), "mixing": third, "language": 25}
    assert results.done["mixing"] == 2 * third
    assert {run.seed for run in results.runs if run.experiment == "mixing"} == {0, 2}
    assert {len(arm.values) for arm in gather(results.runs) if arm.experiment == "mixing"} == {2}


def test_cells_of_other_functions_versions_and_parameters_are_left_alone(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.sqlite", only=["mixing"])
    cells = cells_of("mixing", "smoke")
    rb.sweep(stand_in("mixing"), [{**cells[0], "steps": 3}], path)
    rb.sweep(stand_in("mixing"), cells, path, version="0")

    def language(x: int) -> dict[str, Any]:
        return {"y": x}

    language.__qualname__ = "language"
    rb.sweep(language, {"x": [1, 2]}, path)
    results = read_results(path, "smoke")
    assert len(results.runs) == len(cells)
    assert results.corpus == ""


def test_a_result_of_another_function_of_the_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"

    def lookup(heads: int, seed: int, steps: int) -> dict[str, Any]:
        return {"found": heads}

    lookup.__qualname__ = "lookup"
    rb.sweep(lookup, list(GRIDS["lookup"]["smoke"]), path)
    with refused(
        rb.InputError, "{'found': 32}", "none of the experiment lookup", "expected a store"
    ):
        read_results(path)


def test_texts_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    fill(path, "laptop", only=["language"])
    fill(path, "smoke", only=["language"])
    several = cells_of("language", "laptop", "b" * 64)[:3]
    rb.sweep(stand_in("language"), several, path)
    results = read_results(path, "laptop")
    assert results.corpus == TEXT
    assert results.done["language"] == len(results.runs) == len(GRIDS["language"]["laptop"])
    # more runs, but of no preset; then more runs of the preset
    rb.sweep(stand_in("language"), [{**several[0], "seed": s} for s in range(5, 99)], path)
    assert read_results(path, "laptop").corpus == TEXT
    rb.sweep(stand_in("language"), cells_of("language", "overnight")[:3], path)
    fill(path, "overnight", only=["language"], corpus="b" * 64)
    results = read_results(path, "overnight")
    assert results.corpus == "b" * 64
    assert len(results.runs) == len(GRIDS["language"]["overnight"])
    assert read_results(path, "laptop").corpus == TEXT


def test_versions_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    first, *rest = cells_of("separation", "smoke")
    rb.sweep(stand_in("separation", torch="2.9"), [first], path)
    rb.sweep(stand_in("separation", torch="2.10"), rest, path)
    assert read_results(path).versions["torch"] == "2.10, 2.9"
    context = fill(tmp_path / "t.sqlite", only=["context"])
    assert "torch" not in read_results(context).versions


RUN = Run("language", "fixed", 32, 64, 8, 16, 16, 9, 500, 0.02, 0.01, 2, 0, 1.5)


def runs(table: dict[tuple[float, int], float], **told: Any) -> list[Run]:
    """Rate and seed to value."""
    return [
        replace(RUN, rate=rate, seed=seed, value=value, **told)
        for (rate, seed), value in table.items()
    ]


def test_an_arm_is_taken_at_its_best_rate_by_the_mean() -> None:
    table = {
        (0.1, 0): 1.0,
        (0.1, 1): 5.0,
        (0.2, 0): 2.0,
        (0.2, 1): 2.0,
        (0.4, 0): 3.0,
        (0.4, 1): 3.0,
    }
    (arm,) = gather(runs(table))
    assert (arm.rate, arm.rates, arm.values) == (0.2, (0.1, 0.2, 0.4), {0: 2.0, 1: 2.0})
    assert not arm.at_edge
    (best,) = gather(runs(table, experiment="lookup"))
    assert best.rate in (0.1, 0.4)  # of accuracies the greatest: means 3, 2, 3
    assert best.at_edge


def test_a_rate_with_fewer_seeds_is_no_candidate() -> None:
    (arm,) = gather(runs({(0.1, 0): 1.0, (0.2, 0): 2.0, (0.2, 1): 2.0, (0.4, 1): 0.5}))
    assert (arm.rate, arm.rates) == (0.2, (0.2,))
    assert not arm.at_edge  # of one rate there is no edge


def test_a_seed_that_was_stopped_is_left_out() -> None:
    table = {(0.1, 0): 1.0, (0.2, 0): 2.0, (0.2, 1): 0.5}
    (arm,) = gather(runs(table))
    assert (arm.rate, arm.rates, arm.values) == (0.1, (0.1, 0.2), {0: 1.0})


@pytest.mark.parametrize("diverged", [0.1, 0.2, 0.4])
def test_a_rate_that_diverged_is_the_worst(diverged: float) -> None:
    for experiment in ("language", "lookup"):
        table = {(rate, 0): 3.0 for rate in (0.1, 0.2, 0.4)} | {(diverged, 0): math.nan}
        (arm,) = gather(runs(table, experiment=experiment))
        assert arm.rate != diverged
        assert arm.values == {0: 3.0}


def test_what_makes_an_arm() -> None:
    others: list[dict[str, Any]] = [
        {"kind": "standard"}, {"d": 64}, {"n": 32}, {"heads": 4}, {"d_k": 8}, {"d_v": 8},
        {"parameters": 10}, {"steps": 1500}, {"weight_decay": 0.1}, {"experiment": "mixing"},
        {"layers": 3},
    ]  # fmt: skip
    for other in others:
        assert len(gather([RUN, replace(RUN, **other)])) == 2
    assert len(gather([RUN, replace(RUN, rate=1.0), replace(RUN, seed=1)])) == 1


def test_an_arm_to_read() -> None:
    (arm,) = gather(runs({(0.1, 2): 1.5, (0.1, 0): 1.25, (0.1, 1): 1.75}))
    assert (arm.low, arm.middle, arm.high) == (1.25, 1.5, 1.75)
    assert list(arm.values) == [0, 1, 2]
    assert arm.name == "fixed d=32 h=8 d_k=16 d_v=16"
    assert arm.range() == "1.5 (1.25 to 1.75)"
    (single,) = gather([replace(RUN, value=1.23456)])
    assert single.range() == "1.235"
    (head,) = gather([replace(RUN, experiment="context", kind="head", d_v=0, value=1.23456e-9)])
    assert head.name == "n=64 d_k=16"
    (stack,) = gather([replace(RUN, experiment="collapse", kind="skip", layers=3)])
    assert stack.name == "skip L=3"
    (query,) = gather([replace(RUN, experiment="transition")])
    assert query.name == "n=64 h=8"
    assert head.range() == "1.2e-09"


def test_picking() -> None:
    arms = gather([RUN, replace(RUN, heads=16), replace(RUN, heads=16, d=64)])
    assert pick(arms, kind="fixed", heads=16) is arms[1]
    assert pick(arms, d=64) is arms[2]
    assert pick(arms, kind="matched") is None
    assert pick([], heads=1) is None


def test_measures_are_numbers(tmp_path: Path) -> None:
    path = fill(tmp_path / "s.sqlite", values={"lookup": lambda cell: math.nan}, only=["lookup"])
    (run,) = read_results(path).runs
    assert math.isnan(run.value)
    assert ones({}) == 1.0
    assert {experiment.measure for experiment in EXPERIMENTS.values()} == {
        "kl", "error", "accuracy", "loss", "residual", "nmse",
    }  # fmt: skip
