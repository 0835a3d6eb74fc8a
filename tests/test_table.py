"""One table, whatever it is shown as: the same values, and nothing in them taken for markup."""

from __future__ import annotations

import html.parser
import io
import json
import math
from importlib.util import find_spec

import numpy as np
import pytest
from rich.console import Console

from rankbound.errors import InputError
from rankbound.reporting import answer_table
from rankbound.table import Column, Table
from rankbound.verdict import Verdict

TABLE = Table(
    [
        "name",
        Column("head_size", dtype="Int64"),
        Column("error", "KL <of a head>", format=".1e"),
        Column("evidence", style=lambda verdict: "green"),
        "whole",
    ],
    [
        ("a|b [bold]", np.int64(4), 0.25, Verdict.CERTIFIED, True),
        ("two\nlines & <script>", None, math.inf, Verdict.SUPPORTED, np.False_),
    ],
    title="T",
    caption="below",
)


def terminal(table: Table, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table, crop=False)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


class Cells(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts += [data] if data.strip() else []


def test_markdown() -> None:
    assert TABLE.to_markdown().split("\n") == [
        "**T**",
        "",
        "| name | head size | KL <of a head> | evidence | whole |",
        "|---|---:|---:|---|---|",
        r"| a\|b [bold] | 4 | 2.5e-01 | certified | yes |",
        "| two<br>lines & <script> | - | inf | supported | no |",
        "",
        "below",
    ]


def test_terminal_shows_brackets_as_they_stand() -> None:
    printed = terminal(TABLE)
    assert "a|b [bold]" in printed
    assert "KL <of a head>" in printed
    assert "2.5e-01" in printed
    assert "below" in printed


LONG = Table(
    ["claim", "status", "instances", "statement", "source"],
    [
        ("forster-hadamard-of-thirty-two", "supported", 12, "a statement of " * 12, "lee2019"),
        ("a", "certified", 3, "short", "a-source-with-a-name-of-thirty-nine-letters"),
    ],
    title="Title",
    caption="caption",
)


@pytest.mark.parametrize("width", [12, 20, 40, 80, 120, 200, 400])
def test_no_word_is_cut_at_any_width(width: int) -> None:
    """Names stand whole; what is side by side is not wider than the terminal."""
    lines = terminal(LONG, width).splitlines()
    for word in ("forster-hadamard-of-thirty-two", "supported", "statement", "lee2019", "Title"):
        assert any(word in line for line in lines)
    assert any("a-source-with-a-name-of-thirty-nine-letters" in line for line in lines) == (
        width >= 52
    )
    assert "…" not in "".join(lines)
    beyond = [line.rstrip() for line in lines if len(line.rstrip()) > width]
    assert set(beyond) <= {"forster-hadamard-of-thirty-two"}  # a first value, which is a name
    assert any(
        line.split() == ["claim", "status", "instances", "statement", "source"] for line in lines
    ) == (width >= 120)


def test_rows_of_a_list_are_told_apart_by_their_headings() -> None:
    """Of an audit each head by its layer and its own number, not by the layer alone."""
    rows = [(layer, head, "a-word-of-many-letters") for layer in (0, 1) for head in (0, 1)]
    lines = [
        line.strip() for line in terminal(Table(["layer", "head", "what"], rows), 24).split("\n")
    ]
    headed = [line for line in lines if line.startswith("layer")]
    assert headed == [f"layer {i} · head {j}" for i in (0, 1) for j in (0, 1)]


def test_labels_of_an_answer_are_not_broken() -> None:
    answer = answer_table([("least head size", 3), ("evidence", "some words " * 30)])
    for width in (24, 40, 80, 120):
        assert "least head size" in terminal(answer, width)


def test_a_row_of_numbers_is_named_by_its_heading() -> None:
    lines = terminal(Table(["head_size", "statement"], [(4, "a-word-of-many-letters")]), 20)
    assert lines.split() == ["head", "size", "4", "statement:", "a-word-of-many-let", "ters"]


def test_html_holds_no_markup_of_the_values() -> None:
    cells = Cells(TABLE.to_html())
    assert "script" not in cells.tags
    assert cells.tags.count("td") == 10
    assert "a|b [bold]" in cells.texts
    assert "lines & <script>" in cells.texts
    assert TABLE._repr_html_() == TABLE.to_html()


def test_json_is_plain() -> None:
    first, second = json.loads(TABLE.to_json())
    assert first == {
        "name": "a|b [bold]",
        "head_size": 4,
        "error": 0.25,
        "evidence": "certified",
        "whole": True,
    }
    assert (second["head_size"], second["error"], second["whole"]) == (None, None, False)


@pytest.mark.skipif(not find_spec("pandas"), reason="needs pandas")
def test_frame_keeps_values_and_kinds() -> None:
    frame = TABLE.to_frame()
    assert list(frame.columns) == ["name", "head_size", "error", "evidence", "whole"]
    assert str(frame["head_size"].dtype) == "Int64"
    assert frame["error"].tolist() == [0.25, math.inf]
    assert frame["head_size"].isna().tolist() == [False, True]
    assert Table(["a"], []).to_frame().shape == (0, 1)


@pytest.mark.skipif(not find_spec("pandas"), reason="needs pandas")
@pytest.mark.parametrize(("big", "dtype"), [(2**53 + 1, "Int64"), (2**63, "object")])
def test_frame_keeps_integers_with_gaps(big: int, dtype: str) -> None:
    frame = Table(["a", "b"], [(big, 0.5), (None, None)]).to_frame()
    assert str(frame["a"].dtype) == dtype
    assert frame["a"].tolist()[0] == big
    assert frame["a"].isna().tolist() == [False, True]
    assert str(frame["b"].dtype) == "float64"


def test_rows_must_fit_and_mappings_do() -> None:
    with pytest.raises(InputError, match="a row has 1 values; expected 2"):
        Table(["a", "b"], [(1,)])
    assert Table.of([{"a": 1, "c": 2}, {}], ["a"]).records() == [{"a": 1}, {"a": None}]


def test_a_table_without_headings_has_no_head() -> None:
    table = Table([Column("key", ""), Column("value", "")], [("n", 4)])
    assert terminal(table).split() == ["n", "4"]
