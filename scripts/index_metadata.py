"""What a package index shows of the project: the README, and where the project lives.

A hook of hatchling. An index shows pictures and follows links only by absolute addresses.
CITATION.cff names the repository, as `repository-code`, once there is a public one: then the
picture and the links of the README lead there, to the files of the released version, and the
project has URLs. Until then a picture becomes its description, and a link its words.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

REPOSITORY = re.compile(r"^repository-code: (https://\S+?)/?$", re.MULTILINE)
PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)]*)\)")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:)([^)]*)\)")


def repository(citation: str) -> str | None:
    """The address of the repository that a CITATION.cff names, if it names one."""
    found = REPOSITORY.search(citation)
    return found[1] if found else None


def without_relative(text: str) -> str:
    """A page in Markdown without the pictures and links that are relative."""
    return LINK.sub(r"\1", PICTURE.sub(r"*(Figure: \1.)*", text))


def with_absolute(text: str, address: str, version: str) -> str:
    """A page in Markdown whose pictures and links lead to the files of a version."""
    text = PICTURE.sub(rf"![\1]({address}/raw/v{version}/\2)", text)
    return LINK.sub(rf"[\1]({address}/blob/v{version}/\2)", text)


def urls(address: str, version: str) -> dict[str, str]:
    """The project's URLs, by the names under which an index knows them."""
    return {
        "Repository": address,
        "Documentation": f"{address}/blob/v{version}/docs/index.md",
        "Changelog": f"{address}/blob/v{version}/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }


class IndexMetadata(MetadataHookInterface):
    """Sets the fields ``readme`` and ``urls``, which pyproject.toml calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set them."""
        root, version = Path(self.root), metadata["version"]
        text = (root / "README.md").read_text(encoding="utf-8")
        address = repository((root / "CITATION.cff").read_text(encoding="utf-8"))
        if address is None:
            text = without_relative(text)
        else:
            text = with_absolute(text, address, version)
            metadata["urls"] = urls(address, version)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
