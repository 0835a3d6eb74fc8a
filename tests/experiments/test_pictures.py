"""The figures and tables of experiments show the runs and the heads, and refuse other rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

import rankbound as rb
from rankbound.experiments.catalogue import EXPERIMENTS
from rankbound.experiments.language import TrainedHead
from rankbound.experiments.report import (
    arms_table,
    catalogue_table,
    findings_table,
    heads_table,
)
from rankbound.experiments.results import Run, gather
from rankbound.plots import errors_by_heads, ranks_of_trained_heads, spectra_of_trained_heads
from tests.experiments.invented import BY_ID, SHOWN, arms
from tests.helpers import refused

RUN = Run("mixing", "standard", 32, 8, 4, 8, 8, 4096, 1500, 0.02, 0.0, 1, 0, 1e-3)
HEAD = TrainedHead(
    arm="standard", d=32, heads=4, head_size=8, n=64, layer=0, head=0, steps=500, seed=0, rate=0.02,
    weight_decay=0.01, log_rank=8, log_rank_bound=8, generic_log_rank=32, at_bottleneck=True,
    log_effective_rank=5.0, log_stable_rank=2.0, aitchison_half=0.25, kl_half=0.5,
    least_head_size_1pct=6, entropy=1.0, sink_mass=0.1,
    spectrum="1 0.5 0.25 0.125",
)  # fmt: skip


def layers(**told: Any) -> list[dict[str, Any]]:
    """Standard and fixed layers of two sizes and three seeds."""
    runs = []
    for kind, d, heads in (
        ("standard", 32, 2), ("standard", 32, 8), ("standard", 64, 4), ("fixed", 32, 4),
        ("fixed", 32, 8),
    ):  # fmt: skip
        size = d // heads if kind == "standard" else 8
        for seed in range(3):
            value = 1 / (heads + seed + (d == 64))
            made = replace(RUN, kind=kind, d=d, heads=heads, d_k=size, d_v=size, seed=seed)
            runs.append(replace(made, value=value, **told))
    return [asdict(run) for run in runs]


def points(axes: Any, gid: str) -> list[tuple[float, float]]:
    """What the line of this name joins."""
    (line,) = [line for line in axes.lines if line.get_gid() == gid]
    xs, ys = np.asarray(line.get_data(), dtype=float)
    return list(zip(xs, ys, strict=True))


def bars(axes: Any) -> list[Any]:
    """The ends of each bar, the lower first."""
    return [sorted(path.vertices[:, 1]) for part in axes.collections for path in part.get_paths()]


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_line_is_a_kind_and_a_d() -> None:
    axes = errors_by_heads(layers(), Figure().subplots())
    assert points(axes, "standard-32") == [(2, 1 / 3), (8, 1 / 9)]  # medians over seeds
    assert points(axes, "standard-64") == [(4, 1 / 6)]
    assert points(axes, "fixed-32") == [(4, 1 / 5), (8, 1 / 9)]
    assert {line.get_gid() for line in axes.lines} >= {"standard-32", "standard-64", "fixed-32"}
    assert any(np.allclose(bar, (1 / 4, 1 / 2)) for bar in bars(axes))  # of seeds, at two heads
    labels = legend(axes)
    assert "head size d / heads, d = 32" in labels
    assert "head size 8, d = 32" in labels
    assert axes.get_yscale() == "log"
    assert "relative squared error" in axes.get_ylabel()
    assert axes.get_title(loc="left") == "Four dense averages, n = 8"


def test_axes_are_made_where_none_are_given() -> None:
    axes = errors_by_heads(layers())
    assert len(axes.lines) >= 3


def test_language_models_are_drawn_at_their_best_rate_and_usual_decay() -> None:
    told = {"experiment": "language", "n": 64}
    rows = layers(**told, weight_decay=0.01)
    worse = [{**row, "rate": 0.5, "value": 9.0} for row in rows]
    others = [{**row, "weight_decay": decay, "value": 7.0} for row in rows for decay in (0.0, 0.1)]
    axes = errors_by_heads([*worse, *rows, *others], Figure().subplots())
    assert points(axes, "standard-32") == [(2, 1 / 3), (8, 1 / 9)]
    assert axes.get_yscale() == "linear"
    assert axes.get_ylabel() == "loss (nats per byte)"
    with refused(rb.InputError, "no or several experiments"):
        errors_by_heads(others, Figure().subplots())


def test_layers_whose_value_size_is_given_apart_are_left_out() -> None:
    apart = [{**row, "kind": "sizes", "d_v": 3} for row in layers()]
    axes = errors_by_heads([*layers(), *apart], Figure().subplots())
    assert {line.get_gid() for line in axes.lines if line.get_gid()} == {
        "standard-32", "standard-64", "fixed-32",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([], rb.InputError, "no or several experiments"),
        ([asdict(RUN), asdict(replace(RUN, experiment="lookup"))], rb.InputError, "several"),
        ([asdict(replace(RUN, kind="sizes"))], rb.InputError, "no or several"),
        ([asdict(replace(RUN, kind="head"))], rb.InputError, "no or several"),
        ([{"kind": "fixed"}], rb.InputError, "rows[0] has no 'experiment'"),
        ([asdict(RUN), 7], rb.InputTypeError, "rows[1] is 7; expected a mapping"),
    ],
)
def test_bad_rows_of_layers(rows: Any, error: type[Exception], words: str) -> None:
    with refused(error, words):
        errors_by_heads(rows, Figure().subplots())


def heads(**told: Any) -> list[Mapping[str, Any]]:
    """Of sizes 4 and 8, ten heads each, without decay and with it."""
    return [
        asdict(
            replace(
                HEAD, head_size=size, log_rank_bound=size, weight_decay=decay, head=head,
                log_effective_rank=size / 2 + head / 10 + decay, **told,
            )
        )
        for size in (4, 8) for decay in (0.0, 0.1) for head in range(10)
    ]  # fmt: skip


def test_heads_stand_below_their_bound() -> None:
    axes = ranks_of_trained_heads(heads(), Figure().subplots())
    assert points(axes, "bound") == [(4, 4), (8, 8)]
    for gid, decay in (("decay-0", 0.0), ("decay-0.1", 0.1)):
        found = points(axes, gid)
        assert [y for _, y in found] == pytest.approx([2.45 + decay, 4.45 + decay])
        assert all(abs(np.log2(x / size)) < 0.5 for (x, _), size in zip(found, (4, 8), strict=True))
    assert len({tuple(points(axes, gid)) for gid in ("decay-0", "decay-0.1")}) == 2
    assert legend(axes) == ["the bound: head size", "no weight decay", "weight decay 0.1"]
    assert any(np.allclose(bar, (2.225, 2.675)) for bar in bars(axes))  # the middle half
    assert ranks_of_trained_heads(heads()).lines


def test_spectra_are_medians_over_heads() -> None:
    rows = [
        {**row, "spectrum": f"1 {0.1 + number % 10 / 100} 0.01"}
        for number, row in enumerate(heads())
    ]
    axes = spectra_of_trained_heads(rows, Figure().subplots())
    for size, decay in ((4, 0.0), (8, 0.0), (4, 0.1), (8, 0.1)):
        assert points(axes, f"spectrum-{size}-{decay:g}") == [
            (1, 1.0),
            (2, pytest.approx(0.145)),
            (3, pytest.approx(0.01)),
        ]
    assert legend(axes) == ["no weight decay", "weight decay 0.1"]  # once each
    assert spectra_of_trained_heads(rows[:1]).lines


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([], rb.InputError, "rows is empty"),
        ([{"d": 8, "head_size": 8}], rb.InputError, "rows[0] has no 'weight_decay'"),
        ([asdict(HEAD), 7], rb.InputTypeError, "rows[1] is 7; expected a mapping"),
    ],
)
def test_bad_rows_of_heads(rows: Any, error: type[Exception], words: str) -> None:
    for draw in (ranks_of_trained_heads, spectra_of_trained_heads):
        with refused(error, words):
            draw(rows, Figure().subplots())


@pytest.mark.parametrize(
    "draw",
    [
        lambda axes: errors_by_heads(layers(), axes),
        lambda a: ranks_of_trained_heads(heads(), a),
        lambda a: spectra_of_trained_heads(heads(), a),
    ],
)
def test_axes_are_one(draw: Callable[[Any], Any]) -> None:
    for axes in (Figure(), Figure().subplots(1, 2), "axes"):
        with refused(rb.InputTypeError, "expected Axes"):
            draw(axes)


def test_a_run_that_diverged_is_drawn_without_a_warning() -> None:
    rows = [*layers(), *(asdict(replace(RUN, heads=16, value=float("nan"))) for _ in range(1))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = Figure()
        errors_by_heads(rows, figure.subplots())
        figure.canvas.draw()


# tables


def shown(table: Any) -> list[str]:
    """The lines of a table, as on a terminal so wide that nothing is wrapped."""
    console = Console(width=1000, record=True, file=StringIO())
    console.print(table)
    return [line.strip() for line in console.export_text().splitlines() if line.strip()]


def test_arms_are_shown_with_both_sizes_and_the_range() -> None:
    found = gather(
        [replace(RUN, seed=seed, value=value) for seed, value in enumerate((0.5, 0.25, 1.0))]
    )
    line = shown(arms_table(found))[-1]
    assert line.split() == [
        "mixing", "standard", "32", "4", "8", "8", "4096", "0.02", "3", "0.5", "0.25", "1",
    ]  # fmt: skip
    runs = [replace(RUN, experiment="language", weight_decay=0.1, rate=rate) for rate in (1.0, 2.0)]
    assert "standard, decay 0.1" in shown(arms_table(gather(runs)))[-1]
    assert " 1* " in shown(arms_table(gather(runs)))[-1]
    context = replace(RUN, experiment="context", kind="head", rate=0.0)
    assert " - " in shown(arms_table(gather([context])))[-1]


def test_findings_are_shown_beside_the_paper() -> None:
    trend = BY_ID["mixing-heads"]
    full = trend.finding(arms("mixing", SHOWN["mixing-heads"]))
    text = "\n".join(shown(findings_table([full, trend.finding([])])))
    assert "reproduced" in text
    assert "(3 seeds)" in text
    assert "90.45±.08" in text
    assert "not tested" in text
    assert "the preset lacks these runs" in text
    one = replace(full, checks=tuple(replace(check, held=(True,)) for check in full.checks))
    assert "(1 seed)" in "\n".join(shown(findings_table([one])))


def test_the_catalogue_is_shown() -> None:
    lines = shown(catalogue_table(EXPERIMENTS.values()))
    assert len([line for line in lines if line.split()[0] in EXPERIMENTS]) == len(EXPERIMENTS)


def test_heads_are_shown_by_model_in_order() -> None:
    several = [
        replace(HEAD, heads=count, head_size=32 // count, log_rank_bound=32 // count, head=head,
                log_rank=32 // count - head)
        for count in (16, 2, 8) for head in range(2)
    ]  # fmt: skip
    lines = [line.split() for line in shown(heads_table(several)) if "standard" in line]
    assert [line[2] for line in lines] == ["2", "8", "16"]
    assert lines[0] == [
        "standard", "32", "2", "16", "0.01", "2", "50%", "15.5", "5.00", "0.31", "6", "0.5",
    ]  # fmt: skip
