"""How the figures look: one style and palette, two widths, nothing cut, and text for all."""

from __future__ import annotations

import functools
import importlib
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

import rankbound as rb
from rankbound import canvas, plots
from rankbound.atlas import compute_atlas
from rankbound.registry import catalogue
from tests.helpers import refused
from tests.test_figures import FIGURES, NAMES, published, regenerate

ROOT = FIGURES.parent
WIDTHS = {canvas.WIDE: 0, canvas.NARROW: 1}
IMAGE = re.compile(r"!\[([^\]]*)\]\([^)]*?figures/([\w-]+)\.png\)")


@functools.cache
def drawn(name: str, width: float) -> Figure:
    """A figure as it is published, laid out; the tests only look at it."""
    recipe = regenerate.FIGURES[name]
    with canvas.styled():
        figure = Figure(figsize=(width, recipe.heights[WIDTHS[width]]))
        recipe.draw(published(name), figure)
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
    return figure


# the palette


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def lightness(colour: str) -> float:
    """L* of CIE 1976."""
    y = luminance(colour)
    return float(116 * np.cbrt(y) - 16) if y > 216 / 24389 else y * 24389 / 27


def test_colours_differ_in_grey_and_stand_out_on_white() -> None:
    """WCAG 2.1 asks for a contrast of 3 of graphical objects; 2.3 units of L* are just seen."""
    for one, other in itertools.combinations(canvas.PALETTE, 2):
        assert abs(lightness(one) - lightness(other)) > 4 * 2.3, (one, other)
    for colour in canvas.PALETTE:
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour
    assert len(set(canvas.MARKERS)) == len(set(canvas.PALETTE)) == len(canvas.PALETTE)


def test_the_style_has_the_palette_and_is_found_by_its_name() -> None:
    import matplotlib.pyplot as plt

    with plt.style.context("rankbound.rankbound"):
        cycle = [colour.upper() for colour in plt.rcParams["axes.prop_cycle"].by_key()["color"]]
        assert plt.rcParams["svg.hashsalt"] == "rankbound"
    assert [f"#{colour.removeprefix('#')}" for colour in cycle] == [
        colour.upper() for colour in canvas.PALETTE
    ]


# every figure


def texts(figure: Figure) -> Iterator[Text]:
    """What is written, but for empty texts and labels of ticks beyond the axes."""
    hidden: set[Text] = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.majorTicks, *axis.minorTicks):
            if not low <= tick.get_loc() <= high:
                hidden |= {tick.label1, tick.label2}
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in hidden:
            yield text


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_and_no_text_meets_another_or_an_edge(name: str, width: float) -> None:
    figure = drawn(name, width)
    page, boxes = figure.bbox, {text: text.get_window_extent() for text in texts(figure)}
    for text, box in boxes.items():
        said = text.get_text()
        assert page.x0 <= box.x0 and box.x1 <= page.x1, f"{said!r} is cut"
        assert page.y0 <= box.y0 and box.y1 <= page.y1, f"{said!r} is cut"
        for axes in figure.axes:
            inside = axes.bbox.contains(*box.p0) and axes.bbox.contains(*box.p1)
            assert inside or not overlap(box, axes.bbox), f"{said!r} meets the edge of the axes"
    for (one, box), (other, second) in itertools.combinations(boxes.items(), 2):
        assert not overlap(box, second), f"{one.get_text()!r} meets {other.get_text()!r}"


def overlap(one: Bbox, other: Bbox) -> bool:
    """Whether they share more than the pixel that rounds their borders."""
    both = Bbox.intersection(one, other)
    return both is not None and both.width > 1 and both.height > 1


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_each_figure_is_in_the_style(name: str, width: float) -> None:
    figure = drawn(name, width)
    assert figure.get_constrained_layout()
    for text in texts(figure):
        assert text.get_fontsize() in (7, 8), text.get_text()
        assert text.get_fontname() == "DejaVu Sans"
    for axes in figure.axes:
        assert not axes.spines["top"].get_visible()
        for line in axes.lines:
            assert line.get_linewidth() <= 1.4 and line.get_markersize() <= 6


