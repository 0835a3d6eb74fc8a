"""The command line: answers, exit codes, one line for each mistake."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import rankbound as rb
from rankbound.cli import in_flags
from rankbound.cli.main import main, make_parser
from tests.helpers import IS_A_DIRECTORY, NO_SUCH_FILE

Capture = pytest.CaptureFixture[str]


def save(path: Path, array: object) -> str:
    np.save(path, np.asarray(array))
    return str(path)


def test_verify_prints_a_row_a_claim(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "verify.json"
    assert main(["verify", "softmax-gauge", "folklore-context-rank", "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert "softmax-gauge" in printed.out
    assert "2 of 2 claims as registered" in printed.out
    assert printed.err == ""  # no progress where there is no terminal
    assert [row["id"] for row in json.loads(out.read_text())["claims"]] == [
        "softmax-gauge",
        "folklore-context-rank",
    ]


@pytest.mark.parametrize("command", ["verify", "claims"])
def test_theorems_are_shown_where_a_claim_names_one(command: str, capsys: Capture) -> None:
    for claim in ("softmax-gauge", "folklore-context-rank", "wrong-entry-cost"):
        assert main([command, claim]) == 0
        shown = "Machine-checked theorems" in capsys.readouterr().out
        assert shown == bool(rb.claims[claim].theorem), claim


def test_verify_exits_1_where_a_claim_is_not_as_registered(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from dataclasses import replace
    from types import MappingProxyType

    from rankbound.registry import catalogue

    wrong = replace(rb.claims["softmax-gauge"], status=rb.Verdict.REFUTED)
    monkeypatch.setattr(catalogue, "claims", MappingProxyType({wrong.id: wrong}))
    assert main(["verify"]) == 1
    assert "softmax-gauge: proved, registered as refuted" in capsys.readouterr().out


def test_claims_lists_the_registry(capsys: Capture) -> None:
    assert main(["claims"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in rb.claims)


def test_head_size_of_a_context(tmp_path: Path, capsys: Capture) -> None:
    P = rb.random_context(8, 0, "logrank", rank=3)
    answer = tmp_path / "answer.json"
    assert main(["head-size", save(tmp_path / "P.npy", P), "--json", str(answer)]) == 0
    found = json.loads(answer.read_text())
    assert [found[k] for k in ("least_head_size", "lower", "upper")] == [3, 3, 3]
    assert (found["verdict"], found["least head size"]) == ("supported", 3)
    assert "supported" in capsys.readouterr().out
    assert main(["head-size", save(tmp_path / "R.npy", P.T), "--rows"]) == 0


def test_head_size_of_exact_logits(tmp_path: Path, capsys: Capture) -> None:
    logits = np.eye(5, dtype=np.int64)
    assert main(["head-size", save(tmp_path / "M.npy", logits), "--logits"]) == 0
    printed = capsys.readouterr().out
    assert "certified" in printed
    assert " 4 " in printed


def test_head_size_with_tokens_and_stored_dtype(tmp_path: Path, capsys: Capture) -> None:
    head = rb.random_head(16, 4, 0)
    X = rb.random_tokens(16, 12, 1)
    L = head.logits(X).astype(np.float32)
    P = np.exp(L) / np.exp(L).sum(axis=0)
    file, tokens = save(tmp_path / "P.npy", P.astype(np.float64)), save(tmp_path / "X.npy", X)
    assert main(["head-size", file, "--tokens", tokens, "--stored", "float32"]) == 0
    assert "float32" in capsys.readouterr().out
    assert main(["head-size", file]) == 2
    assert capsys.readouterr().err.endswith("pass --stored float32.\n")


def test_the_rounding_of_another_dtype_is_seen(tmp_path: Path, capsys: Capture) -> None:
    """The same numbers cast and normalised in float64: both answers, and the flag that decides."""
    head, X = rb.random_head(32, 4, 0), rb.random_tokens(32, 32, 1)
    L = head.logits(X).astype(np.float32)
    P = np.exp(L) / np.exp(L).sum(axis=0)
    cast = P.astype(np.float64)
    file = save(tmp_path / "P.npy", cast / cast.sum(axis=0))
    answer = tmp_path / "answer.json"
    assert main(["head-size", file, "--json", str(answer)]) == 0
    found = json.loads(answer.read_text())
    assert found["least head size"] == "from 4 to 31"
    numbers = {"least_head_size": None, "lower": 4, "upper": 31, "reachable": True}
    assert numbers.items() <= found.items()
    assert found["verdict"] == "undecided"
    assert "Pass --stored float32 or --stored float64." in found["evidence"]
    assert "from 4 to 31" in capsys.readouterr().out
    for stored, least in (("float32", 4), ("float64", 31)):
        assert main(["head-size", file, "--stored", stored, "--json", str(answer)]) == 0
        assert json.loads(answer.read_text())["least head size"] == least


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("pass rows=True (--rows at the command line), or P.T.", "pass --rows."),
        ("pass stored='bfloat16', stored=np.float32.", "pass --stored bfloat16, --stored float32."),
        ("mask has shape (3, 3).", "--mask has shape (3, 3)."),
        (
            "the mask shows it; pass logits=, or rtol= 1.",
            "the mask shows it; pass --logits.",
        ),
        ("head_sizes[0] is 0; expected at least 1.", "--head-sizes[0] is 0; expected at least 1."),
        ("X is a list.", "--tokens is a list."),
        ("take X= of head_sizes=[1].", "take --tokens of --head-sizes[1]."),
    ],
)
def test_messages_name_flags(message: str, shown: str) -> None:
    none = dict.fromkeys(("head_sizes", "stored", "mask", "tokens"))
    options = argparse.Namespace(rows=False, logits=True, **none)
    assert in_flags(message, options) == shown


# what each command runs, and the options it knows
RUNS = {
    "head-size": "context.py _validate.py tokens.py attention/masks.py theory/decision.py "
    "theory/softmax_gauge.py theory/theorem_b.py theory/completion.py exact/rational.py",
    "bracket": "context.py _validate.py attention/masks.py fitting/solve.py",
    "audit": "auditing/[!p]*.py",  # of pages no messages
}
# beside a head, never of a file; a mode that the command never takes; what only Python passes
PYTHON_ONLY = (
    "head is given beside P, logits or rows=",
    "no start is left; expected spectral_start=True",
    "or take loss='kl'",
    "inputs=processor",
    "of dtype=.",
    "neither text nor inputs is given",
)


def messages(patterns: str) -> Iterator[str]:
    """Every text of a module that names a keyword, with … in the place of what is filled in."""
    package = Path(rb.__file__).parent
    for path in (found for pattern in patterns.split() for found in package.glob(pattern)):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(n) for j in ast.walk(tree) if isinstance(j, ast.JoinedStr) for n in j.values}
        for node in ast.walk(tree):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            if id(node) in inner or not isinstance(parts[0], ast.Constant | ast.FormattedValue):
                continue
            text = "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in parts)
            if re.search(r"\b[a-z_]+=", text) and not re.search("[\n<]", text):
                yield text


@pytest.mark.parametrize("command", RUNS)
def test_no_message_names_what_a_command_does_not_take(command: str) -> None:
    """Every keyword of every message: a flag of the command, left out, or in a call of Python."""
    words = {"head-size": ["P.npy"], "bracket": ["P.npy", "--head-sizes", "1"]}
    options = make_parser().parse_args([command, *words.get(command, ["model", "--text", "t"])])
    flags = {flag for action in options.parser._actions for flag in action.option_strings}
    found = list(messages(RUNS[command]))
    assert len(found) > 5
    for message in found:
        said = in_flags(f"It is wrong; expected better. {message}", options)
        assert set(re.findall(r"--[a-z][a-z-]*", said)) <= flags | {"--rows"}, said
        said = re.sub(r"\w\([^()]*\)", "", in_flags(message, options))
        if not any(text in message for text in PYTHON_ONLY):
            assert not re.search(r"\b[a-z_]+=", said), (message, said)


def bad_files(folder: Path) -> dict[str, str]:
    P = rb.random_context(4, 0)
    text, cut = folder / "text.npy", folder / "cut.npy"
    text.write_text("not an array")
    np.save(cut, P)
    cut.write_bytes(cut.read_bytes()[:-9])
    objects, archive = folder / "objects.npy", folder / "archive.npz"
    np.save(objects, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    np.savez(archive, first=P, second=P)
    pickles = folder / "pickles.npz"
    np.savez(pickles, P=np.array([{"a": 1}, None], dtype=object))
    binary, latin = folder / "binary", folder / "latin.csv"
    binary.write_bytes(b"\0\1" * 40)
    latin.write_bytes(b"\xe9,1\n")
    ragged, words = folder / "ragged.csv", folder / "words.csv"
    ragged.write_text("# a comment\n0.5,0.5\n\n0.5\n")
    words.write_text("0.5,0.5\n0.5,half\n")
    (folder / "header.csv").write_text(",0,1\n0,0.5,0.5\n1,0.5,0.5\n")
    (folder / "blank.csv").write_text("\n")
    nan = P.copy()
    nan[0, 1] = np.nan
    zero = np.eye(4)
    return {
        NO_SUCH_FILE: str(folder / "missing.npy"),
        IS_A_DIRECTORY: str(folder),
        "line 1, column 1 is 'not', not a number": str(text),
        "damaged": str(cut),
        "holds Python objects, which are never unpickled": str(objects),
        "pickles.npz holds Python objects, which are never": str(pickles),
        "holds first, second; expected one array, or one called P": str(archive),
        "holds first, second; expected one called third": f"{archive}:third",
        "neither a .npy, an .npz nor a .csv file": str(binary),
        "no text in UTF-8": str(latin),
        "ragged: rows have 2 entries in line 2, 1 in 4": str(ragged),
        "line 2, column 2 is 'half', not a number": str(words),
        "line 1, column 1 is '', not a number": str(folder / "header.csv"),
        "blank.csv holds no numbers": str(folder / "blank.csv"),
        "P holds nan at": save(folder / "nan.npy", nan),
        "P is 0.0 at": save(folder / "zero.npy", zero),
        "pass --rows.": save(folder / "rows.npy", P.T),
        r"expected \(n, n\)": save(folder / "wide.npy", P[:2]),
        "at least one row": save(folder / "empty.npy", np.empty((0, 0))),
        "expected a matrix": save(folder / "cube.npy", np.stack([P, P])),
        "real numbers": save(folder / "complex.npy", P.astype(complex)),
    }


def test_bad_file_is_one_line_and_exit_2(tmp_path: Path, capsys: Capture) -> None:
    for message, file in bad_files(tmp_path).items():
        assert main(["head-size", file]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert re.search(message, printed.err), f"{message!r} is not in {printed.err!r}"


def test_tokens_of_any_rank(tmp_path: Path, capsys: Capture) -> None:
    """Which some contexts have no head on, and the contexts of heads have one."""
    X = np.arange(6)[:, None] * np.arange(4.0) + np.array([1, 4, 9, 16.0])  # of rank 2, exactly
    head = rb.random_head(6, 1, 0)
    tokens = save(tmp_path / "X.npy", X)
    out = tmp_path / "answer.json"
    for P, least, shown in (
        (rb.random_context(4, 0), "no head of any size", "no head of any size"),
        (head.context(X), 1, " 1 "),
    ):
        file = save(tmp_path / "P.npy", P)
        assert main(["head-size", file, "--tokens", tokens, "--json", str(out)]) == 0
        printed = capsys.readouterr()
        assert shown in printed.out
        assert printed.err == ""
        sizes = None if least == "no head of any size" else least
        assert json.loads(out.read_text()) == {
            "least_head_size": sizes,
            "lower": sizes,
            "upper": sizes,
            "reachable": sizes is not None,
            "verdict": "supported",
            "least head size": least,
            "sequence length": 4,
            "evidence": "supported",
        }


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["verify", "--level", "slow"],
        ["verify", "--jobs", "0"],
        ["head-size"],
        ["verify", "--seed", "x"],
        ["verify", "no-such-claim"],
        ["verify", "--seed", "-1"],
    ],
)
def test_bad_usage_is_one_line_and_exit_2(arguments: list[str], capsys: Capture) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_and_version(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip().endswith(f"rankbound {rb.__version__}")


def test_a_report_that_cannot_be_written_is_found_out_first(
    tmp_path: Path, capsys: Capture
) -> None:
    assert main(["verify", "softmax-gauge", "--json", str(tmp_path / "no" / "report.json")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"report.json: {NO_SUCH_FILE}" in printed.err


def test_doctor_names_versions_and_missing_extras(capsys: Capture) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "exact arithmetic" in printed
    assert np.__version__ in printed
    assert "extra models" in printed


def test_doctor_says_what_is_missing_or_too_old(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    needs = ["numpy>=999", "mpmath", "nowhere>=1", "rich>=1; extra == 'test'"]
    needs.append("nobody>=2; extra == 'docs'")
    monkeypatch.setattr("importlib.metadata.requires", lambda name: needs)
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert f"{np.__version__}; expected numpy>=999" in printed
    assert "missing; expected nowhere>=1" in printed
    assert 'without nobody (missing): pip install "rankbound[docs]"' in printed
    assert 'broken: pip install "numpy>=999" "nowhere>=1"' in printed
    test = next(line for line in printed.splitlines() if "extra test" in line)
    assert test.split()[-1] == "complete"


def test_module_runs_as_a_program_and_survives_a_closed_pipe() -> None:
    command = f"{sys.executable} -m rankbound claims | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        check=False,
    )
    assert done.stderr == ""


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", ["verify softmax-gauge | true", "claims >&-"])
def test_nobody_listening_is_no_failure(command: str) -> None:
    done = shell(f"{sys.executable} -W always::ResourceWarning -m rankbound {command}")
    assert (done.returncode, done.stderr) == (0, "")


def test_bad_usage_has_its_exit_code_though_nobody_hears_why() -> None:
    assert shell(f"{sys.executable} -m rankbound head-size nowhere.npy 2>&-").returncode == 2


def test_what_the_encoding_lacks_is_spelled_out() -> None:
    done = shell(f"PYTHONIOENCODING=ascii {sys.executable} -m rankbound claims")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u221d" in done.stdout  # proportional to


def npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    "header",
    [
        b"{[]: 1}",
        b"(" * 5000,
        b"\xff\xfe{",
        b"{'descr': ('<f8',), 'fortran_order': False, 'shape': (2, 2)}",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (True, True)}",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000000000)}",
    ],
)
def test_a_hostile_header_is_one_line(header: bytes, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "hostile.npy"
    file.write_bytes(npy(header))
    assert main(["head-size", str(file)]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "damaged" in printed.err or "expected" in printed.err


def test_a_pipe_is_a_file(tmp_path: Path) -> None:
    file = save(tmp_path / "P.npy", rb.random_context(4, 0))
    done = shell(f"{sys.executable} -m rankbound head-size <(cat {file})")
    assert done.returncode == 0
    assert "least head size" in done.stdout


def test_a_bad_seed_leaves_no_empty_report(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    assert main(["verify", "--seed", "-1", "--json", str(file)]) == 2
    assert not file.exists()
