"""The page of an audit: complete, escaped, without network; and it works in a browser."""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import io
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from email.message import Message
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankbound.auditing.audit import Audit, AuditedHead
from rankbound.auditing.capture import Reproduction
from rankbound.auditing.columns import COLUMNS, NOTATION
from rankbound.auditing.models import ModelFacts
from rankbound.auditing.page import SCRIPTS, bottleneck, page
from rankbound.auditing.page_map import SHARE, HeadMap
from rankbound.auditing.texts import TextFacts
from rankbound.errors import InputTypeError
from rankbound.measuring.head import HeadMeasures, layer_heads, measure_heads
from rankbound.reporting import audit_summary
from rankbound.table import Column
from tests.helpers import refused, script

NAMES = [column.name for column in COLUMNS]
HOSTILE = (
    "</script></title></style><img src=x onerror=\"document.body.id='hacked'\">"
    "<script>document.body.id='hacked'</script>\u2028&amp;'{{data}}"
)
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
]
VOID = {"meta", "br", "wbr", "img", "link", "input", "hr"}

Edit = Callable[[int, int, HeadMeasures], HeadMeasures]


def an_audit(
    layers: int = 2,
    heads: int = 3,
    *,
    windows: int = 1,
    name: str = "a model",
    dtype: str = "float32",
    edit: Edit = lambda layer, head, measures: measures,
) -> Audit:
    """An audit of random heads of size 4 on 12 tokens; up to six differ."""
    rng = np.random.default_rng(7)
    q, k = rng.standard_normal((2, 6, 4, 12))
    measured = list(measure_heads(layer_heads(q, k, scale=0.5)))
    found = tuple(
        AuditedHead(
            w,
            layer,
            f"layers.{layer}",
            h,
            0,
            edit(layer, h, measured[(2 * layer + h + w) % 6]),
            dtype,
            "float32",
        )
        for w in range(windows)
        for layer in range(layers)
        for h in range(heads)
    )
    facts = ModelFacts(
        name, "SomeModel", "some", 1234567, layers, dtype, "float32", False, 512, 1.2e-7, 1.2e-7
    )
    text = TextFacts(hashlib.sha256(b"text").hexdigest(), 99, 12, windows)
    versions = {"Python": "3.11.7", "rankbound": "0.1.0", "transformers": "5.4.0"}
    return Audit(
        found, facts, text, Reproduction(1e-6, 0.25, 4321), complete=True, versions=versions
    )


class Document(HTMLParser):
    """Elements of a page: (tag, attributes, text with that of all within)."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, list[str]]] = []
        self.feed(source)
        self.close()
        assert not self.open, "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        text: list[str] = []
        self.elements.append((tag, dict(attrs), text))
        if tag not in VOID:
            self.open.append((tag, text))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, text in self.open:
            text.append(data)

    def all(self, tag: str, **wanted: str) -> list[str]:
        """Texts of the elements with this tag and these attributes."""
        return [
            "".join(text)
            for found, attributes, text in self.elements
            if found == tag
            and all(
                attributes.get(key.replace("_", "-").strip("-")) == value
                for key, value in wanted.items()
            )
        ]

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script reads."""
        [text] = self.all("script", id="data")
        data: dict[str, Any] = json.loads(text)
        return data


def written(audit: Audit, folder: Path) -> str:
    file = folder / "page.html"
    audit.to_html(file)
    return file.read_bytes().decode("utf-8")


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 3), (48, 32)])
def test_data_are_the_record(layers: int, heads: int, tmp_path: Path) -> None:
    audit = an_audit(layers, heads)
    data = Document(written(audit, tmp_path)).data
    assert data["columns"] == NAMES
    assert len(data["rows"]) == layers * heads
    for row, head in zip(data["rows"], audit.heads, strict=True):
        assert dict(zip(NAMES, row, strict=True)) == head.row()
    for values, head in zip(data["spectra"], audit.heads, strict=True):
        assert values == pytest.approx(head.measures.centred_values.tolist(), rel=5e-4)


def test_page_of_a_saved_record_is_the_same(tmp_path: Path) -> None:
    audit = an_audit()
    assert page(json.loads(audit.to_json())) == written(audit, tmp_path)