@pytest.mark.parametrize("name", NAMES)
def test_each_figure_has_a_title_in_words_and_named_axes(name: str) -> None:
    for axes in drawn(name, canvas.WIDE).axes:
        title = axes.get_title(loc="left")
        assert len(title.split()) >= 2, title
        assert not re.search(r"\w-\w+-\w|_", title), f"{title!r} is an id"
        assert axes.get_xlabel()
        named_rows = any(not re.match(r"[\d.]|\$", t.get_text()) for t in axes.get_yticklabels())
        assert axes.get_ylabel() or named_rows


@pytest.mark.parametrize("name", NAMES)
def test_each_figure_says_in_words_what_it_shows(name: str) -> None:
    alt = regenerate.FIGURES[name].alt
    assert 40 < len(alt) < 300
    for folder in (FIGURES, FIGURES / "column"):
        assert alt in (folder / f"{name}.svg").read_text(encoding="utf-8")
        assert alt.encode("latin-1") in (folder / f"{name}.png").read_bytes()


def pages() -> Iterator[tuple[Path, str, str]]:
    """Each image of a figure in a written page: where, its words, and which."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for alt, name in IMAGE.findall(path.read_text(encoding="utf-8")):
            yield path, alt, name


def test_pages_show_the_figures_with_their_words() -> None:
    for path, alt, name in pages():
        assert alt == regenerate.FIGURES[name].alt, f"{name} in {path.name}"
    shown = {name for _, _, name in pages()}
    assert set(NAMES) - shown <= {"experiments-laptop"}  # the overnight runs are shown


# where and from what a figure is drawn

DRAWINGS: dict[str, tuple[Callable[..., Any], str]] = {
    "atlas": (plots.atlas_intervals, "atlas"),
    "errors": (plots.errors_by_heads, "experiments-overnight"),
    "masks": (plots.head_sizes_by_mask, "masks"),
    "ranks of heads": (plots.ranks_of_trained_heads, "trained-heads"),
    "reach": (plots.reach_by_length, "reach"),
    "spectra": (plots.spectra_of_trained_heads, "trained-heads"),
    "students": (plots.student_errors, "separation"),
    **{
        name: (getattr(importlib.import_module(f"recipes.{name}"), function), name)
        for name, function in (
            ("evidence", "claims_by_evidence"),
            ("loss", "loss_by_head_size"),
            ("price", "price_of_scale"),
            ("ranks", "three_ranks"),
            ("speed", "speed_ratios"),
            ("witness", "attention_map"),
        )
    },
}


def rows_of(name: str) -> list[dict[str, Any]]:
    """Rows for one pair of axes."""
    rows = published(name)
    if name == "experiments-overnight":
        return [row for row in rows if row["experiment"] == "mixing"]
    if name == "witness":
        return [row for row in rows if (row["layer"], row["head"]) == ("g", 1)]
    return [row for row in rows if row["model"] == rows[0]["model"]] if name == "loss" else rows


def artists(axes: Axes) -> list[str]:
    """What is drawn, to be compared."""
    return sorted(
        f"{type(one).__name__} {one.get_gid()} {one.get_label()} {data(one)}"
        for one in axes.get_children()
        if not isinstance(one, Text)
    )


def data(one: Any) -> Any:
    return np.asarray(one.get_xydata()).tolist() if hasattr(one, "get_xydata") else None


@pytest.mark.parametrize("what", DRAWINGS)
def test_a_figure_given_axes_draws_there_alone(what: str) -> None:
    draw, name = DRAWINGS[what]
    figure = Figure(figsize=(6.75, 4))
    first, second = figure.subplots(1, 2)
    before = artists(second), len(figure.get_children()), dict(mpl.rcParams)
    assert draw(rows_of(name), ax=first) is first
    assert (artists(second), len(figure.get_children()), dict(mpl.rcParams)) == before
    assert len(artists(first)) > len(before[0])
    with refused(rb.InputTypeError, "ax is of type str; expected Axes"):
        draw(rows_of(name), ax="here")


@pytest.mark.parametrize("what", DRAWINGS)
def test_a_frame_and_records_are_drawn_as_rows_are(what: str) -> None:
    pandas = pytest.importorskip("pandas")
    draw, name = DRAWINGS[what]
    rows = rows_of(name)
    shown = artists(draw(rows, ax=Figure().subplots()))
    assert artists(draw(pandas.DataFrame(rows), ax=Figure().subplots())) == shown
    if rows == published(name):
        path = FIGURES / "data" / f"{name}.json"
        assert artists(draw(path, ax=Figure().subplots())) == shown
        assert artists(draw(str(path), ax=Figure().subplots())) == shown


@pytest.mark.parametrize("name", NAMES)
def test_a_published_table_is_read_without_its_recipe(name: str) -> None:
    read = canvas.published(FIGURES / "data" / f"{name}.json")
    assert repr(read) == repr(published(name))  # as texts, in which nan is nan


def test_records_of_the_atlas_are_drawn_as_its_rows_are() -> None:
    entries = compute_atlas(4).entries
    keys = ("pattern", "notion", "n", "lower", "upper")
    rows = [{key: getattr(entry, key) for key in keys} for entry in entries]
    shown = artists(plots.atlas_intervals(rows, ax=Figure().subplots()))
    assert artists(plots.atlas_intervals(entries, ax=Figure().subplots())) == shown


def test_a_table_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    for kind in ("csv", "json"):
        text = (FIGURES / "data" / f"ranks.{kind}").read_bytes()
        (tmp_path / f"ranks.{kind}").write_bytes(text)
    (tmp_path / "ranks.csv").write_bytes((tmp_path / "ranks.csv").read_bytes() + b"\n")
    with refused(rb.InputError, "ranks.csv is not the table that ranks.json describes"):
        canvas.published(tmp_path / "ranks.json")


# what the new tables say


def test_the_context_has_full_rank_and_the_log_rank_is_bounded() -> None:
    rows = published("ranks")
    for row in rows:
        n, k = row["n"], row["head_size"]
        assert (row["context"], row["logits"], row["log_rank"]) == (n, min(k, n), min(k, n - 1))
    assert max(row["head_size"] for row in rows) > rows[0]["n"]


def test_the_claims_are_those_of_the_registry() -> None:
    recipe = regenerate.FIGURES["evidence"]
    assert published("evidence") == list(recipe.compute(recipe.settings))
    assert sum(row["claims"] for row in published("evidence")) == len(catalogue.claims)


def test_the_sides_of_the_price_do_not_cross() -> None:
    for n, rows in canvas.grouped(published("price"), lambda row: row["n"]).items():
        assert all(row["lower"] <= row["upper"] for row in rows), n
        for side in ("lower", "upper"):  # a larger head can do what a smaller one can
            values = [row[side] for row in rows]
            assert values == sorted(values, reverse=True), (n, side)


def test_the_witness_is_what_the_theorem_says() -> None:
    """Case (b): to the first query all tokens look alike in the heads of f, within the witness's
    rounded coordinates, and g tells the first token from the others."""
    for row in published("witness"):
        if row["query"] == 1 and row["layer"] == "f":
            assert abs(row["attention"] - 0.25) < 1e-6
        elif row["query"] == 1:
            assert (row["attention"] > 0.9) == (row["key"] == 1)
        assert 0 <= row["rounding"] < 1e-10
        assert row["relative_gap"] > 1


def test_refitted_heads_lose_less_than_fixed_ones() -> None:
    """On the text to which they are fitted; and all of it, where nothing is cut."""
    groups = canvas.grouped(published("loss"), lambda row: (row["model"], row["head_size"]))
    for rows in groups.values():
        fixed = [row["divergence"] for row in rows if row["kind"] == "fixed"]
        refitted = [row["divergence"] for row in rows if row["kind"] == "refitted"]
        assert max(refitted) < min(fixed), rows
    assert {row["model"] for row in published("loss")} == set(
        regenerate.FIGURES["loss"].settings["head_sizes"]
    )
