"""What is released: README, citation, versions, and what a package index shows."""

from __future__ import annotations

import argparse
import re
import shutil
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

import rankbound as rb
from rankbound.cli.main import make_parser
from tests.helpers import script

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CITATION = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
make_readme = script("make_readme")


def test_the_table_of_claims_is_that_of_the_registry() -> None:
    text = README.partition(make_readme.BEGIN)[2].partition(make_readme.END)[0]
    assert text == make_readme.block()
    for claim in make_readme.SHOWN:
        assert f"| `{claim}` | {rb.claims[claim].status} |" in text
    assert f"Of {len(rb.claims)} claims" in text


def test_the_readme_is_short_and_its_links_are_true() -> None:
    assert len(README.splitlines()) <= 150
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(links) >= 12
    assert not [link for link in links if not (ROOT / link).exists()]
    assert README.count("![") == 1


def test_one_version_everywhere() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+) \((\d{4}-\d{2}-\d{2})\)$", changes, re.MULTILINE)
    assert newest
    assert newest[1] == PROJECT["version"]
    assert f"\nversion: {newest[1]}\ndate-released: {newest[2]}\n" in CITATION


def test_the_citation_is_whole() -> None:
    """What the format requires, and what a reference is made of; the schema if PyYAML is here."""
    for field in ("cff-version: 1.2.0", "message:", "title:", "type: software", "license: MIT"):
        assert re.search(rf"^{re.escape(field)}", CITATION, re.MULTILINE), field
    for field in ("abstract:", "keywords:", "authors:\n  - name:", "references:\n  - type:"):
        assert f"\n{field}" in CITATION
    for name in ("Bhojanapalli", "Yun", "Rawat", "Reddi", "Kumar"):
        assert f"family-names: {name}, given-names: " in CITATION
    assert PROJECT["license"] == "MIT"
    assert f"keywords: [{', '.join(PROJECT['keywords'])}]" in CITATION
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with the documentation's packages")
    data = yaml.safe_load(CITATION)
    assert {"cff-version", "message", "title", "authors"} <= set(data)
    (paper,) = data["references"]
    assert {"type", "title", "authors", "year", "conference", "url"} <= set(paper)


def metadata_of_wheel(root: Path, folder: Path) -> Message:
    """What an index reads in a wheel that is built here."""
    builders = pytest.importorskip("hatchling.builders.wheel", reason="needs rankbound[dev]")
    (wheel,) = builders.WheelBuilder(str(root)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(files.read(name))


def test_an_index_shows_no_broken_picture_or_link(tmp_path: Path) -> None:
    told = metadata_of_wheel(ROOT, tmp_path)
    assert told["Version"] == PROJECT["version"]
    assert told["Description-Content-Type"] == "text/markdown"
    text = str(told.get_payload())
    assert not re.findall(r"\]\((?!https?:)[^)]*\)", text)
    assert "https://arxiv.org/abs/2002.07028" in text
    assert "Aitchison error and KL divergence" in text
    assert text.splitlines()[2:9] == README.splitlines()[2:9]


def test_the_repository_is_named_in_one_place(tmp_path: Path) -> None:
    """CITATION.cff: pictures, links and the URLs of a release follow from it."""
    for name in ("README.md", "LICENSE", "pyproject.toml", "scripts", "rankbound/__init__.py"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    there = "https://example.org/rankbound"
    without = re.sub(r"^repository-code: .*\n", "", CITATION, flags=re.MULTILINE)
    (tmp_path / "CITATION.cff").write_text(f"{without}repository-code: {there}/\n")
    told = metadata_of_wheel(tmp_path, tmp_path / "with")
    version = PROJECT["version"]
    urls = told.get_all("Project-URL", [])
    assert f"Repository, {there}" in urls
    assert f"Changelog, {there}/blob/v{version}/CHANGELOG.md" in urls
    text = str(told.get_payload())
    assert not re.findall(r"\]\((?!https?:)[^)]*\)", text)
    assert f"]({there}/raw/v{version}/figures/cliff.png)" in text
    linked = re.findall(re.escape(f"]({there}/blob/v{version}/") + r"([^)#]+)", text)
    assert len(linked) >= 12
    assert not [name for name in linked if not (ROOT / name).exists()]

    (tmp_path / "CITATION.cff").write_text(without)
    told = metadata_of_wheel(tmp_path, tmp_path / "without")
    assert told.get_all("Project-URL") is None
    assert "*(Figure: Aitchison error and KL divergence" in str(told.get_payload())


def options(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, set[str]]]:
    """Each command and its long options."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in inner:
        for word, command in action.choices.items():
            yield from options(command, f"{name} {word}".strip())
    if not inner:
        flags = {flag for action in parser._actions for flag in action.option_strings}
        yield name, {flag for flag in flags if flag.startswith("--")} - {"--help"}


def test_the_page_of_the_command_line_names_all_of_it() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([a-z -]+)` \| (.*) \|$", page, flags=re.MULTILINE))
    for name, flags in options(make_parser()):
        assert f"\nrankbound {name} " in page
        assert set(re.findall(r"--[a-z-]+", told.get(name, ""))) == flags, name
