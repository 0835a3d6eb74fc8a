"""The bytes that are learnt: which files, in which order, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.experiments import language as module
from rankbound.experiments.language import MOST_BYTES, file_corpus, library_corpus
from tests.helpers import NO_SUCH_FILE, refused

LINES = b"x = 1  # a line that many programs hold\n"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of the standard library."""
    root = tmp_path / "lib"
    monkeypatch.setattr("sysconfig.get_path", {"stdlib": str(root)}.__getitem__)
    return root


def write(root: Path, name: str, lines: int = 200) -> bytes:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"# {name}\n".encode() + LINES * lines)
    return path.read_bytes()


def test_sources_in_a_seeded_order_whatever_the_folder_lists_first(library: Path) -> None:
    names = ["zlib_.py", "a.py", "json/decoder.py", "json/__init__.py", "b.py"]
    texts = {name: write(library, name) for name in names}
    for apart in ("test/a.py", "json/tests/b.py", "idlelib/idle_test/c.py"):
        write(library, apart)
    for apart in ("site-packages/p/q.py", "dist-packages/r.py", "x/__pycache__/s.py", "notes.txt"):
        write(library, apart)
    found = library_corpus()
    ordered = sorted(names)
    expected = b"".join(texts[ordered[at]] for at in np.random.default_rng(0).permutation(5))
    assert found.train.tobytes() + found.held_out.tobytes() == expected
    assert found.sha256 == hashlib.sha256(expected).hexdigest()
    assert expected != b"".join(texts[name] for name in ordered)
    write(library, "contest.py")  # a name that holds the word is no test
    assert b"# contest.py" in library_corpus().train.tobytes() + library_corpus().held_out.tobytes()


def test_no_more_than_four_megabytes(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_BYTES == 4_000_000
    monkeypatch.setattr(module, "MOST_BYTES", 30_001)
    for number in range(9):
        write(library, f"{number}.py")
    found = library_corpus()
    assert len(found.train) + len(found.held_out) == 30_001
    assert len(found.train) == 27_001
    write(library, "long.txt", 2000)
    assert len(file_corpus(library / "long.txt").train) == 27_001


def test_the_librarys_own_text_is_the_same_twice() -> None:
    first, second = library_corpus(), library_corpus()
    assert first.sha256 == second.sha256
    assert np.array_equal(first.train, second.train)
    assert len(first.train) == 9 * len(first.held_out) == 9 * MOST_BYTES // 10
    assert first.train.dtype == np.uint8


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    text = LINES * 600
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(text)
    first, second = (file_corpus(tmp_path / name) for name in ("a.txt", "b.txt"))
    assert first.sha256 == second.sha256 == hashlib.sha256(text).hexdigest()
    assert first.train.tobytes() + first.held_out.tobytes() == text
    assert abs(len(first.held_out) - len(text) / 10) <= 1
    (tmp_path / "b.txt").write_bytes(text[:-1] + b" ")
    assert file_corpus(str(tmp_path / "b.txt")).sha256 != first.sha256


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("cannot be read", NO_SUCH_FILE, "expected a text file")),
        (b"", ("0 bytes", "expected 20000 or more")),
        (LINES, (f"{len(LINES)} bytes", "expected 20000")),
        (LINES * 600 + b"\0", ("zero byte", "no text", "UTF-8")),
    ],
)
def test_a_text_that_will_not_do(
    tmp_path: Path, content: bytes | None, words: tuple[str, ...]
) -> None:
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    with refused(rb.InputError, str(path), *words):
        file_corpus(path)


@pytest.mark.parametrize("path", [Path("."), "a\0b", 3, ["a"]])
def test_what_is_no_text(path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with refused(rb.InputError, "cannot be read"):
        file_corpus(path)


def test_a_library_without_sources(library: Path) -> None:
    library.mkdir()
    with refused(rb.InputError, "the standard library", "0 bytes"):
        library_corpus()
