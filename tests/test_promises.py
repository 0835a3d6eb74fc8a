"""docs/promises.md: its commands exist, and no row is left without a count."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
UNMET = {"make mutants"}  # whose failures are not 0, and are named in a page of their own


def rows() -> list[list[str]]:
    """The cells of the table of promises."""
    text = (ROOT / "docs" / "promises.md").read_text().split("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_every_row_is_whole() -> None:
    assert len(rows()) > 15
    for row in rows():
        assert len(row) == 6, row
        assert all(row), row


def test_every_command_exists() -> None:
    for *_, command in rows():
        match = re.fullmatch(r"`(make|pytest) ([^`]+)`", command)
        assert match, command
        program, arguments = match.groups()
        if program == "pytest":
            assert all((ROOT / path).is_file() for path in arguments.split()), command
        else:
            assert arguments in TARGETS, command


def test_every_row_has_a_count_and_no_failure_but_those_said_to() -> None:
    for *_, count, failures, command in rows():
        assert re.search(r"\d", count), command
        assert (failures == "0") == (command.strip("`") not in UNMET), command


def test_the_counts_of_tests_are_those_collected(request: pytest.FixtureRequest) -> None:
    found = Counter(item.path.relative_to(ROOT).as_posix() for item in request.session.items)
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    if found.keys() != files or request.config.option.markexpr or request.config.option.keyword:
        pytest.skip("only where all tests are collected, with the packages of all extras")
    for *_, count, _, command in rows():
        program, *paths = command.strip("`").split()
        if program == "pytest":
            told = int(count.split()[0].replace(",", ""))
            assert told == sum(found[path] for path in paths), command


def test_the_counts_of_hard_numbers_add_up() -> None:
    lines = (ROOT / "docs" / "promises.md").read_text().split("| family |")[1].splitlines()
    table = [line.strip("|").split("|") for line in lines[2:] if line.startswith("| ")]
    counts = [[int(cell.replace(",", "")) for cell in row[1:]] for row in table]
    assert all(sum(row) == 2000 and row[-1] == 0 for row in counts)
    assert (
        f"| {sum(map(sum, counts)):,} | 0 | `make attack-numbers` |"
        in (ROOT / "docs" / "promises.md").read_text()
    )
