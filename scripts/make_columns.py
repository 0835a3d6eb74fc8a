"""Write the definitions of an audit's columns into ``docs/audit.md``; a test compares the two."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap

from rankbound.auditing.columns import COLUMNS, NOTATION

TARGET = Path(__file__).parent.parent / "docs" / "audit.md"
BEGIN, END = "<!-- columns: written by make columns -->\n", "\n\n<!-- end of columns -->"


def as_markdown() -> str:
    """Notation and meanings as a paragraph and a table."""
    rows = (f"| `{column.name}` | {column.meaning} |" for column in COLUMNS)
    return "\n".join([*wrap(NOTATION, 100), "", "| column | meaning |", "|---|---|", *rows])


def main() -> None:
    """Replace what stands between the marks."""
    before, _, rest = TARGET.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END.lstrip())
    if not mark:
        raise SystemExit(f"{TARGET}: the marks of the columns are gone")
    TARGET.write_text(before + BEGIN + as_markdown() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