def test_facts_are_shown(tmp_path: Path) -> None:
    audit = an_audit(5, 3)
    document = Document(written(audit, tmp_path))
    facts = dict(zip(document.all("dt"), document.all("dd"), strict=True))
    assert facts["Model type"] == "some (SomeModel)"
    assert facts["Attention layers"] == "5"
    assert facts["Query heads per layer"] == "3"
    assert facts["Key/value heads per layer"] == "1"
    assert facts["Head size"] == "4"
    assert facts["Parameters"] == "1,234,567"
    assert facts["Windows"] == "1, of 12 tokens each"
    assert facts["SHA-256 of the input"] == audit.text.sha256
    assert facts["Versions"] == "Python 3.11.7, rankbound 0.1.0, transformers 5.4.0"
    assert facts["Weights stored in"] == facts["Model run in"] == "float32"
    assert document.all("h1") == ["a model"]
    assert document.all("title") == ["Audit of a model"]
    assert "Not audited" not in facts
    assert (
        "In 15 of 15 heads the log-rank is at its bound, and in 15 this bound binds at this "
        "length: almost every matrix of attention weights of 12 tokens needs 11, and the bound is "
        "4."
    ) in document.all("p", _class="lead")[0]


def test_every_column_is_defined(tmp_path: Path) -> None:
    document = Document(written(an_audit(), tmp_path))
    for name, meaning in ((column.name, column.meaning) for column in COLUMNS):
        plain = as_shown(meaning)
        assert document.all("dd", id=f"column-{name}") == [plain]
        assert name in document.all("code")
    assert as_shown(NOTATION) in document.all("p")


def as_shown(text: str) -> str:
    """A text without the marks of code and of subscripts."""
    lowered = re.sub(r"\b([nkjLPCsτ])_(?=\w(?![A-Za-z0-9]))", r"\1", text)
    return lowered.replace("`", "").translate(str.maketrans("₀₁₂", "012"))


def columns_of(audit: Audit) -> list[Column]:
    return [column for column in audit.table().columns if isinstance(column, Column)]


def test_one_list_is_the_record_the_frame_the_table_and_the_page() -> None:
    audit = an_audit()
    assert [list(head.row()) for head in audit.heads[:1]] == [NAMES]
    assert set(NAMES) < set(json.loads(audit.to_json())["heads"][0])
    printed = [column.heading for column in columns_of(audit)]
    idle = ("kl_size_upper", "module")  # not for a budget, and one kind of layer
    asked = [column for column in COLUMNS if column.name not in idle]
    assert printed == [column.title for column in asked if column.title][1:]  # one window
    assert printed[:5] == ["layer", "head", "key/value head", "size", "log-rank"]
    assert columns_of(an_audit(windows=2))[0].heading == "window"
    measured = {column.name for column in COLUMNS if not column.place}
    own = {"kl_errors", "logit_values", "centred_values", "threshold"}  # beside the columns
    fields = {field.name for field in dataclasses.fields(HeadMeasures)} - own
    assert (
        fields
        <= measured
        <= fields | {*("log_rank", "kl_three_quarters", "kl_half", "kl_quarter", "at_bottleneck")}
    )


def test_columns_are_defined_in_the_documentation_as_in_the_page() -> None:
    """``make columns`` writes them."""
    document = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    _, found, rest = document.partition("<!-- columns: written by make columns -->\n")
    assert found
    assert rest.partition("\n\n<!-- end of columns -->")[0] == script("make_columns").as_markdown()
    assert "|" not in NOTATION + "".join(
        column.meaning for column in COLUMNS
    )  # it would end a cell


def test_what_comes_from_outside_is_inert(tmp_path: Path) -> None:
    source = written(an_audit(name=HOSTILE, dtype=HOSTILE), tmp_path)
    document = Document(source)
    tags = [tag for tag, _, _ in document.elements]
    assert "img" not in tags
    assert tags.count("script") == 2
    assert document.all("h1") == [HOSTILE]
    assert {row[-2] for row in document.data["rows"]} == {HOSTILE}
    [data] = document.all("script", id="data")
    assert not set("<>&\u2028\u2029") & set(data)
    # what marks a place in the template is filled in once
    assert source.count('"columns":[') == 1


