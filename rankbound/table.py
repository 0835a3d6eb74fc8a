"""One table for all its renderings: terminal, Markdown, HTML, JSON, data frame.

It holds values; how they look is said once, in its columns. Records of any floor return tables, so
NumPy, rich and pandas are imported only when one of them is asked for.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from operator import add
from typing import TYPE_CHECKING, Any, Literal

from rankbound.errors import BackendMissing, InputError

if TYPE_CHECKING:
    import rich.console
    import rich.table

SHORT = 40  # characters of what stands beside others in a list
MOST_TELLING = 4  # columns that head a row of a list: window, layer, module and head of an audit


@dataclass(frozen=True)
class Column:
    """A column: its name, and how its values look."""

    name: str  # the key in data frames and JSON
    title: str | None = None  # what a reader sees: by default the name, without underscores
    _: KW_ONLY
    format: str | Callable[[Any], str] = ""  # of numbers (".3g"), or from value to text
    align: Literal["left", "right"] | None = None  # by default right for numbers alone
    style: Callable[[Any], str] | None = None  # from value to a style of rich ("bold green")
    whole: bool = False  # no line of it is broken
    dtype: str | None = None  # in a data frame, where the values do not say so: all None, say

    @property
    def heading(self) -> str:
        """What stands above the column."""
        return self.name.replace("_", " ") if self.title is None else self.title

    def text(self, value: Any) -> str:
        """Return a value as it is shown; "-" where there is none."""
        if value is None:
            return "-"
        if callable(self.format):
            return self.format(value)
        value = _plain(value)
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, (int, float)):
            return format(value, self.format or (".4g" if isinstance(value, float) else ""))
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass(frozen=True, init=False)
class Table:
    """Values in rows, with the columns that say how they look.

    Examples
    --------
    >>> print(Table(["k", Column("error", format=".1e")], [(1, 0.25), (2, None)]).to_markdown())
    | k | error |
    |---:|---:|
    | 1 | 2.5e-01 |
    | 2 | - |
    """

    columns: tuple[Column, ...]  # made of bare names too
    rows: tuple[tuple[Any, ...], ...]  # one value per column; None where there is none
    title: str  # above the table; may be empty, as the caption below it may
    caption: str

    def __init__(
        self,
        columns: Sequence[Column | str],
        rows: Iterable[Sequence[Any]],
        *,
        title: str = "",
        caption: str = "",
    ) -> None:
        named = tuple(Column(one) if isinstance(one, str) else one for one in columns)
        fields = {"columns": named, "rows": tuple(map(tuple, rows))}
        for name, value in {**fields, "title": title, "caption": caption}.items():
            object.__setattr__(self, name, value)
        for row in self.rows:
            if len(row) != len(named):
                raise InputError(f"a row has {len(row)} values; expected {len(named)}: {row!r}.")

    @staticmethod
    def of(records: Iterable[Mapping[str, Any]], columns: Sequence[Column | str]) -> Table:
        """Return a table of mappings: of each, the values that the columns name."""
        names = [c if isinstance(c, str) else c.name for c in columns]
        return Table(columns, [[record.get(name) for name in names] for record in records])

    def records(self) -> list[dict[str, Any]]:
        """Return one dict of plain Python values per row."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, map(_plain, row), strict=True)) for row in self.rows]

    def to_json(self) -> str:
        """Return the rows as a JSON array of objects; null for what is no finite number."""
        return json.dumps(finite(self.records()), ensure_ascii=False, allow_nan=False)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame, one row per row; integers stay integers, also with gaps.

        Raises
        ------
        BackendMissing
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise BackendMissing(
                "to_frame needs pandas, which is not installed: pip install pandas."
            ) from None
        records = self.records()
        columns = {c: [record[c.name] for record in records] for c in self.columns}
        return pandas.DataFrame(
            {c.name: pandas.Series(v, dtype=c.dtype or _gappy(v)) for c, v in columns.items()}
        )

    def to_markdown(self) -> str:
        """Return a Markdown table, without a line break at its end."""
        rules = ("---:" if right else "---" for right in self._right())
        head = [_line(c.heading for c in self.columns), f"|{'|'.join(rules)}|"]
        body = [_line(row) for row in self._texts()]
        title = [f"**{self.title}**", ""] if self.title else []
        return "\n".join([*title, *head, *body, *(["", self.caption] if self.caption else [])])

    def to_html(self) -> str:
        """Return an HTML table; every text is escaped."""
        align = [' style="text-align:right"' if right else "" for right in self._right()]

        def row(tag: str, texts: Iterable[str]) -> str:
            cells = zip(align, texts, strict=True)
            return "<tr>" + "".join(f"<{tag}{a}>{_markup(t)}</{tag}>" for a, t in cells) + "</tr>"

        head = row("th", (column.heading for column in self.columns))
        body = "\n".join(row("td", texts) for texts in self._texts())
        above = f"<caption>{_markup(self.title)}</caption>\n" if self.title else ""
        below = f"\n<p>{_markup(self.caption)}</p>" if self.caption else ""
        return f"<table>\n{above}<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>{below}"

    def __rich_console__(self, console: rich.console.Console, options: Any) -> Iterator[Any]:
        """Side by side where all words fit, else row by row: no word is cut at any width."""
        widths = self._widths(options.max_width)
        yield from self._listed() if widths is None else [self._side_by_side(widths)]

    def _widths(self, room: int) -> list[int] | None:
        """How wide each column may be: its longest word, and of the rest what its texts want."""
        from rich.cells import cell_len

        columns = list(zip(*self._texts(), strict=True)) or [()] * len(self.columns)
        least, most = [], []
        for named, texts in zip(self.columns, columns, strict=True):
            lines = [line for text in (named.heading, *texts) for line in text.split("\n")]
            most.append(max(map(cell_len, lines)))
            words = [[line] if named.whole else line.split() for line in lines]
            least.append(max(cell_len(word) for line in words for word in [*line, ""]))
        # between and beside, and a blank at each edge, which some versions of rich count
        free = room - (3 * len(self.columns) + 1) - sum(least)
        wanted = [full - need for need, full in zip(least, most, strict=True)]
        if free < 0:
            return None
        share = min(1.0, free / max(sum(wanted), 1))
        return [need + int(share * more) for need, more in zip(least, wanted, strict=True)]

    def _side_by_side(self, widths: list[int]) -> rich.table.Table:
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text  # as it stands: brackets are no markup

        shown = RichTable(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            show_header=any(column.heading for column in self.columns),
            title=Text(self.title, "bold") if self.title else None,
            caption=Text(self.caption) if self.caption else None,
        )
        for column, right, width in zip(self.columns, self._right(), widths, strict=True):
            shown.add_column(
                Text(column.heading),
                justify="right" if right else "left",
                width=width,
                overflow="fold",
            )
        for row in self.rows:
            cells = zip(self.columns, row, strict=True)
            shown.add_row(*(Text(c.text(v), c.style(v) if c.style else "") for c, v in cells))
        return shown

    def _listed(self) -> Iterator[Any]:
        """Each row by itself: what tells it apart, and below it the others with their headings."""
        from rich.padding import Padding
        from rich.text import Text

        yield from [Text(f"\n{self.title}\n", "bold")] if self.title else []
        # before a number what it is, as "layer 0 · head 3"
        right = zip(self.columns, self._right(), strict=True)
        what = [f"{column.heading} " if number else "" for column, number in right]
        many = self._telling()
        for row in self._texts():
            first = " · ".join(map(add, what[:many], row))
            named = zip(self.columns[many:], row[many:], strict=True)
            parts = [f"{c.heading}: {text}" if c.heading else text for c, text in named]
            short = " · ".join(part for part in parts if len(part) <= SHORT)
            yield Text(first, "bold", no_wrap=True, overflow="ignore")
            for line in filter(None, (short, *(part for part in parts if len(part) > SHORT))):
                yield Padding(Text(line, overflow="fold"), (0, 0, 0, 2))
        yield Text(f"{self.caption}\n" if self.caption else "")

    def _telling(self) -> int:
        """How many of the first columns tell all rows apart: one, where a few do not."""
        rows = list(map(tuple, self._texts()))
        counts = range(1, min(MOST_TELLING, len(self.columns)) + 1)
        return next((k for k in counts if len({row[:k] for row in rows}) == len(rows)), 1)

    def _repr_html_(self) -> str:
        return self.to_html()

    def _texts(self) -> Iterable[list[str]]:
        return (
            [column.text(value) for column, value in zip(self.columns, row, strict=True)]
            for row in self.rows
        )

    def _right(self) -> list[bool]:
        """Whether each column is set to the right: as it says, or where it holds numbers alone."""
        found = []
        for i, column in enumerate(self.columns):
            kinds = {type(_plain(row[i])) for row in self.rows if row[i] is not None}
            numbers = bool(kinds) and kinds <= {int, float}
            found.append(column.align == "right" if column.align else numbers)
        return found


def _plain(value: Any) -> Any:
    """A value in plain Python: a word of an enum, a number of NumPy, a list for a sequence."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    return value


def _gappy(values: list[Any]) -> str | None:
    """The dtype of integers with gaps, which pandas would round to float64."""
    if {type(value) for value in values} != {int, type(None)}:
        return None
    narrow = all(value is None or -(2**63) <= value < 2**63 for value in values)
    return "Int64" if narrow else "object"


def finite(value: Any) -> Any:
    """A value for JSON, which has no NaN: None for it and for infinity, also inside."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(texts: Iterable[str]) -> str:
    cells = (text.replace("|", "\\|").replace("\n", "<br>") for text in texts)
    return f"| {' | '.join(cells)} |"


def _markup(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")
