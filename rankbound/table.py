"""One table for all its renderings: terminal, Markdown, HTML, JSON, data frame.

A table holds values; how they look is said once, in its columns. Records of any floor return
tables, so this module imports neither NumPy nor rich nor pandas before one of them is asked for.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from rankbound.errors import BackendMissing, InputError

if TYPE_CHECKING:
    import rich.table

__all__ = ["Column", "Table", "Tabular"]


@dataclass(frozen=True)
class Column:
    """A column: its name, and how its values look.

    Attributes
    ----------
    name : str
        The key in data frames and JSON.
    title : str, optional
        What a reader sees; the name with spaces for underscores unless given.
    format : str or callable
        A format specification for numbers, for example ".3g", or a function from value to text.
    align : {"left", "right"}, optional
        Right for numbers and left for all else unless given.
    style : callable, optional
        From value to a style of rich, for example "bold green"; for the terminal alone.
    dtype : str, optional
        Of the column in a data frame, where its values do not say so ("Int64" for gaps).
    """

    name: str
    title: str | None = None
    _: KW_ONLY
    format: str | Callable[[Any], str] = ""
    align: Literal["left", "right"] | None = None
    style: Callable[[Any], str] | None = None
    dtype: str | None = None

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


@dataclass(frozen=True)
class Table:
    """Values in rows, with the columns that say how they look.

    Attributes
    ----------
    columns : tuple of Column
        A bare name is a column too.
    rows : tuple of tuples
        One value per column; None where there is none.
    title, caption : str
        Above and below the table; may be empty.

    Examples
    --------
    >>> print(Table(["k", Column("error", format=".1e")], [(1, 0.25), (2, None)]).to_markdown())
    | k | error |
    |---:|---:|
    | 1 | 2.5e-01 |
    | 2 | - |
    """

    columns: Sequence[Column | str]
    rows: Iterable[Sequence[Any]]
    _: KW_ONLY
    title: str = ""
    caption: str = ""

    def __post_init__(self) -> None:
        columns = tuple(Column(c) if isinstance(c, str) else c for c in self.columns)
        rows = tuple(tuple(row) for row in self.rows)
        for row in rows:
            if len(row) != len(columns):
                raise InputError(f"a row has {len(row)} values; expected {len(columns)}: {row!r}.")
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "rows", rows)

    @staticmethod
    def of(records: Iterable[Mapping[str, Any]], columns: Sequence[Column | str]) -> Table:
        """Return a table of mappings: of each, the values that the columns name."""
        names = [c if isinstance(c, str) else c.name for c in columns]
        return Table(columns, [[record.get(name) for name in names] for record in records])

    def records(self) -> list[dict[str, Any]]:
        """Return one dict of plain Python values per row."""
        names = [column.name for column in self._columns]
        return [dict(zip(names, map(_plain, row), strict=True)) for row in self.rows]

    def to_json(self) -> str:
        """Return the rows as a JSON array of objects; null for what is no finite number."""
        rows = [{k: _finite(v) for k, v in record.items()} for record in self.records()]
        return json.dumps(rows, ensure_ascii=False, allow_nan=False)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame, one row per row.

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
        names = [column.name for column in self._columns]
        frame = pandas.DataFrame(self.records(), columns=names)
        return frame.astype({c.name: c.dtype for c in self._columns if c.dtype is not None})

    def to_markdown(self) -> str:
        """Return a Markdown table, without a line break at its end."""
        rules = ("---:" if right else "---" for right in self._right())
        head = [_line(c.heading for c in self._columns), f"|{'|'.join(rules)}|"]
        body = [_line(row) for row in self._texts()]
        title = [f"**{self.title}**", ""] if self.title else []
        return "\n".join([*title, *head, *body, *(["", self.caption] if self.caption else [])])

    def to_html(self) -> str:
        """Return an HTML table; every text is escaped."""
        align = [' style="text-align:right"' if right else "" for right in self._right()]

        def row(tag: str, texts: Iterable[str]) -> str:
            cells = zip(align, texts, strict=True)
            return "<tr>" + "".join(f"<{tag}{a}>{_markup(t)}</{tag}>" for a, t in cells) + "</tr>"

        head = row("th", (column.heading for column in self._columns))
        body = "\n".join(row("td", texts) for texts in self._texts())
        above = f"<caption>{_markup(self.title)}</caption>\n" if self.title else ""
        below = f"\n<p>{_markup(self.caption)}</p>" if self.caption else ""
        return f"<table>\n{above}<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>{below}"

    def __rich__(self) -> rich.table.Table:
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text  # as it stands: brackets are no markup

        shown = RichTable(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            show_header=any(column.heading for column in self._columns),
            title=Text(self.title, "bold") if self.title else None,
            caption=Text(self.caption) if self.caption else None,
        )
        for column, right in zip(self._columns, self._right(), strict=True):
            shown.add_column(Text(column.heading), justify="right" if right else "left")
        for row in self.rows:
            cells = zip(self._columns, row, strict=True)
            shown.add_row(*(Text(c.text(v), c.style(v) if c.style else "") for c, v in cells))
        return shown

    def _repr_html_(self) -> str:
        return self.to_html()

    @property
    def _columns(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if isinstance(column, Column))

    def _texts(self) -> Iterable[list[str]]:
        return (
            [column.text(value) for column, value in zip(self._columns, row, strict=True)]
            for row in self.rows
        )

    def _right(self) -> list[bool]:
        """Whether each column is set to the right: as it says, or where it holds numbers alone."""
        found = []
        for i, column in enumerate(self._columns):
            values = [_plain(row[i]) for row in self.rows if row[i] is not None]
            numbers = bool(values) and all(isinstance(v, (int, float)) for v in values)
            flags = any(isinstance(v, bool) for v in values)
            found.append(column.align == "right" if column.align else numbers and not flags)
        return found


class Tabular:
    """A record that is shown as a table: in a notebook, as Markdown, as a data frame."""

    def table(self) -> Table:
        """Return the record as a table."""
        raise NotImplementedError

    def to_frame(self) -> Any:
        """Return a pandas DataFrame, one row per row of the table.

        Raises
        ------
        BackendMissing
            If pandas is not installed.
        """
        return self.table().to_frame()

    def to_markdown(self) -> str:
        """Return the table in Markdown."""
        return self.table().to_markdown()

    def _repr_html_(self) -> str:
        return self.table().to_html()


def _plain(value: Any) -> Any:
    """A value in plain Python: a word of an enum, a number of NumPy, a list for a sequence."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(texts: Iterable[str]) -> str:
    cells = (text.replace("|", "\\|").replace("\n", "<br>") for text in texts)
    return f"| {' | '.join(cells)} |"


def _markup(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")
