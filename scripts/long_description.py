"""The README as a package index shows it, for hatchling: no picture, no link into the repository.

An index shows pictures and follows links only by absolute addresses, and the project has none yet:
a picture becomes its description, and a link its words.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)[^)]*\)")
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)[^)]*\)")


def absolute_only(text: str) -> str:
    """A page in Markdown without pictures and links that are relative."""
    return LINK.sub(r"\1", PICTURE.sub(r"*(Figure: \1.)*", text))


class LongDescription(MetadataHookInterface):
    """Sets the field ``readme``, which pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set it."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute_only(text)}