def test_a_name_that_utf8_cannot_hold_is_written(tmp_path: Path) -> None:
    assert Document(written(an_audit(name="odd \udc80"), tmp_path)).all("h1") == ["odd ?"]


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    source = written(an_audit(), tmp_path)
    assert set(re.findall(r"\w+://[^\s\"']*", source)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttp|WebSocket|\bimport\b|\beval\b", source)
    document = Document(source)
    for tag, attributes, _ in document.elements:
        assert not {"src", "href", "srcset", "style", "action"} & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag


def test_policy_allows_the_page_s_own_script_and_style(tmp_path: Path) -> None:
    document = Document(written(an_audit(), tmp_path))
    [policy] = [a["content"] for _, a, _ in document.elements if a.get("http-equiv")]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    [style] = document.all("style")
    script = document.all("script")[-1]
    for rule, content in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def odd(layer: int, head: int, measures: HeadMeasures) -> HeadMeasures:
    """Head 0 is not a number; head 1 knows only bounds, with a mask and a cap."""
    if head == 0:
        return replace(measures, log_effective_rank=math.nan, context_effective_rank=None)
    return replace(
        measures,
        log_rank_lower=1,
        log_rank_upper=3,
        masked=True,
        softcap=50.0,
        generic_log_rank=None,
    )


def test_holes_and_intervals(tmp_path: Path) -> None:
    document = Document(written(an_audit(1, 2, edit=odd), tmp_path))
    first, second = (dict(zip(NAMES, row, strict=True)) for row in document.data["rows"])
    assert first["log_effective_rank"] is None
    assert first["context_effective_rank"] is None
    assert (second["log_rank"], second["log_rank_lower"], second["log_rank_upper"]) == (None, 1, 3)


def test_limits_are_those_of_the_record(tmp_path: Path) -> None:
    plain = "\n".join(Document(written(an_audit(), tmp_path)).all("li"))
    assert "One text" in plain
    assert "stored in float32 and the model was run in float32" in plain
    for word in ("mask", "bounds", "capped"):
        assert word not in plain
    special = "\n".join(Document(written(an_audit(edit=odd), tmp_path)).all("li"))
    for word in ("hidden by a mask", "between bounds", "capped"):
        assert word in special


def test_at_the_bound_and_bound_are_two_counts(tmp_path: Path) -> None:
    """A causal context of as many tokens as need just the head size: at its bound, not bound."""

    def wide(layer: int, head: int, measures: HeadMeasures) -> HeadMeasures:
        return replace(measures, masked=True, generic_log_rank=4, log_rank_lower=4 - (head == 0))

    expected = (
        "In 4 of 6 heads the log-rank is at its bound, and in 0 this bound binds at this length: "
        "almost every matrix of attention weights of 12 tokens under its mask needs 4, and the "
        "bound is 4."
    )
    audit = an_audit(edit=wide)
    assert expected in Document(written(audit, tmp_path)).all("p", _class="lead")[0]
    assert any(line.startswith(expected) for line in audit_summary(audit))
    unknown = bottleneck([head.row() for head in an_audit(edit=odd).heads])
    assert unknown.endswith("at this length: almost every matrix of attention weights needs more.")
    assert not replace(audit.heads[1].measures, generic_log_rank=None).at_bottleneck


def test_an_interrupted_audit_says_so(tmp_path: Path) -> None:
    audit = replace(an_audit(), complete=False)
    assert "interrupted" in written(audit, tmp_path)
    assert "interrupted" not in written(an_audit(), tmp_path)
    nothing = Document(written(replace(audit, heads=()), tmp_path))
    assert nothing.all("p", _class="lead") == ["No head was measured."]


def test_no_path() -> None:
    with refused(InputTypeError, "path is 3", "expected the path"):
        an_audit().to_html(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["page.html", "page.css", *SCRIPTS])
def test_parts_lie_in_the_package(name: str) -> None:
    part = resources.files("rankbound.auditing").joinpath(name)
    lines = part.read_text(encoding="utf-8").splitlines()
    assert 0 < len(lines) < 300


# The map


def below(layer: int, head: int, measures: HeadMeasures) -> HeadMeasures:
    """Head 0 of layer 0 is one below its bound."""
    return replace(measures, log_rank_lower=measures.log_rank_bound - (layer + head == 0))


def test_colours_run_over_the_range_of_the_record_and_exceptions_are_marked() -> None:
    rows = [head.row() for head in an_audit(2, 3, edit=below).heads]
    drawn = HeadMap.of(rows)
    shares = [row["log_effective_rank"] / row["head_size"] for row in rows]
    assert drawn.shares == shares
    wide = max(shares) - min(shares)
    assert drawn.colours == pytest.approx([(share - min(shares)) / wide for share in shares])
    assert drawn.corners == [True] + [False] * 5
    assert "log-rank below its bound" in drawn.legend()
    assert f"<span>{min(shares):.2f}</span>" in drawn.legend()
    few = HeadMap.of([{**row, "log_rank_lower": int(i == 5)} for i, row in enumerate(rows)])
    assert few.corners == [False] * 6  # none at its bound of 4
    assert "corner" not in few.legend()
    one = HeadMap.of([{**row, "log_rank_bound": 1 + (i != 5)} for i, row in enumerate(rows)])
    assert not one.below or one.corners.count(True) < 4
    equal = HeadMap.of([{**row, "log_effective_rank": 2.0} for row in rows])
    assert equal.colours == [0.5] * 6
    assert HeadMap.of([]).picture([]) == ""


def test_marks_are_of_the_fewer() -> None:
    rows = [head.row() for head in an_audit(2, 3).heads]
    for many in range(7):
        drawn = HeadMap.of([{**r, "log_rank_lower": 4 - (i >= many)} for i, r in enumerate(rows)])
        assert sum(drawn.corners) == min(many, 6 - many)
        assert drawn.below == (many > 3)


def test_a_reader_without_scripts_sees_the_map(tmp_path: Path) -> None:
    audit = an_audit(2, 3, windows=2, name=HOSTILE)
    source = written(audit, tmp_path)
    [hidden] = re.findall(r"<noscript>(.*?)</noscript>", source, flags=re.DOTALL)
    document = Document(hidden)
    shares = [f"{h.measures.log_effective_rank / 4:.2f}" for h in audit.heads if h.window == 0]
    assert document.all("text") == ["0", "1", "2", "0", "1", *shares]
    assert len([1 for tag, a, _ in document.elements if a.get("class") == "high"]) == 6


def test_symbols_are_set_in_italics_and_words_are_not(tmp_path: Path) -> None:
    source = written(an_audit(), tmp_path)
    assert "<i>C</i> <i>L</i>" in source
    assert "<i>τ</i><sub><i>j</i></sub>" in source
    assert "<i>s</i><sub>1</sub>" in source
    assert "model&#x27;s" in source or "model’s" in source
    assert "&#x27;<i>s</i>" not in source


def test_a_link_to_the_documentation_where_the_project_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    footer = Document(written(an_audit(), tmp_path)).all("footer")[0]
    assert footer.endswith("docs/audit.md of rankbound.") or "What an audit says" in footer
    found = Message()
    found["Project-URL"] = "Documentation, https://example.org/audit"
    monkeypatch.setattr("rankbound.auditing.page.metadata", lambda _: found)
    document = Document(written(an_audit(), tmp_path))
    assert [a["href"] for tag, a, _ in document.elements if tag == "a"] == [
        "https://example.org/audit"
    ]


def linear(colour: str) -> Any:
    """sRGB as light."""
    s = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)


