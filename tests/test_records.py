"""Records: short in a prompt, a table with its statement in a notebook, whole in JSON."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.atlas import compute_atlas
from rankbound.canvas import Scale
from rankbound.records import LONGEST, Record, short
from tests.helpers import refused

P = rb.random_context(6, seed=0, law="gibbs", scale=0.3)
LAYERS = [rb.random_multihead(d=8, heads=4, seed=s, head_size=4 * (s + 1)) for s in (0, 1)]


def parabola(x: int) -> dict[str, Any]:
    """The function of a sweep."""
    return {"y": x * x}


def a_sweep() -> rb.Sweep:
    with tempfile.TemporaryDirectory() as folder:
        return rb.sweep(parabola, {"x": list(range(30))}, Path(folder) / "results.sqlite")


EXACT: Any = ([[Fraction(1, 3), 2**80]], [[3, Fraction(-4, 7)]])

RECORDS: dict[str, Callable[[], Any]] = {
    "Spectrum": lambda: rb.spectrum(P),
    "Spectrum of a batch": lambda: rb.spectrum([P, P]),
    "Spectrum of zeros": lambda: rb.spectrum(np.zeros((3, 3))),
    "RankBounds": lambda: rb.certified_rank(P),
    "RankBounds, certified": lambda: rb.certified_rank(P).certify(),
    "RankBounds of a batch": lambda: rb.certified_rank([P, P]),
    "RankBounds of two certificates": lambda: rb.certified_log_rank(
        rb.random_context(8, seed=0, law="logrank", rank=2), ratio=1e-9
    ).certify(),
    "Fit": lambda: rb.fit_head(P, 2),
    "Bracket": lambda: rb.kl_bracket(P, [1, 2]),
    "Separation": lambda: rb.separating_tokens(LAYERS[0], LAYERS[1]),
    "Separation of none": lambda: rb.separating_tokens(LAYERS[0], LAYERS[0]),
    "Report": lambda: rb.verify(["softmax-gauge", "folklore-context-rank"]),
    "Row": lambda: rb.verify("softmax-gauge").rows[0],
    "AttentionHead": lambda: rb.represent(P),
    "AttentionHead, exact": lambda: rb.AttentionHead([[1, 2]], [[3, 4]], scale=2.0),
    "AttentionHead of fractions": lambda: rb.AttentionHead(*EXACT, scale=2.0),
    "AttentionHead with a mask": lambda: rb.AttentionHead(
        np.eye(3, dtype=np.float32), np.eye(3), [[1.0, 2.0, 3.0]], mask=np.eye(3) > 0, soft_cap=5
    ),
    "MultiHead": lambda: LAYERS[0],
    "Atlas": lambda: compute_atlas(6),
    "Entry": lambda: compute_atlas(6).entries[0],
}
SHOWN_ONLY: dict[str, Callable[[], Any]] = {  # what holds code, data of its own, or a store
    "Claim": lambda: rb.claims["dong-collapse"],
    "Context": lambda: rb.Context(P),
    "Sweep": a_sweep,
    "Check": lambda: rb.check(rb.certified_rank(P).certify().certificate),
}
ALL = {**RECORDS, **SHOWN_ONLY}
STATED = {"Spectrum", "RankBounds", "Fit", "Bracket", "Separation", "AttentionHead", "MultiHead"}


@cache
def made(name: str) -> Any:
    return ALL[name]()


def test_every_public_record_is_here() -> None:
    public = [getattr(rb, name) for name in dir(rb)]
    found = {o.__name__ for o in public if inspect.isclass(o) and dataclasses.is_dataclass(o)}
    assert found - {"Audit", "LossCurve", "Plan"} <= {type(made(name)).__name__ for name in ALL}


@pytest.mark.parametrize("name", ALL)
def test_a_prompt_shows_less_than_400_characters(name: str) -> None:
    assert 0 < len(repr(made(name))) <= LONGEST < 400
    assert repr(made(name)).startswith(type(made(name)).__name__)


def test_a_record_of_long_words_and_many_fields_is_cut() -> None:
    kind = dataclasses.make_dataclass(
        "Long", [(f"a{i}", str) for i in range(40)], bases=(Record,), frozen=True, repr=False
    )
    assert len(repr(kind(*["word" * 100] * 40))) == LONGEST
    assert short("x" * 100) == repr("x" * 59 + "…")


@pytest.mark.parametrize("name", [*RECORDS, "Claim", "Sweep"])
def test_a_notebook_shows_a_table(name: str) -> None:
    shown = made(name)._repr_html_()
    assert "<table>" in shown
    stated = type(made(name)).__name__ in STATED
    assert shown.startswith("<p>$") == stated
    if stated:
        assert made(name).latex().count("{") == made(name).latex().count("}")


def test_a_table_of_claims_shows_what_it_says() -> None:
    assert "dong-collapse" in made("Claim")._repr_html_()
    assert r"$\operatorname{logrank} ( P ) \le k$" in rb.claims["theorem-a"]._repr_html_()
    assert "and 10 more cells" in made("Sweep")._repr_html_()
    assert "softmax" in rb.Context(logits=P)._repr_html_()
    assert made("Report").to_markdown().count("softmax-gauge") == 1


@pytest.mark.parametrize("name", RECORDS)
def test_json_is_read_back(name: str) -> None:
    record = made(name)
    written = record.to_json()
    again = type(record).from_json(written)
    assert type(again) is type(record)
    assert again.to_json() == written
    assert repr(again) == repr(record)
    for field in dataclasses.fields(record):
        value = getattr(again, field.name)
        if isinstance(value, np.ndarray):
            original = getattr(record, field.name)
            assert value.dtype == original.dtype
            assert np.array_equal(value, original)
            assert not value.flags.writeable


def test_what_json_keeps_is_enough_to_go_on() -> None:
    bounds = rb.RankBounds.from_json(made("RankBounds, certified").to_json())
    assert bounds.verdict is rb.Verdict.CERTIFIED
    assert rb.check(bounds.certificate).accepted
    with pytest.raises(rb.Undecided, match="no proof came with them"):
        rb.RankBounds.from_json(made("RankBounds").to_json()).certify()
    separation = rb.Separation.from_json(made("Separation").to_json())
    assert rb.check(separation.certificate).accepted
    head = rb.AttentionHead.from_json(made("AttentionHead, exact").to_json())
    assert rb.log_rank(head=head) == 1  # exact: decided without a threshold
    assert head.exact is not None


@pytest.mark.parametrize("name", [name for name in RECORDS if name not in ("Report", "Atlas")])
def test_json_without_a_field_is_refused(name: str) -> None:
    data = json.loads(made(name).to_json())
    for key in data:
        rest = {other: value for other, value in data.items() if other != key}
        with refused(rb.InputError, f"has no {key!r}", "expected the fields of"):
            type(made(name)).from_json(json.dumps(rest))


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("text", ["", "[1]", "null", "3", '"a"', "{}", "[" * 100_000])
def test_other_json_is_refused(name: str, text: str) -> None:
    with refused(rb.InputError, "expected"):
        type(made(name)).from_json(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [("rank", None), ("values", ["x"]), ("values", [[1.0], [2.0, 3.0]]), ("stored", 3)],
)
def test_a_field_of_another_type_is_refused(key: str, value: Any) -> None:
    data = {**json.loads(made("Spectrum").to_json()), key: value}
    if key == "rank":
        data["values"] = {"a": 1}
    with refused(rb.InputError, "expected"):
        rb.Spectrum.from_json(json.dumps(data))


def test_only_a_text_is_read() -> None:
    with refused(rb.InputTypeError, "text is 3", "expected the JSON"):
        rb.Fit.from_json(3)  # type: ignore[arg-type]


def test_infinities_and_nan_have_words() -> None:
    row = dataclasses.replace(made("Row"), residual=math.inf, tolerance=-math.inf)
    assert '"residual": "inf"' in row.to_json()
    assert type(row).from_json(row.to_json()).tolerance == -math.inf
    with refused(rb.InputError, "residual", "expected"):
        type(row).from_json(row.to_json().replace('"inf"', '"infinite"'))


def test_a_frame_has_the_rows_of_the_table() -> None:
    pytest.importorskip("pandas")
    frame = made("Bracket").to_frame()
    assert list(frame["head_size"]) == [1, 2]
    assert list(made("Report").to_frame()["claim"]) == ["softmax-gauge", "folklore-context-rank"]


def test_plots_show_the_values() -> None:
    axes = made("Spectrum").plot()
    [points] = [line for line in axes.lines if line.get_gid() == "values"]
    assert list(points.get_ydata()) == list(made("Spectrum").values)
    [rule] = [line for line in axes.lines if line.get_gid() == "tolerance"]
    assert set(rule.get_ydata()) == {made("Spectrum").tolerance}
    bracket = made("Bracket")
    drawn = bracket.plot(axes)
    assert drawn is axes
    sides = {line.get_gid(): list(line.get_ydata()) for line in axes.lines}
    assert sides["a head of this size"] == list(bracket.upper)
    assert sides["no head comes below"] == list(bracket.lower)
    report = made("Report")
    marks = {line.get_gid(): line for line in report.plot().lines}
    words = [word.value for word in rb.Verdict]
    for row in report.rows:
        assert list(marks[row.id].get_xdata()) == [words.index(row.evidence.value)]
    wrong = dataclasses.replace(report.rows[0], evidence=rb.Verdict.UNDECIDED)
    hollow = rb.Report((wrong,), "quick", 0).plot().lines[0]
    assert hollow.get_markerfacecolor() == "none"
    with refused(rb.InputError, "spectra of shape", "expected that of one matrix"):
        made("Spectrum of a batch").plot()
    with refused(rb.InputTypeError, "ax is", "expected Axes"):
        made("Spectrum").plot(3)


def test_rounding_is_not_drawn_as_a_divergence() -> None:
    """Of log-rank 3: what is 0 but for 1e-32 lies in the band, and the axis holds the rest."""
    context = rb.random_context(8, seed=0, law="logrank", rank=3)
    bracket = rb.kl_bracket(context, [7, 1, 3, 2, 5])
    axes = bracket.plot()
    lines = {line.get_gid(): line for line in axes.lines if line.get_gid()}
    below, above = axes.get_ylim()
    assert 1e-6 < below < 1e-3 < above < 1
    for side, values in (
        ("a head of this size", bracket.upper),
        ("no head comes below", bracket.lower),
    ):
        assert lines[side].get_xdata().tolist() == [1, 2]
        assert lines[side].get_ydata().tolist() == [values[1], values[3]]
        band = lines[f"{side}: 0 to rounding"]
        assert band.get_xdata().tolist() == [3, 5, 7]
        assert below < max(band.get_ydata()) < min(bracket.lower[[1, 3]])
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels[-1] == "0 to\nrounding" and len(labels) > 2
    [note] = [text.get_text() for text in axes.texts]
    assert note.startswith(r"$\leq$") and r"\times10^{-3" in note


def test_a_bracket_of_zeros_is_a_band() -> None:
    """Uniform attention: no size misses it, and there is no room for how large the zeros are."""
    axes = rb.kl_bracket(np.full((5, 5), 0.2), [1, 2]).plot()
    lines = {line.get_gid(): line for line in axes.lines}
    assert lines["a head of this size: 0 to rounding"].get_xdata().tolist() == [1, 2]
    assert lines["a head of this size"].get_xdata().tolist() == []
    assert not axes.texts


def test_a_spectrum_of_zeros_says_so() -> None:
    """Without a warning, which is an error here."""
    axes = made("Spectrum of zeros").plot()
    [points] = [line for line in axes.lines if line.get_gid() == "values"]
    assert points.get_xdata().tolist() == [1, 2, 3] and points.get_ydata().tolist() == [0, 0, 0]
    assert [text.get_text() for text in axes.texts] == ["all values are 0"]
    assert axes.get_yscale() == "linear"


@pytest.mark.parametrize("n", [1, 2, 3, 40])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_singular_values_are_numbered_by_integers(n: int, value: float) -> None:
    assert_integers(rb.spectrum(value * np.eye(n)).plot())


@pytest.mark.parametrize("sizes", [[3], [1, 2], [1, 2, 5]])
def test_head_sizes_are_integers(sizes: list[int]) -> None:
    assert_integers(rb.kl_bracket(rb.random_context(5, seed=0, law="gibbs"), sizes).plot())


def assert_integers(axes: Any) -> None:
    """Of all numbers on the abscissa, one of which is in sight."""
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks and all(float(tick).is_integer() for tick in ticks)


@pytest.mark.parametrize(
    ("values", "shown"),
    [([3e-5, 0.2], 3), ([0.02, 0.025], 1), ([1.0], 1), ([], 1), ([1e-250, 1.0], 5)],
)
def test_the_axis_above_a_band_has_labels(values: list[float], shown: int) -> None:
    scale = Scale.of(values)
    ticks = [digit * 10.0**power for digit, power in scale.ticks]
    assert len(ticks) >= shown and ticks == sorted(ticks, reverse=True)
    assert scale.zero < scale.height(0) <= min(ticks) <= max(ticks) <= scale.height(1.04)
