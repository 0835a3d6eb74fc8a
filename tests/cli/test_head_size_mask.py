"""``rankbound head-size --mask``: answers, bounds where undecided, one line for each mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.cli.main import main
from tests.helpers import NO_SUCH_FILE

Capture = pytest.CaptureFixture[str]
N = 12
NAMES = 'expected "causal", "prefix:P", "sliding:W" with W >= 1, for example "prefix:4"'
LOGITS = np.random.default_rng(0).standard_normal((N, N))


def save(path: Path, array: object) -> str:
    np.save(path, np.asarray(array))
    return str(path)


def answer(folder: Path, *arguments: str) -> dict[str, Any]:
    """What the command writes to a file, having printed the same."""
    out = folder / "answer.json"
    assert main(["head-size", *arguments, "--json", str(out)]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    assert found["sequence length"] == N
    return found


MASKS = {
    "causal": (rb.causal_mask(N), 6),
    "prefix:4": (rb.prefix_mask(N, 4), 6),
    "prefix:11": (rb.prefix_mask(N, 11), 10),
    "prefix:12": (rb.full_mask(N), 11),
    "prefix:0": (rb.causal_mask(N), 6),
    "sliding:12": (rb.causal_mask(N), 6),
    "sliding:99": (rb.causal_mask(N), 6),
    "sliding:1": (np.eye(N, dtype=np.bool_), 0),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_by_name_and_by_file(name: str, tmp_path: Path, capsys: Capture) -> None:
    """A context or its logits, by columns or by rows: the same answer, and not a certified one."""
    mask, least = MASKS[name]
    P = rb.column_softmax(LOGITS, mask=mask)
    hidden = np.where(mask, LOGITS, -np.inf)
    for context, logits, m, rows in (
        (P, hidden, mask, []),
        (P.T, hidden.T, mask.T, ["--rows"]),
    ):
        file = save(tmp_path / "P.npy", context)
        other = save(tmp_path / "L.npy", logits)
        stored = save(tmp_path / "mask.npy", m)
        for given in (name, stored):
            for arguments in ([file], [other, "--logits"]):
                found = answer(tmp_path, *arguments, "--mask", given, *rows)
                assert found["least head size"] == least
                if not mask.all():
                    assert list(found)[-3:] == ["least head size", "sequence length", "evidence"]
                assert found["evidence"].startswith("supported")
                printed = capsys.readouterr()
                assert f" {least} " in printed.out
                assert printed.err == ""


def test_without_a_mask_nothing_has_changed(tmp_path: Path) -> None:
    file = save(tmp_path / "L.npy", LOGITS)
    assert answer(tmp_path, file, "--logits")["least head size"] == N - 1


@pytest.mark.parametrize("rows", [False, True])
def test_bounds_where_it_is_undecided(rows: bool, tmp_path: Path, capsys: Capture) -> None:
    mask = rb.sliding_mask(N, 3)
    with pytest.raises(rb.Undecided) as caught:
        rb.least_head_size(logits=LOGITS, mask=mask)
    bounds = caught.value.bounds
    span = f"from {bounds.lower} to {bounds.upper}"
    file = save(tmp_path / "L.npy", LOGITS.T if rows else LOGITS)
    found = answer(tmp_path, file, "--logits", "--mask", "sliding:3", *(["--rows"] if rows else []))
    assert found["least head size"] == span
    assert (found["lower"], found["upper"]) == (bounds.lower, bounds.upper)
    assert (found["least_head_size"], found["verdict"]) == (None, "undecided")
    assert found["evidence"] == f"undecided: {caught.value}"
    printed = capsys.readouterr()
    assert span in printed.out
    assert "undecided" in printed.out
    assert printed.err == ""


def test_a_mask_and_rank_deficient_tokens(tmp_path: Path) -> None:
    file = save(tmp_path / "P.npy", rb.random_context(N, 0, "causal"))
    low = np.vander(np.arange(N), 5).T  # of rank 5, exactly
    tokens = save(tmp_path / "X.npy", low)
    found = answer(tmp_path, file, "--tokens", tokens, "--mask", "causal")
    assert found["evidence"] == "supported"
    assert found["least head size"] == "no head of any size"
    nearly = save(tmp_path / "X.npy", np.random.default_rng(0).standard_normal((N - 1, N)))
    found = answer(tmp_path, file, "--tokens", nearly, "--mask", "causal")
    assert found["least head size"] == 6
    tokens = save(tmp_path / "X.npy", rb.random_tokens(N, N, 0))
    found = answer(tmp_path, file, "--tokens", tokens, "--mask", "causal")
    assert found["least head size"] == 6


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("nonsense", NAMES),
        ("", NAMES),
        ("causal:3", "--mask is 'causal:3'; expected \"causal\""),
        ("Causal", "--mask is 'Causal'; expected \"causal\""),
        ("prefix", NAMES),
        ("prefix:", NAMES),
        ("prefix:x", NAMES),
        ("prefix:-1", NAMES),
        ("prefix:13", "prefix is 13; expected from 0 to 12"),
        ("prefix:²", NAMES),
        ("sliding", NAMES),
        ("sliding:1.5", NAMES),
        ("sliding:0", '"sliding:W" with W >= 1'),
        pytest.param("prefix:" + "1" * 5000, "expected", id="prefix:1...1"),
        ("no-such-file.npy", NO_SUCH_FILE),
        ("ints.npy", "--mask has dtype int64; expected bool"),
        ("small.npy", "--mask has shape (3, 3) and the matrix (12, 12)"),
        ("blind.npy", "hides every key from query 2"),
        ("objects.npy", "never unpickled"),
        ("cut.npy", "damaged"),
    ],
)
def test_a_bad_mask_is_one_line_and_exit_2(
    mask: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    file = save(tmp_path / "L.npy", LOGITS)
    save(tmp_path / "ints.npy", rb.causal_mask(N).astype(np.int64))
    save(tmp_path / "small.npy", rb.causal_mask(3))
    blind = rb.causal_mask(N)
    blind[:, 2] = False
    save(tmp_path / "blind.npy", blind)
    np.save(tmp_path / "objects.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "small.npy").read_bytes()[:-2])
    given = str(tmp_path / mask) if mask.endswith(".npy") else mask
    assert main(["head-size", file, "--logits", "--mask", given]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err


def test_a_context_that_does_not_fit_its_mask(tmp_path: Path, capsys: Capture) -> None:
    """Also one whose rows are the queries, without --rows."""
    causal = rb.random_context(N, 0, "causal")
    for P, message in (
        (rb.random_context(N, 0), "over what the mask shows"),
        (causal.T, "over what the mask shows"),
    ):
        file = save(tmp_path / "P.npy", P)
        assert main(["head-size", file, "--mask", "causal"]) == 2
        printed = capsys.readouterr()
        assert message in printed.err
        assert printed.err.count("\n") == 1


def test_a_bracket_is_read_as_a_head_size_is(tmp_path: Path, capsys: Capture) -> None:
    """P or logits, by rows, under a mask; zeros that look hidden are told."""
    P = rb.random_context(5, 0, "causal")
    file, turned = save(tmp_path / "P.npy", P), save(tmp_path / "T.npy", P.T)
    logits = save(tmp_path / "L.npy", np.log(np.where(P > 0, P, 1)))
    lines = set()
    for words in ([file], [turned, "--rows"], [logits, "--logits"]):
        sizes = ["--head-sizes", "1", "--quiet"]
        assert main(["bracket", *words, *sizes, "--mask", "causal"]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        lines.add(" ".join(f"{float(x):.2g}" for x in printed.out.split()))
    assert len(lines) == 1
    assert main(["bracket", file, "--head-sizes", "1", "-q"]) == 0
    assert "P is 0 in 10 entries" in (told := capsys.readouterr().err)
    assert "if they are hidden, pass --mask causal." in told
    assert main(["bracket", turned, "--head-sizes", "1", "--mask", "causal"]) == 2
    assert "pass --rows." in capsys.readouterr().err