LMS = np.array(  # Ottosson's Oklab, which CSS Color 4 takes
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def mixed(high: str, low: str, share: float) -> Any:
    """`color-mix(in oklab, high share, low)`, as light."""
    lab = [OKLAB @ np.cbrt(LMS @ linear(colour)) for colour in (high, low)]
    mean = share * lab[0] + (1 - share) * lab[1]
    return np.linalg.solve(LMS, np.linalg.solve(OKLAB, mean) ** 3)


@pytest.mark.parametrize(("theme", "turn"), [(0, 0.62), (1, 0.43)])
def test_numbers_in_the_map_are_legible_in_both_themes(theme: int, turn: float) -> None:
    """The contrast of WCAG 2.2, 4.5 to 1, on every colour; `turn` is where the ink changes."""
    style = resources.files("rankbound.auditing").joinpath("page.css").read_text("utf-8")
    colours = {
        name: re.findall(rf"--{name}: (#[0-9a-f]{{6}})", style)[theme]
        for name in ("low", "high", "on-low", "on-high")
    }

    def luminance(light: Any) -> float:
        return float(np.array([0.2126, 0.7152, 0.0722]) @ light)

    def contrast(ground: Any, ink: str) -> float:
        pair = sorted((luminance(ground), luminance(linear(ink))))
        return (pair[1] + 0.05) / (pair[0] + 0.05)

    for share in np.linspace(0, 1, 1001):
        ground = mixed(colours["high"], colours["low"], share)
        assert contrast(ground, colours["on-high" if share > turn else "on-low"]) >= 4.5


# In a browser


def shown(folder: Path, source: str, fragment: str = "", drive: str = "") -> Document:
    """The document after its script, and then `drive`, have run in a browser."""
    if drive:
        source = re.sub(r'content="default-src[^"]*"', 'content=""', source)
        source = source.replace("</body>", f"<script>{drive}</script></body>")
    file = folder / "shown.html"
    file.write_text(source, encoding="utf-8")
    command = [
        str(BROWSER),
        *QUIET,
        f"--user-data-dir={folder / 'profile'}",
        "--dump-dom",
        f"{file.as_uri()}{fragment}",
    ]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return Document(done.stdout.decode("utf-8"))


def table(document: Document) -> list[dict[str, str]]:
    """The rows of the table, as shown."""
    names = [a["data-column"] or "" for _, a, _ in document.elements if "data-column" in a]
    cells = [
        "".join(text)
        for tag, a, text in document.elements
        if tag == "td" or (tag == "th" and a.get("scope") == "row")
    ]
    return [
        dict(zip(names, cells[i : i + len(names)], strict=True))
        for i in range(0, len(cells), len(names))
    ]


needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium to show the page in")


@needs_browser
def test_browser_shows_what_the_address_asks_for(tmp_path: Path) -> None:
    audit = an_audit(2, 3, windows=2, name=HOSTILE)
    source = written(audit, tmp_path)
    document = shown(tmp_path, source, "#window=1&layer=1&head=2&sort=entropy&order=descending")
    rows = table(document)
    assert len(rows) == 12
    assert set(rows[0]) == set(NAMES)
    entropies = sorted((head.measures.entropy for head in audit.heads), reverse=True)
    assert [float(row["entropy"]) for row in rows] == pytest.approx(entropies, abs=1e-3)
    sorted_by = {
        a["data-column"]: a["aria-sort"] for _, a, _ in document.elements if "aria-sort" in a
    }
    assert sorted_by == {"entropy": "descending"}
    assert document.all("h3", id="chosen") == ["Layer 1, head 2"]
    chosen = next(h for h in audit.heads if (h.window, h.layer, h.head) == (1, 1, 2)).measures
    cells = [a for _, a, _ in document.elements if "cell" in (a.get("class") or "").split()]
    assert len(cells) == 6  # those of the chosen window
    assert [a["data-row"] for a in cells if a["aria-selected"] == "true"] == ["11"]
    [cell] = document.all("div", aria_selected="true")
    assert float(cell) == pytest.approx(chosen.log_effective_rank / 4, abs=5e-3)
    marked = [a for a in cells if "ring" in (a["class"] or "").split()]
    shares = [h.measures.log_effective_rank / 4 for h in audit.heads if h.window == 1]
    assert len(marked) == sum(share >= SHARE for share in shares)
    assert not any("corner" in (a["class"] or "").split() for a in cells)  # all at their bound
    assert len([1 for tag, _, _ in document.elements if tag == "circle"]) == chosen.log_rank
    # the hostile name stayed a name
    assert not [1 for _, a, _ in document.elements if a.get("id") == "hacked"]
    assert document.all("h1") == [HOSTILE]


@needs_browser
def test_browser_shows_two_digits_of_what_is_small(tmp_path: Path) -> None:
    """5.8e-5 is not 0.0001, beside numbers of any size."""
    values = (5.8e-5, 0.00123, 0.5, 2e-9)

    def small(layer: int, head: int, measures: HeadMeasures) -> HeadMeasures:
        return replace(measures, entropy=values[head])

    rows = table(shown(tmp_path, written(an_audit(1, 4, edit=small), tmp_path)))
    assert [row["entropy"] for row in rows] == ["5.8e-5", "0.0012", "0.5000", "2.0e-9"]


@needs_browser
def test_browser_holes_intervals_and_addresses_that_ask_for_nothing(tmp_path: Path) -> None:
    source = written(an_audit(1, 2, edit=odd), tmp_path)
    document = shown(tmp_path, source, "#layer=9&sort=log_effective_rank")
    first, second = table(document)  # what is no number stands last
    assert (first["log_rank"], first["masked"], first["generic_log_rank"]) == ("1–3", "yes", "–")
    assert (second["log_effective_rank"], second["context_effective_rank"]) == ("–", "–")
    assert document.all("h3", id="chosen") == ["Layer 0, head 0"]
    assert [a for _, a, _ in document.elements if "unknown" in (a.get("class") or "").split()]


DRIVE = """
const press = (node, key) => node.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const heading = document.querySelector("th[data-column=kl_half] button");
heading.click(); heading.click();
document.querySelector(".cell[data-row='1']").click();
press(document.activeElement, "ArrowDown");
press(document.activeElement, "ArrowRight");
press(document.activeElement, "ArrowRight");
press(document.activeElement, "Home");
document.body.dataset.home = document.querySelector("#chosen").textContent;
press(document.activeElement, "End");
document.body.dataset.first = document.querySelector("#chosen").textContent;
document.querySelector("tr[data-row='0']").click();
document.body.dataset.second = document.querySelector("#chosen").textContent;
document.body.dataset.address = location.hash;
const root = document.documentElement;
document.body.dataset.wide = root.scrollWidth > root.clientWidth;
"""


@needs_browser
def test_browser_sorts_and_chooses_by_mouse_and_keyboard(tmp_path: Path) -> None:
    audit = an_audit(2, 3)
    document = shown(tmp_path, written(audit, tmp_path), drive=DRIVE)
    [body] = [a for tag, a, _ in document.elements if tag == "body"]
    assert body["data-home"] == "Layer 1, head 0"
    assert body["data-first"] == "Layer 1, head 2"  # and the map ends there
    assert body["data-second"] == "Layer 0, head 0"
    assert body["data-address"] == "#window=0&layer=0&head=0&sort=kl_half&order=descending"
    assert body["data-wide"] == "false"
    losses = sorted((head.measures.kl_half for head in audit.heads), reverse=True)
    assert [float(row["kl_half"]) for row in table(document)] == pytest.approx(losses, abs=1e-3)
    current = [a["data-row"] for tag, a, _ in document.elements if a.get("aria-current") == "true"]
    assert current == ["0"]


FILTER = """
const ask = (text) => {
  const field = document.getElementById("filter");
  field.value = text;
  field.dispatchEvent(new Event("input", {bubbles: true}));
  return document.getElementById("count").textContent;
};
const said = document.body.dataset;
said.bad = ask("layer of 1");
said.none = ask("no such column = 1");
said.words = ask("head size k = 4, masked = no");
said.fewer = ask("layer = 1, entropy >= 0");
said.csv = asCsv();
said.json = asJson();
said.address = location.hash;
"""


@needs_browser
def test_browser_filters_and_saves(tmp_path: Path) -> None:
    audit = an_audit(2, 3, dtype=HOSTILE)
    document = shown(tmp_path, written(audit, tmp_path), drive=FILTER)
    [body] = [a for tag, a, _ in document.elements if tag == "body"]
    assert str(body["data-bad"]).startswith("not understood: layer of 1; expected a column")
    assert str(body["data-none"]).startswith("not understood: no such column = 1")
    assert body["data-words"] == "6 of 6 rows"
    assert body["data-fewer"] == "3 of 6 rows"
    assert "filter=layer+%3D+1%2C+entropy+%3E%3D+0" in str(body["data-address"])
    wanted = [head.row() for head in audit.heads if head.layer == 1]
    assert json.loads(str(body["data-json"])) == wanted
    names, *rows = csv.reader(io.StringIO(str(body["data-csv"])))
    assert names == NAMES
    assert [dict(zip(names, row, strict=True))["entropy"] for row in rows] == [
        str(row["entropy"]) for row in wanted
    ]
    assert {dict(zip(names, row, strict=True))["storage_dtype"] for row in rows} == {HOSTILE}
    shown_rows = [a for tag, a, _ in document.elements if tag == "tr" and "data-row" in a]
    assert [a["data-row"] for a in shown_rows if "hidden" not in a] == ["3", "4", "5"]
    headers = [a for tag, a, _ in document.elements if a.get("scope") == "row"]
    assert len(headers) == 12  # layer and head of each row


@needs_browser
def test_browser_keeps_the_filter_in_the_address(tmp_path: Path) -> None:
    document = shown(tmp_path, written(an_audit(2, 3), tmp_path), "#filter=head%20%3C%202")
    assert document.all("span", id="count") == ["4 of 6 rows"]
